//! What is going on, on standard error: a spinner on a terminal, one line per change elsewhere
//! and where control characters are not wanted.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::printable;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Shows the present state of something that takes time.
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
    shown: String,
}

impl Progress {
    /// Nothing is shown until something is said. `is_plain` forbids control characters.
    pub(crate) fn new(is_plain: bool) -> Self {
        let spinner = (!is_plain && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner
        });
        Self { spinner, shown: String::new() }
    }

    /// What is going on now.
    pub(crate) fn show(&mut self, text: &str) {
        if text == self.shown {
            return;
        }
        self.shown = printable(text);
        match &self.spinner {
            Some(spinner) => {
                spinner.enable_steady_tick(TICK);
                spinner.set_message(self.shown.clone());
            }
            None => eprintln!("{}", self.shown),
        }
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        let text = printable(text);
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

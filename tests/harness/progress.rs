//! Says what is being waited for: a spinner with the elapsed time on a terminal, plain lines otherwise.
//! Nothing is said about steps that end within two seconds, except their end where it was asked for.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long a step stays silent before its first line.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How often a plain line repeats what is still being waited for.
const REPEAT_EVERY: Duration = Duration::from_secs(10);

/// A step under way. Dropping it without `done` means that it failed, and says so.
pub struct Step {
    label: String,
    started_at: Instant,
    display: Display,
    ended: bool,
}

enum Display {
    Terminal(ProgressBar),
    Lines(Lines),
}

struct Lines {
    detail: Arc<Mutex<String>>,
    ended: Arc<AtomicBool>,
    teller: Option<JoinHandle<()>>,
}

/// Starts a step, such as "starting the API server".
#[must_use]
pub fn step(label: impl Into<String>) -> Step {
    let label = label.into();
    let display = if std::io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner().with_message(label.clone());
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Display::Terminal(bar)
    } else {
        Display::Lines(Lines::start(label.clone()))
    };
    Step { label, started_at: Instant::now(), display, ended: false }
}

impl Step {
    /// Shows how far the step has come, such as "812 of 1530 packages".
    pub fn detail(&self, detail: impl Into<String>) {
        let detail = detail.into();
        match &self.display {
            Display::Terminal(bar) => bar.set_message(format!("{}: {detail}", self.label)),
            Display::Lines(lines) => *lines.detail.lock().unwrap_or_else(PoisonError::into_inner) = detail,
        }
    }

    /// The step succeeded; says so if it took long enough to have been announced.
    pub fn done(self) {
        let always = false;
        self.finish(always, "");
    }

    /// The step succeeded; says so in any case, with a result worth reading.
    pub fn done_with(self, result: &str) {
        let always = true;
        self.finish(always, result);
    }

    fn finish(mut self, always: bool, result: &str) {
        self.ended = true;
        let took = self.started_at.elapsed();
        self.clear();
        if always || took >= SILENT_FOR {
            let result = if result.is_empty() { String::new() } else { format!(": {result}") };
            eprintln!("✓ {}{result} ({:.1} s)", self.label, took.as_secs_f32());
        }
    }

    fn clear(&mut self) {
        match &mut self.display {
            Display::Terminal(bar) => bar.finish_and_clear(),
            Display::Lines(lines) => lines.end(),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.clear();
            eprintln!("✗ {} (after {:.1} s)", self.label, self.started_at.elapsed().as_secs_f32());
        }
    }
}

impl Lines {
    fn start(label: String) -> Self {
        let detail = Arc::new(Mutex::new(String::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let teller = thread::spawn({
            let (detail, ended) = (detail.clone(), ended.clone());
            move || tell(&label, &detail, &ended)
        });
        Self { detail, ended, teller: Some(teller) }
    }

    fn end(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(teller) = self.teller.take() {
            teller.thread().unpark();
            let _ = teller.join();
        }
    }
}

fn tell(label: &str, detail: &Mutex<String>, ended: &AtomicBool) {
    let started_at = Instant::now();
    let mut next_line_after = SILENT_FOR;
    while !ended.load(Ordering::Acquire) {
        let elapsed = started_at.elapsed();
        if elapsed < next_line_after {
            thread::park_timeout(next_line_after - elapsed);
            continue;
        }
        let detail = detail.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let separator = if detail.is_empty() { "" } else { ": " };
        eprintln!("… {label}{separator}{detail} ({} s)", elapsed.as_secs());
        next_line_after += REPEAT_EVERY;
    }
}

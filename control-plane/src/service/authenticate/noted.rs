//! Which refusals of this minute this process knows to be recorded: whoever is refused again and again costs no
//! transaction each time.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// Most refusals that are remembered; keys and reasons of a minute are fewer.
const NOTED_MAX: usize = 4_096;

/// The refusals of one minute.
#[derive(Debug, Default)]
pub struct Noted(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    of: Timestamp,
    refusals: HashSet<(&'static str, Option<String>)>,
}

impl Noted {
    /// Whether a refusal of a minute is recorded. That it is not known to be means nothing.
    pub(super) fn holds(&self, minute: Timestamp, reason: &'static str, key_id: Option<&str>) -> bool {
        let noted = self.minute();
        noted.of == minute && noted.refusals.contains(&(reason, key_id.map(str::to_owned)))
    }

    /// Remembers that a refusal is recorded.
    pub(super) fn add(&self, minute: Timestamp, reason: &'static str, key_id: Option<&str>) {
        let mut noted = self.minute();
        if noted.of != minute {
            *noted = Minute { of: minute, refusals: HashSet::new() };
        }
        if noted.refusals.len() < NOTED_MAX {
            noted.refusals.insert((reason, key_id.map(str::to_owned)));
        }
    }

    fn minute(&self) -> MutexGuard<'_, Minute> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

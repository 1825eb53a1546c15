//! What this process must not do now: judge by a clock that is wrong, fill a database that is nearly full,
//! or change anything while the audit log has two histories. Holds what was last measured; `engine::safeguards` measures, and so does every claim.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;

/// How far this machine's clock may be from the database's. Executors give orders from the future
/// little more, and replicas that differ by less still agree on what has expired.
const CLOCK_OFFSET_MAX: SignedDuration = SignedDuration::from_secs(1);
/// The share of the database's capacity that requests may fill, in per cent: the rest is for running
/// actions to end in, and for retention to work in.
const FULL_AT_PERCENT: u128 = 90;

/// The database's clock between two readings of this machine's.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// This machine's time before the database was asked.
    pub before: Timestamp,
    /// The database's time.
    pub database: Timestamp,
    /// This machine's time after the database answered.
    pub after: Timestamp,
}

impl ClockReading {
    /// How far this machine's clock is ahead of the database's, at the least; negative when behind.
    fn offset(self) -> SignedDuration {
        let Self { before, database, after } = self;
        if before > database {
            before.duration_since(database)
        } else if after < database {
            after.duration_since(database)
        } else {
            SignedDuration::ZERO
        }
    }

    /// Whether the answer came so fast that a wrong clock could not hide in the time it took.
    fn is_sharp(self) -> bool {
        self.after.duration_since(self.before) <= CLOCK_OFFSET_MAX
    }
}

/// What was last measured. Clones share it.
#[derive(Clone, Debug)]
pub struct Safeguards(Arc<Measured>);

#[derive(Debug)]
struct Measured {
    /// False until a measurement has shown otherwise.
    is_clock_true: AtomicBool,
    clock_offset_microseconds: AtomicI64,
    is_database_full: AtomicBool,
    is_log_forked: AtomicBool,
    capacity_bytes: Option<NonZeroU64>,
    metrics: ControlPlaneMetrics,
}

impl Safeguards {
    /// Nothing measured yet: the clock is not trusted.
    pub fn new(capacity_bytes: Option<NonZeroU64>, metrics: ControlPlaneMetrics) -> Self {
        Self(Arc::new(Measured {
            is_clock_true: AtomicBool::new(false),
            clock_offset_microseconds: AtomicI64::new(0),
            is_database_full: AtomicBool::new(false),
            is_log_forked: AtomicBool::new(false),
            capacity_bytes,
            metrics,
        }))
    }

    /// Refuses whatever is judged or signed by this machine's clock while it is wrong.
    ///
    /// # Errors
    /// `ClockSkewed`.
    pub fn require_true_clock(&self) -> Result<(), Error> {
        if self.is_clock_true() { Ok(()) } else { Err(Error::ClockSkewed) }
    }

    /// Refuses what would fill the database further, or change something on the word of a log that has two
    /// histories.
    ///
    /// # Errors
    /// `LogForked`, `DatabaseFull`.
    pub fn require_recordable(&self) -> Result<(), Error> {
        if self.is_log_forked() {
            return Err(Error::LogForked);
        }
        if self.is_database_full() { Err(Error::DatabaseFull) } else { Ok(()) }
    }

    /// Whether the audit log was found to have two histories.
    pub fn is_log_forked(&self) -> bool {
        self.0.is_log_forked.load(Ordering::Acquire)
    }

    /// Takes note of whether it was. Once it was, this process does not take it back.
    pub fn note_fork(&self, is_forked: bool) {
        if self.0.is_log_forked.fetch_or(is_forked, Ordering::AcqRel) || is_forked {
            self.0.metrics.set_log_forked();
        }
    }

    /// Whether the clock agreed with the database's when both were last compared.
    pub fn is_clock_true(&self) -> bool {
        self.0.is_clock_true.load(Ordering::Acquire)
    }

    /// How far the clock was ahead of the database's, at the least; negative when behind.
    pub fn clock_offset(&self) -> SignedDuration {
        SignedDuration::from_micros(self.0.clock_offset_microseconds.load(Ordering::Relaxed))
    }

    /// Whether the database had reached its share when its size was last asked for.
    pub fn is_database_full(&self) -> bool {
        self.0.is_database_full.load(Ordering::Acquire)
    }

    /// Whether anybody needs to know the database's size.
    pub fn limits_size(&self) -> bool {
        self.0.capacity_bytes.is_some()
    }

    /// Takes note of both clocks. A reading that took too long may condemn the clock, not acquit it.
    pub fn note_clock(&self, reading: ClockReading) {
        let offset = reading.offset();
        let is_wrong = offset.abs() > CLOCK_OFFSET_MAX;
        if !is_wrong && !reading.is_sharp() {
            return;
        }
        let microseconds = i64::try_from(offset.as_micros()).unwrap_or(i64::MAX);
        self.0.clock_offset_microseconds.store(microseconds, Ordering::Relaxed);
        self.0.metrics.set_clock_offset(offset.as_secs_f64());
        let was_true = self.0.is_clock_true.swap(!is_wrong, Ordering::AcqRel);
        let offset_seconds = offset.as_secs_f64();
        if is_wrong && was_true {
            warn!(
                offset_seconds,
                "this machine's clock is not the database's: nobody is let in and no order is signed until it is"
            );
        } else if !is_wrong && !was_true {
            info!(offset_seconds, "this machine's clock is the database's");
        }
    }

    /// Takes note of the database's size.
    pub fn note_size(&self, bytes: u64) {
        let Some(capacity) = self.0.capacity_bytes else { return };
        let capacity_bytes = capacity.get();
        let is_full = u128::from(bytes) * 100 >= u128::from(capacity_bytes) * FULL_AT_PERCENT;
        let was_full = self.0.is_database_full.swap(is_full, Ordering::AcqRel);
        if is_full && !was_full {
            warn!(bytes, capacity_bytes, "the database is nearly full: no new requests are recorded");
        } else if !is_full && was_full {
            info!(bytes, capacity_bytes, "the database has room again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    fn reading(before: i64, database: i64, after: i64) -> ClockReading {
        ClockReading { before: at(before), database: at(database), after: at(after) }
    }

    fn safeguards(capacity: Option<u64>) -> Safeguards {
        Safeguards::new(capacity.and_then(NonZeroU64::new), ControlPlaneMetrics::default())
    }

    #[test]
    fn a_clock_that_nobody_has_compared_is_not_trusted() {
        let safeguards = safeguards(None);
        assert!(matches!(safeguards.require_true_clock(), Err(Error::ClockSkewed)));
        safeguards.note_clock(reading(0, 1, 2));
        assert!(safeguards.require_true_clock().is_ok());
    }

    #[test]
    fn more_than_a_second_either_way_is_too_much() {
        for (before, database, after, is_true) in [
            (0, 5, 10, true),
            (1_000, 0, 1_010, true),
            (1_001, 0, 1_010, false),
            (0, 1_010, 10, true),
            (0, 1_011, 10, false),
        ] {
            let safeguards = safeguards(None);
            safeguards.note_clock(reading(0, 0, 0));
            safeguards.note_clock(reading(before, database, after));
            assert_eq!(safeguards.is_clock_true(), is_true, "{before} {database} {after}");
        }
    }

    #[test]
    fn an_answer_that_took_long_condemns_the_clock_but_does_not_acquit_it() {
        let safeguards = safeguards(None);
        safeguards.note_clock(reading(0, 500, 1_001));
        assert!(!safeguards.is_clock_true(), "never compared sharply");
        safeguards.note_clock(reading(0, 0, 0));
        safeguards.note_clock(reading(0, 500, 1_001));
        assert!(safeguards.is_clock_true(), "nothing new was learnt");
        safeguards.note_clock(reading(5_000, 0, 7_000));
        assert!(!safeguards.is_clock_true());
        assert_eq!(safeguards.clock_offset(), SignedDuration::from_secs(5));
    }

    #[test]
    fn a_database_is_full_at_nine_tenths_of_its_capacity_and_never_without_one() {
        let limited = safeguards(Some(1_000));
        for (bytes, is_full) in [(899, false), (900, true), (u64::MAX, true), (0, false)] {
            limited.note_size(bytes);
            assert_eq!(limited.require_recordable().is_err(), is_full, "{bytes}");
        }
        let unlimited = safeguards(None);
        unlimited.note_size(u64::MAX);
        assert!(unlimited.require_recordable().is_ok());
    }
}

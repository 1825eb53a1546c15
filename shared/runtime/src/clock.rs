//! The clock, and the ids and random bytes that services make.

use jiff::Timestamp;
use uuid::Uuid;

/// The present time by this machine's clock, cut to microseconds: Postgres stores no more, and a
/// time must read back as it was written.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// A new UUIDv7 (RFC 9562 section 5.7): sorts by the time it was made.
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}

/// `N` bytes from the operating system's random source.
///
/// # Panics
/// When the operating system has none to give; nothing safe can be done without.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}

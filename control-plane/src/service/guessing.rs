//! Makes guessing passwords and codes slow, without letting those who guess keep the owner out (ADR 24, ADR 29). A try is
//! counted before it is judged, so that many at once are not more than one after the other, and taken back if it was
//! right.

use std::net::IpAddr;

use aegis_contract::ids::{SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;

use super::Services;
use crate::error::Error;
use crate::store::delays::{self, Count};
use crate::store::{ANSWER_WITHIN, commit, dispatch, within};

/// How long wrong passwords count on after nobody has to wait any more.
const PASSWORDS_REMEMBERED: SignedDuration = SignedDuration::from_hours(1);
/// How long wrong codes do: there are only so many of them.
const CODES_REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// How long any failures do.
pub(super) const REMEMBERED: SignedDuration = CODES_REMEMBERED;
/// How long somebody stays known at an address.
pub(super) const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What failures are counted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// An account at one address: whoever shares both with its owner can keep them waiting there, and nowhere else.
    Pair,
    /// An account at all addresses that it was not used from. Short, since its owner may be at a new one.
    Account,
    /// An address, with all accounts that were not used from it. Short, since many people may share it.
    Address,
    /// What a person who is signed in is asked for once more.
    Own,
    /// Codes of a second factor where its person has shown one before: at an address, or in a session.
    CodeAtHome,
    /// Those everywhere else, together.
    CodeElsewhere,
}

impl Counter {
    /// Wrong passwords that nobody has to wait after: people mistype. And sign-ins under way at once: a script may have
    /// several of one account, an office those of many people.
    const fn free(self) -> u32 {
        match self {
            Self::Own | Self::CodeAtHome | Self::CodeElsewhere => 4,
            Self::Pair => 9,
            Self::Account => 20,
            Self::Address => 100,
        }
    }

    /// The longest wait. A quarter of an hour leaves some hundred guesses a day (NIST SP 800-63B, 5.2.2); a minute is
    /// what somebody may have to wait who has nothing to do with the guesses. Of codes three in a million are right at any
    /// time: some thirty a day, from whoever has the password, find one in thirty years.
    const fn wait_max(self) -> SignedDuration {
        match self {
            Self::Pair | Self::Own => SignedDuration::from_mins(15),
            Self::Account | Self::Address => SignedDuration::from_mins(1),
            Self::CodeAtHome | Self::CodeElsewhere => SignedDuration::from_hours(1),
        }
    }

    /// How long failures count on after nobody has to wait any more.
    const fn remembered(self) -> SignedDuration {
        match self {
            Self::Pair | Self::Own | Self::Account | Self::Address => PASSWORDS_REMEMBERED,
            Self::CodeAtHome | Self::CodeElsewhere => CODES_REMEMBERED,
        }
    }

    /// How long to wait after so many failures.
    fn wait(self, failures: u32) -> SignedDuration {
        match failures.checked_sub(self.free() + 1) {
            None => SignedDuration::ZERO,
            Some(doublings) => {
                let seconds = 1_i64.checked_shl(doublings.min(62)).unwrap_or(i64::MAX);
                SignedDuration::from_secs(seconds).min(self.wait_max())
            }
        }
    }
}

/// Whose password is tried, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried<'a> {
    /// The person, if there is one who may sign in.
    pub(super) user: Option<UserId>,
    /// The e-mail address that was said.
    pub(super) email: &'a str,
    /// Where the caller is: their address, or the /64 of an IPv6 one.
    pub(super) neighbourhood: IpAddr,
}

/// Where a code of a second factor is tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum CodeAt {
    /// At sign-in, from an address.
    Address(IpAddr),
    /// In a session; and whether one was shown there before.
    Session(SessionId, bool),
}

/// A try that counts as a failure until it is said to be none.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    counters: Vec<(String, Counter)>,
    /// The address, as it is remembered.
    address: Option<String>,
}

impl Guess {
    /// Counts a sign-in.
    ///
    /// # Errors
    /// `GuessingSlowed` while it has to wait; then it is not counted.
    pub(super) async fn begin(services: &Services, tried: Tried<'_>) -> Result<Self, Error> {
        // Of somebody who is known by their id: addresses are spelled in many ways.
        let account = match tried.user {
            Some(user) => user.to_string(),
            None => tried.email.to_lowercase(),
        };
        let place = tried.neighbourhood;
        let name = |parts: &str| name(services, parts);
        let address = name(&format!("from\0{place}"));
        let is_known = is_known(services, tried.user, &address);
        let mut counters = vec![(name(&format!("pair\0{place}\0{account}")), Counter::Pair)];
        if !is_known.await? {
            counters.push((name(&format!("account\0{account}")), Counter::Account));
            counters.push((name(&format!("address\0{place}")), Counter::Address));
        }
        Self::count(services, counters, Some(address)).await
    }

    /// Counts a password that a person who is signed in is asked for once more.
    ///
    /// # Errors
    /// `GuessingSlowed` while it has to wait; then it is not counted.
    pub(super) async fn begin_own(services: &Services, user: UserId) -> Result<Self, Error> {
        let name = name(services, &format!("own\0{user}"));
        Self::count(services, vec![(name, Counter::Own)], None).await
    }

    /// Counts a code of a person's second factor. Where they have shown one before, only what is tried there counts.
    ///
    /// # Errors
    /// `GuessingSlowed` while it has to wait; then it is not counted.
    pub(super) async fn begin_code(services: &Services, user: UserId, at: CodeAt) -> Result<Self, Error> {
        let home = match at {
            CodeAt::Address(place) => {
                let address = name(services, &format!("from\0{place}"));
                is_known(services, Some(user), &address).await?.then(|| place.to_string())
            }
            CodeAt::Session(session, is_proven) => is_proven.then(|| session.to_string()),
        };
        let counter = match home {
            Some(home) => (name(services, &format!("code\0{home}\0{user}")), Counter::CodeAtHome),
            None => (name(services, &format!("code\0{user}")), Counter::CodeElsewhere),
        };
        Self::count(services, vec![counter], None).await
    }

    async fn count(
        services: &Services,
        mut counters: Vec<(String, Counter)>,
        address: Option<String>,
    ) -> Result<Self, Error> {
        counters.sort_by(|one, other| one.0.cmp(&other.0));
        let names: Vec<String> = counters.iter().map(|(name, _)| name.clone()).collect();
        let tx = within(ANSWER_WITHIN, async {
            let mut tx = services.store.begin().await?;
            let now = dispatch::clock(&mut tx).await?;
            let counts = delays::lock(&mut tx, &names, now).await?;
            // The clock of before the lock would let many through that waited for it together.
            let now = dispatch::clock(&mut tx).await?;
            if let Some(seconds) = seconds_to_wait(&counts, now) {
                return Err(Error::GuessingSlowed { seconds });
            }
            for ((name, counter), count) in counters.iter().zip(counts) {
                delays::set(&mut tx, name, counted(*counter, count, now)).await?;
            }
            Ok(tx)
        })
        .await;
        if matches!(tx, Err(Error::GuessingSlowed { .. })) {
            services.metrics.count_sign_in("slowed");
        }
        commit(tx?, None).await?;
        Ok(Self { counters, address })
    }

    /// Says that it was right, in the transaction that says so too. From then on the person is known at the address.
    pub(super) async fn was_right(&self, conn: &mut PgConnection, user: UserId) -> Result<(), Error> {
        for (name, counter) in &self.counters {
            match counter {
                Counter::Pair | Counter::Own | Counter::CodeAtHome => delays::clear(conn, name).await?,
                Counter::Account | Counter::Address | Counter::CodeElsewhere => {
                    delays::take_back(conn, std::slice::from_ref(name)).await?;
                }
            }
        }
        if let Some(address) = &self.address {
            let now = dispatch::clock(conn).await?;
            delays::note_known(conn, user, address, now).await?;
        }
        Ok(())
    }

    /// Says that it could not be judged.
    pub(super) async fn take_back(&self, services: &Services) {
        self.take_back_of(services, |_| true).await;
    }

    /// Says that the password was right and only the code is missing, which many ask for in this way: that is nothing to
    /// make others wait for.
    pub(super) async fn was_asked_for_a_code(&self, services: &Services) {
        self.take_back_of(services, |counter| matches!(counter, Counter::Account | Counter::Address)).await;
    }

    async fn take_back_of(&self, services: &Services, is_meant: impl Fn(Counter) -> bool) {
        let meant = self.counters.iter().filter(|(_, counter)| is_meant(*counter));
        let names: Vec<String> = meant.map(|(name, _)| name.clone()).collect();
        let done = within(ANSWER_WITHIN, async {
            let mut tx = services.store.begin().await?;
            delays::take_back(&mut tx, &names).await?;
            commit(tx, None).await
        });
        if let Err(error) = done.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a sign-in that was not judged counts as a failure");
        }
    }
}

/// What a counter, or an address, is called where it is kept.
fn name(services: &Services, parts: &str) -> String {
    services.keyring.text_hash(&format!("sign-in\0{parts}"))
}

async fn is_known(services: &Services, user: Option<UserId>, address: &str) -> Result<bool, Error> {
    within(ANSWER_WITHIN, async {
        delays::is_known(&mut *services.store.acquire().await?, user, address).await
    })
    .await
}

/// How long the counter with most of it makes everybody wait; nothing when nobody has to.
fn seconds_to_wait(counts: &[Count], now: Timestamp) -> Option<u64> {
    let longest = counts.iter().map(|count| count.free_at.duration_since(now)).max()?;
    longest.is_positive().then(|| {
        let whole = longest.as_secs().saturating_add(i64::from(longest.subsec_nanos() > 0));
        whole.unsigned_abs()
    })
}

/// A counter after one failure more.
fn counted(counter: Counter, before: Count, now: Timestamp) -> Count {
    let is_over = before.free_at.saturating_add(counter.remembered()).is_ok_and(|until| until < now);
    let failures = if is_over { 1 } else { before.failures.saturating_add(1) };
    Count { failures, free_at: now + counter.wait(failures) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn waits_double_after_some_free_tries_and_end_at_their_longest() {
        let waits = |counter: Counter, failures: std::ops::Range<u32>| -> Vec<i64> {
            failures.map(|failures| counter.wait(failures).as_secs()).collect()
        };
        assert_eq!(waits(Counter::Pair, 8..21), [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
        assert_eq!(waits(Counter::Account, 19..29), [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits(Counter::Address, 100..102), [0, 1]);
        assert_eq!(Counter::Own.wait(u32::MAX), SignedDuration::from_mins(15));
        assert_eq!(waits(Counter::CodeElsewhere, 4..8), [0, 1, 2, 4]);
        assert_eq!(waits(Counter::CodeAtHome, 16..18), [2_048, 3_600]);
    }

    #[test]
    fn failures_are_forgotten_an_hour_after_nobody_waits_any_more() {
        let before = Count { failures: 9, free_at: at(1_000) };
        assert_eq!(counted(Counter::Pair, before, at(4_600)).failures, 10);
        assert_eq!(counted(Counter::Pair, before, at(4_601)).failures, 1);
        assert_eq!(counted(Counter::CodeAtHome, before, at(87_400)).failures, 10);
        assert_eq!(counted(Counter::CodeAtHome, before, at(87_401)).failures, 1);
    }

    #[test]
    fn the_longest_wait_holds_and_a_begun_second_is_a_whole_one() {
        let count = |milliseconds: i64| Count {
            failures: 7,
            free_at: Timestamp::from_millisecond(10_000 + milliseconds).unwrap(),
        };
        assert_eq!(seconds_to_wait(&[count(0), count(-5)], at(10)), None);
        assert_eq!(seconds_to_wait(&[count(-5), count(1), count(1_001)], at(10)), Some(2));
    }
}

//! How many requests callers may make: a bucket for each of them and each class of routes, which holds a minute's
//! requests and is filled evenly. Shared by all replicas in Redis where that is configured, otherwise in this process.
//!
//! ```text
//!  request ──► class, subject ──► Redis ──────────► Standing ──► answer's headers, or 429
//!                                   │ lost or slow
//!                                   └──► this process, strictly
//! ```
//! Nothing waits for Redis longer than [`shared`] says, and without it there is always a throttle: never none.

mod local;
pub mod shared;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aegis_runtime::http::address::neighbourhood;

use self::local::Local;
use self::shared::Shared;
use crate::metrics::ControlPlaneMetrics;
use crate::principal::Principal;

/// Time in which an empty bucket is full again, and in which a full one may be used up.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Most requests a minute of a bucket: its unit of time is the microsecond.
const PER_MINUTE_MAX: u32 = 1_000_000;
/// What this process lets through of a shared bucket that it cannot ask: so little that four replicas together let
/// through no more than the bucket would.
const STRICT_PART: u32 = 4;
/// The name of the bucket that is a principal's own.
const OWN: &str = "own";

/// Routes whose requests come out of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Signing in, continuing a session, changing a password: each may cost a hash, and can be a guess.
    SignIn,
    /// Requests whose proof was refused.
    Refused,
    /// What anybody may read, and what there is not.
    Public,
    /// Looking something up.
    Read,
    /// Changing something that is ours.
    Write,
    /// Asking for actions and decisions.
    Heal,
    /// What takes a processor or the database for longer.
    Search,
    /// Everything that an auditor takes away at once.
    Export,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SignIn,
        Self::Refused,
        Self::Public,
        Self::Read,
        Self::Write,
        Self::Heal,
        Self::Search,
        Self::Export,
    ];

    /// Its name, kebab-case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Refused => "refused",
            Self::Public => "public",
            Self::Read => "read",
            Self::Write => "write",
            Self::Heal => "heal",
            Self::Search => "search",
            Self::Export => "export",
        }
    }

    /// Requests a minute unless settings say otherwise.
    fn default_rate(self) -> Rate {
        let per_minute = match self {
            Self::SignIn => 60,
            Self::Refused | Self::Search => 300,
            Self::Public | Self::Write => 600,
            // Two replicas on small machines decide as much.
            Self::Read | Self::Heal => 6_000,
            Self::Export => 30,
        };
        Rate::per_minute(per_minute).expect("defaults are in range")
    }
}

/// How many requests a minute; a bucket holds as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// So many, 1 to 1,000,000.
    pub fn per_minute(requests: u32) -> Option<Self> {
        NonZeroU32::new(requests).filter(|requests| requests.get() <= PER_MINUTE_MAX).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// What is let through while nobody can be asked about the others.
    fn strict(self) -> Self {
        Self(NonZeroU32::new(self.get() / STRICT_PART).unwrap_or(NonZeroU32::MIN))
    }
}

/// The rate of each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates([Rate; Class::ALL.len()]);

impl Rates {
    /// Reads items such as `read=600`; classes that none names keep their defaults.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(items: &[String]) -> Result<Self, String> {
        let mut rates = Class::ALL.map(Class::default_rate);
        let mut seen = Vec::new();
        for item in items {
            let (name, number) =
                item.split_once('=').ok_or_else(|| format!("`{item}` is not CLASS=REQUESTS"))?;
            let index = Class::ALL.iter().position(|class| class.as_str() == name.trim());
            let index = index.ok_or_else(|| {
                let known = Class::ALL.map(Class::as_str).join(", ");
                format!("there is no class `{name}`, but {known}")
            })?;
            if seen.contains(&index) {
                return Err(format!("`{name}` is set twice"));
            }
            seen.push(index);
            let rate = number.trim().parse().ok().and_then(Rate::per_minute);
            rates[index] = rate.ok_or_else(|| {
                format!("{name} must be 1 to {PER_MINUTE_MAX} requests a minute, not {number}")
            })?;
        }
        Ok(Self(rates))
    }

    fn of(&self, class: Class) -> Rate {
        self.0[class as usize]
    }
}

/// Whose requests are counted.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// Of an address, while nobody has proven who calls.
    Address(IpAddr),
    /// Of a proven caller, from wherever.
    Principal(&'a Principal),
}

impl Subject<'_> {
    /// What its buckets are called.
    fn key(self) -> String {
        match self {
            Self::Address(address) => format!("address:{}", neighbourhood(address)),
            Self::Principal(principal) => principal.to_string(),
        }
    }
}

/// How a request was judged, and what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The bucket's class, or `own`.
    pub policy: &'static str,
    /// What the bucket holds.
    pub rate: Rate,
    /// How many more requests it holds now.
    pub remaining: u32,
    /// When it is full again if nothing more is asked.
    pub full_in: Duration,
    /// When the next request will be let through, if this one was not.
    pub retry_after: Option<Duration>,
}

impl Standing {
    /// Whether the request was let through.
    pub fn is_admitted(&self) -> bool {
        self.retry_after.is_none()
    }
}

/// The throttles of one process. Clones share them.
#[derive(Clone)]
pub struct Throttles(Arc<Inner>);

struct Inner {
    rates: Rates,
    local: Local,
    shared: Option<Shared>,
    metrics: ControlPlaneMetrics,
}

impl Throttles {
    /// Throttles with these rates, shared where there is something to share them by.
    pub fn new(rates: Rates, shared: Option<Shared>, metrics: ControlPlaneMetrics) -> Self {
        Self(Arc::new(Inner { rates, local: Local::default(), shared, metrics }))
    }

    /// Takes one request out of the subject's bucket of a class. `own` is a bucket of the subject's own, for its
    /// requests of all classes, where it has one: both must have room, and the standing is of the one that is nearer
    /// to its end.
    pub async fn admit(&self, class: Class, subject: Subject<'_>, own: Option<Rate>) -> Standing {
        let key = subject.key();
        let mut standing = self.take(class.as_str(), &key, self.0.rates.of(class)).await;
        if let (true, Some(rate)) = (standing.is_admitted(), own) {
            let of_own = self.take(OWN, &key, rate).await;
            if !of_own.is_admitted() || of_own.remaining < standing.remaining {
                standing = of_own;
            }
        }
        self.0.metrics.count_throttled(standing.policy, standing.is_admitted());
        standing
    }

    async fn take(&self, policy: &'static str, key: &str, rate: Rate) -> Standing {
        let Inner { local, shared, .. } = &*self.0;
        let Some(shared) = shared else { return local.take(policy, key, rate) };
        match shared.take(policy, key, rate).await {
            Some(standing) => standing,
            None => local.take(policy, key, rate.strict()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rates, String> {
        Rates::read(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rates_are_named_by_class_and_every_slip_is_told() {
        let rates = read("read=5,sign-in = 1000000").unwrap();
        assert_eq!(rates.of(Class::Read).get(), 5);
        assert_eq!(rates.of(Class::SignIn).get(), 1_000_000);
        assert_eq!(rates.of(Class::Write), Class::Write.default_rate());
        for (text, told) in [
            ("read", "CLASS=REQUESTS"),
            ("reads=5", "sign-in, refused"),
            ("read=0", "1 to 1000000"),
            ("read=1000001", "1 to 1000000"),
            ("read=-1", "1 to 1000000"),
            ("read=5,read=6", "twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_let_through_without_the_others_is_never_nothing_and_never_more() {
        for (rate, strict) in [(1, 1), (3, 1), (4, 1), (8, 2), (1_000_000, 250_000)] {
            assert_eq!(Rate::per_minute(rate).unwrap().strict().get(), strict);
        }
    }

    #[tokio::test]
    async fn a_rate_of_its_own_bounds_a_principal_over_all_classes() {
        let throttles =
            Throttles::new(read("read=3,write=100").unwrap(), None, ControlPlaneMetrics::default());
        let bot = Principal::Client("bot".to_owned());
        let (bot, own) = (Subject::Principal(&bot), Rate::per_minute(4));
        let admit = async |class, own| throttles.admit(class, bot, own).await;
        for class in [Class::Write, Class::Write, Class::Read] {
            let standing = admit(class, own).await;
            assert!(standing.is_admitted(), "{standing:?}");
        }
        // The nearer end is told: two reads are left, and one request of any kind.
        let last = admit(Class::Write, own).await;
        assert_eq!((last.policy, last.remaining, last.is_admitted()), (OWN, 0, true));
        let refused = admit(Class::Write, own).await;
        assert_eq!((refused.policy, refused.is_admitted()), (OWN, false));
        // Without it, and for others, the class alone counts.
        assert!(admit(Class::Write, None).await.is_admitted());
        let other = Principal::Client("other".to_owned());
        assert!(throttles.admit(Class::Write, Subject::Principal(&other), own).await.is_admitted());
    }

    #[test]
    fn the_page_and_the_setting_tell_the_rates_of_all_classes() {
        let page = include_str!("../../docs/operations.md");
        let setting = include_str!("settings.rs");
        for class in Class::ALL {
            let (name, rate) = (class.as_str(), class.default_rate().get());
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect(name);
            let told = row.trim_end_matches(" |").rsplit("| ").next().map(|told| told.replace(',', ""));
            assert_eq!(told.as_deref(), Some(rate.to_string().as_str()), "{row}");
            assert!(setting.contains(&format!("`{name}={rate}`")), "{name}");
        }
    }
}

//! Passwords of people: argon2id hashes (RFC 9106), made off the async threads, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use aegis_contract::strict::base64_encode;
use aegis_runtime::clock;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::metrics::ControlPlaneMetrics;

/// Memory of one hash in KiB, passes, and lanes: OWASP's recommendation for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes made at once: each takes 19 MiB and a core for a while.
const CONCURRENT_MAX: usize = 4;
/// Hashes that may wait for a turn: each of them keeps a caller and a connection, and all have had theirs in a second
/// or two.
const WAITING_MAX: usize = 64;
/// Longest wait for a turn; after that more people are signing in than can be served.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Fewest characters of a password that a person chose (NIST SP 800-63B).
const PASSWORD_LENGTH_MIN: usize = 12;
/// Most bytes of a password: hashing must not be made expensive by the caller.
pub const PASSWORD_LENGTH_MAX: usize = 1_024;
/// Random bytes of a password that we make.
const GENERATED_BYTES: usize = 18;

/// Checks passwords. Clones share the limits.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Those that are made and those that wait.
    places: Arc<Semaphore>,
    metrics: ControlPlaneMetrics,
    /// What is checked when there is no such person, so that it takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    /// A checker, with a decoy nobody knows the password of.
    ///
    /// # Errors
    /// When hashing fails.
    pub fn new(metrics: ControlPlaneMetrics) -> Result<Self, Error> {
        let decoy = hash(&generate())?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            places: Arc::new(Semaphore::new(CONCURRENT_MAX + WAITING_MAX)),
            metrics,
            decoy: decoy.into(),
        })
    }

    /// Whether `password` is of `password_hash`. Without a hash it costs the same, and is not.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn verify(&self, password: String, password_hash: Option<String>) -> Result<bool, Error> {
        let exists = password_hash.is_some();
        let password_hash = password_hash.unwrap_or_else(|| self.decoy.to_string());
        let matches = self.in_turn(move || {
            let parsed = PasswordHash::new(&password_hash).map_err(Error::internal)?;
            Ok(argon2()?.verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(matches.await? && exists)
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        self.in_turn(move || hash(&password)).await
    }

    /// Does what takes memory and a core, when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || {
            self.metrics.count_password_hash("refused");
            Error::Busy
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| busy())?.map_err(Error::internal)?;
        self.metrics.count_password_hash("computed");
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the caller who may go away.
            let _held = (place, turn);
            work()
        });
        done.await.map_err(Error::internal)?
    }
}

/// Whether a hash is not of argon2id, or costs less than one that is made now.
pub fn is_weak(password_hash: &str) -> bool {
    let (memory, passes, _) = COST;
    let Ok(parsed) = PasswordHash::new(password_hash) else { return true };
    let is_argon2id = parsed.algorithm.as_str() == Algorithm::Argon2id.as_str();
    let costs_less = |params: Params| params.m_cost() < memory || params.t_cost() < passes;
    !is_argon2id || Params::try_from(&parsed).map_or(true, costs_less)
}

/// Checks that a password may be chosen.
///
/// # Errors
/// `Parameter`.
pub fn check(password: &str) -> Result<(), Error> {
    if password.chars().count() >= PASSWORD_LENGTH_MIN && password.len() <= PASSWORD_LENGTH_MAX {
        return Ok(());
    }
    let message = format!(
        "must have at least {PASSWORD_LENGTH_MIN} characters and at most {PASSWORD_LENGTH_MAX} bytes"
    );
    Err(Error::Parameter { name: "password", message })
}

/// The PHC string of a password.
///
/// # Errors
/// When hashing fails.
pub fn hash(password: &str) -> Result<String, Error> {
    let salt: [u8; 16] = clock::random_bytes();
    let hash: PasswordHash =
        argon2()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(Error::internal)?;
    Ok(hash.to_string())
}

/// A password of 144 random bits.
pub fn generate() -> String {
    base64_encode(&clock::random_bytes::<GENERATED_BYTES>())
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(Error::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(ControlPlaneMetrics::default()).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_accepted() {
        let passwords = passwords();
        let hashed = hash("correct horse battery").unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(passwords.verify("correct horse battery".to_owned(), Some(hashed.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse batterz".to_owned(), Some(hashed)).await.unwrap());
        assert!(!passwords.verify("correct horse battery".to_owned(), None).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_says_itself_what_it_cost_and_one_that_cost_less_is_weak() {
        let salt = [7; 16];
        let made = |algorithm, memory, passes| {
            let params = Params::new(memory, passes, 1, None).unwrap();
            let hasher = Argon2::new(algorithm, Version::V0x13, params);
            let hash: PasswordHash = hasher.hash_password_with_salt(b"the same", &salt).unwrap();
            hash.to_string()
        };
        for (algorithm, memory, passes, weak) in [
            (Algorithm::Argon2id, 19 * 1024, 2, false),
            (Algorithm::Argon2id, 64 * 1024, 3, false),
            (Algorithm::Argon2id, 19 * 1024 - 1, 2, true),
            (Algorithm::Argon2id, 19 * 1024, 1, true),
            (Algorithm::Argon2i, 64 * 1024, 3, true),
        ] {
            let stored = made(algorithm, memory, passes);
            assert_eq!(is_weak(&stored), weak, "{stored}");
            assert!(passwords().verify("the same".to_owned(), Some(stored)).await.unwrap());
        }
        assert!(is_weak("!"));
    }

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_is_turned_away_at_once() {
        let passwords = passwords();
        let turns = Arc::clone(&passwords.turns).acquire_many_owned(4).await.unwrap();
        let work = || {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.in_turn(|| Ok(())).await })
        };
        let waiting: Vec<_> = (0..CONCURRENT_MAX + WAITING_MAX).map(|_| work()).collect();
        while passwords.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(passwords.in_turn(|| Ok(())).await, Err(Error::Busy)));
        drop(turns);
        for served in waiting {
            served.await.unwrap().unwrap();
        }
        passwords.in_turn(|| Ok(())).await.unwrap();
    }
}

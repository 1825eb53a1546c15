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

/// Memory of one hash in KiB, passes, and lanes: OWASP's recommendation for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Hashes made at once: each takes 19 MiB and a core for a while.
const CONCURRENT_MAX: usize = 4;
/// Longest wait for a turn; after that more people are signing in than can be served.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Fewest characters of a password that a person chose (NIST SP 800-63B).
const PASSWORD_LENGTH_MIN: usize = 12;
/// Most bytes of a password: hashing must not be made expensive by the caller.
pub const PASSWORD_LENGTH_MAX: usize = 1_024;
/// Random bytes of a password that we make.
const GENERATED_BYTES: usize = 18;

/// Checks passwords. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// What is checked when there is no such person, so that it takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    /// A checker, with a decoy nobody knows the password of.
    ///
    /// # Errors
    /// When hashing fails.
    pub fn new() -> Result<Self, Error> {
        let decoy = hash(&generate())?;
        Ok(Self { turns: Arc::new(Semaphore::new(CONCURRENT_MAX)), decoy: decoy.into() })
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
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| Error::Busy)?.map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the caller who may go away.
            let _turn = turn;
            work()
        });
        done.await.map_err(Error::internal)?
    }
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

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_accepted() {
        let passwords = Passwords::new().unwrap();
        let hashed = hash("correct horse battery").unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(passwords.verify("correct horse battery".to_owned(), Some(hashed.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse batterz".to_owned(), Some(hashed)).await.unwrap());
        assert!(!passwords.verify("correct horse battery".to_owned(), None).await.unwrap());
    }
}

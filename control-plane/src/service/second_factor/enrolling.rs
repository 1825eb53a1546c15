//! Getting a second factor: a secret is told once, and counts when a first code of it was shown.

use aegis_contract::ids::{SessionId, UserId};
use aegis_runtime::clock;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::json;

use super::code::{RECOVERY_CODES, SECRET_BYTES, Typed, as_text, as_uri, recovery_code, step_of};
use super::showing::{Failed, finish, recovery_hash};
use super::{STEP_UP_GOOD_FOR, none, record};
use crate::audit::{self, Kind};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::seal::{Keyring, Purpose};
use crate::service::Services;
use crate::service::account::prove_password;
use crate::service::guessing::{CodeAt, Guess};
use crate::store::{ANSWER_WITHIN, commit, delays, dispatch, second_factors, sessions, users, within};

/// What a person gives their app. Told once.
#[derive(Clone)]
pub struct Enrolment {
    /// The secret, to be typed.
    pub secret: SecretString,
    /// The same with what goes with it, to be shown as a picture.
    pub uri: SecretString,
}

/// Makes a secret for the caller's app, in place of one that no code confirmed yet. It counts for nothing so far.
///
/// # Errors
/// `Forbidden` for clients; `PasswordWrong`, and after too many of these `GuessingSlowed`; `Parameter` when the password
/// is missing; `SignInAgain` for who has none and did not sign in lately; `AlreadyExists` when they have a second factor.
pub async fn begin(
    services: &Services,
    caller: &Caller,
    password: Option<String>,
) -> Result<Enrolment, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, session) = caller.person()?;
    services.safeguards.require_recordable()?;
    let guess = prove(services, caller, (user, session), password).await?;
    let secret = Zeroizing::new(clock::random_bytes::<SECRET_BYTES>());
    let (tx, email) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !second_factors::put(&mut tx, user, &seal(&services.keyring, user, secret.as_slice())).await? {
            return Err(exists());
        }
        let person = users::find(&mut tx, user).await?.ok_or(Error::Unauthenticated)?;
        if let Some(guess) = &guess {
            guess.was_right(&mut tx, user).await?;
        }
        let data = json!({ "user": caller.name });
        audit::append(&mut tx, record(caller, Kind::SecondFactorBegun, data)).await?;
        Ok((tx, person.email))
    })
    .await?;
    commit(tx, None).await?;
    Ok(Enrolment { secret: as_text(secret.as_slice()).into(), uri: as_uri(secret.as_slice(), &email).into() })
}

/// Checks that it is the person: by the password, or where they have none by having signed in lately.
async fn prove(
    services: &Services,
    caller: &Caller,
    (user, session): (UserId, SessionId),
    password: Option<String>,
) -> Result<Option<Guess>, Error> {
    let (hash, begun) = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        if second_factors::find(&mut conn, user).await?.is_some_and(|found| found.is_confirmed) {
            return Err(exists());
        }
        let hash = users::password_hash(&mut conn, user).await?;
        let (created_at, _) = sessions::beginning(&mut conn, session).await?.ok_or(Error::Unauthenticated)?;
        Ok((hash, dispatch::clock(&mut conn).await?.duration_since(created_at)))
    })
    .await?;
    match (hash, password) {
        (Some(hash), Some(password)) => {
            prove_password(services, caller, user, password, &hash).await.map(Some)
        }
        (Some(_), None) => {
            let message = "is asked for once more".to_owned();
            Err(Error::Parameter { name: "password", message })
        }
        (None, _) if begun < STEP_UP_GOOD_FOR => Ok(None),
        (None, _) => Err(Error::SignInAgain { minutes: STEP_UP_GOOD_FOR.as_mins() }),
    }
}

/// Has the caller's secret count, by its first code, which counts as shown in this session; the recovery codes.
///
/// # Errors
/// `Forbidden` for clients; `NotFound` when no secret waits; `AlreadyExists` when it counts already; `CodeWrong`, and
/// after too many of these `GuessingSlowed`.
pub async fn confirm(services: &Services, caller: &Caller, code: &str) -> Result<Vec<SecretString>, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, session) = caller.person()?;
    services.safeguards.require_recordable()?;
    let found = within(ANSWER_WITHIN, async {
        second_factors::find(&mut *services.store.acquire().await?, user).await
    });
    let found = found.await?.ok_or_else(none)?;
    if found.is_confirmed {
        return Err(exists());
    }
    let secret = open(&services.keyring, user, &found.sealed_secret)?;
    let (plain, shown): (Vec<_>, Vec<_>) = (0..RECOVERY_CODES).map(|_| recovery_code()).unzip();
    let hashes: Vec<String> = plain.iter().map(|plain| recovery_hash(services, user, plain)).collect();
    let guess = Guess::begin_code(services, user, CodeAt::Session(session, false)).await?;
    let result = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let Some(Typed::Digits(digits)) = Typed::read(code) else { return Err(Error::CodeWrong) };
        let now = dispatch::clock(&mut tx).await?;
        let step = step_of(&secret, digits, now, 0).ok_or(Error::CodeWrong)?;
        if !second_factors::confirm(&mut tx, user, &found.sealed_secret, step).await? {
            return Err(Error::CodeWrong);
        }
        second_factors::insert_recovery_codes(&mut tx, user, &hashes).await?;
        sessions::step_up(&mut tx, session, user).await?.ok_or(Error::Unauthenticated)?;
        // From now on somebody is known where they have shown a code.
        delays::forget_known(&mut tx, user).await?;
        guess.was_right(&mut tx, user).await?;
        let data = json!({ "user": caller.name, "session": session });
        audit::append(&mut tx, record(caller, Kind::SecondFactorEnrolled, data)).await?;
        Ok((tx, shown.into_iter().map(SecretString::from).collect()))
    });
    let failed = Failed { by: &caller.name, user, place: "enrolment", request_id: &caller.request_id };
    finish(services, &guess, failed, result.await).await
}

fn exists() -> Error {
    Error::AlreadyExists("a second factor of yours".to_owned())
}

/// A secret as it is kept. It says whose it is, so that nobody's can be put in the place of another's.
fn seal(keyring: &Keyring, user: UserId, secret: &[u8]) -> Vec<u8> {
    let named = Zeroizing::new([user.0.as_bytes().as_slice(), secret].concat());
    keyring.seal(Purpose::SecondFactor, &named)
}

/// The secret of a person.
///
/// # Errors
/// Those of [`Keyring::open`], and when it is somebody else's.
pub(super) fn open(keyring: &Keyring, user: UserId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let named = keyring.open(Purpose::SecondFactor, sealed)?;
    match named.strip_prefix(user.0.as_bytes()) {
        Some(secret) => Ok(Zeroizing::new(secret.to_vec())),
        None => Err(Error::StateNotInLog { what: "a second factor".to_owned() }),
    }
}

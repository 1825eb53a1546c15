//! Signing in with e-mail address and password, and a code where the person has a second factor.

use std::net::IpAddr;
use std::time::Duration;

use aegis_contract::ids::UserId;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use super::Services;
use super::authenticate::this_minute;
use super::guessing::{Guess, Tried};
use super::passwords::{self, PASSWORD_LENGTH_MAX};
use super::second_factor::{self, AtSignIn, Shown};
use super::sessions::{self, SignedIn};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::principal::Principal;
use crate::store::users::User;
use crate::store::{self, ANSWER_WITHIN, commit, refusals, users, within};

/// Failures are answered after whole multiples of this: what was different about them, such as that one of them was
/// recorded, shall not be seen by how long they took.
const FAILURE_STEP: Duration = Duration::from_millis(250);
/// How often a password is looked at that is right, and has been changed or hashed anew meanwhile.
const ATTEMPTS: usize = 2;

/// Who wants to sign in, and from where.
pub struct Attempt<'a> {
    /// Their e-mail address.
    pub email: &'a str,
    /// Their password.
    pub password: String,
    /// A code of their second factor, if they have one.
    pub code: Option<&'a str>,
    /// What they do it with, in its own words.
    pub agent: &'a str,
    /// Where the caller is: their address, or the /64 of an IPv6 one.
    pub neighbourhood: IpAddr,
    /// Names the request.
    pub request_id: &'a str,
}

/// Signs a person in, which begins a session. Somebody who is unknown, is disabled or has no password costs as much work
/// as a wrong password, and is answered the same.
///
/// # Errors
/// `SignInFailed` when they do not belong together; `CodeRequired` and `CodeWrong` when they do, and the second factor is
/// not shown; `GuessingSlowed` after too many of these; `Busy` when too many are signing in; `ClockSkewed` while a token
/// would be of a wrong time.
pub async fn sign_in(services: &Services, attempt: &Attempt<'_>) -> Result<SignedIn, Error> {
    services.safeguards.require_true_clock()?;
    let begun = Instant::now();
    let result = judge(services, attempt).await;
    if matches!(result, Err(Error::SignInFailed | Error::CodeRequired | Error::CodeWrong)) {
        let steps = u32::try_from(begun.elapsed().as_millis() / FAILURE_STEP.as_millis()).unwrap_or(u32::MAX);
        tokio::time::sleep_until(begun + FAILURE_STEP.saturating_mul(steps.saturating_add(1))).await;
    }
    result
}

async fn judge(services: &Services, attempt: &Attempt<'_>) -> Result<SignedIn, Error> {
    let mut user = find(services, attempt.email).await?;
    let tried = Tried {
        user: user.as_ref().map(|user| user.id),
        email: attempt.email,
        neighbourhood: attempt.neighbourhood,
    };
    let guess = Guess::begin(services, tried).await?;
    for _ in 0..ATTEMPTS {
        match verify(services, attempt, user.as_ref(), &guess).await {
            Ok(Some(signed_in)) => {
                services.metrics.count_sign_in("succeeded");
                return Ok(signed_in);
            }
            Ok(None) => user = find(services, attempt.email).await?,
            Err(Error::SignInFailed) => break,
            // The password was right, and is good for nothing alone: at this address it counts as a guess like any other.
            Err(error @ (Error::CodeRequired | Error::CodeWrong)) => {
                if matches!(error, Error::CodeRequired) {
                    guess.was_asked_for_a_code(services).await;
                }
                services.metrics.count_sign_in("failed");
                let reason = if matches!(error, Error::CodeWrong) { "wrong" } else { "missing" };
                if let Some(user) = &user {
                    second_factor::note_failure(services, user.id, reason, attempt.request_id).await?;
                }
                return Err(error);
            }
            Err(error) => {
                guess.take_back(services).await;
                return Err(error);
            }
        }
    }
    services.metrics.count_sign_in("failed");
    record_failure(services, tried.user, attempt.request_id).await?;
    Err(Error::SignInFailed)
}

async fn find(services: &Services, email: &str) -> Result<Option<User>, Error> {
    within(ANSWER_WITHIN, async { users::find_by_email(&mut *services.store.acquire().await?, email).await })
        .await
}

/// Begins a session if the password is right; nothing when it was another one by then.
async fn verify(
    services: &Services,
    attempt: &Attempt<'_>,
    user: Option<&User>,
    guess: &Guess,
) -> Result<Option<SignedIn>, Error> {
    let fits = attempt.password.len() <= PASSWORD_LENGTH_MAX;
    let password = if fits { attempt.password.clone() } else { String::new() };
    let password_hash = user.and_then(|user| user.password_hash.clone());
    let matches = services.passwords.verify(password, password_hash.clone()).await?;
    let (Some(user), Some(password_hash), true) = (user, password_hash, matches && fits) else {
        return Err(Error::SignInFailed);
    };
    let upgraded = if passwords::is_weak(&password_hash) {
        // Who cannot be served twice now is the next time.
        services.passwords.hash(attempt.password.clone()).await.ok()
    } else {
        None
    };
    let code = AtSignIn::begin(services, user.id, attempt.code, attempt.neighbourhood).await?;
    let proven =
        Proven { user, password_hash: &password_hash, upgraded: upgraded.as_deref(), code: code.as_ref() };
    let result = record_success(services, attempt, proven, guess).await;
    if let (Some(code), Ok(None) | Err(_)) = (&code, &result)
        && !matches!(result, Err(Error::CodeWrong))
    {
        code.take_back(services).await;
    }
    result
}

/// Somebody whose password was right.
#[derive(Clone, Copy)]
struct Proven<'a> {
    user: &'a User,
    /// The hash it was held against.
    password_hash: &'a str,
    /// A stronger one, to be kept from now on.
    upgraded: Option<&'a str>,
    /// The code of their second factor, if they have one.
    code: Option<&'a AtSignIn<'a>>,
}

/// Begins the session; nothing when the password was changed, or the person disabled, while it was checked.
async fn record_success(
    services: &Services,
    attempt: &Attempt<'_>,
    proven: Proven<'_>,
    guess: &Guess,
) -> Result<Option<SignedIn>, Error> {
    let Proven { user, password_hash, upgraded, code } = proven;
    let begun = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let still = match upgraded {
            None => users::lock_with_password(&mut tx, user.id, password_hash).await?,
            Some(stronger) => users::set_password(&mut tx, user.id, password_hash, stronger).await?,
        };
        if !still {
            return Ok(None);
        }
        let shown = match code {
            Some(code) => Some(code.use_up(&mut tx, services, user.id, attempt.request_id).await?),
            None => None,
        };
        guess.was_right(&mut tx, user.id).await?;
        let (session, signed_in) =
            sessions::begin(&mut tx, services, user.id, &user.roles, attempt.agent).await?;
        if shown.is_some() {
            store::sessions::step_up(&mut tx, session, user.id).await?;
        }
        let record = Record {
            kind: Kind::UserSignedIn,
            principal: &Principal::User(user.id).to_string(),
            action_id: None,
            request_id: Some(attempt.request_id),
            data: json!({
                "session": session,
                "roles": user.roles,
                "hashUpgraded": upgraded.is_some(),
                "secondFactor": shown.map(Shown::as_str),
            }),
        };
        audit::append(&mut tx, record).await?;
        Ok(Some((tx, signed_in)))
    })
    .await?;
    let Some((tx, signed_in)) = begun else { return Ok(None) };
    commit(tx, None).await?;
    Ok(Some(signed_in))
}

/// Records the first wrong password of an account in a minute; of unknown addresses together.
pub(super) async fn record_failure(
    services: &Services,
    user: Option<UserId>,
    request_id: &str,
) -> Result<(), Error> {
    let account = user.map(|user| Principal::User(user).to_string());
    let tx: Option<Transaction<'static, Postgres>> = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let kind = Kind::UserSignInFailed;
        if !refusals::note(&mut tx, kind.as_str(), account.as_deref().unwrap_or_default(), this_minute())
            .await?
        {
            return Ok(None);
        }
        let record = Record {
            kind,
            principal: ANONYMOUS,
            action_id: None,
            request_id: Some(request_id),
            data: json!({ "account": account }),
        };
        audit::append(&mut tx, record).await?;
        Ok(Some(tx))
    })
    .await?;
    match tx {
        Some(tx) => commit(tx, None).await,
        None => Ok(()),
    }
}

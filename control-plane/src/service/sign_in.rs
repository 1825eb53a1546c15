//! Signing in with e-mail address and password.

use aegis_contract::ids::UserId;
use serde_json::json;
use sqlx::{Postgres, Transaction};

use super::Services;
use super::authenticate::this_minute;
use super::passwords::PASSWORD_LENGTH_MAX;
use super::sessions::{self, SignedIn};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::principal::Principal;
use crate::store::users::User;
use crate::store::{ANSWER_WITHIN, commit, refusals, users, within};

/// Signs a person in, which begins a session; `agent` is what they do it with, in its own words. An unknown address costs as much time as a wrong password, and is answered
/// the same.
///
/// # Errors
/// `SignInFailed` when they do not belong together; `Busy` when too many are signing in;
/// `ClockSkewed` while a token would be of a wrong time.
pub async fn sign_in(
    services: &Services,
    email: &str,
    password: String,
    agent: &str,
    request_id: &str,
) -> Result<SignedIn, Error> {
    services.safeguards.require_true_clock()?;
    let user = within(ANSWER_WITHIN, async {
        users::find_by_email(&mut *services.store.acquire().await?, email).await
    })
    .await?;
    let password_hash = user.as_ref().map(|user| user.password_hash.clone());
    let fits = password.len() <= PASSWORD_LENGTH_MAX;
    let matches =
        services.passwords.verify(if fits { password } else { String::new() }, password_hash).await?;
    match user {
        Some(user) if matches && fits => {
            let signed_in = record_success(services, &user, agent, request_id).await?;
            services.metrics.count_sign_in(if signed_in.is_some() { "succeeded" } else { "failed" });
            signed_in.ok_or(Error::SignInFailed)
        }
        user => {
            services.metrics.count_sign_in("failed");
            record_failure(services, user.map(|user| user.id), request_id).await?;
            Err(Error::SignInFailed)
        }
    }
}

/// Begins the session; nothing when the password was changed, or the person disabled, while it was checked.
async fn record_success(
    services: &Services,
    user: &User,
    agent: &str,
    request_id: &str,
) -> Result<Option<SignedIn>, Error> {
    let begun = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !users::lock_with_password(&mut tx, user.id, &user.password_hash).await? {
            return Ok(None);
        }
        let (session, signed_in) = sessions::begin(&mut tx, services, user.id, &user.roles, agent).await?;
        let record = Record {
            kind: Kind::UserSignedIn,
            principal: &Principal::User(user.id).to_string(),
            action_id: None,
            request_id: Some(request_id),
            data: json!({ "session": session, "roles": user.roles }),
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

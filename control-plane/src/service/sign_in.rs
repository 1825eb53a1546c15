//! Signing in with e-mail address and password.

use aegis_runtime::clock;
use serde_json::json;
use sqlx::{Postgres, Transaction};

use super::authenticate::this_minute;
use super::passwords::PASSWORD_LENGTH_MAX;
use super::{Services, tokens};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::principal::Principal;
use crate::store::users::User;
use crate::store::{ANSWER_WITHIN, commit, refusals, users, within};

/// A signed-in person's token.
#[derive(Clone)]
pub struct SignedIn {
    /// The token.
    pub access_token: String,
    /// How long it is good, in seconds.
    pub expires_in_seconds: u32,
}

/// Signs a person in. An unknown address costs as much time as a wrong password, and is answered
/// the same.
///
/// # Errors
/// `SignInFailed` when they do not belong together; `Busy` when too many are signing in;
/// `ClockSkewed` while a token would be of a wrong time.
pub async fn sign_in(
    services: &Services,
    email: &str,
    password: String,
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
            let signed_in = record_success(services, &user, request_id).await?;
            services.metrics.count_sign_in("succeeded");
            Ok(signed_in)
        }
        user => {
            services.metrics.count_sign_in("failed");
            record_failure(services, user.as_ref(), request_id).await?;
            Err(Error::SignInFailed)
        }
    }
}

async fn record_success(services: &Services, user: &User, request_id: &str) -> Result<SignedIn, Error> {
    let access_token = services.tokens.issue(user.id, &user.roles, clock::now())?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let record = Record {
            kind: Kind::UserSignedIn,
            principal: &Principal::User(user.id).to_string(),
            action_id: None,
            request_id: Some(request_id),
            data: json!({ "roles": user.roles }),
        };
        audit::append(&mut tx, record).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await?;
    Ok(SignedIn { access_token, expires_in_seconds: tokens::LIFETIME_SECONDS })
}

/// The first failure of an account in a minute; of unknown addresses together.
async fn record_failure(services: &Services, user: Option<&User>, request_id: &str) -> Result<(), Error> {
    let account = user.map(|user| Principal::User(user.id).to_string());
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

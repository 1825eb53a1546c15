//! The secret of an alert source, in the request as it is.

use aegis_contract::digest::Digest;

use super::refuse_token;
use crate::error::Error;
use crate::principal::{Caller, Principal, SecondFactor};
use crate::scope::Scope;
use crate::service::Services;
use crate::service::alert_sources::CredentialKind;
use crate::store::{ANSWER_WITHIN, alert_sources, within};

/// What a request says of an alert source.
#[derive(Clone)]
pub struct Presented {
    /// How it says its secret.
    pub kind: CredentialKind,
    /// Whom it names; nobody where the secret says it all.
    pub user: Option<String>,
    /// The token or the password.
    pub secret: String,
}

/// Proves an alert source. Without anything that can be read, it is for nobody.
///
/// # Errors
/// `Unauthenticated`, whatever is wrong.
pub async fn by_credential(
    services: &Services,
    presented: Option<&Presented>,
    request_id: &str,
) -> Result<Caller, Error> {
    match prove(services, presented).await? {
        Ok(name) => {
            let principal = Principal::AlertSource(name);
            Ok(Caller {
                name: principal.to_string(),
                principal,
                roles: Vec::new(),
                scope: Scope::default(),
                requests_per_minute: None,
                session: None,
                second_factor: SecondFactor::Absent,
                nonce: None,
                request_id: request_id.to_owned(),
            })
        }
        Err(reason) => Err(refuse_token(services, reason, request_id).await),
    }
}

/// The name of the source, or the precise reason why there is none.
async fn prove(
    services: &Services,
    presented: Option<&Presented>,
) -> Result<Result<String, &'static str>, Error> {
    let Some(Presented { kind, user, secret }) = presented else { return Ok(Err("credential-malformed")) };
    // Found by its hash: how long that takes says nothing of a secret that is not there.
    let hash = Digest::of(secret.as_bytes());
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let Some(found) = alert_sources::present(&mut conn, hash).await? else {
            return Ok(Err("credential-unknown"));
        };
        let is_named = user.as_ref().is_none_or(|user| *user == found.alert_source);
        if found.kind != kind.as_str() || !is_named {
            return Ok(Err("credential-misused"));
        }
        if found.is_revoked {
            return Ok(Err("credential-revoked"));
        }
        if found.is_disabled {
            return Ok(Err("alert-source-disabled"));
        }
        if !found.is_use_noted {
            alert_sources::note_use(&mut conn, found.id).await?;
        }
        Ok(Ok(found.alert_source))
    })
    .await
}

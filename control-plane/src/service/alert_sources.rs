//! Whatever sends alerts: adding it, and changing what it proves itself with. It cannot sign its requests as clients
//! do, and may do nothing but say who it is.

use aegis_contract::digest::Digest;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::Services;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
pub use crate::store::alert_sources::{AlertSource, Credential};
use crate::store::{ANSWER_WITHIN, alert_sources, commit, within};

/// Live credentials of one alert source: the old and the new one while they are rotated.
const CREDENTIALS_MAX: i64 = 2;
/// How bearer tokens of alert sources begin, so that they are told from those of people, and found where they leaked.
pub const TOKEN_PREFIX: &str = "aas_";

/// How an alert source says its secret (RFC 6750, RFC 7617).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// `Authorization: Bearer`, with a token.
    Bearer,
    /// `Authorization: Basic`, with the source's name and a password.
    Basic,
}

impl CredentialKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Basic => "basic",
        }
    }

    /// A secret of 256 random bits.
    fn secret(self) -> SecretString {
        let random = URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>());
        match self {
            Self::Bearer => format!("{TOKEN_PREFIX}{random}").into(),
            Self::Basic => random.into(),
        }
    }
}

/// A credential that was just made.
#[derive(Clone, Debug)]
pub struct CreatedCredential {
    /// Its id.
    pub id: Uuid,
    /// The token or the password. Shown once.
    pub secret: SecretString,
}

/// Alert sources by name, those after `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<AlertSource>, Error> {
    caller.require(Permission::ManageAlertSources)?;
    within(ANSWER_WITHIN, async {
        alert_sources::list(&mut *services.store.acquire().await?, after, limit.into()).await
    })
    .await
}

/// One alert source.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn find(services: &Services, caller: &Caller, name: &str) -> Result<AlertSource, Error> {
    caller.require(Permission::ManageAlertSources)?;
    let found = async { alert_sources::find(&mut *services.store.acquire().await?, name).await };
    within(ANSWER_WITHIN, found).await?.ok_or_else(not_found)
}

/// Adds an alert source with its first credential.
///
/// # Errors
/// `Forbidden`; `Parameter` for an unusable name; `AlreadyExists`.
pub async fn create(
    services: &Services,
    caller: &Caller,
    name: &str,
    kind: CredentialKind,
) -> Result<(AlertSource, CreatedCredential), Error> {
    begin(services, caller)?;
    if !is_dns_label(name) {
        let message = format!(
            "`{name}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
        );
        return Err(Error::Parameter { name: "name", message });
    }
    let (tx, made) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !alert_sources::insert(&mut tx, name, clock::now()).await? {
            return Err(Error::AlreadyExists(format!("an alert source named {name}")));
        }
        let credential = issue(&mut tx, caller, Kind::AlertSourceCreated, name, kind).await?;
        let (tx, source) = shown(tx, name).await?;
        Ok((tx, (source, credential)))
    })
    .await?;
    commit(tx, None).await?;
    Ok(made)
}

/// Gives an alert source another credential, so that it can change over from the old one.
///
/// # Errors
/// `Forbidden`; `NotFound`; `AlreadyExists` when it has two live ones.
pub async fn add_credential(
    services: &Services,
    caller: &Caller,
    name: &str,
    kind: CredentialKind,
) -> Result<(AlertSource, CreatedCredential), Error> {
    begin(services, caller)?;
    let (tx, made) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        alert_sources::lock(&mut tx, name).await?.ok_or_else(not_found)?;
        if alert_sources::count_live(&mut tx, name).await? >= CREDENTIALS_MAX {
            let what = format!("a second live credential of {name} (revoke one first); it");
            return Err(Error::AlreadyExists(what));
        }
        let credential = issue(&mut tx, caller, Kind::AlertSourceCredentialAdded, name, kind).await?;
        let (tx, source) = shown(tx, name).await?;
        Ok((tx, (source, credential)))
    })
    .await?;
    commit(tx, None).await?;
    Ok(made)
}

async fn issue(
    conn: &mut PgConnection,
    caller: &Caller,
    kind: Kind,
    name: &str,
    credential: CredentialKind,
) -> Result<CreatedCredential, Error> {
    let (id, secret) = (clock::new_uuid(), credential.secret());
    let hash = Digest::of(secret.expose_secret().as_bytes());
    alert_sources::insert_credential(conn, name, id, credential.as_str(), hash, clock::now()).await?;
    let data =
        json!({ "alertSource": principal(name), "credential": id, "credentialKind": credential.as_str() });
    append(conn, caller, kind, data).await?;
    Ok(CreatedCredential { id, secret })
}

/// Revokes a credential, from the next request on.
///
/// # Errors
/// `Forbidden`; `NotFound` without such a one, and when it was revoked before.
pub async fn revoke_credential(
    services: &Services,
    caller: &Caller,
    name: &str,
    id: Uuid,
) -> Result<(), Error> {
    begin(services, caller)?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !alert_sources::revoke(&mut tx, name, id, clock::now()).await? {
            return Err(Error::NotFound { what: "live credential" });
        }
        let data = json!({ "alertSource": principal(name), "credential": id });
        append(&mut tx, caller, Kind::AlertSourceCredentialRevoked, data).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// Disables an alert source, or enables it again, from its next request on. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn set_disabled(
    services: &Services,
    caller: &Caller,
    name: &str,
    is_disabled: bool,
) -> Result<AlertSource, Error> {
    begin(services, caller)?;
    let (tx, source) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let was_disabled = alert_sources::lock(&mut tx, name).await?.ok_or_else(not_found)?;
        if was_disabled != is_disabled {
            alert_sources::set_disabled(&mut tx, name, is_disabled.then(clock::now)).await?;
            let kind = if is_disabled { Kind::AlertSourceDisabled } else { Kind::AlertSourceEnabled };
            append(&mut tx, caller, kind, json!({ "alertSource": principal(name) })).await?;
        }
        shown(tx, name).await
    })
    .await?;
    commit(tx, None).await?;
    Ok(source)
}

/// Removes an alert source with its credentials, from its next request on.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn delete(services: &Services, caller: &Caller, name: &str) -> Result<(), Error> {
    begin(services, caller)?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !alert_sources::delete(&mut tx, name).await? {
            return Err(not_found());
        }
        let data = json!({ "alertSource": principal(name) });
        append(&mut tx, caller, Kind::AlertSourceDeleted, data).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

async fn shown(
    mut tx: Transaction<'static, Postgres>,
    name: &str,
) -> Result<(Transaction<'static, Postgres>, AlertSource), Error> {
    let source = alert_sources::find(&mut tx, name).await?.ok_or_else(not_found)?;
    Ok((tx, source))
}

/// What comes before every change.
fn begin(services: &Services, caller: &Caller) -> Result<(), Error> {
    caller.require(Permission::ManageAlertSources)?;
    services.safeguards.require_recordable()
}

async fn append(conn: &mut PgConnection, caller: &Caller, kind: Kind, data: Value) -> Result<(), Error> {
    let Caller { name, request_id, .. } = caller;
    let record = Record { kind, principal: name, action_id: None, request_id: Some(request_id), data };
    audit::append(conn, record).await.map(drop)
}

fn principal(name: &str) -> String {
    Principal::AlertSource(name.to_owned()).to_string()
}

fn not_found() -> Error {
    Error::NotFound { what: "alert source" }
}

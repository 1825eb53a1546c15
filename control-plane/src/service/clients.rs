//! Adding automation, bounding it, and changing its keys.

mod key;

use aegis_contract::ids::UserId;
use aegis_contract::problem::FieldError;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};

pub use self::key::{CreatedKey, KeyRequest};
use self::key::{PreparedKey, check_expiry};
use super::Services;
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
use crate::seal::Keyring;
pub use crate::store::clients::{Bounds, Client, Key};
use crate::store::{ANSWER_WITHIN, Store, client_keys, clients, commit, users, within};

/// Live keys of one client: the old and the new one while they are rotated.
const KEYS_MAX: i64 = 2;
/// Most requests each minute that a client may be bounded to: more is no bound.
const REQUESTS_PER_MINUTE_MAX: u32 = 100_000;

/// A client to add.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its unique name.
    pub name: String,
    /// E-mail address of the person who answers for it.
    pub owner_email: String,
    /// What bounds it.
    pub bounds: Bounds,
    /// Its first key.
    pub key: KeyRequest,
}

/// Who changes a client.
#[derive(Clone, Copy)]
struct By<'a> {
    principal: &'a str,
    request_id: Option<&'a str>,
}

/// Whoever runs a command on the machine itself.
const BY_OPERATOR: By<'static> = By { principal: OPERATOR, request_id: None };

impl<'a> From<&'a Caller> for By<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self { principal: &caller.name, request_id: Some(&caller.request_id) }
    }
}

/// Clients by name, those after `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Client>, Error> {
    caller.require(Permission::ManageClients)?;
    within(ANSWER_WITHIN, async {
        clients::list(&mut *services.store.acquire().await?, after, limit.into()).await
    })
    .await
}

/// One client.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn find(services: &Services, caller: &Caller, name: &str) -> Result<Client, Error> {
    caller.require(Permission::ManageClients)?;
    let found = async { clients::find(&mut *services.store.acquire().await?, name).await };
    within(ANSWER_WITHIN, found).await?.ok_or_else(no_client)
}

/// Adds a client with its first key.
///
/// # Errors
/// `Forbidden`; `Parameter` and `Invalid` for an unusable part; `NotFound` without such an owner; `AlreadyExists`.
pub async fn create(
    services: &Services,
    caller: &Caller,
    new: &NewClient,
) -> Result<(Client, CreatedKey), Error> {
    begin(services, caller)?;
    let (tx, made) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let key = insert(&mut tx, &services.keyring, new, caller.into()).await?;
        let client = clients::find(&mut tx, &new.name).await?.ok_or_else(no_client)?;
        Ok((tx, (client, key)))
    })
    .await?;
    commit(tx, None).await?;
    Ok(made)
}

/// The same at the word of an operator.
///
/// # Errors
/// Those of [`create`] but `Forbidden`.
pub async fn create_by_operator(
    store: &Store,
    keyring: &Keyring,
    new: &NewClient,
) -> Result<CreatedKey, Error> {
    let mut tx = store.begin().await?;
    let key = insert(&mut tx, keyring, new, BY_OPERATOR).await?;
    commit(tx, None).await?;
    Ok(key)
}

async fn insert(
    conn: &mut PgConnection,
    keyring: &Keyring,
    new: &NewClient,
    by: By<'_>,
) -> Result<CreatedKey, Error> {
    if !is_dns_label(&new.name) {
        let message = format!(
            "`{}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit",
            new.name
        );
        return Err(Error::Parameter { name: "name", message });
    }
    check(&new.bounds, &Bounds::default())?;
    let key = PreparedKey::new(keyring, &new.name, &new.key)?;
    let owner = users::find_by_email(conn, &new.owner_email).await?;
    let owner: UserId = owner.ok_or(Error::NotFound { what: "owner" })?.id;
    let id = clock::new_uuid();
    if !clients::insert(conn, id, &new.name, owner, &new.bounds, clock::now()).await? {
        return Err(Error::AlreadyExists(format!("a client named {}", new.name)));
    }
    key.insert(conn, id).await?;
    let mut data = key.data(&new.name);
    data["owner"] = Principal::User(owner).to_string().into();
    add_bounds(&mut data, &new.bounds);
    append(conn, Kind::ClientCreated, by, data).await?;
    Ok(key.created)
}

/// Bounds a client otherwise, from its next request on.
///
/// # Errors
/// `Forbidden`; `NotFound`; `Invalid`.
pub async fn change(
    services: &Services,
    caller: &Caller,
    name: &str,
    change: impl FnOnce(&mut Bounds),
) -> Result<Client, Error> {
    begin(services, caller)?;
    let (tx, client) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let locked = clients::lock(&mut tx, name).await?.ok_or_else(no_client)?;
        let mut bounds = locked.bounds.clone();
        change(&mut bounds);
        check(&bounds, &locked.bounds)?;
        if bounds != locked.bounds {
            clients::set_bounds(&mut tx, locked.id, &bounds).await?;
            let mut data = json!({ "client": principal(name) });
            add_bounds(&mut data, &bounds);
            append(&mut tx, Kind::ClientChanged, caller.into(), data).await?;
        }
        shown(tx, name).await
    })
    .await?;
    commit(tx, None).await?;
    Ok(client)
}

/// Disables a client, or enables it again, from its next request on. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn set_disabled(
    services: &Services,
    caller: &Caller,
    name: &str,
    is_disabled: bool,
) -> Result<Client, Error> {
    begin(services, caller)?;
    let (tx, client) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let locked = clients::lock(&mut tx, name).await?.ok_or_else(no_client)?;
        if locked.is_disabled != is_disabled {
            clients::set_disabled(&mut tx, locked.id, is_disabled.then(clock::now)).await?;
            let kind = if is_disabled { Kind::ClientDisabled } else { Kind::ClientEnabled };
            append(&mut tx, kind, caller.into(), json!({ "client": principal(name) })).await?;
        }
        shown(tx, name).await
    })
    .await?;
    commit(tx, None).await?;
    Ok(client)
}

async fn shown(
    mut tx: Transaction<'static, Postgres>,
    name: &str,
) -> Result<(Transaction<'static, Postgres>, Client), Error> {
    let client = clients::find(&mut tx, name).await?.ok_or_else(no_client)?;
    Ok((tx, client))
}

/// Gives a client another key, so that it can change over from the old one; the client, and its new key.
///
/// # Errors
/// `Forbidden`; `NotFound`; `Parameter`; `AlreadyExists` when it has two live keys.
pub async fn add_key(
    services: &Services,
    caller: &Caller,
    name: &str,
    key: &KeyRequest,
) -> Result<(Client, CreatedKey), Error> {
    begin(services, caller)?;
    let (tx, made) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let key = insert_key(&mut tx, &services.keyring, name, key, caller.into()).await?;
        let (tx, client) = shown(tx, name).await?;
        Ok((tx, (client, key)))
    })
    .await?;
    commit(tx, None).await?;
    Ok(made)
}

/// The same at the word of an operator.
///
/// # Errors
/// Those of [`add_key`] but `Forbidden`.
pub async fn add_key_by_operator(
    store: &Store,
    keyring: &Keyring,
    name: &str,
    key: &KeyRequest,
) -> Result<CreatedKey, Error> {
    let mut tx = store.begin().await?;
    let key = insert_key(&mut tx, keyring, name, key, BY_OPERATOR).await?;
    commit(tx, None).await?;
    Ok(key)
}

async fn insert_key(
    conn: &mut PgConnection,
    keyring: &Keyring,
    name: &str,
    key: &KeyRequest,
    by: By<'_>,
) -> Result<CreatedKey, Error> {
    let key = PreparedKey::new(keyring, name, key)?;
    let client = clients::lock(conn, name).await?.ok_or_else(no_client)?;
    if client_keys::count_live(conn, client.id).await? >= KEYS_MAX {
        return Err(Error::AlreadyExists(format!("a second live key of {name} (revoke one first); it")));
    }
    key.insert(conn, client.id).await?;
    append(conn, Kind::ClientKeyAdded, by, key.data(name)).await?;
    Ok(key.created)
}

/// Revokes a key of a client, from its next request on.
///
/// # Errors
/// `Forbidden`; `NotFound` without such a key, and when it was revoked before.
pub async fn revoke_key(
    services: &Services,
    caller: &Caller,
    client: &str,
    key_id: &str,
) -> Result<(), Error> {
    begin(services, caller)?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        revoke(&mut tx, Some(client), key_id, caller.into()).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// The same at the word of an operator; the client it belonged to.
///
/// # Errors
/// `NotFound` without such a key, and when it was revoked before.
pub async fn revoke_key_by_operator(store: &Store, key_id: &str) -> Result<String, Error> {
    let mut tx = store.begin().await?;
    let principal = revoke(&mut tx, None, key_id, BY_OPERATOR).await?;
    commit(tx, None).await?;
    Ok(principal)
}

async fn revoke(
    conn: &mut PgConnection,
    client: Option<&str>,
    key_id: &str,
    by: By<'_>,
) -> Result<String, Error> {
    let client = client_keys::revoke(conn, client, key_id, clock::now()).await?;
    let principal = principal(&client.ok_or(Error::NotFound { what: "live key" })?);
    let data = json!({ "client": principal, "keyId": key_id });
    append(conn, Kind::ClientKeyRevoked, by, data).await?;
    Ok(principal)
}

/// What comes before every change.
fn begin(services: &Services, caller: &Caller) -> Result<(), Error> {
    caller.require(Permission::ManageClients)?;
    services.safeguards.require_recordable()
}

/// A time that is over may stay as it was.
fn check(bounds: &Bounds, before: &Bounds) -> Result<(), Error> {
    let mut errors = bounds.scope.problems("/scope");
    if bounds.expires_at != before.expires_at {
        errors.extend(check_expiry("/expiresAt", bounds.expires_at));
    }
    if let Some(asked) =
        bounds.requests_per_minute.filter(|asked| !(1..=REQUESTS_PER_MINUTE_MAX).contains(asked))
    {
        errors.push(FieldError {
            pointer: "/requestsPerMinute".to_owned(),
            code: "out-of-range".to_owned(),
            message: format!("must be 1 to {REQUESTS_PER_MINUTE_MAX}, not {asked}"),
        });
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

fn add_bounds(data: &mut Value, bounds: &Bounds) {
    let Bounds { scope, expires_at, requests_per_minute } = bounds;
    data["scope"] = json!(scope);
    data["expiresAt"] = json!(expires_at);
    data["requestsPerMinute"] = json!(requests_per_minute);
}

fn principal(client: &str) -> String {
    Principal::Client(client.to_owned()).to_string()
}

fn no_client() -> Error {
    Error::NotFound { what: "client" }
}

async fn append(conn: &mut PgConnection, kind: Kind, by: By<'_>, data: Value) -> Result<(), Error> {
    let By { principal, request_id } = by;
    audit::append(conn, Record { kind, principal, action_id: None, request_id, data }).await.map(drop)
}

//! Webhooks: who outside is told what happened. Nothing here sends; [`delivery`] says what is sent.

pub mod delivery;

use aegis_contract::ids::EntryId;
use aegis_contract::problem::FieldError;
use aegis_contract::strict::base64_encode;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use jiff::SignedDuration;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};

use super::Services;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::seal::Purpose;
use crate::store::deliveries::{self, DeliveryName};
pub use crate::store::deliveries::{Attempt, Delivery};
pub use crate::store::webhooks::Webhook;
use crate::store::webhooks::{self, Content};
use crate::store::{ANSWER_WITHIN, commit, within};

/// Most webhooks: each may hold some connections of each replica.
const WEBHOOKS_MAX: i64 = 50;
/// Most events, and most requesters, that one webhook may list.
const LIST_LENGTH_MAX: usize = 50;
/// Bytes of a secret: the output of the MAC it is for.
const SECRET_BYTES: usize = 32;
/// Names a secret's use wherever it turns up.
const SECRET_PREFIX: &str = "whsec_";
/// How long the secret before a new one goes on signing: time to change over.
const PREVIOUS_SECRET_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Most attempts shown of one delivery.
const ATTEMPTS_SHOWN_MAX: i64 = 200;

/// What a webhook shall be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where to send to; `https://`.
    pub url: String,
    /// What to tell of, such as `action.ended`; absent or empty: everything that is told.
    #[serde(default)]
    pub events: Vec<String>,
    /// Whose actions to tell of, such as `client:alert-bot`; absent or empty: everybody's.
    #[serde(default)]
    pub requested_by: Vec<String>,
}

/// Stores a webhook. A new one has a secret, which is answered this once.
///
/// # Errors
/// `Parameter`, `Invalid`.
pub async fn store(
    services: &Services,
    caller: &Caller,
    name: &str,
    request: &WebhookRequest,
) -> Result<(Webhook, Option<SecretString>), Error> {
    caller.require(Permission::ManageWebhooks)?;
    services.safeguards.require_recordable()?;
    validate(services, name, request)?;
    let content = Content { url: &request.url, events: &request.events, requested_by: &request.requested_by };
    let (tx, webhook, secret) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let secret = if webhooks::update(&mut tx, name, content, clock::now()).await? {
            None
        } else {
            Some(insert(&mut tx, services, name, content).await?)
        };
        let data = json!({
            "webhook": name,
            "isNew": secret.is_some(),
            "receiver": receiver(services, &request.url),
            "events": request.events,
            "requestedBy": request.requested_by,
        });
        append(&mut tx, caller, Kind::WebhookStored, data).await?;
        let webhook = webhooks::find(&mut tx, name).await?.ok_or_else(no_webhook)?;
        Ok((tx, webhook, secret))
    })
    .await?;
    commit(tx, None).await?;
    Ok((webhook, secret))
}

async fn insert(
    conn: &mut PgConnection,
    services: &Services,
    name: &str,
    content: Content<'_>,
) -> Result<SecretString, Error> {
    if webhooks::count(conn).await? >= WEBHOOKS_MAX {
        let message = format!("there are {WEBHOOKS_MAX} webhooks already; delete one first");
        return Err(Error::Parameter { name: "name", message });
    }
    let (secret, sealed) = new_secret(services);
    if !webhooks::insert(conn, name, content, &sealed, clock::now()).await? {
        return Err(Error::AlreadyExists(format!("a webhook named {name}")));
    }
    Ok(secret)
}

fn validate(services: &Services, name: &str, request: &WebhookRequest) -> Result<(), Error> {
    if !is_dns_label(name) {
        let message = format!("`{name}` must be 1 to 63 of a-z, 0-9 and '-'");
        return Err(Error::Parameter { name: "name", message });
    }
    let mut errors = Vec::new();
    let mut refuse = |pointer: String, message: String| {
        errors.push(FieldError { pointer, code: "invalid-value".to_owned(), message });
    };
    if let Err(problem) = services.webhooks.rules().check(&request.url) {
        refuse("/url".to_owned(), problem);
    }
    for (index, event) in request.events.iter().enumerate() {
        if !Kind::parse(event).is_some_and(Kind::is_told) {
            let told = Kind::ALL.into_iter().filter(|kind| kind.is_told()).map(Kind::as_str);
            let told = told.collect::<Vec<_>>().join(", ");
            refuse(format!("/events/{index}"), format!("`{event}` must be one of {told}"));
        }
    }
    for (index, principal) in request.requested_by.iter().enumerate() {
        if aegis_policy::Principal::parse(principal).is_err() {
            let message = format!("`{principal}` must be a principal, such as client:alert-bot");
            refuse(format!("/requestedBy/{index}"), message);
        }
    }
    for (pointer, list) in [("/events", &request.events), ("/requestedBy", &request.requested_by)] {
        if list.len() > LIST_LENGTH_MAX {
            refuse(pointer.to_owned(), format!("must list at most {LIST_LENGTH_MAX}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

/// What the log says of a URL: path and query may be a secret.
fn receiver(services: &Services, url: &str) -> Value {
    let origin = services.webhooks.rules().check(url).map(|url| url.origin().ascii_serialization());
    json!({ "origin": origin.ok(), "urlHash": services.keyring.text_hash(url) })
}

fn new_secret(services: &Services) -> (SecretString, Vec<u8>) {
    let secret: [u8; SECRET_BYTES] = clock::random_bytes();
    let sealed = services.keyring.seal(Purpose::WebhookSecret, &secret);
    (format!("{SECRET_PREFIX}{}", base64_encode(&secret)).into(), sealed)
}

/// Gives a webhook another secret, which is answered this once. For a day the present one signs too.
///
/// # Errors
/// `NotFound`.
pub async fn rotate_secret(
    services: &Services,
    caller: &Caller,
    name: &str,
) -> Result<(Webhook, SecretString), Error> {
    caller.require(Permission::ManageWebhooks)?;
    services.safeguards.require_recordable()?;
    let (secret, sealed) = new_secret(services);
    let (tx, webhook) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let now = clock::now();
        let until = now + PREVIOUS_SECRET_KEPT;
        if !webhooks::rotate_secret(&mut tx, name, &sealed, until, now).await? {
            return Err(no_webhook());
        }
        let data = json!({ "webhook": name, "previousSecretUntil": until });
        append(&mut tx, caller, Kind::WebhookSecretRotated, data).await?;
        let webhook = webhooks::find(&mut tx, name).await?.ok_or_else(no_webhook)?;
        Ok((tx, webhook))
    })
    .await?;
    commit(tx, None).await?;
    Ok((webhook, secret))
}

/// Removes a webhook: what was not delivered never is, and what was sent is forgotten.
///
/// # Errors
/// `NotFound`.
pub async fn delete(services: &Services, caller: &Caller, name: &str) -> Result<(), Error> {
    caller.require(Permission::ManageWebhooks)?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !webhooks::delete(&mut tx, name).await? {
            return Err(no_webhook());
        }
        append(&mut tx, caller, Kind::WebhookDeleted, json!({ "webhook": name })).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// Sends a webhook something to try it with.
///
/// # Errors
/// `NotFound`.
pub async fn test(services: &Services, caller: &Caller, name: &str) -> Result<Delivery, Error> {
    caller.require(Permission::ManageWebhooks)?;
    services.safeguards.require_recordable()?;
    let (tx, delivery) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        webhooks::find(&mut tx, name).await?.ok_or_else(no_webhook)?;
        let entry_id = append(&mut tx, caller, Kind::WebhookTested, json!({ "webhook": name })).await?;
        let delivery = DeliveryName { webhook: name.to_owned(), entry_id };
        deliveries::enqueue_for(&mut tx, &delivery).await?;
        show(tx, &delivery).await
    })
    .await?;
    commit(tx, None).await?;
    Ok(delivery)
}

/// Sends something again, whatever came of it before.
///
/// # Errors
/// `NotFound`.
pub async fn redeliver(
    services: &Services,
    caller: &Caller,
    name: &str,
    entry_id: EntryId,
) -> Result<Delivery, Error> {
    caller.require(Permission::ManageWebhooks)?;
    services.safeguards.require_recordable()?;
    let name = DeliveryName { webhook: name.to_owned(), entry_id };
    let (tx, delivery) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !deliveries::begin_anew(&mut tx, &name).await? {
            return Err(no_delivery());
        }
        let data = json!({ "webhook": name.webhook, "entryId": entry_id });
        append(&mut tx, caller, Kind::WebhookRedelivered, data).await?;
        show(tx, &name).await
    })
    .await?;
    commit(tx, None).await?;
    Ok(delivery)
}

async fn show(
    mut tx: Transaction<'static, Postgres>,
    name: &DeliveryName,
) -> Result<(Transaction<'static, Postgres>, Delivery), Error> {
    let delivery = deliveries::find(&mut tx, name).await?.ok_or_else(no_delivery)?;
    Ok((tx, delivery))
}

/// Webhooks by name, those after `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Webhook>, Error> {
    caller.require(Permission::ManageWebhooks)?;
    within(ANSWER_WITHIN, async {
        webhooks::list(&mut *services.store.acquire().await?, after, limit.into()).await
    })
    .await
}

/// One webhook.
///
/// # Errors
/// `NotFound`.
pub async fn find(services: &Services, caller: &Caller, name: &str) -> Result<Webhook, Error> {
    caller.require(Permission::ManageWebhooks)?;
    let found =
        within(ANSWER_WITHIN, async { webhooks::find(&mut *services.store.acquire().await?, name).await });
    found.await?.ok_or_else(no_webhook)
}

/// Deliveries of a webhook, the newest first, those after `before` left out.
///
/// # Errors
/// `NotFound` without such a webhook.
pub async fn list_deliveries(
    services: &Services,
    caller: &Caller,
    name: &str,
    state: Option<DeliveryState>,
    before: Option<EntryId>,
    limit: u32,
) -> Result<Vec<Delivery>, Error> {
    caller.require(Permission::ManageWebhooks)?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        webhooks::find(&mut conn, name).await?.ok_or_else(no_webhook)?;
        let state = state.map(DeliveryState::as_str);
        deliveries::list(&mut conn, name, state, before, limit.into()).await
    })
    .await
}

/// One delivery with what came of its attempts, the newest first.
///
/// # Errors
/// `NotFound`.
pub async fn find_delivery(
    services: &Services,
    caller: &Caller,
    name: &str,
    entry_id: EntryId,
) -> Result<(Delivery, Vec<Attempt>), Error> {
    caller.require(Permission::ManageWebhooks)?;
    let name = DeliveryName { webhook: name.to_owned(), entry_id };
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let delivery = deliveries::find(&mut conn, &name).await?.ok_or_else(no_delivery)?;
        Ok((delivery, deliveries::attempts(&mut conn, &name, ATTEMPTS_SHOWN_MAX).await?))
    })
    .await
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryState {
    /// It is to be sent.
    Waiting,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Dead,
}

impl DeliveryState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

async fn append(conn: &mut PgConnection, caller: &Caller, kind: Kind, data: Value) -> Result<EntryId, Error> {
    let record =
        Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data };
    Ok(audit::append(conn, record).await?.id)
}

fn no_webhook() -> Error {
    Error::NotFound { what: "webhook" }
}

fn no_delivery() -> Error {
    Error::NotFound { what: "delivery" }
}

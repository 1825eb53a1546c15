//! `/api/v1/webhooks`

use aegis_contract::ids::{ActionId, EntryId};
use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, id_cursor, limit, name_cursor, read_id_cursor, read_name_cursor};
use crate::error::Error;
use crate::service::webhooks::{self, Attempt, Delivery, DeliveryState, Webhook, WebhookRequest};

/// Somebody outside who is told what happens.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(super) struct WebhookBody {
    name: String,
    url: String,
    /// What it is told of; empty: everything that is told.
    events: Vec<String>,
    /// Whose actions it is told of; empty: everybody's.
    requested_by: Vec<String>,
    /// What deliveries are signed with, `whsec_…`. Shown only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    /// Until when deliveries are signed with the secret before it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    previous_secret_until: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// One entry of the audit log on its way to one webhook.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(super) struct DeliveryBody {
    /// The entry it tells of, and its `webhook-id`.
    id: EntryId,
    /// The entry's kind.
    event: String,
    /// The action it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    action_id: Option<ActionId>,
    state: String,
    /// How often it was begun to be sent.
    attempts: i32,
    /// When it is sent next, while it is waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    due_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was delivered or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    ended_at: Option<Timestamp>,
}

/// A delivery with what came of its attempts.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeliveryLog)]
pub(super) struct DeliveryLogBody {
    #[serde(flatten)]
    delivery: DeliveryBody,
    /// The newest first.
    log: Vec<AttemptBody>,
}

/// What came of one attempt.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeliveryAttempt)]
struct AttemptBody {
    number: i32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    latency_milliseconds: i32,
    /// The HTTP status; null when there was no answer.
    status: Option<u16>,
    /// Why it failed; null when it did not.
    error: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Only deliveries that stand there.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items to answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

impl WebhookBody {
    fn new(webhook: Webhook, secret: Option<&SecretString>) -> Self {
        Self {
            name: webhook.name,
            url: webhook.url,
            events: webhook.events,
            requested_by: webhook.requested_by,
            secret: secret.map(|secret| secret.expose_secret().to_owned()),
            previous_secret_until: webhook.previous_secret_until.map(|at| at.to_jiff()),
            created_at: webhook.created_at.to_jiff(),
            updated_at: webhook.updated_at.to_jiff(),
        }
    }
}

impl From<Delivery> for DeliveryBody {
    fn from(delivery: Delivery) -> Self {
        let ended_at = delivery.ended_at.map(|at| at.to_jiff());
        Self {
            id: EntryId(delivery.entry_id),
            event: delivery.event,
            action_id: delivery.action_id.map(ActionId),
            state: delivery.state,
            attempts: delivery.attempts,
            due_at: ended_at.is_none().then(|| delivery.due_at.to_jiff()),
            created_at: delivery.created_at.to_jiff(),
            ended_at,
        }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at.to_jiff(),
            latency_milliseconds: attempt.latency_milliseconds,
            status: attempt.status.map(i16::cast_unsigned),
            error: attempt.error,
        }
    }
}

/// List webhooks by name.
#[utoipa::path(
    get, path = "/api/v1/webhooks", operation_id = "listWebhooks", tag = "webhooks", params(PageQuery),
    responses(
        (status = 200, description = "A page of webhooks", body = Page<WebhookBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<WebhookBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_name_cursor(query.cursor.as_deref())?;
    let found = webhooks::list(&services, &call.caller, after.as_deref(), limit + 1).await?;
    let bodies = found.into_iter().map(|webhook| WebhookBody::new(webhook, None)).collect();
    Ok(Json(Page::new(bodies, limit, |webhook: &WebhookBody| name_cursor(&webhook.name))))
}

/// Look at a webhook.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{name}", operation_id = "getWebhook", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook", body = WebhookBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<WebhookBody>, Failure> {
    Ok(Json(WebhookBody::new(webhooks::find(&services, &call.caller, &name).await?, None)))
}

/// Store a webhook, new or in place of the one of that name, whose secret stays.
#[utoipa::path(
    put, path = "/api/v1/webhooks/{name}", operation_id = "storeWebhook", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook: a-z, 0-9 and '-'")),
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "A new webhook, with its secret", body = WebhookBody, headers(("Location" = String))),
        (status = 200, description = "The changed webhook", body = WebhookBody),
        (status = "4XX", description = "Not stored", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn store(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let request: WebhookRequest = call.json()?;
    let (webhook, secret) = webhooks::store(&services, &call.caller, &name, &request).await?;
    let Some(secret) = secret else { return Ok(Json(WebhookBody::new(webhook, None)).into_response()) };
    let headers = [(LOCATION, format!("/api/v1/webhooks/{name}")), (CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(WebhookBody::new(webhook, Some(&secret)))).into_response())
}

/// Remove a webhook with everything that was, or was to be, sent to it.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{name}", operation_id = "deleteWebhook", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    webhooks::delete(&services, &call.caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a webhook another secret. For a day the one before it signs too.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/rotate-secret", operation_id = "rotateWebhookSecret", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook with its new secret", body = WebhookBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn rotate_secret(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    let (webhook, secret) = webhooks::rotate_secret(&services, &call.caller, &name).await?;
    let headers = [(CACHE_CONTROL, "no-store")];
    Ok((headers, Json(WebhookBody::new(webhook, Some(&secret)))).into_response())
}

/// Send a webhook something to try it with.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/test", operation_id = "testWebhook", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook")),
    responses(
        (status = 202, description = "It will be sent", body = DeliveryBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn test(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    let delivery = webhooks::test(&services, &call.caller, &name).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryBody::from(delivery))).into_response())
}

/// List what was, or is to be, sent to a webhook, the newest first.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{name}/deliveries", operation_id = "listWebhookDeliveries", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook"), DeliveriesQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Page<DeliveryBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list_deliveries(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<Page<DeliveryBody>>, Failure> {
    let query: DeliveriesQuery = call.query()?;
    let limit = limit(query.limit)?;
    let before = read_id_cursor(query.cursor.as_deref())?.map(EntryId);
    let found =
        webhooks::list_deliveries(&services, &call.caller, &name, query.state, before, limit + 1).await?;
    let bodies = found.into_iter().map(DeliveryBody::from).collect();
    Ok(Json(Page::new(bodies, limit, |delivery: &DeliveryBody| id_cursor(delivery.id.0))))
}

/// Look at a delivery and what came of each attempt.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{name}/deliveries/{id}", operation_id = "getWebhookDelivery", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook"), ("id" = EntryId, Path, description = "The delivery")),
    responses(
        (status = 200, description = "The delivery", body = DeliveryLogBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find_delivery(
    State(services): State<Shared>,
    Path((name, id)): Path<(String, String)>,
    call: Call,
) -> Result<Json<DeliveryLogBody>, Failure> {
    let (delivery, attempts) = webhooks::find_delivery(&services, &call.caller, &name, read_id(&id)?).await?;
    let log = attempts.into_iter().map(AttemptBody::from).collect();
    Ok(Json(DeliveryLogBody { delivery: delivery.into(), log }))
}

/// Send something again, whatever came of it before.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{name}/deliveries/{id}/redeliver", operation_id = "redeliver", tag = "webhooks",
    params(("name" = String, Path, description = "The webhook"), ("id" = EntryId, Path, description = "The delivery")),
    responses(
        (status = 202, description = "It will be sent", body = DeliveryBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn redeliver(
    State(services): State<Shared>,
    Path((name, id)): Path<(String, String)>,
    call: Call,
) -> Result<Response, Failure> {
    call.no_body()?;
    let delivery = webhooks::redeliver(&services, &call.caller, &name, read_id(&id)?).await?;
    Ok((StatusCode::ACCEPTED, Json(DeliveryBody::from(delivery))).into_response())
}

fn read_id(text: &str) -> Result<EntryId, Error> {
    text.parse().map_err(|_| Error::NotFound { what: "delivery" })
}

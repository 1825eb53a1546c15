//! `/api/v1/clients`

use aegis_contract::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, LOCATION};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use super::page::{Page, PageQuery, limit, name_cursor, read_name_cursor};
use crate::principal::Principal;
use crate::scope::Scope;
use crate::service::clients::{self, Bounds, Client, CreatedKey, Key, KeyRequest, NewClient};

/// Automation that signs its requests.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Client)]
pub(super) struct ClientBody {
    name: String,
    /// How policies and entries name it.
    principal: String,
    /// The person who answers for it.
    owner: String,
    /// Their e-mail address.
    owner_email: String,
    /// What it may ask for at most, whatever policy allows.
    scope: Scope,
    /// When its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires_at: Option<Timestamp>,
    /// How many requests it may send each minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    requests_per_minute: Option<u32>,
    /// Since when its requests are refused; absent while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    disabled_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The newest first; revoked ones too.
    keys: Vec<KeyBody>,
}

/// A key of a client.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClientKey)]
struct KeyBody {
    /// What signatures call it (`keyid`).
    id: String,
    /// `hmac-sha256` or `ed25519`: a property of the key, never of a message.
    algorithm: String,
    /// The secret in standard base64. Shown only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires_at: Option<Timestamp>,
    /// When it was last used, to the minute; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    revoked_at: Option<Timestamp>,
}

/// A client to add, with its first key.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewClient)]
pub(super) struct NewClientBody {
    /// a-z, 0-9 and '-'.
    name: String,
    /// E-mail address of the person who answers for it.
    owner: String,
    /// An Ed25519 public key in PEM; a secret is made and answered if absent.
    #[schema(nullable = false)]
    public_key: Option<String>,
    /// When the key's time is over.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    key_expires_at: Option<Timestamp>,
    /// What it may ask for at most; everything that policy allows if absent.
    #[serde(default)]
    #[schema(required = false)]
    scope: Scope,
    /// When the client's time is over.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires_at: Option<Timestamp>,
    /// How many requests it may send each minute.
    #[schema(minimum = 1, maximum = 100_000, nullable = false)]
    requests_per_minute: Option<u32>,
}

/// A key to add.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewClientKey)]
pub(super) struct NewKeyBody {
    /// An Ed25519 public key in PEM; a secret is made and answered if absent.
    #[schema(nullable = false)]
    public_key: Option<String>,
    /// When the key's time is over.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    key_expires_at: Option<Timestamp>,
}

/// What shall bound a client otherwise: what is left out stays, what is null bounds it no more.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ClientChange)]
pub(super) struct ChangeBody {
    #[serde(default)]
    #[schema(value_type = Option<Scope>)]
    scope: Change<Scope>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Change<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    requests_per_minute: Change<u32>,
}

/// A member that stays as it is, or is set, perhaps to nothing.
#[derive(Default)]
enum Change<T> {
    #[default]
    Keep,
    Set(Option<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Set)
    }
}

impl<T> Change<T> {
    fn onto(self, value: &mut Option<T>) {
        if let Self::Set(set) = self {
            *value = set;
        }
    }
}

impl ChangeBody {
    fn onto(self, bounds: &mut Bounds) {
        if let Change::Set(scope) = self.scope {
            bounds.scope = scope.unwrap_or_default();
        }
        self.expires_at.onto(&mut bounds.expires_at);
        self.requests_per_minute.onto(&mut bounds.requests_per_minute);
    }
}

impl From<Client> for ClientBody {
    fn from(client: Client) -> Self {
        let Bounds { scope, expires_at, requests_per_minute } = client.bounds;
        Self {
            principal: Principal::Client(client.name.clone()).to_string(),
            name: client.name,
            owner: Principal::User(client.owner).to_string(),
            owner_email: client.owner_email,
            scope,
            expires_at,
            requests_per_minute,
            disabled_at: client.disabled_at,
            created_at: client.created_at,
            keys: client.keys.into_iter().map(KeyBody::from).collect(),
        }
    }
}

impl ClientBody {
    /// With the secret of the key that was just made.
    fn with_secret((client, made): (Client, CreatedKey)) -> Self {
        let mut body = Self::from(client);
        if let Some(key) = body.keys.iter_mut().find(|key| key.id == made.id) {
            key.secret = made.secret.map(|secret| secret.expose_secret().to_owned());
        }
        body
    }
}

impl From<Key> for KeyBody {
    fn from(key: Key) -> Self {
        let Key { id, algorithm, created_at, expires_at, last_used_at, revoked_at } = key;
        Self { id, algorithm, secret: None, created_at, expires_at, last_used_at, revoked_at }
    }
}

/// List clients by name.
#[utoipa::path(
    get, path = "/api/v1/clients", operation_id = "listClients", tag = "clients", params(PageQuery),
    responses(
        (status = 200, description = "A page of clients", body = Page<ClientBody>),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn list(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<Page<ClientBody>>, Failure> {
    let query: PageQuery = call.query()?;
    let limit = limit(query.limit)?;
    let after = read_name_cursor(query.cursor.as_deref())?;
    let found = clients::list(&services, &call.caller, after.as_deref(), limit + 1).await?;
    let bodies = found.into_iter().map(ClientBody::from).collect();
    Ok(Json(Page::new(bodies, limit, |client: &ClientBody| name_cursor(&client.name))))
}

/// Add a client with its first key.
#[utoipa::path(
    post, path = "/api/v1/clients", operation_id = "createClient", tag = "clients", request_body = NewClientBody,
    responses(
        (status = 201, description = "The client, with the secret of its key", body = ClientBody, headers(("Location" = String))),
        (status = 404, description = "There is no such owner", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-exists`", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not added", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let body: NewClientBody = call.json()?;
    let new = NewClient {
        name: body.name,
        owner_email: body.owner,
        bounds: Bounds {
            scope: body.scope,
            expires_at: body.expires_at,
            requests_per_minute: body.requests_per_minute,
        },
        key: KeyRequest { public_key: body.public_key, expires_at: body.key_expires_at },
    };
    let made = clients::create(&services, &call.caller, &new).await?;
    let location = (LOCATION, format!("/api/v1/clients/{}", new.name));
    Ok((StatusCode::CREATED, [location], shown_once(made)).into_response())
}

/// Look at a client.
#[utoipa::path(
    get, path = "/api/v1/clients/{name}", operation_id = "getClient", tag = "clients",
    params(("name" = String, Path, description = "The client")),
    responses(
        (status = 200, description = "The client", body = ClientBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn find(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<ClientBody>, Failure> {
    Ok(Json(clients::find(&services, &call.caller, &name).await?.into()))
}

/// Bound a client otherwise, from its next request on.
#[utoipa::path(
    patch, path = "/api/v1/clients/{name}", operation_id = "changeClient", tag = "clients",
    params(("name" = String, Path, description = "The client")), request_body = ChangeBody,
    responses(
        (status = 200, description = "The client", body = ClientBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn change(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<ClientBody>, Failure> {
    let body: ChangeBody = call.json()?;
    let changed = clients::change(&services, &call.caller, &name, |bounds| body.onto(bounds)).await?;
    Ok(Json(changed.into()))
}

/// Refuse all requests of a client, from its next one on. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/clients/{name}/disable", operation_id = "disableClient", tag = "clients",
    params(("name" = String, Path, description = "The client")),
    responses(
        (status = 200, description = "The client", body = ClientBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn disable(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<ClientBody>, Failure> {
    call.no_body()?;
    Ok(Json(clients::set_disabled(&services, &call.caller, &name, true).await?.into()))
}

/// Take requests of a disabled client again. Again is the same.
#[utoipa::path(
    post, path = "/api/v1/clients/{name}/enable", operation_id = "enableClient", tag = "clients",
    params(("name" = String, Path, description = "The client")),
    responses(
        (status = 200, description = "The client", body = ClientBody),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn enable(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Json<ClientBody>, Failure> {
    call.no_body()?;
    Ok(Json(clients::set_disabled(&services, &call.caller, &name, false).await?.into()))
}

/// Give a client a second key, to change over to; the first one is good until it is revoked.
#[utoipa::path(
    post, path = "/api/v1/clients/{name}/keys", operation_id = "addClientKey", tag = "clients",
    params(("name" = String, Path, description = "The client")), request_body = NewKeyBody,
    responses(
        (status = 201, description = "The client, with the secret of its new key", body = ClientBody),
        (status = 409, description = "`already-exists`: it has two live keys", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Not added", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn add_key(
    State(services): State<Shared>,
    Path(name): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let body: NewKeyBody = call.json_or_empty()?;
    let key = KeyRequest { public_key: body.public_key, expires_at: body.key_expires_at };
    let made = clients::add_key(&services, &call.caller, &name, &key).await?;
    Ok((StatusCode::CREATED, shown_once(made)).into_response())
}

/// Revoke a key of a client, from its next request on.
#[utoipa::path(
    delete, path = "/api/v1/clients/{name}/keys/{id}", operation_id = "revokeClientKey", tag = "clients",
    params(("name" = String, Path, description = "The client"), ("id" = String, Path, description = "The key")),
    responses(
        (status = 204, description = "It is revoked, and recorded"),
        (status = "4XX", description = "Not done", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn revoke_key(
    State(services): State<Shared>,
    Path((name, id)): Path<(String, String)>,
    call: Call,
) -> Result<StatusCode, Failure> {
    call.no_body()?;
    clients::revoke_key(&services, &call.caller, &name, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An answer that nothing on its way may keep.
fn shown_once(made: (Client, CreatedKey)) -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], Json(ClientBody::with_secret(made)))
}

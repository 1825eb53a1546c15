//! `/api/v1/audit/policies` and `/api/v1/audit/roles`: what held at a time in the past

use aegis_contract::digest::Digest;
use aegis_contract::ids::EntryId;
use aegis_contract::problem::Problem;
use aegis_runtime::clock;
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::past::{self, Active, ActiveSet, Change, Holding, Span};

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PoliciesQuery {
    /// The time that is asked about; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RolesQuery {
    /// The time that is asked about; now if neither this nor a span is given.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The first instant of a span that is asked about.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Its last instant; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// An entry that changed what holds.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PastChange)]
pub(super) struct ChangeBody {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who did it.
    by: String,
    entry_id: EntryId,
    /// Its place in the log, from 0; null while it waits for one.
    index: Option<u64>,
}

/// The policies that were active at a time.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PastPolicies)]
pub(super) struct ActiveSetBody {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Digest of the policy set; null before the first activation.
    policy_set_digest: Option<Digest>,
    /// The activation or deactivation that made it so; null before the first activation.
    made_by: Option<ChangeBody>,
    policies: Vec<ActiveBody>,
}

/// A policy that was active.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PastPolicy)]
pub(super) struct ActiveBody {
    name: String,
    version: u32,
    /// Digest of its document.
    digest: Digest,
    /// Its activation; null if that entry is not in the log any more.
    activated: Option<ChangeBody>,
}

/// The roles that were held.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PastRoles)]
pub(super) struct RolesBody {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    holdings: Vec<HoldingBody>,
}

/// A role that somebody held.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PastRole)]
pub(super) struct HoldingBody {
    principal: String,
    /// `client` for automation, which has no other.
    role: String,
    given: ChangeBody,
    /// Who took it; null if they held it until the end.
    taken: Option<ChangeBody>,
}

impl From<Change> for ChangeBody {
    fn from(Change { at, by, entry_id, index }: Change) -> Self {
        Self { at, by, entry_id, index }
    }
}

impl From<ActiveSet> for ActiveSetBody {
    fn from(ActiveSet { at, made_by, policies }: ActiveSet) -> Self {
        let (made_by, policy_set_digest) = made_by.unzip();
        let policy = |Active { name, version, digest, activated }: Active| ActiveBody {
            name,
            version,
            digest,
            activated: activated.map(ChangeBody::from),
        };
        let policies = policies.into_iter().map(policy).collect();
        Self { at, policy_set_digest, made_by: made_by.map(ChangeBody::from), policies }
    }
}

impl From<Holding> for HoldingBody {
    fn from(Holding { principal, role, given, taken }: Holding) -> Self {
        Self { principal, role, given: given.into(), taken: taken.map(ChangeBody::from) }
    }
}

impl RolesQuery {
    fn span(&self) -> Result<Span, Error> {
        match (self.at, self.from, self.to) {
            (Some(at), None, None) => Ok(Span { from: at, to: at }),
            (None, Some(from), to) => Ok(Span { from, to: to.unwrap_or_else(clock::now) }),
            (None, None, None) => {
                let now = clock::now();
                Ok(Span { from: now, to: now })
            }
            (Some(_), _, _) => Err(wrong("at", "cannot be given with `from` or `to`")),
            (None, None, Some(_)) => Err(wrong("to", "needs `from`")),
        }
    }
}

fn wrong(name: &'static str, message: &str) -> Error {
    Error::Parameter { name, message: message.to_owned() }
}

/// Tell which policies were active at a time, and who activated them.
///
/// It is told from entries alone. That it was asked is an entry: one for each reader, time and minute.
#[utoipa::path(
    get, path = "/api/v1/audit/policies", operation_id = "tellPastPolicies", tag = "audit", params(PoliciesQuery),
    responses(
        (status = 200, description = "The policies", body = ActiveSetBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn policies(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<ActiveSetBody>, Failure> {
    let PoliciesQuery { at } = call.query()?;
    Ok(Json(past::policies_at(&services, &call.caller, at).await?.into()))
}

/// Tell who held which role at a time, or at any instant of a span.
///
/// It is told from entries alone. That it was asked is an entry: one for each reader, span and minute.
#[utoipa::path(
    get, path = "/api/v1/audit/roles", operation_id = "tellPastRoles", tag = "audit", params(RolesQuery),
    responses(
        (status = 200, description = "Who held what", body = RolesBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn roles(State(services): State<Shared>, call: Call) -> Result<Json<RolesBody>, Failure> {
    let query: RolesQuery = call.query()?;
    let span = query.span()?;
    let holdings = past::roles_held(&services, &call.caller, span).await?;
    let holdings = holdings.into_iter().map(HoldingBody::from).collect();
    Ok(Json(RolesBody { from: span.from, to: span.to, holdings }))
}

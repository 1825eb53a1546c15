//! `/api/v1/audit/log`, laid out as C2SP tlog-tiles has it, and the evidence of one entry

use aegis_contract::ids::EntryId;
use aegis_contract::problem::Problem;
use aegis_evidence::{Consistency, Evidence, Hash, Tile, VerifierKey};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::Call;
use super::error::Failure;
use crate::error::Error;
use crate::service::proofs;

/// The keys of the audit log.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LogKeys)]
pub(super) struct KeysBody {
    /// The log's name: the first line of its checkpoints.
    origin: String,
    keys: Vec<KeyBody>,
    /// Notes by which one key vouches for the next, oldest first; also of keys that sign no more.
    endorsements: Vec<String>,
}

/// One of them.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LogKey)]
pub(super) struct KeyBody {
    /// Name, id and public key, as C2SP signed-note writes a verifier key.
    key: String,
    /// What people compare: `ed25519:` and 32 hexadecimal digits.
    fingerprint: String,
}

impl KeyBody {
    fn of(key: &VerifierKey) -> Self {
        Self { key: key.to_string(), fingerprint: key.fingerprint() }
    }
}

/// The proof that a log has grown from an earlier one (RFC 6962, section 2.1.2).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Consistency)]
pub(super) struct ConsistencyBody {
    /// Entries of the earlier log.
    from: u64,
    /// Entries of the later log.
    to: u64,
    /// Hashes in base64.
    hashes: Vec<String>,
}

impl From<Consistency> for ConsistencyBody {
    fn from(Consistency { from, to, hashes }: Consistency) -> Self {
        Self { from, to, hashes: texts(&hashes) }
    }
}

/// Shows that an entry is in the log.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Evidence)]
pub(super) struct EvidenceBody {
    /// The entry's place, from 0.
    index: u64,
    /// The inclusion proof (RFC 6962, section 2.1.1): hashes in base64.
    inclusion: Vec<String>,
    /// The newest checkpoint.
    checkpoint: String,
    /// That the log has grown from the one of `from` entries, if that was asked.
    consistency: Vec<ConsistencyBody>,
}

impl From<Evidence> for EvidenceBody {
    fn from(Evidence { index, inclusion, checkpoint, consistency }: Evidence) -> Self {
        let consistency = consistency.into_iter().map(ConsistencyBody::from).collect();
        Self { index, inclusion: texts(&inclusion), checkpoint, consistency }
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EvidenceQuery {
    /// Entries of a log that was seen before, at least 1.
    from: Option<u64>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    /// Entries of the earlier log, at least 1.
    from: u64,
    /// Entries of the later log.
    to: u64,
}

/// Look at the keys that sign the log's checkpoints. Compare them with what its operator told you.
#[utoipa::path(
    get, path = "/api/v1/audit/log/keys", operation_id = "getAuditLogKeys", tag = "audit",
    responses(
        (status = 200, description = "The keys", body = KeysBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn keys(State(services): State<Shared>, call: Call) -> Result<Json<KeysBody>, Failure> {
    let signers = proofs::keys(&services, &call.caller).await?;
    Ok(Json(KeysBody {
        origin: services.log_origin.clone(),
        keys: signers.verifiers().iter().map(KeyBody::of).collect(),
        endorsements: signers.endorsements().to_vec(),
    }))
}

/// Get the newest checkpoint, a signed note (C2SP tlog-checkpoint).
#[utoipa::path(
    get, path = "/api/v1/audit/log/checkpoint", operation_id = "getAuditLogCheckpoint", tag = "audit",
    responses(
        (status = 200, description = "The signed note", body = String, content_type = "text/plain"),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn checkpoint(State(services): State<Shared>, call: Call) -> Result<Response, Failure> {
    let note = proofs::checkpoint(&services, &call.caller).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}

/// Get the hashes of a tile (C2SP tlog-tiles), such as `0/x001/234` or, with 5 hashes, `0/x001/234.p/5`.
#[utoipa::path(
    get, path = "/api/v1/audit/log/tile/{path}", operation_id = "getAuditLogTile", tag = "audit",
    params(("path" = String, Path, description = "Level, index and width, with slashes")),
    responses(
        (status = 200, description = "Hashes of 32 bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn tile(
    State(services): State<Shared>,
    Path(path): Path<String>,
    call: Call,
) -> Result<Response, Failure> {
    let tile: Tile = path.parse().map_err(|_| Error::NotFound { what: "tile" })?;
    let hashes = proofs::tile(&services, &call.caller, tile).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], hashes).into_response())
}

/// Prove that the log has grown from an earlier one.
#[utoipa::path(
    get, path = "/api/v1/audit/log/consistency", operation_id = "proveAuditLogConsistency", tag = "audit",
    params(ConsistencyQuery),
    responses(
        (status = 200, description = "The proof", body = ConsistencyBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn consistency(
    State(services): State<Shared>,
    call: Call,
) -> Result<Json<ConsistencyBody>, Failure> {
    let ConsistencyQuery { from, to } = call.query()?;
    Ok(Json(proofs::consistency(&services, &call.caller, from, to).await?.into()))
}

/// Prove that an entry is in the log, under the newest checkpoint.
#[utoipa::path(
    get, path = "/api/v1/audit/entries/{id}/evidence", operation_id = "getEvidence", tag = "audit",
    params(("id" = uuid::Uuid, Path, description = "The entry"), EvidenceQuery),
    responses(
        (status = 200, description = "Place, proof and checkpoint", body = EvidenceBody),
        (status = "4XX", description = "Not answered", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn evidence(
    State(services): State<Shared>,
    Path(id): Path<String>,
    call: Call,
) -> Result<Json<EvidenceBody>, Failure> {
    let id: EntryId = id.parse().map_err(|_| Error::NotFound { what: "entry" })?;
    let EvidenceQuery { from } = call.query()?;
    Ok(Json(proofs::evidence(&services, &call.caller, id, from).await?.into()))
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

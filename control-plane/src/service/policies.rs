//! Storing and looking at policies; what becomes of a stored version is in the modules below.

pub mod activation;
pub mod sync;

use aegis_contract::digest::Digest;
use aegis_contract::problem::FieldError;
use jiff::Timestamp;
use sqlx::{PgConnection, Postgres, Transaction};

use super::policy_set::{self, VersionStored};
use super::{Services, field_errors};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::{ANSWER_WITHIN, Stored, commit, dispatch, policies, within};

/// A policy without its document.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub latest_version: u32,
    /// The version that is active, if any.
    pub active_version: Option<u32>,
    /// The version to go back to: the one that was active before the present state.
    pub previous_version: Option<u32>,
    /// The sync it belongs to, if any; then nothing else changes it.
    pub managed_by: Option<String>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One version of a policy, with its document.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number, from 1.
    pub version: u32,
    /// The document as canonical JSON.
    pub document: String,
    /// Digest of the document.
    pub digest: String,
    /// Who stored it.
    pub created_by: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// What the writer has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no such policy.
    New,
    /// The newest version is one of these.
    Latest(Vec<u32>),
    /// There is such a policy, whatever its version.
    Exists,
}

/// A document that is in order.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Id and effect of each rule.
    pub rules: Vec<(String, &'static str)>,
}

/// Says whether a document could be stored.
///
/// # Errors
/// `PolicyInvalid` with everything that is wrong with it.
pub async fn validate(caller: &Caller, document: Vec<u8>) -> Result<Checked, Error> {
    caller.require(Permission::ReadPolicies)?;
    let policy = parse(document).await?;
    let rules = policy.rules().map(|(id, effect)| (id.to_owned(), effect.as_str())).collect();
    Ok(Checked { name: policy.name().to_owned(), digest: policy.digest(), rules })
}

/// Stores the next version of a policy; it is not active yet.
///
/// # Errors
/// `PolicyInvalid`; `PreconditionFailed` when the newest version is not the one the writer has seen.
pub async fn store_version(
    services: &Services,
    caller: &Caller,
    name: &str,
    document: Vec<u8>,
    precondition: &Precondition,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::WritePolicies)?;
    services.safeguards.require_recordable()?;
    let policy = parse(document).await?;
    if policy.name() != name {
        let message = format!("the document is named `{}`, the address `{name}`", policy.name());
        let error = FieldError { pointer: "/name".to_owned(), code: "name-mismatch".to_owned(), message };
        return Err(Error::PolicyInvalid(vec![error]));
    }
    let (tx, stored) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let at = dispatch::clock(&mut tx).await?;
        let version = next_version(&mut tx, name, precondition, at).await?;
        let stored = insert_version(&mut tx, caller, &policy, version, at).await?;
        Ok((tx, stored))
    })
    .await?;
    commit_and_show(tx, name, Some(stored)).await
}

/// Stores a version with its entry.
async fn insert_version(
    conn: &mut PgConnection,
    caller: &Caller,
    policy: &aegis_policy::Policy,
    version: i32,
    at: Timestamp,
) -> Result<policies::Version, Error> {
    let (name, digest) = (policy.name().to_owned(), policy.digest());
    let data = VersionStored { name: name.clone(), version: version.cast_unsigned(), digest };
    let entry = append(conn, caller, Kind::PolicyVersionStored, data).await?;
    let stored = policies::Version {
        name,
        version,
        document: String::from_utf8(policy.canonical().to_vec()).map_err(Error::internal)?,
        digest: digest.to_string(),
        created_by: caller.name.clone(),
        created_at: Stored::from(at),
    };
    policies::insert_version(conn, &stored, entry).await?;
    Ok(stored)
}

/// The number of the version to store, taken.
async fn next_version(
    conn: &mut PgConnection,
    name: &str,
    precondition: &Precondition,
    at: Timestamp,
) -> Result<i32, Error> {
    let policy = policies::lock(conn, name).await?;
    require_unmanaged(policy.as_ref())?;
    let latest = policy.map(|policy| policy.latest_version);
    match (precondition, latest) {
        (Precondition::New, None) => {
            if policies::insert(conn, name, at).await? {
                Ok(1)
            } else {
                Err(Error::PreconditionFailed)
            }
        }
        (Precondition::Latest(seen), Some(latest)) if !seen.contains(&latest.cast_unsigned()) => {
            Err(Error::PreconditionFailed)
        }
        (Precondition::Latest(_) | Precondition::Exists, Some(latest)) => {
            if policies::set_latest(conn, name, latest, at).await? {
                Ok(latest + 1)
            } else {
                Err(Error::PreconditionFailed)
            }
        }
        (Precondition::New, Some(_)) | (Precondition::Latest(_) | Precondition::Exists, None) => {
            Err(Error::PreconditionFailed)
        }
    }
}

/// Policies by name, those after `after`.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Policy>, Error> {
    caller.require(Permission::ReadPolicies)?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let found = policies::list(&mut conn, after, limit.into()).await?;
        Ok(found.into_iter().map(Policy::from).collect())
    })
    .await
}

/// A policy and one of its versions, or its newest.
///
/// # Errors
/// `NotFound`.
pub async fn find(
    services: &Services,
    caller: &Caller,
    name: &str,
    version: Option<u32>,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::ReadPolicies)?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let policy = policies::find(&mut conn, name).await?.ok_or_else(no_policy)?;
        let version = match version {
            Some(version) => i32::try_from(version).map_err(|_| no_version())?,
            None => policy.latest_version,
        };
        let version = policies::find_version(&mut conn, name, version).await?.ok_or_else(no_version)?;
        Ok((policy.into(), version.into()))
    })
    .await
}

/// Commits, and answers with what the transaction itself saw.
async fn commit_and_show(
    mut tx: Transaction<'static, Postgres>,
    name: &str,
    version: Option<policies::Version>,
) -> Result<(Policy, Version), Error> {
    let (policy, version) = within(ANSWER_WITHIN, async {
        let policy = policies::find(&mut tx, name).await?.ok_or_else(no_policy)?;
        let version = match version {
            Some(version) => version,
            None => {
                policies::find_version(&mut tx, name, policy.active_version.unwrap_or(policy.latest_version))
                    .await?
                    .ok_or_else(no_version)?
            }
        };
        Ok((policy, version))
    })
    .await?;
    commit(tx, None).await?;
    Ok((policy.into(), version.into()))
}

async fn append(
    conn: &mut PgConnection,
    caller: &Caller,
    kind: Kind,
    data: impl serde::Serialize,
) -> Result<aegis_contract::ids::EntryId, Error> {
    let record =
        Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data };
    Ok(audit::append(conn, record).await?.id)
}

/// Reads a document off the async threads: it may be large.
pub(super) async fn parse(document: Vec<u8>) -> Result<aegis_policy::Policy, Error> {
    let parsed = tokio::task::spawn_blocking(move || policy_set::parse(&document));
    parsed.await.map_err(Error::internal)?.map_err(|problems| Error::PolicyInvalid(field_errors(&problems)))
}

/// What belongs to a sync is changed where the sync takes it from.
fn require_unmanaged(policy: Option<&policies::Policy>) -> Result<(), Error> {
    match policy.and_then(|policy| Some((&policy.name, policy.managed_by.as_ref()?))) {
        Some((name, by)) => Err(Error::PolicyManaged { name: name.clone(), by: by.clone() }),
        None => Ok(()),
    }
}

fn no_policy() -> Error {
    Error::NotFound { what: "policy" }
}

fn no_version() -> Error {
    Error::NotFound { what: "policy version" }
}

impl From<policies::Policy> for Policy {
    fn from(stored: policies::Policy) -> Self {
        Self {
            name: stored.name,
            latest_version: stored.latest_version.cast_unsigned(),
            active_version: stored.active_version.map(i32::cast_unsigned),
            previous_version: stored.previous_version.map(i32::cast_unsigned),
            managed_by: stored.managed_by,
            created_at: stored.created_at.to_jiff(),
            updated_at: stored.updated_at.to_jiff(),
        }
    }
}

impl From<policies::Version> for Version {
    fn from(stored: policies::Version) -> Self {
        Self {
            version: stored.version.cast_unsigned(),
            document: stored.document,
            digest: stored.digest,
            created_by: stored.created_by,
            created_at: stored.created_at.to_jiff(),
        }
    }
}

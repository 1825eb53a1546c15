//! Storing, activating and looking at policies.

use aegis_contract::digest::Digest;
use aegis_contract::problem::FieldError;
use aegis_policy::PolicySet;
use jiff::Timestamp;
use serde_json::{Value, json};
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
    services.safeguards.require_room()?;
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
        let data = VersionStored {
            name: name.to_owned(),
            version: version.cast_unsigned(),
            digest: policy.digest(),
        };
        let entry = append(&mut tx, caller, Kind::PolicyVersionStored, data).await?;
        let document = String::from_utf8(policy.canonical().to_vec()).map_err(Error::internal)?;
        let stored = policies::Version {
            name: name.to_owned(),
            version,
            document,
            digest: policy.digest().to_string(),
            created_by: caller.name.clone(),
            created_at: Stored::from(at),
        };
        policies::insert_version(&mut tx, &stored, entry).await?;
        Ok((tx, stored))
    })
    .await?;
    commit_and_show(tx, name, Some(stored)).await
}

/// The number of the version to store, taken.
async fn next_version(
    conn: &mut PgConnection,
    name: &str,
    precondition: &Precondition,
    at: Timestamp,
) -> Result<i32, Error> {
    let latest = policies::lock(conn, name).await?.map(|policy| policy.latest_version);
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

/// Makes a version the one that counts, in place of the one before.
///
/// # Errors
/// `NotFound`; `PreconditionFailed` when a newer version was stored than the caller has seen.
pub async fn activate(
    services: &Services,
    caller: &Caller,
    name: &str,
    version: u32,
    precondition: Option<&Precondition>,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::WritePolicies)?;
    set_active(services, caller, name, Some(version), precondition).await
}

/// Makes a policy count no more.
///
/// # Errors
/// Those of [`activate`].
pub async fn deactivate(
    services: &Services,
    caller: &Caller,
    name: &str,
    precondition: Option<&Precondition>,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::WritePolicies)?;
    set_active(services, caller, name, None, precondition).await
}

async fn set_active(
    services: &Services,
    caller: &Caller,
    name: &str,
    version: Option<u32>,
    precondition: Option<&Precondition>,
) -> Result<(Policy, Version), Error> {
    services.safeguards.require_room()?;
    let version = version.map(|version| i32::try_from(version).map_err(|_| no_version())).transpose()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        // First of all locks, so that two changes of the set come one after the other.
        policies::active_digest_for_update(&mut tx).await?;
        let policy = policies::lock(&mut tx, name).await?.ok_or_else(no_policy)?;
        let latest = policy.latest_version.cast_unsigned();
        let seen = match precondition {
            None | Some(Precondition::Exists) => true,
            Some(Precondition::New) => false,
            Some(Precondition::Latest(seen)) => seen.contains(&latest),
        };
        if !seen {
            return Err(Error::PreconditionFailed);
        }
        if let Some(version) = version {
            policies::find_version(&mut tx, name, version).await?.ok_or_else(no_version)?;
        }
        if policy.active_version != version {
            change_set(&mut tx, caller, &policy, version).await?;
        }
        Ok(tx)
    })
    .await?;
    commit_and_show(tx, name, None).await
}

async fn change_set(
    conn: &mut PgConnection,
    caller: &Caller,
    policy: &policies::Policy,
    version: Option<i32>,
) -> Result<(), Error> {
    let at = dispatch::clock(conn).await?;
    policies::set_active(conn, &policy.name, version, at).await?;
    let set = policy_set::load(conn).await?;
    policies::set_digest(conn, &set.digest().to_string(), &policy_set::members(&set), at).await?;
    let kind = if version.is_some() { Kind::PolicyActivated } else { Kind::PolicyDeactivated };
    append(conn, caller, kind, activation(policy, version, &set)).await?;
    Ok(())
}

fn activation(policy: &policies::Policy, version: Option<i32>, set: &PolicySet) -> Value {
    json!({
        "name": policy.name,
        "version": version,
        "previousVersion": policy.active_version,
        "policySetDigest": set.digest(),
        "policySet": policy_set::members(set),
    })
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
async fn parse(document: Vec<u8>) -> Result<aegis_policy::Policy, Error> {
    let parsed = tokio::task::spawn_blocking(move || policy_set::parse(&document));
    parsed.await.map_err(Error::internal)?.map_err(|problems| Error::PolicyInvalid(field_errors(&problems)))
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

//! The active policies, read from the database, held against the audit log, and compiled.

use std::sync::Arc;

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::intent::Entry;
use aegis_policy::{CompiledSet, Part, Policy, PolicySet, Problem, document};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::Mutex;

use crate::audit::Kind;
use crate::error::Error;
use crate::store::policies::{self, ActivePrint, ActiveVersion};

/// The parts of the language that this release acts on. A document with any other is neither stored nor
/// decided from.
const ENFORCED: &[Part] = &[
    Part::Approvals,
    Part::BreakGlass,
    Part::DryRunOnly,
    Part::Limits,
    Part::Shadow,
    Part::Tests,
    Part::Warn,
];

/// Reads a document of the language, as far as this release enforces it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(document: &[u8]) -> Result<Policy, Vec<Problem>> {
    document::parse_enforced(document, ENFORCED)
}

/// What the entry of a stored version says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionStored {
    /// The policy.
    pub name: String,
    /// Its new version.
    pub version: u32,
    /// Digest of the document.
    pub digest: Digest,
}

/// The active policies as they were last read from the database, ready to decide. Clones share it.
///
/// Whether they still stand there is asked anew for each decision, in its transaction: what is kept
/// spares reading and compiling, never looking.
#[derive(Clone, Debug, Default)]
pub struct ActivePolicies(Arc<Mutex<Option<Kept>>>);

#[derive(Debug)]
struct Kept {
    /// Of the rows that were read and held against their entries.
    prints: Vec<ActivePrint>,
    set: Arc<CompiledSet>,
}

impl ActivePolicies {
    /// The active policies, each byte for byte what its audit entry recorded, and together those that
    /// were activated. Activations wait until the transaction ends.
    ///
    /// # Errors
    /// `StateNotInLog` when they are not.
    pub async fn load(&self, conn: &mut PgConnection) -> Result<Arc<CompiledSet>, Error> {
        // Taken first: no activation can come between the digest and the versions.
        let (digest, _) = policies::active_digest_for_share(conn).await?;
        let set = self.compiled(conn).await?;
        if set.set().digest().to_string() == digest {
            return Ok(set);
        }
        tracing::error!(
            expected = digest,
            found = %set.set().digest(),
            "the active policies are not those activated"
        );
        Err(Error::StateNotInLog { what: "the policy set".to_owned() })
    }

    async fn compiled(&self, conn: &mut PgConnection) -> Result<Arc<CompiledSet>, Error> {
        let found = policies::active_prints(conn).await?;
        if let Some(set) = of_prints(&*self.0.lock().await, &found) {
            return Ok(set);
        }
        let versions = policies::active_versions(conn).await?;
        // Only one compiles. It is not held while a database is waited for that may have fallen silent.
        let mut kept = self.0.clone().lock_owned().await;
        if let Some(set) = of_prints(&kept, &found) {
            return Ok(set);
        }
        let compile = move || {
            let prints = versions.iter().map(print).collect();
            let set = Arc::new(CompiledSet::compile(read(&versions)?));
            // Kept even if whoever waits for it has given up, so that a large set is compiled once.
            *kept = Some(Kept { prints, set: set.clone() });
            Ok(set)
        };
        tokio::task::spawn_blocking(compile).await.map_err(Error::internal)?
    }
}

fn of_prints(kept: &Option<Kept>, found: &[ActivePrint]) -> Option<Arc<CompiledSet>> {
    kept.as_ref().filter(|kept| kept.prints == found).map(|kept| kept.set.clone())
}

/// Reads every active version. Each must be, byte for byte, what its audit entry recorded.
///
/// # Errors
/// `StateNotInLog` when one is not.
pub async fn load(conn: &mut PgConnection) -> Result<PolicySet, Error> {
    let versions = policies::active_versions(conn).await?;
    tokio::task::spawn_blocking(move || read(&versions)).await.map_err(Error::internal)?
}

fn read(versions: &[ActiveVersion]) -> Result<PolicySet, Error> {
    let members = versions.iter().map(checked).collect::<Result<_, _>>()?;
    PolicySet::new(members).map_err(Error::internal)
}

/// As Postgres would say it of the same bytes.
fn print(stored: &ActiveVersion) -> ActivePrint {
    let sha256 = |bytes: &[u8]| Digest::of(bytes).as_bytes().to_vec();
    ActivePrint {
        name: stored.name.clone(),
        version: stored.version,
        digest: stored.digest.clone(),
        document: sha256(stored.document.as_bytes()),
        entry: sha256(&stored.entry),
    }
}

/// Whether the versions marked as active are those that were activated.
///
/// # Errors
/// `StateNotInLog` when one of them is not as its entry recorded it.
pub async fn is_as_activated(conn: &mut PgConnection) -> Result<bool, Error> {
    let (digest, _) = policies::active_digest_for_share(conn).await?;
    Ok(load(conn).await?.digest().to_string() == digest)
}

/// The members of the set that was activated last, as they were recorded then.
///
/// # Errors
/// `StateNotInLog` when they are not those that the digest names.
pub async fn activated_members(conn: &mut PgConnection) -> Result<Value, Error> {
    let (digest, members) = policies::activated(conn).await?;
    let bytes = canonical::to_bytes(&members).map_err(Error::internal)?;
    if Digest::of(&bytes).to_string() == digest {
        Ok(members)
    } else {
        tracing::error!(digest, "the recorded members of the active set are not those its digest names");
        Err(Error::StateNotInLog { what: "the policy set".to_owned() })
    }
}

/// Holds two lists of members against each other, whatever they say of one policy.
///
/// # Errors
/// `StateNotInLog` when they differ in any other.
pub fn require_same_but(name: &str, recorded: &Value, found: &Value) -> Result<(), Error> {
    fn others<'a>(members: &'a Value, name: &str) -> Vec<&'a Value> {
        members.as_array().into_iter().flatten().filter(|member| member["name"] != name).collect()
    }
    if others(recorded, name) == others(found, name) {
        return Ok(());
    }
    tracing::error!(%recorded, %found, "the active policies are not those activated");
    Err(Error::StateNotInLog { what: "the policy set".to_owned() })
}

/// The members of a set as `policy_sets` keeps them.
pub fn members(set: &PolicySet) -> Value {
    set.policies()
        .map(|(version, policy)| {
            json!({ "name": policy.name(), "version": version, "digest": policy.digest() })
        })
        .collect()
}

/// Who stored a version, by its entry: the row beside it can be changed by hand.
///
/// # Errors
/// `StateNotInLog` when the entry is not that of this version.
pub fn stored_by(entry: &[u8], name: &str, version: i32) -> Result<String, Error> {
    let recorded = recorded(entry, name, version).map(|entry| entry.principal);
    recorded.ok_or_else(|| Error::StateNotInLog { what: format!("policy {name}") })
}

fn recorded(entry: &[u8], name: &str, version: i32) -> Option<Entry<VersionStored>> {
    let entry: Entry<VersionStored> = serde_json::from_slice(entry).ok()?;
    let is_it = entry.kind == Kind::PolicyVersionStored.as_str()
        && entry.data.name == name
        && entry.data.version == version.cast_unsigned();
    is_it.then_some(entry)
}

fn checked(stored: &ActiveVersion) -> Result<(u32, Policy), Error> {
    let not_in_log = || {
        tracing::error!(
            policy = stored.name,
            version = stored.version,
            "a policy version is not as recorded"
        );
        Error::StateNotInLog { what: format!("policy {}", stored.name) }
    };
    let recorded = recorded(&stored.entry, &stored.name, stored.version).ok_or_else(not_in_log)?;
    let digest = Digest::of(stored.document.as_bytes());
    if recorded.data.digest != digest || stored.digest != digest.to_string() {
        return Err(not_in_log());
    }
    // It was accepted when it was stored; a release that cannot read it any more must not decide.
    let policy = parse(stored.document.as_bytes()).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        Error::internal(anyhow::anyhow!(
            "this release cannot read the active policy {}: {first}",
            stored.name
        ))
    })?;
    if policy.name() != stored.name {
        return Err(not_in_log());
    }
    Ok((stored.version.cast_unsigned(), policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_says_which_parts_of_the_language_are_enforced() {
        let page = include_str!("../../../docs/policies.md");
        let (_, rest) = page.split_once("<!-- enforced -->").unwrap();
        let (said, _) = rest.split_once("<!-- /enforced -->").unwrap();
        let parts: Vec<String> = ENFORCED.iter().map(|part| format!("`{}`", part.as_str())).collect();
        let parts = if parts.is_empty() { "none of them".to_owned() } else { parts.join(", ") };
        assert_eq!(said, parts);
    }
}

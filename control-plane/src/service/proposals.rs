//! What would be active if …: the active set with drafts in it, and without what would go.

use aegis_contract::digest::Digest;
use aegis_contract::problem::FieldError;
use aegis_policy::{Policy, PolicySet};
use serde_json::Value;
use sqlx::PgConnection;

use super::{field_errors, policy_set};
use crate::error::Error;
use crate::store::policies;

/// How a set would differ from the active one.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// Drafts, each in place of the policy of its name.
    pub documents: Vec<Value>,
    /// Stored versions, each in place of the active one.
    pub versions: Vec<NamedVersion>,
    /// Policies that would not be active.
    pub without: Vec<String>,
    /// Whether nothing but the documents and versions would be active.
    pub is_whole: bool,
}

/// One stored version.
#[derive(Clone, Debug)]
pub struct NamedVersion {
    /// The policy.
    pub name: String,
    /// Its version.
    pub version: u32,
}

impl Proposal {
    /// Whether it is the active set as it is.
    pub fn is_empty(&self) -> bool {
        !self.is_whole && self.documents.is_empty() && self.versions.is_empty() && self.without.is_empty()
    }

    /// The active set, and what it would be.
    ///
    /// # Errors
    /// `PolicyInvalid` with what is wrong with the drafts; `NotFound` for versions that are not there;
    /// `Parameter` when a name is said twice; `StateNotInLog`.
    pub async fn of_active(&self, conn: &mut PgConnection) -> Result<(PolicySet, PolicySet), Error> {
        let active = policy_set::load(conn).await?;
        let mut drafts = read_documents(self.documents.clone()).await?;
        for NamedVersion { name, version } in &self.versions {
            drafts.push((*version, find_version(conn, name, *version).await?));
        }
        let replaced = |name: &str| drafts.iter().any(|(_, draft)| draft.name() == name);
        let mut members: Vec<(u32, Policy)> = Vec::new();
        if !self.is_whole {
            let stays = active.policies().filter(|(_, policy)| {
                !replaced(policy.name()) && !self.without.iter().any(|name| name == policy.name())
            });
            members.extend(stays.map(|(version, policy)| (version, policy.clone())));
        }
        members.extend(drafts);
        let proposed = PolicySet::new(members)
            .map_err(|error| Error::Parameter { name: "documents", message: error.to_string() })?;
        Ok((active, proposed))
    }
}

/// Reads drafts off the async threads: they may be large.
///
/// # Errors
/// `PolicyInvalid` with what is wrong with any of them.
pub async fn read_documents(documents: Vec<Value>) -> Result<Vec<(u32, Policy)>, Error> {
    let read = tokio::task::spawn_blocking(move || {
        let (mut policies, mut errors) = (Vec::new(), Vec::new());
        for (place, document) in documents.iter().enumerate() {
            match policy_set::parse(document.to_string().as_bytes()) {
                Ok(policy) => policies.push((0, policy)),
                Err(mut problems) => {
                    // Lines and columns are those of a text that nobody wrote.
                    problems.iter_mut().for_each(|problem| problem.line = None);
                    errors.extend(field_errors(&problems).into_iter().map(|error| FieldError {
                        pointer: format!("/documents/{place}{}", error.pointer),
                        ..error
                    }));
                }
            }
        }
        if errors.is_empty() { Ok(policies) } else { Err(Error::PolicyInvalid(errors)) }
    });
    read.await.map_err(Error::internal)?
}

async fn find_version(conn: &mut PgConnection, name: &str, version: u32) -> Result<Policy, Error> {
    let not_found = || Error::NotFound { what: "policy version" };
    let number = i32::try_from(version).map_err(|_| not_found())?;
    let stored = policies::find_version(conn, name, number).await?.ok_or_else(not_found)?;
    if Digest::of(stored.document.as_bytes()).to_string() != stored.digest {
        return Err(Error::StateNotInLog { what: format!("policy {name}") });
    }
    policy_set::parse(stored.document.as_bytes())
        .map_err(|problems| Error::PolicyInvalid(field_errors(&problems)))
}

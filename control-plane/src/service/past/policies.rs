//! Which policies were active at a time, and who activated them.

use aegis_contract::digest::Digest;
use aegis_runtime::clock;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;

use super::{Change, PAGE, read};
use crate::audit::Kind;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::Services;
use crate::service::entries::note_reading;
use crate::store::past::{self, Wanted};
use crate::store::{ANSWER_WITHIN, commit, within};

/// The policies that were active at a time.
#[derive(Clone, Debug)]
pub struct ActiveSet {
    /// The time.
    pub at: Timestamp,
    /// The change that made it so, and the digest of the set; none before the first change.
    pub made_by: Option<(Change, Digest)>,
    /// The policies.
    pub policies: Vec<Active>,
}

/// A policy that was active.
#[derive(Clone, Debug)]
pub struct Active {
    /// Its name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// Digest of its document.
    pub digest: Digest,
    /// Its activation; none if that entry is not in the log any more.
    pub activated: Option<Change>,
}

/// What an activation's entry says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    name: String,
    version: Option<u32>,
    policy_set_digest: Digest,
    policy_set: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    name: String,
    version: u32,
    digest: Digest,
}

/// The policies that were active at `at`, or are now. That it was asked is an entry: one for each reader, time and
/// minute.
///
/// # Errors
/// `Forbidden`.
pub async fn policies_at(
    services: &Services,
    caller: &Caller,
    at: Option<Timestamp>,
) -> Result<ActiveSet, Error> {
    caller.require(Permission::ReadAudit)?;
    let (tx, set) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let set = active_at(&mut tx, at.unwrap_or_else(clock::now)).await?;
        note_reading(&mut tx, caller, json!({ "policies": { "at": at } })).await?;
        Ok((tx, set))
    })
    .await?;
    commit(tx, None).await?;
    Ok(set)
}

async fn active_at(conn: &mut PgConnection, at: Timestamp) -> Result<ActiveSet, Error> {
    let mut last: Option<(Change, Said)> = None;
    for kind in [Kind::PolicyActivated, Kind::PolicyDeactivated] {
        let wanted = Wanted { kind: kind.as_str(), until: at, beyond: None };
        let found = read::<Said>(past::newest(conn, wanted, 1).await?)?;
        last = last.into_iter().chain(found).max_by_key(|(change, _)| change.order());
    }
    let Some((made_by, said)) = last else {
        return Ok(ActiveSet { at, made_by: None, policies: Vec::new() });
    };
    let active = |Member { name, version, digest }| Active { name, version, digest, activated: None };
    let mut policies: Vec<Active> = said.policy_set.into_iter().map(active).collect();
    find_activations(conn, at, &mut policies).await?;
    Ok(ActiveSet { at, made_by: Some((made_by, said.policy_set_digest)), policies })
}

/// Goes back until every policy's activation is found.
async fn find_activations(
    conn: &mut PgConnection,
    at: Timestamp,
    policies: &mut [Active],
) -> Result<(), Error> {
    let mut wanted = Wanted { kind: Kind::PolicyActivated.as_str(), until: at, beyond: None };
    while policies.iter().any(|policy| policy.activated.is_none()) {
        let found = read::<Said>(past::newest(conn, wanted, PAGE).await?)?;
        let Some((oldest, _)) = found.last() else { break };
        wanted.beyond = Some(oldest.entry_id);
        for (change, said) in found {
            let is_it = |policy: &&mut Active| {
                policy.activated.is_none()
                    && (&policy.name, Some(policy.version)) == (&said.name, said.version)
            };
            if let Some(policy) = policies.iter_mut().find(is_it) {
                policy.activated = Some(change);
            }
        }
    }
    Ok(())
}

//! Making the active set equal a folder, all of it at once.

use std::collections::BTreeMap;

use aegis_contract::ids::EntryId;
use aegis_policy::{PolicySet, failing_tests};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::activation::{
    append_activation, failures, require_consent_to_rest, require_replay, require_second_person,
};
use super::{append, insert_version, no_policy};
use crate::audit::Kind;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::{Services, policy_set};
use crate::store::{ANSWER_WITHIN, commit, dispatch, policies, within};

/// The source of policies that a sync speaks for, for example the name of a repository.
const MANAGER_LENGTH_MAX: usize = 100;

/// What shall be active: these documents, and nothing else.
pub struct Sync {
    /// Who manages the policies from now on.
    pub managed_by: String,
    /// Every document.
    pub documents: Vec<aegis_policy::Policy>,
    /// The entry of a replay that was looked at before.
    pub replay: Option<EntryId>,
    /// Whether only to say what would be done.
    pub is_plan: bool,
}

/// What a sync does, or would do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// One step for each policy that does not stay as it is, by name.
    pub steps: Vec<Step>,
    /// Whether they were done.
    pub is_applied: bool,
    /// What is active now.
    #[schema(value_type = String)]
    pub policy_set_digest: String,
}

/// What happens to one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SyncStep)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What.
    pub change: StepChange,
    /// The version that was active.
    pub from_version: Option<u32>,
    /// The version that is active then.
    pub to_version: Option<u32>,
}

/// The ways a sync changes a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepChange {
    /// It is new.
    Create,
    /// Its document is another one.
    Update,
    /// A version that is stored already becomes active.
    Activate,
    /// It is active as it is, and belongs to the sync from now on.
    Adopt,
    /// It is not in the folder.
    Deactivate,
}

/// Makes exactly these documents active, in one transaction.
///
/// # Errors
/// `PolicyTestsFailed`; `PolicyManaged` when another sync has one of them; `FourEyes`;
/// `ReplayRequired`; `Parameter` when two documents have one name.
pub async fn sync(services: &Services, caller: &Caller, sync: Sync) -> Result<Synced, Error> {
    caller.require(Permission::WritePolicies)?;
    check_manager(&sync.managed_by)?;
    if sync.is_plan {
        return plan(services, &sync).await;
    }
    services.safeguards.require_recordable()?;
    // Whatever else is active goes: the documents are the whole set.
    test(&sync).await?;
    let (tx, synced) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        policies::active_digest_for_update(&mut tx).await?;
        let stored = policies::lock_all(&mut tx).await?;
        let steps = steps(&mut tx, &sync, &stored).await?;
        if steps.is_empty() && policy_set::is_as_activated(&mut tx).await? {
            let policy_set_digest = policies::active_digest(&mut tx).await?;
            return Ok((tx, Synced { steps, is_applied: true, policy_set_digest }));
        }
        let digest = apply(&mut tx, services, caller, &sync, &stored, &steps).await?;
        Ok((tx, Synced { steps, is_applied: true, policy_set_digest: digest }))
    })
    .await?;
    commit(tx, None).await?;
    Ok(synced)
}

/// Lets a policy be changed by hand again.
///
/// # Errors
/// `NotFound`.
pub async fn release(services: &Services, caller: &Caller, name: &str) -> Result<(), Error> {
    caller.require(Permission::WritePolicies)?;
    services.safeguards.require_recordable()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let policy = policies::lock(&mut tx, name).await?.ok_or_else(no_policy)?;
        if let Some(managed_by) = policy.managed_by {
            let at = dispatch::clock(&mut tx).await?;
            policies::set_managed_by(&mut tx, name, None, at).await?;
            append(&mut tx, caller, Kind::PolicyReleased, json!({ "name": name, "managedBy": managed_by }))
                .await?;
        }
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

fn check_manager(managed_by: &str) -> Result<(), Error> {
    let fits = (1..=MANAGER_LENGTH_MAX).contains(&managed_by.len())
        && managed_by.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(());
    }
    let message = format!("must be 1 to {MANAGER_LENGTH_MAX} visible ASCII characters");
    Err(Error::Parameter { name: "managedBy", message })
}

async fn plan(services: &Services, sync: &Sync) -> Result<Synced, Error> {
    test(sync).await?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let stored = policies::list(&mut conn, None, i64::MAX).await?;
        let steps = steps(&mut conn, sync, &stored).await?;
        let policy_set_digest = policies::active_digest(&mut conn).await?;
        Ok(Synced { steps, is_applied: false, policy_set_digest })
    })
    .await
}

/// Runs the tests of all documents, together with each other and nothing else.
async fn test(sync: &Sync) -> Result<(), Error> {
    let members = sync.documents.iter().map(|policy| (0, policy.clone())).collect();
    let set = PolicySet::new(members)
        .map_err(|error| Error::Parameter { name: "documents", message: error.to_string() })?;
    let documents = sync.documents.clone();
    let failed = tokio::task::spawn_blocking(move || {
        let failed = |(place, policy)| failures(&format!("/documents/{place}"), &failing_tests(policy, &set));
        documents.iter().enumerate().flat_map(failed).collect::<Vec<_>>()
    });
    let failed = failed.await.map_err(Error::internal)?;
    if failed.is_empty() { Ok(()) } else { Err(Error::PolicyTestsFailed(failed)) }
}

/// What has to be done, by name.
async fn steps(
    conn: &mut PgConnection,
    sync: &Sync,
    stored: &[policies::Policy],
) -> Result<Vec<Step>, Error> {
    let wanted: BTreeMap<&str, &aegis_policy::Policy> =
        sync.documents.iter().map(|policy| (policy.name(), policy)).collect();
    let mut steps = Vec::new();
    for policy in stored {
        let document = wanted.get(policy.name.as_str()).copied();
        if document.is_none() && policy.active_version.is_none() {
            continue;
        }
        if let Some(by) = policy.managed_by.as_ref().filter(|by| **by != sync.managed_by) {
            return Err(Error::PolicyManaged { name: policy.name.clone(), by: by.clone() });
        }
        steps.extend(step(conn, sync, policy, document).await?);
    }
    let is_new = |name: &&str| !stored.iter().any(|policy| policy.name == **name);
    steps.extend(wanted.keys().copied().filter(is_new).map(|name| Step {
        name: name.to_owned(),
        change: StepChange::Create,
        from_version: None,
        to_version: Some(1),
    }));
    steps.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(steps)
}

async fn step(
    conn: &mut PgConnection,
    sync: &Sync,
    policy: &policies::Policy,
    document: Option<&aegis_policy::Policy>,
) -> Result<Option<Step>, Error> {
    let step = |change, to_version: Option<i32>| Step {
        name: policy.name.clone(),
        change,
        from_version: policy.active_version.map(i32::cast_unsigned),
        to_version: to_version.map(i32::cast_unsigned),
    };
    let Some(document) = document else { return Ok(Some(step(StepChange::Deactivate, None))) };
    // The active version where it is the wanted one, or else the newest: a version that somebody
    // stored before is not stored again.
    for candidate in [policy.active_version, Some(policy.latest_version)].into_iter().flatten() {
        let version = policies::find_version(conn, &policy.name, candidate).await?;
        if version.is_some_and(|version| version.digest == document.digest().to_string()) {
            let is_active = policy.active_version == Some(candidate);
            let is_ours = policy.managed_by.as_ref() == Some(&sync.managed_by);
            return Ok(match (is_active, is_ours) {
                (true, true) => None,
                (true, false) => Some(step(StepChange::Adopt, Some(candidate))),
                (false, _) => Some(step(StepChange::Activate, Some(candidate))),
            });
        }
    }
    Ok(Some(step(StepChange::Update, Some(policy.latest_version + 1))))
}

/// Does all steps; the digest of what is active then.
async fn apply(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    sync: &Sync,
    stored: &[policies::Policy],
    steps: &[Step],
) -> Result<String, Error> {
    let at = dispatch::clock(conn).await?;
    for step in steps {
        let to_version = step.to_version.map(u32::cast_signed);
        let document = sync.documents.iter().find(|policy| policy.name() == step.name);
        if let (StepChange::Create | StepChange::Update, Some(document), Some(version)) =
            (step.change, document, to_version)
        {
            let taken = match step.change {
                StepChange::Create => policies::insert(conn, &step.name, at).await?,
                _ => policies::set_latest(conn, &step.name, version - 1, at).await?,
            };
            if !taken {
                return Err(Error::PreconditionFailed);
            }
            insert_version(conn, caller, document, version, at).await?;
        }
        if step.change != StepChange::Adopt {
            match (to_version, stored.iter().find(|policy| policy.name == step.name)) {
                (Some(version), _) => {
                    require_second_person(conn, services, caller, &step.name, version).await?;
                }
                // A replay of the whole set is asked for below.
                (None, Some(policy)) if services.activation_rules.four_eyes => {
                    require_consent_to_rest(conn, services, policy).await?;
                }
                (None, _) => {}
            }
            policies::set_active(conn, &step.name, to_version, at).await?;
        }
        policies::set_managed_by(conn, &step.name, Some(&sync.managed_by), at).await?;
    }
    let set = policy_set::load(conn).await?;
    let digest = set.digest().to_string();
    policies::set_digest(conn, &digest, &policy_set::members(&set), at).await?;
    let replay = require_replay(conn, services, &set, sync.replay, at).await?;
    append_all(conn, caller, sync, stored, steps, (&set, replay)).await?;
    Ok(digest)
}

/// One entry for the sync, and one for each policy that became active or ceased to be.
async fn append_all(
    conn: &mut PgConnection,
    caller: &Caller,
    sync: &Sync,
    stored: &[policies::Policy],
    steps: &[Step],
    (set, replay): (&PolicySet, Option<Value>),
) -> Result<(), Error> {
    let data = json!({ "managedBy": sync.managed_by, "steps": steps, "policySetDigest": set.digest(), "replay": replay });
    append(conn, caller, Kind::PolicySynced, data).await?;
    for step in steps.iter().filter(|step| step.change != StepChange::Adopt) {
        let found = stored.iter().find(|policy| policy.name == step.name).cloned();
        let policy = match found {
            Some(policy) => policy,
            None => policies::find(conn, &step.name)
                .await?
                .map(|new| policies::Policy { active_version: None, ..new })
                .ok_or_else(no_policy)?,
        };
        append_activation(conn, caller, &policy, step.to_version.map(u32::cast_signed), set, None).await?;
    }
    Ok(())
}

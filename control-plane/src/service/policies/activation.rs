//! What counts: making a version active, going back, and letting a policy rest.

use aegis_contract::digest::Digest;
use aegis_contract::ids::EntryId;
use aegis_contract::intent::Entry;
use aegis_contract::problem::FieldError;
use aegis_policy::{CaseResult, Mode, PolicySet, RuleEffect, failing_tests};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    Policy, Precondition, Version, append, commit_and_show, no_policy, no_version, require_unmanaged,
};
use crate::audit::Kind;
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::{Services, policy_set};
use crate::store::{ANSWER_WITHIN, dispatch, entries, policies, within};

/// How often an activation is begun anew because another one came first.
const ATTEMPTS: usize = 3;

/// How long a replay says enough about the present.
const REPLAY_GOOD_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What whoever wants to deactivate a policy that forbids is told to do instead.
const REST_BY_ACTIVATION: &str =
    "this policy forbids or demands something; store a version with `\"mode\": \"off\"`, and activate that";

/// What deployments ask of activations besides tests that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActivationRules {
    /// Who stored a version cannot activate it.
    pub four_eyes: bool,
    /// An activation names a replay of exactly what will be active, over at least so long; zero asks for none.
    pub replay: SignedDuration,
}

impl ActivationRules {
    fn is_replay_required(self) -> bool {
        self.replay.is_positive()
    }
}

/// What shall become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The version.
    pub version: u32,
    /// The entry of a replay that was looked at before.
    pub replay: Option<EntryId>,
}

/// Makes a version the one that counts, in place of the one before; also an earlier one.
///
/// # Errors
/// `NotFound`; `PreconditionFailed` when a newer version was stored than the caller has seen;
/// `PolicyTestsFailed`; `FourEyes`; `ReplayRequired`; `PolicyManaged`; `StateNotInLog` when what is active
/// is not what was activated.
pub async fn activate(
    services: &Services,
    caller: &Caller,
    name: &str,
    activation: Activation,
    precondition: Option<&Precondition>,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::WritePolicies)?;
    services.safeguards.require_recordable()?;
    let version = i32::try_from(activation.version).map_err(|_| no_version())?;
    for _ in 0..ATTEMPTS {
        let tested = test(services, name, version).await?;
        let tx = within(ANSWER_WITHIN, async {
            let mut tx = services.store.begin().await?;
            // First of all locks, so that two changes of the set come one after the other.
            if policies::active_digest_for_update(&mut tx).await? != tested {
                return Ok(None);
            }
            let policy = lock(&mut tx, name, precondition).await?;
            if policy.active_version != Some(version) {
                require_second_person(&mut tx, services, caller, name, version).await?;
                let change = Change { version: Some(version), replay: activation.replay };
                change_set(&mut tx, services, caller, &policy, change).await?;
            }
            Ok(Some(tx))
        })
        .await?;
        if let Some(tx) = tx {
            return commit_and_show(tx, name, None).await;
        }
    }
    Err(Error::Busy)
}

/// Makes a policy count no more.
///
/// # Errors
/// `NotFound`; `PreconditionFailed`; `PolicyManaged`; `FourEyes` and `ReplayRequired` where one of them is
/// asked for and the policy forbids or demands something; `StateNotInLog`.
pub async fn deactivate(
    services: &Services,
    caller: &Caller,
    name: &str,
    precondition: Option<&Precondition>,
) -> Result<(Policy, Version), Error> {
    caller.require(Permission::WritePolicies)?;
    services.safeguards.require_recordable()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        policies::active_digest_for_update(&mut tx).await?;
        let policy = lock(&mut tx, name, precondition).await?;
        if policy.active_version.is_some() || !policy_set::is_as_activated(&mut tx).await? {
            require_consent_to_rest(&mut tx, services, &policy).await?;
            change_set(&mut tx, services, caller, &policy, Change { version: None, replay: None }).await?;
        }
        Ok(tx)
    })
    .await?;
    commit_and_show(tx, name, None).await
}

/// Runs the tests of a version together with what is active; the digest of that.
async fn test(services: &Services, name: &str, version: i32) -> Result<String, Error> {
    let (set, version) = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        policies::find(&mut conn, name).await?.ok_or_else(no_policy)?;
        let version = policies::find_version(&mut conn, name, version).await?.ok_or_else(no_version)?;
        Ok((services.policies.load(&mut conn).await?, version))
    })
    .await?;
    let policy = super::parse(version.document.into_bytes()).await?;
    let digest = set.set().digest().to_string();
    let failed = tokio::task::spawn_blocking(move || failing_tests(&policy, set.set()));
    let failed = failed.await.map_err(Error::internal)?;
    if failed.is_empty() { Ok(digest) } else { Err(Error::PolicyTestsFailed(failures("", &failed))) }
}

/// Failed tests as errors of the document that holds them.
pub(super) fn failures(document: &str, failed: &[(usize, CaseResult)]) -> Vec<FieldError> {
    let error = |(place, result): &(usize, CaseResult)| {
        let differences: Vec<String> = result
            .differences
            .iter()
            .map(|difference| {
                format!("{}: expected {}, got {}", difference.field, difference.expected, difference.actual)
            })
            .collect();
        let message = format!("{}: {}; {}", result.name, differences.join("; "), result.decision.reason);
        FieldError { pointer: format!("{document}/tests/{place}"), code: "test-failed".to_owned(), message }
    };
    failed.iter().map(error).collect()
}

async fn lock(
    conn: &mut PgConnection,
    name: &str,
    precondition: Option<&Precondition>,
) -> Result<policies::Policy, Error> {
    let policy = policies::lock(conn, name).await?.ok_or_else(no_policy)?;
    require_unmanaged(Some(&policy))?;
    let latest = policy.latest_version.cast_unsigned();
    let seen = match precondition {
        None | Some(Precondition::Exists) => true,
        Some(Precondition::New) => false,
        Some(Precondition::Latest(seen)) => seen.contains(&latest),
    };
    if seen { Ok(policy) } else { Err(Error::PreconditionFailed) }
}

/// Where four eyes are asked for, whoever stored a version does not activate it.
pub(super) async fn require_second_person(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    name: &str,
    version: i32,
) -> Result<(), Error> {
    if !services.activation_rules.four_eyes {
        return Ok(());
    }
    let entry = policies::find_version_entry(conn, name, version).await?.ok_or_else(no_version)?;
    if policy_set::stored_by(&entry, name, version)? == caller.name {
        Err(Error::FourEyes("you stored this version yourself; somebody else has to activate it"))
    } else {
        Ok(())
    }
}

/// Without a policy that forbids or demands something, more is allowed: where activations need a second
/// person or a replay, its end is one, that of a version in mode `off`.
pub(super) async fn require_consent_to_rest(
    conn: &mut PgConnection,
    services: &Services,
    policy: &policies::Policy,
) -> Result<(), Error> {
    let four_eyes = services.activation_rules.four_eyes;
    let replay_required = services.activation_rules.is_replay_required();
    let Some(version) = policy.active_version.filter(|_| four_eyes || replay_required) else {
        return Ok(());
    };
    let stored = policies::find_version(conn, &policy.name, version).await?.ok_or_else(no_version)?;
    // A document that cannot be read forbids everything, until it counts no more.
    let Ok(document) = policy_set::parse(stored.document.as_bytes()) else { return Ok(()) };
    let restricts =
        document.mode() == Mode::Enforce && document.rules().any(|(_, effect)| effect != RuleEffect::Allow);
    match restricts {
        true if four_eyes => Err(Error::FourEyes(REST_BY_ACTIVATION)),
        true => Err(Error::ReplayRequired { reason: REST_BY_ACTIVATION }),
        false => Ok(()),
    }
}

/// What happens to one policy.
struct Change {
    version: Option<i32>,
    replay: Option<EntryId>,
}

async fn change_set(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    policy: &policies::Policy,
    change: Change,
) -> Result<(), Error> {
    let at = dispatch::clock(conn).await?;
    let recorded = policy_set::activated_members(conn).await?;
    policies::set_active(conn, &policy.name, change.version, at).await?;
    let set = policy_set::load(conn).await?;
    // The entry of this change names the whole set: nothing else may slip in with it.
    policy_set::require_same_but(&policy.name, &recorded, &policy_set::members(&set))?;
    policies::set_digest(conn, &set.digest().to_string(), &policy_set::members(&set), at).await?;
    let replay = match change.version {
        Some(_) => require_replay(conn, services, &set, change.replay, at).await?,
        // See `require_consent_to_rest`.
        None => None,
    };
    append_activation(conn, caller, policy, change.version, &set, replay).await
}

/// The one entry that says what became active, or ceased to be.
pub(super) async fn append_activation(
    conn: &mut PgConnection,
    caller: &Caller,
    policy: &policies::Policy,
    version: Option<i32>,
    set: &PolicySet,
    replay: Option<Value>,
) -> Result<(), Error> {
    let kind = if version.is_some() { Kind::PolicyActivated } else { Kind::PolicyDeactivated };
    let data = json!({
        "name": policy.name,
        "version": version,
        "previousVersion": policy.active_version,
        "policySetDigest": set.digest(),
        "policySet": policy_set::members(set),
        // The replay that was looked at before; null where there was none.
        "replay": replay,
    });
    append(conn, caller, kind, data).await?;
    Ok(())
}

/// What the entry of a replay says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// The policies that decided again.
    pub policy_set: Vec<Member>,
    /// The decisions since then were taken again.
    pub since: Timestamp,
    /// The decisions before then.
    pub until: Timestamp,
    /// Digest of the report with its samples.
    pub digest: Digest,
    /// What came of it: the report without its samples.
    pub report: Value,
}

/// A policy as a set names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Digest of its document.
    pub digest: String,
}

/// The policies of a set, whatever the numbers of their versions: a draft has none yet.
pub fn replayed_set(set: &PolicySet) -> Vec<Member> {
    let member = |(_, policy): (u32, &aegis_policy::Policy)| Member {
        name: policy.name().to_owned(),
        digest: policy.digest().to_string(),
    };
    set.policies().map(member).collect()
}

/// What the activation's entry says of its replay at `now`; there must be one where that is asked for.
pub(super) async fn require_replay(
    conn: &mut PgConnection,
    services: &Services,
    set: &PolicySet,
    replay: Option<EntryId>,
    now: Timestamp,
) -> Result<Option<Value>, Error> {
    let rules = services.activation_rules;
    let Some(entry) = replay else {
        return match rules.is_replay_required() {
            true => {
                Err(Error::ReplayRequired { reason: "name the entry of a replay of what will be active" })
            }
            false => Ok(None),
        };
    };
    let replayed = find_replay(conn, entry).await?;
    if replayed.policy_set != replayed_set(set) {
        let reason = "the replay was made with other policies than would be active now";
        return Err(Error::ReplayRequired { reason });
    }
    let is_recent = now.duration_since(replayed.until) <= REPLAY_GOOD_FOR;
    if rules.is_replay_required() && !(is_recent && now.duration_since(replayed.since) >= rules.replay) {
        let reason =
            "the replay must reach as far back as POLICY_REPLAY_DAYS says, and up to less than a day ago";
        return Err(Error::ReplayRequired { reason });
    }
    Ok(Some(json!({ "entryId": entry, "report": replayed.report })))
}

async fn find_replay(conn: &mut PgConnection, entry: EntryId) -> Result<Replayed, Error> {
    let not_it = |reason| Error::ReplayRequired { reason };
    let body = entries::find(conn, entry).await?.ok_or_else(|| not_it("there is no such entry"))?;
    let read: Result<Entry<Replayed>, _> = serde_json::from_slice(&body);
    let read = read.ok().filter(|entry| entry.kind == Kind::PolicyReplayed.as_str());
    Ok(read.ok_or_else(|| not_it("the entry is not that of a replay"))?.data)
}

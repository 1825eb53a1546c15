//! Writing down what will be ordered.

use aegis_contract::action::{ActionType, Change};
use aegis_contract::bounds::Bounds;
use aegis_contract::facts::Facts;
use aegis_contract::ids::ActionId;
use aegis_contract::intent::{Approval, Intent};
use aegis_contract::order::{AutomaticReturn, Preconditions};
use aegis_contract::target::Target;
use aegis_evidence::Hash;
use aegis_policy::{Demanded, Limit, Whole};
use sqlx::PgConnection;

use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::service::decide::Decided;
use crate::service::reviews;
use crate::store::intents;

/// An intent to be written.
#[derive(Clone, Debug)]
pub struct NewIntent<'a> {
    /// The action it belongs to.
    pub action_id: ActionId,
    /// The attempt it is for, from 1.
    pub attempt: u32,
    /// Who intends it: the requester, or the dispatcher that decided again.
    pub principal: &'a str,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// What will be changed.
    pub target: &'a Target,
    /// How.
    pub change: &'a Change,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// How long its effect is watched, in seconds.
    pub watch_seconds: u32,
    /// The decision that allowed it.
    pub decided: &'a Decided,
    /// What that decision saw.
    pub facts: &'a Facts,
    /// The people on whose word it goes ahead.
    pub approvals: Vec<Approval>,
}

/// Appends the `action.intent` entry, whose bytes the order will carry, and supersedes earlier ones.
pub async fn write_intent(
    conn: &mut PgConnection,
    keyring: &Keyring,
    new: NewIntent<'_>,
) -> Result<(), Error> {
    let preconditions = preconditions_of(new.target, new.change, new.facts)?;
    let data = Intent {
        attempt: new.attempt,
        target: new.target.clone(),
        change: new.change.clone(),
        dry_run: new.dry_run,
        automatic_return: return_of(&new),
        bounds: bounds_of(&new.decided.decision.obligations.limits, new.change),
        decision_id: new.decided.decision_id,
        policy_digest: new.decided.policy_digest,
        plan_digest: preconditions.plan_digest(new.change),
        approvals: new.approvals.clone(),
    };
    let entry = audit::append(
        conn,
        Record {
            kind: Kind::ActionIntent,
            principal: new.principal,
            action_id: Some(new.action_id),
            request_id: new.request_id,
            data,
        },
    )
    .await?;
    let intent = intents::Intent {
        attempt: new.attempt,
        entry_id: entry.id,
        decision_id: new.decided.decision_id,
        policy_digest: new.decided.policy_digest.to_string(),
        decided_at: new.decided.decided_at,
        preconditions,
        sealed_leaf: Some(keyring.seal(Purpose::IntentLeaf, Hash::leaf(&entry.body).as_bytes())),
    };
    intents::insert(conn, new.action_id, &intent).await?;
    reviews::ask(conn, new).await
}

/// Where something can be put back, the executor may do so as long as it watches.
fn return_of(new: &NewIntent<'_>) -> Option<AutomaticReturn> {
    let can_be_returned = new.change.can_be_returned() && !new.dry_run;
    can_be_returned.then_some(AutomaticReturn { within_seconds: new.watch_seconds })
}

/// What the limits say of figures that the executor sees for itself; nothing where none does.
fn bounds_of(limits: &[Demanded<Limit>], change: &Change) -> Option<Bounds> {
    let mut bounds = Bounds::default();
    for Demanded { what: limit, .. } in limits {
        match limit {
            Limit::Unavailable { of: Whole::Target, max_percent, max_pods } => {
                bounds.unavailable_max = least(bounds.unavailable_max, *max_pods);
                bounds.unavailable_max_percent = least(bounds.unavailable_max_percent, *max_percent);
            }
            Limit::Replicas { min, max, max_step } => {
                if change.action_type() == ActionType::Scale {
                    let replicas = bounds.replicas.get_or_insert_default();
                    replicas.min = replicas.min.max(*min);
                    replicas.max = least(replicas.max, *max);
                    replicas.max_step = least(replicas.max_step, *max_step);
                }
            }
            Limit::Cooldown { .. }
            | Limit::Rate { .. }
            | Limit::Concurrency { .. }
            | Limit::Breaker { .. } => {}
        }
    }
    (bounds != Bounds::default()).then_some(bounds)
}

fn least(left: Option<u32>, right: Option<u32>) -> Option<u32> {
    left.into_iter().chain(right).min()
}

/// What must still hold of the target when it is changed, as it was seen.
///
/// # Errors
/// When the facts lack what the change writes.
pub fn preconditions_of(target: &Target, change: &Change, facts: &Facts) -> Result<Preconditions, Error> {
    Preconditions::of(change, facts).ok_or_else(|| {
        let action = change.action_type();
        Error::internal(anyhow::anyhow!("the executor's facts of {target} lack what {action} writes"))
    })
}

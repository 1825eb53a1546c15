//! Deciding an action again: its decision is too old, the policies changed, an attempt was closed
//! without having begun, or enough people have agreed to it.

use aegis_contract::action::ActionState;
use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_contract::facts::Facts;
use aegis_contract::ids::ActionId;
use aegis_contract::intent::Approval;
use aegis_contract::plan::Obstacle;
use aegis_policy::Effect;
use aegis_runtime::trace_context::TraceContext;
use sqlx::PgConnection;

use super::{DISPATCHER, Ending, NewIntent, Outcome, end_action, expire, write_intent};
use crate::client::executor::{ExecutorClient, Observed};
use crate::error::Error;
use crate::metrics::{ControlPlaneMetrics, Tally};
use crate::seal::Keyring;
use crate::service::approvals::{Gate, Passing, Subject, gate, start_by};
use crate::service::decide::{Asked, Decided, Occasion, Purpose, decide};
use crate::service::holds;
use crate::service::policy_set::ActivePolicies;
use crate::store::dispatch::{self, OpenAction};
use crate::store::{Store, attempts, commit};

/// What came of deciding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redecided {
    /// Allowed again, with a new intent.
    Intended,
    /// Allowed if people agree, who are asked now or missing again.
    Asked,
    /// Not allowed any more, or not possible any more, or no longer to be decided.
    Over,
    /// The executor could not say what the target looks like; to be tried again.
    FactsUnavailable,
}

/// Decides a queued action again, or one that enough people have agreed to, on fresh facts of the
/// object the first decision saw.
pub async fn redecide(
    store: &Store,
    keyring: &Keyring,
    policies: &ActivePolicies,
    client: &ExecutorClient,
    metrics: &ControlPlaneMetrics,
    id: ActionId,
) -> Result<Redecided, Error> {
    let Some(seen) = dispatch::find(&mut *store.acquire().await?, id).await? else {
        return Ok(Redecided::Over);
    };
    let trace = TraceContext::from_text(&seen.traceparent);
    let observed = match client.observe(&seen.target, &seen.change, trace).await {
        Err(Error::ExecutorUnavailable { .. }) => {
            return expire_if_late(store, &seen).await;
        }
        observed => observed?,
    };
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(Redecided::Over) };
    let is_approved = action.state == ActionState::AwaitingApproval && action.approved_at.is_some();
    if action.state != ActionState::Queued && !is_approved {
        return Ok(Redecided::Over);
    }
    let decided = decide_again(&mut tx, policies, &action, &observed).await?;
    let held = holds::denial(&mut tx, &action.target, &action.requested_by, action.dry_run).await?;
    let redecided = match (obstacle(&action, &decided, &observed, held), &observed) {
        (None, Observed::Present(facts)) => go_on(&mut tx, keyring, &action, &decided, facts).await?,
        (Some((to, outcome)), _) => {
            end_waiting(&mut tx, &action, to, &outcome).await?;
            Redecided::Over
        }
        (None, _) => return Err(Error::internal(anyhow::anyhow!("{id} was decided without a target"))),
    };
    commit(tx, Some(id)).await?;
    metrics.count_decision(&Tally::of(&decided));
    Ok(redecided)
}

/// Queues an action with its intent, or lets it wait for people.
async fn go_on(
    conn: &mut PgConnection,
    keyring: &Keyring,
    action: &OpenAction,
    decided: &Decided,
    facts: &Facts,
) -> Result<Redecided, Error> {
    let subject = Subject {
        action_id: action.id,
        target: &action.target,
        change: &action.change,
        dry_run: action.dry_run,
        requested_by: &action.requested_by,
    };
    let passing = Passing { by: DISPATCHER, request_id: None };
    match gate(conn, subject, decided, facts, passing).await? {
        Gate::Closed(until) => {
            dispatch::await_approval(conn, action.id, until).await?;
            Ok(Redecided::Asked)
        }
        Gate::Open(approvals) => {
            let reserved_at = (!action.dry_run).then_some(decided.decided_at);
            let deadline_at = if action.state == ActionState::AwaitingApproval {
                start_by(decided.decided_at, action.deadline_seconds)
            } else {
                action.deadline_at
            };
            dispatch::let_ahead(conn, action.id, reserved_at, deadline_at).await?;
            intend(conn, keyring, action, decided, facts, approvals).await?;
            Ok(Redecided::Intended)
        }
    }
}

/// Ends an action that waits for people when their time is over; false when it is not.
pub async fn expire_unapproved(store: &Store, id: ActionId) -> Result<bool, Error> {
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(true) };
    let waits = action.state == ActionState::AwaitingApproval;
    if !waits || dispatch::clock(&mut tx).await? < action.deadline_at {
        return Ok(false);
    }
    expire(&mut tx, &action).await?;
    commit(tx, Some(id)).await?;
    Ok(true)
}

async fn expire_if_late(store: &Store, action: &OpenAction) -> Result<Redecided, Error> {
    let mut tx = store.begin().await?;
    if dispatch::clock(&mut tx).await? < action.deadline_at {
        return Ok(Redecided::FactsUnavailable);
    }
    expire(&mut tx, action).await?;
    commit(tx, Some(action.id)).await?;
    Ok(Redecided::Over)
}

async fn decide_again(
    conn: &mut PgConnection,
    policies: &ActivePolicies,
    action: &OpenAction,
    observed: &Observed,
) -> Result<Decided, Error> {
    let asked = Asked {
        principal: action.requested_by.clone(),
        roles: action.requester_roles.clone(),
        action: action.change.action_type().as_str().to_owned(),
        resource: action.target.resource(),
        params: action.change.params(),
        metadata: action.metadata.clone(),
    };
    let purpose =
        Purpose::Act { action_id: action.id, dry_run: action.dry_run, reserved_at: action.reserved_at };
    let occasion = Occasion { by: DISPATCHER, request_id: None, observed: Some(observed), purpose };
    let decided = decide(conn, policies, &asked, occasion).await?;
    dispatch::set_decision(conn, action.id, decided.decision_id).await?;
    Ok(decided)
}

/// What stands in the way of ordering the action, if anything does.
fn obstacle(
    action: &OpenAction,
    decided: &Decided,
    observed: &Observed,
    held: Option<Outcome>,
) -> Option<(ActionState, Outcome)> {
    if decided.effect == Effect::Deny {
        let outcome = Outcome::without_receipt(OutcomeCode::PolicyDenied.as_str(), decided.reason.clone());
        return Some((ActionState::Denied, outcome));
    }
    if let Some(outcome) = held {
        return Some((ActionState::Denied, outcome));
    }
    let refused =
        |code: &str, message: String| Some((ActionState::Refused, Outcome::without_receipt(code, message)));
    match observed {
        Observed::Absent => {
            refused(RefusalCode::TargetAbsent.as_str(), format!("there is no {}", action.target))
        }
        Observed::Refused { code, message } => refused(code.as_str(), message.clone()),
        Observed::Present(facts) if Some(&facts.uid) != action.target_uid.as_ref() => refused(
            OutcomeCode::TargetReplaced.as_str(),
            format!("another object of the same name now stands at {}", action.target),
        ),
        Observed::Present(_) => {
            let Obstacle { code, message } = observed.obstacle()?.clone();
            refused(code.as_str(), message)
        }
    }
}

async fn end_waiting(
    conn: &mut PgConnection,
    action: &OpenAction,
    to: ActionState,
    outcome: &Outcome,
) -> Result<(), Error> {
    let ending = Ending {
        action_id: action.id,
        action_type: action.change.action_type(),
        target: &action.target,
        from: &[action.state],
        to,
        principal: DISPATCHER,
        on_behalf_of: &action.requested_by,
        request_id: None,
        outcome,
    };
    end_action(conn, ending).await.map(drop)
}

async fn intend(
    conn: &mut PgConnection,
    keyring: &Keyring,
    action: &OpenAction,
    decided: &Decided,
    facts: &Facts,
    approvals: Vec<Approval>,
) -> Result<(), Error> {
    let attempt = attempts::newest(conn, action.id).await?.map_or(1, |attempt| attempt.number + 1);
    let new = NewIntent {
        action_id: action.id,
        attempt,
        principal: DISPATCHER,
        request_id: None,
        target: &action.target,
        change: &action.change,
        dry_run: action.dry_run,
        watch_seconds: action.deadline_seconds,
        decided,
        facts,
        approvals,
    };
    write_intent(conn, keyring, new).await
}

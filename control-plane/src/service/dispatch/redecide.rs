//! Deciding a queued action again: its decision is too old, the policies changed, or an attempt was
//! closed without having begun.

use std::time::Duration;

use aegis_contract::action::ActionState;
use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_contract::ids::ActionId;
use aegis_policy::Effect;
use aegis_runtime::trace_context::TraceContext;
use sqlx::PgConnection;

use super::{DISPATCHER, Ending, NewIntent, Outcome, end_action, expire, write_intent};
use crate::client::executor::{ExecutorClient, Observed};
use crate::error::Error;
use crate::service::decide::{Asked, Decided, Occasion, Purpose, decide};
use crate::service::policy_set::ActivePolicies;
use crate::store::dispatch::{self, OpenAction};
use crate::store::{Store, attempts, commit};

/// How long an executor may take to say what a target looks like.
const FACTS_TIMEOUT: Duration = Duration::from_secs(1);

/// What came of deciding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redecided {
    /// Allowed again, with a new intent.
    Intended,
    /// Not allowed any more, or not possible any more, or no longer queued.
    Over,
    /// The executor could not say what the target looks like; to be tried again.
    FactsUnavailable,
}

/// Decides a queued action again on fresh facts of the object the first decision saw.
pub async fn redecide(
    store: &Store,
    policies: &ActivePolicies,
    client: &ExecutorClient,
    id: ActionId,
) -> Result<Redecided, Error> {
    let Some(seen) = dispatch::find(&mut *store.acquire().await?, id).await? else {
        return Ok(Redecided::Over);
    };
    let trace = TraceContext::from_text(&seen.traceparent);
    let observed = match client.observe(&seen.target, trace, FACTS_TIMEOUT).await {
        Err(Error::ExecutorUnavailable { .. }) => {
            return expire_if_late(store, &seen).await;
        }
        observed => observed?,
    };
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(Redecided::Over) };
    if action.state != ActionState::Queued {
        return Ok(Redecided::Over);
    }
    let decided = decide_again(&mut tx, policies, &action, &observed).await?;
    let redecided = match obstacle(&action, &decided, &observed) {
        Some((to, outcome)) => {
            end_queued(&mut tx, &action, to, &outcome).await?;
            Redecided::Over
        }
        None => {
            intend(&mut tx, &action, &decided, &observed).await?;
            Redecided::Intended
        }
    };
    commit(tx, Some(id)).await?;
    Ok(redecided)
}

async fn expire_if_late(store: &Store, action: &OpenAction) -> Result<Redecided, Error> {
    let mut tx = store.begin().await?;
    if dispatch::clock(&mut tx).await? < action.deadline_at {
        return Ok(Redecided::FactsUnavailable);
    }
    expire(&mut tx, action.id, ActionState::Queued, &action.requested_by).await?;
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
fn obstacle(action: &OpenAction, decided: &Decided, observed: &Observed) -> Option<(ActionState, Outcome)> {
    if decided.effect == Effect::Deny {
        let outcome = Outcome::without_receipt(OutcomeCode::PolicyDenied.as_str(), decided.reason.clone());
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
        Observed::Present(_) => None,
    }
}

async fn end_queued(
    conn: &mut PgConnection,
    action: &OpenAction,
    to: ActionState,
    outcome: &Outcome,
) -> Result<(), Error> {
    let ending = Ending {
        action_id: action.id,
        from: &[ActionState::Queued],
        to,
        principal: DISPATCHER,
        on_behalf_of: Some(&action.requested_by),
        request_id: None,
        outcome,
    };
    end_action(conn, ending).await.map(drop)
}

async fn intend(
    conn: &mut PgConnection,
    action: &OpenAction,
    decided: &Decided,
    observed: &Observed,
) -> Result<(), Error> {
    let Observed::Present(facts) = observed else { return Ok(()) };
    let attempt = attempts::newest(conn, action.id).await?.map_or(1, |attempt| attempt.number + 1);
    let new = NewIntent {
        action_id: action.id,
        attempt,
        principal: DISPATCHER,
        request_id: None,
        target: &action.target,
        change: &action.change,
        dry_run: action.dry_run,
        decided,
        facts,
    };
    write_intent(conn, new).await
}

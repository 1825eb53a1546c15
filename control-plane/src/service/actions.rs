//! Asking for actions, looking at them, withdrawing and closing them.

mod in_flight;
mod request;
mod validate;

use std::time::Duration;

use aegis_contract::action::{ActionState, ActionType};
use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::ActionId;
use aegis_contract::target::Target;
use aegis_runtime::clock;
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::Instant;

pub use in_flight::InFlight;
pub use request::{Request, request_action};
pub use validate::{ActionRequest, TargetRequest};

use super::approvals;
use super::dispatch::{Ending, Outcome, end_action};
use super::{Services, noting_refusal, spend_nonce};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::actions;
pub use crate::store::actions::{Action, Filter};
use crate::store::dispatch::{self, OpenAction};
use crate::store::{ANSWER_WITHIN, commit, within};

/// How often a waiting request looks again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// People it takes to close an action.
const CLOSERS: i64 = 2;

/// One action, if the caller may see it, or was asked to approve it.
///
/// # Errors
/// `NotFound` when there is none, or it is somebody else's and the caller sees only their own.
pub async fn find(services: &Services, caller: &Caller, id: ActionId) -> Result<Action, Error> {
    let found =
        within(ANSWER_WITHIN, async { actions::find(&mut *services.store.acquire().await?, id).await })
            .await?;
    if let Some(action) = found {
        let is_shown = caller.may(Permission::ReadOwnActions)
            && sees(caller, &action.requested_by, action.action_type, &action.target);
        if is_shown || approvals::is_asked(services, caller, &action).await? {
            return Ok(action);
        }
    }
    caller.require(Permission::ReadOwnActions)?;
    Err(not_found())
}

/// Actions, the newest first, those after `before` left out; only the caller's own, when they may
/// see no others.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    mut filter: Filter,
    before: Option<ActionId>,
    limit: u32,
) -> Result<Vec<Action>, Error> {
    caller.require(Permission::ReadOwnActions)?;
    if !caller.may(Permission::ReadActions) {
        if filter.requested_by.as_ref().is_some_and(|principal| *principal != caller.name) {
            return Ok(Vec::new());
        }
        filter.requested_by = Some(caller.name.clone());
        filter.scope = caller.scope.clone();
    }
    within(ANSWER_WITHIN, async {
        actions::list(&mut *services.store.acquire().await?, &filter, before, limit.into()).await
    })
    .await
}

/// Waits until an action has ended, the time is over, or the process ends; where `steps` are known, also
/// until its state has changed or more than those were done. Answers with the action as it then is.
/// Trouble with the database ends the waiting, not the answer.
pub async fn wait(services: &Services, action: Action, time: Duration, steps: Option<usize>) -> Action {
    let until = Instant::now() + time;
    let state = action.state;
    let is_news = |now: &Action| steps.is_some_and(|known| now.state != state || now.steps_done() > known);
    let mut newest = action;
    while !newest.state.is_final()
        && !is_news(&newest)
        && Instant::now() < until
        && !services.shutdown.is_triggered()
    {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY.min(until.duration_since(Instant::now()))) => {}
            () = services.shutdown.wait() => {}
        }
        let looked = within(ANSWER_WITHIN, async {
            actions::find(&mut *services.store.acquire().await?, newest.id).await
        });
        if let Ok(Some(found)) = looked.await {
            newest = found;
        }
    }
    newest
}

/// Withdraws an action that is not yet ordered. Withdrawing it again is the same.
///
/// # Errors
/// `NotFound`; `NotCancellable` once it was ordered or has ended.
pub async fn cancel(services: &Services, caller: &Caller, id: ActionId) -> Result<Action, Error> {
    caller.require(Permission::CancelOwnActions)?;
    let result = record_cancel(services, caller, id).await;
    noting_refusal(services, caller, result).await
}

async fn record_cancel(services: &Services, caller: &Caller, id: ActionId) -> Result<Action, Error> {
    let (tx, action) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        spend_nonce(&mut tx, caller).await?;
        let action = lock_visible(&mut tx, caller, id).await?;
        if action.requested_by != caller.name {
            caller.require(Permission::CancelActions)?;
        }
        match action.state {
            ActionState::AwaitingApproval | ActionState::Queued => {
                let outcome = Outcome::without_receipt(
                    OutcomeCode::Cancelled.as_str(),
                    "withdrawn before it was ordered; nothing was done",
                );
                end(&mut tx, ending(caller, &action, ActionState::Cancelled, &outcome)).await?;
            }
            ActionState::Cancelled => {}
            state => return Err(Error::NotCancellable { state }),
        }
        let action = actions::find(&mut tx, id).await?.ok_or_else(not_found)?;
        Ok((tx, action))
    })
    .await?;
    commit(tx, Some(id)).await?;
    // The next in line on the same target may begin.
    services.nudge.ring();
    Ok(action)
}

/// Declares that nobody will ever know what became of an action. The second person who does so ends
/// it as `failed`; the first one doing it again changes nothing.
///
/// # Errors
/// `NotFound`; `NotClosable` unless it stands in `unknown`.
pub async fn close(services: &Services, caller: &Caller, id: ActionId) -> Result<Action, Error> {
    caller.require(Permission::CloseActions)?;
    let (tx, action) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let action = lock_visible(&mut tx, caller, id).await?;
        if action.state != ActionState::Unknown {
            return Err(Error::NotClosable { state: action.state });
        }
        if actions::insert_closure(&mut tx, id, &caller.name, clock::now()).await? {
            record_closure(&mut tx, caller, &action).await?;
        }
        let action = actions::find(&mut tx, id).await?.ok_or_else(not_found)?;
        Ok((tx, action))
    })
    .await?;
    commit(tx, Some(id)).await?;
    services.nudge.ring();
    Ok(action)
}

async fn record_closure(conn: &mut PgConnection, caller: &Caller, action: &OpenAction) -> Result<(), Error> {
    let people = actions::count_closures(conn, action.id).await?;
    let record = Record {
        kind: Kind::ActionCloseRequested,
        principal: &caller.name,
        action_id: Some(action.id),
        request_id: Some(&caller.request_id),
        data: json!({
            "people": people,
            "needed": CLOSERS,
            "onBehalfOf": action.requested_by,
            "type": action.change.action_type(),
            "target": action.target,
        }),
    };
    audit::append(conn, record).await?;
    if people >= CLOSERS {
        let outcome = Outcome::without_receipt(
            OutcomeCode::Unresolved.as_str(),
            "closed by two people; whether the change was made is not known",
        );
        end(conn, ending(caller, action, ActionState::Failed, &outcome)).await?;
    }
    Ok(())
}

/// A locked action's end at the word of a caller.
fn ending<'a>(
    caller: &'a Caller,
    action: &'a OpenAction,
    to: ActionState,
    outcome: &'a Outcome,
) -> Ending<'a> {
    Ending {
        action_id: action.id,
        action_type: action.change.action_type(),
        target: &action.target,
        from: std::slice::from_ref(&action.state),
        to,
        principal: &caller.name,
        on_behalf_of: &action.requested_by,
        request_id: Some(&caller.request_id),
        outcome,
    }
}

async fn end(conn: &mut PgConnection, ending: Ending<'_>) -> Result<(), Error> {
    if end_action(conn, ending).await? {
        Ok(())
    } else {
        Err(Error::internal(anyhow::anyhow!("action {} moved while it was locked", ending.action_id)))
    }
}

/// The action, locked until the end of the transaction, if the caller may see it.
async fn lock_visible(conn: &mut PgConnection, caller: &Caller, id: ActionId) -> Result<OpenAction, Error> {
    let action = dispatch::lock(conn, id).await?;
    let is_seen =
        |action: &OpenAction| sees(caller, &action.requested_by, action.change.action_type(), &action.target);
    action.filter(is_seen).ok_or_else(not_found)
}

/// Whoever does not see all actions sees their own, as far as they may ask for such.
fn sees(caller: &Caller, requested_by: &str, action_type: ActionType, target: &Target) -> bool {
    caller.may(Permission::ReadActions)
        || (requested_by == caller.name && caller.scope.includes_change(action_type, target))
}

fn not_found() -> Error {
    Error::NotFound { what: "action" }
}

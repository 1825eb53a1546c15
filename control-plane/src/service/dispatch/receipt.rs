//! What an executor's answers mean for an action.

use aegis_contract::action::ActionState;
use aegis_contract::digest::Digest;
use aegis_contract::dsse::Envelope;
use aegis_contract::ids::ActionId;
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus, Receipt, Stage};
use serde_json::json;
use sqlx::PgConnection;

use super::{DISPATCHER, Ending, Helped, Outcome, end_action, expire};
use crate::audit::{self, Kind, Record};
use crate::client::executor::Answer;
use crate::error::Error;
use crate::service::holds;
use crate::store::attempts::{self, Attempt};
use crate::store::dispatch::{self, OpenAction};
use crate::store::receipts::{self, ReceiptName};
use crate::store::{Store, clusters, commit};

/// The states in which a receipt can still change something.
const OPEN: [ActionState; 2] = [ActionState::Running, ActionState::Unknown];

/// Where an action stands after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The executor is at it; ask again.
    AtWork,
    /// It never began: queued again, for another attempt.
    Requeued,
    /// It has ended.
    Over,
    /// Neither this executor nor this ledger can say what happened; people must look.
    InDoubt,
}

/// Takes down an answer and moves the action accordingly. The same answer again changes nothing.
pub async fn record_answer(store: &Store, id: ActionId, answer: &Answer) -> Result<Recorded, Error> {
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(Recorded::Over) };
    let Some(attempt) = attempts::newest(&mut tx, id).await? else { return Ok(Recorded::Over) };
    keep(&mut tx, &action, answer).await?;
    let recorded = if action.state.is_final() {
        Recorded::Over
    } else if is_outdated(&action, &attempt, answer) {
        Recorded::AtWork
    } else {
        apply(&mut tx, &action, &attempt, answer).await?
    };
    commit(tx, Some(id)).await?;
    Ok(recorded)
}

/// Whether an answer speaks of an attempt that is not the newest any more, as one does that a stalled
/// replica brings late. It says nothing about the newest attempt; only an end is an end whichever
/// attempt reached it.
fn is_outdated(action: &OpenAction, attempt: &Attempt, answer: &Answer) -> bool {
    let Receipt { attempt: named, stage, .. } = &answer.receipt;
    let of_newest = named.is_some_and(|named| named.attempt == attempt.number);
    !OPEN.contains(&action.state) || (!of_newest && !matches!(stage, Stage::Finished { .. }))
}

/// Takes down that an executor answered an attempt's order with an error. The action stays where it
/// is: such an answer is not signed, and proves nothing.
pub async fn record_not_accepted(
    store: &Store,
    action: &OpenAction,
    attempt: u32,
    status: u16,
    code: &str,
) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let record = Record {
        kind: Kind::OrderNotAccepted,
        principal: DISPATCHER,
        action_id: Some(action.id),
        request_id: None,
        data: json!({
            "attempt": attempt, "status": status, "code": code, "onBehalfOf": action.requested_by,
            "type": action.change.action_type(), "target": action.target,
        }),
    };
    audit::append(&mut tx, record).await?;
    commit(tx, Some(action.id)).await
}

/// Moves a running action to `unknown`: its time is over, and the executor does not say what happened.
pub async fn mark_unknown(store: &Store, id: ActionId, message: &str) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let Some(action) = dispatch::lock(&mut tx, id).await? else { return Ok(()) };
    if become_unknown(&mut tx, &action, message).await? {
        commit(tx, Some(id)).await?;
    }
    Ok(())
}

async fn become_unknown(conn: &mut PgConnection, action: &OpenAction, message: &str) -> Result<bool, Error> {
    if !dispatch::move_state(conn, action.id, ActionState::Running, ActionState::Unknown).await? {
        return Ok(false);
    }
    audit::append(
        conn,
        Record {
            kind: Kind::ActionUnknown,
            principal: DISPATCHER,
            action_id: Some(action.id),
            request_id: None,
            data: json!({
                "message": message,
                "onBehalfOf": action.requested_by,
                "type": action.change.action_type(),
                "target": action.target,
            }),
        },
    )
    .await?;
    Ok(true)
}

/// Keeps the first receipt of each stage, with its entry.
async fn keep(conn: &mut PgConnection, action: &OpenAction, answer: &Answer) -> Result<(), Error> {
    let Some(named) = answer.receipt.attempt else { return Ok(()) };
    let stage = stage_name(&answer.receipt.stage);
    let name = ReceiptName { action_id: action.id, attempt: named.attempt, stage };
    if receipts::exists(conn, name).await? {
        return Ok(());
    }
    let entry = audit::append(
        conn,
        Record {
            kind: Kind::ReceiptReceived,
            principal: DISPATCHER,
            action_id: Some(action.id),
            request_id: None,
            data: json!({
                "attempt": named.attempt,
                "stage": stage,
                "orderDigest": answer.receipt.order_digest,
                "receiptDigest": Digest::of(&answer.envelope),
                "ledger": answer.receipt.ledger,
                "head": answer.receipt.head,
                "onBehalfOf": action.requested_by,
                "type": action.change.action_type(),
                "target": action.target,
            }),
        },
    )
    .await?;
    receipts::insert(conn, name, answer.receipt.order_digest, &answer.envelope, entry.id, entry.at).await
}

fn stage_name(stage: &Stage) -> &'static str {
    match stage {
        Stage::Observed { .. } | Stage::ObservationRefused { .. } => "observed",
        Stage::Followed => "followed",
        Stage::Running { .. } => "running",
        Stage::Closed => "closed",
        Stage::Refused { .. } => "refused",
        Stage::Finished { .. } => "finished",
    }
}

async fn apply(
    conn: &mut PgConnection,
    action: &OpenAction,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<Recorded, Error> {
    match &answer.receipt.stage {
        Stage::Running { steps } => {
            note_row(conn, action, answer, answer.row_before).await?;
            attempts::set_accepted(conn, action.id, attempt.number).await?;
            dispatch::move_state(conn, action.id, ActionState::Unknown, ActionState::Running).await?;
            let said = serde_json::to_value(steps).map_err(Error::internal)?;
            dispatch::set_progress(conn, action.id, &said).await?;
            Ok(Recorded::AtWork)
        }
        Stage::Closed => {
            note_row(conn, action, answer, row_at_signing(attempt, answer)).await?;
            close_attempt(conn, action, attempt, answer).await
        }
        Stage::Refused { code, message } => {
            note_row(conn, action, answer, row_at_signing(attempt, answer)).await?;
            if !remembers_all(conn, action, attempt, answer).await? {
                return forgotten(conn, action).await;
            }
            end(conn, action, ActionState::Refused, refused(code.as_str(), message, answer)?).await
        }
        Stage::Finished { result } => {
            note_row(conn, action, answer, row_at_signing(attempt, answer)).await?;
            finish(conn, action, attempt, result, answer).await
        }
        Stage::Observed { .. } | Stage::ObservationRefused { .. } | Stage::Followed => {
            Err(Error::internal(anyhow::anyhow!("an acting order was answered with another's stage")))
        }
    }
}

/// The row that the ledger had reached when the order was signed, as far as is known: whatever is said
/// of the attempt was said after that, however long ago. Nothing is known of an earlier attempt.
fn row_at_signing(attempt: &Attempt, answer: &Answer) -> u64 {
    let of_newest = answer.receipt.attempt.is_some_and(|named| named.attempt == attempt.number);
    if of_newest { attempt.row_of(answer.receipt.ledger.id) } else { 0 }
}

/// Remembers the row a receipt names, and holds it against one that the ledger certainly had reached
/// by then.
async fn note_row(
    conn: &mut PgConnection,
    action: &OpenAction,
    answer: &Answer,
    reached: u64,
) -> Result<(), Error> {
    let at = dispatch::clock(conn).await?;
    clusters::note_ledger(conn, &action.target.cluster, answer.receipt.ledger, reached, at).await
}

/// Whether the ledger that answers is the one that the attempt was signed for, and has never fallen
/// back. Only such a ledger can say that nothing was written: a restored one may have forgotten.
async fn remembers_all(
    conn: &mut PgConnection,
    action: &OpenAction,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<bool, Error> {
    let id = answer.receipt.ledger.id;
    let ledger = clusters::find_ledger(conn, &action.target.cluster, id).await?;
    Ok(attempt.ledger_id == Some(id) && ledger.is_some_and(|ledger| !ledger.regressed))
}

async fn forgotten(conn: &mut PgConnection, action: &OpenAction) -> Result<Recorded, Error> {
    become_unknown(conn, action, "the executor's ledger may have forgotten the attempt").await?;
    Ok(Recorded::InDoubt)
}

async fn close_attempt(
    conn: &mut PgConnection,
    action: &OpenAction,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<Recorded, Error> {
    if attempt.accepted || !remembers_all(conn, action, attempt, answer).await? {
        return forgotten(conn, action).await;
    }
    attempts::set_closed(conn, action.id, attempt.number).await?;
    if dispatch::clock(conn).await? >= action.deadline_at {
        expire(conn, action).await?;
        return Ok(Recorded::Over);
    }
    dispatch::move_state(conn, action.id, action.state, ActionState::Queued).await?;
    Ok(Recorded::Requeued)
}

async fn finish(
    conn: &mut PgConnection,
    action: &OpenAction,
    attempt: &Attempt,
    result: &ExecutionResult,
    answer: &Answer,
) -> Result<Recorded, Error> {
    let nothing_written = matches!(result.status, ExecutionStatus::Refused | ExecutionStatus::Expired);
    if nothing_written && !remembers_all(conn, action, attempt, answer).await? {
        return forgotten(conn, action).await;
    }
    let to = match result.status {
        ExecutionStatus::Succeeded => ActionState::Succeeded,
        ExecutionStatus::Failed => ActionState::Failed,
        ExecutionStatus::Returned => ActionState::Returned,
        ExecutionStatus::Refused => ActionState::Refused,
        ExecutionStatus::Expired => ActionState::Expired,
        ExecutionStatus::Unknown => {
            become_unknown(conn, action, &result.message).await?;
            return Ok(Recorded::InDoubt);
        }
    };
    let outcome = Outcome {
        code: result.code.to_string(),
        message: result.message.clone(),
        steps: result.steps.clone(),
        helped: if to == ActionState::Returned { Helped::False } else { Helped::Unknown },
        receipt: Some(envelope(answer)?),
    };
    if to == ActionState::Returned {
        holds::hold(conn, action, &outcome.code).await?;
    }
    end(conn, action, to, outcome).await
}

fn refused(code: &str, message: &str, answer: &Answer) -> Result<Outcome, Error> {
    Ok(Outcome {
        code: code.to_owned(),
        message: message.to_owned(),
        steps: Vec::new(),
        helped: Helped::Unknown,
        receipt: Some(envelope(answer)?),
    })
}

fn envelope(answer: &Answer) -> Result<Envelope, Error> {
    Envelope::from_slice(&answer.envelope).map_err(Error::internal)
}

async fn end(
    conn: &mut PgConnection,
    action: &OpenAction,
    to: ActionState,
    outcome: Outcome,
) -> Result<Recorded, Error> {
    let ending = Ending {
        action_id: action.id,
        action_type: action.change.action_type(),
        target: &action.target,
        from: &OPEN,
        to,
        principal: DISPATCHER,
        on_behalf_of: &action.requested_by,
        request_id: None,
        outcome: &outcome,
    };
    end_action(conn, ending).await?;
    Ok(Recorded::Over)
}

//! People who agree to actions, or do not. An answer is bound to the exact proposal; the action is
//! decided again once nobody is missing, by the dispatcher, on fresh facts.

mod gate;
mod proposal;
mod standing;
mod view;

use aegis_contract::action::ActionState;
use aegis_contract::code::OutcomeCode;
use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};
use sqlx::{PgConnection, Postgres, Transaction};

pub use gate::{Gate, Passing, gate};
pub use proposal::{Proposal, Subject};
pub use standing::{Given, Standing, is_requesters_own, owner_of};
pub use view::{Group, View, is_asked, list, view, would_be_asked};

use self::standing::Bound;
use super::Services;
use super::dispatch::{Ending, Outcome, end_action};
use crate::audit::{self, Kind, Record, TextRef};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::actions::{self, Action};
use crate::store::approvals::{self, NewAnswer};
use crate::store::dispatch::{self, OpenAction};
use crate::store::{ANSWER_WITHIN, commit, within};

/// Most bytes of a reason: a few sentences.
const REASON_BYTES_MAX: usize = 2_000;

/// Agrees to an action, to what `digest` names if it is given. Again is the same.
///
/// # Errors
/// `NotFound`; `NotAwaitingApproval`; `NotAnApprover`; `ApprovalChanged` when something else is asked.
pub async fn approve(
    services: &Services,
    caller: &Caller,
    id: ActionId,
    digest: Option<Digest>,
) -> Result<Action, Error> {
    services.safeguards.require_recordable()?;
    let answered = within(ANSWER_WITHIN, async {
        let (mut tx, asked) = Asked::lock(services, caller, id, digest).await?;
        let answer = (!asked.standing.has_given(&caller.name)).then_some(Kind::ApprovalGiven);
        if let Some(kind) = answer {
            asked.record(&mut tx, caller, kind, None).await?;
            asked.settle(&mut tx).await?;
        }
        show(tx, id, answer).await
    })
    .await?;
    finish(services, answered).await
}

/// Takes back what the caller agreed to. Again is the same.
///
/// # Errors
/// Those of [`approve`].
pub async fn withdraw(services: &Services, caller: &Caller, id: ActionId) -> Result<Action, Error> {
    let answered = within(ANSWER_WITHIN, async {
        let (mut tx, asked) = Asked::lock(services, caller, id, None).await?;
        let answer = asked.standing.has_given(&caller.name).then_some(Kind::ApprovalWithdrawn);
        if let Some(kind) = answer {
            asked.record(&mut tx, caller, kind, None).await?;
            asked.settle(&mut tx).await?;
        }
        show(tx, id, answer).await
    })
    .await?;
    finish(services, answered).await
}

/// Says no, which ends the action as `denied`.
///
/// # Errors
/// Those of [`approve`]; `Parameter` for an unusable reason.
pub async fn deny(
    services: &Services,
    caller: &Caller,
    id: ActionId,
    digest: Option<Digest>,
    reason: &str,
) -> Result<Action, Error> {
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.contains('\0') {
        let message = format!("must say why, in 1 to {REASON_BYTES_MAX} bytes without U+0000");
        return Err(Error::Parameter { name: "reason", message });
    }
    let answered = within(ANSWER_WITHIN, async {
        let (mut tx, asked) = Asked::lock(services, caller, id, digest).await?;
        let text = audit::store_text(&mut tx, &services.keyring, reason).await?;
        asked.record(&mut tx, caller, Kind::ApprovalDenied, Some(&text)).await?;
        let outcome = Outcome::without_receipt(
            OutcomeCode::ApprovalDenied.as_str(),
            format!("{} was asked to approve it and said no", caller.name),
        );
        let ending = Ending {
            action_id: id,
            action_type: asked.action.change.action_type(),
            target: &asked.action.target,
            from: &[ActionState::AwaitingApproval],
            to: ActionState::Denied,
            principal: &caller.name,
            on_behalf_of: &asked.action.requested_by,
            request_id: Some(&caller.request_id),
            outcome: &outcome,
        };
        end_action(&mut tx, ending).await?;
        show(tx, id, Some(Kind::ApprovalDenied)).await
    })
    .await?;
    finish(services, answered).await
}

/// A transaction to be committed, the action as it then is, and what was answered anew.
type Answered = (Transaction<'static, Postgres>, Action, Option<Kind>);

async fn show(
    mut tx: Transaction<'static, Postgres>,
    id: ActionId,
    answer: Option<Kind>,
) -> Result<Answered, Error> {
    let action = actions::find(&mut tx, id).await?.ok_or_else(not_found)?;
    Ok((tx, action, answer))
}

async fn finish(services: &Services, (tx, action, answer): Answered) -> Result<Action, Error> {
    commit(tx, Some(action.id)).await?;
    if let Some(kind) = answer {
        services.metrics.count_approval_answer(standing::answer_of(kind));
    }
    services.nudge.ring();
    Ok(action)
}

/// An action that waits for people, locked, and a caller who is one of them.
struct Asked {
    action: OpenAction,
    standing: Standing,
    now: Timestamp,
}

impl Asked {
    async fn lock(
        services: &Services,
        caller: &Caller,
        id: ActionId,
        digest: Option<Digest>,
    ) -> Result<(Transaction<'static, Postgres>, Self), Error> {
        caller.require(Permission::ApproveActions)?;
        let mut tx = services.store.begin().await?;
        let action = dispatch::lock(&mut tx, id).await?.ok_or_else(not_found)?;
        let standing = standing::load(&mut tx, id, &action.requested_by).await?;
        let roles = standing::roles_to_count(&mut tx, &caller.name, &action.requested_by).await?;
        let now = dispatch::clock(&mut tx).await?;
        match standing {
            Some(standing) if standing.proposal.asks_one_of(&roles) => {
                if action.state != ActionState::AwaitingApproval || now >= action.deadline_at {
                    return Err(Error::NotAwaitingApproval { state: action.state });
                }
                if digest.is_some_and(|digest| digest != standing.digest) {
                    return Err(Error::ApprovalChanged);
                }
                Ok((tx, Self { action, standing, now }))
            }
            _ if !caller.may(Permission::ReadActions) && action.requested_by != caller.name => {
                Err(not_found())
            }
            None => Err(Error::NotAwaitingApproval { state: action.state }),
            Some(_) => Err(Error::NotAnApprover),
        }
    }

    async fn record(
        &self,
        conn: &mut PgConnection,
        caller: &Caller,
        kind: Kind,
        reason: Option<&TextRef>,
    ) -> Result<(), Error> {
        let round = self.standing.proposal.round;
        let mut more = Map::from_iter([
            ("onBehalfOf".to_owned(), json!(self.action.requested_by)),
            ("type".to_owned(), json!(self.action.change.action_type())),
            ("target".to_owned(), json!(self.action.target)),
        ]);
        if let Some(reason) = reason {
            more.insert("reason".to_owned(), json!(reason));
        }
        let record = Record {
            kind,
            principal: &caller.name,
            action_id: Some(self.action.id),
            request_id: Some(&caller.request_id),
            data: Bound {
                round,
                digest: self.standing.digest,
                answer: Some(self.standing.answers + 1),
                more,
            },
        };
        let entry_id = audit::append(conn, record).await?.id;
        let new = NewAnswer {
            action_id: self.action.id,
            round,
            principal: &caller.name,
            answer: standing::answer_of(kind),
            reason_id: reason.map(|reason| reason.text_id),
            at: self.now,
            entry_id,
        };
        approvals::insert_answer(conn, new).await
    }

    /// Sets how long the action may wait from now on: for the people still missing, or for its start.
    async fn settle(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let id = self.action.id;
        let standing = standing::load(conn, id, &self.action.requested_by).await?.ok_or_else(not_found)?;
        let (approved_at, deadline_at) = match standing.until() {
            Some(until) => (None, until),
            None => (Some(self.now), start_by(self.now, self.action.deadline_seconds)),
        };
        dispatch::set_approved(conn, id, approved_at, deadline_at).await
    }
}

/// By when an action must have started that nobody holds up any more.
pub fn start_by(now: Timestamp, deadline_seconds: u32) -> Timestamp {
    now + SignedDuration::from_secs(deadline_seconds.into())
}

fn not_found() -> Error {
    Error::NotFound { what: "action" }
}

//! One request for an action: asked once, decided once, recorded once, however often it is sent.

use std::time::Duration;

use aegis_contract::action::ActionState;
use aegis_contract::code::{OutcomeCode, RefusalCode};
use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, DecisionId};
use aegis_contract::plan::Obstacle;
use aegis_policy::Effect;
use aegis_runtime::clock;
use aegis_runtime::trace_context::TraceContext;
use jiff::SignedDuration;
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::time::Instant;
use tracing::info;
use uuid::Uuid;

use super::in_flight::Place;
use super::validate::{Valid, validate};
use super::{ActionRequest, end, not_found};
use crate::audit::{self, Kind, Record, TextRef};
use crate::client::executor::Observed;
use crate::error::{Denial, Error};
use crate::metrics::Tally;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::approvals::{Gate, Passing, Subject, gate, would_be_asked};
use crate::service::decide::{Decided, Denied, Occasion, Purpose, decide};
use crate::service::dispatch::{Ending, NewIntent, Outcome, write_intent};
use crate::service::holds;
use crate::service::{Services, noting_refusal, spend_nonce};
use crate::store::actions::{self, Action, NewAction};
use crate::store::idempotency::{self, Known};
use crate::store::{ANSWER_WITHIN, commit, decisions, dispatch, nonces, within};

/// How long a copy waits for the one that is worked on.
const COPY_WITHIN: Duration = Duration::from_secs(3);
/// How long a key and its first answer are kept.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Status of an accepted action.
const ACCEPTED: i16 = 202;
/// Status of an action that policy denied.
const DENIED: i16 = 403;

/// A request for an action, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its body.
    pub body: ActionRequest,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Digest of method, path, query without `wait`, and body.
    pub fingerprint: Digest,
    /// The hop it is.
    pub trace: TraceContext,
}

/// Asks for an action: observes the target, decides, and queues it or not, all recorded together.
/// The same request again is answered as the first time, with the action as it is now.
///
/// # Errors
/// `PolicyDenied` when policy says no, and the action stands denied; others when nothing was
/// recorded.
pub async fn request_action(services: &Services, caller: &Caller, request: Request) -> Result<Action, Error> {
    caller.require(Permission::RequestActions)?;
    let result = asked_once(services, caller, request).await;
    noting_refusal(services, caller, result).await
}

async fn asked_once(services: &Services, caller: &Caller, request: Request) -> Result<Action, Error> {
    let valid = validate(request.body.clone(), caller)?;
    caller.require_in_scope(&valid.asked.action, &valid.asked.resource)?;
    let until = Instant::now() + COPY_WITHIN;
    let _turn = loop {
        match services.in_flight.enter(&caller.name, &request.key) {
            Place::First(turn) => break turn,
            Place::Behind(ahead) => {
                tokio::time::timeout_at(until, ahead.done()).await.map_err(|_| Error::InProgress)?;
                if let Some(answer) = replay(services, caller, &request).await? {
                    return answer.into_result();
                }
            }
        }
    };
    let observed = match replay_or_observe(services, caller, &request, &valid).await {
        Ok(observed) => observed,
        Err(answered) => return answered?.into_result(),
    };
    // Only here: a copy of what was recorded is answered from the record.
    services.safeguards.require_recordable()?;
    let observed = observed?;
    let id = ActionId(clock::new_uuid());
    let recorded = within(ANSWER_WITHIN, record(services, caller, &request, &valid, &observed, id)).await?;
    let Some((tx, answer, tally)) = recorded else {
        // A copy at another replica was first, and has committed.
        return replay(services, caller, &request).await?.ok_or(Error::InProgress)?.into_result();
    };
    commit(tx, Some(id)).await?;
    services.nudge.ring();
    services.metrics.count_action(valid.change.action_type());
    services.metrics.count_decision(&tally);
    if tally.is_break_glass && !valid.dry_run {
        services.metrics.count_break_glass();
    }
    info!(actionId = %id, decisionId = %answer.decision_id, state = %answer.action.state, "action recorded");
    answer.into_result()
}

/// Looks for the first answer to the same request, and meanwhile asks the executor: most requests are new.
/// `Err` is the end of it.
async fn replay_or_observe(
    services: &Services,
    caller: &Caller,
    request: &Request,
    valid: &Valid,
) -> Result<Result<Observed, Error>, Result<Answer, Error>> {
    let replayed = async {
        match replay(services, caller, request).await {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => Err(Ok(answer)),
            Err(error) => Err(Err(error)),
        }
    };
    let observed =
        async { Ok(services.executors.observe(&valid.target, &valid.change, request.trace).await) };
    let ((), observed) = tokio::try_join!(replayed, observed)?;
    Ok(observed)
}

/// What a request is answered.
struct Answer {
    status: i16,
    decision_id: DecisionId,
    /// Why, if it was denied, and what would help.
    denial: Denial,
    action: Action,
}

impl Answer {
    fn into_result(self) -> Result<Action, Error> {
        if self.status == DENIED {
            let Self { decision_id, denial, action, .. } = self;
            let said = |name: &str| action.outcome.as_ref()?.get(name)?.as_str().map(str::to_owned);
            if said("code").as_deref() == Some(OutcomeCode::TargetOnHold.as_str()) {
                let reason = said("message").unwrap_or_default();
                return Err(Error::TargetOnHold { action_id: action.id, decision_id, reason });
            }
            let action_id = Some(action.id);
            Err(Error::PolicyDenied { action_id, decision_id, denial: Box::new(denial) })
        } else {
            Ok(self.action)
        }
    }
}

/// The first answer to the same request, with the present action, if there was one. Uses up the
/// nonce, since the answer counts as given.
async fn replay(services: &Services, caller: &Caller, request: &Request) -> Result<Option<Answer>, Error> {
    let found = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        if let Some(nonce) = &caller.nonce
            && nonces::is_spent(&mut conn, nonce).await?
        {
            return Err(Error::NonceReplayed);
        }
        idempotency::find(&mut conn, &caller.name, &request.key, clock::now()).await
    });
    let Some(known) = found.await? else { return Ok(None) };
    if known.fingerprint != request.fingerprint {
        return Err(Error::IdempotencyKeyReused);
    }
    let answered = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        spend_nonce(&mut tx, caller).await?;
        let answer = first_answer(&mut tx, caller, known).await?;
        Ok((tx, answer))
    });
    let (tx, answer) = answered.await?;
    commit(tx, Some(answer.action.id)).await?;
    Ok(Some(answer))
}

async fn first_answer(conn: &mut PgConnection, caller: &Caller, known: Known) -> Result<Answer, Error> {
    let action = actions::find(conn, known.action_id).await?.ok_or_else(not_found)?;
    let decision = decisions::find(conn, known.decision_id).await?.ok_or_else(not_found)?;
    let denied = Denied::read(&decision.body)?;
    let denial = denial(conn, caller, denied).await?;
    Ok(Answer { status: known.status, decision_id: known.decision_id, denial, action })
}

/// What the caller is told if it was denied.
async fn denial(conn: &mut PgConnection, caller: &Caller, denied: Denied) -> Result<Denial, Error> {
    let groups = would_be_asked(conn, caller, &denied.obligations.approvals).await?;
    Ok(denied.told(groups, clock::now()))
}

/// Everything in one transaction, not yet committed; `None` when the key was taken meanwhile.
async fn record(
    services: &Services,
    caller: &Caller,
    request: &Request,
    valid: &Valid,
    observed: &Observed,
    id: ActionId,
) -> Result<Option<(Transaction<'static, Postgres>, Answer, Tally)>, Error> {
    let mut tx = services.store.begin().await?;
    spend_nonce(&mut tx, caller).await?;
    if !claim_key(&mut tx, caller, request, id).await? {
        return Ok(None);
    }
    let reason = match &valid.reason {
        Some(text) => Some(audit::store_text(&mut tx, &services.keyring, text).await?),
        None => None,
    };
    append_requested(&mut tx, caller, request, valid, reason.as_ref(), id).await?;
    let occasion = Occasion {
        by: &caller.name,
        request_id: Some(&caller.request_id),
        observed: Some(observed),
        purpose: Purpose::Act { action_id: id, dry_run: valid.dry_run, reserved_at: None },
    };
    let decided = decide(&mut tx, &services.policies, &valid.asked, occasion).await?;
    let tally = Tally::of(&decided);
    insert_action(&mut tx, caller, request, valid, observed, &decided, reason.map(|text| text.text_id), id)
        .await?;
    let status = follow(&mut tx, services, caller, valid, observed, &decided, id).await?;
    idempotency::complete(&mut tx, &caller.name, &request.key, status, decided.decision_id).await?;
    let action = actions::find(&mut tx, id).await?.ok_or_else(not_found)?;
    let decision_id = decided.decision_id;
    let denial = denial(&mut tx, caller, decided.into()).await?;
    let answer = Answer { status, decision_id, denial, action };
    Ok(Some((tx, answer, tally)))
}

/// Takes the idempotency key, waiting for a duplicate in flight.
async fn claim_key(
    conn: &mut PgConnection,
    caller: &Caller,
    request: &Request,
    action_id: ActionId,
) -> Result<bool, Error> {
    let now = clock::now();
    // Status and decision are not known yet and are set before the commit.
    let known = Known {
        fingerprint: request.fingerprint,
        action_id,
        status: ACCEPTED,
        decision_id: DecisionId(Uuid::nil()),
    };
    match idempotency::claim(conn, &caller.name, &request.key, known, now, now + KEY_KEPT).await {
        Err(error) if error.is_lock_timeout() => Err(Error::InProgress),
        claimed => claimed,
    }
}

async fn append_requested(
    conn: &mut PgConnection,
    caller: &Caller,
    request: &Request,
    valid: &Valid,
    reason: Option<&TextRef>,
    id: ActionId,
) -> Result<(), Error> {
    let record = Record {
        kind: Kind::ActionRequested,
        principal: &caller.name,
        action_id: Some(id),
        request_id: Some(&caller.request_id),
        data: json!({
            "type": valid.change.action_type(),
            "target": valid.target,
            "params": valid.change.params(),
            "reason": reason,
            "metadata": valid.metadata,
            "dryRun": valid.dry_run,
            "deadlineSeconds": valid.deadline_seconds,
            "roles": caller.roles,
            "keyId": caller.nonce.as_ref().map(|nonce| &nonce.key_id),
            "idempotencyKey": request.key,
        }),
    };
    audit::append(conn, record).await.map(drop)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one row, put together in one place")]
async fn insert_action(
    conn: &mut PgConnection,
    caller: &Caller,
    request: &Request,
    valid: &Valid,
    observed: &Observed,
    decided: &Decided,
    reason_id: Option<Uuid>,
    id: ActionId,
) -> Result<(), Error> {
    let at = decided.decided_at;
    let target_uid = match observed {
        Observed::Present(facts) => Some(facts.uid.as_str()),
        Observed::Absent | Observed::Refused { .. } => None,
    };
    let is_possible =
        decided.effect == Effect::Allow && target_uid.is_some() && observed.obstacle().is_none();
    let waits = is_possible && !decided.decision.obligations.approvals.is_empty();
    let counts = is_possible && !waits && !valid.dry_run;
    let new = NewAction {
        id,
        target: &valid.target,
        change: &valid.change,
        reason_id,
        metadata: &valid.metadata,
        dry_run: valid.dry_run,
        requested_by: &caller.name,
        requester_roles: &caller.roles,
        decision_id: decided.decision_id,
        target_uid,
        deadline_seconds: valid.deadline_seconds,
        deadline_at: at + SignedDuration::from_secs(valid.deadline_seconds.into()),
        // What has not been decided to wait is queued, if only to be ended at once.
        state: if waits { ActionState::AwaitingApproval } else { ActionState::Queued },
        reserved_at: counts.then_some(decided.decided_at),
        at,
        traceparent: &request.trace.to_string(),
    };
    actions::insert(conn, new).await
}

/// What follows from the decision: an intent, or the end. Answers with the status.
async fn follow(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    valid: &Valid,
    observed: &Observed,
    decided: &Decided,
    id: ActionId,
) -> Result<i16, Error> {
    let held = holds::denial(conn, &valid.target, &caller.name, valid.dry_run).await?;
    let (to, outcome) = match (decided.effect, observed) {
        (Effect::Deny, _) => {
            let outcome =
                Outcome::without_receipt(OutcomeCode::PolicyDenied.as_str(), decided.reason.clone());
            (ActionState::Denied, outcome)
        }
        (Effect::Allow, _) if let Some(outcome) = held => (ActionState::Denied, outcome),
        (Effect::Allow, Observed::Absent) => {
            let message = format!("there is no {}", valid.target);
            (ActionState::Refused, Outcome::without_receipt(RefusalCode::TargetAbsent.as_str(), message))
        }
        (Effect::Allow, Observed::Refused { code, message }) => {
            (ActionState::Refused, Outcome::without_receipt(code.as_str(), message.clone()))
        }
        (Effect::Allow, Observed::Present(_)) if let Some(obstacle) = observed.obstacle() => {
            let Obstacle { code, message } = obstacle.clone();
            (ActionState::Refused, Outcome::without_receipt(code.as_str(), message))
        }
        (Effect::Allow, Observed::Present(facts)) => {
            let subject = Subject {
                action_id: id,
                target: &valid.target,
                change: &valid.change,
                dry_run: valid.dry_run,
                requested_by: &caller.name,
            };
            let passing = Passing { by: &caller.name, request_id: Some(&caller.request_id) };
            let approvals = match gate(conn, subject, decided, facts, passing).await? {
                Gate::Open(approvals) => approvals,
                Gate::Closed(until) => {
                    dispatch::await_approval(conn, id, until).await?;
                    return Ok(ACCEPTED);
                }
            };
            let new = NewIntent {
                action_id: id,
                attempt: 1,
                principal: &caller.name,
                request_id: Some(&caller.request_id),
                target: &valid.target,
                change: &valid.change,
                dry_run: valid.dry_run,
                watch_seconds: valid.deadline_seconds,
                decided,
                facts,
                approvals,
            };
            write_intent(conn, &services.keyring, new).await?;
            return Ok(ACCEPTED);
        }
    };
    let ending = Ending {
        action_id: id,
        action_type: valid.change.action_type(),
        target: &valid.target,
        from: &[ActionState::Queued],
        to,
        principal: &caller.name,
        on_behalf_of: &caller.name,
        request_id: Some(&caller.request_id),
        outcome: &outcome,
    };
    end(conn, ending).await?;
    Ok(if to == ActionState::Denied { DENIED } else { ACCEPTED })
}

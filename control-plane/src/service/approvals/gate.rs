//! Whether an action that policy allows may go ahead now, or people must agree first.

use aegis_contract::facts::Facts;
use aegis_contract::ids::ActionId;
use aegis_contract::intent;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::proposal::{Proposal, Subject};
use super::standing::{self, Bound, Standing, until};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::service::decide::Decided;
use crate::store::approvals::{self, NewRequest};

/// What stands between an ALLOW and its action.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Nothing; the words it goes ahead on, if any were needed.
    Open(Vec<intent::Approval>),
    /// People who have until then to agree.
    Closed(Timestamp),
}

/// Who passes an action on, and for which request.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The requester, or an engine.
    pub by: &'a str,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
}

/// Says whether enough people have agreed to exactly what was decided. When they were asked something
/// else, or nothing yet, they are asked now, and what they answered before is void.
///
/// # Errors
/// `StateNotInLog` when an answer is not as the audit log has it.
pub async fn gate(
    conn: &mut PgConnection,
    subject: Subject<'_>,
    decided: &Decided,
    facts: &Facts,
    passing: Passing<'_>,
) -> Result<Gate, Error> {
    let groups = &decided.decision.obligations.approvals;
    if groups.is_empty() {
        return Ok(Gate::Open(Vec::new()));
    }
    let before = standing::load(conn, subject.action_id, subject.requested_by).await?;
    let round = before.as_ref().map_or(1, |before| before.proposal.round + 1);
    let proposal = Proposal::new(subject, &decided.decision, facts, round)?;
    if let Some(before) = before {
        if before.proposal.asks_the_same_as(&proposal) {
            return Ok(match before.until() {
                Some(until) => Gate::Closed(until),
                None => Gate::Open(before.approvals()),
            });
        }
        void(conn, &before, subject.action_id, passing).await?;
    }
    ask(conn, &proposal, decided.decided_at, passing).await?;
    let shortest = groups.iter().map(|group| group.what.expires_seconds).min().unwrap_or_default();
    Ok(Gate::Closed(until(decided.decided_at, shortest)))
}

async fn void(
    conn: &mut PgConnection,
    before: &Standing,
    action_id: ActionId,
    passing: Passing<'_>,
) -> Result<(), Error> {
    let people: Vec<&str> = before.given.iter().map(|given| given.principal.as_str()).collect();
    let mut more = Map::from_iter([("voided".to_owned(), json!(people))]);
    more.extend(before.proposal.about());
    let data = Bound { round: before.proposal.round, digest: before.digest, answer: None, more };
    append(conn, Kind::ApprovalVoided, action_id, data, passing).await?;
    Ok(())
}

async fn ask(
    conn: &mut PgConnection,
    proposal: &Proposal,
    asked_at: Timestamp,
    passing: Passing<'_>,
) -> Result<(), Error> {
    let (body, digest) = proposal.to_bytes()?;
    let groups: Value = json!(proposal.approvals);
    let mut more = Map::from_iter([("groups".to_owned(), groups)]);
    more.extend(proposal.about());
    let data = Bound { round: proposal.round, digest, answer: None, more };
    let entry_id = append(conn, Kind::ApprovalRequested, proposal.action_id, data, passing).await?;
    let new = NewRequest {
        action_id: proposal.action_id,
        round: proposal.round,
        body: &body,
        roles: &proposal.roles(),
        asked_at,
        entry_id,
    };
    approvals::insert_request(conn, new).await
}

async fn append(
    conn: &mut PgConnection,
    kind: Kind,
    action_id: ActionId,
    data: Bound,
    passing: Passing<'_>,
) -> Result<aegis_contract::ids::EntryId, Error> {
    let record = Record {
        kind,
        principal: passing.by,
        action_id: Some(action_id),
        request_id: passing.request_id,
        data,
    };
    Ok(audit::append(conn, record).await?.id)
}

//! Taking a decision and keeping everything it was given.

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use aegis_policy::{Decision, Effect, Question, RawQuestion, ZONE_DATA_VERSION, evaluate};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::audit::{self, Kind, Record};
use crate::client::executor::Observed;
use crate::error::Error;
use crate::service::policy_set;
use crate::store::decisions::{self, NewDecision};
use crate::store::dispatch;

/// Names the layout of a stored decision.
const DECISION_SCHEMA: &str = "aegis.decision/v1";

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who wants to do it.
    pub principal: String,
    /// The roles they hold.
    pub roles: Vec<String>,
    /// What.
    pub action: String,
    /// To which resource.
    pub resource: String,
    /// With which parameters: an object.
    pub params: Value,
    /// What the requester states about the case: an object.
    pub metadata: Value,
}

impl Asked {
    /// The question as policies read it.
    ///
    /// # Errors
    /// `Invalid` with everything that is wrong, by pointer.
    pub fn question(&self) -> Result<Question, Error> {
        let object = |value: &Value| value.as_object().cloned().unwrap_or_else(Map::new);
        Question::new(RawQuestion {
            principal: self.principal.clone(),
            roles: self.roles.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            params: object(&self.params),
            metadata: object(&self.metadata),
        })
        .map_err(|error| Error::Invalid(super::field_errors(&error.0)))
    }
}

/// A decision that was taken and stored.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Its id.
    pub decision_id: DecisionId,
    /// Whether it may be done.
    pub effect: Effect,
    /// Why, in one sentence.
    pub reason: String,
    /// The policy set it was taken from.
    pub policy_digest: Digest,
    /// When.
    pub decided_at: Timestamp,
    /// The audit entry that holds it.
    pub entry_id: EntryId,
    /// The whole answer.
    pub decision: Decision,
}

/// Everything a decision was given and all it answered: enough to take it again years later.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    schema: &'static str,
    id: DecisionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_id: Option<ActionId>,
    decision: Effect,
    reason: &'a str,
    rules: &'a [aegis_policy::DecidingRule],
    decided_at: Timestamp,
    request: &'a Question,
    /// What the executor said of the target; absent when it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    observation: Option<Value>,
    facts: Option<&'a Facts>,
    zone_data_version: &'static str,
    policy_set_digest: Digest,
    policy_set: Value,
}

/// Decides a question by the active policies, in the transaction of what follows from it. `by` is who
/// has it decided: the requester, or an engine.
///
/// # Errors
/// `Invalid` when the question makes no sense; `StateNotInLog` when the policies cannot be trusted.
pub async fn decide(
    conn: &mut PgConnection,
    by: &str,
    asked: &Asked,
    observed: Option<&Observed>,
    action_id: Option<ActionId>,
    request_id: Option<&str>,
) -> Result<Decided, Error> {
    let question = asked.question()?;
    let set = policy_set::load_active(conn).await?;
    let now = dispatch::clock(conn).await?;
    let facts = match observed {
        Some(Observed::Present(facts)) => Some(&**facts),
        Some(Observed::Absent | Observed::Refused { .. }) | None => None,
    };
    let decision = evaluate(&set, &question, facts, now);
    let decision_id = DecisionId(clock::new_uuid());
    let body = Body {
        schema: DECISION_SCHEMA,
        id: decision_id,
        action_id,
        decision: decision.effect,
        reason: &decision.reason,
        rules: &decision.rules,
        decided_at: now,
        request: &question,
        observation: observed.map(observation),
        facts,
        zone_data_version: ZONE_DATA_VERSION,
        policy_set_digest: set.digest(),
        policy_set: policy_set::members(&set),
    };
    let body = canonical::to_bytes(&body).map_err(Error::internal)?;
    let entry_id =
        append(conn, by, &body, &decision, decision_id, set.digest(), action_id, request_id).await?;
    let new = NewDecision {
        id: decision_id,
        action_id,
        principal: question.principal().as_str(),
        effect: decision.effect.as_str(),
        policy_digest: &set.digest().to_string(),
        decided_at: now,
        body: &body,
        entry_id,
    };
    decisions::insert(conn, new).await?;
    Ok(Decided {
        decision_id,
        effect: decision.effect,
        reason: decision.reason.clone(),
        policy_digest: set.digest(),
        decided_at: now,
        entry_id,
        decision,
    })
}

fn observation(observed: &Observed) -> Value {
    match observed {
        Observed::Present(_) => json!({ "target": "present" }),
        Observed::Absent => json!({ "target": "absent" }),
        Observed::Refused { code, .. } => json!({ "target": "refused", "code": code }),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one entry, put together in one place")]
async fn append(
    conn: &mut PgConnection,
    by: &str,
    body: &[u8],
    decision: &Decision,
    decision_id: DecisionId,
    policy_set_digest: Digest,
    action_id: Option<ActionId>,
    request_id: Option<&str>,
) -> Result<EntryId, Error> {
    let rules: Vec<Value> = decision
        .rules
        .iter()
        .map(|rule| json!({ "policy": rule.policy, "version": rule.version, "rule": rule.rule }))
        .collect();
    let record = Record {
        kind: Kind::DecisionMade,
        principal: by,
        action_id,
        request_id,
        data: json!({
            "decisionId": decision_id,
            "decision": decision.effect,
            "rules": rules,
            "policySetDigest": policy_set_digest,
            // Of the whole stored decision, with request, facts and clock.
            "digest": Digest::of(body),
        }),
    };
    Ok(audit::append(conn, record).await?.id)
}

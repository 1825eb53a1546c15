//! Taking a decision and keeping everything it was given.

mod remedy;

pub use remedy::{Denied, Remedy};

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use aegis_policy::{
    CompiledSet, Decision, Effect, Explanation, JudgedLimit, Obligations, Question, RawQuestion, Scratch,
    ShadowDecision, Verdict, ZONE_DATA_VERSION, explain, obstacle, room_at,
};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::audit::{self, Kind, Record};
use crate::client::executor::Observed;
use crate::error::Error;
use crate::service::divergence::{Divergence, divergences};
use crate::service::limits;
use crate::service::policy_set::{self, ActivePolicies};
use crate::store::decisions::{self, NewDecision};
use crate::store::dispatch;
use crate::store::limits::CountedFor;

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

/// Why and for what a decision is taken.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Who has it decided: the requester, or an engine.
    pub by: &'a str,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// What the executor said of the target, if it was asked.
    pub observed: Option<&'a Observed>,
    /// What shall be done on an ALLOW.
    pub purpose: Purpose,
}

/// What shall be done on an ALLOW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing: somebody wants to know.
    Answer,
    /// The action goes ahead, or waits for people who must agree first.
    Act {
        /// The action.
        action_id: ActionId,
        /// Whether nothing shall be written in the end.
        dry_run: bool,
        /// When it was let go ahead by an earlier decision.
        reserved_at: Option<Timestamp>,
    },
}

impl Purpose {
    fn action_id(self) -> Option<ActionId> {
        match self {
            Self::Answer => None,
            Self::Act { action_id, .. } => Some(action_id),
        }
    }

    fn dry_run(self) -> Option<bool> {
        match self {
            Self::Answer => None,
            Self::Act { dry_run, .. } => Some(dry_run),
        }
    }

    fn counted_for(self) -> CountedFor {
        match self {
            Self::Answer => CountedFor::default(),
            Self::Act { action_id, reserved_at, .. } => CountedFor { id: Some(action_id), reserved_at },
        }
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
    /// What the rules answer, before their limits were judged.
    pub decision: Decision,
    /// The limits as they were judged.
    pub limits: Vec<JudgedLimit>,
    /// What would help, if it may not be done.
    pub remedy: Remedy,
    /// What policies that do not count would have changed.
    pub divergences: Vec<Divergence>,
}

/// Everything a decision was given and all it answered: enough to take it again years later.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    schema: &'static str,
    id: DecisionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_id: Option<ActionId>,
    /// Absent where nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    decision: Effect,
    reason: &'a str,
    rules: &'a [aegis_policy::DecidingRule],
    #[serde(skip_serializing_if = "Obligations::is_empty")]
    obligations: &'a Obligations,
    /// What was counted for the limits among the obligations.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    limits: &'a [JudgedLimit],
    #[serde(flatten)]
    remedy: &'a Remedy,
    /// Rules that only warn, and would have changed the answer.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [aegis_policy::DecidingRule],
    /// What the answer would be if the policies in mode `shadow` counted, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<&'a ShadowDecision>,
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

/// What was answered, with the limits taken into account.
struct Answer {
    effect: Effect,
    reason: String,
    decision: Decision,
    limits: Vec<JudgedLimit>,
    remedy: Remedy,
    divergences: Vec<Divergence>,
}

/// Decides a question by the active policies, in the transaction of what follows from it. When an
/// action shall go ahead, no other decision that counts the same is taken before that transaction ends.
///
/// # Errors
/// `Invalid` when the question makes no sense; `StateNotInLog` when the policies cannot be trusted.
pub async fn decide(
    conn: &mut PgConnection,
    policies: &ActivePolicies,
    asked: &Asked,
    occasion: Occasion<'_>,
) -> Result<Decided, Error> {
    let question = asked.question()?;
    let set = policies.load(conn).await?;
    if occasion.purpose.dry_run() == Some(false) {
        limits::lock(conn, set.set(), &question).await?;
    }
    let now = dispatch::clock(conn).await?;
    let taken = take(conn, &set, &question, occasion, now).await?;
    keep(conn, vec![taken]).await?.pop().ok_or_else(|| Error::internal(anyhow::anyhow!("it was kept")))
}

/// Decides questions that lead to nothing by one set and at one time, each with a decision and an entry
/// of its own.
///
/// # Errors
/// Those of [`decide`]; then none was decided.
pub async fn decide_all(
    conn: &mut PgConnection,
    policies: &ActivePolicies,
    asked: &[(&Question, Occasion<'_>)],
) -> Result<Vec<Decided>, Error> {
    let set = policies.load(conn).await?;
    let now = dispatch::clock(conn).await?;
    let mut taken = Vec::with_capacity(asked.len());
    for (question, occasion) in asked {
        taken.push(take(conn, &set, question, *occasion, now).await?);
    }
    keep(conn, taken).await
}

/// A decision that is not stored yet.
struct Taken<'a> {
    id: DecisionId,
    question: &'a Question,
    occasion: Occasion<'a>,
    policy_digest: Digest,
    at: Timestamp,
    answer: Answer,
    /// What will be stored of it.
    body: Vec<u8>,
}

async fn take<'a>(
    conn: &mut PgConnection,
    compiled: &CompiledSet,
    question: &'a Question,
    occasion: Occasion<'a>,
    now: Timestamp,
) -> Result<Taken<'a>, Error> {
    let facts = match occasion.observed {
        Some(Observed::Present(facts)) => Some(&**facts),
        Some(Observed::Absent | Observed::Refused { .. }) | None => None,
    };
    let answer = answer(conn, compiled, question, facts, occasion.purpose, now).await?;
    let (id, set) = (DecisionId(clock::new_uuid()), compiled.set());
    let body = Body {
        schema: DECISION_SCHEMA,
        id,
        action_id: occasion.purpose.action_id(),
        dry_run: occasion.purpose.dry_run(),
        decision: answer.effect,
        reason: &answer.reason,
        rules: &answer.decision.rules,
        obligations: &answer.decision.obligations,
        limits: &answer.limits,
        remedy: &answer.remedy,
        warnings: &answer.decision.warnings,
        shadow: answer.decision.shadow.as_deref(),
        decided_at: now,
        request: question,
        observation: occasion.observed.map(observation),
        facts,
        zone_data_version: ZONE_DATA_VERSION,
        policy_set_digest: set.digest(),
        policy_set: policy_set::members(set),
    };
    let body = canonical::to_bytes(&body).map_err(Error::internal)?;
    Ok(Taken { id, question, occasion, policy_digest: set.digest(), at: now, answer, body })
}

/// Stores decisions, each with its entry.
async fn keep(conn: &mut PgConnection, taken: Vec<Taken<'_>>) -> Result<Vec<Decided>, Error> {
    let records: Vec<_> = taken.iter().map(record).collect();
    let entries = audit::append_all(conn, &records).await?;
    let digests: Vec<String> = taken.iter().map(|taken| taken.policy_digest.to_string()).collect();
    let new: Vec<_> = taken
        .iter()
        .zip(&entries)
        .zip(&digests)
        .map(|((taken, entry), policy_digest)| NewDecision {
            id: taken.id,
            action_id: taken.occasion.purpose.action_id(),
            principal: taken.question.principal().as_str(),
            effect: taken.answer.effect.as_str(),
            policy_digest,
            decided_at: taken.at,
            body: &taken.body,
            entry_id: entry.id,
        })
        .collect();
    decisions::insert_all(conn, &new).await?;
    Ok(taken.into_iter().zip(entries).map(|(taken, entry)| taken.decided(entry.id)).collect())
}

impl Taken<'_> {
    fn decided(self, entry_id: EntryId) -> Decided {
        let Answer { effect, reason, decision, limits, remedy, divergences } = self.answer;
        Decided {
            decision_id: self.id,
            effect,
            reason,
            policy_digest: self.policy_digest,
            decided_at: self.at,
            entry_id,
            decision,
            limits,
            remedy,
            divergences,
        }
    }
}

/// What the rules answer, unless a limit without room or the like turns it round.
async fn answer(
    conn: &mut PgConnection,
    set: &CompiledSet,
    question: &Question,
    facts: Option<&Facts>,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Answer, Error> {
    let decision = set.decide(question, facts, now, &mut Scratch::new()).to_decision();
    let divergences = divergences(set.set(), &decision);
    if decision.effect == Effect::Deny {
        let Explanation { opens_at, nearest_miss } = explain(set.set(), question, facts, now);
        let remedy = Remedy { retry_at: opens_at, nearest_miss };
        let (effect, reason) = (Effect::Deny, decision.reason.clone());
        return Ok(Answer { effect, reason, decision, limits: Vec::new(), remedy, divergences });
    }
    let limits = limits::judge(conn, &decision, question, facts, purpose.counted_for(), now).await?;
    Ok(match obstacle(&decision, purpose.dry_run(), &limits) {
        Some(reason) => {
            // No time helps where only a dry run may be done.
            let waits = decision.obligations.dry_run_only && purpose.dry_run() == Some(false);
            let retry_at = if waits { None } else { room_at(&limits) };
            let remedy = Remedy { retry_at, nearest_miss: None };
            Answer { effect: Effect::Deny, reason, decision, limits, remedy, divergences }
        }
        None => {
            let reason = decision.reason.clone();
            let remedy = Remedy::default();
            Answer { effect: Effect::Allow, reason, decision, limits, remedy, divergences }
        }
    })
}

fn observation(observed: &Observed) -> Value {
    match observed {
        Observed::Present(_) => json!({ "target": "present" }),
        Observed::Absent => json!({ "target": "absent" }),
        Observed::Refused { code, .. } => json!({ "target": "refused", "code": code }),
    }
}

fn record<'a>(taken: &Taken<'a>) -> Record<'a, Value> {
    let answer = &taken.answer;
    let rules: Vec<Value> = answer
        .decision
        .rules
        .iter()
        .map(|rule| json!({ "policy": rule.policy, "version": rule.version, "rule": rule.rule }))
        .collect();
    let without_room = answer.limits.iter().filter(|limit| limit.verdict != Verdict::Room);
    let without_room: Vec<String> = without_room.map(|limit| limit.demanded.what.to_string()).collect();
    Record {
        kind: Kind::DecisionMade,
        principal: taken.occasion.by,
        action_id: taken.occasion.purpose.action_id(),
        request_id: taken.occasion.request_id,
        data: json!({
            "decisionId": taken.id,
            "decision": answer.effect,
            "action": taken.question.action(),
            "resource": taken.question.resource().to_string(),
            "rules": rules,
            "limitsWithoutRoom": without_room,
            "divergences": answer.divergences,
            "policySetDigest": taken.policy_digest,
            // Of the whole stored decision, with request, facts, clock and what was counted.
            "digest": Digest::of(&taken.body),
        }),
    }
}

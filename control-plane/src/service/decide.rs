//! Taking a decision and keeping everything it was given.

use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_contract::ids::{ActionId, DecisionId, EntryId};
use aegis_policy::{
    Decision, Effect, Explanation, JudgedLimit, NearMiss, Obligations, PolicySet, Question, RawQuestion,
    Verdict, ZONE_DATA_VERSION, evaluate, explain, obstacle, room_at,
};
use aegis_runtime::clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use crate::audit::{self, Kind, Record};
use crate::client::executor::Observed;
use crate::error::{Denial, Error};
use crate::service::approvals::Group;
use crate::service::{limits, policy_set};
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
}

/// What would help against a denial, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// From when on the same question would be allowed, if nothing but the time changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The rule that came nearest to allowing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_miss: Option<NearMiss>,
}

impl Remedy {
    /// What whoever was denied is told at `now`.
    pub fn denial(
        self,
        reason: String,
        limits: Vec<JudgedLimit>,
        approvals: Vec<Group>,
        now: Timestamp,
    ) -> Denial {
        let without_room = limits.into_iter().filter(|limit| limit.verdict != Verdict::Room).collect();
        let retry_after_seconds = self.retry_at.map(|at| {
            let left = at.duration_since(now);
            // Rounded up, and never "at once": it was just denied.
            left.as_secs().saturating_add(i64::from(left.subsec_nanos() > 0)).max(1).unsigned_abs()
        });
        let nearest_miss = self.nearest_miss;
        Denial { reason, retry_after_seconds, limits: without_room, approvals, nearest_miss }
    }
}

/// The part of a stored decision that whoever was denied is told.
#[derive(Deserialize)]
pub struct Denied {
    /// Why, in one sentence.
    pub reason: String,
    /// What it would have had to be kept to.
    #[serde(default)]
    pub obligations: Obligations,
    /// The limits as they were judged.
    #[serde(default)]
    pub limits: Vec<JudgedLimit>,
    /// What would help.
    #[serde(flatten)]
    pub remedy: Remedy,
}

impl Denied {
    /// Reads it from the bytes of a stored decision.
    ///
    /// # Errors
    /// When they are no decision.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map_err(Error::internal)
    }
}

impl From<Decided> for Denied {
    fn from(decided: Decided) -> Self {
        let Decided { reason, decision, limits, remedy, .. } = decided;
        Self { reason, obligations: decision.obligations, limits, remedy }
    }
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
}

/// Decides a question by the active policies, in the transaction of what follows from it. When an
/// action shall go ahead, no other decision that counts the same is taken before that transaction ends.
///
/// # Errors
/// `Invalid` when the question makes no sense; `StateNotInLog` when the policies cannot be trusted.
pub async fn decide(
    conn: &mut PgConnection,
    asked: &Asked,
    occasion: Occasion<'_>,
) -> Result<Decided, Error> {
    let question = asked.question()?;
    let set = policy_set::load_active(conn).await?;
    if occasion.purpose.dry_run() == Some(false) {
        limits::lock(conn, &set, &question).await?;
    }
    let now = dispatch::clock(conn).await?;
    let facts = match occasion.observed {
        Some(Observed::Present(facts)) => Some(&**facts),
        Some(Observed::Absent | Observed::Refused { .. }) | None => None,
    };
    let answer = answer(conn, &set, &question, facts, occasion.purpose, now).await?;
    let decision_id = DecisionId(clock::new_uuid());
    let action_id = occasion.purpose.action_id();
    let body = Body {
        schema: DECISION_SCHEMA,
        id: decision_id,
        action_id,
        dry_run: occasion.purpose.dry_run(),
        decision: answer.effect,
        reason: &answer.reason,
        rules: &answer.decision.rules,
        obligations: &answer.decision.obligations,
        limits: &answer.limits,
        remedy: &answer.remedy,
        decided_at: now,
        request: &question,
        observation: occasion.observed.map(observation),
        facts,
        zone_data_version: ZONE_DATA_VERSION,
        policy_set_digest: set.digest(),
        policy_set: policy_set::members(&set),
    };
    let body = canonical::to_bytes(&body).map_err(Error::internal)?;
    let entry_id = append(conn, &occasion, &body, &answer, decision_id, set.digest()).await?;
    let new = NewDecision {
        id: decision_id,
        action_id,
        principal: question.principal().as_str(),
        effect: answer.effect.as_str(),
        policy_digest: &set.digest().to_string(),
        decided_at: now,
        body: &body,
        entry_id,
    };
    decisions::insert(conn, new).await?;
    let Answer { effect, reason, decision, limits, remedy } = answer;
    Ok(Decided {
        decision_id,
        effect,
        reason,
        policy_digest: set.digest(),
        decided_at: now,
        entry_id,
        decision,
        limits,
        remedy,
    })
}

/// What the rules answer, unless a limit without room or the like turns it round.
async fn answer(
    conn: &mut PgConnection,
    set: &PolicySet,
    question: &Question,
    facts: Option<&Facts>,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Answer, Error> {
    let decision = evaluate(set, question, facts, now);
    if decision.effect == Effect::Deny {
        let Explanation { opens_at, nearest_miss } = explain(set, question, facts, now);
        let remedy = Remedy { retry_at: opens_at, nearest_miss };
        let (effect, reason) = (Effect::Deny, decision.reason.clone());
        return Ok(Answer { effect, reason, decision, limits: Vec::new(), remedy });
    }
    let limits = limits::judge(conn, &decision, question, facts, purpose.counted_for(), now).await?;
    Ok(match obstacle(&decision, purpose.dry_run(), &limits) {
        Some(reason) => {
            // No time helps where only a dry run may be done.
            let waits = decision.obligations.dry_run_only && purpose.dry_run() == Some(false);
            let retry_at = if waits { None } else { room_at(&limits) };
            let remedy = Remedy { retry_at, nearest_miss: None };
            Answer { effect: Effect::Deny, reason, decision, limits, remedy }
        }
        None => {
            let reason = decision.reason.clone();
            Answer { effect: Effect::Allow, reason, decision, limits, remedy: Remedy::default() }
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

async fn append(
    conn: &mut PgConnection,
    occasion: &Occasion<'_>,
    body: &[u8],
    answer: &Answer,
    decision_id: DecisionId,
    policy_set_digest: Digest,
) -> Result<EntryId, Error> {
    let rules: Vec<Value> = answer
        .decision
        .rules
        .iter()
        .map(|rule| json!({ "policy": rule.policy, "version": rule.version, "rule": rule.rule }))
        .collect();
    let without_room = answer.limits.iter().filter(|limit| limit.verdict != Verdict::Room);
    let without_room: Vec<String> = without_room.map(|limit| limit.demanded.what.to_string()).collect();
    let record = Record {
        kind: Kind::DecisionMade,
        principal: occasion.by,
        action_id: occasion.purpose.action_id(),
        request_id: occasion.request_id,
        data: json!({
            "decisionId": decision_id,
            "decision": answer.effect,
            "rules": rules,
            "limitsWithoutRoom": without_room,
            "policySetDigest": policy_set_digest,
            // Of the whole stored decision, with request, facts, clock and what was counted.
            "digest": Digest::of(body),
        }),
    };
    Ok(audit::append(conn, record).await?.id)
}

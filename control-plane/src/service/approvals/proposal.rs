//! What people are asked to agree to: an action, what its target looked like, and what policy said.

use aegis_contract::action::{ActionType, Change};
use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::facts::Facts;
use aegis_contract::ids::ActionId;
use aegis_contract::order::Preconditions;
use aegis_contract::target::Target;
use aegis_policy::{Approval, Decision, Limit, Review, RuleName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::service::dispatch::preconditions_of;

/// Names the layout of [`Proposal`].
const SCHEMA: &str = "aegis.approval/v1";

/// The action that people are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its id.
    pub action_id: ActionId,
    /// What it changes.
    pub target: &'a Target,
    /// How.
    pub change: &'a Change,
    /// Whether nothing shall be written in the end.
    pub dry_run: bool,
    /// The principal who asked.
    pub requested_by: &'a str,
}

/// P45: everything an approval is bound to. Whoever agrees, agrees to exactly these bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proposal {
    schema: String,
    /// The action.
    pub action_id: ActionId,
    /// How often people were asked about this action, from 1: what was void stays void.
    pub round: u32,
    r#type: ActionType,
    target: Target,
    params: Value,
    dry_run: bool,
    requested_by: String,
    /// The object that was seen, and what it had in the fields that will be written.
    preconditions: Preconditions,
    /// Its pod template, without what restarts write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template_digest: Option<Digest>,
    /// The deciding rules. Not their version: another change of the same document changes nothing here.
    pub rules: Vec<RuleName>,
    /// The limits it will be held to.
    pub limits: Vec<Limit>,
    /// The groups of people who must agree.
    pub approvals: Vec<Approval>,
    dry_run_only: bool,
    break_glass: Vec<Review>,
}

impl Proposal {
    /// What people are asked after this decision.
    ///
    /// # Errors
    /// When the facts lack what the change writes.
    pub fn new(subject: Subject<'_>, decision: &Decision, facts: &Facts, round: u32) -> Result<Self, Error> {
        let obligations = &decision.obligations;
        let rule = |rule: &aegis_policy::DecidingRule| RuleName {
            policy: rule.policy.clone(),
            rule: rule.rule.clone(),
        };
        Ok(Self {
            schema: SCHEMA.to_owned(),
            action_id: subject.action_id,
            round,
            r#type: subject.change.action_type(),
            target: subject.target.clone(),
            params: subject.change.params(),
            dry_run: subject.dry_run,
            requested_by: subject.requested_by.to_owned(),
            preconditions: preconditions_of(subject.target, subject.change, facts)?,
            template_digest: facts.template_digest,
            rules: decision.rules.iter().map(rule).collect(),
            limits: obligations.limits.iter().map(|demanded| demanded.what.clone()).collect(),
            approvals: obligations.approvals.iter().map(|demanded| demanded.what.clone()).collect(),
            dry_run_only: obligations.dry_run_only,
            break_glass: obligations.break_glass.iter().map(|demanded| demanded.what.clone()).collect(),
        })
    }

    /// What is to be done, and to what, as the entries about it say it.
    pub(super) fn about(&self) -> [(String, Value); 2] {
        [("type".to_owned(), json!(self.r#type)), ("target".to_owned(), json!(self.target))]
    }

    /// Whether both ask the same, in whatever round.
    pub fn asks_the_same_as(&self, other: &Self) -> bool {
        *self == Self { round: self.round, ..other.clone() }
    }

    /// Its canonical bytes and their digest.
    ///
    /// # Errors
    /// When it cannot be written as canonical JSON.
    pub fn to_bytes(&self) -> Result<(Vec<u8>, Digest), Error> {
        let bytes = canonical::to_bytes(self).map_err(Error::internal)?;
        let digest = Digest::of(&bytes);
        Ok((bytes, digest))
    }

    /// Whether anybody who holds these roles is asked.
    pub fn asks_one_of(&self, roles: &[String]) -> bool {
        self.approvals.iter().any(|group| roles.contains(&group.role))
    }

    /// The roles of its groups.
    pub fn roles(&self) -> Vec<String> {
        self.approvals.iter().map(|group| group.role.clone()).collect()
    }
}

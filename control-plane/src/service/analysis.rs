//! What policies mean, asked without asking for anything: nothing here is recorded or decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::facts::Facts;
use aegis_policy::analyse::{self, Checked, Circumstances, Diff, STEPS_DEFAULT, Subject, WhoCan};
use aegis_policy::{
    Decision, Explanation, Policy, PolicySet, Question, RawQuestion, Report, Resource, RuleTrace, evaluate,
    explain, run_tests, trace,
};
use aegis_runtime::clock;
use jiff::Timestamp;
use sqlx::PgConnection;
use tokio::sync::Semaphore;

use super::proposals::{Proposal, read_documents};
use super::{Services, field_errors, policy_set};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::{ANSWER_WITHIN, clients, clusters, users, within};

/// How long a caller waits for the one before.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Most people and clients who are looked at one by one.
const SUBJECTS_MAX: usize = 500;

/// Work that takes a processor for seconds: one at a time, so that decisions always find another.
#[derive(Clone, Debug)]
pub struct HeavyWork(Arc<Semaphore>);

impl Default for HeavyWork {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl HeavyWork {
    /// Runs `work` off the async threads when it is its turn. It keeps its turn when the caller goes.
    ///
    /// # Errors
    /// `Busy` when its turn does not come.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turn().await?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(Error::internal)
    }

    /// Waits for its turn, which ends when the answer is dropped.
    ///
    /// # Errors
    /// `Busy` when it does not come.
    pub async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.0.clone().acquire_owned()).await;
        turn.map_err(|_| Error::Busy)?.map_err(Error::internal)
    }
}

/// Looks for rules that do nothing, with what is known of people and executors.
///
/// # Errors
/// Those of [`Proposal::of_active`]; `Busy`.
pub async fn check(services: &Services, caller: &Caller, proposal: &Proposal) -> Result<Checked, Error> {
    caller.require(Permission::ReadPolicies)?;
    let (set, circumstances) = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let (_, proposed) = proposal.of_active(&mut conn).await?;
        Ok((proposed, circumstances(&mut conn).await?))
    })
    .await?;
    let now = clock::now();
    services.heavy_work.run(move || analyse::check(&set, &circumstances, now, STEPS_DEFAULT)).await
}

/// Compares what a proposal would answer with what is answered now.
///
/// # Errors
/// Those of [`Proposal::of_active`]; `Busy`.
pub async fn diff(services: &Services, caller: &Caller, proposal: &Proposal) -> Result<Diff, Error> {
    caller.require(Permission::ReadPolicies)?;
    let (active, proposed) = load(services, proposal).await?;
    let now = clock::now();
    services.heavy_work.run(move || analyse::diff(&active, &proposed, now, STEPS_DEFAULT)).await
}

/// Runs the tests of drafts, together with what else would be active.
///
/// # Errors
/// Those of [`Proposal::of_active`]; `Busy`.
pub async fn test(
    services: &Services,
    caller: &Caller,
    proposal: &Proposal,
) -> Result<Vec<(String, Report)>, Error> {
    caller.require(Permission::ReadPolicies)?;
    let drafts = read_documents(proposal.documents.clone()).await?;
    let (_, proposed) = load(services, proposal).await?;
    let named: Vec<String> = drafts
        .iter()
        .map(|(_, policy)| policy.name().to_owned())
        .chain(proposal.versions.iter().map(|version| version.name.clone()))
        .collect();
    let report = move || {
        let tested = proposed.policies().filter(|(_, policy)| named.iter().any(|name| name == policy.name()));
        let report = |(_, policy): (u32, &Policy)| (policy.name().to_owned(), run_tests(policy, &proposed));
        tested.map(report).collect()
    };
    services.heavy_work.run(report).await
}

/// Finds who may do something now.
///
/// # Errors
/// `Invalid` when there is no such resource; `Busy`.
pub async fn who_can(
    services: &Services,
    caller: &Caller,
    action: String,
    resource: &str,
    proposal: &Proposal,
) -> Result<WhoCan, Error> {
    caller.require(Permission::ReadPolicies)?;
    let resource = Resource::parse(resource)
        .map_err(|error| Error::Parameter { name: "resource", message: error.to_string() })?;
    let (set, subjects) = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let (_, proposed) = proposal.of_active(&mut conn).await?;
        Ok((proposed, subjects(&mut conn).await?))
    })
    .await?;
    let now = clock::now();
    let is_cut = subjects.len() > SUBJECTS_MAX;
    let asked = subjects.into_iter().take(SUBJECTS_MAX).collect::<Vec<_>>();
    let find = move || analyse::who_can(&set, &action, &resource, &asked, now, STEPS_DEFAULT);
    let mut found = services.heavy_work.run(find).await?;
    if is_cut {
        let reason = format!("only the first {SUBJECTS_MAX} people and clients were looked at one by one");
        found.undecided.push(analyse::Undecided { rule: None, reason });
    }
    Ok(found)
}

/// A question to be answered without anything being recorded.
pub struct Simulation {
    /// The question.
    pub question: RawQuestion,
    /// What the executor would see of the target.
    pub facts: Option<Facts>,
    /// The time of the decision; now if absent.
    pub at: Option<Timestamp>,
    /// The policies that answer.
    pub proposal: Proposal,
    /// Whether to tell also of rules that are not about the question.
    pub with_all_rules: bool,
}

/// What would be answered, and how it comes about.
pub struct Simulated {
    /// The answer.
    pub decision: Decision,
    /// What would help against a denial.
    pub explanation: Explanation,
    /// The time that was asked about.
    pub at: Timestamp,
    /// How rules stand to the question.
    pub rules: Vec<RuleTrace>,
}

/// Answers one question with everything that leads to the answer.
///
/// # Errors
/// `Invalid` when the question makes no sense; those of [`Proposal::of_active`]; `Busy`.
pub async fn simulate(
    services: &Services,
    caller: &Caller,
    simulation: Simulation,
) -> Result<Simulated, Error> {
    caller.require(Permission::ReadPolicies)?;
    let Simulation { question, facts, at, proposal, with_all_rules } = simulation;
    let question = Question::new(question).map_err(|error| Error::Invalid(field_errors(&error.0)))?;
    let (_, set) = load(services, &proposal).await?;
    let at = at.unwrap_or_else(clock::now);
    let simulate = move || {
        let facts = facts.as_ref();
        let mut rules = trace(&set, &question, facts, at);
        rules.retain(|rule| with_all_rules || rule.mismatches.is_empty());
        let explanation = explain(&set, &question, facts, at);
        Simulated { decision: evaluate(&set, &question, facts, at), explanation, at, rules }
    };
    services.heavy_work.run(simulate).await
}

async fn load(services: &Services, proposal: &Proposal) -> Result<(PolicySet, PolicySet), Error> {
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        if proposal.is_empty() {
            let active = policy_set::load(&mut conn).await?;
            return Ok((active.clone(), active));
        }
        proposal.of_active(&mut conn).await
    })
    .await
}

/// Who holds which role, and which namespaces executors allow.
async fn circumstances(conn: &mut PgConnection) -> Result<Circumstances, Error> {
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, roles) in users::all(conn, i64::MAX).await? {
        for role in roles {
            holders.entry(role).or_default().insert(format!("user:{id}"));
        }
    }
    let clusters = clusters::list(conn).await?;
    // A cluster whose executor was not heard of yet may allow anything.
    let allowlists: Option<BTreeMap<String, BTreeSet<String>>> = clusters
        .into_iter()
        .map(|cluster| Some((cluster.name, cluster.allowed_namespaces?.into_iter().collect())))
        .collect();
    let allowlists = allowlists.filter(|known| !known.is_empty());
    Ok(Circumstances { holders: Some(holders), allowlists })
}

/// Everybody who may ask: people with their roles, and clients, which have none.
async fn subjects(conn: &mut PgConnection) -> Result<Vec<Subject>, Error> {
    let limit = i64::try_from(SUBJECTS_MAX + 1).map_err(Error::internal)?;
    let people = users::all(conn, limit).await?.into_iter();
    let people = people.map(|(id, roles)| Subject { principal: format!("user:{id}"), roles });
    let clients = clients::names(conn, limit).await?.into_iter();
    let clients = clients.map(|name| Subject { principal: format!("client:{name}"), roles: Vec::new() });
    Ok(people.chain(clients).collect())
}

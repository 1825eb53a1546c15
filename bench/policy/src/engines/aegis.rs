//! Aegis: JSON policies, a compiled set, no memory of earlier decisions.

use aegis_policy::{CompiledSet, Effect, PolicySet, Question, Scratch, document};
use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Engine;
use crate::world::{Pattern, Request, Rule, Scalar, Test, Workload};

/// Rules of one policy: documents hold at most 16 MiB.
const POLICY_RULES: usize = 10_000;

/// A compiled set and questions.
#[derive(Debug)]
pub struct Aegis {
    set: CompiledSet,
    scratch: Scratch,
    questions: Vec<(Question, Timestamp)>,
}

impl Aegis {
    /// Compiles the rules.
    pub fn new(workload: &Workload) -> Result<Self> {
        Ok(Self {
            set: CompiledSet::compile(policy_set(&workload.rules)?),
            scratch: Scratch::new(),
            questions: questions(workload)?,
        })
    }

    /// Rules that apply to a request.
    pub fn applying(&mut self, request: usize) -> usize {
        let (question, now) = &self.questions[request];
        self.set.decide(question, None, *now, &mut self.scratch).applying().len()
    }

    /// The compiled set.
    pub fn set(&self) -> &CompiledSet {
        &self.set
    }
}

impl Engine for Aegis {
    fn name(&self) -> &'static str {
        "aegis"
    }

    fn allows(&mut self, request: usize) -> bool {
        let (question, now) = &self.questions[request];
        self.set.decide(question, None, *now, &mut self.scratch).effect() == Effect::Allow
    }
}

/// The rules as documents that were read.
pub fn policy_set(rules: &[Rule]) -> Result<PolicySet> {
    let policies = documents(rules).into_iter().map(|bytes| {
        let policy = document::parse(&bytes).map_err(|problems| anyhow!("{problems:?}"))?;
        Ok((1, policy))
    });
    Ok(PolicySet::new(policies.collect::<Result<_>>()?)?)
}

/// The rules as documents.
pub fn documents(rules: &[Rule]) -> Vec<Vec<u8>> {
    let policies = rules.chunks(POLICY_RULES).enumerate().map(|(number, rules)| {
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        json!({ "schema": "aegis.policy/v1", "name": format!("policy-{number}"), "rules": rules })
    });
    policies.map(|policy| policy.to_string().into_bytes()).collect()
}

fn questions(workload: &Workload) -> Result<Vec<(Question, Timestamp)>> {
    let requests = workload.requests.iter();
    requests
        .map(|request| Ok((serde_json::from_value(question(request))?, Timestamp::from_second(request.now)?)))
        .collect()
}

/// A request as it is sent.
pub fn question(request: &Request) -> Value {
    let metadata: Map<String, Value> = request
        .metadata
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Scalar::Text(text) => json!(text),
                Scalar::Number(number) => json!(number),
                Scalar::Flag(flag) => json!(flag),
            };
            (key.clone(), value)
        })
        .collect();
    let Request { cluster, namespace, kind, name, .. } = request;
    let mut question = json!({
        "principal": request.principal,
        "roles": request.roles,
        "action": request.action,
        "resource": format!("k8s/{cluster}/{namespace}/{kind}/{name}"),
        "metadata": metadata,
    });
    if let Some(replicas) = request.replicas {
        question["params"] = json!({ "replicas": replicas });
    }
    question
}

fn rule(rule: &Rule) -> Value {
    let mut matching = json!({});
    if rule.principal != Pattern::Any {
        matching["principals"] = json!([rule.principal.starred()]);
    }
    if let Some(role) = &rule.role {
        matching["roles"] = json!([role]);
    }
    if !rule.actions.is_empty() {
        matching["actions"] = json!(rule.actions);
    }
    let (cluster, namespace) = (rule.cluster.starred(), rule.namespace.starred());
    let (kind, name) = (rule.kind.unwrap_or("*"), rule.name.starred());
    matching["resources"] = json!([format!("k8s/{cluster}/{namespace}/{kind}/{name}")]);
    let mut written = json!({
        "id": rule.id,
        "effect": if rule.denies { "DENY" } else { "ALLOW" },
        "reason": "as the workload says",
        "match": matching,
    });
    if !rule.when.is_empty() {
        // A DENY says what absence means: that it does not deny.
        let present = rule
            .when
            .iter()
            .filter(|_| rule.denies)
            .map(|test| json!({ "path": path(test), "op": "present" }));
        written["when"] =
            json!({ "all": present.chain(rule.when.iter().map(comparison)).collect::<Vec<_>>() });
    }
    if let Some(hours) = &rule.hours {
        let (from, to) = (format!("{:02}:00", hours.from), format!("{:02}:00", hours.to));
        let window = json!({ "days": ["mon-fri"], "from": from, "to": to });
        written["time"] = json!({ "zone": hours.zone, "windows": [window] });
    }
    written
}

fn path(test: &Test) -> String {
    match test {
        Test::OneOf(key, _) | Test::AtLeast(key, _) | Test::Is(key, _) => format!("metadata.{key}"),
        Test::ReplicasAtMost(_) | Test::Replicas(_) => "params.replicas".to_owned(),
    }
}

fn comparison(test: &Test) -> Value {
    let (op, value) = match test {
        Test::OneOf(_, texts) => ("in", json!(texts)),
        Test::AtLeast(_, bound) => ("gte", json!(bound)),
        Test::Is(_, flag) => ("eq", json!(flag)),
        Test::ReplicasAtMost(bound) => ("lte", json!(bound)),
        Test::Replicas(number) => ("eq", json!(number)),
    };
    json!({ "path": path(test), "op": op, "value": value })
}

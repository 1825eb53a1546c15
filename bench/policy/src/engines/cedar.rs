//! Cedar: principals, roles, namespaces and workloads as entities, metadata as context.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Request, RestrictedExpression,
};
use jiff::Timestamp;

use super::Engine;
use crate::workloads::ZONES;
use crate::world::{Pattern, Request as Asked, Rule, Scalar, Test, Workload};

/// All policies in one set.
pub struct Plain {
    authorizer: Authorizer,
    policies: PolicySet,
    requests: Vec<(Request, Entities)>,
}

/// The host keeps a set for each namespace that some policy names, with those that name none, and asks
/// that of the resource's namespace.
pub struct Sliced {
    authorizer: Authorizer,
    slices: HashMap<String, PolicySet>,
    rest: PolicySet,
    requests: Vec<(String, Request, Entities)>,
}

impl Plain {
    /// Parses the policies.
    pub fn new(workload: &Workload) -> Result<Self> {
        let policies =
            PolicySet::from_policies(policies(&workload.rules)?.into_iter().map(|(_, policy)| policy))?;
        let clocks = workload.has_hours();
        let requests = workload.requests.iter().map(|asked| request(asked, clocks)).collect::<Result<_>>()?;
        Ok(Self { authorizer: Authorizer::new(), policies, requests })
    }
}

impl Sliced {
    /// Parses the policies, and slices them.
    pub fn new(workload: &Workload) -> Result<Self> {
        let mut by_namespace: BTreeMap<Option<String>, Vec<Policy>> = BTreeMap::new();
        for (namespace, policy) in policies(&workload.rules)? {
            by_namespace.entry(namespace).or_default().push(policy);
        }
        let rest = by_namespace.remove(&None).unwrap_or_default();
        let mut slices = HashMap::new();
        for (namespace, mut slice) in by_namespace {
            slice.extend(rest.iter().cloned());
            slices.insert(namespace.unwrap_or_default(), PolicySet::from_policies(slice)?);
        }
        let clocks = workload.has_hours();
        let requests = workload.requests.iter().map(|asked| {
            let (request, entities) = request(asked, clocks)?;
            Ok((asked.namespace.clone(), request, entities))
        });
        Ok(Self {
            authorizer: Authorizer::new(),
            slices,
            rest: PolicySet::from_policies(rest)?,
            requests: requests.collect::<Result<_>>()?,
        })
    }

    /// From the bytes of a request to the answer, as a service would do it.
    pub fn allows_bytes(&self, bytes: &[u8]) -> Result<bool> {
        let asked: serde_json::Value = serde_json::from_slice(bytes)?;
        let text = |field: &str| asked[field].as_str().context("a text is missing");
        let resource: Vec<&str> = text("resource")?.split('/').collect();
        let context = Context::from_json_value(serde_json::json!({ "metadata": asked["metadata"] }), None)?;
        let (request, entities) = ask(
            text("principal")?,
            &[],
            text("action")?,
            [resource[1], resource[2], resource[3], resource[4]],
            context,
        )?;
        let policies = self.slices.get(resource[2]).unwrap_or(&self.rest);
        Ok(self.authorizer.is_authorized(&request, policies, &entities).decision() == Decision::Allow)
    }
}

impl Engine for Plain {
    fn name(&self) -> &'static str {
        "cedar"
    }

    fn allows(&mut self, request: usize) -> bool {
        let (request, entities) = &self.requests[request];
        self.authorizer.is_authorized(request, &self.policies, entities).decision() == Decision::Allow
    }
}

impl Engine for Sliced {
    fn name(&self) -> &'static str {
        "cedar sliced"
    }

    fn allows(&mut self, request: usize) -> bool {
        let (namespace, request, entities) = &self.requests[request];
        let policies = self.slices.get(namespace).unwrap_or(&self.rest);
        self.authorizer.is_authorized(request, policies, entities).decision() == Decision::Allow
    }
}

/// Each with the namespace that it names.
fn policies(rules: &[Rule]) -> Result<Vec<(Option<String>, Policy)>> {
    let policies = rules.iter().map(|rule| {
        let namespace = match &rule.namespace {
            Pattern::Exact(namespace) => Some(namespace.clone()),
            Pattern::Any | Pattern::Prefix(_) => None,
        };
        let text = policy(rule);
        let policy = Policy::parse(Some(PolicyId::new(&rule.id)), &text).with_context(|| text.clone())?;
        Ok((namespace, policy))
    });
    policies.collect()
}

/// The policy as its author would write it.
pub fn policy(rule: &Rule) -> String {
    let principal = match (&rule.principal, &rule.role) {
        (Pattern::Exact(name), _) => format!("principal == Principal::\"{name}\""),
        (_, Some(role)) => format!("principal in Role::\"{role}\""),
        _ => "principal".to_owned(),
    };
    let action = match rule.actions[..] {
        [] => "action".to_owned(),
        [action] => format!("action == Action::\"{action}\""),
        ref actions => {
            let actions: Vec<String> = actions.iter().map(|action| format!("Action::\"{action}\"")).collect();
            format!("action in [{}]", actions.join(", "))
        }
    };
    let resource = match &rule.namespace {
        Pattern::Exact(namespace) => format!("resource in Namespace::\"{namespace}\""),
        Pattern::Any | Pattern::Prefix(_) => "resource".to_owned(),
    };
    let effect = if rule.denies { "forbid" } else { "permit" };
    let mut text = format!("{effect}({principal}, {action}, {resource})");
    let mut conditions = Vec::new();
    let mut like = |value: &str, pattern: &Pattern| match pattern {
        Pattern::Any => {}
        Pattern::Exact(exact) => conditions.push(format!("{value} == \"{exact}\"")),
        Pattern::Prefix(prefix) => conditions.push(format!("{value} like \"{prefix}*\"")),
    };
    if let Pattern::Prefix(_) = rule.principal {
        like("principal.name", &rule.principal);
    }
    if let Pattern::Prefix(_) = rule.namespace {
        like("resource.namespace", &rule.namespace);
    }
    like("resource.cluster", &rule.cluster);
    like("resource.name", &rule.name);
    if let Some(kind) = rule.kind {
        conditions.push(format!("resource.kind == \"{kind}\""));
    }
    conditions.extend(rule.when.iter().map(condition));
    if let Some(hours) = &rule.hours {
        let clock = format!("context.clocks[\"{}\"]", hours.zone);
        let (from, to) = (u32::from(hours.from) * 60, u32::from(hours.to) * 60);
        conditions.push(format!("{clock}.weekday < 5 && {clock}.minute >= {from} && {clock}.minute < {to}"));
    }
    if !conditions.is_empty() {
        write!(text, " when {{ {} }}", conditions.join(" && ")).expect("a text takes every text");
    }
    text + ";"
}

fn condition(test: &Test) -> String {
    let metadata = |key: &str, test: String| {
        format!("context.metadata has \"{key}\" && context.metadata[\"{key}\"]{test}")
    };
    match test {
        Test::OneOf(key, texts) => {
            let texts: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
            let texts = texts.join(", ");
            format!("context.metadata has \"{key}\" && [{texts}].contains(context.metadata[\"{key}\"])")
        }
        Test::AtLeast(key, bound) => metadata(key, format!(" >= {bound}")),
        Test::Is(key, flag) => metadata(key, format!(" == {flag}")),
        Test::ReplicasAtMost(bound) => format!("context has replicas && context.replicas <= {bound}"),
        Test::Replicas(number) => format!("context has replicas && context.replicas == {number}"),
    }
}

fn request(asked: &Asked, with_clocks: bool) -> Result<(Request, Entities)> {
    let metadata = asked.metadata.iter().map(|(key, value)| {
        let value = match value {
            Scalar::Text(text) => RestrictedExpression::new_string(text.clone()),
            Scalar::Number(number) => RestrictedExpression::new_long(*number),
            Scalar::Flag(flag) => RestrictedExpression::new_bool(*flag),
        };
        (key.clone(), value)
    });
    let mut context = vec![("metadata".to_owned(), RestrictedExpression::new_record(metadata)?)];
    if with_clocks {
        context.push(("clocks".to_owned(), clocks(asked.now)?));
    }
    if let Some(replicas) = asked.replicas {
        context.push(("replicas".to_owned(), RestrictedExpression::new_long(replicas)));
    }
    let segments = [&*asked.cluster, &*asked.namespace, asked.kind, &*asked.name];
    ask(&asked.principal, &asked.roles, asked.action, segments, Context::from_pairs(context)?)
}

/// Cedar knows no zones: the host says what the clocks show.
fn clocks(now: i64) -> Result<RestrictedExpression> {
    let clocks = ZONES.iter().map(|zone| {
        let local = Timestamp::from_second(now)?.in_tz(zone)?;
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let weekday = i64::from(local.weekday().to_monday_zero_offset());
        let clock = [
            ("minute".to_owned(), RestrictedExpression::new_long(minute)),
            ("weekday".to_owned(), RestrictedExpression::new_long(weekday)),
        ];
        Ok(((*zone).to_owned(), RestrictedExpression::new_record(clock)?))
    });
    Ok(RestrictedExpression::new_record(clocks.collect::<Result<Vec<_>>>()?)?)
}

fn ask(
    principal: &str,
    roles: &[String],
    action: &str,
    [cluster, namespace, kind, name]: [&str; 4],
    context: Context,
) -> Result<(Request, Entities)> {
    let of_type = |kind: &str, id: &str| {
        Ok::<_, anyhow::Error>(EntityUid::from_type_name_and_id(
            EntityTypeName::from_str(kind)?,
            EntityId::new(id),
        ))
    };
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let principal_uid = of_type("Principal", principal)?;
    let resource_uid = of_type("Workload", &format!("{cluster}/{namespace}/{kind}/{name}"))?;
    let held = roles.iter().map(|role| of_type("Role", role)).collect::<Result<HashSet<_>>>()?;
    let attributes = [("cluster", cluster), ("namespace", namespace), ("kind", kind), ("name", name)];
    let entities = Entities::from_entities(
        [
            Entity::new(principal_uid.clone(), HashMap::from([("name".to_owned(), text(principal))]), held)?,
            Entity::new(
                resource_uid.clone(),
                attributes.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect(),
                HashSet::from([of_type("Namespace", namespace)?]),
            )?,
        ],
        None,
    )?;
    let request = Request::new(principal_uid, of_type("Action", action)?, resource_uid, context, None)?;
    Ok((request, entities))
}

//! Rego by regorus, on its virtual machine: as one Rego rule per rule, or as data that a few Rego rules
//! walk through by namespace.

use std::fmt::Write;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use anyhow::{Context, Result};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::utils::limits::PolicyLengthConfig;
use regorus::{Engine as Regorus, Rc, Value};
use serde_json::json;

use super::{Engine, aegis};
use crate::world::{Pattern, Request, Rule, Test, Workload};

const ENTRY: &str = "data.heal.allow";

/// A loaded machine and inputs.
pub struct Rego {
    name: &'static str,
    machine: RegoVM,
    inputs: Vec<Value>,
}

impl Rego {
    /// One Rego rule per rule.
    pub fn rules(workload: &Workload) -> Result<Self> {
        let mut text = HEADER.to_owned();
        for rule in &workload.rules {
            text.push_str(&rego_rule(rule));
        }
        Self::load("regorus rules", text, None, workload)
    }

    /// The rules as data.
    pub fn data(workload: &Workload) -> Result<Self> {
        let text = format!("{HEADER}{WALK}");
        Self::load("regorus data", text, Some(rules_as_data(&workload.rules)), workload)
    }

    fn load(
        name: &'static str,
        text: String,
        data: Option<serde_json::Value>,
        workload: &Workload,
    ) -> Result<Self> {
        let mut engine = Regorus::new();
        // Its limits are those of a text that a person writes.
        engine.set_policy_length_config(PolicyLengthConfig {
            max_col: NonZeroU32::MAX,
            max_file_bytes: NonZeroUsize::MAX,
            max_lines: NonZeroUsize::MAX,
        });
        engine.add_policy("heal.rego".to_owned(), text)?;
        let data = data.map(|data| Value::from_json_str(&data.to_string())).transpose()?;
        if let Some(data) = &data {
            engine.add_data(data.clone())?;
        }
        let entry: Rc<str> = ENTRY.into();
        let compiled = engine.compile_with_entrypoint(&entry)?;
        let program: Arc<_> = Compiler::compile_from_policy(&compiled, &[ENTRY])?;
        let mut machine = RegoVM::new_with_policy(compiled);
        machine.load_program(program);
        // Walking through ten thousand rules takes more steps than it allows by default.
        machine.set_max_instructions(usize::MAX);
        if let Some(data) = data {
            machine.set_data(data)?;
        }
        let inputs =
            workload.requests.iter().map(|request| Value::from_json_str(&input(request).to_string()));
        Ok(Self { name, machine, inputs: inputs.collect::<Result<_>>()? })
    }

    /// From the bytes of an input to the answer.
    pub fn allows_bytes(&mut self, bytes: &[u8]) -> Result<bool> {
        self.machine.set_input(Value::from_json_str(std::str::from_utf8(bytes)?)?);
        Ok(self.machine.execute()? == Value::from(true))
    }
}

impl Engine for Rego {
    fn name(&self) -> &'static str {
        self.name
    }

    fn allows(&mut self, request: usize) -> bool {
        self.machine.set_input(self.inputs[request].clone());
        let answer = self.machine.execute().context("regorus fails").expect("the rules are fit for it");
        answer == Value::from(true)
    }
}

const HEADER: &str = "package heal

import rego.v1

default allow := false

default denied := false

default permitted := false

allow if {
    permitted
    not denied
}

";

/// Walks through the rules of the namespace and those of no namespace.
const WALK: &str = r#"
keys := [input.namespace, "*"]

permitted if {
    some key in keys
    some rule in data.permits[key]
    applies(rule)
}

denied if {
    some key in keys
    some rule in data.forbids[key]
    applies(rule)
}

applies(rule) if {
    matches(rule.principal, input.principal)
    acts(rule)
    holds_role(rule)
    matches(rule.cluster, input.cluster)
    matches(rule.namespace, input.namespace)
    matches(rule.name, input.name)
    is_kind(rule)
    every test in rule.when { holds(test) }
    is_open(rule)
}

matches(pattern, text) if pattern.any
matches(pattern, text) if pattern.exact == text
matches(pattern, text) if startswith(text, pattern.prefix)

acts(rule) if count(rule.actions) == 0
acts(rule) if rule.actions[input.action]

holds_role(rule) if not rule.role
holds_role(rule) if rule.role in input.roles

is_kind(rule) if not rule.kind
is_kind(rule) if rule.kind == input.kind

holds(test) if test.texts[input.metadata[test.key]]
holds(test) if input.metadata[test.key] >= test.bound
holds(test) if input.metadata[test.key] == test.flag
holds(test) if input.replicas <= test.most
holds(test) if input.replicas == test.number

is_open(rule) if not rule.hours
is_open(rule) if {
    [hour, _, _] := time.clock([input.now, rule.hours.zone])
    hour >= rule.hours.from
    hour < rule.hours.to
    not time.weekday([input.now, rule.hours.zone]) in {"Saturday", "Sunday"}
}
"#;

/// The rule as its author would write it; the cheap and selective tests come first.
fn rego_rule(rule: &Rule) -> String {
    let mut lines = Vec::new();
    let mut like = |value: &str, pattern: &Pattern| match pattern {
        Pattern::Any => {}
        Pattern::Exact(exact) => lines.push(format!("{value} == \"{exact}\"")),
        Pattern::Prefix(prefix) => lines.push(format!("startswith({value}, \"{prefix}\")")),
    };
    like("input.namespace", &rule.namespace);
    like("input.principal", &rule.principal);
    like("input.name", &rule.name);
    like("input.cluster", &rule.cluster);
    match rule.actions[..] {
        [] => {}
        [action] => lines.push(format!("input.action == \"{action}\"")),
        ref actions => lines.push(format!("input.action in {{\"{}\"}}", actions.join("\", \""))),
    }
    if let Some(role) = &rule.role {
        lines.push(format!("\"{role}\" in input.roles"));
    }
    if let Some(kind) = rule.kind {
        lines.push(format!("input.kind == \"{kind}\""));
    }
    lines.extend(rule.when.iter().map(|test| match test {
        Test::OneOf(key, texts) => format!("input.metadata[\"{key}\"] in {{\"{}\"}}", texts.join("\", \"")),
        Test::AtLeast(key, bound) => format!("input.metadata[\"{key}\"] >= {bound}"),
        Test::Is(key, flag) => format!("input.metadata[\"{key}\"] == {flag}"),
        Test::ReplicasAtMost(bound) => format!("input.replicas <= {bound}"),
        Test::Replicas(number) => format!("input.replicas == {number}"),
    }));
    if let Some(hours) = &rule.hours {
        let zone = hours.zone;
        lines.push(format!("[hour, _, _] := time.clock([input.now, \"{zone}\"])"));
        lines.push(format!("hour >= {}", hours.from));
        lines.push(format!("hour < {}", hours.to));
        lines.push(format!("not time.weekday([input.now, \"{zone}\"]) in {{\"Saturday\", \"Sunday\"}}"));
    }
    if lines.is_empty() {
        lines.push("true".to_owned());
    }
    let mut text = String::new();
    let head = if rule.denies { "denied" } else { "permitted" };
    writeln!(text, "{head} if {{\n    {}\n}}\n", lines.join("\n    ")).expect("a text takes every text");
    text
}

fn rules_as_data(rules: &[Rule]) -> serde_json::Value {
    let mut data = json!({ "permits": {}, "forbids": {} });
    for rule in rules {
        let key = match &rule.namespace {
            Pattern::Exact(namespace) => namespace,
            Pattern::Any | Pattern::Prefix(_) => "*",
        };
        let list = &mut data[if rule.denies { "forbids" } else { "permits" }][key];
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.push(rule_as_data(rule));
        }
    }
    data
}

fn rule_as_data(rule: &Rule) -> serde_json::Value {
    let pattern = |pattern: &Pattern| match pattern {
        Pattern::Any => json!({ "any": true }),
        Pattern::Exact(text) => json!({ "exact": text }),
        Pattern::Prefix(text) => json!({ "prefix": text }),
    };
    let set = |texts: &mut dyn Iterator<Item = &str>| {
        texts.map(|text| (text.to_owned(), json!(true))).collect::<serde_json::Map<_, _>>()
    };
    let when = rule.when.iter().map(|test| match test {
        Test::OneOf(key, texts) => json!({ "key": key, "texts": set(&mut texts.iter().map(String::as_str)) }),
        Test::AtLeast(key, bound) => json!({ "key": key, "bound": bound }),
        Test::Is(key, flag) => json!({ "key": key, "flag": flag }),
        Test::ReplicasAtMost(bound) => json!({ "most": bound }),
        Test::Replicas(number) => json!({ "number": number }),
    });
    let mut data = json!({
        "principal": pattern(&rule.principal),
        "actions": set(&mut rule.actions.iter().copied()),
        "cluster": pattern(&rule.cluster),
        "namespace": pattern(&rule.namespace),
        "name": pattern(&rule.name),
        "when": when.collect::<Vec<_>>(),
    });
    if let Some(role) = &rule.role {
        data["role"] = json!(role);
    }
    if let Some(kind) = rule.kind {
        data["kind"] = json!(kind);
    }
    if let Some(hours) = &rule.hours {
        data["hours"] = json!({ "zone": hours.zone, "from": hours.from, "to": hours.to });
    }
    data
}

/// A request as Rego wants it: the resource in its parts, the time in nanoseconds.
pub fn input(request: &Request) -> serde_json::Value {
    let mut input = aegis::question(request);
    let Request { cluster, namespace, kind, name, .. } = request;
    for (key, value) in [("cluster", &**cluster), ("namespace", namespace), ("kind", kind), ("name", name)] {
        input[key] = json!(value);
    }
    if let Some(replicas) = request.replicas {
        input["replicas"] = json!(replicas);
    }
    input["now"] = json!(request.now * 1_000_000_000);
    input
}

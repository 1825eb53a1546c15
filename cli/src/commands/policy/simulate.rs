//! `aegisctl policy simulate`.

use std::fs;
use std::path::PathBuf;

use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::proposal::ProposalOptions;
use super::tool::{ask, print};
use crate::commands::heal::parse_metadata;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::settings::Settings;

/// One question.
#[derive(Debug, clap::Args)]
pub(crate) struct Simulate {
    /// Action, for example restart
    action: String,
    /// Resource, for example k8s/prod-1/shop/Deployment/web
    resource: String,
    /// Who asks, for example client:alert-bot
    #[arg(long, value_name = "PRINCIPAL")]
    principal: String,
    /// Role they hold; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Parameter of the action, KEY=TEXT or KEY:=JSON; may be repeated
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parse_metadata)]
    params: Vec<(String, Value)>,
    /// What the requester states about the case, KEY=TEXT or KEY:=JSON; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_metadata)]
    metadata: Vec<(String, Value)>,
    /// What the executor would see of the target, as JSON
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Time of the decision; now if absent
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Show also rules that are not about the question
    #[arg(long)]
    all_rules: bool,
    #[command(flatten)]
    proposal: ProposalOptions,
}

/// Runs the command.
pub(super) async fn run(command: &Simulate, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let map = |pairs: &[(String, Value)]| pairs.iter().cloned().collect::<Map<_, _>>();
    let mut body = json!({
        "principal": command.principal, "roles": command.roles, "action": command.action,
        "resource": command.resource, "params": map(&command.params), "metadata": map(&command.metadata),
        "allRules": command.all_rules, "proposal": command.proposal.body()?,
    });
    if let Some(path) = &command.facts {
        let text = fs::read(path).map_err(|source| Cause::File { path: path.clone(), source })?;
        let facts: Value = serde_json::from_slice(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        body["facts"] = facts;
    }
    if let Some(at) = command.at {
        body["at"] = json!(at);
    }
    let done: Value = ask(&settings.client()?, Method::POST, "simulate", &body).await?;
    print(settings.output, &done, || lines(&done))?;
    Ok(if done["decision"]["effect"] == "ALLOW" { Exit::Done } else { Exit::Denied })
}

fn lines(done: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let decision = &done["decision"];
    let mut lines = vec![format!(
        "{}: {} (at {})",
        text(&decision["effect"]),
        text(&decision["reason"]),
        text(&done["at"])
    )];
    for (name, value) in decision["obligations"].as_object().into_iter().flatten() {
        lines.push(format!("  {name}: {value}"));
    }
    for (name, value) in done["explanation"].as_object().into_iter().flatten() {
        lines.push(format!("  {name}: {}", text(value)));
    }
    for rule in done["rules"].as_array().into_iter().flatten() {
        let applies = if rule["applies"] == true { "applies" } else { "does not apply" };
        let name = format!("{}/{}", text(&rule["policy"]), text(&rule["rule"]));
        lines.push(format!("{} {name} ({}) {applies}", text(&rule["effect"]), text(&rule["mode"])));
        for dimension in rule["mismatches"].as_array().into_iter().flatten() {
            lines.push(format!("    match.{} does not cover it", text(dimension)));
        }
        if rule["open"] != true {
            lines.push("    its time is closed, or it is not valid".to_owned());
        }
        for comparison in rule["comparisons"].as_array().into_iter().flatten() {
            let found = comparison.get("found").map_or_else(|| "missing".to_owned(), Value::to_string);
            lines.push(format!(
                "    when{} {} is {found}: {}",
                text(&comparison["pointer"]),
                text(&comparison["path"]),
                text(&comparison["verdict"])
            ));
        }
    }
    lines
}

//! `aegisctl heal`: asks for one change to one workload.

use std::time::Duration;

use aegis_contract::action::{ActionType, Change, DEADLINE_SECONDS_MAX, REPLICAS_MAX};
use aegis_contract::http_signature::IDEMPOTENCY_KEY;
use aegis_contract::target::Target;
use aegis_runtime::clock;
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::{Call, Client};
use crate::commands::action::write_action;
use crate::commands::approval::missing;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::watch;

/// The changes that can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Heal {
    /// Restart all pods of a workload, a few at a time
    #[command(
        after_help = "Example:\n  aegisctl heal restart shop/Deployment/web --reason 'leaks memory' --wait"
    )]
    Restart {
        #[command(flatten)]
        ask: Ask,
        /// Restart also while a rollout is under way
        #[arg(long)]
        during_rollout: bool,
        /// Which pods: all, or only those that are not ready, one at a time and without another revision
        #[arg(long, value_name = "WHICH", default_value = "all", value_parser = ["all", "unhealthy"])]
        pods: String,
        /// Replace one pod first, and restart the others only if what comes in its place is good
        #[arg(long)]
        canary: bool,
    },
    /// Evict one pod, which its controller replaces
    #[command(after_help = "Example:\n  aegisctl heal restart-pod shop/Pod/web-5d8f7c-x2v9k --wait")]
    RestartPod(Ask),
    /// Set the number of replicas
    #[command(
        after_help = "Example:\n  aegisctl heal scale prod-eu/shop/Deployment/web --replicas 5 --metadata severity=high --wait"
    )]
    Scale {
        #[command(flatten)]
        ask: Ask,
        /// Wanted replicas
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(REPLICAS_MAX)))]
        replicas: u32,
    },
    /// Return to an earlier revision of the pod template
    #[command(
        after_help = "Example:\n  aegisctl heal rollback shop/Deployment/web --reason 'new image crashes' --wait"
    )]
    Rollback {
        #[command(flatten)]
        ask: Ask,
        /// Revision to return to; without it the newest earlier one whose template differs
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
        to_revision: Option<u64>,
    },
}

/// What is the same for every change.
#[derive(Debug, clap::Args)]
pub(crate) struct Ask {
    /// The object: [CLUSTER/]NAMESPACE/KIND/NAME, as in shop/Deployment/web
    target: String,
    /// Cluster of a target that names none [env: AEGIS_CLUSTER] [default: local]
    #[arg(long)]
    cluster: Option<String>,
    /// Why, for the people who read the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Something policies may look at; KEY:=JSON for numbers, true and false. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_metadata)]
    metadata: Vec<(String, Value)>,
    /// Go the whole way, but let the cluster only pretend to write: `plan` tells what would be done
    #[arg(long)]
    dry_run: bool,
    /// Wait for the end, 600 seconds if none are named; the exit code then tells how it ended (`aegisctl --help`)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
    /// The action must start within this time, else it expires; the server's default is 300
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=i64::from(DEADLINE_SECONDS_MAX)))]
    deadline: Option<u32>,
    /// Names the request: asking again with the same key never makes a second action. Made up if absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: &Heal, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let (action_type, ask, params) = match command {
        Heal::Restart { ask, during_rollout, pods, canary } => {
            let params = json!({ "duringRollout": during_rollout, "pods": pods, "canary": canary });
            (ActionType::Restart, ask, params)
        }
        Heal::RestartPod(ask) => (ActionType::RestartPod, ask, json!({})),
        Heal::Scale { ask, replicas } => (ActionType::Scale, ask, json!({ "replicas": replicas })),
        Heal::Rollback { ask, to_revision: None } => (ActionType::Rollback, ask, json!({})),
        Heal::Rollback { ask, to_revision } => {
            (ActionType::Rollback, ask, json!({ "toRevision": to_revision }))
        }
    };
    let body = request_body(action_type, params, ask, &settings.cluster)?;
    let client = settings.client()?;
    let key = ask.idempotency_key.clone().unwrap_or_else(|| clock::new_uuid().to_string());
    let call = client.api(Method::POST, &["actions"]).header(IDEMPOTENCY_KEY, &key)?.json(&body);

    let mut progress = Progress::new(settings.is_plain);
    progress.note(&format!("idempotency key: {key}"));
    let action = match ask_for(&client, &call, &progress).await {
        Ok(action) => action,
        Err(failure) if failure.is_passing() => {
            return Err(
                failure.with_note(format!("to ask for the same action again, add --idempotency-key {key}"))
            );
        }
        Err(failure) => return Err(failure),
    };
    if let Some(missing) = missing(&action) {
        progress.note(&format!("waiting for people to agree: {missing}"));
    }
    let Some(seconds) = ask.wait else {
        drop(progress);
        write_action(settings.output, &action)?;
        return Ok(Exit::of_state(watch::state(&action)?).unwrap_or(Exit::Done));
    };
    let within = Duration::from_secs(seconds);
    let action = watch::until_final(&client, action, within, &mut progress).await?;
    drop(progress);
    write_action(settings.output, &action)?;
    watch::exit(&action, within)
}

/// Sends the request. A denied action exists like any other, so it is fetched and shown like any other.
async fn ask_for(client: &Client, call: &Call, progress: &Progress) -> Result<Value, Failure> {
    let failure = match client.send_persistently(call, progress).await {
        Ok(answer) => return Ok(answer.body),
        Err(failure) => failure,
    };
    let denied_id = failure
        .problem()
        .filter(|problem| problem.code == "policy-denied")
        .and_then(|problem| problem.extensions.get("actionId")?.as_str());
    let Some(id) = denied_id else { return Err(failure) };
    match client.get(&["actions", id]).await {
        Ok(action) => {
            failure.report();
            Ok(action)
        }
        Err(_) => Err(failure),
    }
}

fn request_body(
    action_type: ActionType,
    params: Value,
    ask: &Ask,
    default_cluster: &str,
) -> Result<Value, Failure> {
    let cluster = ask.cluster.as_deref().unwrap_or(default_cluster);
    let target = Target::parse(&ask.target, cluster).map_err(Failure::usage)?;
    let change = Change::new(action_type, params, target.kind).map_err(Failure::usage)?;
    let mut body = json!({
        "type": action_type.as_str(),
        "target": { "cluster": target.cluster, "namespace": target.namespace,
                    "kind": target.kind.as_str(), "name": target.name },
        "params": change.params(),
        "dryRun": ask.dry_run,
    });
    if let Some(reason) = &ask.reason {
        body["reason"] = reason.as_str().into();
    }
    if let Some(deadline) = ask.deadline {
        body["deadlineSeconds"] = deadline.into();
    }
    let mut metadata = Map::new();
    for (key, value) in &ask.metadata {
        if metadata.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("--metadata {key} is given twice")));
        }
    }
    if !metadata.is_empty() {
        body["metadata"] = Value::Object(metadata);
    }
    Ok(body)
}

/// Reads `KEY=TEXT` or `KEY:=JSON`.
pub(crate) fn parse_metadata(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("must have the form KEY=VALUE or KEY:=JSON")?;
    let (key, value) = match key.strip_suffix(':') {
        Some(key) => {
            (key, serde_json::from_str(value).map_err(|error| format!("`{value}` is not JSON: {error}"))?)
        }
        None => (key, Value::from(value)),
    };
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_text_unless_it_says_json() {
        assert_eq!(parse_metadata("a=1=2"), Ok(("a".to_owned(), json!("1=2"))));
        assert_eq!(parse_metadata("a:=1.5"), Ok(("a".to_owned(), json!(1.5))));
        assert_eq!(parse_metadata("a="), Ok(("a".to_owned(), json!(""))));
        for wrong in ["a", "=b", ":=1", "a:=high"] {
            assert!(parse_metadata(wrong).is_err(), "{wrong}");
        }
    }
}

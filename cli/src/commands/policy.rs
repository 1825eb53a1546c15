//! `aegisctl policy`: reads, checks, stores and activates policies; tests and compares them where they lie.

mod check;
mod diff;
mod files;
mod proposal;
mod replay;
mod simulate;
mod sync;
mod test;
mod tool;
mod who_can;

use std::fs;
use std::path::{Path, PathBuf};

use aegis_contract::strict::{self, Limits};
use clap::Subcommand;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Call, Client};
use crate::commands::page::{PageOptions, write_list};
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::{Column, column, write_json_pretty};
use crate::settings::Settings;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// List policies with their versions
    #[command(after_help = "Example:\n  aegisctl policy list")]
    List {
        #[command(flatten)]
        page: PageOptions,
    },
    /// Show one policy
    #[command(after_help = "Example:\n  aegisctl policy get prod-heal --document > prod-heal.json")]
    Get {
        /// Name of the policy
        name: String,
        /// Version to show; the latest if absent
        #[arg(long)]
        version: Option<u64>,
        /// Print the document alone, ready to be changed and applied again
        #[arg(long)]
        document: bool,
    },
    /// Store each file as the next version of its policy
    #[command(after_help = "Example:\n  aegisctl policy apply policies/starter.json --activate\n\n\
        Without --activate nothing changes yet: the version waits for `aegisctl policy activate`.")]
    Apply {
        /// Policy documents
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Let the new versions decide from now on
        #[arg(long)]
        activate: bool,
    },
    /// Check files as the control plane would, and store nothing
    #[command(after_help = "Example:\n  aegisctl policy validate policies/*.json")]
    Validate {
        /// Policy documents
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run the tests of policies, without a control plane
    #[command(after_help = "Example:\n  aegisctl policy test policies/ --require-coverage\n\n\
        Exits with 1 when a test fails, and with --require-coverage also when something is not tested.")]
    Test(test::Test),
    /// Find rules that do nothing: in files without a control plane, or in what is active
    #[command(after_help = "Examples:\n  aegisctl policy check policies/ --allowlist prod=shop,bank\n  \
        aegisctl policy check --with policies/prod-heal.json\n\n\
        Exits with 1 when something was found, or could not be decided.")]
    Check(Box<check::Check>),
    /// Show whose access changes: from files to files without a control plane, or from what is active
    #[command(after_help = "Examples:\n  aegisctl policy diff /tmp/main/policies policies\n  \
        aegisctl policy diff --with-version prod-heal@4\n\n\
        Exits with 1 when an answer changes, or that could not be decided.")]
    Diff(Box<diff::Diff>),
    /// Show who may do something now, under which limits and approvals
    #[command(after_help = "Example:\n  aegisctl policy who-can restart k8s/prod-1/shop/Deployment/web")]
    WhoCan(Box<who_can::Who>),
    /// Answer one question with everything that leads to the answer, and record nothing
    #[command(after_help = "Example:\n  aegisctl policy simulate restart k8s/prod-1/shop/Deployment/web \
        --principal client:alert-bot --metadata severity=high --with policies/prod-heal.json\n\n\
        Exits with 3 when the answer is DENY.")]
    Simulate(Box<simulate::Simulate>),
    /// Take past decisions again by other policies
    #[command(after_help = "Example:\n  aegisctl policy replay --since 30d --with policies/prod-heal.json \
        --accept newly-denied\n\n\
        Exits with 1 when a decision changes that --accept does not name.")]
    Replay(Box<replay::ReplayOptions>),
    /// Show which rules decided, and when last
    #[command(after_help = "Example:\n  aegisctl policy usage --since 90d --unused")]
    Usage(replay::UsageOptions),
    /// Make the active policies equal a folder, in one step
    #[command(
        after_help = "Example:\n  aegisctl policy sync policies/ --managed-by acme/policies --plan\n\n\
        With --plan it exits with 1 when there is something to do."
    )]
    Sync(sync::SyncOptions),
    /// Let the version decide again that was active before
    #[command(after_help = "Example:\n  aegisctl policy rollback prod-heal")]
    Rollback {
        /// Name of the policy
        name: String,
    },
    /// Let a policy that belongs to a sync be changed by hand, until the next sync
    #[command(after_help = "Example:\n  aegisctl policy release prod-heal")]
    Release {
        /// Name of the policy
        name: String,
    },
    /// Let a version of a policy decide from now on
    #[command(after_help = "Example:\n  aegisctl policy activate prod-heal --version 3")]
    Activate {
        /// Name of the policy
        name: String,
        /// Version to activate; the latest if absent
        #[arg(long)]
        version: Option<u64>,
        /// Audit entry of a replay of what will be active
        #[arg(long, value_name = "ENTRY")]
        replay: Option<String>,
    },
    /// Let a policy decide nothing any more; what it stored stays
    #[command(after_help = "Example:\n  aegisctl policy deactivate prod-heal")]
    Deactivate {
        /// Name of the policy
        name: String,
    },
}

const COLUMNS: [Column; 4] = [
    column("name", "/name"),
    column("activeVersion", "/activeVersion"),
    column("latestVersion", "/latestVersion"),
    column("updatedAt", "/updatedAt"),
];

const VALIDATED: [Column; 3] =
    [column("file", "/file"), column("valid", "/valid"), column("errors", "/count")];

const FIRST: [&str; 5] = ["name", "version", "activeVersion", "latestVersion", "digest"];

/// Runs the command.
pub(crate) async fn run(command: &Policy, settings: &Settings<'_>) -> Result<Exit, Failure> {
    match command {
        Policy::Test(command) => return test::run(command, settings.output),
        Policy::Check(command) => return check::run(command, settings).await,
        Policy::Diff(command) => return diff::run(command, settings).await,
        Policy::WhoCan(command) => return who_can::run(command, settings).await,
        Policy::Simulate(command) => return simulate::run(command, settings).await,
        Policy::Replay(command) => return replay::replay(command, settings).await,
        Policy::Usage(command) => return replay::usage(command, settings).await,
        Policy::Sync(command) => return sync::run(command, settings).await,
        _ => {}
    }
    let client = settings.client()?;
    match command {
        Policy::List { page } => {
            let call = || client.api(Method::GET, &["policies"]);
            write_list(&client, settings.output, &COLUMNS, page, call).await?;
        }
        Policy::Get { name, version, document } => {
            let policy = match version {
                Some(version) => client.get(&["policies", name, "versions", &version.to_string()]).await?,
                None => client.get(&["policies", name]).await?,
            };
            match policy.get("document") {
                Some(text) if *document => write_json_pretty(text)?,
                _ => settings.output.document(&policy, &FIRST)?,
            }
        }
        Policy::Apply { files, activate } => {
            let documents = read_documents(files)?;
            let mut applied = Vec::new();
            for (path, document) in &documents {
                match apply(&client, document, *activate).await {
                    Ok(policy) => applied.push(policy),
                    Err(failure) => {
                        settings.output.list(&applied, None, &COLUMNS)?;
                        let note = format!("{} was not applied; those before it were", path.display());
                        return Err(if applied.is_empty() { failure } else { failure.with_note(note) });
                    }
                }
            }
            settings.output.list(&applied, None, &COLUMNS)?;
            if !activate {
                eprintln!("stored, not active: `aegisctl policy activate NAME` lets a version decide");
            }
        }
        Policy::Validate { files } => return validate(&client, files, settings).await,
        Policy::Activate { name, version, replay } => {
            let (policy, etag) = find(&client, name).await?.ok_or_else(|| no_policy(name))?;
            let version = version.or_else(|| policy.get("latestVersion")?.as_u64());
            let policy = activate(&client, name, version, replay.as_deref(), etag.as_deref()).await?;
            settings.output.document(&policy, &FIRST)?;
        }
        Policy::Rollback { name } => {
            let (policy, etag) = find(&client, name).await?.ok_or_else(|| no_policy(name))?;
            let previous = policy.get("previousVersion").and_then(Value::as_u64);
            let none = || Failure::usage(format!("{name} was never active in another version"));
            let version = previous.ok_or_else(none)?;
            let policy = activate(&client, name, Some(version), None, etag.as_deref()).await?;
            settings.output.document(&policy, &FIRST)?;
        }
        Policy::Release { name } => {
            client.send(&client.api(Method::POST, &["policies", name, "release"])).await?;
        }
        // Done above.
        Policy::Test(_)
        | Policy::Check(_)
        | Policy::Diff(_)
        | Policy::WhoCan(_)
        | Policy::Simulate(_)
        | Policy::Replay(_)
        | Policy::Usage(_)
        | Policy::Sync(_) => {}
        Policy::Deactivate { name } => {
            let (_, etag) = find(&client, name).await?.ok_or_else(|| no_policy(name))?;
            let call = client.api(Method::POST, &["policies", name, "deactivate"]);
            let policy = client.send(&if_match(call, etag.as_deref())?).await?.body;
            settings.output.document(&policy, &FIRST)?;
        }
    }
    Ok(Exit::Done)
}

/// Stores one document as the next version, on top of the version seen now.
async fn apply(client: &Client, document: &Document, is_activated: bool) -> Result<Value, Failure> {
    let call = client.api(Method::PUT, &["policies", &document.name]).body(document.bytes.clone());
    let call = match find(client, &document.name).await? {
        Some((_, etag)) => if_match(call, etag.as_deref())?,
        None => call.header(IF_NONE_MATCH, "*")?,
    };
    let answer = client.send(&call).await?;
    if !is_activated {
        return Ok(answer.body);
    }
    let version =
        answer.body.get("version").or_else(|| answer.body.get("latestVersion")).and_then(Value::as_u64);
    activate(client, &document.name, version, None, etag(&answer.headers).as_deref()).await
}

async fn activate(
    client: &Client,
    name: &str,
    version: Option<u64>,
    replay: Option<&str>,
    etag: Option<&str>,
) -> Result<Value, Failure> {
    let mut body = json!({ "version": version });
    if let Some(replay) = replay {
        body["replay"] = json!(replay);
    }
    let call = client.api(Method::POST, &["policies", name, "activate"]).json(&body);
    Ok(client.send(&if_match(call, etag)?).await?.body)
}

/// The policy and its entity tag, if there is one of this name.
async fn find(client: &Client, name: &str) -> Result<Option<(Value, Option<String>)>, Failure> {
    match client.send(&client.api(Method::GET, &["policies", name])).await {
        Ok(answer) => Ok(Some((answer.body, etag(&answer.headers)))),
        Err(failure) if failure.problem().is_some_and(|problem| problem.status == 404) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn etag(headers: &HeaderMap) -> Option<String> {
    headers.get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The call, good only for the version that was seen.
fn if_match(call: Call, etag: Option<&str>) -> Result<Call, Failure> {
    match etag {
        Some(etag) => call.header(IF_MATCH, etag),
        None => Ok(call),
    }
}

fn no_policy(name: &str) -> Failure {
    let problem = aegis_contract::problem::Problem::new(StatusCode::NOT_FOUND, "not-found")
        .with_detail(format!("there is no policy {name}"));
    Cause::Problem(Box::new(problem)).into()
}

async fn validate(client: &Client, files: &[PathBuf], settings: &Settings<'_>) -> Result<Exit, Failure> {
    let mut results = Vec::new();
    for path in files {
        let result = match read_document(path) {
            Ok(document) => {
                let call = client.api(Method::POST, &["policy", "validate"]).body(document.bytes);
                client.send(&call).await.map(|_| ())
            }
            Err(failure) => Err(failure),
        };
        let errors = match result {
            Ok(()) => json!([]),
            Err(failure) if failure.exit() == Exit::Invalid => {
                eprintln!("{}:", path.display());
                failure.report();
                failure
                    .problem()
                    .map_or_else(|| json!([{ "message": failure.cause.to_string() }]), |p| json!(p.errors))
            }
            Err(failure) => return Err(failure),
        };
        let count = errors.as_array().map_or(0, Vec::len);
        results.push(json!({
            "file": path.display().to_string(), "valid": count == 0, "count": count, "errors": errors
        }));
    }
    settings.output.list(&results, None, &VALIDATED)?;
    let is_all_valid = results.iter().all(|result| result["valid"] == true);
    Ok(if is_all_valid { Exit::Done } else { Exit::Invalid })
}

/// A policy as its file has it: the bytes are sent unchanged.
struct Document {
    name: String,
    bytes: Vec<u8>,
}

/// Reads all files before anything is stored: a fault in the last one stops the first.
fn read_documents(files: &[PathBuf]) -> Result<Vec<(&PathBuf, Document)>, Failure> {
    files.iter().map(|path| Ok((path, read_document(path)?))).collect()
}

fn read_document(path: &Path) -> Result<Document, Failure> {
    let bytes = fs::read(path).map_err(|source| Cause::File { path: path.to_owned(), source })?;
    let at = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let document = strict::value(&bytes, Limits::POLICY).map_err(|error| at(error.to_string()))?;
    let name = document.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| at("a policy needs a name: \"name\": \"…\"".to_owned()))?.to_owned();
    Ok(Document { name, bytes })
}

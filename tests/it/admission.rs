//! What the admission policies in `k8s/` let the executor's accounts change: edits of every field that the API server
//! says a workload has, each sent under every account as a rehearsal, which admission sees like any write.

#[path = "../../executor/src/action/bounds.rs"]
mod bounds;
mod edits;
mod intended;
mod schema;
mod workloads;
mod writes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aegis_tests::cluster::Cluster;
use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE, ROLLBACK_ACCOUNT};
use anyhow::{Context, Result};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::bounds::template_within_bounds;
use self::edits::{Edit, edits};
use self::schema::Schema;
use self::workloads::Workload;

/// Rehearsals on their way at one time.
const REHEARSALS_MAX: usize = 8;
/// What the API server takes a second for; a busy machine is given much more before the test fails.
const WITHIN: Duration = Duration::from_secs(60);

/// A namespace in which both accounts may act, and a client of each account.
#[derive(Clone)]
struct Clients {
    cluster: Arc<Cluster>,
    namespace: String,
    admin: kube::Client,
    executor: kube::Client,
    rollback: kube::Client,
}

/// How a write was answered.
#[derive(Clone, Debug)]
enum Answer {
    /// It would take effect: the object as it would be.
    Taken(Value),
    /// The named policy does not let it through.
    Denied { policy: String, message: String },
    /// Nobody can make it.
    Invalid(String),
}

impl Clients {
    async fn open() -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.create_namespace("shop").await?;
        cluster.allow_executor_in(&namespace).await?;
        let admin = cluster.client().await?;
        let executor = client_of(&cluster, EXECUTOR_ACCOUNT).await?;
        let rollback = client_of(&cluster, ROLLBACK_ACCOUNT).await?;
        Ok(Self { cluster, namespace, admin, executor, rollback })
    }

    /// Rehearses a JSON patch of a workload, or of a subresource of it.
    async fn rehearse(&self, client: &kube::Client, path: &str, patch: &Value) -> Result<Answer> {
        let request = http::Request::patch(format!("{path}?dryRun=All&fieldValidation=Strict"))
            .header("content-type", "application/json-patch+json")
            .body(patch.to_string().into_bytes())?;
        match client.request_text(request).await {
            Ok(text) => Ok(Answer::Taken(serde_json::from_str(&text)?)),
            Err(kube::Error::Api(status)) => Ok(refusal(status.code, status.message)),
            Err(error) => Err(error.into()),
        }
    }
}

fn refusal(code: u16, message: String) -> Answer {
    match message.split("ValidatingAdmissionPolicy '").nth(1).and_then(|rest| rest.split('\'').next()) {
        Some(policy) => Answer::Denied { policy: policy.to_owned(), message },
        None => Answer::Invalid(format!("{code}: {message}")),
    }
}

async fn client_of(cluster: &Cluster, account: &str) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let token = cluster.token(EXECUTOR_NAMESPACE, account).await?;
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Ok(kube::Client::try_from(config)?)
}

/// What became of one edit that the cluster's admin could make.
struct Tried {
    edit: Edit,
    /// The workload as it would be.
    after: Value,
    executor: Answer,
    rollback: Answer,
}

/// What became of one field: its first edit that has an effect, `None` if the API server drops them all.
enum Found {
    Effective(Box<Tried>),
    Dropped,
    /// Nobody can make any edit of it.
    Impossible(String),
}

async fn try_field(clients: &Clients, workload: &Workload, edits: Vec<Edit>) -> Result<Found> {
    let mut reasons = BTreeSet::new();
    let mut is_dropped = false;
    for edit in edits {
        let after = match clients.rehearse(&clients.admin, &workload.path, &edit.patch()).await? {
            Answer::Taken(after) => after,
            Answer::Denied { message, .. } | Answer::Invalid(message) => {
                reasons.insert(message);
                continue;
            }
        };
        if same(&workload.object, &after) {
            is_dropped = true;
            continue;
        }
        let executor = clients.rehearse(&clients.executor, &workload.path, &edit.patch()).await?;
        let rollback = clients.rehearse(&clients.rollback, &workload.path, &edit.patch()).await?;
        return Ok(Found::Effective(Box::new(Tried { edit, after, executor, rollback })));
    }
    if is_dropped {
        return Ok(Found::Dropped);
    }
    Ok(Found::Impossible(reasons.into_iter().collect::<Vec<_>>().join("; ")))
}

/// Whether a workload is the same apart from what the API server writes itself.
fn same(before: &Value, after: &Value) -> bool {
    let bare = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(fields) = metadata.as_object_mut() {
            fields.retain(|name, _| {
                !["generation", "managedFields", "resourceVersion"].contains(&name.as_str())
            });
        }
        (metadata, object["spec"].clone())
    };
    bare(before) == bare(after)
}

async fn try_all(clients: &Clients, workload: &Workload, schema: &Schema) -> Result<Vec<(String, Found)>> {
    let limit = Arc::new(Semaphore::new(REHEARSALS_MAX));
    let mut tasks = JoinSet::new();
    for field in schema.fields(workload.kind) {
        let edits = edits(schema, &workload.object, &field);
        let (clients, workload, limit) = (clients.clone(), workload.clone(), Arc::clone(&limit));
        tasks.spawn(async move {
            let _turn = limit.acquire().await;
            let found = try_field(&clients, &workload, edits).await;
            anyhow::Ok((field.pointer.clone(), found.with_context(|| field.pointer)?))
        });
    }
    let mut all = Vec::new();
    while let Some(tried) = tasks.join_next().await {
        all.push(tried??);
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(all)
}

/// What is wrong with how an edit was answered, if anything.
fn complaint(workload: &Workload, pointer: &str, tried: &Tried) -> Option<String> {
    let denied_by =
        |answer: &Answer, wanted: &str| matches!(answer, Answer::Denied { policy, .. } if policy == wanted);
    let what = format!("{} {pointer} by {}", workload.kind, tried.edit.patch());
    if !denied_by(&tried.executor, "aegis-executor-workloads") {
        return Some(format!("the executor's account was not denied {what}: {:?}", tried.executor));
    }
    let is_free = intended::is_free_for_rollbacks(pointer);
    match &tried.rollback {
        Answer::Taken(_) if !is_free => return Some(format!("a rollback may change {what}")),
        answer if is_free && !matches!(answer, Answer::Taken(_)) => {
            return Some(format!("a rollback may not change {what}: {answer:?}"));
        }
        answer if !is_free && !denied_by(answer, "aegis-executor-rollback") => {
            return Some(format!("the policy for rollbacks does not deny {what}: {answer:?}"));
        }
        _ => {}
    }
    // The executor looks before it writes, and must see the same.
    let (before, after) = (&workload.object["spec"]["template"], &tried.after["spec"]["template"]);
    let looked = template_within_bounds(before, after);
    if pointer.starts_with("/spec/template/") && looked.is_ok() != is_free {
        return Some(format!("the executor itself says {looked:?} to {what}"));
    }
    None
}

/// Waits until the policies, which every cluster of the test bed has, are in force.
async fn until_in_force(clients: &Clients, workload: &Workload) -> Result<()> {
    let edit = json!([{ "op": "add", "path": "/metadata/labels/other", "value": "label" }]);
    for client in [&clients.executor, &clients.rollback] {
        until("the policies being in force", WITHIN, async || {
            let answer = clients.rehearse(client, &workload.path, &edit).await?;
            Ok(matches!(answer, Answer::Denied { .. }))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_field_of_a_workload_can_be_changed_but_those_that_are_meant_to_be() -> Result<()> {
    let clients = Clients::open().await?;
    let schema = Schema::read(&clients.cluster.read("/openapi/v3/apis/apps/v1").await?)?;
    let (mut complaints, mut checked) = (Vec::new(), 0);
    for workload in workloads::deploy(&clients).await? {
        until_in_force(&clients, &workload).await?;
        for (pointer, found) in try_all(&clients, &workload, &schema).await? {
            match found {
                Found::Effective(tried) => {
                    checked += 1;
                    complaints.extend(complaint(&workload, &pointer, &tried));
                }
                Found::Dropped => {}
                Found::Impossible(reason) => {
                    // Below a field that is compared as a whole nothing needs an edit of its own.
                    if schema::is_compared(&pointer) && !intended::is_out_of_reach(workload.kind, &pointer) {
                        complaints.push(format!(
                            "no edit of {} {pointer} was found that anybody can make: {reason}",
                            workload.kind
                        ));
                    }
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{} of {checked}:\n{}", complaints.len(), complaints.join("\n"));
    assert!(checked > 600, "only {checked} fields could be edited at all");
    Ok(())
}

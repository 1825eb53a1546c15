//! The writes that the executor makes, and some that a thief of its tokens would like to make.

use aegis_tests::eventually::until;
use aegis_tests::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE};
use anyhow::Result;
use serde_json::{Value, json};

use super::{Answer, Clients, WITHIN, until_in_force, workloads};

/// One write that an account is, or is not, meant to make: a name for it, a path behind the workload's, and the patch.
type Write = (&'static str, &'static str, Value);

fn add(path: &str, value: impl Into<Value>) -> Value {
    let value: Value = value.into();
    json!([{ "op": "add", "path": path, "value": value }])
}

fn meant_of_the_executor() -> Vec<Write> {
    let restart = json!({
        "kubectl.kubernetes.io/restartedAt": "2026-11-20T12:00:00Z", "aegis.dev/action": "a",
        "team": "shop", "example.com/injects": "no",
    });
    vec![
        ("a restart", "", add("/spec/template/metadata/annotations", restart)),
        ("a fence", "", add("/metadata/annotations/aegis.dev~1fence", json!("a/1"))),
        ("no replicas, which its namespace allows", "/scale", add("/spec/replicas", json!(0))),
        ("as many replicas as there may be", "/scale", add("/spec/replicas", json!(1_000))),
    ]
}

fn meant_of_rollbacks() -> Vec<Write> {
    let resumed = json!([
        { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:0" },
        { "op": "add", "path": "/spec/template/metadata/annotations/aegis.dev~1action", "value": "a" },
        { "op": "add", "path": "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt", "value": "t" },
        { "op": "add", "path": "/spec/template/metadata/annotations/checksum~1config", "value": "1" },
        { "op": "replace", "path": "/spec/template/metadata/annotations/team", "value": "web" },
        { "op": "replace", "path": "/spec/template/metadata/labels/version", "value": "1" },
        { "op": "remove", "path": "/spec/paused" },
    ]);
    vec![
        ("an earlier template, and going on with rollouts", "", resumed),
        ("a fence", "", add("/metadata/annotations/aegis.dev~1fence", json!("a/1"))),
    ]
}

fn never() -> Vec<Write> {
    let container = "/spec/template/spec/containers";
    vec![
        ("a label", "", add("/metadata/labels/team", json!("web"))),
        ("an annotation", "", add("/metadata/annotations/aegis.dev~1other", json!("x"))),
        ("an annotation gone", "", json!([{ "op": "remove", "path": "/metadata/annotations/team" }])),
        ("a finalizer", "", add("/metadata/finalizers", json!(["example.com/other"]))),
        ("replicas beside the subresource", "", add("/spec/replicas", json!(3))),
        ("a label of the pods", "", add("/spec/template/metadata/labels/team", json!("web"))),
        (
            "an annotation that injects",
            "",
            add("/spec/template/metadata/annotations/example.com~1injects", json!("yes")),
        ),
        ("another account for the pods", "", add("/spec/template/spec/serviceAccountName", json!("admin"))),
        ("the host's network", "", add("/spec/template/spec/hostNetwork", json!(true))),
        ("another container", "", add(&format!("{container}/-"), json!({ "name": "x", "image": "x:1" }))),
        (
            "containers in another order",
            "",
            json!([
                { "op": "move", "from": format!("{container}/0"), "path": format!("{container}/1") },
            ]),
        ),
        ("no init container", "", json!([{ "op": "remove", "path": "/spec/template/spec/initContainers" }])),
        (
            "a mount that can be written",
            "",
            add(&format!("{container}/0/volumeMounts/1/readOnly"), json!(false)),
        ),
        (
            "a folder of the host instead of a config map",
            "",
            json!([{
                "op": "replace", "path": "/spec/template/spec/volumes/0",
                "value": { "name": "config", "hostPath": { "path": "/" } },
            }]),
        ),
        (
            "other capabilities",
            "",
            add(
                &format!("{container}/0/securityContext"),
                json!({ "capabilities": { "add": ["NET_ADMIN"] } }),
            ),
        ),
    ]
}

#[tokio::test]
async fn each_account_can_make_the_writes_that_it_is_for_and_not_those_of_the_other() -> Result<()> {
    let clients = Clients::open().await?;
    let workload = workloads::deploy(&clients).await?.remove(0);
    let paused = json!({ "spec": { "paused": true } }).to_string();
    let patch = ["-n", &clients.namespace, "patch", "deployment/web", "--type=merge", "-p", &paused];
    clients.cluster.kubectl(patch).await?;
    until_in_force(&clients, &workload).await?;
    let rehearse = async |client: &kube::Client, (_, subresource, patch): &Write| {
        clients.rehearse(client, &format!("{}{subresource}", workload.path), patch).await
    };
    let mut wrong = Vec::new();
    let mut expect = |who: &str, write: &Write, answer: Answer, taken: bool| {
        if matches!(answer, Answer::Taken(_)) != taken {
            wrong.push(format!("{who}: {}: {answer:?}", write.0));
        }
    };
    for write in meant_of_the_executor() {
        expect("executor", &write, rehearse(&clients.executor, &write).await?, true);
        let is_fence = write.0 == "a fence";
        // A template's annotations are a rollback's too; the scale it has no right to.
        let is_of_both = is_fence || write.0 == "a restart";
        expect("rollback", &write, rehearse(&clients.rollback, &write).await?, is_of_both);
    }
    for write in meant_of_rollbacks() {
        expect("rollback", &write, rehearse(&clients.rollback, &write).await?, true);
        expect("executor", &write, rehearse(&clients.executor, &write).await?, write.0 == "a fence");
    }
    for write in never() {
        expect("admin", &write, rehearse(&clients.admin, &write).await?, true);
        expect("executor", &write, rehearse(&clients.executor, &write).await?, false);
        expect("rollback", &write, rehearse(&clients.rollback, &write).await?, false);
    }
    let pausing: Write = ("pausing", "", add("/spec/paused", json!(true)));
    let going_on = ["-n", &clients.namespace, "rollout", "resume", "deployment/web"];
    clients.cluster.kubectl(going_on).await?;
    expect("rollback", &pausing, rehearse(&clients.rollback, &pausing).await?, false);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn replicas_are_bounded_by_annotations_of_the_account_and_without_them_nothing_is_scaled() -> Result<()>
{
    let clients = Clients::open().await?;
    let workload = workloads::deploy(&clients).await?.remove(0);
    until_in_force(&clients, &workload).await?;
    let path = format!("{}/scale", workload.path);
    let to = |replicas: u32| add("/spec/replicas", json!(replicas));
    let bound = async |bounds: &str| {
        let annotation = format!("replicas.aegis.dev/{}{bounds}", clients.namespace);
        let annotate =
            ["-n", EXECUTOR_NAMESPACE, "annotate", "--overwrite", "serviceaccount", EXECUTOR_ACCOUNT];
        clients.cluster.kubectl(annotate.into_iter().chain([annotation.as_str()])).await
    };
    // Bounds, what lies in them, what does not, and what the refusal says; the last ones are of all namespaces.
    let cases: [(&str, Option<u32>, u32, &str); 4] = [
        ("=2-5", Some(5), 6, "may set 2-5 replicas"),
        ("=2-5", Some(2), 1, "may set 2-5 replicas"),
        ("=many", None, 3, "has no bounds"),
        ("-", Some(100), 101, "may set 1-100 replicas"),
    ];
    for (bounds, inside, outside, said) in cases {
        bound(bounds).await?;
        until("the bounds being in force", WITHIN, async || {
            let refused = clients.rehearse(&clients.executor, &path, &to(outside)).await?;
            Ok(matches!(&refused, Answer::Denied { policy, message }
                if policy == "aegis-executor-scale" && message.contains(said)))
        })
        .await?;
        if let Some(inside) = inside {
            let answer = clients.rehearse(&clients.executor, &path, &to(inside)).await?;
            assert!(matches!(answer, Answer::Taken(_)), "{inside} within {bounds}: {answer:?}");
        }
        // Nobody else is held to them.
        let answer = clients.rehearse(&clients.admin, &path, &to(outside)).await?;
        assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
    }
    Ok(())
}

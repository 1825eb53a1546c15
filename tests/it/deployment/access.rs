//! What the executor's service account may do: exactly what the action catalogue needs in allowed namespaces, and
//! nothing elsewhere. Asked of the API server about every resource it lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegis_tests::executor_accounts::{EXECUTOR_USER, ROLLBACK_ACCOUNT, ROLLBACK_USER};
use aegis_tests::paths::binary;
use aegis_tests::process::Launch;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::{daemon_set, deployment, stateful_set};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::installation::{ALLOWED, Installation, items, text};
use crate::actions::scene::{Scene, expect};

/// Questions on their way at one time.
const QUESTIONS_MAX: usize = 16;
/// Verbs that no resource lists and some authorizer knows.
const SPECIAL_VERBS: [(&str, &str, &str); 8] = [
    ("rbac.authorization.k8s.io", "roles", "escalate"),
    ("rbac.authorization.k8s.io", "roles", "bind"),
    ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
    ("rbac.authorization.k8s.io", "clusterroles", "bind"),
    ("", "users", "impersonate"),
    ("", "groups", "impersonate"),
    ("", "serviceaccounts", "impersonate"),
    ("*", "*", "*"),
];
/// Any verb is tried on every resource, also one that the resource does not list.
const USUAL_VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// API group, resource with subresource, verb.
type Right = (String, String, String);

fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// The rows of one account in the table, as the executor prints it.
async fn table(account: &str) -> Result<BTreeSet<Right>> {
    let printed = Launch::new(binary("aegis-executor")?).arg("rights").output().await?;
    let rows: Value = serde_json::from_str(&printed)?;
    items(&rows)
        .filter(|row| row["account"] == account)
        .map(|row| Ok(right(text(&row["apiGroup"])?, text(&row["resource"])?, text(&row["verb"])?)))
        .collect()
}

fn rights_of(rules: &Value) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for rule in items(rules) {
        assert!(rule.get("resourceNames").is_none(), "{rule}");
        for group in items(&rule["apiGroups"]) {
            for resource in items(&rule["resources"]) {
                for verb in items(&rule["verbs"]) {
                    rights.insert(right(text(group)?, text(resource)?, text(verb)?));
                }
            }
        }
    }
    Ok(rights)
}

#[tokio::test]
async fn the_roles_in_the_manifests_are_the_table_of_the_action_catalogue() -> Result<()> {
    let (installation, table, rollbacks) =
        (Installation::shared().await?, table("executor").await?, table("rollback").await?);
    let roles = installation.objects("Role");
    assert_eq!(roles.len(), 2, "one in each overlay");
    for (overlay, role) in roles {
        assert_eq!(rights_of(&role["rules"])?, table, "{overlay}");
    }
    let with_rollback = installation.with_rollback.objects.iter().filter(|object| object["kind"] == "Role");
    for role in with_rollback {
        let is_rollback = role["metadata"]["name"] == ROLLBACK_ACCOUNT;
        assert_eq!(rights_of(&role["rules"])?, if is_rollback { rollbacks.clone() } else { table.clone() });
    }
    Ok(())
}

/// The right that a request such as `PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale?…` needs.
fn right_of(request: &str) -> Option<Right> {
    let (method, path) = request.split_once(' ')?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (root, rest) = path.split_once("/namespaces/")?;
    let group = root.strip_prefix("/apis/").and_then(|root| root.split('/').next()).unwrap_or_default();
    let parts: Vec<_> = rest.split('/').skip(1).collect();
    let resource = match parts[..] {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        [resource, ..] => resource.to_owned(),
        [] => return None,
    };
    let verb = match (method, parts.len()) {
        ("GET", 1) if query.split('&').any(|part| matches!(part, "watch=true" | "watch=1")) => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("PATCH", _) => "patch",
        ("POST", _) => "create",
        _ => return Some(right(group, &resource, method)),
    };
    Some(right(group, &resource, verb))
}

#[tokio::test]
async fn every_right_in_the_table_is_used_by_some_action() -> Result<()> {
    let executor_settings = vec![("ROLLBACK_SOAK_SECONDS".to_owned(), "1".to_owned())];
    let options = StackOptions { api_server_proxies: true, executor_settings, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    let manifests =
        [deployment("web", "app:1", 2), stateful_set("db", "app:1", 1), daemon_set("agent", "app:1")];
    scene.deploy(&manifests).await?;
    let pods = scene.stack.kubernetes().pods(scene.stack.namespace(), "web").await?;
    let pod = text(&pods.first().context("web has pods")?["metadata"]["name"])?;
    for (action, kind, name, params, code) in [
        ("restart-pod", "Pod", pod, json!({}), "pod-replaced"),
        ("restart", "Deployment", "web", json!({}), "rollout-complete"),
        ("restart", "StatefulSet", "db", json!({}), "rollout-complete"),
        ("restart", "DaemonSet", "agent", json!({}), "rollout-complete"),
        ("scale", "Deployment", "web", json!({ "replicas": 1 }), "rollout-complete"),
        ("scale", "StatefulSet", "db", json!({ "replicas": 2 }), "rollout-complete"),
    ] {
        expect(&scene.carry_out(&scene.stack.action(action, kind, name, &params)).await?, "succeeded", code);
    }
    scene.deploy(&[deployment("web", "app:2", 1), stateful_set("db", "app:2", 2)]).await?;
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db")] {
        let rollback = scene.stack.action("rollback", kind, name, &json!({ "toRevision": 1 }));
        expect(&scene.carry_out(&rollback).await?, "succeeded", "rollout-complete");
    }

    let seen = scene.stack.executor(0).api_server()?.seen();
    let used: BTreeSet<_> = seen.iter().filter_map(|request| right_of(request)).collect();
    let table = table("executor").await?;
    let unknown: Vec<_> = used.difference(&table).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
    let idle: Vec<_> = table.difference(&used).collect();
    assert!(idle.is_empty(), "used by no action: {idle:?}");
    Ok(())
}

/// Every verb on every resource that the API server lists.
async fn every_right(installation: &Installation) -> Result<BTreeSet<Right>> {
    let read = async |path: &str| -> Result<Value> {
        Ok(serde_json::from_str(&installation.cluster.read(path).await?)?)
    };
    let mut versions = vec![(String::new(), "/api/v1".to_owned())];
    for group in items(&read("/apis").await?["groups"]) {
        let version = text(&group["preferredVersion"]["groupVersion"])?;
        versions.push((text(&group["name"])?.to_owned(), format!("/apis/{version}")));
    }
    let mut rights: BTreeSet<_> =
        SPECIAL_VERBS.iter().map(|(group, name, verb)| right(group, name, verb)).collect();
    for (group, path) in versions {
        for resource in items(&read(&path).await?["resources"]) {
            let name = text(&resource["name"])?;
            let listed = items(&resource["verbs"]).filter_map(Value::as_str);
            let verbs: BTreeSet<_> = listed.chain(USUAL_VERBS).collect();
            rights.extend(verbs.into_iter().map(|verb| right(&group, name, verb)));
        }
    }
    Ok(rights)
}

/// Which of the rights somebody has in a namespace, or, where it is empty, in all of them.
async fn granted(
    client: &kube::Client,
    user: &str,
    namespace: &str,
    rights: &BTreeSet<Right>,
) -> Result<BTreeSet<Right>> {
    let limit = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut asked = JoinSet::new();
    let home = user.split(':').nth(2).context("a service account")?;
    let groups =
        json!(["system:serviceaccounts", format!("system:serviceaccounts:{home}"), "system:authenticated"]);
    for right in rights.clone() {
        let (group, resource, verb) = &right;
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": user, "groups": groups, "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group,
                "resource": resource, "subresource": subresource,
            } },
        });
        let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("content-type", "application/json")
            .body(review.to_string().into_bytes())?;
        let (client, limit) = (client.clone(), limit.clone());
        asked.spawn(async move {
            let _turn = limit.acquire().await;
            let answer: Value = serde_json::from_str(&client.request_text(request).await?)?;
            let allowed = answer["status"]["allowed"].as_bool().context("no answer to a review")?;
            anyhow::Ok(allowed.then_some(right))
        });
    }
    let mut granted = BTreeSet::new();
    while let Some(answered) = asked.join_next().await {
        granted.extend(answered??);
    }
    Ok(granted)
}

/// The rules that hold for somebody in a namespace.
async fn rules(client: &kube::Client, user: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
        .header("content-type", "application/json")
        .header("impersonate-user", user)
        .body(review.to_string().into_bytes())?;
    let answer: Value = serde_json::from_str(&client.request_text(request).await?)?;
    assert_eq!(answer["status"]["incomplete"], false, "{answer}");
    let rules = items(&answer["status"]["resourceRules"]).chain(items(&answer["status"]["nonResourceRules"]));
    Ok(rules.map(Value::to_string).collect())
}

#[tokio::test]
async fn the_executor_may_do_exactly_that_in_allowed_namespaces_and_nothing_elsewhere() -> Result<()> {
    let (installation, table, rollbacks) =
        (Installation::shared().await?, table("executor").await?, table("rollback").await?);
    let client = installation.cluster.client().await?;
    let rights = every_right(&installation).await?;
    assert!(table.is_subset(&rights), "the API server does not list {:?}", table.difference(&rights));

    // What an account has that nobody ever bound anything to.
    let everybodys = granted(&client, "system:serviceaccount:bank:nobody", ALLOWED, &rights).await?;
    let asks_about_itself = |(group, resource, verb): &Right| {
        (group.ends_with(".k8s.io") && resource.starts_with("selfsubject") && verb == "create")
            || resource == "clustertrustbundles"
    };
    assert!(everybodys.iter().all(asks_about_itself), "{everybodys:?}");

    for (user, table) in [(EXECUTOR_USER, table), (ROLLBACK_USER, rollbacks)] {
        let in_allowed = granted(&client, user, ALLOWED, &rights).await?;
        let expected: BTreeSet<_> = table.union(&everybodys).cloned().collect();
        assert_eq!(in_allowed, expected, "{user}");
        for elsewhere in ["", "aegis-system"] {
            assert_eq!(granted(&client, user, elsewhere, &rights).await?, everybodys, "{user} `{elsewhere}`");
        }
    }
    let control_plane = "system:serviceaccount:aegis-control-plane:aegis-control-plane";
    assert_eq!(granted(&client, control_plane, "", &rights).await?, everybodys);

    // All rules of RBAC, the test bed's only authorizer, in each of the other namespaces.
    let namespaces: Value = serde_json::from_str(&installation.cluster.read("/api/v1/namespaces").await?)?;
    let names = items(&namespaces["items"]).map(|object| text(&object["metadata"]["name"]));
    for namespace in names.collect::<Result<Vec<_>>>()? {
        let of = async |user: &str| rules(&client, user, namespace).await;
        let nobodys = of("system:serviceaccount:bank:nobody").await?;
        for user in [EXECUTOR_USER, ROLLBACK_USER] {
            let executors = of(user).await?;
            assert_eq!(executors == nobodys, namespace != ALLOWED, "{user} in {namespace}: {executors:?}");
        }
        assert_eq!(of(control_plane).await?, nobodys, "{namespace}");
    }
    Ok(())
}

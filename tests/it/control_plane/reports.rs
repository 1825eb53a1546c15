//! What an executor says of itself when it is asked about a target.

use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::actions::scene::{Scene, expect};

async fn cluster(scene: &Scene) -> Result<Value> {
    let listed: Value = serde_json::from_str(&scene.stack.command(["cluster", "list"]).await?)?;
    Ok(listed[0].clone())
}

#[tokio::test]
async fn a_cluster_shows_its_executors_allowlist_and_each_change_of_it_is_an_entry() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let unasked = cluster(&scene).await?;
    assert_eq!((&unasked["allowedNamespaces"], &unasked["ledger"]), (&json!(null), &json!(null)));
    scene.deploy_small(&["web"]).await?;
    for _ in 0..2 {
        expect(&scene.carry_out(&scene.scale("web", 1)).await?, "succeeded", "already-done");
    }
    let asked = cluster(&scene).await?;
    let namespace = scene.stack.namespace();
    assert_eq!(asked["allowedNamespaces"], json!([namespace]));
    assert_eq!(asked["name"], scene.stack.cluster_name());

    // As long as nobody asks, nobody knows. Also a question that is refused is answered with it.
    let more = format!("zoo,{namespace}");
    scene.stack.executor(0).restart_with([("ALLOWED_NAMESPACES", &more)]).await?;
    assert_eq!(cluster(&scene).await?, asked);
    let mut elsewhere = scene.scale("web", 1);
    elsewhere["target"]["namespace"] = json!("default");
    expect(&scene.carry_out(&elsewhere).await?, "refused", "namespace-not-allowed");
    let changed = cluster(&scene).await?;
    assert_eq!(changed["allowedNamespaces"], json!([namespace, "zoo"]));
    assert_eq!(changed["ledger"], asked["ledger"]);

    let path = "/api/v1/audit/entries?kind=cluster.reported";
    let page = scene.admin.get(path).await?.expect(200)?.body;
    let entries = page["items"].as_array().context("a page has items")?;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (&entry["principal"], &entry["data"]["allowedNamespaces"], &entry["data"]["before"]))
        .collect();
    let principal = json!(format!("executor:{}", scene.stack.cluster_name()));
    let before = json!({ "ledger": asked["ledger"], "allowedNamespaces": asked["allowedNamespaces"] });
    assert_eq!(
        told,
        [
            (&principal, &changed["allowedNamespaces"], &before),
            (&principal, &asked["allowedNamespaces"], &json!(null)),
        ]
    );
    Ok(())
}

//! Plans as callers, policies and people see them.

use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::Result;
use serde_json::json;

use super::scene::{Scene, TURNED_DOWN, expect, id_of};

#[tokio::test]
async fn policy_bounds_what_a_rollout_takes_down_before_it_takes_anything_down() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let mut recreated = deployment("recreated", "app:1", 4);
    recreated["spec"]["strategy"] = json!({ "type": "Recreate" });
    scene.deploy(&[deployment("rolling", "app:1", 4), recreated]).await?;
    let veto = json!({
        "id": "enough-left", "effect": "DENY", "reason": "too much of the service would be down",
        "when": { "any": [
            { "path": "target.unavailableMaxPercent", "op": "gt", "value": 30 },
            { "path": "target.unavailableMaxPercent", "op": "absent" },
        ] },
    });
    let policy = json!({ "schema": "aegis.policy/v1", "name": "enough", "description": "Enough is left.", "rules": [veto] });
    scene.admin.activate_policy(&policy).await?;

    let action = scene.carry_out(&scene.restart("rolling")).await?;
    expect(&action, "succeeded", "rollout-complete");
    let plan = &action["plan"];
    assert_eq!((&plan["podsWanted"], &plan["podsUnavailableMax"]), (&json!(4), &json!(1)), "{action}");
    assert!(plan["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{action}");

    let denied = scene.asked(&scene.restart("recreated"), 0).await?.expect(403)?;
    assert!(denied.text.contains("too much of the service would be down"), "{}", denied.text);
    let action = scene.action(denied.body["actionId"].as_str().unwrap_or_default()).await?;
    assert_eq!(action["plan"]["podsUnavailableMax"], 4, "{action}");
    assert!(scene.writes(&id_of(&action)?)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_an_autoscaler_owns_is_refused_before_anything_is_ordered() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    scene.kubectl(&["autoscale", "deployment/web", "--min=1", "--max=5", "--cpu=50%"]).await?;
    let action = scene.carry_out(&scene.scale("web", 3)).await?;
    expect(&action, "refused", "autoscaler-owned");
    scene.expect_story(&id_of(&action)?, &TURNED_DOWN).await?;
    assert_eq!(scene.writes_in_namespace()?, 0);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_leaves_everything_as_it_is() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy(&[deployment("web", "app:1", 2)]).await?;
    let mut request = scene.scale("web", 5);
    request["dryRun"] = json!(true);
    let action = scene.carry_out(&request).await?;
    expect(&action, "succeeded", "dry-run");
    assert_eq!(action["plan"]["changes"], json!(["replicas: 2 → 5"]), "{action}");
    assert_eq!(action["plan"]["undo"], "scale to 2 again");
    assert_eq!(scene.object("deployment/web").await?["spec"]["replicas"], 2);
    Ok(())
}

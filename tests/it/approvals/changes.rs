//! What makes approvals void, what does not, and when limits take their room.

use aegis_tests::paths::random_name;
use anyhow::Result;
use serde_json::{Value, json};

use super::people::{answer, approve, ask, demand, missing, scene};
use crate::actions::scene::{Scene, answered, expect, id_of};
use crate::limits::scene::expect_limited;

async fn kinds(scene: &Scene, action: &Value) -> Result<Vec<String>> {
    let story = scene.story(&id_of(action)?).await?;
    Ok(story.iter().filter_map(|entry| entry["kind"].as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn approvals_outlive_changes_of_other_policies_and_not_those_of_what_was_approved() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 2 }]), &["web", "api"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let ben = scene.stack.new_person("ben", &["sre"]).await?;

    let action = ask(&scene, "web").await?;
    approve(&anna, &action).await?;
    let unrelated = json!({ "match": { "actions": ["scale"] }, "dryRunOnly": true });
    demand(&scene, "unrelated", unrelated).await?;
    approve(&ben, &action).await?;
    expect(&scene.ended(&id_of(&action)?).await?, "succeeded", "rollout-complete");

    let action = ask(&scene, "api").await?;
    approve(&anna, &action).await?;
    let limit = json!([{ "type": "concurrency", "per": "target", "max": 5 }]);
    demand(&scene, "unrelated", json!({ "limits": limit })).await?;
    approve(&ben, &action).await?;
    let id = id_of(&action)?;
    until_void(&scene, &id).await?;
    // People are asked something else now, and everybody anew.
    let asked = anna.get("/api/v1/approvals").await?.expect(200)?.body["items"][0].clone();
    assert_eq!((asked["id"].as_str(), missing(&asked)), (Some(id.as_str()), 2), "{asked}");
    assert_ne!(asked["approval"]["digest"], action["approval"]["digest"]);
    approve(&anna, &asked).await?;
    approve(&ben, &asked).await?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");
    let kinds = kinds(&scene, &action).await?;
    assert_eq!(kinds.iter().filter(|kind| *kind == "approval.requested").count(), 2, "{kinds:?}");
    Ok(())
}

#[tokio::test]
async fn approvals_are_void_when_the_target_has_another_template() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 1 }]), &["web"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let action = ask(&scene, "web").await?;
    scene.kubectl(&["set", "image", "deployment/web", "main=app:2"]).await?;
    scene.stack.kubernetes().wait_rolled_out(scene.stack.namespace(), "deployment/web").await?;
    approve(&anna, &action).await?;
    let id = id_of(&action)?;
    until_void(&scene, &id).await?;
    assert!(scene.writes(&id)?.is_empty());
    // A new approval is for what stands there now.
    approve(&anna, &action).await?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");
    Ok(())
}

#[tokio::test]
async fn approvals_are_void_when_a_rollback_would_return_to_another_revision() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 1 }]), &["web"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let (kubernetes, namespace) = (scene.stack.kubernetes(), scene.stack.namespace());
    for image in ["main=app:2", "main=app:3"] {
        scene.kubectl(&["set", "image", "deployment/web", image]).await?;
        kubernetes.wait_rolled_out(namespace, "deployment/web").await?;
    }
    let request = scene.stack.action("rollback", "Deployment", "web", &json!({}));
    let action = scene.asked(&request, 0).await?.expect(202)?.body;
    let id = id_of(&action)?;
    assert_eq!(action["plan"]["toRevision"], 2, "{action}");
    // Nothing of the Deployment changes, but what it would return to is not there any more.
    kubernetes.drop_revision(namespace, "web", 2).await?;
    approve(&anna, &action).await?;
    until_void(&scene, &id).await?;
    assert!(scene.writes(&id)?.is_empty());
    approve(&anna, &action).await?;
    expect(&scene.ended(&id).await?, "succeeded", "rollout-complete");
    assert_eq!(
        scene.object("deployment/web").await?["spec"]["template"]["spec"]["containers"][0]["image"],
        "app:1"
    );
    Ok(())
}

#[tokio::test]
async fn limits_take_their_room_only_when_nobody_is_missing_any_more() -> Result<()> {
    let scene = scene(json!([{ "role": "sre", "min": 1 }]), &["web", "api"]).await?;
    let anna = scene.stack.new_person("anna", &["sre"]).await?;
    let limit = json!([{ "type": "rate", "per": "namespace", "max": 1, "seconds": 3600 }]);
    demand(&scene, "slowly", json!({ "limits": limit })).await?;
    let first = ask(&scene, "web").await?;
    let second = ask(&scene, "api").await?;
    approve(&anna, &second).await?;
    expect(&scene.ended(&id_of(&second)?).await?, "succeeded", "rollout-complete");
    // Decided again at the last approval, there is no room any more.
    approve(&anna, &first).await?;
    let denied = scene.ended(&id_of(&first)?).await?;
    expect(&denied, "denied", "policy-denied");
    let message = denied["outcome"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("LIMIT_EXCEEDED (1 in 3600 s per namespace)"), "{denied}");
    // Who is denied learns whom to ask when there is room: automation their roles, people their names.
    let denied = scene.asked(&scene.restart("web"), 0).await?;
    expect_limited(&denied, "rate");
    assert_eq!(
        denied.body["approvals"],
        json!([{ "role": "sre", "min": 1, "missing": 1 }]),
        "{}",
        denied.text
    );
    let (key, again) = (random_name(32), scene.restart("api"));
    for when in ["first", "repeated"] {
        let denied = answered(|| scene.admin.ask_with_key(&key, &again, 0)).await?;
        expect_limited(&denied, "rate");
        assert_eq!(denied.body["approvals"][0]["people"], json!(["anna@example.com"]), "{when}");
    }
    assert_eq!(answer(&anna, "approve", &first).await?.code(), "not-awaiting-approval");
    Ok(())
}

async fn until_void(scene: &Scene, id: &str) -> Result<()> {
    use aegis_tests::eventually::until;
    until("the approvals being void", crate::actions::scene::WITHIN, async || {
        Ok(scene.story(id).await?.iter().any(|entry| entry["kind"] == "approval.voided"))
    })
    .await?;
    assert_eq!(scene.action(id).await?["state"], "awaiting-approval");
    Ok(())
}

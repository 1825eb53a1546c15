//! A change that turned out bad: put back, told to people, and left alone by automation until one of them has looked.

use aegis_tests::eventually::eventually;
use aegis_tests::paths::random_name;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::executor::bench::now;

use super::scene::{Scene, WITHIN, answered, expect, id_of};

const SEEN: &str = "--for=jsonpath={.status.observedGeneration}=1";

impl Scene {
    /// A Deployment that runs, with an earlier revision that cannot.
    async fn deploy_over_bad_revision(&self) -> Result<()> {
        let earlier = deployment("web", "app:bad-pull", 2);
        self.stack.kubernetes().apply_in(self.stack.namespace(), earlier).await?;
        self.kubectl(&["wait", "deployment/web", SEEN]).await?;
        self.deploy(&[deployment("web", "app:1", 2)]).await
    }

    /// Asks as the admin, and returns the action when it has ended.
    async fn by_person(&self, request: &Value) -> Result<Value> {
        let key = random_name(32);
        let asked = answered(|| self.admin.ask_with_key(&key, request, 0)).await?.expect(202)?.body;
        let path = format!("/api/v1/actions/{}?wait=60", id_of(&asked)?);
        eventually("the end of a person's action", WITHIN, async || {
            let action = self.admin.get(&path).await?.expect(200)?.body;
            Ok(action["outcome"].is_object().then_some(action))
        })
        .await
    }

    fn rollback(&self) -> Value {
        self.stack.action("rollback", "Deployment", "web", &json!({}))
    }
}

#[tokio::test]
async fn a_change_that_was_put_back_keeps_automation_off_until_a_person_lifts_that() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_over_bad_revision().await?;

    let returned = scene.carry_out(&scene.rollback()).await?;

    expect(&returned, "returned", "image-pull-failed");
    assert_eq!(returned["outcome"]["helped"], "false");
    let id = id_of(&returned)?;
    assert_eq!(scene.writes(&id)?.len(), 2);
    let object = scene.object("deployment/web").await?;
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "app:1");
    let story = scene.story(&id).await?;
    let told: Vec<_> = story.iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(told[4..], ["receipt.received", "target.held", "action.ended"], "{told:?}");
    assert_eq!(story[2]["data"]["automaticReturn"], json!({ "withinSeconds": 300 }));

    // Automation is told so with a code, every time, and its action stands denied.
    let denied = scene.asked(&scene.restart("web"), 0).await?.expect(403)?;
    assert_eq!(denied.body["code"], "target-on-hold");
    let denied = scene.action(denied.body["actionId"].as_str().context("it names the action")?).await?;
    expect(&denied, "denied", "target-on-hold");
    let mut rehearsed = scene.restart("web");
    rehearsed["dryRun"] = json!(true);
    expect(&scene.carry_out(&rehearsed).await?, "succeeded", "dry-run");
    // People may act.
    let by_person = scene.by_person(&scene.restart("web")).await?;
    expect(&by_person, "succeeded", "rollout-complete");

    let holds = scene.admin.get("/api/v1/holds").await?.expect(200)?.body;
    assert_eq!(holds["items"][0]["actionId"], id.as_str());
    assert_eq!(holds["items"][0]["target"], returned["target"]);
    let lift = format!("/api/v1/actions/{id}/lift-hold");
    scene.admin.post(&lift, &json!({})).await?.expect(204)?;
    assert_eq!(scene.admin.post(&lift, &json!({})).await?.expect(409)?.body["code"], "not-on-hold");
    let holds = scene.admin.get("/api/v1/holds").await?.expect(200)?.body;
    assert_eq!(holds["items"], json!([]));
    expect(&scene.carry_out(&scene.restart("web")).await?, "succeeded", "rollout-complete");
    let kinds: Vec<_> = scene.entries(&id).await?.iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds.last(), Some(&json!("target.hold-lifted")));
    Ok(())
}

#[tokio::test]
async fn what_automation_had_queued_before_its_target_was_held_is_denied_before_it_is_ordered() -> Result<()>
{
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_over_bad_revision().await?;
    let returned = scene.ask(&scene.rollback()).await?;
    let waiting = scene.ask(&scene.restart_anyway("web")).await?;

    expect(&scene.ended(&returned).await?, "returned", "image-pull-failed");
    let denied = scene.ended(&waiting).await?;

    expect(&denied, "denied", "target-on-hold");
    assert!(scene.writes(&waiting)?.is_empty());
    Ok(())
}

/// A step is typically seen half a second after it was done; a busy machine is given much more.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(20);

#[tokio::test]
async fn every_step_is_seen_soon_after_it_was_done_and_in_its_order() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_over_bad_revision().await?;
    let id = scene.ask(&scene.rollback()).await?;

    let (mut names, mut slowest) = (Vec::new(), SignedDuration::ZERO);
    let ended = eventually("the end of the action", WITHIN, async || {
        let path = format!("/api/v1/actions/{id}?wait=10&steps={}", names.len());
        let action = scene.client.get(&path).await?.expect(200)?.body;
        let steps = action.get("progress").unwrap_or(&action["outcome"]["steps"]);
        for step in steps.as_array().into_iter().flatten().skip(names.len()) {
            let done_at: Timestamp = step["at"].as_str().context("a step has a time")?.parse()?;
            slowest = slowest.max(now().duration_since(done_at));
            names.push(step["name"].as_str().context("a step has a name")?.to_owned());
        }
        Ok(action["outcome"].is_object().then_some(action))
    })
    .await?;

    println!("the slowest of {} steps was seen after {slowest:?}", names.len());
    assert!(slowest < SEEN_WITHIN, "{slowest:?}");
    let told: Vec<_> = ended["outcome"]["steps"].as_array().into_iter().flatten().collect();
    assert_eq!(names, told.iter().filter_map(|step| step["name"].as_str()).collect::<Vec<_>>());
    assert!(ended["progress"].is_null(), "{ended}");
    for step in ["accepted", "checked", "written", "noticed", "judged", "returning", "returned", "finished"] {
        assert!(names.iter().any(|name| name == step), "{step} in {names:?}");
    }
    Ok(())
}

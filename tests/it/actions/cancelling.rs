//! Withdrawing what waits, and what comes of withdrawing too late.

use std::sync::Arc;

use aegis_tests::stack::StackOptions;
use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;

use super::scene::{ORDERED, Scene, WITHDRAWN, expect};

#[tokio::test]
async fn an_action_behind_another_is_cancelled_for_good_and_the_next_one_goes_on() -> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    let busy = scene.occupy("web").await?;
    let withdrawn = scene.ask(&scene.scale("web", 7)).await?;
    let next = scene.ask(&scene.scale("web", 2)).await?;
    let cancel = |id: &str| format!("/api/v1/actions/{id}/cancel");

    let first = scene.client.post(&cancel(&withdrawn), &json!({})).await?.expect(200)?.body;
    let again = scene.admin.post(&cancel(&withdrawn), &json!({})).await?.expect(200)?.body;
    expect(&first, "cancelled", "cancelled");
    assert_eq!(first, again);
    let running = scene.client.post(&cancel(&busy), &json!({})).await?.expect(409)?;
    assert_eq!((running.code(), &running.body["state"]), ("not-cancellable", &json!("running")));

    scene.mend("web").await?;
    expect(&scene.ended(&busy).await?, "succeeded", "rollout-complete");
    expect(&scene.ended(&next).await?, "succeeded", "rollout-complete");
    let over = scene.client.post(&cancel(&next), &json!({})).await?.expect(409)?;
    assert_eq!((over.code(), &over.body["state"]), ("not-cancellable", &json!("succeeded")));
    scene.expect_story(&withdrawn, &WITHDRAWN).await?;
    assert!(scene.writes(&withdrawn)?.is_empty());
    assert_eq!(scene.object("deployment/web").await?["spec"]["replicas"], 2);
    Ok(())
}

#[tokio::test]
async fn of_a_cancellation_and_a_claim_exactly_one_wins() -> Result<()> {
    let scene = Arc::new(Scene::open(StackOptions::default()).await?);
    let names: Vec<_> = (0..8).map(|number| format!("web-{number}")).collect();
    scene.deploy_small(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;

    let mut races = JoinSet::new();
    for name in names {
        let scene = Arc::clone(&scene);
        races.spawn(async move {
            let id = scene.ask(&scene.scale(&name, 2)).await?;
            let status = scene.posted(&format!("/api/v1/actions/{id}/cancel")).await?.status;
            anyhow::Ok((id, status))
        });
    }
    for (id, status) in races.join_all().await.into_iter().collect::<Result<Vec<_>>>()? {
        let action = scene.ended(&id).await?;
        if status == 200 {
            expect(&action, "cancelled", "cancelled");
            scene.expect_story(&id, &WITHDRAWN).await?;
            assert!(scene.writes(&id)?.is_empty());
        } else {
            assert_eq!(status, 409);
            expect(&action, "succeeded", "rollout-complete");
            scene.expect_story(&id, &ORDERED).await?;
            scene.only_write(&id)?;
        }
    }
    Ok(())
}

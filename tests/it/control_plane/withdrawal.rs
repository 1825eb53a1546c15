//! Ending actions by hand: cancelling before the order, closing what nobody can resolve.

use aegis_tests::eventually::eventually;
use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

use super::log::{entries, story};

async fn stack_with_workload() -> Result<Stack> {
    let options = StackOptions { order_proxy: true, ..StackOptions::default() };
    let stack = Stack::start(options).await?;
    stack.kubernetes().apply_in(stack.namespace(), deployment("web", "app:1", 1)).await?;
    stack.kubernetes().wait_rolled_out(stack.namespace(), "deployment/web").await?;
    stack.allow_everything().await?;
    Ok(stack)
}

fn path(action: &Value) -> Result<String> {
    Ok(format!("/api/v1/actions/{}", action["id"].as_str().context("an action has an id")?))
}

#[tokio::test]
async fn an_action_is_cancelled_while_it_waits_and_not_after() -> Result<()> {
    let stack = stack_with_workload().await?;
    let client = stack.client()?;
    let request = stack.action("restart", "Deployment", "web", &json!({}));
    // The first acting order, after the observing one, stays on its way and keeps the target busy.
    let mut hold = stack.orders()?.hold_after(1, Matching::any(), Moment::BeforePassingOn);
    let running = client.ask(&request, 0).await?.expect(202)?.body;
    hold.reached().await?;
    let waiting = client.ask(&request, 0).await?.expect(202)?.body;

    let other = stack.new_client("other-bot", &stack.admin_user().email).await?;
    let foreign = stack.caller_of(&other)?.post(&format!("{}/cancel", path(&waiting)?), &json!({})).await?;
    assert_eq!(foreign.status, 404);
    let cancelled = client.post(&format!("{}/cancel", path(&waiting)?), &json!({})).await?.expect(200)?.body;
    assert_eq!(
        (&cancelled["state"], &cancelled["outcome"]["code"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    let again = client.post(&format!("{}/cancel", path(&waiting)?), &json!({})).await?.expect(200)?.body;
    assert_eq!(again, cancelled, "again is the same");
    let told = story(&stack, &waiting["id"]).await?;
    assert_eq!(told, ["action.requested", "decision.made", "action.intent", "action.ended"]);

    let too_late = client.post(&format!("{}/cancel", path(&running)?), &json!({})).await?.expect(409)?;
    assert_eq!((too_late.code(), &too_late.body["state"]), ("not-cancellable", &json!("running")));
    hold.release()?;
    let ended = client.get(&format!("{}?wait=60", path(&running)?)).await?.expect(200)?.body;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    Ok(())
}

#[tokio::test]
async fn it_takes_two_people_to_close_what_nobody_can_resolve() -> Result<()> {
    let stack = stack_with_workload().await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let second = stack.new_person("berta", &["admin"]).await?;
    let request = stack.action("restart", "Deployment", "web", &json!({}));
    // The acting order goes out and is lost, and so is every question about it.
    let mut hold = stack.orders()?.hold_after(1, Matching::any(), Moment::BeforePassingOn);
    let action = client.ask(&request, 0).await?.expect(202)?.body;
    let path = path(&action)?;
    hold.reached().await?;
    assert_eq!(admin.post(&format!("{path}/close"), &json!({})).await?.expect(409)?.code(), "not-closable");
    let _cut_off = stack.orders()?.cut_off();
    drop(hold);
    eventually("the action is unknown", Duration::from_secs(60), || async {
        let action = client.get(&path).await?.expect(200)?.body;
        ensure!(action["state"] == "unknown", "it is {}", action["state"]);
        Ok(Some(()))
    })
    .await?;

    for _ in 0..2 {
        let once = admin.post(&format!("{path}/close"), &json!({})).await?.expect(200)?.body;
        assert_eq!(once["state"], "unknown", "one person is not two");
    }
    assert_eq!(client.post(&format!("{path}/close"), &json!({})).await?.expect(403)?.code(), "forbidden");
    let closed = second.post(&format!("{path}/close"), &json!({})).await?.expect(200)?.body;
    assert_eq!((&closed["state"], &closed["outcome"]["code"]), (&json!("failed"), &json!("unresolved")));
    let id = action["id"].as_str().context("an id")?;
    let requests = entries(&admin, &format!("actionId={id}&kind=action.close-requested")).await?;
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_ne!(requests[0]["principal"], requests[1]["principal"]);
    Ok(())
}

//! Sixty-four requests at once at two control planes.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::eventually::eventually;
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::task::JoinSet;

use super::scene::{activate, asked, deploy_empty, expect_limited, touch};
use crate::actions::scene::{Scene, WITHIN, expect, id_of};
use crate::dispatch::held_claims::HeldClaims;

const REQUESTS: usize = 64;

/// A stack with as many workloads as requests, so that none waits for another on its target.
async fn scene() -> Result<(Scene, Vec<String>)> {
    // An order that is acted on too late is refused and gives its room back; none is here.
    let options = StackOptions { control_planes: 2, order_lifetime_seconds: 60, ..StackOptions::default() };
    let scene = Scene::open(options).await?;
    let names: Vec<String> = (0..REQUESTS).map(|number| format!("web-{number}")).collect();
    deploy_empty(&scene, &names).await?;
    Ok((scene, names))
}

/// A client of its own for one storm, so that limits per principal tell storms apart.
async fn client(scene: &Scene, name: &str) -> Result<Caller> {
    let client = scene.stack.new_client(name, &scene.stack.admin_user().email).await?;
    scene.stack.caller_of(&client)
}

/// Demands limits of one client.
async fn bind(scene: &Scene, client: &str, limits: Value) -> Result<()> {
    let principals = json!([format!("client:{client}")]);
    activate(scene, client, json!({ "match": { "principals": principals }, "limits": limits })).await
}

/// All requests at once, every other one at the other control plane. All are answered.
async fn storm(scene: &Scene, caller: &Caller, requests: Vec<Value>) -> Result<(Vec<Answer>, Vec<Answer>)> {
    assert_eq!(requests.len(), REQUESTS);
    let mut asking = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        let caller = caller.at(scene.stack.control_plane(number % 2).url());
        asking.spawn(async move { asked(&caller, &request).await });
    }
    let answers = asking.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(deadlocks(scene).await?, 0);
    if let Some(answer) = answers.iter().find(|answer| answer.status >= 500) {
        bail!("{}\n{}", answer.text, faults(scene)?);
    }
    Ok(answers.into_iter().partition(|answer| answer.status == 202))
}

/// What the control planes logged of faults of their own.
fn faults(scene: &Scene) -> Result<String> {
    let mut lines = String::new();
    for file in std::fs::read_dir(scene.stack.logs())? {
        let text = std::fs::read_to_string(file?.path())?;
        lines.extend(text.lines().filter(|line| line.contains("ERROR")).map(|line| format!("{line}\n")));
    }
    Ok(lines)
}

async fn deadlocks(scene: &Scene) -> Result<i64> {
    let mut connection = PgConnection::connect(&scene.stack.control_plane_database().superuser_url).await?;
    let sql = "select deadlocks from pg_stat_database where datname = current_database()";
    let row = raw_sql(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(row.try_get(0)?)
}

#[tokio::test]
async fn of_sixty_four_requests_at_once_at_two_control_planes_never_one_too_many_goes_ahead() -> Result<()> {
    let (scene, names) = scene().await?;
    let restarts = || names.iter().map(|name| touch(&scene, name)).collect::<Vec<_>>();
    let scalings = || names.iter().map(|name| scene.scale(name, 1)).collect::<Vec<_>>();

    let bot = client(&scene, "cooldown-bot").await?;
    let limit = json!([{ "type": "cooldown", "per": ["namespace", "principal"], "seconds": 3600 }]);
    bind(&scene, "cooldown-bot", limit).await?;
    let (accepted, denied) = storm(&scene, &bot, restarts()).await?;
    assert_eq!((accepted.len(), denied.len()), (1, 63), "cooldown");
    for answer in &denied {
        expect_limited(answer, "cooldown");
        let seconds = answer.body["retryAfterSeconds"].as_u64().context("when to come again")?;
        assert!((3400..=3600).contains(&seconds), "{}", answer.text);
        assert_eq!(answer.headers["retry-after"], seconds.to_string().as_str());
    }

    let bot = client(&scene, "rate-bot").await?;
    let limits = json!([
        { "type": "rate", "per": ["action", "principal"], "max": 5, "seconds": 3600 },
        // Another key, so that each request takes two locks.
        { "type": "rate", "per": "cluster", "max": 1000, "seconds": 60 },
    ]);
    bind(&scene, "rate-bot", limits).await?;
    let (restarts_at_once, scalings_at_once) =
        tokio::try_join!(storm(&scene, &bot, restarts()), storm(&scene, &bot, scalings()))?;
    for (accepted, denied) in [&restarts_at_once, &scalings_at_once] {
        assert_eq!((accepted.len(), denied.len()), (5, 59), "rate");
        denied.iter().for_each(|answer| expect_limited(answer, "rate"));
    }

    let bot = client(&scene, "one-bot").await?;
    bind(&scene, "one-bot", json!([{ "type": "concurrency", "per": "principal", "max": 3 }])).await?;
    let claims = HeldClaims::take(&scene.stack).await?;
    let (accepted, denied) = storm(&scene, &bot, restarts()).await?;
    assert_eq!((accepted.len(), denied.len()), (3, 61), "concurrency");
    denied.iter().for_each(|answer| expect_limited(answer, "concurrency"));
    claims.release().await?;
    for answer in restarts_at_once.0.iter().chain(&scalings_at_once.0).chain(&accepted) {
        let id = id_of(&answer.body)?;
        assert_eq!(ended_for(&scene, &id).await?["state"], "succeeded");
    }
    Ok(())
}

#[tokio::test]
async fn a_breaker_opens_on_failures_for_everybody_at_once_and_closes_by_itself() -> Result<()> {
    let (scene, names) = scene().await?;
    let limit =
        json!({ "type": "breaker", "per": "cluster", "failures": 2, "seconds": 600, "openSeconds": 40 });
    activate(&scene, "breaker", json!({ "limits": [limit] })).await?;
    let stuck = [deployment("stuck-a", "app:unready", 1), deployment("stuck-b", "app:unready", 1)];
    for manifest in stuck {
        scene.stack.kubernetes().apply_in(scene.stack.namespace(), manifest).await?;
    }
    let fail = async |name: &str| {
        let mut request = scene.restart_anyway(name);
        request["deadlineSeconds"] = json!(1);
        anyhow::Ok(id_of(&asked(&scene.client, &request).await?.expect(202)?.body)?)
    };
    let first = fail("stuck-a").await?;
    expect(&scene.ended(&first).await?, "failed", "rollout-timeout");
    let after_one = asked(&scene.client, &touch(&scene, &names[0])).await?.expect(202)?;
    assert_eq!(scene.ended(&id_of(&after_one.body)?).await?["state"], "succeeded");
    let second = fail("stuck-b").await?;
    expect(&scene.ended(&second).await?, "failed", "rollout-timeout");

    let requests = names.iter().map(|name| touch(&scene, name)).collect();
    let (accepted, denied) = storm(&scene, &scene.client, requests).await?;
    assert_eq!((accepted.len(), denied.len()), (0, 64));
    for answer in &denied {
        expect_limited(answer, "breaker");
    }
    // It says itself when it closes.
    let seconds = denied[0].body["retryAfterSeconds"].as_u64().context("when to come again")?;
    tokio::time::sleep(std::time::Duration::from_secs(seconds + 1)).await;
    asked(&scene.client, &touch(&scene, &names[1])).await?.expect(202)?;
    Ok(())
}

#[tokio::test]
async fn nobody_takes_a_pod_away_from_a_target_that_lacks_too_many() -> Result<()> {
    let scene = Scene::open(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let limit = json!([{ "type": "unavailable", "of": "target", "maxPods": 1 }]);
    activate(&scene, "enough", json!({ "limits": limit })).await?;
    scene.deploy(&[deployment("healthy", "app:1", 2)]).await?;
    let sick = deployment("sick", "app:unready", 2);
    scene.stack.kubernetes().apply_in(scene.stack.namespace(), sick).await?;
    scene.deploy(&[aegis_tests::workload::daemon_set("agent", "app:1")]).await?;

    let requests = (0..REQUESTS).map(|_| scene.restart_anyway("sick")).collect();
    let (accepted, denied) = storm(&scene, &scene.client, requests).await?;
    assert_eq!((accepted.len(), denied.len()), (0, 64));
    for answer in &denied {
        expect_limited(answer, "unavailable");
        let counted = &answer.body["limits"][0]["counted"]["unavailable"];
        assert_eq!((&counted["wanted"], &counted["available"]), (&json!(2), &json!(0)), "{}", answer.text);
        assert!(answer.body["retryAfterSeconds"].is_null(), "no time says when it is healthy");
    }
    // Growing takes nothing down, but a target without a single pod is over the limit all the same.
    let healthy = scene.carry_out(&scene.restart_anyway("healthy")).await?;
    expect(&healthy, "succeeded", "rollout-complete");

    let agent = scene.stack.action("restart", "DaemonSet", "agent", &json!({}));
    // The plan knows what a DaemonSet wants, and that it goes node by node.
    expect(&scene.carry_out(&agent).await?, "succeeded", "rollout-complete");
    Ok(())
}

/// An action of any client once it has ended.
async fn ended_for(scene: &Scene, id: &str) -> Result<Value> {
    eventually(&format!("the end of action {id}"), WITHIN, async || {
        let action = scene.admin.get(&format!("/api/v1/actions/{id}?wait=60")).await?.expect(200)?.body;
        Ok(action["outcome"].is_object().then_some(action))
    })
    .await
}

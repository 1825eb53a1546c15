//! A control plane whose clock is not the database's.

use std::time::Duration;

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::database::execute;
use aegis_tests::eventually::{eventually, until};
use aegis_tests::fake_clock::FakeClock;
use aegis_tests::paths::random_name;
use aegis_tests::stack::{Part, StackOptions, sign_in};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::actions::scene::{Scene, WITHIN, expect};

/// A second of which the limit is made, and one that no busy machine can eat up.
const OFF: f64 = 3.0;
/// A control plane looks for work four times a second: what is free for so long, nobody takes.
const NOBODY_CAME: &str = "
    do $$ begin
        if exists (select from actions where driver_until > clock_timestamp() - interval '2 s')
        then raise exception 'somebody drives, or did just now'; end if;
    end $$";

async fn until_skewed(replica: &Part) -> Result<()> {
    let anonymous = Caller::anonymous(replica.url())?;
    until("the control plane noticing its clock", WITHIN, async || {
        let answer = anonymous.get("/health/ready").await?;
        Ok((answer.status, answer.code()) == (503, "clock-skewed"))
    })
    .await
}

async fn offset_in_metrics(replica: &Part) -> Result<f64> {
    let page = Caller::anonymous(replica.url())?.get("/metrics").await?.expect(200)?.text;
    let line = page.lines().find_map(|line| line.strip_prefix("aegis_clock_offset_seconds "));
    Ok(line.context("no aegis_clock_offset_seconds")?.parse()?)
}

fn expect_skewed(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, "clock-skewed"), "{}", answer.text);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_replica_with_a_wrong_clock_says_so_lets_nobody_in_and_recovers_by_itself() -> Result<()> {
    let scene = Scene::open(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let [right, wrong] = scene.stack.control_planes() else { panic!("two control planes") };
    let clock = FakeClock::new()?;
    wrong.restart_with(clock.settings()).await?;
    let (client, admin) = (scene.client.at(wrong.url()), scene.admin.at(wrong.url()));
    let request = scene.restart("absent");
    let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
    client.ask_with_key("while-right", &request, 10).await?.expect(202)?;

    for (offset, seconds) in [("+3", OFF), ("-3", -OFF)] {
        clock.set(offset)?;
        until_skewed(wrong).await?;
        let key = random_name(32);
        expect_skewed(&client.ask_with_key(&key, &request, 0).await?);
        expect_skewed(&client.post("/api/v1/policy/evaluate", &question).await?);
        expect_skewed(&admin.get("/api/v1/actions").await?);
        let user = scene.stack.admin_user();
        let refused = sign_in(wrong.url(), &user.email, &user.password).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains("clock-skewed")));
        assert!((offset_in_metrics(wrong).await? - seconds).abs() < 1.0);
        let health = Caller::anonymous(wrong.url())?.get("/api/v1/health").await?.expect(503)?.body;
        assert_eq!((&health["status"], &health["clock"]["status"]), (&json!("down"), &json!("skewed")));
        ensure!(wrong.process().log_tail(1000).contains("this machine's clock is not the database's"));

        // The other replica works, and knows nothing of the key: nothing was recorded under it.
        Caller::anonymous(right.url())?.get("/health/ready").await?.expect(200)?;
        assert_eq!(offset_in_metrics(right).await?, 0.0);
        let answer = scene.client.get("/api/v1/actions").await?.expect(200)?;
        let recorded = answer.body["items"].as_array().context("a page has items")?.len();
        let again = scene.client.ask_with_key(&key, &request, 10).await?.expect(202)?.body;
        let after = scene.client.get("/api/v1/actions").await?.expect(200)?;
        assert_eq!(after.body["items"].as_array().map(Vec::len), Some(recorded + 1));
        expect(&again, "refused", "target-absent");

        clock.set("+0")?;
        wrong.wait_until_ready().await?;
        let told = client.ask_with_key(&key, &request, 10).await?.expect(202)?.body;
        assert_eq!(told["id"], again["id"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_replica_with_a_wrong_clock_signs_no_order_until_its_clock_is_right() -> Result<()> {
    let scene = Scene::open(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let [right, wrong] = scene.stack.control_planes() else { panic!("two control planes") };
    let clock = FakeClock::new()?;
    wrong.restart_with(clock.settings()).await?;
    let at_work = scene.occupy("web").await?;
    let queued = scene.ask(&scene.scale("web", 2)).await?;
    clock.set("+3")?;
    until_skewed(wrong).await?;

    right.kill()?;
    scene.mend("web").await?;
    let database = &scene.stack.control_plane_database().superuser_url;
    eventually("the dead one's leases running out, and nobody taking them", WITHIN, async || {
        execute(database, NOBODY_CAME.to_owned()).await.map(Some)
    })
    .await?;
    let unsigned = format!(
        "do $$ begin
            if not exists (select from actions where id = '{queued}' and state = 'queued')
                or exists (select from audit.recorded where action_id = '{queued}' and kind = 'order.signed')
            then raise exception 'the wrong clock signed'; end if;
        end $$"
    );
    execute(database, unsigned).await?;

    clock.set("+0")?;
    wrong.wait_until_ready().await?;
    let Scene { stack, client, admin } = scene;
    let url = stack.control_plane(1).url().to_owned();
    let scene = Scene { stack, client: client.at(&url), admin: admin.at(&url) };
    for id in [&at_work, &queued] {
        expect(&scene.ended(id).await?, "succeeded", "rollout-complete");
        scene.only_write(id)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_replica_that_starts_with_a_wrong_clock_is_not_ready_before_it_is_right() -> Result<()> {
    let scene = Scene::open(StackOptions { control_planes: 2, ..StackOptions::default() }).await?;
    let wrong = scene.stack.control_plane(1);
    let clock = FakeClock::new()?;
    clock.set("-3600")?;
    let started = tokio::time::timeout(Duration::ZERO, wrong.restart_with(clock.settings())).await;
    ensure!(started.is_err(), "it is ready already");
    until_skewed(wrong).await?;
    expect_skewed(&scene.client.at(wrong.url()).ask(&scene.restart("absent"), 0).await?);
    clock.set("+0")?;
    wrong.wait_until_ready().await?;
    scene.client.at(wrong.url()).ask(&scene.restart("absent"), 0).await?.expect(202)?;
    Ok(())
}

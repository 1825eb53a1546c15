//! An API server that is slow, says no, breaks, or dies: tried again where that is safe, with a reason where not.

use std::time::{Duration, Instant};

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::ActionId;
use aegis_contract::order::Act;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::Target;
use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::fault_proxy::{Matching, Moment};
use aegis_tests::stack::StackOptions;
use aegis_tests::workload::deployment;
use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::json;

use crate::actions::scene::{ORDERED, Scene, WITHIN, expect};
use crate::executor::bench::{Bench, act_order};

/// More tries than this in the three seconds of an order would be no pauses at all.
const TRIES_MAX: usize = 31;

/// What an API server says besides the status.
pub(super) fn failure(status: u16) -> String {
    let body =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "no" });
    body.to_string()
}

fn writing() -> Matching {
    Matching::path("/scale").method(Method::PATCH)
}

impl Bench {
    async fn scaling(&self, target: Target, replicas: u32) -> Result<Act> {
        self.act(Change::Scale(ScaleParams { replicas }), target).await
    }

    /// How often the executor has tried to scale the target.
    fn tries(&self, target: &Target) -> usize {
        let scales = format!("/deployments/{}/scale", target.name);
        let seen = self.replicas[0].api_server.seen();
        let is_try = |line: &&String| {
            line.starts_with("PATCH") && !line.contains("dryRun=All") && line.contains(&scales)
        };
        seen.iter().filter(is_try).count()
    }

    async fn until_tried(&self, target: &Target, times: usize) -> Result<()> {
        until("the write being tried again", WITHIN, async || Ok(self.tries(target) >= times)).await
    }

    /// The answers that the API server itself gave to an action's scaling, in their order.
    fn answers(&self, action_id: ActionId) -> Result<Vec<u16>> {
        let agent = format!("(action {action_id})");
        let mut requests = self.cluster.audit().requests()?;
        requests
            .retain(|request| request.user_agent.contains(&agent) && request.request_uri.contains("/scale"));
        Ok(requests.iter().filter_map(|request| Some(request.response_status.as_ref()?.code)).collect())
    }
}

#[tokio::test]
async fn a_write_that_is_put_off_or_broken_is_tried_again_and_takes_effect_once() -> Result<()> {
    let bench = Bench::start(1).await?;
    for (status, name) in [(429, "limited"), (500, "broken"), (503, "away")] {
        let target = bench.deploy(name).await?;
        let act = bench.scaling(target.clone(), 5).await?;
        let body = bench.sign(&act_order(&act, 60))?;
        let fault =
            bench.replicas[0].api_server.answer(writing(), StatusCode::from_u16(status)?, &failure(status));
        bench.send(0, &body, 0).await?;
        bench.until_tried(&target, 3).await?;
        drop(fault);
        let result = bench.finished(0, &body).await?;
        assert_eq!(result.code, OutcomeCode::RolloutComplete, "{status}: {result:?}");
        assert_eq!(bench.answers(act.action_id)?, [200], "{status}");
        assert_eq!(bench.writes(act.action_id)?.len(), 1, "{status}");
    }

    let target = bench.deploy("cut").await?;
    let act = bench.scaling(target.clone(), 5).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    let cut = bench.replicas[0].api_server.cut(writing(), Moment::BeforePassingOn);
    bench.send(0, &body, 0).await?;
    bench.until_tried(&target, 3).await?;
    drop(cut);
    let result = bench.finished(0, &body).await?;
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert_eq!(bench.answers(act.action_id)?, [200]);
    Ok(())
}

#[tokio::test]
async fn a_write_that_never_gets_through_ends_with_a_reason_and_within_its_time() -> Result<()> {
    let bench = Bench::start(1).await?;
    for (status, name, ended, tries_max) in [
        // Turned down three times in the very version that was read: nobody else is in the way.
        (409, "conflict", (ExecutionStatus::Failed, OutcomeCode::ClusterRefused), 3),
        (429, "limited", (ExecutionStatus::Failed, OutcomeCode::ClusterUnavailable), TRIES_MAX),
        (500, "broken", (ExecutionStatus::Expired, OutcomeCode::DeadlinePassed), TRIES_MAX),
        (503, "away", (ExecutionStatus::Expired, OutcomeCode::DeadlinePassed), TRIES_MAX),
    ] {
        let target = bench.deploy(name).await?;
        let act = bench.scaling(target.clone(), 5).await?;
        let body = bench.sign(&act_order(&act, 3))?;
        let fault =
            bench.replicas[0].api_server.answer(writing(), StatusCode::from_u16(status)?, &failure(status));
        let result = bench.finished(0, &body).await?;
        drop(fault);
        assert_eq!((result.status, result.code), ended, "{status}: {result:?}");
        assert!(!result.message.is_empty());
        assert!((2..=tries_max).contains(&bench.tries(&target)), "{status}: {}", bench.tries(&target));
        assert!(bench.answers(act.action_id)?.is_empty(), "{status}: something came through");
        let object = bench.cluster.get(&bench.namespace, &format!("deployment/{name}")).await?;
        assert_eq!(object["spec"]["replicas"], 3, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_write_slower_than_the_executor_waits_takes_effect_once_though_it_is_sent_again() -> Result<()> {
    let bench = Bench::start(1).await?;
    let target = bench.deploy("web").await?;
    let act = bench.scaling(target.clone(), 5).await?;
    let body = bench.sign(&act_order(&act, 60))?;
    let slow = bench.replicas[0].api_server.delay(writing(), Duration::from_secs(10));
    let started = Instant::now();
    let result = bench.finished(0, &body).await?;
    drop(slow);
    assert_eq!(result.code, OutcomeCode::RolloutComplete, "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());

    let tries = bench.tries(&target);
    assert!((2..=3).contains(&tries), "{tries}");
    until("every late write being answered", WITHIN, async || {
        Ok(bench.answers(act.action_id)?.len() == tries)
    })
    .await?;
    let answers = bench.answers(act.action_id)?;
    assert_eq!(answers.iter().filter(|code| **code == 200).count(), 1, "{answers:?}");
    assert_eq!(bench.writes(act.action_id)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_action_that_cannot_be_looked_after_for_a_while_is_looked_after_again() -> Result<()> {
    let bench = Bench::start(1).await?;
    let api_server = &bench.replicas[0].api_server;
    for (status, name) in [(410, "gone"), (429, "limited"), (500, "broken"), (503, "away")] {
        let target = bench.deploy(name).await?;
        let act = bench.scaling(target, 5).await?;
        let body = bench.sign(&act_order(&act, 60))?;
        let mut hold = api_server.hold(writing(), Moment::BeforeAnswering);
        bench.send(0, &body, 0).await?;
        hold.reached().await?;
        let looks = || {
            let asked =
                |line: &&String| line.starts_with("GET") && line.contains(&format!("/deployments/{name}"));
            api_server.seen().iter().filter(asked).count()
        };
        let before = looks();
        let reading = Matching::path(&format!("/deployments/{name}")).method(Method::GET);
        let fault = api_server.answer(reading, StatusCode::from_u16(status)?, &failure(status));
        hold.release()?;
        until("looks in vain", WITHIN, async || Ok(looks() > before + 2)).await?;
        drop(fault);
        let result = bench.finished(0, &body).await?;
        assert_eq!(result.code, OutcomeCode::RolloutComplete, "{status}: {result:?}");
        assert_eq!(bench.writes(act.action_id)?.len(), 1, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_killed_under_a_write_a_watch_and_a_return_is_waited_for_and_written_to_once()
-> Result<()> {
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let options =
        StackOptions { api_server_proxies: true, order_lifetime_seconds: 60, ..StackOptions::default() };
    let stack = aegis_tests::stack::Stack::start_on(cluster, Server::shared().await?, options).await?;
    stack.allow_everything().await?;
    let (client, admin) = (stack.client()?, stack.admin()?);
    let scene = Scene { stack, client, admin };
    let (cluster, proxy) = (scene.stack.cluster()?, scene.stack.executor(0).api_server()?);
    cluster.apply_in(scene.stack.namespace(), deployment("bad", "app:bad-pull", 1)).await?;
    scene.kubectl(&["wait", "deployment/bad", "--for=jsonpath={.status.observedGeneration}=1"]).await?;
    scene.deploy(&[deployment("web", "app:1", 1), deployment("bad", "app:1", 1)]).await?;
    let watched = scene.occupy("stuck").await?;
    let second = Matching::path("/deployments/bad?").method(Method::PATCH).body("/2\"");
    let mut second = proxy.hold(second, Moment::BeforePassingOn);
    let returned = scene.ask(&scene.stack.action("rollback", "Deployment", "bad", &json!({}))).await?;
    second.reached().await?;
    let mut hold = proxy.hold(writing(), Moment::BeforePassingOn);
    let written = scene.ask(&scene.scale("web", 3)).await?;
    hold.reached().await?;

    let api_server = cluster.component("kube-apiserver").context("a cluster has an API server")?;
    api_server.kill()?;
    hold.release()?;
    second.release()?;
    // All workers ask in vain, more than once, and none gives up.
    let asked = |name: &str| {
        proxy.seen().iter().filter(|line| line.starts_with("GET") && line.contains(name)).count()
    };
    let names = ["/deployments/web", "/deployments/stuck", "/deployments/bad"];
    let before = names.map(asked);
    until("all actions being looked after", WITHIN, async || {
        Ok(names.map(asked).iter().zip(before).all(|(now, before)| *now > before + 2))
    })
    .await?;
    for id in [&watched, &written, &returned] {
        assert_eq!(scene.action(id).await?["state"], "running");
    }

    cluster.restart("kube-apiserver").await?;
    scene.mend("stuck").await?;
    for id in [&watched, &written] {
        expect(&scene.ended(id).await?, "succeeded", "rollout-complete");
        scene.expect_story(id, &ORDERED).await?;
        scene.only_write(id)?;
    }
    assert_eq!(scene.object("deployment/web").await?["spec"]["replicas"], 3);
    expect(&scene.ended(&returned).await?, "returned", "image-pull-failed");
    assert_eq!(scene.writes(&returned)?.len(), 2);
    let bad = scene.object("deployment/bad").await?;
    assert_eq!(bad["spec"]["template"]["spec"]["containers"][0]["image"], "app:1");
    Ok(())
}

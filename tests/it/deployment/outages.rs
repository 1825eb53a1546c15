//! What each service does while something that only the other one, or both, depend on is away. The outages that one
//! service sees alone are tested beside it.

use aegis_tests::database::{Database, execute};
use aegis_tests::eventually::until;
use aegis_tests::stack::StackOptions;
use anyhow::{Context, Result};
use serde_json::json;

use crate::actions::scene::{Scene, WITHIN, expect};

/// One database that lets nobody in; its server, and all others there, go on.
struct Closed<'a>(&'a Database);

impl<'a> Closed<'a> {
    async fn take(database: &'a Database) -> Result<Self> {
        let Database { name, .. } = database;
        let closed = Self(database);
        closed.run(format!("alter database {name} connection limit 0")).await?;
        // A session that began just before may not be listed at first.
        let end_all = format!(
            "do $$ begin perform pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'; \
             assert not exists (select from pg_stat_activity where datname = '{name}'); end $$"
        );
        until("nobody being in the database", WITHIN, async || {
            closed.run(end_all.clone()).await?;
            Ok(true)
        })
        .await?;
        Ok(closed)
    }

    async fn open(self) -> Result<()> {
        self.run(format!("alter database {} connection limit -1", self.0.name)).await
    }

    async fn run(&self, sql: String) -> Result<()> {
        let Database { name, superuser_url, .. } = self.0;
        execute(&superuser_url.replacen(&format!("/{name}"), "/postgres", 1), sql).await
    }
}

impl Scene {
    /// Whether a new request is turned away, and everything that needs no executor goes on.
    async fn expect_only_actions_turned_away(&self, key: &str) -> Result<()> {
        let request = self.scale("web", 2);
        until("a request being turned away", WITHIN, async || {
            let answer = self.client.ask_with_key(key, &request, 0).await?;
            anyhow::ensure!(
                (answer.status, answer.code()) == (503, "executor-unavailable"),
                "{}",
                answer.text
            );
            Ok(true)
        })
        .await?;
        for path in ["/api/v1/actions", "/api/v1/policies", "/health/ready"] {
            self.admin.get(path).await?.expect(200)?;
        }
        let question = json!({ "action": "restart", "resource": "k8s/local/shop/Deployment/web" });
        self.client.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
        Ok(())
    }
}

#[tokio::test]
async fn without_the_control_planes_database_work_goes_on_and_its_outcome_is_learnt_afterwards() -> Result<()>
{
    let scene = Scene::open(StackOptions::default()).await?;
    let id = scene.occupy("web").await?;
    scene.until_receipt(&id, "running").await?;
    let closed = Closed::take(scene.stack.control_plane_database()).await?;
    until("the control plane noticing", WITHIN, async || {
        Ok(scene.stack.anonymous()?.get("/health/ready").await?.status == 503)
    })
    .await?;

    scene.mend("web").await?;
    scene.stack.kubernetes().wait_rolled_out(scene.stack.namespace(), "deployment/web").await?;
    let executor = scene.stack.executor(0);
    executor.process().ensure_running()?;
    executor.wait_until_ready().await?;

    closed.open().await?;
    let action = scene.ended(&id).await?;
    expect(&action, "succeeded", "rollout-complete");
    scene.expect_whole_story(&action).await?;
    scene.only_write(&id).map(drop)
}

#[tokio::test]
async fn without_the_executors_database_new_actions_are_turned_away_and_everything_else_is_served()
-> Result<()> {
    let scene = Scene::open(StackOptions::default()).await?;
    scene.deploy_small(&["web"]).await?;
    let closed = Closed::take(scene.stack.executor_database()).await?;
    scene.expect_only_actions_turned_away("once").await?;
    let health = scene.stack.anonymous()?.get("/api/v1/health").await?.expect(200)?.body;
    assert_eq!(health["status"], "degraded", "{health}");

    closed.open().await?;
    scene.stack.executor(0).wait_until_ready().await?;
    let action = scene.client.ask_with_key("once", &scene.scale("web", 2), 60).await?.expect(202)?.body;
    expect(&action, "succeeded", "rollout-complete");
    scene.only_write(action["id"].as_str().context("an id")?).map(drop)
}

#[tokio::test]
async fn without_the_api_server_new_actions_are_turned_away_and_everything_else_is_served() -> Result<()> {
    let scene = Scene::open(StackOptions { api_server_proxies: true, ..StackOptions::default() }).await?;
    scene.deploy_small(&["web"]).await?;
    let away = scene.stack.executor(0).api_server()?.cut_off();
    scene.expect_only_actions_turned_away("once").await?;
    drop(away);
    let action = scene.client.ask_with_key("once", &scene.scale("web", 2), 60).await?.expect(202)?.body;
    expect(&action, "succeeded", "rollout-complete");
    scene.only_write(action["id"].as_str().context("an id")?).map(drop)
}

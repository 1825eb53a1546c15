//! What the measurements of running services have in common: a stack that writes through to the
//! disk, with workloads of one pod each.

use aegis_tests::callers::Caller;
use aegis_tests::cluster::{Cluster, ClusterOptions};
use aegis_tests::database::Server;
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions, sign_in};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// As in production: what a busy machine delays is not to expire.
pub(super) const ORDER_LIFETIME_SECONDS: u32 = 30;

/// A stack, its workloads, and the client that asks for actions.
pub(super) struct Scene {
    pub(super) stack: Stack,
    pub(super) client: Caller,
}

impl Scene {
    pub(super) async fn start(workloads: usize) -> Result<Self> {
        let cluster = Cluster::start(ClusterOptions { fsync: true, ..ClusterOptions::default() }).await?;
        let options = StackOptions { order_lifetime_seconds: ORDER_LIFETIME_SECONDS, ..Default::default() };
        let stack = Stack::start_on(cluster, Server::start().await?, options).await?;
        stack.allow_everything().await?;
        let step = progress::step(format!("creating {workloads} workloads"));
        let items: Vec<Value> = (0..workloads)
            .map(|index| {
                let mut manifest = deployment(&workload(index), "app:1", 1);
                manifest["metadata"]["namespace"] = json!(stack.namespace());
                manifest
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        // kubectl takes an empty list for a mistake.
        if workloads > 0 {
            stack.kubernetes().apply(&list).await?;
        }
        step.done();
        // Hashing the password of the sign-in above took memory that no client's request needs.
        stack.control_plane(0).restart().await?;
        Ok(Self { client: stack.client()?, stack })
    }

    /// Asks for an action, waits up to `wait_seconds` for its end, and returns its id.
    pub(super) async fn ask(
        &self,
        action_type: &str,
        index: usize,
        params: &Value,
        wait_seconds: u32,
    ) -> Result<String> {
        let action = self.stack.action(action_type, "Deployment", &workload(index), params);
        let answer = self.client.ask(&action, wait_seconds).await?.expect(202)?;
        let id = answer.body["id"].as_str().context("an action has an id")?;
        if wait_seconds > 0 {
            ensure!(answer.body["state"] == "succeeded", "an action did not succeed: {}", answer.text);
        }
        Ok(id.to_owned())
    }

    /// Asks for a rehearsal, and waits for its end.
    pub(super) async fn rehearse(&self, action_type: &str, index: usize, params: &Value) -> Result<()> {
        let mut action = self.stack.action(action_type, "Deployment", &workload(index), params);
        action["dryRun"] = json!(true);
        let answer = self.client.ask(&action, 60).await?.expect(202)?;
        ensure!(answer.body["state"] == "succeeded", "a rehearsal did not succeed: {}", answer.text);
        Ok(())
    }

    /// Waits until an action has ended, and insists that it succeeded; returns it.
    pub(super) async fn ended(&self, id: &str) -> Result<Value> {
        let action = self.client.get(&format!("/api/v1/actions/{id}?wait=60")).await?.expect(200)?;
        ensure!(action.body["state"] == "succeeded", "an action did not succeed: {}", action.text);
        Ok(action.body)
    }

    /// The admin, freshly signed in.
    pub(super) async fn admin(&self) -> Result<Caller> {
        let (url, admin) = (self.stack.control_plane(0).url(), self.stack.admin_user());
        Caller::person(url, &sign_in(url, &admin.email, &admin.password).await?)
    }
}

pub(super) fn workload(index: usize) -> String {
    format!("w{index}")
}

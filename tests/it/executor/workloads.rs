//! Workloads that executors are tried on: how they are made, looked at and changed by hand.

use aegis_contract::action::{Change, RestartParams, RestartedPods, RollbackParams, ScaleParams};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, AutomaticReturn};
use aegis_contract::receipt::{ExecutionResult, ExecutionStatus};
use aegis_contract::target::{Kind, Target};
use aegis_tests::eventually::until;
use anyhow::{Context, Result};
use serde_json::Value;

use super::bench::{Bench, WITHIN, write_intent};

pub(crate) const RESTART: Change =
    Change::Restart(RestartParams { during_rollout: false, pods: RestartedPods::All, canary: false });
pub(crate) const RESTART_ANYWAY: Change =
    Change::Restart(RestartParams { during_rollout: true, pods: RestartedPods::All, canary: false });
pub(crate) const RESTART_UNHEALTHY: Change =
    Change::Restart(RestartParams { during_rollout: false, pods: RestartedPods::Unhealthy, canary: false });
pub(crate) const RESTART_WITH_CANARY: Change =
    Change::Restart(RestartParams { during_rollout: false, pods: RestartedPods::All, canary: true });
pub(crate) const ROLLBACK: Change = Change::Rollback(RollbackParams { to_revision: None });

pub(crate) fn scale(replicas: u32) -> Change {
    Change::Scale(ScaleParams { replicas })
}

/// The same act with permission for a return.
pub(crate) fn permit(act: Act, within_seconds: u32) -> Result<Act> {
    let mut act = Act { automatic_return: Some(AutomaticReturn { within_seconds }), ..act };
    write_intent(&mut act)?;
    Ok(act)
}

/// Checks how an action ended.
pub(crate) fn expect(result: &ExecutionResult, status: ExecutionStatus, code: OutcomeCode) {
    assert_eq!((result.status, result.code), (status, code), "{result:?}");
}

/// An object as kubectl names it.
pub(crate) fn object_name(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.as_str().to_lowercase())
}

impl Bench {
    /// Applies a manifest and waits until its pods are there.
    pub(crate) async fn apply_complete(&self, kind: Kind, manifest: Value) -> Result<Target> {
        let name = manifest["metadata"]["name"].as_str().context("no name")?.to_owned();
        self.cluster.apply_in(&self.namespace, manifest).await?;
        self.cluster.wait_rolled_out(&self.namespace, &object_name(kind, &name)).await?;
        Ok(self.target(kind, &name))
    }

    /// A target as it is now.
    pub(crate) async fn object(&self, target: &Target) -> Result<Value> {
        self.cluster.get(&self.namespace, &object_name(target.kind, &target.name)).await
    }

    /// The image that a target's template names.
    pub(crate) async fn image(&self, target: &Target) -> Result<Value> {
        Ok(self.object(target).await?["spec"]["template"]["spec"]["containers"][0]["image"].take())
    }

    /// kubectl in the allowed namespace.
    pub(crate) async fn kubectl(&self, args: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        let mut all = vec!["-n".to_owned(), self.namespace.clone()];
        all.extend(args.into_iter().map(|argument| argument.as_ref().to_owned()));
        self.cluster.kubectl(all).await.map(drop)
    }

    /// Waits until its controller has seen what was last done to a target.
    pub(crate) async fn begun(&self, target: &Target) -> Result<()> {
        until("the controller having begun", WITHIN, async || {
            let object = self.object(target).await?;
            Ok(object["status"]["observedGeneration"] == object["metadata"]["generation"])
        })
        .await
    }

    /// The plan refuses with this code, and so does the executor when it is ordered all the same; nothing is written.
    pub(crate) async fn expect_refused(
        &self,
        change: Change,
        target: &Target,
        expected: OutcomeCode,
    ) -> Result<()> {
        let plan = self.plan(&change, target).await?;
        assert_eq!(
            plan.obstacle.as_ref().map(|obstacle| obstacle.code),
            Some(expected),
            "{target}: {plan:?}"
        );
        assert_eq!(plan.after, None);
        let act = self.act(change, target.clone()).await?;
        expect(&self.carry_out(&act).await?, ExecutionStatus::Refused, expected);
        assert!(self.writes(act.action_id)?.is_empty(), "{target}: something was written");
        Ok(())
    }
}

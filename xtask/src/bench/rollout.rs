//! From a bad rollout's first failing pod to a state in which nothing is left of it: an action that puts back
//! by itself what was there before, against what people do with kubectl: wait for the rollout to be given up, and
//! undo it. Both meet the same images on the same cluster, in turns.

use std::time::{Duration, Instant};

use aegis_tests::eventually::eventually;
use aegis_tests::progress;
use aegis_tests::workload::{deployment, waiting_reason};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::scene::Scene;
use super::{Case, Goal};

/// Kubernetes gives a rollout up after ten minutes. Here it does so earlier, and the cases say after how long.
const DEADLINE_SECONDS_DEFAULT: u32 = 600;
const DEADLINE_SECONDS: u32 = 60;
const DEADLINE_SECONDS_QUICK: u32 = 10;
/// Rollouts of each arm.
const ROUNDS: u32 = 5;
const ROUNDS_QUICK: u32 = 2;
const REPLICAS: u32 = 4;
const GOOD: &str = "app:1";
/// What both arms wait for at most beside the deadline.
const WITHIN: Duration = Duration::from_secs(120);

pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let (deadline, rounds) =
        if quick { (DEADLINE_SECONDS_QUICK, ROUNDS_QUICK) } else { (DEADLINE_SECONDS, ROUNDS) };
    let scene = Scene::start(0).await?;
    let mut cases = Vec::new();
    for (name, bad) in [("an image that is not there", "app:bad-pull"), ("a crash loop", "app:crash")] {
        let step = progress::step(format!("{rounds} rollouts of {name} by each"));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let workload = Workload { scene: &scene, name: format!("r{}-{round}", cases.len()), deadline };
            ours.push(workload.put_back_by_itself(bad).await?);
            theirs.push(workload.undone_by_hand(bad).await?);
        }
        step.done();
        let what = format!("{name}: first failing pod to safe");
        let other = format!("kubectl, given up after {deadline} s");
        cases.push(Case::new(what, "s", median(ours), median(theirs), other, Goal::Below));
    }
    println!(
        "\nkubectl's figures are with progressDeadlineSeconds {deadline}; the default of {DEADLINE_SECONDS_DEFAULT} adds \
         {} s to each",
        DEADLINE_SECONDS_DEFAULT - deadline
    );
    Ok(cases)
}

struct Workload<'a> {
    scene: &'a Scene,
    name: String,
    deadline: u32,
}

impl Workload<'_> {
    /// A rollback that meets a bad revision.
    async fn put_back_by_itself(&self, bad: &str) -> Result<f64> {
        self.apply(bad).await?;
        let object = format!("deployment/{}", self.name);
        self.kubectl(&["wait", &object, "--for=jsonpath={.status.observedGeneration}=1"]).await?;
        self.apply(GOOD).await?;
        self.until_safe().await?;
        let stack = &self.scene.stack;
        let action = stack.action("rollback", "Deployment", &self.name, &json!({}));
        let asked = self.scene.client.ask(&action, 0).await?.expect(202)?;
        let failing = self.until_failing().await?;
        self.until_safe().await?;
        let took = failing.elapsed().as_secs_f64();
        let id = asked.body["id"].as_str().context("an action has an id")?;
        let ended = self.scene.client.get(&format!("/api/v1/actions/{id}?wait=60")).await?.expect(200)?.body;
        ensure!(ended["state"] == "returned", "an action was not put back: {ended}");
        Ok(took)
    }

    /// A new image that people see fail, and undo.
    async fn undone_by_hand(&self, bad: &str) -> Result<f64> {
        let object = format!("deployment/{}", self.name);
        // Another template than any of before, so that its pods are new.
        self.kubectl(&["set", "env", &object, "TRY=by-hand"]).await?;
        self.until_safe().await?;
        self.kubectl(&["set", "image", &object, &format!("main={bad}")]).await?;
        let failing = self.until_failing().await?;
        let given_up = self.kubectl(&["rollout", "status", &object]).await;
        ensure!(given_up.is_err(), "a bad rollout was said to be complete");
        self.kubectl(&["rollout", "undo", &object]).await?;
        self.until_safe().await?;
        Ok(failing.elapsed().as_secs_f64())
    }

    async fn apply(&self, image: &str) -> Result<()> {
        let mut manifest = deployment(&self.name, image, REPLICAS);
        manifest["spec"]["progressDeadlineSeconds"] = json!(self.deadline);
        let stack = &self.scene.stack;
        stack.kubernetes().apply_in(stack.namespace(), manifest).await
    }

    async fn kubectl(&self, args: &[&str]) -> Result<()> {
        let stack = &self.scene.stack;
        let all = ["-n", stack.namespace()].into_iter().chain(args.iter().copied());
        stack.kubernetes().kubectl(all).await?;
        Ok(())
    }

    /// When the first pod said that it cannot.
    async fn until_failing(&self) -> Result<Instant> {
        let stack = &self.scene.stack;
        let is_failing = |pod: &Value| {
            let stays = pod["metadata"]["deletionTimestamp"].is_null();
            stays && ["ImagePullBackOff", "CrashLoopBackOff"].contains(&waiting_reason(pod))
        };
        eventually("a failing pod", WITHIN, async || {
            let pods = stack.kubernetes().pods(stack.namespace(), &self.name).await?;
            Ok(pods.iter().any(is_failing).then(Instant::now))
        })
        .await
    }

    /// Waits until every pod is of the good image and available, and none of another is left.
    async fn until_safe(&self) -> Result<()> {
        let stack = &self.scene.stack;
        eventually("a safe workload", WITHIN, async || {
            let object =
                stack.kubernetes().get(stack.namespace(), &format!("deployment/{}", self.name)).await?;
            let status = &object["status"];
            let all = json!(REPLICAS);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            let is_safe = status["observedGeneration"] == object["metadata"]["generation"]
                && object["spec"]["template"]["spec"]["containers"][0]["image"] == GOOD
                && counts.iter().all(|count| status[count] == all);
            Ok(is_safe.then_some(()))
        })
        .await
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

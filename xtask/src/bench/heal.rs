//! From sending a signed heal request to the change being visible at the API server, against a
//! patch of the same field by a bare Kubernetes client. Both are timed from the same process and
//! seen by the same watch, in turns, so that both meet the machine in the same mood.
//!
//! The workloads have no pods, so that only the change is measured and not a rollout.

mod commits;
mod stages;
mod visible;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_tests::progress;
use anyhow::{Context, Result, ensure};
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::commits::Commits;
use self::visible::Visible;
use super::processors::{self, Taken};
use super::resident;
use super::scene::{Scene, workload};
use super::{Case, Goal};

/// The annotation that both arms write.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Requests of each arm, one at a time and again in flight.
const ROUNDS: usize = 500;
/// Requests of each arm one at a time, which is what takes minutes.
const ROUNDS_QUICK: usize = 64;
/// Requests in flight in the second part.
const IN_FLIGHT: usize = 32;
/// The second part is cut in two, so that a change of the machine's mood meets both arms.
const BLOCKS: usize = 2;
/// Requests of each arm that warm connections and caches up.
const WARM_UP: usize = 16;
/// Goal: what a heal may add to a bare patch, at the median, one at a time.
const ADDED_MS_MAX: f64 = 15.0;
/// Goal: the part of a bare patch's throughput that must be left with many in flight.
const THROUGHPUT_PART_MIN: f64 = 0.5;
const BARE: &str = "bare patch";

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let bench = Arc::new(Bench::start(ROUNDS).await?);
    let idle = resident::of(&bench.scene.stack)?;
    bench.one_at_a_time(WARM_UP).await?;

    let before = bench.commits.told().await?;
    let step = progress::step(format!("{rounds} heals and {rounds} bare patches, one at a time"));
    let (heals, bare) = bench.one_at_a_time(rounds).await?;
    step.done();
    let flushes = bench.commits.told().await?.flushes - before.flushes;

    let step = progress::step(format!("{ROUNDS} of each with {IN_FLIGHT} in flight"));
    let (mut heals_many, mut bare_many) = (Round::default(), Round::default());
    for block in 0..BLOCKS {
        bench.in_flight(Arm::Heal, ROUNDS / BLOCKS, block, &mut heals_many).await?;
        bench.in_flight(Arm::Bare, ROUNDS / BLOCKS, block, &mut bare_many).await?;
    }
    step.done();
    let busy = resident::of(&bench.scene.stack)?;

    stages::print(&bench.scene, &heals).await?;
    processors::print(
        "processor time of one change, many in flight",
        [("heal", &heals_many), ("bare patch", &bare_many)]
            .map(|(arm, round)| (arm, round.taken, round.times_ms.len())),
    );
    let on_path = percentile(heals.iter().map(|heal| heal.commits as f64).collect(), 50);
    println!(
        "\ncommits of one heal that write: {on_path} until the change is visible; writes of the log to the disk \
         until its end: {:.1}",
        flushes as f64 / rounds as f64
    );
    let heals = Round::of(heals.iter().map(|heal| heal.change.took));
    let bare = Round::of(bare.iter().map(|change| change.took));
    let added = Goal::AddedMax(ADDED_MS_MAX);
    let mut cases = vec![
        latency("one at a time, p50", &heals, &bare, 50, added),
        latency("one at a time, p99", &heals, &bare, 99, Goal::None),
        latency("32 in flight, p50", &heals_many, &bare_many, 50, Goal::None),
        latency("32 in flight, p99", &heals_many, &bare_many, 99, Goal::None),
        throughput(&heals_many, &bare_many),
    ];
    cases.extend(resident::cases("idle", idle));
    cases.extend(resident::cases("after the heals", busy));
    Ok(cases)
}

fn latency(name: &str, heals: &Round, bare: &Round, percent: usize, goal: Goal) -> Case {
    let [ours, other] = [heals, bare].map(|round| percentile(round.times_ms.clone(), percent));
    Case::new(format!("request to visible change, {name}"), "ms", ours, other, BARE, goal)
}

fn throughput(heals: &Round, bare: &Round) -> Case {
    let [ours, other] = [heals, bare].map(|round| round.times_ms.len() as f64 / round.lasted.as_secs_f64());
    let what = format!("visible changes with {IN_FLIGHT} in flight");
    Case::new(what, "/s", ours, other, BARE, Goal::PartMin(THROUGHPUT_PART_MIN))
}

/// The smallest value that so many percent of all do not exceed.
pub(super) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

/// What one arm took in one part.
#[derive(Default)]
struct Round {
    times_ms: Vec<f64>,
    lasted: Duration,
    /// Until everything that the changes caused was done.
    taken: Taken,
}

impl Round {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        Self { times_ms: times.map(milliseconds).collect(), ..Self::default() }
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[derive(Clone, Copy)]
enum Arm {
    Heal,
    Bare,
}

/// One change as the watch saw it.
#[derive(Clone, Debug)]
struct Change {
    sent_at: Timestamp,
    seen_at: Timestamp,
    took: Duration,
    /// Of the action, if it was one.
    action_id: Option<String>,
}

/// One heal, seen through to its end.
#[derive(Debug)]
struct Heal {
    change: Change,
    action: Value,
    /// Transactions that wrote something, from sending until the change was visible.
    commits: i64,
}

struct Bench {
    scene: Scene,
    kubernetes: kube::Client,
    visible: Visible,
    commits: Commits,
    workloads: usize,
}

impl Bench {
    /// As many workloads as rounds: no request waits for an earlier one on its target.
    async fn start(workloads: usize) -> Result<Self> {
        let scene = Scene::start(workloads).await?;
        let namespace = scene.stack.namespace();
        let visible = Visible::watch(scene.stack.kubernetes(), namespace, workloads).await?;
        visible.settled().await?;
        let commits = Commits::of(&scene.stack).await?;
        let kubernetes = scene.stack.kubernetes().client().await?;
        Ok(Self { scene, kubernetes, visible, commits, workloads })
    }

    /// Heal and bare patch in turns, each alone: before the next begins, the action before has ended.
    async fn one_at_a_time(&self, rounds: usize) -> Result<(Vec<Heal>, Vec<Change>)> {
        let (mut heals, mut bare) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let before = self.commits.written().await?;
            let change = self.change(Arm::Heal, round).await?;
            let commits = self.commits.written().await? - before;
            let id = change.action_id.as_deref().context("a heal is an action")?;
            heals.push(Heal { action: self.scene.ended(id).await?, change, commits });
            bare.push(self.change(Arm::Bare, round + self.workloads / 2).await?);
            self.visible.settled().await?;
        }
        Ok((heals, bare))
    }

    /// One block of an arm. What it left behind is done before this returns.
    async fn in_flight(
        self: &Arc<Self>,
        arm: Arm,
        requests: usize,
        block: usize,
        round: &mut Round,
    ) -> Result<()> {
        let taken_before = Taken::read(&self.scene.stack)?;
        let started_at = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..IN_FLIGHT {
            let bench = Arc::clone(self);
            workers.spawn(async move {
                let mut changes = Vec::new();
                for request in (worker..requests).step_by(IN_FLIGHT) {
                    changes.push(bench.change(arm, block * requests + request).await?);
                }
                anyhow::Ok(changes)
            });
        }
        let mut changes = Vec::new();
        while let Some(done) = workers.join_next().await {
            changes.extend(done??);
        }
        round.lasted += started_at.elapsed();
        round.times_ms.extend(changes.iter().map(|change| milliseconds(change.took)));
        for id in changes.iter().filter_map(|change| change.action_id.as_deref()) {
            self.scene.ended(id).await?;
        }
        self.visible.settled().await?;
        round.taken.add(taken_before, Taken::read(&self.scene.stack)?);
        Ok(())
    }

    /// One change, from sending to seeing it.
    async fn change(&self, arm: Arm, number: usize) -> Result<Change> {
        let index = number % self.workloads;
        let mut seen = self.visible.of(index)?;
        let (sent_at, started_at) = (now(), Instant::now());
        let action_id = match arm {
            Arm::Heal => Some(self.scene.ask("restart", index, &json!({ "duringRollout": true }), 0).await?),
            Arm::Bare => {
                self.patch(index, sent_at).await?;
                None
            }
        };
        let took = seen.next().await?.duration_since(started_at);
        Ok(Change { sent_at, seen_at: sent_at + SignedDuration::try_from(took)?, took, action_id })
    }

    async fn patch(&self, index: usize, at: Timestamp) -> Result<()> {
        let annotations = json!({ RESTARTED_AT: at.to_string() });
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
        let namespace = self.scene.stack.namespace();
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", workload(index));
        let request = http::Request::patch(path)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(patch.to_string().into_bytes())?;
        let answer = self.kubernetes.request_text(request).await?;
        ensure!(answer.contains(RESTARTED_AT), "the patch was answered {answer}");
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a caller outside the services has its own clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=500).map(f64::from).rev().collect();
        assert_eq!(percentile(values.clone(), 50), 250.0);
        assert_eq!(percentile(values, 99), 495.0);
        assert_eq!(percentile(vec![7.0], 99), 7.0);
    }
}

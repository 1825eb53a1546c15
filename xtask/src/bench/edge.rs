//! What a thousand idle and slow connections cost those who heal: the time from sending a signed request for a
//! rehearsed restart to its outcome, without and with them, in turns, so that both meet the machine in the same mood.

use std::time::{Duration, Instant};

use aegis_tests::eventually::until;
use aegis_tests::progress;
use aegis_tests::wire::Wire;
use anyhow::{Result, ensure};
use serde_json::json;

use super::heal::{milliseconds, percentile};
use super::scene::Scene;
use super::{Case, Goal};

/// Idle and slow callers.
const CONNECTIONS: usize = 1_000;
/// Each arm is measured in so many turns.
const BLOCKS: usize = 4;
const ROUNDS: usize = 400;
const ROUNDS_QUICK: usize = 100;
const WARM_UP: usize = 16;
/// Workloads that are rehearsed on, in turn.
const WORKLOADS: usize = 16;
/// Goal: how many times as long the slowest of a hundred may take.
const TIMES_MAX: f64 = 2.0;
/// Between two bytes of a slow caller.
const DRIP: Duration = Duration::from_secs(2);
/// Longest the server may take to let go of connections that were ended.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const OTHER: &str = "without";

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS } / BLOCKS;
    let scene = Scene::start(WORKLOADS).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    rehearse(&scene, WARM_UP).await?;
    for block in 1..=BLOCKS {
        let step =
            progress::step(format!("block {block} of {BLOCKS}: {rounds} rehearsals without and with others"));
        without.extend(rehearse(&scene, rounds).await?);
        let crowd = Crowd::gather(&scene).await?;
        with.extend(rehearse(&scene, rounds).await?);
        crowd.leave(&scene).await?;
        step.done();
    }
    let case = |name: &str, percent, goal| {
        let [ours, other] = [&with, &without].map(|times| percentile(times.clone(), percent));
        let what = format!("rehearsed heal beside {CONNECTIONS} idle and slow connections, {name}");
        Case::new(what, "ms", ours, other, OTHER, goal)
    };
    Ok(vec![case("p50", 50, Goal::None), case("p99", 99, Goal::PartMax(TIMES_MAX))])
}

async fn rehearse(scene: &Scene, rounds: usize) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let started_at = Instant::now();
        scene.rehearse("restart", round % WORKLOADS, &json!({})).await?;
        times.push(milliseconds(started_at.elapsed()));
    }
    Ok(times)
}

/// Those who hold connections: a third say nothing, a third send a head byte by byte, a third a body.
struct Crowd {
    idle: Vec<Wire>,
    dripping: tokio::task::JoinHandle<()>,
}

impl Crowd {
    async fn gather(scene: &Scene) -> Result<Self> {
        let url = scene.stack.control_plane(0).url();
        let (mut idle, mut slow) = (Vec::new(), Vec::new());
        for number in 0..CONNECTIONS {
            let mut wire = Wire::connect(url, 2).await?;
            match number % 3 {
                0 => idle.push(wire),
                kind => {
                    let head = if kind == 1 { "x-slow: " } else { "content-length: 60000\r\n\r\n" };
                    wire.send(&format!("POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\n{head}")).await?;
                    slow.push(wire);
                }
            }
        }
        let open = open(scene).await?;
        ensure!(open >= CONNECTIONS, "only {open} connections are open");
        let dripping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(DRIP).await;
                for wire in &mut slow {
                    // Bodies are given up after some time, as they should be.
                    let _ = wire.send("x").await;
                }
            }
        });
        Ok(Self { idle, dripping })
    }

    async fn leave(self, scene: &Scene) -> Result<()> {
        drop(self.idle);
        self.dripping.abort();
        until(
            "the connections being closed",
            ENDED_WITHIN,
            async || Ok(open(scene).await? < CONNECTIONS / 10),
        )
        .await
    }
}

/// How many connections the control plane has.
async fn open(scene: &Scene) -> Result<usize> {
    let page = scene.stack.anonymous()?.get("/metrics").await?.expect(200)?.text;
    let open = page.lines().find_map(|line| line.strip_prefix("aegis_http_connections "));
    Ok(open.unwrap_or_default().parse().unwrap_or_default())
}

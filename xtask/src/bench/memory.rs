//! Memory of both services, idle and over two thousand actions, most of which scale.

use std::sync::Arc;

use aegis_tests::progress;
use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;

use super::Case;
use super::resident;
use super::scene::Scene;

/// Actions in all; the first quarter warms everything up.
const ACTIONS: usize = 2_000;
const ACTIONS_QUICK: usize = 200;
/// Callers that ask and wait for the end, each of workloads of its own.
const CALLERS: usize = 16;
/// Workloads of one caller.
const WORKLOADS_EACH: usize = 4;
/// One action in so many restarts; the others scale.
const RESTART_EVERY: usize = 10;

pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let actions = if quick { ACTIONS_QUICK } else { ACTIONS };
    let scene = Arc::new(Scene::start(CALLERS * WORKLOADS_EACH).await?);
    let idle = resident::of(&scene.stack)?;
    let step = progress::step(format!("{actions} actions by {CALLERS} callers"));
    act(&scene, 0, actions / 4).await?;
    let early = resident::of(&scene.stack)?;
    act(&scene, actions / 4, actions).await?;
    let late = resident::of(&scene.stack)?;
    step.done();
    let mut cases = resident::cases("idle", idle);
    cases.extend(resident::cases("after the actions", late));
    cases.extend(resident::growth(early, "1st quarter", late));
    Ok(cases)
}

/// The actions numbered `from..to`, each seen through to its end.
async fn act(scene: &Arc<Scene>, from: usize, to: usize) -> Result<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let scene = Arc::clone(scene);
        callers.spawn(async move {
            for number in (from..to).filter(|number| number % CALLERS == caller) {
                let turn = number / CALLERS;
                let index = caller * WORKLOADS_EACH + turn % WORKLOADS_EACH;
                if turn.is_multiple_of(RESTART_EVERY) {
                    scene.ask("restart", index, &json!({ "duringRollout": true }), 60).await?;
                } else {
                    // Another number than the time before on the same workload; none could not be restarted.
                    let replicas = 1 + (turn / WORKLOADS_EACH) % 3;
                    scene.ask("scale", index, &json!({ "replicas": replicas }), 60).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

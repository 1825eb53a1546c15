//! What the clients ask for: every action type on every kind, and every way not to get it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::actions::scene::Scene;

/// Workloads of each kind.
pub(super) const GROUPS: usize = 4;
/// The workload that nobody may touch.
pub(super) const FORBIDDEN: &str = "forbidden";
/// The workload that an action is at work on all the time.
pub(super) const STUCK: &str = "stuck";

/// What should come of a request, whatever breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is done, or ended with a reason.
    Done,
    /// Policy says no.
    Denied,
    /// Its client takes it back.
    Withdrawn,
    /// Its time runs out behind another.
    TooLate,
    /// There is no such workload.
    Absent,
    /// Nothing is written in the end.
    Rehearsed,
}

/// One request and what should come of it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) asked: Asked,
    pub(super) request: Value,
}

/// That many requests, evenly mixed.
pub(super) async fn wishes(scene: &Scene, count: usize) -> Result<Vec<Wish>> {
    let mut pods = Vec::new();
    for group in 0..GROUPS {
        let found = scene.stack.kubernetes().pods(scene.stack.namespace(), &format!("pods-{group}")).await?;
        for pod in found {
            pods.push(pod["metadata"]["name"].as_str().context("a pod has a name")?.to_owned());
        }
    }
    Ok((0..count).map(|number| wish(scene, &pods, number)).collect())
}

fn wish(scene: &Scene, pods: &[String], number: usize) -> Wish {
    let round = number / 12;
    let group = round % GROUPS;
    let replicas = json!({ "replicas": 1 + round % 3 });
    let action =
        |action: &str, kind: &str, name: &str, params: &Value| scene.stack.action(action, kind, name, params);
    let none = json!({});
    // The one before may still be under way.
    let anyway = json!({ "duringRollout": true });
    let (web, db) = (format!("web-{group}"), format!("db-{group}"));
    let (asked, request) = match number % 12 {
        0 => (Asked::Done, action("restart", "Deployment", &web, &anyway)),
        1 => (Asked::Done, action("scale", "Deployment", &web, &replicas)),
        2 => (Asked::Done, action("rollback", "Deployment", &web, &none)),
        3 => (Asked::Done, action("restart", "StatefulSet", &db, &anyway)),
        4 => (Asked::Done, action("scale", "StatefulSet", &db, &replicas)),
        5 => (Asked::Done, action("restart", "DaemonSet", &format!("agent-{group}"), &anyway)),
        // Pods that were evicted before are absent: the same pod may be asked for twice.
        6 => (Asked::Done, action("restart-pod", "Pod", &pods[round % pods.len()], &none)),
        7 => (Asked::Denied, action("restart", "Deployment", FORBIDDEN, &none)),
        8 => (Asked::Withdrawn, action("scale", "Deployment", STUCK, &replicas)),
        9 => {
            let mut request = action("scale", "Deployment", STUCK, &replicas);
            request["deadlineSeconds"] = json!(5);
            (Asked::TooLate, request)
        }
        10 => (Asked::Absent, action("restart", "Deployment", "absent", &none)),
        _ => {
            let mut request = action("restart", "Deployment", &web, &anyway);
            request["dryRun"] = json!(true);
            (Asked::Rehearsed, request)
        }
    };
    Wish { asked, request }
}

//! Courses of rollouts, second by second: when each is called bad, and that those which get well are not.

use aegis_contract::code::OutcomeCode;
use aegis_contract::target::Kind;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{History, NewPods, Verdict, Written};
use crate::action::object::Object;

const MARK: &str = "a1";

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_millis(milliseconds)
}

/// What is seen at one time.
enum Seen {
    Pod(Value),
    Gone(&'static str),
    Workload(Value),
    /// The API server is away.
    Nothing,
    /// It is back, with these pods.
    Pods(Vec<Value>),
}

use Seen::{Gone, Nothing, Pods, Workload};

fn pod(name: &str, status: Value) -> Seen {
    Seen::Pod(pod_value(name, status))
}

fn pod_value(name: &str, status: Value) -> Value {
    let annotations = json!({ "aegis.dev/action": MARK });
    let mut pod = json!({ "metadata": { "name": name, "uid": name, "annotations": annotations } });
    pod["status"] = status;
    pod
}

fn waits(reason: &str, message: &str) -> Value {
    let state = json!({ "waiting": { "reason": reason, "message": message } });
    json!({ "containerStatuses": [{ "name": "main", "ready": false, "restartCount": 0, "state": state }] })
}

fn runs(ready: bool, restarts: u64) -> Value {
    let last =
        if restarts > 0 { json!({ "terminated": { "exitCode": 1, "reason": "Error" } }) } else { json!({}) };
    json!({ "containerStatuses": [
        { "name": "main", "ready": ready, "restartCount": restarts, "state": { "running": {} }, "lastState": last },
    ] })
}

fn backs_off(restarts: u64) -> Value {
    let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let last = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    json!({ "containerStatuses": [
        { "name": "main", "ready": false, "restartCount": restarts, "state": state, "lastState": last },
    ] })
}

fn without_node() -> Value {
    json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] })
}

/// A Deployment of ten with so many new pods and so many that are ready.
fn ten(updated: u32, ready: u32) -> Value {
    json!({
        "metadata": { "generation": 2 },
        "spec": { "replicas": 10, "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } } },
        "status": {
            "observedGeneration": 2, "replicas": 10, "updatedReplicas": updated,
            "readyReplicas": ready, "availableReplicas": ready,
        },
    })
}

fn refused(updated: u32) -> Value {
    let mut value = ten(updated, 10);
    value["status"]["conditions"] = json!([
        { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" },
    ]);
    value
}

fn history(new_pods: NewPods) -> History {
    let mut history = History::new(Written {
        kind: Kind::Deployment,
        at: at(0),
        new_pods,
        ready_before: Some(10),
        failed_before: None,
    });
    history.see_pods(&[], at(0));
    history.see_workload(&Object::new(ten(1, 10)), at(0));
    history
}

fn see(history: &mut History, seen: &Seen, now: Timestamp) {
    match seen {
        Seen::Pod(pod) => history.see_pod(&Object::new(pod.clone()), now),
        Gone(uid) => history.lose_pod(uid),
        Workload(value) => history.see_workload(&Object::new(value.clone()), now),
        Nothing => history.lose_workload(now),
        Pods(pods) => {
            history.see_workload(&Object::new(ten(1, 10)), now);
            let pods: Vec<_> = pods.iter().cloned().map(Object::new).collect();
            history.see_pods(&pods, now);
        }
    }
}

/// When a course is called bad, in milliseconds, and why; it is looked at twice a second for ten minutes.
fn called_bad(course: &[(i64, Seen)]) -> Option<(i64, OutcomeCode)> {
    let mut history = history(NewPods::Marked(MARK.to_owned()));
    for now in (0..600_000).step_by(500) {
        for (_, seen) in course.iter().filter(|(when, _)| (now - 500..now).contains(&(when - 1))) {
            see(&mut history, seen, at(now));
        }
        if let Verdict::Bad(bad) = history.verdict(at(now)) {
            return Some((now, bad.code));
        }
    }
    None
}

const NOT_THERE: &str = "shop/web:9: not found";
const SLOW: &str = "net/http: TLS handshake timeout";

#[test]
fn a_bad_rollout_is_called_bad_as_soon_as_that_is_certain() {
    use OutcomeCode as Code;
    let backing_off = waits("ImagePullBackOff", "Back-off pulling image");
    for (name, course, expected) in [
        (
            "no such image",
            vec![(1_000, pod("p", waits("ErrImagePull", NOT_THERE)))],
            (1_000, Code::ImagePullFailed),
        ),
        (
            "a pod that only backs off",
            vec![(1_000, pod("p", backing_off.clone()))],
            (4_000, Code::ImagePullFailed),
        ),
        (
            "a registry that stays away",
            vec![(1_000, pod("p", waits("ErrImagePull", SLOW))), (2_000, pod("p", backing_off))],
            (11_000, Code::ImagePullFailed),
        ),
        (
            "a secret that is not there",
            vec![(1_000, pod("p", waits("CreateContainerConfigError", "secret not found")))],
            (1_000, Code::ContainerConfigFailed),
        ),
        // The kubelet's pauses: ten seconds after the first end, then twenty, then forty.
        (
            "a crash loop",
            vec![
                (2_000, pod("p", runs(true, 0))),
                (3_000, pod("p", backs_off(0))),
                (13_000, pod("p", runs(true, 1))),
                (14_000, pod("p", backs_off(1))),
                (34_000, pod("p", runs(true, 2))),
                (35_000, pod("p", backs_off(2))),
                (75_000, pod("p", runs(true, 3))),
            ],
            (35_000, Code::CrashLoop),
        ),
        ("no room", vec![(1_000, pod("p", without_node()))], (61_000, Code::PodUnschedulable)),
        ("a quota", vec![(1_000, Workload(refused(1)))], (16_000, Code::PodsNotCreated)),
        ("too few that serve", vec![(1_000, Workload(ten(4, 8)))], (61_000, Code::ReadinessWorse)),
        (
            "what was said before the API server went away, and is said again",
            vec![
                (1_000, pod("p", waits("ErrImagePull", SLOW))),
                (2_000, Nothing),
                (30_000, Pods(vec![pod_value("p", waits("ErrImagePull", SLOW))])),
            ],
            (30_000, Code::ImagePullFailed),
        ),
    ] {
        assert_eq!(called_bad(&course), Some(expected), "{name}");
    }
}

#[test]
fn a_rollout_that_gets_well_by_itself_is_never_called_bad() {
    let flapping = (0..60).map(|round| (round * 10_000, pod("p0", runs(round % 2 == 0, 0))));
    let flapping_serves = (0..60).map(|round| {
        let ready = if round % 2 == 0 { 10 } else { 8 };
        (round * 10_000, Workload(ten(10, ready)))
    });
    let nine: Vec<_> = (1..10).map(|number| pod_value(&format!("p{number}"), runs(true, 0))).collect();
    let with_nine = |sick: Value| {
        let mut pods = nine.clone();
        pods.push(pod_value("p0", sick));
        Pods(pods)
    };
    let mut evicted = pod_value("p0", runs(true, 0));
    evicted["status"]["conditions"] =
        json!([{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" }]);
    let deleted = |name: &str| {
        let mut pod = pod_value(name, backs_off(5));
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-20T12:00:00Z");
        Seen::Pod(pod)
    };
    let mut others = pod_value("old", backs_off(7));
    others["metadata"]["annotations"] = json!({ "aegis.dev/action": "another" });
    for (name, course) in [
        (
            "a pull that works in the end",
            vec![
                (1_000, pod("p", waits("ErrImagePull", SLOW))),
                (3_000, pod("p", waits("ImagePullBackOff", "Back-off pulling image"))),
                (10_500, pod("p", runs(true, 0))),
            ],
        ),
        (
            "a slow start",
            vec![
                (1_000, pod("p", waits("ContainerCreating", ""))),
                (2_000, pod("p", runs(false, 0))),
                (2_000, Workload(ten(2, 9))),
                (300_000, pod("p", runs(true, 0))),
            ],
        ),
        ("one restart", vec![(1_000, pod("p", backs_off(1))), (11_000, pod("p", runs(true, 1)))]),
        ("one of ten that is now ready and now not", flapping.collect()),
        ("two of ten that are", flapping_serves.collect()),
        ("one of ten in a crash loop", vec![(1_000, with_nine(backs_off(4)))]),
        ("one of ten on a node that cannot pull", vec![(1_000, with_nine(waits("ErrImagePull", NOT_THERE)))]),
        (
            "a drained node",
            vec![
                (1_000, with_nine(runs(true, 0))),
                (2_000, Seen::Pod(evicted)),
                (3_000, Gone("p0")),
                (3_000, Workload(ten(10, 6))),
                (4_000, pod("p10", without_node())),
                (5_000, pod("p11", without_node())),
                (200_000, pod("p10", runs(true, 0))),
                (200_000, pod("p11", runs(true, 0))),
                (201_000, Workload(ten(10, 10))),
            ],
        ),
        ("a node that comes", vec![(1_000, pod("p", without_node())), (50_000, pod("p", runs(true, 0)))]),
        (
            "a quota that becomes free as old pods go",
            vec![
                (1_000, Workload(refused(1))),
                (10_000, Workload(refused(2))),
                (20_000, Workload(refused(3))),
                (30_000, Workload(ten(4, 10))),
            ],
        ),
        ("pods of another write", vec![(1_000, Seen::Pod(others))]),
        ("a pod that goes", vec![(1_000, deleted("p"))]),
        (
            "an API server that went away before it was certain",
            vec![
                (1_000, pod("p", waits("ErrImagePull", SLOW))),
                (2_000, Nothing),
                (60_000, Pods(vec![pod_value("p", runs(true, 0))])),
            ],
        ),
    ] {
        assert_eq!(called_bad(&course), None, "{name}");
    }
}

#[test]
fn what_is_out_of_sight_is_unknown_and_what_is_complete_is_good() {
    let mut history = history(NewPods::Marked(MARK.to_owned()));
    history.see_workload(&Object::new(ten(10, 10)), at(1_000));
    assert!(matches!(history.verdict(at(1_000)), Verdict::Good(_)));
    history.lose_workload(at(1_500));
    assert!(matches!(history.verdict(at(2_000)), Verdict::Unknown(_)));
}

#[test]
fn of_a_scaled_workload_only_pods_created_since_count() {
    let created = |second: &str| {
        let mut pod = pod_value("p", waits("InvalidImageName", ""));
        pod["metadata"]["creationTimestamp"] = json!(format!("1970-01-01T00:00:{second}Z"));
        Object::new(pod)
    };
    for (second, is_bad) in [("09", false), ("10", true)] {
        let mut history = history(NewPods::CreatedSince(at(10_000)));
        history.see_pod(&created(second), at(11_000));
        assert_eq!(matches!(history.verdict(at(11_000)), Verdict::Bad(_)), is_bad, "{second}");
    }
}

#[test]
fn of_a_canary_only_pods_that_came_after_it_count_and_nobody_may_be_missing_for_long() {
    let canary = || history(NewPods::NotAmong(["old".to_owned()].into()));
    for (name, is_bad) in [("old", false), ("new", true)] {
        let mut history = canary();
        history.see_pod(&Object::new(pod_value(name, waits("InvalidImageName", ""))), at(1_000));
        assert_eq!(matches!(history.verdict(at(1_000)), Verdict::Bad(_)), is_bad, "{name}");
    }
    // The strategy takes one away, and the canary was one that served.
    let mut history = canary();
    for (now, is_bad) in [(1_000, false), (60_000, false), (61_000, true)] {
        history.see_workload(&Object::new(ten(10, 9)), at(now));
        let bad =
            matches!(history.verdict(at(now)), Verdict::Bad(bad) if bad.code == OutcomeCode::ReadinessWorse);
        assert_eq!(bad, is_bad, "{now}");
    }
}

//! What a pod says of itself, held against tables of signs that it will not get well.

use aegis_contract::code::OutcomeCode;
use serde_json::Value;

use crate::action::object::Object;

/// A pull that fails for a reason that passes is tried again by the kubelet after ten seconds.
const PULL_GRACE_SECONDS: u32 = 10;
/// How long a pod may only say that it backs off from pulling, before it must have said it for long enough.
/// Shorter than the five seconds within which a bad image is called bad.
const BACK_OFF_GRACE_SECONDS: u32 = 3;
/// How long a pod may find no node: others may leave, or a node may come.
const UNSCHEDULABLE_GRACE_SECONDS: u32 = 60;
/// The restart from which a container that ends again and again is in a loop: one may be bad luck.
const LOOP_RESTARTS: u64 = 2;

/// Reasons for which a container waits that no waiting cures.
const WAITING: [(&str, OutcomeCode); 6] = [
    ("InvalidImageName", OutcomeCode::ImagePullFailed),
    ("ErrImageNeverPull", OutcomeCode::ImagePullFailed),
    ("SignatureValidationFailed", OutcomeCode::ImagePullFailed),
    ("CreateContainerConfigError", OutcomeCode::ContainerConfigFailed),
    ("CreateContainerError", OutcomeCode::ContainerConfigFailed),
    ("RunContainerError", OutcomeCode::ContainerConfigFailed),
];

/// Reasons for which a container waits for its image to be pulled once more, and how long it may where it
/// does not say why.
const PULLING: [(&str, u32); 3] = [
    ("ErrImagePull", PULL_GRACE_SECONDS),
    ("ImageInspectError", PULL_GRACE_SECONDS),
    ("ImagePullBackOff", BACK_OFF_GRACE_SECONDS),
];

/// What a message about pulling says where the registry is away for a moment; looked for first.
const PULL_PASSES: [&str; 14] = [
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection refused",
    "connection reset",
    "no such host",
    "tls handshake",
    "unexpected eof",
    "too many requests",
    "toomanyrequests",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "temporary",
];
/// What it says where the image is not there, or not for us.
const PULL_IS_FINAL: [&str; 8] = [
    "not found",
    "notfound",
    "manifest unknown",
    "does not exist",
    "denied",
    "unauthorized",
    "invalid reference",
    "no match for platform",
];

/// A sign that a pod will not get well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) code: OutcomeCode,
    /// How long it must last before it counts.
    pub(super) grace_seconds: u32,
    /// Whether the pod says why; otherwise the grace of what it said before stays.
    pub(super) says_why: bool,
    pub(super) message: String,
}

/// The gravest sign that a pod shows, if any.
pub(super) fn sign(pod: &Object) -> Option<Sign> {
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let signs = containers
        .iter()
        .filter_map(|pointer| pod.at(pointer)?.as_array())
        .flatten()
        .filter_map(container_sign);
    let sign = signs.min_by_key(|sign| sign.grace_seconds).or_else(|| unschedulable(pod))?;
    let name = pod.text("/metadata/name");
    Some(Sign { message: format!("pod {name}: {}", sign.message), ..sign })
}

fn container_sign(status: &Value) -> Option<Sign> {
    let name = status["name"].as_str().unwrap_or_default();
    let reason = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
    let said = status["state"]["waiting"]["message"].as_str().unwrap_or_default();
    let message = format!("container {name}: {reason}: {said}");
    if let Some((_, code)) = WAITING.iter().find(|(known, _)| *known == reason) {
        return Some(Sign { code: *code, grace_seconds: 0, says_why: true, message });
    }
    if let Some((_, unsaid)) = PULLING.iter().find(|(known, _)| *known == reason) {
        let (grace_seconds, says_why) = pull_grace(said).map_or((*unsaid, false), |grace| (grace, true));
        return Some(Sign { code: OutcomeCode::ImagePullFailed, grace_seconds, says_why, message });
    }
    crash_loop(status, reason, name)
}

fn pull_grace(message: &str) -> Option<u32> {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&PULL_PASSES) {
        return Some(PULL_GRACE_SECONDS);
    }
    says(&PULL_IS_FINAL).then_some(0)
}

// A container that serves between two ends shows no sign while it does.
fn crash_loop(status: &Value, reason: &str, name: &str) -> Option<Sign> {
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    let has_ended = reason == "CrashLoopBackOff"
        || status["state"]["terminated"].is_object()
        || status["lastState"]["terminated"].is_object();
    if restarts < LOOP_RESTARTS || status["ready"] == true || !has_ended {
        return None;
    }
    let ends = ["lastState", "state"].map(|state| &status[state]["terminated"]);
    let why = ends.iter().find_map(|end| end["reason"].as_str()).unwrap_or("no reason given");
    let message = format!("container {name} was restarted {restarts} times: {why}");
    Some(Sign { code: OutcomeCode::CrashLoop, grace_seconds: 0, says_why: true, message })
}

fn unschedulable(pod: &Object) -> Option<Sign> {
    let condition = pod.condition("PodScheduled")?;
    if condition["status"] != "False" || condition["reason"] != "Unschedulable" {
        return None;
    }
    let message = condition["message"].as_str().unwrap_or("no node takes it").to_owned();
    let code = OutcomeCode::PodUnschedulable;
    Some(Sign { code, grace_seconds: UNSCHEDULABLE_GRACE_SECONDS, says_why: true, message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waiting(reason: &str, message: &str) -> Object {
        Object::new(json!({ "metadata": { "name": "web-1" }, "status": { "containerStatuses": [
            { "name": "main", "restartCount": 0, "state": { "waiting": { "reason": reason, "message": message } } },
        ] } }))
    }

    #[test]
    fn every_reason_to_wait_has_its_code_and_its_grace() {
        use OutcomeCode::{ContainerConfigFailed as Config, ImagePullFailed as Pull};
        let not_found = "failed to resolve reference \"shop/web:9\": shop/web:9: not found";
        let slow = "Get \"https://registry/v2/\": net/http: TLS handshake timeout";
        for (reason, message, expected) in [
            ("ContainerCreating", "", None),
            ("PodInitializing", "", None),
            ("InvalidImageName", "couldn't parse image name", Some((Pull, 0))),
            ("ErrImageNeverPull", "image is not present with pull policy of Never", Some((Pull, 0))),
            ("ErrImagePull", not_found, Some((Pull, 0))),
            ("ErrImagePull", "manifest unknown", Some((Pull, 0))),
            ("ErrImagePull", "pull access denied, repository does not exist", Some((Pull, 0))),
            ("ErrImagePull", slow, Some((Pull, 10))),
            ("ErrImagePull", "dial tcp: lookup registry: no such host", Some((Pull, 10))),
            ("ErrImagePull", "something else", Some((Pull, 10))),
            ("ImagePullBackOff", "Back-off pulling image \"shop/web:9\"", Some((Pull, 3))),
            ("ImagePullBackOff", not_found, Some((Pull, 0))),
            ("ImagePullBackOff", slow, Some((Pull, 10))),
            ("CreateContainerConfigError", "secret \"key\" not found", Some((Config, 0))),
            ("CreateContainerError", "no command specified", Some((Config, 0))),
            ("RunContainerError", "exec: \"nope\": not found", Some((Config, 0))),
        ] {
            let found = sign(&waiting(reason, message)).map(|sign| (sign.code, sign.grace_seconds));
            assert_eq!(found, expected, "{reason} {message}");
        }
    }

    #[test]
    fn a_loop_is_called_one_from_the_second_restart_of_a_container_that_does_not_serve() {
        let status = |restarts: u64, ready: bool, state: Value, last: Value| {
            Object::new(json!({ "metadata": { "name": "web-1" }, "status": { "containerStatuses": [
                { "name": "main", "restartCount": restarts, "ready": ready, "state": state, "lastState": last },
            ] } }))
        };
        let backs_off = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let runs = json!({ "running": {} });
        let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
        for (restarts, ready, state, last, expected) in [
            (1, false, &backs_off, &ended, false),
            (2, false, &backs_off, &ended, true),
            (2, false, &ended, &ended, true),
            (2, false, &runs, &ended, true),
            (2, true, &runs, &ended, false),
            (9, false, &runs, &Value::Null, false),
        ] {
            let found = sign(&status(restarts, ready, state.clone(), last.clone()));
            assert_eq!(found.is_some(), expected, "{restarts} {ready} {state} {last}");
        }
    }

    #[test]
    fn a_container_that_comes_before_the_others_counts_like_them() {
        let pod = Object::new(json!({ "metadata": { "name": "web-1" }, "status": {
            "initContainerStatuses": [
                { "name": "init", "restartCount": 3, "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
            ],
            "containerStatuses": [{ "name": "main", "state": { "waiting": { "reason": "PodInitializing" } } }],
        } }));
        assert_eq!(sign(&pod).map(|sign| sign.code), Some(OutcomeCode::CrashLoop));
    }
}

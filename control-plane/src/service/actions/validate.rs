//! What a request for an action must look like.

use aegis_contract::action::{
    ActionType, Change, ChangeError, DEADLINE_SECONDS_DEFAULT, DEADLINE_SECONDS_MAX,
};
use aegis_contract::problem::FieldError;
use aegis_contract::target::{Kind, Target};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::principal::Caller;
use crate::service::decide::Asked;

/// Most bytes of a reason: a few sentences.
const REASON_BYTES_MAX: usize = 2_000;
/// Most members of metadata.
const METADATA_MEMBERS_MAX: usize = 64;

/// The body of a request for an action. Everything is optional here so that all that is missing can
/// be said at once.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionRequest {
    /// `restart`, `restart-pod`, `scale` or `rollback`.
    #[schema(required, value_type = ActionType)]
    pub r#type: Option<String>,
    /// What to change.
    #[schema(required, nullable = false)]
    pub target: Option<TargetRequest>,
    /// Parameters of the type: `{}`, for `scale` `{"replicas": 5}`, for `rollback` optionally
    /// `{"toRevision": 3}`, for `restart` optionally `{"canary": true}`, or
    /// `{"pods": "unhealthy", "duringRollout": true}`.
    #[schema(nullable = false, value_type = Object)]
    pub params: Option<Map<String, Value>>,
    /// Why, in words. Can be erased later.
    #[schema(nullable = false, max_length = 2000)]
    pub reason: Option<String>,
    /// What is known about the case, for policies: texts, numbers, true and false by key.
    #[schema(nullable = false, value_type = Object)]
    pub metadata: Option<Map<String, Value>>,
    /// Go the whole way, but let the API server only check the write.
    #[schema(nullable = false, default = false)]
    pub dry_run: Option<bool>,
    /// Span in which the action may start, and again be watched: 1 to 3600.
    #[schema(nullable = false, default = 300, minimum = 1, maximum = 3600)]
    pub deadline_seconds: Option<u32>,
}

/// The target of a request.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetRequest {
    /// Cluster as registered.
    #[schema(required, nullable = false)]
    pub cluster: Option<String>,
    /// Namespace.
    #[schema(required, nullable = false)]
    pub namespace: Option<String>,
    /// Kind.
    #[schema(required, value_type = Kind)]
    pub kind: Option<String>,
    /// Name of the object.
    #[schema(required, nullable = false)]
    pub name: Option<String>,
}

/// A request that makes sense.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    pub(super) target: Target,
    pub(super) change: Change,
    pub(super) reason: Option<String>,
    pub(super) metadata: Value,
    pub(super) dry_run: bool,
    pub(super) deadline_seconds: u32,
    pub(super) asked: Asked,
}

/// Checks everything and reports all that is wrong at once.
pub(super) fn validate(request: ActionRequest, caller: &Caller) -> Result<Valid, Error> {
    let mut errors = Vec::new();
    let action_type = read_type(request.r#type, &mut errors);
    let target = read_target(request.target, &mut errors);
    let params = Value::Object(request.params.unwrap_or_default());
    check_text("/reason", request.reason.as_deref(), &mut errors);
    let deadline_seconds = request.deadline_seconds.unwrap_or(DEADLINE_SECONDS_DEFAULT);
    if !(1..=DEADLINE_SECONDS_MAX).contains(&deadline_seconds) {
        let message = format!("must be 1 to {DEADLINE_SECONDS_MAX}, not {deadline_seconds}");
        errors.push(error("/deadlineSeconds", "out-of-range", message));
    }
    let metadata = request.metadata.unwrap_or_default();
    check_metadata(&metadata, &mut errors);
    let metadata = Value::Object(metadata);

    let mut wrong_kind = None;
    let mut change = None;
    if let (Some(action_type), Some((target, kind))) = (action_type, &target) {
        match kind.as_ref().ok().copied().map(|kind| Change::new(action_type, params.clone(), kind)) {
            None => wrong_kind = Some(unknown_kind(action_type, kind)),
            Some(Err(kind @ ChangeError::Kind { .. })) => wrong_kind = Some(kind.to_string()),
            Some(Err(ChangeError::Params { pointer, message, .. })) => {
                errors.push(error(&format!("/params{pointer}"), "invalid-params", message));
            }
            Some(Err(other @ ChangeError::Type(_))) => {
                errors.push(error("/type", "unknown-type", other.to_string()));
            }
            Some(Ok(read)) => change = Some((read, target.clone())),
        }
    }
    let asked = change.as_ref().map(|(change, target)| Asked {
        principal: caller.name.clone(),
        roles: caller.roles.clone(),
        action: change.action_type().as_str().to_owned(),
        resource: target.resource(),
        params: change.params(),
        metadata: metadata.clone(),
    });
    if let Some(Err(Error::Invalid(more))) = asked.as_ref().map(Asked::question) {
        errors.extend(more);
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    match (wrong_kind, change, asked) {
        (None, Some((change, target)), Some(asked)) => Ok(Valid {
            target,
            change,
            reason: request.reason.filter(|reason| !reason.is_empty()),
            metadata,
            dry_run: request.dry_run.unwrap_or(false),
            deadline_seconds,
            asked,
        }),
        (Some(message), ..) => Err(Error::TargetKind(message)),
        _ => Err(Error::internal(anyhow::anyhow!("a request without faults did not make an action"))),
    }
}

fn read_type(text: Option<String>, errors: &mut Vec<FieldError>) -> Option<ActionType> {
    let Some(text) = text else {
        errors.push(missing("/type"));
        return None;
    };
    text.parse()
        .map_err(|unknown: ChangeError| errors.push(error("/type", "unknown-type", unknown.to_string())))
        .ok()
}

/// The target, and its kind or the text that names none. The target then holds another kind and is
/// not to be used.
type ReadTarget = (Target, Result<Kind, String>);

fn read_target(target: Option<TargetRequest>, errors: &mut Vec<FieldError>) -> Option<ReadTarget> {
    let Some(target) = target else {
        errors.push(missing("/target"));
        return None;
    };
    let mut member = |name: &str, value: Option<String>| {
        if value.is_none() {
            errors.push(missing(&format!("/target/{name}")));
        }
        value
    };
    let cluster = member("cluster", target.cluster);
    let namespace = member("namespace", target.namespace);
    let kind = member("kind", target.kind);
    let name = member("name", target.name);
    let (cluster, namespace, kind, name) = (cluster?, namespace?, kind?, name?);
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(kind);
    let target = Target { cluster, namespace, kind: kind.clone().unwrap_or(Kind::Deployment), name };
    let mut sound = true;
    // Each part alone, so that all faults are reported.
    for part in [
        Target { cluster: target.cluster.clone(), ..placeholder() },
        Target { namespace: target.namespace.clone(), ..placeholder() },
        Target { name: target.name.clone(), ..placeholder() },
    ] {
        if let Err(fault) = part.validate() {
            sound = false;
            errors.push(error(&format!("/target/{}", fault.field()), "invalid-name", fault.to_string()));
        }
    }
    sound.then_some((target, kind))
}

fn placeholder() -> Target {
    Target { cluster: "c".to_owned(), namespace: "n".to_owned(), kind: Kind::Pod, name: "x".to_owned() }
}

fn unknown_kind(action_type: ActionType, kind: &Result<Kind, String>) -> String {
    let kinds: Vec<&str> = action_type.kinds().iter().map(|kind| kind.as_str()).collect();
    let kind = kind.as_ref().err().map_or("", String::as_str);
    format!("{action_type} cannot be applied to a {kind}; it takes {}", kinds.join(", "))
}

fn check_text(pointer: &str, text: Option<&str>, errors: &mut Vec<FieldError>) {
    let Some(text) = text else { return };
    if text.len() > REASON_BYTES_MAX {
        errors.push(error(pointer, "too-long", format!("must have at most {REASON_BYTES_MAX} bytes")));
    }
    if text.contains('\0') {
        errors.push(error(pointer, "invalid-text", "must not contain the character U+0000".to_owned()));
    }
}

fn check_metadata(metadata: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    if metadata.len() > METADATA_MEMBERS_MAX {
        let message = format!("must have at most {METADATA_MEMBERS_MAX} members");
        errors.push(error("/metadata", "too-long", message));
    }
    for (key, value) in metadata {
        if key.contains('\0') || value.as_str().is_some_and(|text| text.contains('\0')) {
            let message = "must not contain the character U+0000".to_owned();
            errors.push(error("/metadata", "invalid-text", message));
        }
    }
}

fn missing(pointer: &str) -> FieldError {
    error(pointer, "missing-field", "must be there".to_owned())
}

fn error(pointer: &str, code: &str, message: String) -> FieldError {
    FieldError { pointer: pointer.to_owned(), code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::principal::{Principal, SecondFactor};
    use crate::scope::Scope;

    fn check(body: Value) -> Result<Valid, Error> {
        let principal = Principal::Client("bot".to_owned());
        let name = principal.to_string();
        let caller = Caller {
            principal,
            name,
            roles: Vec::new(),
            scope: Scope::default(),
            requests_per_minute: None,
            session: None,
            second_factor: SecondFactor::Absent,
            nonce: None,
            request_id: String::new(),
        };
        validate(serde_json::from_value(body).unwrap(), &caller)
    }

    fn target(kind: &str) -> Value {
        json!({ "cluster": "local", "namespace": "shop", "kind": kind, "name": "web" })
    }

    #[test]
    fn a_request_needs_no_more_than_type_and_target() {
        let valid = check(json!({ "type": "restart", "target": target("Deployment") })).unwrap();
        assert_eq!((valid.dry_run, valid.deadline_seconds), (false, DEADLINE_SECONDS_DEFAULT));
        assert_eq!(valid.asked.resource, "k8s/local/shop/Deployment/web");
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let Err(Error::Invalid(errors)) = check(json!({
            "target": { "cluster": "Local", "namespace": "shop", "kind": "Deployment", "name": "-" },
            "reason": "a\u{0}b", "deadlineSeconds": 0,
        })) else {
            panic!("accepted")
        };
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/type", "/target/cluster", "/target/name", "/reason", "/deadlineSeconds"]);
    }

    #[test]
    fn params_and_metadata_are_refused_with_their_place() {
        for (body, pointer) in [
            (
                json!({ "type": "scale", "target": target("Deployment"), "params": { "replicas": 1001 } }),
                "/params/replicas",
            ),
            (json!({ "type": "scale", "target": target("Deployment") }), "/params"),
            (
                json!({ "type": "restart", "target": target("Deployment"), "metadata": { "a": [] } }),
                "/metadata/a",
            ),
            (
                json!({ "type": "restart", "target": target("Deployment"), "metadata": { "a": "\u{0}" } }),
                "/metadata",
            ),
        ] {
            let Err(Error::Invalid(errors)) = check(body.clone()) else { panic!("accepted {body}") };
            assert_eq!(errors[0].pointer, pointer, "{body}");
        }
    }

    #[test]
    fn a_kind_that_the_type_does_not_take_has_a_code_of_its_own() {
        for (action_type, kind) in
            [("restart", "Pod"), ("restart-pod", "Deployment"), ("rollback", "Pod"), ("restart", "CronJob")]
        {
            let result = check(json!({ "type": action_type, "target": target(kind) }));
            assert!(matches!(result, Err(Error::TargetKind(_))), "{action_type} {kind}");
        }
    }
}

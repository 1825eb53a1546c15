//! What is asked: who wants to do what to which resource.

use std::fmt;

use aegis_contract::action::ActionType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::attribute::{ATTRIBUTES, METADATA};
use crate::fingerprint::{Fingerprints, Scalars};
use crate::principal::Principal;
use crate::problem::{Problem, code};
use crate::resource::Resource;
use crate::suggest::nearest;

/// Longest name of a role or an action.
const NAME_LENGTH_MAX: usize = 63;
/// Longest key of metadata.
const KEY_LENGTH_MAX: usize = 128;

/// A question as it is written down, before it is known to make sense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawQuestion {
    /// Who asks: `user:…`, `client:…`, `alert-source:…` or `engine:…`.
    pub principal: String,
    /// The roles that the principal holds.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What shall be done, for example `restart`.
    pub action: String,
    /// To what: `k8s/<cluster>/<namespace>/<Kind>/<name>` or `aegis/<noun>/<name>`.
    pub resource: String,
    /// The action's parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// What the requester states about the case: texts, numbers, true and false by key.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A question that makes sense: every part of it has the form that rules are written for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawQuestion", into = "RawQuestion")]
pub struct Question {
    principal: Principal,
    /// Sorted, each once.
    roles: Vec<String>,
    action: String,
    /// The action, if it is one on objects in a cluster.
    action_type: Option<ActionType>,
    resource: Resource,
    params: Scalars,
    metadata: Scalars,
    fingerprints: Fingerprints,
}

/// Everything that keeps a [`RawQuestion`] from being a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct QuestionError(pub Vec<Problem>);

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl Question {
    /// Checks every part and reports all problems at once, with pointers into `raw`.
    pub fn new(raw: RawQuestion) -> Result<Self, QuestionError> {
        let mut problems = Vec::new();
        let principal = Principal::parse(&raw.principal).map_err(|error| {
            problems.push(Problem::new("/principal", code::INVALID_PRINCIPAL, error.to_string()));
        });
        let resource = Resource::parse(&raw.resource).map_err(|error| {
            problems.push(Problem::new("/resource", code::INVALID_RESOURCE, error.to_string()));
        });
        check_roles(&raw.roles, &mut problems);
        check_action(&raw.action, resource.as_ref().ok(), &mut problems);
        check_params(&raw.params, &raw.action, &mut problems);
        check_metadata(&raw.metadata, &mut problems);
        problems.truncate(crate::problem::PROBLEMS_MAX);
        match (principal, resource) {
            (Ok(principal), Ok(resource)) if problems.is_empty() => {
                let RawQuestion { mut roles, action, params, metadata, .. } = raw;
                roles.sort();
                roles.dedup();
                let fingerprints = Fingerprints::new(principal.as_str(), &roles, &action, &resource);
                let (params, metadata) = (params.into(), metadata.into());
                let action_type = action.parse().ok();
                Ok(Self { principal, roles, action, action_type, resource, params, metadata, fingerprints })
            }
            _ => Err(QuestionError(problems)),
        }
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The roles the principal holds, sorted, each once.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// What shall be done.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The action's parameters.
    pub fn params(&self) -> &Scalars {
        &self.params
    }

    /// What the requester states about the case.
    pub fn metadata(&self) -> &Scalars {
        &self.metadata
    }

    pub(crate) fn action_type(&self) -> Option<ActionType> {
        self.action_type
    }

    /// Of the texts that rules match.
    pub(crate) fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }
}

fn check_roles(roles: &[String], problems: &mut Vec<Problem>) {
    for (index, role) in roles.iter().enumerate() {
        if !is_role(role) {
            let message = format!("a role is 1 to {NAME_LENGTH_MAX} visible ASCII characters other than *");
            problems.push(Problem::new(format!("/roles/{index}"), code::INVALID_NAME, message));
        }
    }
}

fn check_action(action: &str, resource: Option<&Resource>, problems: &mut Vec<Problem>) {
    let known = ActionType::ALL.map(ActionType::as_str);
    if let Some(Resource::Kubernetes(_)) = resource {
        if !known.contains(&action) {
            problems.push(
                Problem::new("/action", code::UNKNOWN_ACTION, "no such action on objects in a cluster")
                    .expected(known.join(", "))
                    .suggestion(nearest(action, known)),
            );
        }
    } else if !is_name(action) {
        let message = format!("an action is 1 to {NAME_LENGTH_MAX} visible ASCII characters other than *");
        problems.push(Problem::new("/action", code::INVALID_NAME, message));
    }
}

fn check_params(params: &Map<String, Value>, action: &str, problems: &mut Vec<Problem>) {
    let of_action: Vec<&str> = ATTRIBUTES
        .iter()
        .filter(|attribute| attribute.presence.action().is_some_and(|of| of.as_str() == action))
        .filter_map(|attribute| attribute.path.strip_prefix("params."))
        .collect();
    let known_action = action.parse::<ActionType>().is_ok();
    for (name, value) in params {
        let pointer = member_pointer("/params", name);
        if known_action && !of_action.contains(&name.as_str()) {
            problems.push(
                Problem::new(pointer, code::UNKNOWN_FIELD, format!("{action} has no such parameter"))
                    .suggestion(nearest(name, of_action.iter().copied())),
            );
        } else if !is_scalar(value) {
            problems.push(Problem::new(pointer, code::WRONG_TYPE, SCALAR_EXPECTED));
        }
    }
}

fn check_metadata(metadata: &Map<String, Value>, problems: &mut Vec<Problem>) {
    for (key, value) in metadata {
        let pointer = member_pointer("/metadata", key);
        if key.is_empty() || key.len() > KEY_LENGTH_MAX {
            let message =
                format!("a key of metadata, read as `{METADATA}<key>`, has 1 to {KEY_LENGTH_MAX} bytes");
            problems.push(Problem::new(pointer, code::INVALID_NAME, message));
        } else if !is_scalar(value) {
            problems.push(Problem::new(pointer, code::WRONG_TYPE, SCALAR_EXPECTED));
        }
    }
}

const SCALAR_EXPECTED: &str = "a text, a number, true or false; leave out what is not known";

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// Whether this can be the name of a role.
pub(crate) fn is_role(text: &str) -> bool {
    is_name(text)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

fn member_pointer(parent: &str, key: &str) -> String {
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl TryFrom<RawQuestion> for Question {
    type Error = QuestionError;

    fn try_from(raw: RawQuestion) -> Result<Self, QuestionError> {
        Self::new(raw)
    }
}

impl From<Question> for RawQuestion {
    fn from(question: Question) -> Self {
        Self {
            principal: question.principal.into(),
            roles: question.roles,
            action: question.action,
            resource: question.resource.into(),
            params: question.params.into(),
            metadata: question.metadata.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: Value) -> RawQuestion {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn all_problems_of_a_question_are_reported_at_once() {
        let error = Question::new(raw(json!({
            "principal": "bot", "roles": ["ok", "not*ok"], "action": "restrat",
            "resource": "k8s/prod/shop/Deployment/web",
            "params": { "replicas": null }, "metadata": { "a/b": [], "": 1, "severity": "high" }
        })))
        .unwrap_err();
        let found: Vec<(&str, &str)> =
            error.0.iter().map(|problem| (problem.pointer.as_str(), problem.code)).collect();
        assert_eq!(
            found,
            [
                ("/principal", code::INVALID_PRINCIPAL),
                ("/roles/1", code::INVALID_NAME),
                ("/action", code::UNKNOWN_ACTION),
                ("/params/replicas", code::WRONG_TYPE),
                ("/metadata/", code::INVALID_NAME),
                ("/metadata/a~1b", code::WRONG_TYPE),
            ]
        );
        assert_eq!(error.0[2].suggestion.as_deref(), Some("restart"));
    }

    #[test]
    fn a_parameter_of_another_action_is_refused() {
        let error = Question::new(raw(json!({
            "principal": "client:bot", "action": "scale", "resource": "k8s/prod/shop/Deployment/web",
            "params": { "replica": 3 }
        })))
        .unwrap_err();
        assert_eq!(
            (error.0[0].code, error.0[0].suggestion.as_deref()),
            (code::UNKNOWN_FIELD, Some("replicas"))
        );
        let error = Question::new(raw(json!({
            "principal": "client:bot", "action": "restart", "resource": "k8s/prod/shop/Deployment/web",
            "params": { "toRevision": 3 }
        })))
        .unwrap_err();
        assert_eq!(
            (error.0[0].code, error.0[0].pointer.as_str()),
            (code::UNKNOWN_FIELD, "/params/toRevision")
        );
    }

    #[test]
    fn a_question_reads_back_what_it_writes_with_its_roles_in_order() {
        let question = Question::new(raw(json!({
            "principal": "user:7", "roles": ["sre", "admin", "sre"], "action": "scale",
            "resource": "k8s/prod/shop/Deployment/web", "params": { "replicas": 3 }, "metadata": { "ok": true }
        })))
        .unwrap();
        assert_eq!(question.roles(), ["admin", "sre"]);
        let text = serde_json::to_string(&question).unwrap();
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), question);
        assert!(serde_json::from_str::<Question>(&text.replace("scale", "destroy")).is_err());
    }

    #[test]
    fn a_question_about_aegis_itself_may_name_actions_of_its_own() {
        let question =
            raw(json!({ "principal": "user:7", "action": "activate", "resource": "aegis/policy/prod" }));
        assert_eq!(Question::new(question).unwrap().resource().target(), None);
    }
}

//! The one table of attributes that a condition can read: path, type, presence, origin and meaning.

use std::fmt;

use aegis_contract::action::ActionType;
use aegis_contract::facts::Facts;
use aegis_contract::target::Target;
use serde_json::Value;

use crate::question::Question;

/// Paths beginning with this read the request's metadata; the rest of the path is the key.
pub const METADATA: &str = "metadata.";
/// Paths beginning with this read the executor's facts about the target.
pub const TARGET: &str = "target.";
/// The number of replicas that `scale` asks for.
pub(crate) const REPLICAS: &str = "params.replicas";

/// What values an attribute has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A number without a fraction.
    Whole,
    /// True or false.
    Flag,
    /// A list of texts.
    List,
    /// A text, a number or a flag; which one is known only when a question is asked.
    Scalar,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::OneOf(values) => write!(f, "one of {}", values.join(", ")),
            Self::Whole => f.write_str("whole number"),
            Self::Flag => f.write_str("true or false"),
            Self::List => f.write_str("list of texts"),
            Self::Scalar => f.write_str("text, number, true or false"),
        }
    }
}

/// When an attribute is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In every question.
    Always,
    /// In every question about an object in a cluster.
    Kubernetes,
    /// In every question about this action, and in no other.
    With(ActionType),
    /// Perhaps in questions about this action, and in no other.
    PerhapsWith(ActionType),
    /// Perhaps in any question.
    Perhaps,
}

impl Presence {
    /// The action without which the attribute is never there.
    pub(crate) fn action(self) -> Option<ActionType> {
        match self {
            Self::With(action) | Self::PerhapsWith(action) => Some(action),
            Self::Always | Self::Kubernetes | Self::Perhaps => None,
        }
    }

    /// Whether a rule that matches only these actions can count on the attribute.
    pub(crate) fn is_certain_for(self, actions: &[ActionType]) -> bool {
        match self {
            // On `aegis/` resources the three segments are missing; reading them there is unknown,
            // which closes the gate. Asking every DENY about kinds to say so would teach nothing.
            Self::Always | Self::Kubernetes => true,
            Self::With(action) => actions == [action],
            Self::PerhapsWith(_) | Self::Perhaps => false,
        }
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Kubernetes => f.write_str("on `k8s/` resources"),
            Self::With(action) => write!(f, "with `{action}`"),
            Self::PerhapsWith(action) => write!(f, "optional, with `{action}`"),
            Self::Perhaps => f.write_str("optional"),
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Attribute {
    /// How a condition names it; `metadata.*` stands for every key.
    pub path: &'static str,
    /// What values it has.
    pub value_type: Type,
    /// When it is there.
    pub presence: Presence,
    /// Where it comes from.
    pub origin: &'static str,
    /// What it means.
    pub description: &'static str,
    read: Read,
}

/// How a row is read; the whole path is passed for `metadata.*`.
#[derive(Debug)]
enum Read {
    Question(fn(&Question) -> Option<Value>),
    Target(fn(&Target) -> Option<Value>),
    Param(&'static str),
    Metadata,
    Facts(fn(&Facts) -> Option<Value>),
}

const ACTIONS: &[&str] = &["restart", "restart-pod", "scale", "rollback"];
const KINDS: &[&str] = &["Deployment", "StatefulSet", "DaemonSet", "Pod"];
pub(crate) const RESTARTED: &[&str] = &["all", "unhealthy"];
pub(crate) const ROLLOUTS: &[&str] = &["complete", "progressing", "failed"];

const WHO: &str = "the signature or session of the request";
const REQUEST: &str = "the request";
const EXECUTOR: &str = "the executor's facts";
const PLAN: &str = "the executor's plan";

const fn row(
    path: &'static str,
    value_type: Type,
    presence: Presence,
    origin: &'static str,
    description: &'static str,
    read: Read,
) -> Attribute {
    Attribute { path, value_type, presence, origin, description, read }
}

/// Every attribute, in the order it is documented.
pub static ATTRIBUTES: &[Attribute] = &[
    row(
        "principal",
        Type::Text,
        Presence::Always,
        WHO,
        "who asks, as `kind:name`",
        Read::Question(|question| Some(question.principal().as_str().into())),
    ),
    row(
        "roles",
        Type::List,
        Presence::Perhaps,
        WHO,
        "the roles the principal holds",
        Read::Question(|question| (!question.roles().is_empty()).then(|| question.roles().into())),
    ),
    row(
        "action",
        Type::OneOf(ACTIONS),
        Presence::Always,
        REQUEST,
        "what shall be done",
        Read::Question(|question| Some(question.action().into())),
    ),
    row(
        "resource",
        Type::Text,
        Presence::Always,
        REQUEST,
        "the whole resource",
        Read::Question(|question| Some(question.resource().to_string().into())),
    ),
    row(
        "resource.cluster",
        Type::Text,
        Presence::Kubernetes,
        REQUEST,
        "the target's cluster",
        Read::Target(|target| Some(target.cluster.as_str().into())),
    ),
    row(
        "resource.namespace",
        Type::Text,
        Presence::Kubernetes,
        REQUEST,
        "the target's namespace",
        Read::Target(|target| Some(target.namespace.as_str().into())),
    ),
    row(
        "resource.kind",
        Type::OneOf(KINDS),
        Presence::Kubernetes,
        REQUEST,
        "the target's kind",
        Read::Target(|target| Some(target.kind.as_str().into())),
    ),
    row(
        "resource.name",
        Type::Text,
        Presence::Always,
        REQUEST,
        "the last segment of the resource",
        Read::Question(|question| Some(question.resource().name().into())),
    ),
    row(
        REPLICAS,
        Type::Whole,
        Presence::With(ActionType::Scale),
        REQUEST,
        "the wanted number of replicas",
        Read::Param("replicas"),
    ),
    row(
        "params.duringRollout",
        Type::Flag,
        Presence::PerhapsWith(ActionType::Restart),
        REQUEST,
        "whether to restart also while a rollout is under way; missing means no",
        Read::Param("duringRollout"),
    ),
    row(
        "params.pods",
        Type::OneOf(RESTARTED),
        Presence::PerhapsWith(ActionType::Restart),
        REQUEST,
        "which pods to restart: all, or only those that are not ready; missing means all",
        Read::Param("pods"),
    ),
    row(
        "params.canary",
        Type::Flag,
        Presence::PerhapsWith(ActionType::Restart),
        REQUEST,
        "whether to restart one pod before the others, and those only if its successor is good; missing means no",
        Read::Param("canary"),
    ),
    row(
        "params.toRevision",
        Type::Whole,
        Presence::PerhapsWith(ActionType::Rollback),
        REQUEST,
        "the revision to return to",
        Read::Param("toRevision"),
    ),
    row(
        "metadata.*",
        Type::Scalar,
        Presence::Perhaps,
        REQUEST,
        "what the requester states about the case, for example `metadata.severity`",
        Read::Metadata,
    ),
    row(
        "target.uid",
        Type::Text,
        Presence::Perhaps,
        EXECUTOR,
        "the object's uid",
        Read::Facts(|facts| Some(facts.uid.as_str().into())),
    ),
    row(
        "target.generation",
        Type::Whole,
        Presence::Perhaps,
        EXECUTOR,
        "the object's generation",
        Read::Facts(|facts| Some(facts.generation.into())),
    ),
    row(
        "target.templateDigest",
        Type::Text,
        Presence::Perhaps,
        EXECUTOR,
        "digest of the pod template; a pod has none",
        Read::Facts(|facts| facts.template_digest.map(|digest| digest.to_string().into())),
    ),
    row(
        "target.replicas",
        Type::Whole,
        Presence::Perhaps,
        EXECUTOR,
        "the replicas wanted now; DaemonSets and pods have none",
        Read::Facts(|facts| facts.replicas.map(Value::from)),
    ),
    row(
        "target.readyReplicas",
        Type::Whole,
        Presence::Perhaps,
        EXECUTOR,
        "pods that are ready",
        Read::Facts(|facts| Some(facts.ready_replicas.into())),
    ),
    row(
        "target.availableReplicas",
        Type::Whole,
        Presence::Perhaps,
        EXECUTOR,
        "pods that are available",
        Read::Facts(|facts| Some(facts.available_replicas.into())),
    ),
    row(
        "target.updatedReplicas",
        Type::Whole,
        Presence::Perhaps,
        EXECUTOR,
        "pods of the present template",
        Read::Facts(|facts| Some(facts.updated_replicas.into())),
    ),
    row(
        "target.paused",
        Type::Flag,
        Presence::Perhaps,
        EXECUTOR,
        "whether its rollouts are paused",
        Read::Facts(|facts| Some(facts.paused.into())),
    ),
    row(
        "target.rollout",
        Type::OneOf(ROLLOUTS),
        Presence::Perhaps,
        EXECUTOR,
        "state of the latest rollout",
        Read::Facts(|facts| Some(facts.rollout.as_str().into())),
    ),
    row(
        "target.podsAffected",
        Type::Whole,
        Presence::Perhaps,
        PLAN,
        "pods that the action makes, ends or replaces",
        Read::Facts(|facts| facts.pods_affected.map(Value::from)),
    ),
    row(
        "target.unavailableMax",
        Type::Whole,
        Presence::Perhaps,
        PLAN,
        "most wanted pods that may not be available at one time, with those that are not now",
        Read::Facts(|facts| facts.unavailable_max.map(Value::from)),
    ),
    row(
        "target.unavailableMaxPercent",
        Type::Whole,
        Presence::Perhaps,
        PLAN,
        "the same in per cent of the wanted pods, rounded up",
        Read::Facts(|facts| facts.unavailable_max_percent.map(Value::from)),
    ),
    row(
        "target.disruptionsAllowed",
        Type::Whole,
        Presence::Perhaps,
        PLAN,
        "pods that the tightest disruption budget of the target lets go down; missing where it has none",
        Read::Facts(|facts| facts.disruptions_allowed.map(Value::from)),
    ),
];

/// Facts that some objects, or facts that were asked for without a change, do not have.
pub(crate) const MISSING_FACTS: &[&str] = &[
    "target.templateDigest",
    "target.replicas",
    "target.podsAffected",
    "target.unavailableMax",
    "target.unavailableMaxPercent",
    "target.disruptionsAllowed",
];

/// The row that a path names.
pub fn find(path: &str) -> Option<&'static Attribute> {
    if path.strip_prefix(METADATA).is_some_and(|key| !key.is_empty()) {
        return ATTRIBUTES.iter().find(|attribute| matches!(attribute.read, Read::Metadata));
    }
    ATTRIBUTES.iter().find(|attribute| attribute.path == path)
}

impl Attribute {
    /// The value that `path`, which names this row, has in a question; nothing when it is missing.
    pub(crate) fn value(&self, path: &str, question: &Question, facts: Option<&Facts>) -> Option<Value> {
        match self.read {
            Read::Question(read) => read(question),
            Read::Target(read) => question.resource().target().and_then(read),
            Read::Param(name) => question.params().get(name).cloned(),
            Read::Metadata => question.metadata().get(path.strip_prefix(METADATA)?).cloned(),
            Read::Facts(read) => facts.and_then(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::RestartedPods;
    use aegis_contract::facts::Rollout;
    use aegis_contract::target::Kind;

    use super::*;

    #[test]
    fn the_closed_types_name_what_the_contract_names() {
        assert_eq!(ACTIONS, ActionType::ALL.map(ActionType::as_str));
        assert_eq!(KINDS, Kind::ALL.map(Kind::as_str));
        assert_eq!(ROLLOUTS, [Rollout::Complete, Rollout::Progressing, Rollout::Failed].map(Rollout::as_str));
    }

    #[test]
    fn the_pods_that_a_restart_can_name_are_those_of_the_contract() {
        let named =
            [RestartedPods::All, RestartedPods::Unhealthy].map(|pods| serde_json::to_value(pods).unwrap());
        assert_eq!(named.as_slice(), RESTARTED);
    }

    #[test]
    fn every_path_finds_its_own_row() {
        for attribute in ATTRIBUTES {
            assert!(std::ptr::eq(find(attribute.path).unwrap(), attribute), "{}", attribute.path);
        }
        assert_eq!(find("metadata.team.name").unwrap().path, "metadata.*");
        for path in ["metadata", "metadata.", "params", "params.replica", "target.*", "Principal", ""] {
            assert!(find(path).is_none(), "{path}");
        }
    }
}

//! One question as the index sees it: its texts, field by field.

use aegis_contract::facts::Facts;
use aegis_contract::target::Target;
use jiff::Timestamp;

use crate::question::Question;
use crate::resource::Resource;

/// A place of a question that patterns of `match` look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Field {
    Namespace,
    Name,
    Principal,
    Cluster,
    /// Each role that the principal holds.
    Role,
    /// What an `aegis/<noun>/<name>` is.
    Noun,
    /// Which one it is.
    Object,
    Kind,
    Action,
}

impl Field {
    /// Every field; those come first that usually tell rules apart best.
    pub(super) const ALL: [Self; FIELDS] = [
        Self::Namespace,
        Self::Name,
        Self::Principal,
        Self::Cluster,
        Self::Role,
        Self::Noun,
        Self::Object,
        Self::Kind,
        Self::Action,
    ];
}

pub(super) const FIELDS: usize = 9;

/// Which of the two forms a resource has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Kubernetes,
    Aegis,
}

/// Everything a decision depends on besides the rules.
#[derive(Clone, Copy)]
pub(super) struct Asked<'q> {
    pub(super) question: &'q Question,
    pub(super) facts: Option<&'q Facts>,
    pub(super) now: Timestamp,
}

impl<'q> Asked<'q> {
    pub(super) fn form(&self) -> Form {
        match self.question.resource() {
            Resource::Kubernetes(_) => Form::Kubernetes,
            Resource::Aegis { .. } => Form::Aegis,
        }
    }

    /// The text of a field that has one; roles are a list.
    pub(super) fn text(&self, field: Field) -> Option<&'q str> {
        let resource = self.question.resource();
        let of_target = |read: fn(&'q Target) -> &'q str| resource.target().map(read);
        match field {
            Field::Principal => Some(self.question.principal().as_str()),
            Field::Action => Some(self.question.action()),
            Field::Role => None,
            Field::Cluster => of_target(|target| &target.cluster),
            Field::Namespace => of_target(|target| &target.namespace),
            Field::Kind => of_target(|target| target.kind.as_str()),
            Field::Name => of_target(|target| &target.name),
            Field::Noun => match resource {
                Resource::Aegis { noun, .. } => Some(noun),
                Resource::Kubernetes(_) => None,
            },
            Field::Object => match resource {
                Resource::Aegis { name, .. } => Some(name),
                Resource::Kubernetes(_) => None,
            },
        }
    }
}

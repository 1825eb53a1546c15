//! One question as the index sees it: its texts, field by field.

use aegis_contract::facts::Facts;
use aegis_contract::target::Target;
use jiff::Timestamp;

use super::text::Symbol;
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

    /// The fingerprint of a field's text; there are too few kinds to look one up.
    pub(super) fn fingerprint(&self, field: Field) -> Option<u64> {
        let fingerprints = self.question.fingerprints();
        Some(match field {
            Field::Principal => fingerprints.principal,
            Field::Action => fingerprints.action,
            Field::Cluster | Field::Noun => fingerprints.place[0],
            Field::Namespace => fingerprints.place[1],
            Field::Name | Field::Object => fingerprints.name,
            Field::Kind | Field::Role => return None,
        })
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

/// Place of a kind or an action in a table that is none of the known ones.
pub(super) const OTHER: usize = 4;

/// What rules match of a question, looked up once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'s> {
    pub(super) symbols: [Symbol; FIELDS],
    pub(super) roles: &'s [Symbol],
    /// Place of the action in [`ActionType::ALL`](aegis_contract::action::ActionType::ALL), or [`OTHER`].
    pub(super) action: usize,
    /// Place of the kind in [`Kind::ALL`](aegis_contract::target::Kind::ALL), or [`OTHER`].
    pub(super) kind: usize,
}

impl Seen<'_> {
    /// Whether the field is this text, or one of the roles is.
    pub(super) fn has(&self, field: Field, text: Symbol) -> bool {
        if field == Field::Role { self.roles.contains(&text) } else { self.symbols[field as usize] == text }
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::ActionType;
    use aegis_contract::target::Kind;

    use super::OTHER;

    #[test]
    fn tables_have_a_place_for_each_kind_and_action_and_one_for_others() {
        assert_eq!(Kind::ALL.map(|kind| kind as usize), [0, 1, 2, 3]);
        assert_eq!(ActionType::ALL.map(|action| action as usize), [0, 1, 2, 3]);
        assert_eq!((Kind::ALL.len(), ActionType::ALL.len()), (OTHER, OTHER));
    }
}

//! Conditions of rules, each distinct part stored once.

use super::predicate::{Builder, Interned, PredicateId, id};
use super::truth::Truth;
use crate::document::{Condition, Policy, Rule};
use crate::time::Validity;

/// Place of a node.
pub(super) type NodeId = u32;

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Test(PredicateId),
    Node(NodeId),
}

/// What a condition is made of besides tests.
#[derive(Debug)]
pub(super) enum Node {
    All(Parts),
    Any(Parts),
    Not(Part),
    /// P30.
    Valid(Validity),
}

/// A range of [`Conditions::parts`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    start: u32,
    len: u32,
}

/// The conditions of all rules.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) nodes: Box<[Node]>,
    parts: Box<[Part]>,
}

impl Conditions {
    pub(super) fn parts(&self, parts: Parts) -> &[Part] {
        &self.parts[parts.start as usize..(parts.start + parts.len) as usize]
    }

    /// The most parts that judging this one looks at.
    pub(super) fn size(&self, part: Part) -> u64 {
        let Part::Node(node) = part else { return 1 };
        1 + match &self.nodes[node as usize] {
            Node::All(parts) | Node::Any(parts) => {
                self.parts(*parts).iter().map(|part| self.size(*part)).sum()
            }
            Node::Not(part) => self.size(*part),
            Node::Valid(_) => 0,
        }
    }
}

/// P7: joins the truths of the members of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    decisive: Truth,
    joined: Truth,
}

impl Join {
    /// `all` is false if a member is, and `any` is true if a member is.
    pub(super) fn new(decisive: Truth) -> Self {
        Self { decisive, joined: decisive.not() }
    }

    /// Whether the group is known now, whatever the other members are.
    pub(super) fn decides(&mut self, member: Truth) -> bool {
        // P17: of several unknown ones, the first.
        if member == self.decisive
            || (member.is_unknown() && (!self.joined.is_unknown() || member < self.joined))
        {
            self.joined = member;
        }
        member == self.decisive
    }

    pub(super) fn truth(self) -> Truth {
        self.joined
    }
}

/// Collects the conditions of all rules.
#[derive(Debug, Default)]
pub(super) struct ConditionsBuilder(Interned<NodeForm>);

/// What tells two nodes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum NodeForm {
    All(Vec<Part>),
    Any(Vec<Part>),
    Not(Part),
    Valid(Validity),
}

impl ConditionsBuilder {
    /// All that must hold for a rule that matches: its time, which is never unknown, and its
    /// condition. Nothing if the rule applies wherever it matches.
    pub(super) fn guard(&mut self, policy: &Policy, rule: &Rule, predicates: &mut Builder) -> Option<Part> {
        let mut parts = Vec::new();
        for validity in [policy.validity(), rule.validity] {
            if validity != Validity::default() {
                parts.push(self.node(NodeForm::Valid(validity)));
            }
        }
        if let Some(time) = &rule.time {
            let within: Vec<Part> =
                time.within.iter().map(|open| Part::Test(predicates.open(open))).collect();
            let except: Vec<Part> =
                time.except.iter().map(|open| Part::Test(predicates.open(open))).collect();
            if !within.is_empty() {
                parts.push(self.group(NodeForm::Any, within));
            }
            if !except.is_empty() {
                let any = self.group(NodeForm::Any, except);
                parts.push(self.node(NodeForm::Not(any)));
            }
        }
        for condition in rule.conditions() {
            // The members of one `all` stand in another as well.
            let members = match condition {
                Condition::All(members) => members.as_slice(),
                one => std::slice::from_ref(one),
            };
            parts.extend(members.iter().map(|member| self.store(member, predicates)));
        }
        (!parts.is_empty()).then(|| self.group(NodeForm::All, parts))
    }

    fn store(&mut self, condition: &Condition, predicates: &mut Builder) -> Part {
        let mut store_all = |members: &[Condition]| -> Vec<Part> {
            members.iter().map(|member| self.store(member, predicates)).collect()
        };
        match condition {
            Condition::All(members) => {
                let members = store_all(members);
                self.group(NodeForm::All, members)
            }
            Condition::Any(members) => {
                let members = store_all(members);
                self.group(NodeForm::Any, members)
            }
            Condition::Not(member) => {
                let member = self.store(member, predicates);
                self.node(NodeForm::Not(member))
            }
            Condition::Test(test) => Part::Test(predicates.test(test)),
        }
    }

    fn node(&mut self, form: NodeForm) -> Part {
        Part::Node(self.0.intern(form))
    }

    /// Neither the order of members nor a member twice has a meaning, and one alone needs no group.
    fn group(&mut self, form: fn(Vec<Part>) -> NodeForm, mut members: Vec<Part>) -> Part {
        members.sort_unstable();
        members.dedup();
        match members[..] {
            [member] => member,
            _ => self.node(form(members)),
        }
    }

    pub(super) fn finish(self) -> Conditions {
        let mut parts = Vec::new();
        let mut append = |members: Vec<Part>| {
            let (start, len) = (id(parts.len()), id(members.len()));
            parts.extend(members);
            Parts { start, len }
        };
        let nodes = self.0.finish().into_iter().map(|form| match form {
            NodeForm::All(members) => Node::All(append(members)),
            NodeForm::Any(members) => Node::Any(append(members)),
            NodeForm::Not(member) => Node::Not(member),
            NodeForm::Valid(validity) => Node::Valid(validity),
        });
        Conditions { nodes: nodes.collect(), parts: parts.into() }
    }
}

//! Conditions of rules, each distinct part stored once.

use jiff::Timestamp;

use super::predicate::{Builder, Interned, PredicateId};
use super::truth::Truth;
use crate::document::{Condition, Policy, Rule};
use crate::time::Validity;

/// Place of a node.
pub(super) type NodeId = u32;

/// A condition or a part of one; members are sorted and stand before their group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    All(Box<[NodeId]>),
    Any(Box<[NodeId]>),
    Not(NodeId),
    Test(PredicateId),
    /// P30.
    Valid(Validity),
}

/// Collects the conditions of all rules.
#[derive(Debug, Default)]
pub(super) struct Conditions(Interned<Node>);

impl Conditions {
    /// All that must hold for a rule that matches: its time, which is never unknown, and its
    /// condition. Nothing if the rule applies wherever it matches.
    pub(super) fn guard(&mut self, policy: &Policy, rule: &Rule, predicates: &mut Builder) -> Option<NodeId> {
        let mut parts = Vec::new();
        for validity in [policy.validity(), rule.validity] {
            if validity != Validity::default() {
                parts.push(self.0.intern(Node::Valid(validity)));
            }
        }
        if let Some(time) = &rule.time {
            let mut open = |calendar| self.0.intern(Node::Test(predicates.open(calendar)));
            let within: Vec<NodeId> = time.within.iter().map(&mut open).collect();
            let except: Vec<NodeId> = time.except.iter().map(&mut open).collect();
            if !within.is_empty() {
                parts.push(self.group(Node::Any, within));
            }
            if !except.is_empty() {
                let any = self.group(Node::Any, except);
                parts.push(self.0.intern(Node::Not(any)));
            }
        }
        if let Some(when) = &rule.when {
            parts.push(self.store(when, predicates));
        }
        (!parts.is_empty()).then(|| self.group(Node::All, parts))
    }

    fn store(&mut self, condition: &Condition, predicates: &mut Builder) -> NodeId {
        match condition {
            Condition::All(members) => self.store_group(Node::All, members, predicates),
            Condition::Any(members) => self.store_group(Node::Any, members, predicates),
            Condition::Not(member) => {
                let member = self.store(member, predicates);
                self.0.intern(Node::Not(member))
            }
            Condition::Test(test) => self.0.intern(Node::Test(predicates.test(test))),
        }
    }

    fn store_group(
        &mut self,
        group: fn(Box<[NodeId]>) -> Node,
        members: &[Condition],
        predicates: &mut Builder,
    ) -> NodeId {
        let members = members.iter().map(|member| self.store(member, predicates)).collect();
        self.group(group, members)
    }

    /// Neither the order of members nor a member twice has a meaning, and one alone needs no group.
    fn group(&mut self, group: fn(Box<[NodeId]>) -> Node, mut members: Vec<NodeId>) -> NodeId {
        members.sort_unstable();
        members.dedup();
        match members[..] {
            [member] => member,
            _ => self.0.intern(group(members.into())),
        }
    }

    pub(super) fn finish(self) -> Box<[Node]> {
        self.0.finish()
    }
}

/// P7, by the truth of each predicate. The depth is bounded by that of documents.
pub(super) fn judge(
    nodes: &[Node],
    node: NodeId,
    now: Timestamp,
    truth: &mut impl FnMut(PredicateId) -> Truth,
) -> Truth {
    match &nodes[node as usize] {
        Node::All(members) => join(nodes, members, now, Truth::FALSE, truth),
        Node::Any(members) => join(nodes, members, now, Truth::TRUE, truth),
        Node::Not(member) => judge(nodes, *member, now, truth).not(),
        Node::Test(predicate) => truth(*predicate),
        Node::Valid(validity) => Truth::known(validity.holds(now)),
    }
}

fn join(
    nodes: &[Node],
    members: &[NodeId],
    now: Timestamp,
    decisive: Truth,
    truth: &mut impl FnMut(PredicateId) -> Truth,
) -> Truth {
    let mut joined = decisive.not();
    for member in members {
        let member = judge(nodes, *member, now, truth);
        if member == decisive {
            return decisive;
        }
        // P17: of several unknown ones, the first.
        if member.is_unknown() && (!joined.is_unknown() || member < joined) {
            joined = member;
        }
    }
    joined
}

/// The most nodes that judging this one looks at.
pub(super) fn size(nodes: &[Node], node: NodeId) -> u64 {
    let members: u64 = match &nodes[node as usize] {
        Node::All(members) | Node::Any(members) => members.iter().map(|member| size(nodes, *member)).sum(),
        Node::Not(member) => size(nodes, *member),
        Node::Test(_) | Node::Valid(_) => 0,
    };
    1 + members
}

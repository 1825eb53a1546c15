//! Compiles the rules of a set, one after the other.

use std::collections::BTreeSet;

use super::asked::{FIELDS, Field, Form};
use super::condition::{self, Conditions, Node, NodeId};
use super::filing::{self, Draft};
use super::index::{Blocks, Index, Row};
use super::predicate::{Builder, Predicate, PredicateId, id};
use super::text::Symbol;
use super::{Bound, CompiledSet};
use crate::document::{Condition, Mode, Policy, Rule};
use crate::pattern::{Glob, ResourcePattern};
use crate::set::PolicySet;

/// Longest list of texts under each of which a row is filed; a longer one is a predicate.
const KEYS_MAX: usize = 64;

/// Where a rule stands in the set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) policy: u32,
    pub(super) rule: u32,
}

impl CompiledSet {
    /// Compiles all rules of the set. Time and memory grow with the size of its documents.
    pub fn compile(set: PolicySet) -> Self {
        let mut compiler = Compiler::new(&set);
        let mut rules = Vec::new();
        // P5: numbers are in the order of names.
        for ((_, policy), place) in set.policies().zip(0..) {
            // P31: a policy that is off is not evaluated.
            if policy.mode() == Mode::Off {
                continue;
            }
            let mut of_policy: Vec<(&Rule, u32)> = policy.compiled_rules().iter().zip(0..).collect();
            of_policy.sort_by_key(|(rule, _)| &rule.id);
            for (rule, of_policy) in of_policy {
                compiler.rule(id(rules.len()), policy, rule);
                rules.push(Place { policy: place, rule: of_policy });
            }
        }
        let Compiler { predicates, conditions, drafts } = compiler;
        let (predicates, nodes) = (predicates.finish(), conditions.finish());
        let index = filing::file(&drafts, &predicates.fields);
        let bound = bound(&index, &nodes, &drafts, predicates.table.len());
        Self { rules: rules.into(), predicates, nodes, index, bound, set }
    }

    /// The policy, its version and the rule of a number.
    pub(super) fn rule(&self, number: u32) -> (u32, &Policy, &Rule) {
        let place = self.rules[number as usize];
        let (version, policy) = self.set.policy(place.policy);
        (version, policy, &policy.compiled_rules()[place.rule as usize])
    }
}

struct Compiler {
    predicates: Builder,
    conditions: Conditions,
    drafts: Vec<Draft>,
}

impl Compiler {
    fn new(set: &PolicySet) -> Self {
        let rules = set.policies().flat_map(|(_, policy)| policy.compiled_rules());
        let mut paths = Vec::new();
        rules.filter_map(|rule| rule.when.as_ref()).for_each(|when| collect_paths(when, &mut paths));
        Self {
            predicates: Builder::new(paths.into_iter()),
            conditions: Conditions::default(),
            drafts: Vec::new(),
        }
    }

    fn rule(&mut self, number: u32, policy: &Policy, rule: &Rule) {
        let guard = self.conditions.guard(policy, rule, &mut self.predicates);
        let resources = &rule.matching.resources;
        let row = Row {
            rule: number,
            guard: guard.unwrap_or(Row::UNGUARDED),
            repeats: resources.len() > 1,
            effect: rule.effect,
            counts: policy.mode() == Mode::Enforce,
        };
        let mut draft = Draft { row, dimensions: [None; FIELDS], keys: Default::default() };
        self.dimension(&mut draft, Field::Principal, &rule.matching.principals);
        self.dimension(&mut draft, Field::Role, &rule.matching.roles);
        self.dimension(&mut draft, Field::Action, &rule.matching.actions);
        if resources.is_empty() {
            self.drafts.push(draft);
            return;
        }
        for resource in resources {
            let mut draft = draft.clone();
            self.resource(&mut draft, resource);
            self.drafts.push(draft);
        }
    }

    /// P22: the segments of a pattern are dimensions of their own; `**` leaves the rest free.
    fn resource(&mut self, draft: &mut Draft, pattern: &ResourcePattern) {
        let Some((form, segments)) = pattern.segments().split_first() else { return };
        let (form, fields): (_, &[Field]) = match form.as_str() {
            "k8s" => (Form::Kubernetes, &[Field::Cluster, Field::Namespace, Field::Kind, Field::Name]),
            _ => (Form::Aegis, &[Field::Noun, Field::Object]),
        };
        for (field, segment) in fields.iter().zip(segments) {
            self.dimension(draft, *field, std::slice::from_ref(segment));
        }
        // A segment that matters exists in one form only.
        if fields.iter().all(|field| draft.dimensions[*field as usize].is_none()) {
            draft.dimensions[fields[0] as usize] = Some(self.predicates.form(form));
        }
    }

    fn dimension(&mut self, draft: &mut Draft, field: Field, globs: &[Glob]) {
        let predicate = self.predicates.text(field, globs);
        draft.dimensions[field as usize] = predicate;
        draft.keys[field as usize] = self.keys(predicate);
    }

    fn keys(&self, predicate: Option<PredicateId>) -> Vec<Symbol> {
        match predicate.map(|predicate| self.predicates.get(predicate)) {
            Some(Predicate::Text(_, set)) => {
                set.literals().filter(|texts| texts.len() <= KEYS_MAX).unwrap_or_default().to_vec()
            }
            _ => Vec::new(),
        }
    }
}

fn collect_paths<'c>(condition: &'c Condition, paths: &mut Vec<&'c str>) {
    match condition {
        Condition::All(members) | Condition::Any(members) => {
            members.iter().for_each(|member| collect_paths(member, paths));
        }
        Condition::Not(member) => collect_paths(member, paths),
        Condition::Test(test) => paths.push(&test.path),
    }
}

/// The rest and the largest shard of each field, and every shard of roles: one may hold them all.
fn bound(index: &Index, nodes: &[Node], drafts: &[Draft], predicates: usize) -> Bound {
    let steps_of = |blocks: Blocks| -> u64 {
        let steps = index.blocks[blocks.range()].iter().map(|block| {
            let clauses = block.clauses as usize..block.clauses as usize + usize::from(block.clauses_len);
            let entries: u64 =
                index.clauses[clauses].iter().map(|clause| u64::from(clause.entries_len)).sum();
            1 + entries + u64::from(block.rows_len)
        });
        steps.sum()
    };
    let shards = Field::ALL.into_iter().map(|field| {
        let steps = index.shards[field as usize].0.iter().map(|blocks| steps_of(*blocks));
        if field == Field::Role { steps.sum() } else { steps.max().unwrap_or(0) }
    });
    let guards: BTreeSet<NodeId> = drafts.iter().map(|draft| draft.row.guard).collect();
    let conditions = guards.into_iter().filter(|guard| *guard != Row::UNGUARDED);
    let conditions: u64 = conditions.map(|guard| condition::size(nodes, guard)).sum();
    Bound { predicates: predicates as u64, steps: steps_of(index.rest) + shards.sum::<u64>() + conditions }
}

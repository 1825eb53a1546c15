//! From every reachable state there is a way to an end. The checker's own `eventually` looks at
//! single paths and, as it says itself, overlooks cycles, which a protocol that asks again is full
//! of; so this builds the whole graph and walks it backwards from the ends.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use stateright::Model;

use crate::state::{Action, State};
use crate::{Protocol, Step};

/// The reachable states and which step leads from one to which.
pub struct Graph {
    states: FxHashMap<State, u32>,
    found_by: Vec<Option<(u32, Step)>>,
    edges: Vec<Edge>,
}

struct Edge {
    from: u32,
    to: u32,
    without_executor: bool,
    without_people: bool,
}

/// Who is not there to help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The executor is gone for good, and the cluster with it: time, people and the control plane
    /// must do.
    Executor,
    /// Nobody decides anything, and no accident helps: the services must do.
    People,
}

impl Without {
    fn allows(self, edge: &Edge) -> bool {
        match self {
            Self::Executor => edge.without_executor,
            Self::People => edge.without_people,
        }
    }
}

impl Graph {
    /// Explores everything that is reachable.
    pub fn explore(model: &Protocol) -> Self {
        let mut graph = Self { states: FxHashMap::default(), found_by: Vec::new(), edges: Vec::new() };
        let mut open: Vec<(State, u32)> = Vec::new();
        for state in model.init_states() {
            if let Some(number) = graph.add(&state, None).1 {
                open.push((state, number));
            }
        }
        let mut steps = Vec::new();
        // In layers, so that the way to a state is a shortest one.
        while !open.is_empty() {
            let mut found = Vec::new();
            for (state, number) in open {
                model.actions(&state, &mut steps);
                for step in steps.drain(..) {
                    let Some(next) = model.next_state(&state, step) else { continue };
                    let (to, new) = graph.add(&next, Some((number, step)));
                    graph.edges.push(Edge {
                        from: number,
                        to,
                        without_executor: happens_without_executor(&step),
                        without_people: happens_without_people(&step),
                    });
                    if new.is_some() {
                        found.push((next, to));
                    }
                }
            }
            open = found;
        }
        graph
    }

    fn add(&mut self, state: &State, found_by: Option<(u32, Step)>) -> (u32, Option<u32>) {
        let number = u32::try_from(self.states.len()).expect("the bounds keep the graph small");
        match self.states.entry(state.clone()) {
            Entry::Occupied(known) => (*known.get(), None),
            Entry::Vacant(new) => {
                new.insert(number);
                self.found_by.push(found_by);
                (number, Some(number))
            }
        }
    }

    /// Every reachable state.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.keys()
    }

    /// Number of states.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Number of steps that lead from one to another.
    pub fn steps(&self) -> usize {
        self.edges.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// A state that `matters` and from which no end can be reached `without` somebody, with the
    /// shortest way to it.
    pub fn dead_end(
        &self,
        matters: impl Fn(&State) -> bool,
        without: Without,
    ) -> Option<(&State, Vec<Step>)> {
        let leads_out = self.leading_out(without);
        self.states
            .iter()
            .filter(|(state, number)| !leads_out[**number as usize] && matters(state))
            .min_by_key(|(_, number)| **number)
            .map(|(state, number)| (state, self.way_to(*number)))
    }

    /// For each state whether it is an end or something leads from it towards one.
    fn leading_out(&self, without: Without) -> Vec<bool> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for edge in self.edges.iter().filter(|edge| without.allows(edge)) {
            before[edge.to as usize].push(edge.from);
        }
        let mut leads_out = vec![false; self.states.len()];
        let ends = self.states.iter().filter(|(state, _)| is_end(state));
        let mut open: Vec<u32> = ends.map(|(_, number)| *number).collect();
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut leads_out[number as usize], true) {
                open.append(&mut before[number as usize]);
            }
        }
        leads_out
    }

    fn way_to(&self, number: u32) -> Vec<Step> {
        let mut way = Vec::new();
        let mut at = number;
        while let Some((from, step)) = self.found_by[at as usize] {
            way.push(step);
            at = from;
        }
        way.reverse();
        way
    }
}

fn is_end(state: &State) -> bool {
    state.actions.iter().all(|of| of.is_over() || *of == Action::default())
}

fn happens_without_executor(step: &Step) -> bool {
    matches!(
        step,
        Step::Tick
            | Step::RequestClose { .. }
            | Step::ConfirmClose { .. }
            | Step::Expire { .. }
            | Step::GiveUpWaiting { .. }
    )
}

fn happens_without_people(step: &Step) -> bool {
    !matches!(
        step,
        Step::Edit(_)
            | Step::Restore(_)
            | Step::PutBack
            | Step::Cancel { .. }
            | Step::RequestClose { .. }
            | Step::ConfirmClose { .. }
            | Step::Crash { .. }
    )
}

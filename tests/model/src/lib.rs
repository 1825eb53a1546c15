//! A model of the order protocol, to be explored exhaustively: every order of events that the rules
//! allow, within the bounds of a [`Scenario`]. It holds no code of the services; it is what they are
//! checked against by reading.
//!
//! ```text
//!  people ──► control plane ──order──► executor replicas ──write, fence──► API server ──► object
//!               action, intent   ◄──receipt──   workers                               ▲
//!               attempts              └── ledger (rows, leases) ◄── backup      people┘
//! ```
//!
//! Read [`state`] for what there is, then [`Step`] for what can happen, then [`Rule`] for why each
//! part of the protocol is there.

mod backup;
mod cluster;
mod control_plane;
mod executor;
pub mod invariants;
mod normal_form;
mod rules;
mod scenario;
pub mod state;
pub mod way_out;

use std::ops::Range;

use stateright::{Model, Property};

pub use backup::Lost;
pub use cluster::Edit;
pub use rules::{Rule, Rules};
pub use scenario::Scenario;

use crate::state::{ACTIONS_MAX, Action, Field, Intent, Object, Outcome, Receipt, State, Status};

/// The protocol under some rules, within some bounds.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// How much is explored.
    pub scenario: Scenario,
    /// What holds.
    pub rules: Rules,
}

/// Something that happens. Numbers of actions, attempts and replicas count from 0.
#[expect(missing_docs, reason = "the fields name an action, an attempt or a replica by its index")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time passes.
    Tick,
    /// Somebody else changes the object.
    Edit(Edit),
    /// The ledger is put back to a backup.
    Restore([Lost; ACTIONS_MAX]),
    /// Its files are put back.
    PutBack,
    /// Somebody withdraws a queued action.
    Cancel { action: usize },
    /// A first person declares an unknown action unresolvable.
    RequestClose { action: usize },
    /// A second person confirms it.
    ConfirmClose { action: usize },
    /// The control plane decides a queued action (again).
    Decide { action: usize },
    /// It signs an order for the ledger it saw last.
    Claim { action: usize, ledger: u8 },
    /// It ends a queued action whose deadline has passed.
    Expire { action: usize },
    /// It notes that the order's time is over without a word.
    GiveUpWaiting { action: usize },
    /// It sends a `resolve` for the newest attempt.
    Resolve { action: usize },
    /// A receipt signed at any earlier time reaches it.
    ReceiptArrives { action: usize, attempt: usize, ledger: usize, receipt: Receipt },
    /// An order reaches a replica, for the first time or again.
    OrderArrives { action: usize, attempt: usize, replica: usize },
    /// It reaches one that refuses it for good.
    OrderIsRefused { action: usize, attempt: usize },
    /// A `resolve` reaches the executor, for the first time or again.
    ResolveArrives { action: usize, attempt: usize },
    /// A replica takes over an accepted action, because the lease ran out.
    TakeOver { action: usize, replica: usize },
    /// A worker takes its next step.
    Work { action: usize, replica: usize },
    /// A worker learns that its write was turned down.
    ConflictHeard { action: usize, replica: usize },
    /// A worker's watch comes to a verdict.
    WatchEnds { action: usize, replica: usize, status: Status },
    /// A replica's process ends.
    Crash { replica: usize },
    /// The API server applies a write, and this replica's worker hears of it.
    WriteLands { action: usize, answered: Option<usize> },
    /// The API server applies a fence, and this replica's worker hears of it.
    FenceLands { action: usize, answered: Option<usize> },
}

impl Protocol {
    /// All rules within `scenario`.
    pub const fn new(scenario: Scenario) -> Self {
        Self { scenario, rules: Rules::ALL }
    }

    /// All rules but `removed`.
    pub const fn without(removed: &'static [Rule], scenario: Scenario) -> Self {
        Self { scenario, rules: Rules::without(removed) }
    }

    fn indices(&self) -> Range<usize> {
        0..self.scenario.actions
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        // Each action was just asked for, decided on the object as it is, and queued.
        let intent = Some(Intent { expected: Field::Initial, ledger: 0 });
        let mut actions = [Action::default(), Action::default()];
        self.indices().for_each(|action| actions[action].intent = intent);
        vec![State {
            now: 0,
            edits_left: self.scenario.edits,
            restores_left: self.scenario.restores,
            ledger: 0,
            rows_seen: 0,
            ledger_regressed: false,
            put_back: false,
            object: Object { field: Field::Initial },
            actions,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.now < self.scenario.last_tick() {
            steps.push(Step::Tick);
        }
        self.control_plane_steps(state, steps);
        self.executor_steps(state, steps);
        self.cluster_steps(state, steps);
        self.backup_steps(state, steps);
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut next = before.clone();
        let state = &mut next;
        match step {
            Step::Tick => state.now += 1,
            Step::Edit(edit) => self.edit(state, edit),
            Step::Restore(lost) => self.restore(state, lost),
            Step::PutBack => Self::put_back(state),
            Step::Cancel { action } => state.actions[action].end(Outcome::Cancelled),
            Step::RequestClose { action } => state.actions[action].close_requested = true,
            Step::ConfirmClose { action } => state.actions[action].end(Outcome::Unresolved),
            Step::Decide { action } => Self::decide(state, action),
            Step::Claim { action, ledger } => Self::claim(state, action, ledger),
            Step::Expire { action } => state.actions[action].end(Outcome::Expired),
            Step::GiveUpWaiting { action } => self.give_up_waiting(state, action),
            Step::Resolve { action } => Self::resolve(state, action),
            Step::ReceiptArrives { action, attempt, ledger, receipt } => {
                self.receipt_arrives(state, action, attempt, ledger, receipt);
            }
            Step::OrderArrives { action, attempt, replica } => {
                self.order_arrives(state, action, attempt, replica);
            }
            Step::OrderIsRefused { action, attempt } => self.order_is_refused(state, action, attempt),
            Step::ResolveArrives { action, attempt } => self.resolve_arrives(state, action, attempt),
            Step::TakeOver { action, replica } => self.take_over(state, action, replica),
            Step::Work { action, replica } => self.work(state, action, replica),
            Step::WatchEnds { action, replica, status } => {
                state.actions[action].workers[replica].proceed(state::Next::Finish(status));
            }
            Step::ConflictHeard { action, replica } => {
                state.actions[action].workers[replica].proceed(state::Next::ReadAgain);
            }
            Step::Crash { replica } => Self::crash(state, replica),
            Step::WriteLands { action, answered } => self.write_lands(state, action, answered),
            Step::FenceLands { action, answered } => self.fence_lands(state, action, answered),
        }
        if self.scenario.merged {
            self.normal_form(&mut next);
        }
        (next != *before).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::properties()
    }
}

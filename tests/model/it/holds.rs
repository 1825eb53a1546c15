//! With all rules the invariants hold, and there is always a way out.

use std::collections::BTreeSet;

use aegis_model::state::{Stage, State};
use aegis_model::way_out::{Graph, Without};
use aegis_model::{Protocol, Scenario};
use stateright::{Checker, Model};

/// Cores of the smallest machine the suite is meant for; nothing but the time depends on it.
const THREADS: usize = 2;

/// An accident to the ledger, with one edit.
const RESTORED: Scenario = Scenario { edits: 1, ..Scenario::TWO_ATTEMPTS };
/// More edits instead.
const EDITED: Scenario = Scenario { restores: 0, ..Scenario::TWO_ATTEMPTS };
/// On one target the actions themselves change the object for one another.
const BUSY: Scenario = Scenario { edits: 0, ..Scenario::TWO_ACTIONS };
/// The same with an accident to the ledger, and one executor replica.
const BUSY_RESTORED: Scenario = Scenario { restores: 1, replicas: 1, ..BUSY };
/// Files that were put back, with nothing but row numbers to tell.
const PUT_BACK: Scenario = Scenario { put_back: true, ..RESTORED };
/// A pod cannot be fenced.
const POD: Scenario = Scenario { fenceable: false, ..EDITED };

fn assert_holds(scenario: Scenario) {
    let checker = Protocol::new(scenario).checker().threads(THREADS).spawn_bfs().join();
    println!("{scenario:?}: {} states, at most {} steps", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

fn assert_always_a_way_out(scenario: Scenario) {
    let graph = Graph::explore(&Protocol::new(scenario));
    println!("{scenario:?}: {} states, {} steps between them", graph.len(), graph.steps());
    if let Some((state, way)) = graph.dead_end(|_| true, Without::Executor) {
        panic!("with the executor gone, nothing leads out of {state:#?}\nreached by {way:#?}");
    }
    // What a lost ledger or a missing fence leaves in doubt is for people to end.
    let recovers_alone = |state: &State| scenario.fenceable && state.ledger == 0;
    if let Some((state, way)) = graph.dead_end(recovers_alone, Without::People) {
        panic!("without people, nothing leads out of {state:#?}\nreached by {way:#?}");
    }
}

#[test]
fn two_attempts_keep_every_invariant_through_a_restored_ledger() {
    assert_holds(RESTORED);
}

#[test]
fn two_attempts_keep_every_invariant_when_files_lack_a_row_that_was_known() {
    assert_holds(PUT_BACK);
}

#[test]
fn two_attempts_keep_every_invariant_among_edits() {
    assert_holds(EDITED);
}

#[test]
fn two_actions_on_one_target_keep_every_invariant() {
    assert_holds(BUSY);
}

#[test]
fn two_actions_on_one_target_keep_every_invariant_through_a_restored_ledger() {
    assert_holds(BUSY_RESTORED);
}

#[test]
fn an_object_that_cannot_be_fenced_keeps_every_invariant() {
    assert_holds(POD);
}

#[test]
fn two_attempts_always_have_a_way_out() {
    assert_always_a_way_out(EDITED);
}

#[test]
fn there_is_a_way_out_after_a_ledger_was_restored() {
    assert_always_a_way_out(RESTORED);
}

#[test]
fn two_actions_on_one_target_always_have_a_way_out() {
    assert_always_a_way_out(BUSY);
}

#[test]
fn two_actions_on_one_target_have_a_way_out_after_the_ledger_was_restored() {
    assert_always_a_way_out(BUSY_RESTORED);
}

#[test]
fn an_object_that_cannot_be_fenced_leaves_a_way_out() {
    assert_always_a_way_out(POD);
}

/// All that the world and the control plane can come to.
fn endings(scenario: Scenario) -> BTreeSet<(Stage, u8)> {
    let graph = Graph::explore(&Protocol::new(scenario));
    graph.states().map(|state| (state.actions[0].stage, state.actions[0].landed)).collect()
}

#[test]
fn merging_states_loses_no_ending() {
    let scenario = Scenario { attempts_max: 1, restores: 0, ..RESTORED };
    assert_eq!(endings(scenario), endings(Scenario { merged: false, ..scenario }));
}

#[test]
#[ignore = "takes minutes and gigabytes; `cargo xtask test --long` runs it"]
fn two_attempts_keep_every_invariant_within_larger_bounds() {
    assert_holds(Scenario { edits: 3, ..Scenario::TWO_ATTEMPTS });
}

#[test]
#[ignore = "takes minutes and gigabytes; `cargo xtask test --long` runs it"]
fn two_actions_on_one_target_keep_every_invariant_within_larger_bounds() {
    assert_holds(Scenario::TWO_ACTIONS);
}

#[test]
#[ignore = "takes minutes and gigabytes; `cargo xtask test --long` runs it"]
fn two_actions_on_one_target_keep_every_invariant_through_a_restored_ledger_with_two_replicas() {
    assert_holds(Scenario { replicas: 2, ..BUSY_RESTORED });
}

#[test]
#[ignore = "takes minutes and gigabytes; `cargo xtask test --long` runs it"]
fn two_actions_on_one_target_keep_every_invariant_with_clocks_that_differ() {
    assert_holds(Scenario { clocks_differ: true, ..BUSY });
}

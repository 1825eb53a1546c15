//! Each rule is needed: without it the checker finds the accident that it prevents.

use std::collections::BTreeSet;

use aegis_model::invariants::{AT_MOST_ONCE, NO_FALSE_REFUSAL, NO_FALSE_SUCCESS, ONE_WRITER, TRUE_RECEIPTS};
use aegis_model::way_out::{Graph, Without};
use aegis_model::{Protocol, Rule, Scenario};
use stateright::{Checker, HasDiscoveries, Model};

/// One action, one attempt, nothing special: what most faults need.
const ONE_ATTEMPT: Scenario = Scenario {
    actions: 1,
    attempts_max: 1,
    edits: 0,
    restores: 0,
    put_back: false,
    replicas: 2,
    clocks_differ: false,
    fenceable: true,
    merged: true,
};

fn assert_breaks(removed: &'static [Rule], scenario: Scenario, invariant: &'static str) {
    let checker = Protocol::without(removed, scenario)
        .checker()
        .finish_when(HasDiscoveries::AllOf(BTreeSet::from([invariant])))
        .spawn_bfs()
        .join();
    let Some(path) = checker.discovery(invariant) else {
        panic!("{invariant:?} holds without {removed:?} in all {} states", checker.unique_state_count());
    };
    // Shown with `--nocapture`: how it happens.
    println!("without {removed:?}, not {invariant:?}:");
    path.into_actions().iter().for_each(|step| println!("  {step:?}"));
}

#[test]
fn without_one_writer_per_target_two_actions_run_at_once() {
    let scenario = Scenario { actions: 2, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::OneWriterPerTarget], scenario, ONE_WRITER);
}

#[test]
fn a_new_attempt_on_mere_silence_ends_an_action_as_unwritten_that_was_written() {
    let scenario = Scenario { attempts_max: 2, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::ResolveBeforeNewAttempt], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn an_attempt_that_can_begin_after_closed_is_written_after_it_expired() {
    let scenario = Scenario { clocks_differ: true, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::ClosedRefusesLateOrders], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn a_late_closed_of_the_first_attempt_must_not_close_the_second() {
    let scenario = Scenario { attempts_max: 2, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::AnswersNameTheirAttempt], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn closed_from_a_restored_ledger_leads_to_a_second_write() {
    let scenario = Scenario { attempts_max: 2, restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::ClosedOnlyFromItsLedger], scenario, AT_MOST_ONCE);
}

#[test]
fn row_numbers_alone_do_not_tell_that_a_ledger_was_restored() {
    let scenario = Scenario { attempts_max: 2, restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::RestoreChangesLedgerId], scenario, AT_MOST_ONCE);
}

#[test]
fn a_closed_that_names_its_own_row_hides_that_the_files_were_put_back() {
    let scenario = Scenario { attempts_max: 2, restores: 1, put_back: true, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::ClosedNamesRowBefore], scenario, AT_MOST_ONCE);
}

#[test]
fn closing_earlier_attempts_first_hides_that_the_files_were_put_back() {
    let scenario = Scenario { attempts_max: 2, restores: 1, put_back: true, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::NamedAttemptIsClosedFirst], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn a_restored_ledger_that_accepts_an_old_order_again_writes_twice() {
    let scenario = Scenario { edits: 1, restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::OrderNamesLedger], scenario, AT_MOST_ONCE);
}

#[test]
fn a_refusal_from_a_ledger_that_forgot_the_write_is_false() {
    let scenario = Scenario { restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::OrderNamesLedger, Rule::RefusalsOnlyFromItsLedger], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn a_restored_ledger_that_resumes_what_it_had_accepted_writes_twice() {
    let scenario = Scenario { edits: 1, restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::RestoredStoriesEndInDoubt], scenario, AT_MOST_ONCE);
}

#[test]
fn a_worker_from_before_the_restore_that_goes_on_writes_twice() {
    let scenario = Scenario { edits: 1, restores: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::WorkersKeepToTheirLedger], scenario, AT_MOST_ONCE);
}

#[test]
fn an_accepted_action_whose_executor_is_gone_needs_a_way_out() {
    let graph = Graph::explore(&Protocol::without(&[Rule::SilenceAfterTheWatchIsUnknown], ONE_ATTEMPT));
    let (state, way) = graph.dead_end(|_| true, Without::Executor).expect("nobody may close what runs");
    assert!(state.actions[0].attempts[0].as_ref().is_some_and(|attempt| attempt.accepted), "{way:#?}");
}

#[test]
fn a_row_of_a_worker_that_lost_its_lease_leads_to_a_write_after_the_end() {
    let scenario = Scenario { clocks_differ: true, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::LeaseFence], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn writes_that_do_not_test_the_resource_version_land_twice() {
    assert_breaks(&[Rule::ResourceVersionTest], ONE_ATTEMPT, AT_MOST_ONCE);
}

#[test]
fn a_write_that_somebody_reverted_is_repeated_if_the_generation_is_not_tested() {
    let scenario = Scenario { edits: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::GenerationTest], scenario, AT_MOST_ONCE);
}

#[test]
fn a_clock_read_before_the_object_lets_a_write_pass_the_fence() {
    assert_breaks(&[Rule::ClockAfterRead], ONE_ATTEMPT, NO_FALSE_REFUSAL);
}

#[test]
fn expired_without_a_fence_is_overtaken_by_a_stalled_write() {
    assert_breaks(&[Rule::Fence], ONE_ATTEMPT, NO_FALSE_REFUSAL);
}

#[test]
fn a_worker_that_reads_behind_the_fence_and_does_not_confirm_its_lease_writes_after_the_end() {
    let scenario = Scenario { clocks_differ: true, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::LeaseConfirmedAfterRead], scenario, NO_FALSE_REFUSAL);
}

#[test]
fn somebody_elses_identical_edit_is_taken_for_our_write_if_it_bears_no_mark() {
    let scenario = Scenario { edits: 1, ..ONE_ATTEMPT };
    assert_breaks(&[Rule::OwnMark], scenario, NO_FALSE_SUCCESS);
}

#[test]
fn a_finished_row_without_a_fence_is_false() {
    assert_breaks(&[Rule::Fence], ONE_ATTEMPT, TRUE_RECEIPTS);
}

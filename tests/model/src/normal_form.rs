//! States that can only go on alike are one state. Each of these merges says why nothing is lost; a
//! merge that rests on a rule is not made where that rule is removed.

use crate::Protocol;
use crate::rules::Rule;
use crate::state::{ACTIONS_MAX, Action, Field, Next, Requests, Row, State, Worker};

impl Protocol {
    pub(crate) fn normal_form(&self, state: &mut State) {
        for action in self.indices() {
            let of = &mut state.actions[action];
            of.workers.iter_mut().for_each(|worker| self.merge_worker(worker));
            if state.restores_left == 0 && is_spent(of) {
                *of = Action { stage: of.stage, landed: of.landed, ..Action::default() };
            }
        }
        if !self.scenario.clocks_differ {
            order_replicas(state);
        }
        if self.scenario.actions == ACTIONS_MAX {
            order_actions(state);
        }
    }

    fn merge_worker(&self, worker: &mut Worker) {
        let hold = |rules: &[Rule]| rules.iter().all(|rule| self.rules.hold(*rule));
        // The resourceVersion it tests has passed: what it sent or will send cannot take effect.
        let is_void = !worker.fresh && hold(&[Rule::ResourceVersionTest]);
        let stops = match worker.next {
            // Its rows would be refused, and nothing else can come of it.
            Next::ReadFirst | Next::RecordActing | Next::ReadFenced | Next::Watch | Next::Finish(_) => true,
            Next::ReadAgain | Next::ConfirmLease | Next::AwaitWrite | Next::AwaitFence => {
                hold(&[Rule::LeaseConfirmedAfterRead])
            }
            Next::CheckTime | Next::SendWrite | Next::SendFence => {
                is_void && hold(&[Rule::LeaseConfirmedAfterRead, Rule::ClockAfterRead])
            }
            Next::Idle => false,
        };
        if stops && !worker.holds && hold(&[Rule::LeaseFence, Rule::WorkersKeepToTheirLedger]) {
            *worker = Worker::default();
        }
        let reads_again = match worker.next {
            // The answer will be a conflict, or there will be none.
            Next::AwaitWrite | Next::AwaitFence => true,
            Next::ConfirmLease | Next::CheckTime | Next::SendWrite | Next::SendFence => {
                self.scenario.fenceable && hold(&[Rule::Fence, Rule::ClockAfterRead])
            }
            _ => false,
        };
        if reads_again && is_void && worker.in_doubt && worker.holds {
            worker.proceed(Next::ReadAgain);
        }
    }
}

/// Nothing can happen to the action any more, anywhere: all its orders are settled, nobody works on
/// it, and nothing of it is under way.
fn is_spent(of: &Action) -> bool {
    let settled = of.story.accepted().is_none() || of.story.finished.is_some();
    let unknown =
        of.attempts.iter().zip(of.story.attempts).any(|(sent, row)| sent.is_some() && row == Row::None);
    of.is_over()
        && settled
        && !unknown
        && of.workers.iter().all(|worker| worker.next == Next::Idle)
        && of.requests == Requests::default()
}

/// Replicas are alike unless their clocks differ; the busier one comes first.
fn order_replicas(state: &mut State) {
    let column = |replica: usize| state.actions.each_ref().map(|of| of.workers[replica]);
    if column(0) < column(1) {
        state.actions.iter_mut().for_each(|of| of.workers.swap(0, 1));
    }
}

/// Actions differ in nothing but what has happened to them.
fn order_actions(state: &mut State) {
    let mut swapped = state.clone();
    swapped.actions.swap(0, 1);
    let rename = |field: &mut Field| {
        if let Field::Of(action) = field {
            *action = 1 - *action;
        }
    };
    rename(&mut swapped.object.field);
    for of in &mut swapped.actions {
        of.intent.iter_mut().for_each(|intent| rename(&mut intent.expected));
        of.attempts.iter_mut().flatten().for_each(|attempt| rename(&mut attempt.intent.expected));
    }
    if (swapped.object, &swapped.actions) < (state.object, &state.actions) {
        *state = swapped;
    }
}

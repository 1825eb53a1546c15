//! What must always hold, and what must be possible at all: a model in which nothing happens keeps
//! every invariant.

use stateright::Property;

use crate::Protocol;
use crate::state::{Action, Next, Outcome, Row, Stage, State, Status};

/// At most one effective write per action.
pub const AT_MOST_ONCE: &str = "an action is written at most once";
/// Nothing is called a success that was not written.
pub const NO_FALSE_SUCCESS: &str = "a success was written";
/// Nothing is called off that was written, or is written later.
pub const NO_FALSE_REFUSAL: &str = "what was refused, expired or cancelled is never written";
/// The same of what the executor signs.
pub const TRUE_RECEIPTS: &str = "a finished row tells the truth";
/// One writer per target.
pub const ONE_WRITER: &str = "at most one action of a target is at work";

pub(crate) fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(AT_MOST_ONCE, |_, state: &State| state.actions.iter().all(|of| of.landed <= 1)),
        Property::always(NO_FALSE_SUCCESS, |_, state: &State| {
            state.actions.iter().all(|of| of.stage != Stage::Ended(Outcome::Succeeded) || of.landed > 0)
        }),
        Property::always(NO_FALSE_REFUSAL, |_, state: &State| {
            let called_off = [Outcome::Refused, Outcome::Expired, Outcome::Cancelled].map(Stage::Ended);
            state.actions.iter().all(|of| !called_off.contains(&of.stage) || of.landed == 0)
        }),
        Property::always(TRUE_RECEIPTS, |_, state: &State| {
            state.actions.iter().all(|of| match of.story.finished {
                Some(Status::Succeeded) => of.landed > 0,
                Some(Status::Refused | Status::Expired) => of.landed == 0,
                Some(Status::Failed | Status::Unknown) | None => true,
            })
        }),
        Property::always(ONE_WRITER, |_, state: &State| {
            state.actions.iter().filter(|of| matches!(of.stage, Stage::Running | Stage::Unknown)).count() <= 1
        }),
        Property::sometimes("an action succeeds", |_, state: &State| some_ended(state, Outcome::Succeeded)),
        Property::sometimes("an action fails", |_, state: &State| some_ended(state, Outcome::Failed)),
        Property::sometimes("an action is refused", |_, state: &State| some_ended(state, Outcome::Refused)),
        Property::sometimes("an action expires", |_, state: &State| some_ended(state, Outcome::Expired)),
        Property::sometimes("an action is cancelled", |_, state: &State| {
            some_ended(state, Outcome::Cancelled)
        }),
        Property::sometimes("people close an action", |_, state: &State| {
            some_ended(state, Outcome::Unresolved)
        }),
        Property::sometimes("the last attempt allowed is written", |model: &Protocol, state: &State| {
            let last = model.scenario.attempts_max - 1;
            state.actions.iter().any(|of| of.story.attempts[last] == Row::Accepted && of.landed > 0)
        }),
        Property::sometimes("all actions are written", |model: &Protocol, state: &State| {
            model.indices().all(|action| state.actions[action].landed > 0)
        }),
        Property::sometimes("a worker fences the object where it can", |model: &Protocol, state: &State| {
            let fenced = |of: &Action| of.workers.iter().any(|worker| worker.next == Next::ReadFenced);
            !model.scenario.fenceable || state.actions.iter().any(fenced)
        }),
        Property::sometimes("a write is under way after its action ended", |_, state: &State| {
            state.actions.iter().any(|of| of.is_over() && of.requests.writes > 0)
        }),
    ]
}

fn some_ended(state: &State, outcome: Outcome) -> bool {
    state.actions.iter().any(|of| of.stage == Stage::Ended(outcome))
}

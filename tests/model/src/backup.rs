//! A ledger restored from a backup: its newest rows are gone, the world has moved on.

use crate::rules::Rule;
use crate::state::{Next, Row, State, Status, Story};
use crate::{Protocol, Step};

/// How much of one action's rows a backup lacks: the newest of them, as rows are only ever added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// The `finished` row.
    Finished,
    /// And the `acting` row.
    Acting,
    /// And the row of the second attempt.
    SecondAttempt,
    /// All of them.
    Everything,
}

impl Lost {
    const ALL: [Self; 5] =
        [Self::Nothing, Self::Finished, Self::Acting, Self::SecondAttempt, Self::Everything];

    fn of(self, story: &Story) -> Story {
        let mut left = story.clone();
        if self == Self::Everything {
            return Story::default();
        }
        if matches!(self, Self::Finished | Self::Acting | Self::SecondAttempt) {
            left.finished = None;
        }
        if matches!(self, Self::Acting | Self::SecondAttempt) {
            left.acting = None;
        }
        if self == Self::SecondAttempt {
            left.attempts[1] = Row::None;
        }
        left
    }
}

impl Protocol {
    pub(crate) fn backup_steps(&self, state: &State, steps: &mut Vec<Step>) {
        if state.restores_left == 0 {
            return;
        }
        if self.scenario.put_back {
            let mut signed = state.actions.iter().flat_map(|of| of.attempts.iter().flatten());
            let lag = u8::from(self.scenario.clocks_differ);
            if signed.all(|attempt| state.now > attempt.not_after + lag) {
                steps.push(Step::PutBack);
            }
            return;
        }
        for first in Lost::ALL {
            for second in Lost::ALL {
                if self.scenario.actions > 1 || second == Lost::Nothing {
                    steps.push(Step::Restore([first, second]));
                }
            }
        }
    }

    /// The server was stopped, and goes on from older files: the leases are those of before, too.
    pub(crate) fn put_back(state: &mut State) {
        state.restores_left -= 1;
        state.put_back = true;
        for of in &mut state.actions {
            of.story = Story::default();
            of.workers.iter_mut().for_each(|worker| worker.holds = false);
        }
    }

    /// The database is put back while workers may be anywhere, and stays as it was for them to find.
    pub(crate) fn restore(&self, state: &mut State, lost: [Lost; 2]) {
        state.restores_left -= 1;
        for (of, lost) in state.actions.iter_mut().zip(lost) {
            of.story = lost.of(&of.story);
        }
        if self.rules.hold(Rule::RestoreChangesLedgerId) {
            state.ledger += 1;
        }
        for of in &mut state.actions {
            // The leases are in the backup too, each with a fence number that a worker may remember.
            let revived = !self.rules.hold(Rule::WorkersKeepToTheirLedger);
            of.workers.iter_mut().for_each(|worker| worker.holds = revived && worker.next != Next::Idle);
            let open = of.story.accepted().is_some() && of.story.finished.is_none();
            if open && self.rules.hold(Rule::RestoredStoriesEndInDoubt) {
                of.story.finished = Some(Status::Unknown);
            }
        }
    }
}

//! The control plane: each step is one transaction that locks the action, so a crash before or after
//! it leaves nothing half done, and any number of replicas behave as one.

use crate::rules::Rule;
use crate::scenario::DEADLINE;
use crate::state::{Action, Attempt, Intent, LEDGERS, Outcome, Receipt, Stage, State, Status};
use crate::{Protocol, Step};

impl Action {
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// Number of attempts so far.
    pub(crate) fn attempts_made(&self) -> usize {
        self.attempts.iter().flatten().count()
    }

    fn newest(&self) -> Option<&Attempt> {
        self.attempts.iter().flatten().last()
    }

    /// Ends it. Nothing that is said of it afterwards changes anything, so it is forgotten here; its
    /// orders are not, for they may still arrive.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.stage = Stage::Ended(outcome);
        self.intent = None;
        self.close_requested = false;
        for attempt in self.attempts.iter_mut().flatten() {
            attempt.said = [0; LEDGERS];
            attempt.accepted = false;
            attempt.resolving = false;
        }
    }
}

impl Protocol {
    pub(crate) fn control_plane_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for action in self.indices() {
            let of = &state.actions[action];
            match of.stage {
                Stage::Queued => {
                    steps.push(Step::Cancel { action });
                    if state.now > DEADLINE {
                        steps.push(Step::Expire { action });
                    } else if of.attempts_made() < self.scenario.attempts_max {
                        steps.push(Step::Decide { action });
                        if let Some(intent) = of.intent
                            && self.target_is_free(state)
                        {
                            // It may have heard of a newer ledger meanwhile, by another action's facts.
                            let seen = intent.ledger..=state.ledger;
                            steps.extend(seen.map(|ledger| Step::Claim { action, ledger }));
                        }
                    }
                }
                Stage::Running | Stage::Unknown => self.ordered_steps(state, action, steps),
                Stage::Ended(_) => {}
            }
        }
    }

    fn ordered_steps(&self, state: &State, action: usize, steps: &mut Vec<Step>) {
        let of = &state.actions[action];
        let newest = of.newest().expect("a running action has an attempt");
        if state.now > newest.not_after {
            if !newest.resolving {
                steps.push(Step::Resolve { action });
            }
            let watch_is_over = state.now >= newest.not_after + self.scenario.watch()
                && self.rules.hold(Rule::SilenceAfterTheWatchIsUnknown);
            if of.stage == Stage::Running && (!newest.accepted || watch_is_over) {
                steps.push(Step::GiveUpWaiting { action });
            }
        }
        if of.stage == Stage::Unknown {
            steps.push(if of.close_requested {
                Step::ConfirmClose { action }
            } else {
                Step::RequestClose { action }
            });
        }
        for (attempt, sent) in of.attempts.iter().enumerate() {
            let Some(sent) = sent else { continue };
            for ledger in 0..LEDGERS {
                steps.extend(
                    Receipt::ALL
                        .into_iter()
                        .filter(|receipt| sent.said[ledger] & receipt.bit() != 0)
                        .map(|receipt| Step::ReceiptArrives { action, attempt, ledger, receipt }),
                );
            }
        }
    }

    fn target_is_free(&self, state: &State) -> bool {
        let busy = |of: &Action| matches!(of.stage, Stage::Running | Stage::Unknown);
        !state.actions.iter().any(busy) || !self.rules.hold(Rule::OneWriterPerTarget)
    }

    /// Decides again on fresh facts, with a new intent for the next attempt.
    pub(crate) fn decide(state: &mut State, action: usize) {
        state.actions[action].intent = Some(Intent { expected: state.object.field, ledger: state.ledger });
    }

    /// `queued → running`: signs and stores the bytes. From here on they may arrive anywhere, any time.
    pub(crate) fn claim(state: &mut State, action: usize, ledger: u8) {
        let not_after = state.now.min(DEADLINE);
        let of = &mut state.actions[action];
        let made = of.attempts_made();
        let intent = Intent { ledger, ..of.intent.take().expect("a claim needs an intent") };
        of.attempts[made] =
            Some(Attempt { intent, not_after, resolving: false, accepted: false, said: [0; LEDGERS] });
        of.stage = Stage::Running;
    }

    pub(crate) fn resolve(state: &mut State, action: usize) {
        if let Some(newest) = state.actions[action].attempts.iter_mut().flatten().last() {
            newest.resolving = true;
        }
    }

    /// The time is over and nobody has said what happened.
    pub(crate) fn give_up_waiting(&self, state: &mut State, action: usize) {
        state.actions[action].stage =
            if self.rules.hold(Rule::ResolveBeforeNewAttempt) { Stage::Unknown } else { Stage::Queued };
    }

    pub(crate) fn receipt_arrives(
        &self,
        state: &mut State,
        action: usize,
        attempt: usize,
        ledger: usize,
        receipt: Receipt,
    ) {
        self.note_rows(state);
        let newest = state.actions[action].attempts_made() - 1;
        let judged = if self.rules.hold(Rule::AnswersNameTheirAttempt) { attempt } else { newest };
        let trusted = self.is_trusted(state, action, judged, ledger);
        let late = state.now > DEADLINE;
        let of = &mut state.actions[action];
        let Some(sent) = &mut of.attempts[judged] else { return };
        match receipt {
            Receipt::Running if judged == newest => {
                sent.accepted = true;
                of.stage = Stage::Running;
            }
            Receipt::Closed if judged == newest => {
                let never_began =
                    !sent.accepted && (trusted || !self.rules.hold(Rule::ClosedOnlyFromItsLedger));
                match (never_began, late) {
                    (false, _) => of.stage = Stage::Unknown,
                    (true, true) => of.end(Outcome::Expired),
                    (true, false) => of.stage = Stage::Queued,
                }
            }
            Receipt::Refused if judged == newest => self.end_unwritten(of, Outcome::Refused, trusted),
            // An answer about an attempt that has a successor is an entry in the log, no more.
            Receipt::Running | Receipt::Closed | Receipt::Refused => {}
            Receipt::Finished(Status::Succeeded) => of.end(Outcome::Succeeded),
            Receipt::Finished(Status::Failed) => of.end(Outcome::Failed),
            Receipt::Finished(Status::Refused) => self.end_unwritten(of, Outcome::Refused, trusted),
            Receipt::Finished(Status::Expired) => self.end_unwritten(of, Outcome::Expired, trusted),
            Receipt::Finished(Status::Unknown) => of.stage = Stage::Unknown,
        }
    }

    fn end_unwritten(&self, of: &mut Action, outcome: Outcome, trusted: bool) {
        if trusted || !self.rules.hold(Rule::RefusalsOnlyFromItsLedger) {
            of.end(outcome);
        } else {
            of.stage = Stage::Unknown;
        }
    }

    /// Whether this ledger can know that the attempt was never written.
    fn is_trusted(&self, state: &State, action: usize, attempt: usize, ledger: usize) -> bool {
        let sent = state.actions[action].attempts[attempt].as_ref();
        !state.ledger_regressed && sent.is_some_and(|sent| usize::from(sent.intent.ledger) == ledger)
    }

    /// Compares the ledger's last row with the highest one seen.
    fn note_rows(&self, state: &mut State) {
        if !self.rules.hold(Rule::RestoreChangesLedgerId) {
            let rows = state.actions.iter().map(|of| of.story.rows()).sum();
            state.ledger_regressed |= rows < state.rows_seen;
            state.rows_seen = state.rows_seen.max(rows);
        }
    }
}

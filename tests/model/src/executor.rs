//! The executor: how an order is taken in, how a worker carries it out, and how another goes on
//! after it. One step is what happens between two moments at which a process can stop.

use crate::rules::Rule;
use crate::state::{Acting, Action, Field, LEDGERS, Next, Receipt, Row, State, Status, Worker};
use crate::{Protocol, Step};

impl Worker {
    /// Goes on with `next`, keeping what was read only where it is still needed.
    pub(crate) fn proceed(&mut self, next: Next) {
        self.next = next;
        let needs_read = matches!(
            next,
            Next::RecordActing
                | Next::ConfirmLease
                | Next::CheckTime
                | Next::SendWrite
                | Next::AwaitWrite
                | Next::SendFence
                | Next::AwaitFence
        );
        self.fresh &= needs_read;
        self.same_generation &= next == Next::RecordActing;
        // The fence settled it, or nobody will ask.
        self.in_doubt &= !matches!(next, Next::ReadFenced | Next::Watch | Next::Finish(_));
    }

    /// Notes resourceVersion and generation of what was just read.
    fn proceed_having_read(&mut self, next: Next) {
        self.fresh = true;
        self.same_generation = true;
        self.proceed(next);
    }
}

impl Protocol {
    pub(crate) fn executor_steps(&self, state: &State, steps: &mut Vec<Step>) {
        for action in self.indices() {
            let of = &state.actions[action];
            for (attempt, sent) in of.attempts.iter().enumerate() {
                let Some(sent) = sent else { continue };
                // Whatever was sent before the attempt is too old to arrive after the stop of the database.
                if state.put_back && of.attempts.get(attempt + 1).is_some_and(Option::is_some) {
                    continue;
                }
                // And so is every check of the time.
                if !(state.put_back && state.now > sent.not_after) {
                    for replica in 0..self.scenario.replicas {
                        steps.push(Step::OrderArrives { action, attempt, replica });
                    }
                }
                steps.push(Step::OrderIsRefused { action, attempt });
                if sent.resolving {
                    steps.push(Step::ResolveArrives { action, attempt });
                }
            }
            let open = of.story.accepted().is_some() && of.story.finished.is_none();
            for (replica, worker) in of.workers.iter().enumerate().take(self.scenario.replicas) {
                match worker.next {
                    Next::Idle if open => steps.push(Step::TakeOver { action, replica }),
                    Next::Idle => {}
                    Next::Watch => {
                        for status in [Status::Succeeded, Status::Failed] {
                            steps.push(Step::WatchEnds { action, replica, status });
                        }
                    }
                    _ => steps.push(Step::Work { action, replica }),
                }
                if worker.next == Next::AwaitWrite && !worker.fresh {
                    steps.push(Step::ConflictHeard { action, replica });
                }
            }
        }
        steps.extend((0..self.scenario.replicas).map(|replica| Step::Crash { replica }));
    }

    /// Section 7, order of work: an attempt already known is answered before anything else is judged.
    pub(crate) fn order_arrives(&self, state: &mut State, action: usize, attempt: usize, replica: usize) {
        if self.known(state, action, attempt) {
            return answer(state, action, attempt);
        }
        if !self.is_for_this_ledger(state, action, attempt) {
            return; // retryable: nothing is written, nothing is said for good
        }
        let of = &mut state.actions[action];
        if of.story.accepted().is_some() {
            of.story.attempts[attempt] = Row::Refused; // action-accepted
        } else {
            // The clock was read before this commit, which may have been long ago.
            of.story.attempts[attempt] = Row::Accepted;
            let worker = &mut of.workers[replica];
            if worker.next == Next::Idle {
                *worker = Worker { next: Next::ReadFirst, holds: true, ..Worker::default() };
            }
        }
        answer(state, action, attempt);
    }

    /// Any final refusal: too late, not allowed, evidence that does not fit. All commit a row.
    pub(crate) fn order_is_refused(&self, state: &mut State, action: usize, attempt: usize) {
        if !self.known(state, action, attempt) && self.is_for_this_ledger(state, action, attempt) {
            self.note_row_before(state, action, attempt);
            state.actions[action].story.attempts[attempt] = Row::Refused;
            answer(state, action, attempt);
        }
    }

    /// What a denial of the attempt says of the ledger: one row was there before everything.
    fn note_row_before(&self, state: &mut State, action: usize, attempt: usize) {
        let rows: u8 = state.actions.iter().map(|of| of.story.rows()).sum();
        let is_low = state.put_back && rows == 0 && self.rules.hold(Rule::ClosedNamesRowBefore);
        state.actions[action].story.names_low_row[attempt] = is_low;
    }

    fn known(&self, state: &State, action: usize, attempt: usize) -> bool {
        match state.actions[action].story.attempts[attempt] {
            Row::None => false,
            Row::Closed => self.rules.hold(Rule::ClosedRefusesLateOrders),
            Row::Accepted | Row::Refused => true,
        }
    }

    fn is_for_this_ledger(&self, state: &State, action: usize, attempt: usize) -> bool {
        let sent = state.actions[action].attempts[attempt].as_ref().expect("only a signed order arrives");
        sent.intent.ledger == state.ledger || !self.rules.hold(Rule::OrderNamesLedger)
    }

    /// `resolve` closes the attempt and all earlier ones unless the ledger holds them.
    pub(crate) fn resolve_arrives(&self, state: &mut State, action: usize, attempt: usize) {
        let mut closed: Vec<usize> = (0..=attempt).collect();
        if self.rules.hold(Rule::NamedAttemptIsClosedFirst) {
            closed.reverse();
        }
        for earlier in closed {
            if state.actions[action].story.attempts[earlier] == Row::None {
                self.note_row_before(state, action, earlier);
                state.actions[action].story.attempts[earlier] = Row::Closed;
            }
        }
        let story = &state.actions[action].story;
        let accepted = story.accepted().filter(|accepted| *accepted <= attempt);
        answer(state, action, accepted.unwrap_or(attempt));
    }

    /// A lease has run out, and this replica takes it: every earlier holder is fenced off.
    pub(crate) fn take_over(&self, state: &mut State, action: usize, replica: usize) {
        let Action { story, workers, .. } = &mut state.actions[action];
        workers.iter_mut().for_each(|worker| worker.holds = false);
        let next = if story.acting.is_some() { Next::ReadAgain } else { Next::ReadFirst };
        let in_doubt = story.acting.is_some();
        workers[replica] = Worker { next, holds: true, in_doubt, ..Worker::default() };
    }

    /// The replica's process ends; what it had sent stays sent.
    pub(crate) fn crash(state: &mut State, replica: usize) {
        for action in &mut state.actions {
            action.workers[replica] = Worker::default();
        }
    }

    pub(crate) fn work(&self, state: &mut State, action: usize, replica: usize) {
        match state.actions[action].workers[replica].next {
            Next::ReadFirst => self.read_first(state, action, replica),
            Next::RecordActing => self.record_acting(state, action, replica),
            Next::ConfirmLease => {
                let worker = &mut state.actions[action].workers[replica];
                if worker.holds || !self.rules.hold(Rule::LeaseConfirmedAfterRead) {
                    worker.proceed(Next::CheckTime);
                } else {
                    *worker = Worker::default();
                }
            }
            Next::CheckTime => self.check_time(state, action, replica),
            Next::SendWrite => self.send_write(state, action, replica),
            Next::SendFence => {
                let of = &mut state.actions[action];
                of.requests.fence |= of.workers[replica].fresh;
                of.workers[replica].proceed(Next::AwaitFence);
            }
            // No answer, or an error that does not exclude that it took effect.
            Next::AwaitWrite | Next::AwaitFence => {
                let worker = &mut state.actions[action].workers[replica];
                worker.in_doubt = true;
                worker.proceed(Next::ReadAgain);
            }
            Next::ReadAgain => self.read_again(state, action, replica),
            Next::ReadFenced => {
                let written = state.object.field == Field::Of(action);
                let next = if written { Next::Watch } else { Next::Finish(Status::Expired) };
                state.actions[action].workers[replica].proceed(next);
            }
            Next::Finish(status) => self.finish(state, action, replica, status),
            Next::Idle | Next::Watch => {}
        }
    }

    fn read_first(&self, state: &mut State, action: usize, replica: usize) {
        let late = self.is_late(state, action, replica);
        let expected = state.object.field == expected(&state.actions[action]);
        let worker = &mut state.actions[action].workers[replica];
        match (late, expected) {
            (true, _) => worker.proceed(Next::Finish(Status::Expired)),
            (false, false) => worker.proceed(Next::Finish(Status::Refused)),
            (false, true) => worker.proceed_having_read(Next::RecordActing),
        }
    }

    fn record_acting(&self, state: &mut State, action: usize, replica: usize) {
        let Action { story, workers, .. } = &mut state.actions[action];
        let worker = &mut workers[replica];
        if self.may_write_rows(*worker) && story.acting.is_none() && story.accepted().is_some() {
            story.acting = Some(Acting { same_generation: worker.same_generation });
            worker.proceed(Next::CheckTime);
        } else {
            *worker = Worker::default();
        }
    }

    /// Late, it says so; but if a write may be under way it fences first, and says that it does not
    /// know where it cannot.
    fn check_time(&self, state: &mut State, action: usize, replica: usize) {
        let late = self.is_late(state, action, replica);
        let worker = &mut state.actions[action].workers[replica];
        let fences = worker.in_doubt && self.rules.hold(Rule::Fence);
        worker.proceed(match (late, fences, self.scenario.fenceable) {
            (false, ..) => Next::SendWrite,
            (true, false, _) => Next::Finish(Status::Expired),
            (true, true, true) => Next::SendFence,
            (true, true, false) => Next::Finish(Status::Unknown),
        });
    }

    fn send_write(&self, state: &mut State, action: usize, replica: usize) {
        let as_before = as_before(state, action);
        let Action { requests, workers, .. } = &mut state.actions[action];
        let worker = &mut workers[replica];
        if !self.rules.hold(Rule::ClockAfterRead) {
            // The object is read here, after the clock.
            worker.fresh = as_before;
        }
        if !self.rules.hold(Rule::ResourceVersionTest) {
            requests.writes += 1;
        } else if worker.fresh {
            requests.writes = 1;
        }
        worker.proceed(Next::AwaitWrite);
    }

    /// Section 7, resume: as written → watch; as before and nobody else was here → try again or
    /// fence; anything else → hands off.
    fn read_again(&self, state: &mut State, action: usize, replica: usize) {
        let written = state.object.field == Field::Of(action);
        let as_before = if self.rules.hold(Rule::GenerationTest) {
            as_before(state, action)
        } else {
            state.object.field == expected(&state.actions[action])
        };
        let worker = &mut state.actions[action].workers[replica];
        match (written, as_before) {
            (true, _) => worker.proceed(Next::Watch),
            (false, true) => worker.proceed_having_read(Next::ConfirmLease),
            (false, false) if worker.in_doubt => worker.proceed(Next::Finish(Status::Failed)), // contested
            // Nothing of ours was ever under way: the object merely is not as the decision saw it.
            (false, false) => worker.proceed(Next::Finish(Status::Refused)),
        }
    }

    fn finish(&self, state: &mut State, action: usize, replica: usize, status: Status) {
        let Action { story, workers, .. } = &mut state.actions[action];
        if self.may_write_rows(workers[replica]) && story.finished.is_none() && story.accepted().is_some() {
            story.finished = Some(status);
        }
        workers[replica] = Worker::default();
    }

    fn may_write_rows(&self, worker: Worker) -> bool {
        worker.holds || !self.rules.hold(Rule::LeaseFence)
    }

    fn is_late(&self, state: &State, action: usize, replica: usize) -> bool {
        let of = &state.actions[action];
        let clock =
            if self.scenario.clocks_differ && replica == 1 { state.now.saturating_sub(1) } else { state.now };
        let attempt = of.story.accepted().and_then(|accepted| of.attempts[accepted].as_ref());
        attempt.is_none_or(|attempt| clock > attempt.not_after)
    }
}

/// The fields as the accepted order says the decision saw them.
fn expected(of: &Action) -> Field {
    let attempt = of.story.accepted().and_then(|accepted| of.attempts[accepted].as_ref());
    attempt.map_or(Field::Initial, |attempt| attempt.intent.expected)
}

fn as_before(state: &State, action: usize) -> bool {
    let of = &state.actions[action];
    state.object.field == expected(of) && of.story.acting.is_some_and(|acting| acting.same_generation)
}

/// Signs a receipt of what the ledger holds of an attempt; nobody listens once the action is over.
fn answer(state: &mut State, action: usize, attempt: usize) {
    let ledger = usize::from(state.ledger);
    let of = &mut state.actions[action];
    let receipt = match (of.story.attempts[attempt], of.story.finished) {
        (Row::None, _) => return,
        (Row::Accepted, None) => Receipt::Running,
        (Row::Accepted, Some(status)) => Receipt::Finished(status),
        (Row::Closed, _) => Receipt::Closed,
        (Row::Refused, _) => Receipt::Refused,
    };
    if !of.is_over()
        && let Some(sent) = &mut of.attempts[attempt]
    {
        // A ledger that names a lower row than was known is believed as little as another one.
        let ledger = if of.story.names_low_row[attempt] { LEDGERS - 1 } else { ledger };
        sent.said[ledger] |= receipt.bit();
        // That it runs could as well have been heard before this was said.
        if receipt != Receipt::Running {
            sent.said[ledger] &= !Receipt::Running.bit();
        }
    }
}

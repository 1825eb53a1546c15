//! Waiting for an action's turn at the disruption budgets that it shares with others.

use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::ActionId;
use aegis_contract::plan::Obstacle;
use aegis_contract::receipt::ExecutionStatus;

use super::prospect::Prospect;
use super::worker::{Ending, Stop, Worker};
use crate::ledger::turns::Turn;

/// Where an action stands that has not written yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The budgets at which it is its turn.
    taken: Vec<String>,
    /// The action that was last seen ahead of it, if one ever was.
    behind: Option<ActionId>,
    /// What was in the way when it was its turn at last.
    blocked: Option<String>,
}

impl Queue {
    /// Whether it is the action's turn at all of these budgets.
    pub(super) fn is_in_turn_at(&self, budgets: &[String]) -> bool {
        budgets.iter().all(|budget| self.taken.contains(budget))
    }

    /// Whether what is in the way may be what the action ahead has left: its pods come back in a moment, and a budget's
    /// controller counts them a moment later.
    pub(super) fn is_worth_waiting(&mut self, obstacle: &Obstacle) -> bool {
        let is_left_over = self.behind.is_some() && obstacle.code == OutcomeCode::BudgetBlocked;
        if is_left_over {
            self.blocked = Some(obstacle.message.clone());
        }
        is_left_over
    }

    /// How the action ends when its time is over, if it has waited.
    pub(super) fn ending(&self) -> Option<Ending> {
        let behind = self.behind?;
        let message = match &self.blocked {
            Some(blocked) => format!("after the end of action {behind}, {blocked}"),
            None => format!(
                "the time to begin ran out behind action {behind}, which shares a disruption budget with it; nothing \
                 was written"
            ),
        };
        Some(Ending::new(ExecutionStatus::Expired, OutcomeCode::BudgetBlocked, message))
    }
}

impl Worker<'_> {
    /// Takes the action's turn at these budgets, unless another action is ahead.
    pub(super) async fn take_turn(&self, budgets: Vec<String>, queue: &mut Queue) -> Result<Prospect, Stop> {
        match self.executor.ledger.take_turn(self.lease.grant, &budgets).await? {
            Turn::Taken => {
                if let Some(behind) = queue.behind {
                    self.step("in-turn", format!("action {behind} has ended"));
                }
                queue.taken = budgets;
                Ok(Prospect::LookAgain)
            }
            Turn::Behind(other) => {
                if queue.behind != Some(other) {
                    let message = format!(
                        "action {other}, which shares a disruption budget with this one, comes first"
                    );
                    self.step("waiting", message);
                }
                queue.behind = Some(other);
                Ok(Prospect::Wait)
            }
            Turn::LeaseLost => Err(Stop::LeaseLost),
        }
    }
}

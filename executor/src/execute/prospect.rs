//! What is to be done about a target, found out anew before its first write and before what follows a canary.

use aegis_contract::action::Change;
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::WrittenFields;
use aegis_contract::plan::{Obstacle, Plan};
use aegis_runtime::clock;

use super::first_look::FirstLook;
use super::turns::Queue;
use super::worker::{Stop, Worker};
use crate::action::object::Object;
use crate::action::planning::{self, Surroundings};
use crate::action::{self, figures, unready};
use crate::cluster::ReadError;
use crate::ledger::stories::PodName;

/// What is to be done about a target as it was read.
pub(super) enum Prospect {
    /// To write these fields.
    Write {
        before: WrittenFields,
        after: WrittenFields,
        /// The target's pods, where they count.
        pods: Vec<Object>,
        /// The one that is to go before anything is written.
        canary: Option<PodName>,
    },
    /// Nothing, for this reason.
    Refuse(Obstacle),
    /// To look again, now that it is the action's turn.
    LookAgain,
    /// To look again in a moment: another action is ahead.
    Wait,
}

/// A target as it was read, and its prospect; `None` when there is none.
pub(super) type Looked = Result<Option<(Object, Prospect)>, ReadError>;

impl Worker<'_> {
    /// Reads the target, by the first look if there is one, and finds out what is to be done about it.
    pub(super) async fn look_and_plan(
        &self,
        first_look: Option<FirstLook>,
        queue: &mut Queue,
    ) -> Result<Looked, Stop> {
        let seen = match first_look {
            Some(first_look) => first_look.finish().await,
            None => self.read(&self.act.target).await,
        };
        let object = match seen {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        let prospect = self.prospect(&self.act.change, &object, queue).await?;
        Ok(prospect.map(|prospect| Some((object, prospect))))
    }

    /// The fields as they are and as they will be written by `change`, the action's or what is left of it, when that is
    /// what was agreed to and it is the action's turn.
    pub(super) async fn prospect(
        &self,
        change: &Change,
        object: &Object,
        queue: &mut Queue,
    ) -> Result<Result<Prospect, ReadError>, Stop> {
        let target = &self.act.target;
        if let Some(obstacle) = action::refused_by_preconditions(&self.act, object) {
            return Ok(Ok(Prospect::Refuse(obstacle)));
        }
        let good = self.executor.good_templates(change, object).await?;
        let cluster = &self.executor.cluster;
        let around = match Surroundings::read(target, change, object, good, cluster, self.caller()).await {
            Ok(around) => around,
            Err(error) => return Ok(Err(error)),
        };
        let budgets = around.contended(target, change, object);
        let has_turn = self.act.dry_run || queue.is_in_turn_at(&budgets);
        let is_approved = Some(!self.act.approvals.is_empty());
        let Some(plan) = planning::plan(target, change, object, &around, is_approved, clock::now()) else {
            return Ok(Ok(Prospect::Refuse(action::lacking())));
        };
        let is_blocked = |obstacle: &Obstacle| obstacle.code == OutcomeCode::BudgetBlocked;
        if !has_turn && plan.obstacle.as_ref().is_some_and(is_blocked) {
            // That may be what the action ahead has used up.
            return Ok(Ok(self.take_turn(budgets, queue).await?));
        }
        let (before, after) = match (planning::changed(&self.act, object, &plan), plan) {
            (_, Plan { obstacle: Some(obstacle), .. }) if queue.is_worth_waiting(&obstacle) => {
                return Ok(Ok(Prospect::Wait));
            }
            (_, Plan { obstacle: Some(obstacle), .. }) | (Some(obstacle), _) => {
                return Ok(Ok(Prospect::Refuse(obstacle)));
            }
            (None, Plan { before, after, .. }) => (before.clone(), after.unwrap_or(before)),
        };
        if has_turn || before == after {
            if let Some(obstacle) = figures::exceeded(&self.act, change, object, Some(&after)) {
                return Ok(Ok(Prospect::Refuse(obstacle)));
            }
            let canary = around.canary(change, target.kind, object).ok().flatten().map(unready::name);
            return Ok(Ok(Prospect::Write { before, after, pods: around.into_pods(), canary }));
        }
        // What was read before may be another action's doing.
        Ok(Ok(self.take_turn(budgets, queue).await?))
    }
}

//! Puts back what was there before a change that turned out bad: a second write of the same action, made
//! at most once, by its deadline, and only where the fields are still as the first one left them. It needs
//! no control plane: the order permits it.

use aegis_contract::code::OutcomeCode;
use aegis_contract::order::AutomaticReturn;
use aegis_contract::receipt::ExecutionStatus;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};

use super::evicting::Eviction;
use super::watching::Watched;
use super::worker::{Ending, Stop, Worker};
use super::writing::{Wrote, pause};
use crate::action::object::Object;
use crate::action::{State, state};
use crate::cluster::ReadError;
use crate::ledger::stories::{Acting, Cause};
use crate::verdict::Bad;
use crate::verify::time::has_passed;

impl Worker<'_> {
    /// Puts back what `first` has overwritten, if the order permits it, and says how the action ends.
    pub(super) async fn put_back(&self, first: &Acting, bad: Bad) -> Result<Ending, Stop> {
        let Some(AutomaticReturn { within_seconds }) = self.act.automatic_return else {
            return Ok(not_returned(&cause(bad), "the order permits no return"));
        };
        let (cause, not_after) = (cause(bad), first.at + SignedDuration::from_secs(within_seconds.into()));
        let object = match self.look_for_return(first, not_after).await {
            Ok(object) => object,
            Err((OutcomeCode::Contested, why)) => {
                let message = format!("{}; not put back: {why}", cause.message);
                return Ok(Ending::new(ExecutionStatus::Failed, OutcomeCode::Contested, message));
            }
            Err((_, why)) => return Ok(not_returned(&cause, &why)),
        };
        let acting = Acting {
            not_after: Some(not_after),
            returns: Some(cause.clone()),
            ready_before: None,
            ..self.acting(&object, first.after.clone(), first.before.clone())
        };
        self.step("returning", "what was there before is put back");
        let acting = self.announce(acting).await?;
        self.go_on_returning(&cause, &acting, Some(object), None).await
    }

    /// Makes the return that the ledger announces, and sees it through.
    pub(super) async fn go_on_returning(
        &self,
        cause: &Cause,
        acting: &Acting,
        fresh: Option<Object>,
        eviction: Option<Eviction>,
    ) -> Result<Ending, Stop> {
        let at = match self.write(acting, fresh).await? {
            Wrote::Since(at) => at,
            Wrote::Ended(ending) if ending.status == ExecutionStatus::Unknown => return Ok(ending),
            Wrote::Ended(ending) => return Ok(not_returned(cause, &ending.message)),
        };
        self.step("returned", "what was there before stands again");
        let stands = match self.watch(acting, at, eviction).await? {
            Watched::Ended(ending) => ending.message,
            Watched::Bad(bad) => format!("which is bad too: {}", bad.message),
        };
        let message = format!("{}; put back to what was there before: {stands}", cause.message);
        Ok(Ending::new(ExecutionStatus::Returned, cause.code, message))
    }

    /// The object, if it is as `first` left it, before `not_after`.
    async fn look_for_return(
        &self,
        first: &Acting,
        not_after: Timestamp,
    ) -> Result<Object, (OutcomeCode, String)> {
        loop {
            if has_passed(not_after, clock::now()) {
                return Err((OutcomeCode::DeadlinePassed, "the time to put it back ran out".to_owned()));
            }
            match self.read(&self.act.target).await {
                Ok(object) => {
                    return match (state(&self.act, first, object.as_ref()), object) {
                        (State::After, Some(object)) => Ok(object),
                        (State::Other { code, message }, _) => Err((code, message)),
                        (State::Before | State::After, _) => {
                            Err((OutcomeCode::Contested, "somebody else took the change back".to_owned()))
                        }
                    };
                }
                Err(ReadError::Forbidden(message)) => return Err((OutcomeCode::ClusterRefused, message)),
                Err(ReadError::Unavailable(_)) => pause().await,
            }
        }
    }
}

fn cause(bad: Bad) -> Cause {
    Cause { code: bad.code, message: bad.message }
}

fn not_returned(cause: &Cause, why: &str) -> Ending {
    let message = format!("{}; not put back: {why}", cause.message);
    Ending::new(ExecutionStatus::Failed, cause.code, message)
}

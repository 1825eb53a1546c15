//! Bare questions to the policies, and decisions that were taken.

pub mod recorder;

use aegis_contract::canonical;
use aegis_contract::ids::DecisionId;
use serde_json::Value;

use super::decide::{Asked, Decided};
use super::{Services, noting_refusal};
use crate::error::Error;
use crate::metrics::Tally;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::{ANSWER_WITHIN, decisions, within};

/// A question; what is left out is the caller's own.
#[derive(Clone, Debug)]
pub struct BareQuestion {
    /// Who would ask.
    pub principal: Option<String>,
    /// The roles they would hold.
    pub roles: Option<Vec<String>>,
    /// What they would do.
    pub action: String,
    /// To which resource.
    pub resource: String,
    /// With which parameters.
    pub params: Value,
    /// What they would state about the case.
    pub metadata: Value,
}

/// Asks what policy says, without facts of the target and without any action.
///
/// # Errors
/// `Forbidden` when the question is about anybody else; `OutsideScope`; `Invalid` when it makes no sense.
pub async fn evaluate(
    services: &Services,
    caller: &Caller,
    question: BareQuestion,
) -> Result<Decided, Error> {
    caller.require(Permission::EvaluatePolicy)?;
    services.safeguards.require_recordable()?;
    let principal = question.principal.unwrap_or_else(|| caller.name.clone());
    let is_self = principal == caller.name;
    let roles = question.roles.unwrap_or_else(|| if is_self { caller.roles.clone() } else { Vec::new() });
    if !is_self || !same_roles(&roles, &caller.roles) {
        caller.require(Permission::EvaluatePolicyForOthers)?;
    }
    let asked = Asked {
        principal,
        roles,
        action: question.action,
        resource: question.resource,
        params: question.params,
        metadata: question.metadata,
    };
    let result = match caller.require_in_scope(&asked.action, &asked.resource) {
        Ok(()) => services.recorder.decide(caller, asked).await,
        Err(error) => Err(error),
    };
    let decided = noting_refusal(services, caller, result).await?;
    services.metrics.count_decision(&Tally::of(&decided));
    Ok(decided)
}

fn same_roles(asked: &[String], held: &[String]) -> bool {
    let sorted = |roles: &[String]| {
        let mut roles = roles.to_vec();
        roles.sort();
        roles.dedup();
        roles
    };
    sorted(asked) == sorted(held)
}

/// A decision with everything it was given, as canonical JSON.
///
/// # Errors
/// `NotFound` when there is none, or it is somebody else's and the caller sees only their own.
pub async fn find(services: &Services, caller: &Caller, id: DecisionId) -> Result<Vec<u8>, Error> {
    caller.require(Permission::ReadOwnActions)?;
    let found =
        within(ANSWER_WITHIN, async { decisions::find(&mut *services.store.acquire().await?, id).await })
            .await?;
    let not_found = || Error::NotFound { what: "decision" };
    let sees_all = caller.may(Permission::ReadActions);
    let found =
        found.filter(|decision| sees_all || decision.principal == caller.name).ok_or_else(not_found)?;
    if sees_all {
        return Ok(found.body);
    }
    let decision: Value = serde_json::from_slice(&found.body).map_err(Error::internal)?;
    let asked = |name: &str| decision["request"][name].as_str().unwrap_or_default();
    if !caller.scope.includes(asked("action"), asked("resource")) {
        return Err(not_found());
    }
    without_shadow(decision)
}

/// P32: whoever asked is not told of policies in mode `shadow`.
fn without_shadow(mut decision: Value) -> Result<Vec<u8>, Error> {
    if let Value::Object(members) = &mut decision {
        members.remove("shadow");
    }
    canonical::to_bytes(&decision).map_err(Error::internal)
}

//! The one way an action gets its outcome.

use aegis_contract::action::{ActionState, ActionType};
use aegis_contract::code::OutcomeCode;
use aegis_contract::dsse::Envelope;
use aegis_contract::ids::ActionId;
use aegis_contract::receipt::Step;
use aegis_contract::target::Target;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::DISPATCHER;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::store::dispatch::{self, OpenAction};

/// How an action ended, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Stable: an outcome or a refusal code of the contract.
    pub code: String,
    /// For people.
    pub message: String,
    /// What the executor did, in order.
    pub steps: Vec<Step>,
    /// Whether what it was for is better.
    #[serde(default)]
    pub helped: Helped,
    /// The executor's signed word for it; absent when it was never asked.
    pub receipt: Option<Envelope>,
}

/// Whether what an action was for is better. Only the alert it came from could tell that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Helped {
    /// The alert that the action came from is gone.
    True,
    /// What it did was put back, or the alert is still there.
    False,
    /// Nothing tells.
    #[default]
    Unknown,
}

impl Outcome {
    /// An outcome that no executor had a part in.
    pub fn without_receipt(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            steps: Vec::new(),
            helped: Helped::Unknown,
            receipt: None,
        }
    }
}

/// The end of an action.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// The action.
    pub action_id: ActionId,
    /// What it did.
    pub action_type: ActionType,
    /// To what.
    pub target: &'a Target,
    /// The states it may end from; in another one it is left alone.
    pub from: &'a [ActionState],
    /// The final state.
    pub to: ActionState,
    /// Who ends it.
    pub principal: &'a str,
    /// Who asked for the action.
    pub on_behalf_of: &'a str,
    /// The request that caused it.
    pub request_id: Option<&'a str>,
    /// How it ended.
    pub outcome: &'a Outcome,
}

/// Ends an action and appends its `action.ended` entry; false when it was in none of `from`.
pub async fn end_action(conn: &mut PgConnection, ending: Ending<'_>) -> Result<bool, Error> {
    let outcome = serde_json::to_value(ending.outcome).map_err(Error::internal)?;
    if !dispatch::end(conn, ending.action_id, ending.from, ending.to, &outcome).await? {
        return Ok(false);
    }
    audit::append(
        conn,
        Record {
            kind: Kind::ActionEnded,
            principal: ending.principal,
            action_id: Some(ending.action_id),
            request_id: ending.request_id,
            data: json!({
                "state": ending.to,
                "code": ending.outcome.code,
                "message": ending.outcome.message,
                "onBehalfOf": ending.on_behalf_of,
                "type": ending.action_type,
                "target": ending.target,
            }),
        },
    )
    .await?;
    Ok(true)
}

/// Ends an action whose time to start, or to be approved, is over and which certainly was not begun.
pub async fn expire(conn: &mut PgConnection, action: &OpenAction) -> Result<bool, Error> {
    let lacks_people = action.state == ActionState::AwaitingApproval && action.approved_at.is_none();
    let (code, message) = if lacks_people {
        (OutcomeCode::ApprovalExpired, "not enough people agreed in time; nothing was written")
    } else {
        let message = "the action could not be started before its deadline; nothing was written";
        (OutcomeCode::DeadlinePassed, message)
    };
    end_expired(conn, action, code, message).await
}

/// Ends an action whose intent did not come into the audit log in time: it was not ordered, and will not be.
pub(super) async fn expire_unlogged(conn: &mut PgConnection, action: &OpenAction) -> Result<bool, Error> {
    let message = "the intent did not come into the audit log in time; nothing was written";
    end_expired(conn, action, OutcomeCode::IntentNotInLog, message).await
}

async fn end_expired(
    conn: &mut PgConnection,
    action: &OpenAction,
    code: OutcomeCode,
    message: &str,
) -> Result<bool, Error> {
    let ending = Ending {
        action_id: action.id,
        action_type: action.change.action_type(),
        target: &action.target,
        from: &[action.state],
        to: ActionState::Expired,
        principal: DISPATCHER,
        on_behalf_of: &action.requested_by,
        request_id: None,
        outcome: &Outcome::without_receipt(code.as_str(), message),
    };
    end_action(conn, ending).await
}

//! Targets on hold: where an action was put back, automation does nothing more until a person has looked
//! and lifts it. People may act on them all the time.

use aegis_contract::code::OutcomeCode;
use aegis_contract::ids::ActionId;
use aegis_contract::target::Target;
use serde_json::json;
use sqlx::PgConnection;

use super::Services;
use super::dispatch::{DISPATCHER, Outcome};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::store::dispatch::{self, OpenAction};
pub use crate::store::holds::OpenHold;
use crate::store::{ANSWER_WITHIN, commit, holds, within};

/// Puts the target of a locked action on hold, in the transaction that ends it.
pub(super) async fn hold(conn: &mut PgConnection, action: &OpenAction, code: &str) -> Result<(), Error> {
    let at = dispatch::clock(conn).await?;
    holds::insert(conn, action.id, &action.target, at).await?;
    let record = Record {
        kind: Kind::TargetHeld,
        principal: DISPATCHER,
        action_id: Some(action.id),
        request_id: None,
        data: json!({
            "code": code,
            "onBehalfOf": action.requested_by,
            "type": action.change.action_type(),
            "target": action.target,
        }),
    };
    audit::append(conn, record).await.map(drop)
}

/// How an action is denied that a hold keeps off its target; absent where none does: holds keep off neither
/// people nor dry runs.
pub(super) async fn denial(
    conn: &mut PgConnection,
    target: &Target,
    requester: &str,
    dry_run: bool,
) -> Result<Option<Outcome>, Error> {
    if dry_run || requester.starts_with("user:") {
        return Ok(None);
    }
    let held_by = holds::of_target(conn, target).await?;
    Ok(held_by.map(|action_id| {
        let message = format!(
            "{target} is on hold for automation since action {action_id} was put back; a person lifts it"
        );
        Outcome::without_receipt(OutcomeCode::TargetOnHold.as_str(), message)
    }))
}

/// Holds that nobody has lifted, the oldest action first.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<ActionId>,
    limit: u32,
) -> Result<Vec<OpenHold>, Error> {
    caller.require(Permission::ReadActions)?;
    within(ANSWER_WITHIN, async {
        holds::open(&mut *services.store.acquire().await?, after, limit.into()).await
    })
    .await
}

/// Lifts the hold that an action has caused.
///
/// # Errors
/// `Forbidden`; `NotFound`; `NotOnHold`.
pub async fn lift(services: &Services, caller: &Caller, id: ActionId) -> Result<(), Error> {
    caller.require(Permission::LiftHolds)?;
    services.safeguards.require_recordable()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let action = dispatch::lock(&mut tx, id).await?.ok_or(Error::NotFound { what: "action" })?;
        let at = dispatch::clock(&mut tx).await?;
        if !holds::lift(&mut tx, id, &caller.name, at).await? {
            return Err(Error::NotOnHold);
        }
        let record = Record {
            kind: Kind::TargetHoldLifted,
            principal: &caller.name,
            action_id: Some(id),
            request_id: Some(&caller.request_id),
            data: json!({
                "onBehalfOf": action.requested_by,
                "type": action.change.action_type(),
                "target": action.target,
            }),
        };
        audit::append(&mut tx, record).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, Some(id)).await
}

//! Looking afterwards at actions that nothing but a break-glass rule allowed. It stops no action and
//! allows none: it is what an emergency is paid with.

use aegis_contract::ids::{ActionId, EntryId};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Services;
use super::approvals::{is_requesters_own, owner_of};
use super::decide::Decided;
use super::dispatch::NewIntent;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
use crate::store::dispatch::{self, OpenAction};
use crate::store::reviews::{self, NewReview, OpenReview};
use crate::store::{ANSWER_WITHIN, commit, users, within};

/// Most bytes of a comment: a few sentences.
const COMMENT_BYTES_MAX: usize = 2_000;

/// Asks for the reviews that the decision demands and an earlier one did not. A dry run needs none.
///
/// # Errors
/// When the database refuses it.
pub async fn ask(conn: &mut PgConnection, intent: NewIntent<'_>) -> Result<(), Error> {
    let demanded = &intent.decided.decision.obligations.break_glass;
    if intent.dry_run || demanded.is_empty() {
        return Ok(());
    }
    let known = reviews::of_action(conn, intent.action_id).await?;
    let is_new = |role: &str| !known.iter().any(|(asked, _)| asked == role);
    let new: Vec<_> = demanded.iter().filter(|review| is_new(&review.what.review_role)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let Decided { decision_id, decided_at, .. } = intent.decided;
    let due_at = |seconds: u32| *decided_at + SignedDuration::from_secs(seconds.into());
    let asked: Vec<Value> = new
        .iter()
        .map(|review| {
            let (role, due_at) = (&review.what.review_role, due_at(review.what.review_seconds));
            json!({ "role": role, "dueAt": due_at, "rules": review.rules })
        })
        .collect();
    let record = Record {
        kind: Kind::ReviewRequested,
        principal: intent.principal,
        action_id: Some(intent.action_id),
        request_id: intent.request_id,
        data: json!({
            "decisionId": decision_id,
            "reviews": asked,
            "type": intent.change.action_type(),
            "target": intent.target,
        }),
    };
    let entry_id = audit::append(conn, record).await?.id;
    for review in new {
        let new = NewReview {
            action_id: intent.action_id,
            role: &review.what.review_role,
            asked_at: *decided_at,
            due_at: due_at(review.what.review_seconds),
            entry_id,
        };
        reviews::insert(conn, new).await?;
    }
    Ok(())
}

/// Reviews that nobody has done, the oldest action first: all for people who may see all actions, else those
/// of the caller's roles.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<(ActionId, &str)>,
    limit: u32,
) -> Result<Vec<OpenReview>, Error> {
    caller.require(Permission::ReviewActions)?;
    let roles = (!caller.may(Permission::ReadActions)).then_some(caller.roles.as_slice());
    within(ANSWER_WITHIN, async {
        reviews::open(&mut *services.store.acquire().await?, roles, after, limit.into()).await
    })
    .await
}

/// What was reviewed.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The roles for which nobody had looked at it.
    pub roles: Vec<String>,
    /// The entry that says so.
    pub entry_id: EntryId,
}

/// Says that the caller looked at an action, for every role they hold whose people were asked and have not.
///
/// # Errors
/// `NotFound`; `NotAReviewer` for whoever asked for the action, whoever answers for the client that did, and
/// whoever holds none of the roles; `NothingToReview`; `Parameter` for an unusable comment.
pub async fn review(
    services: &Services,
    caller: &Caller,
    id: ActionId,
    comment: &str,
) -> Result<Reviewed, Error> {
    caller.require(Permission::ReviewActions)?;
    services.safeguards.require_recordable()?;
    if comment.is_empty() || comment.len() > COMMENT_BYTES_MAX || comment.contains('\0') {
        let message = format!("must say what was found, in 1 to {COMMENT_BYTES_MAX} bytes without U+0000");
        return Err(Error::Parameter { name: "comment", message });
    }
    let (tx, reviewed) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        // Two people at once: the second finds nothing left.
        let action = dispatch::lock(&mut tx, id).await?.ok_or_else(not_found)?;
        let roles = roles_to_review(&mut tx, caller, &action).await?;
        let reviewed = record(&mut tx, services, caller, &action, roles, comment).await?;
        Ok((tx, reviewed))
    })
    .await?;
    commit(tx, Some(id)).await?;
    Ok(reviewed)
}

/// The roles for which the caller can look at a locked action now.
async fn roles_to_review(
    conn: &mut PgConnection,
    caller: &Caller,
    action: &OpenAction,
) -> Result<Vec<String>, Error> {
    let Principal::User(person) = caller.principal else { return Err(not_found()) };
    let held = users::roles(conn, person).await?.unwrap_or_default();
    let asked = reviews::of_action(conn, action.id).await?;
    let of_caller: Vec<(String, bool)> =
        asked.iter().filter(|(role, _)| held.contains(role)).cloned().collect();
    let owner = owner_of(conn, &action.requested_by).await?;
    let is_own = is_requesters_own(person, &action.requested_by, owner);
    let sees = is_own || !of_caller.is_empty() || caller.may(Permission::ReadActions);
    match of_caller {
        _ if !sees => Err(not_found()),
        _ if asked.iter().all(|(_, is_open)| !is_open) => Err(Error::NothingToReview),
        of_caller if is_own || of_caller.is_empty() => Err(Error::NotAReviewer),
        of_caller => {
            let open: Vec<String> =
                of_caller.into_iter().filter(|(_, is_open)| *is_open).map(|(role, _)| role).collect();
            if open.is_empty() { Err(Error::NothingToReview) } else { Ok(open) }
        }
    }
}

async fn record(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    action: &OpenAction,
    roles: Vec<String>,
    comment: &str,
) -> Result<Reviewed, Error> {
    let comment = audit::store_text(conn, &services.keyring, comment).await?;
    let at = dispatch::clock(conn).await?;
    let record = Record {
        kind: Kind::ReviewDone,
        principal: &caller.name,
        action_id: Some(action.id),
        request_id: Some(&caller.request_id),
        data: json!({
            "roles": roles,
            "comment": comment,
            "onBehalfOf": action.requested_by,
            "type": action.change.action_type(),
            "target": action.target,
        }),
    };
    let entry_id = audit::append(conn, record).await?.id;
    reviews::close(conn, action.id, &roles, &caller.name, at, entry_id).await?;
    Ok(Reviewed { roles, entry_id })
}

fn not_found() -> Error {
    Error::NotFound { what: "action" }
}

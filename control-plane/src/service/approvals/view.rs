//! Requests for approval as people see them.

use aegis_contract::action::ActionState;
use aegis_contract::digest::Digest;
use aegis_contract::ids::ActionId;
use aegis_policy::{Approval, Demanded, Limit, RuleName, Vacancy, vacancies};
use jiff::Timestamp;
use sqlx::PgConnection;

use super::standing::{self, Given, Standing};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::Caller;
use crate::service::Services;
use crate::store::actions::{self, Action};
use crate::store::{ANSWER_WITHIN, approvals, users, within};

/// A request for approval as a caller sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// Digest of what is asked: whoever agrees to it agrees to nothing else.
    pub digest: Digest,
    /// Since when.
    pub asked_at: Timestamp,
    /// Until when people may answer.
    pub expires_at: Timestamp,
    /// The groups that must agree.
    pub groups: Vec<Group>,
    /// Who agreed.
    pub given: Vec<Given>,
    /// The rules that decided.
    pub rules: Vec<RuleName>,
    /// The limits the action will be held to.
    pub limits: Vec<Limit>,
    /// Whether the caller is asked.
    pub is_asked: bool,
}

/// One group of a request.
#[derive(Clone, Debug)]
pub struct Group {
    /// The role they hold.
    pub role: String,
    /// How many of them must agree.
    pub min: u32,
    /// How many are missing.
    pub missing: u32,
    /// E-mail addresses of those who may agree; for people who may see all actions.
    pub people: Option<Vec<String>>,
}

/// The request for approval of an action that waits for one. One that is not as the audit log has it
/// is not shown; that is logged.
///
/// # Errors
/// Those of the database.
pub async fn view(services: &Services, caller: &Caller, action: &Action) -> Result<Option<View>, Error> {
    if action.state != ActionState::AwaitingApproval {
        return Ok(None);
    }
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        seen(&mut conn, caller, action).await
    })
    .await
}

/// Whether the caller is one of the people whom the newest request for approval of an action asks, or
/// asked when it waited for them.
///
/// # Errors
/// Those of the database.
pub async fn is_asked(services: &Services, caller: &Caller, action: &Action) -> Result<bool, Error> {
    if !caller.is_user() {
        return Ok(false);
    }
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let Some(standing) = recorded(&mut conn, action).await? else { return Ok(false) };
        asks(&mut conn, caller, action, &standing).await
    })
    .await
}

/// The actions that wait for approval, the newest first, those after `before` left out: those that the
/// caller is asked about and has not agreed to, or all.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    all: bool,
    before: Option<ActionId>,
    limit: u32,
) -> Result<Vec<(Action, View)>, Error> {
    caller.require(if all { Permission::ReadActions } else { Permission::ApproveActions })?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let roles = (!all).then_some(caller.roles.as_slice());
        let (mut found, mut before) = (Vec::new(), before);
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        while found.len() < wanted {
            let ids = approvals::awaiting(&mut conn, roles, before, limit.into()).await?;
            let Some(last) = ids.last() else { break };
            before = Some(*last);
            for id in ids {
                let Some(action) = actions::find(&mut conn, id).await? else { continue };
                let Some(view) = seen(&mut conn, caller, &action).await? else { continue };
                let has_given = view.given.iter().any(|given| given.principal == caller.name);
                if all || (view.is_asked && !has_given) {
                    found.push((action, view));
                }
            }
        }
        found.truncate(wanted);
        Ok(found)
    })
    .await
}

async fn seen(conn: &mut PgConnection, caller: &Caller, action: &Action) -> Result<Option<View>, Error> {
    let Some(standing) = recorded(conn, action).await? else { return Ok(None) };
    let is_asked = asks(conn, caller, action, &standing).await?;
    let Standing { proposal, vacancies, .. } = &standing;
    let groups = groups(conn, caller, &action.requested_by, &proposal.approvals, vacancies).await?;
    let Standing { proposal, digest, asked_at, given, .. } = standing;
    Ok(Some(View {
        digest,
        asked_at,
        expires_at: action.deadline_at,
        groups,
        given,
        rules: proposal.rules,
        limits: proposal.limits,
        is_asked,
    }))
}

/// The newest request of an action, if it is as the audit log has it.
async fn recorded(conn: &mut PgConnection, action: &Action) -> Result<Option<Standing>, Error> {
    match standing::load(conn, action.id, &action.requested_by).await {
        Err(Error::StateNotInLog { .. }) => Ok(None),
        found => found,
    }
}

async fn asks(
    conn: &mut PgConnection,
    caller: &Caller,
    action: &Action,
    standing: &Standing,
) -> Result<bool, Error> {
    let roles = standing::roles_to_count(conn, &caller.name, &action.requested_by).await?;
    Ok(standing.proposal.asks_one_of(&roles))
}

/// The groups that would be asked if the caller asked for something that demands them.
///
/// # Errors
/// Those of the database.
pub async fn would_be_asked(
    conn: &mut PgConnection,
    caller: &Caller,
    demanded: &[Demanded<Approval>],
) -> Result<Vec<Group>, Error> {
    if demanded.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<Approval> = demanded.iter().map(|group| group.what.clone()).collect();
    groups(conn, caller, &caller.name, &asked, &vacancies(&asked, &[])).await
}

async fn groups(
    conn: &mut PgConnection,
    caller: &Caller,
    requested_by: &str,
    asked: &[Approval],
    vacancies: &[Vacancy],
) -> Result<Vec<Group>, Error> {
    let may_see_people = caller.is_user() && caller.may(Permission::ReadActions);
    let owner = standing::owner_of(conn, requested_by).await?;
    let mut groups = Vec::new();
    for group in asked {
        let vacancy = vacancies.iter().find(|vacancy| vacancy.role == group.role);
        let people = if may_see_people {
            let holders = users::holders(conn, &group.role).await?;
            let is_own = |id| standing::is_requesters_own(id, requested_by, owner);
            let others = holders.into_iter().filter(|holder| !is_own(holder.id));
            Some(others.map(|holder| holder.email).collect())
        } else {
            None
        };
        let missing = vacancy.map_or(0, |vacancy| vacancy.missing);
        groups.push(Group { role: group.role.clone(), min: group.min, missing, people });
    }
    Ok(groups)
}

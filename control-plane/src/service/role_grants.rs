//! Giving people roles. Policy decides about `grant` on `aegis/role/<name>` as it does about actions: nothing allows it
//! unless a rule does, and where a rule asks people, the grant waits until enough of them agree. It is then decided again.

mod ruling;
mod standing;

use std::cmp::min;

use aegis_contract::ids::{GrantId, UserId};
use aegis_policy::Approval;
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};

use self::ruling::{Asking, Ruling, Verdict};
pub use self::standing::{GrantState, RoleGrant};
use super::Services;
use super::users::check_role;
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::{Permission, permissions_of};
use crate::principal::{Caller, Principal};
use crate::store::role_grants::{self, NewGrant};
use crate::store::users::{self, Person};
use crate::store::{ANSWER_WITHIN, commit, dispatch, within};

/// What nobody does for themselves.
const NOT_ONESELF: &str =
    "nobody gives themselves a role; another admin has to, or the operator on the command line";

/// What became of asking for a role.
#[derive(Clone, Debug)]
pub enum Granted {
    /// The person holds it.
    Held(Person),
    /// People have to agree first.
    Waiting(RoleGrant),
}

/// How it ended inside of its transaction.
enum Outcome {
    Granted(Granted),
    /// Recorded, and refused.
    Refused(Error),
}

/// Gives a person a role, or asks those who have to agree. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`; `Parameter` for an unusable role; `UserDisabled`; `FourEyes` for oneself; `PolicyDenied`.
pub async fn grant(services: &Services, caller: &Caller, user: UserId, role: &str) -> Result<Granted, Error> {
    caller.require(Permission::ManageUsers)?;
    let (requester, _) = caller.person()?;
    services.safeguards.require_recordable()?;
    check_role(role)?;
    let (tx, outcome) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let person = users::lock(&mut tx, user).await?.ok_or(Error::NotFound { what: "user" })?;
        let outcome = begin(&mut tx, services, caller, requester, person, role).await?;
        Ok((tx, outcome))
    })
    .await?;
    commit(tx, None).await?;
    match outcome {
        Outcome::Granted(granted) => Ok(granted),
        Outcome::Refused(error) => Err(error),
    }
}

async fn begin(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    requester: UserId,
    person: Person,
    role: &str,
) -> Result<Outcome, Error> {
    if person.roles.iter().any(|held| held == role) {
        return Ok(Outcome::Granted(Granted::Held(person)));
    }
    if person.disabled_at.is_some() {
        return Err(Error::UserDisabled);
    }
    if person.id == requester {
        return Err(Error::FourEyes(NOT_ONESELF));
    }
    if let Some(id) = role_grants::waiting_for(conn, person.id, role).await? {
        return Ok(Outcome::Granted(Granted::Waiting(show(conn, id).await?)));
    }
    let asking = Asking { requester, requester_roles: &caller.roles, user: person.id, role };
    let ruling = ruling::rule(conn, services, asking, caller).await?;
    Ok(match &ruling.verdict {
        Verdict::Now => {
            give(conn, caller, &ruling, &person, Gift { role, waited: None }).await?;
            let person = users::find(conn, person.id).await?.ok_or(Error::NotFound { what: "user" })?;
            Outcome::Granted(Granted::Held(person))
        }
        Verdict::Asks(groups) => {
            let id = ask(conn, caller, &ruling, asking, groups).await?;
            Outcome::Granted(Granted::Waiting(show(conn, id).await?))
        }
        Verdict::Never(denial) => Outcome::Refused(Error::PolicyDenied {
            action_id: None,
            decision_id: ruling.decision_id,
            denial: denial.clone(),
        }),
    })
}

/// Has a grant wait for people.
async fn ask(
    conn: &mut PgConnection,
    caller: &Caller,
    ruling: &Ruling,
    asking: Asking<'_>,
    groups: &[Approval],
) -> Result<GrantId, Error> {
    let id = GrantId(clock::new_uuid());
    let seconds = groups.iter().map(|group| group.expires_seconds).reduce(min).unwrap_or_default();
    let expires_at = ruling.decided_at.saturating_add(SignedDuration::from_secs(seconds.into()));
    let expires_at = expires_at.unwrap_or(Timestamp::MAX);
    let groups = json!(groups);
    let data = json!({
        "grantId": id,
        "user": name_of(asking.user),
        "role": asking.role,
        "groups": groups,
        "expiresAt": expires_at,
        "decisionId": ruling.decision_id,
    });
    let entry_id = audit::append(conn, record(caller, Kind::RoleGrantRequested, data)).await?.id;
    let new = NewGrant {
        id,
        user: asking.user,
        role: asking.role,
        requested_by: asking.requester,
        groups: &groups,
        asked_at: ruling.decided_at,
        expires_at,
        entry_id,
    };
    role_grants::insert(conn, new).await?;
    Ok(id)
}

/// A role to give.
#[derive(Clone, Copy)]
struct Gift<'a> {
    role: &'a str,
    /// The request that waited, if one did.
    waited: Option<&'a RoleGrant>,
}

async fn give(
    conn: &mut PgConnection,
    caller: &Caller,
    ruling: &Ruling,
    person: &Person,
    gift: Gift<'_>,
) -> Result<(), Error> {
    users::insert_role(conn, person.id, gift.role).await?;
    let roles = users::roles(conn, person.id).await?.unwrap_or_default();
    let mut data = json!({
        "user": name_of(person.id),
        "before": person.roles,
        "roles": roles,
        "decisionId": ruling.decision_id,
    });
    if let Some(grant) = gift.waited {
        data["grantId"] = json!(grant.id);
        data["onBehalfOf"] = json!(name_of(grant.requested_by));
        data["approvals"] = grant.words();
        role_grants::end(conn, grant.id, "granted").await?;
    }
    audit::append(conn, record(caller, Kind::UserRolesChanged, data)).await?;
    Ok(())
}

/// Agrees that a person is given a role. Again is the same.
///
/// # Errors
/// `NotFound`, also for who is not asked and may not see people; `NotAnApprover`; `GrantNotWaiting`; `UserDisabled`;
/// `StateNotInLog` when what was asked, or who agreed, is not as the audit log has it.
pub async fn approve(services: &Services, caller: &Caller, id: GrantId) -> Result<RoleGrant, Error> {
    let (mut tx, grant) = begin_answer(services, caller, id).await?;
    within(ANSWER_WITHIN, async {
        let person = users::lock(&mut tx, grant.user).await?.ok_or_else(not_found)?;
        if person.disabled_at.is_some() {
            return Err(Error::UserDisabled);
        }
        settle(&mut tx, services, caller, &grant, &person).await
    })
    .await?;
    commit_and_show(tx, id).await
}

/// Decides a waiting grant again, with the word of the caller.
async fn settle(
    conn: &mut PgConnection,
    services: &Services,
    caller: &Caller,
    grant: &RoleGrant,
    person: &Person,
) -> Result<(), Error> {
    let requester_roles = users::roles(conn, grant.requested_by).await?.unwrap_or_default();
    let requester = Principal::User(grant.requested_by);
    if !permissions_of(&requester, &requester_roles).contains(&Permission::ManageUsers) {
        if !standing::may_agree(conn, caller, grant, &grant.asked).await? {
            return Err(Error::NotAnApprover);
        }
        return refuse(conn, caller, grant, json!({ "reason": "requester-lost-permission" })).await;
    }
    let asking = Asking {
        requester: grant.requested_by,
        requester_roles: &requester_roles,
        user: grant.user,
        role: &grant.role,
    };
    let ruling = ruling::rule(conn, services, asking, caller).await?;
    let groups = match &ruling.verdict {
        Verdict::Asks(groups) => groups.as_slice(),
        Verdict::Now | Verdict::Never(_) => &[],
    };
    let asked = if groups.is_empty() { grant.asked.as_slice() } else { groups };
    if !standing::may_agree(conn, caller, grant, asked).await? {
        return Err(Error::NotAnApprover);
    }
    if let Verdict::Never(_) = ruling.verdict {
        let more = json!({ "reason": "policy-denied", "decisionId": ruling.decision_id });
        return refuse(conn, caller, grant, more).await;
    }
    if !grant.has_approved(caller) {
        let data = about(grant, json!({ "decisionId": ruling.decision_id }));
        let entry_id = audit::append(conn, record(caller, Kind::RoleGrantApproved, data)).await?.id;
        let (user, _) = caller.person()?;
        role_grants::insert_approval(conn, grant.id, user, entry_id).await?;
    }
    role_grants::set_groups(conn, grant.id, &json!(groups)).await?;
    let grant = show(conn, grant.id).await?;
    if grant.is_complete() {
        let gift = Gift { role: &grant.role, waited: Some(&grant) };
        give(conn, caller, &ruling, person, gift).await?;
    }
    Ok(())
}

/// Says no, which ends the request: as one of the people who are asked, or as who asked for it.
///
/// # Errors
/// Those of [`approve`].
pub async fn deny(services: &Services, caller: &Caller, id: GrantId) -> Result<RoleGrant, Error> {
    let (mut tx, grant) = begin_answer(services, caller, id).await?;
    within(ANSWER_WITHIN, async {
        if caller.principal != Principal::User(grant.requested_by)
            && !standing::may_agree(&mut tx, caller, &grant, &grant.asked).await?
        {
            return Err(Error::NotAnApprover);
        }
        refuse(&mut tx, caller, &grant, json!({ "reason": "said-no" })).await
    })
    .await?;
    commit_and_show(tx, id).await
}

async fn refuse(
    conn: &mut PgConnection,
    caller: &Caller,
    grant: &RoleGrant,
    more: Value,
) -> Result<(), Error> {
    role_grants::end(conn, grant.id, "denied").await?;
    audit::append(conn, record(caller, Kind::RoleGrantDenied, about(grant, more))).await?;
    Ok(())
}

/// A request that waits, locked, for a caller who may see it.
async fn begin_answer(
    services: &Services,
    caller: &Caller,
    id: GrantId,
) -> Result<(Transaction<'static, Postgres>, RoleGrant), Error> {
    caller.require(Permission::ApproveActions)?;
    services.safeguards.require_recordable()?;
    within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        role_grants::lock(&mut tx, id).await?.ok_or_else(not_found)?;
        let grant = show(&mut tx, id).await?;
        if !sees(caller, &grant) {
            return Err(not_found());
        }
        if grant.state != GrantState::Waiting {
            return Err(Error::GrantNotWaiting { state: grant.state.as_str() });
        }
        Ok((tx, grant))
    })
    .await
}

/// The requests that wait for people, the oldest first: all for who may see people, else those that ask the caller's
/// roles, or that they made.
///
/// # Errors
/// `Forbidden` for clients.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<GrantId>,
    limit: u32,
) -> Result<Vec<RoleGrant>, Error> {
    caller.require(Permission::ApproveActions)?;
    let (user, _) = caller.person()?;
    let roles = (!caller.may(Permission::ReadUsers)).then_some(caller.roles.as_slice());
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        let now = dispatch::clock(&mut conn).await?;
        let mut shown = Vec::new();
        for stored in role_grants::waiting(&mut conn, roles, user, after, limit.into()).await? {
            shown.push(standing::load(&mut conn, stored, now).await?);
        }
        Ok(shown)
    })
    .await
}

/// One request.
///
/// # Errors
/// `NotFound`, also for who is not asked, did not ask, and may not see people.
pub async fn find(services: &Services, caller: &Caller, id: GrantId) -> Result<RoleGrant, Error> {
    caller.require(Permission::ApproveActions)?;
    let found = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        show(&mut conn, id).await
    });
    found.await.and_then(|grant| if sees(caller, &grant) { Ok(grant) } else { Err(not_found()) })
}

fn sees(caller: &Caller, grant: &RoleGrant) -> bool {
    caller.may(Permission::ReadUsers)
        || caller.principal == Principal::User(grant.requested_by)
        || grant.groups.iter().any(|group| caller.roles.contains(&group.role))
}

async fn show(conn: &mut PgConnection, id: GrantId) -> Result<RoleGrant, Error> {
    let stored = role_grants::find(conn, id).await?.ok_or_else(not_found)?;
    let now = dispatch::clock(conn).await?;
    standing::load(conn, stored, now).await
}

async fn commit_and_show(mut tx: Transaction<'static, Postgres>, id: GrantId) -> Result<RoleGrant, Error> {
    let grant = within(ANSWER_WITHIN, show(&mut tx, id)).await?;
    commit(tx, None).await?;
    Ok(grant)
}

/// What every entry about a request says.
fn about(grant: &RoleGrant, more: Value) -> Value {
    let mut data = json!({
        "grantId": grant.id,
        "user": name_of(grant.user),
        "role": grant.role,
        "onBehalfOf": name_of(grant.requested_by),
    });
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    data
}

fn record(caller: &Caller, kind: Kind, data: Value) -> Record<'_, Value> {
    Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data }
}

fn name_of(user: UserId) -> String {
    Principal::User(user).to_string()
}

fn not_found() -> Error {
    Error::NotFound { what: "role grant" }
}

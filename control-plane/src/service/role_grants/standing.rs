//! Where a request for a role stands: who agreed, held against the audit log, and who is missing.

use aegis_contract::ids::{EntryId, GrantId, UserId};
use aegis_contract::intent::Entry;
use aegis_policy::{Approval, vacancies};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::audit::Kind;
use crate::error::Error;
use crate::principal::{Caller, Principal};
use crate::service::approvals::Group;
use crate::store::{role_grants, users};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// People may still agree.
    Waiting,
    /// The person got the role.
    Granted,
    /// Somebody said no, or policy did.
    Denied,
    /// Nobody has time left to agree.
    Expired,
}

impl GrantState {
    /// The name shown to callers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }

    fn of(stored: &str, is_over: bool) -> Self {
        match stored {
            "granted" => Self::Granted,
            "denied" => Self::Denied,
            _ if is_over => Self::Expired,
            _ => Self::Waiting,
        }
    }
}

/// A request to give a person a role.
#[derive(Clone, Debug)]
pub struct RoleGrant {
    /// Its id.
    pub id: GrantId,
    /// The person who is to hold the role.
    pub user: UserId,
    /// The role.
    pub role: String,
    /// The person who asked.
    pub requested_by: UserId,
    /// How far it has come.
    pub state: GrantState,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Afterwards nobody can agree any more.
    pub expires_at: Timestamp,
    /// The groups that must agree, each with how many of it are missing.
    pub groups: Vec<Group>,
    /// The same as policy demanded them last.
    pub(super) asked: Vec<Approval>,
    /// Who agreed, each with the entry that says so, and whether it counts now.
    pub approvals: Vec<(UserId, EntryId, bool)>,
}

impl RoleGrant {
    /// Whether a caller has agreed.
    pub(super) fn has_approved(&self, caller: &Caller) -> bool {
        self.approvals.iter().any(|(user, ..)| caller.principal == Principal::User(*user))
    }

    /// Whether nobody is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.groups.iter().all(|group| group.missing == 0)
    }

    /// The words that it was given on, as its entry names them.
    pub(super) fn words(&self) -> Value {
        let counting = self.approvals.iter().filter(|(.., counts)| *counts);
        counting
            .map(|(user, entry_id, _)| json!({ "principal": name_of(*user), "entryId": entry_id }))
            .collect()
    }
}

/// What the entries about a request say of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    grant_id: GrantId,
    user: String,
    role: String,
}

/// A stored request as it stands: who agreed holds a role that is asked, now.
///
/// # Errors
/// `StateNotInLog` when what was asked, or who agreed, is not as its entry says.
pub(super) async fn load(
    conn: &mut PgConnection,
    stored: role_grants::RoleGrant,
    now: Timestamp,
) -> Result<RoleGrant, Error> {
    let asked: Vec<Approval> = serde_json::from_value(stored.groups.clone()).map_err(Error::internal)?;
    require_said(&stored, Kind::RoleGrantRequested, stored.requested_by, stored.entry.as_deref())?;
    let (mut approvals, mut people) = (Vec::new(), Vec::new());
    for word in role_grants::approvals(conn, stored.id).await? {
        require_said(&stored, Kind::RoleGrantApproved, word.user, word.entry.as_deref())?;
        let roles = roles_to_count(conn, word.user, stored.requested_by, stored.user).await?;
        let counts = asked.iter().any(|group| roles.contains(&group.role));
        if counts {
            people.push(roles);
        }
        approvals.push((word.user, word.entry_id, counts));
    }
    let vacancies = vacancies(&asked, &people);
    let groups = asked.iter().map(|group| {
        let missing = vacancies.iter().find(|vacancy| vacancy.role == group.role);
        let missing = missing.map_or(0, |vacancy| vacancy.missing);
        Group { role: group.role.clone(), min: group.min, missing, people: None }
    });
    Ok(RoleGrant {
        id: stored.id,
        user: stored.user,
        role: stored.role,
        requested_by: stored.requested_by,
        state: GrantState::of(&stored.state, now >= stored.expires_at),
        asked_at: stored.asked_at,
        expires_at: stored.expires_at,
        groups: groups.collect(),
        asked,
        approvals,
    })
}

/// Whether a caller is one of these people now, did not ask for the grant, and is not to be given the role.
pub(super) async fn may_agree(
    conn: &mut PgConnection,
    caller: &Caller,
    grant: &RoleGrant,
    groups: &[Approval],
) -> Result<bool, Error> {
    let (user, _) = caller.person()?;
    let roles = roles_to_count(conn, user, grant.requested_by, grant.user).await?;
    Ok(groups.iter().any(|group| roles.contains(&group.role)))
}

/// The roles a person may agree with now: none for who asked, for whom it is about, and for who may not sign in.
async fn roles_to_count(
    conn: &mut PgConnection,
    user: UserId,
    requested_by: UserId,
    about: UserId,
) -> Result<Vec<String>, Error> {
    if user == requested_by || user == about {
        return Ok(Vec::new());
    }
    Ok(users::roles(conn, user).await?.unwrap_or_default())
}

fn require_said(
    stored: &role_grants::RoleGrant,
    kind: Kind,
    principal: UserId,
    entry: Option<&[u8]>,
) -> Result<(), Error> {
    let entry: Option<Entry<Said>> = entry.and_then(|entry| serde_json::from_slice(entry).ok());
    let is_said = entry.is_some_and(|entry| {
        entry.kind == kind.as_str()
            && entry.principal == name_of(principal)
            && entry.data.grant_id == stored.id
            && entry.data.user == name_of(stored.user)
            && entry.data.role == stored.role
    });
    if is_said {
        return Ok(());
    }
    tracing::error!(grantId = %stored.id, "a role grant is not as recorded");
    Err(Error::StateNotInLog { what: format!("role grant {}", stored.id) })
}

fn name_of(user: UserId) -> String {
    Principal::User(user).to_string()
}

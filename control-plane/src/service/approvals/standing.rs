//! Where a request for approval stands: who agreed, held against the audit log, and who is missing.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{ActionId, EntryId, UserId};
use aegis_contract::intent::{self, Entry};
use aegis_policy::{Vacancy, vacancies};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::proposal::Proposal;
use crate::audit::Kind;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::approvals::{self, Answer};
use crate::store::{clients, users};

/// What the entries of a request and of its answers say.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bound {
    /// Which request of the action, from 1.
    pub(super) round: u32,
    /// Digest of what was asked.
    pub(super) digest: Digest,
    /// Of an answer: its number among all answers to the action, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<u32>,
    /// What else is said.
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

/// One person's word for it.
#[derive(Clone, Debug)]
pub struct Given {
    /// Who.
    pub principal: String,
    /// When.
    pub at: Timestamp,
    /// The audit entry that says so.
    pub entry_id: EntryId,
    /// Whether it counts: the person holds a role that is asked, and is not the requester's own.
    pub counts: bool,
}

/// A request for approval and the answers to it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What is asked.
    pub proposal: Proposal,
    /// Its digest.
    pub digest: Digest,
    /// Since when.
    pub asked_at: Timestamp,
    /// Who agreed and did not withdraw, in the order of the answers.
    pub given: Vec<Given>,
    /// The groups that lack people.
    pub vacancies: Vec<Vacancy>,
    /// How many answers the action has had, to this request and to earlier ones.
    pub answers: u32,
}

impl Standing {
    /// Until when people may still answer: the time of the group that lacks somebody and has least of
    /// it; nothing when nobody is missing.
    pub fn until(&self) -> Option<Timestamp> {
        let lacking = |role: &str| self.vacancies.iter().any(|vacancy| vacancy.role == role);
        let groups = self.proposal.approvals.iter().filter(|group| lacking(&group.role));
        groups.map(|group| until(self.asked_at, group.expires_seconds)).min()
    }

    /// Whether a person has agreed.
    pub fn has_given(&self, principal: &str) -> bool {
        self.given.iter().any(|given| given.principal == principal)
    }

    /// Takes the next answer to the action into account; nothing when its entry says anything else.
    fn add(&mut self, action_id: ActionId, answer: Answer) -> Option<()> {
        self.answers += 1;
        let kind = ANSWERS.into_iter().find(|kind| answer_of(*kind) == answer.answer)?;
        let bound = bound_of(&answer.entry, kind, action_id, Some(&answer.principal))?;
        let is_of_this = bound.round == self.proposal.round;
        if (bound.round, bound.answer) != (answer.round.cast_unsigned(), Some(self.answers))
            || (is_of_this && bound.digest != self.digest)
        {
            return None;
        }
        if is_of_this {
            self.given.retain(|earlier| earlier.principal != answer.principal);
        }
        if is_of_this && kind == Kind::ApprovalGiven {
            let (at, entry_id) = (answer.at.to_jiff(), EntryId(answer.entry_id));
            self.given.push(Given { principal: answer.principal, at, entry_id, counts: false });
        }
        Some(())
    }

    /// The words that an order stands on.
    pub fn approvals(&self) -> Vec<intent::Approval> {
        let counting = self.given.iter().filter(|given| given.counts);
        let word = |given: &Given| intent::Approval {
            principal: given.principal.clone(),
            digest: self.digest,
            entry_id: given.entry_id,
        };
        counting.map(word).collect()
    }
}

/// When a group that was asked then has no time left.
pub(super) fn until(asked_at: Timestamp, seconds: u32) -> Timestamp {
    asked_at.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MAX)
}

/// The kinds of entries that answers are recorded as.
const ANSWERS: [Kind; 3] = [Kind::ApprovalGiven, Kind::ApprovalWithdrawn, Kind::ApprovalDenied];

/// The valid request of an action with the answers to it, and the roles that people hold now. Rows and
/// audit entries must stand one for one: nothing was slipped in, taken away or put into another order.
///
/// # Errors
/// `StateNotInLog` when they do not.
pub(super) async fn load(
    conn: &mut PgConnection,
    action_id: ActionId,
    requested_by: &str,
) -> Result<Option<Standing>, Error> {
    let Some(mut standing) = load_request(conn, action_id).await? else { return Ok(None) };
    let kinds = ANSWERS.map(|kind| kind.as_str().to_owned());
    let recorded = approvals::answers(conn, action_id, &kinds).await?.ok_or_else(|| not_in_log(action_id))?;
    for answer in recorded {
        standing.add(action_id, answer).ok_or_else(|| not_in_log(action_id))?;
    }
    let Standing { proposal, given, .. } = &mut standing;
    standing.vacancies = count(conn, proposal, requested_by, given).await?;
    Ok(Some(standing))
}

/// The newest request of an action, not answered yet.
async fn load_request(conn: &mut PgConnection, action_id: ActionId) -> Result<Option<Standing>, Error> {
    let requests = approvals::requests(conn, action_id, Kind::ApprovalRequested.as_str()).await?;
    let requests = requests.ok_or_else(|| not_in_log(action_id))?;
    let Some(stored) = requests.last() else { return Ok(None) };
    let proposal: Proposal = serde_json::from_slice(&stored.body).map_err(|_| not_in_log(action_id))?;
    let digest = Digest::of(&stored.body);
    let bound = bound_of(&stored.entry, Kind::ApprovalRequested, action_id, None);
    let is_recorded = bound.is_some_and(|bound| (bound.round, bound.digest) == (proposal.round, digest));
    let is_newest = usize::try_from(proposal.round) == Ok(requests.len());
    if !is_recorded || !is_newest || proposal.action_id != action_id {
        return Err(not_in_log(action_id));
    }
    let asked_at = stored.asked_at.to_jiff();
    Ok(Some(Standing { proposal, digest, asked_at, given: Vec::new(), vacancies: Vec::new(), answers: 0 }))
}

/// P44: finds out whose word counts now, and which groups lack people.
async fn count(
    conn: &mut PgConnection,
    proposal: &Proposal,
    requested_by: &str,
    given: &mut [Given],
) -> Result<Vec<Vacancy>, Error> {
    let mut people = Vec::with_capacity(given.len());
    for given in given {
        let roles = roles_to_count(conn, &given.principal, requested_by).await?;
        given.counts = proposal.asks_one_of(&roles);
        if given.counts {
            people.push(roles);
        }
    }
    Ok(vacancies(&proposal.approvals, &people))
}

/// The roles a person may agree with now: none for whoever asked for the action, for whoever answers
/// for the client that asked, and for who may not sign in.
pub(super) async fn roles_to_count(
    conn: &mut PgConnection,
    principal: &str,
    requested_by: &str,
) -> Result<Vec<String>, Error> {
    let Some(id) = user_id(principal) else { return Ok(Vec::new()) };
    if is_requesters_own(id, requested_by, owner_of(conn, requested_by).await?) {
        return Ok(Vec::new());
    }
    Ok(users::roles(conn, id).await?.unwrap_or_default())
}

/// Whether a person asked for the action, or answers for the client that did: their word never counts.
pub fn is_requesters_own(id: UserId, requested_by: &str, owner: Option<UserId>) -> bool {
    owner == Some(id) || Principal::User(id).to_string() == requested_by
}

/// Who answers for the client that asked.
///
/// # Errors
/// Those of the database.
pub async fn owner_of(conn: &mut PgConnection, requested_by: &str) -> Result<Option<UserId>, Error> {
    match requested_by.strip_prefix("client:") {
        Some(name) => clients::owner(conn, name).await,
        None => Ok(None),
    }
}

fn user_id(principal: &str) -> Option<UserId> {
    let id = UserId(principal.strip_prefix("user:")?.parse().ok()?);
    (Principal::User(id).to_string() == principal).then_some(id)
}

/// How an answer is written in its row.
pub(super) fn answer_of(kind: Kind) -> &'static str {
    match kind {
        Kind::ApprovalGiven => "given",
        Kind::ApprovalWithdrawn => "withdrawn",
        _ => "denied",
    }
}

/// What an entry says, if it is of that kind, about that action, and by that principal.
fn bound_of(entry: &[u8], kind: Kind, action_id: ActionId, principal: Option<&str>) -> Option<Bound> {
    let entry: Entry<Bound> = serde_json::from_slice(entry).ok()?;
    let is_meant = entry.kind == kind.as_str()
        && entry.action_id == Some(action_id)
        && principal.is_none_or(|principal| entry.principal == principal);
    is_meant.then_some(entry.data)
}

fn not_in_log(action_id: ActionId) -> Error {
    tracing::error!(actionId = %action_id, "an approval is not as recorded");
    Error::StateNotInLog { what: format!("an approval of action {action_id}") }
}

//! Second factors of people: an app of theirs shows codes, and codes on paper stand in for it when it is lost. Signing in
//! takes one, and so does, again and lately, what would be worth most to whoever took a session over (ADR 29).

mod code;
mod enrolling;
mod showing;

use std::str::FromStr;

use aegis_contract::ids::UserId;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sqlx::PgConnection;

pub use self::enrolling::{Enrolment, begin, confirm};
pub use self::showing::step_up;
pub(super) use self::showing::{AtSignIn, Shown, note_failure};
use super::Services;
use super::sessions::{Ending, Which, end_recorded};
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal, SecondFactor};
use crate::store::{ANSWER_WITHIN, Store, commit, second_factors, users, within};

/// How long a second factor that was shown in a session says enough there.
pub const STEP_UP_GOOD_FOR: SignedDuration = SignedDuration::from_mins(10);

/// Whom privileged requests ask for a second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Those who have one. Who has none is let through.
    #[default]
    WhenEnrolled,
    /// Everybody: who has none must enrol one first.
    Required,
}

impl FromStr for Demand {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "when-enrolled" => Ok(Self::WhenEnrolled),
            "required" => Ok(Self::Required),
            _ => Err("must be when-enrolled or required"),
        }
    }
}

/// Why a request asks for a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guards {
    /// It is about the caller's own account: whoever has a second factor shows it.
    OwnAccount,
    /// It is what this permission is worth having for.
    Privilege(Permission),
}

/// Checks that a person has shown their second factor lately, where they have one or must have one. Who lacks the
/// permission is let through to be told that.
///
/// # Errors
/// `StepUpRequired`; `SecondFactorNeeded`.
pub fn require(services: &Services, caller: &Caller, guards: Guards) -> Result<(), Error> {
    let needs_one = match guards {
        Guards::OwnAccount => false,
        Guards::Privilege(permission) if !caller.may(permission) => return Ok(()),
        Guards::Privilege(_) => services.second_factors == Demand::Required,
    };
    // Automation is bounded by scopes, and may do nothing of what is guarded.
    match caller.second_factor {
        _ if !caller.is_user() => Ok(()),
        SecondFactor::Shown => Ok(()),
        SecondFactor::NotShown => Err(Error::StepUpRequired),
        SecondFactor::Absent if needs_one => Err(Error::SecondFactorNeeded),
        SecondFactor::Absent => Ok(()),
    }
}

/// How it stands with the second factor of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is none.
    None,
    /// A secret waits for its first code.
    Pending,
    /// It counts.
    Enrolled {
        /// How many recovery codes are left.
        recovery_codes_left: i64,
    },
}

/// How it stands with the caller's own.
///
/// # Errors
/// `Forbidden` for clients.
pub async fn state(services: &Services, caller: &Caller) -> Result<State, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        Ok(match second_factors::find(&mut conn, user).await? {
            None => State::None,
            Some(found) if !found.is_confirmed => State::Pending,
            Some(_) => State::Enrolled {
                recovery_codes_left: second_factors::count_recovery_codes(&mut conn, user).await?,
            },
        })
    })
    .await
}

/// Takes the caller's second factor away, with its recovery codes, and ends all their sessions: a stolen one in which it
/// was shown must not become worth more.
///
/// # Errors
/// `Forbidden` for clients; `NotFound` where there is none.
pub async fn remove(services: &Services, caller: &Caller) -> Result<(), Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    services.safeguards.require_recordable()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        take(&mut tx, user, REMOVED, &caller.name, Some(&caller.request_id)).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// Takes the second factor of somebody else away, who has lost it; that ends their sessions.
///
/// # Errors
/// `Forbidden`; `FourEyes` for oneself; `NotFound` without such a person, and where they have none.
pub async fn reset(services: &Services, caller: &Caller, user: UserId) -> Result<(), Error> {
    caller.require(Permission::ManageUsers)?;
    services.safeguards.require_recordable()?;
    if caller.principal == Principal::User(user) {
        return Err(Error::FourEyes(
            "nobody resets their own second factor; step up and remove it, or ask another admin",
        ));
    }
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        users::lock(&mut tx, user).await?.ok_or(Error::NotFound { what: "user" })?;
        take(&mut tx, user, RESET, &caller.name, Some(&caller.request_id)).await?;
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// The same at the word of an operator, for the last admin.
///
/// # Errors
/// `NotFound` when nobody of that address may sign in, and where they have none.
pub async fn reset_by_operator(store: &Store, email: &str) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let user = users::find_by_email(&mut tx, email).await?.ok_or(Error::NotFound { what: "user" })?;
    take(&mut tx, user.id, RESET, OPERATOR, None).await?;
    commit(tx, None).await
}

/// How a factor was taken away: what is recorded, and why sessions end by it.
type Taking = (Kind, &'static str);
const REMOVED: Taking = (Kind::SecondFactorRemoved, "second-factor-removed");
const RESET: Taking = (Kind::SecondFactorReset, "second-factor-reset");

/// Takes a factor away and ends all sessions of whose it was.
async fn take(
    conn: &mut PgConnection,
    user: UserId,
    (kind, reason): Taking,
    by: &str,
    request_id: Option<&str>,
) -> Result<(), Error> {
    if !second_factors::delete(conn, user).await? {
        return Err(none());
    }
    let data = json!({ "user": Principal::User(user).to_string() });
    audit::append(conn, Record { kind, principal: by, action_id: None, request_id, data }).await?;
    let ending = Ending { user, which: Which::All, reason, by, request_id };
    end_recorded(conn, ending).await?;
    Ok(())
}

fn none() -> Error {
    Error::NotFound { what: "second factor" }
}

fn record(caller: &Caller, kind: Kind, data: Value) -> Record<'_, Value> {
    Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data }
}

//! Showing a second factor: at sign-in, and in a session.

use std::net::IpAddr;

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};

use super::code::{Typed, step_of};
use super::enrolling::open;
use super::{STEP_UP_GOOD_FOR, none, record};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
use crate::service::Services;
use crate::service::authenticate::this_minute;
use crate::service::guessing::{CodeAt, Guess};
use crate::store::{ANSWER_WITHIN, commit, dispatch, refusals, second_factors, sessions, within};

/// How somebody showed their second factor, as entries name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// By a code of their app.
    Code,
    /// By one of the codes for when it is lost.
    RecoveryCode,
}

impl Shown {
    /// The name in entries.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::RecoveryCode => "recovery-code",
        }
    }
}

/// Shows the caller's second factor in their session, which says enough there for a while; until when.
///
/// # Errors
/// `Forbidden` for clients; `NotFound` where they have none; `CodeWrong`, and after too many of these `GuessingSlowed`.
pub async fn step_up(services: &Services, caller: &Caller, code: &str) -> Result<Timestamp, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, session) = caller.person()?;
    services.safeguards.require_recordable()?;
    let is_proven = within(ANSWER_WITHIN, async {
        let mut conn = services.store.acquire().await?;
        second_factors::find(&mut conn, user).await?.filter(|found| found.is_confirmed).ok_or_else(none)?;
        sessions::beginning(&mut conn, session).await
    });
    let (_, is_proven) = is_proven.await?.ok_or(Error::Unauthenticated)?;
    let guess = Guess::begin_code(services, user, CodeAt::Session(session, is_proven)).await?;
    let result = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let shown = use_up(&mut tx, services, user, code, Some(&caller.request_id)).await?;
        let at = sessions::step_up(&mut tx, session, user).await?.ok_or(Error::Unauthenticated)?;
        let data = json!({ "user": caller.name, "session": session, "by": shown.as_str() });
        audit::append(&mut tx, record(caller, Kind::SessionSteppedUp, data)).await?;
        guess.was_right(&mut tx, user).await?;
        Ok((tx, at + STEP_UP_GOOD_FOR))
    });
    let shower = Failed { by: &caller.name, user, place: "step-up", request_id: &caller.request_id };
    finish(services, &guess, shower, result.await).await
}

/// Ends what a code was shown for: commits it, or says what became of the guess.
pub(super) async fn finish<T>(
    services: &Services,
    guess: &Guess,
    failed: Failed<'_>,
    result: Result<(Transaction<'static, Postgres>, T), Error>,
) -> Result<T, Error> {
    match result {
        Ok((tx, done)) => {
            commit(tx, None).await?;
            Ok(done)
        }
        Err(Error::CodeWrong) => {
            note(services, failed, "wrong").await?;
            Err(Error::CodeWrong)
        }
        Err(error) => {
            guess.take_back(services).await;
            Err(error)
        }
    }
}

/// What is asked of whoever signs in with the right password and has a second factor.
pub(crate) struct AtSignIn<'a> {
    code: &'a str,
    guess: Guess,
}

impl<'a> AtSignIn<'a> {
    /// Counts the code of somebody whose password was right; nothing is asked of who has no second factor.
    ///
    /// # Errors
    /// `CodeRequired` where one is missing; `GuessingSlowed` after too many wrong ones.
    pub(crate) async fn begin(
        services: &Services,
        user: UserId,
        code: Option<&'a str>,
        neighbourhood: IpAddr,
    ) -> Result<Option<Self>, Error> {
        let found = within(ANSWER_WITHIN, async {
            second_factors::find(&mut *services.store.acquire().await?, user).await
        });
        if found.await?.is_none_or(|found| !found.is_confirmed) {
            return Ok(None);
        }
        let code = code.ok_or(Error::CodeRequired)?;
        let guess = Guess::begin_code(services, user, CodeAt::Address(neighbourhood)).await?;
        Ok(Some(Self { code, guess }))
    }

    /// Uses the code up, in the transaction that begins the session.
    ///
    /// # Errors
    /// `CodeWrong`.
    pub(crate) async fn use_up(
        &self,
        conn: &mut PgConnection,
        services: &Services,
        user: UserId,
        request_id: &str,
    ) -> Result<Shown, Error> {
        let shown = use_up(conn, services, user, self.code, Some(request_id)).await?;
        self.guess.was_right(conn, user).await?;
        Ok(shown)
    }

    /// Says that the code could not be judged.
    pub(crate) async fn take_back(&self, services: &Services) {
        self.guess.take_back(services).await;
    }
}

/// Uses a code up, in the transaction of what it is shown for.
async fn use_up(
    conn: &mut PgConnection,
    services: &Services,
    user: UserId,
    code: &str,
    request_id: Option<&str>,
) -> Result<Shown, Error> {
    let found = second_factors::find(conn, user).await?.filter(|found| found.is_confirmed);
    let (Some(found), Some(typed)) = (found, Typed::read(code)) else { return Err(Error::CodeWrong) };
    match typed {
        Typed::Digits(digits) => {
            let secret = open(&services.keyring, user, &found.sealed_secret)?;
            let now = dispatch::clock(conn).await?;
            let step = step_of(&secret, digits, now, found.last_step).ok_or(Error::CodeWrong)?;
            if !second_factors::use_step(conn, user, &found.sealed_secret, step).await? {
                return Err(Error::CodeWrong);
            }
            Ok(Shown::Code)
        }
        Typed::Recovery(plain) => {
            let hash = recovery_hash(services, user, &plain);
            if !second_factors::take_recovery_code(conn, user, &hash).await? {
                return Err(Error::CodeWrong);
            }
            let left = second_factors::count_recovery_codes(conn, user).await?;
            let name = Principal::User(user).to_string();
            let record = Record {
                kind: Kind::RecoveryCodeUsed,
                principal: &name,
                action_id: None,
                request_id,
                data: json!({ "user": name, "left": left }),
            };
            audit::append(conn, record).await?;
            Ok(Shown::RecoveryCode)
        }
    }
}

/// What a recovery code is kept as.
pub(super) fn recovery_hash(services: &Services, user: UserId, plain: &str) -> String {
    services.keyring.text_hash(&format!("recovery-code\0{user}\0{plain}"))
}

/// Who showed no good code, and where.
#[derive(Clone, Copy)]
pub(super) struct Failed<'a> {
    pub(super) by: &'a str,
    pub(super) user: UserId,
    pub(super) place: &'static str,
    pub(super) request_id: &'a str,
}

/// Records that the password of a sign-in was right, and its code missing or wrong.
pub(crate) async fn note_failure(
    services: &Services,
    user: UserId,
    reason: &'static str,
    request_id: &str,
) -> Result<(), Error> {
    note(services, Failed { by: ANONYMOUS, user, place: "sign-in", request_id }, reason).await
}

/// Records the first failure of a person, a place and a reason in a minute.
async fn note(services: &Services, failed: Failed<'_>, reason: &'static str) -> Result<(), Error> {
    let kind = Kind::SecondFactorFailed;
    let user = Principal::User(failed.user).to_string();
    let once = format!("{} {} {reason}", kind.as_str(), failed.place);
    let tx: Option<Transaction<'static, Postgres>> = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if !refusals::note(&mut tx, &once, &user, this_minute()).await? {
            return Ok(None);
        }
        let record = Record {
            kind,
            principal: failed.by,
            action_id: None,
            request_id: Some(failed.request_id),
            data: json!({ "user": user, "at": failed.place, "reason": reason }),
        };
        audit::append(&mut tx, record).await?;
        Ok(Some(tx))
    })
    .await?;
    match tx {
        Some(tx) => commit(tx, None).await,
        None => Ok(()),
    }
}

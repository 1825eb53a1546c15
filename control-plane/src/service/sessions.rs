//! Sessions of people: begun by signing in, continued by refresh tokens, ended at once for all replicas.

use aegis_contract::digest::Digest;
use aegis_contract::ids::{SessionId, UserId};
use aegis_runtime::clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde_json::json;
use sqlx::PgConnection;

use super::authenticate::refuse_token;
use super::{Services, tokens};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
use crate::store::sessions::{NewSession, Presented};
pub use crate::store::sessions::{Session, Which};
use crate::store::{ANSWER_WITHIN, commit, dispatch, sessions, users, within};

/// How long a session goes on without being continued.
const IDLE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long it goes on however often it is continued: then the password is asked for again.
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a used refresh token gets its successor once more: two tabs refresh together, and an answer that was lost
/// with its connection or its replica is asked for again.
const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Most characters kept of how a program calls itself.
const AGENT_LENGTH_MAX: usize = 200;

/// What a person calls with from now on.
#[derive(Clone)]
pub struct SignedIn {
    /// The token for requests.
    pub access_token: String,
    /// How long it is good, in seconds.
    pub expires_in_seconds: u32,
    /// The token for the next [`refresh`].
    pub refresh_token: String,
    /// How long that is good, in seconds.
    pub refresh_expires_in_seconds: i64,
}

/// Begins a session, in the transaction that records who signed in.
pub(super) async fn begin(
    conn: &mut PgConnection,
    services: &Services,
    user: UserId,
    roles: &[String],
    agent: &str,
) -> Result<(SessionId, SignedIn), Error> {
    let at = dispatch::clock(conn).await?;
    let (id, expires_at) = (SessionId(clock::new_uuid()), at + IDLE_MAX);
    let agent: String = agent.chars().filter(|c| !c.is_control()).take(AGENT_LENGTH_MAX).collect();
    sessions::insert(conn, NewSession { id, user, agent: &agent, at, expires_at }).await?;
    let token = encode(clock::random_bytes());
    sessions::insert_token(conn, hash(&token), id).await?;
    Ok((id, signed_in(services, user, id, roles, token, IDLE_MAX)?))
}

/// Continues a session. A token is good once, and within half a minute answered with the same successor again; after
/// that, two hold it, and the session is ended.
///
/// # Errors
/// `Unauthenticated`, whatever is wrong; `ClockSkewed` while a token would be of a wrong time.
pub async fn refresh(services: &Services, token: &str, request_id: &str) -> Result<SignedIn, Error> {
    services.safeguards.require_true_clock()?;
    let presented = hash(token);
    let (tx, refreshed) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let refreshed = match sessions::present(&mut tx, presented).await? {
            None => Err("refresh-unknown"),
            Some(known) if !known.is_live => Err("refresh-session-over"),
            Some(known) => replace(&mut tx, services, &known, token, request_id).await?,
        };
        Ok((tx, refreshed))
    })
    .await?;
    commit(tx, None).await?;
    match refreshed {
        Ok(signed_in) => Ok(signed_in),
        Err(reason) => Err(refuse_token(services, reason, request_id).await),
    }
}

/// Gives a token of a live session its successor, or ends the session.
async fn replace(
    conn: &mut PgConnection,
    services: &Services,
    known: &Presented,
    token: &str,
    request_id: &str,
) -> Result<Result<SignedIn, &'static str>, Error> {
    let now = dispatch::clock(conn).await?;
    let successor = encode(services.keyring.next_refresh_token(token));
    let expires_at = match known.used_at {
        None => {
            let expires_at = (now + IDLE_MAX).min(known.created_at + LIFETIME_MAX);
            sessions::use_token(conn, hash(token), now).await?;
            sessions::insert_token(conn, hash(&successor), known.session).await?;
            sessions::extend(conn, known.session, now, expires_at).await?;
            expires_at
        }
        Some(used_at)
            if now.duration_since(used_at) <= GRACE
                && sessions::used_at(conn, hash(&successor)).await?.is_none() =>
        {
            known.expires_at
        }
        Some(_) => {
            let ending = Ending {
                user: known.user,
                which: Which::One(known.session),
                reason: "refresh-token-reused",
                by: ANONYMOUS,
                request_id: Some(request_id),
            };
            end_recorded(conn, ending).await?;
            return Ok(Err("refresh-reused"));
        }
    };
    let roles = users::roles(conn, known.user).await?.unwrap_or_default();
    signed_in(services, known.user, known.session, &roles, successor, expires_at.duration_since(now)).map(Ok)
}

/// The caller's sessions that are not over, the oldest first.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<Session>, Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    within(ANSWER_WITHIN, async {
        sessions::live(&mut *services.store.acquire().await?, user, after, limit.into()).await
    })
    .await
}

/// Ends sessions of the caller.
///
/// # Errors
/// `Forbidden`; `NotFound` where one is named that is over, or somebody else's.
pub async fn end(
    services: &Services,
    caller: &Caller,
    which: Which,
    reason: &'static str,
) -> Result<(), Error> {
    caller.require(Permission::ManageOwnAccount)?;
    let (user, _) = caller.person()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let ending = Ending { user, which, reason, by: &caller.name, request_id: Some(&caller.request_id) };
        let ended = end_recorded(&mut tx, ending).await?;
        if ended.is_empty() && matches!(which, Which::One(_)) {
            return Err(Error::NotFound { what: "session" });
        }
        Ok(tx)
    })
    .await?;
    commit(tx, None).await
}

/// Sessions to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    /// Whose.
    pub(super) user: UserId,
    /// Which of them.
    pub(super) which: Which,
    /// Why.
    pub(super) reason: &'static str,
    /// Who ends them.
    pub(super) by: &'a str,
    /// In which request.
    pub(super) request_id: Option<&'a str>,
}

/// Ends sessions with the entry that says so, in the transaction of why; those that were not over.
pub(super) async fn end_recorded(
    conn: &mut PgConnection,
    ending: Ending<'_>,
) -> Result<Vec<SessionId>, Error> {
    let ended = sessions::end(conn, ending.user, ending.which).await?;
    if !ended.is_empty() {
        let record = Record {
            kind: Kind::SessionEnded,
            principal: ending.by,
            action_id: None,
            request_id: ending.request_id,
            data: json!({
                "user": Principal::User(ending.user).to_string(),
                "sessions": ended,
                "reason": ending.reason,
            }),
        };
        audit::append(conn, record).await?;
    }
    Ok(ended)
}

fn signed_in(
    services: &Services,
    user: UserId,
    session: SessionId,
    roles: &[String],
    refresh_token: String,
    refresh_for: SignedDuration,
) -> Result<SignedIn, Error> {
    Ok(SignedIn {
        access_token: services.tokens.issue(user, session, roles, clock::now())?,
        expires_in_seconds: tokens::LIFETIME_SECONDS,
        refresh_token,
        refresh_expires_in_seconds: refresh_for.as_secs(),
    })
}

fn encode(token: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(token)
}

fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

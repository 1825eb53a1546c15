//! People as admins manage them. Whoever is invited chooses the first password alone; no admin ever knows one.

use aegis_contract::digest::Digest;
use aegis_contract::ids::UserId;
use aegis_runtime::clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};

use super::{check_email, check_role};
use crate::audit::{self, Kind, Record};
use crate::error::Error;
use crate::permission::Permission;
use crate::principal::{Caller, Principal};
use crate::service::authenticate::refuse_token;
use crate::service::sessions::{Ending, Which, end_recorded};
use crate::service::{Services, passwords, sign_up};
use crate::store::users::Person;
use crate::store::{
    ANSWER_WITHIN, commit, dispatch, identities, invitations, password_resets, users, within,
};

/// How long an invitation is good: over a weekend.
const INVITATION_LIFETIME: SignedDuration = SignedDuration::from_hours(3 * 24);

/// What somebody chooses their first password with. Shown once.
#[derive(Clone)]
pub struct Invitation {
    /// What proves that they were invited.
    pub token: SecretString,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// People, in the order in which they were added; of an e-mail address there is one.
///
/// # Errors
/// `Forbidden`.
pub async fn list(
    services: &Services,
    caller: &Caller,
    email: Option<&str>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<Person>, Error> {
    caller.require(Permission::ReadUsers)?;
    within(ANSWER_WITHIN, async {
        users::list(&mut *services.store.acquire().await?, email, after, limit.into()).await
    })
    .await
}

/// One person: anybody for who may see people, else the caller.
///
/// # Errors
/// `NotFound`, also for others than the caller.
pub async fn find(services: &Services, caller: &Caller, user: UserId) -> Result<Person, Error> {
    if caller.principal != Principal::User(user) && !caller.may(Permission::ReadUsers) {
        return Err(not_found());
    }
    let found =
        within(ANSWER_WITHIN, async { users::find(&mut *services.store.acquire().await?, user).await });
    found.await?.ok_or_else(not_found)
}

/// Adds a person without password and without role, and invites them.
///
/// # Errors
/// `Forbidden`; `Parameter` for an unusable address; `AlreadyExists`.
pub async fn add(services: &Services, caller: &Caller, email: &str) -> Result<(Person, Invitation), Error> {
    caller.require(Permission::ManageUsers)?;
    services.safeguards.require_recordable()?;
    check_email(email)?;
    let user = UserId(clock::new_uuid());
    let (tx, invitation) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let at = dispatch::clock(&mut tx).await?;
        if !users::insert(&mut tx, user, email, None, at).await? {
            return Err(Error::AlreadyExists(format!("a user with e-mail address {email}")));
        }
        // The address is personal; the log knows people by their id.
        let data = json!({ "user": name_of(user), "roles": [] });
        audit::append(&mut tx, record(caller, Kind::UserCreated, data)).await?;
        let invitation = issue(&mut tx, caller, user).await?;
        Ok((tx, invitation))
    })
    .await?;
    Ok((commit_and_show(tx, user).await?, invitation))
}

/// Invites somebody again who has no password yet: the invitation before is good no more.
///
/// # Errors
/// `Forbidden`; `NotFound`; `NotInvitable` for who has a password, signs in with the provider, or may not sign in.
pub async fn invite(
    services: &Services,
    caller: &Caller,
    user: UserId,
) -> Result<(Person, Invitation), Error> {
    caller.require(Permission::ManageUsers)?;
    services.safeguards.require_recordable()?;
    let (tx, invitation) = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let person = users::lock(&mut tx, user).await?.ok_or_else(not_found)?;
        if person.has_password || person.is_federated || person.disabled_at.is_some() {
            return Err(Error::NotInvitable);
        }
        let invitation = issue(&mut tx, caller, user).await?;
        Ok((tx, invitation))
    })
    .await?;
    Ok((commit_and_show(tx, user).await?, invitation))
}

async fn issue(conn: &mut PgConnection, caller: &Caller, user: UserId) -> Result<Invitation, Error> {
    let token = URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>());
    let expires_at = dispatch::clock(conn).await? + INVITATION_LIFETIME;
    invitations::put(conn, user, hash(&token), expires_at).await?;
    let data = json!({ "user": name_of(user), "expiresAt": expires_at });
    audit::append(conn, record(caller, Kind::UserInvited, data)).await?;
    Ok(Invitation { token: token.into(), expires_at })
}

/// Chooses the first password of whoever an invitation is for, or of who signed up and was mailed the like, which uses it
/// up.
///
/// # Errors
/// `Parameter` for a password that may not be chosen; `InvitationInvalid`; `Busy`.
pub async fn accept(
    services: &Services,
    token: &str,
    password: String,
    request_id: &str,
) -> Result<(), Error> {
    services.safeguards.require_recordable()?;
    passwords::check(&password)?;
    let hash = hash(token);
    let invited =
        within(ANSWER_WITHIN, async { invitations::find(&mut *services.store.acquire().await?, hash).await });
    // Looked at before anything is computed: strangers must not make this process hash.
    let Some(user) = invited.await? else {
        return sign_up::accept(services, hash, password, request_id).await;
    };
    let password_hash = services.passwords.hash(password).await?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        // In the order of whoever invites again.
        users::lock(&mut tx, user).await?;
        if !invitations::take(&mut tx, hash).await?
            || !users::set_first_password(&mut tx, user, &password_hash).await?
        {
            return Ok(None);
        }
        let name = name_of(user);
        let record = Record {
            kind: Kind::UserPasswordSet,
            principal: &name,
            action_id: None,
            request_id: Some(request_id),
            data: json!({ "user": name }),
        };
        audit::append(&mut tx, record).await?;
        Ok(Some(tx))
    })
    .await?;
    match tx {
        Some(tx) => commit(tx, None).await,
        None => Err(refuse_invitation(services, request_id).await),
    }
}

/// Counts and records that an invitation is good for nothing, and refuses it.
pub(in crate::service) async fn refuse_invitation(services: &Services, request_id: &str) -> Error {
    refuse_token(services, "invitation-unknown", request_id).await;
    Error::InvitationInvalid
}

/// Lets a person sign in no more. Their sessions end, and what they agreed to counts no more. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`; `LastAdmin`.
pub async fn disable(services: &Services, caller: &Caller, user: UserId) -> Result<Person, Error> {
    set_disabled(services, caller, user, true).await
}

/// Lets a disabled person sign in again. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`.
pub async fn enable(services: &Services, caller: &Caller, user: UserId) -> Result<Person, Error> {
    set_disabled(services, caller, user, false).await
}

async fn set_disabled(
    services: &Services,
    caller: &Caller,
    user: UserId,
    disabled: bool,
) -> Result<Person, Error> {
    caller.require(Permission::ManageUsers)?;
    services.safeguards.require_recordable()?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        if users::set_disabled(&mut tx, user, disabled).await? {
            let kind = if disabled { Kind::UserDisabled } else { Kind::UserEnabled };
            audit::append(&mut tx, record(caller, kind, json!({ "user": name_of(user) }))).await?;
        }
        if disabled {
            let ending = Ending {
                user,
                which: Which::All,
                reason: "user-disabled",
                by: &caller.name,
                request_id: Some(&caller.request_id),
            };
            end_recorded(&mut tx, ending).await?;
            password_resets::withdraw(&mut tx, user).await?;
        }
        Ok(tx)
    })
    .await?;
    commit_and_show(tx, user).await
}

/// Takes a role from a person. Again is the same.
///
/// # Errors
/// `Forbidden`; `NotFound`; `LastAdmin`; `RoleFromClaims` for one that would come back with the next sign-in.
pub async fn withdraw_role(
    services: &Services,
    caller: &Caller,
    user: UserId,
    role: &str,
) -> Result<Person, Error> {
    caller.require(Permission::ManageUsers)?;
    services.safeguards.require_recordable()?;
    check_role(role)?;
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let before = users::lock(&mut tx, user).await?.ok_or_else(not_found)?.roles;
        if identities::claimed_roles(&mut tx, user).await?.iter().any(|claimed| claimed == role) {
            return Err(Error::RoleFromClaims);
        }
        if users::delete_role(&mut tx, user, role).await? {
            let roles: Vec<&String> = before.iter().filter(|held| *held != role).collect();
            let data = json!({ "user": name_of(user), "before": before, "roles": roles });
            audit::append(&mut tx, record(caller, Kind::UserRolesChanged, data)).await?;
        }
        Ok(tx)
    })
    .await?;
    commit_and_show(tx, user).await
}

async fn commit_and_show(mut tx: Transaction<'static, Postgres>, user: UserId) -> Result<Person, Error> {
    let person = within(ANSWER_WITHIN, users::find(&mut tx, user)).await?.ok_or_else(not_found)?;
    commit(tx, None).await?;
    Ok(person)
}

fn record(caller: &Caller, kind: Kind, data: Value) -> Record<'_, Value> {
    Record { kind, principal: &caller.name, action_id: None, request_id: Some(&caller.request_id), data }
}

fn name_of(user: UserId) -> String {
    Principal::User(user).to_string()
}

fn hash(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

fn not_found() -> Error {
    Error::NotFound { what: "user" }
}

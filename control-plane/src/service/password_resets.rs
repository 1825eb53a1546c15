//! Another password for people who forgot theirs, by a mail to their address.

use aegis_contract::digest::Digest;
use serde_json::json;
use sqlx::PgConnection;

use super::authenticate::refuse_token;
use super::mails::{self, Content, Draft, Purpose, Terms};
use super::sessions::{Ending, Which, end_recorded};
use super::users::check_email;
use super::{Services, passwords};
use crate::audit::{self, ANONYMOUS, Kind, Record};
use crate::error::Error;
use crate::principal::Principal;
use crate::store::{ANSWER_WITHIN, commit, password_resets, users, within};

/// Has somebody mailed what they can choose another password with, if they have one and may sign in.
///
/// # Errors
/// `Parameter` for what is no address; `MailOff`; `Busy`. None says whether anybody has the address.
pub async fn forgot(services: &Services, email: &str, request_id: &str) -> Result<(), Error> {
    check_email(email)?;
    mails::ask(services, Purpose::PasswordReset, email, request_id).await
}

/// What is mailed to somebody who forgot their password. Who has none is invited by an admin, or signs in elsewhere.
pub(super) async fn prepare(
    conn: &mut PgConnection,
    draft: Draft<'_>,
    terms: &Terms<'_>,
) -> Result<Option<Content>, Error> {
    let person = draft.person.as_ref().filter(|person| person.has_password && person.disabled_at.is_none());
    let Some(person) = person else { return Ok(None) };
    if draft.is_first {
        if !draft.count(conn).await? {
            return Ok(None);
        }
        password_resets::insert(conn, person.id, draft.hash, draft.mail.expires_at).await?;
        let data = json!({
            "user": Principal::User(person.id).to_string(),
            "expiresAt": draft.mail.expires_at,
        });
        let record = Record {
            kind: Kind::UserPasswordResetRequested,
            principal: ANONYMOUS,
            action_id: None,
            request_id: Some(&draft.mail.request_id),
            data,
        };
        audit::append(conn, record).await?;
    } else if password_resets::find(conn, draft.hash).await? != Some(person.id) {
        return Ok(None);
    }
    let Terms { url, token, until } = terms;
    let text = format!(
        "Somebody asked for another password for your account at\n{url}\n\n\
         If that was you, choose one. This token is good once, until\n{until}:\n\n{token}\n\n\
         On the command line, with the token on standard input:\n\n\
         aegisctl --url {url} \\\n  account reset-password --token-file - --new-file FILE\n\n\
         Or POST {{\"resetToken\", \"password\"}} to\n{url}/api/v1/auth/reset-password\n\n\
         It ends all your sessions. If it was not you, there is nothing to do:\n\
         nobody can change anything without this mail.\n"
    );
    let to = person.email.clone();
    Ok(Some(Content { to, subject: "Choose another password for Aegis", text }))
}

/// Chooses another password with what was mailed, which uses up all that was; ends all sessions of the person.
///
/// # Errors
/// `Parameter` for a password that may not be chosen; `ResetInvalid`; `Busy`.
pub async fn reset(
    services: &Services,
    token: &str,
    password: String,
    request_id: &str,
) -> Result<(), Error> {
    services.safeguards.require_recordable()?;
    passwords::check(&password)?;
    let hash = Digest::of(token.as_bytes());
    let found = within(ANSWER_WITHIN, async {
        password_resets::find(&mut *services.store.acquire().await?, hash).await
    });
    // Looked at before anything is computed: strangers must not make this process hash.
    let Some(user) = found.await? else { return Err(refuse(services, request_id).await) };
    let password_hash = services.passwords.hash(password).await?;
    let name = Principal::User(user).to_string();
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        // Of several at once, with one token or with many, the first one counts.
        users::lock(&mut tx, user).await?;
        if !password_resets::take(&mut tx, hash).await?
            || !users::replace_password(&mut tx, user, &password_hash).await?
        {
            return Ok(None);
        }
        password_resets::withdraw(&mut tx, user).await?;
        let record = Record {
            kind: Kind::UserPasswordReset,
            principal: &name,
            action_id: None,
            request_id: Some(request_id),
            data: json!({ "user": name }),
        };
        audit::append(&mut tx, record).await?;
        let ending = Ending {
            user,
            which: Which::All,
            reason: "password-reset",
            by: &name,
            request_id: Some(request_id),
        };
        end_recorded(&mut tx, ending).await?;
        Ok(Some(tx))
    })
    .await?;
    match tx {
        Some(tx) => commit(tx, None).await,
        None => Err(refuse(services, request_id).await),
    }
}

async fn refuse(services: &Services, request_id: &str) -> Error {
    refuse_token(services, "reset-unknown", request_id).await;
    Error::ResetInvalid
}

//! People who make accounts for themselves, where that is allowed: first they prove to read the mail of their address,
//! then they choose a password, and only then is there an account. So nobody takes another one's address, and nobody
//! learns from an answer whose address has an account.

use aegis_contract::digest::Digest;
use aegis_contract::ids::UserId;
use aegis_runtime::clock;
use serde_json::json;
use sqlx::PgConnection;

use super::Services;
use super::mails::{self, Content, Draft, Purpose, Terms};
use super::users::{check_email, refuse_invitation};
use crate::audit::{self, Kind, Record};
use crate::client::mail::is_mailable;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::{ANSWER_WITHIN, commit, dispatch, sign_ups, users, within};

/// The one role that somebody has who signed up.
const ROLE: &str = "user";
/// Stands for all domains.
const ANY: &str = "*";

/// Whose e-mail addresses people may sign up with. Nobody's by default.
#[derive(Clone, Debug, Default)]
pub struct SignUp {
    /// In lower case.
    domains: Vec<String>,
}

impl SignUp {
    /// Reads domains, or `*`.
    ///
    /// # Errors
    /// Which item is none.
    pub fn read(items: &[String]) -> Result<Self, String> {
        for item in items {
            if item != ANY && !(item.is_ascii() && is_mailable(&format!("x@{item}"))) {
                return Err(format!("`{item}` is neither the domain of e-mail addresses nor *"));
            }
        }
        Ok(Self { domains: items.iter().map(|item| item.to_ascii_lowercase()).collect() })
    }

    /// Whether nobody may sign up.
    pub fn is_off(&self) -> bool {
        self.domains.is_empty()
    }

    /// Whether somebody of this address may. Letters beyond ASCII are not taken: they look like others.
    fn admits(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
        let is_of = |listed: &String| listed == ANY || Some(listed) == domain.as_ref();
        email.is_ascii() && self.domains.iter().any(is_of)
    }
}

/// Has somebody mailed what they can choose the password of a new account with; or that they have one.
///
/// # Errors
/// `Parameter` for what is no address; `SignUpOff` where nobody of its domain may; `Busy`. None says whether anybody has
/// the address.
pub async fn sign_up(services: &Services, email: &str, request_id: &str) -> Result<(), Error> {
    if services.sign_up.is_off() {
        return Err(Error::SignUpOff);
    }
    check_email(email)?;
    if !services.sign_up.admits(email) {
        return Err(Error::SignUpOff);
    }
    // By quotes (RFC 5321 section 4.1.2) one mailbox has many spellings.
    if !is_mailable(email) || email.contains(['"', '\\']) {
        let message = "is not an address that mail can be sent to".to_owned();
        return Err(Error::Parameter { name: "email", message });
    }
    mails::ask(services, Purpose::SignUp, email, request_id).await
}

/// What is mailed to somebody who wants to sign up.
pub(super) async fn prepare(
    conn: &mut PgConnection,
    draft: Draft<'_>,
    terms: &Terms<'_>,
) -> Result<Option<Content>, Error> {
    if draft.is_first && !draft.count(conn).await? {
        return Ok(None);
    }
    let Terms { url, token, until } = terms;
    if let Some(person) = &draft.person {
        let text = format!(
            "Somebody asked for an account at\n{url}\nwith this address. You have one.\n\n\
             If you forgot its password:\n\n\
             aegisctl --url {url} \\\n  account forgot-password {email}\n\n\
             If it was not you who asked, there is nothing to do.\n",
            email = person.email,
        );
        let to = person.email.clone();
        return Ok(Some(Content { to, subject: "You have an account at Aegis", text }));
    }
    if draft.is_first {
        sign_ups::insert(conn, &draft.mail.email, draft.hash, draft.mail.expires_at).await?;
    } else if sign_ups::find(conn, draft.hash).await?.is_none() {
        return Ok(None);
    }
    let text = format!(
        "Somebody asked for an account at\n{url}\nwith this address.\n\n\
         If that was you, choose its password. This token is good once, until\n{until}:\n\n{token}\n\n\
         On the command line, with the token on standard input:\n\n\
         aegisctl --url {url} \\\n  account accept-invitation --invitation-file - --new-file FILE\n\n\
         Or POST {{\"invitationToken\", \"password\"}} to\n{url}/api/v1/auth/accept-invitation\n\n\
         If it was not you, there is nothing to do: without this mail there is\nno account.\n"
    );
    Ok(Some(Content { to: draft.mail.email.clone(), subject: "Your account at Aegis", text }))
}

/// Makes the account of somebody who signed up, and gives it its password, which uses up all that was mailed for it.
///
/// # Errors
/// `InvitationInvalid`; `Busy`.
pub(super) async fn accept(
    services: &Services,
    hash: Digest,
    password: String,
    request_id: &str,
) -> Result<(), Error> {
    let found =
        within(ANSWER_WITHIN, async { sign_ups::find(&mut *services.store.acquire().await?, hash).await });
    // Also when they may not sign up any more.
    let Some(email) = found.await?.filter(|email| services.sign_up.admits(email)) else {
        return Err(refuse_invitation(services, request_id).await);
    };
    let password_hash = services.passwords.hash(password).await?;
    let user = UserId(clock::new_uuid());
    let tx = within(ANSWER_WITHIN, async {
        let mut tx = services.store.begin().await?;
        let at = dispatch::clock(&mut tx).await?;
        // Of several at once, and of an admin who adds them meanwhile, the first one counts.
        if !users::insert(&mut tx, user, &email, Some(&password_hash), at).await? {
            return Ok(None);
        }
        users::insert_role(&mut tx, user, ROLE).await?;
        sign_ups::withdraw(&mut tx, &email).await?;
        let name = Principal::User(user).to_string();
        let record = Record {
            kind: Kind::UserCreated,
            principal: &name,
            action_id: None,
            request_id: Some(request_id),
            // The address is personal; the log knows people by their id.
            data: json!({ "user": name, "roles": [ROLE], "signedUp": true }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(items: &[&str]) -> Result<SignUp, String> {
        SignUp::read(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_addresses_of_listed_domains_may_sign_up_and_none_by_default() {
        let listed = rule(&["Example.com", "lab.example.org"]).unwrap();
        for email in ["anna@example.com", "anna@EXAMPLE.com", "a@b@lab.example.org"] {
            assert!(listed.admits(email), "{email}");
        }
        for email in [
            "anna@example.org",
            "anna@sub.example.com",
            "anna@notexample.com",
            "anna@example.com.",
            "anna@example.com@evil.org",
            "\u{430}nna@example.com",
            "example.com",
        ] {
            assert!(!listed.admits(email), "{email}");
        }
        assert!(rule(&["*"]).unwrap().admits("anna@anywhere.org"));
        assert!(SignUp::default().is_off() && !SignUp::default().admits("anna@example.com"));
        for item in ["@example.com", "anna@example.com", "*.example.com", "ex\u{e4}mple.com", "a b"] {
            assert!(rule(&[item]).is_err(), "{item}");
        }
    }
}

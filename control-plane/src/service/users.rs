//! People: as the operator adds them and changes their roles on the command line, and as admins manage them.

mod managing;

pub use managing::{Invitation, accept, add, disable, enable, find, invite, list, withdraw_role};

pub(super) use managing::refuse_invitation;

pub use crate::store::users::Person;

use aegis_contract::ids::UserId;
use aegis_runtime::clock;
use serde_json::json;

use super::passwords;
use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::store::{Store, commit, identities, users};

/// Longest role; policies read roles of up to this length.
const ROLE_LENGTH_MAX: usize = 63;

/// Adds a person who can sign in.
///
/// # Errors
/// `Parameter` for an unusable address, role or password; `AlreadyExists`.
pub async fn create(store: &Store, email: &str, roles: &[String], password: &str) -> Result<UserId, Error> {
    check_email(email)?;
    for role in roles {
        check_role(role)?;
    }
    passwords::check(password)?;
    let password_hash = passwords::hash(password)?;
    let id = UserId(clock::new_uuid());
    let mut tx = store.begin().await?;
    if !users::insert(&mut tx, id, email, Some(&password_hash), clock::now()).await? {
        return Err(Error::AlreadyExists(format!("a user with e-mail address {email}")));
    }
    for role in roles {
        users::insert_role(&mut tx, id, role).await?;
    }
    let record = Record {
        kind: Kind::UserCreated,
        principal: OPERATOR,
        action_id: None,
        request_id: None,
        // The address is personal; the log knows people by their id.
        data: json!({ "user": format!("user:{id}"), "roles": roles }),
    };
    audit::append(&mut tx, record).await?;
    commit(tx, None).await?;
    Ok(id)
}

/// Gives a person a role, or takes it; again is the same. Answers with the roles held then.
///
/// # Errors
/// `Parameter` for an unusable role; `NotFound` when nobody of that address may sign in; `LastAdmin`; `RoleFromClaims`
/// for taking one that would come back with the next sign-in.
pub async fn set_role(store: &Store, email: &str, role: &str, held: bool) -> Result<Vec<String>, Error> {
    check_role(role)?;
    let mut tx = store.begin().await?;
    let user = users::find_by_email(&mut tx, email).await?.ok_or(Error::NotFound { what: "user" })?;
    if held {
        users::insert_role(&mut tx, user.id, role).await?;
    } else {
        if identities::claimed_roles(&mut tx, user.id).await?.iter().any(|claimed| claimed == role) {
            return Err(Error::RoleFromClaims);
        }
        users::delete_role(&mut tx, user.id, role).await?;
    }
    let roles = users::roles(&mut tx, user.id).await?.unwrap_or_default();
    if roles != user.roles {
        let data = json!({ "user": format!("user:{}", user.id), "before": user.roles, "roles": roles });
        let record = Record {
            kind: Kind::UserRolesChanged,
            principal: OPERATOR,
            action_id: None,
            request_id: None,
            data,
        };
        audit::append(&mut tx, record).await?;
        commit(tx, None).await?;
    }
    Ok(roles)
}

pub(super) fn check_email(email: &str) -> Result<(), Error> {
    let plausible = email.len() <= 254
        && !email.chars().any(|character| character.is_whitespace() || character.is_control())
        && email
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if plausible {
        Ok(())
    } else {
        Err(Error::Parameter { name: "email", message: format!("`{email}` is not an e-mail address") })
    }
}

pub(super) fn check_role(role: &str) -> Result<(), Error> {
    let fits = (1..=ROLE_LENGTH_MAX).contains(&role.len())
        && role.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits {
        Ok(())
    } else {
        let message = format!("`{role}` must be 1 to {ROLE_LENGTH_MAX} of a-z, 0-9 and '-'");
        Err(Error::Parameter { name: "role", message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_person_and_a_place() {
        for email in ["a@b", "alice+x@example.org"] {
            assert!(check_email(email).is_ok(), "{email}");
        }
        for email in ["", "alice", "@b", "a@", "a b@c", "a@b@c", "a@b\n"] {
            assert!(check_email(email).is_err(), "{email}");
        }
    }

    #[test]
    fn a_role_is_a_plain_name() {
        assert!(check_role("sre-lead").is_ok());
        for role in ["", "SRE", "a b", "*", &"x".repeat(64)] {
            assert!(check_role(role).is_err(), "{role}");
        }
    }
}

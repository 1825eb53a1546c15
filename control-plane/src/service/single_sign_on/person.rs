//! The person whom the provider proved, and the roles that its claims give them.

use std::collections::BTreeSet;

use aegis_contract::ids::UserId;
use aegis_runtime::clock;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::SingleSignOn;
use crate::audit::{self, Kind, Record};
use crate::client::oidc::Identity;
use crate::error::Error;
use crate::principal::Principal;
use crate::service::users::check_email;
use crate::store::{dispatch, identities, users};

/// What becomes of somebody whom the provider proved. Either way it is to be committed.
pub(super) enum Admission {
    /// They may begin a session.
    Admitted {
        /// Who they are here.
        user: UserId,
        /// All their roles, sorted.
        roles: Vec<String>,
    },
    /// They may not; roles that claims gave them and give no more are taken all the same.
    Refused(Error),
}

/// Finds or adds the person, and gives and takes roles as the claims have it.
pub(super) async fn admit(
    conn: &mut PgConnection,
    sign_on: &SingleSignOn,
    identity: &Identity,
    request_id: &str,
) -> Result<Admission, Error> {
    let claimed = sign_on.roles.of(identity);
    let is_without_role = claimed.is_empty() && !sign_on.roles.is_empty();
    let known = identities::find(conn, sign_on.provider.issuer(), &identity.subject).await?;
    let user = match known {
        Some(user) => user,
        None if is_without_role => return Ok(Admission::Refused(Error::NoRole)),
        None => match add(conn, sign_on, identity, request_id).await? {
            Ok(user) => user,
            Err(refusal) => return Ok(Admission::Refused(refusal)),
        },
    };
    let person = users::lock(conn, user).await?.ok_or(Error::NotFound { what: "user" })?;
    follow(conn, user, &person.roles, &claimed, request_id).await?;
    if person.disabled_at.is_some() {
        return Ok(Admission::Refused(Error::UserDisabled));
    }
    if is_without_role {
        return Ok(Admission::Refused(Error::NoRole));
    }
    let roles = users::roles(conn, user).await?.unwrap_or_default();
    Ok(Admission::Admitted { user, roles })
}

/// Adds somebody who comes for the first time. An e-mail address that somebody has here already is not proof that they
/// are the same person: whoever could make the provider say it would take the account.
async fn add(
    conn: &mut PgConnection,
    sign_on: &SingleSignOn,
    identity: &Identity,
    request_id: &str,
) -> Result<Result<UserId, Error>, Error> {
    let issuer = sign_on.provider.issuer();
    let Some(email) = identity.verified_email.as_deref().filter(|email| check_email(email).is_ok()) else {
        return Ok(Err(Error::EmailUnverified));
    };
    let (user, at) = (UserId(clock::new_uuid()), dispatch::clock(conn).await?);
    if !users::insert(conn, user, email, None, at).await? {
        // Or they came twice at once, and the other one was first.
        let other = identities::find(conn, issuer, &identity.subject).await?;
        return Ok(other.ok_or(Error::EmailTaken));
    }
    if !identities::insert(conn, issuer, &identity.subject, user, at).await? {
        // Twice at once with two addresses; nothing of this one stays.
        return Err(Error::Busy);
    }
    let data = json!({ "user": name_of(user), "roles": [], "method": "oidc", "issuer": issuer });
    record(conn, Kind::UserCreated, user, request_id, data).await?;
    Ok(Ok(user))
}

/// Makes the roles that a person holds by claims those that the claims stand for. What people gave them stays.
async fn follow(
    conn: &mut PgConnection,
    user: UserId,
    before: &[String],
    claimed: &BTreeSet<String>,
    request_id: &str,
) -> Result<(), Error> {
    let held: BTreeSet<String> = identities::claimed_roles(conn, user).await?.into_iter().collect();
    for role in claimed.difference(&held) {
        identities::claim_role(conn, user, role).await?;
    }
    for role in held.difference(claimed) {
        users::delete_role(conn, user, role).await?;
    }
    let mut roles: BTreeSet<&String> = before.iter().filter(|role| !held.contains(*role)).collect();
    roles.extend(claimed);
    if !roles.iter().copied().eq(before.iter().collect::<BTreeSet<_>>()) {
        let data = json!({ "user": name_of(user), "before": before, "roles": roles, "source": "claims" });
        record(conn, Kind::UserRolesChanged, user, request_id, data).await?;
    }
    Ok(())
}

async fn record(
    conn: &mut PgConnection,
    kind: Kind,
    user: UserId,
    request_id: &str,
    data: Value,
) -> Result<(), Error> {
    let principal = &name_of(user);
    audit::append(conn, Record { kind, principal, action_id: None, request_id: Some(request_id), data })
        .await?;
    Ok(())
}

fn name_of(user: UserId) -> String {
    Principal::User(user).to_string()
}

//! Whom an identity provider knows, and the roles that its claims give.

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// The person whom a provider calls so.
pub async fn find(conn: &mut PgConnection, issuer: &str, subject: &str) -> Result<Option<UserId>, Error> {
    let user = sqlx::query_scalar!(
        "select user_id from user_identities where issuer = $1 and subject = $2",
        issuer,
        subject,
    );
    Ok(user.fetch_optional(conn).await?.map(UserId))
}

/// Notes what a provider calls a person; false when it calls somebody so already.
pub async fn insert(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
    user: UserId,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into user_identities (issuer, subject, user_id, created_at) values ($1, $2, $3, $4) \
         on conflict do nothing",
        issuer,
        subject,
        user.0,
        Stored::from(at) as _,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// The roles that a person holds by claims, sorted.
pub async fn claimed_roles(conn: &mut PgConnection, user: UserId) -> Result<Vec<String>, Error> {
    let roles = sqlx::query_scalar!(
        "select role from user_roles where user_id = $1 and source = 'claims' order by role",
        user.0,
    );
    Ok(roles.fetch_all(conn).await?)
}

/// Gives a person a role by claims. One that people gave them stays as it is.
pub async fn claim_role(conn: &mut PgConnection, user: UserId, role: &str) -> Result<(), Error> {
    sqlx::query!(
        "insert into user_roles (user_id, role, source) values ($1, $2, 'claims') on conflict do nothing",
        user.0,
        role,
    )
    .execute(conn)
    .await?;
    Ok(())
}

//! People and their roles.

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A person.
#[derive(Clone, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their password's hash as a PHC string.
    pub password_hash: String,
    /// Their roles, sorted.
    pub roles: Vec<String>,
}

/// Adds a person; false when somebody has that e-mail address.
pub async fn insert(
    conn: &mut PgConnection,
    id: UserId,
    email: &str,
    password_hash: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into users (id, email, password_hash, created_at) values ($1, $2, $3, $4) on conflict do nothing",
        id.0,
        email,
        password_hash,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a person may sign in and still has this password, which is so until the transaction ends.
pub async fn lock_with_password(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "select id from users where id = $1 and password_hash = $2 and disabled_at is null for share",
        id.0,
        password_hash,
    );
    Ok(found.fetch_optional(conn).await?.is_some())
}

/// Gives a person another password in place of the one that was checked; false when that was changed meanwhile.
pub async fn set_password(
    conn: &mut PgConnection,
    id: UserId,
    before: &str,
    password_hash: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update users set password_hash = $3 where id = $1 and password_hash = $2 and disabled_at is null",
        id.0,
        before,
        password_hash,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// What others see of a person.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Their id.
    pub id: UserId,
    /// Their e-mail address.
    pub email: String,
    /// What they are called, if they said so.
    pub name: Option<String>,
    /// Their roles, sorted.
    pub roles: Vec<String>,
    /// Since when they are known.
    pub created_at: Timestamp,
}

/// What others see of a person who may sign in.
pub async fn profile(conn: &mut PgConnection, id: UserId) -> Result<Option<Profile>, Error> {
    let row = sqlx::query!(
        r#"select id, email, name, created_at as "created_at: Stored",
                  array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users where id = $1 and disabled_at is null"#,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Profile {
        id: UserId(row.id),
        email: row.email,
        name: row.name,
        roles: row.roles,
        created_at: row.created_at.to_jiff(),
    }))
}

/// Says what a person is called; false when that is what they are called already.
pub async fn set_name(conn: &mut PgConnection, id: UserId, name: Option<&str>) -> Result<bool, Error> {
    let done =
        sqlx::query!("update users set name = $2 where id = $1 and name is distinct from $2", id.0, name);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// The hash of a person's password, if they may sign in.
pub async fn password_hash(conn: &mut PgConnection, id: UserId) -> Result<Option<String>, Error> {
    let hash =
        sqlx::query_scalar!("select password_hash from users where id = $1 and disabled_at is null", id.0);
    Ok(hash.fetch_optional(conn).await?)
}

/// Gives a person a role; again is the same.
pub async fn insert_role(conn: &mut PgConnection, id: UserId, role: &str) -> Result<(), Error> {
    sqlx::query!("insert into user_roles (user_id, role) values ($1, $2) on conflict do nothing", id.0, role)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes a role from a person; false when they did not hold it.
pub async fn delete_role(conn: &mut PgConnection, id: UserId, role: &str) -> Result<bool, Error> {
    let done = sqlx::query!("delete from user_roles where user_id = $1 and role = $2", id.0, role);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Somebody who holds a role.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Their id.
    pub id: UserId,
    /// Their e-mail address.
    pub email: String,
}

/// Most holders of a role that are looked up: a page is for people, not for address books.
const HOLDERS_MAX: i64 = 50;

/// Those who hold a role and may sign in, by e-mail address.
pub async fn holders(conn: &mut PgConnection, role: &str) -> Result<Vec<Holder>, Error> {
    let rows = sqlx::query!(
        "select id, email from users join user_roles on user_id = id \
         where role = $1 and disabled_at is null order by email limit $2",
        role,
        HOLDERS_MAX,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Holder { id: UserId(row.id), email: row.email }).collect())
}

/// The person of an e-mail address, if they may sign in.
pub async fn find_by_email(conn: &mut PgConnection, email: &str) -> Result<Option<User>, Error> {
    let row = sqlx::query!(
        r#"select id, password_hash,
                  array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users where lower(email) = lower($1) and disabled_at is null"#,
        email
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| User { id: UserId(row.id), password_hash: row.password_hash, roles: row.roles }))
}

/// Everybody who may sign in, with their roles, at most `limit` of them.
pub async fn all(conn: &mut PgConnection, limit: i64) -> Result<Vec<(UserId, Vec<String>)>, Error> {
    let rows = sqlx::query!(
        r#"select id, array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users where disabled_at is null order by id limit $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (UserId(row.id), row.roles)).collect())
}

/// The present roles of a person, unless they may not sign in any more.
pub async fn roles(conn: &mut PgConnection, id: UserId) -> Result<Option<Vec<String>>, Error> {
    Ok(sqlx::query_scalar!(
        r#"select array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users where id = $1 and disabled_at is null"#,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}

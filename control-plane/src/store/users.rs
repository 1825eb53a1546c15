//! People and their roles.

use aegis_contract::ids::UserId;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A person who may sign in.
#[derive(Clone, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their password's hash as a PHC string; nothing before they chose one.
    pub password_hash: Option<String>,
    /// Their roles, sorted.
    pub roles: Vec<String>,
}

/// Adds a person; false when somebody has that e-mail address.
pub async fn insert(
    conn: &mut PgConnection,
    id: UserId,
    email: &str,
    password_hash: Option<&str>,
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

/// Gives somebody their first password; false when they have one, sign in with the identity provider, or may not sign
/// in.
pub async fn set_first_password(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update users set password_hash = $2 where id = $1 and password_hash is null and disabled_at is null \
           and not exists (select from user_identities where user_id = users.id)",
        id.0,
        password_hash,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// Gives somebody who has a password another one, whatever it was; false when they have none, or may not sign in.
pub async fn replace_password(
    conn: &mut PgConnection,
    id: UserId,
    password_hash: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update users set password_hash = $2 \
         where id = $1 and password_hash is not null and disabled_at is null",
        id.0,
        password_hash,
    );
    Ok(done.execute(conn).await?.rows_affected() == 1)
}

/// What others see of a person.
#[derive(Clone, Debug)]
pub struct Person {
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
    /// Since when they may not sign in; nothing while they may.
    pub disabled_at: Option<Timestamp>,
    /// Whether they chose a password yet.
    pub has_password: bool,
    /// Whether they sign in with the identity provider.
    pub is_federated: bool,
}

struct Row {
    id: Uuid,
    email: String,
    name: Option<String>,
    roles: Vec<String>,
    created_at: Stored,
    disabled_at: Option<Stored>,
    has_password: bool,
    is_federated: bool,
}

impl From<Row> for Person {
    fn from(row: Row) -> Self {
        Self {
            id: UserId(row.id),
            email: row.email,
            name: row.name,
            roles: row.roles,
            created_at: row.created_at.to_jiff(),
            disabled_at: row.disabled_at.map(Stored::to_jiff),
            has_password: row.has_password,
            is_federated: row.is_federated,
        }
    }
}

/// What others see of a person.
pub async fn find(conn: &mut PgConnection, id: UserId) -> Result<Option<Person>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, email, name, created_at as "created_at: Stored", disabled_at as "disabled_at: Stored",
                  password_hash is not null as "has_password!",
                  exists (select from user_identities where user_id = users.id) as "is_federated!",
                  array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users where id = $1"#,
        id.0,
    );
    Ok(row.fetch_optional(conn).await?.map(Person::from))
}

/// A person whom nobody else changes before the transaction ends.
pub async fn lock(conn: &mut PgConnection, id: UserId) -> Result<Option<Person>, Error> {
    sqlx::query_scalar!("select id from users where id = $1 for no key update", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    // Read after the lock: a statement that waited for it still sees what was there before.
    find(conn, id).await
}

/// People in the order in which they were added, those after `after` only, at most `limit` of them; of an e-mail address
/// there is one.
pub async fn list(
    conn: &mut PgConnection,
    email: Option<&str>,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Person>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, email, name, created_at as "created_at: Stored", disabled_at as "disabled_at: Stored",
                  password_hash is not null as "has_password!",
                  exists (select from user_identities where user_id = users.id) as "is_federated!",
                  array(select role from user_roles where user_id = users.id order by role) as "roles!"
           from users
           where ($1::text is null or lower(email) = lower($1)) and ($2::uuid is null or id > $2)
           order by id limit $3"#,
        email,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Person::from).collect())
}

/// Lets a person sign in no more, or again; false when it is so already.
///
/// # Errors
/// `LastAdmin`.
pub async fn set_disabled(conn: &mut PgConnection, id: UserId, disabled: bool) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update users set disabled_at = case when $2 then clock_timestamp() end          where id = $1 and (disabled_at is not null) <> $2",
        id.0,
        disabled,
    );
    Ok(done.execute(conn).await.map_err(last_admin)?.rows_affected() == 1)
}

/// Why the database does not take the last admin away.
fn last_admin(error: sqlx::Error) -> Error {
    let error = Error::from(error);
    if error.is_constraint("users_last_admin") { Error::LastAdmin } else { error }
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
    Ok(hash.fetch_optional(conn).await?.flatten())
}

/// Gives a person a role; again is the same.
pub async fn insert_role(conn: &mut PgConnection, id: UserId, role: &str) -> Result<(), Error> {
    sqlx::query!("insert into user_roles (user_id, role) values ($1, $2) on conflict do nothing", id.0, role)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes a role from a person; false when they did not hold it.
///
/// # Errors
/// `LastAdmin`.
pub async fn delete_role(conn: &mut PgConnection, id: UserId, role: &str) -> Result<bool, Error> {
    let done = sqlx::query!("delete from user_roles where user_id = $1 and role = $2", id.0, role);
    Ok(done.execute(conn).await.map_err(last_admin)?.rows_affected() == 1)
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
    // No text in the database has it, and none may be asked for.
    let email = if email.contains('\0') { "" } else { email };
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

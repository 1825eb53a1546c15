//! Sign-ins at the identity provider that are under way.

use aegis_contract::digest::Digest;
use aegis_contract::ids::FlowId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A sign-in to begin.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow<'a> {
    /// Its id.
    pub id: FlowId,
    /// The hash of what comes back from the provider with the person.
    pub state_hash: Digest,
    /// S256 of what only the program holds that begins it.
    pub challenge: &'a str,
    /// Where that program listens.
    pub port: u16,
    /// Until when the person may come back.
    pub expires_at: Timestamp,
}

/// Begins a sign-in.
pub async fn insert(conn: &mut PgConnection, new: NewFlow<'_>) -> Result<(), Error> {
    sqlx::query!(
        "insert into sign_in_flows (id, state_hash, challenge, port, expires_at) values ($1, $2, $3, $4, $5)",
        new.id.0,
        new.state_hash.as_bytes().as_slice(),
        new.challenge,
        i32::from(new.port),
        Stored::from(new.expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that somebody came back from the provider: the sign-in and where its program listens. Nothing where nobody is
/// awaited, or not any more; one of two who come at once.
pub async fn answer(conn: &mut PgConnection, state_hash: Digest) -> Result<Option<(FlowId, u16)>, Error> {
    let flow = sqlx::query!(
        "update sign_in_flows set answered_at = clock_timestamp() \
         where state_hash = $1 and answered_at is null and expires_at > clock_timestamp() returning id, port",
        state_hash.as_bytes().as_slice(),
    );
    let flow = flow.fetch_optional(conn).await?;
    Ok(flow.and_then(|flow| Some((FlowId(flow.id), u16::try_from(flow.port).ok()?))))
}

/// Keeps whom the provider proved, for whoever shows the code before `expires_at`.
pub async fn prove(
    conn: &mut PgConnection,
    id: FlowId,
    sealed_identity: &[u8],
    code_hash: Digest,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "update sign_in_flows set sealed_identity = $2, code_hash = $3, expires_at = $4 where id = $1",
        id.0,
        sealed_identity,
        code_hash.as_bytes().as_slice(),
        Stored::from(expires_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses up the code of a sign-in, if who shows it also holds what it was begun with: the sign-in, and whom the provider
/// proved.
pub async fn take(
    conn: &mut PgConnection,
    code_hash: Digest,
    challenge: &str,
) -> Result<Option<(FlowId, Vec<u8>)>, Error> {
    let flow = sqlx::query!(
        r#"delete from sign_in_flows
           where code_hash = $1 and challenge = $2 and sealed_identity is not null and expires_at > clock_timestamp()
           returning id, sealed_identity as "sealed_identity!""#,
        code_hash.as_bytes().as_slice(),
        challenge,
    );
    Ok(flow.fetch_optional(conn).await?.map(|flow| (FlowId(flow.id), flow.sealed_identity)))
}

/// Forgets sign-ins that ended before `before`.
pub async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<(), Error> {
    sqlx::query!("delete from sign_in_flows where expires_at < $1", Stored::from(before) as _)
        .execute(conn)
        .await?;
    Ok(())
}

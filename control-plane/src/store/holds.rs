//! Targets that automation leaves alone.

use aegis_contract::ids::ActionId;
use aegis_contract::target::Target;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::Stored;
use crate::error::Error;

/// A hold that nobody has lifted.
#[derive(Clone, Debug)]
pub struct OpenHold {
    /// The action that was put back.
    pub action_id: ActionId,
    /// What is left alone.
    pub target: Target,
    /// Who asked for that action.
    pub requested_by: String,
    /// Since when.
    pub held_at: Timestamp,
}

/// Puts an action's target on hold.
pub async fn insert(
    conn: &mut PgConnection,
    action_id: ActionId,
    target: &Target,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into holds (action_id, cluster, namespace, kind, name, held_at) values ($1, $2, $3, $4, $5, $6)",
        action_id.0,
        target.cluster,
        target.namespace,
        target.kind.as_str(),
        target.name,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The action because of which a target is on hold, if it is.
pub async fn of_target(conn: &mut PgConnection, target: &Target) -> Result<Option<ActionId>, Error> {
    let held = sqlx::query_scalar!(
        "select action_id from holds \
         where cluster = $1 and namespace = $2 and kind = $3 and name = $4 and lifted_at is null \
         order by action_id limit 1",
        target.cluster,
        target.namespace,
        target.kind.as_str(),
        target.name,
    )
    .fetch_optional(conn)
    .await?;
    Ok(held.map(ActionId))
}

/// Holds that nobody has lifted, the oldest action first, those after `after` only.
pub async fn open(
    conn: &mut PgConnection,
    after: Option<ActionId>,
    limit: i64,
) -> Result<Vec<OpenHold>, Error> {
    let rows = sqlx::query!(
        r#"select h.action_id, h.cluster, h.namespace, h.kind, h.name, h.held_at as "held_at: Stored", a.requested_by
           from holds h join actions a on a.id = h.action_id
           where h.lifted_at is null and ($1::uuid is null or h.action_id > $1)
           order by h.action_id limit $2"#,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = row.kind.parse().map_err(Error::internal)?;
            Ok(OpenHold {
                action_id: ActionId(row.action_id),
                target: Target { cluster: row.cluster, namespace: row.namespace, kind, name: row.name },
                requested_by: row.requested_by,
                held_at: row.held_at.to_jiff(),
            })
        })
        .collect()
}

/// Lifts the hold of an action; false when there is none, or not any more.
pub async fn lift(
    conn: &mut PgConnection,
    action_id: ActionId,
    principal: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update holds set lifted_by = $2, lifted_at = $3 where action_id = $1 and lifted_at is null",
        action_id.0,
        principal,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

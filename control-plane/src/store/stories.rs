//! What is recorded of one action, and what stands beside the log and is named there.

use std::collections::HashMap;

use aegis_contract::ids::{ActionId, DecisionId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// An entry and its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its place; none while it waits for one.
    pub index: Option<u64>,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

impl Placed {
    pub(super) fn of(index: Option<i64>, body: Vec<u8>) -> Self {
        Self { index: index.map(i64::cast_unsigned), body }
    }
}

/// The first entries of an action in the order of the log, those without a place last.
pub async fn entries(conn: &mut PgConnection, action_id: ActionId, limit: i64) -> Result<Vec<Placed>, Error> {
    let rows = sqlx::query!(
        r#"select index, body as "body!" from audit.recorded where action_id = $1
           order by index nulls last, id limit $2"#,
        action_id.0,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Placed::of(row.index, row.body)).collect())
}

/// What entries of an action name by its digest: these decisions, its requests for approval, its orders and its
/// receipts, in no order.
pub async fn documents(
    conn: &mut PgConnection,
    action_id: ActionId,
    decisions: &[DecisionId],
) -> Result<Vec<Vec<u8>>, Error> {
    let decisions: Vec<Uuid> = decisions.iter().map(|id| id.0).collect();
    Ok(sqlx::query_scalar!(
        r#"select body as "body!" from decisions where id = any ($2)
           union all select body from approval_requests where action_id = $1
           union all select envelope from attempts where action_id = $1
           union all select envelope from receipts where action_id = $1"#,
        action_id.0,
        &decisions,
    )
    .fetch_all(conn)
    .await?)
}

/// Those of these texts from people that are still there.
pub async fn texts(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, Error> {
    let rows = sqlx::query!("select id, body from audit.texts where id = any ($1)", ids);
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| (row.id, row.body)).collect())
}

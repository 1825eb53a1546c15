//! The ledger's id. It holds as long as the ledger stands where it got it: on the same server and
//! timeline, in the same database and table. A ledger that was restored stands elsewhere, may have
//! forgotten what it held, and gets another id.

use aegis_contract::ids::{ActionId, LedgerId};
use aegis_contract::receipt::LedgerPosition;
use aegis_runtime::clock;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use super::stories::{Story, read_story};
use super::{Ledger, LedgerError, attempt_number, bounded, read_row};

/// Lets one replica at a time name the ledger; any number that nothing else in its database uses.
const NAMING_LOCK: i64 = 0x6165_6769_735f_6964;

/// What naming the ledger did.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its new id.
    pub(crate) id: LedgerId,
    /// Its last one; absent when it is new.
    pub(crate) before: Option<LedgerId>,
    /// The actions that were open under it, and have ended now.
    pub(crate) ended: Vec<Story>,
}

impl Ledger {
    /// The ledger's id and its highest row, as every receipt carries them.
    pub(crate) async fn position(&self) -> Result<LedgerPosition, LedgerError> {
        bounded(async { position(&mut *self.pool.acquire().await?).await?.ok_or(LedgerError::Unnamed) }).await
    }

    /// Gives the ledger an id unless it has one where it stands, and in the same transaction ends
    /// every open action with the receipt that `end` signs: what became of it may be forgotten.
    pub(crate) async fn name(
        &self,
        end: impl Fn(&Story, LedgerPosition) -> Vec<u8>,
    ) -> Result<Option<Named>, LedgerError> {
        bounded(async {
            if position(&mut *self.pool.acquire().await?).await?.is_some() {
                return Ok(None);
            }
            let mut transaction = self.pool.begin().await?;
            sqlx::query!("select pg_advisory_xact_lock($1)", NAMING_LOCK).execute(&mut *transaction).await?;
            if position(&mut transaction).await?.is_some() {
                return Ok(None);
            }
            let before = newest_id(&mut transaction).await?;
            let named = insert_id(&mut transaction, clock::new_uuid()).await?;
            let ended = end_open_stories(&mut transaction, named, end).await?;
            transaction.commit().await?;
            Ok(Some(Named { id: named.id, before, ended }))
        })
        .await
    }
}

/// `None` when the ledger has no id where it stands.
async fn position(conn: &mut PgConnection) -> Result<Option<LedgerPosition>, LedgerError> {
    let found = sqlx::query!(
        r#"select ledger.current_id() as id, coalesce(max(row_number), 0) as "row!" from ledger.rows"#
    )
    .fetch_one(conn)
    .await?;
    let Some(id) = found.id else { return Ok(None) };
    Ok(Some(LedgerPosition { id: LedgerId(id), row: read_row(found.row)? }))
}

async fn newest_id(conn: &mut PgConnection) -> Result<Option<LedgerId>, LedgerError> {
    let newest = sqlx::query_scalar!("select ledger_id from ledger.identities order by number desc limit 1")
        .fetch_optional(conn)
        .await?;
    Ok(newest.map(LedgerId))
}

async fn insert_id(conn: &mut PgConnection, id: Uuid) -> Result<LedgerPosition, LedgerError> {
    sqlx::query!("insert into ledger.identities (ledger_id, place) values ($1, ledger.place())", id)
        .execute(&mut *conn)
        .await?;
    position(conn).await?.ok_or(LedgerError::Unnamed)
}

async fn end_open_stories(
    conn: &mut PgConnection,
    ledger: LedgerPosition,
    end: impl Fn(&Story, LedgerPosition) -> Vec<u8>,
) -> Result<Vec<Story>, LedgerError> {
    let open = sqlx::query_scalar!(
        "select action_id from ledger.rows accepted
         where kind = 'accepted' and not exists (
             select from ledger.rows finished where finished.action_id = accepted.action_id and kind = 'finished'
         )",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut ended = Vec::with_capacity(open.len());
    for action_id in open {
        let Some(story) = read_story(conn, ActionId(action_id)).await? else { continue };
        sqlx::query!(
            "insert into ledger.rows (kind, action_id, attempt, order_digest, fence, at, receipt)
             values ('finished', $1, $2, $3, 0, $4, $5)",
            action_id,
            attempt_number(story.name.attempt)?,
            story.order_digest.to_string(),
            clock::now().to_sqlx() as _,
            end(&story, ledger),
        )
        .execute(&mut *conn)
        .await?;
        ended.push(story);
    }
    // Whoever held one learns that it is over; nothing is left to take over.
    sqlx::query!("delete from worker_leases").execute(conn).await?;
    Ok(ended)
}

//! The heads of the audit log that were verified, and histories that contradict each other.

use aegis_evidence::{Hash, Head, Kept};
use sqlx::PgConnection;

use super::{Ledger, LedgerError, bounded};

/// How many of the newest heads presented ones are compared with: enough for orders that overtake each other.
const COMPARED_MAX: i64 = 16;

/// What is known of one log.
#[derive(Clone, Debug)]
pub(crate) struct KnownLog {
    /// The newest heads, all of one history.
    pub(crate) kept: Kept,
    /// Whether another history of it was presented.
    pub(crate) is_forked: bool,
}

impl Ledger {
    /// What is known of the log `origin`; `None` when it was never begun with.
    pub(crate) async fn known_log(&self, origin: &str) -> Result<Option<KnownLog>, LedgerError> {
        bounded(async { known_log(&mut *self.pool.acquire().await?, origin).await }).await
    }

    /// Begins with the log `origin` at `first`, unless it was begun with before: a log has one head without a
    /// predecessor.
    pub(crate) async fn begin_log(&self, origin: &str, first: Head) -> Result<(), LedgerError> {
        bounded(async {
            sqlx::query!(
                "insert into ledger.heads (origin, size, root) values ($1, $2, $3) on conflict do nothing",
                origin,
                read_size(first)?,
                first.root.as_bytes().as_slice(),
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Keeps a head that was verified from the one of `previous` entries, the newest; false when that is not
    /// the newest any more, and nothing was written.
    pub(crate) async fn keep_head(
        &self,
        origin: &str,
        previous: Head,
        head: Head,
        note: &str,
    ) -> Result<bool, LedgerError> {
        let done = bounded(async {
            Ok(sqlx::query!(
                "insert into ledger.heads (origin, size, root, previous_size, note)
                 values ($1, $2, $3, $4, $5) on conflict do nothing",
                origin,
                read_size(head)?,
                head.root.as_bytes().as_slice(),
                read_size(previous)?,
                note,
            )
            .execute(&self.pool)
            .await?)
        });
        Ok(done.await?.rows_affected() == 1)
    }

    /// Keeps the proof that a log has two histories: both notes.
    pub(crate) async fn note_fork(
        &self,
        origin: &str,
        kept: Head,
        presented_note: &str,
    ) -> Result<(), LedgerError> {
        bounded(async {
            sqlx::query!(
                "insert into ledger.forks (origin, kept_size, kept_root, kept_note, presented_note)
                 values ($1, $2, $3, (select note from ledger.heads where origin = $1 and size = $2), $4)",
                origin,
                read_size(kept)?,
                kept.root.as_bytes().as_slice(),
                presented_note,
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }
}

async fn known_log(conn: &mut PgConnection, origin: &str) -> Result<Option<KnownLog>, LedgerError> {
    let rows = sqlx::query!(
        r#"select size, root, exists (select from ledger.forks where origin = $1) as "is_forked!"
           from ledger.heads where origin = $1 order by size desc limit $2"#,
        origin,
        COMPARED_MAX,
    )
    .fetch_all(conn)
    .await?;
    let Some(is_forked) = rows.first().map(|row| row.is_forked) else { return Ok(None) };
    let heads = rows.into_iter().map(|row| {
        let root = row.root.try_into().map_err(|_| LedgerError::Unreadable("a root".to_owned()))?;
        Ok(Head { size: row.size.cast_unsigned(), root: Hash::from_bytes(root) })
    });
    let kept = Kept::new(heads.collect::<Result<_, LedgerError>>()?);
    let kept = kept.map_err(|error| LedgerError::Unreadable(error.to_string()))?;
    Ok(Some(KnownLog { kept, is_forked }))
}

fn read_size(head: Head) -> Result<i64, LedgerError> {
    i64::try_from(head.size).map_err(|_| LedgerError::Unreadable(format!("a log of {} entries", head.size)))
}

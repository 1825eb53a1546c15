//! How many transactions wrote something, and how often PostgreSQL wrote its log to the disk.

use std::time::Duration;

use aegis_tests::stack::Stack;
use anyhow::Result;
use sqlx::{Connection, PgConnection, Row, raw_sql};
use tokio::sync::Mutex;

/// PostgreSQL's processes pass their counters on within 10 s of falling idle (`PGSTAT_IDLE_INTERVAL`);
/// there is no way to see that they have.
const TOLD_WITHIN: Duration = Duration::from_secs(11);

/// The server's counters; all databases are ours.
pub(super) struct Commits(Mutex<PgConnection>);

/// Counters since the server's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    /// Writes of the log to the disk. Commits at the same time share one.
    pub(super) flushes: i64,
}

impl Commits {
    pub(super) async fn of(stack: &Stack) -> Result<Self> {
        let url = &stack.control_plane_database().superuser_url;
        Ok(Self(Mutex::new(PgConnection::connect(url).await?)))
    }

    /// How many transactions that wrote something have ended: each takes the next number.
    pub(super) async fn written(&self) -> Result<i64> {
        self.number("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await
    }

    /// The counters once they are complete.
    pub(super) async fn told(&self) -> Result<Counters> {
        tokio::time::sleep(TOLD_WITHIN).await;
        let version = self.number("select current_setting('server_version_num')::bigint").await?;
        let flushes = if version < 180_000 {
            "select wal_sync from pg_stat_wal"
        } else {
            "select sum(fsyncs)::bigint from pg_stat_io where object = 'wal'"
        };
        Ok(Counters { flushes: self.number(flushes).await? })
    }

    async fn number(&self, sql: &'static str) -> Result<i64> {
        Ok(raw_sql(sql).fetch_one(&mut *self.0.lock().await).await?.try_get(0)?)
    }
}

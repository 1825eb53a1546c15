//! The executor's own memory in Postgres: which attempts it accepted, began, ended and closed.
//!
//! Rows are only added. All SQL of the executor stands in this module; every call is bounded in
//! time, and an error here is always retryable for the caller: nothing was answered yet.

pub(crate) mod attempts;
pub(crate) mod leases;
pub(crate) mod stories;

use std::time::Duration;

use aegis_contract::ids::LedgerId;
use aegis_contract::receipt::LedgerPosition;
use aegis_runtime::clock;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// Longest one use of the ledger may take; beyond it the database counts as down.
const CALL_SECONDS_MAX: Duration = Duration::from_secs(3);
/// Enough for the orders and workers of one cluster; a Postgres serves many such pools.
const CONNECTIONS_MAX: u32 = 16;

/// The ledger of one cluster. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pool: PgPool,
    id: LedgerId,
}

/// Why the ledger gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The database said no or could not be asked.
    #[error("the ledger's database failed")]
    Database(#[from] sqlx::Error),
    /// The database did not answer in time.
    #[error("the ledger's database did not answer in time")]
    TimedOut,
    /// A row cannot be what this program wrote.
    #[error("a ledger row is not readable: {0}")]
    Unreadable(String),
}

impl Ledger {
    /// Connects, and names the ledger when this is its first use.
    pub(crate) async fn open(url: &SecretString) -> anyhow::Result<Self> {
        let options: PgConnectOptions = url.expose_secret().parse()?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CALL_SECONDS_MAX)
            .connect_with(options.application_name("aegis-executor"))
            .await?;
        sqlx::query!(
            "insert into ledger.identity (ledger_id) values ($1) on conflict (singleton) do nothing",
            clock::new_uuid(),
        )
        .execute(&pool)
        .await?;
        let id = sqlx::query_scalar!("select ledger_id from ledger.identity").fetch_one(&pool).await?;
        Ok(Self { pool, id: LedgerId(id) })
    }

    /// The ledger's id and its highest row, as every receipt carries them.
    pub(crate) async fn position(&self) -> Result<LedgerPosition, LedgerError> {
        let row = bounded(async {
            Ok(sqlx::query_scalar!(r#"select coalesce(max(row_number), 0) as "row!" from ledger.rows"#)
                .fetch_one(&self.pool)
                .await?)
        })
        .await?;
        Ok(self.position_at(read_row(row)?))
    }

    /// How it stood when this was its highest row.
    pub(crate) fn position_at(&self, row: u64) -> LedgerPosition {
        LedgerPosition { id: self.id, row }
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    tokio::time::timeout(CALL_SECONDS_MAX, call).await.map_err(|_| LedgerError::TimedOut)?
}

/// Whether `error` says that the unique index `name` already holds such a row.
fn is_duplicate(error: &sqlx::Error, name: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() && error.constraint() == Some(name))
}

fn read_row(number: i64) -> Result<u64, LedgerError> {
    u64::try_from(number).map_err(|_| LedgerError::Unreadable(format!("row number {number}")))
}

fn attempt_number(attempt: u32) -> Result<i32, LedgerError> {
    i32::try_from(attempt).map_err(|_| LedgerError::Unreadable(format!("attempt {attempt}")))
}

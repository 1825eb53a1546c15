//! The executor's own memory in Postgres: which attempts it accepted, began, ended and closed.
//!
//! Rows are only added. All SQL of the executor stands in this module; every call is bounded in
//! time, and an error here is always retryable for the caller: nothing was answered yet.
//!
//! INVARIANT: every transaction that adds a row tests the ledger's id, and whatever is read for a
//! receipt is read together with it: a restored ledger is another one, also under a running process.

pub(crate) mod attempts;
pub(crate) mod heads;
pub(crate) mod identity;
pub(crate) mod leases;
pub(crate) mod stories;
pub(crate) mod templates;
pub(crate) mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_runtime::settings::renewal::InForce;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

const APPLICATION: &str = "aegis-executor";
/// Longest one use of the ledger may take; beyond it the database counts as down. Callers are told so
/// within three seconds.
const CALL_TIME_MAX: Duration = Duration::from_millis(2_500);
/// Enough for the orders and workers of one cluster; a Postgres serves many such pools.
const CONNECTIONS_MAX: u32 = 16;
/// A connection that was idle for longer is tried before it is used: the database may have gone.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// The ledger of one cluster. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pool: PgPool,
    /// Since when connections are opened as now.
    renewed_at: Arc<InForce<Instant>>,
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
    /// It was restored or moved, and has no id yet as it stands now.
    #[error("the ledger was restored or moved and has to be named anew")]
    Unnamed,
    /// A row cannot be what this program wrote.
    #[error("a ledger row is not readable: {0}")]
    Unreadable(String),
}

impl Ledger {
    /// Connects.
    pub(crate) async fn open(options: PgConnectOptions) -> Result<Self, LedgerError> {
        let renewed_at = Arc::new(InForce::new(Instant::now()));
        let since = renewed_at.clone();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CALL_TIME_MAX)
            .test_before_acquire(false)
            .before_acquire(move |conn, idle| {
                let renewed = since.get().elapsed();
                Box::pin(async move {
                    if idle.age > renewed {
                        return Ok(false);
                    }
                    if idle.idle_for >= TEST_AFTER_IDLE {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.application_name(APPLICATION))
            .await?;
        Ok(Self { pool, renewed_at })
    }

    /// Signs in to the same database in another way from now on, once that has worked. Connections are exchanged one by
    /// one as they are used next.
    ///
    /// # Errors
    /// A sentence when it is another database, or does not let us in; nothing has changed.
    pub(crate) async fn renew(&self, options: PgConnectOptions) -> Result<(), String> {
        let place = |options: &PgConnectOptions| {
            (options.get_host().to_owned(), options.get_port(), options.get_database().map(str::to_owned))
        };
        if place(&options) != place(&self.pool.connect_options()) {
            return Err("names another database; for that, start again".to_owned());
        }
        let options = options.application_name(APPLICATION);
        let admitted = async { PgConnection::connect_with(&options).await?.close().await };
        admitted.await.map_err(|error| format!("does not let us in: {error}"))?;
        self.pool.set_connect_options(options);
        self.renewed_at.put(Instant::now());
        Ok(())
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
    tokio::time::timeout(CALL_TIME_MAX, call).await.map_err(|_| LedgerError::TimedOut)?
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

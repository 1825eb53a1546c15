//! All SQL, one file per table or use. Functions take the connection or transaction they work in;
//! "not found" is `None`, a move that was not possible is `false`.

pub mod actions;
pub mod alert_sources;
pub mod approvals;
pub mod attempts;
pub mod capacity;
pub mod client_keys;
pub mod clients;
pub mod clusters;
pub mod decisions;
pub mod delays;
pub mod deliveries;
pub mod dispatch;
pub mod entries;
pub mod filing;
pub mod holds;
pub mod idempotency;
pub mod identities;
pub mod intents;
pub mod invitations;
pub mod limits;
pub mod log;
pub mod log_keys;
pub mod mails;
pub mod nonces;
pub mod password_resets;
pub mod past;
pub mod policies;
pub mod receipts;
pub mod refusals;
pub mod reviews;
pub mod role_grants;
pub mod root_key;
pub mod second_factors;
pub mod sessions;
pub mod sign_in_flows;
pub mod sign_ups;
pub mod stories;
pub mod users;
pub mod webhooks;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::ids::ActionId;
use aegis_runtime::settings::renewal::InForce;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Error;

/// A time as Postgres stores it.
pub type Stored = jiff_sqlx::Timestamp;

/// Connections of one process: several replicas fit into Postgres' default of 100, and statements are
/// short.
const CONNECTIONS_MAX: u32 = 10;
/// All are kept open: signing in to Postgres is dear, and a burst must not wait for it.
const CONNECTIONS_MIN: u32 = CONNECTIONS_MAX;
/// A connection that was idle for longer is tried before it is used: the database may have gone.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Longest wait for a connection of those who may wait; requests give up after [`ANSWER_WITHIN`].
const ACQUIRE_WITHIN: Duration = Duration::from_secs(10);
/// Longest time of one statement, judged by Postgres.
const STATEMENT_TIMEOUT: &str = "2s";
/// Longest wait for a row or for a duplicate in flight, judged by Postgres. Below
/// [`ANSWER_WITHIN`], so that a lock is told from a database that is away.
const LOCK_TIMEOUT: &str = "1900ms";
/// The same for a transaction that many requests share.
const LOCK_TIMEOUT_SHARED: &str = "100ms";
/// A transaction whose client fell silent must not hold its locks for long.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "10s";
/// Longest time the database has for one use case before its commit, judged here because a stopped
/// or unreachable Postgres judges nothing.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(2_200);
/// Longest wait for the answer to a commit; after that its outcome is in doubt.
const COMMIT_WITHIN: Duration = Duration::from_secs(2);

fn with_session_settings(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("aegis-control-plane").options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("lock_timeout", LOCK_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
        // Rows are found by indexes. The plan of a prepared statement is kept, and one that was made while the log
        // was small would read all of it for ever after. What has no index counts as too dear then, and is not
        // worth compiling all the same.
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ])
}

/// The control plane's database. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    /// Since when connections are opened as now.
    renewed_at: Arc<InForce<Instant>>,
}

impl Store {
    /// A pool for serving: connected before it is used.
    pub fn serving(options: PgConnectOptions) -> Self {
        Self::with_connections(options, CONNECTIONS_MIN)
    }

    /// A pool for one command: connects when it is used.
    pub fn new(options: PgConnectOptions) -> Self {
        Self::with_connections(options, 0)
    }

    fn with_connections(options: PgConnectOptions, min_connections: u32) -> Self {
        let renewed_at = Arc::new(InForce::new(Instant::now()));
        let since = renewed_at.clone();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .min_connections(min_connections)
            .acquire_timeout(ACQUIRE_WITHIN)
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
            .connect_lazy_with(with_session_settings(options));
        Self { pool, renewed_at }
    }

    /// Whether the same database lets us in with other options; they are for [`Store::renew`] then. With a connection
    /// of theirs: those of before may be good for nothing any more.
    ///
    /// # Errors
    /// A sentence when it does not, or lets us do too much, or it is another database.
    pub async fn admitted(
        &self,
        options: PgConnectOptions,
    ) -> Result<(PgConnectOptions, PgConnection), String> {
        let place = |options: &PgConnectOptions| {
            (options.get_host().to_owned(), options.get_port(), options.get_database().map(str::to_owned))
        };
        if place(&options) != place(&self.pool.connect_options()) {
            return Err("names another database; for that, start again".to_owned());
        }
        let options = with_session_settings(options);
        let looked = async {
            let mut conn = PgConnection::connect_with(&options).await?;
            let may_change_entries = may_change_entries(&mut conn).await?;
            Ok::<_, sqlx::Error>((may_change_entries, conn))
        };
        match looked.await {
            Ok((false, conn)) => Ok((options, conn)),
            Ok((true, _)) => Err("names a role that could change the audit log".to_owned()),
            Err(error) => Err(format!("does not let us in: {error}")),
        }
    }

    /// Signs in with [admitted](Store::admitted) options from now on. Connections are exchanged one by one as they are
    /// used next, so nothing under way is cut off.
    pub fn renew(&self, admitted: PgConnectOptions) {
        self.pool.set_connect_options(admitted);
        self.renewed_at.put(Instant::now());
    }

    /// Since when connections are opened as now; what is older signs in as before.
    pub fn renewed_at(&self) -> Instant {
        *self.renewed_at.get()
    }

    /// A connection for reading, or for a single statement.
    ///
    /// # Errors
    /// `AuditUnavailable` when there is none in time, or the database lets nobody in.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await.map_err(no_connection)
    }

    /// A connection outside the pool, for whoever needs a session of its own.
    ///
    /// # Errors
    /// Those of [`Store::acquire`].
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        PgConnection::connect_with(&self.pool.connect_options()).await.map_err(no_connection)
    }

    /// A new transaction; rolled back unless it is given to [`commit`].
    ///
    /// # Errors
    /// Those of [`Store::acquire`].
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        self.pool.begin().await.map_err(no_connection)
    }

    /// Whether the database answers, and with the tables this binary needs.
    ///
    /// # Errors
    /// Those of the connection, or of the tables.
    pub async fn ping(&self) -> Result<(), Error> {
        within(ANSWER_WITHIN, async {
            let mut conn = self.acquire().await?;
            sqlx::query_scalar!("select count(*) as \"count!\" from policy_set")
                .fetch_one(&mut *conn)
                .await?;
            Ok(())
        })
        .await
    }

    /// Whether this role could change what is recorded; then it is not the application's role.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn may_change_entries(&self) -> Result<bool, Error> {
        Ok(may_change_entries(&mut *self.acquire().await?).await?)
    }
}

async fn may_change_entries(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        "select bool_or(has_table_privilege(format('audit.%I', name), privilege)) as \"may!\" \
         from unnest(array['pending', 'entries', 'tiles', 'checkpoints']) name, \
             unnest(array['update', 'delete', 'truncate']) privilege"
    )
    .fetch_one(conn)
    .await
}

/// Why Postgres let nobody in does not matter to callers: nothing was asked of it yet.
fn no_connection(error: sqlx::Error) -> Error {
    Error::AuditUnavailable(Some(error))
}

/// Makes a transaction give up soon on locks that others hold: those who wait with it have nothing to do
/// with them.
pub async fn wait_briefly_for_locks(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_scalar!("select set_config('lock_timeout', $1, true)", LOCK_TIMEOUT_SHARED)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Gives database work that long. When the time is over nothing was committed, because the work does
/// not contain a commit.
///
/// # Errors
/// Those of `work`, and `AuditUnavailable` when the time is over.
pub async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(time, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::AuditUnavailable(None)),
    }
}

/// Rung by each commit of this process.
static COMMITTED: Notify = Notify::const_new();

/// Returns when this process has committed something since the last call: there may be entries that
/// wait for their place in the log.
pub async fn committed() {
    COMMITTED.notified().await;
}

/// Commits. `action_id` is what the caller is told when the outcome of the commit is in doubt.
///
/// # Errors
/// `OutcomeUnknown` when Postgres did not say whether it committed; others when it said that it did
/// not.
pub async fn commit(
    transaction: Transaction<'static, Postgres>,
    action_id: Option<ActionId>,
) -> Result<(), Error> {
    match tokio::time::timeout(COMMIT_WITHIN, transaction.commit()).await {
        Ok(Ok(())) => {
            COMMITTED.notify_one();
            Ok(())
        }
        // An answer of Postgres to the commit itself: it was rolled back. A server that is being shut
        // down may say so after it committed.
        Ok(Err(sqlx::Error::Database(error)))
            if !error.code().is_some_and(|code| code.starts_with("57P")) =>
        {
            Err(sqlx::Error::Database(error).into())
        }
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the outcome of a commit is in doubt");
            Err(Error::OutcomeUnknown { action_id })
        }
        Err(_) => {
            tracing::warn!("the outcome of a commit is in doubt: no answer in time");
            Err(Error::OutcomeUnknown { action_id })
        }
    }
}

/// Brings the database to the present layout, as its owner.
///
/// # Errors
/// When it cannot be reached, or a migration fails; then nothing of that migration remains.
pub async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let mut conn = PgConnection::connect_with(owner).await?;
    sqlx::migrate!("../migrations/control-plane").run(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

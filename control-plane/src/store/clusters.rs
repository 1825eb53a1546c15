//! Clusters, the keys both sides sign with, and the executor ledgers seen.

use aegis_contract::ids::LedgerId;
use aegis_contract::receipt::LedgerPosition;
use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Stored;
use crate::error::Error;

/// A cluster as registered.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name, which is the audience of its orders.
    pub name: String,
    /// Base URL of its executor.
    pub executor_url: String,
    /// The ledger its executor was last seen to use.
    pub ledger_id: Option<LedgerId>,
    /// The namespaces its executor may touch, as it said last.
    pub allowed_namespaces: Option<Vec<String>>,
}

struct Row {
    name: String,
    executor_url: String,
    ledger_id: Option<Uuid>,
    allowed_namespaces: Option<Vec<String>>,
}

impl From<Row> for Cluster {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            executor_url: row.executor_url,
            ledger_id: row.ledger_id.map(LedgerId),
            allowed_namespaces: row.allowed_namespaces,
        }
    }
}

/// An order key of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterKey {
    /// Key id as it stands in envelopes.
    pub id: String,
    /// The sealed secret.
    pub key: Vec<u8>,
}

/// What is remembered of one executor ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLedger {
    /// The ledger.
    pub id: LedgerId,
    /// The highest row any receipt of it named.
    pub row_seen: u64,
    /// Whether it once named a lower row than it had before, as one restored from a backup does.
    pub regressed: bool,
}

/// What it takes to speak to a cluster's executor.
#[derive(Clone, Debug)]
pub struct Contact {
    /// The cluster.
    pub cluster: Cluster,
    /// The key that orders are signed with: the newest live one.
    pub order_key: Option<ClusterKey>,
    /// The keys that receipts may be signed with, as PEM.
    pub receipt_keys: Vec<String>,
    /// The ledger it was last seen to use.
    pub ledger: Option<SeenLedger>,
}

/// Registers a cluster; false when the name is taken.
pub async fn insert(
    conn: &mut PgConnection,
    name: &str,
    executor_url: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into clusters (name, executor_url, created_at) values ($1, $2, $3) on conflict do nothing",
        name,
        executor_url,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Moves a cluster's executor to another address; false when there is no such cluster.
pub async fn set_executor_url(
    conn: &mut PgConnection,
    name: &str,
    executor_url: &str,
) -> Result<bool, Error> {
    let done = sqlx::query!("update clusters set executor_url = $2 where name = $1", name, executor_url)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// All clusters by name.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Cluster>, Error> {
    let rows = sqlx::query_as!(
        Row,
        "select name, executor_url, ledger_id, allowed_namespaces from clusters order by name"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Cluster::from).collect())
}

/// One cluster, locked until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, name: &str) -> Result<Option<Cluster>, Error> {
    let row = sqlx::query_as!(
        Row,
        "select name, executor_url, ledger_id, allowed_namespaces from clusters where name = $1 for no key update",
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Cluster::from))
}

/// Keeps what a cluster's executor says of itself.
pub async fn set_reported(
    conn: &mut PgConnection,
    name: &str,
    ledger: LedgerId,
    allowed_namespaces: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "update clusters set ledger_id = $2, allowed_namespaces = $3 where name = $1",
        name,
        ledger.0,
        allowed_namespaces as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds an order key; false when the id is taken.
pub async fn insert_order_key(
    conn: &mut PgConnection,
    cluster: &str,
    id: &str,
    sealed_secret: &[u8],
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into cluster_order_keys (cluster, id, sealed_secret, created_at) values ($1, $2, $3, $4) \
         on conflict do nothing",
        cluster,
        id,
        sealed_secret,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Live order keys, the newest first: orders are signed with the first.
pub async fn order_keys(conn: &mut PgConnection, cluster: &str) -> Result<Vec<ClusterKey>, Error> {
    Ok(sqlx::query_as!(
        ClusterKey,
        "select id, sealed_secret as key from cluster_order_keys \
         where cluster = $1 and retired_at is null order by created_at desc, id",
        cluster
    )
    .fetch_all(conn)
    .await?)
}

/// Retires an order key; false when there is no live one of this id.
pub async fn retire_order_key(
    conn: &mut PgConnection,
    cluster: &str,
    id: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update cluster_order_keys set retired_at = $3 where cluster = $1 and id = $2 and retired_at is null",
        cluster,
        id,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ids of the receipt keys that are believed.
pub async fn receipt_keys(conn: &mut PgConnection, cluster: &str) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar!(
        "select id from cluster_receipt_keys where cluster = $1 and retired_at is null order by created_at desc, id",
        cluster
    )
    .fetch_all(conn)
    .await?)
}

/// Retires a receipt key; false when there is no live one of this id.
pub async fn retire_receipt_key(
    conn: &mut PgConnection,
    cluster: &str,
    id: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "update cluster_receipt_keys set retired_at = $3 where cluster = $1 and id = $2 and retired_at is null",
        cluster,
        id,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds a receipt key; false when the id is taken.
pub async fn insert_receipt_key(
    conn: &mut PgConnection,
    cluster: &str,
    id: &str,
    public_key: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query!(
        "insert into cluster_receipt_keys (cluster, id, public_key, created_at) values ($1, $2, $3, $4) \
         on conflict do nothing",
        cluster,
        id,
        public_key,
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What it takes to speak to a cluster's executor: its address, its keys and its ledger.
pub async fn contact(conn: &mut PgConnection, cluster: &str) -> Result<Option<Contact>, Error> {
    let row = sqlx::query!(
        r#"select c.name, c.executor_url, c.ledger_id, c.allowed_namespaces, k.id as "key_id?", k.sealed_secret as "sealed_secret?",
                  array(select public_key from cluster_receipt_keys
                        where cluster = c.name and retired_at is null order by created_at desc, id) as "receipt_keys!",
                  l.row_seen as "row_seen?", l.regressed_at is not null as "regressed!"
           from clusters c
           left join lateral (
               select id, sealed_secret from cluster_order_keys
               where cluster = c.name and retired_at is null order by created_at desc, id limit 1) k on true
           left join ledgers l on l.cluster = c.name and l.id = c.ledger_id
           where c.name = $1"#,
        cluster
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| {
        let ledger_id = row.ledger_id.map(LedgerId);
        let ledger = ledger_id.zip(row.row_seen).map(|(id, row_seen)| SeenLedger {
            id,
            row_seen: row_seen.cast_unsigned(),
            regressed: row.regressed,
        });
        Contact {
            cluster: Cluster {
                name: row.name,
                executor_url: row.executor_url,
                ledger_id,
                allowed_namespaces: row.allowed_namespaces,
            },
            order_key: row.key_id.zip(row.sealed_secret).map(|(id, key)| ClusterKey { id, key }),
            receipt_keys: row.receipt_keys,
            ledger,
        }
    }))
}

/// What is remembered of a ledger of the cluster's executor.
pub async fn find_ledger(
    conn: &mut PgConnection,
    cluster: &str,
    id: LedgerId,
) -> Result<Option<SeenLedger>, Error> {
    let row = sqlx::query!(
        "select id, row_seen, regressed_at is not null as \"regressed!\" from ledgers \
         where cluster = $1 and id = $2",
        cluster,
        id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| SeenLedger {
        id: LedgerId(row.id),
        row_seen: row.row_seen.cast_unsigned(),
        regressed: row.regressed,
    }))
}

/// Remembers a position. `row_before` is the highest row known before the receipt was asked for: a
/// lower one marks the ledger as regressed for ever.
pub async fn note_ledger(
    conn: &mut PgConnection,
    cluster: &str,
    position: LedgerPosition,
    row_before: u64,
    at: Timestamp,
) -> Result<(), Error> {
    if position.row < row_before {
        return note_regress(conn, cluster, position, at).await;
    }
    // One row for all receipts of a cluster: whoever waited for it would wait for the commit of another. A row
    // that is not noted because somebody notes another one leaves a lower bound, which it is anyway.
    sqlx::query!(
        "with raised as (update ledgers set row_seen = $3 where (cluster, id) = ( \
             select cluster, id from ledgers where cluster = $1 and id = $2 and row_seen < $3 \
             for update skip locked)) \
         insert into ledgers (cluster, id, row_seen, first_seen_at) values ($1, $2, $3, $4) \
         on conflict (cluster, id) do nothing",
        cluster,
        position.id.0,
        position.row.cast_signed(),
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn note_regress(
    conn: &mut PgConnection,
    cluster: &str,
    position: LedgerPosition,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        "insert into ledgers (cluster, id, row_seen, first_seen_at, regressed_at) values ($1, $2, $3, $4, $4) \
         on conflict (cluster, id) do update set regressed_at = coalesce(ledgers.regressed_at, $4)",
        cluster,
        position.id.0,
        position.row.cast_signed(),
        Stored::from(at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

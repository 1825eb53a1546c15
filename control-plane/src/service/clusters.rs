//! Registering clusters and their keys.

use aegis_contract::dsse::{OrderKey, ReceiptVerifier};
use aegis_contract::key::SharedSecret;
use aegis_contract::strict::base64_decode;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgConnection;

use crate::audit::{self, Kind, OPERATOR, Record};
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::clusters::Cluster;
use crate::store::{Store, client_keys, clusters, commit};

/// Live keys of one kind of one cluster: the old and the new one while they are rotated.
const KEYS_MAX: usize = 2;

/// A cluster to register.
pub struct NewCluster<'a> {
    /// Its name, the audience of its orders.
    pub name: &'a str,
    /// Base URL of its executor.
    pub executor_url: &'a str,
    /// Id of its order key.
    pub order_key_id: &'a str,
    /// Its order key in standard base64.
    pub order_key: &'a SecretString,
    /// Its executor's public receipt key in PEM.
    pub receipt_public_key: &'a str,
}

/// Registers a cluster; the id of its receipt key.
///
/// # Errors
/// `Parameter` for an unusable part; `AlreadyExists`.
pub async fn create(store: &Store, keyring: &Keyring, new: NewCluster<'_>) -> Result<String, Error> {
    if !is_dns_label(new.name) {
        let message = format!(
            "`{}` must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit",
            new.name
        );
        return Err(Error::Parameter { name: "name", message });
    }
    check_url(new.executor_url)?;
    check_order_key(new.order_key_id, new.order_key)?;
    let receipt_key_id = read_receipt_key(new.receipt_public_key)?;
    let at = clock::now();
    let mut tx = store.begin().await?;
    refuse_known_secret(&mut tx, keyring, new.order_key).await?;
    if !clusters::insert(&mut tx, new.name, new.executor_url, at).await? {
        return Err(Error::AlreadyExists(format!("a cluster named {}", new.name)));
    }
    insert_order_key(&mut tx, keyring, new.name, new.order_key_id, new.order_key).await?;
    clusters::insert_receipt_key(&mut tx, new.name, &receipt_key_id, new.receipt_public_key, at).await?;
    let data = json!({
        "cluster": new.name,
        "executorUrl": new.executor_url,
        "orderKeyId": new.order_key_id,
        "receiptKeyId": receipt_key_id,
    });
    append(&mut tx, Kind::ClusterRegistered, data).await?;
    commit(tx, None).await?;
    Ok(receipt_key_id)
}

/// Gives a cluster another order key; orders are signed with the newest from then on.
///
/// # Errors
/// `Parameter`; `NotFound`; `AlreadyExists` when it has two.
pub async fn add_order_key(
    store: &Store,
    keyring: &Keyring,
    cluster: &str,
    key_id: &str,
    key: &SecretString,
) -> Result<(), Error> {
    check_order_key(key_id, key)?;
    let mut tx = store.begin().await?;
    lock(&mut tx, cluster).await?;
    refuse_known_secret(&mut tx, keyring, key).await?;
    if clusters::order_keys(&mut tx, cluster).await?.len() >= KEYS_MAX {
        return Err(Error::AlreadyExists(format!("a second order key of {cluster} (retire one first); it")));
    }
    insert_order_key(&mut tx, keyring, cluster, key_id, key).await?;
    append(&mut tx, Kind::ClusterChanged, json!({ "cluster": cluster, "orderKeyId": key_id })).await?;
    commit(tx, None).await
}

/// Signs a cluster's orders with this key no more.
///
/// # Errors
/// `NotFound`; `Parameter` for its last one.
pub async fn retire_order_key(store: &Store, cluster: &str, key_id: &str) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    lock(&mut tx, cluster).await?;
    if !clusters::retire_order_key(&mut tx, cluster, key_id, clock::now()).await? {
        return Err(Error::NotFound { what: "live order key" });
    }
    if clusters::order_keys(&mut tx, cluster).await?.is_empty() {
        return Err(last_one("order-key-id"));
    }
    append(&mut tx, Kind::ClusterChanged, json!({ "cluster": cluster, "retiredOrderKeyId": key_id })).await?;
    commit(tx, None).await
}

/// Believes receipts of a cluster's executor under this key too; the key's id.
///
/// # Errors
/// `Parameter`; `NotFound`; `AlreadyExists` when it is known, or there are two.
pub async fn add_receipt_key(store: &Store, cluster: &str, public_key: &str) -> Result<String, Error> {
    let key_id = read_receipt_key(public_key)?;
    let mut tx = store.begin().await?;
    lock(&mut tx, cluster).await?;
    if clusters::receipt_keys(&mut tx, cluster).await?.len() >= KEYS_MAX {
        return Err(Error::AlreadyExists(format!(
            "a second receipt key of {cluster} (retire one first); it"
        )));
    }
    if !clusters::insert_receipt_key(&mut tx, cluster, &key_id, public_key, clock::now()).await? {
        return Err(Error::AlreadyExists(format!("a receipt key {key_id} of {cluster}")));
    }
    append(&mut tx, Kind::ClusterChanged, json!({ "cluster": cluster, "receiptKeyId": key_id })).await?;
    commit(tx, None).await?;
    Ok(key_id)
}

/// Believes no receipt under this key any more.
///
/// # Errors
/// `NotFound`; `Parameter` for the last one.
pub async fn retire_receipt_key(store: &Store, cluster: &str, key_id: &str) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    lock(&mut tx, cluster).await?;
    if !clusters::retire_receipt_key(&mut tx, cluster, key_id, clock::now()).await? {
        return Err(Error::NotFound { what: "live receipt key" });
    }
    if clusters::receipt_keys(&mut tx, cluster).await?.is_empty() {
        return Err(last_one("receipt-key-id"));
    }
    append(&mut tx, Kind::ClusterChanged, json!({ "cluster": cluster, "retiredReceiptKeyId": key_id }))
        .await?;
    commit(tx, None).await
}

/// Moves a cluster's executor to another address.
///
/// # Errors
/// `Parameter`; `NotFound`.
pub async fn set_executor_url(store: &Store, cluster: &str, executor_url: &str) -> Result<(), Error> {
    check_url(executor_url)?;
    let mut tx = store.begin().await?;
    if !clusters::set_executor_url(&mut tx, cluster, executor_url).await? {
        return Err(Error::NotFound { what: "cluster" });
    }
    append(&mut tx, Kind::ClusterChanged, json!({ "cluster": cluster, "executorUrl": executor_url })).await?;
    commit(tx, None).await
}

/// All clusters by name, with what their executors said of themselves last.
///
/// # Errors
/// Those of the database.
pub async fn list(store: &Store) -> Result<Vec<Cluster>, Error> {
    clusters::list(&mut *store.acquire().await?).await
}

/// Refuses to start while an executor is to be reached without TLS.
///
/// # Errors
/// A sentence for the operator.
pub async fn require_tls(store: &Store) -> Result<(), Error> {
    let plain = list(store).await?.into_iter().find(|cluster| !cluster.executor_url.starts_with("https://"));
    let Some(Cluster { name, executor_url, .. }) = plain else { return Ok(()) };
    let message = format!(
        "refuses {executor_url}, where cluster {name} is reached without TLS; give its executor a certificate and name \
         it by `cluster set-executor-url --name {name} --executor-url https://…`"
    );
    Err(Error::Parameter { name: "PRODUCTION", message })
}

/// Refuses to start when the secret of access tokens, or a master key, is also an order key or a client's secret.
///
/// # Errors
/// A sentence for the operator.
pub async fn check_purposes(
    conn: &mut PgConnection,
    keyring: &Keyring,
    settings: &[(&'static str, &SecretString)],
) -> Result<(), Error> {
    let secrets = shared_secrets(conn, keyring).await?;
    for (name, setting) in settings.iter().copied() {
        let text = setting.expose_secret();
        let decoded = Zeroizing::new(base64_decode(text.trim()).unwrap_or_default());
        for (what, secret) in &secrets {
            if secret.is(text.as_bytes()) || secret.is(&decoded) {
                let message = format!("is the same as {what}: one key has one purpose");
                return Err(Error::Parameter { name, message });
            }
        }
    }
    Ok(())
}

/// Everything that is stored and used as a MAC key, each with what it is.
///
/// # Errors
/// When one does not open; those of the database.
pub(super) async fn shared_secrets(
    conn: &mut PgConnection,
    keyring: &Keyring,
) -> Result<Vec<(String, SharedSecret)>, Error> {
    let mut secrets = Vec::new();
    for cluster in clusters::list(conn).await? {
        for key in clusters::order_keys(conn, &cluster.name).await? {
            let secret = keyring.open_shared_secret(Purpose::OrderKey, &key.key)?;
            secrets.push((format!("order key {} of cluster {}", key.id, cluster.name), secret));
        }
    }
    for sealed in client_keys::sealed_secrets(conn).await? {
        secrets
            .push(("a client's secret".to_owned(), keyring.open_shared_secret(Purpose::ClientKey, &sealed)?));
    }
    Ok(secrets)
}

async fn lock(conn: &mut PgConnection, cluster: &str) -> Result<(), Error> {
    clusters::lock(conn, cluster).await?.map(drop).ok_or(Error::NotFound { what: "cluster" })
}

fn last_one(name: &'static str) -> Error {
    let message = "names the last one that is live; add another first, which the executor uses".to_owned();
    Error::Parameter { name, message }
}

async fn refuse_known_secret(
    conn: &mut PgConnection,
    keyring: &Keyring,
    secret: &SecretString,
) -> Result<(), Error> {
    let bytes = Zeroizing::new(base64_decode(secret.expose_secret().trim()).unwrap_or_default());
    for (what, known) in shared_secrets(conn, keyring).await? {
        if known.is(&bytes) {
            return Err(Error::Parameter {
                name: "order-key-file",
                message: format!("is {what} already: each cluster has an order key of its own"),
            });
        }
    }
    Ok(())
}

async fn insert_order_key(
    conn: &mut PgConnection,
    keyring: &Keyring,
    cluster: &str,
    key_id: &str,
    key: &SecretString,
) -> Result<(), Error> {
    let bytes = Zeroizing::new(base64_decode(key.expose_secret().trim()).map_err(Error::internal)?);
    let sealed = keyring.seal(Purpose::OrderKey, &bytes);
    if clusters::insert_order_key(conn, cluster, key_id, &sealed, clock::now()).await? {
        Ok(())
    } else {
        Err(Error::AlreadyExists(format!("an order key {key_id} of {cluster}")))
    }
}

fn check_order_key(id: &str, key: &SecretString) -> Result<(), Error> {
    SharedSecret::from_base64(key.expose_secret())
        .and_then(|secret| OrderKey::new(id, secret))
        .map(drop)
        .map_err(|error| Error::Parameter { name: "order-key", message: error.to_string() })
}

fn read_receipt_key(pem: &str) -> Result<String, Error> {
    let refuse = |message: String| Error::Parameter { name: "receipt-public-key-file", message };
    let verifier = ReceiptVerifier::from_public_pem(pem).map_err(|error| refuse(error.to_string()))?;
    verifier.key_ids().next().map(str::to_owned).ok_or_else(|| refuse("holds no key".to_owned()))
}

fn check_url(url: &str) -> Result<(), Error> {
    let refuse = || Error::Parameter {
        name: "executor-url",
        message: format!(
            "`{url}` must be http://HOST:PORT or https://HOST:PORT, without path, query or credentials"
        ),
    };
    let parsed = reqwest::Url::parse(url).map_err(|_| refuse())?;
    let plain = matches!(parsed.scheme(), "http" | "https")
        && parsed.has_host()
        && matches!(parsed.path(), "" | "/")
        && parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.username().is_empty()
        && parsed.password().is_none();
    if plain { Ok(()) } else { Err(refuse()) }
}

async fn append(conn: &mut PgConnection, kind: Kind, data: serde_json::Value) -> Result<(), Error> {
    let record = Record { kind, principal: OPERATOR, action_id: None, request_id: None, data };
    audit::append(conn, record).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_is_named_by_scheme_host_and_port_alone() {
        for url in ["http://127.0.0.1:4000", "https://executor.aegis.svc/", "http://[::1]:4000"] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in
            ["", "127.0.0.1:4000", "ftp://x", "http://u:p@x", "http://x/path", "http://x?q", "http://x#f"]
        {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}

//! The binary's commands. Those besides `serve` change the database directly: the first people and clients, and all
//! clusters, are made known by them.

mod bundle;

use std::path::{Path, PathBuf};

use aegis_evidence::VerifierKey;
use aegis_runtime::settings::Source;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::error::Error;
use crate::seal::Keyring;
use crate::service::clients::{self, Bounds, CreatedKey, KeyRequest, NewClient};
use crate::service::clusters::{self, NewCluster};
use crate::service::log::{self, LogSigners};
use crate::service::master_key::{self, Changed};
use crate::service::{passwords, second_factor, users};
use crate::settings::{self, CommandSettings, LogSettings, ServeSettings};
use crate::store::{self, Store};
use crate::{app, http};

/// The Aegis control plane.
#[derive(Debug, Parser)]
#[command(name = "aegis-control-plane", version, about)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Bring the database to the present layout, as its owner (DATABASE_OWNER_URL).
    Migrate,
    /// Print the description of the API (OpenAPI 3.1).
    Openapi,
    /// Add people and change their roles.
    #[command(subcommand)]
    User(User),
    /// Add automation and change its keys.
    #[command(subcommand)]
    Client(Client),
    /// Register clusters and change them.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Encrypt what is stored under MASTER_KEY instead of MASTER_KEY_PREVIOUS, which is needed no more then. Control
    /// planes that are given both go on meanwhile.
    ChangeMasterKey,
    /// Print the newest public key of the audit log, for those who verify it to compare; without DATABASE_URL its first,
    /// as long as the master key is the first one too.
    LogKey,
    /// Sign the audit log's checkpoints by a new key too, which the newest one vouches for; prints it. Give it to
    /// executors (LOG_KEYS) and auditors, then retire the other.
    AddLogKey,
    /// Let a key sign the audit log's checkpoints no more.
    RetireLogKey {
        /// Its fingerprint, as in `aegisctl audit keys`.
        #[arg(long)]
        fingerprint: String,
    },
    /// Go on under another name with an audit log that was put back or rewritten, while no control plane runs. Prints
    /// key and checkpoint, which executors are to be told; control planes are told the name (AUDIT_LOG_ORIGIN).
    RenewLog {
        /// The name that it had.
        #[arg(long)]
        from: String,
        /// The name that it gets.
        #[arg(long)]
        to: String,
    },
    /// Take the oldest full partition of the audit log out of the database, as its owner (DATABASE_OWNER_URL), after
    /// verifying a bundle of its entries (`aegisctl audit export --first … --end …`). Prints the table that holds them
    /// now; drop it when the bundle is safe. What something still rests on stays, and so does every proof.
    DetachEntries {
        /// The bundle.
        #[arg(long)]
        bundle: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum User {
    /// Add a person; prints id, e-mail address, roles and, if it was made here, the password.
    Create {
        /// E-mail address to sign in with.
        #[arg(long)]
        email: String,
        /// Role: admin, user, auditor, or one that only policies know. Repeat for several.
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// File that holds the password; without it one is made and printed.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Give a person a role; prints the roles they hold then.
    Grant(RoleOf),
    /// Take a role from a person; prints the roles they hold then.
    Revoke(RoleOf),
    /// Take the second factor of a person away who has lost it, and end their sessions.
    ResetSecondFactor {
        /// E-mail address they sign in with.
        #[arg(long)]
        email: String,
    },
}

#[derive(Debug, Args)]
struct RoleOf {
    /// E-mail address they sign in with.
    #[arg(long)]
    email: String,
    /// Role: admin, user, auditor, or one that only policies know.
    #[arg(long)]
    role: String,
}

#[derive(Debug, Subcommand)]
enum Client {
    /// Add a client with its first key; prints principal, key id and secret.
    Create {
        /// Unique name: a-z, 0-9 and '-'.
        #[arg(long)]
        name: String,
        /// E-mail address of the person who answers for it.
        #[arg(long)]
        owner: String,
        #[command(flatten)]
        key: ClientKey,
    },
    /// Give a client a second key, to change over to.
    AddKey {
        /// Name of the client.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        key: ClientKey,
    },
    /// Revoke a key at once.
    RevokeKey {
        /// Id of the key.
        #[arg(long)]
        key_id: String,
    },
}

#[derive(Debug, Args)]
struct ClientKey {
    /// File with the client's Ed25519 public key (PEM); without it a shared secret is made and printed.
    #[arg(long)]
    public_key_file: Option<PathBuf>,
}

impl ClientKey {
    fn read(&self) -> anyhow::Result<Option<String>> {
        self.public_key_file.as_deref().map(read).transpose()
    }
}

#[derive(Debug, Subcommand)]
enum Cluster {
    /// Register a cluster, its executor and their keys.
    Create {
        /// Unique name, the audience of its orders: a-z, 0-9 and '-'.
        #[arg(long)]
        name: String,
        /// Base URL of its executor.
        #[arg(long)]
        executor_url: String,
        /// Id of its order key.
        #[arg(long)]
        order_key_id: String,
        /// File with its order key (standard base64).
        #[arg(long)]
        order_key_file: PathBuf,
        /// File with its executor's public receipt key (PEM).
        #[arg(long)]
        receipt_public_key_file: PathBuf,
    },
    /// Print the clusters, each with the ledger its executor uses and the namespaces it may touch.
    List,
    /// Sign orders with another key from now on.
    AddOrderKey {
        /// Name of the cluster.
        #[arg(long)]
        name: String,
        /// Id of the key.
        #[arg(long)]
        order_key_id: String,
        /// File with the key (standard base64).
        #[arg(long)]
        order_key_file: PathBuf,
    },
    /// Sign orders with a key no more, once the executor accepts another one.
    RetireOrderKey {
        /// Name of the cluster.
        #[arg(long)]
        name: String,
        /// Id of the key.
        #[arg(long)]
        order_key_id: String,
    },
    /// Believe receipts under another key too; prints its id. Then give the executor that key.
    AddReceiptKey {
        /// Name of the cluster.
        #[arg(long)]
        name: String,
        /// File with the public key (PEM).
        #[arg(long)]
        receipt_public_key_file: PathBuf,
    },
    /// Believe receipts under a key no more, once the executor signs with another one and no receipt is awaited.
    RetireReceiptKey {
        /// Name of the cluster.
        #[arg(long)]
        name: String,
        /// Id of the key.
        #[arg(long)]
        receipt_key_id: String,
    },
    /// Reach a cluster's executor at another address.
    SetExecutorUrl {
        /// Name of the cluster.
        #[arg(long)]
        name: String,
        /// Base URL of its executor.
        #[arg(long)]
        executor_url: String,
    },
}

/// Runs one command. Data goes to stdout as JSON.
///
/// # Errors
/// A sentence for the operator.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let source = Source::from_environment();
    let printed = match command.what {
        What::Serve => return app::serve(ServeSettings::read(source)?).await,
        What::Migrate => {
            let owner = settings::read_database_owner(source)?;
            return store::migrate(&owner).await.context("the database was not migrated");
        }
        What::Openapi => serde_json::to_value(http::description())?,
        What::User(command) => run_user(source, command).await?,
        What::Client(command) => run_client(source, command).await?,
        What::Cluster(command) => run_cluster(source, command).await?,
        What::ChangeMasterKey => change_master_key(source).await?,
        What::LogKey => log_key(source).await?,
        What::AddLogKey => add_log_key(source).await?,
        What::RetireLogKey { fingerprint } => retire_log_key(source, &fingerprint).await?,
        What::RenewLog { from, to } => renew_log(source, &from, &to).await?,
        What::DetachEntries { bundle } => detach_entries(source, &bundle).await?,
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}

/// The database, and the keys of what is stored there.
async fn opened(source: Source) -> anyhow::Result<(Store, Keyring)> {
    let CommandSettings { database, master_keys } = CommandSettings::read(source)?;
    let store = Store::new(database);
    let keyring = master_key::open(&store, &master_keys).await?;
    Ok((store, keyring))
}

/// The same, and what the audit log is called; `database_name` is `DATABASE_URL` or `DATABASE_OWNER_URL`.
async fn opened_log(source: Source, database_name: &str) -> anyhow::Result<(Store, Keyring, String)> {
    let LogSettings { database, master_keys, origin } = LogSettings::read(source, database_name)?;
    let store = Store::new(database);
    let keyring = master_key::open(&store, &master_keys).await?;
    Ok((store, keyring, origin))
}

async fn change_master_key(source: Source) -> anyhow::Result<Value> {
    let CommandSettings { database, master_keys } = CommandSettings::read(source)?;
    let changed = master_key::change(&Store::new(database), &master_keys).await?;
    Ok(json!({ "changed": changed == Changed::Now }))
}

async fn renew_log(source: Source, from: &str, to: &str) -> anyhow::Result<Value> {
    let (store, keyring) = opened(source).await?;
    keyring.log_key(from).context("--from cannot be the name of a log")?;
    let new = keyring.log_key(to).context("--to cannot be the name of a log")?;
    let checkpoint = match log::renew(&store, &keyring, from, to).await {
        Err(Error::Busy) => anyhow::bail!("a control plane runs; stop them all first"),
        renewed => renewed?,
    };
    Ok(print_log_key(new.verifier(), Some(checkpoint)))
}

async fn detach_entries(source: Source, path: &Path) -> anyhow::Result<Value> {
    let (owner, keyring, origin) = opened_log(source, "DATABASE_OWNER_URL").await?;
    let signers = LogSigners::load(&mut *owner.acquire().await?, &keyring, &origin).await?;
    let (report, digest) = bundle::verify(path, signers.log_keys()?)?;
    Ok(serde_json::to_value(log::detach(&owner, &report, digest).await?)?)
}

async fn log_key(source: Source) -> anyhow::Result<Value> {
    let (database, master_keys, origin) = settings::read_log_key(source)?;
    let Some(database) = database else {
        return Ok(print_log_key(master_keys.current.keyring().log_key(&origin)?.verifier(), None));
    };
    let store = Store::new(database);
    let keyring = master_key::open(&store, &master_keys).await?;
    let signers = LogSigners::load(&mut *store.acquire().await?, &keyring, &origin).await?;
    Ok(print_log_key(signers.newest().verifier(), None))
}

async fn add_log_key(source: Source) -> anyhow::Result<Value> {
    let (store, keyring, origin) = opened_log(source, "DATABASE_URL").await?;
    Ok(print_log_key(&log::add_key(&store, &keyring, &origin).await?, None))
}

async fn retire_log_key(source: Source, fingerprint: &str) -> anyhow::Result<Value> {
    let (store, keyring, origin) = opened_log(source, "DATABASE_URL").await?;
    let retired = log::retire_key(&store, &keyring, &origin, fingerprint).await?;
    Ok(print_log_key(&retired, None))
}

fn print_log_key(key: &VerifierKey, checkpoint: Option<String>) -> Value {
    let mut printed =
        json!({ "origin": key.name(), "key": key.to_string(), "fingerprint": key.fingerprint() });
    if let Some(checkpoint) = checkpoint {
        printed["checkpoint"] = checkpoint.into();
    }
    printed
}

async fn run_user(source: Source, command: User) -> anyhow::Result<Value> {
    let store = Store::new(settings::read_database(source)?);
    let (email, roles, password_file) = match command {
        User::Create { email, roles, password_file } => (email, roles, password_file),
        User::Grant(RoleOf { email, role }) => return set_role(&store, &email, &role, true).await,
        User::Revoke(RoleOf { email, role }) => return set_role(&store, &email, &role, false).await,
        User::ResetSecondFactor { email } => {
            second_factor::reset_by_operator(&store, &email).await?;
            return Ok(json!({ "email": email, "reset": true }));
        }
    };
    let given = password_file.as_deref().map(read).transpose()?;
    let password = given.clone().unwrap_or_else(passwords::generate);
    let id = users::create(&store, &email, &roles, &password).await?;
    let mut printed = json!({ "id": id, "email": email, "roles": roles });
    if given.is_none() {
        printed["password"] = password.into();
    }
    Ok(printed)
}

async fn set_role(store: &Store, email: &str, role: &str, held: bool) -> anyhow::Result<Value> {
    let roles = users::set_role(store, email, role, held).await?;
    Ok(json!({ "email": email, "roles": roles }))
}

async fn run_client(source: Source, command: Client) -> anyhow::Result<Value> {
    match command {
        Client::Create { name, owner, key } => {
            let (store, keyring) = opened(source).await?;
            let key = KeyRequest { public_key: key.read()?, expires_at: None };
            let new = NewClient { name, owner_email: owner, bounds: Bounds::default(), key };
            let name = new.name.clone();
            Ok(print_key(&name, &clients::create_by_operator(&store, &keyring, &new).await?))
        }
        Client::AddKey { name, key } => {
            let (store, keyring) = opened(source).await?;
            let key = KeyRequest { public_key: key.read()?, expires_at: None };
            Ok(print_key(&name, &clients::add_key_by_operator(&store, &keyring, &name, &key).await?))
        }
        Client::RevokeKey { key_id } => {
            let store = Store::new(settings::read_database(source)?);
            let principal = clients::revoke_key_by_operator(&store, &key_id).await?;
            Ok(json!({ "principal": principal, "keyId": key_id, "revoked": true }))
        }
    }
}

fn print_key(client: &str, key: &CreatedKey) -> Value {
    let mut printed = json!({ "principal": format!("client:{client}"), "keyId": key.id });
    if let Some(secret) = &key.secret {
        printed["secret"] = secret.expose_secret().into();
    }
    printed
}

async fn run_cluster(source: Source, command: Cluster) -> anyhow::Result<Value> {
    let (store, keyring) = opened(source).await?;
    match command {
        Cluster::List => list_clusters(&store).await,
        Cluster::Create { name, executor_url, order_key_id, order_key_file, receipt_public_key_file } => {
            let new = NewCluster {
                name: &name,
                executor_url: &executor_url,
                order_key_id: &order_key_id,
                order_key: &SecretString::from(read(&order_key_file)?),
                receipt_public_key: &read(&receipt_public_key_file)?,
            };
            let receipt_key_id = clusters::create(&store, &keyring, new).await?;
            Ok(json!({
                "name": name, "executorUrl": executor_url, "orderKeyId": order_key_id, "receiptKeyId": receipt_key_id,
            }))
        }
        Cluster::AddOrderKey { name, order_key_id, order_key_file } => {
            let key = SecretString::from(read(&order_key_file)?);
            clusters::add_order_key(&store, &keyring, &name, &order_key_id, &key).await?;
            Ok(json!({ "name": name, "orderKeyId": order_key_id }))
        }
        Cluster::RetireOrderKey { name, order_key_id } => {
            clusters::retire_order_key(&store, &name, &order_key_id).await?;
            Ok(json!({ "name": name, "orderKeyId": order_key_id, "retired": true }))
        }
        Cluster::AddReceiptKey { name, receipt_public_key_file } => {
            let key = read(&receipt_public_key_file)?;
            let receipt_key_id = clusters::add_receipt_key(&store, &name, &key).await?;
            Ok(json!({ "name": name, "receiptKeyId": receipt_key_id }))
        }
        Cluster::RetireReceiptKey { name, receipt_key_id } => {
            clusters::retire_receipt_key(&store, &name, &receipt_key_id).await?;
            Ok(json!({ "name": name, "receiptKeyId": receipt_key_id, "retired": true }))
        }
        Cluster::SetExecutorUrl { name, executor_url } => {
            clusters::set_executor_url(&store, &name, &executor_url).await?;
            Ok(json!({ "name": name, "executorUrl": executor_url }))
        }
    }
}

async fn list_clusters(store: &Store) -> anyhow::Result<Value> {
    let listed = clusters::list(store).await?.into_iter().map(|cluster| {
        json!({
            "name": cluster.name, "executorUrl": cluster.executor_url, "ledger": cluster.ledger_id,
            "allowedNamespaces": cluster.allowed_namespaces,
        })
    });
    Ok(listed.collect())
}

/// A file without the newline that editors leave at its end.
fn read(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

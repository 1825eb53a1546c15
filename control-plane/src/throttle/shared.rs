//! Buckets that all replicas share, in Redis. Each is taken from by one script, which is atomic there.
//!
//! While Redis is lost or too slow nobody asks it: [`Shared::run`] tries it beside requests, and they go on with it
//! once it answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aegis_runtime::settings::renewal::InForce;
use aegis_runtime::shutdown::Shutdown;
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, RedisError, Script, TlsCertificates};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Rate, Standing, WINDOW};
use crate::metrics::ControlPlaneMetrics;

/// Longest a request waits for Redis: many times what it takes, and little beside what a request takes.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// Answers missed in a row after which it is not asked any more. One alone may be this process' own pause.
const MISSED_MAX: u32 = 3;
/// Longest a connection, or a try whether it works, may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Pause before the next try.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What every key begins with.
const PREFIX: &str = "aegis:throttle:";
/// The bucket that tries take from.
const TRIAL: &str = "trial";

/// Redis as far as it can be asked now. Clones share it.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    address: InForce<Address>,
    script: Script,
    /// None while it is lost.
    connection: RwLock<Option<MultiplexedConnection>>,
    missed: AtomicU32,
    lost: Notify,
    metrics: ControlPlaneMetrics,
}

/// Why Redis did not judge.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It may be stopped, or far away.
    #[error("no answer in time")]
    Slow,
    /// Whom to believe cannot be read.
    #[error("{} (REDIS_CA_FILE) cannot be read", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be reached, is not vouched for, or did not want to.
    #[error(transparent)]
    Failed(#[from] RedisError),
}

/// Where Redis is, and who vouches for it.
#[derive(Clone)]
pub struct Address {
    url: SecretString,
    /// The authority's certificates, where TLS is not to believe those of the system.
    authority: Option<PathBuf>,
}

impl Address {
    /// Takes an address. The authority is looked up for each connection, so that its file may be replaced.
    ///
    /// # Errors
    /// What the address should be like; the address itself may hold a password.
    pub fn read(url: SecretString, authority: Option<PathBuf>) -> Result<Self, &'static str> {
        let client = Client::open(url.expose_secret());
        let client = client.map_err(|_| "is not of the form rediss://:PASSWORD@HOST:PORT/NUMBER")?;
        match client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Err("must not ask for TLS that is not verified"),
            ConnectionAddr::Tcp(..) if authority.is_some() => {
                Err("must begin with rediss:// when REDIS_CA_FILE is set")
            }
            _ => Ok(Self { url, authority }),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret() && self.authority == other.authority
    }

    fn client(&self) -> Result<Client, Fault> {
        let Some(path) = &self.authority else { return Ok(Client::open(self.url.expose_secret())?) };
        let authority =
            std::fs::read(path).map_err(|source| Fault::Authority { path: path.clone(), source })?;
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority) };
        Ok(Client::build_with_tls(self.url.expose_secret(), certificates)?)
    }
}

impl Shared {
    /// Redis, which nobody has asked yet.
    pub fn new(address: Address, metrics: ControlPlaneMetrics) -> Self {
        metrics.set_throttle_degraded(true);
        Self(Arc::new(Inner {
            address: InForce::new(address),
            script: Script::new(include_str!("take.lua")),
            connection: RwLock::default(),
            missed: AtomicU32::new(0),
            lost: Notify::new(),
            metrics,
        }))
    }

    /// Takes one request out of a bucket; nothing when Redis cannot be asked, or does not answer in time.
    pub(super) async fn take(&self, policy: &'static str, key: &str, rate: Rate) -> Option<Standing> {
        let connection = self.0.connection.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        match self.ask(connection, ANSWER_WITHIN, policy, key, rate).await {
            Ok(standing) => {
                self.0.missed.store(0, Ordering::Relaxed);
                Some(standing)
            }
            Err(fault) => {
                let missed = self.0.missed.fetch_add(1, Ordering::Relaxed) + 1;
                if matches!(fault, Fault::Failed(_)) || missed >= MISSED_MAX {
                    self.lose(&fault);
                }
                None
            }
        }
    }

    async fn ask(
        &self,
        mut connection: MultiplexedConnection,
        within: Duration,
        policy: &'static str,
        key: &str,
        rate: Rate,
    ) -> Result<Standing, Fault> {
        let each = u64::try_from(WINDOW.as_micros()).unwrap_or(u64::MAX).div_ceil(rate.get().into());
        let mut call = self.0.script.key(format!("{PREFIX}{policy}:{key}"));
        call.arg(each).arg(rate.get());
        let asked = timeout(within, call.invoke_async(&mut connection)).await;
        let (taken, remaining, retry_in, full_in): (bool, u32, u64, u64) =
            asked.map_err(|_| Fault::Slow)??;
        Ok(Standing {
            policy,
            rate,
            remaining,
            full_in: Duration::from_micros(full_in),
            retry_after: (!taken).then(|| Duration::from_micros(retry_in)),
        })
    }

    fn lose(&self, fault: &Fault) {
        let lost = self.0.connection.write().unwrap_or_else(PoisonError::into_inner).take();
        if lost.is_some() {
            self.0.metrics.set_throttle_degraded(true);
            warn!(
                error = fault as &dyn std::error::Error,
                "Redis is lost: this replica throttles strictly by itself until it is back"
            );
            self.0.lost.notify_one();
        }
    }

    /// Connects, and has one bucket taken from, to know that it works.
    ///
    /// # Errors
    /// [`Fault`]; it stays lost.
    pub async fn connect(&self) -> Result<(), Fault> {
        let client = self.0.address.get().client()?;
        let connected = timeout(CONNECT_WITHIN, client.get_multiplexed_async_connection());
        let connection = connected.await.map_err(|_| Fault::Slow)??;
        let trial = Rate::per_minute(1).expect("one is in range");
        self.ask(connection.clone(), CONNECT_WITHIN, TRIAL, TRIAL, trial).await?;
        self.0.missed.store(0, Ordering::Relaxed);
        *self.0.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        self.0.metrics.set_throttle_degraded(false);
        info!("throttles are shared by Redis");
        Ok(())
    }

    /// Signs in to Redis in another way from now on. What is connected stays so until the new way has worked.
    ///
    /// # Errors
    /// [`Fault`]; nothing has changed.
    pub async fn renew(&self, address: Address) -> Result<(), Fault> {
        // Where it is lost, that must not keep other secrets from being changed.
        if self.0.address.get().is_same(&address) {
            return Ok(());
        }
        let before = self.0.address.put(address);
        self.connect().await.inspect_err(|_| drop(self.0.address.put(Address::clone(&before))))
    }

    fn is_lost(&self) -> bool {
        self.0.connection.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Connects again whenever it is lost.
    pub async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            if self.is_lost() {
                shutdown.pause(RETRY_PAUSE).await;
                if let Err(error) = self.connect().await {
                    tracing::debug!(error = &error as &dyn std::error::Error, "Redis is still lost");
                }
            } else {
                tokio::select! {
                    () = self.0.lost.notified() => {}
                    () = shutdown.wait() => {}
                }
            }
        }
    }
}

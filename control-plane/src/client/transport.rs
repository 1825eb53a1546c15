//! How executors are reached: over mutual TLS, each by a client that speaks to the executor of one cluster alone; or,
//! where no certificates are set, as their addresses say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegis_contract::peer::Peer;
use aegis_runtime::tls::{ClientTls, Credentials};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use crate::error::Error;

/// How long connecting to an executor may take; it is near, or it is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to all executors. Clones share their connections.
#[derive(Clone)]
pub struct Transport(Arc<Way>);

enum Way {
    AsAddressed(Client),
    Mutual { tls: ClientTls, clients: Mutex<HashMap<String, Mutual>> },
}

/// The client for one cluster, and what it shows there.
struct Mutual {
    credentials: Arc<Credentials>,
    client: Client,
}

impl Transport {
    /// The way with these certificates, which then is the only one: orders do not go over plain HTTP any more.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(tls: Option<ClientTls>) -> Result<Self, Error> {
        Ok(Self(Arc::new(match tls {
            None => Way::AsAddressed(builder().build().map_err(Error::internal)?),
            Some(tls) => Way::Mutual { tls, clients: Mutex::default() },
        })))
    }

    /// The client for the executor of a cluster. One with new certificates replaces the one with old ones, whose
    /// requests still end.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn to(&self, cluster: &str) -> Result<Client, Error> {
        let (tls, clients) = match &*self.0 {
            Way::AsAddressed(client) => return Ok(client.clone()),
            Way::Mutual { tls, clients } => (tls, clients),
        };
        let credentials = tls.credentials();
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(cluster)
            && Arc::ptr_eq(&known.credentials, &credentials)
        {
            return Ok(known.client.clone());
        }
        let config = credentials.for_peer(Peer::Executor { cluster: cluster.to_owned() });
        let builder = builder().https_only(true).tls_backend_preconfigured(config.map_err(Error::internal)?);
        let client = builder.build().map_err(Error::internal)?;
        clients.insert(cluster.to_owned(), Mutual { credentials, client: client.clone() });
        Ok(client)
    }
}

fn builder() -> ClientBuilder {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none()).no_proxy()
}

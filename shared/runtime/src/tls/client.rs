//! What this service shows to peers that it connects to, and whom it believes there.

use std::sync::Arc;

use aegis_contract::peer::Peer;
use rustls::client::Resumption;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};

use super::files::{Contents, MutualFiles};
use super::followed::Followed;
use super::judge::OnlyServer;
use super::{TlsError, provider};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Mutual TLS towards peers. Clones share it.
#[derive(Clone)]
pub struct ClientTls(Followed<Credentials>);

/// A certificate with its key, and an authority, as they were in the files at one time.
pub struct Credentials {
    own: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: MutualFiles) -> Result<Self, TlsError> {
        let reader = files.clone();
        let make = move |contents: &Contents| {
            Ok(Credentials { own: files.own.certified_key(contents)?, roots: files.roots(contents)? })
        };
        Followed::open(move || reader.read_contents(), make).map(Self)
    }

    /// What to connect with now. The same allocation until the files have changed.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.0.current()
    }

    /// Looks at the files until the process ends; `purpose` names them in logs and metrics.
    pub async fn follow(self, purpose: &'static str, metrics: Metrics, shutdown: Shutdown) {
        self.0.follow(purpose, metrics, shutdown).await;
    }
}

impl Credentials {
    /// How to connect to one peer, and to nobody else.
    ///
    /// # Errors
    /// [`TlsError::Mismatched`].
    pub fn for_peer(&self, peer: Peer) -> Result<ClientConfig, TlsError> {
        let judge = OnlyServer::new(Arc::clone(&self.roots), peer);
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.own))));
        // A certificate is judged in whole handshakes alone.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

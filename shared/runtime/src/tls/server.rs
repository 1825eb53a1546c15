//! What this service shows to those who connect to it, and whom it lets in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_contract::peer::Peer;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{Contents, MutualFiles, OwnFiles};
use super::followed::Followed;
use super::judge::OnlyClient;
use super::{TlsError, provider};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How long a connection is used at most: what its handshake has judged, such as a certificate's end, is to be true.
const AGE_MAX: Duration = Duration::from_secs(15 * 60);

/// TLS for those who connect. Clones share it.
#[derive(Clone)]
pub struct ServerTls(Followed<ServerConfig>);

/// What a connection's handshake rests on.
#[derive(Clone)]
pub(crate) struct Vouched {
    tls: ServerTls,
    by: Arc<ServerConfig>,
    at: Instant,
}

impl ServerTls {
    /// Lets anybody connect, who learns from the certificate where it has arrived.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: OwnFiles) -> Result<Self, TlsError> {
        let reader = files.clone();
        let make = move |contents: &Contents| {
            let own = files.certified_key(contents)?;
            let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
            Ok(config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(own))))
        };
        Followed::open(move || reader.read_contents(), make).map(Self)
    }

    /// Lets one peer connect, and ends the handshake of everybody else.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn mutual(files: MutualFiles, peer: Peer) -> Result<Self, TlsError> {
        let reader = files.clone();
        let make = move |contents: &Contents| {
            let own = files.own.certified_key(contents)?;
            let judge = OnlyClient::new(files.roots(contents)?, peer.clone())?;
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_client_cert_verifier(Arc::new(judge))
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
            // A certificate is judged in whole handshakes alone.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok(config)
        };
        Followed::open(move || reader.read_contents(), make).map(Self)
    }

    /// Looks at the files until the process ends; `purpose` names them in logs and metrics.
    pub async fn follow(self, purpose: &'static str, metrics: Metrics, shutdown: Shutdown) {
        self.0.follow(purpose, metrics, shutdown).await;
    }

    /// Shakes hands on a new connection. How long that may take is the caller's matter.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<(TlsStream<S>, Vouched)> {
        let by = self.0.current();
        let stream = TlsAcceptor::from(Arc::clone(&by)).accept(stream).await?;
        Ok((stream, Vouched { tls: self.clone(), by, at: Instant::now() }))
    }
}

impl Vouched {
    /// Whether the next request should come over another connection: the files have changed since, or it is old.
    pub(crate) fn is_outdated(&self) -> bool {
        self.at.elapsed() > AGE_MAX || !Arc::ptr_eq(&self.by, &self.tls.0.current())
    }
}

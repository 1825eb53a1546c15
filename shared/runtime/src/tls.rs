//! TLS between services and for their callers: version 1.3 alone (RFC 8446), with keys and certificates from PEM files
//! (RFC 7468) that are read again when they change.
//!
//! ```text
//!  files ──► Followed ──► ServerTls   anybody, or one peer alone
//!                    └──► ClientTls   one peer alone, for each connection
//! ```
//! Services know each other by the URI that a certificate of their private authority names ([`Peer`]), not by host
//! names: an executor is the same behind any gateway. Nothing is resumed between them, so that every connection has
//! been judged by the files as they were when it began.
//!
//! [`Peer`]: aegis_contract::peer::Peer

mod client;
mod files;
mod followed;
mod judge;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;

pub use self::client::{ClientTls, Credentials};
pub use self::files::{MutualFiles, OwnFiles};
pub use self::server::ServerTls;
pub(crate) use self::server::Vouched;

/// Why files cannot be used for TLS. Says nothing of what stands in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is absent, or must not be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what} in PEM", .path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not belong together, or are of a kind that TLS 1.3 does not know.
    #[error("the certificate, its key and the authority cannot be used together: {0}")]
    Mismatched(#[from] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

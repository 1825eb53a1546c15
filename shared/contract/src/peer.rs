//! How services are named to each other in certificates: a URI in the subject alternative name (RFC 5280 section
//! 4.2.1.6). Whatever host a service runs on or is reached through, it is the same service.

use std::fmt;

/// One of the services that meet over mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Whoever signs orders.
    ControlPlane,
    /// Whoever carries them out.
    Executor {
        /// The name of its cluster in targets and policies.
        cluster: String,
    },
}

impl fmt::Display for Peer {
    /// The URI: `aegis://control-plane`, or `aegis://executor/` and the cluster's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("aegis://control-plane"),
            Self::Executor { cluster } => write!(f, "aegis://executor/{cluster}"),
        }
    }
}

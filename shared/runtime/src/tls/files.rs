//! Which files there are, and what is read from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};
use crate::settings::Source;

/// A service's own certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFiles {
    /// The certificate, and those between it and the authority, in this order.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// The same, and the authority that vouches for the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutualFiles {
    /// What this service shows.
    pub own: OwnFiles,
    /// The authority's certificates; several while it changes.
    pub authority: PathBuf,
}

/// What stood in the files at one time.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Empty where there is none.
    authority: Vec<u8>,
}

impl OwnFiles {
    /// Reads both paths from settings of these names; nothing when neither is set. `None` has left a problem.
    pub fn read(source: &mut Source, certificate: &str, key: &str) -> Option<Option<Self>> {
        match [certificate, key].map(|name| source.plain(name).map(PathBuf::from)) {
            [None, None] => Some(None),
            [Some(certificate), Some(key)] => Some(Some(Self { certificate, key })),
            [_, _] => {
                source.problem(certificate, format!("and {key} are set both or neither"));
                None
            }
        }
    }

    pub(super) fn read_contents(&self) -> Result<Contents, TlsError> {
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        Ok(Contents { certificate, key, authority: Vec::new() })
    }

    /// The certificate with its key, which must fit.
    pub(super) fn certified_key(&self, contents: &Contents) -> Result<Arc<CertifiedKey>, TlsError> {
        let Contents { certificate, key, .. } = contents;
        let chain = certificates(&self.certificate, certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| TlsError::Unusable { path: self.key.clone(), what: "private key" })?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider())?))
    }
}

impl MutualFiles {
    /// Reads the three paths from settings of these names; nothing when none is set. `None` has left a problem.
    pub fn read(source: &mut Source, [certificate, key, authority]: [&str; 3]) -> Option<Option<Self>> {
        match [certificate, key, authority].map(|name| source.plain(name).map(PathBuf::from)) {
            [None, None, None] => Some(None),
            [Some(certificate), Some(key), Some(authority)] => {
                Some(Some(Self { own: OwnFiles { certificate, key }, authority }))
            }
            [_, _, _] => {
                source.problem(certificate, format!("and {key} and {authority} are set all or none"));
                None
            }
        }
    }

    pub(super) fn read_contents(&self) -> Result<Contents, TlsError> {
        Ok(Contents { authority: read(&self.authority)?, ..self.own.read_contents()? })
    }

    /// The authority's certificates.
    pub(super) fn roots(&self, contents: &Contents) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority, &contents.authority)? {
            roots.add(certificate)?;
        }
        Ok(Arc::new(roots))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// All certificates of a file; there must be one. The reader's own words may repeat lines of a file that holds a key.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.unwrap_or_default();
    if found.is_empty() {
        return Err(TlsError::Unusable { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

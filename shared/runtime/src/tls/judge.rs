//! Who a peer is: its certificate chains to the private authority, is in force and for its use, and names it.

use std::sync::Arc;

use aegis_contract::peer::Peer;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::provider;

/// A certificate of somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the certificate names {named}, and not {wanted}")]
struct NotThePeer {
    named: String,
    wanted: String,
}

fn require_name(certificate: &CertificateDer<'_>, peer: &Peer) -> Result<(), Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let wanted = peer.to_string();
    let named: Vec<_> = parsed.valid_uri_names().collect();
    if named.contains(&wanted.as_str()) {
        return Ok(());
    }
    let named = if named.is_empty() { "no service".to_owned() } else { named.join(", ") };
    let other = NotThePeer { named, wanted };
    Err(Error::Other(OtherError(Arc::new(other))))
}

/// Lets one peer in, as a client.
#[derive(Debug)]
pub(super) struct OnlyClient {
    chain: Arc<dyn ClientCertVerifier>,
    peer: Peer,
}

impl OnlyClient {
    pub(super) fn new(roots: Arc<RootCertStore>, peer: Peer) -> Result<Self, Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        let chain = chain.map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, peer })
    }
}

impl ClientCertVerifier for OnlyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The peer has one certificate, and strangers need not know whom we believe.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        require_name(end_entity, &self.peer)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Speaks to one peer, as a server, wherever it is reached.
#[derive(Debug)]
pub(super) struct OnlyServer {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    peer: Peer,
}

impl OnlyServer {
    pub(super) fn new(roots: Arc<RootCertStore>, peer: Peer) -> Self {
        Self { roots, algorithms: provider().signature_verification_algorithms, peer }
    }
}

impl ServerCertVerifier for OnlyServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        require_name(end_entity, &self.peer)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

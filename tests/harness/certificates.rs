//! A certificate authority of one's own, and a kubeconfig for each identity it vouches for.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::json;

use crate::paths::{create_private, write_private};

/// Which end of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who connects.
    Client,
    /// Who is connected to.
    Server,
}

/// A folder of keys and certificates, all signed by one authority made for it. Its own certificate is `ca.crt`.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A key and its certificate, as PEM.
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes the folder and the authority.
    pub fn create(folder: &Path) -> Result<Self> {
        create_private(folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "testbed-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        write_private(&folder.join("ca.crt"), &pem)?;

        let service_account = KeyPair::generate()?;
        write_private(&folder.join("service-account.key"), service_account.serialize_pem())?;
        // The API server verifies with the public key alone: it refuses a PKCS#8 EC private key there.
        write_private(&folder.join("service-account.pub"), service_account.public_key_pem())?;
        Ok(Self { folder: folder.to_owned(), pem, issuer: Issuer::new(params, key) })
    }

    /// The path of a file made here, such as `apiserver.crt`.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A certificate of a server on the loopback address, in `<name>.crt` and `<name>.key`.
    pub fn issue_server(&self, name: &str, common_name: &str) -> Result<()> {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned()])?;
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 96, 0, 1)] {
            params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let identity = self.issue(&params)?;
        write_private(&self.path(&format!("{name}.crt")), identity.certificate)?;
        write_private(&self.path(&format!("{name}.key")), identity.key)
    }

    /// A certificate of a service that is known by a URI, in `<name>.crt` and `<name>.key`.
    pub fn issue_service(&self, name: &str, uri: &str, end: End) -> Result<()> {
        self.issue_named(name, vec![SanType::URI(uri.try_into()?)], end, 4000)
    }

    /// The same that is not good any more.
    pub fn issue_expired(&self, name: &str, uri: &str, end: End) -> Result<()> {
        self.issue_named(name, vec![SanType::URI(uri.try_into()?)], end, 2021)
    }

    /// A certificate of a service that is known by a host's name alone.
    pub fn issue_host(&self, name: &str, host: &str, end: End) -> Result<()> {
        self.issue_named(name, vec![SanType::DnsName(host.try_into()?)], end, 4000)
    }

    fn issue_named(&self, name: &str, names: Vec<SanType>, end: End, until: i32) -> Result<()> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names = names;
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![match end {
            End::Client => ExtendedKeyUsagePurpose::ClientAuth,
            End::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let identity = self.issue(&params)?;
        write_private(&self.path(&format!("{name}.crt")), identity.certificate)?;
        write_private(&self.path(&format!("{name}.key")), identity.key)
    }

    /// An HTTP client that believes this authority alone.
    pub fn http(&self) -> Result<reqwest::Client> {
        let root = reqwest::Certificate::from_pem(self.pem.as_bytes())?;
        let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
        Ok(builder.tls_certs_only([root]).build()?)
    }

    /// What a database's URL ends with that asks for TLS with a server that this authority vouches for.
    #[must_use]
    pub fn verify_full(&self) -> String {
        format!("?sslmode=verify-full&sslrootcert={}", self.path("ca.crt").display())
    }

    /// The certificate of the authority itself, as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate that signs in as `user`.
    pub(crate) fn issue_client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params.clone().signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// Writes a kubeconfig that signs in with a client certificate.
    pub(crate) fn write_kubeconfig(&self, path: &Path, server: &str, identity: &Identity) -> Result<()> {
        let user = json!({
            "client-certificate-data": BASE64_STANDARD.encode(&identity.certificate),
            "client-key-data": BASE64_STANDARD.encode(&identity.key),
        });
        write_private(path, kubeconfig(server, Some(&self.pem), &user)?)
    }
}

/// A kubeconfig with one cluster and one user. JSON is YAML, so no YAML writer is needed.
pub(crate) fn kubeconfig(
    server: &str,
    authority_pem: Option<&str>,
    user: &serde_json::Value,
) -> Result<Vec<u8>> {
    let mut cluster = json!({ "server": server });
    if let Some(pem) = authority_pem {
        cluster["certificate-authority-data"] = json!(BASE64_STANDARD.encode(pem));
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "aegis",
        "contexts": [{ "name": "aegis", "context": { "cluster": "aegis", "user": "user" } }],
        "clusters": [{ "name": "aegis", "cluster": cluster }],
        "users": [{ "name": "user", "user": user }],
    });
    Ok(serde_json::to_vec_pretty(&config)?)
}

/// The PEM text inside a kubeconfig's base64.
pub(crate) fn decode_pem(encoded: &str) -> Result<String> {
    Ok(String::from_utf8(BASE64_STANDARD.decode(encoded)?)?)
}

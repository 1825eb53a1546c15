//! `aegisctl ca`: a private authority in a folder, and certificates by which services know each other.
//!
//! Asks no control plane: whoever holds the folder can name any service.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_contract::peer::Peer;
use aegis_contract::target::is_dns_label;
use aegis_runtime::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::json;

use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::Format;

/// What the authority is called in what it signs.
const NAME: &str = "Aegis private authority";
const AUTHORITY: &str = "ca";
const AUTHORITY_DAYS: u32 = 3_650;
const DAYS: u32 = 30;
/// Longest a service's certificate may be good: nothing but its end takes one back.
const DAYS_MAX: i64 = 398;
const AUTHORITY_DAYS_MAX: i64 = 7_300;
const DAY: Duration = Duration::from_secs(86_400);
/// How far a peer's clock may be behind.
const BEHIND: Duration = Duration::from_secs(300);

/// Make a private authority, and certificates for services.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ca {
    /// Make an authority in a new folder: ca.crt, which services read, and ca.key, which only you do
    #[command(after_help = "\
Example:
  aegisctl ca init authority

Keep the folder where no service runs. Services read ca.crt alone, as EXECUTOR_CA_FILE and TLS_CLIENT_CA_FILE.")]
    Init(Init),
    /// Issue a certificate and its key: NAME.crt and NAME.key
    #[command(after_help = "\
Example:
  aegisctl ca issue authority --control-plane --into control-plane-tls
  aegisctl ca issue authority --executor prod-1 --into prod-1-tls
  aegisctl ca issue authority --server postgres.internal --server 10.0.0.5 --into postgres-tls

To renew one, issue it again into another folder and copy both files over the old ones: services take them within
seconds, without a restart.")]
    Issue(Issue),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder, which is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What its certificate says of how long it is good; services look at the end of what it issued alone
    #[arg(long, value_name = "DAYS", default_value_t = AUTHORITY_DAYS,
          value_parser = clap::value_parser!(u32).range(1..=AUTHORITY_DAYS_MAX))]
    days: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    /// The authority's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    holder: Holder,
    /// How long the certificate is good; nothing else ends it
    #[arg(long, value_name = "DAYS", default_value_t = DAYS,
          value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    days: u32,
    /// Folder for both files; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
}

/// Whom a certificate is for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Holder {
    /// For control planes, who connect to executors
    #[arg(long)]
    control_plane: bool,
    /// For the executor of this cluster
    #[arg(long, value_name = "CLUSTER")]
    executor: Option<String>,
    /// For a server known by this DNS name or address, such as Postgres or the API; once for each of its names
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(command: &Ca, output: Option<Format>) -> Result<Exit, Failure> {
    let (stem, paths, until) = match command {
        Ca::Init(init) => (AUTHORITY.to_owned(), make_authority(init)?, init.days),
        Ca::Issue(issue) => {
            let (stem, params) = issue.holder.params()?;
            (stem.clone(), issue_certificate(issue, &stem, params)?, issue.days)
        }
    };
    let [certificate, key] = paths.map(|path| path.display().to_string());
    let made = json!({ "name": stem, "certificate": certificate, "key": key, "days": until });
    output.unwrap_or(Format::Table).document(&made, &[])?;
    Ok(Exit::Done)
}

fn make_authority(init: &Init) -> Result<[PathBuf; 2], Failure> {
    let mut params = authority_params();
    set_time(&mut params, init.days);
    let key = KeyPair::generate().map_err(|error| impossible(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| impossible(&error))?;
    make_folder(&init.folder)?;
    write_pair(&init.folder, AUTHORITY, &certificate.pem(), &key.serialize_pem())
}

fn issue_certificate(
    issue: &Issue,
    stem: &str,
    mut params: CertificateParams,
) -> Result<[PathBuf; 2], Failure> {
    set_time(&mut params, issue.days);
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, stem);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let authority = read_authority(&issue.folder)?;
    let key = KeyPair::generate().map_err(|error| impossible(&error))?;
    let certificate = params.signed_by(&key, &authority).map_err(|error| impossible(&error))?;
    make_folder(&issue.into)?;
    write_pair(&issue.into, stem, &certificate.pem(), &key.serialize_pem())
}

impl Holder {
    /// What the files are called, and whom the certificate names.
    fn params(&self) -> Result<(String, CertificateParams), Failure> {
        let mut params = CertificateParams::default();
        let (stem, purpose) = match (self.control_plane, &self.executor) {
            (true, _) => {
                params.subject_alt_names = vec![uri(&Peer::ControlPlane)?];
                ("control-plane".to_owned(), ExtendedKeyUsagePurpose::ClientAuth)
            }
            (false, Some(cluster)) if is_dns_label(cluster) => {
                params.subject_alt_names = vec![uri(&Peer::Executor { cluster: cluster.clone() })?];
                (format!("executor-{cluster}"), ExtendedKeyUsagePurpose::ServerAuth)
            }
            (false, Some(cluster)) => {
                let text = format!("`{cluster}` is no cluster's name: 1 to 63 of a-z, 0-9 and '-'");
                return Err(Failure::usage(text));
            }
            (false, None) => {
                let names = self.server.iter().map(|name| server_name(name));
                params.subject_alt_names = names.collect::<Result<_, _>>()?;
                let first = self.server.first().map(String::as_str).unwrap_or_default();
                (first.replace([':', '*'], "_"), ExtendedKeyUsagePurpose::ServerAuth)
            }
        };
        params.extended_key_usages = vec![purpose];
        Ok((stem, params))
    }
}

fn uri(peer: &Peer) -> Result<SanType, Failure> {
    Ok(SanType::URI(peer.to_string().try_into().map_err(|error| impossible(&error))?))
}

/// A DNS name (RFC 1123 section 2.1) or an address.
fn server_name(text: &str) -> Result<SanType, Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let labels = text.strip_prefix("*.").unwrap_or(text);
    if labels.len() > 253 || !labels.split('.').all(is_dns_label) {
        return Err(Failure::usage(format!("`{text}` is neither a DNS name in lower case nor an address")));
    }
    Ok(SanType::DnsName(text.try_into().map_err(|error| impossible(&error))?))
}

/// The authority as it signs; the same for all that were made here.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn read_authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, Failure> {
    let path = folder.join(format!("{AUTHORITY}.key"));
    let pem = fs::read_to_string(&path).map_err(|source| {
        Failure::from(Cause::File { path: path.clone(), source })
            .with_note("`aegisctl ca init DIR` makes an authority")
    })?;
    let key = KeyPair::from_pem(&pem)
        .map_err(|_| Failure::usage(format!("{} holds no private key in PEM", path.display())))?;
    Ok(Issuer::new(authority_params(), key))
}

fn set_time(params: &mut CertificateParams, days: u32) {
    let now = u64::try_from(clock::now().as_second()).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    params.not_before = now - BEHIND;
    params.not_after = now + DAY * days;
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| Cause::Unwritten { path: folder.to_owned(), source }.into())
}

/// Writes both files, or neither, and never over what is there.
fn write_pair(folder: &Path, stem: &str, certificate: &str, key: &str) -> Result<[PathBuf; 2], Failure> {
    let paths = ["crt", "key"].map(|ending| folder.join(format!("{stem}.{ending}")));
    let mut written = Vec::new();
    for (path, (text, mode)) in paths.iter().zip([(certificate, 0o644), (key, 0o600)]) {
        if let Err(source) = write_new(path, text, mode) {
            for path in written {
                // The error that is told is the first one.
                let _ = fs::remove_file(path);
            }
            let is_there = source.kind() == io::ErrorKind::AlreadyExists;
            let failure = Failure::from(Cause::Unwritten { path: path.clone(), source });
            return Err(match is_there {
                true => {
                    failure.with_note("nothing is written over: name another folder, or move the file away")
                }
                false => failure,
            });
        }
        written.push(path);
    }
    Ok(paths)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // What is left behind is ours and of no use.
        let _ = fs::remove_file(path);
    }
    written
}

fn impossible(error: &rcgen::Error) -> Failure {
    Failure::usage(format!("the certificate cannot be made: {error}"))
}

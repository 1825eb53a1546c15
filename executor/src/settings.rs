//! The executor's settings. Each may stand in a file instead: `NAME_FILE`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_contract::dsse::{OrderKey, OrderKeys, ReceiptKey};
use aegis_contract::key::{KeyError, SharedSecret};
use aegis_contract::target::is_dns_label;
use aegis_evidence::{Head, LogKeys, VerifierKey};
use aegis_runtime::settings::{SettingsError, Source};
use aegis_runtime::tls::MutualFiles;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::allowlist_file;
use crate::verify::allowlist::Rules;

/// `ROLLBACK_SOAK_SECONDS` when it is not set.
const ROLLBACK_SOAK_SECONDS_DEFAULT: u32 = 300;

/// What `serve` needs.
pub(crate) struct Settings {
    /// `LISTEN_ADDRESS`: where orders are taken. Default `127.0.0.1:4000`.
    pub(crate) listen_address: SocketAddr,
    /// What may change while it serves.
    pub(crate) secrets: Secrets,
    /// `OBSERVE_ADDRESS`: where health and metrics, and nothing else, are answered without TLS too: for probes, which
    /// have no certificate. Default: nowhere else.
    pub(crate) observe_address: Option<SocketAddr>,
    /// `TLS_CERTIFICATE_FILE`: path of the certificate to serve with, in PEM, which names `aegis://executor/` and the
    /// cluster; then there is no plain HTTP at `LISTEN_ADDRESS`, and only the control plane may connect. Read again when
    /// it changes ([operations.md](operations.md#certificates)). Default: plain HTTP.
    /// `TLS_KEY_FILE`: path of its private key, in PEM.
    /// `TLS_CLIENT_CA_FILE`: path of the certificates of the authority that vouches for the control plane, in PEM.
    pub(crate) tls: Option<MutualFiles>,
    /// `CLUSTER`: the name under which the control plane knows this cluster.
    pub(crate) cluster: String,
    /// `LOG_KEYS`: the keys of the audit log, separated by commas, as `aegis-control-plane log-key` prints them.
    /// Nothing is begun that is not shown to be in that log.
    pub(crate) log_keys: LogKeys,
    /// `LOG_FIRST_HEAD`: where to begin with a log that the ledger holds no head of: `empty`, or a checkpoint that you
    /// have checked. Read only then.
    pub(crate) log_first_head: Option<Head>,
    /// `ALLOWED_NAMESPACES`: where every action is allowed: exact names, separated by commas, at most 500. None means
    /// nothing. The control plane is told of the namespaces.
    pub(crate) rules: Rules,
    /// `ALLOWLIST_FILE`: path of the [allowlist](operations.md#the-allowlist): what may be done where, instead of
    /// `ALLOWED_NAMESPACES`. One of the two is set.
    pub(crate) allowlist_file: Option<PathBuf>,
    /// `DANGEROUS_ALLOW_SYSTEM_NAMESPACES`: act in `kube-*` and `aegis-*` too, where they are listed. Default `false`.
    pub(crate) dangerous_allow_system_namespaces: bool,
    /// `DANGEROUS_ALLOW_EXCESS_RIGHTS`: run even with more rights in the cluster than are needed. Default `false`.
    pub(crate) dangerous_allow_excess_rights: bool,
    /// `KUBECONFIG_FILE`: path of a kubeconfig; an ambient `KUBECONFIG` is never read. Default: the service account of
    /// the pod.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `ROLLBACK_SOAK_SECONDS`: how long all pods must have been available with a template before a rollback returns to
    /// it; 0: every revision is good enough. Workloads of the allowed namespaces are listed every third of it, at
    /// least every 30 s, in pages of 250. Default 300.
    pub(crate) soak: Duration,
    /// `ROLLBACK_TOKEN_FILE`: path of a token of the account that writes rollbacks
    /// ([k8s/README.md](../k8s/README.md#rollbacks)). Default: rollbacks are refused.
    pub(crate) rollback_token: Option<PathBuf>,
    /// `LOG_LEVEL`: a filter such as `info` or `aegis_executor=debug,info`. Default `info`.
    pub(crate) log_level: String,
    /// `PRODUCTION`: whether to refuse to start with what is for trying things out: secrets of examples, secrets that
    /// are equal, orders without TLS, `DANGEROUS_…` switches, and logs that show too much. Default `false`.
    pub(crate) production: bool,
}

/// Secrets that are read again while `serve` runs, from the files that hold them.
pub(crate) struct Secrets {
    /// Of the values they were read from ([`Source::fingerprint`]).
    pub(crate) fingerprint: u64,
    /// `DATABASE_URL`: the ledger, as the role `aegis_executor` or a member of it; a database of its own, best on a
    /// server of its own. With `?sslmode=verify-full&sslrootcert=/PATH` over TLS.
    pub(crate) database: PgConnectOptions,
    /// `ORDER_KEY_ID`: the name of the key that orders are signed with.
    /// `ORDER_KEY`: that key, in base64.
    /// `ORDER_KEY_PREVIOUS_ID`: the name of another one that is accepted, during a change.
    /// `ORDER_KEY_PREVIOUS`: that key, in base64.
    pub(crate) order_keys: OrderKeys,
    /// `RECEIPT_KEY`: Ed25519 in PKCS#8 PEM.
    pub(crate) receipt_key: ReceiptKey,
}

impl Secrets {
    /// Reads and checks all of them; `None` has left a problem behind. Nothing else has been read from `source`.
    pub(crate) fn read(source: &mut Source) -> Option<Self> {
        let database = read_database(source);
        let order_keys = read_order_keys(source);
        let receipt_key = read_receipt_key(source);
        let fingerprint = source.fingerprint();
        Some(Self { fingerprint, database: database?, order_keys: order_keys?, receipt_key: receipt_key? })
    }
}

/// What `migrate` needs.
pub(crate) struct MigrateSettings {
    /// `DATABASE_OWNER_URL`: only for `migrate`: the ledger's database, as the role that owns it.
    pub(crate) database_owner_url: SecretString,
    /// `LOG_LEVEL`: a filter such as `info`.
    pub(crate) log_level: String,
}

impl Settings {
    /// Reads all settings and reports all problems together.
    pub(crate) fn read(mut source: Source) -> Result<Self, SettingsError> {
        let secrets = Secrets::read(&mut source);
        let listen_address = source.or("LISTEN_ADDRESS", SocketAddr::from(([127, 0, 0, 1], 4000)));
        let observe_address = source.optional("OBSERVE_ADDRESS");
        let tls =
            MutualFiles::read(&mut source, ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"]);
        let cluster = read_cluster(&mut source);
        let log_keys = read_log_keys(&mut source);
        let log_first_head = log_keys.as_ref().map(|keys| read_first_head(&mut source, keys));
        let allowlist_file = read_path(&source, "ALLOWLIST_FILE");
        let rules = read_rules(&mut source, allowlist_file.as_deref());
        let dangerous_allow_system_namespaces = source.or("DANGEROUS_ALLOW_SYSTEM_NAMESPACES", false);
        let dangerous_allow_excess_rights = source.or("DANGEROUS_ALLOW_EXCESS_RIGHTS", false);
        let kubeconfig = read_path(&source, "KUBECONFIG_FILE");
        let rollback_token = read_path(&source, "ROLLBACK_TOKEN_FILE");
        let soak =
            Duration::from_secs(source.or("ROLLBACK_SOAK_SECONDS", ROLLBACK_SOAK_SECONDS_DEFAULT).into());
        let log_level = source.or("LOG_LEVEL", "info".to_owned());
        let production = source.production("PRODUCTION");
        if production && matches!(tls, Some(None)) {
            let files = "TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_CLIENT_CA_FILE";
            source.problem("PRODUCTION", format!("needs {files}: orders come by mutual TLS"));
        }
        let settings = (|| {
            Some(Self {
                secrets: secrets?,
                listen_address,
                observe_address,
                tls: tls?,
                cluster: cluster?,
                log_keys: log_keys?,
                log_first_head: log_first_head?,
                rules: rules?,
                allowlist_file,
                dangerous_allow_system_namespaces,
                dangerous_allow_excess_rights,
                kubeconfig,
                soak,
                rollback_token,
                log_level,
                production,
            })
        })();
        source.finish(settings)
    }
}

impl MigrateSettings {
    /// Reads all settings and reports all problems together.
    pub(crate) fn read(mut source: Source) -> Result<Self, SettingsError> {
        let database_owner_url = source.secret("DATABASE_OWNER_URL");
        let log_level = source.or("LOG_LEVEL", "info".to_owned());
        source.finish(database_owner_url.map(|database_owner_url| Self { database_owner_url, log_level }))
    }
}

fn read_database(source: &mut Source) -> Option<PgConnectOptions> {
    let url = source.secret("DATABASE_URL")?;
    // The parser's message may repeat the address with its password.
    let form =
        |_| source.problem("DATABASE_URL", "is not of the form postgres://ROLE:PASSWORD@HOST:PORT/DATABASE");
    url.expose_secret().parse().map_err(form).ok()
}

fn read_cluster(source: &mut Source) -> Option<String> {
    let cluster: String = source.required("CLUSTER")?;
    if !is_dns_label(&cluster) {
        source.problem("CLUSTER", "must be 1 to 63 of a-z, 0-9 and '-'");
        return None;
    }
    Some(cluster)
}

fn read_order_keys(source: &mut Source) -> Option<OrderKeys> {
    let current_id = source.required::<String>("ORDER_KEY_ID");
    let current_secret = source.secret("ORDER_KEY");
    let previous_id = source.optional::<String>("ORDER_KEY_PREVIOUS_ID");
    let previous_secret = source.optional_secret("ORDER_KEY_PREVIOUS");
    let previous = match (previous_id, previous_secret) {
        (None, None) => None,
        (Some(id), Some(secret)) => Some(read_order_key(source, "ORDER_KEY_PREVIOUS", id, &secret)?),
        _ => {
            source.problem("ORDER_KEY_PREVIOUS", "and ORDER_KEY_PREVIOUS_ID are set both or neither");
            return None;
        }
    };
    let current = read_order_key(source, "ORDER_KEY", current_id?, &current_secret?)?;
    or_problem(source, "ORDER_KEY", OrderKeys::new(current, previous))
}

fn read_order_key(source: &mut Source, name: &str, id: String, secret: &SecretString) -> Option<OrderKey> {
    let key = SharedSecret::from_base64(secret.expose_secret()).and_then(|secret| OrderKey::new(id, secret));
    or_problem(source, name, key)
}

fn read_receipt_key(source: &mut Source) -> Option<ReceiptKey> {
    let pem = source.secret("RECEIPT_KEY")?;
    or_problem(source, "RECEIPT_KEY", ReceiptKey::from_pkcs8_pem(pem.expose_secret()))
}

fn read_log_keys(source: &mut Source) -> Option<LogKeys> {
    let texts = source.list("LOG_KEYS");
    let keys: Result<Vec<VerifierKey>, _> = texts.iter().map(|text| text.parse()).collect();
    let keys = keys.map_err(|error| error.to_string());
    match keys.and_then(|keys| LogKeys::new(keys).map_err(|error| error.to_string())) {
        Ok(keys) => Some(keys),
        Err(error) => {
            let remedy = "set what `aegis-control-plane log-key` prints";
            source.problem("LOG_KEYS", format!("is not usable: {error}; {remedy}"));
            None
        }
    }
}

fn read_first_head(source: &mut Source, keys: &LogKeys) -> Option<Head> {
    let text = source.optional::<String>("LOG_FIRST_HEAD")?;
    if text.trim() == "empty" {
        return Some(Head::EMPTY);
    }
    // Settings lose the line break they end with, and a note needs its own.
    match keys.open(format!("{}\n", text.trim_end()).as_bytes()) {
        Ok(checkpoint) => Some(checkpoint.head),
        Err(error) => {
            source.problem("LOG_FIRST_HEAD", format!("is neither `empty` nor a checkpoint: {error}"));
            None
        }
    }
}

fn or_problem<T>(source: &mut Source, name: &str, result: Result<T, KeyError>) -> Option<T> {
    result.map_err(|error| source.problem(name, format!("is not usable: {error}"))).ok()
}

fn read_rules(source: &mut Source, file: Option<&Path>) -> Option<Rules> {
    let namespaces = source.list("ALLOWED_NAMESPACES");
    let (name, rules) = match file {
        None => ("ALLOWED_NAMESPACES", Rules::everything_in(namespaces).map_err(|error| error.to_string())),
        Some(_) if !namespaces.is_empty() => {
            ("ALLOWED_NAMESPACES", Err("ALLOWLIST_FILE says what is allowed too; set one of them".to_owned()))
        }
        Some(path) => {
            let read = allowlist_file::read(path);
            ("ALLOWLIST_FILE", read.map_err(|error| format!("{}: {error}", path.display())))
        }
    };
    rules.map_err(|error| source.problem(name, format!("is not usable: {error}"))).ok()
}

// The setting is the path itself: what stands there is read again, or names further files relative to where it stands.
fn read_path(source: &Source, name: &str) -> Option<PathBuf> {
    source.plain(name).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use aegis_contract::strict::base64_encode;
    use aegis_evidence::{SignerKey, sign_checkpoint};

    use super::*;

    fn sound() -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", "postgres://localhost/x".to_owned()),
            ("CLUSTER", "local".to_owned()),
            ("ORDER_KEY_ID", "k1".to_owned()),
            ("ORDER_KEY", base64_encode(&[1; 32])),
            ("RECEIPT_KEY", ReceiptKey::from_seed(&[3; 32]).to_pkcs8_pem()),
            ("ALLOWED_NAMESPACES", "shop, bank".to_owned()),
            ("LOG_KEYS", log_signer().verifier().to_string()),
            ("KUBECONFIG_FILE", "/some/where/kubeconfig".to_owned()),
        ]
    }

    fn log_signer() -> SignerKey {
        SignerKey::from_seed("example.com/audit", &[4; 32]).unwrap()
    }

    fn read(pairs: Vec<(&'static str, String)>) -> Result<Settings, SettingsError> {
        Settings::read(Source::from_pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value))))
    }

    fn problem(pairs: Vec<(&'static str, String)>) -> String {
        read(pairs).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn sound_settings_are_read() {
        let settings = read(sound()).unwrap();
        assert_eq!(settings.listen_address.to_string(), "127.0.0.1:4000");
        assert_eq!(settings.rules, Rules::everything_in(vec!["bank".to_owned(), "shop".to_owned()]).unwrap());
        assert_eq!((settings.allowlist_file, settings.rollback_token), (None, None));
        assert_eq!(settings.kubeconfig, Some(PathBuf::from("/some/where/kubeconfig")));
    }

    #[test]
    fn every_problem_is_named_and_no_secret_shown() {
        let mut pairs = sound();
        pairs[1].1 = "Not A Label".to_owned();
        pairs[3].1 = "c2hvcnQ=".to_owned();
        pairs[4].1 = "s3cret-pem".to_owned();
        pairs[5].1 = "shop,Bank".to_owned();
        pairs.push(("TLS_KEY_FILE", "/some/where.key".to_owned()));
        let text = problem(pairs);
        for name in ["CLUSTER", "ORDER_KEY ", "RECEIPT_KEY", "ALLOWED_NAMESPACES", "TLS_CLIENT_CA_FILE"] {
            assert!(text.contains(name), "{name}: {text}");
        }
        assert!(!text.contains("s3cret") && !text.contains("c2hvcnQ"), "{text}");
    }

    #[test]
    fn the_allowlist_stands_in_one_place_and_its_file_must_be_usable() {
        let folder = std::env::temp_dir().join(format!("aegis-allowlist-{}", std::process::id()));
        let path = folder.to_str().unwrap().to_owned();
        let with = |namespaces: &str| {
            let mut pairs = sound();
            pairs[5].1 = namespaces.to_owned();
            pairs.push(("ALLOWLIST_FILE", path.clone()));
            pairs
        };
        assert!(problem(with("")).contains("it cannot be read"));
        std::fs::write(&folder, r#"{"schema": "aegis.allowlist/v1", "namespaces": {"shop": ["explode"]}}"#)
            .unwrap();
        assert!(problem(with("")).contains("explode"));
        std::fs::write(&folder, r#"{"schema": "aegis.allowlist/v1", "namespaces": {"shop": ["restart"]}}"#)
            .unwrap();
        let settings = read(with("")).unwrap();
        assert_eq!(settings.allowlist_file, Some(folder.clone()));
        assert_ne!(settings.rules, Rules::default());
        assert!(problem(with("shop")).contains("set one of them"));
        std::fs::remove_file(folder).unwrap();
    }

    #[test]
    fn the_first_head_is_empty_or_a_checkpoint_of_the_log() {
        let with = |text: &str| {
            let mut pairs = sound();
            pairs.push(("LOG_FIRST_HEAD", text.to_owned()));
            pairs
        };
        let head = Head { size: 7, root: aegis_evidence::Hash::leaf(b"x") };
        let note = sign_checkpoint(&head, &[&log_signer()]).unwrap();
        assert_eq!(read(sound()).unwrap().log_first_head, None);
        assert_eq!(read(with("empty")).unwrap().log_first_head, Some(Head::EMPTY));
        for note in [note.as_str(), note.trim_end()] {
            assert_eq!(read(with(note)).unwrap().log_first_head, Some(head));
        }
        let other = SignerKey::from_seed("example.com/audit", &[5; 32]).unwrap();
        let foreign = sign_checkpoint(&head, &[&other]).unwrap();
        for text in ["7", foreign.as_str(), &note.replace("\n7\n", "\n8\n")] {
            assert!(problem(with(text)).contains("LOG_FIRST_HEAD"), "{text}");
        }
        let mut pairs = sound();
        pairs.retain(|(name, _)| *name != "LOG_KEYS");
        assert!(problem(pairs).contains("aegis-control-plane log-key"));
    }

    #[test]
    fn a_previous_key_needs_its_id_and_must_differ() {
        let mut pairs = sound();
        pairs.push(("ORDER_KEY_PREVIOUS", base64_encode(&[2; 32])));
        assert!(problem(pairs.clone()).contains("ORDER_KEY_PREVIOUS"));
        pairs.push(("ORDER_KEY_PREVIOUS_ID", "k0".to_owned()));
        assert!(read(pairs.clone()).is_ok());
        pairs.last_mut().unwrap().1 = "k1".to_owned();
        assert!(problem(pairs).contains("ORDER_KEY"));
    }
}

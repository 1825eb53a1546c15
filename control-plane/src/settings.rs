//! What the control plane reads from its environment. Each name may instead name a file: `NAME_FILE`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use aegis_contract::action::DEADLINE_SECONDS_MAX;
use aegis_contract::order::ORDER_LIFETIME_SECONDS_MAX;
use aegis_runtime::http::Bounds;
use aegis_runtime::http::address::Proxies;
use aegis_runtime::settings::{SettingsError, Source};
use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::client::mirrors::Mirror;
use crate::seal::{MasterKey, MasterKeys};
use crate::service::policies::activation::ActivationRules;
use crate::service::second_factor::Demand;
use crate::throttle::{Rates, shared};

/// Fewest bytes of `JWT_SECRET`: the output of its MAC.
const JWT_SECRET_BYTES_MIN: usize = 32;
const ORDER_LIFETIME_SECONDS: u32 = 30;
/// Long enough for a container that ends at once to have shown it.
const SOAK_SECONDS: u32 = 5;
const MIRROR_SECONDS: u64 = 60;
const MIRROR_SECONDS_MAX: u64 = 86_400;
const AUDIT_LOG_ORIGIN: &str = "aegis.local/audit";

/// Settings of `serve`.
pub struct ServeSettings {
    /// `LISTEN_ADDRESS`: where to serve. Default `127.0.0.1:3000`.
    pub listen_address: SocketAddr,
    /// `DATABASE_URL`: Postgres, as the role `aegis_control_plane`.
    pub database: PgConnectOptions,
    /// `DATABASE_CAPACITY_BYTES`: how large the database may become. At 90 % of it new work is turned away, so that
    /// running work can end. Default: no such limit.
    pub database_capacity_bytes: Option<NonZeroU64>,
    /// `MASTER_KEY`: standard base64 of 32 bytes; stored secrets are encrypted under it.
    pub master_key: SecretString,
    /// `MASTER_KEY_PREVIOUS`: the one before, while it is changed ([operations.md](operations.md#the-master-key)).
    /// Default: none.
    pub master_keys: MasterKeys,
    /// `AUDIT_LOG_ORIGIN`: what the audit log is called in its checkpoints, best a name of yours without scheme, such
    /// as `example.com/aegis`. The same for all replicas, and for as long as nobody puts a backup back. Default
    /// `aegis.local/audit`.
    pub log_origin: String,
    /// `JWT_SECRET`: at least 32 bytes; signs access tokens.
    pub jwt_secret: SecretString,
    /// `SECOND_FACTOR`: `required`: nobody approves, activates policy, changes keys or manages people without a second
    /// factor; `when-enrolled`: who has none does ([operations.md](operations.md#second-factors)). Default
    /// `when-enrolled`.
    pub second_factors: Demand,
    /// `PUBLIC_AUTHORITIES`: host and port as callers name them, separated by commas; signatures cover them. Default:
    /// the listening address, and `localhost` when that is a loopback address.
    pub public_authorities: Vec<String>,
    /// `ORDER_LIFETIME_SECONDS`: how long an order may be begun, 1 to 60. Default 30.
    pub order_lifetime: SignedDuration,
    /// `SOAK_SECONDS`: how long a target must stay as wanted before an action has succeeded, 0 to 3,600. Default 5.
    pub soak_seconds: u32,
    /// `DANGEROUS_ALLOW_PRIVATE_WEBHOOKS`: also tell receivers in private networks and on this machine,
    /// there without TLS ([webhooks.md](webhooks.md)). Whoever manages webhooks can then make this process call its
    /// surroundings. Default `false`.
    pub dangerous_allow_private_webhooks: bool,
    /// `POLICY_FOUR_EYES`: whether nobody may activate a policy version they stored themselves
    /// ([policy-tools.md](policy-tools.md)). Default `false`.
    /// `POLICY_REPLAY_DAYS`: over how many days an activation must name a replay of what will be active. Default 0:
    /// none is asked for.
    pub activation_rules: ActivationRules,
    /// `CHECKPOINT_MIRRORS`: where the newest checkpoint is kept besides, separated by commas: `file:/PATH`, or a URL
    /// ([audit-log.md](audit-log.md#checkpoints-elsewhere)). Default: nowhere.
    pub mirrors: Vec<Mirror>,
    /// `CHECKPOINT_MIRROR_SECONDS`: how often it is brought there, 1 to 86,400. Default 60.
    pub mirror_period: Duration,
    /// `THROTTLES`: how many requests a minute each caller may make, by class, separated by commas, such as
    /// `read=600,sign-in=20` ([operations.md](operations.md#throttles)). Default: `sign-in=60`, `refused=300`,
    /// `public=600`, `read=6000`, `write=600`, `heal=6000`, `search=300`, `export=30`.
    pub throttles: Rates,
    /// `REDIS_URL`: where replicas share throttles, as `redis://:PASSWORD@HOST:PORT`. Default: each has its own.
    pub redis: Option<redis::Client>,
    /// `TRUSTED_PROXIES`: addresses and networks, separated by commas, whose `X-Forwarded-For` is believed. Default:
    /// none; who connects is the caller.
    /// `CONNECTIONS_MAX`: connections at once. Each takes a file descriptor. Default 4096.
    /// `CONNECTIONS_PER_ADDRESS_MAX`: of one address, or of one /64 of IPv6; trusted proxies excepted. Default 1024.
    /// `REQUESTS_MAX`: requests worked on at once. Default 1024.
    /// `IDLE_SECONDS_MAX`: how long a connection may take to bring the head of its next request. Default 100.
    /// `SLOW_SECONDS_MAX`: how long a body may take to arrive, and an answer may wait for its reader. Default 30.
    /// `REQUEST_SECONDS_MAX`: how long a request may be worked on. Default 180.
    pub bounds: Bounds,
    /// `LOG_LEVEL`: a filter such as `info` or `aegis_control_plane=debug,info`. Default `info`.
    pub log_level: String,
}

/// Settings of the commands that write into the database and leave.
pub struct CommandSettings {
    /// `DATABASE_URL`: Postgres, as the application's role.
    pub database: PgConnectOptions,
    /// `MASTER_KEY`, and `MASTER_KEY_PREVIOUS` where it is set.
    pub master_keys: MasterKeys,
}

impl ServeSettings {
    /// Reads and checks all of them.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn read(mut source: Source) -> Result<Self, SettingsError> {
        let listen_address = source.or("LISTEN_ADDRESS", SocketAddr::from(([127, 0, 0, 1], 3000)));
        let database = database(&mut source, "DATABASE_URL");
        let database_capacity_bytes = source.optional("DATABASE_CAPACITY_BYTES");
        let master_key = source.secret("MASTER_KEY");
        let master_keys = master_keys(&mut source, master_key.as_ref());
        let log_origin = log_origin(&mut source, master_keys.as_ref());
        let jwt_secret = jwt_secret(&mut source, master_key.as_ref());
        let second_factors = source.or("SECOND_FACTOR", Demand::default());
        let public_authorities = match source.list("PUBLIC_AUTHORITIES") {
            listed if listed.is_empty() => default_authorities(listen_address),
            listed => listed,
        };
        let order_lifetime = order_lifetime(&mut source);
        let soak_seconds = soak_seconds(&mut source);
        let dangerous_allow_private_webhooks = source.or("DANGEROUS_ALLOW_PRIVATE_WEBHOOKS", false);
        let activation_rules = ActivationRules {
            four_eyes: source.or("POLICY_FOUR_EYES", false),
            replay: SignedDuration::from_hours(24 * i64::from(source.or("POLICY_REPLAY_DAYS", 0_u16))),
        };
        let mirrors = mirrors(&mut source);
        let mirror_period = mirror_period(&mut source);
        let throttles = reading(&mut source, "THROTTLES", Rates::read);
        let redis = redis(&mut source);
        let bounds = bounds(&mut source);
        let log_level = source.or("LOG_LEVEL", "info".to_owned());
        let settings = (|| {
            Some(Self {
                listen_address,
                database: database?,
                database_capacity_bytes,
                master_key: master_key?,
                master_keys: master_keys?,
                log_origin: log_origin?,
                jwt_secret: jwt_secret?,
                second_factors,
                public_authorities,
                order_lifetime: order_lifetime?,
                soak_seconds: soak_seconds?,
                dangerous_allow_private_webhooks,
                activation_rules,
                mirrors: mirrors?,
                mirror_period: mirror_period?,
                throttles: throttles?,
                redis: redis?,
                bounds: bounds?,
                log_level,
            })
        })();
        source.finish(settings)
    }
}

impl CommandSettings {
    /// Reads and checks all of them.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn read(mut source: Source) -> Result<Self, SettingsError> {
        let database = database(&mut source, "DATABASE_URL");
        let master_key = source.secret("MASTER_KEY");
        let master_keys = master_keys(&mut source, master_key.as_ref());
        let settings =
            database.zip(master_keys).map(|(database, master_keys)| Self { database, master_keys });
        source.finish(settings)
    }
}

/// `DATABASE_URL` alone, for commands that need no secret.
///
/// # Errors
/// When it is missing or unusable.
pub fn read_database(mut source: Source) -> Result<PgConnectOptions, SettingsError> {
    let database = database(&mut source, "DATABASE_URL");
    source.finish(database)
}

/// Settings of the commands about the audit log and its keys.
pub struct LogSettings {
    /// The database, as the role that the command needs.
    pub database: PgConnectOptions,
    /// `MASTER_KEY`, and `MASTER_KEY_PREVIOUS` where it is set.
    pub master_keys: MasterKeys,
    /// `AUDIT_LOG_ORIGIN`: what the log is called.
    pub origin: String,
}

impl LogSettings {
    /// Reads and checks all of them; `database_name` is `DATABASE_URL` or `DATABASE_OWNER_URL`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn read(mut source: Source, database_name: &str) -> Result<Self, SettingsError> {
        let database = database(&mut source, database_name);
        let master_key = source.secret("MASTER_KEY");
        let master_keys = master_keys(&mut source, master_key.as_ref());
        let origin = log_origin(&mut source, master_keys.as_ref());
        let settings = (|| Some(Self { database: database?, master_keys: master_keys?, origin: origin? }))();
        source.finish(settings)
    }
}

/// What [`LogSettings`] has, as far as the log's first key needs it: `DATABASE_URL` may be absent.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn read_log_key(
    mut source: Source,
) -> Result<(Option<PgConnectOptions>, MasterKeys, String), SettingsError> {
    let database = match source.optional_secret("DATABASE_URL") {
        None => None,
        Some(_) => database(&mut source, "DATABASE_URL"),
    };
    let master_key = source.secret("MASTER_KEY");
    let master_keys = master_keys(&mut source, master_key.as_ref());
    let origin = log_origin(&mut source, master_keys.as_ref());
    source.finish((|| Some((database, master_keys?, origin?)))())
}

/// `DATABASE_OWNER_URL`: only for `migrate`: Postgres, as the role that owns the database.
///
/// # Errors
/// When it is missing or unusable.
pub fn read_database_owner(mut source: Source) -> Result<PgConnectOptions, SettingsError> {
    let database = database(&mut source, "DATABASE_OWNER_URL");
    source.finish(database)
}

fn database(source: &mut Source, name: &str) -> Option<PgConnectOptions> {
    let url = source.secret(name)?;
    match url.expose_secret().parse() {
        Ok(options) => Some(options),
        // The parser's message may repeat the address with its password.
        Err(_) => {
            source.problem(name, "is not of the form postgres://ROLE:PASSWORD@HOST:PORT/DATABASE");
            None
        }
    }
}

fn master_keys(source: &mut Source, master_key: Option<&SecretString>) -> Option<MasterKeys> {
    let previous = source.optional_secret("MASTER_KEY_PREVIOUS");
    let mut read = |name: &str, text: &SecretString| {
        MasterKey::from_base64(text.expose_secret()).map_err(|error| source.problem(name, error)).ok()
    };
    let previous = previous.map(|text| read("MASTER_KEY_PREVIOUS", &text));
    let current = read("MASTER_KEY", master_key?);
    Some(MasterKeys { current: current?, previous: previous.map_or(Some(None), |key| key.map(Some))? })
}

fn log_origin(source: &mut Source, master_keys: Option<&MasterKeys>) -> Option<String> {
    let origin = source.or("AUDIT_LOG_ORIGIN", AUDIT_LOG_ORIGIN.to_owned());
    // Whatever the key: it is the name that may be none.
    match master_keys?.current.keyring().log_key(&origin) {
        Ok(_) => Some(origin),
        Err(error) => {
            source.problem("AUDIT_LOG_ORIGIN", error);
            None
        }
    }
}

fn jwt_secret(source: &mut Source, master_key: Option<&SecretString>) -> Option<SecretString> {
    let secret = source.secret("JWT_SECRET")?;
    if secret.expose_secret().len() < JWT_SECRET_BYTES_MIN {
        source.problem("JWT_SECRET", format!("must have at least {JWT_SECRET_BYTES_MIN} bytes"));
        return None;
    }
    if master_key.is_some_and(|key| key.expose_secret().trim() == secret.expose_secret().trim()) {
        source.problem("JWT_SECRET", "must not be the same as MASTER_KEY: one key has one purpose");
        return None;
    }
    Some(secret)
}

fn soak_seconds(source: &mut Source) -> Option<u32> {
    let seconds = source.or("SOAK_SECONDS", SOAK_SECONDS);
    if seconds <= DEADLINE_SECONDS_MAX {
        return Some(seconds);
    }
    source.problem("SOAK_SECONDS", format!("must be 0 to {DEADLINE_SECONDS_MAX}, not {seconds}"));
    None
}

fn order_lifetime(source: &mut Source) -> Option<SignedDuration> {
    let seconds = source.or("ORDER_LIFETIME_SECONDS", ORDER_LIFETIME_SECONDS);
    if (1..=ORDER_LIFETIME_SECONDS_MAX).contains(&seconds) {
        Some(SignedDuration::from_secs(seconds.into()))
    } else {
        source.problem(
            "ORDER_LIFETIME_SECONDS",
            format!("must be 1 to {ORDER_LIFETIME_SECONDS_MAX}, not {seconds}"),
        );
        None
    }
}

fn mirrors(source: &mut Source) -> Option<Vec<Mirror>> {
    const NAME: &str = "CHECKPOINT_MIRRORS";
    let texts = source.list(NAME);
    let read = texts.iter().enumerate().map(|(place, text)| {
        // The text itself may hold a secret.
        let mirror = text.parse();
        mirror.map_err(|error: String| source.problem(NAME, format!("number {}: {error}", place + 1))).ok()
    });
    read.collect::<Vec<_>>().into_iter().collect()
}

fn mirror_period(source: &mut Source) -> Option<Duration> {
    const NAME: &str = "CHECKPOINT_MIRROR_SECONDS";
    let seconds: u64 = source.or(NAME, MIRROR_SECONDS);
    if (1..=MIRROR_SECONDS_MAX).contains(&seconds) {
        Some(Duration::from_secs(seconds))
    } else {
        source.problem(NAME, format!("must be 1 to {MIRROR_SECONDS_MAX}, not {seconds}"));
        None
    }
}

/// What a function makes of the items of a list.
fn reading<T>(source: &mut Source, name: &str, read: fn(&[String]) -> Result<T, String>) -> Option<T> {
    let items = source.list(name);
    read(&items).map_err(|error| source.problem(name, error)).ok()
}

/// Where Redis is, if it is used; nothing when that cannot be read.
fn redis(source: &mut Source) -> Option<Option<redis::Client>> {
    const NAME: &str = "REDIS_URL";
    let Some(url) = source.optional_secret(NAME) else { return Some(None) };
    shared::client(&url).map(Some).map_err(|error| source.problem(NAME, error)).ok()
}

fn bounds(source: &mut Source) -> Option<Bounds> {
    let default = Bounds::default();
    let proxies = reading(source, "TRUSTED_PROXIES", Proxies::read);
    let mut count = |name: &str, default: usize| {
        let read: Option<NonZeroU32> = source.optional(name);
        read.and_then(|number| usize::try_from(number.get()).ok()).unwrap_or(default)
    };
    let connections_max = count("CONNECTIONS_MAX", default.connections_max);
    let connections_per_address_max =
        count("CONNECTIONS_PER_ADDRESS_MAX", default.connections_per_address_max);
    let requests_max = count("REQUESTS_MAX", default.requests_max);
    let mut seconds = |name: &str, default: Duration| {
        let read: Option<NonZeroU32> = source.optional(name);
        read.map_or(default, |number| Duration::from_secs(number.get().into()))
    };
    let idle = seconds("IDLE_SECONDS_MAX", default.idle);
    let slow = seconds("SLOW_SECONDS_MAX", default.slow);
    let request = seconds("REQUEST_SECONDS_MAX", default.request);
    let proxies = proxies?;
    Some(Bounds { connections_max, connections_per_address_max, proxies, requests_max, idle, slow, request })
}

fn default_authorities(address: SocketAddr) -> Vec<String> {
    let mut authorities = vec![address.to_string()];
    if address.ip().is_loopback() {
        authorities.push(format!("localhost:{}", address.port()));
    }
    authorities
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const URL: &str = "postgres://aegis_control_plane:hunter2@localhost/aegis";

    fn read(changes: &[(&str, &str)]) -> Result<ServeSettings, SettingsError> {
        let mut pairs = vec![
            ("DATABASE_URL", URL),
            ("MASTER_KEY", KEY),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        pairs.extend(changes);
        let pairs: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        ServeSettings::read(Source::from_pairs(
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())),
        ))
    }

    #[test]
    fn the_defaults_serve_on_loopback_under_both_of_its_names() {
        let settings = read(&[]).map_err(|error| error.to_string()).ok().unwrap();
        assert_eq!(settings.public_authorities, ["127.0.0.1:3000", "localhost:3000"]);
        assert_eq!(settings.order_lifetime, SignedDuration::from_secs(30));
        assert_eq!(settings.soak_seconds, 5);
    }

    #[test]
    fn all_problems_are_reported_at_once_and_without_any_secret() {
        let error = read(&[
            ("DATABASE_URL", "postgres://u:hunter2@[/x"),
            ("MASTER_KEY", "c2hvcnQ="),
            ("MASTER_KEY_PREVIOUS", "c2hvcnQ="),
            ("JWT_SECRET", "short-secret"),
            ("SECOND_FACTOR", "always"),
            ("ORDER_LIFETIME_SECONDS", "61"),
            ("SOAK_SECONDS", "3601"),
            ("DATABASE_CAPACITY_BYTES", "0"),
            ("CHECKPOINT_MIRRORS", "file:/tmp, ftp://hunter2"),
            ("CHECKPOINT_MIRROR_SECONDS", "0"),
            ("THROTTLES", "reads=5"),
            ("REDIS_URL", "rediss://:hunter2@localhost"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("CONNECTIONS_MAX", "0"),
        ])
        .err()
        .unwrap()
        .to_string();
        for name in [
            "DATABASE_URL",
            "MASTER_KEY must",
            "MASTER_KEY_PREVIOUS must",
            "JWT_SECRET",
            "SECOND_FACTOR",
            "ORDER_LIFETIME_SECONDS",
            "DATABASE_CAPACITY_BYTES",
            "CHECKPOINT_MIRRORS number 2",
            "CHECKPOINT_MIRROR_SECONDS",
            "THROTTLES",
            "REDIS_URL",
            "TRUSTED_PROXIES",
            "CONNECTIONS_MAX",
        ] {
            assert!(error.contains(name), "{error}");
        }
        for secret in ["hunter2", "c2hvcnQ=", "short-secret"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn one_key_may_not_have_two_purposes() {
        assert!(read(&[("JWT_SECRET", KEY)]).err().unwrap().to_string().contains("JWT_SECRET"));
    }
}

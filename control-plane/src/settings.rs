//! What the control plane reads from its environment. Each name may instead name a file: `NAME_FILE`.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use aegis_contract::action::DEADLINE_SECONDS_MAX;
use aegis_contract::order::ORDER_LIFETIME_SECONDS_MAX;
use aegis_runtime::http::Bounds;
use aegis_runtime::http::address::Proxies;
use aegis_runtime::settings::{SettingsError, Source};
use aegis_runtime::tls::{MutualFiles, OwnFiles};
use jiff::SignedDuration;
use reqwest::{Certificate, Url};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::client::mail::{MailClient, Mailbox};
use crate::client::mirrors::Mirror;
use crate::client::oidc::{ProviderSettings, read_url};
use crate::seal::{MasterKey, MasterKeys};
use crate::service::mails::Mailing;
use crate::service::policies::activation::ActivationRules;
use crate::service::second_factor::Demand;
use crate::service::sign_up::SignUp;
use crate::service::single_sign_on::ClaimedRoles;
use crate::service::tokens::TokenSecrets;
use crate::throttle::{Rates, shared};

/// Fewest bytes of `JWT_SECRET`: the output of its MAC.
const JWT_SECRET_BYTES_MIN: usize = 32;
const ORDER_LIFETIME_SECONDS: u32 = 30;
/// Long enough for a container that ends at once to have shown it.
const SOAK_SECONDS: u32 = 5;
const MIRROR_SECONDS: u64 = 60;
const MIRROR_SECONDS_MAX: u64 = 86_400;
const AUDIT_LOG_ORIGIN: &str = "aegis.local/audit";
const MAIL_SERVER: &str = "SMTP_URL";
const PROVIDER_SECRET: &str = "OIDC_CLIENT_SECRET";

/// Settings of `serve`.
pub struct ServeSettings {
    /// `LISTEN_ADDRESS`: where to serve. Default `127.0.0.1:3000`.
    pub listen_address: SocketAddr,
    /// What may change while it serves.
    pub secrets: Secrets,
    /// `OBSERVE_ADDRESS`: where `/metrics`, and nothing else, is answered, without TLS; then it is not at
    /// `LISTEN_ADDRESS`. Metrics tell more than answers do, such as whether a mail went to anybody: let scrapers alone
    /// reach it. Default: `LISTEN_ADDRESS`.
    pub observe_address: Option<SocketAddr>,
    /// `TLS_CERTIFICATE_FILE`: path of the certificate chain to serve with, in PEM; then there is no plain HTTP. Read
    /// again when it changes ([operations.md](operations.md#certificates)). Default: plain HTTP, for a proxy that ends
    /// TLS.
    /// `TLS_KEY_FILE`: path of its private key, in PEM.
    pub tls: Option<OwnFiles>,
    /// `EXECUTOR_CERTIFICATE_FILE`: path of the certificate to show to executors, in PEM, which names
    /// `aegis://control-plane`; orders then go by mutual TLS alone. Read again when it changes. Default: as the
    /// executors' addresses say.
    /// `EXECUTOR_KEY_FILE`: path of its private key, in PEM.
    /// `EXECUTOR_CA_FILE`: path of the certificates of the authority that vouches for executors, in PEM.
    pub executor_tls: Option<MutualFiles>,
    /// `DATABASE_CAPACITY_BYTES`: how large the database may become. At 90 % of it new work is turned away, so that
    /// running work can end. Default: no such limit.
    pub database_capacity_bytes: Option<NonZeroU64>,
    /// `MASTER_KEY_PREVIOUS`: the one before, while it is changed ([operations.md](operations.md#the-master-key)).
    /// Default: none.
    pub master_keys: MasterKeys,
    /// `AUDIT_LOG_ORIGIN`: what the audit log is called in its checkpoints, best a name of yours without scheme, such
    /// as `example.com/aegis`. The same for all replicas, and for as long as nobody puts a backup back. Default
    /// `aegis.local/audit`.
    pub log_origin: String,
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
    /// `TRUSTED_PROXIES`: addresses and networks, separated by commas, whose `X-Forwarded-For` is believed. Default:
    /// none; who connects is the caller.
    /// `CONNECTIONS_MAX`: connections at once. Each takes a file descriptor. Default 4096.
    /// `CONNECTIONS_PER_ADDRESS_MAX`: of one address, or of one /64 of IPv6; trusted proxies excepted. Default 1024.
    /// `REQUESTS_MAX`: requests worked on at once. Default 1024.
    /// `IDLE_SECONDS_MAX`: how long a connection may take to bring the head of its next request. Default 100.
    /// `SLOW_SECONDS_MAX`: how long a body may take to arrive, and an answer may wait for its reader. Default 30.
    /// `REQUEST_SECONDS_MAX`: how long a request may be worked on. Default 180.
    pub bounds: Bounds,
    /// How mails are sent, if they are.
    pub mailing: Option<Mailing>,
    /// `SIGN_UP_DOMAINS`: domains of e-mail addresses, separated by commas, with which people may make accounts of the
    /// role `user` for themselves; `*` is all. Needs `SMTP_URL`. Default: none, and nobody may.
    pub sign_up: SignUp,
    /// `PUBLIC_URL`: where people reach this API, such as `https://aegis.example.com`: https, without a path; http on a
    /// loopback address only. Mails and single sign-on need it. Default: none.
    /// `OIDC_ISSUER`: the identity provider that people may sign in with, exactly as it names itself
    /// ([operations.md](operations.md#single-sign-on)). Default: none.
    /// `OIDC_CLIENT_ID`: what it calls this control plane; set with `OIDC_ISSUER`.
    /// `OIDC_CA`: certificates in PEM that vouch for it instead of the system's. Default: the system's.
    /// `OIDC_SCOPES`: what it is asked for, separated by spaces; ID tokens must hold what roles and e-mail addresses are
    /// read from. Default `openid email`.
    /// `OIDC_ROLES_CLAIM`: the claim that roles are read from. Default `groups`.
    /// `OIDC_ROLES`: which values of it stand for which roles, separated by commas, such as
    /// `sre-leads=approver,platform-admins=admin`. Who has none of them is not let in. Default: claims give no roles.
    pub single_sign_on: Option<SingleSignOnSettings>,
    /// `LOG_LEVEL`: a filter such as `info` or `aegis_control_plane=debug,info`. Default `info`.
    pub log_level: String,
    /// `PRODUCTION`: whether to refuse to start with what is for trying things out: secrets of examples, secrets that
    /// are equal, executors without TLS, privileges without a second factor, metrics beside the API, `DANGEROUS_…`
    /// switches, and logs that show too much. Default `false`.
    pub production: bool,
}

/// Secrets that are read again while `serve` runs, from the files that hold them.
pub struct Secrets {
    /// Of the values they were read from ([`Source::fingerprint`]).
    pub fingerprint: u64,
    /// `DATABASE_URL`: Postgres, as the role `aegis_control_plane` or a member of it; with
    /// `?sslmode=verify-full&sslrootcert=/PATH` over TLS ([operations.md](operations.md#certificates)).
    pub database: PgConnectOptions,
    /// `MASTER_KEY`: standard base64 of 32 bytes; stored secrets are encrypted under it.
    pub master_key: SecretString,
    /// `JWT_SECRET`: at least 32 bytes; signs access tokens.
    /// `JWT_SECRET_PREVIOUS`: believed too, while it is changed ([operations.md](operations.md#change-keys)). Default:
    /// none.
    pub tokens: TokenSecrets,
    /// `REDIS_URL`: where replicas share throttles, as `rediss://:PASSWORD@HOST:PORT`, or `redis://` without TLS.
    /// Default: each has its own.
    /// `REDIS_CA_FILE`: path of the certificates of the authority that vouches for Redis, in PEM. Read for each
    /// connection. Default: those that the system believes.
    pub redis: Option<shared::Address>,
    /// `SMTP_URL`: the server that takes mails, as `smtps://USER:PASSWORD@HOST:PORT`, or with
    /// `smtp://…?tls=required`; without TLS only on this machine ([operations.md](operations.md#mail)). Default: none,
    /// and no mail is sent.
    /// `SMTP_CA`: certificates (PEM) of the authorities that vouch for it, in place of the system's. Default: those.
    /// `MAIL_FROM`: whom mails come from, such as `Aegis <aegis@example.com>`. Needed with `SMTP_URL`.
    pub mail: Option<MailClient>,
    /// `OIDC_CLIENT_SECRET`: what proves to it that this is that client; set with `OIDC_ISSUER`.
    pub provider: Option<SecretString>,
}

impl Secrets {
    /// Reads and checks all of them; `None` has left a problem behind. Nothing else has been read from `source`.
    pub fn read(source: &mut Source) -> Option<Self> {
        let database = database(source, "DATABASE_URL");
        let master_key = source.secret("MASTER_KEY");
        let tokens = token_secrets(source, master_key.as_ref());
        let master_key = master_key.filter(|text| read_master_key(source, "MASTER_KEY", text).is_some());
        let redis = redis(source);
        let mail = mail(source);
        let provider = source.optional_secret(PROVIDER_SECRET);
        let fingerprint = source.fingerprint();
        Some(Self {
            fingerprint,
            database: database?,
            master_key: master_key?,
            tokens: tokens?,
            redis: redis?,
            mail: mail?,
            provider,
        })
    }

    /// Those that are MAC keys of one purpose each, by their settings.
    pub fn mac_keys(&self) -> Vec<(&'static str, &SecretString)> {
        let previous = self.tokens.previous.iter().map(|secret| ("JWT_SECRET_PREVIOUS", secret));
        [("JWT_SECRET", &self.tokens.current), ("MASTER_KEY", &self.master_key)]
            .into_iter()
            .chain(previous)
            .collect()
    }
}

/// The identity provider, and what its claims mean here.
pub struct SingleSignOnSettings {
    /// The provider.
    pub provider: ProviderSettings,
    /// What proves to it that this is its client.
    pub client_secret: SecretString,
    /// Which roles its claims give.
    pub roles: ClaimedRoles,
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
        let secrets = Secrets::read(&mut source);
        let listen_address = source.or("LISTEN_ADDRESS", SocketAddr::from(([127, 0, 0, 1], 3000)));
        let observe_address = source.optional("OBSERVE_ADDRESS");
        let tls = OwnFiles::read(&mut source, "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE");
        let executor_tls = MutualFiles::read(
            &mut source,
            ["EXECUTOR_CERTIFICATE_FILE", "EXECUTOR_KEY_FILE", "EXECUTOR_CA_FILE"],
        );
        let database_capacity_bytes = source.optional("DATABASE_CAPACITY_BYTES");
        let master_keys = master_keys(&mut source, secrets.as_ref().map(|secrets| &secrets.master_key));
        let log_origin = log_origin(&mut source, master_keys.as_ref());
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
        let bounds = bounds(&mut source);
        let public_url = public_url(&mut source);
        let mailing = mailing(&mut source, secrets.as_ref(), public_url.as_ref());
        let sign_up = sign_up(&mut source);
        let single_sign_on = single_sign_on(&mut source, secrets.as_ref(), public_url.as_ref());
        let log_level = source.or("LOG_LEVEL", "info".to_owned());
        let production = source.production("PRODUCTION");
        if production && matches!(executor_tls, Some(None)) {
            let files = "EXECUTOR_CERTIFICATE_FILE, EXECUTOR_KEY_FILE and EXECUTOR_CA_FILE";
            source.problem("PRODUCTION", format!("needs {files}: orders go by mutual TLS"));
        }
        if production && observe_address.is_none() {
            source.problem("PRODUCTION", "needs OBSERVE_ADDRESS: metrics are not for callers of the API");
        }
        if production && second_factors != Demand::Required {
            source.problem("PRODUCTION", "needs SECOND_FACTOR=required");
        }
        let settings = (|| {
            Some(Self {
                secrets: secrets?,
                listen_address,
                observe_address,
                tls: tls?,
                executor_tls: executor_tls?,
                database_capacity_bytes,
                master_keys: master_keys?,
                log_origin: log_origin?,
                second_factors,
                public_authorities,
                order_lifetime: order_lifetime?,
                soak_seconds: soak_seconds?,
                dangerous_allow_private_webhooks,
                activation_rules,
                mirrors: mirrors?,
                mirror_period: mirror_period?,
                throttles: throttles?,
                bounds: bounds?,
                mailing: mailing?,
                sign_up: sign_up?,
                single_sign_on: single_sign_on?,
                log_level,
                production,
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
    let previous = previous.map(|text| read_master_key(source, "MASTER_KEY_PREVIOUS", &text));
    let current = read_master_key(source, "MASTER_KEY", master_key?);
    Some(MasterKeys { current: current?, previous: previous.map_or(Some(None), |key| key.map(Some))? })
}

fn read_master_key(source: &mut Source, name: &str, text: &SecretString) -> Option<MasterKey> {
    MasterKey::from_base64(text.expose_secret()).map_err(|error| source.problem(name, error)).ok()
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

fn token_secrets(source: &mut Source, master_key: Option<&SecretString>) -> Option<TokenSecrets> {
    let current = source.secret("JWT_SECRET");
    let previous = source.optional_secret("JWT_SECRET_PREVIOUS");
    let mut check = |name: &str, secret: &SecretString| {
        if secret.expose_secret().len() < JWT_SECRET_BYTES_MIN {
            source.problem(name, format!("must have at least {JWT_SECRET_BYTES_MIN} bytes"));
            return None;
        }
        if master_key.is_some_and(|key| key.expose_secret().trim() == secret.expose_secret().trim()) {
            source.problem(name, "must not be the same as MASTER_KEY: one key has one purpose");
            return None;
        }
        Some(())
    };
    let previous_fits = previous.as_ref().is_none_or(|secret| check("JWT_SECRET_PREVIOUS", secret).is_some());
    let current = current?;
    check("JWT_SECRET", &current)?;
    previous_fits.then_some(TokenSecrets { current, previous })
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

/// The address that people reach this API at, if it is known; nothing when it cannot be one.
fn public_url(source: &mut Source) -> Option<Option<Url>> {
    const NAME: &str = "PUBLIC_URL";
    let Some(text) = source.optional::<String>(NAME) else { return Some(None) };
    match read_url(&text) {
        Ok(url) if url.path() == "/" => Some(Some(url)),
        Ok(_) => {
            source.problem(NAME, "must have no path");
            None
        }
        Err(error) => {
            source.problem(NAME, error);
            None
        }
    }
}

/// The identity provider, if there is one; nothing when it cannot be used so.
fn single_sign_on(
    source: &mut Source,
    secrets: Option<&Secrets>,
    public_url: Option<&Option<Url>>,
) -> Option<Option<SingleSignOnSettings>> {
    let public_url = public_url?.as_ref();
    let issuer: Option<String> = source.optional("OIDC_ISSUER");
    let client_id: Option<String> = source.optional("OIDC_CLIENT_ID");
    let authority: Option<String> = source.optional("OIDC_CA");
    let scopes = source.or("OIDC_SCOPES", "openid email".to_owned());
    let roles_claim = source.or("OIDC_ROLES_CLAIM", "groups".to_owned());
    let roles = reading(source, "OIDC_ROLES", ClaimedRoles::read);
    let Some(issuer) = issuer else { return Some(None) };

    for (name, is_there) in [
        ("PUBLIC_URL", public_url.is_some()),
        ("OIDC_CLIENT_ID", client_id.is_some()),
        (PROVIDER_SECRET, source.found_secret(PROVIDER_SECRET)),
    ] {
        if !is_there {
            source.problem(name, "is not set, and OIDC_ISSUER is: single sign-on needs both");
        }
    }
    if let Err(error) = read_url(&issuer) {
        source.problem("OIDC_ISSUER", error);
    }
    if !scopes.split(' ').any(|scope| scope == "openid") {
        source.problem("OIDC_SCOPES", "must hold openid");
    }
    let authorities = authority.map_or(Some(Vec::new()), |pem| {
        let read = Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
        if read.is_empty() {
            source.problem("OIDC_CA", "holds no certificate in PEM");
            return None;
        }
        Some(read)
    });
    let provider = ProviderSettings {
        issuer,
        client_id: client_id?,
        scopes,
        roles_claim,
        authorities: authorities?,
        redirect_uri: public_url?.join("api/v1/auth/oidc/callback").ok()?.into(),
    };
    let client_secret = secrets?.provider.clone()?;
    Some(Some(SingleSignOnSettings { provider, client_secret, roles: roles? }))
}

/// Where Redis is, if it is used; nothing when that cannot be read.
fn redis(source: &mut Source) -> Option<Option<shared::Address>> {
    const NAME: &str = "REDIS_URL";
    let authority = source.plain("REDIS_CA_FILE").map(PathBuf::from);
    let Some(url) = source.optional_secret(NAME) else { return Some(None) };
    shared::Address::read(url, authority).map(Some).map_err(|error| source.problem(NAME, error)).ok()
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

/// The mail server, if there is one; nothing when it cannot be used so.
fn mail(source: &mut Source) -> Option<Option<MailClient>> {
    let Some(url) = source.optional_secret(MAIL_SERVER) else { return Some(None) };
    let authorities: Option<String> = source.optional("SMTP_CA");
    let from: Option<Mailbox> = source.required("MAIL_FROM");
    let client = MailClient::new(&url, authorities.as_deref(), from?);
    client.map(Some).map_err(|error| source.problem(MAIL_SERVER, error)).ok()
}

/// How mails are sent, if they are; nothing when that cannot be read.
fn mailing(
    source: &mut Source,
    secrets: Option<&Secrets>,
    public_url: Option<&Option<Url>>,
) -> Option<Option<Mailing>> {
    if !source.found_secret(MAIL_SERVER) {
        return Some(None);
    }
    let Some(public_url) = public_url? else {
        source.problem("PUBLIC_URL", "is not set, and SMTP_URL is: mails say where people go on");
        return None;
    };
    let public_url = public_url.as_str().trim_end_matches('/').to_owned();
    Some(Some(Mailing { client: secrets?.mail.clone()?, public_url }))
}

/// Who may sign up. They prove their address by a mail.
fn sign_up(source: &mut Source) -> Option<SignUp> {
    const NAME: &str = "SIGN_UP_DOMAINS";
    let sign_up = reading(source, NAME, SignUp::read)?;
    if !sign_up.is_off() && !source.found_secret(MAIL_SERVER) {
        source.problem(NAME, "needs SMTP_URL: who signs up proves their address by a mail");
        return None;
    }
    Some(sign_up)
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
            ("REDIS_URL", "rediss://:hunter2@localhost/#insecure"),
            ("TLS_CERTIFICATE_FILE", "/some/where.crt"),
            ("EXECUTOR_CERTIFICATE_FILE", "/some/where.crt"),
            ("EXECUTOR_CA_FILE", "/some/where.crt"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("CONNECTIONS_MAX", "0"),
            ("SMTP_URL", "smtp://u:hunter2@mail.example.com"),
            ("MAIL_FROM", "aegis@example.com"),
            ("SIGN_UP_DOMAINS", "@example.com"),
            ("OIDC_ISSUER", "http://id.example.com"),
            ("OIDC_SCOPES", "email"),
            ("OIDC_ROLES", "approver"),
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
            "TLS_CERTIFICATE_FILE and TLS_KEY_FILE",
            "EXECUTOR_CERTIFICATE_FILE and EXECUTOR_KEY_FILE and EXECUTOR_CA_FILE",
            "TRUSTED_PROXIES",
            "CONNECTIONS_MAX",
            "SMTP_URL must have ?tls=required",
            "PUBLIC_URL is not set, and SMTP_URL is",
            "SIGN_UP_DOMAINS",
            "PUBLIC_URL is not set, and OIDC_ISSUER is",
            "OIDC_ISSUER must start",
            "OIDC_CLIENT_ID is not set",
            "OIDC_CLIENT_SECRET is not set",
            "OIDC_SCOPES must",
            "OIDC_ROLES `approver`",
        ] {
            assert!(error.contains(name), "{error}");
        }
        for secret in ["hunter2", "c2hvcnQ=", "short-secret"] {
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn nobody_signs_up_where_no_mail_can_be_sent() {
        let empty = ("SMTP_URL_FILE", "/dev/null");
        assert!(read(&[empty]).map_err(|error| error.to_string()).ok().unwrap().mailing.is_none());
        for without in
            [&[("SIGN_UP_DOMAINS", "example.com")][..], &[("SIGN_UP_DOMAINS", "example.com"), empty]]
        {
            let error = read(without).err().unwrap().to_string();
            assert!(error.contains("SIGN_UP_DOMAINS needs SMTP_URL"), "{error}");
        }
        let settings = read(&[
            ("SIGN_UP_DOMAINS", "example.com"),
            ("SMTP_URL", "smtp://localhost"),
            ("MAIL_FROM", "Aegis <aegis@example.com>"),
            ("PUBLIC_URL", "https://aegis.example.com/"),
        ])
        .map_err(|error| error.to_string())
        .ok()
        .unwrap();
        assert_eq!(settings.mailing.unwrap().public_url, "https://aegis.example.com");
        assert!(!settings.sign_up.is_off());
    }

    #[test]
    fn single_sign_on_is_off_unless_all_of_it_is_said() {
        let single_sign_on = |changes: &[(&str, &str)]| {
            read(changes).map(|settings| settings.single_sign_on).map_err(|error| error.to_string())
        };
        assert!(single_sign_on(&[("PUBLIC_URL", "https://aegis.example.com")]).unwrap().is_none());
        let all = [
            ("PUBLIC_URL", "https://aegis.example.com"),
            ("OIDC_ISSUER", "https://id.example.com/realms/x"),
            ("OIDC_CLIENT_ID", "aegis"),
            ("OIDC_CLIENT_SECRET", "s"),
        ];
        let provider = single_sign_on(&all).unwrap().unwrap().provider;
        assert_eq!(provider.redirect_uri, "https://aegis.example.com/api/v1/auth/oidc/callback");
        for (name, wrong) in [
            ("PUBLIC_URL", "https://aegis.example.com/console"),
            ("PUBLIC_URL", "http://aegis.example.com"),
            ("OIDC_CA", "/etc/ssl/ca.pem"),
        ] {
            let changed: Vec<_> = all.into_iter().chain([(name, wrong)]).collect();
            assert!(single_sign_on(&changed).err().unwrap().contains(name), "{name}={wrong}");
        }
        let empty = [("OIDC_CLIENT_SECRET", ""), ("OIDC_CLIENT_SECRET_FILE", "/dev/null")];
        let error = single_sign_on(&[&all[..], &empty].concat()).err().unwrap();
        assert!(error.contains("OIDC_CLIENT_SECRET is not set"), "{error}");
    }

    #[test]
    fn one_key_may_not_have_two_purposes() {
        assert!(read(&[("JWT_SECRET", KEY)]).err().unwrap().to_string().contains("JWT_SECRET"));
    }
}

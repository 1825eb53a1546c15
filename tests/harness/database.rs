//! A private PostgreSQL server and, in it, a database per test made from a template.
//!
//! Every login needs its own generated password, and each service's databases let in that service's roles alone.

mod backups;
mod guard;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, User};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::sync::OnceCell;

use crate::certificates::Authority;
use crate::eventually::until;
use crate::paths::{RunFolder, binary, create_private, random_name, write_private};
use crate::ports;
use crate::process::{Launch, Process};
use crate::progress;

/// Recovery after a kill replays little; a busy machine is given much more before the test fails.
const START_WITHIN: Duration = Duration::from_secs(180);

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The control plane: actions, policies, audit log.
    ControlPlane,
    /// The executor: its ledger.
    Executor,
}

impl Service {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ControlPlane, Self::Executor];

    /// The role the service runs as.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Self::ControlPlane => "aegis_control_plane",
            Self::Executor => "aegis_executor",
        }
    }

    /// The role that owns the database and migrates it.
    #[must_use]
    pub fn owner_role(self) -> &'static str {
        match self {
            Self::ControlPlane => "aegis_control_plane_owner",
            Self::Executor => "aegis_executor_owner",
        }
    }

    /// The name of its binary.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::ControlPlane => "aegis-control-plane",
            Self::Executor => "aegis-executor",
        }
    }
}

/// A PostgreSQL server of our own. It ends with the process that owns it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    port: u16,
    superuser_password: String,
    /// One for all four roles' logins would let a role sign in as another: each has its own.
    passwords: [(&'static str, String); 4],
    templates: [OnceCell<String>; 2],
    /// The databases that were made and not dropped yet, and whether anybody still holds them.
    made: Mutex<Vec<(String, Weak<()>)>>,
    /// Whether changes without an entry are refused.
    guards: bool,
    /// What URLs say of TLS.
    query: String,
    folder: RunFolder,
}

/// How many databases may lie unused before they are dropped: each drop is a checkpoint, and a database takes 8 MiB.
const UNUSED_AT_MOST: usize = 16;

/// One database and the ways into it.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// As the service's own role.
    pub url: String,
    /// As its owner, who migrates it.
    pub owner_url: String,
    /// As the superuser: for tests that tamper with what nobody else can.
    pub superuser_url: String,
    /// Gone when nobody holds the database any more; then the server may drop it.
    _in_use: Arc<()>,
}

impl Server {
    /// The server that the tests of one process share; changes of state without an entry are refused there. A test
    /// that breaks a server starts its own.
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceCell<Arc<Server>> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(async || anyhow::Ok(Arc::new(Self { guards: true, ..Self::start().await? })));
        Ok(shared.await?.clone())
    }

    /// Makes and starts an empty server with the four roles.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// The same, reached over TLS alone, with the certificate `postgres.crt` of an authority, which everybody checks.
    pub async fn start_over_tls(authority: &Authority) -> Result<Self> {
        Self::start_with(Some(authority)).await
    }

    async fn start_with(authority: Option<&Authority>) -> Result<Self> {
        let step = progress::step("starting PostgreSQL");
        let installation = Installation::find()?;
        let folder = RunFolder::create("postgres")?;
        let (port, superuser_password) = (ports::free()?, random_name(32));
        installation.create_data(folder.path(), &superuser_password).await?;
        let log = folder.path().join("postgres.log");
        let mut launch = installation.launch(folder.path(), port);
        if let Some(authority) = authority {
            launch = installation.with_tls(launch, &folder.path().join("postgres"), authority)?;
        }
        let query = authority.map(Authority::verify_full).unwrap_or_default();
        let process = Process::start("postgres", launch, &log)?;
        let passwords = [
            Service::ControlPlane.role(),
            Service::ControlPlane.owner_role(),
            Service::Executor.role(),
            Service::Executor.owner_role(),
        ]
        .map(|role| (role, random_name(32)));
        let (templates, made) = Default::default();
        let guards = false;
        let server =
            Self { process, port, superuser_password, passwords, templates, made, guards, query, folder };
        server.wait_until_ready().await?;
        server.create_roles().await?;
        step.done();
        Ok(server)
    }

    /// The server's process: to kill it, stop it, or start it again on its old port and data.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The folder with its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the server and starts it again on its old port and data.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart()?;
        self.wait_until_ready().await
    }

    /// Waits until the server accepts connections.
    pub async fn wait_until_ready(&self) -> Result<()> {
        until("PostgreSQL accepting connections", START_WITHIN, async || {
            self.process.ensure_running()?;
            PgConnection::connect(&self.superuser_url("postgres")).await?.close().await?;
            Ok(true)
        })
        .await
    }

    /// An empty database of one service: nothing migrated yet.
    pub async fn empty(&self, service: Service) -> Result<Database> {
        self.create(service, "template1").await
    }

    /// A migrated database of one service: a copy of the template that the service's own `migrate` made once.
    pub async fn fresh(&self, service: Service) -> Result<Database> {
        let template = self.templates[service as usize].get_or_try_init(|| async {
            let database = self.empty(service).await?;
            database.migrate(service).await?;
            if self.guards && matches!(service, Service::ControlPlane) {
                guard::install(&database.superuser_url, service.role()).await?;
            }
            self.made().retain(|(name, _)| *name != database.name);
            anyhow::Ok(database.name)
        });
        self.create(service, template.await?).await
    }

    /// The URL of a database for one role.
    pub fn url(&self, role: &str, database: &str) -> Result<String> {
        let known = self.passwords.iter().find(|(name, _)| *name == role);
        let (_, password) = known.with_context(|| format!("no role is called {role}"))?;
        Ok(self.url_with(role, password, database))
    }

    fn superuser_url(&self, database: &str) -> String {
        self.url_with("postgres", &self.superuser_password, database)
    }

    fn url_with(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}{}", self.port, self.query)
    }

    fn made(&self) -> MutexGuard<'_, Vec<(String, Weak<()>)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what nobody holds any more: two hundred stacks would fill a disk.
    async fn drop_unused(&self) -> Result<()> {
        let unused: Vec<_> = {
            let mut made = self.made();
            let is_unused = |(_, in_use): &(String, Weak<()>)| in_use.strong_count() == 0;
            if made.iter().filter(|of| is_unused(of)).count() < UNUSED_AT_MOST {
                return Ok(());
            }
            made.extract_if(.., |of| is_unused(of)).collect()
        };
        for (name, _) in unused {
            self.run_as_superuser(format!("drop database if exists {name} with (force)")).await?;
        }
        Ok(())
    }

    async fn create(&self, service: Service, template: &str) -> Result<Database> {
        self.drop_unused().await?;
        let name = format!("{}_{}", service.role(), random_name(8));
        let (role, owner) = (service.role(), service.owner_role());
        self.run_as_superuser(format!("create database {name} template {template} owner {owner}")).await?;
        // Whom a database lets in is not copied from its template.
        self.run_as_superuser(format!(
            "revoke all on database {name} from public; grant connect on database {name} to {role}"
        ))
        .await?;
        let in_use = Arc::new(());
        self.made().push((name.clone(), Arc::downgrade(&in_use)));
        Ok(Database {
            url: self.url(role, &name)?,
            owner_url: self.url(owner, &name)?,
            superuser_url: self.superuser_url(&name),
            name,
            _in_use: in_use,
        })
    }

    async fn create_roles(&self) -> Result<()> {
        let mut sql = String::from(
            "revoke all on database postgres from public; revoke all on database template1 from public;",
        );
        for (role, password) in &self.passwords {
            sql += &format!("create role {role} login password '{password}';");
        }
        // Rights that it takes, and does not have by itself.
        sql += "create role aegis_sequencer nologin; grant aegis_sequencer to aegis_control_plane; \
            alter role aegis_control_plane noinherit;";
        self.run_as_superuser(sql).await
    }

    /// Runs statements that have no checked form, such as `create database`. Nothing in them comes from outside.
    async fn run_as_superuser(&self, sql: String) -> Result<()> {
        execute(&self.superuser_url("postgres"), sql).await
    }
}

impl Database {
    /// Runs the service's own migrations as the database's owner.
    pub async fn migrate(&self, service: Service) -> Result<()> {
        let step = progress::step(format!("migrating a database with {} migrate", service.program()));
        let folder = RunFolder::create("migrate")?;
        let url_file = folder.path().join("owner-url");
        write_private(&url_file, &self.owner_url)?;
        let launch =
            Launch::new(binary(service.program())?).arg("migrate").env("DATABASE_OWNER_URL_FILE", url_file);
        launch.output().await?;
        step.done();
        Ok(())
    }
}

/// Runs statements that have no checked form, at the given URL, for tests that do what no service does.
pub async fn execute(url: &str, sql: String) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// The programs of an installed PostgreSQL, and the user they run as.
struct Installation {
    programs: PathBuf,
    /// PostgreSQL refuses to run as root; as anybody else it runs as we do.
    user: Option<(u32, u32)>,
}

impl Installation {
    fn find() -> Result<Self> {
        let programs = programs().context(
            "PostgreSQL's server is not installed: `apt-get install postgresql` (Debian, Ubuntu), \
             `dnf install postgresql-server` (Fedora), or `cargo xtask up` as root, which installs it",
        )?;
        Ok(Self { programs, user: other_user()? })
    }

    async fn create_data(&self, folder: &Path, superuser_password: &str) -> Result<()> {
        let own = folder.join("postgres");
        create_private(&own)?;
        let password_file = own.join("superuser-password");
        write_private(&password_file, superuser_password)?;
        if let Some((uid, gid)) = self.user {
            chown(&own, Some(uid), Some(gid))?;
            chown(&password_file, Some(uid), Some(gid))?;
        }
        let initdb = Launch::new(self.programs.join("initdb"))
            .user(self.user)
            .folder(&own)
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            // The server writes through to the disk from its start; an unfinished initdb is never used.
            .arg("--no-sync")
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(format!("--pgdata={}", own.join("data").display()));
        initdb.output().await?;
        fs::remove_file(&password_file)?;
        Ok(())
    }

    /// Has the server speak TLS, and let nobody sign in without.
    fn with_tls(&self, launch: Launch, own: &Path, authority: &Authority) -> Result<Launch> {
        for (name, from) in [("tls.crt", "postgres.crt"), ("tls.key", "postgres.key")] {
            let file = own.join(name);
            write_private(&file, fs::read(authority.path(from))?)?;
            if let Some((uid, gid)) = self.user {
                chown(&file, Some(uid), Some(gid))?;
            }
        }
        let access = own.join("data/pg_hba.conf");
        fs::write(&access, "hostssl all all 127.0.0.0/8 scram-sha-256\n")?;
        let file = |name: &str| own.join(name).display().to_string();
        let settings = [
            "ssl=on".to_owned(),
            // The second is none that the certificate names.
            "listen_addresses=127.0.0.1,127.0.0.2".to_owned(),
            format!("ssl_cert_file={}", file("tls.crt")),
            format!("ssl_key_file={}", file("tls.key")),
        ];
        Ok(launch.args(settings.iter().flat_map(|setting| ["-c", setting])))
    }

    fn launch(&self, folder: &Path, port: u16) -> Launch {
        self.launch_on(folder, &folder.join("postgres/data"), port)
    }

    fn launch_on(&self, folder: &Path, data: &Path, port: u16) -> Launch {
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            // Nobody needs a socket file, and its path would have to be short.
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            // Many stacks with several pools each share one server.
            "max_connections=400".to_owned(),
        ];
        Launch::new(self.programs.join("postgres"))
            .user(self.user)
            .folder(folder.join("postgres"))
            .arg("-D")
            .arg(data)
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
    }
}

/// Whether PostgreSQL's server is installed.
#[must_use]
pub fn is_installed() -> bool {
    programs().is_some()
}

/// The folder of `initdb` and `postgres`, the newest version first, then whatever the path offers.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    let packaged = versions.into_iter().map(|(_, folder)| folder);
    #[expect(clippy::disallowed_methods, reason = "programs are found by the path")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates =
        packaged.chain(std::env::split_paths(&path)).chain([PathBuf::from("/usr/pgsql/bin")]);
    candidates
        .find(|folder| ["initdb", "postgres"].iter().all(|program| is_executable(&folder.join(program))))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn other_user() -> Result<Option<(u32, u32)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            ensure!(!user.uid.is_root(), "the user {name} is root");
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    anyhow::bail!("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`")
}

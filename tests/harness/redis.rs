//! A private Redis server, to be shared by control planes, killed, stopped and started again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::certificates::Authority;
use crate::eventually::until;
use crate::paths::{RunFolder, random_name, write_private};
use crate::ports;
use crate::process::{Launch, Process};

/// It starts in milliseconds; a busy machine is given much more before the test fails.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Longest one question whether it answers may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A Redis server of our own with a password, which keeps nothing on the disk. It ends with the process that owns it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    /// Where it speaks TLS, if it does.
    tls_port: Option<u16>,
    password: String,
    folder: RunFolder,
}

impl Redis {
    /// Starts an empty server; an error if Redis is not installed.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// Starts one that is reached over TLS, with the certificate `redis.crt` of an authority.
    pub async fn start_over_tls(authority: &Authority) -> Result<Self> {
        Self::start_with(Some(authority)).await
    }

    async fn start_with(authority: Option<&Authority>) -> Result<Self> {
        let program = program().context(
            "Redis' server is not installed: `apt-get install redis-server` (Debian, Ubuntu), \
             `dnf install redis` (Fedora), or `cargo xtask test` as root, which installs it",
        )?;
        let folder = RunFolder::create("redis")?;
        let (port, password) = (ports::free()?, random_name(32));
        let settings = folder.path().join("redis.conf");
        let tls_port = authority.map(|_| ports::free()).transpose()?;
        let tls = authority.zip(tls_port).map(|(authority, port)| {
            let file = |name: &str| authority.path(name).display().to_string();
            let (certificate, key, authority) = (file("redis.crt"), file("redis.key"), file("ca.crt"));
            format!(
                "tls-port {port}\ntls-auth-clients no\ntls-cert-file {certificate}\ntls-key-file {key}\n\
                 tls-ca-cert-file {authority}\n"
            )
        });
        let tls = tls.unwrap_or_default();
        write_private(
            &settings,
            format!("bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\n{tls}"),
        )?;
        let launch = Launch::new(program).folder(folder.path()).arg(&settings);
        let process = Process::start("redis", launch, &folder.path().join("redis.log"))?;
        let redis = Self { process, port, tls_port, password, folder };
        write_private(&redis.url_file(), redis.url())?;
        redis.wait_until_ready().await?;
        Ok(redis)
    }

    /// Where it is reached, with its password.
    #[must_use]
    pub fn url(&self) -> String {
        match self.tls_port {
            Some(port) => format!("rediss://:{}@127.0.0.1:{port}", self.password),
            None => format!("redis://:{}@127.0.0.1:{}", self.password, self.port),
        }
    }

    /// A file that holds the same.
    #[must_use]
    pub fn url_file(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    /// Lets somebody in besides the one of [`Redis::url`]; where they reach it, with their password.
    pub fn admit(&self, user: &str) -> Result<String> {
        let password = random_name(32);
        self.command(&format!("ACL SETUSER {user} on >{password} ~* +@all"))?;
        Ok(format!("redis://{user}:{password}@127.0.0.1:{}", self.port))
    }

    /// Lets nobody in any more by the password of [`Redis::url`], and ends the connections that came by it.
    pub fn shut_out_first(&self) -> Result<()> {
        self.command("ACL SETUSER default resetpass")
    }

    fn command(&self, command: &str) -> Result<()> {
        let said = self.say(&format!("AUTH {}\r\n{command}\r\n", self.password))?;
        ensure!(said.starts_with("+OK\r\n+OK\r\n"), "it answers {said}");
        Ok(())
    }

    /// The server's process: to kill it, stop it, or start it again on its old port.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the server if it runs and starts it again, empty, on its old port.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart()?;
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&self) -> Result<()> {
        until("Redis answering", START_WITHIN, async || {
            self.process.ensure_running()?;
            let said = self.say(&format!("AUTH {}\r\nPING\r\n", self.password))?;
            ensure!(said.contains("+PONG"), "it answers {said}");
            Ok(true)
        })
        .await
    }

    /// What it answers to commands of the inline form.
    fn say(&self, commands: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(format!("{commands}QUIT\r\n").as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    }
}

/// Whether Redis' server is installed.
#[must_use]
pub fn is_installed() -> bool {
    program().is_some()
}

fn program() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "programs are found by the path")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("redis-server")).find(|program| program.is_file())
}

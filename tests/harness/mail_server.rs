//! A private mail server (PyPI's aiosmtpd): keeps what it takes, and takes it as a test says.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::certificates::Authority;
use crate::eventually::until;
use crate::paths::{RunFolder, checkout, create_private, random_name, write_private};
use crate::ports;
use crate::process::{Launch, Process};
use crate::python::python_with;

/// It starts within a second; a busy machine is given much more before the test fails.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Longest it may take to greet.
const GREETED_WITHIN: Duration = Duration::from_secs(5);
const USER: &str = "aegis";
/// Where mails say that people reach the control plane.
pub const PUBLIC_URL: &str = "https://aegis.example.com";

/// How connections to a mail server are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    None,
    /// When the client says `STARTTLS`, as it must.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// A mail that was taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Whom the envelope says it is from.
    pub sender: String,
    /// Whom the envelope says it is for.
    pub recipients: Vec<String>,
    /// The headers, by names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The text.
    pub text: String,
    /// Whether it came over TLS.
    pub is_encrypted: bool,
}

impl Mail {
    /// The token in it: the line that is nothing else.
    pub fn token(&self) -> Result<String> {
        let is_token = |line: &&str| {
            line.len() == 43 && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let line = self.text.lines().find(is_token);
        Ok(line.with_context(|| format!("no token in: {}", self.text))?.to_owned())
    }
}

/// A mail server of our own that wants a password. It ends with the process that owns it.
#[derive(Debug)]
pub struct MailServer {
    process: Process,
    port: u16,
    encryption: Encryption,
    password: String,
    folder: RunFolder,
}

impl MailServer {
    /// Starts a server that takes everything.
    pub async fn start(encryption: Encryption) -> Result<Self> {
        let peer = checkout().join("tests/peers/aiosmtpd");
        let python = python_with(&peer.join("requirements.txt")).await?;
        let folder = RunFolder::create("mail")?;
        let (port, password) = (ports::free()?, random_name(24));
        create_private(&folder.path().join("mails"))?;
        write_private(&folder.path().join("mails/manner"), "take")?;
        write_private(&folder.path().join("password"), &password)?;
        let authority = Authority::create(&folder.path().join("tls"))?;
        authority.issue_server("server", "a mail server")?;
        let scheme = if encryption == Encryption::Implicit { "smtps" } else { "smtp" };
        let query = if encryption == Encryption::StartTls { "?tls=required" } else { "" };
        let url = format!("{scheme}://{USER}:{password}@127.0.0.1:{port}{query}");
        write_private(&folder.path().join("url"), url)?;

        let launch = Launch::new(python)
            .arg(peer.join("serve.py"))
            .args(["--port", &port.to_string(), "--user", USER])
            .arg("--folder")
            .arg(folder.path().join("mails"))
            .arg("--password-file")
            .arg(folder.path().join("password"));
        let launch = match encryption {
            Encryption::None => launch,
            Encryption::StartTls => launch.args(["--tls", "starttls"]),
            Encryption::Implicit => launch.args(["--tls", "implicit"]),
        };
        let launch = launch
            .arg("--certificate")
            .arg(authority.path("server.crt"))
            .arg("--key")
            .arg(authority.path("server.key"));
        let process = Process::start("mail server", launch, &folder.path().join("server.log"))?;
        let server = Self { process, port, encryption, password, folder };
        server.wait_until_ready().await?;
        Ok(server)
    }

    /// What a control plane is to be told of it.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("SMTP_URL_FILE", self.url_file().display().to_string()),
            ("MAIL_FROM", "Aegis <aegis@example.com>".to_owned()),
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
        ];
        if self.encryption != Encryption::None {
            settings.push(("SMTP_CA_FILE", self.authority_file().display().to_string()));
        }
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The file that says where it is, with its password.
    #[must_use]
    pub fn url_file(&self) -> PathBuf {
        self.folder.path().join("url")
    }

    /// The certificate of who vouches for it.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join("tls/ca.crt")
    }

    /// The password it wants.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Its process: to kill it.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it if it runs and starts it again on its old port, with the mails it has.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart()?;
        self.wait_until_ready().await
    }

    /// How it takes mails from now on: `take`, `hang`, or a reply such as `451 later`.
    pub fn behave(&self, manner: &str) -> Result<()> {
        let path = self.folder.path().join("mails/manner");
        let unfinished = path.with_extension("unfinished");
        write_private(&unfinished, manner)?;
        Ok(fs::rename(unfinished, path)?)
    }

    /// Everything it took, in the order it came.
    pub fn mails(&self) -> Result<Vec<Mail>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path().join("mails"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files.iter().map(|file| Ok(serde_json::from_slice(&fs::read(file)?)?)).collect()
    }

    async fn wait_until_ready(&self) -> Result<()> {
        until("the mail server answering", START_WITHIN, async || {
            self.process.ensure_running()?;
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            if self.encryption == Encryption::Implicit {
                return Ok(true);
            }
            stream.set_read_timeout(Some(GREETED_WITHIN))?;
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting)?;
            Ok(greeting == *b"220")
        })
        .await
    }
}

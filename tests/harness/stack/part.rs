//! One control plane or one executor: a process, where it is reached, and the ways to break it.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::certificates::Authority;
use crate::eventually::until;
use crate::fault_proxy::FaultProxy;
use crate::process::{Launch, Process};

/// A service starts in about a second; a busy machine is given much more before the test fails.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One process of a stack.
#[derive(Debug)]
pub struct Part {
    process: Process,
    /// The binary with its settings and no argument yet.
    settings: Launch,
    url: String,
    /// Where it says whether it is ready.
    observed_at: String,
    api_server: Option<FaultProxy>,
}

impl Part {
    pub(super) fn new(
        name: &str,
        settings: Launch,
        url: String,
        log: &Path,
        api_server: Option<FaultProxy>,
    ) -> Self {
        let process = Process::prepare(name, settings.clone().arg("serve"), log);
        Self { process, settings, observed_at: url.clone(), url, api_server }
    }

    /// The same, observed elsewhere.
    pub(super) fn observed_at(self, url: String) -> Self {
        Self { observed_at: url, ..self }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it answers about health and metrics without TLS.
    #[must_use]
    pub fn observe_url(&self) -> &str {
        &self.observed_at
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The proxy between this executor and the API server; an error if the options asked for none.
    pub fn api_server(&self) -> Result<&FaultProxy> {
        self.api_server.as_ref().context("start the stack with `api_server_proxies`")
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// SIGSTOP: it keeps its memory and its connections and does nothing.
    pub fn stop(&self) -> Result<()> {
        self.process.stop()
    }

    /// SIGCONT: it goes on where it was stopped.
    pub fn cont(&self) -> Result<()> {
        self.process.cont()
    }

    /// Kills it if it runs and starts it again on its old port and data; returns when it is ready.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart()?;
        self.wait_until_ready().await
    }

    /// Kills it if it runs and starts it again with these settings besides its own, now and whenever it is started
    /// again; returns when it is ready. Its other commands are run without them.
    pub async fn restart_with<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Result<()> {
        let launch = self.settings.clone().arg("serve");
        self.process
            .replace(settings.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value)))?;
        self.wait_until_ready().await
    }

    /// SIGTERM; an error unless it ends by itself in time.
    pub async fn end(&self, within: Duration) -> Result<()> {
        self.process.end(within).await
    }

    /// Waits until it says that it can work.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        self.wait_until_ready_at(&http, &self.observed_at).await
    }

    /// Kills it if it runs and starts it again with a certificate of an authority, so that it speaks TLS alone; returns
    /// its new base URL when it is ready.
    pub async fn restart_over_tls<'a>(
        &self,
        authority: &Authority,
        name: &str,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<String> {
        let launch = self.settings.clone().arg("serve");
        let launch = launch
            .env("TLS_CERTIFICATE_FILE", authority.path(&format!("{name}.crt")))
            .env("TLS_KEY_FILE", authority.path(&format!("{name}.key")));
        let set = |launch: Launch, (name, value): (&'a str, &'a str)| launch.env(name, value);
        self.process.replace(settings.into_iter().fold(launch, set))?;
        let url = self.url.replace("http://", "https://");
        self.wait_until_ready_at(&authority.http()?, &url).await?;
        Ok(url)
    }

    async fn wait_until_ready_at(&self, http: &reqwest::Client, url: &str) -> Result<()> {
        until(&format!("{} becoming ready", self.process.name()), READY_WITHIN, async || {
            self.process.ensure_running()?;
            let answer = http.get(format!("{url}/health/ready")).send().await?;
            let status = answer.status();
            anyhow::ensure!(status.is_success(), "/health/ready answers {status}: {}", answer.text().await?);
            Ok(true)
        })
        .await
        .with_context(|| format!("the end of its log:\n{}", self.process.log_tail(15)))
    }

    /// Runs another command of the same binary with the same settings; returns what it printed.
    pub async fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        self.command_with([], args).await
    }

    /// The same with more settings.
    pub async fn command_with<A: AsRef<OsStr>>(
        &self,
        settings: impl IntoIterator<Item = (&'static str, String)>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        let launch = self.settings.clone().args(args);
        settings.into_iter().fold(launch, |launch, (name, value)| launch.env(name, value)).output().await
    }
}

//! A real OpenID Connect provider (the npm package `oidc-provider`), and a browser that goes through its pages.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Url};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::certificates::Authority;
use crate::eventually::until;
use crate::paths::{RunFolder, cache, checkout, hex, random_name, write_private};
use crate::ports;
use crate::process::{Launch, Process};
use crate::progress;

/// Node.js loads some hundred files first; a busy machine is given much more before the test fails.
const START_WITHIN: Duration = Duration::from_secs(120);
/// Longest wait for one page.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
/// More pages than any sign-in has.
const PAGES_MAX: usize = 20;
/// What the provider is made of.
const RECIPE: [&str; 3] = ["package.json", "package-lock.json", "server.mjs"];

/// Makes sure that the provider's packages are in the cache; returns the folder.
pub async fn installed() -> Result<PathBuf> {
    let recipe = checkout().join("tests/testbed/oidc");
    let mut hash = Sha256::new();
    for name in RECIPE {
        hash.update(fs::read(recipe.join(name)).with_context(|| format!("cannot read {name}"))?);
    }
    let folder = cache()?.join("oidc").join(hex(&hash.finalize()[..8]));
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.with_extension("lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    if !complete.exists() {
        let step = progress::step("installing an OpenID Connect provider for the tests");
        for name in RECIPE {
            fs::copy(recipe.join(name), folder.join(name))?;
        }
        let npm = Launch::new("npm").inherit_environment().folder(&folder);
        let npm = npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.output().await.context("a peer of the tests is an npm package: install nodejs and npm")?;
        write_private(&complete, "")?;
        step.done();
    }
    drop(lock);
    Ok(folder)
}

/// A provider on the loopback address.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    issuer: String,
    client_secret: String,
    authority: Option<String>,
    folder: RunFolder,
}

impl Provider {
    /// Starts a provider that sends people back to `redirect_uri`; over TLS, its certificate is of an authority of its
    /// own.
    pub async fn start(redirect_uri: &str, is_encrypted: bool) -> Result<Self> {
        let program = installed().await?.join("server.mjs");
        let folder = RunFolder::create("oidc")?;
        let (port, client_secret) = (ports::free()?, random_name(32));
        let (people, config) = (folder.path().join("people.json"), folder.path().join("config.json"));
        write_private(&people, "{}")?;
        write_private(&folder.path().join("client-secret"), &client_secret)?;
        let mut description = json!({
            "port": port, "people": people, "clientSecret": client_secret, "redirectUri": redirect_uri,
        });
        let authority = if is_encrypted {
            let authority = Authority::create(&folder.path().join("pki"))?;
            authority.issue_server("provider", "provider")?;
            description["tls"] =
                json!({ "key": authority.path("provider.key"), "cert": authority.path("provider.crt") });
            Some(fs::read_to_string(authority.path("ca.crt"))?)
        } else {
            None
        };
        write_private(&config, description.to_string())?;
        let issuer = if is_encrypted {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        let launch = Launch::new("node").folder(folder.path()).arg(program).arg(config);
        let process = Process::start("oidc-provider", launch, &folder.path().join("provider.log"))?;
        let provider = Self { process, issuer, client_secret, authority, folder };
        provider.wait_until_ready().await?;
        Ok(provider)
    }

    /// Its issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The secret of the client `aegis`.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// The file that a control plane reads that secret from.
    #[must_use]
    pub fn client_secret_file(&self) -> PathBuf {
        self.folder.path().join("client-secret")
    }

    /// What a control plane is told of it.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("OIDC_ISSUER".to_owned(), self.issuer.clone()),
            ("OIDC_CLIENT_ID".to_owned(), "aegis".to_owned()),
            ("OIDC_CLIENT_SECRET_FILE".to_owned(), self.client_secret_file().display().to_string()),
            ("OIDC_SCOPES".to_owned(), "openid email groups".to_owned()),
        ];
        settings.extend(self.authority.iter().map(|pem| ("OIDC_CA".to_owned(), pem.clone())));
        settings
    }

    /// Says who there is, by what they sign in as, and what it says of each from now on.
    pub fn set_people(&self, people: &Value) -> Result<()> {
        // A file of its own first: it may be read at any moment.
        let (file, next) = (self.folder.path().join("people.json"), self.folder.path().join("people.next"));
        write_private(&next, people.to_string())?;
        Ok(fs::rename(next, file)?)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts it again on its old port, with other keys.
    pub async fn restart(&self) -> Result<()> {
        self.process.restart()?;
        self.wait_until_ready().await
    }

    /// A browser that has not been anywhere yet.
    pub fn browser(&self) -> Result<Browser> {
        Browser::new(self.authority.as_deref())
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let browser = self.browser()?;
        let place = format!("{}/.well-known/openid-configuration", self.issuer);
        until("the provider answering", START_WITHIN, async || {
            self.process.ensure_running()?;
            Ok(browser.get(&place).await?.status == 200)
        })
        .await
    }
}

/// A page, or where it sends the browser on to.
#[derive(Clone, Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where the browser is sent, as a whole address.
    pub location: Option<String>,
    /// All headers, as text.
    pub headers: String,
    /// The content.
    pub text: String,
}

/// A browser that keeps cookies and goes nowhere by itself.
#[derive(Debug)]
pub struct Browser {
    http: reqwest::Client,
    /// By host and name.
    cookies: Mutex<BTreeMap<(String, String), String>>,
}

impl Browser {
    /// A browser that has not been anywhere yet, and trusts this authority.
    pub fn new(authority_pem: Option<&str>) -> Result<Self> {
        let mut http = reqwest::Client::builder().no_proxy().timeout(PAGE_WITHIN).redirect(Policy::none());
        if let Some(pem) = authority_pem {
            http = http.tls_certs_only([Certificate::from_pem(pem.as_bytes())?]);
        }
        Ok(Self { http: http.build()?, cookies: Mutex::default() })
    }

    /// Opens a page.
    pub async fn get(&self, url: &str) -> Result<Page> {
        self.visit(Method::GET, url, None).await
    }

    /// Sends a form.
    pub async fn post(&self, url: &str, form: &str) -> Result<Page> {
        self.visit(Method::POST, url, Some(form)).await
    }

    async fn visit(&self, method: Method, url: &str, form: Option<&str>) -> Result<Page> {
        let url: Url = url.parse().with_context(|| format!("{url} is no address"))?;
        let authority = url.authority().to_owned();
        let mut request = self.http.request(method, url.clone()).header(COOKIE, self.cookies(&authority));
        if let Some(form) = form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.to_owned());
        }
        let response = request.send().await?;
        for cookie in response.headers().get_all(SET_COOKIE) {
            self.keep(&authority, cookie.to_str()?);
        }
        let location = response.headers().get(LOCATION).map(|to| anyhow::Ok(url.join(to.to_str()?)?.into()));
        Ok(Page {
            status: response.status().as_u16(),
            location: location.transpose()?,
            headers: format!("{:?}", response.headers()),
            text: response.text().await?,
        })
    }

    fn cookies(&self, authority: &str) -> String {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = cookies.iter().filter(|((host, _), _)| host == authority);
        of_host.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, authority: &str, cookie: &str) {
        let pair = cookie.split(';').next().unwrap_or_default();
        if let Some((name, value)) = pair.split_once('=') {
            let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (authority.to_owned(), name.trim().to_owned());
            if value.is_empty() {
                cookies.remove(&key);
            } else {
                cookies.insert(key, value.to_owned());
            }
        }
    }

    /// Goes through the provider's pages as a person, to where it sends them back; does not go there.
    pub async fn sign_in(&self, provider: &Provider, start: &str, person: &str) -> Result<String> {
        let mut url = start.to_owned();
        for _ in 0..PAGES_MAX {
            if !url.starts_with(provider.issuer()) {
                return Ok(url);
            }
            let page = self.get(&url).await?;
            url = match page.location {
                Some(location) => location,
                None => {
                    ensure!(page.status == 200, "{url} answered {}: {}", page.status, page.text);
                    let prompt = if page.text.contains("name=\"login\"") { "login" } else { "consent" };
                    let form = format!("prompt={prompt}&login={person}&password=any");
                    let next = self.post(&url, &form).await?;
                    next.location.with_context(|| format!("{url} took no {prompt}: {}", next.text))?
                }
            };
        }
        bail!("the sign-in does not end; it came to {url}")
    }
}

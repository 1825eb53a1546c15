//! What sign-ins with a provider are made of: two replicas that know it, and a program that begins one.

use aegis_tests::callers::{Answer, Caller};
use aegis_tests::oidc::{Page, Provider};
use aegis_tests::paths::random_name;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the program says that it listens. Nobody goes there: the tests look where they are sent.
const PORT: u16 = 45_678;

/// Two replicas; people come back from the provider to the second one.
pub(super) async fn stack(settings: &[(&str, &str)]) -> Result<Stack> {
    let control_plane_settings =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Stack::start(StackOptions { control_planes: 2, control_plane_settings, ..StackOptions::default() }).await
}

/// Where the provider sends people back to.
pub(super) fn redirect_uri(stack: &Stack) -> String {
    format!("{}/api/v1/auth/oidc/callback", stack.control_plane(1).url())
}

/// Tells both replicas of a provider.
pub(super) async fn configure(stack: &Stack, provider: &[(String, String)], roles: &str) -> Result<()> {
    let own = [("PUBLIC_URL", stack.control_plane(1).url()), ("OIDC_ROLES", roles)];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for replica in stack.control_planes() {
        replica.restart_with(provider.iter().cloned().chain(own.clone())).await?;
    }
    Ok(())
}

/// A program that began a sign-in.
pub(super) struct Program {
    /// What only it holds.
    pub(super) verifier: String,
    /// What the sign-in is called to it.
    pub(super) flow: String,
    /// Where the person goes.
    pub(super) url: String,
}

impl Program {
    /// Begins a sign-in at a replica.
    pub(super) async fn begin(stack: &Stack, replica: usize) -> Result<Self> {
        let verifier = format!("{}{}", random_name(32), random_name(11));
        let begun = ask_to_begin(stack, replica, &verifier).await?.expect(200)?;
        assert_eq!(begun.headers["cache-control"], "no-store");
        let text = |name: &str| begun.body[name].as_str().map(str::to_owned).context("a text");
        Ok(Self { verifier, flow: text("id")?, url: text("authorizationUrl")? })
    }

    /// A parameter of the address that the person goes to.
    pub(super) fn parameter(&self, name: &str) -> Result<String> {
        parameter(&self.url, name)?.with_context(|| format!("{} has no {name}", self.url))
    }

    /// Where somebody comes back with a code that the provider never gave.
    pub(super) fn back_with(&self, stack: &Stack, more: &str) -> Result<String> {
        Ok(format!("{}?state={}&{more}", redirect_uri(stack), self.parameter("state")?))
    }

    /// Ends the sign-in at a replica.
    pub(super) async fn redeem(&self, stack: &Stack, replica: usize, code: &str) -> Result<Answer> {
        redeem(stack, replica, code, &self.verifier).await
    }
}

pub(super) async fn ask_to_begin(stack: &Stack, replica: usize, verifier: &str) -> Result<Answer> {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let body = json!({ "challenge": challenge, "port": PORT });
    Caller::anonymous(stack.control_plane(replica).url())?.post("/api/v1/auth/oidc", &body).await
}

pub(super) async fn redeem(stack: &Stack, replica: usize, code: &str, verifier: &str) -> Result<Answer> {
    let body = json!({ "code": code, "verifier": verifier });
    Caller::anonymous(stack.control_plane(replica).url())?.post("/api/v1/auth/oidc/session", &body).await
}

pub(super) fn parameter(url: &str, name: &str) -> Result<Option<String>> {
    let url: Url = url.parse()?;
    Ok(url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned()))
}

/// What a page brings to the program: a code, or what went wrong.
pub(super) fn handed_over(page: &Page, program: &Program) -> Result<Result<String, String>> {
    let location = page.location.as_deref().with_context(|| format!("sent nowhere: {page:?}"))?;
    ensure!(page.status == 303 && location.starts_with(&format!("http://127.0.0.1:{PORT}/?")), "{page:?}");
    ensure!(page.headers.contains("no-store") && page.headers.contains("no-referrer"), "{page:?}");
    ensure!(parameter(location, "flow")?.as_deref() == Some(&program.flow), "{page:?}");
    match (parameter(location, "code")?, parameter(location, "error")?) {
        (Some(code), None) => Ok(Ok(code)),
        (None, Some(error)) => Ok(Err(error)),
        _ => anyhow::bail!("neither code nor error: {location}"),
    }
}

/// Signs a person in, with a browser of its own: begun at the first replica, answered at the second, ended at the first.
pub(super) async fn sign_in(stack: &Stack, provider: &Provider, person: &str) -> Result<Answer> {
    let program = Program::begin(stack, 0).await?;
    let browser = provider.browser()?;
    let back = browser.sign_in(provider, &program.url, person).await?;
    // The control plane itself speaks in the clear.
    let page = aegis_tests::oidc::Browser::new(None)?.get(&back).await?;
    let code = handed_over(&page, &program)?.map_err(anyhow::Error::msg)?;
    program.redeem(stack, 0, &code).await
}

/// Whoever was signed in, at a replica.
pub(super) fn caller(stack: &Stack, replica: usize, signed_in: &Answer) -> Result<Caller> {
    let token = signed_in.body["accessToken"].as_str().context("an access token")?;
    Caller::person(stack.control_plane(replica).url(), token)
}

/// The roles of a caller.
pub(super) async fn roles(caller: &Caller) -> Result<Value> {
    Ok(caller.get("/api/v1/whoami").await?.expect(200)?.body["roles"].clone())
}

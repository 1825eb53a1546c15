//! Signing in with an identity provider from the command line: `aegisctl`, a real provider, and a browser.

use std::path::Path;
use std::time::Duration;

use aegis_tests::eventually::{eventually, until};
use aegis_tests::oidc::{Browser, Provider};
use aegis_tests::process::Process;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Terminal;

/// Long enough for a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// `aegisctl login --sso` under way: its process, and the address that it prints.
async fn login(terminal: &Terminal, log: &Path) -> Result<(Process, String)> {
    let launch = terminal.launch.clone().args(["login", "--sso", "--no-browser", "--keep"]);
    let process = Process::start("aegisctl", launch, log)?;
    let url = eventually("an address to sign in at", WITHIN, async || {
        let said = std::fs::read_to_string(log)?;
        Ok(said.lines().find(|line| line.starts_with("http")).map(str::to_owned))
    })
    .await?;
    Ok((process, url))
}

/// Goes where the provider sends the person back to; where that leads, which is the program's port.
async fn back(url: &str) -> Result<String> {
    let page = Browser::new(None)?.get(url).await?;
    page.location.with_context(|| format!("sent nowhere: {}", page.text))
}

async fn ended(process: &Process) -> Result<String> {
    until("aegisctl ending", WITHIN, async || Ok(process.pid().is_none())).await?;
    Ok(std::fs::read_to_string(process.log())?)
}

#[tokio::test]
async fn a_browser_signs_in_for_the_command_line_and_for_nobody_else_on_the_machine() -> Result<()> {
    let stack = Stack::start(StackOptions::default()).await?;
    let public_url = stack.control_plane(0).url();
    let provider = Provider::start(&format!("{public_url}/api/v1/auth/oidc/callback"), false).await?;
    provider.set_people(&json!({
        "alice": { "email": "alice@example.com", "email_verified": true, "groups": ["sre-leads"] },
        "eve": { "email": "eve@example.com", "email_verified": true, "groups": [] },
    }))?;
    let folder = tempfile::tempdir()?;
    let mut terminal = Terminal::new(&stack)?;
    terminal.launch = terminal.launch.env("XDG_CONFIG_HOME", folder.path());
    let log = |name: &str| folder.path().join(name);

    let said = terminal.run(&["login", "--sso", "--no-browser"]).await?;
    assert!(said.code == Some(6) && said.stderr.contains("single-sign-on-absent"), "{}", said.stderr);
    let said = terminal.run(&["login", "--no-browser"]).await?;
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    let own = [("PUBLIC_URL", public_url), ("OIDC_ROLES", "sre-leads=user")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    stack.control_plane(0).restart_with(provider.settings().into_iter().chain(own)).await?;

    // What else comes to the port is sent away, before and while the right one comes.
    let (process, url) = login(&terminal, &log("alice")).await?;
    let browser = provider.browser()?;
    let place = back(&browser.sign_in(&provider, &url, "alice").await?).await?;
    let port = place.split_once("/?").context("a port")?.0;
    let _silent = tokio::net::TcpStream::connect(port.trim_start_matches("http://")).await?;
    for other in ["/", "/favicon.ico", "/?flow=x&code=x", "/?code=x"] {
        let page = browser.get(&format!("{port}{other}")).await?;
        assert_eq!(page.status, 404, "{other}");
    }
    ensure!(process.pid().is_some(), "it still waits");
    let page = browser.get(&place).await?;
    assert!(page.status == 200 && page.text.contains("close this window"), "{page:?}");
    assert!(page.headers.contains("default-src 'none'") && page.headers.contains("no-store"), "{page:?}");
    let said = ended(&process).await?;
    assert!(said.contains("signed in"), "{said}");
    let whoami = terminal.run(&["whoami"]).await?.expect(0)?;
    assert_eq!(whoami["roles"], json!(["user"]));
    terminal.run(&["logout"]).await?.expect(0)?;

    // Who may not is told why, in the terminal.
    let (process, url) = login(&terminal, &log("eve")).await?;
    let place = back(&provider.browser()?.sign_in(&provider, &url, "eve").await?).await?;
    browser.get(&place).await?;
    let said = ended(&process).await?;
    assert!(said.contains("no-role") && said.contains("none of your groups"), "{said}");
    assert_eq!(terminal.run(&["whoami"]).await?.code, Some(5));

    // A provider that says no ends the wait at once.
    let (process, url) = login(&terminal, &log("declined")).await?;
    let state = url.split_once("state=").context("a state")?.1.split('&').next().context("a state")?;
    let answer = format!(
        "{public_url}/api/v1/auth/oidc/callback?error=access_denied&state={state}&iss={}",
        provider.issuer()
    );
    browser.get(&back(&answer).await?).await?;
    let said = ended(&process).await?;
    assert!(said.contains("sign-in-declined"), "{said}");
    Ok(())
}

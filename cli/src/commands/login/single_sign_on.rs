//! Signing in with the identity provider, as a program on the person's own machine (RFC 8252): a browser signs them in
//! and brings a code to a port of the loopback address, which is good only together with a secret that never left this
//! process (RFC 7636).

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_contract::digest::Digest;
use aegis_contract::problem::Problem;
use aegis_contract::strict::base64_encode;
use aegis_runtime::clock;
use http::{Method, StatusCode};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::Client;
use crate::failure::{Cause, Failure};
use crate::output::printable;

/// Longest head of a request that is read; what brings a code has a tenth of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a browser may take to send one: some open connections that they may never use.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const SEEN: &str = "aegisctl goes on in the terminal. You can close this window.\n";
const NOT_OURS: &str = "This is not the sign-in that aegisctl waits for.\n";

/// What the browser brings: a code, or why there is none.
type Brought = Result<String, String>;

/// Signs in; the answer is that of a sign-in with a password.
pub(super) async fn sign_in(client: &Client, opens_browser: bool) -> Result<Value, Failure> {
    let no_port = |error| Failure::usage(format!("cannot listen on 127.0.0.1: {error}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
    let port = listener.local_addr().map_err(no_port)?.port();
    let verifier = base64url(&clock::random_bytes::<32>());
    let challenge = base64url(Digest::of(verifier.as_bytes()).as_bytes());
    let begin =
        client.api(Method::POST, &["auth", "oidc"]).json(&json!({ "challenge": challenge, "port": port }));
    let begun = client.send(&begin).await?.body;
    let (Some(flow), Some(url), Some(seconds)) = (
        begun["id"].as_str(),
        begun["authorizationUrl"].as_str().and_then(web_address),
        begun["expiresInSeconds"].as_u64(),
    ) else {
        let text = "no address to sign in at".to_owned();
        return Err(Cause::NotUnderstood { url: client.base().to_string(), status: 200, text }.into());
    };
    let is_opened = opens_browser && open(&url);
    let what = if is_opened { "a browser opens; or open" } else { "open in a browser on this machine" };
    eprintln!("{what}:\n{}", printable(&url));

    let Ok(brought) = timeout(Duration::from_secs(seconds), receive(&listener, flow)).await else {
        let reason = format!("nobody signed in within {seconds} s");
        return Err(Cause::Unanswered { url: client.base().to_string(), reason }.into());
    };
    let code = brought.map_err(|code| refusal(&code))?;
    let end = client
        .api(Method::POST, &["auth", "oidc", "session"])
        .json(&json!({ "code": code, "verifier": verifier }));
    Ok(client.send(&end).await?.body)
}

/// An address that a browser may be sent to: whatever the server says, no program but a browser is started with it.
fn web_address(text: &str) -> Option<String> {
    let url: Url = text.parse().ok()?;
    matches!(url.scheme(), "https" | "http").then(|| url.into())
}

fn open(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    std::thread::spawn(move || child.wait());
    true
}

/// Waits for the browser. Whatever else comes to the port is sent away.
async fn receive(listener: &TcpListener, flow: &str) -> Brought {
    let (sender, mut brought) = mpsc::channel(1);
    loop {
        tokio::select! {
            Some(brought) = brought.recv() => return brought,
            Ok((stream, _)) = listener.accept() => {
                let (flow, sender) = (flow.to_owned(), sender.clone());
                tokio::spawn(async move {
                    if let Some(brought) = serve(stream, &flow).await {
                        let _ = sender.send(brought).await;
                    }
                });
            }
        }
    }
}

/// Reads one request and answers it; what it brought, if it is about this sign-in.
async fn serve(mut stream: TcpStream, flow: &str) -> Option<Brought> {
    let head = timeout(HEAD_WITHIN, read_head(&mut stream)).await.ok()??;
    let brought = brought(&head, flow);
    let (status, text) = if brought.is_some() { ("200 OK", SEEN) } else { ("404 Not Found", NOT_OURS) };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\n\
         content-security-policy: default-src 'none'\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // A browser that has gone brought it all the same.
    let _ = timeout(HEAD_WITHIN, stream.write_all(answer.as_bytes())).await;
    let _ = stream.shutdown().await;
    brought
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 || head.len() + read > HEAD_BYTES_MAX {
            return None;
        }
        head.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(head).ok()
}

/// What a request brings for a sign-in.
fn brought(head: &str, flow: &str) -> Option<Brought> {
    let target = head.strip_prefix("GET ")?.split(' ').next()?;
    let url: Url = format!("http://127.0.0.1{target}").parse().ok()?;
    let value = |wanted: &str| {
        let mut values = url.query_pairs().filter(|(name, _)| name == wanted).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none()).map(std::borrow::Cow::into_owned)
    };
    if url.path() != "/" || value("flow")? != flow {
        return None;
    }
    match (value("code"), value("error")) {
        (Some(code), None) => Some(Ok(code)),
        (None, Some(error)) => Some(Err(error)),
        _ => None,
    }
}

/// Why the control plane sent no code.
fn refusal(code: &str) -> Failure {
    let (status, detail) = match code {
        "sign-in-declined" => (StatusCode::FORBIDDEN, "the sign-in was declined at the identity provider"),
        "identity-refused" => (
            StatusCode::FORBIDDEN,
            "what the identity provider answered proves nobody; the audit log says why (request.refused)",
        ),
        "provider-unavailable" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the identity provider does not answer as it should; try again, or sign in with a password",
        ),
        _ => (StatusCode::FORBIDDEN, "the sign-in did not succeed"),
    };
    Cause::Problem(Box::new(Problem::new(status, printable(code)).with_detail(detail))).into()
}

/// base64url without padding (RFC 4648 section 5).
fn base64url(bytes: &[u8]) -> String {
    base64_encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sign_in_that_is_waited_for_is_listened_to() {
        let of = |target: &str| brought(&format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"), "f");
        assert_eq!(of("/?flow=f&code=c"), Some(Ok("c".to_owned())));
        assert_eq!(of("/?error=identity-refused&flow=f"), Some(Err("identity-refused".to_owned())));
        for other in [
            "/",
            "/?code=c",
            "/?flow=g&code=c",
            "/?flow=f",
            "/?flow=f&flow=f&code=c",
            "/?flow=f&code=c&code=d",
            "/?flow=f&code=c&error=e",
            "/x?flow=f&code=c",
            "/favicon.ico",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(brought("POST /?flow=f&code=c HTTP/1.1\r\n\r\n", "f"), None);
    }

    #[test]
    fn no_program_but_a_browser_is_started() {
        assert_eq!(
            web_address("https://id.example.com/auth?x=1").as_deref(),
            Some("https://id.example.com/auth?x=1")
        );
        for other in ["file:///etc/passwd", "--help", "javascript:alert(1)", "", "ssh://x"] {
            assert_eq!(web_address(other), None, "{other}");
        }
    }
}

//! The mail server: hands mails over by SMTP (RFC 5321), over TLS unless it is on this machine, and says what came of
//! it. Nothing that the server says is passed on but its reply code: it may repeat what it was sent.

use std::sync::Arc;
use std::time::Duration;

use aegis_runtime::settings::renewal::InForce;
pub use lettre::message::Mailbox;
use lettre::message::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

/// How long handing one mail over may take altogether.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// What servers say of recipients that there are not (RFC 5321 section 4.2.3). Other refusals may be about us, such as a
/// password that was changed.
const NO_SUCH_RECIPIENT: [u16; 3] = [550, 551, 553];
/// Most characters kept of a reason.
const REASON_LENGTH_MAX: usize = 300;
const FORM: &str =
    "is not of the form smtps://USER:PASSWORD@HOST:PORT or smtp://USER:PASSWORD@HOST:PORT?tls=required";

/// Sends mails. Clones share the server.
#[derive(Clone)]
pub struct MailClient(Arc<InForce<Server>>);

#[derive(Clone)]
struct Server {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// One mail. It may hold a secret, and is not printed.
#[derive(Clone)]
pub struct Letter {
    /// Its `Message-ID`, however often it is sent, so that receivers can see that it is the same.
    pub id: Uuid,
    /// Whom it is for.
    pub to: String,
    /// What it is about.
    pub subject: &'static str,
    /// Plain text.
    pub text: String,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub struct NotTaken {
    /// For people.
    pub reason: String,
    /// Whether it never will be: there is no such recipient.
    pub is_final: bool,
}

impl MailClient {
    /// A client of the server at `url`, whose certificate the system's authorities vouch for, or those of `authorities`
    /// (PEM) alone.
    ///
    /// # Errors
    /// What is wrong with `url` or `authorities`; it does not repeat them.
    pub fn new(url: &SecretString, authorities: Option<&str>, from: Mailbox) -> Result<Self, String> {
        let text = url.expose_secret();
        let parsed = Url::parse(text).map_err(|_| FORM.to_owned())?;
        let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?;
        let tls: Option<fn(TlsParameters) -> Tls> = match (parsed.scheme(), parsed.query()) {
            ("smtps", None) => Some(Tls::Wrapper),
            ("smtp", Some("tls=required")) => Some(Tls::Required),
            ("smtp", None) if is_here(host) => None,
            ("smtp", None) => {
                return Err(
                    "must have ?tls=required, or smtps: passwords and tokens are sent there, and only a \
                            server on this machine is sent them in the clear"
                        .to_owned(),
                );
            }
            _ => return Err(FORM.to_owned()),
        };
        // Its errors may repeat the address with its password.
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(text).map_err(|_| FORM.to_owned())?;
        let builder = match tls {
            Some(tls) => builder.tls(tls(trust(host, authorities)?)),
            None => builder,
        };
        let transport = builder.timeout(Some(SEND_TIMEOUT)).build();
        Ok(Self(Arc::new(InForce::new(Server { transport, from }))))
    }

    /// Goes on with the server of another one.
    pub fn renew(&self, other: &Self) {
        self.0.put(Server::clone(&other.0.get()));
    }

    /// Hands one mail over.
    ///
    /// # Errors
    /// [`NotTaken`]. Nothing says that it was not, when the connection was lost.
    pub async fn send(&self, letter: &Letter) -> Result<(), NotTaken> {
        let server = self.0.get();
        let message = server.message(letter).map_err(|reason| NotTaken { reason, is_final: true })?;
        match tokio::time::timeout(SEND_TIMEOUT, server.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let is_final = error.status().is_some_and(|code| NO_SUCH_RECIPIENT.contains(&code.into()));
                Err(NotTaken { reason: reason(&error), is_final })
            }
            Err(_) => {
                let reason = "the mail server did not answer in time".to_owned();
                Err(NotTaken { reason, is_final: false })
            }
        }
    }
}

impl Server {
    fn message(&self, letter: &Letter) -> Result<Message, String> {
        let to = mailable(&letter.to).ok_or("nothing can be sent to such an address")?;
        // RFC 3834: no absence note answers it.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|error| format!("the mail cannot be made: {error}"))
    }
}

/// Whether mail can be sent to an address (RFC 5321, 4.1.2).
pub fn is_mailable(address: &str) -> bool {
    mailable(address).is_some()
}

/// An address without anything in it that could end a line of the protocol, or of a mail's head.
fn mailable(address: &str) -> Option<Address> {
    let is_plain = !address.chars().any(|character| character.is_whitespace() || character.is_control());
    is_plain.then(|| address.parse().ok()).flatten()
}

/// Whether a server of that name is on this machine, whoever says where names are.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Who vouches for the server.
fn trust(host: &str, authorities: Option<&str>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = authorities {
        let certificates = Certificate::from_pem(pem.as_bytes());
        let certificates = certificates.ok().filter(|_| pem.contains("-----BEGIN CERTIFICATE-----"));
        let certificates = certificates.ok_or("needs SMTP_CA to be certificates in PEM")?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificates);
    }
    builder.build().map_err(|error| format!("cannot be used over TLS: {error}"))
}

/// Why the server did not take a mail, for people.
fn reason(error: &smtp::Error) -> String {
    let text = match error.status() {
        Some(code) => format!("the mail server answered {code}"),
        None if error.is_response() => "the mail server's answer was not understood".to_owned(),
        None => error.to_string(),
    };
    text.chars().filter(|character| !character.is_control()).take(REASON_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str, authorities: Option<&str>) -> Result<MailClient, String> {
        MailClient::new(&url.to_owned().into(), authorities, "Aegis <aegis@example.com>".parse().unwrap())
    }

    #[test]
    fn only_a_server_on_this_machine_is_talked_to_in_the_clear() {
        for url in [
            "smtps://user:hunter2@mail.example.com",
            "smtps://user:hunter2@mail.example.com:4465",
            "smtp://user:hunter2@mail.example.com?tls=required",
            "smtp://127.0.0.1:2525",
            "smtp://localhost:2525",
            "smtp://[::1]:2525",
        ] {
            assert!(client(url, None).is_ok(), "{url}");
        }
        for url in [
            "smtp://user:hunter2@mail.example.com",
            "smtp://user:hunter2@mail.example.com?tls=opportunistic",
            "smtp://user:hunter2@127.0.0.1.example.com",
            "smtps://user:hunter2@mail.example.com?tls=none",
            "https://user:hunter2@mail.example.com",
            "hunter2",
            "smtps://",
        ] {
            let refused = client(url, None).err().unwrap();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let refused = client("smtps://mail.example.com", Some("hunter2")).err().unwrap();
        assert!(refused.contains("SMTP_CA") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn nobody_writes_headers_or_commands_by_an_address() {
        assert!(is_mailable("anna.berg+x@mail.example.com"));
        for address in [
            "anna@example.com\r\nBcc: eve@example.com",
            "anna@example.com\nRCPT TO:<eve@example.com>",
            "<anna@example.com>",
            "anna@example.com, eve@example.com",
            "Anna <anna@example.com>",
            "anna@example.com eve",
            "\"anna\r\nRCPT TO:<eve@example.com>\"@example.com",
            "anna",
            "@example.com",
        ] {
            assert!(!is_mailable(address), "{address}");
            let letter =
                Letter { id: Uuid::nil(), to: address.to_owned(), subject: "s", text: String::new() };
            let refused = client("smtp://localhost", None).unwrap().0.get().message(&letter);
            assert!(refused.is_err(), "{address}");
        }
    }

    #[test]
    fn a_mail_says_that_nobody_wrote_it_and_is_the_same_each_time() {
        let letter = Letter {
            id: Uuid::nil(),
            to: "anna@example.com".to_owned(),
            subject: "hello",
            text: "text\n".to_owned(),
        };
        let message = client("smtp://localhost", None).unwrap().0.get().message(&letter).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        for line in [
            "Auto-Submitted: auto-generated\r\n",
            "Message-ID: <00000000-0000-0000-0000-000000000000@example.com>\r\n",
            "From: Aegis <aegis@example.com>\r\n",
            "To: anna@example.com\r\n",
            "Subject: hello\r\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}

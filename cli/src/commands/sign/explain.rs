//! What is wrong with a request that was signed by another tool, as far as that can be told without the server.

use std::path::Path;

use aegis_contract::http_signature::{self, Presented, Refusal, Request, SigningKey};
use aegis_runtime::clock;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use serde_json::json;

use super::read_body;
use crate::client::authority;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;

/// Mistakes in putting the signed text together: what was done, and the text that comes of it.
type Mistake = (&'static str, fn(&str) -> String);
const MISTAKES: [Mistake; 4] = [
    ("a line break stands after the last line", |base| format!("{base}\n")),
    ("its lines end with CR LF rather than with LF alone", |base| base.replace('\n', "\r\n")),
    ("an absent query is `?`, not empty", |base| base.replace("\"@query\": ?\n", "\"@query\": \n")),
    ("the last line is missing", |base| {
        base.rsplit_once('\n').map_or_else(String::new, |(head, _)| head.to_owned())
    }),
];

/// What was found.
struct Finding {
    /// `time`, `body`, `components`, `key` or `form`; absent when nothing is wrong.
    wrong: Option<&'static str>,
    /// The code that the server records.
    code: Option<&'static str>,
    message: String,
}

/// Judges the headers in a file as the server would, and says what to do.
pub(super) fn run(
    file: &Path,
    (method, url, body): (&Method, &Url, &[u8]),
    key: &SigningKey,
    show_base: bool,
    format: Format,
) -> Result<Exit, Failure> {
    let headers = headers(&read_body(file)?)?;
    let addressed = match headers.get(HOST) {
        Some(host) => host.to_str().map_err(Failure::usage)?.to_owned(),
        None => authority(url)?,
    };
    let (path, query) = (url.path(), url.query());
    let request =
        Request { method: method.as_str(), authority: &addressed, path, query, headers: &headers, body };
    let presented = http_signature::parse(&request);
    if let (true, Ok(base)) =
        (show_base, presented.as_ref().map_err(|refusal| *refusal).and_then(Presented::signature_base))
    {
        eprintln!("{base}");
    }
    let finding = match &presented {
        Ok(presented) => judge(presented, key, &authority(url)?),
        Err(refusal) => Finding::of(*refusal),
    };
    let Finding { wrong, code, message } = &finding;
    let said = json!({ "accepted": wrong.is_none(), "wrong": wrong, "code": code, "message": message });
    format.document(&said, &["accepted", "wrong", "code", "message"])?;
    Ok(if wrong.is_none() { Exit::Done } else { Exit::NotPermitted })
}

fn judge(presented: &Presented, key: &SigningKey, authority: &str) -> Finding {
    if presented.key_id() != key.id() {
        let message = format!(
            "it is signed with the key `{}`, and the one at hand is `{}`: name the key it was signed with",
            presented.key_id(),
            key.id()
        );
        return Finding { wrong: Some("key"), code: None, message };
    }
    match presented.verify(&key.verifying(), clock::now(), &[authority.to_owned()]) {
        Ok(_) => {
            let message = "nothing is wrong with it. A server that refuses it has another clock, another key under \
                           this id, another name than this URL's, or has seen the nonce";
            Finding { wrong: None, code: None, message: message.to_owned() }
        }
        Err(Refusal::SignatureWrong) => wrong_signature(presented, key),
        Err(refusal) => Finding::of(refusal),
    }
}

fn wrong_signature(presented: &Presented, key: &SigningKey) -> Finding {
    let code = Some(Refusal::SignatureWrong.code());
    let base = presented.signature_base().unwrap_or_default();
    let made = MISTAKES.iter().find(|(_, mistake)| presented.is_signed_as(&mistake(base), &key.verifying()));
    match made {
        Some((what, _)) => Finding {
            wrong: Some("components"),
            code,
            message: format!("the text that was signed is put together wrongly: {what}"),
        },
        None => Finding {
            wrong: Some("key"),
            code,
            message: "another text was signed, or with another secret. --show-base prints the text that must be \
                      signed, byte for byte; the MAC's key is what the secret's base64 stands for, not its letters"
                .to_owned(),
        },
    }
}

impl Finding {
    fn of(refusal: Refusal) -> Self {
        use Refusal as R;
        let wrong = match refusal {
            refusal if refusal.is_time() => "time",
            R::DigestMissing | R::DigestMalformed | R::DigestMismatch => "body",
            R::KeyUnknown
            | R::KeyRevoked
            | R::KeyExpired
            | R::ClientDisabled
            | R::ClientExpired
            | R::AlgorithmMismatch => "key",
            R::ComponentMissing
            | R::ComponentExtra
            | R::ComponentDoubled
            | R::ComponentParameter
            | R::AuthorityMismatch
            | R::RequestMalformed => "components",
            _ => "form",
        };
        Self { wrong: Some(wrong), code: Some(refusal.code()), message: refusal.to_string() }
    }
}

/// Lines such as `Signature: aegis=:…:`, as curl prints and takes them; others are left out.
fn headers(text: &[u8]) -> Result<HeaderMap, Failure> {
    let text = std::str::from_utf8(text).map_err(Failure::usage)?;
    let mut headers = HeaderMap::new();
    for line in text.lines().map(|line| line.trim_start_matches(['<', '>', ' '])) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Ok(name) = HeaderName::try_from(name.trim()) else { continue };
        headers.append(name, HeaderValue::try_from(value.trim()).map_err(Failure::usage)?);
    }
    Ok(headers)
}

//! `aegisctl sign`: prints the headers that sign a request, or says what is wrong with such headers.

mod explain;

use std::path::{Path, PathBuf};

use aegis_contract::http_signature::{IDEMPOTENCY_KEY, LIFETIME_MAX};
use http::{HeaderMap, HeaderValue, Method};
use jiff::SignedDuration;
use reqwest::Url;
use serde_json::{Map, Value};

use crate::client;
use crate::exit::Exit;
use crate::failure::{Cause, Failure};
use crate::output::{self, Format};
use crate::settings::Settings;

/// Print the headers that sign a request, for use with other tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  body='{\"type\":\"restart\",\"target\":{\"cluster\":\"local\",\"namespace\":\"shop\",\"kind\":\"Deployment\",\"name\":\"web\"},\"params\":{}}'
  aegisctl sign POST /api/v1/actions --data \"$body\" --idempotency-key \"$(uuidgen)\" |
    curl -H @- -H 'Content-Type: application/json' --data-binary \"$body\" \"$AEGIS_URL/api/v1/actions\"

  aegisctl sign POST /api/v1/actions --data \"$body\" --explain headers.txt

The headers are good once and not for long: sign again for each request.")]
pub(crate) struct Sign {
    /// Method, as in POST
    method: String,
    /// Address as it will be sent, or a path of --url
    #[arg(value_name = "URL")]
    address: String,
    /// The body
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    data: Option<String>,
    /// File with the body; - is standard input
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Value of the header Idempotency-Key, which is signed and printed too
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long the signature is good
    #[arg(long, value_name = "SECONDS", default_value_t = client::SIGNATURE_LIFETIME.as_secs(),
          value_parser = clap::value_parser!(i64).range(1..=LIFETIME_MAX.as_secs()))]
    expires_in: i64,
    /// Show the text that is signed, on standard error
    #[arg(long)]
    show_base: bool,
    /// Do not sign: say what is wrong with the headers in this file, lines such as `Signature: …`, that another tool
    /// sent with this request; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["idempotency_key", "expires_in"])]
    explain: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(command: &Sign, settings: &Settings<'_>) -> Result<Exit, Failure> {
    let key = settings.signing_key()?;
    let method = Method::from_bytes(command.method.as_bytes())
        .map_err(|_| Failure::usage(format!("`{}` is no method", command.method)))?;
    let url = request_url(&command.address, &settings.url)?;
    let body = match (&command.data, &command.body_file) {
        (Some(data), _) => data.clone().into_bytes(),
        (None, Some(path)) => read_body(path)?,
        (None, None) => Vec::new(),
    };
    if let Some(file) = &command.explain {
        return explain::run(file, (&method, &url, &body), &key, command.show_base, settings.output);
    }
    let mut headers = HeaderMap::new();
    if let Some(idempotency_key) = &command.idempotency_key {
        let value = HeaderValue::try_from(idempotency_key)
            .map_err(|_| Failure::usage("the idempotency key cannot stand in a header"))?;
        headers.insert(IDEMPOTENCY_KEY, value);
    }
    let lifetime = SignedDuration::from_secs(command.expires_in);
    let signed = client::sign(&method, &url, &headers, &body, &key, lifetime)?;
    if command.show_base {
        eprintln!("{}", signed.base);
    }
    write_headers(settings.output, &signed.headers)?;
    Ok(Exit::Done)
}

fn write_headers(format: Format, headers: &HeaderMap) -> Result<(), Failure> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    if format == Format::Table {
        let lines: String = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
        return Ok(output::write(&lines)?);
    }
    let document: Map<String, Value> = headers.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Ok(format.document(&Value::Object(document), &[])?)
}

fn request_url(text: &str, base: &str) -> Result<Url, Failure> {
    let whole =
        if text.starts_with('/') { format!("{}{text}", base.trim_end_matches('/')) } else { text.to_owned() };
    let url: Url = whole.parse().map_err(|error| Failure::usage(format!("`{whole}` is no URL: {error}")))?;
    if url.as_str() != whole && url.as_str() != format!("{whole}/") {
        eprintln!("signed as {url}: send it exactly so");
    }
    Ok(url)
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    result.map_err(|source| Cause::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

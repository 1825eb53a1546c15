//! The places where checkpoints are kept besides our own database, so that whoever rewrote that would have to
//! rewrite them too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::header::CONTENT_TYPE;
use reqwest::Url;
use reqwest::redirect::Policy;

use super::webhooks::{ATTEMPT_TIMEOUT, USER_AGENT, reason};
use crate::error::Error;

/// Media type of a checkpoint: a signed note is text.
const NOTE_TYPE: &str = "text/plain; charset=utf-8";
/// Stands for the number of entries in a URL.
const SIZE: &str = "{size}";

/// One of these places. Shown without what may be a secret: of a URL only scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// `file:/PATH`: a folder with a file for each checkpoint, and `latest.checkpoint`.
    Folder(PathBuf),
    /// A URL with `{size}` in it: PUT, an object for each checkpoint.
    Objects(String),
    /// Any other URL: POST.
    Receiver(Url),
}

impl FromStr for Mirror {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Folder(path.to_owned()))
            } else {
                Err("must name an absolute path after `file:`".to_owned())
            };
        }
        let url = parse(&text.replace(SIZE, "0"))?;
        Ok(if text.contains(SIZE) { Self::Objects(text.to_owned()) } else { Self::Receiver(url) })
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "must be `file:/PATH` or a URL".to_owned())?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err("must be `file:/PATH` or start with https://".to_owned()),
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::Folder(path) => return write!(f, "file:{}", path.display()),
            Self::Objects(template) => template.replace(SIZE, "0").parse().ok(),
            Self::Receiver(url) => Some(url.clone()),
        };
        f.write_str(&url.map(|url: Url| url.origin().ascii_serialization()).unwrap_or_default())
    }
}

/// Brings checkpoints to mirrors.
#[derive(Clone, Debug)]
pub struct MirrorClient(reqwest::Client);

impl MirrorClient {
    /// A client that follows no redirect.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new() -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .no_proxy()
            .build();
        Ok(Self(http.map_err(Error::internal)?))
    }

    /// Brings the checkpoint of a log of `size` entries to a mirror; as often as one likes.
    ///
    /// # Errors
    /// What went wrong, for people; without the URL, which may hold a secret.
    pub async fn publish(&self, mirror: &Mirror, size: u64, note: &str) -> Result<(), String> {
        let request = match mirror {
            Mirror::Folder(folder) => {
                return write(folder, size, note).await.map_err(|error| error.to_string());
            }
            Mirror::Objects(template) => self.0.put(template.replace(SIZE, &size.to_string())),
            Mirror::Receiver(url) => self.0.post(url.clone()),
        };
        let sent = request.header(CONTENT_TYPE, NOTE_TYPE).body(note.to_owned()).send().await;
        let answer = sent.map_err(|error| reason(&error.without_url()))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

/// Each file appears whole or not at all; the names sort as the sizes do.
async fn write(folder: &Path, size: u64, note: &str) -> std::io::Result<()> {
    for name in [format!("{size:016}.checkpoint"), "latest.checkpoint".to_owned()] {
        let partial = folder.join(format!(".{name}.{}", std::process::id()));
        tokio::fs::write(&partial, note).await?;
        tokio::fs::File::open(&partial).await?.sync_all().await?;
        tokio::fs::rename(&partial, folder.join(name)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_folder_or_a_url_and_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("file:/var/lib/checkpoints", "file:/var/lib/checkpoints"),
            ("file:///var/lib/checkpoints", "file:/var/lib/checkpoints"),
            ("https://objects.example/aegis/{size}?sig=hunter2", "https://objects.example"),
            ("https://user:hunter2@receiver.example:8443/hunter2", "https://receiver.example:8443"),
            ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000"),
        ] {
            let mirror: Mirror = text.parse().unwrap();
            assert_eq!(mirror.to_string(), shown);
        }
        for wrong in ["", "file:relative", "http://receiver.example/", "ftp://x/", "https://", "{size}"] {
            assert!(wrong.parse::<Mirror>().is_err(), "{wrong}");
        }
    }
}

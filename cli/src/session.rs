//! A person's session, kept in a file for later commands: an access token, and the refresh token that gets the next
//! one when it is over. One file for each control plane.

use std::fs;
use std::io;
use std::path::PathBuf;

use aegis_contract::strict::{self, Limits};
use aegis_runtime::clock;
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contexts::{folder, replace};
use crate::environment::Environment;
use crate::failure::{Cause, Failure};

/// A token that ends sooner is replaced before it is used: it has to arrive in time.
const SPARE: SignedDuration = SignedDuration::from_secs(30);

/// A session that is kept.
pub(crate) struct Session {
    path: PathBuf,
    stored: Stored,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    /// The control plane it is with.
    url: String,
    access_token: String,
    /// When the access token is over, by this machine's clock.
    expires_at: Timestamp,
    refresh_token: String,
}

impl Session {
    /// The session that is kept for the control plane at `base`, if there is one.
    pub(crate) fn read(base: &Url) -> Result<Option<Self>, Failure> {
        let Ok(path) = path(base) else { return Ok(None) };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Cause::File { path, source }.into()),
        };
        match strict::from_slice::<Stored>(&bytes, Limits::WIRE) {
            Ok(stored) => Ok((stored.url == base.as_str()).then_some(Self { path, stored })),
            Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))
                .with_note("`aegisctl login --keep` writes it anew")),
        }
    }

    /// Keeps the session of an answer to a sign-in.
    pub(crate) fn keep(base: &Url, answer: &Value) -> Result<(), Failure> {
        let session = Self { path: path(base)?, stored: stored(base, answer)? };
        session.save()
    }

    /// Keeps what continues this session.
    pub(crate) fn go_on(&mut self, base: &Url, answer: &Value) -> Result<(), Failure> {
        self.stored = stored(base, answer)?;
        self.save()
    }

    /// Keeps it no more.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        let path = self.path.clone();
        fs::remove_file(&self.path).map_err(|source| Cause::Unwritten { path, source }.into())
    }

    /// The access token, unless it is over, or about to be.
    pub(crate) fn access_token(&self) -> Option<SecretString> {
        let is_good = clock::now() + SPARE < self.stored.expires_at;
        is_good.then(|| self.stored.access_token.clone().into())
    }

    /// What gets the next access token.
    pub(crate) fn refresh_token(&self) -> &str {
        &self.stored.refresh_token
    }

    fn save(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.stored).map_err(Failure::usage)?;
        let path = self.path.clone();
        replace(&self.path, &format!("{text}\n")).map_err(|source| Cause::Unwritten { path, source }.into())
    }
}

fn path(base: &Url) -> Result<PathBuf, Failure> {
    let Some(folder) = folder(&Environment::of_process()) else {
        return Err(Failure::usage("no place for a session: set HOME or XDG_CONFIG_HOME"));
    };
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '-' };
    let name: String = base.as_str().trim_end_matches('/').chars().map(plain).collect();
    Ok(folder.join("sessions").join(format!("{name}.json")))
}

fn stored(base: &Url, answer: &Value) -> Result<Stored, Failure> {
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let stored = (|| {
        let seconds = answer["expiresInSeconds"].as_u64().and_then(|seconds| i64::try_from(seconds).ok())?;
        Some(Stored {
            url: base.to_string(),
            access_token: text("accessToken")?,
            expires_at: clock::now().checked_add(SignedDuration::from_secs(seconds)).ok()?,
            refresh_token: text("refreshToken")?,
        })
    })();
    let not_understood = || {
        let text = "no tokens in the answer".to_owned();
        Cause::NotUnderstood { url: base.to_string(), status: 200, text }.into()
    };
    stored.ok_or_else(not_understood)
}

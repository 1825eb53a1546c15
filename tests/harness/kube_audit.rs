//! What the API server itself recorded: the second opinion on who changed what.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::executor_accounts::{EXECUTOR_USER, ROLLBACK_USER};

/// The API server's audit log.
#[derive(Clone, Debug)]
pub struct KubeAudit {
    path: PathBuf,
}

/// One request that the API server answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeRequest {
    /// `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: KubeUser,
    /// What the asking program called itself.
    #[serde(default)]
    pub user_agent: String,
    /// What was asked about.
    pub object_ref: Option<KubeObject>,
    /// How it was answered; absent if the API server ended before it answered.
    pub response_status: Option<KubeStatus>,
    /// The body that was sent.
    pub request_object: Option<Value>,
}

/// The identity the API server recognised.
#[derive(Clone, Debug, Deserialize)]
pub struct KubeUser {
    /// Such as `system:serviceaccount:aegis-system:aegis-executor`.
    #[serde(default)]
    pub username: String,
}

/// The object of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct KubeObject {
    /// Plural, such as `deployments`.
    #[serde(default)]
    pub resource: String,
    /// Absent for cluster-wide objects.
    #[serde(default)]
    pub namespace: String,
    /// Absent where a list was addressed.
    #[serde(default)]
    pub name: String,
    /// Such as `scale` or `eviction`.
    #[serde(default)]
    pub subresource: String,
}

/// The answer.
#[derive(Clone, Debug, Deserialize)]
pub struct KubeStatus {
    /// The HTTP status.
    pub code: u16,
}

impl KubeRequest {
    /// Whether it changed something: answered 2xx, and not a rehearsal with `dryRun=All`.
    #[must_use]
    pub fn is_effective_write(&self) -> bool {
        self.is_write()
            && self.response_status.as_ref().is_some_and(|status| (200..300).contains(&status.code))
    }

    /// Whether it may have changed something although it was not answered so: whoever asked was gone (499, 504), or
    /// the server failed, after etcd may have had it.
    #[must_use]
    pub fn is_write_in_doubt(&self) -> bool {
        self.is_write() && self.response_status.as_ref().is_none_or(|status| status.code >= 499)
    }

    fn is_write(&self) -> bool {
        let rehearsed = self.request_uri.contains("dryRun=All");
        !rehearsed && matches!(&*self.verb, "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it addressed something in this namespace.
    #[must_use]
    pub fn is_in(&self, namespace: &str) -> bool {
        self.object_ref.as_ref().is_some_and(|object| object.namespace == namespace)
    }
}

impl KubeAudit {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The file, one JSON object a line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every recorded request, oldest first. The log is written before a request is answered, so whatever has been
    /// answered is in it; a line still being written is left for the next reading.
    pub fn requests(&self) -> Result<Vec<KubeRequest>> {
        self.requests_with("")
    }

    /// The effective writes by one user.
    pub fn writes_by(&self, user: &str) -> Result<Vec<KubeRequest>> {
        self.effective_writes(user, |request| request.user.username == user)
    }

    /// The effective writes by the executor, under either of its accounts.
    pub fn writes_by_executor(&self) -> Result<Vec<KubeRequest>> {
        let users = [EXECUTOR_USER, ROLLBACK_USER];
        self.effective_writes(EXECUTOR_USER, |request| users.contains(&&*request.user.username))
    }

    /// The effective writes by programs whose User-Agent holds this text, such as an action's id.
    pub fn writes_by_agent(&self, text: &str) -> Result<Vec<KubeRequest>> {
        self.effective_writes(text, |request| request.user_agent.contains(text))
    }

    /// The writes of which nobody can tell whether they took effect, by programs as above.
    pub fn writes_in_doubt_by_agent(&self, text: &str) -> Result<Vec<KubeRequest>> {
        let mut requests = self.requests_with(text)?;
        requests.retain(|request| request.is_write_in_doubt() && request.user_agent.contains(text));
        Ok(requests)
    }

    fn effective_writes(
        &self,
        text: &str,
        wanted: impl Fn(&KubeRequest) -> bool,
    ) -> Result<Vec<KubeRequest>> {
        let mut requests = self.requests_with(text)?;
        requests.retain(|request| request.is_effective_write() && wanted(request));
        Ok(requests)
    }

    /// The requests in whose lines a text stands; of a log that many tests share, the others are not worth reading.
    /// The text must stand in JSON as it is.
    fn requests_with(&self, text: &str) -> Result<Vec<KubeRequest>> {
        let bytes =
            std::fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let log = std::str::from_utf8(&bytes[..complete]).context("the audit log is no text")?;
        let lines = log.lines().filter(|line| !line.is_empty() && line.contains(text));
        lines.map(|line| serde_json::from_str(line).context("a line of the audit log")).collect()
    }
}

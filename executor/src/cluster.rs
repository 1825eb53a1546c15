//! The Kubernetes API as the executor uses it: bounded, named, and with answers that tell a write
//! that certainly did not happen from one that perhaps did.
//!
//! Every call carries `timeout=5s` and a User-Agent with the action's id, so that the API server's
//! own audit log can be reconciled with the ledger.

mod pods;

use std::path::Path;
use std::time::Duration;

use aegis_contract::ids::ActionId;
use aegis_contract::target::{Kind, Target};
use anyhow::Context;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use serde_json::Value;

pub(crate) use self::pods::{PodNews, PodsFollowed};
use crate::action::object::Object;

/// What the API server calls the executor where it keeps who wrote which field: the User-Agent's beginning.
pub(crate) const FIELD_MANAGER: &str = "aegis-executor";
/// How long the API server may work on a call; without it a call waits up to a minute.
const SERVER_TIMEOUT: &str = "timeout=5s";
/// A little more than the server's own limit, so that its answer arrives when there is one.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(7);
/// Most objects of a list: of one workload's revisions, or of a namespace's budgets, quotas and autoscalers.
const LISTED_MAX: u32 = 2_000;
/// Objects of one page, where there may be any number of them.
const PAGE: u32 = 250;
/// Text of an error is cut to this many characters before it is passed on.
const MESSAGE_LENGTH_MAX: usize = 500;

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// An observing order.
    Observe,
    /// The review of the executor's own rights.
    Review,
    /// An action.
    Action(ActionId),
}

/// Why something could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// No answer, or one that says nothing about the object.
    #[error("the API server did not answer: {0}")]
    Unavailable(String),
    /// The executor's identity may not read this.
    #[error("the API server does not let the executor read this: {0}")]
    Forbidden(String),
}

/// One write, complete but for its query.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    /// HTTP method.
    pub(crate) method: Method,
    /// Path without query.
    pub(crate) path: String,
    /// Media type of the body.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: Value,
    /// Whether the API server shall only rehearse it.
    pub(crate) dry_run: bool,
}

/// How a write was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteAnswer {
    /// It took effect (or would have, as a dry run).
    Done,
    /// It did not: a test failed, or the object changed meanwhile.
    Conflict(String),
    /// It did not: the API server, or a disruption budget, wants it later.
    Later(String),
    /// It did not: there is no such object.
    Absent,
    /// It did not, and would not if sent again.
    Refused(String),
    /// Nobody can say.
    InDoubt(String),
}

/// Objects of a collection, and where they stand in it.
struct Listed {
    objects: Vec<Object>,
    /// What a watch of what comes after begins with.
    version: String,
    /// Where the next page begins, if there is one.
    next: Option<String>,
}

/// A client of one cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: kube::Client,
}

impl Cluster {
    /// A client from a kubeconfig file, or of the cluster this process runs in; with `token`, under the account
    /// whose token that file holds. It is read again and again, so the token may be renewed there.
    pub(crate) async fn connect(kubeconfig: Option<&Path>, token: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => kube::Config::incluster()
                .context("not running in a cluster; name a kubeconfig with KUBECONFIG_FILE")?,
        };
        if let Some(path) = token {
            let token_file = Some(path.to_string_lossy().into_owned());
            config.auth_info = AuthInfo { token_file, ..AuthInfo::default() };
        }
        // A write that the client repeats by itself would not have been judged again in between.
        config.default_retry = false;
        config.connect_timeout = Some(CLIENT_TIMEOUT);
        let client = kube::Client::try_from(config);
        Ok(Self { client: client.context("cannot sign in to the API server with what the settings name")? })
    }

    /// Reads one object, past every cache; `None` when there is none.
    pub(crate) async fn read(&self, target: &Target, caller: Caller) -> Result<Option<Object>, ReadError> {
        match self.call(Method::GET, &path_of(target), "", None, caller).await {
            Ok(value) => Ok(Some(Object::new(value))),
            Err(CallError::Status { code: 404, .. }) => Ok(None),
            Err(error) => Err(read_error(error)),
        }
    }

    /// Reads the objects of a collection that `selector` (in the query's form) chooses; all when it is empty.
    pub(crate) async fn list(
        &self,
        path: &str,
        selector: &str,
        caller: Caller,
    ) -> Result<Vec<Object>, ReadError> {
        let query = format!("&limit={LISTED_MAX}&labelSelector={}", percent_encode(selector));
        let listed = self.list_once(path, &query, caller).await?;
        match listed.next {
            None => Ok(listed.objects),
            Some(_) => Err(ReadError::Unavailable(format!("{path} holds more than {LISTED_MAX} objects"))),
        }
    }

    /// Reads some of the objects of a collection: the first, or those after an earlier page, and where the next page
    /// begins, if there is one. However many there are, few are held at one time.
    pub(crate) async fn page(
        &self,
        path: &str,
        from: Option<&str>,
        caller: Caller,
    ) -> Result<(Vec<Object>, Option<String>), ReadError> {
        let from = from.map(|from| format!("&continue={}", percent_encode(from))).unwrap_or_default();
        let listed = self.list_once(path, &format!("&limit={PAGE}{from}"), caller).await?;
        Ok((listed.objects, listed.next))
    }

    async fn list_once(&self, path: &str, query: &str, caller: Caller) -> Result<Listed, ReadError> {
        let mut list = self.call(Method::GET, path, query, None, caller).await.map_err(read_error)?;
        let said = |name: &str| list["metadata"][name].as_str().unwrap_or_default().to_owned();
        let (version, next) =
            (said("resourceVersion"), Some(said("continue")).filter(|next| !next.is_empty()));
        match list["items"].take() {
            Value::Array(items) if !version.is_empty() => {
                Ok(Listed { objects: items.into_iter().map(Object::new).collect(), version, next })
            }
            _ => Err(ReadError::Unavailable(format!("the answer of {path} is no list"))),
        }
    }

    /// Asks the API server about the executor itself; nothing is stored there.
    pub(crate) async fn ask(&self, path: &str, question: Value) -> Result<Value, ReadError> {
        let body = Some(("application/json", question));
        self.call(Method::POST, path, "", body, Caller::Review).await.map_err(read_error)
    }

    /// Sends one write, once.
    pub(crate) async fn write(&self, write: Write, caller: Caller) -> WriteAnswer {
        let query = if write.dry_run { "&dryRun=All" } else { "" };
        let body = Some((write.content_type, write.body));
        match self.call(write.method, &write.path, query, body, caller).await {
            Ok(_) => WriteAnswer::Done,
            Err(error) => write_answer(error),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<(&'static str, Value)>,
        caller: Caller,
    ) -> Result<Value, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}?{SERVER_TIMEOUT}{query}"))
            .header(USER_AGENT, agent(caller))
            .header(ACCEPT, "application/json");
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type);
            bytes = body.to_string().into_bytes();
        }
        let request = request.body(bytes).map_err(|error| CallError::Unanswered(error.to_string()))?;
        let answer = tokio::time::timeout(CLIENT_TIMEOUT, self.client.request_text(request)).await;
        match answer {
            Err(_) => Err(CallError::Unanswered(format!("no answer within {} s", CLIENT_TIMEOUT.as_secs()))),
            Ok(Err(kube::Error::Api(status))) => {
                Err(CallError::Status { code: status.code, message: shorten(&status.message) })
            }
            Ok(Err(error)) => Err(CallError::Unanswered(shorten(&chain(&error)))),
            Ok(Ok(text)) => {
                serde_json::from_str(&text).map_err(|error| CallError::Unanswered(error.to_string()))
            }
        }
    }
}

/// What the API server's own audit log says of the caller.
fn agent(caller: Caller) -> String {
    let of = match caller {
        Caller::Observe => "observe".to_owned(),
        Caller::Review => "review".to_owned(),
        Caller::Action(id) => format!("action {id}"),
    };
    format!("{FIELD_MANAGER}/{} ({of})", env!("CARGO_PKG_VERSION"))
}

enum CallError {
    Status { code: u16, message: String },
    Unanswered(String),
}

fn read_error(error: CallError) -> ReadError {
    match error {
        CallError::Status { code: 403, message } => ReadError::Forbidden(message),
        CallError::Status { code, message } => ReadError::Unavailable(format!("{code}: {message}")),
        CallError::Unanswered(message) => ReadError::Unavailable(message),
    }
}

fn write_answer(error: CallError) -> WriteAnswer {
    match error {
        CallError::Unanswered(message) => WriteAnswer::InDoubt(message),
        CallError::Status { code, message } => match code {
            404 => WriteAnswer::Absent,
            // A failed `test` of a JSON patch is a 422, like a template that is not valid: the reader
            // of the object tells them apart by whether it changed.
            409 | 422 => WriteAnswer::Conflict(message),
            429 => WriteAnswer::Later(message),
            400..=499 => WriteAnswer::Refused(format!("{code}: {message}")),
            // The one 5xx that is a plain no: the eviction handler looks at budgets before it deletes.
            500 if message.contains("more than one PodDisruptionBudget") => WriteAnswer::Refused(message),
            _ => WriteAnswer::InDoubt(format!("{code}: {message}")),
        },
    }
}

/// Path of all objects of a kind in a namespace.
pub(crate) fn collection_of(namespace: &str, kind: Kind) -> String {
    match kind {
        Kind::Deployment => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        Kind::StatefulSet => format!("/apis/apps/v1/namespaces/{namespace}/statefulsets"),
        Kind::DaemonSet => format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"),
        Kind::Pod => format!("/api/v1/namespaces/{namespace}/pods"),
    }
}

/// Path of a target's object.
pub(crate) fn path_of(target: &Target) -> String {
    format!("{}/{}", collection_of(&target.namespace, target.kind), target.name)
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn shorten(text: &str) -> String {
    text.chars().take(MESSAGE_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, message: &str) -> WriteAnswer {
        write_answer(CallError::Status { code, message: message.to_owned() })
    }

    #[test]
    fn only_answers_that_exclude_the_write_say_that_it_did_not_happen() {
        for code in [500, 502, 503, 504] {
            assert!(matches!(answer(code, "?"), WriteAnswer::InDoubt(_)), "{code}");
        }
        assert!(matches!(write_answer(CallError::Unanswered("reset".into())), WriteAnswer::InDoubt(_)));
        for code in [400, 401, 403, 405, 413, 415] {
            assert!(matches!(answer(code, "?"), WriteAnswer::Refused(_)), "{code}");
        }
        assert!(matches!(answer(409, "?"), WriteAnswer::Conflict(_)));
        assert!(matches!(answer(422, "?"), WriteAnswer::Conflict(_)));
        assert!(matches!(answer(429, "?"), WriteAnswer::Later(_)));
        assert_eq!(answer(404, "?"), WriteAnswer::Absent);
    }

    #[test]
    fn two_budgets_over_one_pod_are_a_plain_no() {
        let said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(matches!(answer(500, said), WriteAnswer::Refused(_)));
    }

    #[test]
    fn a_selector_survives_the_query() {
        assert_eq!(percent_encode("app=web,tier in (a,b)"), "app%3Dweb%2Ctier%20in%20%28a%2Cb%29");
    }
}

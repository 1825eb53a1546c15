//! What an API server recorded of one identity's writes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use aegis_contract::ids::ActionId;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Cause, Failure};

/// Groups whose objects are questions: nothing is stored of them.
const QUESTIONS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
/// Annotation by which the executor makes an object refuse its own late writes.
const FENCE: &str = "/metadata/annotations/aegis.dev~1fence";
const FENCE_NAME: &str = "aegis.dev/fence";

/// The writes of an identity, and from when to when everything was recorded.
#[derive(Debug)]
pub(super) struct KubeLog {
    /// The times of the first and the last event, whoever caused it.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// The writes, oldest first.
    pub(super) writes: Vec<Write>,
    /// Actions of which a change was cut off: it may have taken effect all the same.
    pub(super) in_doubt: BTreeSet<ActionId>,
    /// Questions to the API server, of which nothing is stored.
    pub(super) questions: u64,
}

/// A request of the identity that changed something.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) audit_id: String,
    pub(super) at: Timestamp,
    pub(super) user: String,
    pub(super) agent: String,
    /// The action that it says it belongs to.
    pub(super) action_id: Option<ActionId>,
    pub(super) verb: String,
    /// Resource with its subresource, such as `deployments/scale`.
    pub(super) resource: String,
    pub(super) group: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Whether its body shows that it does nothing but fence the object.
    pub(super) is_fence: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    impersonated_user: Option<User>,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    request_object: Option<Value>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl KubeLog {
    /// Reads files of events. What follows the last newline is not written yet.
    pub(super) fn read(paths: &[PathBuf], users: &[String]) -> Result<Self, Failure> {
        let mut log = Self { span: None, writes: Vec::new(), in_doubt: BTreeSet::new(), questions: 0 };
        for path in paths {
            log.read_file(path, users)?;
        }
        log.writes.sort_by_key(|write| write.at);
        Ok(log)
    }

    fn read_file(&mut self, path: &Path, users: &[String]) -> Result<(), Failure> {
        let cannot = |source| Failure::from(Cause::File { path: path.to_owned(), source });
        let mut file = BufReader::new(File::open(path).map_err(cannot)?);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            file.read_until(b'\n', &mut line).map_err(cannot)?;
            if line.pop_if(|last| *last == b'\n').is_none() {
                break;
            }
            if line.is_empty() {
                continue;
            }
            let event: Event = serde_json::from_slice(&line).map_err(|error| {
                Failure::usage(format!("{}, line {number}: no audit event: {error}", path.display()))
                    .with_note(
                        "it must hold lines of audit.k8s.io/v1 events, as --audit-log-path writes them",
                    )
            })?;
            self.take(event, users);
        }
        Ok(())
    }

    fn take(&mut self, event: Event, users: &[String]) {
        let at = event.stage_timestamp;
        self.span = Some(self.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        let is_of = |who: &User| users.contains(&who.username);
        if event.stage != "ResponseComplete"
            || !(is_of(&event.user) || event.impersonated_user.as_ref().is_some_and(is_of))
            || !event.is_write()
        {
            return;
        }
        let is_fence = event.request_object.as_ref().is_some_and(is_fence);
        match event.response_status.as_ref().map(|status| status.code) {
            Some(200..300) => {}
            // Whoever asked was gone (499, 504), or the server failed, after etcd may have had it.
            None | Some(499..) => {
                self.in_doubt.extend(action_of(&event.user_agent).filter(|_| !is_fence));
                return;
            }
            Some(_) => return,
        }
        let object = event.object_ref.unwrap_or_default();
        if QUESTIONS.contains(&&*object.api_group) && event.verb == "create" {
            self.questions += 1;
            return;
        }
        let resource = if object.subresource.is_empty() {
            object.resource
        } else {
            format!("{}/{}", object.resource, object.subresource)
        };
        self.writes.push(Write {
            audit_id: event.audit_id,
            at: event.request_received_timestamp,
            user: event.user.username,
            action_id: action_of(&event.user_agent),
            agent: event.user_agent,
            verb: event.verb,
            resource,
            group: object.api_group,
            namespace: object.namespace,
            name: object.name,
            is_fence,
        });
    }
}

impl Event {
    /// Whether it changes something unless it is refused: it is no rehearsal.
    fn is_write(&self) -> bool {
        let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&&*self.verb);
        let query = self.request_uri.split_once('?').map_or("", |(_, query)| query);
        writes && !query.split('&').any(|parameter| parameter == "dryRun=All")
    }
}

/// The action that the executor names in what it calls itself.
fn action_of(agent: &str) -> Option<ActionId> {
    agent.split_once("(action ")?.1.split_once(')')?.0.parse().ok()
}

/// Whether a JSON patch does nothing but test, and set the fence.
fn is_fence(body: &Value) -> bool {
    let Some(operations) = body.as_array() else { return false };
    let is_only = |operation: &Value| {
        let path = operation["path"].as_str().unwrap_or_default();
        let annotations = operation["value"].as_object();
        operation["op"] == "test"
            || (operation["op"] == "add" || operation["op"] == "replace") && path == FENCE
            || operation["op"] == "add"
                && path == "/metadata/annotations"
                && annotations.is_some_and(|all| all.keys().all(|name| name == FENCE_NAME))
    };
    operations.iter().all(is_only) && operations.iter().any(|operation| operation["op"] != "test")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fence_does_nothing_else() {
        let test = json!({ "op": "test", "path": "/metadata/uid", "value": "u" });
        let fence = json!({ "op": "add", "path": FENCE, "value": "a/1" });
        let first = json!({ "op": "add", "path": "/metadata/annotations", "value": { FENCE_NAME: "a/1" } });
        let more =
            json!({ "op": "add", "path": "/metadata/annotations", "value": { FENCE_NAME: "a/1", "b": "c" } });
        let other = json!({ "op": "replace", "path": "/spec/replicas", "value": 0 });
        assert!(is_fence(&json!([test, fence])) && is_fence(&json!([test, first])));
        for body in [json!([test]), json!([fence, other]), json!([more]), json!({ "spec": {} })] {
            assert!(!is_fence(&body), "{body}");
        }
    }

    #[test]
    fn an_action_is_read_from_what_the_executor_calls_itself() {
        let id = "019a9f0e-1c4b-7c11-9d0a-2f1b6f7a8c90";
        assert_eq!(action_of(&format!("aegis-executor/0.1.0 (action {id})")), id.parse().ok());
        for agent in ["kubectl/v1.34", "aegis-executor/0.1.0 (observe)", "x (action y)"] {
            assert_eq!(action_of(agent), None, "{agent}");
        }
    }
}

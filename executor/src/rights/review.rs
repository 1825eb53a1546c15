//! The review at start: the executor asks the API server what its own identity may do, and does not
//! run with more than the table. Until the API server has answered, no order is taken.
//!
//! Roles bound in namespaces that nobody names here cannot be found: that would need the right to list
//! namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::problem::Problem;
use aegis_runtime::http::ProblemResponse;
use aegis_runtime::shutdown::Shutdown;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::excess::{Excess, Place, Rules};
use super::{Right, needed};
use crate::cluster::{Cluster, ReadError};

/// Namespaces that are looked at besides the allowed ones and the executor's own.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// Nothing is bound in a namespace that nobody made: what holds there holds everywhere.
const NOWHERE: &str = "aegis-no-such-namespace";
/// Questions on their way at one time: a start takes a fraction of a second, and the API server hardly notices.
const QUESTIONS_MAX: usize = 16;
/// Pause before an API server that did not answer is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

const RBAC: &str = "rbac.authorization.k8s.io";
/// What a stolen token must never do, asked one by one: authorizers other than RBAC list no rules.
const DANGEROUS: [Right; 16] = [
    Right::new("*", "*", "*"),
    Right::new("", "pods", "create"),
    Right::new("", "pods", "patch"),
    Right::new("", "pods", "delete"),
    Right::new("", "pods/exec", "create"),
    Right::new("", "pods/attach", "create"),
    Right::new("", "pods/ephemeralcontainers", "patch"),
    Right::new("", "secrets", "get"),
    Right::new("", "secrets", "list"),
    Right::new("", "serviceaccounts", "impersonate"),
    Right::new("", "serviceaccounts/token", "create"),
    Right::new("apps", "deployments", "create"),
    Right::new("batch", "jobs", "create"),
    Right::new(RBAC, "roles", "escalate"),
    Right::new(RBAC, "roles", "bind"),
    Right::new(RBAC, "rolebindings", "create"),
];
/// The same for the cluster as a whole.
const DANGEROUS_EVERYWHERE: [Right; 7] = [
    Right::new("", "nodes/proxy", "get"),
    Right::new("", "users", "impersonate"),
    Right::new("", "groups", "impersonate"),
    Right::new(RBAC, "clusterroles", "escalate"),
    Right::new(RBAC, "clusterroles", "bind"),
    Right::new(RBAC, "clusterrolebindings", "create"),
    Right::new("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "delete"),
];

/// Says whether the review is over. Clones share one answer.
#[derive(Clone, Debug)]
pub(crate) struct Reviewed(watch::Receiver<bool>);

impl Reviewed {
    /// Returns once orders may be taken.
    pub(crate) async fn wait(&self) {
        if self.0.clone().wait_for(|reviewed| *reviewed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets nothing but the sign of life through until orders may be taken.
    pub(crate) fn guard(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), hold_back))
    }
}

async fn hold_back(State(reviewed): State<Reviewed>, request: Request, next: Next) -> Response {
    if *reviewed.0.borrow() || request.uri().path() == "/health/ping" {
        return next.run(request).await;
    }
    let detail = "the executor cannot yet ask the API server what its own rights are; send it again";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "rights-unreviewed").with_detail(detail);
    ProblemResponse(problem).into_response()
}

/// What is asked and what follows from the answer.
pub(crate) struct Review {
    cluster: Cluster,
    namespaces: Vec<String>,
    dangerous_allow_excess: bool,
    reviewed: watch::Sender<bool>,
}

/// The executor has more rights than it needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "{user} may do more than the action catalogue needs, and the executor does not run with it: {excess}. \
     Take it out of the RoleBindings and ClusterRoleBindings that grant this (`kubectl get \
     rolebindings,clusterrolebindings --all-namespaces --output wide` shows them; k8s/allowed-namespace \
     grants all that is needed), or accept the danger with DANGEROUS_ALLOW_EXCESS_RIGHTS=true"
)]
pub(crate) struct ExcessError {
    user: String,
    excess: Excess,
}

impl Review {
    /// A review for these allowed namespaces. With the dangerous switch orders are taken at once.
    pub(crate) fn new(
        cluster: Cluster,
        namespaces: impl IntoIterator<Item = String>,
        dangerous_allow_excess: bool,
    ) -> (Self, Reviewed) {
        let (reviewed, receiver) = watch::channel(dangerous_allow_excess);
        let namespaces = namespaces.into_iter().collect();
        (Self { cluster, namespaces, dangerous_allow_excess, reviewed }, Reviewed(receiver))
    }

    /// Asks until the API server has answered everything, then lets orders through or refuses to run.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), ExcessError> {
        let mut was_failing = false;
        let findings = loop {
            match self.ask().await {
                Ok(findings) => break findings,
                Err(error) if !was_failing => {
                    was_failing = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot ask the API server for the executor's rights; no order is taken before"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = shutdown.wait() => return Ok(()),
            }
        };
        self.judge(findings)
    }

    fn judge(&self, findings: Findings) -> Result<(), ExcessError> {
        let Findings { user, excess, missing } = findings;
        for (namespace, rights) in missing {
            let rights: Vec<_> = rights.iter().map(ToString::to_string).collect();
            tracing::warn!(
                namespace,
                missing = rights.join(", "),
                "rights are missing; bind k8s/allowed-namespace there"
            );
        }
        if let Some(excess) = excess.reduced() {
            if !self.dangerous_allow_excess {
                return Err(ExcessError { user, excess });
            }
            tracing::error!(
                user,
                excess = excess.to_string(),
                "DANGEROUS_ALLOW_EXCESS_RIGHTS is set: running with more rights than needed"
            );
        } else {
            tracing::info!(user, "the executor's rights are what the action catalogue needs, and no more");
        }
        self.reviewed.send_replace(true);
        Ok(())
    }

    async fn ask(&self) -> Result<Findings, ReadError> {
        let mut findings = Findings::default();
        let answer = self.cluster.ask(Question::Identity.path(), Question::Identity.body()).await?;
        findings.note(Question::Identity, answer)?;
        let limit = Arc::new(Semaphore::new(QUESTIONS_MAX));
        let mut asked = JoinSet::new();
        for question in self.questions(&findings.user) {
            let (cluster, limit) = (self.cluster.clone(), Arc::clone(&limit));
            asked.spawn(async move {
                let _turn = limit.acquire().await;
                let answer = cluster.ask(question.path(), question.body()).await?;
                Ok((question, answer))
            });
        }
        while let Some(answered) = asked.join_next().await {
            let (question, answer) =
                answered.map_err(|error| ReadError::Unavailable(error.to_string())).flatten()?;
            findings.note(question, answer)?;
        }
        Ok(findings)
    }

    fn questions(&self, user: &str) -> Vec<Question> {
        let mut questions = vec![Question::Rules { place: Place::Everywhere, allowed: false }];
        let others: BTreeSet<_> = SYSTEM_NAMESPACES.into_iter().chain(home_of(user)).collect();
        for name in others.into_iter().filter(|name| self.namespaces.iter().all(|allowed| allowed != name)) {
            questions.push(Question::Rules { place: Place::Namespace(name.to_owned()), allowed: false });
        }
        for name in &self.namespaces {
            let place = || Place::Namespace(name.clone());
            questions.push(Question::Rules { place: place(), allowed: true });
            questions.extend(DANGEROUS.map(|right| Question::Access { place: place(), right }));
        }
        let everywhere = DANGEROUS.into_iter().chain(DANGEROUS_EVERYWHERE).chain(needed().into_keys());
        questions.extend(everywhere.map(|right| Question::Access { place: Place::Everywhere, right }));
        questions
    }
}

/// The namespace of a service account: what it may do there, beside the Secrets of this executor.
fn home_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:serviceaccount:")?.split(':').next()
}

/// One question to the API server.
#[derive(Clone, Debug)]
enum Question {
    /// Who am I?
    Identity,
    /// Which rules hold there?
    Rules { place: Place, allowed: bool },
    /// May I do this there?
    Access { place: Place, right: Right },
}

impl Question {
    fn path(&self) -> &'static str {
        match self {
            Self::Identity => "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            Self::Rules { .. } => "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            Self::Access { .. } => "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        }
    }

    fn body(&self) -> Value {
        let (group, kind, spec) = match self {
            Self::Identity => ("authentication.k8s.io", "SelfSubjectReview", json!({})),
            Self::Rules { place, .. } => {
                let namespace = match place {
                    Place::Everywhere => NOWHERE,
                    Place::Namespace(name) => name,
                };
                ("authorization.k8s.io", "SelfSubjectRulesReview", json!({ "namespace": namespace }))
            }
            Self::Access { place, right } => {
                let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
                let mut attributes = json!({
                    "group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb,
                });
                if let Place::Namespace(name) = place {
                    attributes["namespace"] = json!(name);
                }
                (
                    "authorization.k8s.io",
                    "SelfSubjectAccessReview",
                    json!({ "resourceAttributes": attributes }),
                )
            }
        };
        json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec })
    }
}

#[derive(Debug, Default)]
struct Findings {
    user: String,
    excess: Excess,
    /// By allowed namespace.
    missing: Vec<(String, Vec<Right>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
}

#[derive(Deserialize)]
struct Access {
    allowed: bool,
}

impl Findings {
    fn note(&mut self, question: Question, mut answer: Value) -> Result<(), ReadError> {
        let status = answer["status"].take();
        match question {
            Question::Identity => self.user = read::<Identity>(status)?.user_info.username,
            Question::Rules { place, allowed } => {
                let rules: Rules = read(status)?;
                if let (true, Place::Namespace(name)) = (allowed, &place) {
                    let missing = rules.missing();
                    if !missing.is_empty() {
                        self.missing.push((name.clone(), missing));
                    }
                }
                self.excess.add(place, rules.excess(allowed));
            }
            Question::Access { place, right } => {
                if read::<Access>(status)?.allowed {
                    self.excess.add(place, [right.to_string()]);
                }
            }
        }
        Ok(())
    }
}

fn read<T: for<'de> Deserialize<'de>>(status: Value) -> Result<T, ReadError> {
    serde_json::from_value(status)
        .map_err(|error| ReadError::Unavailable(format!("an answer that is none: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_the_whole_cluster_names_no_namespace() {
        let right = Right::new("", "pods/exec", "create");
        let ask =
            |place: Place| Question::Access { place, right }.body()["spec"]["resourceAttributes"].take();
        let everywhere = ask(Place::Everywhere);
        assert_eq!(everywhere.get("namespace"), None);
        assert_eq!((&everywhere["resource"], &everywhere["subresource"]), (&json!("pods"), &json!("exec")));
        assert_eq!(ask(Place::Namespace("shop".to_owned()))["namespace"], "shop");
    }

    #[test]
    fn nothing_that_is_needed_counts_as_dangerous_where_it_is_allowed() {
        assert!(DANGEROUS.iter().all(|right| !needed().contains_key(right)));
    }

    #[test]
    fn a_service_account_lives_in_a_namespace_and_other_users_do_not() {
        assert_eq!(home_of("system:serviceaccount:aegis-system:aegis-executor"), Some("aegis-system"));
        assert_eq!(home_of("kubernetes-admin"), None);
    }

    #[test]
    fn an_answer_that_is_none_allows_nothing() {
        let right = Right::new("", "pods", "create");
        let asked = Question::Access { place: Place::Everywhere, right };
        assert!(Findings::default().note(asked, json!({ "kind": "Status" })).is_err());
    }
}

//! Asks the API server what the executor's accounts may do, and judges the answers: with more than the table the
//! executor does not run.
//!
//! Roles bound in namespaces that nobody names here cannot be found: that would need the right to list
//! namespaces.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aegis_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::excess::{Excess, Place, Rules};
use super::questions::{Question, about};
use super::{Account, Right};
use crate::cluster::{Cluster, ReadError};

/// Questions on their way at one time: a start takes a fraction of a second, and the API server hardly notices.
const QUESTIONS_MAX: usize = 16;

/// Why the executor must not act in these namespaces, or not yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// The API server has not answered everything.
    #[error("cannot ask the API server for the rights of the {} account", .0.as_str())]
    Unanswered(Account, #[source] ReadError),
    /// An account has more rights than it needs.
    #[error(transparent)]
    Excess(#[from] ExcessError),
}

/// An account has more rights than it needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExcessError {
    /// These.
    #[error(
        "{user} may do more than the action catalogue needs, and the executor does not run with it: {excess}. \
         Take it out of the RoleBindings and ClusterRoleBindings that grant this (`kubectl get \
         rolebindings,clusterrolebindings --all-namespaces --output wide` shows them; k8s/allowed-namespace \
         grants all that is needed), or accept the danger with DANGEROUS_ALLOW_EXCESS_RIGHTS=true"
    )]
    Rights {
        /// The account, as the API server calls it.
        user: String,
        /// What is too much.
        excess: Excess,
    },
    /// Both tokens are of one account, which therefore could do what two should do apart.
    #[error(
        "{0} is the account for everything and for rollbacks too: ROLLBACK_TOKEN_FILE \
         must hold a token of an account of its own (k8s/rollback)"
    )]
    OneAccount(String),
}

/// Reviews the executor's accounts. Clones share their metrics.
#[derive(Clone)]
pub(crate) struct Reviewer {
    accounts: Vec<(Account, Cluster)>,
    dangerous_allow_excess: bool,
    metrics: RightsMetrics,
}

#[derive(Clone, Default)]
struct RightsMetrics {
    missing: Family<AccountLabels, Gauge<u64, AtomicU64>>,
    excess: Family<AccountLabels, Gauge<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabels {
    account: &'static str,
}

impl Reviewer {
    /// A reviewer of these accounts, each with a client that signs in as it.
    pub(crate) fn new(
        accounts: Vec<(Account, Cluster)>,
        dangerous_allow_excess: bool,
        metrics: &Metrics,
    ) -> Self {
        let gauges = RightsMetrics::default();
        metrics.register(
            "rights_missing",
            "Rights that an account of the executor lacks, in all allowed namespaces together",
            gauges.missing.clone(),
        );
        metrics.register(
            "rights_excess",
            "Rights that an account of the executor has and does not need",
            gauges.excess.clone(),
        );
        Self { accounts, dangerous_allow_excess, metrics: gauges }
    }

    /// Whether the executor runs whatever it finds.
    pub(super) fn dangerous_allow_excess(&self) -> bool {
        self.dangerous_allow_excess
    }

    /// Asks everything about all accounts, and refuses what is too much. What is lacking is told, and no more.
    pub(crate) async fn review(&self, namespaces: &[String]) -> Result<(), ReviewError> {
        let mut all = Vec::new();
        for (account, cluster) in &self.accounts {
            let findings = ask(*account, cluster, namespaces).await;
            all.push(findings.map_err(|error| ReviewError::Unanswered(*account, error))?);
        }
        if let [one, other] = &all[..]
            && one.user == other.user
            && !self.dangerous_allow_excess
        {
            return Err(ExcessError::OneAccount(one.user.clone()).into());
        }
        all.into_iter().try_for_each(|findings| self.judge(findings))?;
        Ok(())
    }

    fn judge(&self, findings: Findings) -> Result<(), ExcessError> {
        let Findings { account, user, excess, missing } = findings;
        let labels = AccountLabels { account: account.as_str() };
        let lacking: usize = missing.iter().map(|(_, rights)| rights.len()).sum();
        self.metrics.missing.get_or_create(&labels).set(count(lacking));
        for (namespace, rights) in missing {
            let rights: Vec<_> = rights.iter().map(ToString::to_string).collect();
            tracing::warn!(
                account = account.as_str(),
                user,
                namespace,
                missing = rights.join(", "),
                "rights are missing; bind {} there",
                role_of(account)
            );
        }
        let excess = excess.reduced();
        self.metrics.excess.get_or_create(&labels).set(count(excess.as_ref().map_or(0, Excess::count)));
        match excess {
            Some(excess) if !self.dangerous_allow_excess => return Err(ExcessError::Rights { user, excess }),
            Some(excess) => tracing::error!(
                account = account.as_str(),
                user,
                excess = excess.to_string(),
                "DANGEROUS_ALLOW_EXCESS_RIGHTS is set: running with more rights than needed"
            ),
            None => tracing::info!(
                account = account.as_str(),
                user,
                "the account's rights are what the action catalogue needs, and no more"
            ),
        }
        Ok(())
    }
}

fn count(rights: usize) -> u64 {
    u64::try_from(rights).unwrap_or(u64::MAX)
}

fn role_of(account: Account) -> &'static str {
    match account {
        Account::Executor => "k8s/allowed-namespace",
        Account::Rollback => "k8s/allowed-namespace/rollback",
    }
}

async fn ask(account: Account, cluster: &Cluster, namespaces: &[String]) -> Result<Findings, ReadError> {
    let answer = cluster.ask(Question::Identity.path(), Question::Identity.body()).await?;
    let mut findings = Findings::of(account, answer)?;
    let limit = Arc::new(Semaphore::new(QUESTIONS_MAX));
    let mut asked = JoinSet::new();
    for question in about(account, &findings.user, namespaces) {
        let (cluster, limit) = (cluster.clone(), Arc::clone(&limit));
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

#[derive(Debug)]
struct Findings {
    account: Account,
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
    fn of(account: Account, mut identity: Value) -> Result<Self, ReadError> {
        let user = read::<Identity>(identity["status"].take())?.user_info.username;
        Ok(Self { account, user, excess: Excess::default(), missing: Vec::new() })
    }

    fn note(&mut self, question: Question, mut answer: Value) -> Result<(), ReadError> {
        let status = answer["status"].take();
        match question {
            Question::Identity => {}
            Question::Rules { place, allowed } => {
                let rules: Rules = read(status)?;
                if let (true, Place::Namespace(name)) = (allowed, &place) {
                    let missing = rules.missing(self.account);
                    if !missing.is_empty() {
                        self.missing.push((name.clone(), missing));
                    }
                }
                self.excess.add(place, rules.excess(self.account, allowed));
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
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_is_none_allows_nothing() {
        let right = Right::new("", "pods", "create");
        let identity = json!({ "status": { "userInfo": { "username": "system:serviceaccount:a:b" } } });
        let mut findings = Findings::of(Account::Rollback, identity).unwrap();
        let asked = Question::Access { place: Place::Everywhere, right };
        assert!(findings.note(asked, json!({ "kind": "Status" })).is_err());
        assert!(Findings::of(Account::Executor, json!({ "kind": "Status" })).is_err());
    }
}

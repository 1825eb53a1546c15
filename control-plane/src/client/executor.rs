//! The executors: signs orders, sends them, and believes only receipts signed by the cluster's own
//! executor about the very order that was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegis_contract::action::Change;
use aegis_contract::canonical;
use aegis_contract::code::RefusalCode;
use aegis_contract::digest::Digest;
use aegis_contract::dsse::{Envelope, OrderKey, ReceiptVerifier};
use aegis_contract::facts::{Facts, Observation};
use aegis_contract::order::{
    CONTRACT_VERSION, Follow, Instruction, NEEDS, Observe, Order, OrderRequest, Resolve,
};
use aegis_contract::plan::Obstacle;
use aegis_contract::problem::Problem;
use aegis_contract::receipt::{AttemptName, Receipt, Stage};
use aegis_contract::strict::{self, Limits};
use aegis_contract::target::Target;
use aegis_evidence::{Evidence, Head};
use aegis_runtime::clock;
use aegis_runtime::trace_context::{TRACEPARENT, TraceContext};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use tracing::warn;

use super::report::{Report, note};
use super::transport::Transport;
use crate::error::Error;
use crate::seal::{Keyring, Purpose};
use crate::store::clusters::{self, Cluster, Contact, SeenLedger};
use crate::store::{self, ANSWER_WITHIN, Store};

/// How much longer than its `wait` an executor may take to answer.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// How long an executor may take to say what a target looks like: when everything is slow, a slow answer helps more than
/// none.
const OBSERVE_WITHIN: Duration = Duration::from_secs(5);

/// Speaks to every cluster's executor.
#[derive(Clone)]
pub struct ExecutorClient {
    transport: Transport,
    store: Store,
    keyring: Keyring,
    order_lifetime: SignedDuration,
    held: HeldHeads,
}

/// How many entries the head has that each cluster's executor holds, as far as this process knows.
type HeldHeads = Arc<Mutex<HashMap<String, u64>>>;

/// What an executor saw of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The object as it is.
    Present(Box<Facts>),
    /// There is no such object.
    Absent,
    /// The executor may not look at it.
    Refused {
        /// Why.
        code: RefusalCode,
        /// For people.
        message: String,
    },
}

impl Observed {
    /// Why the executor would refuse the change that it was asked to plan.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match self {
            Self::Present(facts) => facts.plan.as_ref()?.obstacle.as_ref(),
            Self::Absent | Self::Refused { .. } => None,
        }
    }
}

/// How long an executor is asked to wait with its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// For the action's end, at most so long.
    pub time: Duration,
    /// How many of its steps are known: it is to answer earlier once more are done.
    pub steps: Option<usize>,
}

/// A believed answer to an acting or resolving order.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the executor says.
    pub receipt: Receipt,
    /// The envelope as received.
    pub envelope: Vec<u8>,
    /// The highest ledger row known before the order was sent.
    pub row_before: u64,
}

/// Why there is no believable answer. None of these says that nothing happened.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Not connected, or no answer in time.
    #[error("the executor cannot be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// Answered with an error instead of a receipt.
    #[error("the executor answered {status} {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
    },
    /// Needs a proof that the log has grown from the head it holds.
    #[error("the executor needs a proof from its head of {needs} entries")]
    HeadUnknown {
        /// Entries of that head.
        needs: u64,
    },
    /// Answered with something that is not its receipt for this order.
    #[error("the executor's answer is not believable: {0}")]
    NotBelieved(String),
    /// The control plane could not look up what it needs.
    #[error("the order could not be prepared")]
    Internal(#[source] Box<Error>),
}

impl From<Error> for DeliveryError {
    fn from(error: Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

/// All that is needed to speak to one cluster's executor.
pub struct Link {
    /// The cluster, with what its executor said of itself last.
    pub(super) cluster: Cluster,
    key: OrderKey,
    verifier: ReceiptVerifier,
    /// The ledger last seen there; orders are signed for it.
    pub ledger: Option<SeenLedger>,
}

impl Link {
    /// Signs an order: its envelope, and the digest that receipts will name.
    pub fn sign(
        &self,
        instruction: Instruction,
        issued_at: Timestamp,
        not_after: Timestamp,
    ) -> Result<SignedOrder, Error> {
        let order = Order {
            contract: CONTRACT_VERSION,
            audience: self.cluster.name.clone(),
            nonce: strict::base64_encode(&clock::random_bytes::<18>()),
            issued_at,
            not_after,
            instruction,
        };
        let payload = canonical::to_bytes(&order).map_err(Error::internal)?;
        Ok(SignedOrder { digest: Digest::of(&payload), envelope: self.key.seal(&payload) })
    }
}

/// The bytes of an order's envelope, and the digest of its payload.
#[derive(Clone, Debug)]
pub struct SignedOrder {
    /// Digest of the payload.
    pub digest: Digest,
    /// The envelope.
    pub envelope: Vec<u8>,
}

impl ExecutorClient {
    /// A client that signs orders to live for `order_lifetime`.
    pub fn new(transport: Transport, store: Store, keyring: Keyring, order_lifetime: SignedDuration) -> Self {
        Self { transport, store, keyring, order_lifetime, held: HeldHeads::default() }
    }

    /// Whether a cluster's executor says that it can take orders.
    pub async fn is_ready(&self, cluster: &Cluster) -> bool {
        let Ok(client) = self.transport.to(&cluster.name) else { return false };
        let url = cluster.executor_url.trim_end_matches('/');
        let asked = client.get(format!("{url}/health/ready")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// The executor of a cluster, its keys and its ledger.
    ///
    /// # Errors
    /// `UnknownCluster`; `Internal` when it lacks a live key.
    pub async fn link(&self, conn: &mut PgConnection, cluster: &str) -> Result<Link, Error> {
        let contact = clusters::contact(conn, cluster).await?;
        let Contact { cluster, order_key, receipt_keys, ledger } =
            contact.ok_or_else(|| Error::UnknownCluster(cluster.to_owned()))?;
        let lacks =
            |what| Error::internal(anyhow::anyhow!("cluster {} has no live {what} key", cluster.name));
        let sealed = order_key.ok_or_else(|| lacks("order"))?;
        let key = self.keyring.open_shared_secret(Purpose::OrderKey, &sealed.key)?;
        let key = OrderKey::new(&sealed.id, key).map_err(Error::internal)?;
        let mut verifier: Option<ReceiptVerifier> = None;
        for key in &receipt_keys {
            verifier = Some(
                match verifier {
                    None => ReceiptVerifier::from_public_pem(key),
                    Some(verifier) => verifier.and_public_pem(key),
                }
                .map_err(Error::internal)?,
            );
        }
        let verifier = verifier.ok_or_else(|| lacks("receipt"))?;
        Ok(Link { cluster, key, verifier, ledger })
    }

    /// Asks what a target looks like and what a change would do to it.
    ///
    /// # Errors
    /// `UnknownCluster`; `ExecutorUnavailable`; those of the database.
    pub async fn observe(
        &self,
        target: &Target,
        change: &Change,
        trace: TraceContext,
    ) -> Result<Observed, Error> {
        let link = store::within(ANSWER_WITHIN, async {
            self.link(&mut *self.store.acquire().await?, &target.cluster).await
        })
        .await?;
        let look = async {
            let now = clock::now();
            let observe = Observe { target: target.clone(), change: Some(change.clone()) };
            let instruction = Instruction::Observe(observe);
            let order = link.sign(instruction, now, now + self.order_lifetime)?;
            let (receipt, _) = self.post(&link, &order, None, Wait::default(), trace).await?;
            let ledger = receipt.ledger;
            let (observed, allowed_namespaces) = observed(receipt)?;
            note(&self.store, &link, Report { ledger, allowed_namespaces }).await?;
            Ok::<Observed, DeliveryError>(observed)
        };
        match tokio::time::timeout(OBSERVE_WITHIN, look).await {
            Ok(Ok(observed)) => return Ok(observed),
            Ok(Err(DeliveryError::Internal(error))) => return Err(*error),
            Ok(Err(error)) => {
                warn!(error = &error as &dyn std::error::Error, cluster = target.cluster, "cannot observe");
            }
            Err(_) => warn!(cluster = target.cluster, "the executor did not say in time what it sees"),
        }
        Err(Error::ExecutorUnavailable { cluster: target.cluster.clone() })
    }

    /// How many entries the head has that a cluster's executor holds, if it has said so.
    pub fn held(&self, cluster: &str) -> Option<u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).copied()
    }

    fn note_held(&self, cluster: &str, size: u64) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster.to_owned(), size);
    }

    /// Has an executor follow the log; the newest head it holds then.
    pub async fn follow(&self, link: &Link, follow: Follow) -> Result<Head, DeliveryError> {
        let now = clock::now();
        let order = link.sign(Instruction::Follow(follow), now, now + self.order_lifetime)?;
        let (receipt, _) = self.post(link, &order, None, Wait::default(), TraceContext::start()).await?;
        match receipt.stage {
            Stage::Followed if receipt.order_digest == order.digest => Ok(receipt.head),
            _ => Err(DeliveryError::NotBelieved(
                "a following order was answered with another stage".to_owned(),
            )),
        }
    }

    /// Sends an attempt's stored bytes, the first time or again, and waits for its end.
    pub async fn send(
        &self,
        link: &Link,
        attempt: AttemptName,
        order: &SignedOrder,
        evidence: Evidence,
        wait: Wait,
        trace: TraceContext,
    ) -> Result<Answer, DeliveryError> {
        let (receipt, envelope) = self.post(link, order, Some(evidence), wait, trace).await?;
        if receipt.order_digest != order.digest || receipt.attempt != Some(attempt) {
            return Err(DeliveryError::NotBelieved("the receipt is for another order".to_owned()));
        }
        Ok(Answer { receipt, envelope, row_before: row_before(link) })
    }

    /// Asks what became of an attempt after its time, and waits for its end. An attempt
    /// that the ledger does not know, and all earlier ones, can never begin from then on.
    pub async fn resolve(
        &self,
        link: &Link,
        attempt: AttemptName,
        sent: Digest,
        wait: Wait,
        trace: TraceContext,
    ) -> Result<Answer, DeliveryError> {
        let now = clock::now();
        let AttemptName { action_id, attempt: number } = attempt;
        let instruction = Instruction::Resolve(Resolve { action_id, attempt: number });
        let order = link.sign(instruction, now, now + self.order_lifetime)?;
        let (receipt, envelope) = self.post(link, &order, None, wait, trace).await?;
        // A stored final receipt names the acting order; a fresh one names the resolving order.
        let ours = receipt.order_digest == order.digest || receipt.order_digest == sent;
        if !ours || receipt.attempt.map(|named| named.action_id) != Some(action_id) {
            return Err(DeliveryError::NotBelieved("the receipt is for another order".to_owned()));
        }
        Ok(Answer { receipt, envelope, row_before: row_before(link) })
    }

    async fn post(
        &self,
        link: &Link,
        order: &SignedOrder,
        evidence: Option<Evidence>,
        wait: Wait,
        trace: TraceContext,
    ) -> Result<(Receipt, Vec<u8>), DeliveryError> {
        let envelope = Envelope::from_slice(&order.envelope)
            .map_err(|error| Error::internal(anyhow::Error::from(error)))?;
        let mut request = self
            .transport
            .to(&link.cluster.name)?
            .post(format!("{}/v1/orders", link.cluster.executor_url.trim_end_matches('/')))
            .header(TRACEPARENT, trace.child().to_string())
            .timeout(wait.time + ANSWER_GRACE)
            .json(&OrderRequest { order: envelope, evidence });
        if !wait.time.is_zero() {
            request = request.query(&[("wait", wait.time.as_secs())]);
        }
        if let Some(steps) = wait.steps {
            request = request.query(&[("steps", steps)]);
        }
        let response = request.send().await?;
        let status = response.status();
        let body = read_bounded(response).await?;
        if !status.is_success() {
            let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
                let code = "no-problem-body".to_owned();
                return Err(DeliveryError::Refused { status: status.as_u16(), code });
            };
            if let Some(needs) = problem.extensions.get(NEEDS).and_then(Value::as_u64) {
                self.note_held(&link.cluster.name, needs);
                return Err(DeliveryError::HeadUnknown { needs });
            }
            return Err(DeliveryError::Refused { status: status.as_u16(), code: problem.code });
        }
        let payload = link
            .verifier
            .open(&body)
            .map_err(|error| DeliveryError::NotBelieved(format!("receipt: {error}")))?;
        let receipt: Receipt = strict::from_slice(&payload, Limits::WIRE)
            .map_err(|error| DeliveryError::NotBelieved(format!("receipt: {error}")))?;
        if receipt.contract != CONTRACT_VERSION || receipt.cluster != link.cluster.name {
            return Err(DeliveryError::NotBelieved(
                "the receipt is of another cluster or contract version".to_owned(),
            ));
        }
        self.note_held(&link.cluster.name, receipt.head.size);
        Ok((receipt, body))
    }
}

/// What an answer says of the target, and which namespaces the executor may touch.
fn observed(receipt: Receipt) -> Result<(Observed, Vec<String>), DeliveryError> {
    match receipt.stage {
        Stage::Observed { observation: Observation::Present { facts }, allowed_namespaces } => {
            Ok((Observed::Present(Box::new(facts)), allowed_namespaces))
        }
        Stage::Observed { observation: Observation::Absent, allowed_namespaces } => {
            Ok((Observed::Absent, allowed_namespaces))
        }
        Stage::ObservationRefused { code, message, allowed_namespaces } => {
            Ok((Observed::Refused { code, message }, allowed_namespaces))
        }
        Stage::Running { .. }
        | Stage::Closed
        | Stage::Refused { .. }
        | Stage::Finished { .. }
        | Stage::Followed => {
            Err(DeliveryError::NotBelieved("an observing order was answered with another stage".to_owned()))
        }
    }
}

fn row_before(link: &Link) -> u64 {
    link.ledger.map_or(0, |ledger| ledger.row_seen)
}

/// Reads a body of at most the size a receipt may have.
async fn read_bounded(mut response: reqwest::Response) -> Result<Vec<u8>, DeliveryError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > Limits::WIRE.bytes_max {
            return Err(DeliveryError::NotBelieved("the answer is larger than 64 KiB".to_owned()));
        }
    }
    Ok(body)
}

//! The executor alone, on a real cluster and a real ledger, with the test as its control plane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegis_contract::action::Change;
use aegis_contract::canonical;
use aegis_contract::digest::Digest;
use aegis_contract::dsse::{Envelope, OrderKey, ReceiptKey, ReceiptVerifier};
use aegis_contract::facts::{Facts, Observation};
use aegis_contract::ids::ActionId;
use aegis_contract::intent::{ENTRY_SCHEMA, Entry, INTENT_KIND, Intent};
use aegis_contract::key::SharedSecret;
use aegis_contract::order::{
    Act, CONTRACT_VERSION, Instruction, Observe, Order, OrderRequest, Preconditions, Resolve,
};
use aegis_contract::plan::Plan;
use aegis_contract::receipt::{ExecutionResult, Receipt, Stage};
use aegis_contract::strict::{self, Limits, base64_encode};
use aegis_contract::target::{Kind, Target};
use aegis_evidence::Evidence;
use aegis_tests::cluster::Cluster;
use aegis_tests::database::{Database, Server, Service};
use aegis_tests::eventually::{eventually, until};
use aegis_tests::executor_accounts::{EXECUTOR_ACCOUNT, EXECUTOR_NAMESPACE};
use aegis_tests::fault_proxy::{FaultProxy, Hold, Matching, Moment};
use aegis_tests::kube_audit::KubeRequest;
use aegis_tests::kubernetes::Endpoint;
use aegis_tests::paths::{RunFolder, binary, random, random_name, write_private};
use aegis_tests::ports;
use aegis_tests::process::{Launch, Process};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, raw_sql};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::log::TestLog;

/// The audience of the executors under test.
pub(crate) const CLUSTER: &str = "local";
/// What an executor does takes seconds; a busy machine is given much more before the test fails.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);

/// One executor process, with a fault proxy between it and the API server.
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) api_server: FaultProxy,
    url: String,
}

/// Executors over one ledger, and the keys to order them about.
pub(crate) struct Bench {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) database: Database,
    pub(crate) namespace: String,
    pub(crate) order_key: OrderKey,
    /// The log that the intents of its orders are in.
    pub(crate) log: TestLog,
    /// Held from an order's place in the log until it arrived: each is proven from the one before.
    turns: Mutex<()>,
    receipts: ReceiptVerifier,
    http: reqwest::Client,
    folder: RunFolder,
}

/// An HTTP answer of an executor.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The code of a problem body.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or("no problem body").to_owned()
    }
}

impl Bench {
    /// Starts executors on the cluster and the database server that the tests of one process share.
    pub(crate) async fn start(replicas: usize) -> Result<Self> {
        let server = Server::shared().await?;
        Self::start_on(&server, replicas, &[]).await
    }

    /// Starts executors on a database server of the test's own, with further settings.
    pub(crate) async fn start_on(
        server: &Server,
        replicas: usize,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let database = server.fresh(Service::Executor).await?;
        let folder = RunFolder::create("executor")?;
        let secret = random::<32>();
        let order_key = OrderKey::new("test-1", SharedSecret::from_bytes(&secret)?)?;
        let receipt_key = ReceiptKey::from_seed(&random());
        let receipts = ReceiptVerifier::from_public_pem(&receipt_key.public_pem())?;
        let namespace = prepare_namespace(&cluster).await?;

        write_private(&folder.path().join("order-key"), base64_encode(&secret))?;
        write_private(&folder.path().join("receipt-key"), receipt_key.to_pkcs8_pem())?;
        write_private(&folder.path().join("database-url"), &database.url)?;
        let mut bench = Self {
            replicas: Vec::new(),
            cluster,
            database,
            namespace,
            order_key,
            log: TestLog::new(&random())?,
            turns: Mutex::default(),
            receipts,
            http: reqwest::Client::builder().no_proxy().build()?,
            folder,
        };
        for index in 0..replicas {
            let replica = bench.start_replica(index, settings).await?;
            bench.replicas.push(replica);
        }
        for index in 0..replicas {
            bench.wait_until_ready(index).await?;
        }
        Ok(bench)
    }

    async fn start_replica(&self, index: usize, settings: &[(&str, &str)]) -> Result<Replica> {
        let folder = self.folder.path();
        let Endpoint { server, authority_pem } = self.cluster.endpoint().await?;
        let api_server = FaultProxy::start(vec![server], authority_pem.as_deref()).await?;
        let reached_at = Endpoint { server: api_server.url().to_owned(), authority_pem: None };
        let kubeconfig = folder.join(format!("kubeconfig-{index}"));
        self.cluster
            .write_service_account_kubeconfig(&kubeconfig, &reached_at, EXECUTOR_NAMESPACE, EXECUTOR_ACCOUNT)
            .await?;
        let rollback_token = folder.join(format!("rollback-token-{index}"));
        self.cluster.write_rollback_token(&rollback_token).await?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let mut launch = Launch::new(binary(Service::Executor.program())?)
            .arg("serve")
            .env("LISTEN_ADDRESS", &address)
            .env("CLUSTER", CLUSTER)
            .env("ALLOWED_NAMESPACES", format!("{},kube-system", self.namespace))
            .env("KUBECONFIG_FILE", kubeconfig)
            .env("ROLLBACK_TOKEN_FILE", rollback_token)
            .env("DATABASE_URL_FILE", folder.join("database-url"))
            .env("ORDER_KEY_ID", self.order_key.id())
            .env("ORDER_KEY_FILE", folder.join("order-key"))
            .env("RECEIPT_KEY_FILE", folder.join("receipt-key"))
            .env("LOG_KEYS", self.log.key())
            .env("LOG_FIRST_HEAD", "empty")
            // Revisions of a moment ago are good enough, but where a test says otherwise.
            .env("ROLLBACK_SOAK_SECONDS", "0");
        for (name, value) in settings {
            launch = launch.env(name, value);
        }
        let log = folder.join(format!("executor-{index}.log"));
        let process = Process::start(&format!("executor-{index}"), launch, &log)?;
        Ok(Replica { process, api_server, url: format!("http://{address}") })
    }

    /// Waits until a replica takes orders.
    pub(crate) async fn wait_until_ready(&self, index: usize) -> Result<()> {
        let Replica { process, url, .. } = &self.replicas[index];
        until("an executor becoming ready", WITHIN, async || {
            process.ensure_running()?;
            Ok(self.http.get(format!("{url}/health/ready")).send().await?.status().is_success())
        })
        .await
    }

    /// Kills a replica and starts it again.
    pub(crate) async fn restart(&self, index: usize) -> Result<()> {
        self.replicas[index].process.restart()?;
        self.wait_until_ready(index).await
    }

    /// The text of a replica's page.
    pub(crate) async fn page(&self, index: usize, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.replicas[index].url);
        Ok(self.http.get(url).send().await?.text().await?)
    }

    /// Sends an order to the first replica and waits until a call that it makes is held; returns the order's bytes.
    pub(crate) async fn send_until_held(
        &self,
        order: &Order,
        call: Matching,
        at: Moment,
    ) -> Result<(Vec<u8>, Hold)> {
        let body = self.sign(order)?;
        let mut hold = self.replicas[0].api_server.hold(call, at);
        self.send(0, &body, 0).await?;
        hold.reached().await?;
        Ok((body, hold))
    }

    /// Sends a body to a replica.
    pub(crate) async fn send(&self, index: usize, body: &[u8], wait: u32) -> Result<Answer> {
        self.sending(index, body, wait).await
    }

    /// The same, to be done whenever and wherever.
    pub(crate) fn sending(
        &self,
        index: usize,
        body: &[u8],
        wait: u32,
    ) -> impl Future<Output = Result<Answer>> + use<> {
        let url = format!("{}/v1/orders?wait={wait}", self.replicas[index].url);
        let request = self.http.post(url).body(body.to_vec());
        async move {
            let answer = request.send().await?;
            Ok(Answer { status: answer.status().as_u16(), body: answer.bytes().await?.to_vec() })
        }
    }

    /// The receipt in an answer, its signature proven.
    pub(crate) fn receipt(&self, answer: &Answer) -> Result<Receipt> {
        ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let receipt: Receipt = strict::from_slice(&self.receipts.open(&answer.body)?, Limits::WIRE)?;
        ensure!(receipt.contract == CONTRACT_VERSION && receipt.cluster == CLUSTER, "{receipt:?}");
        Ok(receipt)
    }

    /// Sends a body and reads the stage from the receipt.
    pub(crate) async fn stage(&self, index: usize, body: &[u8], wait: u32) -> Result<Stage> {
        Ok(self.receipt(&self.send(index, body, wait).await?)?.stage)
    }

    /// The body that carries an order under the executors' key, and shows that its intent is in the log.
    pub(crate) fn sign(&self, order: &Order) -> Result<Vec<u8>> {
        let evidence = match &order.instruction {
            Instruction::Act(act) => {
                strict::base64_decode(&act.intent).ok().map(|entry| self.log.add(&entry))
            }
            _ => None,
        };
        self.sign_beside(order, evidence.transpose()?)
    }

    /// The body that carries an order under the executors' key, with this evidence beside it.
    pub(crate) fn sign_beside(&self, order: &Order, evidence: Option<Evidence>) -> Result<Vec<u8>> {
        let order = Envelope::from_slice(&self.order_key.seal(&canonical::to_bytes(order)?))?;
        Ok(serde_json::to_vec(&OrderRequest { order, evidence })?)
    }

    /// What an executor answers when it is asked about a target.
    pub(crate) async fn observe(&self, target: &Target) -> Result<Receipt> {
        self.look_at(target, None).await
    }

    /// What an executor answers when it is asked about a target, and what a change would do to it.
    async fn look_at(&self, target: &Target, change: Option<&Change>) -> Result<Receipt> {
        let observe = Observe { target: target.clone(), change: change.cloned() };
        let observe = order(Instruction::Observe(observe), 30);
        self.receipt(&self.send(0, &self.sign(&observe)?, 0).await?)
    }

    /// The facts of a target, as an executor reports them.
    pub(crate) async fn facts(&self, target: &Target) -> Result<Facts> {
        facts_in(self.observe(target).await?.stage)
    }

    /// The plan of a change, as an executor reports it.
    pub(crate) async fn plan(&self, change: &Change, target: &Target) -> Result<Plan> {
        let facts = facts_in(self.look_at(target, Some(change)).await?.stage)?;
        facts.plan.map(|plan| *plan).context("no plan")
    }

    /// A target in the allowed namespace.
    pub(crate) fn target(&self, kind: Kind, name: &str) -> Target {
        Target { cluster: CLUSTER.to_owned(), namespace: self.namespace.clone(), kind, name: name.to_owned() }
    }

    /// A complete Deployment with three pods.
    pub(crate) async fn deploy(&self, name: &str) -> Result<Target> {
        self.cluster.apply_in(&self.namespace, deployment(name, "app:1", 3)).await?;
        self.cluster.wait_rolled_out(&self.namespace, &format!("deployment/{name}")).await?;
        Ok(self.target(Kind::Deployment, name))
    }

    /// An act on the target as it stands.
    pub(crate) async fn act(&self, change: Change, target: Target) -> Result<Act> {
        let seen = self.look_at(&target, Some(&change)).await?;
        act_on(seen, change, target)
    }

    /// The same where the change may not be planned: an executor would not do it.
    pub(crate) async fn act_unplanned(&self, change: Change, target: Target) -> Result<Act> {
        let seen = self.observe(&target).await?;
        act_on(seen, change, target)
    }

    /// Carries an act out on the first replica and returns how it ended.
    pub(crate) async fn carry_out(&self, act: &Act) -> Result<ExecutionResult> {
        let body = {
            let _turn = self.turns.lock().await;
            let body = self.sign(&act_order(act, 30))?;
            self.send(0, &body, 0).await?;
            body
        };
        self.finished(0, &body).await
    }

    /// Sends the same bytes until the action has ended, however often the connection breaks.
    pub(crate) async fn finished(&self, index: usize, body: &[u8]) -> Result<ExecutionResult> {
        eventually("the action's end", WITHIN, async || {
            Ok(match self.stage(index, body, 5).await? {
                Stage::Finished { result } => Some(result),
                Stage::Running { .. } => None,
                stage => bail!("{stage:?}"),
            })
        })
        .await
    }

    /// A resolving order for an attempt.
    pub(crate) fn resolve(&self, action_id: ActionId, attempt: u32) -> Result<Vec<u8>> {
        self.sign(&order(Instruction::Resolve(Resolve { action_id, attempt }), 30))
    }

    /// The effective writes that name an action, as the API server recorded them.
    pub(crate) fn writes(&self, action_id: ActionId) -> Result<Vec<KubeRequest>> {
        self.cluster.audit().writes_by_agent(&format!("(action {action_id})"))
    }

    /// Asks the executors' database.
    pub(crate) async fn query(&self, sql: &str) -> Result<Vec<PgRow>> {
        let mut connection = PgConnection::connect(&self.database.superuser_url).await?;
        let rows = raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(rows)
    }

    /// How many ledger rows of each kind an action has.
    pub(crate) async fn rows(&self, action_id: ActionId) -> Result<BTreeMap<String, i64>> {
        let sql =
            format!("select kind, count(*) from ledger.rows where action_id = '{action_id}' group by kind");
        let rows = self.query(&sql).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Whether an action's ledger holds exactly these kinds of rows, once each.
    pub(crate) async fn expect_rows(&self, action_id: ActionId, kinds: &[&str]) -> Result<()> {
        let expected: BTreeMap<String, i64> = kinds.iter().map(|kind| ((*kind).to_owned(), 1)).collect();
        assert_eq!(self.rows(action_id).await?, expected);
        Ok(())
    }
}

fn act_on(seen: Receipt, change: Change, target: Target) -> Result<Act> {
    let facts = facts_in(seen.stage)?;
    let preconditions = Preconditions::of(&change, &facts).context("the target lacks the field")?;
    let mut act = Act {
        action_id: new_action_id(),
        attempt: 1,
        ledger: seen.ledger.id,
        target,
        change,
        preconditions,
        watch_seconds: 60,
        soak_seconds: 0,
        automatic_return: None,
        bounds: None,
        dry_run: false,
        decision_id: Uuid::from_bytes(random()).into(),
        policy_digest: Digest::of(b"policies"),
        approvals: Vec::new(),
        intent: String::new(),
    };
    write_intent(&mut act)?;
    Ok(act)
}

fn facts_in(stage: Stage) -> Result<Facts> {
    match stage {
        Stage::Observed { observation: Observation::Present { facts }, .. } => Ok(facts),
        stage => bail!("{stage:?}"),
    }
}

/// An id that no other action has.
pub(crate) fn new_action_id() -> ActionId {
    Uuid::from_bytes(random()).into()
}

/// An order signed now, for so many seconds.
pub(crate) fn order(instruction: Instruction, seconds: i64) -> Order {
    let now = now();
    Order {
        contract: CONTRACT_VERSION,
        audience: CLUSTER.to_owned(),
        nonce: random_name(32),
        issued_at: now,
        not_after: now + SignedDuration::from_secs(seconds),
        instruction,
    }
}

/// An acting order signed now, for so many seconds.
pub(crate) fn act_order(act: &Act, seconds: i64) -> Order {
    order(Instruction::Act(Box::new(act.clone())), seconds)
}

/// The body that carries a payload under a key.
pub(crate) fn sign_with(key: &OrderKey, payload: &[u8]) -> Result<Vec<u8>> {
    let order = Envelope::from_slice(&key.seal(payload))?;
    Ok(serde_json::to_vec(&OrderRequest { order, evidence: None })?)
}

/// Gives an act the intent that belongs to it.
pub(crate) fn write_intent(act: &mut Act) -> Result<()> {
    let entry = Entry {
        schema: ENTRY_SCHEMA.to_owned(),
        id: Uuid::from_bytes(random()).into(),
        kind: INTENT_KIND.to_owned(),
        at: now(),
        principal: "client:test".to_owned(),
        action_id: Some(act.action_id),
        request_id: None,
        data: Intent {
            plan_digest: act.preconditions.plan_digest(&act.change),
            attempt: act.attempt,
            target: act.target.clone(),
            change: act.change.clone(),
            dry_run: act.dry_run,
            automatic_return: act.automatic_return,
            bounds: act.bounds,
            decision_id: act.decision_id,
            policy_digest: act.policy_digest,
            approvals: act.approvals.clone(),
        },
    };
    act.intent = base64_encode(&canonical::to_bytes(&entry)?);
    Ok(())
}

/// Waits until an order's time is over.
pub(crate) async fn until_expired(order: &Order) {
    let left = order.not_after.duration_since(now()) + SignedDuration::from_millis(50);
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
}

/// The present time.
#[expect(clippy::disallowed_methods, reason = "a test signs orders at the time it runs")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

async fn prepare_namespace(cluster: &Cluster) -> Result<String> {
    let namespace = cluster.create_namespace("shop").await?;
    cluster.allow_executor_in(&namespace).await?;
    Ok(namespace)
}

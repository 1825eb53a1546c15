//! A whole stack with something to act on, and what a test asks of it afterwards.

use std::time::{Duration, Instant};

use aegis_contract::dsse::{Envelope, ReceiptVerifier};
use aegis_contract::receipt::{Receipt, Stage};
use aegis_contract::strict::{self, Limits};
use aegis_tests::callers::{Answer, Caller};
use aegis_tests::eventually::eventually;
use aegis_tests::executor_accounts::{EXECUTOR_USER, ROLLBACK_USER};
use aegis_tests::kube_audit::KubeRequest;
use aegis_tests::paths::{random, random_name};
use aegis_tests::stack::{Stack, StackOptions};
use aegis_tests::workload::deployment;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// What the stack does takes seconds; a busy machine is given much more before the test fails.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);
/// Pause before a request that was answered "come again" is sent again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest one request may wait for the end of an action.
const WAIT_SECONDS: u32 = 60;

/// What is told of an action that was ordered once, in this order.
pub(crate) const ORDERED: [&str; 6] = [
    "action.requested",
    "decision.made",
    "action.intent",
    "order.signed",
    "receipt.received",
    "action.ended",
];
/// What is told of an action that was never queued.
pub(crate) const TURNED_DOWN: [&str; 3] = ["action.requested", "decision.made", "action.ended"];
/// What is told of an action that left the queue without an order.
pub(crate) const WITHDRAWN: [&str; 4] =
    ["action.requested", "decision.made", "action.intent", "action.ended"];

/// A stack, its first client and its first admin.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) client: Caller,
    pub(crate) admin: Caller,
}

impl Scene {
    /// A stack in which nothing is allowed yet.
    pub(crate) async fn closed(options: StackOptions) -> Result<Self> {
        let stack = Stack::start(options).await?;
        let (client, admin) = (stack.client()?, stack.admin()?);
        Ok(Self { stack, client, admin })
    }

    /// A stack in which everything is allowed.
    pub(crate) async fn open(options: StackOptions) -> Result<Self> {
        let scene = Self::closed(options).await?;
        scene.stack.allow_everything().await?;
        Ok(scene)
    }

    /// Asks another control plane from here on.
    pub(crate) fn speak_to(&mut self, url: &str) {
        self.client = self.client.at(url);
        self.admin = self.admin.at(url);
    }

    /// Applies workloads, and waits until each is rolled out.
    pub(crate) async fn deploy(&self, manifests: &[Value]) -> Result<()> {
        let (kubernetes, namespace) = (self.stack.kubernetes(), self.stack.namespace());
        for manifest in manifests {
            kubernetes.apply_in(namespace, manifest.clone()).await?;
        }
        for manifest in manifests {
            let kind = manifest["kind"].as_str().context("a manifest has a kind")?.to_lowercase();
            let name = manifest["metadata"]["name"].as_str().context("a manifest has a name")?;
            kubernetes.wait_rolled_out(namespace, &format!("{kind}/{name}")).await?;
        }
        Ok(())
    }

    /// Applies Deployments of one pod each that roll out at once.
    pub(crate) async fn deploy_small(&self, names: &[&str]) -> Result<()> {
        let manifests: Vec<_> = names.iter().map(|name| deployment(name, "app:1", 1)).collect();
        self.deploy(&manifests).await
    }

    /// A Deployment whose pods do not become ready before somebody mends it, and a restart at work on it. No other
    /// action on the target can begin before that.
    pub(crate) async fn occupy(&self, name: &str) -> Result<String> {
        let stuck = deployment(name, "app:unready", 1);
        self.stack.kubernetes().apply_in(self.stack.namespace(), stuck).await?;
        let id = self.ask(&self.restart_anyway(name)).await?;
        self.until_state(&id, "running").await?;
        eventually("the restart being written", WITHIN, async || {
            Ok((!self.writes(&id)?.is_empty()).then_some(()))
        })
        .await?;
        Ok(id)
    }

    /// Gives a stuck Deployment an image that becomes ready.
    pub(crate) async fn mend(&self, name: &str) -> Result<()> {
        self.kubectl(&["set", "image", &format!("deployment/{name}"), "main=app:2"]).await
    }

    /// Runs kubectl in the stack's namespace, with all rights.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Result<()> {
        let all = ["-n", self.stack.namespace()].into_iter().chain(args.iter().copied());
        self.stack.kubernetes().kubectl(all).await?;
        Ok(())
    }

    /// An object as it stands, such as `deployment/web`.
    pub(crate) async fn object(&self, object: &str) -> Result<Value> {
        self.stack.kubernetes().get(self.stack.namespace(), object).await
    }

    /// A request for a restart of a Deployment.
    pub(crate) fn restart(&self, name: &str) -> Value {
        self.stack.action("restart", "Deployment", name, &json!({}))
    }

    /// A request for a rolling restart of a Deployment, also while another rollout is under way.
    pub(crate) fn restart_anyway(&self, name: &str) -> Value {
        self.stack.action("restart", "Deployment", name, &json!({ "duringRollout": true }))
    }

    /// A request to scale a Deployment.
    pub(crate) fn scale(&self, name: &str, replicas: u32) -> Value {
        self.stack.action("scale", "Deployment", name, &json!({ "replicas": replicas }))
    }

    /// Allows everybody to leave nothing of a workload, which a rule that allows everything does not.
    pub(crate) async fn allow_zero(&self) -> Result<()> {
        let rule = json!({
            "id": "to-zero", "effect": "ALLOW", "reason": "this test is not about outages",
            "match": { "actions": ["scale"] }, "limits": [{ "type": "replicas", "min": 0 }],
        });
        let policy = json!({
            "schema": "aegis.policy/v1", "name": "allow-zero", "description": "Everybody may leave nothing.",
            "rules": [rule],
        });
        self.admin.activate_policy(&policy).await
    }

    /// Asks for an action as the client; returns its id.
    pub(crate) async fn ask(&self, request: &Value) -> Result<String> {
        id_of(&self.accepted(request, 0).await?)
    }

    /// Asks for an action as the client, and returns it when it has ended.
    pub(crate) async fn carry_out(&self, request: &Value) -> Result<Value> {
        let action = self.accepted(request, WAIT_SECONDS).await?;
        self.ended(&id_of(&action)?).await
    }

    /// Asks under one key until the answer is not "come again", as every client should: on a busy machine the facts
    /// may take longer than the control plane waits for them.
    pub(crate) async fn asked(&self, request: &Value, wait_seconds: u32) -> Result<Answer> {
        let key = random_name(32);
        answered(|| self.client.ask_with_key(&key, request, wait_seconds)).await
    }

    /// Posts an empty object as the client until the answer is not "come again".
    pub(crate) async fn posted(&self, path: &str) -> Result<Answer> {
        let nothing = json!({});
        answered(|| self.client.post(path, &nothing)).await
    }

    async fn accepted(&self, request: &Value, wait_seconds: u32) -> Result<Value> {
        Ok(self.asked(request, wait_seconds).await?.expect(202)?.body)
    }

    /// The action as it is.
    pub(crate) async fn action(&self, id: &str) -> Result<Value> {
        Ok(self.client.get(&format!("/api/v1/actions/{id}")).await?.expect(200)?.body)
    }

    /// The action once it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Result<Value> {
        eventually(&format!("the end of action {id}"), WITHIN, async || {
            let path = format!("/api/v1/actions/{id}?wait={WAIT_SECONDS}");
            let action = self.client.get(&path).await?.expect(200)?.body;
            ensure!(action["outcome"].is_object(), "it stands {}", action["state"]);
            Ok(Some(action))
        })
        .await
    }

    /// Waits until an action stands in a state.
    pub(crate) async fn until_state(&self, id: &str, state: &str) -> Result<()> {
        eventually(&format!("action {id} becoming {state}"), WITHIN, async || {
            let action = self.action(id).await?;
            ensure!(action["state"] == state, "it stands {}: {}", action["state"], action["outcome"]);
            Ok(Some(()))
        })
        .await
    }

    /// The entries of an action, oldest first.
    pub(crate) async fn entries(&self, id: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/audit/entries?actionId={id}&limit=200");
        let mut page = self.admin.get(&path).await?.expect(200)?.body;
        ensure!(page["nextCursor"].is_null(), "an action has few entries");
        let Value::Array(mut entries) = page["items"].take() else { bail!("a page has items") };
        entries.reverse();
        Ok(entries)
    }

    /// The entries of an action, oldest first, without those that tell of nothing but time: receipts that say "at
    /// work", and an executor too busy to answer.
    pub(crate) async fn story(&self, id: &str) -> Result<Vec<Value>> {
        let mut entries = self.entries(id).await?;
        entries.retain(|entry| {
            let busy = entry["kind"] == "order.not-accepted" && entry["data"]["status"] == 503;
            entry["data"]["stage"] != "running" && !busy
        });
        Ok(entries)
    }

    /// Whether exactly this is told of an action, in this order.
    pub(crate) async fn expect_story(&self, id: &str, kinds: &[&str]) -> Result<Vec<Value>> {
        let story = self.story(id).await?;
        let told: Vec<_> = story.iter().filter_map(|entry| entry["kind"].as_str()).collect();
        assert_eq!(told, kinds, "action {id}");
        Ok(story)
    }

    /// Waits for the receipt of a stage.
    pub(crate) async fn until_receipt(&self, id: &str, stage: &str) -> Result<Value> {
        eventually(&format!("a receipt `{stage}` of action {id}"), WITHIN, async || {
            let entries = self.entries(id).await?;
            Ok(entries
                .into_iter()
                .find(|entry| entry["kind"] == "receipt.received" && entry["data"]["stage"] == stage))
        })
        .await
    }

    /// What the API server recorded of an action: effective writes that name it.
    pub(crate) fn writes(&self, id: &str) -> Result<Vec<KubeRequest>> {
        self.stack.cluster()?.audit().writes_by_agent(&format!("(action {id})"))
    }

    /// The one effective write of an action, made by the executor.
    pub(crate) fn only_write(&self, id: &str) -> Result<KubeRequest> {
        let mut writes = self.writes(id)?;
        assert_eq!(writes.len(), 1, "action {id}: {writes:?}");
        let write = writes.remove(0);
        assert!([EXECUTOR_USER, ROLLBACK_USER].contains(&&*write.user.username), "{write:?}");
        assert!(write.is_in(self.stack.namespace()), "{write:?}");
        Ok(write)
    }

    /// How many effective writes the executor made in the stack's namespace, whatever they name.
    pub(crate) fn writes_in_namespace(&self) -> Result<usize> {
        let writes = self.stack.cluster()?.audit().writes_by_executor()?;
        Ok(writes.iter().filter(|write| write.is_in(self.stack.namespace())).count())
    }

    /// The action's final receipt, proven to be the executor's.
    pub(crate) fn receipt(&self, action: &Value) -> Result<Receipt> {
        let verifier = ReceiptVerifier::from_public_pem(&self.stack.receipt_public_key()?)?;
        let envelope: Envelope = serde_json::from_value(action["outcome"]["receipt"].clone())?;
        let payload = verifier.open_envelope(&envelope)?;
        Ok(strict::from_slice(&payload, Limits::WIRE)?)
    }

    /// Whether an action that was ordered once is told of completely and without contradiction.
    pub(crate) async fn expect_whole_story(&self, action: &Value) -> Result<()> {
        let id = id_of(action)?;
        let story = self.expect_story(&id, &ORDERED).await?;
        let [requested, decision, intent, order, received, ended] = &story[..] else { bail!("six entries") };

        assert_eq!(requested["principal"], self.stack.registered_client().principal.as_str());
        assert_eq!(requested["data"]["target"], action["target"]);
        assert_eq!(decision["data"]["decision"], "ALLOW");
        assert_eq!(decision["data"]["decisionId"], action["decisionId"]);
        let intended = &intent["data"];
        assert_eq!((&intended["attempt"], &intended["dryRun"]), (&json!(1), &action["dryRun"]));
        assert_eq!(
            (&intended["target"], &intended["decisionId"]),
            (&action["target"], &action["decisionId"])
        );
        assert_eq!(order["data"]["intentEntryId"], intent["id"]);
        assert_eq!(received["data"]["stage"], "finished");
        assert_eq!(received["data"]["orderDigest"], order["data"]["orderDigest"]);
        assert_eq!(ended["data"]["state"], action["state"]);
        assert_eq!(ended["data"]["code"], action["outcome"]["code"]);

        let receipt = self.receipt(action)?;
        assert_eq!(order["data"]["orderDigest"], json!(receipt.order_digest));
        let named = receipt.attempt.context("a final receipt names its attempt")?;
        assert_eq!((named.action_id.to_string(), named.attempt), (id, 1));
        let Stage::Finished { result } = receipt.stage else { bail!("{:?}", receipt.stage) };
        assert_eq!(action["outcome"]["code"], json!(result.code));
        assert_eq!(action["outcome"]["steps"], json!(result.steps));
        assert!(result.steps.is_sorted_by_key(|step| step.at), "{:?}", result.steps);
        Ok(())
    }
}

/// Sends until the answer is not "come again", or the time is over. Where many come again at once, each does so at
/// another time.
pub(crate) async fn answered<F: Future<Output = Result<Answer>>>(send: impl Fn() -> F) -> Result<Answer> {
    let until = Instant::now() + WITHIN;
    let mut pause = PAUSE;
    loop {
        let answer = send().await?;
        if answer.status != 503 || Instant::now() >= until {
            return Ok(answer);
        }
        let [chance] = random::<1>();
        tokio::time::sleep(pause.mul_f64(0.5 + f64::from(chance) / 256.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The id of an action.
pub(crate) fn id_of(action: &Value) -> Result<String> {
    Ok(action["id"].as_str().with_context(|| format!("an action has an id: {action}"))?.to_owned())
}

/// Whether an action ended in a state with a code.
pub(crate) fn expect(action: &Value, state: &str, code: &str) {
    let ended = (action["state"].as_str(), action["outcome"]["code"].as_str());
    assert_eq!(ended, (Some(state), Some(code)), "{action}");
}

//! The same on two equal workloads, by kubectl and by the executor: where kubectl is right both end alike, and where it
//! is not the difference is written down. `docs/better-than-kubectl.md` is what came of it.

use aegis_contract::action::{Change, ScaleParams};
use aegis_contract::facts::Facts;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::{Kind, Target};
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::paths::checkout;
use aegis_tests::workload::{daemon_set, deployment, stateful_set, with_pod_annotation};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bench::{Bench, WITHIN};
use super::workloads::{RESTART, ROLLBACK, object_name};

const SCALE: Change = Change::Scale(ScaleParams { replicas: 5 });
const DOCUMENT: &str = "docs/better-than-kubectl.md";
const HEAD: &str = "# Beside kubectl

Each row was done twice, to two equal workloads on one API server: by kubectl, and by an order to the executor. The test \
that does it (`executor::kubectl`) writes this table. “The same” means the same replicas and pod template afterwards, \
restart annotations aside, or a refusal by both.

| case | kubectl | Aegis | |
|---|---|---|---|
";

/// How one of the two ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It would not.
    Refused,
    /// It did: replicas, and the image of the template.
    Wrote(Value, String),
}

impl End {
    fn shown(&self) -> String {
        match self {
            Self::Refused => "refuses".to_owned(),
            Self::Wrote(replicas, image) if replicas.is_null() => image.clone(),
            Self::Wrote(replicas, image) => format!("{image}, {replicas} replicas"),
        }
    }
}

/// One row: how a workload is made, what is done to it, and what it means when the ends differ.
struct Case {
    name: &'static str,
    kind: Kind,
    change: Change,
    /// The states it goes through, each waited for as said.
    states: Vec<(Value, Until)>,
    /// What else is done to it, as arguments of kubectl with `NAME` for its name.
    also: &'static [&'static str],
    /// Why the executor's end is the better one; empty where both are the same.
    why: &'static str,
}

/// How long a state of a workload is waited for.
#[derive(Clone, Copy)]
enum Until {
    /// All its pods are available, for the soak time.
    Soaked,
    /// Its controller has begun with it.
    Begun,
}

fn plain(image: &str) -> Value {
    deployment("NAME", image, 3)
}

fn with(mut manifest: Value, pointer: &str, name: &str, value: Value) -> Value {
    if let Some(part) = manifest.pointer_mut(pointer) {
        part[name] = value;
    }
    manifest
}

fn cases() -> Vec<Case> {
    use Until::{Begun, Soaked};
    let case = |name, kind, change, states, also, why| Case { name, kind, change, states, also, why };
    let by_hand = with(daemon_set("NAME", "app:1"), "/spec", "updateStrategy", json!({ "type": "OnDelete" }));
    let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    let hidden = with(stateful_set("NAME", "app:1", 2), "/spec", "updateStrategy", partition);
    let slow = with_pod_annotation(plain("app:2"), "sim.aegis.dev/ready-after", "120s");
    vec![
        case("restart a Deployment", Kind::Deployment, RESTART, vec![(plain("app:1"), Soaked)], &[], ""),
        case(
            "restart a StatefulSet",
            Kind::StatefulSet,
            RESTART,
            vec![(stateful_set("NAME", "app:1", 2), Soaked)],
            &[],
            "",
        ),
        case(
            "restart a DaemonSet",
            Kind::DaemonSet,
            RESTART,
            vec![(daemon_set("NAME", "app:1"), Soaked)],
            &[],
            "",
        ),
        case(
            "restart a paused Deployment",
            Kind::Deployment,
            RESTART,
            vec![(plain("app:1"), Soaked)],
            &["rollout", "pause", "deployment/NAME"],
            "",
        ),
        case(
            "restart without replicas",
            Kind::Deployment,
            RESTART,
            vec![(deployment("NAME", "app:1", 0), Begun)],
            &[],
            "it says “restarted”, and nothing runs",
        ),
        case(
            "restart where pods are replaced by hand only (OnDelete)",
            Kind::DaemonSet,
            RESTART,
            vec![(by_hand, Begun)],
            &[],
            "it says “restarted”, and every pod stays",
        ),
        case(
            "restart behind a partition that holds every pod",
            Kind::StatefulSet,
            RESTART,
            vec![(hidden, Soaked)],
            &[],
            "it says “restarted”, and every pod stays",
        ),
        case(
            "restart in the middle of a rollout",
            Kind::Deployment,
            RESTART,
            vec![(plain("app:1"), Soaked), (slow, Begun)],
            &[],
            "it begins another rollout over the one under way, with one revision more; Aegis asks first",
        ),
        case(
            "undo the last change",
            Kind::Deployment,
            ROLLBACK,
            vec![(plain("app:1"), Soaked), (plain("app:2"), Soaked)],
            &[],
            "",
        ),
        case(
            "undo the last change of a StatefulSet",
            Kind::StatefulSet,
            ROLLBACK,
            vec![(stateful_set("NAME", "app:1", 2), Soaked), (stateful_set("NAME", "app:2", 2), Soaked)],
            &[],
            "",
        ),
        case(
            "undo the last change of a DaemonSet",
            Kind::DaemonSet,
            ROLLBACK,
            vec![(daemon_set("NAME", "app:1"), Soaked), (daemon_set("NAME", "app:2"), Soaked)],
            &[],
            "",
        ),
        case("undo without a history", Kind::Deployment, ROLLBACK, vec![(plain("app:1"), Soaked)], &[], ""),
        case(
            "undo after two bad images in a row",
            Kind::Deployment,
            ROLLBACK,
            vec![(plain("app:1"), Soaked), (plain("app:bad-pull"), Begun), (plain("app:crash"), Begun)],
            &[],
            "it returns to the other bad one",
        ),
        case(
            "undo a bad image after a restart",
            Kind::Deployment,
            ROLLBACK,
            vec![(plain("app:1"), Soaked), (plain("app:crash"), Begun)],
            &["rollout", "restart", "deployment/NAME"],
            "it undoes the restart, and the bad image stays",
        ),
        case(
            "undo a paused Deployment",
            Kind::Deployment,
            ROLLBACK,
            vec![(plain("app:1"), Soaked), (plain("app:2"), Soaked)],
            &["rollout", "pause", "deployment/NAME"],
            "Aegis restores and resumes by one write",
        ),
        case("scale a Deployment", Kind::Deployment, SCALE, vec![(plain("app:1"), Soaked)], &[], ""),
        case(
            "scale what an autoscaler scales",
            Kind::Deployment,
            SCALE,
            vec![(plain("app:1"), Soaked)],
            &["autoscale", "deployment/NAME", "--min=1", "--max=9", "--cpu=50%"],
            "two now set the replicas: the autoscaler changes it again whenever its metrics move",
        ),
    ]
}

impl Case {
    async fn prepare(&self, bench: &Bench, name: &str) -> Result<Target> {
        let target = bench.target(self.kind, name);
        for (manifest, waited) in &self.states {
            let manifest: Value = serde_json::from_str(&manifest.to_string().replace("NAME", name))?;
            bench.cluster.apply_in(&bench.namespace, manifest).await?;
            match waited {
                Until::Soaked => bench.soaked(&target).await?,
                Until::Begun => bench.begun(&target).await?,
            }
        }
        if !self.also.is_empty() {
            bench.kubectl(self.also.iter().map(|argument| argument.replace("NAME", name))).await?;
            bench.begun(&target).await?;
        }
        Ok(target)
    }

    async fn by_kubectl(&self, bench: &Bench, target: &Target) -> Result<End> {
        let object = object_name(self.kind, &target.name);
        let args = match self.change {
            Change::Restart(_) => vec!["rollout", "restart", &object],
            Change::Rollback(_) => vec!["rollout", "undo", &object],
            Change::Scale(_) | Change::RestartPod(_) => vec!["scale", &object, "--replicas=5"],
        };
        match bench.kubectl(args).await {
            Ok(()) => bench.end(target).await,
            Err(_) => Ok(End::Refused),
        }
    }

    async fn by_us(&self, bench: &Bench, target: &Target) -> Result<End> {
        let act = bench.act(self.change.clone(), target.clone()).await?;
        let result = bench.carry_out(&act).await?;
        match result.status {
            ExecutionStatus::Refused => Ok(End::Refused),
            ExecutionStatus::Succeeded => bench.end(target).await,
            _ => anyhow::bail!("{}: {result:?}", self.name),
        }
    }

    fn row(&self, theirs: &End, ours: &End) -> String {
        let (theirs, ours) = (theirs.shown(), ours.shown());
        let note = if self.why.is_empty() { "the same" } else { self.why };
        format!("| {} | {theirs} | {ours} | {note} |\n", self.name)
    }
}

impl Bench {
    /// Waits until the template that the object has now is remembered as good.
    async fn soaked(&self, target: &Target) -> Result<()> {
        self.cluster.wait_rolled_out(&self.namespace, &object_name(target.kind, &target.name)).await?;
        let Facts { uid, template_digest, .. } = self.facts(target).await?;
        let template = template_digest.context("no template")?;
        let digest = template.to_string();
        let hex = digest.strip_prefix("sha256:").context("a digest names its algorithm")?;
        let sql = format!(
            "select 1 from ledger.templates where workload_uid = '{uid}' and verdict = 'good' \
             and template_digest = decode('{hex}', 'hex')"
        );
        until("the template having soaked", WITHIN, async || Ok(!self.query(&sql).await?.is_empty())).await
    }

    async fn end(&self, target: &Target) -> Result<End> {
        let image = self.image(target).await?.as_str().unwrap_or_default().to_owned();
        Ok(End::Wrote(self.object(target).await?["spec"]["replicas"].take(), image))
    }
}

#[tokio::test]
async fn where_kubectl_is_right_both_end_alike_and_elsewhere_the_difference_is_written_down() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_SOAK_SECONDS", "1")]).await?;
    let mut document = HEAD.to_owned();
    for (number, case) in cases().into_iter().enumerate() {
        let theirs = case.prepare(&bench, &format!("theirs-{number}")).await?;
        let ours = case.prepare(&bench, &format!("ours-{number}")).await?;
        let (theirs, ours) = tokio::try_join!(case.by_kubectl(&bench, &theirs), case.by_us(&bench, &ours))?;
        ensure!(
            (theirs == ours) == case.why.is_empty(),
            "{}: kubectl {}, we {}; the case says: {:?}",
            case.name,
            theirs.shown(),
            ours.shown(),
            case.why,
        );
        document.push_str(&case.row(&theirs, &ours));
    }
    let written = std::fs::read_to_string(checkout().join(DOCUMENT)).unwrap_or_default();
    assert!(written == document, "{DOCUMENT} must say:\n{document}");
    Ok(())
}

//! The same on two equal workloads, by kubectl and by the executor: where kubectl is right both end alike, and where it
//! is not the difference is written down. `docs/better-than-kubectl.md` is what came of it.

mod cases;

use aegis_contract::action::Change;
use aegis_contract::facts::Facts;
use aegis_contract::receipt::ExecutionStatus;
use aegis_contract::target::{Kind, Target};
use aegis_tests::database::Server;
use aegis_tests::eventually::until;
use aegis_tests::paths::checkout;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use self::cases::{Case, Standing, Until, Workload, cases, standings};
use super::bench::{Bench, WITHIN};
use super::workloads::object_name;

/// Rows at work at one time: most of it is waiting.
const ROWS_AT_ONCE: usize = 4;
const DOCUMENT: &str = "docs/better-than-kubectl.md";
const CHANGES: &str = "# Beside kubectl

Each row was done twice, to two equal workloads on one API server: by kubectl, and by an order to the executor. The test \
that does it (`executor::kubectl`) writes this table. “The same” means the same replicas and pod template afterwards, \
restart annotations aside, or a refusal by both.

| case | kubectl | Aegis | |
|---|---|---|---|
";
const STANDINGS: &str = "
## How a rollout stands

By `kubectl rollout status`, and by an observing order.

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

fn row(name: &str, theirs: &str, ours: &str, why: &str) -> Result<String> {
    ensure!((theirs == ours) == why.is_empty(), "{name}: kubectl {theirs}, we {ours}; the row says: {why:?}");
    let note = if why.is_empty() { "the same" } else { why };
    Ok(format!("| {name} | {theirs} | {ours} | {note} |\n"))
}

impl Workload {
    async fn make(&self, bench: &Bench, name: &str) -> Result<Target> {
        let (first, _) = self.states.first().context("a workload has a state")?;
        let kind: Kind = serde_json::from_value(first["kind"].clone())?;
        let target = bench.target(kind, name);
        for (manifest, waited) in &self.states {
            let manifest: Value = serde_json::from_str(&manifest.to_string().replace("NAME", name))?;
            bench.cluster.apply_in(&bench.namespace, manifest).await?;
            match waited {
                Until::Soaked => bench.soaked(&target).await?,
                Until::Begun => bench.begun(&target).await?,
            }
        }
        for command in self.also {
            bench.kubectl(command.iter().map(|argument| argument.replace("NAME", name))).await?;
            bench.begun(&target).await?;
        }
        Ok(target)
    }
}

impl Case {
    async fn row(&self, bench: &Bench, number: usize) -> Result<String> {
        let (theirs, ours) = (format!("theirs-{number}"), format!("ours-{number}"));
        let theirs = self.workload.make(bench, &theirs).await?;
        let ours = self.workload.make(bench, &ours).await?;
        let (theirs, ours) = tokio::try_join!(self.by_kubectl(bench, &theirs), self.by_us(bench, &ours))?;
        row(self.name, &theirs.shown(), &ours.shown(), self.why)
    }

    async fn by_kubectl(&self, bench: &Bench, target: &Target) -> Result<End> {
        let object = object_name(target.kind, &target.name);
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
}

impl Standing {
    async fn row(&self, bench: &Bench, number: usize) -> Result<String> {
        let target = self.workload.make(bench, &format!("stands-{number}")).await?;
        let object = object_name(target.kind, &target.name);
        let asking = ["-n", &bench.namespace, "rollout", "status", &object, "--watch=false"];
        let said = bench.cluster.kubectl_launch().args(asking).output_with(Vec::new()).await?;
        let text = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        let theirs = match said.status.success() {
            _ if text.contains("exceeded its progress deadline") => "failed",
            false => "refuses",
            true if text.contains("Waiting for") => "progressing",
            true => "complete",
        };
        let ours = bench.facts(&target).await?.rollout;
        row(self.name, theirs, ours.as_str(), self.why)
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

/// All rows, or everything that is wrong with them.
fn collect(rows: Vec<Result<String>>) -> Result<String> {
    let wrong: Vec<_> =
        rows.iter().filter_map(|row| row.as_ref().err()).map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    rows.into_iter().collect()
}

#[tokio::test]
async fn where_kubectl_is_right_both_end_alike_and_elsewhere_the_difference_is_written_down() -> Result<()> {
    let server = Server::shared().await?;
    let bench = Bench::start_on(&server, 1, &[("ROLLBACK_SOAK_SECONDS", "1")]).await?;
    let (changes, standings) = (cases(), standings());
    let changes = stream::iter(changes.iter().enumerate().map(|(number, case)| case.row(&bench, number)));
    let changes = collect(changes.buffered(ROWS_AT_ONCE).collect().await)?;
    let standings = stream::iter(standings.iter().enumerate().map(|(number, case)| case.row(&bench, number)));
    let standings = collect(standings.buffered(ROWS_AT_ONCE).collect().await)?;

    let document = [CHANGES, &changes, STANDINGS, &standings].concat();
    let written = std::fs::read_to_string(checkout().join(DOCUMENT)).unwrap_or_default();
    assert!(written == document, "{DOCUMENT} must say:\n{document}");
    Ok(())
}

//! One million stored decisions, taken again under a draft: from Postgres to the report.

use std::time::{Duration, Instant};

use aegis_tests::callers::Caller;
use aegis_tests::database::execute;
use aegis_tests::progress;
use aegis_tests::stack::{Stack, StackOptions};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::resident;
use super::{Case, Goal};

const DECISIONS: u64 = 1_000_000;
const DECISIONS_QUICK: u64 = 20_000;
/// Decisions that are really taken; the others are copies of them at other times.
const TAKEN: u64 = 500;
/// Rules of the active policy, and of the draft.
const RULES: usize = 1_000;
/// Goal for a million; a share of it for fewer.
const GOAL_SECONDS: f64 = 10.0;
/// What a replay may hold more than the process holds anyway: batches on their way, and the compiled set.
const GROWTH_MEBIBYTES: f64 = 64.0;
const ROUNDS: usize = 3;

pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let decisions = if quick { DECISIONS_QUICK } else { DECISIONS };
    let stack = Stack::start(StackOptions::default()).await?;
    let admin = stack.admin()?;
    admin.activate_policy(&policy(0)).await?;
    let step = progress::step(format!("{TAKEN} decisions, copied to {decisions}"));
    take(&admin).await?;
    copy(&stack, decisions).await?;
    step.done();

    let before = resident::of(&stack)?[0].now;
    let request = json!({ "since": "2000-01-01T00:00:00Z", "proposal": { "documents": [policy(7)] } });
    let mut fastest = Duration::MAX;
    for round in 1..=ROUNDS {
        let step = progress::step(format!("replay {round} of {ROUNDS}"));
        let started = Instant::now();
        let done = admin.post("/api/v1/policy/replay", &request).await?.expect(200)?.body;
        fastest = fastest.min(started.elapsed());
        step.done();
        let report = &done["report"];
        ensure!(report["replayable"] == decisions, "not everything was taken again: {report}");
        ensure!(
            report["newlyDenied"].as_u64().context("a count")? > 0,
            "the draft changes nothing: {report}"
        );
    }
    let after = resident::of(&stack)?[0].now;
    let reading = read_alone(&stack).await?;

    #[expect(clippy::cast_precision_loss, reason = "far below what doubles hold exactly")]
    let share = decisions as f64 / DECISIONS as f64;
    let named = format!("{decisions} decisions taken again, {RULES} rules");
    let seconds = fastest.as_secs_f64();
    Ok(vec![
        Case::new(named, "s", seconds, GOAL_SECONDS * share, "limit", Goal::Below),
        Case::new("the same, beside reading the rows alone", "s", seconds, reading, "copy", Goal::None),
        Case::new("memory during replays", "MiB", after, before, "idle", Goal::AddedMax(GROWTH_MEBIBYTES)),
    ])
}

/// A policy of many teams, each with its clients, namespace and severities; `shift` moves some rights.
fn policy(shift: usize) -> Value {
    let rule = |team: usize| {
        let namespace = if team.is_multiple_of(10) { team + shift } else { team };
        json!({
            "id": format!("team-{team}"), "effect": "ALLOW", "reason": "teams heal what is theirs",
            "match": {
                "principals": [format!("client:bot-{team}")], "actions": ["restart", "rollback"],
                "resources": [format!("k8s/prod-*/team-{namespace}/**")],
            },
            "when": { "path": "metadata.severity", "op": "in", "value": ["high", "critical"] },
            "time": { "zone": "Europe/Berlin", "windows": [{ "days": ["mon-sun"], "from": "00:00", "to": "24:00" }] },
        })
    };
    let mut rules: Vec<Value> = (1..RULES).map(rule).collect();
    rules.push(json!({ "id": "no-system", "effect": "DENY", "match": { "resources": ["k8s/*/kube-*/**"] } }));
    json!({ "schema": "aegis.policy/v1", "name": "teams", "rules": rules })
}

/// Has decisions taken that differ in everything.
async fn take(admin: &Caller) -> Result<()> {
    for number in 0..TAKEN {
        let team = number * 7 % 990 + 1;
        let severity = ["high", "critical", "low"][usize::try_from(number % 3)?];
        let question = json!({
            "principal": format!("client:bot-{team}"), "roles": [], "action": "restart",
            "resource": format!("k8s/prod-1/team-{team}/Deployment/web-{number}"),
            "metadata": { "severity": severity, "alert": "HighErrorRate", "service": "checkout", "runbook": "https://runbooks.example.com/high-error-rate" },
        });
        admin.post("/api/v1/policy/evaluate", &question).await?.expect(200)?;
    }
    Ok(())
}

/// Fills the table up with copies, each a second older than the one before.
async fn copy(stack: &Stack, decisions: u64) -> Result<()> {
    let sql = format!(
        "insert into decisions (id, action_id, principal, effect, policy_digest, decided_at, body, entry_id) \
         select gen_random_uuid(), action_id, principal, effect, policy_digest, decided_at - number * interval '1 s', \
                body, entry_id \
         from decisions cross join generate_series(1, {}) number; \
         analyze decisions",
        decisions / TAKEN - 1
    );
    execute(&stack.control_plane_database().superuser_url, sql).await
}

/// How long Postgres takes to hand over the same bytes to nobody, in seconds.
async fn read_alone(stack: &Stack) -> Result<f64> {
    let started = Instant::now();
    let sql = "copy (select body from decisions) to '/dev/null' (format binary)".to_owned();
    execute(&stack.control_plane_database().superuser_url, sql).await?;
    Ok(started.elapsed().as_secs_f64())
}

//! Five hundred people at work on the API: each is signed in, asks, thinks for a while, and asks again. The load is
//! k6's (`bench/api`), beside everything else on the same processors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_tests::paths::checkout;
use aegis_tests::process::Launch;
use aegis_tests::programs::go_tools;
use aegis_tests::stack::sign_in;
use aegis_tests::{paths::write_private, progress};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::processors::{self, Taken};
use super::scene::{Scene, workload};
use super::{Case, Goal, resident};

const PEOPLE: usize = 500;
const PEOPLE_QUICK: usize = 100;
const MEAN_THINK_SECONDS: f64 = 0.5;
const SECONDS: u32 = 60;
const SECONDS_QUICK: u32 = 10;
const WARM_UP_SECONDS: u32 = 10;
/// Workloads that are rehearsed on, and questions that are asked.
const WORKLOADS: usize = 16;
/// Actions that are there to be read.
const ACTIONS: usize = 32;
/// People who are made at once.
const MAKERS: usize = 4;
/// Statuses of failures; 0 where there was no answer.
const REFUSALS: [u16; 9] = [0, 400, 401, 403, 404, 409, 429, 500, 503];
/// Goals.
const AVERAGE_MS_MAX: f64 = 85.0;
const ERRORS_PERCENT_MAX: f64 = 0.1;

/// What four of five requests read.
const READS: [(&str, f64); 6] = [
    ("list actions", 0.15),
    ("read an action", 0.20),
    ("read a decision", 0.10),
    ("search the audit log", 0.10),
    ("list policies", 0.10),
    ("who am I", 0.15),
];
/// What the others write: as automation asks, evaluating most of all, and a third of each.
const MIXES: [(&str, [(&str, f64); 3]); 2] = [
    ("mostly evaluate", [("evaluate", 0.15), ("heal", 0.01), ("change a profile", 0.04)]),
    ("a third each", [("evaluate", 0.2 / 3.0), ("heal", 0.2 / 3.0), ("change a profile", 0.2 / 3.0)]),
];

/// What k6 is to do.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    url: String,
    tokens: Vec<String>,
    principal: String,
    actions: Vec<Value>,
    decisions: Vec<Value>,
    questions: Vec<Value>,
    heals: Vec<Value>,
    mean_think_seconds: f64,
    warm_up_seconds: u32,
    seconds: u32,
    shares: BTreeMap<&'static str, f64>,
    refusals: [u16; REFUSALS.len()],
}

/// Runs the benchmark.
pub(super) async fn run(quick: bool) -> Result<Vec<Case>> {
    let k6 = go_tools(checkout().join("bench/api"), "the load tool k6").await?.join("k6");
    let scene = Arc::new(Scene::start(WORKLOADS).await?);
    let mut plan = plan(&scene, quick).await?;
    // Hashing passwords took memory that no other request needs.
    scene.stack.control_plane(0).restart().await?;
    let mut cases = Vec::new();
    let mut arms = Vec::new();
    for (mix, writes) in MIXES {
        plan.shares = READS.into_iter().chain(writes).collect();
        let step = progress::step(format!("{} people, {mix}, for {} s", plan.tokens.len(), plan.seconds));
        let before = Taken::read(&scene.stack)?;
        let figures = Figures::of(&k6, &plan).await?;
        let mut taken = Taken::default();
        taken.add(before, Taken::read(&scene.stack)?);
        step.done();
        figures.print(mix, &plan);
        arms.push((mix, taken, figures.requests()?));
        cases.extend(figures.cases(mix)?);
    }
    if let Ok(arms) = <[_; MIXES.len()]>::try_from(arms) {
        processors::print("processor time of one request, warm-up included", arms);
    }
    cases.extend(resident::cases("after all", resident::of(&scene.stack)?));
    Ok(cases)
}

async fn plan(scene: &Arc<Scene>, quick: bool) -> Result<Plan> {
    let tokens = people(scene, if quick { PEOPLE_QUICK } else { PEOPLE }).await?;
    let names = (0..WORKLOADS).map(workload);
    let question = |name: String| json!({ "action": "restart", "resource": format!("k8s/local/{}/Deployment/{name}", scene.stack.namespace()) });
    let heal = |name: String| {
        let mut action = scene.stack.action("restart", "Deployment", &name, &json!({}));
        action["dryRun"] = json!(true);
        action
    };
    let questions: Vec<Value> = names.clone().map(question).collect();
    let (mut actions, mut decisions) = (Vec::new(), Vec::new());
    for index in 0..ACTIONS {
        actions.push(json!(
            scene.ask("restart", index % WORKLOADS, &json!({ "duringRollout": true }), 60).await?
        ));
        let answer = scene.client.post("/api/v1/policy/evaluate", &questions[index % WORKLOADS]).await?;
        decisions.push(answer.expect(200)?.body["decisionId"].clone());
    }
    Ok(Plan {
        url: scene.stack.control_plane(0).url().to_owned(),
        tokens,
        principal: scene.stack.registered_client().principal.clone(),
        actions,
        decisions,
        questions,
        heals: names.map(heal).collect(),
        mean_think_seconds: MEAN_THINK_SECONDS,
        warm_up_seconds: WARM_UP_SECONDS,
        seconds: if quick { SECONDS_QUICK } else { SECONDS },
        shares: BTreeMap::new(),
        refusals: REFUSALS,
    })
}

/// So many people who may ask and read everything that the load asks for and reads; their access tokens.
async fn people(scene: &Arc<Scene>, many: usize) -> Result<Vec<String>> {
    let step = progress::step(format!("{many} people sign in"));
    let mut makers = JoinSet::new();
    for maker in 0..MAKERS {
        let scene = Arc::clone(scene);
        makers.spawn(async move {
            let mut tokens = Vec::new();
            for number in (maker..many).step_by(MAKERS) {
                let roles = ["user", "auditor"];
                let user = scene.stack.new_user(&format!("person-{number}"), &roles).await?;
                let url = scene.stack.control_plane(0).url();
                tokens.push(sign_in(url, &user.email, &user.password).await?);
            }
            anyhow::Ok(tokens)
        });
    }
    let tokens = makers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    step.done();
    Ok(tokens.concat())
}

/// k6's metrics, by their names.
struct Figures(Value);

impl Figures {
    async fn of(k6: &PathBuf, plan: &Plan) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [orders, figures] = ["plan.json", "figures.json"].map(|name| folder.path().join(name));
        write_private(&orders, serde_json::to_vec(plan)?)?;
        let launch = Launch::new(k6)
            .folder(folder.path())
            .args(["run", "--quiet", "--no-color", "--no-usage-report", "--address", ""])
            .env("PLAN", &orders)
            .env("FIGURES", &figures)
            .arg(checkout().join("bench/api/load.js"));
        launch.output().await?;
        Ok(Self(serde_json::from_slice(&std::fs::read(figures)?)?))
    }

    fn value(&self, metric: &str, value: &str) -> Result<f64> {
        let found = self.0[metric]["values"][value].as_f64();
        found.with_context(|| format!("k6 tells no {value} of {metric}"))
    }

    /// Of all phases.
    fn requests(&self) -> Result<usize> {
        Ok(self.value("http_reqs", "count")? as usize)
    }

    fn cases(&self, mix: &str) -> Result<Vec<Case>> {
        let took = |value| self.value("http_req_duration{phase:measured}", value);
        let case = |what: &str, unit, ours, limit, goal| {
            Case::new(format!("{what}, {mix}"), unit, ours, limit, "limit", goal)
        };
        let errors = self.value("http_req_failed{phase:measured}", "rate")? * 100.0;
        Ok(vec![
            case("average of all requests", "ms", took("avg")?, AVERAGE_MS_MAX, Goal::PartMax(1.0)),
            case("p95", "ms", took("p(95)")?, AVERAGE_MS_MAX, Goal::None),
            case("p99", "ms", took("p(99)")?, AVERAGE_MS_MAX, Goal::None),
            case("errors", "%", errors, ERRORS_PERCENT_MAX, Goal::PartMax(1.0)),
        ])
    }

    fn print(&self, mix: &str, plan: &Plan) {
        println!("\n{mix:<32} {:>8} {:>10} {:>10} {:>10} {:>10}", "a second", "avg ms", "p50", "p95", "p99");
        let line = |name: &str, metric: &str| {
            let of = |value| self.value(metric, value).unwrap_or_default();
            let rate = of("count") / f64::from(plan.seconds);
            let [average, half, p95, p99] = ["avg", "med", "p(95)", "p(99)"].map(of);
            println!("{name:<32} {rate:>8.1} {average:>10.1} {half:>10.1} {p95:>10.1} {p99:>10.1}");
        };
        for kind in plan.shares.keys() {
            line(kind, &format!("http_req_duration{{phase:measured,kind:{kind}}}"));
        }
        line("all", "http_req_duration{phase:measured}");
        for status in REFUSALS {
            let metric = format!("http_reqs{{phase:measured,status:{status}}}");
            let refused = self.value(&metric, "count").unwrap_or_default();
            if refused > 0.0 {
                println!("{refused} were answered {status}");
            }
        }
    }
}

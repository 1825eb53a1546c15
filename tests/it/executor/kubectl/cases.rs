//! What is done to two equal workloads, and to which.

use aegis_contract::action::{Change, ScaleParams};
use aegis_tests::workload::{daemon_set, deployment, stateful_set, with_pod_annotation};
use serde_json::{Value, json};

use crate::executor::workloads::{RESTART, ROLLBACK};

const SCALE: Change = Change::Scale(ScaleParams { replicas: 5 });

type Command = &'static [&'static str];
const PAUSE: Command = &["rollout", "pause", "deployment/NAME"];
const RESTART_BY_HAND: Command = &["rollout", "restart", "deployment/NAME"];
const AUTOSCALE: Command = &["autoscale", "deployment/NAME", "--min=1", "--max=9", "--cpu=50%"];
const BUDGET: Command = &["create", "pdb", "NAME", "--selector=app=NAME", "--min-available=3"];
const UNTIL_GIVEN_UP: Command =
    &["wait", "deployment/NAME", "--for=condition=Progressing=False", "--timeout=90s"];
const UNTIL_READY: Command = &["rollout", "status", "statefulset/NAME", "--timeout=90s"];

/// A workload that went through some states, each waited for as said; `NAME` stands for its name.
pub(super) struct Workload {
    pub(super) states: Vec<(Value, Until)>,
    /// What else is done to it, each as arguments of kubectl.
    pub(super) also: &'static [Command],
}

/// How long a state of a workload is waited for.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// All its pods are available, for the soak time.
    Soaked,
    /// Its controller has begun with it.
    Begun,
}

/// One row: what is done to which workload, and what it means when the ends differ.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) change: Change,
    pub(super) workload: Workload,
    /// Why the executor's end is the better one; empty where both are the same.
    pub(super) why: &'static str,
}

/// One row about how a rollout stands.
pub(super) struct Standing {
    pub(super) name: &'static str,
    pub(super) workload: Workload,
    /// Why what the executor tells is better; empty where both tell the same.
    pub(super) why: &'static str,
}

fn soaked<const N: usize>(manifests: [Value; N]) -> Workload {
    let states = manifests.into_iter().map(|manifest| (manifest, Until::Soaked)).collect();
    Workload { states, also: &[] }
}

impl Workload {
    fn then<const N: usize>(mut self, begun: [Value; N]) -> Self {
        self.states.extend(begun.into_iter().map(|manifest| (manifest, Until::Begun)));
        self
    }

    fn also(self, also: &'static [Command]) -> Self {
        Self { also, ..self }
    }
}

fn plain(image: &str) -> Value {
    deployment("NAME", image, 3)
}

fn stateful(image: &str) -> Value {
    stateful_set("NAME", image, 2)
}

fn daemon(image: &str) -> Value {
    daemon_set("NAME", image)
}

fn spec(mut manifest: Value, field: &str, value: Value) -> Value {
    manifest["spec"][field] = value;
    manifest
}

fn slow(image: &str) -> Value {
    with_pod_annotation(plain(image), "sim.aegis.dev/ready-after", "120s")
}

fn recreate(image: &str) -> Value {
    spec(plain(image), "strategy", json!({ "type": "Recreate" }))
}

/// One pod less while a rollout is under way, instead of one more.
fn without_surge(image: &str) -> Value {
    let rolling = json!({ "maxUnavailable": 1, "maxSurge": 0 });
    spec(plain(image), "strategy", json!({ "type": "RollingUpdate", "rollingUpdate": rolling }))
}

fn behind_partition(image: &str, partition: u32) -> Value {
    let rolling = json!({ "partition": partition });
    spec(stateful(image), "updateStrategy", json!({ "type": "RollingUpdate", "rollingUpdate": rolling }))
}

fn by_hand(manifest: Value) -> Value {
    spec(manifest, "updateStrategy", json!({ "type": "OnDelete" }))
}

fn restarts() -> Vec<Case> {
    let case = |name, workload, why| Case { name, change: RESTART, workload, why };
    let same = |name, workload| case(name, workload, "");
    let parallel = spec(stateful("app:1"), "podManagementPolicy", json!("Parallel"));
    vec![
        same("restart a Deployment", soaked([plain("app:1")])),
        same("restart a Deployment that is recreated", soaked([recreate("app:1")])),
        same("restart what an autoscaler scales", soaked([plain("app:1")]).also(&[AUTOSCALE])),
        same("restart beside a budget that the surge leaves alone", soaked([plain("app:1")]).also(&[BUDGET])),
        same("restart a paused Deployment", soaked([plain("app:1")]).also(&[PAUSE])),
        same("restart a StatefulSet", soaked([stateful("app:1")])),
        same("restart a StatefulSet whose pods start in parallel", soaked([parallel])),
        same("restart behind a partition that holds one pod of two", soaked([behind_partition("app:1", 1)])),
        same("restart a DaemonSet", soaked([daemon("app:1")])),
        case(
            "restart without replicas",
            soaked([]).then([deployment("NAME", "app:1", 0)]),
            "it says “restarted”, and nothing runs",
        ),
        case(
            "restart a StatefulSet whose pods are replaced by hand only (OnDelete)",
            soaked([]).then([by_hand(stateful("app:1"))]),
            "it says “restarted”, and every pod stays",
        ),
        case(
            "restart a DaemonSet whose pods are replaced by hand only (OnDelete)",
            soaked([]).then([by_hand(daemon("app:1"))]),
            "it says “restarted”, and every pod stays",
        ),
        case(
            "restart behind a partition that holds every pod",
            soaked([behind_partition("app:1", 2)]),
            "it says “restarted”, and every pod stays",
        ),
        case(
            "restart in the middle of a rollout",
            soaked([plain("app:1")]).then([slow("app:2")]),
            "it begins another rollout over the one under way, with one revision more; Aegis asks first",
        ),
        case(
            "restart beside a budget that has no room",
            soaked([without_surge("app:1")]).also(&[BUDGET]),
            "rollouts do not ask budgets: it takes a pod away that the budget protects",
        ),
    ]
}

fn rollbacks() -> Vec<Case> {
    let case = |name, workload, why| Case { name, change: ROLLBACK, workload, why };
    let same = |name, workload| case(name, workload, "");
    let images = ["app:1", "app:2", "app:3", "app:4", "app:5", "app:6", "app:7", "app:8"];
    let mut long = soaked([]).then(images.map(plain));
    long.states.extend(soaked([plain("app:9"), plain("app:10")]).states);
    let forgotten = |image| spec(plain(image), "revisionHistoryLimit", json!(0));
    vec![
        same("undo the last change", soaked([plain("app:1"), plain("app:2")])),
        same("undo the last of ten changes", long),
        same("undo where pods are recreated", soaked([recreate("app:1"), recreate("app:2")])),
        same("undo what an autoscaler scales", soaked([plain("app:1"), plain("app:2")]).also(&[AUTOSCALE])),
        same("undo the last change of a StatefulSet", soaked([stateful("app:1"), stateful("app:2")])),
        same("undo the last change of a DaemonSet", soaked([daemon("app:1"), daemon("app:2")])),
        same("undo without a history", soaked([plain("app:1")])),
        same("undo a StatefulSet without a history", soaked([stateful("app:1")])),
        same("undo a DaemonSet without a history", soaked([daemon("app:1")])),
        same("undo where no revisions are kept", soaked([forgotten("app:1"), forgotten("app:2")])),
        case(
            "undo after two bad images in a row",
            soaked([plain("app:1")]).then([plain("app:bad-pull"), plain("app:crash")]),
            "it returns to the other bad one",
        ),
        case(
            "undo two bad images in a row of a DaemonSet",
            soaked([daemon("app:1")]).then([daemon("app:bad-pull"), daemon("app:crash")]),
            "it returns to the other bad one",
        ),
        case(
            "undo a bad image after a restart",
            soaked([plain("app:1")]).then([plain("app:crash")]).also(&[RESTART_BY_HAND]),
            "it undoes the restart, and the bad image stays",
        ),
        case(
            "undo where the only change was a restart",
            soaked([plain("app:1")]).also(&[RESTART_BY_HAND]),
            "it replaces every pod to take an annotation back",
        ),
        case(
            "undo a paused Deployment",
            soaked([plain("app:1"), plain("app:2")]).also(&[PAUSE]),
            "Aegis restores and resumes by one write",
        ),
        case(
            "undo beside a budget that has no room",
            soaked([without_surge("app:1"), without_surge("app:2")]).also(&[BUDGET]),
            "rollouts do not ask budgets: it takes a pod away that the budget protects",
        ),
    ]
}

fn scalings() -> Vec<Case> {
    let case = |name, workload, why| Case { name, change: SCALE, workload, why };
    let same = |name, workload| case(name, workload, "");
    vec![
        same("scale a Deployment up", soaked([plain("app:1")])),
        same("scale a Deployment down", soaked([deployment("NAME", "app:1", 7)])),
        same("scale a Deployment to what it is", soaked([deployment("NAME", "app:1", 5)])),
        same("scale a paused Deployment", soaked([plain("app:1")]).also(&[PAUSE])),
        same("scale a StatefulSet up", soaked([stateful("app:1")])),
        case(
            "scale what an autoscaler scales",
            soaked([plain("app:1")]).also(&[AUTOSCALE]),
            "two now set the replicas: the autoscaler changes it again whenever its metrics move",
        ),
    ]
}

/// Every row about changes, in the order of the table.
pub(super) fn cases() -> Vec<Case> {
    [restarts(), rollbacks(), scalings()].into_iter().flatten().collect()
}

/// Every row about how rollouts stand, in the order of the table.
pub(super) fn standings() -> Vec<Standing> {
    let case = |name, workload, why| Standing { name, workload, why };
    let same = |name, workload| case(name, workload, "");
    let hasty = |image| spec(plain(image), "progressDeadlineSeconds", json!(2));
    // Its controller makes a second pod only once the first is available.
    let patient = spec(stateful_set("NAME", "app:1", 1), "minReadySeconds", json!(600));
    vec![
        same("a Deployment that is complete", soaked([plain("app:1")])),
        same("a StatefulSet that is complete", soaked([stateful("app:1")])),
        same("a DaemonSet that is complete", soaked([daemon("app:1")])),
        same("a Deployment without replicas", soaked([]).then([deployment("NAME", "app:1", 0)])),
        same("a Deployment under way", soaked([plain("app:1")]).then([slow("app:2")])),
        same("a Deployment paused on its way", soaked([plain("app:1")]).then([slow("app:2")]).also(&[PAUSE])),
        same(
            "a Deployment past its progress deadline",
            soaked([hasty("app:1")]).then([hasty("app:unready")]).also(&[UNTIL_GIVEN_UP]),
        ),
        same(
            "a StatefulSet that got as far as its partition lets it",
            soaked([behind_partition("app:1", 1)]),
        ),
        case(
            "a StatefulSet whose pods are ready, but not for as long as it asks",
            soaked([]).then([patient]).also(&[UNTIL_READY]),
            "it counts pods that are ready, where `minReadySeconds` asks for available ones",
        ),
        case(
            "a DaemonSet whose pods are replaced by hand only (OnDelete)",
            soaked([]).then([by_hand(daemon("app:1")), by_hand(daemon("app:2"))]),
            "it does not look",
        ),
    ]
}

//! Plans: what a change would do to its target as everything stands, and why the executor would refuse it.

use std::time::Duration;

use aegis_contract::action::Change;
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::plan::{Obstacle, Owner, Plan, digest_of};
use aegis_contract::target::{Kind, Target};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::disruption::{self, Disruption};
use super::object::Object;
use super::revisions::{self, Revision};
use super::rollback::Judgement;
use super::{
    Writing, canary, fields, newest_writer, obstacle, owners, restart, restart_pod, rollback, scale,
    selector, template_digest, unready,
};
use crate::cluster::{Caller, Cluster, ReadError, WriteAnswer, collection_of};
use crate::ledger::templates::Remembered;

/// The mark of writes that are only rehearsed: no action has this id.
const REHEARSED: &str = "00000000-0000-0000-0000-000000000000";

/// What stands around a target that a plan depends on. Only what the change needs is read.
#[derive(Default)]
pub(crate) struct Surroundings {
    revisions: Vec<Revision>,
    budgets: Vec<Object>,
    quotas: Vec<Object>,
    autoscalers: Vec<Object>,
    pods: Vec<Object>,
    remembered: Remembered,
    soak: Duration,
    /// Whether the budgets will be others when the change is made: its turn at them is yet to come.
    waits: bool,
}

impl Surroundings {
    /// Reads what a change of `object` depends on, all at once. Revisions are good after `soak`, or as `remembered`.
    pub(crate) async fn read(
        target: &Target,
        change: &Change,
        object: &Object,
        (remembered, soak): (Remembered, Duration),
        cluster: &Cluster,
        caller: Caller,
    ) -> Result<Self, ReadError> {
        let namespace = &target.namespace;
        let budgets = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
        let quotas = format!("/api/v1/namespaces/{namespace}/resourcequotas");
        let autoscalers = format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers");
        let all = |path: String| async move { cluster.list(&path, "", caller).await };
        Ok(match change {
            Change::Restart(_) if change.is_of_unready_pods() => {
                let pods = unready::pods_of(target, object, cluster, caller);
                let (budgets, pods) = tokio::try_join!(all(budgets), pods)?;
                Self { budgets, pods, ..Self::default() }
            }
            Change::Restart(_) if change.has_canary() => {
                let pods = unready::pods_of(target, object, cluster, caller);
                let revisions = revisions::read(target, object, cluster, caller);
                let (budgets, quotas, pods, revisions) =
                    tokio::try_join!(all(budgets), all(quotas), pods, revisions)?;
                Self { budgets, quotas, pods, revisions, ..Self::default() }
            }
            Change::Restart(_) => {
                let (budgets, quotas) = tokio::try_join!(all(budgets), all(quotas))?;
                Self { budgets, quotas, ..Self::default() }
            }
            Change::RestartPod(_) => Self { budgets: all(budgets).await?, ..Self::default() },
            Change::Scale(_) => Self { autoscalers: all(autoscalers).await?, ..Self::default() },
            Change::Rollback(_) => {
                let revisions = revisions::read(target, object, cluster, caller);
                let selector = selector::query(object.at("/spec/selector"));
                let pods = collection_of(namespace, Kind::Pod);
                let pods = cluster.list(&pods, &selector, caller);
                let (revisions, budgets, pods) = tokio::try_join!(revisions, all(budgets), pods)?;
                Self { revisions, budgets, pods, remembered, soak, ..Self::default() }
            }
        })
    }
}

impl Surroundings {
    /// The uids of the budgets at which the change needs its turn.
    pub(crate) fn contended(&self, target: &Target, change: &Change, object: &Object) -> Vec<String> {
        disruption::contended(change, target.kind, object, &self.budgets)
    }

    /// The same for a change whose turn at the budgets is yet to come.
    #[must_use]
    pub(crate) fn before_its_turn(self) -> Self {
        Self { waits: true, ..self }
    }

    /// The pod that is evicted before anything else of the change is done, if one is, or why none can be.
    pub(crate) fn canary(
        &self,
        change: &Change,
        kind: Kind,
        object: &Object,
    ) -> Result<Option<&Object>, Obstacle> {
        if !change.has_canary() {
            return Ok(None);
        }
        canary::chosen(kind, object, &self.pods, &self.revisions).map(Some)
    }

    /// The target's pods, where the change depends on them.
    pub(crate) fn into_pods(self) -> Vec<Object> {
        self.pods
    }

    fn judgement(&self, now: Timestamp) -> Judgement<'_> {
        let ready_since = SignedDuration::try_from(self.soak)
            .ok()
            .filter(|soak| !soak.is_zero())
            .map(|soak| now.checked_sub(soak).unwrap_or(Timestamp::MIN));
        Judgement { remembered: &self.remembered, pods: &self.pods, ready_since }
    }
}

/// The plan of a change at `now`; `None` when the object lacks the field to be written. Whether a person has agreed is
/// known when it is made, and not yet (`None`) when it is planned.
pub(crate) fn plan(
    target: &Target,
    change: &Change,
    object: &Object,
    around: &Surroundings,
    is_approved: Option<bool>,
    now: Timestamp,
) -> Option<Plan> {
    let before = fields(change, object)?;
    let template_digest = template_digest(object);
    let disruption = Disruption::of(change, target.kind, object);
    let budgets = disruption::budgets(target.kind, object, &around.budgets);
    let autoscalers = owners::autoscalers(target, &around.autoscalers);
    let deployers = owners::deployers(object);

    let mut to_revision = None;
    let mut warnings = warnings(change, target, object, around, &before, &deployers);
    let planned = match change {
        Change::Restart(params) if change.is_of_unready_pods() => {
            unready::refused(*params, target.kind, object, disruption, &around.pods)
                .map_or(Ok(WrittenFields::UnreadyPods { replaced: true }), Err)
        }
        Change::Restart(params) => {
            match restart::refused(*params, target.kind, object, disruption, &around.quotas) {
                Some(obstacle) => Err(obstacle),
                None => around.canary(change, target.kind, object).map(|_| restart::after(&before, now)),
            }
        }
        Change::RestartPod(_) => {
            restart_pod::refused(object).map_or(Ok(WrittenFields::RestartPod { present: false }), Err)
        }
        Change::Scale(params) => {
            scale::refused(&autoscalers).map_or(Ok(WrittenFields::Scale { replicas: params.replicas }), Err)
        }
        Change::Rollback(params) => {
            let present = template_digest?;
            let judgement = around.judgement(now);
            let wanted =
                rollback::wanted(*params, target.kind, object, present, &around.revisions, &judgement);
            wanted.and_then(|revision| {
                to_revision = Some(revision.number);
                match (rollback::needs_a_person(*params, revision, &judgement), is_approved) {
                    (Some(obstacle), Some(false)) => return Err(obstacle),
                    (Some(obstacle), None) => warnings.push(obstacle.message),
                    (None, _) | (_, Some(true)) => {}
                }
                Ok(WrittenFields::Rollback { template_digest: revision.digest })
            })
        }
    };
    // What is there already needs nobody's leave, and what waits for its turn finds another budget then.
    let planned = planned.and_then(|after| match disruption::blocked(disruption, &budgets) {
        Some(obstacle) if after != before && !around.waits => Err(obstacle),
        _ => Ok(after),
    });
    let (after, obstacle) = match planned {
        Ok(after) => (Some(after), None),
        Err(obstacle) => (None, Some(obstacle)),
    };
    Some(Plan {
        digest: digest_of(change, object.uid(), template_digest, &before, after.as_ref()),
        resource_version: object.resource_version().to_owned(),
        pods_affected: pods_affected(around, &before, after.as_ref(), disruption),
        pods_wanted: disruption.wanted,
        pods_unavailable: disruption.unavailable,
        pods_unavailable_max: disruption.unavailable_max,
        owners: [autoscalers, deployers].concat(),
        budgets,
        changes: match around.canary(change, target.kind, object) {
            Ok(Some(pod)) if after.is_some() => canary::told(pod, disruption.wanted),
            _ => changes(object, around, &before, after.as_ref()),
        },
        warnings,
        undo: undo(object, &around.revisions, &before),
        to_revision,
        before,
        after,
        obstacle,
    })
}

fn pods_affected(
    around: &Surroundings,
    before: &WrittenFields,
    after: Option<&WrittenFields>,
    disruption: Disruption,
) -> u32 {
    match (before, after) {
        (_, None) => 0,
        (before, Some(after)) if before == after => 0,
        (WrittenFields::UnreadyPods { .. }, _) => {
            u32::try_from(unready::of(&around.pods).len()).unwrap_or(u32::MAX)
        }
        (WrittenFields::Scale { replicas: before }, Some(WrittenFields::Scale { replicas: after })) => {
            before.abs_diff(*after)
        }
        (_, Some(_)) => disruption.wanted,
    }
}

fn warnings(
    change: &Change,
    target: &Target,
    object: &Object,
    around: &Surroundings,
    before: &WrittenFields,
    deployers: &[Owner],
) -> Vec<String> {
    let mut warnings = match (change, before) {
        (Change::Scale(params), WrittenFields::Scale { replicas }) => {
            scale::warnings(target.kind, object, *replicas, params.replicas)
        }
        _ => Vec::new(),
    };
    let rolls_out =
        matches!(change, Change::Restart(_) | Change::Rollback(_)) && !change.is_of_unready_pods();
    if rolls_out && object.text("/spec/strategy/type") == "Recreate" {
        warnings.push("its strategy is Recreate: every pod ends before a new one starts".to_owned());
    }
    if matches!(change, Change::Rollback(_)) && unready::is_ordered(target.kind, object) {
        let names = unready::of(&around.pods).into_iter().map(|pod| unready::name(pod).name);
        warnings.extend(names.map(|name| {
            format!(
                "pod {name} is not ready: it is evicted if it is of the present template and holds the set up"
            )
        }));
    }
    if matches!(change, Change::Scale(_) | Change::Rollback(_)) {
        warnings.extend(deployers.iter().map(|Owner { by, name, .. }| {
            format!("{by} ({name}) deploys the object and may write over the change: change it there too")
        }));
    }
    warnings
}

/// What would be written, for people: replicas, and the images of containers. Nothing else of a template is told,
/// as it may hold secrets.
fn changes(
    object: &Object,
    around: &Surroundings,
    before: &WrittenFields,
    after: Option<&WrittenFields>,
) -> Vec<String> {
    match (before, after) {
        (WrittenFields::UnreadyPods { .. }, Some(_)) => unready::told(&around.pods),
        (WrittenFields::Scale { replicas: before }, Some(WrittenFields::Scale { replicas: after }))
            if before != after =>
        {
            vec![format!("replicas: {before} → {after}")]
        }
        (WrittenFields::Rollback { .. }, Some(WrittenFields::Rollback { template_digest })) => {
            let revision = around.revisions.iter().find(|revision| revision.digest == *template_digest);
            let present = object.at("/spec/template").unwrap_or(&Value::Null);
            revision.map(|revision| changed_images(present, &revision.template)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn changed_images(present: &Value, wanted: &Value) -> Vec<String> {
    let images = |template: &Value| {
        let containers = template["spec"]["containers"].as_array().cloned().unwrap_or_default();
        containers.into_iter().map(|container| {
            let text = |field: &str| container[field].as_str().unwrap_or_default().to_owned();
            (text("name"), text("image"))
        })
    };
    let wanted: Vec<_> = images(wanted).collect();
    images(present)
        .filter_map(|(name, image)| {
            let (_, other) = wanted.iter().find(|(wanted, other)| *wanted == name && *other != image)?;
            Some(format!("image of {name}: {image} → {other}"))
        })
        .collect()
}

fn undo(object: &Object, revisions: &[Revision], before: &WrittenFields) -> String {
    match before {
        WrittenFields::Restart { .. } => "nothing to take back: the pods keep their template".to_owned(),
        WrittenFields::UnreadyPods { .. } => {
            "nothing to take back: their controller makes other pods of the same template".to_owned()
        }
        WrittenFields::RestartPod { .. } => {
            "nothing to take back: its controller makes another pod".to_owned()
        }
        WrittenFields::Scale { replicas } => format!("scale to {replicas} again"),
        WrittenFields::Rollback { template_digest } => {
            let present = revisions.iter().find(|revision| revision.digest == *template_digest);
            match present {
                Some(Revision { number, .. }) => format!("roll back to revision {number}"),
                None if object.is_paused() => {
                    "no revision of the present template exists: it is paused".to_owned()
                }
                None => "the cluster keeps no revision of the present template".to_owned(),
            }
        }
    }
}

/// Has the API server try the planned write, with nothing kept of it. What it refuses becomes the plan's obstacle.
pub(crate) async fn rehearse(
    target: &Target,
    change: &Change,
    object: &Object,
    around: &Surroundings,
    cluster: &Cluster,
    mut plan: Plan,
) -> Plan {
    let Some(after) = plan.after.as_ref().filter(|after| **after != plan.before) else { return plan };
    let writing = Writing { target, change, object, revisions: &around.revisions };
    let evicted = if change.is_of_unready_pods() {
        unready::of(&around.pods).first().copied()
    } else {
        around.canary(change, target.kind, object).ok().flatten()
    };
    let eviction = evicted.map(|pod| restart_pod::write(&unready::name(pod).target(target), pod, true));
    let writes = [eviction, writing.write(after, REHEARSED, true)];
    for write in writes.into_iter().flatten() {
        match cluster.write(write, Caller::Observe).await {
            WriteAnswer::Done | WriteAnswer::Absent => {}
            WriteAnswer::Refused(message) => {
                plan.after = None;
                plan.obstacle = Some(obstacle(OutcomeCode::ClusterRefused, message));
                return plan;
            }
            WriteAnswer::Later(message) | WriteAnswer::Conflict(message) => {
                plan.warnings.push(format!("the API server would not take the write now: {message}"));
            }
            WriteAnswer::InDoubt(message) => {
                plan.warnings.push(format!("the API server was not heard on the write: {message}"));
            }
        }
    }
    plan
}

/// How `plan`, of the order's change or of what is left of it, differs from what was agreed to; `None` when it does not,
/// or nothing was.
pub(crate) fn changed(act: &Act, object: &Object, plan: &Plan) -> Option<Obstacle> {
    let agreed = act.preconditions.planned.as_ref()?;
    let Plan { before, after, .. } = plan;
    let template_digest = template_digest(object);
    let digest = digest_of(&act.change, object.uid(), template_digest, before, after.as_ref());
    if act.preconditions.plan_digest(&act.change) == Some(digest) {
        return None;
    }
    let difference = if agreed.template_digest == template_digest {
        "it would write something else now"
    } else {
        "the pod template is another one now"
    };
    let shown = |fields: Option<&WrittenFields>| {
        fields
            .map_or_else(|| "nothing".to_owned(), |fields| serde_json::to_string(fields).unwrap_or_default())
    };
    let message = format!(
        "{difference}: agreed to {}, now {}; ask again to have it planned anew",
        shown(agreed.after.as_ref()),
        shown(plan.after.as_ref()),
    );
    Some(obstacle(OutcomeCode::PlanChanged, message))
}

/// Why nothing of the change is done any more: the template is not the one that was agreed to.
pub(crate) fn another_template(act: &Act, object: &Object) -> Option<Obstacle> {
    let agreed = act.preconditions.planned.as_ref()?;
    let is_other = agreed.template_digest != template_digest(object);
    let who = newest_writer(act, object);
    let message = format!("the pod template is another one now{who}; ask again to have it planned anew");
    is_other.then(|| obstacle(OutcomeCode::PlanChanged, message))
}

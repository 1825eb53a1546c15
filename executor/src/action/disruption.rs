//! How many pods a rollout may take down at one time, and whether disruption budgets leave room for that.
//!
//! The figures are those of the controllers (`spec.strategy` of a Deployment, `spec.updateStrategy` of the others, in
//! the API reference of `apps/v1`), at their worst.

use aegis_contract::action::Change;
use aegis_contract::code::OutcomeCode;
use aegis_contract::plan::{Budget, Obstacle};
use aegis_contract::target::Kind;
use serde_json::Value;

use super::object::Object;
use super::pods::Pods;
use super::{selector, unready};

/// Pods that a target wants, and how many of them are and may become unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disruption {
    /// Pods that are wanted.
    pub(super) wanted: u32,
    /// Wanted pods that are not available now.
    pub(super) unavailable: u32,
    /// Most that may not be available at one time.
    pub(super) unavailable_max: u32,
    /// Most available pods that a rollout takes down at one time. Evictions are not counted: they ask budgets themselves.
    pub(super) rolled: u32,
}

impl Disruption {
    /// Of a change of `object` as it stands.
    pub(super) fn of(change: &Change, kind: Kind, object: &Object) -> Self {
        let Pods { wanted, available, .. } = Pods::of(kind, object);
        let unavailable = wanted.saturating_sub(available);
        let (rolled, evicted) = match change {
            // Pods that are scaled away are not wanted any more, and new ones take nothing from the others.
            Change::Scale(_) => (0, 0),
            // Only what is not ready goes.
            Change::Restart(_) if change.is_of_unready_pods() => (0, 0),
            Change::RestartPod(_) => (0, available),
            Change::Restart(_) | Change::Rollback(_) => {
                let canary = if change.has_canary() { available.min(1) } else { 0 };
                (taken_down(kind, object, unavailable), canary)
            }
        };
        let rolled = rolled.min(wanted - unavailable);
        // The canary stands again before the others go.
        let unavailable_max = unavailable.saturating_add(rolled.max(evicted)).min(wanted);
        Self { wanted, unavailable, unavailable_max, rolled }
    }
}

/// Most available pods that a rollout takes down at one time, when so many are not available already.
fn taken_down(kind: Kind, object: &Object, unavailable: u32) -> u32 {
    let bound = unavailable_bound(kind, object);
    match kind {
        // What is down already counts towards the bound.
        Kind::Deployment if !is_recreated(object) => bound.saturating_sub(unavailable),
        Kind::DaemonSet => bound.saturating_sub(unavailable),
        // While a pod is not available no other one is ended.
        Kind::StatefulSet if unready::is_ordered(kind, object) => bound.saturating_sub(unavailable),
        // Pods are ended before anybody looks whether the others are available.
        Kind::Deployment | Kind::StatefulSet | Kind::Pod => bound,
    }
}

/// How many pods a rollout may be short of at one time, by the strategy of the object.
pub(crate) fn unavailable_bound(kind: Kind, object: &Object) -> u32 {
    let wanted = Pods::of(kind, object).wanted;
    match kind {
        Kind::Deployment if is_recreated(object) => wanted,
        Kind::Deployment => {
            let bound = rolling_bound(object, "/spec/strategy/rollingUpdate/maxUnavailable");
            let unavailable = scaled(&bound, wanted, Rounding::Down);
            // With neither, nothing could ever change: the controller takes one down.
            if unavailable == 0 && surge(object, wanted) == 0 { 1 } else { unavailable }
        }
        Kind::StatefulSet => {
            let bound = object.at("/spec/updateStrategy/rollingUpdate/maxUnavailable");
            bound.map_or(1, |bound| scaled(bound, wanted, Rounding::Down).max(1))
        }
        Kind::DaemonSet => {
            let bound = |name: &str| object.at(&format!("/spec/updateStrategy/rollingUpdate/{name}"));
            let surges = bound("maxSurge").is_some_and(|surge| scaled(surge, wanted, Rounding::Up) > 0);
            match bound("maxUnavailable") {
                _ if surges => 0,
                Some(bound) => scaled(bound, wanted, Rounding::Up),
                None => 1,
            }
        }
        Kind::Pod => 0,
    }
}

fn is_recreated(deployment: &Object) -> bool {
    deployment.text("/spec/strategy/type") == "Recreate"
}

/// A bound of a Deployment's rolling update, or what the API server takes for it.
fn rolling_bound(deployment: &Object, pointer: &str) -> Value {
    deployment.at(pointer).cloned().unwrap_or_else(|| Value::from("25%"))
}

/// Pods that a Deployment may have above those it wants.
pub(super) fn surge(object: &Object, wanted: u32) -> u32 {
    scaled(&rolling_bound(object, "/spec/strategy/rollingUpdate/maxSurge"), wanted, Rounding::Up)
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A number, or a share of all in per cent.
fn scaled(value: &Value, of: u32, rounding: Rounding) -> u32 {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).unwrap_or(u32::MAX);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok()).unwrap_or(100);
    let hundredfold = u64::from(of) * percent;
    let share = match rounding {
        Rounding::Up => hundredfold.div_ceil(100),
        Rounding::Down => hundredfold / 100,
    };
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// The budgets among `all` that the pods of `object` fall under.
fn matching<'a>(kind: Kind, object: &'a Object, all: &'a [Object]) -> impl Iterator<Item = &'a Object> {
    let labels = match kind {
        Kind::Pod => object.at("/metadata/labels"),
        _ => object.at("/spec/template/metadata/labels"),
    };
    all.iter().filter(move |budget| selector::chooses(budget.at("/spec/selector"), labels))
}

/// The uids of the budgets among `all` at which a change of `object` needs its turn: it may take down pods that are
/// ready, and so may others that share a budget with it.
pub(super) fn contended(change: &Change, kind: Kind, object: &Object, all: &[Object]) -> Vec<String> {
    let takes_down = match change {
        Change::Scale(_) => false,
        Change::Restart(_) => !change.is_of_unready_pods(),
        Change::RestartPod(_) => object.ready().is_some(),
        Change::Rollback(_) => true,
    };
    let uids = matching(kind, object, all).map(|budget| budget.uid().to_owned());
    uids.filter(|_| takes_down).collect()
}

/// The same, as plans tell of them.
pub(super) fn budgets(kind: Kind, object: &Object, all: &[Object]) -> Vec<Budget> {
    matching(kind, object, all)
        .map(|budget| {
            // What it allows is of another budget while its controller has not seen the present one.
            let is_current = budget.number("/status/observedGeneration") >= budget.generation();
            Budget {
                name: budget.text("/metadata/name").to_owned(),
                disruptions_allowed: if is_current { budget.count("/status/disruptionsAllowed") } else { 0 },
            }
        })
        .collect()
}

/// The budget that has no room for what a rollout takes down. Evictions are the API server's to judge.
pub(super) fn blocked(disruption: Disruption, budgets: &[Budget]) -> Option<Obstacle> {
    let takes_down = disruption.rolled;
    let budget = budgets.iter().find(|budget| takes_down > budget.disruptions_allowed)?;
    Some(Obstacle {
        code: OutcomeCode::BudgetBlocked,
        message: format!(
            "the disruption budget {} allows {} more pods to go down, and the rollout may take down {takes_down} at \
             once: wait until more pods are available, or let it surge (maxUnavailable 0)",
            budget.name, budget.disruptions_allowed
        ),
    })
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::{RestartParams, RestartedPods};
    use serde_json::json;

    use super::*;

    fn restart(kind: Kind, object: Value) -> (u32, u32, u32) {
        let change = Change::Restart(RestartParams::default());
        let Disruption { wanted, unavailable, unavailable_max, .. } =
            Disruption::of(&change, kind, &Object::new(object));
        (wanted, unavailable, unavailable_max)
    }

    fn deployment(replicas: u32, available: u32, strategy: &Value) -> Value {
        json!({ "spec": { "replicas": replicas, "strategy": strategy }, "status": { "availableReplicas": available } })
    }

    #[test]
    fn a_deployment_takes_down_what_its_strategy_allows_and_what_is_down_counts() {
        let rolling = |surge: Value, unavailable: Value| json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } });
        for (object, expected) in [
            (deployment(3, 3, &json!({})), (3, 0, 0)),
            (deployment(4, 4, &json!({})), (4, 0, 1)),
            (deployment(4, 2, &json!({})), (4, 2, 2)),
            (deployment(10, 10, &rolling(json!(0), json!("30%"))), (10, 0, 3)),
            (deployment(10, 9, &rolling(json!(0), json!("30%"))), (10, 1, 3)),
            (deployment(10, 10, &rolling(json!("0%"), json!("5%"))), (10, 0, 1)),
            (deployment(3, 3, &rolling(json!(1), json!(0))), (3, 0, 0)),
            (deployment(3, 2, &json!({ "type": "Recreate" })), (3, 1, 3)),
            (deployment(0, 0, &json!({})), (0, 0, 0)),
        ] {
            assert_eq!(restart(Kind::Deployment, object.clone()), expected, "{object}");
        }
    }

    #[test]
    fn a_stateful_set_waits_for_the_pod_that_is_down_unless_it_deals_with_all_at_once() {
        let object = |available, policy: &str| {
            let spec = json!({ "replicas": 3, "podManagementPolicy": policy });
            json!({ "spec": spec, "status": { "availableReplicas": available } })
        };
        assert_eq!(restart(Kind::StatefulSet, object(3, "OrderedReady")), (3, 0, 1));
        assert_eq!(restart(Kind::StatefulSet, object(2, "OrderedReady")), (3, 1, 1));
        assert_eq!(restart(Kind::StatefulSet, object(2, "Parallel")), (3, 1, 2));
        assert_eq!(restart(Kind::StatefulSet, object(0, "Parallel")), (3, 3, 3));
    }

    #[test]
    fn evictions_of_what_is_not_ready_take_nothing_down() {
        let change =
            Change::Restart(RestartParams { pods: RestartedPods::Unhealthy, ..RestartParams::default() });
        let object = Object::new(deployment(4, 2, &json!({ "type": "Recreate" })));
        let Disruption { unavailable, unavailable_max, .. } =
            Disruption::of(&change, Kind::Deployment, &object);
        assert_eq!((unavailable, unavailable_max), (2, 2));
    }

    #[test]
    fn a_canary_takes_one_pod_down_where_the_rollout_takes_none_and_is_no_rollout() {
        let change = Change::Restart(RestartParams { canary: true, ..RestartParams::default() });
        for (replicas, available, expected) in
            [(3, 3, (1, 0)), (3, 2, (2, 0)), (3, 0, (3, 0)), (8, 8, (2, 2)), (8, 7, (2, 1))]
        {
            let object = Object::new(deployment(replicas, available, &json!({})));
            let Disruption { unavailable_max, rolled, .. } =
                Disruption::of(&change, Kind::Deployment, &object);
            assert_eq!((unavailable_max, rolled), expected, "{available} of {replicas}");
        }
    }

    #[test]
    fn a_daemon_set_takes_down_its_bound_rounded_up_and_none_when_it_surges() {
        let object = |available, rolling: Value| {
            json!({
                "spec": { "updateStrategy": { "rollingUpdate": rolling } },
                "status": { "desiredNumberScheduled": 5, "numberAvailable": available },
            })
        };
        assert_eq!(restart(Kind::DaemonSet, object(5, json!({}))), (5, 0, 1));
        assert_eq!(restart(Kind::DaemonSet, object(5, json!({ "maxUnavailable": "30%" }))), (5, 0, 2));
        assert_eq!(restart(Kind::DaemonSet, object(4, json!({ "maxUnavailable": 1 }))), (5, 1, 1));
        assert_eq!(
            restart(Kind::DaemonSet, object(5, json!({ "maxSurge": 1, "maxUnavailable": 0 }))),
            (5, 0, 0)
        );
    }

    #[test]
    fn a_budget_blocks_only_what_takes_down_more_available_pods_than_it_allows() {
        let budget = |allowed| {
            Object::new(json!({
                "metadata": { "name": "web", "generation": 2 },
                "spec": { "selector": { "matchLabels": { "app": "web" } } },
                "status": { "observedGeneration": 2, "disruptionsAllowed": allowed },
            }))
        };
        let object = |available| {
            let mut object = deployment(4, available, &json!({}));
            object["spec"]["template"] = json!({ "metadata": { "labels": { "app": "web" } } });
            Object::new(object)
        };
        let change = Change::Restart(RestartParams::default());
        let is_blocked = |available, allowed| {
            let object = object(available);
            let budgets = budgets(Kind::Deployment, &object, &[budget(allowed)]);
            blocked(Disruption::of(&change, Kind::Deployment, &object), &budgets).is_some()
        };
        assert!(is_blocked(4, 0));
        assert!(!is_blocked(4, 1));
        // The rollout goes on with the pod that is down already.
        assert!(!is_blocked(3, 0));
    }

    #[test]
    fn a_budget_that_its_controller_has_not_seen_allows_nothing_and_a_foreign_one_does_not_count() {
        let budget = |labels: Value, observed: u32| {
            Object::new(json!({
                "metadata": { "name": "b", "generation": 2 },
                "spec": { "selector": { "matchLabels": labels } },
                "status": { "observedGeneration": observed, "disruptionsAllowed": 3 },
            }))
        };
        let object =
            Object::new(json!({ "spec": { "template": { "metadata": { "labels": { "app": "web" } } } } }));
        let all = [budget(json!({ "app": "web" }), 1), budget(json!({ "app": "shop" }), 2)];
        let found = budgets(Kind::Deployment, &object, &all);
        assert_eq!(found, [Budget { name: "b".to_owned(), disruptions_allowed: 0 }]);
    }
}

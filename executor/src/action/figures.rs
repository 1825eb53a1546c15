//! Whether a write keeps to the bounds of its order, by the figures of the object as it stands. The order says how far
//! policy lets it go; what is there now only the executor knows.

use aegis_contract::action::Change;
use aegis_contract::bounds::{Bounds, ReplicaBounds};
use aegis_contract::code::OutcomeCode;
use aegis_contract::order::{Act, WrittenFields};
use aegis_contract::plan::Obstacle;

use super::disruption::Disruption;
use super::object::Object;
use super::{fields, obstacle};

/// Fewest replicas where an order names none.
const REPLICAS_MIN_DEFAULT: u32 = 1;

/// The bound of the order that `change` of `object`, the order's or what is left of it, would break: by writing `after`,
/// or, where nothing is written, by evicting a pod. What is there already needs nobody's leave.
pub(crate) fn exceeded(
    act: &Act,
    change: &Change,
    object: &Object,
    after: Option<&WrittenFields>,
) -> Option<Obstacle> {
    let before = fields(change, object)?;
    if after == Some(&before) {
        return None;
    }
    let bounds = act.bounds.unwrap_or_default();
    let disruption = Disruption::of(change, act.target.kind, object);
    let message = too_many_unavailable(bounds, disruption).or_else(|| match (before, after) {
        (WrittenFields::Scale { replicas: before }, Some(WrittenFields::Scale { replicas: after })) => {
            too_far(bounds.replicas.unwrap_or_default(), before, *after)
        }
        _ => None,
    })?;
    Some(obstacle(OutcomeCode::BoundExceeded, format!("{message}; ask again to have it decided anew")))
}

fn too_many_unavailable(bounds: Bounds, disruption: Disruption) -> Option<String> {
    let Disruption { wanted, unavailable_max: down, .. } = disruption;
    let Bounds { unavailable_max, unavailable_max_percent, replicas: _ } = bounds;
    let is_too_much = |percent: &u32| u64::from(down) * 100 > u64::from(*percent) * u64::from(wanted);
    let allowed = match unavailable_max.filter(|most| down > *most) {
        Some(most) => most.to_string(),
        None => format!("{} %", unavailable_max_percent.filter(is_too_much)?),
    };
    Some(format!(
        "{down} of the {wanted} wanted pods may be unavailable at one time, and the order allows {allowed}"
    ))
}

fn too_far(bounds: ReplicaBounds, before: u32, after: u32) -> Option<String> {
    let ReplicaBounds { min, max, max_step } = bounds;
    let min = min.unwrap_or(REPLICAS_MIN_DEFAULT);
    if after < min {
        return Some(format!("replicas would become {after}, and the order allows no fewer than {min}"));
    }
    if let Some(max) = max.filter(|max| after > *max) {
        return Some(format!("replicas would become {after}, and the order allows no more than {max}"));
    }
    let step = max_step.filter(|step| before.abs_diff(after) > *step)?;
    Some(format!("replicas would go from {before} to {after}, and the order allows steps of {step}"))
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::{Change, RestartParams, ScaleParams};
    use aegis_contract::target::Kind;
    use serde_json::json;

    use super::super::tests::act;
    use super::*;

    /// What stands in the way of scaling a Deployment of three, of which so many are available.
    fn scaling(bounds: Option<Bounds>, available: u32, replicas: u32) -> Option<String> {
        let object = Object::new(json!({
            "metadata": { "uid": "u1" }, "spec": { "replicas": 3 }, "status": { "availableReplicas": available },
        }));
        let change = Change::Scale(ScaleParams { replicas });
        let mut act = act(change, Kind::Deployment, WrittenFields::Scale { replicas: 3 });
        act.bounds = bounds;
        exceeded(&act, &act.change, &object, Some(&WrittenFields::Scale { replicas })).map(|obstacle| {
            assert_eq!(obstacle.code, OutcomeCode::BoundExceeded);
            obstacle.message
        })
    }

    fn replicas(min: Option<u32>, max: Option<u32>, max_step: Option<u32>) -> Option<Bounds> {
        Some(Bounds { replicas: Some(ReplicaBounds { min, max, max_step }), ..Bounds::default() })
    }

    #[test]
    fn replicas_stay_within_floor_ceiling_and_step_and_above_nothing_unless_that_is_allowed() {
        for (bounds, wanted, expected) in [
            (None, 1, None),
            (None, 1_000, None),
            (None, 0, Some("become 0, and the order allows no fewer than 1")),
            (replicas(None, Some(9), Some(9)), 0, Some("become 0, and the order allows no fewer than 1")),
            (replicas(Some(0), None, None), 0, None),
            (replicas(Some(0), None, Some(2)), 0, Some("from 3 to 0, and the order allows steps of 2")),
            (replicas(Some(2), None, None), 2, None),
            (replicas(Some(2), None, None), 1, Some("become 1, and the order allows no fewer than 2")),
            (replicas(None, Some(5), None), 5, None),
            (replicas(None, Some(5), None), 6, Some("become 6, and the order allows no more than 5")),
            (replicas(None, None, Some(2)), 5, None),
            (replicas(None, None, Some(2)), 6, Some("from 3 to 6, and the order allows steps of 2")),
            // It is so already.
            (replicas(Some(9), Some(1), None), 3, None),
        ] {
            let found = scaling(bounds, 3, wanted);
            let is_expected = match expected {
                Some(part) => found.as_ref().is_some_and(|message| message.contains(part)),
                None => found.is_none(),
            };
            assert!(is_expected, "{bounds:?} {wanted}: {found:?}");
        }
    }

    #[test]
    fn pods_that_are_down_and_pods_that_go_down_are_held_against_number_and_share() {
        let most = |number, percent| {
            Some(Bounds { unavailable_max: number, unavailable_max_percent: percent, replicas: None })
        };
        assert_eq!(scaling(most(Some(1), Some(34)), 2, 5), None);
        let message = scaling(most(Some(0), None), 2, 5).unwrap();
        assert!(message.contains("1 of the 3 wanted pods") && message.contains("allows 0;"), "{message}");
        let message = scaling(most(Some(1), Some(33)), 2, 5).unwrap();
        assert!(message.contains("allows 33 %"), "{message}");

        let object = Object::new(json!({
            "metadata": { "uid": "u1" },
            "spec": { "replicas": 3, "template": { "metadata": {} } }, "status": { "availableReplicas": 3 },
        }));
        let fields = WrittenFields::Restart { restarted_at: None };
        let mut act = act(Change::Restart(RestartParams::default()), Kind::StatefulSet, fields);
        let after = WrittenFields::Restart { restarted_at: Some("2026-11-20T12:00:00Z".to_owned()) };
        act.bounds = most(Some(1), None);
        assert_eq!(exceeded(&act, &act.change, &object, Some(&after)), None);
        act.bounds = most(Some(0), None);
        assert!(exceeded(&act, &act.change, &object, Some(&after)).is_some());
    }
}

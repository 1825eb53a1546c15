//! Whether a change can be applied to its target, within its bounds.

use aegis_contract::action::{Change, DEADLINE_SECONDS_MAX};
use aegis_contract::code::RefusalCode;
use aegis_contract::order::{Act, WrittenFields};

use super::Refusal;

/// Refuses a change that its target's kind does not take, or that is out of bounds.
pub(crate) fn check_change(act: &Act) -> Result<(), Refusal> {
    let refuse = |message: String| Refusal::new(RefusalCode::ActionNotAllowed, message);
    Change::new(act.change.action_type(), act.change.params(), act.target.kind)
        .map_err(|error| refuse(error.to_string()))?;
    let within = act.automatic_return.map_or(0, |permitted| permitted.within_seconds);
    if [act.watch_seconds, act.soak_seconds, within].iter().any(|seconds| *seconds > DEADLINE_SECONDS_MAX) {
        return Err(refuse(format!(
            "nothing is watched, or put back, after more than {DEADLINE_SECONDS_MAX} s"
        )));
    }
    if act.automatic_return.is_some() && !act.change.can_be_returned() {
        return Err(refuse(format!("there is nothing to put back after a {}", act.change.action_type())));
    }
    Ok(())
}

/// Whether `fields` are those that `change` writes.
pub(crate) fn fits(change: &Change, fields: &WrittenFields) -> bool {
    match change {
        Change::Restart(_) if change.is_of_unready_pods() => {
            matches!(fields, WrittenFields::UnreadyPods { .. })
        }
        Change::Restart(_) => matches!(fields, WrittenFields::Restart { .. }),
        Change::RestartPod(_) => matches!(fields, WrittenFields::RestartPod { .. }),
        Change::Scale(_) => matches!(fields, WrittenFields::Scale { .. }),
        Change::Rollback(_) => matches!(fields, WrittenFields::Rollback { .. }),
    }
}

#[cfg(test)]
mod tests {
    use aegis_contract::action::{NoParams, RestartParams, RollbackParams, ScaleParams};
    use aegis_contract::order::AutomaticReturn;
    use aegis_contract::target::Kind;

    use super::super::tests::sound_act;
    use super::*;

    #[test]
    fn a_change_out_of_bounds_or_on_a_kind_it_cannot_change_is_refused() {
        for (change, kind, allowed) in [
            (Change::Scale(ScaleParams { replicas: 0 }), Kind::Deployment, true),
            (Change::Scale(ScaleParams { replicas: 1_001 }), Kind::Deployment, false),
            (Change::Scale(ScaleParams { replicas: 1 }), Kind::DaemonSet, false),
            (Change::Restart(RestartParams::default()), Kind::DaemonSet, true),
            (Change::Restart(RestartParams::default()), Kind::Pod, false),
            (Change::RestartPod(NoParams {}), Kind::Deployment, false),
            (Change::Rollback(RollbackParams { to_revision: None }), Kind::StatefulSet, true),
            (Change::Rollback(RollbackParams { to_revision: None }), Kind::Pod, false),
            (Change::Rollback(RollbackParams { to_revision: Some(0) }), Kind::Deployment, false),
        ] {
            let mut act = sound_act();
            act.target.kind = kind;
            act.automatic_return = act.automatic_return.filter(|_| change.can_be_returned());
            act.change = change;
            assert_eq!(check_change(&act).is_ok(), allowed, "{:?} on {kind}", act.change);
        }
    }

    #[test]
    fn a_watch_a_soak_or_a_return_beyond_the_longest_deadline_is_refused() {
        let late = Some(AutomaticReturn { within_seconds: DEADLINE_SECONDS_MAX + 1 });
        for act in [
            Act { watch_seconds: DEADLINE_SECONDS_MAX + 1, ..sound_act() },
            Act { soak_seconds: DEADLINE_SECONDS_MAX + 1, ..sound_act() },
            Act { automatic_return: late, ..sound_act() },
        ] {
            assert_eq!(check_change(&act).unwrap_err().code, RefusalCode::ActionNotAllowed);
        }
    }

    #[test]
    fn a_return_is_permitted_only_where_there_is_something_to_put_back() {
        let act = Act { change: Change::Restart(RestartParams::default()), ..sound_act() };
        assert_eq!(check_change(&act).unwrap_err().code, RefusalCode::ActionNotAllowed);
    }
}

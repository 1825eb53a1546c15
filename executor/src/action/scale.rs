//! `scale`: another number of replicas, through the scale subresource.

use aegis_contract::action::ScaleParams;
use aegis_contract::order::WrittenFields;
use serde_json::{Value, json};

use super::Plan;
use super::object::Object;

pub(super) fn fields(object: &Object) -> Option<WrittenFields> {
    let replicas = object.at("/spec/replicas")?.as_u64()?;
    Some(WrittenFields::Scale { replicas: u32::try_from(replicas).ok()? })
}

pub(super) fn plan(params: ScaleParams, before: WrittenFields) -> Plan {
    let after = WrittenFields::Scale { replicas: params.replicas };
    if before == after { Plan::AlreadyDone { fields: before } } else { Plan::Write { before, after } }
}

pub(super) fn operations(params: ScaleParams) -> Vec<Value> {
    // `add`, because the subresource shows zero replicas as an empty spec.
    vec![json!({ "op": "add", "path": "/spec/replicas", "value": params.replicas })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_that_already_has_the_replicas_is_left_alone() {
        let object = Object::new(json!({ "spec": { "replicas": 3 } }));
        let before = fields(&object).unwrap();
        let plan_to = |replicas| plan(ScaleParams { replicas }, before.clone());
        assert_eq!(plan_to(3), Plan::AlreadyDone { fields: WrittenFields::Scale { replicas: 3 } });
        assert!(matches!(plan_to(0), Plan::Write { after: WrittenFields::Scale { replicas: 0 }, .. }));
    }
}

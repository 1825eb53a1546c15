//! A Kubernetes object as it was read: nothing of it is lost, and nothing of it is logged.

use serde_json::{Map, Value, json};

use crate::cluster::FIELD_MANAGER;

/// One object.
#[derive(Clone)]
pub(crate) struct Object(Value);

impl Object {
    /// The object that `value` is.
    pub(crate) fn new(value: Value) -> Self {
        Self(value)
    }

    /// The value at a JSON pointer; `null` counts as absent.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    /// The text at a JSON pointer; empty when there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number at a JSON pointer; 0 when there is none, as Kubernetes leaves zeros out.
    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.at(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The same for a count of pods.
    pub(crate) fn count(&self, pointer: &str) -> u32 {
        u32::try_from(self.number(pointer)).unwrap_or(u32::MAX)
    }

    /// `metadata.uid`
    pub(crate) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// `metadata.resourceVersion`
    pub(crate) fn resource_version(&self) -> &str {
        self.text("/metadata/resourceVersion")
    }

    /// `metadata.generation`
    pub(crate) fn generation(&self) -> u64 {
        self.number("/metadata/generation")
    }

    /// Whether its deletion has begun.
    pub(crate) fn is_being_deleted(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some()
    }

    /// Whether rollouts of it are paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.at("/spec/paused").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The value of an annotation in the map at `pointer`.
    pub(crate) fn annotation(&self, pointer: &str, name: &str) -> Option<&str> {
        self.at(pointer)?.get(name)?.as_str()
    }

    /// The condition of this type, from the status.
    pub(crate) fn condition(&self, name: &str) -> Option<&Value> {
        let conditions = self.at("/status/conditions")?.as_array()?;
        conditions.iter().find(|condition| condition["type"] == name)
    }

    /// The condition that says that it is ready, if it is.
    pub(crate) fn ready(&self) -> Option<&Value> {
        self.condition("Ready").filter(|ready| ready["status"] == "True")
    }

    /// The uid of the object that controls it.
    pub(crate) fn controller(&self) -> Option<&str> {
        let owners = self.at("/metadata/ownerReferences")?.as_array()?;
        owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
    }

    /// Who last wrote a field below `spec`, named as in `fieldsV1`, other than the executor.
    pub(crate) fn newest_writer(&self, field: &str) -> Option<String> {
        let entries = self.at("/metadata/managedFields")?.as_array()?;
        let wrote = |entry: &&Value| {
            entry["manager"] != FIELD_MANAGER && !entry["fieldsV1"]["f:spec"][field].is_null()
        };
        let newest = entries.iter().filter(wrote).max_by_key(|entry| entry["time"].as_str())?;
        let of = |name: &str| newest[name].as_str().unwrap_or("?").to_owned();
        Some(format!("`{}` at {}", of("manager"), of("time")))
    }

    /// Patch operations that set annotations in the map at `pointer`, which may not exist yet.
    pub(crate) fn annotate(&self, pointer: &str, annotations: &[(&str, String)]) -> Vec<Value> {
        if self.at(pointer).is_some() {
            return annotations
                .iter()
                .map(|(name, value)| {
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    json!({ "op": "add", "path": format!("{pointer}/{escaped}"), "value": value })
                })
                .collect();
        }
        let all: Map<String, Value> =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        vec![json!({ "op": "add", "path": pointer, "value": all })]
    }
}

// Objects carry templates and with them secrets.
impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object(uid {}, resourceVersion {})", self.uid(), self.resource_version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_added_to_a_map_that_is_there_and_to_one_that_is_not() {
        let without = Object::new(json!({ "metadata": {} }));
        let with = Object::new(json!({ "metadata": { "annotations": { "kept": "yes" } } }));
        let new = [("aegis.dev/fence", "f".to_owned())];
        assert_eq!(
            without.annotate("/metadata/annotations", &new),
            [json!({ "op": "add", "path": "/metadata/annotations", "value": { "aegis.dev/fence": "f" } })]
        );
        assert_eq!(
            with.annotate("/metadata/annotations", &new),
            [json!({ "op": "add", "path": "/metadata/annotations/aegis.dev~1fence", "value": "f" })]
        );
    }

    #[test]
    fn an_object_never_prints_its_content() {
        let object = Object::new(json!({ "metadata": { "uid": "u1" }, "spec": { "password": "s3cret" } }));
        assert!(!format!("{object:?}").contains("s3cret"));
    }
}

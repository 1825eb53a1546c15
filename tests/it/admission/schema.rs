//! The fields of workloads as the API server describes them.

use anyhow::{Context, Result};
use serde_json::Value;

/// Fields nested deeper than this do not exist.
const LEVELS_MAX: usize = 24;

/// The schemas of the group `apps`.
pub(super) struct Schema(Value);

/// One field: where it is, `0` standing for any item of a list, and its schema.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) pointer: String,
    pub(super) schema: Value,
}

impl Schema {
    /// The schemas in the document that the API server answers at `/openapi/v3/apis/apps/v1`.
    pub(super) fn read(document: &str) -> Result<Self> {
        let document: Value = serde_json::from_str(document)?;
        Ok(Self(document.pointer("/components/schemas").context("schemas")?.clone()))
    }

    /// The schema of a workload's `metadata` or `spec`.
    pub(super) fn of_part(&self, object: &Value, part: &str) -> &Value {
        let kind = object["kind"].as_str().unwrap_or_default();
        &self.0[format!("io.k8s.api.apps.v1.{kind}")]["properties"][part]
    }

    /// The fields of a workload's metadata and spec, and of everything in them.
    pub(super) fn fields(&self, kind: &str) -> Vec<Field> {
        let top = &self.0[format!("io.k8s.api.apps.v1.{kind}")];
        let mut fields = Vec::new();
        for part in ["metadata", "spec"] {
            self.walk(&top["properties"][part], &format!("/{part}"), 0, &mut fields);
        }
        fields
    }

    /// A schema with its reference followed.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match reference.and_then(|reference| reference.rsplit('/').next()) {
            Some(name) => &self.0[name],
            None => schema,
        }
    }

    fn walk(&self, schema: &Value, pointer: &str, level: usize, fields: &mut Vec<Field>) {
        assert!(level < LEVELS_MAX, "{pointer} is nested too deeply");
        let schema = self.resolve(schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let pointer = format!("{pointer}/{name}");
            fields.push(Field { pointer: pointer.clone(), schema: self.resolve(property).clone() });
            self.walk(property, &pointer, level + 1, fields);
        }
        if schema["type"] == "array" {
            self.walk(&schema["items"], &format!("{pointer}/0"), level + 1, fields);
        }
    }
}

/// Whether a field is one of those that the policies compare one by one, rather than as part of a greater whole.
pub(super) fn is_compared(pointer: &str) -> bool {
    const COMPARED: [&str; 7] = [
        "/metadata",
        "/spec",
        "/spec/template",
        "/spec/template/metadata",
        "/spec/template/spec",
        "/spec/template/spec/containers/0",
        "/spec/template/spec/initContainers/0",
    ];
    pointer.rsplit_once('/').is_some_and(|(parent, _)| COMPARED.contains(&parent))
        || pointer.strip_prefix("/spec/template/spec/volumes/0/").is_some_and(|rest| !rest.contains('/'))
}

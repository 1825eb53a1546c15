//! Edits of one field of a workload: candidates of which the API server takes at least one, wherever anybody can change
//! the field at all.

use serde_json::{Map, Value, json};

use super::schema::{Field, Schema};

/// A changed workload.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    part: &'static str,
    value: Value,
}

impl Edit {
    /// The patch that makes the edit.
    pub(super) fn patch(&self) -> Value {
        json!([{ "op": "replace", "path": format!("/{}", self.part), "value": self.value }])
    }
}

/// Objects that hold one of several things: the names that exclude each other, by the name of what holds them.
const HANDLERS: [&str; 5] = ["exec", "grpc", "httpGet", "sleep", "tcpSocket"];

/// The candidates for a field, given its workload as it stands.
pub(super) fn edits(schema: &Schema, object: &Value, field: &Field) -> Vec<Edit> {
    let part = if field.pointer.starts_with("/spec") { "spec" } else { "metadata" };
    let path: Vec<&str> = field.pointer.split('/').skip(2).collect();
    let present = object.pointer(&field.pointer);
    let mut edits = Vec::new();
    for value in candidates(schema, &field.schema, &path, present) {
        if present == Some(&value) {
            continue;
        }
        let mut edited = part_of(object, part);
        set(schema, schema.of_part(object, part), &mut edited, &path, Some(value));
        edits.push(Edit { part, value: edited });
    }
    if present.is_some() {
        let mut edited = part_of(object, part);
        set(schema, schema.of_part(object, part), &mut edited, &path, None);
        edits.push(Edit { part, value: edited });
    }
    edits
}

/// A part of a workload, to be written whatever version of it there is.
fn part_of(object: &Value, part: &str) -> Value {
    let mut part = object[part].clone();
    if let Some(fields) = part.as_object_mut() {
        fields.remove("resourceVersion");
    }
    part
}

/// Sets what lies at `path` of `value`, or takes it away, and makes what leads there.
fn set(schema: &Schema, of: &Value, value: &mut Value, path: &[&str], new: Option<Value>) {
    let of = schema.resolve(of);
    let Some((first, rest)) = path.split_first() else {
        if let Some(new) = new {
            *value = new;
        }
        return;
    };
    if *first == "0" {
        if !value.is_array() {
            *value = json!([sample(schema, &of["items"], path)]);
        }
        let Some(items) = value.as_array_mut() else { return };
        if items.is_empty() {
            items.push(sample(schema, &of["items"], path));
        }
        return set(schema, &of["items"], &mut items[0], rest, new);
    }
    if !value.is_object() {
        *value = json!({});
    }
    let Some(fields) = value.as_object_mut() else { return };
    let below = &of["properties"][*first];
    if rest.is_empty() && new.is_none() {
        fields.remove(*first);
        return;
    }
    make_room(of, fields, first);
    if !fields.contains_key(*first) && !rest.is_empty() {
        fields.insert((*first).to_owned(), sample(schema, below, path));
    }
    set(schema, below, fields.entry((*first).to_owned()).or_insert(Value::Null), rest, new);
}

/// Takes away what excludes `name`.
fn make_room(of: &Value, fields: &mut Map<String, Value>, name: &str) {
    let has = |other: &str| of["properties"].get(other).is_some();
    if has("configMap") && has("hostPath") && name != "name" {
        fields.retain(|other, _| other == "name" || other == name);
    } else if has("clusterTrustBundle") || has("secretKeyRef") {
        fields.retain(|other, _| other == name);
    } else if HANDLERS.contains(&name) {
        fields.retain(|other, _| !HANDLERS.contains(&other.as_str()) || other == name);
    } else if name == "valueFrom" {
        fields.remove("value");
    } else if name == "value" {
        fields.remove("valueFrom");
    } else if has("configMapRef") && has("secretRef") {
        fields.retain(|other, _| other == name || other == "prefix");
    } else if has("fieldRef") && has("resourceFieldRef") {
        fields
            .retain(|other, _| !["fieldRef", "resourceFieldRef"].contains(&other.as_str()) || other == name);
    }
}

fn candidates(schema: &Schema, of: &Value, path: &[&str], present: Option<&Value>) -> Vec<Value> {
    let name = path.last().copied().unwrap_or_default();
    if let Some(known) = known(&path.join("/")) {
        return known;
    }
    if let Some(choices) = of["enum"].as_array() {
        return choices.clone();
    }
    match of["type"].as_str() {
        Some("boolean") => vec![json!(!present.and_then(Value::as_bool).unwrap_or(false)), json!(false)],
        Some("integer") => {
            let next = present.and_then(Value::as_u64).unwrap_or_default() + 1;
            vec![json!(next), json!(7), json!(2_000), json!(0)]
        }
        Some("array") => {
            let item = sample(schema, &of["items"], path);
            let mut longer = present.and_then(Value::as_array).cloned().unwrap_or_default();
            longer.push(item.clone());
            vec![json!(longer), json!([item])]
        }
        Some("object") if of.get("additionalProperties").is_some() => {
            let mut larger = present.and_then(Value::as_object).cloned().unwrap_or_default();
            larger.insert("example.com/other".to_owned(), json!("1"));
            vec![json!(larger), json!({ "memory": "1Mi" })]
        }
        Some("object") => {
            let one_more = |(other, _): (&String, &Value)| {
                let mut changed = present.cloned().unwrap_or_else(|| sample(schema, of, path));
                if changed.get(other).is_some() {
                    return None;
                }
                let longer: Vec<&str> = path.iter().copied().chain([other.as_str()]).collect();
                let of = schema.resolve(&of["properties"][other]);
                let value = candidates(schema, of, &longer, None).into_iter().next()?;
                make_room(schema.resolve(of), changed.as_object_mut()?, other);
                changed[other] = value;
                Some(changed)
            };
            let mut all = vec![sample(schema, of, path)];
            all.extend(of["properties"].as_object().into_iter().flatten().filter_map(one_more).take(3));
            all
        }
        // Quantities, and numbers that may be names.
        None => vec![json!(1), json!(2), json!("1Mi")],
        Some(_) => words(name).into_iter().map(Value::from).collect(),
    }
}

/// Something valid of this schema, as small as it can be.
fn sample(schema: &Schema, of: &Value, path: &[&str]) -> Value {
    let of = schema.resolve(of);
    let name = path.last().copied().unwrap_or_default();
    if let Some(known) = known(&path.join("/"))
        && let Some(first) = known.first()
    {
        return first.clone();
    }
    if let Some(choice) = of["enum"].get(0) {
        return choice.clone();
    }
    match of["type"].as_str() {
        Some("boolean") => json!(true),
        Some("integer") => json!(1),
        Some("array") => json!([sample(schema, &of["items"], path)]),
        Some("object") => {
            let mut fields = Map::new();
            for required in of["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let longer: Vec<&str> = path.iter().copied().chain([required]).collect();
                fields.insert(required.to_owned(), sample(schema, &of["properties"][required], &longer));
            }
            Value::Object(fields)
        }
        None => json!(1),
        Some(_) => words(name).first().map_or(Value::Null, |word| json!(word)),
    }
}

/// Texts that a field of this name may hold.
fn words(name: &str) -> Vec<&'static str> {
    match name {
        "mountPath" | "path" | "devicePath" | "workingDir" | "terminationMessagePath" | "volumePath" => {
            vec!["/other", "other"]
        }
        "host" | "hostIP" | "ip" | "targetPortal" => vec!["10.0.0.9"],
        "image" => vec!["app:9"],
        "topologyKey" => vec!["kubernetes.io/hostname"],
        "time" | "creationTimestamp" | "deletionTimestamp" => vec!["2026-11-20T12:00:00Z"],
        _ => vec!["other", "/other", "1Mi", "Other", "2"],
    }
}

/// Values of fields that no rule above finds, by the end of their path.
fn known(path: &str) -> Option<Vec<Value>> {
    let claim = json!({ "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
    } });
    let known = [
        ("finalizers", json!(["example.com/other"])),
        ("template/spec/containers", json!([{ "name": "other", "image": "app:9" }])),
        ("envFrom", json!([{ "configMapRef": { "name": "other" } }])),
        ("resizePolicy", json!([{ "resourceName": "cpu", "restartPolicy": "NotRequired" }])),
        (
            "restartPolicyRules",
            json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [7] } }]),
        ),
        ("containers/0/restartPolicy", json!("Never")),
        ("volumeDevices", json!([{ "name": "disk", "devicePath": "/dev/other" }])),
        ("initContainers/0/volumeMounts", json!([{ "name": "scratch", "mountPath": "/other" }])),
        (
            "containers/0/volumeMounts",
            json!([
                { "name": "scratch", "mountPath": "/other" },
                { "name": "host", "mountPath": "/host", "readOnly": true },
            ]),
        ),
        ("template/spec/os", json!({ "name": "linux" })),
        ("template/spec/resourceClaims", json!([{ "name": "other", "resourceClaimName": "other" }])),
        ("template/spec/tolerations", json!([{ "key": "other", "operator": "Exists" }])),
        ("azureDisk/diskURI", json!("https://other.blob.core.windows.net/other/other.vhd")),
        ("volumes/0/ephemeral", json!({ "volumeClaimTemplate": claim })),
        ("ephemeral/volumeClaimTemplate", claim.clone()),
        ("volumes/0/fc", json!({ "targetWWNs": ["other"], "lun": 1 })),
        ("iscsi/iqn", json!("iqn.2026-11.com.example:other")),
        ("quobyte/registry", json!("other:1")),
        (
            "volumes/0/scaleIO",
            json!({ "gateway": "a", "system": "b", "volumeName": "c", "secretRef": { "name": "d" } }),
        ),
        ("volumes/0/secret", json!({ "secretName": "other" })),
        ("volumes/0/storageos", json!({ "volumeName": "other" })),
    ];
    known.into_iter().find(|(end, _)| path.ends_with(end)).map(|(_, value)| vec![value])
}

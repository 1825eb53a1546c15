//! Whether resource quotas leave room for one more pod of a template.

use serde_json::Value;

use super::object::Object;

/// The quota among `all` that has no room for one more pod of `object`'s template, with what it lacks; scoped quotas
/// are left to the API server.
pub(super) fn full(object: &Object, all: &[Object]) -> Option<String> {
    all.iter().filter(|quota| !is_scoped(quota)).find_map(|quota| {
        let hard = quota.at("/status/hard").and_then(Value::as_object)?;
        hard.iter().find_map(|(resource, hard)| {
            let needed = needed(object, resource)?;
            let used = quota.at("/status/used").and_then(|used| quantity(&used[resource])).unwrap_or(0.0);
            let is_full = used + needed > quantity(hard)?;
            is_full.then(|| format!("{} of the quota {}", resource, quota.text("/metadata/name")))
        })
    })
}

fn is_scoped(quota: &Object) -> bool {
    quota.at("/spec/scopes").is_some() || quota.at("/spec/scopeSelector").is_some()
}

/// What one pod takes of a quota's resource; nothing when pods do not count there.
fn needed(object: &Object, resource: &str) -> Option<f64> {
    let (of, name) = match resource {
        "pods" | "count/pods" => return Some(1.0),
        "cpu" | "memory" => ("requests", resource),
        _ => resource.split_once('.').filter(|(of, _)| matches!(*of, "requests" | "limits"))?,
    };
    let containers = object.at("/spec/template/spec/containers").and_then(Value::as_array)?;
    Some(containers.iter().filter_map(|container| quantity(&container["resources"][of][name])).sum())
}

/// A quantity as Kubernetes writes it: a decimal number with a binary or decimal suffix (`resource.Quantity` in the
/// API reference).
fn quantity(value: &Value) -> Option<f64> {
    let text = value.as_str()?;
    let end = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E').unwrap_or(text.len());
    // `E` alone is a suffix, `E3` an exponent.
    let end = if text.ends_with('E') { text.len() - 1 } else { end };
    let factor = match &text[end..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return None,
    };
    text[..end].parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("100m", 0.1),
            ("2", 2.0),
            ("1.5", 1.5),
            ("16Mi", 16_777_216.0),
            ("1k", 1_000.0),
            ("1e3", 1_000.0),
            ("2E", 2e18),
        ] {
            assert_eq!(quantity(&json!(text)), Some(expected), "{text}");
        }
        for text in ["", "x", "1x", "Mi"] {
            assert_eq!(quantity(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn a_quota_without_room_for_one_more_pod_is_named_with_what_it_lacks() {
        let object = Object::new(json!({ "spec": { "template": { "spec": { "containers": [
            { "resources": { "requests": { "cpu": "300m" } } }, { "resources": { "requests": { "cpu": "300m" } } },
        ] } } } }));
        let quota = |hard: Value, used: Value| {
            Object::new(json!({
                "metadata": { "name": "q" }, "status": { "hard": hard, "used": used },
            }))
        };
        let lacks = |hard: Value, used: Value| full(&object, &[quota(hard, used)]);
        assert_eq!(lacks(json!({ "pods": "3" }), json!({ "pods": "3" })).unwrap(), "pods of the quota q");
        assert_eq!(lacks(json!({ "pods": "4" }), json!({ "pods": "3" })), None);
        let cpu = |hard: &str| lacks(json!({ "requests.cpu": hard }), json!({ "requests.cpu": "500m" }));
        assert_eq!(cpu("1").unwrap(), "requests.cpu of the quota q");
        assert_eq!(cpu("1100m"), None);
        assert_eq!(lacks(json!({ "services": "1" }), json!({ "services": "1" })), None);
    }
}

//! Label selectors of objects: what they choose, and how queries spell them.

use serde_json::Value;

/// Whether `selector` chooses an object with these labels. An empty selector chooses everything, an absent one
/// nothing, as for a PodDisruptionBudget.
pub(super) fn chooses(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector else { return false };
    let label = |key: &str| labels.and_then(|labels| labels[key].as_str());
    let mut by_label = selector["matchLabels"].as_object().into_iter().flatten();
    let mut by_expression = selector["matchExpressions"].as_array().into_iter().flatten();
    by_label.all(|(key, value)| label(key) == value.as_str())
        && by_expression.all(|expression| fits(expression, &label))
}

fn fits<'a>(expression: &Value, label: &impl Fn(&str) -> Option<&'a str>) -> bool {
    let value = label(expression["key"].as_str().unwrap_or_default());
    let listed = || {
        let mut values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        value.is_some_and(|value| values.any(|listed| listed == value))
    };
    match expression["operator"].as_str() {
        Some("In") => listed(),
        Some("NotIn") => !listed(),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        // An operator of a later Kubernetes: counted as fitting, so that no budget is overlooked.
        _ => true,
    }
}

/// The selector in the form that queries take. It may choose more than the selector does, never less.
pub(super) fn query(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let mut terms = Vec::new();
    for (name, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        terms.push(format!("{name}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        match expression["operator"].as_str() {
            Some("In") => terms.push(format!("{key} in ({values})")),
            Some("NotIn") => terms.push(format!("{key} notin ({values})")),
            Some("Exists") => terms.push(key.to_owned()),
            Some("DoesNotExist") => terms.push(format!("!{key}")),
            _ => {}
        }
    }
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_chooses_by_labels_and_by_expressions() {
        let labels = json!({ "app": "web", "tier": "a" });
        for (selector, expected) in [
            (json!({}), true),
            (json!({ "matchLabels": { "app": "web" } }), true),
            (json!({ "matchLabels": { "app": "web", "tier": "b" } }), false),
            (
                json!({ "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["a", "b"] }] }),
                true,
            ),
            (json!({ "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["a"] }] }), false),
            (json!({ "matchExpressions": [{ "key": "old", "operator": "NotIn", "values": ["a"] }] }), true),
            (json!({ "matchExpressions": [{ "key": "old", "operator": "Exists" }] }), false),
            (json!({ "matchExpressions": [{ "key": "old", "operator": "DoesNotExist" }] }), true),
        ] {
            assert_eq!(chooses(Some(&selector), Some(&labels)), expected, "{selector}");
        }
        assert!(!chooses(None, Some(&labels)));
        assert!(!chooses(Some(&json!({ "matchLabels": { "app": "web" } })), None));
    }

    #[test]
    fn a_selector_is_written_as_queries_take_it() {
        let text = query(Some(&json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "old", "operator": "DoesNotExist" },
            ],
        })));
        assert_eq!(text, "app=web,tier in (a,b),!old");
    }
}

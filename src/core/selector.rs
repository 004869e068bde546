//! Label selectors, as Kubernetes matches them.

use std::collections::BTreeMap;

use crate::api::selector::{Operator, Selector};

/// Whether the selector selects an object with these labels. All parts must hold; an empty selector selects everything.
pub fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    let label = |key: &str| labels.get(key).map(String::as_str);
    selector.match_labels.iter().all(|(key, value)| label(key) == Some(value.0.as_str()))
        && selector.match_expressions.iter().all(|requirement| {
            let value = label(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.iter().any(|each| each.0 == value));
            match requirement.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_as_kubernetes_does() {
        let labels = BTreeMap::from([("tier".to_owned(), "web".to_owned())]);
        for (selector, want) in [
            (json!({}), true),
            (json!({"matchLabels": {"tier": "web"}}), true),
            (json!({"matchLabels": {"tier": "db"}}), false),
            (json!({"matchLabels": {"other": "web"}}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["db", "web"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}), false),
            (json!({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), false),
            (json!({"matchLabels": {"tier": "web"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
        ] {
            let parsed: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(matches(&parsed, &labels), want, "{selector}");
        }
    }
}

//! The comparison of before: any prediction against live state, all that the server sets left out. Gives way to
//! [`super::between`]. Pure.
use serde_json::Value;

use super::{Comparison, LAST_APPLIED, differences};
use crate::app::SyncCode;

/// Metadata that the server alone sets.
const SERVER_FIELDS: [&str; 7] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
    "deletionGracePeriodSeconds",
];

/// Compares. `predicted` is the API server's answer to a dry-run apply of `target`.
pub fn compare(target: Option<&Value>, live: Option<&Value>, predicted: Option<&Value>) -> Comparison {
    match (target, live) {
        (Some(target), Some(live)) => {
            let (predicted, live) = (normalize(predicted.unwrap_or(target)), normalize(live));
            let mut changed = Vec::new();
            differences(&predicted, &live, "", &mut changed);
            let status = if changed.is_empty() { SyncCode::Synced } else { SyncCode::OutOfSync };
            Comparison { status, changed, predicted: Some(predicted), live: Some(live) }
        }
        (None, None) => Comparison { status: SyncCode::Synced, changed: Vec::new(), predicted: None, live: None },
        _ => Comparison { status: SyncCode::OutOfSync, changed: vec![String::new()], predicted: None, live: None },
    }
}

/// Compares, but for what is ignored. An error is a rule that could not be followed.
pub fn compare_but(
    target: &Value,
    live: &Value,
    predicted: &Value,
    ignored: &crate::ignore::Ignored,
) -> Result<Comparison, String> {
    if ignored.is_empty() {
        return Ok(compare(Some(target), Some(live), Some(predicted)));
    }
    let (mut predicted, mut ours) = (predicted.clone(), live.clone());
    ignored.strip(&mut predicted, live)?;
    ignored.strip(&mut ours, live)?;
    Ok(compare(Some(target), Some(&ours), Some(&predicted)))
}

/// What live state would be with the target laid over it: the prediction when the API server refuses to make one (a
/// field that may not change, an unknown field). Such an object is out of sync exactly if the target says something
/// that live state does not; that it cannot be applied is for the sync to tell.
pub fn overlay(target: &Value, live: &Value) -> Value {
    match (target, live) {
        (Value::Object(target), Value::Object(live)) => {
            let mut merged = live.clone();
            for (field, value) in target.iter().filter(|(_, value)| !value.is_null()) {
                let over = live.get(field).map_or_else(|| value.clone(), |live| overlay(value, live));
                merged.insert(field.clone(), over);
            }
            Value::Object(merged)
        }
        (Value::Array(target), Value::Array(live)) if target.len() == live.len() => {
            target.iter().zip(live).map(|(target, live)| overlay(target, live)).collect()
        }
        _ => target.clone(),
    }
}

/// The object without what the server sets and without status.
fn normalize(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVER_FIELDS {
                metadata.remove(field);
            }
            let emptied = metadata.get_mut("annotations").and_then(Value::as_object_mut).is_some_and(|annotations| {
                annotations.remove(LAST_APPLIED);
                annotations.is_empty()
            });
            if emptied {
                metadata.remove("annotations");
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_counts() {
        let live = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "managedFields": [], "annotations": {LAST_APPLIED: "x"}}, "data": {"a/b": "1", "l": [1, 2]}, "status": {"x": 1}});
        let with = |data: Value| json!({"metadata": {"name": "a", "resourceVersion": "6"}, "data": data});
        let cases = [
            (json!({"a/b": "1", "l": [1, 2]}), SyncCode::Synced, vec![]),
            (json!({"a/b": "2", "l": [1, 2]}), SyncCode::OutOfSync, vec!["/data/a~1b"]),
            (json!({"a/b": "1", "l": [1, 3]}), SyncCode::OutOfSync, vec!["/data/l/1"]),
            (json!({"a/b": "1", "l": [1]}), SyncCode::OutOfSync, vec!["/data/l"]),
            (json!({"a/b": "1"}), SyncCode::OutOfSync, vec!["/data/l"]),
        ];
        for (data, status, changed) in cases {
            let predicted = with(data);
            let found = compare(Some(&predicted), Some(&live), Some(&predicted));
            assert_eq!((found.status, found.changed), (status, changed.into_iter().map(str::to_owned).collect()));
        }
        assert_eq!(compare(Some(&live), None, None).status, SyncCode::OutOfSync);
        assert_eq!(compare(None, Some(&live), None).status, SyncCode::OutOfSync);
    }

    #[test]
    fn a_refused_target_is_laid_over_live_state() {
        let live = json!({"spec": {"image": "one", "list": [{"name": "a", "default": 1}], "default": true}});
        let cases = [
            (json!({"spec": {"image": "one", "list": [{"name": "a"}], "gone": null}}), SyncCode::Synced),
            (json!({"spec": {"image": "two"}}), SyncCode::OutOfSync),
            (json!({"spec": {"unknown": 1}}), SyncCode::OutOfSync),
            (json!({"spec": {"list": []}}), SyncCode::OutOfSync),
        ];
        for (target, want) in cases {
            let predicted = overlay(&target, &live);
            assert_eq!(compare(Some(&target), Some(&live), Some(&predicted)).status, want, "{target}");
        }
    }
}

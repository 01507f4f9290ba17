//! JSON merge patches (RFC 7396), as kubectl and Argo CD make them for kinds whose types they do not know
//! (k8s.io/apimachinery `jsonmergepatch`). Pure.
use serde_json::{Map, Value};

use super::Object;

/// What makes `live` hold all that `wanted` says, less what `original` had and `wanted` has no more.
pub(crate) fn three_way(original: &Object, wanted: &Object, live: &Object) -> Object {
    let changes = filtered(&two_way(live, wanted), false);
    let deletions = filtered(&two_way(original, wanted), true);
    apply(deletions, &changes)
}

/// The patch from one object to another.
fn two_way(from: &Object, to: &Object) -> Object {
    let mut patch = Map::new();
    for (key, after) in to {
        match (from.get(key), after) {
            (Some(Value::Object(before)), Value::Object(after)) => {
                let inner = two_way(before, after);
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Some(before), after) if before == after => {}
            _ => {
                patch.insert(key.clone(), after.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

/// Only the nulls of a patch, or all but them.
fn filtered(patch: &Object, nulls: bool) -> Object {
    let mut kept = Map::new();
    for (key, value) in patch {
        match value {
            Value::Null if nulls => {
                kept.insert(key.clone(), Value::Null);
            }
            Value::Object(inner) if !inner.is_empty() => {
                let inner = filtered(inner, nulls);
                if !inner.is_empty() {
                    kept.insert(key.clone(), Value::Object(inner));
                }
            }
            Value::Null => {}
            // An empty map is such a value, too, not an empty patch.
            other if !nulls => {
                kept.insert(key.clone(), other.clone());
            }
            _ => {}
        }
    }
    kept
}

/// The object with the patch applied. Nulls inside of what is new or replaced are dropped too, as Go's json-patch does.
pub(crate) fn apply(mut object: Object, patch: &Object) -> Object {
    for (key, change) in patch {
        let value = match (object.remove(key), change) {
            (_, Value::Null) => continue,
            (Some(Value::Object(inner)), Value::Object(change)) => Value::Object(apply(inner, change)),
            (Some(Value::Object(_)), change) => change.clone(),
            (_, change) => pruned(change),
        };
        object.insert(key.clone(), value);
    }
    object
}

fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), pruned(value))).collect())
        }
        Value::Array(items) => items.iter().map(pruned).collect(),
        other => other.clone(),
    }
}

/// `live` without what `config` has no key for; of lists, item by item at the same place, and what is beyond the end of
/// the shorter list stays (gitops-engine, `RemoveMapFields`).
pub(crate) fn only_known(config: &Object, live: &Object) -> Object {
    let both = config.iter().filter_map(|(key, wanted)| Some((key, wanted, live.get(key)?)));
    both.map(|(key, wanted, live)| (key.clone(), known(wanted, live))).collect()
}

fn known(config: &Value, live: &Value) -> Value {
    match (config, live) {
        (Value::Object(config), Value::Object(live)) => Value::Object(only_known(config, live)),
        (Value::Array(config), Value::Array(live)) => Value::Array(only_known_items(config, live)),
        (_, live) => live.clone(),
    }
}

/// The same for the items of a list.
pub(crate) fn only_known_items(config: &[Value], live: &[Value]) -> Vec<Value> {
    live.iter()
        .enumerate()
        .map(|(at, item)| config.get(at).map_or_else(|| item.clone(), |config| known(config, item)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn three_ways_to_one_patch() {
        let cases = [
            // original, wanted, live, patch
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 1, "x": 0}), json!({"a": 2})),
            (json!({"a": 1, "b": 1}), json!({"a": 1}), json!({"a": 1, "b": 1, "x": 0}), json!({"b": null})),
            (
                json!({"m": {"a": 1, "b": 2}}),
                json!({"m": {"a": 1}}),
                json!({"m": {"a": 0, "b": 2}}),
                json!({"m": {"a": 1, "b": null}}),
            ),
            (json!({}), json!({"l": [1, 2]}), json!({"l": [1]}), json!({"l": [1, 2]})),
            (json!({}), json!({"n": null, "m": {"n": null}}), json!({}), json!({"n": null, "m": {"n": null}})),
            (json!({"a": 1}), json!({"a": 1}), json!({"a": 1}), json!({})),
            (json!({}), json!({"m": {}}), json!({}), json!({"m": {}})),
            (json!({}), json!({"a": null}), json!({"a": 1}), json!({"a": null})),
        ];
        for (original, wanted, live, want) in cases {
            let patch = three_way(&map(original), &map(wanted.clone()), &map(live.clone()));
            assert_eq!(Value::Object(patch), want, "{wanted} {live}");
        }
    }

    #[test]
    fn a_patch_is_applied() {
        let object = map(json!({"a": 1, "m": {"b": 2, "c": 3}, "l": [1]}));
        let patch = map(json!({"a": null, "m": {"b": null, "d": 4}, "l": [2], "n": {"x": null, "y": 1}}));
        assert_eq!(Value::Object(apply(object, &patch)), json!({"m": {"c": 3, "d": 4}, "l": [2], "n": {"y": 1}}));
    }

    #[test]
    fn what_nobody_asked_for_is_left_out() {
        let config = map(json!({"a": 1, "m": {"b": 1}, "l": [{"n": 1}, {"n": 2}]}));
        let live = map(json!({"a": 2, "m": {"b": 1, "d": 2}, "l": [{"n": 1, "d": 1}], "x": 1}));
        assert_eq!(Value::Object(only_known(&config, &live)), json!({"a": 2, "m": {"b": 1}, "l": [{"n": 1}]}));
    }
}

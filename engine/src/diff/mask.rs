//! Secrets as they are shown: values hidden, equality kept visible (Argo CD, operator manual, "Security"). The same value
//! of a key has the same mask wherever it stands; each further value of that key has four plus signs more. Pure.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::LAST_APPLIED;
use super::normalize::secret_data;
use crate::schema::Schemas;

const MASK: &str = "++++++++";
const MORE: &str = "++++";

/// Target and live state of a Secret, masked; objects of other kinds as they are. `annotations` are hidden besides
/// (setting `resource.sensitive.mask.annotations`).
///
/// To show a prediction, mask first and compare what is masked: the masks are base64, too.
pub fn pair(
    target: Option<&Value>,
    live: Option<&Value>,
    annotations: &BTreeSet<String>,
) -> (Option<Value>, Option<Value>) {
    let mut sides = [target.cloned(), live.cloned()];
    if !sides.iter().flatten().any(is_secret) {
        return sides.into();
    }
    let mut applied: Vec<Option<Value>> =
        sides.iter().map(|side| side.as_ref().and_then(super::last_applied)).collect();
    let mut all: Vec<&mut Value> = sides.iter_mut().flatten().chain(applied.iter_mut().flatten()).collect();
    let schemas = Schemas::builtin();
    for object in &mut all {
        secret_data(object, &schemas);
        // What is no map of values cannot be masked value by value.
        for field in ["data", "stringData"] {
            if let Some(value) = object.get_mut(field).filter(|value| !value.is_object() && !value.is_null()) {
                *value = MASK.into();
            }
        }
        if let Some(values) = object.get_mut("stringData").and_then(Value::as_object_mut) {
            values.values_mut().for_each(|value| *value = MASK.into());
        }
    }
    let data: BTreeSet<String> = keys(&all);
    hide(&mut all, &data, "/data");
    hide(&mut all, annotations, "/metadata/annotations");
    for (side, applied) in sides.iter_mut().zip(applied) {
        let place = side.as_mut().and_then(|side| side.pointer_mut("/metadata/annotations")?.get_mut(LAST_APPLIED));
        if let Some(place) = place {
            let hidden = annotations.contains(LAST_APPLIED);
            *place = applied.filter(|_| !hidden).map_or_else(|| MASK.into(), |applied| applied.to_string().into());
        }
    }
    sides.into()
}

fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

fn keys(objects: &[&mut Value]) -> BTreeSet<String> {
    objects.iter().filter_map(|object| object["data"].as_object()).flat_map(|data| data.keys().cloned()).collect()
}

fn hide(objects: &mut [&mut Value], keys: &BTreeSet<String>, at: &str) {
    for key in keys {
        let mut masks: BTreeMap<String, String> = BTreeMap::new();
        for object in objects.iter_mut() {
            let Some(value) = object.pointer_mut(at).and_then(|map| map.as_object_mut()?.get_mut(key)) else {
                continue;
            };
            let plain = match &*value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let next = format!("{MASK}{}", MORE.repeat(masks.len()));
            *value = masks.entry(plain).or_insert(next).clone().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(data: Value, applied: Option<Value>) -> Value {
        let annotations = match applied {
            Some(data) => {
                json!({LAST_APPLIED: json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "data": data}).to_string(), "token": "t"})
            }
            None => json!({"token": "t"}),
        };
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": annotations}, "data": data})
    }

    #[test]
    fn the_same_value_has_the_same_mask() {
        let live = secret(
            json!({"same": "aGVsbG8=", "other": "MQ==", "gone": "MQ=="}),
            Some(json!({"same": "aGVsbG8=", "other": "Mw=="})),
        );
        let mut target = secret(json!({"other": "Mg=="}), None);
        target["stringData"] = json!({"same": "hello"});
        let (target, live) = pair(Some(&target), Some(&live), &BTreeSet::from(["token".to_owned()]));
        let (target, live) = (target.unwrap(), live.unwrap());
        assert_eq!(target["data"], json!({"same": MASK, "other": MASK}));
        assert_eq!(target.get("stringData"), None);
        assert_eq!(live["data"], json!({"same": MASK, "other": "++++++++++++", "gone": MASK}));
        assert_eq!(live["metadata"]["annotations"]["token"], MASK);
        let applied: Value =
            serde_json::from_str(live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap()).unwrap();
        assert_eq!(applied["data"], json!({"same": MASK, "other": "++++++++++++++++"}));
    }

    #[test]
    fn nothing_leaks() {
        let all = BTreeSet::from([LAST_APPLIED.to_owned()]);
        let odd = [
            json!({"apiVersion": "v1", "kind": "Secret", "data": "hunter2"}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": {"b": "hunter2"}}, "stringData": ["hunter2"]}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": ["hunter2"]}, "stringData": {"x": "hunter2", "y": 1}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {LAST_APPLIED: "{hunter2"}}}),
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "b"}, "metadata": {"annotations": {LAST_APPLIED: "{\"kind\":\"Secret\",\"stringData\":{\"a\":\"hunter2\"}}"}}}),
            secret(json!({}), Some(json!({"a": "hunter2"}))),
        ];
        for object in odd {
            for annotations in [&BTreeSet::new(), &all] {
                let (target, live) = pair(Some(&object), Some(&object), annotations);
                assert!(!format!("{target:?}{live:?}").contains("hunter2"), "{object}");
            }
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
        assert_eq!(pair(Some(&map), None, &all), (Some(map), None));
    }
}

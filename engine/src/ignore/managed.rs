//! `managedFieldsManagers`: the fields that a manager owns, by the object's own `metadata.managedFields`
//! (Kubernetes, "Server-Side Apply", FieldsV1). Pure.
use serde_json::{Map, Value, json};

/// The paths in `object` of the fields that `live` says one of these managers owns.
pub(super) fn paths(managers: &[String], live: &Value, object: &Value) -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let theirs = entry["manager"].as_str().is_some_and(|manager| managers.iter().any(|one| one == manager));
        if let Some(fields) = entry["fieldsV1"].as_object().filter(|_| theirs) {
            walk(fields, object, &mut Vec::new(), &mut found);
        }
    }
    found
}

fn walk(fields: &Map<String, Value>, object: &Value, at: &mut Vec<Value>, found: &mut Vec<Vec<Value>>) {
    for (field, below) in fields {
        let Some(step) = step(field, object) else { continue };
        let inner = match &step {
            Value::String(name) => object.get(name),
            index => index.as_u64().and_then(|index| object.get(usize::try_from(index).ok()?)),
        };
        let Some(inner) = inner else { continue };
        at.push(step);
        match below.as_object().filter(|below| !below.is_empty()) {
            // An item of a list that the manager made is its own as a whole.
            Some(below) if field.starts_with("k:") && below.contains_key(".") => found.push(at.clone()),
            Some(below) => walk(below, inner, at, found),
            None => found.push(at.clone()),
        }
        at.pop();
    }
}

/// `f:<field>`, `k:<keys as JSON>`, `v:<value as JSON>`, `i:<index>`; the place is looked up in the object.
fn step(field: &str, object: &Value) -> Option<Value> {
    let (kind, rest) = field.split_once(':')?;
    let place = |wanted: &dyn Fn(&Value) -> bool| object.as_array()?.iter().position(wanted).map(|at| json!(at));
    match kind {
        "f" => Some(json!(rest)),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            place(&|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
        }
        "v" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            place(&|item| *item == value)
        }
        "i" => rest.parse::<u64>().ok().map(|at| json!(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_fields_are_found_where_they_are() {
        let live = json!({
            "metadata": {"managedFields": [
                {"manager": "hpa", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:gone": {}, "f:containers": {"k:{\"name\":\"b\"}": {"f:image": {}}, "k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}}, "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}}},
                {"manager": "other", "fieldsV1": {"f:data": {}}},
            ], "finalizers": ["y", "x"]},
            "spec": {"replicas": 3, "containers": [{"name": "a"}, {"name": "b", "image": "i"}, {"name": "c"}]},
            "data": {},
        });
        let mut found = paths(&["hpa".to_owned()], &live, &live);
        found.sort_by_key(|path| json!(path).to_string());
        let want = json!([
            ["metadata", "finalizers", 1],
            ["spec", "containers", 1, "image"],
            ["spec", "containers", 2],
            ["spec", "replicas"]
        ]);
        assert_eq!(json!(found), want);
        assert!(paths(&["nobody".to_owned()], &live, &live).is_empty());
    }
}

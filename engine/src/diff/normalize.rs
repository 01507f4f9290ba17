//! What is done to either side before (client-side) or after (server-side) they are compared, kind by kind
//! (gitops-engine, `Normalize`), then what is ignored, then fields of known types (Argo CD, "Diff Customization"). Pure.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::Inputs;
use super::settings::{KnownField, Settings};
use crate::schema::{At, Schemas};
use crate::typed;

/// The object as its Go type writes it; of kinds that have none, as it is.
pub(super) fn round_trip(object: &Value, schemas: &Schemas) -> Value {
    let mut object = object.clone();
    typed::plain_numbers(&mut object);
    schemas.known(&object).and_then(|at| typed::round_trip(&object, at)).unwrap_or(object)
}

/// By kind alone.
pub(super) fn by_kind(object: &mut Value, inputs: &Inputs<'_>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    let group = object["apiVersion"].as_str().unwrap_or_default().split_once('/').map_or("", |(group, _)| group);
    match (group, object["kind"].as_str().unwrap_or_default()) {
        ("", "Secret") => secret_data(object, inputs.schemas),
        ("", "Endpoints") => endpoints(object, inputs.schemas),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => role(object, inputs.ignored.aggregated_roles),
        _ => {}
    }
}

/// Without what is ignored, and with fields of known types in the form of their types.
pub(super) fn by_rules(object: &mut Value, inputs: &Inputs<'_>) -> Result<(), String> {
    inputs.ignored.strip_rules(object)?;
    if inputs.settings.ignores_status(object)
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
    known_types(object, inputs.settings, inputs.schemas);
    Ok(())
}

/// `stringData` goes to `data` in base64, null values become empty ones. A Secret that is not valid keeps the rest.
pub(super) fn secret_data(object: &mut Value, schemas: &Schemas) {
    if let Some(plain) = object.get("stringData").and_then(Value::as_object).cloned() {
        let mut data = object.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        for (key, value) in plain {
            let value = match value {
                Value::String(text) => STANDARD.encode(text).into(),
                other => other,
            };
            data.insert(key, value);
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("data".to_owned(), data.into());
            map.remove("stringData");
        }
    }
    if !object["data"].is_object() {
        return;
    }
    if let Some(mut whole) = schemas.known(object).and_then(|at| typed::whole(object, at))
        && let Some(map) = object.as_object_mut()
    {
        let mut data = whole.get_mut("data").map(Value::take).unwrap_or_default();
        let nulls = data.as_object_mut().into_iter().flat_map(Map::values_mut).filter(|value| value.is_null());
        nulls.for_each(|value| *value = "".into());
        map.insert("data".to_owned(), data);
    }
}

/// Rules that are an empty list are none. Of an aggregated role, the rules are the cluster's affair when so set.
fn role(object: &mut Value, aggregated: bool) {
    let aggregates = aggregated && object["aggregationRule"].is_object();
    if let Some(map) = object.as_object_mut() {
        let empty = map.get("rules").and_then(Value::as_array).is_some_and(Vec::is_empty);
        if aggregates || empty {
            map.insert("rules".to_owned(), Value::Null);
        }
    }
}

/// Subsets, addresses and ports in one order.
fn endpoints(object: &mut Value, schemas: &Schemas) {
    // As Argo CD does it, this makes required fields appear that were not there.
    if let Some(whole) = schemas.known(object).and_then(|at| typed::whole(object, at)) {
        *object = whole;
    }
    let Some(subsets) = object.get_mut("subsets").and_then(Value::as_array_mut) else { return };
    for subset in subsets.iter_mut().filter_map(Value::as_object_mut) {
        for list in ["addresses", "notReadyAddresses"] {
            if let Some(addresses) = subset.get_mut(list).and_then(Value::as_array_mut) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                addresses.sort_by_cached_key(|one| (text(&one["ip"]), text(&one["targetRef"]["uid"]), one.to_string()));
            }
        }
        if let Some(ports) = subset.get_mut("ports").and_then(Value::as_array_mut) {
            for port in ports.iter_mut().filter_map(Value::as_object_mut) {
                if port.get("protocol").is_none_or(|protocol| protocol.is_null() || protocol == "") {
                    port.insert("protocol".to_owned(), "TCP".into());
                }
            }
            ports.sort_by_cached_key(Value::to_string);
        }
    }
    subsets.sort_by_cached_key(Value::to_string);
}

fn known_types(object: &mut Value, settings: &Settings, schemas: &Schemas) {
    for KnownField { path, type_name } in settings.known_fields(object) {
        if let Some(at) = schemas.named(type_name) {
            let path: Vec<&str> = path.split('.').collect();
            retype(object, &path, at);
        }
    }
}

/// Writes the value at the path by its type; on the way, lists are gone through. What does not fit stays.
fn retype(value: &mut Value, path: &[&str], at: At<'_>) {
    match (path.split_first(), value) {
        (None, value) => {
            if let Some(items) = value.as_array_mut() {
                items.iter_mut().filter(|item| item.is_object()).for_each(|item| retype(item, &[], at));
            } else if let Some(whole) = typed::whole(value, at) {
                *value = whole;
            }
        }
        (Some((step, rest)), Value::Object(map)) => {
            if let Some(inner) = map.get_mut(*step) {
                retype(inner, rest, at);
            }
        }
        (Some(_), Value::Array(items)) => items.iter_mut().for_each(|item| retype(item, path, at)),
        _ => {}
    }
}

/// An object without its namespace, which live state has and manifests need not, and without an empty map of
/// annotations.
pub(super) fn without_namespace(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
        let annotations = metadata.get("annotations");
        if annotations.is_some_and(|all| all.is_null() || all.as_object().is_some_and(Map::is_empty)) {
            metadata.remove("annotations");
        }
    }
    object
}

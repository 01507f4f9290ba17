//! What the API server fills in where a manifest says nothing (k8s.io/kubernetes `pkg/apis/*/*/defaults.go`), for the
//! kinds that Argo CD fills in as well. It matters where live state has what the target lacks inside of a list that is
//! replaced as a whole, or in an item that is new.
//!
//! Works on objects written out by their type ([`crate::typed::whole`]). Pure.
use serde_json::{Map, Value};

use crate::quantity;
use crate::schema::{At, Shape};

mod core;
mod others;

type Object = Map<String, Value>;

/// Fills in the defaults of an object and of all that it holds.
pub(super) fn fill(object: &mut Value, at: At<'_>) {
    if skipped(object["apiVersion"].as_str().unwrap_or_default()) {
        return;
    }
    walk(object, at);
}

/// Groups whose defaults Argo CD does not know.
fn skipped(version: &str) -> bool {
    ["resource.k8s.io/", "storagemigration.k8s.io/", "internal.apiserver.k8s.io/", "lifecycle.k8s.io/"]
        .iter()
        .any(|group| version.starts_with(group))
}

fn walk(value: &mut Value, at: At<'_>) {
    match (at.solid().shape, value) {
        (Shape::Object(_), Value::Object(map)) => {
            let (package, name) = at.name().rsplit_once('.').unwrap_or_default();
            match package {
                "core/v1" => core::fill(name, map),
                _ => others::fill(package, name, map),
            }
            for field in at.fields().unwrap_or_default() {
                if let Some(default) = at.default_of(&field.name) {
                    let pointer = matches!(field.shape, Shape::Pointer(_));
                    if pointer {
                        absent(map, &field.name, default.clone())
                    } else {
                        zero(map, &field.name, default.clone())
                    }
                }
                if let Some(inner) = map.get_mut(&field.name) {
                    walk(inner, at.with(&field.shape));
                }
            }
        }
        (Shape::List(_), Value::Array(items)) => items.iter_mut().for_each(|item| walk(item, at.inner())),
        (Shape::Map(inner), Value::Object(map)) => {
            if **inner == Shape::Quantity {
                map.values_mut().for_each(round_up);
            } else {
                map.values_mut().for_each(|item| walk(item, at.inner()));
            }
        }
        _ => {}
    }
}

fn round_up(quantity: &mut Value) {
    if let Some(rounded) = quantity.as_str().and_then(quantity::rounded_up) {
        *quantity = rounded.into();
    }
}

fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// For a field that Go knows as a pointer: set unless it is there.
fn absent(map: &mut Object, field: &str, default: impl Into<Value>) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), default.into());
    }
}

/// For a plain field: set when it is empty, too.
fn zero(map: &mut Object, field: &str, default: impl Into<Value>) {
    if is_zero(map.get(field)) {
        map.insert(field.to_owned(), default.into());
    }
}

fn text<'a>(map: &'a Object, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The map in a field, made when there is none.
fn made<'a>(map: &'a mut Object, field: &str) -> Option<&'a mut Object> {
    absent(map, field, Map::new());
    inner(map, field)
}

fn inner<'a>(map: &'a mut Object, field: &str) -> Option<&'a mut Object> {
    map.get_mut(field)?.as_object_mut()
}

fn items<'a>(map: &'a mut Object, field: &str) -> impl Iterator<Item = &'a mut Object> {
    map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests;

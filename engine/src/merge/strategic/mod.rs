//! Strategic merge patches: lists of objects are merged by a key, and special keys say what else is to be done
//! (Kubernetes, "Update API Objects in Place Using kubectl patch"; k8s.io/apimachinery `strategicpatch`).
//!
//! Order and odd cases are Kubernetes' own, for the API server reads the same patch and Argo CD compares what comes out
//! of it to the byte. Pure.
use serde_json::Value;

use super::Object;
use crate::schema::{At, Patch, Shape};

mod apply;
mod difference;
mod lists;

/// Says what to do with the map or the list item that it stands in: `replace`, `delete`.
const DIRECTIVE: &str = "$patch";
/// `$deleteFromPrimitiveList/finalizers`: the items to be taken out.
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
/// `$setElementOrder/containers`: the order wanted.
const SET_ORDER: &str = "$setElementOrder";
/// The fields of a map that stay; all others go.
const RETAIN_KEYS: &str = "$retainKeys";

/// The patch from one object to another.
pub(crate) fn two_way(from: &Object, to: &Object, at: At<'_>) -> Result<Object, String> {
    difference::maps(from, to, at, difference::Options { changes: true, deletions: true, retain: false })
}

/// The patch that makes `live` hold all that `wanted` says, less what `original` had and `wanted` has no more.
pub(crate) fn three_way(original: &Object, wanted: &Object, live: &Object, at: At<'_>) -> Result<Object, String> {
    let changes = difference::Options { changes: true, deletions: false, retain: false };
    let deletions = difference::Options { changes: false, deletions: true, retain: false };
    let changes = difference::maps(live, wanted, at, changes)?;
    let deletions = difference::maps(original, wanted, at, deletions)?;
    apply::merge(deletions, changes, at, apply::Mode::Combine)
}

/// The object with the patch applied.
pub(crate) fn apply(object: Object, patch: Object, at: At<'_>) -> Result<Object, String> {
    apply::merge(object, patch, at, apply::Mode::Apply)
}

/// What is known of one field that holds a map.
fn map_field<'a>(at: At<'a>, key: &str) -> Result<(At<'a>, &'a Patch), String> {
    let at = at.solid();
    if at.fields().is_none() {
        return Err(format!("field {key:?}: only the fields of declared objects can be merged"));
    }
    let field = at.field_folded(key).ok_or_else(|| format!("field {key:?} is not known in {}", at.name()))?;
    Ok((at.with(&field.shape), &field.patch))
}

/// What is known of one field that holds a list: of its items, and how they are merged.
fn list_field<'a>(at: At<'a>, key: &str) -> Result<(At<'a>, &'a Patch), String> {
    let (of, patch) = map_field(at, key)?;
    match of.solid().shape {
        Shape::List(_) => Ok((of.inner(), patch)),
        _ => Err(format!("field {key:?} of {} is a list; its type is not", at.name())),
    }
}

/// Values of different kinds replace each other; those of one kind are compared.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(number) if number.is_f64() => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}

/// A scalar as text, by which scalars are ordered.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "<nil>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests;

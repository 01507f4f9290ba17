//! A patch applied to an object, or to another patch. Pure.
use serde_json::{Map, Value};

use super::lists::{self, Items};
use super::{DELETE_FROM, DIRECTIVE, Object, RETAIN_KEYS, SET_ORDER, kind, list_field, map_field};
use crate::schema::{At, Patch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The object is a patch itself: directives and nulls are kept for whoever applies it.
    Combine,
    /// Directives are carried out.
    Apply,
}

pub(super) fn merge(mut object: Object, mut patch: Object, at: At<'_>, mode: Mode) -> Result<Object, String> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(format!("{DIRECTIVE}: {directive} is neither replace nor delete")),
        };
    }
    retain(&mut object, &mut patch, mode)?;
    order(&mut object, &mut patch, at, mode)?;
    for (key, change) in patch {
        let deletion = key.strip_prefix(DELETE_FROM);
        if deletion.is_some() && mode == Mode::Combine {
            object.insert(key, change);
            continue;
        }
        match deletion {
            Some(field) => {
                let field = field.strip_prefix('/').ok_or_else(|| format!("{key}: names no list"))?;
                delete_from(&mut object, field, change, at)?;
            }
            None => field(&mut object, key, change, at, mode)?,
        }
    }
    Ok(object)
}

fn field(object: &mut Object, key: String, mut change: Value, at: At<'_>, mode: Mode) -> Result<(), String> {
    if change.is_null() {
        object.remove(&key);
        if mode == Mode::Combine {
            object.insert(key, Value::Null);
        }
        return Ok(());
    }
    let same = object.get(&key).is_some_and(|value| kind(value) == kind(&change));
    if same && matches!(change, Value::Object(_) | Value::Array(_)) {
        let merged = match (object.remove(&key), change) {
            (Some(Value::Object(before)), Value::Object(change)) => {
                let (inner, meta) = map_field(at, &key)?;
                Value::Object(if meta.replace { change } else { merge(before, change, inner, mode)? })
            }
            (Some(Value::Array(before)), Value::Array(change)) => {
                let (inner, meta) = list_field(at, &key)?;
                Value::Array(list(before, change, inner, meta, mode)?)
            }
            (_, change) => change,
        };
        object.insert(key, merged);
        return Ok(());
    }
    if mode == Mode::Apply && !same {
        drop_nulls(&mut change);
    }
    match without_directives(change) {
        Some(value) => object.insert(key, value),
        None => object.remove(&key),
    };
    Ok(())
}

fn delete_from(object: &mut Object, field: &str, change: Value, at: At<'_>) -> Result<(), String> {
    if change.is_null() {
        object.remove(field);
        return Ok(());
    }
    if let (Some(Value::Array(before)), Value::Array(gone)) = (object.get_mut(field), &change) {
        list_field(at, field)?;
        if before.is_empty() && gone.is_empty() {
            return Ok(());
        }
        if lists::items(&[before, gone])? == Items::Scalars {
            before.retain(|item| !gone.contains(item));
            return Ok(());
        }
        return Err(format!("{DELETE_FROM}/{field}: the list is not one of plain values"));
    }
    Ok(())
}

fn list(before: Vec<Value>, change: Vec<Value>, at: At<'_>, meta: &Patch, mode: Mode) -> Result<Vec<Value>, String> {
    if !meta.merge {
        return Ok(change);
    }
    if before.is_empty() && change.is_empty() {
        return Ok(before);
    }
    let of = lists::items(&[&before, &change])?;
    let key = meta.key.as_deref().unwrap_or_default();
    let (live, wanted, merged) = match of {
        Items::Scalars => {
            let both = before.iter().chain(&change).cloned().collect();
            (before, change, lists::once(both))
        }
        Items::Maps if key.is_empty() => return Err(format!("a list of {} is merged but has no key", at.name())),
        Items::Maps => {
            let (live, wanted) = special(before, change, key)?;
            let merged = keyed(live, &wanted, at, key, mode)?;
            (merged.0, wanted, merged.1)
        }
    };
    let (patched, live_only) = lists::split(merged, &wanted, key)?;
    lists::interleaved(patched, live_only, &wanted, &live, key, of)
}

/// Carries out the directives among the items: answers what is left of the list, and of the patch.
fn special(mut list: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), String> {
    let (mut plain, mut replace) = (Vec::new(), false);
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(item),
            Some("delete") => {
                let value = lists::key_of(&item, key)?;
                while let Some(at) = lists::find(&list, key, value)? {
                    list.remove(at);
                }
            }
            Some("replace") => replace = true,
            Some(other) => return Err(format!("{DIRECTIVE}: {other:?} cannot be said of an item of a list")),
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (list, plain) })
}

/// Merges items into a list by their key. Answers the list as it was before what is new was added to it, and all of it.
fn keyed(
    mut list: Vec<Value>,
    patch: &[Value],
    at: At<'_>,
    key: &str,
    mode: Mode,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let length = list.len();
    for item in patch {
        let found = lists::find(&list, key, lists::key_of(item, key)?)?;
        match (found.and_then(|at| list.get_mut(at)), item) {
            (Some(Value::Object(before)), Value::Object(change)) => {
                *before = merge(std::mem::take(before), change.clone(), at, mode)?;
            }
            _ => list.push(item.clone()),
        }
    }
    let before = list.iter().take(length).cloned().collect();
    Ok((before, list))
}

/// `$retainKeys`: kept for later, or all other fields are cleared.
fn retain(object: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), String> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Combine {
        return match object.get(RETAIN_KEYS) {
            Some(other) if *other != keys => Err(format!("two patches differ in {RETAIN_KEYS}")),
            Some(_) => Ok(()),
            None => {
                object.insert(RETAIN_KEYS.to_owned(), keys);
                Ok(())
            }
        };
    }
    let keys = keys.as_array().ok_or_else(|| format!("{RETAIN_KEYS} is no list"))?;
    let kept = |key: &str| keys.iter().any(|kept| kept == key);
    let stray = patch.iter().find(|(key, value)| {
        !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(SET_ORDER) && !kept(key)
    });
    if let Some((key, _)) = stray {
        return Err(format!("{RETAIN_KEYS} does not name {key:?}, which the patch sets"));
    }
    object.retain(|key, _| kept(key));
    Ok(())
}

/// `$setElementOrder`: merges the list that it is about, and puts it in order.
fn order(object: &mut Object, patch: &mut Object, at: At<'_>, mode: Mode) -> Result<(), String> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(wanted) = patch.remove(&directive) else { continue };
        if mode == Mode::Combine {
            match object.get(&directive) {
                Some(other) if *other != wanted => return Err(format!("two patches differ in {directive}")),
                Some(_) => {}
                None => {
                    object.insert(directive.clone(), wanted.clone());
                }
            }
        }
        let Value::Array(wanted) = wanted else { return Err(format!("{directive} is no list")) };
        let field = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
        let field = field.ok_or_else(|| format!("{directive}: names no list"))?;
        let take = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(format!("{directive}: {field:?} is no list")),
        };
        let (before, change) = (take(object.get(field).cloned())?, take(patch.get(field).cloned())?);
        let (inner, meta) = list_field(at, field)?;
        let key = meta.key.as_deref().unwrap_or_default();
        check_order(change.as_deref().unwrap_or_default(), &wanted, key, &directive)?;
        let live = before.clone().unwrap_or_default();
        let merged = match (before, change) {
            (None, None) => continue,
            (Some(before), None) => before,
            (None, Some(change)) => without_directives(Value::Array(change.clone()))
                .and_then(|list| match list {
                    Value::Array(list) => Some(list),
                    _ => None,
                })
                .unwrap_or_default(),
            (Some(before), Some(change)) => list(before, change, inner, meta, mode)?,
        };
        patch_order(object, patch, field, merged, &wanted, &live, key)?;
    }
    Ok(())
}

fn patch_order(
    object: &mut Object,
    patch: &mut Object,
    field: &str,
    merged: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: &str,
) -> Result<(), String> {
    let change = patch.remove(field);
    let change = change.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of = lists::items(&[live, change])?;
    let (patched, live_only) = lists::split(merged, wanted, key)?;
    let ordered = lists::interleaved(patched, live_only, wanted, live, key, of)?;
    object.insert(field.to_owned(), Value::Array(ordered));
    Ok(())
}

/// The patched items must come in the order that the directive gives, and be named by it.
fn check_order(change: &[Value], wanted: &[Value], key: &str, directive: &str) -> Result<(), String> {
    if change.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut order = wanted.iter();
    for item in change.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let found = order.any(|one| {
            if key.is_empty() { one == item } else { one.get(key).is_some() && one.get(key) == item.get(key) }
        });
        if !found {
            return Err(format!("the order of the patch is not that of {directive}"));
        }
    }
    Ok(())
}

/// What is left of a value that is taken over as a whole. None: nothing, it is a directive itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(key, value)| Some((key, without_directives(value)?))).collect(),
        )),
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

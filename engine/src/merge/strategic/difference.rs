//! The patch from one object to another. Pure.
use serde_json::{Map, Value};

use super::lists::{self, Items};
use super::{DELETE_FROM, DIRECTIVE, Object, RETAIN_KEYS, SET_ORDER, kind, list_field, map_field, text};
use crate::schema::At;

#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// What is new or other goes into the patch.
    pub(super) changes: bool,
    /// What is gone goes into the patch.
    pub(super) deletions: bool,
    /// The map is one whose other fields must go (`retainKeys`).
    pub(super) retain: bool,
}

pub(super) fn maps(from: &Object, to: &Object, at: At<'_>, options: Options) -> Result<Object, String> {
    let mut patch = Map::new();
    for (key, after) in to {
        let Some(before) = from.get(key) else {
            if options.changes {
                patch.insert(key.clone(), after.clone());
            }
            continue;
        };
        if key == DIRECTIVE {
            match (before, after) {
                (Value::String(before), Value::String(after)) if before == after => {}
                (Value::String(_), Value::String(_)) => {
                    patch.insert(key.clone(), after.clone());
                }
                _ => return Err(format!("{DIRECTIVE} is no text")),
            }
            continue;
        }
        if kind(before) != kind(after) {
            if options.changes {
                patch.insert(key.clone(), after.clone());
            }
            continue;
        }
        match (before, after) {
            (Value::Object(a), Value::Object(b)) => map(key, a, b, &mut patch, at, options)?,
            (Value::Array(a), Value::Array(b)) => list(key, a, b, &mut patch, at, options)?,
            _ if options.changes && before != after => {
                patch.insert(key.clone(), after.clone());
            }
            _ => {}
        }
    }
    if options.deletions {
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    if options.retain {
        let kept: Vec<Value> =
            to.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| Value::from(key.as_str())).collect();
        let more = from.keys().any(|key| !to.contains_key(key));
        if !kept.is_empty() && (!patch.is_empty() || more) {
            patch.insert(RETAIN_KEYS.to_owned(), Value::Array(lists::sorted_scalars(&kept)));
        }
    }
    Ok(patch)
}

fn map(key: &str, from: &Object, to: &Object, patch: &mut Object, at: At<'_>, options: Options) -> Result<(), String> {
    let (inner, meta) = match map_field(at, key) {
        Ok(found) => found,
        Err(_) if from == to => return Ok(()),
        Err(error) => return Err(error),
    };
    if meta.replace {
        // Also when nothing changed, as Kubernetes does it.
        if options.changes {
            patch.insert(key.to_owned(), Value::Object(to.clone()));
        }
        return Ok(());
    }
    let changed = maps(from, to, inner, Options { retain: meta.retain_keys, ..options })?;
    if !changed.is_empty() {
        patch.insert(key.to_owned(), Value::Object(changed));
    }
    Ok(())
}

fn list(
    key: &str,
    from: &[Value],
    to: &[Value],
    patch: &mut Object,
    at: At<'_>,
    options: Options,
) -> Result<(), String> {
    let (inner, meta) = match list_field(at, key) {
        Ok(found) => found,
        Err(_) if from == to => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.merge {
        if options.changes && from != to {
            patch.insert(key.to_owned(), Value::Array(to.to_vec()));
        }
        return Ok(());
    }
    let options = Options { retain: meta.retain_keys, ..options };
    let found = merged(from, to, inner, meta.key.as_deref().unwrap_or_default(), options)?;
    let mut put = |key: String, list: Vec<Value>| {
        if !list.is_empty() {
            patch.insert(key, Value::Array(list));
        }
    };
    put(key.to_owned(), found.items);
    put(format!("{DELETE_FROM}/{key}"), found.deleted);
    put(format!("{SET_ORDER}/{key}"), found.order);
    Ok(())
}

#[derive(Default)]
struct Lists {
    items: Vec<Value>,
    deleted: Vec<Value>,
    order: Vec<Value>,
}

fn merged(from: &[Value], to: &[Value], at: At<'_>, key: &str, options: Options) -> Result<Lists, String> {
    if from.is_empty() {
        let items = if options.changes { to.to_vec() } else { Vec::new() };
        return Ok(Lists { items, ..Lists::default() });
    }
    if lists::items(&[from, to])? == Items::Scalars {
        return Ok(scalars(from, to, options));
    }
    let (changed, deleted) = items(from, to, at, key, options)?;
    let mut patch = lists::ordered(changed, to, key, Items::Maps)?;
    let same_order = from.len() == to.len() && {
        let mut same = true;
        for (from, to) in from.iter().zip(to) {
            same &= lists::key_of(from, key)? == lists::key_of(to, key)?;
        }
        same
    };
    patch.extend(deleted);
    let mut order = Vec::new();
    if options.changes && (!patch.is_empty() || !same_order) || options.deletions && !patch.is_empty() {
        for item in to {
            let value = lists::key_of(item, key)?.clone();
            order.push(Value::Object(Map::from_iter([(key.to_owned(), value)])));
        }
    }
    Ok(Lists { items: patch, deleted: Vec::new(), order })
}

/// What changed in a list that is merged by key, and the directives to delete what is gone.
fn items(
    from: &[Value],
    to: &[Value],
    at: At<'_>,
    key: &str,
    options: Options,
) -> Result<(Vec<Value>, Vec<Value>), String> {
    let (from, to) = (lists::sorted_by_key(from, key), lists::sorted_by_key(to, key));
    let (mut changed, mut deleted) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (from.iter().peekable(), to.iter().peekable());
    loop {
        let keys = (
            before.peek().map(|item| lists::key_of(item, key)).transpose()?,
            after.peek().map(|item| lists::key_of(item, key)).transpose()?,
        );
        let order = match keys {
            (None, None) => break,
            (Some(a), Some(b)) => text(Some(a)).cmp(&text(Some(b))),
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(_), None) => std::cmp::Ordering::Less,
        };
        match order {
            std::cmp::Ordering::Equal => {
                if let (Some(Value::Object(a)), Some(Value::Object(b))) = (before.next(), after.next()) {
                    let mut patch = maps(a, b, at, options)?;
                    if !patch.is_empty() {
                        patch.insert(key.to_owned(), b.get(key).cloned().unwrap_or_default());
                        changed.push(Value::Object(patch));
                    }
                }
            }
            std::cmp::Ordering::Greater => {
                let item = after.next();
                if options.changes {
                    changed.extend(item.cloned());
                }
            }
            std::cmp::Ordering::Less => {
                let item = before.next();
                if options.deletions
                    && let Some(item) = item
                {
                    let directive =
                        [(key.to_owned(), lists::key_of(item, key)?.clone()), (DIRECTIVE.to_owned(), "delete".into())];
                    deleted.push(Value::Object(Map::from_iter(directive)));
                }
            }
        }
    }
    Ok((changed, deleted))
}

fn scalars(from: &[Value], to: &[Value], options: Options) -> Lists {
    let (sorted, wanted) = (lists::sorted_scalars(from), lists::sorted_scalars(to));
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (sorted.iter().peekable(), wanted.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) => text(Some(a)).cmp(&text(Some(b))),
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(_), None) => std::cmp::Ordering::Less,
        };
        let (old, new) = match order {
            std::cmp::Ordering::Equal => {
                before.next();
                after.next();
                continue;
            }
            std::cmp::Ordering::Greater => (None, after.next()),
            std::cmp::Ordering::Less => (before.next(), None),
        };
        if options.deletions {
            deleted.extend(old.cloned());
        }
        if options.changes {
            added.extend(new.cloned());
        }
    }
    // Kubernetes compares the sorted old list with the new one as it stands.
    let order = if options.deletions && !deleted.is_empty() || options.changes && sorted != to {
        to.to_vec()
    } else {
        Vec::new()
    };
    let items = lists::ordered(added.clone(), to, "", Items::Scalars).unwrap_or(added);
    Lists { items, deleted: lists::once(deleted), order }
}

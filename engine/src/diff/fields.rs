//! Sets of fields as server-side apply counts them (KEP-555, FieldsV1), and objects merged by them
//! (sigs.k8s.io/structured-merge-diff). A step of a path is written as in FieldsV1: `f:spec`, `k:{"name":"a"}`, `v:"x"`.
//! Pure.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{At, List, Shape};

static ANY: Shape = Shape::Any;

/// Fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    member: bool,
    below: BTreeMap<String, Set>,
}

/// A place in the types, and how the list or map that is there is merged.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    at: At<'a>,
    list: List,
}

/// How one object differs from another.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) removed: Set,
    pub(crate) modified: Set,
}

impl Set {
    /// The fields that a manager owns, of all its entries in `metadata.managedFields`.
    pub(crate) fn owned(object: &Value, manager: impl Fn(&str) -> bool) -> Self {
        let mut all = Self::default();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            if entry["manager"].as_str().is_some_and(&manager)
                && let Some(fields) = entry["fieldsV1"].as_object()
            {
                all.read(fields);
            }
        }
        all
    }

    fn read(&mut self, fields: &Map<String, Value>) {
        for (step, below) in fields {
            if step == "." {
                self.member = true;
                continue;
            }
            let node = self.below.entry(plain(step)).or_default();
            match below.as_object().filter(|below| !below.is_empty()) {
                Some(below) => node.read(below),
                None => node.member = true,
            }
        }
    }

    /// All fields of an object.
    fn of(value: &Value, place: &Place<'_>) -> Result<Self, String> {
        let mut set = Self::default();
        match value {
            Value::Object(_) | Value::Array(_) if place.atomic(value) => set.member = true,
            Value::Object(map) => {
                for (name, inner) in map {
                    let mut below = Self::of(inner, &place.field(name))?;
                    let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                    below.member |= empty || place.at.field(name).is_none();
                    set.below.insert(format!("f:{name}"), below);
                }
            }
            Value::Array(items) => {
                for item in items {
                    let mut below = Self::of(item, &place.item())?;
                    below.member = true;
                    set.below.insert(place.step(item)?, below);
                }
            }
            _ => set.member = true,
        }
        Ok(set)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    fn without(&self, other: &Self) -> Self {
        self.combined(other, |mine, theirs| mine && !theirs)
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        self.combined(other, |mine, theirs| mine && theirs)
    }

    fn combined(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let none = Self::default();
        let below = self
            .below
            .iter()
            .map(|(step, set)| (step.clone(), set.combined(other.below.get(step).unwrap_or(&none), keep)));
        let below = below.filter(|(_, set)| !set.is_empty()).collect();
        Self { member: keep(self.member, other.member), below }
    }

    /// Without fields below which something is owned: they may be containers that nobody recorded.
    fn without_ancestors_of(&self, owned: &Self) -> Self {
        let none = Self::default();
        let below = self
            .below
            .iter()
            .map(|(step, set)| (step.clone(), set.without_ancestors_of(owned.below.get(step).unwrap_or(&none))));
        let member = self.member && owned.below.values().all(Self::is_empty);
        Self { member, below: below.filter(|(_, set)| !set.is_empty()).collect() }
    }

    /// Without the fields that are part of a key of several: an item must keep who it is.
    fn without_keys(&self, keys: &[String]) -> Self {
        let mut below = BTreeMap::new();
        for (step, set) in &self.below {
            let mut inner = keys.to_vec();
            if let Some(key) = step.strip_prefix("k:").and_then(|key| serde_json::from_str::<Map<_, Value>>(key).ok())
                && key.len() > 1
            {
                inner.extend(key.keys().map(|name| format!("f:{name}")));
            }
            let mut set = set.without_keys(&inner);
            set.member &= !keys.contains(step);
            if !set.is_empty() {
                below.insert(step.clone(), set);
            }
        }
        Self { member: self.member, below }
    }
}

/// One writing of a step, whatever the order of keys in it.
fn plain(step: &str) -> String {
    match step.split_once(':') {
        Some((kind @ ("k" | "v"), rest)) => match serde_json::from_str::<Value>(rest) {
            Ok(Value::Object(map)) => {
                let sorted: BTreeMap<_, _> = map.into_iter().collect();
                format!("{kind}:{}", Value::Object(sorted.into_iter().collect()))
            }
            Ok(value) => format!("{kind}:{value}"),
            Err(_) => step.to_owned(),
        },
        _ => step.to_owned(),
    }
}

impl<'a> Place<'a> {
    pub(crate) fn root(at: At<'a>) -> Self {
        Self { at, list: List::Unsaid }
    }

    fn field(&self, name: &str) -> Self {
        match self.at.field(name) {
            Some(field) => Self { at: self.at.with(&field.shape).solid(), list: field.merged() },
            None => match self.at.solid().shape {
                Shape::Map(_) => Self::root(self.at.solid().inner().solid()),
                _ => Self::root(self.at.with(&ANY)),
            },
        }
    }

    fn item(&self) -> Self {
        Self::root(self.at.solid().inner().solid())
    }

    /// The value that is here is replaced as a whole.
    fn atomic(&self, value: &Value) -> bool {
        match value {
            Value::Array(_) => matches!(self.list, List::Unsaid | List::Atomic),
            _ => self.list == List::Atomic || self.at.fields().is_some() && self.at.atomic(),
        }
    }

    /// Who an item is among its neighbours.
    fn step(&self, item: &Value) -> Result<String, String> {
        let List::Map(keys) = &self.list else { return Ok(format!("v:{item}")) };
        let map = item.as_object().ok_or_else(|| format!("an item of a list with keys {keys:?} is no map"))?;
        let inner = self.item();
        let mut found = BTreeMap::new();
        for key in keys {
            if let Some(value) = map.get(key).or_else(|| inner.at.default_of(key)) {
                found.insert(key.clone(), value.clone());
            }
        }
        if found.is_empty() {
            return Err(format!("an item of a list has none of its keys {keys:?}"));
        }
        Ok(format!("k:{}", Value::Object(found.into_iter().collect())))
    }
}

fn nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// What has to be looked into, of two values of which one may not be there.
enum Pair<'v> {
    Maps(Option<&'v Map<String, Value>>, Option<&'v Map<String, Value>>),
    Lists(&'v [Value], &'v [Value]),
    Leaf,
}

fn pair<'v>(left: Option<&'v Value>, right: Option<&'v Value>, place: &Place<'_>) -> Pair<'v> {
    let Some(one) = [left, right].into_iter().flatten().find(|value| value.is_object() || value.is_array()) else {
        return Pair::Leaf;
    };
    if nothing(left) && nothing(right) || place.atomic(one) {
        return Pair::Leaf;
    }
    let fits =
        |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value.is_object() == one.is_object());
    let scalar = |value: Option<&Value>| {
        value.is_some_and(|value| !matches!(value, Value::Null | Value::Object(_) | Value::Array(_)))
    };
    if !fits(left) || !fits(right) || scalar(left) || scalar(right) {
        return Pair::Leaf;
    }
    match one {
        Value::Object(_) => Pair::Maps(left.and_then(Value::as_object), right.and_then(Value::as_object)),
        _ => {
            let items =
                |value: Option<&'v Value>| value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Pair::Lists(items(left), items(right))
        }
    }
}

fn union<'v>(left: Option<&'v Map<String, Value>>, right: Option<&'v Map<String, Value>>) -> Vec<&'v String> {
    let more = right.into_iter().flat_map(Map::keys).filter(|key| !left.is_some_and(|left| left.contains_key(*key)));
    left.into_iter().flat_map(Map::keys).chain(more).collect()
}

/// What `right` took away from `left`, and what it changed.
pub(crate) fn compare(left: Option<&Value>, right: Option<&Value>, place: &Place<'_>) -> Result<Delta, String> {
    let mut delta = Delta::default();
    let add = |step: String, inner: Delta, delta: &mut Delta| {
        for (set, inner) in [(&mut delta.removed, inner.removed), (&mut delta.modified, inner.modified)] {
            if !inner.is_empty() {
                set.below.insert(step.clone(), inner);
            }
        }
    };
    match pair(left, right, place) {
        Pair::Leaf => {
            delta.removed.member = right.is_none();
            delta.modified.member = left.is_some() && right.is_some() && left != right;
            return Ok(delta);
        }
        Pair::Maps(a, b) => {
            for name in union(a, b) {
                let of = |map: Option<&'_ Map<String, Value>>| map.and_then(|map| map.get(name)).cloned();
                let inner = compare(of(a).as_ref(), of(b).as_ref(), &place.field(name))?;
                add(format!("f:{name}"), inner, &mut delta);
            }
        }
        Pair::Lists(a, b) => {
            let (a, b) = (keyed(a, place)?, keyed(b, place)?);
            let more = b.keys().filter(|step| !a.contains_key(*step));
            for step in a.keys().chain(more) {
                let (mine, theirs) =
                    (a.get(step).map_or(&[][..], Vec::as_slice), b.get(step).map_or(&[][..], Vec::as_slice));
                let mut inner = match (mine, theirs) {
                    ([_, _, ..], [_, _, ..]) => {
                        let mut inner = Delta::default();
                        inner.modified.member = mine != theirs;
                        inner
                    }
                    _ => compare_items(mine, theirs, place)?,
                };
                inner.removed.member |= mine.len() > 1 && theirs.len() < 2;
                add(step.clone(), inner, &mut delta);
            }
        }
    }
    delta.removed.member = right.is_none();
    Ok(delta)
}

fn compare_items(mine: &[&Value], theirs: &[&Value], place: &Place<'_>) -> Result<Delta, String> {
    match (mine, theirs) {
        ([], []) | ([_, _, ..], []) | ([], [_, _, ..]) => Ok(Delta::default()),
        ([_, _, ..], [one, ..]) => compare(None, Some(one), &place.item()),
        ([one, ..], [_, _, ..]) => compare(Some(one), None, &place.item()),
        _ => compare(mine.first().copied(), theirs.first().copied(), &place.item()),
    }
}

fn keyed<'v>(items: &'v [Value], place: &Place<'_>) -> Result<BTreeMap<String, Vec<&'v Value>>, String> {
    let mut all: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in items {
        all.entry(place.step(item)?).or_default().push(item);
    }
    Ok(all)
}

/// `left` with all of `right` laid over it.
pub(crate) fn merge(left: Option<&Value>, right: Option<&Value>, place: &Place<'_>) -> Result<Option<Value>, String> {
    Ok(match pair(left, right, place) {
        Pair::Leaf => right.or(left).cloned(),
        Pair::Maps(a, b) => {
            let mut out = Map::new();
            for name in union(a, b) {
                let merged =
                    merge(a.and_then(|map| map.get(name)), b.and_then(|map| map.get(name)), &place.field(name))?;
                if let Some(merged) = merged {
                    out.insert(name.clone(), merged);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Pair::Lists(a, b) => {
            let out = merge_lists(a, b, place)?;
            (!out.is_empty()).then_some(Value::Array(out))
        }
    })
}

/// Items of both lists; those of the right keep their order, those of the left only stay near their neighbours.
fn merge_lists(left: &[Value], right: &[Value], place: &Place<'_>) -> Result<Vec<Value>, String> {
    let steps = |items: &[Value]| items.iter().map(|item| place.step(item)).collect::<Result<Vec<_>, _>>();
    let (left_steps, right_steps) = (steps(left)?, steps(right)?);
    let find = |steps: &[String], items: &[Value], step: &String| {
        steps.iter().position(|one| one == step).and_then(|at| items.get(at).cloned())
    };
    let shared: Vec<&String> = right_steps.iter().filter(|step| left_steps.contains(step)).collect();
    let mut next_shared = shared.into_iter().peekable();
    let mut merged: Vec<&String> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left_steps.len() || r < right_steps.len() {
        if let (Some(mine), Some(theirs)) = (left_steps.get(l), right_steps.get(r)) {
            if mine == theirs {
                merged.push(mine);
                out.extend(merge(left.get(l), right.get(r), &place.item())?);
                (l, r) = (l + 1, r + 1);
                next_shared.next();
                continue;
            }
            if right_steps.contains(mine) && next_shared.peek().is_some_and(|next| *next != mine) {
                l += 1;
                continue;
            }
        }
        if let Some(mine) = left_steps.get(l) {
            if !right_steps.contains(mine) {
                out.extend(left.get(l).cloned());
                l += 1;
                continue;
            }
            if merged.contains(&mine) {
                l += 1;
            }
        }
        if let Some(theirs) = right_steps.get(r) {
            merged.push(theirs);
            let mine = find(&left_steps, left, theirs);
            out.extend(merge(mine.as_ref(), right.get(r), &place.item())?);
            r += 1;
            if next_shared.peek().is_some_and(|next| *next == theirs) {
                next_shared.next();
            }
        }
    }
    Ok(out)
}

/// The object without these fields. None: nothing is left.
pub(crate) fn remove(value: &Value, set: &Set, place: &Place<'_>) -> Result<Option<Value>, String> {
    let none = Set::default();
    let below = |step: &str| set.below.get(step).unwrap_or(&none);
    Ok(match value {
        Value::Object(_) | Value::Array(_) if place.atomic(value) => None,
        Value::Object(map) => {
            let mut out = Map::new();
            for (name, inner) in map {
                let gone = below(&format!("f:{name}"));
                if gone.member {
                    continue;
                }
                let kept = if gone.below.is_empty() {
                    inner.clone()
                } else {
                    remove(inner, gone, &place.field(name))?.unwrap_or_default()
                };
                out.insert(name.clone(), kept);
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(items) => {
            let mut out = Vec::new();
            for item in items {
                let gone = below(&place.step(item)?);
                if gone.member {
                    continue;
                }
                let kept = if gone.below.is_empty() {
                    item.clone()
                } else {
                    remove(item, gone, &place.item())?.unwrap_or_default()
                };
                out.push(kept);
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        other => Some(other.clone()),
    })
}

/// The prediction of a server-side apply without what mutating webhooks did to it: fields that the manager does not own
/// have the values of live state; what the apply took away stays gone if the manager owned it.
pub(crate) fn without_webhooks(
    predicted: &Value,
    live: &Value,
    place: &Place<'_>,
    manager: &str,
) -> Result<Value, String> {
    let owned = Set::owned(predicted, |one| one == manager);
    if owned.is_empty() {
        return Err(format!("the API server's prediction names no fields of the manager {manager}"));
    }
    let foreign = Set::of(predicted, place)?.without(&owned).without_ancestors_of(&owned);
    let mut removed = compare(Some(live), Some(predicted), place)?.removed.without(&foreign);
    let owned_before = Set::owned(live, |one| one == manager);
    let not_ours = removed.without(&owned_before).without_ancestors_of(&owned_before);
    removed = removed.without(&not_ours);
    let own = remove(predicted, &foreign.without_keys(&[]), place)?;
    let merged = merge(Some(live), own.as_ref(), place)?.unwrap_or_default();
    Ok(remove(&merged, &removed, place)?.unwrap_or_default())
}

/// Both sides without the fields that one of these managers owns and that are there on both with different values
/// (`managedFieldsManagers`). Sides that the types cannot describe are left as they are.
pub(crate) fn without_managers(
    live: &Value,
    target: &Value,
    managers: &[String],
    place: &Place<'_>,
) -> Option<(Value, Value)> {
    let modified = compare(Some(live), Some(target), place).ok()?.modified;
    let mut sides = (live.clone(), target.clone());
    for manager in managers {
        let theirs = Set::owned(live, |one| one == manager).and(&modified);
        if !theirs.is_empty() {
            sides.0 = remove(&sides.0, &theirs, place).ok()?.unwrap_or_default();
            sides.1 = remove(&sides.1, &theirs, place).ok()?.unwrap_or_default();
        }
    }
    Some(sides)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Schemas;

    fn service(ports: Value, managed: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "managedFields": managed}, "spec": {"ports": ports}})
    }

    #[test]
    fn fields_that_other_managers_changed_do_not_count() {
        let schemas = Schemas::builtin();
        let managed = json!([{"manager": "hpa", "fieldsV1": {"f:spec": {"f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {"f:nodePort": {}}}, "f:type": {}}}}]);
        let live = service(json!([{"port": 80, "protocol": "TCP", "nodePort": 3}]), managed.clone());
        let target = service(json!([{"port": 80, "nodePort": 4}]), Value::Null);
        let place = Place::root(schemas.any(&live));
        let (a, b) = without_managers(&live, &target, &["hpa".to_owned()], &place).unwrap();
        assert_eq!(
            (&a["spec"], &b["spec"]),
            (&json!({"ports": [{"port": 80, "protocol": "TCP"}]}), &json!({"ports": [{"port": 80}]}))
        );
        let (a, _) = without_managers(&live, &target, &["other".to_owned()], &place).unwrap();
        assert_eq!(a, live);
    }

    #[test]
    fn what_webhooks_did_is_undone() {
        let schemas = Schemas::builtin();
        let ours = |fields: Value| json!([{"manager": "argocd-controller", "fieldsV1": {"f:spec": fields}}]);
        let port = json!({"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}});
        let live = service(
            json!([{"port": 80, "protocol": "TCP", "name": "a"}]),
            ours(json!({"f:ports": port, "f:type": {}})),
        );
        let mut live = live;
        live["spec"]["type"] = "NodePort".into();
        live["spec"]["clusterIP"] = "1".into();
        // Applied: type is dropped, the webhook names the port otherwise and adds a field.
        let mut predicted =
            service(json!([{"port": 80, "protocol": "TCP", "name": "hooked"}]), ours(json!({"f:ports": port})));
        predicted["spec"]["clusterIP"] = "1".into();
        predicted["spec"]["sessionAffinity"] = "None".into();
        let place = Place::root(schemas.any(&live));
        let found = without_webhooks(&predicted, &live, &place, "argocd-controller").unwrap();
        assert_eq!(found["spec"], json!({"ports": [{"port": 80, "protocol": "TCP", "name": "a"}], "clusterIP": "1"}));
        assert!(without_webhooks(&live, &live, &place, "nobody").is_err());
    }
}

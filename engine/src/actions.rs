//! Resource actions: what users may do to one live object besides a sync, as scripts of `argocd-cm` and built in
//! (Argo CD, operator manual, "Resource Actions"). Says what is on offer and what changes would be made; who may run
//! an action and how it is written is not for here. Pure; the time is the caller's.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::customizations::{self, kind_name};
use crate::lua::{self, Clock, Script};
use crate::parse::parse_value;
use crate::resource::Manifest;

mod builtin;

/// An action as the API shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionInfo {
    /// What it is run by.
    pub name: String,
    /// What it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ActionParam>,
    /// It would make no sense now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The icon's classes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub icon_class: String,
    /// What it is shown as, if not by its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
}

/// Something that an action asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionParam {
    /// Its name.
    pub name: String,
    /// Its value, as given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Its type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
    /// Its value when none is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default: String,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Merge-patch (RFC 7386) the object itself; never its name, kind or incarnation.
    Patch(Value),
    /// Make this object.
    Create(Manifest),
}

/// The user's actions for one kind.
#[derive(Debug, Clone, Default)]
struct Custom {
    discovery: Option<Script>,
    definitions: BTreeMap<String, Script>,
    merge: bool,
}

/// The actions of all kinds.
#[derive(Clone)]
pub struct Actions {
    /// By kind; what cannot be read is kept as what is wrong with it.
    custom: BTreeMap<String, Result<Custom, String>>,
    clock: Clock,
}

impl Actions {
    /// From the data of `argocd-cm`. A broken entry spoils the actions of its kind and no others.
    pub fn compile(settings: &BTreeMap<String, String>, clock: Clock) -> Self {
        // Settings that cannot be read at all are told of by every comparison ([`crate::ignore`]).
        let parts = customizations::parts(settings, "actions", "actions").unwrap_or_default();
        let mut custom = BTreeMap::new();
        for part in &parts {
            if let Some(text) = part.text().filter(|text| !text.trim().is_empty()) {
                custom.insert(part.name(), compile(text).map_err(|error| format!("{}: {error}", part.field)));
            }
        }
        Self { custom, clock }
    }

    fn custom(&self, object: &Manifest) -> Result<Option<&Custom>, String> {
        match self.custom.get(&kind_name(object.group(), object.kind())) {
            None => Ok(None),
            Some(custom) => custom.as_ref().map(Some).map_err(Clone::clone),
        }
    }

    /// What may be done to the object, by name. The user's actions stand in place of the built-in ones, or before them
    /// with `mergeBuiltinActions`.
    pub fn list(&self, live: &Value) -> Result<Vec<ActionInfo>, String> {
        let object = Manifest(live.clone());
        let custom = self.custom(&object)?;
        let mut found = BTreeMap::new();
        if let Some(script) = custom.and_then(|custom| custom.discovery.as_ref()) {
            for action in discovered(script.run(&[("obj", live)], self.clock)?)? {
                found.insert(action.name.clone(), action);
            }
        }
        if custom.is_none_or(|custom| custom.merge) {
            for offer in self.offers(&object, &BTreeMap::new()) {
                found.entry(offer.info.name.clone()).or_insert(offer.info);
            }
        }
        Ok(found.into_values().collect())
    }

    fn offers(&self, object: &Manifest, params: &BTreeMap<String, String>) -> Vec<builtin::Offer> {
        builtin::offers(&builtin::Ask { object, params, now: (self.clock)() })
    }

    /// What running it would change; nothing when all is as the action wants it.
    pub fn run(&self, live: &Value, name: &str, params: &BTreeMap<String, String>) -> Result<Vec<Change>, String> {
        let object = Manifest(live.clone());
        let custom = self.custom(&object)?;
        if let Some(script) = custom.and_then(|custom| custom.definitions.get(name)) {
            let params = serde_json::to_value(params).unwrap_or_default();
            let answer = script.run(&[("obj", live), ("actionParams", &params)], self.clock)?;
            return changes(answer, live);
        }
        let offers = if custom.is_none_or(|custom| custom.merge) { self.offers(&object, params) } else { Vec::new() };
        match offers.into_iter().find(|offer| offer.info.name == name) {
            Some(offer) => edited(live, offer.edits?),
            None => Err(format!("{} has no action {name:?}", kind_name(object.group(), object.kind()))),
        }
    }
}

fn compile(text: &str) -> Result<Custom, String> {
    let entry = parse_value(text)?;
    let mut custom = Custom { merge: entry["mergeBuiltinActions"] == true, ..Custom::default() };
    if let Some(text) = entry["discovery.lua"].as_str() {
        custom.discovery = Some(Script::compile("discovery.lua", text, false)?);
    }
    for (index, definition) in entry["definitions"].as_array().into_iter().flatten().enumerate() {
        let field = format!("definitions[{index}]");
        let name = definition["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("{field}.name: missing"))?;
        let text = definition["action.lua"].as_str().ok_or_else(|| format!("{field}: action.lua is missing"))?;
        let script = Script::compile("action.lua", text, false).map_err(|error| format!("{field}: {error}"))?;
        // Of two with one name the first holds, as in Argo CD.
        custom.definitions.entry(name.to_owned()).or_insert(script);
    }
    Ok(custom)
}

/// The answer of a discovery script: a table from names to what is to be said of each.
fn discovered(answer: Value) -> Result<Vec<ActionInfo>, String> {
    let table = match answer {
        Value::Array(items) if items.is_empty() => return Ok(Vec::new()),
        Value::Object(table) => table,
        _ => return Err("discovery.lua: expect a table of actions by name".to_owned()),
    };
    let info = |(name, about): (String, Value)| {
        // `{}` comes as an empty array.
        let about = if about.is_array() { json!({}) } else { about };
        let info = serde_json::from_value::<ActionInfo>(about);
        info.map(|info| ActionInfo { name: name.clone(), ..info })
            .map_err(|error| format!("discovery.lua: {name}: {error}"))
    };
    table.into_iter().map(info).collect()
}

/// The answer of an action script: the object, changed, or a list of operations.
fn changes(answer: Value, live: &Value) -> Result<Vec<Change>, String> {
    match answer {
        Value::Object(_) => Ok(patch(answer, live)?.into_iter().collect()),
        Value::Array(items) => {
            let mut all = Vec::new();
            for (index, mut item) in items.into_iter().enumerate() {
                let resource = item.get_mut("resource").map(Value::take).unwrap_or_default();
                match item["operation"].as_str() {
                    Some("patch") => all.extend(patch(resource, live)?),
                    Some("create") => all.push(create(resource, live)?),
                    _ => return Err(format!("action.lua: operation {} is neither create nor patch", index + 1)),
                }
            }
            Ok(all)
        }
        _ => Err("action.lua: expect the object or a list of operations".to_owned()),
    }
}

fn edited(live: &Value, edits: Vec<builtin::Edit>) -> Result<Vec<Change>, String> {
    let mut changed = live.clone();
    let mut all = Vec::new();
    for edit in edits {
        match edit {
            builtin::Edit::Put(path, value) => put(&mut changed, &path, value),
            builtin::Edit::Drop(path) => {
                let (last, above) = path.split_last().ok_or("nothing to drop")?;
                let parent = above.iter().try_fold(&mut changed, |here, step| here.get_mut(*step));
                if let Some(fields) = parent.and_then(Value::as_object_mut) {
                    fields.remove(*last);
                }
            }
            builtin::Edit::Create(object) => all.push(create(object, live)?),
        }
    }
    all.extend(patch(changed, live)?);
    Ok(all)
}

/// Sets a field; objects on the way are made.
fn put(object: &mut Value, path: &[&str], value: Value) {
    let Some((step, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(fields) = object.as_object_mut() {
        put(fields.entry((*step).to_owned()).or_insert(Value::Null), rest, value);
    }
}

/// The merge patch from the live object to what the action made of it. What names the object must stay: an action is
/// permitted for this object only.
fn patch(mut changed: Value, live: &Value) -> Result<Option<Change>, String> {
    const NAMES: [&str; 5] = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/uid"];
    lua::repair(&mut changed, live);
    if let Some(name) = NAMES.iter().find(|name| changed.pointer(name) != live.pointer(name)) {
        let field = name.trim_start_matches('/').replace('/', ".");
        return Err(format!("the action changes {field} of the object; an action may change this one object only"));
    }
    Ok(merge_patch(live, &changed).map(Change::Patch))
}

/// RFC 7386, the other way round.
fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return (from != to).then(|| to.clone()) };
    let mut patch = Map::new();
    for (name, after) in new {
        match old.get(name) {
            Some(before) => {
                if let Some(inner) = merge_patch(before, after) {
                    patch.insert(name.clone(), inner);
                }
            }
            None if after.is_null() => {}
            None => {
                patch.insert(name.clone(), after.clone());
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// An object to be made, beside the one that it is made from.
fn create(resource: Value, live: &Value) -> Result<Change, String> {
    let mut object = Manifest(resource);
    let named = !object.name().is_empty() || object.0.pointer("/metadata/generateName").is_some();
    if object.api_version().is_empty() || object.kind().is_empty() || !named {
        return Err("the object to create lacks apiVersion, kind or metadata.name".to_owned());
    }
    let own = Manifest(live.clone());
    if let Some(own) = own.namespace() {
        match object.namespace() {
            Some(namespace) if namespace != own => {
                return Err(format!(
                    "the action would create {} in namespace {namespace}; it may create in {own} only",
                    object.key()
                ));
            }
            Some(_) => {}
            None => put(&mut object.0, &["metadata", "namespace"], json!(own)),
        }
    }
    Ok(Change::Create(object))
}

#[cfg(test)]
mod tests;

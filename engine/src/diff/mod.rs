//! Target against live, as Argo CD 3.6 compares them.
//!
//! Client-side (the default): both sides are written out by their Go types and normalised ([`normalize`]), an apply from
//! the client is predicted ([`three_way`]), and the prediction is compared with live state. Server-side (opt-in,
//! [`choose`]): the prediction is the API server's own, less what webhooks did. No IO: who compares server-side brings the
//! prediction. Pure.
use serde_json::{Map, Value};

use crate::app::SyncCode;
use crate::ignore::Ignored;
use crate::schema::Schemas;

mod choose;
mod defaults;
mod fields;
mod mask;
mod normalize;
mod settings;
mod three_way;

pub use choose::{COMPARE_OPTIONS, Choice, choose, ignores_extraneous};
pub use mask::pair as mask;
pub use settings::{IgnoreStatus, Settings};

/// Where an apply from the client leaves what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The field manager under which Argo CD, and so we, apply.
pub const MANAGER: &str = "argocd-controller";

/// On a manifest: JSON pointers of what does not count in it, as YAML (`jsonPointers: [...]`; Argo CD 3.6).
pub const IGNORE_DIFFERENCES: &str = "argocd.argoproj.io/ignore-differences";

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Synced or OutOfSync.
    pub status: SyncCode,
    /// JSON pointers of the fields that differ.
    pub changed: Vec<String>,
    /// What live state would be after a sync (`predictedLiveState` of the API). None: the object would be gone.
    pub predicted: Option<Value>,
    /// Live state in the form in which it was compared (`normalizedLiveState`). None: there is none.
    pub live: Option<Value>,
}

/// How the prediction is made.
#[derive(Debug, Clone, Copy)]
pub enum Strategy<'a> {
    /// Here, from target, live state and what was applied last.
    ClientSide,
    /// By the API server.
    ServerSide {
        /// Its answer to a dry-run apply of the target by [`MANAGER`]; needed only when there is live state.
        predicted: Option<&'a Value>,
        /// What mutating webhooks did counts as well.
        include_mutation_webhook: bool,
    },
}

/// What is compared, and how.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// From git.
    pub target: Option<&'a Value>,
    /// From the cluster.
    pub live: Option<&'a Value>,
    /// What does not count.
    pub ignored: &'a Ignored,
    /// The types of the cluster's kinds.
    pub schemas: &'a Schemas,
    /// What `argocd-cm` says.
    pub settings: &'a Settings,
    /// How the prediction is made.
    pub strategy: Strategy<'a>,
}

/// Compares one object. An error is one of the object or of a rule; its words are for the user.
pub fn between(inputs: &Inputs<'_>) -> Result<Comparison, String> {
    match inputs.target.map(own_pointers).filter(|own| !own.is_empty()) {
        None => compare_sides(inputs),
        Some(own) => {
            let mut ignored = inputs.ignored.clone();
            ignored.json_pointers.extend(own);
            compare_sides(&Inputs { ignored: &ignored, ..*inputs })
        }
    }
}

/// What the manifest itself says does not count; what cannot be read says nothing.
fn own_pointers(target: &Value) -> Vec<String> {
    let text = target["metadata"]["annotations"][IGNORE_DIFFERENCES].as_str().unwrap_or_default();
    let rules = crate::parse::parse_value(text).unwrap_or_default();
    let pointers = rules["jsonPointers"].as_array().map(Vec::as_slice).unwrap_or_default();
    pointers.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn compare_sides(inputs: &Inputs<'_>) -> Result<Comparison, String> {
    let (target, live) = match (inputs.target, inputs.live) {
        (Some(target), Some(live)) => (target, live),
        (target, live) => return alone(target, live, inputs),
    };
    let (live, target) = without_managers(live, target, inputs);
    let (mut target, mut live) =
        (normalize::round_trip(&target, inputs.schemas), normalize::round_trip(&live, inputs.schemas));
    normalize::by_kind(&mut target, inputs);
    normalize::by_kind(&mut live, inputs);
    match inputs.strategy {
        Strategy::ServerSide { predicted, include_mutation_webhook } => {
            let predicted = predicted.ok_or("a server-side comparison needs the API server's dry run")?;
            server_side(predicted, live, include_mutation_webhook, inputs)
        }
        Strategy::ClientSide => {
            normalize::by_rules(&mut target, inputs)?;
            normalize::by_rules(&mut live, inputs)?;
            client_side(&target, &live, inputs)
        }
    }
}

/// Live state without target is OutOfSync, and so is a target without live state.
fn alone(target: Option<&Value>, live: Option<&Value>, inputs: &Inputs<'_>) -> Result<Comparison, String> {
    let normal = |side: Option<&Value>| -> Result<Option<Value>, String> {
        let Some(side) = side else { return Ok(None) };
        let mut side = normalize::round_trip(side, inputs.schemas);
        normalize::by_kind(&mut side, inputs);
        if matches!(inputs.strategy, Strategy::ClientSide) {
            normalize::by_rules(&mut side, inputs)?;
        }
        Ok(Some(side))
    };
    let (predicted, live) = (normal(target)?, normal(live)?);
    let nothing = predicted.is_none() && live.is_none();
    let (status, changed) =
        if nothing { (SyncCode::Synced, Vec::new()) } else { (SyncCode::OutOfSync, vec![String::new()]) };
    Ok(Comparison { status, changed, predicted, live })
}

fn without_managers(live: &Value, target: &Value, inputs: &Inputs<'_>) -> (Value, Value) {
    let managers = &inputs.ignored.managed_fields_managers;
    let stripped = (!managers.is_empty())
        .then(|| fields::without_managers(live, target, managers, &fields::Place::root(inputs.schemas.any(target))));
    stripped.flatten().unwrap_or_else(|| (live.clone(), target.clone()))
}

fn client_side(target: &Value, live: &Value, inputs: &Inputs<'_>) -> Result<Comparison, String> {
    let sides = match last_applied(live) {
        Some(mut applied) => {
            normalize::by_kind(&mut applied, inputs);
            normalize::by_rules(&mut applied, inputs)?;
            three_way::predict(&applied, target, live, inputs.schemas).ok()
        }
        None => None,
    };
    let sides = match sides {
        Some(sides) => sides,
        None => three_way::predict(target, target, live, inputs.schemas)?,
    };
    Ok(judge(sides.predicted, sides.live))
}

fn server_side(
    predicted: &Value,
    mut live: Value,
    include_mutation_webhook: bool,
    inputs: &Inputs<'_>,
) -> Result<Comparison, String> {
    let own = match include_mutation_webhook {
        true => None,
        false => {
            let place = fields::Place::root(inputs.schemas.any(predicted));
            Some(fields::without_webhooks(predicted, &live, &place, MANAGER)?)
        }
    };
    let mut predicted = normalize::round_trip(own.as_ref().unwrap_or(predicted), inputs.schemas);
    for side in [&mut predicted, &mut live] {
        normalize::by_kind(side, inputs);
        normalize::by_rules(side, inputs)?;
        if let Some(metadata) = side.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove(LAST_APPLIED);
            }
        }
    }
    Ok(judge(predicted, live))
}

fn judge(mut predicted: Value, mut live: Value) -> Comparison {
    crate::typed::plain_numbers(&mut predicted);
    crate::typed::plain_numbers(&mut live);
    let mut changed = Vec::new();
    differences(&predicted, &live, "", &mut changed);
    let status = if changed.is_empty() { SyncCode::Synced } else { SyncCode::OutOfSync };
    Comparison { status, changed, predicted: Some(predicted), live: Some(live) }
}

/// What an apply from the client left in the object, when it can be read.
fn last_applied(object: &Value) -> Option<Value> {
    let text = object["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let mut applied: Value = serde_json::from_str(text).ok()?;
    crate::typed::plain_numbers(&mut applied);
    applied["kind"].as_str().filter(|kind| !kind.is_empty())?;
    Some(applied)
}

fn differences(a: &Value, b: &Value, at: &str, changed: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let missing = |map: &Map<String, Value>, key: &String| !map.contains_key(key);
            for key in a.keys().chain(b.keys().filter(|key| missing(a, key))) {
                let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(a, b, &pointer, changed),
                    _ => changed.push(pointer),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{at}/{index}"), changed);
            }
        }
        _ if a != b => changed.push(at.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

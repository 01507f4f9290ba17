//! The verdict as Application.status, written only where it differs. Pure (the time is given).
use serde_json::{Value, json};
use tako_engine::app::{Application, Condition, HealthCode, SyncCode};
use tako_engine::health;

use super::{Verdict, condition};

/// Condition types that the differ owns: those it does not find any more it takes away.
const OWN: [&str; 8] = [
    "ComparisonError",
    "InvalidSpecError",
    "SyncError",
    "RepeatedResourceWarning",
    "SharedResourceWarning",
    "ExcludedResourceWarning",
    tako_engine::orphan::WARNING,
    "UnknownError",
];

/// The status to be, before it is compared with the one that is.
pub(super) struct Next {
    pub(super) sync: SyncCode,
    pub(super) health: HealthCode,
    pub(super) conditions: Vec<Condition>,
    /// Every live object would go.
    pub(super) would_prune_all: bool,
    /// Live objects that would go, of all.
    pub(super) prunes: (usize, usize),
    status: Value,
}

pub(super) fn next_status(app: &Application, verdict: &Verdict, at: &str, control_namespace: &str) -> Next {
    let old = app.status.clone().unwrap_or_default();
    let sync = if verdict.unknown {
        SyncCode::Unknown
    } else if verdict.objects.iter().any(|object| object.out_of_sync()) {
        SyncCode::OutOfSync
    } else {
        SyncCode::Synced
    };
    let judged = verdict
        .objects
        .iter()
        .filter(|object| object.live && !object.hook)
        .filter_map(|object| object.health.as_ref().map(|health| health.status));
    let mut objects = verdict.objects.iter().filter(|object| !object.hook).peekable();
    let all_missing = objects.peek().is_some() && objects.all(|object| !object.live);
    let health = if verdict.unknown && verdict.objects.is_empty() {
        old.health.status.unwrap_or_default()
    } else if all_missing {
        HealthCode::Missing
    } else {
        health::roll_up(judged)
    };
    let mut conditions: Vec<Condition> =
        old.conditions.iter().filter(|known| !OWN.contains(&known.r#type.as_str())).cloned().collect();
    conditions.extend(verdict.conditions.iter().map(|(kind, message)| condition(&old.conditions, kind, message, at)));
    conditions.sort_by(|a, b| (&a.r#type, &a.message).cmp(&(&b.r#type, &b.message)));
    let changed_at = if old.health.status == Some(health) { old.health.last_transition_time.clone() } else { None };
    let mut status = json!({
        "sync": {
            "status": sync,
            "revision": verdict.revision,
            "comparedTo": {"source": app.source(), "destination": app.spec.destination},
        },
        "health": {"status": health, "lastTransitionTime": changed_at.unwrap_or_else(|| at.to_owned())},
        "conditions": conditions,
        "sourceType": verdict.source_type,
        "summary": if verdict.images.is_empty() { json!({}) } else { json!({"images": verdict.images}) },
        "resourceHealthSource": "appTree",
        "controllerNamespace": control_namespace,
    });
    // With nothing compared the last good list stays: a bad commit must not empty the page.
    if !(verdict.unknown && verdict.objects.is_empty()) {
        status["resources"] = resources(verdict);
    }
    let mut objects = verdict.objects.iter().filter(|object| !object.hook).peekable();
    let would_prune_all = objects.peek().is_some() && objects.all(|object| object.requires_pruning);
    let there = || verdict.objects.iter().filter(|object| object.live && !object.hook);
    let prunes = (there().filter(|object| object.requires_pruning).count(), there().count());
    Next { sync, health, conditions, would_prune_all, prunes, status }
}

fn resources(verdict: &Verdict) -> Value {
    let mut sorted: Vec<_> = verdict.objects.iter().collect();
    sorted.sort_by(|a, b| {
        (&a.key.group, &a.key.kind, &a.key.namespace, &a.key.name).cmp(&(
            &b.key.group,
            &b.key.kind,
            &b.key.namespace,
            &b.key.name,
        ))
    });
    sorted
        .into_iter()
        .map(|object| {
            let mut entry = json!({"version": object.version, "kind": object.key.kind, "name": object.key.name});
            if let Some(status) = object.status {
                entry["status"] = json!(status);
            }
            if object.hook {
                entry["hook"] = json!(true);
            }
            if object.wave != 0 {
                entry["syncWave"] = json!(object.wave);
            }
            for (field, value) in [("group", &object.key.group), ("namespace", &object.key.namespace)] {
                if !value.is_empty() {
                    entry[field] = json!(value);
                }
            }
            for (field, is) in [
                ("requiresPruning", object.requires_pruning),
                ("requiresDeletionConfirmation", object.requires_confirmation),
            ] {
                if is {
                    entry[field] = json!(true);
                }
            }
            entry
        })
        .collect()
}

/// The merge patch that turns the status that is into the status to be; empty when nothing differs.
pub(super) fn patch(app: &Application, next: &Next, at: &str) -> Value {
    let old = serde_json::to_value(app.status.clone().unwrap_or_default()).unwrap_or_default();
    let mut status = serde_json::Map::new();
    if let Some(fields) = next.status.as_object() {
        for (field, value) in fields {
            if !same(old.get(field), value) {
                // Objects are replaced whole: a merge patch would keep what went away.
                status.insert(field.clone(), replaced(old.get(field), value));
            }
        }
    }
    let mut patch = json!({});
    let refreshing = app.metadata.annotations.contains_key("argocd.argoproj.io/refresh");
    if !status.is_empty() || refreshing {
        status.insert("reconciledAt".to_owned(), json!(at));
        patch["status"] = Value::Object(status);
    }
    if refreshing {
        patch["metadata"] = json!({"annotations": {"argocd.argoproj.io/refresh": null}});
    }
    patch
}

fn same(old: Option<&Value>, new: &Value) -> bool {
    match old {
        Some(old) => old == new,
        None => {
            matches!(new, Value::Array(list) if list.is_empty())
                || matches!(new, Value::Object(map) if map.is_empty())
                || *new == json!("")
        }
    }
}

/// `new` with a null for each field of `old` that is no more (RFC 7386).
fn replaced(old: Option<&Value>, new: &Value) -> Value {
    match (old, new) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let mut merged: serde_json::Map<String, Value> =
                new.iter().map(|(field, value)| (field.clone(), replaced(old.get(field), value))).collect();
            for gone in old.keys().filter(|field| !new.contains_key(*field)) {
                merged.insert(gone.clone(), Value::Null);
            }
            Value::Object(merged)
        }
        _ => new.clone(),
    }
}

/// Puts other conditions into a patch already made.
pub(super) fn put_conditions(app: &Application, patch: &mut Value, conditions: &[Condition]) {
    let old = app.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if old == conditions {
        if let Some(status) = patch.get_mut("status").and_then(Value::as_object_mut) {
            status.remove("conditions");
            if status.keys().all(|field| field == "reconciledAt") && patch.get("metadata").is_none() {
                *patch = json!({});
            }
        }
    } else {
        patch["status"]["conditions"] = json!(conditions);
    }
}

/// Nothing to write.
pub(super) fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_none_or(serde_json::Map::is_empty)
}

/// The operation that automated sync asks for, in the shape that Argo CD writes.
pub(super) fn automated_operation(app: &Application, verdict: &Verdict, prune: bool, self_heal: bool) -> Value {
    let mut sync = json!({"revision": verdict.revision});
    if app.has_multiple_sources() {
        sync["sources"] = json!(app.spec.sources);
    } else if let Some(source) = &app.spec.source {
        sync["source"] = json!(source);
    }
    if prune {
        sync["prune"] = json!(true);
    }
    if let Some(options) =
        app.spec.sync_policy.as_ref().map(|policy| &policy.sync_options).filter(|options| !options.is_empty())
    {
        sync["syncOptions"] = json!(options);
    }
    if self_heal {
        let attempts = app
            .status
            .as_ref()
            .and_then(|status| status.operation_state.as_ref())
            .and_then(|state| state.operation.sync.as_ref())
            .and_then(|sync| sync.auto_heal_attempts_count)
            .unwrap_or_default();
        sync["autoHealAttemptsCount"] = json!(attempts + 1);
        let drifted = verdict.objects.iter().filter(|object| object.out_of_sync());
        sync["resources"] = drifted
            .map(|object| json!({"group": object.key.group, "kind": object.key.kind, "name": object.key.name}))
            .collect();
    }
    let retry = app
        .spec
        .sync_policy
        .as_ref()
        .and_then(|policy| policy.retry.clone())
        .map_or_else(|| json!({"limit": 5}), |retry| json!(retry));
    json!({"initiatedBy": {"automated": true}, "retry": retry, "sync": sync})
}

/// A refusal that the user must see.
pub(super) fn sync_error(app: &Application, verdict: &Verdict, reason: &str, at: &str) -> Option<Condition> {
    let old = app.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let told = reason.starts_with("Skipping sync attempt") || reason.starts_with("Failed last sync attempt");
    (told && !verdict.unknown).then(|| condition(old, "SyncError", reason, at))
}

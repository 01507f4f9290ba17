//! The verdict as Application.status, written only where it differs. Pure (the time is given).
use std::collections::HashMap;

use serde_json::{Value, json};
use tako_engine::app::{Application, Condition, HEALTH_IN_TREE, HEALTH_SOURCE, HealthCode, REFRESH, SyncCode};
use tako_engine::health;
use tako_engine::resource::ResourceKey;
use tako_engine::source::split;

use super::{ObjectVerdict, Verdict, condition};

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

/// What settings say of the status.
pub(super) struct Means<'a> {
    pub(super) control_namespace: &'a str,
    /// The health of each object is written beside it; else who reads the API gets it from the tree.
    pub(super) health_inline: bool,
}

pub(super) fn next_status(app: &Application, verdict: &Verdict, at: &str, means: &Means<'_>) -> Next {
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
            "comparedTo": compared_to(app),
        },
        "health": {"status": health, "lastTransitionTime": changed_at.unwrap_or_else(|| at.to_owned())},
        "conditions": conditions,
        "controllerNamespace": means.control_namespace,
    });
    status[HEALTH_SOURCE] = if means.health_inline { Value::Null } else { json!(HEALTH_IN_TREE) };
    // The fields for one source and for several: those that do not apply are taken off.
    let several = app.has_multiple_sources();
    let (one, many) = (verdict.source_types.first(), &verdict.source_types);
    status["sourceType"] = if several { Value::Null } else { json!(one.cloned().unwrap_or_default()) };
    status["sourceTypes"] = if several { json!(many) } else { Value::Null };
    status["sync"]["revision"] = if several { json!("") } else { json!(verdict.revision) };
    status["sync"]["revisions"] = if several { json!(split(&verdict.revision)) } else { Value::Null };
    // With nothing compared the last good list stays: a bad commit must not empty the page.
    if !(verdict.unknown && verdict.objects.is_empty()) {
        let before = || old.resources.iter().filter_map(|one| Some((one.key(), one.other.get("health")?))).collect();
        status["resources"] = resources(verdict, means.health_inline.then(|| (before(), at)));
        status["summary"] = summary(verdict);
    }
    let mut objects = verdict.objects.iter().filter(|object| !object.hook).peekable();
    let would_prune_all = objects.peek().is_some() && objects.all(|object| object.requires_pruning);
    let there = || verdict.objects.iter().filter(|object| object.live && !object.hook);
    let prunes = (there().filter(|object| object.requires_pruning).count(), there().count());
    Next { sync, health, conditions, would_prune_all, prunes, status }
}

/// What was compared: another source, destination or rule is another comparison.
fn compared_to(app: &Application) -> Value {
    let mut compared = json!({"destination": app.spec.destination});
    if app.has_multiple_sources() {
        compared["sources"] = json!(app.spec.sources);
    } else if let Some(source) = app.source() {
        compared["source"] = json!(source);
    }
    if let Some(rules) = app.spec.other.get("ignoreDifferences").filter(|rules| rules.is_array()) {
        compared["ignoreDifferences"] = rules.clone();
    }
    compared
}

fn summary(verdict: &Verdict) -> Value {
    let mut summary = json!({});
    for (field, list) in [("images", &verdict.images), ("externalURLs", &verdict.summary.external_urls)] {
        if !list.is_empty() {
            summary[field] = json!(list);
        }
    }
    if verdict.summary.app_of_apps {
        summary["isAppOfApps"] = json!(true);
    }
    summary
}

/// The health entries that are, and the time.
type Inline<'a> = (HashMap<ResourceKey, &'a Value>, &'a str);

/// One object's health as it is written beside it; the time stays while the verdict does.
fn health_entry(object: &ObjectVerdict, (before, at): &Inline<'_>) -> Option<Value> {
    let health = object.health.as_ref()?;
    let before = before.get(&object.key);
    let since =
        before.filter(|known| known["status"] == json!(health.status)).map(|known| &known["lastTransitionTime"]);
    let mut entry = json!(health);
    entry["lastTransitionTime"] = since.filter(|since| since.is_string()).cloned().unwrap_or_else(|| json!(at));
    Some(entry)
}

/// The entries; with their health where it is to be inline.
fn resources(verdict: &Verdict, inline: Option<Inline<'_>>) -> Value {
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
            } else if let Some(health) = inline.as_ref().and_then(|inline| health_entry(object, inline)) {
                entry["health"] = health;
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

/// The merge patch that turns the status that is into the status to be; empty when nothing differs. A request for a
/// hard refresh is answered by a `hard` comparison only.
pub(super) fn patch(app: &Application, next: &Next, at: &str, hard: bool) -> Value {
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
    let refreshing = app.metadata.annotations.contains_key(REFRESH) && (hard || !app.asks_hard_refresh());
    if !status.is_empty() || refreshing {
        status.insert("reconciledAt".to_owned(), json!(at));
        patch["status"] = Value::Object(status);
    }
    if refreshing {
        patch["metadata"] = json!({"annotations": {REFRESH: null}});
    }
    patch
}

fn same(old: Option<&Value>, new: &Value) -> bool {
    match old {
        Some(old) => old == new,
        None => {
            matches!(new, Value::Array(list) if list.is_empty())
                || matches!(new, Value::Object(map) if map.is_empty())
                || new.is_null()
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
    let mut sync = json!({});
    if app.has_multiple_sources() {
        sync["revisions"] = json!(split(&verdict.revision));
        sync["sources"] = json!(app.spec.sources);
    } else {
        sync["revision"] = json!(verdict.revision);
    }
    if let Some(source) = app.spec.source.as_ref().filter(|_| !app.has_multiple_sources()) {
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

#[cfg(test)]
mod tests {
    use tako_engine::tree::Summary;

    use super::*;

    fn app(spec: &Value) -> Application {
        let mut spec = spec.clone();
        spec["project"] = json!("p");
        spec["destination"] = json!({"namespace": "n"});
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "argocd"}, "spec": spec})).unwrap()
    }

    fn verdict() -> Verdict {
        let object = ObjectVerdict {
            key: ResourceKey {
                group: "apps".into(),
                kind: "Deployment".into(),
                namespace: "n".into(),
                name: "d".into(),
            },
            version: "v1".into(),
            status: Some(SyncCode::Synced),
            health: Some(health::Health { status: HealthCode::Degraded, message: "quota".into() }),
            live: true,
            requires_pruning: false,
            requires_confirmation: false,
            extraneous: false,
            hook: false,
            wave: 0,
            shared: None,
        };
        Verdict {
            revision: "c1".into(),
            source_types: vec!["Directory".into()],
            objects: vec![object],
            conditions: Vec::new(),
            unknown: false,
            images: vec!["i:1".into()],
            summary: Summary { external_urls: vec!["https://x".into()], app_of_apps: true },
            deletion_hooks: None,
            windows: Vec::new(),
        }
    }

    /// A merge patch, as the API server carries it out (RFC 7386).
    fn merged(old: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut new = old.as_object().cloned().unwrap_or_default();
        for (field, value) in patch {
            if value.is_null() {
                new.remove(field);
            } else {
                let merged = merged(new.get(field).unwrap_or(&Value::Null), value);
                new.insert(field.clone(), merged);
            }
        }
        Value::Object(new)
    }

    fn written(app: &Application, health_inline: bool, at: &str) -> (Value, Application) {
        let means = Means { control_namespace: "argocd", health_inline };
        let patch = patch(app, &next_status(app, &verdict(), at, &means), at, false);
        let app = merged(&serde_json::to_value(app).unwrap(), &patch);
        (patch, serde_json::from_value(app).unwrap())
    }

    #[test]
    fn the_status_has_argo_cds_shape_and_is_written_once() {
        let rules = json!([{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}]);
        let source = |repo: &str| json!({"repoURL": repo, "path": "p"});
        let one = json!({"source": source("r"), "ignoreDifferences": rules});
        let several = json!({"sources": [source("r"), source("s")]});
        for (spec, compared, types) in [
            (
                &one,
                json!({"source": source("r"), "destination": {"namespace": "n"}, "ignoreDifferences": rules}),
                Value::Null,
            ),
            (
                &several,
                json!({"sources": [source("r"), source("s")], "destination": {"namespace": "n"}}),
                json!(["Directory"]),
            ),
        ] {
            let (patch, after) = written(&app(spec), false, "t1");
            let status = &patch["status"];
            assert_eq!(status["sync"]["comparedTo"], compared);
            assert_eq!((&status["sourceTypes"], status["sourceType"].is_null()), (&types, !types.is_null()));
            assert_eq!(
                status["summary"],
                json!({"images": ["i:1"], "externalURLs": ["https://x"], "isAppOfApps": true})
            );
            assert_eq!(status["resourceHealthSource"], "appTree");
            assert_eq!(status["resources"][0]["health"], Value::Null);
            assert_eq!(written(&after, false, "t2").0, json!({}), "nothing changed");
        }
    }

    #[test]
    fn health_is_inline_only_if_asked_for() {
        let (patch, after) = written(&app(&json!({"source": {"repoURL": "r"}})), true, "t1");
        let health = json!({"status": "Degraded", "message": "quota", "lastTransitionTime": "t1"});
        assert_eq!(patch["status"]["resources"][0]["health"], health);
        assert!(patch["status"].get("resourceHealthSource").is_none());
        assert_eq!(written(&after, true, "t2").0, json!({}), "nothing changed, so the time stays");
        let (_, back) = written(&after, false, "t3");
        let status = back.status.unwrap();
        assert_eq!(status.other["resourceHealthSource"], "appTree");
        assert!(status.resources[0].other.get("health").is_none());
        let (_, again) = written(&written(&after, false, "t3").1, true, "t4");
        assert!(again.status.unwrap().other.get("resourceHealthSource").is_none());
    }

    #[test]
    fn a_hard_refresh_is_answered_by_a_hard_comparison() {
        let means = Means { control_namespace: "argocd", health_inline: false };
        for (asked, hard, answered) in
            [("normal", false, true), ("normal", true, true), ("hard", false, false), ("hard", true, true)]
        {
            let mut app = app(&json!({"source": {"repoURL": "r"}}));
            app.metadata.annotations.insert(REFRESH.into(), asked.into());
            let patch = patch(&app, &next_status(&app, &verdict(), "t", &means), "t", hard);
            assert_eq!(patch.get("metadata").is_some(), answered, "{asked} {hard}");
        }
    }
}

//! An operation as the Application records it (`status.operationState`, `status.history`). Pure (the time is given).
use serde_json::{Value, json};
use tako_engine::app::{Application, Operation, Phase};

use super::Ended;

/// Entries of `status.history` kept when `spec.revisionHistoryLimit` is unset (Argo CD).
const HISTORY_MAX: usize = 10;

/// The patch that takes the operation: Running, with the resourceVersion that was read. A running one keeps its start.
pub(super) fn begin(app: &Application, operation: &Operation, at: &str) -> Value {
    let state = app.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let resumed = state
        .filter(|state| matches!(state.phase, Phase::Running | Phase::Terminating) && state.operation == *operation);
    let (phase, started) = match resumed {
        Some(state) => (state.phase, state.started_at.clone().unwrap_or_else(|| at.to_owned())),
        None => (Phase::Running, at.to_owned()),
    };
    let mut fresh =
        json!({"operation": operation, "phase": phase, "startedAt": started, "message": "", "finishedAt": null});
    if resumed.is_none() {
        fresh["syncResult"] = Value::Null;
        fresh["retryCount"] = Value::Null;
    }
    let old = state.map(|state| json!(state.operation)).unwrap_or_default();
    clear_gone(&old, &mut fresh["operation"]);
    json!({"metadata": {"resourceVersion": app.metadata.resource_version}, "status": {"operationState": fresh}})
}

/// A merge patch keeps fields it does not name: name those of the earlier operation that are gone.
fn clear_gone(old: &Value, new: &mut Value) {
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        for (field, before) in old {
            match new.get_mut(field) {
                Some(after) => clear_gone(before, after),
                None => {
                    new.insert(field.clone(), Value::Null);
                }
            }
        }
    }
}

/// Somebody asked to end it.
pub(super) fn terminating(app: &Application) -> bool {
    app.status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .is_some_and(|state| state.phase == Phase::Terminating)
}

/// The name of an operation: the Application and when it began.
pub(super) fn opid(app: &Application) -> String {
    let started = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .and_then(|state| state.started_at.clone());
    format!("{}@{}", app.metadata.uid.clone().unwrap_or_default(), started.unwrap_or_default())
}

/// Both show the same running operation.
pub(super) fn same_operation(ours: &Application, fresh: &Application) -> bool {
    fresh.operation.is_some() && opid(ours) == opid(fresh)
}

/// The patch that ends the operation: its result, the history entry of a full success, and `operation` away.
pub(super) fn end(app: &Application, operation: &Operation, ended: &Ended, at: &str) -> Value {
    let state = app.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let started = state.and_then(|state| state.started_at.clone()).unwrap_or_else(|| at.to_owned());
    let resources: Vec<Value> = ended.results.iter().map(result).collect();
    let mut patch = json!({
        "metadata": {"resourceVersion": app.metadata.resource_version},
        "operation": null,
        "status": {"operationState": {
            "phase": ended.phase,
            "message": ended.message,
            "finishedAt": at,
            "syncResult": {"revision": ended.revision, "source": app.source(), "resources": resources},
        }},
    });
    let sync = operation.sync.clone().unwrap_or_default();
    if ended.phase == Phase::Succeeded && !sync.dry_run && sync.resources.is_empty() {
        let old = app.status.as_ref().map(|status| status.history.clone()).unwrap_or_default();
        let id = old.iter().map(|entry| entry.id).max().map_or(0, |last| last + 1);
        let mut history: Vec<Value> = old.iter().map(|entry| json!(entry)).collect();
        history.push(json!({
            "id": id, "revision": ended.revision, "source": app.source(), "deployStartedAt": started, "deployedAt": at,
            "initiatedBy": operation.initiated_by,
        }));
        let limit = app
            .spec
            .other
            .get("revisionHistoryLimit")
            .and_then(Value::as_u64)
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(HISTORY_MAX);
        let surplus = history.len().saturating_sub(limit);
        patch["status"]["history"] = json!(&history[surplus..]);
    }
    patch
}

fn result(step: &super::StepResult) -> Value {
    let mut entry = json!({
        "group": step.key.group, "version": step.version, "kind": step.key.kind, "namespace": step.key.namespace, "name": step.key.name,
        "status": step.status, "message": step.message, "syncPhase": "Sync",
    });
    if step.status == "Synced" {
        entry["hookPhase"] = json!("Running");
    }
    if step.status == "SyncFailed" {
        entry["hookPhase"] = json!("Failed");
    }
    entry
}

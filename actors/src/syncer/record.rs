//! An operation as the Application records it (`status.operationState`, `status.history`). Pure (the time is given).
use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tako_engine::app::{
    Application, ApplicationStatus, Operation, OperationState, Phase, ResourceStatus, Source, SyncCode, SyncResult,
};
use tako_engine::resource::ResourceKey;
use tako_engine::retry;
use tako_engine::source::{joined, split};

use super::Ended;

/// Entries of `status.history` kept when `spec.revisionHistoryLimit` is unset (Argo CD).
const HISTORY_MAX: usize = 10;

/// The record of this very operation, if it has begun and is not over.
fn running<'a>(app: &'a Application, operation: &Operation) -> Option<&'a OperationState> {
    app.operation_state()
        .filter(|state| matches!(state.phase, Phase::Running | Phase::Terminating) && state.operation == *operation)
}

/// It failed and waits to be tried again: that is how Argo CD marks it.
fn awaits_retry(state: &OperationState) -> bool {
    state.phase == Phase::Running && state.finished_at.is_some()
}

fn retries(state: &OperationState) -> i64 {
    state.other.get("retryCount").and_then(Value::as_i64).unwrap_or_default()
}

/// The patch that takes the operation: Running, with the resourceVersion that was read. One that runs already is
/// left as it is, so that taking it again writes nothing.
pub(super) fn begin(app: &Application, operation: &Operation, at: &str) -> Value {
    let version = json!({"resourceVersion": app.metadata.resource_version});
    let known = running(app, operation);
    if let Some(state) = known.filter(|state| !awaits_retry(state)) {
        return json!({"metadata": version, "status": {"operationState": {"phase": state.phase}}});
    }
    let started = known.and_then(|state| state.started_at.clone()).unwrap_or_else(|| at.to_owned());
    // A retry is of the same commit, unless it is told to look for a newer one (`retry.refresh`).
    let refresh = operation.retry.as_ref().is_some_and(|retry| retry["refresh"] == true);
    let tried = known.filter(|_| !refresh).and_then(|state| state.sync_result.as_ref());
    let kept = tried.filter(|result| !of_result(result).is_empty());
    let kept = kept.map(|result| {
        let mut kept = json!({"resources": []});
        put_revision(&mut kept, result.revisions.len() > 1 || !result.sources.is_empty(), &of_result(result));
        kept
    });
    let mut fresh = json!({
        "operation": operation, "phase": Phase::Running, "startedAt": started, "message": "", "finishedAt": null,
        "syncResult": kept, "retryCount": known.map(retries),
    });
    let old = app.operation_state().map(|state| json!(state.operation)).unwrap_or_default();
    clear_gone(&old, &mut fresh["operation"]);
    json!({"metadata": version, "status": {"operationState": fresh}})
}

/// How long an operation that failed still waits for its next try.
pub(super) fn retry_after(app: &Application, operation: &Operation, now: i64) -> Option<Duration> {
    let state = running(app, operation).filter(|state| awaits_retry(state))?;
    let wait = retry::backoff(operation.retry.as_ref(), retries(state).saturating_sub(1))?;
    let due = unix(state.finished_at.as_deref()?)?.saturating_add(i64::try_from(wait.as_secs()).ok()?);
    u64::try_from(due.saturating_sub(now)).ok().filter(|left| *left > 0).map(Duration::from_secs)
}

/// The patch that has a failed operation tried again, and after how long; `None` when it is over.
pub(super) fn schedule_retry(
    app: &Application,
    operation: &Operation,
    ended: &Ended,
    at: &str,
) -> Option<(Value, Duration)> {
    let state = app.operation_state()?;
    let tried = retries(state);
    if !ended.again || ended.phase == Phase::Succeeded || terminating(app) {
        return None;
    }
    let wait = retry::backoff(operation.retry.as_ref(), tried)?;
    let due = at.parse::<jiff::Timestamp>().ok()?.checked_add(wait).ok()?.strftime("%-I:%M%p");
    let attempt = tried + 1;
    let message = format!("{} Retrying attempt #{attempt} at {due}.", ended.message);
    let patch = json!({"status": {"operationState": {
        "phase": Phase::Running, "message": message, "finishedAt": at, "retryCount": attempt, "syncResult": result(app, ended),
    }}});
    Some((patch, wait))
}

fn unix(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn result(app: &Application, ended: &Ended) -> Value {
    synced(app, &ended.revision, &ended.resources)
}

/// What automated sync compares with before it tries again: the commit and the source or sources.
fn synced(app: &Application, revision: &str, resources: &[Value]) -> Value {
    let mut result = json!({"resources": resources});
    let operation = app.operation_state().map(|state| state.operation.clone()).unwrap_or_default();
    put_sources(&mut result, app, &operation, revision);
    result
}

/// The sources and the revisions that were synced, in the fields for one or for several.
fn put_sources(entry: &mut Value, app: &Application, operation: &Operation, revision: &str) {
    let sources = sources_of(app, operation);
    let several = is_several(app, operation);
    put_revision(entry, several, revision);
    if several {
        entry["sources"] = json!(sources);
    } else {
        entry["source"] = json!(sources.first());
    }
}

fn put_revision(entry: &mut Value, several: bool, revision: &str) {
    if several {
        // The field is required by the CRD.
        entry["revision"] = json!("");
        entry["revisions"] = json!(split(revision));
    } else {
        entry["revision"] = json!(revision);
    }
}

/// The operation names sources of its own, several or one, or the Application has several.
fn is_several(app: &Application, operation: &Operation) -> bool {
    let sync = operation.sync.as_ref();
    match sync {
        Some(sync) if !sync.sources.is_empty() => true,
        Some(sync) if sync.source.is_some() => false,
        _ => app.has_multiple_sources(),
    }
}

/// What was synced, as one text.
fn of_result(result: &SyncResult) -> String {
    if result.revisions.is_empty() {
        result.revision.clone()
    } else {
        joined(result.revisions.iter().map(String::as_str))
    }
}

/// Puts the sources of the operation into the Application, where it names any.
pub(super) fn take_source(app: &mut Application, operation: &Operation) {
    let Some(sync) = &operation.sync else { return };
    if !sync.sources.is_empty() {
        (app.spec.source, app.spec.sources) = (None, sync.sources.clone());
    } else if sync.source.is_some() {
        (app.spec.source, app.spec.sources) = (sync.source.clone(), Vec::new());
    }
}

/// What is recorded as pruned by the running operation and may still be on its way out.
pub(super) fn pruning(app: &Application) -> HashSet<ResourceKey> {
    let pruned = |entry: &&Value| entry["status"] == "Pruned" && entry["hookPhase"] == "Running";
    entries(app).iter().filter(pruned).map(key_of).collect()
}

/// What an entry of a sync result is about.
fn key_of(entry: &Value) -> ResourceKey {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    ResourceKey { group: text("group"), kind: text("kind"), namespace: text("namespace"), name: text("name") }
}

/// The sources of the operation: those that it names (rollback), or the Application's.
pub(super) fn sources_of(app: &Application, operation: &Operation) -> Vec<Source> {
    match &operation.sync {
        Some(sync) if !sync.sources.is_empty() => sync.sources.clone(),
        Some(sync) if sync.source.is_some() => sync.source.iter().cloned().collect(),
        _ => app.sources().to_vec(),
    }
}

/// The patch that puts on record how far the operation is; `None` when the record says that already.
pub(super) fn progress(app: &Application, revision: &str, entries: &[Value], message: &str) -> Option<Value> {
    let state = app.operation_state()?;
    let message = if message.is_empty() { state.message.as_str() } else { message };
    let known =
        state.sync_result.as_ref().is_some_and(|known| of_result(known) == revision && known.resources == entries);
    if known && state.message == message {
        return None;
    }
    let result = synced(app, revision, entries);
    Some(json!({"status": {"operationState": {"message": message, "syncResult": result}}}))
}

/// What is recorded of the steps so far.
pub(super) fn entries(app: &Application) -> Vec<Value> {
    let result = app.operation_state().and_then(|state| state.sync_result.as_ref());
    result.map(|result| result.resources.clone()).unwrap_or_default()
}

/// The commit that the running operation has begun with; empty before.
pub(super) fn pinned(app: &Application) -> String {
    let result = app
        .operation_state()
        .filter(|state| state.phase != Phase::Succeeded)
        .and_then(|state| state.sync_result.as_ref());
    result.map(of_result).unwrap_or_default()
}

/// Whether deletions that want approval were approved since `asked` (annotation `deletion-approved`, RFC 3339).
pub(super) fn approved(app: &Application, asked: i64) -> bool {
    let given = app.metadata.annotations.get("argocd.argoproj.io/deletion-approved");
    given.and_then(|at| unix(at)).is_some_and(|at| at >= asked)
}

/// When the deletion of the Application was asked for, in seconds of Unix time.
pub(super) fn deletion_asked(app: &Application) -> i64 {
    app.metadata.deletion_timestamp.as_deref().and_then(unix).unwrap_or_default()
}

/// What the last comparison found out of sync, if it was with this commit.
pub(super) fn out_of_sync(app: &Application, revision: &str) -> Option<HashSet<ResourceKey>> {
    let known = |status: &&ApplicationStatus| status.sync.is_of(revision) && status.sync.status != SyncCode::Unknown;
    let status = app.status.as_ref().filter(known)?;
    let drifted = status.resources.iter().filter(|one| one.status == Some(SyncCode::OutOfSync));
    // What this operation has begun stays in its plan, although it may be in sync by now.
    let begun = entries(app).into_iter().map(|entry| key_of(&entry));
    Some(drifted.map(ResourceStatus::key).chain(begun).collect())
}

/// When it began, in seconds of Unix time.
pub(super) fn started(app: &Application) -> i64 {
    app.operation_state().and_then(|state| unix(state.started_at.as_deref()?)).unwrap_or_default()
}

/// The operation has run for more than `limit`.
pub(super) fn runs_longer(app: &Application, limit: Duration, now: i64) -> bool {
    let limit = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    let began = app.operation_state().and_then(|state| unix(state.started_at.as_deref()?));
    began.is_some_and(|began| now.saturating_sub(began) > limit)
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

/// The name of an operation: the Application, when it began, and which try it is.
pub(super) fn opid(app: &Application) -> String {
    let started = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .and_then(|state| state.started_at.clone());
    let attempt = app.operation_state().map(retries).unwrap_or_default();
    let attempt = if attempt > 0 { format!("#{attempt}") } else { String::new() };
    format!("{}@{}{attempt}", app.metadata.uid.clone().unwrap_or_default(), started.unwrap_or_default())
}

/// Both show the same running operation.
pub(super) fn same_operation(ours: &Application, fresh: &Application) -> bool {
    fresh.operation.is_some() && opid(ours) == opid(fresh)
}

/// The patch that ends the operation: its result, the history entry of a full success, and `operation` away.
pub(super) fn end(app: &Application, operation: &Operation, ended: &Ended, at: &str) -> Value {
    let state = app.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let started = state.and_then(|state| state.started_at.clone()).unwrap_or_else(|| at.to_owned());
    let tried = state.map(retries).unwrap_or_default();
    let mut message = ended.message.clone();
    if tried > 0 && ended.phase != Phase::Succeeded {
        message = format!("{message} (retried {tried} times).");
    }
    let mut patch = json!({
        "metadata": {"resourceVersion": app.metadata.resource_version},
        "operation": null,
        "status": {"operationState": {
            "phase": ended.phase,
            "message": message,
            "finishedAt": at,
            "syncResult": result(app, ended),
        }},
    });
    let sync = operation.sync.clone().unwrap_or_default();
    if ended.phase == Phase::Succeeded && !sync.dry_run && sync.resources.is_empty() {
        let old = app.status.as_ref().map(|status| status.history.clone()).unwrap_or_default();
        let id = old.iter().map(|entry| entry.id).max().map_or(0, |last| last + 1);
        let mut history: Vec<Value> = old.iter().map(|entry| json!(entry)).collect();
        let mut entry = json!({
            "id": id, "deployStartedAt": started, "deployedAt": at, "initiatedBy": operation.initiated_by,
        });
        put_sources(&mut entry, app, operation, &ended.revision);
        history.push(entry);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn app(state: Value) -> Application {
        let object = json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5"},
            "spec": {"project": "p", "destination": {}},
            "operation": {"retry": {"limit": 1}, "sync": {"revision": "r"}},
            "status": {"operationState": state},
        });
        serde_json::from_value(object).unwrap()
    }

    fn running_app(finished: Value, retries: Value) -> Application {
        let mut state = json!({"operation": {"retry": {"limit": 1}, "sync": {"revision": "r"}}, "phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
        state["finishedAt"] = finished;
        state["retryCount"] = retries;
        app(state)
    }

    #[test]
    fn an_operation_taken_again_is_not_begun_again() {
        let app = running_app(json!(null), json!(null));
        let operation = app.operation.clone().unwrap();
        let patch = begin(&app, &operation, "2026-01-01T00:01:00Z");
        assert_eq!(patch["status"]["operationState"], json!({"phase": "Running"}));
        let other = Operation::default();
        let patch = begin(&app, &other, "2026-01-01T00:01:00Z");
        assert_eq!(patch["status"]["operationState"]["startedAt"], "2026-01-01T00:01:00Z");
        assert_eq!(patch["status"]["operationState"]["operation"], json!({"retry": null, "sync": null}));
    }

    #[test]
    fn a_failure_is_tried_again_after_a_pause_and_then_is_final() {
        let first = running_app(json!(null), json!(null));
        let operation = first.operation.clone().unwrap();
        let ended =
            Ended { phase: Phase::Failed, message: "no.".into(), revision: "r".into(), resources: vec![], again: true };
        let (patch, pause) = schedule_retry(&first, &operation, &ended, "2026-01-01T15:04:00Z").unwrap();
        assert_eq!(pause, Duration::from_secs(5));
        assert_eq!(patch["status"]["operationState"]["message"], "no. Retrying attempt #1 at 3:04PM.");
        assert_eq!(patch["status"]["operationState"]["phase"], "Running");

        let waiting = running_app(json!("2026-01-01T15:04:00Z"), json!(1));
        let at = unix("2026-01-01T15:04:00Z").unwrap();
        assert_eq!(retry_after(&waiting, &operation, at + 2), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(&waiting, &operation, at + 5), None);
        let again = begin(&waiting, &operation, "2026-01-01T15:04:05Z");
        assert_eq!(again["status"]["operationState"]["startedAt"], "2026-01-01T00:00:00Z");
        assert_eq!(again["status"]["operationState"]["retryCount"], 1);
        assert_ne!(opid(&waiting), opid(&first), "hooks of the first try are not those of the second");

        assert!(schedule_retry(&waiting, &operation, &ended, "2026-01-01T15:04:06Z").is_none());
        let patch = end(&waiting, &operation, &ended, "2026-01-01T15:04:06Z");
        assert_eq!(patch["status"]["operationState"]["message"], "no. (retried 1 times).");
    }

    #[test]
    fn progress_is_written_only_when_there_is_some() {
        let mut app = running_app(json!(null), json!(null));
        let entries = [json!({"kind": "Job"})];
        assert!(progress(&app, "r", &entries, "m").is_some());
        app.status.as_mut().unwrap().operation_state = serde_json::from_value(json!({"operation": {}, "phase": "Running", "message": "m", "syncResult": {"revision": "r", "resources": entries}})).unwrap();
        assert!(progress(&app, "r", &entries, "m").is_none());
        assert!(progress(&app, "r", &entries, "").is_none());
        assert!(progress(&app, "r", &entries, "n").is_some());
    }
}

//! What users ask of an Application's operation (sync, rollback, terminate): whether it may be, and the operation that
//! carries it, as Argo CD's API server builds it (server/application). Pure: the time is an argument, and who may ask
//! is decided elsewhere. Names of revisions stay as they were given: whoever has the repository resolves them.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::{
    Application, History, InitiatedBy, Operation, OperationState, Phase, Source, SyncOperation, SyncPolicy,
    SyncResource,
};
use crate::windows::{SyncWindow, Windows};

/// The kind of a refusal, with the code that gRPC and its gateway give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request makes no sense (gRPC 3, HTTP 400).
    InvalidArgument,
    /// Not in this state (gRPC 9, HTTP 400).
    FailedPrecondition,
    /// Not allowed (gRPC 7, HTTP 403).
    PermissionDenied,
}

impl Code {
    /// As HTTP, with 412 for what is only not allowed now.
    pub fn http(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::PermissionDenied => 403,
            Self::FailedPrecondition => 412,
        }
    }
}

/// Why a request is refused, in Argo CD's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Its kind.
    pub code: Code,
    /// In words.
    pub message: String,
}

fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// The body of a sync request. Absent and null are one; an absent list of sync options means the Application's own,
/// an empty one none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SyncRequest {
    /// The commit or name, of one source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The commits or names of the sources at `source_positions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions: Option<Vec<String>>,
    /// Counted from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_positions: Option<Vec<i64>>,
    /// Try only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Delete what left git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// `{apply: {force}}` or `{hook: {force}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Value>,
    /// Only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<Option<SyncResource>>>,
    /// Manifests instead of git's (local sync).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<String>>,
    /// Free words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infos: Option<Vec<Value>>,
    /// Instead of the Application's `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<Value>,
    /// Instead of the Application's `syncOptions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_options: Option<SyncOptions>,
}

/// `{items: [Name=value]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncOptions {
    /// The options.
    pub items: Option<Vec<String>>,
}

/// The body of a rollback request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RollbackRequest {
    /// Of the entry of `status.history`.
    pub id: i64,
    /// Try only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Delete what that deployment did not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
}

/// The operation of a sync, if it may begin now.
pub fn check_sync(
    app: &Application,
    request: &SyncRequest,
    username: &str,
    windows: &[SyncWindow],
    now: Timestamp,
) -> Result<Operation, Refusal> {
    let windows = Windows::of(windows, app).map_err(|problem| Refusal {
        code: Code::PermissionDenied,
        message: format!("cannot sync: {}", problem.replacen("invalid sync windows", "invalid sync window", 1)),
    })?;
    if !windows.can_sync(true, now).allowed {
        return refuse(Code::PermissionDenied, "cannot sync: blocked by sync window");
    }
    let (dry_run, automated) = (request.dry_run.unwrap_or_default(), app.automated().is_some());
    let manifests = request.manifests.clone().unwrap_or_default();
    if !manifests.is_empty() && automated && !dry_run {
        let words = "cannot use local sync when Automatic Sync Policy is enabled unless for dry run";
        return refuse(Code::FailedPrecondition, words);
    }
    deleting(app)?;
    let pinned = automated && !dry_run;
    let several = app.has_multiple_sources();
    let local = !manifests.is_empty();
    let revisions = if several { revisions(app, request, pinned)? } else { Vec::new() };
    let revision = if several { None } else { revision(app, request, pinned)? };
    no_other(app)?;
    let policy = app.spec.sync_policy.clone().unwrap_or_default();
    let sync_options = match &request.sync_options {
        Some(options) => Some(options.items.clone().unwrap_or_default()),
        None => own_options(&policy),
    };
    let sync = SyncOperation {
        revision: revision.filter(|_| !local),
        revisions: if local { Vec::new() } else { revisions },
        prune: request.prune.unwrap_or_default(),
        dry_run,
        resources: request.resources.clone().unwrap_or_default().into_iter().flatten().collect(),
        sync_options,
        source: if several { None } else { app.spec.source.clone() },
        sources: if several { app.spec.sources.clone() } else { Vec::new() },
        sync_strategy: request.strategy.clone().filter(|strategy| !strategy.is_null()),
        manifests,
        ..SyncOperation::default()
    };
    Ok(Operation {
        info: request.infos.clone().filter(|infos| !infos.is_empty()).map(Value::Array),
        retry: request.retry_strategy.clone().filter(|retry| !retry.is_null()).or(policy.retry),
        ..by(username, sync)
    })
}

/// The operation of a rollback to an earlier deployment, if it may begin. Hooks do not run.
pub fn check_rollback(app: &Application, request: RollbackRequest, username: &str) -> Result<Operation, Refusal> {
    deleting(app)?;
    if app.automated().is_some() {
        return refuse(Code::FailedPrecondition, "rollback cannot be initiated when auto-sync is enabled");
    }
    let history = app.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    let Some(entry) = history.iter().find(|entry| entry.id == request.id) else {
        let message = format!("application {} does not have deployment with id {}", app.key(), request.id);
        return refuse(Code::InvalidArgument, message);
    };
    let History { revision, revisions, source, sources, .. } = entry.clone();
    let source = source.filter(|source| *source != Source::default());
    if source.is_none() && sources.is_empty() {
        let words = "cannot rollback to revision deployed with Argo CD v0.11 or lower. sync to revision instead.";
        return refuse(Code::FailedPrecondition, words);
    }
    no_other(app)?;
    let sync = SyncOperation {
        revision: Some(revision).filter(|revision| !revision.is_empty()),
        revisions,
        dry_run: request.dry_run.unwrap_or_default(),
        prune: request.prune.unwrap_or_default(),
        sync_options: own_options(&app.spec.sync_policy.clone().unwrap_or_default()),
        sync_strategy: Some(json!({"apply": {}})),
        source,
        sources,
        ..SyncOperation::default()
    };
    Ok(by(username, sync))
}

/// Whether there is something to terminate.
pub fn check_terminate(app: &Application) -> Result<(), Refusal> {
    let running = |state: &OperationState| matches!(state.phase, Phase::Running | Phase::Terminating);
    if app.operation.is_none() || !app.operation_state().is_some_and(running) {
        return refuse(Code::InvalidArgument, "Unable to terminate operation. No operation is in progress");
    }
    Ok(())
}

/// What `GET /applications/{name}/syncwindows` answers: the windows assigned and open, and whether a user may sync.
pub fn sync_windows(app: &Application, windows: &[SyncWindow], now: Timestamp) -> Result<Value, String> {
    let windows = Windows::of(windows, app)?;
    let shown = |window: &SyncWindow| json!({"kind": window.kind, "schedule": window.schedule, "duration": window.duration, "manualSync": window.manual_sync});
    let (active, assigned): (Vec<_>, Vec<_>) =
        (windows.active(now).map(shown).collect(), windows.assigned().map(shown).collect());
    let mut answer = json!({"canSync": windows.can_sync(true, now).allowed});
    for (field, list) in [("activeWindows", active), ("assignedWindows", assigned)] {
        if !list.is_empty() {
            answer[field] = Value::Array(list);
        }
    }
    Ok(answer)
}

/// The Application's options, where it has any.
fn own_options(policy: &SyncPolicy) -> Option<Vec<String>> {
    Some(policy.sync_options.clone()).filter(|options| !options.is_empty())
}

fn by(username: &str, sync: SyncOperation) -> Operation {
    let initiated_by = InitiatedBy { username: Some(username.to_owned()), ..InitiatedBy::default() };
    Operation { sync: Some(sync), initiated_by: Some(initiated_by), ..Operation::default() }
}

fn deleting(app: &Application) -> Result<(), Refusal> {
    match app.metadata.deletion_timestamp {
        Some(_) => refuse(Code::FailedPrecondition, "application is deleting"),
        None => Ok(()),
    }
}

fn no_other(app: &Application) -> Result<(), Refusal> {
    match app.operation {
        Some(_) => refuse(Code::FailedPrecondition, "another operation is already in progress"),
        None => Ok(()),
    }
}

/// What the source follows.
fn target(source: &Source) -> &str {
    source.target_revision.as_deref().filter(|target| !target.is_empty()).unwrap_or("HEAD")
}

/// The revision of one source. With automated sync it must be the one that the Application follows (`pinned`): the
/// next comparison would undo any other.
fn revision(app: &Application, request: &SyncRequest, pinned: bool) -> Result<Option<String>, Refusal> {
    let source = app.spec.source.clone().unwrap_or_default();
    let asked = request.revision.clone().filter(|revision| !revision.is_empty());
    if let Some(asked) = asked.as_deref().filter(|asked| pinned && *asked != target(&source)) {
        let followed = source.target_revision.as_deref().unwrap_or_default();
        return refuse(
            Code::FailedPrecondition,
            format!("Cannot sync to {asked}: auto-sync currently set to {followed}"),
        );
    }
    Ok(asked)
}

/// The revisions of several sources: what was asked for, and for the others what they follow; none when nothing was.
fn revisions(app: &Application, request: &SyncRequest, pinned: bool) -> Result<Vec<String>, Refusal> {
    let sources = &app.spec.sources;
    let mut revisions: Vec<String> = sources.iter().map(|source| target(source).to_owned()).collect();
    let asked = request.revisions.clone().unwrap_or_default();
    let positions = request.source_positions.clone().unwrap_or_default();
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    if positions.len() != asked.len() {
        return refuse(Code::InvalidArgument, "revisions and sourcePositions must be lists of the same length");
    }
    for (position, asked) in positions.into_iter().zip(asked) {
        let index = usize::try_from(position).ok().and_then(|position| position.checked_sub(1));
        let Some((source, revision)) = index.and_then(|index| Some((sources.get(index)?, revisions.get_mut(index)?)))
        else {
            return refuse(Code::InvalidArgument, "source position is out of range");
        };
        if asked.is_empty() {
            continue;
        }
        if pinned && asked != target(source) {
            let followed = source.target_revision.as_deref().unwrap_or_default();
            let message =
                format!("Cannot sync source {} to {asked}: auto-sync currently set to {followed}", source.repo_url);
            return refuse(Code::FailedPrecondition, message);
        }
        *revision = asked;
    }
    Ok(revisions)
}

#[cfg(test)]
mod tests;

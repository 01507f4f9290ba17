//! Carries out an Application's operation: takes it, leads it through its plan, records it. Resumable: the
//! operation and how far it is are in the Application, and its resourceVersion is the lock of record, so a process
//! that comes after a SIGKILL carries on and a process that lost the lock stops at its next write.
//! All choices are `tako_engine`'s: `plan` and `progress`.
mod cascade;
mod manifests;
mod namespace;
mod operation;
mod preview;
mod record;
mod steps;
mod trial;
mod writing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tako_bus::{AuditRecord, BusError, Event, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application, Operation, Phase};

use crate::adapters::cluster::{Cluster, ClusterError};
use crate::app_events::Told;
use crate::differ::ExtrasError;
use crate::now;
use crate::runtime::fault;
use crate::runtime::stage::{Outcome, Stage};
use crate::shared::Shared;

impl std::ops::Deref for Syncer {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// When it is asked again whether another process has let go of an Application.
const LEASED: Duration = Duration::from_secs(1);
/// Answers of the API server in a row that end an operation.
const ANSWERS_MAX: u32 = 5;

/// The stage.
pub(crate) struct Syncer {
    shared: Shared,
    /// Operations that rest between two waves; a wake-up before is too early.
    resting: Mutex<HashMap<AppKey, Instant>>,
    /// Operations that the API server's answers stop, and how often in a row.
    failing: Mutex<HashMap<AppKey, (String, u32)>>,
    /// The cluster in the name of service accounts.
    impersonated: Mutex<HashMap<String, Cluster>>,
}

#[derive(Debug, thiserror::Error)]
enum SyncerError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Somebody else's operation is in the Application now.
    #[error("the operation was taken away")]
    NotOurs,
}

impl From<ExtrasError> for SyncerError {
    fn from(error: ExtrasError) -> Self {
        match error {
            ExtrasError::Bus(error) => Self::Bus(error),
            ExtrasError::Cluster(error) => Self::Cluster(error),
        }
    }
}

/// How an operation ended.
struct Ended {
    phase: Phase,
    message: String,
    revision: String,
    /// The entries of `syncResult.resources`.
    resources: Vec<Value>,
    /// A failure of it may be tried again.
    again: bool,
}

impl Ended {
    fn error(message: String) -> Self {
        Self { phase: Phase::Error, message, revision: String::new(), resources: Vec::new(), again: true }
    }
}

/// How far a look at an operation brought it.
enum Carried {
    /// To its end.
    Ended(Ended),
    /// It waits: look again after this time, or when something changes.
    Waiting(Duration),
}

impl Syncer {
    /// The stage.
    pub(crate) fn new(shared: Shared) -> Arc<Self> {
        Arc::new(Self { shared, resting: Mutex::default(), failing: Mutex::default(), impersonated: Mutex::default() })
    }

    /// Among several processes, one at a time for one Application: what has begun is not fenced by the resourceVersion
    /// alone, for to take it again writes nothing.
    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Outcome, SyncerError> {
        if self.alone {
            return self.work_alone(key, item).await;
        }
        let Some(mut lease) = self.bus.lease(&format!("sync/{key}")).await? else { return Ok(Outcome::Again(LEASED)) };
        let outcome = tokio::select! {
            outcome = self.work_alone(key, item) => outcome,
            () = lease.lost() => Err(SyncerError::NotOurs),
        };
        lease.release().await;
        outcome
    }

    async fn work_alone(&self, key: &AppKey, item: &WorkItem) -> Result<Outcome, SyncerError> {
        self.settings.ready().await;
        let Some(app) = self.applications.get(key).await? else { return Ok(Outcome::Done) };
        if app.metadata.deletion_timestamp.is_some() {
            return self.delete(app, item).await;
        }
        let Some(operation) = app.operation.clone().filter(|_| !app.skips_reconcile()) else {
            return Ok(Outcome::Done);
        };
        if let Some(rest) = self.rest_of(key) {
            return Ok(Outcome::Again(rest));
        }
        if let Some(left) = record::retry_after(&app, &operation, crate::unix_now()) {
            return match self.superseded(&app, &operation).await? {
                None => Ok(Outcome::Again(left)),
                Some(newer) => {
                    let ended = Ended {
                        phase: Phase::Failed,
                        message: format!("superseded by {newer}"),
                        revision: record::pinned(&app),
                        resources: record::entries(&app),
                        again: false,
                    };
                    self.finish(app, &operation, ended, item).await
                }
            };
        }
        // The lock: whoever writes Running with the resourceVersion just read owns the operation.
        let running = record::begin(&app, &operation, &now());
        let mut app = match self.applications.patch(key, &running).await {
            Ok(app) => app,
            Err(error) if error.is_conflict() => return self.again(key, item).await.map(|()| Outcome::Done),
            Err(error) => return Err(error.into()),
        };
        fault::point("operation taken");
        match self.carry_out(&mut app, &operation, item).await {
            Ok(Carried::Waiting(pause)) => Ok(Outcome::Again(pause)),
            Ok(Carried::Ended(ended)) => self.finish(app, &operation, ended, item).await,
            Err(SyncerError::NotOurs) => self.again(key, item).await.map(|()| Outcome::Done),
            Err(SyncerError::Cluster(error)) if error.is_answer() && self.fails_again(&app) => {
                let ended = Ended {
                    revision: record::pinned(&app),
                    resources: record::entries(&app),
                    ..Ended::error(error.to_string())
                };
                self.finish(app, &operation, ended, item).await
            }
            Err(error) => Err(error),
        }
    }

    /// Counts answers of the API server that stop an operation. A conflict or a hiccup goes by; what comes again and
    /// again ends the operation, and its retry policy takes over.
    fn fails_again(&self, app: &Application) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let opid = record::opid(app);
        let (of, times) = failing.entry(app.key()).or_default();
        *times = if *of == opid { *times + 1 } else { 1 };
        *of = opid;
        let over = *times >= ANSWERS_MAX;
        if over {
            failing.remove(&app.key());
        }
        over
    }

    /// The cluster as a service account.
    fn impersonated(&self, account: &str) -> Result<Cluster, ClusterError> {
        let mut known = self.impersonated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = known.get(account) {
            return Ok(cluster.clone());
        }
        let cluster = self.cluster.acting_as(account)?;
        known.insert(account.to_owned(), cluster.clone());
        Ok(cluster)
    }

    async fn again(&self, key: &AppKey, item: &WorkItem) -> Result<(), SyncerError> {
        let note = WorkNote { hard: false, reason: "the Application changed meanwhile".to_owned() };
        Ok(self.bus.wake(&Work::Sync { app: key.clone() }, note, &item.cause).await?)
    }

    /// Between two waves: what is left of the rest.
    fn rest_of(&self, key: &AppKey) -> Option<Duration> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let left = resting.get(key)?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            resting.remove(key);
            return None;
        }
        Some(left)
    }

    fn rest(&self, key: &AppKey, pause: Duration) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Instant::now() + pause);
    }

    /// Writes into the operation's record. Other fields may change meanwhile (a refresh, a label): then it is
    /// written anew, as long as the operation is still ours, that is, running with our start time.
    async fn write(&self, app: &mut Application, mut patch: Value) -> Result<(), SyncerError> {
        let key = app.key();
        loop {
            patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
            match self.applications.patch(&key, &patch).await {
                Ok(written) => {
                    *app = written;
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {
                    let fresh = self.applications.get(&key).await?.ok_or(SyncerError::NotOurs)?;
                    if !record::same_operation(app, &fresh) {
                        return Err(SyncerError::NotOurs);
                    }
                    *app = fresh;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn finish(
        &self,
        mut app: Application,
        operation: &Operation,
        ended: Ended,
        item: &WorkItem,
    ) -> Result<Outcome, SyncerError> {
        let key = app.key();
        // What was changed is told first: the audit must not lack what a crash right here would hide.
        self.bus.audit(audit(&app, operation, &ended, item), &item.cause).await?;
        fault::point("end audited");
        if let Some((patch, pause)) = record::schedule_retry(&app, operation, &ended, &now()) {
            return match self.write(&mut app, patch).await {
                Ok(()) => Ok(Outcome::Again(pause)),
                Err(SyncerError::NotOurs) => self.again(&key, item).await.map(|()| Outcome::Done),
                Err(error) => Err(error),
            };
        }
        let opid = record::opid(&app);
        let patch = record::end(&app, operation, &ended, &now());
        match self.write(&mut app, patch).await {
            Err(SyncerError::NotOurs) => return Ok(Outcome::Done),
            other => other?,
        }
        fault::point("end recorded");
        self.events.tell(&app, Told::completed(operation, &ended.revision, ended.phase, &ended.message));
        let event = Event::SyncFinished {
            app: key.clone(),
            project: app.spec.project.clone(),
            opid,
            phase: format!("{:?}", ended.phase),
            message: ended.message,
            revision: ended.revision,
        };
        self.emit(event, item);
        let note = WorkNote { hard: false, reason: "operation finished".to_owned() };
        self.bus.wake(&Work::Compare { app: key }, note, &item.cause).await?;
        Ok(Outcome::Done)
    }

    fn emit(&self, event: Event, item: &WorkItem) {
        let (bus, cause) = (self.bus.clone(), item.cause.clone());
        tokio::spawn(async move {
            if let Err(error) = bus.emit(event, &cause).await {
                tracing::warn!(%error, "event not recorded");
            }
        });
    }
}

fn audit(app: &Application, operation: &Operation, ended: &Ended, item: &WorkItem) -> AuditRecord {
    let changed = |entry: &&Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        text("status") == "Pruned" || (text("status") == "Synced" && !text("message").ends_with(" unchanged"))
    };
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let changes: Vec<Value> = ended.resources.iter().filter(changed).map(|entry| {
        let resource = ["group", "kind", "namespace", "name"].map(|field| text(entry, field)).join("/");
        json!({"resource": resource, "phase": entry["syncPhase"], "status": entry["status"], "message": entry["message"]})
    }).collect();
    let by = operation.initiated_by.as_ref();
    let actor = if by.is_some_and(|by| by.automated) {
        "sa:syncer".to_owned()
    } else {
        format!("user:{}", by.and_then(|by| by.username.clone()).unwrap_or_default())
    };
    AuditRecord {
        project: app.spec.project.clone(),
        verb: "apply".to_owned(),
        actor,
        app: Some(app.key()),
        resource: None,
        outcome: format!("{:?}", ended.phase),
        reason: item.note.reason.clone(),
        detail: json!({"operation": record::opid(app), "revision": ended.revision, "message": ended.message, "changes": changes}),
    }
}

impl Stage for Syncer {
    type Key = AppKey;
    const NAME: &'static str = "syncer";
    const KIND: WorkKind = WorkKind::Sync;
    const SLOTS: usize = 8;

    fn key(item: &WorkItem) -> Option<AppKey> {
        match &item.work {
            Work::Sync { app } => Some(app.clone()),
            _ => None,
        }
    }

    async fn run(&self, item: WorkItem) -> Outcome {
        let Work::Sync { app } = &item.work else { return Outcome::Done };
        match self.work(&app.clone(), &item).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(%app, %error, "sync not finished; it is resumed");
                Outcome::Again(Duration::from_secs(1))
            }
        }
    }
}

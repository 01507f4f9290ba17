//! Carries out an Application's operation: dry run, apply in order, prune, record. Resumable: the operation is
//! in the Application, and its resourceVersion is the lock of record, so a process that comes after a SIGKILL
//! carries on and a process that lost the lock stops at its next write. All choices are `tako_engine::plan`'s.
mod record;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{AuditRecord, Bucket, Bus, BusError, Event, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application, Operation, Phase, SyncCode};
use tako_engine::plan::{self, Action, PlanInputs, Step, SyncPlan};
use tako_engine::resource::{Manifest, ResourceKey};

use crate::adapters::cluster::{Applications, Cluster, ClusterError};
use crate::adapters::git::GitCache;
use crate::compared::Compared;
use crate::differ::{ExtrasError, tracked_extras};
use crate::renderer;
use crate::runtime::stage::{Outcome, Stage};
use crate::{gather, now, targets};

/// Objects of one group of the plan written at once.
const PARALLEL: usize = 8;
/// Between two looks at what a deletion still waits for.
const CASCADE_LOOK: Duration = Duration::from_millis(300);
const FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";

/// The stage.
pub(crate) struct Syncer {
    bus: Bus,
    cluster: Cluster,
    applications: Applications,
    git: GitCache,
    compared: Compared,
    control_namespace: String,
}

#[derive(Debug, thiserror::Error)]
enum SyncerError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl From<ExtrasError> for SyncerError {
    fn from(error: ExtrasError) -> Self {
        match error {
            ExtrasError::Bus(error) => Self::Bus(error),
            ExtrasError::Cluster(error) => Self::Cluster(error),
        }
    }
}

/// What became of one step.
#[derive(Debug, Clone)]
pub(crate) struct StepResult {
    pub(crate) key: ResourceKey,
    pub(crate) version: String,
    /// `Synced`, `SyncFailed`, `Pruned`, `PruneSkipped`.
    pub(crate) status: &'static str,
    pub(crate) message: String,
    /// The cluster was changed by it.
    pub(crate) changed: bool,
}

/// How an operation ended.
pub(crate) struct Ended {
    pub(crate) phase: Phase,
    pub(crate) message: String,
    pub(crate) revision: String,
    pub(crate) results: Vec<StepResult>,
}

impl Ended {
    fn error(message: String) -> Self {
        Self { phase: Phase::Error, message, revision: String::new(), results: Vec::new() }
    }
}

impl Syncer {
    /// The stage.
    pub(crate) fn new(
        bus: Bus,
        cluster: Cluster,
        applications: Applications,
        git: GitCache,
        compared: Compared,
        control_namespace: String,
    ) -> Arc<Self> {
        Arc::new(Self { bus, cluster, applications, git, compared, control_namespace })
    }

    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Outcome, SyncerError> {
        let Some(app) = self.applications.get(key).await? else { return Ok(Outcome::Done) };
        if app.metadata.deletion_timestamp.is_some() {
            return self.cascade(app, item).await;
        }
        let Some(operation) = app.operation.clone() else { return Ok(Outcome::Done) };
        // The lock: whoever writes Running with the resourceVersion just read owns the operation.
        let running = record::begin(&app, &operation, &now());
        let app = match self.applications.patch(key, &running).await {
            Ok(app) => app,
            Err(error) if error.is_conflict() => return self.again(key, item).await.map(|()| Outcome::Done),
            Err(error) => return Err(error.into()),
        };
        let ended = match record::terminating(&app) {
            true => Ended {
                phase: Phase::Failed,
                message: "Operation terminated".to_owned(),
                revision: String::new(),
                results: Vec::new(),
            },
            false => self.carry_out(&app, &operation, item).await?,
        };
        self.finish(key, app, &operation, ended, item).await.map(|()| Outcome::Done)
    }

    async fn again(&self, key: &AppKey, item: &WorkItem) -> Result<(), SyncerError> {
        let note = WorkNote { hard: false, reason: "the Application changed meanwhile".to_owned() };
        Ok(self.bus.wake(&Work::Sync { app: key.clone() }, note, &item.cause).await?)
    }

    /// The manifests at the operation's revision: the target state if that is the one, else rendered for it.
    async fn manifests(
        &self,
        app: &Application,
        operation: &Operation,
    ) -> Result<Result<(String, Vec<Value>), String>, SyncerError> {
        let record = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&app.key().token()).await?.unwrap_or_default();
        let wanted = operation.sync.as_ref().and_then(|sync| sync.revision.clone()).unwrap_or_default();
        let names_target = wanted.is_empty()
            || wanted == record.revision
            || app.source().and_then(|source| source.target_revision.clone()).unwrap_or_default() == wanted;
        if names_target {
            if let Some(error) = record.error {
                return Ok(Err(format!("ComparisonError: {error}")));
            }
            if let Some(raw) = targets::load(&self.bus, &record).await? {
                return Ok(Ok((record.revision, raw)));
            }
        }
        let revision = if names_target && !record.revision.is_empty() { record.revision } else { wanted };
        let Some(source) = app.source().cloned() else {
            return Ok(Err("spec.source: missing; set repoURL and path".to_owned()));
        };
        let git = self.git.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let commit = git.repository(&source.repo_url)?.fetch()?.resolve(&revision).ok_or_else(|| {
                crate::adapters::git::GitError::NoRevision {
                    url: crate::adapters::git::redact(&source.repo_url),
                    revision: revision.clone(),
                }
            })?;
            renderer::render(&git, &source, &commit).map(|rendered| (commit, rendered.manifests))
        })
        .await;
        Ok(match rendered {
            Ok(rendered) => rendered.map_err(|error| error.to_string()),
            Err(_) => Err("the render ended unexpectedly; see the log of tako".to_owned()),
        })
    }

    async fn carry_out(&self, app: &Application, operation: &Operation, item: &WorkItem) -> Result<Ended, SyncerError> {
        let (revision, raw) = match self.manifests(app, operation).await? {
            Ok(found) => found,
            Err(message) => return Ok(Ended::error(message)),
        };
        self.cluster.ready().await?;
        let (manifests, _) = targets::finish(raw, app, &self.control_namespace, &self.cluster);
        let extras = tracked_extras(&self.bus, &self.cluster, app, &manifests, &self.control_namespace).await?;
        let sync = operation.sync.clone().unwrap_or_default();
        let options = if sync.sync_options.is_empty() {
            app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone()).unwrap_or_default()
        } else {
            sync.sync_options.clone()
        };
        if options.iter().any(|option| option == "CreateNamespace=true") && sync.resources.is_empty() {
            self.add_namespace(app, &manifests).await?;
        }
        let plan = plan::plan_sync(&PlanInputs {
            targets: manifests,
            extras,
            prune: sync.prune,
            options: options.clone(),
            selected: sync.resources.clone(),
        });
        let started = Event::SyncStarted {
            app: app.key(),
            project: app.spec.project.clone(),
            opid: record::opid(app),
            revision: revision.clone(),
            automated: operation.initiated_by.as_ref().is_some_and(|by| by.automated),
        };
        self.emit(started, item);
        let failures = self.dry_run(&plan).await?;
        if !failures.is_empty() {
            return Ok(Ended {
                phase: Phase::Failed,
                message: "one or more objects failed to apply (dry run)".to_owned(),
                revision,
                results: failures,
            });
        }
        if sync.dry_run {
            return Ok(Ended {
                phase: Phase::Succeeded,
                message: "successfully synced (all tasks run)".to_owned(),
                revision,
                results: Vec::new(),
            });
        }
        let results = self.run(&plan).await?;
        let failed = results.iter().any(|result| result.status == "SyncFailed");
        let (phase, message) = if failed {
            (Phase::Failed, "one or more objects failed to apply")
        } else {
            (Phase::Succeeded, "successfully synced (all tasks run)")
        };
        Ok(Ended { phase, message: message.to_owned(), revision, results })
    }

    /// The destination namespace, first of all and without our mark, unless it is there (option CreateNamespace).
    async fn add_namespace(&self, app: &Application, manifests: &[Manifest]) -> Result<(), SyncerError> {
        let name = app.spec.destination.namespace.clone().unwrap_or_default();
        let namespace = Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        let in_git = manifests.iter().any(|manifest| manifest.key() == namespace.key());
        if !name.is_empty() && !in_git && self.cluster.get(&namespace).await?.is_none() {
            self.cluster.apply(&namespace, false).await?;
        }
        Ok(())
    }

    /// Every object is tried before any is written. Those known to be as wanted need no trial.
    async fn dry_run(&self, plan: &SyncPlan) -> Result<Vec<StepResult>, SyncerError> {
        let fresh_namespaces: Vec<String> =
            plan.steps.iter().filter(|step| step.key.kind == "Namespace").map(|step| step.key.name.clone()).collect();
        let crds = plan.steps.iter().any(|step| step.key.kind == "CustomResourceDefinition");
        let mut steps = Vec::new();
        let mut trials = Vec::new();
        for step in &plan.steps {
            if let Action::Apply(manifest) = &step.action
                && !fresh_namespaces.contains(&step.key.namespace)
            {
                steps.push(step);
                trials.push(self.cluster.apply(manifest, true));
            }
        }
        let outcomes = gather(trials, PARALLEL).await;
        let mut failures = Vec::new();
        for (step, outcome) in steps.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                // The CRD comes with this very sync.
                Err(ClusterError::UnknownKind { .. }) if crds => {}
                Err(error) if error.is_refusal() => failures.push(failure(step, &error)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(failures)
    }

    /// Runs the plan group by group: steps of one wave and kind go together, groups one after the other.
    async fn run(&self, plan: &SyncPlan) -> Result<Vec<StepResult>, SyncerError> {
        let mut results = Vec::with_capacity(plan.steps.len());
        let mut rest = plan.steps.as_slice();
        while let Some(first) = rest.first() {
            let same = |step: &Step| {
                step.wave == first.wave
                    && step.key.kind == first.key.kind
                    && std::mem::discriminant(&step.action) == std::mem::discriminant(&first.action)
            };
            let length = rest.iter().take_while(|step| same(step)).count();
            let (group, later) = rest.split_at(length);
            let runs: Vec<_> = group.iter().map(|step| self.step(step)).collect();
            for outcome in gather(runs, PARALLEL).await {
                results.push(outcome?);
            }
            if results.iter().any(|result: &StepResult| result.status == "SyncFailed") {
                break;
            }
            rest = later;
        }
        Ok(results)
    }

    async fn step(&self, step: &Step) -> Result<StepResult, SyncerError> {
        let result = |status, message: String, changed| StepResult {
            key: step.key.clone(),
            version: step.version.clone(),
            status,
            message,
            changed,
        };
        match &step.action {
            Action::Skip { reason } => Ok(result("PruneSkipped", reason.clone(), false)),
            Action::Prune { uid } => match self.cluster.delete(&step.key, uid, false).await {
                Ok(()) => Ok(result("Pruned", "pruned".to_owned(), true)),
                Err(error) if error.is_refusal() => Ok(failure(step, &error)),
                Err(error) => Err(error.into()),
            },
            Action::Apply(manifest) => {
                let before = self.cluster.get(manifest).await.unwrap_or_default();
                match self.cluster.apply(manifest, false).await {
                    Ok(live) => {
                        self.compared.remember(manifest, &live, SyncCode::Synced);
                        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                        let word = match &before {
                            None => "created",
                            Some(before) if version(before) == version(&live) => "unchanged",
                            Some(_) => "serverside-applied",
                        };
                        let message = format!("{}/{} {word}", step.key.kind.to_lowercase(), step.key.name);
                        Ok(result("Synced", message, word != "unchanged"))
                    }
                    Err(error) if error.is_refusal() => Ok(failure(step, &error)),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn finish(
        &self,
        key: &AppKey,
        app: Application,
        operation: &Operation,
        ended: Ended,
        item: &WorkItem,
    ) -> Result<(), SyncerError> {
        // What was changed is told first: the audit must not lack what a crash right here would hide.
        let changes: Vec<Value> = ended.results.iter().filter(|result| result.changed).map(|result| json!({"resource": result.key.to_string(), "status": result.status, "message": result.message})).collect();
        let actor = if operation.initiated_by.as_ref().is_some_and(|by| by.automated) {
            "sa:syncer".to_owned()
        } else {
            format!("user:{}", operation.initiated_by.as_ref().and_then(|by| by.username.clone()).unwrap_or_default())
        };
        let audit = AuditRecord {
            project: app.spec.project.clone(),
            verb: "apply".to_owned(),
            actor,
            app: Some(key.clone()),
            resource: None,
            outcome: format!("{:?}", ended.phase),
            reason: item.note.reason.clone(),
            detail: json!({"revision": ended.revision, "message": ended.message, "changes": changes}),
        };
        self.bus.audit(audit, &item.cause).await?;
        let mut patch = record::end(&app, operation, &ended, &now());
        match self.applications.patch(key, &patch).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {
                // Another field changed (a refresh, a label). The operation is still ours if it still runs with our start time.
                let Some(fresh) = self.applications.get(key).await? else { return Ok(()) };
                if !record::same_operation(&app, &fresh) {
                    return Ok(());
                }
                patch["metadata"]["resourceVersion"] = json!(fresh.metadata.resource_version);
                self.applications.patch(key, &patch).await?;
            }
            Err(error) => return Err(error.into()),
        }
        let event = Event::SyncFinished {
            app: key.clone(),
            project: app.spec.project.clone(),
            opid: record::opid(&app),
            phase: format!("{:?}", ended.phase),
            message: ended.message.clone(),
            revision: ended.revision.clone(),
        };
        self.emit(event, item);
        let note = WorkNote { hard: false, reason: "operation finished".to_owned() };
        Ok(self.bus.wake(&Work::Compare { app: key.clone() }, note, &item.cause).await?)
    }

    /// Deletion of the Application with its resources (finalizer). CRDs and `Delete=false` objects stay.
    async fn cascade(&self, app: Application, item: &WorkItem) -> Result<Outcome, SyncerError> {
        let ours = |finalizer: &String| finalizer == FINALIZER || finalizer.starts_with(&format!("{FINALIZER}/"));
        if !app.metadata.finalizers.iter().any(ours) {
            return Ok(Outcome::Done);
        }
        let key = app.key();
        let mut left = 0;
        for (resource, live) in tracked_extras(&self.bus, &self.cluster, &app, &[], &self.control_namespace).await? {
            if plan::kept_on_delete(&live) {
                continue;
            }
            let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
            self.cluster.delete(&resource, uid, false).await?;
            left += 1;
            let audit = AuditRecord {
                project: app.spec.project.clone(),
                verb: "delete".to_owned(),
                actor: "sa:syncer".to_owned(),
                app: Some(key.clone()),
                resource: Some(resource.to_string()),
                outcome: "Deleted".to_owned(),
                reason: format!("application {key} was deleted with its resources"),
                detail: Value::Null,
            };
            self.bus.audit(audit, &item.cause).await?;
        }
        if left > 0 {
            // The observer sees them go, but not whether all have gone: look again soon.
            return Ok(Outcome::Again(CASCADE_LOOK));
        }
        let kept: Vec<&String> = app.metadata.finalizers.iter().filter(|finalizer| !ours(finalizer)).collect();
        self.applications
            .patch(&key, &json!({"metadata": {"finalizers": kept, "resourceVersion": app.metadata.resource_version}}))
            .await?;
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

fn failure(step: &Step, error: &ClusterError) -> StepResult {
    StepResult {
        key: step.key.clone(),
        version: step.version.clone(),
        status: "SyncFailed",
        message: error.to_string(),
        changed: false,
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

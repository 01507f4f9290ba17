//! Deletion of an Application: its hooks and its objects, led by [`tako_engine::deletion`]. Each look starts from the
//! finalizers and the cluster; nothing is kept in memory.
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{AuditRecord, Bucket, TargetRecord, Work, WorkItem, WorkNote};
use tako_engine::app::{AppKey, Application};
use tako_engine::deletion::{self, Next, Stage};
use tako_engine::hook::{self, SyncPhase};
use tako_engine::options::Propagation;
use tako_engine::plan::{self, Action, PlanInputs, Step};
use tako_engine::resource::ResourceKey;
use tako_engine::validate::SpecProblem;

use super::{Syncer, SyncerError, record};
use crate::adapters::cluster::{Cluster, ClusterError};
use crate::app_events::Told;
use crate::differ::{condition, tracked_extras};
use crate::permits::{Permit, destination_known, permit};
use crate::runtime::fault;
use crate::runtime::stage::Outcome;
use crate::{gather, now, targets};

/// Between two looks at what a deletion still waits for.
const LOOK: Duration = Duration::from_millis(300);
/// The same while all that can be done is to wait.
const LOOK_WAITING: Duration = Duration::from_secs(1);
/// Between two looks at what only a person can set right.
const LOOK_FAILED: Duration = Duration::from_secs(5);
/// Objects deleted at once.
const PARALLEL: usize = 8;

impl Syncer {
    /// One look at a deletion.
    pub(super) async fn delete(&self, app: Application, item: &WorkItem) -> Result<Outcome, SyncerError> {
        let finalizers = &app.metadata.finalizers;
        let Some(stage) = deletion::stage(finalizers) else { return Ok(Outcome::Done) };
        if !destination_known(&app) {
            // The cluster is not to be reached any more: the Application could never go.
            let reason = "its objects are left: the destination is not a known cluster".to_owned();
            let audit = self.deletion_audit(&app, None, "Released", reason);
            self.bus.audit(audit, &item.cause).await?;
            return self.put_finalizers(&app, deletion::without_ours(finalizers)).await;
        }
        self.cluster.ready().await?;
        match stage {
            Stage::Objects(how) => self.delete_objects(&app, how, item).await,
            Stage::Hooks(phase) => self.run_hooks(&app, phase, item).await,
            Stage::CleanUp(phase) => self.clean_hooks(&app, phase, item).await,
        }
    }

    async fn delete_objects(
        &self,
        app: &Application,
        how: Propagation,
        item: &WorkItem,
    ) -> Result<Outcome, SyncerError> {
        let options = app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone()).unwrap_or_default();
        let approved = record::approved(app, record::deletion_asked(app));
        let settings = self.settings.compiled();
        let ours = (self.control_namespace.as_str(), &settings);
        let mut live = tracked_extras(&self.bus, &self.cluster, app, &[], ours).await?;
        let cluster = match permit(&self.projects, app, &self.control_namespace) {
            Permit::NotYet => return Ok(Outcome::Again(LOOK)),
            // Outside the bounds nothing is deleted, whatever else is wrong with the Application.
            Permit::Granted(grant) | Permit::Refused { grant: Some(grant), .. } => {
                live.retain(|(key, _)| grant.permits_live(key));
                match self.in_the_name_of(app, &grant)? {
                    Ok(cluster) => cluster,
                    Err(problem) => return self.hold(app, &problem).await,
                }
            }
            Permit::Refused { problems, grant: None } => return self.hold(app, &told(&problems)).await,
        };
        let wave = deletion::next_wave(&live, &own_key(&app.key()), &options, approved);
        let deletions = wave.delete.iter().map(|at| self.delete_object(app, &live[*at], (how, &cluster), item));
        // What is allowed is done, whatever is refused beside it.
        let mut refused = Vec::new();
        for outcome in gather(deletions.collect(), PARALLEL).await {
            refused.extend(outcome?);
        }
        if !refused.is_empty() {
            return self.hold(app, &refused.join("; ")).await;
        }
        if !wave.left {
            return self.put_finalizers(app, deletion::without(&app.metadata.finalizers, Stage::Objects(how))).await;
        }
        if !wave.unconfirmed.is_empty() {
            let names: Vec<String> = wave.unconfirmed.iter().map(|at| live[*at].0.to_string()).collect();
            tracing::info!(app = %app.key(), objects = names.join(", "), "deletion waits for approval");
        }
        self.release_hooks(&live).await?;
        // The observer sees them go, but not whether all have gone: look again, soon while there is something to do.
        Ok(Outcome::Again(if wave.delete.is_empty() { LOOK_WAITING } else { LOOK }))
    }

    /// Hooks on their way out are let go of, whoever deleted them.
    async fn release_hooks(&self, live: &[(ResourceKey, Value)]) -> Result<(), SyncerError> {
        for (key, live) in live.iter().filter(|(_, live)| !live["metadata"]["deletionTimestamp"].is_null()) {
            let finalizers = live["metadata"]["finalizers"].as_array();
            if finalizers.is_some_and(|all| all.iter().any(|one| one == hook::FINALIZER)) {
                let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
                self.cluster.release(key, hook::FINALIZER, uid).await?;
            }
        }
        Ok(())
    }

    /// Deletes one in the name that `cluster` has; answers why it may not be, if it may not.
    async fn delete_object(
        &self,
        app: &Application,
        (key, live): &(ResourceKey, Value),
        (how, cluster): (Propagation, &Cluster),
        item: &WorkItem,
    ) -> Result<Option<String>, SyncerError> {
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        match cluster.delete(key, uid, how).await {
            Err(error) if error.is_refusal() => return Ok(Some(format!("{key}: {error}"))),
            other => other?,
        }
        fault::point("object deleted");
        if live["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == hook::FINALIZER)) {
            self.cluster.release(key, hook::FINALIZER, uid).await?;
        }
        self.events.tell(app, Told::deleted(&key.group, &key.kind, &key.name));
        let reason = format!("application {} was deleted with its resources", app.key());
        self.bus.audit(self.deletion_audit(app, Some(key), "Deleted", reason), &item.cause).await?;
        Ok(None)
    }

    async fn run_hooks(&self, app: &Application, phase: SyncPhase, item: &WorkItem) -> Result<Outcome, SyncerError> {
        let grant = match permit(&self.projects, app, &self.control_namespace) {
            Permit::NotYet => return Ok(Outcome::Again(LOOK)),
            Permit::Granted(grant) => grant,
            Permit::Refused { problems, .. } => return self.hold(app, &told(&problems)).await,
        };
        let (steps, live) = match self.deletion_hooks(app, phase, item).await? {
            Ok(found) => found,
            Err(problem) => return self.hold(app, &problem).await,
        };
        let scope = |key: &ResourceKey| self.cluster.namespaced(&key.group, &key.kind);
        if let Some(why) = steps.iter().find_map(|step| grant.refuses(&step.key, scope(&step.key))) {
            return self.hold(app, &why).await;
        }
        let cluster = match self.in_the_name_of(app, &grant)? {
            Ok(cluster) => cluster,
            Err(problem) => return self.hold(app, &problem).await,
        };
        let healths = self.healths.now();
        match deletion::lead(&steps, &live, |live| hook::progress(live, &healths)) {
            Next::Make(wave) => {
                for at in wave {
                    let Action::Apply(manifest) = &steps[at].action else { continue };
                    if let Err(error) = cluster.apply_strictly(manifest, steps[at].writing.lenient, false).await {
                        if !error.is_refusal() {
                            return Err(error.into());
                        }
                        return self.hold(app, &format!("hook {}: {error}", steps[at].key)).await;
                    }
                    fault::point("deletion hook made");
                    let reason = format!("{phase:?} hook of application {}", app.key());
                    let audit = self.deletion_audit(app, Some(&steps[at].key), "Created", reason);
                    self.bus.audit(audit, &item.cause).await?;
                }
                Ok(Outcome::Again(LOOK))
            }
            Next::Replace(at, uid) => {
                match cluster.delete(&steps[at].key, &uid, Propagation::Foreground).await {
                    Err(error) if error.is_refusal() => {
                        return self.hold(app, &format!("hook {}: {error}", steps[at].key)).await;
                    }
                    other => other?,
                }
                self.cluster.release(&steps[at].key, hook::FINALIZER, &uid).await?;
                Ok(Outcome::Again(LOOK))
            }
            Next::Wait(message) => {
                tracing::debug!(app = %app.key(), message, "deletion waits");
                for (step, live) in steps.iter().zip(&live) {
                    self.release_deleted(step, live.as_ref()).await?;
                }
                Ok(Outcome::Again(LOOK))
            }
            Next::Fail(problem) => self.hold(app, &problem).await,
            Next::Done => {
                self.put_finalizers(app, deletion::without(&app.metadata.finalizers, Stage::Hooks(phase))).await
            }
        }
    }

    /// A hook that somebody deletes is let go of.
    async fn release_deleted(&self, step: &Step, live: Option<&Value>) -> Result<(), SyncerError> {
        let Some(live) = live.filter(|live| !live["metadata"]["deletionTimestamp"].is_null()) else { return Ok(()) };
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        Ok(self.cluster.release(&step.key, hook::FINALIZER, uid).await?)
    }

    async fn clean_hooks(&self, app: &Application, phase: SyncPhase, item: &WorkItem) -> Result<Outcome, SyncerError> {
        // What cannot be rendered any more has no hooks to be cleaned: they stay where they are.
        let (steps, live) = self.deletion_hooks(app, phase, item).await?.unwrap_or_default();
        let healths = self.healths.now();
        let deleted = deletion::cleaned(&steps, &live, |live| hook::progress(live, &healths));
        let cluster = match permit(&self.projects, app, &self.control_namespace) {
            Permit::NotYet => return Ok(Outcome::Again(LOOK)),
            Permit::Granted(grant) | Permit::Refused { grant: Some(grant), .. } => self.in_the_name_of(app, &grant)?,
            // In whose name they would be deleted, nobody can tell any more.
            Permit::Refused { problems, grant: None } => Err(told(&problems)),
        };
        for (at, step) in steps.iter().enumerate() {
            match (deleted.contains(&at), &cluster) {
                (false, _) => self.let_go(step, None).await?,
                (true, Err(problem)) => return self.hold(app, problem).await,
                (true, Ok(cluster)) => match self.let_go(step, Some(cluster)).await {
                    Err(SyncerError::Cluster(error)) if error.is_refusal() => {
                        return self.hold(app, &format!("hook {}: {error}", step.key)).await;
                    }
                    other => other?,
                },
            }
        }
        self.put_finalizers(app, deletion::without(&app.metadata.finalizers, Stage::CleanUp(phase))).await
    }

    /// The hooks of a phase with their live objects.
    async fn deletion_hooks(
        &self,
        app: &Application,
        phase: SyncPhase,
        item: &WorkItem,
    ) -> Result<Result<(Vec<Step>, Vec<Option<Value>>), String>, SyncerError> {
        let target = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&app.key().token()).await?.unwrap_or_default();
        let Some(opened) = self.load_target(app, &target).await? else {
            if target.error.is_none() {
                let note = WorkNote { hard: true, reason: "the hooks of the deletion are asked for".to_owned() };
                self.bus.wake(&Work::Render { app: app.key() }, note, &item.cause).await?;
            }
            let why = target.error.unwrap_or_else(|| "it was not rendered yet".to_owned());
            return Ok(Err(format!("the target state, which holds the {phase:?} hooks, cannot be worked out: {why}")));
        };
        let raw = match opened {
            Ok(opened) => opened.manifests,
            Err(why) => {
                return Ok(Err(format!("the target state, which holds the {phase:?} hooks, cannot be opened: {why}")));
            }
        };
        let settings = self.settings.compiled();
        let manifests = targets::finish(raw, app, &self.control_namespace, &self.cluster, &settings).manifests;
        let steps = plan::plan_deletion_hooks(
            &PlanInputs {
                targets: manifests,
                revision: target.revision,
                started: record::deletion_asked(app),
                operation: format!("{}@deletion", app.metadata.uid.clone().unwrap_or_default()),
                ..PlanInputs::default()
            },
            phase,
        );
        let reads: Vec<_> = steps.iter().map(|step| self.cluster.get_key(&step.key)).collect();
        let mut live = Vec::with_capacity(steps.len());
        for read in gather(reads, PARALLEL).await {
            live.push(match read {
                Err(ClusterError::UnknownKind { .. }) => None,
                other => other?,
            });
        }
        Ok(Ok((steps, live)))
    }

    /// Tells what holds the deletion up.
    async fn hold(&self, app: &Application, problem: &str) -> Result<Outcome, SyncerError> {
        let old = app.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let told = condition(old, "DeletionError", problem, &now());
        if !old.contains(&told) {
            let mut conditions: Vec<_> = old.iter().filter(|known| known.r#type != told.r#type).cloned().collect();
            conditions.push(told);
            self.applications.patch(&app.key(), &json!({"status": {"conditions": conditions}})).await?;
            self.events.tell(app, Told::held(problem));
        }
        Ok(Outcome::Again(LOOK_FAILED))
    }

    async fn put_finalizers(&self, app: &Application, finalizers: Vec<String>) -> Result<Outcome, SyncerError> {
        let more = deletion::stage(&finalizers).is_some();
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": app.metadata.resource_version}});
        match self.applications.patch(&app.key(), &patch).await {
            Ok(_) if more => Ok(Outcome::Again(Duration::ZERO)),
            Ok(_) => Ok(Outcome::Done),
            Err(error) if error.is_conflict() => Ok(Outcome::Again(LOOK)),
            Err(error) => Err(error.into()),
        }
    }

    fn deletion_audit(
        &self,
        app: &Application,
        resource: Option<&ResourceKey>,
        outcome: &str,
        reason: String,
    ) -> AuditRecord {
        AuditRecord {
            project: app.spec.project.clone(),
            verb: if outcome == "Created" { "apply" } else { "delete" }.to_owned(),
            actor: "sa:syncer".to_owned(),
            app: Some(app.key()),
            resource: resource.map(ToString::to_string),
            outcome: outcome.to_owned(),
            reason,
            detail: Value::Null,
        }
    }
}

fn told(problems: &[SpecProblem]) -> String {
    problems.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ")
}

fn own_key(key: &AppKey) -> ResourceKey {
    ResourceKey {
        group: "argoproj.io".to_owned(),
        kind: "Application".to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

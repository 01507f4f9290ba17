//! One look at a running operation: makes its plan, asks [`tako_engine::progress`] what comes next, does it, and
//! records how far it is before anything that must not happen twice.
use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{Bucket, Event, TargetRecord, WorkItem};
use tako_engine::app::{Application, Operation, Phase};
use tako_engine::options;
use tako_engine::plan::{self, PlanInputs, SyncPlan};
use tako_engine::progress::{self, Next, Progress, Standing};
use tako_engine::resource::Manifest;

use super::steps::Untouched;
use super::{Carried, Ended, Syncer, SyncerError, record};
use crate::adapters::git::GitError;
use crate::differ::tracked_extras;
use crate::runtime::fault;
use crate::{renderer, targets};

/// Between two waves, so that controllers have seen the one before they are asked for its health (Argo CD's default).
const WAVE_DELAY: Duration = Duration::from_secs(2);
/// Between two looks at what is waited for, besides the looks that live changes bring.
const LOOK: Duration = Duration::from_secs(2);

impl Syncer {
    pub(super) async fn carry_out(
        &self,
        app: &mut Application,
        operation: &Operation,
        item: &WorkItem,
    ) -> Result<Carried, SyncerError> {
        let (revision, raw) = match self.manifests(app, operation).await? {
            Ok(found) => found,
            Err(message) if record::terminating(app) => {
                tracing::warn!(app = %app.key(), message, "ended without its plan; its hooks stay");
                return Ok(Carried::Ended(Ended {
                    phase: Phase::Failed,
                    again: false,
                    ..Ended::error("Operation terminated".to_owned())
                }));
            }
            Err(message) => return Ok(Carried::Ended(Ended::error(message))),
        };
        self.cluster.ready().await?;
        let plan = self.plan(app, operation, &revision, raw).await?;
        let entries = record::entries(app);
        let mut progress = Progress::resume(&plan, &entries);
        if record::terminating(app) {
            return self.stop(app, &plan, progress, &revision, "Operation terminated").await;
        }
        if entries.is_empty() {
            let started = Event::SyncStarted {
                app: app.key(),
                project: app.spec.project.clone(),
                opid: record::opid(app),
                revision: revision.clone(),
                automated: operation.initiated_by.as_ref().is_some_and(|by| by.automated),
            };
            self.emit(started, item);
            if let Some((phase, message)) = self.try_out(app, operation, &plan, &mut progress).await? {
                let resources = progress.entries(&plan);
                return Ok(Carried::Ended(Ended { phase, message, revision, resources, again: true }));
            }
        }
        let rules = self.rules.of(app);
        let untouched = match rules.as_ref() {
            Ok(rules) => {
                let given = given_options(app, operation);
                let respect = options::of_application(&given, "RespectIgnoreDifferences") == Some("true");
                Untouched { rules, respect }
            }
            Err(problem) => return Ok(Carried::Ended(Ended::error(format!("ComparisonError: {problem}")))),
        };
        fault::point("dry run passed");
        self.lead(app, operation, &plan, progress, &revision, &untouched).await
    }

    /// Before anything is written: what stands in the way ends the operation, and so does success when only trying was
    /// asked for.
    async fn try_out(
        &self,
        app: &Application,
        operation: &Operation,
        plan: &SyncPlan,
        progress: &mut Progress,
    ) -> Result<Option<(Phase, String)>, SyncerError> {
        let given = given_options(app, operation);
        if options::of_application(&given, "FailOnSharedResource") == Some("true") {
            let instance = targets::instance_name(&app.key(), &self.control_namespace);
            let shared = self.shared(plan, &instance).await?;
            if !shared.is_empty() {
                return Ok(Some((Phase::Failed, format!("Shared resource found: {}", shared.join(", ")))));
            }
        }
        let only_trying = operation.sync.as_ref().is_some_and(|sync| sync.dry_run);
        let to_come = match options::of_application(&given, "CreateNamespace") {
            Some("true") if only_trying => app.spec.destination.namespace.clone(),
            _ => None,
        };
        let failures = self.dry_run(plan, to_come.as_deref()).await?;
        if !failures.is_empty() {
            for (at, record) in failures {
                progress.records[at] = record;
            }
            return Ok(Some((Phase::Failed, "one or more objects failed to apply (dry run)".to_owned())));
        }
        Ok(only_trying.then(|| (Phase::Succeeded, "successfully synced (all tasks run)".to_owned())))
    }

    /// Leads the operation on until it waits or ends.
    async fn lead(
        &self,
        app: &mut Application,
        operation: &Operation,
        plan: &SyncPlan,
        mut progress: Progress,
        revision: &str,
        untouched: &Untouched<'_>,
    ) -> Result<Carried, SyncerError> {
        let mut released = HashSet::new();
        loop {
            let live = self.live(plan, &progress.watched(plan)).await?;
            let next = progress.advance(plan, |at| live.get(&at).cloned());
            // The end of a hook is on record before the hook is let go of: what it came to cannot be lost.
            let ended: Vec<_> = progress.ended_hooks(plan).into_iter().filter(|(at, _)| released.insert(*at)).collect();
            if !ended.is_empty() {
                fault::point("hook ended");
                self.note(app, plan, &progress, revision, "").await?;
                fault::point("hook's end recorded");
                for (at, delete) in ended {
                    self.let_go(&plan.steps[at], delete).await?;
                }
                fault::point("hook let go");
            }
            match next {
                Next::End(phase, message) => {
                    let resources = progress.entries(plan);
                    let revision = revision.to_owned();
                    return Ok(Carried::Ended(Ended { phase, message, revision, resources, again: true }));
                }
                Next::Wait(message) => {
                    let yields = progress::may_yield(plan, &progress, |at| live.get(&at).cloned());
                    if let Some(newer) = self.superseded(app, operation).await?.filter(|_| yields) {
                        let why = format!("superseded by {newer}: was {message}");
                        return self.stop(app, plan, progress, revision, &why).await;
                    }
                    self.note(app, plan, &progress, revision, &message).await?;
                    return Ok(Carried::Waiting(LOOK));
                }
                Next::Run(wave) => {
                    let begun = self.run_wave(plan, &wave, untouched).await?;
                    fault::point("wave run");
                    let waiting = begun.len() < wave.len()
                        && !begun.iter().any(|(_, record)| record.standing == Standing::Failed);
                    let changed = begun.iter().any(|(_, record)| !record.message.ends_with(" unchanged"));
                    for (at, record) in begun {
                        progress.records[at] = record;
                    }
                    if !plan.waits() {
                        continue;
                    }
                    let message = "one or more tasks are running";
                    self.note(app, plan, &progress, revision, message).await?;
                    fault::point("wave recorded");
                    if waiting {
                        return Ok(Carried::Waiting(LOOK / 4));
                    }
                    if changed && progress.goes_on(plan) {
                        self.rest(&app.key(), WAVE_DELAY);
                        return Ok(Carried::Waiting(WAVE_DELAY));
                    }
                }
            }
        }
    }

    /// Puts on record how far the operation is, if that is not there already.
    async fn note(
        &self,
        app: &mut Application,
        plan: &SyncPlan,
        progress: &Progress,
        revision: &str,
        message: &str,
    ) -> Result<(), SyncerError> {
        match record::progress(app, revision, &progress.entries(plan), message) {
            Some(patch) => self.write(app, patch).await,
            None => Ok(()),
        }
    }

    /// Ends the operation where it stands; running hooks are deleted.
    async fn stop(
        &self,
        app: &mut Application,
        plan: &SyncPlan,
        mut progress: Progress,
        revision: &str,
        why: &str,
    ) -> Result<Carried, SyncerError> {
        let hooks = progress.stop(plan, why);
        self.note(app, plan, &progress, revision, why).await?;
        for at in hooks {
            self.let_go(&plan.steps[at], true).await?;
        }
        Ok(Carried::Ended(Ended {
            phase: Phase::Failed,
            message: why.to_owned(),
            revision: revision.to_owned(),
            resources: progress.entries(plan),
            again: false,
        }))
    }

    /// The newer commit that an automated operation should give way to. Option `Supersede=false` turns that off.
    pub(super) async fn superseded(
        &self,
        app: &Application,
        operation: &Operation,
    ) -> Result<Option<String>, SyncerError> {
        let automated = operation.initiated_by.as_ref().is_some_and(|by| by.automated);
        let pinned = record::pinned(app);
        if !automated
            || pinned.is_empty()
            || options::of_application(&given_options(app, operation), "Supersede") == Some("false")
        {
            return Ok(None);
        }
        let record = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&app.key().token()).await?.unwrap_or_default();
        let newer = record.error.is_none() && !record.revision.is_empty() && record.revision != pinned;
        Ok(newer.then_some(record.revision))
    }

    async fn plan(
        &self,
        app: &Application,
        operation: &Operation,
        revision: &str,
        raw: Vec<Value>,
    ) -> Result<SyncPlan, SyncerError> {
        let settings = self.rules.settings().compiled();
        let manifests = targets::finish(raw, app, &self.control_namespace, &self.cluster, &settings).manifests;
        let ours = (self.control_namespace.as_str(), &*settings.tracking);
        let extras = tracked_extras(&self.bus, &self.cluster, app, &manifests, ours).await?;
        let sync = operation.sync.clone().unwrap_or_default();
        let options_given = given_options(app, operation);
        if options::of_application(&options_given, "CreateNamespace") == Some("true")
            && sync.resources.is_empty()
            && !sync.dry_run
        {
            self.add_namespace(app, &manifests).await?;
        }
        let only = (options::of_application(&options_given, "ApplyOutOfSyncOnly") == Some("true"))
            .then(|| record::out_of_sync(app, revision))
            .flatten();
        Ok(plan::plan_sync(&PlanInputs {
            targets: manifests,
            extras,
            prune: sync.prune,
            options: options_given,
            selected: sync.resources.clone(),
            without_hooks: sync.other.get("syncStrategy").is_some_and(|strategy| strategy["apply"].is_object()),
            revision: revision.to_owned(),
            started: record::started(app),
            operation: record::opid(app),
            only,
            approved: record::approved(app, record::started(app)),
        }))
    }

    /// The manifests at the operation's revision: the target state if that is the one, else rendered for it.
    async fn manifests(
        &self,
        app: &Application,
        operation: &Operation,
    ) -> Result<Result<(String, Vec<Value>), String>, SyncerError> {
        let target = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&app.key().token()).await?.unwrap_or_default();
        // What has begun goes on with the commit that it began with.
        let pinned = record::pinned(app);
        let wanted = match operation.sync.as_ref().and_then(|sync| sync.revision.clone()) {
            _ if !pinned.is_empty() => pinned,
            Some(asked) => asked,
            None => String::new(),
        };
        let names_target = wanted.is_empty()
            || wanted == target.revision
            || app.source().and_then(|source| source.target_revision.clone()).unwrap_or_default() == wanted;
        if names_target {
            if let Some(error) = target.error {
                return Ok(Err(format!("ComparisonError: {error}")));
            }
            if let Some(raw) = targets::load(&self.bus, &target).await? {
                return Ok(Ok((target.revision, raw)));
            }
        }
        let revision = if names_target && !target.revision.is_empty() { target.revision } else { wanted };
        let Some(source) = app.source().cloned() else {
            return Ok(Err("spec.source: missing; set repoURL and path".to_owned()));
        };
        let git = self.git.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let repository = git.repository(&source.repo_url)?;
            // A commit that is here needs no fetch: an operation in progress outlives its repository's absence.
            let here = repository.has(&revision).then(|| revision.clone());
            let commit = match here {
                Some(commit) => commit,
                None => repository.fetch()?.resolve(&revision).ok_or_else(|| GitError::NoRevision {
                    url: crate::adapters::git::redact(&source.repo_url),
                    revision,
                })?,
            };
            renderer::render(&git, &source, &commit).map(|rendered| (commit, rendered.manifests))
        })
        .await;
        Ok(match rendered {
            Ok(rendered) => rendered.map_err(|error| error.to_string()),
            Err(_) => Err("the render ended unexpectedly; see the log of tako".to_owned()),
        })
    }

    /// The destination namespace, first of all and without our mark (option CreateNamespace), with the labels and
    /// annotations of `managedNamespaceMetadata`; without those, a namespace that is there is left alone.
    async fn add_namespace(&self, app: &Application, manifests: &[Manifest]) -> Result<(), SyncerError> {
        let name = app.spec.destination.namespace.clone().unwrap_or_default();
        let managed = app.spec.sync_policy.as_ref().and_then(|policy| policy.other.get("managedNamespaceMetadata"));
        let mut metadata = json!({"name": name});
        for field in ["labels", "annotations"] {
            if let Some(given) = managed.map(|managed| &managed[field]).filter(|given| given.is_object()) {
                metadata[field] = given.clone();
            }
        }
        let namespace = Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        let in_git = manifests.iter().any(|manifest| manifest.key() == namespace.key());
        if !name.is_empty() && !in_git && (managed.is_some() || self.cluster.get(&namespace).await?.is_none()) {
            self.cluster.apply(&namespace, false).await?;
        }
        Ok(())
    }
}

/// The operation's options; the Application's when it names none.
fn given_options(app: &Application, operation: &Operation) -> Vec<String> {
    let own = operation.sync.as_ref().map(|sync| sync.sync_options.clone()).unwrap_or_default();
    if !own.is_empty() {
        return own;
    }
    app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone()).unwrap_or_default()
}

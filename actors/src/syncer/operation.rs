//! One look at a running operation: makes its plan, asks [`tako_engine::progress`] what comes next, does it, and
//! records how far it is before anything that must not happen twice.
use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use tako_bus::{Bucket, Event, TargetRecord, WorkItem};
use tako_engine::app::{Application, Operation, Phase};
use tako_engine::managed_fields::MIGRATION_MANAGER;
use tako_engine::plan::{self, Action, PlanInputs, SyncPlan};
use tako_engine::progress::{self, Next, Progress, Record, Standing};
use tako_engine::resource::ResourceKey;
use tako_engine::{options, windows};

use super::namespace::Home;
use super::steps::Terms;
use super::{Carried, Ended, Syncer, SyncerError, record};
use crate::adapters::cluster::Cluster;
use crate::differ::tracked_extras;
use crate::permits::{Grant, Permit, permit};
use crate::runtime::fault;
use crate::{targets, unix_now};

/// Between two looks at what is waited for, besides the looks that live changes bring.
const LOOK: Duration = Duration::from_secs(2);
/// The same while a sync window is in the way: a project may change.
const LOOK_BLOCKED: Duration = Duration::from_secs(30);

impl Syncer {
    pub(super) async fn carry_out(
        &self,
        app: &mut Application,
        operation: &Operation,
        item: &WorkItem,
    ) -> Result<Carried, SyncerError> {
        let over = record::terminating(app);
        // The source of the operation is asked about, not that of the spec: a rollback may have another.
        let mut asked = app.clone();
        record::take_source(&mut asked, operation);
        let grant = match permit(&self.projects, &asked, &self.control_namespace) {
            Permit::NotYet => return Ok(Carried::Waiting(LOOK / 4)),
            Permit::Granted(grant) => Some(grant),
            Permit::Refused { .. } if over => None,
            Permit::Refused { problems, .. } => {
                let told: Vec<String> = problems.iter().map(|(kind, message)| format!("{kind}: {message}")).collect();
                return Ok(Carried::Ended(Ended::error(told.join("; "))));
            }
        };
        let (revision, raw) = match self.manifests(app, operation).await? {
            Ok(found) => found,
            Err(message) if over => {
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
        self.cluster.learn(&raw).await?;
        let plan = self.plan(app, operation, &revision, (raw, grant.as_ref())).await?;
        let entries = record::entries(app);
        let progress = Progress::resume(&plan, &entries);
        let Some(grant) = grant.filter(|_| !over) else {
            return self.stop(app, &plan, progress, &revision, "Operation terminated").await;
        };
        if let Some(limit) = self.settings.sync_timeout().filter(|limit| record::runs_longer(app, *limit, unix_now())) {
            let why = format!(
                "Operation terminated: it took longer than {} s (controller.sync.timeout.seconds)",
                limit.as_secs()
            );
            return self.stop(app, &plan, progress, &revision, &why).await;
        }
        if let Some(pause) = blocked(app, &grant) {
            self.note(app, &plan, &progress, &revision, "Sync operation blocked by sync window").await?;
            return Ok(Carried::Waiting(pause));
        }
        self.proceed(app, operation, &plan, progress, (&revision, &grant, item)).await
    }

    /// What may be carried out is tried first, then led.
    async fn proceed(
        &self,
        app: &mut Application,
        operation: &Operation,
        plan: &SyncPlan,
        mut progress: Progress,
        (revision, grant, item): (&str, &Grant, &WorkItem),
    ) -> Result<Carried, SyncerError> {
        let rules = self.rules.of(app);
        let rules = match rules.as_ref() {
            Ok(rules) => rules,
            Err(problem) => return self.fail(plan, &progress, revision, format!("ComparisonError: {problem}")),
        };
        let cluster = match self.in_the_name_of(app, grant)? {
            Ok(cluster) => cluster,
            Err(problem) => return self.fail(plan, &progress, revision, problem),
        };
        // At every look: the project may have been narrowed, and nobody can bring a record that spares the question.
        let scope = |key: &ResourceKey| self.cluster.namespaced(&key.group, &key.kind);
        let refused: Vec<(usize, String)> = plan
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| !matches!(step.action, Action::Skip { .. }))
            .filter_map(|(at, step)| Some((at, grant.refuses(&step.key, scope(&step.key))?)))
            .collect();
        if !refused.is_empty() {
            for (at, why) in refused {
                progress.records[at] = Record::begun(Standing::Failed, "SyncFailed", why);
            }
            let why = "one or more synchronization tasks are not valid".to_owned();
            return self.fail(plan, &progress, revision, why);
        }
        let given = given_options(app, operation);
        let respect = options::of_application(&given, "RespectIgnoreDifferences") == Some("true");
        let terms = Terms {
            cluster,
            rules,
            respect,
            schemas: self.comparing.schemas().clone(),
            migration_manager: app.metadata.annotations.get(MIGRATION_MANAGER).cloned(),
            only_trying: operation.sync.as_ref().is_some_and(|sync| sync.dry_run),
        };
        if record::entries(app).is_empty() {
            let started = Event::SyncStarted {
                app: app.key(),
                project: app.spec.project.clone(),
                opid: record::opid(app),
                revision: revision.to_owned(),
                automated: operation.initiated_by.as_ref().is_some_and(|by| by.automated),
            };
            self.emit(started, item);
            tracing::debug!(app = %app.key(), "the plan:\n{plan}");
            let home = self.home(app, operation, plan, &terms.cluster).await?;
            let stopped = self.try_out(app, operation, (plan, home.as_ref()), &mut progress, (grant, &terms)).await?;
            if let Some((phase, message)) = stopped {
                let (revision, resources) = (revision.to_owned(), progress.entries(plan));
                return Ok(Carried::Ended(Ended { phase, message, revision, resources, again: true }));
            }
            if let Some(home) = home {
                terms.cluster.apply(&home.manifest, false).await?;
            }
        }
        fault::point("dry run passed");
        self.lead(app, operation, plan, progress, revision, &terms).await
    }

    /// Ends the operation before anything of it was done.
    #[expect(clippy::unnecessary_wraps, reason = "it is what its callers answer")]
    fn fail(
        &self,
        plan: &SyncPlan,
        progress: &Progress,
        revision: &str,
        message: String,
    ) -> Result<Carried, SyncerError> {
        let (revision, resources) = (revision.to_owned(), progress.entries(plan));
        Ok(Carried::Ended(Ended { phase: Phase::Failed, message, revision, resources, again: true }))
    }

    /// The cluster as the syncer, or as the service account that the project names for the destination.
    pub(super) fn in_the_name_of(
        &self,
        app: &Application,
        grant: &Grant,
    ) -> Result<Result<Cluster, String>, SyncerError> {
        let (enabled, enforced) = self.settings.impersonation();
        if !enabled {
            return Ok(Ok(self.cluster.clone()));
        }
        Ok(match grant.impersonated(app) {
            Err(problem) => Err(problem),
            Ok(Some(account)) => Ok(self.impersonated(&account)?),
            Ok(None) if !enforced => Ok(self.cluster.clone()),
            Ok(None) => Err(format!(
                "no service account of project {} matches the destination; name one in destinationServiceAccounts, or set application.sync.impersonation.enforced to false",
                app.spec.project
            )),
        })
    }

    /// Before anything is written: what stands in the way ends the operation, and so does success when only trying was
    /// asked for.
    async fn try_out(
        &self,
        app: &Application,
        operation: &Operation,
        (plan, home): (&SyncPlan, Option<&Home>),
        progress: &mut Progress,
        (grant, terms): (&Grant, &Terms<'_>),
    ) -> Result<Option<(Phase, String)>, SyncerError> {
        let given = given_options(app, operation);
        if options::of_application(&given, "FailOnSharedResource") == Some("true") {
            let instance = targets::instance_name(&app.key(), &self.control_namespace);
            let shared = self.shared(plan, &instance).await?;
            if !shared.is_empty() {
                return Ok(Some((Phase::Failed, format!("Shared resource found: {}", shared.join(", ")))));
            }
        }
        if let Some(why) = home.and_then(|home| grant.refuses(&home.manifest.key(), Some(false))) {
            return Ok(Some((Phase::Failed, format!("one or more synchronization tasks are not valid: {why}"))));
        }
        let to_come = home.filter(|home| home.absent).map(|home| home.manifest.name().to_owned());
        let tried = self.dry_run(plan, to_come.as_deref(), terms).await?;
        if tried.iter().any(|record| record.standing == Standing::Failed) {
            for (at, record) in tried.into_iter().enumerate().filter(|(_, tried)| tried.standing == Standing::Failed) {
                progress.records[at] = record;
            }
            return Ok(Some((Phase::Failed, "one or more objects failed to apply (dry run)".to_owned())));
        }
        if terms.only_trying {
            progress.records = tried;
            return Ok(Some((Phase::Succeeded, "successfully synced (all tasks run)".to_owned())));
        }
        Ok(None)
    }

    /// Leads the operation on until it waits or ends.
    async fn lead(
        &self,
        app: &mut Application,
        operation: &Operation,
        plan: &SyncPlan,
        mut progress: Progress,
        revision: &str,
        terms: &Terms<'_>,
    ) -> Result<Carried, SyncerError> {
        let mut released = HashSet::new();
        loop {
            let live = self.live(plan, &progress.watched(plan)).await?;
            let next = progress.advance(plan, |at| live.get(&at).cloned(), &self.healths.now());
            // The end of a hook is on record before the hook is let go of: what it came to cannot be lost.
            let ended: Vec<_> = progress.ended_hooks(plan).into_iter().filter(|(at, _)| released.insert(*at)).collect();
            if !ended.is_empty() {
                fault::point("hook ended");
                self.note(app, plan, &progress, revision, "").await?;
                fault::point("hook's end recorded");
                for (at, delete) in ended {
                    self.let_go(&plan.steps[at], delete.then_some(&terms.cluster)).await?;
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
                    let begun = self.run_wave(plan, &wave, terms).await?;
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
                        let pause = self.settings.wave_delay();
                        self.rest(&app.key(), pause);
                        return Ok(Carried::Waiting(pause));
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
            // In our own name: what was begun must come to an end, whatever its account may by now.
            self.let_go(&plan.steps[at], Some(&self.cluster)).await?;
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

    /// The plan of an operation that has begun.
    pub(super) async fn plan(
        &self,
        app: &Application,
        operation: &Operation,
        revision: &str,
        (raw, grant): (Vec<Value>, Option<&Grant>),
    ) -> Result<SyncPlan, SyncerError> {
        let settings = self.settings.compiled();
        let manifests = targets::finish(raw, app, &self.control_namespace, &self.cluster, &settings).manifests;
        let ours = (self.control_namespace.as_str(), &settings);
        let mut extras = tracked_extras(&self.bus, &self.cluster, app, &manifests, ours).await?;
        // What this operation prunes stays in the plan until it has gone: later waves wait for it.
        let going = record::pruning(app);
        extras.retain(|(key, live)| {
            let there = live["metadata"]["deletionTimestamp"].is_null() || going.contains(key);
            there && grant.is_none_or(|grant| grant.permits_live(key))
        });
        let sync = operation.sync.clone().unwrap_or_default();
        let options_given = given_options(app, operation);
        let only = (options::of_application(&options_given, "ApplyOutOfSyncOnly") == Some("true"))
            .then(|| record::out_of_sync(app, revision))
            .flatten();
        let forced = |how: &Value| how["force"] == true;
        let strategy = sync.sync_strategy.clone().unwrap_or_default();
        Ok(plan::plan_sync(&PlanInputs {
            targets: manifests,
            extras,
            prune: sync.prune,
            options: options_given,
            selected: sync.resources.clone(),
            without_hooks: strategy["apply"].is_object(),
            force: forced(&strategy["apply"]) || forced(&strategy["hook"]),
            revision: revision.to_owned(),
            started: record::started(app),
            operation: record::opid(app),
            only,
            approved: record::approved(app, record::started(app)),
        }))
    }
}

/// How long a sync window keeps the operation waiting; `None` when none does.
fn blocked(app: &Application, grant: &Grant) -> Option<Duration> {
    let (state, now) = (app.operation_state()?, jiff::Timestamp::now());
    let verdict = windows::may_continue(grant.windows(), app, state, now);
    let left = |until: jiff::Timestamp| until.duration_since(now).unsigned_abs().min(LOOK_BLOCKED);
    (!verdict.allowed).then(|| verdict.until.map_or(LOOK_BLOCKED, left))
}

/// The operation's options, be they none; the Application's when it has no list of them.
pub(super) fn given_options(app: &Application, operation: &Operation) -> Vec<String> {
    let own = operation.sync.as_ref().and_then(|sync| sync.sync_options.clone());
    let policy = || app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone());
    own.or_else(policy).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_that_is_given_counts_even_if_it_is_empty() {
        for (sync, want) in [
            (json!({}), &["CreateNamespace=true"][..]),
            (json!({"syncOptions": null}), &["CreateNamespace=true"]),
            (json!({"syncOptions": []}), &[]),
            (json!({"syncOptions": ["Replace=true"]}), &["Replace=true"]),
        ] {
            let app: Application = serde_json::from_value(json!({
                "metadata": {}, "operation": {"sync": sync},
                "spec": {"syncPolicy": {"syncOptions": ["CreateNamespace=true"]}},
            }))
            .unwrap();
            let operation = app.operation.clone().unwrap();
            assert_eq!(given_options(&app, &operation), want, "{sync}");
            // What is put on record says the same.
            let recorded: Operation = serde_json::from_value(json!(operation)).unwrap();
            assert_eq!(given_options(&app, &recorded), want, "{sync}");
        }
    }
}

//! One step of a plan on the cluster: dry run, apply, prune, and the life of a hook. Decides nothing.
use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tako_engine::app::SyncCode;
use tako_engine::hook::{self, DeletePolicy, Entry};
use tako_engine::ignore::{Ignored, Rules};
use tako_engine::options::Propagation;
use tako_engine::plan::{Action, Step, SyncPlan};
use tako_engine::progress::{Record, Standing};
use tako_engine::resource::Manifest;
use tako_engine::tracking;

use super::{Syncer, SyncerError};
use crate::adapters::cluster::ClusterError;
use crate::gather;
use crate::runtime::fault;

/// Objects of one group of the plan written at once.
const PARALLEL: usize = 8;
/// Between two looks whether an object that is made anew has gone, and how long it may take.
const FORCE_LOOK: Duration = Duration::from_millis(100);
const FORCE_MAX: Duration = Duration::from_secs(20);

/// What a sync leaves as it is.
pub(super) struct Untouched<'a> {
    /// The rules of ignored differences.
    pub(super) rules: &'a Rules,
    /// They hold for writing, too (`RespectIgnoreDifferences=true`).
    pub(super) respect: bool,
}

fn failure(error: &ClusterError) -> Record {
    Record::begun(Standing::Failed, "SyncFailed", error.to_string())
}

impl Syncer {
    /// Every object is tried before any is written; answers the refusals.
    /// `to_come` is a namespace that only a real sync would make.
    pub(super) async fn dry_run(
        &self,
        plan: &SyncPlan,
        to_come: Option<&str>,
    ) -> Result<Vec<(usize, Record)>, SyncerError> {
        let planned = plan.steps.iter().filter(|step| step.key.kind == "Namespace").map(|step| step.key.name.as_str());
        let fresh_namespaces: Vec<&str> = planned.chain(to_come).collect();
        let crds = plan.steps.iter().any(|step| step.key.kind == "CustomResourceDefinition");
        let tried: Vec<(usize, &Step, &Manifest)> = plan
            .steps
            .iter()
            .enumerate()
            .filter_map(|(at, step)| match &step.action {
                Action::Apply(manifest) if !fresh_namespaces.contains(&step.key.namespace.as_str()) => {
                    Some((at, step, &**manifest))
                }
                _ => None,
            })
            .collect();
        let trials: Vec<_> = tried.iter().map(|(_, step, manifest)| self.trial(step, manifest)).collect();
        let outcomes = gather(trials, PARALLEL).await;
        let mut failures = Vec::new();
        for ((at, step, _), outcome) in tried.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                // The CRD comes with this very sync, or from elsewhere.
                Err(ClusterError::UnknownKind { .. }) if crds || step.writing.kind_may_be_missing => {}
                // It is deleted and made anew.
                Err(error) if error.is_invalid() && step.writing.force => {}
                Err(error) if error.is_refusal() => failures.push((at, failure(&error))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(failures)
    }

    async fn trial(&self, step: &Step, manifest: &Manifest) -> Result<(), ClusterError> {
        // A hook that is deleted and made anew need not fit what is there now.
        let anew = step.hook.as_ref().is_some_and(|hook| hook.policies.contains(&DeletePolicy::BeforeHookCreation));
        if anew && self.cluster.get(manifest).await?.is_some() {
            return Ok(());
        }
        self.cluster.write(manifest, step.writing, true).await.map(drop)
    }

    /// Runs one wave, group by group: prunes, then kind after kind. After a refusal the rest of it is left.
    /// Steps that cannot begin yet have no record in the answer.
    pub(super) async fn run_wave(
        &self,
        plan: &SyncPlan,
        wave: &[usize],
        untouched: &Untouched<'_>,
    ) -> Result<Vec<(usize, Record)>, SyncerError> {
        let mut records = Vec::with_capacity(wave.len());
        let mut rest = wave;
        while let Some(first) = rest.first().map(|at| &plan.steps[*at]) {
            let same = |at: &&usize| {
                let step = &plan.steps[**at];
                step.key.kind == first.key.kind
                    && std::mem::discriminant(&step.action) == std::mem::discriminant(&first.action)
            };
            let (group, later) = rest.split_at(rest.iter().take_while(same).count());
            let runs: Vec<_> = group.iter().map(|at| self.step(plan, &plan.steps[*at], untouched)).collect();
            for (at, outcome) in group.iter().zip(gather(runs, PARALLEL).await) {
                if let Some(record) = outcome? {
                    records.push((*at, record));
                }
            }
            if records.iter().any(|(_, record): &(usize, Record)| record.standing == Standing::Failed) {
                break;
            }
            rest = later;
        }
        Ok(records)
    }

    async fn step(
        &self,
        plan: &SyncPlan,
        step: &Step,
        untouched: &Untouched<'_>,
    ) -> Result<Option<Record>, SyncerError> {
        match &step.action {
            Action::Skip { reason } => Ok(Some(Record::begun(Standing::Succeeded, "PruneSkipped", reason.clone()))),
            Action::Prune { uid, .. } => match self.cluster.delete(&step.key, uid, plan.propagation).await {
                Ok(()) => {
                    fault::point("object pruned");
                    Ok(Some(Record::begun(Standing::Running, "Pruned", "pruned")))
                }
                Err(error) if error.is_refusal() => Ok(Some(failure(&error))),
                Err(error) => Err(error.into()),
            },
            Action::Apply(manifest) => {
                if let Some(started) = self.enter(step, manifest).await? {
                    return Ok(started);
                }
                self.apply(step, manifest, untouched).await.map(Some)
            }
        }
    }

    /// Before a hook is made: `Some` when it is not to be made now, with its record if it runs already.
    async fn enter(&self, step: &Step, manifest: &Manifest) -> Result<Option<Option<Record>>, SyncerError> {
        let Some(wanted) = &step.hook else { return Ok(None) };
        let live = match self.cluster.get(manifest).await {
            Err(ClusterError::UnknownKind { .. }) => None,
            other => other?,
        };
        match hook::entry(live.as_ref(), &wanted.mark, &wanted.policies) {
            Entry::Create => Ok(None),
            Entry::Adopt => Ok(Some(Some(Record::begun(Standing::Running, "Synced", created(step))))),
            Entry::Replace { uid } => {
                self.cluster.delete(&step.key, &uid, Propagation::Foreground).await?;
                fault::point("old hook deleted");
                self.cluster.release(&step.key, hook::FINALIZER, &uid).await?;
                Ok(Some(None))
            }
            Entry::Wait => {
                if let Some(uid) = live.as_ref().and_then(|live| live["metadata"]["uid"].as_str()) {
                    self.cluster.release(&step.key, hook::FINALIZER, uid).await?;
                }
                Ok(Some(None))
            }
        }
    }

    async fn apply(&self, step: &Step, manifest: &Manifest, untouched: &Untouched<'_>) -> Result<Record, SyncerError> {
        let before = self.cluster.get(manifest).await.unwrap_or_default();
        let ignored = untouched.rules.of(&step.key);
        let mut wanted = manifest.clone();
        if let Some(live) = before.clone().filter(|_| untouched.respect && step.hook.is_none() && !ignored.is_empty()) {
            let mut target = manifest.0.clone();
            let respect = move |ignored: &Ignored| ignored.respect(&mut target, &live).map(|()| target);
            wanted = match self.rules.within_bounds(ignored.clone(), respect).await {
                Ok(target) => Manifest(target),
                Err(problem) => return Ok(Record::begun(Standing::Failed, "SyncFailed", problem)),
            };
        }
        match self.put(step, &wanted, before.as_ref()).await {
            Ok(live) => {
                fault::point(if step.hook.is_some() { "hook made" } else { "object written" });
                if step.hook.is_none() {
                    self.compared.remember(manifest, &live, &ignored, SyncCode::Synced);
                }
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                let message = match &before {
                    None => created(step),
                    Some(before) if version(before) == version(&live) => said(step, "unchanged"),
                    Some(_) if step.writing.replace => said(step, "replaced"),
                    Some(_) => said(step, "serverside-applied"),
                };
                Ok(Record::begun(Standing::Running, "Synced", message))
            }
            Err(error) if error.is_refusal() => Ok(failure(&error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes; with `Force` what cannot be changed is deleted and made anew.
    async fn put(&self, step: &Step, wanted: &Manifest, before: Option<&Value>) -> Result<Value, ClusterError> {
        let how = step.writing;
        let uid = before.and_then(|before| before["metadata"]["uid"].as_str());
        let anew = match self.cluster.write(wanted, how, false).await {
            Err(error) if how.force && error.is_invalid() => uid.ok_or(error)?,
            other => return other,
        };
        self.cluster.delete(&step.key, anew, Propagation::Background).await?;
        let gone = async {
            while self.cluster.get(wanted).await?.is_some_and(|live| live["metadata"]["uid"] == anew) {
                tokio::time::sleep(FORCE_LOOK).await;
            }
            Ok::<(), ClusterError>(())
        };
        // Finalizers may hold it for long: then the write below is refused and says so.
        if let Ok(looked) = tokio::time::timeout(FORCE_MAX, gone).await {
            looked?;
        }
        self.cluster.write(wanted, how, false).await
    }

    /// Objects of the plan that carry another Application's mark (option `FailOnSharedResource`).
    pub(super) async fn shared(&self, plan: &SyncPlan, instance: &str) -> Result<Vec<String>, SyncerError> {
        let objects: Vec<&Step> =
            plan.steps.iter().filter(|step| step.hook.is_none() && matches!(step.action, Action::Apply(_))).collect();
        let tracking = self.rules.settings().compiled().tracking;
        let reads: Vec<_> = objects.iter().map(|step| self.cluster.get_key(&step.key)).collect();
        let mut shared = Vec::new();
        for (step, read) in objects.into_iter().zip(gather(reads, PARALLEL).await) {
            let live = match read {
                Ok(Some(live)) => live,
                Ok(None) | Err(ClusterError::UnknownKind { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(owner) = tracking.owner_beside_target(&live).filter(|owner| owner != instance) {
                shared.push(tracking::shared_words(&step.key, instance, &owner));
            }
        }
        Ok(shared)
    }

    /// The live objects of these steps.
    pub(super) async fn live(&self, plan: &SyncPlan, steps: &[usize]) -> Result<HashMap<usize, Value>, SyncerError> {
        let reads: Vec<_> = steps.iter().map(|at| self.cluster.get_key(&plan.steps[*at].key)).collect();
        let mut live = HashMap::new();
        for (at, read) in steps.iter().zip(gather(reads, PARALLEL).await) {
            match read {
                Ok(Some(object)) => {
                    live.insert(*at, object);
                }
                Ok(None) | Err(ClusterError::UnknownKind { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(live)
    }

    /// Lets go of a hook of this operation, and deletes it if it is to be deleted.
    pub(super) async fn let_go(&self, step: &Step, delete: bool) -> Result<(), SyncerError> {
        let Some(live) = self.cluster.get_key(&step.key).await? else { return Ok(()) };
        let ours = step.hook.as_ref().map(|hook| hook.mark.as_str());
        let Some(uid) = live["metadata"]["uid"].as_str() else { return Ok(()) };
        if Manifest(live.clone()).annotation(hook::OPERATION) != ours {
            return Ok(());
        }
        if delete {
            self.cluster.delete(&step.key, uid, Propagation::Foreground).await?;
        }
        self.cluster.release(&step.key, hook::FINALIZER, uid).await?;
        Ok(())
    }
}

fn said(step: &Step, word: &str) -> String {
    format!("{}/{} {word}", step.key.kind.to_lowercase(), step.key.name)
}

fn created(step: &Step) -> String {
    said(step, "created")
}

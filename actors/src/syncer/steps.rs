//! One step of a plan on the cluster: dry run, apply, prune, and the life of a hook. Decides nothing.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tako_engine::hook::{self, Entry};
use tako_engine::ignore::{Ignored, Rules};
use tako_engine::options::Propagation;
use tako_engine::plan::{Action, Step, SyncPlan};
use tako_engine::progress::{Record, Standing};
use tako_engine::resource::Manifest;
use tako_engine::schema::Schemas;
use tako_engine::tracking;

use super::writing::{send, sending};
use super::{Syncer, SyncerError};
use crate::adapters::cluster::{Cluster, ClusterError};
use crate::gather;
use crate::runtime::fault;

/// Objects of one group of the plan written at once.
const PARALLEL: usize = 8;
/// Between two looks whether an object that is made anew has gone, and how long it may take.
const FORCE_LOOK: Duration = Duration::from_millis(100);
const FORCE_MAX: Duration = Duration::from_secs(20);
/// How long a new kind may take to be served; after that its objects are tried all the same.
const SERVED_MAX: Duration = Duration::from_secs(10);

/// The terms on which an operation is carried out.
pub(super) struct Terms<'a> {
    /// The cluster, in whose name ever it is written.
    pub(super) cluster: Cluster,
    /// The rules of ignored differences.
    pub(super) rules: &'a Rules,
    /// They hold for writing, too (`RespectIgnoreDifferences=true`).
    pub(super) respect: bool,
    /// What is known of built-in kinds.
    pub(super) schemas: Arc<Schemas>,
    /// Whose fields the API server takes over besides kubectl's.
    pub(super) migration_manager: Option<String>,
    /// The operation was asked to change nothing.
    pub(super) only_trying: bool,
}

pub(super) fn failure(error: &ClusterError) -> Record {
    Record::begun(Standing::Failed, "SyncFailed", error.to_string())
}

/// The live object; one without a name has none.
pub(super) async fn live_of(manifest: &Manifest, cluster: &Cluster) -> Result<Option<Value>, ClusterError> {
    if manifest.name().is_empty() { Ok(None) } else { cluster.get(manifest).await }
}

impl Syncer {
    /// The manifest to be written: with the live values of ignored fields where those are respected.
    pub(super) async fn wanted(
        &self,
        step: &Step,
        manifest: &Manifest,
        live: Option<&Value>,
        terms: &Terms<'_>,
    ) -> Result<Manifest, String> {
        let ignored = terms.rules.of(&step.key);
        let Some(live) = live.filter(|_| terms.respect && step.hook.is_none() && !ignored.is_empty()).cloned() else {
            return Ok(manifest.clone());
        };
        let mut target = manifest.0.clone();
        let respect = move |ignored: &Ignored| ignored.respect(&mut target, &live).map(|()| target);
        self.rules.within_bounds(ignored, respect).await.map(Manifest)
    }

    /// Runs one wave, group by group: prunes, then kind after kind. After a refusal the rest of it is left.
    /// Steps that cannot begin yet have no record in the answer.
    pub(super) async fn run_wave(
        &self,
        plan: &SyncPlan,
        wave: &[usize],
        terms: &Terms<'_>,
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
            let runs: Vec<_> = group.iter().map(|at| self.step(plan, &plan.steps[*at], terms)).collect();
            for (at, outcome) in group.iter().zip(gather(runs, PARALLEL).await) {
                if let Some(record) = outcome? {
                    records.push((*at, record));
                }
            }
            if records.iter().any(|(_, record): &(usize, Record)| record.standing == Standing::Failed) {
                break;
            }
            self.served(plan, group, terms).await?;
            rest = later;
        }
        Ok(records)
    }

    /// Waits until the API server serves what CustomResourceDefinitions of this group define: their objects may come
    /// next.
    async fn served(&self, plan: &SyncPlan, group: &[usize], terms: &Terms<'_>) -> Result<(), SyncerError> {
        let defined = group.iter().filter_map(|at| match &plan.steps[*at].action {
            Action::Apply(manifest) => tako_engine::plan::defined_by(manifest),
            _ => None,
        });
        let mut kinds: Vec<(String, String)> = defined.collect();
        let deadline = Instant::now() + SERVED_MAX;
        loop {
            kinds.retain(|(group, kind)| terms.cluster.namespaced(group, kind).is_none());
            if kinds.is_empty() || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(FORCE_LOOK).await;
            terms.cluster.discover().await?;
        }
    }

    async fn step(&self, plan: &SyncPlan, step: &Step, terms: &Terms<'_>) -> Result<Option<Record>, SyncerError> {
        match &step.action {
            Action::Skip { reason } => Ok(Some(Record::begun(Standing::Succeeded, "PruneSkipped", reason.clone()))),
            Action::Prune { uid, .. } => match terms.cluster.delete(&step.key, uid, plan.propagation).await {
                Ok(()) => {
                    fault::point("object pruned");
                    Ok(Some(Record::begun(Standing::Running, "Pruned", "pruned")))
                }
                Err(error) if error.is_refusal() => Ok(Some(failure(&error))),
                Err(error) => Err(error.into()),
            },
            Action::Apply(manifest) => {
                if let Some(started) = self.enter(step, manifest, &terms.cluster).await? {
                    return Ok(started);
                }
                self.apply(step, manifest, terms).await.map(Some)
            }
        }
    }

    /// Before a hook is made: `Some` when it is not to be made now, with its record if it runs already.
    async fn enter(
        &self,
        step: &Step,
        manifest: &Manifest,
        cluster: &Cluster,
    ) -> Result<Option<Option<Record>>, SyncerError> {
        let Some(wanted) = &step.hook else { return Ok(None) };
        let live = match cluster.get(manifest).await {
            Err(ClusterError::UnknownKind { .. }) => None,
            other => other?,
        };
        match hook::entry(live.as_ref(), &wanted.mark, &wanted.policies) {
            Entry::Create => Ok(None),
            Entry::Adopt => Ok(Some(Some(Record::begun(Standing::Running, "Synced", created(step))))),
            Entry::Replace { uid } => {
                cluster.delete(&step.key, &uid, Propagation::Foreground).await?;
                fault::point("old hook deleted");
                cluster.release(&step.key, hook::FINALIZER, &uid).await?;
                Ok(Some(None))
            }
            Entry::Wait => {
                if let Some(uid) = live.as_ref().and_then(|live| live["metadata"]["uid"].as_str()) {
                    cluster.release(&step.key, hook::FINALIZER, uid).await?;
                }
                Ok(Some(None))
            }
        }
    }

    async fn apply(&self, step: &Step, manifest: &Manifest, terms: &Terms<'_>) -> Result<Record, SyncerError> {
        let before = match live_of(manifest, &terms.cluster).await {
            Err(error) if error.is_refusal() => return Ok(failure(&error)),
            other => other?,
        };
        let wanted = match self.wanted(step, manifest, before.as_ref(), terms).await {
            Ok(wanted) => wanted,
            Err(problem) => return Ok(Record::begun(Standing::Failed, "SyncFailed", problem)),
        };
        match put(step, &wanted, before.as_ref(), terms).await {
            Ok(live) => {
                fault::point(if step.hook.is_some() { "hook made" } else { "object written" });
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                let message = match &before {
                    None if step.writing.server_side && !step.writing.replace => said(step, "serverside-applied"),
                    None => created(step),
                    Some(before) if version(before) == version(&live) => said(step, "unchanged"),
                    Some(_) if step.writing.replace => said(step, "replaced"),
                    Some(_) if step.writing.server_side => said(step, "serverside-applied"),
                    Some(_) => said(step, "configured"),
                };
                Ok(Record::begun(Standing::Running, "Synced", message))
            }
            Err(error) if error.is_refusal() => Ok(failure(&error)),
            Err(error) => Err(error.into()),
        }
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

    /// Lets go of a hook of this operation, and deletes it if it is to be deleted, in the name that `deleter` has. (The
    /// finalizer is ours.)
    pub(super) async fn let_go(&self, step: &Step, deleter: Option<&Cluster>) -> Result<(), SyncerError> {
        let Some(live) = self.cluster.get_key(&step.key).await? else { return Ok(()) };
        let ours = step.hook.as_ref().map(|hook| hook.mark.as_str());
        let Some(uid) = live["metadata"]["uid"].as_str() else { return Ok(()) };
        if Manifest(live.clone()).annotation(hook::OPERATION) != ours {
            return Ok(());
        }
        if let Some(deleter) = deleter {
            deleter.delete(&step.key, uid, Propagation::Foreground).await?;
        }
        self.cluster.release(&step.key, hook::FINALIZER, uid).await?;
        Ok(())
    }
}

/// Writes; with `Force` what cannot be changed is deleted and made anew.
async fn put(step: &Step, wanted: &Manifest, before: Option<&Value>, terms: &Terms<'_>) -> Result<Value, ClusterError> {
    let cluster = &terms.cluster;
    let uid = before.and_then(|before| before["metadata"]["uid"].as_str());
    let first = sending(step, wanted, before, terms)?;
    let anew = match send(&first, step, wanted, terms, false).await {
        Err(error) if step.writing.force && error.is_invalid() => uid.ok_or(error)?,
        other => return other,
    };
    cluster.delete(&step.key, anew, Propagation::Background).await?;
    let gone = async {
        while cluster.get(wanted).await?.is_some_and(|live| live["metadata"]["uid"] == anew) {
            tokio::time::sleep(FORCE_LOOK).await;
        }
        Ok::<(), ClusterError>(())
    };
    // Finalizers may hold it for long: then the write below is refused and says so.
    if let Ok(looked) = tokio::time::timeout(FORCE_MAX, gone).await {
        looked?;
    }
    send(&sending(step, wanted, None, terms)?, step, wanted, terms, false).await
}

pub(super) fn said(step: &Step, word: &str) -> String {
    let group = if step.key.group.is_empty() { String::new() } else { format!(".{}", step.key.group) };
    format!("{}{group}/{} {word}", step.key.kind.to_lowercase(), step.key.name)
}

fn created(step: &Step) -> String {
    said(step, "created")
}

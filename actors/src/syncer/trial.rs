//! The dry run: every object is tried before any is written, so that what is refused is refused before anything has
//! changed. Decides nothing else.
use std::collections::HashSet;

use serde_json::Value;
use tako_engine::hook::DeletePolicy;
use tako_engine::plan::{Action, Step, SyncPlan};
use tako_engine::progress::{Record, Standing};
use tako_engine::resource::Manifest;

use super::steps::{Terms, failure, live_of, said};
use super::writing::{Sending, send, sending};
use super::{Syncer, SyncerError};
use crate::adapters::cluster::ClusterError;
use crate::gather;

/// Objects tried at once.
const PARALLEL: usize = 8;

/// What a step would do.
enum Look {
    /// It cannot be tried: what it needs comes with this very sync.
    Untried,
    /// This is sent.
    Sends(Sending, Manifest),
    /// It is refused.
    Refused(Record),
}

impl Syncer {
    /// Tries every object; answers a record for each step, failed where it is refused. `to_come` is a namespace that is
    /// made before anything else.
    pub(super) async fn dry_run(
        &self,
        plan: &SyncPlan,
        to_come: Option<&str>,
        terms: &Terms<'_>,
    ) -> Result<Vec<Record>, SyncerError> {
        let absent = absent_namespaces(plan, to_come, terms).await?;
        let looks: Vec<_> = plan.steps.iter().map(|step| self.look(plan, step, &absent, terms)).collect();
        let looks: Vec<Look> = gather(looks, PARALLEL).await.into_iter().collect::<Result<_, SyncerError>>()?;
        let writes = looks.iter().filter(|look| matches!(look, Look::Sends(sending, _) if !is_nothing(sending)));
        let prunes = plan.steps.iter().any(|step| matches!(step.action, Action::Prune { .. }));
        // When one object is all there is to change, writing it is the trial: nothing else would be done before it.
        let alone = writes.count() == 1 && !prunes && !plan.waits() && !terms.only_trying;
        let tries: Vec<_> =
            plan.steps.iter().zip(looks).map(|(step, look)| attempt(plan, step, look, alone, terms)).collect();
        gather(tries, PARALLEL).await.into_iter().collect()
    }

    /// What would be sent for a step.
    async fn look(
        &self,
        plan: &SyncPlan,
        step: &Step,
        absent: &HashSet<String>,
        terms: &Terms<'_>,
    ) -> Result<Look, SyncerError> {
        let Action::Apply(manifest) = &step.action else { return Ok(Look::Untried) };
        if absent.contains(&step.key.namespace) {
            return Ok(Look::Untried);
        }
        let live = match live_of(manifest, &terms.cluster).await {
            Err(error) if excused(plan, step, &error) => return Ok(Look::Untried),
            Err(error) if error.is_refusal() => return Ok(Look::Refused(failure(&error))),
            other => other?,
        };
        // A hook that is deleted and made anew need not fit what is there now.
        let anew = step.hook.as_ref().is_some_and(|hook| hook.policies.contains(&DeletePolicy::BeforeHookCreation));
        if anew && live.is_some() {
            return Ok(Look::Untried);
        }
        let wanted = match self.wanted(step, manifest, live.as_ref(), terms).await {
            Ok(wanted) => wanted,
            Err(problem) => return Ok(Look::Refused(Record::begun(Standing::Failed, "SyncFailed", problem))),
        };
        Ok(match sending(step, &wanted, live.as_ref(), terms) {
            Ok(sending) => Look::Sends(sending, wanted),
            Err(error) => Look::Refused(failure(&error)),
        })
    }
}

fn is_nothing(sending: &Sending) -> bool {
    matches!(sending, Sending::Nothing(_))
}

/// A failure that says nothing: the kind comes with this sync or from elsewhere, or the object is made anew.
fn excused(plan: &SyncPlan, step: &Step, error: &ClusterError) -> bool {
    match error {
        ClusterError::UnknownKind { .. } => step.writing.kind_may_be_missing || plan.brings(&step.key),
        error => error.is_invalid() && step.writing.force,
    }
}

async fn attempt(
    plan: &SyncPlan,
    step: &Step,
    look: Look,
    alone: bool,
    terms: &Terms<'_>,
) -> Result<Record, SyncerError> {
    let done = |status: &str, words: &str| Record::begun(Standing::Succeeded, status, format!("{words} (dry run)"));
    let (sending, wanted) = match look {
        Look::Refused(record) => return Ok(record),
        Look::Sends(sending, wanted) => (sending, wanted),
        Look::Untried => {
            return Ok(match &step.action {
                Action::Prune { .. } => done("Pruned", "pruned"),
                Action::Skip { reason } => Record::begun(Standing::Succeeded, "PruneSkipped", reason.clone()),
                Action::Apply(_) => done("Synced", &said(step, "created")),
            });
        }
    };
    let word = match &sending {
        Sending::Nothing(_) => "unchanged",
        Sending::Create(_) => "created",
        Sending::Patch(..) => "configured",
        Sending::Apply(_) => "serverside-applied",
        Sending::Replace => "replaced",
    };
    if alone || is_nothing(&sending) {
        return Ok(done("Synced", &said(step, word)));
    }
    match send(&sending, step, &wanted, terms, true).await {
        Ok(_) => Ok(done("Synced", &said(step, word))),
        Err(error) if excused(plan, step, &error) => Ok(done("Synced", &said(step, word))),
        Err(error) if error.is_refusal() => Ok(failure(&error)),
        Err(error) => Err(error.into()),
    }
}

/// Namespaces that this sync makes: nothing in them can be tried.
async fn absent_namespaces(
    plan: &SyncPlan,
    to_come: Option<&str>,
    terms: &Terms<'_>,
) -> Result<HashSet<String>, SyncerError> {
    let mut absent: HashSet<String> = to_come.map(str::to_owned).into_iter().collect();
    for step in plan.steps.iter().filter(|step| step.key.kind == "Namespace" && step.key.group.is_empty()) {
        let Action::Apply(manifest) = &step.action else { continue };
        let live: Option<Value> = live_of(manifest, &terms.cluster).await?;
        if live.is_none() {
            absent.insert(step.key.name.clone());
        }
    }
    Ok(absent)
}

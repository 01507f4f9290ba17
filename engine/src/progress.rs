//! Where an operation stands and what it does next: which wave is run, what is waited for, how it ends
//! (Argo CD, user guide, "Sync Phases and Waves"). A function of the plan, of what is recorded and of what is
//! live, so an interrupted operation goes on where its record ends. Pure.
use serde_json::{Value, json};

use crate::app::{HealthCode, Phase};
use crate::health::HealthRules;
use crate::hook::{self, DeletePolicy, SyncPhase};
use crate::plan::{Action, Step, SyncPlan};

/// How far a step is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not begun.
    #[default]
    Pending,
    /// Begun, and waited for.
    Running,
    /// Done.
    Succeeded,
    /// Not to be done.
    Failed,
}

/// What is recorded of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// How far.
    pub standing: Standing,
    /// `Synced`, `SyncFailed`, `Pruned`, `PruneSkipped`; empty while pending.
    pub status: String,
    /// In words.
    pub message: String,
}

impl Record {
    /// Begun with this result.
    pub fn begun(standing: Standing, status: &str, message: impl Into<String>) -> Self {
        Self { standing, status: status.to_owned(), message: message.into() }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run these steps (indices), one wave.
    Run(Vec<usize>),
    /// Look again when something changed.
    Wait(String),
    /// Over.
    End(Phase, String),
}

/// A running operation: a plan and, index by index, what is recorded and what is live.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// What is recorded, a record a step.
    pub records: Vec<Record>,
    /// What is recorded of steps that the plan has no more: what was pruned is no longer there to be pruned.
    past: Vec<Value>,
}

impl Progress {
    /// From the entries of `status.operationState.syncResult.resources`.
    pub fn resume(plan: &SyncPlan, entries: &[Value]) -> Self {
        let of = |step: &Step| entries.iter().find(|entry| is_of(entry, step)).map(record_of).unwrap_or_default();
        let past = |entry: &&Value| !plan.steps.iter().any(|step| is_of(entry, step));
        let mut past: Vec<Value> = entries.iter().filter(past).cloned().collect();
        for entry in past.iter_mut().filter(|entry| entry["hookPhase"] == "Running") {
            entry["hookPhase"] = json!(Phase::Succeeded);
        }
        Self { records: plan.steps.iter().map(of).collect(), past }
    }

    /// The entries to record, in the order of execution; steps not begun have none.
    pub fn entries(&self, plan: &SyncPlan) -> Vec<Value> {
        let begun = plan.steps.iter().zip(&self.records).filter(|(_, record)| record.standing != Standing::Pending);
        self.past.iter().cloned().chain(begun.map(|(step, record)| entry_of(step, record))).collect()
    }

    /// The steps whose live object decides what comes next.
    pub fn watched(&self, plan: &SyncPlan) -> Vec<usize> {
        let waits = plan.waits();
        (0..self.records.len()).filter(|&at| waits && self.records[at].standing == Standing::Running).collect()
    }

    /// Judges what runs and says what comes next. `live` answers for the steps of [`Progress::watched`].
    pub fn advance(&mut self, plan: &SyncPlan, live: impl Fn(usize) -> Option<Value>, rules: &HealthRules) -> Next {
        let waits = plan.waits();
        for (at, step) in plan.steps.iter().enumerate() {
            if self.records[at].standing == Standing::Running {
                if waits {
                    judge(step, &mut self.records[at], live(at).as_ref(), rules);
                } else {
                    self.records[at].standing = Standing::Succeeded;
                }
            }
        }
        let running: Vec<&Step> = self.steps_in(plan, Standing::Running).collect();
        if let Some(first) = running.first() {
            return Next::Wait(waiting_for(first, running.len() - 1));
        }
        let fail = |step: &Step| step.phase == SyncPhase::SyncFail;
        let failed = self.steps_in(plan, Standing::Failed).any(|step| !fail(step));
        let place = |at: &usize| (plan.steps[*at].phase, plan.steps[*at].wave);
        let pending: Vec<usize> = (0..plan.steps.len())
            .filter(|&at| self.records[at].standing == Standing::Pending && fail(&plan.steps[at]) == failed)
            .collect();
        match pending.iter().map(place).min() {
            // A hook of SyncFail that fails ends it, too.
            Some(first) if !self.steps_in(plan, Standing::Failed).any(fail) => {
                let wave: Vec<usize> = pending.into_iter().filter(|at| place(at) == first).collect();
                match unconfirmed(plan, &wave) {
                    Some(message) => Next::Wait(message),
                    None => Next::Run(wave),
                }
            }
            _ if failed => Next::End(Phase::Failed, self.why_failed(plan)),
            _ if waits => Next::End(Phase::Succeeded, "successfully synced (no more tasks)".to_owned()),
            _ => Next::End(Phase::Succeeded, "successfully synced (all tasks run)".to_owned()),
        }
    }

    fn steps_in<'a>(&'a self, plan: &'a SyncPlan, standing: Standing) -> impl Iterator<Item = &'a Step> {
        plan.steps
            .iter()
            .zip(&self.records)
            .filter(move |(_, record)| record.standing == standing)
            .map(|(step, _)| step)
    }

    fn why_failed(&self, plan: &SyncPlan) -> String {
        let refused: Vec<&str> = self
            .records
            .iter()
            .filter(|record| record.status == "SyncFailed")
            .map(|record| record.message.as_str())
            .collect();
        if !refused.is_empty() {
            return format!("one or more objects failed to apply, reason: {}", refused.join(", "));
        }
        let mut reasons: Vec<String> = Vec::new();
        for (step, record) in plan.steps.iter().zip(&self.records) {
            if record.standing == Standing::Failed && step.phase != SyncPhase::SyncFail {
                reasons.push(format!("{}: {}", name(step), record.message));
            }
        }
        format!("one or more synchronization tasks completed unsuccessfully, reason: {}", reasons.join(", "))
    }

    /// More steps are to come after those that have begun.
    pub fn goes_on(&self, plan: &SyncPlan) -> bool {
        let failed = self.records.iter().any(|record| record.standing == Standing::Failed);
        plan.steps
            .iter()
            .zip(&self.records)
            .any(|(step, record)| record.standing == Standing::Pending && (step.phase == SyncPhase::SyncFail) == failed)
    }

    /// The hooks whose end is recorded, and whether each is deleted now; all are let go of.
    pub fn ended_hooks(&self, plan: &SyncPlan) -> Vec<(usize, bool)> {
        let deleted = |step: &Step, standing: Standing| {
            let has = |policy| step.hook.as_ref().is_some_and(|hook| hook.policies.contains(&policy));
            match standing {
                Standing::Succeeded => has(DeletePolicy::HookSucceeded),
                _ => has(DeletePolicy::HookFailed),
            }
        };
        let ended = |at: &usize| matches!(self.records[*at].standing, Standing::Succeeded | Standing::Failed);
        (0..plan.steps.len())
            .filter(|at| plan.steps[*at].hook.is_some() && ended(at))
            .map(|at| (at, deleted(&plan.steps[at], self.records[at].standing)))
            .collect()
    }

    /// Ends every running hook and step; answers the hooks to be deleted.
    pub fn stop(&mut self, plan: &SyncPlan, why: &str) -> Vec<usize> {
        let mut hooks = Vec::new();
        for (at, record) in self.records.iter_mut().enumerate() {
            if record.standing == Standing::Running {
                if plan.steps[at].hook.is_some() {
                    hooks.push(at);
                    record.standing = Standing::Failed;
                    why.clone_into(&mut record.message);
                } else {
                    record.standing = Standing::Succeeded;
                }
            }
        }
        hooks
    }
}

/// Whether an operation that waits may give way to a newer revision: nothing of a hook is at work.
pub fn may_yield(plan: &SyncPlan, progress: &Progress, live: impl Fn(usize) -> Option<Value>) -> bool {
    !plan.steps.iter().zip(&progress.records).enumerate().any(|(at, (step, record))| {
        step.hook.is_some() && record.standing == Standing::Running && live(at).is_some_and(|live| hook::at_work(&live))
    })
}

fn is_of(entry: &Value, step: &Step) -> bool {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    text("group") == step.key.group
        && text("kind") == step.key.kind
        && text("namespace") == step.key.namespace
        && text("name") == step.key.name
        && text("syncPhase") == format!("{:?}", step.phase)
}

fn judge(step: &Step, record: &mut Record, live: Option<&Value>, rules: &HealthRules) {
    use HealthCode::{Degraded, Healthy, Unknown};
    if let Action::Prune { uid, .. } = &step.action {
        let there = live.and_then(|live| live.pointer("/metadata/uid")).and_then(Value::as_str) == Some(uid);
        if !there {
            record.standing = Standing::Succeeded;
        }
        return;
    }
    if step.key.name.is_empty() {
        // Named when it was made (generateName): which one it is now, nobody can tell. To be made was all.
        record.standing = Standing::Succeeded;
        return;
    }
    let hook = step.hook.is_some();
    let known = if hook { Some(hook::progress(live, rules)) } else { live.and_then(|live| rules.of(live)) };
    // An object whose kind has no health needs none.
    let needs_none = live.is_some() && known.is_none();
    let health = known.unwrap_or_default();
    let judged = match health.status {
        Healthy => Standing::Succeeded,
        Degraded => Standing::Failed,
        Unknown if hook => Standing::Failed,
        Unknown if needs_none => Standing::Succeeded,
        _ => Standing::Running,
    };
    record.standing = judged;
    if !health.message.is_empty() && (hook || judged == Standing::Failed) {
        record.message = health.message;
    }
}

fn name(step: &Step) -> String {
    format!("{}/{}/{}", step.key.group, step.key.kind, step.key.name).trim_start_matches('/').to_owned()
}

fn waiting_for(step: &Step, more: usize) -> String {
    let (what, several) = match (&step.action, &step.hook) {
        (_, Some(_)) => ("completion of hook", "hooks"),
        (Action::Prune { .. }, _) => ("deletion of", "resources"),
        _ => ("healthy state of", "resources"),
    };
    let rest = if more > 0 { format!(" and {more} more {several}") } else { String::new() };
    format!("waiting for {what} {}{rest}", name(step))
}

/// What a wave asks to be approved before it runs.
fn unconfirmed(plan: &SyncPlan, wave: &[usize]) -> Option<String> {
    let asks = |at: &&usize| matches!(plan.steps[**at].action, Action::Prune { unconfirmed: true, .. });
    let names: Vec<String> = wave.iter().filter(asks).map(|at| name(&plan.steps[*at])).collect();
    (!names.is_empty()).then(|| format!("waiting for pruning confirmation of {}", names.join(", ")))
}

fn record_of(entry: &Value) -> Record {
    let standing = match entry["hookPhase"].as_str() {
        Some("Running") => Standing::Running,
        Some("Failed" | "Error") => Standing::Failed,
        _ => Standing::Succeeded,
    };
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    Record { standing, status: text("status"), message: text("message") }
}

fn entry_of(step: &Step, record: &Record) -> Value {
    let phase = match record.standing {
        Standing::Succeeded => Phase::Succeeded,
        Standing::Failed => Phase::Failed,
        Standing::Running | Standing::Pending => Phase::Running,
    };
    let mut entry = json!({
        "group": step.key.group, "version": step.version, "kind": step.key.kind, "namespace": step.key.namespace, "name": step.key.name,
        "status": record.status, "message": record.message, "syncPhase": step.phase, "hookPhase": phase,
    });
    if step.hook.is_some() {
        entry["hookType"] = json!(step.phase);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlanInputs, plan_sync};
    use crate::resource::Manifest;

    fn object(kind: &str, name: &str, hook: &str, wave: i64) -> Manifest {
        let api = if kind == "Job" { "batch/v1" } else { "v1" };
        let mut object =
            Manifest(json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "n"}}));
        object.annotate("argocd.argoproj.io/sync-wave", &wave.to_string());
        if !hook.is_empty() {
            object.annotate(hook::HOOK, hook);
        }
        object
    }

    fn job(kind: &str) -> Value {
        let conditions =
            if kind.is_empty() { json!([]) } else { json!([{"type": kind, "status": "True", "message": "m"}]) };
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "status": {"conditions": conditions}})
    }

    /// Runs to the end; jobs end as `outcome` says. Answers what was run, wave by wave, and the end.
    fn run(plan: &SyncPlan, outcome: impl Fn(&Step) -> Value) -> (Vec<Vec<String>>, Next) {
        let (mut waves, mut entries) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            // Everything is forgotten between two looks but what is recorded.
            let mut progress = Progress::resume(plan, &entries);
            match progress.advance(plan, |at| Some(outcome(&plan.steps[at])), &HealthRules::default()) {
                Next::Run(steps) => {
                    waves.push(steps.iter().map(|at| plan.steps[*at].key.name.clone()).collect());
                    for at in steps {
                        progress.records[at] = Record::begun(Standing::Running, "Synced", "created");
                    }
                }
                Next::Wait(_) => {}
                end @ Next::End(..) => return (waves, end),
            }
            entries = progress.entries(plan);
        }
        panic!("no end: {entries:?}");
    }

    #[test]
    fn nobody_waits_for_an_object_that_was_named_when_it_was_made() {
        let mut nameless = object("Job", "", "", 0);
        nameless.0["metadata"]["generateName"] = json!("once-");
        let targets = vec![nameless, object("ConfigMap", "late", "", 1)];
        let plan = plan_sync(&PlanInputs { targets, ..PlanInputs::default() });
        let mut progress = Progress::resume(&plan, &[]);
        progress.records[0] = Record::begun(Standing::Running, "Synced", "created");
        assert_eq!(progress.advance(&plan, |_| None, &HealthRules::default()), Next::Run(vec![1]));
    }

    fn full() -> SyncPlan {
        plan_sync(&PlanInputs {
            targets: vec![
                object("ConfigMap", "a", "", 0),
                object("Job", "b", "", 1),
                object("Job", "pre", "PreSync", 0),
                object("Job", "post", "PostSync", 0),
                object("Job", "fail", "SyncFail", 0),
            ],
            ..PlanInputs::default()
        })
    }

    #[test]
    fn phases_and_waves_follow_one_another() {
        let (waves, end) = run(&full(), |_| job("Complete"));
        assert_eq!(waves, [["pre"], ["a"], ["b"], ["post"]]);
        assert_eq!(end, Next::End(Phase::Succeeded, "successfully synced (no more tasks)".into()));
    }

    #[test]
    fn a_failure_runs_the_hooks_of_failure_and_nothing_more() {
        let failing =
            |name: &'static str| move |step: &Step| if step.key.name == name { job("Failed") } else { job("Complete") };
        let (waves, end) = run(&full(), failing("pre"));
        assert_eq!(waves, [["pre"], ["fail"]]);
        let why = "one or more synchronization tasks completed unsuccessfully, reason: batch/Job/pre: m";
        assert_eq!(end, Next::End(Phase::Failed, why.into()));
        assert_eq!(run(&full(), failing("b")).0, [["pre"], ["a"], ["b"], ["fail"]]);
    }

    #[test]
    fn a_single_wave_without_hooks_waits_for_nothing() {
        let plan = plan_sync(&PlanInputs {
            targets: vec![object("Job", "a", "", 0), object("Job", "b", "", 0)],
            ..PlanInputs::default()
        });
        let (waves, end) = run(&plan, |_| job(""));
        assert_eq!(waves, [["a", "b"]]);
        assert_eq!(end, Next::End(Phase::Succeeded, "successfully synced (all tasks run)".into()));
    }

    #[test]
    fn a_prune_waits_for_its_approval() {
        let mut old = object("ConfigMap", "old", "", 0);
        old.annotate(crate::options::SYNC_OPTIONS, "Prune=confirm");
        old.0["metadata"]["uid"] = json!("u");
        let plan = |approved| {
            plan_sync(&PlanInputs {
                extras: vec![(old.key(), old.0.clone())],
                prune: true,
                approved,
                ..PlanInputs::default()
            })
        };
        let next = |plan: &SyncPlan| Progress::resume(plan, &[]).advance(plan, |_| None, &HealthRules::default());
        assert_eq!(next(&plan(false)), Next::Wait("waiting for pruning confirmation of ConfigMap/old".into()));
        assert_eq!(next(&plan(true)), Next::Run(vec![0]));
    }

    #[test]
    fn what_is_waited_for_is_told() {
        let plan = full();
        let mut progress = Progress::resume(&plan, &[]);
        assert_eq!(progress.advance(&plan, |_| None, &HealthRules::default()), Next::Run(vec![0]));
        progress.records[0] = Record::begun(Standing::Running, "Synced", "created");
        assert_eq!(
            progress.advance(&plan, |_| Some(job("")), &HealthRules::default()),
            Next::Wait("waiting for completion of hook batch/Job/pre".into())
        );
        assert!(may_yield(&plan, &progress, |_| Some(job(""))));
        assert!(!may_yield(&plan, &progress, |_| Some(json!({"status": {"ready": 1}}))));
        assert_eq!(progress.stop(&plan, "Operation terminated"), [0]);
        assert_eq!(progress.records[0].standing, Standing::Failed);
    }

    #[test]
    fn ended_hooks_are_deleted_as_they_ask() {
        for (policy, standing, want) in [
            ("HookSucceeded", Standing::Succeeded, Some(true)),
            ("HookSucceeded", Standing::Failed, Some(false)),
            ("HookFailed", Standing::Failed, Some(true)),
            ("BeforeHookCreation", Standing::Succeeded, Some(false)),
            ("HookSucceeded", Standing::Running, None),
        ] {
            let mut hook = object("Job", "h", "PreSync", 0);
            hook.annotate(hook::DELETE_POLICY, policy);
            let plan = plan_sync(&PlanInputs { targets: vec![hook], ..PlanInputs::default() });
            let progress = Progress { records: vec![Record::begun(standing, "Synced", "")], ..Progress::default() };
            assert_eq!(progress.ended_hooks(&plan).first().map(|(_, deleted)| *deleted), want, "{policy} {standing:?}");
        }
    }
}

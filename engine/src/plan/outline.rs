//! A plan as it is shown before it runs: phases, their waves, their tasks. Without manifests: there may be Secrets.
use serde::Serialize;

use super::{Action, Step, SyncPlan};
use crate::hook::SyncPhase;

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseOutline {
    /// Which.
    pub phase: SyncPhase,
    /// Its waves, in order.
    pub waves: Vec<WaveOutline>,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaveOutline {
    /// Which.
    pub wave: i64,
    /// Its tasks, in order.
    pub tasks: Vec<TaskOutline>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskOutline {
    /// `apply`, `hook`, `prune` or `skip`.
    pub action: &'static str,
    /// The same as a person reads it: `replace`, why it is skipped, …
    pub message: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Why the project does not permit it; the sync would end before anything is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl SyncPlan {
    /// The plan to be shown. `refuses` answers why a step is not permitted.
    pub fn outline(&self, refuses: impl Fn(&Step) -> Option<String>) -> Vec<PhaseOutline> {
        let mut phases: Vec<PhaseOutline> = Vec::new();
        for step in &self.steps {
            if phases.last().is_none_or(|last| last.phase != step.phase) {
                phases.push(PhaseOutline { phase: step.phase, waves: Vec::new() });
            }
            let Some(phase) = phases.last_mut() else { continue };
            if phase.waves.last().is_none_or(|last| last.wave != step.wave) {
                phase.waves.push(WaveOutline { wave: step.wave, tasks: Vec::new() });
            }
            let Some(wave) = phase.waves.last_mut() else { continue };
            wave.tasks.push(task(step, refuses(step)));
        }
        phases
    }
}

fn task(step: &Step, refused: Option<String>) -> TaskOutline {
    TaskOutline {
        action: match (&step.action, &step.hook) {
            (Action::Apply(_), None) => "apply",
            (Action::Apply(_), Some(_)) => "hook",
            (Action::Prune { .. }, _) => "prune",
            (Action::Skip { .. }, _) => "skip",
        },
        message: step.words().to_owned(),
        group: step.key.group.clone(),
        version: step.version.clone(),
        kind: step.key.kind.clone(),
        namespace: step.key.namespace.clone(),
        name: step.key.name.clone(),
        refused,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::{PlanInputs, plan_sync};
    use crate::resource::Manifest;

    fn object(kind: &str, name: &str, annotations: &Value) -> Manifest {
        let version = if kind == "Job" { "batch/v1" } else { "v1" };
        Manifest(
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "n", "uid": "u", "annotations": annotations}, "data": {"secret": "hunter2"}}),
        )
    }

    #[test]
    fn an_outline_has_every_step_in_its_place_and_no_manifest() {
        let extra = object("ConfigMap", "old", &json!({}));
        let plan = plan_sync(&PlanInputs {
            targets: vec![
                object("Secret", "s", &json!({})),
                object(
                    "ConfigMap",
                    "late",
                    &json!({"argocd.argoproj.io/sync-wave": "2", "argocd.argoproj.io/sync-options": "Replace=true"}),
                ),
                object("Job", "pre", &json!({"argocd.argoproj.io/hook": "PreSync"})),
            ],
            extras: vec![(extra.key(), extra.0)],
            ..PlanInputs::default()
        });
        let outline = plan.outline(|step| (step.key.kind == "Secret").then(|| "not permitted".to_owned()));
        let task = |action: &str, message: &str, kind: &str, name: &str| json!({"action": action, "message": message, "version": "v1", "kind": kind, "namespace": "n", "name": name});
        let mut pre = task("hook", "run hook", "Job", "pre");
        pre["group"] = json!("batch");
        let mut secret = task("apply", "apply", "Secret", "s");
        secret["refused"] = json!("not permitted");
        let want = json!([
            {"phase": "PreSync", "waves": [{"wave": 0, "tasks": [pre]}]},
            {"phase": "Sync", "waves": [
                {"wave": 0, "tasks": [task("skip", "ignored (requires pruning)", "ConfigMap", "old"), secret]},
                {"wave": 2, "tasks": [task("apply", "replace", "ConfigMap", "late")]},
            ]},
        ]);
        assert_eq!(json!(outline), want);
        assert!(!format!("{outline:?}").contains("hunter2"));
        assert_eq!(SyncPlan::default().outline(|_| None), []);
    }
}

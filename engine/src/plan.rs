//! The sync plan: what is applied, run and pruned, in which order. A value made before anything runs; running it
//! leaves no choices but those of [`crate::progress`]. Pure. Order is Argo CD's: phase, wave, prunes, kind, name.
use std::collections::HashSet;
use std::fmt;

use serde_json::{Value, json};

use crate::app::SyncResource;
use crate::hook::{self, DeletePolicy, Part, SyncPhase};
use crate::options::{self, Deletion, Propagation, Writing};
use crate::resource::{Manifest, ResourceKey};

#[cfg(test)]
mod laws;
mod order;
mod outline;

pub use outline::{PhaseOutline, TaskOutline, WaveOutline};

/// What a plan is made from.
#[derive(Debug, Default)]
pub struct PlanInputs {
    /// The target state, stamped.
    pub targets: Vec<Manifest>,
    /// Live objects that carry our mark and are not in the target state.
    pub extras: Vec<(ResourceKey, Value)>,
    /// Pruning was asked for.
    pub prune: bool,
    /// Sync options of the operation or the Application.
    pub options: Vec<String>,
    /// Only these, if any are named; then no hooks run.
    pub selected: Vec<SyncResource>,
    /// Hooks are left out (strategy `apply`).
    pub without_hooks: bool,
    /// What cannot be changed is made anew (`force` of the strategy).
    pub force: bool,
    /// The commit, for the names of generated hooks.
    pub revision: String,
    /// When the operation began, in seconds of Unix time, for the same names.
    pub started: i64,
    /// What names the operation.
    pub operation: String,
    /// `ApplyOutOfSyncOnly`: what is out of sync.
    pub only: Option<HashSet<ResourceKey>>,
    /// Deletions that want approval have it.
    pub approved: bool,
}

/// What is done to one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write this manifest.
    Apply(Box<Manifest>),
    /// Delete the object with this uid.
    Prune {
        /// The incarnation that was looked at.
        uid: String,
        /// It waits for approval (`Prune=confirm`).
        unconfirmed: bool,
    },
    /// Leave it.
    Skip {
        /// Why, in Argo CD's words.
        reason: String,
    },
}

/// What makes a step a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// This operation's value of [`hook::OPERATION`].
    pub mark: String,
    /// When it is deleted.
    pub policies: Vec<DeletePolicy>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Whom.
    pub key: ResourceKey,
    /// API version.
    pub version: String,
    /// What.
    pub action: Action,
    /// When.
    pub phase: SyncPhase,
    /// When within the phase.
    pub wave: i64,
    /// It is a hook.
    pub hook: Option<Hook>,
    /// How it is written.
    pub writing: Writing,
}

impl Step {
    /// What is done, as a person reads it.
    pub fn words(&self) -> &str {
        match (&self.action, &self.hook) {
            (Action::Apply(_), Some(_)) => "run hook",
            (Action::Apply(_), None) if self.writing.replace => "replace",
            (Action::Apply(_), None) => "apply",
            (Action::Prune { unconfirmed: true, .. }, _) => "prune (asks first)",
            (Action::Prune { .. }, _) => "prune",
            (Action::Skip { reason }, _) => reason,
        }
    }
}

/// The steps in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncPlan {
    /// By phase, wave and place within it.
    pub steps: Vec<Step>,
    /// What becomes of the dependents of what is pruned.
    pub propagation: Propagation,
}

impl SyncPlan {
    /// A CustomResourceDefinition of the plan defines the object's kind.
    pub fn brings(&self, key: &ResourceKey) -> bool {
        let defines = |step: &Step| match &step.action {
            Action::Apply(manifest) => {
                defined_by(manifest).is_some_and(|(group, kind)| group == key.group && kind == key.kind)
            }
            _ => false,
        };
        self.steps.iter().any(defines)
    }

    /// More than one wave or a hook: then each wave waits for the one before to be healthy (Argo CD waits in no
    /// other case).
    pub fn waits(&self) -> bool {
        let mut regular = self.steps.iter().filter(|step| step.phase != SyncPhase::SyncFail);
        let Some(first) = regular.next() else { return false };
        first.hook.is_some()
            || regular.any(|step| step.hook.is_some() || (step.phase, step.wave) != (first.phase, first.wave))
    }
}

/// The group and kind that a CustomResourceDefinition defines.
pub fn defined_by(manifest: &Manifest) -> Option<(String, String)> {
    if manifest.kind() != "CustomResourceDefinition" || manifest.group() != "apiextensions.k8s.io" {
        return None;
    }
    let text = |pointer: &str| manifest.0.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?))
}

/// One line a step, in order, as a person reads a plan before it runs.
impl fmt::Display for SyncPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let phase = format!("{:?}", step.phase);
            writeln!(f, "{phase:<8} {:>4}  {:<18} {}", step.wave, step.words(), step.key)?;
        }
        Ok(())
    }
}

/// The sync wave of an object, or Helm's hook weight; 0 when it names none.
pub fn wave_of(object: &Manifest) -> i64 {
    let number = |name: &str| object.annotation(name).and_then(|wave| wave.parse().ok());
    number("argocd.argoproj.io/sync-wave").or_else(|| number("helm.sh/hook-weight")).unwrap_or_default()
}

/// Makes the plan.
pub fn plan_sync(inputs: &PlanInputs) -> SyncPlan {
    let selected = |key: &ResourceKey| {
        let matches = |one: &SyncResource| {
            one.group == key.group
                && one.kind == key.kind
                && one.name == key.name
                && (one.namespace.is_empty() || one.namespace == key.namespace)
        };
        inputs.selected.is_empty() || inputs.selected.iter().any(matches)
    };
    let mut steps = Vec::new();
    for target in &inputs.targets {
        match hook::part_of(target) {
            Part::Object if selected(&target.key()) && wanted(inputs, target) => {
                steps.push(apply_step(inputs, target, SyncPhase::Sync));
            }
            Part::Hook(phases) if !inputs.without_hooks && inputs.selected.is_empty() => {
                let of_sync = phases.into_iter().filter(|phase| phase.is_of_sync());
                steps.extend(of_sync.map(|phase| hook_step(inputs, target, phase)));
            }
            _ => {}
        }
    }
    lift(&mut steps);
    steps.extend(prune_steps(inputs, selected, &steps));
    sort(&mut steps);
    SyncPlan { steps, propagation: options::propagation(&inputs.options) }
}

/// The hooks that the deletion of the Application runs in a phase, in order.
pub fn plan_deletion_hooks(inputs: &PlanInputs, phase: SyncPhase) -> Vec<Step> {
    let of_phase = |target: &&Manifest| matches!(hook::part_of(target), Part::Hook(phases) if phases.contains(&phase));
    let mut steps: Vec<Step> =
        inputs.targets.iter().filter(of_phase).map(|target| hook_step(inputs, target, phase)).collect();
    sort(&mut steps);
    steps
}

fn sort(steps: &mut [Step]) {
    steps.sort_by_cached_key(|step| {
        let rank = i64::try_from(order::kind_rank(&step.key.group, &step.key.kind)).unwrap_or(i64::MAX);
        let applied = matches!(step.action, Action::Apply(_));
        let place = if applied { rank } else { -rank };
        (
            step.phase,
            step.wave,
            applied,
            place,
            step.key.kind.clone(),
            step.key.namespace.clone(),
            step.key.name.clone(),
            // Two of one kind's name: which comes first is nobody's wish, but always the same.
            step.key.group.clone(),
        )
    });
}

fn wanted(inputs: &PlanInputs, target: &Manifest) -> bool {
    let Some(only) = &inputs.only else { return true };
    only.contains(&target.key()) || options::of_object(target, &[], "ApplyOutOfSyncOnly") == Some("false")
}

fn apply_step(inputs: &PlanInputs, manifest: &Manifest, phase: SyncPhase) -> Step {
    let writing = Writing::of(manifest, &inputs.options);
    Step {
        key: manifest.key(),
        version: manifest.version().to_owned(),
        action: Action::Apply(Box::new(manifest.clone())),
        phase,
        wave: wave_of(manifest),
        hook: None,
        writing: Writing { force: inputs.force || writing.force, ..writing },
    }
}

fn hook_step(inputs: &PlanInputs, target: &Manifest, phase: SyncPhase) -> Step {
    let mut manifest = target.clone();
    let name = hook::name_of(target, phase, &inputs.revision, inputs.started);
    let mark = format!("{}/{phase:?}", inputs.operation);
    manifest.annotate(hook::OPERATION, &mark);
    if let Some(metadata) = manifest.metadata_mut() {
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), json!(name));
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(finalizers) = finalizers.as_array_mut()
            && !finalizers.contains(&json!(hook::FINALIZER))
        {
            finalizers.push(json!(hook::FINALIZER));
        }
    }
    Step { hook: Some(Hook { mark, policies: hook::delete_policies(target) }), ..apply_step(inputs, &manifest, phase) }
}

/// A namespace or CRD comes no later than the first that needs it.
fn lift(steps: &mut [Step]) {
    let needs: Vec<(ResourceKey, SyncPhase, i64)> =
        steps.iter().map(|step| (step.key.clone(), step.phase, step.wave)).collect();
    for step in steps.iter_mut().filter(|step| step.hook.is_none()) {
        let Action::Apply(manifest) = &step.action else { continue };
        let text = |pointer: &str| manifest.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let needed = |key: &ResourceKey| match step.key.kind.as_str() {
            "Namespace" => step.key.group.is_empty() && key.namespace == step.key.name,
            "CustomResourceDefinition" => key.group == text("/spec/group") && key.kind == text("/spec/names/kind"),
            _ => false,
        };
        let earliest = needs
            .iter()
            .filter(|(key, phase, _)| *phase != SyncPhase::SyncFail && needed(key))
            .map(|(_, phase, wave)| (*phase, *wave))
            .min();
        if let Some((phase, wave)) = earliest.filter(|earliest| *earliest < (step.phase, step.wave)) {
            (step.phase, step.wave) = (phase, wave);
        }
    }
}

/// Prunes run in mirrored waves, the highest first; with `PruneLast` after all else.
fn prune_steps(inputs: &PlanInputs, selected: impl Fn(&ResourceKey) -> bool, applied: &[Step]) -> Vec<Step> {
    let chosen = inputs
        .extras
        .iter()
        .filter(|(key, live)| selected(key) && hook::part_of(&Manifest(live.clone())) == Part::Object);
    let mut prunes: Vec<(Step, bool)> = chosen
        .map(|(key, live)| {
            let last = options::of_object(&Manifest(live.clone()), &inputs.options, "PruneLast") == Some("true");
            (prune_step(inputs, key, live), last)
        })
        .collect();
    let mut waves: Vec<i64> = prunes.iter().map(|(step, _)| step.wave).collect();
    waves.sort_unstable();
    waves.dedup();
    for (step, _) in &mut prunes {
        if let Ok(place) = waves.binary_search(&step.wave) {
            step.wave = waves[waves.len() - 1 - place];
        }
    }
    let sync = applied.iter().filter(|step| step.phase == SyncPhase::Sync).map(|step| step.wave);
    let after = sync.chain(prunes.iter().map(|(step, _)| step.wave)).max().unwrap_or_default().saturating_add(1);
    prunes.into_iter().map(|(step, last)| if last { Step { wave: after, ..step } } else { step }).collect()
}

fn prune_step(inputs: &PlanInputs, key: &ResourceKey, live: &Value) -> Step {
    let object = Manifest(live.clone());
    let skip = |reason: &str| Action::Skip { reason: reason.to_owned() };
    let uid = object.0.pointer("/metadata/uid").and_then(Value::as_str);
    let action = match (options::deletion(&object, &inputs.options, "Prune"), uid) {
        (Deletion::Never, _) | (_, None) => skip("ignored (no prune)"),
        _ if !inputs.prune => skip("ignored (requires pruning)"),
        (rule, Some(uid)) => {
            Action::Prune { uid: uid.to_owned(), unconfirmed: rule == Deletion::Confirmed && !inputs.approved }
        }
    };
    let version = object.version().to_owned();
    Step {
        key: key.clone(),
        version,
        action,
        phase: SyncPhase::Sync,
        wave: wave_of(&object),
        hook: None,
        writing: Writing::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api_version: &str, kind: &str, name: &str, annotations: Value) -> Manifest {
        Manifest(
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "annotations": annotations}}),
        )
    }

    fn extra(manifest: Manifest) -> (ResourceKey, Value) {
        (manifest.key(), manifest.0)
    }

    fn words(plan: &SyncPlan) -> Vec<String> {
        let word = |action: &Action| match action {
            Action::Apply(_) => "apply".to_owned(),
            Action::Prune { uid, unconfirmed: false } => format!("prune {uid}"),
            Action::Prune { uid, unconfirmed: true } => format!("ask for {uid}"),
            Action::Skip { reason } => reason.clone(),
        };
        plan.steps.iter().map(|step| format!("{} {}", word(&step.action), step.key.name)).collect()
    }

    #[test]
    fn order_is_wave_then_prunes_then_kind_then_name() {
        let inputs = PlanInputs {
            targets: vec![
                object("example.org/v1", "Widget", "custom", json!({})),
                object("apps/v1", "Deployment", "b", json!({})),
                object("v1", "ConfigMap", "late", json!({"argocd.argoproj.io/sync-wave": "5"})),
                object("apps/v1", "Deployment", "a", json!({})),
                object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "crd", json!({})),
                object("v1", "Namespace", "ns", json!({})),
                object("v1", "Service", "early", json!({"argocd.argoproj.io/sync-wave": "-1"})),
            ],
            extras: vec![
                extra(object("v1", "ConfigMap", "old", json!({}))),
                extra(object("apps/v1", "Deployment", "olddep", json!({}))),
            ],
            prune: true,
            ..PlanInputs::default()
        };
        let want = [
            "apply early",
            "prune uid-olddep olddep",
            "prune uid-old old",
            "apply ns",
            "apply crd",
            "apply a",
            "apply b",
            "apply custom",
            "apply late",
        ];
        assert_eq!(words(&plan_sync(&inputs)), want);
    }

    #[test]
    fn nothing_is_pruned_unasked() {
        let keep = || {
            extra(object(
                "v1",
                "ConfigMap",
                "keep",
                json!({"argocd.argoproj.io/sync-options": "Validate=false, Prune=false"}),
            ))
        };
        let plain = || extra(object("v1", "ConfigMap", "plain", json!({})));
        let plan = |prune, options: &[&str]| {
            words(&plan_sync(&PlanInputs {
                extras: vec![keep(), plain()],
                prune,
                options: options.iter().map(ToString::to_string).collect(),
                ..PlanInputs::default()
            }))
        };
        assert_eq!(plan(false, &[]), ["ignored (no prune) keep", "ignored (requires pruning) plain"]);
        assert_eq!(plan(true, &[]), ["ignored (no prune) keep", "prune uid-plain plain"]);
        assert_eq!(plan(true, &["Prune=false"]), ["ignored (no prune) keep", "ignored (no prune) plain"]);
    }

    #[test]
    fn a_selective_sync_touches_only_what_is_named() {
        let inputs = PlanInputs {
            targets: vec![object("v1", "ConfigMap", "a", json!({})), object("v1", "ConfigMap", "b", json!({}))],
            selected: vec![SyncResource { kind: "ConfigMap".into(), name: "b".into(), ..SyncResource::default() }],
            ..PlanInputs::default()
        };
        assert_eq!(words(&plan_sync(&inputs)), ["apply b"]);
    }

    fn places(plan: &SyncPlan) -> Vec<String> {
        plan.steps.iter().map(|step| format!("{:?} {} {}", step.phase, step.wave, step.key.name)).collect()
    }

    #[test]
    fn hooks_run_in_their_phase_and_carry_their_operation() {
        let mut generated = object("batch/v1", "Job", "", json!({"argocd.argoproj.io/hook": "PostSync"}));
        generated.0["metadata"]["generateName"] = json!("after-");
        let inputs = PlanInputs {
            targets: vec![
                generated,
                object("v1", "ConfigMap", "a", json!({})),
                object(
                    "batch/v1",
                    "Job",
                    "both",
                    json!({"argocd.argoproj.io/hook": "PreSync,SyncFail", "argocd.argoproj.io/sync-wave": "3"}),
                ),
                object("batch/v1", "Job", "left", json!({"argocd.argoproj.io/hook": "Skip"})),
            ],
            revision: "0123456789".into(),
            started: 7,
            operation: "op".into(),
            ..PlanInputs::default()
        };
        let plan = plan_sync(&inputs);
        assert_eq!(
            places(&plan),
            ["PreSync 3 both", "Sync 0 a", "PostSync 0 after-0123456-postsync-7", "SyncFail 3 both"]
        );
        assert!(plan.waits());
        let Action::Apply(manifest) = &plan.steps[2].action else { panic!("applied") };
        assert_eq!(manifest.annotation(hook::OPERATION), Some("op/PostSync"));
        assert_eq!(manifest.0["metadata"]["finalizers"], json!([hook::FINALIZER]));
        assert!(manifest.0["metadata"].get("generateName").is_none());
        let bare = plan_sync(&PlanInputs { without_hooks: true, ..inputs });
        assert_eq!(places(&bare), ["Sync 0 a"]);
        assert!(!bare.waits());
    }

    #[test]
    fn a_namespace_and_a_crd_come_before_the_first_that_needs_them() {
        let mut crd = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "crd",
            json!({"argocd.argoproj.io/sync-wave": "2"}),
        );
        crd.0["spec"] = json!({"group": "example.org", "names": {"kind": "Widget"}});
        let plan = plan_sync(&PlanInputs {
            targets: vec![
                crd,
                object("v1", "Namespace", "n", json!({})),
                object("example.org/v1", "Widget", "w", json!({"argocd.argoproj.io/sync-wave": "1"})),
                object("batch/v1", "Job", "j", json!({"argocd.argoproj.io/hook": "PreSync"})),
            ],
            ..PlanInputs::default()
        });
        assert_eq!(places(&plan), ["PreSync 0 n", "PreSync 0 j", "Sync 1 crd", "Sync 1 w"]);
    }

    #[test]
    fn prunes_mirror_their_waves_and_may_be_last() {
        let wave = |name: &str, wave: &str| {
            extra(object("v1", "ConfigMap", name, json!({"argocd.argoproj.io/sync-wave": wave})))
        };
        let plan = |options: &[&str]| {
            places(&plan_sync(&PlanInputs {
                targets: vec![object("v1", "ConfigMap", "new", json!({"argocd.argoproj.io/sync-wave": "4"}))],
                extras: vec![wave("first", "-1"), wave("second", "0"), wave("third", "5")],
                prune: true,
                options: options.iter().map(ToString::to_string).collect(),
                ..PlanInputs::default()
            }))
        };
        assert_eq!(plan(&[]), ["Sync -1 third", "Sync 0 second", "Sync 4 new", "Sync 5 first"]);
        assert_eq!(plan(&["PruneLast=true"]), ["Sync 4 new", "Sync 6 first", "Sync 6 second", "Sync 6 third"]);
    }

    #[test]
    fn a_live_hook_is_never_pruned() {
        let live = extra(object("batch/v1", "Job", "old", json!({"argocd.argoproj.io/hook": "PreSync"})));
        assert_eq!(
            plan_sync(&PlanInputs { extras: vec![live], prune: true, ..PlanInputs::default() }),
            SyncPlan::default()
        );
    }

    #[test]
    fn deletions_that_want_approval_ask_for_it() {
        let plan = |approved| {
            let asks =
                extra(object("v1", "ConfigMap", "a", json!({"argocd.argoproj.io/sync-options": "Prune=confirm"})));
            words(&plan_sync(&PlanInputs { extras: vec![asks], prune: true, approved, ..PlanInputs::default() }))
        };
        assert_eq!(plan(false), ["ask for uid-a a"]);
        assert_eq!(plan(true), ["prune uid-a a"]);
    }

    #[test]
    fn only_what_is_out_of_sync_is_written_if_asked_for() {
        let always = json!({"argocd.argoproj.io/sync-options": "ApplyOutOfSyncOnly=false"});
        let drifted = object("v1", "ConfigMap", "drifted", json!({}));
        let inputs = PlanInputs {
            only: Some(HashSet::from([drifted.key()])),
            targets: vec![
                drifted,
                object("v1", "ConfigMap", "fine", json!({})),
                object("v1", "ConfigMap", "kept", always),
            ],
            ..PlanInputs::default()
        };
        assert_eq!(words(&plan_sync(&inputs)), ["apply drifted", "apply kept"]);
    }
}

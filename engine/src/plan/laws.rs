//! Laws that hold for any plan.
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Kinds whose place within a wave is known, one of no place in two groups, and what those two need.
const KINDS: [(&str, &str); 9] = [
    ("v1", "Namespace"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("apiregistration.k8s.io/v1", "APIService"),
    ("example.org/v1", "Widget"),
    ("example.com/v1", "Widget"),
];

fn object() -> impl Strategy<Value = Manifest> {
    let hook =
        prop::sample::select(vec!["", "", "", "PreSync", "Sync", "PostSync", "SyncFail", "PreSync,PostSync", "Skip"]);
    let wave = prop::sample::select(vec!["", "", "-3", "0", "1", "7"]);
    (prop::sample::select(KINDS.to_vec()), 0..3_usize, 0..3_usize, hook, wave).prop_map(
        |((api_version, kind), name, namespace, hook, wave)| {
            let mut annotations = json!({});
            for (field, text) in [("argocd.argoproj.io/hook", hook), ("argocd.argoproj.io/sync-wave", wave)] {
                if !text.is_empty() {
                    annotations[field] = json!(text);
                }
            }
            let cluster = ["Namespace", "CustomResourceDefinition", "APIService"].contains(&kind);
            let name = format!("n{name}");
            let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "uid": format!("{kind}-{name}"), "annotations": annotations}});
            if !cluster {
                object["metadata"]["namespace"] = json!(format!("n{namespace}"));
            }
            if kind == "CustomResourceDefinition" {
                let group = if name == "n0" { "example.org" } else { "example.com" };
                object["spec"] = json!({"group": group, "names": {"kind": "Widget"}});
            }
            Manifest(object)
        },
    )
}

/// Different objects, some to be there and some that are too many, in any order.
fn inputs() -> impl Strategy<Value = PlanInputs> {
    (prop::collection::vec((object(), prop::bool::weighted(0.7)), 0..24), any::<bool>(), any::<bool>()).prop_map(
        |(objects, prune, last)| {
            let mut all: BTreeMap<ResourceKey, (Manifest, bool)> = BTreeMap::new();
            for (object, wanted) in objects {
                all.insert(object.key(), (object, wanted));
            }
            let (targets, extras): (Vec<_>, Vec<_>) = all.into_values().partition(|(_, wanted)| *wanted);
            PlanInputs {
                targets: targets.into_iter().map(|(object, _)| object).collect(),
                extras: extras.into_iter().map(|(object, _)| (object.key(), object.0)).collect(),
                prune,
                options: if last { vec!["PruneLast=true".to_owned()] } else { Vec::new() },
                ..PlanInputs::default()
            }
        },
    )
}

fn place(step: &Step) -> (SyncPhase, i64) {
    (step.phase, step.wave)
}

/// Whether `first` must be there before `then` can be made.
fn is_needed(first: &Step, then: &Step) -> bool {
    let Action::Apply(manifest) = &first.action else { return false };
    let text = |pointer: &str| manifest.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match first.key.kind.as_str() {
        "Namespace" => then.key.namespace == first.key.name,
        "CustomResourceDefinition" => {
            then.key.kind == text("/spec/names/kind") && then.key.group == text("/spec/group")
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_plan_is_an_order_in_which_all_can_be_done(inputs in inputs()) {
        let steps = plan_sync(&inputs).steps;
        for pair in steps.windows(2) {
            let [before, after] = pair else { continue };
            prop_assert!(place(before) <= place(after), "phases ascend, and the waves in each");
            if place(before) == place(after) {
                let applied = |step: &Step| matches!(step.action, Action::Apply(_));
                let rank = |step: &Step| order::kind_rank(&step.key.group, &step.key.kind);
                prop_assert!(applied(before) <= applied(after), "what goes makes room first");
                match (applied(before), applied(after)) {
                    (true, true) => prop_assert!(rank(before) <= rank(after)),
                    (false, false) => prop_assert!(rank(before) >= rank(after), "taken down the other way round"),
                    _ => {}
                }
            }
        }
        for (at, step) in steps.iter().enumerate() {
            // A hook comes when it asks to, and SyncFail when something else has failed.
            let later = steps[at..].iter().filter(|later| later.hook.is_none() && step.phase != SyncPhase::SyncFail);
            let applies = matches!(step.action, Action::Apply(_));
            let missed = later.filter(|later| applies && is_needed(later, step)).count();
            prop_assert_eq!(missed, 0, "{} needs what comes later", &step.key);
        }
    }

    #[test]
    fn nothing_is_forgotten_or_done_twice(inputs in inputs()) {
        let steps = plan_sync(&inputs).steps;
        for target in &inputs.targets {
            let want = match hook::part_of(target) {
                Part::Object => 1,
                Part::Hook(phases) => phases.len(),
                _ => 0,
            };
            let found = steps.iter().filter(|step| step.key == target.key() && matches!(step.action, Action::Apply(_)));
            prop_assert_eq!(found.count(), want);
        }
        let pruned = steps.iter().filter(|step| matches!(step.action, Action::Prune { .. })).count();
        prop_assert!(inputs.prune || pruned == 0, "nothing is pruned unasked");
        let (mut waves, mut applied) = (Vec::new(), Vec::new());
        for step in steps.iter().filter(|step| step.phase == SyncPhase::Sync) {
            let list = if matches!(step.action, Action::Apply(_)) { &mut applied } else { &mut waves };
            list.push(step.wave);
        }
        if inputs.options.iter().any(|option| option == "PruneLast=true") {
            prop_assert!(waves.iter().min() > applied.iter().max() || waves.is_empty());
        }
    }

    #[test]
    fn the_order_of_the_files_is_nobodys(
        (inputs, targets, extras) in inputs().prop_flat_map(|inputs| {
            let (targets, extras) = (inputs.targets.clone(), inputs.extras.clone());
            (Just(std::sync::Arc::new(inputs)), Just(targets).prop_shuffle(), Just(extras).prop_shuffle())
        })
    ) {
        let shuffled = PlanInputs { targets, extras, prune: inputs.prune, options: inputs.options.clone(), ..PlanInputs::default() };
        prop_assert_eq!(plan_sync(&shuffled), plan_sync(&inputs));
    }
}

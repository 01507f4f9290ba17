//! The sync plan: what is applied and pruned, in which order. A value made before anything runs; running it
//! leaves no choices. Pure. Order is Argo CD's: wave, kind, name; prunes after, in reverse.
use serde_json::Value;

use crate::app::SyncResource;
use crate::resource::{Manifest, ResourceKey};

/// Kinds in the order they are applied; others come after (Argo CD, gitops-engine's list).
const KIND_ORDER: [&str; 34] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
];

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
    /// Only these, if any are named.
    pub selected: Vec<SyncResource>,
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
    },
    /// Leave it.
    Skip {
        /// Why, in Argo CD's words.
        reason: String,
    },
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
    pub wave: i64,
}

/// The steps in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SyncPlan {
    /// Applies, then prunes.
    pub steps: Vec<Step>,
}

/// The sync wave of an object; 0 when it names none.
pub fn wave_of(object: &Manifest) -> i64 {
    object.annotation("argocd.argoproj.io/sync-wave").and_then(|wave| wave.parse().ok()).unwrap_or_default()
}

fn kind_rank(group: &str, kind: &str) -> usize {
    if kind == "APIService" && group == "apiregistration.k8s.io" {
        return KIND_ORDER.len();
    }
    KIND_ORDER.iter().position(|known| *known == kind).unwrap_or(KIND_ORDER.len() + 1)
}

fn has_option(object: &Manifest, options: &[String], option: &str) -> bool {
    let own = object.annotation("argocd.argoproj.io/sync-options").unwrap_or_default();
    own.split(',').map(str::trim).chain(options.iter().map(String::as_str)).any(|given| given == option)
}

/// Whether deletion of the Application leaves this object: CRDs, `Delete=false`, `helm.sh/resource-policy: keep`.
pub fn kept_on_delete(live: &Value) -> bool {
    let object = Manifest(live.clone());
    object.kind() == "CustomResourceDefinition"
        || has_option(&object, &[], "Delete=false")
        || object.annotation("helm.sh/resource-policy") == Some("keep")
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
    let order = |step: &Step| {
        (
            step.wave,
            kind_rank(&step.key.group, &step.key.kind),
            step.key.kind.clone(),
            step.key.namespace.clone(),
            step.key.name.clone(),
        )
    };
    let mut steps: Vec<Step> = inputs
        .targets
        .iter()
        .filter(|manifest| selected(&manifest.key()))
        .map(|manifest| Step {
            key: manifest.key(),
            version: manifest.version().to_owned(),
            action: Action::Apply(Box::new(manifest.clone())),
            wave: wave_of(manifest),
        })
        .collect();
    steps.sort_by_cached_key(order);
    let mut prunes: Vec<Step> = inputs
        .extras
        .iter()
        .filter(|(key, _)| selected(key))
        .map(|(key, live)| prune_step(inputs, key, live))
        .collect();
    prunes.sort_by_cached_key(order);
    prunes.reverse();
    steps.extend(prunes);
    SyncPlan { steps }
}

fn prune_step(inputs: &PlanInputs, key: &ResourceKey, live: &Value) -> Step {
    let object = Manifest(live.clone());
    let skip = |reason: &str| Action::Skip { reason: reason.to_owned() };
    let action = if has_option(&object, &inputs.options, "Prune=false") {
        skip("ignored (no prune)")
    } else if !inputs.prune {
        skip("ignored (requires pruning)")
    } else {
        match object.0.pointer("/metadata/uid").and_then(Value::as_str) {
            Some(uid) => Action::Prune { uid: uid.to_owned() },
            None => skip("ignored (no prune)"),
        }
    };
    Step { key: key.clone(), version: object.version().to_owned(), action, wave: wave_of(&object) }
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
            Action::Prune { uid } => format!("prune {uid}"),
            Action::Skip { reason } => reason.clone(),
        };
        plan.steps.iter().map(|step| format!("{} {}", word(&step.action), step.key.name)).collect()
    }

    #[test]
    fn order_is_wave_then_kind_then_name_and_prunes_are_mirrored() {
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
            "apply ns",
            "apply crd",
            "apply a",
            "apply b",
            "apply custom",
            "apply late",
            "prune uid-olddep olddep",
            "prune uid-old old",
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
        assert_eq!(plan(false, &[]), ["ignored (requires pruning) plain", "ignored (no prune) keep"]);
        assert_eq!(plan(true, &[]), ["prune uid-plain plain", "ignored (no prune) keep"]);
        assert_eq!(plan(true, &["Prune=false"]), ["ignored (no prune) plain", "ignored (no prune) keep"]);
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

    #[test]
    fn deletion_keeps_what_asks_to_stay() {
        assert!(kept_on_delete(&object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "a", json!({})).0));
        assert!(kept_on_delete(
            &object("v1", "ConfigMap", "a", json!({"argocd.argoproj.io/sync-options": "Delete=false"})).0
        ));
        assert!(!kept_on_delete(&object("v1", "ConfigMap", "a", json!({})).0));
    }
}

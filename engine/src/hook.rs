//! Which manifests are hooks, of which phase, and when they are deleted (Argo CD, user guide, "Resource Hooks";
//! Helm's annotations are read as Argo CD reads them). Pure.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::HealthCode;
use crate::health::{Health, HealthRules};
use crate::resource::Manifest;

/// The annotation that makes a hook.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// Says when a hook is deleted.
pub const DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
/// Holds a hook in the cluster until its end is recorded: its result cannot be lost to a TTL or a passer-by.
pub const FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";
/// Names the operation and phase that a live hook was made for, so that a resumed operation knows its own hooks
/// from those of an earlier one and none runs twice.
pub const OPERATION: &str = "takobune.dev/hook-of";

/// The phases of a sync, in order, and those of the deletion of the Application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncPhase {
    /// Before anything is applied.
    PreSync,
    /// The objects themselves, and hooks among them.
    #[default]
    Sync,
    /// After all is healthy.
    PostSync,
    /// Only when the sync failed.
    SyncFail,
    /// Before the Application's objects are deleted.
    PreDelete,
    /// After they have gone.
    PostDelete,
}

impl SyncPhase {
    fn from_argo(word: &str) -> Option<Self> {
        Some(match word {
            "PreSync" => Self::PreSync,
            "Sync" => Self::Sync,
            "PostSync" => Self::PostSync,
            "SyncFail" => Self::SyncFail,
            "PreDelete" => Self::PreDelete,
            "PostDelete" => Self::PostDelete,
            _ => return None,
        })
    }

    fn from_helm(word: &str) -> Option<Self> {
        Some(match word {
            "pre-install" | "pre-upgrade" => Self::PreSync,
            "post-install" | "post-upgrade" => Self::PostSync,
            "pre-delete" => Self::PreDelete,
            "post-delete" => Self::PostDelete,
            _ => return None,
        })
    }

    /// A sync runs it; the deletion of the Application runs the others.
    pub fn is_of_sync(self) -> bool {
        !matches!(self, Self::PreDelete | Self::PostDelete)
    }
}

/// When a hook is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletePolicy {
    /// After it succeeded.
    HookSucceeded,
    /// After it failed.
    HookFailed,
    /// Before it is made anew.
    BeforeHookCreation,
}

/// What a manifest is to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// An object of the target state.
    Object,
    /// A hook of these phases.
    Hook(Vec<SyncPhase>),
    /// `Skip`, and hooks of a kind that Argo CD does not know: neither applied nor compared.
    Left,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// What the manifest is. Argo CD's annotation wins over Helm's.
pub fn part_of(object: &Manifest) -> Part {
    let of = |text: &str, phase: fn(&str) -> Option<SyncPhase>| {
        let mut phases: Vec<SyncPhase> = words(text).filter_map(phase).collect();
        phases.sort();
        phases.dedup();
        if phases.is_empty() { Part::Left } else { Part::Hook(phases) }
    };
    match (object.annotation(HOOK), object.annotation("helm.sh/hook")) {
        (Some(argo), _) => of(argo, SyncPhase::from_argo),
        // CRDs of Helm 2 charts are plain objects.
        (None, Some(helm)) if words(helm).any(|word| word == "crd-install") => Part::Object,
        (None, Some(helm)) => of(helm, SyncPhase::from_helm),
        (None, None) => Part::Object,
    }
}

/// When the hook is deleted; before its next creation when it does not say.
pub fn delete_policies(object: &Manifest) -> Vec<DeletePolicy> {
    let of = |word: &str| {
        Some(match word {
            "HookSucceeded" | "hook-succeeded" => DeletePolicy::HookSucceeded,
            "HookFailed" | "hook-failed" => DeletePolicy::HookFailed,
            "BeforeHookCreation" | "before-hook-creation" => DeletePolicy::BeforeHookCreation,
            _ => return None,
        })
    };
    let named = |annotation| object.annotation(annotation).map(|text| words(text).filter_map(of).collect::<Vec<_>>());
    let found = named(DELETE_POLICY).or_else(|| named("helm.sh/hook-delete-policy")).unwrap_or_default();
    if found.is_empty() { vec![DeletePolicy::BeforeHookCreation] } else { found }
}

/// The name under which a hook runs. With `generateName`: `<prefix><revision 7>-<phase>-<start of the operation>`,
/// so that a resumed operation finds it again.
pub fn name_of(object: &Manifest, phase: SyncPhase, revision: &str, started: i64) -> String {
    if !object.name().is_empty() {
        return object.name().to_owned();
    }
    let prefix = object.0.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
    let short = revision.get(..7).unwrap_or(revision);
    format!("{prefix}{short}-{}-{started}", format!("{phase:?}").to_lowercase())
}

/// What has to happen with a hook that has not been started by this operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Make it.
    Create,
    /// This very operation made it, and was interrupted before it could record that.
    Adopt,
    /// One of an earlier operation is in the way: delete it first.
    Replace {
        /// The incarnation that was looked at.
        uid: String,
    },
    /// It is on its way out.
    Wait,
}

/// Decides how a hook begins. `mark` is this operation's value of [`OPERATION`].
pub fn entry(live: Option<&Value>, mark: &str, policies: &[DeletePolicy]) -> Entry {
    let Some(live) = live else { return Entry::Create };
    let object = Manifest(live.clone());
    if object.annotation(OPERATION) == Some(mark) {
        return Entry::Adopt;
    }
    if is_deleted(live) {
        return Entry::Wait;
    }
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
    match uid.filter(|_| policies.contains(&DeletePolicy::BeforeHookCreation)) {
        Some(uid) => Entry::Replace { uid: uid.to_owned() },
        None => Entry::Create,
    }
}

/// Whether our finalizer holds the object.
pub(crate) fn is_held(live: &Value) -> bool {
    let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|all| all.iter().any(|one| one == FINALIZER))
}

fn is_deleted(live: &Value) -> bool {
    live.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// Where a hook stands: Healthy has ended well, Degraded and Unknown ended badly, all else still runs.
pub fn progress(live: Option<&Value>, rules: &HealthRules) -> Health {
    match live {
        None => Health { status: HealthCode::Degraded, message: "it was deleted before it completed".to_owned() },
        Some(live) if is_deleted(live) => {
            Health { status: HealthCode::Degraded, message: "it was deleted before it completed".to_owned() }
        }
        // Kinds without health are done as soon as they are there.
        Some(live) => rules.of(live).unwrap_or(Health { status: HealthCode::Healthy, message: String::new() }),
    }
}

/// Whether a hook's containers are at work right now: then it is not ended in favour of a newer revision.
pub fn at_work(live: &Value) -> bool {
    let count = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let ready = live
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|container| !container["state"]["running"].is_null()));
    count("/status/ready") > 0 || ready
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(annotations: Value) -> Manifest {
        Manifest(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "annotations": annotations}}),
        )
    }

    #[test]
    fn hooks_are_known_by_their_annotations() {
        use SyncPhase::{PostDelete, PostSync, PreDelete, PreSync, Sync};
        let cases = [
            (json!({}), Part::Object),
            (json!({HOOK: "PreSync"}), Part::Hook(vec![PreSync])),
            (json!({HOOK: "PostSync, PreSync,Sync"}), Part::Hook(vec![PreSync, Sync, PostSync])),
            (json!({HOOK: "PreDelete"}), Part::Hook(vec![PreDelete])),
            (json!({HOOK: "PostDelete,PostSync"}), Part::Hook(vec![PostSync, PostDelete])),
            (json!({"helm.sh/hook": "post-delete"}), Part::Hook(vec![PostDelete])),
            (json!({HOOK: "Skip"}), Part::Left),
            (json!({HOOK: "Unheard"}), Part::Left),
            (json!({"helm.sh/hook": "pre-install,pre-upgrade"}), Part::Hook(vec![PreSync])),
            (json!({"helm.sh/hook": "post-upgrade"}), Part::Hook(vec![PostSync])),
            (json!({"helm.sh/hook": "test"}), Part::Left),
            (json!({"helm.sh/hook": "crd-install"}), Part::Object),
            (json!({"helm.sh/hook": "pre-install", HOOK: "PostSync"}), Part::Hook(vec![PostSync])),
        ];
        for (annotations, want) in cases {
            assert_eq!(part_of(&with(annotations.clone())), want, "{annotations}");
        }
    }

    #[test]
    fn deletion_policies_have_two_spellings_and_a_default() {
        use DeletePolicy::{BeforeHookCreation, HookFailed, HookSucceeded};
        let cases = [
            (json!({}), vec![BeforeHookCreation]),
            (json!({DELETE_POLICY: "HookSucceeded,HookFailed"}), vec![HookSucceeded, HookFailed]),
            (json!({"helm.sh/hook-delete-policy": "hook-succeeded"}), vec![HookSucceeded]),
            (json!({DELETE_POLICY: "nonsense"}), vec![BeforeHookCreation]),
        ];
        for (annotations, want) in cases {
            assert_eq!(delete_policies(&with(annotations.clone())), want, "{annotations}");
        }
    }

    #[test]
    fn a_generated_name_is_the_same_after_a_restart() {
        let object = Manifest(json!({"metadata": {"generateName": "migrate-"}}));
        assert_eq!(name_of(&object, SyncPhase::PreSync, "0123456789", 17), "migrate-0123456-presync-17");
        assert_eq!(name_of(&with(json!({})), SyncPhase::PreSync, "0123456789", 17), "j");
    }

    #[test]
    fn a_hook_begins_once_an_operation() {
        let live = |mark: &str, deleted: bool| {
            let mut live = json!({"metadata": {"uid": "u", "annotations": {OPERATION: mark}}});
            if deleted {
                live["metadata"]["deletionTimestamp"] = json!("x");
            }
            live
        };
        let before = [DeletePolicy::BeforeHookCreation];
        assert_eq!(entry(None, "me", &before), Entry::Create);
        assert_eq!(entry(Some(&live("me", false)), "me", &before), Entry::Adopt);
        assert_eq!(entry(Some(&live("old", false)), "me", &before), Entry::Replace { uid: "u".into() });
        assert_eq!(entry(Some(&live("old", true)), "me", &before), Entry::Wait);
        assert_eq!(entry(Some(&live("old", false)), "me", &[DeletePolicy::HookFailed]), Entry::Create);
    }

    #[test]
    fn a_hook_that_is_gone_has_failed() {
        let progress = |live: Option<&Value>| super::progress(live, &HealthRules::default());
        assert_eq!(progress(None).status, HealthCode::Degraded);
        let job = |status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "status": status});
        assert_eq!(progress(Some(&job(json!({})))).status, HealthCode::Progressing);
        assert_eq!(
            progress(Some(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}))).status,
            HealthCode::Healthy
        );
        assert!(at_work(&job(json!({"active": 1, "ready": 1}))));
        assert!(!at_work(&job(json!({"active": 1, "ready": 0}))), "its image cannot be pulled, say");
    }
}

//! How an Application is deleted with its objects (Argo CD, user guide, "App Deletion" and "Resource Hooks"): hooks
//! before, the objects wave by wave, hooks after. Where it stands is in the finalizers alone, so a process that comes
//! after a SIGKILL goes on from there. Pure.
use serde_json::Value;

use crate::app::HealthCode;
use crate::hook::{self, DeletePolicy, Entry, SyncPhase};
use crate::options::{self, Deletion, Propagation};
use crate::plan::{Step, wave_of};
use crate::resource::{Manifest, ResourceKey};

/// Has the objects deleted; with `/foreground` or `/background` after it, in that way.
pub const OBJECTS: &str = "resources-finalizer.argocd.argoproj.io";
/// Has the hooks of PreDelete run; with `/cleanup` after it, has them deleted as their policies say.
pub const PRE_DELETE: &str = "pre-delete-finalizer.argocd.argoproj.io";
/// The same for PostDelete.
pub const POST_DELETE: &str = "post-delete-finalizer.argocd.argoproj.io";

/// What a deletion has to do now, by the finalizers that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Run the hooks of this phase.
    Hooks(SyncPhase),
    /// Delete them, as their policies say.
    CleanUp(SyncPhase),
    /// Delete the objects.
    Objects(Propagation),
}

fn cleanup(finalizer: &str) -> String {
    format!("{finalizer}/cleanup")
}

/// The stage; `None` when nothing of ours holds the Application.
pub fn stage(finalizers: &[String]) -> Option<Stage> {
    let has = |name: &str| finalizers.iter().any(|one| one == name);
    let objects = |one: &&String| *one == OBJECTS || one.starts_with(&format!("{OBJECTS}/"));
    if has(PRE_DELETE) {
        return Some(Stage::Hooks(SyncPhase::PreDelete));
    }
    if has(&cleanup(PRE_DELETE)) {
        return Some(Stage::CleanUp(SyncPhase::PreDelete));
    }
    if let Some(found) = finalizers.iter().find(objects) {
        let background = found.ends_with("/background");
        return Some(Stage::Objects(if background { Propagation::Background } else { Propagation::Foreground }));
    }
    if has(POST_DELETE) {
        return Some(Stage::Hooks(SyncPhase::PostDelete));
    }
    has(&cleanup(POST_DELETE)).then_some(Stage::CleanUp(SyncPhase::PostDelete))
}

/// The finalizers after a stage is done.
pub fn without(finalizers: &[String], stage: Stage) -> Vec<String> {
    let hooks = |phase| if phase == SyncPhase::PreDelete { PRE_DELETE } else { POST_DELETE };
    let done = |one: &String| match stage {
        Stage::Hooks(phase) => one == hooks(phase),
        Stage::CleanUp(phase) => *one == cleanup(hooks(phase)),
        Stage::Objects(_) => one == OBJECTS || one.starts_with(&format!("{OBJECTS}/")),
    };
    finalizers.iter().filter(|one| !done(one)).cloned().collect()
}

/// All finalizers that are ours are taken away: of an Application whose cluster is not known any more, which could
/// never be deleted otherwise.
pub fn without_ours(finalizers: &[String]) -> Vec<String> {
    let mut left = finalizers.to_vec();
    while let Some(stage) = stage(&left) {
        left = without(&left, stage);
    }
    left
}

/// The finalizers of an Application whose target state has these hooks; `None` when they are right as they are.
pub fn with_hooks(finalizers: &[String], before: bool, after: bool) -> Option<Vec<String>> {
    let mut wanted = finalizers.to_vec();
    for (name, has) in [(PRE_DELETE, before), (POST_DELETE, after)] {
        for finalizer in [name.to_owned(), cleanup(name)] {
            if !has {
                wanted.retain(|one| *one != finalizer);
            } else if !wanted.contains(&finalizer) {
                wanted.push(finalizer);
            }
        }
    }
    (wanted != finalizers).then_some(wanted)
}

/// What is done next with the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wave {
    /// Delete these (indices) now.
    pub delete: Vec<usize>,
    /// These want approval first.
    pub unconfirmed: Vec<usize>,
    /// Anything is left, in this wave or a lower one, or on its way out.
    pub left: bool,
}

/// The highest wave that still has objects. Lower waves wait until it has gone; what asks for approval holds all
/// below it. CustomResourceDefinitions, what Helm keeps, `Delete=false` and the Application itself stay.
pub fn next_wave(live: &[(ResourceKey, Value)], this: &ResourceKey, options: &[String], approved: bool) -> Wave {
    let rule = |live: &Value| options::deletion_with_application(live, options);
    let goes: Vec<(usize, &Value)> = live
        .iter()
        .enumerate()
        .filter(|(_, (key, live))| key != this && rule(live) != Deletion::Never)
        .map(|(at, (_, live))| (at, live))
        .collect();
    let wave = |live: &Value| wave_of(&Manifest(live.clone()));
    let Some(highest) = goes.iter().map(|(_, live)| wave(live)).max() else { return Wave::default() };
    let mut next = Wave { left: true, ..Wave::default() };
    for (at, live) in goes.into_iter().filter(|(_, live)| wave(live) == highest) {
        if rule(live) == Deletion::Confirmed && !approved {
            next.unconfirmed.push(at);
        } else if live["metadata"]["deletionTimestamp"].is_null() {
            next.delete.push(at);
        }
    }
    next
}

/// What is done next with the hooks of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Make these (indices).
    Make(Vec<usize>),
    /// Delete this one of an earlier time first.
    Replace(usize, String),
    /// They are at work.
    Wait(String),
    /// One failed; it is for a person to mend and delete it.
    Fail(String),
    /// All have ended well.
    Done,
}

/// Leads the hooks, wave by wave. `live` and `judge` answer for a step by its index.
pub fn lead(steps: &[Step], live: &[Option<Value>], judge: impl Fn(Option<&Value>) -> crate::health::Health) -> Next {
    let mut at = 0;
    while at < steps.len() {
        let same = steps[at..].iter().take_while(|step| step.wave == steps[at].wave).count();
        let (mut missing, mut waiting) = (Vec::new(), None);
        for index in at..at + same {
            let Some(hook) = &steps[index].hook else { continue };
            match hook::entry(live[index].as_ref(), &hook.mark, &hook.policies) {
                Entry::Create => missing.push(index),
                Entry::Replace { uid } => return Next::Replace(index, uid),
                Entry::Wait => waiting = Some(index),
                Entry::Adopt => {
                    let health = judge(live[index].as_ref());
                    match health.status {
                        HealthCode::Healthy => {}
                        HealthCode::Degraded | HealthCode::Unknown => {
                            return Next::Fail(format!("hook {} failed: {}", steps[index].key, health.message));
                        }
                        _ => waiting = Some(index),
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Next::Make(missing);
        }
        if let Some(index) = waiting {
            return Next::Wait(format!("waiting for completion of hook {}", steps[index].key));
        }
        at += same;
    }
    Next::Done
}

/// The hooks that are deleted after a phase: each by its own end and policies.
pub fn cleaned(
    steps: &[Step],
    live: &[Option<Value>],
    judge: impl Fn(Option<&Value>) -> crate::health::Health,
) -> Vec<usize> {
    let is_deleted = |at: &usize| {
        let (Some(hook), Some(live)) = (&steps[*at].hook, live[*at].as_ref()) else { return false };
        let healthy = judge(Some(live)).status == HealthCode::Healthy;
        hook.policies.contains(if healthy { &DeletePolicy::HookSucceeded } else { &DeletePolicy::HookFailed })
    };
    (0..steps.len()).filter(is_deleted).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::health::Health;
    use crate::plan::{PlanInputs, plan_deletion_hooks};

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_finalizers_lead_through_the_stages() {
        let mut left = names(&[
            "other",
            "post-delete-finalizer.argocd.argoproj.io",
            "post-delete-finalizer.argocd.argoproj.io/cleanup",
            "resources-finalizer.argocd.argoproj.io/background",
            "pre-delete-finalizer.argocd.argoproj.io/cleanup",
            "pre-delete-finalizer.argocd.argoproj.io",
        ]);
        let mut seen = Vec::new();
        assert_eq!(without_ours(&left), ["other"]);
        while let Some(stage) = stage(&left) {
            seen.push(stage);
            left = without(&left, stage);
        }
        use SyncPhase::{PostDelete, PreDelete};
        assert_eq!(
            seen,
            [
                Stage::Hooks(PreDelete),
                Stage::CleanUp(PreDelete),
                Stage::Objects(Propagation::Background),
                Stage::Hooks(PostDelete),
                Stage::CleanUp(PostDelete)
            ]
        );
        assert_eq!(left, ["other"]);
        assert_eq!(
            stage(&names(&["resources-finalizer.argocd.argoproj.io"])),
            Some(Stage::Objects(Propagation::Foreground))
        );
    }

    #[test]
    fn hooks_of_deletion_hold_the_application_and_let_go_when_they_leave_git() {
        let with = with_hooks(&names(&["x"]), false, true).unwrap();
        assert_eq!(with, ["x", POST_DELETE, "post-delete-finalizer.argocd.argoproj.io/cleanup"]);
        assert_eq!(with_hooks(&with, false, true), None);
        assert_eq!(with_hooks(&with, false, false), Some(names(&["x"])));
        assert_eq!(with_hooks(&[], true, false).unwrap().len(), 2);
    }

    fn object(name: &str, wave: &str, more: Value) -> (ResourceKey, Value) {
        let mut live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name, "annotations": {"argocd.argoproj.io/sync-wave": wave}}});
        if let Some(annotations) = live["metadata"]["annotations"].as_object_mut() {
            annotations.extend(more.as_object().cloned().unwrap_or_default());
        }
        (Manifest(live.clone()).key(), live)
    }

    fn app_key() -> ResourceKey {
        ResourceKey {
            group: "argoproj.io".into(),
            kind: "Application".into(),
            namespace: "argocd".into(),
            name: "a".into(),
        }
    }

    #[test]
    fn the_highest_wave_goes_first_and_holds_the_others() {
        let mut all =
            vec![object("low", "-1", json!({})), object("high", "2", json!({})), object("also-high", "2", json!({}))];
        let next = |all: &[_], approved| next_wave(all, &app_key(), &[], approved);
        assert_eq!(next(&all, false), Wave { delete: vec![1, 2], unconfirmed: vec![], left: true });
        all[1].1["metadata"]["deletionTimestamp"] = json!("now");
        assert_eq!(next(&all, false), Wave { delete: vec![2], unconfirmed: vec![], left: true });
        all.pop();
        assert_eq!(next(&all, false), Wave { delete: vec![], unconfirmed: vec![], left: true }, "it is on its way out");
        all.pop();
        assert_eq!(next(&all, false).delete, [0]);
        assert_eq!(next(&[], false), Wave::default());
    }

    #[test]
    fn what_stays_and_what_asks() {
        let options = |one: &str| json!({"argocd.argoproj.io/sync-options": one});
        let all = vec![
            object("kept", "9", options("Delete=false")),
            object("helm", "9", json!({"helm.sh/resource-policy": "keep"})),
            (
                app_key(),
                json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "a", "namespace": "argocd"}}),
            ),
            object("asks", "3", options("Delete=confirm")),
            object("free", "3", json!({})),
            object("below", "1", json!({})),
        ];
        let wave = next_wave(&all, &app_key(), &[], false);
        assert_eq!(wave, Wave { delete: vec![4], unconfirmed: vec![3], left: true });
        assert_eq!(next_wave(&all, &app_key(), &[], true).delete, [3, 4]);
        assert!(!next_wave(&all[..3], &app_key(), &[], false).left);
        let of_application = next_wave(&all[5..], &app_key(), &names(&["Delete=false"]), false);
        assert!(!of_application.left);
    }

    fn hook(name: &str, wave: &str, policy: &str) -> Manifest {
        Manifest(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "n", "annotations":
            {"argocd.argoproj.io/hook": "PreDelete,PostSync", "argocd.argoproj.io/sync-wave": wave, "argocd.argoproj.io/hook-delete-policy": policy}}}),
        )
    }

    fn judge(live: Option<&Value>) -> Health {
        let status = live.and_then(|live| serde_json::from_value(live["is"].clone()).ok()).unwrap_or_default();
        Health { status, message: "words".into() }
    }

    #[test]
    fn hooks_run_wave_by_wave_and_are_cleaned_by_their_policies() {
        let inputs = PlanInputs {
            targets: vec![hook("second", "1", "HookSucceeded"), hook("first", "0", "HookFailed")],
            operation: "uid@deletion".into(),
            ..PlanInputs::default()
        };
        let steps = plan_deletion_hooks(&inputs, SyncPhase::PreDelete);
        assert_eq!(steps.iter().map(|step| step.key.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert!(plan_deletion_hooks(&inputs, SyncPhase::PostDelete).is_empty());
        let live = |is: &str, mark: &str| {
            Some(json!({"is": is, "metadata": {"uid": "u", "annotations": {hook::OPERATION: mark}}}))
        };
        let ours = "uid@deletion/PreDelete";
        assert_eq!(lead(&steps, &[None, None], judge), Next::Make(vec![0]));
        assert!(matches!(lead(&steps, &[live("Progressing", ours), None], judge), Next::Wait(_)));
        assert_eq!(lead(&steps, &[live("Healthy", ours), None], judge), Next::Make(vec![1]));
        assert!(
            matches!(lead(&steps, &[live("Degraded", ours), None], judge), Next::Fail(what) if what.contains("first failed: words"))
        );
        let both = [live("Healthy", ours), live("Healthy", ours)];
        assert_eq!(lead(&steps, &both, judge), Next::Done);
        assert_eq!(cleaned(&steps, &both, judge), [1]);
        assert_eq!(cleaned(&steps, &[live("Degraded", ours), None], judge), [0]);
    }
}

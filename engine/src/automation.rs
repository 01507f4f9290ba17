//! Whether automated sync acts now, and why not (Argo CD, user guide, "Automated Sync Policy"). Pure.
use crate::app::{Application, Phase, SyncCode};

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Sync now.
    Sync {
        /// With pruning.
        prune: bool,
        /// Because live state drifted, not because git moved.
        self_heal: bool,
    },
    /// Not now.
    Wait {
        /// Why, in words.
        reason: String,
    },
}

/// What was found besides the Application itself.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// The verdict of the comparison.
    pub sync: SyncCode,
    /// The commit of the target state.
    pub revision: &'a str,
    /// An error condition blocks (ComparisonError, InvalidSpecError).
    pub blocked: bool,
    /// Every object would be pruned.
    pub would_prune_all: bool,
    /// Objects that would be pruned, of how many there are.
    pub prunes: (usize, usize),
    /// Something only pruning could set right.
    pub only_prunes: bool,
}

fn wait(reason: impl Into<String>) -> Decision {
    Decision::Wait { reason: reason.into() }
}

/// Decides.
pub fn decide(app: &Application, facts: &Facts<'_>) -> Decision {
    let Some(policy) = app.automated() else { return wait("automated sync is off") };
    if facts.blocked {
        return wait("an error condition blocks automated sync");
    }
    if facts.sync != SyncCode::OutOfSync {
        return wait("nothing is out of sync");
    }
    if app.operation.is_some() {
        return wait("another operation is in progress");
    }
    let prune = policy.prune.unwrap_or_default();
    if facts.only_prunes && !prune {
        return wait("only pruning is left, and automated pruning is off");
    }
    if facts.would_prune_all && prune && !policy.allow_empty.unwrap_or_default() {
        return wait(format!("Skipping sync attempt to {}: auto-sync will wipe out all resources", facts.revision));
    }
    if prune && let Some(reason) = too_many(app, facts) {
        return wait(reason);
    }
    let Some(last) = app.operation_state() else { return Decision::Sync { prune, self_heal: false } };
    let attempted = last.operation.sync.as_ref().is_some_and(|sync| !sync.dry_run)
        && last.sync_result.as_ref().is_some_and(|result| result.revision == facts.revision);
    if !attempted {
        return Decision::Sync { prune, self_heal: false };
    }
    match last.phase {
        Phase::Succeeded if policy.self_heal.unwrap_or_default() => Decision::Sync { prune, self_heal: true },
        Phase::Succeeded => wait(format!("{} was synced already, and selfHeal is off", facts.revision)),
        _ => wait(format!("Failed last sync attempt to {}: {}", facts.revision, last.message)),
    }
}

/// Fewer objects than this may go without being asked for, whatever their share.
const MASS: usize = 10;

/// The mass-deletion breaker: a render that would take away more than half of what is there is more often a mistake
/// (a moved directory, a broken overlay) than a wish. The option `MassPrune=true` turns it off.
fn too_many(app: &Application, facts: &Facts<'_>) -> Option<String> {
    let (gone, all) = facts.prunes;
    let options = app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.as_slice()).unwrap_or_default();
    let allowed = crate::options::of_application(options, "MassPrune") == Some("true");
    let most = all >= MASS && gone * 2 > all && gone < all;
    (most && !allowed).then(|| {
        format!(
            "Skipping sync attempt to {}: auto-sync would prune {gone} of {all} resources; if that is meant, sync once with prune by hand, or set the sync option MassPrune=true",
            facts.revision
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn app(automated: Value, state: Value) -> Application {
        let mut object = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"project": "p", "destination": {}, "syncPolicy": {"automated": automated}}});
        if !state.is_null() {
            object["status"] = json!({"operationState": state});
        }
        serde_json::from_value(object).unwrap()
    }

    fn after(phase: &str, revision: &str) -> Value {
        json!({"operation": {"sync": {}}, "phase": phase, "message": "m", "syncResult": {"revision": revision}})
    }

    #[test]
    fn automation_decides_as_argo_cd_documents() {
        let drift = Facts { sync: SyncCode::OutOfSync, revision: "r2", ..Facts::default() };
        let sync = |prune, self_heal| Ok::<_, &str>((prune, self_heal));
        let cases = [
            (json!(null), json!(null), drift.clone(), Err("automated sync is off")),
            (json!({"enabled": false}), json!(null), drift.clone(), Err("automated sync is off")),
            (json!({}), json!(null), drift.clone(), sync(false, false)),
            (json!({"prune": true}), after("Succeeded", "r1"), drift.clone(), sync(true, false)),
            (json!({}), after("Succeeded", "r2"), drift.clone(), Err("selfHeal is off")),
            (json!({"selfHeal": true}), after("Succeeded", "r2"), drift.clone(), sync(false, true)),
            (json!({"selfHeal": true}), after("Failed", "r2"), drift.clone(), Err("Failed last sync attempt to r2: m")),
            (json!({}), json!(null), Facts { sync: SyncCode::Synced, ..drift.clone() }, Err("nothing is out of sync")),
            (json!({}), json!(null), Facts { blocked: true, ..drift.clone() }, Err("error condition")),
            (
                json!({"prune": true}),
                json!(null),
                Facts { would_prune_all: true, ..drift.clone() },
                Err("auto-sync will wipe out all resources"),
            ),
            (
                json!({"prune": true, "allowEmpty": true}),
                json!(null),
                Facts { would_prune_all: true, ..drift.clone() },
                sync(true, false),
            ),
            (json!({}), json!(null), Facts { only_prunes: true, ..drift.clone() }, Err("automated pruning is off")),
            (
                json!({"prune": true}),
                json!(null),
                Facts { prunes: (6, 10), ..drift.clone() },
                Err("would prune 6 of 10 resources; if that is meant, sync once with prune by hand"),
            ),
            (json!({"prune": true}), json!(null), Facts { prunes: (5, 10), ..drift.clone() }, sync(true, false)),
            (json!({"prune": true}), json!(null), Facts { prunes: (6, 9), ..drift.clone() }, sync(true, false)),
            (json!({}), json!(null), Facts { prunes: (6, 10), ..drift }, sync(false, false)),
        ];
        for (policy, state, facts, want) in cases {
            let got = decide(&app(policy.clone(), state.clone()), &facts);
            match (got, want) {
                (Decision::Sync { prune, self_heal }, Ok(want)) => {
                    assert_eq!((prune, self_heal), want, "{policy} {state}")
                }
                (Decision::Wait { reason }, Err(words)) => assert!(reason.contains(words), "{reason} / {words}"),
                (got, want) => panic!("{policy} {state}: {got:?}, wanted {want:?}"),
            }
        }
    }
}

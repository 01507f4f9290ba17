//! Whether automated sync acts now, and why not (Argo CD, user guide, "Automated Sync Policy"). Pure: the time is an
//! argument; what has to be waited for is told, so that the caller can look again then.
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::app::{Application, OperationState, Phase, Source, SyncCode, SyncResult};
use crate::windows::{self, SyncWindow};

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
        /// When the answer may be another although nothing else happens.
        until: Option<Timestamp>,
    },
}

/// How soon drift is undone again (`controller.self.heal.*` of `argocd-cmd-params-cm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfHeal {
    /// `backoff.timeout.seconds`: the wait after the first attempt; zero turns the backoff off.
    pub backoff: Duration,
    /// `backoff.factor`: what each further wait is multiplied by.
    pub factor: u32,
    /// `backoff.cap.seconds`: no wait is longer; zero for no limit.
    pub cap: Duration,
    /// `timeout.seconds`: the wait when there is no backoff.
    pub timeout: Duration,
}

impl Default for SelfHeal {
    fn default() -> Self {
        Self { backoff: Duration::from_secs(2), factor: 3, cap: Duration::from_secs(300), timeout: Duration::ZERO }
    }
}

impl SelfHeal {
    /// How long to wait after the last operation, with so many attempts made. The first is made at once.
    fn wait(&self, attempts: i64) -> Duration {
        if self.backoff.is_zero() {
            return self.timeout;
        }
        let Some(grown) = attempts.checked_sub(1).and_then(|times| u32::try_from(times).ok()) else {
            return Duration::ZERO;
        };
        let cap = if self.cap.is_zero() { Duration::MAX } else { self.cap };
        let wait = self.factor.checked_pow(grown).and_then(|times| self.backoff.checked_mul(times));
        wait.unwrap_or(cap).min(cap)
    }
}

/// What was found besides the Application itself.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// The verdict of the comparison.
    pub sync: SyncCode,
    /// The commit of the target state.
    pub revision: &'a str,
    /// The commits, of several sources.
    pub revisions: &'a [String],
    /// The commits changed since the last operation, but nothing that the Application reads.
    pub same_content: bool,
    /// An error condition blocks (ComparisonError, InvalidSpecError).
    pub blocked: bool,
    /// Every object would be pruned.
    pub would_prune_all: bool,
    /// Objects that would be pruned, of how many there are.
    pub prunes: (usize, usize),
    /// Something only pruning could set right.
    pub only_prunes: bool,
    /// The sync windows of the project.
    pub windows: &'a [SyncWindow],
    /// The settings of self-heal.
    pub self_heal: SelfHeal,
}

impl Facts<'_> {
    /// As Argo CD prints a list of revisions.
    fn wanted(&self) -> String {
        if self.revisions.is_empty() {
            format!("[{}]", self.revision)
        } else {
            format!("[{}]", self.revisions.join(" "))
        }
    }
}

fn wait(reason: impl Into<String>) -> Decision {
    Decision::Wait { reason: reason.into(), until: None }
}

/// Decides.
pub fn decide(app: &Application, facts: &Facts<'_>, now: Timestamp) -> Decision {
    let Some(policy) = app.automated() else { return wait("automated sync is off") };
    if app.skips_reconcile() {
        return wait("the annotation skip-reconcile says to leave it alone");
    }
    if facts.blocked {
        return wait("an error condition blocks automated sync");
    }
    if app.operation.is_some() {
        return wait("another operation is in progress");
    }
    if app.metadata.deletion_timestamp.is_some() {
        return wait("deletion is in progress");
    }
    if facts.sync != SyncCode::OutOfSync {
        return wait("nothing is out of sync");
    }
    let prune = policy.prune.unwrap_or_default();
    if facts.only_prunes && !prune {
        return wait("only pruning is left, and automated pruning is off");
    }
    let mut self_heal = false;
    if let Some((last, revisions)) = attempted(app, facts) {
        if last.phase != Phase::Succeeded {
            return wait(format!("Failed last sync attempt to {revisions}: {}", last.message));
        }
        if !policy.self_heal.unwrap_or_default() {
            return wait(format!("{} was synced already, and selfHeal is off", facts.wanted()));
        }
        if let Some(until) = heals_at(last, facts.self_heal, now) {
            return Decision::Wait {
                reason: format!("drift from {revisions} was undone just now"),
                until: Some(until),
            };
        }
        self_heal = true;
    }
    if facts.would_prune_all && prune && !policy.allow_empty.unwrap_or_default() {
        return wait(format!("Skipping sync attempt to {}: auto-sync will wipe out all resources", facts.wanted()));
    }
    if prune && let Some(reason) = too_many(app, facts) {
        return wait(reason);
    }
    // Last, so that the time to look again is told only when a sync would follow.
    let verdict = windows::can_sync(facts.windows, app, false, now);
    if !verdict.allowed {
        let reason = format!("Sync prevented by sync window: {}", verdict.reason);
        return Decision::Wait { reason, until: verdict.until };
    }
    Decision::Sync { prune, self_heal }
}

/// The last operation and what it synced, if that was what would be synced now: the same commits of the same sources.
/// Sync options do not count. An operation that ended without a result counts too, whatever it was for: it is not
/// known what went wrong, and trying for ever would not mend it. A dry run has tried nothing.
fn attempted<'a>(app: &'a Application, facts: &Facts<'_>) -> Option<(&'a OperationState, String)> {
    let last = app.operation_state()?;
    if last.operation.sync.as_ref().is_some_and(|sync| sync.dry_run) {
        return None;
    }
    let Some(result) = &last.sync_result else {
        let over = !matches!(last.phase, Phase::Running | Phase::Terminating);
        return over.then(|| (last, "[]".to_owned()));
    };
    let commits = facts.same_content
        || if app.has_multiple_sources() && !facts.revisions.is_empty() {
            result.revisions == facts.revisions
        } else {
            result.revision == facts.revision
        };
    (commits && same_sources(app, result)).then(|| (last, synced(result)))
}

fn synced(result: &SyncResult) -> String {
    if result.revisions.is_empty() {
        format!("[{}]", result.revision)
    } else {
        format!("[{}]", result.revisions.join(" "))
    }
}

fn same_sources(app: &Application, result: &SyncResult) -> bool {
    if app.has_multiple_sources() {
        let (now, then) = (&app.spec.sources, &result.sources);
        return now.len() == then.len() && now.iter().zip(then).all(|(now, then)| same_source(now, then));
    }
    let now = app.spec.source.clone().unwrap_or_default();
    same_source(&now, &result.source.clone().unwrap_or_default())
}

fn same_source(left: &Source, right: &Source) -> bool {
    let written = |source: &Source| {
        let mut value = serde_json::to_value(source).unwrap_or_default();
        drop_empty(&mut value);
        value
    };
    left == right || written(left) == written(right)
}

/// Empty and absent are one, as in the Go structs that Argo CD compares; but not in values for Helm, which are data.
fn drop_empty(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, field| {
        if name == "valuesObject" {
            return true;
        }
        drop_empty(field);
        match field {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        }
    });
}

/// When drift may be undone again; `None` for now. The attempts are counted in the operation, so a new commit, whose
/// operation counts none, starts again.
fn heals_at(last: &OperationState, settings: SelfHeal, now: Timestamp) -> Option<Timestamp> {
    let attempts = last.operation.sync.as_ref().and_then(|sync| sync.auto_heal_attempts_count).unwrap_or_default();
    let finished = last.finished_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(now);
    finished.checked_add(settings.wait(attempts)).ok().filter(|at| *at > now)
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
            facts.wanted()
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

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-03-02T10:30:00Z")
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
            (
                json!({"selfHeal": true}),
                after("Failed", "r2"),
                drift.clone(),
                Err("Failed last sync attempt to [r2]: m"),
            ),
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
            let got = decide(&app(policy.clone(), state.clone()), &facts, now());
            match (got, want) {
                (Decision::Sync { prune, self_heal }, Ok(want)) => {
                    assert_eq!((prune, self_heal), want, "{policy} {state}")
                }
                (Decision::Wait { reason, .. }, Err(words)) => assert!(reason.contains(words), "{reason} / {words}"),
                (got, want) => panic!("{policy} {state}: {got:?}, wanted {want:?}"),
            }
        }
    }

    fn drift() -> Facts<'static> {
        Facts { sync: SyncCode::OutOfSync, revision: "r2", ..Facts::default() }
    }

    /// Argo CD, `alreadyAttemptedSync` (controller/appcontroller.go): commits and sources are compared with
    /// `operationState.syncResult`, sync options are not.
    #[test]
    fn the_same_is_tried_once() {
        let source = |path: &str| json!({"repoURL": "https://x/y", "path": path});
        let heal = json!({"selfHeal": false});
        let cases = [
            // Spec, syncResult, whether it counts as tried.
            (json!({"source": source("a")}), json!({"revision": "r2", "source": source("a")}), true),
            (json!({"source": source("a")}), json!({"revision": "r2", "source": source("b")}), false),
            (json!({"source": source("a")}), json!({"revision": "r1", "source": source("a")}), false),
            (json!({"source": source("a")}), json!({"revision": "r2"}), false),
            (
                json!({"source": {"repoURL": "https://x/y", "path": "a", "directory": {"recurse": false}}}),
                json!({"revision": "r2", "source": source("a")}),
                true,
            ),
            (
                json!({"source": {"repoURL": "https://x/y", "helm": {"valuesObject": {"on": false}}}}),
                json!({"revision": "r2", "source": {"repoURL": "https://x/y", "helm": {"valuesObject": {}}}}),
                false,
            ),
            (
                json!({"source": source("a"), "syncPolicy": {"syncOptions": ["Replace=true"]}}),
                json!({"revision": "r2", "source": source("a")}),
                true,
            ),
            (
                json!({"sources": [source("a"), source("b")]}),
                json!({"revisions": ["r2", "s1"], "sources": [source("a"), source("b")]}),
                true,
            ),
            (
                json!({"sources": [source("a"), source("b")]}),
                json!({"revisions": ["r2", "s0"], "sources": [source("a"), source("b")]}),
                false,
            ),
            (
                json!({"sources": [source("a"), source("b")]}),
                json!({"revisions": ["r2", "s1"], "sources": [source("b"), source("a")]}),
                false,
            ),
        ];
        let revisions = ["r2".to_owned(), "s1".to_owned()];
        for (spec, result, tried) in cases {
            let mut app =
                app(heal.clone(), json!({"operation": {"sync": {}}, "phase": "Succeeded", "syncResult": result}));
            let fields: crate::app::ApplicationSpec = serde_json::from_value(spec.clone()).unwrap();
            (app.spec.source, app.spec.sources) = (fields.source, fields.sources);
            if let (Some(policy), Some(given)) = (&mut app.spec.sync_policy, fields.sync_policy) {
                policy.sync_options = given.sync_options;
            }
            let several = app.has_multiple_sources();
            let facts = Facts { revisions: if several { &revisions } else { &[] }, ..drift() };
            let waits = matches!(decide(&app, &facts, now()), Decision::Wait { .. });
            assert_eq!(waits, tried, "{spec} {result}");
        }
        let moved = app(heal, after("Succeeded", "r1"));
        let same_content = Facts { same_content: true, ..drift() };
        assert!(matches!(decide(&moved, &same_content, now()), Decision::Wait { .. }), "nothing of it changed");
    }

    #[test]
    fn an_operation_without_a_result_blocks_once_it_is_over() {
        let heal = json!({"selfHeal": true});
        let without =
            |phase: &str, dry: bool| json!({"operation": {"sync": {"dryRun": dry}}, "phase": phase, "message": "m"});
        for (state, want) in [
            (without("Error", false), Some("Failed last sync attempt to []: m")),
            (without("Failed", false), Some("Failed last sync attempt to []: m")),
            (without("Running", false), None),
            (without("Error", true), None),
        ] {
            match (decide(&app(heal.clone(), state.clone()), &drift(), now()), want) {
                (Decision::Wait { reason, until }, Some(words)) => {
                    assert_eq!((reason.as_str(), until), (words, None), "{state}")
                }
                (Decision::Sync { self_heal: false, .. }, None) => {}
                (got, want) => panic!("{state}: {got:?}, wanted {want:?}"),
            }
        }
    }

    /// Argo CD, `selfHealRemainingBackoff`; docs/user-guide/auto_sync.md, "Automatic Self-Healing".
    #[test]
    fn self_heal_backs_off() {
        let settings = SelfHeal::default();
        let fixed = SelfHeal { backoff: Duration::ZERO, timeout: Duration::from_secs(5), ..settings };
        let endless = SelfHeal { cap: Duration::ZERO, ..settings };
        // Settings, attempts so far, seconds of wait after the last one.
        let cases = [
            (settings, None, 0),
            (settings, Some(1), 2),
            (settings, Some(2), 6),
            (settings, Some(3), 18),
            (settings, Some(5), 162),
            (settings, Some(6), 300),
            (settings, Some(1000), 300),
            (endless, Some(6), 486),
            (fixed, None, 5),
            (fixed, Some(9), 5),
            (SelfHeal { timeout: Duration::ZERO, ..fixed }, Some(9), 0),
        ];
        for (self_heal, attempts, seconds) in cases {
            let mut state = after("Succeeded", "r2");
            state["operation"]["sync"]["autoHealAttemptsCount"] = json!(attempts);
            state["finishedAt"] = json!("2026-03-02T10:00:00Z");
            let app = app(json!({"selfHeal": true}), state);
            let facts = Facts { self_heal, ..drift() };
            let due = at("2026-03-02T10:00:00Z") + Duration::from_secs(seconds);
            assert_eq!(decide(&app, &facts, due), Decision::Sync { prune: false, self_heal: true }, "{attempts:?}");
            if seconds > 0 {
                let early = decide(&app, &facts, due - Duration::from_secs(1));
                assert!(matches!(early, Decision::Wait { until: Some(at), .. } if at == due), "{attempts:?} {early:?}");
            }
            let newer = Facts { revision: "r3", ..facts };
            let at_once = decide(&app, &newer, at("2026-03-02T10:00:00Z"));
            assert_eq!(at_once, Decision::Sync { prune: false, self_heal: false }, "a new commit waits for nothing");
        }
    }

    #[test]
    fn sync_windows_hold_automated_sync_back_until_they_open() {
        let deny = json!([{"kind": "deny", "schedule": "0 10 * * *", "duration": "1h", "applications": ["*"]}]);
        let windows: Vec<SyncWindow> = serde_json::from_value(deny).unwrap();
        let facts = Facts { windows: &windows, ..drift() };
        let fresh = app(json!({}), json!(null));
        let Decision::Wait { reason, until } = decide(&fresh, &facts, now()) else { panic!("it is denied") };
        assert_eq!(reason, "Sync prevented by sync window: a deny window '0 10 * * *' for 1h (UTC) is open");
        assert_eq!(until, Some(at("2026-03-02T11:00:00Z")));
        assert!(matches!(decide(&fresh, &facts, at("2026-03-02T11:00:00Z")), Decision::Sync { .. }));
        let synced = Facts { sync: SyncCode::Synced, ..facts };
        assert!(matches!(decide(&fresh, &synced, now()), Decision::Wait { until: None, .. }), "nothing to wake for");
    }

    #[test]
    fn what_is_left_alone_or_going_is_not_synced() {
        for (value, left) in [("true", true), ("1", true), ("T", true), ("false", false), ("yes", false)] {
            let mut app = app(json!({}), json!(null));
            app.metadata.annotations.insert("argocd.argoproj.io/skip-reconcile".into(), value.into());
            assert_eq!(matches!(decide(&app, &drift(), now()), Decision::Wait { .. }), left, "{value}");
        }
        let mut going = app(json!({}), json!(null));
        going.metadata.deletion_timestamp = Some("2026-03-02T10:00:00Z".into());
        assert!(matches!(decide(&going, &drift(), now()), Decision::Wait { .. }));
    }
}

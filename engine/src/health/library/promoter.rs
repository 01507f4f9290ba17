//! GitOps Promoter.
//!
//! Sources: GitOps Promoter CRD specs (Ready, status.environments, commit statuses pending, success, failure), Argo CD's
//! bundled checks for `promoter.argoproj.io`.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, items, said, stale, text, unobserved, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing};

pub(super) const PROMOTER: Kinds = &[
    ("ArgoCDCommitStatus", Judge::Own(argocd_commit_status)),
    ("ChangeTransferPolicy", Judge::Own(change_transfer_policy)),
    ("ClusterScmProvider", Judge::Own(|live| STRICT.over(live, ready))),
    ("CommitStatus", Judge::Own(|live| LAX.over(live, commit_status))),
    ("GitCommitStatus", Judge::Own(|live| STRICT.over(live, gates))),
    ("GitRepository", Judge::Own(|live| STRICT.over(live, ready))),
    ("PromotionStrategy", Judge::Own(|live| LAX.over(live, promotion_strategy))),
    ("PullRequest", Judge::Own(|live| PULL_REQUEST.over(live, pull_request))),
    ("ScmProvider", Judge::Own(|live| STRICT.over(live, ready))),
    ("TimedCommitStatus", Judge::Own(|live| STRICT.over(live, gates))),
    ("WebRequestCommitStatus", Judge::Own(|live| STRICT.over(live, gates))),
];

/// The gate that all kinds have to pass: a condition must be there, be of this generation, and not be bad. Which are bad
/// differs: any False and Unknown, any False, or only a False that tells of an error.
struct Gate {
    kinds: &'static [&'static str],
    any_false: bool,
    unknown: bool,
}

const STRICT: Gate = Gate { kinds: &["Ready"], any_false: true, unknown: true };
const LAX: Gate = Gate { kinds: &["Ready"], any_false: false, unknown: false };
const PULL_REQUEST: Gate = Gate { kinds: &["Reconciled", "Ready"], any_false: true, unknown: false };

impl Gate {
    fn over(&self, live: &Value, then: fn(&Value) -> Health) -> Health {
        let conditions = items(live, "/status/conditions");
        let mut listed = conditions.iter().filter(|found| self.kinds.contains(&text(found, "/type"))).peekable();
        if listed.peek().is_none() {
            return waiting(live);
        }
        let bad = |found: &Value| match text(found, "/status") {
            _ if stale(live, &found["observedGeneration"]) => Some(unobserved()),
            "False" if self.any_false || found["reason"] == "ReconciliationError" => {
                Some(Health::new(Degraded, said(found)))
            }
            "Unknown" if self.unknown => Some(Health::new(Progressing, said(found))),
            _ => None,
        };
        listed.find_map(bad).unwrap_or_else(|| then(live))
    }
}

fn ready(_: &Value) -> Health {
    Health::new(Healthy, "")
}

fn argocd_commit_status(live: &Value) -> Health {
    LAX.over(live, |live| match items(live, "/status/applicationsSelected").len() {
        0 => Health::new(Degraded, "No Application is selected"),
        count => Health::new(Healthy, format!("{count} Applications are selected")),
    })
}

fn commit_status(live: &Value) -> Health {
    Health::new(Healthy, [text(live, "/status/sha"), text(live, "/status/phase")].join(" ").trim())
}

fn pull_request(live: &Value) -> Health {
    Health::new(Healthy, [text(live, "/status/state"), text(live, "/status/id")].join(" ").trim())
}

/// Gates have a phase for each environment: one failure fails all, a phase that is neither of the three waits.
fn gates(live: &Value) -> Health {
    let branches = |pick: fn(&str) -> bool| {
        let picked = items(live, "/status/environments").iter().filter(|env| pick(text(env, "/phase")));
        picked.map(|env| text(env, "/branch")).collect::<Vec<_>>().join(", ")
    };
    let any = |pick: fn(&str) -> bool| items(live, "/status/environments").iter().any(|env| pick(text(env, "/phase")));
    if any(|phase| phase == "failure") {
        return Health::new(Degraded, format!("Failed for {}", branches(|phase| phase == "failure")));
    }
    if any(|phase| phase != "success") {
        return Health::new(Progressing, format!("Pending for {}", branches(|phase| phase != "success")));
    }
    Health::new(Healthy, "")
}

fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

/// Which commit statuses are not a success: "2 pending (a, b), 1 failed (c)".
fn unsuccessful(statuses: &[Value]) -> String {
    let of = |phase: &str, word: &str| {
        let keys: Vec<&str> =
            statuses.iter().filter(|status| status["phase"] == phase).map(|status| text(status, "/key")).collect();
        (!keys.is_empty()).then(|| format!("{} {word} ({})", keys.len(), keys.join(", ")))
    };
    [of("pending", "pending"), of("failure", "failed")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// One environment on its way: no commit known yet, a promotion under way, or `None` when it has what is proposed.
fn promotion(environment: &Value, name: &str) -> Option<Health> {
    let (active, proposed) = (text(environment, "/active/dry/sha"), text(environment, "/proposed/dry/sha"));
    if active == proposed {
        return None;
    }
    let checks = unsuccessful(items(environment, "/proposed/commitStatuses"));
    let words = format!("{name}{} to {} {checks}", short(active), short(proposed));
    Some(Health::new(Progressing, words.trim_end()))
}

fn lacks_commit(environment: &Value) -> bool {
    ["/active/dry/sha", "/proposed/dry/sha"].into_iter().any(|at| text(environment, at).is_empty())
}

fn change_transfer_policy(live: &Value) -> Health {
    LAX.over(live, |live| {
        let status = &live["status"];
        if lacks_commit(status) {
            return Health::new(Progressing, "The active or the proposed commit is not known yet");
        }
        promotion(status, "")
            .unwrap_or_else(|| Health::new(Healthy, unsuccessful(items(status, "/active/commitStatuses"))))
    })
}

/// All environments must know their commits and agree on what is proposed; then the first that is on its way tells.
fn promotion_strategy(live: &Value) -> Health {
    let all = items(live, "/status/environments");
    let Some(first) = all.first() else { return Health::new(Degraded, "There are no environments") };
    if let Some(found) = all.iter().find(|environment| lacks_commit(environment)) {
        let words = format!("{}: the active or the proposed commit is not known yet", text(found, "/branch"));
        return Health::new(Progressing, words);
    }
    let proposed = text(first, "/proposed/dry/sha");
    if all.iter().any(|environment| text(environment, "/proposed/dry/sha") != proposed) {
        return Health::new(Progressing, "The environments do not propose the same commit yet");
    }
    let moving =
        all.iter().find_map(|environment| promotion(environment, &format!("{}: ", text(environment, "/branch"))));
    if let Some(health) = moving {
        return health;
    }
    let words = all.iter().filter_map(|environment| {
        let words = unsuccessful(items(environment, "/active/commitStatuses"));
        (!words.is_empty()).then(|| format!("{}: {words}", text(environment, "/branch")))
    });
    let words = words.collect::<Vec<_>>().join("; ");
    Health::new(Healthy, if words.is_empty() { short(proposed).to_owned() } else { words })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    const API: &str = "promoter.argoproj.io/v1alpha1";

    fn with(mut status: Value, ready: &str) -> Value {
        status["conditions"] =
            json!([{"type": "Ready", "status": ready, "reason": "Why", "message": "words", "observedGeneration": 2}]);
        json!({"status": status})
    }

    #[test]
    fn all_pass_a_gate() {
        let error = said(&[("Ready", "False", "ReconciliationError", "token expired")]);
        let old = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}});
        for (kind, _) in PROMOTER {
            check(
                API,
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {}}), Progressing, kind),
                    (error.clone(), Degraded, "token expired"),
                    (old.clone(), Progressing, "latest spec"),
                ],
            );
        }
        for kind in [
            "ClusterScmProvider",
            "GitRepository",
            "ScmProvider",
            "GitCommitStatus",
            "TimedCommitStatus",
            "WebRequestCommitStatus",
        ] {
            check(
                API,
                kind,
                [
                    (with(json!({}), "True"), Healthy, ""),
                    (with(json!({}), "False"), Degraded, "words"),
                    (with(json!({}), "Unknown"), Progressing, "words"),
                ],
            );
        }
        check(
            API,
            "CommitStatus",
            [
                (with(json!({}), "False"), Healthy, ""),
                (with(json!({"sha": "abc", "phase": "success"}), "True"), Healthy, "abc success"),
            ],
        );
        check(
            API,
            "PullRequest",
            [
                (said(&[("Reconciled", "False", "Why", "no rights")]), Degraded, "no rights"),
                (with(json!({"state": "open", "id": "12"}), "True"), Healthy, "open 12"),
                (with(json!({}), "Unknown"), Healthy, ""),
            ],
        );
        check(
            API,
            "ArgoCDCommitStatus",
            [
                (with(json!({}), "True"), Degraded, "No Application"),
                (with(json!({"applicationsSelected": [{"name": "a"}]}), "True"), Healthy, "1 Applications"),
            ],
        );
    }

    #[test]
    fn gates_of_environments() {
        let phases = |phases: &[&str]| {
            let environments: Vec<Value> =
                phases.iter().map(|phase| json!({"branch": format!("env/{phase}"), "phase": phase})).collect();
            with(json!({"environments": environments}), "True")
        };
        for kind in ["GitCommitStatus", "TimedCommitStatus", "WebRequestCommitStatus"] {
            check(
                API,
                kind,
                [
                    (phases(&["success", "success"]), Healthy, ""),
                    (phases(&["success", "pending", "failure"]), Degraded, "env/failure"),
                    (phases(&["success", "pending", "strange"]), Progressing, "env/pending, env/strange"),
                ],
            );
        }
    }

    fn environment(active: &str, proposed: &str, phase: &str) -> Value {
        let checks = json!([{"key": "tests", "phase": phase}, {"key": "lint", "phase": "success"}]);
        json!({
            "branch": "env/prod",
            "active": {"dry": {"sha": active}, "commitStatuses": checks},
            "proposed": {"dry": {"sha": proposed}, "commitStatuses": checks},
        })
    }

    #[test]
    fn promotions() {
        let policy = |active: &str, proposed: &str, phase: &str| with(environment(active, proposed, phase), "True");
        check(
            API,
            "ChangeTransferPolicy",
            [
                (policy("", "bbb", "pending"), Progressing, "not known"),
                (policy("aaa", "", "pending"), Progressing, "not known"),
                (policy("aaaaaaaaaa", "bbbbbbbbbb", "pending"), Progressing, "aaaaaaa to bbbbbbb 1 pending (tests)"),
                (policy("aaa", "aaa", "failure"), Healthy, "1 failed (tests)"),
                (policy("aaa", "aaa", "success"), Healthy, ""),
            ],
        );
        let strategy = |environments: Vec<Value>| with(json!({"environments": environments}), "True");
        check(
            API,
            "PromotionStrategy",
            [
                (strategy(vec![]), Degraded, "no environments"),
                (strategy(vec![environment("", "bbb", "success")]), Progressing, "env/prod"),
                (
                    strategy(vec![environment("aaa", "bbb", "success"), environment("aaa", "ccc", "success")]),
                    Progressing,
                    "same commit",
                ),
                (
                    strategy(vec![environment("bbb", "bbb", "success"), environment("aaa", "bbb", "failure")]),
                    Progressing,
                    "env/prod: aaa to bbb 1 failed",
                ),
                (strategy(vec![environment("bbb", "bbb", "pending")]), Healthy, "env/prod: 1 pending (tests)"),
                (strategy(vec![environment("bbbbbbbbb", "bbbbbbbbb", "success")]), Healthy, "bbbbbbb"),
            ],
        );
    }
}

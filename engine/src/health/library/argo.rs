//! The Argo projects: Rollouts, Workflows, Events and ApplicationSet; and SpotDeployment, which is built like a Rollout.
//!
//! Sources: Argo Rollouts, features/specification (status.phase since 1.0, older fields before); Argo Workflows, "Cron
//! Workflows" (conditions); Argo Events API (EventBus); ApplicationSet conditions; Argo CD's bundled checks.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{
    Judge, condition_is, conditions, conditions_or, exists, field, items, number, or, said, text, truth, unobserved,
    when,
};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

pub(super) const ARGO: Kinds = &[
    (
        "AnalysisRun",
        field(
            "/status/phase",
            &[
                ("Pending", Progressing),
                ("Running", Progressing),
                ("Successful", Healthy),
                ("Failed", Degraded),
                ("Error", Degraded),
                ("Inconclusive", Unknown),
            ],
        )
        .unlisted(Unknown)
        .message("/status/message")
        .judge(),
    ),
    (
        "ApplicationSet",
        conditions(&[
            &[when("ErrorOccurred", "True", Degraded)],
            &[when("ResourcesUpToDate", "False", Degraded)],
            &[when("RolloutProgressing", "True", Progressing)],
            &[when("ResourcesUpToDate", "True", Healthy)],
        ]),
    ),
    (
        "CronWorkflow",
        conditions_or(
            Healthy,
            &[&[
                when("SpecError", "True", Degraded),
                when("SubmissionError", "True", Degraded),
                when("Completed", "True", Healthy),
            ]],
        ),
    ),
    ("EventBus", conditions(&[&[when("Deployed", "False", Degraded), when("Deployed", "True", Healthy)]])),
    (
        "Experiment",
        field(
            "/status/phase",
            &[
                ("Pending", Progressing),
                ("Running", Progressing),
                ("Successful", Healthy),
                ("Failed", Degraded),
                ("Error", Degraded),
            ],
        )
        .unlisted(Unknown)
        .message("/status/message")
        .judge(),
    ),
    ("Rollout", Judge::Own(rollout)),
];
pub(super) const SPOT: Kinds = &[("SpotDeployment", Judge::Own(rollout))];

/// Rollouts since 1.0 say their phase; older ones are judged by their replicas and selectors.
fn rollout(live: &Value) -> Health {
    if !exists(live, "/status") || !spec_observed(live) || !workload_observed(live) {
        return unobserved();
    }
    match text(live, "/status/phase") {
        "" => by_replicas(live),
        phase => {
            let verdict = match phase {
                "Healthy" => Healthy,
                "Progressing" => Progressing,
                "Paused" => Suspended,
                "Degraded" => Degraded,
                _ => Unknown,
            };
            Health::new(verdict, text(live, "/status/message"))
        }
    }
}

/// A number, also where it is written as text (Rollouts writes observedGeneration so).
fn numeral(live: &Value, pointer: &str) -> Option<i64> {
    number(live, pointer).or_else(|| text(live, pointer).parse().ok())
}

/// Rollouts before 0.10 wrote a hash, not a number: it counts as seen.
fn spec_observed(live: &Value) -> bool {
    let wanted = number(live, "/metadata/generation").unwrap_or_default();
    numeral(live, "/status/observedGeneration").is_none_or(|seen| seen >= wanted)
}

/// The generation of the Deployment that a Rollout refers to (workloadRef).
fn workload_observed(live: &Value) -> bool {
    !exists(live, "/spec/workloadRef")
        || !exists(live, "/metadata/annotations")
        || numeral(live, "/metadata/annotations/rollout.argoproj.io~1workload-generation")
            == numeral(live, "/status/workloadObservedGeneration")
}

fn by_replicas(live: &Value) -> Health {
    let failed = items(live, "/status/conditions").iter().find(|found| {
        found["type"] == "InvalidSpec"
            || found["type"] == "Progressing"
                && matches!(text(found, "/reason"), "RolloutAborted" | "ProgressDeadlineExceeded")
    });
    if let Some(found) = failed {
        return Health::new(Degraded, said(found));
    }
    if !items(live, "/status/pauseConditions").is_empty() || truth(live, "/spec/paused") {
        return Health::new(Suspended, "Paused");
    }
    let hash = text(live, "/status/currentPodHash");
    if hash.is_empty() {
        return Health::new(Progressing, "No pod hash in the status yet");
    }
    let count = |name: &str| number(live, &format!("/status/{name}")).unwrap_or_default();
    let (wanted, updated) = (number(live, "/spec/replicas").unwrap_or(1), count("updatedReplicas"));
    if updated < wanted {
        return Health::new(Progressing, format!("{updated} of {wanted} replicas are updated"));
    }
    if count("availableReplicas") < updated {
        return Health::new(
            Progressing,
            format!("{} of {updated} updated replicas are available", count("availableReplicas")),
        );
    }
    let stable = or(text(live, "/status/stableRS"), text(live, "/status/canary/stableRS"));
    if exists(live, "/spec/strategy/blueGreen") {
        if text(live, "/status/blueGreen/activeSelector") != hash {
            return Health::new(Progressing, "The active service does not point at the new pods yet");
        }
        if !stable.is_empty() && stable != hash {
            return Health::new(Progressing, "The analysis is not complete yet");
        }
    } else if exists(live, "/spec/strategy/canary") {
        if count("replicas") > updated {
            return Health::new(Progressing, format!("{} old replicas have yet to end", count("replicas") - updated));
        }
        if stable != hash {
            return Health::new(Progressing, "There are steps left");
        }
    }
    let words = condition_is(live, "Available", "True").map(said).unwrap_or_default();
    Health::new(Healthy, words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn analysis_and_experiment() {
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        for kind in ["AnalysisRun", "Experiment"] {
            check(
                "argoproj.io/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, "not reported"),
                    (phase("Pending"), Progressing, "Pending"),
                    (phase("Running"), Progressing, "Running"),
                    (phase("Successful"), Healthy, "Successful"),
                    (
                        json!({"status": {"phase": "Failed", "message": "Metric success-rate assessed Failed"}}),
                        Degraded,
                        "success-rate",
                    ),
                    (phase("Error"), Degraded, "Error"),
                    (phase("Else"), Unknown, "Else"),
                ],
            );
        }
        check("argoproj.io/v1alpha1", "AnalysisRun", [(phase("Inconclusive"), Unknown, "Inconclusive")]);
    }

    #[test]
    fn application_set() {
        check(
            "argoproj.io/v1alpha1",
            "ApplicationSet",
            [
                (json!({}), Progressing, ""),
                (
                    said(&[
                        ("ResourcesUpToDate", "False", "", "later"),
                        ("ErrorOccurred", "True", "ApplicationParamsGenerationError", "git: no such branch"),
                    ]),
                    Degraded,
                    "no such branch",
                ),
                (
                    said(&[
                        ("ErrorOccurred", "False", "", "ok"),
                        ("ResourcesUpToDate", "False", "ApplicationValidationError", "2 errors"),
                    ]),
                    Degraded,
                    "2 errors",
                ),
                (
                    said(&[
                        ("ResourcesUpToDate", "True", "", "up to date"),
                        ("RolloutProgressing", "True", "ApplicationSetModified", "step 1 of 3"),
                    ]),
                    Progressing,
                    "step 1 of 3",
                ),
                (
                    said(&[
                        ("ErrorOccurred", "False", "", ""),
                        ("ResourcesUpToDate", "True", "ApplicationSetUpToDate", "All applications have been generated"),
                    ]),
                    Healthy,
                    "generated",
                ),
            ],
        );
    }

    #[test]
    fn workflows_and_events() {
        check(
            "argoproj.io/v1alpha1",
            "CronWorkflow",
            [
                (json!({}), Healthy, ""),
                (said(&[("SpecError", "True", "", "cron schedule is malformed")]), Degraded, "malformed"),
                (said(&[("SubmissionError", "True", "", "template not found")]), Degraded, "not found"),
                (said(&[("SpecError", "False", "", ""), ("Completed", "True", "", "stopped")]), Healthy, "stopped"),
            ],
        );
        check(
            "argoproj.io/v1alpha1",
            "EventBus",
            [
                (json!({}), Progressing, ""),
                (
                    said(&[("Configured", "True", "", ""), ("Deployed", "False", "CreateFailed", "")]),
                    Degraded,
                    "CreateFailed",
                ),
                (said(&[("Deployed", "True", "", "JetStream is deployed")]), Healthy, "deployed"),
            ],
        );
    }

    #[test]
    fn rollouts_say_their_phase() {
        let phase = |phase: &str| json!({"status": {"observedGeneration": "2", "phase": phase, "message": "words"}});
        for (api, kind) in [("argoproj.io/v1alpha1", "Rollout"), ("spot.io/v1", "SpotDeployment")] {
            check(
                api,
                kind,
                [
                    (json!({}), Progressing, "latest spec"),
                    (json!({"status": {"observedGeneration": "1", "phase": "Healthy"}}), Progressing, "latest spec"),
                    (phase("Healthy"), Healthy, "words"),
                    (phase("Progressing"), Progressing, "words"),
                    (phase("Paused"), Suspended, "words"),
                    (phase("Degraded"), Degraded, "words"),
                    (phase("Strange"), Unknown, "words"),
                    (
                        json!({
                            "metadata": {"annotations": {"rollout.argoproj.io/workload-generation": "4"}},
                            "spec": {"workloadRef": {"kind": "Deployment", "name": "a"}},
                            "status": {"observedGeneration": "2", "workloadObservedGeneration": "3", "phase": "Healthy"},
                        }),
                        Progressing,
                        "latest spec",
                    ),
                    (
                        json!({
                            "metadata": {"annotations": {"rollout.argoproj.io/workload-generation": "4"}},
                            "spec": {"workloadRef": {"kind": "Deployment", "name": "a"}},
                            "status": {"observedGeneration": "2", "workloadObservedGeneration": "4", "phase": "Healthy"},
                        }),
                        Healthy,
                        "",
                    ),
                ],
            );
        }
    }

    #[test]
    fn old_rollouts_are_judged_by_their_replicas() {
        let blue = |status: Value| json!({"spec": {"replicas": 2, "strategy": {"blueGreen": {}}}, "status": status});
        let canary = |status: Value| json!({"spec": {"strategy": {"canary": {}}}, "status": status});
        let invalid =
            json!({"observedGeneration": "7d9f", "conditions": [{"type": "InvalidSpec", "message": "missing field"}]});
        let reason = |reason: &str| json!({"conditions": [{"type": "Progressing", "status": "False", "reason": reason, "message": "words"}]});
        check(
            "argoproj.io/v1alpha1",
            "Rollout",
            [
                (blue(invalid), Degraded, "missing field"),
                (blue(reason("RolloutAborted")), Degraded, "words"),
                (blue(reason("ProgressDeadlineExceeded")), Degraded, "words"),
                (blue(json!({"pauseConditions": [{"reason": "CanaryPauseStep"}]})), Suspended, ""),
                (json!({"spec": {"paused": true}, "status": {"currentPodHash": "a"}}), Suspended, ""),
                (blue(json!({"replicas": 2})), Progressing, "No pod hash"),
                (blue(json!({"currentPodHash": "a", "updatedReplicas": 1})), Progressing, "1 of 2 replicas"),
                (
                    blue(json!({"currentPodHash": "a", "updatedReplicas": 2, "availableReplicas": 1})),
                    Progressing,
                    "1 of 2 updated",
                ),
                (
                    blue(
                        json!({"currentPodHash": "a", "updatedReplicas": 2, "availableReplicas": 2, "blueGreen": {"activeSelector": "b"}}),
                    ),
                    Progressing,
                    "active service",
                ),
                (
                    blue(
                        json!({"currentPodHash": "a", "updatedReplicas": 2, "availableReplicas": 2, "blueGreen": {"activeSelector": "a"}, "stableRS": "b"}),
                    ),
                    Progressing,
                    "analysis",
                ),
                (
                    blue(
                        json!({"currentPodHash": "a", "updatedReplicas": 2, "availableReplicas": 2, "blueGreen": {"activeSelector": "a"}}),
                    ),
                    Healthy,
                    "",
                ),
                (
                    canary(json!({"currentPodHash": "a", "replicas": 3, "updatedReplicas": 1, "availableReplicas": 1})),
                    Progressing,
                    "2 old replicas",
                ),
                (
                    canary(json!({"currentPodHash": "a", "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1})),
                    Progressing,
                    "steps left",
                ),
                (
                    canary(
                        json!({"currentPodHash": "a", "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "canary": {"stableRS": "a"}}),
                    ),
                    Healthy,
                    "",
                ),
            ],
        );
    }
}

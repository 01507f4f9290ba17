//! Numaflow and Numaplane.
//!
//! Sources: Numaflow API (phase and conditions of Pipeline, MonoVertex, Vertex, InterStepBufferService), Numaplane API
//! (ChildResourcesHealthy, ProgressiveUpgradeSucceeded, …PausingOrPaused), Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition_is, exists, items, observed, or, said, text, unobserved, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Unknown};

pub(super) const FLOW: Kinds = &[
    ("InterStepBufferService", Judge::Own(|live| flow(live, &[]))),
    ("MonoVertex", Judge::Own(|live| flow(live, &["Paused"]))),
    ("Pipeline", Judge::Own(|live| flow(live, &["Paused", "Pausing"]))),
    ("Vertex", Judge::Own(|live| flow(live, &["Paused"]))),
];
pub(super) const PLANE: Kinds = &[
    ("ISBServiceRollout", Judge::Own(|live| plane(live, "ISBSvcFailed", ""))),
    ("MonoVertexRollout", Judge::Own(|live| plane(live, "MonoVertexFailed", "MonoVertexPausingOrPaused"))),
    ("NumaflowControllerRollout", Judge::Own(controller)),
    ("PipelineRollout", Judge::Own(|live| plane(live, "PipelineFailed", "PipelinePausingOrPaused"))),
];

/// What Numaplane writes on the loser of a progressive upgrade (never on a Vertex).
const RESULT: &str = "/metadata/labels/numaplane.numaproj.io~1progressive-result-state";

/// Any condition that is False is a failure; a pause is healthy.
fn flow(live: &Value, paused: &[&str]) -> Health {
    if !exists(live, "/status") || !observed(live) {
        return waiting(live);
    }
    let phase = text(live, "/status/phase");
    if phase == "Failed" {
        return Health::new(Degraded, or(text(live, "/status/message"), phase));
    }
    if text(live, RESULT) == "failed" && text(live, "/kind") != "Vertex" {
        return Health::new(Degraded, "The progressive upgrade has failed");
    }
    if let Some(found) = items(live, "/status/conditions").iter().rfind(|found| found["status"] == "False") {
        return Health::new(Degraded, said(found));
    }
    match phase == "Running" || paused.contains(&phase) {
        true => Health::new(Healthy, phase),
        false => Health::new(Progressing, or(phase, &waiting(live).message)),
    }
}

/// Under way first, then failed, paused, healthy; a failed progressive upgrade is not under way.
fn plane(live: &Value, failed: &str, paused: &str) -> Health {
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    let phase = text(live, "/status/phase");
    let upgrade = text(live, "/status/upgradeInProgress");
    let lost = condition_is(live, "ProgressiveUpgradeSucceeded", "False");
    if (!upgrade.is_empty() || phase == "Pending") && lost.is_none() {
        return Health::new(Progressing, or(upgrade, phase));
    }
    let unhealthy = |reason: &str| {
        items(live, "/status/conditions").iter().find(|found| {
            found["type"] == "ChildResourcesHealthy" && found["status"] == "False" && found["reason"] == reason
        })
    };
    if let Some(found) = unhealthy("Progressing") {
        return Health::new(Progressing, said(found));
    }
    if phase == "Failed" {
        return Health::new(Degraded, or(text(live, "/status/message"), phase));
    }
    if let Some(found) = unhealthy(failed).or(lost) {
        return Health::new(Degraded, said(found));
    }
    match condition_is(live, paused, "True").or_else(|| condition_is(live, "ChildResourcesHealthy", "True")) {
        Some(found) => Health::new(Healthy, text(found, "/message")),
        None => Health::new(Unknown, phase),
    }
}

fn controller(live: &Value) -> Health {
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    let (phase, upgrade) = (text(live, "/status/phase"), text(live, "/status/upgradeInProgress"));
    if phase == "Pending" || !upgrade.is_empty() {
        return Health::new(Progressing, or(upgrade, phase));
    }
    if phase == "Failed" {
        return Health::new(Degraded, or(text(live, "/status/message"), phase));
    }
    let child = items(live, "/status/conditions").iter().rfind(|found| found["type"] == "ChildResourcesHealthy");
    match child.map(|found| (found, text(found, "/status"), text(found, "/reason"))) {
        Some((found, "False", "Degraded")) => Health::new(Degraded, said(found)),
        Some((found, "False", "Progressing")) => Health::new(Progressing, said(found)),
        Some((found, "True", _)) if phase == "Deployed" => Health::new(Healthy, text(found, "/message")),
        _ => Health::new(Unknown, phase),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed};
    use super::*;

    fn with(seen: i64, mut status: Value, conditions: &[(&str, &str, &str, &str)]) -> Value {
        status["observedGeneration"] = json!(seen);
        status["conditions"] = listed(conditions);
        json!({"status": status})
    }

    #[test]
    fn numaflow() {
        let phase = |phase: &str| json!({"phase": phase, "message": "words"});
        for kind in ["InterStepBufferService", "MonoVertex", "Pipeline", "Vertex"] {
            check(
                "numaflow.numaproj.io/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (with(1, phase("Running"), &[]), Progressing, "not reported"),
                    (with(2, phase("Running"), &[("Configured", "True", "", "")]), Healthy, "Running"),
                    (with(2, phase("Running"), &[("Deployed", "False", "", "no vertex")]), Degraded, "no vertex"),
                    (with(2, phase("Failed"), &[]), Degraded, "words"),
                    (with(2, phase("Deleting"), &[]), Progressing, "Deleting"),
                ],
            );
            let mut lost = with(2, phase("Running"), &[]);
            lost["metadata"] =
                json!({"generation": 2, "labels": {"numaplane.numaproj.io/progressive-result-state": "failed"}});
            match kind {
                "Vertex" => check("numaflow.numaproj.io/v1alpha1", kind, [(lost, Healthy, "Running")]),
                _ => check("numaflow.numaproj.io/v1alpha1", kind, [(lost, Degraded, "progressive")]),
            }
        }
        for kind in ["MonoVertex", "Pipeline", "Vertex"] {
            check("numaflow.numaproj.io/v1alpha1", kind, [(with(2, phase("Paused"), &[]), Healthy, "Paused")]);
        }
        check("numaflow.numaproj.io/v1alpha1", "Pipeline", [(with(2, phase("Pausing"), &[]), Healthy, "Pausing")]);
        check(
            "numaflow.numaproj.io/v1alpha1",
            "InterStepBufferService",
            [(with(2, phase("Paused"), &[]), Progressing, "Paused")],
        );
    }

    #[test]
    fn numaplane() {
        let healthy = ("ChildResourcesHealthy", "True", "Successful", "well");
        for (kind, failed) in [
            ("ISBServiceRollout", "ISBSvcFailed"),
            ("MonoVertexRollout", "MonoVertexFailed"),
            ("PipelineRollout", "PipelineFailed"),
        ] {
            check(
                "numaplane.numaproj.io/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, "latest spec"),
                    (with(1, json!({}), &[healthy]), Progressing, "latest spec"),
                    (with(2, json!({"phase": "Pending"}), &[healthy]), Progressing, "Pending"),
                    (with(2, json!({"upgradeInProgress": "Progressive"}), &[healthy]), Progressing, "Progressive"),
                    (
                        with(
                            2,
                            json!({"upgradeInProgress": "Progressive"}),
                            &[("ProgressiveUpgradeSucceeded", "False", "Failed", "the new one is slow")],
                        ),
                        Degraded,
                        "slow",
                    ),
                    (
                        with(
                            2,
                            json!({"phase": "Deployed"}),
                            &[("ChildResourcesHealthy", "False", "Progressing", "rolls")],
                        ),
                        Progressing,
                        "rolls",
                    ),
                    (with(2, json!({"phase": "Failed", "message": "bad spec"}), &[healthy]), Degraded, "bad spec"),
                    (
                        with(2, json!({"phase": "Deployed"}), &[("ChildResourcesHealthy", "False", failed, "crashed")]),
                        Degraded,
                        "crashed",
                    ),
                    (with(2, json!({"phase": "Deployed"}), &[healthy]), Healthy, "well"),
                    (with(2, json!({"phase": "Deployed"}), &[]), Unknown, "Deployed"),
                ],
            );
        }
        for (kind, paused) in
            [("MonoVertexRollout", "MonoVertexPausingOrPaused"), ("PipelineRollout", "PipelinePausingOrPaused")]
        {
            check(
                "numaplane.numaproj.io/v1alpha1",
                kind,
                [(
                    with(2, json!({"phase": "Deployed"}), &[(paused, "True", "Paused", "is paused")]),
                    Healthy,
                    "is paused",
                )],
            );
        }
        check(
            "numaplane.numaproj.io/v1alpha1",
            "NumaflowControllerRollout",
            [
                (json!({}), Progressing, "latest spec"),
                (with(2, json!({"phase": "Pending"}), &[healthy]), Progressing, "Pending"),
                (with(2, json!({"phase": "Deployed", "upgradeInProgress": "PPND"}), &[healthy]), Progressing, "PPND"),
                (with(2, json!({"phase": "Failed", "message": "bad version"}), &[healthy]), Degraded, "bad version"),
                (
                    with(2, json!({"phase": "Deployed"}), &[("ChildResourcesHealthy", "False", "Degraded", "crashed")]),
                    Degraded,
                    "crashed",
                ),
                (
                    with(
                        2,
                        json!({"phase": "Deployed"}),
                        &[("ChildResourcesHealthy", "False", "Progressing", "rolls")],
                    ),
                    Progressing,
                    "rolls",
                ),
                (with(2, json!({"phase": "Deployed"}), &[healthy]), Healthy, "well"),
                (with(2, json!({"phase": "Deployed"}), &[]), Unknown, "Deployed"),
            ],
        );
    }
}

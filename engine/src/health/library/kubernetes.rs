//! Kubernetes' own kinds that Argo CD judges by a bundled check: definitions, disruption budgets, cron jobs, and the
//! vertical autoscaler.
//!
//! Sources: Kubernetes API reference (CustomResourceDefinition v1, PodDisruptionBudget v1, CronJob v1), autoscaler repository
//! (VPA API), Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition_is, conditions, exists, items, said, text, truth, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing};

pub(super) const DEFINITIONS: Kinds = &[("CustomResourceDefinition", Judge::Own(definition))];
pub(super) const BATCH: Kinds = &[("CronJob", Judge::Own(cron_job))];
/// A budget that has no pods to spare is not broken: that is its work.
pub(super) const POLICY: Kinds = &[(
    "PodDisruptionBudget",
    conditions(&[
        &[when("", "False", Degraded).but_because(&["InsufficientPods"]).by_reason()],
        &[when("", "", Healthy).by_reason()],
    ]),
)];
pub(super) const AUTOSCALING: Kinds = &[(
    "VerticalPodAutoscaler",
    conditions(&[&[when("NoPodsMatched", "True", Degraded)], &[when("RecommendationProvided", "True", Healthy)]]),
)];

fn definition(live: &Value) -> Health {
    if items(live, "/status/conditions").is_empty() {
        return waiting(live);
    }
    if let Some(found) = condition_is(live, "Terminating", "True") {
        return Health::new(Progressing, format!("Terminating: {}", said(found)));
    }
    if let Some(found) = condition_is(live, "NamesAccepted", "False") {
        return Health::new(Degraded, format!("The names are not accepted: {}", said(found)));
    }
    if condition_is(live, "Established", "True").is_none() {
        return Health::new(Degraded, "Not established");
    }
    match condition_is(live, "NonStructuralSchema", "True") {
        Some(found) => Health::new(Degraded, format!("The schema is not structural: {}", said(found))),
        None => Health::new(Healthy, ""),
    }
}

/// Degraded only when the last run is known to have failed. A suspended one counts as healthy, or it would make its whole
/// Application Suspended (Argo CD issue 24428).
fn cron_job(live: &Value) -> Health {
    if truth(live, "/spec/suspend") {
        return Health::new(Healthy, "Suspended");
    }
    if !exists(live, "/status") {
        return waiting(live);
    }
    // Both are RFC 3339 in UTC, so the later one is the greater string.
    let (scheduled, succeeded) = (text(live, "/status/lastScheduleTime"), text(live, "/status/lastSuccessfulTime"));
    match (scheduled, succeeded) {
        ("", _) => Health::new(Healthy, "Not scheduled yet"),
        (_, "") => Health::new(Healthy, "No run has succeeded yet"),
        _ if !items(live, "/status/active").is_empty() => Health::new(Healthy, "Running"),
        (scheduled, succeeded) if succeeded < scheduled => {
            Health::new(Degraded, format!("The run of {scheduled} did not succeed"))
        }
        (_, succeeded) => Health::new(Healthy, format!("Succeeded at {succeeded}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn definitions() {
        check(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"conditions": []}}), Progressing, ""),
                (
                    said(&[
                        ("NamesAccepted", "True", "NoConflicts", ""),
                        ("Established", "True", "InitialNamesAccepted", ""),
                    ]),
                    Healthy,
                    "",
                ),
                (
                    said(&[
                        ("NamesAccepted", "False", "ListKindConflict", "already in use"),
                        ("Established", "False", "NotAccepted", ""),
                    ]),
                    Degraded,
                    "already in use",
                ),
                (
                    said(&[("NamesAccepted", "True", "NoConflicts", ""), ("Established", "False", "Installing", "")]),
                    Degraded,
                    "Not established",
                ),
                (
                    said(&[
                        ("Established", "True", "", ""),
                        ("NonStructuralSchema", "True", "Violations", "must not be empty"),
                    ]),
                    Degraded,
                    "must not be empty",
                ),
                (
                    said(&[
                        ("Established", "True", "", ""),
                        ("Terminating", "True", "InstanceDeletionPending", "deletion in progress"),
                    ]),
                    Progressing,
                    "deletion",
                ),
            ],
        );
    }

    #[test]
    fn budgets_and_autoscalers() {
        check(
            "policy/v1",
            "PodDisruptionBudget",
            [
                (json!({}), Progressing, ""),
                (said(&[("DisruptionAllowed", "True", "SufficientPods", "")]), Healthy, "SufficientPods"),
                (said(&[("DisruptionAllowed", "False", "InsufficientPods", "")]), Healthy, "InsufficientPods"),
                (said(&[("DisruptionAllowed", "False", "SyncFailed", "found no controllers")]), Degraded, "SyncFailed"),
            ],
        );
        check(
            "autoscaling.k8s.io/v1",
            "VerticalPodAutoscaler",
            [
                (json!({}), Progressing, ""),
                (said(&[("RecommendationProvided", "True", "", "")]), Healthy, ""),
                (
                    said(&[
                        ("RecommendationProvided", "True", "", ""),
                        ("NoPodsMatched", "True", "NoPodsMatched", "No pods match"),
                    ]),
                    Degraded,
                    "No pods match",
                ),
                (said(&[("RecommendationProvided", "False", "", "")]), Progressing, ""),
            ],
        );
    }

    #[test]
    fn cron_jobs() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
        check(
            "batch/v1",
            "CronJob",
            [
                (json!({}), Progressing, ""),
                (json!({"spec": {"suspend": true}}), Healthy, "Suspended"),
                (json!({"status": {}}), Healthy, "Not scheduled"),
                (json!({"status": {"lastScheduleTime": early}}), Healthy, "No run"),
                (
                    json!({"status": {"lastScheduleTime": late, "lastSuccessfulTime": early, "active": [{"name": "a-1"}]}}),
                    Healthy,
                    "Running",
                ),
                (json!({"status": {"lastScheduleTime": late, "lastSuccessfulTime": early}}), Degraded, late),
                (json!({"status": {"lastScheduleTime": early, "lastSuccessfulTime": late}}), Healthy, late),
            ],
        );
    }
}

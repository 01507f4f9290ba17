//! Many clusters: Karmada, Open Cluster Management, Gardener.
//!
//! Sources: Karmada "ResourceBinding" API, Open Cluster Management policy framework (compliant), Gardener "Shoot status"
//! (label `shoot.gardener.cloud/status`), Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{
    Field, Judge, conditions, exists, field, items, said, stale, text, truth, unless, unobserved, waiting, when,
};
use crate::app::HealthCode::{self, Degraded, Healthy, Progressing, Unknown};

pub(super) const KARMADA: Kinds =
    &[("ClusterResourceBinding", Judge::Own(binding)), ("ResourceBinding", Judge::Own(binding))];
pub(super) const OPEN_CLUSTER_MANAGEMENT: Kinds = &[
    ("CertificatePolicy", COMPLIANCE.judge()),
    ("ConfigurationPolicy", Judge::Own(configuration_policy)),
    ("OperatorPolicy", Judge::Own(operator_policy)),
    ("Policy", Judge::Own(policy)),
];
pub(super) const GARDENER: Kinds = &[("Shoot", Judge::Own(shoot))];

const COMPLIANCE: Field = field("/status/compliant", &[("Compliant", Healthy)]).unlisted(Degraded);
const COMPLIANT: Judge = conditions(&[&[when("Compliant", "True", Healthy), unless("Compliant", "True", Degraded)]]);

/// Every cluster it is bound to must have said something, and none that it is unhealthy.
fn binding(live: &Value) -> Health {
    let (clusters, said) = (items(live, "/spec/clusters"), items(live, "/status/aggregatedStatus"));
    if !exists(live, "/status") || clusters.is_empty() || clusters.len() != said.len() {
        return Health::new(Progressing, format!("{} of {} clusters have reported", said.len(), clusters.len()));
    }
    let bad = said.iter().find(|entry| match text(entry, "/health") {
        "Unhealthy" => true,
        "Unknown" => !truth(entry, "/applied"),
        _ => false,
    });
    match bad {
        Some(entry) => {
            Health::new(Degraded, format!("Cluster {} is {}", text(entry, "/clusterName"), text(entry, "/health")))
        }
        None => Health::new(Healthy, ""),
    }
}

fn compliance(live: &Value) -> HealthCode {
    if text(live, "/status/compliant") == "Compliant" { Healthy } else { Degraded }
}

fn configuration_policy(live: &Value) -> Health {
    if !exists(live, "/status/compliant") {
        return waiting(live);
    }
    if live["status"]["lastEvaluatedGeneration"] != live["metadata"]["generation"] {
        return unobserved();
    }
    if !exists(live, "/status/compliancyDetails") {
        return waiting(live);
    }
    let words: Vec<String> = items(live, "/status/compliancyDetails")
        .iter()
        .flat_map(|detail| items(detail, "/conditions"))
        .filter(|found| exists(found, "/message") && exists(found, "/type"))
        .map(|found| format!("{}: {}", text(found, "/type"), text(found, "/message")))
        .collect();
    Health::new(compliance(live), words.join("; "))
}

fn operator_policy(live: &Value) -> Health {
    match stale(live, &live["status"]["observedGeneration"]) {
        true => unobserved(),
        false => COMPLIANT.of(live),
    }
}

/// The policy at the root lists clusters, its replica in a cluster lists templates.
fn policy(live: &Value) -> Health {
    if truth(live, "/spec/disabled") {
        return Health::new(Healthy, "Disabled");
    }
    let placed = !items(live, "/status/placement").is_empty();
    if !exists(live, "/status/compliant") {
        return match placed && !exists(live, "/status/status") {
            true => Health::new(Healthy, "No cluster matches"),
            false => waiting(live),
        };
    }
    let (entries, name) = match exists(live, "/status/status") {
        true => (items(live, "/status/status"), "/clustername"),
        false => (items(live, "/status/details"), "/templateMeta/name"),
    };
    let bad: Vec<&str> =
        entries.iter().filter(|entry| entry["compliant"] != "Compliant").map(|entry| text(entry, name)).collect();
    match bad.is_empty() {
        true => Health::new(compliance(live), ""),
        false => Health::new(compliance(live), format!("Not compliant: {}", bad.join(", "))),
    }
}

/// Gardener sums up in a label. A shoot that has become unhealthy less than 15 minutes ago is still under way; the clock
/// is the newest time that the conditions themselves tell, for Gardener updates them as it looks.
fn shoot(live: &Value) -> Health {
    match text(live, "/metadata/labels/shoot.gardener.cloud~1status") {
        "" => waiting(live),
        word @ "healthy" => Health::new(Healthy, word),
        word @ "unknown" => Health::new(Unknown, word),
        "unhealthy" => {
            let listed = items(live, "/status/conditions");
            let Some(bad) = listed.iter().find(|found| found["status"] != "True") else {
                return Health::new(Degraded, "unhealthy");
            };
            let seconds = |found: &Value, at: &str| clock(text(found, at));
            let newest = listed
                .iter()
                .flat_map(|found| ["/lastUpdateTime", "/lastTransitionTime"].map(|at| seconds(found, at)))
                .flatten()
                .max();
            let recent =
                matches!((newest, seconds(bad, "/lastTransitionTime")), (Some(now), Some(since)) if now - since < 900);
            Health::new(if recent { Progressing } else { Degraded }, said(bad))
        }
        word => Health::new(Progressing, word),
    }
}

/// Seconds of an RFC 3339 time in UTC since some fixed day (days counted as in "days from civil", H. Hinnant).
fn clock(time: &str) -> Option<i64> {
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn karmada() {
        let with = |clusters: Value, said: Value| json!({"spec": {"clusters": clusters}, "status": {"aggregatedStatus": said}});
        let (two, good) =
            (json!([{"name": "a"}, {"name": "b"}]), json!({"clusterName": "a", "health": "Healthy", "applied": true}));
        for kind in ["ResourceBinding", "ClusterResourceBinding"] {
            check(
                "work.karmada.io/v1alpha2",
                kind,
                [
                    (json!({}), Progressing, "0 of 0"),
                    (json!({"spec": {"clusters": two}}), Progressing, "0 of 2"),
                    (with(json!([]), json!([])), Progressing, "0 of 0"),
                    (with(two.clone(), json!([good])), Progressing, "1 of 2"),
                    (with(two.clone(), json!([good, good])), Healthy, ""),
                    (
                        with(two.clone(), json!([good, {"clusterName": "b", "health": "Unhealthy"}])),
                        Degraded,
                        "Cluster b is Unhealthy",
                    ),
                    (
                        with(two.clone(), json!([good, {"clusterName": "b", "health": "Unknown", "applied": false}])),
                        Degraded,
                        "Unknown",
                    ),
                    (
                        with(two.clone(), json!([good, {"clusterName": "b", "health": "Unknown", "applied": true}])),
                        Healthy,
                        "",
                    ),
                ],
            );
        }
    }

    #[test]
    fn open_cluster_management() {
        let group = "policy.open-cluster-management.io/v1";
        let status = |status: Value| json!({"status": status});
        check(
            group,
            "CertificatePolicy",
            [
                (json!({}), Progressing, "not reported"),
                (status(json!({"compliant": "Compliant"})), Healthy, "Compliant"),
                (status(json!({"compliant": "NonCompliant"})), Degraded, "NonCompliant"),
            ],
        );
        let details = json!([{"conditions": [{"type": "violation", "message": "namespaces not found"}]}]);
        check(
            group,
            "ConfigurationPolicy",
            [
                (json!({}), Progressing, "not reported"),
                (status(json!({"compliant": "Compliant", "lastEvaluatedGeneration": 1})), Progressing, "latest spec"),
                (status(json!({"compliant": "Compliant", "lastEvaluatedGeneration": 2})), Progressing, "not reported"),
                (
                    status(json!({"compliant": "Compliant", "lastEvaluatedGeneration": 2, "compliancyDetails": []})),
                    Healthy,
                    "",
                ),
                (
                    status(
                        json!({"compliant": "NonCompliant", "lastEvaluatedGeneration": 2, "compliancyDetails": details}),
                    ),
                    Degraded,
                    "namespaces not found",
                ),
            ],
        );
        let mut old = said(&[("Compliant", "True", "", "")]);
        old["status"]["observedGeneration"] = json!(1);
        check(
            group,
            "OperatorPolicy",
            [
                (json!({}), Progressing, "not reported"),
                (old, Progressing, "latest spec"),
                (said(&[("Compliant", "True", "Compliant", "the policy is compliant")]), Healthy, "compliant"),
                (said(&[("Compliant", "False", "NonCompliant", "no subscription")]), Degraded, "no subscription"),
            ],
        );
        check(
            group,
            "Policy",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"spec": {"disabled": true}}), Healthy, "Disabled"),
                (status(json!({"placement": [{"placement": "all"}]})), Healthy, "No cluster"),
                (
                    status(
                        json!({"compliant": "Compliant", "status": [{"clustername": "a", "compliant": "Compliant"}]}),
                    ),
                    Healthy,
                    "",
                ),
                (
                    status(
                        json!({"compliant": "NonCompliant", "status": [{"clustername": "a", "compliant": "NonCompliant"}]}),
                    ),
                    Degraded,
                    "Not compliant: a",
                ),
                (
                    status(
                        json!({"compliant": "NonCompliant", "details": [{"templateMeta": {"name": "t"}, "compliant": "Pending"}]}),
                    ),
                    Degraded,
                    "Not compliant: t",
                ),
            ],
        );
    }

    #[test]
    fn gardener() {
        let shoot = |label: &str, since: &str, now: &str| {
            json!({"metadata": {"labels": {"shoot.gardener.cloud/status": label}}, "status": {"conditions": [
                {"type": "APIServerAvailable", "status": "True", "lastUpdateTime": now, "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "EveryNodeReady", "status": "False", "message": "node is down", "lastTransitionTime": since},
            ]}})
        };
        check(
            "core.gardener.cloud/v1beta1",
            "Shoot",
            [
                (json!({}), Progressing, "not reported"),
                (shoot("healthy", "", ""), Healthy, "healthy"),
                (shoot("progressing", "", ""), Progressing, "progressing"),
                (shoot("unknown", "", ""), Unknown, "unknown"),
                (shoot("unhealthy", "2026-02-28T23:50:00Z", "2026-03-01T00:00:00Z"), Progressing, "node is down"),
                (shoot("unhealthy", "2026-02-28T23:40:00Z", "2026-03-01T00:00:00Z"), Degraded, "node is down"),
                (shoot("unhealthy", "", "2026-03-01T00:00:00Z"), Degraded, "node is down"),
                (json!({"metadata": {"labels": {"shoot.gardener.cloud/status": "unhealthy"}}}), Degraded, "unhealthy"),
            ],
        );
    }

    #[test]
    fn the_clock_knows_the_calendar() {
        let day = |date: &str| clock(&format!("{date}T00:00:00Z")).unwrap() / 86400;
        assert_eq!(day("2024-03-01") - day("2024-02-28"), 2);
        assert_eq!(day("2026-03-01") - day("2026-02-28"), 1);
        assert_eq!(day("2027-01-01") - day("2026-01-01"), 365);
        assert_eq!(clock("2026-01-01T00:15:00Z").unwrap() - clock("2026-01-01T00:00:00Z").unwrap(), 900);
        assert_eq!(clock("soon"), None);
    }
}

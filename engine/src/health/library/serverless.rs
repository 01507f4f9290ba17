//! Functions and event-driven scaling: Knative, KServe, KEDA, OpenFaaS, Camel K, SpinKube.
//!
//! Sources: Knative "Service" conditions and operator status, KServe InferenceService (modelStatus), KEDA "ScaledObject
//! status", OpenFaaS Function, Camel K, SpinApp, Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, READY, condition, condition_is, exists, items, number, said, text, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const KNATIVE_SERVING: Kinds = &[("Service", Judge::Own(knative_service))];
pub(super) const KNATIVE_OPERATOR: Kinds = &[
    ("KnativeEventing", Judge::Own(|live| knative_operator(live, &["Ready", "InstallSucceeded"], &["Ready"]))),
    (
        "KnativeServing",
        Judge::Own(|live| {
            knative_operator(
                live,
                &["Ready", "InstallSucceeded", "DependenciesInstalled", "DeploymentsAvailable"],
                &["Ready", "DeploymentsAvailable"],
            )
        }),
    ),
];
pub(super) const KSERVE: Kinds = &[("InferenceService", Judge::Own(inference_service))];
pub(super) const KEDA: Kinds = &[
    ("ScaledJob", Judge::Own(|live| keda(live, ("Ready", "Unknown")))),
    ("ScaledObject", Judge::Own(|live| keda(live, ("Fallback", "True")))),
];
pub(super) const OPENFAAS: Kinds = &[("Function", Judge::Own(function))];
pub(super) const CAMEL: Kinds = &[("Integration", READY)];
pub(super) const SPINKUBE: Kinds = &[("SpinApp", Judge::Own(spin_app))];

/// The conditions that are not True, in words.
fn complaints(live: &Value) -> String {
    let bad =
        items(live, "/status/conditions").iter().filter(|found| matches!(text(found, "/status"), "False" | "Unknown"));
    bad.map(|found| format!("{}: {}", text(found, "/type"), said(found))).collect::<Vec<_>>().join("; ")
}

/// All three of its conditions must be True; any that is False, also another, is a failure.
fn knative_service(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let with =
        |status: &'static str| items(live, "/status/conditions").iter().filter(move |found| found["status"] == status);
    if with("False").next().is_some() {
        return Health::new(Degraded, complaints(live));
    }
    let good = with("True")
        .filter(|found| matches!(text(found, "/type"), "ConfigurationsReady" | "RoutesReady" | "Ready"))
        .count();
    match good == 3 && with("Unknown").next().is_none() {
        true => Health::new(Healthy, ""),
        false => Health::new(Progressing, complaints(live)),
    }
}

/// The operator's own kinds: what must be True, and what is under way while it is False.
fn knative_operator(live: &Value, needed: &[&str], slow: &[&str]) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let under_way = items(live, "/status/conditions").iter().any(|found| {
        found["status"] == "Unknown" || found["status"] == "False" && slow.contains(&text(found, "/type"))
    });
    if under_way {
        return Health::new(Progressing, complaints(live));
    }
    match needed.iter().all(|kind| condition_is(live, kind, "True").is_some()) {
        true => Health::new(Healthy, ""),
        false => Health::new(Degraded, complaints(live)),
    }
}

/// A condition that is False only makes it Degraded when the model itself has failed; Stopped is good when False.
fn inference_service(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    if condition_is(live, "Stopped", "True").is_some() {
        return Health::new(Suspended, "Stopped");
    }
    let transition = text(live, "/status/modelStatus/transitionStatus");
    let modelled = exists(live, "/status/modelStatus");
    let bad: Vec<String> = items(live, "/status/conditions")
        .iter()
        .filter(|found| found["type"] != "Stopped" && found["status"] != "True")
        .map(|found| format!("{}: {}", text(found, "/type"), said(found)))
        .collect();
    let words = [transition.to_owned()].into_iter().filter(|word| !word.is_empty() && word != "UpToDate").chain(bad);
    let words = words.collect::<Vec<_>>().join("; ");
    // Unknown counts for Stopped too, False does not.
    let counts = items(live, "/status/conditions").iter().any(|found| match text(found, "/status") {
        "Unknown" => true,
        "False" => found["type"] != "Stopped",
        _ => false,
    });
    match transition {
        "UpToDate" if !counts => Health::new(Healthy, ""),
        _ if !modelled && !counts => Health::new(Healthy, ""),
        "UpToDate" | "InProgress" => Health::new(Progressing, words),
        _ if !modelled => Health::new(Progressing, words),
        _ => Health::new(Degraded, words),
    }
}

/// A pause shows only while it is Ready; one further condition is a failure as well.
fn keda(live: &Value, also: (&str, &str)) -> Health {
    let bad = condition_is(live, "Ready", "False").or_else(|| condition_is(live, also.0, also.1));
    let (ready, paused) = (condition_is(live, "Ready", "True"), condition_is(live, "Paused", "True"));
    match (bad, ready, paused) {
        (Some(found), _, _) => Health::new(Degraded, said(found)),
        (None, Some(_), Some(found)) => Health::new(Suspended, said(found)),
        (None, Some(found), None) => Health::new(Healthy, text(found, "/message")),
        (None, None, _) => waiting(live),
    }
}

/// The first condition that speaks decides; without replicas a function is asleep.
fn function(live: &Value) -> Health {
    let first = items(live, "/status/conditions").iter().find(|found| {
        matches!((text(found, "/type"), text(found, "/status")), ("Ready", "True" | "False") | ("Stalled", "True"))
    });
    let awake = number(live, "/status/replicas").is_some_and(|replicas| replicas > 0);
    match first.map(|found| (found, found["type"] == "Ready" && found["status"] == "True")) {
        None => waiting(live),
        Some((found, false)) => Health::new(Degraded, said(found)),
        Some((found, true)) if awake => Health::new(Healthy, text(found, "/message")),
        Some(_) => Health::new(Suspended, "No replicas"),
    }
}

/// Argo CD calls it Degraded while it is not available, also before it has a status.
fn spin_app(live: &Value) -> Health {
    if !exists(live, "/status") {
        return Health::new(Degraded, waiting(live).message);
    }
    let available = condition(live, "Available");
    if available.is_none_or(|found| found["status"] != "True") {
        return Health::new(Degraded, available.map_or_else(|| waiting(live).message, said));
    }
    let (ready, wanted) =
        (number(live, "/status/readyReplicas").unwrap_or_default(), number(live, "/spec/replicas").unwrap_or(1));
    match condition_is(live, "Progressing", "True") {
        _ if ready < wanted => Health::new(Progressing, format!("{ready} of {wanted} replicas are ready")),
        Some(found) => Health::new(Progressing, said(found)),
        None => Health::new(Healthy, format!("{ready} of {wanted} replicas are ready")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn knative() {
        check(
            "serving.knative.dev/v1",
            "Service",
            [
                (json!({}), Progressing, "not reported"),
                (
                    said(&[
                        ("ConfigurationsReady", "True", "", ""),
                        ("Ready", "True", "", ""),
                        ("RoutesReady", "True", "", ""),
                    ]),
                    Healthy,
                    "",
                ),
                (
                    said(&[
                        ("ConfigurationsReady", "True", "", ""),
                        ("Ready", "Unknown", "RevisionMissing", "waits for a revision"),
                    ]),
                    Progressing,
                    "Ready: waits",
                ),
                (
                    said(&[
                        ("ConfigurationsReady", "False", "RevisionFailed", "image not found"),
                        ("Ready", "False", "", ""),
                    ]),
                    Degraded,
                    "image not found",
                ),
                (said(&[("Ready", "True", "", "")]), Progressing, ""),
            ],
        );
        check(
            "operator.knative.dev/v1beta1",
            "KnativeEventing",
            [
                (json!({}), Progressing, "not reported"),
                (said(&[("InstallSucceeded", "True", "", ""), ("Ready", "True", "", "")]), Healthy, ""),
                (
                    said(&[("InstallSucceeded", "True", "", ""), ("Ready", "False", "NotReady", "waits")]),
                    Progressing,
                    "waits",
                ),
                (said(&[("InstallSucceeded", "Unknown", "", "")]), Progressing, "Unknown"),
                (
                    said(&[("InstallSucceeded", "False", "Error", "no such version"), ("Ready", "True", "", "")]),
                    Degraded,
                    "no such version",
                ),
            ],
        );
        let all: [(&str, &str, &str, &str); 4] =
            ["DependenciesInstalled", "DeploymentsAvailable", "InstallSucceeded", "Ready"]
                .map(|kind| (kind, "True", "", ""));
        check(
            "operator.knative.dev/v1beta1",
            "KnativeServing",
            [
                (json!({}), Progressing, "not reported"),
                (said(&all), Healthy, ""),
                (
                    said(&[("DeploymentsAvailable", "False", "NotReady", "waits for deployments")]),
                    Progressing,
                    "deployments",
                ),
                (said(&[("Ready", "False", "", "waits")]), Progressing, "waits"),
                (said(&[("InstallSucceeded", "False", "Error", "denied")]), Degraded, "denied"),
            ],
        );
    }

    #[test]
    fn kserve() {
        let with = |transition: Value, conditions: &[(&str, &str, &str, &str)]| json!({"status": {"modelStatus": transition, "conditions": listed(conditions)}});
        let model = |transition: &str| json!({"transitionStatus": transition});
        let good = [("IngressReady", "True", "", ""), ("Ready", "True", "", ""), ("Stopped", "False", "", "")];
        check(
            "serving.kserve.io/v1beta1",
            "InferenceService",
            [
                (json!({}), Progressing, "not reported"),
                (with(model("UpToDate"), &good), Healthy, ""),
                (with(json!(null), &good), Healthy, ""),
                (with(json!(null), &[("Ready", "False", "", "waits")]), Progressing, "waits"),
                (with(model("UpToDate"), &[("Ready", "Unknown", "", "waits")]), Progressing, "waits"),
                (with(model("UpToDate"), &[("Stopped", "Unknown", "", "")]), Progressing, ""),
                (with(model("InProgress"), &good), Progressing, "InProgress"),
                (
                    with(model("BlockedByFailedLoad"), &[("PredictorReady", "False", "", "out of memory")]),
                    Degraded,
                    "out of memory",
                ),
                (with(model("InvalidSpec"), &[("Stopped", "True", "", "")]), Suspended, "Stopped"),
            ],
        );
    }

    #[test]
    fn keda() {
        for kind in ["ScaledJob", "ScaledObject"] {
            check(
                "keda.sh/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (
                        said(&[("Ready", "True", "ScaledObjectReady", "ready for scaling")]),
                        Healthy,
                        "ready for scaling",
                    ),
                    (
                        said(&[
                            ("Ready", "True", "", ""),
                            ("Paused", "True", "ScaledObjectPaused", "paused by annotation"),
                        ]),
                        Suspended,
                        "annotation",
                    ),
                    (
                        said(&[("Ready", "False", "ScaledObjectCheckFailed", "no such target")]),
                        Degraded,
                        "no such target",
                    ),
                    (said(&[("Paused", "True", "", "")]), Progressing, ""),
                ],
            );
        }
        check(
            "keda.sh/v1alpha1",
            "ScaledJob",
            [(said(&[("Ready", "Unknown", "", "cannot tell")]), Degraded, "cannot tell")],
        );
        check(
            "keda.sh/v1alpha1",
            "ScaledObject",
            [
                (
                    said(&[
                        ("Ready", "True", "", ""),
                        ("Fallback", "True", "FallbackExists", "one trigger falls back"),
                    ]),
                    Degraded,
                    "falls back",
                ),
                (said(&[("Ready", "Unknown", "", "")]), Progressing, ""),
            ],
        );
    }

    #[test]
    fn functions_and_apps() {
        let mut awake = said(&[("Ready", "True", "", "fine")]);
        awake["status"]["replicas"] = json!(1);
        check(
            "openfaas.com/v1",
            "Function",
            [
                (json!({}), Progressing, ""),
                (awake, Healthy, "fine"),
                (said(&[("Ready", "True", "", "fine")]), Suspended, "No replicas"),
                (said(&[("Ready", "False", "", "no such image")]), Degraded, "no such image"),
                (
                    said(&[("Stalled", "True", "", "no such profile"), ("Ready", "True", "", "")]),
                    Degraded,
                    "no such profile",
                ),
            ],
        );
        check(
            "camel.apache.org/v1",
            "Integration",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "DeploymentReady", "1/1 ready replicas")]), Healthy, "1/1"),
                (said(&[("Ready", "False", "Error", "build failed")]), Degraded, "build failed"),
            ],
        );
        let app = |ready: i64, conditions: &[(&str, &str, &str, &str)]| json!({"spec": {"replicas": 2}, "status": {"readyReplicas": ready, "conditions": listed(conditions)}});
        let available = ("Available", "True", "MinimumReplicasAvailable", "");
        check(
            "core.spinkube.dev/v1alpha1",
            "SpinApp",
            [
                (json!({}), Degraded, "not reported"),
                (app(0, &[]), Degraded, "not reported"),
                (app(0, &[("Available", "False", "", "no executor")]), Degraded, "no executor"),
                (app(1, &[available]), Progressing, "1 of 2"),
                (app(2, &[available, ("Progressing", "True", "ReplicaSetUpdated", "rolls")]), Progressing, "rolls"),
                (app(2, &[available, ("Progressing", "False", "", "")]), Healthy, "2 of 2"),
            ],
        );
    }
}

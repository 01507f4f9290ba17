//! OpenShift and the Operator Lifecycle Manager.
//!
//! Sources: OpenShift API reference (Route, DeploymentConfig, IngressController, StorageCluster), OLM "Subscription" status,
//! Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition_is, conditions, conditions_or, exists, items, number, said, text, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Unknown};

pub(super) const ROUTE: Kinds = &[("Route", Judge::Own(route))];
pub(super) const APPS: Kinds = &[("DeploymentConfig", Judge::Own(deployment_config))];
pub(super) const OPERATOR: Kinds = &[(
    "IngressController",
    conditions(&[&[
        when("Degraded", "True", Degraded),
        when("DeploymentReplicasAllAvailable", "False", Progressing),
        when("Progressing", "True", Progressing).by_reason(),
        when("Available", "True", Healthy),
    ]]),
)];
pub(super) const STORAGE: Kinds = &[(
    "StorageCluster",
    conditions_or(
        Unknown,
        &[
            &[when("Degraded", "True", Degraded)],
            &[when("Progressing", "True", Progressing)],
            &[when("Available", "True", Healthy)],
        ],
    ),
)];
pub(super) const OLM: Kinds = &[("Subscription", Judge::Own(subscription))];

/// Healthy when every router has admitted it.
fn route(live: &Value) -> Health {
    if !exists(live, "/status/ingress") {
        return waiting(live);
    }
    let routers = items(live, "/status/ingress");
    let answers: Vec<&Value> = routers
        .iter()
        .flat_map(|router| items(router, "/conditions"))
        .filter(|found| found["type"] == "Admitted")
        .collect();
    let admitted = answers.iter().filter(|found| found["status"] == "True").count();
    match answers.iter().find(|found| found["status"] == "False") {
        _ if admitted == routers.len() => Health::new(Healthy, ""),
        Some(found) => Health::new(Degraded, said(found)),
        None => Health::new(Progressing, format!("{admitted} of {} routers have admitted it", routers.len())),
    }
}

fn deployment_config(live: &Value) -> Health {
    if !exists(live, "/status/conditions") || !exists(live, "/status/replicas") {
        return waiting(live);
    }
    let is = |found: &Value| match text(found, "/type") {
        _ if found["status"] != "True" => false,
        "Available" => true,
        "Progressing" => found["reason"] == "NewReplicationControllerAvailable",
        _ => false,
    };
    let words = || items(live, "/status/conditions").iter().find(|found| !is(found)).map(said).unwrap_or_default();
    match items(live, "/status/conditions").iter().filter(|found| is(found)).count() {
        2 => Health::new(Healthy, ""),
        _ if number(live, "/status/replicas") == Some(0) => Health::new(Healthy, ""),
        1 => Health::new(Progressing, words()),
        _ => Health::new(Degraded, words()),
    }
}

/// An upgrade that waits for a person's approval is no trouble once something is installed.
fn subscription(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let approval =
        condition_is(live, "InstallPlanPending", "True").is_some_and(|found| found["reason"] == "RequiresApproval");
    let manual =
        approval && text(live, "/spec/installPlanApproval") == "Manual" && exists(live, "/status/installedCSV");
    let state = live["status"]["state"].as_str();
    let bad = items(live, "/status/conditions").iter().find(|found| match text(found, "/type") {
        "InstallPlanMissing" => found["reason"] != "ReferencedInstallPlanNotFound",
        "CatalogSourcesUnhealthy" | "InstallPlanFailed" | "ResolutionFailed" => found["status"] == "True",
        _ => false,
    });
    if let Some(found) = bad {
        return Health::new(Degraded, said(found));
    }
    let pending = condition_is(live, "InstallPlanPending", "True").filter(|_| !manual);
    match (state, pending) {
        (Some(state @ "UpgradeFailed"), _) => Health::new(Degraded, state),
        (_, Some(found)) => Health::new(Progressing, said(found)),
        (None | Some(""), None) => Health::new(Progressing, "The state is not known yet"),
        (Some("UpgradePending"), None) if manual => Health::new(Healthy, "An upgrade waits for approval"),
        (Some(state @ ("UpgradeAvailable" | "UpgradePending")), None) => Health::new(Progressing, state),
        (Some(state), None) => Health::new(Healthy, state),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn routes_and_deployments() {
        let admitted = |status: &str| json!({"routerName": "default", "conditions": listed(&[("Admitted", status, "HostAlreadyClaimed", "taken")])});
        let routers = |routers: Value| json!({"status": {"ingress": routers}});
        check(
            "route.openshift.io/v1",
            "Route",
            [
                (json!({}), Progressing, "not reported"),
                (routers(json!([admitted("True"), admitted("True")])), Healthy, ""),
                (routers(json!([admitted("True"), admitted("False")])), Degraded, "taken"),
                (routers(json!([admitted("True"), {"conditions": []}])), Progressing, "1 of 2"),
            ],
        );
        let config = |replicas: i64, conditions: &[(&str, &str, &str, &str)]| json!({"status": {"replicas": replicas, "conditions": listed(conditions)}});
        let (available, rolled_out) =
            (("Available", "True", "", ""), ("Progressing", "True", "NewReplicationControllerAvailable", ""));
        check(
            "apps.openshift.io/v1",
            "DeploymentConfig",
            [
                (json!({}), Progressing, "not reported"),
                (config(1, &[available, rolled_out]), Healthy, ""),
                (
                    config(1, &[available, ("Progressing", "True", "ReplicationControllerUpdated", "rolling")]),
                    Progressing,
                    "rolling",
                ),
                (config(1, &[("Available", "False", "", "no minimum availability")]), Degraded, "availability"),
                (config(0, &[("Available", "False", "", "")]), Healthy, ""),
            ],
        );
    }

    #[test]
    fn operators() {
        check(
            "operator.openshift.io/v1",
            "IngressController",
            [
                (json!({}), Progressing, "not reported"),
                (said(&[("Degraded", "True", "", "one or more status conditions")]), Degraded, "one or more"),
                (said(&[("DeploymentReplicasAllAvailable", "False", "", "0/2")]), Progressing, "0/2"),
                (
                    said(&[("Progressing", "True", "IngressControllerProgressing", "words")]),
                    Progressing,
                    "IngressControllerProgressing",
                ),
                (said(&[("Degraded", "False", "", ""), ("Available", "True", "", "")]), Healthy, ""),
            ],
        );
        check(
            "ocs.openshift.io/v1",
            "StorageCluster",
            [
                (json!({}), Unknown, ""),
                (
                    said(&[
                        ("Available", "True", "", "fine"),
                        ("Progressing", "True", "", "creating"),
                        ("Degraded", "True", "", "broken"),
                    ]),
                    Degraded,
                    "broken",
                ),
                (
                    said(&[("Available", "True", "", "fine"), ("Progressing", "True", "", "creating")]),
                    Progressing,
                    "creating",
                ),
                (said(&[("Available", "True", "", "fine"), ("Progressing", "False", "", "")]), Healthy, "fine"),
            ],
        );
    }

    #[test]
    fn subscriptions() {
        let with = |state: Value, conditions: &[(&str, &str, &str, &str)]| {
            json!({
                "spec": {"installPlanApproval": "Manual"},
                "status": {"installedCSV": "etcd.v0.9", "state": state, "conditions": listed(conditions)},
            })
        };
        let approval = ("InstallPlanPending", "True", "RequiresApproval", "");
        let mut first = with(json!("UpgradePending"), &[approval]);
        first["status"]["installedCSV"] = json!(null);
        check(
            "operators.coreos.com/v1alpha1",
            "Subscription",
            [
                (json!({}), Progressing, "not reported"),
                (
                    with(json!("AtLatestKnown"), &[("CatalogSourcesUnhealthy", "False", "", "")]),
                    Healthy,
                    "AtLatestKnown",
                ),
                (
                    with(
                        json!("AtLatestKnown"),
                        &[("CatalogSourcesUnhealthy", "True", "UnhealthyCatalogSourceFound", "")],
                    ),
                    Degraded,
                    "Unhealthy",
                ),
                (with(json!("AtLatestKnown"), &[("InstallPlanFailed", "True", "", "conflict")]), Degraded, "conflict"),
                (
                    with(json!("AtLatestKnown"), &[("ResolutionFailed", "True", "", "no channel")]),
                    Degraded,
                    "no channel",
                ),
                (with(json!("AtLatestKnown"), &[("InstallPlanMissing", "True", "Lost", "")]), Degraded, "Lost"),
                (
                    with(
                        json!("AtLatestKnown"),
                        &[("InstallPlanMissing", "True", "ReferencedInstallPlanNotFound", "")],
                    ),
                    Healthy,
                    "AtLatestKnown",
                ),
                (
                    with(json!("AtLatestKnown"), &[("InstallPlanPending", "True", "Installing", "")]),
                    Progressing,
                    "Installing",
                ),
                (with(json!("UpgradePending"), &[approval]), Healthy, "approval"),
                (first, Progressing, "RequiresApproval"),
                (with(json!("UpgradePending"), &[]), Progressing, "UpgradePending"),
                (with(json!("UpgradeAvailable"), &[]), Progressing, "UpgradeAvailable"),
                (with(json!("UpgradeFailed"), &[]), Degraded, "UpgradeFailed"),
                (with(json!(null), &[]), Progressing, "not known"),
            ],
        );
    }
}

//! Cloud resources as objects: Google Config Connector, AWS Controllers for Kubernetes, SAP services, Pulumi, IAM manager.
//!
//! Sources: Config Connector "Events" (reasons of Ready), ACK "Conditions", SAP BTP service operator (Succeeded, Failed),
//! Pulumi operator Stack, keikoproj iam-manager API, Argo CD's bundled checks for these groups.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, conditions, exists, items, or, said, stale, text, truth, unobserved, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const CONFIG_CONNECTOR: Judge = Judge::Own(config_connector);
/// In the order the controller lists them: a terminal one comes with Ready False.
pub(super) const ACK: Judge = conditions(&[&[
    when("ACK.Terminal", "True", Degraded),
    when("Ready", "False", Progressing),
    when("Ready", "True", Healthy),
]]);

pub(super) const SAP: Kinds = &[("ServiceBinding", Judge::Own(sap)), ("ServiceInstance", Judge::Own(sap))];
pub(super) const PULUMI: Kinds = &[(
    "Stack",
    conditions(&[&[
        when("Stalled", "True", Degraded),
        when("Reconciling", "True", Progressing),
        when("Ready", "True", Healthy),
    ]]),
)];
pub(super) const KEIKO: Kinds = &[("Iamrole", Judge::Own(iam_role))];

/// The reason tells; one that waits for another resource is Suspended. The two kinds that configure the connector itself
/// say `healthy` instead.
fn config_connector(live: &Value) -> Health {
    if stale(live, &live["status"]["observedGeneration"]) {
        return unobserved();
    }
    let kind = text(live, "/kind");
    if matches!(kind, "ConfigConnector" | "ConfigConnectorContext") && exists(live, "/status/healthy") {
        return match truth(live, "/status/healthy") {
            true => Health::new(Healthy, ""),
            false => Health::new(Degraded, format!("{kind} is not healthy")),
        };
    }
    let first = items(live, "/status/conditions").iter().find_map(|found| {
        let verdict = match text(found, "/reason") {
            "UpToDate" if found["status"] == "True" => Healthy,
            "UpdateFailed" | "DependencyNotFound" => Degraded,
            "DependencyNotReady" => Suspended,
            _ => return None,
        };
        Some(Health::new(verdict, said(found)))
    });
    first.unwrap_or_else(|| waiting(live))
}

/// Ready unless it says otherwise.
fn sap(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let failed = items(live, "/status/conditions").iter().find(|found| {
        matches!((text(found, "/type"), text(found, "/status")), ("Succeeded", "False") | ("Failed", "True"))
    });
    match failed {
        Some(found) => Health::new(Degraded, said(found)),
        None => Health::new(Healthy, ""),
    }
}

fn iam_role(live: &Value) -> Health {
    match text(live, "/status/state") {
        "Ready" => Health::new(Healthy, text(live, "/status/roleARN")),
        state @ ("Error" | "RolesMaxLimitReached" | "PolicyNotAllowed" | "RoleNameNotAvailable") => {
            Health::new(Degraded, or(text(live, "/status/errorDescription"), state))
        }
        "" => waiting(live),
        state => Health::new(Progressing, state),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn google() {
        let ready = |status: &str, reason: &str| said(&[("Ready", status, reason, "words")]);
        check(
            "sql.cnrm.cloud.google.com/v1beta1",
            "SQLInstance",
            [
                (json!({}), Progressing, "not reported"),
                (ready("True", "UpToDate"), Healthy, "words"),
                (ready("False", "UpToDate"), Progressing, ""),
                (ready("False", "UpdateFailed"), Degraded, "words"),
                (ready("False", "DependencyNotFound"), Degraded, "words"),
                (ready("False", "DependencyNotReady"), Suspended, "words"),
                (ready("False", "Updating"), Progressing, ""),
                (
                    json!({"status": {"observedGeneration": 1, "conditions": listed(&[("Ready", "True", "UpToDate", "")])}}),
                    Progressing,
                    "latest spec",
                ),
            ],
        );
        for kind in ["ConfigConnector", "ConfigConnectorContext"] {
            check(
                "core.cnrm.cloud.google.com/v1beta1",
                kind,
                [
                    (json!({"status": {"healthy": true}}), Healthy, ""),
                    (json!({"status": {"healthy": false}}), Degraded, kind),
                    (json!({"status": {"healthy": true, "observedGeneration": 1}}), Progressing, "latest spec"),
                ],
            );
        }
    }

    #[test]
    fn amazon() {
        check(
            "s3.services.k8s.aws/v1alpha1",
            "Bucket",
            [
                (json!({}), Progressing, "not reported"),
                (
                    said(&[("ACK.Terminal", "True", "", "bucket name is taken"), ("Ready", "False", "", "")]),
                    Degraded,
                    "taken",
                ),
                (said(&[("ACK.ResourceSynced", "True", "", ""), ("Ready", "True", "", "")]), Healthy, ""),
                (said(&[("Ready", "False", "", "not synced")]), Progressing, "not synced"),
                (said(&[("ACK.ResourceSynced", "True", "", "")]), Progressing, ""),
            ],
        );
        let role = |state: &str| json!({"status": {"state": state, "roleARN": "arn:aws:iam::1:role/a", "errorDescription": "limit"}});
        check(
            "iammanager.keikoproj.io/v1alpha1",
            "Iamrole",
            [
                (json!({}), Progressing, "not reported"),
                (role("Ready"), Healthy, "role/a"),
                (role("Error"), Degraded, "limit"),
                (role("RolesMaxLimitReached"), Degraded, "limit"),
                (role("PolicyNotAllowed"), Degraded, "limit"),
                (role("RoleNameNotAvailable"), Degraded, "limit"),
                (role("CreateInProgress"), Progressing, "CreateInProgress"),
            ],
        );
    }

    #[test]
    fn sap_and_pulumi() {
        for kind in ["ServiceBinding", "ServiceInstance"] {
            check(
                "services.cloud.sap.com/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Succeeded", "True", "Created", ""), ("Ready", "True", "Provisioned", "")]), Healthy, ""),
                    (said(&[("Succeeded", "False", "CreateInProgress", "in progress")]), Degraded, "in progress"),
                    (
                        said(&[("Succeeded", "True", "", ""), ("Failed", "True", "CreateFailed", "no plan")]),
                        Degraded,
                        "no plan",
                    ),
                ],
            );
        }
        check(
            "pulumi.com/v1",
            "Stack",
            [
                (json!({}), Progressing, "not reported"),
                (said(&[("Stalled", "True", "SpecInvalid", "no project")]), Degraded, "no project"),
                (said(&[("Reconciling", "True", "StackProcessing", "update is running")]), Progressing, "running"),
                (said(&[("Ready", "True", "ProcessingCompleted", "latest commit")]), Healthy, "latest commit"),
            ],
        );
    }
}

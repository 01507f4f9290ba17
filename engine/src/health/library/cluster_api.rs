//! Clusters and nodes: Cluster API and Karpenter.
//!
//! Sources: Cluster API reference (status.phase, conditions), CAPA "AWSManagedControlPlane", Karpenter API (NodePool,
//! NodeClaim, EC2NodeClass conditions), Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{
    Judge, condition_is, conditions, exists, items, number, said, stale, text, truth, unobserved, waiting, when,
};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const CLUSTER: Kinds = &[
    ("Cluster", Judge::Own(cluster)),
    ("Machine", Judge::Own(machine)),
    ("MachineDeployment", Judge::Own(machine_deployment)),
    ("MachineHealthCheck", Judge::Own(machine_health_check)),
    ("MachinePool", Judge::Own(machine_pool)),
];
pub(super) const ADDONS: Kinds = &[(
    "ClusterResourceSet",
    conditions(&[&[when("ResourcesApplied", "True", Healthy), when("ResourcesApplied", "False", Degraded)]]),
)];
pub(super) const CONTROL_PLANE: Kinds = &[("AWSManagedControlPlane", Judge::Own(aws_control_plane))];
pub(super) const KARPENTER: Kinds = &[
    ("NodeClaim", Judge::Own(node_claim)),
    (
        "NodePool",
        conditions(&[
            &[when("Ready", "False", Degraded), when("Ready", "True", Healthy)],
            &[when("NodeClassReady", "False", Degraded)],
        ]),
    ),
];
pub(super) const KARPENTER_AWS: Kinds = &[(
    "EC2NodeClass",
    conditions(&[
        &[when("Ready", "False", Degraded), when("Ready", "True", Healthy)],
        &[
            when("SubnetsReady", "False", Degraded),
            when("SecurityGroupsReady", "False", Degraded),
            when("ValidationSucceeded", "False", Degraded),
        ],
    ]),
)];

/// A Ready that is False outweighs the phase.
fn cluster(live: &Value) -> Health {
    if truth(live, "/spec/paused") {
        return Health::new(Suspended, "Paused");
    }
    if let Some(found) = condition_is(live, "Ready", "False") {
        return Health::new(Degraded, said(found));
    }
    match text(live, "/status/phase") {
        "" => waiting(live),
        phase @ "Provisioned" => Health::new(Healthy, phase),
        phase @ "Failed" => Health::new(Degraded, phase),
        phase => Health::new(Progressing, phase),
    }
}

/// A Ready that is False only tells why the phase is what it is.
fn machine(live: &Value) -> Health {
    let phase = text(live, "/status/phase");
    let verdict = match phase {
        "Running" => return Health::new(Healthy, phase),
        "Failed" => Degraded,
        _ => Progressing,
    };
    let words = match (condition_is(live, "Ready", "False"), phase) {
        (Some(found), _) => said(found),
        (None, "") => waiting(live).message,
        (None, phase) => phase.to_owned(),
    };
    Health::new(verdict, words)
}

fn machine_deployment(live: &Value) -> Health {
    if truth(live, "/spec/paused") {
        return Health::new(Suspended, "Paused");
    }
    match text(live, "/status/phase") {
        "" => waiting(live),
        phase @ "Running" => Health::new(Healthy, phase),
        phase @ "Failed" => Health::new(Degraded, phase),
        phase => Health::new(Progressing, phase),
    }
}

fn machine_health_check(live: &Value) -> Health {
    let Some(healthy) = number(live, "/status/currentHealthy") else { return waiting(live) };
    let expected = number(live, "/status/expectedMachines");
    match expected == Some(healthy) {
        true => Health::new(Healthy, ""),
        false => Health::new(Degraded, format!("{healthy} of {} machines are healthy", expected.unwrap_or_default())),
    }
}

fn machine_pool(live: &Value) -> Health {
    let phase = text(live, "/status/phase");
    let verdict = match phase {
        "Running" | "Scaling" => Healthy,
        "Failed" | "Unknown" => Degraded,
        _ => Progressing,
    };
    let lacking: Vec<String> = items(live, "/status/conditions")
        .iter()
        .filter(|found| found["status"] == "False")
        .map(|found| match text(found, "/reason") {
            "" => format!("not {}", text(found, "/type")),
            reason => format!("not {} ({reason})", text(found, "/type")),
        })
        .collect();
    match lacking.is_empty() {
        true => Health::new(verdict, phase),
        false => Health::new(verdict, format!("{phase}: {}", lacking.join(", "))),
    }
}

/// A failure message does not go away by itself, and an update goes on while the control plane stays Ready.
fn aws_control_plane(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let failure = text(live, "/status/failureMessage");
    if !failure.is_empty() {
        return Health::new(Degraded, failure);
    }
    if let Some(found) = condition_is(live, "EKSControlPlaneUpdating", "True") {
        return Health::new(Progressing, said(found));
    }
    if let Some(found) = condition_is(live, "Ready", "True") {
        return Health::new(Healthy, text(found, "/message"));
    }
    let errors: Vec<String> = items(live, "/status/conditions")
        .iter()
        .filter(|found| found["status"] == "False" && found["severity"] == "Error")
        .map(said)
        .collect();
    match errors.is_empty() {
        true => Health::new(Progressing, "The control plane is not ready"),
        false => Health::new(Degraded, errors.join(" ")),
    }
}

/// On its way a node is launched, registered, initialised; one that is to go is Suspended.
fn node_claim(live: &Value) -> Health {
    if stale(live, &live["status"]["observedGeneration"]) {
        return unobserved();
    }
    if let Some(found) = condition_is(live, "Disrupting", "True") {
        return Health::new(Suspended, said(found));
    }
    let ready = items(live, "/status/conditions")
        .iter()
        .find(|found| found["type"] == "Ready" && matches!(text(found, "/status"), "True" | "False"));
    match ready {
        Some(found) if found["status"] == "True" => return Health::new(Healthy, text(found, "/message")),
        Some(found) => return Health::new(Degraded, said(found)),
        None => {}
    }
    match ["Initialized", "Registered", "Launched"].into_iter().find(|step| condition_is(live, step, "True").is_some())
    {
        Some(step) => Health::new(Progressing, step),
        None => Health::new(Progressing, "Not launched yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn clusters_and_machines() {
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        let unready = |phase: &str| json!({"status": {"phase": phase, "conditions": listed(&[("Ready", "False", "WaitingForKubeadmInit", "no control plane")])}});
        check(
            "cluster.x-k8s.io/v1beta1",
            "Cluster",
            [
                (json!({}), Progressing, "not reported"),
                (phase("Provisioning"), Progressing, "Provisioning"),
                (phase("Provisioned"), Healthy, "Provisioned"),
                (phase("Failed"), Degraded, "Failed"),
                (unready("Provisioned"), Degraded, "no control plane"),
                (json!({"spec": {"paused": true}}), Suspended, "Paused"),
            ],
        );
        check(
            "cluster.x-k8s.io/v1beta1",
            "Machine",
            [
                (json!({}), Progressing, "not reported"),
                (phase("Provisioning"), Progressing, "Provisioning"),
                (unready("Provisioning"), Progressing, "no control plane"),
                (unready("Running"), Healthy, "Running"),
                (unready("Failed"), Degraded, "no control plane"),
            ],
        );
        check(
            "cluster.x-k8s.io/v1beta1",
            "MachineDeployment",
            [
                (json!({}), Progressing, ""),
                (json!({"spec": {"paused": true}}), Suspended, "Paused"),
                (phase("Running"), Healthy, "Running"),
                (phase("ScalingUp"), Progressing, "ScalingUp"),
                (phase("ScalingDown"), Progressing, "ScalingDown"),
                (phase("Failed"), Degraded, "Failed"),
            ],
        );
        check(
            "cluster.x-k8s.io/v1beta1",
            "MachineHealthCheck",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"expectedMachines": 2, "currentHealthy": 2}}), Healthy, ""),
                (json!({"status": {"expectedMachines": 2, "currentHealthy": 1}}), Degraded, "1 of 2"),
            ],
        );
        check(
            "cluster.x-k8s.io/v1beta1",
            "MachinePool",
            [
                (json!({}), Progressing, ""),
                (phase("Running"), Healthy, "Running"),
                (phase("Scaling"), Healthy, "Scaling"),
                (phase("ScalingUp"), Progressing, "ScalingUp"),
                (phase("Unknown"), Degraded, "Unknown"),
                (unready("Failed"), Degraded, "Failed: not Ready (WaitingForKubeadmInit)"),
            ],
        );
        check(
            "addons.cluster.x-k8s.io/v1beta1",
            "ClusterResourceSet",
            [
                (json!({}), Progressing, ""),
                (said(&[("ResourcesApplied", "True", "", "")]), Healthy, ""),
                (said(&[("ResourcesApplied", "False", "ApplyFailed", "no match for kind")]), Degraded, "no match"),
            ],
        );
    }

    #[test]
    fn aws_control_plane() {
        let error = json!({"status": {"ready": false, "conditions": [
            {"type": "IAMControlPlaneRolesReady", "status": "False", "severity": "Error", "message": "access denied"},
            {"type": "Ready", "status": "False", "severity": "Info", "message": "waits"},
        ]}});
        check(
            "controlplane.cluster.x-k8s.io/v1beta2",
            "AWSManagedControlPlane",
            [
                (json!({}), Progressing, ""),
                (
                    json!({"status": {"failureMessage": "cluster in failed state", "conditions": []}}),
                    Degraded,
                    "failed state",
                ),
                (
                    said(&[("Ready", "True", "", ""), ("EKSControlPlaneUpdating", "True", "updated", "")]),
                    Progressing,
                    "updated",
                ),
                (said(&[("Ready", "True", "", "")]), Healthy, ""),
                (error, Degraded, "access denied"),
                (said(&[("Ready", "False", "", "")]), Progressing, "not ready"),
            ],
        );
    }

    #[test]
    fn karpenter() {
        check(
            "karpenter.sh/v1",
            "NodePool",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "Ready", "")]), Healthy, ""),
                (
                    said(&[("Ready", "False", "UnhealthyDependents", "ValidationSucceeded=False")]),
                    Degraded,
                    "ValidationSucceeded",
                ),
                (
                    said(&[
                        ("Ready", "Unknown", "", ""),
                        ("NodeClassReady", "False", "NodeClassNotFound", "NodeClass not found"),
                    ]),
                    Degraded,
                    "not found",
                ),
            ],
        );
        check(
            "karpenter.k8s.aws/v1",
            "EC2NodeClass",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "Ready", "")]), Healthy, ""),
                (said(&[("Ready", "False", "UnhealthyDependents", "SubnetsReady=False")]), Degraded, "Subnets"),
                (said(&[("SubnetsReady", "False", "SubnetsNotFound", "no subnets")]), Degraded, "no subnets"),
                (said(&[("SecurityGroupsReady", "False", "", "no groups")]), Degraded, "no groups"),
                (said(&[("ValidationSucceeded", "False", "", "unauthorized")]), Degraded, "unauthorized"),
            ],
        );
        check(
            "karpenter.sh/v1",
            "NodeClaim",
            [
                (json!({}), Progressing, "Not launched"),
                (
                    json!({"status": {"observedGeneration": 1, "conditions": listed(&[("Ready", "True", "", "")])}}),
                    Progressing,
                    "latest spec",
                ),
                (
                    said(&[("Ready", "True", "Ready", ""), ("Disrupting", "True", "Underutilized", "Underutilized")]),
                    Suspended,
                    "Underutilized",
                ),
                (said(&[("Ready", "True", "Ready", "")]), Healthy, ""),
                (said(&[("Ready", "False", "LaunchFailed", "no capacity")]), Degraded, "no capacity"),
                (
                    said(&[
                        ("Launched", "True", "", ""),
                        ("Registered", "True", "", ""),
                        ("Initialized", "True", "", ""),
                    ]),
                    Progressing,
                    "Initialized",
                ),
                (
                    said(&[("Launched", "True", "", ""), ("Registered", "True", "", ""), ("Ready", "Unknown", "", "")]),
                    Progressing,
                    "Registered",
                ),
                (said(&[("Launched", "True", "", "")]), Progressing, "Launched"),
            ],
        );
    }
}

//! Health of one live object by its kind, and the roll-up (Argo CD, operator manual, "Resource Health"). Pure.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::HealthCode;
use crate::resource::Manifest;

mod kstatus;
mod library;
mod workload;

/// A verdict with its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthCode,
    /// Why; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Health {
    fn new(status: HealthCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// The health of a live object; `None` for kinds that have none.
pub fn health_of(live: &Value) -> Option<Health> {
    use HealthCode::{Degraded, Healthy, Progressing};
    if !live["metadata"]["deletionTimestamp"].is_null() {
        return Some(Health::new(Progressing, "Pending deletion"));
    }
    let object = Manifest(live.clone());
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let some = |pointer: &str| live.pointer(pointer).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    Some(match (object.group(), object.kind()) {
        ("apps", "Deployment") => workload::deployment(live),
        ("apps", "StatefulSet") => workload::stateful_set(live),
        ("apps", "DaemonSet") => workload::daemon_set(live),
        ("apps", "ReplicaSet") => workload::replica_set(live),
        ("", "Pod") => workload::pod(live),
        ("batch", "Job") => workload::job(live),
        ("", "PersistentVolumeClaim") => match text("/status/phase") {
            "Lost" => Health::new(Degraded, ""),
            "Pending" => Health::new(Progressing, ""),
            "Bound" => Health::new(Healthy, ""),
            _ => Health::default(),
        },
        ("", "Service") => match text("/spec/type") == "LoadBalancer" && !some("/status/loadBalancer/ingress") {
            true => Health::new(Progressing, ""),
            false => Health::new(Healthy, ""),
        },
        ("networking.k8s.io" | "extensions", "Ingress") => match some("/status/loadBalancer/ingress") {
            true => Health::new(Healthy, ""),
            false => Health::new(Progressing, ""),
        },
        ("apiregistration.k8s.io", "APIService") => match condition(live, "Available") {
            Some(found) if found["status"] == "True" => Health::new(Healthy, message(found)),
            Some(found) => Health::new(Progressing, message(found)),
            None => Health::new(Progressing, "Waiting to be processed"),
        },
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(live),
        ("argoproj.io", "Application") => application(live),
        ("argoproj.io", "Workflow") => match text("/status/phase") {
            "" | "Pending" | "Running" => Health::new(Progressing, text("/status/message")),
            "Succeeded" => Health::new(Healthy, text("/status/message")),
            "Failed" | "Error" => Health::new(Degraded, text("/status/message")),
            _ => Health::default(),
        },
        _ => return library::judge(live).or_else(|| kstatus::judge(live)),
    })
}

fn application(live: &Value) -> Health {
    let status = live.pointer("/status/health/status").cloned().and_then(|status| serde_json::from_value(status).ok());
    let message = live.pointer("/status/health/message").and_then(Value::as_str).unwrap_or_default();
    Health::new(status.unwrap_or_default(), message)
}

fn autoscaler(live: &Value) -> Health {
    const FAILED: [(&str, &[&str]); 2] = [
        ("AbleToScale", &["FailedGetScale", "FailedUpdateScale"]),
        (
            "ScalingActive",
            &[
                "FailedGetResourceMetric",
                "FailedGetObjectMetric",
                "FailedGetPodsMetric",
                "FailedGetExternalMetric",
                "FailedComputeMetricsReplicas",
                "InvalidSelector",
            ],
        ),
    ];
    for (kind, reasons) in FAILED {
        if let Some(found) = condition(live, kind)
            && found["reason"].as_str().is_some_and(|reason| reasons.contains(&reason))
        {
            return Health::new(HealthCode::Degraded, message(found));
        }
    }
    let scaling = ["AbleToScale", "ScalingLimited"]
        .into_iter()
        .filter_map(|kind| condition(live, kind))
        .find(|found| found["status"] == "True");
    match scaling {
        Some(found) => Health::new(HealthCode::Healthy, message(found)),
        None => Health::new(HealthCode::Progressing, "Waiting to Autoscale"),
    }
}

fn condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    live.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn message(condition: &Value) -> String {
    condition["message"].as_str().unwrap_or_default().to_owned()
}

/// Whether an object's health counts for its Application: not when it asks to be left out, and not that of a child
/// Application which does not know its own yet (App-of-Apps).
pub fn counts(live: &Value, health: &Health) -> bool {
    let object = Manifest(live.clone());
    let left_out = object.annotation("argocd.argoproj.io/ignore-healthcheck") == Some("true");
    let child = object.group() == "argoproj.io" && object.kind() == "Application";
    let knows = !matches!(health.status, HealthCode::Missing | HealthCode::Unknown);
    !left_out && (knows || !child)
}

/// The worst of all, Healthy when there are none.
pub fn roll_up(all: impl IntoIterator<Item = HealthCode>) -> HealthCode {
    all.into_iter().max().unwrap_or(HealthCode::Healthy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(api_version: &str, kind: &str, spec: Value, status: Value) -> Option<HealthCode> {
        health_of(&json!({"apiVersion": api_version, "kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status})).map(|health| health.status)
    }

    #[test]
    fn kinds_are_judged_as_argo_cd_judges() {
        use HealthCode::{Degraded, Healthy, Progressing, Suspended};
        let done = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3});
        let cases = [
            ("apps/v1", "Deployment", json!({"replicas": 3}), done.clone(), Some(Healthy)),
            ("apps/v1", "Deployment", json!({"replicas": 3, "paused": true}), done.clone(), Some(Suspended)),
            ("apps/v1", "Deployment", json!({"replicas": 3}), json!({"observedGeneration": 1}), Some(Progressing)),
            (
                "apps/v1",
                "Deployment",
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "updatedReplicas": 1}),
                Some(Progressing),
            ),
            (
                "apps/v1",
                "Deployment",
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "availableReplicas": 3}),
                Some(Progressing),
            ),
            (
                "apps/v1",
                "Deployment",
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
                Some(Degraded),
            ),
            (
                "apps/v1",
                "StatefulSet",
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "readyReplicas": 2}),
                Some(Progressing),
            ),
            (
                "apps/v1",
                "StatefulSet",
                json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
                done.clone(),
                Some(Healthy),
            ),
            (
                "apps/v1",
                "StatefulSet",
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "readyReplicas": 3, "currentRevision": "a", "updateRevision": "b"}),
                Some(Progressing),
            ),
            (
                "apps/v1",
                "DaemonSet",
                json!({}),
                json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}),
                Some(Healthy),
            ),
            (
                "apps/v1",
                "DaemonSet",
                json!({}),
                json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 1}),
                Some(Progressing),
            ),
            (
                "apps/v1",
                "ReplicaSet",
                json!({"replicas": 1}),
                json!({"observedGeneration": 2, "conditions": [{"type": "ReplicaFailure", "status": "True"}]}),
                Some(Degraded),
            ),
            (
                "v1",
                "Pod",
                json!({"restartPolicy": "Always"}),
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
                Some(Healthy),
            ),
            (
                "v1",
                "Pod",
                json!({"restartPolicy": "Always"}),
                json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}}]}),
                Some(Degraded),
            ),
            ("v1", "Pod", json!({"restartPolicy": "Never"}), json!({"phase": "Running"}), Some(Progressing)),
            ("v1", "Pod", json!({"restartPolicy": "Never"}), json!({"phase": "Failed"}), Some(Degraded)),
            (
                "batch/v1",
                "Job",
                json!({}),
                json!({"conditions": [{"type": "Complete", "status": "True"}]}),
                Some(Healthy),
            ),
            (
                "batch/v1",
                "Job",
                json!({}),
                json!({"conditions": [{"type": "Failed", "status": "True"}]}),
                Some(Degraded),
            ),
            ("batch/v1", "Job", json!({}), json!({}), Some(Progressing)),
            ("v1", "PersistentVolumeClaim", json!({}), json!({"phase": "Bound"}), Some(Healthy)),
            ("v1", "Service", json!({"type": "LoadBalancer"}), json!({}), Some(Progressing)),
            ("v1", "Service", json!({}), json!({}), Some(Healthy)),
            (
                "networking.k8s.io/v1",
                "Ingress",
                json!({}),
                json!({"loadBalancer": {"ingress": [{"ip": "1"}]}}),
                Some(Healthy),
            ),
            ("v1", "ConfigMap", json!({}), json!({}), None),
            ("batch/v1", "CronJob", json!({}), json!({}), Some(Healthy)),
        ];
        for (api_version, kind, spec, status, want) in cases {
            assert_eq!(of(api_version, kind, spec.clone(), status.clone()), want, "{kind} {spec} {status}");
        }
        let deleted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"deletionTimestamp": "x"}});
        assert_eq!(health_of(&deleted), Some(Health::new(Progressing, "Pending deletion")));
    }

    #[test]
    fn some_health_does_not_count() {
        use HealthCode::{Degraded, Missing, Unknown};
        let of = |api: &str, kind: &str, ignored: &str, status: HealthCode| {
            let live = json!({"apiVersion": api, "kind": kind, "metadata": {"annotations": {"argocd.argoproj.io/ignore-healthcheck": ignored}}});
            counts(&live, &Health::new(status, ""))
        };
        assert!(of("apps/v1", "Deployment", "false", Degraded));
        assert!(!of("apps/v1", "Deployment", "true", Degraded));
        assert!(of("argoproj.io/v1alpha1", "Application", "", Degraded));
        assert!(!of("argoproj.io/v1alpha1", "Application", "", Missing));
        assert!(!of("argoproj.io/v1alpha1", "Application", "", Unknown));
        assert!(of("apps/v1", "Deployment", "", Unknown));
    }

    #[test]
    fn the_worst_rolls_up() {
        use HealthCode::{Degraded, Healthy, Missing, Progressing};
        assert_eq!(roll_up([]), Healthy);
        assert_eq!(roll_up([Healthy, Progressing]), Progressing);
        assert_eq!(roll_up([Degraded, Missing, Healthy]), Degraded);
    }
}

//! Health of one live object by the user's scripts or by its kind, and the roll-up (Argo CD, operator manual,
//! "Resource Health"). Pure.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::{Application, HealthCode};
use crate::resource::Manifest;

mod custom;
mod kstatus;
mod library;
mod workload;

pub use custom::HealthRules;

/// Who judges what no script of the user's judges, in the order of asking.
const JUDGES: &[fn(&Value) -> Option<Health>] = &[library::judge, known, kstatus::judge];

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

/// The kinds that Argo CD judges without a script. A version that it does not judge is Unknown, as there.
fn known(live: &Value) -> Option<Health> {
    use HealthCode::{Degraded, Healthy, Progressing, Unknown};
    let object = Manifest(live.clone());
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let some = |pointer: &str| live.pointer(pointer).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    Some(match (object.group(), object.version(), object.kind()) {
        ("apps", "v1", "Deployment") => workload::deployment(live),
        ("apps", "v1", "StatefulSet") => workload::stateful_set(live),
        ("apps", "v1", "DaemonSet") => workload::daemon_set(live),
        ("apps", "v1", "ReplicaSet") => workload::replica_set(live),
        ("", "v1", "Pod") => workload::pod(&object),
        ("batch", "v1", "Job") => workload::job(live),
        ("", "v1", "PersistentVolumeClaim") => match text("/status/phase") {
            "Lost" => Health::new(Degraded, ""),
            "Pending" => Health::new(Progressing, ""),
            "Bound" => Health::new(Healthy, ""),
            _ => Health::default(),
        },
        ("", "v1", "Service") => match text("/spec/type") == "LoadBalancer" && !some("/status/loadBalancer/ingress") {
            true => Health::new(Progressing, ""),
            false => Health::new(Healthy, ""),
        },
        ("networking.k8s.io" | "extensions", _, "Ingress") => match some("/status/loadBalancer/ingress") {
            true => Health::new(Healthy, ""),
            false => Health::new(Progressing, ""),
        },
        ("apiregistration.k8s.io", "v1" | "v1beta1", "APIService") => match condition(live, "Available") {
            Some(found) if found["status"] == "True" => Health::new(Healthy, message(found)),
            Some(found) => Health::new(Progressing, message(found)),
            None => Health::new(Progressing, "Waiting to be processed"),
        },
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => autoscaler_v1(&object),
        ("autoscaling", "v2", "HorizontalPodAutoscaler") => {
            let conditions = live.pointer("/status/conditions").and_then(Value::as_array);
            autoscaler(conditions.map(Vec::as_slice).unwrap_or_default())
        }
        ("argoproj.io", _, "Application") => application(live),
        ("argoproj.io", _, "Workflow") => match text("/status/phase") {
            "" | "Pending" | "Running" => Health::new(Progressing, text("/status/message")),
            "Succeeded" => Health::new(Healthy, text("/status/message")),
            "Failed" | "Error" => Health::new(Degraded, text("/status/message")),
            _ => Health::new(Unknown, text("/status/message")),
        },
        (
            group @ ("apps" | "extensions" | "" | "batch" | "apiregistration.k8s.io" | "autoscaling"),
            version,
            kind @ ("Deployment"
            | "StatefulSet"
            | "DaemonSet"
            | "ReplicaSet"
            | "Pod"
            | "Job"
            | "PersistentVolumeClaim"
            | "Service"
            | "APIService"
            | "HorizontalPodAutoscaler"),
        ) if belongs(group, kind) => {
            let what = if kind == "HorizontalPodAutoscaler" { "HPA" } else { kind };
            Health::new(Unknown, format!("unsupported {what} GVK: {group}/{version}, Kind={kind}"))
        }
        _ => return None,
    })
}

/// Whether the kind is one that Argo CD judges in this group.
fn belongs(group: &str, kind: &str) -> bool {
    match group {
        "apps" => matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet"),
        "extensions" => matches!(kind, "Deployment" | "DaemonSet" | "ReplicaSet"),
        "" => matches!(kind, "Pod" | "PersistentVolumeClaim" | "Service"),
        "batch" => kind == "Job",
        "apiregistration.k8s.io" => kind == "APIService",
        "autoscaling" => kind == "HorizontalPodAutoscaler",
        _ => false,
    }
}

fn application(live: &Value) -> Health {
    let status = live.pointer("/status/health/status").cloned().and_then(|status| serde_json::from_value(status).ok());
    let message = live.pointer("/status/health/message").and_then(Value::as_str).unwrap_or_default();
    Health::new(status.unwrap_or_default(), message)
}

/// Version 1 has its conditions as JSON in an annotation.
fn autoscaler_v1(object: &Manifest) -> Health {
    let conditions = object.annotation("autoscaling.alpha.kubernetes.io/conditions").unwrap_or("[]");
    match serde_json::from_str::<Vec<Value>>(conditions) {
        Ok(conditions) => autoscaler(&conditions),
        Err(error) => {
            Health::new(HealthCode::Unknown, format!("failed to convert conditions annotation to typed: {error}"))
        }
    }
}

fn autoscaler(conditions: &[Value]) -> Health {
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
    let condition = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    for (kind, reasons) in FAILED {
        if let Some(found) = condition(kind)
            && found["reason"].as_str().is_some_and(|reason| reasons.contains(&reason))
        {
            return Health::new(HealthCode::Degraded, message(found));
        }
    }
    let scaling =
        ["AbleToScale", "ScalingLimited"].into_iter().filter_map(condition).find(|found| found["status"] == "True");
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

/// Whether an object's health counts for its Application: not when it asks to be left out, not that of a child
/// Application which does not know its own yet (App-of-Apps), and not that of the Application itself (Argo CD,
/// operator manual, "Manage Argo CD Using Argo CD"): it would never get well again.
pub fn counts(app: &Application, live: &Value, health: &Health) -> bool {
    let object = Manifest(live.clone());
    let left_out = object.annotation("argocd.argoproj.io/ignore-healthcheck") == Some("true");
    let child = object.group() == "argoproj.io" && object.kind() == "Application";
    let itself = child
        && object.name() == app.metadata.name
        && object.namespace() == Some(app.metadata.namespace.as_str())
        && live["metadata"]["uid"].as_str() == app.metadata.uid.as_deref();
    let knows = !matches!(health.status, HealthCode::Missing | HealthCode::Unknown);
    !left_out && !itself && (knows || !child)
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
        HealthRules::default().of(&json!({"apiVersion": api_version, "kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status})).map(|health| health.status)
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
    }

    #[test]
    fn the_row_of_the_autoscaler() {
        use HealthCode::{Degraded, Healthy, Progressing, Unknown};
        let conditions = |reason: &str, status: &str| json!([{"type": "AbleToScale", "status": status, "reason": reason, "message": "m"}]);
        let live = |version: &str, conditions: &Value| {
            json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "status": {"conditions": conditions},
                "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/conditions": conditions.to_string()}}})
        };
        let of = |live: &Value| HealthRules::default().of(live).unwrap();
        for version in ["v1", "v2"] {
            for (reason, status, want) in [
                ("FailedGetScale", "False", Degraded),
                ("SucceededRescale", "True", Healthy),
                ("SucceededRescale", "False", Progressing),
            ] {
                assert_eq!(of(&live(version, &conditions(reason, status))).status, want, "{version} {reason} {status}");
            }
        }
        let mut broken = live("v1", &json!([]));
        assert_eq!(of(&broken), Health::new(Progressing, "Waiting to Autoscale"));
        broken["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/conditions"] = json!("{");
        assert_eq!(of(&broken).status, Unknown);
        let old = of(&live("v2beta2", &json!([])));
        let words = "unsupported HPA GVK: autoscaling/v2beta2, Kind=HorizontalPodAutoscaler";
        assert_eq!(old, Health::new(Unknown, words));
    }

    #[test]
    fn versions_that_are_not_judged_are_unknown() {
        for (api_version, kind, unknown) in [
            ("apps/v1beta1", "Deployment", true),
            ("extensions/v1beta1", "ReplicaSet", true),
            ("batch/v1beta1", "Job", true),
            ("extensions/v1beta1", "Ingress", false),
            ("batch/v1", "Pod", false),
            ("extensions/v1beta1", "StatefulSet", false),
        ] {
            let health = of(api_version, kind, json!({}), json!({}));
            assert_eq!(health == Some(HealthCode::Unknown), unknown, "{api_version} {kind}");
        }
    }

    #[test]
    fn a_pod_that_ignores_its_restart_policy_is_judged_like_a_server() {
        use HealthCode::{Degraded, Healthy, Progressing};
        let waiting =
            json!({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let hook = json!({"argocd.argoproj.io/ignore-restart-policy": "true", "argocd.argoproj.io/hook": "PreSync"});
        for (annotations, status, want) in [
            (json!({"argocd.argoproj.io/ignore-restart-policy": "true"}), &waiting, Degraded),
            (json!({"argocd.argoproj.io/ignore-restart-policy": "true"}), &ready, Healthy),
            (json!({"argocd.argoproj.io/ignore-restart-policy": "false"}), &ready, Progressing),
            (hook, &waiting, Progressing),
        ] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": annotations}, "spec": {"restartPolicy": "Never"}, "status": status});
            assert_eq!(HealthRules::default().of(&pod).unwrap().status, want, "{pod}");
        }
    }

    #[test]
    fn what_is_on_its_way_out_is_progressing() {
        let deleted = |finalizers: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"deletionTimestamp": "x", "finalizers": finalizers}});
        let of = |finalizers| HealthRules::default().of(&deleted(finalizers)).unwrap();
        let pending = Health::new(HealthCode::Progressing, "Pending deletion");
        assert_eq!(of(Value::Null), pending);
        assert_eq!(of(json!(["x"])), pending);
        assert_eq!(of(json!(["argocd.argoproj.io/hook-finalizer"])), Health::new(HealthCode::Healthy, ""));
    }

    #[test]
    fn some_health_does_not_count() {
        use HealthCode::{Degraded, Missing, Unknown};
        let of = |api: &str, kind: &str, ignored: &str, status: HealthCode| {
            let live = json!({"apiVersion": api, "kind": kind, "metadata": {"annotations": {"argocd.argoproj.io/ignore-healthcheck": ignored}}});
            counts(&Application::default(), &live, &Health::new(status, ""))
        };
        assert!(of("apps/v1", "Deployment", "false", Degraded));
        assert!(!of("apps/v1", "Deployment", "true", Degraded));
        assert!(of("argoproj.io/v1alpha1", "Application", "", Degraded));
        assert!(!of("argoproj.io/v1alpha1", "Application", "", Missing));
        assert!(!of("argoproj.io/v1alpha1", "Application", "", Unknown));
        assert!(of("apps/v1", "Deployment", "", Unknown));
    }

    #[test]
    fn an_application_does_not_count_its_own_health() {
        let object = |name: &str, uid: &str| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": "argocd", "uid": uid}, "spec": {"project": "p", "destination": {}}});
        let app: Application = serde_json::from_value(object("self", "1")).unwrap();
        let counted = |live: &Value| counts(&app, live, &Health::new(HealthCode::Degraded, ""));
        assert!(!counted(&object("self", "1")));
        assert!(counted(&object("child", "2")));
        assert!(counted(&object("self", "2")), "one of the same name in another cluster");
    }

    #[test]
    fn the_worst_rolls_up() {
        use HealthCode::{Degraded, Healthy, Missing, Progressing};
        assert_eq!(roll_up([]), Healthy);
        assert_eq!(roll_up([Healthy, Progressing]), Progressing);
        assert_eq!(roll_up([Degraded, Missing, Healthy]), Degraded);
    }
}

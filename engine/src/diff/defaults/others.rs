//! Defaults of the groups beside the core. Pure.
use serde_json::{Map, Value, json};

use super::{Object, absent, inner, is_zero, made, text, zero};

pub(super) fn fill(package: &str, name: &str, map: &mut Object) {
    let (group, _) = package.split_once('/').unwrap_or((package, ""));
    match (group, name) {
        ("apps", _) if package == "apps/v1" => apps(name, map),
        // Gone from API servers, but an object may have been applied so last.
        _ if matches!(package, "extensions/v1beta1" | "apps/v1beta1") => old_apps(package, name, map),
        ("batch", _) => batch(name, map),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(package, map),
        ("networking", _) => networking(name, map),
        ("rbac", _) => rbac(package, name, map),
        ("admissionregistration", _) => admission(name, map),
        ("storage", _) => storage(name, map),
        ("scheduling", "PriorityClass") => absent(map, "preemptionPolicy", "PreemptLowerPriority"),
        ("discovery", "EndpointPort") => {
            absent(map, "name", "");
            absent(map, "protocol", "TCP");
        }
        ("flowcontrol", _) => flow_control(package, name, map),
        _ => {}
    }
}

fn apps(name: &str, map: &mut Object) {
    let Some(spec) = inner(map, "spec") else { return };
    match name {
        "Deployment" => {
            absent(spec, "replicas", 1);
            rolling(spec, "strategy", [("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())]);
            absent(spec, "revisionHistoryLimit", 10);
            absent(spec, "progressDeadlineSeconds", 600);
        }
        "DaemonSet" => {
            rolling(spec, "updateStrategy", [("maxUnavailable", 1.into()), ("maxSurge", 0.into())]);
            absent(spec, "revisionHistoryLimit", 10);
        }
        "StatefulSet" => {
            zero(spec, "podManagementPolicy", "OrderedReady");
            if let Some(strategy) = made(spec, "updateStrategy") {
                if text(strategy, "type").is_empty() {
                    strategy.insert("type".to_owned(), "RollingUpdate".into());
                    absent(strategy, "rollingUpdate", Map::new());
                }
                if text(strategy, "type") == "RollingUpdate"
                    && let Some(rolling) = inner(strategy, "rollingUpdate")
                {
                    absent(rolling, "partition", 0);
                    absent(rolling, "maxUnavailable", 1);
                }
            }
            if let Some(policy) = made(spec, "persistentVolumeClaimRetentionPolicy") {
                zero(policy, "whenDeleted", "Retain");
                zero(policy, "whenScaled", "Retain");
            }
            absent(spec, "replicas", 1);
            absent(spec, "revisionHistoryLimit", 10);
        }
        "ReplicaSet" => absent(spec, "replicas", 1),
        _ => {}
    }
}

fn old_apps(package: &str, name: &str, map: &mut Object) {
    labels_of_template(map);
    let Some(spec) = inner(map, "spec") else { return };
    match (package, name) {
        ("extensions/v1beta1", "Deployment") => {
            absent(spec, "replicas", 1);
            rolling(spec, "strategy", [("maxUnavailable", 1.into()), ("maxSurge", 1.into())]);
            absent(spec, "progressDeadlineSeconds", i32::MAX);
            absent(spec, "revisionHistoryLimit", i32::MAX);
        }
        ("apps/v1beta1", "Deployment" | "StatefulSet") | ("extensions/v1beta1", "ReplicaSet") => {
            absent(spec, "replicas", 1);
        }
        _ => {}
    }
}

fn rolling(spec: &mut Object, field: &str, defaults: [(&str, Value); 2]) {
    let Some(strategy) = made(spec, field) else { return };
    zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = made(strategy, "rollingUpdate")
    {
        for (field, value) in defaults {
            absent(rolling, field, value);
        }
    }
}

fn batch(name: &str, map: &mut Object) {
    match name {
        "Job" => job(map),
        "CronJob" => {
            let Some(spec) = inner(map, "spec") else { return };
            zero(spec, "concurrencyPolicy", "Allow");
            absent(spec, "suspend", false);
            absent(spec, "successfulJobsHistoryLimit", 3);
            absent(spec, "failedJobsHistoryLimit", 1);
        }
        "PodFailurePolicyOnPodConditionsPattern" => zero(map, "status", "True"),
        _ => {}
    }
}

fn job(map: &mut Object) {
    let Some(spec) = inner(map, "spec") else { return };
    let has = |spec: &Object, field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if !has(spec, "parallelism") {
        absent(spec, "completions", 1);
        absent(spec, "parallelism", 1);
    }
    absent(spec, "backoffLimit", if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 });
    absent(spec, "completionMode", "NonIndexed");
    absent(spec, "suspend", false);
    let replacement = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    absent(spec, "podReplacementPolicy", replacement);
    absent(spec, "manualSelector", false);
    labels_of_template(map);
}

/// An object without labels has those of its pods.
fn labels_of_template(map: &mut Object) {
    let labels = map.get("spec").and_then(|spec| spec["template"]["metadata"]["labels"].as_object()).cloned();
    if let Some(labels) = labels
        && let Some(metadata) = made(map, "metadata")
        && metadata.get("labels").is_none_or(|labels| labels.as_object().is_none_or(Map::is_empty))
    {
        metadata.insert("labels".to_owned(), labels.into());
    }
}

fn autoscaler(package: &str, map: &mut Object) {
    let Some(spec) = inner(map, "spec") else { return };
    absent(spec, "minReplicas", 1);
    if package != "autoscaling/v2" {
        return;
    }
    if is_zero(spec.get("metrics")) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec.insert("metrics".to_owned(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    let Some(behavior) = inner(spec, "behavior") else { return };
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    if let Some(up) = made(behavior, "scaleUp") {
        absent(up, "stabilizationWindowSeconds", 0);
        absent(up, "selectPolicy", "Max");
        absent(up, "policies", json!([policy("Pods", 4), policy("Percent", 100)]));
    }
    if let Some(down) = made(behavior, "scaleDown") {
        absent(down, "selectPolicy", "Max");
        absent(down, "policies", json!([policy("Percent", 100)]));
    }
}

fn networking(name: &str, map: &mut Object) {
    match name {
        "NetworkPolicyPort" => absent(map, "protocol", "TCP"),
        "NetworkPolicy" => {
            let Some(spec) = inner(map, "spec") else { return };
            let types = if is_zero(spec.get("egress")) { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
            zero(spec, "policyTypes", types);
        }
        "IngressClass" => {
            if let Some(parameters) = inner(map, "spec").and_then(|spec| inner(spec, "parameters")) {
                absent(parameters, "scope", "Cluster");
            }
        }
        // Of networking.k8s.io/v1beta1; in v1 the field is required.
        _ => {}
    }
}

fn rbac(package: &str, name: &str, map: &mut Object) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    match name {
        "RoleBinding" | "ClusterRoleBinding" => {
            if let Some(role) = made(map, "roleRef") {
                zero(role, "apiGroup", GROUP);
            }
        }
        "Subject" if package != "rbac/v1alpha1" && matches!(text(map, "kind"), "User" | "Group") => {
            zero(map, "apiGroup", GROUP);
        }
        _ => {}
    }
}

fn admission(name: &str, map: &mut Object) {
    let selectors = |map: &mut Object| {
        absent(map, "matchPolicy", "Equivalent");
        absent(map, "namespaceSelector", Map::new());
        absent(map, "objectSelector", Map::new());
    };
    match name {
        "ValidatingWebhook" | "MutatingWebhook" => {
            absent(map, "failurePolicy", "Fail");
            selectors(map);
            absent(map, "timeoutSeconds", 10);
            if name == "MutatingWebhook" {
                absent(map, "reinvocationPolicy", "Never");
            }
        }
        "Rule" | "RuleWithOperations" | "NamedRuleWithOperations" => absent(map, "scope", "*"),
        "ServiceReference" => absent(map, "port", 443),
        "ValidatingAdmissionPolicySpec" | "MutatingAdmissionPolicySpec" => absent(map, "failurePolicy", "Fail"),
        "MatchResources" => selectors(map),
        _ => {}
    }
}

fn storage(name: &str, map: &mut Object) {
    match name {
        "StorageClass" => {
            absent(map, "reclaimPolicy", "Delete");
            absent(map, "volumeBindingMode", "Immediate");
        }
        "CSIDriver" => {
            let Some(spec) = inner(map, "spec") else { return };
            absent(spec, "attachRequired", true);
            absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
            let off = [
                "podInfoOnMount",
                "storageCapacity",
                "requiresRepublish",
                "seLinuxMount",
                "preventPodSchedulingIfMissing",
            ];
            for field in off {
                absent(spec, field, false);
            }
        }
        _ => {}
    }
}

fn flow_control(package: &str, name: &str, map: &mut Object) {
    let shares = if package == "flowcontrol/v1" || package == "flowcontrol/v1beta3" {
        "nominalConcurrencyShares"
    } else {
        "assuredConcurrencyShares"
    };
    match name {
        "FlowSchemaSpec" => zero(map, "matchingPrecedence", 1000),
        "ExemptPriorityLevelConfiguration" => {
            absent(map, "nominalConcurrencyShares", 0);
            absent(map, "lendablePercent", 0);
        }
        "LimitedPriorityLevelConfiguration" => {
            if package == "flowcontrol/v1" {
                absent(map, shares, 30)
            } else {
                zero(map, shares, 30)
            }
            absent(map, "lendablePercent", 0);
        }
        "QueuingConfiguration" => {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                zero(map, field, value);
            }
        }
        _ => {}
    }
}

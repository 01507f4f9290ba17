//! Defaults of the core group. Pure.
use serde_json::{Map, Value, json};

use super::{Object, absent, inner, is_zero, items, made, text, zero};

const SOURCES: [&str; 1] = ["name"];

pub(super) fn fill(name: &str, map: &mut Object) {
    match name {
        "Container" | "EphemeralContainer" => container(map),
        "Pod" => pod(map),
        "PodSpec" => pod_spec(map),
        "PodStatus" => pod_status(map),
        "Volume" => volume(map),
        "Service" => service(map),
        "ReplicationController" => replication_controller(map),
        "LimitRangeItem" => limit_range_item(map),
        "Namespace" => namespace(map),
        "Probe" => {
            for (field, value) in
                [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
            {
                zero(map, field, value);
            }
        }
        "HTTPGetAction" => {
            zero(map, "path", "/");
            zero(map, "scheme", "HTTP");
        }
        "SecretVolumeSource" | "ConfigMapVolumeSource" | "DownwardAPIVolumeSource" | "ProjectedVolumeSource" => {
            absent(map, "defaultMode", 0o644);
        }
        "ServiceAccountTokenProjection" => absent(map, "expirationSeconds", 3600),
        "HostPathVolumeSource" => absent(map, "type", ""),
        "ObjectFieldSelector" => zero(map, "apiVersion", "v1"),
        "Secret" => zero(map, "type", "Opaque"),
        "PersistentVolume" => {
            phase(map, "Pending");
            if let Some(spec) = inner(map, "spec") {
                zero(spec, "persistentVolumeReclaimPolicy", "Retain");
                absent(spec, "volumeMode", "Filesystem");
            }
        }
        "PersistentVolumeClaim" => phase(map, "Pending"),
        "PersistentVolumeClaimSpec" => absent(map, "volumeMode", "Filesystem"),
        "NamespaceStatus" => zero(map, "phase", "Active"),
        "NodeStatus" => {
            if let Some(capacity) = map.get("capacity").filter(|value| !value.is_null()).cloned() {
                absent(map, "allocatable", capacity);
            }
        }
        "EndpointPort" => zero(map, "protocol", "TCP"),
        _ => {}
    }
}

fn phase(map: &mut Object, phase: &str) {
    if let Some(status) = made(map, "status") {
        zero(status, "phase", phase);
    }
}

fn container(map: &mut Object) {
    let policy = pull_policy(text(map, "image"));
    zero(map, "imagePullPolicy", policy);
    zero(map, "terminationMessagePath", "/dev/termination-log");
    zero(map, "terminationMessagePolicy", "File");
}

fn pull_policy(image: &str) -> &'static str {
    if tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of an image; `latest` when it has neither tag nor digest; None of what is no image name
/// (github.com/distribution/reference).
fn tag(image: &str) -> Option<&str> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let remote = match path.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':']) || host == "localhost" || host.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            rest
        }
        _ => path,
    };
    let good = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(plain)
            && part.ends_with(plain)
            && part.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
    };
    let bare_digest = path.len() == 64 && path.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase());
    if bare_digest || !remote.split('/').all(good) || digest.is_some_and(|digest| !digest.contains(':')) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => Some(""),
        (None, None) => Some("latest"),
    }
}

fn volume(map: &mut Object) {
    let has_source = map.iter().any(|(field, value)| !SOURCES.contains(&field.as_str()) && !value.is_null());
    if !has_source {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(image) = inner(map, "image") {
        let policy = pull_policy(text(image, "reference"));
        zero(image, "pullPolicy", policy);
    }
}

fn pod_spec(map: &mut Object) {
    let account = match text(map, "serviceAccountName") {
        "" => text(map, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !account.is_empty() {
        map.insert("serviceAccountName".to_owned(), account.clone().into());
        map.insert("serviceAccount".to_owned(), account.into());
    } else {
        map.remove("serviceAccount");
    }
    zero(map, "dnsPolicy", "ClusterFirst");
    zero(map, "restartPolicy", "Always");
    absent(map, "securityContext", Map::new());
    absent(map, "terminationGracePeriodSeconds", 30);
    zero(map, "schedulerName", "default-scheduler");
}

fn pod_status(map: &mut Object) {
    let single = text(map, "podIP").to_owned();
    let first = map.get("podIPs").and_then(|ips| ips[0]["ip"].as_str()).map(str::to_owned);
    match (single.is_empty(), first) {
        (false, first) if first.as_deref() != Some(&single) => {
            map.insert("podIPs".to_owned(), json!([{"ip": single}]));
        }
        (true, Some(first)) => {
            map.insert("podIP".to_owned(), first.into());
        }
        _ => {}
    }
}

fn pod(map: &mut Object) {
    let Some(spec) = inner(map, "spec") else { return };
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    absent(spec, "enableServiceLinks", true);
    let host = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default();
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests(container);
            if host {
                for port in items(container, "ports") {
                    let own = port.get("containerPort").cloned().unwrap_or_default();
                    if !is_zero(Some(&own)) {
                        zero(port, "hostPort", own);
                    }
                }
            }
        }
    }
}

/// What is limited is requested, in Pods but not in their templates.
fn requests(container: &mut Object) {
    let Some(resources) = inner(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if let Some(requests) = made(resources, "requests") {
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
    if resources.get("requests").and_then(Value::as_object).is_some_and(Map::is_empty) {
        resources.remove("requests");
    }
}

fn service(map: &mut Object) {
    if let Some(spec) = inner(map, "spec") {
        service_spec(spec);
        if text(spec, "type") != "LoadBalancer" {
            return;
        }
        absent(spec, "allocateLoadBalancerNodePorts", true);
    }
    let balancer = inner(map, "status").and_then(|status| inner(status, "loadBalancer"));
    for ingress in balancer.into_iter().flat_map(|balancer| items(balancer, "ingress")) {
        if !text(ingress, "ip").is_empty() {
            absent(ingress, "ipMode", "VIP");
        }
    }
}

fn service_spec(spec: &mut Object) {
    zero(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let set =
                spec.get("sessionAffinityConfig").is_some_and(|config| !config["clientIP"]["timeoutSeconds"].is_null());
            if !set {
                spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
            }
        }
        _ => {}
    }
    zero(spec, "type", "ClusterIP");
    for port in items(spec, "ports") {
        zero(port, "protocol", "TCP");
        let own = port.get("port").cloned().unwrap_or_else(|| 0.into());
        zero(port, "targetPort", own);
    }
    let kind = text(spec, "type").to_owned();
    let outside = matches!(kind.as_str(), "LoadBalancer" | "NodePort")
        || kind == "ClusterIP" && !is_zero(spec.get("externalIPs"));
    if outside {
        zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        absent(spec, "internalTrafficPolicy", "Cluster");
    }
}

fn replication_controller(map: &mut Object) {
    let labels = map.get("spec").and_then(|spec| spec["template"]["metadata"]["labels"].as_object()).cloned();
    let Some(labels) = labels else { return };
    let empty = |value: Option<&Value>| value.is_none_or(|value| value.as_object().is_none_or(Map::is_empty));
    if let Some(spec) = inner(map, "spec")
        && empty(spec.get("selector"))
    {
        spec.insert("selector".to_owned(), labels.clone().into());
    }
    if let Some(metadata) = made(map, "metadata")
        && empty(metadata.get("labels"))
    {
        metadata.insert("labels".to_owned(), labels.into());
    }
}

fn limit_range_item(map: &mut Object) {
    if text(map, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let source = map.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(target) = made(map, to) {
            for (name, quantity) in source {
                target.entry(name).or_insert(quantity);
            }
        }
    }
    map.retain(|field, value| {
        !matches!(field.as_str(), "default" | "defaultRequest") || value.as_object().is_some_and(|map| !map.is_empty())
    });
}

fn namespace(map: &mut Object) {
    let name = map.get("metadata").and_then(|metadata| metadata["name"].as_str()).unwrap_or_default().to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = made(map, "metadata").and_then(|metadata| made(metadata, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_where_it_is() {
        for (image, want) in [
            ("nginx", Some("latest")),
            ("nginx:1.2", Some("1.2")),
            ("r.io:5000/a/b", Some("latest")),
            ("r.io:5000/a/b:latest", Some("latest")),
            ("a@sha256:00", Some("")),
            ("a:latest@sha256:00", Some("latest")),
            ("", None),
            ("Nginx", None),
            ("REG/a", Some("latest")),
        ] {
            assert_eq!(tag(image), want, "{image}");
        }
    }
}

//! The lines shown with a node: what kubectl shows of a Pod, revisions, links. Pure.
use serde_json::Value;

use super::InfoItem;
use super::hosts::requests_of;
use crate::resource::Manifest;

/// What the API calls a Pod's requests (in thousandths of the unit).
const REQUESTS: [(&str, &str); 2] = [("Requests (CPU)", "cpu"), ("Requests (MEM)", "memory")];

fn item(name: &str, value: impl Into<String>) -> InfoItem {
    InfoItem { name: name.to_owned(), value: value.into() }
}

/// `labels` of the object are shown besides (setting `resource.customLabels`), in this order.
pub(super) fn info(live: &Value, object: &Manifest, labels: &[String]) -> Vec<InfoItem> {
    let mut items = Vec::new();
    if let Some(revision) = revision(live, object).filter(|revision| *revision > 0) {
        items.push(item("Revision", format!("Rev:{revision}")));
    }
    let worn = |name: &String| Some(item(name, live["metadata"]["labels"][name.as_str()].as_str()?));
    items.extend(labels.iter().filter_map(worn));
    match (object.group(), object.kind()) {
        ("", "Pod") => items.extend(pod(live)),
        ("argoproj.io", "Application") => {
            items.extend(object.annotation("argocd.argoproj.io/managed-by-url").map(|url| item("managed-by-url", url)));
        }
        _ => {}
    }
    items
}

/// Of Deployments, ReplicaSets and Rollouts by annotation, of ControllerRevisions by field.
fn revision(live: &Value, object: &Manifest) -> Option<i64> {
    let annotated = ["deployment.kubernetes.io/revision", "rollout.argoproj.io/revision"]
        .iter()
        .find_map(|name| object.annotation(name));
    match annotated {
        Some(text) => text.parse().ok(),
        None => live["revision"].as_i64(),
    }
}

fn pod(live: &Value) -> Vec<InfoItem> {
    let count = Counts::of(live);
    let mut items = Vec::new();
    let reason = reason(live);
    if !reason.is_empty() {
        items.push(item("Status Reason", reason));
    }
    items.push(item("Node", live["spec"]["nodeName"].as_str().unwrap_or_default()));
    items.push(item("Containers", format!("{}/{}", count.ready, count.total)));
    if count.restarts > 0 {
        items.push(item("Restart Count", count.restarts.to_string()));
    }
    // What has ended requests nothing.
    if !ended(live) {
        let requests = requests_of(live);
        let of = |(name, resource): (&str, &str)| item(name, requests.get(resource).unwrap_or(&0).to_string());
        items.extend(REQUESTS.map(of));
    }
    items
}

fn ended(live: &Value) -> bool {
    matches!(live["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn list<'a>(live: &'a Value, pointer: &str) -> &'a [Value] {
    live.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An init container that stays: a sidecar (KEP-753).
fn stays(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn sidecar(live: &Value, status: &Value) -> bool {
    list(live, "/spec/initContainers").iter().any(|container| container["name"] == status["name"] && stays(container))
}

struct Counts {
    ready: usize,
    total: usize,
    restarts: i64,
}

impl Counts {
    fn of(live: &Value) -> Self {
        let init = list(live, "/status/initContainerStatuses");
        let main = list(live, "/status/containerStatuses");
        let ready_main =
            main.iter().filter(|status| status["ready"] == true && status["state"]["terminated"].is_null());
        let ready_init = init.iter().filter(|status| status["ready"] == true && sidecar(live, status));
        let sidecars = list(live, "/spec/initContainers").iter().filter(|container| stays(container));
        Self {
            ready: ready_main.count() + ready_init.count(),
            total: list(live, "/spec/containers").len() + sidecars.count(),
            restarts: init.iter().chain(main).filter_map(|status| status["restartCount"].as_i64()).sum(),
        }
    }
}

/// The word that kubectl shows under STATUS.
fn reason(live: &Value) -> String {
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let deleted = text("/metadata/deletionTimestamp").is_some();
    if deleted && text("/status/reason") == Some("NodeLost") {
        return "Unknown".to_owned();
    }
    if deleted && !ended(live) {
        return "Terminating".to_owned();
    }
    let gated = list(live, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
    let plain = if gated { Some("SchedulingGated") } else { text("/status/reason").or(text("/status/phase")) };
    let plain = plain.unwrap_or_default().to_owned();
    let initialized = list(live, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Initialized" && condition["status"] == "True");
    match init_reason(live) {
        Some(reason) if !initialized => reason,
        begun => main_reason(live).unwrap_or(begun.unwrap_or(plain)),
    }
}

/// Of the first init container that is not done.
fn init_reason(live: &Value) -> Option<String> {
    let statuses = list(live, "/status/initContainerStatuses");
    let done = |status: &Value| {
        status["state"]["terminated"]["exitCode"] == 0 || (sidecar(live, status) && status["started"] == true)
    };
    let (at, status) = statuses.iter().enumerate().find(|(_, status)| !done(status))?;
    let state = &status["state"];
    Some(match (state["terminated"].is_object(), state["waiting"]["reason"].as_str()) {
        (true, _) => format!("Init:{}", ending(&state["terminated"])),
        (false, Some(waits)) if !waits.is_empty() && waits != "PodInitializing" => format!("Init:{waits}"),
        _ => format!("Init:{at}/{}", list(live, "/spec/initContainers").len()),
    })
}

/// Of the first container that says why it does not run.
fn main_reason(live: &Value) -> Option<String> {
    let statuses = list(live, "/status/containerStatuses");
    let running = || statuses.iter().any(|status| status["ready"] == true && status["state"]["running"].is_object());
    let why = |status: &Value| {
        let state = &status["state"];
        let waits = state["waiting"]["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned);
        waits.or_else(|| state["terminated"].is_object().then(|| ending(&state["terminated"])))
    };
    let reason = statuses.iter().find_map(why)?;
    // One of several containers may end by itself.
    Some(if reason == "Completed" && running() { "Running".to_owned() } else { reason })
}

fn ending(terminated: &Value) -> String {
    match (terminated["reason"].as_str().unwrap_or_default(), terminated["signal"].as_i64().unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_says_what_kubectl_says() {
        let main = |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "a", "state": state}]});
        let init = |state: Value| json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]});
        let two = json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "state": {"terminated": {"reason": "Completed"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]});
        let deleted = json!({"deletionTimestamp": "t"});
        let cases = [
            (json!({}), json!({"phase": "Pending"}), "Pending"),
            (json!({}), json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
            (json!({}), main(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff"),
            (json!({}), main(json!({"terminated": {"reason": "OOMKilled"}})), "OOMKilled"),
            (json!({}), main(json!({"terminated": {"exitCode": 3}})), "ExitCode:3"),
            (json!({}), main(json!({"terminated": {"signal": 9}})), "Signal:9"),
            (json!({}), main(json!({"running": {}})), "Running"),
            (json!({}), two, "Running"),
            (json!({}), init(json!({"running": {}})), "Init:0/1"),
            (json!({}), init(json!({"waiting": {"reason": "ErrImagePull"}})), "Init:ErrImagePull"),
            (json!({}), init(json!({"waiting": {"reason": "PodInitializing"}})), "Init:0/1"),
            (json!({}), init(json!({"terminated": {"exitCode": 2}})), "Init:ExitCode:2"),
            (json!({}), init(json!({"terminated": {"exitCode": 0}})), "Pending"),
            (
                json!({}),
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                "SchedulingGated",
            ),
            (deleted.clone(), main(json!({"running": {}})), "Terminating"),
            (deleted.clone(), json!({"phase": "Succeeded"}), "Succeeded"),
            (deleted, json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
        ];
        for (metadata, status, want) in cases {
            let pod =
                json!({"metadata": metadata, "spec": {"initContainers": [{"name": "i"}]}, "status": status.clone()});
            assert_eq!(reason(&pod), want, "{status}");
        }
    }

    #[test]
    fn sidecars_count_as_containers() {
        let pod = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]},
            "status": {"containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}}],
                "initContainerStatuses": [{"name": "s", "ready": true, "started": true, "restartCount": 2, "state": {"running": {}}}, {"name": "i", "ready": true, "state": {"terminated": {"exitCode": 0}}}]}});
        let counts = Counts::of(&pod);
        assert_eq!((counts.ready, counts.total, counts.restarts), (2, 2, 3));
    }

    #[test]
    fn labels_are_shown_where_settings_name_them() {
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "annotations": {"deployment.kubernetes.io/revision": "3"}, "labels": {"team": "a", "tier": "", "other": "x"}}});
        let names = ["tier".to_owned(), "none".to_owned(), "team".to_owned()];
        let shown = |object: &Value| info(object, &Manifest(object.clone()), &names);
        assert_eq!(shown(&object)[..3], [item("Revision", "Rev:3"), item("tier", ""), item("team", "a")]);
        object["metadata"]["labels"] = Value::Null;
        assert_eq!(shown(&object)[1].name, "Node");
    }

    #[test]
    fn revisions_are_shown_where_there_are_any() {
        let shown = |object: Value| {
            let manifest = Manifest(object.clone());
            info(&object, &manifest, &[]).into_iter().map(|item| item.value).collect::<Vec<_>>()
        };
        let annotated = |name: &str, value: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"annotations": {name: value}}});
        assert_eq!(shown(annotated("deployment.kubernetes.io/revision", "3")), ["Rev:3"]);
        assert_eq!(shown(annotated("rollout.argoproj.io/revision", "4")), ["Rev:4"]);
        assert!(shown(annotated("deployment.kubernetes.io/revision", "0")).is_empty());
        assert_eq!(shown(json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 2})), ["Rev:2"]);
        let app = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"annotations": {"argocd.argoproj.io/managed-by-url": "https://a"}}});
        assert_eq!(shown(app), ["https://a"]);
    }
}

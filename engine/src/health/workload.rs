//! Health of the kinds that run something.
use serde_json::Value;

use super::{Health, condition, message};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};
use crate::hook::{self, Part};
use crate::resource::Manifest;

fn number(live: &Value, pointer: &str) -> i64 {
    live.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

fn text<'a>(live: &'a Value, pointer: &str) -> &'a str {
    live.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn stale(live: &Value) -> bool {
    number(live, "/metadata/generation") > number(live, "/status/observedGeneration")
}

fn replicas(live: &Value) -> i64 {
    live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

pub(super) fn deployment(live: &Value) -> Health {
    if live.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Health::new(Suspended, "Deployment is paused");
    }
    if stale(live) {
        return Health::new(
            Progressing,
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        );
    }
    if condition(live, "Progressing").is_some_and(|found| found["reason"] == "ProgressDeadlineExceeded") {
        return Health::new(
            Degraded,
            format!("Deployment {:?} exceeded its progress deadline", text(live, "/metadata/name")),
        );
    }
    let (wanted, all) = (replicas(live), number(live, "/status/replicas"));
    let (updated, available) = (number(live, "/status/updatedReplicas"), number(live, "/status/availableReplicas"));
    if updated < wanted {
        return Health::new(
            Progressing,
            format!("Waiting for rollout to finish: {updated} out of {wanted} new replicas have been updated..."),
        );
    }
    if all > updated {
        return Health::new(
            Progressing,
            format!("Waiting for rollout to finish: {} old replicas are pending termination...", all - updated),
        );
    }
    if available < updated {
        return Health::new(
            Progressing,
            format!("Waiting for rollout to finish: {available} of {updated} updated replicas are available..."),
        );
    }
    Health::new(Healthy, "")
}

pub(super) fn stateful_set(live: &Value) -> Health {
    if number(live, "/status/observedGeneration") == 0 || stale(live) {
        return Health::new(Progressing, "Waiting for statefulset spec update to be observed...");
    }
    let (wanted, ready) = (replicas(live), number(live, "/status/readyReplicas"));
    if ready < wanted {
        return Health::new(Progressing, format!("Waiting for {} pods to be ready...", wanted - ready));
    }
    let updated = number(live, "/status/updatedReplicas");
    if text(live, "/spec/updateStrategy/type") == "RollingUpdate"
        && live.pointer("/spec/updateStrategy/rollingUpdate").is_some()
    {
        let partition = live.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
        if let Some(partition) = partition.filter(|partition| updated < wanted - partition) {
            return Health::new(
                Progressing,
                format!(
                    "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...",
                    wanted - partition
                ),
            );
        }
        return Health::new(Healthy, "");
    }
    if text(live, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::new(Healthy, "");
    }
    if text(live, "/status/updateRevision") != text(live, "/status/currentRevision") {
        return Health::new(
            Progressing,
            format!(
                "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                text(live, "/status/updateRevision")
            ),
        );
    }
    Health::new(Healthy, "")
}

pub(super) fn daemon_set(live: &Value) -> Health {
    if stale(live) {
        return Health::new(
            Progressing,
            "Waiting for rollout to finish: observed daemon set generation less than desired generation",
        );
    }
    if text(live, "/spec/updateStrategy/type") == "OnDelete" {
        return Health::new(Healthy, "");
    }
    let wanted = number(live, "/status/desiredNumberScheduled");
    let (updated, available) =
        (number(live, "/status/updatedNumberScheduled"), number(live, "/status/numberAvailable"));
    if updated < wanted {
        return Health::new(
            Progressing,
            format!(
                "Waiting for daemon set rollout to finish: {updated} out of {wanted} new pods have been updated..."
            ),
        );
    }
    if available < wanted {
        return Health::new(
            Progressing,
            format!("Waiting for daemon set rollout to finish: {available} of {wanted} updated pods are available..."),
        );
    }
    Health::new(Healthy, "")
}

pub(super) fn replica_set(live: &Value) -> Health {
    if stale(live) {
        return Health::new(
            Progressing,
            "Waiting for rollout to finish: observed replica set generation less than desired generation",
        );
    }
    if let Some(found) = condition(live, "ReplicaFailure").filter(|found| found["status"] == "True") {
        return Health::new(Degraded, message(found));
    }
    let (wanted, available) = (replicas(live), number(live, "/status/availableReplicas"));
    if available < wanted {
        return Health::new(
            Progressing,
            format!("Waiting for rollout to finish: {available} out of {wanted} new replicas are available..."),
        );
    }
    Health::new(Healthy, "")
}

fn statuses<'a>(live: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    live.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn containers(live: &Value) -> impl Iterator<Item = &Value> {
    statuses(live, "/status/initContainerStatuses").chain(statuses(live, "/status/containerStatuses"))
}

/// By its restart policy; with `ignore-restart-policy` like one that is always restarted, unless it is a hook.
pub(super) fn pod(object: &Manifest) -> Health {
    let live = &object.0;
    let ignored = object.annotation("argocd.argoproj.io/ignore-restart-policy") == Some("true")
        && !matches!(hook::part_of(object), Part::Hook(_));
    let always = ignored || matches!(text(live, "/spec/restartPolicy"), "" | "Always");
    if always {
        let waits: Vec<&str> = containers(live)
            .filter_map(|container| container.pointer("/state/waiting"))
            .filter(|waiting| {
                waiting["reason"].as_str().is_some_and(|reason| {
                    reason.starts_with("Err") || reason.ends_with("Error") || reason.ends_with("BackOff")
                })
            })
            .map(|waiting| waiting["message"].as_str().unwrap_or_default())
            .collect();
        if !waits.is_empty() {
            return Health::new(Degraded, waits.join(", "));
        }
    }
    let ready = condition(live, "Ready").is_some_and(|found| found["status"] == "True");
    match text(live, "/status/phase") {
        "Pending" => Health::new(Progressing, text(live, "/status/message")),
        "Succeeded" => Health::new(Healthy, text(live, "/status/message")),
        "Failed" => Health::new(Degraded, failure(live)),
        "Running" if always && ready => Health::new(Healthy, text(live, "/status/message")),
        "Running"
            if always
                && statuses(live, "/status/containerStatuses")
                    .any(|container| container.pointer("/lastState/terminated").is_some()) =>
        {
            Health::new(Degraded, text(live, "/status/message"))
        }
        "Running" => Health::new(Progressing, text(live, "/status/message")),
        _ => Health::new(Unknown, text(live, "/status/message")),
    }
}

fn failure(live: &Value) -> String {
    let own = text(live, "/status/message");
    if !own.is_empty() {
        return own.to_owned();
    }
    let terminated = containers(live)
        .filter_map(|container| Some((container["name"].as_str()?, container.pointer("/state/terminated")?)));
    for (name, state) in terminated {
        let said = state["message"].as_str().filter(|message| !message.is_empty());
        if let Some(said) = said {
            return said.to_owned();
        }
        if state["reason"] == "OOMKilled" {
            return "OOMKilled".to_owned();
        }
        let code = state["exitCode"].as_i64().unwrap_or_default();
        if code != 0 {
            return format!("container {name:?} failed with exit code {code}");
        }
    }
    String::new()
}

pub(super) fn job(live: &Value) -> Health {
    if let Some(found) = condition(live, "Failed") {
        return Health::new(Degraded, message(found));
    }
    if let Some(found) = condition(live, "Suspended").filter(|found| found["status"] == "True") {
        return Health::new(Suspended, message(found));
    }
    match condition(live, "Complete").or_else(|| condition(live, "Suspended")) {
        Some(found) => Health::new(Healthy, message(found)),
        None => Health::new(Progressing, ""),
    }
}

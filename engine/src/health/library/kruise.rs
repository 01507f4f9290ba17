//! OpenKruise: workloads, rollouts and game servers.
//!
//! Sources: OpenKruise docs (CloneSet, Advanced StatefulSet and DaemonSet, BroadcastJob, AdvancedCronJob: partition and
//! paused), Kruise Rollouts (currentStepState), Kruise Game (currentState and desiredState), Argo CD's bundled checks.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, exists, find, items, number, observed, or, said, text, truth, unobserved, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

pub(super) const APPS: Kinds = &[
    ("AdvancedCronJob", Judge::Own(advanced_cron_job)),
    ("BroadcastJob", Judge::Own(broadcast_job)),
    ("CloneSet", Judge::Own(clone_set)),
    ("DaemonSet", Judge::Own(daemon_set)),
    ("StatefulSet", Judge::Own(stateful_set)),
];
pub(super) const ROLLOUTS: Kinds = &[("Rollout", Judge::Own(rollout))];
pub(super) const GAME: Kinds =
    &[("GameServer", Judge::Own(game_server)), ("GameServerSet", Judge::Own(game_server_set))];

const BY_HAND: &str = "Waits for the next step by hand";

fn count(live: &Value, name: &str) -> i64 {
    number(live, &format!("/status/{name}")).unwrap_or_default()
}

/// Whether the spec, after its first generation, holds some pods back: not a partition of none. (An absent one, which
/// Kruise's own webhook fills with 0, counts as none; Argo CD's check of a CloneSet would take it for some.)
fn partitioned(live: &Value, pointer: &str) -> bool {
    let none = match live.pointer(pointer) {
        None | Some(Value::Null) => true,
        Some(Value::String(words)) => matches!(words.as_str(), "0" | "0%"),
        Some(held) => held.as_i64() == Some(0),
    };
    !none && number(live, "/metadata/generation").is_some_and(|generation| generation > 1)
}

/// How many of all a partition holds back: a number, or a percentage rounded down.
fn held(live: &Value, pointer: &str, all: i64) -> i64 {
    match live.pointer(pointer) {
        Some(Value::String(words)) => match words.strip_suffix('%') {
            Some(percent) => percent.parse::<i64>().map_or(0, |percent| (all * percent / 100).min(all)),
            None => words.parse().unwrap_or_default(),
        },
        Some(held) => held.as_i64().unwrap_or_default(),
        None => 0,
    }
}

/// All replicas updated and available, or some are not.
fn by_available(live: &Value) -> Health {
    let (available, all) = (count(live, "updatedAvailableReplicas"), count(live, "replicas"));
    let words = format!("{available} of {all} updated replicas are available");
    Health::new(if available == all { Healthy } else { Degraded }, words)
}

fn clone_set(live: &Value) -> Health {
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    if truth(live, "/spec/updateStrategy/paused") || !exists(live, "/status/updatedAvailableReplicas") {
        return Health::new(Suspended, "Paused");
    }
    if !partitioned(live, "/spec/updateStrategy/partition") {
        return by_available(live);
    }
    match count(live, "updatedReplicas") >= count(live, "expectedUpdatedReplicas") {
        true => Health::new(Suspended, BY_HAND),
        false => Health::new(Progressing, "The partition is being updated"),
    }
}

fn stateful_set(live: &Value) -> Health {
    let partition = "/spec/updateStrategy/rollingUpdate/partition";
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    if truth(live, "/spec/updateStrategy/rollingUpdate/paused") || !exists(live, "/status/updatedAvailableReplicas") {
        return Health::new(Suspended, "Paused");
    }
    if !partitioned(live, partition) {
        return by_available(live);
    }
    let all = count(live, "replicas");
    match count(live, "updatedReplicas") > all - held(live, partition, all) {
        true => Health::new(Suspended, BY_HAND),
        false => Health::new(Progressing, "The partition is being updated"),
    }
}

fn daemon_set(live: &Value) -> Health {
    let partition = "/spec/updateStrategy/rollingUpdate/partition";
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    if truth(live, "/spec/updateStrategy/rollingUpdate/paused") || !exists(live, "/status/updatedNumberScheduled") {
        return Health::new(Suspended, "Paused");
    }
    let (all, updated) = (count(live, "desiredNumberScheduled"), count(live, "updatedNumberScheduled"));
    let kept = held(live, partition, all);
    if partitioned(live, partition) && kept != 0 {
        return match updated > all - kept {
            true => Health::new(Suspended, BY_HAND),
            false => Health::new(Progressing, "The partition is being updated"),
        };
    }
    let words = format!("{} of {all} pods are available", count(live, "numberAvailable"));
    match updated == all {
        true if count(live, "numberAvailable") == all => Health::new(Healthy, words),
        true if count(live, "numberUnavailable") == all => Health::new(Degraded, words),
        _ => Health::new(Progressing, words),
    }
}

fn broadcast_job(live: &Value) -> Health {
    let phase = text(live, "/status/phase");
    match phase {
        "completed" if count(live, "desired") == count(live, "succeeded") => Health::new(Healthy, phase),
        "failed" if number(live, "/status/failed") != Some(0) => {
            Health::new(Degraded, format!("{} pods have failed", count(live, "failed")))
        }
        "paused" if truth(live, "/spec/paused") => Health::new(Suspended, phase),
        _ => Health::new(Progressing, or(phase, &waiting(live).message)),
    }
}

/// One that has never run is Degraded in Argo CD.
fn advanced_cron_job(live: &Value) -> Health {
    let last = text(live, "/status/lastScheduleTime");
    if last.is_empty() && truth(live, "/spec/paused") {
        return Health::new(Suspended, "Paused");
    }
    if !items(live, "/status/active").is_empty() {
        return Health::new(Progressing, "Running");
    }
    match last {
        "" => Health::new(Degraded, "Not run yet"),
        last => Health::new(Healthy, last),
    }
}

fn rollout(live: &Value) -> Health {
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    let (step, phase) = (text(live, "/status/canaryStatus/currentStepState"), text(live, "/status/phase"));
    let words = or(text(live, "/status/message"), or(phase, step));
    match (step, phase) {
        ("StepPaused", "Progressing") => Health::new(Suspended, BY_HAND),
        ("Completed", "Healthy") => Health::new(Healthy, words),
        ("StepPaused", "Terminating" | "Disabled") => Health::new(Degraded, words),
        _ => Health::new(Progressing, words),
    }
}

fn game_server(live: &Value) -> Health {
    if !exists(live, "/status") {
        return Health::new(Unknown, waiting(live).message);
    }
    let (current, desired) = (text(live, "/status/currentState"), text(live, "/status/desiredState"));
    if current != desired {
        return Health::new(Progressing, format!("{} to {}", or(current, "Unknown"), or(desired, "Unknown")));
    }
    let pod =
        find(items(live, "/status/podStatus/conditions"), "KruisePodReady").filter(|found| found["status"] != "True");
    match pod {
        Some(found) => Health::new(Degraded, said(found)),
        None if current == "Ready" => Health::new(Healthy, current),
        None => Health::new(Unknown, current),
    }
}

fn game_server_set(live: &Value) -> Health {
    let rolling = "/spec/updateStrategy/rollingUpdate";
    if !exists(live, "/status") || !observed(live) {
        return unobserved();
    }
    if truth(live, &format!("{rolling}/paused")) {
        return Health::new(Suspended, "Paused");
    }
    let all = count(live, "replicas");
    let kept = held(live, &format!("{rolling}/partition"), all);
    if kept != 0 && count(live, "updatedReplicas") >= all - kept {
        return Health::new(Suspended, BY_HAND);
    }
    let ready = count(live, "updatedReadyReplicas");
    let words = format!("{ready} of {all} updated replicas are ready");
    Health::new(if ready == all { Healthy } else { Progressing }, words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn clone_and_stateful_sets() {
        let seen = |mut status: Value| {
            status["observedGeneration"] = json!(2);
            status
        };
        let all = || seen(json!({"replicas": 3, "updatedReplicas": 3, "updatedAvailableReplicas": 3}));
        let some = || {
            seen(
                json!({"replicas": 3, "updatedReplicas": 1, "expectedUpdatedReplicas": 2, "updatedAvailableReplicas": 1}),
            )
        };
        for (kind, strategy) in [
            ("CloneSet", (|update: Value| json!({"updateStrategy": update})) as fn(Value) -> Value),
            ("StatefulSet", |update: Value| json!({"updateStrategy": {"rollingUpdate": update}})),
        ] {
            let with = |update: Value, status: Value| json!({"spec": strategy(update), "status": status});
            check(
                "apps.kruise.io/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, "latest spec"),
                    (
                        with(json!({}), json!({"observedGeneration": 1, "updatedAvailableReplicas": 3})),
                        Progressing,
                        "latest spec",
                    ),
                    (with(json!({"paused": true}), all()), Suspended, "Paused"),
                    (with(json!({}), seen(json!({"replicas": 3}))), Suspended, "Paused"),
                    (with(json!({"partition": 0}), all()), Healthy, "3 of 3"),
                    (with(json!({}), all()), Healthy, "3 of 3"),
                    (with(json!({"partition": 0}), some()), Degraded, "1 of 3"),
                    (with(json!({"partition": 1}), all()), Suspended, "by hand"),
                    (with(json!({"partition": 1}), some()), Progressing, "partition"),
                ],
            );
        }
    }

    #[test]
    fn daemon_sets() {
        let with = |partition: Value, updated: i64, available: i64, unavailable: i64| {
            json!({
                "spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}},
                "status": {
                    "observedGeneration": 2, "desiredNumberScheduled": 4, "updatedNumberScheduled": updated,
                    "numberAvailable": available, "numberUnavailable": unavailable,
                },
            })
        };
        let mut paused = with(json!(0), 4, 4, 0);
        paused["spec"]["updateStrategy"]["rollingUpdate"]["paused"] = json!(true);
        check(
            "apps.kruise.io/v1alpha1",
            "DaemonSet",
            [
                (json!({}), Progressing, "latest spec"),
                (paused, Suspended, "Paused"),
                (json!({"status": {"observedGeneration": 2}}), Suspended, "Paused"),
                (with(json!(null), 4, 4, 0), Healthy, "4 of 4"),
                (with(json!("0%"), 4, 4, 0), Healthy, "4 of 4"),
                (with(json!(0), 4, 0, 4), Degraded, "0 of 4"),
                (with(json!(0), 4, 2, 2), Progressing, "2 of 4"),
                (with(json!(0), 2, 4, 0), Progressing, ""),
                (with(json!(2), 3, 4, 0), Suspended, "by hand"),
                (with(json!(2), 2, 4, 0), Progressing, "partition"),
                (with(json!("50%"), 3, 4, 0), Suspended, "by hand"),
                (with(json!("2"), 3, 4, 0), Suspended, "by hand"),
            ],
        );
    }

    #[test]
    fn jobs() {
        let job = |phase: &str, failed: i64| json!({"spec": {"paused": true}, "status": {"phase": phase, "desired": 2, "succeeded": 2, "failed": failed}});
        check(
            "apps.kruise.io/v1alpha1",
            "BroadcastJob",
            [
                (json!({}), Progressing, "not reported"),
                (job("completed", 0), Healthy, "completed"),
                (job("running", 0), Progressing, "running"),
                (job("failed", 1), Degraded, "1 pods"),
                (job("paused", 0), Suspended, "paused"),
                (json!({"status": {"phase": "paused"}}), Progressing, "paused"),
            ],
        );
        check(
            "apps.kruise.io/v1alpha1",
            "AdvancedCronJob",
            [
                (json!({}), Degraded, "Not run"),
                (json!({"spec": {"paused": true}, "status": {}}), Suspended, "Paused"),
                (json!({"status": {"active": [{"name": "a"}]}}), Progressing, "Running"),
                (json!({"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}), Healthy, "2026-01-01"),
            ],
        );
    }

    #[test]
    fn rollouts() {
        let with = |seen: i64, step: &str, phase: &str| json!({"status": {"observedGeneration": seen, "phase": phase, "canaryStatus": {"currentStepState": step}}});
        check(
            "rollouts.kruise.io/v1beta1",
            "Rollout",
            [
                (json!({}), Progressing, "latest spec"),
                (with(1, "Completed", "Healthy"), Progressing, "latest spec"),
                (with(2, "StepUpgrade", "Progressing"), Progressing, "Progressing"),
                (with(2, "StepPaused", "Progressing"), Suspended, "by hand"),
                (with(2, "Completed", "Healthy"), Healthy, "Healthy"),
                (with(2, "StepPaused", "Disabled"), Degraded, "Disabled"),
                (with(2, "StepPaused", "Terminating"), Degraded, "Terminating"),
            ],
        );
    }

    #[test]
    fn games() {
        let server =
            |current: &str, desired: &str| json!({"status": {"currentState": current, "desiredState": desired}});
        let mut down = server("Ready", "Ready");
        down["status"]["podStatus"] = said(&[("KruisePodReady", "False", "", "node lost")])["status"].take();
        check(
            "game.kruise.io/v1alpha1",
            "GameServer",
            [
                (json!({}), Unknown, "not reported"),
                (server("Creating", "Ready"), Progressing, "Creating to Ready"),
                (server("Ready", "Ready"), Healthy, "Ready"),
                (server("Crash", "Crash"), Unknown, "Crash"),
                (down, Degraded, "node lost"),
            ],
        );
        let set = |update: Value, updated: i64, ready: i64| {
            json!({
                "spec": {"updateStrategy": {"rollingUpdate": update}},
                "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": updated, "updatedReadyReplicas": ready},
            })
        };
        check(
            "game.kruise.io/v1alpha1",
            "GameServerSet",
            [
                (json!({}), Progressing, "latest spec"),
                (set(json!({"paused": true}), 3, 3), Suspended, "Paused"),
                (set(json!({"partition": 1}), 2, 2), Suspended, "by hand"),
                (set(json!({"partition": 0}), 3, 3), Healthy, "3 of 3"),
                (set(json!({}), 3, 2), Progressing, "2 of 3"),
            ],
        );
    }
}

//! Delivery: Flagger, Keptn, Ansible jobs.
//!
//! Sources: Flagger "Canary status", Keptn lifecycle toolkit and metrics API, Ansible "AnsibleJob" status, Argo CD's bundled
//! checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Field, Judge, exists, field, items, number, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Unknown};

pub(super) const FLAGGER: Kinds = &[("Canary", Judge::Own(canary))];

const KEPTN_STATUS: Field = field("/status/status", &[("Succeeded", Healthy), ("Failed", Degraded)]);

pub(super) const KEPTN: Kinds = &[
    ("KeptnAppVersion", KEPTN_STATUS.judge()),
    ("KeptnEvaluation", field("/status/overallStatus", &[("Succeeded", Healthy), ("Failed", Degraded)]).judge()),
    ("KeptnTask", KEPTN_STATUS.judge()),
    ("KeptnWorkloadInstance", KEPTN_STATUS.judge()),
    ("KeptnWorkloadVersion", KEPTN_STATUS.judge()),
];
pub(super) const KEPTN_METRICS: Kinds = &[("Analysis", Judge::Own(analysis)), ("KeptnMetric", Judge::Own(metric))];
pub(super) const ANSIBLE: Kinds = &[("AnsibleJob", Judge::Own(ansible_job))];

/// A canary that waits for something else than its own progress (WaitingPromotion, Waiting, …) is Unknown in Argo CD.
fn canary(live: &Value) -> Health {
    if !exists(live, "/status") {
        return Health::new(Unknown, waiting(live).message);
    }
    let phase = text(live, "/status/phase");
    let verdict = match phase {
        "Failed" => Degraded,
        "Progressing" | "Finalising" | "Promoting" => Progressing,
        "Succeeded" | "Initialized" => Healthy,
        _ => Unknown,
    };
    let weight = number(live, "/status/canaryWeight")
        .filter(|weight| *weight > 0)
        .map(|weight| format!("{weight} % of the traffic"));
    let said = items(live, "/status/conditions").iter().map(|found| text(found, "/message").to_owned());
    let words = [phase.to_owned()].into_iter().chain(weight).chain(said).filter(|words| !words.is_empty());
    Health::new(verdict, words.collect::<Vec<_>>().join("; "))
}

/// A warning passes.
fn analysis(live: &Value) -> Health {
    match (live["status"]["pass"].as_bool(), truth(live, "/status/warning")) {
        (Some(true), _) => Health::new(Healthy, ""),
        (_, true) => Health::new(Healthy, "Passed with warnings"),
        (Some(false), false) => Health::new(Degraded, "Not passed"),
        (None, false) => waiting(live),
    }
}

fn metric(live: &Value) -> Health {
    match text(live, "/status/errMsg") {
        "" if exists(live, "/status/value") => Health::new(Healthy, ""),
        "" => waiting(live),
        error => Health::new(Degraded, error),
    }
}

fn ansible_job(live: &Value) -> Health {
    let word = text(live, "/status/ansibleJobResult/status");
    match (truth(live, "/status/isFinished"), word) {
        (true, "successful") => Health::new(Healthy, word),
        (true, "error") => Health::new(Degraded, word),
        (_, "") => waiting(live),
        _ => Health::new(Progressing, word),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::check;
    use super::*;

    #[test]
    fn flagger() {
        let phase = |phase: &str, weight: i64| json!({"status": {"phase": phase, "canaryWeight": weight, "conditions": [{"type": "Promoted", "message": "New revision detected"}]}});
        check(
            "flagger.app/v1beta1",
            "Canary",
            [
                (json!({}), Unknown, "not reported"),
                (phase("Progressing", 10), Progressing, "Progressing; 10 % of the traffic; New revision"),
                (phase("Finalising", 0), Progressing, "Finalising; New revision"),
                (phase("Promoting", 0), Progressing, "Promoting"),
                (phase("Succeeded", 0), Healthy, "Succeeded"),
                (phase("Initialized", 0), Healthy, "Initialized"),
                (phase("Failed", 0), Degraded, "Failed"),
                (phase("WaitingPromotion", 50), Unknown, "WaitingPromotion"),
            ],
        );
    }

    #[test]
    fn keptn() {
        for kind in ["KeptnAppVersion", "KeptnTask", "KeptnWorkloadInstance", "KeptnWorkloadVersion"] {
            check(
                "lifecycle.keptn.sh/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {"status": "Succeeded"}}), Healthy, "Succeeded"),
                    (json!({"status": {"status": "Failed"}}), Degraded, "Failed"),
                    (json!({"status": {"status": "Progressing"}}), Progressing, "Progressing"),
                ],
            );
        }
        check(
            "lifecycle.keptn.sh/v1",
            "KeptnEvaluation",
            [
                (json!({"status": {"overallStatus": "Succeeded"}}), Healthy, "Succeeded"),
                (json!({"status": {"overallStatus": "Failed"}}), Degraded, "Failed"),
                (json!({"status": {"status": "Failed"}}), Progressing, ""),
            ],
        );
        check(
            "metrics.keptn.sh/v1",
            "Analysis",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"pass": true}}), Healthy, ""),
                (json!({"status": {"pass": false, "warning": true}}), Healthy, "warnings"),
                (json!({"status": {"pass": false}}), Degraded, "Not passed"),
            ],
        );
        check(
            "metrics.keptn.sh/v1",
            "KeptnMetric",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"value": "1.2", "errMsg": ""}}), Healthy, ""),
                (json!({"status": {"value": "1.2", "errMsg": "no provider"}}), Degraded, "no provider"),
            ],
        );
    }

    #[test]
    fn ansible() {
        let job = |finished: bool, status: &str| json!({"status": {"isFinished": finished, "ansibleJobResult": {"status": status}}});
        check(
            "tower.ansible.com/v1alpha1",
            "AnsibleJob",
            [
                (json!({}), Progressing, "not reported"),
                (job(false, "pending"), Progressing, "pending"),
                (job(true, "pending"), Progressing, "pending"),
                (job(true, "successful"), Healthy, "successful"),
                (job(false, "successful"), Progressing, "successful"),
                (job(true, "error"), Degraded, "error"),
            ],
        );
    }
}

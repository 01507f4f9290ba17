//! Data jobs: Spark and Flink.
//!
//! Sources: Spark operator API (ApplicationStateType, dynamicAllocation), Flink operator (jobManagerDeploymentStatus,
//! reconciliationStatus), Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, exists, number, or, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Missing, Progressing};

pub(super) const SPARK: Kinds = &[("SparkApplication", Judge::Own(spark))];
pub(super) const FLINK: Kinds = &[("FlinkDeployment", Judge::Own(flink))];

fn spark(live: &Value) -> Health {
    let word = text(live, "/status/applicationState/state");
    let verdict = match word {
        "COMPLETED" => Healthy,
        "FAILED" | "SUBMISSION_FAILED" | "FAILING" => {
            return Health::new(Degraded, or(text(live, "/status/applicationState/errorMessage"), word));
        }
        "INVALIDATING" => Missing,
        "RUNNING" if executors_run(live) => Healthy,
        "" => return waiting(live),
        _ => Progressing,
    };
    Health::new(verdict, word)
}

/// As many as asked for, or any number within the bounds of dynamic allocation (of the spec, or of Spark's own settings).
fn executors_run(live: &Value) -> bool {
    let Some(executors) = live.pointer("/status/executorState").and_then(Value::as_object) else { return false };
    let running = i64::try_from(executors.values().filter(|state| *state == "RUNNING").count()).unwrap_or(i64::MAX);
    let asked = number(live, "/spec/executor/instances");
    if asked == Some(running) {
        return true;
    }
    let within = |least: Option<i64>, most: Option<i64>| {
        running >= least.unwrap_or_default() && most.is_none_or(|most| running <= most)
    };
    if truth(live, "/spec/dynamicAllocation/enabled") {
        return within(
            number(live, "/spec/dynamicAllocation/minExecutors"),
            number(live, "/spec/dynamicAllocation/maxExecutors"),
        );
    }
    let setting = |prefix: &str, name: &str| text(live, &format!("/spec/sparkConf/{prefix}.dynamicAllocation.{name}"));
    if let Some(prefix) = ["spark.streaming", "spark"].into_iter().find(|prefix| setting(prefix, "enabled") == "true") {
        return within(setting(prefix, "minExecutors").parse().ok(), setting(prefix, "maxExecutors").parse().ok());
    }
    !exists(live, "/spec/dynamicAllocation") && asked.is_none() && running >= 1
}

fn flink(live: &Value) -> Health {
    if !exists(live, "/status/reconciliationStatus") {
        return waiting(live);
    }
    let deployed = text(live, "/status/reconciliationStatus/state") == "DEPLOYED";
    if deployed || truth(live, "/status/reconciliationStatus/success") {
        return Health::new(Healthy, "");
    }
    match text(live, "/status/jobManagerDeploymentStatus") {
        word @ "ERROR" => Health::new(Degraded, or(text(live, "/status/reconciliationStatus/error"), word)),
        "" => waiting(live),
        word => Health::new(Progressing, word),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::check;
    use super::*;

    #[test]
    fn spark() {
        let state =
            |state: &str| json!({"status": {"applicationState": {"state": state, "errorMessage": "driver lost"}}});
        let running = |spec: Value| {
            json!({"spec": spec, "status": {
                "applicationState": {"state": "RUNNING"},
                "executorState": {"a-1": "RUNNING", "a-2": "RUNNING", "a-3": "COMPLETED"},
            }})
        };
        check(
            "sparkoperator.k8s.io/v1beta2",
            "SparkApplication",
            [
                (json!({}), Progressing, "not reported"),
                (state("SUBMITTED"), Progressing, "SUBMITTED"),
                (state("COMPLETED"), Healthy, "COMPLETED"),
                (state("FAILED"), Degraded, "driver lost"),
                (state("SUBMISSION_FAILED"), Degraded, "driver lost"),
                (state("FAILING"), Degraded, "driver lost"),
                (state("PENDING_RERUN"), Progressing, "PENDING_RERUN"),
                (state("INVALIDATING"), Missing, "INVALIDATING"),
                (state("SUCCEEDING"), Progressing, "SUCCEEDING"),
                (state("UNKNOWN"), Progressing, "UNKNOWN"),
                (state("RUNNING"), Progressing, "RUNNING"),
                (running(json!({"executor": {"instances": 2}})), Healthy, "RUNNING"),
                (running(json!({"executor": {"instances": 3}})), Progressing, "RUNNING"),
                (running(json!({"executor": {}})), Healthy, "RUNNING"),
                (
                    running(
                        json!({"executor": {}, "dynamicAllocation": {"enabled": true, "minExecutors": 1, "maxExecutors": 2}}),
                    ),
                    Healthy,
                    "RUNNING",
                ),
                (
                    running(json!({"executor": {}, "dynamicAllocation": {"enabled": true, "minExecutors": 3}})),
                    Progressing,
                    "",
                ),
                (
                    running(
                        json!({"executor": {}, "sparkConf": {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.maxExecutors": "1"}}),
                    ),
                    Progressing,
                    "",
                ),
                (
                    running(json!({
                        "executor": {"instances": 5},
                        "sparkConf": {"spark.streaming.dynamicAllocation.enabled": "true", "spark.streaming.dynamicAllocation.minExecutors": "2"},
                    })),
                    Healthy,
                    "RUNNING",
                ),
            ],
        );
    }

    #[test]
    fn flink() {
        let with = |manager: &str| json!({"status": {"jobManagerDeploymentStatus": manager, "reconciliationStatus": {"success": false, "error": "bad memory option"}}});
        check(
            "flink.apache.org/v1beta1",
            "FlinkDeployment",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"reconciliationStatus": {"success": true}}}), Healthy, ""),
                (
                    json!({"status": {"reconciliationStatus": {"state": "DEPLOYED"}, "jobManagerDeploymentStatus": "ERROR"}}),
                    Healthy,
                    "",
                ),
                (with("DEPLOYED_NOT_READY"), Progressing, "DEPLOYED_NOT_READY"),
                (with("DEPLOYING"), Progressing, "DEPLOYING"),
                (with("ERROR"), Degraded, "bad memory option"),
                (with(""), Progressing, "not reported"),
            ],
        );
    }
}

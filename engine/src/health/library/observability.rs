//! Observability: Prometheus, VictoriaMetrics, Grafana, OpenTelemetry, Jaeger, Kiali, Datadog, Coralogix, Humio.
//!
//! Sources: Prometheus operator API (Available), VictoriaMetrics operator (updateStatus), Grafana operator API,
//! OpenTelemetry operator (scale.statusReplicas), Jaeger, Kiali, Datadog, Coralogix and Humio operators, Argo CD's bundled
//! checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::judge::{
    Judge, conditions, conditions_or, exists, field, items, or, said, stale, text, unobserved, waiting, when,
};
use super::{ANY, Kinds};
use crate::app::HealthCode::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};

pub(super) const PROMETHEUS: Kinds = &[("Prometheus", Judge::Own(prometheus))];
pub(super) const VICTORIA_METRICS: Kinds = &[(ANY, Judge::Own(victoria_metrics))];
pub(super) const GRAFANA: Kinds = &[
    ("Grafana", Judge::Own(grafana)),
    ("GrafanaDashboard", Judge::Own(grafana_conditions)),
    ("GrafanaDatasource", Judge::Own(grafana_datasource)),
    ("GrafanaFolder", Judge::Own(grafana_conditions)),
];
pub(super) const GRAFANA_ORG: Kinds = &[(
    ANY,
    conditions(&[&[when("Ready", "False", Degraded), when("Ready", "True", Healthy), when("Ready", "", Progressing)]]),
)];
pub(super) const OPEN_TELEMETRY: Kinds = &[("OpenTelemetryCollector", Judge::Own(open_telemetry))];
pub(super) const JAEGER: Kinds =
    &[("Jaeger", field("/status/phase", &[("Running", Healthy), ("Failed", Degraded)]).judge())];
pub(super) const KIALI: Kinds = &[(
    "Kiali",
    conditions(&[&[
        when("Successful", "True", Healthy),
        when("Failure", "True", Degraded),
        when("Running", "", Progressing).because(&["Running"]),
    ]]),
)];
/// A metric is valid until it says otherwise.
pub(super) const DATADOG: Kinds = &[(
    "DatadogMetric",
    conditions_or(Healthy, &[&[when("Error", "True", Degraded)], &[when("Valid", "False", Degraded)]]),
)];

const REMOTE_SYNCED: Judge =
    conditions(&[&[when("RemoteSynced", "True", Healthy), when("RemoteSynced", "False", Degraded)]]);

pub(super) const CORALOGIX: Kinds = &[("Alert", REMOTE_SYNCED), ("RecordingRuleGroupSet", REMOTE_SYNCED)];

const HUMIO_OBJECT: Judge = field(
    "/status/state",
    &[("Exists", Healthy), ("NotFound", Missing), ("ConfigError", Degraded), ("Unknown", Unknown)],
)
.judge();

pub(super) const HUMIO: Kinds = &[
    ("HumioAction", HUMIO_OBJECT),
    ("HumioAlert", HUMIO_OBJECT),
    (
        "HumioCluster",
        field(
            "/status/state",
            &[
                ("Running", Healthy),
                ("Restarting", Progressing),
                ("Upgrading", Progressing),
                ("ConfigError", Degraded),
                ("Pending", Progressing),
                ("Unknown", Unknown),
            ],
        )
        .message("/status/message")
        .judge(),
    ),
    ("HumioIngestToken", HUMIO_OBJECT),
    ("HumioParser", HUMIO_OBJECT),
    ("HumioRepository", HUMIO_OBJECT),
    ("HumioView", HUMIO_OBJECT),
];

/// Pods that are not ready yet may become so; any other reason is a failure. The last Available counts.
fn prometheus(live: &Value) -> Health {
    match items(live, "/status/conditions").iter().rfind(|found| found["type"] == "Available") {
        None => waiting(live),
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(found, "/message")),
        Some(found) if found["reason"] == "SomePodsNotReady" => Health::new(Progressing, said(found)),
        Some(found) => Health::new(Degraded, said(found)),
    }
}

fn victoria_metrics(live: &Value) -> Health {
    if stale(live, &live["status"]["observedGeneration"]) {
        return unobserved();
    }
    let word = text(live, "/status/updateStatus");
    let verdict = match word {
        "operational" => return Health::new(Healthy, word),
        "expanding" => Progressing,
        "paused" => Suspended,
        "failed" => Degraded,
        _ => return waiting(live),
    };
    Health::new(verdict, or(text(live, "/status/reason"), word))
}

fn grafana(live: &Value) -> Health {
    let stage = text(live, "/status/stage");
    match text(live, "/status/stageStatus") {
        "" => waiting(live),
        "failed" => Health::new(Degraded, format!("Stage {stage} failed")),
        "success" if stage == "complete" => Health::new(Healthy, ""),
        _ => Health::new(Progressing, stage),
    }
}

/// The first bad condition decides; FolderUIDMismatch is the one that is bad when True.
fn grafana_conditions(live: &Value) -> Health {
    let listed = items(live, "/status/conditions");
    let bad =
        |found: &&Value| match text(found, "/type") == "FolderUIDMismatch" && text(live, "/kind") == "GrafanaFolder" {
            true => found["status"] == "True",
            false => found["status"] == "False",
        };
    if let Some(found) = listed.iter().find(bad) {
        return Health::new(Degraded, said(found));
    }
    match listed.iter().find(|found| found["status"] == "True") {
        Some(found) => Health::new(Healthy, text(found, "/message")),
        None => waiting(live),
    }
}

fn grafana_datasource(live: &Value) -> Health {
    if !exists(live, "/status") || live["status"]["uid"] == "" {
        return waiting(live);
    }
    match live["status"]["NoMatchingInstances"] == true {
        true => Health::new(Degraded, "No Grafana matches"),
        false => Health::new(Healthy, ""),
    }
}

/// `statusReplicas` reads "ready/all". None of none is fine for a daemon set without nodes only; a sidecar has none to count.
fn open_telemetry(live: &Value) -> Health {
    let mode = text(live, "/spec/mode");
    if !exists(live, "/status") {
        return waiting(live);
    }
    let scale = text(live, "/status/scale/statusReplicas");
    if scale.is_empty() {
        return if mode == "sidecar" { Health::new(Healthy, mode) } else { waiting(live) };
    }
    let counted =
        scale.split_once('/').and_then(|(ready, all)| Some((ready.parse::<u64>().ok()?, all.parse::<u64>().ok()?)));
    let words = format!("{scale} replicas are ready");
    match counted {
        Some((0, 0)) if mode == "daemonset" => Health::new(Healthy, words),
        Some((0, _)) => Health::new(Degraded, words),
        Some((ready, all)) if ready == all => Health::new(Healthy, words),
        _ => Health::new(Progressing, words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn metrics() {
        check(
            "monitoring.coreos.com/v1",
            "Prometheus",
            [
                (json!({}), Progressing, "not reported"),
                (said(&[("Available", "True", "", "")]), Healthy, ""),
                (said(&[("Available", "Degraded", "SomePodsNotReady", "")]), Progressing, "SomePodsNotReady"),
                (
                    said(&[("Available", "False", "NoPodReady", "shard 0: 0/5 nodes are available")]),
                    Degraded,
                    "shard 0",
                ),
            ],
        );
        let status = |status: Value| json!({"status": status});
        for kind in ["VMAgent", "VMCluster", "VMRule"] {
            check(
                "operator.victoriametrics.com/v1beta1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (status(json!({"updateStatus": "operational", "observedGeneration": 2})), Healthy, "operational"),
                    (
                        status(json!({"updateStatus": "operational", "observedGeneration": 1})),
                        Progressing,
                        "latest spec",
                    ),
                    (status(json!({"updateStatus": "expanding"})), Progressing, "expanding"),
                    (status(json!({"updateStatus": "paused", "reason": "by hand"})), Suspended, "by hand"),
                    (status(json!({"updateStatus": "failed", "reason": "no quota"})), Degraded, "no quota"),
                    (status(json!({"updateStatus": "new"})), Progressing, ""),
                ],
            );
        }
        check(
            "datadoghq.com/v1alpha1",
            "DatadogMetric",
            [
                (json!({}), Healthy, ""),
                (said(&[("Valid", "True", "", ""), ("Error", "False", "", "")]), Healthy, ""),
                (
                    said(&[
                        ("Valid", "False", "", "no data"),
                        ("Error", "True", "Unable to fetch data from Datadog", "rate limit"),
                    ]),
                    Degraded,
                    "rate limit",
                ),
                (said(&[("Valid", "False", "", "no data")]), Degraded, "no data"),
            ],
        );
        for kind in ["Alert", "RecordingRuleGroupSet"] {
            check(
                "coralogix.com/v1beta1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("RemoteSynced", "True", "", "")]), Healthy, ""),
                    (said(&[("RemoteSynced", "False", "RemoteCreationFailed", "bad key")]), Degraded, "bad key"),
                ],
            );
        }
    }

    #[test]
    fn grafanas() {
        let stage = |stage: &str, status: &str| json!({"status": {"stage": stage, "stageStatus": status}});
        check(
            "grafana.integreatly.org/v1beta1",
            "Grafana",
            [
                (json!({}), Progressing, "not reported"),
                (stage("ingress", "failed"), Degraded, "ingress"),
                (stage("complete", "success"), Healthy, ""),
                (stage("deployment", "success"), Progressing, "deployment"),
            ],
        );
        for kind in ["GrafanaDashboard", "GrafanaFolder"] {
            check(
                "grafana.integreatly.org/v1beta1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Synchronized", "True", "ApplySuccessful", "applied to 1 instance")]), Healthy, "applied"),
                    (
                        said(&[("Synchronized", "True", "", ""), ("Valid", "False", "Bad", "bad json")]),
                        Degraded,
                        "bad json",
                    ),
                ],
            );
        }
        check(
            "grafana.integreatly.org/v1beta1",
            "GrafanaFolder",
            [
                (said(&[("FolderUIDMismatch", "False", "", ""), ("Synchronized", "True", "", "")]), Healthy, ""),
                (
                    said(&[("FolderUIDMismatch", "True", "", "uid differs"), ("Synchronized", "True", "", "")]),
                    Degraded,
                    "uid differs",
                ),
            ],
        );
        check(
            "grafana.integreatly.org/v1beta1",
            "GrafanaDatasource",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"uid": ""}}), Progressing, ""),
                (json!({"status": {"uid": "a1"}}), Healthy, ""),
                (json!({"status": {"uid": "a1", "NoMatchingInstances": true}}), Degraded, "No Grafana"),
            ],
        );
        check(
            "grafana-org-operator.kubitus-project.gitlab.io/v1alpha1",
            "Organization",
            [
                (json!({}), Progressing, "not reported"),
                (said(&[("Ready", "True", "", "reconciled")]), Healthy, "reconciled"),
                (said(&[("Ready", "False", "", "no such host")]), Degraded, "no such host"),
                (said(&[("Ready", "Unknown", "", "works")]), Progressing, "works"),
            ],
        );
    }

    #[test]
    fn traces() {
        let scale =
            |mode: &str, scale: &str| json!({"spec": {"mode": mode}, "status": {"scale": {"statusReplicas": scale}}});
        check(
            "opentelemetry.io/v1beta1",
            "OpenTelemetryCollector",
            [
                (json!({}), Progressing, "not reported"),
                (scale("deployment", "2/2"), Healthy, "2/2"),
                (scale("deployment", "1/2"), Progressing, "1/2"),
                (scale("deployment", "0/2"), Degraded, "0/2"),
                (scale("deployment", "0/0"), Degraded, "0/0"),
                (scale("daemonset", "0/0"), Healthy, "0/0"),
                (scale("deployment", "none"), Progressing, "none"),
                (json!({"spec": {"mode": "sidecar"}, "status": {"scale": {}}}), Healthy, "sidecar"),
                (json!({"spec": {"mode": "deployment"}, "status": {"scale": {}}}), Progressing, "not reported"),
            ],
        );
        check(
            "jaegertracing.io/v1",
            "Jaeger",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"phase": "Running"}}), Healthy, "Running"),
                (json!({"status": {"phase": "Failed"}}), Degraded, "Failed"),
                (json!({"status": {"phase": "Unknown"}}), Progressing, "Unknown"),
            ],
        );
        check(
            "kiali.io/v1alpha1",
            "Kiali",
            [
                (json!({}), Progressing, ""),
                (said(&[("Successful", "True", "Successful", "Last reconciliation succeeded")]), Healthy, "succeeded"),
                (said(&[("Failure", "True", "Failed", "unknown playbook failure")]), Degraded, "playbook"),
                (said(&[("Running", "False", "Running", "Running reconciliation")]), Progressing, "Running"),
            ],
        );
    }

    #[test]
    fn humio() {
        let state = |state: &str| json!({"status": {"state": state}});
        for kind in ["HumioAction", "HumioAlert", "HumioIngestToken", "HumioParser", "HumioRepository", "HumioView"] {
            check(
                "core.humio.com/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (state("Exists"), Healthy, "Exists"),
                    (state("NotFound"), Missing, "NotFound"),
                    (state("ConfigError"), Degraded, "ConfigError"),
                    (state("Unknown"), Unknown, "Unknown"),
                    (state("Else"), Progressing, "Else"),
                ],
            );
        }
        check(
            "core.humio.com/v1alpha1",
            "HumioCluster",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"state": "Running", "message": "all well"}}), Healthy, "all well"),
                (state("Restarting"), Progressing, "Restarting"),
                (state("Upgrading"), Progressing, "Upgrading"),
                (state("ConfigError"), Degraded, "ConfigError"),
                (state("Pending"), Progressing, "Pending"),
                (state("Unknown"), Unknown, "Unknown"),
            ],
        );
    }
}

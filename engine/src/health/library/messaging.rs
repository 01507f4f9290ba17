//! Kafka (Strimzi, Confluent, Banzai Cloud), ZooKeeper and RabbitMQ.
//!
//! Sources: Strimzi "Custom resource status", Confluent for Kubernetes API (status.phase), Koperator KafkaCluster status,
//! Pravega ZooKeeper operator, RabbitMQ cluster and messaging-topology operators, Argo CD's bundled checks.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{
    Field, Judge, condition, condition_is, conditions, conditions_or, field, items, number, said, text, waiting, when,
};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended, Unknown};

const STRIMZI_KIND: Judge = conditions(&[&[when("NotReady", "True", Degraded), when("Ready", "True", Healthy)]]);
/// A Kafka that is being created is NotReady as well.
const STRIMZI_KAFKA: Judge =
    conditions(&[&[when("NotReady", "True", Degraded).but_because(&["Creating"]), when("Ready", "True", Healthy)]]);

pub(super) const STRIMZI: Kinds = &[
    ("Kafka", STRIMZI_KAFKA),
    ("KafkaBridge", STRIMZI_KIND),
    ("KafkaConnect", STRIMZI_KIND),
    ("KafkaConnector", STRIMZI_KIND),
    ("KafkaTopic", STRIMZI_KIND),
    ("KafkaUser", STRIMZI_KIND),
];

const CONFLUENT_KIND: Field = field("/status/phase", &[("RUNNING", Healthy), ("PROVISIONING", Progressing)]);

pub(super) const CONFLUENT: Kinds = &[
    ("Connect", CONFLUENT_KIND.judge()),
    ("Connector", Judge::Own(connector)),
    ("ControlCenter", CONFLUENT_KIND.judge()),
    ("Kafka", CONFLUENT_KIND.judge()),
    ("KsqlDB", CONFLUENT_KIND.judge()),
    ("SchemaRegistry", CONFLUENT_KIND.judge()),
    ("Zookeeper", CONFLUENT_KIND.judge()),
];

pub(super) const BANZAI: Kinds = &[("KafkaCluster", Judge::Own(banzai))];
pub(super) const ZOOKEEPER: Kinds = &[("ZookeeperCluster", Judge::Own(zookeeper))];

const TOPOLOGY: Judge = conditions_or(
    Unknown,
    &[&[
        when("Ready", "True", Healthy).because(&["SuccessfulCreateOrUpdate"]),
        when("Ready", "False", Degraded).because(&["FailedCreateOrUpdate"]),
    ]],
);

pub(super) const RABBITMQ: Kinds = &[
    ("Binding", TOPOLOGY),
    ("Exchange", TOPOLOGY),
    ("Permission", TOPOLOGY),
    ("Policy", TOPOLOGY),
    ("Queue", TOPOLOGY),
    ("RabbitmqCluster", Judge::Own(rabbitmq)),
    ("Shovel", TOPOLOGY),
    ("User", TOPOLOGY),
    ("Vhost", TOPOLOGY),
];

fn connector(live: &Value) -> Health {
    let failed = number(live, "/status/failedTasksCount");
    match text(live, "/status/state") {
        "" => waiting(live),
        "CREATED" if text(live, "/status/connectorState") == "RUNNING" && failed.is_none() => {
            Health::new(Healthy, "RUNNING")
        }
        "ERROR" => Health::new(Degraded, items(live, "/status/conditions").first().map(said).unwrap_or_default()),
        _ if failed.is_some_and(|failed| failed > 0) => {
            Health::new(Degraded, format!("{} tasks have failed", failed.unwrap_or_default()))
        }
        other => Health::new(Progressing, other),
    }
}

/// Every broker up to the highest number must be in sync and done with its last graceful action.
fn banzai(live: &Value) -> Health {
    let Some(brokers) = live.pointer("/status/brokersState").and_then(Value::as_object) else { return waiting(live) };
    let expected = brokers.keys().filter_map(|id| id.parse::<usize>().ok()).max().map_or(0, |highest| highest + 1);
    let good = |broker: &&Value| {
        text(broker, "/configurationState") == "ConfigInSync"
            && matches!(
                text(broker, "/gracefulActionState/cruiseControlState"),
                "GracefulUpscaleSucceeded" | "GracefulDownscaleSucceeded"
            )
    };
    let in_sync = brokers.values().filter(good).count();
    if in_sync != expected {
        return Health::new(Degraded, format!("{in_sync} of {expected} brokers are in sync"));
    }
    match (text(live, "/status/cruiseControlTopicStatus"), text(live, "/status/state")) {
        ("CruiseControlTopicReady", state @ "ClusterRunning") => Health::new(Healthy, state),
        ("CruiseControlTopicNotReady" | "", state @ ("ClusterReconciling" | "ClusterRollingUpgrading")) => {
            Health::new(Progressing, state)
        }
        _ => waiting(live),
    }
}

fn zookeeper(live: &Value) -> Health {
    match (number(live, "/status/readyReplicas"), number(live, "/status/replicas")) {
        (Some(ready), Some(wanted)) if ready != 0 && ready == wanted => Health::new(Healthy, ""),
        (Some(ready), Some(wanted)) => Health::new(Progressing, format!("{ready} of {wanted} nodes have joined")),
        _ => waiting(live),
    }
}

fn rabbitmq(live: &Value) -> Health {
    if let Some(found) = condition_is(live, "ReconcileSuccess", "False") {
        return Health::new(Degraded, said(found));
    }
    let (available, replicas) = (condition(live, "ClusterAvailable"), condition(live, "AllReplicasReady"));
    let is = |found: Option<&Value>, status: &str| found.is_some_and(|found| found["status"] == status);
    let words = |found: Option<&Value>| found.map(said).unwrap_or_default();
    if is(available, "Unknown") || is(replicas, "Unknown") {
        return Health::new(Progressing, words(if is(available, "Unknown") { available } else { replicas }));
    }
    let none =
        replicas.is_some_and(|found| found["reason"] == "ScaledToZero") && number(live, "/spec/replicas") == Some(0);
    if none && is(replicas, "False") {
        return Health::new(Suspended, words(replicas));
    }
    match (available, replicas) {
        _ if is(available, "False") => Health::new(Progressing, words(available)),
        _ if is(replicas, "False") => Health::new(Progressing, words(replicas)),
        _ if is(available, "True") && is(replicas, "True") => Health::new(Healthy, ""),
        _ => waiting(live),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn strimzi() {
        for kind in ["Kafka", "KafkaBridge", "KafkaConnect", "KafkaConnector", "KafkaTopic", "KafkaUser"] {
            check(
                "kafka.strimzi.io/v1beta2",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Ready", "True", "", "")]), Healthy, ""),
                    (
                        said(&[("NotReady", "True", "InvalidConfigurationException", "Exactly one Kafka is needed")]),
                        Degraded,
                        "Exactly one",
                    ),
                ],
            );
        }
        check(
            "kafka.strimzi.io/v1beta2",
            "Kafka",
            [(said(&[("NotReady", "True", "Creating", "deploying")]), Progressing, "")],
        );
        check(
            "kafka.strimzi.io/v1beta2",
            "KafkaTopic",
            [(said(&[("NotReady", "True", "Creating", "odd")]), Degraded, "odd")],
        );
    }

    #[test]
    fn confluent() {
        for kind in ["Connect", "ControlCenter", "Kafka", "KsqlDB", "SchemaRegistry", "Zookeeper"] {
            check(
                "platform.confluent.io/v1beta1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {"phase": "RUNNING"}}), Healthy, "RUNNING"),
                    (json!({"status": {"phase": "PROVISIONING"}}), Progressing, "PROVISIONING"),
                    (json!({"status": {"phase": "ELSE"}}), Progressing, "ELSE"),
                ],
            );
        }
        check(
            "platform.confluent.io/v1beta1",
            "Connector",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"state": "CREATED", "connectorState": "RUNNING"}}), Healthy, "RUNNING"),
                (
                    json!({"status": {"state": "CREATED", "connectorState": "RUNNING", "failedTasksCount": 2}}),
                    Degraded,
                    "2 tasks",
                ),
                (json!({"status": {"state": "CREATED", "connectorState": "UNASSIGNED"}}), Progressing, "CREATED"),
                (
                    json!({"status": {"state": "ERROR", "conditions": listed(&[("platform.confluent.io/app-ready", "False", "Failed", "bad class")])}}),
                    Degraded,
                    "bad class",
                ),
                (json!({"status": {"state": "ERROR"}}), Degraded, ""),
            ],
        );
    }

    #[test]
    fn banzai() {
        let broker = |config: &str, action: &str| json!({"configurationState": config, "gracefulActionState": {"cruiseControlState": action}});
        let up = || broker("ConfigInSync", "GracefulUpscaleSucceeded");
        let with = |brokers: Value, topic: Value, state: &str| json!({"status": {"brokersState": brokers, "cruiseControlTopicStatus": topic, "state": state}});
        let down = broker("ConfigInSync", "GracefulDownscaleSucceeded");
        check(
            "kafka.banzaicloud.io/v1beta1",
            "KafkaCluster",
            [
                (json!({}), Progressing, "not reported"),
                (
                    with(json!({"0": up(), "1": down}), json!("CruiseControlTopicReady"), "ClusterRunning"),
                    Healthy,
                    "ClusterRunning",
                ),
                (
                    with(
                        json!({"0": up(), "1": broker("ConfigOutOfSync", "GracefulUpscaleSucceeded")}),
                        json!("CruiseControlTopicReady"),
                        "ClusterRunning",
                    ),
                    Degraded,
                    "1 of 2",
                ),
                (
                    with(json!({"0": up(), "2": up()}), json!("CruiseControlTopicReady"), "ClusterRunning"),
                    Degraded,
                    "2 of 3",
                ),
                (
                    with(json!({"0": up()}), json!("CruiseControlTopicNotReady"), "ClusterReconciling"),
                    Progressing,
                    "ClusterReconciling",
                ),
                (
                    with(json!({"0": up()}), json!(null), "ClusterRollingUpgrading"),
                    Progressing,
                    "ClusterRollingUpgrading",
                ),
                (with(json!({"0": up()}), json!("CruiseControlTopicReady"), "ClusterReconciling"), Progressing, ""),
            ],
        );
    }

    #[test]
    fn zookeeper() {
        check(
            "zookeeper.pravega.io/v1beta1",
            "ZookeeperCluster",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"replicas": 3, "readyReplicas": 3}}), Healthy, ""),
                (json!({"status": {"replicas": 3, "readyReplicas": 1}}), Progressing, "1 of 3"),
                (json!({"status": {"replicas": 0, "readyReplicas": 0}}), Progressing, "0 of 0"),
            ],
        );
    }

    #[test]
    fn rabbitmq() {
        for kind in ["Binding", "Exchange", "Permission", "Policy", "Queue", "Shovel", "User", "Vhost"] {
            check(
                "rabbitmq.com/v1beta1",
                kind,
                [
                    (json!({}), Unknown, ""),
                    (said(&[("Ready", "True", "SuccessfulCreateOrUpdate", "")]), Healthy, ""),
                    (said(&[("Ready", "False", "FailedCreateOrUpdate", "no such vhost")]), Degraded, "no such vhost"),
                    (said(&[("Ready", "True", "Else", "")]), Unknown, ""),
                ],
            );
        }
        let both = |available: &str, replicas: &str| {
            said(&[
                ("AllReplicasReady", replicas, "NotAllPodsReady", "1/3 ready"),
                ("ClusterAvailable", available, "NoEndpoints", "no endpoints"),
            ])
        };
        let mut zero = said(&[
            ("AllReplicasReady", "False", "ScaledToZero", "scaled down"),
            ("ClusterAvailable", "False", "", ""),
        ]);
        zero["spec"] = json!({"replicas": 0});
        check(
            "rabbitmq.com/v1beta1",
            "RabbitmqCluster",
            [
                (json!({}), Progressing, "not reported"),
                (both("True", "True"), Healthy, ""),
                (both("Unknown", "True"), Progressing, "no endpoints"),
                (both("True", "Unknown"), Progressing, "1/3"),
                (both("False", "True"), Progressing, "no endpoints"),
                (both("True", "False"), Progressing, "1/3"),
                (zero, Suspended, "scaled down"),
                (
                    said(&[("ReconcileSuccess", "False", "FailedCLICommand", "cannot enable plugin")]),
                    Degraded,
                    "plugin",
                ),
            ],
        );
    }
}

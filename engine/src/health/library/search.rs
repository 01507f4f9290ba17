//! Search: Elastic Cloud on Kubernetes and Solr.
//!
//! Sources: ECK API (status.health, status.phase, availableNodes), Solr operator "SolrCloud" status, Argo CD's bundled checks.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, exists, field, items, number, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Unknown};

pub(super) const BEAT: Kinds = &[("Beat", Judge::Own(beat))];
pub(super) const ELASTICSEARCH: Kinds = &[("Elasticsearch", Judge::Own(elasticsearch))];
pub(super) const LOGSTASH: Kinds = &[(
    "Logstash",
    field("/status/health", &[("green", Healthy), ("yellow", Progressing), ("red", Degraded)])
        .unlisted(Unknown)
        .absent(Unknown)
        .judge(),
)];
pub(super) const SOLR: Kinds = &[("SolrCloud", Judge::Own(solr))];

fn beat(live: &Value) -> Health {
    let nodes = || match (number(live, "/status/availableNodes"), number(live, "/status/expectedNodes")) {
        (Some(available), Some(expected)) => format!("{available} of {expected} instances are available"),
        _ => String::new(),
    };
    match text(live, "/status/health") {
        "green" => Health::new(Healthy, "green"),
        "red" => Health::new(Degraded, "red"),
        "yellow" => Health::new(Progressing, nodes()),
        "" if exists(live, "/status/expectedNodes") => Health::new(Progressing, nodes()),
        _ => Health::new(Unknown, waiting(live).message),
    }
}

/// The health of the cluster counts only once all nodes of all node sets are there.
fn elasticsearch(live: &Value) -> Health {
    let unknown = Health::new(Unknown, waiting(live).message);
    let Some(available) = number(live, "/status/availableNodes") else { return unknown };
    let wanted: i64 = items(live, "/spec/nodeSets").iter().filter_map(|set| number(set, "/count")).sum();
    if available < wanted {
        return Health::new(Progressing, format!("{available} of {wanted} nodes are available"));
    }
    if available > wanted || !exists(live, "/status/health") {
        return unknown;
    }
    match (text(live, "/status/phase"), text(live, "/status/health")) {
        ("Ready", health @ "green") => Health::new(Healthy, health),
        ("Ready", health @ "yellow") => Health::new(Progressing, health),
        ("Ready", health @ "red") => Health::new(Degraded, health),
        (phase @ ("ApplyingChanges" | "MigratingData"), _) => Health::new(Progressing, phase),
        (phase @ "Invalid", _) => Health::new(Degraded, phase),
        _ => unknown,
    }
}

/// Nothing in its status tells of a failure.
fn solr(live: &Value) -> Health {
    if !exists(live, "/status/solrNodes") {
        return waiting(live);
    }
    match items(live, "/status/solrNodes").iter().find(|node| !truth(node, "/ready")) {
        Some(node) => Health::new(Progressing, format!("Node {} is not ready", text(node, "/name"))),
        None => Health::new(Healthy, ""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::check;
    use super::*;

    #[test]
    fn elastic() {
        let status = |available: i64, phase: &str, health: &str| {
            json!({
                "spec": {"nodeSets": [{"name": "a", "count": 2}, {"name": "b", "count": 1}]},
                "status": {"availableNodes": available, "phase": phase, "health": health},
            })
        };
        check(
            "elasticsearch.k8s.elastic.co/v1",
            "Elasticsearch",
            [
                (json!({}), Unknown, "not reported"),
                (status(2, "Ready", "green"), Progressing, "2 of 3"),
                (status(4, "Ready", "green"), Unknown, ""),
                (status(3, "Ready", "green"), Healthy, "green"),
                (status(3, "Ready", "yellow"), Progressing, "yellow"),
                (status(3, "Ready", "red"), Degraded, "red"),
                (status(3, "Ready", "unknown"), Unknown, ""),
                (status(3, "ApplyingChanges", "yellow"), Progressing, "ApplyingChanges"),
                (status(3, "MigratingData", "yellow"), Progressing, "MigratingData"),
                (status(3, "Invalid", "unknown"), Degraded, "Invalid"),
                (json!({"spec": {"nodeSets": []}, "status": {"availableNodes": 0, "phase": "Ready"}}), Unknown, ""),
            ],
        );
        check(
            "beat.k8s.elastic.co/v1beta1",
            "Beat",
            [
                (json!({}), Unknown, ""),
                (json!({"status": {"health": "green"}}), Healthy, "green"),
                (json!({"status": {"health": "red"}}), Degraded, "red"),
                (
                    json!({"status": {"health": "yellow", "availableNodes": 1, "expectedNodes": 3}}),
                    Progressing,
                    "1 of 3",
                ),
                (json!({"status": {"health": "yellow"}}), Progressing, ""),
                (json!({"status": {"expectedNodes": 3}}), Progressing, ""),
                (json!({"status": {"health": "blue"}}), Unknown, ""),
            ],
        );
        check(
            "logstash.k8s.elastic.co/v1alpha1",
            "Logstash",
            [
                (json!({}), Unknown, ""),
                (json!({"status": {"health": "green"}}), Healthy, "green"),
                (json!({"status": {"health": "yellow"}}), Progressing, "yellow"),
                (json!({"status": {"health": "red"}}), Degraded, "red"),
                (json!({"status": {"health": "unknown"}}), Unknown, "unknown"),
            ],
        );
    }

    #[test]
    fn solr() {
        check(
            "solr.apache.org/v1beta1",
            "SolrCloud",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"solrNodes": [{"name": "solr-0", "ready": true}]}}), Healthy, ""),
                (
                    json!({"status": {"solrNodes": [{"name": "solr-0", "ready": true}, {"name": "solr-1", "ready": false}]}}),
                    Progressing,
                    "solr-1",
                ),
            ],
        );
    }
}

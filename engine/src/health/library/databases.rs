//! Databases: PostgreSQL (CloudNativePG, Zalando), MySQL and MariaDB, MongoDB (Percona), ClickHouse, Cassandra, and Atlas'
//! schemas.
//!
//! Sources: CloudNativePG "Cluster phases" and annotations, Zalando postgres-operator API constants, Percona operators'
//! status.state, mariadb-operator API conditions, Altinity operators' status, Rook Cassandra, Atlas operator, Argo CD's
//! bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition, conditions, exists, field, items, number, or, said, text, unless, waiting, when};
use crate::app::HealthCode::{self, Degraded, Healthy, Progressing, Suspended, Unknown};

pub(super) const CLOUD_NATIVE_PG: Kinds = &[("Cluster", Judge::Own(cloud_native_pg))];
pub(super) const ZALANDO: Kinds = &[(
    "postgresql",
    field(
        "/status/PostgresClusterStatus",
        &[("Running", Healthy), ("Creating", Progressing), ("Updating", Progressing)],
    )
    .unlisted(Degraded)
    .judge(),
)];
pub(super) const PERCONA_MONGODB: Kinds = &[("PerconaServerMongoDB", Judge::Own(percona_mongodb))];
pub(super) const PERCONA_XTRADB: Kinds = &[("PerconaXtraDBCluster", Judge::Own(percona_xtradb))];

const MARIADB_OBJECT: Judge = conditions(&[&[when("Ready", "True", Healthy), when("Ready", "", Degraded)]]);

pub(super) const MARIADB: Kinds = &[
    ("Backup", Judge::Own(mariadb_backup)),
    ("Database", MARIADB_OBJECT),
    ("Grant", MARIADB_OBJECT),
    ("MariaDB", Judge::Own(mariadb)),
    (
        "SqlJob",
        conditions(&[&[
            when("", "True", Healthy).because(&["JobComplete"]),
            when("", "True", Degraded).because(&["JobFailed"]),
        ]]),
    ),
    ("User", MARIADB_OBJECT),
];
pub(super) const MARIADB_OLD: Kinds = &[("MariaDB", Judge::Own(mariadb_old))];

const ALTINITY: Judge =
    field("/status/status", &[("Completed", Healthy), ("InProgress", Progressing)]).unlisted(Degraded).judge();

pub(super) const CLICKHOUSE: Kinds = &[("ClickHouseInstallation", ALTINITY)];
pub(super) const CLICKHOUSE_KEEPER: Kinds = &[("ClickHouseKeeperInstallation", ALTINITY)];
pub(super) const CASSANDRA: Kinds = &[("Cluster", Judge::Own(cassandra))];
pub(super) const ATLAS: Kinds = &[
    (
        "AtlasMigration",
        conditions(&[&[
            when("Ready", "True", Healthy).by_reason(),
            unless("Ready", "True", Progressing).because(&["Reconciling"]).by_reason(),
            unless("Ready", "True", Degraded),
        ]]),
    ),
    ("AtlasSchema", Judge::Own(atlas_schema)),
];

/// The phases are sentences. Those that interrupt service are Degraded, those that wait for a person are Suspended.
const CLOUD_NATIVE_PG_PHASES: [(&str, HealthCode); 20] = [
    ("Applying configuration", Degraded),
    ("Cluster cannot execute instance online upgrade due to missing architecture binary", Degraded),
    ("Cluster cannot proceed to reconciliation due to an unknown plugin being required", Suspended),
    ("Cluster has incomplete or invalid image catalog", Suspended),
    ("Cluster in healthy state", Healthy),
    ("Cluster is unrecoverable and needs manual intervention", Suspended),
    ("Cluster upgrade delayed", Degraded),
    ("Creating a new replica", Progressing),
    ("Failing over", Degraded),
    ("Online upgrade in progress", Degraded),
    ("Primary instance is being restarted in-place", Degraded),
    ("Primary instance is being restarted without a switchover", Degraded),
    ("Promoting to primary cluster", Progressing),
    ("Setting up primary", Progressing),
    ("Switchover in progress", Degraded),
    ("Unable to create required cluster objects", Suspended),
    ("Upgrading Postgres major version", Degraded),
    ("Upgrading cluster", Progressing),
    ("Waiting for the instances to become active", Progressing),
    ("Waiting for user action", Degraded),
];

/// The annotation is `reconciliationLoop`; Argo CD's releases up to 3.5 look for `reconciliation`.
fn cloud_native_pg(live: &Value) -> Health {
    let annotation = |name: &str| text(live, &format!("/metadata/annotations/cnpg.io~1{name}")) == "disabled";
    if annotation("reconciliationLoop") || annotation("reconciliation") {
        return Health::new(Suspended, "Reconciliation is disabled");
    }
    if !exists(live, "/status/conditions") {
        return Health::new(Progressing, or(text(live, "/status/phaseReason"), &waiting(live).message));
    }
    if let Some(found) = condition(live, "cnpg.io/hibernation") {
        return Health::new(if found["status"] == "True" { Suspended } else { Degraded }, said(found));
    }
    let phase = text(live, "/status/phase");
    let verdict =
        CLOUD_NATIVE_PG_PHASES.iter().find(|(known, _)| *known == phase).map_or(Unknown, |(_, verdict)| *verdict);
    let words = match verdict {
        Healthy => text(live, "/status/phaseReason"),
        _ => or(text(live, "/status/phaseReason"), phase),
    };
    Health::new(verdict, words)
}

fn percona_nodes(live: &Value) -> String {
    let count = |name: &str| number(live, &format!("/status/{name}")).unwrap_or_default();
    format!("{}/{} nodes are ready", count("ready"), count("size"))
}

fn percona_mongodb(live: &Value) -> Health {
    let verdict = match text(live, "/status/state") {
        "initializing" | "stopping" => Progressing,
        "ready" => Healthy,
        "error" => Degraded,
        "paused" => Suspended,
        _ => return Health::new(Unknown, waiting(live).message),
    };
    Health::new(verdict, percona_nodes(live))
}

/// Unlike the MongoDB operator's, a paused cluster is Unknown and a stopping one Degraded in Argo CD.
fn percona_xtradb(live: &Value) -> Health {
    match text(live, "/status/state") {
        "initializing" => Health::new(Progressing, percona_nodes(live)),
        "ready" => Health::new(Healthy, percona_nodes(live)),
        "stopping" => Health::new(Degraded, format!("Stopping: {}", percona_nodes(live))),
        "error" => {
            let words: Vec<&str> = items(live, "/status/message").iter().filter_map(Value::as_str).collect();
            Health::new(Degraded, words.join(", "))
        }
        "paused" => Health::new(Unknown, "Paused"),
        _ => Health::new(Unknown, waiting(live).message),
    }
}

/// The first condition that is False decides; the words are those of it, or of the last one.
fn mariadb_conditions(live: &Value, failed: fn(&Value) -> bool, words: fn(&Value) -> String) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let listed = items(live, "/status/conditions");
    match listed.iter().find(|found| found["status"] == "False") {
        Some(found) => Health::new(if failed(found) { Degraded } else { Progressing }, words(found)),
        None => Health::new(Healthy, listed.last().map(words).unwrap_or_default()),
    }
}

fn mariadb(live: &Value) -> Health {
    mariadb_conditions(live, |found| found["reason"] == "Failed", said)
}

fn mariadb_old(live: &Value) -> Health {
    mariadb_conditions(live, |_| false, said)
}

fn mariadb_backup(live: &Value) -> Health {
    mariadb_conditions(
        live,
        |found| found["reason"] == "CronJobScheduled" && found["message"] == "Failed",
        |found| format!("{} {}", text(found, "/reason"), text(found, "/message")),
    )
}

fn cassandra(live: &Value) -> Health {
    let Some(racks) = live.pointer("/status/racks").and_then(Value::as_object) else { return waiting(live) };
    let lacking = racks.iter().find(|(_, rack)| {
        exists(rack, "/members") && exists(rack, "/readyMembers") && rack["members"] != rack["readyMembers"]
    });
    match lacking {
        Some((name, rack)) => Health::new(
            Progressing,
            format!("Rack {name}: {} of {} members are ready", rack["readyMembers"], rack["members"]),
        ),
        None => Health::new(Healthy, ""),
    }
}

/// Its message says whether it still works on it, its reason is what is shown.
fn atlas_schema(live: &Value) -> Health {
    let Some(found) = condition(live, "Ready") else { return waiting(live) };
    let verdict = match (text(found, "/status"), text(found, "/message")) {
        ("True", _) => Healthy,
        (_, "Reconciling" | "GettingDevDB") => Progressing,
        _ => Degraded,
    };
    Health::new(verdict, if verdict == Degraded { said(found) } else { text(found, "/reason").to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn postgres() {
        let phase = |phase: &str, why: &str| json!({"status": {"phase": phase, "phaseReason": why, "conditions": []}});
        check(
            "postgresql.cnpg.io/v1",
            "Cluster",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"phaseReason": "Creating primary instance db-1"}}), Progressing, "db-1"),
                (
                    json!({"metadata": {"annotations": {"cnpg.io/reconciliationLoop": "disabled"}}}),
                    Suspended,
                    "disabled",
                ),
                (json!({"metadata": {"annotations": {"cnpg.io/reconciliation": "disabled"}}}), Suspended, "disabled"),
                (
                    said(&[("cnpg.io/hibernation", "True", "Hibernated", "Cluster has been hibernated")]),
                    Suspended,
                    "hibernated",
                ),
                (
                    said(&[("cnpg.io/hibernation", "False", "DeletingPods", "Hibernation is in progress")]),
                    Degraded,
                    "in progress",
                ),
                (phase("Something new", "why"), Unknown, "why"),
            ],
        );
        for (known, verdict) in CLOUD_NATIVE_PG_PHASES {
            check("postgresql.cnpg.io/v1", "Cluster", [(phase(known, "because"), verdict, "because")]);
        }
        let status = |status: &str| json!({"status": {"PostgresClusterStatus": status}});
        check(
            "acid.zalan.do/v1",
            "postgresql",
            [
                (json!({}), Progressing, ""),
                (status("Running"), Healthy, "Running"),
                (status("Creating"), Progressing, "Creating"),
                (status("Updating"), Progressing, "Updating"),
                (status("SyncFailed"), Degraded, "SyncFailed"),
            ],
        );
    }

    #[test]
    fn percona() {
        let state = |state: &str| json!({"status": {"state": state, "ready": 2, "size": 3, "message": ["pxc: 0/3", "no space"]}});
        check(
            "psmdb.percona.com/v1",
            "PerconaServerMongoDB",
            [
                (json!({}), Unknown, ""),
                (state("initializing"), Progressing, "2/3"),
                (state("stopping"), Progressing, "2/3"),
                (state("ready"), Healthy, "2/3"),
                (state("error"), Degraded, "2/3"),
                (state("paused"), Suspended, "2/3"),
                (state("else"), Unknown, ""),
            ],
        );
        check(
            "pxc.percona.com/v1",
            "PerconaXtraDBCluster",
            [
                (json!({}), Unknown, ""),
                (state("initializing"), Progressing, "2/3"),
                (state("stopping"), Degraded, "2/3"),
                (state("ready"), Healthy, "2/3"),
                (state("error"), Degraded, "pxc: 0/3, no space"),
                (state("paused"), Unknown, "Paused"),
            ],
        );
    }

    #[test]
    fn mariadb() {
        check(
            "k8s.mariadb.com/v1alpha1",
            "MariaDB",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "StatefulSetReady", "Running")]), Healthy, "Running"),
                (said(&[("Ready", "False", "StatefulSetNotReady", "Not ready")]), Progressing, "Not ready"),
                (said(&[("Ready", "False", "Failed", "Error creating ConfigMap")]), Degraded, "ConfigMap"),
            ],
        );
        check(
            "mariadb.mmontes.io/v1alpha1",
            "MariaDB",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "StatefulSetReady", "Running")]), Healthy, "Running"),
                (
                    said(&[("Ready", "True", "", "Running"), ("Bootstrapped", "False", "Failed", "Restoring")]),
                    Progressing,
                    "Restoring",
                ),
            ],
        );
        check(
            "k8s.mariadb.com/v1alpha1",
            "Backup",
            [
                (json!({}), Progressing, ""),
                (said(&[("Complete", "True", "JobComplete", "Success")]), Healthy, "JobComplete Success"),
                (said(&[("Complete", "False", "CronJobScheduled", "Failed")]), Degraded, "CronJobScheduled Failed"),
                (said(&[("Complete", "False", "CronJobScheduled", "Scheduled")]), Progressing, "Scheduled"),
            ],
        );
        for kind in ["Database", "Grant", "User"] {
            check(
                "k8s.mariadb.com/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Ready", "True", "Created", "Created")]), Healthy, "Created"),
                    (said(&[("Ready", "False", "Failed", "Error 1045")]), Degraded, "1045"),
                ],
            );
        }
        check(
            "k8s.mariadb.com/v1alpha1",
            "SqlJob",
            [
                (json!({}), Progressing, ""),
                (said(&[("Complete", "True", "JobComplete", "Success")]), Healthy, "Success"),
                (said(&[("Complete", "True", "JobFailed", "syntax error")]), Degraded, "syntax"),
                (said(&[("Complete", "False", "JobRunning", "Running")]), Progressing, ""),
            ],
        );
    }

    #[test]
    fn others() {
        for (api, kind) in [
            ("clickhouse.altinity.com/v1", "ClickHouseInstallation"),
            ("clickhouse-keeper.altinity.com/v1", "ClickHouseKeeperInstallation"),
        ] {
            check(
                api,
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {"status": "Completed"}}), Healthy, "Completed"),
                    (json!({"status": {"status": "InProgress"}}), Progressing, "InProgress"),
                    (json!({"status": {"status": "Aborted"}}), Degraded, "Aborted"),
                ],
            );
        }
        check(
            "cassandra.rook.io/v1alpha1",
            "Cluster",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"racks": {"a": {"members": 3, "readyMembers": 3}, "b": {}}}}), Healthy, ""),
                (json!({"status": {"racks": {"a": {"members": 3, "readyMembers": 1}}}}), Progressing, "Rack a: 1 of 3"),
            ],
        );
        check(
            "db.atlasgo.io/v1alpha1",
            "AtlasMigration",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "Applied", "")]), Healthy, "Applied"),
                (said(&[("Ready", "False", "Reconciling", "")]), Progressing, "Reconciling"),
                (said(&[("Ready", "False", "Migrating", "sql: syntax error")]), Degraded, "syntax error"),
            ],
        );
        check(
            "db.atlasgo.io/v1alpha1",
            "AtlasSchema",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "Applied", "The schema has been applied")]), Healthy, "Applied"),
                (
                    json!({"status": {"conditions": listed(&[("Ready", "False", "Pending", "Reconciling")])}}),
                    Progressing,
                    "Pending",
                ),
                (said(&[("Ready", "False", "GettingDevDB", "GettingDevDB")]), Progressing, "GettingDevDB"),
                (said(&[("Ready", "False", "ApplyingSchema", "sql: denied")]), Degraded, "denied"),
            ],
        );
    }
}

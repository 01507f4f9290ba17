//! Storage: snapshots, Rook Ceph, object buckets, MinIO, NetApp Trident and Astra.
//!
//! Sources: Kubernetes "VolumeSnapshot", Rook CRD documentation, Ceph health codes, MinIO operator states, Trident and
//! Astra Control CRDs, Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Field, Judge, exists, field, items, or, said, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const SNAPSHOT: Kinds =
    &[("VolumeSnapshot", Judge::Own(snapshot)), ("VolumeSnapshotContent", Judge::Own(snapshot))];
pub(super) const CEPH: Kinds =
    &[("CephCluster", Judge::Own(ceph_cluster)), ("CephObjectStore", Judge::Own(ceph_object_store))];
pub(super) const OBJECT_BUCKET: Kinds =
    &[("ObjectBucketClaim", field("/status/phase", &[("Bound", Healthy), ("Failed", Degraded)]).judge())];

/// The states are sentences; one that is not known is taken for a step on the way.
pub(super) const MINIO: Kinds = &[(
    "Tenant",
    field(
        "/status/currentState",
        &[
            ("Initialized", Healthy),
            ("Statefulset not controlled by operator", Degraded),
            ("Another MinIO Tenant already exists in the namespace", Degraded),
            ("Tenant credentials are not set properly", Degraded),
            ("Different versions across MinIO Pools", Degraded),
            ("Pool Decommissioning Not Allowed", Degraded),
        ],
    )
    .judge(),
)];
pub(super) const TRIDENT: Kinds = &[
    ("TridentBackendConfig", Judge::Own(trident_backend)),
    ("TridentOrchestrator", field("/status/status", &[("Installed", Healthy)]).message("/status/message").judge()),
];

const ASTRA_RUN: Field = field("/status/state", &[("Completed", Healthy), ("Running", Progressing)]).unlisted(Degraded);

pub(super) const ASTRA: Kinds = &[
    (
        "AppVault",
        field(
            "/status/state",
            &[("available", Healthy), ("Available", Healthy), ("failed", Degraded), ("Failed", Degraded)],
        )
        .judge(),
    ),
    ("Application", Judge::Own(astra_application)),
    ("Backup", ASTRA_RUN.judge()),
    ("ExecHook", Judge::Own(astra_hook)),
    ("ExecHooksRun", ASTRA_RUN.judge()),
    ("ResourceBackup", ASTRA_RUN.judge()),
    ("ResticVolumeBackup", ASTRA_RUN.judge()),
    ("Schedule", Judge::Own(astra_schedule)),
    ("Snapshot", ASTRA_RUN.judge()),
];

fn snapshot(live: &Value) -> Health {
    if truth(live, "/status/readyToUse") {
        return Health::new(Healthy, "");
    }
    match exists(live, "/status/error") {
        true => Health::new(Degraded, text(live, "/status/error/message")),
        false => waiting(live),
    }
}

/// Ceph's own health first; the state of the cluster can only make it worse.
fn ceph_cluster(live: &Value) -> Health {
    if !exists(live, "/status") {
        return waiting(live);
    }
    let (ceph, state) = (text(live, "/status/ceph/health"), text(live, "/status/state"));
    let verdict = match (ceph, state) {
        ("HEALTH_ERR" | "HEALTH_WARN", _) | ("HEALTH_OK", "Error") => Degraded,
        ("HEALTH_OK", "Created" | "Connected" | "") => Healthy,
        _ => Progressing,
    };
    // A map of serde_json is sorted by key unless the feature that keeps insertion order is on.
    let mut details: Vec<(&String, &str)> = live
        .pointer("/status/ceph/details")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, detail)| (name, text(detail, "/message")))
        .collect();
    details.sort_unstable();
    let words: Vec<&str> = [ceph]
        .into_iter()
        .chain(details.into_iter().map(|(_, words)| words))
        .chain([state, text(live, "/status/message")])
        .filter(|words| !words.is_empty())
        .collect();
    Health::new(verdict, words.join("; "))
}

fn ceph_object_store(live: &Value) -> Health {
    let verdict = match text(live, "/status/phase") {
        "Ready" => Healthy,
        "Failure" => Degraded,
        _ => Progressing,
    };
    let words: Vec<&str> = [text(live, "/status/phase"), text(live, "/status/info/endpoint")]
        .into_iter()
        .filter(|words| !words.is_empty())
        .collect();
    if words.is_empty() { waiting(live) } else { Health::new(verdict, words.join(", ")) }
}

fn trident_backend(live: &Value) -> Health {
    let words = text(live, "/status/message");
    match (text(live, "/status/phase"), text(live, "/status/lastOperationStatus")) {
        ("Bound", "Success") => Health::new(Healthy, words),
        (_, failed @ "Failed") => Health::new(Degraded, or(words, failed)),
        _ => waiting(live),
    }
}

fn astra_application(live: &Value) -> Health {
    let ready = items(live, "/status/conditions")
        .iter()
        .find(|found| found["type"] == "Ready" && matches!(text(found, "/status"), "True" | "False"));
    match ready {
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(live, "/status/protectionState")),
        Some(found) => Health::new(Degraded, said(found)),
        None => waiting(live),
    }
}

fn astra_hook(live: &Value) -> Health {
    match live["spec"]["enabled"].as_bool() {
        Some(true) => Health::new(Healthy, "Enabled"),
        Some(false) => Health::new(Suspended, "Disabled"),
        None => waiting(live),
    }
}

/// A schedule is a wish; what it runs is judged on its own.
fn astra_schedule(live: &Value) -> Health {
    Health::new(Healthy, or(text(live, "/status/lastScheduleTime"), "Not run yet"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn snapshots_and_buckets() {
        for kind in ["VolumeSnapshot", "VolumeSnapshotContent"] {
            check(
                "snapshot.storage.k8s.io/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {"readyToUse": true}}), Healthy, ""),
                    (json!({"status": {"readyToUse": false}}), Progressing, kind),
                    (
                        json!({"status": {"readyToUse": false, "error": {"message": "no such volume"}}}),
                        Degraded,
                        "no such volume",
                    ),
                ],
            );
        }
        let phase = |phase: &str| json!({"status": {"phase": phase}});
        check(
            "objectbucket.io/v1alpha1",
            "ObjectBucketClaim",
            [
                (json!({}), Progressing, ""),
                (phase("Bound"), Healthy, "Bound"),
                (phase("Failed"), Degraded, "Failed"),
                (phase("Pending"), Progressing, "Pending"),
            ],
        );
        let state = |state: &str| json!({"status": {"currentState": state}});
        check(
            "minio.min.io/v2",
            "Tenant",
            [
                (json!({}), Progressing, ""),
                (state("Initialized"), Healthy, "Initialized"),
                (state("Provisioning MinIO Cluster IP Service"), Progressing, "Provisioning"),
                (state("Restarting MinIO"), Progressing, "Restarting"),
                (state("Statefulset not controlled by operator"), Degraded, "Statefulset"),
                (state("Another MinIO Tenant already exists in the namespace"), Degraded, "Another"),
                (state("Tenant credentials are not set properly"), Degraded, "credentials"),
                (state("Different versions across MinIO Pools"), Degraded, "versions"),
                (state("Pool Decommissioning Not Allowed"), Degraded, "Decommissioning"),
            ],
        );
    }

    #[test]
    fn ceph() {
        let cluster = |health: &str, state: &str| {
            json!({"status": {"state": state, "message": "Cluster created", "ceph": {"health": health, "details": {
                "OSD_DOWN": {"severity": "HEALTH_WARN", "message": "1 osds down"},
                "MON_CLOCK_SKEW": {"severity": "HEALTH_WARN", "message": "clock skew"},
            }}}})
        };
        check(
            "ceph.rook.io/v1",
            "CephCluster",
            [
                (json!({}), Progressing, "not reported"),
                (cluster("HEALTH_OK", "Created"), Healthy, "HEALTH_OK"),
                (cluster("HEALTH_OK", "Connected"), Healthy, "Connected; Cluster created"),
                (cluster("HEALTH_OK", "Creating"), Progressing, "Creating"),
                (cluster("HEALTH_OK", "Error"), Degraded, "Error"),
                (cluster("HEALTH_WARN", "Created"), Degraded, "clock skew; 1 osds down"),
                (cluster("HEALTH_ERR", "Created"), Degraded, "HEALTH_ERR"),
                (json!({"status": {"state": "Creating"}}), Progressing, "Creating"),
                (json!({"status": {"ceph": {"health": "HEALTH_OK"}}}), Healthy, "HEALTH_OK"),
            ],
        );
        let store = |phase: &str| json!({"status": {"phase": phase, "info": {"endpoint": "http://rgw.svc:80"}}});
        check(
            "ceph.rook.io/v1",
            "CephObjectStore",
            [
                (json!({}), Progressing, "not reported"),
                (store("Ready"), Healthy, "http://rgw.svc:80"),
                (store("Failure"), Degraded, "Failure"),
                (store("Progressing"), Progressing, "Progressing"),
            ],
        );
    }

    #[test]
    fn netapp() {
        let backend = |phase: &str, last: &str| json!({"status": {"phase": phase, "lastOperationStatus": last, "message": "words"}});
        check(
            "trident.netapp.io/v1",
            "TridentBackendConfig",
            [
                (json!({}), Progressing, ""),
                (backend("Bound", "Success"), Healthy, "words"),
                (backend("", "Failed"), Degraded, "words"),
                (backend("Unbound", "Success"), Progressing, ""),
            ],
        );
        check(
            "trident.netapp.io/v1",
            "TridentOrchestrator",
            [
                (json!({}), Progressing, ""),
                (
                    json!({"status": {"status": "Installed", "message": "Trident installed"}}),
                    Healthy,
                    "Trident installed",
                ),
                (json!({"status": {"status": "Installing"}}), Progressing, "Installing"),
            ],
        );
        let state = |state: &str| json!({"status": {"state": state}});
        for kind in ["Backup", "ExecHooksRun", "ResourceBackup", "ResticVolumeBackup", "Snapshot"] {
            check(
                "astra.netapp.io/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (state("Completed"), Healthy, "Completed"),
                    (state("Running"), Progressing, "Running"),
                    (state("Failed"), Degraded, "Failed"),
                ],
            );
        }
        check(
            "astra.netapp.io/v1",
            "AppVault",
            [
                (json!({}), Progressing, ""),
                (state("available"), Healthy, "available"),
                (state("Available"), Healthy, "Available"),
                (state("failed"), Degraded, "failed"),
                (state("Failed"), Degraded, "Failed"),
                (state("pending"), Progressing, "pending"),
            ],
        );
        let mut protected = said(&[("Ready", "True", "", "")]);
        protected["status"]["protectionState"] = json!("Full");
        check(
            "astra.netapp.io/v1",
            "Application",
            [
                (json!({}), Progressing, ""),
                (protected, Healthy, "Full"),
                (said(&[("Ready", "False", "", "no such namespace")]), Degraded, "no such namespace"),
            ],
        );
        check(
            "astra.netapp.io/v1",
            "ExecHook",
            [
                (json!({}), Progressing, ""),
                (json!({"spec": {"enabled": true}}), Healthy, "Enabled"),
                (json!({"spec": {"enabled": false}}), Suspended, "Disabled"),
            ],
        );
        check(
            "astra.netapp.io/v1",
            "Schedule",
            [
                (json!({}), Healthy, "Not run"),
                (json!({"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}), Healthy, "2026-01-01"),
            ],
        );
    }
}

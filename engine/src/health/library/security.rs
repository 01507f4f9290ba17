//! Secrets and policies: External Secrets (and its forerunner), Sealed Secrets, 1Password, Kyverno, Keycloak.
//!
//! Sources: External Secrets API, Sealed Secrets status, 1Password operator, Kyverno "Policy" status, Keycloak operator
//! "Keycloak CR status", Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, READY, conditions, exists, items, said, text, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing};

pub(super) const EXTERNAL_SECRETS: Kinds = &[
    ("ClusterExternalSecret", Judge::Own(cluster_external_secret)),
    ("ClusterSecretStore", READY),
    ("ExternalSecret", READY),
    ("PushSecret", READY),
    ("SecretStore", READY),
];
pub(super) const KUBERNETES_EXTERNAL_SECRETS: Kinds = &[("ExternalSecret", Judge::Own(old_external_secret))];
pub(super) const BITNAMI: Kinds =
    &[("SealedSecret", conditions(&[&[when("Synced", "False", Degraded), when("Synced", "True", Healthy)]]))];
pub(super) const ONE_PASSWORD: Kinds = &[("OnePasswordItem", READY)];
/// Argo CD looks at the namespaced Policy only, and for the one word of success.
pub(super) const KYVERNO: Kinds = &[("Policy", Judge::Own(kyverno))];
pub(super) const KEYCLOAK: Kinds = &[("Keycloak", Judge::Own(keycloak))];

/// The newest condition is the last one.
fn cluster_external_secret(live: &Value) -> Health {
    let Some(last) = items(live, "/status/conditions").last() else { return waiting(live) };
    match (text(last, "/type"), text(last, "/status")) {
        ("Ready", "True") => Health::new(Healthy, text(last, "/message")),
        ("PartiallyReady" | "NotReady", "True") => Health::new(Degraded, said(last)),
        _ => waiting(live),
    }
}

/// The status is a word, and after an error the error.
fn old_external_secret(live: &Value) -> Health {
    match text(live, "/status/status") {
        "SUCCESS" => Health::new(Healthy, ""),
        failed if failed.starts_with("ERROR") => Health::new(Degraded, failed.replace("ERROR, ", "")),
        _ => waiting(live),
    }
}

fn kyverno(live: &Value) -> Health {
    let good = items(live, "/status/conditions").iter().any(|found| {
        found["type"] == "Ready"
            && found["status"] == "True"
            && found["reason"] == "Succeeded"
            && found["message"] == "Ready"
    });
    if good { Health::new(Healthy, "Ready") } else { waiting(live) }
}

/// The oldest of the conditions that speak decides; those without a time are the newest.
fn keycloak(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let mut listed: Vec<&Value> = items(live, "/status/conditions").iter().collect();
    listed.sort_by_key(|found| {
        let since = text(found, "/lastTransitionTime");
        (since.is_empty(), since)
    });
    listed
        .into_iter()
        .find_map(|found| match (text(found, "/type"), text(found, "/status")) {
            ("Ready", "True") => Some(Health::new(Healthy, text(found, "/message"))),
            ("HasErrors", "True") => Some(Health::new(Degraded, said(found))),
            _ => None,
        })
        .unwrap_or_else(|| Health::new(Progressing, ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn external_secrets() {
        for kind in ["ClusterSecretStore", "ExternalSecret", "PushSecret", "SecretStore"] {
            check(
                "external-secrets.io/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Ready", "True", "SecretSynced", "Secret was synced")]), Healthy, "synced"),
                    (
                        said(&[("Ready", "False", "SecretSyncedError", "could not get secret data from provider")]),
                        Degraded,
                        "provider",
                    ),
                ],
            );
        }
        check(
            "external-secrets.io/v1",
            "ClusterExternalSecret",
            [
                (json!({}), Progressing, ""),
                (said(&[("NotReady", "True", "", "old"), ("Ready", "True", "", "all there")]), Healthy, "all there"),
                (
                    said(&[
                        ("Ready", "True", "", "old"),
                        ("PartiallyReady", "True", "", "one or more namespaces failed"),
                    ]),
                    Degraded,
                    "namespaces",
                ),
                (said(&[("NotReady", "True", "", "none is ready")]), Degraded, "none"),
                (said(&[("Ready", "False", "", "")]), Progressing, ""),
            ],
        );
        check(
            "kubernetes-client.io/v1",
            "ExternalSecret",
            [
                (json!({}), Progressing, ""),
                (json!({"status": {"status": "SUCCESS"}}), Healthy, ""),
                (
                    json!({"status": {"status": "ERROR, Secrets Manager can't find the specified secret."}}),
                    Degraded,
                    "Secrets Manager",
                ),
                (json!({"status": {"status": "POLLING"}}), Progressing, ""),
            ],
        );
    }

    #[test]
    fn others() {
        check(
            "bitnami.com/v1alpha1",
            "SealedSecret",
            [
                (json!({}), Progressing, ""),
                (said(&[("Synced", "True", "", "")]), Healthy, ""),
                (said(&[("Synced", "False", "", "no key could decrypt secret")]), Degraded, "no key"),
            ],
        );
        check(
            "onepassword.com/v1",
            "OnePasswordItem",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "", "")]), Healthy, ""),
                (said(&[("Ready", "False", "", "vault not found")]), Degraded, "vault"),
            ],
        );
        check(
            "kyverno.io/v1",
            "Policy",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "Succeeded", "Ready")]), Healthy, "Ready"),
                (said(&[("Ready", "True", "Failed", "Ready")]), Progressing, ""),
            ],
        );
    }

    #[test]
    fn keycloak() {
        let at = |ready: &str, ready_at: Value, errors: &str, errors_at: Value| {
            json!({"status": {"conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": ready_at},
                {"type": "HasErrors", "status": errors, "message": "Waiting for database", "lastTransitionTime": errors_at},
            ]}})
        };
        check(
            "k8s.keycloak.org/v2alpha1",
            "Keycloak",
            [
                (json!({}), Progressing, "not reported"),
                (at("True", json!("2026-01-01T00:00:00Z"), "False", json!("2026-01-01T00:00:00Z")), Healthy, ""),
                (
                    at("False", json!("2026-01-01T00:00:00Z"), "True", json!("2026-01-01T00:00:01Z")),
                    Degraded,
                    "database",
                ),
                (
                    at("True", json!("2026-01-01T00:00:02Z"), "True", json!("2026-01-01T00:00:01Z")),
                    Degraded,
                    "database",
                ),
                (at("True", json!(null), "True", json!("2026-01-01T00:00:01Z")), Degraded, "database"),
                (at("False", json!("2026-01-01T00:00:00Z"), "False", json!("2026-01-01T00:00:00Z")), Progressing, ""),
            ],
        );
    }
}

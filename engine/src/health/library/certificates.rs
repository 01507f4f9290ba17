//! Certificates: cert-manager (and its group before 0.11) and Google's managed certificates.
//!
//! Sources: cert-manager API reference (conditions Ready and Issuing; ACME states, RFC 8555 §7.1.6), GKE
//! "ManagedCertificate", Argo CD's bundled checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Field, Judge, READY, conditions, field, items, text, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing};

/// A renewal counts before readiness: the old certificate still is Ready while the new one is Issuing.
const CERTIFICATE: Judge = conditions(&[
    &[when("Issuing", "True", Progressing)],
    &[when("Ready", "False", Degraded), when("Ready", "True", Healthy)],
]);

const ACME: Field =
    field("/status/state", &[("valid", Healthy), ("invalid", Degraded), ("expired", Degraded), ("errored", Degraded)])
        .message("/status/reason");

pub(super) const CERT_MANAGER: Kinds = &[("Certificate", CERTIFICATE), ("ClusterIssuer", READY), ("Issuer", READY)];
pub(super) const CERT_MANAGER_OLD: Kinds = &[("Certificate", READY), ("Issuer", READY)];
pub(super) const CERT_MANAGER_ACME: Kinds = &[("Challenge", ACME.judge()), ("Order", ACME.judge())];
pub(super) const GKE: Kinds = &[("ManagedCertificate", Judge::Own(managed))];

/// One domain that cannot be seen from outside fails the whole certificate.
fn managed(live: &Value) -> Health {
    if let Some(found) =
        items(live, "/status/domainStatus").iter().find(|domain| domain["status"] == "FailedNotVisible")
    {
        return Health::new(Degraded, format!("{}: FailedNotVisible", text(found, "/domain")));
    }
    match text(live, "/status/certificateStatus") {
        "" => waiting(live),
        "Active" => Health::new(Healthy, "Active"),
        other => Health::new(Progressing, other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn cert_manager() {
        check(
            "cert-manager.io/v1",
            "Certificate",
            [
                (json!({}), Progressing, "not reported"),
                (
                    said(&[("Ready", "True", "Ready", "Certificate is up to date and has not expired")]),
                    Healthy,
                    "up to date",
                ),
                (
                    said(&[("Ready", "False", "DoesNotExist", "Issuing certificate as Secret does not exist")]),
                    Degraded,
                    "Secret does not exist",
                ),
                (
                    said(&[
                        ("Ready", "False", "DoesNotExist", "none"),
                        ("Issuing", "True", "DoesNotExist", "Issuing certificate as Secret does not exist"),
                    ]),
                    Progressing,
                    "Secret does not exist",
                ),
                (
                    said(&[
                        ("Ready", "True", "Ready", "fine"),
                        ("Issuing", "True", "Renewing", "Renewing certificate"),
                    ]),
                    Progressing,
                    "Renewing",
                ),
                (
                    said(&[
                        ("Issuing", "False", "Failed", "the order failed"),
                        ("Ready", "False", "Expired", "expired"),
                    ]),
                    Degraded,
                    "expired",
                ),
                (said(&[("Ready", "Unknown", "", "")]), Progressing, ""),
            ],
        );
        for kind in ["Issuer", "ClusterIssuer"] {
            check(
                "cert-manager.io/v1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (
                        said(&[("Ready", "True", "ACMEAccountRegistered", "The ACME account was registered")]),
                        Healthy,
                        "registered",
                    ),
                    (
                        said(&[("Ready", "False", "ErrRegisterACMEAccount", "Failed to verify ACME account")]),
                        Degraded,
                        "Failed to verify",
                    ),
                ],
            );
        }
        for kind in ["Certificate", "Issuer"] {
            check(
                "certmanager.k8s.io/v1alpha1",
                kind,
                [
                    (json!({}), Progressing, ""),
                    (said(&[("Ready", "False", "TemporaryCertificate", "in progress")]), Degraded, "in progress"),
                    (said(&[("Ready", "True", "Ready", "up to date")]), Healthy, "up to date"),
                ],
            );
        }
    }

    #[test]
    fn acme() {
        for kind in ["Order", "Challenge"] {
            check(
                "acme.cert-manager.io/v1",
                kind,
                [
                    (json!({}), Progressing, "not reported"),
                    (json!({"status": {"state": "valid"}}), Healthy, "valid"),
                    (json!({"status": {"state": "pending"}}), Progressing, "pending"),
                    (json!({"status": {"state": "invalid", "reason": "no such domain"}}), Degraded, "no such domain"),
                    (json!({"status": {"state": "expired"}}), Degraded, "expired"),
                    (json!({"status": {"state": "errored"}}), Degraded, "errored"),
                ],
            );
        }
    }

    #[test]
    fn google() {
        check(
            "networking.gke.io/v1",
            "ManagedCertificate",
            [
                (json!({}), Progressing, ""),
                (
                    json!({"status": {"certificateStatus": "Active", "domainStatus": [{"domain": "a.example", "status": "Active"}]}}),
                    Healthy,
                    "Active",
                ),
                (
                    json!({"status": {"certificateStatus": "Provisioning", "domainStatus": [{"domain": "a.example", "status": "Provisioning"}]}}),
                    Progressing,
                    "Provisioning",
                ),
                (
                    json!({"status": {"certificateStatus": "Active", "domainStatus": [{"domain": "a.example", "status": "FailedNotVisible"}]}}),
                    Degraded,
                    "a.example",
                ),
            ],
        );
    }
}

//! Flux: Helm, Kustomize, image automation, notification and source controllers.
//!
//! Sources: Flux component references ("Working with …", Suspend and Conditions), Argo CD's bundled checks for the
//! `*.toolkit.fluxcd.io` kinds. The message is the reason of Ready, as there.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, exists, items, text, truth, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const HELM: Kinds = &[("HelmRelease", Judge::Own(|live| RELEASE.of(live)))];
pub(super) const KUSTOMIZE: Kinds = &[("Kustomization", Judge::Own(|live| PLAIN.of(live)))];
pub(super) const IMAGE: Kinds = &[
    ("ImagePolicy", Judge::Own(|live| POLICY.of(live))),
    ("ImageRepository", Judge::Own(|live| SCAN.of(live))),
    ("ImageUpdateAutomation", Judge::Own(|live| PLAIN.of(live))),
];
pub(super) const NOTIFICATION: Kinds = &[("Receiver", Judge::Own(|live| RECEIVER.of(live)))];
pub(super) const SOURCE: Kinds = &[
    ("Bucket", Judge::Own(|live| SOURCED.of(live))),
    ("GitRepository", Judge::Own(|live| SOURCED.of(live))),
    ("HelmChart", Judge::Own(|live| SOURCED.of(live))),
    ("HelmRepository", Judge::Own(helm_repository)),
    ("OCIRepository", Judge::Own(|live| SOURCED.of(live))),
];

const PLAIN: Flux = Flux { under_way: "Unknown", reconciling: None, also: &[] };
const RELEASE: Flux = Flux { also: &["Released", "TestSuccess"], ..PLAIN };
const SOURCED: Flux = Flux { also: &["ArtifactInStorage"], ..PLAIN };
const POLICY: Flux = Flux {
    under_way: "False",
    reconciling: Some(&["NewGeneration", "AccessingRepository", "ApplyingPolicy"]),
    also: &[],
};
const SCAN: Flux = Flux { under_way: "False", reconciling: Some(&["NewGeneration", "Scanning"]), also: &[] };
/// A Receiver is never under way: it has its address or it has none.
const RECEIVER: Flux = Flux { under_way: "", reconciling: None, also: &[] };

/// Under way are those that are Reconciling and whose Ready has the status given; healthy those whose Ready is True, and
/// one of the further conditions if any are given. The rest is Degraded.
struct Flux {
    under_way: &'static str,
    reconciling: Option<&'static [&'static str]>,
    also: &'static [&'static str],
}

impl Flux {
    fn of(&self, live: &Value) -> Health {
        if truth(live, "/spec/suspend") {
            return Health::new(Suspended, format!("{} is suspended", text(live, "/kind")));
        }
        if !exists(live, "/status/conditions") {
            return waiting(live);
        }
        let all = items(live, "/status/conditions");
        let is = |kind: &str, status: &str| all.iter().any(|found| found["type"] == kind && found["status"] == status);
        let mut words = all
            .iter()
            .find(|found| found["type"] == "Ready")
            .map(|found| text(found, "/reason").to_owned())
            .unwrap_or_default();
        if let Some(found) = all.iter().find(|found| found["type"] == "ArtifactOutdated" && found["status"] == "True") {
            words = format!("{words} {}", text(found, "/reason"));
        }
        let reconciling = all.iter().any(|found| {
            found["type"] == "Reconciling"
                && found["status"] == "True"
                && self.reconciling.is_none_or(|reasons| reasons.contains(&text(found, "/reason")))
        });
        // Exactly two of Ready and the further ones, as there: a release with all three True is Degraded in Argo CD too.
        let good = usize::from(is("Ready", "True")) + self.also.iter().filter(|kind| is(kind, "True")).count();
        let needed = if self.also.is_empty() { 1 } else { 2 };
        let verdict = match (reconciling && is("Ready", self.under_way), good == needed) {
            (true, _) => Progressing,
            (false, true) => Healthy,
            (false, false) => Degraded,
        };
        Health::new(verdict, words)
    }
}

/// A registry (`type: oci`) is only an address and never has a status.
fn helm_repository(live: &Value) -> Health {
    match text(live, "/spec/type") == "oci" && !truth(live, "/spec/suspend") {
        true => Health::new(Healthy, "An OCI repository has no status"),
        false => SOURCED.of(live),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    const KINDS: [(&str, &str); 11] = [
        ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
        ("image.toolkit.fluxcd.io/v1", "ImagePolicy"),
        ("image.toolkit.fluxcd.io/v1", "ImageRepository"),
        ("image.toolkit.fluxcd.io/v1", "ImageUpdateAutomation"),
        ("notification.toolkit.fluxcd.io/v1", "Receiver"),
        ("source.toolkit.fluxcd.io/v1", "Bucket"),
        ("source.toolkit.fluxcd.io/v1", "GitRepository"),
        ("source.toolkit.fluxcd.io/v1", "HelmChart"),
        ("source.toolkit.fluxcd.io/v1", "HelmRepository"),
        ("source.toolkit.fluxcd.io/v1", "OCIRepository"),
    ];

    #[test]
    fn all_can_be_suspended_and_begin_without_a_status() {
        for (api, kind) in KINDS {
            check(
                api,
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"spec": {"suspend": true}, "status": {"conditions": []}}), Suspended, kind),
                    (said(&[("Ready", "False", "Broken", "words")]), Degraded, "Broken"),
                ],
            );
        }
    }

    #[test]
    fn plain() {
        for (api, kind) in [KINDS[1], KINDS[4]] {
            check(
                api,
                kind,
                [
                    (
                        said(&[("Ready", "True", "ReconciliationSucceeded", "Applied revision: main@sha1:4c0ab2")]),
                        Healthy,
                        "ReconciliationSucceeded",
                    ),
                    (
                        said(&[("Reconciling", "True", "Progressing", ""), ("Ready", "Unknown", "Progressing", "")]),
                        Progressing,
                        "Progressing",
                    ),
                    (said(&[("Ready", "Unknown", "Progressing", "")]), Degraded, "Progressing"),
                    (
                        said(&[
                            ("Reconciling", "True", "ProgressingWithRetry", ""),
                            ("Ready", "False", "BuildFailed", ""),
                        ]),
                        Degraded,
                        "BuildFailed",
                    ),
                ],
            );
        }
    }

    #[test]
    fn helm_release() {
        check(
            "helm.toolkit.fluxcd.io/v2",
            "HelmRelease",
            [
                (
                    said(&[("Ready", "True", "InstallSucceeded", ""), ("Released", "True", "InstallSucceeded", "")]),
                    Healthy,
                    "InstallSucceeded",
                ),
                (
                    said(&[("Ready", "True", "TestSucceeded", ""), ("TestSuccess", "True", "TestSucceeded", "")]),
                    Healthy,
                    "TestSucceeded",
                ),
                (said(&[("Ready", "True", "InstallSucceeded", "")]), Degraded, ""),
                (
                    said(&[
                        ("Ready", "True", "TestSucceeded", ""),
                        ("Released", "True", "", ""),
                        ("TestSuccess", "True", "", ""),
                    ]),
                    Degraded,
                    "TestSucceeded",
                ),
                (
                    said(&[("Reconciling", "True", "Progressing", ""), ("Ready", "Unknown", "Progressing", "")]),
                    Progressing,
                    "Progressing",
                ),
                (
                    said(&[("Ready", "False", "InstallFailed", ""), ("Released", "False", "InstallFailed", "")]),
                    Degraded,
                    "InstallFailed",
                ),
            ],
        );
    }

    #[test]
    fn images() {
        check(
            "image.toolkit.fluxcd.io/v1",
            "ImagePolicy",
            [
                (said(&[("Ready", "True", "Succeeded", "")]), Healthy, "Succeeded"),
                (
                    said(&[
                        ("Reconciling", "True", "AccessingRepository", ""),
                        ("Ready", "False", "DependencyNotReady", ""),
                    ]),
                    Progressing,
                    "DependencyNotReady",
                ),
                (
                    said(&[("Reconciling", "True", "Else", ""), ("Ready", "False", "DependencyNotReady", "")]),
                    Degraded,
                    "",
                ),
            ],
        );
        check(
            "image.toolkit.fluxcd.io/v1",
            "ImageRepository",
            [
                (said(&[("Ready", "True", "Succeeded", "")]), Healthy, "Succeeded"),
                (
                    said(&[("Reconciling", "True", "Scanning", ""), ("Ready", "False", "ReadOperationFailed", "")]),
                    Progressing,
                    "",
                ),
                (
                    said(&[
                        ("Reconciling", "True", "ApplyingPolicy", ""),
                        ("Ready", "False", "ReadOperationFailed", ""),
                    ]),
                    Degraded,
                    "",
                ),
            ],
        );
    }

    #[test]
    fn sources() {
        for (api, kind) in KINDS.into_iter().skip(6) {
            check(
                api,
                kind,
                [
                    (
                        said(&[("Ready", "True", "Succeeded", ""), ("ArtifactInStorage", "True", "Succeeded", "")]),
                        Healthy,
                        "Succeeded",
                    ),
                    (said(&[("Ready", "True", "Succeeded", "")]), Degraded, "Succeeded"),
                    (
                        said(&[
                            ("Reconciling", "True", "Progressing", ""),
                            ("Ready", "Unknown", "Progressing", ""),
                            ("ArtifactOutdated", "True", "NewRevision", ""),
                        ]),
                        Progressing,
                        "Progressing NewRevision",
                    ),
                    (
                        said(&[
                            ("Ready", "False", "GitOperationFailed", ""),
                            ("ArtifactInStorage", "True", "Succeeded", ""),
                        ]),
                        Degraded,
                        "GitOperationFailed",
                    ),
                ],
            );
        }
        check("source.toolkit.fluxcd.io/v1", "HelmRepository", [(json!({"spec": {"type": "oci"}}), Healthy, "OCI")]);
    }

    #[test]
    fn receiver() {
        check(
            "notification.toolkit.fluxcd.io/v1",
            "Receiver",
            [
                (said(&[("Ready", "True", "Succeeded", "Receiver initialized")]), Healthy, "Succeeded"),
                (
                    said(&[("Reconciling", "True", "Progressing", ""), ("Ready", "Unknown", "Progressing", "")]),
                    Degraded,
                    "Progressing",
                ),
            ],
        );
    }
}

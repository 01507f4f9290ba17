//! Crossplane: managed and composite resources of any group under `crossplane.io` and `upbound.io`, packages, and the
//! classic AWS provider's kinds that Argo CD judges one by one.
//!
//! Sources: Crossplane docs, guide "Configuring Crossplane with Argo CD" and "Managed resources" (conditions Ready,
//! Synced, LastAsyncOperation); Argo CD's bundled checks for `*.crossplane.io`, `*.upbound.io` and these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition, exists, items, said, text, waiting};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const ANY: Judge = Judge::Own(any);
pub(super) const UPBOUND: Judge = Judge::Own(upbound);
pub(super) const PACKAGES: Kinds = &[("Provider", Judge::Own(provider))];
pub(super) const STACKS: Kinds = &[("ClusterStackInstall", Judge::Own(stack))];
pub(super) const CLOUDFRONT: Kinds = &[("Distribution", AWS)];
pub(super) const IAM: Kinds = &[("Policy", AWS), ("Role", AWS), ("RolePolicyAttachment", AWS)];
pub(super) const RDS: Kinds = &[("DBCluster", AWS), ("DBInstance", AWS)];
pub(super) const ROUTE53: Kinds = &[("ResourceRecordSet", AWS)];
pub(super) const S3: Kinds = &[("Bucket", AWS)];

const AWS: Judge = Judge::Own(aws);

/// Kinds that never get conditions: there is nothing to wait for.
const SILENT: [&str; 11] = [
    "ClusterProviderConfig",
    "ClusterProviderConfigUsage",
    "Composition",
    "CompositionRevision",
    "ControllerConfig",
    "DeploymentRuntimeConfig",
    "EnvironmentConfig",
    "ImageConfig",
    "ProviderConfig",
    "ProviderConfigUsage",
    "StoreConfig",
];

fn any(live: &Value) -> Health {
    resource(live, &["Ready", "Healthy", "Offered", "Established", "ValidPipeline", "RevisionHealthy"])
}

fn upbound(live: &Value) -> Health {
    resource(live, &["Ready"])
}

/// A failed Synced or LastAsyncOperation outweighs the rest. (Releases of Argo CD up to 3.5 call every object without a
/// status Healthy, by a slip that later ones mend; a managed resource that is not there yet must hold its wave.)
fn resource(live: &Value, good: &[&str]) -> Health {
    let listed = items(live, "/status/conditions");
    if listed.is_empty() {
        return match (SILENT.contains(&text(live, "/kind")), exists(live, "/status/users")) {
            (true, true) => Health::new(Healthy, "In use"),
            (true, false) => Health::new(Healthy, ""),
            (false, _) => waiting(live),
        };
    }
    let failed = listed
        .iter()
        .find(|found| matches!(text(found, "/type"), "LastAsyncOperation" | "Synced") && found["status"] == "False");
    if let Some(found) = failed {
        return Health::new(Degraded, said(found));
    }
    match listed.iter().find(|found| good.contains(&text(found, "/type")) && found["status"] == "True") {
        Some(found) => Health::new(Healthy, text(found, "/message")),
        None => Health::new(Progressing, condition(live, "Ready").map_or_else(|| waiting(live).message, said)),
    }
}

/// A package is healthy when it is both Installed and Healthy.
fn provider(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let (installed, healthy) = (condition(live, "Installed"), condition(live, "Healthy"));
    let good = [installed, healthy].iter().all(|found| found.is_some_and(|found| found["status"] == "True"));
    let words: Vec<&str> = [installed, healthy].into_iter().flatten().map(|found| text(found, "/reason")).collect();
    Health::new(if good { Healthy } else { Degraded }, words.join(" "))
}

fn stack(live: &Value) -> Health {
    match items(live, "/status/conditionedStatus/conditions").iter().find(|found| found["type"] == "Ready") {
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(found, "/reason")),
        Some(found) => Health::new(Progressing, said(found)),
        None => waiting(live),
    }
}

/// Unlike other managed resources, these know a pause, and one that is Ready but not Synced is Degraded.
fn aws(live: &Value) -> Health {
    if !exists(live, "/status/conditions") {
        return waiting(live);
    }
    let (ready, synced) = (condition(live, "Ready"), condition(live, "Synced"));
    let is = |found: Option<&Value>| found.is_some_and(|found| found["status"] == "True");
    let paused = synced.is_some_and(|found| found["reason"] == "ReconcilePaused");
    let reason = |found: Option<&Value>| found.map(|found| text(found, "/reason")).unwrap_or_default().to_owned();
    match (is(ready), is(synced), paused) {
        (true, true, _) => Health::new(Healthy, reason(ready)),
        (_, false, true) => Health::new(Suspended, reason(synced)),
        (false, true, false) => Health::new(Progressing, reason(ready)),
        _ => Health::new(Degraded, synced.map(said).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, said};
    use super::*;

    #[test]
    fn managed_and_composite() {
        for (api, kind) in
            [("rds.aws.upbound.io/v1beta1", "Instance"), ("database.example.crossplane.io/v1", "XPostgres")]
        {
            check(
                api,
                kind,
                [
                    (json!({}), Progressing, kind),
                    (json!({"status": {}}), Progressing, kind),
                    (
                        said(&[("Synced", "True", "ReconcileSuccess", ""), ("Ready", "True", "Available", "")]),
                        Healthy,
                        "",
                    ),
                    (
                        said(&[
                            ("Ready", "True", "Available", ""),
                            ("Synced", "False", "ReconcileError", "access denied"),
                        ]),
                        Degraded,
                        "access denied",
                    ),
                    (
                        said(&[
                            ("LastAsyncOperation", "False", "AsyncUpdateFailure", "refuse to update"),
                            ("Synced", "True", "", ""),
                        ]),
                        Degraded,
                        "refuse",
                    ),
                    (
                        said(&[("Synced", "True", "ReconcileSuccess", ""), ("Ready", "False", "Creating", "")]),
                        Progressing,
                        "Creating",
                    ),
                ],
            );
        }
    }

    #[test]
    fn definitions_and_silent_kinds() {
        check(
            "apiextensions.crossplane.io/v1",
            "CompositeResourceDefinition",
            [
                (json!({}), Progressing, ""),
                (said(&[("Established", "True", "WatchingCompositeResource", "")]), Healthy, ""),
            ],
        );
        check("apiextensions.crossplane.io/v1", "XThing", [(said(&[("Offered", "True", "", "")]), Healthy, "")]);
        check(
            "pkg.crossplane.io/v1",
            "ConfigurationRevision",
            [
                (said(&[("RevisionHealthy", "True", "", "")]), Healthy, ""),
                (said(&[("Healthy", "True", "", "")]), Healthy, ""),
            ],
        );
        check(
            "apiextensions.crossplane.io/v1",
            "CompositionRevision",
            [(said(&[("ValidPipeline", "True", "", "")]), Healthy, "")],
        );
        for kind in SILENT {
            check(
                "aws.crossplane.io/v1",
                kind,
                [(json!({}), Healthy, ""), (json!({"status": {"conditions": []}}), Healthy, "")],
            );
        }
        check("aws.upbound.io/v1beta1", "ProviderConfig", [(json!({"status": {"users": 3}}), Healthy, "In use")]);
        check("aws.upbound.io/v1beta1", "Thing", [(said(&[("Healthy", "True", "", "")]), Progressing, "")]);
    }

    #[test]
    fn packages_and_stacks() {
        check(
            "pkg.crossplane.io/v1",
            "Provider",
            [
                (json!({}), Progressing, ""),
                (
                    said(&[
                        ("Installed", "True", "ActivePackageRevision", ""),
                        ("Healthy", "True", "HealthyPackageRevision", ""),
                    ]),
                    Healthy,
                    "ActivePackageRevision HealthyPackageRevision",
                ),
                (
                    said(&[
                        ("Installed", "True", "ActivePackageRevision", ""),
                        ("Healthy", "False", "UnhealthyPackageRevision", ""),
                    ]),
                    Degraded,
                    "UnhealthyPackageRevision",
                ),
                (said(&[("Installed", "True", "ActivePackageRevision", "")]), Degraded, "ActivePackageRevision"),
            ],
        );
        let stack = |status: &str| json!({"status": {"conditionedStatus": {"conditions": [{"type": "Ready", "status": status, "reason": "Why"}]}}});
        check(
            "stacks.crossplane.io/v1alpha1",
            "ClusterStackInstall",
            [(json!({}), Progressing, ""), (stack("False"), Progressing, "Why"), (stack("True"), Healthy, "Why")],
        );
    }

    #[test]
    fn classic_aws() {
        for (api, kind) in [
            ("cloudfront.aws.crossplane.io/v1alpha1", "Distribution"),
            ("iam.aws.crossplane.io/v1beta1", "Policy"),
            ("iam.aws.crossplane.io/v1beta1", "Role"),
            ("iam.aws.crossplane.io/v1beta1", "RolePolicyAttachment"),
            ("rds.aws.crossplane.io/v1alpha1", "DBCluster"),
            ("rds.aws.crossplane.io/v1alpha1", "DBInstance"),
            ("route53.aws.crossplane.io/v1alpha1", "ResourceRecordSet"),
            ("s3.aws.crossplane.io/v1beta1", "Bucket"),
        ] {
            check(
                api,
                kind,
                [
                    (json!({}), Progressing, kind),
                    (
                        said(&[("Ready", "True", "Available", ""), ("Synced", "True", "ReconcileSuccess", "")]),
                        Healthy,
                        "Available",
                    ),
                    (
                        said(&[("Ready", "True", "Available", ""), ("Synced", "False", "ReconcilePaused", "")]),
                        Suspended,
                        "ReconcilePaused",
                    ),
                    (
                        said(&[("Ready", "False", "Creating", ""), ("Synced", "True", "ReconcileSuccess", "")]),
                        Progressing,
                        "Creating",
                    ),
                    (
                        said(&[
                            ("Ready", "True", "Available", ""),
                            ("Synced", "False", "ReconcileError", "cannot update"),
                        ]),
                        Degraded,
                        "cannot update",
                    ),
                    (said(&[("Ready", "False", "Creating", "")]), Degraded, ""),
                ],
            );
        }
    }
}

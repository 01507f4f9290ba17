//! Red Hat 3scale: the API manager and its capabilities.
//!
//! Sources: 3scale-operator CRD references (conditions Ready, Synced, Invalid, Orphan, Failed, Waiting), Argo CD's bundled
//! checks for these kinds.
use serde_json::Value;

use super::super::Health;
use super::Kinds;
use super::judge::{Judge, condition, condition_is, conditions, exists, items, number, said, text, waiting, when};
use crate::app::HealthCode::{Degraded, Healthy, Progressing, Suspended};

pub(super) const APPS: Kinds = &[("APIManager", Judge::Own(api_manager))];
pub(super) const CAPABILITIES: Kinds = &[
    (
        "ActiveDoc",
        conditions(&[&[
            when("Ready", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Orphan", "True", Degraded),
            when("Failed", "True", Degraded),
        ]]),
    ),
    ("Application", Judge::Own(application)),
    ("ApplicationAuth", conditions(&[&[when("Ready", "True", Healthy), when("Failed", "True", Degraded)]])),
    (
        "Backend",
        conditions(&[&[
            when("Synced", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Failed", "True", Degraded),
        ]]),
    ),
    (
        "CustomPolicyDefinition",
        conditions(&[&[
            when("Ready", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Failed", "True", Degraded),
        ]]),
    ),
    (
        "DeveloperAccount",
        conditions(&[&[
            when("Ready", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Failed", "True", Degraded),
            when("Waiting", "True", Suspended),
        ]]),
    ),
    ("DeveloperUser", Judge::Own(developer_user)),
    (
        "OpenAPI",
        conditions(&[&[
            when("Ready", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Failed", "True", Degraded),
        ]]),
    ),
    (
        "Product",
        conditions(&[&[
            when("Synced", "True", Healthy),
            when("Invalid", "True", Degraded),
            when("Orphan", "True", Degraded),
            when("Failed", "True", Degraded),
        ]]),
    ),
    (
        "ProxyConfigPromote",
        conditions(&[&[
            when("Ready", "True", Healthy),
            when("In-progress", "True", Progressing),
            when("Failed", "True", Degraded),
        ]]),
    ),
    ("Tenant", Judge::Own(tenant)),
];

/// Deployments that are all ready say so at once; else Available decides.
fn api_manager(live: &Value) -> Health {
    let has = |name: &str| exists(live, &format!("/status/deployments/{name}"));
    if has("ready") && !has("starting") && !has("stopped") {
        return Health::new(Healthy, "");
    }
    let available = items(live, "/status/conditions").iter().find(|found| {
        found["type"] == "Available" && (found["status"] == "True" || !text(found, "/reason").is_empty())
    });
    match available {
        Some(found) if found["status"] == "True" => Health::new(Healthy, ""),
        Some(found) => Health::new(Degraded, said(found)),
        None => waiting(live),
    }
}

fn positive(live: &Value, pointer: &str) -> bool {
    number(live, pointer).is_some_and(|id| id > 0)
}

/// Not Ready is a failure only for one that has never been made.
fn application(live: &Value) -> Health {
    if text(live, "/status/state") == "suspended" {
        return Health::new(Suspended, "suspended");
    }
    match condition(live, "Ready") {
        Some(found) if found["status"] == "True" => Health::new(Healthy, text(found, "/message")),
        Some(found) if !positive(live, "/status/adminId") => Health::new(Degraded, said(found)),
        _ => waiting(live),
    }
}

fn developer_user(live: &Value) -> Health {
    if text(live, "/status/developerUserState") == "suspended" {
        return Health::new(Suspended, "suspended");
    }
    let first = items(live, "/status/conditions").iter().find(|found| {
        found["status"] == "True" && matches!(text(found, "/type"), "Ready" | "Invalid" | "Orphan" | "Failed")
    });
    match first {
        Some(found) if found["type"] == "Ready" => Health::new(Healthy, text(found, "/message")),
        Some(found) => Health::new(Degraded, said(found)),
        None => waiting(live),
    }
}

/// Ready counts only with both its numbers.
fn tenant(live: &Value) -> Health {
    if let Some(found) = condition_is(live, "Ready", "True")
        && positive(live, "/status/tenantId")
        && positive(live, "/status/adminId")
    {
        return Health::new(Healthy, text(found, "/message"));
    }
    match items(live, "/status/conditions").iter().find(|found| found["type"] == "Ready" && found["status"] != "True") {
        Some(found) => Health::new(Degraded, said(found)),
        None => waiting(live),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, listed, said};
    use super::*;

    #[test]
    fn api_manager() {
        check(
            "apps.3scale.net/v1alpha1",
            "APIManager",
            [
                (json!({}), Progressing, "not reported"),
                (json!({"status": {"deployments": {"ready": ["apicast"]}}}), Healthy, ""),
                (
                    json!({"status": {"deployments": {"ready": ["apicast"], "starting": ["system-app"]}}}),
                    Progressing,
                    "",
                ),
                (
                    json!({"status": {"deployments": {"stopped": ["apicast"]}, "conditions": listed(&[("Available", "True", "", "")])}}),
                    Healthy,
                    "",
                ),
                (said(&[("Available", "False", "DeploymentsNotReady", "")]), Degraded, "DeploymentsNotReady"),
                (said(&[("Available", "False", "", "")]), Progressing, ""),
            ],
        );
    }

    #[test]
    fn capabilities() {
        let kinds: [(&str, &str, &[&str]); 7] = [
            ("ActiveDoc", "Ready", &["Invalid", "Orphan", "Failed"]),
            ("ApplicationAuth", "Ready", &["Failed"]),
            ("Backend", "Synced", &["Invalid", "Failed"]),
            ("CustomPolicyDefinition", "Ready", &["Invalid", "Failed"]),
            ("DeveloperAccount", "Ready", &["Invalid", "Failed"]),
            ("OpenAPI", "Ready", &["Invalid", "Failed"]),
            ("Product", "Synced", &["Invalid", "Orphan", "Failed"]),
        ];
        for (kind, good, bad) in kinds {
            check(
                "capabilities.3scale.net/v1beta1",
                kind,
                [
                    (json!({}), Progressing, kind),
                    (said(&[("Failed", "False", "", ""), (good, "True", "", "")]), Healthy, ""),
                    (said(&[(good, "False", "", "")]), Progressing, kind),
                ],
            );
            for condition in bad {
                check(
                    "capabilities.3scale.net/v1beta1",
                    kind,
                    [(said(&[(condition, "True", "", "words")]), Degraded, "words")],
                );
            }
        }
        check(
            "capabilities.3scale.net/v1beta1",
            "DeveloperAccount",
            [(said(&[("Waiting", "True", "", "approval")]), Suspended, "approval")],
        );
        check(
            "capabilities.3scale.net/v1beta1",
            "ProxyConfigPromote",
            [
                (json!({}), Progressing, ""),
                (said(&[("Ready", "True", "", "")]), Healthy, ""),
                (said(&[("In-progress", "True", "", "promotes")]), Progressing, "promotes"),
                (said(&[("Failed", "True", "", "no such product")]), Degraded, "no such product"),
            ],
        );
    }

    #[test]
    fn numbered_ones() {
        let with = |extra: Value, conditions: &[(&str, &str, &str, &str)]| {
            let mut live = json!({"status": extra});
            live["status"]["conditions"] = listed(conditions);
            live
        };
        check(
            "capabilities.3scale.net/v1beta1",
            "Application",
            [
                (json!({}), Progressing, ""),
                (with(json!({"state": "suspended"}), &[]), Suspended, ""),
                (with(json!({}), &[("Ready", "True", "", "")]), Healthy, ""),
                (with(json!({}), &[("Ready", "False", "", "no such plan")]), Degraded, "no such plan"),
                (with(json!({"adminId": 3}), &[("Ready", "False", "", "no such plan")]), Progressing, ""),
            ],
        );
        check(
            "capabilities.3scale.net/v1beta1",
            "DeveloperUser",
            [
                (json!({}), Progressing, ""),
                (with(json!({"developerUserState": "suspended"}), &[]), Suspended, ""),
                (with(json!({}), &[("Ready", "True", "", "")]), Healthy, ""),
                (with(json!({}), &[("Invalid", "True", "", "bad mail")]), Degraded, "bad mail"),
                (with(json!({}), &[("Orphan", "True", "", "no account")]), Degraded, "no account"),
                (with(json!({}), &[("Failed", "True", "", "denied")]), Degraded, "denied"),
            ],
        );
        check(
            "capabilities.3scale.net/v1alpha1",
            "Tenant",
            [
                (json!({}), Progressing, ""),
                (with(json!({"tenantId": 1, "adminId": 2}), &[("Ready", "True", "", "")]), Healthy, ""),
                (with(json!({"tenantId": 1}), &[("Ready", "True", "", "")]), Progressing, ""),
                (with(json!({}), &[("Ready", "False", "", "denied")]), Degraded, "denied"),
            ],
        );
    }
}

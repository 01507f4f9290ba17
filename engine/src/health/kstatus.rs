//! The rule for custom resources that nobody knows: kstatus (sigs.k8s.io/cli-utils, "kstatus", the standard conditions
//! Reconciling and Stalled, and observedGeneration). It speaks only when the object speaks: an object that says nothing
//! has no health, as in Argo CD, so it never counts and never blocks a wave. Must not know any kind.
use serde_json::Value;

use super::{Health, condition};
use crate::app::HealthCode::{Degraded, Healthy, Progressing};

/// The health of an object of an unknown custom kind; `None` when it says nothing and for the groups of Kubernetes
/// itself (those without a dot, and `*.k8s.io`), whose conditions have meanings of their own.
pub(super) fn judge(live: &Value) -> Option<Health> {
    let group = live["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    if !group.contains('.') || group.ends_with(".k8s.io") {
        return None;
    }
    if let (Some(wanted), Some(seen)) =
        (live["metadata"]["generation"].as_i64(), live["status"]["observedGeneration"].as_i64())
        && wanted > seen
    {
        let words = format!("The controller has seen generation {seen} of {wanted}");
        return Some(Health::new(Progressing, words));
    }
    let is = |kind: &str, status: &str| condition(live, kind).filter(|found| found["status"] == status);
    let words = |found: &Value| {
        ["message", "reason"]
            .into_iter()
            .find_map(|key| found[key].as_str().filter(|words| !words.is_empty()))
            .unwrap_or_default()
            .to_owned()
    };
    if let Some(found) = is("Stalled", "True") {
        return Some(Health::new(Degraded, words(found)));
    }
    if let Some(found) = is("Reconciling", "True").or_else(|| is("Ready", "False")).or_else(|| is("Ready", "Unknown")) {
        return Some(Health::new(Progressing, words(found)));
    }
    is("Ready", "True").map(|found| Health::new(Healthy, words(found)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::app::HealthCode;

    #[test]
    fn an_unknown_kind_is_judged_only_by_what_it_says() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status, "reason": "Why", "message": "said so"}]);
        type Want = Option<(HealthCode, &'static str)>;
        let cases: [(&str, Value, Want); 13] = [
            ("example.com/v1", json!({"observedGeneration": 1}), Some((Progressing, "generation 1 of 2"))),
            (
                "example.com/v1",
                json!({"observedGeneration": 1, "conditions": ready("True")}),
                Some((Progressing, "generation 1 of 2")),
            ),
            (
                "example.com/v1",
                json!({"observedGeneration": 2, "conditions": ready("True")}),
                Some((Healthy, "said so")),
            ),
            ("example.com/v1", json!({"conditions": ready("True")}), Some((Healthy, "said so"))),
            ("example.com/v1", json!({"conditions": ready("False")}), Some((Progressing, "said so"))),
            ("example.com/v1", json!({"conditions": ready("Unknown")}), Some((Progressing, "said so"))),
            (
                "example.com/v1",
                json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Reconciling", "status": "True", "reason": "Rolling"}]}),
                Some((Progressing, "Rolling")),
            ),
            (
                "example.com/v1",
                json!({"conditions": [{"type": "Reconciling", "status": "True"}, {"type": "Stalled", "status": "True", "message": "no quota"}]}),
                Some((Degraded, "no quota")),
            ),
            ("example.com/v1", json!({"conditions": [{"type": "Synced", "status": "False"}]}), None),
            ("example.com/v1", json!({"observedGeneration": 2}), None),
            ("example.com/v1", json!(null), None),
            ("widgets/v1", json!({"conditions": ready("True")}), None),
            ("resource.k8s.io/v1", json!({"conditions": ready("True")}), None),
        ];
        for (version, status, want) in cases {
            let live =
                json!({"apiVersion": version, "kind": "Widget", "metadata": {"generation": 2}, "status": status});
            let got = judge(&live);
            match want {
                None => assert_eq!(got, None, "{live}"),
                Some((code, words)) => {
                    let got = got.unwrap();
                    assert_eq!(got.status, code, "{live}");
                    assert!(got.message.contains(words), "{live}: {}", got.message);
                }
            }
        }
    }
}

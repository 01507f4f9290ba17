//! Which changes of a live object a comparison can see: `resource.customizations.ignoreResourceUpdates`
//! (Argo CD, operator manual, "Reconcile Optimization"). Pure.
use std::collections::BTreeMap;
use std::hash::Hasher as _;

use serde_json::Value;

use crate::ignore::{Ignored, Part, Rules};
use crate::parse::parse_value;
use crate::resource::Manifest;

/// `"true"` on an object that no Application tracks: its changes, too, count only by what is left of it.
pub const IGNORE_UPDATES: &str = "argocd.argoproj.io/ignore-resource-updates";

/// What the argocd-cm that Argo CD ships leaves out, besides the status: (`group_Kind`, rule). It holds here while
/// argocd-cm has no rule of its own.
const SHIPPED: [(&str, &str); 7] = [
    (
        "argoproj.io_Application",
        r#"{"jsonPointers": ["/metadata/annotations/notified.notifications.argoproj.io", "/metadata/annotations/argocd.argoproj.io~1refresh", "/metadata/annotations/argocd.argoproj.io~1hydrate", "/operation"]}"#,
    ),
    ("argoproj.io_Rollout", r#"{"jsonPointers": ["/metadata/annotations/notified.notifications.argoproj.io"]}"#),
    (
        "autoscaling_HorizontalPodAutoscaler",
        r#"{"jsonPointers": ["/metadata/annotations/autoscaling.alpha.kubernetes.io~1behavior", "/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions", "/metadata/annotations/autoscaling.alpha.kubernetes.io~1metrics", "/metadata/annotations/autoscaling.alpha.kubernetes.io~1current-metrics"]}"#,
    ),
    (
        "ConfigMap",
        r#"{"jsonPointers": ["/metadata/annotations/cluster-autoscaler.kubernetes.io~1last-updated", "/metadata/annotations/control-plane.alpha.kubernetes.io~1leader"]}"#,
    ),
    (
        "apps_ReplicaSet",
        r#"{"jsonPointers": ["/metadata/annotations/deployment.kubernetes.io~1desired-replicas", "/metadata/annotations/deployment.kubernetes.io~1max-replicas", "/metadata/annotations/rollout.argoproj.io~1desired-replicas"]}"#,
    ),
    ("discovery.k8s.io_EndpointSlice", r#"{"jsonPointers": ["/metadata", "/endpoints", "/ports"]}"#),
    ("Endpoints", r#"{"jsonPointers": ["/metadata", "/subsets"]}"#),
];

/// `ignoreResourceStatusField`: of which kinds a comparison does not see the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Status {
    #[default]
    All,
    OfDefinitions,
    None,
}

/// The filter, by the settings.
#[derive(Debug, Clone, Default)]
pub struct Updates {
    off: bool,
    status: Status,
    rules: Rules,
}

impl Updates {
    /// From the data of `argocd-cm`. Errors name the field.
    pub fn compile(settings: &BTreeMap<String, String>) -> Result<Self, String> {
        const OPTIONS: &str = "resource.compareoptions";
        let options = settings.get(OPTIONS).map_or(Ok(Value::Null), |text| parse_value(text));
        let options = options.map_err(|error| format!("argocd-cm: {OPTIONS}: {error}"))?;
        let status = match options["ignoreResourceStatusField"].as_str().unwrap_or_default() {
            "crd" => Status::OfDefinitions,
            "none" | "off" => Status::None,
            _ => Status::All,
        };
        let mut rules = Rules::default();
        if !rules.read(settings, Part::ResourceUpdates)? {
            for (name, rule) in SHIPPED {
                let (group, kind) = name.rsplit_once('_').unwrap_or(("", name));
                rules.push(group, kind, rule, "the rules that Argo CD ships")?;
            }
        }
        if options["ignoreDifferencesOnResourceUpdates"] != false {
            rules.read(settings, Part::Differences)?;
        }
        let off = settings.get("resource.ignoreResourceUpdatesEnabled").is_some_and(|text| text.trim() == "false");
        Ok(Self { off, status, rules })
    }

    /// What is left out of an object; `None` when every change of it counts: the filter is off, or nobody tracks it and
    /// it does not ask for the filter itself.
    pub fn of(&self, live: &Value, tracked: bool) -> Option<Ignored> {
        let asks = || live["metadata"]["annotations"][IGNORE_UPDATES] == "true";
        if self.off || !(tracked || asks()) {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api_version = text(&live["apiVersion"]);
        let key = crate::resource::ResourceKey {
            group: api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned(),
            kind: text(&live["kind"]),
            namespace: text(&live["metadata"]["namespace"]),
            name: text(&live["metadata"]["name"]),
        };
        let mut ignored = self.rules.of(&key);
        ignored.json_pointers.extend(VOLATILE.map(str::to_owned));
        let seen = match self.status {
            Status::All => false,
            Status::OfDefinitions => key.kind != "CustomResourceDefinition",
            Status::None => true,
        };
        if !seen {
            ignored.json_pointers.push("/status".to_owned());
        }
        Some(ignored)
    }
}

/// Left out always.
const VOLATILE: [&str; 3] = ["/metadata/resourceVersion", "/metadata/generation", "/metadata/managedFields"];

/// A number that changes with what is left of the object. An error is a rule that could not be followed.
pub fn print_of(mut live: Value, ignored: &Ignored) -> Result<u64, String> {
    let whole = if ignored.managed_fields_managers.is_empty() { Value::Null } else { live.clone() };
    ignored.strip(&mut live, &whole)?;
    let mut hasher = Print(std::hash::DefaultHasher::new());
    serde_json::to_writer(&mut hasher, &Manifest(live)).map_err(|error| error.to_string())?;
    Ok(hasher.0.finish())
}

struct Print(std::hash::DefaultHasher);

impl std::io::Write for Print {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn updates(pairs: &[(&str, &str)]) -> Updates {
        let settings = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Updates::compile(&settings).unwrap()
    }

    /// Whether a change is seen.
    fn seen(updates: &Updates, before: &Value, after: &Value) -> bool {
        let print = |live: &Value| print_of(live.clone(), &updates.of(live, true).unwrap()).unwrap();
        print(before) != print(after)
    }

    fn object(kind: &str, api_version: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "n", "resourceVersion": "1", "generation": 1, "annotations": {"x": "1"}}, "spec": {"replicas": 1}, "status": {"ready": 1}})
    }

    fn with(object: &Value, pointer: &str, value: Value) -> Value {
        let mut object = object.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = value;
        object
    }

    /// Settings, object, pointer of what changes, whether it counts.
    type Case<'a> = (Vec<(&'a str, &'a str)>, &'a Value, &'a str, bool);

    #[test]
    fn what_a_comparison_cannot_see_is_no_change() {
        let all = "resource.customizations.ignoreResourceUpdates.all";
        let of_app = "resource.customizations.ignoreResourceUpdates.apps_Deployment";
        let differences = "resource.customizations.ignoreDifferences.apps_Deployment";
        let (compare, replicas) = ("resource.compareoptions", "jsonPointers: [/spec/replicas]");
        let deployment = object("Deployment", "apps/v1");
        let crd = object("CustomResourceDefinition", "apiextensions.k8s.io/v1");
        let map = object("ConfigMap", "v1");
        let leader = "/metadata/annotations/control-plane.alpha.kubernetes.io~1leader";
        let app = object("Application", "argoproj.io/v1alpha1");
        let cases: Vec<Case<'_>> = vec![
            (vec![], &deployment, "/metadata/resourceVersion", false),
            (vec![], &deployment, "/metadata/generation", false),
            (vec![], &deployment, "/metadata/managedFields", false),
            (vec![], &deployment, "/status", false),
            (vec![], &deployment, "/status/ready", false),
            (vec![], &deployment, "/metadata/deletionTimestamp", true),
            (vec![], &deployment, "/metadata/annotations/x", true),
            (vec![], &deployment, "/spec/replicas", true),
            (vec![], &map, leader, false),
            (vec![], &deployment, leader, true),
            (vec![], &app, "/operation", false),
            (vec![(of_app, replicas)], &deployment, "/spec/replicas", false),
            (vec![(of_app, "jqPathExpressions: ['.spec.replicas']")], &deployment, "/spec/replicas", false),
            (vec![(of_app, replicas)], &map, leader, true),
            (vec![(all, replicas)], &map, "/spec/replicas", false),
            (vec![(differences, replicas)], &deployment, "/spec/replicas", false),
            (vec![(differences, replicas)], &map, leader, false),
            (
                vec![(differences, replicas), (compare, "ignoreDifferencesOnResourceUpdates: false")],
                &deployment,
                "/spec/replicas",
                true,
            ),
            (vec![(compare, "ignoreResourceStatusField: none")], &deployment, "/status/ready", true),
            (vec![(compare, "ignoreResourceStatusField: crd")], &deployment, "/status/ready", true),
            (vec![(compare, "ignoreResourceStatusField: crd")], &crd, "/status/ready", false),
            (
                vec![(compare, "ignoreResourceStatusField: none"), (all, "jsonPointers: [/status]")],
                &deployment,
                "/status/ready",
                false,
            ),
        ];
        for (settings, before, pointer, want) in cases {
            let after = with(before, pointer, json!("other"));
            assert_eq!(seen(&updates(&settings), before, &after), want, "{settings:?} {pointer} of {}", before["kind"]);
        }
    }

    #[test]
    fn the_filter_is_for_the_tracked_and_for_those_who_ask() {
        let object = object("Deployment", "apps/v1");
        let asks = |word: &str| {
            with(&object, "/metadata/annotations/argocd.argoproj.io~1ignore-resource-updates", json!(word))
        };
        let off = [("resource.ignoreResourceUpdatesEnabled", "false")];
        assert!(updates(&[]).of(&object, true).is_some());
        assert!(updates(&[]).of(&object, false).is_none());
        assert!(updates(&[]).of(&asks("true"), false).is_some());
        assert!(updates(&[]).of(&asks("false"), false).is_none());
        assert!(updates(&off).of(&asks("true"), true).is_none());
    }

    #[test]
    fn a_bad_rule_names_its_field() {
        let bad =
            |key: &str, text: &str| Updates::compile(&BTreeMap::from([(key.to_owned(), text.to_owned())])).unwrap_err();
        let key = "resource.customizations.ignoreResourceUpdates.all";
        assert!(bad(key, "jsonPointers: [status]").starts_with(&format!("argocd-cm: {key}")));
        assert!(bad("resource.compareoptions", "[").starts_with("argocd-cm: resource.compareoptions"));
    }
}

//! Who owns an object: the tracking annotation (Argo CD, user guide, "Resource Tracking"). Pure.
use serde_json::Value;

use crate::resource::{Manifest, ResourceKey};

/// The annotation.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// A tracking id, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingId {
    /// The Application: its name, or `namespace_name` when it is outside the control plane's namespace.
    pub instance: String,
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; of cluster-scoped objects, the Application's destination namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Reads `<instance>:<group>/<kind>:<namespace>/<name>`.
pub fn parse_tracking_id(text: &str) -> Option<TrackingId> {
    let mut parts = text.splitn(3, ':');
    let (instance, kind, object) = (parts.next()?, parts.next()?, parts.next()?);
    let (group, kind) = kind.split_once('/')?;
    let (namespace, name) = object.split_once('/')?;
    let owned = str::to_owned;
    (!instance.is_empty()).then(|| TrackingId {
        instance: owned(instance),
        group: owned(group),
        kind: owned(kind),
        namespace: owned(namespace),
        name: owned(name),
    })
}

/// Fills the namespace of namespaced kinds, clears it of others, and puts on the tracking mark.
/// `namespaced` answers for (group, kind); a kind not served yet keeps what it says.
/// CustomResourceDefinitions get no mark: removing one from git must not delete every object of its kind.
pub fn stamp(
    manifest: &mut Manifest,
    instance: &str,
    destination: &str,
    namespaced: impl Fn(&str, &str) -> Option<bool>,
) {
    let (group, kind) = (manifest.group().to_owned(), manifest.kind().to_owned());
    let scope = namespaced(&group, &kind);
    let own = manifest.namespace().map(str::to_owned);
    if let Some(metadata) = manifest.metadata_mut() {
        match (scope, &own) {
            (Some(false), Some(_)) => {
                metadata.remove("namespace");
            }
            (Some(true) | None, None) if !destination.is_empty() && (scope == Some(true)) => {
                metadata.insert("namespace".to_owned(), Value::String(destination.to_owned()));
            }
            _ => {}
        }
    }
    if kind == "CustomResourceDefinition" && group == "apiextensions.k8s.io" {
        return;
    }
    let namespace = manifest.namespace().unwrap_or(destination).to_owned();
    let id = format!("{instance}:{group}/{kind}:{namespace}/{}", manifest.name());
    manifest.annotate(TRACKING_ID, &id);
}

/// The owner that a live object names. A mark that speaks of another object was copied along with it and does not count.
pub fn owner_of(live: &Value) -> Option<TrackingId> {
    let object = Manifest(live.clone());
    let id = parse_tracking_id(object.annotation(TRACKING_ID)?)?;
    let same_place = object.namespace().is_none_or(|namespace| namespace == id.namespace);
    (id.group == object.group() && id.kind == object.kind() && id.name == object.name() && same_place).then_some(id)
}

/// What is said of an object with two owners (Argo CD, `SharedResourceWarning`).
pub fn shared_words(key: &ResourceKey, ours: &str, theirs: &str) -> String {
    format!("{}/{} is part of applications {ours} and {theirs}", key.kind, key.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_put_on_and_read_back() {
        let scope = |_: &str, kind: &str| match kind {
            "ConfigMap" => Some(true),
            "ClusterRole" | "CustomResourceDefinition" => Some(false),
            _ => None,
        };
        let cases = [
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
                Some("app:/ConfigMap:dest/a"),
                Some("dest"),
            ),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "own"}}),
                Some("app:/ConfigMap:own/a"),
                Some("own"),
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a", "namespace": "x", "annotations": null}}),
                Some("app:rbac.authorization.k8s.io/ClusterRole:dest/a"),
                None,
            ),
            (
                json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"}}),
                None,
                None,
            ),
        ];
        for (object, id, namespace) in cases {
            let mut manifest = Manifest(object);
            stamp(&mut manifest, "app", "dest", scope);
            assert_eq!(manifest.annotation(TRACKING_ID), id);
            assert_eq!(manifest.namespace(), namespace);
            assert_eq!(owner_of(&manifest.0).is_some(), id.is_some());
        }
    }

    #[test]
    fn a_copied_mark_does_not_count() {
        let copy = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "annotations": {TRACKING_ID: "app:/Secret:n/a"}}});
        assert!(owner_of(&copy("a")).is_some());
        assert!(owner_of(&copy("b")).is_none());
        assert!(parse_tracking_id("no id").is_none());
    }
}

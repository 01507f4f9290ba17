//! The resource tree, in the shape of Argo CD's API (`ApplicationTree`). Pure.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::health::{Health, HealthRules};
use crate::resource::{Manifest, ResourceKey};

/// A name for another object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceRef {
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its incarnation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// A line shown with a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoItem {
    /// What.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// One object of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceNode {
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its incarnation.
    pub uid: String,
    /// Its owners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ResourceRef>,
    /// Lines shown with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<InfoItem>,
    /// Container images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Its health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its version.
    pub resource_version: String,
    /// When it was made (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl ResourceNode {
    /// What names the object.
    pub fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// The tree of one Application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceTree {
    /// Roots and what they own.
    pub nodes: Vec<ResourceNode>,
}

/// The node of a live object, with its health by these rules.
pub fn node_from(live: &Value, rules: &HealthRules) -> ResourceNode {
    let object = Manifest(live.clone());
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    ResourceNode {
        group: object.group().to_owned(),
        version: object.version().to_owned(),
        kind: object.kind().to_owned(),
        namespace: object.namespace().unwrap_or_default().to_owned(),
        name: object.name().to_owned(),
        uid: text("/metadata/uid"),
        parent_refs: parents(live, object.namespace().unwrap_or_default()),
        info: info(live, &object),
        images: images_of(live),
        health: rules.of(live),
        resource_version: text("/metadata/resourceVersion"),
        created_at: Some(text("/metadata/creationTimestamp")).filter(|time| !time.is_empty()),
    }
}

fn parents(live: &Value, namespace: &str) -> Vec<ResourceRef> {
    let owners = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let reference = |owner: &Value| {
        let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
        let api_version = text("apiVersion");
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        ResourceRef {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text("kind"),
            namespace: namespace.to_owned(),
            name: text("name"),
            uid: text("uid"),
        }
    };
    owners.into_iter().flatten().map(reference).collect()
}

fn info(live: &Value, object: &Manifest) -> Vec<InfoItem> {
    let item = |name: &str, value: String| InfoItem { name: name.to_owned(), value };
    let mut items = Vec::new();
    match object.kind() {
        "Pod" => {
            items.push(item("Status Reason", pod_reason(live)));
            if let Some(node) = live.pointer("/spec/nodeName").and_then(Value::as_str) {
                items.push(item("Node", node.to_owned()));
            }
            let statuses: Vec<&Value> =
                live.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten().collect();
            let total = live.pointer("/spec/containers").and_then(Value::as_array).map_or(0, Vec::len);
            let ready = statuses.iter().filter(|status| status["ready"] == true).count();
            items.push(item("Containers", format!("{ready}/{total}")));
            let restarts: i64 = statuses.iter().filter_map(|status| status["restartCount"].as_i64()).sum();
            if restarts > 0 {
                items.push(item("Restart Count", restarts.to_string()));
            }
        }
        "ReplicaSet" => {
            if let Some(revision) = object.annotation("deployment.kubernetes.io/revision") {
                items.push(item("Revision", format!("Rev:{revision}")));
            }
        }
        _ => {}
    }
    items
}

fn pod_reason(live: &Value) -> String {
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    if text("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let statuses = live.pointer("/status/containerStatuses").and_then(Value::as_array);
    let waiting = statuses.into_iter().flatten().find_map(|status| {
        ["/state/waiting/reason", "/state/terminated/reason"]
            .iter()
            .find_map(|pointer| status.pointer(pointer).and_then(Value::as_str))
    });
    waiting.or(text("/status/reason")).or(text("/status/phase")).unwrap_or("Unknown").to_owned()
}

/// The container images that an object names, sorted.
pub fn images_of(live: &Value) -> Vec<String> {
    const POD_SPECS: [&str; 3] = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
    let specs =
        POD_SPECS.iter().filter_map(|pointer| live.pointer(pointer)).filter(|spec| spec.get("containers").is_some());
    let images: BTreeSet<String> = specs
        .flat_map(|spec| {
            ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array()).flatten()
        })
        .filter_map(|container| container["image"].as_str().map(str::to_owned))
        .collect();
    images.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_becomes_a_node_as_the_api_shows_it() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "creationTimestamp": "t",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o"}]},
            "spec": {"nodeName": "node", "restartPolicy": "Always", "containers": [{"image": "b"}, {"image": "a"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"ready": true, "restartCount": 2}]}});
        let want = json!({"version": "v1", "kind": "Pod", "namespace": "n", "name": "p", "uid": "u", "resourceVersion": "7", "createdAt": "t", "images": ["a", "b"],
            "health": {"status": "Healthy"}, "parentRefs": [{"group": "apps", "version": "v1", "kind": "ReplicaSet", "namespace": "n", "name": "r", "uid": "o"}],
            "info": [{"name": "Status Reason", "value": "Running"}, {"name": "Node", "value": "node"}, {"name": "Containers", "value": "1/2"}, {"name": "Restart Count", "value": "2"}]});
        assert_eq!(serde_json::to_value(node_from(&pod, &HealthRules::default())).unwrap(), want);
    }
}

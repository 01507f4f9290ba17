//! The health of each object in an Application that the API answers with: the stored one has none, it is in the tree
//! (`status.resourceHealthSource: appTree`; Argo CD 3.0, upgrading notes). Pure.
use std::collections::HashMap;

use serde_json::{Value, json};
use tako_engine::app::{Application, HEALTH_IN_TREE, HEALTH_SOURCE, HealthCode, SyncCode};
use tako_engine::resource::ResourceKey;
use tako_engine::tree::{ResourceNode, ResourceTree};

/// The Application as the API shows it.
pub(crate) fn shown(app: &Application, tree: Option<&ResourceTree>) -> Application {
    let mut app = app.clone();
    let (Some(status), Some(tree)) = (app.status.as_mut(), tree) else { return app };
    if status.other.get(HEALTH_SOURCE).and_then(Value::as_str) != Some(HEALTH_IN_TREE) || status.resources.is_empty() {
        return app;
    }
    let nodes: HashMap<ResourceKey, &ResourceNode> = tree.nodes.iter().map(|node| (node.key(), node)).collect();
    for resource in &mut status.resources {
        let health = match nodes.get(&resource.key()) {
            Some(node) => node.health.as_ref().map(|health| json!(health)),
            // To be made, and not there.
            None if resource.status == Some(SyncCode::OutOfSync) => Some(json!({"status": HealthCode::Missing})),
            None => None,
        };
        if let Some(health) = health {
            resource.other.insert("health".to_owned(), health);
        }
    }
    app
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_tells_the_health_that_the_stored_object_has_not() {
        let entry = |name: &str, status: &str, more: Value| {
            let mut entry = json!({"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "n", "name": name, "status": status});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            entry
        };
        let app = |source: Value, a: Value, b: Value, c: Value| {
            let mut value = json!({"metadata": {"name": "x", "namespace": "argocd"}, "spec": {"project": "p", "destination": {}},
                "status": {"resources": [entry("a", "Synced", a), entry("b", "OutOfSync", b), entry("c", "Synced", c)]}});
            if source.is_string() {
                value["status"]["resourceHealthSource"] = source;
            }
            serde_json::from_value::<Application>(value).unwrap()
        };
        let none = || json!({});
        let tree: ResourceTree = serde_json::from_value(json!({"nodes": [
            {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "n", "name": "a", "uid": "1", "resourceVersion": "1",
                "health": {"status": "Degraded", "message": "quota"}},
        ]}))
        .unwrap();
        let stored = app(json!("appTree"), none(), none(), none());
        let want = app(
            json!("appTree"),
            json!({"health": {"status": "Degraded", "message": "quota"}}),
            json!({"health": {"status": "Missing"}}),
            none(),
        );
        assert_eq!(shown(&stored, Some(&tree)), want);
        assert_eq!(shown(&stored, None), stored, "no tree yet: nothing is known");
        let inline = app(Value::Null, json!({"health": {"status": "Healthy"}}), none(), none());
        assert_eq!(shown(&inline, Some(&tree)), inline, "what is stored with the object counts");
    }
}

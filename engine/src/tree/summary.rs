//! What `status.summary` tells of a tree.
use std::collections::BTreeSet;

use super::ResourceTree;
use super::networking::LINK;
use crate::app::Application;

/// The part of `status.summary` that comes from the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Where people find it (`externalURLs`), sorted: what its Ingresses and load balancers answer to, and links by
    /// annotation (Argo CD, user guide, "Add external URL").
    pub external_urls: Vec<String>,
    /// There are Applications among its objects.
    pub app_of_apps: bool,
}

/// Of this Application's tree.
pub fn summary(tree: &ResourceTree, app: &Application) -> Summary {
    let nodes = tree.nodes.iter().filter_map(|node| node.networking_info.as_ref()).flat_map(|info| &info.external_urls);
    let links = app.metadata.annotations.iter().filter(|(name, _)| name.starts_with(LINK)).map(|(_, url)| url);
    let urls: BTreeSet<&String> = nodes.chain(links).collect();
    Summary {
        external_urls: urls.into_iter().cloned().collect(),
        app_of_apps: tree.nodes.iter().any(|node| node.group == "argoproj.io" && node.kind == "Application"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_are_told_once_and_in_order() {
        let node = |kind: &str, urls: &[&str]| json!({"group": if kind == "Application" { "argoproj.io" } else { "networking.k8s.io" }, "kind": kind, "name": "x", "networkingInfo": {"externalURLs": urls}});
        let tree =
            |nodes: &[serde_json::Value]| serde_json::from_value::<ResourceTree>(json!({"nodes": nodes})).unwrap();
        let app: Application = serde_json::from_value(json!({"metadata": {"name": "a", "annotations": {"link.argocd.argoproj.io/docs": "Docs|https://c", "other": "https://z"}}, "spec": {"project": "p", "destination": {}}})).unwrap();
        let found =
            summary(&tree(&[node("Ingress", &["https://d", "https://b"]), node("Ingress", &["https://b"])]), &app);
        assert_eq!(found.external_urls, ["Docs|https://c", "https://b", "https://d"]);
        assert!(!found.app_of_apps);
        assert!(summary(&tree(&[node("Application", &[])]), &app).app_of_apps);
        assert_eq!(summary(&tree(&[]), &Application::default()), Summary::default());
    }
}

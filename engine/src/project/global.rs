//! What a project has besides its own object: lists of global projects, its own repositories and clusters. All of it
//! is merged for a decision and never written (Argo CD, user guide, "Projects", "Configuring Global Projects").
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{AppProject, KnownCluster};
use crate::app::Destination;
use crate::parse;

/// One of `globalProjects` in `argocd-cm`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GlobalProject {
    label_selector: Selector,
    /// The project whose lists are inherited.
    pub project_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Selector {
    /// `None` for an operator that does not exist.
    fn selects(&self, labels: &BTreeMap<String, String>) -> Option<bool> {
        let mut selected = self.match_labels.iter().all(|(name, value)| labels.get(name) == Some(value));
        for expression in &self.match_expressions {
            let label = labels.get(&expression.key);
            let among = || label.is_some_and(|label| expression.values.contains(label));
            selected &= match expression.operator.as_str() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => return None,
            };
        }
        Some(selected)
    }
}

/// Reads the value of `globalProjects`.
pub fn global_projects(text: &str) -> Result<Vec<GlobalProject>, String> {
    let value = parse::parse_value(text)?;
    if value == Value::Null {
        return Ok(Vec::new());
    }
    serde_json::from_value(value)
        .map_err(|error| format!("globalProjects: {error}; write a list of labelSelector and projectName"))
}

/// The project as decisions see it: with its own repositories and clusters, and the lists of the global projects that
/// select it, in their order.
pub fn inherit(
    project: &AppProject,
    (globals, all): (&[GlobalProject], &[AppProject]),
    repositories: &[String],
    clusters: &[KnownCluster],
) -> AppProject {
    let mut merged = project.clone();
    merged.spec.source_repos.extend_from_slice(repositories);
    for cluster in clusters.iter().filter(|cluster| cluster.project.as_deref() == Some(project.name())) {
        let any = ["*".to_owned()];
        let namespaces = if cluster.namespaces.is_empty() { any.as_slice() } else { &cluster.namespaces };
        merged.spec.destinations.extend(namespaces.iter().map(|namespace| Destination {
            server: Some(cluster.server.clone()),
            namespace: Some(namespace.clone()),
            ..Destination::default()
        }));
    }
    for global in globals.iter().filter(|global| global.project_name != project.name()) {
        match global.label_selector.selects(&project.metadata.labels) {
            Some(true) => {}
            Some(false) => continue,
            None => break,
        }
        let Some(from) = all.iter().find(|other| other.name() == global.project_name) else { break };
        add(&mut merged, from);
    }
    merged
}

fn add(project: &mut AppProject, from: &AppProject) {
    let (own, from) = (&mut project.spec, from.spec.clone());
    own.cluster_resource_whitelist.extend(from.cluster_resource_whitelist);
    own.cluster_resource_blacklist.extend(from.cluster_resource_blacklist);
    // Nothing added to an absent list leaves it absent: all is permitted still.
    let listed = from.namespace_resource_whitelist.unwrap_or_default();
    if !listed.is_empty() {
        own.namespace_resource_whitelist.get_or_insert_default().extend(listed);
    }
    own.namespace_resource_blacklist.extend(from.namespace_resource_blacklist);
    own.sync_windows.extend(from.sync_windows);
    own.source_repos.extend(from.source_repos);
    own.destinations.extend(from.destinations);
    own.destination_service_accounts.extend(from.destination_service_accounts);
}

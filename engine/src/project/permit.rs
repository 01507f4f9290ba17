//! The checks, each with the semantics of Argo CD's `AppProject` methods.
use super::{AppProject, ClusterKind};
use crate::app::Application;
use crate::resource::ResourceKey;
use crate::{glob, repo_url};

/// Characters that a service account of a project may not have.
const NOT_IN_ACCOUNTS: &str = "!*[]{}\\/";

/// A destination cluster, as its Secret names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownCluster {
    /// URL of the API server.
    pub server: String,
    /// Its name.
    pub name: String,
    /// The project that it belongs to alone, if any.
    pub project: Option<String>,
    /// The only namespaces that may be managed; all when empty.
    pub namespaces: Vec<String>,
}

/// Where objects go: a cluster, and the clusters that are known (for `permitOnlyProjectScopedClusters`).
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The destination cluster.
    pub cluster: &'a KnownCluster,
    /// All of them.
    pub known: &'a [KnownCluster],
}

fn denies(pattern: &str) -> bool {
    pattern.starts_with('!')
}

/// A pattern with `!` matches what the rest of it does not.
fn matches(pattern: &str, value: &str, separators: &[char]) -> bool {
    let glob =
        |pattern: &str| glob::Glob::with_separators(pattern, separators).is_ok_and(|compiled| compiled.matches(value));
    match pattern.strip_prefix('!') {
        Some(rest) => !glob(rest),
        None => pattern == "*" || glob(pattern),
    }
}

impl AppProject {
    /// Whether manifests may come from the repository. URLs and patterns are compared as git URLs are; `*` does not
    /// cross `/`, unless it is all there is.
    pub fn permits_source(&self, repo_url: &str) -> bool {
        let url = repo_url::normalize(repo_url);
        let mut permitted = false;
        for pattern in &self.spec.source_repos {
            let normalized = match pattern.strip_prefix('!') {
                Some(rest) => format!("!{}", repo_url::normalize(rest)),
                None => repo_url::normalize(pattern),
            };
            if matches(&normalized, &url, &['/']) {
                permitted = true;
            } else if denies(&normalized) {
                return false;
            }
        }
        permitted
    }

    /// Whether objects may go to the namespace of the cluster.
    pub fn permits_destination(&self, place: Place<'_>, namespace: &str) -> bool {
        let Place { cluster, known } = place;
        if !self.destination_matches(cluster, namespace) {
            return false;
        }
        let ours = |other: &KnownCluster| other.project.as_deref() == Some(self.name());
        !self.spec.permit_only_project_scoped_clusters
            || known.iter().any(|other| ours(other) && (other.name == cluster.name || other.server == cluster.server))
    }

    fn destination_matches(&self, cluster: &KnownCluster, namespace: &str) -> bool {
        let mut permitted = false;
        for entry in &self.spec.destinations {
            let name = entry.name.as_deref().unwrap_or_default();
            let server = entry.server.as_deref().unwrap_or_default();
            let entry_namespace = entry.namespace.as_deref().unwrap_or_default();
            let by_name = !cluster.name.is_empty() && matches(name, &cluster.name, &[]);
            let by_server = !cluster.server.is_empty() && matches(server, &cluster.server, &[]);
            let there = matches(entry_namespace, namespace, &[]);
            let cluster_denied = (!by_name && denies(name)) || (!by_server && denies(server));
            let namespace_denied = denies(entry_namespace) && by_server;
            if (by_server || by_name) && there {
                permitted = true;
            } else if (there && cluster_denied) || (!there && namespace_denied) {
                return false;
            }
        }
        permitted
    }

    /// Whether an object of the kind may be deployed. An absent list of namespaced kinds permits all, an empty one
    /// none; of cluster-scoped kinds none is permitted that is not listed.
    pub fn permits_kind(&self, group: &str, kind: &str, name: &str, namespaced: bool) -> bool {
        if namespaced {
            let listed = |list: &[super::NamespacedKind]| {
                list.iter().any(|one| glob::path_matches(&one.kind, kind) && glob::path_matches(&one.group, group))
            };
            return self.spec.namespace_resource_whitelist.as_deref().is_none_or(listed)
                && !listed(&self.spec.namespace_resource_blacklist);
        }
        let listed = |list: &[ClusterKind]| {
            list.iter().any(|one| {
                glob::path_matches(&one.kind, kind)
                    && glob::path_matches(&one.group, group)
                    && (one.name.is_empty() || glob::path_matches(&one.name, name))
            })
        };
        listed(&self.spec.cluster_resource_whitelist) && !listed(&self.spec.cluster_resource_blacklist)
    }

    /// Whether a live object belongs to what the project permits: what it does not is neither shown nor deleted.
    pub fn permits_live(&self, key: &ResourceKey, place: Place<'_>) -> bool {
        self.permits_kind(&key.group, &key.kind, &key.name, !key.namespace.is_empty())
            && (key.namespace.is_empty() || self.permits_destination(place, &key.namespace))
    }

    /// Why an object may not be synced, in the words of Argo CD's sync results.
    pub fn refuses(&self, key: &ResourceKey, namespaced: bool, place: Place<'_>) -> Option<String> {
        if !self.permits_kind(&key.group, &key.kind, &key.name, namespaced) {
            return Some(format!("resource {}:{} is not permitted in project {}", key.group, key.kind, self.name()));
        }
        (namespaced && !self.permits_destination(place, &key.namespace))
            .then(|| format!("namespace {} is not permitted in project '{}'", key.namespace, self.name()))
    }

    /// Whether Applications of the namespace may use the project.
    pub fn permits_app_namespace(&self, namespace: &str, control_namespace: &str) -> bool {
        namespace.is_empty()
            || namespace == control_namespace
            || glob::in_namespaces(&self.spec.source_namespaces, namespace)
    }

    /// The user to impersonate in a sync to the server: the first account whose server and namespace match (Argo CD,
    /// "Application Sync using impersonation"); `None` when there is none. An account without a namespace is in the
    /// destination namespace, or, that being absent, in the Application's.
    pub fn impersonated(&self, app: &Application, server: &str) -> Result<Option<String>, String> {
        let destination = app.spec.destination.namespace.as_deref().unwrap_or_default();
        let home = if destination.is_empty() { &app.metadata.namespace } else { destination };
        for entry in &self.spec.destination_service_accounts {
            let compiled = |pattern: &str, what: &str| {
                glob::Glob::new(pattern)
                    .map_err(|problem| format!("invalid glob pattern for destination {what}: {problem}"))
            };
            let (by_server, by_namespace) =
                (compiled(&entry.server, "server")?, compiled(&entry.namespace, "namespace")?);
            if !by_server.matches(server) || !by_namespace.matches(destination) {
                continue;
            }
            let account = entry.default_service_account.as_str();
            if account.trim_matches(' ').is_empty() || account.contains(|c| NOT_IN_ACCOUNTS.contains(c)) {
                return Err(format!("default service account contains invalid chars '{account}'"));
            }
            let home = if account.contains(':') { String::new() } else { format!("{home}:") };
            return Ok(Some(format!("system:serviceaccount:{home}{account}")));
        }
        Ok(None)
    }
}

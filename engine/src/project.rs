//! AppProject, in the shape of its CRD (argoproj.io/v1alpha1), and what it permits (Argo CD, user guide, "Projects").
//! Pure; knows nothing of how it is stored or where the decisions are enforced.
mod global;
mod permit;

use serde::{Deserialize, Serialize};

use crate::app::{Destination, Metadata};
use crate::integrity::{SignatureKey, SourceIntegrity};
use crate::windows::SyncWindow;

pub use global::{GlobalProject, global_projects, inherit};
pub use permit::{KnownCluster, Place};

/// The project of an Application that names none.
pub const DEFAULT: &str = "default";

/// An AppProject object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProject {
    /// `argoproj.io/v1alpha1`.
    #[serde(default)]
    pub api_version: String,
    /// `AppProject`.
    #[serde(default)]
    pub kind: String,
    /// Who it is.
    pub metadata: Metadata,
    /// What it permits.
    #[serde(default)]
    pub spec: ProjectSpec,
    /// Fields that nobody here acts upon (`status` with its tokens among them).
    #[serde(flatten)]
    pub other: crate::app::Other,
}

shape! {
    /// `spec` of an AppProject.
    ProjectSpec {
        /// Repositories to take from: globs, `!` denies.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        source_repos: Vec<String>,
        /// Clusters and namespaces to deploy to: globs, `!` denies.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        destinations: Vec<Destination>,
        /// Namespaces, besides the control namespace, whose Applications may use the project: globs, `/regex/`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        source_namespaces: Vec<String>,
        /// Cluster-scoped kinds that are let through; none when empty.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cluster_resource_whitelist: Vec<ClusterKind>,
        /// Cluster-scoped kinds that are not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cluster_resource_blacklist: Vec<ClusterKind>,
        /// Namespaced kinds that are let through: all when absent, none when empty.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace_resource_whitelist: Option<Vec<NamespacedKind>>,
        /// Namespaced kinds that are not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        namespace_resource_blacklist: Vec<NamespacedKind>,
        /// Look for objects that no Application tracks.
        #[serde(skip_serializing_if = "Option::is_none")]
        orphaned_resources: Option<OrphanedResources>,
        /// When syncs may be.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sync_windows: Vec<SyncWindow>,
        /// Only clusters of the project itself may be destinations.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        permit_only_project_scoped_clusters: bool,
        /// Whom to impersonate where.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        destination_service_accounts: Vec<DestinationServiceAccount>,
        /// Roles of users in the project.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        roles: Vec<Role>,
        /// The keys that commits must be signed with: the older form of `source_integrity`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        signature_keys: Vec<SignatureKey>,
        /// Which sources must be signed.
        #[serde(skip_serializing_if = "Option::is_none")]
        source_integrity: Option<SourceIntegrity>,
    }
}
shape! {
    /// One of the lists of cluster-scoped kinds.
    ClusterKind {
        /// API group: a path glob.
        group: String,
        /// Kind: a path glob.
        kind: String,
        /// Name: a path glob; any when empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
    }
}
shape! {
    /// One of the lists of namespaced kinds.
    NamespacedKind {
        /// API group: a path glob.
        group: String,
        /// Kind: a path glob.
        kind: String,
    }
}
shape! {
    /// `spec.orphanedResources`.
    OrphanedResources {
        /// Tell of them by a condition.
        #[serde(skip_serializing_if = "Option::is_none")]
        warn: Option<bool>,
        /// Those that do not count.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ignore: Vec<OrphanedKey>,
    }
}
shape! {
    /// One of `spec.orphanedResources.ignore`.
    OrphanedKey {
        /// API group: a glob; the core group when empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        group: String,
        /// Kind: a glob; any when empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        kind: String,
        /// Name: a glob; any when empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
    }
}
shape! {
    /// One of `spec.destinationServiceAccounts`.
    DestinationServiceAccount {
        /// URL of the API server: a glob.
        server: String,
        /// The destination namespace: a glob.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// `account` or `namespace:account`.
        default_service_account: String,
    }
}
shape! {
    /// One of `spec.roles`.
    Role {
        /// Its name.
        name: String,
        /// Casbin policies.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        policies: Vec<String>,
        /// Groups of the identity provider that have it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
    }
}

impl AppProject {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }
}

#[cfg(test)]
mod tests;

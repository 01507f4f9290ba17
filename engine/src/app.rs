//! Application, in the shape of its CRD (argoproj.io/v1alpha1). Fields that nobody here acts upon are kept in
//! `other`, so that an object read and written again is the same object. Knows nothing of how it is stored.
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resource::ResourceKey;
pub use crate::source::{Directory, Source};

/// Namespace and name of an Application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppKey {
    /// The namespace that holds the object.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl AppKey {
    /// The key as two tokens of a subject: dots, legal in Kubernetes names, become `_`, which is not.
    pub fn token(&self) -> String {
        format!("{}.{}", self.namespace.replace('.', "_"), self.name.replace('.', "_"))
    }

    /// Reads [`AppKey::token`] back.
    pub fn from_token(token: &str) -> Option<Self> {
        let (namespace, name) = token.split_once('.')?;
        Some(Self { namespace: namespace.replace('_', "."), name: name.replace('_', ".") })
    }
}

/// The annotation that asks for a new look; taken off when it is answered.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";
/// Its value that asks for one which trusts no cache. (Any other value is a normal refresh.)
pub const REFRESH_HARD: &str = "hard";

/// Field of the status that tells where the health of its resources is; absent, it is with each of them.
pub const HEALTH_SOURCE: &str = "resourceHealthSource";
/// Its value: in the resource tree.
pub const HEALTH_IN_TREE: &str = "appTree";

/// Unknown fields, kept.
pub type Other = Map<String, Value>;

/// An Application object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// `argoproj.io/v1alpha1`.
    #[serde(default)]
    pub api_version: String,
    /// `Application`.
    #[serde(default)]
    pub kind: String,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ApplicationSpec,
    /// What is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ApplicationStatus>,
    /// What was asked for and is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Fields that nobody here acts upon.
    #[serde(flatten)]
    pub other: Other,
}

shape! {
    /// Object metadata.
    Metadata {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
        /// The identity of this incarnation.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        /// The version for compare-and-swap; empty in an object not yet stored.
        #[serde(skip_serializing_if = "String::is_empty")]
        resource_version: String,
        /// Counts changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        generation: Option<i64>,
        /// Labels.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// Annotations.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        annotations: BTreeMap<String, String>,
        /// Finalizers.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        finalizers: Vec<String>,
        /// Set while it is being deleted (RFC 3339).
        #[serde(skip_serializing_if = "Option::is_none")]
        deletion_timestamp: Option<String>,
        /// RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        creation_timestamp: Option<String>,
    }
}
shape! {
    /// `spec`.
    ApplicationSpec {
        /// The AppProject.
        project: String,
        /// Where to.
        destination: Destination,
        /// Where from.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// Where from, several.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sources: Vec<Source>,
        /// How to sync.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync_policy: Option<SyncPolicy>,
    }
}
shape! {
    /// `spec.destination`.
    Destination {
        /// URL of the API server.
        #[serde(skip_serializing_if = "Option::is_none")]
        server: Option<String>,
        /// Name of the cluster.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Namespace for objects that name none.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    }
}
shape! {
    /// `spec.syncPolicy`.
    SyncPolicy {
        /// Sync without being asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        automated: Option<Automated>,
        /// `Name=value`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sync_options: Vec<String>,
        /// Retry of failed operations.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<Value>,
    }
}
shape! {
    /// `spec.syncPolicy.automated`.
    Automated {
        /// Absent counts as true.
        #[serde(skip_serializing_if = "Option::is_none")]
        enabled: Option<bool>,
        /// Delete what left git.
        #[serde(skip_serializing_if = "Option::is_none")]
        prune: Option<bool>,
        /// Undo changes made in the cluster.
        #[serde(skip_serializing_if = "Option::is_none")]
        self_heal: Option<bool>,
        /// Go on even if nothing would be left.
        #[serde(skip_serializing_if = "Option::is_none")]
        allow_empty: Option<bool>,
    }
}
shape! {
    /// `operation`.
    Operation {
        /// A sync.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync: Option<SyncOperation>,
        /// Who asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        initiated_by: Option<InitiatedBy>,
        /// Free words.
        #[serde(skip_serializing_if = "Option::is_none")]
        info: Option<Value>,
        /// Retry.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry: Option<Value>,
    }
}
shape! {
    /// `operation.initiatedBy`.
    InitiatedBy {
        /// The account.
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// Nobody asked: automated sync.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        automated: bool,
    }
}
shape! {
    /// `operation.sync`.
    SyncOperation {
        /// The commit or name.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// Delete what left git.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        prune: bool,
        /// Try only.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
        /// Only these.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        resources: Vec<SyncResource>,
        /// `Name=value`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sync_options: Vec<String>,
        /// The commits, of several sources.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revisions: Vec<String>,
        /// The source to take instead of the Application's own (rollback).
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// As `source`, several.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sources: Vec<Source>,
        /// `{apply: {force}}` or `{hook: {force}}`.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync_strategy: Option<Value>,
        /// Manifests given by hand instead of git's (local sync).
        #[serde(skip_serializing_if = "Vec::is_empty")]
        manifests: Vec<String>,
        /// How often self-heal tried this revision.
        #[serde(skip_serializing_if = "Option::is_none")]
        auto_heal_attempts_count: Option<i64>,
    }
}
shape! {
    /// One of `operation.sync.resources`.
    SyncResource {
        /// API group.
        #[serde(skip_serializing_if = "String::is_empty")]
        group: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace; empty matches any.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
    }
}
shape! {
    /// `status`.
    ApplicationStatus {
        /// Target against live.
        #[serde(skip_serializing_if = "is_default")]
        sync: SyncStatus,
        /// The roll-up.
        #[serde(skip_serializing_if = "is_default")]
        health: HealthStatus,
        /// One entry an object.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        resources: Vec<ResourceStatus>,
        /// What is wrong.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        conditions: Vec<Condition>,
        /// The last operation.
        #[serde(skip_serializing_if = "Option::is_none")]
        operation_state: Option<OperationState>,
        /// Deployments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        history: Vec<History>,
        /// When last compared (RFC 3339).
        #[serde(skip_serializing_if = "Option::is_none")]
        reconciled_at: Option<String>,
        /// Directory, Helm, Kustomize, Plugin.
        #[serde(skip_serializing_if = "Option::is_none")]
        source_type: Option<String>,
    }
}
shape! {
    /// `status.sync`.
    SyncStatus {
        /// The verdict.
        status: SyncCode,
        /// The commit compared with.
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// The commits, of several sources.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revisions: Vec<String>,
    }
}
shape! {
    /// `status.health`.
    HealthStatus {
        /// The verdict.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<HealthCode>,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Since when (RFC 3339).
        #[serde(skip_serializing_if = "Option::is_none")]
        last_transition_time: Option<String>,
    }
}
shape! {
    /// One of `status.resources`.
    ResourceStatus {
        /// API group.
        #[serde(skip_serializing_if = "String::is_empty")]
        group: String,
        /// API version.
        #[serde(skip_serializing_if = "String::is_empty")]
        version: String,
        /// Kind.
        kind: String,
        /// Namespace.
        #[serde(skip_serializing_if = "String::is_empty")]
        namespace: String,
        /// Name.
        name: String,
        /// The verdict.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<SyncCode>,
        /// It is in the cluster and not in git.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        requires_pruning: bool,
    }
}
shape! {
    /// One of `status.conditions`.
    Condition {
        /// The kind of condition.
        r#type: String,
        /// In words.
        message: String,
        /// Since when (RFC 3339).
        #[serde(skip_serializing_if = "Option::is_none")]
        last_transition_time: Option<String>,
    }
}
shape! {
    /// `status.operationState`.
    OperationState {
        /// What was asked.
        operation: Operation,
        /// Where it stands.
        phase: Phase,
        /// In words.
        #[serde(skip_serializing_if = "String::is_empty")]
        message: String,
        /// What was done.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync_result: Option<SyncResult>,
        /// RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<String>,
        /// RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        finished_at: Option<String>,
    }
}
shape! {
    /// `status.operationState.syncResult`.
    SyncResult {
        /// The commit.
        #[serde(skip_serializing_if = "String::is_empty")]
        revision: String,
        /// The commits, of several sources.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revisions: Vec<String>,
        /// What it was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// As `source`, several.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sources: Vec<Source>,
        /// One entry a step.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        resources: Vec<Value>,
    }
}
shape! {
    /// One of `status.history`.
    History {
        /// Counts up.
        id: i64,
        /// The commit.
        #[serde(skip_serializing_if = "String::is_empty")]
        revision: String,
        /// The commits, of several sources.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revisions: Vec<String>,
        /// What it was made from.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
        /// As `source`, several.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        sources: Vec<Source>,
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Target against live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SyncCode {
    /// Equal.
    Synced,
    /// Different.
    OutOfSync,
    /// Not known.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Health, from best to worst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HealthCode {
    /// Works.
    Healthy,
    /// Stopped on purpose.
    Suspended,
    /// On its way.
    Progressing,
    /// Not there.
    Missing,
    /// Broken.
    Degraded,
    /// Not known.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Under way.
    #[default]
    Running,
    /// Being stopped.
    Terminating,
    /// Carried out and failed.
    Failed,
    /// Could not be carried out.
    Error,
    /// Done.
    Succeeded,
}

impl ResourceStatus {
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

impl SyncStatus {
    /// It is of this revision; of several sources their revisions, joined.
    pub fn is_of(&self, revision: &str) -> bool {
        if self.revisions.is_empty() {
            self.revision.as_deref() == Some(revision)
        } else {
            crate::source::joined(self.revisions.iter().map(String::as_str)) == revision
        }
    }
}

impl Application {
    /// Namespace and name.
    pub fn key(&self) -> AppKey {
        AppKey { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }

    /// The policy of automated sync, if it is on.
    pub fn automated(&self) -> Option<&Automated> {
        self.spec.sync_policy.as_ref()?.automated.as_ref().filter(|automated| automated.enabled != Some(false))
    }

    /// It has several sources, also when it is one in a list.
    pub fn has_multiple_sources(&self) -> bool {
        !self.spec.sources.is_empty() && self.spec.other.get("sourceHydrator").is_none_or(Value::is_null)
    }

    /// Nothing of it is to be looked at or written (annotation `skip-reconcile`, read as Go reads booleans).
    pub fn skips_reconcile(&self) -> bool {
        let value = self.metadata.annotations.get("argocd.argoproj.io/skip-reconcile").map(String::as_str);
        matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// A hard refresh is asked for.
    pub fn asks_hard_refresh(&self) -> bool {
        self.metadata.annotations.get(REFRESH).is_some_and(|kind| kind == REFRESH_HARD)
    }

    /// The source; of several, the first.
    pub fn source(&self) -> Option<&Source> {
        self.spec.source.as_ref().or(self.spec.sources.first())
    }

    /// All sources, in order.
    pub fn sources(&self) -> &[Source] {
        if self.has_multiple_sources() { &self.spec.sources } else { self.spec.source.as_slice() }
    }

    /// The last operation.
    pub fn operation_state(&self) -> Option<&OperationState> {
        self.status.as_ref()?.operation_state.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_acts_upon_survives_a_round_trip() {
        let object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "a", "namespace": "argocd", "annotations": {"x": "y"}, "ownerReferences": [{"uid": "1"}]},
            "spec": {
                "project": "default", "destination": {"server": "https://kubernetes.default.svc", "namespace": "n"}, "revisionHistoryLimit": 3,
                "source": {"repoURL": "r", "path": "p", "helm": {"valuesObject": {"a": [1, null, {"b": 2.5}]}}, "directory": {"jsonnet": {}, "recurse": false}},
                "syncPolicy": {"automated": {"prune": false}, "managedNamespaceMetadata": {"labels": {"a": "b"}}, "retry": {"limit": -1}},
                "ignoreDifferences": [{"group": "*", "kind": "*", "jqPathExpressions": [".a"]}]
            },
            "status": {"sync": {"status": "Synced", "comparedTo": {"source": {"repoURL": "r"}}}, "health": {"status": "Healthy"}, "observedAt": "x",
                "operationState": {"operation": {"sync": {"source": {"repoURL": "r"}}}, "phase": "Succeeded", "message": "ok", "retryCount": 2},
                "history": [{"id": 4, "revision": "x", "deployedAt": "y", "source": {"repoURL": "r"}}], "summary": {"images": ["i"]}},
            "operation": {"sync": {"manifests": ["x"], "prune": true}}
        });
        let app: Application = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(&app).unwrap(), object);
        assert_eq!(app.key(), AppKey { namespace: "argocd".into(), name: "a".into() });
    }

    #[test]
    fn keys_survive_the_bus() {
        let key = AppKey { namespace: "a.b".into(), name: "c-d.e".into() };
        assert_eq!(key.token(), "a_b.c-d_e");
        assert_eq!(AppKey::from_token(&key.token()), Some(key));
    }
}

//! The destination namespace, made before all else without our mark (option CreateNamespace), with the labels and
//! annotations of `managedNamespaceMetadata`; without those, a namespace that is there is left alone.
use serde_json::json;
use tako_engine::app::{Application, Operation};
use tako_engine::options;
use tako_engine::plan::{Action, SyncPlan};
use tako_engine::resource::Manifest;

use super::operation::given_options;
use super::{Syncer, SyncerError};
use crate::adapters::cluster::Cluster;

/// What is done about the namespace.
pub(super) struct Home {
    pub(super) manifest: Manifest,
    /// It is not there yet.
    pub(super) absent: bool,
}

impl Syncer {
    /// The namespace to be written, if this operation writes it.
    pub(super) async fn home(
        &self,
        app: &Application,
        operation: &Operation,
        plan: &SyncPlan,
        cluster: &Cluster,
    ) -> Result<Option<Home>, SyncerError> {
        let asked = options::of_application(&given_options(app, operation), "CreateNamespace") == Some("true");
        let partial = operation.sync.as_ref().is_some_and(|sync| !sync.resources.is_empty());
        let name = app.spec.destination.namespace.clone().unwrap_or_default();
        if !asked || partial || name.is_empty() {
            return Ok(None);
        }
        let managed = app.spec.sync_policy.as_ref().and_then(|policy| policy.other.get("managedNamespaceMetadata"));
        let mut metadata = json!({"name": name});
        for field in ["labels", "annotations"] {
            if let Some(given) = managed.map(|managed| &managed[field]).filter(|given| given.is_object()) {
                metadata[field] = given.clone();
            }
        }
        let manifest = Manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        let key = manifest.key();
        if plan.steps.iter().any(|step| step.key == key && matches!(step.action, Action::Apply(_))) {
            return Ok(None);
        }
        let absent = cluster.get(&manifest).await?.is_none();
        Ok((absent || managed.is_some()).then_some(Home { manifest, absent }))
    }
}

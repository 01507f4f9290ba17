//! Deletion of an Application with its resources (finalizer). CRDs and `Delete=false` objects stay.
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{AuditRecord, WorkItem};
use tako_engine::app::Application;
use tako_engine::hook;
use tako_engine::options::{self, Deletion, Propagation};

use super::{Syncer, SyncerError, record};
use crate::differ::tracked_extras;
use crate::runtime::stage::Outcome;

/// Between two looks at what a deletion still waits for.
const CASCADE_LOOK: Duration = Duration::from_millis(300);
const FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";

impl Syncer {
    pub(super) async fn cascade(&self, app: Application, item: &WorkItem) -> Result<Outcome, SyncerError> {
        let ours = |finalizer: &String| finalizer == FINALIZER || finalizer.starts_with(&format!("{FINALIZER}/"));
        if !app.metadata.finalizers.iter().any(ours) {
            return Ok(Outcome::Done);
        }
        let key = app.key();
        let mut left = 0;
        let options = app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone()).unwrap_or_default();
        let approved = record::approved(&app, record::deletion_asked(&app));
        let background = app.metadata.finalizers.contains(&format!("{FINALIZER}/background"));
        let how = if background { Propagation::Background } else { Propagation::Foreground };
        let tracking = self.rules.settings().compiled().tracking;
        let marks = (self.control_namespace.as_str(), &*tracking);
        for (resource, live) in tracked_extras(&self.bus, &self.cluster, &app, &[], marks).await? {
            left += 1;
            match options::deletion_with_application(&live, &options) {
                Deletion::Never => {
                    left -= 1;
                    continue;
                }
                // It is asked for again at each look: the annotation may come at any time.
                Deletion::Confirmed if !approved => continue,
                _ => {}
            }
            let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
            self.cluster.delete(&resource, uid, how).await?;
            if live["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == hook::FINALIZER))
            {
                self.cluster.release(&resource, hook::FINALIZER, uid).await?;
            }
            let audit = AuditRecord {
                project: app.spec.project.clone(),
                verb: "delete".to_owned(),
                actor: "sa:syncer".to_owned(),
                app: Some(key.clone()),
                resource: Some(resource.to_string()),
                outcome: "Deleted".to_owned(),
                reason: format!("application {key} was deleted with its resources"),
                detail: Value::Null,
            };
            self.bus.audit(audit, &item.cause).await?;
        }
        if left > 0 {
            // The observer sees them go, but not whether all have gone: look again soon.
            return Ok(Outcome::Again(CASCADE_LOOK));
        }
        let kept: Vec<&String> = app.metadata.finalizers.iter().filter(|finalizer| !ours(finalizer)).collect();
        self.applications
            .patch(&key, &json!({"metadata": {"finalizers": kept, "resourceVersion": app.metadata.resource_version}}))
            .await?;
        Ok(Outcome::Done)
    }
}

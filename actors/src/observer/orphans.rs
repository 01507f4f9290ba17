//! Who asks for objects that nobody tracks. AppProjects answer; until they are on the bus, [`NoProjects`] does.
use std::sync::Arc;

use tako_engine::app::AppKey;
use tako_engine::orphan::Monitored;
use tako_engine::resource::ResourceKey;

/// What projects say of orphaned resources (`spec.orphanedResources`).
pub(crate) trait Orphans: Send + Sync + 'static {
    /// Where to look for an Application, if its project asks for it.
    fn of(&self, app: &AppKey) -> Option<Arc<Monitored>>;
    /// The Applications for which a namespace is looked at.
    fn watching(&self, namespace: &str) -> Vec<AppKey>;
    /// Whether there is such an Application: one that is gone tracks nothing.
    fn exists(&self, app: &AppKey) -> bool;
    /// Whether the Application's project permits the kind: of others it learns nothing.
    fn permits(&self, app: &AppKey, key: &ResourceKey) -> bool;
}

/// No project asks.
pub(crate) struct NoProjects;

impl Orphans for NoProjects {
    fn of(&self, _: &AppKey) -> Option<Arc<Monitored>> {
        None
    }

    fn watching(&self, _: &str) -> Vec<AppKey> {
        Vec::new()
    }

    fn exists(&self, _: &AppKey) -> bool {
        true
    }

    fn permits(&self, _: &AppKey, _: &ResourceKey) -> bool {
        true
    }
}

//! Who asks for objects that nobody tracks: Applications whose project monitors orphaned resources (Argo CD, user guide,
//! "Orphaned Resources Monitoring"). Keeps a view of the Applications' projects and namespaces, from the bus.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tako_bus::{Bucket, Bus, Change};
use tako_engine::app::{AppKey, Application};
use tako_engine::orphan::Monitored;
use tako_engine::resource::ResourceKey;
use tokio::sync::mpsc;

use crate::permits::{Grant, Permit, permit};
use crate::projects::Projects;
use crate::runtime::follow::follow;

#[derive(Debug, Default)]
struct Known {
    /// Applications without their status, by key on the bus.
    apps: HashMap<String, Application>,
    complete: bool,
}

/// The view.
pub(super) struct Orphans {
    known: Arc<RwLock<Known>>,
    projects: Projects,
    control_namespace: String,
}

impl Orphans {
    /// Follows the bus from now on. `fresh` is told of every Application that was not known: one that is made anew over
    /// objects that are there has a tree although none of them changes.
    pub(super) fn start(
        bus: Bus,
        projects: Projects,
        control_namespace: String,
        fresh: mpsc::UnboundedSender<AppKey>,
    ) -> Self {
        let known: Arc<RwLock<Known>> = Arc::default();
        let fold = known.clone();
        tokio::spawn(follow::<Application, _>(bus, Bucket::Apps, move |change| {
            let mut known = fold.write().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Put { key, mut value, .. } => {
                    (value.status, value.operation) = (None, None);
                    let app = value.key();
                    if known.apps.insert(key, value).is_none() {
                        // Nobody listens any more only when the process goes down.
                        let _ = fresh.send(app);
                    }
                }
                Change::Delete { key, .. } => drop(known.apps.remove(&key)),
                Change::Snapshot => known.complete = true,
                Change::Reset => *known = Known::default(),
            }
        }));
        Self { known, projects, control_namespace }
    }

    fn granted<T>(&self, app: &AppKey, ask: impl FnOnce(&Application, &Grant) -> T) -> Option<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let app = known.apps.get(&app.token())?;
        match permit(&self.projects, app, &self.control_namespace) {
            Permit::Granted(grant) => Some(ask(app, &grant)),
            Permit::NotYet | Permit::Refused { .. } => None,
        }
    }

    /// Where to look for an Application, if its project asks for it.
    pub(super) fn of(&self, app: &AppKey) -> Option<Monitored> {
        self.granted(app, |app, grant| grant.monitored(app)).flatten()
    }

    /// The Applications for which a namespace is looked at.
    pub(super) fn watching(&self, namespace: &str) -> Vec<AppKey> {
        let there = |app: &&Application| app.spec.destination.namespace.as_deref() == Some(namespace);
        let keys: Vec<AppKey> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.apps.values().filter(there).map(Application::key).collect()
        };
        keys.into_iter().filter(|key| self.of(key).is_some()).collect()
    }

    /// Whether there is such an Application: one that is gone tracks nothing.
    pub(super) fn exists(&self, app: &AppKey) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        !known.complete || known.apps.contains_key(&app.token())
    }

    /// Whether the Application's project permits the kind: of others it learns nothing.
    pub(super) fn permits(&self, app: &AppKey, key: &ResourceKey) -> bool {
        self.granted(app, |_, grant| grant.permits_live(key)).unwrap_or(false)
    }
}

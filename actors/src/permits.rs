//! What an Application may, by its AppProject: asked by differ and syncer alike, so that what is shown as allowed is
//! what is done. The rules are `tako_engine`'s.
use std::sync::Arc;

use tako_engine::app::Application;
use tako_engine::orphan::Monitored;
use tako_engine::project::{AppProject, KnownCluster, Place};
use tako_engine::resource::ResourceKey;
use tako_engine::validate::{self, SpecProblem};
use tako_engine::windows::SyncWindow;

use crate::adapters::cluster::IN_CLUSTER;
use crate::projects::{Found, Projects};

/// The clusters that are known: the one that the control plane runs for, under the names that Argo CD gives it.
fn known_clusters() -> Vec<KnownCluster> {
    vec![KnownCluster { server: IN_CLUSTER.to_owned(), name: "in-cluster".to_owned(), ..KnownCluster::default() }]
}

/// The answer for an Application.
pub(crate) enum Permit {
    /// The projects are not known yet: decide nothing.
    NotYet,
    /// It may not be.
    Refused {
        /// Why.
        problems: Vec<SpecProblem>,
        /// The bounds all the same, for its deletion; `None` without a project.
        grant: Option<Grant>,
    },
    /// It may be, within these bounds.
    Granted(Grant),
}

/// The bounds.
pub(crate) struct Grant {
    project: Arc<AppProject>,
    /// The destination first.
    known: Vec<KnownCluster>,
}

/// Asks.
pub(crate) fn permit(projects: &Projects, app: &Application, control_namespace: &str) -> Permit {
    let known = known_clusters();
    let project = match projects.find(app) {
        Found::NotYet => return Permit::NotYet,
        Found::Missing => None,
        Found::Is(project) => Some(project),
    };
    let problems = validate::spec_problems(app, project.as_deref(), &known, control_namespace);
    match project.map(|project| Grant { project, known }) {
        Some(grant) if problems.is_empty() => Permit::Granted(grant),
        grant => Permit::Refused { problems, grant },
    }
}

/// Whether the destination is a cluster that is known, whatever the project says.
pub(crate) fn destination_known(app: &Application) -> bool {
    validate::cluster_of(&app.spec.destination, &known_clusters()).is_ok()
}

impl Grant {
    fn place(&self) -> Place<'_> {
        Place { cluster: &self.known[0], known: &self.known }
    }

    /// Why an object may not be synced. `namespaced`: what the cluster says of the kind; one that it does not serve yet
    /// must be permitted either way.
    pub(crate) fn refuses(&self, key: &ResourceKey, namespaced: Option<bool>) -> Option<String> {
        match namespaced {
            Some(namespaced) => self.project.refuses(key, namespaced, self.place()),
            None => self
                .project
                .refuses(key, !key.namespace.is_empty(), self.place())
                .or_else(|| self.project.refuses(key, key.namespace.is_empty(), self.place())),
        }
    }

    /// Whether a live object is within the bounds: what is not is neither shown nor deleted.
    pub(crate) fn permits_live(&self, key: &ResourceKey) -> bool {
        self.project.permits_live(key, self.place())
    }

    /// The project's sync windows.
    pub(crate) fn windows(&self) -> &[SyncWindow] {
        &self.project.spec.sync_windows
    }

    /// Where orphaned objects are looked for, if the project asks for it.
    pub(crate) fn monitored(&self, app: &Application) -> Option<Monitored> {
        let asked = serde_json::to_value(self.project.spec.orphaned_resources.as_ref()?).ok()?;
        let namespace = app.spec.destination.namespace.as_deref().unwrap_or_default();
        Monitored::compile(&asked, namespace).unwrap_or_else(|problem| {
            tracing::warn!(project = app.spec.project, problem, "orphaned resources are not looked for");
            None
        })
    }

    /// Whom to be in a sync; `None` when no account is named for the destination.
    pub(crate) fn impersonated(&self, app: &Application) -> Result<Option<String>, String> {
        self.project.impersonated(app, &self.place().cluster.server)
    }
}

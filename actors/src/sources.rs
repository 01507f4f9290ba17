//! Sources as the stages see them: the store, and what the cluster and the settings add to it. Shared by watcher, renderer and
//! syncer, so that what is compared is what is synced. Knows nothing of the bus.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tako_engine::app::Application;
use tako_engine::integrity::{self, Demand};
use tako_engine::repository::Repositories;
use tako_engine::source::Source;
use tako_sources::git::GitSettings;
use tako_sources::request::{AppInfo, RenderError, Request};
use tako_sources::settings::RenderSettings;
use tako_sources::store::{Found, Store, Surroundings};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::adapters::cluster::Cluster;
use crate::adapters::repositories::RepositorySecrets;
use crate::projects::{self, Projects};
use crate::settings::Settings;

/// Where a repository is kept apart: its URL, and whose credentials it is read with (an AppProject, or nobody's in particular).
/// What one project's credentials fetched is not shown to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RepoId {
    /// As in `repoURL`.
    pub(crate) url: String,
    /// Empty: no project's.
    pub(crate) scope: String,
}

impl RepoId {
    /// The repository of a URL for an Application of `project`.
    pub(crate) fn of(repositories: &Repositories, url: &str, project: &str) -> Self {
        Self { url: url.to_owned(), scope: repositories.of(url, project).project }
    }

    /// Its key on the bus.
    pub(crate) fn key(&self) -> String {
        if self.scope.is_empty() {
            tako_bus::repo_key(&self.url)
        } else {
            tako_bus::repo_key(&format!("{}\0{}", self.url, self.scope))
        }
    }
}

/// The handles. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    /// What is fetched.
    pub(crate) store: Store,
    /// Who may read what.
    pub(crate) secrets: RepositorySecrets,
    cluster: Cluster,
    settings: Settings,
    projects: Projects,
    control_namespace: String,
    plugin_sockets: PathBuf,
    /// The turns of renders, under a limit.
    turns: Arc<Mutex<(usize, Arc<Semaphore>)>>,
}

/// What the project demands of the signatures of each source; `None` where nothing.
pub(crate) type Demands = Vec<Option<Demand>>;

impl Sources {
    /// The handles, with the caches below `data_dir`.
    pub(crate) fn open(
        (data_dir, git, plugin_sockets): (&Path, GitSettings, PathBuf),
        secrets: RepositorySecrets,
        (cluster, settings, projects): (Cluster, Settings, Projects),
        control_namespace: String,
    ) -> Result<Self, RenderError> {
        let turns = Arc::new(Mutex::new((0, Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))));
        let store = Store::open(data_dir, git)?;
        Ok(Self { store, secrets, cluster, settings, projects, control_namespace, plugin_sockets, turns })
    }

    /// Waits until another render may run (`reposerver.parallelism.limit`); hold it while it does. A new limit holds for those who come
    /// then.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.settings.parallelism();
        let semaphore = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.0 != limit {
                let permits = if limit == 0 { Semaphore::MAX_PERMITS } else { limit };
                *turns = (limit, Arc::new(Semaphore::new(permits)));
            }
            turns.1.clone()
        };
        semaphore.acquire_owned().await.ok()
    }

    /// What the project demands of these sources; `None` while the projects are not known. What cannot be told is refused.
    pub(crate) fn demands(&self, app: &Application, sources: &[Source]) -> Result<Option<Demands>, String> {
        match self.projects.find(app) {
            projects::Found::NotYet => Ok(None),
            // Without a project nothing is synced.
            projects::Found::Missing => Ok(Some(vec![None; sources.len()])),
            projects::Found::Is(project) => sources
                .iter()
                .map(|source| integrity::demand(&project.spec, &source.repo_url))
                .collect::<Result<_, _>>()
                .map(Some),
        }
    }

    /// Refuses revisions that are not signed as demanded. Blocks.
    pub(crate) fn verify(
        &self,
        sources: &[Source],
        found: &[Found],
        around: &Surroundings,
        demands: &[Option<Demand>],
    ) -> Result<(), RenderError> {
        for ((source, found), demand) in sources.iter().zip(found).zip(demands) {
            if let Some(demand) = demand {
                self.store.verify(source, around, found, demand)?;
            }
        }
        Ok(())
    }

    /// What the renders of an Application need besides its sources.
    pub(crate) async fn surroundings(&self, app: &Application) -> Result<Surroundings, String> {
        // The list of repositories comes with that of the keys.
        let repositories = self.secrets.current().await;
        Ok(Surroundings {
            app: AppInfo::of(app, &self.control_namespace),
            cluster: self.cluster.versions().await,
            settings: RenderSettings { plugin_sockets: self.plugin_sockets.clone(), ..self.settings.rendering() },
            repositories,
            sops: self.secrets.keys_of(app)?,
        })
    }

    /// The requests for all sources of an Application. Blocks.
    pub(crate) fn requests(
        &self,
        sources: &[Source],
        revisions: &[String],
        around: &Surroundings,
    ) -> Result<Vec<Option<Request>>, RenderError> {
        self.store.requests(sources, revisions, around, |source, revision| self.store.tree(source, around, revision))
    }
}

//! All that sources come from, behind one door: git repositories, Helm repositories, registries. Answers where a wish points now, and makes the
//! request from which a source is rendered. Everything here blocks. Knows nothing of clusters and of the bus.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tako_engine::repository::{Repositories, Repository};
use tako_engine::source::{Origin, Source, Wanted};

use crate::git::{Commit, GitCache, GitError, redact};
use crate::request::{AppInfo, ClusterInfo, RefTree, RenderError, Request};
use crate::settings::RenderSettings;
use crate::tree::Tree;

/// The caches. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    git: GitCache,
    scratch: PathBuf,
}

/// Everything outside the sources themselves that the renders of an Application need.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// For whom.
    pub app: AppInfo,
    /// The cluster that the manifests are for.
    pub cluster: ClusterInfo,
    /// The settings of the installation.
    pub settings: RenderSettings,
    /// All repositories and credentials.
    pub repositories: Repositories,
}

/// What a look at a repository showed of one wish.
#[derive(Debug)]
pub struct Look {
    /// What is wanted.
    pub wanted: Wanted,
    /// Where it pointed before.
    pub from: Option<String>,
    /// Where it points now; `None`: there is no such thing.
    pub to: Option<String>,
    /// The paths that differ; `None` when that is not known.
    pub changed: Option<Vec<String>>,
}

impl Store {
    /// The caches below `data_dir`.
    pub fn open(data_dir: &Path) -> Result<Self, RenderError> {
        let scratch = data_dir.join("renders");
        // What a killed process left behind.
        let _ = std::fs::remove_dir_all(&scratch);
        Ok(Self { git: GitCache::open(&data_dir.join("repos"))?, scratch })
    }

    /// Looks at a repository: where what is wanted of it points now. One look serves all who follow the repository.
    pub fn look(
        &self,
        repository: &Repository,
        followed: Vec<(Wanted, Option<String>)>,
    ) -> Result<Vec<Look>, RenderError> {
        let git = self.git.repository(&repository.url)?;
        let refs = git.fetch()?;
        followed
            .into_iter()
            .map(|(wanted, from)| {
                let to = refs.resolve(&wanted.revision).filter(|commit| git.has(commit));
                let changed = match (&to, &from) {
                    (Some(to), Some(from)) if to != from => Some(git.changed_paths(from, to)?),
                    (_, Some(_)) => Some(Vec::new()),
                    _ => None,
                };
                Ok(Look { wanted, from, to, changed })
            })
            .collect()
    }

    /// The commit, version or digest that a source means by `revision`. What is here already needs no fetch: an operation in
    /// progress outlives its repository's absence.
    pub fn resolve(&self, source: &Source, around: &Surroundings, revision: &str) -> Result<String, RenderError> {
        let repository = around.repository(source);
        let wanted = Wanted { revision: revision.to_owned(), ..source.wanted() };
        match source.origin(repository.kind) {
            Origin::Git if self.git.repository(&repository.url)?.has(revision) => Ok(revision.to_owned()),
            _ => {
                let found = self.look(&repository, vec![(wanted.clone(), None)])?.pop().and_then(|look| look.to);
                found.ok_or_else(|| missing(&source.repo_url, &wanted))
            }
        }
    }

    /// The files of a source at a revision that was resolved.
    pub fn tree(&self, source: &Source, around: &Surroundings, revision: &str) -> Result<Tree, RenderError> {
        let repository = around.repository(source);
        Ok(Tree::of_commit(Commit::open(&self.git.repository(&repository.url)?, revision)?))
    }

    /// The requests for all sources of an Application at these revisions, in order; `None` for a source that renders
    /// nothing. `tree` gives the files of a source.
    pub fn requests(
        &self,
        sources: &[Source],
        revisions: &[String],
        around: &Surroundings,
        tree: impl Fn(&Source, &str) -> Result<Tree, RenderError>,
    ) -> Result<Vec<Option<Request>>, RenderError> {
        let with = || sources.iter().zip(revisions);
        let mut refs = BTreeMap::new();
        for (source, revision) in with() {
            if let Some(name) = source.reference.as_deref().filter(|name| !name.is_empty()) {
                let (repo_url, revision, tree) = (source.repo_url.clone(), revision.clone(), tree(source, revision)?);
                refs.insert(name.trim_start_matches('$').to_owned(), RefTree { repo_url, revision, tree });
            }
        }
        with()
            .map(|(source, revision)| {
                if source.is_only_ref() {
                    return Ok(None);
                }
                Ok(Some(Request {
                    app: around.app.clone(),
                    source: source.clone(),
                    revision: revision.clone(),
                    tree: tree(source, revision)?,
                    refs: refs.clone(),
                    cluster: around.cluster.clone(),
                    settings: around.settings.clone(),
                    repositories: around.repositories.clone(),
                    scratch: self.scratch.clone(),
                }))
            })
            .collect()
    }
}

impl Surroundings {
    /// The repository of a source, as the Application's project may use it.
    pub fn repository(&self, source: &Source) -> Repository {
        self.repositories.of(&source.repo_url, &self.app.project)
    }
}

/// There is no such revision.
pub fn missing(repo_url: &str, wanted: &Wanted) -> RenderError {
    let url = redact(repo_url);
    if wanted.chart.is_empty() {
        return GitError::NoRevision { url, revision: wanted.revision.clone() }.into();
    }
    RenderError::Spec(format!(
        "chart {} has no version {} in {url}; publish it or correct targetRevision",
        wanted.chart, wanted.revision
    ))
}

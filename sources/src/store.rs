//! All that sources come from, behind one door: git repositories, Helm repositories, registries. Answers where a wish points now, and
//! makes the request from which a source is rendered. Everything here blocks. Knows nothing of clusters and of the bus.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tako_engine::integrity::{self, Demand};
use tako_engine::repository::{Repositories, Repository};
use tako_engine::source::{Origin, Source, Wanted};
use tako_engine::trust::Trust;

use crate::charts::Charts;
use crate::git::{Commit, GitCache, GitError, GitSettings, Keyring, Maintained, Resolved, Submodules, redact};
use crate::oci::Artifacts;
use crate::request::{AppInfo, ClusterInfo, RefTree, RenderError, Request};
use crate::settings::{self, RenderSettings};
use crate::sops::Keys;
use crate::tree::Tree;

/// The caches. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    git: GitCache,
    trusted: Arc<RwLock<Trusted>>,
    root: PathBuf,
}

/// What depends on whom the installation trusts.
#[derive(Clone)]
struct Trusted {
    trust: Arc<Trust>,
    charts: Charts,
    artifacts: Artifacts,
    keyring: Option<Arc<Keyring>>,
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
    /// What opens encrypted files.
    pub sops: Option<Arc<Keys>>,
}

/// What something that is wanted is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The commit, chart version or digest.
    pub revision: String,
    /// Full name and id of the annotated tag by which it was named.
    pub tag: Option<(String, String)>,
}

/// What a look at a repository showed of one wish.
#[derive(Debug)]
pub struct Look {
    /// What is wanted.
    pub wanted: Wanted,
    /// Where it pointed before.
    pub from: Option<String>,
    /// Where it points now; `None`: there is no such thing.
    pub to: Option<Found>,
    /// The paths that differ; `None` when that is not known.
    pub changed: Option<Vec<String>>,
}

impl Store {
    /// The caches below `data_dir`.
    pub fn open(data_dir: &Path, git: GitSettings) -> Result<Self, RenderError> {
        // What a killed process left behind.
        let _ = std::fs::remove_dir_all(data_dir.join("renders"));
        let git = GitCache::open_with(&data_dir.join("repos"), git)?;
        let trusted = Arc::new(RwLock::new(Trusted::new(data_dir, Trust::default())?));
        Ok(Self { git, trusted, root: data_dir.to_owned() })
    }

    /// From now on these certificates, host keys and signers are trusted.
    pub fn trust(&self, trust: Trust) -> Result<(), RenderError> {
        let next = Trusted::new(&self.root, trust)?;
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    fn trusted(&self) -> Trusted {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packs and bounds the caches of git; not needed often.
    pub fn maintain(&self) -> Result<Maintained, RenderError> {
        Ok(self.git.maintain()?)
    }

    /// Looks at a repository: where what is wanted of it points now. One look serves all who follow the repository.
    pub fn look(
        &self,
        repository: &Repository,
        followed: Vec<(Wanted, Option<String>)>,
    ) -> Result<Vec<Look>, RenderError> {
        let trusted = self.trusted();
        let git = |wanted: &Wanted| wanted.chart.is_empty() && origin(repository, wanted) == Origin::Git;
        let fetched = if followed.iter().any(|(wanted, _)| git(wanted)) {
            let cached = self.git.repository(repository, &trusted.trust)?;
            let refs = cached.fetch()?;
            Some((cached, refs))
        } else {
            None
        };
        followed
            .into_iter()
            .map(|(wanted, from)| {
                let to = match (&fetched, origin(repository, &wanted)) {
                    (_, Origin::Chart) => absent(trusted.charts.resolve(repository, &wanted.chart, &wanted.revision))?,
                    (_, Origin::Artifact) => absent(trusted.artifacts.resolve(repository, &wanted.revision))?,
                    (None, Origin::Git) => None,
                    (Some((cached, refs)), Origin::Git) => {
                        match cached.resolve(refs, &wanted.revision, &wanted.tag_prefix) {
                            Ok(resolved) => Some(found(resolved)),
                            Err(GitError::NoRevision { .. }) => None,
                            Err(error) => return Err(error.into()),
                        }
                    }
                };
                let changed = match (&fetched, &to, &from) {
                    (_, Some(to), Some(from)) if to.revision == *from => Some(Vec::new()),
                    (Some((cached, _)), Some(to), Some(from)) if git(&wanted) => {
                        Some(cached.changed_paths(from, &to.revision)?)
                    }
                    _ => None,
                };
                Ok(Look { wanted, from, to, changed })
            })
            .collect()
    }

    /// The commit, version or digest that a source means by `revision`. What is here already needs no fetch: an operation in
    /// progress outlives its repository's absence.
    pub fn resolve(&self, source: &Source, around: &Surroundings, revision: &str) -> Result<Found, RenderError> {
        let repository = around.repository(source);
        let wanted = Wanted { revision: revision.to_owned(), ..source.wanted() };
        if source.origin(repository.kind) == Origin::Git
            && self.git.repository(&repository, &self.trusted().trust)?.has(revision)
        {
            return Ok(Found { revision: revision.to_owned(), tag: None });
        }
        let found = self.look(&repository, vec![(wanted.clone(), None)])?.pop().and_then(|look| look.to);
        found.ok_or_else(|| missing(&source.repo_url, &wanted))
    }

    /// The files of a source at a revision that was resolved.
    pub fn tree(&self, source: &Source, around: &Surroundings, revision: &str) -> Result<Tree, RenderError> {
        let repository = around.repository(source);
        let trusted = self.trusted();
        match source.origin(repository.kind) {
            Origin::Git => Ok(Tree::of_commit(self.commit(&repository, around, revision)?)),
            Origin::Chart => {
                let everywhere = source.helm.as_ref().is_some_and(|helm| helm.pass_credentials);
                let charts = trusted.charts.passing_credentials(everywhere);
                charts.fetch(&repository, source.chart.as_deref().unwrap_or_default(), revision, &around.settings)
            }
            Origin::Artifact => trusted.artifacts.fetch(&repository, revision, &around.settings),
        }
    }

    fn commit(&self, repository: &Repository, around: &Surroundings, id: &str) -> Result<Commit, RenderError> {
        let trusted = self.trusted();
        let cached = self.git.repository(repository, &trusted.trust)?;
        if !around.settings.submodules {
            return Ok(Commit::open(&cached, id)?);
        }
        let (repositories, project) = (&around.repositories, around.app.project.as_str());
        let submodules = Submodules { cache: &self.git, repositories, project, trust: &trusted.trust };
        Ok(Commit::open_with(&cached, id, submodules)?)
    }

    /// Refuses a revision whose signatures are not what the project demands. What cannot be verified is refused.
    pub fn verify(
        &self,
        source: &Source,
        around: &Surroundings,
        found: &Found,
        demand: &Demand,
    ) -> Result<(), RenderError> {
        let repository = around.repository(source);
        let refuse = |reason: String| RenderError::Spec(format!("{}: {reason}", redact(&source.repo_url)));
        if source.origin(repository.kind) != Origin::Git {
            return Err(refuse(
                "the project demands signatures, and these are verified in git repositories only".to_owned(),
            ));
        }
        let keyring = self.trusted().keyring.ok_or_else(|| {
            refuse("the project demands signatures, and the keyring cannot be made; is gpg installed?".to_owned())
        })?;
        let commit = self.commit(&repository, around, &found.revision)?;
        let (name, tag) = found.tag.clone().unzip();
        let resolved = Resolved { commit: found.revision.clone(), name, tag };
        let signatures = commit.signatures(&resolved, demand.strict, &keyring)?;
        let problems = integrity::problems(demand, &signatures);
        if problems.is_empty() { Ok(()) } else { Err(refuse(problems.join("; "))) }
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
        let mut settings = around.settings.clone();
        settings.trust = settings::Trusted(self.trusted().trust);
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
                    settings: settings.clone(),
                    repositories: around.repositories.clone(),
                    sops: around.sops.clone(),
                    scratch: self.root.join("renders"),
                }))
            })
            .collect()
    }
}

impl Trusted {
    fn new(root: &Path, trust: Trust) -> Result<Self, RenderError> {
        let trust = Arc::new(trust);
        // Without any key whatever must be signed is refused, as it must be.
        let keyring = Keyring::open(&trust, trust.allowed_signers());
        let keyring =
            keyring.map_err(|error| tracing::error!(error, "what must be signed is refused")).ok().map(Arc::new);
        Ok(Self {
            charts: Charts::with_trust(&root.join("charts"), trust.clone())?,
            artifacts: Artifacts::with_trust(&root.join("artifacts"), trust.clone())?,
            trust,
            keyring,
        })
    }
}

impl Surroundings {
    /// The repository of a source, as the Application's project may use it.
    pub fn repository(&self, source: &Source) -> Repository {
        self.repositories.of(&source.repo_url, &self.app.project)
    }
}

fn origin(repository: &Repository, wanted: &Wanted) -> Origin {
    let chart = Some(wanted.chart.clone()).filter(|chart| !chart.is_empty());
    Source { repo_url: repository.url.clone(), chart, ..Source::default() }.origin(repository.kind)
}

fn found(resolved: Resolved) -> Found {
    let tag = resolved.name.zip(resolved.tag);
    Found { revision: resolved.commit, tag }
}

/// Nothing of that name or version is no failure of the look.
fn absent(resolved: Result<String, RenderError>) -> Result<Option<Found>, RenderError> {
    match resolved {
        Ok(revision) => Ok(Some(Found { revision, tag: None })),
        Err(error) if error.is_passing() => Err(error),
        Err(_) => Ok(None),
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

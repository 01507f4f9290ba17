//! What a render is given and what it gives: one source of an Application, at one revision. Knows nothing of the bus, of clusters
//! and of what is done with the manifests.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tako_engine::app::Application;
use tako_engine::repository::Repositories;
use tako_engine::source::{Source, SourceType};

use crate::git::GitError;
use crate::process::ProcessError;
use crate::settings::RenderSettings;
use crate::sops::{Keys, SopsError};
use crate::tree::{Inputs, Tree, TreeError};

/// Says what a render reads, where that cannot be found out; `;` between paths.
pub const GENERATE_PATHS: &str = "argocd.argoproj.io/manifest-generate-paths";

/// Everything that one source is rendered from.
#[derive(Clone)]
pub struct Request {
    /// For whom.
    pub app: AppInfo,
    /// What is wanted, with the overrides of the repository already in it.
    pub source: Source,
    /// The commit, chart version or digest that `targetRevision` resolved to.
    pub revision: String,
    /// The files: of the repository, or of the unpacked chart or artifact. `source.path` is relative to its root.
    pub tree: Tree,
    /// The trees of other sources, by their `ref` without the `$`.
    pub refs: BTreeMap<String, RefTree>,
    /// The cluster that the manifests are for.
    pub cluster: ClusterInfo,
    /// The settings of the installation.
    pub settings: RenderSettings,
    /// All repositories, for what the tool itself must fetch.
    pub repositories: Repositories,
    /// What opens encrypted files; absent, nothing is opened (ADR 0010).
    pub sops: Option<Arc<Keys>>,
    /// A directory for jails; each render makes and removes its own below it.
    pub scratch: PathBuf,
}

/// Another source whose files may be taken.
#[derive(Debug, Clone)]
pub struct RefTree {
    /// Its repository.
    pub repo_url: String,
    /// The commit.
    pub revision: String,
    /// Its files.
    pub tree: Tree,
}

/// What the tools are told of the Application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppInfo {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, when it is not the control plane's own; empty otherwise.
    pub namespace: String,
    /// `spec.project`.
    pub project: String,
    /// `spec.destination.namespace`.
    pub destination_namespace: String,
    /// The annotation `argocd.argoproj.io/manifest-generate-paths`.
    pub generate_paths: Option<String>,
}

impl AppInfo {
    /// Of an Application; `control_namespace` is the control plane's own.
    pub fn of(app: &Application, control_namespace: &str) -> Self {
        let elsewhere = app.metadata.namespace != control_namespace;
        Self {
            name: app.metadata.name.clone(),
            namespace: if elsewhere { app.metadata.namespace.clone() } else { String::new() },
            project: app.spec.project.clone(),
            destination_namespace: app.spec.destination.namespace.clone().unwrap_or_default(),
            generate_paths: app.metadata.annotations.get(GENERATE_PATHS).cloned(),
        }
    }
}

/// What the tools are told of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// `1.37.2`; empty when it is not known.
    pub kube_version: String,
    /// `apps/v1/Deployment`, `apps/v1`, …
    pub api_versions: Arc<[String]>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The manifests in order.
    pub manifests: Vec<Value>,
    /// The tool.
    pub source_type: SourceType,
    /// What was read of the source's own tree.
    pub inputs: Inputs,
    /// What was read of the trees of other sources, by their `ref`.
    pub ref_inputs: BTreeMap<String, Inputs>,
    /// The command lines, without secrets, for people.
    pub commands: Vec<String>,
}

/// Why a target state could not be worked out, in words for the condition.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The repository or revision.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file or directory.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file is no good.
    #[error("{file}:{line}:{column}: {message}")]
    Manifest {
        /// The path in the repository.
        file: String,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
        /// What is wrong and what to do.
        message: String,
    },
    /// The Application's source or the settings say something that cannot be done.
    #[error("{0}")]
    Spec(String),
    /// The tool failed.
    #[error("{tool}: {source}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// How.
        source: ProcessError,
    },
    /// What the tool does in process failed.
    #[error("{tool}: {message}")]
    Failed {
        /// Its name.
        tool: &'static str,
        /// How, naming the file.
        message: String,
    },
    /// Encrypted files.
    #[error(transparent)]
    Sops(#[from] SopsError),
    /// Something that must be fetched cannot be: trying again may help.
    #[error("{what} cannot be fetched: {reason}; check the URL, the network and the credentials")]
    Unreachable {
        /// The URL without credentials.
        what: String,
        /// What was said.
        reason: String,
    },
    /// Our own disk.
    #[error("the directory for renders {path} cannot be used: {reason}; check the disk and the rights of --data-dir")]
    Scratch {
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl From<tako_engine::parse::ParseProblem> for RenderError {
    fn from(problem: tako_engine::parse::ParseProblem) -> Self {
        Self::Manifest { file: problem.file, line: problem.line, column: problem.column, message: problem.message }
    }
}

impl RenderError {
    /// Somebody else must be there again first: the same render may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Git(GitError::Unreachable { .. }))
    }
}

impl Request {
    /// The directory of the source in its tree, cleaned.
    pub fn path(&self) -> Result<String, TreeError> {
        crate::tree::clean(self.source.path.as_deref().unwrap_or_default())
    }

    /// A jail of its own, removed when it is dropped.
    pub fn jail(&self) -> Result<tempfile::TempDir, RenderError> {
        let fail = |error: std::io::Error| RenderError::Scratch {
            path: self.scratch.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::create_dir_all(&self.scratch).map_err(fail)?;
        tempfile::Builder::new().prefix("render-").tempdir_in(&self.scratch).map_err(fail)
    }

    /// Splits what a tool printed into manifests; `what` names it in errors.
    pub fn parse(what: &str, text: &str) -> Result<Vec<Value>, RenderError> {
        Ok(tako_engine::parse::parse_manifests(what, text)?)
    }
}

/// Where the programs are. Absent: found in PATH under the tool's own name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    /// Helm 3 or 4.
    pub helm: Option<PathBuf>,
    /// Kustomize.
    pub kustomize: Option<PathBuf>,
    /// git, for what gix cannot do.
    pub git: Option<PathBuf>,
    /// A program whose `main` is [`crate::jsonnet_main`] when its first argument is `render-jsonnet`; the one that runs when absent.
    pub jsonnet: Option<PathBuf>,
}

impl Tools {
    /// The program, found in PATH when it is not set. `None`: it is not there.
    pub fn find(set: Option<&Path>, name: &str) -> Option<PathBuf> {
        if let Some(path) = set {
            return Some(path.to_owned());
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
    }
}

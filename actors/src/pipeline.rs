//! Starts the actors of this process's roles, top to bottom.
use std::path::PathBuf;

use tako_bus::{Bus, BusError};
use tako_sources::git::GitSettings;
use tako_sources::request::RenderError;
use tokio::runtime::Handle;

use crate::adapters::cluster::{Applications, Cluster, ClusterError};
use crate::adapters::repositories::RepositorySecrets;
use crate::adapters::trust;
use crate::app_events::AppEvents;
use crate::authz::Authz;
use crate::comparing::Comparing;
use crate::differ::Differ;
use crate::healths::Healths;
use crate::ignored::IgnoreRules;
use crate::observer::Observer;
use crate::projects::Projects;
use crate::registry::Registry;
use crate::renderer::{RenderPause, Renderer};
use crate::runtime::stage;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::sources::Sources;
use crate::syncer::Syncer;
use crate::watcher::Watcher;

/// What a process does. One process may do all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Applications and settings onto the bus.
    Registry,
    /// Repositories.
    Watcher,
    /// Target states.
    Renderer,
    /// Live states and trees.
    Observer,
    /// Comparison and automation.
    Differ,
    /// Operations.
    Syncer,
    /// Sign-in and signatures.
    Authz,
}

impl Role {
    /// All of them, in pipeline order.
    pub const ALL: [Self; 7] =
        [Self::Registry, Self::Watcher, Self::Renderer, Self::Observer, Self::Differ, Self::Syncer, Self::Authz];
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| format!("{role:?}").eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            format!(
                "{text}: no such role; choose from registry, watcher, renderer, observer, differ, syncer, authz, web"
            )
        })
    }
}

/// What the actors need to know.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// What this process does.
    pub roles: Vec<Role>,
    /// The namespace of Applications and settings.
    pub namespace: String,
    /// No other process is on this bus.
    pub alone: bool,
    /// Where the caches of repositories live.
    pub data_dir: PathBuf,
    /// `file://` repositories may be read: only where whoever writes Applications may read this machine's disk.
    pub allow_file_repositories: bool,
    /// Where the sockets of config management plugins are.
    pub plugin_sockets: PathBuf,
    /// When renders that fail rest.
    pub render_pause: RenderPause,
}

/// Why the actors could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The control cluster.
    #[error("the control cluster refused: {0}; check the kubeconfig and the rights of its user")]
    Kube(#[from] kube::Error),
    /// The caches of repositories.
    #[error("{0}")]
    Cache(String),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers; check /dev/urandom")]
    Random,
    /// The destination cluster.
    #[error("{0}")]
    Cluster(String),
}

impl From<RenderError> for StartError {
    fn from(error: RenderError) -> Self {
        Self::Cache(error.to_string())
    }
}

impl From<ClusterError> for StartError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error.to_string())
    }
}

/// Starts every actor of the roles. `pool` is the shared I/O runtime, on which this must be called;
/// `arbiter` runs the actors' mailboxes.
pub async fn start(
    config: &PipelineConfig,
    bus: &Bus,
    kubernetes: kube::Config,
    pool: &Handle,
    arbiter: &actix_rt::ArbiterHandle,
) -> Result<(), StartError> {
    let has = |role| config.roles.contains(&role);
    let namespace = config.namespace.clone();
    let settings = Settings::start(bus.clone());
    let cluster = Cluster::new(kubernetes)?;
    let client = cluster.client();
    let rules = IgnoreRules::new(settings.clone());
    let secrets = RepositorySecrets::start(client.clone(), &namespace);
    let projects = Projects::start(bus.clone(), settings.clone());
    let git = GitSettings { allow_file: config.allow_file_repositories, ..GitSettings::default() };
    let knows = (cluster.clone(), settings.clone(), projects.clone());
    let sources =
        Sources::open((&config.data_dir, git, config.plugin_sockets.clone()), secrets, knows, namespace.clone())?;
    trust::follow(client.clone(), &namespace, sources.store.clone());
    let shared = Shared {
        bus: bus.clone(),
        cluster: cluster.clone(),
        applications: Applications::new(client.clone()),
        sources,
        comparing: Comparing::new(settings.clone(), rules.clone()),
        rules,
        healths: Healths::new(settings.clone()),
        events: AppEvents::new(client.clone(), settings.clone(), projects.clone()),
        projects,
        settings: settings.clone(),
        alone: config.alone,
        control_namespace: namespace.clone(),
    };
    if has(Role::Authz) {
        Authz::start(bus, client.clone(), namespace.clone()).await?;
    }
    if has(Role::Syncer) {
        let syncer = Syncer::new(shared.clone());
        syncer.clone().serve_plans().await?;
        stage::start(syncer, bus.clone(), pool.clone(), arbiter);
    }
    if has(Role::Differ) {
        let differ = Differ::start(shared.clone());
        differ.clone().serve_managed().await?;
        stage::start(differ, bus.clone(), pool.clone(), arbiter);
    }
    if has(Role::Observer) {
        // Rules of its own: what takes long here must not hold up comparisons.
        let rules = (IgnoreRules::new(settings.clone()), shared.healths.clone());
        Observer::start(bus.clone(), shared.cluster.clone(), rules, shared.projects.clone(), namespace.clone());
    }
    if has(Role::Renderer) {
        let renderer = Renderer::new(bus.clone(), shared.sources.clone(), settings.clone(), config.render_pause);
        stage::start(renderer, bus.clone(), pool.clone(), arbiter);
    }
    if has(Role::Watcher) {
        let watcher = Watcher::start(bus.clone(), shared.sources.clone(), settings);
        stage::start(watcher, bus.clone(), pool.clone(), arbiter);
    }
    if has(Role::Registry) {
        Registry::start(shared, client).await?;
    }
    Ok(())
}

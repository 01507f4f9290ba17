//! `tako run`: starts nats-server unless one is given, then the actors and the web of the wanted roles.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tako_actors::{PipelineConfig, RenderPause, Role};
use tako_bus::{Bus, BusConfig, EmbeddedConfig, EmbeddedNats};
use tako_web::WebConfig;

/// Threads of the shared I/O pool.
const POOL_THREADS: usize = 2;

/// Flags of `tako run`; each can be set by the environment.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Roles of this process: registry, watcher, renderer, observer, differ, syncer, authz, web. Default: all.
    #[arg(long, value_delimiter = ',', env = "TAKO_ROLES")]
    roles: Vec<String>,
    /// kubeconfig of the control cluster; without it the in-cluster account or the usual places.
    #[arg(long, env = "TAKO_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, env = "TAKO_CONTEXT")]
    context: Option<String>,
    /// Namespace of Applications and settings.
    #[arg(long, default_value = "argocd", env = "TAKO_NAMESPACE")]
    namespace: String,
    /// Address of the web and the API.
    #[arg(long, default_value = "127.0.0.1:8080", env = "TAKO_LISTEN")]
    listen: SocketAddr,
    /// Where git caches and the embedded NATS keep their files.
    #[arg(long, default_value = "/var/lib/takobune", env = "TAKO_DATA_DIR")]
    data_dir: PathBuf,
    /// Read file:// repositories: only where whoever writes Applications may read the disk of this machine
    #[arg(long, env = "TAKO_ALLOW_FILE_REPOSITORIES")]
    allow_file_repositories: bool,
    /// Where the sockets of config management plugins are
    #[arg(long, default_value = "/home/argocd/cmp-server/plugins", env = "ARGOCD_PLUGINSOCKFILEPATH")]
    plugin_sockets: PathBuf,
    /// Renders that failed so often in a row with the same inputs rest; 0 is never
    #[arg(long, default_value_t = 3, env = "ARGOCD_PAUSE_GEN_AFTER_FAILED_ATTEMPTS")]
    pause_after_failures: u32,
    /// How many minutes they rest
    #[arg(long, default_value_t = 60, env = "ARGOCD_PAUSE_GEN_MINUTES")]
    pause_minutes: u64,
    /// URL of a NATS to use; without it nats-server runs as a child.
    #[arg(long, env = "TAKO_NATS_URL")]
    nats_url: Option<String>,
    /// User of that NATS.
    #[arg(long, env = "TAKO_NATS_USER", requires = "nats_url")]
    nats_user: Option<String>,
    /// Password of that NATS.
    #[arg(long, env = "TAKO_NATS_PASSWORD", hide_env_values = true, requires = "nats_url")]
    nats_password: Option<String>,
    /// The nats-server program for the child.
    #[arg(long, default_value = "nats-server", env = "TAKO_NATS_SERVER")]
    nats_server: PathBuf,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,kube=warn,async_nats=warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("another TLS provider is already installed");
    }
    let (roles, web) = roles(&args.roles)?;
    let pool = Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(POOL_THREADS).enable_all().build()?);
    let system_pool = pool.clone();
    // Actors run on the System's thread; everything they spawn goes to the shared pool.
    let system = actix_rt::System::with_tokio_rt(move || system_pool);
    let arbiter = system.block_on(async { actix_rt::Arbiter::current() });
    let handle = pool.handle().clone();
    let served = pool.spawn(serve(args, roles, web, handle, arbiter));
    system.block_on(served)?
}

fn roles(wanted: &[String]) -> anyhow::Result<(Vec<Role>, bool)> {
    if wanted.is_empty() {
        return Ok((Role::ALL.to_vec(), true));
    }
    let actors: Vec<Role> = wanted
        .iter()
        .filter(|role| *role != "web")
        .map(|role| role.parse::<Role>().map_err(anyhow::Error::msg))
        .collect::<Result<_, _>>()?;
    Ok((actors, wanted.iter().any(|role| role == "web")))
}

async fn serve(
    args: RunArgs,
    roles: Vec<Role>,
    web: bool,
    pool: tokio::runtime::Handle,
    arbiter: actix_rt::ArbiterHandle,
) -> anyhow::Result<()> {
    let mut embedded = None;
    let config = match &args.nats_url {
        Some(url) => BusConfig {
            url: url.clone(),
            user: args.nats_user.clone(),
            password: args.nats_password.clone(),
            process: process(),
            replicas: 1,
        },
        None => {
            let config = EmbeddedConfig { program: args.nats_server.clone(), store_dir: args.data_dir.join("nats") };
            let child = EmbeddedNats::start(config).await.context("nats-server did not start")?;
            let config = BusConfig {
                url: child.url(),
                user: Some(child.user()),
                password: Some(child.password()),
                process: process(),
                replicas: 1,
            };
            embedded = Some(child);
            config
        }
    };
    let bus = Bus::connect(&config).await.context("the bus is not there")?;
    if !roles.is_empty() {
        let kubernetes = kubernetes(&args).await?;
        let pipeline = PipelineConfig {
            roles,
            namespace: args.namespace.clone(),
            data_dir: args.data_dir.clone(),
            allow_file_repositories: args.allow_file_repositories,
            plugin_sockets: args.plugin_sockets.clone(),
            render_pause: RenderPause {
                after: args.pause_after_failures,
                pause: Duration::from_secs(args.pause_minutes.saturating_mul(60)),
            },
            alone: args.nats_url.is_none(),
        };
        tako_actors::start(&pipeline, &bus, kubernetes, &pool, &arbiter).await?;
    }
    let server = match web {
        true => Some(
            tako_web::serve(WebConfig { listen: args.listen, control_namespace: args.namespace.clone() }, bus.clone())
                .await?,
        ),
        false => None,
    };
    if let Some(server) = &server {
        tracing::info!(address = %server.local_addr(), "serving");
    }
    stop_signal().await?;
    tracing::info!("stopping");
    if let Some(server) = server {
        server.stop().await;
    }
    bus.close().await;
    if let Some(child) = embedded {
        child.stop().await;
    }
    Ok(())
}

fn process() -> String {
    format!("tako-{}/{}", std::process::id(), env!("CARGO_PKG_VERSION"))
}

async fn kubernetes(args: &RunArgs) -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    Ok(match &args.kubeconfig {
        Some(path) => kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if args.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
        None => kube::Config::infer().await?,
    })
}

async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

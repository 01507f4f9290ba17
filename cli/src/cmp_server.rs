//! `tako cmp-server`: the sidecar of a config management plugin, with the flags and the environment of argocd-cmp-server.
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use tako_sources::cmp_server::{Config, Settings, serve};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The name by which Argo CD's binary is the sidecar.
const NAME: &str = "argocd-cmp-server";

/// Flags of `tako cmp-server`.
#[derive(Args)]
pub(crate) struct CmpServerArgs {
    /// Directory of plugin.yaml.
    #[arg(long, default_value = "/home/argocd/cmp-server/config")]
    config_dir_path: PathBuf,
    /// One of: json|text
    #[arg(long, default_value = "json", env = "ARGOCD_CMP_SERVER_LOGFORMAT")]
    logformat: String,
    /// One of: trace|debug|info|warn|error
    #[arg(long, default_value = "info", env = "ARGOCD_CMP_SERVER_LOGLEVEL")]
    loglevel: String,
    /// Directory of the plugins' sockets.
    #[arg(long, default_value = "/home/argocd/cmp-server/plugins", env = "ARGOCD_PLUGINSOCKFILEPATH")]
    plugin_sock_file_path: PathBuf,
    /// Directory for the files of sources while commands run on them; the system's for temporary files when absent.
    #[arg(long, env = "ARGOCD_CMP_WORKDIR")]
    work_dir: Option<PathBuf>,
    /// Taken so that Argo CD's command lines go on working; traces are not sent.
    #[arg(long, hide = true, env = "ARGOCD_CMP_SERVER_OTLP_ADDRESS")]
    otlp_address: Option<String>,
}

/// The command line, with the subcommand put in when the binary is called as Argo CD's sidecar: by that name, or by the
/// variable that Argo CD has for it.
pub(crate) fn by_name(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let called = args.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == NAME);
    if called || std::env::var_os("ARGOCD_BINARY_NAME").is_some_and(|name| name == NAME) {
        args.insert(1.min(args.len()), "cmp-server".into());
    }
    args
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn cmp_server(args: CmpServerArgs) -> anyhow::Result<()> {
    let level = if args.loglevel == "warning" { "warn" } else { &args.loglevel };
    let filter = EnvFilter::try_new(level).with_context(|| format!("--loglevel {level}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.logformat.as_str() {
        "json" => log.json().flatten_event(true).init(),
        "text" => log.init(),
        other => bail!("--logformat {other}: json or text is wanted"),
    }
    if args.otlp_address.is_some_and(|address| !address.is_empty()) {
        tracing::warn!("--otlp-address is ignored: traces are not sent");
    }
    let config = Config::read(&args.config_dir_path)?;
    if !config.discovers() {
        tracing::info!(plugin = config.name, "no discovery is set up: name the plugin in spec.source.plugin.name");
    }
    let settings =
        Settings { sockets: args.plugin_sock_file_path, work: args.work_dir.unwrap_or_else(std::env::temp_dir) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(serve(config, settings, stop).await?)
    })
}

//! The one binary `tako`: flags and wiring, no logic.
mod cmp_server;
mod manifests;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takobune: an event-driven GitOps control plane for Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane, or some of its roles.
    Run(run::RunArgs),
    /// Render an Application from a file, without a cluster
    Manifests(manifests::ManifestsArgs),
    /// Serve a config management plugin, as the sidecar argocd-cmp-server does
    CmpServer(cmp_server::CmpServerArgs),
    /// Evaluate one Jsonnet program: how `tako` starts itself, in a jail
    #[command(hide = true)]
    RenderJsonnet,
}

fn main() -> anyhow::Result<ExitCode> {
    let Args { command } = Args::parse_from(cmp_server::by_name(std::env::args_os()));
    match command {
        Command::Run(args) => run::run(args)?,
        Command::Manifests(args) => manifests::manifests_of(args)?,
        Command::CmpServer(args) => cmp_server::cmp_server(args)?,
        Command::RenderJsonnet => return Ok(tako_sources::jsonnet_main()),
    }
    Ok(ExitCode::SUCCESS)
}

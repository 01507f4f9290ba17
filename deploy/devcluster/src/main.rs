//! `devcluster`: the dev cluster by hand, and the git server of the quick start.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tako_devcluster::{DevCluster, GitServer, Lifetime, Tools, sample};

/// A real Kubernetes without containers.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the programs that are missing.
    Install,
    /// Start a cluster in a directory.
    Start {
        /// Its directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Stop it.
    Stop {
        /// Its directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Which of its programs run.
    Status {
        /// Its directory.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Make the sample repository.
    Sample {
        /// Where, ending in `.git`.
        path: PathBuf,
    },
    /// Serve bare repositories over HTTP.
    GitServe {
        /// The directory that holds them.
        #[arg(long)]
        root: PathBuf,
        /// Address.
        #[arg(long)]
        listen: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Install => Tools::install(),
        Command::Start { dir } => {
            let cluster = DevCluster::start(&dir, Lifetime::Detached, &mut |text| println!("{text}"))?;
            println!("kubeconfig: {}", cluster.kubeconfig().display());
            Ok(())
        }
        Command::Stop { dir } => DevCluster::stop(&dir),
        Command::Status { dir } => {
            for (name, runs) in DevCluster::status(&dir) {
                println!("{name}: {}", if runs { "running" } else { "stopped" });
            }
            Ok(())
        }
        Command::Sample { path } => {
            println!("{}", sample::create_sample(&path)?);
            Ok(())
        }
        Command::GitServe { root, listen } => {
            let server = GitServer::start(&root, &listen)?;
            println!("{}", server.url(""));
            server.forever();
            Ok(())
        }
    }
}

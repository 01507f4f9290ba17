//! `tako cmp-server`: the sidecar of a config management plugin, in place of Argo CD's `argocd-cmp-server`. It gets the files of a
//! source over its socket, runs the plugin's commands on them in a fresh directory, and answers what they print. The commands
//! run in the sidecar's own container with its own rights: the container is the jail.
//! Knows nothing of the control plane.
mod authority;
mod command;
mod config;
mod receive;
mod serve;
mod service;
mod unpack;

pub use config::{Config, ConfigError};
pub use serve::{ServeError, Settings, serve};

#[cfg(test)]
mod tests;

//! Where target states come from: repositories, and the tools that turn their files into manifests. Knows nothing of clusters,
//! of the bus and of the Applications' status, so that it serves the control plane and `tako manifests` alike.
//!
//! [`store`] is the door: it answers where a wish points, by [`git`], [`charts`] and [`oci`]; [`tree`] is what a render may
//! read, and remembers what it did read; [`render`] chooses the tool and runs it on a [`request`]; [`process`] is the jail in
//! which programs run. [`cmp_server`] is the other end of [`plugin`]; [`sops`] opens encrypted files.
pub mod charts;
pub mod cmp_server;
pub mod environment;
pub mod git;
pub mod manifests;
pub mod oci;
pub mod plugin;
pub mod process;
pub mod render;
pub mod request;
pub mod settings;
pub mod sops;
pub mod store;
pub mod tree;

mod directory;
mod helm;
mod jsonnet;
mod kustomize;
#[cfg(test)]
mod testing;

pub use jsonnet::worker::main as jsonnet_main;

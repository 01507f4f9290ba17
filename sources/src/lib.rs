//! Where target states come from: repositories, and the tools that turn their files into manifests. Knows nothing of clusters,
//! of the bus and of the Applications' status, so that it serves the control plane and `tako manifests` alike.
//!
//! [`cmp_server`] is the other end of [`plugin`]; [`sops`] opens encrypted files.
//! [`git`] keeps repositories; [`tree`] is what a render may read of one, and remembers what it did read; [`render`]
//! chooses the tool and runs it on a [`request`]; [`process`] is the jail in which programs run.
pub mod cmp_server;
pub mod environment;
pub mod git;
pub mod plugin;
pub mod process;
pub mod render;
pub mod request;
pub mod settings;
pub mod sops;
pub mod tree;

mod directory;
mod helm;
mod jsonnet;
mod kustomize;

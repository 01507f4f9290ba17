//! The outside worlds: Kubernetes, and the credentials of repositories that are kept there. Stages speak to these and to
//! the crate of sources, and to nothing else outside.
pub(crate) mod cluster;
mod discreet;
pub(crate) mod repositories;

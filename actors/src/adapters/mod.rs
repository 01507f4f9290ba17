//! The outside worlds: git and Kubernetes. Stages speak to `cluster` and `git` and to nothing else outside.
pub(crate) mod cluster;
mod discreet;
pub(crate) mod git;

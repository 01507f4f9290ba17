//! The outside worlds: git and Kubernetes. Stages speak to these two files and to nothing else outside.
pub(crate) mod cluster;
pub(crate) mod git;

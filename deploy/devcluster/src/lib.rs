//! A real Kubernetes without containers: etcd, kube-apiserver, controllers, scheduler and kwok's nodes, for tests
//! and for `make up`; and a real git server. Knows nothing of tako.
pub mod cluster;
pub mod gitserver;
pub mod process;
pub mod sample;
pub mod tools;

pub use cluster::{DevCluster, Lifetime};
pub use gitserver::GitServer;
pub use tools::Tools;

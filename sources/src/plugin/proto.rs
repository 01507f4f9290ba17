//! What `build.rs` made of `proto/`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

pub mod plugin {
    include!(concat!(env!("OUT_DIR"), "/plugin.rs"));
}
pub mod repository {
    include!(concat!(env!("OUT_DIR"), "/repository.rs"));
}
pub mod version {
    include!(concat!(env!("OUT_DIR"), "/version.rs"));
}

/// The descriptors of all of them, for the reflection service.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Most bytes of one message; Argo CD's own variable for it.
pub(crate) fn message_bytes_max() -> usize {
    let megabytes = std::env::var("ARGOCD_GRPC_MAX_SIZE_MB").ok().and_then(|text| text.trim().parse::<usize>().ok());
    megabytes.unwrap_or(200).saturating_mul(1024 * 1024)
}

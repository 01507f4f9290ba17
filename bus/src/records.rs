//! What the snapshot buckets hold, beside the nouns of the engine.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bucket `targets`: the target state of one Application. Written by the renderer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRecord {
    /// The commit.
    pub revision: String,
    /// The body with the manifests; of the last good render when `error` is set.
    pub digest: Option<String>,
    /// Directory, Helm, Kustomize, Plugin.
    pub source_type: String,
    /// Why there is no newer state, in words for a condition.
    pub error: Option<String>,
    /// Objects in it.
    pub resources: u32,
    /// Hash of the inputs that were read.
    pub input: String,
    /// Hash of the source that was rendered; empty when it is not known.
    pub source: String,
}

/// Bucket `refs`: where the followed revisions of a repository point. Written by the watcher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefRecord {
    /// The URL.
    pub repo: String,
    /// targetRevision → commit.
    pub refs: BTreeMap<String, String>,
    /// Why the repository could not be read.
    pub error: Option<String>,
}

//! What the snapshot buckets hold, beside the nouns of the engine.
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// When it was read last, in seconds of Unix time; `refs` are of then.
    pub read_at: Option<i64>,
}

impl RefRecord {
    /// How much longer a failure counts for nothing, `grace` after the last success (Argo CD,
    /// `controller.repo.error.grace.period.seconds`). `None` when it counts.
    pub fn grace_left(&self, now: i64, grace: Duration) -> Option<Duration> {
        let since = Duration::from_secs(u64::try_from(now.saturating_sub(self.read_at?)).unwrap_or_default());
        grace.checked_sub(since).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_when_the_grace_since_the_last_success_is_over() {
        let left = |read_at, now, grace| {
            let record = RefRecord { read_at, ..RefRecord::default() };
            record.grace_left(now, Duration::from_secs(grace)).map(|left| left.as_secs())
        };
        assert_eq!(left(Some(100), 100, 180), Some(180));
        assert_eq!(left(Some(100), 279, 180), Some(1));
        assert_eq!(left(Some(100), 280, 180), None);
        assert_eq!(left(Some(100), 100, 0), None, "no grace");
        assert_eq!(left(None, 100, 180), None, "it was never read");
        assert_eq!(left(Some(100), 90, 180), Some(180), "the clock went back");
    }
}

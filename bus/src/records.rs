//! What the snapshot buckets hold, beside the nouns of the engine.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one source of an Application was rendered to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartRecord {
    /// The commit, chart version or digest.
    pub revision: String,
    /// Directory, Helm, Kustomize, Plugin.
    pub source_type: String,
    /// The body with its manifests.
    pub digest: Option<String>,
    /// Hash of all that was read and told.
    pub identity: String,
    /// What was read of its own tree: files and directories with all below them; with a `/` at the end only the names in a
    /// directory, with `//` only whether it is there.
    pub inputs: Vec<String>,
    /// What was read of other sources' trees, by their `ref`.
    pub ref_inputs: BTreeMap<String, Vec<String>>,
}

/// Bucket `targets`: the target state of one Application. Written by the renderer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRecord {
    /// The commit, chart version or digest; of several sources all, joined by commas.
    pub revision: String,
    /// What the sources were rendered to, in their order; of the last good render when `error` is set.
    pub parts: Vec<PartRecord>,
    /// Why there is no newer state, in words for a condition.
    pub error: Option<String>,
    /// Objects in it.
    pub resources: u32,
    /// Hash of the sources that were rendered; empty when it is not known.
    pub source: String,
    /// How often in a row the render of these inputs has failed.
    pub failures: u32,
    /// When it failed last, in seconds of Unix time.
    pub failed_at: i64,
}

impl TargetRecord {
    /// There is a target state, of now or of the last good render.
    pub fn is_rendered(&self) -> bool {
        !self.parts.is_empty()
    }
}

/// Bucket `refs`: where the followed revisions of a repository point. Written by the watcher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefRecord {
    /// The URL.
    pub repo: String,
    /// What is wanted (targetRevision; `chart@version` for charts) → commit, version or digest.
    pub refs: BTreeMap<String, String>,
    /// Of what is wanted, the annotated tags: full name and id of the tag object. Their signatures count, not the commits'.
    pub tags: BTreeMap<String, (String, String)>,
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

//! What is known of pairs (target manifest, live object) under a set of rules: a verdict holds as long as both stay the
//! same, so it is worked out, or asked for, once. Bounded.
use moka::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tako_engine::app::SyncCode;
use tako_engine::ignore::Ignored;
use tako_engine::resource::Manifest;

/// Pairs remembered; about 100 bytes each.
const ENTRIES_MAX: u64 = 200_000;

type Pair = ([u8; 32], String, String);

/// The memory; cheap to clone.
#[derive(Clone)]
pub(crate) struct Compared {
    verdicts: Cache<Pair, SyncCode>,
}

impl Default for Compared {
    fn default() -> Self {
        Self { verdicts: Cache::new(ENTRIES_MAX) }
    }
}

fn pair(target: &Manifest, live: &Value, ignored: &Ignored, how: &str) -> Option<Pair> {
    let uid = live["metadata"]["uid"].as_str()?.to_owned();
    let version = live["metadata"]["resourceVersion"].as_str()?.to_owned();
    let mut body = serde_json::to_vec(&target.0).ok()?;
    body.extend(how.as_bytes());
    if !ignored.is_empty() {
        body.extend(format!("{ignored:?}").into_bytes());
    }
    Some((Sha256::digest(body).into(), uid, version))
}

impl Compared {
    /// The verdict, if this very pair was compared before. `how` tells one way of comparing from another.
    pub(crate) fn known(&self, target: &Manifest, live: &Value, ignored: &Ignored, how: &str) -> Option<SyncCode> {
        self.verdicts.get(&pair(target, live, ignored, how)?)
    }

    /// Remembers a verdict.
    pub(crate) fn remember(&self, target: &Manifest, live: &Value, ignored: &Ignored, how: &str, status: SyncCode) {
        if let Some(pair) = pair(target, live, ignored, how) {
            self.verdicts.insert(pair, status);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_holds_for_one_pair_only() {
        let (compared, plain) = (Compared::default(), Ignored::default());
        let target = Manifest(json!({"kind": "ConfigMap", "data": {"a": "1"}}));
        let live = |version: &str| json!({"metadata": {"uid": "u", "resourceVersion": version}});
        compared.remember(&target, &live("1"), &plain, "client", SyncCode::Synced);
        assert_eq!(compared.known(&target, &live("1"), &plain, "client"), Some(SyncCode::Synced));
        assert_eq!(compared.known(&target, &live("2"), &plain, "client"), None);
        assert_eq!(compared.known(&target, &live("1"), &plain, "server"), None);
        let other = Ignored { json_pointers: vec!["/data".into()], ..Ignored::default() };
        assert_eq!(compared.known(&target, &live("1"), &other, "client"), None);
        assert_eq!(
            compared.known(&Manifest(json!({"kind": "ConfigMap", "data": {"a": "2"}})), &live("1"), &plain, "client"),
            None
        );
    }
}

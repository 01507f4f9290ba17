//! Snapshots: the last value of each key, in plain streams that the NATS KV tools can read too.
use async_nats::HeaderMap;
use async_nats::jetstream::stream::DirectGetErrorKind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{decode, encode};
use crate::follow::{Change, Follow};
use crate::{Bus, BusError};

/// The header and word with which NATS KV marks a deleted key.
pub(crate) const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// The buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// `<ns>.<app>` → Application (registry).
    Apps,
    /// `<ns>.<app>` → ResourceTree (observer).
    Trees,
    /// `<ns>.<app>` → TargetRecord (renderer).
    Targets,
    /// repository → RefRecord (watcher).
    Refs,
    /// `argocd-cm` → its data (registry).
    Settings,
    /// `<ns>.<project>` → AppProject (registry).
    Projects,
}

impl Bucket {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Trees => "trees",
            Self::Targets => "targets",
            Self::Refs => "refs",
            Self::Settings => "settings",
            Self::Projects => "projects",
        }
    }

    pub(crate) fn stream(self) -> &'static str {
        match self {
            Self::Apps => "KV_apps",
            Self::Trees => "KV_trees",
            Self::Targets => "KV_targets",
            Self::Refs => "KV_refs",
            Self::Settings => "KV_settings",
            Self::Projects => "KV_projects",
        }
    }
}

/// One bucket.
#[derive(Clone)]
pub struct Kv {
    bus: Bus,
    bucket: Bucket,
}

impl Bus {
    /// A bucket.
    pub fn kv(&self, bucket: Bucket) -> Kv {
        Kv { bus: self.clone(), bucket }
    }
}

/// Whether a stored message means that its key is gone.
pub(crate) fn is_deletion(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| headers.get(OPERATION).is_some() || headers.get("Nats-Marker-Reason").is_some())
}

impl Kv {
    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket.name())
    }

    /// The value of a key.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, BusError> {
        let jetstream = &self.bus.inner.jetstream;
        let stream = jetstream.get_stream_no_info(self.bucket.stream()).await.map_err(BusError::unreachable)?;
        match stream.direct_get_last_for_subject(self.subject(key)).await {
            Ok(message) if is_deletion(Some(&message.headers)) => Ok(None),
            Ok(message) => decode(&message.payload).map(Some),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(BusError::unreachable(error)),
        }
    }

    /// Sets a key; answers the sequence.
    pub async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<u64, BusError> {
        self.bus.publish(self.subject(key), HeaderMap::new(), encode(value)?.into()).await
    }

    /// Removes a key.
    pub async fn delete(&self, key: &str) -> Result<(), BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, DELETED);
        self.bus.publish(self.subject(key), headers, bytes::Bytes::new()).await.map(|_| ())
    }

    /// Follows all keys, from their present values on.
    pub async fn follow<T: DeserializeOwned>(&self) -> Result<Follow<T>, BusError> {
        Ok(Follow::new(self.bus.clone(), self.bucket))
    }

    /// All keys and values as they are now.
    pub async fn entries<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>, BusError> {
        let mut found = std::collections::BTreeMap::new();
        let mut follow = self.follow::<T>().await?;
        while let Some(change) = follow.next().await {
            match change {
                Change::Put { key, value, .. } => {
                    found.insert(key, value);
                }
                Change::Delete { key, .. } => {
                    found.remove(&key);
                }
                Change::Reset => found.clear(),
                Change::Snapshot => break,
            }
        }
        Ok(found.into_iter().collect())
    }
}

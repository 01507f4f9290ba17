//! The settings that stages act upon, kept fresh from the bus (the registry reads them from `argocd-cm`).
//! Parsing is pure; knows nothing of Kubernetes.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tako_bus::{Bucket, Bus, Change};
use tako_engine::duration;
use tokio::sync::watch;

use crate::runtime::follow::follow;

/// `timeout.reconciliation` when unset (Argo CD 3.x: 120 s, and up to 60 s of jitter).
const RECONCILIATION: Duration = Duration::from_secs(120);
const JITTER: Duration = Duration::from_secs(60);

/// The ConfigMap's data as the registry publishes it under the key `argocd-cm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    /// `argocd-cm` data.
    pub(crate) data: BTreeMap<String, String>,
}

/// The key of the record in its bucket.
pub(crate) const KEY: &str = "argocd-cm";

/// A live view; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    current: Arc<RwLock<(u64, Arc<SettingsRecord>)>>,
    changes: watch::Sender<u64>,
}

impl Settings {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: Bus) -> Self {
        let settings = Self::default();
        let (current, changes) = (settings.current.clone(), settings.changes.clone());
        tokio::spawn(async move {
            follow::<SettingsRecord, _>(bus, Bucket::Settings, |change| {
                if let Change::Put { value, .. } = change {
                    let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
                    if *current.1 != value {
                        *current = (current.0 + 1, Arc::new(value));
                        changes.send_replace(current.0);
                    }
                }
            })
            .await;
        });
        settings
    }

    fn get(&self, key: &str) -> Option<String> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.data.get(key).cloned()
    }

    /// The number of the present state, as in [`Settings::snapshot`].
    pub(crate) fn number(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// All of `argocd-cm`, with a number that tells one state of it from another.
    pub(crate) fn snapshot(&self) -> (u64, BTreeMap<String, String>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.0, current.1.data.clone())
    }

    /// What decides comparisons, `resource.*`.
    pub(crate) fn of_resources(&self) -> BTreeMap<String, String> {
        let (_, data) = self.snapshot();
        data.into_iter().filter(|(key, _)| key.starts_with("resource.")).collect()
    }

    /// Tells when something has another value.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// `timeout.reconciliation`; `None` when set to 0, which turns polling off.
    pub(crate) fn reconciliation(&self) -> Option<Duration> {
        let period =
            self.get("timeout.reconciliation").and_then(|text| duration::parse(&text)).unwrap_or(RECONCILIATION);
        (!period.is_zero()).then_some(period)
    }

    /// A period with a random share of `timeout.reconciliation.jitter` added.
    pub(crate) fn jittered(&self, period: Duration) -> Duration {
        let jitter = self
            .get("timeout.reconciliation.jitter")
            .and_then(|text| duration::parse(&text))
            .unwrap_or(JITTER)
            .min(period);
        let random = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        period + jitter.mul_f64(random)
    }
}

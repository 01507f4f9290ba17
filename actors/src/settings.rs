//! The settings that stages act upon, kept fresh from the bus (the registry reads them from `argocd-cm`).
//! Parsing is pure; knows nothing of Kubernetes.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tako_bus::{Bucket, Bus, Change};
use tako_engine::duration;

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
    current: Arc<RwLock<SettingsRecord>>,
}

impl Settings {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: Bus) -> Self {
        let settings = Self::default();
        let current = settings.current.clone();
        tokio::spawn(async move {
            follow::<SettingsRecord, _>(bus, Bucket::Settings, |change| {
                if let Change::Put { value, .. } = change {
                    *current.write().unwrap_or_else(PoisonError::into_inner) = value;
                }
            })
            .await;
        });
        settings
    }

    fn get(&self, key: &str) -> Option<String> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).data.get(key).cloned()
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

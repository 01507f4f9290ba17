//! The settings that stages act upon, kept fresh from the bus (the registry reads them from `argocd-cm` and
//! `argocd-cmd-params-cm`).
//! Parsing is pure; knows nothing of Kubernetes.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tako_bus::{Bucket, Bus, Change};
use tako_engine::automation::SelfHeal;
use tako_engine::duration;
use tokio::sync::watch;

use crate::runtime::follow::follow;

/// `timeout.reconciliation` when unset (Argo CD 3.x: 120 s, and up to 60 s of jitter).
const RECONCILIATION: Duration = Duration::from_secs(120);
const JITTER: Duration = Duration::from_secs(60);
/// Between two waves, so that controllers have seen the one before they are asked for its health.
const WAVE_DELAY: Duration = Duration::from_secs(2);

/// The data of a ConfigMap as the registry publishes it, under the ConfigMap's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    /// Its data.
    pub(crate) data: BTreeMap<String, String>,
}

/// What users set.
pub(crate) const SETTINGS: &str = "argocd-cm";
/// How the processes work (Argo CD reads it as flags of its programs).
pub(crate) const PARAMETERS: &str = "argocd-cmd-params-cm";

#[derive(Default)]
struct Current {
    generation: u64,
    settings: SettingsRecord,
    parameters: SettingsRecord,
}

/// A live view; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    current: Arc<RwLock<Current>>,
    changes: watch::Sender<u64>,
}

impl Settings {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: Bus) -> Self {
        let settings = Self::default();
        let (current, changes) = (settings.current.clone(), settings.changes.clone());
        tokio::spawn(async move {
            follow::<SettingsRecord, _>(bus, Bucket::Settings, |change| {
                if let Change::Put { key, value, .. } = change {
                    let mut current = current.write().unwrap_or_else(PoisonError::into_inner);
                    let place = match key.as_str() {
                        PARAMETERS => &mut current.parameters,
                        _ => &mut current.settings,
                    };
                    if *place != value {
                        *place = value;
                        current.generation += 1;
                        changes.send_replace(current.generation);
                    }
                }
            })
            .await;
        });
        settings
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &str) -> Option<String> {
        self.current().settings.data.get(key).cloned()
    }

    fn seconds(&self, parameter: &str) -> Option<Duration> {
        self.current().parameters.data.get(parameter)?.parse().ok().map(Duration::from_secs)
    }

    /// `controller.sync.wave.delay.seconds`: the rest between two waves (Argo CD: 2 s).
    pub(crate) fn wave_delay(&self) -> Duration {
        self.seconds("controller.sync.wave.delay.seconds").unwrap_or(WAVE_DELAY)
    }

    /// `controller.sync.timeout.seconds`: how long one operation may take; unset or 0 is for ever.
    pub(crate) fn sync_timeout(&self) -> Option<Duration> {
        self.seconds("controller.sync.timeout.seconds").filter(|limit| !limit.is_zero())
    }

    /// `controller.self.heal.*`.
    pub(crate) fn self_heal(&self) -> SelfHeal {
        let default = SelfHeal::default();
        let factor = self.current().parameters.data.get("controller.self.heal.backoff.factor").cloned();
        SelfHeal {
            backoff: self.seconds("controller.self.heal.backoff.timeout.seconds").unwrap_or(default.backoff),
            factor: factor.and_then(|factor| factor.parse().ok()).unwrap_or(default.factor),
            cap: self.seconds("controller.self.heal.backoff.cap.seconds").unwrap_or(default.cap),
            timeout: self.seconds("controller.self.heal.timeout.seconds").unwrap_or(default.timeout),
        }
    }

    /// Whether syncs impersonate a service account of the project, and whether they must.
    pub(crate) fn impersonation(&self) -> (bool, bool) {
        let is = |key: &str| self.get(key).map(|value| value == "true");
        (
            is("application.sync.impersonation.enabled").unwrap_or(false),
            is("application.sync.impersonation.enforced").unwrap_or(true),
        )
    }

    /// `controller.diff.server.side`: all is compared by the API server.
    pub(crate) fn server_side_diff(&self) -> bool {
        self.current().parameters.data.get("controller.diff.server.side").is_some_and(|value| value == "true")
    }

    /// The number that tells one state of the settings from another.
    pub(crate) fn number(&self) -> u64 {
        self.current().generation
    }

    /// The number of the present state, as in [`Settings::snapshot`].
    pub(crate) fn number(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0
    }

    /// All of `argocd-cm`, with a number that tells one state of it from another.
    pub(crate) fn snapshot(&self) -> (u64, BTreeMap<String, String>) {
        let current = self.current();
        (current.generation, current.settings.data.clone())
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

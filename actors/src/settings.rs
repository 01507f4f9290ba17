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
use tako_engine::scope::Scope;
use tako_engine::tracking::{self, Tracking};
use tako_engine::updates::Updates;
use tako_sources::settings::RenderSettings;
use tokio::sync::watch;

use crate::runtime::follow::follow;

/// `timeout.reconciliation` when unset (Argo CD 3.x: 120 s, and up to 60 s of jitter).
const RECONCILIATION: Duration = Duration::from_secs(120);
const JITTER: Duration = Duration::from_secs(60);
/// `controller.repo.error.grace.period.seconds` when unset.
const REPOSITORY_GRACE: Duration = Duration::from_secs(180);
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

struct Current {
    generation: u64,
    settings: SettingsRecord,
    parameters: SettingsRecord,
    compiled: Compiled,
}

/// What is compiled from the settings once, for all who act upon it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compiled {
    /// Who owns what.
    pub(crate) tracking: Arc<Tracking>,
    /// Which kinds are looked at.
    pub(crate) scope: Arc<Scope>,
    /// Which changes count.
    pub(crate) updates: Arc<Updates>,
    /// How sources are rendered.
    pub(crate) rendering: Arc<RenderSettings>,
    /// Labels shown with every node of a tree that has them (`resource.customLabels`).
    pub(crate) labels: Arc<[String]>,
    /// What is wrong with the settings; what they said before still holds.
    pub(crate) problem: Option<String>,
}

impl Compiled {
    fn next(&self, data: &BTreeMap<String, String>, parameters: &BTreeMap<String, String>) -> Self {
        let mut problems = Vec::new();
        let mut take = |problem: String| problems.push(problem);
        let tracking = Tracking::compile(data).map(Arc::new).map_err(&mut take).unwrap_or(self.tracking.clone());
        let scope = Scope::compile(data).map(Arc::new).map_err(&mut take).unwrap_or(self.scope.clone());
        let updates = Updates::compile(data).map(Arc::new).map_err(&mut take).unwrap_or(self.updates.clone());
        let labels = names(data.get("resource.customLabels")).into();
        let rendering = Arc::new(RenderSettings::from_data(data, parameters));
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        Self { tracking, scope, updates, rendering, labels, problem }
    }
}

/// `resource.respectRBAC`: what a list that is forbidden means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RespectRbac {
    /// It is tried again and again.
    Off,
    /// The kind is left alone.
    Normal,
    /// The kind is left alone if an access review says no.
    Strict,
}

/// A live view; cheap to clone.
#[derive(Clone)]
pub(crate) struct Settings {
    current: Arc<RwLock<Current>>,
    changes: watch::Sender<u64>,
    /// Which of the two ConfigMaps have been told of.
    read: watch::Sender<(bool, bool)>,
}

impl Default for Settings {
    fn default() -> Self {
        let compiled = Compiled::default().next(&BTreeMap::new(), &BTreeMap::new());
        let (settings, parameters) = (SettingsRecord::default(), SettingsRecord::default());
        let current = Arc::new(RwLock::new(Current { generation: 0, settings, parameters, compiled }));
        Self { current, changes: watch::Sender::default(), read: watch::Sender::default() }
    }
}

impl Settings {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: Bus) -> Self {
        let settings = Self::default();
        let view = settings.clone();
        tokio::spawn(async move {
            follow::<SettingsRecord, _>(bus, Bucket::Settings, |change| {
                if let Change::Put { key, value, .. } = change {
                    view.take(&key, value);
                }
            })
            .await;
        });
        settings
    }

    /// One of the two ConfigMaps is told of.
    fn take(&self, map: &str, value: SettingsRecord) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if map == PARAMETERS {
            self.read.send_modify(|read| read.1 = true);
            if current.parameters != value {
                current.compiled = current.compiled.next(&current.settings.data, &value.data);
                current.parameters = value;
                current.generation += 1;
                self.changes.send_replace(current.generation);
            }
            return;
        }
        if current.settings != value {
            current.compiled = current.compiled.next(&value.data, &current.parameters.data);
            if let Some(problem) = &current.compiled.problem {
                tracing::warn!(problem, "what argocd-cm said before still holds");
            }
            current.settings = value;
            current.generation += 1;
            self.changes.send_replace(current.generation);
        }
        self.read.send_modify(|read| read.0 = true);
    }

    /// As if `argocd-cm` were told of.
    #[cfg(test)]
    pub(crate) fn put(&self, data: &[(&str, &str)]) {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.take(SETTINGS, SettingsRecord { data });
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first word of both ConfigMaps: to act without it could put the wrong marks on, or take objects for
    /// nobody's. The registry says so, too, when there is none.
    pub(crate) async fn ready(&self) {
        let _ = self.read.subscribe().wait_for(|read| *read == (true, true)).await;
    }

    /// What was compiled.
    pub(crate) fn compiled(&self) -> Compiled {
        self.current().compiled.clone()
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

    /// How sources are rendered.
    pub(crate) fn rendering(&self) -> RenderSettings {
        self.current().compiled.rendering.as_ref().clone()
    }

    /// `reposerver.parallelism.limit`: so many renders at once; 0 is no limit.
    pub(crate) fn parallelism(&self) -> usize {
        let limit = self.current().parameters.data.get("reposerver.parallelism.limit").cloned();
        limit.and_then(|limit| limit.trim().parse().ok()).unwrap_or_default()
    }

    /// `controller.repo.error.grace.period.seconds`: how long a repository that cannot be read changes nothing (Argo CD:
    /// 180 s).
    pub(crate) fn repository_grace(&self) -> Duration {
        self.seconds("controller.repo.error.grace.period.seconds").unwrap_or(REPOSITORY_GRACE)
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

    /// `controller.resource.health.persist`: the health of each object is written into its Application.
    pub(crate) fn persists_resource_health(&self) -> bool {
        self.current().parameters.data.get("controller.resource.health.persist").is_some_and(|value| value == "true")
    }

    /// The number that tells one state of the settings from another.
    pub(crate) fn number(&self) -> u64 {
        self.current().generation
    }

    /// All of `argocd-cm`, with a number that tells one state of it from another.
    pub(crate) fn snapshot(&self) -> (u64, BTreeMap<String, String>) {
        let current = self.current();
        (current.generation, current.settings.data.clone())
    }

    /// What decides comparisons: `resource.*` and the tracking.
    pub(crate) fn of_resources(&self) -> BTreeMap<String, String> {
        let (_, data) = self.snapshot();
        data.into_iter().filter(|(key, _)| decides(key)).collect()
    }

    /// `resource.respectRBAC`.
    pub(crate) fn respect_rbac(&self) -> RespectRbac {
        match self.get("resource.respectRBAC").as_deref().map(str::trim) {
            Some("normal") => RespectRbac::Normal,
            Some("strict") => RespectRbac::Strict,
            _ => RespectRbac::Off,
        }
    }

    /// `application.allowedNodeLabels`: labels of Nodes that a tree shows.
    pub(crate) fn node_labels(&self) -> Vec<String> {
        names(self.get("application.allowedNodeLabels").as_ref())
    }

    /// `resource.includeEventLabelKeys` and `resource.excludeEventLabelKeys`: globs of the labels that an Event carries.
    pub(crate) fn event_labels(&self) -> (Vec<String>, Vec<String>) {
        let of = |key| names(self.get(key).as_ref());
        (of("resource.includeEventLabelKeys"), of("resource.excludeEventLabelKeys"))
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

    /// `timeout.hard.reconciliation`: when all is rendered and compared anew; `None` when 0, as it is by default.
    pub(crate) fn hard_reconciliation(&self) -> Option<Duration> {
        let period = self.get("timeout.hard.reconciliation").and_then(|text| duration::parse(&text));
        period.filter(|period| !period.is_zero())
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

/// A list with commas between.
fn names(text: Option<&String>) -> Vec<String> {
    let text = text.map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn decides(key: &str) -> bool {
    key.starts_with("resource.") || tracking::SETTINGS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_read_leaves_what_held_before() {
        let data = |exclusions: &str| BTreeMap::from([("resource.exclusions".to_owned(), exclusions.to_owned())]);
        let excludes = |compiled: &Compiled| compiled.scope.excludes("", "Secret", "https://kubernetes.default.svc");
        let none = BTreeMap::new();
        let good = Settings::default().compiled().next(&data("[{kinds: [Secret]}]"), &none);
        assert!(excludes(&good) && good.problem.is_none());
        let bad = good.next(&data("["), &none);
        assert!(excludes(&bad) && bad.problem.is_some_and(|problem| problem.contains("resource.exclusions")));
        assert!(!excludes(&good.next(&data(""), &none)));
        let labels = BTreeMap::from([("resource.customLabels".to_owned(), "team, tier,,".to_owned())]);
        assert_eq!(*good.next(&labels, &none).labels, ["team", "tier"]);
    }
}

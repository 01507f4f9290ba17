//! Watches the control namespace (Applications, `argocd-cm`) and keeps their snapshots on the bus; wakes the
//! stages that an Application's change concerns; carries out what users command, writing it into the
//! Application first, so that no command lives on the bus alone.
mod commands;

use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tako_bus::{Bucket, Bus, Cause, Work, WorkNote};
use tako_engine::app::{AppKey, Application, ApplicationSpec, Phase};

use crate::adapters::cluster::{Applications, application};
use crate::settings::{self, SettingsRecord};

/// The actor: three loops that share nothing but their handles.
pub(crate) struct Registry {
    bus: Bus,
    client: Client,
    applications: Applications,
    namespace: String,
}

/// What the registry remembers of an Application between two events.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    resource_version: String,
    operation: bool,
    terminating: bool,
    deleting: bool,
    /// A hash of the spec.
    spec: u64,
}

impl Registry {
    /// Starts the loops.
    pub(crate) fn start(bus: Bus, client: Client, namespace: String) -> Arc<Self> {
        let registry = Arc::new(Self { bus, applications: Applications::new(client.clone()), client, namespace });
        tokio::spawn(registry.clone().watch_applications());
        tokio::spawn(registry.clone().watch_settings());
        tokio::spawn(commands::serve(registry.bus.clone(), registry.applications.clone()));
        registry
    }

    /// Watches, and lists anew whenever the bus may have lost what it was told.
    async fn watch_applications(self: Arc<Self>) {
        let mut reconnects = self.bus.reconnects();
        loop {
            reconnects.mark_unchanged();
            tokio::select! {
                () = self.watch_applications_once() => {}
                _ = reconnects.changed() => {}
            }
        }
    }

    async fn watch_applications_once(&self) {
        let mut seen: HashMap<AppKey, Seen> = HashMap::new();
        let mut listed: Option<HashSet<AppKey>> = None;
        let api = self.applications.api(&self.namespace);
        let mut events = watcher(api, watcher::Config::default().any_semantic()).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(HashSet::new()),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    let name = object.name_any();
                    match application(object) {
                        Ok(app) => {
                            if let Some(listed) = &mut listed {
                                listed.insert(app.key());
                            }
                            self.changed(&mut seen, app).await;
                        }
                        Err(error) => {
                            tracing::error!(application = name, %error, "an Application that cannot be read is left alone")
                        }
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    let key = AppKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
                    seen.remove(&key);
                    self.gone(&key).await;
                }
                Ok(watcher::Event::InitDone) => self.listed(&mut seen, listed.take().unwrap_or_default()).await,
                Err(error) => tracing::warn!(%error, "Applications cannot be watched; trying again"),
            }
        }
    }

    /// A full list was read: what is on the bus and not in the list is gone.
    async fn listed(&self, seen: &mut HashMap<AppKey, Seen>, listed: HashSet<AppKey>) {
        let on_bus = match self.bus.kv(Bucket::Apps).entries::<Application>().await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the bus cannot be compared with the list yet");
                return;
            }
        };
        for (_, app) in on_bus {
            if app.metadata.namespace == self.namespace && !listed.contains(&app.key()) {
                self.gone(&app.key()).await;
            }
        }
        seen.retain(|key, _| listed.contains(key));
    }

    async fn changed(&self, seen: &mut HashMap<AppKey, Seen>, app: Application) {
        let key = app.key();
        let now = Seen {
            resource_version: app.metadata.resource_version.clone(),
            operation: app.operation.is_some(),
            terminating: app.operation.is_some()
                && app.operation_state().is_some_and(|state| state.phase == Phase::Terminating),
            deleting: app.metadata.deletion_timestamp.is_some(),
            spec: hash_of(&app.spec),
        };
        let before = seen.get(&key);
        if before == Some(&now) {
            return;
        }
        let fresh_work = (now.operation && before.is_none_or(|before| !before.operation))
            || (now.terminating && before.is_none_or(|before| !before.terminating))
            || (now.deleting && before.is_none_or(|before| !before.deleting));
        // Another policy or rule: what is known is judged anew. (Another source comes by way of the watcher.)
        let judge = before.is_some_and(|before| before.spec != now.spec);
        if !self.put_until_done(&key, &app).await {
            return;
        }
        seen.insert(key.clone(), now);
        if judge {
            let note = WorkNote { hard: false, reason: "the spec changed".to_owned() };
            if let Err(error) =
                self.bus.wake(&Work::Compare { app: key.clone() }, note, &Cause::root("sa:registry")).await
            {
                tracing::warn!(%error, "comparison not queued; the next change asks again");
            }
        }
        if fresh_work {
            let note = WorkNote { hard: false, reason: "operation".to_owned() };
            if let Err(error) = self.bus.wake(&Work::Sync { app: key }, note, &Cause::root("sa:registry")).await {
                tracing::warn!(%error, "sync not queued; the next change or restart asks again");
            }
        }
    }

    /// The watch must not run ahead of the bus: a change is put until it is there.
    async fn put_until_done(&self, key: &AppKey, app: &Application) -> bool {
        for attempt in 0_u32..60 {
            match self.bus.kv(Bucket::Apps).put(&key.token(), app).await {
                Ok(_) => return true,
                Err(error) => {
                    tracing::warn!(app = %key, %error, attempt, "not on the bus yet");
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            }
        }
        false
    }

    async fn gone(&self, key: &AppKey) {
        for bucket in [Bucket::Apps, Bucket::Trees, Bucket::Targets] {
            if let Err(error) = self.bus.kv(bucket).delete(&key.token()).await {
                tracing::warn!(app = %key, ?bucket, %error, "not removed from the bus; the next list does it");
            }
        }
    }

    async fn watch_settings(self: Arc<Self>) {
        let mut reconnects = self.bus.reconnects();
        loop {
            reconnects.mark_unchanged();
            tokio::select! {
                () = self.watch_settings_once() => {}
                _ = reconnects.changed() => {}
            }
        }
    }

    async fn put_settings(&self, record: &SettingsRecord) {
        if let Err(error) = self.bus.kv(Bucket::Settings).put(settings::KEY, record).await {
            tracing::warn!(%error, "settings not on the bus");
        }
    }

    async fn watch_settings_once(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let only = watcher::Config::default().fields("metadata.name=argocd-cm");
        let mut events = watcher(api, only).default_backoff().boxed();
        let mut there = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    there = true;
                    self.put_settings(&SettingsRecord { data: map.data.unwrap_or_default() }).await;
                }
                // Stages wait for a first word; what was said before outlives the ConfigMap.
                Ok(watcher::Event::InitDone) if !there => {
                    let before = self.bus.kv(Bucket::Settings).get::<SettingsRecord>(settings::KEY).await;
                    if matches!(before, Ok(None)) {
                        self.put_settings(&SettingsRecord::default()).await;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "argocd-cm cannot be watched; trying again"),
            }
        }
    }
}

/// Tells one spec from another within this process.
fn hash_of(spec: &ApplicationSpec) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    serde_json::to_string(spec).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

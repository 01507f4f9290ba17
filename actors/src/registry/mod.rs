//! Watches the control namespace (Applications, AppProjects, `argocd-cm`, `argocd-cmd-params-cm`) and keeps their
//! snapshots on the bus; wakes the
//! stages that an Application's change concerns; carries out what users command, writing it into the
//! Application first, so that no command lives on the bus alone.
mod actions;
mod commands;
mod projects;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tako_bus::rpc::ActionsList;
use tako_bus::{Bucket, Bus, BusError, Cause, Work, WorkNote};
use tako_engine::app::{AppKey, Application, Phase};

use self::actions::ResourceActions;
use self::commands::Hands;
use crate::adapters::cluster::{Applications, application};
use crate::hash_of;
use crate::settings::{self, SettingsRecord};
use crate::shared::Shared;

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
    /// A hash of the operation; `None` without one.
    operation: Option<u64>,
    /// The annotation says to leave it alone.
    skips: bool,
    terminating: bool,
    deleting: bool,
    /// A hash of the spec.
    spec: u64,
}

impl Registry {
    /// Starts the loops.
    pub(crate) async fn start(shared: Shared, client: Client) -> Result<Arc<Self>, BusError> {
        let Shared { bus, cluster, applications, settings, projects, events, control_namespace: namespace, .. } =
            shared;
        let actions =
            Arc::new(ResourceActions::new(bus.clone(), cluster, applications.clone(), settings, events.clone()));
        let registry = Arc::new(Self { bus: bus.clone(), applications: applications.clone(), client, namespace });
        let listing = actions.clone();
        bus.serve("actions.list", "registry", move |ask: ActionsList| {
            let listing = listing.clone();
            async move { listing.list(ask).await }
        })
        .await?;
        tokio::spawn(registry.clone().watch_applications());
        for map in [settings::SETTINGS, settings::PARAMETERS] {
            tokio::spawn(registry.clone().watch_settings(map));
        }
        tokio::spawn(projects::watch(bus.clone(), registry.client.clone(), registry.namespace.clone()));
        tokio::spawn(commands::serve(bus, Hands { applications, projects, events, actions }));
        Ok(registry)
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
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
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
            operation: app.operation.as_ref().map(hash_of),
            skips: app.skips_reconcile(),
            terminating: app.operation.is_some()
                && app.operation_state().is_some_and(|state| state.phase == Phase::Terminating),
            deleting: app.metadata.deletion_timestamp.is_some(),
            spec: hash_of(&app.spec),
        };
        let before = seen.get(&key);
        if before == Some(&now) {
            return;
        }
        let awake = before.is_some_and(|before| before.skips && !now.skips);
        let fresh_work = (now.operation.is_some() && before.is_none_or(|before| before.operation != now.operation))
            || (now.operation.is_some() && awake)
            || (now.terminating && before.is_none_or(|before| !before.terminating))
            || (now.deleting && before.is_none_or(|before| !before.deleting));
        // Another policy or rule: what is known is judged anew. (Another source comes by way of the watcher.)
        let judge = awake || before.is_some_and(|before| before.spec != now.spec);
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
        tracing::info!(app = %key, "the Application is gone");
        for bucket in [Bucket::Apps, Bucket::Trees, Bucket::Targets] {
            if let Err(error) = self.bus.kv(bucket).delete(&key.token()).await {
                tracing::warn!(app = %key, ?bucket, %error, "not removed from the bus; the next list does it");
            }
        }
    }

    async fn watch_settings(self: Arc<Self>, map: &'static str) {
        let mut reconnects = self.bus.reconnects();
        loop {
            reconnects.mark_unchanged();
            tokio::select! {
                () = self.watch_settings_once(map) => {}
                _ = reconnects.changed() => {}
            }
        }
    }

    async fn watch_settings_once(&self, name: &'static str) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(api, only).default_backoff().boxed();
        let mut listed = None;
        while let Some(event) = events.next().await {
            let record = match event {
                Ok(watcher::Event::Init) => {
                    listed = Some(SettingsRecord::default());
                    continue;
                }
                Ok(watcher::Event::InitApply(map)) => {
                    listed = Some(SettingsRecord { data: map.data.unwrap_or_default() });
                    continue;
                }
                Ok(watcher::Event::InitDone) => listed.take().unwrap_or_default(),
                Ok(watcher::Event::Apply(map)) => SettingsRecord { data: map.data.unwrap_or_default() },
                // Without the map all is as by default.
                Ok(watcher::Event::Delete(_)) => SettingsRecord::default(),
                Err(error) => {
                    tracing::warn!(name, %error, "the ConfigMap cannot be watched; trying again");
                    continue;
                }
            };
            // Every stage waits for this.
            while let Err(error) = self.bus.kv(Bucket::Settings).put(name, &record).await {
                tracing::warn!(name, %error, "settings not on the bus yet");
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        }
    }
}

//! Watches every kind that the destination cluster serves; keeps the resource trees on the bus and wakes the
//! differ when something managed changed. Knows nothing of git or of what ought to be.
mod index;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tako_bus::{Bucket, Bus, Cause, Work, WorkNote};
use tako_engine::app::AppKey;
use tako_engine::tree::node_from;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::index::{Effect, Index};
use crate::adapters::cluster::Cluster;
use crate::healths::{Healths, Rules};

/// Changes within this time become one tree and one wake-up.
const GATHER: Duration = Duration::from_millis(20);
/// The kinds are read anew this often, and at once when a CustomResourceDefinition changes.
const REDISCOVER: Duration = Duration::from_secs(300);
/// Never watched, as in Argo CD: they change all the time and nobody manages them.
const EXCLUDED: [(&str, &str); 10] = [
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("coordination.k8s.io", "Lease"),
    ("", "Endpoints"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("metrics.k8s.io", "NodeMetrics"),
    ("metrics.k8s.io", "PodMetrics"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("", "ComponentStatus"),
    ("", "Node"),
];

/// The actor.
pub(crate) struct Observer {
    bus: Bus,
    cluster: Cluster,
    control_namespace: String,
    healths: Healths,
    index: Mutex<Index>,
    changed: Mutex<Effect>,
    wake: Notify,
    kinds_changed: Notify,
}

impl Observer {
    /// Starts watching.
    pub(crate) fn start(bus: Bus, cluster: Cluster, healths: Healths, control_namespace: String) -> Arc<Self> {
        let observer = Arc::new(Self {
            bus,
            cluster,
            control_namespace,
            healths,
            index: Mutex::default(),
            changed: Mutex::default(),
            wake: Notify::new(),
            kinds_changed: Notify::new(),
        });
        tokio::spawn(observer.clone().watch_kinds());
        tokio::spawn(observer.clone().publish());
        tokio::spawn(observer.clone().publish_again());
        observer
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One watch a served kind; kinds that come or go are taken up or left.
    async fn watch_kinds(self: Arc<Self>) {
        let mut watches: HashMap<(String, String), JoinHandle<()>> = HashMap::new();
        let mut rules = self.healths.now().number;
        loop {
            match self.cluster.discover().await {
                Ok(served) => {
                    let mut wanted = HashSet::new();
                    for kind in served.into_iter().filter(|served| served.watchable && served.preferred) {
                        let key = (kind.resource.group.clone(), kind.resource.kind.clone());
                        if EXCLUDED.contains(&(key.0.as_str(), key.1.as_str())) {
                            continue;
                        }
                        wanted.insert(key.clone());
                        watches.entry(key).or_insert_with(|| tokio::spawn(self.clone().watch(kind.resource)));
                    }
                    watches.retain(|key, watch| {
                        let keep = wanted.contains(key);
                        if !keep {
                            watch.abort();
                            self.note(self.index().retain(&key.0, &key.1, &HashSet::new()));
                        }
                        keep
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the cluster does not tell its kinds; trying again");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    continue;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(REDISCOVER) => {}
                () = self.kinds_changed.notified() => {}
                // The index keeps no objects to judge anew: all are listed again, under the new rules.
                () = self.healths.changed(rules) => {
                    rules = self.healths.now().number;
                    watches.drain().for_each(|(_, watch)| watch.abort());
                }
            }
        }
    }

    async fn watch(self: Arc<Self>, resource: ApiResource) {
        let client: Client = self.cluster.client();
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        let mut events = watcher(api, watcher::Config::default().any_semantic()).default_backoff().boxed();
        let mut listed: HashSet<String> = HashSet::new();
        let is_crd = resource.kind == "CustomResourceDefinition";
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.extend(object.uid());
                    self.upsert(object, &resource);
                }
                Ok(watcher::Event::Apply(object)) => {
                    self.upsert(object, &resource);
                    if is_crd {
                        self.kinds_changed.notify_one();
                    }
                }
                Ok(watcher::Event::Delete(object)) => {
                    let effect = self.index().remove(&object.uid().unwrap_or_default());
                    self.note(effect);
                    if is_crd {
                        self.kinds_changed.notify_one();
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    let effect = self.index().retain(&resource.group, &resource.kind, &listed);
                    self.note(effect);
                }
                Err(error) => tracing::debug!(kind = resource.kind, %error, "watch interrupted"),
            }
        }
    }

    fn upsert(&self, mut object: DynamicObject, resource: &ApiResource) {
        object.managed_fields_mut().clear();
        // Items of a list come without their type.
        object.types.get_or_insert_with(|| kube::core::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
        let (uid, version) = (object.uid().unwrap_or_default(), object.resource_version().unwrap_or_default());
        let Rules { number, rules } = self.healths.now();
        if self.index().knows(&uid, &version, number) {
            return;
        }
        if let Ok(live) = serde_json::to_value(object) {
            // Judged before the index is taken: a script may take its time.
            let node = node_from(&live, &rules);
            let effect = self.index().upsert(&live, node, number);
            self.note(effect);
        }
    }

    fn note(&self, effect: Effect) {
        if effect == Effect::default() {
            return;
        }
        index::merge(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner), effect);
        self.wake.notify_one();
    }

    fn key_of(&self, instance: &str) -> AppKey {
        match instance.split_once('_') {
            Some((namespace, name)) => AppKey { namespace: namespace.to_owned(), name: name.to_owned() },
            None => AppKey { namespace: self.control_namespace.clone(), name: instance.to_owned() },
        }
    }

    /// Puts changed trees first and wakes the differ after: whoever is woken finds the tree.
    async fn publish(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(GATHER).await;
            let Effect { trees, compare } =
                std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
            let mut again = Effect::default();
            for instance in trees {
                let tree = self.index().tree(&instance);
                let key = self.key_of(&instance);
                if let Err(error) = self.bus.kv(Bucket::Trees).put(&key.token(), &tree).await {
                    tracing::warn!(app = %key, %error, "tree not on the bus yet");
                    again.trees.insert(instance);
                }
            }
            again.compare = self.wake_differ(compare).await;
            if again != Effect::default() {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.note(again);
            }
        }
    }

    /// The bus may have lost trees: all of them are put again.
    async fn publish_again(self: Arc<Self>) {
        let mut reconnects = self.bus.reconnects();
        while reconnects.changed().await.is_ok() {
            let trees = self.index().instances();
            self.note(Effect { trees, compare: BTreeSet::new() });
        }
    }

    async fn wake_differ(&self, compare: BTreeSet<String>) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        for instance in compare {
            let app = self.key_of(&instance);
            let note = WorkNote { hard: false, reason: "live state changed".to_owned() };
            if let Err(error) = self.bus.wake(&Work::Compare { app }, note, &Cause::root("sa:observer")).await {
                tracing::warn!(app = instance, %error, "comparison not queued yet");
                failed.insert(instance);
            }
        }
        failed
    }
}

//! The watches: one a served kind that the settings do not exclude; begun anew when the rules change by which objects
//! are taken up. Decides nothing.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tako_engine::updates::print_of;
use tokio::task::JoinHandle;

use super::Observer;
use super::index::Seen;
use crate::settings::RespectRbac;

/// The kinds are read anew this often, and at once when a CustomResourceDefinition changes.
const REDISCOVER: Duration = Duration::from_secs(300);
/// Until the next try when the cluster does not tell its kinds.
const DISCOVER_AGAIN: Duration = Duration::from_secs(2);

/// Settings that only say which kinds are watched.
const OF_KINDS: [&str; 3] = ["resource.exclusions", "resource.inclusions", "resource.respectRBAC"];

type Watches = HashMap<(String, String), JoinHandle<()>>;

impl Observer {
    /// One watch a served kind; kinds that come or go are taken up or left.
    pub(super) async fn watch_kinds(self: Arc<Self>) {
        let settings = self.rules.settings();
        settings.ready().await;
        let mut changes = settings.changes();
        let mut watches = Watches::new();
        let mut rules = self.rules_of_objects();
        loop {
            let fresh = self.rules_of_objects();
            if fresh != rules {
                rules = fresh;
                tracing::info!("argocd-cm changed how objects are taken up: all are listed anew");
                watches.drain().for_each(|(_, watch)| watch.abort());
                self.index().outdate();
            }
            if let Err(error) = self.take_up(&mut watches).await {
                tracing::warn!(%error, "the cluster does not tell its kinds; trying again");
                tokio::time::sleep(DISCOVER_AGAIN).await;
                continue;
            }
            tokio::select! {
                () = self.kinds_changed.notified() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(REDISCOVER) => {}
            }
        }
    }

    /// Settings that decide what an object means.
    fn rules_of_objects(&self) -> BTreeMap<String, String> {
        let mut rules = self.rules.settings().of_resources();
        rules.retain(|key, _| !OF_KINDS.contains(&key.as_str()));
        rules
    }

    async fn take_up(self: &Arc<Self>, watches: &mut Watches) -> Result<(), crate::adapters::cluster::ClusterError> {
        let served = self.cluster.discover().await?;
        let scope = self.rules.settings().compiled().scope;
        let mut wanted = HashSet::new();
        for kind in served.into_iter().filter(|served| served.watchable && served.preferred) {
            let key = (kind.resource.group.clone(), kind.resource.kind.clone());
            if scope.excludes(&key.0, &key.1, self.cluster.url()) {
                continue;
            }
            wanted.insert(key.clone());
            // A watch that ended was forbidden; by now it may be allowed.
            if watches.get(&key).is_none_or(JoinHandle::is_finished) {
                watches.insert(key, tokio::spawn(self.clone().watch(kind.resource)));
            }
        }
        watches.retain(|key, watch| {
            let keep = wanted.contains(key);
            if !keep {
                watch.abort();
                self.note(self.index().retain(&key.0, &key.1, &HashSet::new()));
            }
            keep
        });
        Ok(())
    }

    async fn watch(self: Arc<Self>, resource: ApiResource) {
        let client: Client = self.cluster.client();
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        // A consistent list, not one from a cache: after its start an API server may answer from an empty one, and what
        // is not in a list counts as gone.
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed: HashSet<String> = HashSet::new();
        let is_crd = resource.kind == "CustomResourceDefinition";
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.extend(object.uid());
                    self.upsert(object, &resource).await;
                }
                Ok(watcher::Event::Apply(object)) => {
                    self.upsert(object, &resource).await;
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
                Err(error) => {
                    tracing::debug!(kind = resource.kind, %error, "watch interrupted");
                    if self.forbidden(&error, &resource).await {
                        tracing::info!(
                            kind = resource.kind,
                            "not watched: its list is forbidden (resource.respectRBAC)"
                        );
                        return;
                    }
                }
            }
        }
    }

    /// Whether the kind is to be left alone until the next discovery (Argo CD, "Cluster RBAC", `resource.respectRBAC`):
    /// normal trusts a refusal, strict asks whether it is meant.
    async fn forbidden(&self, error: &watcher::Error, resource: &ApiResource) -> bool {
        let code = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code,
            watcher::Error::WatchError(status) => status.code,
            _ => return false,
        };
        match self.rules.settings().respect_rbac() {
            RespectRbac::Off => false,
            RespectRbac::Normal => code == 403,
            RespectRbac::Strict if matches!(code, 401 | 403) => {
                // An answer that does not come is no refusal.
                self.cluster.may_list(resource).await.is_ok_and(|allowed| !allowed)
            }
            RespectRbac::Strict => false,
        }
    }

    async fn upsert(&self, mut object: DynamicObject, resource: &ApiResource) {
        object.managed_fields_mut().clear();
        // Items of a list come without their type.
        object.types.get_or_insert_with(|| kube::core::TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        });
        let Ok(live) = serde_json::to_value(object) else { return };
        let age = self.index().age();
        let settings = self.rules.settings().compiled();
        let seen = Seen::new(&live, (&settings.tracking, &self.healths.now(), &settings.labels), age);
        let ignored = settings.updates.of(&live, seen.managed());
        let own = self.own_application(&live);
        let print = match ignored {
            Some(ignored) => self.rules.within_bounds(ignored, move |ignored| print_of(live, ignored)).await.ok(),
            None => None,
        };
        let mut effect = self.index().upsert(seen.printed(print));
        // An Application that manages itself is not compared for what the comparison wrote into it.
        if let Some(own) = own {
            effect.compare.retain(|instance| self.key_of(instance) != own);
        }
        self.note(effect);
    }

    /// The Application that the object is, if it is one.
    fn own_application(&self, live: &Value) -> Option<tako_engine::app::AppKey> {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_one = text("/kind") == "Application" && text("/apiVersion").starts_with("argoproj.io/");
        is_one
            .then(|| tako_engine::app::AppKey { namespace: text("/metadata/namespace"), name: text("/metadata/name") })
    }
}

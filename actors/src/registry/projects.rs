//! Keeps the AppProjects of the control namespace on the bus. Others' namespaces have none that count (Argo CD).
use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tako_bus::{Bucket, Bus};
use tako_engine::app::AppKey;
use tako_engine::project::{AppProject, DEFAULT};

use crate::projects::LISTED;

/// Makes the project `default`, which permits everything, if it is not there (Argo CD's API server does so when it
/// starts); then watches, and lists anew whenever the bus may have lost what it was told.
pub(super) async fn watch(bus: Bus, client: Client, namespace: String) {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("argoproj.io", "v1alpha1", "AppProject"),
        "appprojects",
    );
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let mut reconnects = bus.reconnects();
    while let Err(error) = make_default(&api).await {
        tracing::warn!(%error, "the project default cannot be made; trying again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    loop {
        reconnects.mark_unchanged();
        tokio::select! {
            () = watch_once(&bus, api.clone(), &namespace) => {}
            _ = reconnects.changed() => {}
        }
    }
}

async fn make_default(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    if api.get_opt(DEFAULT).await?.is_some() {
        return Ok(());
    }
    let object = serde_json::json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": DEFAULT},
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    });
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

async fn watch_once(bus: &Bus, api: Api<DynamicObject>, namespace: &str) {
    let key = |name: String| AppKey { namespace: namespace.to_owned(), name };
    let mut listed: Option<HashSet<String>> = None;
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = Some(HashSet::new()),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                let token = key(object.name_any()).token();
                match project(object) {
                    Ok(project) => put(bus, &token, &project).await,
                    Err(error) => {
                        tracing::error!(project = token, %error, "an AppProject that cannot be read stays as it was")
                    }
                }
                if let Some(listed) = &mut listed {
                    listed.insert(token);
                }
            }
            Ok(watcher::Event::Delete(object)) => remove(bus, &key(object.name_any()).token()).await,
            Ok(watcher::Event::InitDone) => {
                let kept = listed.take().unwrap_or_default();
                match bus.kv(Bucket::Projects).entries::<AppProject>().await {
                    Ok(entries) => {
                        let gone = |token: &String| token != LISTED && !kept.contains(token);
                        for (token, _) in entries.into_iter().filter(|(token, _)| gone(token)) {
                            remove(bus, &token).await;
                        }
                        put(bus, LISTED, &AppProject::default()).await;
                    }
                    Err(error) => tracing::warn!(%error, "the bus cannot be compared with the list of projects yet"),
                }
            }
            Err(error) => tracing::warn!(%error, "AppProjects cannot be watched; trying again"),
        }
    }
}

fn project(mut object: DynamicObject) -> Result<AppProject, serde_json::Error> {
    object.managed_fields_mut().clear();
    serde_json::from_value(serde_json::to_value(object)?)
}

/// The watch must not run ahead of the bus. When the bus is gone for good, the next connection lists anew.
async fn put(bus: &Bus, token: &str, project: &AppProject) {
    for attempt in 0_u32..60 {
        match bus.kv(Bucket::Projects).put(token, project).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(project = token, %error, attempt, "not on the bus yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn remove(bus: &Bus, token: &str) {
    if let Err(error) = bus.kv(Bucket::Projects).delete(token).await {
        tracing::warn!(project = token, %error, "not removed from the bus; the next list does it");
    }
}

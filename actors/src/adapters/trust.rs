//! Whom the installation trusts, from the ConfigMaps of the control namespace, told to the store of sources. Knows nothing
//! of what is verified with it.
use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tako_engine::trust::Trust;
use tako_sources::store::Store;

const TLS: &str = "argocd-tls-certs-cm";
const SSH: &str = "argocd-ssh-known-hosts-cm";
const GPG: &str = "argocd-gpg-keys-cm";

/// Follows the three ConfigMaps from now on.
pub(crate) fn follow(client: Client, namespace: &str, store: Store) {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    tokio::spawn(async move {
        // Three names cannot be one field selector: one watch each.
        let of = |name: &str| {
            let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
            watcher(api.clone(), only).default_backoff().boxed()
        };
        let mut events = futures_util::stream::select_all([of(TLS), of(SSH), of(GPG)]);
        let (mut known, mut told) = (BTreeMap::new(), Trust::default());
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    known.insert(map.name_any(), map.data.unwrap_or_default());
                }
                Ok(watcher::Event::Delete(map)) => {
                    known.remove(&map.name_any());
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                Err(error) => {
                    tracing::warn!(%error, "whom to trust cannot be watched; trying again");
                    continue;
                }
            }
            let none = BTreeMap::new();
            let of = |name: &str| known.get(name).unwrap_or(&none);
            let next = Trust::from_data(of(TLS), of(SSH), of(GPG));
            if next == told {
                continue;
            }
            let (store, trust) = (store.clone(), next.clone());
            match tokio::task::spawn_blocking(move || store.trust(trust)).await {
                Ok(Ok(())) => told = next,
                Ok(Err(error)) => tracing::error!(%error, "whom to trust is what it was before"),
                Err(_) => tracing::error!("reading whom to trust ended unexpectedly; it is what it was before"),
            }
        }
    });
}

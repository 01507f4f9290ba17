//! The target state as a stage needs it: loaded by digest, with namespaces filled and tracking marks put on.
//! Shared by differ and syncer, so that what is compared is what is applied.
use serde_json::Value;
use tako_bus::{Bus, BusError, Digest, TargetRecord};
use tako_engine::app::{AppKey, Application};
use tako_engine::resource::Manifest;
use tako_engine::tracking;

use crate::adapters::cluster::Cluster;

/// The name under which an Application tracks its objects: with its namespace when that is not the control plane's.
pub(crate) fn instance_name(key: &AppKey, control_namespace: &str) -> String {
    if key.namespace == control_namespace { key.name.clone() } else { format!("{}_{}", key.namespace, key.name) }
}

/// Loads the manifests of a record; `None` when it has none (never rendered, or its body is gone from the bus).
pub(crate) async fn load(bus: &Bus, record: &TargetRecord) -> Result<Option<Vec<Value>>, BusError> {
    let Some(digest) = record.digest.as_deref().and_then(|text| text.parse::<Digest>().ok()) else { return Ok(None) };
    let Some(body) = bus.blobs().get(&digest).await? else { return Ok(None) };
    Ok(serde_json::from_slice(&body).ok())
}

/// Fills namespaces and stamps the tracking mark. Of two manifests with one key the last stays (Argo CD);
/// the keys that came twice are the second answer.
pub(crate) fn finish(
    raw: Vec<Value>,
    app: &Application,
    control_namespace: &str,
    cluster: &Cluster,
) -> (Vec<Manifest>, Vec<String>) {
    let instance = instance_name(&app.key(), control_namespace);
    let destination = app.spec.destination.namespace.clone().unwrap_or_default();
    let mut finished: Vec<Manifest> = Vec::with_capacity(raw.len());
    let mut repeated = Vec::new();
    let mut at = std::collections::HashMap::new();
    for value in raw {
        let mut manifest = Manifest(value);
        tracking::stamp(&mut manifest, &instance, &destination, |group, kind| cluster.namespaced(group, kind));
        let key = manifest.key();
        if key.name.is_empty() {
            // Named when it is made (generateName): never the same as another.
            finished.push(manifest);
            continue;
        }
        match at.get(&key) {
            Some(&index) => {
                repeated.push(key.to_string());
                finished[index] = manifest;
            }
            None => {
                at.insert(key, finished.len());
                finished.push(manifest);
            }
        }
    }
    (finished, repeated)
}

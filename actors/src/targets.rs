//! The target state as a stage needs it: loaded by digest, with namespaces filled and tracking marks put on.
//! Shared by differ and syncer, so that what is compared is what is applied.
use std::collections::HashMap;

use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use tako_bus::{Bus, BusError, Digest, TargetRecord};
use tako_engine::app::{AppKey, Application, Source};
use tako_engine::plan::defined_by;
use tako_engine::resource::Manifest;
use tako_engine::{scope, tracking};
use tako_sources::sops::{self, Keys};

use crate::adapters::cluster::Cluster;
use crate::settings::Compiled;
use crate::shared::Shared;

/// The name under which an Application tracks its objects: with its namespace when that is not the control plane's.
pub(crate) fn instance_name(key: &AppKey, control_namespace: &str) -> String {
    if key.namespace == control_namespace { key.name.clone() } else { format!("{}_{}", key.namespace, key.name) }
}

/// What tells the sources of one spec from those of another.
pub(crate) fn source_hash(sources: &[Source]) -> String {
    hex::encode(Sha256::digest(serde_json::to_vec(sources).unwrap_or_default()))
}

/// Whether the record was rendered from these sources: a changed spec has no target state until its render.
pub(crate) fn is_of(record: &TargetRecord, sources: &[Source]) -> bool {
    record.source.is_empty() || record.source == source_hash(sources)
}

/// Manifests as they are applied.
pub(crate) struct Opened {
    /// With encrypted values opened.
    pub(crate) manifests: Vec<Value>,
    /// Where values were opened: JSON pointers into objects of this group, kind and name.
    pub(crate) secrets: HashMap<(String, String, String), Vec<String>>,
}

/// Opens what is encrypted, in memory (ADR 0010). Without keys all stays as it is.
pub(crate) fn open(mut manifests: Vec<Value>, keys: Option<&Keys>) -> Result<Opened, String> {
    let mut secrets = HashMap::new();
    if let Some(keys) = keys {
        let pointers = sops::reveal(&mut manifests, keys).map_err(|error| error.to_string())?;
        for (value, pointers) in manifests.iter().zip(pointers).filter(|(_, pointers)| !pointers.is_empty()) {
            let manifest = Manifest(value.clone());
            let name = (manifest.group().to_owned(), manifest.kind().to_owned(), manifest.name().to_owned());
            secrets.insert(name, pointers);
        }
    }
    Ok(Opened { manifests, secrets })
}

impl Shared {
    /// The target state of a record, opened; `None` when it has none (never rendered, or its body is gone from the bus). The inner
    /// error says why it cannot be opened.
    pub(crate) async fn load_target(
        &self,
        app: &Application,
        record: &TargetRecord,
    ) -> Result<Option<Result<Opened, String>>, BusError> {
        let Some(raw) = load(&self.bus, record).await? else { return Ok(None) };
        Ok(Some(self.sources.secrets.keys_of(app).and_then(|keys| open(raw, keys.as_deref()))))
    }
}

/// Loads the manifests of a record; `None` when it has none (never rendered, or its body is gone from the bus).
async fn load(bus: &Bus, record: &TargetRecord) -> Result<Option<Vec<Value>>, BusError> {
    if !record.is_rendered() {
        return Ok(None);
    }
    let mut all = Vec::new();
    for digest in record.parts.iter().filter_map(|part| part.digest.as_deref()) {
        let Ok(digest) = digest.parse::<Digest>() else { return Ok(None) };
        let Some(body) = bus.blobs().get(&digest).await? else { return Ok(None) };
        let Ok(manifests) = serde_json::from_slice::<Vec<Value>>(&body) else { return Ok(None) };
        all.extend(manifests);
    }
    Ok(Some(all))
}

/// The target state of an Application, ready to be compared and applied.
#[derive(Default)]
pub(crate) struct Finished {
    /// What is wanted.
    pub(crate) manifests: Vec<Manifest>,
    /// Keys that came twice: the last manifest stays (Argo CD).
    pub(crate) repeated: Vec<String>,
    /// Manifests of excluded kinds, left out: (group, kind, name).
    pub(crate) excluded: Vec<(String, String, String)>,
}

impl Finished {
    /// The conditions that tell of what was left out.
    pub(crate) fn warnings(&self) -> Vec<(String, String)> {
        let repeated = self.repeated.iter().map(|key| {
            let words = format!("Resource {key} appeared 2 times among application resources.");
            ("RepeatedResourceWarning".to_owned(), words)
        });
        let excluded = self.excluded.iter().map(|(group, kind, name)| {
            ("ExcludedResourceWarning".to_owned(), scope::excluded_words(group, kind, name))
        });
        repeated.chain(excluded).collect()
    }
}

/// Fills namespaces, stamps the tracking mark, and leaves out what the settings exclude.
pub(crate) fn finish(
    raw: Vec<Value>,
    app: &Application,
    control_namespace: &str,
    cluster: &Cluster,
    settings: &Compiled,
) -> Finished {
    let instance = instance_name(&app.key(), control_namespace);
    let destination = app.spec.destination.namespace.clone().unwrap_or_default();
    // Kinds that come with this very target state are not served yet, but say themselves where they live.
    let brought: HashMap<(String, String), bool> = raw
        .iter()
        .filter(|value| value["kind"] == "CustomResourceDefinition")
        .filter_map(|value| {
            let definition = Manifest(value.clone());
            Some((defined_by(&definition)?, definition.0["spec"]["scope"] == "Namespaced"))
        })
        .collect();
    let namespaced = |group: &str, kind: &str| {
        let key = || (group.to_owned(), kind.to_owned());
        cluster.namespaced(group, kind).or_else(|| brought.get(&key()).copied())
    };
    finish_in(raw, (&instance, &destination), settings, cluster.url(), namespaced)
}

fn finish_in(
    raw: Vec<Value>,
    (instance, destination): (&str, &str),
    settings: &Compiled,
    cluster: &str,
    namespaced: impl Fn(&str, &str) -> Option<bool>,
) -> Finished {
    let mut finished = Finished::default();
    let mut at = HashMap::new();
    for (place, value) in raw.into_iter().enumerate() {
        let mut manifest = Manifest(value);
        if settings.scope.excludes(manifest.group(), manifest.kind(), cluster) {
            let Manifest(value) = &manifest;
            let name = if manifest.name().is_empty() { value["metadata"]["generateName"].as_str() } else { None };
            finished.excluded.push((
                manifest.group().to_owned(),
                manifest.kind().to_owned(),
                name.unwrap_or(manifest.name()).to_owned(),
            ));
            continue;
        }
        settings.tracking.stamp(&mut manifest, instance, destination, &namespaced);
        let mut key = manifest.key();
        // Named when it is made (generateName): never the same as another.
        key.name = tracking::generated_name(&manifest, place).unwrap_or(key.name);
        match at.get(&key) {
            Some(&index) => {
                finished.repeated.push(key.to_string());
                finished.manifests[index] = manifest;
            }
            None => {
                at.insert(key, finished.manifests.len());
                finished.manifests.push(manifest);
            }
        }
    }
    finished
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;
    use tako_engine::scope::Scope;

    use super::*;

    #[test]
    fn the_target_state_is_marked_and_freed_of_what_is_repeated_or_excluded() {
        let exclusions = BTreeMap::from([("resource.exclusions".to_owned(), "[{kinds: [Secret]}]".to_owned())]);
        let settings = Compiled { scope: Arc::new(Scope::compile(&exclusions).unwrap()), ..Compiled::default() };
        let object = |kind: &str, metadata: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
        let raw = vec![
            object("ConfigMap", json!({"name": "a", "labels": {"n": "1"}})),
            object("Secret", json!({"name": "s"})),
            object("ConfigMap", json!({"generateName": "g-"})),
            object("ConfigMap", json!({"generateName": "g-"})),
            object("ConfigMap", json!({"name": "a", "namespace": "dest", "labels": {"n": "2"}})),
        ];
        let finished = finish_in(raw, ("app", "dest"), &settings, "https://kubernetes.default.svc", |_, _| Some(true));
        assert_eq!(finished.repeated, ["/ConfigMap/dest/a"]);
        assert_eq!(finished.excluded, [(String::new(), "Secret".to_owned(), "s".to_owned())]);
        assert_eq!(finished.manifests.len(), 3, "manifests without a name are never the same");
        assert_eq!(finished.manifests[0].0["metadata"]["labels"]["n"], "2");
        assert!(finished.manifests.iter().all(|manifest| manifest.annotation(tracking::TRACKING_ID).is_some()));
    }
}

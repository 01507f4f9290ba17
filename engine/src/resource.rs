//! One Kubernetes object as a manifest, and the key that names it. Knows nothing of clusters.
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What names an object in a cluster; the version does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.group, self.kind, self.namespace, self.name)
    }
}

/// An object with apiVersion and kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub Value);

impl Manifest {
    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `group/version`, or `version` for core.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// API group, empty for core.
    pub fn group(&self) -> &str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// API version.
    pub fn version(&self) -> &str {
        self.api_version().rsplit_once('/').map_or(self.api_version(), |(_, version)| version)
    }

    /// Kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Name; empty with generateName.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Namespace, if it names one.
    pub fn namespace(&self) -> Option<&str> {
        self.0.pointer("/metadata/namespace").and_then(Value::as_str).filter(|namespace| !namespace.is_empty())
    }

    /// The key.
    pub fn key(&self) -> ResourceKey {
        ResourceKey {
            group: self.group().to_owned(),
            kind: self.kind().to_owned(),
            namespace: self.namespace().unwrap_or_default().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }

    /// The metadata, made when there is none.
    pub(crate) fn metadata_mut(&mut self) -> Option<&mut Map<String, Value>> {
        let metadata = self.0.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if metadata.is_null() {
            *metadata = Value::Object(Map::new());
        }
        metadata.as_object_mut()
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, name: &str, value: &str) {
        self.set_text("annotations", name, value);
    }

    /// Sets a label.
    pub fn label(&mut self, name: &str, value: &str) {
        self.set_text("labels", name, value);
    }

    fn set_text(&mut self, list: &str, name: &str, value: &str) {
        let Some(metadata) = self.metadata_mut() else { return };
        let entries = metadata.entry(list).or_insert_with(|| Value::Object(Map::new()));
        if !entries.is_object() {
            *entries = Value::Object(Map::new());
        }
        if let Some(entries) = entries.as_object_mut() {
            entries.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }

    /// Takes a label or an annotation away, and the list with its last entry.
    pub(crate) fn remove_text(&mut self, list: &str, name: &str) {
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let emptied = metadata
            .get_mut(list)
            .and_then(Value::as_object_mut)
            .is_some_and(|entries| entries.remove(name).is_some() && entries.is_empty());
        if emptied {
            metadata.remove(list);
        }
    }
}

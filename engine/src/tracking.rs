//! Who owns an object: the mark by annotation, by label, or both (Argo CD, user guide, "Resource Tracking"). Pure.
use std::collections::BTreeMap;

use serde_json::Value;

use crate::resource::{Manifest, ResourceKey};

/// The annotation.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// The annotation that says which installation put the mark on.
pub const INSTALLATION_ID: &str = "argocd.argoproj.io/installation-id";
/// The label, unless `application.instanceLabelKey` names another.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
/// Longest value of a label (Kubernetes, "Labels and Selectors").
const LABEL_MAX: usize = 63;

/// Settings that decide who owns what; with one of them changed every object is looked at again.
pub const SETTINGS: [&str; 3] =
    ["application.resourceTrackingMethod", "application.instanceLabelKey", "installationID"];

/// `application.resourceTrackingMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The annotation alone.
    #[default]
    Annotation,
    /// The label alone.
    Label,
    /// The annotation decides; the label is there for other tools.
    AnnotationAndLabel,
}

/// How marks are put on and read, by the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracking {
    method: Method,
    label: String,
    installation: String,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { method: Method::default(), label: INSTANCE_LABEL.to_owned(), installation: String::new() }
    }
}

/// A tracking id, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingId {
    /// The Application: its name, or `namespace_name` when it is outside the control plane's namespace.
    pub instance: String,
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; of cluster-scoped objects, the Application's destination namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl TrackingId {
    /// It speaks of this object. The namespace of a cluster-scoped object is not in the object.
    fn names(&self, object: &Manifest) -> bool {
        self.group == object.group() && self.names_but_group(object)
    }

    fn names_but_group(&self, object: &Manifest) -> bool {
        self.kind == object.kind()
            && self.name == object.name()
            && object.namespace().is_none_or(|namespace| namespace == self.namespace)
    }
}

/// Reads `<instance>:<group>/<kind>:<namespace>/<name>`.
pub fn parse_tracking_id(text: &str) -> Option<TrackingId> {
    let mut parts = text.splitn(3, ':');
    let (instance, kind, object) = (parts.next()?, parts.next()?, parts.next()?);
    let (group, kind) = kind.split_once('/')?;
    let (namespace, name) = object.split_once('/')?;
    let owned = str::to_owned;
    (!instance.is_empty()).then(|| TrackingId {
        instance: owned(instance),
        group: owned(group),
        kind: owned(kind),
        namespace: owned(namespace),
        name: owned(name),
    })
}

impl Tracking {
    /// From the data of `argocd-cm`. A method that nobody knows is an error that says what there is.
    pub fn compile(settings: &BTreeMap<String, String>) -> Result<Self, String> {
        let [method, label, installation] = SETTINGS.map(|key| settings.get(key).map_or("", |text| text.trim()));
        let method = match method {
            "" | "annotation" => Method::Annotation,
            "label" => Method::Label,
            "annotation+label" => Method::AnnotationAndLabel,
            other => {
                return Err(format!(
                    "argocd-cm: {}: {other:?} is no tracking method; use annotation, label or annotation+label",
                    SETTINGS[0]
                ));
            }
        };
        let label = if label.is_empty() { INSTANCE_LABEL } else { label };
        Ok(Self { method, label: label.to_owned(), installation: installation.to_owned() })
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Fills the namespace of namespaced kinds, clears it of others, and puts on the tracking mark.
    /// `namespaced` answers for (group, kind); a kind not served yet keeps what it says.
    /// CustomResourceDefinitions get no mark: removing one from git must not delete every object of its kind.
    pub fn stamp(
        &self,
        manifest: &mut Manifest,
        instance: &str,
        destination: &str,
        namespaced: impl Fn(&str, &str) -> Option<bool>,
    ) {
        let (group, kind) = (manifest.group().to_owned(), manifest.kind().to_owned());
        settle(manifest, destination, namespaced(&group, &kind));
        if kind == "CustomResourceDefinition" && group == "apiextensions.k8s.io" {
            return;
        }
        if self.method != Method::Label {
            let namespace = manifest.namespace().unwrap_or(destination).to_owned();
            let id = format!("{instance}:{group}/{kind}:{namespace}/{}", manifest.name());
            manifest.annotate(TRACKING_ID, &id);
            if self.installation.is_empty() {
                manifest.remove_text("annotations", INSTALLATION_ID);
            } else {
                manifest.annotate(INSTALLATION_ID, &self.installation);
            }
        }
        match self.method {
            Method::Annotation => {}
            Method::Label => manifest.label(&self.label, instance),
            Method::AnnotationAndLabel => manifest.label(&self.label, shortened(instance)),
        }
    }

    /// The Application (its instance name) that a live object's mark names. A mark that speaks of another object was
    /// copied along with it and does not count; a label cannot tell. Whether the object is owned by another object is
    /// not asked here.
    pub fn owner_of(&self, live: &Value) -> Option<String> {
        self.owner(live, TrackingId::names)
    }

    /// As [`Tracking::owner_of`] of an object that a target names, too: its mark may still speak of the group under
    /// which the kind was served before (extensions, then networking.k8s.io).
    pub fn owner_beside_target(&self, live: &Value) -> Option<String> {
        self.owner(live, TrackingId::names_but_group)
    }

    fn owner(&self, live: &Value, names: impl Fn(&TrackingId, &Manifest) -> bool) -> Option<String> {
        let text = |list: &str, name: &str| live["metadata"][list][name].as_str().filter(|text| !text.is_empty());
        if self.method == Method::Label {
            return text("labels", &self.label).map(str::to_owned);
        }
        let mark = text("annotations", TRACKING_ID)?;
        if !self.installation.is_empty() && text("annotations", INSTALLATION_ID) != Some(&self.installation) {
            return None;
        }
        let id = parse_tracking_id(mark)?;
        // Only what is needed of the object: this is asked of every object of a cluster.
        let place = Manifest(serde_json::json!({
            "apiVersion": live["apiVersion"], "kind": live["kind"],
            "metadata": {"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]},
        }));
        names(&id, &place).then_some(id.instance)
    }

    /// The rule for clusters that were tracked by label before: one side of a comparison, live or predicted, as if it
    /// had the target's annotation if it has the label and no annotation; and without the label if the target has none.
    /// An annotation that is there stays: that it is another is a real difference.
    pub fn migrate(&self, target: &Value, side: &mut Value) {
        let mark = |object: &Value, list: &str, name: &str| object["metadata"][list][name].as_str().map(str::to_owned);
        if self.method == Method::Label || mark(side, "labels", &self.label).is_none() {
            return;
        }
        let mut object = Manifest(side.take());
        if let Some(wanted) = mark(target, "annotations", TRACKING_ID)
            && object.annotation(TRACKING_ID).is_none()
        {
            object.annotate(TRACKING_ID, &wanted);
        }
        if mark(target, "labels", &self.label).is_none() {
            object.remove_text("labels", &self.label);
        }
        *side = object.0;
    }
}

/// Fills or clears the namespace.
fn settle(manifest: &mut Manifest, destination: &str, namespaced: Option<bool>) {
    let own = manifest.namespace().is_some();
    let Some(metadata) = manifest.metadata_mut() else { return };
    match namespaced {
        Some(false) if own => {
            metadata.remove("namespace");
        }
        Some(true) if !own && !destination.is_empty() => {
            metadata.insert("namespace".to_owned(), Value::String(destination.to_owned()));
        }
        _ => {}
    }
}

/// What of a name fits into a label: the first 63 characters, and of those up to the last letter or digit.
fn shortened(name: &str) -> &str {
    let mut end = name.len().min(LABEL_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if name.len() <= LABEL_MAX {
        name
    } else {
        name[..end].trim_end_matches(|last: char| !last.is_ascii_alphanumeric())
    }
}

/// What is said of an object with two owners (Argo CD, `SharedResourceWarning`).
pub fn shared_words(key: &ResourceKey, ours: &str, theirs: &str) -> String {
    format!("{}/{} is part of applications {ours} and {theirs}", key.kind, key.name)
}

/// The name under which a target without a name (generateName, no hook) is listed: its place among the targets makes
/// it the only one.
pub fn generated_name(manifest: &Manifest, place: usize) -> Option<String> {
    let stem = manifest.0["metadata"]["generateName"].as_str().filter(|_| manifest.name().is_empty())?;
    Some(format!("{stem}{place}"))
}

#[cfg(test)]
mod tests;

//! Settings of the comparison in `argocd-cm`: `resource.compareoptions` and `knownTypeFields` (Argo CD, "Diff
//! Customization"), `resource.sensitive.mask.annotations`. Pure.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::parse::parse_value;

/// Whose `status` does not count (`ignoreResourceStatusField`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IgnoreStatus {
    /// That of all objects.
    #[default]
    All,
    /// That of CustomResourceDefinitions.
    Crd,
    /// Nobody's.
    None,
}

/// A field of a custom resource that has a built-in type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownField {
    /// Names with dots between.
    pub(super) path: String,
    /// `core/v1/PodSpec`.
    pub(super) type_name: String,
}

/// What `argocd-cm` says about comparing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whose `status` does not count.
    pub ignore_status: IgnoreStatus,
    /// Annotations of Secrets that are hidden.
    pub masked_annotations: BTreeSet<String>,
    pub(super) known: BTreeMap<(String, String), Vec<KnownField>>,
}

/// `argoproj.io/Rollout` holds a pod template.
static ROLLOUT: std::sync::LazyLock<Vec<KnownField>> = std::sync::LazyLock::new(|| {
    vec![KnownField { path: "spec.template.spec".into(), type_name: "core/v1/PodSpec".into() }]
});

impl Settings {
    /// From the data of `argocd-cm`. Errors name the key.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        const COMBINED: &str = "resource.customizations";
        const SPLIT: &str = "resource.customizations.knownTypeFields.";
        let mut settings = Self::default();
        let load = |key: &str, text: &str| parse_value(text).map_err(|error| format!("argocd-cm: {key}: {error}"));
        if let Some(text) = data.get("resource.compareoptions") {
            settings.ignore_status = match &load("resource.compareoptions", text)?["ignoreResourceStatusField"] {
                Value::Bool(false) => IgnoreStatus::None,
                value => match value.as_str() {
                    Some("none" | "off" | "false") => IgnoreStatus::None,
                    Some("crd") => IgnoreStatus::Crd,
                    _ => IgnoreStatus::All,
                },
            };
        }
        if let Some(text) = data.get("resource.sensitive.mask.annotations") {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            settings.masked_annotations = names.map(str::to_owned).collect();
        }
        if let Some(text) = data.get(COMBINED) {
            for (name, entry) in load(COMBINED, text)?.as_object().into_iter().flatten() {
                let (group, kind) = name.split_once('/').unwrap_or(("", name));
                settings.known(group, kind, &entry["knownTypeFields"], &format!("argocd-cm: {COMBINED}: {name}"))?;
            }
        }
        for (key, text) in data {
            if let Some(name) = key.strip_prefix(SPLIT) {
                let (group, kind) = name.rsplit_once('_').unwrap_or(("", name));
                settings.known(group, kind, &load(key, text)?, &format!("argocd-cm: {key}"))?;
            }
        }
        Ok(settings)
    }

    fn known(&mut self, group: &str, kind: &str, fields: &Value, key: &str) -> Result<(), String> {
        if fields.is_null() {
            return Ok(());
        }
        let fields = fields.as_array().ok_or_else(|| format!("{key}: a list of field and type is wanted"))?;
        for field in fields {
            let (Some(path), Some(type_name)) = (field["field"].as_str(), field["type"].as_str()) else {
                return Err(format!("{key}: each entry needs field and type"));
            };
            let known = KnownField { path: path.to_owned(), type_name: type_name.to_owned() };
            self.known.entry((group.to_owned(), kind.to_owned())).or_default().push(known);
        }
        Ok(())
    }

    pub(super) fn ignores_status(&self, object: &Value) -> bool {
        match self.ignore_status {
            IgnoreStatus::All => true,
            IgnoreStatus::None => false,
            IgnoreStatus::Crd => {
                object["kind"] == "CustomResourceDefinition"
                    && object["apiVersion"].as_str().is_some_and(|version| version.starts_with("apiextensions.k8s.io/"))
            }
        }
    }

    pub(super) fn known_fields(&self, object: &Value) -> &[KnownField] {
        let group =
            object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
        let kind = object["kind"].as_str().unwrap_or_default();
        match self.known.get(&(group.to_owned(), kind.to_owned())) {
            Some(fields) => fields,
            None if group == "argoproj.io" && kind == "Rollout" => &ROLLOUT,
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn settings_are_read() {
        let status = |text: &str| read(&[("resource.compareoptions", text)]).unwrap().ignore_status;
        assert_eq!(status("ignoreResourceStatusField: none"), IgnoreStatus::None);
        assert_eq!(status("ignoreResourceStatusField: off"), IgnoreStatus::None);
        assert_eq!(status("ignoreResourceStatusField: 'false'"), IgnoreStatus::None);
        assert_eq!(status("ignoreResourceStatusField: crd"), IgnoreStatus::Crd);
        assert_eq!(status("ignoreResourceStatusField: odd"), IgnoreStatus::All);
        assert_eq!(status("ignoreAggregatedRoles: true"), IgnoreStatus::All);
        let settings = read(&[
            ("resource.sensitive.mask.annotations", "a, b/c,"),
            ("resource.customizations", "x.org/A:\n  knownTypeFields:\n  - {field: spec.pod, type: core/v1/PodSpec}\n"),
            ("resource.customizations.knownTypeFields.x.org_A", "- {field: spec.size, type: core/Quantity}"),
        ])
        .unwrap();
        assert_eq!(settings.masked_annotations, BTreeSet::from(["a".to_owned(), "b/c".to_owned()]));
        let fields = settings.known_fields(&json!({"apiVersion": "x.org/v1", "kind": "A"}));
        assert_eq!(fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), ["spec.pod", "spec.size"]);
        let rollout = settings.known_fields(&json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}));
        assert_eq!(rollout.len(), 1);
        let bad = [("resource.customizations.knownTypeFields.A", "- {field: x}")];
        assert!(read(&bad).unwrap_err().starts_with("argocd-cm: resource.customizations.knownTypeFields.A"));
    }
}

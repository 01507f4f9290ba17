//! `resource.customizations` of `argocd-cm`: what is set for which kinds, in the combined form (one YAML map) and in
//! the split form (one key a part and kind), of which the second wins (Argo CD, operator manual, "Resource Health",
//! "Resource Actions", "Diff Customization"). Knows the two forms, not what the parts mean. Pure.
use std::collections::BTreeMap;

use serde_json::Value;

use crate::parse::parse_value;

const COMBINED: &str = "resource.customizations";

/// One part, as set for some kinds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// The group, perhaps with `*`; empty for core.
    pub(crate) group: String,
    /// The kind, perhaps with `*`.
    pub(crate) kind: String,
    /// What is set: text, but for what the combined form writes as YAML of another type.
    pub(crate) value: Value,
    /// Where it stands, for errors.
    pub(crate) field: String,
}

impl Part {
    /// `group/Kind`, or `Kind` for core: what kinds are matched by.
    pub(crate) fn name(&self) -> String {
        kind_name(&self.group, &self.kind)
    }

    /// The text that is set.
    pub(crate) fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// A switch: `true` in YAML or as text.
    pub(crate) fn is_on(&self) -> bool {
        self.value == true || self.value == "true"
    }
}

/// `group/Kind`, or `Kind` for core.
pub(crate) fn kind_name(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") }
}

/// All settings of one part, by the name of its field in the combined form and of its keys in the split form; those of
/// the combined form first. The error names the field.
pub(crate) fn parts(settings: &BTreeMap<String, String>, combined: &str, split: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    if let Some(text) = settings.get(COMBINED) {
        let all = parse_value(text).map_err(|error| format!("argocd-cm: {COMBINED}: {error}"))?;
        for (name, entry) in all.as_object().into_iter().flatten() {
            let value = &entry[combined];
            if value.is_null() {
                continue;
            }
            let (group, kind) = name.split_once('/').unwrap_or(("", name));
            let field = format!("argocd-cm: {COMBINED}: {name}: {combined}");
            parts.push(Part { group: group.to_owned(), kind: kind.to_owned(), value: value.clone(), field });
        }
    }
    let prefix = format!("{COMBINED}.{split}.");
    for (key, text) in settings {
        if let Some(name) = key.strip_prefix(&prefix) {
            let (group, kind) = name.rsplit_once('_').unwrap_or(("", name));
            let value = Value::String(text.clone());
            let field = format!("argocd-cm: {key}");
            parts.push(Part { group: group.to_owned(), kind: kind.to_owned(), value, field });
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let settings = BTreeMap::from([
            (
                COMBINED.to_owned(),
                "'*.x.io/*':\n  health.lua: a\n  health.lua.useOpenLibs: true\nPod:\n  health.lua: b\n  actions: c\n"
                    .to_owned(),
            ),
            (format!("{COMBINED}.health.apps_Deployment"), "d".to_owned()),
            (format!("{COMBINED}.health.Secret"), "e".to_owned()),
            (format!("{COMBINED}.useOpenLibs.apps_Deployment"), "true".to_owned()),
        ]);
        let names = |combined, split| -> Vec<(String, String)> {
            let parts = parts(&settings, combined, split).unwrap();
            parts.iter().map(|part| (part.name(), part.value.to_string().replace('"', ""))).collect()
        };
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(
            names("health.lua", "health"),
            own(&[("*.x.io/*", "a"), ("Pod", "b"), ("Secret", "e"), ("apps/Deployment", "d")])
        );
        assert_eq!(
            names("health.lua.useOpenLibs", "useOpenLibs"),
            own(&[("*.x.io/*", "true"), ("apps/Deployment", "true")])
        );
        assert_eq!(names("actions", "actions"), own(&[("Pod", "c")]));
        let broken = BTreeMap::from([(COMBINED.to_owned(), "a: [".to_owned())]);
        assert!(
            parts(&broken, "actions", "actions").unwrap_err().starts_with("argocd-cm: resource.customizations: line")
        );
    }
}

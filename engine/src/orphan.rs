//! Objects of a namespace that no Application tracks (Argo CD, user guide, "Orphaned Resources Monitoring"). Pure.
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use serde_json::Value;

use crate::resource::ResourceKey;

/// The condition.
pub const WARNING: &str = "OrphanedResourceWarning";

/// What Kubernetes itself makes: (namespace, or any; group; kind; name).
const EVERYWHERE: [(&str, &str, &str, &str); 3] = [
    ("default", "", "Service", "kubernetes"),
    ("", "", "ServiceAccount", "default"),
    ("", "", "ConfigMap", "kube-root-ca.crt"),
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    group: String,
    kind: String,
    name: String,
}

#[derive(Debug, Clone)]
struct Rule {
    group: GlobMatcher,
    kind: Option<GlobMatcher>,
    name: Option<GlobMatcher>,
}

/// What does not count as orphaned: `spec.orphanedResources.ignore` of the AppProject.
#[derive(Debug, Clone, Default)]
pub struct NotOrphaned {
    rules: Vec<Rule>,
}

impl NotOrphaned {
    /// From the list; null is an empty one. Errors name the field.
    pub fn compile(ignore: &Value) -> Result<Self, String> {
        const FIELD: &str = "spec.orphanedResources.ignore";
        if ignore.is_null() {
            return Ok(Self::default());
        }
        let entries: Vec<Entry> =
            serde_json::from_value(ignore.clone()).map_err(|error| format!("{FIELD}: {error}"))?;
        let glob = |pattern: &str| {
            Glob::new(pattern).map(|glob| glob.compile_matcher()).map_err(|error| format!("{FIELD}: {error}"))
        };
        let any = |pattern: &str| if pattern.is_empty() { Ok(None) } else { glob(pattern).map(Some) };
        let rule =
            |entry: &Entry| Ok(Rule { group: glob(&entry.group)?, kind: any(&entry.kind)?, name: any(&entry.name)? });
        Ok(Self { rules: entries.iter().map(rule).collect::<Result<_, String>>()? })
    }

    /// Whether an object is left out. A kind or a name that a rule leaves out holds all; a group is always meant.
    pub fn holds(&self, key: &ResourceKey) -> bool {
        let made = |(namespace, group, kind, name): &(&str, &str, &str, &str)| {
            (namespace.is_empty() || *namespace == key.namespace)
                && (*group, *kind, *name) == (key.group.as_str(), key.kind.as_str(), key.name.as_str())
        };
        let any = |glob: &Option<GlobMatcher>, text: &str| glob.as_ref().is_none_or(|glob| glob.is_match(text));
        let named =
            |rule: &Rule| rule.group.is_match(&key.group) && any(&rule.kind, &key.kind) && any(&rule.name, &key.name);
        EVERYWHERE.iter().any(made) || self.rules.iter().any(named)
    }
}

/// Where and how an Application is told of orphaned resources.
#[derive(Debug, Clone)]
pub struct Monitored {
    /// The Application's destination namespace.
    pub namespace: String,
    /// What does not count.
    pub not: NotOrphaned,
    /// The condition is set, too.
    pub warn: bool,
}

impl Monitored {
    /// From `spec.orphanedResources` of the AppProject; `None` when the project does not ask. `warn` is on unless it is
    /// turned off.
    pub fn compile(orphaned: &Value, namespace: &str) -> Result<Option<Self>, String> {
        if orphaned.is_null() {
            return Ok(None);
        }
        let not = NotOrphaned::compile(&orphaned["ignore"])?;
        Ok(Some(Self { namespace: namespace.to_owned(), not, warn: orphaned["warn"].as_bool().unwrap_or(true) }))
    }
}

/// What the condition says.
pub fn orphaned_words(count: usize) -> String {
    format!("Application has {count} orphaned resources")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_project_asks_or_does_not() {
        let asked = |orphaned: Value| Monitored::compile(&orphaned, "n").unwrap().map(|monitored| monitored.warn);
        assert_eq!(asked(Value::Null), None);
        assert_eq!(asked(json!({})), Some(true));
        assert_eq!(asked(json!({"warn": false, "ignore": [{"kind": "A"}]})), Some(false));
    }

    #[test]
    fn what_is_not_orphaned() {
        let ignore = json!([{"kind": "Secret"}, {"group": "apps*", "name": "keep-*"}, {"group": "batch"}]);
        let rules = NotOrphaned::compile(&ignore).unwrap();
        let none = NotOrphaned::compile(&Value::Null).unwrap();
        let cases = [
            ("default", "", "Service", "kubernetes", true, true),
            ("other", "", "Service", "kubernetes", false, false),
            ("other", "", "ServiceAccount", "default", true, true),
            ("other", "", "ConfigMap", "kube-root-ca.crt", true, true),
            ("other", "", "ConfigMap", "mine", false, false),
            ("other", "", "Secret", "mine", true, false),
            ("other", "x.io", "Secret", "mine", false, false),
            ("other", "apps", "Deployment", "keep-this", true, false),
            ("other", "apps", "Deployment", "this", false, false),
            ("other", "batch", "Job", "any", true, false),
        ];
        for (namespace, group, kind, name, by_rules, by_none) in cases {
            let own = str::to_owned;
            let key = ResourceKey { group: own(group), kind: own(kind), namespace: own(namespace), name: own(name) };
            assert_eq!(rules.holds(&key), by_rules, "{key}");
            assert_eq!(none.holds(&key), by_none, "{key}");
        }
        assert!(NotOrphaned::compile(&json!({"kind": "A"})).unwrap_err().starts_with("spec.orphanedResources.ignore"));
        assert!(NotOrphaned::compile(&json!([{"kind": "["}])).is_err());
    }
}

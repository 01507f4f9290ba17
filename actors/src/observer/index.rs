//! The live objects of a cluster as a forest: who owns whom, which Application tracks which root, and what a
//! change means for whom. Pure: no cluster, no bus, no clock.
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;
use tako_engine::resource::ResourceKey;
use tako_engine::tracking;
use tako_engine::tree::{ResourceNode, ResourceTree};

/// Owners followed upwards from an object; more is a cycle.
const DEPTH_MAX: usize = 32;
/// Nodes in one tree.
const NODES_MAX: usize = 20_000;

struct Entry {
    node: ResourceNode,
    /// Which rules of health judged it.
    rules: u64,
    owners: Vec<String>,
    /// The instance name of the Application whose mark it carries.
    instance: Option<String>,
}

/// The index.
#[derive(Default)]
pub(super) struct Index {
    by_uid: HashMap<String, Entry>,
    children: HashMap<String, BTreeSet<String>>,
    roots: HashMap<String, BTreeSet<String>>,
    uid_of: HashMap<ResourceKey, String>,
}

/// What a change means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Applications whose tree is another now.
    pub(super) trees: BTreeSet<String>,
    /// Applications to be compared anew: a managed object or its health changed.
    pub(super) compare: BTreeSet<String>,
}

impl Index {
    /// Whether this version of the object is known, as judged by these rules.
    pub(super) fn knows(&self, uid: &str, resource_version: &str, rules: u64) -> bool {
        self.by_uid
            .get(uid)
            .is_some_and(|known| known.rules == rules && known.node.resource_version == resource_version)
    }

    /// An object appeared or changed, or other rules judge it: `node` is what they make of it.
    pub(super) fn upsert(&mut self, live: &Value, node: ResourceNode, rules: u64) -> Effect {
        let mut effect = Effect::default();
        let uid = node.uid.clone();
        if uid.is_empty() || self.knows(&uid, &node.resource_version, rules) {
            return effect;
        }
        if let Some(known) = self.by_uid.get_mut(&uid).filter(|known| known.node == node) {
            // The same object, and its new judges agree with the old ones.
            known.rules = rules;
            return effect;
        }
        let key = key_of(&node);
        // Deleted and made anew under the same name while we did not look: the old one is gone.
        if let Some(old) = self.uid_of.get(&key).filter(|old| **old != uid).cloned() {
            merge(&mut effect, self.remove(&old));
        }
        let owners = owners_of(live);
        let instance = if owners.is_empty() { tracking::owner_of(live).map(|id| id.instance) } else { None };
        let before = self.unlink(&uid);
        for owner in &owners {
            self.children.entry(owner.clone()).or_default().insert(uid.clone());
        }
        if let Some(instance) = &instance {
            self.roots.entry(instance.clone()).or_default().insert(uid.clone());
        }
        let health_changed = before.as_ref().is_none_or(|before| before.node.health != node.health);
        if let Some(old) = before.and_then(|before| before.instance)
            && Some(&old) != instance.as_ref()
        {
            effect.trees.insert(old.clone());
            effect.compare.insert(old);
        }
        self.uid_of.insert(key, uid.clone());
        let managed = instance.is_some();
        self.by_uid.insert(uid.clone(), Entry { node, rules, owners, instance });
        for instance in self.instances_of(&uid) {
            if managed || health_changed {
                effect.compare.insert(instance.clone());
            }
            effect.trees.insert(instance);
        }
        effect
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Effect {
        let mut effect = Effect::default();
        for instance in self.instances_of(uid) {
            effect.trees.insert(instance.clone());
            effect.compare.insert(instance);
        }
        if let Some(entry) = self.unlink(uid) {
            self.uid_of.remove(&key_of(&entry.node));
        }
        self.children.remove(uid);
        effect
    }

    /// A kind was listed whole: what was known of it and is not in the list is gone.
    pub(super) fn retain(&mut self, group: &str, kind: &str, listed: &HashSet<String>) -> Effect {
        let of_kind = |entry: &Entry| entry.node.group == group && entry.node.kind == kind;
        let gone: Vec<String> = self
            .by_uid
            .iter()
            .filter(|(uid, entry)| of_kind(entry) && !listed.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        let mut effect = Effect::default();
        for uid in gone {
            merge(&mut effect, self.remove(&uid));
        }
        effect
    }

    /// The tree of an Application: its tracked roots and all that they own.
    pub(super) fn tree(&self, instance: &str) -> ResourceTree {
        let mut nodes = Vec::new();
        let mut open: Vec<&String> = self.roots.get(instance).into_iter().flatten().collect();
        let mut seen: HashSet<&String> = HashSet::new();
        while let Some(uid) = open.pop() {
            if !seen.insert(uid) || nodes.len() >= NODES_MAX {
                continue;
            }
            let Some(entry) = self.by_uid.get(uid) else { continue };
            nodes.push(entry.node.clone());
            open.extend(self.children.get(uid).into_iter().flatten());
        }
        nodes.sort_by_cached_key(key_of);
        ResourceTree { nodes }
    }

    /// All Applications that track anything.
    pub(super) fn instances(&self) -> BTreeSet<String> {
        self.roots.keys().cloned().collect()
    }

    fn unlink(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.by_uid.remove(uid)?;
        for owner in &entry.owners {
            if let Some(children) = self.children.get_mut(owner) {
                children.remove(uid);
                if children.is_empty() {
                    self.children.remove(owner);
                }
            }
        }
        if let Some(instance) = &entry.instance
            && let Some(roots) = self.roots.get_mut(instance)
        {
            roots.remove(uid);
            if roots.is_empty() {
                self.roots.remove(instance);
            }
        }
        Some(entry)
    }

    fn instances_of(&self, uid: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![uid.to_owned()];
        for _ in 0..DEPTH_MAX {
            let mut above = Vec::new();
            for uid in open {
                let Some(entry) = self.by_uid.get(&uid) else { continue };
                found.extend(entry.instance.clone());
                above.extend(entry.owners.iter().cloned());
            }
            open = above;
        }
        found
    }
}

fn owners_of(live: &Value) -> Vec<String> {
    let owners = live["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().filter_map(|owner| owner["uid"].as_str().map(str::to_owned)).collect()
}

fn key_of(node: &ResourceNode) -> ResourceKey {
    ResourceKey {
        group: node.group.clone(),
        kind: node.kind.clone(),
        namespace: node.namespace.clone(),
        name: node.name.clone(),
    }
}

/// Joins what two changes mean.
pub(super) fn merge(into: &mut Effect, more: Effect) {
    into.trees.extend(more.trees);
    into.compare.extend(more.compare);
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tako_engine::health::{Health, HealthRules};
    use tako_engine::tree::node_from;

    use super::*;

    fn object(kind: &str, name: &str, version: &str, owner: Option<&str>, tracked: bool) -> Value {
        let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": version}});
        if let Some(owner) = owner {
            object["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "X", "name": owner, "uid": owner}]);
        }
        if tracked {
            object["metadata"]["annotations"] =
                json!({"argocd.argoproj.io/tracking-id": format!("app:apps/{kind}:ns/{name}")});
        }
        object
    }

    impl Index {
        fn put(&mut self, live: &Value) -> Effect {
            self.upsert(live, node_from(live, &HealthRules::default()), 0)
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_holds_what_its_roots_own_in_whatever_order_they_come() {
        let mut index = Index::default();
        assert_eq!(index.put(&object("Pod", "p", "1", Some("rs"), false)), Effect::default());
        index.put(&object("ReplicaSet", "rs", "1", Some("d"), false));
        let effect = index.put(&object("Deployment", "d", "1", None, true));
        assert_eq!(effect.compare, set(&["app"]));
        let names: Vec<_> = index.tree("app").nodes.iter().map(|node| node.name.clone()).collect();
        assert_eq!(names, ["d", "p", "rs"]);
    }

    #[test]
    fn the_same_version_again_wakes_nobody() {
        let mut index = Index::default();
        index.put(&object("Deployment", "d", "1", None, true));
        assert_eq!(index.put(&object("Deployment", "d", "1", None, true)), Effect::default());
        assert_eq!(index.put(&object("Deployment", "d", "2", None, true)).compare, set(&["app"]));
    }

    #[test]
    fn other_rules_judge_anew() {
        let mut index = Index::default();
        let live = object("Deployment", "d", "1", None, true);
        index.put(&live);
        let mut node = node_from(&live, &HealthRules::default());
        assert_eq!(index.upsert(&live, node.clone(), 1), Effect::default(), "they agree");
        assert!(index.knows("d", "1", 1) && !index.knows("d", "1", 2));
        node.health = Some(Health { message: "not so".to_owned(), ..Health::default() });
        let effect = index.upsert(&live, node.clone(), 2);
        assert_eq!((effect.trees, effect.compare), (set(&["app"]), set(&["app"])));
        assert_eq!(index.tree("app").nodes[0].health, node.health);
    }

    #[test]
    fn gone_is_gone_by_event_or_by_list() {
        let mut index = Index::default();
        for name in ["a", "b"] {
            index.put(&object("Deployment", name, "1", None, true));
        }
        assert_eq!(index.remove("a").compare, set(&["app"]));
        assert_eq!(index.retain("apps", "Deployment", &HashSet::new()).trees, set(&["app"]));
        assert!(index.tree("app").nodes.is_empty());
        assert!(index.instances().is_empty());
    }
}

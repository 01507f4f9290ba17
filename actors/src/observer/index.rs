//! The live objects of a cluster as a forest: who owns whom, which Application tracks which root, and what a
//! change means for whom. Pure: no cluster, no bus, no clock.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;
use tako_engine::health::HealthRules;
use tako_engine::orphan::NotOrphaned;
use tako_engine::resource::ResourceKey;
use tako_engine::tracking::{Method, Tracking};
use tako_engine::tree::{
    Guest, HostInfo, Machine, Owner, ResourceNode, ResourceRef, ResourceTree, claim_stems, node_from, owners_of,
};

/// Owners followed upwards from an object; more is a cycle.
const DEPTH_MAX: usize = 32;
/// Nodes in one tree.
const NODES_MAX: usize = 20_000;

/// A live object as the index takes it up.
pub(super) struct Seen {
    node: ResourceNode,
    owners: Vec<Owner>,
    /// Nothing owns it.
    top: bool,
    /// Volume claims of this stem belong to it.
    stems: Vec<String>,
    guest: Option<Guest>,
    machine: Option<Machine>,
    /// The Application (its instance name) whose root it is.
    instance: Option<String>,
    /// The Application that manages it. Roots, and what says for sure that it is meant: a label is copied to what a root
    /// owns, a tracking id is not.
    manager: Option<String>,
    /// Changes with what a comparison can see of the object; `None`: every change counts.
    print: Option<u64>,
    /// The age of the rules by which it was looked at.
    age: u64,
}

impl Seen {
    /// `age`: [`Index::age`] before the rules were read. `labels`: which are shown with the node.
    pub(super) fn new(
        live: &Value,
        (tracking, healths, labels): (&Tracking, &HealthRules, &[String]),
        age: u64,
    ) -> Self {
        let owners = owners_of(live);
        // Whether a StatefulSet claims it, the object alone does not tell.
        let top = owners.iter().all(|owner| matches!(owner, Owner::Claim(..)));
        let owner = tracking.owner_of(live);
        Self {
            node: node_from(live, healths, labels),
            stems: claim_stems(live),
            guest: Guest::of(live),
            machine: Machine::of(live),
            instance: owner.clone().filter(|_| top),
            manager: owner.filter(|_| top || tracking.method() != Method::Label),
            owners,
            top,
            print: None,
            age,
        }
    }

    /// An Application manages it.
    pub(super) fn managed(&self) -> bool {
        self.manager.is_some()
    }

    /// With the number that changes with what a comparison can see.
    pub(super) fn printed(self, print: Option<u64>) -> Self {
        Self { print, ..self }
    }
}

struct Entry {
    seen: Seen,
    /// The rules by which it was taken up hold no more: what comes next is a change, whatever its version.
    stale: bool,
}

/// The index.
#[derive(Default)]
pub(super) struct Index {
    /// Which set of rules holds.
    age: u64,
    by_uid: HashMap<String, Entry>,
    children: HashMap<Owner, BTreeSet<String>>,
    roots: HashMap<String, BTreeSet<String>>,
    uid_of: HashMap<ResourceKey, String>,
    /// StatefulSets by the stems of their volume claims.
    claimed: HashMap<(String, String), String>,
    /// What nothing owns, by namespace.
    tops: HashMap<String, BTreeSet<String>>,
    /// Pods by Node.
    guests: HashMap<String, BTreeSet<String>>,
    machines: HashMap<String, Machine>,
}

/// What a change means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Applications whose tree is another now.
    pub(super) trees: BTreeSet<String>,
    /// Applications to be compared anew: a managed object changed in what a comparison sees, or in its health.
    pub(super) compare: BTreeSet<String>,
    /// Namespaces in which an object that belongs to no Application is another now.
    pub(super) namespaces: BTreeSet<String>,
}

impl Index {
    /// An object appeared or changed.
    pub(super) fn upsert(&mut self, seen: Seen) -> Effect {
        let mut effect = Effect::default();
        let uid = seen.node.uid.clone();
        // Looked at by rules that hold no more: the new list brings it again.
        if uid.is_empty() || seen.age != self.age {
            return effect;
        }
        let same_version = |known: &Entry| known.seen.node.resource_version == seen.node.resource_version;
        if self.by_uid.get(&uid).is_some_and(|known| !known.stale && same_version(known)) {
            return effect;
        }
        let key = key_of(&seen.node);
        // Deleted and made anew under the same name while we did not look: the old one is gone.
        if let Some(old) = self.uid_of.get(&key).filter(|old| **old != uid).cloned() {
            merge(&mut effect, self.remove(&old));
        }
        let before = self.unlink(&uid).map(|entry| entry.seen);
        let counts = before.as_ref().is_none_or(|before| before.counts_beside(&seen));
        let shown = counts || before.as_ref().is_none_or(|before| before.shows_beside(&seen));
        if let Some(before) = before.filter(|before| before.marks() != seen.marks()) {
            effect.trees.extend(before.instance);
            effect.compare.extend(before.manager);
        }
        if counts {
            effect.compare.extend(seen.manager.clone());
        }
        let namespace = seen.node.namespace.clone();
        self.link(uid.clone(), key, Entry { seen, stale: false });
        if shown {
            let touched = self.instances_of(&uid);
            if touched.is_empty() && !namespace.is_empty() {
                effect.namespaces.insert(namespace);
            }
            effect.trees.extend(touched);
        }
        effect
    }

    /// An object is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Effect {
        let mut effect = Effect { trees: self.instances_of(uid), ..Effect::default() };
        if let Some(entry) = self.unlink(uid) {
            self.uid_of.remove(&key_of(&entry.seen.node));
            effect.compare.extend(entry.seen.manager);
            if effect.trees.is_empty() && !entry.seen.node.namespace.is_empty() {
                effect.namespaces.insert(entry.seen.node.namespace);
            }
        }
        effect
    }

    /// A kind was listed whole: what was known of it and is not in the list is gone.
    pub(super) fn retain(&mut self, group: &str, kind: &str, listed: &HashSet<String>) -> Effect {
        let of_kind = |entry: &Entry| entry.seen.node.group == group && entry.seen.node.kind == kind;
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

    /// The rules changed by which objects are taken up. What is known stays until each object is seen again: absence
    /// of data is nobody's deletion.
    pub(super) fn outdate(&mut self) {
        self.age += 1;
        self.by_uid.values_mut().for_each(|entry| entry.stale = true);
    }

    /// Which set of rules holds.
    pub(super) fn age(&self) -> u64 {
        self.age
    }

    /// The tree of an Application: its tracked roots and all that they own. `labels` of the hosts are shown.
    pub(super) fn tree(&self, instance: &str, labels: &[String]) -> ResourceTree {
        let roots: Vec<&String> = self.roots.get(instance).into_iter().flatten().collect();
        let uids = self.below(roots, |_| true);
        let hosts = self.hosts(&uids, labels);
        ResourceTree { nodes: self.nodes(uids), hosts, ..ResourceTree::default() }
    }

    /// What no Application tracks at the top of a namespace, and all that it owns. `exists` answers for the names on
    /// marks: an Application that is gone tracks nothing. `permits` answers whether the project may know of a kind.
    pub(super) fn orphans(
        &self,
        namespace: &str,
        not: &NotOrphaned,
        exists: impl Fn(&str) -> bool,
        permits: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<ResourceNode> {
        let free = |entry: &Entry| !entry.seen.instance.as_deref().is_some_and(&exists);
        let orphaned = |uid: &&String| {
            self.by_uid.get(*uid).is_some_and(|entry| {
                let key = key_of(&entry.seen.node);
                free(entry) && self.claimer(entry).is_none() && !not.holds(&key) && permits(&key)
            })
        };
        let tops: Vec<&String> = self.tops.get(namespace).into_iter().flatten().filter(orphaned).collect();
        self.nodes(self.below(tops, |entry| free(entry) && permits(&key_of(&entry.seen.node))))
    }

    /// Whether anything is tracked by the Application.
    pub(super) fn tracks(&self, instance: &str) -> bool {
        self.roots.contains_key(instance)
    }

    /// All Applications that track anything.
    pub(super) fn instances(&self) -> BTreeSet<String> {
        self.roots.keys().cloned().collect()
    }

    fn link(&mut self, uid: String, key: ResourceKey, entry: Entry) {
        let (seen, namespace) = (&entry.seen, &entry.seen.node.namespace);
        for owner in &seen.owners {
            self.children.entry(owner.clone()).or_default().insert(uid.clone());
        }
        for stem in &seen.stems {
            self.claimed.insert((namespace.clone(), stem.clone()), uid.clone());
        }
        if let Some(instance) = &seen.instance {
            self.roots.entry(instance.clone()).or_default().insert(uid.clone());
        }
        if seen.top && !namespace.is_empty() {
            self.tops.entry(namespace.clone()).or_default().insert(uid.clone());
        }
        if let Some(guest) = &seen.guest {
            self.guests.entry(guest.node.clone()).or_default().insert(uid.clone());
        }
        if let Some(machine) = &seen.machine {
            self.machines.insert(seen.node.name.clone(), machine.clone());
        }
        self.uid_of.insert(key, uid.clone());
        self.by_uid.insert(uid, entry);
    }

    fn unlink(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.by_uid.remove(uid)?;
        let (seen, namespace) = (&entry.seen, &entry.seen.node.namespace);
        for owner in &seen.owners {
            take(&mut self.children, owner, uid);
        }
        for stem in &seen.stems {
            let place = (namespace.clone(), stem.clone());
            if self.claimed.get(&place).is_some_and(|claimer| claimer == uid) {
                self.claimed.remove(&place);
            }
        }
        if let Some(instance) = &seen.instance {
            take(&mut self.roots, instance, uid);
        }
        take(&mut self.tops, namespace, uid);
        if let Some(guest) = &seen.guest {
            take(&mut self.guests, &guest.node, uid);
        }
        if seen.machine.is_some() {
            self.machines.remove(&seen.node.name);
        }
        Some(entry)
    }

    fn uid_of_owner<'a>(&'a self, owner: &'a Owner) -> Option<&'a String> {
        match owner {
            Owner::Uid(uid) => Some(uid),
            Owner::Named(key) => self.uid_of.get(key),
            Owner::Claim(namespace, stem) => self.claimed.get(&(namespace.clone(), stem.clone())),
        }
    }

    /// The StatefulSet to which a volume claim belongs.
    fn claimer(&self, entry: &Entry) -> Option<&Entry> {
        let claim = entry.seen.owners.iter().find(|owner| matches!(owner, Owner::Claim(..)))?;
        self.by_uid.get(self.uid_of_owner(claim)?)
    }

    fn children_of<'a>(&'a self, uid: &'a str, entry: &'a Entry) -> impl Iterator<Item = &'a String> {
        let namespace = &entry.seen.node.namespace;
        let claims = entry.seen.stems.iter().map(|stem| Owner::Claim(namespace.clone(), stem.clone()));
        let names = [Owner::Uid(uid.to_owned()), Owner::Named(key_of(&entry.seen.node))];
        names.into_iter().chain(claims).filter_map(|owner| self.children.get(&owner)).flatten()
    }

    /// These and all that they own, as far as `wanted`.
    fn below<'a>(&'a self, mut open: Vec<&'a String>, wanted: impl Fn(&Entry) -> bool) -> HashSet<&'a String> {
        let mut found = HashSet::new();
        while let Some(uid) = open.pop() {
            if found.len() >= NODES_MAX || found.contains(uid) {
                continue;
            }
            let Some(entry) = self.by_uid.get(uid).filter(|entry| wanted(entry)) else { continue };
            found.insert(uid);
            open.extend(self.children_of(uid, entry));
        }
        found
    }

    fn nodes(&self, uids: HashSet<&String>) -> Vec<ResourceNode> {
        let mut nodes: Vec<ResourceNode> =
            uids.into_iter().filter_map(|uid| self.by_uid.get(uid)).map(|entry| self.shown(entry)).collect();
        nodes.sort_by_cached_key(key_of);
        nodes
    }

    /// The node with what only the others tell of its parents.
    fn shown(&self, entry: &Entry) -> ResourceNode {
        let mut node = entry.seen.node.clone();
        for parent in &mut node.parent_refs {
            if parent.uid.is_empty() {
                let key = ResourceKey {
                    group: parent.group.clone(),
                    kind: parent.kind.clone(),
                    namespace: parent.namespace.clone(),
                    name: parent.name.clone(),
                };
                parent.uid = self.uid_of.get(&key).cloned().unwrap_or_default();
            }
            // Cluster-scoped objects may own namespaced ones.
            if let Some(known) = self.by_uid.get(&parent.uid) {
                parent.namespace.clone_from(&known.seen.node.namespace);
            }
        }
        node.parent_refs.extend(self.claimer(entry).map(|claimer| reference(&claimer.seen.node)));
        node
    }

    fn hosts(&self, uids: &HashSet<&String>, labels: &[String]) -> Vec<HostInfo> {
        let guest = |uid: &String| self.by_uid.get(uid).and_then(|entry| entry.seen.guest.as_ref());
        let mut own: BTreeMap<&str, Vec<&Guest>> = BTreeMap::new();
        for guest in uids.iter().filter_map(|uid| guest(uid)) {
            own.entry(&guest.node).or_default().push(guest);
        }
        let host = |(node, own): (&str, Vec<&Guest>)| {
            let machine = self.machines.get(node)?;
            let there = self.guests.get(node).into_iter().flatten();
            let others: Vec<&Guest> = there.filter(|uid| !uids.contains(uid)).filter_map(guest).collect();
            Some(machine.shown(&own, &others, labels))
        };
        own.into_iter().filter_map(host).collect()
    }

    fn instances_of(&self, uid: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: BTreeSet<&str> = BTreeSet::from([uid]);
        for _ in 0..DEPTH_MAX {
            let mut above = BTreeSet::new();
            for uid in open {
                let Some(entry) = self.by_uid.get(uid) else { continue };
                found.extend(entry.seen.instance.clone());
                above.extend(entry.seen.owners.iter().filter_map(|owner| self.uid_of_owner(owner)).map(String::as_str));
            }
            if above.is_empty() {
                break;
            }
            open = above;
        }
        found
    }
}

impl Seen {
    fn marks(&self) -> (Option<&String>, Option<&String>) {
        (self.instance.as_ref(), self.manager.as_ref())
    }

    /// What a comparison can see of the object, or its health, is another beside `newer`.
    fn counts_beside(&self, newer: &Self) -> bool {
        let health = |seen: &Self| seen.node.health.as_ref().map(|health| health.status);
        let same_print = newer.print.is_some() && self.print == newer.print;
        !same_print || self.marks() != newer.marks() || health(self) != health(newer)
    }

    /// Though nothing that counts changed, the tree shows another node: of what is managed, more than its version. (What
    /// asked for the filter itself shows nothing until something counts.)
    fn shows_beside(&self, newer: &Self) -> bool {
        let bare = |node: &ResourceNode| ResourceNode { resource_version: String::new(), ..node.clone() };
        newer.managed() && bare(&self.node) != bare(&newer.node)
    }
}

fn take<K: std::hash::Hash + Eq>(sets: &mut HashMap<K, BTreeSet<String>>, key: &K, uid: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(uid);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

fn reference(node: &ResourceNode) -> ResourceRef {
    ResourceRef {
        group: node.group.clone(),
        version: node.version.clone(),
        kind: node.kind.clone(),
        namespace: node.namespace.clone(),
        name: node.name.clone(),
        uid: node.uid.clone(),
    }
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
    into.namespaces.extend(more.namespaces);
}

#[cfg(test)]
mod tests;

use serde_json::json;
use tako_engine::updates::{Updates, print_of};

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

fn core(kind: &str, name: &str) -> Value {
    let mut core = object(kind, name, "1", None, false);
    core["apiVersion"] = json!("v1");
    core
}

fn seen_by(live: &Value, tracking: &Tracking, updates: &Updates) -> Seen {
    aged(live, tracking, updates, 0)
}

fn aged(live: &Value, tracking: &Tracking, updates: &Updates, age: u64) -> Seen {
    let seen = Seen::new(live, (tracking, &HealthRules::default(), &[]), age);
    let ignored = updates.of(live, seen.managed());
    seen.printed(ignored.map(|ignored| print_of(live.clone(), &ignored).unwrap()))
}

fn seen(live: &Value) -> Seen {
    seen_by(live, &Tracking::default(), &Updates::compile(&BTreeMap::new()).unwrap())
}

fn by_label() -> Tracking {
    let method = ("application.resourceTrackingMethod".to_owned(), "label".to_owned());
    Tracking::compile(&BTreeMap::from([method])).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn names(nodes: &[ResourceNode]) -> Vec<&str> {
    nodes.iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn a_tree_holds_what_its_roots_own_in_whatever_order_they_come() {
    let mut index = Index::default();
    let alone = Effect { namespaces: set(&["ns"]), ..Effect::default() };
    assert_eq!(index.upsert(seen(&object("Pod", "p", "1", Some("rs"), false))), alone);
    index.upsert(seen(&object("ReplicaSet", "rs", "1", Some("d"), false)));
    let effect = index.upsert(seen(&object("Deployment", "d", "1", None, true)));
    assert_eq!(effect.compare, set(&["app"]));
    assert_eq!(names(&index.tree("app", &[]).nodes), ["d", "p", "rs"]);
}

#[test]
fn the_same_version_again_wakes_nobody() {
    let mut index = Index::default();
    let mut live = object("Deployment", "d", "1", None, true);
    index.upsert(seen(&live));
    assert_eq!(index.upsert(seen(&live)), Effect::default());
    live["spec"] = json!({"replicas": 2});
    live["metadata"]["resourceVersion"] = json!("2");
    assert_eq!(index.upsert(seen(&live)).compare, set(&["app"]));
}

#[test]
fn gone_is_gone_by_event_or_by_list() {
    let mut index = Index::default();
    for name in ["a", "b"] {
        index.upsert(seen(&object("Deployment", name, "1", None, true)));
    }
    assert_eq!(index.remove("a").compare, set(&["app"]));
    assert_eq!(index.retain("apps", "Deployment", &HashSet::new()).trees, set(&["app"]));
    assert!(index.tree("app", &[]).nodes.is_empty());
    assert!(index.instances().is_empty());
}

/// 1,000 changes of the status of a managed object: (comparisons, trees).
fn churn(updates: &Updates, change: impl Fn(&mut Value, usize)) -> (usize, usize) {
    let mut index = Index::default();
    let mut live = object("Widget", "w", "0", None, true);
    index.upsert(seen_by(&live, &Tracking::default(), updates));
    let (mut compared, mut trees) = (0, 0);
    for at in 1..=1000 {
        live["metadata"]["resourceVersion"] = json!(at.to_string());
        change(&mut live, at);
        let effect = index.upsert(seen_by(&live, &Tracking::default(), updates));
        compared += effect.compare.len();
        trees += effect.trees.len();
    }
    (compared, trees)
}

#[test]
fn a_churning_status_costs_no_comparison_and_no_tree() {
    let shipped = Updates::compile(&BTreeMap::new()).unwrap();
    let status = |live: &mut Value, at: usize| live["status"] = json!({"beat": at, "conditions": []});
    assert_eq!(churn(&shipped, status), (0, 0));
    let spec = |live: &mut Value, at: usize| live["spec"] = json!({"beat": at});
    assert_eq!(churn(&shipped, spec), (1000, 1000));
    let link = |live: &mut Value, at: usize| live["metadata"]["labels"] = json!({"beat": at.to_string()});
    assert_eq!(churn(&shipped, link), (1000, 1000));
    let off = BTreeMap::from([("resource.ignoreResourceUpdatesEnabled".to_owned(), "false".to_owned())]);
    assert_eq!(churn(&Updates::compile(&off).unwrap(), status), (1000, 1000));
}

#[test]
fn health_counts_though_status_does_not() {
    let mut index = Index::default();
    let mut live = object("Deployment", "d", "1", None, true);
    live["spec"] = json!({"replicas": 1});
    live["status"] = json!({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
    index.upsert(seen(&live));
    live["status"]["availableReplicas"] = json!(0);
    live["metadata"]["resourceVersion"] = json!("2");
    assert_eq!(index.upsert(seen(&live)).compare, set(&["app"]));
}

#[test]
fn a_child_only_makes_another_tree() {
    let mut index = Index::default();
    index.upsert(seen(&object("Deployment", "d", "1", None, true)));
    let mut child = object("ReplicaSet", "rs", "1", Some("d"), false);
    let only_tree = Effect { trees: set(&["app"]), ..Effect::default() };
    assert_eq!(index.upsert(seen(&child)), only_tree);
    child["metadata"]["resourceVersion"] = json!("2");
    assert_eq!(index.upsert(seen(&child)), only_tree);
    child["metadata"]["annotations"] = json!({"argocd.argoproj.io/ignore-resource-updates": "true"});
    child["metadata"]["resourceVersion"] = json!("3");
    assert_eq!(index.upsert(seen(&child)), only_tree);
    child["status"] = json!({"replicas": 3});
    child["metadata"]["resourceVersion"] = json!("4");
    assert_eq!(index.upsert(seen(&child)), Effect::default(), "it asked for the filter");
    assert_eq!(index.remove("rs"), only_tree);
}

#[test]
fn what_is_managed_though_owned_is_compared() {
    let mut index = Index::default();
    index.upsert(seen(&object("Deployment", "d", "1", None, true)));
    let owned = object("ReplicaSet", "rs", "1", Some("d"), true);
    assert_eq!(index.upsert(seen(&owned)).compare, set(&["app"]));
    assert_eq!(index.tree("app", &[]).nodes[1].parent_refs.len(), 1, "it is no root");
    let mut by_label_only = object("ReplicaSet", "other", "1", Some("d"), false);
    by_label_only["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "app"});
    let effect = index.upsert(seen_by(&by_label_only, &by_label(), &Updates::default()));
    assert_eq!(effect.compare, BTreeSet::new(), "a label is copied to what a root owns");
}

#[test]
fn changed_rules_take_everything_up_anew_and_lose_nothing() {
    let mut index = Index::default();
    let mut live = object("Deployment", "d", "1", None, true);
    live["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "other"});
    index.upsert(seen(&live));
    index.outdate();
    assert_eq!(names(&index.tree("app", &[]).nodes), ["d"], "until it is seen again");
    assert_eq!(index.upsert(seen(&live)), Effect::default(), "looked at by rules that hold no more");
    let effect = index.upsert(aged(&live, &by_label(), &Updates::default(), 1));
    assert_eq!((effect.compare, effect.trees), (set(&["app", "other"]), set(&["app", "other"])));
    assert_eq!(index.instances(), set(&["other"]));
    assert_eq!(index.upsert(aged(&live, &by_label(), &Updates::default(), 1)), Effect::default());
}

#[test]
fn implied_owners_are_followed_whoever_comes_first() {
    let mut set_first = Index::default();
    let mut claims_first = Index::default();
    let mut set = object("StatefulSet", "db", "1", None, true);
    set["spec"] = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    let mut service = core("Service", "s");
    service["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": "app:/Service:ns/s"});
    let mut endpoints = core("Endpoints", "s");
    endpoints["metadata"]["uid"] = json!("e");
    let (claim, stray) = (core("PersistentVolumeClaim", "data-db-0"), core("PersistentVolumeClaim", "data-other-0"));
    let all = [&set, &service, &endpoints, &claim, &stray];
    all.iter().for_each(|live| drop(set_first.upsert(seen(live))));
    all.iter().rev().for_each(|live| drop(claims_first.upsert(seen(live))));
    for index in [set_first, claims_first] {
        let tree = index.tree("app", &[]);
        assert_eq!(names(&tree.nodes), ["s", "data-db-0", "s", "db"]);
        let parent =
            |at: usize| (tree.nodes[at].parent_refs[0].kind.as_str(), tree.nodes[at].parent_refs[0].uid.as_str());
        assert_eq!((parent(0), parent(1)), (("Service", "s"), ("StatefulSet", "db")));
        let orphans = index.orphans("ns", &NotOrphaned::default(), |_| true, |_| true);
        assert_eq!(names(&orphans), ["data-other-0"]);
    }
}

#[test]
fn orphans_are_what_nobody_tracks_and_what_that_owns() {
    let mut index = Index::default();
    let all = [
        core("ConfigMap", "free"),
        core("ConfigMap", "kube-root-ca.crt"),
        core("Secret", "ignored"),
        object("Deployment", "theirs", "1", None, true),
        object("ReplicaSet", "owned", "1", Some("free"), false),
        object("ReplicaSet", "of-theirs", "1", Some("theirs"), false),
    ];
    all.iter().for_each(|live| drop(index.upsert(seen(live))));
    let not = NotOrphaned::compile(&json!([{"kind": "Secret"}])).unwrap();
    let found = |exists: bool, permits: bool| {
        let orphans = index.orphans("ns", &not, |_| exists, |key| permits || key.kind != "ConfigMap");
        names(&orphans).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(found(true, true), set(&["free", "owned"]));
    assert_eq!(found(true, false), set(&[]));
    assert_eq!(found(false, true), set(&["free", "owned", "theirs", "of-theirs"]), "their Application is gone");
    assert!(index.orphans("elsewhere", &not, |_| true, |_| true).is_empty());
    assert_eq!(index.remove("free").namespaces, set(&["ns"]));
}

#[test]
fn hosts_are_the_machines_of_its_pods() {
    let mut index = Index::default();
    let pod = |name: &str, owner: Option<&str>| {
        let mut pod = object("Pod", name, "1", owner, false);
        pod["apiVersion"] = json!("v1");
        pod["spec"] = json!({"nodeName": "node", "containers": [{"resources": {"requests": {"cpu": "1"}}}]});
        pod
    };
    let mut node = core("Node", "node");
    node["metadata"].as_object_mut().unwrap().remove("namespace");
    node["status"] = json!({"capacity": {"cpu": "4"}});
    let all = [object("Deployment", "d", "1", None, true), pod("mine", Some("d")), pod("other", None), node];
    all.iter().for_each(|live| drop(index.upsert(seen(live))));
    let hosts = index.tree("app", &[]).hosts;
    let cpu = &hosts[0].resources_info[0];
    assert_eq!((cpu.requested_by_app, cpu.requested_by_neighbors, cpu.capacity), (1000, 1000, 4000));
}

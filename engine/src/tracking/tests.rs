use serde_json::json;

use super::*;

fn tracking(pairs: &[(&str, &str)]) -> Tracking {
    let settings = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Tracking::compile(&settings).unwrap()
}

fn method(method: &str) -> Tracking {
    tracking(&[(SETTINGS[0], method)])
}

fn scope(_: &str, kind: &str) -> Option<bool> {
    match kind {
        "ConfigMap" => Some(true),
        "ClusterRole" | "CustomResourceDefinition" => Some(false),
        _ => None,
    }
}

#[test]
fn marks_are_put_on_and_read_back() {
    let cases = [
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            Some("app:/ConfigMap:dest/a"),
            Some("dest"),
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "own"}}),
            Some("app:/ConfigMap:own/a"),
            Some("own"),
        ),
        (
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a", "namespace": "x", "annotations": null}}),
            Some("app:rbac.authorization.k8s.io/ClusterRole:dest/a"),
            None,
        ),
        (
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"}}),
            None,
            None,
        ),
    ];
    for (object, id, namespace) in cases {
        for (name, annotated, labelled) in [("", true, false), ("label", false, true), ("annotation+label", true, true)]
        {
            let tracking = method(name);
            let mut manifest = Manifest(object.clone());
            tracking.stamp(&mut manifest, "app", "dest", scope);
            assert_eq!(manifest.annotation(TRACKING_ID), id.filter(|_| annotated), "{name}");
            let label = manifest.0["metadata"]["labels"][INSTANCE_LABEL].as_str();
            assert_eq!(label, id.filter(|_| labelled).map(|_| "app"), "{name}");
            assert_eq!(manifest.namespace(), namespace);
            assert_eq!(tracking.owner_of(&manifest.0).as_deref(), id.map(|_| "app"), "{name}");
        }
    }
}

#[test]
fn a_copied_mark_does_not_count() {
    let by_annotation = Tracking::default();
    let copy = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "labels": {INSTANCE_LABEL: "app"}, "annotations": {TRACKING_ID: "app:/Secret:n/a"}}});
    assert!(by_annotation.owner_of(&copy("a")).is_some());
    assert!(by_annotation.owner_of(&copy("b")).is_none());
    assert_eq!(method("label").owner_of(&copy("b")).as_deref(), Some("app"), "a label cannot tell");
    assert!(parse_tracking_id("no id").is_none());
}

#[test]
fn a_mark_of_the_old_group_counts_beside_a_target() {
    let live = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": "n", "annotations": {TRACKING_ID: "app:extensions/Ingress:n/i"}}});
    let tracking = Tracking::default();
    assert_eq!(tracking.owner_of(&live), None);
    assert_eq!(tracking.owner_beside_target(&live).as_deref(), Some("app"));
}

#[test]
fn another_installation_s_objects_are_not_ours() {
    let (one, two, none) = (tracking(&[(SETTINGS[2], "one")]), tracking(&[(SETTINGS[2], "two")]), Tracking::default());
    let mut manifest = Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
    one.stamp(&mut manifest, "app", "dest", scope);
    assert_eq!(manifest.annotation(INSTALLATION_ID), Some("one"));
    assert_eq!(one.owner_of(&manifest.0).as_deref(), Some("app"));
    assert_eq!(two.owner_of(&manifest.0), None);
    assert_eq!(none.owner_of(&manifest.0).as_deref(), Some("app"));
    none.stamp(&mut manifest, "app", "dest", scope);
    assert_eq!(manifest.annotation(INSTALLATION_ID), None);
    assert_eq!(one.owner_of(&manifest.0), None);
}

#[test]
fn a_label_holds_63_characters_and_ends_well() {
    let long = |tail: &str| format!("{}{tail}", "a".repeat(60));
    let cases = [
        (long("bcd"), long("bcd")),
        (long("bcde"), long("bcd")),
        (long("b--e"), long("b")),
        (long("___xyz"), long("")),
    ];
    for (name, label) in cases {
        let mut manifest = Manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
        let tracking = method("annotation+label");
        tracking.stamp(&mut manifest, &name, "dest", scope);
        assert_eq!(manifest.0["metadata"]["labels"][INSTANCE_LABEL], json!(label));
        assert_eq!(tracking.owner_of(&manifest.0), Some(name), "the annotation holds the whole name");
    }
}

#[test]
fn settings_are_read_and_refused() {
    let own = tracking(&[(SETTINGS[0], "label"), (SETTINGS[1], "argocd.argoproj.io/instance")]);
    let live = json!({"metadata": {"labels": {"argocd.argoproj.io/instance": "a", INSTANCE_LABEL: "b"}}});
    assert_eq!(own.owner_of(&live).as_deref(), Some("a"));
    assert_eq!(tracking(&[(SETTINGS[0], " annotation ")]), Tracking::default());
    let bad = BTreeMap::from([(SETTINGS[0].to_owned(), "labels".to_owned())]);
    assert!(Tracking::compile(&bad).unwrap_err().contains("argocd-cm: application.resourceTrackingMethod: \"labels\""));
}

#[test]
fn what_was_tracked_by_label_compares_as_if_marked() {
    let metadata =
        |labels: Value, annotations: Value| json!({"metadata": {"labels": labels, "annotations": annotations}});
    let (label, mark) = (json!({INSTANCE_LABEL: "app"}), json!({TRACKING_ID: "wanted"}));
    let target = metadata(json!({}), mark.clone());
    let with_label = metadata(label.clone(), mark.clone());
    let cases = [
        ("annotation", &target, metadata(label.clone(), json!({})), metadata(json!({}), mark.clone())),
        ("annotation", &target, metadata(json!({}), json!({})), metadata(json!({}), json!({}))),
        (
            "annotation",
            &target,
            metadata(label.clone(), json!({TRACKING_ID: "other"})),
            metadata(json!({}), json!({TRACKING_ID: "other"})),
        ),
        ("annotation+label", &with_label, metadata(label.clone(), json!({})), metadata(label.clone(), mark.clone())),
        ("annotation+label", &with_label, metadata(json!({}), mark.clone()), metadata(json!({}), mark.clone())),
        ("label", &with_label, metadata(label.clone(), json!({})), metadata(label.clone(), json!({}))),
    ];
    for (name, target, mut side, want) in cases {
        method(name).migrate(target, &mut side);
        // What is emptied goes with its last entry: no difference remains of it.
        let bare = |object: &Value| {
            let mut object = object.clone();
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.retain(|_, value| *value != json!({}));
            }
            object
        };
        assert_eq!(bare(&side), bare(&want), "{name}");
    }
}

#[test]
fn a_name_that_is_not_known_yet_is_told_by_its_place() {
    let named = |metadata: Value| generated_name(&Manifest(json!({"metadata": metadata})), 3);
    assert_eq!(named(json!({"generateName": "job-"})).as_deref(), Some("job-3"));
    assert_eq!(named(json!({"generateName": "job-", "name": "job"})), None);
    assert_eq!(named(json!({})), None);
}

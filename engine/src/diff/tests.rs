use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::ignore::Rules;
use crate::resource::ResourceKey;

fn deployment(replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn compared(target: &Value, live: &Value, own: &Value, settings: &Settings) -> Result<Comparison, String> {
    let rules = Rules::compile(Some(own), &BTreeMap::new()).unwrap();
    let key = ResourceKey { group: "apps".into(), kind: "Deployment".into(), namespace: "n".into(), name: "d".into() };
    let inputs = Inputs {
        target: Some(target),
        live: Some(live),
        ignored: &rules.of(&key),
        schemas: &Schemas::builtin(),
        settings,
        strategy: Strategy::ClientSide,
    };
    between(&inputs)
}

#[test]
fn what_is_ignored_is_left_out_before_the_merge() {
    let mut live = deployment(5, "two");
    live["metadata"]["managedFields"] =
        json!([{"manager": "hpa", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let target = deployment(1, "one");
    let rule = |rule: Value| {
        let mut rule = rule;
        rule["kind"] = "Deployment".into();
        rule["group"] = "apps".into();
        json!([rule])
    };
    let cases = [
        (json!([]), vec!["/spec/replicas", "/spec/template/spec/containers/0/image"]),
        (rule(json!({"jsonPointers": ["/spec/replicas"]})), vec!["/spec/template/spec/containers/0/image"]),
        (rule(json!({"managedFieldsManagers": ["hpa"]})), vec!["/spec/template/spec/containers/0/image"]),
        (
            rule(json!({"jqPathExpressions": [".spec.template.spec.containers[] | select(.name == \"c\") | .image"]})),
            vec!["/spec/replicas"],
        ),
        (rule(json!({"jsonPointers": ["/spec/replicas", "/spec/template"]})), vec![]),
    ];
    for (own, want) in cases {
        let found = compared(&target, &live, &own, &Settings::default()).unwrap();
        assert_eq!(found.changed, want, "{own}");
    }
}

#[test]
fn status_counts_as_set() {
    let (mut target, live) = (deployment(1, "one"), deployment(1, "one"));
    target["status"] = json!({"observedGeneration": 1});
    let with = |ignore_status| {
        let settings = Settings { ignore_status, ..Settings::default() };
        compared(&target, &live, &json!([]), &settings).unwrap().status
    };
    assert_eq!(with(IgnoreStatus::All), SyncCode::Synced);
    assert_eq!(with(IgnoreStatus::Crd), SyncCode::OutOfSync);
    assert_eq!(with(IgnoreStatus::None), SyncCode::OutOfSync);
}

#[test]
fn a_field_of_a_known_type_has_one_form() {
    let rollout = |cpu: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "d"}, "spec": {"template": {"spec": {
            "containers": [{"name": "c", "resources": {"limits": {"cpu": cpu}}}]}}, "size": cpu, "list": [{"wait": "90s"}]}})
    };
    let data = "- {field: spec.size, type: core/Quantity}\n- {field: spec.list.wait, type: meta/v1/Duration}";
    let custom =
        BTreeMap::from([("resource.customizations.knownTypeFields.argoproj.io_Rollout".to_owned(), data.to_owned())]);
    let custom = Settings::read(&custom).unwrap();
    let changed =
        |settings: &Settings| compared(&rollout("1"), &rollout("1000m"), &json!([]), settings).unwrap().changed;
    assert_eq!(changed(&Settings::default()), ["/spec/size"]);
    assert_eq!(changed(&custom), ["/spec/template/spec/containers/0/resources/limits/cpu"]);
}

#[test]
fn one_side_alone_is_out_of_sync() {
    let object = deployment(1, "i");
    let (ignored, schemas, settings) = (Ignored::default(), Schemas::builtin(), Settings::default());
    let of = |target, live| {
        let inputs = Inputs {
            target,
            live,
            ignored: &ignored,
            schemas: &schemas,
            settings: &settings,
            strategy: Strategy::ClientSide,
        };
        between(&inputs).unwrap()
    };
    let made = of(Some(&object), None);
    assert_eq!((made.status, made.predicted.is_some(), made.live), (SyncCode::OutOfSync, true, None));
    let gone = of(None, Some(&object));
    assert_eq!((gone.status, gone.predicted, gone.live.is_some()), (SyncCode::OutOfSync, None, true));
    assert_eq!(of(None, None).status, SyncCode::Synced);
}

#[test]
fn a_manifest_says_itself_what_does_not_count() {
    let live = deployment(5, "two");
    let with = |rules: &str| {
        let mut target = deployment(1, "one");
        target["metadata"]["annotations"] = json!({IGNORE_DIFFERENCES: rules});
        compared(&target, &live, &json!([]), &Settings::default()).unwrap().changed
    };
    let annotation = "/metadata/annotations";
    assert_eq!(with("jsonPointers: [/spec/replicas]"), [annotation, "/spec/template/spec/containers/0/image"]);
    assert_eq!(with("jsonPointers: ["), [annotation, "/spec/replicas", "/spec/template/spec/containers/0/image"]);
}

#[test]
fn server_side_needs_its_prediction() {
    let (target, live) = (deployment(1, "one"), deployment(1, "one"));
    let (ignored, schemas, settings) = (Ignored::default(), Schemas::builtin(), Settings::default());
    let of = |predicted| {
        let strategy = Strategy::ServerSide { predicted, include_mutation_webhook: true };
        let inputs = Inputs {
            target: Some(&target),
            live: Some(&live),
            ignored: &ignored,
            schemas: &schemas,
            settings: &settings,
            strategy,
        };
        between(&inputs)
    };
    assert!(of(None).unwrap_err().contains("dry run"));
    let mut predicted = deployment(1, "two");
    predicted["metadata"]["generation"] = 7.into();
    assert_eq!(of(Some(&predicted)).unwrap().changed, ["/spec/template/spec/containers/0/image"]);
}

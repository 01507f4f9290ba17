use serde_json::json;

use super::*;
use crate::schema::Schemas;

fn map(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn three(original: Value, wanted: Value, live: Value) -> (Value, Value) {
    let schemas = Schemas::builtin();
    let at = schemas.named("core/v1/Pod").unwrap();
    let patch = three_way(&map(original), &map(wanted), &map(live.clone()), at).unwrap();
    let applied = apply(map(live), patch.clone(), at).unwrap();
    (Value::Object(patch), Value::Object(applied))
}

fn containers(items: Value) -> Value {
    json!({"spec": {"containers": items}})
}

#[test]
fn lists_are_merged_by_key() {
    let wanted = containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "1"}]));
    let original = containers(json!([{"name": "a"}, {"name": "b"}]));
    let live = containers(
        json!([{"name": "a", "image": "1"}, {"name": "x", "image": "s"}, {"name": "b", "image": "1", "tty": true}]),
    );
    let (patch, applied) = three(original, wanted, live);
    let want = json!({"spec": {"containers": [
        {"name": "b", "image": "2"}, {"name": "c", "image": "1"}, {"name": "a", "$patch": "delete"}],
        "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}]}});
    assert_eq!(patch, want);
    let want = containers(
        json!([{"name": "x", "image": "s"}, {"name": "b", "image": "2", "tty": true}, {"name": "c", "image": "1"}]),
    );
    assert_eq!(applied, want);
}

#[test]
fn another_order_alone_is_a_change() {
    let wanted = containers(json!([{"name": "b"}, {"name": "a"}]));
    let live = containers(json!([{"name": "a"}, {"name": "b"}]));
    let (patch, applied) = three(live.clone(), wanted.clone(), live);
    assert_eq!(patch, json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}));
    assert_eq!(applied, wanted);
}

#[test]
fn a_volume_of_another_kind_loses_the_old_kind() {
    let volumes = |items: Value| json!({"spec": {"volumes": items}});
    let wanted = volumes(json!([{"name": "v", "configMap": {"name": "c"}}]));
    let live = volumes(json!([{"name": "v", "emptyDir": {}}]));
    let (patch, applied) = three(json!({}), wanted.clone(), live);
    assert_eq!(patch["spec"]["volumes"][0]["$retainKeys"], json!(["configMap", "name"]));
    assert_eq!(applied, wanted);
}

#[test]
fn plain_values_are_merged_too() {
    let meta = |items: Value| json!({"metadata": {"finalizers": items}});
    let (patch, applied) = three(meta(json!(["a", "b"])), meta(json!(["a", "c"])), meta(json!(["b", "x", "a"])));
    let want = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["a", "c"], "finalizers": ["c"]}});
    assert_eq!(patch, want);
    assert_eq!(applied, meta(json!(["x", "a", "c"])));
}

#[test]
fn directives_are_carried_out() {
    let schemas = Schemas::builtin();
    let at = schemas.named("core/v1/Pod").unwrap();
    let cases = [
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b"}])),
        ),
        (
            containers(json!([{"name": "a"}])),
            containers(json!([{"$patch": "replace"}, {"name": "b"}])),
            containers(json!([{"name": "b"}])),
        ),
        (
            json!({}),
            json!({"metadata": {"labels": {"a": null, "b": "1"}}}),
            json!({"metadata": {"labels": {"b": "1"}}}),
        ),
    ];
    for (object, patch, want) in cases {
        assert_eq!(apply(map(object), map(patch.clone()), at).map(Value::Object), Ok(want), "{patch}");
    }
    let bad = [
        json!({"metadata": {"$patch": "burn"}}),
        containers(json!([{"image": "no name"}])),
        containers(json!([[1]])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "z"}], "containers": [{"name": "a"}]}}),
    ];
    for patch in bad {
        let object = map(json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}}));
        assert!(apply(object, map(patch.clone()), at).is_err(), "{patch}");
    }
}

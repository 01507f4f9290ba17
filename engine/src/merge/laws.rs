//! Laws that hold for any two objects.
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Object, json as merge_json, strategic};
use crate::schema::Schemas;

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned)
}

fn words(most: usize) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(word(), word().prop_map(Value::from), 0..most).prop_map(Map::from_iter)
}

/// Items with distinct values of the merge key.
fn keyed<S: Strategy<Value = Value>>(key: &'static str, value: S) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(word(), value, 0..4).prop_map(move |items| {
        let with = |(name, mut item): (String, Value)| {
            item[key] = name.into();
            item
        };
        items.into_iter().map(with).collect()
    })
}

fn optional<S: Strategy<Value = Value>>(
    name: &'static str,
    value: S,
) -> impl Strategy<Value = Option<(String, Value)>> {
    prop::option::of(value.prop_map(move |value| (name.to_owned(), value)))
}

fn pod() -> impl Strategy<Value = Object> {
    let env = keyed("name", word().prop_map(|value| json!({"value": value})));
    let container = (
        optional("image", word().prop_map(Value::from)),
        optional("env", env),
        optional("args", prop::collection::vec(word(), 0..3).prop_map(Value::from)),
    );
    let container = container.prop_map(|(a, b, c)| Value::Object([a, b, c].into_iter().flatten().collect()));
    let volume = prop::sample::select(vec![
        json!({"emptyDir": {}}),
        json!({"configMap": {"name": "x"}}),
        json!({"secret": {"secretName": "x"}}),
    ]);
    let spec = (
        optional("containers", keyed("name", container)),
        optional("volumes", keyed("name", volume)),
        optional("nodeSelector", words(3).prop_map(Value::Object)),
        optional(
            "tolerations",
            prop::collection::vec(word().prop_map(|key| json!({"key": key})), 0..3).prop_map(Value::from),
        ),
        optional("nodeName", word().prop_map(Value::from)),
    );
    let finalizers =
        prop::collection::btree_set(word(), 0..4).prop_map(|all| all.into_iter().collect::<Vec<_>>()).prop_shuffle();
    let metadata = (
        optional("labels", words(3).prop_map(Value::Object)),
        optional("finalizers", finalizers.prop_map(Value::from)),
    );
    (spec, metadata).prop_map(|((a, b, c, d, e), (labels, finalizers))| {
        let spec: Map<String, Value> = [a, b, c, d, e].into_iter().flatten().collect();
        let metadata: Map<String, Value> = [labels, finalizers].into_iter().flatten().collect();
        Map::from_iter([("spec".to_owned(), Value::Object(spec)), ("metadata".to_owned(), Value::Object(metadata))])
    })
}

fn sorted(mut object: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Array(list)) = object["metadata"].get_mut("finalizers") {
        list.sort_by_key(Value::to_string);
    }
    object
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(object in pod()) {
        let schemas = Schemas::builtin();
        let at = schemas.named("core/v1/Pod").unwrap();
        let own = sorted(object.clone());
        prop_assert_eq!(strategic::two_way(&own, &own, at), Ok(Map::new()));
        prop_assert_eq!(merge_json::three_way(&object, &object, &object), Map::new());
    }

    #[test]
    fn a_patch_does_its_work_once_and_for_all(original in pod(), wanted in pod(), live in pod()) {
        let schemas = Schemas::builtin();
        let at = schemas.named("core/v1/Pod").unwrap();
        let patch = strategic::three_way(&original, &wanted, &live, at).unwrap();
        let once = strategic::apply(live.clone(), patch, at).unwrap();
        // Kubernetes leaves directives in a list that live state lost altogether.
        prop_assume!(!json!(once).to_string().contains("$retainKeys"));
        let again = strategic::three_way(&wanted, &wanted, &once, at).unwrap();
        prop_assert_eq!(strategic::apply(once.clone(), again, at).unwrap(), once);

        let patch = merge_json::three_way(&original, &wanted, &live);
        let once = merge_json::apply(live, &patch);
        prop_assert_eq!(merge_json::three_way(&wanted, &wanted, &once), Map::new());
    }

    #[test]
    fn from_one_to_the_other(from in pod(), to in pod()) {
        let schemas = Schemas::builtin();
        let at = schemas.named("core/v1/Pod").unwrap();
        let patch = strategic::two_way(&from, &to, at).unwrap();
        // The order of a set of words is nobody's: kubectl sends nothing when only it differs.
        prop_assert_eq!(sorted(strategic::apply(from, patch, at).unwrap()), sorted(to));
    }
}

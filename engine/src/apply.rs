//! Apply from the client, as kubectl does it: what to send for one object, from target and live state. No IO: who sends
//! it reads live state anew and asks again when the API server answers that the object changed meanwhile. Pure.
use serde_json::{Map, Value};

use crate::diff::LAST_APPLIED;
use crate::merge::{self, json, strategic};
use crate::schema::Schemas;
use crate::typed;

/// All annotations of an object together, in bytes (Kubernetes, `TotalAnnotationSizeLimitB`).
const ANNOTATIONS_MAX: usize = 262_144;

/// The kind of a patch, which is its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/merge-patch+json`.
    Merge,
}

impl PatchKind {
    /// For the header Content-Type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Merge => "application/merge-patch+json",
        }
    }
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Create this object.
    Create(Value),
    /// Patch the live one.
    Patch {
        /// Of which kind.
        kind: PatchKind,
        /// With this.
        body: Value,
    },
    /// Nothing: live state is what is wanted.
    Unchanged,
}

/// Works out what kubectl apply would send. Built-in kinds get a strategic merge patch, others a JSON merge patch.
pub fn client_side(target: &Value, live: Option<&Value>, schemas: &Schemas) -> Result<Write, String> {
    let mut target = target.clone();
    typed::plain_numbers(&mut target);
    let wanted = with_last_applied(&target)?;
    let Some(live) = live else { return Ok(Write::Create(without_nulls(&wanted))) };
    let mut live = live.clone();
    typed::plain_numbers(&mut live);
    let mut applied = match live["metadata"]["annotations"][LAST_APPLIED].as_str() {
        None | Some("") => Value::Object(Map::new()),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| format!("annotation {LAST_APPLIED} of the live object is no JSON ({error}); remove it"))?,
    };
    typed::plain_numbers(&mut applied);
    let (original, wanted, current) = (merge::object(&applied)?, merge::object(&wanted)?, merge::object(&live)?);
    let (kind, body) = match schemas.known(&target) {
        Some(at) => (PatchKind::Strategic, strategic::three_way(original, wanted, current, at)?),
        None => (PatchKind::Merge, json::three_way(original, wanted, current)),
    };
    for field in ["apiVersion", "kind"] {
        if kind == PatchKind::Merge && body.contains_key(field) {
            return Err(format!("{field} of a live object cannot be changed"));
        }
    }
    if body.is_empty() { Ok(Write::Unchanged) } else { Ok(Write::Patch { kind, body: body.into() }) }
}

/// The object with itself in its annotation, as kubectl writes it: keys sorted, no blanks, a line break at the end.
fn with_last_applied(target: &Value) -> Result<Value, String> {
    let mut object = merge::object(target)?.clone();
    let metadata = object.entry("metadata").or_insert_with(|| Map::new().into());
    let metadata = metadata.as_object_mut().ok_or("metadata must be a map")?;
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Map::new().into();
    }
    annotations.as_object_mut().ok_or("metadata.annotations must be a map")?.remove(LAST_APPLIED);
    let mut text = String::new();
    write(&Value::Object(object.clone()), &mut text);
    text.push('\n');
    if let Some(annotations) = object.get_mut("metadata").and_then(|metadata| metadata["annotations"].as_object_mut()) {
        annotations.insert(LAST_APPLIED.to_owned(), text.into());
        let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if size > ANNOTATIONS_MAX {
            return Err(format!(
                "the object is too large for an apply from the client: its annotations would be {size} bytes, of which \
                 {ANNOTATIONS_MAX} are allowed; set the sync option ServerSideApply=true"
            ));
        }
    }
    Ok(object.into())
}

/// Nulls are no values on creation, as they are none when a patch is applied.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// JSON as Go's encoding/json writes it.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(map.get(key).unwrap_or(&Value::Null), out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float != 0.0 && (float.abs() < 1e-6 || float.abs() >= 1e21) => {
                let text = format!("{float:e}");
                out.push_str(&if text.contains("e-") { text } else { text.replace('e', "e+") });
            }
            Some(float) => out.push_str(&float.to_string()),
            None => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    for c in Value::from(text).to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(data: Value) -> Value {
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}, "data": data})
    }

    #[test]
    fn a_new_object_carries_what_was_applied() {
        let target = map(json!({"b": "<a&b>\u{2028}", "a": null}));
        let Ok(Write::Create(made)) = client_side(&target, None, &Schemas::builtin()) else { panic!() };
        let text = "{\"apiVersion\":\"v1\",\"data\":{\"a\":null,\"b\":\"\\u003ca\\u0026b\\u003e\\u2028\"},\"kind\":\"ConfigMap\",\"metadata\":{\"annotations\":{},\"name\":\"m\"}}\n";
        assert_eq!(made["metadata"]["annotations"][LAST_APPLIED], text);
        assert_eq!(made["data"], json!({"b": "<a&b>\u{2028}"}));
    }

    #[test]
    fn numbers_are_written_as_go_does() {
        for (number, want) in [
            (json!(1.5), "1.5"),
            (json!(1e21), "1e+21"),
            (json!(1.5e-7), "1.5e-7"),
            (json!(0.00001), "0.00001"),
            (json!(12), "12"),
            (json!(1e20), "100000000000000000000"),
        ] {
            let mut text = String::new();
            write(&number, &mut text);
            assert_eq!(text, want);
        }
    }

    #[test]
    fn what_cannot_be_applied_says_what_to_do() {
        let schemas = Schemas::builtin();
        let error = client_side(&map(json!({"a": "x".repeat(ANNOTATIONS_MAX)})), None, &schemas).unwrap_err();
        assert!(error.contains("ServerSideApply=true"), "{error}");
        let mut live = map(json!({}));
        live["metadata"]["annotations"] = json!({LAST_APPLIED: "{"});
        assert!(client_side(&map(json!({})), Some(&live), &schemas).unwrap_err().contains(LAST_APPLIED));
    }

    #[test]
    fn our_patches_are_kubectls() {
        let lines =
            |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
        let corpus = lines(include_str!("diff/testdata/corpus.jsonl"));
        let patches = lines(include_str!("testdata/patches.jsonl"));
        let schemas = Schemas::builtin();
        let mut wrong = Vec::new();
        for patch in &patches {
            let name = patch["name"].as_str().unwrap();
            let case = corpus.iter().find(|case| case["name"] == name).unwrap();
            let found = match client_side(&case["target"], Some(&case["live"]), &schemas) {
                Err(_) => json!("error"),
                Ok(Write::Unchanged) => json!({}),
                Ok(Write::Patch { kind: PatchKind::Strategic, body }) if patch["kind"] == "strategic" => body,
                Ok(Write::Patch { kind: PatchKind::Merge, body }) if patch["kind"] == "merge" => body,
                Ok(other) => json!(format!("{other:?}")),
            };
            let want = if patch["error"].is_string() { json!("error") } else { patch["patch"].clone() };
            if found != want {
                wrong.push(format!("{name}:\n  {found}\n  {want}"));
            }
        }
        assert!(patches.len() > 80 && wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// What the API server makes of it.
    fn sent(target: &Value, live: Option<&Value>, schemas: &Schemas) -> Value {
        match client_side(target, live, schemas).unwrap() {
            Write::Create(object) => object,
            Write::Unchanged => live.unwrap().clone(),
            Write::Patch { kind, body } => {
                let (live, body) = (live.unwrap().as_object().unwrap().clone(), body.as_object().unwrap().clone());
                match kind {
                    PatchKind::Strategic => {
                        let at = schemas.known(target).unwrap();
                        strategic::apply(live, body, at).unwrap().into()
                    }
                    PatchKind::Merge => json::apply(live, &body).into(),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn an_apply_does_its_work_once(
            first in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
            second in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
            foreign in prop::collection::btree_map("[d-e]", "[x-z]", 0..3),
            custom in any::<bool>(),
        ) {
            let schemas = Schemas::builtin();
            let object = |data: &std::collections::BTreeMap<String, String>| {
                let mut object = map(json!(data));
                if custom {
                    object["apiVersion"] = "example.org/v1".into();
                }
                object
            };
            let mut live = sent(&object(&first), None, &schemas);
            for (key, value) in &foreign {
                live["data"][key] = value.as_str().into();
            }
            let live = sent(&object(&second), Some(&live), &schemas);
            let mut want = second.clone();
            want.extend(foreign);
            prop_assert_eq!(&live["data"], &json!(want));
            prop_assert_eq!(client_side(&object(&second), Some(&live), &schemas), Ok(Write::Unchanged));
        }
    }
}

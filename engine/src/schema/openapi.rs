//! Reads OpenAPI v3 documents of an API server: only the kinds that are not built in, and of them only what
//! server-side apply needs to know (`x-kubernetes-list-type` and its kin). Pure.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Field, Graph, List, Patch, Shape, Type};

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    components: Components,
}

#[derive(Deserialize, Default)]
struct Components {
    #[serde(default)]
    schemas: BTreeMap<String, Schema>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Schema {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "allOf")]
    all_of: Vec<Schema>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    properties: BTreeMap<String, Schema>,
    items: Option<Box<Schema>>,
    #[serde(rename = "additionalProperties")]
    additional: Option<Additional>,
    default: Option<Value>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-map-type")]
    map_type: Option<String>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    open: bool,
    #[serde(rename = "x-kubernetes-patch-strategy")]
    strategy: Option<String>,
    #[serde(rename = "x-kubernetes-patch-merge-key")]
    merge_key: Option<String>,
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Kind>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Additional {
    Allowed(#[allow(dead_code, reason = "read so that the other variant is not tried")] bool),
    Of(Box<Schema>),
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

pub(super) fn read(
    document: &[u8],
    graph: &mut Graph,
    known: impl Fn(&str, &str, &str) -> bool,
) -> Result<usize, String> {
    let document: Document =
        serde_json::from_slice(document).map_err(|error| format!("OpenAPI v3 document: {error}"))?;
    let schemas = &document.components.schemas;
    let mut reader = Reader { schemas, graph, seen: BTreeMap::new() };
    let mut count = 0;
    for (name, schema) in schemas {
        // What several kinds share (DeleteOptions) is no kind.
        let [kind] = schema.kinds.as_slice() else { continue };
        if known(&kind.group, &kind.version, &kind.kind) || !schema.properties.contains_key("metadata") {
            continue;
        }
        let index = reader.named(name, schema);
        reader.graph.kinds.insert((kind.group.clone(), kind.version.clone(), kind.kind.clone()), index);
        count += 1;
    }
    Ok(count)
}

struct Reader<'a> {
    schemas: &'a BTreeMap<String, Schema>,
    graph: &'a mut Graph,
    seen: BTreeMap<&'a str, usize>,
}

impl<'a> Reader<'a> {
    fn named(&mut self, name: &'a str, schema: &'a Schema) -> usize {
        if let Some(index) = self.seen.get(name) {
            return *index;
        }
        let index = self.graph.add(Type::default());
        self.seen.insert(name, index);
        self.fill(index, name, schema);
        index
    }

    fn fill(&mut self, index: usize, name: &str, schema: &'a Schema) {
        let mut fields = Vec::new();
        for (field, property) in &schema.properties {
            let shape = self.shape(property);
            fields.push(Field {
                name: field.clone(),
                shape,
                omit_empty: false,
                omit_zero: false,
                patch: Patch {
                    merge: property.strategy.as_deref().is_some_and(|strategy| strategy.contains("merge")),
                    key: property.merge_key.clone(),
                    ..Patch::default()
                },
                list: list_of(property),
                default: property.default.clone().filter(|value| !value.is_object()),
            });
        }
        let atomic = schema.map_type.as_deref() == Some("atomic");
        self.graph.types[index] = Type { name: name.to_owned(), fields, atomic };
    }

    fn shape(&mut self, schema: &'a Schema) -> Shape {
        let reference = schema.reference.as_ref().or_else(|| schema.all_of.first()?.reference.as_ref());
        if let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) {
            return match self.schemas.get_key_value(name) {
                Some((name, schema)) if !schema.properties.is_empty() => Shape::Object(self.named(name, schema)),
                Some((_, schema)) if schema.reference.is_none() && schema.all_of.is_empty() => self.shape(schema),
                _ => Shape::Any,
            };
        }
        if let Some(items) = &schema.items {
            return Shape::List(Box::new(self.shape(items)));
        }
        if let Some(Additional::Of(values)) = &schema.additional {
            return Shape::Map(Box::new(self.shape(values)));
        }
        if !schema.properties.is_empty() || schema.open {
            let index = self.graph.add(Type::default());
            self.fill(index, "", schema);
            return Shape::Object(index);
        }
        match schema.kind.as_ref().and_then(Value::as_str) {
            Some("string") => Shape::Text,
            Some("boolean") => Shape::Bool,
            Some("integer") => Shape::Int(64),
            Some("number") => Shape::Float,
            _ => Shape::Any,
        }
    }
}

fn list_of(schema: &Schema) -> List {
    match schema.list_type.as_deref() {
        Some("set") => List::Set,
        Some("map") => List::Map(schema.map_keys.clone()),
        Some("atomic") => List::Atomic,
        _ if schema.map_type.as_deref() == Some("atomic") => List::Atomic,
        _ => List::Unsaid,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::schema::{List, Schemas};

    #[test]
    fn only_what_is_not_built_in_is_kept() {
        let meta = json!({"$ref": "#/components/schemas/Meta"});
        let kind = |group: &str, kind: &str| json!([{"group": group, "version": "v1", "kind": kind}]);
        let document = json!({"components": {"schemas": {
            "Meta": {"type": "object", "properties": {"name": {"type": "string"}, "owners": {"type": "array", "items": {"type": "object", "properties": {"uid": {"type": "string"}}}, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid"}}},
            "Deployment": {"x-kubernetes-group-version-kind": kind("apps", "Deployment"), "properties": {"metadata": meta}},
            "Thing": {"x-kubernetes-group-version-kind": kind("example.org", "Thing"), "properties": {"metadata": {"allOf": [meta]}, "spec": {"type": "object", "properties": {
                "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}},
        }}});
        let mut schemas = Schemas::builtin();
        assert_eq!(schemas.read_openapi(document.to_string().as_bytes()), Ok(1));
        let thing = json!({"apiVersion": "example.org/v1", "kind": "Thing"});
        assert!(schemas.known(&thing).is_none());
        let at = schemas.any(&thing);
        let spec = at.with(&at.field("spec").unwrap().shape);
        let ports = spec.field("ports").unwrap();
        assert_eq!(ports.merged(), List::Map(vec!["port".into(), "protocol".into()]));
        assert_eq!(spec.with(&ports.shape).inner().default_of("protocol"), Some(&json!("TCP")));
        assert_eq!(spec.with(&spec.field("free").unwrap().shape).fields().map(<[_]>::len), Some(0));
        let metadata = at.with(&at.field("metadata").unwrap().shape);
        assert_eq!(metadata.field("owners").unwrap().merged(), List::Map(vec!["uid".into()]));
        assert!(Schemas::builtin().read_openapi(b"[").is_err());
    }
}

//! What the fields of Kubernetes objects are: their types, what an empty one means, how their lists are merged.
//!
//! Two sources. The built-in kinds come from `builtin.txt`, which is what the Go types in Argo CD's scheme
//! (client-go `kubernetes/scheme`) say of themselves: Argo CD compares built-in kinds by these types, whatever the
//! cluster's version. `tests/oracle` writes that file. Kinds that it does not know (custom resources) are compared as
//! plain JSON; which of their lists are merged by key, the cluster's OpenAPI v3 documents say ([`openapi`]). Pure.
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

mod openapi;

const BUILTIN: &str = include_str!("builtin.txt");
static GRAPH: LazyLock<Arc<Graph>> = LazyLock::new(|| Arc::new(Graph::parse(BUILTIN).0));

/// The types of all kinds that a cluster knows.
#[derive(Debug, Clone)]
pub struct Schemas {
    builtin: Arc<Graph>,
    custom: Graph,
}

impl Default for Schemas {
    fn default() -> Self {
        Self::builtin()
    }
}

/// Types that refer to one another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    types: Vec<Type>,
    /// `Shape::Object(0)`, `Shape::Object(1)` and so on, to be borrowed.
    roots: Vec<Shape>,
    names: BTreeMap<String, usize>,
    kinds: BTreeMap<(String, String, String), usize>,
}

#[derive(Debug, Clone, Default)]
struct Type {
    name: String,
    /// Sorted by name.
    fields: Vec<Field>,
    /// Replaced as a whole by server-side apply.
    atomic: bool,
}

/// One field of an object.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// Go's `omitempty`.
    pub(crate) omit_empty: bool,
    /// Go's `omitzero`.
    pub(crate) omit_zero: bool,
    pub(crate) patch: Patch,
    pub(crate) list: List,
    default: Option<Value>,
}

/// How a strategic merge patch treats a field (`patchStrategy`, `patchMergeKey`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) merge: bool,
    pub(crate) replace: bool,
    pub(crate) retain_keys: bool,
    pub(crate) key: Option<String>,
}

/// How server-side apply merges a list or a map (`x-kubernetes-list-type`, `x-kubernetes-map-type`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum List {
    #[default]
    Unsaid,
    Atomic,
    Set,
    Map(Vec<String>),
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Bool,
    /// So many bits.
    Int(u32),
    Float,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    Any,
    List(Box<Shape>),
    Map(Box<Shape>),
    Pointer(Box<Shape>),
    Object(usize),
}

/// A place in the types.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) shape: &'a Shape,
}

static ANY: Shape = Shape::Any;

impl Schemas {
    /// The built-in kinds only.
    pub fn builtin() -> Self {
        Self { builtin: Arc::clone(&GRAPH), custom: Graph::default() }
    }

    /// Takes the kinds of one OpenAPI v3 document (`/openapi/v3/apis/<group>/<version>`) that are not built in.
    /// Answers how many there were.
    pub fn read_openapi(&mut self, document: &[u8]) -> Result<usize, String> {
        openapi::read(document, &mut self.custom, |group, version, kind| {
            self.builtin.kinds.contains_key(&(group.to_owned(), version.to_owned(), kind.to_owned()))
        })
    }

    /// The type of a built-in kind.
    pub(crate) fn known(&self, object: &Value) -> Option<At<'_>> {
        self.builtin.kind_of(object)
    }

    /// The type of any kind; of one that nobody described, [`Shape::Any`].
    pub(crate) fn any(&self, object: &Value) -> At<'_> {
        let found = self.builtin.kind_of(object).or_else(|| self.custom.kind_of(object));
        found.unwrap_or(At { graph: &self.custom, shape: &ANY })
    }

    /// A built-in type by the name that `knownTypeFields` gives it: `core/v1/PodSpec`.
    pub(crate) fn named(&self, name: &str) -> Option<At<'_>> {
        let (package, name) = name.rsplit_once('/')?;
        static QUANTITY: Shape = Shape::Quantity;
        static DURATION: Shape = Shape::Duration;
        match (package, name) {
            ("core", "Quantity") => return Some(At { graph: &self.builtin, shape: &QUANTITY }),
            ("meta/v1", "Duration") => return Some(At { graph: &self.builtin, shape: &DURATION }),
            _ => {}
        }
        let found = *self.builtin.names.get(&format!("{package}.{name}"))?;
        self.builtin.root(found)
    }
}

impl Graph {
    fn kind_of(&self, object: &Value) -> Option<At<'_>> {
        let version = object["apiVersion"].as_str()?;
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let key = (group.to_owned(), version.to_owned(), object["kind"].as_str()?.to_owned());
        self.root(*self.kinds.get(&key)?)
    }

    fn root(&self, index: usize) -> Option<At<'_>> {
        self.roots.get(index).map(|shape| At { graph: self, shape })
    }

    /// The place of a type, which is made when it was not there.
    fn type_named(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        let index = self.add(Type { name: name.to_owned(), ..Type::default() });
        self.names.insert(name.to_owned(), index);
        index
    }

    fn add(&mut self, new: Type) -> usize {
        self.types.push(new);
        self.roots.push(Shape::Object(self.roots.len()));
        self.types.len() - 1
    }

    /// From `builtin.txt`; also answers the lines that were not understood.
    fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut graph = Self::default();
        let mut bad = Vec::new();
        let mut here = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["#kind", version, kind, name] => {
                    let (group, version) = version.split_once('/').unwrap_or(("", version));
                    let index = graph.type_named(name);
                    graph.kinds.insert((group.to_owned(), version.to_owned(), (*kind).to_owned()), index);
                }
                ["#type", name, rest @ ..] => {
                    let index = graph.type_named(name);
                    graph.types[index].atomic = rest.contains(&"atomic");
                    here = Some(index);
                }
                [name, code, notes @ ..] => match here.zip(graph.field(name, code, notes)) {
                    Some((index, field)) => graph.types[index].fields.push(field),
                    None => bad.push(line),
                },
                _ => bad.push(line),
            }
        }
        for one in &mut graph.types {
            one.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        (graph, bad)
    }

    fn field(&mut self, name: &str, code: &str, notes: &[&str]) -> Option<Field> {
        let (mut patch, mut list, mut default) = (Patch::default(), List::default(), None);
        for note in notes {
            match note.split_once('=') {
                Some(("patch", strategies)) => {
                    for strategy in strategies.split(',') {
                        match strategy {
                            "merge" => patch.merge = true,
                            "replace" => patch.replace = true,
                            "retainKeys" => patch.retain_keys = true,
                            _ => return None,
                        }
                    }
                }
                Some(("key", key)) => patch.key = Some(key.to_owned()),
                Some(("list", "atomic")) => list = List::Atomic,
                Some(("list", "set")) => list = List::Set,
                Some(("list", "map")) => list = List::Map(Vec::new()),
                Some(("keys", keys)) => list = List::Map(keys.split(',').map(str::to_owned).collect()),
                Some(("default", value)) => {
                    default = Some(serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
                }
                None if *note == "atomic" => list = List::Atomic,
                _ => return None,
            }
        }
        let bare = name.trim_end_matches(['?', '!']);
        let shape = self.shape(code)?;
        let flags = &name[bare.len()..];
        let (omit_empty, omit_zero) = (flags.contains('?'), flags.contains('!'));
        Some(Field { name: bare.to_owned(), shape, omit_empty, omit_zero, patch, list, default })
    }

    fn shape(&mut self, code: &str) -> Option<Shape> {
        if let Some(inner) = code.strip_prefix('*') {
            return Some(Shape::Pointer(Box::new(self.shape(inner)?)));
        }
        if let Some(inner) = code.strip_prefix("[]") {
            return Some(Shape::List(Box::new(self.shape(inner)?)));
        }
        if let Some(inner) = code.strip_prefix("{}") {
            return Some(Shape::Map(Box::new(self.shape(inner)?)));
        }
        Some(match code {
            "string" => Shape::Text,
            "bool" => Shape::Bool,
            "int8" | "uint8" => Shape::Int(8),
            "int16" | "uint16" => Shape::Int(16),
            "int32" | "uint32" => Shape::Int(32),
            "int" | "int64" | "uint64" => Shape::Int(64),
            "float32" | "float64" => Shape::Float,
            "bytes" => Shape::Bytes,
            "quantity" => Shape::Quantity,
            "int-or-string" => Shape::IntOrString,
            "time" => Shape::Time,
            "micro-time" => Shape::MicroTime,
            "duration" => Shape::Duration,
            "any" => Shape::Any,
            name if name.contains('.') => Shape::Object(self.type_named(name)),
            _ => return None,
        })
    }
}

impl<'a> At<'a> {
    /// The same place with another type.
    pub(crate) fn with(self, shape: &'a Shape) -> Self {
        Self { graph: self.graph, shape }
    }

    /// Behind the pointers.
    pub(crate) fn solid(self) -> Self {
        match self.shape {
            Shape::Pointer(inner) => self.with(inner).solid(),
            _ => self,
        }
    }

    fn object(self) -> Option<&'a Type> {
        match self.solid().shape {
            Shape::Object(index) => self.graph.types.get(*index),
            _ => None,
        }
    }

    /// The declared fields, when this is an object that has them.
    pub(crate) fn fields(self) -> Option<&'a [Field]> {
        self.object().map(|of| of.fields.as_slice())
    }

    /// One declared field by its exact name.
    pub(crate) fn field(self, name: &str) -> Option<&'a Field> {
        let fields = self.fields()?;
        fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok().and_then(|at| fields.get(at))
    }

    /// One declared field as Go reads JSON: exactly, else whatever the case of its letters.
    pub(crate) fn field_folded(self, name: &str) -> Option<&'a Field> {
        self.field(name).or_else(|| self.fields()?.iter().find(|field| field.name.eq_ignore_ascii_case(name)))
    }

    /// The name of the type: `core/v1.PodSpec`.
    pub(crate) fn name(self) -> &'a str {
        self.object().map_or("", |of| of.name.as_str())
    }

    /// Server-side apply replaces this object as a whole.
    pub(crate) fn atomic(self) -> bool {
        self.object().is_some_and(|of| of.atomic)
    }

    /// The default of a field, where the schema declares one.
    pub(crate) fn default_of(self, field: &str) -> Option<&'a Value> {
        self.field(field)?.default.as_ref()
    }

    /// What a list or a map holds.
    pub(crate) fn inner(self) -> Self {
        match self.solid().shape {
            Shape::List(inner) | Shape::Map(inner) => self.with(inner),
            _ => self.with(&ANY),
        }
    }
}

impl Field {
    /// How server-side apply merges the field; a list that says nothing, by the strategy of its patches, else as a
    /// whole (kube-openapi, `schemaconv`).
    pub(crate) fn merged(&self) -> List {
        match (&self.list, &self.patch) {
            (List::Unsaid, Patch { merge: true, key: Some(key), .. }) => List::Map(vec![key.clone()]),
            (List::Unsaid, Patch { merge: true, key: None, .. }) => List::Set,
            (said, _) => said.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_whole_file_is_understood() {
        let (graph, bad) = Graph::parse(BUILTIN);
        assert_eq!(bad, Vec::<&str>::new());
        assert!(graph.kinds.len() > 60 && graph.types.len() > 500, "{} {}", graph.kinds.len(), graph.types.len());
        assert!(graph.types.iter().all(|one| !one.name.is_empty()));
    }

    #[test]
    fn a_field_is_found_with_all_it_says() {
        let schemas = Schemas::builtin();
        let pod = schemas.named("core/v1/PodSpec").unwrap();
        let containers = pod.field("containers").unwrap();
        assert_eq!(containers.patch, Patch { merge: true, key: Some("name".into()), ..Patch::default() });
        let ports = pod.with(&containers.shape).inner().field("ports").unwrap();
        assert_eq!(ports.patch.key.as_deref(), Some("containerPort"));
        assert_eq!(ports.merged(), List::Map(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(pod.with(&ports.shape).inner().default_of("protocol"), Some(&json!("TCP")));
        let volumes = pod.field("volumes").unwrap();
        assert!(volumes.patch.merge && volumes.patch.retain_keys);
        assert_eq!(pod.field("hostNetwork").unwrap().shape, Shape::Bool);
        assert!(matches!(pod.field("enableServiceLinks").unwrap().shape, Shape::Pointer(_)));
        assert!(pod.field("HostNetwork").is_none() && pod.field_folded("HostNetwork").is_some());
    }

    #[test]
    fn a_kind_is_found_by_its_version() {
        let schemas = Schemas::builtin();
        let of = |version: &str, kind: &str| {
            let object = json!({"apiVersion": version, "kind": kind});
            schemas.known(&object).map(|at| at.name().to_owned())
        };
        assert_eq!(of("v1", "Service").as_deref(), Some("core/v1.Service"));
        assert_eq!(of("apps/v1", "Deployment").as_deref(), Some("apps/v1.Deployment"));
        assert_eq!(of("apiextensions.k8s.io/v1", "CustomResourceDefinition"), None);
        assert_eq!(of("argoproj.io/v1alpha1", "Rollout"), None);
    }
}

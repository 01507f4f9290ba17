//! What `spec.source.kustomize` changes in a kustomization: the same outcome as the `kustomize edit` commands that Argo CD
//! runs on its checkout, without starting a program for each (a test compares the two). Pure.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tako_engine::source::Kustomize;

use crate::environment::Environment;

/// An image name, tag or digest that stays as the file has it.
const KEEP: &str = "*";

/// The kustomization with the overrides in it.
pub(super) struct Edited {
    /// The file, as a value.
    pub(super) kustomization: Value,
    /// The commands that do the same, for people.
    pub(super) commands: Vec<String>,
}

/// Whether anything of the file is changed.
pub(super) fn is_needed(wanted: &Kustomize) -> bool {
    let set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    set(&wanted.name_prefix)
        || set(&wanted.name_suffix)
        || set(&wanted.namespace)
        || !wanted.images.is_empty()
        || !wanted.replicas.is_empty()
        || !wanted.common_labels.is_empty()
        || !wanted.common_annotations.is_empty()
        || !wanted.patches.is_empty()
        || !wanted.components.is_empty()
}

/// Puts the overrides into a kustomization. `components` are those of `wanted` with their globs expanded and, where that is wanted,
/// without the missing ones.
pub(super) fn apply(
    kustomization: Value,
    wanted: &Kustomize,
    components: &[String],
    env: &Environment,
) -> Result<Edited, String> {
    let mut map = match kustomization {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => return Err("a mapping is wanted".to_owned()),
    };
    let mut commands = Vec::new();
    let mut said = |words: &[String]| commands.push(format!("kustomize edit {}", words.join(" ")));
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    if let Some(prefix) = text(&wanted.name_prefix) {
        said(&["set nameprefix --".to_owned(), prefix.clone()]);
        *slot(&mut map, "namePrefix") = prefix.into();
    }
    if let Some(suffix) = text(&wanted.name_suffix) {
        said(&["set namesuffix --".to_owned(), suffix.clone()]);
        *slot(&mut map, "nameSuffix") = suffix.into();
    }
    if !wanted.images.is_empty() {
        let images: Vec<String> = wanted.images.iter().map(|image| env.substitute(image)).collect();
        set_images(&mut map, &images)?;
        said(&[vec!["set image".to_owned()], images].concat());
    }
    if !wanted.replicas.is_empty() {
        let counts = set_replicas(&mut map, wanted)?;
        said(&[vec!["set replicas".to_owned()], counts].concat());
    }
    if !wanted.common_labels.is_empty() {
        let labels = pairs("label", &wanted.common_labels, |value| env.substitute(value))?;
        add_labels(&mut map, wanted, &labels)?;
        let flags = [
            (wanted.force_common_labels, "--force"),
            (wanted.label_without_selector, "--without-selector"),
            (wanted.label_include_templates, "--include-templates"),
        ];
        said(&[vec!["add label".to_owned()], chosen(&flags), shown(&labels)].concat());
    }
    if !wanted.common_annotations.is_empty() {
        let annotations = pairs("annotation", &wanted.common_annotations, |value| {
            if wanted.common_annotations_envsubst { env.substitute(value) } else { value.to_owned() }
        })?;
        let field = object(slot(&mut map, "commonAnnotations"), "commonAnnotations")?;
        add_pairs(field, "annotation", &annotations, wanted.force_common_annotations)?;
        let flags = [(wanted.force_common_annotations, "--force")];
        said(&[vec!["add annotation".to_owned()], chosen(&flags), shown(&annotations)].concat());
    }
    if let Some(namespace) = text(&wanted.namespace) {
        said(&["set namespace --".to_owned(), namespace.clone()]);
        *slot(&mut map, "namespace") = namespace.into();
    }
    if !wanted.patches.is_empty() {
        list(slot(&mut map, "patches"), "patches")?.extend(wanted.patches.iter().cloned());
        commands.push("# spec.source.kustomize.patches are put under patches of the kustomization file".to_owned());
    }
    if !components.is_empty() {
        let field = list(slot(&mut map, "components"), "components")?;
        for component in components {
            let component = Value::from(component.as_str());
            if !field.contains(&component) {
                field.push(component);
            }
        }
        commands.push(format!("kustomize edit add component {}", components.join(" ")));
    }
    Ok(Edited { kustomization: Value::Object(map), commands })
}

/// A field under its own spelling: Go's decoder reads `nameprefix` as `namePrefix` too.
fn slot<'a>(map: &'a mut Map<String, Value>, name: &str) -> &'a mut Value {
    let value = take(map, name).unwrap_or_default();
    map.entry(name).or_insert(value)
}

fn take(map: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let found: Vec<String> = map.keys().filter(|key| key.eq_ignore_ascii_case(name)).cloned().collect();
    found.into_iter().filter_map(|key| map.remove(&key)).next_back()
}

fn list<'a>(value: &'a mut Value, field: &str) -> Result<&'a mut Vec<Value>, String> {
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| format!("{field}: a list is wanted"))
}

fn object<'a>(value: &'a mut Value, field: &str) -> Result<&'a mut Map<String, Value>, String> {
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or_else(|| format!("{field}: a mapping is wanted"))
}

fn chosen(flags: &[(bool, &str)]) -> Vec<String> {
    flags.iter().filter(|(set, _)| *set).map(|(_, flag)| (*flag).to_owned()).collect()
}

fn shown(pairs: &BTreeMap<String, String>) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect()
}

/// `name:value` as the command takes it: the first colon parts them, quotes around the value go.
fn pairs(
    kind: &str,
    wanted: &BTreeMap<String, String>,
    value_of: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>, String> {
    let mut read = BTreeMap::new();
    for (name, value) in wanted {
        if name.is_empty() || name.starts_with([':', '-']) {
            return Err(format!("{kind} {name:?}: a name is wanted before the value"));
        }
        let whole = format!("{name}:{}", value_of(value));
        let (name, value) = whole.split_once(':').unwrap_or((&whole, ""));
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        read.insert(name.to_owned(), bare.to_owned());
    }
    Ok(read)
}

fn add_pairs(
    into: &mut Map<String, Value>,
    kind: &str,
    pairs: &BTreeMap<String, String>,
    force: bool,
) -> Result<(), String> {
    for (name, value) in pairs {
        if into.contains_key(name) && !force {
            return Err(format!(
                "{kind} {name} already in kustomization file; remove it there or set spec.source.kustomize.forceCommon{}",
                if kind == "label" { "Labels" } else { "Annotations" }
            ));
        }
        into.insert(name.clone(), value.as_str().into());
    }
    Ok(())
}

fn add_labels(
    map: &mut Map<String, Value>,
    wanted: &Kustomize,
    labels: &BTreeMap<String, String>,
) -> Result<(), String> {
    let (templates, force) = (wanted.label_include_templates, wanted.force_common_labels);
    if !wanted.label_without_selector {
        if templates {
            return Err("labelIncludeTemplates: set labelWithoutSelector too".to_owned());
        }
        return add_pairs(object(slot(map, "commonLabels"), "commonLabels")?, "label", labels, force);
    }
    let entries = list(slot(map, "labels"), "labels")?;
    let flag = |entry: &Value, name: &str| entry.as_object().and_then(|entry| peek(entry, name)) == Some(&json!(true));
    let fits = |entry: &Value| !flag(entry, "includeSelectors") && flag(entry, "includeTemplates") == templates;
    let at = entries.iter().position(fits).unwrap_or(entries.len());
    if at == entries.len() {
        entries.push(if templates { json!({"includeTemplates": true}) } else { json!({}) });
    }
    let entry = object(&mut entries[at], "labels[]")?;
    add_pairs(object(slot(entry, "pairs"), "labels[].pairs")?, "label", labels, force)
}

/// A field, however its name is written.
pub(super) fn peek<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn set_replicas(map: &mut Map<String, Value>, wanted: &Kustomize) -> Result<Vec<String>, String> {
    let (mut by_name, mut counts) = (BTreeMap::new(), Vec::new());
    for replica in &wanted.replicas {
        let count =
            replica.count.as_i64().or_else(|| replica.count.as_str().and_then(|text| text.parse().ok())).ok_or_else(
                || format!("spec.source.kustomize.replicas: {}: count: a whole number is wanted", replica.name),
            )?;
        if replica.name.contains('=') || replica.name.starts_with('-') {
            return Err(format!("spec.source.kustomize.replicas: {}: the name of an object is wanted", replica.name));
        }
        counts.push(format!("{}={count}", replica.name));
        by_name.insert(replica.name.clone(), json!({"name": replica.name, "count": count}));
    }
    let field = list(slot(map, "replicas"), "replicas")?;
    for entry in std::mem::take(field) {
        let name = entry.as_object().and_then(|entry| peek(entry, "name")).and_then(Value::as_str).unwrap_or_default();
        by_name.entry(name.to_owned()).or_insert(entry);
    }
    field.extend(by_name.into_values());
    Ok(counts)
}

/// One entry of `images`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Image {
    name: String,
    new_name: String,
    tag_suffix: String,
    new_tag: String,
    digest: String,
}

impl Image {
    /// `[name=]image[:tag][@digest]`.
    fn from_override(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "spec.source.kustomize.images: {text:?}: [name=]image[:tag][@digest] is wanted, with at least one of them changed"
            )
        };
        if text.starts_with('-') {
            return Err(wrong());
        }
        let (key, image) = text.split_once('=').map_or((None, text), |(key, image)| (Some(key), image));
        let (name, new_tag, digest) = split(image);
        if name == text {
            return Err(wrong());
        }
        let (name, new_name) = match key {
            Some(key) if !key.is_empty() => (key.to_owned(), name),
            _ => (name, String::new()),
        };
        Ok(Self { name, new_name, new_tag, digest, tag_suffix: String::new() })
    }

    fn from_file(entry: &Value) -> Result<Self, String> {
        let map = entry.as_object().ok_or("images[]: a mapping is wanted")?;
        let text = |name: &str| match peek(map, name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("images[].{name}: a text is wanted; put it in quotes")),
        };
        Ok(Self {
            name: text("name")?,
            new_name: text("newName")?,
            tag_suffix: text("tagSuffix")?,
            new_tag: text("newTag")?,
            digest: text("digest")?,
        })
    }

    /// What is `*` is as in the other; the suffix of the tag is lost with it, as Kustomize loses it.
    fn keeping(mut self, other: &Self) -> Self {
        let mut kept = false;
        for (own, old) in [
            (&mut self.new_name, &other.new_name),
            (&mut self.new_tag, &other.new_tag),
            (&mut self.digest, &other.digest),
        ] {
            if own == KEEP {
                own.clone_from(old);
                kept = true;
            }
        }
        if kept {
            self.tag_suffix.clear();
        }
        self
    }

    fn into_value(self) -> Value {
        let fields = [
            ("name", self.name),
            ("newName", self.new_name),
            ("tagSuffix", self.tag_suffix),
            ("newTag", self.new_tag),
            ("digest", self.digest),
        ];
        let set = fields.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(set.map(|(name, text)| (name.to_owned(), Value::String(text))).collect())
    }
}

/// Name, tag and digest; the port of a registry is no tag.
fn split(image: &str) -> (String, String, String) {
    let from = image.find('/').filter(|at| *at > 0).unwrap_or(0);
    let (image, digest) = match image[from..].find('@') {
        Some(at) => (&image[..from + at], &image[from + at + 1..]),
        None => (image, ""),
    };
    let (name, tag) = match image[from..].find(':') {
        Some(at) => (&image[..from + at], &image[from + at + 1..]),
        None => (image, ""),
    };
    (name.to_owned(), tag.to_owned(), digest.to_owned())
}

/// Overrides win over entries of the file with the same name; all are ordered by name.
fn set_images(map: &mut Map<String, Value>, wanted: &[String]) -> Result<(), String> {
    let mut by_name = BTreeMap::new();
    for text in wanted {
        let image = Image::from_override(text)?;
        by_name.insert(image.name.clone(), image);
    }
    let old = take(map, "imageTags");
    let field = list(slot(map, "images"), "images")?;
    let mut entries = std::mem::take(field);
    if let Some(Value::Array(old)) = old {
        entries.extend(old);
    }
    for entry in &entries {
        let entry = Image::from_file(entry)?;
        let image = by_name.remove(&entry.name).map_or(entry.clone(), |image| image.keeping(&entry));
        by_name.insert(image.name.clone(), image);
    }
    let nothing = Image::default();
    field.extend(by_name.into_values().map(|image| image.keeping(&nothing).into_value()));
    Ok(())
}

/// JSON that every YAML reader takes: what YAML calls not printable is escaped.
pub(super) fn written(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let odd =
        |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    let mut done = String::with_capacity(text.len());
    for c in text.chars() {
        if odd(c) {
            done.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            done.push(c);
        }
    }
    done
}

#[cfg(test)]
mod tests;

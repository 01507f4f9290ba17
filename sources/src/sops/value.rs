//! A parsed manifest, opened value by value: each is authenticated by itself, so the order that parsing lost does not matter.
use serde_json::Value;

use super::cipher::{self, DataKey};
use super::metadata::Metadata;
use super::{Keys, METADATA, Path, SopsError, sealed};

/// It holds SOPS' block, so some of its values are encrypted.
pub fn is_encrypted(object: &Value) -> bool {
    object.get(METADATA).is_some_and(|block| block.get("mac").is_some() && block.get("lastmodified").is_some())
}

/// Opens the encrypted values of an object and takes SOPS' block away. Answers the JSON pointers of what was opened, for whoever must
/// not show it. An object without the block is left as it is.
pub fn decrypt_value(object: &mut Value, keys: &Keys) -> Result<Vec<String>, SopsError> {
    if !is_encrypted(object) {
        return Ok(Vec::new());
    }
    let name = name(object);
    let document = |problem: String| SopsError::Document { file: name.clone(), problem };
    let metadata = Metadata::read(&object[METADATA]).map_err(document)?;
    let key = metadata.data_key(keys).map_err(document)?;
    // On a copy: what fails half-way leaves nothing half open.
    let mut opened = object.clone();
    if let Some(map) = opened.as_object_mut() {
        map.remove(METADATA);
    }
    let mut opening = Opening { metadata: &metadata, key: &key, name: &name, pointers: Vec::new() };
    opening.walk(&mut opened, &Vec::new(), "")?;
    let pointers = opening.pointers;
    *object = opened;
    Ok(pointers)
}

/// Opens all manifests of a target state, encrypted and sealed ones. Answers, for each, the JSON pointers of what was opened (the
/// empty pointer: all of it).
pub fn reveal(manifests: &mut [Value], keys: &Keys) -> Result<Vec<Vec<String>>, SopsError> {
    manifests
        .iter_mut()
        .map(|manifest| {
            if sealed::is_sealed(manifest) {
                *manifest = sealed::open(manifest, keys)?;
                return Ok(vec![String::new()]);
            }
            decrypt_value(manifest, keys)
        })
        .collect()
}

/// Kind and name, when they are not encrypted themselves.
fn name(object: &Value) -> String {
    let text =
        |value: &Value| value.as_str().filter(|text| !cipher::is_encrypted(text)).unwrap_or("(encrypted)").to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

struct Opening<'a> {
    metadata: &'a Metadata,
    key: &'a DataKey,
    name: &'a str,
    pointers: Vec<String>,
}

impl Opening<'_> {
    fn walk(&mut self, value: &mut Value, path: &Path<'_>, pointer: &str) -> Result<(), SopsError> {
        match value {
            Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    let mut path = path.clone();
                    path.push(key);
                    let part = key.replace('~', "~0").replace('/', "~1");
                    self.walk(value, &path, &format!("{pointer}/{part}"))?;
                }
                Ok(())
            }
            Value::Array(items) => {
                let mut kept = Vec::with_capacity(items.len());
                for mut item in std::mem::take(items) {
                    // SOPS keeps the comments of a list as encrypted items of it.
                    if item.as_str().is_some_and(cipher::is_comment) {
                        continue;
                    }
                    self.walk(&mut item, path, &format!("{pointer}/{}", kept.len()))?;
                    kept.push(item);
                }
                *items = kept;
                Ok(())
            }
            Value::String(text) => {
                // A tool may have added what is not encrypted (labels): that is as good as it was in git.
                let looks = cipher::is_encrypted(text);
                if !looks || !self.metadata.covers(path, looks) {
                    return Ok(());
                }
                let opened = cipher::open(self.key, text, &cipher::authenticated(path)).map_err(|problem| {
                    let (file, path) = (self.name.to_owned(), path.join("."));
                    SopsError::Value { file, path, problem: problem.to_owned() }
                })?;
                *value = opened.into_value();
                self.pointers.push(pointer.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

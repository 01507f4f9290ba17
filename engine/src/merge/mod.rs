//! The merge patches of Kubernetes: strategic for built-in kinds, JSON (RFC 7396) for all others, both two-way and
//! three-way (last applied, wanted, live). Pure.
use serde_json::{Map, Value};

pub(crate) mod json;
pub(crate) mod strategic;

pub(crate) type Object = Map<String, Value>;

pub(crate) fn object(value: &Value) -> Result<&Object, String> {
    value.as_object().ok_or_else(|| "a Kubernetes object must be a map".to_owned())
}

#[cfg(test)]
mod laws;

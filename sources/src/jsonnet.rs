//! Placeholder.
use serde_json::Value;

use crate::request::{RenderError, Request};

pub(crate) fn render(_request: &Request, file: &str) -> Result<Vec<Value>, RenderError> {
    Err(RenderError::Spec(format!(
        "{file}: Jsonnet is not rendered yet; exclude it with spec.source.directory.exclude"
    )))
}

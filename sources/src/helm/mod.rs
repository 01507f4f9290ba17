//! Placeholder.
use crate::render::Made;
use crate::request::{RenderError, Request};

pub(crate) fn render(_request: &Request) -> Result<Made, RenderError> {
    Err(RenderError::Spec("helm sources are not rendered yet; use a directory of plain manifests".to_owned()))
}

//! Placeholder.
use crate::render::Made;
use crate::request::{RenderError, Request};

/// A plugin that takes a source.
pub(crate) struct Found;

pub(crate) fn discover(_request: &Request) -> Result<Option<Found>, RenderError> {
    Ok(None)
}

pub(crate) fn render(_request: &Request, _found: Option<Found>) -> Result<Made, RenderError> {
    Err(RenderError::Spec("plugin sources are not rendered yet; use a directory of plain manifests".to_owned()))
}

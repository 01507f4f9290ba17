//! Placeholder.
use crate::render::Made;
use crate::request::{RenderError, Request};

pub(crate) fn render(_request: &Request) -> Result<Made, RenderError> {
    Err(RenderError::Spec("kustomize sources are not rendered yet; use a directory of plain manifests".to_owned()))
}

/// The kustomization file of a directory.
pub(crate) fn file_of(tree: &crate::tree::Tree, path: &str) -> Result<Option<String>, RenderError> {
    for name in ["kustomization.yaml", "kustomization.yml", "Kustomization"] {
        let file = crate::tree::join(path, name);
        if tree.is_file(&file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

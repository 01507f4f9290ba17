//! OCI artifacts as sources: `repoURL: oci://…` with one layer of files (Argo CD, user guide, "OCI"). All of it blocks. Knows nothing of
//! Applications and of what is in the files.
pub(crate) mod registry;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::{Arc, PoisonError};

use tako_engine::repository::Repository;
use tako_engine::trust::Trust;
use tako_engine::versions;

use self::registry::{CHART_CONFIG, CHART_LAYER, Descriptor, Manifest, Registry, is_digest};
use crate::charts::{Limits, Store, Top, name_of};
use crate::git::redact;
use crate::request::RenderError;
use crate::settings::RenderSettings;
use crate::tree::Tree;

/// The artifacts of all registries. Cheap to clone.
#[derive(Clone)]
pub struct Artifacts {
    store: Arc<Store>,
    trust: Arc<Trust>,
}

impl std::fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Artifacts")
    }
}

impl Artifacts {
    /// Opens the cache below `root`, with what earlier runs left there.
    pub fn open(root: &Path) -> Result<Self, RenderError> {
        Self::with_trust(root, Arc::default())
    }

    /// The same, trusting what an installation trusts.
    pub fn with_trust(root: &Path, trust: Arc<Trust>) -> Result<Self, RenderError> {
        Ok(Self { store: Arc::new(Store::open(root)?), trust })
    }

    /// The digest that a revision stands for: a digest for itself, a constraint for the highest tag that satisfies it, a tag for what
    /// the registry says.
    pub fn resolve(&self, repository: &Repository, revision: &str) -> Result<String, RenderError> {
        if is_digest(revision) {
            return Ok(revision.to_owned());
        }
        let registry = self.registry(repository)?;
        let revision = if revision.is_empty() { "latest" } else { revision };
        if versions::is_constraint(revision) {
            let tags = registry.tags()?;
            // A tag has no `+` (Helm writes `_`): compared as versions, asked for as tags.
            let written: Vec<String> = tags.iter().map(|tag| tag.replace('_', "+")).collect();
            let highest = versions::highest(&written, revision);
            let tag = highest.and_then(|found| written.iter().position(|tag| *tag == found)).map(|at| tags[at].clone());
            let none = || {
                RenderError::Spec(format!(
                    "no tag of {} satisfies {revision}; correct targetRevision",
                    redact(&repository.url)
                ))
            };
            return registry.digest(&tag.ok_or_else(none)?);
        }
        registry.digest(&revision.replace('+', "_"))
    }

    /// All tags.
    pub fn tags(&self, repository: &Repository) -> Result<Vec<String>, RenderError> {
        self.registry(repository)?.tags()
    }

    /// The files of an artifact. Fetched when they are not here.
    pub fn fetch(&self, repository: &Repository, digest: &str, settings: &RenderSettings) -> Result<Tree, RenderError> {
        let bad = |reason: String| RenderError::Spec(format!("{}@{digest}: {reason}", redact(&repository.url)));
        // The same digest may be another layer under other settings.
        let name = name_of(repository, &["artifact", digest, &settings.artifact_media_types.join(",")]);
        let turn = self.store.turn(&name);
        let _one_at_a_time = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.store.known(&name).and_then(|known| {
            let (top, layer) = known.split_once(' ').map(|(top, layer)| (top == "chart", layer.to_owned()))?;
            self.store.archive(&layer).map(|_| (top, layer))
        });
        let (is_chart, layer) = match known {
            Some(known) => known,
            None => {
                let registry = self.registry(repository)?;
                let manifest = registry.manifest(digest)?;
                let layer = layer_of(&manifest, &settings.artifact_media_types).map_err(bad)?;
                let limits = Limits { bytes: settings.artifact_bytes_max, time: settings.exec_timeout };
                let mut file = self.store.temporary()?;
                let found = registry.blob(layer, &mut file, limits)?;
                self.store.keep(file, &found)?;
                let is_chart = layer.media_type == CHART_LAYER;
                self.store.name(&name, &format!("{} {found}", if is_chart { "chart" } else { "files" }))?;
                (is_chart, found)
            }
        };
        let top = if is_chart { Top::Strip } else { Top::Keep };
        self.store.tree(&layer, top, settings.artifact_bytes_max)?.map_err(bad).map(|tree| tree.untouched())
    }

    fn registry(&self, repository: &Repository) -> Result<Registry, RenderError> {
        Registry::open(repository, "", &self.trust)
    }
}

/// The one layer of an artifact; of a Helm chart the one with the chart (another may be its signature).
fn layer_of<'a>(manifest: &'a Manifest, allowed: &[String]) -> Result<&'a Descriptor, String> {
    let layers: Vec<&Descriptor> = if manifest.config.media_type == CHART_CONFIG {
        manifest.layers.iter().filter(|layer| layer.media_type == CHART_LAYER).collect()
    } else {
        manifest.layers.iter().collect()
    };
    let [layer] = layers[..] else {
        return Err(format!("an artifact with exactly one layer is wanted, and it has {}", layers.len()));
    };
    if allowed.contains(&layer.media_type) {
        return Ok(layer);
    }
    Err(format!(
        "layers of media type {} are not taken; add it to reposerver.oci.layer.media.types, or pack the artifact as one of {}",
        layer.media_type,
        allowed.join(", ")
    ))
}

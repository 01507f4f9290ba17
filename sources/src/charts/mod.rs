//! Charts from Helm repositories and registries: which versions there are, and the chart of a version as a tree. Everything that was
//! fetched is kept by its digest. All of it blocks. Knows nothing of Applications and of how charts are rendered.
mod archive;
mod index;
mod store;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use serde::{Deserialize, Serialize};
use tako_engine::repository::{Repository, RepositoryType};
use tako_engine::trust::Trust;
use tako_engine::versions;

pub(crate) use self::archive::Top;
use self::index::Index;
pub(crate) use self::store::{Store, name_of};
pub(crate) use self::transport::{Limits, Transport, parse};
use crate::git::redact;
use crate::oci::registry::{CHART_LAYER, Registry};
use crate::request::RenderError;
use crate::settings::RenderSettings;
use crate::tree::Tree;

/// An index may be this long, in bytes.
const INDEX: Limits = Limits { bytes: 256 * 1024 * 1024, time: crate::process::TIME };

/// The charts of all repositories. Cheap to clone.
#[derive(Clone)]
pub struct Charts {
    shared: Arc<Shared>,
    everywhere: bool,
}

struct Shared {
    store: Store,
    trust: Arc<Trust>,
    indexes: Mutex<HashMap<String, Arc<Indexed>>>,
}

/// An index with what tells whether it is still the same.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Indexed {
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    modified: Option<String>,
    /// SHA-256 of its text: the same text is not read twice.
    digest: String,
    index: Index,
}

impl std::fmt::Debug for Charts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Charts")
    }
}

impl Charts {
    /// Opens the cache below `root`, with what earlier runs left there.
    pub fn open(root: &Path) -> Result<Self, RenderError> {
        Self::with_trust(root, Arc::default())
    }

    /// The same, trusting what an installation trusts.
    pub fn with_trust(root: &Path, trust: Arc<Trust>) -> Result<Self, RenderError> {
        let shared = Shared { store: Store::open(root)?, trust, indexes: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), everywhere: false })
    }

    /// With `everywhere`, credentials of a repository go to other hosts too, where its index leads there
    /// (`spec.source.helm.passCredentials`).
    #[must_use]
    pub fn passing_credentials(&self, everywhere: bool) -> Self {
        Self { shared: self.shared.clone(), everywhere }
    }

    /// The version that a constraint stands for: the highest that satisfies it. A version stands for itself, and nobody is asked.
    pub fn resolve(&self, repository: &Repository, chart: &str, constraint: &str) -> Result<String, RenderError> {
        if versions::is_version(constraint) {
            return Ok(constraint.to_owned());
        }
        let constraint = if constraint.is_empty() { "*" } else { constraint };
        versions::highest(&self.versions(repository, chart)?, constraint).ok_or_else(|| {
            RenderError::Spec(format!(
                "chart {chart}: no version in {} satisfies {constraint}; correct targetRevision",
                redact(&repository.url)
            ))
        })
    }

    /// All versions of a chart, in the order of the repository.
    pub fn versions(&self, repository: &Repository, chart: &str) -> Result<Vec<String>, RenderError> {
        if is_registry(repository) {
            let tags = self.registry(repository, chart)?.tags()?;
            // A tag has no `+` (Helm writes `_`).
            return Ok(tags.into_iter().map(|tag| tag.replace('_', "+")).collect());
        }
        let indexed = self.index(repository)?;
        let releases = indexed.index.charts.get(chart).ok_or_else(|| absent(repository, chart))?;
        Ok(releases.iter().map(|release| release.version.clone()).collect())
    }

    /// All charts of a repository with their versions; a registry does not tell.
    pub fn list(&self, repository: &Repository) -> Result<BTreeMap<String, Vec<String>>, RenderError> {
        let indexed = self.index(repository)?;
        let versions =
            indexed.index.charts.iter().map(|(name, releases)| {
                (name.clone(), releases.iter().map(|release| release.version.clone()).collect())
            });
        Ok(versions.collect())
    }

    /// The chart of a version; `Chart.yaml` is at the root of the tree. Fetched when it is not here.
    pub fn fetch(
        &self,
        repository: &Repository,
        chart: &str,
        version: &str,
        settings: &RenderSettings,
    ) -> Result<Tree, RenderError> {
        let digest = self.download(repository, chart, version, settings)?;
        let bad = |reason: String| {
            RenderError::Spec(format!("chart {chart} {version} of {}: {reason}", redact(&repository.url)))
        };
        let tree = self.shared.store.tree(&digest, Top::Strip, settings.chart_bytes_max)?.map_err(bad)?;
        if tree.is_file("Chart.yaml")? {
            Ok(tree.untouched())
        } else {
            Err(bad("Chart.yaml is missing from the archive".to_owned()))
        }
    }

    /// The archive of a chart, looked through as if it were unpacked.
    pub(crate) fn archive(
        &self,
        repository: &Repository,
        chart: &str,
        version: &str,
        settings: &RenderSettings,
    ) -> Result<PathBuf, RenderError> {
        self.fetch(repository, chart, version, settings)?;
        let digest = self.download(repository, chart, version, settings)?;
        self.shared.store.archive(&digest).ok_or_else(|| absent(repository, chart))
    }

    /// The digest of the archive, which is in the store then.
    fn download(
        &self,
        repository: &Repository,
        chart: &str,
        version: &str,
        settings: &RenderSettings,
    ) -> Result<String, RenderError> {
        let store = &self.shared.store;
        let name = name_of(repository, &["chart", chart, version]);
        let turn = store.turn(&name);
        let _one_at_a_time = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = store.known(&name).filter(|digest| store.archive(digest).is_some()) {
            return Ok(digest);
        }
        let limits = Limits { bytes: settings.chart_bytes_max, time: settings.exec_timeout };
        let digest = if is_registry(repository) {
            self.pull(repository, chart, version, limits)?
        } else {
            self.get(repository, chart, version, limits)?
        };
        store.name(&name, &digest)?;
        Ok(digest)
    }

    fn pull(&self, repository: &Repository, chart: &str, version: &str, limits: Limits) -> Result<String, RenderError> {
        let registry = self.registry(repository, chart)?;
        let manifest = registry.manifest(&version.replace('+', "_"))?;
        let layer = manifest.layers.iter().find(|layer| layer.media_type == CHART_LAYER).ok_or_else(|| {
            RenderError::Spec(format!("{chart}:{version} of {} is no Helm chart", redact(&repository.url)))
        })?;
        let mut file = self.shared.store.temporary()?;
        let digest = registry.blob(layer, &mut file, limits)?;
        self.shared.store.keep(file, &digest)?;
        Ok(digest)
    }

    fn get(&self, repository: &Repository, chart: &str, version: &str, limits: Limits) -> Result<String, RenderError> {
        let indexed = self.index(repository)?;
        let missing = || {
            RenderError::Spec(format!(
                "chart {chart} has no version {version} in {}; correct targetRevision",
                redact(&repository.url)
            ))
        };
        let releases = indexed.index.charts.contains_key(chart);
        let release = indexed.index.release(chart, version);
        let release = release.ok_or_else(|| if releases { missing() } else { absent(repository, chart) })?;
        let base = parse(&repository.url)?;
        let transport = Transport::new(repository, &base, &self.shared.trust, self.everywhere)?;
        let said = release.urls.first().ok_or_else(|| {
            RenderError::Spec(format!("chart {chart} {version} of {} has no URL", redact(&repository.url)))
        })?;
        if said.starts_with("oci://") {
            return self.pull_linked(repository, said, version, limits);
        }
        let url = parse(&beside(&base, said).unwrap_or_else(|| said.clone()))?;
        let what = plain(&url);
        let mut file = self.shared.store.temporary()?;
        let answer = transport.send(&what, transport.get(&url), limits)?;
        let digest = transport.copy(&what, answer, &mut file, limits)?;
        if release.digest.len() == 64 && release.digest != digest {
            return Err(transport.refused(&what, "the archive is not the one whose digest the index names"));
        }
        self.shared.store.keep(file, &digest)?;
        Ok(digest)
    }

    /// An index may lead to a registry.
    fn pull_linked(
        &self,
        repository: &Repository,
        url: &str,
        version: &str,
        limits: Limits,
    ) -> Result<String, RenderError> {
        let (place, tag) = match url.rsplit_once(':') {
            Some((place, tag)) if !tag.contains('/') => (place, tag),
            _ => (url, version),
        };
        let bare = Repository { url: place.to_owned(), kind: RepositoryType::Oci, ..Repository::default() };
        let same_host = || {
            let host = |url: &str| url.split_once("://").map(|(_, rest)| rest.split('/').next().map(str::to_owned));
            host(url) == host(&repository.url)
        };
        let linked = if self.everywhere || same_host() {
            Repository { url: bare.url, kind: RepositoryType::Oci, ..repository.clone() }
        } else {
            bare
        };
        self.pull(&linked, "", tag, limits)
    }

    fn registry(&self, repository: &Repository, chart: &str) -> Result<Registry, RenderError> {
        Registry::open(repository, chart, &self.shared.trust)
    }

    /// The index, asked for anew; when nothing changed the answer is short and the one that is here is taken.
    fn index(&self, repository: &Repository) -> Result<Arc<Indexed>, RenderError> {
        if is_registry(repository) {
            return Err(RenderError::Spec(format!("{} is a registry, which has no index", redact(&repository.url))));
        }
        let name = format!("index-{}", name_of(repository, &[]));
        let turn = self.shared.store.turn(&name);
        let _one_at_a_time = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.last(&name);
        let base = parse(&repository.url)?;
        let url = parse(&beside(&base, "index.yaml").unwrap_or_default())?;
        let what = plain(&url);
        let transport = Transport::new(repository, &base, &self.shared.trust, false)?;
        let mut request = transport.get(&url);
        if let Some(last) = &last {
            for (header, value) in [(IF_NONE_MATCH, &last.etag), (IF_MODIFIED_SINCE, &last.modified)] {
                if let Some(value) = value {
                    request = request.header(header, value);
                }
            }
        }
        let answer = transport.send(&what, request, INDEX)?;
        if answer.status() == StatusCode::NOT_MODIFIED
            && let Some(last) = last
        {
            return Ok(last);
        }
        let headers = answer.headers().clone();
        let mut file = self.shared.store.temporary()?;
        let digest = transport.copy(&what, answer, &mut file, INDEX)?;
        let (etag, modified) = (header(&headers, &ETAG), header(&headers, &LAST_MODIFIED));
        if let Some(last) = last.filter(|last| last.digest == digest && last.etag == etag && last.modified == modified)
        {
            return Ok(last);
        }
        let opened = file.reopen().and_then(|mut file| file.rewind().map(|()| file));
        let opened = opened.map_err(|error| RenderError::Scratch { path: what.clone(), reason: error.to_string() })?;
        let index = Index::read(BufReader::with_capacity(256 * 1024, opened))
            .map_err(|reason| transport.refused(&what, &reason))?;
        let indexed = Arc::new(Indexed { etag, modified, digest, index });
        let store = &self.shared.store;
        store.write(&store.place(&name), &serde_json::to_vec(&*indexed).unwrap_or_default())?;
        self.remember(name, indexed.clone());
        Ok(indexed)
    }

    fn last(&self, name: &str) -> Option<Arc<Indexed>> {
        let known = self.shared.indexes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.or_else(|| {
            let text = std::fs::read(self.shared.store.place(name)).ok()?;
            let read: Arc<Indexed> = Arc::new(serde_json::from_slice(&text).ok()?);
            self.remember(name.to_owned(), read.clone());
            Some(read)
        })
    }

    fn remember(&self, name: String, indexed: Arc<Indexed>) {
        self.shared.indexes.lock().unwrap_or_else(PoisonError::into_inner).insert(name, indexed);
    }
}

/// It is a registry, not an HTTP repository with an index.
fn is_registry(repository: &Repository) -> bool {
    repository.enable_oci
        || repository.kind == RepositoryType::Oci
        || !repository.url.contains("://")
        || repository.url.starts_with("oci://")
}

fn absent(repository: &Repository, chart: &str) -> RenderError {
    RenderError::Spec(format!("there is no chart {chart} in {}; correct spec.source.chart", redact(&repository.url)))
}

/// A reference of an index, relative to the repository; the query of the repository's URL is kept (as Helm does).
fn beside(base: &url::Url, reference: &str) -> Option<String> {
    if reference.contains("://") {
        return Some(reference.to_owned());
    }
    let mut directory = base.clone();
    if !directory.path().ends_with('/') {
        directory.set_path(&format!("{}/", base.path()));
    }
    let mut found = directory.join(reference).ok()?;
    found.set_query(base.query());
    Some(found.into())
}

/// A URL for people: no credentials, no query.
fn plain(url: &url::Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.into()
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A file of values from the web, within limits.
pub(crate) fn file(repository: &Repository, url: &str, trust: &Trust, time: Duration) -> Result<Vec<u8>, RenderError> {
    let limits = Limits { bytes: crate::tree::FILE_BYTES_MAX, time };
    let url = parse(url)?;
    let transport = Transport::new(repository, &url, trust, false)?;
    let what = plain(&url);
    let answer = transport.send(&what, transport.get(&url), limits)?;
    transport.body(&what, answer, limits)
}

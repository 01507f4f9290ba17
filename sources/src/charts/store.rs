//! What was fetched, by digest: archives and the trees unpacked from them, and the names that lead to them. A name is told apart by
//! the credentials too, so that nobody gets what he could not fetch. Knows nothing of HTTP.
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tako_engine::repository::Repository;

use super::archive::{self, Top};
use crate::request::RenderError;
use crate::tree::Tree;

/// The directory.
pub(crate) struct Store {
    root: PathBuf,
    busy: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl Store {
    /// Opens it, made when it is not there.
    pub(crate) fn open(root: &Path) -> Result<Self, RenderError> {
        for name in ["archives", "trees", "names", "tmp"] {
            fs::create_dir_all(root.join(name)).map_err(|error| scratch(root, &error))?;
        }
        Ok(Self { root: root.to_owned(), busy: Mutex::default() })
    }

    /// One fetch of a name at a time: who comes second finds it there.
    pub(crate) fn turn(&self, name: &str) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        busy.entry(name.to_owned()).or_default().clone()
    }

    /// What a name leads to.
    pub(crate) fn known(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join("names").join(name)).ok().filter(|text| !text.is_empty())
    }

    /// A name leads there from now on.
    pub(crate) fn name(&self, name: &str, to: &str) -> Result<(), RenderError> {
        self.write(&self.root.join("names").join(name), to.as_bytes())
    }

    /// A file of ours, whole or not at all.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RenderError> {
        let mut file = self.temporary()?;
        std::io::Write::write_all(&mut file, bytes).map_err(|error| scratch(path, &error))?;
        file.persist(path).map(|_| ()).map_err(|error| scratch(path, &error.error))
    }

    /// A file for a download.
    pub(crate) fn temporary(&self) -> Result<tempfile::NamedTempFile, RenderError> {
        tempfile::NamedTempFile::new_in(self.root.join("tmp")).map_err(|error| scratch(&self.root, &error))
    }

    /// The archive of a digest, when it is here.
    pub(crate) fn archive(&self, digest: &str) -> Option<PathBuf> {
        let path = self.root.join("archives").join(digest);
        path.is_file().then_some(path)
    }

    /// Keeps a download under its digest (hex).
    pub(crate) fn keep(&self, file: tempfile::NamedTempFile, digest: &str) -> Result<(), RenderError> {
        let path = self.root.join("archives").join(digest);
        file.persist(&path).map(|_| ()).map_err(|error| scratch(&path, &error.error))
    }

    /// The tree of an archive that is here, unpacked when it is not yet. The error says what is wrong with the archive.
    pub(crate) fn tree(&self, digest: &str, top: Top, most: u64) -> Result<Result<Tree, String>, RenderError> {
        let kind = if top == Top::Strip { "chart" } else { "files" };
        let path = self.root.join("trees").join(format!("{kind}-{digest}"));
        if !path.is_dir() {
            let fresh = tempfile::Builder::new()
                .prefix("tree-")
                .tempdir_in(self.root.join("tmp"))
                .map_err(|error| scratch(&self.root, &error))?;
            let inside = fresh.path().join("tree");
            fs::create_dir(&inside).map_err(|error| scratch(&inside, &error))?;
            if let Err(reason) = archive::unpack(&self.root.join("archives").join(digest), &inside, top, most) {
                return Ok(Err(reason));
            }
            // Another process may have been quicker: its tree is the same.
            if let Err(error) = fs::rename(&inside, &path)
                && !path.is_dir()
            {
                return Err(scratch(&path, &error));
            }
        }
        Ok(Ok(Tree::of_directory(path)))
    }

    /// A place for what is not an archive.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }
}

/// A name for parts, for this repository with these credentials.
pub(crate) fn name_of(repository: &Repository, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    part(repository.url.trim_end_matches('/'));
    part(&repository.username);
    part(&repository.tls_client_cert_data);
    for secret in repository.secrets() {
        part(secret);
    }
    part("");
    for text in parts {
        part(text);
    }
    hex::encode(hash.finalize())
}

fn scratch(path: &Path, error: &std::io::Error) -> RenderError {
    RenderError::Scratch { path: path.display().to_string(), reason: error.to_string() }
}

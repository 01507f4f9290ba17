//! One commit in the cache of its repository: its tree, entry by entry, from the object database. No checkout, so renders of
//! different commits need no lock.
use std::sync::Arc;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::{GitError, Repository, tree_of};
use crate::tree::{Entry, Kind};

/// A commit that is in the cache.
#[derive(Clone)]
pub struct Commit {
    repository: Arc<Repository>,
    id: String,
    tree: ObjectId,
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}

impl Commit {
    /// The commit of this id, fetched when it is not here.
    pub fn open(repository: &Arc<Repository>, id: &str) -> Result<Self, GitError> {
        if !repository.has(id) {
            repository.fetch()?;
        }
        let tree = tree_of(&repository.local(), id).map_err(|_| repository.no_revision(id))?;
        Ok(Self { repository: repository.clone(), id: id.to_owned(), tree })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its repository.
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// The id of its tree.
    pub(crate) fn tree_id(&self) -> String {
        self.tree.to_hex().to_string()
    }

    fn object(&self, id: &str) -> Result<ObjectId, GitError> {
        ObjectId::from_hex(id.as_bytes()).map_err(|error| self.repository.broken(error.to_string()))
    }

    /// One entry of a tree.
    pub(crate) fn entry(&self, tree: &str, name: &str) -> Result<Option<Entry>, GitError> {
        let broken = |error: String| self.repository.broken(error);
        let repo = self.repository.local();
        let tree = repo.find_tree(self.object(tree)?).map_err(|error| broken(error.to_string()))?;
        Ok(tree
            .decode()
            .map_err(|error| broken(error.to_string()))?
            .entries
            .iter()
            .find(|entry| entry.filename == name.as_bytes())
            .map(|entry| as_entry(name.to_owned(), entry.mode, entry.oid)))
    }

    /// All entries of a tree, by name.
    pub(crate) fn entries(&self, tree: &str) -> Result<Vec<Entry>, GitError> {
        let broken = |error: String| self.repository.broken(error);
        let repo = self.repository.local();
        let tree = repo.find_tree(self.object(tree)?).map_err(|error| broken(error.to_string()))?;
        let decoded = tree.decode().map_err(|error| broken(error.to_string()))?;
        let mut entries: Vec<Entry> = decoded
            .entries
            .iter()
            .map(|entry| as_entry(entry.filename.to_str_lossy().into_owned(), entry.mode, entry.oid))
            .collect();
        // Git orders directories as if their names ended in a slash.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Bytes of a blob.
    pub(crate) fn size(&self, blob: &str) -> Result<u64, GitError> {
        let repo = self.repository.local();
        let header = repo.find_header(self.object(blob)?).map_err(|error| self.repository.broken(error.to_string()))?;
        Ok(header.size())
    }

    /// A blob.
    pub(crate) fn blob(&self, blob: &str) -> Result<Vec<u8>, GitError> {
        let repo = self.repository.local();
        let found = repo.find_object(self.object(blob)?).map_err(|error| self.repository.broken(error.to_string()))?;
        Ok(found.detach().data)
    }
}

fn as_entry(name: String, mode: gix::objs::tree::EntryMode, id: &gix::oid) -> Entry {
    let kind = if mode.is_tree() {
        Kind::Directory
    } else if mode.is_link() {
        Kind::Link
    } else if mode.is_commit() {
        Kind::Submodule
    } else {
        Kind::File { executable: mode.is_executable() }
    };
    Entry { name, kind, id: id.to_hex().to_string() }
}

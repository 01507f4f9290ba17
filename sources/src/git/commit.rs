//! One commit in the cache of its repository: its tree, entry by entry, from the object database. No checkout, so renders of
//! different commits need no lock.
use std::borrow::Cow;
use std::sync::Arc;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::GitError;
use super::lfs::{self, POINTER_BYTES_MAX, Pointer};
use super::repository::{Repository, tree_of};
use super::submodules::{Module, Submodules};
use crate::tree::{Entry, Kind};

/// A commit that is in the cache.
#[derive(Clone)]
pub struct Commit {
    repository: Arc<Repository>,
    id: String,
    tree: ObjectId,
    modules: Arc<Vec<Module>>,
    lfs: bool,
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}

impl Commit {
    /// The commit of this id, fetched when it is not here. Its submodules stay empty.
    pub fn open(repository: &Arc<Repository>, id: &str) -> Result<Self, GitError> {
        repository.ensure(id)?;
        let tree = repository.read(|repo| tree_of(repo, id)).map_err(|_| repository.no_revision(id))?;
        let lfs = repository.access().settings.enable_lfs;
        Ok(Self { repository: repository.clone(), id: id.to_owned(), tree, modules: Arc::default(), lfs })
    }

    /// As [`Self::open`], with what is in its submodules.
    pub fn open_with(repository: &Arc<Repository>, id: &str, submodules: Submodules<'_>) -> Result<Self, GitError> {
        let mut commit = Self::open(repository, id)?;
        let modules = submodules.of(&commit)?;
        commit.set_modules(modules);
        Ok(commit)
    }

    pub(super) fn set_modules(&mut self, modules: Vec<Module>) {
        self.modules = Arc::new(modules);
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

    /// The commit that a submodule at a path should have.
    pub(super) fn link_at(&self, path: &str) -> Result<Option<ObjectId>, GitError> {
        self.repository.read(|repo| {
            let tree = repo.find_tree(self.tree).map_err(|error| self.repository.broken(error.to_string()))?;
            let entry = tree.lookup_entry_by_path(path).map_err(|error| self.repository.broken(error.to_string()))?;
            Ok(entry.filter(|entry| entry.mode().is_commit()).map(|entry| entry.object_id()))
        })
    }

    /// Who knows an object: this commit, or one of its submodules for ids that begin with the submodule's commit.
    fn owner<'a>(&self, id: &'a str) -> Result<(Cow<'_, Self>, &'a str), GitError> {
        let Some((link, rest)) = id.split_once('/') else { return Ok((Cow::Borrowed(self), id)) };
        let module = self.modules.iter().find(|module| module.link.to_hex() == link);
        let module = module.ok_or_else(|| self.repository.broken(format!("{link} is no submodule")))?;
        let (owner, rest) = module.commit.owner(rest)?;
        Ok((Cow::Owned(owner.into_owned()), rest))
    }

    fn object(&self, id: &str) -> Result<ObjectId, GitError> {
        ObjectId::from_hex(id.as_bytes()).map_err(|error| self.repository.broken(error.to_string()))
    }

    /// The entries of a tree: all, or the one of a name.
    fn collect(&self, id: &str, name: Option<&[u8]>) -> Result<Vec<Entry>, GitError> {
        let (owner, tree) = self.owner(id)?;
        let prefix = &id[..id.len() - tree.len()];
        let broken = |error: String| owner.repository.broken(error);
        let tree = owner.object(tree)?;
        owner.repository.read(|repo| {
            let found = repo.find_object(tree).map_err(|error| broken(error.to_string()))?;
            let mut entries = Vec::new();
            for entry in gix::objs::TreeRefIter::from_bytes(&found.data, found.id.kind()) {
                let entry = entry.map_err(|error| broken(error.to_string()))?;
                if name.is_some_and(|name| entry.filename != name) {
                    continue;
                }
                let mut entry = owner.as_entry(entry.filename.to_str_lossy().into_owned(), entry.mode, entry.oid);
                entry.id.insert_str(0, prefix);
                entries.push(entry);
                if name.is_some() {
                    break;
                }
            }
            Ok(entries)
        })
    }

    fn as_entry(&self, name: String, mode: gix::objs::tree::EntryMode, id: &gix::oid) -> Entry {
        let hex = id.to_hex().to_string();
        if mode.is_commit() {
            return match self.modules.iter().find(|module| module.link == id) {
                Some(module) => Entry { name, kind: Kind::Directory, id: format!("{hex}/{}", module.commit.tree_id()) },
                None => Entry { name, kind: Kind::Submodule, id: hex },
            };
        }
        let kind = if mode.is_tree() {
            Kind::Directory
        } else if mode.is_link() {
            Kind::Link
        } else {
            Kind::File { executable: mode.is_executable() }
        };
        Entry { name, kind, id: hex }
    }

    /// One entry of a tree.
    pub(crate) fn entry(&self, tree: &str, name: &str) -> Result<Option<Entry>, GitError> {
        Ok(self.collect(tree, Some(name.as_bytes()))?.pop())
    }

    /// All entries of a tree, by name.
    pub(crate) fn entries(&self, tree: &str) -> Result<Vec<Entry>, GitError> {
        let mut entries = self.collect(tree, None)?;
        // Git orders directories as if their names ended in a slash.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Bytes of a blob, or of the file that it points to.
    pub(crate) fn size(&self, blob: &str) -> Result<u64, GitError> {
        let (owner, id) = self.owner(blob)?;
        let id = owner.object(id)?;
        let header = owner.repository.read(|repo| repo.find_header(id));
        let size = header.map_err(|error| owner.repository.broken(error.to_string()))?.size();
        if owner.lfs && size <= POINTER_BYTES_MAX {
            return Ok(Pointer::parse(&owner.raw(id)?).map_or(size, |pointer| pointer.size));
        }
        Ok(size)
    }

    /// A blob, or the file that it points to.
    pub(crate) fn blob(&self, blob: &str) -> Result<Vec<u8>, GitError> {
        let (owner, id) = self.owner(blob)?;
        let raw = owner.raw(owner.object(id)?)?;
        if owner.lfs
            && raw.len() as u64 <= POINTER_BYTES_MAX
            && let Some(pointer) = Pointer::parse(&raw)
        {
            return lfs::content(&owner.repository, &pointer);
        }
        Ok(raw)
    }

    pub(super) fn raw(&self, id: ObjectId) -> Result<Vec<u8>, GitError> {
        let found = self.repository.read(|repo| repo.find_object(id).map(|found| found.detach().data));
        found.map_err(|error| self.repository.broken(error.to_string()))
    }
}

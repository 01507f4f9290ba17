//! One repository in the cache: fetching into it, and reading from it.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::access::Access;
use super::cache::Shared;
use super::refs::{Refs, Resolved, is_commit_id, is_short_commit_id};
use super::remote::{Remote, Scheme};
use super::{GitError, http, native, redact};

/// Directories deeper than this are refused.
const DEPTH_MAX: usize = 64;
/// Handles that are kept open for the next read; opening one loses what it had cached.
const IDLE_MAX: usize = 8;
/// Bytes of objects that a handle keeps.
const OBJECT_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Packs that an open object database has room for. gix reserves for what is there when it is opened, and each fetch brings one.
const SLOTS: u16 = 512;
/// Of these, so many stay free.
const ROOM: usize = 32;
/// Where what was asked for by its full name or id is kept.
const PINS: &str = "refs/takobune";

/// One cached repository.
pub struct Repository {
    pub(super) remote: Remote,
    pub(super) directory: PathBuf,
    pub(super) shared: Arc<Shared>,
    access: RwLock<Arc<Access>>,
    objects: RwLock<Objects>,
    fetching: Mutex<Option<Refs>>,
    used: AtomicU64,
}

/// The object database, with open handles.
pub(super) struct Objects {
    opened: gix::ThreadSafeRepository,
    idle: Mutex<Vec<gix::Repository>>,
}

impl Repository {
    pub(super) fn open(
        remote: Remote,
        directory: PathBuf,
        shared: Arc<Shared>,
        access: Access,
    ) -> Result<Self, GitError> {
        Ok(Self {
            remote,
            objects: RwLock::new(Objects::open(&directory)?),
            directory,
            shared,
            access: RwLock::new(Arc::new(access)),
            fetching: Mutex::default(),
            used: AtomicU64::new(now()),
        })
    }

    /// The URL, without credentials.
    pub fn url(&self) -> String {
        self.remote.url()
    }

    pub(super) fn access(&self) -> Arc<Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_access(&self, access: Access) {
        let mut now = self.access.write().unwrap_or_else(PoisonError::into_inner);
        if **now != access {
            *now = Arc::new(access);
        }
    }

    /// Milliseconds since 1970 of the last use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn set_used(&self, millis: u64) {
        self.used.store(millis, Ordering::Relaxed);
    }

    pub(super) fn touch(&self) {
        self.used.store(now(), Ordering::Relaxed);
    }

    /// Fetches all branches and tags; answers where they point. One fetch a repository at a time. With a `depth`, branches are
    /// fetched so deep, and a tag when it is asked for.
    pub fn fetch(&self) -> Result<Refs, GitError> {
        if self.packs().len() + ROOM > usize::from(SLOTS) {
            self.pack()?;
        }
        let mut known = self.lock();
        self.touch();
        let depth = self.access().settings.depth;
        let mut refspecs = vec!["+refs/heads/*:refs/heads/*".to_owned(), format!("+HEAD:{PINS}/HEAD")];
        // Over SSH, only what is fetched is listed.
        if depth == 0 || self.remote.scheme == Scheme::Ssh {
            refspecs.push("+refs/tags/*:refs/tags/*".to_owned());
        }
        let before = known.take();
        let refs = self.receive(&refspecs, before.as_ref())?;
        if before.as_ref() != Some(&refs) {
            self.prune(&refs);
        }
        *known = Some(refs.clone());
        Ok(refs)
    }

    /// The commit that a `targetRevision` means, in the cache after this: `refs` as the last fetch answered, and what the server does not
    /// list among branches and tags (`refs/pull/1/head`, a commit's id) asked for by its name.
    pub fn resolve(&self, refs: &Refs, revision: &str, tag_prefix: &str) -> Result<Resolved, GitError> {
        let missing = || self.no_revision(revision);
        let resolved = match refs.resolve(revision, tag_prefix) {
            Some(resolved) => resolved,
            None if is_full_name(revision) && tag_prefix.is_empty() => {
                let commit = self.fetch_name(revision)?;
                Resolved { commit, name: Some(revision.to_owned()), tag: None }
            }
            None => return Err(missing()),
        };
        let commit = if is_short_commit_id(&resolved.commit) {
            self.read(|repo| {
                let object = repo.rev_parse_single(resolved.commit.as_str()).ok()?.object().ok()?;
                Some(object.peel_to_kind(gix::object::Kind::Commit).ok()?.id.to_hex().to_string())
            })
            .ok_or_else(missing)?
        } else {
            resolved.commit
        };
        self.ensure(&commit)?;
        Ok(Resolved { commit, ..resolved })
    }

    /// Makes sure that a commit is here.
    pub(super) fn ensure(&self, commit: &str) -> Result<(), GitError> {
        self.touch();
        if self.has(commit) {
            return Ok(());
        }
        if !is_commit_id(commit) {
            return Err(self.no_revision(commit));
        }
        // What a branch or tag holds comes with these; servers need not give what they do not list.
        let fetched = if self.access().settings.depth == 0 { self.fetch().map(|_| ()) } else { Ok(()) };
        if fetched.is_ok() && self.has(commit) {
            return Ok(());
        }
        fetched?;
        let _one_at_a_time = self.lock();
        let refspec = format!("{commit}:{PINS}/{commit}");
        let asked = self.receive(&[refspec], None);
        match asked {
            _ if self.has(commit) => Ok(()),
            Err(error @ GitError::Refused { .. }) => Err(error),
            _ => Err(self.no_revision(commit)),
        }
    }

    fn fetch_name(&self, name: &str) -> Result<String, GitError> {
        let _one_at_a_time = self.lock();
        let to = format!("{PINS}/{name}");
        self.receive(&[format!("+{name}:{to}")], None).map_err(|error| match error {
            GitError::Unreachable { reason, .. }
                if reason.contains("matched any") || reason.contains("couldn't find remote ref") =>
            {
                self.no_revision(name)
            }
            other => other,
        })?;
        let found =
            self.read(|repo| Some(repo.find_reference(to.as_str()).ok()?.peel_to_id().ok()?.to_hex().to_string()));
        found.ok_or_else(|| self.no_revision(name))
    }

    fn receive(&self, refspecs: &[String], known: Option<&Refs>) -> Result<Refs, GitError> {
        let access = self.access();
        let credentials = access.credentials(&self.remote, &self.shared.tokens)?;
        let failed = |reason: String| GitError::Unreachable {
            url: redact(&self.remote.url()),
            reason: access.discreet(&reason, &credentials, &self.remote),
        };
        let time = self.shared.settings.fetch_timeout;
        if self.remote.scheme == Scheme::Ssh {
            native::fetch(self, &access, refspecs, time).map_err(failed)?;
            return native::listed(&self.own_handle()).map_err(failed);
        }
        let wanted = http::Wanted { refspecs, depth: access.settings.depth, known };
        http::fetch(&self.own_handle(), &self.remote, &access, &credentials, wanted, time).map_err(failed)
    }

    /// Forgets the branches and tags that the server has no more, so that they hold no objects.
    fn prune(&self, refs: &Refs) {
        let repo = self.own_handle();
        let Ok(all) = repo.references() else { return };
        let mut gone = Vec::new();
        for prefix in ["refs/heads/", "refs/tags/"] {
            let Ok(found) = all.prefixed(prefix) else { continue };
            for reference in found.flatten() {
                let name = reference.name().as_bstr().to_str_lossy().into_owned();
                if !refs.by_name.contains_key(&name) {
                    gone.push(reference.name().to_owned());
                }
            }
        }
        let edits = gone.into_iter().map(|name| gix::refs::transaction::RefEdit {
            change: gix::refs::transaction::Change::Delete {
                expected: gix::refs::transaction::PreviousValue::Any,
                log: gix::refs::transaction::RefLog::AndReference,
            },
            name,
            deref: false,
        });
        // Only room is lost when it fails; the next fetch tries again.
        let _ = repo.edit_references(edits);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Refs>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The paths that differ between two commits; all paths of `to` when `from` is unknown here.
    pub fn changed_paths(&self, from: &str, to: &str) -> Result<Vec<String>, GitError> {
        self.ensure(to)?;
        self.read(|repo| {
            let old = tree_of(repo, from).ok();
            let new = tree_of(repo, to).map_err(|_| self.no_revision(to))?;
            let mut changed = Vec::new();
            compare_trees(repo, old, Some(new), "", &mut changed, 0).map_err(|reason| self.broken(reason))?;
            Ok(changed)
        })
    }

    /// Whether the commit is here already.
    pub fn has(&self, commit: &str) -> bool {
        let Ok(id) = ObjectId::from_hex(commit.as_bytes()) else { return false };
        self.read(|repo| repo.has_object(id))
    }

    /// Reads with a handle. No pack is deleted meanwhile, so that it must be quick: a fetch has a handle of its own.
    pub(super) fn read<T>(&self, act: impl FnOnce(&gix::Repository) -> T) -> T {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let idle = || objects.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let repo = taken.unwrap_or_else(|| {
            let mut repo = objects.opened.to_thread_local();
            repo.object_cache_size_if_unset(OBJECT_CACHE_BYTES);
            repo
        });
        let done = act(&repo);
        let mut idle = idle();
        if idle.len() < IDLE_MAX {
            idle.push(repo);
        }
        done
    }

    fn own_handle(&self) -> gix::Repository {
        self.objects.read().unwrap_or_else(PoisonError::into_inner).opened.to_thread_local()
    }

    /// Does what no reader may see, such as deleting packs, and opens the objects anew.
    pub(super) fn alone<T>(&self, act: impl FnOnce() -> T) -> Result<T, GitError> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let done = act();
        *objects = Objects::open(&self.directory)?;
        Ok(done)
    }

    pub(super) fn no_revision(&self, revision: &str) -> GitError {
        GitError::NoRevision { url: self.remote.url(), revision: revision.to_owned() }
    }

    pub(super) fn broken(&self, reason: String) -> GitError {
        GitError::Cache { path: self.directory.display().to_string(), reason }
    }
}

/// A reference by its full name, with nothing in it that a refspec gives a meaning to.
fn is_full_name(revision: &str) -> bool {
    revision.starts_with("refs/") && gix::validate::reference::name(revision.into()).is_ok()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Objects {
    fn open(directory: &Path) -> Result<Self, GitError> {
        // Isolated: no configuration of the system or the user may change where we fetch from or what runs.
        let options = gix::open::Options::isolated().object_store_slots(gix::odb::store::init::Slots::Given(SLOTS));
        let opened = gix::open_opts(directory, options)
            .map(gix::Repository::into_sync)
            .map_err(|error| GitError::Cache { path: directory.display().to_string(), reason: error.to_string() })?;
        Ok(Self { opened, idle: Mutex::default() })
    }
}

pub(super) fn tree_of(repo: &gix::Repository, commit: &str) -> Result<ObjectId, String> {
    let id = ObjectId::from_hex(commit.as_bytes()).map_err(|error| error.to_string())?;
    let commit = repo
        .find_object(id)
        .map_err(|error| error.to_string())?
        .peel_to_kind(gix::object::Kind::Tree)
        .map_err(|error| error.to_string())?;
    Ok(commit.id)
}

/// Walks two trees side by side, going only into what differs: the cost is that of the change, not of the repository.
fn compare_trees(
    repo: &gix::Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    prefix: &str,
    changed: &mut Vec<String>,
    depth: usize,
) -> Result<(), String> {
    if old == new || depth > DEPTH_MAX {
        return Ok(());
    }
    let read = |id: Option<ObjectId>| -> Result<HashMap<String, (bool, ObjectId)>, String> {
        let Some(id) = id else { return Ok(HashMap::new()) };
        let tree = repo.find_tree(id).map_err(|error| error.to_string())?;
        tree.iter()
            .map(|entry| {
                let entry = entry.map_err(|error| error.to_string())?;
                Ok((entry.filename().to_str_lossy().into_owned(), (entry.mode().is_tree(), entry.object_id())))
            })
            .collect()
    };
    let (old, new) = (read(old)?, read(new)?);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if before == after {
            continue;
        }
        let path = format!("{prefix}{name}");
        let tree = |side: Option<&(bool, ObjectId)>| side.filter(|(is_tree, _)| *is_tree).map(|(_, id)| *id);
        let (old_tree, new_tree) = (tree(before), tree(after));
        if before.is_some_and(|(is_tree, _)| !is_tree) || after.is_some_and(|(is_tree, _)| !is_tree) {
            changed.push(path.clone());
        }
        compare_trees(repo, old_tree, new_tree, &format!("{path}/"), changed, depth + 1)?;
    }
    Ok(())
}

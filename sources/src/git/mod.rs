//! Git through gix: one bare cache a repository, in a directory with a UUID for a name.
//!
//! All functions block: call them on the blocking pool. Knows nothing of Applications or of the bus.
mod commit;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::remote::Direction;

pub use self::commit::Commit;

/// The longest a fetch may take; the seconds of Argo CD's `ARGOCD_EXEC_TIMEOUT`.
const FETCH_TIMEOUT: Duration = Duration::from_secs(90);
/// Directories deeper than this are refused.
const DEPTH_MAX: usize = 64;
const URL_FILE: &str = "takobune-url";

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The repository could not be fetched.
    #[error("repository {url} cannot be read: {reason}; check the URL, the network and the credentials")]
    Unreachable {
        /// The URL without credentials.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// Nothing of that name exists.
    #[error("revision {revision} does not exist in {url}; push it or correct targetRevision")]
    NoRevision {
        /// The URL without credentials.
        url: String,
        /// As written in targetRevision.
        revision: String,
    },
    /// The cache on disk cannot be used.
    #[error("the git cache at {path} cannot be used: {reason}; check the disk and the rights of --data-dir")]
    Cache {
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// All repositories of one process. Cheap to clone.
#[derive(Clone)]
pub struct GitCache {
    root: PathBuf,
    repos: Arc<Mutex<HashMap<String, Arc<Repository>>>>,
}

/// One cached repository.
pub struct Repository {
    url: String,
    directory: PathBuf,
    opened: gix::ThreadSafeRepository,
    fetching: Mutex<()>,
}

/// The commits of a repository by the names that Applications use, after a fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// `refs/heads/main` → commit, `refs/tags/v1` → commit (peeled), `HEAD` → commit.
    pub by_name: HashMap<String, String>,
}

impl GitCache {
    /// Opens the cache below `root`, finding the repositories of earlier runs.
    pub fn open(root: &Path) -> Result<Self, GitError> {
        let cache = Self { root: root.to_owned(), repos: Arc::default() };
        let fail =
            |error: std::io::Error| GitError::Cache { path: root.display().to_string(), reason: error.to_string() };
        fs::create_dir_all(root).map_err(fail)?;
        for entry in fs::read_dir(root).map_err(fail)? {
            let directory = entry.map_err(fail)?.path();
            let Ok(url) = fs::read_to_string(directory.join(URL_FILE)) else { continue };
            match open_bare(&directory) {
                Ok(opened) => cache.remember(url, directory, opened),
                // A half-made cache is worth nothing: the repository is fetched anew.
                Err(_) => fs::remove_dir_all(&directory).map_err(fail)?,
            }
        }
        Ok(cache)
    }

    fn remember(&self, url: String, directory: PathBuf, opened: gix::ThreadSafeRepository) {
        let repo = Arc::new(Repository { url: url.clone(), directory, opened, fetching: Mutex::new(()) });
        self.lock().insert(url, repo);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Repository>>> {
        self.repos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache of `url`, made empty when there is none.
    pub fn repository(&self, url: &str) -> Result<Arc<Repository>, GitError> {
        let mut repos = self.lock();
        if let Some(found) = repos.get(url) {
            return Ok(found.clone());
        }
        let directory = self.root.join(uuid::Uuid::new_v4().to_string());
        let fail = |reason: String| GitError::Cache { path: directory.display().to_string(), reason };
        gix::init_bare(&directory).map_err(|error| fail(error.to_string()))?;
        fs::write(directory.join(URL_FILE), url).map_err(|error| fail(error.to_string()))?;
        let opened = open_bare(&directory)?;
        let repo = Arc::new(Repository { url: url.to_owned(), directory, opened, fetching: Mutex::new(()) });
        repos.insert(url.to_owned(), repo.clone());
        Ok(repo)
    }
}

fn open_bare(directory: &Path) -> Result<gix::ThreadSafeRepository, GitError> {
    // Isolated: no configuration of the system or the user may change where we fetch from or what runs.
    gix::open_opts(directory, gix::open::Options::isolated())
        .map(gix::Repository::into_sync)
        .map_err(|error| GitError::Cache { path: directory.display().to_string(), reason: error.to_string() })
}

impl Repository {
    /// Fetches all branches and tags; answers where they point. One fetch a repository at a time.
    pub fn fetch(&self) -> Result<Refs, GitError> {
        let _one_at_a_time = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = Arc::new(AtomicBool::new(false));
        let (done, watch) = std::sync::mpsc::channel::<()>();
        let flag = stop.clone();
        std::thread::spawn(move || {
            if watch.recv_timeout(FETCH_TIMEOUT).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let refs = self
            .fetch_within(&stop)
            .map_err(|reason| GitError::Unreachable { url: redact(&self.url), reason: redact(&reason) });
        drop(done);
        refs
    }

    fn fetch_within(&self, stop: &AtomicBool) -> Result<Refs, String> {
        let repo = self.opened.to_thread_local();
        let say = |error: &dyn std::error::Error| whole(error);
        let remote = repo
            .remote_at(self.url.as_str())
            .and_then(|remote| {
                remote.with_fetch_tags(gix::remote::fetch::Tags::None).with_refspecs(
                    ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+HEAD:refs/takobune/HEAD"],
                    Direction::Fetch,
                )
            })
            .map_err(|error| say(&error))?;
        let connection = remote.connect(Direction::Fetch).map_err(|error| say(&error))?.with_credentials(|_| Ok(None));
        let prepared = connection
            .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
            .map_err(|error| say(&error))?;
        let outcome = prepared.receive(gix::progress::Discard, stop).map_err(|error| say(&error))?;
        let mut refs = Refs::default();
        for remote_ref in &outcome.ref_map.remote_refs {
            let (name, target, peeled) = remote_ref.unpack();
            if let Some(commit) = peeled.or(target) {
                refs.by_name.insert(name.to_str_lossy().into_owned(), commit.to_hex().to_string());
            }
        }
        Ok(refs)
    }

    /// The paths that differ between two commits; all paths of `to` when `from` is unknown here.
    pub fn changed_paths(&self, from: &str, to: &str) -> Result<Vec<String>, GitError> {
        let repo = self.opened.to_thread_local();
        let old = tree_of(&repo, from).ok();
        let new = tree_of(&repo, to).map_err(|_| self.no_revision(to))?;
        let mut changed = Vec::new();
        compare_trees(&repo, old, Some(new), "", &mut changed, 0).map_err(|reason| self.broken(reason))?;
        Ok(changed)
    }

    /// Whether the commit is here already.
    pub fn has(&self, commit: &str) -> bool {
        ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| self.opened.to_thread_local().has_object(id))
    }

    fn local(&self) -> gix::Repository {
        self.opened.to_thread_local()
    }

    fn no_revision(&self, revision: &str) -> GitError {
        GitError::NoRevision { url: redact(&self.url), revision: revision.to_owned() }
    }

    fn broken(&self, reason: String) -> GitError {
        GitError::Cache { path: self.directory.display().to_string(), reason }
    }
}

impl Refs {
    /// The commit that a `targetRevision` names: empty and `HEAD` are the default branch, then branch, tag,
    /// full reference, and a full commit id stands for itself (Argo CD, user guide, "Tracking and deployment strategies").
    pub fn resolve(&self, revision: &str) -> Option<String> {
        let names = match revision {
            "" | "HEAD" => vec!["HEAD".to_owned()],
            name => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()],
        };
        let commit_id = (revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| revision.to_lowercase());
        names.iter().find_map(|name| self.by_name.get(name).cloned()).or(commit_id)
    }
}

/// An error with all its causes: the outermost of a transport says only that it failed.
fn whole(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause.filter(|_| words.len() < 8) {
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        cause = error.source();
    }
    words.join(": ")
}

fn tree_of(repo: &gix::Repository, commit: &str) -> Result<ObjectId, String> {
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

/// A text without the user and password of any URL in it.
pub fn redact(text: &str) -> String {
    text.split(' ')
        .map(|word| match (word.find("://"), word.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => format!("{}://***@{}", &word[..scheme], &word[at + 1..]),
            _ => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_reach_a_text() {
        assert_eq!(redact("GET https://bob:secret@example.org/x failed"), "GET https://***@example.org/x failed");
    }

    #[test]
    fn revisions_resolve_as_argo_cd_does() {
        let sha = "a".repeat(40);
        let refs = Refs {
            by_name: HashMap::from([
                ("HEAD".into(), "1".into()),
                ("refs/heads/main".into(), "1".into()),
                ("refs/tags/v1".into(), "2".into()),
            ]),
        };
        for (revision, want) in [
            ("", Some("1")),
            ("HEAD", Some("1")),
            ("main", Some("1")),
            ("v1", Some("2")),
            ("refs/tags/v1", Some("2")),
            (sha.as_str(), Some(sha.as_str())),
            ("gone", None),
        ] {
            assert_eq!(refs.resolve(revision).as_deref(), want, "{revision}");
        }
    }
}

//! The caches of all repositories, found again after a restart. Two projects with credentials of their own never share one: what one
//! may fetch, the other may not read.
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use tako_engine::repository::Repository as Settings;
use tako_engine::trust::Trust;

use super::GitError;
use super::access::Access;
use super::remote::Remote;
use super::repository::Repository;
use super::tokens::{Endpoints, Tokens};

/// In a cache, which repository it is of: its URL, and on a second line the project whose credentials filled it.
const URL_FILE: &str = "takobune-url";
/// Beside the caches: directories of programs that run.
const JAILS: &str = ".jails";

/// How caches are kept.
#[derive(Debug, Clone)]
pub struct GitSettings {
    /// All caches together may have so many bytes; past that, those go that were not used for the longest time.
    pub bytes_max: u64,
    /// `file://` URLs may be used. Not where others write the Applications: they would read the disk of the control plane.
    pub allow_file: bool,
    /// The longest a fetch may take; Argo CD's `ARGOCD_EXEC_TIMEOUT`.
    pub fetch_timeout: Duration,
    /// The program; absent: found in PATH.
    pub git: Option<PathBuf>,
    /// Where tokens are asked for.
    pub endpoints: Endpoints,
}

impl Default for GitSettings {
    fn default() -> Self {
        Self {
            bytes_max: 20 << 30,
            allow_file: false,
            fetch_timeout: crate::process::TIME,
            git: None,
            endpoints: Endpoints::default(),
        }
    }
}

/// What all repositories of a process share.
pub(super) struct Shared {
    pub(super) settings: GitSettings,
    pub(super) tokens: Tokens,
    root: PathBuf,
}

impl Shared {
    /// A directory for a program to run in, removed when it is dropped.
    pub(super) fn jail(&self) -> Result<tempfile::TempDir, String> {
        let jails = self.root.join(JAILS);
        fs::create_dir_all(&jails).map_err(|error| error.to_string())?;
        tempfile::tempdir_in(jails).map_err(|error| error.to_string())
    }
}

/// All repositories of one process. Cheap to clone.
#[derive(Clone)]
pub struct GitCache {
    pub(super) shared: Arc<Shared>,
    repos: Arc<Mutex<HashMap<Key, Arc<Repository>>>>,
}

/// Which repository, and with whose right it was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    url: String,
    project: String,
}

/// What [`GitCache::maintain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Caches whose packs were made one.
    pub repacked: usize,
    /// Caches that were removed.
    pub evicted: usize,
    /// Bytes of all that are left.
    pub bytes: u64,
}

impl GitCache {
    /// Opens the cache below `root`, finding the repositories of earlier runs.
    pub fn open(root: &Path) -> Result<Self, GitError> {
        Self::open_with(root, GitSettings::default())
    }

    /// As [`Self::open`], with settings.
    pub fn open_with(root: &Path, settings: GitSettings) -> Result<Self, GitError> {
        let fail =
            |error: std::io::Error| GitError::Cache { path: root.display().to_string(), reason: error.to_string() };
        fs::create_dir_all(root).map_err(fail)?;
        let root = root.canonicalize().map_err(fail)?;
        let jails = root.join(JAILS);
        if jails.exists() {
            // Of programs that were running when the process was killed; they may hold keys.
            fs::remove_dir_all(&jails).map_err(fail)?;
        }
        let tokens = Tokens::new(settings.endpoints.clone());
        let cache = Self { shared: Arc::new(Shared { settings, tokens, root: root.clone() }), repos: Arc::default() };
        for entry in fs::read_dir(&root).map_err(fail)? {
            let directory = entry.map_err(fail)?.path();
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if uuid::Uuid::parse_str(name).is_err() {
                continue;
            }
            if cache.find_again(&directory).is_none() {
                // A half-made cache is worth nothing: the repository is fetched anew.
                fs::remove_dir_all(&directory).map_err(fail)?;
            }
        }
        Ok(cache)
    }

    fn find_again(&self, directory: &Path) -> Option<()> {
        let text = fs::read_to_string(directory.join(URL_FILE)).ok()?;
        let (url, project) = text.split_once('\n')?;
        let remote = Remote::parse(url, self.shared.settings.allow_file).ok()?;
        let key = Key { url: remote.key(), project: project.to_owned() };
        let access = Access { settings: Settings::default(), trust: Trust::default() };
        let repo = Repository::open(remote, directory.to_owned(), self.shared.clone(), access).ok()?;
        repo.set_used(used_on_disk(directory));
        self.lock().insert(key, Arc::new(repo));
        Some(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Repository>>> {
        self.repos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache of a repository, made empty when there is none. It is that of the URL and of `repository.project`: what a project's
    /// own credentials fetched is for that project. From now on these credentials are used.
    pub fn repository(&self, repository: &Settings, trust: &Trust) -> Result<Arc<Repository>, GitError> {
        let remote = Remote::parse(&repository.url, self.shared.settings.allow_file)?;
        let key = Key { url: remote.key(), project: repository.project.clone() };
        let access = Access { settings: repository.clone(), trust: trust.clone() };
        let mut repos = self.lock();
        if let Some(found) = repos.get(&key) {
            found.set_access(access);
            found.touch();
            return Ok(found.clone());
        }
        let directory = self.shared.root.join(uuid::Uuid::new_v4().to_string());
        let fail = |reason: String| GitError::Cache { path: directory.display().to_string(), reason };
        gix::init_bare(&directory).map_err(|error| fail(error.to_string()))?;
        fs::write(directory.join(URL_FILE), format!("{}\n{}", remote.url(), key.project))
            .map_err(|error| fail(error.to_string()))?;
        let repo = Arc::new(Repository::open(remote, directory.clone(), self.shared.clone(), access)?);
        repos.insert(key, repo.clone());
        Ok(repo)
    }

    /// All repositories, those first that were not used for the longest time.
    pub(super) fn by_use(&self) -> Vec<(Key, Arc<Repository>)> {
        let mut all: Vec<_> = self.lock().iter().map(|(key, repo)| (key.clone(), repo.clone())).collect();
        all.sort_by_key(|(_, repo)| repo.used());
        all
    }

    /// Removes a cache that nobody holds but `ours`; whether it did.
    pub(super) fn evict(&self, key: &Key, ours: Arc<Repository>) -> Result<bool, GitError> {
        let mut repos = self.lock();
        // Ours and the map's. While the map is locked nobody gets another.
        if Arc::strong_count(&ours) > 2 {
            return Ok(false);
        }
        repos.remove(key);
        fs::remove_dir_all(&ours.directory).map_err(|error| ours.broken(error.to_string()))?;
        Ok(true)
    }
}

/// The last use that an earlier run noted.
fn used_on_disk(directory: &Path) -> u64 {
    let noted = fs::metadata(directory.join(URL_FILE)).and_then(|found| found.modified()).ok();
    let since = noted.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// Notes the last use for a later run.
pub(super) fn note_use(repo: &Repository) {
    let file = fs::File::options().write(true).open(repo.directory.join(URL_FILE));
    let time = UNIX_EPOCH + Duration::from_millis(repo.used());
    // Only the order of eviction after a restart depends on it.
    let _ = file.and_then(|file| file.set_modified(time));
}

//! Caches kept small: many packs made one, and caches that nobody used for long removed. Each fetch leaves a pack, and gix
//! makes none of them one.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::cache::{GitCache, Maintained, note_use};
use super::repository::Repository;
use super::{GitError, native};

/// More packs than these are made one.
const PACKS_MAX: usize = 32;
/// More loose objects than these in one of 256 directories, so about 100 times as many, are packed (git's `gc.auto`).
const LOOSE_SAMPLE_MAX: usize = 27;
/// Packing may take so long.
const TIME: Duration = Duration::from_secs(30 * 60);

impl GitCache {
    /// Makes packs one where they pile up, and removes the caches that were not used for the longest time while all together have
    /// more bytes than `bytes_max`. To be called now and then; fetches and reads go on meanwhile.
    pub fn maintain(&self) -> Result<Maintained, GitError> {
        let mut done = Maintained::default();
        let repos = self.by_use();
        let mut sizes = Vec::new();
        for (_, repo) in &repos {
            note_use(repo);
            if repo.wants_packing() && repo.pack()? {
                done.repacked += 1;
            }
            sizes.push(bytes(&repo.directory));
        }
        done.bytes = sizes.iter().sum();
        for ((key, repo), size) in repos.into_iter().zip(sizes) {
            if done.bytes > self.shared.settings.bytes_max && self.evict(&key, repo)? {
                done.bytes -= size;
                done.evicted += 1;
            }
        }
        Ok(done)
    }
}

impl Repository {
    fn wants_packing(&self) -> bool {
        let loose = fs::read_dir(self.directory.join("objects/17")).map_or(0, Iterator::count);
        self.packs().len() > PACKS_MAX || loose > LOOSE_SAMPLE_MAX
    }

    /// The names of the packs, without their endings.
    pub(super) fn packs(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.directory.join("objects/pack")) else { return BTreeSet::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".pack").map(str::to_owned)).collect()
    }

    /// Writes one pack of everything, then deletes the packs that were there before. What no branch holds any more is kept: an
    /// Application may be pinned to it. Whether it did.
    pub(super) fn pack(&self) -> Result<bool, GitError> {
        let old = self.packs();
        let Some(new) = native::pack_all(self, TIME).map_err(|reason| self.broken(reason))? else { return Ok(false) };
        // A fetch under way could be about to read one of them.
        let _no_fetch = self.lock();
        self.alone(|| {
            for name in old.iter().filter(|name| **name != new) {
                for ending in ["idx", "pack", "rev", "bitmap", "keep", "mtimes"] {
                    let path = self.directory.join("objects/pack").join(format!("{name}.{ending}"));
                    let _ = fs::remove_file(path);
                }
            }
        })?;
        // Loose objects are in the pack too. One at a time they may go under a reader's feet: it finds the other.
        native::prune_packed(self, TIME).map_err(|reason| self.broken(reason))?;
        Ok(true)
    }
}

/// Bytes on disk below a directory.
fn bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

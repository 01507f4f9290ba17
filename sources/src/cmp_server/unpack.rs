//! The archive of a call into a directory. Nothing of it is believed: a path or link that leads out, a bomb, and an entry that is neither
//! file, directory nor link are refused by name (research/pains.md S-13).
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::{Entry, EntryType};

use crate::tree::{Tree, TreeError, clean};

/// What an archive may hold. The client's own limits (crate::tree) are not wider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes when it is unpacked.
    pub(super) bytes: u64,
    /// Files, directories and links.
    pub(super) entries: usize,
    /// Directories in directories.
    pub(super) depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 30, entries: 200_000, depth: 64 }
    }
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the archive cannot be read: {0}")]
    Broken(io::Error),
    #[error("{path}: {reason}")]
    Entry { path: String, reason: String },
}

fn refused(path: &str, reason: impl Into<String>) -> Refused {
    Refused::Entry { path: path.to_owned(), reason: reason.into() }
}

/// Unpacks to an empty directory. Modes are 0755 for directories, 0644 for files, unless they are kept.
pub(super) fn unpack(archive: File, into: &Path, keep_modes: bool, limits: Limits) -> Result<(), Refused> {
    // One byte more than allowed shows that there is more.
    let mut tar = tar::Archive::new(GzDecoder::new(io::BufReader::new(archive)).take(limits.bytes + 1));
    let (mut bytes, mut count, mut links) = (0_u64, 0_usize, Vec::new());
    for entry in tar.entries().map_err(Refused::Broken)? {
        let mut entry = entry.map_err(Refused::Broken)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|error| refused(&error.to_string(), "the name is not UTF-8"))?;
        // Argo CD's archives begin with the directory itself.
        let path =
            clean(name.trim_end_matches('/')).map_err(|_| refused(&name, "the path leads out of the archive"))?;
        if path.is_empty() {
            continue;
        }
        count += 1;
        if count > limits.entries || path.matches('/').count() >= limits.depth {
            return Err(refused(
                &path,
                format!("more than {} entries, or directories nested deeper than {}", limits.entries, limits.depth),
            ));
        }
        bytes = bytes.saturating_add(entry.size());
        if bytes > limits.bytes {
            return Err(refused(&path, format!("the files have more than {} bytes together", limits.bytes)));
        }
        let mode = entry.header().mode().map_err(Refused::Broken)?;
        match entry.header().entry_type() {
            EntryType::Directory => directory(into, &path, if keep_modes { mode & 0o777 | 0o700 } else { 0o755 })?,
            EntryType::Regular | EntryType::Continuous => {
                file(&mut entry, into, &path, if keep_modes { mode & 0o777 } else { 0o644 })?;
            }
            EntryType::Symlink => {
                link(&entry, into, &path)?;
                links.push(path);
            }
            // What a whole archive says of itself (git archive).
            EntryType::XGlobalHeader => {}
            other => {
                return Err(refused(
                    &path,
                    format!("{other:?} is no kind of entry that is taken: files, directories and symbolic links are"),
                ));
            }
        }
    }
    // All is there: now each link is followed to its end.
    let tree = Tree::of_directory(into);
    for path in links {
        if let Err(TreeError::Outside { target, .. }) = tree.kind(&path) {
            return Err(refused(&path, format!("the link leads out of the archive (to {target})")));
        }
    }
    Ok(())
}

/// The directories above an entry are real ones: nothing is written through a link.
fn parents(into: &Path, path: &str) -> Result<(), Refused> {
    for (at, _) in path.match_indices('/') {
        make(into, &path[..at], 0o755)?;
    }
    Ok(())
}

fn directory(into: &Path, path: &str, mode: u32) -> Result<(), Refused> {
    parents(into, path)?;
    make(into, path, mode)?;
    fs::set_permissions(into.join(path), fs::Permissions::from_mode(mode))
        .map_err(|error| refused(path, error.to_string()))
}

fn make(into: &Path, path: &str, mode: u32) -> Result<(), Refused> {
    let at = into.join(path);
    match fs::symlink_metadata(&at) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(refused(path, "comes twice, or is a link or file on the way to another entry")),
        Err(_) => DirBuilder::new().mode(mode).create(&at).map_err(|error| refused(path, error.to_string())),
    }
}

fn file<R: Read>(entry: &mut Entry<'_, R>, into: &Path, path: &str, mode: u32) -> Result<(), Refused> {
    parents(into, path)?;
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused(path, "comes twice in the archive"),
        _ => refused(path, error.to_string()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(into.join(path)).map_err(fail)?;
    let (wanted, got) = (entry.size(), io::copy(entry, &mut file).map_err(fail)?);
    if got != wanted {
        return Err(refused(path, "the archive ends in the middle of it, or it is larger than is allowed"));
    }
    // The umask of the sidecar is not the archive's business.
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(fail)
}

fn link<R: Read>(entry: &Entry<'_, R>, into: &Path, path: &str) -> Result<(), Refused> {
    parents(into, path)?;
    let target = entry.link_name_bytes().ok_or_else(|| refused(path, "a link to nowhere"))?;
    let target = String::from_utf8(target.into_owned()).map_err(|_| refused(path, "the link's target is not UTF-8"))?;
    if target.starts_with('/') {
        return Err(refused(path, format!("the link leads out of the archive (to {target})")));
    }
    symlink(target, into.join(path)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused(path, "comes twice in the archive"),
        _ => refused(path, error.to_string()),
    })
}

/// Removes a directory, also what a command has locked by its modes.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        done => done,
    }
}

fn unlock(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::Header;

    use super::*;

    /// An entry: kind, path, content or target, mode. The path is written as it is, as no honest archiver would.
    type Given<'a> = (EntryType, &'a str, &'a str, u32);

    fn archive(entries: &[Given<'_>]) -> File {
        let mut tar = tar::Builder::new(GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast()));
        for (kind, path, content, mode) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let body = if is_link { "" } else { content };
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.append(&header, body.as_bytes()).unwrap();
        }
        let mut file = tar.into_inner().unwrap().finish().unwrap();
        file.rewind().unwrap();
        file
    }

    fn unpacked(entries: &[Given<'_>], keep: bool) -> (tempfile::TempDir, Result<(), Refused>) {
        let root = tempfile::tempdir().unwrap();
        let into = root.path().join("into");
        fs::create_dir(&into).unwrap();
        let limits = Limits { bytes: 100_000, entries: 100, depth: 8 };
        let done = unpack(archive(entries), &into, keep, limits);
        (root, done)
    }

    const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;
    const LINK: EntryType = EntryType::Symlink;

    #[test]
    fn files_directories_and_links_are_made_and_modes_are_plain_unless_kept() {
        let entries = [
            (DIR, "./", "", 0o700),
            (DIR, "a/", "", 0o000),
            (FILE, "a/run", "x", 0o4755),
            (LINK, "a/up", "../b/y", 0o777),
            (FILE, "b/y", "y", 0o600),
            (LINK, "dangling", "nowhere", 0o777),
        ];
        for (keep, want) in [(false, [0o755, 0o644, 0o644]), (true, [0o700, 0o755, 0o600])] {
            let (root, done) = unpacked(&entries, keep);
            done.unwrap();
            let into = root.path().join("into");
            let mode = |path: &str| fs::metadata(into.join(path)).unwrap().permissions().mode() & 0o7777;
            assert_eq!([mode("a"), mode("a/run"), mode("b/y")], want, "{keep}");
            assert_eq!(fs::read_to_string(into.join("a/up")).unwrap(), "y");
        }
    }

    #[test]
    fn s13_what_leads_out_is_refused_and_nothing_is_written_there() {
        let cases: &[&[Given<'_>]] = &[
            &[(FILE, "../x", "x", 0o644)],
            &[(FILE, "/x", "x", 0o644)],
            &[(FILE, "a/../../x", "x", 0o644)],
            &[(LINK, "l", "/etc", 0o777)],
            &[(LINK, "l", "..", 0o777)],
            &[(LINK, "l", "../x", 0o777)],
            // In bounds by its letters, out of them by the way it takes.
            &[(DIR, "d/", "", 0o755), (LINK, "d/up", "..", 0o777), (LINK, "l", "d/up/../x", 0o777)],
            &[(DIR, "d/", "", 0o755), (LINK, "d/up", "..", 0o777), (FILE, "d/up/x", "x", 0o644)],
            &[(LINK, "l", ".", 0o777), (LINK, "l/m", "../x", 0o777)],
            &[(LINK, "l", "x", 0o777), (FILE, "l", "through the link", 0o644)],
        ];
        for entries in cases {
            let (root, done) = unpacked(entries, false);
            let error = done.unwrap_err().to_string();
            assert!(error.contains("leads out") || error.contains("comes twice"), "{entries:?}: {error}");
            assert!(!root.path().join("x").exists() && !root.path().join("into/x").exists(), "{entries:?}");
        }
    }

    #[test]
    fn s13_a_bomb_is_refused_before_it_fills_the_disk() {
        let zeros = "\0".repeat(60_000);
        let (root, done) = unpacked(&[(FILE, "a", &zeros, 0o644), (FILE, "b", &zeros, 0o644)], false);
        let error = done.unwrap_err().to_string();
        assert_eq!(error, "b: the files have more than 100000 bytes together");
        assert!(!root.path().join("into/b").exists());
        let many: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
        let many: Vec<Given<'_>> = many.iter().map(|path| (FILE, path.as_str(), "", 0o644)).collect();
        assert!(unpacked(&many, false).1.unwrap_err().to_string().contains("more than 100 entries"));
        assert!(
            unpacked(&[(DIR, "a/b/c/d/e/f/g/h/i", "", 0o755)], false).1.unwrap_err().to_string().contains("deeper")
        );
        // A header that says 1 TB, with nothing behind it.
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[0] = b'z';
        header.set_size(1 << 40);
        header.set_mode(0o644);
        header.set_cksum();
        let mut gzip = GzEncoder::new(tempfile::tempfile().unwrap(), Compression::fast());
        gzip.write_all(header.as_bytes()).unwrap();
        let mut file = gzip.finish().unwrap();
        file.rewind().unwrap();
        let into = tempfile::tempdir().unwrap();
        let error = unpack(file, into.path(), false, Limits::default()).unwrap_err().to_string();
        assert!(error.starts_with("z: the files have more than"), "{error}");
    }

    #[test]
    fn s13_entries_of_other_kinds_and_doubles_are_refused() {
        for kind in [EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo] {
            let error = unpacked(&[(kind, "a", "b", 0o644)], false).1.unwrap_err().to_string();
            assert!(error.starts_with("a: ") && error.contains("no kind of entry"), "{kind:?}: {error}");
        }
        let twice = [(FILE, "a", "1", 0o644), (FILE, "a", "2", 0o644)];
        assert_eq!(unpacked(&twice, false).1.unwrap_err().to_string(), "a: comes twice in the archive");
        let below = [(FILE, "a", "1", 0o644), (FILE, "a/b", "2", 0o644)];
        assert!(unpacked(&below, false).1.unwrap_err().to_string().starts_with("a: comes twice"));
    }

    #[test]
    fn s13_a_directory_that_is_locked_is_removed_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let locked = root.path().join("locked");
        fs::create_dir_all(locked.join("in/deep")).unwrap();
        fs::write(locked.join("in/deep/file"), "x").unwrap();
        for path in ["in/deep", "in", ""] {
            fs::set_permissions(locked.join(path), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&locked).unwrap();
        assert!(!locked.exists());
        remove(&locked).unwrap();
    }
}

//! The files of a source as a plugin gets them: a gzipped tar of the repository, or of the directory that all of
//! manifest-generate-paths have in common. Packing it is no reading yet: who answers with what, says what counts.
use std::fs::{self, File};
use std::io::{Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::variables;
use crate::environment::Environment;
use crate::request::{RenderError, Request};
use crate::tree::{Inputs, clean, join};

/// An archive with what is said about it.
pub(super) struct Archive {
    file: File,
    /// The source's directory in the archive; `.` when it is the whole.
    pub(super) path: String,
    /// The last part of the path.
    pub(super) name: String,
    /// SHA-256, in hex.
    pub(super) checksum: String,
    /// Its length.
    pub(super) bytes: u64,
    /// For the commands.
    pub(super) variables: Vec<(String, String)>,
    /// What is in it: the inputs of whoever reads it all.
    pub(super) inputs: Inputs,
}

impl Archive {
    /// Its bytes from the start.
    pub(super) fn open(&self) -> std::io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Packs the source.
pub(super) fn pack(request: &Request) -> Result<Archive, RenderError> {
    let path = request.path()?;
    let root = match &request.app.generate_paths {
        Some(paths) if request.settings.plugin_uses_generate_paths => common_root(&path, paths)?,
        _ => String::new(),
    };
    let jail = request.jail()?;
    let tree = request.tree.untouched();
    tree.export(&[&root], jail.path())?;
    let disk = |error: std::io::Error| RenderError::Scratch {
        path: request.scratch.display().to_string(),
        reason: error.to_string(),
    };
    let excluded = exclusions(&request.settings.plugin_exclusions)?;
    let file = tempfile::tempfile_in(jail.path()).map_err(disk)?;
    let mut pack = Pack {
        from: jail.path().join(&root),
        repository: fs::canonicalize(jail.path()).map_err(disk)?,
        excluded,
        tar: tar::Builder::new(GzEncoder::new(Hashing::new(file), Compression::fast())),
        files: 0,
    };
    pack.directory("")?;
    let files = pack.files;
    let hashed = pack.tar.into_inner().and_then(GzEncoder::finish).map_err(disk)?;
    if files == 0 {
        return Err(RenderError::Spec(format!(
            "no files to send to a plugin: {} is empty, or reposerver.plugin.tar.exclusions leaves all of it out",
            if root.is_empty() { "the repository" } else { &root }
        )));
    }
    let below = if root.is_empty() { path.as_str() } else { path[root.len()..].trim_start_matches('/') };
    Ok(Archive {
        file: hashed.to,
        path: if below.is_empty() { ".".to_owned() } else { below.to_owned() },
        name: path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(".").to_owned(),
        checksum: hex::encode(hashed.hash.finalize()),
        bytes: hashed.bytes,
        variables: variables::of(&Environment::of(request), request.source.plugin.as_ref()),
        inputs: tree.inputs(),
    })
}

/// The deepest directory that holds the source's own and all of the annotation's paths: with a leading `/` from the root, else from
/// the source's directory. A glob counts as far as it is plain.
fn common_root(app: &str, paths: &str) -> Result<String, RenderError> {
    let mut root: Vec<&str> = app.split('/').filter(|part| !part.is_empty()).collect();
    for path in paths.split(';').map(str::trim).filter(|path| !path.is_empty()) {
        let whole = match path.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => join(app, path),
        };
        let plain: Vec<&str> = whole.split('/').take_while(|part| !part.contains(['*', '?', '[', '{'])).collect();
        let plain = clean(&plain.join("/"))?;
        let same = root.iter().zip(plain.split('/').filter(|part| !part.is_empty())).take_while(|(a, b)| **a == *b);
        root.truncate(same.count());
    }
    Ok(root.join("/"))
}

/// The globs of `reposerver.plugin.tar.exclusions`, which match paths from the archive's root: one without a `/` only what lies there.
fn exclusions(globs: &[String]) -> Result<GlobSet, RenderError> {
    let wrong = |error: globset::Error| RenderError::Spec(format!("reposerver.plugin.tar.exclusions: {error}"));
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// An archive in the making.
struct Pack {
    from: PathBuf,
    repository: PathBuf,
    excluded: GlobSet,
    tar: tar::Builder<GzEncoder<Hashing<File>>>,
    files: usize,
}

impl Pack {
    /// Everything below a directory, by name: equal trees are equal archives.
    fn directory(&mut self, below: &str) -> Result<(), RenderError> {
        let at = self.from.join(below);
        let mut names = Vec::new();
        for entry in fs::read_dir(&at).map_err(|error| unpackable(below, &error))? {
            let name = entry.map_err(|error| unpackable(below, &error))?.file_name();
            names.push(name.into_string().map_err(|name| {
                RenderError::Spec(format!("{}: names of files must be UTF-8; rename it", name.to_string_lossy()))
            })?);
        }
        names.sort();
        for name in names {
            let path = join(below, &name);
            if !self.excluded.is_match(&path) {
                self.entry(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str) -> Result<(), RenderError> {
        let at = self.from.join(path);
        let fail = |error: std::io::Error| unpackable(path, &error);
        let found = fs::symlink_metadata(&at).map_err(fail)?;
        if found.is_dir() {
            let mut header = header(EntryType::Directory, 0o755, 0);
            self.tar.append_data(&mut header, format!("{path}/"), std::io::empty()).map_err(fail)?;
            return self.directory(path);
        }
        if found.file_type().is_symlink() {
            let target = fs::read_link(&at).map_err(fail)?;
            return match self.stays(path, &target) {
                Stays::Yes => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    self.tar.append_link(&mut header, path, &target).map_err(fail)
                }
                Stays::File(real) => self.file(path, &real),
                Stays::No => Err(RenderError::Spec(format!(
                    "{path}: the link leads out of the directory that the plugin gets; add {} to the annotation argocd.argoproj.io/manifest-generate-paths",
                    target.display()
                ))),
            };
        }
        self.file(path, &at)
    }

    fn file(&mut self, path: &str, at: &Path) -> Result<(), RenderError> {
        use std::os::unix::fs::PermissionsExt as _;
        let fail = |error: std::io::Error| unpackable(path, &error);
        let file = File::open(at).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        let mut header = header(EntryType::Regular, found.permissions().mode() & 0o777, found.len());
        self.files += 1;
        self.tar.append_data(&mut header, path, file).map_err(fail)
    }

    /// Whether a link leads to something in the archive. The export made sure that it leads nowhere outside the repository; a file
    /// outside the archive's root goes in as itself.
    fn stays(&self, path: &str, target: &Path) -> Stays {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
        let lexical = target.to_str().and_then(|target| clean(&join(parent, target)).ok());
        match (lexical, fs::canonicalize(self.from.join(path))) {
            (Some(_), _) => Stays::Yes,
            (None, Ok(real)) if real.is_file() && real.starts_with(&self.repository) => Stays::File(real),
            (None, _) => Stays::No,
        }
    }
}

enum Stays {
    Yes,
    File(PathBuf),
    No,
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes);
    header.set_mtime(0);
    header
}

fn unpackable(path: &str, error: &std::io::Error) -> RenderError {
    RenderError::Failed { tool: super::TOOL, message: format!("{path} cannot be packed: {error}") }
}

/// Counts and hashes what goes through.
struct Hashing<W> {
    to: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Hashing<W> {
    fn new(to: W) -> Self {
        Self { to, hash: Sha256::new(), bytes: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The pieces of a file, of `size` bytes each but the last. One that cannot be read is the end: the checksum tells.
pub(super) fn pieces(mut file: File, size: usize) -> impl Iterator<Item = Vec<u8>> + Send {
    std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(size);
        (&mut file).take(size as u64).read_to_end(&mut piece).ok()?;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_what_all_paths_have_in_common() {
        for (app, paths, want) in [
            ("apps/a", ".", "apps/a"),
            ("apps/a", "/shared", ""),
            ("apps/a", ".;../lib", "apps"),
            ("apps/a", "/apps/a/x; /apps/a/y", "apps/a"),
            ("apps/a", "/apps/*/x", "apps"),
            ("apps/a", "", "apps/a"),
            ("", ".", ""),
        ] {
            assert_eq!(common_root(app, paths).unwrap(), want, "{app} {paths}");
        }
        assert!(common_root("a", "../../x").is_err());
    }

    #[test]
    fn an_exclusion_without_a_slash_is_of_the_root_only() {
        let set = exclusions(&["*.md".to_owned(), "docs/**".to_owned(), ".git".to_owned()]).unwrap();
        for (path, want) in
            [("a.md", true), ("x/a.md", false), ("docs/a/b", true), (".git", true), ("x/.git", false), ("d", false)]
        {
            assert_eq!(set.is_match(path), want, "{path}");
        }
        let error = exclusions(&["[".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("reposerver.plugin.tar.exclusions: "), "{error}");
    }
}

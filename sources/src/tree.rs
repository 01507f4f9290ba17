//! A read-only tree of files: of a commit, without a checkout, or of an unpacked archive. Every read is remembered, so that the
//! inputs of a render are known exactly. Symbolic links are followed inside the tree; one that leads out is
//! refused by name (research/pains.md S-04 to S-06). Knows nothing of manifests.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::git::{Commit, GitError};

/// One file may be this long, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// A directory may hold so many files below it.
const FILES_MAX: usize = 50_000;
/// Directories deeper than this are refused.
const DEPTH_MAX: usize = 64;
/// All files of one export together, in bytes.
const EXPORT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Symbolic links followed on one way.
const LINKS_MAX: usize = 16;
/// More inputs than these are told as their directories.
const INPUTS_MAX: usize = 256;

/// Why something of a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is not there.
    #[error("{path}: no such file or directory")]
    Missing {
        /// As asked for.
        path: String,
    },
    /// It is not of the kind that was asked for.
    #[error("{path}: a {wanted} is wanted")]
    Kind {
        /// As asked for.
        path: String,
        /// `file` or `directory`.
        wanted: &'static str,
    },
    /// It leads out of the tree.
    #[error("{path}: leads out of the repository (to {target}); nothing outside the repository is read")]
    Outside {
        /// As asked for.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A limit was passed.
    #[error("{path}: {what}")]
    Limit {
        /// The file or directory.
        path: String,
        /// Which limit.
        what: String,
    },
    /// The object database.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The disk.
    #[error("{path}: {reason}")]
    Disk {
        /// The file or directory.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file; `executable` or not.
    File {
        /// Its mode bit.
        executable: bool,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A submodule that is not there.
    Submodule,
}

/// One entry of a directory, itself and not what it links to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The identity of its content: equal ids are equal contents.
    pub id: String,
}

/// What a render read: files and directories with all below them; directories of which only the names counted (these end in `/`);
/// and what was only looked for (this ends in `//`).
pub type Inputs = BTreeSet<String>;

/// After what was only looked for.
const THERE: &str = "//";

/// The path of an input.
pub fn path_of(input: &str) -> &str {
    input.strip_suffix(THERE).or_else(|| input.strip_suffix('/')).unwrap_or(input)
}

/// A tree. Clones share what was read.
#[derive(Clone)]
pub struct Tree {
    root: Root,
    read: Arc<Mutex<Inputs>>,
}

#[derive(Clone)]
enum Root {
    Commit(Commit),
    Disk(Arc<PathBuf>),
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.root {
            Root::Commit(commit) => write!(f, "Tree({commit:?})"),
            Root::Disk(path) => write!(f, "Tree({})", path.display()),
        }
    }
}

impl Tree {
    /// The tree of a commit.
    pub fn of_commit(commit: Commit) -> Self {
        Self { root: Root::Commit(commit), read: Arc::default() }
    }

    /// A directory that nobody else writes.
    pub fn of_directory(path: impl Into<PathBuf>) -> Self {
        Self { root: Root::Disk(Arc::new(path.into())), read: Arc::default() }
    }

    /// The same tree, with nothing read yet.
    #[must_use]
    pub fn untouched(&self) -> Self {
        Self { root: self.root.clone(), read: Arc::default() }
    }

    /// What was read until now.
    pub fn inputs(&self) -> Inputs {
        condensed(self.read.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Counts a file or directory as read, with all below it.
    pub fn touch(&self, path: &str) {
        self.note(clean(path).unwrap_or_default());
    }

    fn note(&self, input: String) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(input);
    }

    /// What is at a path, links followed; `None` when there is nothing.
    pub fn kind(&self, path: &str) -> Result<Option<Kind>, TreeError> {
        let path = clean(path)?;
        let found = self.resolve(&path)?;
        self.note(format!("{path}{THERE}"));
        Ok(found.map(|(_, entry)| entry.kind))
    }

    /// Where a path really is, links followed, and what is there; `None` when there is nothing.
    pub fn real(&self, path: &str) -> Result<Option<(String, Kind)>, TreeError> {
        let path = clean(path)?;
        let kind = self.kind(&path)?;
        Ok(self.resolve(&path)?.zip(kind).map(|((real, _), kind)| (real, kind)))
    }

    /// There is a file.
    pub fn is_file(&self, path: &str) -> Result<bool, TreeError> {
        Ok(matches!(self.kind(path)?, Some(Kind::File { .. })))
    }

    /// There is a directory.
    pub fn is_directory(&self, path: &str) -> Result<bool, TreeError> {
        Ok(self.kind(path)? == Some(Kind::Directory))
    }

    /// The bytes of a file, links followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        let path = clean(path)?;
        self.note(path.clone());
        let missing = || TreeError::Missing { path: path.clone() };
        let (real, entry) = self.resolve(&path)?.ok_or_else(missing)?;
        if !matches!(entry.kind, Kind::File { .. }) {
            return Err(TreeError::Kind { path, wanted: "file" });
        }
        if real != path {
            self.note(real.clone());
        }
        self.content(&real, &entry)
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Result<String, TreeError> {
        String::from_utf8(self.read(path)?)
            .map_err(|_| TreeError::Limit { path: path.to_owned(), what: "the file is not UTF-8 text".to_owned() })
    }

    /// The entries of a directory, by name.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, TreeError> {
        let path = clean(path)?;
        self.note(format!("{path}/"));
        let (real, entry) = self.resolve(&path)?.ok_or(TreeError::Missing { path: path.clone() })?;
        if entry.kind != Kind::Directory {
            return Err(TreeError::Kind { path, wanted: "directory" });
        }
        if real != path {
            self.note(format!("{real}/"));
        }
        self.entries(&real, &entry.id)
    }

    /// The files below a directory, relative to it and in order of their paths; with `recurse` those of all directories below.
    /// Symbolic links to files are files.
    pub fn files(&self, path: &str, recurse: bool) -> Result<Vec<String>, TreeError> {
        let path = clean(path)?;
        let mut files = Vec::new();
        self.collect(&path, "", recurse, &mut files)?;
        Ok(files)
    }

    fn collect(&self, root: &str, below: &str, recurse: bool, files: &mut Vec<String>) -> Result<(), TreeError> {
        if below.matches('/').count() > DEPTH_MAX {
            return Err(TreeError::Limit {
                path: join(root, below),
                what: format!("directories are nested deeper than {DEPTH_MAX}"),
            });
        }
        for entry in self.list(&join(root, below))? {
            let path = join(below, &entry.name);
            match entry.kind {
                Kind::File { .. } => files.push(path),
                Kind::Link => {
                    if matches!(self.resolve(&join(root, &path))?, Some((_, Entry { kind: Kind::File { .. }, .. }))) {
                        files.push(path);
                    }
                }
                Kind::Directory if recurse => self.collect(root, &path, recurse, files)?,
                Kind::Directory | Kind::Submodule => {}
            }
            if files.len() > FILES_MAX {
                return Err(TreeError::Limit {
                    path: root.to_owned(),
                    what: format!("more than {FILES_MAX} files; narrow spec.source.path"),
                });
            }
        }
        Ok(())
    }

    /// Writes files and directories (with all below them) to the same places below `into`, for a program to read. Links that
    /// stay in the tree are kept, with what they link to; one that leads out is refused.
    pub fn export(&self, paths: &[&str], into: &Path) -> Result<(), TreeError> {
        let mut export = Export { tree: self, into, done: BTreeSet::new(), bytes: 0 };
        for path in paths {
            let path = clean(path)?;
            self.note(path.clone());
            export.path(&path, 0)?;
        }
        Ok(())
    }

    /// The identity of everything that `inputs` name: equal when nothing of it changed. What is absent has an identity too.
    pub fn fingerprint(&self, inputs: &Inputs) -> Result<String, TreeError> {
        let mut hash = Sha256::new();
        for input in inputs {
            hash.update(input.as_bytes());
            hash.update([0]);
            let looked_for = input.ends_with(THERE);
            match self.resolve(path_of(input))? {
                None => hash.update(b"absent"),
                Some((real, entry)) if looked_for => hash.update(format!("{real}\0{:?}", entry.kind).as_bytes()),
                Some((real, entry)) if input.ends_with('/') && entry.kind == Kind::Directory => {
                    for entry in self.entries(&real, &entry.id)? {
                        hash.update(entry.name.as_bytes());
                        hash.update(format!("\0{:?}\0", entry.kind).as_bytes());
                        if entry.kind == Kind::Link {
                            hash.update(entry.id.as_bytes());
                        }
                    }
                }
                Some((real, entry)) => {
                    hash.update(real.as_bytes());
                    hash.update(format!("\0{:?}\0{}", entry.kind, entry.id).as_bytes());
                }
            }
            hash.update([0]);
        }
        Ok(hex::encode(hash.finalize()))
    }

    /// Where a clean path really is, and what is there. Every link on the way is followed, inside the tree.
    fn resolve(&self, path: &str) -> Result<Option<(String, Entry)>, TreeError> {
        let mut todo: Vec<String> = path.split('/').filter(|part| !part.is_empty()).rev().map(str::to_owned).collect();
        let mut real = String::new();
        let mut here = Entry { name: String::new(), kind: Kind::Directory, id: self.root_id()? };
        let mut links = 0;
        let outside = |target: &str| TreeError::Outside { path: path.to_owned(), target: target.to_owned() };
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    if real.is_empty() {
                        return Err(outside(".."));
                    }
                    real = real.rsplit_once('/').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
                    here = match self.resolve(&real)? {
                        Some((_, entry)) => entry,
                        None => return Ok(None),
                    };
                    continue;
                }
                _ => {}
            }
            if here.kind != Kind::Directory {
                return Ok(None);
            }
            let Some(next) = self.entry(&real, &here.id, &part)? else { return Ok(None) };
            if next.kind != Kind::Link {
                real = join(&real, &part);
                here = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(TreeError::Limit {
                    path: path.to_owned(),
                    what: "a symbolic link leads in circles".to_owned(),
                });
            }
            let target = String::from_utf8(self.content(&join(&real, &part), &next)?)
                .map_err(|_| outside("a name that is not UTF-8"))?;
            if target.starts_with('/') {
                return Err(outside(&target));
            }
            self.note(join(&real, &part));
            todo.extend(target.split('/').filter(|part| !part.is_empty()).rev().map(str::to_owned));
            // What leaves on the way and comes back is refused as well: `..` above the root is.
        }
        Ok(Some((real, here)))
    }

    fn root_id(&self) -> Result<String, TreeError> {
        match &self.root {
            Root::Commit(commit) => Ok(commit.tree_id()),
            Root::Disk(root) => {
                let found = fs::symlink_metadata(root.as_path()).map_err(|error| disk("", &error))?;
                Ok(on_disk(String::new(), &found).id)
            }
        }
    }

    /// One entry of a real directory.
    fn entry(&self, directory: &str, id: &str, name: &str) -> Result<Option<Entry>, TreeError> {
        match &self.root {
            Root::Commit(commit) => Ok(commit.entry(id, name)?),
            Root::Disk(root) => {
                let path = root.join(directory).join(name);
                match fs::symlink_metadata(&path) {
                    Ok(found) => Ok(Some(on_disk(name.to_owned(), &found))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(disk(&join(directory, name), &error)),
                }
            }
        }
    }

    /// All entries of a real directory.
    fn entries(&self, directory: &str, id: &str) -> Result<Vec<Entry>, TreeError> {
        match &self.root {
            Root::Commit(commit) => Ok(commit.entries(id)?),
            Root::Disk(root) => {
                let fail = |error: std::io::Error| disk(directory, &error);
                let mut entries = Vec::new();
                for entry in fs::read_dir(root.join(directory)).map_err(fail)? {
                    let entry = entry.map_err(fail)?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let found = fs::symlink_metadata(entry.path()).map_err(fail)?;
                    entries.push(on_disk(name, &found));
                }
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(entries)
            }
        }
    }

    /// The bytes of a real file, or the target of a link.
    fn content(&self, real: &str, entry: &Entry) -> Result<Vec<u8>, TreeError> {
        let limit = |bytes: u64| TreeError::Limit {
            path: real.to_owned(),
            what: format!("the file has {bytes} bytes, more than the {FILE_BYTES_MAX} allowed"),
        };
        match &self.root {
            Root::Commit(commit) => {
                let bytes = commit.size(&entry.id)?;
                if bytes > FILE_BYTES_MAX { Err(limit(bytes)) } else { Ok(commit.blob(&entry.id)?) }
            }
            Root::Disk(root) => {
                let path = root.join(real);
                let fail = |error: std::io::Error| disk(real, &error);
                if entry.kind == Kind::Link {
                    return Ok(fs::read_link(&path).map_err(fail)?.to_string_lossy().into_owned().into_bytes());
                }
                let bytes = fs::symlink_metadata(&path).map_err(fail)?.len();
                if bytes > FILE_BYTES_MAX { Err(limit(bytes)) } else { fs::read(&path).map_err(fail) }
            }
        }
    }
}

/// An export under way.
struct Export<'a> {
    tree: &'a Tree,
    into: &'a Path,
    done: BTreeSet<String>,
    bytes: u64,
}

impl Export<'_> {
    fn path(&mut self, path: &str, depth: usize) -> Result<(), TreeError> {
        if !self.done.insert(path.to_owned()) {
            return Ok(());
        }
        if depth > DEPTH_MAX || self.done.len() > FILES_MAX {
            return Err(TreeError::Limit {
                path: path.to_owned(),
                what: format!("more than {FILES_MAX} files, or directories nested deeper than {DEPTH_MAX}"),
            });
        }
        // The way there may go over links: they are made where they are.
        let mut parent = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let at = join(&parent, part);
            let found = self.at(&at)?;
            match found.as_ref().map(|entry| entry.kind) {
                None => return Err(TreeError::Missing { path: path.to_owned() }),
                Some(Kind::Link) if at != path => {
                    self.path(&at, depth + 1)?;
                    let (real, _) = self.tree.resolve(path)?.ok_or(TreeError::Missing { path: path.to_owned() })?;
                    return self.path(&real, depth + 1);
                }
                _ => parent = at,
            }
        }
        let entry = match path {
            "" => Entry { name: String::new(), kind: Kind::Directory, id: self.tree.root_id()? },
            _ => self.at(path)?.ok_or(TreeError::Missing { path: path.to_owned() })?,
        };
        let target = self.into.join(path);
        let fail = |error: std::io::Error| disk(path, &error);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        match entry.kind {
            Kind::Directory => {
                fs::create_dir_all(&target).map_err(fail)?;
                for entry in self.tree.entries(path, &entry.id)? {
                    self.path(&join(path, &entry.name), depth + 1)?;
                }
            }
            Kind::File { executable } => {
                let bytes = self.tree.content(path, &entry)?;
                self.bytes += bytes.len() as u64;
                if self.bytes > EXPORT_BYTES_MAX {
                    return Err(TreeError::Limit {
                        path: path.to_owned(),
                        what: format!("the files have more than {EXPORT_BYTES_MAX} bytes together"),
                    });
                }
                let mut file = fs::OpenOptions::new();
                file.write(true).create_new(true).mode(if executable { 0o755 } else { 0o644 });
                let mut file = file.open(&target).map_err(fail)?;
                std::io::Write::write_all(&mut file, &bytes).map_err(fail)?;
            }
            Kind::Link => {
                let link = String::from_utf8_lossy(&self.tree.content(path, &entry)?).into_owned();
                // Nothing there: the link dangles in the repository too.
                if let Some((real, _)) = self.tree.resolve(path)? {
                    self.tree.note(real.clone());
                    self.path(&real, depth + 1)?;
                }
                std::os::unix::fs::symlink(link, &target).map_err(fail)?;
            }
            Kind::Submodule => fs::create_dir_all(&target).map_err(fail)?,
        }
        Ok(())
    }

    /// The entry at a real path, itself and not what it links to.
    fn at(&self, path: &str) -> Result<Option<Entry>, TreeError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.tree.resolve(parent)? {
            Some((real, entry)) if entry.kind == Kind::Directory => self.tree.entry(&real, &entry.id, name),
            _ => Ok(None),
        }
    }
}

fn on_disk(name: String, found: &fs::Metadata) -> Entry {
    let kind = if found.is_dir() {
        Kind::Directory
    } else if found.file_type().is_symlink() {
        Kind::Link
    } else {
        Kind::File { executable: found.permissions().mode() & 0o111 != 0 }
    };
    let changed = found.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Entry { name, kind, id: format!("{}-{}", found.len(), changed.unwrap_or_default().as_nanos()) }
}

fn disk(path: &str, error: &std::io::Error) -> TreeError {
    TreeError::Disk { path: path.to_owned(), reason: error.to_string() }
}

/// Two parts of a path as one.
pub fn join(left: &str, right: &str) -> String {
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left}/{right}"),
    }
}

/// A path without `.` and empty parts; `..` goes up, but not out; an absolute path is refused.
pub fn clean(path: &str) -> Result<String, TreeError> {
    let outside = || TreeError::Outside { path: path.to_owned(), target: path.to_owned() };
    if path.starts_with('/') || path.contains('\0') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(outside)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Without what lies below a directory that counts as a whole; too many are told as their directories.
fn condensed(inputs: Inputs) -> Inputs {
    let within = |inputs: &Inputs, input: &str| {
        let mut path = path_of(input);
        if input.ends_with('/') && inputs.contains(path) {
            return true;
        }
        if input.ends_with(THERE) {
            // The names of a directory tell what is in it, and that it is one.
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if inputs.contains(&format!("{path}/")) || (!path.is_empty() && inputs.contains(&format!("{parent}/"))) {
                return true;
            }
        }
        while let Some((parent, _)) = path.rsplit_once('/') {
            if inputs.contains(parent) {
                return true;
            }
            path = parent;
        }
        !input.is_empty() && inputs.contains("")
    };
    let few: Inputs = inputs.iter().filter(|input| !within(&inputs, input)).cloned().collect();
    if few.len() <= INPUTS_MAX {
        return few;
    }
    // The directories that hold most of them count as a whole.
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for input in &few {
        let path = path_of(input);
        *held.entry(path.rsplit_once('/').map(|(parent, _)| parent.to_owned()).unwrap_or_default()).or_default() += 1;
    }
    let mut fewer = few;
    for (directory, _) in held.into_iter().filter(|(_, count)| *count > 8) {
        fewer.insert(directory);
    }
    let fewer: Inputs = fewer.iter().filter(|input| !within(&fewer, input)).cloned().collect();
    if fewer.len() <= INPUTS_MAX { fewer } else { Inputs::from([String::new()]) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (path, target) in links {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }
        let tree = Tree::of_directory(root.path());
        (root, tree)
    }

    #[test]
    fn links_are_followed_inside_and_refused_outside() {
        let (_root, tree) = tree(
            &[("a/x.yaml", "x"), ("b/y.yaml", "y")],
            &[
                ("a/in", "../b/y.yaml"),
                ("a/dir", "../b"),
                ("a/chain", "in"),
                ("a/out", "../../etc/passwd"),
                ("a/abs", "/etc/passwd"),
                ("a/loop", "loop"),
                ("a/outdir", "../.."),
                ("a/dangling", "nothing"),
                ("a/back", "../../x/a/x.yaml"),
            ],
        );
        for good in ["a/in", "a/dir/y.yaml", "a/chain", "a/../b/./y.yaml"] {
            assert_eq!(tree.text(good).unwrap(), "y", "{good}");
        }
        for out in ["a/out", "a/abs", "a/outdir", "a/outdir/etc/passwd", "a/back", "../x", "/etc/passwd", "a/../../x"] {
            let error = tree.read(out).unwrap_err();
            assert!(matches!(error, TreeError::Outside { .. }), "{out}: {error}");
        }
        assert!(matches!(tree.read("a/loop").unwrap_err(), TreeError::Limit { .. }));
        assert!(matches!(tree.read("a/dangling").unwrap_err(), TreeError::Missing { .. }));
        assert!(matches!(tree.read("a").unwrap_err(), TreeError::Kind { .. }));
    }

    #[test]
    fn an_export_holds_what_was_asked_for_and_what_it_links_to() {
        let (_root, tree) = tree(
            &[("a/x.yaml", "x"), ("b/y.yaml", "y"), ("c/z.yaml", "z")],
            &[("a/in", "../b/y.yaml"), ("a/dir", "../b"), ("bad/out", "../../x")],
        );
        let into = tempfile::tempdir().unwrap();
        tree.export(&["a"], into.path()).unwrap();
        let read = |path: &str| fs::read_to_string(into.path().join(path)).ok();
        assert_eq!((read("a/x.yaml").as_deref(), read("a/in").as_deref()), (Some("x"), Some("y")));
        assert_eq!((read("a/dir/y.yaml").as_deref(), read("c/z.yaml").as_deref()), (Some("y"), None));
        assert_eq!(tree.inputs(), ["a", "b"].map(str::to_owned).into());
        let error = tree.export(&["bad"], into.path()).unwrap_err();
        assert!(matches!(error, TreeError::Outside { .. }), "{error}");
        let error = tree.export(&["a/none"], into.path()).unwrap_err();
        assert!(matches!(error, TreeError::Missing { .. }), "{error}");
    }

    #[test]
    fn the_fingerprint_is_of_what_was_read() {
        let (root, tree) = tree(&[("a/x.yaml", "x"), ("a/README", "r"), ("b/y.yaml", "y")], &[]);
        assert_eq!(tree.files("a", false).unwrap(), ["README", "x.yaml"]);
        tree.text("a/x.yaml").unwrap();
        assert!(!tree.is_file("b/none").unwrap());
        let inputs = tree.inputs();
        assert_eq!(inputs, ["a/", "a/x.yaml", "b/none//"].map(str::to_owned).into());
        let before = tree.fingerprint(&inputs).unwrap();
        fs::write(root.path().join("a/README"), "other").unwrap();
        fs::write(root.path().join("b/y.yaml"), "other").unwrap();
        assert_eq!(tree.fingerprint(&inputs).unwrap(), before, "nobody read these");
        fs::write(root.path().join("a/x.yaml"), "longer").unwrap();
        let changed = tree.fingerprint(&inputs).unwrap();
        assert_ne!(changed, before);
        fs::write(root.path().join("b/other"), "nobody looked for this").unwrap();
        assert_eq!(tree.fingerprint(&inputs).unwrap(), changed);
        fs::write(root.path().join("b/none"), "now").unwrap();
        assert_ne!(tree.fingerprint(&inputs).unwrap(), changed, "what was absent is there");
    }

    #[test]
    fn many_inputs_are_told_as_their_directories() {
        let many: Inputs = (0..1000).map(|n| format!("a/b/{n}.yaml")).chain(["c/x".to_owned()]).collect();
        assert_eq!(condensed(many), ["a/b", "c/x"].map(str::to_owned).into());
        let spread: Inputs = (0..1000).map(|n| format!("{n}/x")).collect();
        assert_eq!(condensed(spread), Inputs::from([String::new()]));
    }
}

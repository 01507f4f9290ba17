//! Archives from strangers, unpacked within limits: bytes, files, ratio; no path and no link leads out, no hard link, no device, no
//! name twice, modes made equal (research/pains.md S-13). Knows nothing of charts.
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use crate::tree::{clean, join};

/// Entries of one archive.
const ENTRIES_MAX: u64 = 50_000;
/// Bytes of one header beside the file itself: a long name, attributes.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Bytes out for one byte in, once there are many.
const RATIO_MAX: u64 = 200;
/// Below so many bytes the ratio does not count.
const RATIO_FROM: u64 = 16 * 1024 * 1024;
/// Directories in directories.
const DEPTH_MAX: usize = 64;

/// What is done with the first directory of every path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Top {
    /// It is kept.
    Keep,
    /// It is the one that all lies in, and is taken off.
    Strip,
}

/// Unpacks a tar, gzipped or not, into an empty directory. `most` bounds the bytes of the tar.
pub(crate) fn unpack(archive: &Path, into: &Path, top: Top, most: u64) -> Result<(), String> {
    weigh(archive, most)?;
    let mut unpacked = Unpacked { into, top, base: None, seen: BTreeSet::new(), links: Vec::new() };
    let mut tar = Archive::new(opened(archive)?);
    for entry in tar.entries().map_err(broken)? {
        unpacked.entry(entry.map_err(broken)?)?;
    }
    unpacked.link()?;
    stamp(into).map(|_| ()).map_err(|error| error.to_string())
}

fn broken(error: io::Error) -> String {
    format!("it is no good archive: {error}")
}

fn opened(archive: &Path) -> Result<Box<dyn Read>, String> {
    let mut file = BufReader::new(File::open(archive).map_err(|error| error.to_string())?);
    let mut magic = [0; 2];
    let zipped = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let file = BufReader::new(File::open(archive).map_err(|error| error.to_string())?);
    Ok(if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// Reads it once without writing: what passes is small enough, and its headers too (the `tar` crate holds them in memory).
fn weigh(archive: &Path, most: u64) -> Result<(), String> {
    let packed = fs::metadata(archive).map_err(|error| error.to_string())?.len().max(1);
    let mut counted = Counted { inner: opened(archive)?, count: 0, most, packed };
    let mut tar = Archive::new(&mut counted);
    let mut entries = 0;
    for entry in tar.entries().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} entries"));
        }
        let kind = entry.header().entry_type();
        let extra = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if extra && entry.size() > HEADER_BYTES_MAX {
            return Err(format!("a header has more than {HEADER_BYTES_MAX} bytes"));
        }
        if kind.is_gnu_sparse() {
            return Err("it holds a sparse file; pack it as a plain one".to_owned());
        }
    }
    // What follows the end of the tar is weighed too: it was sent.
    io::copy(&mut counted, &mut io::sink()).map(|_| ()).map_err(broken)
}

struct Counted {
    inner: Box<dyn Read>,
    count: u64,
    most: u64,
    packed: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        if self.count > self.most {
            return Err(io::Error::other(format!("unpacked it has more than the {} bytes allowed", self.most)));
        }
        if self.count > RATIO_FROM && self.count / self.packed > RATIO_MAX {
            return Err(io::Error::other(format!("unpacked it is more than {RATIO_MAX} times as large")));
        }
        Ok(read)
    }
}

struct Unpacked<'a> {
    into: &'a Path,
    top: Top,
    base: Option<String>,
    seen: BTreeSet<String>,
    links: Vec<(String, String)>,
}

impl Unpacked<'_> {
    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), String> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        let name = text(&entry.path_bytes())?;
        let Some(path) = self.place(&name, kind)? else { return Ok(()) };
        let target = self.into.join(&path);
        let fail = |error: io::Error| format!("{name}: {error}");
        match kind {
            EntryType::Directory => fs::create_dir_all(&target).map_err(fail),
            EntryType::Regular | EntryType::Continuous => {
                self.once(&path)?;
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).map_err(fail)?;
                }
                let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
                let mut file = fs::OpenOptions::new();
                file.write(true).create_new(true).mode(if executable { 0o755 } else { 0o644 });
                io::copy(&mut entry, &mut file.open(&target).map_err(fail)?).map(|_| ()).map_err(fail)
            }
            EntryType::Symlink => {
                self.once(&path)?;
                let to = text(&entry.link_name_bytes().unwrap_or_default())?;
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                if to.is_empty() || to.starts_with('/') || clean(&join(parent, &to)).is_err() {
                    return Err(format!("{name}: leads out of the archive (to {to})"));
                }
                self.links.push((path, to));
                Ok(())
            }
            EntryType::Link => Err(format!("{name}: is a hard link; pack it as a file of its own")),
            _ => Err(format!("{name}: is neither a file nor a directory nor a symbolic link")),
        }
    }

    /// Where an entry goes; `None` for the top itself.
    fn place(&mut self, name: &str, kind: EntryType) -> Result<Option<String>, String> {
        if name.split('/').any(|part| part == "..") {
            return Err(format!("{name}: leads out of the archive"));
        }
        let path = clean(name).map_err(|_| format!("{name}: leads out of the archive"))?;
        if path.matches('/').count() > DEPTH_MAX {
            return Err(format!("{name}: directories are nested deeper than {DEPTH_MAX}"));
        }
        if self.top == Top::Keep || path.is_empty() {
            return Ok((!path.is_empty()).then_some(path));
        }
        let (base, rest) = match path.split_once('/') {
            Some((base, rest)) => (base.to_owned(), Some(rest.to_owned())),
            None if kind == EntryType::Directory => (path, None),
            None => return Err(format!("{name}: lies outside the chart's directory")),
        };
        if *self.base.get_or_insert_with(|| base.clone()) != base {
            return Err(format!("{name}: lies outside the chart's directory"));
        }
        Ok(rest)
    }

    fn once(&mut self, path: &str) -> Result<(), String> {
        if self.seen.insert(path.to_owned()) { Ok(()) } else { Err(format!("{path}: is there twice")) }
    }

    /// Links come last, so that no file is written through one.
    fn link(&self) -> Result<(), String> {
        for (path, to) in &self.links {
            let target = self.into.join(path);
            let fail = |error: io::Error| format!("{path}: {error}");
            if let Some(parent) = target.parent() {
                // A parent that is a link made just now would lead elsewhere.
                let mut here = self.into.to_owned();
                for part in parent.strip_prefix(self.into).into_iter().flat_map(Path::components) {
                    here.push(part);
                    if here.is_symlink() {
                        return Err(format!("{path}: lies below a symbolic link"));
                    }
                }
                fs::create_dir_all(parent).map_err(fail)?;
            }
            std::os::unix::fs::symlink(to, &target).map_err(fail)?;
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "it holds a name that is not UTF-8".to_owned())
}

/// Sets the time of every file and directory to a digest of what is in it: a tree on disk tells contents apart by length and
/// time, so that a new version of which nothing changed that a render read renders nothing.
fn stamp(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let found = fs::symlink_metadata(path)?;
    if found.file_type().is_symlink() {
        hash.update(fs::read_link(path)?.as_os_str().as_encoded_bytes());
        return Ok(hash.finalize().into());
    }
    if found.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        names.sort();
        for name in names {
            hash.update(name.as_encoded_bytes());
            hash.update([0]);
            hash.update(stamp(&path.join(name))?);
        }
    } else {
        io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
    }
    let digest: [u8; 32] = hash.finalize().into();
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let seconds = number(&digest[..4]) >> 1;
    let nanos = u32::try_from(number(&digest[4..8]) % 1_000_000_000).unwrap_or_default();
    File::open(path)?.set_modified(UNIX_EPOCH + Duration::new(seconds, nanos))?;
    Ok(digest)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

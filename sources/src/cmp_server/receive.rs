//! One call's files: the stream to a temporary file, its checksum, and a fresh directory that is gone when the call is.
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tonic::{Status, Streaming};

use super::unpack::{Limits, remove, unpack};
use crate::plugin::proto::plugin::app_stream_request::Request as Part;
use crate::plugin::proto::plugin::{AppStreamRequest, ManifestRequestMetadata};
use crate::tree::{Tree, clean};

/// Most bytes of an archive as it is sent.
const ARCHIVE_BYTES: u64 = 1 << 30;

/// The files of a source, unpacked.
pub(super) struct Received {
    root: PathBuf,
    /// The source's directory.
    pub(super) app: PathBuf,
    /// What the caller wants its commands to know.
    pub(super) variables: Vec<(String, String)>,
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.root) {
            tracing::error!(path = %self.root.display(), %error, "the work directory cannot be removed");
        }
    }
}

/// Takes a stream: metadata first, then the archive in pieces.
pub(super) async fn receive(
    mut stream: Streaming<AppStreamRequest>,
    work: &Path,
    keep_modes: bool,
) -> Result<Received, Status> {
    let first = stream.message().await?.and_then(|message| message.request);
    let Some(Part::Metadata(metadata)) = first else {
        return Err(Status::invalid_argument("the stream must begin with the metadata"));
    };
    let disk = |error: std::io::Error| {
        Status::internal(format!(
            "the work directory {} cannot be used: {error}; set ARGOCD_CMP_WORKDIR",
            work.display()
        ))
    };
    let mut file = tempfile::tempfile_in(work).map_err(disk)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(message) = stream.message().await? {
        let Some(Part::File(piece)) = message.request else {
            return Err(Status::invalid_argument("after the metadata the stream must hold pieces of the archive only"));
        };
        bytes += piece.chunk.len() as u64;
        if bytes > ARCHIVE_BYTES {
            return Err(Status::resource_exhausted(format!("the archive has more than {ARCHIVE_BYTES} bytes")));
        }
        hash.update(&piece.chunk);
        file.write_all(&piece.chunk).map_err(disk)?;
    }
    if hex::encode(hash.finalize()) != metadata.checksum {
        return Err(Status::data_loss("the archive's checksum is another than was said: it was damaged on the way"));
    }
    file.rewind().map_err(disk)?;
    let work = work.to_owned();
    tokio::task::spawn_blocking(move || unpacked(file, &work, metadata, keep_modes))
        .await
        .map_err(|_| Status::internal("unpacking the archive came to no end"))?
}

fn unpacked(file: File, work: &Path, metadata: ManifestRequestMetadata, keep_modes: bool) -> Result<Received, Status> {
    let root = tempfile::Builder::new().prefix("call-").tempdir_in(work);
    let root = root.map_err(|error| Status::internal(error.to_string()))?.keep();
    // From here on it is removed whatever happens.
    let mut received = Received { app: root.clone(), root, variables: Vec::new() };
    unpack(file, &received.root, keep_modes, Limits::default())
        .map_err(|refused| Status::invalid_argument(refused.to_string()))?;
    let outside =
        |reason: String| Status::invalid_argument(format!("appRelPath {:?}: {reason}", metadata.app_rel_path));
    let path = clean(&metadata.app_rel_path).map_err(|error| outside(error.to_string()))?;
    if !Tree::of_directory(&received.root).is_directory(&path).map_err(|error| outside(error.to_string()))? {
        return Err(outside("there is no such directory in the archive".to_owned()));
    }
    received.app = received.root.join(path);
    received.variables = metadata
        .env
        .into_iter()
        .filter(|entry| !entry.name.is_empty())
        .map(|entry| (entry.name, entry.value))
        .collect();
    Ok(received)
}

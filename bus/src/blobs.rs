//! Bodies by digest: what was put can only be read back unchanged. Large ones go in pieces, the index last.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::{Bytes, BytesMut};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::BusError;

/// Bytes of one message.
const PIECE_BYTES: usize = 512 * 1024;
/// Bytes of one body.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes kept in this process.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
const PIECES: &str = "Tako-Pieces";

/// SHA-256 of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = BusError;
    fn from_str(text: &str) -> Result<Self, BusError> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(BusError::codec)?;
        Ok(Self(digest))
    }
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    jetstream: Context,
    near: Arc<Cache<Digest, Bytes>>,
}

impl Blobs {
    pub(crate) fn new(jetstream: Context) -> Self {
        let weigh = |_: &Digest, body: &Bytes| u32::try_from(body.len()).unwrap_or(u32::MAX);
        Self { jetstream, near: Arc::new(Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).build()) }
    }

    /// Forgets what was stored: the server may have lost it.
    pub(crate) fn forget(&self) {
        self.near.invalidate_all();
    }

    /// Stores a body; the same body again costs one look.
    pub async fn put(&self, body: &[u8]) -> Result<Digest, BusError> {
        let digest = Digest::of(body);
        if body.len() > BODY_BYTES_MAX {
            return Err(BusError::Codec(format!("a body of {} bytes; at most {BODY_BYTES_MAX} are taken", body.len())));
        }
        if self.near.contains_key(&digest) {
            return Ok(digest);
        }
        if body.len() <= PIECE_BYTES {
            self.publish(digest.to_string(), HeaderMap::new(), Bytes::copy_from_slice(body)).await?;
        } else {
            let pieces = body.chunks(PIECE_BYTES);
            let mut headers = HeaderMap::new();
            headers.insert(PIECES, pieces.len().to_string());
            for (number, piece) in pieces.enumerate() {
                self.publish(format!("{digest}.{number}"), HeaderMap::new(), Bytes::copy_from_slice(piece)).await?;
            }
            self.publish(digest.to_string(), headers, Bytes::new()).await?;
        }
        self.near.insert(digest, Bytes::copy_from_slice(body));
        Ok(digest)
    }

    /// A body; `None` when it is not (or no longer) there.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Bytes>, BusError> {
        if let Some(body) = self.near.get(digest) {
            return Ok(Some(body));
        }
        let Some((headers, payload)) = self.fetch(&digest.to_string()).await? else { return Ok(None) };
        let body = match headers.get(PIECES).map(|count| count.as_str().parse::<usize>()) {
            None => payload,
            Some(Err(_)) => return Err(BusError::Damaged(digest.to_string())),
            Some(Ok(count)) if count > BODY_BYTES_MAX / PIECE_BYTES + 1 => {
                return Err(BusError::Damaged(digest.to_string()));
            }
            Some(Ok(count)) => {
                let mut body = BytesMut::new();
                for number in 0..count {
                    let Some((_, piece)) = self.fetch(&format!("{digest}.{number}")).await? else { return Ok(None) };
                    body.extend_from_slice(&piece);
                }
                body.freeze()
            }
        };
        if Digest::of(&body) != *digest {
            return Err(BusError::Damaged(digest.to_string()));
        }
        self.near.insert(*digest, body.clone());
        Ok(Some(body))
    }

    async fn publish(&self, key: String, headers: HeaderMap, body: Bytes) -> Result<(), BusError> {
        let sent = self
            .jetstream
            .publish_with_headers(format!("$KV.blob.{key}"), headers, body)
            .await
            .map_err(BusError::unreachable)?;
        sent.await.map(|_| ()).map_err(BusError::unreachable)
    }

    async fn fetch(&self, key: &str) -> Result<Option<(HeaderMap, Bytes)>, BusError> {
        let stream = self.jetstream.get_stream_no_info("KV_blob").await.map_err(BusError::unreachable)?;
        match stream.direct_get_last_for_subject(format!("$KV.blob.{key}")).await {
            Ok(message) => Ok(Some((message.headers, message.payload))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(BusError::unreachable(error)),
        }
    }
}

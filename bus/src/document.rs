//! Answers that may be long: asked for as any other request, and sent back in pieces, so that no answer is limited by
//! the size of one message and none is kept anywhere. Core NATS, queue groups.
use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{decode, encode};
use crate::subject::PREFIX;
use crate::{Bus, BusError};

/// Bytes of one message; a server takes a MiB by default.
const PIECE_BYTES: usize = 512 * 1024;
/// Bytes of one answer.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// On the first piece: how many there are, and what the answer is, as HTTP.
const PIECES: &str = "Tako-Pieces";
const CODE: &str = "Tako-Code";

/// A long answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// As HTTP.
    pub code: u16,
    /// What was asked for; in words why not, when the code is not 200.
    pub body: Vec<u8>,
}

impl Document {
    /// Why there is none.
    pub fn refused(code: u16, message: impl Into<String>) -> Self {
        Self { code, body: message.into().into_bytes() }
    }

    /// A value as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { code: 200, body },
            Err(error) => Self::refused(500, error.to_string()),
        }
    }
}

impl Bus {
    /// Asks for a document, and waits at most `timeout` for all of it.
    pub async fn ask<Q: Serialize>(&self, tail: &str, ask: &Q, timeout: Duration) -> Result<Document, BusError> {
        let client = &self.inner.client;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(BusError::unreachable)?;
        let subject = format!("{PREFIX}.rpc.{tail}");
        client.publish_with_reply(subject, inbox, encode(ask)?.into()).await.map_err(BusError::unreachable)?;
        let whole = async {
            let first = answers.next().await?;
            if first.status == Some(StatusCode::NO_RESPONDERS) {
                return None;
            }
            let headers = first.headers.unwrap_or_default();
            let number = |name: &str| headers.get(name)?.as_str().parse::<usize>().ok();
            let pieces = number(PIECES).filter(|pieces| *pieces <= BODY_BYTES_MAX / PIECE_BYTES + 1)?;
            let code = number(CODE).and_then(|code| u16::try_from(code).ok())?;
            let mut body = first.payload.to_vec();
            for _ in 1..pieces {
                body.extend_from_slice(&answers.next().await?.payload);
            }
            Some(Document { code, body })
        };
        let answer = tokio::time::timeout(timeout, whole).await.ok().flatten();
        answer.ok_or_else(|| BusError::NoAnswer(tail.to_owned()))
    }

    /// Answers such requests until the process ends. Several processes with one `queue` share them.
    pub async fn serve_documents<Q, F, Fut>(&self, tail: &str, queue: &str, handler: F) -> Result<(), BusError>
    where
        Q: DeserializeOwned + Send + 'static,
        F: Fn(Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Document> + Send + 'static,
    {
        let client = self.inner.client.clone();
        let subject = format!("{PREFIX}.rpc.{tail}");
        let mut asked = client.queue_subscribe(subject, queue.to_owned()).await.map_err(BusError::unreachable)?;
        tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let (Ok(ask), Some(reply)) = (decode::<Q>(&message.payload), message.reply) else { continue };
                let (client, answer) = (client.clone(), handler(ask));
                tokio::spawn(async move {
                    if let Err(error) = send(&client, &reply, answer.await).await {
                        tracing::debug!(%error, "a document was not sent");
                    }
                });
            }
        });
        Ok(())
    }
}

async fn send(
    client: &async_nats::Client,
    reply: &async_nats::Subject,
    document: Document,
) -> Result<(), async_nats::client::PublishError> {
    let document = if document.body.len() > BODY_BYTES_MAX {
        let message = format!("the answer is longer than {} MiB; ask for less", BODY_BYTES_MAX / 1024 / 1024);
        Document::refused(413, message)
    } else {
        document
    };
    let mut headers = HeaderMap::new();
    headers.insert(PIECES, document.body.len().div_ceil(PIECE_BYTES).max(1).to_string());
    headers.insert(CODE, document.code.to_string());
    let mut rest = Bytes::from(document.body);
    client.publish_with_headers(reply.clone(), headers, rest.split_to(rest.len().min(PIECE_BYTES))).await?;
    while !rest.is_empty() {
        client.publish(reply.clone(), rest.split_to(rest.len().min(PIECE_BYTES))).await?;
    }
    Ok(())
}

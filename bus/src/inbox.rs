//! A queue as it is consumed: deliveries that must be acked, nack themselves when dropped, and tell the server
//! that they are still worked on. A message that cannot be read goes to the dead letters at once.
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{Bus, BusError, STREAMS, Written};

const PULL_EXPIRES: Duration = Duration::from_secs(15);
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);
const ACK_TRIES: usize = 3;

/// Where an inbox reads from.
pub(crate) struct Source {
    pub(crate) stream: &'static str,
    pub(crate) config: pull::Config,
    pub(crate) slots: usize,
    pub(crate) ack_wait: Duration,
}

type Read<T> = fn(&[u8], Option<&HeaderMap>) -> Result<T, BusError>;

/// A queue. It does not end when the server goes away; it waits.
pub struct Inbox<T> {
    bus: Bus,
    source: Source,
    read: Read<T>,
    messages: Option<pull::Stream>,
    connections: watch::Receiver<u64>,
}

impl<T> Inbox<T> {
    pub(crate) async fn open(bus: &Bus, source: Source, read: Read<T>) -> Result<Self, BusError> {
        let mut inbox =
            Self { bus: bus.clone(), source, read, messages: None, connections: bus.inner.connections.clone() };
        inbox.messages = Some(inbox.subscribe().await?);
        Ok(inbox)
    }

    async fn subscribe(&mut self) -> Result<pull::Stream, BusError> {
        self.connections.mark_unchanged();
        let stream =
            self.bus.inner.jetstream.get_stream_no_info(self.source.stream).await.map_err(BusError::unreachable)?;
        let consumer = stream.create_consumer(self.source.config.clone()).await.map_err(BusError::unreachable)?;
        let builder =
            consumer.stream().max_messages_per_batch(self.source.slots).expires(PULL_EXPIRES).heartbeat(PULL_HEARTBEAT);
        builder.messages().await.map_err(BusError::unreachable)
    }

    /// The next delivery; `None` only when the process goes down.
    pub async fn next(&mut self) -> Option<Delivery<T>> {
        loop {
            let Some(messages) = &mut self.messages else {
                match self.subscribe().await {
                    Ok(fresh) => self.messages = Some(fresh),
                    Err(error) => {
                        tracing::debug!(stream = self.source.stream, %error, "queue not there yet");
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                }
                continue;
            };
            let message = tokio::select! {
                message = messages.next() => message,
                // The request for messages went with the old connection.
                Ok(()) = self.connections.changed() => {
                    self.messages = None;
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => {
                    if let Some(delivery) = self.deliver(message).await {
                        return Some(delivery);
                    }
                }
                // A missed heartbeat, a lost pull, a consumer gone with its server: ask anew (research/bus.md 2.3, trap 6).
                Some(Err(error)) => {
                    tracing::debug!(stream = self.source.stream, %error, "queue interrupted");
                    self.messages = None;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                None => self.messages = None,
            }
        }
    }

    async fn deliver(&self, message: Message) -> Option<Delivery<T>> {
        match (self.read)(&message.payload, message.headers.as_ref()) {
            Ok(body) => Some(Delivery::new(body, message, &self.source, self.bus.reconnects())),
            Err(error) => {
                tracing::error!(subject = %message.subject, %error, "a message that cannot be read goes to the dead letters");
                let mut headers = message.headers.clone().unwrap_or_default();
                headers.insert("Tako-Error", error.to_string().replace(['\r', '\n'], " "));
                let subject = message.subject.replacen("tako.v1.", "tako.v1.dlq.", 1);
                if self.bus.publish(subject, headers, message.payload.clone()).await.is_ok() {
                    let _ = message.ack_with(AckKind::Term).await;
                }
                None
            }
        }
    }
}

/// One message in hand. Ack it last; dropping it gives it back.
pub struct Delivery<T> {
    /// What it says.
    pub body: T,
    message: Option<Message>,
    progress: AbortHandle,
    runtime: Handle,
    /// Of a queue in memory: where the server's reconnects stood. After another one the message is no more, and an ack
    /// with its numbers would speak of a newer one.
    gone_after: Option<(watch::Receiver<u64>, u64)>,
}

impl<T> Delivery<T> {
    fn new(body: T, message: Message, source: &Source, reconnects: watch::Receiver<u64>) -> Self {
        let runtime = Handle::current();
        let ack_wait = source.ack_wait;
        let in_memory = STREAMS.iter().any(|row| row.name == source.stream && row.written == Written::Memory);
        let known = *reconnects.borrow();
        let (_, acker) = message.clone().split();
        let progress = runtime
            .spawn(async move {
                loop {
                    tokio::time::sleep(ack_wait / 3).await;
                    let _ = acker.ack_with(AckKind::Progress).await;
                }
            })
            .abort_handle();
        Self { body, message: Some(message), progress, runtime, gone_after: in_memory.then_some((reconnects, known)) }
    }

    fn gone(&self) -> bool {
        self.gone_after.as_ref().is_some_and(|(reconnects, known)| *reconnects.borrow() != *known)
    }

    /// All is done: the message is gone when this returns Ok.
    pub async fn ack(mut self) -> Result<(), BusError> {
        self.progress.abort();
        let Some(message) = self.message.take() else { return Ok(()) };
        let mut last = String::new();
        for _ in 0..ACK_TRIES {
            if self.gone() {
                return Ok(());
            }
            match message.double_ack().await {
                Ok(()) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(BusError::Unreachable(last))
    }

    /// Not now: it comes again after `pause`, unless a newer one takes its place.
    pub async fn retry(mut self, pause: Duration) {
        self.progress.abort();
        let gone = self.gone();
        if let Some(message) = self.message.take().filter(|_| !gone) {
            let _ = message.ack_with(AckKind::Nak(Some(pause))).await;
        }
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        self.progress.abort();
        let gone = self.gone();
        if let Some(message) = self.message.take().filter(|_| !gone) {
            self.runtime.spawn(async move {
                let _ = message.ack_with(AckKind::Nak(None)).await;
            });
        }
    }
}

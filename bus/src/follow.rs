//! Following a bucket: present values first, then every change, through any loss of the connection or the server.
//! The resume is our own: async-nats starts an ordered consumer that saw nothing from the beginning again
//! (research/bus.md 2.3, trap 1) and waits for ever after a stream was made anew (trap 2).
use std::marker::PhantomData;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::envelope::decode;
use crate::kv::is_deletion;
use crate::{Bucket, Bus, BusError};

const BATCH: usize = 256;
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// One step of a bucket's life.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T> {
    /// A key has this value now.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: T,
        /// Grows with every change of the bucket.
        seq: u64,
    },
    /// A key is gone.
    Delete {
        /// The key.
        key: String,
        /// Grows with every change of the bucket.
        seq: u64,
    },
    /// All present values have been told.
    Snapshot,
    /// The bucket was made anew: forget everything; what it holds follows.
    Reset,
}

/// A follower. Poll it always; it never ends by itself.
pub struct Follow<T> {
    bus: Bus,
    bucket: Bucket,
    connections: watch::Receiver<u64>,
    messages: Option<pull::Stream>,
    /// When the stream was made; another time is another stream.
    incarnation: Option<String>,
    last: u64,
    /// The consumer sequence that must come next; a hole means a lost message.
    expected: u64,
    snapshot_told: bool,
    pending: std::collections::VecDeque<Change<T>>,
    marker: PhantomData<T>,
}

impl<T: DeserializeOwned> Follow<T> {
    pub(crate) fn new(bus: Bus, bucket: Bucket) -> Self {
        let connections = bus.inner.connections.clone();
        Self {
            bus,
            bucket,
            connections,
            messages: None,
            incarnation: None,
            last: 0,
            expected: 1,
            snapshot_told: false,
            pending: std::collections::VecDeque::new(),
            marker: PhantomData,
        }
    }

    /// The next change.
    pub async fn next(&mut self) -> Option<Change<T>> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some(change);
            }
            let Some(messages) = &mut self.messages else {
                if let Err(error) = self.subscribe().await {
                    tracing::debug!(bucket = self.bucket.name(), %error, "cannot follow yet");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            };
            let message = tokio::select! {
                message = messages.next() => message,
                // A new connection may hide a loss: begin again after the last that was seen.
                changed = self.connections.changed() => {
                    if changed.is_ok() {
                        self.messages = None;
                    } else {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
            };
            match message {
                Some(Ok(message)) => self.take(&message),
                Some(Err(error)) => {
                    tracing::debug!(bucket = self.bucket.name(), %error, "following interrupted");
                    self.messages = None;
                    tokio::time::sleep(PAUSE).await;
                }
                None => self.messages = None,
            }
        }
    }

    fn take(&mut self, message: &async_nats::jetstream::Message) {
        let Ok(info) = message.info() else { return };
        if info.consumer_sequence != self.expected {
            self.messages = None;
            return;
        }
        let (seq, pending) = (info.stream_sequence, info.pending);
        self.expected += 1;
        if seq > self.last {
            self.last = seq;
            let prefix = self.bucket.name().len() + "$KV..".len();
            let key = message.subject.get(prefix..).unwrap_or_default().to_owned();
            if is_deletion(message.headers.as_ref()) {
                self.pending.push_back(Change::Delete { key, seq });
            } else {
                match decode(&message.payload) {
                    Ok(value) => self.pending.push_back(Change::Put { key, value, seq }),
                    Err(error) => {
                        tracing::error!(bucket = self.bucket.name(), key, %error, "a value that cannot be read is left out")
                    }
                }
            }
        }
        if pending == 0 && !self.snapshot_told {
            self.snapshot_told = true;
            self.pending.push_back(Change::Snapshot);
        }
    }

    async fn subscribe(&mut self) -> Result<(), BusError> {
        self.connections.mark_unchanged();
        let jetstream = &self.bus.inner.jetstream;
        let stream = jetstream.get_stream(self.bucket.stream()).await.map_err(BusError::unreachable)?;
        let info = stream.cached_info();
        let created = info.created.to_string();
        let known = self.incarnation.replace(created.clone());
        let remade = known.as_ref().is_some_and(|known| *known != created) || info.state.last_sequence < self.last;
        if remade {
            (self.last, self.snapshot_told) = (0, false);
            self.pending.push_back(Change::Reset);
        }
        let deliver_policy = match self.last {
            0 => DeliverPolicy::LastPerSubject,
            last => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: format!("$KV.{}.>", self.bucket.name()),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(BusError::unreachable)?;
        let waiting = consumer.cached_info().num_pending;
        let builder = consumer.stream().max_messages_per_batch(BATCH).expires(EXPIRES).heartbeat(HEARTBEAT);
        self.messages = Some(builder.messages().await.map_err(BusError::unreachable)?);
        self.expected = 1;
        if waiting == 0 && !self.snapshot_told {
            self.snapshot_told = true;
            self.pending.push_back(Change::Snapshot);
        }
        Ok(())
    }
}

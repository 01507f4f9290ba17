//! The connection: made with patience, watched, and the streams kept as the table says.
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event as ConnectionEvent, HeaderMap};
use bytes::Bytes;
use tokio::sync::watch;

use crate::audit::Chain;
use crate::blobs::Blobs;
use crate::{BusError, streams};

/// JetStream API level of nats-server 2.14.
const API_LEVEL_MIN: u64 = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A publish is tried so many times, 100 ms to 2 s apart: a restart of the server is outlived.
const PUBLISH_TRIES: u32 = 12;
const PROVISION_EVERY: Duration = Duration::from_secs(60);

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// `nats://host:port`.
    pub url: String,
    /// User.
    pub user: Option<String>,
    /// Password. Never logged.
    pub password: Option<String>,
    /// This process in logs and audit.
    pub process: String,
    /// 1 with one server, 3 in a cluster.
    pub replicas: usize,
}

/// A handle on the bus; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) process: String,
    /// Counts connections made: who follows a stream starts over at each.
    pub(crate) connections: watch::Receiver<u64>,
    /// Counts connections to the only server after the first.
    reconnects: watch::Receiver<u64>,
    pub(crate) chain: Chain,
    pub(crate) blobs: Blobs,
    provisioner: tokio::task::JoinHandle<()>,
}

impl Bus {
    /// Connects, waiting for the server if need be, and provisions.
    pub async fn connect(config: &BusConfig) -> Result<Self, BusError> {
        let (count, connections) = watch::channel(0_u64);
        let (tell_reconnect, reconnects) = watch::channel(0_u64);
        let mut options = ConnectOptions::new()
            .name(&config.process)
            .ping_interval(Duration::from_secs(10))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(backoff)
            .event_callback(move |event| {
                match &event {
                    ConnectionEvent::Connected => count.send_modify(|connections| *connections += 1),
                    ConnectionEvent::Disconnected => tracing::warn!("the bus is away"),
                    _ => {}
                }
                async {}
            });
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        let client = options.retry_on_initial_connect().connect(&config.url).await.map_err(BusError::unreachable)?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        ready(&jetstream, config.replicas).await?;
        let (context, replicas) = (jetstream.clone(), config.replicas);
        let provisioner = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROVISION_EVERY).await;
                if let Err(error) = streams::provision(&context, replicas).await {
                    tracing::warn!(%error, "streams not checked");
                }
            }
        });
        let blobs = Blobs::new(jetstream.clone());
        if config.replicas == 1 {
            tokio::spawn(watch_reconnects(jetstream.clone(), connections.clone(), tell_reconnect, blobs.clone()));
        }
        let inner = Inner {
            client,
            jetstream,
            process: config.process.clone(),
            connections,
            reconnects,
            chain: Chain::default(),
            blobs,
            provisioner,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends what is buffered and ends the connection.
    pub async fn close(self) {
        self.inner.provisioner.abort();
        let _ = self.inner.client.drain().await;
    }

    /// Changes when the only server may have been started anew: at every new connection. What is rebuildable is written behind (`streams.rs`), so its last
    /// moments may be lost: whoever put or woke something then does so again. A cluster of servers loses nothing.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.inner.reconnects.clone()
    }

    /// The bodies.
    pub fn blobs(&self) -> Blobs {
        self.inner.blobs.clone()
    }

    /// Publishes until the server confirms. With `Nats-Msg-Id` in the headers a try too many does no harm.
    pub(crate) async fn publish(&self, subject: String, headers: HeaderMap, body: Bytes) -> Result<u64, BusError> {
        let mut last = String::new();
        for attempt in 0..PUBLISH_TRIES {
            let sent = self.inner.jetstream.publish_with_headers(subject.clone(), headers.clone(), body.clone()).await;
            match sent {
                Ok(confirmed) => match confirmed.await {
                    Ok(confirmed) => return Ok(confirmed.sequence),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error.to_string(),
            }
            if last.contains("maximum messages per subject exceeded") {
                return Err(BusError::Codec(last));
            }
            tokio::time::sleep(backoff(attempt as usize + 1)).await;
        }
        Err(BusError::Unreachable(last))
    }
}

/// Every connection after the first may be to a server that was started anew (what the client knows of the server's
/// identity comes too late to tell), so every one counts.
async fn watch_reconnects(
    jetstream: Context,
    mut connections: watch::Receiver<u64>,
    tell: watch::Sender<u64>,
    blobs: Blobs,
) {
    while connections.changed().await.is_ok() {
        if *connections.borrow_and_update() < 2 {
            continue;
        }
        tracing::warn!("the bus is back; everything is looked at again");
        // The queue of work is in memory: it must be there again before anybody is told to fill it.
        if let Err(error) = ready(&jetstream, 1).await {
            tracing::error!(%error, "the streams are not there again");
        }
        blobs.forget();
        tell.send_modify(|reconnects| *reconnects += 1);
    }
}

/// 50 ms doubling to 2 s, with jitter so that processes do not come back in step.
fn backoff(attempt: usize) -> Duration {
    let base = 50_u64.saturating_mul(1 << attempt.min(5)).min(2000);
    let jitter = u64::from(uuid::Uuid::new_v4().as_fields().1) % (base / 2 + 1);
    Duration::from_millis(base / 2 + jitter)
}

async fn ready(jetstream: &Context, replicas: usize) -> Result<(), BusError> {
    let mut last = BusError::Unreachable("no connection yet".to_owned());
    for attempt in 0..40 {
        match level(jetstream).await {
            Ok(found) if found < API_LEVEL_MIN => return Err(BusError::TooOld { found, wanted: API_LEVEL_MIN }),
            Ok(_) => match streams::provision(jetstream, replicas).await {
                Err(error @ BusError::Stream { .. }) => return Err(error),
                Err(error) => last = error,
                Ok(()) => return Ok(()),
            },
            Err(error) => last = error,
        }
        tokio::time::sleep(backoff(attempt)).await;
    }
    Err(last)
}

async fn level(jetstream: &Context) -> Result<u64, BusError> {
    let answer: serde_json::Value = match jetstream.request("INFO", &()).await.map_err(BusError::unreachable)? {
        jetstream::response::Response::Ok(answer) => answer,
        jetstream::response::Response::Err { error } => return Err(BusError::unreachable(error)),
    };
    Ok(answer.pointer("/api/level").and_then(serde_json::Value::as_u64).unwrap_or_default())
}

//! Leases: one holder at a time, for as long as it renews. They spread work; the lock of record for a cluster is
//! the Application's resourceVersion. The epoch grows with every new holder, so writes can be fenced.
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::kv::is_deletion;
use crate::{Bus, BusError};

/// Seconds after which an unrenewed lease ends at the server.
const TTL_SECONDS: u64 = 15;
const RENEW: Duration = Duration::from_secs(5);
/// The holder stops by its own clock before the server lets go.
const HOLD: Duration = Duration::from_secs(12);

/// A lease in hand. Dropping it lets it run out.
pub struct Lease {
    subject: String,
    jetstream: Context,
    epoch: u64,
    lost: watch::Receiver<bool>,
    renewing: JoinHandle<u64>,
    stop: watch::Sender<bool>,
}

impl Bus {
    /// Tries to take a lease; `None` while somebody else holds it.
    pub async fn lease(&self, key: &str) -> Result<Option<Lease>, BusError> {
        let jetstream = self.inner.jetstream.clone();
        let subject = format!("$KV.lease.{}", crate::subject::token(key));
        let holder = self.inner.process.clone();
        let Some(epoch) = acquire(&jetstream, &subject, &holder).await? else { return Ok(None) };
        let (tell_lost, lost) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let renewing = tokio::spawn(renew(jetstream.clone(), subject.clone(), holder, epoch, tell_lost, stopped));
        Ok(Some(Lease { subject, jetstream, epoch, lost, renewing, stop }))
    }
}

impl Lease {
    /// Greater than that of every holder before.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it may still be relied on.
    pub fn held(&self) -> bool {
        !*self.lost.borrow()
    }

    /// Returns when it is lost.
    pub async fn lost(&mut self) {
        let _ = self.lost.wait_for(|lost| *lost).await;
    }

    /// Gives it back: the next may take it at once.
    pub async fn release(self) {
        let _ = self.stop.send(true);
        if let Ok(last) = self.renewing.await {
            let mut headers = HeaderMap::new();
            headers.insert("KV-Operation", "DEL");
            headers.insert("Nats-TTL", "1");
            headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string());
            if let Ok(sent) = self.jetstream.publish_with_headers(self.subject, headers, bytes::Bytes::new()).await {
                let _ = sent.await;
            }
        }
    }
}

/// Publishes the lease if the subject's last sequence is `expected`. `None`: it is not.
async fn publish(jetstream: &Context, subject: &str, holder: &str, expected: u64) -> Result<Option<u64>, BusError> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-TTL", TTL_SECONDS.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    let sent = jetstream
        .publish_with_headers(subject.to_owned(), headers, holder.to_owned().into())
        .await
        .map_err(BusError::unreachable)?;
    match sent.await {
        Ok(confirmed) => Ok(Some(confirmed.sequence)),
        Err(error)
            if error.kind() == PublishErrorKind::WrongLastSequence
                || error.to_string().contains("wrong last sequence") =>
        {
            Ok(None)
        }
        Err(error) => Err(BusError::unreachable(error)),
    }
}

async fn acquire(jetstream: &Context, subject: &str, holder: &str) -> Result<Option<u64>, BusError> {
    if let Some(epoch) = publish(jetstream, subject, holder, 0).await? {
        return Ok(Some(epoch));
    }
    // Not from a replica: a stale answer would be a second holder.
    let stream = jetstream.get_stream_no_info("KV_lease").await.map_err(BusError::unreachable)?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(last) if is_deletion(Some(&last.headers)) => publish(jetstream, subject, holder, last.sequence).await,
        Ok(_) => Ok(None),
        Err(_) => publish(jetstream, subject, holder, 0).await,
    }
}

async fn renew(
    jetstream: Context,
    subject: String,
    holder: String,
    mut last: u64,
    tell_lost: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) -> u64 {
    let mut good_until = Instant::now() + HOLD;
    let mut pause = RENEW;
    loop {
        if tokio::time::timeout(pause, asked(&mut stopped)).await.is_ok() {
            return last;
        }
        let renewed = tokio::time::timeout_at(good_until, publish(&jetstream, &subject, &holder, last)).await;
        match renewed {
            Ok(Ok(Some(sequence))) => (last, good_until, pause) = (sequence, Instant::now() + HOLD, RENEW),
            Ok(Err(_)) if Instant::now() < good_until => pause = Duration::from_millis(500),
            _ => {
                let _ = tell_lost.send(true);
                return last;
            }
        }
    }
}

/// Returns when the lease is released or dropped: from then on nothing renews it.
async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

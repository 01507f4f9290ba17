//! Keeps a local copy of a bucket by following it, for a stage that must look things up by its own index.
//! Knows nothing of what the values mean.
use std::time::Duration;

use serde::de::DeserializeOwned;
use tako_bus::{Bucket, Bus, Change};

/// Follows `bucket` for ever, handing every change to `fold`. Reconnects are the bus's affair.
pub(crate) async fn follow<T, F>(bus: Bus, bucket: Bucket, mut fold: F)
where
    T: DeserializeOwned + Send + 'static,
    F: FnMut(Change<T>) + Send,
{
    loop {
        match bus.kv(bucket).follow::<T>().await {
            Ok(mut changes) => {
                while let Some(change) = changes.next().await {
                    fold(change);
                }
            }
            Err(error) => tracing::warn!(?bucket, %error, "cannot follow yet"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

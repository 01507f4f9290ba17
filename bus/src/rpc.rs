//! Requests that are answered at once and leave no trace: sign-in, sessions, webhook signatures,
//! what may be done to an object. Core NATS, queue groups.
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tako_engine::actions::ActionInfo;
use tako_engine::app::AppKey;
use tako_engine::webhook::{Proof, Provider};
use uuid::Uuid;

use crate::command::ResourceName;
use crate::envelope::{decode, encode};
use crate::subject::PREFIX;
use crate::{Bus, BusError};

/// Begin a session.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionCreate {
    /// The account.
    pub username: String,
    /// Never logged: this type has no Debug.
    pub password: String,
}

/// The answer to [`SessionCreate`].
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionCreated {
    /// The password was right.
    pub ok: bool,
    /// The session token.
    pub token: Option<String>,
    /// Why not, for the user.
    pub message: String,
}

/// Is this token good?
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionVerify {
    /// The token.
    pub token: String,
}

/// The answer to [`SessionVerify`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionVerified {
    /// It is.
    pub ok: bool,
    /// Whose.
    pub username: String,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Is this webhook from who it says?
#[derive(Clone, Serialize, Deserialize)]
pub struct WebhookVerify {
    /// Who says to have sent it.
    pub provider: Provider,
    /// What it shows for that.
    pub proof: Proof,
    /// The body as received, or its first piece; empty where the proof is not of the body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// There is more of it.
    pub more: bool,
}

/// The next piece of a body, for the process that has those before.
#[derive(Clone, Serialize, Deserialize)]
pub struct WebhookPiece {
    /// Of which body.
    pub id: Uuid,
    /// Which: the one in [`WebhookVerify`] is 0.
    pub number: u32,
    /// The piece.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// There is more.
    pub more: bool,
}

/// The answer to [`WebhookVerify`] and [`WebhookPiece`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookVerified {
    /// It is.
    Good,
    /// It is not; why.
    Refused(String),
    /// Nobody's: this provider is known by its secret alone, and none is set.
    Unknown,
    /// That depends on the rest of the body.
    Rest {
        /// Where pieces are taken.
        to: String,
        /// The name of this body there.
        id: Uuid,
    },
    /// The pieces before are no longer here.
    Lost,
}

/// What may be done to this object of the Application's tree?
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionsList {
    /// Whose.
    pub app: AppKey,
    /// To what.
    pub resource: ResourceName,
}

/// The answer to [`ActionsList`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionsListed {
    /// As HTTP.
    pub code: u16,
    /// Why there is no list.
    pub message: String,
    /// The actions.
    pub actions: Vec<ActionInfo>,
}

/// Bytes of a body in one message. Servers take 1 MB when nobody asked for more.
const PIECE_BYTES: usize = 512 * 1024;

impl Bus {
    /// Asks whether a webhook is from who it says: `Good`, `Refused` or `Unknown`. A body of any size goes in pieces,
    /// and is kept nowhere: payloads come from anybody, and must not push out what is stored.
    pub async fn verify_webhook(
        &self,
        provider: Provider,
        proof: Proof,
        body: &[u8],
        timeout: Duration,
    ) -> Result<WebhookVerified, BusError> {
        let body = if matches!(proof, Proof::Hmac(_)) { body } else { &[] };
        let mut pieces = body.chunks(PIECE_BYTES);
        let first = pieces.next().unwrap_or_default().to_vec();
        let ask = WebhookVerify { provider, proof, body: first, more: pieces.len() > 0 };
        let mut answer: WebhookVerified = self.request("webhook.verify", &ask, timeout).await?;
        let mut number = 0;
        while let WebhookVerified::Rest { to, id } = &answer {
            let Some(piece) = pieces.next() else { break };
            number += 1;
            let piece = WebhookPiece { id: *id, number, body: piece.to_vec(), more: pieces.len() > 0 };
            answer = self.request(to, &piece, timeout).await?;
        }
        match answer {
            WebhookVerified::Rest { .. } | WebhookVerified::Lost => {
                Err(BusError::NoAnswer("webhook.verify".to_owned()))
            }
            told => Ok(told),
        }
    }

    /// Asks, and waits at most `timeout`.
    pub async fn request<Q: Serialize, R: DeserializeOwned>(
        &self,
        tail: &str,
        ask: &Q,
        timeout: Duration,
    ) -> Result<R, BusError> {
        let body = encode(ask)?;
        let asked = self.inner.client.request(format!("{PREFIX}.rpc.{tail}"), body.into());
        match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(answer)) => decode(&answer.payload),
            _ => Err(BusError::NoAnswer(tail.to_owned())),
        }
    }

    /// Answers requests until the process ends. Several processes with one `queue` share them.
    pub async fn serve<Q, R, F, Fut>(
        &self,
        tail: &str,
        queue: &str,
        handler: F,
    ) -> Result<tokio::task::JoinHandle<()>, BusError>
    where
        Q: DeserializeOwned + Send + 'static,
        R: Serialize + Send + 'static,
        F: Fn(Q) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let client = self.inner.client.clone();
        let mut asked = client
            .queue_subscribe(format!("{PREFIX}.rpc.{tail}"), queue.to_owned())
            .await
            .map_err(BusError::unreachable)?;
        Ok(tokio::spawn(async move {
            while let Some(message) = asked.next().await {
                let (Ok(ask), Some(reply)) = (decode::<Q>(&message.payload), message.reply) else { continue };
                let (client, answer) = (client.clone(), handler(ask));
                tokio::spawn(async move {
                    if let Ok(body) = encode(&answer.await) {
                        let _ = client.publish(reply, body.into()).await;
                    }
                });
            }
        }))
    }
}

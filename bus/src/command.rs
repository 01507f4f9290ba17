//! Commands of users: queued once an operation id, carried out by the registry, answered to whoever asked.
use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tako_engine::app::AppKey;
use tako_engine::requests::{RollbackRequest, SyncRequest};
use uuid::Uuid;

use crate::envelope::{Cause, cause_of, decode, encode, headers};
use crate::inbox::{Inbox, Source};
use crate::subject::PREFIX;
use crate::{Bus, BusError};

const ACK_WAIT: Duration = Duration::from_secs(60);

/// What a user wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Begin a sync.
    Sync {
        /// Whose.
        app: AppKey,
        /// What is asked for.
        request: Box<SyncRequest>,
        /// Who asks, as the operation names them.
        username: String,
    },
    /// Begin a sync to an earlier deployment.
    Rollback {
        /// Whose.
        app: AppKey,
        /// Which.
        request: RollbackRequest,
        /// Who asks, as the operation names them.
        username: String,
    },
    /// Look at git and the cluster again.
    Refresh {
        /// Whom.
        app: AppKey,
        /// Trust no cache.
        hard: bool,
    },
    /// End the running operation.
    Terminate {
        /// Whose.
        app: AppKey,
    },
    /// Run a resource action on one object of the Application's tree. Carried out at most once.
    RunAction {
        /// Whose.
        app: AppKey,
        /// On what.
        resource: ResourceName,
        /// Which.
        action: String,
        /// What it asks for.
        params: BTreeMap<String, String>,
    },
}

/// Names one live object, as the API does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceName {
    /// API group, empty for core.
    pub group: String,
    /// API version; the preferred one when empty.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Command {
    fn verb(&self) -> &'static str {
        match self {
            Self::Sync { .. } => "sync",
            Self::Rollback { .. } => "rollback",
            Self::Refresh { .. } => "refresh",
            Self::Terminate { .. } => "terminate",
            Self::RunAction { .. } => "action",
        }
    }

    /// The Application that it is about.
    pub fn app(&self) -> &AppKey {
        match self {
            Self::Sync { app, .. }
            | Self::Rollback { app, .. }
            | Self::Refresh { app, .. }
            | Self::Terminate { app }
            | Self::RunAction { app, .. } => app,
        }
    }
}

/// A command as it is received.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandItem {
    /// Its id; the same id is the same command.
    pub opid: Uuid,
    /// What is wanted.
    pub command: Command,
    /// Who asked.
    pub cause: Cause,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// It was done.
    pub ok: bool,
    /// As HTTP; what the state of things does not allow is 412.
    pub code: u16,
    /// In words, when it was not.
    pub message: String,
    /// The Application afterwards.
    pub body: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Body {
    opid: Uuid,
    command: Command,
}

impl Bus {
    /// Queues a command and waits for its answer. When the answer does not come in time the command stays queued.
    pub async fn command(&self, command: Command, cause: &Cause, timeout: Duration) -> Result<Reply, BusError> {
        self.command_with_id(Uuid::now_v7(), command, cause, timeout).await
    }

    /// As [`Bus::command`], with an id of the caller's.
    pub async fn command_with_id(
        &self,
        opid: Uuid,
        command: Command,
        cause: &Cause,
        timeout: Duration,
    ) -> Result<Reply, BusError> {
        let mut answers = self.inner.client.subscribe(reply_subject(opid)).await.map_err(BusError::unreachable)?;
        let (_, mut headers) = headers("command/1", cause);
        headers.insert("Nats-Msg-Id", opid.to_string());
        let subject = format!("{PREFIX}.cmd.{}.{}.{opid}", command.verb(), command.app().token());
        let body = encode(&Body { opid, command })?;
        self.publish(subject, headers, body.into()).await.map_err(|error| match error {
            BusError::Codec(_) => BusError::Duplicate(opid),
            other => other,
        })?;
        match tokio::time::timeout(timeout, answers.next()).await {
            Ok(Some(answer)) => decode(&answer.payload),
            _ => Err(BusError::NoAnswer("the command".to_owned())),
        }
    }

    /// The queue of commands.
    pub async fn commands(&self, slots: usize) -> Result<Inbox<CommandItem>, BusError> {
        let config = pull::Config {
            durable_name: Some("commands".to_owned()),
            filter_subject: format!("{PREFIX}.cmd.>"),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            max_ack_pending: 1000,
            ..pull::Config::default()
        };
        let read = |payload: &[u8], headers: Option<&async_nats::HeaderMap>| {
            let Body { opid, command } = decode(payload)?;
            Ok(CommandItem { opid, command, cause: cause_of(headers) })
        };
        Inbox::open(self, Source { stream: "CMD1", config, slots, ack_wait: ACK_WAIT }, read).await
    }

    /// Answers a command. Who waits no longer does not hear it.
    pub async fn reply(&self, opid: Uuid, reply: &Reply) -> Result<(), BusError> {
        self.inner.client.publish(reply_subject(opid), encode(reply)?.into()).await.map_err(BusError::unreachable)
    }
}

fn reply_subject(opid: Uuid) -> String {
    format!("{PREFIX}.reply.{opid}")
}

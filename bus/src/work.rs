//! Work: "look again at this". The message only wakes; who is woken reads the truth anew, so of two only the newer counts.
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use serde::{Deserialize, Serialize};
use tako_engine::app::AppKey;

use crate::envelope::{Cause, cause_of, decode, encode, headers};
use crate::inbox::{Inbox, Source};
use crate::subject::{PREFIX, repo_key};
use crate::{Bus, BusError};

const ACK_WAIT: Duration = Duration::from_secs(30);

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A repository: has anything moved?
    Poll {
        /// Its URL as Applications write it.
        repo: String,
    },
    /// An Application's target state.
    Render {
        /// Which.
        app: AppKey,
    },
    /// An Application's target against live state.
    Compare {
        /// Which.
        app: AppKey,
    },
    /// An Application's operation.
    Sync {
        /// Which.
        app: AppKey,
    },
}

/// The kinds of work, each with its own consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// [`Work::Poll`].
    Poll,
    /// [`Work::Render`].
    Render,
    /// [`Work::Compare`].
    Compare,
    /// [`Work::Sync`].
    Sync,
}

impl WorkKind {
    fn token(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Render => "render",
            Self::Compare => "compare",
            Self::Sync => "sync",
        }
    }
}

impl Work {
    /// What trusts no cache has a subject of its own: the wakes that follow must not take its place.
    fn subject(&self, hard: bool) -> String {
        let (kind, tail) = match self {
            Self::Poll { repo } => (WorkKind::Poll, repo_key(repo)),
            Self::Render { app } => (WorkKind::Render, app.token()),
            Self::Compare { app } => (WorkKind::Compare, app.token()),
            Self::Sync { app } => (WorkKind::Sync, app.token()),
        };
        format!("{PREFIX}.work.{}.{tail}{}", kind.token(), if hard { ".hard" } else { "" })
    }
}

/// A hint along with the wake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkNote {
    /// Trust no cache.
    pub hard: bool,
    /// Why, in words, for events and audit.
    pub reason: String,
}

/// Work as it is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkItem {
    /// What to look at.
    pub work: Work,
    /// The hint.
    pub note: WorkNote,
    /// What brought it about.
    pub cause: Cause,
}

#[derive(Serialize, Deserialize)]
struct Body {
    work: Work,
    #[serde(default)]
    note: WorkNote,
}

impl Bus {
    /// Wakes whoever does this work. Returns when the bus has it.
    pub async fn wake(&self, work: &Work, note: WorkNote, cause: &Cause) -> Result<(), BusError> {
        let (_, headers) = headers("work/1", cause);
        let subject = work.subject(note.hard);
        let body = encode(&Body { work: work.clone(), note })?;
        // No Nats-Msg-Id: a wake after an ack must never count as a duplicate of the one before.
        self.publish(subject, headers, body.into()).await.map(|_| ())
    }

    /// The queue of one kind of work; `slots` messages are asked for at a time.
    pub async fn work(&self, kind: WorkKind, slots: usize) -> Result<Inbox<WorkItem>, BusError> {
        let config = pull::Config {
            durable_name: Some(format!("work-{}", kind.token())),
            filter_subject: format!("{PREFIX}.work.{}.>", kind.token()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            // What waits for a time (a sync window, the next self-heal) rests here unacked, one message an Application.
            max_ack_pending: 100_000,
            ..pull::Config::default()
        };
        let read = |payload: &[u8], headers: Option<&async_nats::HeaderMap>| {
            let Body { work, note } = decode(payload)?;
            Ok(WorkItem { work, note, cause: cause_of(headers) })
        };
        Inbox::open(self, Source { stream: "WORK1", config, slots, ack_wait: ACK_WAIT }, read).await
    }
}

//! The one table of streams, and the provisioner that makes the server agree with it. A stream is made or
//! updated; what cannot be changed is told, never deleted.
use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType};

use crate::BusError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MIB: i64 = 1024 * 1024;

/// How long messages stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Until acked by its one consumer.
    Work,
    /// Until the limits.
    Limits,
}

/// How safely a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// To the disk before it is confirmed.
    Through,
    /// To the disk a little later: it can be rebuilt, and its last moments go with a killed server.
    Behind,
    /// Not at all: it can be rebuilt. For queues that are rebuilt this is the only safe way but the first: after a loss
    /// their consumers, written apart, would take new messages for old ones (bus/tests/contract.rs).
    Memory,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct StreamRow {
    /// The name; a new one when something unchangeable changes.
    pub name: &'static str,
    /// What it takes.
    pub subject: &'static str,
    /// How long.
    pub keep: Keep,
    /// Messages a subject, -1 for any number.
    pub per_subject: i64,
    /// A full subject refuses the newer instead of dropping the older.
    pub refuse_new: bool,
    /// Oldest message; zero for none.
    pub max_age: Duration,
    /// Bytes.
    pub max_bytes: i64,
    /// How safely it is written.
    pub written: Written,
    /// Nobody may delete a message from it.
    pub undeletable: bool,
    /// Publishing the same id twice within this time counts once.
    pub dedupe: Duration,
    /// What it is for.
    pub about: &'static str,
}

const fn kv(name: &'static str, subject: &'static str, mib: i64, about: &'static str) -> StreamRow {
    StreamRow {
        name,
        subject,
        keep: Keep::Limits,
        per_subject: 1,
        refuse_new: false,
        max_age: Duration::ZERO,
        max_bytes: mib * MIB,
        written: Written::Behind,
        undeletable: false,
        dedupe: Duration::from_secs(2),
        about,
    }
}

/// All streams.
pub const STREAMS: &[StreamRow] = &[
    StreamRow {
        name: "WORK1",
        subject: "tako.v1.work.>",
        keep: Keep::Work,
        per_subject: 1,
        refuse_new: false,
        max_age: DAY,
        max_bytes: 128 * MIB,
        written: Written::Memory,
        undeletable: false,
        dedupe: Duration::from_secs(1),
        about: "wake-ups, one pending a subject",
    },
    StreamRow {
        name: "CMD1",
        subject: "tako.v1.cmd.>",
        keep: Keep::Work,
        per_subject: 1,
        refuse_new: true,
        max_age: DAY,
        max_bytes: 256 * MIB,
        written: Written::Through,
        undeletable: false,
        dedupe: Duration::from_secs(600),
        about: "user commands, one subject an operation id",
    },
    StreamRow {
        name: "EVT1",
        subject: "tako.v1.evt.>",
        keep: Keep::Limits,
        per_subject: -1,
        refuse_new: false,
        max_age: Duration::from_secs(7 * 24 * 60 * 60),
        max_bytes: 1024 * MIB,
        written: Written::Behind,
        undeletable: false,
        dedupe: Duration::from_secs(120),
        about: "what happened",
    },
    StreamRow {
        name: "AUDIT1",
        subject: "tako.v1.audit.>",
        keep: Keep::Limits,
        per_subject: -1,
        refuse_new: false,
        max_age: Duration::from_secs(400 * 24 * 60 * 60),
        max_bytes: 2048 * MIB,
        written: Written::Through,
        undeletable: true,
        dedupe: Duration::from_secs(600),
        about: "who changed what and why, CloudEvents JSON",
    },
    StreamRow {
        name: "DLQ1",
        subject: "tako.v1.dlq.>",
        keep: Keep::Limits,
        per_subject: -1,
        refuse_new: false,
        max_age: Duration::from_secs(30 * 24 * 60 * 60),
        max_bytes: 256 * MIB,
        written: Written::Through,
        undeletable: false,
        dedupe: Duration::from_secs(600),
        about: "messages that could not be read",
    },
    kv("KV_apps", "$KV.apps.>", 256, "Applications as the API server has them"),
    kv("KV_trees", "$KV.trees.>", 512, "resource trees"),
    kv("KV_targets", "$KV.targets.>", 64, "target states: revision, digest, error"),
    kv("KV_refs", "$KV.refs.>", 64, "where followed revisions point"),
    kv("KV_settings", "$KV.settings.>", 16, "argocd-cm"),
    kv("KV_projects", "$KV.projects.>", 16, "AppProjects as the API server has them"),
    StreamRow {
        max_age: Duration::from_secs(30 * 24 * 60 * 60),
        ..kv("KV_blob", "$KV.blob.>", 1024, "bodies by digest")
    },
    StreamRow { written: Written::Through, ..kv("KV_lease", "$KV.lease.>", 16, "who holds what for now") },
];

/// Makes the server agree with the table.
pub(crate) async fn provision(context: &Context, replicas: usize) -> Result<(), BusError> {
    for row in STREAMS {
        context.create_or_update_stream(config(row, replicas)).await.map_err(|error| {
            let reason = error.to_string();
            // The server's own refusals carry a code; anything else is the connection.
            if reason.contains("can not") || reason.contains("cannot") || reason.contains("10052") {
                BusError::Stream { stream: row.name, reason }
            } else {
                BusError::Unreachable(reason)
            }
        })?;
    }
    Ok(())
}

fn config(row: &StreamRow, replicas: usize) -> Config {
    let lease = row.name == "KV_lease";
    Config {
        name: row.name.to_owned(),
        description: Some(row.about.to_owned()),
        subjects: vec![row.subject.to_owned()],
        retention: if row.keep == Keep::Work { RetentionPolicy::WorkQueue } else { RetentionPolicy::Limits },
        discard: if row.refuse_new { DiscardPolicy::New } else { DiscardPolicy::Old },
        discard_new_per_subject: row.refuse_new,
        max_messages_per_subject: row.per_subject,
        max_messages: -1,
        max_bytes: row.max_bytes,
        max_age: row.max_age,
        storage: if row.written == Written::Memory { StorageType::Memory } else { StorageType::File },
        num_replicas: replicas,
        duplicate_window: row.dedupe,
        deny_delete: row.undeletable,
        deny_purge: row.undeletable,
        allow_direct: row.name.starts_with("KV_"),
        allow_message_ttl: lease,
        subject_delete_marker_ttl: lease.then_some(Duration::from_secs(1)),
        persist_mode: (row.written == Written::Behind && replicas == 1).then_some(PersistenceMode::Async),
        metadata: HashMap::from([("owner".to_owned(), "takobune".to_owned())]),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_limits_fits_the_embedded_server() {
        let sum: i64 = STREAMS.iter().map(|row| row.max_bytes).sum();
        assert!(sum < crate::embedded::FILE_BYTES_MAX * 8 / 10, "{sum}");
        assert!(STREAMS.iter().all(|row| row.undeletable == (row.name == "AUDIT1")));
    }
}

//! The bus: what is said and how it travels. Events, work, commands, snapshots, bodies and audit over NATS
//! JetStream. Knows nothing of Kubernetes, git or HTTP; every other crate meets its peers only here.
//!
//! | kind | where | guarantee |
//! |---|---|---|
//! | work ([`Work`]) | stream `WORK1` | level-triggered: the newest wake of a subject survives, nothing else matters |
//! | commands ([`Command`]) | stream `CMD1` | once an operation id, answered |
//! | events ([`Event`]) | stream `EVT1` | history, seven days |
//! | audit ([`AuditRecord`]) | stream `AUDIT1` | complete, chained, cannot be deleted |
//! | snapshots ([`Kv`]) | streams `KV_*` | last value a key, followed with resume |
//! | bodies ([`Blobs`]) | stream `KV_blob` | by SHA-256 |
mod audit;
mod blobs;
mod command;
mod connect;
mod embedded;
mod envelope;
mod error;
mod events;
mod follow;
mod inbox;
mod kv;
mod lease;
mod records;
pub mod rpc;
mod streams;
mod subject;
mod work;

pub use audit::{AuditRecord, verify_chain};
pub use blobs::{Blobs, Digest};
pub use command::{Command, CommandItem, Reply, ResourceName};
pub use connect::{Bus, BusConfig};
pub use embedded::{EmbeddedConfig, EmbeddedNats};
pub use envelope::Cause;
pub use error::BusError;
pub use events::{CATALOGUE, CatalogueRow, Event};
pub use follow::{Change, Follow};
pub use inbox::{Delivery, Inbox};
pub use kv::{Bucket, Kv};
pub use lease::Lease;
pub use records::{PartRecord, RefRecord, TargetRecord};
pub use streams::{STREAMS, StreamRow, Written};
pub use subject::repo_key;
pub use work::{Work, WorkItem, WorkKind, WorkNote};

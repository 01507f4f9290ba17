//! The envelope: NATS headers that say what a message is and why it came. Bodies are MessagePack with named fields.
use async_nats::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::BusError;

const ID: &str = "Tako-Id";
const CAUSE: &str = "Tako-Cause";
const ROOT: &str = "Tako-Corr";
const ACTOR: &str = "Tako-Actor";
const TYPE: &str = "Tako-Type";

/// Why something is said: the message before, the first of the walk, and who began it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The message that caused this one.
    pub id: Uuid,
    /// The first of the walk: a webhook, a command, a timer.
    pub root: Uuid,
    /// `user:<name>`, `sa:<component>` or `git:<repository>`.
    pub actor: String,
}

impl Cause {
    /// The beginning of a walk.
    pub fn root(actor: &str) -> Self {
        let id = Uuid::now_v7();
        Self { id, root: id, actor: actor.to_owned() }
    }
}

/// The headers of a new message and its id.
pub(crate) fn headers(kind: &str, cause: &Cause) -> (Uuid, HeaderMap) {
    let id = Uuid::now_v7();
    let mut headers = HeaderMap::new();
    headers.insert(ID, id.to_string());
    headers.insert(CAUSE, cause.id.to_string());
    headers.insert(ROOT, cause.root.to_string());
    headers.insert(ACTOR, cause.actor.as_str());
    headers.insert(TYPE, kind);
    (id, headers)
}

/// The cause that a received message is for whatever it brings about.
pub(crate) fn cause_of(headers: Option<&HeaderMap>) -> Cause {
    let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned());
    let uuid = |name: &str| text(name).and_then(|id| id.parse().ok());
    let id = uuid(ID).unwrap_or_else(Uuid::now_v7);
    Cause { id, root: uuid(ROOT).unwrap_or(id), actor: text(ACTOR).unwrap_or_else(|| "sa:unknown".to_owned()) }
}

pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, BusError> {
    rmp_serde::to_vec_named(body).map_err(BusError::codec)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BusError> {
    rmp_serde::from_slice(bytes).map_err(BusError::codec)
}

//! Why the bus could not do it. Every variant is worth another try unless it says otherwise.

/// An error of the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The server is not there or does not answer.
    #[error("the bus does not answer ({0}); check that nats-server runs and that its address is right")]
    Unreachable(String),
    /// The server is too old. No use trying again.
    #[error(
        "nats-server has JetStream API level {found}, at least {wanted} is needed; install nats-server 2.14 or later"
    )]
    TooOld {
        /// What it has.
        found: u64,
        /// What is needed.
        wanted: u64,
    },
    /// A stream exists with settings that cannot be changed. No use trying again; nothing was deleted.
    #[error(
        "stream {stream} exists with other settings ({reason}); remove or rename it by hand after saving what it holds"
    )]
    Stream {
        /// Its name.
        stream: &'static str,
        /// What the server said.
        reason: String,
    },
    /// What arrived or should go out cannot be read or written. No use trying again.
    #[error("a message on the bus cannot be read or written: {0}")]
    Codec(String),
    /// Nobody answered a request in time.
    #[error("nobody answered {0} in time; check that a process with that role runs")]
    NoAnswer(String),
    /// The command of this id is already queued.
    #[error("operation {0} is already queued")]
    Duplicate(uuid::Uuid),
    /// The embedded server.
    #[error("nats-server cannot be run: {0}")]
    Embedded(String),
    /// A stored body is not what its digest says.
    #[error("the body {0} is damaged; it is rendered anew")]
    Damaged(String),
}

impl BusError {
    pub(crate) fn unreachable(error: impl std::fmt::Display) -> Self {
        Self::Unreachable(error.to_string())
    }

    pub(crate) fn codec(error: impl std::fmt::Display) -> Self {
        Self::Codec(error.to_string())
    }
}

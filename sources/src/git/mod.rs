//! Git: one bare cache a repository and credential scope, in a directory with a UUID for a name, and reads from its objects. Nothing is
//! checked out, so renders of different revisions need no lock. HTTP goes through gix, SSH through the real git in a jail.
//!
//! All functions block: call them on the blocking pool. Knows nothing of Applications or of the bus.
mod access;
mod cache;
mod client;
mod commit;
mod http;
mod lfs;
mod maintenance;
mod native;
mod refs;
mod relay;
mod remote;
mod repository;
mod signature;
mod submodules;
mod tokens;
mod verify;

pub use self::cache::{GitCache, GitSettings, Maintained};
pub use self::commit::Commit;
pub use self::refs::{Refs, Resolved};
pub use self::repository::Repository;
pub use self::submodules::Submodules;
pub use self::tokens::{Endpoints, WorkloadIdentity};
pub use self::verify::{Keyring, Verdict};

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The repository could not be fetched.
    #[error("repository {url} cannot be read: {reason}; check the URL, the network and the credentials")]
    Unreachable {
        /// The URL without credentials.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The URL, or something that was configured for it, may not be used.
    #[error("repository {url:?} is refused: {reason}")]
    Refused {
        /// The URL without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// Nothing of that name exists.
    #[error("revision {revision} does not exist in {url}; push it or correct targetRevision")]
    NoRevision {
        /// The URL without credentials.
        url: String,
        /// As written in targetRevision.
        revision: String,
    },
    /// A signature cannot be looked at, which is no verdict about it.
    #[error("the signature of {revision} cannot be verified: {reason}")]
    Unverifiable {
        /// The commit or tag.
        revision: String,
        /// Why.
        reason: String,
    },
    /// The cache on disk cannot be used.
    #[error("the git cache at {path} cannot be used: {reason}; check the disk and the rights of --data-dir")]
    Cache {
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// An error with all its causes: the outermost of a transport says only that it failed.
fn whole(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause.filter(|_| words.len() < 8) {
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        cause = error.source();
    }
    words.join(": ")
}

/// A text without the user and password of any URL in it.
pub fn redact(text: &str) -> String {
    text.split(' ')
        .map(|word| match (word.find("://"), word.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => format!("{}://***@{}", &word[..scheme], &word[at + 1..]),
            _ => word.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! The stages of the control plane, in pipeline order. They meet on the bus only.
//!
//! | actor | wakes on | does | says |
//! |---|---|---|---|
//! | [`registry`] | watches of the control namespace, user commands | keeps Applications, AppProjects and settings on the bus | buckets `apps`, `projects`, `settings` |
//! | [`watcher`] | webhook, timer, a changed Application | fetches a repository once, sees what moved | bucket `refs`, `revision.moved` |
//! | [`renderer`] | a moved revision, a changed source | works out the target state | bucket `targets`, `manifests.rendered` |
//! | [`observer`] | watches of the destination cluster | keeps resource trees | bucket `trees` |
//! | [`differ`] | a target or live change | compares, judges health, writes status, decides | `app.compared` |
//! | [`syncer`] | an operation | applies, prunes, records | `sync.started`, `sync.finished`, audit |
//! | [`authz`] | requests of the web | sign-in, sessions, webhook signatures | answers |
mod adapters;
mod app_events;
mod authz;
mod compared;
mod comparing;
mod derived;
mod differ;
mod healths;
mod ignored;
mod observer;
mod permits;
mod pipeline;
mod projects;
mod registry;
mod renderer;
mod runtime;
mod settings;
mod shared;
mod sources;
mod syncer;
mod targets;
mod watcher;

pub use pipeline::{PipelineConfig, Role, StartError, start};
pub use renderer::RenderPause;

/// The time as Kubernetes writes it (RFC 3339, whole seconds, UTC).
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The clock that the engine has not.
fn since_1970() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Tells one value from another within this process.
fn hash_of(value: &impl serde::Serialize) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// Seconds since 1970.
fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Runs futures, some at a time; the answers come in the order of the questions.
/// (Given as values: a closure over borrowed items is not general enough for the compiler here.)
async fn gather<F: Future>(futures: Vec<F>, at_once: usize) -> Vec<F::Output> {
    use futures_util::StreamExt as _;
    futures_util::stream::iter(futures).buffered(at_once).collect().await
}

//! Planned failure points: where a test has the process end at once, as a SIGKILL would, to show that what comes
//! after carries on. Named by the environment of the process; without that a point does nothing.
use std::sync::OnceLock;

/// The environment variable that names the point to fail at.
const FAULT: &str = "TAKO_FAULT";

/// Ends the process here, if this point is the one named.
pub(crate) fn point(name: &str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    if WANTED.get_or_init(|| std::env::var(FAULT).ok()).as_deref() == Some(name) {
        tracing::error!(name, "planned failure");
        std::process::abort();
    }
}

//! The rules of ignored differences for each Application, compiled once, and their use within bounds of time.
//! Shared by differ and syncer, so that what is not compared is what is not touched.
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use serde_json::Value;
use tako_engine::app::Application;
use tako_engine::ignore::{Ignored, Rules};
use tokio::sync::Semaphore;

use crate::settings::Settings;

/// Sets of rules remembered.
const ENTRIES_MAX: u64 = 1_000;
/// One use of jq expressions on one object may take this long (Argo CD's default).
const TIME_MAX: Duration = Duration::from_secs(1);
/// Uses of jq expressions at once; one that is over its time keeps its place until it ends.
const AT_ONCE: usize = 2;

type Compiled = Arc<Result<Rules, String>>;

/// The memory; cheap to clone.
#[derive(Clone)]
pub(crate) struct IgnoreRules {
    settings: Settings,
    compiled: Cache<(u64, String), Compiled>,
    places: Arc<Semaphore>,
}

impl IgnoreRules {
    /// Rules of Applications and these settings.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, compiled: Cache::new(ENTRIES_MAX), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The settings that the rules are made of.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules of an Application, or what is wrong with them or with other settings that decide comparisons.
    pub(crate) fn of(&self, app: &Application) -> Compiled {
        let own = app.spec.other.get("ignoreDifferences");
        let (generation, data) = self.settings.snapshot();
        let key = (generation, own.map(Value::to_string).unwrap_or_default());
        let problem = self.settings.compiled().problem;
        let compile = || problem.map_or_else(|| Rules::compile(own, &data), Err);
        self.compiled.get_with(key, || Arc::new(compile()))
    }

    /// Runs `work` with the rules of one object: at once when they are plain, on a thread of its own and for a limited
    /// time when they hold expressions.
    pub(crate) async fn within_bounds<T: Send + 'static>(
        &self,
        ignored: Ignored,
        work: impl FnOnce(&Ignored) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        if !ignored.runs_jq() {
            return work(&ignored);
        }
        let late =
            || format!("jqPathExpressions took longer than {} s; name the fields more closely", TIME_MAX.as_secs());
        let limited = async {
            let place = self.places.clone().acquire_owned().await.map_err(|_| late())?;
            let run = move || {
                let _place = place;
                work(&ignored)
            };
            tokio::task::spawn_blocking(run).await.map_err(|_| "jqPathExpressions could not be followed".to_owned())?
        };
        // Waiting for a place counts: while expressions that never end hold them all, no comparison hangs.
        tokio::time::timeout(TIME_MAX, limited).await.unwrap_or_else(|_| Err(late()))
    }
}

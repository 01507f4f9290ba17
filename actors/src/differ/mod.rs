//! Compares target and live state of one Application, judges health, writes Application.status, and
//! decides automated sync. The deciding is in `tako_engine`; here truth is read and the verdict recorded.
mod again;
mod extras;
mod judge;
mod managed;
mod record;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tako_bus::{Bucket, BusError, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Phase};

pub(crate) use self::extras::{ExtrasError, tracked_extras};
use self::status::Curtailed;
pub(crate) use self::status::condition;
use crate::adapters::cluster::ClusterError;
use crate::projects::Found;
use crate::runtime::stage::{Outcome, Stage};
use crate::shared::Shared;
use crate::targets;

/// What waits for longer is looked at before: a message may rest on the bus only so long.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(3600);
/// When the projects are asked for again.
const NOT_YET: Duration = Duration::from_millis(200);
/// Objects compared at once for one Application.
const PARALLEL: usize = 8;

/// The stage.
pub(crate) struct Differ {
    shared: Shared,
    /// The projects, by name, under which Applications were judged last.
    judged: Mutex<HashMap<String, Found>>,
    /// What the API server stores otherwise than it was written, of Applications that have any.
    curtailed: Mutex<HashMap<AppKey, Curtailed>>,
}

impl std::ops::Deref for Differ {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, thiserror::Error)]
enum DifferError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the projects are not known yet")]
    NotYet,
}

impl Differ {
    /// The stage, with the loop that has all compared anew under new settings.
    pub(crate) fn start(shared: Shared) -> Arc<Self> {
        let differ = Arc::new(Self { shared, judged: Mutex::default(), curtailed: Mutex::default() });
        tokio::spawn(differ.clone().compare_again());
        differ
    }

    /// How long until it should be looked at again although nothing changes, if it should.
    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Option<Duration>, DifferError> {
        let Some(record) = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&key.token()).await? else {
            return Ok(None);
        };
        self.settings.ready().await;
        let Some(app) = self.applications.get(key).await? else {
            self.curtailed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Ok(None);
        };
        if app.metadata.deletion_timestamp.is_some() || app.skips_reconcile() {
            return Ok(None);
        }
        if record.error.is_none() && !targets::is_of(&record, app.sources()) {
            // The spec has another source now; its render wakes us again.
            return Ok(None);
        }
        if app.asks_hard_refresh() && !item.note.hard {
            // Whatever woke us, the answer to this request comes after a render anew.
            let note = WorkNote { hard: true, reason: "a hard refresh is asked for".to_owned() };
            self.bus.wake(&Work::Render { app: app.key() }, note, &item.cause).await?;
        }
        let verdict = self.judge(&app, record, item.note.hard).await?;
        // What an operation waits for may just have come about, or a newer revision may end its waiting.
        if app.operation.is_some() && app.operation_state().is_some_and(|state| state.phase == Phase::Running) {
            let note = WorkNote { hard: false, reason: "something changed while the operation waits".to_owned() };
            self.bus.wake(&Work::Sync { app: app.key() }, note, &item.cause).await?;
        }
        self.record(app, verdict, item).await
    }
}

impl Stage for Differ {
    type Key = AppKey;
    const NAME: &'static str = "differ";
    const KIND: WorkKind = WorkKind::Compare;
    const SLOTS: usize = 8;

    fn key(item: &WorkItem) -> Option<AppKey> {
        match &item.work {
            Work::Compare { app } => Some(app.clone()),
            _ => None,
        }
    }

    async fn run(&self, item: WorkItem) -> Outcome {
        let Work::Compare { app } = &item.work else { return Outcome::Done };
        match self.work(&app.clone(), &item).await {
            Ok(None) => Outcome::Done,
            Ok(Some(pause)) => Outcome::Again(pause.min(LOOK_AGAIN_MAX)),
            Err(DifferError::NotYet) => Outcome::Again(NOT_YET),
            Err(error) => {
                tracing::warn!(%app, %error, "comparison not finished; it is tried again");
                Outcome::Again(Duration::from_secs(2))
            }
        }
    }
}

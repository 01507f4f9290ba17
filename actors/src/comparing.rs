//! One object of the target state against live state, in the way that its Application chose (`tako_engine::diff`), with
//! the settings of the moment. Each pair is judged once.
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tako_engine::app::{Application, SyncCode};
use tako_engine::diff::{self, Choice, Inputs, Strategy};
use tako_engine::ignore::Ignored;
use tako_engine::resource::Manifest;
use tako_engine::schema::Schemas;

use crate::adapters::cluster::{Cluster, ClusterError};
use crate::compared::Compared;
use crate::ignored::IgnoreRules;
use crate::settings::Settings;

/// Why one object could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A rule or an object that cannot be followed.
    #[error("{0}")]
    Rule(String),
}

type Read = Arc<Result<diff::Settings, String>>;

/// The comparison; cheap to clone.
#[derive(Clone)]
pub(crate) struct Comparing {
    settings: Settings,
    rules: IgnoreRules,
    compared: Compared,
    schemas: Arc<Schemas>,
    /// The settings as read, under their number.
    read: Arc<Mutex<Option<(u64, Read)>>>,
}

impl Comparing {
    /// By these settings and rules.
    pub(crate) fn new(settings: Settings, rules: IgnoreRules) -> Self {
        Self {
            settings,
            rules,
            compared: Compared::default(),
            schemas: Arc::new(Schemas::builtin()),
            read: Arc::default(),
        }
    }

    /// What is known of built-in kinds.
    pub(crate) fn schemas(&self) -> &Arc<Schemas> {
        &self.schemas
    }

    /// The way that the Application chose.
    pub(crate) fn choice(&self, app: &Application) -> Choice {
        let compare = app.metadata.annotations.get(diff::COMPARE_OPTIONS).map(String::as_str);
        let sync = app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.as_slice()).unwrap_or_default();
        diff::choose(compare, sync, self.settings.server_side_diff())
    }

    fn read(&self) -> (u64, Read) {
        let number = self.settings.number();
        let mut held = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = held.as_ref().filter(|(known, _)| *known == number) {
            return (number, read.clone());
        }
        let (number, data) = self.settings.snapshot();
        let read: Read = Arc::new(diff::Settings::read(&data));
        *held = Some((number, read.clone()));
        (number, read)
    }

    /// Synced or OutOfSync; `anew` whatever is known of the pair.
    pub(crate) async fn status(
        &self,
        cluster: &Cluster,
        target: &Manifest,
        live: &Value,
        (ignored, choice, anew): (Ignored, Choice, bool),
    ) -> Result<SyncCode, CompareError> {
        let (number, settings) = self.read();
        if let Err(problem) = settings.as_ref() {
            return Err(CompareError::Rule(problem.clone()));
        }
        let how = format!("{number} {choice:?}");
        if let Some(status) = self.compared.known(target, live, &ignored, &how).filter(|_| !anew) {
            return Ok(status);
        }
        let (choice, predicted) = match choice {
            Choice::ClientSide => (choice, None),
            Choice::ServerSide { .. } => match cluster.apply(target, true).await {
                // What the API server refuses is compared without its help; why, the sync tells.
                Err(error) if error.is_refusal() => (Choice::ClientSide, None),
                predicted => (choice, Some(predicted?)),
            },
        };
        let (schemas, sides) = (self.schemas.clone(), (target.0.clone(), live.clone()));
        let judge = move |ignored: &Ignored| {
            let Ok(settings) = settings.as_ref() else { return Ok(SyncCode::Unknown) };
            let strategy = match choice {
                Choice::ClientSide => Strategy::ClientSide,
                Choice::ServerSide { include_mutation_webhook } => {
                    Strategy::ServerSide { predicted: predicted.as_ref(), include_mutation_webhook }
                }
            };
            let (target, live) = (Some(&sides.0), Some(&sides.1));
            let inputs = Inputs { target, live, ignored, schemas: &schemas, settings, strategy };
            diff::between(&inputs).map(|comparison| comparison.status)
        };
        let status = self.rules.within_bounds(ignored.clone(), judge).await.map_err(CompareError::Rule)?;
        self.compared.remember(target, live, &ignored, &how, status);
        Ok(status)
    }
}

//! One object of the target state against live state, in the way that its Application chose (`tako_engine::diff`), with
//! the settings of the moment. Each pair is judged once.
use std::sync::Arc;

use serde_json::Value;
use tako_engine::app::{Application, SyncCode};
use tako_engine::diff::{self, Choice, Comparison, Inputs, Strategy};
use tako_engine::ignore::Ignored;
use tako_engine::resource::Manifest;
use tako_engine::schema::Schemas;

use crate::adapters::cluster::{Cluster, ClusterError};
use crate::compared::Compared;
use crate::derived::Derived;
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

/// An object to be shown.
pub(crate) struct Shown {
    /// From git.
    pub(crate) target: Option<Value>,
    /// From the cluster.
    pub(crate) live: Option<Value>,
    /// `None`: it cannot be compared.
    pub(crate) compared: Option<Comparison>,
}

type Read = Arc<Result<diff::Settings, String>>;

/// The comparison; cheap to clone.
#[derive(Clone)]
pub(crate) struct Comparing {
    settings: Settings,
    rules: IgnoreRules,
    compared: Compared,
    schemas: Arc<Schemas>,
    read: Derived<Result<diff::Settings, String>>,
}

impl Comparing {
    /// By these settings and rules.
    pub(crate) fn new(settings: Settings, rules: IgnoreRules) -> Self {
        let read = Derived::new(settings.clone(), |key| key.starts_with("resource."), diff::Settings::read);
        Self { settings, rules, compared: Compared::default(), schemas: Arc::new(Schemas::builtin()), read }
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

    /// Synced or OutOfSync; `anew` whatever is known of the pair.
    pub(crate) async fn status(
        &self,
        cluster: &Cluster,
        target: &Manifest,
        live: &Value,
        (ignored, choice, anew): (Ignored, Choice, bool),
    ) -> Result<SyncCode, CompareError> {
        let (number, settings) = self.read.now();
        if let Err(problem) = settings.as_ref() {
            return Err(CompareError::Rule(problem.clone()));
        }
        let how = format!("{number} {choice:?}");
        if let Some(status) = self.compared.known(target, live, &ignored, &how).filter(|_| !anew) {
            return Ok(status);
        }
        let predicted = predict(cluster, target, choice).await?;
        let sides = (Some(target.0.clone()), Some(live.clone()));
        let status = self.between(settings, sides, ignored.clone(), predicted).await?.status;
        self.compared.remember(target, live, &ignored, &how, status);
        Ok(status)
    }

    async fn between(
        &self,
        settings: Read,
        sides: (Option<Value>, Option<Value>),
        ignored: Ignored,
        (choice, predicted): (Choice, Option<Value>),
    ) -> Result<Comparison, CompareError> {
        let schemas = self.schemas.clone();
        let judge = move |ignored: &Ignored| {
            let settings = settings.as_ref().as_ref().map_err(Clone::clone)?;
            let strategy = match choice {
                Choice::ClientSide => Strategy::ClientSide,
                Choice::ServerSide { include_mutation_webhook } => {
                    Strategy::ServerSide { predicted: predicted.as_ref(), include_mutation_webhook }
                }
            };
            let (target, live) = (sides.0.as_ref(), sides.1.as_ref());
            let inputs = Inputs { target, live, ignored, schemas: &schemas, settings, strategy };
            diff::between(&inputs)
        };
        self.rules.within_bounds(ignored, judge).await.map_err(CompareError::Rule)
    }

    /// Both sides and what a sync would make of them, to be shown: Secrets are masked, on all sides alike. `tracked`
    /// is live state as it is compared. Nothing is remembered.
    pub(crate) async fn shown(
        &self,
        cluster: &Cluster,
        (target, live, tracked): (Option<&Manifest>, Option<&Value>, Option<&Value>),
        (ignored, choice): (Ignored, Choice),
    ) -> Result<Shown, ClusterError> {
        let (_, settings) = self.read.now();
        let hidden = settings.as_ref().as_ref().map(|read| read.masked_annotations.clone()).unwrap_or_default();
        let (choice, predicted) = match (target, live) {
            (Some(target), Some(_)) => predict(cluster, target, choice).await?,
            _ => (choice, None),
        };
        let target = target.map(|target| &target.0);
        let (shown_target, shown_live) = diff::mask(target, live, &hidden);
        let compared = match &predicted {
            // The API server has seen the values: its prediction is masked with what it is compared with.
            Some(_) => {
                let sides = (target.cloned(), tracked.cloned());
                let compared = self.between(settings, sides, ignored, (choice, predicted)).await;
                compared.map(|compared| {
                    let (predicted, live) = diff::mask(compared.predicted.as_ref(), compared.live.as_ref(), &hidden);
                    Comparison { predicted, live, changed: Vec::new(), ..compared }
                })
            }
            None => {
                let sides = diff::mask(target, tracked, &hidden);
                self.between(settings, sides, ignored, (choice, predicted)).await
            }
        };
        // Why it cannot be compared, the Application's conditions tell.
        Ok(Shown { target: shown_target, live: shown_live, compared: compared.ok() })
    }
}

/// What the API server would make of the target, where it is asked for that.
async fn predict(
    cluster: &Cluster,
    target: &Manifest,
    choice: Choice,
) -> Result<(Choice, Option<Value>), ClusterError> {
    match choice {
        Choice::ClientSide => Ok((choice, None)),
        Choice::ServerSide { .. } => match cluster.apply(target, true).await {
            // What the API server refuses is compared without its help; why, the sync tells.
            Err(error) if error.is_refusal() => Ok((Choice::ClientSide, None)),
            predicted => Ok((choice, Some(predicted?))),
        },
    }
}

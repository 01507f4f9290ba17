//! The plan of a sync that nobody has begun: what would be done, in which order. Writes nothing.
use std::sync::Arc;

use serde_json::json;
use tako_bus::rpc::PlanAsk;
use tako_bus::{BusError, Document};
use tako_engine::app::{OperationState, Phase};
use tako_engine::plan::Action;
use tako_engine::requests;

use super::operation::given_options;
use super::{Syncer, SyncerError, record};
use crate::now;
use crate::permits::{Permit, permit};

impl Syncer {
    /// Answers what syncs would do, from now on.
    pub(crate) async fn serve_plans(self: Arc<Self>) -> Result<(), BusError> {
        let bus = self.bus.clone();
        bus.serve_documents("sync.plan", "syncer", move |ask: PlanAsk| {
            let syncer = self.clone();
            async move { syncer.preview(&ask).await.unwrap_or_else(|error| Document::refused(503, error.to_string())) }
        })
        .await
    }

    async fn preview(&self, ask: &PlanAsk) -> Result<Document, SyncerError> {
        self.settings.ready().await;
        let Some(mut app) = self.applications.get(&ask.app).await? else {
            let name = &ask.app.name;
            return Ok(Document::refused(404, format!("applications.argoproj.io \"{name}\" not found")));
        };
        // What runs now or is kept waiting by a sync window does not keep anybody from thinking of the next.
        app.operation = None;
        let operation = match requests::check_sync(&app, &ask.request, "", &[], jiff::Timestamp::now()) {
            Ok(operation) => operation,
            Err(refusal) => return Ok(Document::refused(refusal.code.http(), refusal.message)),
        };
        // As if it began now: nothing of what ran before is taken up.
        let begun = OperationState {
            operation: operation.clone(),
            phase: Phase::Running,
            started_at: Some(now()),
            ..OperationState::default()
        };
        app.status.get_or_insert_default().operation_state = Some(begun);
        let mut asked = app.clone();
        record::take_source(&mut asked, &operation);
        let grant = match permit(&self.projects, &asked, &self.control_namespace) {
            Permit::NotYet => return Ok(Document::refused(503, "the projects are not read yet; try again")),
            Permit::Granted(grant) => grant,
            Permit::Refused { problems, .. } => {
                let told: Vec<String> = problems.iter().map(|(kind, message)| format!("{kind}: {message}")).collect();
                return Ok(Document::refused(412, told.join("; ")));
            }
        };
        let (revision, raw) = match self.manifests(&app, &operation).await? {
            Ok(found) => found,
            Err(message) => return Ok(Document::refused(412, message)),
        };
        self.cluster.ready().await?;
        self.cluster.learn(&raw).await?;
        let plan = self.plan(&app, &operation, &revision, (raw, Some(&grant))).await?;
        let namespaced = |step: &tako_engine::plan::Step| self.cluster.namespaced(&step.key.group, &step.key.kind);
        let phases = plan.outline(|step| match step.action {
            Action::Skip { .. } => None,
            _ => grant.refuses(&step.key, namespaced(step)),
        });
        let mut answer = json!({
            "revision": revision,
            "syncOptions": given_options(&app, &operation),
            "phases": phases,
            "text": plan.to_string(),
        });
        let home = self.home(&app, &operation, &plan, &self.cluster).await?.filter(|home| home.absent);
        if let Some(home) = home {
            answer["createsNamespace"] = json!(home.manifest.name());
        }
        Ok(Document::json(&answer))
    }
}

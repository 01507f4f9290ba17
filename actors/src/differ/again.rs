//! Who is judged anew because settings or projects changed, although nothing of its own did.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tako_bus::{Bucket, Cause, Work, WorkNote};
use tako_engine::app::Application;

use super::Differ;
use crate::projects::Found;

impl Differ {
    /// New settings of `resource.*` judge everything anew; a changed project judges its own Applications.
    pub(super) async fn compare_again(self: Arc<Self>) {
        let (mut settings, mut projects) = (self.settings.changes(), self.projects.changes());
        let mut before = self.settings.of_resources();
        loop {
            let reason = tokio::select! {
                changed = settings.changed() => match changed {
                    Ok(()) => "resource.* in argocd-cm changed",
                    Err(_) => return,
                },
                changed = projects.changed() => match changed {
                    Ok(()) => "the project changed",
                    Err(_) => return,
                },
            };
            let now = self.settings.of_resources();
            let all = now != before;
            before = now;
            let apps = self.bus.kv(Bucket::Apps).entries::<Application>().await;
            let apps = apps.map_err(|error| tracing::warn!(%error, "what changed counts at the next comparison"));
            let mut found = HashMap::new();
            for (_, app) in apps.unwrap_or_default() {
                let project = found.entry(app.spec.project.clone()).or_insert_with(|| self.projects.find(&app));
                let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).get(&app.spec.project).cloned();
                let other = judged.as_ref().is_some_and(|judged| judged != project);
                let other = other && *project != Found::NotYet;
                if other && (judged.as_ref().is_some_and(demands) || demands(project)) {
                    self.render_once_more(&app, reason).await;
                }
                if all || other {
                    self.compare_once_more(&app, reason).await;
                }
            }
            found.retain(|_, project| *project != Found::NotYet);
            self.judged.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    }

    /// Before a judgement: the project under which it is made, so that another one is told from it.
    pub(super) fn remember_project(&self, app: &Application) {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !judged.contains_key(&app.spec.project) {
            let project = self.projects.find(app);
            if project != Found::NotYet {
                judged.insert(app.spec.project.clone(), project);
            }
        }
    }

    /// Signatures are verified where sources are rendered.
    async fn render_once_more(&self, app: &Application, reason: &str) {
        let note = WorkNote { hard: false, reason: reason.to_owned() };
        if let Err(error) = self.bus.wake(&Work::Render { app: app.key() }, note, &Cause::root("sa:differ")).await {
            tracing::warn!(%error, "render not queued");
        }
    }

    async fn compare_once_more(&self, app: &Application, reason: &str) {
        let note = WorkNote { hard: false, reason: reason.to_owned() };
        if let Err(error) = self.bus.wake(&Work::Compare { app: app.key() }, note, &Cause::root("sa:differ")).await {
            tracing::warn!(%error, "comparison not queued");
        }
    }
}

/// The project demands signatures.
fn demands(project: &Found) -> bool {
    let Found::Is(project) = project else { return false };
    !project.spec.signature_keys.is_empty() || project.spec.source_integrity.is_some()
}

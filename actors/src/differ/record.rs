//! What follows from a judgement: the status, automated sync, and who is told. One patch with what was read as its
//! condition.
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{Event, Work, WorkItem, WorkNote};
use tako_engine::app::Application;
use tako_engine::automation::{self, Decision};
use tako_engine::deletion;
use tako_engine::source::split;

use super::judge::Verdict;
use super::{Differ, DifferError, status};
use crate::app_events::Told;
use crate::now;

/// What is to be written, and what comes after.
struct Settled {
    patch: Value,
    /// An automated sync begins with it.
    begins: bool,
    /// How long until it should be looked at again although nothing changes.
    look_again: Option<Duration>,
}

impl Differ {
    /// Answers how long until it should be looked at again although nothing changes, if it should.
    pub(super) async fn record(
        &self,
        app: Application,
        verdict: Verdict,
        item: &WorkItem,
    ) -> Result<Option<Duration>, DifferError> {
        let at = now();
        let means = status::Means {
            control_namespace: &self.control_namespace,
            health_inline: self.settings.persists_resource_health(),
        };
        let next = status::next_status(&app, &verdict, &at, &means);
        let Settled { patch, begins, look_again } = self.settle(&app, &verdict, &next, (&at, item.note.hard));
        if status::is_empty(&patch) {
            return Ok(look_again);
        }
        match self.applications.patch(&app.key(), &patch).await {
            Ok(stored) => self.remember_curtailed(&stored, &next, &patch),
            // Somebody wrote between our look and our word: look again.
            Err(error) if error.is_conflict() => {
                let note = WorkNote { hard: item.note.hard, reason: "the Application changed meanwhile".to_owned() };
                // Another hard refresh may have been asked for meanwhile: it wants a render of its own.
                let answers = item.note.hard && app.asks_hard_refresh();
                let app = app.key();
                let again = if answers { Work::Render { app } } else { Work::Compare { app } };
                self.bus.wake(&again, note, &item.cause).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        self.announce(&app, &next, begins.then_some(verdict.revision.as_str()));
        if begins {
            let note = WorkNote { hard: false, reason: item.note.reason.clone() };
            self.bus.wake(&Work::Sync { app: app.key() }, note, &item.cause).await?;
        }
        self.emit_compared(&app, &verdict, &next, item);
        Ok(look_again)
    }

    /// The patch of the verdict and of the decision that follows from it.
    fn settle(&self, app: &Application, verdict: &Verdict, next: &status::Next, (at, hard): (&str, bool)) -> Settled {
        let revisions = if app.has_multiple_sources() { split(&verdict.revision) } else { Vec::new() };
        let facts = automation::Facts {
            sync: next.sync,
            revision: &verdict.revision,
            revisions: &revisions,
            blocked: verdict.conditions.iter().any(|(kind, _)| kind.ends_with("Error")),
            would_prune_all: next.would_prune_all,
            prunes: next.prunes,
            only_prunes: verdict
                .objects
                .iter()
                .filter(|object| object.out_of_sync())
                .all(|object| object.requires_pruning),
            windows: &verdict.windows,
            self_heal: self.settings.self_heal(),
            ..automation::Facts::default()
        };
        let curtailed = self.curtailed.lock().unwrap_or_else(PoisonError::into_inner).get(&app.key()).cloned();
        let mut patch = status::patch(app, next, at, hard, &curtailed.unwrap_or_default());
        if let Some(finalizers) = verdict
            .deletion_hooks
            .and_then(|(before, after)| deletion::with_hooks(&app.metadata.finalizers, before, after))
        {
            // A list is replaced whole: only while nobody else has changed it.
            patch["metadata"]["finalizers"] = json!(finalizers);
            patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
        }
        let moment = jiff::Timestamp::now();
        match automation::decide(app, &facts, moment) {
            Decision::Sync { prune, self_heal } => {
                patch["operation"] = status::automated_operation(app, verdict, prune, self_heal);
                patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
                Settled { patch, begins: true, look_again: None }
            }
            Decision::Wait { reason, until } => {
                tracing::debug!(app = %app.key(), reason, "no automated sync");
                if let Some(condition) = status::sync_error(app, verdict, &reason, at) {
                    let mut conditions = next.conditions.clone();
                    conditions.push(condition);
                    status::put_conditions(app, &mut patch, &conditions);
                }
                let look_again = until.map(|until| until.duration_since(moment).unsigned_abs());
                Settled { patch, begins: false, look_again }
            }
        }
    }

    fn emit_compared(&self, app: &Application, verdict: &Verdict, next: &status::Next, item: &WorkItem) {
        let out_of_sync = verdict.objects.iter().filter(|object| object.out_of_sync()).count();
        let event = Event::AppCompared {
            app: app.key(),
            project: app.spec.project.clone(),
            sync: format!("{:?}", next.sync),
            health: format!("{:?}", next.health),
            revision: verdict.revision.clone(),
            out_of_sync: u32::try_from(out_of_sync).unwrap_or(u32::MAX),
        };
        let (bus, cause) = (self.bus.clone(), item.cause.clone());
        tokio::spawn(async move {
            if let Err(error) = bus.emit(event, &cause).await {
                tracing::warn!(%error, "event not recorded");
            }
        });
    }

    fn remember_curtailed(&self, stored: &Application, next: &status::Next, sent: &Value) {
        let mut known = self.curtailed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut curtailed = known.remove(&stored.key()).unwrap_or_default();
        curtailed.take(stored, next, sent);
        if !curtailed.is_empty() {
            known.insert(stored.key(), curtailed);
        }
    }

    /// What the patch has changed, as Events. `begun`: the commit of an automated sync.
    fn announce(&self, app: &Application, next: &status::Next, begun: Option<&str>) {
        let before = app.status.as_ref();
        let told = |what, before: Option<String>, after: String| {
            let before = before.unwrap_or_default();
            (before != after).then(|| Told::status(what, &before, &after))
        };
        let sync = told("sync", before.map(|old| format!("{:?}", old.sync.status)), format!("{:?}", next.sync));
        let health = before.and_then(|old| old.health.status).map(|old| format!("{old:?}"));
        let health = told("health", health, format!("{:?}", next.health));
        for told in [sync, health, begun.map(Told::automated)].into_iter().flatten() {
            self.events.tell(app, told);
        }
    }
}

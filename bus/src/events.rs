//! Events: what happened, past tense. One table names them; docs/EVENTS.md is made from it.
use serde::{Deserialize, Serialize};
use tako_engine::app::AppKey;

use crate::envelope::{Cause, encode, headers};
use crate::subject::{PREFIX, repo_key, token};
use crate::{Bus, BusError};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the table CATALOGUE says what each event and field is")]
pub enum Event {
    RevisionMoved { repo: String, reference: String, from: Option<String>, to: String, changed_paths: u32, apps: u32 },
    ManifestsRendered { app: AppKey, project: String, revision: String, digest: String, resources: u32, millis: u32 },
    RenderFailed { app: AppKey, project: String, revision: String, message: String },
    AppCompared { app: AppKey, project: String, sync: String, health: String, revision: String, out_of_sync: u32 },
    SyncStarted { app: AppKey, project: String, opid: String, revision: String, automated: bool },
    SyncFinished { app: AppKey, project: String, opid: String, phase: String, message: String, revision: String },
}

/// One row of the table of events.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueRow {
    /// The type in the header `Tako-Type`.
    pub name: &'static str,
    /// The subject.
    pub subject: &'static str,
    /// Who says it.
    pub from: &'static str,
    /// What it means.
    pub about: &'static str,
}

/// All events.
pub const CATALOGUE: &[CatalogueRow] = &[
    CatalogueRow {
        name: "revision.moved/1",
        subject: "tako.v1.evt._repo.<repo>.moved",
        from: "watcher",
        about: "A followed branch or tag points to another commit. `changed_paths` files differ, `apps` Applications are rendered for it.",
    },
    CatalogueRow {
        name: "manifests.rendered/1",
        subject: "tako.v1.evt.<project>.<ns>.<app>.rendered",
        from: "renderer",
        about: "The target state of an Application was worked out; the body is in the bucket `blob` under `digest`.",
    },
    CatalogueRow {
        name: "render.failed/1",
        subject: "tako.v1.evt.<project>.<ns>.<app>.render_failed",
        from: "renderer",
        about: "The target state could not be worked out; the last good one stays. `message` names the file and the line.",
    },
    CatalogueRow {
        name: "app.compared/1",
        subject: "tako.v1.evt.<project>.<ns>.<app>.compared",
        from: "differ",
        about: "Target and live state were compared and the status changed.",
    },
    CatalogueRow {
        name: "sync.started/1",
        subject: "tako.v1.evt.<project>.<ns>.<app>.sync_started",
        from: "syncer",
        about: "An operation began, or was resumed after its process was lost (same `opid`).",
    },
    CatalogueRow {
        name: "sync.finished/1",
        subject: "tako.v1.evt.<project>.<ns>.<app>.sync_finished",
        from: "syncer",
        about: "An operation ended; `phase` is Succeeded, Failed or Error.",
    },
];

impl Event {
    fn row(&self) -> &'static CatalogueRow {
        let index = match self {
            Self::RevisionMoved { .. } => 0,
            Self::ManifestsRendered { .. } => 1,
            Self::RenderFailed { .. } => 2,
            Self::AppCompared { .. } => 3,
            Self::SyncStarted { .. } => 4,
            Self::SyncFinished { .. } => 5,
        };
        &CATALOGUE[index]
    }

    fn subject(&self) -> String {
        let tail = self.row().subject.rsplit('.').next().unwrap_or_default();
        match self {
            Self::RevisionMoved { repo, .. } => format!("{PREFIX}.evt._repo.{}.{tail}", repo_key(repo)),
            Self::ManifestsRendered { app, project, .. }
            | Self::RenderFailed { app, project, .. }
            | Self::AppCompared { app, project, .. }
            | Self::SyncStarted { app, project, .. }
            | Self::SyncFinished { app, project, .. } => {
                format!("{PREFIX}.evt.{}.{}.{tail}", token(project), app.token())
            }
        }
    }
}

impl Bus {
    /// Records an event; returns when the bus has it.
    pub async fn emit(&self, event: Event, cause: &Cause) -> Result<(), BusError> {
        let (id, mut headers) = headers(event.row().name, cause);
        headers.insert("Nats-Msg-Id", id.to_string());
        self.publish(event.subject(), headers, encode(&event)?.into()).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_row_and_subject() {
        let app = AppKey { namespace: "argocd".into(), name: "a.b".into() };
        let text = String::new;
        let events = [
            Event::RevisionMoved {
                repo: "r".into(),
                reference: text(),
                from: None,
                to: text(),
                changed_paths: 0,
                apps: 0,
            },
            Event::ManifestsRendered {
                app: app.clone(),
                project: "p".into(),
                revision: text(),
                digest: text(),
                resources: 0,
                millis: 0,
            },
            Event::RenderFailed { app: app.clone(), project: "p".into(), revision: text(), message: text() },
            Event::AppCompared {
                app: app.clone(),
                project: "p".into(),
                sync: text(),
                health: text(),
                revision: text(),
                out_of_sync: 0,
            },
            Event::SyncStarted {
                app: app.clone(),
                project: "p".into(),
                opid: text(),
                revision: text(),
                automated: false,
            },
            Event::SyncFinished {
                app,
                project: "p".into(),
                opid: text(),
                phase: text(),
                message: text(),
                revision: text(),
            },
        ];
        let mut names: Vec<_> = events.iter().map(|event| event.row().name).collect();
        for event in &events {
            assert_eq!(event.subject().split('.').count(), event.row().subject.split('.').count(), "{event:?}");
        }
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}

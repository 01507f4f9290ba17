//! The AppProjects, kept fresh from the bus (the registry reads them from the control namespace), as decisions see
//! them: with what they inherit from global projects. Knows nothing of Kubernetes.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tako_bus::{Bucket, Bus, Change};
use tako_engine::app::Application;
use tako_engine::project::{self, AppProject};
use tako_engine::windows::SyncWindow;
use tokio::sync::watch;

use crate::runtime::follow::follow;
use crate::settings::Settings;

/// The key under which the registry says that all projects are in the bucket.
pub(crate) const LISTED: &str = "_listed";
/// A user's command waits this long for a view that is not filled yet.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the project of an Application.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// The bus has not told of all projects yet: decide nothing.
    NotYet,
    /// There is no such project.
    Missing,
    /// This one.
    Is(Arc<AppProject>),
}

#[derive(Debug, Default)]
struct Tables {
    /// As they are written, by key on the bus.
    written: HashMap<String, AppProject>,
    /// The registry has put all that there are; an empty bucket alone says nothing.
    listed: bool,
    /// What the bucket held has been told.
    told: bool,
    /// As decisions see them, by name, under the settings of that number.
    seen: (u64, HashMap<String, Arc<AppProject>>),
}

impl Tables {
    fn fold(&mut self, change: Change<AppProject>) {
        match change {
            Change::Put { key, .. } if key == LISTED => self.listed = true,
            Change::Put { key, value, .. } => {
                self.written.insert(key, value);
            }
            Change::Delete { key, .. } => {
                self.written.remove(&key);
            }
            Change::Snapshot => self.told = true,
            Change::Reset => {
                (self.written, self.listed, self.told) = (HashMap::new(), false, false);
            }
        }
        self.seen.1.clear();
    }

    fn find(&mut self, name: &str, settings: u64, globals: Option<&str>) -> Found {
        if self.seen.0 != settings {
            self.seen = (settings, HashMap::new());
        }
        if let Some(known) = self.seen.1.get(name) {
            return Found::Is(known.clone());
        }
        let Some(own) = self.written.values().find(|project| project.name() == name) else {
            return if self.listed && self.told { Found::Missing } else { Found::NotYet };
        };
        if !(self.listed && self.told) {
            // Its global projects may not be here yet.
            return Found::NotYet;
        }
        // Argo CD, too, goes on without them when the setting cannot be read.
        let globals = project::global_projects(globals.unwrap_or_default()).unwrap_or_else(|problem| {
            tracing::warn!(problem, "globalProjects of argocd-cm does not count");
            Vec::new()
        });
        let all: Vec<AppProject> =
            if globals.is_empty() { Vec::new() } else { self.written.values().cloned().collect() };
        let seen = Arc::new(project::inherit(own, (&globals, &all), &[], &[]));
        self.seen.1.insert(name.to_owned(), seen.clone());
        Found::Is(seen)
    }
}

/// A live view; cheap to clone.
#[derive(Clone)]
pub(crate) struct Projects {
    tables: Arc<RwLock<Tables>>,
    settings: Settings,
    changes: watch::Sender<u64>,
}

impl Projects {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: Bus, settings: Settings) -> Self {
        let projects = Self { tables: Arc::default(), settings, changes: watch::Sender::default() };
        let (tables, changes) = (projects.tables.clone(), projects.changes.clone());
        tokio::spawn(async move {
            follow::<AppProject, _>(bus, Bucket::Projects, |change| {
                tables.write().unwrap_or_else(PoisonError::into_inner).fold(change);
                changes.send_modify(|count| *count += 1);
            })
            .await;
        });
        projects
    }

    /// The project of an Application.
    pub(crate) fn find(&self, app: &Application) -> Found {
        let name = if app.spec.project.is_empty() { project::DEFAULT } else { &app.spec.project };
        let (number, settings) = self.settings.snapshot();
        let globals = settings.get("globalProjects").map(String::as_str);
        self.tables.write().unwrap_or_else(PoisonError::into_inner).find(name, number, globals)
    }

    /// Tells when a project was made, changed or removed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The sync windows of the Application's project, none without a project; `None` when the projects are not
    /// known in time.
    pub(crate) async fn windows_of(&self, app: &Application) -> Option<Vec<SyncWindow>> {
        let mut changes = self.changes();
        let known = async {
            loop {
                match self.find(app) {
                    Found::Is(project) => return project.spec.sync_windows.clone(),
                    Found::Missing => return Vec::new(),
                    // The sender is ours: this only ends with a change.
                    Found::NotYet => drop(changes.changed().await),
                }
            }
        };
        tokio::time::timeout(READY_WITHIN, known).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn put(name: &str, spec: Value) -> Change<AppProject> {
        let object = json!({"metadata": {"name": name, "namespace": "argocd", "labels": {"a": "b"}}, "spec": spec});
        Change::Put { key: format!("argocd.{name}"), value: serde_json::from_value(object).unwrap(), seq: 1 }
    }

    fn listed() -> Change<AppProject> {
        Change::Put { key: LISTED.into(), value: AppProject::default(), seq: 2 }
    }

    #[test]
    fn nothing_is_missing_before_all_is_told() {
        let mut tables = Tables::default();
        assert_eq!(tables.find("p", 0, None), Found::NotYet);
        tables.fold(put("p", json!({"sourceRepos": ["https://p"]})));
        assert_eq!(tables.find("p", 0, None), Found::NotYet);
        tables.fold(Change::Snapshot);
        assert_eq!(tables.find("q", 0, None), Found::NotYet, "an empty bucket says nothing, nor does half a list");
        tables.fold(listed());
        assert!(matches!(tables.find("p", 0, None), Found::Is(_)));
        assert_eq!(tables.find("q", 0, None), Found::Missing);
        tables.fold(Change::Reset);
        assert_eq!(tables.find("p", 0, None), Found::NotYet);
    }

    #[test]
    fn a_change_of_project_or_settings_counts_at_once() {
        let globals = Some("- {labelSelector: {matchLabels: {a: b}}, projectName: g}");
        let mut tables = Tables::default();
        for change in [put("p", json!({"sourceRepos": ["https://p"]})), put("g", json!({"sourceRepos": ["https://g"]}))]
        {
            tables.fold(change);
        }
        tables.fold(listed());
        tables.fold(Change::Snapshot);
        let repos = |tables: &mut Tables, number, globals| match tables.find("p", number, globals) {
            Found::Is(project) => project.spec.source_repos.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(repos(&mut tables, 0, None), ["https://p"]);
        assert_eq!(repos(&mut tables, 1, globals), ["https://p", "https://g"]);
        tables.fold(put("g", json!({"sourceRepos": ["https://h"]})));
        assert_eq!(repos(&mut tables, 1, globals), ["https://p", "https://h"]);
        assert_eq!(repos(&mut tables, 2, Some("{")), ["https://p"]);
        tables.fold(Change::Delete { key: "argocd.p".into(), seq: 9 });
        assert_eq!(tables.find("p", 2, None), Found::Missing);
    }
}

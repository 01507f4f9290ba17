//! The read model: what the bus says of Applications and trees, folded into tables, with the last deltas kept
//! so that a browser that comes back gets only what it missed.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde_json::{Value, json};
use tako_bus::{Bucket, Bus, Change};
use tako_engine::app::{AppKey, Application, SyncCode};
use tako_engine::tree::ResourceTree;
use tokio::sync::broadcast;

/// Deltas kept for browsers that come back.
const KEPT: usize = 10_000;
/// Deltas a slow browser may be behind before it gets everything anew.
const BEHIND_MAX: usize = 1024;

/// One Application as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppSummary {
    key: String,
    name: String,
    namespace: String,
    project: String,
    sync: SyncCode,
    health: Value,
    operation: Option<String>,
    message: String,
    revision: String,
    repo: String,
    path: String,
    target_revision: String,
    destination: String,
    dest_namespace: String,
    auto_sync: bool,
    labels: BTreeMap<String, String>,
    created_at: Option<String>,
    reconciled_at: Option<String>,
    conditions: Vec<Value>,
    resources: usize,
    out_of_sync: usize,
}

impl AppSummary {
    fn of(app: &Application) -> Self {
        let status = app.status.clone().unwrap_or_default();
        let source = app.source().cloned().unwrap_or_default();
        let operation = status.operation_state.as_ref();
        Self {
            key: app.key().to_string(),
            name: app.metadata.name.clone(),
            namespace: app.metadata.namespace.clone(),
            project: app.spec.project.clone(),
            sync: status.sync.status,
            health: json!(status.health.status.unwrap_or_default()),
            operation: operation.map(|state| format!("{:?}", state.phase)),
            message: operation.map(|state| state.message.clone()).unwrap_or_default(),
            revision: status.sync.revision.clone().unwrap_or_default(),
            repo: source.repo_url,
            path: source.path.unwrap_or_default(),
            target_revision: source.target_revision.unwrap_or_default(),
            destination: app.spec.destination.server.clone().or(app.spec.destination.name.clone()).unwrap_or_default(),
            dest_namespace: app.spec.destination.namespace.clone().unwrap_or_default(),
            auto_sync: app.automated().is_some(),
            labels: app.metadata.labels.clone(),
            created_at: app.metadata.creation_timestamp.clone(),
            reconciled_at: status.reconciled_at.clone(),
            conditions: status
                .conditions
                .iter()
                .map(|condition| json!({"type": condition.r#type, "message": condition.message}))
                .collect(),
            resources: status.resources.len(),
            out_of_sync: status
                .resources
                .iter()
                .filter(|resource| resource.status == Some(SyncCode::OutOfSync))
                .count(),
        }
    }
}

/// One step of the model, as websockets pass it on.
#[derive(Debug, Clone)]
pub(crate) struct Delta {
    pub(crate) seq: u64,
    /// Whose; `None` when everything must be told anew.
    pub(crate) key: Option<String>,
    /// For everybody: the list's row. `None` when only watchers of the key are concerned.
    pub(crate) row: Option<Arc<str>>,
}

/// The tables. Pure but for the channel it tells.
#[derive(Default)]
pub(crate) struct Tables {
    apps: BTreeMap<String, Arc<Application>>,
    rows: BTreeMap<String, AppSummary>,
    trees: BTreeMap<String, Arc<ResourceTree>>,
    seq: u64,
    deltas: VecDeque<Delta>,
    ready: bool,
}

impl Tables {
    fn delta(&mut self, key: Option<String>, row: Option<Value>) -> Delta {
        self.seq += 1;
        let row = row.map(|mut frame| {
            frame["seq"] = json!(self.seq);
            Arc::from(frame.to_string())
        });
        let delta = Delta { seq: self.seq, key, row };
        self.deltas.push_back(delta.clone());
        if self.deltas.len() > KEPT {
            self.deltas.pop_front();
        }
        delta
    }

    fn app(&mut self, change: Change<Application>) -> Option<Delta> {
        match change {
            Change::Put { value, .. } => {
                let row = AppSummary::of(&value);
                let key = row.key.clone();
                let changed = self.rows.insert(key.clone(), row.clone()).as_ref() != Some(&row);
                self.apps.insert(key.clone(), Arc::new(value));
                let frame = changed.then(|| json!({"t": "app", "app": row}));
                Some(self.delta(Some(key), frame))
            }
            Change::Delete { key, .. } => {
                let key = AppKey::from_token(&key)?.to_string();
                self.apps.remove(&key)?;
                self.rows.remove(&key);
                self.trees.remove(&key);
                Some(self.delta(Some(key.clone()), Some(json!({"t": "gone", "key": key}))))
            }
            Change::Snapshot => {
                self.ready = true;
                Some(self.delta(None, None))
            }
            Change::Reset => {
                (self.apps, self.rows) = (BTreeMap::new(), BTreeMap::new());
                Some(self.delta(None, None))
            }
        }
    }

    fn tree(&mut self, change: Change<ResourceTree>) -> Option<Delta> {
        match change {
            Change::Put { key, value, .. } => {
                let key = AppKey::from_token(&key)?.to_string();
                self.trees.insert(key.clone(), Arc::new(value));
                Some(self.delta(Some(key), None))
            }
            Change::Delete { key, .. } => {
                let key = AppKey::from_token(&key)?.to_string();
                self.trees.remove(&key)?;
                Some(self.delta(Some(key), None))
            }
            Change::Snapshot => None,
            Change::Reset => {
                self.trees.clear();
                Some(self.delta(None, None))
            }
        }
    }
}

/// A handle on the model; cheap to clone.
#[derive(Clone)]
pub(crate) struct ReadModel {
    tables: Arc<RwLock<Tables>>,
    told: broadcast::Sender<Delta>,
    incarnation: Arc<str>,
}

impl ReadModel {
    /// Follows the bus from now on.
    pub(crate) fn start(bus: &Bus) -> Self {
        let model = Self {
            tables: Arc::default(),
            told: broadcast::channel(BEHIND_MAX).0,
            incarnation: uuid::Uuid::new_v4().to_string().into(),
        };
        let (apps, trees) = (model.clone(), model.clone());
        let bus_of_apps = bus.clone();
        tokio::spawn(async move {
            if let Ok(mut follow) = bus_of_apps.kv(Bucket::Apps).follow::<Application>().await {
                while let Some(change) = follow.next().await {
                    apps.fold(|tables| tables.app(change));
                }
            }
        });
        let bus_of_trees = bus.clone();
        tokio::spawn(async move {
            if let Ok(mut follow) = bus_of_trees.kv(Bucket::Trees).follow::<ResourceTree>().await {
                while let Some(change) = follow.next().await {
                    trees.fold(|tables| tables.tree(change));
                }
            }
        });
        model
    }

    fn fold(&self, step: impl FnOnce(&mut Tables) -> Option<Delta>) {
        let delta = step(&mut self.tables.write().unwrap_or_else(PoisonError::into_inner));
        if let Some(delta) = delta {
            // Nobody listening is no error.
            let _ = self.told.send(delta);
        }
    }

    fn read<R>(&self, look: impl FnOnce(&Tables) -> R) -> R {
        look(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// All present values have been read once.
    pub(crate) fn ready(&self) -> bool {
        self.read(|tables| tables.ready)
    }

    /// All Applications, by key.
    pub(crate) fn apps(&self) -> Vec<Arc<Application>> {
        self.read(|tables| tables.apps.values().cloned().collect())
    }

    /// One Application.
    pub(crate) fn app(&self, key: &str) -> Option<Arc<Application>> {
        self.read(|tables| tables.apps.get(key).cloned())
    }

    /// One tree.
    pub(crate) fn tree(&self, key: &str) -> Option<Arc<ResourceTree>> {
        self.read(|tables| tables.trees.get(key).cloned())
    }

    /// The name of this run of the model: sequences of another run mean nothing here.
    pub(crate) fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Listens; take the snapshot after, so that nothing falls between.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Delta> {
        self.told.subscribe()
    }

    /// The list as a frame, and its sequence.
    pub(crate) fn snapshot(&self) -> (u64, String) {
        self.read(|tables| {
            let rows: Vec<&AppSummary> = tables.rows.values().collect();
            (tables.seq, json!({"t": "snapshot", "apps": rows, "seq": tables.seq}).to_string())
        })
    }

    /// The deltas after a sequence; `None` when they are no longer all here.
    pub(crate) fn since(&self, incarnation: &str, seq: u64) -> Option<(u64, Vec<Arc<str>>)> {
        if incarnation != self.incarnation() {
            return None;
        }
        self.read(|tables| {
            let oldest = tables.deltas.front().map_or(tables.seq + 1, |delta| delta.seq);
            let missed: Vec<&Delta> = tables.deltas.iter().filter(|delta| delta.seq > seq).collect();
            let whole = seq <= tables.seq && seq + 1 >= oldest && missed.iter().all(|delta| delta.key.is_some());
            whole.then(|| (tables.seq, missed.iter().filter_map(|delta| delta.row.clone()).collect()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str, sync: &str) -> Change<Application> {
        let value = json!({"metadata": {"name": name, "namespace": "argocd"}, "spec": {"project": "p", "destination": {}}, "status": {"sync": {"status": sync}}});
        Change::Put { key: format!("argocd.{name}"), value: serde_json::from_value(value).unwrap(), seq: 1 }
    }

    fn model() -> ReadModel {
        ReadModel { tables: Arc::default(), told: broadcast::channel(8).0, incarnation: "i".into() }
    }

    #[test]
    fn who_comes_back_gets_what_it_missed_and_no_more() {
        let model = model();
        for (name, sync) in [("a", "Synced"), ("b", "Synced")] {
            model.fold(|tables| tables.app(put(name, sync)));
        }
        let (seq, snapshot) = model.snapshot();
        assert!(snapshot.contains("argocd/a") && snapshot.contains("argocd/b"));
        model.fold(|tables| tables.app(put("a", "OutOfSync")));
        model.fold(|tables| tables.app(Change::Delete { key: "argocd.b".into(), seq: 9 }));
        let (now, missed) = model.since("i", seq).unwrap();
        assert_eq!((now, missed.len()), (seq + 2, 2));
        assert!(missed[0].contains("OutOfSync") && missed[1].contains("gone"));
        assert!(model.since("another run", seq).is_none());
        model.fold(|tables| tables.app(Change::Reset));
        assert!(model.since("i", seq).is_none(), "after a reset everything is told anew");
    }

    #[test]
    fn a_change_that_no_row_shows_is_told_to_watchers_only() {
        let model = model();
        let mut told = model.listen();
        model.fold(|tables| tables.app(put("a", "Synced")));
        model.fold(|tables| tables.app(put("a", "Synced")));
        assert!(told.try_recv().unwrap().row.is_some());
        assert!(told.try_recv().unwrap().row.is_none());
    }
}

//! Puts changed trees on the bus and wakes the differ after: whoever is woken finds the tree. An Application that
//! keeps changing has its turn less often.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tako_bus::{Bucket, BusError, Cause, Work, WorkNote};
use tako_engine::app::AppKey;
use tako_engine::tree::ResourceTree;

use tokio::sync::mpsc;

use super::Observer;
use super::index::Effect;
use super::pace::Pace;
use crate::targets;

/// Changes within this time become one tree and one wake-up.
const GATHER: Duration = Duration::from_millis(20);
/// Until the next try when the bus did not take something.
const AGAIN: Duration = Duration::from_millis(500);
/// With nothing in hand there is nothing to wait for but a change.
const IDLE: Duration = Duration::from_secs(60);

impl Observer {
    pub(super) async fn publish(self: Arc<Self>) {
        let begin = Instant::now();
        let (mut pace, mut orphans) = (Pace::default(), BTreeMap::new());
        // Whose turn is to come, and whether for a comparison, too.
        let mut waiting: BTreeMap<String, bool> = BTreeMap::new();
        let mut pause = IDLE;
        loop {
            tokio::select! {
                () = self.wake.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(pause) => {}
            }
            self.gather(&mut waiting);
            let now = begin.elapsed();
            pause = IDLE;
            let mut again = Effect::default();
            for (instance, compare) in std::mem::take(&mut waiting) {
                let wait = pace.wait(&instance, compare, now);
                if !wait.is_zero() {
                    pause = pause.min(wait);
                    waiting.insert(instance, compare);
                    continue;
                }
                pace.had(&instance, now);
                if let Err(error) = self.turn(&instance, compare, &mut orphans).await {
                    tracing::warn!(app = instance, %error, "tree or comparison not on the bus yet");
                    again.compare.extend(compare.then(|| instance.clone()));
                    again.trees.insert(instance);
                }
            }
            pace.forget(now);
            if again != Effect::default() {
                tokio::time::sleep(AGAIN).await;
                self.note(again);
            }
        }
    }

    /// What changed since the last look.
    fn gather(&self, waiting: &mut BTreeMap<String, bool>) {
        let Effect { trees, compare, namespaces } =
            std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        for instance in trees {
            waiting.entry(instance).or_default();
        }
        for instance in compare {
            waiting.insert(instance, true);
        }
        for app in namespaces.iter().flat_map(|namespace| self.orphans.watching(namespace)) {
            waiting.entry(targets::instance_name(&app, &self.control_namespace)).or_default();
        }
    }

    /// One Application's turn. `orphans`: how many it was told of the last time; another number is for the differ to
    /// say.
    async fn turn(&self, instance: &str, compare: bool, orphans: &mut BTreeMap<String, usize>) -> Result<(), BusError> {
        let app = self.key_of(instance);
        let tree = self.tree(instance, &app);
        self.bus.kv(Bucket::Trees).put(&app.token(), &tree).await?;
        let count = tree.orphaned_nodes.len();
        let others = orphans.get(instance).copied().unwrap_or_default() != count;
        if compare || others {
            let note = WorkNote { hard: false, reason: "live state changed".to_owned() };
            self.bus.wake(&Work::Compare { app }, note, &Cause::root("sa:observer")).await?;
        }
        if count == 0 {
            orphans.remove(instance);
        } else {
            orphans.insert(instance.to_owned(), count);
        }
        Ok(())
    }

    fn tree(&self, instance: &str, app: &AppKey) -> ResourceTree {
        let index = self.index();
        let mut tree = index.tree(instance, &self.rules.settings().node_labels());
        if let Some(asked) = self.orphans.of(app) {
            let exists = |instance: &str| self.orphans.exists(&self.key_of(instance));
            let permits = |key: &_| self.orphans.permits(app, key);
            tree.orphaned_nodes = index.orphans(&asked.namespace, &asked.not, exists, permits);
        }
        tree
    }

    /// Applications that are new get the tree of what is there already.
    pub(super) async fn publish_for(self: Arc<Self>, mut made: mpsc::UnboundedReceiver<AppKey>) {
        while let Some(app) = made.recv().await {
            let instance = targets::instance_name(&app, &self.control_namespace);
            if self.index().tracks(&instance) {
                self.note(Effect { trees: BTreeSet::from([instance]), ..Effect::default() });
            }
        }
    }

    /// The bus may have lost trees: all of them are put again.
    pub(super) async fn publish_again(self: Arc<Self>) {
        let mut reconnects = self.bus.reconnects();
        while reconnects.changed().await.is_ok() {
            let trees: BTreeSet<String> = self.index().instances();
            self.note(Effect { trees, ..Effect::default() });
        }
    }
}

//! Watches every kind that the destination cluster serves; keeps the resource trees on the bus and wakes the
//! differ when something managed changed. Knows nothing of git or of what ought to be.
mod index;
mod orphans;
mod pace;
mod publish;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tako_bus::Bus;
use tako_engine::app::AppKey;
use tokio::sync::{Notify, mpsc};

use self::index::{Effect, Index};
use self::orphans::Orphans;
use crate::adapters::cluster::Cluster;
use crate::healths::Healths;
use crate::ignored::IgnoreRules;
use crate::projects::Projects;

/// The actor.
pub(crate) struct Observer {
    bus: Bus,
    cluster: Cluster,
    /// For the settings, and for the use of their rules within bounds.
    rules: IgnoreRules,
    orphans: Orphans,
    control_namespace: String,
    healths: Healths,
    index: Mutex<Index>,
    changed: Mutex<Effect>,
    wake: Notify,
    kinds_changed: Notify,
}

impl Observer {
    /// Starts watching.
    pub(crate) fn start(
        bus: Bus,
        cluster: Cluster,
        (rules, healths): (IgnoreRules, Healths),
        projects: Projects,
        control_namespace: String,
    ) -> Arc<Self> {
        let (fresh, made) = mpsc::unbounded_channel();
        let orphans = Orphans::start(bus.clone(), projects, control_namespace.clone(), fresh);
        let observer = Arc::new(Self {
            bus,
            cluster,
            rules,
            orphans,
            control_namespace,
            healths,
            index: Mutex::default(),
            changed: Mutex::default(),
            wake: Notify::new(),
            kinds_changed: Notify::new(),
        });
        tokio::spawn(observer.clone().watch_kinds());
        tokio::spawn(observer.clone().publish());
        tokio::spawn(observer.clone().publish_again());
        tokio::spawn(observer.clone().publish_for(made));
        observer
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what a change means.
    fn note(&self, effect: Effect) {
        if effect == Effect::default() {
            return;
        }
        index::merge(&mut self.changed.lock().unwrap_or_else(PoisonError::into_inner), effect);
        self.wake.notify_one();
    }

    fn key_of(&self, instance: &str) -> AppKey {
        match instance.split_once('_') {
            Some((namespace, name)) => AppKey { namespace: namespace.to_owned(), name: name.to_owned() },
            None => AppKey { namespace: self.control_namespace.clone(), name: instance.to_owned() },
        }
    }
}

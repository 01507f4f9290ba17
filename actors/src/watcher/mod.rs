//! Wakes on a webhook, a timer or a changed Application; fetches a repository once for all of them,
//! and says which revision moved and who must be rendered. Knows nothing of clusters.
mod state;
mod timer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tako_bus::{Bucket, Bus, Cause, Change, Event, RefRecord, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application};
use tako_sources::git::redact;
use tako_sources::request::RenderError;
use tako_sources::store::Look;

use self::state::{Waiting, wait};
use crate::runtime::follow::follow;
use crate::runtime::stage::{Outcome, Stage};
use crate::settings::Settings;
use crate::sources::{RepoId, Sources};

/// A repository that cannot be reached is tried again after this long, besides webhooks and timers.
const RETRY: Duration = Duration::from_secs(20);
/// Between two rounds of packing and bounding the caches.
const MAINTAIN: Duration = Duration::from_secs(1800);

/// The stage.
pub(crate) struct Watcher {
    bus: Bus,
    sources: Sources,
    settings: Settings,
    state: Arc<Mutex<state::State>>,
}

impl Watcher {
    /// The stage, with the loops that keep its index and its timer.
    pub(crate) fn start(bus: Bus, sources: Sources, settings: Settings) -> Arc<Self> {
        let watcher = Arc::new(Self { bus: bus.clone(), sources, settings: settings.clone(), state: Arc::default() });
        tokio::spawn(watcher.clone().follow_applications());
        tokio::spawn(watcher.clone().follow_renders());
        tokio::spawn(watcher.clone().follow_credentials());
        tokio::spawn(watcher.clone().poll_on_time(settings));
        tokio::spawn(watcher.clone().poll_again());
        tokio::spawn(watcher.clone().maintain());
        watcher
    }

    fn state(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow_applications(self: Arc<Self>) {
        let (tell, mut wanted) = tokio::sync::mpsc::unbounded_channel::<(RepoId, String)>();
        let poller = self.clone();
        tokio::spawn(async move {
            while let Some((repo, reason)) = wanted.recv().await {
                poller.wake_poll(&repo.url, &reason).await;
            }
        });
        // Without the credentials it is not known which repository a URL means.
        self.sources.secrets.current().await;
        follow::<Application, _>(self.bus.clone(), Bucket::Apps, move |change| {
            let mut state = self.state();
            match change {
                Change::Put { value, .. } => {
                    let key = value.key();
                    for repo in self.changed(&mut state, &value) {
                        let _ = tell.send((repo, format!("application {key} changed")));
                    }
                }
                Change::Delete { key, .. } => {
                    if let Some(key) = AppKey::from_token(&key) {
                        state.app_gone(&key);
                    }
                }
                Change::Reset => state.clear(),
                Change::Snapshot => {}
            }
        })
        .await;
    }

    fn changed(&self, state: &mut state::State, app: &Application) -> Vec<RepoId> {
        let repositories = self.sources.secrets.now();
        state.app_changed(&app.key(), app, |url| RepoId::of(&repositories, url, &app.spec.project))
    }

    /// What the renders read is what a commit must change to concern an Application.
    async fn follow_renders(self: Arc<Self>) {
        follow::<TargetRecord, _>(self.bus.clone(), Bucket::Targets, move |change| {
            let Change::Put { key, value, .. } = change else { return };
            let Some(key) = AppKey::from_token(&key) else { return };
            if value.is_rendered() && value.error.is_none() {
                self.state().rendered(&key, &value);
            }
        })
        .await;
    }

    /// Other credentials may show another repository, or one that could not be read.
    async fn follow_credentials(self: Arc<Self>) {
        self.sources.secrets.current().await;
        let mut changes = self.sources.secrets.changes();
        changes.mark_unchanged();
        while changes.changed().await.is_ok() {
            let apps = match self.bus.kv(Bucket::Apps).entries::<Application>().await {
                Ok(apps) => apps,
                Err(error) => {
                    tracing::warn!(%error, "Applications not read; the timer polls with the new credentials");
                    continue;
                }
            };
            let repos = {
                let mut state = self.state();
                for (_, app) in &apps {
                    self.changed(&mut state, app);
                }
                // Who could not be rendered may be now; for the others that is a look at what they read.
                state.all_pending();
                state.repos()
            };
            for repo in repos {
                self.wake_poll(&repo.url, "the credentials of repositories changed").await;
            }
        }
    }

    /// The bus may have lost wake-ups: everything is looked at again.
    async fn poll_again(self: Arc<Self>) {
        let mut reconnects = self.bus.reconnects();
        while reconnects.changed().await.is_ok() {
            let repos = {
                let mut state = self.state();
                state.all_pending();
                state.repos()
            };
            for repo in repos {
                self.wake_poll(&repo.url, "the bus was started anew").await;
            }
        }
    }

    /// Packs and bounds the caches, now and then.
    async fn maintain(self: Arc<Self>) {
        let mut tick = tokio::time::interval(MAINTAIN);
        tick.tick().await;
        loop {
            tick.tick().await;
            let store = self.sources.store.clone();
            match tokio::task::spawn_blocking(move || store.maintain()).await {
                Ok(Ok(done)) => tracing::debug!(?done, "the caches of git are maintained"),
                Ok(Err(error)) => tracing::warn!(%error, "the caches of git are not maintained"),
                Err(_) => tracing::error!("the maintenance of the caches of git ended unexpectedly"),
            }
        }
    }

    async fn wake_poll(&self, url: &str, reason: &str) {
        let note = WorkNote { hard: false, reason: reason.to_owned() };
        if let Err(error) = self.bus.wake(&Work::Poll { repo: url.to_owned() }, note, &Cause::root("sa:watcher")).await
        {
            tracing::warn!(%error, "poll not queued; the timer asks again");
        }
    }

    /// Every repository every `timeout.reconciliation`, each at its own moment (jitter, so that they never march in
    /// step); every `timeout.hard.reconciliation` with trust in no cache.
    async fn poll_on_time(self: Arc<Self>, settings: Settings) {
        let (begun, mut normal, mut hard) = (Instant::now(), timer::Timer::default(), timer::Timer::default());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let (repos, now) = (self.state().repos(), begun.elapsed());
            if let Some(period) = settings.hard_reconciliation() {
                for repo in hard.due(&repos, now, period, || settings.jittered(period)) {
                    self.state().all_hard(&repo);
                    self.wake_poll(&repo.url, "timeout.hard.reconciliation").await;
                }
            }
            if let Some(period) = settings.reconciliation() {
                for repo in normal.due(&repos, now, period, || settings.jittered(period)) {
                    self.wake_poll(&repo.url, "timeout.reconciliation").await;
                }
            }
        }
    }

    async fn poll(&self, repo: &RepoId, item: &WorkItem) -> Outcome {
        let Some((followed, waiting)) = self.state().begin(repo) else { return Outcome::Done };
        let repository = self.sources.secrets.current().await.of(&repo.url, &repo.scope);
        let sources = self.sources.clone();
        let looked = tokio::task::spawn_blocking(move || sources.store.look(&repository, followed)).await;
        match looked {
            Ok(Ok(looks)) => self.tell(repo, looks, waiting, item).await,
            Ok(Err(error)) => {
                tracing::warn!(repo = %redact(&repo.url), %error, "repository not readable");
                self.tell_failure(repo, &error, waiting, item).await
            }
            Err(_) => {
                self.state().keep(repo, waiting);
                Outcome::Again(RETRY)
            }
        }
    }

    /// The record keeps what was read last: within the grace it still counts.
    async fn tell_failure(&self, repo: &RepoId, error: &RenderError, waiting: Waiting, item: &WorkItem) -> Outcome {
        let before = match self.bus.kv(Bucket::Refs).get::<RefRecord>(&repo.key()).await {
            Ok(before) => before.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "refs not read");
                self.state().keep(repo, waiting);
                return Outcome::Again(Duration::from_secs(1));
            }
        };
        let record = RefRecord { repo: repo.url.clone(), error: Some(error.to_string()), ..before };
        if !self.put(repo, &record).await {
            self.state().keep(repo, waiting);
            return Outcome::Again(Duration::from_secs(1));
        }
        let left = record.grace_left(crate::unix_now(), self.settings.repository_grace());
        let told = self.state().failed(repo, waiting, left.is_some());
        self.wake_renders(told, item).await;
        Outcome::Again(left.map_or(RETRY, |left| left.min(RETRY)))
    }

    async fn tell(&self, repo: &RepoId, looks: Vec<Look>, waiting: Waiting, item: &WorkItem) -> Outcome {
        let to = || looks.iter().filter_map(|look| Some((look.wanted.to_string(), look.to.clone()?)));
        let refs = to().map(|(name, found)| (name, found.revision)).collect();
        let tags = to().filter_map(|(name, found)| Some((name, found.tag?))).collect();
        let record = RefRecord { repo: repo.url.clone(), refs, tags, error: None, read_at: Some(crate::unix_now()) };
        // The record first: whoever is woken reads it.
        if !self.put(repo, &record).await {
            self.state().keep(repo, waiting);
            return Outcome::Again(Duration::from_secs(1));
        }
        let mut render = waiting;
        self.state().recovered(repo).into_iter().for_each(|app| wait(&mut render, app, false));
        for look in looks {
            let to = look.to.map(|found| found.revision);
            let Some(to) = to.filter(|to| look.from.as_ref() != Some(to)) else { continue };
            let touched = self.state().moved(repo, &look.wanted, &to, look.changed.as_deref());
            let changed = look.changed.map_or(0, |changed| changed.len());
            let event = Event::RevisionMoved {
                repo: redact(&repo.url),
                reference: look.wanted.to_string(),
                from: look.from,
                to,
                changed_paths: u32::try_from(changed).unwrap_or(u32::MAX),
                apps: u32::try_from(touched.len()).unwrap_or(u32::MAX),
            };
            let (bus, cause) = (self.bus.clone(), item.cause.clone());
            tokio::spawn(async move {
                if let Err(error) = bus.emit(event, &cause).await {
                    tracing::warn!(%error, "event not recorded");
                }
            });
            touched.into_iter().for_each(|app| wait(&mut render, app, false));
        }
        self.wake_renders(render, item).await;
        Outcome::Done
    }

    async fn put(&self, repo: &RepoId, record: &RefRecord) -> bool {
        let put = self.bus.kv(Bucket::Refs).put(&repo.key(), record).await;
        put.map_err(|error| tracing::warn!(%error, "refs not recorded")).is_ok()
    }

    async fn wake_renders(&self, apps: Waiting, item: &WorkItem) {
        for (app, hard) in apps {
            let note = WorkNote { hard, reason: item.note.reason.clone() };
            if let Err(error) = self.bus.wake(&Work::Render { app: app.clone() }, note, &item.cause).await {
                tracing::warn!(%app, %error, "render not queued; the next poll asks again");
            }
        }
    }
}

impl Stage for Watcher {
    type Key = String;
    const NAME: &'static str = "watcher";
    const KIND: WorkKind = WorkKind::Poll;
    const SLOTS: usize = 4;

    fn key(item: &WorkItem) -> Option<String> {
        match &item.work {
            Work::Poll { repo } => Some(repo.clone()),
            _ => None,
        }
    }

    async fn run(&self, item: WorkItem) -> Outcome {
        match &item.work {
            Work::Poll { repo } => {
                let mut outcome = Outcome::Done;
                let repos = self.state().repos_of(repo);
                for repo in repos {
                    if let Outcome::Again(pause) = self.poll(&repo, &item).await {
                        outcome = Outcome::Again(pause);
                    }
                }
                outcome
            }
            _ => Outcome::Done,
        }
    }
}

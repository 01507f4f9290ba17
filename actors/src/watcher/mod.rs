//! Wakes on a webhook, a timer or a changed Application; fetches a repository once for all of them,
//! and says which revision moved and who must be rendered. Knows nothing of clusters.
mod state;
mod timer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tako_bus::{Bucket, Bus, Cause, Change, Event, RefRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application};

use self::state::{Waiting, wait};
use crate::adapters::git::{GitCache, GitError};
use crate::runtime::follow::follow;
use crate::runtime::stage::{Outcome, Stage};
use crate::settings::Settings;

/// A repository that cannot be reached is tried again after this long, besides webhooks and timers.
const RETRY: Duration = Duration::from_secs(20);

/// The stage.
pub(crate) struct Watcher {
    bus: Bus,
    git: GitCache,
    settings: Settings,
    state: Arc<Mutex<state::State>>,
}

impl Watcher {
    /// The stage, with the loops that keep its index and its timer.
    pub(crate) fn start(bus: Bus, git: GitCache, settings: Settings) -> Arc<Self> {
        let watcher = Arc::new(Self { bus: bus.clone(), git, settings: settings.clone(), state: Arc::default() });
        tokio::spawn(watcher.clone().follow_applications());
        tokio::spawn(watcher.clone().poll_on_time(settings));
        tokio::spawn(watcher.clone().poll_again());
        watcher
    }

    fn state(&self) -> MutexGuard<'_, state::State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow_applications(self: Arc<Self>) {
        let (tell, mut wanted) = tokio::sync::mpsc::unbounded_channel::<(String, String)>();
        let poller = self.clone();
        tokio::spawn(async move {
            while let Some((repo, reason)) = wanted.recv().await {
                poller.wake_poll(&repo, &reason).await;
            }
        });
        follow::<Application, _>(self.bus.clone(), Bucket::Apps, move |change| {
            let mut state = self.state();
            match change {
                Change::Put { value, .. } => {
                    let key = value.key();
                    if let Some(repo) = state.app_changed(&key, &value) {
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
                self.wake_poll(&repo, "the bus was started anew").await;
            }
        }
    }

    async fn wake_poll(&self, repo: &str, reason: &str) {
        let note = WorkNote { hard: false, reason: reason.to_owned() };
        if let Err(error) = self.bus.wake(&Work::Poll { repo: repo.to_owned() }, note, &Cause::root("sa:watcher")).await
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
                    self.wake_poll(&repo, "timeout.hard.reconciliation").await;
                }
            }
            if let Some(period) = settings.reconciliation() {
                for repo in normal.due(&repos, now, period, || settings.jittered(period)) {
                    self.wake_poll(&repo, "timeout.reconciliation").await;
                }
            }
        }
    }

    async fn poll(&self, repo: &str, item: &WorkItem) -> Outcome {
        let Some((followed, waiting)) = self.state().begin(repo) else { return Outcome::Done };
        let (git, url) = (self.git.clone(), repo.to_owned());
        let froms: Vec<(String, Option<String>)> = followed.into_iter().map(|one| (one.revision, one.from)).collect();
        let fetched = tokio::task::spawn_blocking(move || look(&git, &url, &froms)).await;
        let result = match fetched {
            Ok(result) => result,
            Err(_) => return Outcome::Again(RETRY),
        };
        match result {
            Ok(looks) => self.tell(repo, looks, waiting, item).await,
            Err(error) => {
                tracing::warn!(repo = %crate::adapters::git::redact(repo), %error, "repository not readable");
                self.tell_failure(repo, &error, waiting, item).await
            }
        }
    }

    /// The record keeps what was read last: within the grace it still counts.
    async fn tell_failure(&self, repo: &str, error: &GitError, waiting: Waiting, item: &WorkItem) -> Outcome {
        let before = match self.bus.kv(Bucket::Refs).get::<RefRecord>(&tako_bus::repo_key(repo)).await {
            Ok(before) => before.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "refs not read");
                self.state().keep(repo, waiting);
                return Outcome::Again(Duration::from_secs(1));
            }
        };
        let record = RefRecord { repo: repo.to_owned(), error: Some(error.to_string()), ..before };
        if !self.put(repo, &record).await {
            self.state().keep(repo, waiting);
            return Outcome::Again(Duration::from_secs(1));
        }
        let left = record.grace_left(crate::unix_now(), self.settings.repository_grace());
        let told = self.state().failed(repo, waiting, left.is_some());
        self.wake_renders(told, item).await;
        Outcome::Again(left.map_or(RETRY, |left| left.min(RETRY)))
    }

    async fn tell(&self, repo: &str, looks: Vec<Look>, waiting: Waiting, item: &WorkItem) -> Outcome {
        let refs = looks.iter().filter_map(|look| Some((look.revision.clone(), look.to.clone()?))).collect();
        let record = RefRecord { repo: repo.to_owned(), refs, error: None, read_at: Some(crate::unix_now()) };
        // The record first: whoever is woken reads it.
        if !self.put(repo, &record).await {
            self.state().keep(repo, waiting);
            return Outcome::Again(Duration::from_secs(1));
        }
        let mut render = waiting;
        self.state().recovered(repo).into_iter().for_each(|app| wait(&mut render, app, false));
        for look in looks {
            let Some(to) = look.to.filter(|to| look.from.as_ref() != Some(to)) else { continue };
            let known = look.from.is_some().then_some(look.changed.as_slice());
            let touched = self.state().moved(repo, &look.revision, &to, known);
            let event = Event::RevisionMoved {
                repo: crate::adapters::git::redact(repo),
                reference: look.revision,
                from: look.from,
                to,
                changed_paths: u32::try_from(look.changed.len()).unwrap_or(u32::MAX),
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

    async fn put(&self, repo: &str, record: &RefRecord) -> bool {
        let put = self.bus.kv(Bucket::Refs).put(&tako_bus::repo_key(repo), record).await;
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

/// What a fetch showed of one followed revision.
struct Look {
    revision: String,
    from: Option<String>,
    to: Option<String>,
    changed: Vec<String>,
}

fn look(git: &GitCache, url: &str, followed: &[(String, Option<String>)]) -> Result<Vec<Look>, GitError> {
    let repository = git.repository(url)?;
    let refs = repository.fetch()?;
    followed
        .iter()
        .map(|(revision, from)| {
            let to = refs.resolve(revision).filter(|commit| repository.has(commit));
            let changed = match (&to, from) {
                (Some(to), Some(from)) if to != from => repository.changed_paths(from, to)?,
                _ => Vec::new(),
            };
            Ok(Look { revision: revision.clone(), from: from.clone(), to, changed })
        })
        .collect()
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
            Work::Poll { repo } => self.poll(&repo.clone(), &item).await,
            _ => Outcome::Done,
        }
    }
}

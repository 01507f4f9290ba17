//! Which Applications follow which revision of which repository, and whom a commit touches.
//! Pure: no git, no bus, no clock.
use std::collections::{BTreeSet, HashMap, HashSet};

use tako_engine::app::{AppKey, Application, REFRESH, REFRESH_HARD, REFRESH_TIMESTAMP};

/// Who must be rendered, and whether with trust in no cache (a hard refresh).
pub(super) type Waiting = HashMap<AppKey, bool>;

/// What the watcher must know of one Application.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Following {
    repo: String,
    revision: String,
    /// Cleaned directory, empty for the root.
    path: String,
    /// Anything else of the source that changes what is rendered.
    rest: String,
    refresh: Option<String>,
    /// Tells one request for a refresh from another.
    asked_at: Option<String>,
}

impl Following {
    fn asks_hard(&self) -> bool {
        self.refresh.as_deref() == Some(REFRESH_HARD)
    }
}

#[derive(Debug, Default)]
struct Repo {
    /// revision → directory → Applications rendered from it.
    by_revision: HashMap<String, HashMap<String, BTreeSet<AppKey>>>,
    /// Where each followed revision pointed at the last poll.
    resolved: HashMap<String, String>,
    /// Applications that must be rendered after the next poll whatever moved.
    pending: Waiting,
    failing: Failing,
}

/// Whether the last poll failed, and who knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Failing {
    /// It did not.
    #[default]
    No,
    /// It did, and within the grace that changes nothing.
    InGrace,
    /// It did, and all were told.
    Told,
}

/// The watcher's index.
#[derive(Debug, Default)]
pub(super) struct State {
    apps: HashMap<AppKey, Following>,
    repos: HashMap<String, Repo>,
}

/// What one followed revision came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    /// As in targetRevision.
    pub(super) revision: String,
    /// Where it pointed before.
    pub(super) from: Option<String>,
}

impl State {
    /// An Application appeared or changed. Answers the repository to poll now, if any.
    pub(super) fn app_changed(&mut self, key: &AppKey, app: &Application) -> Option<String> {
        let next = app.source().map(|source| Following {
            repo: source.repo_url.clone(),
            revision: source.target_revision.clone().unwrap_or_default(),
            path: crate::adapters::git::clean_path(source.path.as_deref().unwrap_or_default()).unwrap_or_default(),
            rest: format!("{:?}|{:?}|{:?}", source.path, source.directory, app.spec.destination),
            refresh: app.metadata.annotations.get(REFRESH).cloned(),
            asked_at: app.metadata.annotations.get(REFRESH_TIMESTAMP).cloned(),
        });
        let before = self.apps.get(key).cloned();
        if before == next {
            return None;
        }
        // The refresh annotation going away is our own doing.
        let only_refresh_done = match (&before, &next) {
            (Some(before), Some(next)) => {
                let done = Following { refresh: None, asked_at: next.asked_at.clone(), ..before.clone() };
                next.refresh.is_none() && done == *next
            }
            _ => false,
        };
        if only_refresh_done {
            self.apps.extend(next.map(|next| (key.clone(), next)));
            return None;
        }
        // A hard refresh that still waits is not forgotten over a change that comes meanwhile.
        let waited = before.and_then(|before| self.repos.get(&before.repo)?.pending.get(key).copied());
        self.app_gone(key);
        let next = next?;
        let repo = self.repos.entry(next.repo.clone()).or_default();
        repo.by_revision
            .entry(next.revision.clone())
            .or_default()
            .entry(next.path.clone())
            .or_default()
            .insert(key.clone());
        let (url, hard) = (next.repo.clone(), next.asks_hard() || waited == Some(true));
        self.apps.insert(key.clone(), next);
        repo.pending.insert(key.clone(), hard);
        Some(url)
    }

    /// An Application is gone.
    pub(super) fn app_gone(&mut self, key: &AppKey) {
        let Some(old) = self.apps.remove(key) else { return };
        let Some(repo) = self.repos.get_mut(&old.repo) else { return };
        repo.pending.remove(key);
        if let Some(paths) = repo.by_revision.get_mut(&old.revision) {
            if let Some(apps) = paths.get_mut(&old.path) {
                apps.remove(key);
                if apps.is_empty() {
                    paths.remove(&old.path);
                }
            }
            if paths.is_empty() {
                repo.by_revision.remove(&old.revision);
                repo.resolved.remove(&old.revision);
            }
        }
        if repo.by_revision.is_empty() {
            self.repos.remove(&old.repo);
        }
    }

    /// Everything must be looked at again (the bus lost its buckets).
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Everybody waits for the next poll of its repository (the bus may have lost wake-ups and target states).
    pub(super) fn all_pending(&mut self) {
        for (key, app) in &self.apps {
            wait(&mut self.repos.entry(app.repo.clone()).or_default().pending, key.clone(), app.asks_hard());
        }
    }

    /// All who follow a repository wait for its next poll to be rendered with trust in no cache.
    pub(super) fn all_hard(&mut self, repo: &str) {
        let all = self.followers(repo);
        if let Some(repo) = self.repos.get_mut(repo) {
            repo.pending.extend(all.into_iter().map(|key| (key, true)));
        }
    }

    /// The repositories that somebody follows.
    pub(super) fn repos(&self) -> Vec<String> {
        self.repos.keys().cloned().collect()
    }

    /// Begins a poll: the followed revisions, and the Applications that wait for it. `None`: nobody follows it.
    pub(super) fn begin(&mut self, repo: &str) -> Option<(Vec<Followed>, Waiting)> {
        let repo = self.repos.get_mut(repo)?;
        let followed = repo
            .by_revision
            .keys()
            .map(|revision| Followed { revision: revision.clone(), from: repo.resolved.get(revision).cloned() })
            .collect();
        Some((followed, std::mem::take(&mut repo.pending)))
    }

    /// A poll failed: those who waited go on waiting. Answers whom to tell: only who waited, but all at the first failure
    /// that is not `in_grace`.
    pub(super) fn failed(&mut self, name: &str, waiting: Waiting, in_grace: bool) -> Waiting {
        let everybody = self.followers(name);
        let Some(repo) = self.repos.get_mut(name) else { return Waiting::new() };
        let mut told = waiting.clone();
        if !in_grace && std::mem::replace(&mut repo.failing, Failing::Told) != Failing::Told {
            everybody.into_iter().for_each(|key| wait(&mut told, key, false));
        }
        if repo.failing == Failing::No {
            repo.failing = Failing::InGrace;
        }
        self.keep(name, waiting);
        told
    }

    /// A poll came to nothing: those who waited go on waiting.
    pub(super) fn keep(&mut self, repo: &str, waiting: Waiting) {
        let Some(repo) = self.repos.get_mut(repo) else { return };
        waiting.into_iter().for_each(|(key, hard)| wait(&mut repo.pending, key, hard));
    }

    /// A poll succeeded. Answers everybody if they were told of failures, for their condition must go.
    pub(super) fn recovered(&mut self, repo: &str) -> HashSet<AppKey> {
        let failing = self.repos.get_mut(repo).map(|found| std::mem::take(&mut found.failing));
        if failing == Some(Failing::Told) { self.followers(repo) } else { HashSet::new() }
    }

    /// A revision points to `to` now. Answers the Applications whose directory holds a changed path:
    /// the cost is that of the change, however many Applications share the repository. `None` for what changed: it is
    /// not known where it pointed before, so it may concern everybody.
    pub(super) fn moved(
        &mut self,
        repo: &str,
        revision: &str,
        to: &str,
        changed: Option<&[String]>,
    ) -> BTreeSet<AppKey> {
        let mut touched = BTreeSet::new();
        let Some(repo) = self.repos.get_mut(repo) else { return touched };
        repo.resolved.insert(revision.to_owned(), to.to_owned());
        let Some(paths) = repo.by_revision.get(revision) else { return touched };
        let Some(changed) = changed else { return paths.values().flatten().cloned().collect() };
        for path in changed {
            let mut directory = path.as_str();
            while let Some((parent, _)) = directory.rsplit_once('/') {
                touched.extend(paths.get(parent).into_iter().flatten().cloned());
                directory = parent;
            }
            touched.extend(paths.get("").into_iter().flatten().cloned());
        }
        touched
    }

    /// Who follows a repository.
    fn followers(&self, repo: &str) -> HashSet<AppKey> {
        self.repos
            .get(repo)
            .into_iter()
            .flat_map(|repo| repo.by_revision.values())
            .flat_map(HashMap::values)
            .flatten()
            .cloned()
            .collect()
    }
}

/// One more who waits; a hard refresh once asked for stays one.
pub(super) fn wait(waiting: &mut Waiting, key: AppKey, hard: bool) {
    *waiting.entry(key).or_default() |= hard;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app(name: &str, path: &str, refresh: Option<&str>) -> (AppKey, Application) {
        let mut value = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name, "namespace": "argocd", "annotations": {}},
            "spec": {"project": "default", "destination": {"namespace": "x"}, "source": {"repoURL": "r", "path": path, "targetRevision": "main"}}});
        if let Some(refresh) = refresh {
            value["metadata"]["annotations"]["argocd.argoproj.io/refresh"] = json!(refresh);
        }
        let app: Application = serde_json::from_value(value).unwrap();
        (app.key(), app)
    }

    fn names(keys: impl IntoIterator<Item = AppKey>) -> Vec<String> {
        let mut names: Vec<_> = keys.into_iter().map(|key| key.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_newer_request_for_a_refresh_is_another_one() {
        let mut state = State::default();
        let mut asks = |refresh: Option<&str>, at: Option<&str>| {
            let (key, mut app) = app("a", "apps/a", refresh);
            app.metadata.annotations.extend(at.map(|at| (REFRESH_TIMESTAMP.to_owned(), at.to_owned())));
            state.app_changed(&key, &app).is_some()
        };
        assert!(asks(None, None), "it is new");
        for (refresh, at, polls) in [
            (Some("normal"), Some("t1"), true),
            (Some("normal"), Some("t1"), false),
            (Some("normal"), Some("t2"), true),
            (None, Some("t2"), false),
            (None, None, false),
            (Some("normal"), None, true),
        ] {
            assert_eq!(asks(refresh, at), polls, "{refresh:?} {at:?}");
        }
    }

    #[test]
    fn a_commit_touches_only_whose_directory_it_changes() {
        let mut state = State::default();
        for (name, path) in [("a", "apps/a"), ("ab", "apps/ab"), ("all", "apps"), ("root", ".")] {
            let (key, app) = app(name, path, None);
            assert_eq!(state.app_changed(&key, &app).as_deref(), Some("r"));
        }
        let cases: [(&[&str], &[&str]); 4] = [
            (&["apps/a/x.yaml"], &["a", "all", "root"]),
            (&["apps/ab/deep/er/x.yaml"], &["ab", "all", "root"]),
            (&["README.md"], &["root"]),
            (&[], &[]),
        ];
        for (changed, want) in cases {
            let changed: Vec<String> = changed.iter().map(ToString::to_string).collect();
            assert_eq!(names(state.moved("r", "main", "2", Some(&changed))), want);
        }
    }

    #[test]
    fn a_new_application_waits_for_one_poll_and_its_status_wakes_nobody() {
        let mut state = State::default();
        let (key, mut first) = app("a", "a", None);
        assert!(state.app_changed(&key, &first).is_some());
        let (followed, waiting) = state.begin("r").unwrap();
        assert_eq!(followed, [Followed { revision: "main".into(), from: None }]);
        assert_eq!(names(waiting.into_keys()), ["a"]);
        first.metadata.resource_version = "9".into();
        assert_eq!(state.app_changed(&key, &first), None);
        let (_, refreshing) = app("a", "a", Some("normal"));
        assert!(state.app_changed(&key, &refreshing).is_some());
        assert_eq!(state.app_changed(&key, &refreshing), None, "the annotation still being there is no new request");
        assert_eq!(state.app_changed(&key, &first), None, "its removal is our own doing");
        assert_eq!(names(state.moved("r", "main", "1", None)), ["a"], "from nowhere known it concerns everybody");
        let (_, refreshing) = app("a", "a", Some("hard"));
        state.app_changed(&key, &refreshing);
        state.begin("r").unwrap();
        state.moved("r", "main", "2", None);
        state.app_changed(&key, &first);
        let (followed, _) = state.begin("r").unwrap();
        assert_eq!(followed[0].from.as_deref(), Some("2"), "where it pointed is not forgotten with the annotation");
        state.app_gone(&key);
        assert!(state.begin("r").is_none());
    }

    #[test]
    fn a_hard_refresh_is_remembered_until_the_poll_that_answers_it() {
        let mut state = State::default();
        let waiting = |state: &mut State| {
            let mut waiting: Vec<_> =
                state.begin("r").unwrap().1.into_iter().map(|(key, hard)| (key.name, hard)).collect();
            waiting.sort();
            waiting
        };
        let entry = |name: &str, hard| (name.to_owned(), hard);
        for (name, refresh) in [("plain", None), ("normal", Some("normal")), ("hard", Some("hard"))] {
            let (key, app) = app(name, name, refresh);
            state.app_changed(&key, &app);
        }
        let all = [entry("hard", true), entry("normal", false), entry("plain", false)];
        assert_eq!(waiting(&mut state), all);
        // The poll that fails does not forget it, and neither does one that comes between.
        let hard = app("hard", "hard", Some("hard"));
        let told = state.failed("r", Waiting::from([(hard.0.clone(), true)]), false);
        assert_eq!((told.len(), told[&hard.0]), (3, true));
        assert_eq!(waiting(&mut state), [entry("hard", true)]);
        assert_eq!(waiting(&mut state), []);
        // The bus lost all: who asked still does.
        state.all_pending();
        assert_eq!(waiting(&mut state), all);
        state.app_changed(&hard.0, &app("hard", "hard", None).1);
        state.all_pending();
        assert_eq!(waiting(&mut state)[0], entry("hard", false));
        // `timeout.hard.reconciliation`.
        state.all_hard("r");
        state.all_pending();
        assert!(waiting(&mut state).iter().all(|(_, hard)| *hard));
    }

    #[test]
    fn after_a_loss_everybody_is_rendered_again() {
        let mut state = State::default();
        let (key, app) = app("a", "a", None);
        state.app_changed(&key, &app);
        state.begin("r").unwrap();
        assert!(state.begin("r").unwrap().1.is_empty());
        state.all_pending();
        assert_eq!(names(state.begin("r").unwrap().1.into_keys()), ["a"]);
    }

    #[test]
    fn all_hear_of_the_first_failure_and_of_the_recovery() {
        let mut state = State::default();
        for name in ["a", "b"] {
            let (key, app) = app(name, name, None);
            state.app_changed(&key, &app);
        }
        let (_, waiting) = state.begin("r").unwrap();
        assert_eq!(names(waiting.into_keys()), ["a", "b"]);
        assert!(state.failed("r", Waiting::new(), true).is_empty(), "within the grace nothing changes");
        let one = Waiting::from([(app("a", "a", None).0, false)]);
        assert_eq!(names(state.failed("r", one, true).into_keys()), ["a"], "who waits is told all the same");
        assert_eq!(names(state.failed("r", Waiting::new(), false).into_keys()), ["a", "b"]);
        assert!(state.failed("r", Waiting::new(), false).is_empty());
        assert!(state.failed("r", Waiting::new(), true).is_empty());
        assert_eq!(names(state.recovered("r")), ["a", "b"]);
        assert!(state.recovered("r").is_empty());
        state.failed("r", Waiting::new(), true);
        assert!(state.recovered("r").is_empty(), "nobody was told");
    }
}

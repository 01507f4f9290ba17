//! Which Applications follow which revision of which repository, and whom a commit touches.
//! Pure: no git, no bus, no clock.
use std::collections::{BTreeSet, HashMap, HashSet};

use tako_bus::TargetRecord;
use tako_engine::app::{AppKey, Application, REFRESH, REFRESH_HARD, REFRESH_TIMESTAMP};
use tako_engine::source::{Source, Wanted};
use tako_sources::request::GENERATE_PATHS;
use tako_sources::tree::path_of;

use crate::sources::RepoId;
use crate::targets::source_hash;

/// Who must be rendered, and whether with trust in no cache (a hard refresh).
pub(super) type Waiting = HashMap<AppKey, bool>;

/// What the watcher must know of one Application.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Following {
    sources: Vec<FollowedSource>,
    /// What tells these sources from others.
    hash: String,
    /// Anything else that changes what is rendered.
    rest: String,
    /// The refresh that is asked for, and when: that tells one request from another.
    refresh: Option<(String, Option<String>)>,
}

/// One source of an Application.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FollowedSource {
    repo: RepoId,
    wanted: Wanted,
    /// Its `ref`, by which other sources read its files.
    reference: Option<String>,
    /// What its render reads, by clean paths; before the first render the source's own directory.
    paths: BTreeSet<String>,
}

impl Following {
    fn of(app: &Application, repo: impl Fn(&str) -> RepoId) -> Option<Self> {
        let sources: Vec<FollowedSource> = app
            .sources()
            .iter()
            .map(|source| FollowedSource {
                repo: repo(&source.repo_url),
                wanted: source.wanted(),
                reference: source.reference.clone(),
                paths: BTreeSet::from([own_path(source)]),
            })
            .collect();
        let annotation = |name: &str| app.metadata.annotations.get(name);
        (!sources.is_empty()).then(|| Self {
            sources,
            hash: source_hash(app.sources()),
            rest: format!("{:?}|{:?}", app.spec.destination, annotation(GENERATE_PATHS)),
            refresh: annotation(REFRESH).map(|kind| (kind.clone(), annotation(REFRESH_TIMESTAMP).cloned())),
        })
    }

    fn asks_hard(&self) -> bool {
        self.refresh.as_ref().is_some_and(|(kind, _)| kind == REFRESH_HARD)
    }

    /// What it would be if nothing had been rendered yet: what was read is no part of what is wanted.
    fn is_like(&self, next: &Self) -> bool {
        let wishes = |one: &Self| -> Vec<(RepoId, Wanted)> {
            one.sources.iter().map(|source| (source.repo.clone(), source.wanted.clone())).collect()
        };
        self.hash == next.hash && self.rest == next.rest && wishes(self) == wishes(next)
    }
}

/// The directory of a source; what lends its files to others may lend any.
fn own_path(source: &Source) -> String {
    tako_sources::tree::clean(source.path.as_deref().unwrap_or_default()).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Repo {
    /// wish → what is read → Applications that read it.
    by_wish: HashMap<Wanted, HashMap<String, BTreeSet<AppKey>>>,
    /// Where each wish pointed at the last poll.
    resolved: HashMap<Wanted, String>,
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
    repos: HashMap<RepoId, Repo>,
}

/// What is wanted of a repository, and where that pointed before.
pub(super) type Followed = (Wanted, Option<String>);

impl State {
    /// An Application appeared or changed. Answers the repositories to poll now.
    pub(super) fn app_changed(
        &mut self,
        key: &AppKey,
        app: &Application,
        repo: impl Fn(&str) -> RepoId,
    ) -> Vec<RepoId> {
        let next = Following::of(app, repo);
        let before = self.apps.get(key).cloned();
        if let (Some(before), Some(next)) = (&before, &next)
            && before.is_like(next)
            && (before.refresh == next.refresh || next.refresh.is_none())
        {
            // Nothing new; or the refresh annotation went away, which is our own doing.
            self.apps.insert(key.clone(), Following { refresh: next.refresh.clone(), ..before.clone() });
            return Vec::new();
        }
        // A hard refresh that still waits is not forgotten over a change that comes meanwhile.
        let waits_hard = |source: &FollowedSource| {
            self.repos.get(&source.repo).is_some_and(|repo| repo.pending.get(key) == Some(&true))
        };
        let waited = before.as_ref().is_some_and(|before| before.sources.iter().any(waits_hard));
        // What was read counts until the next render says what it reads.
        let read: Option<Vec<BTreeSet<String>>> = match (&before, &next) {
            (Some(before), Some(next)) if before.is_like(next) => {
                Some(before.sources.iter().map(|source| source.paths.clone()).collect())
            }
            _ => None,
        };
        let resolved = self.app_gone(key);
        let Some(mut next) = next else { return Vec::new() };
        if let Some(read) = read {
            next.sources.iter_mut().zip(read).for_each(|(source, paths)| source.paths = paths);
        }
        let hard = next.asks_hard() || waited;
        for source in &next.sources {
            let repo = self.repos.entry(source.repo.clone()).or_default();
            let place = (source.repo.clone(), source.wanted.clone());
            if let Some(at) = resolved.get(&place) {
                repo.resolved.entry(source.wanted.clone()).or_insert_with(|| at.clone());
            }
            repo.pending.insert(key.clone(), hard);
        }
        let repos: BTreeSet<RepoId> = next.sources.iter().map(|source| source.repo.clone()).collect();
        self.apps.insert(key.clone(), next);
        self.index(key);
        repos.into_iter().collect()
    }

    /// A render said what it read.
    pub(super) fn rendered(&mut self, key: &AppKey, record: &TargetRecord) {
        let Some(app) = self.apps.get(key) else { return };
        if app.hash != record.source || app.sources.len() != record.parts.len() {
            return;
        }
        let clean = |input: &String| path_of(input).to_owned();
        let read: Vec<BTreeSet<String>> = app
            .sources
            .iter()
            .zip(&record.parts)
            .map(|(source, part)| {
                let lent = record.parts.iter().flat_map(|other| {
                    source.reference.as_ref().and_then(|name| other.ref_inputs.get(name)).into_iter().flatten()
                });
                let read: BTreeSet<String> = part.inputs.iter().chain(lent).map(clean).collect();
                // Who reads nothing looks at every commit, which costs it little.
                if read.is_empty() { BTreeSet::from([String::new()]) } else { read }
            })
            .collect();
        if app.sources.iter().zip(&read).all(|(source, read)| source.paths == *read) {
            return;
        }
        self.unindex(key);
        if let Some(app) = self.apps.get_mut(key) {
            app.sources.iter_mut().zip(read).for_each(|(source, read)| source.paths = read);
        }
        self.index(key);
    }

    fn index(&mut self, key: &AppKey) {
        let Some(app) = self.apps.get(key) else { return };
        for source in &app.sources {
            let paths = self.repos.entry(source.repo.clone()).or_default().by_wish.entry(source.wanted.clone());
            let paths = paths.or_default();
            for path in &source.paths {
                paths.entry(path.clone()).or_default().insert(key.clone());
            }
        }
    }

    fn unindex(&mut self, key: &AppKey) {
        let Some(app) = self.apps.get(key) else { return };
        for source in &app.sources {
            let Some(repo) = self.repos.get_mut(&source.repo) else { continue };
            let Some(paths) = repo.by_wish.get_mut(&source.wanted) else { continue };
            for path in &source.paths {
                if let Some(apps) = paths.get_mut(path) {
                    apps.remove(key);
                    if apps.is_empty() {
                        paths.remove(path);
                    }
                }
            }
        }
    }

    /// An Application is gone. Answers where its wishes pointed that nobody has any more.
    pub(super) fn app_gone(&mut self, key: &AppKey) -> HashMap<(RepoId, Wanted), String> {
        self.unindex(key);
        let mut resolved = HashMap::new();
        let Some(old) = self.apps.remove(key) else { return resolved };
        for source in old.sources {
            let Some(repo) = self.repos.get_mut(&source.repo) else { continue };
            repo.pending.remove(key);
            if repo.by_wish.get(&source.wanted).is_some_and(HashMap::is_empty) {
                repo.by_wish.remove(&source.wanted);
                if let Some(at) = repo.resolved.remove(&source.wanted) {
                    resolved.insert((source.repo.clone(), source.wanted), at);
                }
            }
            if repo.by_wish.is_empty() {
                self.repos.remove(&source.repo);
            }
        }
        resolved
    }

    /// Everything must be looked at again (the bus lost its buckets).
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Everybody waits for the next poll of its repository (the bus may have lost wake-ups and target states).
    pub(super) fn all_pending(&mut self) {
        for (key, app) in &self.apps {
            for source in &app.sources {
                let repo = self.repos.entry(source.repo.clone()).or_default();
                wait(&mut repo.pending, key.clone(), app.asks_hard());
            }
        }
    }

    /// All who follow a repository wait for its next poll to be rendered with trust in no cache.
    pub(super) fn all_hard(&mut self, repo: &RepoId) {
        let all = self.followers(repo);
        if let Some(repo) = self.repos.get_mut(repo) {
            repo.pending.extend(all.into_iter().map(|key| (key, true)));
        }
    }

    /// The repositories that somebody follows.
    pub(super) fn repos(&self) -> Vec<RepoId> {
        self.repos.keys().cloned().collect()
    }

    /// The repositories of a URL that somebody follows, one for each whose credentials differ.
    pub(super) fn repos_of(&self, url: &str) -> Vec<RepoId> {
        self.repos.keys().filter(|repo| repo.url == url).cloned().collect()
    }

    /// Begins a poll: the followed revisions, and the Applications that wait for it. `None`: nobody follows it.
    pub(super) fn begin(&mut self, repo: &RepoId) -> Option<(Vec<Followed>, Waiting)> {
        let repo = self.repos.get_mut(repo)?;
        let followed = repo.by_wish.keys().map(|wanted| (wanted.clone(), repo.resolved.get(wanted).cloned())).collect();
        Some((followed, std::mem::take(&mut repo.pending)))
    }

    /// A poll failed: those who waited go on waiting. Answers whom to tell: only who waited, but all at the first failure
    /// that is not `in_grace`.
    pub(super) fn failed(&mut self, name: &RepoId, waiting: Waiting, in_grace: bool) -> Waiting {
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
    pub(super) fn keep(&mut self, repo: &RepoId, waiting: Waiting) {
        let Some(repo) = self.repos.get_mut(repo) else { return };
        waiting.into_iter().for_each(|(key, hard)| wait(&mut repo.pending, key, hard));
    }

    /// A poll succeeded. Answers everybody if they were told of failures, for their condition must go.
    pub(super) fn recovered(&mut self, repo: &RepoId) -> HashSet<AppKey> {
        let failing = self.repos.get_mut(repo).map(|found| std::mem::take(&mut found.failing));
        if failing == Some(Failing::Told) { self.followers(repo) } else { HashSet::new() }
    }

    /// What is wanted points to `to` now. Answers the Applications that read a changed path: the cost is that of the change,
    /// however many Applications share the repository. `None` for what changed: that is not known, so it may concern
    /// everybody.
    pub(super) fn moved(
        &mut self,
        repo: &RepoId,
        wanted: &Wanted,
        to: &str,
        changed: Option<&[String]>,
    ) -> BTreeSet<AppKey> {
        let mut touched = BTreeSet::new();
        let Some(repo) = self.repos.get_mut(repo) else { return touched };
        repo.resolved.insert(wanted.clone(), to.to_owned());
        let Some(paths) = repo.by_wish.get(wanted) else { return touched };
        let Some(changed) = changed else { return paths.values().flatten().cloned().collect() };
        for path in changed {
            let mut at = path.as_str();
            touched.extend(paths.get(at).into_iter().flatten().cloned());
            while let Some((parent, _)) = at.rsplit_once('/') {
                touched.extend(paths.get(parent).into_iter().flatten().cloned());
                at = parent;
            }
            touched.extend(paths.get("").into_iter().flatten().cloned());
        }
        touched
    }

    /// Who follows a repository.
    fn followers(&self, repo: &RepoId) -> HashSet<AppKey> {
        self.repos
            .get(repo)
            .into_iter()
            .flat_map(|repo| repo.by_wish.values())
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
    use tako_bus::PartRecord;

    use super::*;

    fn r() -> RepoId {
        repo("r")
    }

    fn repo(url: &str) -> RepoId {
        RepoId { url: url.to_owned(), scope: String::new() }
    }

    fn main() -> Wanted {
        Wanted { revision: "main".to_owned(), ..Wanted::default() }
    }

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
            !state.app_changed(&key, &app, repo).is_empty()
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
            assert_eq!(state.app_changed(&key, &app, repo), [r()]);
        }
        let cases: [(&[&str], &[&str]); 4] = [
            (&["apps/a/x.yaml"], &["a", "all", "root"]),
            (&["apps/ab/deep/er/x.yaml"], &["ab", "all", "root"]),
            (&["README.md"], &["root"]),
            (&[], &[]),
        ];
        for (changed, want) in cases {
            let changed: Vec<String> = changed.iter().map(ToString::to_string).collect();
            assert_eq!(names(state.moved(&r(), &main(), "2", Some(&changed))), want);
        }
    }

    #[test]
    fn a_new_application_waits_for_one_poll_and_its_status_wakes_nobody() {
        let mut state = State::default();
        let (key, mut first) = app("a", "a", None);
        assert!(!state.app_changed(&key, &first, repo).is_empty());
        let (followed, waiting) = state.begin(&r()).unwrap();
        assert_eq!(followed, [(main(), None)]);
        assert_eq!(names(waiting.into_keys()), ["a"]);
        first.metadata.resource_version = "9".into();
        assert_eq!(state.app_changed(&key, &first, repo), []);
        let (_, refreshing) = app("a", "a", Some("normal"));
        assert!(!state.app_changed(&key, &refreshing, repo).is_empty());
        assert_eq!(
            state.app_changed(&key, &refreshing, repo),
            [],
            "the annotation still being there is no new request"
        );
        assert_eq!(state.app_changed(&key, &first, repo), [], "its removal is our own doing");
        assert_eq!(names(state.moved(&r(), &main(), "1", None)), ["a"], "from nowhere known it concerns everybody");
        let (_, refreshing) = app("a", "a", Some("hard"));
        state.app_changed(&key, &refreshing, repo);
        state.begin(&r()).unwrap();
        state.moved(&r(), &main(), "2", None);
        state.app_changed(&key, &first, repo);
        let (followed, _) = state.begin(&r()).unwrap();
        assert_eq!(followed[0].1.as_deref(), Some("2"), "where it pointed is not forgotten with the annotation");
        state.app_gone(&key);
        assert!(state.begin(&r()).is_none());
    }

    #[test]
    fn a_hard_refresh_is_remembered_until_the_poll_that_answers_it() {
        let mut state = State::default();
        let waiting = |state: &mut State| {
            let mut waiting: Vec<_> =
                state.begin(&r()).unwrap().1.into_iter().map(|(key, hard)| (key.name, hard)).collect();
            waiting.sort();
            waiting
        };
        let entry = |name: &str, hard| (name.to_owned(), hard);
        for (name, refresh) in [("plain", None), ("normal", Some("normal")), ("hard", Some("hard"))] {
            let (key, app) = app(name, name, refresh);
            state.app_changed(&key, &app, repo);
        }
        let all = [entry("hard", true), entry("normal", false), entry("plain", false)];
        assert_eq!(waiting(&mut state), all);
        // The poll that fails does not forget it, and neither does one that comes between.
        let hard = app("hard", "hard", Some("hard"));
        let told = state.failed(&r(), Waiting::from([(hard.0.clone(), true)]), false);
        assert_eq!((told.len(), told[&hard.0]), (3, true));
        assert_eq!(waiting(&mut state), [entry("hard", true)]);
        assert_eq!(waiting(&mut state), []);
        // The bus lost all: who asked still does.
        state.all_pending();
        assert_eq!(waiting(&mut state), all);
        state.app_changed(&hard.0, &app("hard", "hard", None).1, repo);
        state.all_pending();
        assert_eq!(waiting(&mut state)[0], entry("hard", false));
        // `timeout.hard.reconciliation`.
        state.all_hard(&r());
        state.all_pending();
        assert!(waiting(&mut state).iter().all(|(_, hard)| *hard));
    }

    #[test]
    fn after_a_loss_everybody_is_rendered_again() {
        let mut state = State::default();
        let (key, app) = app("a", "a", None);
        state.app_changed(&key, &app, repo);
        state.begin(&r()).unwrap();
        assert!(state.begin(&r()).unwrap().1.is_empty());
        state.all_pending();
        assert_eq!(names(state.begin(&r()).unwrap().1.into_keys()), ["a"]);
    }

    #[test]
    fn all_hear_of_the_first_failure_and_of_the_recovery() {
        let mut state = State::default();
        for name in ["a", "b"] {
            let (key, app) = app(name, name, None);
            state.app_changed(&key, &app, repo);
        }
        let (_, waiting) = state.begin(&r()).unwrap();
        assert_eq!(names(waiting.into_keys()), ["a", "b"]);
        assert!(state.failed(&r(), Waiting::new(), true).is_empty(), "within the grace nothing changes");
        let one = Waiting::from([(app("a", "a", None).0, false)]);
        assert_eq!(names(state.failed(&r(), one, true).into_keys()), ["a"], "who waits is told all the same");
        assert_eq!(names(state.failed(&r(), Waiting::new(), false).into_keys()), ["a", "b"]);
        assert!(state.failed(&r(), Waiting::new(), false).is_empty());
        assert!(state.failed(&r(), Waiting::new(), true).is_empty());
        assert_eq!(names(state.recovered(&r())), ["a", "b"]);
        assert!(state.recovered(&r()).is_empty());
        state.failed(&r(), Waiting::new(), true);
        assert!(state.recovered(&r()).is_empty(), "nobody was told");
    }

    #[test]
    fn after_a_render_only_what_it_read_counts() {
        let mut state = State::default();
        let (key, app) = app("a", "apps/a", None);
        state.app_changed(&key, &app, repo);
        let touched =
            |state: &mut State, path: &str| !state.moved(&r(), &main(), "1", Some(&[path.to_owned()])).is_empty();
        assert!(touched(&mut state, "apps/a/README.md"));
        assert!(!touched(&mut state, "base/x.yaml"));
        let part = PartRecord { inputs: ["apps/a/k.yaml", "base/"].map(str::to_owned).into(), ..PartRecord::default() };
        let source = source_hash(app.sources());
        let record = TargetRecord { parts: vec![part], source, ..TargetRecord::default() };
        state.rendered(&key, &TargetRecord { source: "another".into(), ..record.clone() });
        assert!(touched(&mut state, "apps/a/README.md"), "what other sources read does not count");
        state.rendered(&key, &record);
        assert!(!touched(&mut state, "apps/a/README.md"));
        assert!(touched(&mut state, "apps/a/k.yaml"));
        assert!(touched(&mut state, "base/deep/x.yaml"));
        // A refresh does not forget it, another path does.
        let (_, refreshing) = self::app("a", "apps/a", Some("normal"));
        state.app_changed(&key, &refreshing, repo);
        assert!(touched(&mut state, "base/x.yaml"));
        let (_, elsewhere) = self::app("a", "apps/b", None);
        state.app_changed(&key, &elsewhere, repo);
        assert!(!touched(&mut state, "base/x.yaml"));
        assert!(touched(&mut state, "apps/b/x"));
    }

    #[test]
    fn an_application_of_several_sources_waits_for_each_repository() {
        let mut state = State::default();
        let value = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "m", "namespace": "argocd"},
        "spec": {"project": "default", "destination": {}, "sources": [
            {"repoURL": "r", "path": "a", "targetRevision": "main"},
            {"repoURL": "charts", "chart": "c", "targetRevision": "1.*"},
            {"repoURL": "r", "ref": "v", "targetRevision": "main"},
        ]}});
        let app: Application = serde_json::from_value(value).unwrap();
        let key = app.key();
        assert_eq!(state.app_changed(&key, &app, repo), [repo("charts"), r()]);
        let chart = Wanted { chart: "c".into(), revision: "1.*".into(), ..Wanted::default() };
        assert_eq!(state.begin(&repo("charts")).unwrap().0, [(chart.clone(), None)]);
        assert_eq!(names(state.moved(&repo("charts"), &chart, "1.2.3", None)), ["m"]);
        assert_eq!(names(state.begin(&r()).unwrap().1.into_keys()), ["m"]);
        let moved = |state: &mut State, path: &str| state.moved(&r(), &main(), "1", Some(&[path.to_owned()])).len();
        assert_eq!(moved(&mut state, "values.yaml"), 1, "any file may be lent");
        let parts = [(&["a"][..], None), (&["templates"], Some("prod.yaml")), (&[], None)].map(|(inputs, lent)| {
            let ref_inputs = lent.map(|lent: &str| ("v".to_owned(), vec![lent.to_owned()])).into_iter().collect();
            PartRecord { inputs: inputs.iter().map(ToString::to_string).collect(), ref_inputs, ..PartRecord::default() }
        });
        let source = source_hash(app.sources());
        state.rendered(&key, &TargetRecord { parts: parts.into(), source, ..TargetRecord::default() });
        assert_eq!(
            (moved(&mut state, "values.yaml"), moved(&mut state, "prod.yaml"), moved(&mut state, "a/x")),
            (0, 1, 1)
        );
        state.app_gone(&key);
        assert!(state.begin(&r()).is_none() && state.begin(&repo("charts")).is_none());
    }

    #[test]
    fn one_url_under_two_projects_credentials_is_two_repositories() {
        let mut state = State::default();
        for (name, scope) in [("a", ""), ("b", "team")] {
            let (key, app) = app(name, name, None);
            state.app_changed(&key, &app, |url| RepoId { url: url.to_owned(), scope: scope.to_owned() });
        }
        assert_eq!(state.repos_of("r").len(), 2);
        assert_eq!(names(state.begin(&r()).unwrap().1.into_keys()), ["a"]);
    }
}

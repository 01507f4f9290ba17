//! Works out the target state of one Application: reads its directory at the resolved commit from the
//! git cache, parses, stores the result by digest. Renders nothing when the inputs are those of last time.
//! Knows nothing of clusters: namespaces and tracking marks are put on where the cluster is known.
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tako_bus::{Bucket, Bus, BusError, Event, RefRecord, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application, Source};
use tako_engine::parse::parse_manifests;
use tako_engine::select::{DirectoryRules, Selected};

use crate::adapters::git::{GitCache, GitError, clean_path};
use crate::runtime::stage::{Outcome, Stage};
use crate::settings::Settings;

/// Until the next try at a repository that cannot be read, within the grace.
const RETRY: Duration = Duration::from_secs(10);

/// The stage.
pub(crate) struct Renderer {
    bus: Bus,
    git: GitCache,
    settings: Settings,
}

/// Why a target state could not be worked out, in words for the condition.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    /// The repository, revision or path.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file is no good.
    #[error("{file}:{line}:{column}: {message}")]
    Manifest {
        /// The path in the repository.
        file: String,
        /// From 1.
        line: u32,
        /// From 1.
        column: u32,
        /// What is wrong and what to do.
        message: String,
    },
    /// The source is of a kind not yet rendered.
    #[error("{0}")]
    Unsupported(String),
}

/// A rendered target state.
pub(crate) struct Rendered {
    /// The manifests as written, in file order.
    pub(crate) manifests: Vec<Value>,
}

/// The identity of what a render reads: tree, rules. Equal inputs render to equal outputs.
pub(crate) fn input_of(git: &GitCache, source: &Source, commit: &str) -> Result<String, RenderError> {
    let repository = git.repository(&source.repo_url)?;
    if !repository.has(commit) {
        repository.fetch()?;
    }
    let tree = repository.tree_at(commit, source.path.as_deref().unwrap_or_default())?;
    let mut hash = Sha256::new();
    hash.update(b"directory/1\0");
    hash.update(tree.as_slice());
    hash.update(serde_json::to_vec(&source.directory).unwrap_or_default());
    Ok(hex::encode(hash.finalize()))
}

/// Renders a source at a commit. Blocks.
pub(crate) fn render(git: &GitCache, source: &Source, commit: &str) -> Result<Rendered, RenderError> {
    if source.chart.is_some() {
        return Err(RenderError::Unsupported(
            "spec.source.chart: Helm charts are not rendered yet; use a directory of manifests".to_owned(),
        ));
    }
    let repository = git.repository(&source.repo_url)?;
    if !repository.has(commit) {
        repository.fetch()?;
    }
    let path = source.path.as_deref().unwrap_or_default();
    let tree = repository.tree_at(commit, path)?;
    let rules = DirectoryRules::from(source);
    let recurse = source.directory.as_ref().is_some_and(|directory| directory.recurse.unwrap_or_default());
    let root = clean_path(path)?;
    let mut manifests = Vec::new();
    for file in repository.files(tree, recurse)? {
        if let Some(tool) = tool_marker(&file.path) {
            return Err(RenderError::Unsupported(format!(
                "{root}/{}: {tool} sources are not rendered yet; use a directory of plain manifests",
                file.path
            )));
        }
        if rules.select(&file.path) != Selected::Manifest {
            continue;
        }
        let name = if root.is_empty() { file.path.clone() } else { format!("{root}/{}", file.path) };
        let parsed = parse_manifests(&name, &repository.read(&file)?).map_err(|problem| RenderError::Manifest {
            file: problem.file,
            line: problem.line,
            column: problem.column,
            message: problem.message,
        })?;
        manifests.extend(parsed);
    }
    Ok(Rendered { manifests })
}

/// Files whose presence makes Argo CD choose another tool: rendering them as plain files would be wrong.
fn tool_marker(path: &str) -> Option<&'static str> {
    match path {
        "Chart.yaml" => Some("Helm"),
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => Some("Kustomize"),
        _ => None,
    }
}

impl Renderer {
    /// The stage.
    pub(crate) fn new(bus: Bus, git: GitCache, settings: Settings) -> Arc<Self> {
        Arc::new(Self { bus, git, settings })
    }

    /// How long until it must be tried again, if it must.
    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Option<Duration>, BusError> {
        let Some(app) = self.bus.kv(Bucket::Apps).get::<Application>(&key.token()).await? else { return Ok(None) };
        let targets = self.bus.kv(Bucket::Targets);
        let before = targets.get::<TargetRecord>(&key.token()).await?;
        let Some(source) = app.source().cloned() else {
            let record = failed(before, "spec.source: missing; set repoURL and path".to_owned());
            targets.put(&key.token(), &record).await?;
            self.wake_compare(key, item).await?;
            return Ok(None);
        };
        let Some(refs) = self.bus.kv(Bucket::Refs).get::<RefRecord>(&tako_bus::repo_key(&source.repo_url)).await?
        else {
            // Not resolved yet: the watcher polls for every new Application and wakes us again.
            return Ok(None);
        };
        let revision = source.target_revision.clone().unwrap_or_default();
        // Within the grace a repository that cannot be read is what it was, for an Application that had a good state.
        let left = refs.grace_left(crate::unix_now(), self.settings.repository_grace());
        let had_good = before.as_ref().is_some_and(|record| record.error.is_none() && record.digest.is_some());
        let excused = left.is_some() && had_good;
        let commit = match (refs.error, refs.refs.get(&revision)) {
            (Some(_), Some(commit)) if excused => Ok(commit.clone()),
            (Some(error), _) => Err(error),
            (None, Some(commit)) => Ok(commit.clone()),
            (None, None) => {
                Err(GitError::NoRevision { url: crate::adapters::git::redact(&source.repo_url), revision }.to_string())
            }
        };
        let record = match commit {
            Err(error) => failed(before, error),
            Ok(commit) => match self.render_to_record(&app, (source, commit, excused), before, item).await? {
                Some(record) => record,
                None => return Ok(Some(RETRY)),
            },
        };
        targets.put(&key.token(), &record).await?;
        self.wake_compare(key, item).await?;
        Ok(None)
    }

    /// The new record; `None` when the repository cannot be read and that is `excused` for now.
    async fn render_to_record(
        &self,
        app: &Application,
        (source, commit, excused): (Source, String, bool),
        before: Option<TargetRecord>,
        item: &WorkItem,
    ) -> Result<Option<TargetRecord>, BusError> {
        let started = Instant::now();
        let of = crate::targets::source_hash(&source);
        let known = before
            .as_ref()
            .filter(|record| !item.note.hard && record.error.is_none() && record.digest.is_some())
            .map(|record| record.input.clone());
        let (git, at) = (self.git.clone(), commit.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let input = input_of(&git, &source, &at)?;
            if known.as_ref() == Some(&input) {
                return Ok((input, None));
            }
            render(&git, &source, &at).map(|rendered| (input, Some(rendered)))
        })
        .await
        .unwrap_or_else(|_| {
            Err(RenderError::Unsupported("the render ended unexpectedly; see the log of tako".to_owned()))
        });
        let (project, key) = (app.spec.project.clone(), app.key());
        match outcome {
            Ok((input, None)) => Ok(Some(TargetRecord {
                revision: commit,
                input,
                source: of,
                error: None,
                ..before.unwrap_or_default()
            })),
            Ok((input, Some(rendered))) => {
                let resources = u32::try_from(rendered.manifests.len()).unwrap_or(u32::MAX);
                let body = serde_json::to_vec(&rendered.manifests).unwrap_or_default();
                let digest = self.bus.blobs().put(&body).await?;
                let event = Event::ManifestsRendered {
                    app: key,
                    project,
                    revision: commit.clone(),
                    digest: digest.to_string(),
                    resources,
                    millis: u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX),
                };
                self.emit(event, item);
                Ok(Some(TargetRecord {
                    revision: commit,
                    digest: Some(digest.to_string()),
                    source_type: "Directory".to_owned(),
                    error: None,
                    resources,
                    input,
                    source: of,
                }))
            }
            Err(RenderError::Git(error @ GitError::Unreachable { .. })) if excused => {
                tracing::warn!(app = %key, %error, "the repository cannot be read; within the grace that is tried again");
                Ok(None)
            }
            Err(error) => {
                let message = error.to_string();
                self.emit(Event::RenderFailed { app: key, project, revision: commit, message: message.clone() }, item);
                Ok(Some(failed(before, message)))
            }
        }
    }

    fn emit(&self, event: Event, item: &WorkItem) {
        let (bus, cause) = (self.bus.clone(), item.cause.clone());
        tokio::spawn(async move {
            if let Err(error) = bus.emit(event, &cause).await {
                tracing::warn!(%error, "event not recorded");
            }
        });
    }

    async fn wake_compare(&self, key: &AppKey, item: &WorkItem) -> Result<(), BusError> {
        let note = WorkNote { hard: item.note.hard, reason: item.note.reason.clone() };
        self.bus.wake(&Work::Compare { app: key.clone() }, note, &item.cause).await
    }
}

/// The record after a failure: the last good target state stays.
fn failed(before: Option<TargetRecord>, error: String) -> TargetRecord {
    TargetRecord { error: Some(error), ..before.unwrap_or_default() }
}

impl Stage for Renderer {
    type Key = AppKey;
    const NAME: &'static str = "renderer";
    const KIND: WorkKind = WorkKind::Render;
    const SLOTS: usize = 8;

    fn key(item: &WorkItem) -> Option<AppKey> {
        match &item.work {
            Work::Render { app } => Some(app.clone()),
            _ => None,
        }
    }

    async fn run(&self, item: WorkItem) -> Outcome {
        let Work::Render { app } = &item.work else { return Outcome::Done };
        match self.work(&app.clone(), &item).await {
            Ok(None) => Outcome::Done,
            Ok(Some(pause)) => Outcome::Again(pause),
            Err(error) => {
                tracing::warn!(%app, %error, "render not finished");
                Outcome::Again(Duration::from_secs(2))
            }
        }
    }
}

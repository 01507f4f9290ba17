//! Works out the target state of one Application: each source at its resolved revision, rendered in the crate of sources, stored by
//! digest. What read the same as last time is not rendered again. Knows nothing of what is done with the manifests:
//! namespaces and tracking marks are put on where the cluster is known.
use std::sync::Arc;
use std::time::{Duration, Instant};

use tako_bus::{Bucket, Bus, BusError, Event, PartRecord, RefRecord, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application};
use tako_engine::source::{Source, SourceType, joined};
use tako_sources::render::{ReadSet, identity, render};
use tako_sources::request::{RenderError, Rendered, Request};
use tako_sources::store::{Found, Surroundings, missing};

use crate::runtime::stage::{Outcome, Stage};
use crate::settings::Settings;
use crate::sources::{Demands, RepoId, Sources};

/// Until the next try at something that cannot be fetched.
const RETRY: Duration = Duration::from_secs(10);
/// Until the next look at what is only just being read.
const NOT_YET: Duration = Duration::from_millis(300);

/// The stage.
pub(crate) struct Renderer {
    bus: Bus,
    sources: Sources,
    settings: Settings,
    pause: RenderPause,
}

/// Renders that fail again and again rest (Argo CD, `ARGOCD_PAUSE_GEN_AFTER_FAILED_ATTEMPTS`, `ARGOCD_PAUSE_GEN_MINUTES`).
#[derive(Debug, Clone, Copy)]
pub struct RenderPause {
    /// After so many failures in a row with the same inputs; 0 is never.
    pub after: u32,
    /// For so long.
    pub pause: Duration,
}

impl Default for RenderPause {
    fn default() -> Self {
        Self { after: 3, pause: Duration::from_secs(3600) }
    }
}

/// One source after a render.
enum Part {
    /// It read what it read last time.
    Same,
    /// It was rendered.
    New { rendered: Option<Rendered>, identity: String },
}

/// What one try came to.
enum Try {
    /// The record of it.
    Done(TargetRecord),
    /// What cannot be fetched is excused for now.
    Excused,
}

impl Renderer {
    /// The stage.
    pub(crate) fn new(bus: Bus, sources: Sources, settings: Settings, pause: RenderPause) -> Arc<Self> {
        Arc::new(Self { bus, sources, settings, pause })
    }

    /// How long until it must be tried again, if it must.
    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Option<Duration>, BusError> {
        let Some(app) = self.bus.kv(Bucket::Apps).get::<Application>(&key.token()).await? else { return Ok(None) };
        let targets = self.bus.kv(Bucket::Targets);
        let before = targets.get::<TargetRecord>(&key.token()).await?.unwrap_or_default();
        if app.sources().is_empty() {
            let record = failed(before, "spec.source: missing; set repoURL and path".to_owned());
            targets.put(&key.token(), &record).await?;
            self.wake_compare(key, item).await?;
            return Ok(None);
        }
        let around = match self.sources.surroundings(&app).await {
            Ok(around) => around,
            Err(problem) => {
                targets.put(&key.token(), &failed(before, problem)).await?;
                self.wake_compare(key, item).await?;
                return Ok(None);
            }
        };
        let Some((revisions, excused)) = self.revisions(&app, &around, &before).await? else {
            // Not resolved yet: the watcher polls for every new Application and wakes us again.
            return Ok(None);
        };
        let (record, pause) = match revisions {
            Err(error) => (failed(before, error), None),
            Ok(revisions) => {
                let demands = match self.sources.demands(&app, app.sources()) {
                    Ok(Some(demands)) => Ok(demands),
                    Ok(None) => return Ok(Some(NOT_YET)),
                    Err(problem) => Err(problem),
                };
                if let Some(pause) = self.paused(&app, &before, &revisions, item) {
                    return Ok(Some(pause));
                }
                match demands {
                    Err(problem) => (failed(before, problem), None),
                    Ok(demands) => {
                        let what = (revisions, demands, excused);
                        match self.render(&app, around, what, before, item).await? {
                            (Try::Done(record), pause) => (record, pause),
                            (Try::Excused, _) => return Ok(Some(RETRY)),
                        }
                    }
                }
            }
        };
        targets.put(&key.token(), &record).await?;
        self.wake_compare(key, item).await?;
        Ok(pause)
    }

    /// Where the sources' wishes point, in order, and whether what cannot be read is excused for now; `None` when it is
    /// not known yet.
    async fn revisions(
        &self,
        app: &Application,
        around: &Surroundings,
        before: &TargetRecord,
    ) -> Result<Option<(Result<Vec<Found>, String>, bool)>, BusError> {
        let (mut revisions, mut any_excused) = (Vec::new(), false);
        let repo = |source: &Source| RepoId::of(&around.repositories, &source.repo_url, &app.spec.project);
        for source in app.sources() {
            let Some(refs) = self.bus.kv(Bucket::Refs).get::<RefRecord>(&repo(source).key()).await? else {
                return Ok(None);
            };
            let wanted = source.wanted();
            // Within the grace a repository that cannot be read is what it was, for an Application that had a good state.
            let left = refs.grace_left(crate::unix_now(), self.settings.repository_grace());
            let excused = left.is_some() && before.error.is_none() && before.is_rendered();
            any_excused |= excused;
            let name = wanted.to_string();
            let found = refs
                .refs
                .get(&name)
                .map(|revision| Found { revision: revision.clone(), tag: refs.tags.get(&name).cloned() });
            match (refs.error, found) {
                (Some(_), Some(found)) if excused => revisions.push(found),
                (Some(error), _) => return Ok(Some((Err(error), excused))),
                (None, Some(found)) => revisions.push(found),
                (None, None) => return Ok(Some((Err(missing(&source.repo_url, &wanted).to_string()), excused))),
            }
        }
        Ok(Some((Ok(revisions), any_excused)))
    }

    /// The same inputs have failed too often in a row: they rest (Argo CD, `ARGOCD_PAUSE_GEN_*`), unless a user asks.
    fn paused(
        &self,
        app: &Application,
        before: &TargetRecord,
        revisions: &[Found],
        item: &WorkItem,
    ) -> Option<Duration> {
        let same = before.error.is_some()
            && before.revision == joined(revisions.iter().map(|found| found.revision.as_str()))
            && before.source == crate::targets::source_hash(app.sources());
        let RenderPause { after, pause } = self.pause;
        if !same || item.note.hard || after == 0 || before.failures < after {
            return None;
        }
        let since = u64::try_from(crate::unix_now().saturating_sub(before.failed_at)).unwrap_or_default();
        pause.checked_sub(Duration::from_secs(since)).filter(|left| !left.is_zero())
    }

    /// Renders what changed, and keeps the rest. The pause is until what cannot be fetched is asked for again.
    async fn render(
        &self,
        app: &Application,
        around: Surroundings,
        (found, demands, excused): (Vec<Found>, Demands, bool),
        before: TargetRecord,
        item: &WorkItem,
    ) -> Result<(Try, Option<Duration>), BusError> {
        let started = Instant::now();
        let of = crate::targets::source_hash(app.sources());
        let known = if item.note.hard || before.source != of { Vec::new() } else { before.parts.clone() };
        let revisions: Vec<String> = found.iter().map(|found| found.revision.clone()).collect();
        let (sources, list, at) = (self.sources.clone(), app.sources().to_vec(), revisions.clone());
        let (project, key) = (app.spec.project.clone(), app.key());
        let revision = joined(revisions.iter().map(String::as_str));
        let look = move || {
            sources.verify(&list, &found, &around, &demands)?;
            parts(&sources, &list, &at, &around, &known)
        };
        let ended = || RenderError::Spec("the render ended unexpectedly; see the log of tako".to_owned());
        let _turn = self.sources.turn().await;
        let outcome = tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err(ended()));
        let parts = match outcome {
            Ok(parts) => parts,
            Err(error) if error.is_passing() && excused => {
                tracing::warn!(app = %key, %error, "something cannot be fetched; within the grace that is tried again");
                return Ok((Try::Excused, None));
            }
            Err(error) => {
                let message = error.to_string();
                let again = before.error.is_some() && before.revision == revision && before.source == of;
                let failures = if again { before.failures.saturating_add(1) } else { 1 };
                let pause = error.is_passing().then(|| RETRY * 2_u32.saturating_pow(failures.min(8)));
                let event =
                    Event::RenderFailed { app: key, project, revision: revision.clone(), message: message.clone() };
                self.emit(event, item);
                let failed_at = crate::unix_now();
                let record = TargetRecord { revision, source: of, failures, failed_at, ..failed(before, message) };
                return Ok((Try::Done(record), pause));
            }
        };
        let (mut records, mut anew, mut resources) = (Vec::new(), false, 0);
        for (index, (part, revision)) in parts.into_iter().zip(revisions).enumerate() {
            let record = match part {
                Part::Same => PartRecord { revision, ..before.parts[index].clone() },
                Part::New { rendered: None, identity } => PartRecord { revision, identity, ..PartRecord::default() },
                Part::New { rendered: Some(rendered), identity } => {
                    anew = true;
                    resources += rendered.manifests.len();
                    self.store(rendered, revision, identity).await?
                }
            };
            records.push(record);
        }
        let resources = u32::try_from(resources).unwrap_or(u32::MAX);
        if anew {
            let event = Event::ManifestsRendered {
                app: key,
                project,
                revision: revision.clone(),
                digest: records.iter().find_map(|part| part.digest.clone()).unwrap_or_default(),
                resources,
                millis: u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX),
            };
            self.emit(event, item);
        }
        let resources = if anew { resources } else { before.resources };
        let record =
            TargetRecord { revision, parts: records, error: None, resources, source: of, failures: 0, failed_at: 0 };
        Ok((Try::Done(record), None))
    }

    async fn store(&self, rendered: Rendered, revision: String, identity: String) -> Result<PartRecord, BusError> {
        let body = serde_json::to_vec(&rendered.manifests).unwrap_or_default();
        let digest = self.bus.blobs().put(&body).await?;
        Ok(PartRecord {
            revision,
            source_type: rendered.source_type.as_str().to_owned(),
            digest: Some(digest.to_string()),
            identity,
            inputs: rendered.inputs.into_iter().collect(),
            ref_inputs: rendered
                .ref_inputs
                .into_iter()
                .map(|(name, inputs)| (name, inputs.into_iter().collect()))
                .collect(),
        })
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

/// Every source of an Application, rendered where its inputs are others than those of `known`. Blocks.
fn parts(
    sources: &Sources,
    list: &[Source],
    revisions: &[String],
    around: &Surroundings,
    known: &[PartRecord],
) -> Result<Vec<Part>, RenderError> {
    let requests = sources.requests(list, revisions, around)?;
    requests.iter().enumerate().map(|(index, request)| part(request.as_ref(), known.get(index))).collect()
}

fn part(request: Option<&Request>, known: Option<&PartRecord>) -> Result<Part, RenderError> {
    let Some(request) = request else { return Ok(Part::New { rendered: None, identity: String::new() }) };
    if let Some((known, read)) = known.and_then(|known| Some((known, read_set(known)?)))
        && identity(request, &read)? == known.identity
    {
        return Ok(Part::Same);
    }
    let rendered = render(request)?;
    let identity = identity(request, &ReadSet::of(&rendered))?;
    Ok(Part::New { rendered: Some(rendered), identity })
}

/// What the render of a record read.
fn read_set(part: &PartRecord) -> Option<ReadSet> {
    let source_type = match part.source_type.as_str() {
        "Directory" => SourceType::Directory,
        "Helm" => SourceType::Helm,
        "Kustomize" => SourceType::Kustomize,
        "Plugin" => SourceType::Plugin,
        _ => return None,
    };
    let ref_inputs =
        part.ref_inputs.iter().map(|(name, inputs)| (name.clone(), inputs.iter().cloned().collect())).collect();
    Some(ReadSet { source_type, inputs: part.inputs.iter().cloned().collect(), ref_inputs })
}

/// The record after a failure: the last good target state stays.
fn failed(before: TargetRecord, error: String) -> TargetRecord {
    TargetRecord { error: Some(error), ..before }
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

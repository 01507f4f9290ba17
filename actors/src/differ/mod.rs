//! Compares target and live state of one Application, judges health, writes Application.status, and
//! decides automated sync. The deciding is in `tako_engine`; here truth is read and the verdict recorded.
mod extras;
mod status;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tako_bus::{Bucket, BusError, Cause, Event, TargetRecord, Work, WorkItem, WorkKind, WorkNote};
use tako_engine::app::{AppKey, Application, Condition, HealthCode, Phase, SyncCode};
use tako_engine::automation::{self, Decision};
use tako_engine::diff::{self, Choice};
use tako_engine::hook::{self, Part, SyncPhase};
use tako_engine::ignore::{Ignored, Rules};
use tako_engine::resource::{Manifest, ResourceKey};
use tako_engine::source::split;
use tako_engine::tree::{ResourceTree, Summary};
use tako_engine::windows::SyncWindow;
use tako_engine::{deletion, health, options, orphan, plan, tracking};

pub(crate) use self::extras::{ExtrasError, tracked_extras};
use crate::adapters::cluster::ClusterError;
use crate::comparing::CompareError;
use crate::permits::{Grant, Permit, permit};
use crate::projects::Found;
use crate::runtime::stage::{Outcome, Stage};
use crate::shared::Shared;
use crate::{gather, now, targets};

/// What waits for longer is looked at before: a message may rest on the bus only so long.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(3600);
/// When the projects are asked for again.
const NOT_YET: Duration = Duration::from_millis(200);
/// Objects compared at once for one Application.
const PARALLEL: usize = 8;

/// The stage.
pub(crate) struct Differ {
    shared: Shared,
    /// The projects, by name, under which Applications were judged last.
    judged: Mutex<HashMap<String, Found>>,
}

impl std::ops::Deref for Differ {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

#[derive(Debug, thiserror::Error)]
enum DifferError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("the projects are not known yet")]
    NotYet,
}

/// One object's verdict.
#[derive(Debug, Clone)]
pub(crate) struct ObjectVerdict {
    pub(crate) key: ResourceKey,
    pub(crate) version: String,
    /// `None` for hooks, which are neither synced nor out of sync.
    pub(crate) status: Option<SyncCode>,
    /// As far as it counts for the Application.
    pub(crate) health: Option<health::Health>,
    pub(crate) live: bool,
    pub(crate) requires_pruning: bool,
    /// It wants approval before it is deleted (`Prune=confirm`, `Delete=confirm`).
    pub(crate) requires_confirmation: bool,
    /// It does not make the Application OutOfSync (`IgnoreExtraneous`).
    pub(crate) extraneous: bool,
    pub(crate) hook: bool,
    pub(crate) wave: i64,
    /// The other Application whose mark it carries.
    pub(crate) shared: Option<String>,
}

impl ObjectVerdict {
    pub(crate) fn out_of_sync(&self) -> bool {
        self.status == Some(SyncCode::OutOfSync) && !self.extraneous
    }
}

/// The whole verdict on an Application.
pub(crate) struct Verdict {
    pub(crate) revision: String,
    pub(crate) source_types: Vec<String>,
    pub(crate) objects: Vec<ObjectVerdict>,
    pub(crate) conditions: Vec<(String, String)>,
    /// The target state could not be worked out or the live state not read: the status is Unknown.
    pub(crate) unknown: bool,
    pub(crate) images: Vec<String>,
    /// What the tree tells.
    pub(crate) summary: Summary,
    /// The target state has hooks before and after the deletion of the Application; `None` when it is not known.
    pub(crate) deletion_hooks: Option<(bool, bool)>,
    /// The sync windows of the project.
    pub(crate) windows: Vec<SyncWindow>,
}

impl Differ {
    /// The stage, with the loop that has all compared anew under new settings.
    pub(crate) fn start(shared: Shared) -> Arc<Self> {
        let differ = Arc::new(Self { shared, judged: Mutex::default() });
        tokio::spawn(differ.clone().compare_again());
        differ
    }

    /// New settings of `resource.*` judge everything anew; a changed project judges its own Applications.
    async fn compare_again(self: Arc<Self>) {
        let (mut settings, mut projects) = (self.settings.changes(), self.projects.changes());
        let mut before = self.settings.of_resources();
        loop {
            let reason = tokio::select! {
                changed = settings.changed() => match changed {
                    Ok(()) => "resource.* in argocd-cm changed",
                    Err(_) => return,
                },
                changed = projects.changed() => match changed {
                    Ok(()) => "the project changed",
                    Err(_) => return,
                },
            };
            let now = self.settings.of_resources();
            let all = now != before;
            before = now;
            let apps = self.bus.kv(Bucket::Apps).entries::<Application>().await;
            let apps = apps.map_err(|error| tracing::warn!(%error, "what changed counts at the next comparison"));
            let mut found = HashMap::new();
            for (_, app) in apps.unwrap_or_default() {
                let project = found.entry(app.spec.project.clone()).or_insert_with(|| self.projects.find(&app));
                let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).get(&app.spec.project).cloned();
                let other = judged.is_some_and(|judged| judged != *project);
                if all || (other && *project != Found::NotYet) {
                    self.compare_once_more(&app, reason).await;
                }
            }
            found.retain(|_, project| *project != Found::NotYet);
            self.judged.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    }

    /// Before a judgement: the project under which it is made, so that another one is told from it.
    fn remember_project(&self, app: &Application) {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !judged.contains_key(&app.spec.project) {
            let project = self.projects.find(app);
            if project != Found::NotYet {
                judged.insert(app.spec.project.clone(), project);
            }
        }
    }

    async fn compare_once_more(&self, app: &Application, reason: &str) {
        let note = WorkNote { hard: false, reason: reason.to_owned() };
        if let Err(error) = self.bus.wake(&Work::Compare { app: app.key() }, note, &Cause::root("sa:differ")).await {
            tracing::warn!(%error, "comparison not queued");
        }
    }

    /// How long until it should be looked at again although nothing changes, if it should.
    async fn work(&self, key: &AppKey, item: &WorkItem) -> Result<Option<Duration>, DifferError> {
        let Some(record) = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&key.token()).await? else {
            return Ok(None);
        };
        self.settings.ready().await;
        let Some(app) = self.applications.get(key).await? else { return Ok(None) };
        if app.metadata.deletion_timestamp.is_some() || app.skips_reconcile() {
            return Ok(None);
        }
        if record.error.is_none() && !targets::is_of(&record, app.sources()) {
            // The spec has another source now; its render wakes us again.
            return Ok(None);
        }
        if app.asks_hard_refresh() && !item.note.hard {
            // Whatever woke us, the answer to this request comes after a render anew.
            let note = WorkNote { hard: true, reason: "a hard refresh is asked for".to_owned() };
            self.bus.wake(&Work::Render { app: app.key() }, note, &item.cause).await?;
        }
        let verdict = self.judge(&app, record, item.note.hard).await?;
        // What an operation waits for may just have come about, or a newer revision may end its waiting.
        if app.operation.is_some() && app.operation_state().is_some_and(|state| state.phase == Phase::Running) {
            let note = WorkNote { hard: false, reason: "something changed while the operation waits".to_owned() };
            self.bus.wake(&Work::Sync { app: app.key() }, note, &item.cause).await?;
        }
        self.record(app, verdict, item).await
    }

    async fn judge(&self, app: &Application, record: TargetRecord, anew: bool) -> Result<Verdict, DifferError> {
        let mut verdict = Verdict {
            revision: record.revision.clone(),
            source_types: record.parts.iter().map(|part| part.source_type.clone()).collect(),
            objects: Vec::new(),
            conditions: Vec::new(),
            unknown: false,
            images: Vec::new(),
            summary: Summary::default(),
            deletion_hooks: None,
            windows: Vec::new(),
        };
        if let Some(error) = &record.error {
            verdict.conditions.push(("ComparisonError".to_owned(), error.clone()));
            verdict.unknown = true;
        }
        self.remember_project(app);
        let grant = match permit(&self.projects, app, &self.control_namespace) {
            Permit::NotYet => return Err(DifferError::NotYet),
            Permit::Granted(grant) => grant,
            Permit::Refused { problems, .. } => {
                verdict.conditions.extend(problems.into_iter().map(|(kind, message)| (kind.to_owned(), message)));
                verdict.unknown = true;
                return Ok(verdict);
            }
        };
        verdict.windows = grant.windows().to_vec();
        self.cluster.ready().await?;
        let tree = self.bus.kv(Bucket::Trees).get::<ResourceTree>(&app.key().token()).await?.unwrap_or_default();
        verdict.summary = tako_engine::tree::summary(&tree, app);
        let raw = match targets::load(&self.bus, &record).await? {
            Some(raw) => {
                self.cluster.learn(&raw).await?;
                raw
            }
            None => {
                if record.error.is_none() {
                    // The bus lost the body: render anew.
                    let note =
                        WorkNote { hard: true, reason: "the rendered manifests are gone from the bus".to_owned() };
                    self.bus.wake(&Work::Render { app: app.key() }, note, &Cause::root("sa:differ")).await?;
                }
                verdict.unknown = true;
                return Ok(verdict);
            }
        };
        let settings = self.settings.compiled();
        let finished = targets::finish(raw, app, &self.control_namespace, &self.cluster, &settings);
        verdict.conditions.extend(finished.warnings());
        let manifests = finished.manifests;
        let has =
            |phase| manifests.iter().any(|one| matches!(hook::part_of(one), Part::Hook(all) if all.contains(&phase)));
        verdict.deletion_hooks = Some((has(SyncPhase::PreDelete), has(SyncPhase::PostDelete)));
        let rules = self.rules.of(app);
        let rules = match rules.as_ref() {
            Ok(rules) => rules,
            Err(problem) => {
                verdict.conditions.push(("ComparisonError".to_owned(), problem.clone()));
                verdict.unknown = true;
                return Ok(verdict);
            }
        };
        self.judge_objects((app, anew), &manifests, rules, &mut verdict).await?;
        verdict.objects.extend(self.extras(app, &tree, &manifests, &grant).await?);
        verdict.conditions.extend(orphaned(app, &tree, &grant));
        verdict.objects.sort_by(|a, b| a.key.cmp(&b.key));
        verdict.images.sort();
        verdict.images.dedup();
        Ok(verdict)
    }

    async fn judge_objects(
        &self,
        (app, anew): (&Application, bool),
        manifests: &[Manifest],
        rules: &Rules,
        verdict: &mut Verdict,
    ) -> Result<(), DifferError> {
        let objects = manifests.iter().filter(|manifest| hook::part_of(manifest) == Part::Object);
        let choice = self.comparing.choice(app);
        let comparisons: Vec<_> = objects.map(|manifest| self.compare(app, manifest, rules, (choice, anew))).collect();
        let objects = gather(comparisons, PARALLEL).await;
        let instance = targets::instance_name(&app.key(), &self.control_namespace);
        for outcome in objects {
            match outcome {
                Ok((mut object, images)) => {
                    object.shared = object.shared.filter(|owner| *owner != instance);
                    if let Some(owner) = &object.shared {
                        let words = tracking::shared_words(&object.key, &instance, owner);
                        verdict.conditions.push(("SharedResourceWarning".to_owned(), words));
                    }
                    verdict.objects.push(object);
                    verdict.images.extend(images);
                }
                Err((_, CompareError::Cluster(error))) if !error.is_refusal() => return Err(error.into()),
                Err((key, error)) => {
                    verdict.conditions.push(("ComparisonError".to_owned(), format!("{key}: {error}")));
                    verdict.unknown = true;
                }
            }
        }
        Ok(())
    }

    async fn compare(
        &self,
        app: &Application,
        manifest: &Manifest,
        rules: &Rules,
        (choice, anew): (Choice, bool),
    ) -> Result<(ObjectVerdict, Vec<String>), (ResourceKey, CompareError)> {
        let key = manifest.key();
        self.compare_inner(app, manifest, (rules.of(&key), choice, anew)).await.map_err(|error| (key, error))
    }

    async fn compare_inner(
        &self,
        app: &Application,
        manifest: &Manifest,
        how: (Ignored, Choice, bool),
    ) -> Result<(ObjectVerdict, Vec<String>), CompareError> {
        let tracking = self.rules.settings().compiled().tracking;
        let live = match self.cluster.get(manifest).await {
            // Named when it is made (generateName): what was made before has other names.
            _ if manifest.name().is_empty() => None,
            // A kind whose CRD is not there has no live objects.
            Err(ClusterError::UnknownKind { .. }) => None,
            other => other?,
        };
        let status = match &live {
            None => SyncCode::OutOfSync,
            Some(live) => {
                let mut ours = live.clone();
                tracking.migrate(&manifest.0, &mut ours);
                self.comparing.status(&self.cluster, manifest, &ours, how).await?
            }
        };
        let images = live.as_ref().map(tako_engine::tree::images_of).unwrap_or_default();
        let verdict = ObjectVerdict {
            key: manifest.key(),
            version: manifest.version().to_owned(),
            status: Some(status),
            health: match &live {
                Some(live) => self.health(app, live),
                None => Some(health::Health { status: HealthCode::Missing, message: String::new() }),
            },
            live: live.is_some(),
            requires_pruning: false,
            requires_confirmation: options::asks_before_deletion(manifest),
            extraneous: false,
            hook: false,
            wave: plan::wave_of(manifest),
            shared: live.as_ref().and_then(|live| tracking.owner_beside_target(live)),
        };
        Ok((verdict, images))
    }

    /// As far as it counts for the Application.
    fn health(&self, app: &Application, live: &Value) -> Option<health::Health> {
        self.healths.now().of(live).filter(|health| health::counts(app, live, health))
    }

    /// Live objects that carry our mark and are in git no more. Each is read again before it counts.
    async fn extras(
        &self,
        app: &Application,
        tree: &ResourceTree,
        manifests: &[Manifest],
        grant: &Grant,
    ) -> Result<Vec<ObjectVerdict>, DifferError> {
        let settings = self.settings.compiled();
        let mut extras = Vec::new();
        let ours = (self.control_namespace.as_str(), &settings);
        for (key, live) in extras::tracked_extras_in(tree, &self.cluster, app, manifests, ours).await? {
            if !live["metadata"]["deletionTimestamp"].is_null() || !grant.permits_live(&key) {
                continue;
            }
            let manifest = Manifest(live);
            let object = hook::part_of(&manifest) == Part::Object;
            extras.push(ObjectVerdict {
                key,
                version: manifest.version().to_owned(),
                status: object.then_some(SyncCode::OutOfSync),
                health: self.health(app, &manifest.0),
                live: true,
                requires_pruning: object,
                requires_confirmation: options::asks_before_deletion(&manifest),
                extraneous: diff::ignores_extraneous(&manifest.0),
                hook: !object,
                wave: plan::wave_of(&manifest),
                shared: None,
            });
        }
        Ok(extras)
    }

    async fn record(
        &self,
        app: Application,
        verdict: Verdict,
        item: &WorkItem,
    ) -> Result<Option<Duration>, DifferError> {
        let at = now();
        let next = status::next_status(
            &app,
            &verdict,
            &at,
            &status::Means {
                control_namespace: &self.control_namespace,
                health_inline: self.settings.persists_resource_health(),
            },
        );
        let revisions = if app.has_multiple_sources() { split(&verdict.revision) } else { Vec::new() };
        let facts = automation::Facts {
            sync: next.sync,
            revision: &verdict.revision,
            revisions: &revisions,
            blocked: verdict.conditions.iter().any(|(kind, _)| kind.ends_with("Error")),
            would_prune_all: next.would_prune_all,
            prunes: next.prunes,
            only_prunes: verdict
                .objects
                .iter()
                .filter(|object| object.out_of_sync())
                .all(|object| object.requires_pruning),
            windows: &verdict.windows,
            self_heal: self.settings.self_heal(),
            ..automation::Facts::default()
        };
        let moment = jiff::Timestamp::now();
        let decision = automation::decide(&app, &facts, moment);
        let mut look_again = None;
        let mut patch = status::patch(&app, &next, &at, item.note.hard);
        if let Some(finalizers) = verdict
            .deletion_hooks
            .and_then(|(before, after)| deletion::with_hooks(&app.metadata.finalizers, before, after))
        {
            // A list is replaced whole: only while nobody else has changed it.
            patch["metadata"]["finalizers"] = json!(finalizers);
            patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
        }
        let mut wanted = None;
        let mut conditions = next.conditions.clone();
        match decision {
            Decision::Sync { prune, self_heal } => {
                let operation = status::automated_operation(&app, &verdict, prune, self_heal);
                patch["operation"] = operation.clone();
                patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
                wanted = Some(operation);
            }
            Decision::Wait { reason, until } => {
                look_again = until.map(|until| until.duration_since(moment).unsigned_abs());
                tracing::debug!(app = %app.key(), reason, "no automated sync");
                if let Some(condition) = status::sync_error(&app, &verdict, &reason, &at) {
                    conditions.push(condition);
                    status::put_conditions(&app, &mut patch, &conditions);
                }
            }
        }
        if status::is_empty(&patch) {
            return Ok(look_again);
        }
        match self.applications.patch(&app.key(), &patch).await {
            Ok(_) => {}
            // Somebody wrote between our look and our word: look again.
            Err(error) if error.is_conflict() => {
                let note = WorkNote { hard: item.note.hard, reason: "the Application changed meanwhile".to_owned() };
                self.bus.wake(&Work::Compare { app: app.key() }, note, &item.cause).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        if wanted.is_some() {
            let note = WorkNote { hard: false, reason: item.note.reason.clone() };
            self.bus.wake(&Work::Sync { app: app.key() }, note, &item.cause).await?;
        }
        let out_of_sync = verdict.objects.iter().filter(|object| object.out_of_sync()).count();
        let event = Event::AppCompared {
            app: app.key(),
            project: app.spec.project.clone(),
            sync: format!("{:?}", next.sync),
            health: format!("{:?}", next.health),
            revision: verdict.revision.clone(),
            out_of_sync: u32::try_from(out_of_sync).unwrap_or(u32::MAX),
        };
        let (bus, cause) = (self.bus.clone(), item.cause.clone());
        tokio::spawn(async move {
            if let Err(error) = bus.emit(event, &cause).await {
                tracing::warn!(%error, "event not recorded");
            }
        });
        Ok(look_again)
    }
}

/// The condition that tells of orphaned resources, if the project asks for it. The observer found them.
fn orphaned(app: &Application, tree: &ResourceTree, grant: &Grant) -> Option<(String, String)> {
    let count = tree.orphaned_nodes.len();
    let told = count > 0 && grant.monitored(app).is_some_and(|asked| asked.warn);
    told.then(|| (orphan::WARNING.to_owned(), orphan::orphaned_words(count)))
}

/// A condition as the status carries it, with its time kept while the text is the same.
pub(crate) fn condition(old: &[Condition], kind: &str, message: &str, at: &str) -> Condition {
    old.iter().find(|known| known.r#type == kind && known.message == message).cloned().unwrap_or_else(|| Condition {
        r#type: kind.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(at.to_owned()),
        ..Condition::default()
    })
}

impl Stage for Differ {
    type Key = AppKey;
    const NAME: &'static str = "differ";
    const KIND: WorkKind = WorkKind::Compare;
    const SLOTS: usize = 8;

    fn key(item: &WorkItem) -> Option<AppKey> {
        match &item.work {
            Work::Compare { app } => Some(app.clone()),
            _ => None,
        }
    }

    async fn run(&self, item: WorkItem) -> Outcome {
        let Work::Compare { app } = &item.work else { return Outcome::Done };
        match self.work(&app.clone(), &item).await {
            Ok(None) => Outcome::Done,
            Ok(Some(pause)) => Outcome::Again(pause.min(LOOK_AGAIN_MAX)),
            Err(DifferError::NotYet) => Outcome::Again(NOT_YET),
            Err(error) => {
                tracing::warn!(%app, %error, "comparison not finished; it is tried again");
                Outcome::Again(Duration::from_secs(2))
            }
        }
    }
}

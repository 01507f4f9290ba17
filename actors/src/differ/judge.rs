//! The judgement on one Application: reads its target and live state, and says of each object whether it is as it should
//! be and how healthy it is. Writes nothing and decides nothing.
use serde_json::Value;
use tako_bus::{Bucket, Cause, TargetRecord, Work, WorkNote};
use tako_engine::app::{Application, HealthCode, SyncCode};
use tako_engine::diff::{self, Choice};
use tako_engine::hook::{self, Part, SyncPhase};
use tako_engine::ignore::{Ignored, Rules};
use tako_engine::resource::{Manifest, ResourceKey};
use tako_engine::tree::{ResourceTree, Summary};
use tako_engine::windows::SyncWindow;
use tako_engine::{health, options, orphan, plan, tracking};

use super::{Differ, DifferError, PARALLEL, extras};
use crate::adapters::cluster::ClusterError;
use crate::comparing::CompareError;
use crate::permits::{Grant, Permit, permit};
use crate::{gather, targets};

/// One object's verdict.
#[derive(Debug, Clone)]
pub(super) struct ObjectVerdict {
    pub(super) key: ResourceKey,
    pub(super) version: String,
    /// `None` for hooks, which are neither synced nor out of sync.
    pub(super) status: Option<SyncCode>,
    /// As far as it counts for the Application.
    pub(super) health: Option<health::Health>,
    pub(super) live: bool,
    pub(super) requires_pruning: bool,
    /// It wants approval before it is deleted (`Prune=confirm`, `Delete=confirm`).
    pub(super) requires_confirmation: bool,
    /// It does not make the Application OutOfSync (`IgnoreExtraneous`).
    pub(super) extraneous: bool,
    pub(super) hook: bool,
    pub(super) wave: i64,
    /// The other Application whose mark it carries.
    pub(super) shared: Option<String>,
}

impl ObjectVerdict {
    pub(super) fn out_of_sync(&self) -> bool {
        self.status == Some(SyncCode::OutOfSync) && !self.extraneous
    }
}

/// The whole verdict on an Application.
pub(super) struct Verdict {
    pub(super) revision: String,
    pub(super) source_types: Vec<String>,
    pub(super) objects: Vec<ObjectVerdict>,
    pub(super) conditions: Vec<(String, String)>,
    /// The target state could not be worked out or the live state not read: the status is Unknown.
    pub(super) unknown: bool,
    pub(super) images: Vec<String>,
    /// What the tree tells.
    pub(super) summary: Summary,
    /// The target state has hooks before and after the deletion of the Application; `None` when it is not known.
    pub(super) deletion_hooks: Option<(bool, bool)>,
    /// The sync windows of the project.
    pub(super) windows: Vec<SyncWindow>,
}

impl Differ {
    pub(super) async fn judge(
        &self,
        app: &Application,
        record: TargetRecord,
        anew: bool,
    ) -> Result<Verdict, DifferError> {
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
        let Some(opened) = self.load_target(app, &record).await? else {
            if record.error.is_none() {
                // The bus lost the body: render anew.
                let note = WorkNote { hard: true, reason: "the rendered manifests are gone from the bus".to_owned() };
                self.bus.wake(&Work::Render { app: app.key() }, note, &Cause::root("sa:differ")).await?;
            }
            verdict.unknown = true;
            return Ok(verdict);
        };
        let raw = match opened {
            Ok(opened) => opened.manifests,
            Err(problem) => {
                verdict.conditions.push(("ComparisonError".to_owned(), problem));
                verdict.unknown = true;
                return Ok(verdict);
            }
        };
        self.cluster.learn(&raw).await?;
        self.judge_state((app, anew), raw, (&tree, &grant), &mut verdict).await?;
        Ok(verdict)
    }

    /// Target state against live state.
    async fn judge_state(
        &self,
        (app, anew): (&Application, bool),
        raw: Vec<Value>,
        (tree, grant): (&ResourceTree, &Grant),
        verdict: &mut Verdict,
    ) -> Result<(), DifferError> {
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
                return Ok(());
            }
        };
        self.judge_objects((app, anew), &manifests, rules, verdict).await?;
        verdict.objects.extend(self.extras(app, tree, &manifests, grant).await?);
        verdict.conditions.extend(orphaned(app, tree, grant));
        verdict.objects.sort_by(|a, b| a.key.cmp(&b.key));
        verdict.images.sort();
        verdict.images.dedup();
        Ok(())
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
}

/// The condition that tells of orphaned resources, if the project asks for it. The observer found them.
fn orphaned(app: &Application, tree: &ResourceTree, grant: &Grant) -> Option<(String, String)> {
    let count = tree.orphaned_nodes.len();
    let told = count > 0 && grant.monitored(app).is_some_and(|asked| asked.warn);
    told.then(|| (orphan::WARNING.to_owned(), orphan::orphaned_words(count)))
}

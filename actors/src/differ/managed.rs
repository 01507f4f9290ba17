//! Target, live and predicted state of each managed object, as `managed-resources` of the API shows them (Argo CD,
//! `ResourceDiff`). Read afresh for whoever asks: nothing of it is kept, and no value of a Secret leaves this process.
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tako_bus::rpc::ManagedAsk;
use tako_bus::{Bucket, BusError, Document, ResourceName, TargetRecord};
use tako_engine::app::SyncCode;
use tako_engine::diff::Choice;
use tako_engine::hook::{self, Part};
use tako_engine::ignore::Rules;
use tako_engine::resource::{Manifest, ResourceKey};
use tako_engine::tree::ResourceTree;

use super::{Differ, DifferError, PARALLEL, extras};
use crate::adapters::cluster::ClusterError;
use crate::comparing::Shown;
use crate::gather;
use crate::permits::{Permit, permit};
use crate::targets::{self, Opened};

/// One object, its states as JSON text; `null` where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceDiff {
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    target_state: String,
    live_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    normalized_live_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    predicted_live_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    modified: bool,
}

impl ResourceDiff {
    fn of(key: ResourceKey, shown: &Shown) -> Self {
        let text = |side: &Option<Value>| json!(side).to_string();
        let version = shown.live.as_ref().and_then(|live| live["metadata"]["resourceVersion"].as_str());
        let compared = shown.compared.as_ref();
        // What git does not have is not modified, but gone from it.
        let differs = compared.is_none_or(|compared| compared.status == SyncCode::OutOfSync);
        Self {
            group: key.group,
            kind: key.kind,
            namespace: key.namespace,
            name: key.name,
            target_state: text(&shown.target),
            live_state: text(&shown.live),
            normalized_live_state: compared.map(|compared| text(&compared.live)).unwrap_or_default(),
            predicted_live_state: compared.map(|compared| text(&compared.predicted)).unwrap_or_default(),
            resource_version: version.unwrap_or_default().to_owned(),
            modified: shown.target.is_some() && differs,
        }
    }
}

/// Empty fields match all. The version does not matter, as in Argo CD.
fn wanted(only: &ResourceName, key: &ResourceKey) -> bool {
    let fits = |asked: &str, own: &str| asked.is_empty() || asked == own;
    fits(&only.group, &key.group)
        && fits(&only.kind, &key.kind)
        && fits(&only.namespace, &key.namespace)
        && fits(&only.name, &key.name)
}

/// Puts stars where encrypted values were opened; what was sealed as a whole shows only who it is.
fn hide(object: &mut Value, pointers: &[String]) {
    const STARS: &str = "++++++++";
    if pointers.iter().any(String::is_empty) {
        let kept = ["apiVersion", "kind", "metadata"];
        if let Some(fields) = object.as_object_mut() {
            fields
                .iter_mut()
                .filter(|(name, _)| !kept.contains(&name.as_str()))
                .for_each(|(_, value)| *value = json!(STARS));
        }
    }
    for pointer in pointers.iter().filter(|pointer| !pointer.is_empty()) {
        if let Some(value) = object.pointer_mut(pointer) {
            *value = json!(STARS);
        }
    }
    // It repeats what was applied.
    if let Some(annotation) =
        object.pointer_mut("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration")
    {
        *annotation = json!(STARS);
    }
}

impl Differ {
    /// Answers what is managed, from now on.
    pub(crate) async fn serve_managed(self: Arc<Self>) -> Result<(), BusError> {
        let bus = self.bus.clone();
        bus.serve_documents("resources.managed", "differ", move |ask: ManagedAsk| {
            let differ = self.clone();
            async move { differ.managed(&ask).await.unwrap_or_else(|error| Document::refused(503, error.to_string())) }
        })
        .await
    }

    async fn managed(&self, ask: &ManagedAsk) -> Result<Document, DifferError> {
        self.settings.ready().await;
        let Some(app) = self.applications.get(&ask.app).await? else {
            let name = &ask.app.name;
            return Ok(Document::refused(404, format!("applications.argoproj.io \"{name}\" not found")));
        };
        let grant = match permit(&self.projects, &app, &self.control_namespace) {
            Permit::NotYet => return Err(DifferError::NotYet),
            Permit::Granted(grant) => grant,
            Permit::Refused { problems, .. } => {
                let told: Vec<String> = problems.iter().map(|(kind, message)| format!("{kind}: {message}")).collect();
                return Ok(Document::refused(412, told.join(";")));
            }
        };
        let token = app.key().token();
        let record = self.bus.kv(Bucket::Targets).get::<TargetRecord>(&token).await?.unwrap_or_default();
        let Some(opened) = self.load_target(&app, &record).await? else {
            let why = record.error.unwrap_or_else(|| "it was not rendered yet; try again".to_owned());
            return Ok(Document::refused(412, format!("ComparisonError: {why}")));
        };
        let Opened { manifests: raw, secrets } = match opened {
            Ok(opened) => opened,
            Err(why) => return Ok(Document::refused(412, format!("ComparisonError: {why}"))),
        };
        self.cluster.ready().await?;
        self.cluster.learn(&raw).await?;
        let settings = self.settings.compiled();
        let manifests = targets::finish(raw, &app, &self.control_namespace, &self.cluster, &settings).manifests;
        let rules = self.rules.of(&app);
        let rules = match rules.as_ref() {
            Ok(rules) => rules,
            Err(problem) => return Ok(Document::refused(412, format!("ComparisonError: {problem}"))),
        };
        let choice = self.comparing.choice(&app);
        let objects = manifests.iter().filter(|manifest| hook::part_of(manifest) == Part::Object);
        let of_git: Vec<_> = objects
            .filter(|manifest| wanted(&ask.only, &manifest.key()))
            .map(|manifest| self.of_git(manifest, rules, choice, &secrets))
            .collect();
        let mut items = gather(of_git, PARALLEL).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let tree = self.bus.kv(Bucket::Trees).get::<ResourceTree>(&token).await?.unwrap_or_default();
        let ours = (self.control_namespace.as_str(), &settings);
        for (key, live) in extras::tracked_extras_in(&tree, &self.cluster, &app, &manifests, ours).await? {
            let object = Manifest(live);
            let there = object.0["metadata"]["deletionTimestamp"].is_null() && grant.permits_live(&key);
            if there && wanted(&ask.only, &key) && hook::part_of(&object) == Part::Object {
                let sides = (None, Some(&object.0), Some(&object.0));
                let shown = self.comparing.shown(&self.cluster, sides, (rules.of(&key), choice)).await?;
                items.push(ResourceDiff::of(key, &shown));
            }
        }
        items.sort_by(|a, b| {
            (&a.group, &a.kind, &a.namespace, &a.name).cmp(&(&b.group, &b.kind, &b.namespace, &b.name))
        });
        Ok(Document::json(&json!({"items": items})))
    }

    async fn of_git(
        &self,
        manifest: &Manifest,
        rules: &Rules,
        choice: Choice,
        secrets: &HashMap<(String, String, String), Vec<String>>,
    ) -> Result<ResourceDiff, ClusterError> {
        let live = match self.cluster.get(manifest).await {
            Err(ClusterError::UnknownKind { .. }) => None,
            other => other?,
        };
        let tracked = live.clone().map(|mut live| {
            self.settings.compiled().tracking.migrate(&manifest.0, &mut live);
            live
        });
        let key = manifest.key();
        let sides = (Some(manifest), live.as_ref(), tracked.as_ref());
        let mut shown = self.comparing.shown(&self.cluster, sides, (rules.of(&key), choice)).await?;
        let name = (key.group.clone(), key.kind.clone(), key.name.clone());
        if let Some(pointers) = secrets.get(&name) {
            let compared = shown.compared.as_mut();
            let (live, predicted) = compared.map(|one| (one.live.as_mut(), one.predicted.as_mut())).unwrap_or_default();
            [shown.target.as_mut(), shown.live.as_mut(), live, predicted]
                .into_iter()
                .flatten()
                .for_each(|side| hide(side, pointers));
        }
        Ok(ResourceDiff::of(key, &shown))
    }
}

#[cfg(test)]
mod tests {
    use tako_engine::diff::Comparison;

    use super::*;

    fn key() -> ResourceKey {
        ResourceKey { group: String::new(), kind: "ConfigMap".into(), namespace: "n".into(), name: "a".into() }
    }

    #[test]
    fn an_item_has_argo_cds_shape() {
        let object = json!({"metadata": {"resourceVersion": "7"}});
        let compared = |status, predicted: Option<&Value>, live: Option<&Value>| {
            Some(Comparison { status, changed: Vec::new(), predicted: predicted.cloned(), live: live.cloned() })
        };
        let (there, out, text) = (Some(object.clone()), SyncCode::OutOfSync, object.to_string());
        let both = Shown {
            target: there.clone(),
            live: there.clone(),
            compared: compared(SyncCode::Synced, Some(&object), Some(&object)),
        };
        let want = json!({"kind": "ConfigMap", "namespace": "n", "name": "a", "resourceVersion": "7",
            "targetState": text, "liveState": text, "normalizedLiveState": text, "predictedLiveState": text});
        assert_eq!(json!(ResourceDiff::of(key(), &both)), want);
        let missing = Shown { target: there.clone(), live: None, compared: compared(out, Some(&object), None) };
        let want = json!({"kind": "ConfigMap", "namespace": "n", "name": "a", "modified": true,
            "targetState": text, "liveState": "null", "normalizedLiveState": "null", "predictedLiveState": text});
        assert_eq!(json!(ResourceDiff::of(key(), &missing)), want);
        let extra = Shown { target: None, live: there.clone(), compared: compared(out, None, Some(&object)) };
        let want = json!({"kind": "ConfigMap", "namespace": "n", "name": "a", "resourceVersion": "7",
            "targetState": "null", "liveState": text, "normalizedLiveState": text, "predictedLiveState": "null"});
        assert_eq!(json!(ResourceDiff::of(key(), &extra)), want);
        let unclear = Shown { target: there.clone(), live: there, compared: None };
        assert!(ResourceDiff::of(key(), &unclear).modified);
    }

    #[test]
    fn what_was_opened_is_not_shown() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}}, "data": {"a": "canary", "b": "open"}});
        let (mut some, mut all) = (object.clone(), object);
        hide(&mut some, &["/data/a".to_owned()]);
        hide(&mut all, &[String::new()]);
        assert_eq!(some["data"], json!({"a": "++++++++", "b": "open"}));
        assert_eq!(all["data"], "++++++++");
        assert!(!format!("{some}{all}").contains("canary"));
    }

    #[test]
    fn some_objects_may_be_asked_for() {
        let only = |kind: &str, name: &str| ResourceName { kind: kind.into(), name: name.into(), ..Default::default() };
        for (only, want) in [
            (only("", ""), true),
            (only("ConfigMap", ""), true),
            (only("ConfigMap", "a"), true),
            (only("ConfigMap", "b"), false),
            (only("Secret", "a"), false),
        ] {
            assert_eq!(wanted(&only, &key()), want, "{only:?}");
        }
    }
}

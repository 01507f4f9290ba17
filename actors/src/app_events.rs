//! Kubernetes Events on Applications, as Argo CD's users know them (util/argo/audit_logger.go): what `kubectl get events`
//! shows beside an Application. They are a courtesy: writing one neither waits for anything nor fails anything. What
//! counts is on the audit stream.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, PostParams};
use tako_engine::app::{Application, Operation, Phase};
use tako_engine::glob;
use tokio::sync::Semaphore;

use crate::projects::{Found, Projects};
use crate::settings::Settings;

/// Which reasons are told: `all` (the default), `none`, or some with commas between (Argo CD).
const ENABLED: &str = "ARGOCD_ENABLE_K8S_EVENT";
/// Events on their way at once; what would be more is left out.
const AT_ONCE: usize = 64;
/// One that takes longer is given up.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Longest message that the API server takes.
const WORDS_MAX: usize = 1024;

/// What an Event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A deletion does not get on.
    StatusRefreshed,
    /// The status or the Application is another.
    ResourceUpdated,
    /// An object of it was deleted.
    ResourceDeleted,
    /// A resource action was run.
    ResourceActionRan,
    /// An operation was begun.
    OperationStarted,
    /// It is over.
    OperationCompleted,
}

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    reason: Reason,
    warning: bool,
    message: String,
    /// Who did it; nobody: the control plane itself.
    user: Option<String>,
}

impl Told {
    fn of(reason: Reason, message: String) -> Self {
        Self { reason, warning: false, message, user: None }
    }

    fn by(user: &str, reason: Reason, action: &str) -> Self {
        let user = if user.is_empty() { "Unknown user" } else { user };
        Self { user: Some(user.to_owned()), ..Self::of(reason, format!("{user} {action}")) }
    }

    /// Sync status or health is another.
    pub(crate) fn status(what: &str, before: &str, after: &str) -> Self {
        Self::of(Reason::ResourceUpdated, format!("Updated {what} status: {before} -> {after}"))
    }

    /// Automated sync begins.
    pub(crate) fn automated(revision: &str) -> Self {
        Self::of(Reason::OperationStarted, format!("Initiated automated sync to '{revision}'"))
    }

    /// A user begins a sync. `revision`: as it was asked for.
    pub(crate) fn sync(user: &str, operation: &Operation, revision: &str) -> Self {
        let sync = operation.sync.as_ref();
        let partial = if sync.is_some_and(|sync| !sync.resources.is_empty()) { "partial " } else { "" };
        let action = match sync.is_some_and(|sync| !sync.manifests.is_empty()) {
            true => format!("initiated {partial}sync locally"),
            false => format!("initiated {partial}sync to {revision}"),
        };
        Self::by(user, Reason::OperationStarted, &action)
    }

    /// A user begins a rollback.
    pub(crate) fn rollback(user: &str, id: i64) -> Self {
        Self::by(user, Reason::OperationStarted, &format!("initiated rollback to {id}"))
    }

    /// A user ends the operation.
    pub(crate) fn terminated(user: &str) -> Self {
        Self::by(user, Reason::ResourceUpdated, "terminated running operation")
    }

    /// A user has run an action on `group/kind/name`.
    pub(crate) fn action(user: &str, action: &str, resource: &str) -> Self {
        Self::by(user, Reason::ResourceActionRan, &format!("ran action {action} on resource {resource}"))
    }

    /// An operation is over.
    pub(crate) fn completed(operation: &Operation, revision: &str, phase: Phase, message: &str) -> Self {
        let partial = operation.sync.as_ref().is_some_and(|sync| !sync.resources.is_empty());
        let what = if partial { "Partial sync operation" } else { "Sync operation" };
        let to = if revision.is_empty() { String::new() } else { format!(" to {revision}") };
        let (warning, how) = match phase {
            Phase::Succeeded => (false, "succeeded".to_owned()),
            _ => (true, format!("failed: {message}")),
        };
        Self { warning, ..Self::of(Reason::OperationCompleted, format!("{what}{to} {how}")) }
    }

    /// An object was deleted with its Application.
    pub(crate) fn deleted(group: &str, kind: &str, name: &str) -> Self {
        Self::of(Reason::ResourceDeleted, format!("deleted resource {group}/{kind} '{name}'"))
    }

    /// A deletion is held up.
    pub(crate) fn held(problem: &str) -> Self {
        let message = format!("Unable to delete application resources: {problem}");
        Self { warning: true, ..Self::of(Reason::StatusRefreshed, message) }
    }
}

/// The writer; cheap to clone.
#[derive(Clone)]
pub(crate) struct AppEvents {
    client: Client,
    settings: Settings,
    projects: Projects,
    /// Reasons that are told; `None`: all.
    enabled: Option<Arc<BTreeSet<String>>>,
    places: Arc<Semaphore>,
}

impl AppEvents {
    /// On the control cluster.
    pub(crate) fn new(client: Client, settings: Settings, projects: Projects) -> Self {
        let enabled = enabled(std::env::var(ENABLED).ok().as_deref()).map(Arc::new);
        Self { client, settings, projects, enabled, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Tells, in a task of its own.
    pub(crate) fn tell(&self, app: &Application, told: Told) {
        let reason = format!("{:?}", told.reason);
        if self.enabled.as_ref().is_some_and(|enabled| !enabled.contains(&reason)) {
            return;
        }
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::debug!(app = %app.key(), reason, "no Event: too many are on their way");
            return;
        };
        let event = event(app, told, self.labels(app), jiff::Timestamp::now());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &app.metadata.namespace);
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(TIME_MAX, api.create(&PostParams::default(), &event)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(reason, %error, "Event not written"),
                Err(_) => tracing::debug!(reason, "Event not written in time"),
            }
        });
    }

    /// Labels of the Application and of its project that settings choose.
    fn labels(&self, app: &Application) -> BTreeMap<String, String> {
        let (include, exclude) = self.settings.event_labels();
        if include.is_empty() {
            return BTreeMap::new();
        }
        let mut labels = app.metadata.labels.clone();
        if let Found::Is(project) = self.projects.find(app) {
            for (name, value) in &project.metadata.labels {
                labels.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        chosen(labels, &include, &exclude)
    }
}

fn enabled(given: Option<&str>) -> Option<BTreeSet<String>> {
    let given: BTreeSet<String> =
        given.unwrap_or("all").split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if given.contains("none") {
        return Some(BTreeSet::new());
    }
    (!given.is_empty() && !given.contains("all")).then_some(given)
}

fn chosen(mut labels: BTreeMap<String, String>, include: &[String], exclude: &[String]) -> BTreeMap<String, String> {
    let matches = |patterns: &[String], name: &str| patterns.iter().any(|one| glob::matches(one, name));
    labels.retain(|name, _| matches(include, name) && !matches(exclude, name));
    labels
}

fn event(app: &Application, told: Told, labels: BTreeMap<String, String>, now: jiff::Timestamp) -> Event {
    let Told { reason, warning, mut message, user } = told;
    if message.len() > WORDS_MAX {
        message.truncate(message.floor_char_boundary(WORDS_MAX - '…'.len_utf8()));
        message.push('…');
    }
    let component = if user.is_some() { "argocd-server" } else { "argocd-application-controller" };
    let destination = &app.spec.destination;
    let mut annotations = BTreeMap::from([
        ("dest-server".to_owned(), destination.server.clone().unwrap_or_default()),
        ("dest-namespace".to_owned(), destination.namespace.clone().unwrap_or_default()),
    ]);
    annotations.extend(user.map(|user| ("user".to_owned(), user)));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", app.metadata.name, now.as_nanosecond())),
            namespace: Some(app.metadata.namespace.clone()),
            annotations: Some(annotations),
            labels: (!labels.is_empty()).then_some(labels),
            ..ObjectMeta::default()
        },
        source: Some(EventSource { component: Some(component.to_owned()), ..EventSource::default() }),
        involved_object: ObjectReference {
            api_version: Some("argoproj.io/v1alpha1".to_owned()),
            kind: Some("Application".to_owned()),
            name: Some(app.metadata.name.clone()),
            namespace: Some(app.metadata.namespace.clone()),
            resource_version: Some(app.metadata.resource_version.clone()),
            uid: app.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        message: Some(message),
        reason: Some(format!("{reason:?}")),
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> Application {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "argocd", "uid": "u", "resourceVersion": "7"},
            "spec": {"project": "p", "destination": {"server": "https://kubernetes.default.svc", "namespace": "n"}},
        }))
        .unwrap()
    }

    fn operation(sync: serde_json::Value) -> Operation {
        serde_json::from_value(json!({"sync": sync})).unwrap()
    }

    #[test]
    fn the_words_are_those_that_users_know() {
        let part = operation(json!({"resources": [{"kind": "ConfigMap", "name": "a"}]}));
        let (whole, local) = (operation(json!({})), operation(json!({"manifests": ["{}"]})));
        let cases = [
            (
                Told::status("sync", "OutOfSync", "Synced"),
                "ResourceUpdated",
                "Updated sync status: OutOfSync -> Synced",
            ),
            (Told::automated("c1"), "OperationStarted", "Initiated automated sync to 'c1'"),
            (Told::sync("admin", &whole, "main"), "OperationStarted", "admin initiated sync to main"),
            (Told::sync("admin", &part, "main"), "OperationStarted", "admin initiated partial sync to main"),
            (Told::sync("admin", &local, ""), "OperationStarted", "admin initiated sync locally"),
            (Told::rollback("", 3), "OperationStarted", "Unknown user initiated rollback to 3"),
            (Told::terminated("admin"), "ResourceUpdated", "admin terminated running operation"),
            (
                Told::action("admin", "restart", "apps/Deployment/d"),
                "ResourceActionRan",
                "admin ran action restart on resource apps/Deployment/d",
            ),
            (
                Told::completed(&whole, "c1", Phase::Succeeded, "ignored"),
                "OperationCompleted",
                "Sync operation to c1 succeeded",
            ),
            (Told::completed(&part, "", Phase::Error, "no"), "OperationCompleted", "Partial sync operation failed: no"),
            (Told::deleted("apps", "Deployment", "d"), "ResourceDeleted", "deleted resource apps/Deployment 'd'"),
            (Told::held("no"), "StatusRefreshed", "Unable to delete application resources: no"),
        ];
        for (told, reason, message) in cases {
            assert_eq!((format!("{:?}", told.reason).as_str(), told.message.as_str()), (reason, message));
            assert_eq!(told.warning, message.contains("failed") || message.contains("Unable"), "{message}");
        }
    }

    #[test]
    fn an_event_is_of_its_application_and_fits() {
        let made = |told| json!(event(&app(), told, BTreeMap::new(), "2026-01-01T00:00:00Z".parse().unwrap()));
        let one = made(Told::terminated("admin"));
        assert_eq!(one["metadata"]["namespace"], one["involvedObject"]["namespace"], "the API server wants it so");
        assert_eq!(one["involvedObject"]["uid"], "u");
        assert_eq!(one["metadata"]["annotations"]["user"], "admin");
        assert_eq!((&one["source"]["component"], &one["type"]), (&json!("argocd-server"), &json!("Normal")));
        assert_eq!(one["firstTimestamp"], "2026-01-01T00:00:00Z");
        let long = made(Told::held(&"ü".repeat(WORDS_MAX)));
        assert!(long["message"].as_str().unwrap().len() <= WORDS_MAX);
        assert_eq!(long["metadata"]["annotations"].get("user"), None);
    }

    #[test]
    fn some_reasons_and_labels_are_chosen() {
        assert_eq!(enabled(None), None);
        assert_eq!(enabled(Some("")), None);
        assert_eq!(enabled(Some("OperationStarted,all")), None);
        assert_eq!(enabled(Some("none")), Some(BTreeSet::new()));
        assert_eq!(enabled(Some("OperationStarted")), Some(BTreeSet::from(["OperationStarted".to_owned()])));
        let labels = BTreeMap::from(["team", "team-secret", "x"].map(|name| (name.to_owned(), String::new())));
        let kept = chosen(labels, &["team*".to_owned()], &["*secret".to_owned()]);
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["team"]);
    }
}

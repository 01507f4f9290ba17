//! Resource actions on the live objects of an Application's tree: lists them, and writes what one changes. What there
//! is to do and what it changes is `tako_engine::actions`' affair; here the object is read, the changes are written
//! and each is recorded.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use tako_bus::rpc::{ActionsList, ActionsListed};
use tako_bus::{AuditRecord, Bucket, Bus, CommandItem, Reply, ResourceName};
use tako_engine::actions::{ActionInfo, Actions, Change};
use tako_engine::app::{AppKey, Application};
use tako_engine::resource::{Manifest, ResourceKey};
use tako_engine::tree::ResourceTree;

use super::commands::{ATTEMPTS, refused, user_of};
use crate::adapters::cluster::{Applications, Cluster, ClusterError};
use crate::app_events::{AppEvents, Told};
use crate::derived::Derived;
use crate::settings::Settings;
use crate::since_1970;

/// What stands in the way, as HTTP.
struct Refusal {
    code: u16,
    message: String,
}

impl Refusal {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        let code = if error.is_conflict() {
            409
        } else if error.is_refusal() {
            400
        } else {
            503
        };
        Self::new(code, error.to_string())
    }
}

/// Lists and runs.
pub(super) struct ResourceActions {
    bus: Bus,
    cluster: Cluster,
    applications: Applications,
    events: AppEvents,
    /// The actions under the settings of now.
    actions: Derived<Actions>,
}

impl ResourceActions {
    pub(super) fn new(
        bus: Bus,
        cluster: Cluster,
        applications: Applications,
        settings: Settings,
        events: AppEvents,
    ) -> Self {
        let counts = |key: &str| key.starts_with("resource.customizations");
        let actions = Derived::new(settings, counts, |parts| Actions::compile(parts, since_1970));
        Self { bus, cluster, applications, events, actions }
    }

    /// Answers what may be done to an object.
    pub(super) async fn list(&self, ask: ActionsList) -> ActionsListed {
        match self.listed(&ask).await {
            Ok(actions) => ActionsListed { code: 200, message: String::new(), actions },
            Err(Refusal { code, message }) => ActionsListed { code, message, actions: Vec::new() },
        }
    }

    async fn listed(&self, ask: &ActionsList) -> Result<Vec<ActionInfo>, Refusal> {
        let (_, live) = self.find(&ask.app, &ask.resource).await?;
        let (_, actions) = self.actions.now();
        off_the_pool(move || actions.list(&live)).await
    }

    /// Runs an action. The object may change between the look and the write: then it is looked at again, as long as
    /// nothing has been written.
    pub(super) async fn run(
        &self,
        app: &AppKey,
        resource: &ResourceName,
        action: &str,
        params: &BTreeMap<String, String>,
        item: &CommandItem,
    ) -> Reply {
        for _ in 0..ATTEMPTS {
            let mut begun = false;
            match self.once(app, resource, (action, params), item, &mut begun).await {
                Ok(()) => return Reply { ok: true, code: 200, message: String::new(), body: json!({}) },
                Err(refusal) if refusal.code == 409 && !begun => {}
                Err(refusal) if begun => {
                    return refused(
                        refusal.code,
                        format!("{action} was carried out in part, then stopped: {}", refusal.message),
                    );
                }
                Err(refusal) => return refused(refusal.code, refusal.message),
            }
        }
        refused(409, format!("{}/{} keeps changing; try again", resource.kind, resource.name))
    }

    async fn once(
        &self,
        app: &AppKey,
        resource: &ResourceName,
        (action, params): (&str, &BTreeMap<String, String>),
        item: &CommandItem,
        begun: &mut bool,
    ) -> Result<(), Refusal> {
        let (owner, live) = self.find(app, resource).await?;
        let ((_, actions), object) = (self.actions.now(), live.clone());
        let (name, given) = (action.to_owned(), params.clone());
        let changes = off_the_pool(move || actions.run(&object, &name, &given)).await?;
        // What cannot be made is found out before anything is written.
        for change in &changes {
            if let Change::Create(object) = change {
                self.cluster.create(object, false, true).await?;
            }
        }
        let mut live = live;
        for change in changes {
            let (key, outcome) = match change {
                Change::Create(object) => {
                    let made = Manifest(self.cluster.create(&object, false, false).await?);
                    (made.key(), "Created")
                }
                Change::Patch(patch) => {
                    live = self.patch(live, patch, begun).await?;
                    (Manifest(live.clone()).key(), "Patched")
                }
            };
            *begun = true;
            self.record(&owner, &key, (action, params), outcome, item).await?;
        }
        let on = format!("{}/{}/{}", resource.group, resource.kind, resource.name);
        self.events.tell(&owner, Told::action(user_of(item), action, &on));
        Ok(())
    }

    /// The Application and the live object, which must be in its tree.
    async fn find(&self, app: &AppKey, resource: &ResourceName) -> Result<(Application, Value), Refusal> {
        let owner = self.applications.get(app).await?;
        let owner =
            owner.ok_or_else(|| Refusal::new(404, format!("applications.argoproj.io \"{}\" not found", app.name)))?;
        let tree = self.bus.kv(Bucket::Trees).get::<ResourceTree>(&app.token()).await;
        let tree = tree.map_err(|error| Refusal::new(503, error.to_string()))?.unwrap_or_default();
        let missing = || {
            let what = format!("{} {} {}", resource.kind, resource.group, resource.name);
            Refusal::new(404, format!("{what} not found as part of application {}", app.name))
        };
        let known = tree.nodes.iter().any(|node| {
            node.group == resource.group
                && node.kind == resource.kind
                && node.namespace == resource.namespace
                && node.name == resource.name
        });
        if !known {
            return Err(missing());
        }
        let live = if resource.version.is_empty() {
            let key = ResourceKey {
                group: resource.group.clone(),
                kind: resource.kind.clone(),
                namespace: resource.namespace.clone(),
                name: resource.name.clone(),
            };
            self.cluster.get_key(&key).await?
        } else {
            let api_version = match resource.group.as_str() {
                "" => resource.version.clone(),
                group => format!("{group}/{}", resource.version),
            };
            let metadata = json!({"name": resource.name, "namespace": resource.namespace});
            let named = json!({"apiVersion": api_version, "kind": resource.kind, "metadata": metadata});
            self.cluster.get(&Manifest(named)).await?
        };
        let mut live = live.ok_or_else(missing)?;
        // Of no use to actions, and large.
        if let Some(metadata) = live["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Ok((owner, live))
    }

    /// Writes a merge patch on exactly the object that was looked at; what it says of `status` by the status
    /// subresource, if there is one.
    async fn patch(&self, live: Value, mut patch: Value, begun: &mut bool) -> Result<Value, ClusterError> {
        let status = patch.as_object_mut().and_then(|fields| fields.remove("status"));
        let mut live = live;
        if patch.as_object().is_some_and(|fields| !fields.is_empty()) {
            live = self.cluster.merge(&Manifest(live), patch, None).await?;
            *begun = true;
        }
        if let Some(status) = status {
            let (object, patch) = (Manifest(live), json!({"status": status}));
            live = match self.cluster.merge(&object, patch.clone(), Some("status")).await {
                Err(error) if error.is_missing() => self.cluster.merge(&object, patch, None).await?,
                other => other?,
            };
        }
        Ok(live)
    }

    /// Values of parameters and of the object's fields may be secret: only names are recorded.
    async fn record(
        &self,
        app: &Application,
        key: &ResourceKey,
        (action, params): (&str, &BTreeMap<String, String>),
        outcome: &str,
        item: &CommandItem,
    ) -> Result<(), Refusal> {
        let record = AuditRecord {
            project: app.spec.project.clone(),
            verb: "action".to_owned(),
            actor: item.cause.actor.clone(),
            app: Some(app.key()),
            resource: Some(key.to_string()),
            outcome: outcome.to_owned(),
            reason: format!("resource action {action}"),
            detail: json!({"operation": item.opid, "action": action, "params": params.keys().collect::<Vec<_>>()}),
        };
        let recorded = self.bus.audit(record, &item.cause).await;
        recorded.map_err(|error| Refusal::new(503, format!("the change could not be recorded: {error}")))
    }
}

/// Scripts may take a second: they run where nobody else waits.
async fn off_the_pool<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|message| Refusal::new(400, message)),
        Err(_) => Err(Refusal::new(503, "the action ended unexpectedly; see the log of tako")),
    }
}

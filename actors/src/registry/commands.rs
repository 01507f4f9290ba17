//! User commands: each is written into the Application with a compare-and-swap and then answered.
//! A command delivered twice finds its own mark and is not carried out twice; a resource action, which leaves no mark,
//! is acked before it begins.
use std::sync::Arc;

use serde_json::{Value, json};
use tako_bus::{Bus, Command, CommandItem, Delivery, Reply};
use tako_engine::app::{AppKey, Application, Operation, REFRESH, REFRESH_HARD, REFRESH_TIMESTAMP};
use tako_engine::requests::{self, Refusal};
use tako_engine::windows::SyncWindow;

use super::actions::ResourceActions;
use crate::adapters::cluster::{Applications, ClusterError};
use crate::app_events::{AppEvents, Told};
use crate::projects::Projects;

/// Conflicts in a row before a command gives up; each means that somebody else wrote in between.
pub(super) const ATTEMPTS: usize = 10;
const OPID: &str = "takobune.dev/operation-id";

/// What commands are carried out with.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) applications: Applications,
    pub(super) projects: Projects,
    pub(super) events: AppEvents,
    pub(super) actions: Arc<ResourceActions>,
}

/// Takes commands for ever.
pub(super) async fn serve(bus: Bus, hands: Hands) {
    loop {
        let mut inbox = match bus.commands(16).await {
            Ok(inbox) => inbox,
            Err(error) => {
                tracing::warn!(%error, "no command queue yet");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        while let Some(delivery) = inbox.next().await {
            let (bus, hands) = (bus.clone(), hands.clone());
            tokio::spawn(async move {
                if matches!(delivery.body.command, Command::RunAction { .. }) {
                    return at_most_once(&bus, &hands.actions, delivery).await;
                }
                let reply = carry_out(&hands, &delivery.body).await;
                answer_with(&bus, &delivery.body, &reply).await;
                if let Err(error) = delivery.ack().await {
                    tracing::warn!(%error, "command not acked; it may come again and will find itself done");
                }
            });
        }
    }
}

/// To restart twice, or to switch on and off again, is worse than to be told to look.
async fn at_most_once(bus: &Bus, actions: &ResourceActions, delivery: Delivery<CommandItem>) {
    let item = delivery.body.clone();
    if let Err(error) = delivery.ack().await {
        tracing::warn!(%error, "command not acked; it comes again, and nothing was done yet");
        return;
    }
    if let Command::RunAction { app, resource, action, params } = &item.command {
        let reply = actions.run(app, resource, action, params, &item).await;
        answer_with(bus, &item, &reply).await;
    }
}

async fn answer_with(bus: &Bus, item: &CommandItem, reply: &Reply) {
    if let Err(error) = bus.reply(item.opid, reply).await {
        tracing::warn!(%error, "answer not sent");
    }
}

async fn carry_out(hands: &Hands, item: &CommandItem) -> Reply {
    let Hands { applications, projects, events, .. } = hands;
    let key = item.command.app();
    for _ in 0..ATTEMPTS {
        let app = match applications.get(key).await {
            Ok(Some(app)) => app,
            Ok(None) => return refused(404, format!("applications.argoproj.io \"{}\" not found", key.name)),
            Err(error) => return refused(503, format!("the API server does not answer: {error}")),
        };
        let windows = match item.command {
            Command::Sync { .. } => projects.windows_of(&app).await,
            _ => Some(Vec::new()),
        };
        let Some(windows) = windows else {
            return refused(503, "the projects are not read yet; try again".to_owned());
        };
        let patch = match patch_for(&app, item, &windows, jiff::Timestamp::now()) {
            Ok(Some(patch)) => patch,
            Ok(None) => return answer(&app),
            Err(reply) => return *reply,
        };
        match write(applications, key, &app, patch).await {
            Ok(app) => {
                if let Some(told) = told(&app, item) {
                    events.tell(&app, told);
                }
                return answer(&app);
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return refused(503, format!("the API server refused: {error}")),
        }
    }
    refused(409, format!("{key} keeps changing; try again"))
}

async fn write(
    applications: &Applications,
    key: &AppKey,
    app: &Application,
    mut patch: Value,
) -> Result<Application, ClusterError> {
    patch["metadata"]["resourceVersion"] = json!(app.metadata.resource_version);
    applications.patch(key, &patch).await
}

/// The patch of a command; `None` when it is done already.
fn patch_for(
    app: &Application,
    item: &CommandItem,
    windows: &[SyncWindow],
    now: jiff::Timestamp,
) -> Result<Option<Value>, Box<Reply>> {
    let done = app.metadata.annotations.get(OPID) == Some(&item.opid.to_string());
    match &item.command {
        Command::Sync { .. } | Command::Rollback { .. } if done => Ok(None),
        Command::Sync { request, username, .. } => {
            let operation = requests::check_sync(app, request, username, windows, now).map_err(refusal)?;
            Ok(Some(begin(app, item, &operation)))
        }
        Command::Rollback { request, username, .. } => {
            let operation = requests::check_rollback(app, *request, username).map_err(refusal)?;
            Ok(Some(begin(app, item, &operation)))
        }
        Command::Refresh { hard, .. } => {
            let kind = if *hard { REFRESH_HARD } else { "normal" };
            Ok(Some(json!({"metadata": {"annotations": {REFRESH: kind, REFRESH_TIMESTAMP: now.to_string()}}})))
        }
        Command::Terminate { .. } => {
            requests::check_terminate(app).map_err(refusal)?;
            Ok(Some(json!({"status": {"operationState": {"phase": "Terminating"}}})))
        }
        // Changes another object, not the Application.
        Command::RunAction { .. } => Ok(None),
    }
}

/// What users are told of a command that was written.
fn told(app: &Application, item: &CommandItem) -> Option<Told> {
    match &item.command {
        Command::Sync { request, username, .. } => {
            let source = app.source().and_then(|source| source.target_revision.clone());
            let asked = request.revision.clone().filter(|revision| !revision.is_empty()).or(source);
            let several = request.revisions.clone().filter(|revisions| !revisions.is_empty());
            let revision = several.map(|all| all.join(",")).or(asked).unwrap_or_else(|| "HEAD".to_owned());
            Some(Told::sync(username, app.operation.as_ref()?, &revision))
        }
        Command::Rollback { request, username, .. } => Some(Told::rollback(username, request.id)),
        Command::Terminate { .. } => Some(Told::terminated(user_of(item))),
        Command::Refresh { .. } | Command::RunAction { .. } => None,
    }
}

/// Who gave the command.
pub(super) fn user_of(item: &CommandItem) -> &str {
    item.cause.actor.strip_prefix("user:").unwrap_or(&item.cause.actor)
}

/// The operation, in the place of the record of the one before (as Argo CD's `SetAppOperation`).
fn begin(app: &Application, item: &CommandItem, operation: &Operation) -> Value {
    let mut patch = json!({"metadata": {"annotations": {OPID: item.opid}}, "operation": operation});
    if app.operation_state().is_some() {
        patch["status"] = json!({"operationState": null});
    }
    patch
}

fn refusal(refusal: Refusal) -> Box<Reply> {
    Box::new(refused(refusal.code.http(), refusal.message))
}

fn answer(app: &Application) -> Reply {
    Reply { ok: true, code: 200, message: String::new(), body: serde_json::to_value(app).unwrap_or_default() }
}

pub(super) fn refused(code: u16, message: String) -> Reply {
    Reply { ok: false, code, message, body: Value::Null }
}

#[cfg(test)]
mod tests {
    use tako_bus::Cause;
    use tako_engine::requests::{RollbackRequest, SyncRequest};

    use super::*;

    fn app(operation: Value) -> Application {
        let object = json!({
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"project": "p", "destination": {}, "source": {"repoURL": "https://x/y", "path": "."}},
            "operation": operation,
            "status": {
                "operationState": {"operation": {}, "phase": "Failed"},
                "history": [{"id": 1, "revision": "c1", "source": {"repoURL": "https://x/y", "path": "."}}],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn item(command: impl Fn(AppKey) -> Command) -> CommandItem {
        let key = AppKey { namespace: "n".into(), name: "a".into() };
        CommandItem { opid: uuid::Uuid::now_v7(), command: command(key), cause: Cause::root("user:admin") }
    }

    #[test]
    fn a_command_is_written_into_the_application_once() {
        let sync = item(|app| Command::Sync {
            app,
            request: Box::new(SyncRequest { prune: Some(true), ..SyncRequest::default() }),
            username: "admin".into(),
        });
        let now = jiff::Timestamp::UNIX_EPOCH;
        let patch = patch_for(&app(Value::Null), &sync, &[], now).unwrap().unwrap();
        assert_eq!(patch["operation"]["sync"]["prune"], true);
        assert_eq!(patch["operation"]["initiatedBy"]["username"], "admin");
        assert_eq!(patch["status"], json!({"operationState": null}));
        let mut again = app(json!({"sync": {}}));
        let refused = patch_for(&again, &sync, &[], now).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (412, "another operation is already in progress"));
        again.metadata.annotations.insert(OPID.into(), sync.opid.to_string());
        assert_eq!(patch_for(&again, &sync, &[], now), Ok(None));
        let rollback = |id| {
            item(move |app| Command::Rollback {
                app,
                request: RollbackRequest { id, ..RollbackRequest::default() },
                username: "admin".into(),
            })
        };
        let patch = patch_for(&app(Value::Null), &rollback(1), &[], now).unwrap().unwrap();
        assert_eq!(patch["operation"]["sync"]["revision"], "c1");
        assert_eq!(patch_for(&app(Value::Null), &rollback(2), &[], now).unwrap_err().code, 400);
        let refresh =
            patch_for(&app(Value::Null), &item(|app| Command::Refresh { app, hard: true }), &[], now).unwrap();
        let annotations = json!({REFRESH: "hard", REFRESH_TIMESTAMP: "1970-01-01T00:00:00Z"});
        assert_eq!(refresh.unwrap()["metadata"]["annotations"], annotations);
        let terminate = item(|app| Command::Terminate { app });
        assert_eq!(patch_for(&app(json!({"sync": {}})), &terminate, &[], now).unwrap_err().code, 400);
    }
}

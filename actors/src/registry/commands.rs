//! User commands: each is written into the Application with a compare-and-swap and then answered.
//! A command delivered twice finds its own mark and is not carried out twice; a resource action, which leaves no mark,
//! is acked before it begins.
use std::sync::Arc;

use serde_json::{Value, json};
use tako_bus::{Bus, Command, CommandItem, Delivery, Reply};
use tako_engine::app::{AppKey, Application, Phase};

use super::actions::ResourceActions;
use crate::adapters::cluster::{Applications, ClusterError};

/// Conflicts in a row before a command gives up; each means that somebody else wrote in between.
pub(super) const ATTEMPTS: usize = 10;
const OPID: &str = "takobune.dev/operation-id";

/// Takes commands for ever.
pub(super) async fn serve(bus: Bus, applications: Applications, actions: Arc<ResourceActions>) {
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
            let (bus, applications, actions) = (bus.clone(), applications.clone(), actions.clone());
            tokio::spawn(async move {
                if matches!(delivery.body.command, Command::RunAction { .. }) {
                    return at_most_once(&bus, &actions, delivery).await;
                }
                let reply = carry_out(&applications, &delivery.body).await;
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

async fn carry_out(applications: &Applications, item: &CommandItem) -> Reply {
    let key = item.command.app();
    for _ in 0..ATTEMPTS {
        let app = match applications.get(key).await {
            Ok(Some(app)) => app,
            Ok(None) => return refused(404, format!("applications.argoproj.io \"{}\" not found", key.name)),
            Err(error) => return refused(503, format!("the API server does not answer: {error}")),
        };
        let patch = match patch_for(&app, item) {
            Ok(Some(patch)) => patch,
            Ok(None) => return answer(&app),
            Err(reply) => return *reply,
        };
        match write(applications, key, &app, patch).await {
            Ok(app) => return answer(&app),
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
fn patch_for(app: &Application, item: &CommandItem) -> Result<Option<Value>, Box<Reply>> {
    let running = app
        .status
        .as_ref()
        .and_then(|status| status.operation_state.as_ref())
        .filter(|state| matches!(state.phase, Phase::Running | Phase::Terminating));
    match &item.command {
        Command::Sync { operation, .. } => {
            if app.metadata.annotations.get(OPID) == Some(&item.opid.to_string()) {
                return Ok(None);
            }
            if app.operation.is_some() {
                return Err(Box::new(refused(400, "another operation is already in progress".to_owned())));
            }
            if app.metadata.deletion_timestamp.is_some() {
                return Err(Box::new(refused(400, "application is deleting".to_owned())));
            }
            Ok(Some(json!({"metadata": {"annotations": {OPID: item.opid}}, "operation": operation})))
        }
        Command::Refresh { hard, .. } => {
            let kind = if *hard { "hard" } else { "normal" };
            Ok(Some(json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}})))
        }
        Command::Terminate { .. } => match running {
            Some(_) if app.operation.is_some() => {
                Ok(Some(json!({"status": {"operationState": {"phase": "Terminating"}}})))
            }
            _ => Err(Box::new(refused(400, "Unable to terminate operation. No operation is in progress".to_owned()))),
        },
        // Changes another object, not the Application.
        Command::RunAction { .. } => Ok(None),
    }
}

fn answer(app: &Application) -> Reply {
    Reply { ok: true, code: 200, message: String::new(), body: serde_json::to_value(app).unwrap_or_default() }
}

pub(super) fn refused(code: u16, message: String) -> Reply {
    Reply { ok: false, code, message, body: Value::Null }
}

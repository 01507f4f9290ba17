//! `/api/v1/applications`: reads from the read model; sync, rollback and refresh by command, audited first.
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tako_bus::{AuditRecord, Cause, Command, Document, Reply};
use tako_engine::app::{AppKey, Application};
use tako_engine::requests::{self, RollbackRequest, SyncRequest};

use crate::auth::Account;
use crate::{State, WebError, healths, projects};

const COMMAND_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/api/v1/applications", web::get().to(list))
        .route("/api/v1/applications/{name}", web::get().to(get))
        .route("/api/v1/applications/{name}/resource-tree", web::get().to(tree))
        .route("/api/v1/applications/{name}/sync", web::post().to(sync))
        .route("/api/v1/applications/{name}/rollback", web::post().to(rollback))
        .route("/api/v1/applications/{name}/syncwindows", web::get().to(sync_windows))
        .route("/api/v1/applications/{name}/operation", web::delete().to(terminate));
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Query {
    app_namespace: String,
    refresh: String,
    project: String,
}

pub(super) fn key(state: &State, name: &str, namespace: &str) -> AppKey {
    let namespace = if namespace.is_empty() { &state.control_namespace } else { namespace };
    AppKey { namespace: namespace.to_owned(), name: name.to_owned() }
}

pub(super) fn find(state: &State, key: &AppKey) -> Result<std::sync::Arc<Application>, WebError> {
    state
        .model
        .app(&key.to_string())
        .ok_or_else(|| WebError::NotFound(format!("applications.argoproj.io \"{}\" not found", key.name)))
}

fn shown(state: &State, app: &Application) -> Application {
    healths::shown(app, state.model.tree(&app.key().to_string()).as_deref())
}

async fn list(state: web::Data<State>, query: web::Query<Query>, _: Account) -> HttpResponse {
    let apps = state.model.apps();
    let wanted = apps
        .iter()
        .filter(|app| query.project.is_empty() || app.spec.project == query.project)
        .filter(|app| query.app_namespace.is_empty() || app.metadata.namespace == query.app_namespace);
    let items: Vec<Application> = wanted.map(|app| shown(&state, app)).collect();
    HttpResponse::Ok().json(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "metadata": {"resourceVersion": ""}, "items": items}))
}

async fn get(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let key = key(&state, &path, &query.app_namespace);
    let app = find(&state, &key)?;
    if query.refresh.is_empty() {
        return Ok(HttpResponse::Ok().json(shown(&state, &app)));
    }
    if !matches!(query.refresh.as_str(), "normal" | "hard" | "true") {
        return Err(WebError::Invalid(format!("refresh={}: choose normal or hard", query.refresh)));
    }
    let command = Command::Refresh { app: key, hard: query.refresh == "hard" };
    let mut reply = run(&state, &app, &account, "refresh", json!({"kind": query.refresh}), command).await?;
    if let Ok(refreshed) = serde_json::from_value::<Application>(reply.body.clone()) {
        reply.body = json!(shown(&state, &refreshed));
    }
    answer(reply)
}

async fn tree(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    _: Account,
) -> Result<HttpResponse, WebError> {
    let key = key(&state, &path, &query.app_namespace);
    find(&state, &key)?;
    let tree = state.model.tree(&key.to_string()).unwrap_or_default();
    Ok(HttpResponse::Ok().json(tree.as_ref()))
}

/// A request's body, and the part of it that says which Application is meant.
fn body<T: DeserializeOwned + Default>(body: &web::Bytes, query: &Query) -> Result<(T, String), WebError> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Whose {
        app_namespace: Option<String>,
    }
    let invalid = |error: serde_json::Error| WebError::Invalid(error.to_string());
    if body.is_empty() {
        return Ok((T::default(), query.app_namespace.clone()));
    }
    let whose: Whose = serde_json::from_slice(body).map_err(invalid)?;
    let namespace = whose.app_namespace.filter(|namespace| !namespace.is_empty());
    Ok((serde_json::from_slice(body).map_err(invalid)?, namespace.unwrap_or_else(|| query.app_namespace.clone())))
}

async fn sync(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    bytes: web::Bytes,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let (request, namespace): (SyncRequest, String) = body(&bytes, &query)?;
    let key = key(&state, &path, &namespace);
    let app = find(&state, &key)?;
    let mut detail = serde_json::to_value(&request).unwrap_or_default();
    if let Some(manifests) = &request.manifests {
        // There may be Secrets among them: the record only tells that there were some.
        detail["manifests"] = json!(manifests.len());
    }
    let command = Command::Sync { app: key, request: Box::new(request), username: account.name.clone() };
    answer(run(&state, &app, &account, "sync", detail, command).await?)
}

async fn rollback(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    bytes: web::Bytes,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let (request, namespace): (RollbackRequest, String) = body(&bytes, &query)?;
    let key = key(&state, &path, &namespace);
    let app = find(&state, &key)?;
    let detail = serde_json::to_value(request).unwrap_or_default();
    let command = Command::Rollback { app: key, request, username: account.name.clone() };
    answer(run(&state, &app, &account, "rollback", detail, command).await?)
}

async fn sync_windows(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    _: Account,
) -> Result<HttpResponse, WebError> {
    let key = key(&state, &path, &query.app_namespace);
    let app = find(&state, &key)?;
    let (bus, namespace) = (state.bus.clone(), state.control_namespace.clone());
    let project = app.spec.project.clone();
    let windows = state.on_pool(async move { projects::sync_windows(&bus, &namespace, &project).await }).await??;
    let answer = requests::sync_windows(&app, &windows, jiff::Timestamp::now()).map_err(WebError::Invalid)?;
    Ok(HttpResponse::Ok().json(answer))
}

async fn terminate(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let key = key(&state, &path, &query.app_namespace);
    let app = find(&state, &key)?;
    let reply = run(&state, &app, &account, "terminate", Value::Null, Command::Terminate { app: key }).await?;
    if reply.ok { Ok(HttpResponse::Ok().json(json!({}))) } else { answer(reply) }
}

/// Audits first: a command that cannot be recorded is not carried out.
pub(super) async fn run(
    state: &State,
    app: &Application,
    account: &Account,
    verb: &str,
    detail: Value,
    command: Command,
) -> Result<Reply, WebError> {
    let bus = state.bus.clone();
    let actor = format!("user:{}", account.name);
    let record = AuditRecord {
        project: app.spec.project.clone(),
        verb: verb.to_owned(),
        actor: actor.clone(),
        app: Some(app.key()),
        outcome: "Requested".to_owned(),
        detail,
        ..AuditRecord::default()
    };
    state
        .on_pool(async move {
            let cause = Cause::root(&actor);
            bus.audit(record, &cause).await?;
            Ok(bus.command(command, &cause, COMMAND_WITHIN).await?)
        })
        .await?
}

/// Asks the actors for a document, and answers with it.
pub(super) async fn document<Q: Serialize + Send + Sync + 'static>(
    state: &State,
    tail: &'static str,
    ask: Q,
    within: Duration,
) -> Result<HttpResponse, WebError> {
    let bus = state.bus.clone();
    let Document { code, body } = state.on_pool(async move { bus.ask(tail, &ask, within).await }).await??;
    if code == 200 {
        return Ok(HttpResponse::Ok().content_type("application/json").body(body));
    }
    let message = String::from_utf8_lossy(&body).into_owned();
    answer(Reply { ok: false, code, message, body: Value::Null })
}

pub(super) fn answer(reply: Reply) -> Result<HttpResponse, WebError> {
    match (reply.ok, reply.code) {
        (true, _) => Ok(HttpResponse::Ok().json(reply.body)),
        (false, 404) => Err(WebError::NotFound(reply.message)),
        (false, 403) => Err(WebError::Forbidden(reply.message)),
        (false, 412) => Err(WebError::Precondition(reply.message)),
        (false, 400..=499) => Err(WebError::Invalid(reply.message)),
        (false, _) => Err(WebError::Unavailable(reply.message)),
    }
}

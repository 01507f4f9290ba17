//! `/api/v1/applications`: reads from the read model; sync and refresh by command, audited first.
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use tako_bus::{AuditRecord, Cause, Command, Reply};
use tako_engine::app::{AppKey, Application};

use crate::auth::Account;
use crate::{State, WebError};

const COMMAND_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/api/v1/applications", web::get().to(list))
        .route("/api/v1/applications/{name}", web::get().to(get))
        .route("/api/v1/applications/{name}/resource-tree", web::get().to(tree))
        .route("/api/v1/applications/{name}/sync", web::post().to(sync))
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

async fn list(state: web::Data<State>, query: web::Query<Query>, _: Account) -> HttpResponse {
    let apps = state.model.apps();
    let wanted = apps
        .iter()
        .filter(|app| query.project.is_empty() || app.spec.project == query.project)
        .filter(|app| query.app_namespace.is_empty() || app.metadata.namespace == query.app_namespace);
    let items: Vec<&Application> = wanted.map(AsRef::as_ref).collect();
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
        return Ok(HttpResponse::Ok().json(app.as_ref()));
    }
    if !matches!(query.refresh.as_str(), "normal" | "hard" | "true") {
        return Err(WebError::Invalid(format!("refresh={}: choose normal or hard", query.refresh)));
    }
    let command = Command::Refresh { app: key, hard: query.refresh == "hard" };
    answer(run(&state, &app, &account, "refresh", json!({"kind": query.refresh}), command).await?)
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

/// The body of Argo CD's sync request, as far as it is acted upon.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SyncRequest {
    revision: String,
    dry_run: bool,
    prune: bool,
    app_namespace: String,
    resources: Vec<Value>,
    sync_options: Option<SyncOptions>,
    strategy: Value,
    infos: Vec<Value>,
    retry_strategy: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SyncOptions {
    items: Vec<String>,
}

async fn sync(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    body: web::Bytes,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let request: SyncRequest = match body.is_empty() {
        true => SyncRequest::default(),
        false => serde_json::from_slice(&body).map_err(|error| WebError::Invalid(error.to_string()))?,
    };
    let namespace = if request.app_namespace.is_empty() { &query.app_namespace } else { &request.app_namespace };
    let key = key(&state, &path, namespace);
    let app = find(&state, &key)?;
    let operation = operation(&request, &account.name, &app);
    let command = Command::Sync { app: key, operation: operation.clone() };
    answer(run(&state, &app, &account, "sync", operation, command).await?)
}

fn operation(request: &SyncRequest, username: &str, app: &Application) -> Value {
    let mut sync = json!({});
    let own = app.spec.sync_policy.as_ref().map(|policy| policy.sync_options.clone()).unwrap_or_default();
    let options = request.sync_options.as_ref().map_or(own, |options| options.items.clone());
    let fields = [
        ("revision", json!(request.revision), !request.revision.is_empty()),
        ("prune", json!(true), request.prune),
        ("dryRun", json!(true), request.dry_run),
        ("resources", json!(request.resources), !request.resources.is_empty()),
        ("syncOptions", json!(options), !options.is_empty()),
        ("syncStrategy", request.strategy.clone(), !request.strategy.is_null()),
    ];
    for (name, value, given) in fields {
        if given {
            sync[name] = value;
        }
    }
    let mut operation = json!({"sync": sync, "initiatedBy": {"username": username}});
    if !request.infos.is_empty() {
        operation["info"] = json!(request.infos);
    }
    if !request.retry_strategy.is_null() {
        operation["retry"] = request.retry_strategy.clone();
    }
    operation
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

pub(super) fn answer(reply: Reply) -> Result<HttpResponse, WebError> {
    match (reply.ok, reply.code) {
        (true, _) => Ok(HttpResponse::Ok().json(reply.body)),
        (false, 404) => Err(WebError::NotFound(reply.message)),
        (false, 400..=499) => Err(WebError::Invalid(reply.message)),
        (false, _) => Err(WebError::Unavailable(reply.message)),
    }
}

//! `/api/v1/applications/{name}/resource/actions`: what may be done to a live object, and doing it.
use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use tako_bus::rpc::{ActionsList, ActionsListed};
use tako_bus::{Command, Reply, ResourceName};

use super::applications::{answer, find, key, run};
use crate::auth::Account;
use crate::{State, WebError};

const LIST_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/api/v1/applications/{name}/resource/actions")
                .route(web::get().to(list))
                .route(web::post().to(run_v1)),
        )
        .route("/api/v1/applications/{name}/resource/actions/v2", web::post().to(run_v2));
}

/// What names the object: query parameters of v1, fields of the body of v2.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Resource {
    namespace: String,
    resource_name: String,
    version: String,
    group: String,
    kind: String,
    app_namespace: String,
}

impl Resource {
    fn name(&self) -> Result<ResourceName, WebError> {
        for (field, value) in [("resourceName", &self.resource_name), ("kind", &self.kind)] {
            if value.is_empty() {
                return Err(WebError::Invalid(format!("{field}: missing")));
            }
        }
        Ok(ResourceName {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.resource_name.clone(),
        })
    }
}

async fn list(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Resource>,
    _: Account,
) -> Result<HttpResponse, WebError> {
    let app = key(&state, &path, &query.app_namespace);
    find(&state, &app)?;
    let ask = ActionsList { app, resource: query.name()? };
    let bus = state.bus.clone();
    let listed: ActionsListed =
        state.on_pool(async move { bus.request("actions.list", &ask, LIST_WITHIN).await }).await??;
    if listed.code == 200 {
        return Ok(HttpResponse::Ok().json(json!({"actions": listed.actions})));
    }
    answer(Reply { ok: false, code: listed.code, message: listed.message, body: serde_json::Value::Null })
}

/// The body is the action's name as a JSON string.
async fn run_v1(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Resource>,
    body: web::Json<String>,
    account: Account,
) -> Result<HttpResponse, WebError> {
    run_action(&state, &path, &query, body.into_inner(), BTreeMap::new(), &account).await
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RunV2 {
    #[serde(flatten)]
    resource: Resource,
    action: String,
    resource_action_parameters: Vec<Parameter>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parameter {
    name: String,
    value: String,
}

async fn run_v2(
    state: web::Data<State>,
    path: web::Path<String>,
    body: web::Json<RunV2>,
    account: Account,
) -> Result<HttpResponse, WebError> {
    let RunV2 { resource, action, resource_action_parameters } = body.into_inner();
    let params = resource_action_parameters.into_iter().map(|given| (given.name, given.value)).collect();
    run_action(&state, &path, &resource, action, params, &account).await
}

async fn run_action(
    state: &State,
    name: &str,
    resource: &Resource,
    action: String,
    params: BTreeMap<String, String>,
    account: &Account,
) -> Result<HttpResponse, WebError> {
    if action.is_empty() {
        return Err(WebError::Invalid("action: missing".to_owned()));
    }
    let key = key(state, name, &resource.app_namespace);
    let app = find(state, &key)?;
    let resource = resource.name()?;
    let detail = json!({"action": action, "resource": resource, "params": params.keys().collect::<Vec<_>>()});
    let command = Command::RunAction { app: key, resource, action, params };
    answer(run(state, &app, account, "action", detail, command).await?)
}

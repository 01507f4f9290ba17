//! `/api/v1/applications/{name}/managed-resources`: target, live and predicted state of each object, Secrets masked.
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use tako_bus::ResourceName;
use tako_bus::rpc::ManagedAsk;

use super::applications::{document, find, key};
use crate::auth::Account;
use crate::{State, WebError};

/// Every object is read and compared for it.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.route("/api/v1/applications/{name}/managed-resources", web::get().to(managed));
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Query {
    app_namespace: String,
    namespace: String,
    name: String,
    version: String,
    group: String,
    kind: String,
}

async fn managed(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    _: Account,
) -> Result<HttpResponse, WebError> {
    let Query { app_namespace, namespace, name, version, group, kind } = query.into_inner();
    let app = key(&state, &path, &app_namespace);
    find(&state, &app)?;
    let only = ResourceName { group, version, kind, namespace, name };
    document(&state, "resources.managed", ManagedAsk { app, only }, WITHIN).await
}

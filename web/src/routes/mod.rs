//! The routes, one file a family.
mod actions;
mod applications;
mod live;
mod session;
mod ui;
mod webhook;

use actix_web::{HttpResponse, web};
use serde_json::json;

pub(crate) use webhook::Webhooks;

use crate::{State, WebError};

/// Bytes of an API request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let json = web::JsonConfig::default()
        .limit(BODY_BYTES_MAX)
        .content_type_required(false)
        .error_handler(|error, _| WebError::Invalid(error.to_string()).into());
    config
        .app_data(json)
        .route("/healthz", web::get().to(|| async { "ok" }))
        .route("/readyz", web::get().to(ready))
        .route("/api/version", web::get().to(version))
        .configure(session::configure)
        .configure(applications::configure)
        .configure(actions::configure)
        .configure(webhook::configure)
        .route("/api/v1/live", web::get().to(live::open))
        .service(
            web::scope("/api").default_service(web::to(|| async {
                Err::<HttpResponse, _>(WebError::NotFound("Not Found".to_owned()))
            })),
        )
        .default_service(web::get().to(ui::page));
}

async fn ready(state: web::Data<State>) -> HttpResponse {
    if state.model.ready() {
        HttpResponse::Ok().body("ok")
    } else {
        HttpResponse::ServiceUnavailable().body("the read model is not filled yet")
    }
}

/// The version in the field that `argocd version` reads; without a `v` before it is not taken for Argo CD's.
async fn version() -> HttpResponse {
    HttpResponse::Ok().json(json!({"Version": format!("v{}+takobune", env!("CARGO_PKG_VERSION"))}))
}

//! Sign-in and sign-out of local accounts.
use std::time::Duration;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use tako_bus::rpc::{SessionCreate, SessionCreated};
use tako_bus::{AuditRecord, Cause};

use crate::auth::{Account, COOKIE};
use crate::{State, WebError};

const SIGN_IN_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/api/v1/session").route(web::post().to(create)).route(web::delete().to(delete)))
        .route("/api/v1/session/userinfo", web::get().to(userinfo));
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

async fn create(state: web::Data<State>, credentials: web::Json<Credentials>) -> Result<HttpResponse, WebError> {
    let Credentials { username, password } = credentials.into_inner();
    if username.is_empty() || password.is_empty() {
        return Err(WebError::Invalid("no credentials supplied".to_owned()));
    }
    let bus = state.bus.clone();
    let created = state
        .on_pool(async move {
            let ask = SessionCreate { username: username.clone(), password };
            let created: SessionCreated = bus.request("session.create", &ask, SIGN_IN_WITHIN).await?;
            let actor = format!("user:{}", username.chars().take(64).collect::<String>());
            let record = AuditRecord {
                verb: "login".to_owned(),
                outcome: if created.ok { "Allowed" } else { "Denied" }.to_owned(),
                actor: actor.clone(),
                ..AuditRecord::default()
            };
            bus.audit(record, &Cause::root(&actor)).await?;
            Ok::<_, WebError>(created)
        })
        .await??;
    match created.token {
        Some(token) if created.ok => {
            let cookie =
                Cookie::build(COOKIE, token.clone()).http_only(true).same_site(SameSite::Lax).path("/").finish();
            Ok(HttpResponse::Ok().cookie(cookie).json(json!({"token": token})))
        }
        _ => Err(WebError::WrongPassword(created.message)),
    }
}

async fn delete() -> HttpResponse {
    let mut cookie = Cookie::build(COOKIE, "").http_only(true).path("/").finish();
    cookie.make_removal();
    HttpResponse::Ok().cookie(cookie).json(json!({}))
}

async fn userinfo(account: Option<Account>) -> HttpResponse {
    match account {
        Some(account) => {
            HttpResponse::Ok().json(json!({"loggedIn": true, "username": account.name, "iss": "argocd", "groups": []}))
        }
        None => HttpResponse::Ok().json(json!({})),
    }
}

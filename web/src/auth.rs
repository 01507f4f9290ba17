//! Who is asking: the token of a header or cookie, judged by the authz actor, remembered for seconds.
//! A request that changes something and is signed in by cookie must come from our own page (CSRF).
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{Method, header};
use actix_web::{FromRequest, HttpRequest, web};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};
use tako_bus::Bus;
use tako_bus::rpc::{SessionVerified, SessionVerify};

use crate::{State, WebError};

/// The cookie of Argo CD's sessions.
pub(crate) const COOKIE: &str = "argocd.token";
const REMEMBERED: Duration = Duration::from_secs(5);
const VERIFY_WITHIN: Duration = Duration::from_secs(3);
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Judged tokens, by hash.
pub(crate) struct Sessions {
    bus: Bus,
    known: Cache<[u8; 32], SessionVerified>,
}

impl Sessions {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, known: Cache::builder().max_capacity(10_000).time_to_live(REMEMBERED).build() }
    }
}

/// A signed-in account. As an argument of a handler it is the guard of the route.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
}

impl FromRequest for Account {
    type Error = WebError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, WebError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { judge(&request).await })
    }
}

async fn judge(request: &HttpRequest) -> Result<Account, WebError> {
    let state = request.app_data::<web::Data<State>>().ok_or(WebError::Unauthenticated)?.clone();
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let token = match bearer {
        Some(token) => token.to_owned(),
        None => {
            let cookie = request.cookie(COOKIE).ok_or(WebError::Unauthenticated)?;
            if !same_origin(request) {
                return Err(WebError::Forbidden("the request does not come from this page".to_owned()));
            }
            cookie.value().to_owned()
        }
    };
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(WebError::Unauthenticated);
    }
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let verified = match state.sessions.known.get(&hash) {
        Some(verified) => verified,
        None => {
            let bus = state.sessions.bus.clone();
            let verified: SessionVerified = state
                .on_pool(async move { bus.request("session.verify", &SessionVerify { token }, VERIFY_WITHIN).await })
                .await??;
            state.sessions.known.insert(hash, verified.clone());
            verified
        }
    };
    if verified.ok { Ok(Account { name: verified.username }) } else { Err(WebError::Unauthenticated) }
}

/// Safe methods pass, but for websockets, which browsers open across origins; others need an Origin that is ours.
pub(crate) fn same_origin(request: &HttpRequest) -> bool {
    let upgrade = request.headers().contains_key(header::UPGRADE);
    if matches!(*request.method(), Method::GET | Method::HEAD) && !upgrade {
        return true;
    }
    let Some(origin) = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) else {
        return false;
    };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    origin.split_once("://").is_some_and(|(_, authority)| !host.is_empty() && authority == host)
}

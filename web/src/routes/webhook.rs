//! `POST /api/webhook`: a push becomes a poll of every repository in which somebody follows what moved. What a delivery
//! means is `engine::webhook`'s affair, whether it is genuine the authz actor's; answers are Argo CD's, but for 413.
//!
//! A poll fetches and compares trees, so which Applications a push concerns is known exactly without the list of changed
//! files: neither Bitbucket's diffstat nor that of Bitbucket Server is asked for.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tako_bus::rpc::WebhookVerified;
use tako_bus::{Bucket, Cause, Work, WorkNote};
use tako_engine::webhook::{self, Delivery, Provider, Push, Told};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{State, WebError};

const VERIFY_WITHIN: Duration = Duration::from_secs(5);
/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of all bodies in hand. Anybody may send one, so together they must not fill the memory.
const BYTES_AT_ONCE: usize = 128 * 1024 * 1024;
/// Deliveries remembered, and for how long: providers try again within minutes.
const DELIVERIES: u64 = 10_000;
const REMEMBERED: Duration = Duration::from_secs(600);
/// Of what was pushed, as much as is passed on as the reason of a poll.
const REASON_CHARS: usize = 200;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource("/api/webhook").route(web::post().to(receive)));
}

/// A delivery as it is remembered. The hash of the body is a part: GitLab gives one id to all that a delivery brings about.
type Seen = (Provider, String, [u8; 32]);

/// What deliveries share.
pub(crate) struct Webhooks {
    seen: Cache<Seen, ()>,
    room: Arc<Semaphore>,
}

impl Default for Webhooks {
    fn default() -> Self {
        let seen = Cache::builder().max_capacity(DELIVERIES).time_to_live(REMEMBERED).build();
        Self { seen, room: Arc::new(Semaphore::new(BYTES_AT_ONCE)) }
    }
}

/// A body, and the room that it takes.
struct Body {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

async fn receive(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, WebError> {
    let unknown = || WebError::Invalid("Unknown webhook event".to_owned());
    let delivery = recognise(&request).ok_or_else(unknown)?;
    let limit = limit(&state).await?;
    let body = take(&state.webhooks.room, &request, payload, limit).await?;
    let provider = delivery.provider;
    match verify(&state, &delivery, body.bytes.clone()).await? {
        WebhookVerified::Good => {}
        WebhookVerified::Refused(why) if provider.refuses_as_unauthorized() => return Err(WebError::Unverified(why)),
        WebhookVerified::Refused(why) => return Err(WebError::Invalid(why)),
        _ => return Err(unknown()),
    }
    let (event, bytes) = (delivery.event.clone(), body.bytes.clone());
    let read = move || (Sha256::digest(&bytes).into(), webhook::read(provider, &event, &bytes));
    let (digest, told) = web::block(read).await.map_err(|error| WebError::Unavailable(error.to_string()))?;
    let Told { id, pushes } = told.map_err(|problem| WebError::Invalid(problem.to_string()))?;
    if !state.model.ready() {
        return Err(WebError::Unavailable("Applications are still being read; send it again".to_owned()));
    }
    // Only what is genuine is remembered: nobody can take a delivery's id before it comes.
    let seen = delivery.id.or(id).map(|id| (provider, id, digest));
    if let Some(seen) = &seen
        && !state.webhooks.seen.entry(seen.clone()).or_insert(()).is_fresh()
    {
        return Ok(HttpResponse::Ok().json(json!({"duplicate": true})));
    }
    let woken = wake(&state, provider, &pushes).await;
    if let (Err(_), Some(seen)) = (&woken, &seen) {
        state.webhooks.seen.invalidate(seen);
    }
    Ok(HttpResponse::Ok().json(json!({"repositories": woken?})))
}

fn recognise(request: &HttpRequest) -> Option<Delivery> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let query = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    webhook::recognise(header, query)
}

/// The part of the settings' record that is read here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    data: BTreeMap<String, String>,
}

/// Bytes that a body may have.
async fn limit(state: &State) -> Result<usize, WebError> {
    let bus = state.bus.clone();
    let read = async move { bus.kv(Bucket::Settings).get::<Settings>("argocd-cm").await };
    let settings = state.on_pool(read).await??.unwrap_or_default();
    Ok(usize::try_from(webhook::payload_limit(&settings.data)).unwrap_or(usize::MAX).min(BYTES_AT_ONCE))
}

/// Reads no more than the limit, and no more than there is room for.
async fn take(
    room: &Arc<Semaphore>,
    request: &HttpRequest,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Body, WebError> {
    let mib = limit / (1024 * 1024);
    let too_large =
        || WebError::TooLarge(format!("the payload is over {mib} MB; raise {} of argocd-cm", webhook::PAYLOAD_LIMIT));
    let full = |_| WebError::Unavailable("too many webhooks at once; send it again".to_owned());
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut taken: Option<OwnedSemaphorePermit> = None;
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| WebError::Invalid(format!("the payload ended early: {error}")))?;
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let more = room.clone().try_acquire_many_owned(more).map_err(full)?;
            match &mut taken {
                Some(taken) => taken.merge(more),
                None => taken = Some(more),
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Body { bytes: body.freeze(), _room: taken })
    };
    let late = |_| WebError::Invalid(format!("the payload did not come within {} s", BODY_WITHIN.as_secs()));
    tokio::time::timeout(BODY_WITHIN, read).await.map_err(late)?
}

async fn verify(state: &State, delivery: &Delivery, body: Bytes) -> Result<WebhookVerified, WebError> {
    let (bus, provider, proof) = (state.bus.clone(), delivery.provider, delivery.proof.clone());
    let ask = async move { bus.verify_webhook(provider, proof, &body, VERIFY_WITHIN).await };
    Ok(state.on_pool(ask).await??)
}

/// Answers how many repositories are looked at.
async fn wake(state: &State, provider: Provider, pushes: &[Push]) -> Result<usize, WebError> {
    let apps = state.model.apps();
    let sources = apps.iter().flat_map(|app| app.spec.source.iter().chain(&app.spec.sources));
    let followed = webhook::followed(pushes, sources).into_iter();
    let works: Vec<Work> = followed.map(|repo| Work::Poll { repo: repo.to_owned() }).collect();
    let what: Vec<String> = pushes.iter().take(3).map(Push::to_string).collect();
    let reason = format!("{provider}: push of {}", what.join(", ")).chars().take(REASON_CHARS).collect();
    let (bus, note, repositories) = (state.bus.clone(), WorkNote { hard: false, reason }, works.len());
    let wake = async move {
        let cause = Cause::root("git:webhook");
        for work in works {
            bus.wake(&work, note.clone(), &cause).await?;
        }
        Ok::<_, WebError>(repositories)
    };
    state.on_pool(wake).await?
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// What is taken of a body that comes in such chunks.
    async fn taken(room: usize, limit: usize, body: &[u8], length: bool) -> Result<usize, u16> {
        let room = Arc::new(Semaphore::new(room));
        let request = TestRequest::post().set_payload(body.to_vec());
        let request = if length { request.insert_header((CONTENT_LENGTH, body.len())) } else { request };
        let (request, mut payload) = request.to_http_parts();
        let payload = <web::Payload as actix_web::FromRequest>::from_request(&request, &mut payload).await.unwrap();
        let before = room.available_permits();
        let taken = take(&room, &request, payload, limit).await;
        if let Ok(body) = &taken {
            assert_eq!(room.available_permits(), before - body.bytes.len(), "the room is held as long as the body");
        }
        let answer = taken.map(|body| body.bytes.len());
        assert_eq!(room.available_permits(), before, "and given back");
        answer.map_err(|error| actix_web::ResponseError::status_code(&error).as_u16())
    }

    #[actix_web::test]
    async fn a_body_is_read_up_to_the_limit_and_the_room() {
        for length in [true, false] {
            assert_eq!(taken(100, 10, b"0123456789", length).await, Ok(10));
            assert_eq!(taken(100, 10, b"0123456789a", length).await, Err(413));
            assert_eq!(taken(9, 10, b"0123456789", length).await, Err(503));
            assert_eq!(taken(9, 10, b"", length).await, Ok(0));
        }
    }
}

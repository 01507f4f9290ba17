//! The websocket: a snapshot or what was missed, then deltas. A slow browser is not buffered for: it falls behind
//! a bounded channel and gets a fresh snapshot.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{Message, Session};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::auth::{Account, same_origin};
use crate::readmodel::{Delta, ReadModel};
use crate::{State, WebError};

const FRAME_BYTES_MAX: usize = 4 * 1024;
const PING_EVERY: Duration = Duration::from_secs(15);
/// A browser that answers nothing for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(45);
/// A frame that cannot be sent for so long ends the session.
const SEND_WITHIN: Duration = Duration::from_secs(10);
const CLIENTS_MAX: usize = 1000;

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Resume {
    inc: String,
    seq: u64,
}

#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Ask {
    Watch { key: String },
    Unwatch,
}

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        CLIENTS.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn open(
    request: HttpRequest,
    body: web::Payload,
    resume: web::Query<Resume>,
    state: web::Data<State>,
    _: Account,
) -> Result<HttpResponse, actix_web::Error> {
    let from_browser = request.headers().contains_key("origin");
    if from_browser && !same_origin(&request) {
        return Err(WebError::Forbidden("the request does not come from this page".to_owned()).into());
    }
    if CLIENTS.fetch_add(1, Ordering::Relaxed) >= CLIENTS_MAX {
        CLIENTS.fetch_sub(1, Ordering::Relaxed);
        return Err(WebError::Unavailable("too many live pages are open; close some".to_owned()).into());
    }
    let counted = Counted;
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let messages = messages.max_frame_size(FRAME_BYTES_MAX);
    let (model, resume) = (state.model.clone(), resume.into_inner());
    actix_web::rt::spawn(async move {
        let _counted = counted;
        let mut client = Client { session, model, watching: None };
        let reason = client.talk(messages, &resume).await;
        tracing::debug!(reason, "a live page closed");
        let _ = client.session.close(None).await;
    });
    Ok(response)
}

struct Client {
    session: Session,
    model: ReadModel,
    watching: Option<String>,
}

impl Client {
    async fn send(&mut self, frame: &str) -> bool {
        matches!(tokio::time::timeout(SEND_WITHIN, self.session.text(frame.to_owned())).await, Ok(Ok(())))
    }

    async fn talk(&mut self, mut messages: actix_ws::MessageStream, resume: &Resume) -> &'static str {
        let mut deltas = self.model.listen();
        let Some(mut seq) = self.greet(resume).await else { return "not sent" };
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = messages.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => if !self.asked(&text).await { return "not sent" },
                        Some(Ok(Message::Ping(bytes))) => { let _ = self.session.pong(&bytes).await; }
                        Some(Ok(Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) | None => return "closed",
                        Some(Ok(_)) => return "a frame that is not text",
                        Some(Err(_)) => return "broken",
                    }
                }
                delta = deltas.recv() => match delta {
                    Ok(delta) if delta.seq <= seq => {}
                    Ok(delta) if delta.key.is_none() => match self.snapshot().await { Some(now) => seq = now, None => return "not sent" },
                    Ok(delta) => {
                        seq = delta.seq;
                        if !self.pass_on(&delta).await { return "not sent" }
                    }
                    Err(RecvError::Lagged(_)) => match self.snapshot().await { Some(now) => seq = now, None => return "not sent" },
                    Err(RecvError::Closed) => return "going down",
                },
                _ = ping.tick() => {
                    if heard.elapsed() > SILENT_MAX { return "silent" }
                    if self.session.ping(b"").await.is_err() || !self.send("{\"t\":\"ping\"}").await { return "not sent" }
                }
            }
        }
    }

    async fn greet(&mut self, resume: &Resume) -> Option<u64> {
        let hello = json!({"t": "hello", "inc": self.model.incarnation()}).to_string();
        if !self.send(&hello).await {
            return None;
        }
        let Some((seq, missed)) = self.model.since(&resume.inc, resume.seq) else { return self.snapshot().await };
        for frame in missed {
            if !self.send(&frame).await {
                return None;
            }
        }
        Some(seq)
    }

    async fn snapshot(&mut self) -> Option<u64> {
        let (seq, frame) = self.model.snapshot();
        if !self.send(&frame).await {
            return None;
        }
        match self.watching.clone() {
            Some(key) => self.detail(&key, seq).await.then_some(seq),
            None => Some(seq),
        }
    }

    async fn asked(&mut self, text: &str) -> bool {
        match serde_json::from_str::<Ask>(text) {
            Ok(Ask::Watch { key }) => {
                self.watching = Some(key.clone());
                self.detail(&key, 0).await
            }
            Ok(Ask::Unwatch) => {
                self.watching = None;
                true
            }
            Err(_) => false,
        }
    }

    async fn pass_on(&mut self, delta: &Delta) -> bool {
        if let Some(row) = &delta.row {
            let row: Arc<str> = row.clone();
            if !self.send(&row).await {
                return false;
            }
        }
        match self.watching.clone() {
            Some(key) if delta.key.as_ref() == Some(&key) => self.detail(&key, delta.seq).await,
            _ => true,
        }
    }

    async fn detail(&mut self, key: &str, seq: u64) -> bool {
        let Some(app) = self.model.app(key) else { return true };
        let tree = self.model.tree(key).unwrap_or_default();
        let detail = json!({"t": "detail", "key": key, "app": app.as_ref(), "seq": seq}).to_string();
        let tree = json!({"t": "tree", "key": key, "tree": tree.as_ref(), "seq": seq}).to_string();
        self.send(&detail).await && self.send(&tree).await
    }
}

//! `POST /api/webhook`: a push at GitHub becomes a poll of every repository of that URL that somebody follows.
use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use tako_bus::rpc::{WebhookVerified, WebhookVerify};
use tako_bus::{Cause, Work, WorkNote};

use crate::{State, WebError};

/// Bytes of a payload; what the bus carries in one message.
const PAYLOAD_BYTES_MAX: usize = 7 * 1024 * 1024;
const VERIFY_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/api/webhook")
            .app_data(web::PayloadConfig::new(PAYLOAD_BYTES_MAX))
            .route(web::post().to(receive)),
    );
}

async fn receive(state: web::Data<State>, request: HttpRequest, body: web::Bytes) -> Result<HttpResponse, WebError> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(event) = header("X-GitHub-Event") else {
        return Err(WebError::Invalid("Unknown webhook event: X-GitHub-Event is missing".to_owned()));
    };
    let bus = state.bus.clone();
    let ask =
        WebhookVerify { kind: "github".to_owned(), signature: header("X-Hub-Signature-256"), body: body.to_vec() };
    let verified: WebhookVerified =
        state.on_pool(async move { bus.request("webhook.verify", &ask, VERIFY_WITHIN).await }).await??;
    if !verified.ok {
        return Err(WebError::Invalid(verified.message));
    }
    if event == "ping" {
        return Ok(HttpResponse::Ok().json(json!({})));
    }
    if event != "push" {
        return Err(WebError::Invalid(format!("webhook event {event} is not acted upon; send push events only")));
    }
    if let Some(delivery) = header("X-GitHub-Delivery")
        && !state.deliveries.entry(delivery).or_insert(()).is_fresh()
    {
        return Ok(HttpResponse::Ok().json(json!({"duplicate": true})));
    }
    let payload: Value =
        serde_json::from_slice(&body).map_err(|error| WebError::Invalid(format!("the payload is no JSON: {error}")))?;
    let pushed = urls(&payload);
    if pushed.is_empty() {
        return Err(WebError::Invalid("repository.clone_url is missing in the payload".to_owned()));
    }
    let apps = state.model.apps();
    let followed: BTreeSet<String> = apps
        .iter()
        .filter_map(|app| app.source())
        .map(|source| source.repo_url.clone())
        .filter(|url| pushed.contains(&normalize(url)))
        .collect();
    let reason = format!("push of {}", payload["ref"].as_str().unwrap_or_default());
    let (bus, repositories) = (state.bus.clone(), followed.len());
    state
        .on_pool(async move {
            let cause = Cause::root("git:webhook");
            for repo in followed {
                bus.wake(&Work::Poll { repo }, WorkNote { hard: false, reason: reason.clone() }, &cause).await?;
            }
            Ok::<_, WebError>(())
        })
        .await??;
    Ok(HttpResponse::Ok().json(json!({"repositories": repositories})))
}

/// The URLs under which a pushed repository may be followed, normalised.
fn urls(payload: &Value) -> BTreeSet<String> {
    let repository = &payload["repository"];
    ["clone_url", "html_url", "ssh_url", "git_url", "url"]
        .iter()
        .filter_map(|field| repository[*field].as_str())
        .map(normalize)
        .collect()
}

/// One form for the many ways to write a repository's URL: no scheme, user, `.git` or trailing slash; lower-case host; port kept.
fn normalize(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let rest = url.split_once("://").map(|(_, rest)| rest.to_owned());
    // git@host:path is how SSH is written without a scheme.
    let rest = rest.unwrap_or_else(|| url.replacen(':', "/", 1));
    let (authority, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{}/{path}", host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_name() {
        for url in [
            "https://GitHub.com/a/b.git",
            "https://github.com/a/b/",
            "git@github.com:a/b.git",
            "ssh://git@github.com/a/b",
            "https://user:pw@github.com/a/b",
        ] {
            assert_eq!(normalize(url), "github.com/a/b", "{url}");
        }
        assert_eq!(normalize("http://127.0.0.1:3000/x.git"), "127.0.0.1:3000/x");
        assert_ne!(normalize("https://github.com/a/B"), normalize("https://github.com/a/b"));
    }

    #[test]
    fn a_payload_names_its_urls() {
        let payload = json!({"ref": "refs/heads/main", "repository": {"clone_url": "https://x/a/b.git", "ssh_url": "git@x:a/b.git"}});
        assert_eq!(urls(&payload), BTreeSet::from(["x/a/b".to_owned()]));
        assert!(urls(&json!({})).is_empty());
    }
}

//! `/api/v1/applications/{name}/sync-plan`: what a sync would do, before anybody begins it. Argo CD has no such route;
//! the parameters are those of its sync request.
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use tako_bus::rpc::PlanAsk;
use tako_engine::app::SyncResource;
use tako_engine::requests::{SyncOptions, SyncRequest};

use super::applications::{document, find, key};
use crate::auth::Account;
use crate::{State, WebError};

/// The repository may be fetched for it.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.route("/api/v1/applications/{name}/sync-plan", web::get().to(plan));
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Query {
    app_namespace: String,
    revision: Option<String>,
    prune: Option<bool>,
    /// `GROUP:KIND:NAME` or `GROUP:KIND:NAMESPACE/NAME`, with commas between.
    resources: String,
    /// `hook` or `apply`.
    strategy: String,
    force: bool,
    /// `Name=value`, with commas between; given and empty: none.
    sync_options: Option<String>,
}

impl Query {
    fn request(&self) -> Result<SyncRequest, WebError> {
        let strategy = match (self.strategy.as_str(), self.force) {
            ("", false) => None,
            ("" | "hook", force) => Some(json!({"hook": {"force": force}})),
            ("apply", force) => Some(json!({"apply": {"force": force}})),
            (other, _) => return Err(WebError::Invalid(format!("strategy={other}: choose hook or apply"))),
        };
        let resources: Vec<_> =
            listed(&self.resources).map(|text| resource(text).map(Some)).collect::<Result<_, _>>()?;
        let options = self.sync_options.as_deref();
        Ok(SyncRequest {
            revision: self.revision.clone(),
            prune: self.prune,
            strategy,
            resources: (!resources.is_empty()).then_some(resources),
            sync_options: options.map(|text| SyncOptions { items: Some(listed(text).map(str::to_owned).collect()) }),
            ..SyncRequest::default()
        })
    }
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// As `argocd app sync --resource` has it.
fn resource(text: &str) -> Result<SyncResource, WebError> {
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    let [group, kind, rest] = parts[..] else { return Err(unreadable(text)) };
    let (namespace, name) = rest.split_once('/').unwrap_or(("", rest));
    if kind.is_empty() || name.is_empty() {
        return Err(unreadable(text));
    }
    let [group, kind, namespace, name] = [group, kind, namespace, name].map(str::to_owned);
    Ok(SyncResource { group, kind, namespace, name, ..SyncResource::default() })
}

fn unreadable(text: &str) -> WebError {
    WebError::Invalid(format!("resources: {text}: write GROUP:KIND:NAME or GROUP:KIND:NAMESPACE/NAME"))
}

async fn plan(
    state: web::Data<State>,
    path: web::Path<String>,
    query: web::Query<Query>,
    _: Account,
) -> Result<HttpResponse, WebError> {
    let app = key(&state, &path, &query.app_namespace);
    find(&state, &app)?;
    document(&state, "sync.plan", PlanAsk { app, request: query.request()? }, WITHIN).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Result<serde_json::Value, String> {
        let query = web::Query::<Query>::from_query(query).unwrap();
        query.request().map(|request| json!(request)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_query_is_a_sync_request() {
        let part = |group: &str, namespace: &str| {
            let mut part = json!({"kind": "ConfigMap", "name": "a"});
            for (field, value) in [("group", group), ("namespace", namespace)] {
                if !value.is_empty() {
                    part[field] = json!(value);
                }
            }
            part
        };
        let cases = [
            ("", json!({})),
            ("revision=v1&prune=true", json!({"revision": "v1", "prune": true})),
            ("strategy=apply", json!({"strategy": {"apply": {"force": false}}})),
            ("force=true", json!({"strategy": {"hook": {"force": true}}})),
            ("syncOptions=", json!({"syncOptions": {"items": []}})),
            (
                "syncOptions=Replace%3Dtrue,PruneLast%3Dtrue",
                json!({"syncOptions": {"items": ["Replace=true", "PruneLast=true"]}}),
            ),
            ("resources=:ConfigMap:a,x.y:ConfigMap:n/a", json!({"resources": [part("", ""), part("x.y", "n")]})),
        ];
        for (query, want) in cases {
            assert_eq!(request(query), Ok(want), "{query}");
        }
        for query in ["resources=ConfigMap:a", "resources=::a", "resources=:ConfigMap:n/"] {
            assert!(request(query).is_err_and(|error| error.contains("GROUP:KIND")), "{query}");
        }
        assert!(request("strategy=both").is_err());
    }
}

//! The payloads of git servers, as far as they are read. Absent and null are one; another type than the provider's
//! documentation says is an error.
use serde::Deserialize;

use super::{List, Problem, Push, Reference, Told, all, parse};
use crate::repo_url::Place;

/// The event of Bitbucket Server's button "Test connection".
pub(super) const BITBUCKET_PING: &str = "diagnostics:ping";

/// One name or several of one repository moved.
fn told<'a>(
    urls: impl IntoIterator<Item = Option<&'a str>>,
    references: Vec<Reference>,
    default_branch: Option<&str>,
    missing: (&'static str, &'static str),
) -> Result<Told, Problem> {
    let mut places: Vec<Place> = urls.into_iter().flatten().filter_map(Place::of).collect();
    places.sort_unstable();
    places.dedup();
    if places.is_empty() {
        return Err(Problem::Missing(missing.0));
    }
    if references.is_empty() {
        return Err(Problem::Missing(missing.1));
    }
    let branch = default_branch.filter(|branch| !branch.is_empty());
    let branch = branch.map(|branch| branch.strip_prefix("refs/heads/").unwrap_or(branch).to_owned());
    let push = |reference| Push::Git { places: places.clone(), reference, default_branch: branch.clone() };
    Ok(Told { id: None, pushes: references.into_iter().map(push).collect() })
}

fn full(reference: Option<&str>) -> Vec<Reference> {
    reference.filter(|name| !name.is_empty()).map(Reference::of).into_iter().collect()
}

/// <https://docs.github.com/webhooks/webhook-events-and-payloads#push>; Gogs, Gitea and Forgejo have the same fields.
pub(super) fn github_or_gogs(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        r#ref: Option<String>,
        repository: Option<Repository>,
    }
    #[derive(Default, Deserialize)]
    struct Repository {
        html_url: Option<String>,
        clone_url: Option<String>,
        ssh_url: Option<String>,
        default_branch: Option<String>,
    }
    let payload: Payload = parse(body)?;
    let repository = payload.repository.unwrap_or_default();
    let urls = [&repository.html_url, &repository.clone_url, &repository.ssh_url].map(Option::as_deref);
    let missing = ("repository.clone_url", "ref");
    told(urls, full(payload.r#ref.as_deref()), repository.default_branch.as_deref(), missing)
}

/// <https://docs.gitlab.com/user/project/integrations/webhook_events/>, and system hooks, whose kind is in the body.
pub(super) fn gitlab(event: &str, body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        object_kind: Option<String>,
        event_name: Option<String>,
        r#ref: Option<String>,
        project: Option<Project>,
    }
    #[derive(Default, Deserialize)]
    struct Project {
        web_url: Option<String>,
        git_http_url: Option<String>,
        git_ssh_url: Option<String>,
        default_branch: Option<String>,
    }
    if !["Push Hook", "Tag Push Hook", "System Hook"].contains(&event) {
        return Err(Problem::Event(event.to_owned()));
    }
    let payload: Payload = parse(body)?;
    let kind = payload.object_kind.or(payload.event_name).unwrap_or_default();
    if event == "System Hook" && !["push", "tag_push"].contains(&kind.as_str()) {
        return Ok(Told::default());
    }
    let project = payload.project.unwrap_or_default();
    let urls = [&project.web_url, &project.git_http_url, &project.git_ssh_url].map(Option::as_deref);
    let missing = ("project.git_http_url", "ref");
    told(urls, full(payload.r#ref.as_deref()), project.default_branch.as_deref(), missing)
}

/// <https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push>. It does not say what HEAD is.
pub(super) fn bitbucket_cloud(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        repository: Option<Repository>,
        push: Option<Changes>,
    }
    #[derive(Deserialize)]
    struct Repository {
        links: Option<Links>,
    }
    #[derive(Deserialize)]
    struct Links {
        html: Option<Link>,
    }
    #[derive(Deserialize)]
    struct Link {
        href: Option<String>,
    }
    #[derive(Deserialize)]
    struct Changes {
        changes: List<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        new: Option<State>,
        old: Option<State>,
    }
    #[derive(Deserialize)]
    struct State {
        r#type: Option<String>,
        name: Option<String>,
    }
    let payload: Payload = parse(body)?;
    let link = payload.repository.and_then(|repository| repository.links?.html?.href);
    let changes = payload.push.and_then(|push| push.changes);
    // What was deleted has no new state.
    let states = all(changes).filter_map(|change| change.new.or(change.old));
    let references = states.filter_map(|state| {
        let name = state.name.filter(|name| !name.is_empty())?;
        Some(if state.r#type.as_deref() == Some("tag") { Reference::Tag(name) } else { Reference::Branch(name) })
    });
    told([link.as_deref()], references.collect(), None, ("repository.links.html.href", "push.changes"))
}

/// <https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html>. It does not say what HEAD is.
pub(super) fn bitbucket_server(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        repository: Option<Repository>,
        changes: List<Change>,
    }
    #[derive(Deserialize)]
    struct Repository {
        links: Option<Links>,
    }
    #[derive(Deserialize)]
    struct Links {
        clone: List<Link>,
    }
    #[derive(Deserialize)]
    struct Link {
        href: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Change {
        r#ref: Option<Ref>,
        ref_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Ref {
        id: Option<String>,
    }
    let payload: Payload = parse(body)?;
    let clone = payload.repository.and_then(|repository| repository.links?.clone);
    let links: Vec<String> = all(clone).filter_map(|link| link.href).collect();
    let names = all(payload.changes).filter_map(|change| change.r#ref.and_then(|name| name.id).or(change.ref_id));
    let references = names.flat_map(|name| full(Some(&name))).collect();
    let urls = links.iter().map(|link| Some(link.as_str()));
    told(urls, references, None, ("repository.links.clone", "changes"))
}

/// <https://learn.microsoft.com/azure/devops/service-hooks/events#git.push>.
pub(super) fn azure_devops(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        id: Option<String>,
        resource: Option<Resource>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Resource {
        repository: Option<Repository>,
        ref_updates: List<Update>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Repository {
        remote_url: Option<String>,
        default_branch: Option<String>,
    }
    #[derive(Deserialize)]
    struct Update {
        name: Option<String>,
    }
    // Whether it is a push is only told inside: the resource of another event may look like anything.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        event_type: Option<String>,
    }
    let event = parse::<Kind>(body)?.event_type.unwrap_or_default();
    match event.as_str() {
        "git.push" => {}
        // Argo CD takes these and makes nothing of them.
        "git.pullrequest.created" | "git.pullrequest.updated" | "git.pullrequest.merged" | "build.complete" => {
            return Ok(Told::default());
        }
        _ => return Err(Problem::Event(event)),
    }
    let payload: Payload = parse(body)?;
    let resource = payload.resource.unwrap_or_default();
    let repository = resource.repository.unwrap_or_default();
    let ssh = repository.remote_url.as_deref().and_then(azure_ssh);
    let references = all(resource.ref_updates).flat_map(|update| full(update.name.as_deref())).collect();
    let missing = ("resource.repository.remoteUrl", "resource.refUpdates");
    let urls = [repository.remote_url.as_deref(), ssh.as_deref()];
    let told = told(urls, references, repository.default_branch.as_deref(), missing)?;
    Ok(Told { id: payload.id, ..told })
}

/// `https://dev.azure.com/org/project/_git/repo` is `git@ssh.dev.azure.com:v3/org/project/repo`: another path, which
/// Argo CD does not know for the same.
fn azure_ssh(url: &str) -> Option<String> {
    let (_, path) = url.split_once("dev.azure.com/")?;
    let (project, repository) = path.split_once("/_git/")?;
    Some(format!("ssh://git@ssh.dev.azure.com/v3/{project}/{repository}"))
}

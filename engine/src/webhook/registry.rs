//! The payloads of registries, as far as they are read. What has no tag is passed over: nothing follows a digest.
use serde::Deserialize;

use super::{List, Problem, Push, Told, all, parse};
use crate::repo_url::oci;

fn push(repository: &str, tag: String) -> Push {
    Push::Oci { repository: oci(repository), tag }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// <https://docs.github.com/webhooks/webhook-events-and-payloads#package>: containers that were published.
pub(super) fn ghcr(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        action: Option<String>,
        package: Option<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: Option<String>,
        package_type: Option<String>,
        owner: Option<Owner>,
        package_version: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Owner {
        login: Option<String>,
    }
    #[derive(Deserialize)]
    struct Version {
        container_metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        tag: Option<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        name: Option<String>,
    }
    let payload: Payload = parse(body)?;
    let container =
        |package: &Package| package.package_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("container"));
    let published = payload.action.as_deref() == Some("published");
    let Some(package) = payload.package.filter(container).filter(|_| published) else { return Ok(Told::default()) };
    let tag = package.package_version.and_then(|version| version.container_metadata?.tag?.name);
    let Some(tag) = given(tag) else { return Ok(Told::default()) };
    let owner = package.owner.and_then(|owner| given(owner.login)).ok_or(Problem::Missing("package.owner.login"))?;
    let name = given(package.name).ok_or(Problem::Missing("package.name"))?;
    Ok(Told { id: None, pushes: vec![push(&format!("ghcr.io/{owner}/{name}"), tag)] })
}

/// <https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/>, the default format.
pub(super) fn harbor(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        r#type: Option<String>,
        event_data: Option<Data>,
    }
    #[derive(Default, Deserialize)]
    struct Data {
        resources: List<Resource>,
        repository: Option<Repository>,
    }
    #[derive(Deserialize)]
    struct Resource {
        tag: Option<String>,
        resource_url: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct Repository {
        name: Option<String>,
        namespace: Option<String>,
        repo_full_name: Option<String>,
    }
    let payload: Payload = parse(body)?;
    if payload.r#type.as_deref() != Some("PUSH_ARTIFACT") {
        return Ok(Told::default());
    }
    let data = payload.event_data.unwrap_or_default();
    let repository = data.repository.unwrap_or_default();
    let parts = || Some(format!("{}/{}", given(repository.namespace)?, given(repository.name)?));
    let name = given(repository.repo_full_name).or_else(parts);
    let name = name.ok_or(Problem::Missing("event_data.repository.repo_full_name"))?;
    let pushes = all(data.resources).filter_map(|resource| {
        let url = given(resource.resource_url)?;
        let url = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let (registry, path) = url.split_once('/')?;
        let known = !registry.is_empty() && !path.is_empty();
        known.then_some(push(&format!("{registry}/{name}"), given(resource.tag)?))
    });
    Ok(Told { id: None, pushes: pushes.collect() })
}

/// <https://docs.docker.com/docker-hub/repos/manage/webhooks/>.
pub(super) fn docker_hub(body: &[u8]) -> Result<Told, Problem> {
    #[derive(Deserialize)]
    struct Payload {
        repository: Option<Repository>,
        push_data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Repository {
        name: Option<String>,
        namespace: Option<String>,
        repo_name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Data {
        tag: Option<String>,
    }
    let payload: Payload = parse(body)?;
    let name = payload.repository.and_then(|repository| {
        given(repository.repo_name).or_else(|| {
            let name = given(repository.name)?;
            Some(given(repository.namespace).map_or(name.clone(), |namespace| format!("{namespace}/{name}")))
        })
    });
    let (Some(name), Some(tag)) = (name, payload.push_data.and_then(|data| given(data.tag))) else {
        return Ok(Told::default());
    };
    // Official images have no namespace in their name, but one in their address.
    let name = if name.contains('/') { name } else { format!("library/{name}") };
    Ok(Told { id: None, pushes: vec![push(&format!("docker.io/{name}"), tag)] })
}

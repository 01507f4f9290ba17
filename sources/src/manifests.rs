//! An Application rendered from a file, with no cluster and no control plane: for CI and for people (`tako manifests`).
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tako_engine::app::Application;
use tako_engine::repo_url;
use tako_engine::repository::{Repositories, Repository, SECRET_TYPE};
use tako_engine::source::Source;

use crate::git::GitSettings;
use crate::render::render;
use crate::request::{AppInfo, ClusterInfo, RenderError, Request};
use crate::settings::RenderSettings;
use crate::sops::{self, Keys};
use crate::store::{Store, Surroundings};
use crate::tree::Tree;

/// What stands in for the control plane.
#[derive(Debug, Clone, Default)]
pub struct Offline {
    /// Texts of YAML files, each under its name: Applications, and beside them repository Secrets and the ConfigMaps
    /// `argocd-cm` and `argocd-cmd-params-cm`.
    pub files: Vec<(String, String)>,
    /// The Application to render, when the files hold several.
    pub name: Option<String>,
    /// A working copy that stands for the repositories of `local_urls`, with what is not committed yet.
    pub local: Option<PathBuf>,
    /// Which repositories that is; none: all git repositories of the Application.
    pub local_urls: Vec<String>,
    /// Instead of `targetRevision`, of all sources that are not local.
    pub revision: Option<String>,
    /// The cluster that the manifests are for.
    pub cluster: ClusterInfo,
    /// Where fetched repositories are kept.
    pub data_dir: PathBuf,
    /// Name and text of a file with age identities, for encrypted files.
    pub sops_keys: Option<(String, String)>,
}

/// The manifests of all sources, in order.
pub fn manifests(offline: &Offline) -> Result<Vec<Value>, RenderError> {
    let (app, mut around) = read(offline)?;
    if let Some((name, text)) = &offline.sops_keys {
        around.sops = Some(Arc::new(Keys::parse(name, text)?));
    }
    let store = Store::open(&offline.data_dir, GitSettings { allow_file: true, ..GitSettings::default() })?;
    let sources = app.sources();
    if sources.is_empty() {
        return Err(RenderError::Spec(format!("{}: spec.source: missing; set repoURL and path", app.metadata.name)));
    }
    let revisions = sources
        .iter()
        .map(|source| match offline.local_for(source) {
            Some(_) => Ok("local".to_owned()),
            None => {
                let own = source.target_revision.as_deref().unwrap_or_default();
                Ok(store.resolve(source, &around, offline.revision.as_deref().unwrap_or(own))?.revision)
            }
        })
        .collect::<Result<Vec<String>, RenderError>>()?;
    let requests =
        store.requests(sources, &revisions, &around, |source, revision| match offline.local_for(source) {
            Some(local) => Ok(Tree::of_directory(local)),
            None => store.tree(source, &around, revision),
        })?;
    let mut all = Vec::new();
    for request in requests.into_iter().flatten() {
        all.extend(render(&request)?.manifests);
    }
    if let Some(keys) = &around.sops {
        sops::reveal(&mut all, keys)?;
    }
    Ok(all)
}

impl Offline {
    /// The working copy, if it stands for the repository of this source.
    fn local_for(&self, source: &Source) -> Option<&Path> {
        let local = self.local.as_deref().filter(|_| !source.is_chart() && !source.repo_url.starts_with("oci://"))?;
        let named =
            self.local_urls.is_empty() || self.local_urls.iter().any(|url| repo_url::same(url, &source.repo_url));
        named.then_some(local)
    }
}

fn read(offline: &Offline) -> Result<(Application, Surroundings), RenderError> {
    let (mut apps, mut repositories, mut templates) = (Vec::new(), Vec::new(), Vec::new());
    let mut maps: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (file, text) in &offline.files {
        for object in Request::parse(file, text)? {
            let wrong = |reason: String| RenderError::Spec(format!("{file}: {reason}"));
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            match object["kind"].as_str().unwrap_or_default() {
                "Application" => {
                    let app: Application = serde_json::from_value(object)
                        .map_err(|error| wrong(format!("Application {name}: {error}")))?;
                    apps.push(app);
                }
                "Secret" => {
                    let kind = object["metadata"]["labels"][SECRET_TYPE].as_str().unwrap_or_default().to_owned();
                    let repository = || {
                        Repository::from_data(&texts(&object))
                            .map_err(|reason| wrong(format!("Secret {name}: {reason}")))
                    };
                    match kind.as_str() {
                        "repository" => repositories.push(repository()?),
                        "repo-creds" => templates.push(repository()?),
                        _ => {}
                    }
                }
                "ConfigMap" => {
                    maps.insert(name, texts(&object));
                }
                _ => {}
            }
        }
    }
    let wanted = |app: &Application| offline.name.as_ref().is_none_or(|name| *name == app.metadata.name);
    let names: Vec<String> = apps.iter().map(|app| app.metadata.name.clone()).collect();
    apps.retain(wanted);
    let app = match apps.len() {
        1 => apps.remove(0),
        0 => {
            return Err(RenderError::Spec(match &offline.name {
                Some(name) => format!("no Application {name} in the files; there are: {}", names.join(", ")),
                None => "no Application in the files; give a file with one".to_owned(),
            }));
        }
        _ => {
            return Err(RenderError::Spec(format!(
                "several Applications: {}; choose one with --app",
                names.join(", ")
            )));
        }
    };
    let none = BTreeMap::new();
    let map = |name: &str| maps.get(name).unwrap_or(&none);
    let around = Surroundings {
        app: AppInfo::of(&app, &app.metadata.namespace),
        cluster: offline.cluster.clone(),
        settings: RenderSettings::from_data(map("argocd-cm"), map("argocd-cmd-params-cm")),
        repositories: Repositories::new(repositories, templates),
        sops: None,
    };
    Ok((app, around))
}

/// The data of a ConfigMap or Secret; `data` of a Secret is in base64.
fn texts(object: &Value) -> BTreeMap<String, String> {
    use base64::Engine as _;
    let secret = object["kind"] == "Secret";
    let field = |name: &str| {
        object[name].as_object().cloned().unwrap_or_default().into_iter().filter_map(|(key, value)| {
            let text = value.as_str()?.to_owned();
            Some((key, text))
        })
    };
    let decoded = field("data").filter_map(|(key, text)| {
        if !secret {
            return Some((key, text));
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
        Some((key, String::from_utf8(bytes).ok()?))
    });
    decoded.chain(field("stringData")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(files: &[&str], local: &Path) -> Offline {
        Offline {
            files: files.iter().map(|text| ("app.yaml".to_owned(), (*text).to_owned())).collect(),
            local: Some(local.to_owned()),
            data_dir: local.join(".data"),
            ..Offline::default()
        }
    }

    const APP: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec:\n  project: default\n  destination: {namespace: x}\n  source: {repoURL: https://example.org/r, path: deploy}\n";

    #[test]
    fn a_working_copy_is_rendered_without_a_cluster() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("deploy")).unwrap();
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
        std::fs::write(root.path().join("deploy/c.yaml"), object).unwrap();
        let made = manifests(&offline(&[APP], root.path())).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0]["metadata"]["name"], "c");
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let said = |files: &[&str], name: Option<&str>| {
            let mut offline = offline(files, root.path());
            offline.name = name.map(str::to_owned);
            manifests(&offline).unwrap_err().to_string()
        };
        assert!(said(&[APP], None).starts_with("deploy: app path does not exist"));
        assert!(said(&[], None).starts_with("no Application"));
        assert!(said(&[APP, APP], None).starts_with("several Applications: a, a"));
        assert!(said(&[APP], Some("b")).contains("no Application b"));
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {argocd.argoproj.io/secret-type: repository}}\nstringData: {url: u, depth: x, password: hunter2}\n";
        let wrong = said(&[APP, secret], None);
        assert!(wrong.contains("Secret s: depth") && !wrong.contains("hunter2"), "{wrong}");
    }
}

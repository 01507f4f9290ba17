//! The dependencies of a chart that are not in its `charts/`: what `helm dependency build` would put there. From repositories they
//! are fetched by [`crate::charts`], with its limits, cache and credentials; directories of the repository (`file://`) are packed by
//! Helm itself, without network. Directories outside of the repository are refused (research/pains.md S-06).
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tako_engine::repository::{Repository, RepositoryType};
use tako_engine::versions;

use super::{REPO, TOOL};
use crate::charts::Charts;
use crate::git::redact;
use crate::process::Program;
use crate::request::{RenderError, Request};
use crate::tree::{Kind, Tree, TreeError, clean, join};

/// Dependencies of one chart.
const DEPENDENCIES_MAX: usize = 200;

/// What a chart says of what it needs.
pub(super) struct Chart {
    directory: String,
    /// `apiVersion: v1`, or none.
    first: bool,
    dependencies: Vec<Dependency>,
    lock: Option<Lock>,
}

struct Lock {
    digest: String,
    dependencies: Vec<Dependency>,
}

/// One dependency. The order of the fields and what is left out is that of Helm's JSON, of which the lock has the digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Dependency {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    repository: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    condition: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enabled: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    import_values: Vec<Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    alias: String,
}

impl Chart {
    /// Reads what the chart says. What is wrong with its files Helm tells better.
    pub(super) fn read(tree: &Tree, directory: &str) -> Result<Self, RenderError> {
        let file = join(directory, "Chart.yaml");
        if !tree.is_file(&file)? {
            let place = if directory.is_empty() { "." } else { directory };
            return Err(RenderError::Spec(format!(
                "{place}: Chart.yaml file is missing; correct spec.source.path, or leave spec.source.helm out"
            )));
        }
        let chart = parsed(tree, &file)?;
        let mut said = chart["dependencies"].clone();
        let requirements = join(directory, "requirements.yaml");
        if tree.is_file(&requirements)? {
            said = parsed(tree, &requirements)?["dependencies"].clone();
        }
        let dependencies = read_all(&said);
        let mut lock = None;
        if !dependencies.is_empty() {
            for name in ["Chart.lock", "requirements.lock"] {
                let file = join(directory, name);
                if tree.is_file(&file)? {
                    let said = parsed(tree, &file)?;
                    let dependencies = read_all(&said["dependencies"]);
                    lock = Some(Lock { digest: text(&said["digest"]), dependencies });
                    break;
                }
            }
        }
        let first = !matches!(chart["apiVersion"].as_str(), Some("v2" | "v3"));
        Ok(Self { directory: directory.to_owned(), first, dependencies, lock })
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// It is plain to see that something is not in `charts/`. When that is not plain, it is not said.
    pub(super) fn lacks(&self, tree: &Tree) -> Result<bool, RenderError> {
        let wanted: Vec<&str> = self
            .dependencies
            .iter()
            .filter(|dependency| !dependency.repository.is_empty())
            .map(|dependency| dependency.name.as_str())
            .collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        let charts = join(&self.directory, "charts");
        if !tree.is_directory(&charts)? {
            return Ok(true);
        }
        let mut there = BTreeSet::new();
        for entry in tree.list(&charts)? {
            let path = join(&charts, &entry.name);
            match packed(&entry.name) {
                Some(name) => {
                    there.insert(name.to_owned());
                }
                None if entry.name.ends_with(".tgz") => return Ok(false),
                None if matches!(entry.kind, Kind::Directory | Kind::Link) => {
                    let file = join(&path, "Chart.yaml");
                    if tree.is_file(&file)? {
                        there.insert(text(&parsed(tree, &file)?["name"]));
                    }
                }
                None => {}
            }
        }
        Ok(wanted.into_iter().any(|name| !there.contains(name)))
    }

    /// The directories of the repository that are needed.
    pub(super) fn local(&self) -> Result<Vec<String>, RenderError> {
        let local = self.needed().iter().filter_map(|dependency| dependency.local(&self.directory));
        Ok(local.collect::<Result<Vec<_>, _>>()?)
    }

    /// As locked, else as wanted.
    fn needed(&self) -> &[Dependency] {
        self.lock.as_ref().map_or(&self.dependencies, |lock| &lock.dependencies)
    }

    /// A lock that was made for other dependencies is an error, in Helm's words.
    fn check_lock(&self, request: &Request) -> Result<(), RenderError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        // Helm puts URLs for aliases before it compares.
        let mut resolved = self.dependencies.clone();
        for dependency in &mut resolved {
            if let Some(name) = alias(&dependency.repository) {
                dependency.repository = named(request, name)?.url;
            }
        }
        let second = BTreeMap::from([("dependencies", &self.dependencies)]);
        if digest(&(&resolved, &lock.dependencies)) == lock.digest || (self.first && digest(&second) == lock.digest) {
            return Ok(());
        }
        let (lock, file) =
            if self.first { ("requirements.lock", "requirements.yaml") } else { ("Chart.lock", "Chart.yaml") };
        Err(RenderError::Failed {
            tool: TOOL,
            message: format!(
                "{}: the lock file ({lock}) is out of sync with the dependencies file ({file}). Please update the dependencies",
                self.directory
            ),
        })
    }
}

impl Dependency {
    /// The directory of a `file://` dependency.
    fn local(&self, chart: &str) -> Option<Result<String, TreeError>> {
        let path = self.repository.strip_prefix("file://")?;
        if path.starts_with('/') {
            return Some(clean(path));
        }
        Some(clean(&join(chart, path)))
    }
}

/// Puts everything that the chart needs into its `charts/` in the jail, where the chart and its local dependencies are already.
pub(super) fn build(request: &Request, program: &Path, chart: &Chart, jail: &Path) -> Result<(), RenderError> {
    chart.check_lock(request)?;
    let needed = chart.needed();
    if needed.len() > DEPENDENCIES_MAX {
        return Err(RenderError::Spec(format!("{}: more than {DEPENDENCIES_MAX} dependencies", chart.directory)));
    }
    let fail =
        |error: std::io::Error| RenderError::Scratch { path: jail.display().to_string(), reason: error.to_string() };
    let target = jail.join(REPO).join(&chart.directory).join("charts");
    fs::create_dir_all(&target).map_err(fail)?;
    let inside = jail.canonicalize().map_err(fail)?;
    let target = target.canonicalize().map_err(fail)?;
    if !target.starts_with(&inside) {
        return Err(TreeError::Outside { path: join(&chart.directory, "charts"), target: "..".to_owned() }.into());
    }
    let told = request.source.helm.clone().unwrap_or_default();
    let charts = Charts::with_trust(&request.scratch.join("charts"), request.settings.trust.0.clone())?;
    let charts = charts.passing_credentials(told.pass_credentials);
    let mut put = BTreeSet::new();
    for dependency in needed {
        if dependency.repository.is_empty() || dependency.repository.starts_with("file://") {
            continue;
        }
        let (archive, version) = fetched(request, &charts, dependency)?;
        let name = format!("{}-{version}.tgz", dependency.name);
        if put.insert(name.clone()) {
            let place = target.join(&name);
            let _ = fs::remove_file(&place);
            fs::copy(&archive, &place).map_err(fail)?;
        }
    }
    for (name, file) in packed_here(request, program, chart, jail)? {
        let place = target.join(&name);
        fs::rename(file, place).map_err(fail)?;
        put.insert(name);
    }
    // What an earlier build left for other versions goes; what the chart brings without a repository stays.
    let own: BTreeSet<&str> =
        needed.iter().filter(|one| one.repository.is_empty()).map(|one| one.name.as_str()).collect();
    for entry in fs::read_dir(&target).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
        if packed(&name).is_some_and(|chart| !own.contains(chart)) && !put.contains(&name) {
            fs::remove_file(target.join(&name)).map_err(fail)?;
        }
    }
    Ok(())
}

/// The archive of a dependency, and its version.
fn fetched(request: &Request, charts: &Charts, dependency: &Dependency) -> Result<(PathBuf, String), RenderError> {
    let name = &dependency.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(RenderError::Spec(format!("dependency {name}: the name of a chart is wanted in Chart.yaml")));
    }
    let repository = repository_of(request, &dependency.repository)?;
    let version = match dependency.version.trim() {
        pin if versions::is_version(pin)
            && pin.split(['-', '+']).next().is_some_and(|core| core.matches('.').count() == 2) =>
        {
            pin.to_owned()
        }
        // Helm reads `1.2` as `1.2.x` here.
        part if versions::is_version(part) => charts.resolve(&repository, name, &format!("~{part}"))?,
        constraint => charts.resolve(&repository, name, constraint)?,
    };
    if version.contains(['/', '\0']) {
        return Err(RenderError::Spec(format!("dependency {name}: {version} is no version")));
    }
    Ok((charts.archive(&repository, name, &version, &request.settings)?, version))
}

/// `@name` and `alias:name` stand for a registered repository.
fn alias(repository: &str) -> Option<&str> {
    repository.strip_prefix('@').or_else(|| repository.strip_prefix("alias:"))
}

fn named(request: &Request, name: &str) -> Result<Repository, RenderError> {
    let mut usable = request.repositories.helm(&request.app.project).into_iter();
    usable.find(|repository| repository.name == name).ok_or_else(|| {
        RenderError::Spec(format!(
            "no repository definition for @{name}; register a Helm repository of that name that the project may use"
        ))
    })
}

/// The repository of a dependency, with credentials when there are some for it.
fn repository_of(request: &Request, url: &str) -> Result<Repository, RenderError> {
    if let Some(name) = alias(url) {
        return named(request, name);
    }
    let project = &request.app.project;
    let bare = |url: &str| url.trim_end_matches('/').trim_start_matches("oci://").to_owned();
    let usable = request.repositories.helm(project);
    if let Some(found) = usable.iter().find(|repository| bare(&repository.url) == bare(url)) {
        return Ok(Repository { url: url.to_owned(), ..found.clone() });
    }
    let of_url = request.repositories.of(url, project);
    let Some(place) = url.strip_prefix("oci://") else {
        if url.starts_with("https://") || url.starts_with("http://") {
            return Ok(of_url);
        }
        return Err(RenderError::Spec(format!(
            "{}: a repository of Chart.yaml is https://…, oci://…, file://… or @name",
            redact(url)
        )));
    };
    // Helm signs in to a registry as a whole: what is registered for its host counts.
    let host = place.split('/').next().unwrap_or_default();
    let of_place = request.repositories.of(place, project);
    let same_host = || usable.iter().find(|repository| bare(&repository.url).split('/').next() == Some(host)).cloned();
    let found = [of_url, of_place].into_iter().find(Repository::has_credentials).or_else(same_host);
    Ok(Repository { url: url.to_owned(), kind: RepositoryType::Oci, ..found.unwrap_or_default() })
}

/// Packs the local dependencies, as Helm does it: by name, with the archives.
fn packed_here(
    request: &Request,
    program: &Path,
    chart: &Chart,
    jail: &Path,
) -> Result<Vec<(String, PathBuf)>, RenderError> {
    let mut wanted = Vec::new();
    for dependency in chart.needed() {
        if let Some(directory) = dependency.local(&chart.directory) {
            let path = jail.join(REPO).join(directory?);
            wanted.push(json!({
                "name": dependency.name,
                "version": dependency.version,
                "repository": format!("file://{}", path.display()),
            }));
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let fail =
        |error: std::io::Error| RenderError::Scratch { path: jail.display().to_string(), reason: error.to_string() };
    let directory = jail.join("packed");
    fs::create_dir_all(&directory).map_err(fail)?;
    let text = json!({ "apiVersion": "v2", "name": "packed", "version": "0.0.0", "dependencies": wanted });
    fs::write(directory.join("Chart.yaml"), text.to_string()).map_err(fail)?;
    Program::new(program, jail)
        .args(["dependency", "build", "--skip-refresh", "./packed"])
        .time(request.settings.exec_timeout)
        .run()
        .map_err(|source| RenderError::Tool { tool: TOOL, source })?;
    let mut found = Vec::new();
    for entry in fs::read_dir(directory.join("charts")).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}

/// The chart of an archive that is called as Helm calls them: `name-1.2.3.tgz`.
fn packed(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".tgz")?;
    let at = stem.match_indices('-').map(|(at, _)| at).find(|at| {
        let version = &stem[at + 1..];
        version.split('.').count() >= 3 && versions::is_version(version)
    })?;
    Some(&stem[..at])
}

fn parsed(tree: &Tree, file: &str) -> Result<Value, RenderError> {
    Ok(tako_engine::parse::parse_value(&tree.text(file)?).unwrap_or_default())
}

fn read_all(said: &Value) -> Vec<Dependency> {
    said.as_array().into_iter().flatten().map(Dependency::from).collect()
}

impl From<&Value> for Dependency {
    fn from(said: &Value) -> Self {
        let list = |key: &str| said[key].as_array().cloned().unwrap_or_default();
        Self {
            name: text(&said["name"]),
            version: text(&said["version"]),
            repository: text(&said["repository"]),
            condition: text(&said["condition"]),
            tags: list("tags").iter().map(text).collect(),
            enabled: said["enabled"].as_bool().unwrap_or_default(),
            import_values: list("import-values"),
            alias: text(&said["alias"]),
        }
    }
}

/// Where a text is wanted, a number is one.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The digest that Helm writes into locks: of Go's JSON, which escapes what HTML would read.
fn digest(of: &impl Serialize) -> String {
    let mut json = serde_json::to_string(of).unwrap_or_default();
    for (c, escape) in
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
    {
        json = json.replace(c, escape);
    }
    format!("sha256:{}", hex::encode(Sha256::digest(json.as_bytes())))
}

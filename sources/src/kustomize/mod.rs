//! Overlays: the real Kustomize, in a jail that holds what the build reads and nothing more (Argo CD, user guide, "Kustomize").
//!
//! [`edit`] puts the overrides of the source into the kustomization, [`closure`] works out which files a build reads, [`remote`]
//! says what may be fetched, [`jail`] makes git and helm harmless.
mod closure;
mod edit;
mod jail;
mod remote;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use tako_engine::source::Kustomize;

use self::closure::Closure;
use self::jail::Jail;
use crate::environment::Environment;
use crate::process::{Output, ProcessError, Program};
use crate::render::Made;
use crate::request::{RenderError, Request, Tools};
use crate::tree::{Kind, Tree, join};

/// The names of a kustomization file.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The kustomization file of a directory.
pub(crate) fn file_of(tree: &Tree, path: &str) -> Result<Option<String>, RenderError> {
    for name in NAMES {
        let file = join(path, name);
        if tree.is_file(&file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Renders an overlay.
pub(crate) fn render(request: &Request) -> Result<Made, RenderError> {
    let path = request.path()?;
    let wanted = request.source.kustomize.clone().unwrap_or_default();
    let Some(file) = file_of(&request.tree, &path)? else {
        return Err(RenderError::Spec(format!("{path}: there is no kustomization file; correct spec.source.path")));
    };
    let (program, options) = tool(request, &wanted)?;
    let environment = Environment::of(request);
    let edited = edited(request, &path, &file, &wanted, &environment)?;
    let closure = Closure::of(&request.tree, &path, edited.as_ref().map(|edited| &edited.kustomization))?;
    let build = Build { request, path: &path, file: &file, wanted: &wanted, program, options, edited, closure };
    let output = build.run(&environment)?;
    let text = String::from_utf8(output.stdout).map_err(|_| RenderError::Failed {
        tool: "kustomize",
        message: format!("{file}: what was built is not UTF-8 text"),
    })?;
    let mut commands = build.edited.map(|edited| edited.commands).unwrap_or_default();
    commands.push(["kustomize build", &shown(&path), &build.options.join(" ")].join(" ").trim_end().to_owned());
    Ok(Made { manifests: Request::parse(&file, &text)?, commands })
}

/// The directory of a source as an argument that is no option.
fn shown(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { format!("./{path}") }
}

/// The program and its options (argocd-cm: `kustomize.path.<version>`, `kustomize.buildOptions[.<version>]`).
fn tool(request: &Request, wanted: &Kustomize) -> Result<(PathBuf, Vec<String>), RenderError> {
    let settings = &request.settings;
    let version = wanted.version.as_deref().unwrap_or_default();
    let mut options = &settings.kustomize_build_options;
    let program = if version.is_empty() {
        Tools::find(settings.tools.kustomize.as_deref(), "kustomize").ok_or_else(|| {
            RenderError::Spec(
                "kustomize is not installed; put it into PATH, or turn it off with kustomize.enable".into(),
            )
        })?
    } else {
        if let Some(own) = settings.kustomize_version_options.get(version).filter(|own| !own.is_empty()) {
            options = own;
        }
        settings.kustomize_paths.get(version).cloned().ok_or_else(|| {
            RenderError::Spec(format!(
                "spec.source.kustomize.version: kustomize version {version} is not registered; set kustomize.path.{version} in argocd-cm"
            ))
        })?
    };
    Ok((program, options.split_whitespace().map(str::to_owned).collect()))
}

/// The kustomization with the overrides of the source; `None` when there are none.
fn edited(
    request: &Request,
    path: &str,
    file: &str,
    wanted: &Kustomize,
    environment: &Environment,
) -> Result<Option<edit::Edited>, RenderError> {
    if !edit::is_needed(wanted) {
        return Ok(None);
    }
    let wrong = |reason: String| RenderError::Spec(format!("{file}: {reason}"));
    let kustomization = tako_engine::parse::parse_value(&request.tree.text(file)?).map_err(wrong)?;
    let components = components(&request.tree, path, wanted)?;
    edit::apply(kustomization, wanted, &components, environment).map(Some).map_err(wrong)
}

/// The components of the source: globs expanded as `kustomize edit add component` does, the missing ones left out where that is
/// wanted.
fn components(tree: &Tree, path: &str, wanted: &Kustomize) -> Result<Vec<String>, RenderError> {
    let mut found = Vec::new();
    for component in &wanted.components {
        let is_remote = remote::of(component).is_some();
        if wanted.ignore_missing_components
            && (is_remote || component.starts_with('/') || tree.kind(&join(path, component))?.is_none())
        {
            continue;
        }
        let before = found.len();
        if !is_remote && component.contains(['*', '?', '[', '\\']) {
            let parts: Vec<&str> = component.split('/').filter(|part| !part.is_empty()).collect();
            expand(tree, path, "", &parts, &mut found)?;
            let hidden = |name: &str| name.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
            if !hidden(component) {
                found.retain(|name| !hidden(name));
            }
        }
        if found.len() == before {
            found.push(component.clone());
        }
    }
    Ok(found)
}

/// Go's `filepath.Glob`, in the tree.
fn expand(tree: &Tree, root: &str, at: &str, parts: &[&str], found: &mut Vec<String>) -> Result<(), RenderError> {
    let Some((first, rest)) = parts.split_first() else {
        found.push(at.to_owned());
        return Ok(());
    };
    if !first.contains(['*', '?', '[', '\\']) {
        let next = join(at, first);
        return match tree.kind(&join(root, &next))? {
            Some(Kind::Directory) => expand(tree, root, &next, rest, found),
            Some(_) if rest.is_empty() => expand(tree, root, &next, rest, found),
            _ => Ok(()),
        };
    }
    for entry in tree.list(&join(root, at))? {
        let next = join(at, &entry.name);
        if tako_engine::glob::path_matches(first, &entry.name)
            && (rest.is_empty() || tree.is_directory(&join(root, &next))?)
        {
            expand(tree, root, &next, rest, found)?;
        }
    }
    Ok(())
}

/// One build.
struct Build<'a> {
    request: &'a Request,
    path: &'a str,
    file: &'a str,
    wanted: &'a Kustomize,
    program: PathBuf,
    options: Vec<String>,
    edited: Option<edit::Edited>,
    closure: Closure,
}

impl Build<'_> {
    /// Builds from what the build reads; when that was not all, from the whole repository.
    fn run(&self, environment: &Environment) -> Result<Output, RenderError> {
        let whole = self.runs_plugins();
        let fail = |source: ProcessError| match &source {
            ProcessError::Failed { stderr, .. } if self.closure.is_remote() && is_about_the_network(stderr) => {
                RenderError::Unreachable { what: "what the kustomization refers to".to_owned(), reason: stderr.clone() }
            }
            _ => RenderError::Tool { tool: "kustomize", source },
        };
        match self.build(whole, environment)? {
            Err(ProcessError::Failed { stderr, .. }) if !whole && !self.closure.missing && is_about_a_file(&stderr) => {
                self.build(true, environment)?.map_err(fail)
            }
            result => result.map_err(fail),
        }
    }

    fn build(&self, whole: bool, environment: &Environment) -> Result<Result<Output, ProcessError>, RenderError> {
        let jail = Jail::new(self.request)?;
        let paths: Vec<&str> = if whole { vec![""] } else { self.closure.paths.iter().map(String::as_str).collect() };
        self.request.tree.export(&paths, &jail.repository)?;
        if let Some(edited) = &self.edited {
            jail.replace(self.file, &edit::written(&edited.kustomization))?;
        }
        let mut program = jail
            .program(&self.program)
            .args(["build".to_owned(), shown(self.path)])
            .time(self.request.settings.exec_timeout);
        for (name, value) in environment.iter() {
            program = program.env(name, value);
        }
        program = self.with_options(program, &jail)?;
        if self.closure.is_remote() {
            program = jail.with_git(program, self.request, &self.closure.remotes)?;
        }
        if self.runs_plugins() {
            program = jail::with_plugins(program);
        }
        Ok(program.run())
    }

    /// The options of the settings, and what follows from them.
    fn with_options(&self, mut program: Program, jail: &Jail) -> Result<Program, RenderError> {
        let mut helm = None;
        let mut options = self.options.iter();
        while let Some(option) = options.next() {
            if option == "--helm-command" {
                helm = options.next().map(PathBuf::from);
            } else if let Some(path) = option.strip_prefix("--helm-command=") {
                helm = Some(PathBuf::from(path));
            } else {
                program = program.arg(option);
            }
        }
        if !self.has_option("--enable-helm") || !(self.closure.charts || self.closure.is_remote()) {
            return Ok(program);
        }
        let helm = helm.or_else(|| self.request.settings.tools.helm.clone());
        let helm = match helm {
            Some(path) if path.components().count() > 1 => Some(path),
            Some(name) => Tools::find(None, &name.to_string_lossy()),
            None => Tools::find(None, "helm"),
        };
        let Some(helm) = helm else {
            return Err(RenderError::Spec(
                "kustomize: --enable-helm needs helm, which is not installed; put it into PATH".to_owned(),
            ));
        };
        program = jail.with_helm(program, &helm)?;
        if version(&self.program, jail).is_none_or(|version| version >= (5, 3)) {
            let cluster = &self.request.cluster;
            let kube = self.wanted.kube_version.as_deref().filter(|version| !version.is_empty());
            let kube = plain_version(kube.unwrap_or(&cluster.kube_version));
            if !kube.is_empty() {
                program = program.args(["--helm-kube-version".to_owned(), kube]);
            }
            let named = &self.wanted.api_versions;
            for version in if named.is_empty() { &cluster.api_versions } else { named } {
                program = program.args(["--helm-api-versions", version]);
            }
        }
        Ok(program)
    }

    fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| {
            option == name || option.strip_prefix(name).is_some_and(|rest| rest.starts_with('=') && rest != "=false")
        })
    }

    /// Programs of the image are plugins: what they read is not known.
    fn runs_plugins(&self) -> bool {
        ["--enable-alpha-plugins", "--enable_alpha_plugins", "--enable-exec"]
            .into_iter()
            .any(|option| self.has_option(option))
    }
}

/// `1.37.2` of `v1.37.2-eks-1+k`.
fn plain_version(version: &str) -> String {
    let bare = version.trim().trim_start_matches('v');
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    bare[..end].trim_end_matches('.').to_owned()
}

/// What Kustomize says when a file or directory is not there.
fn is_about_a_file(stderr: &str) -> bool {
    ["no such file or directory", "doesn't exist", "unable to find one of 'kustomization.yaml'", "no chart found at"]
        .into_iter()
        .any(|words| stderr.contains(words))
}

/// What git, Helm and Go say when nobody answers: the same build may succeed later.
fn is_about_the_network(stderr: &str) -> bool {
    [
        "Could not resolve host",
        "Failed to connect",
        "Connection refused",
        "connection refused",
        "timed out",
        "i/o timeout",
    ]
    .into_iter()
    .any(|words| stderr.contains(words))
}

/// Major and minor of a Kustomize program; `None` when it does not say.
fn version(program: &Path, jail: &Jail) -> Option<(u32, u32)> {
    type Known = HashMap<(PathBuf, Option<std::time::SystemTime>), Option<(u32, u32)>>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let key = (program.to_owned(), fs::metadata(program).and_then(|found| found.modified()).ok());
    if let Some(version) = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return *version;
    }
    let said = jail.program(program).arg("version").run().ok();
    let version = said.and_then(|said| version_in(&String::from_utf8_lossy(&said.stdout)));
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(key, version);
    version
}

fn version_in(text: &str) -> Option<(u32, u32)> {
    let at = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[at..].split('.').map(|part| part.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests;

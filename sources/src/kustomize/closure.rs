//! Which files a `kustomize build` reads: the kustomization, what it names, and so on, within the repository. What is not found
//! here is no harm: the build is then given the whole repository.
use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tako_engine::parse;

use super::edit::peek;
use super::remote::{self, Remote};
use super::{NAMES, file_of};
use crate::request::RenderError;
use crate::tree::{Kind, Tree, TreeError, clean, join};

/// Bases of bases of bases; Kustomize itself refuses circles.
const DEPTH_MAX: usize = 64;
/// A longer text is no path.
const PATH_LENGTH_MAX: usize = 512;

/// Everything that a build needs.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// Files and directories of the repository.
    pub(super) paths: BTreeSet<String>,
    /// What is fetched.
    pub(super) remotes: BTreeSet<Remote>,
    /// Something that is named is not there.
    pub(super) missing: bool,
    /// Charts are inflated.
    pub(super) charts: bool,
    /// A chart is fetched.
    pub(super) fetches_charts: bool,
}

impl Closure {
    /// The closure of the kustomization in a directory, which `edited` stands in for.
    pub(super) fn of(tree: &Tree, directory: &str, edited: Option<&Value>) -> Result<Self, RenderError> {
        let mut walk = Walk { tree, found: Self::default(), seen: BTreeSet::new() };
        walk.directory(directory, edited, None, 0)?;
        Ok(walk.found)
    }

    /// Programs will be started that talk to others.
    pub(super) fn is_remote(&self) -> bool {
        self.fetches_charts || !self.remotes.is_empty()
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    found: Closure,
    seen: BTreeSet<(String, Option<String>)>,
}

impl Walk<'_> {
    /// A directory with a kustomization. With `config`, its resources configure plugins, which find their files from that directory.
    fn directory(
        &mut self,
        path: &str,
        edited: Option<&Value>,
        config: Option<&str>,
        depth: usize,
    ) -> Result<(), RenderError> {
        let Some((real, Kind::Directory)) = self.tree.real(path)? else {
            self.found.missing = true;
            return Ok(());
        };
        if depth > DEPTH_MAX || !self.seen.insert((real.clone(), config.map(str::to_owned))) {
            return Ok(());
        }
        if path != real {
            self.found.paths.insert(path.to_owned());
        }
        for name in NAMES {
            let file = join(&real, name);
            if self.tree.is_file(&file)? {
                self.found.paths.insert(file);
            }
        }
        let read;
        let kustomization = match edited {
            Some(edited) => edited,
            None => {
                let Some(file) = file_of(self.tree, &real)? else {
                    self.found.missing = true;
                    return Ok(());
                };
                // Kustomize says what is wrong with it.
                let Ok(value) = parse::parse_value(&self.tree.text(&file)?) else { return Ok(()) };
                read = value;
                &read
            }
        };
        match kustomization {
            Value::Object(map) => self.kustomization(&real, map, config, depth),
            _ => Ok(()),
        }
    }

    fn kustomization(
        &mut self,
        at: &str,
        map: &Map<String, Value>,
        config: Option<&str>,
        depth: usize,
    ) -> Result<(), RenderError> {
        for field in ["resources", "bases"] {
            for name in texts(peek(map, field)) {
                self.resource(at, name, config, depth)?;
            }
        }
        for name in texts(peek(map, "components")) {
            if !self.remote(name)? {
                self.directory(&below(at, name)?, None, None, depth + 1)?;
            }
        }
        for field in ["crds", "configurations"] {
            for name in texts(peek(map, field)) {
                self.file(at, name)?;
            }
        }
        for name in texts(peek(map, "patchesStrategicMerge")) {
            // A patch itself, or the name of a file with one.
            if !name.contains('\n') && !is_inline(name) {
                self.file(at, name)?;
            }
        }
        for field in ["patches", "patchesJson6902", "replacements"] {
            for entry in maps(peek(map, field)) {
                for name in texts(peek(entry, "path")) {
                    self.file(at, name)?;
                }
            }
        }
        for name in texts(peek(map, "openapi").and_then(Value::as_object).and_then(|openapi| peek(openapi, "path"))) {
            self.file(at, name)?;
        }
        for field in ["configMapGenerator", "secretGenerator"] {
            for entry in maps(peek(map, field)) {
                self.pairs(at, entry)?;
            }
        }
        for field in ["generators", "transformers", "validators"] {
            for name in texts(peek(map, field)) {
                if name.contains('\n') || is_inline(name) {
                    self.config(at, name)?;
                } else {
                    self.resource(at, name, Some(at), depth)?;
                }
            }
        }
        self.charts(at, map)
    }

    /// A file, a directory with a kustomization, or something elsewhere.
    fn resource(&mut self, at: &str, name: &str, config: Option<&str>, depth: usize) -> Result<(), RenderError> {
        if self.remote(name)? {
            return Ok(());
        }
        let path = below(at, name)?;
        match self.tree.kind(&path)? {
            Some(Kind::File { .. }) => {
                if let Some(base) = config {
                    self.config(base, &self.tree.text(&path)?)?;
                }
                self.found.paths.insert(path);
                Ok(())
            }
            Some(Kind::Directory) => self.directory(&path, None, config, depth + 1),
            _ => {
                self.found.missing = true;
                Ok(())
            }
        }
    }

    /// A file that must be there.
    fn file(&mut self, at: &str, name: &str) -> Result<(), RenderError> {
        if self.remote(name)? {
            return Ok(());
        }
        let path = below(at, name)?;
        if self.tree.is_file(&path)? {
            self.found.paths.insert(path);
        } else {
            self.found.missing = true;
        }
        Ok(())
    }

    fn remote(&mut self, name: &str) -> Result<bool, RenderError> {
        match remote::of(name) {
            None => Ok(false),
            Some(Ok(remote)) => {
                self.found.remotes.insert(remote);
                Ok(true)
            }
            Some(Err(reason)) => Err(RenderError::Spec(format!("kustomize: {reason}; it is refused"))),
        }
    }

    /// The sources of a generated ConfigMap or Secret.
    fn pairs(&mut self, at: &str, generator: &Map<String, Value>) -> Result<(), RenderError> {
        for name in texts(peek(generator, "files")) {
            self.file(at, name.split_once('=').map_or(name, |(_, path)| path))?;
        }
        for field in ["envs", "env"] {
            for name in texts(peek(generator, field)) {
                self.file(at, name)?;
            }
        }
        Ok(())
    }

    /// Documents that configure plugins: what they name is taken as Kustomize's own plugins take it, and any other text that
    /// happens to be a file is taken too.
    fn config(&mut self, at: &str, text: &str) -> Result<(), RenderError> {
        for document in parse::parse_documents(text).unwrap_or_default() {
            let Value::Object(map) = &document else { continue };
            if peek(map, "apiVersion").and_then(Value::as_str) == Some("builtin") {
                self.builtin(at, map)?;
            }
            self.mentioned(at, &document)?;
        }
        Ok(())
    }

    /// The configuration of one of Kustomize's own plugins.
    fn builtin(&mut self, at: &str, map: &Map<String, Value>) -> Result<(), RenderError> {
        self.pairs(at, map)?;
        for field in ["path", "targetFilePath"] {
            for name in texts(peek(map, field)) {
                self.file(at, name)?;
            }
        }
        for field in ["patches", "replacements"] {
            for entry in maps(peek(map, field)) {
                for name in texts(peek(entry, "path")) {
                    self.file(at, name)?;
                }
            }
        }
        for name in texts(peek(map, "paths")) {
            if !name.contains('\n') && !is_inline(name) {
                self.file(at, name)?;
            }
        }
        match peek(map, "kind").and_then(Value::as_str) {
            Some("HelmChartInflationGenerator") => self.chart(at, map, map),
            _ => Ok(()),
        }
    }

    fn mentioned(&mut self, at: &str, value: &Value) -> Result<(), RenderError> {
        match value {
            Value::String(text) if text.len() <= PATH_LENGTH_MAX && !text.contains('\n') => {
                let path = text.split_once('=').map_or(text.as_str(), |(_, path)| path);
                if let Ok(path) = clean(&join(at, path))
                    && !path.is_empty()
                    && self.tree.is_file(&path)?
                {
                    self.found.paths.insert(path);
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.mentioned(at, item)),
            Value::Object(map) => map.values().try_for_each(|item| self.mentioned(at, item)),
            _ => Ok(()),
        }
    }

    fn charts(&mut self, at: &str, map: &Map<String, Value>) -> Result<(), RenderError> {
        let nothing = Map::new();
        let globals = peek(map, "helmGlobals").and_then(Value::as_object).unwrap_or(&nothing);
        for chart in maps(peek(map, "helmCharts")) {
            self.chart(at, chart, globals)?;
        }
        for old in maps(peek(map, "helmChartInflationGenerator")) {
            let renamed: Map<String, Value> = [
                ("chartName", "name"),
                ("chartVersion", "version"),
                ("chartRepoUrl", "repo"),
                ("values", "valuesFile"),
                ("releaseName", "releaseName"),
            ]
            .into_iter()
            .filter_map(|(old_name, name)| Some((name.to_owned(), peek(old, old_name)?.clone())))
            .collect();
            self.chart(at, &renamed, if peek(old, "chartHome").is_some() { old } else { globals })?;
        }
        Ok(())
    }

    /// One chart: in the repository, or to be fetched. What Helm would take for an option is refused (research/pains.md S-09).
    fn chart(&mut self, at: &str, chart: &Map<String, Value>, globals: &Map<String, Value>) -> Result<(), RenderError> {
        self.found.charts = true;
        let text = |map: &Map<String, Value>, name: &str| {
            peek(map, name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for field in ["name", "releaseName", "version", "repo", "namespace", "kubeVersion", "nameTemplate"] {
            if text(chart, field).starts_with('-') {
                return Err(RenderError::Spec(format!(
                    "kustomize: helmCharts: {field}: {:?} would be an option of helm; it is refused",
                    text(chart, field)
                )));
            }
        }
        let (name, version, repository) = (text(chart, "name"), text(chart, "version"), text(chart, "repo"));
        let home = match text(globals, "chartHome") {
            home if home.is_empty() => below(at, "charts")?,
            home => below(at, &home)?,
        };
        let own = below(&home, &name)?;
        let versioned = below(&home, &format!("{name}-{version}/{name}"))?;
        let mut there = false;
        for place in [own, versioned] {
            if !name.is_empty() && self.tree.is_directory(&place)? {
                self.found.paths.insert(place);
                there = true;
            }
        }
        if !there && !repository.is_empty() {
            remote::chart(&repository)
                .map_err(|reason| RenderError::Spec(format!("kustomize: helmCharts: {repository:?}: {reason}")))?;
            self.found.fetches_charts = true;
        }
        for field in ["valuesFile", "additionalValuesFiles"] {
            for name in texts(peek(chart, field)) {
                self.file(at, name)?;
            }
        }
        Ok(())
    }
}

/// A path as a kustomization names it, from the root of the repository.
fn below(at: &str, name: &str) -> Result<String, TreeError> {
    if name.starts_with('/') {
        return Err(TreeError::Outside { path: name.to_owned(), target: name.to_owned() });
    }
    clean(&join(at, name))
}

/// The text, or all texts of the list.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Some(Value::String(text)) => (Some(text.as_str()), None),
        Some(Value::Array(items)) => (None, Some(items)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

fn maps(value: Option<&Value>) -> impl Iterator<Item = &Map<String, Value>> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn is_inline(text: &str) -> bool {
    text.contains(['{', '[']) && parse::parse_value(text).is_ok_and(|value| value.is_object() || value.is_array())
}

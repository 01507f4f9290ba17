//! The values that a chart is given: `valueFiles` with globs, `$ref` and URLs, then `valuesObject` or `values`; and the files of
//! `fileParameters` (Argo CD, user guide, "Helm", "Multiple Sources"). All files are read through trees, so that none outside of
//! a repository is (research/pains.md S-01, S-05).
use std::cmp::Ordering;
use std::collections::BTreeSet;

use globset::GlobBuilder;
use serde_json::Value;
use tako_engine::repository::Repository;
use tako_engine::source::Helm;

use crate::charts;
use crate::environment::Environment;
use crate::git::redact;
use crate::request::{RenderError, Request};
use crate::sops::{self, Keys};
use crate::tree::{Kind, Tree, clean, join};

/// A file that is given to Helm.
pub(super) struct Taken {
    /// As people know it.
    pub(super) shown: String,
    pub(super) bytes: Vec<u8>,
    /// It was encrypted, and is open now: what is made of it must be sealed.
    pub(super) opened: bool,
}

impl Taken {
    fn new(shown: String, bytes: Vec<u8>) -> Self {
        Self { shown, bytes, opened: false }
    }

    /// Open, when it is encrypted and there are keys (ADR 0010).
    fn open(mut self, keys: Option<&Keys>) -> Result<Self, RenderError> {
        if let (Some(keys), Ok(text)) = (keys, std::str::from_utf8(&self.bytes))
            && sops::is_encrypted_text(&self.shown, text)
        {
            let text = sops::decrypt_text(&self.shown, text, keys)?;
            (self.bytes, self.opened) = (text.into_bytes(), true);
        }
        Ok(self)
    }
}

/// Where files are looked for.
pub(super) struct Files<'a> {
    pub(super) request: &'a Request,
    /// The directory of the chart.
    pub(super) chart: &'a str,
    pub(super) environment: &'a Environment,
}

/// Where an entry leads.
enum Place<'a> {
    Tree {
        /// The `ref`; empty for the source's own tree.
        reference: &'a str,
        tree: &'a Tree,
        path: String,
    },
    Web(String),
}

impl<'a> Files<'a> {
    /// All files of values, weakest first.
    pub(super) fn values(&self, told: &Helm) -> Result<Vec<Taken>, RenderError> {
        let places: Vec<Place<'_>> = told.value_files.iter().map(|raw| self.place(raw)).collect::<Result<_, _>>()?;
        // What is named itself keeps its place, whichever pattern matches it too.
        let mut seen: BTreeSet<(&str, String)> = BTreeSet::new();
        for place in &places {
            if let Place::Tree { reference, path, .. } = place
                && !is_glob(path)
            {
                seen.insert((*reference, path.clone()));
            }
        }
        let mut taken = Vec::new();
        for (raw, place) in told.value_files.iter().zip(&places) {
            match place {
                Place::Web(url) => taken.push(self.web(url)?),
                Place::Tree { reference, tree, path } if is_glob(path) => {
                    let matched = matched(tree, path)?;
                    if matched.is_empty() && !told.ignore_missing_value_files {
                        return Err(RenderError::Spec(format!(
                            "values file glob \"{raw}\" matched no files; add one, or set spec.source.helm.ignoreMissingValueFiles"
                        )));
                    }
                    for path in matched {
                        if seen.insert((*reference, path.clone())) {
                            taken.push(read(reference, tree, &path)?);
                        }
                    }
                }
                Place::Tree { reference, tree, path } => {
                    if tree.is_file(path)? {
                        taken.push(read(reference, tree, path)?);
                    } else if !told.ignore_missing_value_files {
                        return Err(RenderError::Spec(format!(
                            "{raw}: no such values file ({}); correct spec.source.helm.valueFiles",
                            shown(reference, path)
                        )));
                    }
                }
            }
        }
        taken.extend(inline(told));
        taken.into_iter().map(|taken| taken.open(self.request.sops.as_deref())).collect()
    }

    /// The file of a parameter.
    pub(super) fn parameter(&self, raw: &str) -> Result<Taken, RenderError> {
        match self.place(raw)? {
            Place::Web(url) => self.web(&url),
            Place::Tree { reference, tree, path } => {
                if !tree.is_file(&path)? {
                    return Err(RenderError::Spec(format!(
                        "{raw}: no such file ({}); correct spec.source.helm.fileParameters",
                        shown(reference, &path)
                    )));
                }
                read(reference, tree, &path)?.open(self.request.sops.as_deref())
            }
        }
    }

    fn place(&self, raw: &str) -> Result<Place<'a>, RenderError> {
        if let Some(rest) = raw.strip_prefix('$') {
            let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
            if let Some((reference, lent)) = self.request.refs.get_key_value(name) {
                let path = clean(self.environment.substitute(path).trim_start_matches('/'))?;
                return Ok(Place::Tree { reference, tree: &lent.tree, path });
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if end > 0 && self.environment.get(&rest[..end]).is_none() {
                return Err(RenderError::Spec(format!(
                    "{raw}: source referenced \"${name}\", but no source has a 'ref' field of that name; correct spec.sources"
                )));
            }
        }
        let text = self.environment.substitute(raw);
        if let Some(scheme) = scheme(&text) {
            let schemes = &self.request.settings.helm_value_schemes;
            if !schemes.iter().any(|allowed| allowed.eq_ignore_ascii_case(scheme)) {
                return Err(RenderError::Spec(format!(
                    "{}: the URL scheme \"{scheme}\" is not allowed; use one of helm.valuesFileSchemes: {}",
                    redact(raw),
                    schemes.join(", ")
                )));
            }
            return Ok(Place::Web(text));
        }
        // From the root of the repository, not of the machine.
        let path = match text.strip_prefix('/') {
            Some(_) => clean(text.trim_start_matches('/'))?,
            None => clean(&join(self.chart, &text))?,
        };
        Ok(Place::Tree { reference: "", tree: &self.request.tree, path })
    }

    fn web(&self, url: &str) -> Result<Taken, RenderError> {
        if !matches!(scheme(url).map(str::to_ascii_lowercase).as_deref(), Some("http" | "https")) {
            return Err(RenderError::Spec(format!(
                "{}: only http and https are fetched; render with a config management plugin what needs a plugin of Helm",
                redact(url)
            )));
        }
        // Nobody's credentials go there: the URL is the Application's own.
        let nobody = Repository { url: url.to_owned(), ..Repository::default() };
        let settings = &self.request.settings;
        let bytes = charts::file(&nobody, url, &settings.trust.0, settings.exec_timeout)?;
        Ok(Taken::new(redact(url), bytes))
    }
}

/// `scheme://`; what has none is a path.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (first && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))).then_some(scheme)
}

fn read(reference: &str, tree: &Tree, path: &str) -> Result<Taken, RenderError> {
    Ok(Taken::new(shown(reference, path), tree.read(path)?))
}

fn shown(reference: &str, path: &str) -> String {
    if reference.is_empty() { path.to_owned() } else { format!("${reference}/{path}") }
}

/// `valuesObject`, else `values`; JSON is YAML.
fn inline(told: &Helm) -> Option<Taken> {
    let text = match &told.values_object {
        Some(object) if *object != Value::Null => object.to_string(),
        _ => told.values.clone().unwrap_or_default(),
    };
    let name = if told.values_object.is_some() { "spec.source.helm.valuesObject" } else { "spec.source.helm.values" };
    (!text.is_empty()).then(|| Taken::new(name.to_owned(), text.into_bytes()))
}

fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The files that a pattern matches: of each directory its own files by name, then the directories in it.
fn matched(tree: &Tree, pattern: &str) -> Result<Vec<String>, RenderError> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let fixed = parts.iter().take_while(|part| !is_glob(part)).count();
    let (base, rest) = (parts[..fixed].join("/"), parts[fixed..].join("/"));
    let glob = GlobBuilder::new(&rest).literal_separator(true).backslash_escape(true).build().map_err(|error| {
        RenderError::Spec(format!("values file glob \"{pattern}\": {}; correct the pattern", error.kind()))
    })?;
    if tree.kind(&base)? != Some(Kind::Directory) {
        return Ok(Vec::new());
    }
    let glob = glob.compile_matcher();
    let deep = rest.contains('/') || rest.contains("**");
    let mut found: Vec<String> = tree.files(&base, deep)?.into_iter().filter(|path| glob.is_match(path)).collect();
    found.sort_by(|left, right| walked(left, right));
    Ok(found.into_iter().map(|path| join(&base, &path)).collect())
}

/// The order of doublestar's walk.
fn walked(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('/').peekable(), right.split('/').peekable());
    loop {
        match (left.next(), right.next()) {
            (Some(one), Some(other)) => {
                let deeper = left.peek().is_some().cmp(&right.peek().is_some());
                match deeper.then_with(|| one.cmp(other)) {
                    Ordering::Equal => {}
                    order => return order,
                }
            }
            (one, other) => return one.is_some().cmp(&other.is_some()),
        }
    }
}

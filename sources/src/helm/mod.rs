//! Charts, by the real Helm: `helm template`, in a jail that holds the chart and what it is given, without network (Argo CD, user guide,
//! "Helm"). What must be fetched is fetched before, by us. Knows nothing of hooks: they are manifests like others here.
mod dependencies;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tako_engine::source::{Helm, HelmParameter};

use self::dependencies::Chart;
use self::values::{Files, Taken};
use crate::environment::Environment;
use crate::process::{ProcessError, Program};
use crate::render::Made;
use crate::request::{RenderError, Request, Tools};
use crate::sops;
use crate::tree::join;

/// In errors.
const TOOL: &str = "helm";
/// Where the files of the repository are in the jail.
const REPO: &str = "repo";
/// What Helm says when a chart's dependencies are not in `charts/`.
const MISSING: &str = "missing in charts/ directory";
/// Between the manifests that Helm prints, with the template they come from.
const SEPARATOR: &str = "---\n# Source: ";

/// Renders a chart.
pub(crate) fn render(request: &Request) -> Result<Made, RenderError> {
    let program = program(request)?;
    let chart = Chart::read(&request.tree, &request.path()?)?;
    // What can be seen to be missing is fetched at once; else Helm itself says so.
    let mut build = chart.lacks(&request.tree)?;
    loop {
        match once(request, &program, &chart, build) {
            Err(RenderError::Tool { source: ProcessError::Failed { ref stderr, .. }, .. })
                if !build && stderr.contains(MISSING) =>
            {
                build = true;
            }
            made => return made,
        }
    }
}

fn once(request: &Request, program: &Path, chart: &Chart, build: bool) -> Result<Made, RenderError> {
    let jail = request.jail()?;
    let repo = jail.path().join(REPO);
    let told = request.source.helm.clone().unwrap_or_default();
    let mut wanted = vec![chart.directory().to_owned()];
    if build {
        wanted.extend(chart.local()?);
    }
    request.tree.export(&wanted.iter().map(String::as_str).collect::<Vec<_>>(), &repo)?;
    if build {
        dependencies::build(request, program, chart, jail.path())?;
    }
    let environment = Environment::of(request);
    let files = Files { request, chart: chart.directory(), environment: &environment };
    let line = Line::of(request, &told, &files, jail.path())?;
    let output = Program::new(program, jail.path())
        .args(line.args.iter().cloned())
        .time(request.settings.exec_timeout)
        .run()
        .map_err(|error| line.told(error))?;
    let text = String::from_utf8(output.stdout).map_err(|_| RenderError::Failed {
        tool: TOOL,
        message: "what the templates made is not UTF-8; look for binary files that they include".to_owned(),
    })?;
    let mut manifests = manifests(&text)?;
    if let Some(keys) = request.sops.as_deref().filter(|_| line.opened) {
        // A chart may print what it is given anywhere.
        manifests = manifests.iter().map(|manifest| sops::seal(manifest, keys)).collect::<Result<_, _>>()?;
    }
    Ok(Made { manifests, commands: vec![line.shown()] })
}

/// The program, when it is a Helm that we know how to ask. Its version is asked once.
fn program(request: &Request) -> Result<PathBuf, RenderError> {
    let program = Tools::find(request.settings.tools.helm.as_deref(), TOOL).ok_or_else(|| {
        RenderError::Spec("helm is not there; install Helm 3 or 4 in PATH, or set the path of the program".to_owned())
    })?;
    let version = version(request, &program)?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 3) {
        return Ok(program);
    }
    Err(RenderError::Spec(format!("helm has version {version}; Helm 3 or 4 is wanted")))
}

/// The version of a program: `v4.3.1`.
fn version(request: &Request, program: &Path) -> Result<String, RenderError> {
    static KNOWN: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known().get(program) {
        return Ok(version.clone());
    }
    let jail = request.jail()?;
    let asked = Program::new(program, jail.path()).args(["version", "--template", "{{.Version}}"]).run();
    let said = asked.map_err(|source| RenderError::Tool { tool: TOOL, source })?.stdout;
    let version = String::from_utf8_lossy(&said).trim().to_owned();
    known().insert(program.to_owned(), version.clone());
    Ok(version)
}

/// A command line: for the program, and for people.
#[derive(Default)]
struct Line {
    args: Vec<String>,
    people: Vec<String>,
    /// What files are called in the jail, and what they are.
    names: Vec<(String, String)>,
    /// Encrypted files were opened for it.
    opened: bool,
}

impl Line {
    fn of(request: &Request, told: &Helm, files: &Files<'_>, jail: &Path) -> Result<Self, RenderError> {
        let mut line = Self::default();
        line.add(["template"]);
        let namespace = told.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or(&request.app.destination_namespace);
        if !namespace.is_empty() {
            line.add(["--namespace", namespace]);
        }
        // A version such as `1.33+` is none for Helm (Argo CD leaves the plus out).
        let kube = told.kube_version.as_deref().filter(|version| !version.is_empty());
        let kube = kube.unwrap_or(&request.cluster.kube_version).replace('+', "");
        if !kube.is_empty() {
            line.add(["--kube-version", &kube]);
        }
        line.parameters(&told.parameters, files.environment);
        for (number, parameter) in told.file_parameters.iter().enumerate() {
            let taken = files.parameter(&parameter.path)?;
            let shown = taken.shown.clone();
            let name = line.put(jail, "files", &number.to_string(), &taken)?;
            line.pair("--set-file", format!("{}={name}", parameter.name), format!("{}={shown}", parameter.name));
        }
        for (number, taken) in files.values(told)?.iter().enumerate() {
            let name = line.put(jail, "values", &format!("{number}.yaml"), taken)?;
            line.pair("--values", name, taken.shown.clone());
        }
        let versions =
            if told.api_versions.is_empty() { &request.cluster.api_versions[..] } else { &told.api_versions[..] };
        for version in versions {
            line.args.extend(["--api-versions".to_owned(), version.clone()]);
        }
        // Hundreds of them tell nobody anything.
        if !versions.is_empty() {
            line.people.push(format!("--api-versions … ({})", versions.len()));
        }
        for (wanted, flag) in [
            (!told.skip_crds, "--include-crds"),
            (told.skip_tests, "--skip-tests"),
            (told.skip_schema_validation, "--skip-schema-validation"),
        ] {
            if wanted {
                line.add([flag]);
            }
        }
        let release = told.release_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&request.app.name);
        line.add(["--", release]);
        let chart = files.chart;
        line.args.push(format!("./{}", join(REPO, chart)));
        line.people.push(quoted(if chart.is_empty() { "." } else { chart }));
        Ok(line)
    }

    fn add<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        for word in words {
            self.args.push(word.to_owned());
            self.people.push(quoted(word));
        }
    }

    fn pair(&mut self, flag: &str, value: String, shown: String) {
        self.args.extend([flag.to_owned(), value]);
        self.people.extend([flag.to_owned(), quoted(&shown)]);
    }

    /// `--set` and `--set-string`, of one name the last.
    fn parameters(&mut self, parameters: &[HelmParameter], environment: &Environment) {
        let mut seen = BTreeSet::new();
        let mut last: Vec<&HelmParameter> = parameters.iter().rev().collect();
        last.retain(|parameter| seen.insert((parameter.force_string, parameter.name.as_str())));
        for parameter in last.into_iter().rev() {
            let value = escaped(&environment.substitute(&parameter.value));
            let flag = if parameter.force_string { "--set-string" } else { "--set" };
            let said = format!("{}={value}", parameter.name);
            self.pair(flag, said.clone(), said);
        }
    }

    /// Writes a file that Helm reads, under a name without commas and braces.
    fn put(&mut self, jail: &Path, kind: &str, name: &str, taken: &Taken) -> Result<String, RenderError> {
        let path = format!("{kind}/{name}");
        let fail = |error: std::io::Error| RenderError::Scratch {
            path: jail.display().to_string(),
            reason: error.to_string(),
        };
        std::fs::create_dir_all(jail.join(kind)).map_err(fail)?;
        std::fs::write(jail.join(&path), &taken.bytes).map_err(fail)?;
        self.names.push((path.clone(), taken.shown.clone()));
        self.opened |= taken.opened;
        Ok(path)
    }

    fn shown(&self) -> String {
        format!("{TOOL} {}", self.people.join(" "))
    }

    /// The error with the names that people know.
    fn told(&self, error: ProcessError) -> RenderError {
        // The highest numbers first, so that `values/1` is not found in `values/10`.
        let known = |text: String| {
            let mut text = self.names.iter().rev().fold(text, |text, (path, shown)| text.replace(path.as_str(), shown));
            if text.contains(&format!("{REPO}/")) {
                text = text.replace(&format!("{REPO}/"), "");
            }
            text
        };
        // What Helm says may quote a value.
        let known = |text: String| {
            if self.opened {
                "(hidden, for encrypted values were opened; render with values of your own to see it)".to_owned()
            } else {
                known(text)
            }
        };
        let source = match error {
            ProcessError::Failed { how, stderr, .. } => {
                ProcessError::Failed { command: self.shown(), how, stderr: known(stderr) }
            }
            ProcessError::Timeout { after, stderr, .. } => {
                ProcessError::Timeout { command: self.shown(), after, stderr: known(stderr) }
            }
            ProcessError::TooMuch { limit, .. } => ProcessError::TooMuch { command: self.shown(), limit },
            other @ ProcessError::Start { .. } => other,
        };
        RenderError::Tool { tool: TOOL, source }
    }
}

/// A word of a command line as one types it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A value of `--set`: commas do not part it, but in a list in braces (Argo CD, user guide, "Helm").
fn escaped(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let (mut done, mut last) = (String::with_capacity(value.len()), '\0');
    for c in value.chars() {
        if c == ',' && last != '\\' {
            done.push('\\');
        }
        done.push(c);
        last = c;
    }
    done
}

/// What Helm printed, template by template, so that an error names the template.
fn manifests(text: &str) -> Result<Vec<Value>, RenderError> {
    let mut starts: Vec<usize> = text.match_indices(&format!("\n{SEPARATOR}")).map(|(at, _)| at + 1).collect();
    starts.insert(0, 0);
    starts.push(text.len());
    let mut found = Vec::new();
    for part in starts.windows(2).map(|pair| &text[pair[0]..pair[1]]) {
        match part.strip_prefix(SEPARATOR) {
            Some(part) => {
                let (template, body) = part.split_once('\n').unwrap_or((part, ""));
                found.extend(Request::parse(&format!("{} (rendered)", template.trim()), body)?);
            }
            None => found.extend(Request::parse("what helm printed", part)?),
        }
    }
    Ok(found)
}

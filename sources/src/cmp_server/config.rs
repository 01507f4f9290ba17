//! `plugin.yaml`: what a plugin does (Argo CD, operator manual, "Config Management Plugins"). Pure but for reading the file.
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use serde_json::Value;

use crate::plugin::Announcement;
use crate::tree::clean;

/// The file in the configuration's directory.
const FILE: &str = "plugin.yaml";

/// The file is no good: which field, and what it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}: {problem}")]
pub struct ConfigError {
    file: String,
    problem: String,
}

/// A `ConfigManagementPlugin`.
#[derive(Debug, Clone)]
pub struct Config {
    /// `metadata.name`, with `-` and `spec.version` when there is one: how an Application names it, and its socket.
    pub name: String,
    pub(super) init: Option<Vec<String>>,
    pub(super) generate: Vec<String>,
    pub(super) discover: Option<Discover>,
    pub(super) announced: Vec<Announcement>,
    pub(super) announce: Option<Vec<String>>,
    pub(super) preserve_file_mode: bool,
    pub(super) provide_git_creds: bool,
}

/// How a plugin finds its sources. The first that is set counts.
#[derive(Debug, Clone)]
pub(super) enum Discover {
    /// A pattern of names in the source's directory; it has so many parts.
    FileName(GlobMatcher, usize),
    /// A glob below the source's directory.
    Glob(GlobMatcher),
    /// A command that prints something.
    Command(Vec<String>),
}

impl Config {
    /// Whether an unnamed plugin may be this one.
    pub fn discovers(&self) -> bool {
        self.discover.is_some()
    }

    /// Reads `plugin.yaml` of a directory.
    pub fn read(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(FILE);
        let fail = |problem: String| ConfigError { file: path.display().to_string(), problem };
        let text = std::fs::read_to_string(&path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value = tako_engine::parse::parse_value(text)?;
        let field = Field { value: &value, path: String::new() };
        let kind = field.get("kind").text()?;
        if kind != "ConfigManagementPlugin" {
            return Err(format!("kind: ConfigManagementPlugin is wanted, found {kind:?}"));
        }
        let metadata = field.get("metadata").get("name");
        let (name, spec) = (metadata.text()?, field.get("spec"));
        if name.is_empty() {
            return Err("metadata.name: a name is wanted".to_owned());
        }
        let version = spec.get("version").text()?;
        let name = if version.is_empty() { name } else { format!("{name}-{version}") };
        if name.contains(['/', '\0']) || name.starts_with('.') {
            return Err(format!("metadata.name and spec.version: {name:?} cannot be the name of a socket"));
        }
        let generate = spec
            .get("generate")
            .command()?
            .ok_or("spec.generate.command: a command is wanted; it prints the manifests")?;
        let parameters = spec.get("parameters");
        Ok(Self {
            name,
            init: spec.get("init").command()?,
            generate,
            discover: discover(&spec.get("discover"))?,
            announced: parameters.get("static").announcements()?,
            announce: parameters.get("dynamic").command()?,
            preserve_file_mode: spec.get("preserveFileMode").truth()?,
            provide_git_creds: spec.get("provideGitCreds").truth()?,
        })
    }
}

fn discover(field: &Field<'_>) -> Result<Option<Discover>, String> {
    let file_name = field.get("fileName");
    let find = field.get("find");
    let pattern = file_name.text()?;
    if !pattern.is_empty() {
        // Go's filepath.Glob: no `**` and no braces, and each part of the pattern is one of the path.
        let pattern = clean(&pattern).map_err(|error| file_name.wrong(&error.to_string()))?;
        let parts = pattern.split('/').count();
        let plain = pattern.replace("**", "*").replace('{', "[{]").replace('}', "[}]");
        return Ok(Some(Discover::FileName(file_name.glob(&plain)?, parts)));
    }
    let glob = find.get("glob");
    let pattern = glob.text()?;
    if !pattern.is_empty() {
        let pattern = clean(&pattern).map_err(|error| glob.wrong(&error.to_string()))?;
        return Ok(Some(Discover::Glob(glob.glob(&pattern)?)));
    }
    Ok(find.command()?.map(Discover::Command))
}

/// A field with the way to it, for errors.
struct Field<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    fn get(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { value: self.value.get(name).unwrap_or(&Value::Null), path }
    }

    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.path)
    }

    fn text(&self) -> Result<String, String> {
        match self.value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            other => Err(self.wrong(&format!("a text is wanted, found {other}; put it in quotes"))),
        }
    }

    fn truth(&self) -> Result<bool, String> {
        match self.value {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(*truth),
            other => Err(self.wrong(&format!("true or false is wanted, found {other}"))),
        }
    }

    fn texts(&self) -> Result<Vec<String>, String> {
        let wrong = || self.wrong("a list of texts is wanted");
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            _ => Err(wrong()),
        }
    }

    /// `command` and `args` as one command line; none when the command is empty.
    fn command(&self) -> Result<Option<Vec<String>>, String> {
        if !(self.value.is_null() || self.value.is_object()) {
            return Err(self.wrong("a mapping with command and args is wanted"));
        }
        let mut line = self.get("command").texts()?;
        let args = self.get("args").texts()?;
        if line.is_empty() {
            return Ok(None);
        }
        line.extend(args);
        Ok(Some(line))
    }

    fn glob(&self, pattern: &str) -> Result<GlobMatcher, String> {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        Ok(glob.map_err(|error| self.wrong(&error.to_string()))?.compile_matcher())
    }

    fn announcements(&self) -> Result<Vec<Announcement>, String> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            value => serde_json::from_value(value.clone())
                .map_err(|error| self.wrong(&format!("a list of parameters is wanted: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: argoproj.io/v1alpha1
kind: ConfigManagementPlugin
metadata: {name: cue}
spec:
  version: v1.0
  init: {command: [sh], args: [-c, 'echo hi']}
  generate: {command: [cue, export], args: [./...]}
  discover: {find: {glob: '**/*.cue'}}
  parameters:
    static: [{name: tag, required: true, itemType: string, collectionType: map, map: {a: b}}]
    dynamic: {command: [announce]}
  preserveFileMode: true
";

    #[test]
    fn a_plugin_is_read_with_all_its_fields() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.name, "cue-v1.0");
        assert_eq!(config.init.unwrap(), ["sh", "-c", "echo hi"]);
        assert_eq!(config.generate, ["cue", "export", "./..."]);
        assert!(
            matches!(config.discover, Some(Discover::Glob(glob)) if glob.is_match("a/b.cue") && glob.is_match("b.cue"))
        );
        let tag = &config.announced[0];
        assert_eq!((tag.name.as_str(), tag.required, tag.map["a"].as_str()), ("tag", true, "b"));
        assert_eq!((config.announce.unwrap(), config.preserve_file_mode), (vec!["announce".to_owned()], true));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        for (from, to, want) in [
            ("kind: ConfigManagementPlugin", "kind: Pod", "kind: ConfigManagementPlugin is wanted"),
            ("name: cue", "title: cue", "metadata.name: a name is wanted"),
            ("name: cue", "name: ../cue", "metadata.name and spec.version"),
            ("version: v1.0", "version: 1.0", "spec.version: a text is wanted"),
            ("generate: {command: [cue, export], args: [./...]}", "generate: {args: [x]}", "spec.generate.command: "),
            ("command: [cue, export]", "command: cue", "spec.generate.command: a list of texts"),
            ("init: {command: [sh], args: [-c, 'echo hi']}", "init: make", "spec.init: a mapping"),
            ("'**/*.cue'", "'['", "spec.discover.find.glob: "),
            ("find: {glob: '**/*.cue'}", "fileName: ../x", "spec.discover.fileName: "),
            ("preserveFileMode: true", "preserveFileMode: yes please", "spec.preserveFileMode: true or false"),
            ("static: [{name: tag, required: true", "static: [{name: tag, required: 7", "spec.parameters.static: "),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let error = Config::parse(&text).unwrap_err();
            assert!(error.starts_with(want), "{to}: {error}");
        }
    }

    #[test]
    fn the_first_rule_of_discovery_counts() {
        let rule =
            |discover: &str| Config::parse(&GOOD.replace("{find: {glob: '**/*.cue'}}", discover)).unwrap().discover;
        let both = rule("{fileName: './sub*/x{y}.yaml', find: {glob: '*', command: [x]}}");
        assert!(matches!(both, Some(Discover::FileName(glob, 2)) if glob.is_match("sub1/x{y}.yaml")));
        assert!(
            matches!(rule("{find: {command: [sh], args: [x]}}"), Some(Discover::Command(line)) if line == ["sh", "x"])
        );
        assert!(rule("{}").is_none());
    }
}

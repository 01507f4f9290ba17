//! Which files of a directory are manifests (Argo CD, user guide, "Directory"). Pure.
use crate::app::Source;
use crate::glob::Glob;

/// A file that holds this text is left out.
pub const SKIP_MARKER: &str = "+argocd:skip-file-rendering";

/// What a file of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// None of ours.
    No,
    /// YAML or JSON.
    Manifest,
    /// A Jsonnet program.
    Jsonnet,
}

/// The rules of one source.
#[derive(Debug, Default)]
pub struct DirectoryRules {
    recurse: bool,
    any_extension: bool,
    include: Option<Pattern>,
    exclude: Option<Pattern>,
}

/// A glob over the whole path, which `*` crosses (gobwas/glob without separators, as Argo CD calls it). One that cannot be
/// read matches nothing.
#[derive(Debug)]
struct Pattern(Option<Glob>);

impl Pattern {
    fn of(text: &Option<String>) -> Option<Self> {
        text.as_deref().filter(|text| !text.is_empty()).map(|text| Self(Glob::new(text).ok()))
    }

    fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_some_and(|glob| glob.matches(path))
    }
}

impl From<&Source> for DirectoryRules {
    fn from(source: &Source) -> Self {
        let Some(directory) = &source.directory else { return Self::default() };
        Self {
            recurse: directory.recurse.unwrap_or_default(),
            any_extension: directory.disable_extension_filter,
            include: Pattern::of(&directory.include),
            exclude: Pattern::of(&directory.exclude),
        }
    }
}

impl DirectoryRules {
    /// Sub-directories count too.
    pub fn recurse(&self) -> bool {
        self.recurse
    }

    /// What the file at this path, relative to the source, is.
    pub fn select(&self, path: &str) -> Selected {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        let found = match extension {
            "jsonnet" => Selected::Jsonnet,
            "yaml" | "yml" | "json" => Selected::Manifest,
            _ if self.any_extension => Selected::Manifest,
            _ => Selected::No,
        };
        let wanted = (self.recurse || !path.contains('/'))
            && self.include.as_ref().is_none_or(|glob| glob.matches(path))
            && !self.exclude.as_ref().is_some_and(|glob| glob.matches(path));
        if wanted { found } else { Selected::No }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn files_are_chosen_as_argo_cd_chooses() {
        let cases = [
            (json!({}), "a.yaml", true),
            (json!({}), "a.txt", false),
            (json!({}), "sub/a.yaml", false),
            (json!({"recurse": true}), "sub/a.yml", true),
            (json!({"recurse": true, "exclude": "sub/*"}), "sub/a.yml", false),
            (json!({"include": "{a,b}.yaml"}), "b.yaml", true),
            (json!({"include": "{a,b}.yaml"}), "c.yaml", false),
            (json!({"exclude": "{c.json,d*}"}), "d1.yaml", false),
            (json!({"include": "[", "recurse": true}), "a.yaml", false),
            (json!({"exclude": "["}), "a.yaml", true),
            (json!({"recurse": true, "include": "*.yaml"}), "deep/er/a.yaml", true),
            (json!({"recurse": true, "include": "deep/?/a.yaml"}), "deep/x/a.yaml", true),
            (json!({"recurse": true, "include": "**/a.yaml"}), "a.yaml", false),
            (json!({"recurse": true, "include": "*", "exclude": "{*/secret.yaml,tmp*}"}), "a/secret.yaml", false),
            (json!({"recurse": true, "exclude": "[a-c]*"}), "b/x.yaml", false),
            (json!({"recurse": true, "exclude": "[!a]*"}), "a/x.yaml", true),
            (json!({}), ".yaml", true),
            (json!({"recurse": true}), "a.yaml/notes", false),
            (json!({"disableExtensionFilter": true}), "a.txt", true),
        ];
        for (directory, path, want) in cases {
            let source: Source = serde_json::from_value(json!({"repoURL": "r", "directory": directory})).unwrap();
            let want = if want { Selected::Manifest } else { Selected::No };
            assert_eq!(DirectoryRules::from(&source).select(path), want, "{directory} {path}");
        }
        assert_eq!(DirectoryRules::default().select("main.jsonnet"), Selected::Jsonnet);
        assert_eq!(DirectoryRules::default().select("lib.libsonnet"), Selected::No);
    }
}

//! Which files of a directory are manifests (Argo CD, user guide, "Directory"). Pure.
use globset::{Glob, GlobMatcher};

use crate::app::Source;

/// The rules of one source.
#[derive(Debug, Default)]
pub struct DirectoryRules {
    recurse: bool,
    include: Option<GlobMatcher>,
    exclude: Option<GlobMatcher>,
    /// A pattern that cannot be read matches nothing.
    broken_include: bool,
}

impl From<&Source> for DirectoryRules {
    fn from(source: &Source) -> Self {
        let Some(directory) = &source.directory else { return Self::default() };
        let matcher = |pattern: &Option<String>| {
            pattern
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(|text| Glob::new(text).ok().map(|glob| glob.compile_matcher()))
        };
        let include = matcher(&directory.include);
        Self {
            recurse: directory.recurse.unwrap_or_default(),
            broken_include: matches!(include, Some(None)),
            include: include.flatten(),
            exclude: matcher(&directory.exclude).flatten(),
        }
    }
}

impl DirectoryRules {
    /// Whether the file at this path, relative to the source, is a manifest.
    pub fn wants(&self, path: &str) -> bool {
        let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
        if !matches!(extension, "yaml" | "yml" | "json") || (!self.recurse && path.contains('/')) || self.broken_include
        {
            return false;
        }
        self.include.as_ref().is_none_or(|glob| glob.is_match(path))
            && !self.exclude.as_ref().is_some_and(|glob| glob.is_match(path))
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
        ];
        for (directory, path, want) in cases {
            let source: Source = serde_json::from_value(json!({"repoURL": "r", "directory": directory})).unwrap();
            assert_eq!(DirectoryRules::from(&source).wants(path), want, "{directory} {path}");
        }
    }
}

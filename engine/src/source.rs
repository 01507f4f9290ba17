//! `spec.source` of an Application, in the shape of its CRD: a repository, and what one of the tools is told to make
//! of it. Also what is said about the source in the repository itself (`.argocd-source.yaml`). Knows nothing of how
//! it is fetched or rendered.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::repository::RepositoryType;

/// How a field that is absent is left out again.
fn absent(flag: &bool) -> bool {
    !flag
}

shape! {
    /// `spec.source`.
    Source {
        /// The repository: git, Helm or OCI.
        #[serde(rename = "repoURL")]
        repo_url: String,
        /// The directory.
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Branch, tag, commit, HEAD, or version constraint.
        #[serde(skip_serializing_if = "Option::is_none")]
        target_revision: Option<String>,
        /// Taken off tags before they are compared with a version constraint.
        #[serde(skip_serializing_if = "Option::is_none")]
        tag_prefix: Option<String>,
        /// The chart, for Helm repositories.
        #[serde(skip_serializing_if = "Option::is_none")]
        chart: Option<String>,
        /// The name by which other sources of the Application take files from this one: `$ref/path`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// A name for people and for `--source-name`.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Rules for plain directories.
        #[serde(skip_serializing_if = "Option::is_none")]
        directory: Option<Directory>,
        /// What Helm is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        helm: Option<Helm>,
        /// What Kustomize is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        kustomize: Option<Kustomize>,
        /// Which plugin, and what it is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        plugin: Option<Plugin>,
    }
}
shape! {
    /// `spec.source.directory`.
    Directory {
        /// Take sub-directories too.
        #[serde(skip_serializing_if = "Option::is_none")]
        recurse: Option<bool>,
        /// Glob of files to take.
        #[serde(skip_serializing_if = "Option::is_none")]
        include: Option<String>,
        /// Glob of files to leave.
        #[serde(skip_serializing_if = "Option::is_none")]
        exclude: Option<String>,
        /// Files of any extension are manifests.
        #[serde(skip_serializing_if = "absent")]
        disable_extension_filter: bool,
        /// What Jsonnet files are given.
        #[serde(skip_serializing_if = "is_empty_jsonnet")]
        jsonnet: Jsonnet,
    }
}
shape! {
    /// `spec.source.directory.jsonnet`.
    Jsonnet {
        /// External variables.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        ext_vars: Vec<JsonnetVar>,
        /// Top-level arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tlas: Vec<JsonnetVar>,
        /// Library directories, from the root of the repository.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        libs: Vec<String>,
    }
}
shape! {
    /// One variable.
    JsonnetVar {
        /// Its name.
        name: String,
        /// A text, or Jsonnet.
        value: String,
        /// It is Jsonnet.
        #[serde(skip_serializing_if = "absent")]
        code: bool,
    }
}
shape! {
    /// `spec.source.helm`.
    Helm {
        /// Files of values, later ones win; `$ref/…`, globs and URLs are understood.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        value_files: Vec<String>,
        /// `--set`, stronger than all values.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<HelmParameter>,
        /// `--set-file`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        file_parameters: Vec<HelmFileParameter>,
        /// The release; the Application's name when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        release_name: Option<String>,
        /// Values as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        values: Option<String>,
        /// Values as an object; stronger than `values`.
        #[serde(skip_serializing_if = "Option::is_none")]
        values_object: Option<Value>,
        /// `v2`, `v3`, …: accepted, of no effect.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Give the repository's credentials to all domains.
        #[serde(skip_serializing_if = "absent")]
        pass_credentials: bool,
        /// A missing values file is no error.
        #[serde(skip_serializing_if = "absent")]
        ignore_missing_value_files: bool,
        /// Without the CRDs of `crds/`.
        #[serde(skip_serializing_if = "absent")]
        skip_crds: bool,
        /// Without the test hooks.
        #[serde(skip_serializing_if = "absent")]
        skip_tests: bool,
        /// Without `values.schema.json`.
        #[serde(skip_serializing_if = "absent")]
        skip_schema_validation: bool,
        /// `.Release.Namespace`; the destination's when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// `.Capabilities.KubeVersion`; the cluster's when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        kube_version: Option<String>,
        /// `.Capabilities.APIVersions`; the cluster's when absent.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        api_versions: Vec<String>,
    }
}
shape! {
    /// `spec.source.helm.parameters[]`.
    HelmParameter {
        /// The path in the values.
        name: String,
        /// The value.
        value: String,
        /// It is a string whatever it looks like.
        #[serde(skip_serializing_if = "absent")]
        force_string: bool,
    }
}
shape! {
    /// `spec.source.helm.fileParameters[]`.
    HelmFileParameter {
        /// The path in the values.
        name: String,
        /// The file.
        path: String,
    }
}
shape! {
    /// `spec.source.kustomize`.
    Kustomize {
        /// Before all names.
        #[serde(skip_serializing_if = "Option::is_none")]
        name_prefix: Option<String>,
        /// After all names.
        #[serde(skip_serializing_if = "Option::is_none")]
        name_suffix: Option<String>,
        /// `[name=]image[:tag][@digest]`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        images: Vec<String>,
        /// Counts.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        replicas: Vec<KustomizeReplica>,
        /// Labels for all.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        common_labels: BTreeMap<String, String>,
        /// Labels may replace those there.
        #[serde(skip_serializing_if = "absent")]
        force_common_labels: bool,
        /// Labels are not put into selectors.
        #[serde(skip_serializing_if = "absent")]
        label_without_selector: bool,
        /// With `labelWithoutSelector`: into templates all the same.
        #[serde(skip_serializing_if = "absent")]
        label_include_templates: bool,
        /// Annotations for all.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        common_annotations: BTreeMap<String, String>,
        /// Annotations may replace those there.
        #[serde(skip_serializing_if = "absent")]
        force_common_annotations: bool,
        /// Variables of the build environment are put into the annotations.
        #[serde(skip_serializing_if = "absent")]
        common_annotations_envsubst: bool,
        /// For all objects.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Patches.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        patches: Vec<Value>,
        /// Components, relative to the source.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        components: Vec<String>,
        /// A missing component is no error.
        #[serde(skip_serializing_if = "absent")]
        ignore_missing_components: bool,
        /// A version named in `kustomize.path.<version>` of argocd-cm.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// For charts that Kustomize inflates.
        #[serde(skip_serializing_if = "Option::is_none")]
        kube_version: Option<String>,
        /// For charts that Kustomize inflates.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        api_versions: Vec<String>,
    }
}
shape! {
    /// `spec.source.kustomize.replicas[]`.
    KustomizeReplica {
        /// Of which object.
        name: String,
        /// A number, or a text that is one.
        count: Value,
    }
}
shape! {
    /// `spec.source.plugin`.
    Plugin {
        /// `name` or `name-version`; found by discovery when absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Given with the prefix `ARGOCD_ENV_`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        env: Vec<EnvEntry>,
        /// Given as `ARGOCD_APP_PARAMETERS` and `PARAM_…`.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<PluginParameter>,
    }
}
shape! {
    /// One variable.
    EnvEntry {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }
}
shape! {
    /// One parameter of a plugin: a text, a list or a map.
    PluginParameter {
        /// Its name.
        name: String,
        /// A text.
        #[serde(skip_serializing_if = "Option::is_none")]
        string: Option<String>,
        /// A map.
        #[serde(skip_serializing_if = "Option::is_none")]
        map: Option<BTreeMap<String, String>>,
        /// A list.
        #[serde(skip_serializing_if = "Option::is_none")]
        array: Option<Vec<String>>,
    }
}

fn is_empty_jsonnet(jsonnet: &Jsonnet) -> bool {
    *jsonnet == Jsonnet::default()
}

/// Where a source comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A git repository.
    Git,
    /// A chart of a Helm repository or registry.
    Chart,
    /// An artifact of a registry.
    Artifact,
}

/// What of a repository a source wants: equal wishes resolve to the same revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// The chart, of a Helm repository.
    pub chart: String,
    /// As in `targetRevision`.
    pub revision: String,
    /// As in `tagPrefix`.
    pub tag_prefix: String,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (text, after) in [(&self.chart, "@"), (&self.tag_prefix, "|")] {
            if !text.is_empty() {
                write!(f, "{text}{after}")?;
            }
        }
        f.write_str(&self.revision)
    }
}

/// The revisions of several sources as one text, for where one stands for them all. Neither commits nor versions hold a comma.
pub fn joined<'a>(revisions: impl IntoIterator<Item = &'a str>) -> String {
    revisions.into_iter().collect::<Vec<_>>().join(",")
}

/// Reads [`joined`] back.
pub fn split(joined: &str) -> Vec<String> {
    if joined.is_empty() { Vec::new() } else { joined.split(',').map(str::to_owned).collect() }
}

impl Source {
    /// Where it comes from; `kind` is what is known of its repository.
    pub fn origin(&self, kind: RepositoryType) -> Origin {
        if self.is_chart() {
            Origin::Chart
        } else if kind == RepositoryType::Oci || self.repo_url.starts_with("oci://") {
            Origin::Artifact
        } else {
            Origin::Git
        }
    }

    /// What it wants of its repository.
    pub fn wanted(&self) -> Wanted {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Wanted { chart: text(&self.chart), revision: text(&self.target_revision), tag_prefix: text(&self.tag_prefix) }
    }

    /// It comes from a Helm repository or a registry, not from git.
    pub fn is_chart(&self) -> bool {
        self.chart.as_deref().is_some_and(|chart| !chart.is_empty())
    }

    /// It only lends its files to other sources: it has a `ref` and neither path nor chart.
    pub fn is_only_ref(&self) -> bool {
        let empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        !empty(&self.reference) && empty(&self.path) && !self.is_chart()
    }

    /// The tool that the source itself names; more than one is an error (Argo CD, user guide, "Tool Detection").
    pub fn explicit(&self) -> Result<Option<SourceType>, String> {
        let named = [
            (self.kustomize.as_ref().is_some_and(|tool| *tool != Kustomize::default()), SourceType::Kustomize),
            (self.helm.as_ref().is_some_and(|tool| *tool != Helm::default()), SourceType::Helm),
            (self.directory.as_ref().is_some_and(|tool| *tool != Directory::default()), SourceType::Directory),
            (self.plugin.is_some(), SourceType::Plugin),
        ];
        let named: Vec<SourceType> = named.into_iter().filter_map(|(is, kind)| is.then_some(kind)).collect();
        match named[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(format!(
                "spec.source: multiple application sources defined: {}; keep one of them",
                named.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// The source with what a file of the repository says of it (`.argocd-source.yaml`): objects are merged, lists and
    /// texts replaced. Where it comes from cannot be changed (Argo CD, user guide, "Parameter Overrides").
    pub fn overridden(&self, by: &Value) -> Result<Self, String> {
        let mut merged = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if !by.is_object() {
            return Err("a mapping with the fields of spec.source is wanted".to_owned());
        }
        merge(&mut merged, by);
        let mut next: Self = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        next.repo_url.clone_from(&self.repo_url);
        next.path.clone_from(&self.path);
        next.target_revision.clone_from(&self.target_revision);
        next.chart.clone_from(&self.chart);
        Ok(next)
    }
}

/// RFC 7386, but that null is no deletion: a file adds.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// `status.sourceType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceType {
    /// Plain manifests, and Jsonnet.
    Directory,
    /// A chart.
    Helm,
    /// An overlay.
    Kustomize,
    /// A config management plugin.
    Plugin,
}

impl SourceType {
    /// As in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "Directory",
            Self::Helm => "Helm",
            Self::Kustomize => "Kustomize",
            Self::Plugin => "Plugin",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(value: Value) -> Source {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_source_read_and_written_again_is_the_same() {
        for value in [
            json!({"repoURL": "r", "path": "a", "targetRevision": "main", "directory": {"recurse": true, "jsonnet": {"tlas": [{"name": "a", "value": "1", "code": true}], "libs": ["lib"]}}}),
            json!({"repoURL": "r", "chart": "c", "ref": "values", "helm": {"valueFiles": ["a"], "valuesObject": {"a": [1]}, "parameters": [{"name": "a", "value": "b", "forceString": true}], "skipCrds": true}}),
            json!({"repoURL": "r", "kustomize": {"replicas": [{"name": "a", "count": 3}], "patches": [{"patch": "x", "target": {"kind": "K"}}], "unknown": 1}}),
            json!({"repoURL": "r", "plugin": {"env": [{"name": "A", "value": "b"}], "parameters": [{"name": "p", "map": {"a": "b"}}]}}),
        ] {
            assert_eq!(serde_json::to_value(source(value.clone())).unwrap(), value);
        }
    }

    #[test]
    fn the_tool_is_the_one_that_is_named() {
        let cases = [
            (json!({}), Ok(None)),
            (json!({"helm": {"releaseName": "a"}}), Ok(Some(SourceType::Helm))),
            (json!({"helm": {}, "kustomize": {"namePrefix": "a"}}), Ok(Some(SourceType::Kustomize))),
            (json!({"plugin": {}}), Ok(Some(SourceType::Plugin))),
            (json!({"directory": {"recurse": true}}), Ok(Some(SourceType::Directory))),
        ];
        for (value, want) in cases {
            let mut value = value;
            value["repoURL"] = json!("r");
            assert_eq!(source(value.clone()).explicit(), want, "{value}");
        }
        let both = source(json!({"repoURL": "r", "plugin": {}, "helm": {"releaseName": "a"}}));
        assert!(both.explicit().unwrap_err().contains("Helm, Plugin"));
    }

    #[test]
    fn a_file_of_the_repository_cannot_change_where_the_source_comes_from() {
        let before = source(json!({"repoURL": "r", "path": "p", "helm": {"valueFiles": ["a"], "releaseName": "x"}}));
        let file = json!({"repoURL": "evil", "path": "/etc", "targetRevision": "v", "chart": "c", "helm": {"valueFiles": ["b"], "parameters": [{"name": "n", "value": "v"}]}});
        let after = before.overridden(&file).unwrap();
        let want = json!({"repoURL": "r", "path": "p", "helm": {"valueFiles": ["b"], "releaseName": "x", "parameters": [{"name": "n", "value": "v"}]}});
        assert_eq!(serde_json::to_value(after).unwrap(), want);
        assert!(before.overridden(&json!(["a"])).is_err());
    }

    #[test]
    fn a_source_that_only_lends_its_files_renders_nothing() {
        assert!(source(json!({"repoURL": "r", "ref": "v"})).is_only_ref());
        assert!(!source(json!({"repoURL": "r", "ref": "v", "path": "a"})).is_only_ref());
        assert!(!source(json!({"repoURL": "r"})).is_only_ref());
    }
}

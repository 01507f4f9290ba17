//! What the settings of an installation (`argocd-cm`, `argocd-cmd-params-cm`) say about rendering. Pure.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tako_engine::trust::Trust;

use crate::request::Tools;

/// The settings. Absent keys are Argo CD's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderSettings {
    /// Where the programs are.
    pub tools: Tools,
    /// `helm.enable`, `kustomize.enable`, `jsonnet.enable`.
    pub helm_enabled: bool,
    /// As `helm_enabled`.
    pub kustomize_enabled: bool,
    /// As `helm_enabled`.
    pub jsonnet_enabled: bool,
    /// `helm.valuesFileSchemes`.
    pub helm_value_schemes: Vec<String>,
    /// `kustomize.buildOptions`.
    pub kustomize_build_options: String,
    /// `kustomize.buildOptions.<version>`.
    pub kustomize_version_options: BTreeMap<String, String>,
    /// `kustomize.path.<version>`.
    pub kustomize_paths: BTreeMap<String, PathBuf>,
    /// `reposerver.enable.git.submodule`.
    pub submodules: bool,
    /// Where the sockets of plugins are.
    pub plugin_sockets: PathBuf,
    /// `reposerver.plugin.tar.exclusions`.
    pub plugin_exclusions: Vec<String>,
    /// `reposerver.plugin.use.manifest.generate.paths`.
    pub plugin_uses_generate_paths: bool,
    /// Seconds of `ARGOCD_EXEC_TIMEOUT`.
    pub exec_timeout: Duration,
    /// `reposerver.max.combined.directory.manifests.size`, in bytes; 0 is no limit.
    pub directory_bytes_max: u64,
    /// `reposerver.helm.manifest.max.extracted.size`, in bytes.
    pub chart_bytes_max: u64,
    /// `reposerver.oci.manifest.max.extracted.size`, in bytes.
    pub artifact_bytes_max: u64,
    /// `reposerver.oci.layer.media.types`.
    pub artifact_media_types: Vec<String>,
    /// Whom downloads of tools trust.
    pub trust: Trusted,
}

/// Whom an installation trusts. Its `Debug` shows nothing of it: manifests do not depend on it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Trusted(pub Arc<Trust>);

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trusted")
    }
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self::from_data(&BTreeMap::new(), &BTreeMap::new())
    }
}

impl RenderSettings {
    /// Reads `argocd-cm` and `argocd-cmd-params-cm`.
    pub fn from_data(cm: &BTreeMap<String, String>, params: &BTreeMap<String, String>) -> Self {
        let of = |map: &BTreeMap<String, String>, key: &str| {
            map.get(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let enabled = |key: &str| of(cm, key).is_none_or(|value| value != "false");
        let list = |text: Option<String>, separator: char, default: &str| -> Vec<String> {
            let text = text.unwrap_or_else(|| default.to_owned());
            text.split(separator).map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        };
        let versions = |prefix: &str| -> BTreeMap<String, String> {
            cm.iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.trim().to_owned())))
                .collect()
        };
        let bytes = |key: &str, default: u64| of(params, key).and_then(|text| size(&text)).unwrap_or(default);
        Self {
            tools: Tools::default(),
            helm_enabled: enabled("helm.enable"),
            kustomize_enabled: enabled("kustomize.enable"),
            jsonnet_enabled: enabled("jsonnet.enable"),
            helm_value_schemes: list(of(cm, "helm.valuesFileSchemes"), ',', "https,http"),
            kustomize_build_options: of(cm, "kustomize.buildOptions").unwrap_or_default(),
            kustomize_version_options: versions("kustomize.buildOptions."),
            kustomize_paths: versions("kustomize.path.").into_iter().map(|(name, path)| (name, path.into())).collect(),
            submodules: of(params, "reposerver.enable.git.submodule").is_none_or(|value| value != "false"),
            plugin_sockets: PathBuf::from("/home/argocd/cmp-server/plugins"),
            plugin_exclusions: list(of(params, "reposerver.plugin.tar.exclusions"), ';', ""),
            plugin_uses_generate_paths: of(params, "reposerver.plugin.use.manifest.generate.paths")
                .is_some_and(|value| value == "true"),
            exec_timeout: crate::process::TIME,
            directory_bytes_max: bytes("reposerver.max.combined.directory.manifests.size", 10 << 20),
            chart_bytes_max: bytes("reposerver.helm.manifest.max.extracted.size", 1 << 30),
            artifact_bytes_max: bytes("reposerver.oci.manifest.max.extracted.size", 1 << 30),
            artifact_media_types: list(
                of(params, "reposerver.oci.layer.media.types"),
                ',',
                "application/vnd.oci.image.layer.v1.tar,application/vnd.oci.image.layer.v1.tar+gzip,application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            ),
            trust: Trusted::default(),
        }
    }
}

/// A Kubernetes quantity of bytes, as whole bytes.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_settings_are_argo_cds_defaults_and_set_ones_count() {
        let default = RenderSettings::default();
        assert!(default.helm_enabled && default.kustomize_enabled && default.jsonnet_enabled);
        assert_eq!(default.helm_value_schemes, ["https", "http"]);
        assert_eq!(default.directory_bytes_max, 10 << 20);
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let set = RenderSettings::from_data(
            &map(&[
                ("helm.enable", "false"),
                ("helm.valuesFileSchemes", "secrets, https"),
                ("kustomize.buildOptions", "--enable-helm"),
                ("kustomize.path.v4", "/opt/k4"),
                ("kustomize.buildOptions.v4", "--x"),
            ]),
            &map(&[
                ("reposerver.max.combined.directory.manifests.size", "5M"),
                ("reposerver.plugin.tar.exclusions", "a/*; b"),
            ]),
        );
        assert!(!set.helm_enabled);
        assert_eq!(set.helm_value_schemes, ["secrets", "https"]);
        assert_eq!(set.kustomize_paths["v4"], PathBuf::from("/opt/k4"));
        assert_eq!(set.kustomize_version_options["v4"], "--x");
        assert_eq!((set.directory_bytes_max, set.plugin_exclusions.len()), (5_000_000, 2));
    }
}

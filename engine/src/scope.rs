//! Which kinds are looked at at all: `resource.exclusions` and `resource.inclusions`
//! (Argo CD, operator manual, "Declarative Setup", Resource Exclusion/Inclusion). Pure.
use std::collections::BTreeMap;

use globset::{Glob, GlobMatcher};
use serde::Deserialize;

use crate::parse::parse_value;

const EXCLUSIONS: &str = "resource.exclusions";
const INCLUSIONS: &str = "resource.inclusions";

/// Excluded whatever the settings say: they change all the time and nobody manages them. (groups, kinds)
const ALWAYS: [(&[&str], &[&str]); 3] =
    [(&["events.k8s.io", "metrics.k8s.io"], &[]), (&[""], &["Event"]), (&["coordination.k8s.io"], &["Lease"])];

/// What the argocd-cm that Argo CD ships excludes; it holds here while the setting is absent. (groups, kinds)
const SHIPPED: [(&[&str], &[&str]); 6] = [
    (&["", "discovery.k8s.io"], &["Endpoints", "EndpointSlice"]),
    (
        &["authentication.k8s.io", "authorization.k8s.io"],
        &[
            "SelfSubjectReview",
            "TokenReview",
            "LocalSubjectAccessReview",
            "SelfSubjectAccessReview",
            "SelfSubjectRulesReview",
            "SubjectAccessReview",
        ],
    ),
    (&["certificates.k8s.io"], &["CertificateSigningRequest"]),
    (&["cert-manager.io"], &["CertificateRequest"]),
    (&["cilium.io"], &["CiliumIdentity", "CiliumEndpoint", "CiliumEndpointSlice"]),
    (
        &["kyverno.io", "reports.kyverno.io", "wgpolicyk8s.io"],
        &[
            "PolicyReport",
            "ClusterPolicyReport",
            "EphemeralReport",
            "ClusterEphemeralReport",
            "AdmissionReport",
            "ClusterAdmissionReport",
            "BackgroundScanReport",
            "ClusterBackgroundScanReport",
            "UpdateRequest",
        ],
    ),
];

/// One entry of a list. A list that is left out holds everything.
#[derive(Debug, Clone, Default)]
struct Rule {
    groups: Vec<GlobMatcher>,
    kinds: Vec<GlobMatcher>,
    clusters: Vec<GlobMatcher>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    api_groups: Vec<String>,
    kinds: Vec<String>,
    clusters: Vec<String>,
}

/// Which kinds are looked at, by the settings.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    exclusions: Vec<Rule>,
    inclusions: Vec<Rule>,
}

impl Scope {
    /// From the data of `argocd-cm`. Errors name the field.
    pub fn compile(settings: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut exclusions = fixed(&ALWAYS)?;
        match settings.get(EXCLUSIONS) {
            Some(text) => exclusions.extend(read(text, EXCLUSIONS)?),
            None => exclusions.extend(fixed(&SHIPPED)?),
        }
        let inclusions = settings.get(INCLUSIONS).map_or(Ok(Vec::new()), |text| read(text, INCLUSIONS))?;
        Ok(Self { exclusions, inclusions })
    }

    /// Whether a kind is left out in a cluster (its URL). Exclusion wins; with inclusions for the cluster, what none of
    /// them names is left out.
    pub fn excludes(&self, group: &str, kind: &str, cluster: &str) -> bool {
        let named = |rules: &[Rule]| rules.iter().any(|rule| rule.holds(group, kind, cluster));
        named(&self.exclusions)
            || (!named(&self.inclusions) && self.inclusions.iter().any(|rule| any(&rule.clusters, cluster)))
    }
}

impl Rule {
    fn holds(&self, group: &str, kind: &str, cluster: &str) -> bool {
        any(&self.groups, group) && any(&self.kinds, kind) && any(&self.clusters, cluster)
    }
}

fn any(globs: &[GlobMatcher], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.is_match(text))
}

fn globs<T: AsRef<str>>(patterns: &[T], field: &str) -> Result<Vec<GlobMatcher>, String> {
    let compile = |pattern: &T| {
        let pattern = pattern.as_ref();
        Glob::new(pattern)
            .map(|glob| glob.compile_matcher())
            .map_err(|error| format!("argocd-cm: {field}: {pattern:?}: {error}"))
    };
    patterns.iter().map(compile).collect()
}

fn fixed(table: &[(&[&str], &[&str])]) -> Result<Vec<Rule>, String> {
    let rule = |(groups, kinds): &(&[&str], &[&str])| {
        Ok(Rule { groups: globs(groups, EXCLUSIONS)?, kinds: globs(kinds, EXCLUSIONS)?, clusters: Vec::new() })
    };
    table.iter().map(rule).collect()
}

fn read(text: &str, field: &str) -> Result<Vec<Rule>, String> {
    let say = |what: String| format!("argocd-cm: {field}: {what}; a list of apiGroups, kinds and clusters is wanted");
    let value = parse_value(text).map_err(say)?;
    if value.is_null() {
        return Ok(Vec::new());
    }
    let entries: Vec<Entry> = serde_json::from_value(value).map_err(|error| say(error.to_string()))?;
    let rule = |entry: &Entry| {
        Ok(Rule {
            groups: globs(&entry.api_groups, field)?,
            kinds: globs(&entry.kinds, field)?,
            clusters: globs(&entry.clusters, field)?,
        })
    };
    entries.iter().map(rule).collect()
}

/// What is said of a manifest of an excluded kind (Argo CD, `ExcludedResourceWarning`).
pub fn excluded_words(group: &str, kind: &str, name: &str) -> String {
    format!("Resource {group}/{kind} {name} is excluded in the settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "https://kubernetes.default.svc";

    fn scope(pairs: &[(&str, &str)]) -> Result<Scope, String> {
        Scope::compile(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn shipped_exclusions_hold_until_the_setting_is_there() {
        let (shipped, own) = (scope(&[]).unwrap(), scope(&[(EXCLUSIONS, "")]).unwrap());
        let cases = [
            ("events.k8s.io", "Event", true, true),
            ("metrics.k8s.io", "NodeMetrics", true, true),
            ("", "Event", true, true),
            ("coordination.k8s.io", "Lease", true, true),
            ("coordination.k8s.io", "LeaseCandidate", false, false),
            ("", "Endpoints", true, false),
            ("discovery.k8s.io", "EndpointSlice", true, false),
            ("authorization.k8s.io", "SubjectAccessReview", true, false),
            ("certificates.k8s.io", "CertificateSigningRequest", true, false),
            ("cilium.io", "CiliumEndpoint", true, false),
            ("cilium.io", "CiliumNetworkPolicy", false, false),
            ("kyverno.io", "ClusterPolicy", false, false),
            ("wgpolicyk8s.io", "PolicyReport", true, false),
            ("", "ConfigMap", false, false),
            ("", "Node", false, false),
        ];
        for (group, kind, by_shipped, by_own) in cases {
            assert_eq!(shipped.excludes(group, kind, HERE), by_shipped, "{group}/{kind}");
            assert_eq!(own.excludes(group, kind, HERE), by_own, "{group}/{kind}");
        }
    }

    #[test]
    fn lists_are_globs_and_what_is_left_out_holds_everything() {
        let exclusions = "
- apiGroups: ['*.example.com']
  kinds: [Noise*]
- kinds: [Widget]
  clusters: ['https://far*']
- apiGroups: [whole.io]
";
        let scope = scope(&[(EXCLUSIONS, exclusions)]).unwrap();
        let cases = [
            ("a.example.com", "NoiseOne", HERE, true),
            ("a.example.com", "Quiet", HERE, false),
            ("example.com", "NoiseOne", HERE, false),
            ("", "Widget", HERE, false),
            ("", "Widget", "https://far.away", true),
            ("whole.io", "Anything", HERE, true),
        ];
        for (group, kind, cluster, want) in cases {
            assert_eq!(scope.excludes(group, kind, cluster), want, "{group}/{kind} in {cluster}");
        }
    }

    #[test]
    fn inclusions_leave_the_rest_out_where_they_speak_of_the_cluster() {
        let inclusions = "[{apiGroups: ['', apps], kinds: ['*'], clusters: ['https://kubernetes*']}]";
        let scope = scope(&[(EXCLUSIONS, "[{kinds: [Secret]}]"), (INCLUSIONS, inclusions)]).unwrap();
        let cases = [
            ("", "ConfigMap", HERE, false),
            ("apps", "Deployment", HERE, false),
            ("batch", "Job", HERE, true),
            ("", "Secret", HERE, true),
            ("batch", "Job", "https://other", false),
            ("", "Secret", "https://other", true),
        ];
        for (group, kind, cluster, want) in cases {
            assert_eq!(scope.excludes(group, kind, cluster), want, "{group}/{kind} in {cluster}");
        }
    }

    #[test]
    fn a_bad_list_names_its_field() {
        for (text, words) in
            [("kinds: [A]", "a list of apiGroups"), ("[{kinds: ['[']}]", "\"[\""), ("- [", "not valid YAML")]
        {
            let problem = scope(&[(EXCLUSIONS, text)]).unwrap_err();
            assert!(problem.starts_with("argocd-cm: resource.exclusions") && problem.contains(words), "{problem}");
        }
    }
}

//! The build environment: the variables that tools and plugins get, and their substitution in parameters (Argo CD, user guide, "Build Environment").
//! Pure.
use std::collections::BTreeMap;

use crate::git::redact;
use crate::request::Request;

/// The variables of one render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables for a source.
    pub fn of(request: &Request) -> Self {
        let revision = &request.revision;
        let short = |length: usize| revision.get(..length).unwrap_or(revision).to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let pairs = [
            ("ARGOCD_APP_NAME", request.app.name.clone()),
            ("ARGOCD_APP_NAMESPACE", request.app.destination_namespace.clone()),
            ("ARGOCD_APP_PROJECT_NAME", request.app.project.clone()),
            ("ARGOCD_APP_REVISION", revision.clone()),
            ("ARGOCD_APP_REVISION_SHORT", short(7)),
            ("ARGOCD_APP_REVISION_SHORT_8", short(8)),
            ("ARGOCD_APP_SOURCE_PATH", text(&request.source.path)),
            ("ARGOCD_APP_SOURCE_REPO_URL", redact(&request.source.repo_url)),
            ("ARGOCD_APP_SOURCE_TARGET_REVISION", text(&request.source.target_revision)),
            ("KUBE_VERSION", request.cluster.kube_version.clone()),
            ("KUBE_API_VERSIONS", request.cluster.api_versions.join(",")),
        ];
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text with `$NAME` and `${NAME}` replaced; what is not set becomes empty, and `$$` is one `$`.
    pub fn substitute(&self, text: &str) -> String {
        let (mut done, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find('$') {
            done.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                done.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                done.push_str(self.get(name).unwrap_or_default());
                rest = after;
            } else {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                if end == 0 {
                    done.push('$');
                } else {
                    done.push_str(self.get(&rest[..end]).unwrap_or_default());
                }
                rest = &rest[end..];
            }
        }
        done.push_str(rest);
        done
    }
}

/// Whether any text of a source asks for the revision, so that every commit is another input.
pub fn asks_for_revision(source: &tako_engine::source::Source) -> bool {
    serde_json::to_string(source).is_ok_and(|text| {
        text.match_indices("ARGOCD_APP_REVISION").any(|(at, _)| text[..at].ends_with('$') || text[..at].ends_with("${"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_and_dollars_kept() {
        let env =
            Environment(BTreeMap::from([("NAME".to_owned(), "x".to_owned()), ("A_1".to_owned(), "y".to_owned())]));
        for (text, want) in [
            ("plain", "plain"),
            ("$NAME", "x"),
            ("${NAME}-$A_1.z", "x-y.z"),
            ("$$NAME", "$NAME"),
            ("$MISSING.", "."),
            ("${open", "${open"),
            ("a$", "a$"),
            ("$-", "$-"),
        ] {
            assert_eq!(env.substitute(text), want, "{text}");
        }
    }

    #[test]
    fn a_source_that_names_the_revision_is_another_at_every_commit() {
        let source = |value: serde_json::Value| serde_json::from_value(value).unwrap();
        let helm = |value: &str| {
            source(serde_json::json!({"repoURL": "r", "helm": {"parameters": [{"name": "a", "value": value}]}}))
        };
        assert!(asks_for_revision(&helm("$ARGOCD_APP_REVISION")));
        assert!(asks_for_revision(&helm("v-${ARGOCD_APP_REVISION_SHORT}")));
        assert!(!asks_for_revision(&helm("ARGOCD_APP_REVISION")));
        assert!(!asks_for_revision(&helm("$ARGOCD_APP_NAME")));
    }
}

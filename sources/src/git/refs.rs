//! What the names of a repository stand for, and which commit a `targetRevision` means. Pure.
use std::collections::HashMap;

use tako_engine::versions;

/// Digits of a commit's id that are enough to name it.
const SHORT_ID_MIN: usize = 7;

/// The commits of a repository by the names that Applications use, after a fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// `refs/heads/main` → commit, `refs/tags/v1` → commit (peeled), `HEAD` → commit.
    pub by_name: HashMap<String, String>,
    /// Annotated tags: `refs/tags/v1` → the tag object.
    pub annotated: HashMap<String, String>,
    /// `refs/heads/…` that `HEAD` is, when the server says so.
    pub default_branch: Option<String>,
}

/// What a `targetRevision` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit; when [`Resolved::name`] is `None`, as written: it may be short, and may not exist.
    pub commit: String,
    /// The full name of the branch or tag that was found.
    pub name: Option<String>,
    /// The tag object, of an annotated tag.
    pub tag: Option<String>,
}

impl Refs {
    /// What a `targetRevision` means: a full commit id stands for itself; empty and `HEAD` are the default branch; a constraint is the
    /// highest tag that matches, of those that begin with `tag_prefix`, without it; then branch, tag and full reference; at last the
    /// beginning of a commit id (Argo CD, user guide, "Tracking and Deployment Strategies"; `spec.source.tagPrefix`).
    pub fn resolve(&self, revision: &str, tag_prefix: &str) -> Option<Resolved> {
        if is_commit_id(revision) {
            return Some(Resolved { commit: revision.to_ascii_lowercase(), name: None, tag: None });
        }
        let wanted = self.wanted(revision, tag_prefix)?;
        let names = match wanted.as_str() {
            "" | "HEAD" => vec!["HEAD".to_owned()],
            name => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()],
        };
        let found = names.into_iter().find_map(|name| {
            let commit = self.by_name.get(&name)?.clone();
            let tag = self.annotated.get(&name).cloned();
            Some(Resolved { commit, name: Some(name), tag })
        });
        found.or_else(|| {
            let short = is_short_commit_id(&wanted).then(|| wanted.to_ascii_lowercase());
            short.map(|commit| Resolved { commit, name: None, tag: None })
        })
    }

    /// The name to look for; `None` when a constraint matches no tag and is no name either.
    fn wanted(&self, revision: &str, tag_prefix: &str) -> Option<String> {
        let prefixed = format!("{tag_prefix}{revision}");
        if versions::is_version(revision) {
            return Some(prefixed);
        }
        if !versions::is_constraint(revision) {
            // With a prefix, only versions and constraints are taken: a branch of that name must not slip in.
            let plain = tag_prefix.is_empty() || matches!(revision, "" | "HEAD");
            return plain.then(|| revision.to_owned());
        }
        let tags: Vec<String> = self
            .by_name
            .keys()
            .filter_map(|name| name.strip_prefix("refs/tags/")?.strip_prefix(tag_prefix).map(str::to_owned))
            .collect();
        match versions::highest(&tags, revision) {
            Some(tag) => Some(format!("refs/tags/{tag_prefix}{tag}")),
            None => self.by_name.contains_key(&format!("refs/heads/{revision}")).then(|| revision.to_owned()),
        }
    }
}

/// All forty digits.
pub(crate) fn is_commit_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Enough digits, but not all.
pub(super) fn is_short_commit_id(text: &str) -> bool {
    (SHORT_ID_MIN..40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_resolve_as_argo_cd_does() {
        let sha = "A".repeat(40);
        let lower = sha.to_lowercase();
        let names = [
            ("HEAD", "head"),
            ("refs/heads/main", "head"),
            ("refs/heads/both", "branch"),
            ("refs/heads/1.x", "line"),
            ("refs/tags/both", "tag"),
            ("refs/tags/v1.2.0", "120"),
            ("refs/tags/v1.10.0", "1100"),
            ("refs/tags/v2.0.0-rc1", "200rc1"),
            ("refs/tags/app-1.0.0", "app100"),
            ("refs/tags/app-1.3.0", "app130"),
            ("refs/heads/abcdef0", "hexbranch"),
        ];
        let refs = Refs {
            by_name: names.iter().map(|(name, commit)| ((*name).to_owned(), (*commit).to_owned())).collect(),
            annotated: HashMap::from([("refs/tags/v1.10.0".to_owned(), "object".to_owned())]),
            default_branch: None,
        };
        for (revision, prefix, want) in [
            ("", "", Some("head")),
            ("HEAD", "", Some("head")),
            ("main", "", Some("head")),
            ("both", "", Some("branch")),
            ("refs/tags/both", "", Some("tag")),
            ("v1.2.0", "", Some("120")),
            ("1.2.0", "", None),
            ("1.*", "", Some("1100")),
            ("^1.2", "", Some("1100")),
            (">=1.2 <1.5 || ~9", "", Some("120")),
            (">=2.0.0-0", "", Some("200rc1")),
            ("1.x", "", Some("1100")),
            ("3.x", "", None),
            ("1.*", "app-", Some("app130")),
            ("1.0.0", "app-", Some("app100")),
            ("main", "app-", None),
            ("HEAD", "app-", Some("head")),
            (sha.as_str(), "", Some(lower.as_str())),
            ("abcdef0", "", Some("hexbranch")),
            ("ABCDEF012", "", Some("abcdef012")),
            ("abcdef", "", None),
            ("gone", "", None),
        ] {
            let found = refs.resolve(revision, prefix);
            assert_eq!(found.as_ref().map(|found| found.commit.as_str()), want, "{revision} {prefix}");
        }
        let tag = refs.resolve("1.x", "").unwrap();
        assert_eq!((tag.name.as_deref(), tag.tag.as_deref()), (Some("refs/tags/v1.10.0"), Some("object")));
        assert_eq!(refs.resolve(&sha, "").unwrap().name, None);
    }
}

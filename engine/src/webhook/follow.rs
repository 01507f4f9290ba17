//! Who follows what was pushed: the repository, and the branch, tag or constraint that `targetRevision` names.
//!
//! As Argo CD compares them, but for kinds: a push to the branch `x` means nothing to who follows `refs/tags/x` or, by a
//! constraint, tags.
use std::collections::{BTreeSet, HashMap};

use super::{Push, Reference};
use crate::app::Source;
use crate::repo_url::oci;
use crate::versions;

/// The repositories, as their Applications write them, in which a push moved something that a source follows.
pub fn followed<'a>(pushes: &[Push], sources: impl IntoIterator<Item = &'a Source>) -> BTreeSet<&'a str> {
    // Thousands of Applications follow one repository: its URL is compared once.
    let mut known: Vec<HashMap<&str, bool>> = vec![HashMap::new(); pushes.len()];
    let mut found = BTreeSet::new();
    for source in sources {
        let url = source.repo_url.as_str();
        if found.contains(url) {
            continue;
        }
        let concerned = pushes.iter().zip(&mut known).any(|(push, known)| match push {
            Push::Git { places, reference, default_branch } => {
                moves(source.target_revision.as_deref(), reference, default_branch.as_deref())
                    && *known.entry(url).or_insert_with(|| places.iter().any(|place| place.holds(url)))
            }
            Push::Oci { repository, tag } => {
                tags(source.target_revision.as_deref(), tag) && is_in_registry(source, repository)
            }
        });
        if concerned {
            found.insert(url);
        }
    }
    found
}

/// Whether a name that moved is what a revision names.
fn moves(target: Option<&str>, reference: &Reference, default_branch: Option<&str>) -> bool {
    let target = target.unwrap_or_default();
    match reference {
        Reference::Branch(branch) if matches!(target, "" | "HEAD") => default_branch.is_none_or(|head| head == branch),
        Reference::Branch(branch) => target.strip_prefix("refs/heads/").unwrap_or(target) == branch,
        Reference::Tag(tag) => {
            let target = target.strip_prefix("refs/tags/").unwrap_or(target);
            target == tag || admits(target, tag)
        }
        Reference::Other(full) => target == full,
    }
}

/// The same in a registry. Helm writes `1.0.0+build` as the tag `1.0.0_build`, since tags have no plus.
fn tags(target: Option<&str>, tag: &str) -> bool {
    let target = target.unwrap_or_default();
    let version = tag.replace('_', "+");
    target.is_empty() || target == tag || target == version || admits(target, &version)
}

fn admits(target: &str, tag: &str) -> bool {
    versions::highest(&[tag.to_owned()], target).is_some()
}

/// A chart is a repository under that of its source; or the source's URL has it all (Argo CD takes both).
fn is_in_registry(source: &Source, repository: &str) -> bool {
    let url = oci(&source.repo_url);
    let chart = source.chart.as_deref().filter(|chart| !chart.is_empty());
    url == repository || chart.is_some_and(|chart| format!("{url}/{}", chart.to_lowercase()) == repository)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::repo_url::Place;

    fn source(url: &str, target: &str, chart: Option<&str>) -> Source {
        serde_json::from_value(json!({"repoURL": url, "targetRevision": target, "chart": chart})).unwrap()
    }

    #[test]
    fn a_revision_follows_what_it_names() {
        let (branch, tag) = (|name: &str| Reference::Branch(name.into()), |name: &str| Reference::Tag(name.into()));
        for (target, reference, head, want) in [
            ("main", branch("main"), Some("main"), true),
            ("main", branch("dev"), Some("main"), false),
            ("refs/heads/main", branch("main"), None, true),
            ("feature/a/b", branch("feature/a/b"), None, true),
            ("b", branch("feature/a/b"), None, false),
            ("", branch("main"), Some("main"), true),
            ("HEAD", branch("main"), Some("main"), true),
            ("HEAD", branch("dev"), Some("main"), false),
            ("HEAD", branch("dev"), None, true),
            ("HEAD", tag("v1"), None, false),
            ("v1", tag("v1"), Some("main"), true),
            ("v1", branch("v1"), Some("main"), true),
            ("refs/tags/v1", tag("v1"), None, true),
            ("refs/tags/v1", branch("v1"), None, false),
            ("refs/heads/v1", tag("v1"), None, false),
            ("1.2.*", tag("v1.2.9"), None, true),
            ("refs/tags/1.2.*", tag("v1.2.9"), None, true),
            ("1.2.*", tag("v1.3.0"), None, false),
            ("1.2.*", tag("v1.2.9-rc.1"), None, false),
            (">=1.2.0-0", tag("v1.2.9-rc.1"), None, true),
            ("1.2.*", branch("1.2.9"), None, false),
            ("*", tag("nightly"), None, false),
            ("refs/pull/7/head", Reference::Other("refs/pull/7/head".into()), None, true),
            ("8a3b0950000000000000000000000000000000aa", branch("main"), Some("main"), false),
        ] {
            assert_eq!(moves(Some(target), &reference, head), want, "{target} {reference:?} {head:?}");
        }
    }

    #[test]
    fn only_who_follows_is_woken_and_once_a_repository() {
        let push = |reference| Push::Git {
            places: vec![Place::of("https://github.com/o/r").unwrap()],
            reference,
            default_branch: Some("main".into()),
        };
        let sources = [
            source("https://github.com/o/r", "main", None),
            source("https://github.com/o/r", "HEAD", None),
            source("git@github.com:o/r.git", "dev", None),
            source("ssh://git@github.com/o/r", "v1.*", None),
            source("https://github.com/o/other", "main", None),
        ];
        let woken = |pushes: &[Push]| followed(pushes, &sources).into_iter().collect::<Vec<_>>();
        let (main, dev) = (push(Reference::Branch("main".into())), push(Reference::Branch("dev".into())));
        assert_eq!(woken(std::slice::from_ref(&main)), ["https://github.com/o/r"]);
        assert_eq!(woken(&[main, dev]), ["git@github.com:o/r.git", "https://github.com/o/r"]);
        assert_eq!(woken(&[push(Reference::Branch("nobody".into()))]), [""; 0]);
        assert_eq!(woken(&[push(Reference::Tag("v1.4.0".into()))]), ["ssh://git@github.com/o/r"]);
        assert_eq!(woken(&[]), [""; 0]);
    }

    #[test]
    fn a_tag_of_a_registry_wakes_its_artifacts_and_charts() {
        let push = |tag: &str| [Push::Oci { repository: "ghcr.io/org/app".into(), tag: tag.into() }];
        for (url, chart, target, tag, want) in [
            ("oci://ghcr.io/org/app", None, "1.0.0", "1.0.0", true),
            ("oci://GHCR.io/Org/App/", None, "^1.0.0", "1.4.0", true),
            ("oci://ghcr.io/org/app", None, "^1.0.0", "2.0.0", false),
            ("oci://ghcr.io/org/app", None, "stable", "stable", true),
            ("oci://ghcr.io/org/app", None, "stable", "latest", false),
            ("oci://ghcr.io/org/app", None, "", "1.0.0", true),
            ("ghcr.io/org", Some("app"), "1.x", "1.0.0", true),
            ("ghcr.io/org/", Some("App"), "1.x", "1.0.0", true),
            ("ghcr.io/org", Some("other"), "1.x", "1.0.0", false),
            ("ghcr.io/org", None, "1.x", "1.0.0", false),
            ("ghcr.io/org", Some("app"), "1.0.0+b1", "1.0.0_b1", true),
            ("https://ghcr.io/org/app", None, "1.0.0", "1.0.0", false),
        ] {
            let sources = [source(url, target, chart)];
            assert_eq!(followed(&push(tag), &sources).contains(url), want, "{url} {chart:?} {target} {tag}");
        }
    }
}

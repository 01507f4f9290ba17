//! Submodules: each is a repository of its own, in the cache like any other, under the same rules for its URL. Its commit stands
//! in the tree of the commit that has it.
use gix::ObjectId;
use tako_engine::repository::Repositories;
use tako_engine::trust::Trust;

use super::cache::GitCache;
use super::commit::Commit;
use super::remote::{Remote, Scheme};
use super::{GitError, redact};
use crate::tree::{Kind, clean};

const FILE: &str = ".gitmodules";
/// Submodules of submodules, and so on.
const DEPTH_MAX: usize = 8;
/// All submodules of one commit together.
const COUNT_MAX: usize = 128;

/// What is needed to fetch the submodules of a commit.
#[derive(Clone, Copy)]
pub struct Submodules<'a> {
    /// Where they are kept.
    pub cache: &'a GitCache,
    /// Whose credentials their URLs get.
    pub repositories: &'a Repositories,
    /// The project of the Application.
    pub project: &'a str,
    /// Whom they may trust.
    pub trust: &'a Trust,
}

/// A submodule that is there.
#[derive(Clone)]
pub(super) struct Module {
    /// The commit that the superproject names.
    pub(super) link: ObjectId,
    /// The same, in its own repository.
    pub(super) commit: Commit,
}

impl Submodules<'_> {
    /// All submodules of a commit, fetched.
    pub(super) fn of(&self, commit: &Commit) -> Result<Vec<Module>, GitError> {
        self.below(commit, 0, &mut 0)
    }

    fn below(&self, commit: &Commit, depth: usize, count: &mut usize) -> Result<Vec<Module>, GitError> {
        let refuse = |what: &str, reason: String| GitError::Refused { url: redact(what), reason };
        let mut modules = Vec::new();
        for (path, url) in written(commit)? {
            let Some(link) = commit.link_at(&path)? else { continue };
            *count += 1;
            if depth == DEPTH_MAX || *count > COUNT_MAX {
                return Err(refuse(
                    &url,
                    format!("more than {DEPTH_MAX} submodules in each other, or {COUNT_MAX} in all"),
                ));
            }
            let parent = &commit.repository().remote;
            let relative = url.starts_with("./") || url.starts_with("../");
            let url = if relative {
                parent.join(&url).ok_or_else(|| refuse(&url, "the relative URL leads out of the server".to_owned()))?
            } else {
                url
            };
            let remote = Remote::parse(&url, self.cache.shared.settings.allow_file)?;
            if remote.scheme == Scheme::File && parent.scheme != Scheme::File {
                return Err(refuse(&url, "a submodule of a remote repository may not be a local one".to_owned()));
            }
            let mut settings = self.repositories.of(&url, self.project);
            if !settings.has_credentials() && remote.same_server(parent) {
                settings = commit.repository().access().settings.clone();
                settings.url = url;
            }
            let repository = self.cache.repository(&settings, self.trust)?;
            let mut inner = Commit::open(&repository, &link.to_hex().to_string())?;
            let below = self.below(&inner, depth + 1, count)?;
            inner.set_modules(below);
            modules.push(Module { link, commit: inner });
        }
        Ok(modules)
    }
}

/// Paths and URLs in `.gitmodules`. Nothing else of it is followed: `update = !command` least of all.
fn written(commit: &Commit) -> Result<Vec<(String, String)>, GitError> {
    let Some(entry) = commit.entry(&commit.tree_id(), FILE)? else { return Ok(Vec::new()) };
    if !matches!(entry.kind, Kind::File { .. }) {
        return Ok(Vec::new());
    }
    let bytes = commit.blob(&entry.id)?;
    let wrong = |reason: String| commit.repository().broken(format!("{FILE}: {reason}"));
    let meta = gix::config::file::Metadata::api();
    let file = gix::config::File::from_bytes_no_includes(&bytes, meta, gix::config::file::init::Options::default())
        .map_err(|error| wrong(error.to_string()))?;
    let sections = file.sections_by_name("submodule").into_iter().flatten();
    Ok(sections
        .filter_map(|section| {
            let text = |key: &str| section.value(key).map(|value| value.to_string());
            Some((clean(&text("path")?).ok().filter(|path| !path.is_empty())?, text("url")?))
        })
        .collect())
}

//! What a kustomization may fetch from elsewhere, and what is refused by name (research/pains.md S-08, S-11): Kustomize hands
//! the parts of a URL to git as they are. Pure.
use url::Url;

/// Something outside the repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remote {
    /// The repository that git is asked for, as Kustomize takes it from the reference; `None` for what git cannot be asked for.
    pub(super) clone: Option<String>,
}

/// What a reference of a kustomization is: `None` when it is a path of the repository.
pub(super) fn of(reference: &str) -> Option<Result<Remote, String>> {
    let bare = without_prefix(reference, "git::").unwrap_or(reference);
    let helper = bare.split(['/', '.', ':']).next().is_some_and(|word| {
        !word.is_empty()
            && bare[word.len()..].starts_with("::")
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let github = without_prefix(bare, "github.com/").or_else(|| without_prefix(bare, "github.com:")).is_some();
    let is_remote = helper || bare.contains("://") || github || login(bare).is_some();
    is_remote.then(|| read(bare).map_err(|reason| format!("{reference:?}: {reason}")))
}

/// A chart repository that Helm may be sent to.
pub(super) fn chart(repository: &str) -> Result<(), String> {
    printable(repository)?;
    let url = Url::parse(repository).map_err(|_| "a URL is wanted".to_owned())?;
    match url.scheme() {
        "https" | "http" | "oci" => Ok(()),
        other => Err(format!("charts are not fetched by {other}; use https, http or oci")),
    }
}

/// `user@`, as Kustomize reads it.
fn login(text: &str) -> Option<(&str, &str)> {
    let (user, rest) = text.split_once('@')?;
    let good = user.starts_with(|c: char| c.is_ascii_alphabetic())
        && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    good.then_some((user, rest))
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn printable(text: &str) -> Result<(), String> {
    let lower = text.to_ascii_lowercase();
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        || ["%00", "%0a", "%0d"].iter().any(|code| lower.contains(code))
    {
        return Err("a URL has no spaces, backslashes or control characters".to_owned());
    }
    Ok(())
}

fn read(reference: &str) -> Result<Remote, String> {
    printable(reference)?;
    if reference.starts_with('-') {
        return Err("it would be an option of git".to_owned());
    }
    let (location, query) = reference.split_once('?').unwrap_or((reference, ""));
    checked_query(query)?;
    let scheme =
        ["ssh://", "https://", "http://"].into_iter().find(|scheme| without_prefix(location, scheme).is_some());
    match scheme {
        Some(scheme) => with_scheme(scheme, &location[scheme.len()..]),
        None if location.contains("://") || location.contains("::") => {
            Err("git is only asked over https, http and ssh".to_owned())
        }
        None => short(location),
    }
}

/// `ref`, `version`, `timeout`, `submodules`.
fn checked_query(query: &str) -> Result<(), String> {
    if query.contains(';') {
        return Err("parameters are parted by &".to_owned());
    }
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !matches!(&*name, "ref" | "version") {
            continue;
        }
        let first = value.chars().next().is_none_or(|c| c.is_ascii_alphanumeric() || c == '_');
        let rest = value.chars().all(|c| c.is_ascii_alphanumeric() || "._/@+=#-".contains(c));
        if !first || !rest || value.contains("..") {
            return Err(format!("{name}={value}: the name of a branch, a tag or a commit is wanted"));
        }
    }
    Ok(())
}

/// `[user@]host/path` after a scheme.
fn with_scheme(scheme: &str, rest: &str) -> Result<Remote, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    checked_host(host)?;
    if authority.starts_with('-') || path.starts_with('-') {
        return Err("it would be an option of git".to_owned());
    }
    let github = host.eq_ignore_ascii_case("github.com");
    let clone = repository(path).map(|path| match (scheme, github) {
        ("ssh://", true) => format!(
            "{}github.com:{path}",
            authority.rsplit_once('@').map_or("git@".to_owned(), |(user, _)| format!("{user}@"))
        ),
        (_, true) => format!("https://github.com/{path}"),
        _ => format!("{scheme}{authority}/{path}"),
    });
    Ok(Remote { clone })
}

/// `user@host:path` and `github.com/path`.
fn short(location: &str) -> Result<Remote, String> {
    let (user, rest) = login(location).map_or((None, location), |(user, rest)| (Some(user), rest));
    let (host, path) = rest.split_once([':', '/']).ok_or("a repository is wanted behind the host")?;
    checked_host(host)?;
    if path.starts_with('-') {
        return Err("it would be an option of git".to_owned());
    }
    let clone = repository(path).map(|path| match user {
        Some(user) => format!("{user}@{host}:{path}"),
        None => format!("https://{host}/{path}"),
    });
    Ok(Remote { clone })
}

fn checked_host(host: &str) -> Result<(), String> {
    let good = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    if good { Ok(()) } else { Err("a host is wanted".to_owned()) }
}

/// The part of a path that is the repository: up to `_git/<name>`, `//`, `.git`, or else two segments.
fn repository(path: &str) -> Option<String> {
    if let Some(at) = path.find("_git/") {
        let from = at + "_git/".len();
        let end = path[from..].find('/').map_or(path.len(), |end| from + end);
        return Some(path[..end].to_owned());
    }
    if let Some(at) = path.find("//") {
        return Some(path[..at].to_owned());
    }
    if let Some(at) = path.find(".git") {
        return Some(path[..at + ".git".len()].to_owned());
    }
    let segments: Vec<&str> = path.splitn(3, '/').collect();
    (segments.len() >= 2).then(|| segments[..2].join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_no_remotes() {
        for path in
            ["a.yaml", "../base", "a/b", "./x@y", "charts/a:b", "a..b", "github.community/x", "-x", "@x", "1@x:y"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn remotes_are_split_as_kustomize_splits_them() {
        let cases = [
            ("https://github.com/org/repo//overlays/a?ref=v1.2.3", Some("https://github.com/org/repo")),
            ("https://github.com/org/repo/overlays/a?ref=main", Some("https://github.com/org/repo")),
            ("github.com/org/repo/deep/path", Some("https://github.com/org/repo")),
            ("git@github.com:org/repo.git/deep?ref=feature/a-b", Some("git@github.com:org/repo.git")),
            ("git::https://git.example.com:8443/a/b/c.git?timeout=90s", Some("https://git.example.com:8443/a/b/c.git")),
            ("ssh://git@git.example.com/a/b.git//x", Some("ssh://git@git.example.com/a/b.git")),
            ("https://u@dev.azure.com/org/p/_git/repo/path?version=1", Some("https://u@dev.azure.com/org/p/_git/repo")),
            ("https://example.com/install.yaml", None),
        ];
        for (reference, clone) in cases {
            assert_eq!(of(reference).unwrap().unwrap().clone.as_deref(), clone, "{reference}");
        }
    }

    #[test]
    fn s_08_what_git_would_take_for_an_option_or_a_program_is_refused_by_name() {
        for reference in [
            "https://github.com/org/repo?ref=--upload-pack=touch%20/tmp/x",
            "https://github.com/org/repo?ref=-x",
            "https://github.com/org/repo?version=--x",
            "https://github.com/org/repo?ref=%2d%2dupload-pack=x",
            "https://github.com/org/repo?ref=a:refs/heads/b",
            "https://github.com/org/repo?ref=%2bmain",
            "https://github.com/org/repo?ref=a..b",
            "https://github.com/org/repo?x=1;ref=--x",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "EXT::sh",
            "fd::17/x",
            "git::ext::sh",
            "file:///etc",
            "git::file:///etc",
            "ftp://example.com/a/b",
            "git://example.com/a/b",
            "ssh://-oProxyCommand=touch/x/y",
            "ssh://git@-oProxyCommand=x/y",
            "git@-oProxyCommand=x:a/b",
            "https://-x/a/b",
            "https://example.com/-a/b",
            "git@example.com:-a/b",
            "https://exa$(id)mple.com/a/b",
            "https://example.com/a/b\n--x",
            "https://example.com/a/b%0a--x",
            "https://example.com/a b/c",
        ] {
            let refused = of(reference).unwrap_or_else(|| panic!("{reference} is taken for a path"));
            let words = refused.expect_err(reference);
            assert!(words.starts_with(&format!("{reference:?}: ")), "{words}");
        }
        for repository in ["file:///etc", "ext::sh", "s3://x/y", "https://x/ y", "--x"] {
            chart(repository).expect_err(repository);
        }
        chart("https://charts.example.com").unwrap();
        chart("oci://ghcr.io/x").unwrap();
    }
}

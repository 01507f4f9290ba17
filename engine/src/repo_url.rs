//! Repository URLs compared as Argo CD compares them (util/git, `NormalizeGitURL`): lower case, no `.git`, the short
//! form of ssh as an URL, and the rest as Go's `net/url` parses and prints it. Webhooks compare more loosely, as they tell
//! the address of a page and Applications that of a clone: [`Place`], and [`oci`] for registries. Pure; not for fetching.

/// Two URLs of one repository are equal in this form; empty for what Go takes for no URL.
pub fn normalize(url: &str) -> String {
    let mut url = url.trim().to_lowercase();
    if is_ssh(&url) && !url.starts_with("ssh://") {
        // git@host:path: the first colon is no port.
        url = format!("ssh://{}", url.replacen(':', "/", 1));
    }
    let parsed = as_go_prints(url.strip_suffix(".git").unwrap_or(&url)).unwrap_or_default();
    parsed.strip_prefix("ssh://").map_or_else(|| parsed.clone(), str::to_owned)
}

/// Both are URLs, of one repository.
pub fn same(left: &str, right: &str) -> bool {
    let (left, right) = (normalize(left), normalize(right));
    !left.is_empty() && left == right
}

/// Where a repository is, however it is reached: host and path. As Argo CD's webhook handler compares them: any of
/// http, https, ssh and no scheme, any user, any port (ssh has another one than the page), `.git` or none, upper or
/// lower case, `ssh.` or `altssh.` before the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    host: String,
    path: String,
}

impl Place {
    /// `None` for what names no host or no path in it.
    pub fn of(url: &str) -> Option<Self> {
        let (host, mut paths) = host_and_paths(url)?;
        let path = as_compared(paths.next()?);
        (!host.is_empty() && !path.is_empty()).then(|| Self { host: host.to_lowercase(), path })
    }

    /// Whether a repository of this URL is here.
    pub fn holds(&self, url: &str) -> bool {
        let Some((host, mut paths)) = host_and_paths(url) else { return false };
        let host = host.to_lowercase();
        let bare = host.strip_prefix("alt").unwrap_or(&host).strip_prefix("ssh.");
        (host == self.host || bare == Some(&self.host)) && paths.any(|path| as_compared(path) == self.path)
    }
}

/// The host of an URL, and what its path may be, the likelier first: in ssh's short form `host:2222/` begins a path, but
/// people write ports there too.
fn host_and_paths(url: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    if scheme.is_some_and(|scheme| !["http", "https", "ssh", "git"].iter().any(|one| one.eq_ignore_ascii_case(scheme)))
    {
        return None;
    }
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let at = if scheme.is_some() { authority.rfind('@') } else { authority.find('@') };
    let rest = &rest[at.map_or(0, |at| at + 1)..];
    let end = if rest.starts_with('[') { rest.find(']')? + 1 } else { rest.find([':', '/'])? };
    let (host, path) = rest.split_at(end);
    let whole = path.strip_prefix([':', '/'])?;
    let digits = whole.trim_start_matches(|c: char| c.is_ascii_digit());
    let port = path.starts_with(':') && digits.len() < whole.len();
    let after_port = port.then(|| digits.strip_prefix([':', '/'])).flatten();
    let whole = (scheme.is_none() || after_port.is_none()).then_some(whole);
    Some((host, whole.into_iter().chain(after_port)))
}

/// A path in lower case, without `.git` and the slashes at its ends, `%20` as a space.
fn as_compared(path: &str) -> String {
    let path = decoded(path).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| path.to_owned());
    let path = path.trim_matches('/').to_lowercase();
    path.strip_suffix(".git").map_or_else(|| path.clone(), str::to_owned)
}

/// One form for the ways to write a repository of a registry: no `oci://`, no slash at the end, lower case (Argo CD,
/// `NormalizeOCI`), and one name for Docker Hub.
pub fn oci(url: &str) -> String {
    let url = url.trim().to_lowercase();
    let url = url.strip_prefix("oci://").unwrap_or(&url).trim_end_matches('/');
    match url.split_once('/') {
        Some(("registry-1.docker.io" | "index.docker.io", rest)) => format!("docker.io/{rest}"),
        _ => url.to_owned(),
    }
}

/// `[ssh://]user@rest`.
fn is_ssh(url: &str) -> bool {
    let parts = url.strip_prefix("ssh://").unwrap_or(url).rsplit_once('@');
    parts.is_some_and(|(user, rest)| !user.contains(['/', ':']) && !rest.is_empty())
}

/// What Go's `url.Parse` followed by `String` makes of it, as far as it matters here; `None` for an error.
fn as_go_prints(url: &str) -> Option<String> {
    if url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return None;
    }
    if url == "*" {
        return Some(url.to_owned());
    }
    let (rest, fragment) = url.split_once('#').map_or((url, ""), |(rest, fragment)| (rest, fragment));
    let (scheme, rest) = split_scheme(rest)?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let mut printed = if scheme.is_empty() { String::new() } else { format!("{scheme}:") };
    if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
        let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
        if !is_host(host) {
            return None;
        }
        let at = if user.len() < authority.len() - host.len() { "@" } else { "" };
        printed = format!("{printed}//{}{at}{host}{}", user.replace('@', "%40"), escaped(path)?);
    } else if !rest.starts_with('/') && !scheme.is_empty() {
        printed.push_str(rest);
    } else {
        let first = rest.split('/').next().unwrap_or_default();
        if !rest.starts_with('/') && first.contains(':') {
            return None;
        }
        printed.push_str(&escaped(rest)?);
    }
    if let Some(query) = query {
        printed = format!("{printed}?{query}");
    }
    if !fragment.is_empty() {
        printed = format!("{printed}#{fragment}");
    }
    Some(printed)
}

/// No scheme where something else than a scheme's characters comes before the colon.
fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let end = url.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
    match end.map(|end| url.split_at(end)) {
        Some(("", rest)) if rest.starts_with(':') => None,
        Some((scheme, rest)) if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some((scheme, &rest[1..]))
        }
        _ => Some(("", url)),
    }
}

/// A host with an optional port of digits.
fn is_host(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let odd = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:[]<>\"%".contains(c);
    (port.is_empty() || port.starts_with(':'))
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !host.contains(odd)
}

/// A path as it stands, when all its characters may stand in one; otherwise decoded and encoded anew.
fn escaped(path: &str) -> Option<String> {
    let decoded = decoded(path)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte);
    if path.bytes().all(|byte| plain(byte) || b"!'()*[]%".contains(&byte)) {
        return Some(path.to_owned());
    }
    Some(
        decoded
            .iter()
            .map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
            .collect(),
    )
}

fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of Go 1.26's `net/url` under Argo CD's rules.
    #[test]
    fn urls_are_written_as_go_writes_them() {
        for (url, want) in [
            ("*", "*"),
            ("https://github.com/Org/Repo.git", "https://github.com/org/repo"),
            (" https://github.com/org/repo ", "https://github.com/org/repo"),
            ("git@github.com:org/repo.git", "git@github.com/org/repo"),
            ("ssh://git@github.com/org/repo", "git@github.com/org/repo"),
            ("ssh://git@github.com:2222/org/repo.git", "git@github.com:2222/org/repo"),
            ("git@github.com:org/*", "git@github.com/org/*"),
            ("https://github.com/*", "https://github.com/*"),
            ("https://github.com/**", "https://github.com/**"),
            ("*://github.com/*", ""),
            ("https://*.example.org/*", "https://*.example.org/*"),
            ("https://user:pw@example.org/a", "https://user:pw@example.org/a"),
            ("https://example.org:8443/a.git", "https://example.org:8443/a"),
            ("https://example.org:*/a", ""),
            ("https://example.org/{a,b}/*", "https://example.org/%7Ba,b%7D/%2A"),
            ("https://{a,b}/x", ""),
            ("https://example.org/a b", "https://example.org/a%20b"),
            ("https://example.org/a%20b", "https://example.org/a%20b"),
            ("https://example.org/%zz", ""),
            ("registry-1.docker.io/bitnamicharts", "registry-1.docker.io/bitnamicharts"),
            ("oci://ghcr.io/x/y", "oci://ghcr.io/x/y"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("file:///tmp/x", "file:///tmp/x"),
            ("/tmp/x.git", "/tmp/x"),
            ("https://example.org/a?b=c", "https://example.org/a?b=c"),
            ("https://example.org/[a-z]*", "https://example.org/[a-z]*"),
            ("https://[::1]:80/a", "https://[::1]:80/a"),
            ("https://[::1/a", ""),
            ("", ""),
            ("a:b:c@d", "a:b:c@d"),
            ("https://example.org/ä", "https://example.org/%C3%A4"),
            ("https://example.org/a/", "https://example.org/a/"),
            ("https://example.org/a\\*", "https://example.org/a%5C%2A"),
            ("https://example.org/a?", "https://example.org/a?"),
            ("a@b@c:d", "a%40b@c/d"),
            ("1http://x/y", ""),
            (":x", ""),
        ] {
            assert_eq!(normalize(url), want, "{url}");
        }
    }

    #[test]
    fn a_place_holds_the_repository_however_it_is_reached() {
        for (page, clone, want) in [
            ("https://github.com/a/b", "https://GitHub.com/a/B.git", true),
            ("https://github.com/a/b", "git@github.com:a/b.git", true),
            ("https://github.com/a/b", "ssh://git@github.com/a/b", true),
            ("https://github.com/a/b", "ssh://git@ssh.github.com:443/a/b.git", true),
            ("https://bitbucket.org/a/b", "ssh://git@altssh.bitbucket.org:443/a/b.git", true),
            ("https://github.com/a/b", "https://user:p%40w@github.com/a/b/", true),
            ("https://github.com/a/b", "github.com/a/b", true),
            ("https://github.com/2222/b", "git@github.com:2222/b.git", true),
            ("https://gitlab.example.org/a/b", "ssh://git@gitlab.example.org:2222/a/b.git", true),
            ("https://git.example.org:8443/a/b", "https://git.example.org/a/b", true),
            ("https://git.example.org/a/b.git", "https://git.example.org/a/b", true),
            ("http://127.0.0.1:3000/x.git", "http://127.0.0.1:3000/x", true),
            ("https://[::1]:80/a/b", "https://[::1]/a/b", true),
            ("https://dev.azure.com/o/My%20Project/_git/r", "https://o@dev.azure.com/o/My Project/_git/r", true),
            ("git@example.org:a/b.git", "https://example.org/a/b", true),
            ("git@example.org:2222/b.git", "https://example.org/2222/b", true),
            ("https://github.com/a/b", "https://github.com/a/bc", false),
            ("https://github.com/a/b", "https://github.com/a/b/c", false),
            ("https://github.com/a/b", "https://evil.org/github.com/a/b", false),
            ("https://github.com/a/b", "https://github.com.evil.org/a/b", false),
            ("https://github.com/a/b", "https://github.com@evil.org/a/b", false),
            ("https://github.com/a/b", "oci://github.com/a/b", false),
            ("https://github.com/a.b", "https://github.com/aXb", false),
        ] {
            assert_eq!(Place::of(page).unwrap().holds(clone), want, "{page} {clone}");
        }
        for url in ["", "https://", "https://github.com", "https://github.com/", "https:///a", "oci://x/y", "[::1", "a"]
        {
            assert_eq!(Place::of(url), None, "{url}");
        }
    }

    #[test]
    fn one_repository_of_a_registry_has_one_name() {
        assert_eq!(oci("oci://GHCR.io/Org/App/"), "ghcr.io/org/app");
        assert_eq!(oci("ghcr.io/org/app"), "ghcr.io/org/app");
        assert_eq!(oci("registry-1.docker.io/bitnamicharts"), "docker.io/bitnamicharts");
    }

    #[test]
    fn what_is_no_url_is_the_same_as_nothing() {
        assert!(same("https://GitHub.com/a/b.git", "https://github.com/a/b"));
        assert!(same("git@github.com:a/b", "ssh://git@github.com/a/b.git"));
        assert!(!same("https://x:y/a", "https://x:z/a"));
    }
}

//! The URL of a repository, taken apart once and checked: what reaches a transport holds nothing that a program, a shell or a
//! credential helper could take for something else (research/pains.md S-08, S-11). Pure.
use super::{GitError, redact};

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Http,
    Https,
    Ssh,
    File,
}

/// A URL that may be used.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Remote {
    pub(super) scheme: Scheme,
    pub(super) user: String,
    /// Of `https://user:password@host`; the Secret's credentials go before it.
    pub(super) password: String,
    /// In lower case, without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// With the slash in front, but for `host:path`, which is relative to the home directory.
    pub(super) path: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url())
    }
}

impl Remote {
    /// Takes a URL apart. `file://` only when `allow_file`; other local paths and helpers (`ext::`) never.
    pub(super) fn parse(url: &str, allow_file: bool) -> Result<Self, GitError> {
        let refuse = |reason: &str| GitError::Refused { url: shown(url), reason: reason.to_owned() };
        let url = url.trim();
        if url.is_empty() {
            return Err(refuse("it is empty"));
        }
        if url.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it holds a line break, a blank or a control character"));
        }
        if url.starts_with('-') {
            return Err(refuse("it starts with a dash"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self::parse_short(url).ok_or_else(|| {
                refuse("it is no URL of a repository; https://, http://, ssh:// or user@host:path is wanted")
            });
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ssh" | "git+ssh" | "ssh+git" => Scheme::Ssh,
            "file" if allow_file => Scheme::File,
            "file" => return Err(refuse("local repositories are not allowed here")),
            _ => return Err(refuse("the scheme is not supported; https, http or ssh is wanted")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if let Some(code) = encoded_control(rest) {
            return Err(refuse(&format!("it holds the encoded control character {code}")));
        }
        if scheme == Scheme::File {
            let local = authority.is_empty() && path.len() > 1;
            let remote = Self::new(scheme, "", "", "", None, path);
            return if local { Ok(remote) } else { Err(refuse("file:///path is wanted")) };
        }
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let decoded = |text: &str| decode(text).ok_or_else(|| refuse("its user or password is wrongly encoded"));
        let (user, password) = (decoded(user)?, decoded(password)?);
        if scheme == Scheme::Ssh && !is_user(&user) {
            return Err(refuse("its user holds odd characters"));
        }
        let Some((host, port)) = split_port(host) else {
            // ssh://git@host:org/repo, which is wrong but in use: the colon is that of the short form.
            let short = (scheme == Scheme::Ssh).then(|| Self::parse_short(rest)).flatten();
            return short.ok_or_else(|| refuse("its port is no number"));
        };
        if !is_host(host) {
            return Err(refuse("its host holds odd characters"));
        }
        if path.len() < 2 {
            return Err(refuse("it names no repository on the server"));
        }
        Ok(Self::new(scheme, &user, &password, host, port, path))
    }

    /// `[user@]host:path`.
    fn parse_short(url: &str) -> Option<Self> {
        let (authority, path) = url.split_once(':')?;
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let fine = is_host(host) && is_user(user) && !path.is_empty() && !path.starts_with(['-', ':']);
        (fine && encoded_control(url).is_none()).then(|| Self::new(Scheme::Ssh, user, "", host, None, path))
    }

    fn new(scheme: Scheme, user: &str, password: &str, host: &str, port: Option<u16>, path: &str) -> Self {
        Self {
            scheme,
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        }
    }

    /// The URL without credentials, for a transport and for people.
    pub(super) fn url(&self) -> String {
        let at =
            if self.user.is_empty() || self.scheme != Scheme::Ssh { String::new() } else { format!("{}@", self.user) };
        if self.scheme == Scheme::Ssh && !self.path.starts_with('/') {
            return format!("{at}{}:{}", self.bracketed(), self.path);
        }
        format!("{}://{at}{}{}", self.scheme.as_str(), self.authority(), self.path)
    }

    /// Host and port.
    pub(super) fn authority(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::File, _) => String::new(),
            (_, Some(port)) => format!("{}:{port}", self.bracketed()),
            (_, None) => self.bracketed(),
        }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The identity of what is there: URLs with equal ones are one repository. Paths keep their case, which may count.
    pub(super) fn key(&self) -> String {
        let path = self.path.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        Self { path: path.to_owned(), port: self.port.filter(|port| *port != self.scheme.port()), ..self.clone() }.url()
    }

    /// Requests to `other` may carry what this one's server was given.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        let port = |remote: &Self| remote.port.unwrap_or(remote.scheme.port());
        self.scheme == other.scheme && self.host == other.host && port(self) == port(other)
    }

    /// The URL that a submodule's relative one means (git-submodule(1), "add").
    pub(super) fn join(&self, relative: &str) -> Option<String> {
        let mut path = self.path.trim_end_matches('/').to_owned();
        let mut rest = relative;
        loop {
            if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else if let Some(after) = rest.strip_prefix("../") {
                path.truncate(path.rfind('/')?);
                rest = after;
            } else {
                break;
            }
        }
        if rest.is_empty() || path.is_empty() && rest.starts_with('-') {
            return None;
        }
        let path =
            if path.is_empty() && !self.path.starts_with('/') { rest.to_owned() } else { format!("{path}/{rest}") };
        Some(Self { path, ..self.clone() }.url())
    }
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }

    pub(super) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Ssh => 22,
            Self::File => 0,
        }
    }
}

/// A proxy that may be used: `http`, `https`, `socks5` or `socks5h`, with a host of plain characters (research/pains.md S-10).
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) scheme: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Proxy {
    /// Reads the `proxy` of a repository.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |reason: &str| format!("proxy: {reason}; scheme://host:port is wanted");
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(|| wrong("it is no URL"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https" | "socks5" | "socks5h") {
            return Err(wrong("its scheme is none of http, https, socks5 and socks5h"));
        }
        let authority = rest.trim_end_matches('/');
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let decoded = |text: &str| decode(text).ok_or_else(|| wrong("its user or password is wrongly encoded"));
        let (host, port) = split_port(host).ok_or_else(|| wrong("its port is no number"))?;
        if !is_host(host) {
            return Err(wrong("its host holds odd characters"));
        }
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => 1080,
        };
        let (user, password) = (decoded(user)?, decoded(password)?);
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { scheme, user, password, host, port: port.unwrap_or(default) })
    }
}

/// A host and its port; `None` when what stands there is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let at = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|end| end + 2)?,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(at)?;
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).map(|port| (host, Some(port)))
        }
        _ => None,
    }
}

/// Letters, digits, dots, dashes and underlines, or an address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && !host.starts_with(['-', '.']) && host.bytes().all(plain)
}

fn is_user(user: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~@\\".contains(&byte);
    !user.starts_with('-') && user.bytes().all(plain)
}

/// The first `%xx` that stands for a control character.
fn encoded_control(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let code = text.get(at..at + 3)?;
        let byte = u8::from_str_radix(&code[1..], 16).ok()?;
        (byte < 0x20 || byte == 0x7f).then_some(code)
    })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// A URL that was refused, for people: without credentials, control characters made visible.
fn shown(url: &str) -> String {
    redact(&url.escape_debug().to_string().replace(' ', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, plain, key) in [
            ("https://GitHub.com/Org/Repo.git", "https://github.com/Org/Repo.git", "https://github.com/Org/Repo"),
            ("https://bob:p%40ss@x.org:443/a/", "https://x.org:443/a/", "https://x.org/a"),
            ("http://[::1]:8080/a", "http://[::1]:8080/a", "http://[::1]:8080/a"),
            ("git@github.com:org/repo.git", "git@github.com:org/repo.git", "git@github.com:org/repo"),
            ("ssh://git@x.org:2222/a.git", "ssh://git@x.org:2222/a.git", "ssh://git@x.org:2222/a"),
            ("ssh://git@x.org:org/a.git", "git@x.org:org/a.git", "git@x.org:org/a"),
            ("file:///tmp/a.git", "file:///tmp/a.git", "file:///tmp/a"),
        ] {
            let remote = Remote::parse(url, true).unwrap();
            assert_eq!((remote.url().as_str(), remote.key().as_str()), (plain, key), "{url}");
        }
        let remote = Remote::parse("https://bob:p%40ss@x.org/a", false).unwrap();
        assert_eq!((remote.user.as_str(), remote.password.as_str()), ("bob", "p@ss"));
        assert!(!format!("{remote:?}").contains("p@ss"));
    }

    #[test]
    fn s_11_urls_that_a_program_could_misread_are_refused() {
        for url in [
            "https://x.org/a\nhost=evil.org",
            "https://x.org\r/a",
            "https://x.org%0ahost=evil.org/a",
            "https://x.org/a%0d%0ab",
            "https://a%0ab@x.org/a",
            "https://x.org/a b",
            "https://x.org\0/a",
            "-uploadpack=sh",
            "--upload-pack=sh",
            "ext::sh -c id",
            "ext::id",
            "fd::17",
            "git://x.org/a",
            "ftp://x.org/a",
            "ssh://-oProxyCommand=id/a",
            "ssh://-oProxyCommand=id@x.org/a",
            "-oProxyCommand=id@x.org:a",
            "git@-oProxyCommand=id:a",
            "git@x.org:-a",
            "ssh://x.org;id/a",
            "https://x$(id).org/a",
            "https://x.org:port/a",
            "https://x.org:0/a",
            "https:///a",
            "https://x.org",
            "/etc",
            "./a",
            "../a",
            "file://host/a",
            "",
            " ",
        ] {
            let error = Remote::parse(url, true).map(|remote| remote.url()).unwrap_err().to_string();
            assert!(error.contains("is refused"), "{url:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(Remote::parse("file:///tmp/a", false).is_err());
        let error = Remote::parse("https://bob:hunter2@x.org/a\n", false).map(|_| ()).err();
        assert!(error.is_none(), "blanks at the ends are no harm");
        let error = Remote::parse("https://bob:hunter2@x .org/a", false).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn s_10_proxies_that_a_shell_could_run_are_refused() {
        for proxy in [
            "socks5://x;id:1080",
            "socks5://$(id):1080",
            "socks5://`id`:1080",
            "socks5://x\n:1080",
            "socks5://-x:1080",
            "socks5://x:1080;id",
            "ftp://x:1",
            "x:1080",
        ] {
            assert!(Proxy::parse(proxy).is_err(), "{proxy}");
        }
        let fine = Proxy::parse("socks5h://u:p%3B@Proxy.example.org:1081/").unwrap();
        assert_eq!((fine.host.as_str(), fine.port, fine.password.as_str()), ("Proxy.example.org", 1081, "p;"));
        assert_eq!(Proxy::parse("http://[::1]").unwrap().port, 80);
    }

    #[test]
    fn a_relative_url_is_that_of_its_superproject() {
        let https = Remote::parse("https://x.org/org/app.git", false).unwrap();
        let short = Remote::parse("git@x.org:org/app.git", false).unwrap();
        for (remote, relative, want) in [
            (&https, "../lib.git", Some("https://x.org/org/lib.git")),
            (&https, "../../other/lib", Some("https://x.org/other/lib")),
            (&https, "./sub", Some("https://x.org/org/app.git/sub")),
            (&https, "../../../lib", None),
            (&short, "../lib.git", Some("git@x.org:org/lib.git")),
        ] {
            assert_eq!(remote.join(relative).as_deref(), want, "{relative}");
        }
    }
}

//! One name in a registry, read by the OCI Distribution Specification 1.1 ("Pull", "Content Discovery") with the token
//! authentication of the Docker registry. Every answer is limited in bytes, pages and time; what a digest names is compared with it. An own
//! client because the crate `oci-client` takes answers of any length and knows no client certificates. Knows nothing of what
//! is in the layers.
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, LINK, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tako_engine::repository::Repository;
use tako_engine::trust::Trust;
use url::Url;

use crate::charts::{Limits, Transport, parse};
use crate::git::redact;
use crate::request::RenderError;

/// The layer of a Helm chart.
pub(crate) const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// The configuration of a Helm chart.
pub(crate) const CHART_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// Manifests that we read, and lists, to say what is wrong with them.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Of everything but layers.
const SMALL: Limits = Limits { bytes: 8 * 1024 * 1024, time: Duration::from_secs(60) };
/// Pages of tags.
const PAGES_MAX: usize = 500;
/// Tags of one name.
const TAGS_MAX: usize = 200_000;
/// Layers of one manifest.
const LAYERS_MAX: usize = 1024;

/// One name in a registry.
pub(crate) struct Registry {
    transport: Transport,
    base: Url,
    name: String,
    /// `Authorization`, once the registry said which one it wants.
    authorization: RefCell<Option<Authorization>>,
}

#[derive(Clone)]
enum Authorization {
    Own,
    Token(String),
}

/// A manifest, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Manifest {
    /// `sha256:…` of its bytes.
    #[serde(skip)]
    pub(crate) digest: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
}

/// What a manifest says of a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// `repository` with the path `below` its own.
    pub(crate) fn open(repository: &Repository, below: &str, trust: &Trust) -> Result<Self, RenderError> {
        let wrong = |reason: &str| RenderError::Spec(format!("{}: {reason}", redact(&repository.url)));
        let place = repository.url.split_once("://").map_or(repository.url.as_str(), |(_, rest)| rest);
        let (host, path) = place.trim_end_matches('/').split_once('/').unwrap_or((place, ""));
        let name = crate::tree::join(path, below);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.split('/').any(|part| part.is_empty() || part == "." || part == ".." || !part.chars().all(plain)) {
            return Err(wrong("a name in a registry (host/name) is wanted"));
        }
        let host = match host {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let scheme = if repository.insecure_oci_force_http { "http" } else { "https" };
        let base = parse(&format!("{scheme}://{}/", host.trim_end_matches('/')))?;
        if !base.username().is_empty() || base.path() != "/" {
            return Err(wrong("a name in a registry (host/name) is wanted"));
        }
        let transport = Transport::new(repository, &base, trust, false)?;
        Ok(Self { transport, base, name, authorization: RefCell::default() })
    }

    fn url(&self, kind: &str, reference: &str) -> Result<Url, RenderError> {
        parse(&format!("{}v2/{}/{kind}/{reference}", self.base, self.name))
    }

    /// For errors.
    fn shown(&self, reference: &str) -> String {
        let separator = if reference.starts_with("sha256:") { "@" } else { ":" };
        format!("oci://{}/{}{separator}{reference}", self.base.authority(), self.name)
    }

    /// All tags.
    pub(crate) fn tags(&self) -> Result<Vec<String>, RenderError> {
        let what = self.shown("tags");
        let mut next = self.url("tags", "list")?;
        next.set_query(Some("n=1000"));
        let (mut tags, mut seen) = (Vec::new(), BTreeSet::new());
        loop {
            if !seen.insert(next.to_string()) || seen.len() > PAGES_MAX {
                return Err(self.transport.refused(&what, &format!("the list of tags has no end ({PAGES_MAX} pages)")));
            }
            let answer = self.ask(&what, Method::GET, &next, None, SMALL)?;
            let link = answer.headers().get(LINK).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let page: Tags = self.json(&what, answer)?;
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > TAGS_MAX {
                return Err(self.transport.refused(&what, &format!("there are more than {TAGS_MAX} tags")));
            }
            let Some(link) = link.as_deref().and_then(following) else { return Ok(tags) };
            next = next.join(link).map_err(|_| self.transport.refused(&what, "the next page is no URL"))?;
            if next.origin() != self.base.origin() {
                return Err(self.transport.refused(&what, "the next page is on another host"));
            }
        }
    }

    /// The digest that a tag stands for.
    pub(crate) fn digest(&self, tag: &str) -> Result<String, RenderError> {
        let what = self.shown(tag);
        self.check(&what, tag)?;
        let answer = self.ask(&what, Method::HEAD, &self.url("manifests", tag)?, Some(MANIFESTS), SMALL)?;
        let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        match digest {
            Some(digest) if is_digest(digest) => Ok(digest.to_owned()),
            _ => Ok(self.manifest(tag)?.digest),
        }
    }

    /// The manifest of a tag or digest.
    pub(crate) fn manifest(&self, reference: &str) -> Result<Manifest, RenderError> {
        let what = self.shown(reference);
        self.check(&what, reference)?;
        let answer = self.ask(&what, Method::GET, &self.url("manifests", reference)?, Some(MANIFESTS), SMALL)?;
        let bytes = self.transport.body(&what, answer, SMALL)?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        if reference.starts_with("sha256:") && reference != digest {
            return Err(self.transport.refused(&what, "the manifest is not the one that the digest names"));
        }
        let mut manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|_| self.transport.refused(&what, "the registry's answer is no manifest"))?;
        manifest.digest = digest;
        if !manifest.manifests.is_empty() {
            return Err(self.transport.refused(&what, "it is a list of images; an artifact of one layer is wanted"));
        }
        if manifest.layers.len() > LAYERS_MAX {
            return Err(self.transport.refused(&what, "it has too many layers"));
        }
        Ok(manifest)
    }

    /// A blob into `into`; answers its SHA-256 in hex, which is that of the descriptor.
    pub(crate) fn blob(&self, blob: &Descriptor, into: &mut impl Write, limits: Limits) -> Result<String, RenderError> {
        let what = self.shown(&blob.digest);
        if !is_digest(&blob.digest) {
            return Err(self.transport.refused(&what, "a digest with sha256 is wanted"));
        }
        if blob.size > limits.bytes {
            let reason = format!("the layer has {} bytes, more than the {} allowed", blob.size, limits.bytes);
            return Err(self.transport.refused(&what, &reason));
        }
        let answer = self.ask(&what, Method::GET, &self.url("blobs", &blob.digest)?, None, limits)?;
        let digest = self.transport.copy(&what, answer, into, limits)?;
        if blob.digest != format!("sha256:{digest}") {
            return Err(self.transport.refused(&what, "the layer is not the one that the digest names"));
        }
        Ok(digest)
    }

    /// Nothing of a reference may be read as another part of the URL.
    fn check(&self, what: &str, reference: &str) -> Result<(), RenderError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_tag = !reference.is_empty() && reference.len() <= 128 && reference.chars().all(plain);
        if is_digest(reference) || (is_tag && reference != "." && reference != "..") {
            return Ok(());
        }
        Err(self.transport.refused(what, "a tag or a digest (sha256:…) is wanted"))
    }

    fn json<T: for<'a> Deserialize<'a>>(
        &self,
        what: &str,
        answer: reqwest::blocking::Response,
    ) -> Result<T, RenderError> {
        let bytes = self.transport.body(what, answer, SMALL)?;
        serde_json::from_slice(&bytes).map_err(|_| self.transport.refused(what, "the registry's answer is no JSON"))
    }

    /// Asks; when the registry wants to know who, tells it and asks again.
    fn ask(
        &self,
        what: &str,
        method: Method,
        url: &Url,
        accept: Option<&str>,
        limits: Limits,
    ) -> Result<reqwest::blocking::Response, RenderError> {
        for last in [false, true] {
            let mut request = self.transport.bare(method.clone(), url);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            request = match &*self.authorization.borrow() {
                None => request,
                Some(Authorization::Own) => self.transport.authorized(request),
                Some(Authorization::Token(token)) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            };
            let answer = self.transport.exchange(what, request, limits)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            if status != StatusCode::UNAUTHORIZED || last {
                return Err(self.transport.unreachable(what, &format!("the registry answered {status}")));
            }
            let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
            let challenges: Vec<String> =
                challenges.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
            let next = self.answer(what, &challenges)?;
            *self.authorization.borrow_mut() = Some(next);
        }
        Err(self.transport.unreachable(what, "the registry answered 401 Unauthorized"))
    }

    fn answer(&self, what: &str, challenges: &[String]) -> Result<Authorization, RenderError> {
        let of = |scheme: &str| {
            challenges.iter().find_map(|text| {
                let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
                word.eq_ignore_ascii_case(scheme).then_some(rest)
            })
        };
        let Some(parameters) = of("Bearer") else {
            return if self.transport.has_credentials() {
                Ok(Authorization::Own)
            } else {
                Err(self.transport.unreachable(what, "the registry wants credentials, and there are none for it"))
            };
        };
        let parameter = |name: &str| parameters_of(parameters).find(|(key, _)| *key == name).map(|(_, value)| value);
        let no_realm = || self.transport.refused(what, "the registry names no token service");
        let mut realm = parse(&parameter("realm").ok_or_else(no_realm)?).map_err(|_| no_realm())?;
        if realm.scheme() != "https" && self.base.scheme() == "https" {
            return Err(self.transport.refused(what, "the token service is not reached by https"));
        }
        let scope = parameter("scope").unwrap_or_else(|| format!("repository:{}:pull", self.name));
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = parameter("service") {
                query.append_pair("service", &service);
            }
            query.append_pair("scope", &scope);
        }
        // The registry itself names the service that its credentials are for (Docker's token authentication).
        let request = self.transport.authorized(self.transport.bare(Method::GET, &realm));
        let answer = self.transport.send(&format!("the token service of {what}"), request, SMALL)?;
        let token: Token = self.json(what, answer)?;
        token
            .token
            .or(token.access_token)
            .filter(|token| {
                !token.is_empty() && token.len() < 64 * 1024 && token.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .map(Authorization::Token)
            .ok_or_else(|| self.transport.refused(what, "the token service gave no token"))
    }
}

/// `key="value",key=value` of a challenge.
fn parameters_of(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (key, after) = rest.trim_start_matches([',', ' ']).split_once('=')?;
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        rest = left;
        Some((key.trim(), value.to_owned()))
    })
}

/// The target of `<…>; rel="next"`.
fn following(link: &str) -> Option<&str> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(target)
}

/// `sha256:` and 64 digits.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_links_are_read() {
        let found: Vec<_> =
            parameters_of("realm=\"https://auth/x?a=b\",service=\"s,t\", scope=\"repository:a/b:pull,push\",n=1")
                .collect();
        let want =
            [("realm", "https://auth/x?a=b"), ("service", "s,t"), ("scope", "repository:a/b:pull,push"), ("n", "1")];
        assert_eq!(found, want.map(|(key, value)| (key, value.to_owned())));
        assert_eq!(following("</v2/a/tags/list?last=b&n=2>; rel=\"next\""), Some("/v2/a/tags/list?last=b&n=2"));
        assert_eq!(following("</v2/a>; rel=\"prev\""), None);
    }

    #[test]
    fn only_names_of_a_registry_are_asked_for() {
        let open = |url: &str, below: &str| {
            let repository = Repository { url: url.to_owned(), ..Repository::default() };
            Registry::open(&repository, below, &Trust::default())
                .map(|registry| registry.url("manifests", "1").unwrap().to_string())
        };
        assert_eq!(open("oci://ghcr.io/a/b", "").unwrap(), "https://ghcr.io/v2/a/b/manifests/1");
        assert_eq!(open("localhost:5000/a", "c/d").unwrap(), "https://localhost:5000/v2/a/c/d/manifests/1");
        assert_eq!(
            open("oci://docker.io/library", "x").unwrap(),
            "https://registry-1.docker.io/v2/library/x/manifests/1"
        );
        for (url, below) in [
            ("oci://ghcr.io", ""),
            ("oci://ghcr.io/a/../b", ""),
            ("oci://ghcr.io/a", "../b"),
            ("oci://ghcr.io/a", "b?x=1"),
            ("oci://ghcr.io/a", "b#"),
            ("oci://u:p@ghcr.io/a", ""),
            ("oci://ghcr.io//a", ""),
        ] {
            assert!(open(url, below).is_err(), "{url} {below}");
        }
    }
}

//! HTTP to repositories and registries: whose credentials go where, which certificates are trusted, and limits of bytes and
//! time on every answer (research/pains.md S-14, S-49). Knows nothing of what is fetched.
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::{Certificate, Identity, NoProxy, Proxy, StatusCode};
use sha2::{Digest as _, Sha256};
use tako_engine::repository::Repository;
use tako_engine::trust::Trust;
use url::Url;

use crate::git::redact;
use crate::request::RenderError;

/// The longest a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// Ways to a proxy.
const PROXIES: [&str; 5] = ["http", "https", "socks4", "socks5", "socks5h"];
/// Redirects followed.
const REDIRECTS_MAX: usize = 5;
/// How we call ourselves.
const AGENT: &str = concat!("takobune/", env!("CARGO_PKG_VERSION"));

/// How much of an answer is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most bytes, after decompression of the transfer.
    pub(crate) bytes: u64,
    /// The whole exchange.
    pub(crate) time: Duration,
}

/// One repository's way of being talked to.
pub(crate) struct Transport {
    client: Client,
    /// Without the client certificate, for other hosts.
    stranger: Client,
    origin: url::Origin,
    username: String,
    password: String,
    bearer: String,
    everywhere: bool,
    secrets: Vec<String>,
}

impl Transport {
    /// For a repository at `base`. With `everywhere` its credentials go to all hosts (`passCredentials`).
    pub(crate) fn new(
        repository: &Repository,
        base: &Url,
        trust: &Trust,
        everywhere: bool,
    ) -> Result<Self, RenderError> {
        let mut secrets: Vec<String> = repository.secrets().into_iter().map(str::to_owned).collect();
        if let Some(password) = base.password() {
            secrets.push(password.to_owned());
        }
        // The longest first, so that a secret that holds another one is not left in pieces.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let wrong = |what: &str, reason: String| {
            RenderError::Spec(format!("{what} of the repository {} cannot be used: {reason}", redact(&repository.url)))
        };
        let build = |identity: bool| -> Result<Client, RenderError> {
            let mut builder = builder(repository, base, trust, &wrong)?;
            if identity && !repository.tls_client_cert_data.is_empty() {
                let pem = format!("{}\n{}", repository.tls_client_cert_data, repository.tls_client_cert_key.reveal());
                let identity = Identity::from_pem(pem.as_bytes()).map_err(|_| {
                    wrong("tlsClientCertData", "a certificate and its key in PEM are wanted".to_owned())
                })?;
                builder = builder.identity(identity);
            }
            builder.build().map_err(|error| wrong("the connection", whole(&error)))
        };
        Ok(Self {
            client: build(true)?,
            stranger: build(false)?,
            origin: base.origin(),
            username: repository.username.clone(),
            password: repository.password.reveal().to_owned(),
            bearer: repository.bearer_token.reveal().to_owned(),
            everywhere,
            secrets,
        })
    }

    /// Credentials may go to this URL.
    pub(crate) fn trusts(&self, url: &Url) -> bool {
        self.everywhere || url.origin() == self.origin
    }

    /// A request without credentials.
    pub(crate) fn bare(&self, method: reqwest::Method, url: &Url) -> RequestBuilder {
        let client = if self.trusts(url) { &self.client } else { &self.stranger };
        client.request(method, url.clone())
    }

    /// A GET with the repository's credentials where they may go.
    pub(crate) fn get(&self, url: &Url) -> RequestBuilder {
        let request = self.bare(reqwest::Method::GET, url);
        if self.trusts(url) { self.authorized(request) } else { request }
    }

    /// User and password, or the bearer token.
    pub(crate) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        if !self.username.is_empty() || !self.password.is_empty() {
            request.basic_auth(&self.username, Some(&self.password))
        } else if !self.bearer.is_empty() {
            request.bearer_auth(&self.bearer)
        } else {
            request
        }
    }

    /// There are some.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.username.is_empty() || !self.password.is_empty() || !self.bearer.is_empty()
    }

    /// Sends it; an answer that is neither success nor "not modified" is an error.
    pub(crate) fn send(&self, what: &str, request: RequestBuilder, limits: Limits) -> Result<Response, RenderError> {
        let answer = self.exchange(what, request, limits)?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(self.unreachable(what, &format!("the server answered {status}")))
    }

    /// Sends it, whatever the answer.
    pub(crate) fn exchange(
        &self,
        what: &str,
        request: RequestBuilder,
        limits: Limits,
    ) -> Result<Response, RenderError> {
        // Of the whole exchange, with the body.
        request.timeout(limits.time).send().map_err(|error| self.unreachable(what, &whole(&error)))
    }

    /// The whole body, in memory.
    pub(crate) fn body(&self, what: &str, answer: Response, limits: Limits) -> Result<Vec<u8>, RenderError> {
        let mut bytes = Vec::new();
        self.copy(what, answer, &mut bytes, limits)?;
        Ok(bytes)
    }

    /// The body to where it is kept; answers its SHA-256 in hex.
    pub(crate) fn copy(
        &self,
        what: &str,
        mut answer: Response,
        into: &mut impl Write,
        limits: Limits,
    ) -> Result<String, RenderError> {
        let started = Instant::now();
        let (mut hash, mut count, mut chunk) = (Sha256::new(), 0_u64, vec![0; 64 * 1024]);
        loop {
            let read = answer.read(&mut chunk).map_err(|error| self.unreachable(what, &whole(&error)))?;
            if read == 0 {
                return Ok(hex::encode(hash.finalize()));
            }
            count += read as u64;
            if count > limits.bytes {
                return Err(self.refused(what, &format!("it has more than the {} bytes allowed", limits.bytes)));
            }
            // Drop by drop for ever is no answer either.
            if started.elapsed() > limits.time {
                return Err(self.unreachable(what, &format!("it took longer than {}s", limits.time.as_secs())));
            }
            hash.update(&chunk[..read]);
            into.write_all(&chunk[..read])
                .map_err(|error| RenderError::Scratch { path: what.to_owned(), reason: error.to_string() })?;
        }
    }

    /// An error that may pass.
    pub(crate) fn unreachable(&self, what: &str, reason: &str) -> RenderError {
        RenderError::Unreachable { what: self.discreet(what), reason: self.discreet(reason) }
    }

    /// An error that will not pass by itself.
    pub(crate) fn refused(&self, what: &str, reason: &str) -> RenderError {
        RenderError::Spec(format!("{}: {}", self.discreet(what), self.discreet(reason)))
    }

    /// A text without this repository's secrets.
    fn discreet(&self, text: &str) -> String {
        let hidden = self.secrets.iter().filter(|secret| secret.len() > 2);
        redact(&hidden.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***")))
    }
}

fn builder(
    repository: &Repository,
    base: &Url,
    trust: &Trust,
    wrong: &dyn Fn(&str, String) -> RenderError,
) -> Result<ClientBuilder, RenderError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been quicker: that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut builder = Client::builder()
        .user_agent(AGENT)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(2)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .referer(false)
        .tls_danger_accept_invalid_certs(repository.insecure);
    if let Some(pem) = trust.certificates_of(base.host_str().unwrap_or_default()) {
        let trusted = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|_| wrong("the trusted certificate", "certificates in PEM are wanted".to_owned()))?;
        // Instead of the system's, as Argo CD does it.
        builder = builder.tls_certs_only(trusted);
    }
    if !repository.proxy.is_empty() {
        // The URL may hold a password: the error says nothing of it.
        let unusable = || wrong("proxy", "a URL with http, https or socks5 is wanted".to_owned());
        let known = Url::parse(&repository.proxy).is_ok_and(|url| PROXIES.contains(&url.scheme()));
        if !known {
            return Err(unusable());
        }
        let proxy = Proxy::all(&repository.proxy).map_err(|_| unusable())?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&repository.no_proxy)));
    }
    Ok(builder)
}

/// An error with its causes, without the URL (which may carry a token).
fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next.filter(|_| words.len() < 8) {
        let text = match error.downcast_ref::<reqwest::Error>() {
            Some(error) if error.is_timeout() => "the server took too long".to_owned(),
            Some(error) if error.is_connect() => "no connection".to_owned(),
            Some(error) if error.is_redirect() => "it redirects too often".to_owned(),
            Some(_) => String::new(),
            None => error.to_string(),
        };
        if !text.is_empty() && !words.contains(&text) {
            words.push(text);
        }
        next = error.source();
    }
    if words.is_empty() { "the connection was lost".to_owned() } else { words.join(": ") }
}

/// A URL as written in a Secret or an Application, for HTTP.
pub(crate) fn parse(url: &str) -> Result<Url, RenderError> {
    let wrong = || RenderError::Spec(format!("{}: a URL with http or https is wanted", redact(url)));
    let parsed = Url::parse(url.trim()).map_err(|_| wrong())?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(wrong());
    }
    Ok(parsed)
}

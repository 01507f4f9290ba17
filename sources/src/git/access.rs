//! With what right a repository is reached: its credentials and whom it trusts, and what of that no text may repeat.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tako_engine::repository::Repository as Settings;
use tako_engine::trust::Trust;

use super::remote::{Remote, Scheme};
use super::tokens::Tokens;
use super::{GitError, redact};

/// The user of a token that stands for itself, as GitHub wants it and others do not mind.
pub(super) const TOKEN_USER: &str = "x-access-token";

/// The settings of a repository at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) settings: Settings,
    pub(super) trust: Trust,
}

/// What a request carries.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

impl Credentials {
    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Basic { user, password } => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            Self::Bearer(token) => Some(format!("Bearer {token}")),
        }
    }

    /// Texts that may be repeated nowhere.
    fn secrets(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { user, password } => {
                vec![password.clone(), STANDARD.encode(format!("{user}:{password}")), STANDARD.encode(password)]
            }
            Self::Bearer(token) => vec![token.clone(), STANDARD.encode(token)],
        }
    }
}

impl Access {
    /// What a request over HTTP carries; tokens that must be fetched are. In the order in which Argo CD chooses.
    pub(super) fn credentials(&self, remote: &Remote, tokens: &Tokens) -> Result<Credentials, GitError> {
        if !matches!(remote.scheme, Scheme::Http | Scheme::Https) {
            return Ok(Credentials::None);
        }
        let settings = &self.settings;
        if let Some(token) = tokens.of(self, remote)? {
            return Ok(token);
        }
        let password = settings.password.reveal();
        let bearer = settings.bearer_token.reveal();
        if !bearer.is_empty() && (password.is_empty() || !settings.force_http_basic_auth) {
            return Ok(Credentials::Bearer(bearer.to_owned()));
        }
        if !password.is_empty() || !settings.username.is_empty() {
            let user = if settings.username.is_empty() { TOKEN_USER } else { &settings.username };
            return Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() });
        }
        if !remote.password.is_empty() || !remote.user.is_empty() {
            return Ok(Credentials::Basic { user: remote.user.clone(), password: remote.password.clone() });
        }
        Ok(Credentials::None)
    }

    /// What some server or program said, without credentials: also a hostile one may repeat them (research/pains.md S-49).
    pub(super) fn discreet(&self, text: &str, credentials: &Credentials, remote: &Remote) -> String {
        let encoded = |secret: &str| url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
        let mut secrets = credentials.secrets();
        for secret in self.settings.secrets() {
            secrets.push(secret.trim().to_owned());
            secrets.push(STANDARD.encode(secret));
            // Of a key, no line may be told either.
            secrets.extend(secret.lines().map(str::trim).filter(|line| line.len() > 16).map(str::to_owned));
        }
        secrets.push(remote.password.clone());
        if let Some((_, userinfo)) = self.settings.proxy.rsplit_once('@').map(|(head, _)| ((), head)) {
            secrets.extend(userinfo.rsplit_once(':').map(|(_, password)| password.to_owned()));
        }
        let escaped: Vec<String> = secrets.iter().map(|secret| encoded(secret)).collect();
        secrets.extend(escaped);
        secrets.retain(|secret| secret.len() > 3);
        // The longest first, so that none of a longer one is left over.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        redact(&secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***")))
    }
}

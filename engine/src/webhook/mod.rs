//! Webhooks of git servers and registries: whose delivery it is, what must be verified of it, what was pushed
//! ([`read`]), and which repositories are to be looked at for it ([`followed`]). Providers, headers and the order in which
//! they are recognised are Argo CD's (operator manual, webhook.md). Pure: who holds the secrets verifies.
//!
//! Only the repository and the name that moved are read of a payload. The files that changed are not: providers leave
//! them out (Azure DevOps, tags), cut them short (GitHub) or want to be asked (Bitbucket's diffstat), and the watcher,
//! which has both trees, knows them exactly.
mod follow;
mod git;
mod registry;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

pub use follow::followed;

use crate::repo_url::Place;

/// The setting of `argocd-cm` that bounds a payload, and what holds without it.
pub const PAYLOAD_LIMIT: &str = "webhook.maxPayloadSizeMB";
const PAYLOAD_MIB: u64 = 50;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are the names of products")]
pub enum Provider {
    AzureDevOps,
    /// Gitea and Forgejo as well: they say the same under the same header.
    Gogs,
    GitHub,
    GitLab,
    BitbucketCloud,
    BitbucketServer,
    Harbor,
    Ghcr,
    DockerHub,
}

impl Provider {
    /// The keys of `argocd-secret` with what is shared with it.
    pub const fn secret_keys(self) -> &'static [&'static str] {
        match self {
            Self::AzureDevOps => &["webhook.azuredevops.username", "webhook.azuredevops.password"],
            Self::Gogs => &["webhook.gogs.secret"],
            Self::GitHub | Self::Ghcr => &["webhook.github.secret"],
            Self::GitLab => &["webhook.gitlab.secret"],
            Self::BitbucketCloud => &["webhook.bitbucket.uuid"],
            Self::BitbucketServer => &["webhook.bitbucketserver.secret"],
            Self::Harbor => &["webhook.harbor.secret"],
            Self::DockerHub => &["webhook.dockerhub.secret"],
        }
    }

    /// Without its secret a delivery is nobody's, where all others are then taken unsigned: nothing but the secret tells
    /// these apart from any other request.
    pub const fn needs_secret(self) -> bool {
        matches!(self, Self::Harbor | Self::DockerHub)
    }

    /// A delivery that is not from who it says is answered 401, where all others are answered 400.
    pub const fn refuses_as_unauthorized(self) -> bool {
        matches!(self, Self::Ghcr | Self::DockerHub)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AzureDevOps => "Azure DevOps",
            Self::Gogs => "Gogs",
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::BitbucketCloud => "Bitbucket Cloud",
            Self::BitbucketServer => "Bitbucket Server",
            Self::Harbor => "Harbor",
            Self::Ghcr => "GHCR",
            Self::DockerHub => "Docker Hub",
        })
    }
}

/// What a delivery brings to show from whom it is; `None` when it brings nothing. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// HMAC with SHA-256 of the body, in hexadecimal.
    Hmac(Option<String>),
    /// The secret itself: a token, an UUID, an Authorization header.
    Secret(Option<String>),
    /// User and password (RFC 7617).
    Basic(Option<(String, String)>),
    /// Nothing is needed: the delivery asks for nothing.
    Needless,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hmac(_) => "Hmac",
            Self::Secret(_) => "Secret",
            Self::Basic(_) => "Basic",
            Self::Needless => "Needless",
        })
    }
}

/// A delivery, as its headers tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Who sends.
    pub provider: Provider,
    /// What happened, in the provider's words; empty where the body tells.
    pub event: String,
    /// The same when it is sent again. Azure DevOps has it in the body: see [`Told`].
    pub id: Option<String>,
    /// What must be verified.
    pub proof: Proof,
}

/// Whose delivery this is; the first that claims it counts. `query` gives a parameter of the URL.
pub fn recognise<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    query: impl Fn(&str) -> Option<String>,
) -> Option<Delivery> {
    let given = |name: &str| header(name).filter(|value| !value.is_empty());
    let first = |names: &[&str]| names.iter().find_map(|name| given(name)).map(str::to_owned);
    let signature =
        |names: &[&str]| Proof::Hmac(first(names).map(|text| text.trim_start_matches("sha256=").to_owned()));
    let delivery = |provider, event: &str, ids: &[&str], proof| {
        Some(Delivery { provider, event: event.to_owned(), id: first(ids), proof })
    };
    if given("X-Vss-Activityid").is_some() {
        let proof = Proof::Basic(given("Authorization").and_then(basic));
        return delivery(Provider::AzureDevOps, "", &[], proof);
    }
    // They send GitHub's headers too, with a body that is not GitHub's.
    if let Some(event) = first(&["X-Gogs-Event", "X-Gitea-Event", "X-Forgejo-Event"]) {
        let ids = ["X-Gogs-Delivery", "X-Gitea-Delivery", "X-Forgejo-Delivery"];
        let proof = signature(&["X-Gogs-Signature", "X-Gitea-Signature", "X-Forgejo-Signature"]);
        return delivery(Provider::Gogs, &event, &ids, proof);
    }
    if let Some(event) = given("X-GitHub-Event") {
        let provider = if event == "package" { Provider::Ghcr } else { Provider::GitHub };
        return delivery(provider, event, &["X-GitHub-Delivery"], signature(&["X-Hub-Signature-256"]));
    }
    if let Some(event) = given("X-Gitlab-Event") {
        let proof = Proof::Secret(first(&["X-Gitlab-Token"]));
        return delivery(Provider::GitLab, event, &["Idempotency-Key", "X-Gitlab-Event-UUID"], proof);
    }
    let event = given("X-Event-Key").unwrap_or_default();
    if let Some(uuid) = given("X-Hook-UUID") {
        let proof = Proof::Secret(Some(uuid.to_owned()));
        return delivery(Provider::BitbucketCloud, event, &["X-Request-UUID"], proof);
    }
    if !event.is_empty() {
        let proof = if event == git::BITBUCKET_PING { Proof::Needless } else { signature(&["X-Hub-Signature"]) };
        return delivery(Provider::BitbucketServer, event, &["X-Request-Id"], proof);
    }
    let authorization = first(&["Authorization"]);
    if query("type").as_deref() == Some("dockerhub") {
        let proof = Proof::Secret(authorization.or_else(|| query("secret")));
        return delivery(Provider::DockerHub, "", &[], proof);
    }
    authorization.and_then(|secret| delivery(Provider::Harbor, "", &[], Proof::Secret(Some(secret))))
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, rest) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(rest.trim()).ok()).flatten()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// One name that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// A branch or tag of a git repository was made, moved or deleted.
    Git {
        /// Where the repository is; one place may be told in several ways.
        places: Vec<Place>,
        /// What moved.
        reference: Reference,
        /// What HEAD is; `None` when the provider does not say.
        default_branch: Option<String>,
    },
    /// A tag of a repository in a registry.
    Oci {
        /// The repository, as [`crate::repo_url::oci`] writes it.
        repository: String,
        /// The tag.
        tag: String,
    },
}

/// A name in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `refs/heads/…`, without that.
    Branch(String),
    /// `refs/tags/…`, without that.
    Tag(String),
    /// In full.
    Other(String),
}

impl Reference {
    /// A full reference; a bare name counts as a branch.
    fn of(full: &str) -> Self {
        match (full.strip_prefix("refs/heads/"), full.strip_prefix("refs/tags/")) {
            (Some(branch), _) => Self::Branch(branch.to_owned()),
            (_, Some(tag)) => Self::Tag(tag.to_owned()),
            _ if full.starts_with("refs/") => Self::Other(full.to_owned()),
            _ => Self::Branch(full.to_owned()),
        }
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git { reference: Reference::Branch(name), .. } => write!(f, "branch {name}"),
            Self::Git { reference: Reference::Tag(name), .. } => write!(f, "tag {name}"),
            Self::Git { reference: Reference::Other(name), .. } => f.write_str(name),
            Self::Oci { repository, tag } => write!(f, "{repository}:{tag}"),
        }
    }
}

/// What a body tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The id of the delivery, where it is in the body.
    pub id: Option<String>,
    /// What was pushed; nothing for a ping and for events that are understood and mean nothing here.
    pub pushes: Vec<Push>,
}

/// Why a delivery is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not an event that anybody acts upon.
    #[error("webhook event {0:?} is not acted upon; send push events only")]
    Event(String),
    /// Not what the provider sends.
    #[error(
        "the payload cannot be read: {0}; it must be JSON (content type application/json) as the provider sends it"
    )]
    Payload(String),
    /// What an event needs is not in it.
    #[error("{0} is missing in the payload")]
    Missing(&'static str),
}

/// What was pushed, by the body of a delivery. Any bytes may come: what is nested deeper than 128 is refused, and fields
/// that nobody needs are passed over unread.
pub fn read(provider: Provider, event: &str, body: &[u8]) -> Result<Told, Problem> {
    match provider {
        Provider::AzureDevOps => git::azure_devops(body),
        Provider::Gogs if event == "push" => git::github_or_gogs(body),
        Provider::GitHub if event == "push" => git::github_or_gogs(body),
        Provider::GitHub if event == "ping" => parse::<serde::de::IgnoredAny>(body).map(|_| Told::default()),
        Provider::GitLab => git::gitlab(event, body),
        Provider::BitbucketCloud if event == "repo:push" => git::bitbucket_cloud(body),
        Provider::BitbucketServer if event == "repo:refs_changed" => git::bitbucket_server(body),
        Provider::BitbucketServer if event == git::BITBUCKET_PING => Ok(Told::default()),
        Provider::Ghcr => registry::ghcr(body),
        Provider::Harbor => registry::harbor(body),
        Provider::DockerHub => registry::docker_hub(body),
        _ => Err(Problem::Event(event.to_owned())),
    }
}

/// Bytes that a payload may have, by the data of `argocd-cm`; what is no number counts as not set (Argo CD).
pub fn payload_limit(settings: &BTreeMap<String, String>) -> u64 {
    let set = settings.get(PAYLOAD_LIMIT).and_then(|text| text.parse::<i64>().ok());
    let mib = set.map_or(PAYLOAD_MIB, |mib| u64::try_from(mib).unwrap_or(0));
    mib.saturating_mul(1024 * 1024)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::Payload(error.to_string()))
}

/// A list whose absence, and whose members' absence, is no error.
type List<T> = Option<Vec<Option<T>>>;

fn all<T>(list: List<T>) -> impl Iterator<Item = T> {
    list.into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests;

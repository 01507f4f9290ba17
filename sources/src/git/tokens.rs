//! Tokens that must be asked for before a repository is reached: of GitHub Apps, Google service accounts and Azure. Kept until a minute
//! before they expire. Never in an error, whatever the server that gives them says.
use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::blocking::{Client, RequestBuilder};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tako_engine::repository::{AzureServicePrincipal, GithubApp, Repository as Settings};

use super::access::{Access, Credentials, TOKEN_USER};
use super::client;
use super::remote::Remote;
use super::{GitError, redact, whole};

/// For an answer.
const TIME: Duration = Duration::from_secs(30);
/// Of an answer.
const BYTES_MAX: u64 = 1024 * 1024;
/// A token is not used in the last seconds of its life.
const MARGIN: u64 = 60;
/// Of what a server says in an error.
const WORDS_MAX: usize = 300;
/// Azure DevOps as the application that a token is for.
const AZURE_DEVOPS: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// GitHub's API, unless `githubAppEnterpriseBaseUrl` names another.
    pub github: String,
    /// Azure's login, unless `azureActiveDirectoryEndpoint` names another.
    pub azure: String,
    /// Instead of the `token_uri` of a Google key.
    pub google: Option<String>,
    /// This process as Azure knows it.
    pub workload_identity: Option<WorkloadIdentity>,
}

/// What Azure's webhook puts into the environment of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadIdentity {
    /// `AZURE_CLIENT_ID`.
    pub client_id: String,
    /// `AZURE_TENANT_ID`.
    pub tenant_id: String,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub token_file: PathBuf,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        let azure = "https://login.microsoftonline.com".to_owned();
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let workload_identity = || {
            Some(WorkloadIdentity {
                client_id: variable("AZURE_CLIENT_ID")?,
                tenant_id: variable("AZURE_TENANT_ID")?,
                token_file: variable("AZURE_FEDERATED_TOKEN_FILE")?.into(),
                authority: variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| azure.clone()),
            })
        };
        let workload_identity = workload_identity();
        Self { github: "https://api.github.com".to_owned(), azure, google: None, workload_identity }
    }
}

/// The tokens of a process.
pub(super) struct Tokens {
    endpoints: Endpoints,
    kept: Mutex<HashMap<String, Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    /// Seconds since 1970.
    expires: u64,
}

impl Tokens {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        Self { endpoints, kept: Mutex::default() }
    }

    /// The credentials that stand for a token of the repository's settings; `None` when these want none.
    pub(super) fn of(&self, access: &Access, remote: &Remote) -> Result<Option<Credentials>, GitError> {
        let settings = &access.settings;
        let basic = |user: &str, token: Token| Credentials::Basic { user: user.to_owned(), password: token.text };
        let found = if let Some(app) = &settings.github_app {
            let asked = || self.github(access, app, remote);
            self.kept(
                &[&app.id.to_string(), &app.installation_id.to_string(), app.private_key.reveal(), &remote.key()],
                asked,
            )
            .map(|token| basic(TOKEN_USER, token))
        } else if !settings.gcp_service_account_key.is_empty() {
            let key = settings.gcp_service_account_key.reveal();
            self.kept(&["google", key], || self.google(access))
                .and_then(|token| Ok(basic(&google_key(key)?.client_email, token)))
        } else if settings.use_azure_workload_identity {
            self.kept(&["azure workload"], || self.azure_workload(access)).map(|token| Credentials::Bearer(token.text))
        } else if let Some(principal) = &settings.azure_service_principal {
            let parts = [
                principal.tenant_id.as_str(),
                &principal.client_id,
                principal.client_secret.reveal(),
                &principal.active_directory_endpoint,
            ];
            self.kept(&parts, || self.azure(access, principal)).map(|token| Credentials::Bearer(token.text))
        } else {
            return Ok(None);
        };
        found.map(Some).map_err(|reason| GitError::Unreachable {
            url: redact(&remote.url()),
            reason: access.discreet(&reason, &Credentials::None, remote),
        })
    }

    fn kept(&self, parts: &[&str], ask: impl FnOnce() -> Result<Token, String>) -> Result<Token, String> {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let key = hex::encode(hash.finalize());
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        if let Some(token) = kept().get(&key).filter(|token| token.expires > now + MARGIN) {
            return Ok(token.clone());
        }
        let token = ask()?;
        let mut kept = kept();
        kept.retain(|_, token| token.expires > now + MARGIN);
        kept.insert(key, token.clone());
        Ok(token)
    }

    fn github(&self, access: &Access, app: &GithubApp, remote: &Remote) -> Result<Token, String> {
        let base = match app.enterprise_base_url.trim_end_matches('/') {
            "" => self.endpoints.github.trim_end_matches('/'),
            base => base,
        };
        let client = client_for(access, base)?;
        let claims = json!({"iat": now() - 60, "exp": now() + 540, "iss": app.id.to_string()});
        let jwt =
            signed(app.private_key.reveal(), &claims).map_err(|reason| format!("githubAppPrivateKey: {reason}"))?;
        let api = |request: RequestBuilder| {
            request
                .header("Authorization", format!("Bearer {jwt}"))
                .header("Accept", "application/vnd.github+json")
                .header("User-Agent", "takobune")
        };
        let installation = if app.installation_id == 0 {
            let path = remote.path.trim_matches('/');
            let path = path.strip_suffix(".git").unwrap_or(path);
            let (owner, name) =
                path.split_once('/').ok_or("githubAppInstallationID: it is not set, and the URL has no owner")?;
            let found = asked(api(client.get(format!("{base}/repos/{owner}/{name}/installation"))), "GitHub", &[&jwt])?;
            found["id"].as_u64().ok_or("GitHub names no installation of the app")?
        } else {
            app.installation_id
        };
        let url = format!("{base}/app/installations/{installation}/access_tokens");
        let answer = asked(api(client.post(url)), "GitHub", &[&jwt])?;
        let text = answer["token"].as_str().ok_or("GitHub gives no token")?.to_owned();
        let expires = answer["expires_at"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let expires = expires.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(now() + 600);
        Ok(Token { text, expires })
    }

    fn google(&self, access: &Access) -> Result<Token, String> {
        let key = google_key(access.settings.gcp_service_account_key.reveal())?;
        let url = self.endpoints.google.as_deref().unwrap_or(&key.token_uri);
        let claims = json!({
            "iss": key.client_email, "scope": GOOGLE_SCOPE, "aud": key.token_uri, "iat": now(), "exp": now() + 3600,
        });
        let jwt = signed(&key.private_key, &claims)
            .map_err(|reason| format!("gcpServiceAccountKey: private_key: {reason}"))?;
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", jwt.as_str())];
        oauth(access, url, &form, "Google", &[&jwt, &key.private_key])
    }

    fn azure(&self, access: &Access, principal: &AzureServicePrincipal) -> Result<Token, String> {
        let authority = match principal.active_directory_endpoint.as_str() {
            "" => self.endpoints.azure.as_str(),
            other => other,
        };
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", principal.client_id.as_str()),
            ("client_secret", principal.client_secret.reveal()),
            ("scope", AZURE_DEVOPS),
        ];
        oauth(access, &azure_url(authority, &principal.tenant_id)?, &form, "Azure", &[])
    }

    fn azure_workload(&self, access: &Access) -> Result<Token, String> {
        let identity = self.endpoints.workload_identity.as_ref().ok_or(
            "useAzureWorkloadIdentity: AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE are not set",
        )?;
        let assertion = std::fs::read_to_string(&identity.token_file)
            .map_err(|error| format!("AZURE_FEDERATED_TOKEN_FILE {}: {error}", identity.token_file.display()))?;
        let assertion = assertion.trim();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", identity.client_id.as_str()),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
            ("scope", AZURE_DEVOPS),
        ];
        oauth(access, &azure_url(&identity.authority, &identity.tenant_id)?, &form, "Azure", &[assertion])
    }
}

fn azure_url(authority: &str, tenant: &str) -> Result<String, String> {
    if tenant.is_empty() || !tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err("azureServicePrincipalTenantId: the id or domain of a tenant is wanted".to_owned());
    }
    Ok(format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/')))
}

/// A client for another server than the repository's: with its proxy, but neither its client certificate nor, unless it is the
/// repository's own, its leave to trust anyone.
fn client_for(access: &Access, url: &str) -> Result<Client, String> {
    let remote =
        Remote::parse(&format!("{}/x", url.trim_end_matches('/')), false).map_err(|error| error.to_string())?;
    let own = Remote::parse(&access.settings.url, false).is_ok_and(|own| own.host == remote.host);
    let plain = Access {
        settings: Settings {
            proxy: access.settings.proxy.clone(),
            no_proxy: access.settings.no_proxy.clone(),
            insecure: access.settings.insecure && own,
            ..Settings::default()
        },
        trust: access.trust.clone(),
    };
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    client::configure(builder, &plain, &remote, TIME)?.build().map_err(|error| whole(&error))
}

fn oauth(access: &Access, url: &str, form: &[(&str, &str)], whom: &str, secrets: &[&str]) -> Result<Token, String> {
    let answer = asked(client_for(access, url)?.post(url).form(form), whom, secrets)?;
    let text = answer["access_token"].as_str().ok_or_else(|| format!("{whom} gives no token"))?.to_owned();
    let lives = answer["expires_in"].as_u64().or_else(|| answer["expires_in"].as_str()?.parse().ok());
    Ok(Token { text, expires: now() + lives.unwrap_or(600) })
}

fn asked(request: RequestBuilder, whom: &str, secrets: &[&str]) -> Result<Value, String> {
    let answer = request.send().map_err(|error| format!("{whom} does not answer: {}", whole(&error.without_url())))?;
    let status = answer.status();
    let mut body = Vec::new();
    let read = answer.take(BYTES_MAX).read_to_end(&mut body);
    read.map_err(|error| format!("{whom} does not answer to the end: {error}"))?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let said = ["message", "error_description", "error"].iter().find_map(|key| value[*key].as_str());
    let said = secrets.iter().fold(said.unwrap_or_default().to_owned(), |said, secret| said.replace(secret, "***"));
    let said: String = said.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    Err(format!("{whom} gives no token: status {}: {said}", status.as_u16()))
}

struct GoogleKey {
    client_email: String,
    private_key: String,
    token_uri: String,
}

fn google_key(text: &str) -> Result<GoogleKey, String> {
    let value: Value = serde_json::from_str(text)
        .map_err(|_| "gcpServiceAccountKey: the JSON of a service account's key is wanted")?;
    let field = |name: &str| {
        let text = value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| format!("gcpServiceAccountKey: {name} is missing"))
    };
    let token_uri = field("token_uri").unwrap_or_else(|_| "https://oauth2.googleapis.com/token".to_owned());
    Ok(GoogleKey { client_email: field("client_email")?, private_key: field("private_key")?, token_uri })
}

/// A JSON Web Token, signed with RS256 (RFC 7515).
fn signed(pem: &str, claims: &Value) -> Result<String, String> {
    let wrong = || "a private RSA key in PEM is wanted".to_owned();
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())? {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        _ => return Err(wrong()),
    };
    let key = key.map_err(|_| wrong())?;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "signing failed".to_owned())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

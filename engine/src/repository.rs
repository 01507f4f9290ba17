//! Repositories and their credentials, as the Secrets with the label `argocd.argoproj.io/secret-type` describe them
//! (Argo CD, operator manual, "Declarative Setup"). Which credentials a URL gets is decided here; nothing is fetched.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::repo_url;

/// The label that makes a Secret a repository or a template of credentials.
pub const SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";

/// A text that no log, error or page may show. It has no `Serialize`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Hidden(String);

impl Hidden {
    /// The text itself, for who sends it to whom it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "***" })
    }
}

/// What kind of repository it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RepositoryType {
    /// Git, by any transport.
    #[default]
    Git,
    /// A Helm repository: `index.yaml` over HTTP, or with `enableOCI` a registry.
    Helm,
    /// A registry with artifacts.
    Oci,
}

/// One repository, or one template of credentials when it was read as one. Empty texts are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the data keys of the Secret (research note §2.6)")]
pub struct Repository {
    /// Whole, or for templates the beginning.
    pub url: String,
    pub name: String,
    pub kind: RepositoryType,
    /// The AppProject that alone may use it; empty: all.
    pub project: String,
    pub username: String,
    pub password: Hidden,
    pub bearer_token: Hidden,
    pub ssh_private_key: Hidden,
    pub tls_client_cert_data: String,
    pub tls_client_cert_key: Hidden,
    pub insecure: bool,
    pub enable_lfs: bool,
    pub enable_oci: bool,
    pub insecure_oci_force_http: bool,
    pub force_http_basic_auth: bool,
    pub github_app: Option<GithubApp>,
    pub gcp_service_account_key: Hidden,
    pub use_azure_workload_identity: bool,
    pub azure_service_principal: Option<AzureServicePrincipal>,
    pub proxy: String,
    pub no_proxy: String,
    /// Commits to fetch; 0 is all.
    pub depth: u32,
}

/// Credentials of a GitHub App.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the data keys of the Secret (research note §2.6)")]
pub struct GithubApp {
    pub id: u64,
    /// 0: looked up by the owner in the URL.
    pub installation_id: u64,
    pub private_key: Hidden,
    /// Empty for github.com.
    pub enterprise_base_url: String,
}

/// Credentials of an Azure service principal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are the data keys of the Secret (research note §2.6)")]
pub struct AzureServicePrincipal {
    pub client_id: String,
    pub client_secret: Hidden,
    pub tenant_id: String,
    /// Empty for the public cloud.
    pub active_directory_endpoint: String,
}

impl Repository {
    /// Reads the data of a Secret. Flags and numbers that cannot be read are an error naming the key.
    pub fn from_data(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| data.get(key).map(|value| value.trim_end_matches('\n').to_owned()).unwrap_or_default();
        let whole = |key: &str| data.get(key).cloned().unwrap_or_default();
        let flag = |key: &str| match text(key).as_str() {
            "" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("{key}: true or false is wanted")),
        };
        let number = |key: &str| match text(key).as_str() {
            "" => Ok(0),
            digits => digits.parse::<u64>().map_err(|_| format!("{key}: a number is wanted")),
        };
        let kind = match text("type").as_str() {
            "" | "git" => RepositoryType::Git,
            "helm" => RepositoryType::Helm,
            "oci" => RepositoryType::Oci,
            _ => return Err("type: git, helm or oci is wanted".to_owned()),
        };
        let github_app = (number("githubAppID")? != 0).then_some(GithubApp {
            id: number("githubAppID")?,
            installation_id: number("githubAppInstallationID")?,
            private_key: whole("githubAppPrivateKey").into(),
            enterprise_base_url: text("githubAppEnterpriseBaseUrl"),
        });
        // Argo CD writes `…Id` in repositories and `…ID` in templates; either is read in both.
        let either = |stem: &str| {
            Some(text(&format!("{stem}Id"))).filter(|id| !id.is_empty()).unwrap_or(text(&format!("{stem}ID")))
        };
        let azure = AzureServicePrincipal {
            client_id: either("azureServicePrincipalClient"),
            client_secret: text("azureServicePrincipalClientSecret").into(),
            tenant_id: either("azureServicePrincipalTenant"),
            active_directory_endpoint: text("azureActiveDirectoryEndpoint"),
        };
        Ok(Self {
            url: text("url"),
            name: text("name"),
            kind,
            project: text("project"),
            username: text("username"),
            password: text("password").into(),
            bearer_token: text("bearerToken").into(),
            ssh_private_key: whole("sshPrivateKey").into(),
            tls_client_cert_data: whole("tlsClientCertData"),
            tls_client_cert_key: whole("tlsClientCertKey").into(),
            insecure: flag("insecure")? || flag("insecureIgnoreHostKey")?,
            enable_lfs: flag("enableLfs")?,
            enable_oci: flag("enableOCI")?,
            insecure_oci_force_http: flag("insecureOCIForceHttp")?,
            force_http_basic_auth: flag("forceHttpBasicAuth")?,
            github_app,
            gcp_service_account_key: whole("gcpServiceAccountKey").into(),
            use_azure_workload_identity: flag("useAzureWorkloadIdentity")?,
            azure_service_principal: (!azure.client_id.is_empty()).then_some(azure),
            proxy: text("proxy"),
            no_proxy: text("noProxy"),
            depth: u32::try_from(number("depth")?).map_err(|_| "depth: the number is too large".to_owned())?,
        })
    }

    /// It brings credentials of its own, so that no template fills them in.
    pub fn has_credentials(&self) -> bool {
        !self.username.is_empty()
            || !self.password.is_empty()
            || !self.bearer_token.is_empty()
            || !self.ssh_private_key.is_empty()
            || !self.tls_client_cert_data.is_empty()
            || self.github_app.is_some()
            || !self.gcp_service_account_key.is_empty()
            || self.use_azure_workload_identity
            || self.azure_service_principal.is_some()
    }

    fn fill_from(&mut self, template: &Self) {
        self.username.clone_from(&template.username);
        self.password.clone_from(&template.password);
        self.bearer_token.clone_from(&template.bearer_token);
        self.ssh_private_key.clone_from(&template.ssh_private_key);
        self.tls_client_cert_data.clone_from(&template.tls_client_cert_data);
        self.tls_client_cert_key.clone_from(&template.tls_client_cert_key);
        self.github_app.clone_from(&template.github_app);
        self.gcp_service_account_key.clone_from(&template.gcp_service_account_key);
        self.use_azure_workload_identity = template.use_azure_workload_identity;
        self.azure_service_principal.clone_from(&template.azure_service_principal);
        self.force_http_basic_auth |= template.force_http_basic_auth;
        self.enable_oci |= template.enable_oci;
        self.insecure_oci_force_http |= template.insecure_oci_force_http;
        if self.proxy.is_empty() {
            self.proxy.clone_from(&template.proxy);
            self.no_proxy.clone_from(&template.no_proxy);
        }
    }

    /// Every text that may appear nowhere, for redaction.
    pub fn secrets(&self) -> Vec<&str> {
        let app = self.github_app.as_ref().map(|app| app.private_key.reveal());
        let azure = self.azure_service_principal.as_ref().map(|azure| azure.client_secret.reveal());
        let own = [
            &self.password,
            &self.bearer_token,
            &self.ssh_private_key,
            &self.tls_client_cert_key,
            &self.gcp_service_account_key,
        ];
        own.into_iter().map(Hidden::reveal).chain(app).chain(azure).filter(|text| !text.is_empty()).collect()
    }
}

/// All repositories and templates of an installation. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories {
    repositories: Arc<[Repository]>,
    templates: Arc<[Repository]>,
}

impl Repositories {
    /// From repositories (`secret-type: repository`) and templates (`repo-creds`).
    pub fn new(repositories: Vec<Repository>, templates: Vec<Repository>) -> Self {
        Self { repositories: repositories.into(), templates: templates.into() }
    }

    /// The repository of a URL as an Application of `project` may use it, with its credentials: the one of the project
    /// first, then the one of nobody; a template with the longest beginning of the URL fills in credentials where
    /// there are none. A URL that nobody registered is a repository without credentials, or with a template's.
    pub fn of(&self, url: &str, project: &str) -> Repository {
        // A registry at an address and port is no URL for Go: equal texts are one repository all the same.
        let is = |repository: &&Repository| repository.url == url || repo_url::same(&repository.url, url);
        let of_url = || self.repositories.iter().filter(is);
        let found = of_url()
            .find(|repository| !project.is_empty() && repository.project == project)
            .or_else(|| of_url().find(|repository| repository.project.is_empty()));
        let mut repository = found.cloned().unwrap_or_else(|| {
            let kind = if url.starts_with("oci://") { RepositoryType::Oci } else { RepositoryType::Git };
            Repository { kind, ..Repository::default() }
        });
        url.clone_into(&mut repository.url);
        if !repository.has_credentials()
            && let Some(template) = self.template(url)
        {
            repository.fill_from(template);
        }
        repository
    }

    /// The template whose URL is the longest beginning of this one.
    fn template(&self, url: &str) -> Option<&Repository> {
        let url = repo_url::normalize(url);
        self.templates
            .iter()
            .map(|template| (repo_url::normalize(&template.url), template))
            .filter(|(prefix, _)| !prefix.is_empty() && url.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, template)| template)
    }

    /// The Helm repositories that an Application of `project` may use, with credentials: what `helm dependency build`
    /// may find by alias or URL.
    pub fn helm(&self, project: &str) -> Vec<Repository> {
        let usable = |repository: &&Repository| {
            repository.kind == RepositoryType::Helm && (repository.project.is_empty() || repository.project == project)
        };
        self.repositories
            .iter()
            .filter(usable)
            .map(|repository| {
                let mut whole = self.of(&repository.url, project);
                whole.name.clone_from(&repository.name);
                whole
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Repository {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Repository::from_data(&data).unwrap()
    }

    #[test]
    fn a_url_gets_the_credentials_of_its_project_then_of_all_then_of_the_longest_template() {
        let all = Repositories::new(
            vec![
                read(&[("url", "https://x/org/a.git"), ("username", "all"), ("password", "1")]),
                read(&[("url", "https://x/org/a"), ("username", "team"), ("password", "2"), ("project", "team")]),
                read(&[("url", "https://x/org/bare"), ("insecure", "true")]),
            ],
            vec![
                read(&[("url", "https://x"), ("username", "short")]),
                read(&[("url", "https://x/org"), ("username", "long")]),
            ],
        );
        let user = |url: &str, project: &str| all.of(url, project).username;
        for (url, project, want) in [
            ("https://x/org/a", "default", "all"),
            ("https://X/org/A.git", "team", "team"),
            ("https://x/org/bare", "default", "long"),
            ("https://x/other/a", "default", "short"),
            ("https://y/org/a", "default", ""),
        ] {
            assert_eq!(user(url, project), want, "{url} {project}");
        }
        assert!(all.of("https://x/org/bare", "").insecure, "the repository's own settings stay");
        let registry = read(&[("url", "127.0.0.1:5000/charts"), ("username", "reader")]);
        assert_eq!(Repositories::new(vec![registry], vec![]).of("127.0.0.1:5000/charts", "default").username, "reader");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let data = BTreeMap::from([("insecure".to_owned(), "perhaps".to_owned())]);
        assert!(Repository::from_data(&data).unwrap_err().starts_with("insecure:"));
    }

    #[test]
    fn secrets_are_never_printed() {
        let one = read(&[
            ("url", "u"),
            ("password", "hunter2"),
            ("sshPrivateKey", "KEY"),
            ("githubAppID", "1"),
            ("githubAppPrivateKey", "PEM"),
        ]);
        let printed = format!("{one:?}");
        assert!(["hunter2", "KEY", "PEM"].iter().all(|secret| !printed.contains(secret)), "{printed}");
        assert_eq!(one.secrets(), ["hunter2", "KEY", "PEM"]);
    }
}

//! The directory in which a build runs, and the programs that Kustomize may start in it: git and helm are reached only through
//! scripts that take from them what a repository must not decide (research/pains.md S-08, S-09).
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tako_engine::repository::Repository;
use url::Url;

use super::remote::Remote;
use crate::process::{Network, Program};
use crate::request::{RenderError, Request, Tools};

/// Where programs are looked for behind our own scripts.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Variables of our own environment that programs which decrypt need: for plugins, which the settings allow.
const PLUGIN_VARIABLES: &[&str] =
    &["SOPS_", "AWS_", "AZURE_", "GOOGLE_", "VAULT_", "GNUPGHOME", "KUSTOMIZE_PLUGIN_HOME"];

/// One jail, removed when it is dropped.
pub(super) struct Jail {
    /// The files of the repository.
    pub(super) repository: PathBuf,
    root: tempfile::TempDir,
}

impl Jail {
    pub(super) fn new(request: &Request) -> Result<Self, RenderError> {
        let root = request.jail()?;
        let jail = Self { repository: root.path().join("repo"), root };
        fs::create_dir_all(&jail.repository).map_err(|error| jail.scratch(&error))?;
        Ok(jail)
    }

    fn scratch(&self, error: &std::io::Error) -> RenderError {
        RenderError::Scratch { path: self.root.path().display().to_string(), reason: error.to_string() }
    }

    /// A program that runs at the root of the repository's files.
    pub(super) fn program(&self, program: &Path) -> Program {
        Program::new(program, self.root.path()).dir(&self.repository)
    }

    /// Puts another text in the place of an exported file.
    pub(super) fn replace(&self, file: &str, text: &str) -> Result<(), RenderError> {
        let target = self.repository.join(file);
        // A link is replaced, not followed.
        let _ = fs::remove_file(&target);
        fs::write(&target, text).map_err(|error| self.scratch(&error))
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<PathBuf, RenderError> {
        let path = self.root.path().join("bin").join(name);
        let write = || {
            fs::create_dir_all(self.root.path().join("bin"))?;
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|error| self.scratch(&error))?;
        Ok(path)
    }

    /// Gives Kustomize git and the network, and git what it needs for the repositories that are named.
    pub(super) fn with_git(
        &self,
        program: Program,
        request: &Request,
        remotes: &BTreeSet<Remote>,
    ) -> Result<Program, RenderError> {
        let mut program = program.network(Network::Any);
        let Some(git) = Tools::find(request.settings.tools.git.as_deref(), "git") else {
            return Ok(program);
        };
        self.write("git", &git_script(&quoted(&git)?), 0o700)?;
        program = program.env("PATH", format!("{}/bin:{PATH}", self.root.path().display()));
        if let Some(directory) = git.parent() {
            program = program.readable(directory);
        }
        let mut config = Config::default();
        let (mut store, mut keys) = (String::new(), Vec::new());
        for clone in remotes.iter().filter_map(|remote| remote.clone.as_deref()) {
            let repository = request.repositories.of(clone, &request.app.project);
            for secret in repository.secrets() {
                program = program.secret(secret);
            }
            config.repository(self, clone, &repository)?;
            store.push_str(&store_line(clone, &repository).unwrap_or_default());
            if !repository.ssh_private_key.is_empty() {
                let key = repository.ssh_private_key.reveal();
                keys.push((self.write(&format!("key-{}", keys.len()), key, 0o600)?, repository.insecure));
            }
        }
        if !store.is_empty() {
            let path = self.write("credentials", &store, 0o600)?;
            config.set("credential.helper", format!("store --file={}", quoted(&path)?));
            config.set("credential.useHttpPath", "true");
        }
        // What the source's own repository is reached through.
        let own = request.repositories.of(&request.source.repo_url, &request.app.project);
        if !own.proxy.is_empty() {
            for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
                program = program.env(name, &own.proxy);
            }
            program = program.env("NO_PROXY", &own.no_proxy).env("no_proxy", &own.no_proxy);
        }
        program = program
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_SSH_COMMAND", ssh_command(&keys)?)
            .readable("/etc/ssh/ssh_known_hosts");
        Ok(config.given(program))
    }

    /// Gives Kustomize helm, without plugins and with a home of its own, whatever the kustomization says of it.
    pub(super) fn with_helm(&self, program: Program, helm: &Path) -> Result<Program, RenderError> {
        let home = self.root.path().join("helm");
        fs::create_dir_all(&home).map_err(|error| self.scratch(&error))?;
        let script = self.write("helm", &helm_script(&quoted(helm)?, &quoted(&home)?), 0o700)?;
        let program = program.args(["--helm-command".into(), script.into_os_string()]);
        Ok(match helm.parent() {
            Some(directory) => program.readable(directory),
            None => program,
        })
    }
}

/// Plugins are programs of the image: they find their keys as they do beside Argo CD, and may call a key service.
pub(super) fn with_plugins(mut program: Program) -> Program {
    for (name, value) in std::env::vars() {
        if !PLUGIN_VARIABLES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let path = Path::new(&value);
        program = if path.is_absolute() && path.exists() { program.readable(path) } else { program.secret(&value) };
        program = program.env(&name, value);
    }
    if std::env::var_os("KUSTOMIZE_PLUGIN_HOME").is_none() {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
        if let Some(home) = config.map(|config| config.join("kustomize/plugin")).filter(|home| home.is_dir()) {
            program = program.readable(&home).env("KUSTOMIZE_PLUGIN_HOME", home);
        }
    }
    program.network(Network::Any)
}

/// Kustomize passes a reference's parts to git without an end of options (GHSA-9v9p-x54c-58gc), also those of references in
/// repositories that it fetched: no word but those it uses itself may look like an option.
fn git_script(git: &str) -> String {
    format!(
        r#"#!/bin/sh
for word in "$@"; do
  case $word in
    --depth=1|--init|--recursive|--hard) ;;
    -*) echo "git: $word comes from a kustomization and would be an option; it is refused" >&2; exit 1 ;;
  esac
done
exec {git} "$@"
"#
    )
}

/// `helmGlobals.configHome` of a kustomization would say where helm finds its plugins (GHSA-fw5c-w8rc-j7fx).
fn helm_script(helm: &str, home: &str) -> String {
    format!(
        r#"#!/bin/sh
for word in "$@"; do
  case $word in
    --post-renderer*) echo "helm: $word would start a program; it is refused" >&2; exit 1 ;;
  esac
done
export HELM_CONFIG_HOME={home} HELM_DATA_HOME={home}/data HELM_CACHE_HOME={home}/cache HELM_PLUGINS={home}/plugins
exec {helm} "$@"
"#
    )
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> Result<String, RenderError> {
    let text = path.to_string_lossy();
    if text.contains(['\'', '\n', '\0']) {
        return Err(RenderError::Spec(format!("{text:?}: the path of a program has no quotes; move it")));
    }
    Ok(format!("'{text}'"))
}

/// Settings of git by variables: no argument and no file shows them.
#[derive(Default)]
struct Config(Vec<(String, String)>);

impl Config {
    fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn repository(&mut self, jail: &Jail, clone: &str, repository: &Repository) -> Result<(), RenderError> {
        if !clone.starts_with("http") {
            return Ok(());
        }
        if !repository.bearer_token.is_empty() {
            let header = format!("Authorization: Bearer {}", repository.bearer_token.reveal());
            self.set(format!("http.{clone}.extraHeader"), header);
        } else if repository.force_http_basic_auth && !repository.password.is_empty() {
            let pair = format!("{}:{}", repository.username, repository.password.reveal());
            let header = format!("Authorization: Basic {}", BASE64.encode(pair));
            self.set(format!("http.{clone}.extraHeader"), header);
        }
        if repository.insecure {
            self.set(format!("http.{clone}.sslVerify"), "false");
        }
        if !repository.proxy.is_empty() {
            self.set(format!("http.{clone}.proxy"), &*repository.proxy);
        }
        if !repository.tls_client_cert_data.is_empty() {
            let number = self.0.len();
            let cert = jail.write(&format!("cert-{number}"), &repository.tls_client_cert_data, 0o600)?;
            let key = jail.write(&format!("cert-key-{number}"), repository.tls_client_cert_key.reveal(), 0o600)?;
            self.set(format!("http.{clone}.sslCert"), cert.to_string_lossy());
            self.set(format!("http.{clone}.sslKey"), key.to_string_lossy());
        }
        Ok(())
    }

    fn given(self, mut program: Program) -> Program {
        program = program.env("GIT_CONFIG_COUNT", self.0.len().to_string());
        for (number, (name, value)) in self.0.into_iter().enumerate() {
            if name.ends_with(".extraHeader") {
                program = program.secret(value.rsplit(' ').next().unwrap_or_default());
            }
            program = program
                .env(&format!("GIT_CONFIG_KEY_{number}"), name)
                .env(&format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        program
    }
}

/// The line of git's credential store for one repository, and no other of its host.
fn store_line(clone: &str, repository: &Repository) -> Option<String> {
    if repository.password.is_empty() {
        return None;
    }
    let mut url = Url::parse(clone).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    let user = if repository.username.is_empty() { "git" } else { &repository.username };
    url.set_username(user).ok()?;
    url.set_password(Some(repository.password.reveal())).ok()?;
    Some(format!("{url}\n"))
}

fn ssh_command(keys: &[(PathBuf, bool)]) -> Result<String, RenderError> {
    let mut command = "ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes".to_owned();
    let insecure = !keys.is_empty() && keys.iter().all(|(_, insecure)| *insecure);
    command.push_str(if insecure {
        " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    } else {
        " -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/etc/ssh/ssh_known_hosts"
    });
    for (key, _) in keys {
        command.push_str(&format!(" -i {}", quoted(key)?));
    }
    Ok(command)
}

//! The real git, for what gix does not do: SSH, and packing. It runs in a jail, sees no configuration of the system or a user, runs no
//! hooks, and speaks only the protocols that are ours (research/pains.md S-08, S-10).
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::bstr::ByteSlice as _;

use super::access::Access;
use super::client::is_direct;
use super::refs::Refs;
use super::relay::Relay;
use super::remote::{Proxy, Remote};
use super::repository::Repository;
use crate::process::{Network, Program};
use crate::request::Tools;

/// Git's own settings for every run.
const CONFIG: &[(&str, &str)] = &[
    ("protocol.allow", "never"),
    ("protocol.ssh.allow", "always"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.unpackLimit", "1"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("safe.directory", "*"),
];

/// Git in a jail, with a repository that it may write.
fn git(repo: &Repository, jail: &Path) -> Result<Program, String> {
    let set = repo.shared.settings.git.as_deref();
    let program = Tools::find(set, "git").ok_or("the program git is not there; install it")?;
    let mut program = Program::new(program, jail)
        .writable(&repo.directory)
        .file_bytes(repo.shared.settings.bytes_max)
        .env("GIT_DIR", repo.directory.as_os_str())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "/bin/false")
        .env("GIT_CONFIG_COUNT", CONFIG.len().to_string());
    for (index, (key, value)) in CONFIG.iter().enumerate() {
        program =
            program.env(&format!("GIT_CONFIG_KEY_{index}"), *key).env(&format!("GIT_CONFIG_VALUE_{index}"), *value);
    }
    Ok(program)
}

/// Fetches over SSH: one connection, in which nothing comes when nothing moved.
pub(super) fn fetch(repo: &Repository, access: &Access, refspecs: &[String], time: Duration) -> Result<(), String> {
    let jail = repo.shared.jail()?;
    let way = Way::prepare(&repo.remote, access, jail.path())?;
    let mut program = git(repo, jail.path())?
        .env("GIT_SSH_COMMAND", way.command.clone())
        .env("GIT_SSH_VARIANT", "ssh")
        .network(Network::Any)
        .time(time)
        .args(["fetch", "--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--no-tags", "--force"]);
    if access.settings.depth > 0 {
        program = program.arg(format!("--depth={}", access.settings.depth));
    }
    for secret in access.settings.secrets() {
        program = program.secret(secret);
    }
    let url = way.remote.url();
    let done = program.args(["--end-of-options", url.as_str()]).args(refspecs).run();
    way.explained(done.map(|_| ()).map_err(|error| error.to_string()))
}

/// What the references of the repository are after a fetch over SSH.
pub(super) fn listed(repo: &gix::Repository) -> Result<Refs, String> {
    let mut refs = Refs::default();
    let all = repo.references().map_err(|error| error.to_string())?;
    for found in all.all().map_err(|error| error.to_string())? {
        let mut found = found.map_err(|error| error.to_string())?;
        let name = found.name().as_bstr().to_str_lossy().into_owned();
        let name = match name.as_str() {
            "refs/takobune/HEAD" => "HEAD".to_owned(),
            _ if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") => name,
            _ => continue,
        };
        let target = found.try_id().map(|id| id.to_hex().to_string());
        let Ok(peeled) = found.peel_to_id() else { continue };
        let commit = peeled.to_hex().to_string();
        if let Some(tag) = target.filter(|target| *target != commit) {
            refs.annotated.insert(name.clone(), tag);
        }
        refs.by_name.insert(name, commit);
    }
    // Git does not tell which branch HEAD is after a fetch: it is the one at the same commit, if there is one only.
    if let Some(head) = refs.by_name.get("HEAD") {
        let at_head = |name: &&String| name.starts_with("refs/heads/") && refs.by_name.get(*name) == Some(head);
        let mut branches = refs.by_name.keys().filter(at_head);
        refs.default_branch = branches.next().filter(|_| branches.next().is_none()).cloned();
    }
    Ok(refs)
}

/// How ssh gets to the server: its command, and whom git is told to call.
pub(super) struct Way {
    command: String,
    config: PathBuf,
    remote: Remote,
    relay: Option<Relay>,
}

impl Way {
    /// Writes what ssh needs into the jail. No text of others is on a command line: the shell that git starts for
    /// `GIT_SSH_COMMAND` reads only our own path.
    pub(super) fn prepare(remote: &Remote, access: &Access, jail: &Path) -> Result<Self, String> {
        let settings = &access.settings;
        let mut remote = remote.clone();
        let port = remote.port.unwrap_or(22);
        let mut relay = None;
        let mut alias = String::new();
        if !settings.proxy.is_empty() && !is_direct(&remote.host, &settings.no_proxy) {
            let started = Relay::start(Proxy::parse(&settings.proxy)?, &remote.host, port)?;
            let name = if port == 22 { remote.host.clone() } else { format!("[{}]:{port}", remote.host) };
            alias = format!("HostKeyAlias {name}\nPort {}\n", started.port);
            remote.host = "127.0.0.1".to_owned();
            remote.port = Some(started.port);
            relay = Some(started);
        }
        let (key, known_hosts, config) = (jail.join("key"), jail.join("known_hosts"), jail.join("ssh_config"));
        if jail.to_string_lossy().contains(['\'', '"', '\n', '%']) {
            return Err("the path of --data-dir holds a quote, a line break or %; choose another".to_owned());
        }
        let mut identity = String::new();
        if !settings.ssh_private_key.is_empty() {
            write_private(&key, &format!("{}\n", settings.ssh_private_key.reveal().trim_end()))?;
            identity = format!("IdentityFile \"{}\"\n", key.display());
        }
        let checking = if settings.insecure {
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n".to_owned()
        } else {
            write_private(&known_hosts, access.trust.known_hosts())?;
            format!("StrictHostKeyChecking yes\nUserKnownHostsFile \"{}\"\n", known_hosts.display())
        };
        write_private(&config, &format!("{identity}{checking}{alias}{SSH_CONFIG}"))?;
        Ok(Self { command: format!("ssh -F '{}'", config.display()), config, remote, relay })
    }

    /// The arguments of ssh itself, for what is no fetch.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-F".to_owned(), self.config.display().to_string()];
        if let Some(port) = self.remote.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        let user = if self.remote.user.is_empty() { String::new() } else { format!("{}@", self.remote.user) };
        arguments.extend(["--".to_owned(), format!("{user}{}", self.remote.host)]);
        arguments
    }

    /// A failure with what the proxy said, when one was on the way.
    pub(super) fn explained<T>(&self, done: Result<T, String>) -> Result<T, String> {
        done.map_err(|error| match self.relay.as_ref().and_then(Relay::failure) {
            Some(reason) => format!("the proxy cannot be used: {reason}"),
            None => error,
        })
    }
}

const SSH_CONFIG: &str = "\
BatchMode yes
IdentitiesOnly yes
IdentityAgent none
PreferredAuthentications publickey
GlobalKnownHostsFile /dev/null
UpdateHostKeys no
ProxyCommand none
PermitLocalCommand no
ForwardAgent no
ForwardX11 no
ClearAllForwardings yes
ControlMaster no
CanonicalizeHostname no
ConnectTimeout 20
ServerAliveInterval 15
ServerAliveCountMax 4
LogLevel ERROR
";

fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes one pack of all objects; its name, or `None` when there are none.
pub(super) fn pack_all(repo: &Repository, time: Duration) -> Result<Option<String>, String> {
    let jail = repo.shared.jail()?;
    let done = git(repo, jail.path())?
        .time(time)
        .args(["pack-objects", "--quiet", "--all", "--keep-true-parents", "--keep-unreachable"])
        .args(["--pack-loose-unreachable", "--non-empty", "--delta-base-offset", "--threads=1"])
        .arg(repo.directory.join("objects/pack/pack"))
        .run()
        .map_err(|error| error.to_string())?;
    let hash = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    Ok((!hash.is_empty()).then(|| format!("pack-{hash}")))
}

/// Deletes loose objects that are in a pack.
pub(super) fn prune_packed(repo: &Repository, time: Duration) -> Result<(), String> {
    let jail = repo.shared.jail()?;
    let done = git(repo, jail.path())?.time(time).args(["prune-packed", "--quiet"]).run();
    done.map(|_| ()).map_err(|error| error.to_string())
}

//! One cluster in one directory: certificates, data, logs, pids, kubeconfig.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::{self, free_port, wait_for};
use crate::tools::Tools;

/// Programs in the order of starting.
const PROGRAMS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];
const STAGES: &str = include_str!("../stages/stages.yaml");
const NODE: &str = include_str!("../stages/node.yaml");

/// Whether the cluster ends with the process that started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It does; dropping it ends it too.
    Attached,
    /// It goes on until [`DevCluster::stop`].
    Detached,
}

/// A running cluster.
pub struct DevCluster {
    directory: PathBuf,
    tools: Tools,
    lifetime: Lifetime,
    apiserver_args: Vec<String>,
    port: u16,
}

impl DevCluster {
    /// Starts a cluster in a directory of its own; `say` hears of the progress.
    pub fn start(directory: &Path, lifetime: Lifetime, say: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let tools = Tools::locate()?;
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let (etcd, peer, port) = (free_port()?, free_port()?, free_port()?);
        let token = uuid::Uuid::new_v4().simple().to_string();
        keys(&directory, port, &token)?;
        let cluster = Self { apiserver_args: apiserver_args(&directory, etcd, port), directory, tools, lifetime, port };
        let etcd_args = [
            format!("--data-dir={}", cluster.path("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=error".to_owned(),
        ];
        cluster.spawn("etcd", &etcd_args)?;
        cluster.start_apiserver()?;
        say(&format!("kube-apiserver ready ({:.1} s)", begun.elapsed().as_secs_f32()));
        let kubeconfig = format!("--kubeconfig={}", cluster.kubeconfig().display());
        let manager = [
            kubeconfig.clone(),
            format!("--service-account-private-key-file={}", cluster.path("sa.key")),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=false".to_owned(),
            "--controllers=*,-node-ipam-controller,-node-lifecycle-controller".to_owned(),
            format!("--secure-port={}", free_port()?),
        ];
        cluster.spawn("kube-controller-manager", &manager)?;
        cluster.spawn(
            "kube-scheduler",
            &[kubeconfig.clone(), "--leader-elect=false".to_owned(), format!("--secure-port={}", free_port()?)],
        )?;
        fs::write(cluster.directory.join("stages.yaml"), STAGES)?;
        let kwok = [
            kubeconfig,
            "--manage-all-nodes=true".to_owned(),
            format!("--config={}", cluster.path("stages.yaml")),
            format!("--server-address=127.0.0.1:{}", free_port()?),
        ];
        cluster.spawn("kwok", &kwok)?;
        fs::write(cluster.directory.join("node.yaml"), NODE)?;
        let node = cluster.path("node.yaml");
        wait_for("the node is accepted", Duration::from_secs(30), || cluster.kubectl(&["apply", "-f", &node]).is_ok())?;
        wait_for("the node is Ready", Duration::from_secs(60), || {
            cluster
                .kubectl(&[
                    "get",
                    "node",
                    "kwok-node-0",
                    "-o",
                    "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
                ])
                .is_ok_and(|status| status == "True")
        })?;
        wait_for("the default service account", Duration::from_secs(60), || {
            cluster.kubectl(&["get", "serviceaccount", "default", "-n", "default"]).is_ok()
        })?;
        say(&format!("cluster ready ({:.1} s)", begun.elapsed().as_secs_f32()));
        Ok(cluster)
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn spawn(&self, name: &str, args: &[String]) -> anyhow::Result<()> {
        process::spawn(&self.directory, name, &self.tools.program(name)?, args, self.lifetime == Lifetime::Attached)
            .map(|_| ())
    }

    /// The kubeconfig; its one context is `takobune-dev`.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Starts the API server (again) on its port and waits until it is ready.
    pub fn start_apiserver(&self) -> anyhow::Result<()> {
        self.spawn("kube-apiserver", &self.apiserver_args)?;
        wait_for("kube-apiserver is ready", Duration::from_secs(60), || {
            self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
        })
        .with_context(|| format!("kube-apiserver says:\n{}", process::tail(&self.directory, "kube-apiserver")))
    }

    /// Stops the API server alone.
    pub fn stop_apiserver(&self) -> anyhow::Result<()> {
        process::kill(&self.directory, "kube-apiserver")
    }

    /// The API server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs kubectl; its output, or what it complained of.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } = Command::new(self.tools.program("kubectl")?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--request-timeout=10s")
            .args(args)
            .output()?;
        if !status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&stderr).trim());
        }
        Ok(String::from_utf8(stdout)?.trim().to_owned())
    }

    /// Stops the cluster of a directory.
    pub fn stop(directory: &Path) -> anyhow::Result<()> {
        PROGRAMS.iter().rev().try_for_each(|name| process::stop(directory, name))
    }

    /// Which programs of a directory's cluster run.
    pub fn status(directory: &Path) -> Vec<(&'static str, bool)> {
        PROGRAMS.iter().map(|name| (*name, process::runs(directory, name))).collect()
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Attached {
            for name in PROGRAMS.iter().rev() {
                let _ = process::kill(&self.directory, name);
            }
        }
    }
}

fn keys(directory: &Path, port: u16, token: &str) -> anyhow::Result<()> {
    let key = directory.join("sa.key");
    let made = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(&key)
        .arg("2048")
        .output()
        .context("openssl is missing; apt-get install openssl")?;
    if !made.status.success() {
        bail!("openssl genrsa: {}", String::from_utf8_lossy(&made.stderr));
    }
    fs::write(directory.join("tokens.csv"), format!("{token},takobune-dev,takobune-dev,\"system:masters\"\n"))?;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "takobune-dev",
        "clusters": [{"name": "takobune-dev", "cluster": {"server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "takobune-dev", "user": {"token": token}}],
        "contexts": [{"name": "takobune-dev", "context": {"cluster": "takobune-dev", "user": "takobune-dev"}}],
    });
    fs::write(directory.join("kubeconfig"), serde_json::to_string_pretty(&kubeconfig)?)?;
    Ok(())
}

fn apiserver_args(directory: &Path, etcd: u16, port: u16) -> Vec<String> {
    let path = |name: &str| directory.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", path("certs")),
        format!("--service-account-key-file={}", path("sa.key")),
        format!("--service-account-signing-key-file={}", path("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", path("tokens.csv")),
        "--allow-privileged=true".to_owned(),
        "--disable-admission-plugins=TaintNodesByCondition".to_owned(),
    ]
}

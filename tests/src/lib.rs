//! The harness of the end-to-end tests: a real cluster, a real git server and a real `tako` with its nats-server,
//! all on free ports and gone when dropped. Blocking, so that a test reads from top to bottom.
pub mod steps;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::blocking::Client;
use serde_json::{Value, json};
use tako_devcluster::process::free_port;
use tako_devcluster::{DevCluster, GitServer, Lifetime, Tools, sample};
use tempfile::TempDir;

/// The control namespace.
pub const NAMESPACE: &str = "argocd";

/// What the `tako` under test logs; `TAKO_TEST_LOG` says otherwise.
const LOG: &str = "info,kube=error,kube_client=off,async_nats=error,actix_server=warn";

/// Everything a test needs.
pub struct World {
    /// The cluster.
    pub cluster: DevCluster,
    /// The git server.
    pub git: GitServer,
    /// The control plane; `None` while stopped.
    pub tako: Option<Tako>,
    /// The planned failure point of the next `tako` to be started.
    pub fault: Option<String>,
    root: TempDir,
    port: u16,
    http: Client,
}

/// A running `tako`.
pub struct Tako {
    child: Child,
}

impl Tako {
    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Tako {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `tako` beside the running test program.
pub fn tako_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let directory = this.ancestors().find(|directory| directory.join("tako").is_file());
    Ok(directory.context("tako is not built; run cargo build --workspace")?.join("tako"))
}

impl World {
    /// Starts everything, with the CRDs applied.
    pub fn start() -> anyhow::Result<Self> {
        let mut world = Self::without_tako()?;
        world.start_tako()?;
        Ok(world)
    }

    /// A cluster with the CRDs and a git server; no tako yet.
    pub fn without_tako() -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = tempfile::tempdir()?;
        let cluster = DevCluster::start(&root.path().join("cluster"), Lifetime::Attached, &mut |_| {})?;
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds").display().to_string();
        cluster.kubectl(&["apply", "--server-side", "-f", &crds])?;
        cluster.kubectl(&["create", "namespace", NAMESPACE])?;
        let deadline = Instant::now() + Duration::from_secs(30);
        // Established says too little: for a moment the API server still knows no such path.
        while let Err(error) = cluster.kubectl(&["get", "applications,appprojects,applicationsets", "-A"]) {
            if Instant::now() > deadline {
                return Err(error.context("the CRDs are not served"));
            }
        }
        let repositories = root.path().join("git");
        std::fs::create_dir_all(&repositories)?;
        let git = GitServer::start(&repositories, "127.0.0.1:0")?;
        // The dev cluster signs its certificate itself.
        let http = Client::builder().timeout(Duration::from_secs(15)).danger_accept_invalid_certs(true).build()?;
        Ok(Self { cluster, git, tako: None, fault: None, root, port: free_port()?, http })
    }

    /// Starts `tako` (again) on its port and data.
    pub fn start_tako(&mut self) -> anyhow::Result<()> {
        let nats = Tools::locate()?.program("nats-server")?.display().to_string();
        self.tako = Some(self.spawn_tako("data", &["--nats-server", &nats])?);
        self.until("tako is ready", Self::ready)
    }

    /// Whether the web answers and knows the Applications.
    pub fn ready(&self) -> anyhow::Result<bool> {
        Ok(self.http.get(self.url("/readyz")).send().is_ok_and(|answer| answer.status().is_success()))
    }

    /// Starts a process of tako with a data directory and more flags.
    pub fn spawn_tako(&self, data: &str, flags: &[&str]) -> anyhow::Result<Tako> {
        // helm and kustomize are found in PATH.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = Tools::locate()?.render_directory().to_owned();
        let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))?;
        let log = File::options().create(true).append(true).open(self.path("tako.log"))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tako_program()?)
            .arg("run")
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .args(["--listen", &format!("127.0.0.1:{}", self.port), "--namespace", NAMESPACE])
            .arg("--data-dir")
            .arg(self.path(data))
            .args(flags)
            .env("PATH", path)
            .envs(self.fault.iter().map(|point| ("TAKO_FAULT", point)))
            .env("RUST_LOG", std::env::var("TAKO_TEST_LOG").unwrap_or_else(|_| LOG.to_owned()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Tako { child })
    }

    /// A path in the test's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// An address of tako.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The HTTP client.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// Waits for a condition; what went wrong comes with the end of tako's log.
    pub fn until(&self, what: &str, reached: impl FnMut(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        self.within(Duration::from_secs(60), what, reached)
    }

    /// The same with another deadline.
    pub fn within(
        &self,
        limit: Duration,
        what: &str,
        mut reached: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let outcome = reached(self);
            if matches!(outcome, Ok(true)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.path("tako.log")).unwrap_or_default();
                // The whole of it outlives the test's own directory.
                let _ = std::fs::write(std::env::temp_dir().join("tako-failed.log"), &log);
                let tail: Vec<&str> = log.lines().rev().take(60).collect();
                let apps = self.cluster.kubectl(&["get", "applications", "-A", "-o", "json"]).unwrap_or_default();
                bail!(
                    "{what}: not reached ({outcome:?})\n{}\n{apps}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a repository with files; answers its path.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let path = self.path("git").join(name);
        sample::create_bare(&path)?;
        let files: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
        sample::commit(&path, &files, "first")?;
        Ok(path)
    }

    /// Commits and tells tako by webhook; answers the commit.
    pub fn push(&self, repository: &str, changes: &[(&str, Option<&str>)]) -> anyhow::Result<String> {
        let commit = sample::commit(&self.path("git").join(repository), changes, "change")?;
        self.webhook(repository)?;
        Ok(commit)
    }

    /// The webhook that GitHub would send.
    pub fn webhook(&self, repository: &str) -> anyhow::Result<()> {
        let payload = json!({"ref": "refs/heads/main", "repository": {"clone_url": self.git.url(repository)}});
        let answer = self.http.post(self.url("/api/webhook")).header("X-GitHub-Event", "push").json(&payload).send()?;
        if !answer.status().is_success() {
            bail!("webhook: {} {}", answer.status(), answer.text()?);
        }
        Ok(())
    }

    /// An Application of a directory, automated with prune and selfHeal.
    pub fn application(&self, name: &str, repository: &str, path: &str, namespace: &str) -> Value {
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "project": "default",
                "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                "source": {"repoURL": self.git.url(repository), "path": path, "targetRevision": "main"},
                "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["CreateNamespace=true"]},
            },
        })
    }

    /// kubectl apply of an object.
    pub fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let file = self.path("object.json");
        std::fs::write(&file, object.to_string())?;
        self.cluster.kubectl(&["apply", "-f", &file.display().to_string()]).map(|_| ())
    }

    /// An Application as it is in the cluster.
    pub fn app(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.cluster.kubectl(&[
            "get",
            "application",
            name,
            "-n",
            NAMESPACE,
            "-o",
            "json",
        ])?)?)
    }

    /// Waits until an Application is Synced and Healthy at a commit (any, when empty).
    pub fn synced(&self, name: &str, commit: &str) -> anyhow::Result<()> {
        self.until(&format!("{name} is Synced at {commit:?}"), |world| {
            let app = world.app(name)?;
            let status = &app["status"];
            let at = commit.is_empty() || status["sync"]["revision"] == commit;
            Ok(at
                && status["sync"]["status"] == "Synced"
                && status["health"]["status"] == "Healthy"
                && status["operationState"]["phase"] == "Succeeded"
                && app["operation"].is_null())
        })
    }

    /// A field of a ConfigMap; empty when it or the map is not there.
    pub fn config(&self, namespace: &str, name: &str, field: &str) -> String {
        self.cluster
            .kubectl(&["get", "configmap", name, "-n", namespace, "-o", &format!("jsonpath={{.data.{field}}}")])
            .unwrap_or_default()
    }

    /// The field `value` of a ConfigMap, asked of the API server directly: quicker than kubectl.
    pub fn live_value(&self, namespace: &str, name: &str) -> anyhow::Result<String> {
        let (url, token) = self.api_server(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}"))?;
        let object: Value = self.http.get(url).bearer_auth(token).send()?.json()?;
        Ok(object["data"]["value"].as_str().unwrap_or_default().to_owned())
    }

    /// Merge-patches an object at its path, of the API server directly.
    pub fn patch_live(&self, path: &str, patch: &Value) -> anyhow::Result<()> {
        let (url, token) = self.api_server(path)?;
        let request = self.http.patch(url).bearer_auth(token).header("Content-Type", "application/merge-patch+json");
        request.body(patch.to_string()).send()?.error_for_status()?;
        Ok(())
    }

    fn api_server(&self, path: &str) -> anyhow::Result<(String, String)> {
        let kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(self.cluster.kubeconfig())?)?;
        let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap_or_default().to_owned();
        Ok((format!("https://127.0.0.1:{}{path}", self.cluster.port()), token))
    }

    /// Signs in as admin.
    pub fn token(&self) -> anyhow::Result<String> {
        let secret = self.cluster.kubectl(&[
            "get",
            "secret",
            "argocd-initial-admin-secret",
            "-n",
            NAMESPACE,
            "-o",
            "go-template={{.data.password | base64decode}}",
        ])?;
        let answer: Value = self
            .http
            .post(self.url("/api/v1/session"))
            .json(&json!({"username": "admin", "password": secret}))
            .send()?
            .error_for_status()?
            .json()?;
        Ok(answer["token"].as_str().context("no token")?.to_owned())
    }

    /// What the audit stream holds first, by the `nats` program.
    pub fn audit(&self) -> anyhow::Result<Vec<Value>> {
        Ok(vec![self.nats(&["stream", "get", "AUDIT1", "--json", "1"])?])
    }

    /// An answer of the `nats` program, with tako's credentials.
    pub fn nats(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let conf = std::fs::read_to_string(self.path("data/nats/nats.conf"))?;
        let field = |name: &str| {
            conf.split(&format!("{name}: \""))
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .map(str::to_owned)
                .with_context(|| format!("{name} in nats.conf"))
        };
        let (listen, user, password) = (field("listen")?, field("user")?, field("password")?);
        let output = Command::new(Tools::locate()?.program("nats")?)
            .args(["--server", &format!("nats://{listen}"), "--user", &user, "--password", &password])
            .args(arguments)
            .output()?;
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout)?)
        } else {
            bail!("{}", String::from_utf8_lossy(&output.stderr))
        }
    }
}

/// A ConfigMap manifest with one field `value`.
pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: {value:?}\n")
}

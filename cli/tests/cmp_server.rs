//! `tako cmp-server` as a process of its own on a real socket, with our client and with Argo CD's own programs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // of helpers: Clippy knows only functions that are tests themselves

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tako_engine::repository::Repositories;
use tako_sources::plugin::parameters;
use tako_sources::render::render;
use tako_sources::request::{AppInfo, ClusterInfo, Request};
use tako_sources::settings::RenderSettings;
use tako_sources::tree::Tree;

const TAKO: &str = env!("CARGO_BIN_EXE_tako");

const PLUGIN: &str = r#"
apiVersion: argoproj.io/v1alpha1
kind: ConfigManagementPlugin
metadata: {name: tester}
spec:
  version: v1
  init: {command: [sh, -c, 'echo made by init > init.txt']}
  generate:
    command: [sh, -c]
    args:
      - |
        printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {init: "%s", link: "%s", who: "%s", p: "%s"}\n---\n' \
          "$ARGOCD_APP_NAME" "$(cat init.txt)" "$(cat link)" "$ARGOCD_ENV_WHO" "$PARAM_A_B"
        printf '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "second"}}\n'
  discover: {find: {glob: '**/*.tester'}}
  parameters:
    static: [{name: static, collectionType: map, map: {a: b}}]
    dynamic: {command: [echo, '[{"name": "dynamic", "required": true}]']}
"#;

/// A directory with a repository, a plugin.yaml and sockets.
fn stand() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in ["repository/app/deep", "repository/shared", "config", "sockets", "work", "scratch"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    fs::write(root.path().join("repository/app/deep/x.tester"), "").unwrap();
    fs::write(root.path().join("repository/shared/text"), "linked").unwrap();
    std::os::unix::fs::symlink("../shared/text", root.path().join("repository/app/link")).unwrap();
    fs::write(root.path().join("config/plugin.yaml"), PLUGIN).unwrap();
    root
}

struct Sidecar(Child, PathBuf);

impl Sidecar {
    fn start(mut command: Command, root: &Path) -> Self {
        command
            .env("ARGOCD_PLUGINSOCKFILEPATH", root.join("sockets"))
            .env("ARGOCD_CMP_WORKDIR", root.join("work"))
            .stdout(Stdio::null());
        let socket = root.join("sockets/tester-v1.sock");
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            assert!(child.try_wait().unwrap().is_none(), "the sidecar ended");
            assert!(Instant::now() < deadline, "the sidecar does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child, socket)
    }

    /// Ends it as Kubernetes does.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
        assert!(!self.1.exists(), "the socket is gone");
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(root: &Path) -> Command {
    // Called as Argo CD's binary is: the name says what it is.
    let named = root.join("argocd-cmp-server");
    if !named.exists() {
        std::os::unix::fs::symlink(TAKO, &named).unwrap();
    }
    let mut command = Command::new(named);
    command.arg("--config-dir-path").arg(root.join("config")).args(["--loglevel", "warn"]);
    command
}

fn request(root: &Path, source: Value) -> Request {
    Request {
        app: AppInfo { name: "shop".into(), ..AppInfo::default() },
        source: serde_json::from_value(source).unwrap(),
        revision: "0123456789abcdef".into(),
        tree: Tree::of_directory(root.join("repository")),
        refs: BTreeMap::new(),
        cluster: ClusterInfo::default(),
        settings: RenderSettings { plugin_sockets: root.join("sockets"), ..RenderSettings::default() },
        repositories: Repositories::default(),
        scratch: root.join("scratch"),
    }
}

fn wanted(who: &str) -> Value {
    let data =
        json!({"init": "made by init", "link": "linked", "who": who, "p": if who.is_empty() { "" } else { "c" }});
    json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop"}, "data": data},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "second"}},
    ])
}

/// What our client makes of whatever serves the socket.
fn our_client(root: &Path) {
    let found = render(&request(root, json!({"repoURL": "r", "path": "app"}))).unwrap();
    assert_eq!(Value::from(found.manifests), wanted(""));
    let named = json!({"repoURL": "r", "path": "app", "plugin": {
        "name": "tester-v1",
        "env": [{"name": "WHO", "value": "$ARGOCD_APP_NAME"}],
        "parameters": [{"name": "a-b", "string": "c"}],
    }});
    let made = render(&request(root, named.clone())).unwrap();
    assert_eq!(Value::from(made.manifests), wanted("shop"));
    let told = parameters(&request(root, named)).unwrap();
    let told: Vec<(&str, bool)> = told.iter().map(|told| (told.name.as_str(), told.required)).collect();
    assert_eq!(told, [("dynamic", true), ("static", false)]);
    // Not the plugin's: the files as they are.
    let plain = render(&request(root, json!({"repoURL": "r", "path": "shared"}))).unwrap();
    assert_eq!(plain.source_type.as_str(), "Directory");
    let error = render(&request(root, json!({"repoURL": "r", "path": "shared", "plugin": {"name": "tester-v1"}})));
    assert!(error.unwrap_err().to_string().contains("supporting the given repository"));
}

#[test]
fn the_sidecar_serves_until_it_is_told_to_stop() {
    let root = stand();
    let sidecar = Sidecar::start(ours(root.path()), root.path());
    our_client(root.path());
    sidecar.stop();
    assert_eq!(fs::read_dir(root.path().join("work")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_plugin_yaml_that_is_no_good_is_told_by_its_field() {
    let root = stand();
    fs::write(root.path().join("config/plugin.yaml"), PLUGIN.replace("version: v1\n", "version: 1.5\n")).unwrap();
    let output = ours(root.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("plugin.yaml: spec.version: a text is wanted"), "{said}");
}

/// Argo CD's own side (tests/oracle/cmp).
fn argo_cd() -> Command {
    Command::new(
        std::env::var_os("TAKO_CMP_ORACLE")
            .expect("TAKO_CMP_ORACLE: the program that tests/oracle/cmp/build.sh builds"),
    )
}

#[test]
#[ignore = "Argo CD's own programs take long to build: tests/oracle/cmp/build.sh /tmp/cmp, then TAKO_CMP_ORACLE=/tmp/cmp cargo test -p tako --test cmp_server -- --ignored"]
fn our_client_understands_argo_cds_sidecar() {
    let root = stand();
    let mut command = argo_cd();
    command.arg("serve").arg(root.path().join("config"));
    let sidecar = Sidecar::start(command, root.path());
    our_client(root.path());
    // Argo CD's does not end by TERM.
    drop(sidecar);
}

#[test]
#[ignore = "as our_client_understands_argo_cds_sidecar"]
fn argo_cds_client_understands_our_sidecar() {
    let root = stand();
    let sidecar = Sidecar::start(ours(root.path()), root.path());
    let ask = |what: &str, path: &str, plugin: &str| {
        let output = argo_cd()
            .arg(what)
            .arg(root.path().join("repository"))
            .args([path, plugin, "ARGOCD_APP_NAME=shop", "ARGOCD_ENV_WHO=shop", "PARAM_A_B=c"])
            .env("ARGOCD_PLUGINSOCKFILEPATH", root.path().join("sockets"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then(|| serde_json::from_slice::<Value>(&output.stdout).unwrap()).ok_or(said)
    };
    for plugin in ["", "tester-v1"] {
        let texts = ask("generate", "app", plugin).unwrap();
        let texts = texts.as_array().unwrap().iter();
        let made: Value = texts.map(|text| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()).collect();
        assert_eq!(made, wanted("shop"), "{plugin}");
        let told = ask("parameters", "app", plugin).unwrap();
        assert_eq!((&told[0]["name"], &told[1]["map"]["a"]), (&json!("dynamic"), &json!("b")));
        let error = ask("generate", "shared", plugin).unwrap_err();
        assert!(error.contains("supporting the given repository"), "{error}");
    }
    sidecar.stop();
}

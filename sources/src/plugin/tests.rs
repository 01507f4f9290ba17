//! Our client with our sidecar on a real socket, in this process (tests/tests/plugins.rs has it as a process of its own).
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tako_engine::repository::Repositories;
use tokio::sync::oneshot;

use super::*;
use crate::cmp_server::{Config, Settings, serve};
use crate::request::{AppInfo, ClusterInfo};
use crate::settings::RenderSettings;
use crate::tree::{Inputs, Tree};

/// A sidecar on a socket until it is dropped.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A directory with sockets, a repository and a place for renders.
struct Stand(tempfile::TempDir);

impl Stand {
    fn new(files: &[(&str, &str)]) -> Self {
        let stand = Self(tempfile::tempdir().unwrap());
        for directory in ["sockets", "repository", "scratch"] {
            fs::create_dir(stand.path(directory)).unwrap();
        }
        for (path, text) in files {
            let path = stand.path("repository").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        stand
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a sidecar for a plugin.yaml.
    fn serve(&self, plugin: &str) -> Serving {
        let directory = tempfile::tempdir_in(self.0.path()).unwrap();
        fs::write(directory.path().join("plugin.yaml"), plugin).unwrap();
        let config = Config::read(directory.path()).unwrap();
        let socket = self.path("sockets").join(format!("{}.sock", config.name));
        let settings = Settings { sockets: self.path("sockets"), work: self.path(&format!("work-{}", config.name)) };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(serve(config, settings, async { drop(stopped.await) })).unwrap();
        });
        while !socket.exists() {
            assert!(!thread.is_finished(), "the sidecar ended");
            std::thread::sleep(Duration::from_millis(2));
        }
        Serving { stop: Some(stop), thread: Some(thread) }
    }

    fn request(&self, source: Value) -> Request {
        let mut source = source;
        source["repoURL"] = json!("https://user:secret@git.example.com/r.git");
        let settings = RenderSettings { plugin_sockets: self.path("sockets"), ..RenderSettings::default() };
        Request {
            app: AppInfo {
                name: "shop".into(),
                project: "default".into(),
                destination_namespace: "prod".into(),
                ..AppInfo::default()
            },
            source: serde_json::from_value(source).unwrap(),
            revision: "0123456789abcdef0123456789abcdef01234567".into(),
            tree: Tree::of_directory(self.path("repository")),
            refs: BTreeMap::new(),
            cluster: ClusterInfo {
                kube_version: "1.37.2".into(),
                api_versions: ["v1".to_owned(), "apps/v1".to_owned()].into(),
            },
            settings,
            repositories: Repositories::default(),
            sops: None,
            scratch: self.path("scratch"),
        }
    }

    /// Nothing is left of a call but the sidecars' empty directories.
    fn is_clean(&self) -> bool {
        let left = |path: PathBuf| fs::read_dir(path).map(Iterator::count).unwrap_or_default();
        let works = fs::read_dir(self.0.path()).unwrap().filter_map(Result::ok).map(|entry| entry.path());
        left(self.path("scratch")) == 0 && works.map(|work| left(work.join("_cmp_server"))).sum::<usize>() == 0
    }
}

fn plugin(name: &str, spec: &str) -> String {
    format!("apiVersion: argoproj.io/v1alpha1\nkind: ConfigManagementPlugin\nmetadata: {{name: {name}}}\nspec:\n{spec}")
}

/// Prints a ConfigMap whose data is what the script prints as `key: value` lines.
fn printing(script: &str) -> String {
    let head = r#"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata:\n"#;
    format!("  generate: {{command: [sh, -c, {}]}}\n", json!(format!("printf '{head}'; {script}")))
}

fn data(request: &Request) -> Value {
    let made = render(request, None).unwrap();
    assert_eq!(made.manifests.len(), 1);
    made.manifests[0]["data"].clone()
}

#[test]
fn a_plugin_gets_files_and_variables_and_makes_manifests() {
    let stand = Stand::new(&[("apps/a/in.txt", "from the file"), ("shared/x", "shared")]);
    symlink("../../shared/x", stand.path("repository/apps/a/link")).unwrap();
    let _serving = stand.serve(&plugin(
        "p",
        &(printing(
            r#"echo "  file: $(cat in.txt)"; echo "  link: $(cat link)"; echo "  init: $(cat made)"; env | grep -E '^(ARGOCD_|KUBE_|PARAM_)' | grep -v SOCK | sed -E "s/^([A-Z0-9_]+)=(.*)$/  \1: '\2'/""#,
        ) + "  init: {command: [sh, -c, 'echo $ARGOCD_APP_NAME > made']}\n"),
    ));
    let request = stand.request(json!({"path": "apps/a", "targetRevision": "main", "plugin": {
        "name": "p",
        "env": [{"name": "TIER", "value": "$ARGOCD_APP_NAME-x"}],
        "parameters": [{"name": "a-b", "string": "c"}],
    }}));
    let want = json!({
        "file": "from the file",
        "link": "shared",
        "init": "shop",
        "ARGOCD_APP_NAME": "shop",
        "ARGOCD_APP_NAMESPACE": "prod",
        "ARGOCD_APP_PROJECT_NAME": "default",
        "ARGOCD_APP_REVISION": "0123456789abcdef0123456789abcdef01234567",
        "ARGOCD_APP_REVISION_SHORT": "0123456",
        "ARGOCD_APP_REVISION_SHORT_8": "01234567",
        "ARGOCD_APP_SOURCE_PATH": "apps/a",
        "ARGOCD_APP_SOURCE_REPO_URL": data(&request)["ARGOCD_APP_SOURCE_REPO_URL"],
        "ARGOCD_APP_SOURCE_TARGET_REVISION": "main",
        "ARGOCD_ENV_TIER": "shop-x",
        "ARGOCD_APP_PARAMETERS": r#"[{"name":"a-b","string":"c"}]"#,
        "PARAM_A_B": "c",
        "KUBE_VERSION": "1.37.2",
        "KUBE_API_VERSIONS": "v1,apps/v1",
    });
    let got = data(&request);
    assert_eq!(got, want);
    assert!(!got.to_string().contains("secret"), "S-48: no credentials of the repository");
    assert_eq!(request.tree.inputs(), Inputs::from([String::new()]), "it may read all");
    assert!(stand.is_clean());
}

#[test]
fn the_first_plugin_that_takes_a_source_makes_it() {
    let stand = Stand::new(&[("app/deep/x.cue", ""), ("app/Chart.yaml", ""), ("other/x.yaml", "")]);
    let says = |name: &str| printing(&format!("echo '  by: {name}'"));
    let none = stand.request(json!({"path": "app"}));
    assert_eq!(discover(&none).unwrap(), None);
    assert_eq!(none.tree.inputs(), Inputs::new(), "without sidecars nothing is read");
    let _a = stand.serve(&plugin("a", &says("a")));
    let b =
        stand.serve(&plugin("b", &(says("b") + "  discover: {find: {command: [sh, -c, 'find . | grep nowhere']}}")));
    let c = stand.serve(&plugin("c", &(says("c") + "  version: v2\n  discover: {find: {glob: '**/*.cue'}}")));
    let _d = stand.serve(&plugin("d", &(says("d") + "  discover: {fileName: './Chart.y*ml'}")));
    let by = |path: &str| {
        let request = stand.request(json!({"path": path}));
        discover(&request)
            .unwrap()
            .map(|found| render(&request, Some(found)).unwrap().manifests[0]["data"]["by"].clone())
    };
    assert_eq!(by("app"), Some(json!("c")), "b fails to find, which is no");
    assert_eq!(by("app/deep"), Some(json!("c")));
    assert_eq!(by("other"), None);
    let request = stand.request(json!({"path": "other"}));
    assert_eq!(discover(&request).unwrap(), None);
    assert_eq!(request.tree.inputs(), Inputs::from(["other".to_owned()]), "a plugin that says no does not read all");
    drop(c);
    assert_eq!(by("app"), Some(json!("d")));
    assert_eq!(by("app/deep"), None);

    let named = |name: &str, path: &str| render(&stand.request(json!({"path": path, "plugin": {"name": name}})), None);
    assert_eq!(named("a", "other").unwrap().manifests[0]["data"]["by"], "a", "no rules: it takes what names it");
    for (name, path, want) in [
        ("d", "other", "its discovery rules do not match other"),
        ("c", "app", "there is no socket"),
        ("../sockets/a", "app", "is no name of a plugin"),
    ] {
        let error = named(name, path).unwrap_err().to_string();
        assert!(error.contains(want), "{name} {path}: {error}");
    }
    let error = render(&stand.request(json!({"path": "other", "plugin": {}})), None).unwrap_err().to_string();
    assert!(error.contains("could not find plugin supporting the given repository"), "{error}");
    drop(b);
}

#[test]
fn a_sidecar_that_is_away_is_no_answer_and_passes() {
    let stand = Stand::new(&[("app/x.yaml", "")]);
    drop(std::os::unix::net::UnixListener::bind(stand.path("sockets/dead.sock")).unwrap());
    let error = discover(&stand.request(json!({"path": "app"}))).unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(error.to_string().contains("the plugin dead cannot be fetched"), "{error}");
}

#[test]
fn a_plugin_that_is_late_or_ends_in_the_middle_is_no_answer_either() {
    let stand = Stand::new(&[("app/x.yaml", "")]);
    let find = |script: &str| printing("") + &format!("  discover: {{find: {{command: [sh, -c, {}]}}}}", json!(script));
    let mut request = stand.request(json!({"path": "app"}));
    request.settings.exec_timeout = Duration::from_millis(1500);
    let late = stand.serve(&plugin("late", &find("sleep 1000")));
    let error = discover(&request).unwrap_err().to_string();
    assert!(error.contains("late: no answer in time") && error.contains("timeout after"), "{error}");
    drop(late);
    // A server that takes the call and hangs up.
    let listener = std::os::unix::net::UnixListener::bind(stand.path("sockets/broken.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut bytes = [0; 512];
            let _ = std::io::Read::read(&mut stream.unwrap(), &mut bytes);
        }
    });
    let error = discover(&request).unwrap_err();
    assert!(error.is_passing(), "{error}");
}

#[test]
fn what_goes_wrong_in_a_plugin_is_told() {
    let stand = Stand::new(&[("app/x", "")]);
    let cases = [
        ("f", "echo out; echo 'the reason' >&2; exit 7", "failed exit status 7: the reason"),
        ("split", "printf 'a: b'", "kind is missing"),
        ("s", "sleep 1000", "failed timeout after"),
    ];
    for (name, script, want) in cases {
        let _serving = stand.serve(&plugin(name, &format!("  generate: {{command: [sh, -c, {}]}}", json!(script))));
        let mut request = stand.request(json!({"path": "app", "plugin": {"name": name}}));
        request.settings.exec_timeout = Duration::from_millis(1500);
        let error = render(&request, None).unwrap_err().to_string();
        assert!(error.contains(want), "{name}: {error}");
        assert!(stand.is_clean(), "{name}");
    }
}

#[test]
fn modes_are_kept_when_the_plugin_wants_it_and_exclusions_stay_here() {
    let stand = Stand::new(&[("app/run.sh", "#!/bin/sh\necho hi"), ("secret.pem", "x"), ("docs/a/b.md", "x")]);
    fs::set_permissions(stand.path("repository/app/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let script =
        r#"echo "  mode: '$(stat -c %a run.sh)'"; echo "  files: $(cd ..; find . -type f | sort | tr '\n' ' ')""#;
    let _plain = stand.serve(&plugin("plain", &printing(script)));
    let _keeps = stand.serve(&plugin("keeps", &(printing(script) + "  preserveFileMode: true")));
    for (name, mode) in [("plain", "644"), ("keeps", "755")] {
        let mut request = stand.request(json!({"path": "app", "plugin": {"name": name}}));
        request.settings.plugin_exclusions = vec!["*.pem".into(), "docs/**".into()];
        assert_eq!(data(&request), json!({"mode": mode, "files": "./app/run.sh"}));
    }
}

#[test]
fn with_the_setting_only_the_paths_that_matter_are_sent() {
    let stand = Stand::new(&[("team/app/x", ""), ("team/lib/y", ""), ("other/z", "elsewhere")]);
    symlink("../../other/z", stand.path("repository/team/app/z")).unwrap();
    let script = r#"echo "  files: $(cd ..; find . -type f | sort | tr '\n' ' ')"; echo "  z: $(cat z)""#;
    let _serving = stand.serve(&plugin("p", &printing(script)));
    let mut request = stand.request(json!({"path": "team/app", "plugin": {"name": "p"}}));
    request.app.generate_paths = Some(".;../lib".into());
    request.settings.plugin_uses_generate_paths = true;
    assert_eq!(data(&request), json!({"files": "./app/x ./app/z ./lib/y", "z": "elsewhere"}));
    assert_eq!(request.tree.inputs(), Inputs::from(["team".to_owned(), "other/z".to_owned()]));
    symlink("../../other", stand.path("repository/team/app/w")).unwrap();
    let error = render(&request, None).unwrap_err().to_string();
    assert!(error.starts_with("app/w: the link leads out of the directory that the plugin gets"), "{error}");
}

#[test]
fn s04_a_link_out_of_the_repository_is_not_sent() {
    let stand = Stand::new(&[("app/x", "")]);
    symlink("/etc/passwd", stand.path("repository/app/link")).unwrap();
    let _serving = stand.serve(&plugin("p", &printing("cat link")));
    let error = render(&stand.request(json!({"path": "app", "plugin": {"name": "p"}})), None).unwrap_err().to_string();
    assert!(error.contains("leads out of the repository"), "{error}");
}

/// The example for helm-secrets and its kind, with a script in the place of the program.
#[test]
fn the_example_plugin_works_with_a_program_that_decrypts() {
    let stand =
        Stand::new(&[("chart/Chart.yaml", "name: c"), ("chart/secrets.prod.yaml", "ciphertext"), ("plain/x", "")]);
    let tools = stand.path("tools");
    fs::create_dir(&tools).unwrap();
    let helm = tools.join("helm");
    fs::write(
        &helm,
        "#!/bin/sh\n[ \"$1 $2\" = 'secrets template' ] || exit 2\nshift 2\nfor last; do :; done\nprintf 'apiVersion: v1\\nkind: Secret\\nmetadata: {name: %s}\\nstringData: {args: \"%s\"}\\n' \"$1\" \"$*\"\n",
    )
    .unwrap();
    fs::set_permissions(&helm, fs::Permissions::from_mode(0o755)).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/plugins/sops-secrets/plugin.yaml");
    // The program is found by the sidecar's own PATH: here by its full name.
    let text = fs::read_to_string(example).unwrap().replace("exec helm", &format!("exec {}", helm.display()));
    let _serving = stand.serve(&text);
    let mut request = stand.request(json!({"path": "chart"}));
    let found = discover(&request).unwrap().unwrap();
    assert_eq!(found.name, "sops-secrets-v1");
    request.source = serde_json::from_value(json!({"repoURL": "r", "path": "chart", "plugin": {
        "env": [{"name": "HELM_ARGS", "value": "--debug --set a=b"}],
        "parameters": [{"name": "secrets-file", "string": "secrets.prod.yaml"}],
    }}))
    .unwrap();
    let made = render(&request, None).unwrap();
    let want = "shop . --namespace prod --values values.yaml --values secrets.prod.yaml --debug --set a=b";
    assert_eq!(made.manifests[0]["stringData"]["args"], want);
    assert_eq!(discover(&stand.request(json!({"path": "plain"}))).unwrap(), None);

    let told = parameters(&request).unwrap();
    let names: Vec<&str> = told.iter().map(|told| told.name.as_str()).collect();
    assert_eq!(names, ["environment", "secrets-file"], "dynamic ones first");
    assert_eq!((told[0].array.as_slice(), told[1].string.as_str()), (["dev".to_owned()].as_slice(), "secrets.yaml"));
    assert_eq!(parameters(&stand.request(json!({"path": "plain"}))).unwrap(), []);
}

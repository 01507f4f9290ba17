//! The real Helm 3 and 4, on the charts of `tests/corpus/helm` and on some made here.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tako_engine::repository::Repositories;

use super::*;
use crate::charts::tests::{Shop, packed_chart};
use crate::oci::tests::Registry;
use crate::request::{AppInfo, ClusterInfo, RefTree};
use crate::settings::RenderSettings;
use crate::testing;
use crate::tree::Tree;

/// Both programs.
const HELMS: [&str; 2] = ["helm3", "helm"];

/// A repository, and where renders are made.
struct Place {
    root: tempfile::TempDir,
    scratch: tempfile::TempDir,
}

impl Place {
    fn of(files: &[(&str, &str)]) -> Self {
        let place = Self { root: tempfile::tempdir().unwrap(), scratch: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn request(&self, helm: Value) -> Request {
        request(&self.root.path().join("repo"), self.scratch.path(), helm)
    }

    fn render(&self, helm: Value) -> Result<Vec<Value>, RenderError> {
        render(&self.request(helm)).map(|made| made.manifests)
    }
}

fn request(root: &Path, scratch: &Path, helm: Value) -> Request {
    let mut settings = RenderSettings::default();
    settings.tools.helm = Some(testing::program("helm"));
    Request {
        app: AppInfo {
            name: "app".to_owned(),
            project: "default".to_owned(),
            destination_namespace: "apps".to_owned(),
            ..AppInfo::default()
        },
        source: serde_json::from_value(json!({"repoURL": "https://example.org/r", "path": "chart", "helm": helm}))
            .unwrap(),
        revision: "0".repeat(40),
        tree: Tree::of_directory(root),
        refs: BTreeMap::new(),
        cluster: ClusterInfo::default(),
        settings,
        repositories: Repositories::default(),
        sops: None,
        scratch: scratch.to_owned(),
    }
}

const CHART: &str = "apiVersion: v2\nname: demo\nversion: 0.1.0\n";
const ALL: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: all\ndata:\n  all: {{ toJson .Values | quote }}\n";

/// The values that the chart of [`ALL`] got.
fn all(manifests: &[Value]) -> Value {
    serde_json::from_str(manifests[0]["data"]["all"].as_str().unwrap()).unwrap()
}

/// What `helm template` prints when a person types it.
fn by_hand(helm: &str, case: &Path, told: &Value) -> Result<Vec<Value>, String> {
    let work = tempfile::tempdir().unwrap();
    assert!(Command::new("cp").arg("-r").arg(case).arg(work.path().join("repo")).status().unwrap().success());
    let chart = work.path().join("repo/chart");
    let run = |args: &[String]| {
        let output = Command::new(testing::program(helm))
            .args(args)
            .current_dir(&chart)
            .env_clear()
            .env("HOME", work.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if told["build"] == json!(true) {
        run(&words(&["dependency", "build"]))?;
    }
    let mut args = words(&["template", told["release"].as_str().unwrap_or("app"), ".", "--namespace", "apps"]);
    args.extend(told["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()));
    if told["no_crds"] != json!(true) {
        args.push("--include-crds".to_owned());
    }
    tako_engine::parse::parse_manifests("by hand", &run(&args)?).map_err(|problem| problem.to_string())
}

#[test]
fn a_chart_renders_as_helm_renders_it_by_hand() {
    let corpus = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/helm"));
    let mut cases: Vec<PathBuf> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40);
    let scratch = tempfile::tempdir().unwrap();
    let mut objects = 0;
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let told: Value = serde_json::from_str(&fs::read_to_string(case.join("case.json")).unwrap()).unwrap();
        for helm in HELMS {
            let mut request = request(case, scratch.path(), told["helm"].clone());
            request.settings.tools.helm = Some(testing::program(helm));
            let (ours, want) = (render(&request), by_hand(helm, case, &told));
            match told["error"].as_str() {
                None => {
                    let ours = ours.unwrap_or_else(|error| panic!("{name} {helm}: {error}"));
                    let want = want.unwrap_or_else(|error| panic!("{name} {helm} by hand: {error}"));
                    objects += want.len();
                    assert_eq!(ours.manifests, want, "{name} {helm}");
                }
                Some(text) => {
                    let (ours, want) = (ours.unwrap_err().to_string(), want.unwrap_err());
                    assert!(ours.contains(text), "{name} {helm}: {ours}");
                    assert!(want.contains(text), "{name} {helm} by hand: {want}");
                    assert!(!ours.contains(&*scratch.path().to_string_lossy()), "{name} {helm}: {ours}");
                }
            }
        }
    }
    assert!(objects > 2000, "{objects}");
}

#[test]
fn the_same_input_gives_the_same_manifests_also_at_once() {
    let place =
        Place::of(&[("chart/Chart.yaml", CHART), ("chart/templates/all.yaml", ALL), ("chart/a.yaml", "a: 1\n")]);
    let request = place.request(json!({"valueFiles": ["*.yaml"], "valuesObject": {"z": 1, "b": [1.5, null]}}));
    let first = render(&request).unwrap();
    let others: Vec<_> = (0..4)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || render(&request).unwrap().manifests)
        })
        .collect();
    for other in others {
        assert_eq!(other.join().unwrap(), first.manifests);
    }
    let left: Vec<_> = fs::read_dir(place.scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "jails are removed: {left:?}");
}

#[test]
fn the_command_line_is_shown_as_one_types_it() {
    let place = Place::of(&[("chart/Chart.yaml", CHART), ("v/x y.yaml", "a: 1\n")]);
    let mut request = place.request(json!({
        "valueFiles": ["../v/x y.yaml"], "values": "secret: 1", "parameters": [{"name": "a", "value": "b,c"}], "skipTests": true
    }));
    request.cluster.kube_version = "1.37.2".to_owned();
    request.cluster.api_versions = ["v1".to_owned(), "apps/v1".to_owned()].into();
    assert_eq!(
        render(&request).unwrap().commands,
        [
            "helm template --namespace apps --kube-version 1.37.2 --set 'a=b\\,c' --values 'v/x y.yaml' --values spec.source.helm.values '--api-versions … (2)' --include-crds --skip-tests -- app chart"
                .replace("'--api-versions … (2)'", "--api-versions … (2)")
        ]
    );
}

#[test]
fn only_what_the_chart_needs_is_read() {
    let place = Place::of(&[
        ("chart/Chart.yaml", CHART),
        ("chart/templates/all.yaml", ALL),
        ("envs/a.yaml", "a: 1\n"),
        ("envs/other.txt", "x"),
        ("unrelated/x.yaml", "x"),
    ]);
    let request =
        place.request(json!({"valueFiles": ["../envs/*.yaml", "gone.yaml"], "ignoreMissingValueFiles": true}));
    render(&request).unwrap();
    let inputs = request.tree.inputs();
    assert_eq!(inputs, ["chart", "envs/", "envs/a.yaml"].map(str::to_owned).into());
    let before = request.tree.fingerprint(&inputs).unwrap();
    place.write("unrelated/x.yaml", "changed");
    place.write("envs/other.txt", "changed");
    assert_eq!(request.tree.fingerprint(&inputs).unwrap(), before);
    place.write("envs/b.yaml", "b: 1\n");
    assert_ne!(request.tree.fingerprint(&inputs).unwrap(), before, "a new file that the pattern matches");
}

#[test]
fn values_come_from_other_sources_and_from_the_web() {
    let place = Place::of(&[("chart/Chart.yaml", CHART), ("chart/templates/all.yaml", ALL)]);
    let other =
        Place::of(&[("envs/app/1.yaml", "a: one\nb: one\n"), ("envs/app/2.yaml", "b: two\n"), ("file.txt", "text")]);
    let web = Shop::new();
    web.put("/values.yaml", b"c: web\n".to_vec());
    let mut request = place.request(json!({
        "valueFiles": ["$vals/envs/$ARGOCD_APP_NAME/*.yaml", format!("{}/values.yaml", web.url())],
        "fileParameters": [{"name": "d", "path": "$vals/file.txt"}],
    }));
    let lent = RefTree {
        repo_url: "https://example.org/v".to_owned(),
        revision: "1".repeat(40),
        tree: Tree::of_directory(other.root.path().join("repo")),
    };
    request.refs.insert("vals".to_owned(), lent);
    assert_eq!(all(&render(&request).unwrap().manifests), json!({"a": "one", "b": "two", "c": "web", "d": "text"}));
    assert!(request.refs["vals"].tree.inputs().contains("envs/app/1.yaml"));
    for (file, want) in [
        ("$gone/x.yaml", "no source has a 'ref' field"),
        ("$vals/../../x.yaml", "leads out of the repository"),
        ("$vals/none.yaml", "$vals/none.yaml: no such values file"),
        ("$vals/none/*.yaml", "values file glob \"$vals/none/*.yaml\" matched no files"),
        ("ftp://example.org/x", "scheme \"ftp\" is not allowed"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x cannot be fetched"),
    ] {
        let mut request = request.clone();
        request.source.helm.as_mut().unwrap().value_files = vec![file.to_owned()];
        let error = render(&request).unwrap_err().to_string();
        assert!(error.contains(want), "{file}: {error}");
    }
    // Values from the web have a limit.
    web.put("/values.yaml", vec![b'#'; 11 * 1024 * 1024]);
    assert!(render(&request).unwrap_err().to_string().contains("more than the"));
}

/// S-01 and S-03: no file outside of the repository is read, whatever it is called.
#[test]
fn s_01_and_s_03_values_outside_of_the_repository_are_refused() {
    let place = Place::of(&[("chart/Chart.yaml", CHART), ("chart/templates/all.yaml", ALL)]);
    let canary = place.root.path().join("canary.yaml");
    fs::write(&canary, "bird: tweet-canary\n").unwrap();
    let absolute = canary.to_string_lossy().into_owned();
    let long = format!("{}x.yaml", "a/".repeat(5000));
    for file in [
        "../../canary.yaml",
        "../../../../../../../../etc/passwd",
        "x/../../../canary.yaml",
        "../../*.yaml",
        "../../**",
        &absolute,
        &format!("/{absolute}"),
        "/etc/passwd",
        "/../canary.yaml",
        &format!("file://{absolute}"),
        &format!("FILE://{absolute}"),
        "file:///etc/passwd",
        "http:../../canary.yaml",
        "%2e%2e/%2e%2e/canary.yaml",
        "..%2f..%2fcanary.yaml",
        "..\\..\\canary.yaml",
        "../../canary.yaml\0.yaml",
        "$ARGOCD_APP_NAME/../../../canary.yaml",
        &long,
    ] {
        for helm in [
            json!({"valueFiles": [file]}),
            json!({"valueFiles": [file], "ignoreMissingValueFiles": true}),
            json!({"fileParameters": [{"name": "a", "path": file}]}),
        ] {
            match place.render(helm.clone()) {
                Err(error) => assert!(!error.to_string().contains("tweet"), "{helm}: {error}"),
                // A file that is not in the repository, and need not be.
                Ok(manifests) => {
                    assert_eq!(helm["ignoreMissingValueFiles"], json!(true), "{helm}");
                    assert_eq!(all(&manifests), json!({}), "{helm}");
                }
            }
        }
    }
    let mut request = place.request(json!({}));
    for path in ["../..", "/etc", "chart/../../x", "chart\0"] {
        request.source.path = Some(path.to_owned());
        assert!(render(&request).is_err(), "{path}");
    }
    // Nor does Helm itself reach one through the parameters.
    let jailed = place.render(json!({"parameters": [{"name": "a", "value": absolute}]})).unwrap();
    assert_eq!(all(&jailed)["a"], absolute.as_str());
}

/// S-05: a symbolic link that leads out is refused as values, as `$ref` values, in the chart and in a dependency.
#[test]
fn s_05_links_out_of_the_repository_are_refused() {
    let canary = tempfile::tempdir().unwrap();
    fs::write(canary.path().join("canary.yaml"), "bird: tweet-canary\n").unwrap();
    let target = canary.path().join("canary.yaml");
    let link = |place: &Place, path: &str, target: &Path| {
        let path = place.root.path().join("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    let refused = |error: RenderError| {
        let error = error.to_string();
        assert!(error.contains("leads out of the repository") && !error.contains("tweet"), "{error}");
    };
    let chart = || Place::of(&[("chart/Chart.yaml", CHART), ("chart/templates/all.yaml", ALL)]);
    let place = chart();
    link(&place, "values/out.yaml", &target);
    refused(place.render(json!({"valueFiles": ["../values/out.yaml"]})).unwrap_err());
    refused(place.render(json!({"valueFiles": ["../values/*.yaml"]})).unwrap_err());
    refused(place.render(json!({"fileParameters": [{"name": "a", "path": "/values/out.yaml"}]})).unwrap_err());
    let clean = chart();
    let mut request = clean.request(json!({"valueFiles": ["$v/values/out.yaml"]}));
    let tree = Tree::of_directory(place.root.path().join("repo"));
    request.refs.insert("v".to_owned(), RefTree { repo_url: String::new(), revision: String::new(), tree });
    refused(render(&request).unwrap_err());
    for path in ["chart/values.yaml", "chart/templates/x.yaml", "chart/charts/child", "chart/files/deep/x"] {
        let place = chart();
        link(&place, path, if path.ends_with("child") { canary.path() } else { &target });
        refused(place.render(json!({})).unwrap_err());
    }
    let place = Place::of(&[
        (
            "chart/Chart.yaml",
            &format!("{CHART}dependencies:\n- {{name: lib, version: 0.1.0, repository: \"file://../lib\"}}\n"),
        ),
        ("lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 0.1.0\n"),
    ]);
    link(&place, "lib/values.yaml", &target);
    refused(place.render(json!({})).unwrap_err());
    // One that stays inside is followed.
    let place = chart();
    place.write("shared/values.yaml", "inside: true\n");
    link(&place, "chart/values.yaml", Path::new("../shared/values.yaml"));
    assert_eq!(all(&place.render(json!({})).unwrap()), json!({"inside": true}));
}

/// S-06: a `file://` dependency outside of the repository is refused; inside it is packed.
#[test]
fn s_06_dependencies_outside_of_the_repository_are_refused() {
    let outside = |repository: &str| {
        let chart = format!("{CHART}dependencies:\n- {{name: lib, version: 0.1.0, repository: \"{repository}\"}}\n");
        let place = Place::of(&[("chart/Chart.yaml", &chart), ("chart/templates/all.yaml", ALL)]);
        let lib = place.root.path().join("lib");
        fs::create_dir_all(lib.join("templates")).unwrap();
        fs::write(lib.join("Chart.yaml"), "apiVersion: v2\nname: lib\nversion: 0.1.0\n").unwrap();
        fs::write(lib.join("templates/x.yaml"), "bird: tweet-canary\n").unwrap();
        place
    };
    for repository in
        ["file://../../lib", "file://../../../../../../../../../etc", "file:///etc", "file://x/../../../lib"]
    {
        let error = outside(repository).render(json!({})).unwrap_err().to_string();
        assert!(error.contains("leads out of the repository"), "{repository}: {error}");
    }
    let place = outside("");
    let absolute = format!("file://{}", place.root.path().join("lib").display());
    let error = outside(&absolute).render(json!({})).unwrap_err().to_string();
    assert!(error.contains("leads out of the repository"), "{error}");
    for (repository, want) in [
        ("file://%2e%2e/%2e%2e/lib", "no such file or directory"),
        ("ftp://example.org", "a repository of Chart.yaml is https://"),
        ("/etc", "a repository of Chart.yaml is https://"),
        ("@gone", "no repository definition for @gone"),
    ] {
        let error = outside(repository).render(json!({})).unwrap_err().to_string();
        assert!(error.contains(want), "{repository}: {error}");
    }
    let chart =
        format!("{CHART}dependencies:\n- {{name: ../../x, version: 0.1.0, repository: \"https://example.org\"}}\n");
    let error = Place::of(&[("chart/Chart.yaml", &chart)]).render(json!({})).unwrap_err().to_string();
    assert!(error.contains("the name of a chart is wanted"), "{error}");
}

/// A chart that wants `child` from a repository.
fn wanting(repository: &str, version: &str) -> String {
    format!(
        "{CHART}dependencies:\n- {{name: child, version: \"{version}\", repository: \"{repository}\", alias: renamed}}\n"
    )
}

const CHILD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Chart.Name }}-{{ .Chart.Version }}\n";

fn child_names(manifests: &[Value]) -> Vec<&str> {
    manifests.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect()
}

#[test]
fn dependencies_come_from_repositories_with_their_credentials_and_only_once() {
    let shop = Shop::guarded("reader", "hunter2-canary");
    for version in ["1.0.0", "1.4.0", "2.0.0"] {
        shop.chart("child", version, &packed_chart("child", version, &[("templates/cm.yaml", CHILD)]));
    }
    let secret =
        json!({"url": shop.url(), "type": "helm", "name": "shop", "username": "reader", "password": "hunter2-canary"});
    let place = Place::of(&[("chart/Chart.yaml", &wanting(&shop.url(), "^1.0.0"))]);
    let error = place.render(json!({})).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("/index.yaml"), "nobody without credentials: {error}");
    let with = |place: &Place| {
        let data: BTreeMap<String, String> = serde_json::from_value(secret.clone()).unwrap();
        let repository = tako_engine::repository::Repository::from_data(&data).unwrap();
        let mut request = place.request(json!({}));
        request.repositories = Repositories::new(vec![repository], Vec::new());
        request
    };
    for helm in HELMS {
        let mut request = with(&place);
        request.settings.tools.helm = Some(testing::program(helm));
        assert_eq!(child_names(&render(&request).unwrap().manifests), ["renamed-1.4.0"]);
    }
    assert_eq!(shop.asked("/child-1.4.0.tgz"), 1, "the second render has it already");
    place.write("chart/Chart.yaml", &wanting("@shop", "1.x"));
    assert_eq!(child_names(&render(&with(&place)).unwrap().manifests), ["renamed-1.4.0"]);
    // What an old build left in charts/ gives way when the chart wants another; what fits is taken as it is.
    fs::create_dir_all(place.root.path().join("repo/chart/charts")).unwrap();
    fs::write(
        place.root.path().join("repo/chart/charts/child-1.0.0.tgz"),
        packed_chart("child", "1.0.0", &[("templates/cm.yaml", CHILD)]),
    )
    .unwrap();
    assert_eq!(child_names(&render(&with(&place)).unwrap().manifests), ["renamed-1.0.0"]);
    place.write("chart/Chart.yaml", &wanting(&shop.url(), "^3"));
    fs::remove_dir_all(place.root.path().join("repo/chart/charts")).unwrap();
    let error = render(&with(&place)).unwrap_err().to_string();
    assert!(error.contains("chart child: no version in") && error.contains("^3"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_lock_is_kept_to_and_one_that_does_not_fit_is_an_error() {
    let shop = Shop::new();
    for version in ["1.0.0", "1.4.0"] {
        shop.chart("child", version, &packed_chart("child", version, &[("templates/cm.yaml", CHILD)]));
    }
    let chart = wanting(&shop.url(), ">=1.0.0 <2.0.0 || 9.x");
    for (helm, api) in [("helm3", "v2"), ("helm", "v2"), ("helm", "v1")] {
        let place = Place::of(&[]);
        let (head, requirements) = chart.split_once("dependencies:").unwrap();
        let requirements = format!("dependencies:{requirements}");
        if api == "v1" {
            place.write("chart/Chart.yaml", &head.replace("v2", "v1"));
            place.write("chart/requirements.yaml", &requirements);
        } else {
            place.write("chart/Chart.yaml", &chart);
        }
        // The lock is Helm's own; then a newer version comes out.
        let home = tempfile::tempdir().unwrap();
        let status = Command::new(testing::program(helm))
            .args(["dependency", "update"])
            .current_dir(place.root.path().join("repo/chart"))
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        fs::remove_dir_all(place.root.path().join("repo/chart/charts")).unwrap();
        shop.chart("child", "1.9.0", &packed_chart("child", "1.9.0", &[("templates/cm.yaml", CHILD)]));
        assert_eq!(child_names(&place.render(json!({})).unwrap()), ["renamed-1.4.0"], "{helm} {api}");
        let (file, text) =
            if api == "v1" { ("requirements.yaml", requirements) } else { ("Chart.yaml", chart.clone()) };
        place.write(&format!("chart/{file}"), &text.replace("9.x", "8.x"));
        let error = place.render(json!({})).unwrap_err().to_string();
        assert!(error.contains("is out of sync with the dependencies file"), "{helm} {api}: {error}");
        shop.remove("child", "1.9.0");
    }
}

/// S-48, S-49: the credentials of a registry are in no error and on no command line.
#[test]
fn s_48_dependencies_come_from_registries_without_telling_the_password() {
    let registry = Registry::start();
    registry.push_chart("charts/child", "1.2.0", &packed_chart("child", "1.2.0", &[("templates/cm.yaml", CHILD)]));
    let place =
        Place::of(&[("chart/Chart.yaml", &wanting(&format!("oci://{}/charts", registry.host()), "~1.1 || ~1.2"))]);
    let mut request = place.request(json!({}));
    request.repositories = Repositories::new(vec![registry.repository("other", "hunter2-wrong")], Vec::new());
    let error = render(&request).unwrap_err().to_string();
    assert!(error.contains("401") && !error.contains("hunter2"), "{error}");
    request.repositories = Repositories::new(vec![registry.repository("other", registry.password())], Vec::new());
    let made = render(&request).unwrap();
    assert_eq!(child_names(&made.manifests), ["renamed-1.2.0"]);
    assert!(!format!("{made:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_with_the_tool_is_said() {
    let place = Place::of(&[("chart/Chart.yaml", CHART), ("other/x", "")]);
    let mut request = place.request(json!({}));
    request.source.path = Some("other".to_owned());
    assert!(render(&request).unwrap_err().to_string().contains("other: Chart.yaml file is missing"));
    let old = place.root.path().join("helm2");
    fs::write(&old, "#!/bin/sh\necho v2.17.0\n").unwrap();
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    request.settings.tools.helm = Some(old);
    assert!(render(&request).unwrap_err().to_string().contains("helm has version v2.17.0; Helm 3 or 4 is wanted"));
    request.settings.tools.helm = Some("/no/such/helm".into());
    assert!(render(&request).unwrap_err().to_string().contains("/no/such/helm cannot be started"));
    // A chart that runs for ever is ended.
    let place = Place::of(&[
        ("chart/Chart.yaml", CHART),
        ("chart/templates/x.yaml", "{{- range until 100000 }}{{- range until 100000 }}{{- end }}{{- end }}"),
    ]);
    let mut request = place.request(json!({}));
    request.settings.exec_timeout = std::time::Duration::from_secs(1);
    let error = render(&request).unwrap_err().to_string();
    assert!(error.contains("failed timeout after 1s"), "{error}");
}

/// What the jail, the export and the parsing cost beside Helm itself. `cargo test --release -p tako-sources measure -- --ignored`.
#[test]
#[ignore = "measures; wants a quiet machine and a release build"]
fn measure_the_cost_over_the_bare_tool() {
    use std::io::Write as _;
    use std::time::{Duration, Instant};
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/helm"));
    let scratch = tempfile::tempdir().unwrap();
    for name in ["plain", "subchart", "big"] {
        let case = corpus.join(name);
        for helm in HELMS {
            let mut request = request(&case, scratch.path(), json!({}));
            request.settings.tools.helm = Some(testing::program(helm));
            let bare = || {
                let mut command = Command::new(testing::program(helm));
                command.args(["template", "app", ".", "--namespace", "apps", "--include-crds"]);
                command.current_dir(case.join("chart")).env_clear().env("HOME", scratch.path()).output().unwrap()
            };
            bare();
            render(&request).unwrap();
            let (mut theirs, mut ours) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..20 {
                let started = Instant::now();
                assert!(bare().status.success());
                theirs += started.elapsed();
                let started = Instant::now();
                render(&request).unwrap();
                ours += started.elapsed();
            }
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            let line = format!("{name} {helm}: bare {:?}, ours {:?}, {ratio:.3}\n", theirs / 20, ours / 20);
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    }
}

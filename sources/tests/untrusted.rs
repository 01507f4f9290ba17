//! Repositories that mean harm: what they try is refused by name (research/pains.md, the S-numbers), and nothing of what they are
//! after is in an answer or an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#[path = "../src/testing.rs"]
mod testing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tako_engine::repository::Repositories;
use tako_sources::render::render;
use tako_sources::request::{AppInfo, ClusterInfo, RenderError, Rendered, Request};
use tako_sources::settings::RenderSettings;
use tako_sources::tree::Tree;
use testing::program;

const CANARY: &str = "canary-5d1f";

/// A repository beside a file that nobody may read.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        fs::write(place.root.path().join("canary.yaml"), object(CANARY)).unwrap();
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &Path) {
        let path = self.repository().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn repository(&self) -> PathBuf {
        self.root.path().join("repo")
    }

    fn canary(&self) -> PathBuf {
        self.root.path().join("canary.yaml")
    }

    fn request(&self, source: Value) -> Request {
        let mut settings = RenderSettings { exec_timeout: Duration::from_secs(20), ..RenderSettings::default() };
        settings.tools.kustomize = Some(program("kustomize"));
        settings.tools.helm = Some(program("helm"));
        settings.tools.jsonnet = Some(PathBuf::from(env!("CARGO_BIN_EXE_jsonnet-worker")));
        let mut whole = json!({"repoURL": "https://git.example.com/org/repo", "path": "."});
        whole.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        Request {
            app: AppInfo { name: "demo".to_owned(), project: "default".to_owned(), ..AppInfo::default() },
            source: serde_json::from_value(whole).unwrap(),
            revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            tree: Tree::of_directory(self.repository()),
            refs: BTreeMap::new(),
            cluster: ClusterInfo::default(),
            settings,
            repositories: Repositories::default(),
            sops: None,
            scratch: self.root.path().join("scratch"),
        }
    }

    fn render(&self, source: Value) -> Result<Rendered, RenderError> {
        render(&self.request(source))
    }

    /// Refused, with these words and without the canary; nothing is left behind.
    fn refuses(&self, source: Value, words: &str) {
        self.refuses_request(&self.request(source), words);
    }

    fn refuses_request(&self, request: &Request, words: &str) {
        let error = match render(request) {
            Ok(rendered) => panic!("{words}: it was rendered: {:?}", rendered.manifests),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(words), "{words:?} is not in {error:?}");
        assert!(!error.contains(CANARY), "{error}");
        let left = fs::read_dir(self.root.path().join("scratch")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a jail is left");
    }
}

fn object(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

fn jsonnet(files: &[(&str, &str)], program: &str, words: &str) {
    let place = Place::new(files);
    place.write("main.jsonnet", program);
    place.refuses(json!({}), words);
}

#[test]
fn s_07_jsonnet_imports_nothing_from_outside() {
    let object = "{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { x: THE } }";
    for path in ["/etc/passwd", "/proc/self/environ", "../canary.yaml", "a/../../canary.yaml", "./../canary.yaml"] {
        for import in ["import", "importstr", "importbin"] {
            let program = object.replace("THE", &format!("{import} '{path}'"));
            jsonnet(&[], &program, "leads out of the repository");
        }
    }
    // Through a link to a file, to a directory, and from a file that is itself imported.
    let place = Place::new(&[("main.jsonnet", &object.replace("THE", "importstr 'link'"))]);
    place.link("link", &place.canary());
    place.refuses(json!({}), "leads out of the repository");
    let place = Place::new(&[("main.jsonnet", &object.replace("THE", "importstr 'dir/canary.yaml'"))]);
    place.link("dir", place.root.path());
    place.refuses(json!({}), "leads out of the repository");
    let place = Place::new(&[
        ("main.jsonnet", &object.replace("THE", "import 'lib/a.libsonnet'")),
        ("lib/a.libsonnet", "importstr '../../canary.yaml'"),
    ]);
    place.refuses(json!({}), "leads out of the repository");
}

#[test]
fn s_07_jsonnet_libraries_and_variables_stay_inside() {
    let main = "{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { x: std.extVar('x') } }";
    let place = Place::new(&[("main.jsonnet", main), ("sub/x", "inside")]);
    for lib in ["..", "/etc", "sub/../.."] {
        place.refuses(json!({"directory": {"jsonnet": {"libs": [lib]}}}), "leads out of the repository");
    }
    place.link("vendor", place.root.path());
    place.refuses(json!({"directory": {"jsonnet": {"libs": ["vendor"]}}}), "leads out of the repository");
    fs::remove_file(place.repository().join("vendor")).unwrap();
    let variable = |code: &str, libs: &[&str]| json!({"directory": {"jsonnet": {"libs": libs, "extVars": [{"name": "x", "value": code, "code": true}]}}});
    for code in ["importstr '../canary.yaml'", "importstr '/etc/passwd'"] {
        place.refuses(variable(code, &[]), "leads out of the repository");
    }
    let rendered = place.render(variable("importstr 'x'", &["sub"])).unwrap();
    assert_eq!(rendered.manifests[0]["data"]["x"], "inside");
}

#[test]
fn s_12_jsonnet_that_does_not_end_is_ended() {
    let place = Place::new(&[("main.jsonnet", "local f(x) = if x < 0 then x else f(x + 1) tailstrict; f(0)")]);
    let mut request = place.request(json!({}));
    request.settings.exec_timeout = Duration::from_secs(1);
    let started = Instant::now();
    let error = render(&request).unwrap_err().to_string();
    assert!(error.contains("timeout") || error.contains("max stack frames exceeded"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(15));
    let place = Place::new(&[("main.jsonnet", "std.foldl(function(a, b) a + b, std.range(1, 100000000), 0)")]);
    let mut request = place.request(json!({}));
    request.settings.exec_timeout = Duration::from_secs(2);
    place.refuses_request(&request, "main.jsonnet");
    jsonnet(&[], "local f(x) = 1 + f(x + 1); f(0)", "max stack frames exceeded");
    jsonnet(&[], &format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000)), "");
}

#[test]
fn s_08_remote_bases_cannot_be_options_or_programs() {
    for (reference, words) in [
        ("https://git.example.com/org/repo?ref=--upload-pack=touch%20x", "the name of a branch"),
        ("ext::sh -c touch% x", "it is refused"),
        ("git@-oProxyCommand=x:org/repo", "a host is wanted"),
        ("file:///etc", "https, http and ssh"),
    ] {
        let quoted = serde_json::to_string(reference).unwrap();
        for field in ["resources", "bases", "components", "crds", "generators"] {
            let place = Place::new(&[("kustomization.yaml", &format!("{field}: [{quoted}]\n"))]);
            place.refuses(json!({}), words);
        }
        // In a base, a patch, and in what the Application says.
        let place = Place::new(&[
            ("kustomization.yaml", "resources: [base]\n"),
            ("base/kustomization.yaml", &format!("patches: [{{path: {quoted}}}]\n")),
        ]);
        place.refuses(json!({}), words);
        let place = Place::new(&[("kustomization.yaml", "resources: []\n")]);
        place.refuses(json!({"kustomize": {"components": [reference]}}), words);
    }
}

#[test]
fn s_04_kustomize_reads_nothing_from_outside() {
    let none = "--load-restrictor LoadRestrictionsNone";
    for kustomization in [
        "resources: [../canary.yaml]\n",
        "resources: [/etc/passwd]\n",
        "configMapGenerator: [{name: a, files: [../canary.yaml]}]\n",
        "configMapGenerator: [{name: a, files: [x=/proc/self/environ]}]\n",
        "secretGenerator: [{name: a, envs: [/proc/self/environ]}]\n",
        "patches: [{path: ../canary.yaml}]\n",
        "replacements: [{path: ../canary.yaml}]\n",
        "openapi: {path: /etc/passwd}\n",
        "generators: [\"{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: a}, files: [/proc/self/environ]}\"]\n",
        "generators: [g.yaml]\n",
        "helmCharts: [{name: x, valuesFile: /proc/self/environ}]\n",
        "helmCharts: [{name: x}]\nhelmGlobals: {chartHome: ../}\n",
    ] {
        let place = Place::new(&[
            ("kustomization.yaml", kustomization),
            ("g.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: a}\npath: ../canary.yaml\n"),
        ]);
        let mut request = place.request(json!({}));
        for options in ["", none] {
            request.settings.kustomize_build_options = options.to_owned();
            place.refuses_request(&request, "leads out of the repository");
        }
    }
    for (link, kustomization) in [
        ("cm.yaml", "resources: [cm.yaml]\n"),
        ("base", "resources: [base]\n"),
        ("base", "resources: [base/canary.yaml]\n"),
    ] {
        let place = Place::new(&[("kustomization.yaml", kustomization)]);
        let target = if link == "base" { place.root.path().to_owned() } else { place.canary() };
        place.link(link, &target);
        place.refuses(json!({}), "leads out of the repository");
    }
    // The kustomization itself.
    let place = Place::new(&[("README", "")]);
    place.link("kustomization.yaml", &place.canary());
    place.refuses(json!({}), "leads out of the repository");
}

/// A plugin that a repository brings for helm, where `helmGlobals.configHome` would have helm look.
#[test]
fn s_09_a_kustomization_brings_helm_no_plugins() {
    let place = Place::new(&[
        (
            "kustomization.yaml",
            "helmCharts: [{name: c, releaseName: r}]\nhelmGlobals: {chartHome: charts, configHome: ./evil}\n",
        ),
        ("charts/c/Chart.yaml", "{apiVersion: v2, name: c, version: 0.1.0}\n"),
        ("charts/c/values.yaml", "{}\n"),
        ("charts/c/templates/cm.yaml", &object("from-chart")),
        (
            "evil/.data/plugins/p/plugin.yaml",
            "name: p\nversion: 0.1.0\ncommand: \"$HELM_PLUGIN_DIR/run\"\ndownloaders: [{command: run, protocols: [evil]}]\n",
        ),
        ("evil/.data/plugins/p/run", "#!/bin/sh\ntouch \"$HELM_PLUGIN_DIR/../../../../ran\"\n"),
    ]);
    let run = place.repository().join("evil/.data/plugins/p/run");
    fs::set_permissions(run, fs::Permissions::from_mode(0o755)).unwrap();
    let mut request = place.request(json!({}));
    request.settings.kustomize_build_options = "--enable-helm".to_owned();
    let rendered = render(&request).unwrap();
    assert_eq!(rendered.manifests[0]["metadata"]["name"], "from-chart");
    // A chart repository with the plugin's own scheme.
    for (field, value, words) in [
        ("repo", "evil://x", "not fetched by evil"),
        ("repo", "file:///etc", "not fetched by file"),
        ("releaseName", "--post-renderer=/bin/sh", "would be an option of helm"),
        ("name", "--post-renderer=/bin/sh", "would be an option of helm"),
        ("version", "--plugin", "would be an option of helm"),
    ] {
        let mut chart = json!({"name": "absent", "releaseName": "r"});
        chart[field] = json!(value);
        place.write("kustomization.yaml", &json!({"helmCharts": [chart]}).to_string());
        place.refuses_request(&request, words);
    }
}

/// Only the options of the installation let a program of a repository run.
#[test]
fn s_09_programs_of_a_repository_run_only_when_the_options_say_so() {
    let place = Place::new(&[
        ("kustomization.yaml", "resources: [cm.yaml]\ntransformers: [t.yaml]\n"),
        ("cm.yaml", &object("a")),
        (
            "t.yaml",
            "apiVersion: x\nkind: Y\nmetadata: {name: a, annotations: {config.kubernetes.io/function: \"exec: {path: ./run}\"}}\n",
        ),
        ("run", "#!/bin/sh\ncat\n"),
    ]);
    fs::set_permissions(place.repository().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    place.refuses(json!({}), "plugins");
    // With the options it runs: that is what they are for.
    let mut request = place.request(json!({}));
    request.settings.kustomize_build_options = "--enable-alpha-plugins --enable-exec".to_owned();
    let rendered = render(&request).map_err(|error| error.to_string());
    assert!(rendered.is_ok(), "{rendered:?}");
    assert!(rendered.unwrap().inputs.contains(""), "what a plugin reads is not known");
}

#[test]
fn s_12_yaml_that_is_made_to_be_large_is_refused_or_small() {
    let mut bomb = object("a");
    bomb.push_str("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let deep = format!("{}x: {}{}\n", object("a"), "[".repeat(100_000), "]".repeat(100_000));
    let million = format!("{}{}", "---\n".repeat(1_000_000), object("last"));
    let big = format!("{}x: {}\n", object("a"), "y".repeat(11 << 20));
    for (text, words) in [(bomb, "excessive aliasing"), (deep, "nested deeper"), (big, "more than the")] {
        let place = Place::new(&[("a.yaml", &text)]);
        let started = Instant::now();
        place.refuses(json!({}), words);
        assert!(started.elapsed() < Duration::from_secs(20), "{words}: {:?}", started.elapsed());
    }
    let started = Instant::now();
    assert_eq!(Place::new(&[("a.yaml", &million)]).render(json!({})).unwrap().manifests.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let many: String = (0..20_000)
        .map(|number| format!("---\n{{apiVersion: v1, kind: C, metadata: {{name: c{number}}}}}\n"))
        .collect();
    let place = Place::new(&[("a.yaml", &many)]);
    assert_eq!(place.render(json!({})).unwrap().manifests.len(), 20_000);
    let mut request = place.request(json!({}));
    request.settings.directory_bytes_max = 1000;
    place.refuses_request(&request, "more than 1000 bytes together");
}

#[test]
fn the_size_of_a_directory_counts_what_is_taken() {
    let filler = format!("{}# {}\n", object("b"), "x".repeat(5000));
    let place = Place::new(&[
        ("a.yaml", &object("a")),
        ("b.yaml", &filler.replacen('#', "# +argocd:skip-file-rendering", 1)),
        ("c.txt", &filler),
        ("d.yaml", &filler),
        ("e.jsonnet", "{apiVersion: 'v1', kind: 'C', metadata: {name: 'e'}} // ".to_owned().as_str()),
    ]);
    let mut request = place.request(json!({"directory": {"exclude": "d.yaml"}}));
    request.settings.directory_bytes_max = 1000;
    assert_eq!(render(&request).unwrap().manifests.len(), 2);
    request.source = serde_json::from_value(json!({"repoURL": "r", "path": "."})).unwrap();
    place.refuses_request(&request, "more than 1000 bytes together");
}

#[test]
fn a_version_of_kustomize_that_nobody_registered_is_named() {
    let place = Place::new(&[("kustomization.yaml", "resources: [cm.yaml]\n"), ("cm.yaml", &object("a"))]);
    place.refuses(json!({"kustomize": {"version": "v9"}}), "kustomize version v9 is not registered");
    let mut request = place.request(json!({"kustomize": {"version": "v9", "namePrefix": "p-"}}));
    request.settings.kustomize_paths.insert("v9".to_owned(), program("kustomize"));
    request.settings.tools.kustomize = Some(PathBuf::from("/no/such/kustomize"));
    let rendered = render(&request).unwrap();
    assert_eq!(rendered.manifests[0]["metadata"]["name"], "p-a");
    assert_eq!(rendered.commands, ["kustomize edit set nameprefix -- p-", "kustomize build ."]);
}

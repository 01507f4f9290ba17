//! Bases of other repositories, from a real git server that asks for credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#[path = "../src/testing.rs"]
mod testing;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::json;
use tako_engine::repository::{Repositories, Repository};
use tako_sources::render::render;
use tako_sources::request::{AppInfo, ClusterInfo, Request};
use tako_sources::settings::RenderSettings;
use tako_sources::tree::Tree;
use testing::program;

const PASSWORD: &str = "hunter2-of-git";

fn git(directory: &Path, args: &[&str]) {
    let said = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A repository below `root` with one commit on `main`.
fn repository(root: &Path, name: &str, files: &[(&str, &str)]) {
    let at = root.join(name);
    for (path, text) in files {
        let path = at.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    git(&at, &["init", "-q"]);
    git(&at, &["add", "-A"]);
    git(&at, &["commit", "-qm", "one"]);
}

/// `git http-backend` behind HTTP with basic authentication: its port.
fn serve(root: PathBuf) -> u16 {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let port = server.server_addr().to_ip().unwrap().port();
    thread::spawn(move || {
        for mut request in server.incoming_requests() {
            let header = |name: &str| {
                let found = request.headers().iter().find(|header| header.field.to_string().eq_ignore_ascii_case(name));
                found.map(|header| header.value.to_string()).unwrap_or_default()
            };
            // base64 of `user:` and the password.
            if header("authorization") != "Basic dXNlcjpodW50ZXIyLW9mLWdpdA==" {
                let ask = tiny_http::Header::from_bytes("WWW-Authenticate", "Basic realm=\"x\"").unwrap();
                let _ = request.respond(tiny_http::Response::empty(401).with_header(ask));
                continue;
            }
            let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
            let mut backend = Command::new("git")
                .arg("http-backend")
                .env("GIT_PROJECT_ROOT", &root)
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("PATH_INFO", path)
                .env("QUERY_STRING", query)
                .env("REQUEST_METHOD", request.method().to_string())
                .env("CONTENT_TYPE", header("content-type"))
                .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
                .env("GIT_PROTOCOL", header("git-protocol"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut body = Vec::new();
            request.as_reader().read_to_end(&mut body).unwrap();
            let _ = backend.stdin.take().unwrap().write_all(&body);
            let answer = backend.wait_with_output().unwrap().stdout;
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            let mut response = tiny_http::Response::from_data(answer[(end + 4).min(answer.len())..].to_vec());
            for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
                if name == "Status" {
                    response = response.with_status_code(value[..3].parse::<u16>().unwrap());
                } else {
                    response.add_header(tiny_http::Header::from_bytes(name, value).unwrap());
                }
            }
            let _ = request.respond(response);
        }
    });
    port
}

struct Place {
    root: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let served = root.path().join("served");
        repository(
            &served,
            "org/bases",
            &[
                ("plain/kustomization.yaml", "resources: [cm.yaml]\n"),
                ("plain/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\n"),
            ],
        );
        let port = serve(served.clone());
        repository(
            &served,
            "org/evil",
            &[(
                "kustomization.yaml",
                &format!(
                    "resources: ['http://127.0.0.1:{port}/org/bases//plain?ref=--upload-pack=touch%20/tmp/tako-was-here']\n"
                ),
            )],
        );
        fs::create_dir_all(root.path().join("repo")).unwrap();
        Self { root, port }
    }

    fn request(&self, reference: &str, password: &str) -> Request {
        let kustomization = json!({"namePrefix": "p-", "resources": [reference]}).to_string();
        fs::write(self.root.path().join("repo/kustomization.yaml"), kustomization).unwrap();
        let template = BTreeMap::from([
            ("url".to_owned(), format!("http://127.0.0.1:{}/org", self.port)),
            ("username".to_owned(), "user".to_owned()),
            ("password".to_owned(), password.to_owned()),
        ]);
        let mut settings = RenderSettings::default();
        settings.tools.kustomize = Some(program("kustomize"));
        Request {
            app: AppInfo { name: "demo".to_owned(), project: "default".to_owned(), ..AppInfo::default() },
            source: serde_json::from_value(json!({"repoURL": "https://git.example.com/org/repo", "path": "."}))
                .unwrap(),
            revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            tree: Tree::of_directory(self.root.path().join("repo")),
            refs: BTreeMap::new(),
            cluster: ClusterInfo::default(),
            settings,
            repositories: Repositories::new(Vec::new(), vec![Repository::from_data(&template).unwrap()]),
            sops: None,
            scratch: self.root.path().join("scratch"),
        }
    }
}

#[test]
fn a_base_of_another_repository_is_built_with_its_credentials() {
    let place = Place::new();
    for reference in ["org/bases//plain?ref=main", "org/bases/plain"] {
        let request = place.request(&format!("http://127.0.0.1:{}/{reference}", place.port), PASSWORD);
        let rendered = render(&request).unwrap();
        assert_eq!(rendered.manifests[0]["metadata"]["name"], "p-far", "{reference}");
        assert!(!rendered.inputs.contains(""), "the own repository is not read as a whole");
    }
}

#[test]
fn s_49_wrong_credentials_are_an_error_without_them() {
    let place = Place::new();
    let reference = format!("http://127.0.0.1:{}/org/bases//plain?ref=main", place.port);
    let error = render(&place.request(&reference, "wrong-secret")).unwrap_err().to_string();
    assert!(!error.contains("wrong-secret"), "{error}");
    assert!(error.contains("127.0.0.1"), "{error}");
}

#[test]
fn s_08_a_reference_in_a_remote_base_is_no_option_either() {
    let place = Place::new();
    let reference = format!("http://127.0.0.1:{}/org/evil//.?ref=main", place.port);
    let error = render(&place.request(&reference, PASSWORD)).unwrap_err().to_string();
    assert!(error.contains("would be an option; it is refused"), "{error}");
    assert!(!error.contains(PASSWORD) && !Path::new("/tmp/tako-was-here").exists(), "{error}");
}

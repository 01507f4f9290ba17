//! A real registry (distribution), with a password.
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tako_engine::repository::RepositoryType;

use super::*;
use crate::charts::Charts;
use crate::charts::tests::{archive, packed_chart, plain};
use crate::testing;

const PASSWORD: &str = "hunter2-canary";

/// The registry.
pub(crate) struct Registry {
    process: Child,
    port: u16,
    _root: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // The password above, by bcrypt.
        std::fs::write(
            root.path().join("htpasswd"),
            "reader:$2b$05$abcdefghijklmnopqrstuuVg6uW7bHRPWZkTPjmKIf1dSrkXmege.\n",
        )
        .unwrap();
        let at = root.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{at}/data'}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: test, path: '{at}/htpasswd'}}}}\n"
        );
        std::fs::write(root.path().join("config.yml"), config).unwrap();
        let process = Command::new(testing::program("registry"))
            .arg("serve")
            .arg(root.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, port, _root: root };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A Helm repository in it, as a Secret describes it.
    pub(crate) fn repository(&self, path: &str, password: &str) -> Repository {
        Repository {
            url: format!("{}/{path}", self.host()),
            kind: RepositoryType::Helm,
            enable_oci: true,
            insecure_oci_force_http: true,
            username: "reader".to_owned(),
            password: password.into(),
            ..Repository::default()
        }
    }

    /// An artifact in it.
    fn artifact(&self, path: &str) -> Repository {
        let url = format!("oci://{}/{path}", self.host());
        Repository { url, kind: RepositoryType::Oci, enable_oci: false, ..self.repository("", PASSWORD) }
    }

    fn send(&self, request: reqwest::blocking::RequestBuilder) -> reqwest::blocking::Response {
        let answer = request.basic_auth("reader", Some(PASSWORD)).send().unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer
    }

    /// Pushes layers under a tag; answers the digest of the manifest.
    fn push(&self, name: &str, tag: &str, config: &str, layers: &[(&str, &[u8])]) -> String {
        let http = client();
        let base = format!("http://{}/v2/{name}", self.host());
        let blob = |bytes: &[u8]| {
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
            let begun = self.send(http.post(format!("{base}/blobs/uploads/")));
            let place = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if place.contains('?') { '&' } else { '?' };
            self.send(http.put(format!("{place}{separator}digest={digest}")).body(bytes.to_vec()));
            serde_json::json!({"digest": digest, "size": bytes.len()})
        };
        let described = |media: &str, bytes: &[u8]| {
            let mut blob = blob(bytes);
            blob["mediaType"] = media.into();
            blob
        };
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media,
            "config": described(config, b"{}"),
            "layers": layers.iter().map(|(media, bytes)| described(media, bytes)).collect::<Vec<_>>(),
        })
        .to_string();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(manifest.as_bytes())));
        self.send(http.put(format!("{base}/manifests/{tag}")).header("content-type", media).body(manifest));
        digest
    }

    pub(crate) fn push_chart(&self, name: &str, version: &str, archive: &[u8]) -> String {
        self.push(name, &version.replace('+', "_"), CHART_CONFIG, &[(CHART_LAYER, archive)])
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client() -> reqwest::blocking::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::new()
}

const TAR_GZ: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

fn open() -> (tempfile::TempDir, Artifacts) {
    let root = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(root.path()).unwrap();
    (root, artifacts)
}

#[test]
fn an_artifact_is_resolved_and_fetched() {
    let registry = Registry::start();
    let files = |text: &str| {
        archive(|tar| {
            plain(tar, "./apps/a.yaml", text.as_bytes());
            plain(tar, "README", b"read me");
        })
    };
    let old = registry.push("org/config", "1.0.0", EMPTY, &[(TAR_GZ, &files("old: 1\n"))]);
    let new = registry.push("org/config", "1.4.0", EMPTY, &[(TAR_GZ, &files("new: 1\n"))]);
    registry.push("org/config", "main", EMPTY, &[(TAR_GZ, &files("new: 1\n"))]);
    let (_root, artifacts) = open();
    let (repository, settings) = (registry.artifact("org/config"), RenderSettings::default());
    for (revision, want) in
        [("1.0.0", &old), ("^1", &new), (">=1.0.0 <1.1.0", &old), ("main", &new), (old.as_str(), &old)]
    {
        assert_eq!(&artifacts.resolve(&repository, revision).unwrap(), want, "{revision}");
    }
    let tree = artifacts.fetch(&repository, &new, &settings).unwrap();
    assert_eq!(tree.text("apps/a.yaml").unwrap(), "new: 1\n");
    assert_eq!(tree.files("", true).unwrap(), ["README", "apps/a.yaml"]);
    let mut tags = artifacts.tags(&repository).unwrap();
    tags.sort();
    assert_eq!(tags, ["1.0.0", "1.4.0", "main"]);
    for (revision, want) in
        [("^9", "no tag of"), ("gone", "404"), ("a/../../b", "a tag or a digest"), ("a?b", "a tag or a digest")]
    {
        let error = artifacts.resolve(&repository, revision).unwrap_err().to_string();
        assert!(error.contains(want), "{revision}: {error}");
    }
    drop(registry);
    artifacts.fetch(&repository, &new, &settings).unwrap();
    assert!(artifacts.fetch(&repository, &old, &settings).unwrap_err().is_passing());
}

#[test]
fn an_artifact_has_one_layer_of_a_type_that_is_taken() {
    let registry = Registry::start();
    let chart = packed_chart("demo", "1.0.0+b", &[("values.yaml", "a: 1\n")]);
    let files = archive(|tar| plain(tar, "x", b"x"));
    let (_root, artifacts) = open();
    let mut settings = RenderSettings::default();
    let digest = registry.push_chart("charts/demo", "1.0.0+b", &chart);
    let tree = artifacts.fetch(&registry.artifact("charts/demo"), &digest, &settings).unwrap();
    assert!(tree.is_file("Chart.yaml").unwrap(), "the directory of a chart is taken off");
    let provenance = "application/vnd.cncf.helm.chart.provenance.v1.prov";
    let signed = registry.push("charts/signed", "1", CHART_CONFIG, &[(provenance, b"signed"), (CHART_LAYER, &chart)]);
    assert!(artifacts.fetch(&registry.artifact("charts/signed"), &signed, &settings).is_ok());
    for (name, layers, want) in [
        ("none", &[][..], "exactly one layer is wanted, and it has 0"),
        ("two", &[(TAR_GZ, files.as_slice()), (TAR_GZ, b"other")][..], "exactly one layer is wanted, and it has 2"),
        (
            "odd",
            &[("application/x-evil", files.as_slice())][..],
            "layers of media type application/x-evil are not taken",
        ),
        ("junk", &[(TAR_GZ, b"\x1f\x8bjunk".as_slice())][..], "it is no good archive"),
    ] {
        let digest = registry.push(name, "1", EMPTY, layers);
        let error = artifacts.fetch(&registry.artifact(name), &digest, &settings).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains(name), "{name}: {error}");
    }
    let out = archive(|tar| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "apps/link", "../../etc/passwd").unwrap();
    });
    let digest = registry.push("out", "1", EMPTY, &[(TAR_GZ, &out)]);
    let error = artifacts.fetch(&registry.artifact("out"), &digest, &settings).unwrap_err().to_string();
    assert!(error.contains("leads out of the archive"), "{error}");
    settings.artifact_bytes_max = 10;
    let digest = registry.push("large", "1", EMPTY, &[(TAR_GZ, &files)]);
    let error = artifacts.fetch(&registry.artifact("large"), &digest, &settings).unwrap_err().to_string();
    assert!(error.contains("more than the 10 allowed"), "{error}");
}

#[test]
fn a_chart_comes_from_a_registry() {
    let registry = Registry::start();
    for version in ["0.9.0", "1.0.0+b"] {
        registry.push_chart("charts/demo", version, &packed_chart("demo", version, &[]));
    }
    let root = tempfile::tempdir().unwrap();
    let charts = Charts::open(root.path()).unwrap();
    let repository = registry.repository("charts", PASSWORD);
    assert_eq!(charts.resolve(&repository, "demo", ">=0.1").unwrap(), "1.0.0+b");
    let tree = charts.fetch(&repository, "demo", "1.0.0+b", &RenderSettings::default()).unwrap();
    assert!(tree.text("Chart.yaml").unwrap().contains("1.0.0+b"));
}

/// S-48, S-49: who has no credentials is told so, and who has some does not read them.
#[test]
fn s_48_and_s_49_credentials_are_not_in_errors() {
    let registry = Registry::start();
    registry.push("a", "1", EMPTY, &[(TAR_GZ, &archive(|tar| plain(tar, "x", b"x")))]);
    let (_root, artifacts) = open();
    let nobody = Repository { username: String::new(), password: "".into(), ..registry.artifact("a") };
    let error = artifacts.resolve(&nobody, "1").unwrap_err();
    assert!(error.to_string().contains("wants credentials"), "{error}");
    let wrong = Repository { password: "hunter2-wrong".into(), ..registry.artifact("a") };
    let error = artifacts.resolve(&wrong, "1").unwrap_err();
    assert!(error.to_string().contains("401") && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// S-14: a list of tags ends, though the registry says there is more; and it stays on its host.
#[test]
fn s_14_a_list_of_tags_has_an_end() {
    for (link, want) in [
        ("</v2/a/tags/list?n=1000>; rel=\"next\"", "has no end"),
        ("</v2/a/tags/list?last=N>; rel=\"next\"", "has no end"),
        ("<http://127.0.0.1:1/v2/a/tags/list>; rel=\"next\"", "another host"),
    ] {
        let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let theirs = server.clone();
        let thread = std::thread::spawn(move || {
            for (number, request) in theirs.incoming_requests().enumerate() {
                let link = tiny_http::Header::from_bytes("Link", link.replace('N', &number.to_string())).unwrap();
                let _ = request.respond(tiny_http::Response::from_string("{\"tags\":[\"1.0.0\"]}").with_header(link));
            }
        });
        let repository = Repository {
            url: format!("oci://127.0.0.1:{port}/a"),
            insecure_oci_force_http: true,
            ..Repository::default()
        };
        let error = open().1.resolve(&repository, "^1").unwrap_err().to_string();
        assert!(error.contains(want), "{link}: {error}");
        server.unblock();
        thread.join().unwrap();
    }
}

/// The token authentication of the Docker registry: the registry names a service, which gives a token for one name.
#[test]
fn a_token_is_asked_for_where_the_registry_says() {
    let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let port = server.server_addr().to_ip().unwrap().port();
    let theirs = server.clone();
    let thread = std::thread::spawn(move || {
        for request in theirs.incoming_requests() {
            let sent = request.headers().iter().find(|header| header.field.equiv("Authorization"));
            let sent = sent.map(|header| header.value.to_string()).unwrap_or_default();
            let header = |name: &str, value: String| tiny_http::Header::from_bytes(name, value).unwrap();
            let answer = if request.url() == "/token?service=shop&scope=repository%3Aorg%2Fa%3Apull" {
                assert!(sent.starts_with("Basic "), "{sent}");
                tiny_http::Response::from_string("{\"token\":\"t0k3n\"}")
            } else if sent == "Bearer t0k3n" {
                let digest = format!("sha256:{}", "a".repeat(64));
                tiny_http::Response::from_string("").with_header(header("Docker-Content-Digest", digest))
            } else {
                let realm = format!(
                    "Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"shop\",scope=\"repository:org/a:pull\""
                );
                tiny_http::Response::from_string("")
                    .with_status_code(401)
                    .with_header(header("WWW-Authenticate", realm))
            };
            let _ = request.respond(answer);
        }
    });
    let repository = Repository {
        url: format!("oci://127.0.0.1:{port}/org/a"),
        insecure_oci_force_http: true,
        username: "reader".to_owned(),
        password: PASSWORD.into(),
        ..Repository::default()
    };
    assert_eq!(open().1.resolve(&repository, "1.0.0").unwrap(), format!("sha256:{}", "a".repeat(64)));
    server.unblock();
    thread.join().unwrap();
}

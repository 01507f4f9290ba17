//! Charts and artifacts from a real Helm repository and a real registry, by version, constraint and digest.
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tako_devcluster::Tools;
use tako_devcluster::process::free_port;
use tako_tests::{NAMESPACE, World};

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}\ndata: {value: \"{{ .Chart.Version }}\"}\n";

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &Path, directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).current_dir(directory).env("HOME", directory).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Serves the files of a directory over HTTP.
fn serve(directory: std::path::PathBuf) -> anyhow::Result<String> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(|error| anyhow::anyhow!("{error}"))?;
    let url = format!("http://{}", server.server_addr());
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let path = directory.join(request.url().trim_start_matches('/'));
            let _ = match std::fs::read(&path) {
                Ok(bytes) => request.respond(tiny_http::Response::from_data(bytes)),
                Err(_) => request.respond(tiny_http::Response::empty(404)),
            };
        }
    });
    Ok(url)
}

/// A registry of charts, with one user.
fn registry(directory: &Path) -> anyhow::Result<(Server, String)> {
    std::fs::create_dir_all(directory)?;
    let (port, at) = (free_port()?, directory.display());
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{at}/data'}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    );
    std::fs::write(directory.join("config.yml"), config)?;
    let child = Command::new(Tools::locate()?.program("registry")?)
        .arg("serve")
        .arg(directory.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the registry does not start")?;
    Ok((Server(child), format!("127.0.0.1:{port}")))
}

/// Packs the chart in a version.
fn pack(helm: &Path, directory: &Path, version: &str) -> anyhow::Result<()> {
    let chart = directory.join("src/web");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: web\nversion: {version}\n"))?;
    std::fs::write(chart.join("templates/map.yaml"), TEMPLATE)?;
    run(helm, directory, &["package", "src/web", "--destination", "shop"])
}

fn chart(world: &World, name: &str, source: Value) -> anyhow::Result<()> {
    let mut app = world.application(name, "", "", "charts");
    app["spec"]["source"] = source;
    world.apply(&app)
}

fn value(world: &World, name: &str, want: &str) -> anyhow::Result<()> {
    world.until(&format!("{name} is of version {want}"), |world| Ok(world.config("charts", name, "value") == want))
}

#[test]
fn charts_and_artifacts_follow_their_versions() -> anyhow::Result<()> {
    let world = World::start()?;
    let helm = Tools::locate()?.program("helm")?;
    let directory = world.path("charts");
    std::fs::create_dir_all(directory.join("shop"))?;
    pack(&helm, &directory, "1.0.0")?;
    pack(&helm, &directory, "2.0.0")?;
    run(&helm, &directory, &["repo", "index", "shop"])?;
    let shop = serve(directory.join("shop"))?;
    let (_registry, host) = registry(&directory.join("registry"))?;
    let push = |version: &str| {
        let archive = format!("shop/web-{version}.tgz");
        run(&helm, &directory, &["push", &archive, &format!("oci://{host}/charts"), "--plain-http"])
    };
    world.until("the registry takes a chart", |_| Ok(push("1.0.0").is_ok()))?;

    for (name, url, data) in [
        ("shop", shop.as_str(), json!({"type": "helm"})),
        (
            "registry",
            &format!("{host}/charts"),
            json!({"type": "helm", "enableOCI": "true", "insecureOCIForceHttp": "true"}),
        ),
        ("artifact", &format!("oci://{host}/charts/web"), json!({"type": "oci", "insecureOCIForceHttp": "true"})),
    ] {
        let mut data = data;
        data["url"] = json!(url);
        world.apply(&json!({"apiVersion": "v1", "kind": "Secret", "stringData": data, "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": {"argocd.argoproj.io/secret-type": "repository"}}}))?;
    }
    chart(&world, "pinned", json!({"repoURL": shop, "chart": "web", "targetRevision": "2.0.0"}))?;
    chart(&world, "ranged", json!({"repoURL": shop, "chart": "web", "targetRevision": "1.*"}))?;
    chart(&world, "pulled", json!({"repoURL": format!("{host}/charts"), "chart": "web", "targetRevision": ">=1.0.0"}))?;
    chart(
        &world,
        "artifact",
        json!({"repoURL": format!("oci://{host}/charts/web"), "path": ".", "targetRevision": "1.0.0"}),
    )?;
    chart(&world, "absent", json!({"repoURL": shop, "chart": "web", "targetRevision": "9.*"}))?;
    value(&world, "pinned-web", "2.0.0")?;
    value(&world, "ranged-web", "1.0.0")?;
    value(&world, "pulled-web", "1.0.0")?;
    value(&world, "artifact-web", "1.0.0")?;
    world.condition("absent", "chart web has no version 9.*", true)?;
    let revision = |name: &str| Ok::<_, anyhow::Error>(world.app(name)?["status"]["sync"]["revision"].clone());
    ensure!(revision("ranged")? == "1.0.0", "the version is the revision");
    ensure!(revision("artifact")?.as_str().is_some_and(|digest| digest.starts_with("sha256:")), "the digest is");

    // A newer version is found at the next look.
    pack(&helm, &directory, "1.2.0")?;
    run(&helm, &directory, &["repo", "index", "shop"])?;
    push("1.2.0")?;
    for app in ["ranged", "pulled"] {
        world.patch(
            "application",
            NAMESPACE,
            app,
            &json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}),
        )?;
    }
    value(&world, "ranged-web", "1.2.0")?;
    value(&world, "pulled-web", "1.2.0")?;
    value(&world, "pinned-web", "2.0.0")
}

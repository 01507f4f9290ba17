//! What rendering costs, without a cluster: a repository of N Applications cold, after one commit, and the tools against
//! themselves run by hand.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tako_devcluster::{Tools, sample};
use tako_engine::source::Source;
use tako_sources::git::GitSettings;
use tako_sources::render::{ReadSet, identity, render};
use tako_sources::request::Request;
use tako_sources::store::{Store, Surroundings};
use tako_tests::config_map;

/// Runs of a tool, of which the median counts.
const RUNS: usize = 11;
const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
const TEMPLATE: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {value: \"{{ .Values.value }}\"}\n";

/// One repository in a directory, and the store that fetched it.
struct Place {
    root: tempfile::TempDir,
    store: Store,
    around: Surroundings,
    url: String,
}

impl Place {
    fn new(files: &[(String, String)]) -> anyhow::Result<Self> {
        let root = tempfile::tempdir()?;
        let repository = root.path().join("bench.git");
        sample::create_bare(&repository)?;
        let changes: Vec<(&str, Option<&str>)> =
            files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
        sample::commit(&repository, &changes, "all")?;
        let store = Store::open(&root.path().join("data"), GitSettings { allow_file: true, ..GitSettings::default() })?;
        let mut around = Surroundings::default();
        let tools = Tools::locate()?;
        around.settings.tools.helm = Some(tools.program("helm")?);
        around.settings.tools.kustomize = Some(tools.program("kustomize")?);
        around.app.name = "bench".to_owned();
        around.cluster.kube_version = "1.35.0".to_owned();
        let url = format!("file://{}", repository.display());
        Ok(Self { root, store, around, url })
    }

    fn requests(&self, paths: &[String]) -> anyhow::Result<Vec<Request>> {
        let sources: Vec<Source> = paths
            .iter()
            .map(|path| serde_json::from_value(json!({"repoURL": self.url, "path": path, "targetRevision": "main"})))
            .collect::<Result<_, _>>()?;
        let first = sources.first().context("nothing to render")?;
        let commit = self.store.resolve(first, &self.around, "main")?.revision;
        let revisions = vec![commit; sources.len()];
        let requests = self.store.requests(&sources, &revisions, &self.around, |source, revision| {
            self.store.tree(source, &self.around, revision)
        })?;
        Ok(requests.into_iter().flatten().collect())
    }
}

/// Renders all; answers what each read and its identity.
fn render_all(requests: &[Request]) -> anyhow::Result<Vec<(ReadSet, String)>> {
    let read = |request: &Request| -> anyhow::Result<(ReadSet, String)> {
        let rendered = render(request)?;
        let read = ReadSet::of(&rendered);
        let identity = identity(request, &read)?;
        Ok((read, identity))
    };
    requests.iter().map(read).collect()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn by_hand(program: &Path, arguments: &[&str], directory: &Path) -> anyhow::Result<Duration> {
    let mut all = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let status = Command::new(program).args(arguments).current_dir(directory).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{} failed", program.display());
        all.push(begun.elapsed());
    }
    Ok(median(all))
}

pub(crate) fn run(apps: usize) -> anyhow::Result<()> {
    plain(apps)?;
    println!(
        "\n| tool | by hand ms | ours ms | ratio | cached ms | times faster |\n|---|------:|------:|------:|------:|------:|"
    );
    let tools = Tools::locate()?;
    tool(
        "helm",
        &[("web/Chart.yaml", CHART), ("web/values.yaml", "value: x\n"), ("web/templates/map.yaml", TEMPLATE)],
        &tools.program("helm")?,
        &["template", "bench", "web", "--include-crds"],
    )?;
    tool(
        "kustomize",
        &[
            ("web/kustomization.yaml", "resources: [map.yaml]\nnamePrefix: a-\n"),
            ("web/map.yaml", &config_map("map", "1")),
        ],
        &tools.program("kustomize")?,
        &["build", "web"],
    )
}

fn plain(apps: usize) -> anyhow::Result<()> {
    let path = |app: usize| format!("apps/{app}");
    let files: Vec<(String, String)> = (0..apps)
        .flat_map(|app| (0..3).map(move |map| (app, map)))
        .map(|(app, map)| (format!("{}/map-{map}.yaml", path(app)), config_map(&format!("app-{app}-{map}"), "1")))
        .collect();
    let place = Place::new(&files)?;
    let paths: Vec<String> = (0..apps).map(path).collect();
    let begun = Instant::now();
    let requests = place.requests(&paths)?;
    let fetched = begun.elapsed();
    let begun = Instant::now();
    let known = render_all(&requests)?;
    let cold = begun.elapsed();

    let text = config_map("app-7-0", "2");
    sample::commit(&place.root.path().join("bench.git"), &[("apps/7/map-0.yaml", Some(&text))], "one")?;
    let requests = place.requests(&paths)?;
    let begun = Instant::now();
    let mut renders = 0;
    for (request, (read, before)) in requests.iter().zip(&known) {
        if identity(request, read)? != *before {
            renders += 1;
            render(request)?;
        }
    }
    let after = begun.elapsed();
    println!(
        "| plain Applications | fetch s | rendered cold s | after a commit s | renders then |\n|------:|------:|------:|------:|------:|"
    );
    println!(
        "| {apps} | {:.2} | {:.2} | {:.3} | {renders} |",
        fetched.as_secs_f64(),
        cold.as_secs_f64(),
        after.as_secs_f64()
    );
    Ok(())
}

fn tool(name: &str, files: &[(&str, &str)], program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let files: Vec<(String, String)> = files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    let place = Place::new(&files)?;
    let directory = place.root.path().join("by-hand");
    for (path, text) in &files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().context("a parent")?)?;
        fs::write(path, text)?;
    }
    let bare = by_hand(program, arguments, &directory)?;
    let requests = place.requests(&["web".to_owned()])?;
    let known = render_all(&requests)?;
    let (mut ours, mut cached) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let begun = Instant::now();
        render_all(&requests)?;
        ours.push(begun.elapsed());
        let begun = Instant::now();
        ensure!(identity(&requests[0], &known[0].0)? == known[0].1, "the same inputs have the same identity");
        cached.push(begun.elapsed());
    }
    let (ours, cached) = (median(ours), median(cached));
    println!(
        "| {name} | {:.1} | {:.1} | {:.2} | {:.3} | {:.0} |",
        bare.as_secs_f64() * 1e3,
        ours.as_secs_f64() * 1e3,
        ours.as_secs_f64() / bare.as_secs_f64(),
        cached.as_secs_f64() * 1e3,
        bare.as_secs_f64() / cached.as_secs_f64()
    );
    Ok(())
}

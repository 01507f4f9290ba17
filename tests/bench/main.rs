//! The benchmarks. They print tables and judge nothing. `make bench` runs the first: N Applications of three ConfigMaps
//! in one repository over HTTP, pushed to; `make bench ARGS="100 1000"` chooses the sizes. `make bench ARGS="idle 1000"`
//! runs the second, `render` the third, without a cluster: what renders cost, cold, cached and against the bare tools. The
//! second: N Applications of ten objects that nobody changes, and then one whose status changes all the time.
#![expect(clippy::print_stdout, reason = "it prints a table")]
mod idle;
mod render;
mod usage;

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tako_devcluster::sample;
use tako_tests::{World, config_map};

use self::usage::{settle, usage};

const REPO: &str = "bench.git";
const PUSHES: usize = 21;
const MAPS: usize = 3;
/// What is not there after this time never comes.
const LIMIT: Duration = Duration::from_secs(900);

fn files(apps: usize, value: &str) -> Vec<(String, String)> {
    (0..apps)
        .flat_map(|app| (0..MAPS).map(move |map| (app, map)))
        .map(|(app, map)| (format!("apps/{app}/map-{map}.yaml"), config_map(&format!("app-{app}-map-{map}"), value)))
        .collect()
}

fn commit_all(world: &World, apps: usize, value: &str) -> anyhow::Result<String> {
    let files = files(apps, value);
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    sample::commit(&world.path("git").join(REPO), &changes, "all")
}

fn count(world: &World, value: &str) -> usize {
    let found = world
        .cluster
        .kubectl(&["get", "configmaps", "-n", "bench", "-o", "jsonpath={range .items[*]}{.data.value} {end}"])
        .unwrap_or_default();
    found.split(' ').filter(|one| *one == value).count()
}

fn all_applied(world: &World, apps: usize, value: &str) -> anyhow::Result<()> {
    world.within(LIMIT, "all are applied", |world| Ok(count(world, value) == apps * MAPS))
}

pub(crate) fn statuses(world: &World, apps: usize) -> anyhow::Result<()> {
    world.within(LIMIT, "all are Synced", |world| {
        let found = world.cluster.kubectl(&[
            "get",
            "applications",
            "-n",
            "argocd",
            "-o",
            "jsonpath={range .items[*]}{.status.sync.status}/{.operation} {end}",
        ])?;
        Ok(found.split(' ').filter(|one| *one == "Synced/").count() == apps)
    })
}

struct Line {
    apps: usize,
    first: Duration,
    first_cpu: f64,
    pushes: Vec<Duration>,
    push_cpu: f64,
    all: Duration,
    all_cpu: f64,
    peak_mib: f64,
}

fn measure(apps: usize) -> anyhow::Result<Line> {
    let world = World::start()?;
    let tako = world.tako.as_ref().context("tako is not running")?.pid();
    sample::create_bare(&world.path("git").join(REPO))?;
    commit_all(&world, apps, "first")?;
    world.cluster.kubectl(&["create", "namespace", "bench"])?;
    let mut list = String::new();
    for app in 0..apps {
        writeln!(list, "{}\n---", world.application(&format!("app-{app}"), REPO, &format!("apps/{app}"), "bench"))?;
    }
    let file = world.path("apps.yaml");
    fs::write(&file, list)?;
    let (begun, before) = (Instant::now(), usage(tako)?);
    world.cluster.kubectl(&["create", "-f", &file.display().to_string()])?;
    all_applied(&world, apps, "first")?;
    let first = begun.elapsed();
    statuses(&world, apps)?;
    settle(tako)?;
    let first_cpu = usage(tako)?.cpu_seconds - before.cpu_seconds;
    let (mut pushes, before) = (Vec::new(), usage(tako)?);
    for push in 0..PUSHES {
        let app = push * 37 % apps;
        let value = format!("push-{push}");
        let text = config_map(&format!("app-{app}-map-0"), &value);
        sample::commit(&world.path("git").join(REPO), &[(&format!("apps/{app}/map-0.yaml"), Some(&text))], "one")?;
        let begun = Instant::now();
        world.webhook(REPO)?;
        let watched = format!("app-{app}-map-0");
        world.until("the push is applied", |world| Ok(world.live_value("bench", &watched)? == value))?;
        pushes.push(begun.elapsed());
        statuses(&world, apps)?;
    }
    settle(tako)?;
    let push_cpu = (usage(tako)?.cpu_seconds - before.cpu_seconds) / PUSHES as f64;
    pushes.sort();
    commit_all(&world, apps, "all")?;
    let (begun, before) = (Instant::now(), usage(tako)?);
    world.webhook(REPO)?;
    all_applied(&world, apps, "all")?;
    let all = begun.elapsed();
    statuses(&world, apps)?;
    settle(tako)?;
    let after = usage(tako)?;
    Ok(Line {
        apps,
        first,
        first_cpu,
        pushes,
        push_cpu,
        all,
        all_cpu: after.cpu_seconds - before.cpu_seconds,
        peak_mib: after.peak_mib,
    })
}

fn main() -> anyhow::Result<()> {
    let apps = std::env::args().nth(2).and_then(|size| size.parse().ok()).unwrap_or(1000);
    match std::env::args().nth(1).as_deref() {
        Some("idle") => return idle::run(apps),
        Some("render") => return render::run(apps),
        _ => {}
    }
    let mut sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100, 1000];
    }
    println!(
        "tako and nats-server together; one repository over HTTP, {MAPS} ConfigMaps an Application, webhook; {PUSHES} pushes"
    );
    println!(
        "{:>6} {:>9} {:>9} {:>11} {:>10} {:>11} {:>9} {:>9} {:>9}",
        "apps", "first s", "first CPU", "push median", "push worst", "CPU a push", "all s", "all CPU", "peak MiB"
    );
    for apps in sizes {
        let line = measure(apps)?;
        println!(
            "{:>6} {:>9.2} {:>9.2} {:>11.3} {:>10.3} {:>11.3} {:>9.2} {:>9.2} {:>9.0}",
            line.apps,
            line.first.as_secs_f64(),
            line.first_cpu,
            line.pushes[line.pushes.len() / 2].as_secs_f64(),
            line.pushes[line.pushes.len() - 1].as_secs_f64(),
            line.push_cpu,
            line.all.as_secs_f64(),
            line.all_cpu,
            line.peak_mib,
        );
    }
    Ok(())
}

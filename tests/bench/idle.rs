//! What tako costs while nothing happens, and while something happens that no comparison can see.
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tako_devcluster::sample;
use tako_tests::{World, config_map};

use crate::usage::{settle, usage};

const REPO: &str = "idle.git";
const OBJECTS: usize = 10;
/// How long it is watched, idle and churning.
const WATCHED: Duration = Duration::from_secs(60);
const CHURN: Duration = Duration::from_secs(20);
/// Ten changes a second.
const BEAT: Duration = Duration::from_millis(100);

/// Wake-ups of all stages so far.
fn wakes(world: &World) -> anyhow::Result<u64> {
    let info = world.nats(&["stream", "info", "WORK1", "--json"])?;
    info["state"]["last_seq"].as_u64().context("WORK1 tells no sequence")
}

fn churning() -> String {
    "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: churning\nspec:\n  accessModes: [ReadWriteOnce]\n  storageClassName: none\n  resources: {requests: {storage: 1Gi}}\n".to_owned()
}

pub(crate) fn run(apps: usize) -> anyhow::Result<()> {
    let world = World::start()?;
    let tako = world.tako.as_ref().context("tako is not running")?.pid();
    sample::create_bare(&world.path("git").join(REPO))?;
    let mut files: Vec<(String, String)> = (0..apps)
        .flat_map(|app| (0..OBJECTS).map(move |map| (app, map)))
        .map(|(app, map)| (format!("apps/{app}/{map}.yaml"), config_map(&format!("app-{app}-{map}"), "1")))
        .collect();
    files.push(("apps/0/churning.yaml".to_owned(), churning()));
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    sample::commit(&world.path("git").join(REPO), &changes, "all")?;
    world.cluster.kubectl(&["create", "namespace", "bench"])?;
    let mut list = String::new();
    for app in 0..apps {
        writeln!(list, "{}\n---", world.application(&format!("app-{app}"), REPO, &format!("apps/{app}"), "bench"))?;
    }
    let file = world.path("apps.yaml");
    fs::write(&file, list)?;
    let begun = Instant::now();
    world.cluster.kubectl(&["create", "-f", &file.display().to_string()])?;
    super::statuses(&world, apps)?;
    let first = begun.elapsed();
    settle(tako)?;

    let before = (usage(tako)?.cpu_seconds, wakes(&world)?);
    std::thread::sleep(WATCHED);
    let idle = usage(tako)?.cpu_seconds - before.0;
    let idle_wakes = wakes(&world)? - before.1;

    let before = (usage(tako)?.cpu_seconds, wakes(&world)?);
    let begun = Instant::now();
    let mut beats = 0_u64;
    while begun.elapsed() < CHURN {
        beats += 1;
        // Its health stays: a claim that is pending is pending, however much its status says.
        let condition = json!([{"type": "Resizing", "status": "True", "message": beats.to_string()}]);
        patch_status(&world, &json!({"status": {"phase": "Pending", "conditions": condition}}))?;
        std::thread::sleep((BEAT * u32::try_from(beats)?).saturating_sub(begun.elapsed()));
    }
    let churn = usage(tako)?.cpu_seconds - before.0;
    let churn_wakes = wakes(&world)? - before.1;
    println!("tako and nats-server together; {apps} Applications of {OBJECTS} objects");
    println!("{:<44} {:>10.1}", "first sync of all, s", first.as_secs_f64());
    println!("{:<44} {:>10.2}", "idle, % of one core", idle / WATCHED.as_secs_f64() * 100.0);
    println!("{:<44} {:>10}", "wake-ups while idle", idle_wakes);
    println!("{:<44} {:>10.1}", "status changes a second", count(beats) / CHURN.as_secs_f64());
    println!("{:<44} {:>10.2}", "with them, % of one core", churn / CHURN.as_secs_f64() * 100.0);
    println!("{:<44} {:>10}", "wake-ups by them", churn_wakes);
    println!("{:<44} {:>10.0}", "memory, peak MiB", usage(tako)?.peak_mib);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn count(beats: u64) -> f64 {
    beats as f64
}

fn patch_status(world: &World, patch: &serde_json::Value) -> anyhow::Result<()> {
    world.patch_live("/api/v1/namespaces/bench/persistentvolumeclaims/churning/status", patch)
}

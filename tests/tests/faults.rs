//! The syncer killed at each of its planned failure points: nothing lost, nothing twice.
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tako_tests::made::Made;
use tako_tests::{World, config_map};

const REPO: &str = "faults.git";

/// Here an Application is deleted; all other files of the syncer sync.
const DELETION: &str = "cascade.rs";

/// The points, as the code names them.
fn points(deletion: bool) -> anyhow::Result<BTreeSet<String>> {
    let syncer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../actors/src/syncer");
    let mut points = BTreeSet::new();
    for file in std::fs::read_dir(syncer)? {
        let file = file?;
        if (file.file_name() == DELETION) != deletion {
            continue;
        }
        for call in std::fs::read_to_string(file.path())?.split("fault::point(").skip(1) {
            let argument = call.split(");").next().unwrap_or_default();
            points.extend(argument.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    Ok(points)
}

fn job(name: &str, hook: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  {name}\n  annotations: {{{hook}}}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: c, image: busybox}}]\n"
    )
}

fn history(world: &World) -> anyhow::Result<i64> {
    let app = world.app("faults")?;
    app["status"]["history"].as_array().and_then(|history| history.last()?["id"].as_i64()).context("no history")
}

fn fails(world: &mut World, point: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let tako = world.tako.as_mut().context("tako is not running")?;
    while !tako.has_ended() {
        ensure!(Instant::now() < deadline, "{point}: never reached");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn killed_anywhere_it_carries_on() -> anyhow::Result<()> {
    let mut world = World::start()?;
    in_a_sync(&mut world)?;
    in_a_deletion(&mut world)
}

fn in_a_sync(world: &mut World) -> anyhow::Result<()> {
    let points = points(false)?;
    ensure!(points.len() >= 10, "{points:?}");
    let after = "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded";
    world.repository(
        REPO,
        &[
            ("app/a.yaml", &config_map("a", "0")),
            ("app/old-0.yaml", &config_map("old-0", "0")),
            ("app/pre.yaml", &job("name: pre", "argocd.argoproj.io/hook: PreSync")),
            ("app/post.yaml", &job("generateName: post-", after)),
        ],
    )?;
    world.apply(&world.application("faults", REPO, "app", "faults"))?;
    world.synced("faults", "")?;
    let jobs = Made::watch(world, "jobs", "faults")?;
    for (round, point) in points.iter().enumerate() {
        drop(world.tako.take());
        world.fault = Some(point.clone());
        world.start_tako()?;
        world.fault = None;
        world.until("the watch of Jobs tells", |_| Ok(!jobs.all()?.is_empty()))?;
        let (before, made) = (history(world)?, jobs.all()?);
        let (gone, fresh) = (format!("app/old-{round}.yaml"), format!("old-{}", round + 1));
        let value = (round + 1).to_string();
        let commit = world.push(
            REPO,
            &[
                ("app/a.yaml", Some(&config_map("a", &value))),
                (&gone, None),
                (&format!("app/{fresh}.yaml"), Some(&config_map(&fresh, "0"))),
            ],
        )?;
        fails(world, point)?;
        drop(world.tako.take());
        world.start_tako()?;
        world.synced("faults", &commit).with_context(|| point.clone())?;
        ensure!(world.config("faults", "a", "value") == value, "{point}: not applied");
        ensure!(world.config("faults", &format!("old-{round}"), "value").is_empty(), "{point}: not pruned");
        ensure!(history(world)? == before + 1, "{point}: one entry of the history a commit");
        let hooks = jobs.all()?.difference(&made).count();
        ensure!(hooks == 2, "{point}: {hooks} Jobs were made for two hooks");
        let left = world.cluster.kubectl(&["get", "jobs", "-n", "faults", "-o", "name"])?;
        ensure!(left.trim() == "job.batch/pre", "{point}: {left}");
    }
    Ok(())
}

/// Each look at a deletion starts from the finalizers and the cluster: its hook runs once, and all goes.
fn in_a_deletion(world: &mut World) -> anyhow::Result<()> {
    let points = points(true)?;
    ensure!(points.len() >= 2, "{points:?}");
    let before = job("name: before", "argocd.argoproj.io/hook: PreDelete");
    world.push(REPO, &[("leaves/a.yaml", Some(&config_map("b", "0"))), ("leaves/before.yaml", Some(&before))])?;
    let jobs = Made::watch(world, "jobs", "faults")?;
    for point in &points {
        let mut app = world.application("leaves", REPO, "leaves", "faults");
        app["metadata"]["finalizers"] = serde_json::json!(["resources-finalizer.argocd.argoproj.io"]);
        world.apply(&app)?;
        world.synced("leaves", "")?;
        world.until("the hook holds the Application", |world| {
            Ok(world.app("leaves")?["metadata"]["finalizers"].to_string().contains("pre-delete"))
        })?;
        drop(world.tako.take());
        world.fault = Some(point.clone());
        world.start_tako()?;
        world.fault = None;
        let made = jobs.all()?;
        world.cluster.kubectl(&["delete", "application", "leaves", "-n", "argocd", "--wait=false"])?;
        fails(world, point)?;
        drop(world.tako.take());
        world.start_tako()?;
        world.until(&format!("{point}: the Application is gone"), |world| Ok(world.app("leaves").is_err()))?;
        ensure!(world.config("faults", "b", "value").is_empty(), "{point}: an object was left");
        let hooks = jobs.all()?.difference(&made).count();
        ensure!(hooks == 1, "{point}: {hooks} Jobs were made for one hook");
    }
    Ok(())
}

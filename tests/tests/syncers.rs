//! Two syncers on one bus: they share the Applications between them, and an operation that waits is looked at by the one
//! or the other. Nothing is done twice, and what one leaves behind the other carries on.
use anyhow::ensure;
use serde_json::json;
use tako_devcluster::process;
use tako_tests::made::Made;
use tako_tests::steps::{Fate, annotated, job};
use tako_tests::{Tako, World, config_map, start_nats};

const REPO: &str = "syncers.git";
const APPS: [&str; 5] = ["s-0", "s-1", "s-2", "s-3", "s-4"];
const PRE: &str = "argocd.argoproj.io/hook: PreSync";

/// Named when it is made: whoever applies it once more makes one more.
fn once() -> String {
    let replaced = annotated(&config_map("x", "1"), "argocd.argoproj.io/sync-options: Replace=true");
    replaced.replace("  name: x\n", "  generateName: once-\n")
}

/// Commits the same change for all Applications.
fn push(world: &World, value: usize, fate: Fate) -> anyhow::Result<String> {
    let files = APPS.map(|app| {
        [
            (format!("{app}/a.yaml"), config_map("a", &value.to_string())),
            (format!("{app}/pre.yaml"), job("pre", PRE, fate)),
        ]
    });
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().flatten().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    world.push(REPO, &changes)
}

/// Every Application reaches the commit, each operation with one hook and one application of every object.
fn all_reach(world: &World, commit: &str, jobs: &Made) -> anyhow::Result<()> {
    for app in APPS {
        world.ends(app, commit, "Succeeded")?;
        let history = world.app(app)?["status"]["history"].as_array().cloned().unwrap_or_default();
        let operations = history.last().and_then(|last| last["id"].as_u64()).map_or(0, |id| id + 1);
        let applied = world.kubectl(&["get", "configmaps", "-n", app, "-o", "name"])?;
        let applied = applied.lines().filter(|name| name.contains("/once-")).count();
        ensure!(u64::try_from(applied)? == operations, "{app}: applied {applied} times in {operations} operations");
        let hooks = jobs.count(app)?;
        ensure!(u64::try_from(hooks)? == operations, "{app}: {hooks} hooks in {operations} operations");
    }
    Ok(())
}

#[test]
fn two_syncers_do_nothing_twice_and_one_of_them_is_enough() -> anyhow::Result<()> {
    let mut world = World::without_tako()?;
    let port = process::free_port()?;
    start_nats(&world.path("nats"), port)?;
    let url = format!("nats://127.0.0.1:{port}");
    let start =
        |world: &World, name: &str, roles: &str| world.spawn_tako(name, &["--nats-url", &url, "--roles", roles]);
    let _rest = start(&world, "rest", "registry,watcher,renderer,observer,differ,authz,web")?;
    let one = start(&world, "one", "syncer")?;
    let mut two = start(&world, "two", "syncer")?;
    world.until("the web is ready", World::ready)?;
    let jobs = Made::watch(&world, "jobs", "")?;

    world.repository(REPO, &[("README", "x")])?;
    let once = once();
    let files: Vec<(String, &str)> = APPS.iter().map(|app| (format!("{app}/once.yaml"), once.as_str())).collect();
    let changes: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (path.as_str(), Some(*text))).collect();
    world.push(REPO, &changes)?;
    let mut commit = push(&world, 0, Fate::Completes)?;
    for app in APPS {
        let mut made = world.application(app, REPO, app, app);
        // Whatever is named when it is made is never Synced: nothing but a commit begins a sync.
        made["spec"]["syncPolicy"]["automated"] = json!({});
        world.apply(&made)?;
    }
    all_reach(&world, &commit, &jobs)?;
    for value in 1..=2 {
        commit = push(&world, value, Fate::Completes)?;
        all_reach(&world, &commit, &jobs)?;
    }

    // All operations wait for their hooks when one process is killed.
    commit = push(&world, 3, Fate::Waits)?;
    for app in APPS {
        world.until(&format!("{app} waits"), |world| {
            let state = world.state(app)?;
            let waits = state["message"].as_str().is_some_and(|message| message.contains("waiting for completion"));
            Ok(waits && state["syncResult"]["revision"] == commit.as_str())
        })?;
    }
    one.kill();
    for app in APPS {
        world.patch("job", app, "pre", &json!({"spec": {"suspend": false}}))?;
    }
    all_reach(&world, &commit, &jobs)?;

    // One dies between two steps of its own choice, with the lease of an Application in hand.
    world.fault = Some("hook's end recorded".to_owned());
    let mut doomed: Tako = start(&world, "doomed", "syncer")?;
    world.fault = None;
    for value in 4.. {
        ensure!(value < 12, "the process that was to die had nothing to do");
        commit = push(&world, value, Fate::Completes)?;
        all_reach(&world, &commit, &jobs)?;
        if doomed.has_ended() {
            break;
        }
    }
    ensure!(!two.has_ended());
    Ok(())
}

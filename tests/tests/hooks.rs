//! Phases, waves and hooks on the real parts: order, failure, termination, a newer revision, a killed process.
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "hooks.git";

/// A Job; `gated` ones wait until somebody takes `suspend` away, `doomed` ones fail at their deadline.
fn job(name: &str, hook: &str, more: &str) -> String {
    let spec = match more {
        "gated" => "  suspend: true\n",
        "doomed" => "  activeDeadlineSeconds: 1\n",
        _ => "",
    };
    let node = if more == "doomed" { "      nodeSelector: {none: such}\n" } else { "" };
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  {name}\n  annotations: {{{hook}}}\nspec:\n  backoffLimit: 0\n{spec}  template:\n    spec:\n      restartPolicy: Never\n{node}      containers: [{{name: c, image: busybox}}]\n"
    )
}

fn hook(kind: &str) -> String {
    format!("argocd.argoproj.io/hook: {kind}")
}

fn state(world: &World) -> anyhow::Result<Value> {
    Ok(world.app("hooks")?["status"]["operationState"].clone())
}

/// `phase kind/name outcome` of every entry of the last operation.
fn told(state: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = state["syncResult"]["resources"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|one| {
            format!(
                "{} {}/{} {}",
                text(&one["syncPhase"]),
                text(&one["kind"]),
                text(&one["name"]),
                text(&one["hookPhase"])
            )
        })
        .collect()
}

fn live_job(world: &World, name: &str) -> Value {
    let found = world.cluster.kubectl(&["get", "job", name, "-n", "hooks", "-o", "json"]).unwrap_or_default();
    serde_json::from_str(&found).unwrap_or_default()
}

fn message(world: &World, part: &str) -> anyhow::Result<()> {
    world.until(part, |world| Ok(state(world)?["message"].as_str().unwrap_or_default().contains(part)))
}

fn open_gate(world: &World, name: &str) -> anyhow::Result<()> {
    world
        .cluster
        .kubectl(&["patch", "job", name, "-n", "hooks", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#])
        .map(drop)
}

fn sync(world: &World) -> anyhow::Result<()> {
    let operation =
        json!({"operation": {"initiatedBy": {"username": "somebody"}, "sync": {"prune": true}}}).to_string();
    world
        .cluster
        .kubectl(&["patch", "application", "hooks", "-n", NAMESPACE, "--type=merge", "-p", &operation])
        .map(drop)
}

fn automate(world: &World, automated: Value) -> anyhow::Result<()> {
    let patch = json!({"spec": {"syncPolicy": {"automated": automated}}}).to_string();
    world.cluster.kubectl(&["patch", "application", "hooks", "-n", NAMESPACE, "--type=merge", "-p", &patch]).map(drop)
}

#[test]
fn hooks_and_waves() -> anyhow::Result<()> {
    let mut world = World::start()?;
    phases_run_in_order(&world)?;
    a_hook_is_made_anew_for_each_sync(&world)?;
    a_failing_hook_stops_the_sync(&world)?;
    a_waiting_sync_can_be_terminated(&world)?;
    a_hook_outlives_a_killed_process_and_runs_once(&mut world)?;
    a_newer_revision_supersedes(&world)
}

fn phases_run_in_order(world: &World) -> anyhow::Result<()> {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  annotations: {argocd.argoproj.io/sync-wave: '1'}\nspec:\n  selector: {matchLabels: {a: d}}\n  template:\n    metadata: {labels: {a: d}}\n    spec: {containers: [{name: c, image: nginx}]}\n";
    let after = format!("{}, argocd.argoproj.io/hook-delete-policy: HookSucceeded", hook("PostSync"));
    world.repository(
        REPO,
        &[
            ("app/a.yaml", &config_map("a", "1")),
            ("app/d.yaml", deployment),
            ("app/pre.yaml", &job("name: pre", &hook("PreSync"), "")),
            ("app/post.yaml", &job("generateName: post-", &after, "")),
            ("app/fail.yaml", &job("name: fail", &hook("SyncFail"), "")),
        ],
    )?;
    let mut app = world.application("hooks", REPO, "app", "hooks");
    app["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
    world.apply(&app)?;
    world.synced("hooks", "")?;
    let state = state(world)?;
    let told = told(&state);
    let short = state["syncResult"]["revision"].as_str().and_then(|commit| commit.get(..7)).context("a revision")?;
    ensure!(
        told[..3] == ["PreSync Job/pre Succeeded", "Sync ConfigMap/a Succeeded", "Sync Deployment/d Succeeded"]
            && told[3].starts_with(&format!("PostSync Job/post-{short}-postsync-"))
            && told.len() == 4,
        "{told:?}"
    );
    let jobs = world.cluster.kubectl(&["get", "jobs", "-n", "hooks", "-o", "name"])?;
    ensure!(jobs.trim() == "job.batch/pre", "HookSucceeded deletes, the default keeps, SyncFail did not run: {jobs}");
    ensure!(live_job(world, "pre")["metadata"]["finalizers"].is_null(), "its end is on record: it is let go of");
    let listed = world.app("hooks")?["status"]["resources"].clone();
    let hooks: Vec<&Value> =
        listed.as_array().context("resources")?.iter().filter(|one| one["kind"] == "Job").collect();
    ensure!(hooks.iter().all(|one| one["hook"] == true && one["status"].is_null()), "{hooks:?}");
    Ok(())
}

fn a_hook_is_made_anew_for_each_sync(world: &World) -> anyhow::Result<()> {
    let before = live_job(world, "pre")["metadata"]["uid"].clone();
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "2")))])?;
    world.synced("hooks", &commit)?;
    let after = live_job(world, "pre")["metadata"]["uid"].clone();
    ensure!(after.is_string() && after != before, "{before} {after}");
    Ok(())
}

fn a_failing_hook_stops_the_sync(world: &World) -> anyhow::Result<()> {
    world.push(
        REPO,
        &[
            ("app/a.yaml", Some(&config_map("a", "3"))),
            ("app/pre.yaml", Some(&job("name: pre", &hook("PreSync"), "doomed"))),
        ],
    )?;
    world.until("the sync failed", |world| Ok(state(world)?["phase"] == "Failed"))?;
    let state = state(world)?;
    ensure!(told(&state) == ["PreSync Job/pre Failed", "SyncFail Job/fail Succeeded"], "{:?}", told(&state));
    let message = state["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("one or more synchronization tasks completed unsuccessfully, reason: batch/Job/pre"),
        "{message}"
    );
    ensure!(world.config("hooks", "a", "value") == "2", "nothing is applied after a failed PreSync");
    Ok(())
}

fn a_waiting_sync_can_be_terminated(world: &World) -> anyhow::Result<()> {
    automate(world, Value::Null)?;
    world.push(REPO, &[("app/pre.yaml", Some(&job("name: pre", &hook("PreSync"), "gated")))])?;
    world.until("compared", |world| Ok(world.app("hooks")?["status"]["sync"]["status"] == "OutOfSync"))?;
    sync(world)?;
    message(world, "waiting for completion of hook batch/Job/pre")?;
    let token = world.token()?;
    let answer = world.http().delete(world.url("/api/v1/applications/hooks/operation")).bearer_auth(token).send()?;
    ensure!(answer.status().is_success(), "{}", answer.text()?);
    world.until("terminated", |world| Ok(state(world)?["phase"] == "Failed"))?;
    ensure!(state(world)?["message"] == "Operation terminated");
    world.until("the hook is gone", |world| Ok(live_job(world, "pre").is_null()))
}

fn a_hook_outlives_a_killed_process_and_runs_once(world: &mut World) -> anyhow::Result<()> {
    sync(world)?;
    message(world, "waiting for completion of hook batch/Job/pre")?;
    let uid = live_job(world, "pre")["metadata"]["uid"].clone();
    if let Some(tako) = world.tako.take() {
        tako.kill();
    }
    open_gate(world, "pre")?;
    // Even a hook deleted while nobody looks is not lost: it stays until its end is on record.
    world.cluster.kubectl(&["wait", "--for=condition=Complete", "job/pre", "-n", "hooks", "--timeout=60s"])?;
    world.start_tako()?;
    world.synced("hooks", "")?;
    ensure!(live_job(world, "pre")["metadata"]["uid"] == uid, "it ran once");
    ensure!(world.config("hooks", "a", "value") == "3");
    Ok(())
}

fn a_newer_revision_supersedes(world: &World) -> anyhow::Result<()> {
    automate(world, json!({"prune": true}))?;
    let old = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "4")))])?;
    message(world, "waiting for completion of hook batch/Job/pre")?;
    ensure!(state(world)?["syncResult"]["revision"] == old.as_str());
    let new = world.push(REPO, &[("app/pre.yaml", None), ("app/a.yaml", Some(&config_map("a", "5")))])?;
    world.synced("hooks", &new)?;
    ensure!(world.config("hooks", "a", "value") == "5");
    world.until("the hook of the old revision is gone", |world| Ok(live_job(world, "pre").is_null()))
}

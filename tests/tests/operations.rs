//! Hooks of every policy, and operations of every kind, on the real parts.
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tako_tests::steps::{Fate, job, told};
use tako_tests::{World, cases, config_map};

const REPO: &str = "operations.git";
const PRE: &str = "argocd.argoproj.io/hook: PreSync";
const POLICY: &str = "argocd.argoproj.io/hook-delete-policy";

#[test]
fn hooks_and_operations_of_every_kind() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    cases!(
        world,
        a_hook_that_failed_goes_only_if_it_says_so,
        a_hook_of_several_policies_goes_either_way,
        before_hook_creation_keeps_a_hook_until_the_next,
        a_hook_of_several_phases_runs_in_each,
        hooks_of_helm_run_by_their_weights,
        a_failed_sync_runs_its_own_hooks,
        an_operation_may_take_only_so_long,
        a_retry_succeeds_when_the_cause_is_gone,
        a_user_syncs_a_part,
        strategy_apply_runs_no_hooks,
        a_strategy_may_force,
        a_rollback_runs_no_hooks,
    )
}

/// Not automated.
fn manual(app: &mut Value) {
    app["spec"]["syncPolicy"]["automated"] = Value::Null;
}

/// The outcome of a PreSync hook with a policy: how the operation ended, and whether the hook is still there.
fn outcome(world: &World, app: &str, policy: &str, fate: Fate) -> anyhow::Result<(Value, bool)> {
    let hook = job("pre", &format!("{PRE}, {POLICY}: '{policy}'"), fate);
    world.make(REPO, app, &[("a.yaml", &config_map("a", "1")), ("pre.yaml", &hook)], manual)?;
    let state = world.sync(app, &json!({}))?;
    // One that was deleted may be on its way out for a moment.
    let left = |world: &World| -> anyhow::Result<bool> {
        Ok(world.object("job", app, "pre")?["metadata"]
            .as_object()
            .is_some_and(|meta| !meta.contains_key("deletionTimestamp")))
    };
    Ok((state["phase"].clone(), left(world)?))
}

fn a_hook_that_failed_goes_only_if_it_says_so(world: &World) -> anyhow::Result<()> {
    for (app, policy, fate, want) in [
        ("failed-goes", "HookFailed", Fate::Fails, ("Failed", false)),
        ("failed-stays", "HookSucceeded", Fate::Fails, ("Failed", true)),
        ("succeeded-stays", "HookFailed", Fate::Completes, ("Succeeded", true)),
    ] {
        let (phase, left) = outcome(world, app, policy, fate)?;
        ensure!((phase.as_str().unwrap_or_default(), left) == want, "{app}: {phase} {left}");
    }
    Ok(())
}

fn a_hook_of_several_policies_goes_either_way(world: &World) -> anyhow::Result<()> {
    for (app, fate, want) in [("either-fails", Fate::Fails, "Failed"), ("either-goes", Fate::Completes, "Succeeded")] {
        let (phase, left) = outcome(world, app, "HookSucceeded, HookFailed", fate)?;
        ensure!(phase == want && !left, "{app}: {phase} {left}");
    }
    Ok(())
}

fn before_hook_creation_keeps_a_hook_until_the_next(world: &World) -> anyhow::Result<()> {
    let (phase, left) = outcome(world, "before", "BeforeHookCreation", Fate::Completes)?;
    ensure!(phase == "Succeeded" && left);
    let uid = || -> anyhow::Result<Value> { Ok(world.object("job", "before", "pre")?["metadata"]["uid"].clone()) };
    let first = uid()?;
    let state = world.sync("before", &json!({}))?;
    ensure!(state["phase"] == "Succeeded" && uid()?.is_string() && uid()? != first, "{first} {}", uid()?);
    Ok(())
}

fn a_hook_of_several_phases_runs_in_each(world: &World) -> anyhow::Result<()> {
    let both = job("both", "argocd.argoproj.io/hook: 'PreSync,PostSync'", Fate::Completes);
    world.make(REPO, "twice", &[("a.yaml", &config_map("a", "1")), ("both.yaml", &both)], |_| ())?;
    world.synced("twice", "")?;
    let told = told(&world.state("twice")?);
    let want = ["PreSync Job/both Succeeded", "Sync ConfigMap/a Succeeded", "PostSync Job/both Succeeded"];
    ensure!(told == want, "{told:?}");
    let mark = world.object("job", "twice", "both")?["metadata"]["annotations"]["takobune.dev/hook-of"].clone();
    ensure!(mark.as_str().is_some_and(|mark| mark.ends_with("/PostSync")), "it was made anew: {mark}");
    Ok(())
}

fn hooks_of_helm_run_by_their_weights(world: &World) -> anyhow::Result<()> {
    let helm = |name: &str, hook: &str, weight: &str| {
        let annotations = format!(
            "helm.sh/hook: '{hook}', helm.sh/hook-weight: '{weight}', helm.sh/hook-delete-policy: hook-succeeded"
        );
        job(name, &annotations, Fate::Completes)
    };
    let files = [
        ("a.yaml", config_map("a", "1")),
        ("1.yaml", helm("late", "pre-install,pre-upgrade", "5")),
        ("2.yaml", helm("early", "pre-install", "-5")),
        ("3.yaml", helm("after", "post-install", "0")),
        ("4.yaml", helm("tests", "test", "0")),
    ];
    world.make(REPO, "helm", &files.each_ref().map(|(file, text)| (*file, text.as_str())), |_| ())?;
    world.synced("helm", "")?;
    let told = told(&world.state("helm")?);
    let want = [
        "PreSync Job/early Succeeded",
        "PreSync Job/late Succeeded",
        "Sync ConfigMap/a Succeeded",
        "PostSync Job/after Succeeded",
    ];
    ensure!(told == want, "{told:?}");
    world.until("all are gone, and the test never was", |world| {
        Ok(world.kubectl(&["get", "jobs", "-n", "helm", "-o", "name"])?.trim().is_empty())
    })
}

fn a_failed_sync_runs_its_own_hooks(world: &World) -> anyhow::Result<()> {
    let hook = |name: &str, phase: &str, fate| job(name, &format!("argocd.argoproj.io/hook: {phase}"), fate);
    let files = [
        ("a.yaml", config_map("a", "1")),
        ("during.yaml", hook("during", "Sync", Fate::Fails)),
        ("after.yaml", hook("after", "PostSync", Fate::Completes)),
        ("sorry.yaml", hook("sorry", "SyncFail", Fate::Completes)),
    ];
    world.make(REPO, "sorry", &files.each_ref().map(|(file, text)| (*file, text.as_str())), manual)?;
    let state = world.sync("sorry", &json!({}))?;
    let told = told(&state);
    let want = ["Sync ConfigMap/a Succeeded", "Sync Job/during Failed", "SyncFail Job/sorry Succeeded"];
    ensure!(state["phase"] == "Failed" && told == want, "{told:?}");
    ensure!(world.object("job", "sorry", "after")?.is_null());
    Ok(())
}

fn an_operation_may_take_only_so_long(world: &World) -> anyhow::Result<()> {
    let gate = job("gate", PRE, Fate::Waits);
    world.make(REPO, "slow", &[("a.yaml", &config_map("a", "1")), ("gate.yaml", &gate)], manual)?;
    world.settings("argocd-cmd-params-cm", &json!({"controller.sync.timeout.seconds": "3"}))?;
    let state = world.sync("slow", &json!({}))?;
    world.settings("argocd-cmd-params-cm", &json!({}))?;
    let message = state["message"].as_str().unwrap_or_default();
    ensure!(state["phase"] == "Failed" && message.starts_with("Operation terminated"), "{state}");
    world.until("the hook is gone", |world| Ok(world.object("job", "slow", "gate")?.is_null()))?;
    ensure!(world.object("configmap", "slow", "a")?.is_null());
    Ok(())
}

fn a_retry_succeeds_when_the_cause_is_gone(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "retried", &[("a.yaml", &config_map("a", "1"))], |app| {
        app["spec"]["syncPolicy"]["syncOptions"] = json!([]);
        app["spec"]["syncPolicy"]["retry"] = json!({"limit": 20, "backoff": {"duration": "1s", "factor": 1}});
    })?;
    world.reaches("retried", "Running", "Retrying attempt #")?;
    world.kubectl(&["create", "namespace", "retried"])?;
    world.synced("retried", "")?;
    let state = world.state("retried")?;
    ensure!(state["retryCount"].as_i64().is_some_and(|count| count > 0), "{state}");
    ensure!(world.config("retried", "a", "value") == "1");
    Ok(())
}

/// Two ConfigMaps and a hook in a namespace that is there.
fn with_hook(world: &World, app: &str) -> anyhow::Result<()> {
    world.kubectl(&["create", "namespace", app])?;
    let files = [
        ("a.yaml", config_map("a", "1")),
        ("b.yaml", config_map("b", "1")),
        ("pre.yaml", job("pre", PRE, Fate::Completes)),
    ];
    world.make(REPO, app, &files.each_ref().map(|(file, text)| (*file, text.as_str())), manual)
}

fn a_user_syncs_a_part(world: &World) -> anyhow::Result<()> {
    with_hook(world, "part")?;
    let state = world.sync("part", &json!({"resources": [{"kind": "ConfigMap", "name": "a"}]}))?;
    ensure!(state["phase"] == "Succeeded" && told(&state) == ["Sync ConfigMap/a Succeeded"], "{state}");
    ensure!(world.object("job", "part", "pre")?.is_null() && world.object("configmap", "part", "b")?.is_null());
    world.compared("part", "", "OutOfSync")?;
    let history = world.app("part")?["status"]["history"].clone();
    ensure!(history.as_array().is_none_or(Vec::is_empty), "{history}");
    Ok(())
}

fn strategy_apply_runs_no_hooks(world: &World) -> anyhow::Result<()> {
    with_hook(world, "bare")?;
    let state = world.sync("bare", &json!({"syncStrategy": {"apply": {}}}))?;
    let want = ["Sync ConfigMap/a Succeeded", "Sync ConfigMap/b Succeeded"];
    ensure!(state["phase"] == "Succeeded" && told(&state) == want, "{state}");
    ensure!(world.object("job", "bare", "pre")?.is_null());
    let state = world.sync("bare", &json!({"syncStrategy": {"hook": {}}}))?;
    ensure!(told(&state).first().is_some_and(|first| first == "PreSync Job/pre Succeeded"), "{state}");
    Ok(())
}

fn a_strategy_may_force(world: &World) -> anyhow::Result<()> {
    let with = |image: &str| job("j", "a: b", Fate::Completes).replace("busybox", image);
    world.make(REPO, "forced", &[("j.yaml", &with("one"))], manual)?;
    let uid = || -> anyhow::Result<Value> { Ok(world.object("job", "forced", "j")?["metadata"]["uid"].clone()) };
    ensure!(world.sync("forced", &json!({}))?["phase"] == "Succeeded");
    for (kind, image) in [("apply", "two"), ("hook", "three")] {
        let before = uid()?;
        let commit = world.push(REPO, &[("forced/j.yaml", Some(&with(image)))])?;
        world.compared("forced", &commit, "OutOfSync")?;
        let state = world.sync("forced", &json!({"syncStrategy": {kind: {"force": false}}}))?;
        ensure!(state["phase"] == "Failed" && state.to_string().contains("field is immutable"), "{kind} {state}");
        let state = world.sync("forced", &json!({"syncStrategy": {kind: {"force": true}}}))?;
        ensure!(state["phase"] == "Succeeded" && uid()? != before && uid()?.is_string(), "{kind} {state}");
    }
    Ok(())
}

fn a_rollback_runs_no_hooks(world: &World) -> anyhow::Result<()> {
    with_hook(world, "rolled")?;
    ensure!(world.sync("rolled", &json!({}))?["phase"] == "Succeeded");
    let old = world.app("rolled")?["status"]["history"][0].clone();
    let commit = world.push(REPO, &[("rolled/a.yaml", Some(&config_map("a", "2")))])?;
    world.compared("rolled", &commit, "OutOfSync")?;
    ensure!(world.sync("rolled", &json!({"revision": commit}))?["phase"] == "Succeeded");
    let uid = || -> anyhow::Result<Value> { Ok(world.object("job", "rolled", "pre")?["metadata"]["uid"].clone()) };
    let before = uid()?;
    world.ask("rolled/rollback", Some(&json!({"id": old["id"]})))?;
    let revision = old["revision"].as_str().context("a revision")?;
    let state = world.ends("rolled", revision, "Succeeded")?;
    let want = ["Sync ConfigMap/a Succeeded", "Sync ConfigMap/b Succeeded"];
    ensure!(told(&state) == want, "{:?}", told(&state));
    ensure!(world.config("rolled", "a", "value") == "1" && uid()? == before);
    world.until("history has it", |world| Ok(world.app("rolled")?["status"]["history"][2]["revision"] == revision))
}

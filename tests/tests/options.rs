//! Sync options on the real parts.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "options.git";

/// A ConfigMap with its own sync options.
fn optioned(name: &str, options: &str) -> String {
    let annotations = format!("\n  annotations: {{argocd.argoproj.io/sync-options: '{options}'}}\ndata:");
    config_map(name, "1").replace("\ndata:", &annotations)
}

fn kubectl(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    world.cluster.kubectl(arguments)
}

fn uid(world: &World, kind: &str, namespace: &str, name: &str) -> String {
    kubectl(world, &["get", kind, name, "-n", namespace, "-o", "jsonpath={.metadata.uid}"]).unwrap_or_default()
}

fn sync(world: &World, app: &str) -> anyhow::Result<()> {
    let operation =
        json!({"operation": {"initiatedBy": {"username": "somebody"}, "sync": {"prune": true}}}).to_string();
    kubectl(world, &["patch", "application", app, "-n", NAMESPACE, "--type=merge", "-p", &operation]).map(drop)
}

fn approve(world: &World, app: &str) -> anyhow::Result<()> {
    let now = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    let at = String::from_utf8(now.stdout)?;
    let at = at.trim();
    let approval = format!("argocd.argoproj.io/deletion-approved={at}");
    kubectl(world, &["annotate", "application", app, "-n", NAMESPACE, "--overwrite", &approval]).map(drop)
}

/// Makes an Application of these files and options; no retries, so that a failure shows at once.
fn application(world: &World, name: &str, files: &[(&str, &str)], options: &[&str]) -> anyhow::Result<()> {
    let changes: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (*path, Some(*text))).collect();
    world.push(REPO, &changes)?;
    let mut app = world.application(name, REPO, name, name);
    let mut all = vec!["CreateNamespace=true"];
    all.extend(options);
    app["spec"]["syncPolicy"]["syncOptions"] = json!(all);
    app["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
    world.apply(&app)
}

fn state(world: &World, app: &str) -> anyhow::Result<Value> {
    Ok(world.app(app)?["status"]["operationState"].clone())
}

fn ended(world: &World, app: &str, phase: &str, words: &str) -> anyhow::Result<()> {
    world.until(&format!("{app} {phase}: {words}"), |world| {
        let state = state(world, app)?;
        Ok(state["phase"] == phase && state.to_string().contains(words))
    })
}

fn conditions(world: &World, app: &str) -> anyhow::Result<String> {
    Ok(world.app(app)?["status"]["conditions"].to_string())
}

#[test]
fn options_do_what_they_say() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    pruning_can_ask_first(&world)?;
    force_makes_anew_what_cannot_change(&world)?;
    a_shared_object_is_told_or_refused(&world)?;
    a_mass_deletion_asks_for_a_person(&world)?;
    unknown_fields_are_refused(&world)?;
    a_missing_kind_may_be_skipped_in_the_dry_run(&world)?;
    only_what_is_out_of_sync(&world)?;
    trying_changes_nothing(&world)?;
    a_retry_waits_and_gives_way_to_a_fix(&world)?;
    deletion_keeps_and_asks(&world)
}

fn pruning_can_ask_first(world: &World) -> anyhow::Result<()> {
    let files = [("confirm/a.yaml", config_map("a", "1")), ("confirm/b.yaml", optioned("b", "Prune=confirm"))];
    application(world, "confirm", &files.each_ref().map(|(path, text)| (*path, text.as_str())), &[])?;
    world.synced("confirm", "")?;
    let commit = world.push(REPO, &[("confirm/b.yaml", None)])?;
    ended(world, "confirm", "Running", "waiting for pruning confirmation of ConfigMap/b")?;
    ensure!(!uid(world, "configmap", "confirm", "b").is_empty());
    approve(world, "confirm")?;
    world.synced("confirm", &commit)?;
    ensure!(uid(world, "configmap", "confirm", "b").is_empty());
    Ok(())
}

fn force_makes_anew_what_cannot_change(world: &World) -> anyhow::Result<()> {
    let job = |image: &str, options: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: j\n  annotations: {{argocd.argoproj.io/sync-options: '{options}'}}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: c, image: {image}}}]\n"
        )
    };
    application(world, "force", &[("force/j.yaml", &job("one", ""))], &[])?;
    world.synced("force", "")?;
    let before = uid(world, "job", "force", "j");
    world.push(REPO, &[("force/j.yaml", Some(&job("two", "")))])?;
    ended(world, "force", "Failed", "field is immutable")?;
    ensure!(uid(world, "job", "force", "j") == before);
    let commit = world.push(REPO, &[("force/j.yaml", Some(&job("two", "Force=true")))])?;
    world.synced("force", &commit)?;
    let after = uid(world, "job", "force", "j");
    ensure!(!after.is_empty() && after != before);
    Ok(())
}

fn a_shared_object_is_told_or_refused(world: &World) -> anyhow::Result<()> {
    let same = config_map("same", "1").replace("  name: same", "  name: same\n  namespace: default");
    application(world, "first", &[("first/a.yaml", &same)], &[])?;
    world.synced("first", "")?;
    application(world, "second", &[("second/a.yaml", &same)], &["FailOnSharedResource=true"])?;
    ended(world, "second", "Failed", "Shared resource found: ConfigMap/same is part of applications second and first")?;
    world.until("the condition", |world| Ok(conditions(world, "second")?.contains("SharedResourceWarning")))?;
    world.synced("first", "")
}

fn a_mass_deletion_asks_for_a_person(world: &World) -> anyhow::Result<()> {
    let files: Vec<(String, String)> =
        (0..12).map(|n| (format!("mass/{n}.yaml"), config_map(&format!("m{n}"), "1"))).collect();
    let given: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    application(world, "mass", &given, &[])?;
    world.synced("mass", "")?;
    let gone: Vec<(&str, Option<&str>)> = given.iter().take(8).map(|(path, _)| (*path, None)).collect();
    let commit = world.push(REPO, &gone)?;
    world.until("the breaker", |world| {
        Ok(conditions(world, "mass")?.contains("auto-sync would prune 8 of 12 resources; if that is meant"))
    })?;
    ensure!(!uid(world, "configmap", "mass", "m0").is_empty());
    sync(world, "mass")?;
    world.synced("mass", &commit)?;
    ensure!(uid(world, "configmap", "mass", "m0").is_empty());
    world.until("the condition goes", |world| Ok(!conditions(world, "mass")?.contains("auto-sync would prune")))
}

fn unknown_fields_are_refused(world: &World) -> anyhow::Result<()> {
    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatum: {a: b}\n";
    application(world, "strict", &[("strict/a.yaml", typo)], &[])?;
    world.until("it is told", |world| Ok(world.app("strict")?["status"].to_string().contains("datum")))
}

fn a_missing_kind_may_be_skipped_in_the_dry_run(world: &World) -> anyhow::Result<()> {
    let widget = |options: &str| {
        format!(
            "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: w\n  annotations: {{argocd.argoproj.io/sync-options: '{options}'}}\n"
        )
    };
    let files = [("kind/a.yaml", config_map("a", "1")), ("kind/w.yaml", widget(""))];
    application(world, "kind", &files.each_ref().map(|(path, text)| (*path, text.as_str())), &[])?;
    ended(world, "kind", "Failed", "one or more objects failed to apply (dry run)")?;
    ensure!(uid(world, "configmap", "kind", "a").is_empty(), "a failed dry run applies nothing");
    world.push(REPO, &[("kind/w.yaml", Some(&widget("SkipDryRunOnMissingResource=true")))])?;
    world.until("the rest is applied", |world| Ok(!uid(world, "configmap", "kind", "a").is_empty()))?;
    ended(world, "kind", "Failed", "one or more objects failed to apply")
}

fn only_what_is_out_of_sync(world: &World) -> anyhow::Result<()> {
    let files = [("only/a.yaml", config_map("a", "1")), ("only/b.yaml", config_map("b", "1"))];
    application(
        world,
        "only",
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
        &["ApplyOutOfSyncOnly=true"],
    )?;
    world.synced("only", "")?;
    let commit = world.push(REPO, &[("only/b.yaml", Some(&config_map("b", "2")))])?;
    world.synced("only", &commit)?;
    let results = state(world, "only")?["syncResult"]["resources"].clone();
    let names: Vec<&Value> = results.as_array().into_iter().flatten().map(|one| &one["name"]).collect();
    ensure!(names == ["b"], "{names:?}");
    Ok(())
}

fn trying_changes_nothing(world: &World) -> anyhow::Result<()> {
    world.push(REPO, &[("trial/a.yaml", Some(&config_map("a", "1")))])?;
    let mut app = world.application("trial", REPO, "trial", "trial");
    app["spec"]["syncPolicy"].as_object_mut().map(|policy| policy.remove("automated"));
    world.apply(&app)?;
    world.until("compared", |world| Ok(world.app("trial")?["status"]["sync"]["status"] == "OutOfSync"))?;
    let operation = json!({"operation": {"sync": {"dryRun": true}}}).to_string();
    kubectl(world, &["patch", "application", "trial", "-n", NAMESPACE, "--type=merge", "-p", &operation])?;
    ended(world, "trial", "Succeeded", "successfully synced (all tasks run)")?;
    ensure!(kubectl(world, &["get", "namespace", "trial"]).is_err(), "not even the namespace is made");
    ensure!(world.app("trial")?["status"]["history"].is_null());
    Ok(())
}

fn a_retry_waits_and_gives_way_to_a_fix(world: &World) -> anyhow::Result<()> {
    let secret = |kind: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ntype: {kind}\n");
    application(world, "again", &[("again/s.yaml", &secret("one.org/a"))], &[])?;
    world.synced("again", "")?;
    let retry = r#"{"spec":{"syncPolicy":{"retry":{"limit":3,"backoff":{"duration":"10m","maxDuration":"10m"}}}}}"#;
    kubectl(world, &["patch", "application", "again", "-n", NAMESPACE, "--type=merge", "-p", retry])?;
    // The type of a Secret may not change.
    world.push(REPO, &[("again/s.yaml", Some(&secret("one.org/b")))])?;
    ended(world, "again", "Running", "Retrying attempt #1 at ")?;
    ensure!(state(world, "again")?["retryCount"] == 1);
    let commit = world
        .push(REPO, &[("again/s.yaml", Some(&secret("one.org/a"))), ("again/c.yaml", Some(&config_map("c", "1")))])?;
    world.synced("again", &commit)?;
    ensure!(state(world, "again")?["retryCount"].is_null());
    Ok(())
}

fn deletion_keeps_and_asks(world: &World) -> anyhow::Result<()> {
    let files = [
        ("gone/free.yaml", config_map("free", "1")),
        ("gone/kept.yaml", optioned("kept", "Delete=false")),
        ("gone/asks.yaml", optioned("asks", "Delete=confirm")),
    ];
    application(world, "gone", &files.each_ref().map(|(path, text)| (*path, text.as_str())), &[])?;
    world.synced("gone", "")?;
    let finalizer = r#"{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}"#;
    kubectl(world, &["patch", "application", "gone", "-n", NAMESPACE, "--type=merge", "-p", finalizer])?;
    kubectl(world, &["delete", "application", "gone", "-n", NAMESPACE, "--wait=false"])?;
    world.until("the free one goes", |world| Ok(uid(world, "configmap", "gone", "free").is_empty()))?;
    ensure!(
        !uid(world, "configmap", "gone", "asks").is_empty() && !uid(world, "application", NAMESPACE, "gone").is_empty()
    );
    approve(world, "gone")?;
    world.until("all has gone", |world| Ok(uid(world, "application", NAMESPACE, "gone").is_empty()))?;
    ensure!(uid(world, "configmap", "gone", "asks").is_empty() && !uid(world, "configmap", "gone", "kept").is_empty());
    Ok(())
}

//! The deletion of an Application on the real parts: waves, hooks before and after, what holds it up, a cluster that is
//! not known any more, Applications of Applications.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "deletion.git";
const OBJECTS: &str = "resources-finalizer.argocd.argoproj.io";

fn there(world: &World, kind: &str, namespace: &str, name: &str) -> bool {
    world.cluster.kubectl(&["get", kind, name, "-n", namespace, "-o", "name"]).is_ok()
}

fn patch(world: &World, kind: &str, namespace: &str, name: &str, patch: &Value) -> anyhow::Result<()> {
    world.cluster.kubectl(&["patch", kind, name, "-n", namespace, "--type=merge", "-p", &patch.to_string()]).map(drop)
}

fn delete(world: &World, app: &str) -> anyhow::Result<()> {
    world.cluster.kubectl(&["delete", "application", app, "-n", NAMESPACE, "--wait=false"]).map(drop)
}

fn gone(world: &World, app: &str) -> anyhow::Result<()> {
    world.until(&format!("{app} is gone"), |world| Ok(!there(world, "application", NAMESPACE, app)))
}

/// An Application that is deleted with its objects.
fn application(world: &World, name: &str, files: &[(&str, String)]) -> anyhow::Result<()> {
    let files: Vec<(String, &str)> =
        files.iter().map(|(file, text)| (format!("{name}/{file}"), text.as_str())).collect();
    let changes: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (path.as_str(), Some(*text))).collect();
    world.push(REPO, &changes)?;
    let mut app = world.application(name, REPO, name, name);
    app["metadata"]["finalizers"] = json!([OBJECTS]);
    world.apply(&app)?;
    world.synced(name, "")
}

fn annotated(name: &str, annotation: &str) -> String {
    config_map(name, "1").replace("\ndata:", &format!("\n  annotations: {{{annotation}}}\ndata:"))
}

fn job(name: &str, phase: &str, more: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: {{argocd.argoproj.io/hook: {phase}, argocd.argoproj.io/hook-delete-policy: HookSucceeded}}\nspec:\n  backoffLimit: 0\n{more}  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: c, image: busybox}}]\n"
    )
}

#[test]
fn an_application_goes_with_all_that_is_its_own() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    the_highest_wave_goes_first(&world)?;
    hooks_run_before_and_after(&world)?;
    a_failing_hook_is_told(&world)?;
    an_unknown_cluster_holds_nothing(&world)?;
    applications_of_applications(&world)
}

fn the_highest_wave_goes_first(world: &World) -> anyhow::Result<()> {
    let wave = |name: &str, wave: &str| annotated(name, &format!("argocd.argoproj.io/sync-wave: '{wave}'"));
    application(world, "waves", &[("low.yaml", wave("low", "0")), ("high.yaml", wave("high", "5"))])?;
    patch(world, "configmap", "waves", "high", &json!({"metadata": {"finalizers": ["test.example/held"]}}))?;
    delete(world, "waves")?;
    world.until("the highest is on its way out", |world| {
        let at = world.cluster.kubectl(&[
            "get",
            "configmap",
            "high",
            "-n",
            "waves",
            "-o",
            "jsonpath={.metadata.deletionTimestamp}",
        ])?;
        Ok(!at.is_empty())
    })?;
    ensure!(there(world, "configmap", "waves", "low") && there(world, "application", NAMESPACE, "waves"));
    patch(world, "configmap", "waves", "high", &json!({"metadata": {"finalizers": null}}))?;
    gone(world, "waves")?;
    ensure!(!there(world, "configmap", "waves", "low") && !there(world, "configmap", "waves", "high"));
    Ok(())
}

fn hooks_run_before_and_after(world: &World) -> anyhow::Result<()> {
    let gate = |name: &str| patch(world, "job", "hooked", name, &json!({"spec": {"suspend": false}}));
    application(
        world,
        "hooked",
        &[
            ("a.yaml", config_map("a", "1")),
            ("before.yaml", job("before", "PreDelete", "  suspend: true\n")),
            ("after.yaml", job("after", "PostDelete", "  suspend: true\n")),
        ],
    )?;
    ensure!(!there(world, "job", "hooked", "before"), "a sync runs no hooks of the deletion");
    world.until("the hooks hold the Application", |world| {
        let finalizers = world.app("hooked")?["metadata"]["finalizers"].to_string();
        Ok(finalizers.contains("pre-delete-finalizer.argocd.argoproj.io/cleanup")
            && finalizers.contains("post-delete-finalizer.argocd.argoproj.io\""))
    })?;
    delete(world, "hooked")?;
    world.until("the hook before runs", |world| Ok(there(world, "job", "hooked", "before")))?;
    ensure!(there(world, "configmap", "hooked", "a"));
    gate("before")?;
    world.until("the hook after runs", |world| Ok(there(world, "job", "hooked", "after")))?;
    ensure!(!there(world, "configmap", "hooked", "a") && !there(world, "job", "hooked", "before"));
    gate("after")?;
    gone(world, "hooked")?;
    world.until("HookSucceeded deletes it", |world| Ok(!there(world, "job", "hooked", "after")))
}

fn a_failing_hook_is_told(world: &World) -> anyhow::Result<()> {
    // No node has it, so the deadline ends it.
    let doomed = job("doomed", "PreDelete", "  activeDeadlineSeconds: 1\n")
        .replace("      containers", "      nodeSelector: {none: such}\n      containers");
    application(world, "failing", &[("a.yaml", config_map("a", "1")), ("doomed.yaml", doomed)])?;
    world.until("the hook holds the Application", |world| {
        Ok(world.app("failing")?["metadata"]["finalizers"].to_string().contains("pre-delete"))
    })?;
    delete(world, "failing")?;
    world.until("it is told", |world| {
        let conditions = world.app("failing")?["status"]["conditions"].to_string();
        Ok(conditions.contains("DeletionError") && conditions.contains("doomed failed"))
    })?;
    ensure!(there(world, "configmap", "failing", "a"), "nothing was deleted");
    patch(world, "application", NAMESPACE, "failing", &json!({"metadata": {"finalizers": [OBJECTS]}}))?;
    gone(world, "failing")?;
    ensure!(!there(world, "configmap", "failing", "a"));
    Ok(())
}

fn an_unknown_cluster_holds_nothing(world: &World) -> anyhow::Result<()> {
    let mut app = world.application("lost", REPO, "waves", "lost");
    app["spec"]["destination"] = json!({"server": "https://gone.example", "namespace": "lost"});
    app["metadata"]["finalizers"] = json!([OBJECTS]);
    world.apply(&app)?;
    delete(world, "lost")?;
    gone(world, "lost")
}

fn applications_of_applications(world: &World) -> anyhow::Result<()> {
    world.push(REPO, &[("leaf/a.yaml", Some(&config_map("a", "1")))])?;
    let mut child = world.application("leaf", REPO, "leaf", "leaf");
    child["metadata"]["finalizers"] = json!([OBJECTS]);
    application(world, "parent", &[("leaf.json", child.to_string())])?;
    world.synced("leaf", "")?;
    delete(world, "parent")?;
    gone(world, "parent")?;
    ensure!(!there(world, "application", NAMESPACE, "leaf") && !there(world, "configmap", "leaf", "a"));
    Ok(())
}

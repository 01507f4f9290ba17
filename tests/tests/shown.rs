//! What users are shown of an Application besides its status, on the real parts: Events, labels in the tree.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::steps::deployment;
use tako_tests::{NAMESPACE, World, cases, config_map};

const REPO: &str = "shown.git";

#[test]
fn users_are_shown_what_is_and_what_would_be() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    cases!(world, events_tell_what_happens, labels_that_settings_name_are_in_the_tree)
}

/// `type reason message` of the Events on an Application.
fn events(world: &World, app: &str) -> anyhow::Result<Vec<String>> {
    let of = format!("involvedObject.kind=Application,involvedObject.name={app}");
    let found: Value = serde_json::from_str(&world.kubectl(&[
        "get",
        "events",
        "-n",
        NAMESPACE,
        "--field-selector",
        &of,
        "-o",
        "json",
    ])?)?;
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let line = |event: &Value| format!("{} {} {}", text(event, "type"), text(event, "reason"), text(event, "message"));
    Ok(found["items"].as_array().into_iter().flatten().map(line).collect())
}

fn told(world: &World, app: &str, wanted: &[String]) -> anyhow::Result<()> {
    for line in wanted {
        world.until(&format!("{app}: {line}"), |world| {
            let events = events(world, app)?;
            ensure!(events.contains(line), "{events:?}");
            Ok(true)
        })?;
    }
    Ok(())
}

fn events_tell_what_happens(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "told", &[("a.yaml", &config_map("a", "1")), ("d.yaml", &deployment("d", "nginx"))], |_| ())?;
    world.synced("told", "")?;
    let commit = world.app("told")?["status"]["sync"]["revision"].as_str().unwrap_or_default().to_owned();
    world.ask("told/sync", Some(&json!({"resources": [{"kind": "ConfigMap", "name": "a"}]})))?;
    world.ends("told", &commit, "Succeeded")?;
    let restart = "told/resource/actions?namespace=told&resourceName=d&version=v1&group=apps&kind=Deployment";
    world.ask(restart, Some(&json!("restart")))?;
    told(
        world,
        "told",
        &[
            format!("Normal OperationStarted Initiated automated sync to '{commit}'"),
            format!("Normal OperationCompleted Sync operation to {commit} succeeded"),
            "Normal ResourceUpdated Updated sync status: OutOfSync -> Synced".to_owned(),
            "Normal ResourceUpdated Updated health status: Progressing -> Healthy".to_owned(),
            "Normal OperationStarted admin initiated partial sync to main".to_owned(),
            format!("Normal OperationCompleted Partial sync operation to {commit} succeeded"),
            "Normal ResourceActionRan admin ran action restart on resource apps/Deployment/d".to_owned(),
        ],
    )?;
    let broken = config_map("a", "1").replace("\ndata:", "\nnonsense: 1\ndata:");
    let commit = world.push(REPO, &[("told/a.yaml", Some(&broken))])?;
    let failed = world.ends("told", &commit, "Failed")?;
    let message = failed["message"].as_str().unwrap_or_default();
    told(world, "told", &[format!("Warning OperationCompleted Sync operation to {commit} failed: {message}")])?;
    let finalizer = json!({"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}});
    world.patch("application", NAMESPACE, "told", &finalizer)?;
    world.kubectl(&["delete", "application", "told", "-n", NAMESPACE, "--wait=false"])?;
    told(world, "told", &["Normal ResourceDeleted deleted resource apps/Deployment 'd'".to_owned()])
}

fn labels_that_settings_name_are_in_the_tree(world: &World) -> anyhow::Result<()> {
    let labelled = config_map("a", "1").replace("metadata:\n", "metadata:\n  labels: {team: blue, other: x}\n");
    world.make(REPO, "labels", &[("a.yaml", &labelled)], |_| ())?;
    world.synced("labels", "")?;
    let info = |world: &World| -> anyhow::Result<Value> {
        Ok(world.ask("labels/resource-tree", None)?["nodes"][0]["info"].clone())
    };
    ensure!(info(world)?.is_null(), "{}", info(world)?);
    world.settings("argocd-cm", &json!({"resource.customLabels": "none, team"}))?;
    world.until("the label is shown", |world| Ok(info(world)? == json!([{"name": "team", "value": "blue"}])))?;
    world.settings("argocd-cm", &json!({}))?;
    world.until("and no more", |world| Ok(info(world)?.is_null()))
}

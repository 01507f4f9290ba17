//! Ignored differences on the real parts: of the Application, of `argocd-cm`, by pointer, jq and field manager.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "ignore.git";

fn deployment(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec:\n  replicas: 1\n  selector: {{matchLabels: {{a: d}}}}\n  template:\n    metadata: {{labels: {{a: d}}}}\n    spec: {{containers: [{{name: c, image: {image}}}]}}\n"
    )
}

fn kubectl(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    world.cluster.kubectl(arguments)
}

fn settings(world: &World, data: Value) -> anyhow::Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": data}))
}

fn patch_app(world: &World, patch: Value) -> anyhow::Result<()> {
    let patch = patch.to_string();
    kubectl(world, &["patch", "application", "ignore", "-n", NAMESPACE, "--type=merge", "-p", &patch]).map(drop)
}

fn edit(world: &World, field: &str, value: &str) -> anyhow::Result<()> {
    let patch = json!({"data": {field: value}}).to_string();
    kubectl(world, &["patch", "configmap", "a", "-n", "ignore", "--type=merge", "-p", &patch]).map(drop)
}

fn replicas(world: &World) -> anyhow::Result<String> {
    kubectl(world, &["get", "deployment", "d", "-n", "ignore", "-o", "jsonpath={.spec.replicas}"])
}

fn sync_status(world: &World) -> anyhow::Result<Value> {
    Ok(world.app("ignore")?["status"]["sync"]["status"].clone())
}

/// An edit that counts is healed: all that was edited before it has been judged by then.
fn judged(world: &World) -> anyhow::Result<()> {
    edit(world, "value", "somebody's")?;
    world.until("healed", |world| Ok(world.config("ignore", "a", "value") == "1"))?;
    world.synced("ignore", "")
}

#[test]
fn what_is_ignored_is_neither_out_of_sync_nor_healed() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(
        REPO,
        &[("app/a.yaml", &format!("{}  free: git\n", config_map("a", "1"))), ("app/d.yaml", &deployment("nginx:1"))],
    )?;
    let mut app = world.application("ignore", REPO, "app", "ignore");
    app["spec"]["ignoreDifferences"] =
        json!([{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}]);
    app["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true", "RespectIgnoreDifferences=true"]);
    world.apply(&app)?;
    world.synced("ignore", "")?;

    // By pointer, and not written over by the sync of another change either.
    kubectl(&world, &["scale", "deployment", "d", "-n", "ignore", "--replicas=3"])?;
    judged(&world)?;
    ensure!(replicas(&world)? == "3", "healing left it alone");
    let commit = world.push(REPO, &[("app/d.yaml", Some(&deployment("nginx:2")))])?;
    world.synced("ignore", &commit)?;
    ensure!(replicas(&world)? == "3", "RespectIgnoreDifferences kept it");

    // By jq, for all Applications. What is ignored may differ for ever.
    settings(
        &world,
        json!({"resource.customizations.ignoreDifferences.ConfigMap": "jqPathExpressions:\n- .data | to_entries[] | select(false)\n- .data.free\n"}),
    )?;
    edit(&world, "free", "mine")?;
    judged(&world)?;
    ensure!(world.config("ignore", "a", "free") == "mine");
    ensure!(sync_status(&world)? == "Synced");

    // A rule that could hang is refused, named, and heals by itself when it is mended.
    patch_app(
        &world,
        json!({"spec": {"ignoreDifferences": [{"kind": "ConfigMap", "jqPathExpressions": ["repeat(.)"]}]}}),
    )?;
    world.until("the rule is named", |world| {
        let conditions = world.app("ignore")?["status"]["conditions"].to_string();
        Ok(conditions.contains("spec.ignoreDifferences[0]: jqPathExpressions") && sync_status(world)? == "Unknown")
    })?;
    patch_app(&world, json!({"spec": {"ignoreDifferences": null}}))?;
    world.until("replicas count again", |world| Ok(replicas(world)? == "1"))?;
    world.synced("ignore", "")?;

    // By field manager.
    settings(
        &world,
        json!({"resource.customizations.ignoreDifferences.apps_Deployment": "managedFieldsManagers: [scaler]\n"}),
    )?;
    let patch = r#"{"spec":{"replicas":4}}"#;
    kubectl(
        &world,
        &["patch", "deployment", "d", "-n", "ignore", "--type=merge", "-p", patch, "--field-manager=scaler"],
    )?;
    judged(&world)?;
    ensure!(replicas(&world)? == "4");
    Ok(())
}

//! Tracking methods, excluded kinds and the filter of live updates, each changed in `argocd-cm` while tako runs.
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tako_devcluster::Tools;
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "tracking.git";
const MARK: &str = "argocd.argoproj.io/tracking-id";
const LABEL: &str = "app.kubernetes.io/instance";

fn settings(world: &World, data: Value) -> anyhow::Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": data}))
}

fn live(world: &World, name: &str) -> anyhow::Result<Value> {
    let text = world.cluster.kubectl(&["get", "configmap", name, "-n", "tracked", "-o", "json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// (annotation, label)
fn marks(world: &World, name: &str) -> anyhow::Result<(Value, Value)> {
    let metadata = live(world, name)?["metadata"].take();
    Ok((metadata["annotations"][MARK].clone(), metadata["labels"][LABEL].clone()))
}

fn conditions(world: &World) -> anyhow::Result<String> {
    Ok(world.app("tracked")?["status"]["conditions"].to_string())
}

/// How many wake-ups there ever were.
fn wakes(world: &World) -> anyhow::Result<i64> {
    let conf = std::fs::read_to_string(world.path("data/nats/nats.conf"))?;
    let field = |name: &str| {
        let rest = conf.split(&format!("{name}: \"")).nth(1).and_then(|rest| rest.split('"').next());
        rest.map(str::to_owned).with_context(|| format!("{name} in nats.conf"))
    };
    let output = std::process::Command::new(Tools::locate()?.program("nats")?)
        .args(["--server", &format!("nats://{}", field("listen")?), "--user", &field("user")?])
        .args(["--password", &field("password")?, "stream", "info", "WORK1", "--json"])
        .output()?;
    let info: Value = serde_json::from_slice(&output.stdout)?;
    info["state"]["last_seq"].as_i64().context("state.last_seq of WORK1")
}

#[test]
fn settings_of_tracking_hold_at_once() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("app/a.yaml", &config_map("a", "1")), ("app/b.yaml", &config_map("b", "1"))])?;
    world.apply(&world.application("tracked", REPO, "app", "tracked"))?;
    world.synced("tracked", "")?;
    let mark = json!("tracked:/ConfigMap:tracked/a");
    ensure!(marks(&world, "a")? == (mark.clone(), Value::Null), "{:?}", marks(&world, "a")?);

    churn_wakes_nobody(&world)?;

    settings(&world, json!({"application.resourceTrackingMethod": "annotation+label", "installationID": "one"}))?;
    world.until("both marks", |world| Ok(marks(world, "a")? == (mark.clone(), json!("tracked"))))?;
    ensure!(live(&world, "a")?["metadata"]["annotations"]["argocd.argoproj.io/installation-id"] == "one");

    settings(&world, json!({"application.resourceTrackingMethod": "label"}))?;
    world.until("the label alone", |world| Ok(marks(world, "a")? == (Value::Null, json!("tracked"))))?;
    world.synced("tracked", "")?;
    world.push(REPO, &[("app/b.yaml", None)])?;
    world.until("pruned by its label", |world| Ok(world.config("tracked", "b", "value").is_empty()))?;

    excluded_kinds_are_left_alone(&world)
}

fn churn_wakes_nobody(world: &World) -> anyhow::Result<()> {
    let annotate = |name: &str, value: usize| {
        let annotation = format!("{name}={value}");
        let arguments = ["annotate", "configmap", "a", "-n", "tracked", "--overwrite", &annotation];
        world.cluster.kubectl(&arguments).map(drop)
    };
    let before = wakes(world)?;
    for at in 0..30 {
        // One of the fields that the argocd-cm of Argo CD leaves out of ConfigMaps.
        annotate("control-plane.alpha.kubernetes.io/leader", at)?;
    }
    let quiet = wakes(world)? - before;
    ensure!(quiet <= 2, "30 changes that do not count woke {quiet} times");
    world.cluster.kubectl(&["patch", "configmap", "a", "-n", "tracked", "-p", r#"{"data": {"value": "2"}}"#])?;
    world.until("one that counts is healed", |world| Ok(world.config("tracked", "a", "value") == "1"))?;
    ensure!(wakes(world)? > before + quiet, "the count counts");
    world.synced("tracked", "")
}

fn excluded_kinds_are_left_alone(world: &World) -> anyhow::Result<()> {
    let with =
        |exclusions: &str| json!({"application.resourceTrackingMethod": "label", "resource.exclusions": exclusions});
    world.push(REPO, &[("app/s.yaml", Some("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"))])?;
    world.synced("tracked", "")?;
    settings(world, with("- {apiGroups: [''], kinds: [Secret]}"))?;
    let words = "Resource /Secret s is excluded in the settings";
    world.until("the condition", |world| Ok(conditions(world)?.contains(words)))?;
    world.push(REPO, &[("app/s.yaml", None), ("app/a.yaml", Some(&config_map("a", "3")))])?;
    world.until("the next commit", |world| Ok(world.config("tracked", "a", "value") == "3"))?;
    world.synced("tracked", "")?;
    let secret = || world.cluster.kubectl(&["get", "secret", "s", "-n", "tracked", "--ignore-not-found", "-o", "name"]);
    ensure!(secret()?.contains("secret/s"), "what is excluded is not pruned");
    ensure!(!conditions(world)?.contains("ExcludedResourceWarning"));
    settings(world, with(""))?;
    world.until("pruned once it is looked at again", |_| Ok(secret()?.trim().is_empty()))?;

    settings(world, with("["))?;
    world.until("a setting that cannot be read is told", |world| Ok(conditions(world)?.contains("resource.exclusions")))
}

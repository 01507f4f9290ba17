//! How objects are written and taken away: each sync option on the real parts, the plain case beside it.
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tako_tests::steps::{Fate, annotated, deployment, job, message_of, told};
use tako_tests::{NAMESPACE, World, cases, config_map};

const REPO: &str = "matrix.git";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[test]
fn options_of_writing_and_pruning() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    cases!(
        world,
        prunes_may_come_last,
        replace_takes_away_what_others_wrote,
        fields_that_nobody_knows_may_be_let_through,
        the_client_applies_unless_told_otherwise,
        the_server_applies,
        what_a_client_applied_is_handed_over_to_the_server,
        the_handover_can_be_turned_off,
        dependents_of_what_is_pruned_go_first_after_or_not_at_all,
        the_namespace_carries_what_is_managed,
        only_what_is_out_of_sync_is_written_wave_by_wave,
        a_crd_and_its_objects_come_in_one_sync,
    )
}

fn options(given: &[&str]) -> impl FnOnce(&mut Value) {
    let all: Vec<&str> = std::iter::once("CreateNamespace=true").chain(given.iter().copied()).collect();
    let all = json!(all);
    move |app| app["spec"]["syncPolicy"]["syncOptions"] = all
}

/// A ConfigMap with a second field.
fn two_fields() -> String {
    format!("{}  old: 'yes'\n", config_map("a", "1"))
}

fn data(world: &World, app: &str) -> anyhow::Result<Value> {
    Ok(world.object("configmap", app, "a")?["data"].clone())
}

fn prunes_may_come_last(world: &World) -> anyhow::Result<()> {
    for (app, given) in [("prunelast", "PruneLast=true"), ("prunefirst", "PruneLast=false")] {
        let files = [("a.yaml", config_map("a", "1")), ("b.yaml", config_map("b", "1"))];
        world.make(REPO, app, &files.each_ref().map(|(file, text)| (*file, text.as_str())), options(&[given]))?;
        world.synced(app, "")?;
        let gate = job("gate", "argocd.argoproj.io/hook: Sync", Fate::Waits);
        let (gone, new) = (format!("{app}/b.yaml"), format!("{app}/gate.yaml"));
        let commit = world.push(REPO, &[(&gone, None), (&new, Some(&gate))])?;
        world.reaches(app, "Running", "waiting for completion of hook batch/Job/gate")?;
        ensure!(world.object("configmap", app, "b")?.is_null() == (app == "prunefirst"), "{app}");
        world.patch("job", app, "gate", &json!({"spec": {"suspend": false}}))?;
        world.synced(app, &commit)?;
        ensure!(world.object("configmap", app, "b")?.is_null(), "{app}");
        let state = world.state(app)?;
        ensure!(message_of(&state, "b") == "pruned", "{:?}", told(&state));
    }
    Ok(())
}

fn replace_takes_away_what_others_wrote(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "replace", &[("a.yaml", &config_map("a", "1"))], options(&["Replace=true"]))?;
    world.synced("replace", "")?;
    world.patch("configmap", "replace", "a", &json!({"data": {"theirs": "x"}}))?;
    let commit = world.push(REPO, &[("replace/a.yaml", Some(&config_map("a", "2")))])?;
    world.synced("replace", &commit)?;
    ensure!(data(world, "replace")? == json!({"value": "2"}), "{}", data(world, "replace")?);
    ensure!(message_of(&world.state("replace")?, "a") == "configmap/a replaced");
    Ok(())
}

fn fields_that_nobody_knows_may_be_let_through(world: &World) -> anyhow::Result<()> {
    let unknown = format!("{}unknown: {{a: b}}\n", config_map("a", "1"));
    world.make(REPO, "lenient", &[("a.yaml", &unknown)], |app| {
        options(&["Validate=false"])(app);
        // The object can never be as it is in git: Argo CD, too, calls it OutOfSync.
        app["spec"]["syncPolicy"]["automated"] = json!({});
    })?;
    world.reaches("lenient", "Succeeded", "configmap/a created")?;
    ensure!(data(world, "lenient")? == json!({"value": "1"}));
    world.compared("lenient", "", "OutOfSync")
}

fn the_client_applies_unless_told_otherwise(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "client", &[("a.yaml", &two_fields())], |_| ())?;
    world.synced("client", "")?;
    ensure!(message_of(&world.state("client")?, "a") == "configmap/a created");
    let live = world.object("configmap", "client", "a")?;
    let last: Value = serde_json::from_str(live["metadata"]["annotations"][LAST_APPLIED].as_str().context("a note")?)?;
    ensure!(last["data"] == json!({"value": "1", "old": "yes"}), "{last}");
    world.patch("configmap", "client", "a", &json!({"data": {"theirs": "x"}}))?;
    let commit = world.push(REPO, &[("client/a.yaml", Some(&config_map("a", "1")))])?;
    world.synced("client", &commit)?;
    ensure!(data(world, "client")? == json!({"value": "1", "theirs": "x"}), "{}", data(world, "client")?);
    ensure!(message_of(&world.state("client")?, "a") == "configmap/a configured");
    Ok(())
}

fn the_server_applies(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "server", &[("a.yaml", &two_fields())], options(&["ServerSideApply=true"]))?;
    world.synced("server", "")?;
    let text = world.kubectl(&["get", "configmap", "a", "-n", "server", "--show-managed-fields", "-o", "json"])?;
    let live: Value = serde_json::from_str(&text)?;
    let applied = |one: &Value| one["manager"] == "argocd-controller" && one["operation"] == "Apply";
    let ours = live["metadata"]["managedFields"].as_array().context("managedFields")?.iter().find(|one| applied(one));
    ensure!(!ours.context("ours")?["fieldsV1"]["f:data"]["f:old"].is_null(), "{ours:?}");
    ensure!(live["metadata"]["annotations"][LAST_APPLIED].is_null());
    let commit = world.push(REPO, &[("server/a.yaml", Some(&config_map("a", "1")))])?;
    world.synced("server", &commit)?;
    ensure!(data(world, "server")? == json!({"value": "1"}), "{}", data(world, "server")?);
    ensure!(message_of(&world.state("server")?, "a") == "configmap/a serverside-applied");
    Ok(())
}

/// Somebody applied two fields with kubectl; git has one of them.
fn applied_by_kubectl(world: &World, app: &str, given: &[&str]) -> anyhow::Result<Value> {
    world.kubectl(&["create", "namespace", app])?;
    let (metadata, data) = (json!({"name": "a", "namespace": app}), json!({"value": "1", "old": "yes"}));
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))?;
    let all: Vec<&str> = std::iter::once("ServerSideApply=true").chain(given.iter().copied()).collect();
    world.make(REPO, app, &[("a.yaml", &config_map("a", "1"))], options(&all))?;
    world.reaches(app, "Succeeded", "serverside-applied")?;
    self::data(world, app)
}

fn what_a_client_applied_is_handed_over_to_the_server(world: &World) -> anyhow::Result<()> {
    let data = applied_by_kubectl(world, "handover", &[])?;
    ensure!(data == json!({"value": "1"}), "{data}");
    world.synced("handover", "")
}

fn the_handover_can_be_turned_off(world: &World) -> anyhow::Result<()> {
    let data = applied_by_kubectl(world, "nohandover", &["ClientSideApplyMigration=false"])?;
    ensure!(data == json!({"value": "1", "old": "yes"}), "{data}");
    Ok(())
}

fn dependents_of_what_is_pruned_go_first_after_or_not_at_all(world: &World) -> anyhow::Result<()> {
    for app in ["foreground", "background", "orphan"] {
        let files = [("a.yaml", config_map("a", "1")), ("d.yaml", deployment("d", "nginx"))];
        let policy = format!("PrunePropagationPolicy={app}");
        world.make(REPO, app, &files.each_ref().map(|(file, text)| (*file, text.as_str())), options(&[&policy]))?;
        world.synced(app, "")?;
        let set = world.kubectl(&["get", "replicaset", "-n", app, "-o", "jsonpath={.items[0].metadata.name}"])?;
        // While the dependent is held, the three differ.
        world.patch("replicaset", app, &set, &json!({"metadata": {"finalizers": ["test.example/held"]}}))?;
        let commit = world.push(REPO, &[(&format!("{app}/d.yaml"), None)])?;
        world.ends(app, &commit, "Succeeded")?;
        let on_its_way = |kind: &str, name: &str| -> anyhow::Result<bool> {
            Ok(world.object(kind, app, name)?["metadata"]["deletionTimestamp"].is_string())
        };
        match app {
            "foreground" => {
                world.until("both are on their way out", |_| {
                    Ok(on_its_way("deployment", "d")? && on_its_way("replicaset", &set)?)
                })?;
            }
            _ => {
                world.until("the owner is gone", |world| Ok(world.object("deployment", app, "d")?.is_null()))?;
                if app == "background" {
                    world.until("the dependent is on its way out", |_| on_its_way("replicaset", &set))?;
                } else {
                    let kept = world.object("replicaset", app, &set)?;
                    ensure!(
                        kept["metadata"]["ownerReferences"].is_null() && !on_its_way("replicaset", &set)?,
                        "{kept}"
                    );
                }
            }
        }
        world.patch("replicaset", app, &set, &json!({"metadata": {"finalizers": null}}))?;
        world.until("the owner is gone", |world| Ok(world.object("deployment", app, "d")?.is_null()))?;
    }
    Ok(())
}

fn the_namespace_carries_what_is_managed(world: &World) -> anyhow::Result<()> {
    let managed = json!({"labels": {"stays": "1", "leaves": "1"}, "annotations": {"note": "x"}});
    world.make(REPO, "labelled", &[("a.yaml", &config_map("a", "1"))], |app| {
        app["spec"]["syncPolicy"]["managedNamespaceMetadata"] = managed;
    })?;
    world.synced("labelled", "")?;
    let metadata =
        || -> anyhow::Result<Value> { Ok(world.object("namespace", "labelled", "labelled")?["metadata"].clone()) };
    let found = metadata()?;
    ensure!(found["labels"]["leaves"] == "1" && found["annotations"]["note"] == "x", "{found}");
    let less = json!({"labels": {"stays": "2", "leaves": null}, "annotations": null});
    let patch = json!({"spec": {"syncPolicy": {"managedNamespaceMetadata": less}}});
    world.patch("application", NAMESPACE, "labelled", &patch)?;
    world.sync("labelled", &json!({}))?;
    let found = metadata()?;
    ensure!(found["labels"]["stays"] == "2" && found["labels"]["leaves"].is_null(), "{found}");
    ensure!(found["annotations"]["note"].is_null(), "{found}");
    ensure!(found["labels"]["kubernetes.io/metadata.name"] == "labelled", "what is not managed stays: {found}");
    Ok(())
}

fn only_what_is_out_of_sync_is_written_wave_by_wave(world: &World) -> anyhow::Result<()> {
    let wave = |manifest: &str, wave: &str| annotated(manifest, &format!("argocd.argoproj.io/sync-wave: '{wave}'"));
    let first = wave(&deployment("d", "nginx"), "0");
    let files = [
        ("d.yaml", first.clone()),
        ("b.yaml", wave(&config_map("b", "1"), "1")),
        ("c.yaml", wave(&config_map("c", "1"), "1")),
    ];
    let files = files.each_ref().map(|(file, text)| (*file, text.as_str()));
    world.make(REPO, "waves", &files, options(&["ApplyOutOfSyncOnly=true"]))?;
    world.synced("waves", "")?;
    // No node takes the new pod, so the first wave is not healthy: and as soon as it is written it is in sync.
    let (d, b) = (
        first.replace("spec: {containers", "spec: {nodeSelector: {matrix: waits}, containers"),
        wave(&config_map("b", "2"), "1"),
    );
    let commit = world.push(REPO, &[("waves/d.yaml", Some(&d)), ("waves/b.yaml", Some(&b))])?;
    world.reaches("waves", "Running", "waiting for healthy state of apps/Deployment/d")?;
    world.until("the first wave is compared", |world| {
        let resources = world.app("waves")?["status"]["resources"].clone();
        let synced = |one: &Value| one["name"] == "d" && one["status"] == "Synced";
        Ok(resources.as_array().is_some_and(|all| all.iter().any(synced)))
    })?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(world.config("waves", "b", "value") == "1", "the second wave waits for the first");
    world.kubectl(&["label", "nodes", "--all", "matrix=waits"])?;
    world.synced("waves", &commit)?;
    let told = told(&world.state("waves")?);
    ensure!(told == ["Sync Deployment/d Succeeded", "Sync ConfigMap/b Succeeded"], "{told:?}");
    ensure!(world.config("waves", "b", "value") == "2");
    Ok(())
}

fn a_crd_and_its_objects_come_in_one_sync(world: &World) -> anyhow::Result<()> {
    let crd = |kind: &str, plural: &str, scope: &str| {
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.matrix.example}}\nspec:\n  group: matrix.example\n  scope: {scope}\n  names: {{kind: {kind}, plural: {plural}}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
        )
    };
    let object = |kind: &str, place: &str| {
        format!("apiVersion: matrix.example/v1\nkind: {kind}\nmetadata: {{name: o{place}}}\nspec: {{size: 1}}\n")
    };
    let files = [
        ("1.yaml", object("Local", "")),
        ("2.yaml", object("Local", "2, namespace: kinds")),
        ("3.yaml", object("Global", "")),
        ("4.yaml", crd("Local", "locals", "Namespaced")),
        ("5.yaml", crd("Global", "globals", "Cluster")),
    ];
    world.make(REPO, "kinds", &files.each_ref().map(|(file, text)| (*file, text.as_str())), |_| ())?;
    world.synced("kinds", "")?;
    for (kind, name) in [("locals", "o"), ("locals", "o2"), ("globals", "o")] {
        ensure!(world.object(kind, "kinds", name)?["spec"]["size"] == 1, "{kind} {name}");
    }
    Ok(())
}

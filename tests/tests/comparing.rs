//! What counts as out of sync, what is told of it, and what automated sync does about it, on the real parts.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::steps::{annotated, deployment};
use tako_tests::{NAMESPACE, World, cases, config_map};

const REPO: &str = "comparing.git";
const COMPARE: &str = "argocd.argoproj.io/compare-options";

#[test]
fn verdicts_and_what_follows_from_them() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    cases!(
        world,
        a_project_that_comes_later_heals,
        an_empty_target_wants_to_be_allowed,
        extraneous_objects_may_be_ignored,
        an_application_may_be_left_alone,
        the_server_may_compare,
        orphaned_resources_are_told,
        the_status_field_counts_if_asked_for,
        excluded_resources_are_told,
        marks_of_another_installation_are_not_ours,
    )
}

fn resource(app: &Value, name: &str) -> Value {
    let all = app["status"]["resources"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
}

/// A project that permits all, with more fields.
fn project(world: &World, name: &str, more: &Value) -> anyhow::Result<()> {
    let mut spec = json!({
        "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    world
        .apply(&json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": metadata, "spec": spec}))
}

fn a_project_that_comes_later_heals(world: &World) -> anyhow::Result<()> {
    // Nothing has happened before: this is the first Application, and its project the first to change.
    world.make(REPO, "later", &[("a.yaml", &config_map("a", "1"))], |app| app["spec"]["project"] = json!("later"))?;
    world.condition("later", "Application referencing project later which does not exist", true)?;
    project(world, "later", &json!({}))?;
    world.synced("later", "")?;
    world.condition("later", "InvalidSpecError", false)
}

fn an_empty_target_wants_to_be_allowed(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "empty", &[("a.yaml", &config_map("a", "1")), ("README.txt", "not a manifest")], |_| ())?;
    world.synced("empty", "")?;
    let commit = world.push(REPO, &[("empty/a.yaml", None)])?;
    world.condition("empty", "auto-sync will wipe out all resources", true)?;
    ensure!(world.config("empty", "a", "value") == "1");
    let allow = json!({"spec": {"syncPolicy": {"automated": {"allowEmpty": true}}}});
    world.patch("application", NAMESPACE, "empty", &allow)?;
    world.synced("empty", &commit)?;
    ensure!(world.object("configmap", "empty", "a")?.is_null());
    world.condition("empty", "wipe out", false)
}

fn extraneous_objects_may_be_ignored(world: &World) -> anyhow::Result<()> {
    let ignored = annotated(&config_map("b", "1"), &format!("{COMPARE}: IgnoreExtraneous"));
    let files = [("a.yaml", config_map("a", "1")), ("b.yaml", ignored), ("c.yaml", config_map("c", "1"))];
    world.make(REPO, "extra", &files.each_ref().map(|(file, text)| (*file, text.as_str())), |app| {
        app["spec"]["syncPolicy"]["automated"] = json!({});
    })?;
    world.synced("extra", "")?;
    let commit = world.push(REPO, &[("extra/b.yaml", None)])?;
    world.compared("extra", &commit, "Synced")?;
    let told = resource(&world.app("extra")?, "b");
    ensure!(told["status"] == "OutOfSync" && told["requiresPruning"] == true, "{told}");
    let commit = world.push(REPO, &[("extra/c.yaml", None)])?;
    world.compared("extra", &commit, "OutOfSync")?;
    ensure!(!world.object("configmap", "extra", "b")?.is_null() && !world.object("configmap", "extra", "c")?.is_null());
    Ok(())
}

fn an_application_may_be_left_alone(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "alone", &[("a.yaml", &config_map("a", "1"))], |_| ())?;
    world.make(REPO, "busy", &[("a.yaml", &config_map("a", "1"))], |_| ())?;
    world.synced("alone", "")?;
    world.synced("busy", "")?;
    let skip = |value: Value| json!({"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": value}}});
    world.patch("application", NAMESPACE, "alone", &skip(json!("true")))?;
    let before = world.app("alone")?["status"].clone();
    let new = config_map("a", "2");
    let commit = world.push(REPO, &[("alone/a.yaml", Some(&new)), ("busy/a.yaml", Some(&new))])?;
    // What is pushed in one commit comes to both; once the other has synced it, this one would have moved.
    world.synced("busy", &commit)?;
    ensure!(world.config("busy", "a", "value") == "2" && world.config("alone", "a", "value") == "1");
    let after = world.app("alone")?["status"].clone();
    ensure!(after == before, "{after} {before}");
    world.patch("application", NAMESPACE, "alone", &skip(Value::Null))?;
    world.synced("alone", &commit)?;
    ensure!(world.config("alone", "a", "value") == "2");
    Ok(())
}

fn the_server_may_compare(world: &World) -> anyhow::Result<()> {
    world.make(REPO, "asked", &[("d.yaml", &deployment("d", "nginx:1"))], |app| {
        app["metadata"]["annotations"] = json!({COMPARE: "ServerSideDiff=true"});
        app["spec"]["syncPolicy"]["automated"] = json!({});
    })?;
    // Synced although the server has filled in its defaults.
    world.synced("asked", "")?;
    let grace = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}});
    // Nobody applied this field: another value than the default is no drift.
    world.patch("deployment", "asked", "d", &grace)?;
    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}}}"#;
    let patch = |image: &str| world.kubectl(&["patch", "deployment", "d", "-n", "asked", "-p", image]).map(drop);
    patch(image)?;
    world.compared("asked", "", "OutOfSync")?;
    patch(&image.replace("nginx:2", "nginx:1"))?;
    world.compared("asked", "", "Synced")?;
    let live = world.object("deployment", "asked", "d")?;
    ensure!(live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 7, "nobody healed it: {live}");
    Ok(())
}

fn orphaned_resources_are_told(world: &World) -> anyhow::Result<()> {
    let asked = json!({"orphanedResources": {"warn": true, "ignore": [{"kind": "ConfigMap", "name": "known-*"}]}});
    project(world, "watchful", &asked)?;
    world.make(REPO, "orphans", &[("a.yaml", &config_map("a", "1"))], |app| {
        app["spec"]["project"] = json!("watchful");
    })?;
    world.synced("orphans", "")?;
    ensure!(!world.app("orphans")?["status"]["conditions"].to_string().contains("OrphanedResourceWarning"));
    world.kubectl(&["create", "configmap", "stray", "-n", "orphans"])?;
    world.kubectl(&["create", "configmap", "known-stray", "-n", "orphans"])?;
    world.condition("orphans", "Application has 1 orphaned resources", true)?;
    ensure!(world.app("orphans")?["status"]["conditions"].to_string().contains("OrphanedResourceWarning"));
    let tree = world.ask("orphans/resource-tree", None)?;
    let names = |list: &str| -> Vec<String> {
        let nodes = tree[list].as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| format!("{}/{}", node["kind"], node["name"]).replace('"', "")).collect()
    };
    ensure!(names("orphanedNodes") == ["ConfigMap/stray"], "{tree}");
    ensure!(names("nodes") == ["ConfigMap/a"], "{tree}");
    world.kubectl(&["delete", "configmap", "stray", "-n", "orphans"])?;
    world.condition("orphans", "OrphanedResourceWarning", false)
}

fn the_status_field_counts_if_asked_for(world: &World) -> anyhow::Result<()> {
    let with_status = format!("{}status: {{collisionCount: 99}}\n", deployment("d", "nginx"));
    world.make(REPO, "status", &[("d.yaml", &with_status)], |app| {
        app["spec"]["syncPolicy"]["automated"] = json!({});
    })?;
    world.synced("status", "")?;
    world.settings("argocd-cm", &json!({"resource.compareoptions": "ignoreResourceStatusField: none\n"}))?;
    world.compared("status", "", "OutOfSync")?;
    world.settings("argocd-cm", &json!({}))?;
    world.compared("status", "", "Synced")
}

fn excluded_resources_are_told(world: &World) -> anyhow::Result<()> {
    world.settings("argocd-cm", &json!({"resource.exclusions": "- {apiGroups: [''], kinds: [Secret]}\n"}))?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
    world.make(REPO, "excluded", &[("a.yaml", &config_map("a", "1")), ("s.yaml", secret)], |_| ())?;
    world.synced("excluded", "")?;
    world.condition("excluded", "Resource /Secret s is excluded in the settings", true)?;
    ensure!(world.app("excluded")?["status"]["conditions"].to_string().contains("ExcludedResourceWarning"));
    ensure!(world.object("secret", "excluded", "s")?.is_null());
    world.settings("argocd-cm", &json!({}))?;
    world.condition("excluded", "ExcludedResourceWarning", false)?;
    world.until("it is applied then", |world| Ok(!world.object("secret", "excluded", "s")?.is_null()))
}

fn marks_of_another_installation_are_not_ours(world: &World) -> anyhow::Result<()> {
    world.settings("argocd-cm", &json!({"installationID": "one"}))?;
    world.make(REPO, "installed", &[("a.yaml", &config_map("a", "1"))], |_| ())?;
    world.synced("installed", "")?;
    let annotations = world.object("configmap", "installed", "a")?["metadata"]["annotations"].clone();
    ensure!(annotations["argocd.argoproj.io/tracking-id"] == "installed:/ConfigMap:installed/a", "{annotations}");
    ensure!(annotations["argocd.argoproj.io/installation-id"] == "one", "{annotations}");
    for (name, installation) in [("theirs", "two"), ("ours", "one")] {
        let annotations = json!({
            "argocd.argoproj.io/tracking-id": format!("installed:/ConfigMap:installed/{name}"),
            "argocd.argoproj.io/installation-id": installation,
        });
        let metadata = json!({"name": name, "namespace": "installed", "annotations": annotations});
        world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))?;
    }
    world.until("ours is pruned", |world| Ok(world.object("configmap", "installed", "ours")?.is_null()))?;
    world.synced("installed", "")?;
    let app = world.app("installed")?;
    ensure!(
        resource(&app, "theirs").is_null() && !world.object("configmap", "installed", "theirs")?.is_null(),
        "{app}"
    );
    world.settings("argocd-cm", &json!({}))?;
    world.until("with no installation named, all marks are ours", |world| {
        Ok(world.object("configmap", "installed", "theirs")?.is_null())
    })
}

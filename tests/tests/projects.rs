//! What a project permits, when it permits it, and in whose name, on the real parts; and what users ask by the API:
//! a rollback, a sync of manifests that they bring.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "projects.git";

fn project(world: &World, name: &str, spec: Value) -> anyhow::Result<()> {
    world.apply(&json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    }))
}

/// All but what `more` says otherwise.
fn open(more: &Value) -> Value {
    let mut spec = json!({
        "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    spec
}

fn application(world: &World, name: &str, project: &str, files: &[(&str, String)]) -> anyhow::Result<()> {
    let files: Vec<(String, &str)> =
        files.iter().map(|(file, text)| (format!("{name}/{file}"), text.as_str())).collect();
    let changes: Vec<(&str, Option<&str>)> = files.iter().map(|(path, text)| (path.as_str(), Some(*text))).collect();
    world.push(REPO, &changes)?;
    let mut app = world.application(name, REPO, name, name);
    app["spec"]["project"] = json!(project);
    app["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
    world.apply(&app)
}

fn condition(world: &World, app: &str, words: &str) -> anyhow::Result<()> {
    world.until(&format!("{app}: {words}"), |world| {
        Ok(world.app(app)?["status"]["conditions"].to_string().contains(words))
    })
}

fn message(world: &World, app: &str, words: &str) -> anyhow::Result<()> {
    world.until(&format!("{app}: {words}"), |world| {
        Ok(world.app(app)?["status"]["operationState"].to_string().contains(words))
    })
}

/// What the API answers to a POST about an Application.
fn post(world: &World, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    let url = world.url(&format!("/api/v1/applications/{path}"));
    let answer = world.http().post(url).bearer_auth(world.token()?).json(body).send()?;
    Ok((answer.status().as_u16(), answer.json()?))
}

#[test]
fn projects_bound_what_is_done() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    the_default_project_is_there(&world)?;
    a_missing_project_is_told_and_its_coming_heals(&world)?;
    repositories_and_destinations(&world)?;
    a_kind_that_is_not_permitted_stops_the_sync(&world)?;
    a_closed_window_holds_syncs(&world)?;
    a_sync_is_done_in_the_name_of_an_account(&world)?;
    a_rollback_takes_the_old_commit(&world)?;
    manifests_may_be_brought(&world)
}

fn the_default_project_is_there(world: &World) -> anyhow::Result<()> {
    world.until("the project default", |world| {
        Ok(world.cluster.kubectl(&["get", "appproject", "default", "-n", NAMESPACE]).is_ok())
    })
}

fn a_missing_project_is_told_and_its_coming_heals(world: &World) -> anyhow::Result<()> {
    application(world, "early", "late", &[("a.yaml", config_map("a", "1"))])?;
    condition(world, "early", "Application referencing project late which does not exist")?;
    ensure!(world.app("early")?["status"]["sync"]["status"] == "Unknown");
    project(world, "late", open(&json!({})))?;
    world.synced("early", "")
}

fn repositories_and_destinations(world: &World) -> anyhow::Result<()> {
    project(world, "narrow", open(&json!({"sourceRepos": ["https://elsewhere.example/*"]})))?;
    application(world, "narrow", "narrow", &[("a.yaml", config_map("a", "1"))])?;
    condition(world, "narrow", "is not permitted in project 'narrow'")?;
    project(
        world,
        "narrow",
        open(&json!({"destinations": [{"server": "*", "namespace": "!narrow"}, {"server": "*", "namespace": "*"}]})),
    )?;
    condition(world, "narrow", "do not match any of the allowed destinations in project 'narrow'")?;
    ensure!(world.config("narrow", "a", "value").is_empty());
    project(world, "narrow", open(&json!({})))?;
    world.synced("narrow", "")
}

fn a_kind_that_is_not_permitted_stops_the_sync(world: &World) -> anyhow::Result<()> {
    project(world, "kinds", open(&json!({"namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}]})))?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n".to_owned();
    application(world, "kinds", "kinds", &[("a.yaml", config_map("a", "1")), ("s.yaml", secret)])?;
    message(world, "kinds", "one or more synchronization tasks are not valid")?;
    message(world, "kinds", "resource :Secret is not permitted in project kinds")?;
    ensure!(world.config("kinds", "a", "value").is_empty(), "nothing was applied");
    Ok(())
}

fn a_closed_window_holds_syncs(world: &World) -> anyhow::Result<()> {
    let deny = json!([{"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"]}]);
    project(world, "timed", open(&json!({"syncWindows": deny})))?;
    application(world, "timed", "timed", &[("a.yaml", config_map("a", "1"))])?;
    world.until("it is compared", |world| Ok(world.app("timed")?["status"]["sync"]["status"] == "OutOfSync"))?;
    let (code, answer) = post(world, "timed/sync", &json!({}))?;
    ensure!(
        code >= 400 && answer["message"].as_str().unwrap_or_default().contains("blocked by sync window"),
        "{code} {answer}"
    );
    // Whoever writes the operation itself is held, too, until the window is gone.
    let operation = json!({"operation": {"initiatedBy": {"username": "somebody"}, "sync": {}}}).to_string();
    world.cluster.kubectl(&["patch", "application", "timed", "-n", NAMESPACE, "--type=merge", "-p", &operation])?;
    message(world, "timed", "Sync operation blocked by sync window")?;
    ensure!(world.config("timed", "a", "value").is_empty());
    project(world, "timed", open(&json!({"syncWindows": []})))?;
    world.synced("timed", "")
}

fn a_sync_is_done_in_the_name_of_an_account(world: &World) -> anyhow::Result<()> {
    world.cluster.kubectl(&["create", "namespace", "named"])?;
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": {"application.sync.impersonation.enabled": "true"}}))?;
    project(world, "named", open(&json!({})))?;
    application(world, "named", "named", &[("a.yaml", config_map("a", "1"))])?;
    message(world, "named", "no service account of project named matches the destination")?;
    let account = json!([{"server": "*", "namespace": "named", "defaultServiceAccount": "deployer"}]);
    project(world, "named", open(&json!({"destinationServiceAccounts": account})))?;
    let again = || {
        world.push(
            REPO,
            &[(
                "named/b.yaml",
                Some(&config_map("b", &world.app("named")?["metadata"]["resourceVersion"].to_string())),
            )],
        )
    };
    again()?;
    message(world, "named", "system:serviceaccount:named:deployer")?;
    ensure!(world.config("named", "a", "value").is_empty(), "the account has no rights yet");
    world.cluster.kubectl(&[
        "create",
        "rolebinding",
        "deployer",
        "-n",
        "named",
        "--clusterrole=admin",
        "--serviceaccount=named:deployer",
    ])?;
    let commit = again()?;
    world.synced("named", &commit)?;
    a_deletion_is_done_in_the_name_of_an_account(world)?;
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": {}}))
}

/// What the account may not delete stays, and so does the Application, which tells why.
fn a_deletion_is_done_in_the_name_of_an_account(world: &World) -> anyhow::Result<()> {
    let binding = |role: &str| -> anyhow::Result<()> {
        world.kubectl(&["delete", "rolebinding", "deployer", "-n", "named", "--ignore-not-found"])?;
        let (role, account) = (format!("--clusterrole={role}"), "--serviceaccount=named:deployer");
        world.kubectl(&["create", "rolebinding", "deployer", "-n", "named", &role, account]).map(drop)
    };
    binding("view")?;
    let finalizer = json!({"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}});
    world.patch("application", NAMESPACE, "named", &finalizer)?;
    world.kubectl(&["delete", "application", "named", "-n", NAMESPACE, "--wait=false"])?;
    world.condition("named", "DeletionError", true)?;
    let conditions = world.app("named")?["status"]["conditions"].to_string();
    ensure!(conditions.contains("system:serviceaccount:named:deployer") && conditions.contains("cannot delete"));
    ensure!(world.config("named", "a", "value") == "1", "nothing was deleted");
    binding("admin")?;
    world.until("named is gone", |world| Ok(world.object("application", NAMESPACE, "named")?.is_null()))?;
    ensure!(world.object("configmap", "named", "a")?.is_null());
    Ok(())
}

fn a_rollback_takes_the_old_commit(world: &World) -> anyhow::Result<()> {
    application(world, "back", "default", &[("a.yaml", config_map("a", "old"))])?;
    world.synced("back", "")?;
    let old = world.app("back")?["status"]["history"][0].clone();
    let commit = world.push(REPO, &[("back/a.yaml", Some(&config_map("a", "new")))])?;
    world.synced("back", &commit)?;
    let (code, answer) = post(world, "back/rollback", &json!({"id": old["id"]}))?;
    ensure!(
        code >= 400 && answer.to_string().contains("rollback cannot be initiated when auto-sync is enabled"),
        "{answer}"
    );
    world.cluster.kubectl(&[
        "patch",
        "application",
        "back",
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        r#"{"spec":{"syncPolicy":{"automated":null}}}"#,
    ])?;
    let (code, answer) = post(world, "back/rollback", &json!({"id": old["id"]}))?;
    ensure!(code == 200, "{answer}");
    world.until("it is back", |world| {
        let app = world.app("back")?;
        Ok(world.config("back", "a", "value") == "old" && app["status"]["history"][2]["revision"] == old["revision"])
    })
}

fn manifests_may_be_brought(world: &World) -> anyhow::Result<()> {
    let local = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"value": "local"}});
    let (code, answer) = post(world, "back/sync", &json!({"manifests": [local.to_string()]}))?;
    ensure!(code == 200, "{answer}");
    world.until("what was brought is there", |world| Ok(world.config("back", "a", "value") == "local"))
}

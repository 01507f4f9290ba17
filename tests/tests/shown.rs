//! What users are shown of an Application besides its status, on the real parts: Events, labels in the tree, the plan
//! of a sync before it runs, target and live state with Secrets masked.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::steps::{Fate, annotated, deployment, job};
use tako_tests::{NAMESPACE, World, cases, config_map};

const REPO: &str = "shown.git";

#[test]
fn users_are_shown_what_is_and_what_would_be() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("README", "x")])?;
    cases!(
        world,
        events_tell_what_happens,
        labels_that_settings_name_are_in_the_tree,
        a_plan_is_seen_before_it_runs,
        no_secret_is_shown,
        an_older_crd_is_lived_with,
    )
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

fn a_plan_is_seen_before_it_runs(world: &World) -> anyhow::Result<()> {
    let files = [
        ("a.yaml", config_map("a", "1")),
        ("late.yaml", annotated(&config_map("late", "1"), "argocd.argoproj.io/sync-wave: '2'")),
        ("pre.yaml", job("pre", "argocd.argoproj.io/hook: PreSync", Fate::Completes)),
        ("old.yaml", config_map("old", "1")),
    ];
    world.make(REPO, "plan", &files.each_ref().map(|(file, text)| (*file, text.as_str())), |app| {
        app["spec"]["syncPolicy"]["automated"] = Value::Null;
    })?;
    world.compared("plan", "", "OutOfSync")?;
    ensure!(world.ask("plan/sync-plan", None)?["createsNamespace"] == "plan");
    ensure!(world.object("namespace", "", "plan")?.is_null(), "nothing was done");
    ensure!(world.sync("plan", &json!({}))?["phase"] == "Succeeded");
    let commit = world.push(REPO, &[("plan/old.yaml", None), ("plan/a.yaml", Some(&config_map("a", "2")))])?;
    world.compared("plan", &commit, "OutOfSync")?;
    let plan = world.ask("plan/sync-plan?prune=true", None)?;
    let text = plan["text"].as_str().unwrap_or_default();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let want = [
        "PreSync 0 run hook batch/Job/plan/pre",
        "Sync 0 prune /ConfigMap/plan/old",
        "Sync 0 apply /ConfigMap/plan/a",
        "Sync 2 apply /ConfigMap/plan/late",
    ];
    ensure!(lines.iter().map(|words| words.join(" ")).eq(want), "{text}");
    let shape: Vec<String> = plan["phases"].as_array().into_iter().flatten().flat_map(places).collect();
    ensure!(shape == ["PreSync 0 hook pre", "Sync 0 prune old", "Sync 0 apply a", "Sync 2 apply late"], "{plan}");
    ensure!(plan["revision"] == commit.as_str() && plan.get("createsNamespace").is_none(), "{plan}");
    let part = world.ask("plan/sync-plan?resources=:ConfigMap:late", None)?;
    ensure!(part["phases"].as_array().into_iter().flatten().flat_map(places).eq(["Sync 2 apply late"]), "{part}");
    ensure!(world.config("plan", "a", "value") == "1" && world.config("plan", "old", "value") == "1");
    let refused = world.ask("plan/sync-plan?revision=nowhere", None);
    ensure!(refused.is_err_and(|error| error.to_string().contains("nowhere")));
    Ok(())
}

/// `phase wave action name` of every task of a phase.
fn places(phase: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let waves = phase["waves"].as_array().into_iter().flatten();
    let of_wave = |wave: &Value| -> Vec<String> {
        let tasks = wave["tasks"].as_array().into_iter().flatten();
        let line = |task: &Value| {
            format!("{} {} {} {}", text(&phase["phase"]), wave["wave"], text(&task["action"]), text(&task["name"]))
        };
        tasks.map(line).collect()
    };
    waves.flat_map(of_wave).collect()
}

fn no_secret_is_shown(world: &World) -> anyhow::Result<()> {
    // hunter2 and its like, in every place where a Secret may have it; base64 of it, too.
    const VALUES: [&str; 5] = ["hunter2", "aHVudGVyMg==", "letmein", "bGV0bWVpbg==", "sesame"];
    let secret = |name: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  annotations: {{open: sesame}}\nstringData: {{plain: {value}}}\ndata: {{coded: aHVudGVyMg==}}\n"
        )
    };
    world.settings("argocd-cm", &json!({"resource.sensitive.mask.annotations": "open"}))?;
    for (app, options) in [("masked", ""), ("masked-server", "ServerSideDiff=true")] {
        let files = [("s.yaml", secret("s", "hunter2")), ("gone.yaml", secret("gone", "hunter2"))];
        world.make(REPO, app, &files.each_ref().map(|(file, text)| (*file, text.as_str())), |made| {
            made["metadata"]["annotations"] = json!({"argocd.argoproj.io/compare-options": options});
        })?;
        world.synced(app, "")?;
        world.patch("application", NAMESPACE, app, &json!({"spec": {"syncPolicy": {"automated": null}}}))?;
        let changes = [
            (format!("{app}/s.yaml"), Some(secret("s", "letmein"))),
            (format!("{app}/gone.yaml"), None),
            (format!("{app}/new.yaml"), Some(secret("new", "letmein"))),
        ];
        let changes: Vec<(&str, Option<&str>)> =
            changes.iter().map(|(path, text)| (path.as_str(), text.as_deref())).collect();
        let commit = world.push(REPO, &changes)?;
        world.compared(app, &commit, "OutOfSync")?;
        let answer = world.ask(&format!("{app}/managed-resources"), None)?;
        let text = answer.to_string();
        for value in VALUES {
            ensure!(!text.contains(value), "{app}: {value} is shown: {answer}");
        }
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = items.iter().map(|item| item["name"].as_str().unwrap_or_default()).collect();
        ensure!(names == ["gone", "new", "s"], "{names:?}");
        let state = |at: usize, side: &str| -> anyhow::Result<Value> {
            Ok(serde_json::from_str(items[at][side].as_str().unwrap_or_default())?)
        };
        ensure!(state(0, "targetState")?.is_null() && state(0, "predictedLiveState")?.is_null());
        ensure!(state(1, "liveState")?.is_null() && items[1]["modified"] == true);
        let (target, live) = (state(2, "targetState")?, state(2, "liveState")?);
        ensure!(live["data"]["coded"] == "++++++++" && target["data"]["coded"] == "++++++++", "{target} {live}");
        ensure!(live["data"]["plain"] != target["data"]["plain"] && items[2]["modified"] == true, "{target} {live}");
        let (normalized, predicted) = (state(2, "normalizedLiveState")?, state(2, "predictedLiveState")?);
        ensure!(normalized["data"]["plain"] != predicted["data"]["plain"], "{normalized} {predicted}");
        ensure!(normalized["data"]["coded"] == predicted["data"]["coded"], "{normalized} {predicted}");
        let one = world.ask(&format!("{app}/managed-resources?kind=Secret&name=s"), None)?;
        ensure!(one["items"].as_array().is_some_and(|items| items.len() == 1), "{one}");
    }
    world.settings("argocd-cm", &json!({}))?;
    let unsigned = world.http().get(world.url("/api/v1/applications/masked/managed-resources")).send()?;
    ensure!(unsigned.status().as_u16() == 401);
    let unsigned = world.http().get(world.url("/api/v1/applications/plan/sync-plan")).send()?;
    ensure!(unsigned.status().as_u16() == 401);
    Ok(())
}

/// Its CRD has no `summary.isAppOfApps`: an Application of Applications is written once, not at every comparison.
fn an_older_crd_is_lived_with(world: &World) -> anyhow::Result<()> {
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/summary/properties/isAppOfApps";
    let older = json!([{"op": "remove", "path": field}]).to_string();
    world.kubectl(&["patch", "crd", "applications.argoproj.io", "--type=json", "-p", &older])?;
    world.push(REPO, &[("leaf/a.yaml", Some(&config_map("leaf", "1")))])?;
    let leaf = world.application("leaf", REPO, "leaf", "leaf").to_string();
    world.make(REPO, "parent", &[("leaf.json", &leaf), ("a.yaml", &config_map("a", "1"))], |app| {
        app["spec"]["syncPolicy"]["automated"] = Value::Null;
    })?;
    world.until("the API server goes by the older CRD", |world| {
        let written = json!({"status": {"summary": {"isAppOfApps": true}}}).to_string();
        let arguments =
            ["patch", "application", "parent", "-n", NAMESPACE, "--type=merge", "-o", "json", "-p", &written];
        let stored: Value = serde_json::from_str(&world.kubectl(&arguments)?)?;
        Ok(stored["status"]["summary"].get("isAppOfApps").is_none())
    })?;
    ensure!(world.sync("parent", &json!({}))?["phase"] == "Succeeded");
    world.synced("parent", "")?;
    world.until("the tree has the Application", |world| {
        let tree = world.ask("parent/resource-tree", None)?;
        Ok(tree["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(|node| node["kind"] == "Application")))
    })?;
    // A label that git does not have has the object compared, with the same verdict. The first look writes once more.
    let compare = |label: &str| -> anyhow::Result<Value> {
        let labels = json!({"metadata": {"labels": {"looked": label}}});
        world.patch("configmap", "parent", "a", &labels)?;
        std::thread::sleep(std::time::Duration::from_secs(3));
        Ok(world.app("parent")?["metadata"]["resourceVersion"].clone())
    };
    let version = compare("1")?;
    for label in ["2", "3"] {
        ensure!(compare(label)? == version, "written again though nothing is another: {}", world.app("parent")?);
    }
    world.patch("configmap", "parent", "a", &json!({"data": {"value": "2"}}))?;
    world.compared("parent", "", "OutOfSync")
}

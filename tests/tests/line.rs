//! The straight line on the real parts: push, heal, prune, break, lose, kill.
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "line.git";

fn world() -> anyhow::Result<World> {
    let world = World::start()?;
    world.repository(REPO, &[("app/a.yaml", &config_map("a", "1")), ("app/b.yaml", &config_map("b", "1"))])?;
    world.apply(&world.application("line", REPO, "app", "line"))?;
    world.synced("line", "")?;
    Ok(world)
}

fn condition(app: &Value, kind: &str) -> String {
    let all = app["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.iter()
        .find(|one| one["type"] == kind)
        .map(|one| one["message"].as_str().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

#[test]
fn the_straight_line() -> anyhow::Result<()> {
    let mut world = world()?;
    pushed_is_applied(&world)?;
    edited_is_healed(&world)?;
    deleted_is_pruned(&world)?;
    bad_yaml_names_file_and_line(&world)?;
    a_refused_secret_is_not_quoted(&world)?;
    unreachable_repository_is_told(&world)?;
    without_a_webhook_the_timer_finds_it(&world)?;
    a_refresh_is_answered(&world)?;
    a_hard_refresh_renders_anew(&world)?;
    the_api_server_may_restart(&world)?;
    nats_may_be_killed(&world)?;
    tako_may_be_killed(&mut world)?;
    the_api_answers_only_who_is_signed_in(&world)?;
    a_webhook_needs_the_right_signature(&world)?;
    deleting_the_application_deletes_what_it_made(&world)
}

fn pushed_is_applied(world: &World) -> anyhow::Result<()> {
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "2")))])?;
    world.until("the change is in the cluster", |world| Ok(world.config("line", "a", "value") == "2"))?;
    world.synced("line", &commit)?;
    let app = world.app("line")?;
    let results = app["status"]["operationState"]["syncResult"]["resources"].as_array().context("no results")?.clone();
    assert_eq!(results.len(), 2);
    assert!(app["status"]["history"].as_array().is_some_and(|history| history.len() >= 2));
    let manager = world.cluster.kubectl(&[
        "get",
        "configmap",
        "a",
        "-n",
        "line",
        "-o",
        "jsonpath={.metadata.managedFields[*].manager}",
        "--show-managed-fields",
    ])?;
    assert_eq!(manager, "argocd-controller");
    Ok(())
}

fn edited_is_healed(world: &World) -> anyhow::Result<()> {
    world.cluster.kubectl(&[
        "patch",
        "configmap",
        "a",
        "-n",
        "line",
        "--type=merge",
        "-p",
        r#"{"data":{"value":"drifted"}}"#,
    ])?;
    world.until("the edit is undone", |world| Ok(world.config("line", "a", "value") == "2"))?;
    world.cluster.kubectl(&["delete", "configmap", "b", "-n", "line"])?;
    world.until("the deleted object is back", |world| Ok(world.config("line", "b", "value") == "1"))?;
    world.synced("line", "")
}

fn deleted_is_pruned(world: &World) -> anyhow::Result<()> {
    // A stranger's object and a copy with our mark stay.
    world.cluster.kubectl(&["create", "configmap", "stranger", "-n", "line"])?;
    world.cluster.kubectl(&["create", "configmap", "copy", "-n", "line"])?;
    world.cluster.kubectl(&[
        "annotate",
        "configmap",
        "copy",
        "-n",
        "line",
        "argocd.argoproj.io/tracking-id=line:/ConfigMap:line/a",
    ])?;
    let commit = world.push(REPO, &[("app/b.yaml", None)])?;
    world.until("b is gone", |world| Ok(world.cluster.kubectl(&["get", "configmap", "b", "-n", "line"]).is_err()))?;
    world.synced("line", &commit)?;
    world.cluster.kubectl(&["get", "configmap", "stranger", "copy", "-n", "line"])?;
    Ok(())
}

fn bad_yaml_names_file_and_line(world: &World) -> anyhow::Result<()> {
    world.push(REPO, &[("app/c.yaml", Some("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n bad: [\n"))])?;
    world.until("the condition names the place", |world| {
        Ok(condition(&world.app("line")?, "ComparisonError").starts_with("app/c.yaml:5:"))
    })?;
    let app = world.app("line")?;
    assert_eq!(app["status"]["sync"]["status"], "Unknown");
    assert_eq!(app["status"]["health"]["status"], "Healthy", "the last good state is kept");
    assert_eq!(world.config("line", "a", "value"), "2");
    let commit = world.push(REPO, &[("app/c.yaml", None)])?;
    world.synced("line", &commit)?;
    assert_eq!(condition(&world.app("line")?, "ComparisonError"), "");
    Ok(())
}

/// The API server's refusal quotes the value: "expected string, got &value.valueUnstructured{Value:…}".
fn a_refused_secret_is_not_quoted(world: &World) -> anyhow::Result<()> {
    const VALUE: &str = "471100815";
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations:\n    argocd.argoproj.io/sync-options: ServerSideApply=true\nstringData:\n  password: {VALUE}\n"
    );
    world.push(REPO, &[("app/s.yaml", Some(&secret))])?;
    world.until("the refusal names the field", |world| {
        let app = world.app("line")?;
        Ok(app["status"]["operationState"]["syncResult"].to_string().contains("stringData"))
    })?;
    assert!(!world.app("line")?.to_string().contains(VALUE), "a value of a Secret in the Application");
    let log = std::fs::read_to_string(world.path("tako.log"))?;
    assert!(!log.contains(VALUE), "a value of a Secret in the log");
    let commit =
        world.push(REPO, &[("app/s.yaml", None), ("app/a.yaml", Some(&config_map("a", "after the Secret")))])?;
    world.synced("line", &commit)
}

fn unreachable_repository_is_told(world: &World) -> anyhow::Result<()> {
    let mut app = world.application("lost", "nowhere.git", "app", "lost");
    app["spec"]["source"]["repoURL"] = json!("http://user:hunter2@127.0.0.1:1/nowhere.git");
    world.apply(&app)?;
    world.until("the condition tells", |world| {
        Ok(condition(&world.app("lost")?, "ComparisonError").contains("cannot be read"))
    })?;
    assert!(!condition(&world.app("lost")?, "ComparisonError").contains("hunter2"), "a password in a condition");
    world.cluster.kubectl(&["delete", "application", "lost", "-n", NAMESPACE])?;
    one_that_was_good_has_a_grace(world)
}

/// `controller.repo.error.grace.period.seconds`, three minutes when not set.
fn one_that_was_good_has_a_grace(world: &World) -> anyhow::Result<()> {
    let (here, away) = (world.path("git").join(REPO), world.path("git").join("away.git"));
    std::fs::rename(&here, &away)?;
    let refresh = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}).to_string();
    world.cluster.kubectl(&["patch", "application", "line", "-n", NAMESPACE, "--type=merge", "-p", &refresh])?;
    world.until("the refresh is answered from what is known", |world| {
        Ok(world.app("line")?["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null())
    })?;
    let app = world.app("line")?;
    assert_eq!((condition(&app, "ComparisonError").as_str(), &app["status"]["sync"]["status"]), ("", &json!("Synced")));
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cmd-params-cm", "namespace": NAMESPACE}, "data": {"controller.repo.error.grace.period.seconds": "1"}}))?;
    world.until("after the grace the condition tells", |world| {
        world.webhook(REPO)?;
        Ok(condition(&world.app("line")?, "ComparisonError").contains("cannot be read"))
    })?;
    assert_eq!(world.app("line")?["status"]["sync"]["status"], "Unknown");
    std::fs::rename(&away, &here)?;
    world.webhook(REPO)?;
    world.synced("line", "")?;
    assert_eq!(condition(&world.app("line")?, "ComparisonError"), "");
    world.cluster.kubectl(&["delete", "configmap", "argocd-cmd-params-cm", "-n", NAMESPACE]).map(drop)
}

fn without_a_webhook_the_timer_finds_it(world: &World) -> anyhow::Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": {"timeout.reconciliation": "1s"}}))?;
    let commit = tako_devcluster::sample::commit(
        &world.path("git").join(REPO),
        &[("app/a.yaml", Some(&config_map("a", "by timer")))],
        "no webhook",
    )?;
    world.synced("line", &commit)?;
    world.cluster.kubectl(&["delete", "configmap", "argocd-cm", "-n", NAMESPACE]).map(drop)
}

fn a_refresh_is_answered(world: &World) -> anyhow::Result<()> {
    let commit = tako_devcluster::sample::commit(
        &world.path("git").join(REPO),
        &[("app/a.yaml", Some(&config_map("a", "by refresh")))],
        "no webhook",
    )?;
    let app = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "normal"}}}).to_string();
    world.cluster.kubectl(&["patch", "application", "line", "-n", NAMESPACE, "--type=merge", "-p", &app])?;
    world.synced("line", &commit)?;
    world.until("the request is gone", |world| {
        Ok(world.app("line")?["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null())
    })
}

fn a_hard_refresh_renders_anew(world: &World) -> anyhow::Result<()> {
    let ask = |kind: &str| {
        let patch = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": kind}}}).to_string();
        world.cluster.kubectl(&["patch", "application", "line", "-n", NAMESPACE, "--type=merge", "-p", &patch])?;
        world.until("the request is gone", |world| {
            Ok(world.app("line")?["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null())
        })
    };
    let rendered = || {
        let subject = "tako.v1.evt.default.argocd.line.rendered";
        Ok::<_, anyhow::Error>(world.nats(&["stream", "get", "EVT1", "--json", "--last-for", subject])?["seq"].clone())
    };
    let before = rendered()?;
    ask("normal")?;
    assert_eq!(rendered()?, before, "the same input is rendered once");
    ask("hard")?;
    // What happened is told beside the work.
    world.until("it was rendered anew", |_| Ok(rendered()? != before))
}

fn the_api_server_may_restart(world: &World) -> anyhow::Result<()> {
    world.cluster.stop_apiserver()?;
    world.cluster.start_apiserver()?;
    let commit = world.push(REPO, &[("app/a.yaml", Some(&config_map("a", "3")))])?;
    world.synced("line", &commit)?;
    assert_eq!(world.config("line", "a", "value"), "3");
    Ok(())
}

fn kill_nats(world: &World) -> anyhow::Result<()> {
    let conf = world.path("data/nats/nats.conf").display().to_string();
    let killed = Command::new("pkill").args(["-KILL", "-f", &format!("nats-server -c {conf}")]).status()?;
    anyhow::ensure!(killed.success(), "nats-server was not there to be killed");
    Ok(())
}

fn many(from: u32) -> Vec<(String, String)> {
    (0..40)
        .map(|number| (format!("app/many-{number}.yaml"), config_map(&format!("many-{number}"), &from.to_string())))
        .collect()
}

fn push_many(world: &World, value: u32) -> anyhow::Result<String> {
    let files = many(value);
    let changes: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    world.push(REPO, &changes)
}

fn all_have(world: &World, value: u32) -> anyhow::Result<()> {
    world.until("all of them are there", |world| {
        let found = world.cluster.kubectl(&[
            "get",
            "configmaps",
            "-n",
            "line",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}={.data.value} {end}",
        ])?;
        Ok((0..40).all(|number| found.contains(&format!("many-{number}={value} "))))
    })
}

fn nats_may_be_killed(world: &World) -> anyhow::Result<()> {
    let commit = push_many(world, 1)?;
    world.until("the sync has begun", |world| Ok(world.config("line", "many-0", "value") == "1"))?;
    kill_nats(world)?;
    all_have(world, 1)?;
    world.synced("line", &commit)?;
    // And while nothing happens.
    kill_nats(world)?;
    let commit = sample_push(world, "4")?;
    world.synced("line", &commit)
}

fn sample_push(world: &World, value: &str) -> anyhow::Result<String> {
    let commit = tako_devcluster::sample::commit(
        &world.path("git").join(REPO),
        &[("app/a.yaml", Some(&config_map("a", value)))],
        "change",
    )?;
    world.until("the webhook is taken", |world| Ok(world.webhook(REPO).is_ok()))?;
    Ok(commit)
}

fn tako_may_be_killed(world: &mut World) -> anyhow::Result<()> {
    for round in 2..5 {
        let before = history(world)?;
        let commit = push_many(world, round)?;
        world.until("the sync has begun", |world| {
            Ok(world.config("line", &format!("many-{}", round * 3), "value") == round.to_string())
        })?;
        world.tako.take().context("tako is not running")?.kill();
        world.start_tako()?;
        all_have(world, round)?;
        world.synced("line", &commit)?;
        let after = history(world)?;
        assert_eq!(after, before + 1, "the commit was deployed once: nothing lost, nothing twice");
    }
    Ok(())
}

fn history(world: &World) -> anyhow::Result<i64> {
    let app = world.app("line")?;
    app["status"]["history"].as_array().and_then(|history| history.last()?["id"].as_i64()).context("no history")
}

fn the_api_answers_only_who_is_signed_in(world: &World) -> anyhow::Result<()> {
    for path in
        ["/api/v1/applications", "/api/v1/applications/line", "/api/v1/applications/line/resource-tree", "/api/v1/live"]
    {
        assert_eq!(world.http().get(world.url(path)).send()?.status(), 401, "{path}");
        assert_eq!(world.http().get(world.url(path)).bearer_auth("x.y.z").send()?.status(), 401, "{path}");
    }
    assert_eq!(world.http().post(world.url("/api/v1/applications/line/sync")).send()?.status(), 401);
    let wrong = world
        .http()
        .post(world.url("/api/v1/session"))
        .json(&json!({"username": "admin", "password": "wrong"}))
        .send()?;
    assert_eq!((wrong.status().as_u16(), wrong.json::<Value>()?["code"].clone()), (401, json!(16)));
    let token = world.token()?;
    let list: Value = world.http().get(world.url("/api/v1/applications")).bearer_auth(&token).send()?.json()?;
    assert_eq!(list["items"][0]["metadata"]["name"], "line");
    let tree: Value =
        world.http().get(world.url("/api/v1/applications/line/resource-tree")).bearer_auth(&token).send()?.json()?;
    assert!(tree["nodes"].as_array().is_some_and(|nodes| nodes.len() >= 41));
    // By cookie, a request of another page is refused.
    let forged = world
        .http()
        .post(world.url("/api/v1/applications/line/sync"))
        .header("Cookie", format!("argocd.token={token}"))
        .header("Origin", "https://evil.example")
        .send()?;
    assert_eq!(forged.status(), 403);
    let asked = world.http().post(world.url("/api/v1/applications/line/sync")).bearer_auth(&token).body("{}").send()?;
    assert!(asked.status().is_success(), "{}", asked.text()?);
    world.until("the sync is the admin's", |world| {
        Ok(world.app("line")?["status"]["operationState"]["operation"]["initiatedBy"]["username"] == "admin")
    })?;
    world.synced("line", "")?;
    assert!(!world.audit()?.is_empty());
    Ok(())
}

fn a_webhook_needs_the_right_signature(world: &World) -> anyhow::Result<()> {
    use hmac::{KeyInit as _, Mac as _};
    world.cluster.kubectl(&[
        "patch",
        "secret",
        "argocd-secret",
        "-n",
        NAMESPACE,
        "-p",
        r#"{"stringData":{"webhook.github.secret":"shh"}}"#,
    ])?;
    let body = json!({"ref": "refs/heads/main", "repository": {"clone_url": world.git.url(REPO)}}).to_string();
    let send = |signature: Option<String>| {
        let request = world.http().post(world.url("/api/webhook")).header("X-GitHub-Event", "push").body(body.clone());
        signature
            .into_iter()
            .fold(request, |request, signature| request.header("X-Hub-Signature-256", signature))
            .send()
    };
    world.until("an unsigned webhook is refused", |_| Ok(send(None)?.status() == 400))?;
    assert_eq!(send(Some(format!("sha256={}", "0".repeat(64))))?.status(), 400);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"shh")?;
    mac.update(body.as_bytes());
    assert_eq!(send(Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes()))))?.status(), 200);
    Ok(())
}

fn deleting_the_application_deletes_what_it_made(world: &World) -> anyhow::Result<()> {
    world.cluster.kubectl(&[
        "patch",
        "application",
        "line",
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}"#,
    ])?;
    world.cluster.kubectl(&["delete", "application", "line", "-n", NAMESPACE, "--timeout=60s"])?;
    assert!(world.cluster.kubectl(&["get", "configmap", "a", "-n", "line"]).is_err());
    world.cluster.kubectl(&["get", "configmap", "stranger", "copy", "-n", "line"])?;
    Ok(())
}

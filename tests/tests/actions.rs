//! Health by scripts of `argocd-cm`, and resource actions, on the real parts: a changed script judges objects that did
//! not change; actions are listed, run, refused.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const REPO: &str = "actions.git";

const WORKLOADS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: d}}
  template:
    metadata: {labels: {a: d}}
    spec: {containers: [{name: c, image: nginx}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    metadata: {labels: {made: by-hand}}
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
";

const HEALTH: &str = "if obj.data.value == 'bad' then return {status = 'Degraded', message = 'told so'} end
return {status = 'Healthy'}";

const MARK: &str = "discovery.lua: return {mark = {displayName = 'Mark it'}}
definitions:
- name: mark
  action.lua: |
    obj.metadata.annotations['marked-with'] = actionParams['what'] or 'nothing'
    return obj
- name: stray
  action.lua: |
    obj.metadata.name = 'other'
    return obj
";

fn settings(world: &World, data: Value) -> anyhow::Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": NAMESPACE}, "data": data}))
}

fn health(world: &World) -> anyhow::Result<Value> {
    Ok(world.app("actions")?["status"]["health"]["status"].clone())
}

/// `(status, answer)` of a request about one object.
fn ask(world: &World, token: &str, object: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
    let url = world.url(&format!("/api/v1/applications/actions/resource/actions?namespace=actions&{object}"));
    let request = match body {
        None => world.http().get(url),
        Some(body) => world.http().post(url).json(&body),
    };
    let answer = request.bearer_auth(token).send()?;
    Ok((answer.status().as_u16(), answer.json()?))
}

fn ask_v2(world: &World, token: &str, body: Value) -> anyhow::Result<(u16, Value)> {
    let url = world.url("/api/v1/applications/actions/resource/actions/v2");
    let answer = world.http().post(url).json(&body).bearer_auth(token).send()?;
    Ok((answer.status().as_u16(), answer.json()?))
}

fn live(world: &World, kind: &str, name: &str) -> Value {
    let found = world.cluster.kubectl(&["get", kind, name, "-n", "actions", "-o", "json"]).unwrap_or_default();
    serde_json::from_str(&found).unwrap_or_default()
}

#[test]
fn scripts_judge_and_actions_act() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(REPO, &[("app/a.yaml", &config_map("a", "bad")), ("app/w.yaml", WORKLOADS)])?;
    world.apply(&world.application("actions", REPO, "app", "actions"))?;
    world.synced("actions", "")?;
    a_script_judges_what_did_not_change(&world)?;
    let token = world.token()?;
    built_in_actions_act(&world, &token)?;
    scripted_actions_act(&world, &token)
}

fn a_script_judges_what_did_not_change(world: &World) -> anyhow::Result<()> {
    settings(world, json!({"resource.customizations.health.ConfigMap": HEALTH}))?;
    world.until("the script judges", |world| Ok(health(world)? == "Degraded"))?;
    let token = world.token()?;
    world.until("the tree tells why", |world| {
        let url = world.url("/api/v1/applications/actions/resource-tree");
        let tree: Value = world.http().get(url).bearer_auth(&token).send()?.json()?;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        Ok(nodes.iter().any(|node| node["kind"] == "ConfigMap" && node["health"]["message"] == "told so"))
    })?;
    settings(world, json!({"resource.customizations.health.ConfigMap": "return {"}))?;
    world.until("a broken script is Unknown", |world| Ok(health(world)? == "Unknown"))?;
    settings(world, json!({}))?;
    world.until("and gone is gone", |world| Ok(health(world)? == "Healthy"))
}

fn built_in_actions_act(world: &World, token: &str) -> anyhow::Result<()> {
    let deployment = "resourceName=d&version=v1&group=apps&kind=Deployment";
    let (code, listed) = ask(world, token, deployment, None)?;
    ensure!(code == 200, "{listed}");
    let names: Vec<_> =
        listed["actions"].as_array().into_iter().flatten().map(|action| action["name"].clone()).collect();
    assert_eq!(names, ["pause", "restart", "resume", "scale"]);
    assert_eq!(ask(world, token, deployment, Some(json!("restart")))?, (200, json!({})));
    let restarted = &live(world, "deployment", "d")["spec"]["template"]["metadata"]["annotations"];
    ensure!(restarted["kubectl.kubernetes.io/restartedAt"].is_string(), "{restarted}");
    let scale = |replicas: &str| {
        json!({"namespace": "actions", "resourceName": "d", "group": "apps", "version": "v1", "kind": "Deployment", "action": "scale",
            "resourceActionParameters": [{"name": "replicas", "value": replicas}]})
    };
    assert_eq!(ask_v2(world, token, scale("2"))?.0, 200);
    assert_eq!(live(world, "deployment", "d")["spec"]["replicas"], 2);
    let (code, refused) = ask_v2(world, token, scale("many"))?;
    assert_eq!((code, refused["message"].clone()), (400, json!("invalid number: many (must be >= 0)")));
    let cron = "resourceName=nightly&group=batch&kind=CronJob";
    assert_eq!(ask(world, token, cron, Some(json!("create-job")))?.0, 200);
    let jobs: Value = serde_json::from_str(&world.cluster.kubectl(&[
        "get",
        "jobs",
        "-n",
        "actions",
        "-l",
        "made=by-hand",
        "-o",
        "json",
    ])?)?;
    assert_eq!(jobs["items"][0]["metadata"]["ownerReferences"][0]["name"], "nightly");
    // What is not of this Application is none of its business.
    let foreign = "resourceName=kube-root-ca.crt&version=v1&kind=ConfigMap";
    assert_eq!(ask(world, token, foreign, None)?.0, 404);
    assert_eq!(ask(world, token, deployment, Some(json!("explode")))?.0, 400);
    Ok(())
}

fn scripted_actions_act(world: &World, token: &str) -> anyhow::Result<()> {
    settings(world, json!({"resource.customizations.actions.ConfigMap": MARK}))?;
    let map = "resourceName=a&version=v1&kind=ConfigMap";
    world.until("the setting is known", |world| {
        Ok(ask(world, token, map, None)?.1["actions"] == json!([{"name": "mark", "displayName": "Mark it"}]))
    })?;
    let mark = json!({"namespace": "actions", "resourceName": "a", "version": "v1", "kind": "ConfigMap", "action": "mark",
        "resourceActionParameters": [{"name": "what", "value": "chalk"}]});
    assert_eq!(ask_v2(world, token, mark)?.0, 200);
    assert_eq!(live(world, "configmap", "a")["metadata"]["annotations"]["marked-with"], "chalk");
    let (code, refused) = ask(world, token, map, Some(json!("stray")))?;
    ensure!(code == 400 && refused["message"].as_str().is_some_and(|why| why.contains("metadata.name")), "{refused}");
    Ok(())
}

use std::time::Duration;

use super::*;

/// 2026-11-24T20:30:05Z.
fn now() -> Duration {
    Duration::from_secs(1_795_552_205)
}

fn actions(settings: &[(&str, &str)]) -> Actions {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Actions::compile(&settings, now)
}

fn object(api_version: &str, kind: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1"}});
    if let Value::Object(more) = more {
        for (name, value) in more {
            match name.as_str() {
                "labels" | "annotations" | "generation" => object["metadata"][name] = value,
                _ => object[name] = value,
            }
        }
    }
    object
}

fn params(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What is on offer; what is disabled in brackets.
fn listed(live: &Value) -> String {
    let all = actions(&[]).list(live).unwrap();
    let word = |info: &ActionInfo| if info.disabled { format!("({})", info.name) } else { info.name.clone() };
    all.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn built_in_actions_are_on_offer() {
    let cases = [
        ("apps/v1", "Deployment", json!({"spec": {"replicas": 2}}), "pause restart (resume) scale"),
        ("apps/v1", "Deployment", json!({"spec": {"paused": true}}), "(pause) restart resume scale"),
        ("apps/v1", "StatefulSet", json!({}), "restart scale"),
        ("apps/v1", "DaemonSet", json!({}), "restart"),
        ("apps/v1", "ReplicaSet", json!({}), ""),
        ("batch/v1", "CronJob", json!({"spec": {}}), "create-job suspend"),
        ("batch/v1", "CronJob", json!({"spec": {"suspend": true}}), "create-job resume"),
        ("batch/v1", "Job", json!({"spec": {}, "status": {"active": 1}}), "suspend terminate"),
        ("batch/v1", "Job", json!({"spec": {"suspend": true}}), "resume"),
        ("batch/v1", "Job", json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}}), ""),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"generation": 3, "spec": {"strategy": {"canary": {"steps": [1, 2]}}},
                "status": {"currentPodHash": "a", "stableRS": "b", "currentStepIndex": 1, "observedGeneration": "3", "pauseConditions": [1]}}),
            "abort pause promote-full restart resume (retry) skip-current-step",
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"spec": {"strategy": {"blueGreen": {}}}, "status": {"currentPodHash": "a", "stableRS": "a"}}),
            "(abort) (pause) (promote-full) restart (resume) (retry) (skip-current-step)",
        ),
        ("argoproj.io/v1alpha1", "AnalysisRun", json!({"status": {"phase": "Failed"}}), "(terminate)"),
        ("argoproj.io/v1alpha1", "Application", json!({}), "toggle-auto-sync"),
        ("external-secrets.io/v1", "ExternalSecret", json!({"spec": {"refreshInterval": "0s"}}), "(refresh)"),
        ("external-secrets.io/v1", "PushSecret", json!({}), "push"),
        (
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({"spec": {"suspend": true}}),
            "(reconcile) resume (suspend)",
        ),
        ("notification.toolkit.fluxcd.io/v1", "Alert", json!({}), "(resume) suspend"),
        (
            "keda.sh/v1",
            "ScaledObject",
            json!({"annotations": {"autoscaling.keda.sh/paused-replicas": "2"}}),
            "(pause) paused-replicas resume",
        ),
        ("keda.sh/v1", "ScaledJob", json!({}), "pause (resume)"),
        (
            "postgresql.cnpg.io/v1",
            "Cluster",
            json!({"status": {"instancesStatus": {"healthy": ["a", "b"]}}}),
            "promote reload restart suspend",
        ),
        ("psmdb.percona.com/v1", "PerconaServerMongoDB", json!({"spec": {"pause": true}}), "(pause) unpause"),
        (
            "numaflow.numaproj.io/v1alpha1",
            "Pipeline",
            json!({"spec": {"lifecycle": {"desiredPhase": "Paused"}}, "labels": {"numaplane.numaproj.io/upgrade-state": "in-progress"}}),
            "delete force-promote (pause) (unpause-fast) unpause-gradual",
        ),
        ("numaflow.numaproj.io/v1alpha1", "InterStepBufferService", json!({}), "(force-promote)"),
        (
            "numaplane.numaproj.io/v1alpha1",
            "PipelineRollout",
            json!({}),
            "(allow-data-loss) (disallow-data-loss) pause (unpause-fast) (unpause-gradual)",
        ),
        ("promoter.argoproj.io/v1alpha1", "PullRequest", json!({}), "merge"),
        ("core.strimzi.io/v1", "StrimziPodSet", json!({}), "rolling-update"),
    ];
    for (api_version, kind, more, want) in cases {
        assert_eq!(listed(&object(api_version, kind, more.clone())), want, "{kind} {more}");
    }
}

#[test]
fn built_in_actions_change_what_they_say() {
    let at = "2026-11-24T20:30:05Z";
    let cases = [
        (
            "apps/v1",
            "Deployment",
            json!({}),
            "restart",
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": at}}}}}),
        ),
        ("apps/v1", "Deployment", json!({"spec": {"replicas": 2}}), "scale", json!({"spec": {"replicas": 5}})),
        ("apps/v1", "Deployment", json!({"spec": {"paused": true}}), "resume", json!({"spec": {"paused": false}})),
        ("batch/v1", "CronJob", json!({"spec": {}}), "suspend", json!({"spec": {"suspend": true}})),
        (
            "batch/v1",
            "Job",
            json!({"status": {"conditions": [{"type": "A"}]}}),
            "terminate",
            json!({"status": {"conditions": [{"type": "A"}, {"type": "FailureTarget", "status": "True", "reason": "ManuallyTerminated",
                "message": "Job was terminated by a resource action", "lastTransitionTime": at}]}}),
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"spec": {"paused": true}, "status": {"pauseConditions": [1]}}),
            "resume",
            json!({"spec": {"paused": false}, "status": {"pauseConditions": null}}),
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"generation": 2, "status": {"observedGeneration": "2"}}),
            "promote-full",
            json!({"status": {"promoteFull": true}}),
        ),
        (
            "argoproj.io/v1alpha1",
            "Rollout",
            json!({"spec": {"strategy": {"canary": {"steps": [1, 2]}}}, "status": {"currentStepIndex": 1, "pauseConditions": [1]}}),
            "skip-current-step",
            json!({"status": {"currentStepIndex": 2, "pauseConditions": null}}),
        ),
        (
            "argoproj.io/v1alpha1",
            "Application",
            json!({"spec": {"syncPolicy": {"automated": {"prune": true}}}}),
            "toggle-auto-sync",
            json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}}),
        ),
        (
            "argoproj.io/v1alpha1",
            "Application",
            json!({"spec": {}}),
            "toggle-auto-sync",
            json!({"spec": {"syncPolicy": {"automated": {"enabled": true}}}}),
        ),
        (
            "helm.toolkit.fluxcd.io/v2",
            "HelmRelease",
            json!({"annotations": {"a": "b"}}),
            "reconcile",
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": at}}}),
        ),
        (
            "keda.sh/v1",
            "ScaledObject",
            json!({"annotations": {"autoscaling.keda.sh/paused": "true", "a": "b"}}),
            "resume",
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": null}}}),
        ),
        (
            "keda.sh/v1",
            "ScaledObject",
            json!({}),
            "paused-replicas",
            json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "5"}}}),
        ),
        (
            "postgresql.cnpg.io/v1",
            "Cluster",
            json!({"status": {"currentPrimary": "b", "instancesStatus": {"healthy": ["a", "b"]}}}),
            "promote",
            json!({"status": {"targetPrimary": "a", "targetPrimaryTimestamp": at}}),
        ),
        (
            "numaflow.numaproj.io/v1alpha1",
            "MonoVertex",
            json!({"spec": {"replicas": 0, "lifecycle": {"desiredPhase": "Paused"}}}),
            "unpause-gradual",
            json!({"spec": {"replicas": null, "lifecycle": {"desiredPhase": "Running"}}}),
        ),
    ];
    for (api_version, kind, more, name, want) in cases {
        let live = object(api_version, kind, more.clone());
        let changes = actions(&[]).run(&live, name, &params(&[("replicas", "5")]));
        assert_eq!(changes, Ok(vec![Change::Patch(want)]), "{kind} {name} {more}");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let deployment = object("apps/v1", "Deployment", json!({}));
    let run = |name: &str, given: &[(&str, &str)]| actions(&[]).run(&deployment, name, &params(given)).unwrap_err();
    assert_eq!(run("scale", &[]), "replicas parameter is required");
    assert_eq!(run("scale", &[("replicas", "-1")]), "invalid number: -1 (must be >= 0)");
    assert_eq!(run("explode", &[]), "apps/Deployment has no action \"explode\"");
    let cluster = object(
        "postgresql.cnpg.io/v1",
        "Cluster",
        json!({"status": {"currentPrimary": "a", "instancesStatus": {"healthy": ["a"]}}}),
    );
    for given in [params(&[]), params(&[("instance", "z")])] {
        assert!(actions(&[]).run(&cluster, "promote", &given).is_err());
    }
    let paused = object("apps/v1", "Deployment", json!({"spec": {"paused": true}}));
    assert_eq!(actions(&[]).run(&paused, "pause", &params(&[])), Ok(Vec::new()), "nothing to change");
}

#[test]
fn a_job_is_made_of_its_cron_job() {
    let template = json!({"metadata": {"labels": {"l": "1"}, "annotations": {"a": "2"}}, "spec": {"template": {"spec": {"volumes": [{"emptyDir": {}}]}}}});
    let live = object("batch/v1", "CronJob", json!({"spec": {"jobTemplate": template}}));
    let want = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "x-202611242030", "namespace": "ns", "labels": {"l": "1"}, "annotations": {"a": "2"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "x", "uid": "u"}],
        },
        "spec": template["spec"],
    });
    assert_eq!(actions(&[]).run(&live, "create-job", &params(&[])), Ok(vec![Change::Create(Manifest(want))]));
    let mut long = live;
    long["metadata"]["name"] = json!("n".repeat(52));
    let Ok(changes) = actions(&[]).run(&long, "create-job", &params(&[])) else { panic!("refused") };
    let [Change::Create(job)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(job.name().len(), 63);
}

#[test]
fn workflows_are_made() {
    let cron = object(
        "argoproj.io/v1alpha1",
        "CronWorkflow",
        json!({"labels": {"workflows.argoproj.io/controller-instanceid": "i"}, "spec": {"workflowMetadata": {"labels": {"l": "1"}, "finalizers": ["f"]}, "workflowSpec": {"entrypoint": "e"}}}),
    );
    let want = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
        "metadata": {
            "name": "x-202611242030", "namespace": "ns", "finalizers": ["f"],
            "labels": {"l": "1", "workflows.argoproj.io/cron-workflow": "x", "workflows.argoproj.io/controller-instanceid": "i"},
            "annotations": {"workflows.argoproj.io/scheduled-time": "2026-11-24T20:30:05Z"},
            "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow", "name": "x", "uid": "u"}],
        },
        "spec": {"entrypoint": "e"},
    });
    assert_eq!(actions(&[]).run(&cron, "create-workflow", &params(&[])), Ok(vec![Change::Create(Manifest(want))]));
    let template = object("argoproj.io/v1alpha1", "WorkflowTemplate", json!({}));
    let made = actions(&[]).run(&template, "create-workflow", &params(&[])).unwrap();
    let [Change::Create(workflow)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(workflow.0["spec"], json!({"workflowTemplateRef": {"name": "x"}}));
}

const CUSTOM: &str = "discovery.lua: |
  local actions = {}
  actions['grow'] = {disabled = obj.spec.size > 3, iconClass = 'fa', displayName = 'Grow', params = {{name = 'by', default = '1'}}}
  actions['plain'] = {}
  return actions
definitions:
- name: grow
  action.lua: |
    obj.spec.size = obj.spec.size + tonumber(actionParams['by'] or 1)
    return obj
- name: plain
  action.lua: |
    local os = require('os')
    if obj.metadata.annotations == nil then obj.metadata.annotations = {} end
    obj.metadata.annotations['at'] = os.date('!%Y-%m-%dT%XZ')
    return obj
- name: hidden
  action.lua: |
    return {{operation = 'patch', resource = obj}, {operation = 'create', resource = {apiVersion = 'v1', kind = 'ConfigMap', metadata = {name = 'made'}, data = {size = tostring(obj.spec.size)}}}}
";

#[test]
fn scripts_are_listed_and_run() {
    let actions = actions(&[("resource.customizations.actions.x.io_Y", CUSTOM)]);
    let live = object("x.io/v1", "Y", json!({"spec": {"size": 2, "empty": {}, "list": []}}));
    let want = json!([
        {"name": "grow", "iconClass": "fa", "displayName": "Grow", "params": [{"name": "by", "default": "1"}]},
        {"name": "plain"},
    ]);
    assert_eq!(serde_json::to_value(actions.list(&live).unwrap()).unwrap(), want);
    let run = |name: &str, given: &[(&str, &str)]| actions.run(&live, name, &params(given)).unwrap();
    assert_eq!(run("grow", &[("by", "3")]), [Change::Patch(json!({"spec": {"size": 5}}))]);
    assert_eq!(run("grow", &[]), [Change::Patch(json!({"spec": {"size": 3}}))]);
    let at = json!({"metadata": {"annotations": {"at": "2026-11-24T20:30:05Z"}}});
    assert_eq!(run("plain", &[]), [Change::Patch(at)]);
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "made", "namespace": "ns"}, "data": {"size": "2"}});
    assert_eq!(run("hidden", &[]), [Change::Create(Manifest(made))]);
}

#[test]
fn the_users_actions_stand_before_the_built_in_ones() {
    let own = "discovery.lua: |\n  return {restart = {displayName = 'Mine'}, extra = {}}\ndefinitions:\n- name: restart\n  action.lua: |\n    obj.spec.mine = true\n    return obj\n";
    let live = object("apps/v1", "StatefulSet", json!({"spec": {}}));
    let names =
        |actions: &Actions| -> Vec<String> { actions.list(&live).unwrap().into_iter().map(|info| info.name).collect() };
    let alone = actions(&[("resource.customizations.actions.apps_StatefulSet", own)]);
    assert_eq!(names(&alone), ["extra", "restart"]);
    assert!(alone.run(&live, "scale", &params(&[("replicas", "1")])).is_err());
    let merged =
        actions(&[("resource.customizations.actions.apps_StatefulSet", &format!("mergeBuiltinActions: true\n{own}"))]);
    assert_eq!(names(&merged), ["extra", "restart", "scale"]);
    assert_eq!(merged.list(&live).unwrap()[1].display_name, "Mine");
    assert_eq!(merged.run(&live, "restart", &params(&[])), Ok(vec![Change::Patch(json!({"spec": {"mine": true}}))]));
    assert!(merged.run(&live, "scale", &params(&[("replicas", "1")])).is_ok());
    let combined = format!("apps/StatefulSet:\n  actions: |\n    {}\n", own.trim_end().replace('\n', "\n    "));
    assert_eq!(names(&actions(&[("resource.customizations", &combined)])), ["extra", "restart"]);
}

#[test]
fn an_action_stays_with_its_object() {
    for (script, want) in [
        ("obj.metadata.name = 'y'; return obj", "metadata.name"),
        ("obj.metadata.namespace = 'kube-system'; return obj", "metadata.namespace"),
        ("obj.metadata.uid = nil; return obj", "metadata.uid"),
        ("obj.kind = 'Secret'; return obj", "kind"),
        ("obj.apiVersion = 'v1'; return obj", "apiVersion"),
        ("obj.metadata.name = 'y'; return {{operation = 'patch', resource = obj}}", "metadata.name"),
        ("return {{operation = 'delete', resource = obj}}", "neither create nor patch"),
        (
            "return {{operation = 'create', resource = {apiVersion = 'v1', kind = 'Secret', metadata = {name = 's', namespace = 'kube-system'}}}}",
            "may create in ns only",
        ),
        ("return {{operation = 'create', resource = {kind = 'Secret'}}}", "lacks apiVersion"),
        ("return 'x'", "expect the object"),
        ("return nil", "expect the object"),
        ("error('told', 0)", "told"),
        ("while true do end", "did not end"),
    ] {
        let text = format!("definitions:\n- name: a\n  action.lua: |\n    {script}\n");
        let error = actions(&[("resource.customizations.actions.x.io_Y", &text)])
            .run(&object("x.io/v1", "Y", json!({"spec": {}})), "a", &params(&[]))
            .unwrap_err();
        assert!(error.contains(want), "{script}: {error}");
    }
}

#[test]
fn a_broken_entry_spoils_its_kind_alone() {
    let actions = actions(&[
        ("resource.customizations.actions.x.io_Y", "definitions:\n- name: a\n  action.lua: 'return {'\n"),
        ("resource.customizations.actions.x.io_Z", "discovery.lua: 'return 5'\n"),
    ]);
    let error = actions.list(&object("x.io/v1", "Y", json!({}))).unwrap_err();
    assert!(
        error.starts_with("argocd-cm: resource.customizations.actions.x.io_Y: definitions[0]: action.lua:1:"),
        "{error}"
    );
    assert!(actions.list(&object("x.io/v1", "Z", json!({}))).unwrap_err().contains("table of actions"));
    assert_eq!(actions.list(&object("apps/v1", "DaemonSet", json!({}))).unwrap().len(), 1);
}

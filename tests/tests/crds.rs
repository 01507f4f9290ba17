//! Objects of Argo CD's kinds come back unchanged, whether tako acts upon their fields or not, and look as users know them.
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

/// Every field of a source, whatever it is for.
fn source(url: &str) -> Value {
    json!({
        "repoURL": url, "path": "app", "targetRevision": "main", "ref": "values", "name": "main",
        "directory": {"recurse": true, "include": "*.yaml", "exclude": "x*", "jsonnet": {"libs": ["l"], "extVars": [{"name": "a", "value": "b", "code": true}], "tlas": [{"name": "a", "value": "b"}]}},
    })
}

fn rich(url: &str) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "rich", "namespace": NAMESPACE, "labels": {"team": "a"}, "annotations": {"argocd.argoproj.io/sync-wave": "2"}},
        "spec": {
            "project": "default", "revisionHistoryLimit": 3, "info": [{"name": "n", "value": "v"}],
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "rich"},
            "source": source(url),
            "syncPolicy": {
                "automated": {"prune": false, "selfHeal": false, "allowEmpty": false},
                "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
                "retry": {"limit": 2, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}},
                "managedNamespaceMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
            },
            "ignoreDifferences": [{"group": "apps", "kind": "Deployment", "name": "x", "namespace": "y", "jsonPointers": ["/spec/replicas"], "jqPathExpressions": [".a"], "managedFieldsManagers": ["m"]}],
        },
    })
}

fn project() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "team", "namespace": NAMESPACE},
        "spec": {
            "description": "d", "sourceRepos": ["*"], "sourceNamespaces": ["a"], "destinations": [{"server": "*", "namespace": "*", "name": "n"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}], "namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}],
            "roles": [{"name": "r", "description": "x", "policies": ["p, proj:team:r, applications, get, team/*, allow"], "groups": ["g"], "jwtTokens": [{"iat": 1, "exp": 2, "id": "i"}]}],
            "orphanedResources": {"warn": true, "ignore": [{"group": "g", "kind": "k", "name": "n"}]},
            "syncWindows": [{"kind": "allow", "schedule": "* * * * *", "duration": "1h", "applications": ["*"], "namespaces": ["n"], "clusters": ["c"], "manualSync": true, "timeZone": "UTC", "andOperator": true}],
            "signatureKeys": [{"keyID": "ABCDEF"}], "permitOnlyProjectScopedClusters": true,
            "destinationServiceAccounts": [{"server": "s", "namespace": "n", "defaultServiceAccount": "sa"}],
        },
    })
}

fn set() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": "set", "namespace": NAMESPACE},
        "spec": {
            "goTemplate": true, "goTemplateOptions": ["missingkey=error"], "applyNestedSelectors": true, "templatePatch": "x: y",
            "generators": [{"list": {"elements": [{"a": "b", "nested": {"c": [1, 2]}}]}}, {"matrix": {"generators": [{"clusters": {"selector": {"matchLabels": {"a": "b"}}}}, {"git": {"repoURL": "r", "revision": "main", "directories": [{"path": "*", "exclude": true}]}}]}}],
            "strategy": {"type": "RollingSync", "rollingSync": {"steps": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}], "maxUpdate": "10%"}]}},
            "syncPolicy": {"preserveResourcesOnDeletion": true, "applicationsSync": "create-only"},
            "preservedFields": {"annotations": ["a"], "labels": ["l"]},
            "ignoreApplicationDifferences": [{"name": "n", "jsonPointers": ["/p"], "jqPathExpressions": [".q"]}],
            "template": {"metadata": {"name": "{{.a}}", "labels": {"l": "m"}}, "spec": {"project": "default", "destination": {"name": "in-cluster"}, "source": {"repoURL": "r", "chart": "c", "targetRevision": "1.x",
                "helm": {"releaseName": "r", "valuesObject": {"deep": [{"x": null, "y": 1.5}]}, "parameters": [{"name": "p", "value": "v", "forceString": true}], "skipCrds": true}}}},
        },
    })
}

/// Everything that was written is there; the API server may only add its own metadata.
fn kept(wanted: &Value, found: &Value, at: &str) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            if at.starts_with("/spec") {
                assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{at}");
            }
            wanted.iter().for_each(|(field, value)| {
                kept(value, found.get(field).unwrap_or(&Value::Null), &format!("{at}/{field}"))
            });
        }
        _ => assert_eq!(wanted, found, "{at}"),
    }
}

#[test]
fn objects_of_argo_cd_come_back_unchanged() -> anyhow::Result<()> {
    let world = World::start()?;
    world
        .repository("rich.git", &[("app/a.yaml", &config_map("a", "1")), ("app/sub/b.yaml", &config_map("b", "1"))])?;
    let url = world.git.url("rich.git");
    for object in [project(), set(), rich(&url)] {
        // Strictly: a field that the schema does not know is an error.
        let file = world.path("object.json");
        std::fs::write(&file, object.to_string())?;
        world.cluster.kubectl(&["create", "--validate=strict", "-f", &file.display().to_string()])?;
    }
    world.synced("rich", "")?;
    assert_eq!(world.config("rich", "b", "value"), "1");
    for object in [project(), set(), rich(&url)] {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let found = serde_json::from_str(&world.cluster.kubectl(&["get", kind, name, "-n", NAMESPACE, "-o", "json"])?)?;
        kept(&object, &found, "");
    }
    let shown = world.cluster.kubectl(&["get", "app", "-n", NAMESPACE])?;
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(words, ["NAME", "SYNC", "STATUS", "HEALTH", "STATUS", "rich", "Synced", "Healthy"]);
    let token = world.token()?;
    let api: Value = world.http().get(world.url("/api/v1/applications/rich")).bearer_auth(token).send()?.json()?;
    kept(&rich(&url), &api, "");
    Ok(())
}

//! The rules are those of Argo CD's user guide ("Projects") and of `AppProject`'s methods, v3.6.
use serde_json::{Value, json};

use super::*;
use crate::app::Application;
use crate::resource::ResourceKey;

fn project(spec: Value) -> AppProject {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "argocd"}, "spec": spec})).unwrap()
}

fn cluster() -> KnownCluster {
    KnownCluster {
        server: "https://kubernetes.default.svc".into(),
        name: "in-cluster".into(),
        ..KnownCluster::default()
    }
}

fn key(group: &str, kind: &str, namespace: &str, name: &str) -> ResourceKey {
    ResourceKey { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

#[test]
fn what_nobody_acts_upon_survives_a_round_trip() {
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": {"name": "p", "namespace": "argocd", "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
        "spec": {
            "description": "d", "sourceRepos": ["*", "!https://x/y"], "sourceNamespaces": ["team-*"],
            "destinations": [{"server": "*", "namespace": "n", "name": "c"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*", "name": "x"}],
            "clusterResourceBlacklist": [{"group": "", "kind": "Node"}],
            "namespaceResourceWhitelist": [], "namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}],
            "orphanedResources": {"warn": false, "ignore": [{"kind": "ConfigMap"}]},
            "roles": [{"name": "r", "description": "x", "policies": ["p, proj:p:r, applications, get, p/*, allow"], "groups": ["g"], "jwtTokens": [{"iat": 1, "id": "i"}]}],
            "syncWindows": [{"kind": "deny", "schedule": "* * * * *", "duration": "1h", "applications": ["*"], "manualSync": true, "timeZone": "UTC", "andOperator": true, "syncOverrun": true, "description": "w"}],
            "signatureKeys": [{"keyID": "4AEE18F83AFDEB23"}], "sourceIntegrity": {"git": {"policies": []}},
            "permitOnlyProjectScopedClusters": true,
            "destinationServiceAccounts": [{"server": "*", "namespace": "n", "defaultServiceAccount": "a:b"}]
        },
        "status": {"jwtTokensByRole": {"r": {"items": [{"iat": 1, "id": "i"}]}}}
    });
    let project: AppProject = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(serde_json::to_value(&project).unwrap(), object);
}

#[test]
fn sources_are_permitted_by_globs_and_a_denial_wins() {
    for (repos, url, want) in [
        (json!(["*"]), "https://github.com/a/b", true),
        (json!([]), "https://github.com/a/b", false),
        (json!(["https://github.com/a/b"]), "HTTPS://GitHub.com/a/b.git", true),
        (json!(["https://github.com/a/*"]), "https://github.com/a/b.git", true),
        (json!(["https://github.com/*"]), "https://github.com/a/b", false),
        (json!(["https://github.com/**"]), "https://github.com/a/b", true),
        (json!(["git@github.com:a/*"]), "ssh://git@github.com/a/b", true),
        (json!(["*", "!https://github.com/evil/*"]), "https://github.com/evil/x", false),
        (json!(["!https://github.com/evil/*", "*"]), "https://github.com/evil/x", false),
        (json!(["*", "!https://github.com/evil/*"]), "https://github.com/good/x", true),
        // A denial alone permits the rest.
        (json!(["!https://github.com/evil/*"]), "https://github.com/good/x", true),
        (json!(["[bad"]), "[bad", false),
    ] {
        assert_eq!(project(json!({"sourceRepos": repos})).permits_source(url), want, "{repos} {url}");
    }
}

#[test]
fn destinations_are_permitted_by_cluster_and_namespace_and_a_denial_wins() {
    let here = "https://kubernetes.default.svc";
    for (destinations, namespace, want) in [
        (json!([]), "n", false),
        (json!([{"server": "*", "namespace": "*"}]), "n", true),
        (json!([{"server": here, "namespace": "team-*"}]), "team-a", true),
        (json!([{"server": here, "namespace": "team-*"}]), "other", false),
        (json!([{"name": "in-cluster", "namespace": "n"}]), "n", true),
        (json!([{"name": "else", "server": "https://else", "namespace": "n"}]), "n", false),
        (
            json!([{"server": "*", "namespace": "*"}, {"server": here, "namespace": "!kube-system"}]),
            "kube-system",
            false,
        ),
        (json!([{"server": "*", "namespace": "*"}, {"server": here, "namespace": "!kube-system"}]), "n", true),
        (json!([{"server": "*", "namespace": "*"}, {"server": "!https://k*", "namespace": "*"}]), "n", false),
        (json!([{"server": "*", "namespace": "*"}, {"server": "!https://else", "namespace": "*"}]), "n", true),
        (json!([{"name": "*", "namespace": "*"}, {"name": "!in-*", "namespace": "*"}]), "n", false),
    ] {
        let cluster = cluster();
        let place = Place { cluster: &cluster, known: &[] };
        let project = project(json!({"destinations": destinations}));
        assert_eq!(project.permits_destination(place, namespace), want, "{destinations} {namespace}");
    }
}

#[test]
fn only_the_projects_own_clusters_when_it_says_so() {
    let own = KnownCluster { project: Some("p".into()), ..cluster() };
    let strict =
        project(json!({"destinations": [{"server": "*", "namespace": "*"}], "permitOnlyProjectScopedClusters": true}));
    for (known, want) in [
        (vec![own.clone()], true),
        (vec![cluster()], false),
        (vec![KnownCluster { project: Some("q".into()), ..cluster() }], false),
        (vec![KnownCluster { server: "https://else".into(), ..own.clone() }], true),
    ] {
        assert_eq!(strict.permits_destination(Place { cluster: &cluster(), known: &known }, "n"), want, "{known:?}");
    }
}

#[test]
fn kinds_are_permitted_by_lists_and_absent_is_not_empty() {
    let all = json!([{"group": "*", "kind": "*"}]);
    let secrets = json!([{"group": "", "kind": "Secret"}]);
    let cases = [
        (json!({}), ("", "Secret", "s", true), true),
        (json!({"namespaceResourceWhitelist": []}), ("", "Secret", "s", true), false),
        (json!({"namespaceResourceWhitelist": secrets}), ("", "Secret", "s", true), true),
        (json!({"namespaceResourceWhitelist": secrets}), ("apps", "Secret", "s", true), false),
        (json!({"namespaceResourceBlacklist": secrets}), ("", "Secret", "s", true), false),
        (
            json!({"namespaceResourceWhitelist": all, "namespaceResourceBlacklist": secrets}),
            ("", "Secret", "s", true),
            false,
        ),
        (
            json!({"namespaceResourceBlacklist": [{"group": "*.io", "kind": "Foo*"}]}),
            ("x.io", "FooBar", "s", true),
            false,
        ),
        (json!({}), ("", "Namespace", "n", false), false),
        (json!({"clusterResourceWhitelist": all}), ("", "Namespace", "n", false), true),
        (
            json!({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "team-*"}]}),
            ("", "Namespace", "team-a", false),
            true,
        ),
        (
            json!({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": "team-*"}]}),
            ("", "Namespace", "n", false),
            false,
        ),
        (
            json!({"clusterResourceWhitelist": all, "clusterResourceBlacklist": [{"group": "", "kind": "Namespace", "name": "kube-*"}]}),
            ("", "Namespace", "kube-system", false),
            false,
        ),
        (json!({"namespaceResourceWhitelist": all}), ("", "Namespace", "n", false), false),
    ];
    for (spec, (group, kind, name, namespaced), want) in cases {
        assert_eq!(project(spec.clone()).permits_kind(group, kind, name, namespaced), want, "{spec} {kind} {name}");
    }
}

#[test]
fn refusals_are_said_in_argo_cds_words() {
    let cluster = cluster();
    let place = Place { cluster: &cluster, known: &[] };
    let project = project(
        json!({"destinations": [{"server": "*", "namespace": "n"}], "namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}]}),
    );
    let refuses = |object: &ResourceKey, namespaced| project.refuses(object, namespaced, place);
    assert_eq!(refuses(&key("", "ConfigMap", "n", "a"), true), None);
    assert_eq!(refuses(&key("", "Secret", "n", "a"), true).unwrap(), "resource :Secret is not permitted in project p");
    assert_eq!(
        refuses(&key("apps", "Deployment", "kube-system", "a"), true).unwrap(),
        "namespace kube-system is not permitted in project 'p'"
    );
    assert_eq!(
        refuses(&key("rbac.authorization.k8s.io", "ClusterRole", "", "a"), false).unwrap(),
        "resource rbac.authorization.k8s.io:ClusterRole is not permitted in project p"
    );
    assert!(project.permits_live(&key("", "ConfigMap", "n", "a"), place));
    assert!(!project.permits_live(&key("", "ConfigMap", "m", "a"), place));
}

#[test]
fn the_first_matching_service_account_is_impersonated() {
    let app = |namespace: Value| -> Application {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "home"}, "spec": {"project": "p", "destination": {"namespace": namespace}}})).unwrap()
    };
    let entry = |server: &str, namespace: &str, account: &str| json!({"server": server, "namespace": namespace, "defaultServiceAccount": account});
    for (accounts, namespace, want) in [
        (json!([]), json!("n"), Ok(None)),
        (json!([entry("https://a", "n", "sa")]), json!("n"), Ok(Some("system:serviceaccount:n:sa"))),
        (json!([entry("https://a", "n", "ns:sa")]), json!("n"), Ok(Some("system:serviceaccount:ns:sa"))),
        (
            json!([entry("https://b", "*", "no"), entry("*", "*", "first"), entry("*", "n", "second")]),
            json!("n"),
            Ok(Some("system:serviceaccount:n:first")),
        ),
        (json!([entry("*", "*", "sa")]), json!(null), Ok(Some("system:serviceaccount:home:sa"))),
        (json!([entry("*", "m", "sa")]), json!("n"), Ok(None)),
        (json!([entry("*", "*", "s*")]), json!("n"), Err("default service account contains invalid chars 's*'")),
        (json!([entry("*", "*", " ")]), json!("n"), Err("default service account contains invalid chars ' '")),
        (json!([entry("[", "*", "sa")]), json!("n"), Err("invalid glob pattern for destination server")),
    ] {
        let got = project(json!({"destinationServiceAccounts": accounts})).impersonated(&app(namespace), "https://a");
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(got.as_deref(), want, "{accounts}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{got}"),
            (got, want) => panic!("{accounts}: {got:?}, wanted {want:?}"),
        }
    }
}

#[test]
fn applications_of_other_namespaces_need_to_be_let_in() {
    let project = project(json!({"sourceNamespaces": ["team-*", "/^x[0-9]$/"]}));
    for (namespace, want) in
        [("argocd", true), ("", true), ("team-a", true), ("x1", true), ("x10", false), ("y", false)]
    {
        assert_eq!(project.permits_app_namespace(namespace, "argocd"), want, "{namespace}");
    }
}

#[test]
fn lists_of_global_projects_and_own_clusters_are_inherited() {
    let globals = global_projects(
        "- labelSelector:\n    matchExpressions:\n    - {key: tier, operator: In, values: [prod]}\n  projectName: g\n- labelSelector: {matchLabels: {a: b}}\n  projectName: h\n",
    )
    .unwrap();
    let mut g = project(
        json!({"sourceRepos": ["https://g"], "namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}], "namespaceResourceWhitelist": []}),
    );
    g.metadata.name = "g".into();
    let mut own = project(json!({"sourceRepos": ["https://p"]}));
    let clusters = [
        KnownCluster { server: "https://own".into(), project: Some("p".into()), ..KnownCluster::default() },
        cluster(),
    ];
    let merged =
        |own: &AppProject| inherit(own, (&globals, std::slice::from_ref(&g)), &["https://scoped".into()], &clusters);
    assert_eq!(merged(&own).spec.source_repos, ["https://p", "https://scoped"]);
    assert_eq!(merged(&own).spec.destinations.len(), 1);
    own.metadata.labels.insert("tier".into(), "prod".into());
    let both = merged(&own);
    assert_eq!(both.spec.source_repos, ["https://p", "https://scoped", "https://g"]);
    assert!(both.permits_kind("", "ConfigMap", "c", true), "an absent list stays absent");
    assert!(!both.permits_kind("", "Secret", "c", true));
    assert!(global_projects("x: y").is_err());
    assert_eq!(global_projects("").unwrap(), []);
}

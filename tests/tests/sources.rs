//! Sources of every kind, on the real git server and the real tools: several sources with `$ref`, Helm, Kustomize, Jsonnet,
//! overrides in the repository, and commits that touch nothing that a render read.
use anyhow::ensure;
use serde_json::{Value, json};
use tako_tests::{NAMESPACE, World, config_map};

const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-chart}\ndata: {value: \"{{ .Values.value }}\", kube: \"{{ .Capabilities.KubeVersion.Major }}\"}\n";
const OVERLAY: &str = "resources: [../base]\nnamePrefix: pre-\n";

/// Renders there ever were of an Application, by the events.
fn renders(world: &World, app: &str) -> anyhow::Result<usize> {
    let subject = format!("tako.v1.evt.default.{NAMESPACE}.{app}.rendered");
    let found = world.nats(&["stream", "subjects", "EVT1", &subject, "--json"])?;
    Ok(found[subject.as_str()].as_u64().unwrap_or_default().try_into()?)
}

fn with_source(world: &World, name: &str, source: Value) -> Value {
    let mut app = world.application(name, "mono.git", "", "sources");
    for (field, value) in source.as_object().into_iter().flatten() {
        app["spec"]["source"][field] = value.clone();
    }
    app
}

fn value_is(world: &World, name: &str, value: &str) -> anyhow::Result<()> {
    world.until(&format!("{name} holds {value}"), |world| Ok(world.config("sources", name, "value") == value))
}

#[test]
fn every_tool_renders_and_only_what_it_read_counts() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(
        "mono.git",
        &[
            ("chart/Chart.yaml", CHART),
            ("chart/values.yaml", "value: default\n"),
            ("chart/templates/map.yaml", TEMPLATE),
            ("base/kustomization.yaml", "resources: [map.yaml]\n"),
            ("base/map.yaml", &config_map("kust", "1")),
            ("overlay/kustomization.yaml", OVERLAY),
            ("plain/map.yaml", &config_map("plain", "1")),
            ("jsonnet/main.jsonnet", "function(value='none') {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'jsonnet'}, data: {value: (import '../lib/lib.libsonnet').wrap(value)}}"),
            ("lib/lib.libsonnet", "{wrap(x):: '<' + x + '>'}"),
        ],
    )?;
    let helm =
        json!({"path": "chart", "helm": {"releaseName": "rel", "parameters": [{"name": "value", "value": "set"}]}});
    world.apply(&with_source(&world, "helm", helm))?;
    world.apply(&with_source(&world, "kustomize", json!({"path": "overlay", "kustomize": {"nameSuffix": "-suf"}})))?;
    world.apply(&with_source(&world, "plain", json!({"path": "plain"})))?;
    let tla = json!({"path": "jsonnet", "directory": {"jsonnet": {"tlas": [{"name": "value", "value": "x"}]}}});
    world.apply(&with_source(&world, "jsonnet", tla))?;
    for (app, kind) in [("helm", "Helm"), ("kustomize", "Kustomize"), ("plain", "Directory"), ("jsonnet", "Directory")]
    {
        world.synced(app, "")?;
        ensure!(world.app(app)?["status"]["sourceType"] == kind, "{app}");
    }
    value_is(&world, "rel-chart", "set")?;
    value_is(&world, "pre-kust-suf", "1")?;
    value_is(&world, "jsonnet", "<x>")?;
    ensure!(world.config("sources", "rel-chart", "kube") == "1");

    only_what_was_read_counts(&world)?;
    overrides_of_the_repository_count(&world)
}

fn only_what_was_read_counts(world: &World) -> anyhow::Result<()> {
    let apps = ["helm", "kustomize", "plain", "jsonnet"];
    let counts = |world: &World| apps.iter().map(|app| renders(world, app)).collect::<anyhow::Result<Vec<_>>>();
    let before = counts(world)?;
    world.push("mono.git", &[("README.md", Some("nobody reads this")), ("base/notes.txt", Some("nor this"))])?;
    // The base of an overlay is an input of it, though it is elsewhere.
    let commit = world.push("mono.git", &[("base/map.yaml", Some(&config_map("kust", "2")))])?;
    world.synced("kustomize", &commit)?;
    value_is(world, "pre-kust-suf", "2")?;
    let after = counts(world)?;
    ensure!(after == [before[0], before[1] + 1, before[2], before[3]], "{before:?} {after:?}");
    // A library of a program is one too.
    world.push("mono.git", &[("lib/lib.libsonnet", Some("{wrap(x):: '[' + x + ']'}"))])?;
    value_is(world, "jsonnet", "[x]")?;
    ensure!(counts(world)? == [after[0], after[1], after[2], after[3] + 1]);
    Ok(())
}

fn overrides_of_the_repository_count(world: &World) -> anyhow::Result<()> {
    let file = "helm: {parameters: [{name: value, value: overridden}]}\n";
    world.push("mono.git", &[("chart/.argocd-source-helm.yaml", Some(file))])?;
    value_is(world, "rel-chart", "overridden")?;
    // What cannot be rendered leaves the last good state, and says which file it is.
    world.push("mono.git", &[("chart/templates/map.yaml", Some("{{ fail \"no such luck\" }}"))])?;
    world.condition("helm", "no such luck", true)?;
    value_is(world, "rel-chart", "overridden")?;
    world.push("mono.git", &[("chart/templates/map.yaml", Some(TEMPLATE))])?;
    world.condition("helm", "no such luck", false)
}

#[test]
fn several_sources_are_one_application() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository(
        "charts.git",
        &[("web/Chart.yaml", CHART), ("web/templates/map.yaml", TEMPLATE), ("web/values.yaml", "value: default\n")],
    )?;
    world.repository(
        "config.git",
        &[("prod/values.yaml", "value: one\n"), ("extra/map.yaml", &config_map("extra", "1"))],
    )?;
    let mut app = world.application("multi", "charts.git", "", "sources");
    app["spec"]["source"] = Value::Null;
    app["spec"]["sources"] = json!([
        {"repoURL": world.git.url("charts.git"), "path": "web", "targetRevision": "main", "helm": {"valueFiles": ["$config/prod/values.yaml"]}},
        {"repoURL": world.git.url("config.git"), "targetRevision": "main", "ref": "config"},
        {"repoURL": world.git.url("config.git"), "path": "extra", "targetRevision": "main"},
    ]);
    world.apply(&app)?;
    world.until("both sources are synced", |world| Ok(world.app("multi")?["status"]["sync"]["status"] == "Synced"))?;
    value_is(&world, "multi-chart", "one")?;
    value_is(&world, "extra", "1")?;
    let status = world.app("multi")?["status"].clone();
    ensure!(status["sync"]["revisions"].as_array().map(Vec::len) == Some(3), "{status}");
    ensure!(status["sourceTypes"] == json!(["Helm", "", "Directory"]), "{status}");
    ensure!(status["history"][0]["revisions"].as_array().map(Vec::len) == Some(3), "{status}");
    ensure!(status["history"][0]["sources"].as_array().map(Vec::len) == Some(3), "{status}");

    // The values in another repository are an input of the chart, and nothing else of that repository is.
    let before = renders(&world, "multi")?;
    world.push("config.git", &[("staging/values.yaml", Some("value: other\n"))])?;
    let commit = world.push("config.git", &[("prod/values.yaml", Some("value: two\n"))])?;
    value_is(&world, "multi-chart", "two")?;
    world.until("the revisions are told", |world| {
        let revisions = world.app("multi")?["status"]["sync"]["revisions"].clone();
        Ok(revisions[1] == commit.as_str() && revisions[2] == commit.as_str())
    })?;
    ensure!(renders(&world, "multi")? == before + 1);
    Ok(())
}

/// Makes a repository private.
fn lock(world: &World, repository: &str, auth: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(world.path("git").join(repository).join("takobune-auth"), auth)?)
}

fn secret(name: &str, kind: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"argocd.argoproj.io/secret-type": kind}},
    })
}

#[test]
fn private_repositories_open_to_whom_they_are_meant_for() -> anyhow::Result<()> {
    let world = World::start()?;
    world.repository("private.git", &[("app/map.yaml", &config_map("private", "1"))])?;
    lock(&world, "private.git", "bob:hunter2-canary")?;
    world.apply(&world.application("private", "private.git", "app", "sources"))?;
    world.condition("private", "cannot be read", true)?;
    ensure!(world.config("sources", "private", "value").is_empty());

    let url = world.git.url("private.git");
    let wrong = json!({"url": url, "username": "bob", "password": "wrong-canary"});
    world.apply(&secret("repo", "repository", wrong))?;
    world.condition("private", "cannot be read", true)?;
    // A template of another project's repository opens nothing for this one.
    let team = json!({"url": url, "username": "bob", "password": "hunter2-canary", "project": "team"});
    world.apply(&secret("repo", "repository", team))?;
    let project = json!({"sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}], "clusterResourceWhitelist": [{"group": "*", "kind": "*"}]});
    world.apply(&json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "team", "namespace": NAMESPACE}, "spec": project}))?;
    let mut of_team = world.application("of-team", "private.git", "app", "team");
    of_team["spec"]["project"] = json!("team");
    world.apply(&of_team)?;
    world.synced("of-team", "")?;
    ensure!(world.config("sources", "private", "value").is_empty(), "what one project fetched is not another's");
    world.condition("private", "cannot be read", true)?;

    // Templates: the longest beginning of the URL.
    let prefix = url.trim_end_matches("/private.git");
    world.apply(&secret(
        "creds",
        "repo-creds",
        json!({"url": prefix, "username": "bob", "password": "hunter2-canary"}),
    ))?;
    world.synced("private", "")?;
    value_is(&world, "private", "1")?;
    let log = std::fs::read_to_string(world.path("tako.log"))?;
    ensure!(!log.contains("-canary"), "a password is in the log");
    let events = world.cluster.kubectl(&["get", "applications,events", "-A", "-o", "json"])?;
    ensure!(!events.contains("-canary"), "a password is in an object");
    Ok(())
}

/// git with a home of its own, in which there is a key to sign with.
fn git(world: &World, arguments: &[&str]) -> anyhow::Result<String> {
    let home = world.path("signer");
    let output = std::process::Command::new(arguments[0])
        .args(&arguments[1..])
        .current_dir(&home)
        .env("HOME", &home)
        .env("GNUPGHOME", home.join("gnupg"))
        .envs([("GIT_AUTHOR_NAME", "S"), ("GIT_AUTHOR_EMAIL", "s@example.org")])
        .envs([("GIT_COMMITTER_NAME", "S"), ("GIT_COMMITTER_EMAIL", "s@example.org")])
        .output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn what_must_be_signed_is_deployed_only_when_it_is() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::start()?;
    let home = world.path("signer");
    std::fs::create_dir_all(home.join("gnupg"))?;
    std::fs::set_permissions(home.join("gnupg"), std::fs::Permissions::from_mode(0o700))?;
    let generate =
        ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "S <s@example.org>", "default", "default", "never"];
    git(&world, &generate)?;
    let listed = git(&world, &["gpg", "--list-keys", "--with-colons"])?;
    let line = listed.lines().find(|line| line.starts_with("pub:")).unwrap_or_default();
    let id = line.split(':').nth(4).unwrap_or_default().to_owned();
    let armor = git(&world, &["gpg", "--armor", "--export", &id])?;
    world.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-gpg-keys-cm", "namespace": NAMESPACE}, "data": {&id: armor}}))?;
    let project = |keys: Value| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "signed", "namespace": NAMESPACE}, "spec": {
        "sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}], "clusterResourceWhitelist": [{"group": "*", "kind": "*"}], "signatureKeys": keys}})
    };
    world.apply(&project(json!([{"keyID": id}])))?;
    let repository = world.repository("signed.git", &[("app/map.yaml", &config_map("signed", "1"))])?;
    let mut app = world.application("signed", "signed.git", "app", "sources");
    app["spec"]["project"] = json!("signed");
    world.apply(&app)?;
    world.condition("signed", "unsigned", true)?;
    ensure!(world.config("sources", "signed", "value").is_empty());

    git(&world, &["git", "clone", "-q", &repository.display().to_string(), "work"])?;
    std::fs::write(home.join("work/app/map.yaml"), config_map("signed", "2"))?;
    git(&world, &["git", "-C", "work", "-c", &format!("user.signingkey={id}"), "commit", "-qam", "signed", "-S"])?;
    git(&world, &["git", "-C", "work", "push", "-q", "origin", "HEAD:main"])?;
    world.webhook("signed.git")?;
    value_is(&world, "signed", "2")?;
    world.synced("signed", "")?;

    // An unsigned commit after it stops; without the demand it goes.
    world.push("signed.git", &[("app/map.yaml", Some(&config_map("signed", "3")))])?;
    world.condition("signed", "unsigned", true)?;
    ensure!(world.config("sources", "signed", "value") == "2");
    let refused = world.sync("signed", &json!({"manifests": [config_map("signed", "local")]}))?;
    ensure!(refused.to_string().contains("local sync"), "{refused}");
    world.apply(&project(json!([])))?;
    value_is(&world, "signed", "3")
}

/// What SOPS made; see sources/tests/corpus/sops/README.md.
fn corpus(name: &str) -> anyhow::Result<String> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../sources/tests/corpus/sops");
    Ok(std::fs::read_to_string(corpus.join(name))?)
}

/// No file below a directory holds these words.
fn nowhere(directory: &std::path::Path, words: &[u8]) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            nowhere(&path, words)?;
        } else if let Ok(bytes) = std::fs::read(&path) {
            ensure!(!bytes.windows(words.len()).any(|window| window == words), "{} is in clear", path.display());
        }
    }
    Ok(())
}

#[test]
fn encrypted_files_are_opened_in_the_cluster_and_nowhere_else() -> anyhow::Result<()> {
    let world = World::start()?;
    let template = "apiVersion: v1\nkind: Secret\nmetadata: {name: of-chart}\nstringData: {pass: {{ (index .Values.list 2).deep.pass | quote }}}\n";
    world.repository(
        "sops.git",
        &[
            ("plain/many.yaml", &corpus("many.yaml")?),
            ("chart/Chart.yaml", CHART),
            ("chart/secrets.yaml", &corpus("values.yaml")?),
            ("chart/templates/secret.yaml", template),
        ],
    )?;
    let mut plain = world.application("plain", "sops.git", "plain", "sources");
    plain["metadata"]["annotations"] = json!({"takobune.io/sops-keys": "keys"});
    let mut chart = world.application("chart", "sops.git", "chart", "sources");
    chart["metadata"]["annotations"] = json!({"takobune.io/sops-keys": "keys"});
    chart["spec"]["source"]["helm"] = json!({"valueFiles": ["secrets.yaml"]});
    world.apply(&plain)?;
    world.condition("plain", "there is no Secret keys", true)?;
    world.apply(&secret("keys", "sops-keys", json!({"keys.txt": corpus("main.agekey")?, "project": "another"})))?;
    world.condition("plain", "there is no Secret keys", true)?;
    world.apply(&secret("keys", "sops-keys", json!({"keys.txt": corpus("main.agekey")?, "project": "default"})))?;
    world.apply(&chart)?;
    world.synced("plain", "")?;
    world.synced("chart", "")?;
    ensure!(world.config("sources", "z", "zulu") == "canary-z");
    let held = |name: &str, key: &str| -> anyhow::Result<Value> {
        Ok(world.object("secret", "sources", name)?["data"][key].clone())
    };
    ensure!(held("a", "b")? == "Y2FuYXJ5LWI=" && held("of-chart", "pass")? == "Y2FuYXJ5LXBhc3M=");
    // In no stream, cache, body or log, and in no answer.
    for word in ["canary-z", "canary-b", "canary-pass", "Y2FuYXJ5LWI", "Y2FuYXJ5LXBhc3M"] {
        nowhere(&world.path("data"), word.as_bytes())?;
        ensure!(!std::fs::read_to_string(world.path("tako.log"))?.contains(word), "{word} is in the log");
        for app in ["plain", "chart"] {
            for route in ["", "/managed-resources", "/resource-tree", "/sync-plan"] {
                let answer = world.ask(&format!("{app}{route}"), None)?.to_string();
                ensure!(!answer.contains(word), "{word} is in {app}{route}");
            }
        }
    }
    // Damaged by hand: the MAC says so.
    let damaged = corpus("many.yaml")?.replacen("name: z", "name: z\n    labels: {a: b}", 1);
    world.push("sops.git", &[("plain/many.yaml", Some(&damaged))])?;
    world.condition("plain", "many.yaml", true)
}

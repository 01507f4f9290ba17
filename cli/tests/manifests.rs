//! `tako manifests` as a program: a working copy rendered without a cluster, as the README shows it.
#![allow(clippy::unwrap_used, reason = "helpers of a test fail with it")]
use std::path::Path;
use std::process::{Command, Output};

const APP: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  project: default\n  destination: {namespace: shop}\n  source:\n    repoURL: https://example.org/shop\n    path: deploy\n    directory: {jsonnet: {tlas: [{name: count, value: '2', code: true}]}}\n";

fn tako(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tako")).arg("manifests").args(arguments).current_dir(directory).output().unwrap()
}

#[test]
fn a_working_copy_is_rendered_for_ci() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("deploy")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(root.path().join(path), text).unwrap();
    write("app.yaml", APP);
    write("deploy/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {port: '0777'}\n");
    write(
        "deploy/many.jsonnet",
        "function(count) [{apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'n' + i}} for i in std.range(1, count)]",
    );
    let made = tako(root.path(), &["app.yaml", "--local", "."]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = String::from_utf8(made.stdout).unwrap();
    let names: Vec<String> = tako_engine::parse::parse_manifests("made.yaml", &text)
        .unwrap()
        .iter()
        .map(|manifest| manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(names, ["n1", "n2", "plain"]);
    assert!(text.contains("port: \"0777\""), "{text}");
    let json = tako(root.path(), &["app.yaml", "--local", ".", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));

    write("deploy/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [\n");
    let broken = tako(root.path(), &["app.yaml", "--local", "."]);
    let said = String::from_utf8(broken.stderr).unwrap();
    assert!(!broken.status.success() && said.contains("deploy/map.yaml:"), "{said}");
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../sources/tests/corpus/sops");
    std::fs::copy(corpus.join("many.yaml"), root.path().join("deploy/map.yaml")).unwrap();
    let closed = tako(root.path(), &["app.yaml", "--local", "."]);
    assert!(!String::from_utf8(closed.stdout).unwrap().contains("canary"));
    let keys = corpus.join("main.agekey").display().to_string();
    let opened = tako(root.path(), &["app.yaml", "--local", ".", "--sops-keys", &keys]);
    assert!(String::from_utf8(opened.stdout).unwrap().contains("zulu: canary-z"));
    let missing = tako(root.path(), &["gone.yaml"]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("gone.yaml cannot be read"));
}

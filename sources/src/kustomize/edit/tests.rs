//! The overrides as `kustomize edit` makes them, and as we do.
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::*;
use crate::testing::program;

fn environment() -> Environment {
    Environment::default()
}

fn kustomize(directory: &Path, args: &[&str]) -> Result<String, String> {
    let said = Command::new(program("kustomize")).args(args).current_dir(directory).output().unwrap();
    if said.status.success() {
        return Ok(String::from_utf8(said.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&said.stderr).into_owned())
}

/// Field by field what Kustomize reads of it, with the deprecated fields moved: another edit that changes nothing.
fn normal(value: &str, directory: &Path) -> Value {
    std::fs::write(directory.join("kustomization.yaml"), value).unwrap();
    kustomize(directory, &["edit", "set", "nameprefix", "--", "p-"]).unwrap();
    let text = std::fs::read_to_string(directory.join("kustomization.yaml")).unwrap();
    tako_engine::parse::parse_value(&text).unwrap()
}

#[test]
fn overrides_are_what_kustomize_edit_makes_of_them() {
    let files = [
        "resources: [a.yaml]\n",
        "resources: [a.yaml]\nimages:\n- {name: nginx, newTag: '1'}\n- {name: b, newName: c, tagSuffix: -x}\n- {name: nginx, newTag: '2'}\n- {name: redis, digest: 'sha256:1'}\n",
        "bases: [../x]\nimageTags: [{name: nginx, newTag: '7'}]\nreplicas: [{name: z, count: 1}, {name: a, count: 9}]\n",
        "resources: [a.yaml]\ncommonLabels: {a: b}\ncommonAnnotations: {x: z}\nlabels:\n- pairs: {k: v}\n  includeSelectors: true\n- pairs: {k: v}\n- pairs: {t: u}\n  includeTemplates: true\n",
        "Resources: [a.yaml]\nCOMMONLABELS: {a: b}\nNamePrefix: old-\nNAMESPACE: old\nImages: [{Name: nginx, NewTag: '3'}]\nreplicas: [{Name: a, Count: 2}]\n",
        "resources: [a.yaml]\npatches: [{path: p.yaml}]\nnamespace: 'yes'\nnameSuffix: \"\\u0085-é\"\n",
    ];
    let overrides = [
        (
            json!({"namePrefix": "-x", "nameSuffix": "--y", "namespace": "ns"}),
            vec![
                vec!["set", "nameprefix", "--", "-x"],
                vec!["set", "namesuffix", "--", "--y"],
                vec!["set", "namespace", "--", "ns"],
            ],
        ),
        (
            json!({"images": ["nginx:1.2", "b=reg.io:5000/x/y:z@sha256:2", "redis@sha256:3", "new=other", "reg:5000/q:1"]}),
            vec![vec![
                "set",
                "image",
                "nginx:1.2",
                "b=reg.io:5000/x/y:z@sha256:2",
                "redis@sha256:3",
                "new=other",
                "reg:5000/q:1",
            ]],
        ),
        (
            json!({"images": ["nginx=*:9", "b=*:*@sha256:4", "redis=x:*@*", "unknown=*:1", "=e:1"]}),
            vec![vec!["set", "image", "nginx=*:9", "b=*:*@sha256:4", "redis=x:*@*", "unknown=*:1", "=e:1"]],
        ),
        (
            json!({"replicas": [{"name": "a", "count": 3}, {"name": "b", "count": "4"}]}),
            vec![vec!["set", "replicas", "a=3", "b=4"]],
        ),
        (
            json!({"commonLabels": {"q": "\"1\"", "r": "", "s": "a:b"}}),
            vec![vec!["add", "label", "q:\"1\"", "r:", "s:a:b"]],
        ),
        (json!({"commonLabels": {"a": "new"}}), vec![vec!["add", "label", "a:new"]]),
        (
            json!({"commonLabels": {"a": "new"}, "forceCommonLabels": true}),
            vec![vec!["add", "label", "--force", "a:new"]],
        ),
        (
            json!({"commonLabels": {"k": "new", "t": "new"}, "labelWithoutSelector": true}),
            vec![vec!["add", "label", "--without-selector", "k:new", "t:new"]],
        ),
        (
            json!({"commonLabels": {"k": "new", "t": "new"}, "labelWithoutSelector": true, "forceCommonLabels": true, "labelIncludeTemplates": true}),
            vec![vec!["add", "label", "--force", "--without-selector", "--include-templates", "k:new", "t:new"]],
        ),
        (
            json!({"commonLabels": {"k": "new"}, "labelIncludeTemplates": true}),
            vec![vec!["add", "label", "--include-templates", "k:new"]],
        ),
        (json!({"commonAnnotations": {"x": "new", "y": "a b"}}), vec![vec!["add", "annotation", "x:new", "y:a b"]]),
        (
            json!({"commonAnnotations": {"x": "new"}, "forceCommonAnnotations": true}),
            vec![vec!["add", "annotation", "--force", "x:new"]],
        ),
        (json!({"images": ["nginx"]}), vec![vec!["set", "image", "nginx"]]),
        (json!({"replicas": [{"name": "a=b", "count": 1}]}), vec![vec!["set", "replicas", "a=b=1"]]),
    ];
    let mut compared = 0;
    for file in files {
        for (wanted, commands) in &overrides {
            let wanted: Kustomize = serde_json::from_value(wanted.clone()).unwrap();
            let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            std::fs::write(theirs.path().join("kustomization.yaml"), file).unwrap();
            let edited: Result<Vec<String>, String> = commands
                .iter()
                .map(|command| kustomize(theirs.path(), &[&["edit"], command.as_slice()].concat()))
                .collect();
            let own = apply(tako_engine::parse::parse_value(file).unwrap(), &wanted, &[], &environment());
            let case = format!("{file}\n{wanted:?}\n{edited:?}");
            assert_eq!(own.is_ok(), edited.is_ok(), "{case}\n{:?}", own.err());
            if let Ok(own) = own {
                let text = std::fs::read_to_string(theirs.path().join("kustomization.yaml")).unwrap();
                assert_eq!(normal(&written(&own.kustomization), ours.path()), normal(&text, theirs.path()), "{case}");
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
}

#[test]
fn patches_and_components_are_added_behind_those_of_the_file() {
    let wanted: Kustomize =
        serde_json::from_value(json!({"patches": [{"patch": "b", "target": {"kind": "K"}}]})).unwrap();
    let file = json!({"patches": [{"path": "a"}], "components": ["x"]});
    let edited = apply(file, &wanted, &["x".to_owned(), "y".to_owned()], &environment()).unwrap().kustomization;
    assert_eq!(
        edited,
        json!({"patches": [{"path": "a"}, {"patch": "b", "target": {"kind": "K"}}], "components": ["x", "y"]})
    );
    let error = apply(json!({"patches": "x"}), &wanted, &[], &environment()).err().unwrap();
    assert_eq!(error, "patches: a list is wanted");
}

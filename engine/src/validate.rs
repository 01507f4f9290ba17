//! Whether an Application makes sense and may be what it is, given its project (Argo CD's `ValidatePermissions`).
//! Pure; the project is the one that decisions see ([`crate::project::inherit`]).
use serde_json::Value;

use crate::app::{Application, Destination, Source};
use crate::project::{AppProject, KnownCluster, Place};

/// The condition of nearly all of these problems.
pub const INVALID_SPEC: &str = "InvalidSpecError";

/// A problem: the type of its condition, and the message.
pub type SpecProblem = (&'static str, String);

fn invalid(message: impl Into<String>) -> SpecProblem {
    (INVALID_SPEC, message.into())
}

/// All that is wrong with the spec; empty when the Application may be compared and synced. `project` is `None` when
/// there is no such object (also for `default`, which an installation makes).
pub fn spec_problems(
    app: &Application,
    project: Option<&AppProject>,
    known: &[KnownCluster],
    control_namespace: &str,
) -> Vec<SpecProblem> {
    let Some(project) = project else {
        return vec![invalid(format!("Application referencing project {} which does not exist", app.spec.project))];
    };
    let app_namespace = &app.metadata.namespace;
    if !project.permits_app_namespace(app_namespace, control_namespace) {
        let (name, project) = (&app.metadata.name, project.name());
        let message =
            format!("application '{name}' in namespace '{app_namespace}' is not allowed to use project {project}");
        return vec![("UnknownError", message)];
    }
    let mut problems = match source_problems(app, project) {
        Ok(problems) => problems,
        Err(problem) => return vec![problem],
    };
    let destination = &app.spec.destination;
    match cluster_of(destination, known) {
        Err(problem) => problems.push(invalid(problem)),
        Ok(cluster) => {
            let namespace = destination.namespace.as_deref().unwrap_or_default();
            if !project.permits_destination(Place { cluster, known }, namespace) {
                let by_name = destination.name.as_deref().is_some_and(|name| !name.is_empty());
                let server = if by_name { &cluster.name } else { &cluster.server };
                problems.push(invalid(format!(
                    "application destination server '{server}' and namespace '{namespace}' do not match any of the allowed destinations in project '{}'",
                    project.name()
                )));
            }
        }
    }
    problems
}

/// What the project refuses; or, as an error, what makes further questions pointless.
fn source_problems(app: &Application, project: &AppProject) -> Result<Vec<SpecProblem>, SpecProblem> {
    if let Some(hydrator) = app.spec.other.get("sourceHydrator").filter(|hydrator| !hydrator.is_null()) {
        return hydrator_problems(hydrator, project);
    }
    let refused = |source: &Source| {
        (!project.permits_source(&source.repo_url)).then(|| {
            invalid(format!("application repo {} is not permitted in project '{}'", source.repo_url, project.name()))
        })
    };
    if app.spec.sources.is_empty() {
        let source = app.spec.source.clone().unwrap_or_default();
        incomplete(&source, None).map_or_else(|| Ok(refused(&source).into_iter().collect()), Err)
    } else {
        let mut problems = Vec::new();
        for (position, source) in app.spec.sources.iter().enumerate() {
            if let Some(problem) = incomplete(source, Some(position + 1)) {
                return Err(problem);
            }
            problems.extend(refused(source));
        }
        Ok(problems)
    }
}

fn incomplete(source: &Source, position: Option<usize>) -> Option<SpecProblem> {
    let given = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    let place = given(&source.path) || given(&source.chart) || (position.is_some() && given(&source.reference));
    if source.repo_url.is_empty() || !place {
        return Some(invalid(match position {
            None => "spec.source.repoURL and either spec.source.path or spec.source.chart are required".to_owned(),
            Some(position) => format!(
                "spec.source.repoURL and either source.path, source.chart, or source.ref are required for source {position} ({})",
                source.repo_url
            ),
        }));
    }
    (given(&source.chart) && !given(&source.target_revision))
        .then(|| invalid("spec.source.targetRevision is required if the manifest source is a helm chart"))
}

fn hydrator_problems(hydrator: &Value, project: &AppProject) -> Result<Vec<SpecProblem>, SpecProblem> {
    let text = |pointer: &str| hydrator.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (dry, branch) = (text("/drySource/repoURL"), text("/syncSource/targetBranch"));
    if dry.is_empty() {
        return Err(invalid("spec.sourceHydrator.drySource.repoURL is required"));
    }
    if branch.is_empty() {
        return Err(invalid("spec.sourceHydrator.syncSource.targetBranch is required"));
    }
    if hydrator.get("hydrateTo").is_some_and(|to| !to.is_null()) && text("/hydrateTo/targetBranch").is_empty() {
        return Err(invalid(
            "when spec.sourceHydrator.hydrateTo is set, spec.sourceHydrator.hydrateTo.targetBranch is required",
        ));
    }
    let mut problems = Vec::new();
    if !project.permits_source(dry) {
        problems.push(invalid(format!("application repo {dry} is not permitted in project '{}'", project.name())));
    }
    let sync = Some(text("/syncSource/repoURL")).filter(|url| !url.is_empty()).unwrap_or(dry);
    if sync != dry && !project.permits_source(sync) {
        problems.push(invalid(format!("sync source repo {sync} is not permitted in project '{}'", project.name())));
    }
    Ok(problems)
}

/// The cluster of a destination, which must have either a name or a server.
pub fn cluster_of<'a>(destination: &Destination, known: &'a [KnownCluster]) -> Result<&'a KnownCluster, String> {
    let given = |field: &'_ Option<String>| field.clone().filter(|text| !text.is_empty());
    match (given(&destination.name), given(&destination.server)) {
        (Some(name), Some(server)) => {
            Err(format!("application destination can't have both name and server defined: {name} {server}"))
        }
        (None, None) => Err("Destination server missing from app spec".to_owned()),
        (None, Some(server)) => {
            let wanted = server.trim_end_matches('/');
            let found = known.iter().find(|cluster| cluster.server.trim_end_matches('/') == wanted);
            found.ok_or_else(|| format!("error getting cluster by server \"{server}\": cluster \"{wanted}\" not found"))
        }
        (Some(name), None) => {
            let mut named = known.iter().filter(|cluster| cluster.name == name);
            match (named.next(), named.next()) {
                (Some(one), None) => Ok(one),
                (None, _) => Err(format!("there are no clusters with this name: {name}")),
                (Some(_), Some(_)) => {
                    let servers: Vec<&str> =
                        known.iter().filter(|cluster| cluster.name == name).map(|one| one.server.as_str()).collect();
                    let count = servers.len();
                    Err(format!("there are {count} clusters with the same name: [{}]", servers.join(" ")))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn project(spec: Value) -> AppProject {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "argocd"}, "spec": spec})).unwrap()
    }

    fn clusters() -> Vec<KnownCluster> {
        let cluster = |name: &str, server: &str| KnownCluster {
            name: name.into(),
            server: server.into(),
            ..KnownCluster::default()
        };
        vec![
            cluster("in-cluster", "https://kubernetes.default.svc"),
            cluster("twin", "https://a"),
            cluster("twin", "https://b"),
        ]
    }

    /// Argo CD, `ValidatePermissions` and `GetDestinationServer` (util/argo), v3.6.
    #[test]
    fn problems_of_a_spec_are_told_in_argo_cds_words() {
        let open = json!({"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]});
        let here = json!({"server": "https://kubernetes.default.svc", "namespace": "n"});
        let git = json!({"repoURL": "https://x/y", "path": "."});
        let spec =
            |destination: &Value, source: &Value| json!({"project": "p", "destination": destination, "source": source});
        let cases = [
            (&open, spec(&here, &git), vec![]),
            (&open, spec(&json!({"name": "in-cluster"}), &git), vec![]),
            (&open, spec(&json!({"server": "https://kubernetes.default.svc/"}), &git), vec![]),
            (
                &open,
                spec(&here, &json!({"repoURL": "https://x/y"})),
                vec!["spec.source.repoURL and either spec.source.path or spec.source.chart are required"],
            ),
            (
                &open,
                json!({"project": "p", "destination": here}),
                vec!["spec.source.repoURL and either spec.source.path or spec.source.chart are required"],
            ),
            (
                &open,
                spec(&here, &json!({"repoURL": "https://x/y", "chart": "c"})),
                vec!["spec.source.targetRevision is required if the manifest source is a helm chart"],
            ),
            (
                &open,
                json!({"project": "p", "destination": here, "sources": [{"repoURL": "https://x/y", "ref": "v"}]}),
                vec![],
            ),
            (
                &open,
                json!({"project": "p", "destination": here, "sources": [{"repoURL": "https://x/y"}]}),
                vec!["source.ref are required for source 1 (https://x/y)"],
            ),
            (
                &open,
                spec(&json!({"server": "https://c", "name": "c"}), &git),
                vec!["application destination can't have both name and server defined: c https://c"],
            ),
            (&open, spec(&json!({"namespace": "n"}), &git), vec!["Destination server missing from app spec"]),
            (&open, spec(&json!({"name": "no"}), &git), vec!["there are no clusters with this name: no"]),
            (
                &open,
                spec(&json!({"name": "twin"}), &git),
                vec!["there are 2 clusters with the same name: [https://a https://b]"],
            ),
            (
                &open,
                spec(&json!({"server": "https://no"}), &git),
                vec!["error getting cluster by server \"https://no\": cluster \"https://no\" not found"],
            ),
            (
                &json!({"sourceRepos": ["https://z"], "destinations": [{"server": "*", "namespace": "m"}]}),
                spec(&here, &git),
                vec![
                    "application repo https://x/y is not permitted in project 'p'",
                    "application destination server 'https://kubernetes.default.svc' and namespace 'n' do not match any of the allowed destinations in project 'p'",
                ],
            ),
            (
                &json!({"sourceRepos": ["*"]}),
                spec(&json!({"name": "in-cluster"}), &git),
                vec!["application destination server 'in-cluster' and namespace '' do not match"],
            ),
            (
                &open,
                json!({"project": "p", "destination": here, "sourceHydrator": {"drySource": {"repoURL": "https://x/y"}, "syncSource": {}}}),
                vec!["spec.sourceHydrator.syncSource.targetBranch is required"],
            ),
            (
                &json!({"sourceRepos": ["https://x/*"], "destinations": [{"server": "*", "namespace": "*"}]}),
                json!({"project": "p", "destination": here, "sourceHydrator": {"drySource": {"repoURL": "https://x/y"}, "syncSource": {"targetBranch": "b", "repoURL": "https://z"}}}),
                vec!["sync source repo https://z is not permitted in project 'p'"],
            ),
        ];
        for (rules, spec, want) in cases {
            let app: Application =
                serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "argocd"}, "spec": spec}))
                    .unwrap();
            let got = spec_problems(&app, Some(&project(rules.clone())), &clusters(), "argocd");
            assert_eq!(got.len(), want.len(), "{spec}: {got:?}");
            for ((kind, message), words) in got.iter().zip(want) {
                assert!(*kind == INVALID_SPEC && message.contains(words), "{message} / {words}");
            }
        }
    }

    #[test]
    fn a_project_must_be_there_and_let_the_namespace_in() {
        let mut app: Application = serde_json::from_value(
            json!({"metadata": {"name": "a", "namespace": "argocd"}, "spec": {"project": "default", "destination": {}}}),
        )
        .unwrap();
        assert_eq!(
            spec_problems(&app, None, &[], "argocd"),
            [(INVALID_SPEC, "Application referencing project default which does not exist".to_owned())]
        );
        app.metadata.namespace = "team".into();
        let words = "application 'a' in namespace 'team' is not allowed to use project p";
        assert_eq!(spec_problems(&app, Some(&project(json!({}))), &[], "argocd"), [("UnknownError", words.to_owned())]);
    }
}

//! What tests do with an Application again and again, and what they look at, on top of [`World`].
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use serde_json::{Value, json};

use crate::{NAMESPACE, World};

/// One case of many that share a world.
pub type Case = fn(&World) -> anyhow::Result<()>;

/// Runs the named functions, each whatever became of the others, and tells of all that failed.
#[macro_export]
macro_rules! cases {
    ($world:expr, $($case:ident),+ $(,)?) => {
        $world.run_cases(&[$((stringify!($case), $case as $crate::steps::Case)),+])
    };
}

impl World {
    /// Behind [`cases`]. `TAKO_CASES=one,other` runs those alone.
    pub fn run_cases(&self, cases: &[(&str, Case)]) -> anyhow::Result<()> {
        let only = std::env::var("TAKO_CASES").unwrap_or_default();
        let chosen = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
        let run = cases.iter().filter(|(name, _)| chosen(name));
        let failed: Vec<String> =
            run.filter_map(|(name, case)| case(self).err().map(|error| format!("=== {name}: {error:?}"))).collect();
        if failed.is_empty() { Ok(()) } else { bail!("{} failed\n{}", failed.len(), failed.join("\n")) }
    }

    /// kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(arguments)
    }

    /// An object; null when it is not there.
    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<Value> {
        let found = self.kubectl(&["get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json"])?;
        Ok(if found.trim().is_empty() { Value::Null } else { serde_json::from_str(&found)? })
    }

    /// Merge-patches an object.
    pub fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> anyhow::Result<()> {
        self.kubectl(&["patch", kind, name, "-n", namespace, "--type=merge", "-p", &patch.to_string()]).map(drop)
    }

    /// Puts the data of a ConfigMap of the control namespace, such as `argocd-cm`.
    pub fn settings(&self, name: &str, data: &Value) -> anyhow::Result<()> {
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
    }

    /// Commits the files under the Application's name, and makes it: automated, in a namespace of its name, without
    /// retries, so that a failure shows at once. `change` has the last word.
    pub fn make(
        &self,
        repository: &str,
        name: &str,
        files: &[(&str, &str)],
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<()> {
        let paths: Vec<String> = files.iter().map(|(file, _)| format!("{name}/{file}")).collect();
        let changes: Vec<(&str, Option<&str>)> =
            paths.iter().zip(files).map(|(path, (_, text))| (path.as_str(), Some(*text))).collect();
        self.push(repository, &changes)?;
        let mut app = self.application(name, repository, name, name);
        app["spec"]["syncPolicy"]["retry"] = json!({"limit": 0});
        change(&mut app);
        self.apply(&app)
    }

    /// How the last operation stands.
    pub fn state(&self, app: &str) -> anyhow::Result<Value> {
        Ok(self.app(app)?["status"]["operationState"].clone())
    }

    /// Waits until the operation's state has this phase and holds these words.
    pub fn reaches(&self, app: &str, phase: &str, words: &str) -> anyhow::Result<()> {
        self.until(&format!("{app} {phase}: {words}"), |world| {
            let state = world.state(app)?;
            Ok(state["phase"] == phase && state.to_string().contains(words))
        })
    }

    /// Waits until automated sync of this commit has ended so.
    pub fn ends(&self, app: &str, commit: &str, phase: &str) -> anyhow::Result<Value> {
        self.until(&format!("{app} {phase} at {commit}"), |world| {
            let state = world.state(app)?;
            Ok(state["phase"] == phase && state["syncResult"]["revision"] == commit)
        })?;
        self.state(app)
    }

    /// Writes the operation as a user does by kubectl; answers its state at its end.
    pub fn sync(&self, app: &str, sync: &Value) -> anyhow::Result<Value> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let who = format!("somebody-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.until("what is there is compared", |world| {
            let app = world.app(app)?;
            Ok(app["operation"].is_null() && app["status"]["sync"]["revision"].is_string())
        })?;
        let operation = json!({"operation": {"initiatedBy": {"username": who}, "sync": sync}});
        self.patch("application", NAMESPACE, app, &operation)?;
        self.until(&format!("{app}: the sync {sync} ends"), |world| {
            let app = world.app(app)?;
            let state = &app["status"]["operationState"];
            Ok(app["operation"].is_null() && state["operation"]["initiatedBy"]["username"] == who.as_str())
        })?;
        self.state(app)
    }

    /// Waits until the Application's conditions hold, or do not hold, these words.
    pub fn condition(&self, app: &str, words: &str, there: bool) -> anyhow::Result<()> {
        self.until(&format!("{app}: condition {words}: {there}"), |world| {
            Ok(world.app(app)?["status"]["conditions"].to_string().contains(words) == there)
        })
    }

    /// Waits until a commit is compared with this verdict.
    pub fn compared(&self, app: &str, commit: &str, status: &str) -> anyhow::Result<()> {
        self.until(&format!("{app} is {status} at {commit:?}"), |world| {
            let sync = world.app(app)?["status"]["sync"].clone();
            Ok(sync["status"] == status && (commit.is_empty() || sync["revision"] == commit))
        })
    }

    /// An answer of the API about Applications; the body is none for GET.
    pub fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let url = self.url(&format!("/api/v1/applications/{path}"));
        let request = match body {
            Some(body) => self.http().post(url).json(body),
            None => self.http().get(url),
        };
        let answer = request.bearer_auth(self.token()?).send()?;
        let (status, text) = (answer.status(), answer.text()?);
        if !status.is_success() {
            bail!("{path}: {status} {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }
}

/// `phase kind/name outcome` of every entry of an operation.
pub fn told(state: &Value) -> Vec<String> {
    let entries = state["syncResult"]["resources"].as_array().cloned().unwrap_or_default();
    let line = |one: &Value| {
        let [phase, kind, name, outcome] =
            ["syncPhase", "kind", "name", "hookPhase"].map(|field| one[field].as_str().unwrap_or_default().to_owned());
        format!("{phase} {kind}/{name} {outcome}")
    };
    entries.iter().map(line).collect()
}

/// What is told of the object with this name.
pub fn message_of(state: &Value, name: &str) -> String {
    let entries = state["syncResult"]["resources"].as_array().cloned().unwrap_or_default();
    let found = entries.iter().find(|one| one["name"] == name).and_then(|one| one["message"].as_str());
    found.unwrap_or_default().to_owned()
}

/// A manifest with these annotations, in flow style.
pub fn annotated(manifest: &str, annotations: &str) -> String {
    manifest.replacen("metadata:\n", &format!("metadata:\n  annotations: {{{annotations}}}\n"), 1)
}

/// A Deployment of one replica.
pub fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector: {{matchLabels: {{a: {name}}}}}\n  template:\n    metadata: {{labels: {{a: {name}}}}}\n    spec: {{containers: [{{name: c, image: {image}}}]}}\n"
    )
}

/// What becomes of a Job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It completes.
    Completes,
    /// It waits until somebody takes `suspend` away.
    Waits,
    /// It fails at its deadline.
    Fails,
}

/// A Job with annotations.
pub fn job(name: &str, annotations: &str, fate: Fate) -> String {
    let (spec, node) = match fate {
        Fate::Completes => ("", ""),
        Fate::Waits => ("  suspend: true\n", ""),
        Fate::Fails => ("  activeDeadlineSeconds: 1\n", "      nodeSelector: {none: such}\n"),
    };
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nspec:\n  backoffLimit: 0\n{spec}  template:\n    spec:\n      restartPolicy: Never\n{node}      containers: [{{name: c, image: busybox}}]\n"
    )
}

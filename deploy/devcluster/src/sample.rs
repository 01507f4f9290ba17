//! Repositories for tests and for the quick start, made with the git program and none of the user's settings.
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::bail;

/// The Deployment of the sample: three replicas.
pub const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: guestbook
spec:
  replicas: 3
  selector:
    matchLabels: {app: guestbook}
  template:
    metadata:
      labels: {app: guestbook}
    spec:
      containers:
        - name: web
          image: registry.k8s.io/pause:3.10
          ports:
            - containerPort: 80
";
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata:
  name: guestbook
spec:
  selector: {app: guestbook}
  ports:
    - port: 80
";
const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: guestbook
data:
  greeting: hello
";

/// Runs git in a directory, isolated from the user's configuration.
pub fn git(directory: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([
            ("GIT_AUTHOR_NAME", "dev"),
            ("GIT_AUTHOR_EMAIL", "dev@example.org"),
            ("GIT_COMMITTER_NAME", "dev"),
            ("GIT_COMMITTER_EMAIL", "dev@example.org"),
        ])
        .output()?;
    if !output.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Makes an empty bare repository that may be pushed to over HTTP, with `main` as its default branch.
pub fn create_bare(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path)?;
    git(path, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
    git(path, &["config", "http.receivepack", "true"])?;
    Ok(())
}

/// Commits changes to `main` of a bare repository: content to write, or `None` to remove. Answers the commit.
pub fn commit(repository: &Path, changes: &[(&str, Option<&str>)], message: &str) -> anyhow::Result<String> {
    let work = repository.with_extension("work");
    if !work.exists() {
        fs::create_dir_all(&work)?;
        git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        git(&work, &["remote", "add", "origin", &repository.display().to_string()])?;
    }
    if git(&work, &["fetch", "--quiet", "origin", "main"]).is_ok() {
        git(&work, &["reset", "--quiet", "--hard", "FETCH_HEAD"])?;
    }
    for (path, content) in changes {
        let file = work.join(path);
        match content {
            Some(content) => {
                if let Some(parent) = file.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(&file, content)?;
            }
            None => fs::remove_file(&file)?,
        }
    }
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "--allow-empty", "-m", message])?;
    git(&work, &["push", "--quiet", "origin", "HEAD:main"])?;
    git(&work, &["rev-parse", "HEAD"])
}

/// The sample of the quick start: a Deployment, a Service and a ConfigMap in `guestbook/`.
pub fn create_sample(path: &Path) -> anyhow::Result<String> {
    create_bare(path)?;
    let files = [
        ("guestbook/deployment.yaml", Some(DEPLOYMENT)),
        ("guestbook/service.yaml", Some(SERVICE)),
        ("guestbook/configmap.yaml", Some(CONFIG)),
    ];
    commit(path, &files, "A guestbook")
}

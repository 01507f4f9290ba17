//! What the README and docs/AUDIT.md tell a newcomer to type, typed.
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use tako_devcluster::Tools;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The indented block of a page that begins with this line, as a script.
fn block(page: &str, first: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root().join(page))?;
    let lines = text.lines().skip_while(|line| line.trim() != first).take_while(|line| line.starts_with("    "));
    let script: Vec<&str> = lines.map(str::trim_start).collect();
    ensure!(!script.is_empty(), "{page} has no block that begins with {first}");
    Ok(script.join("\n"))
}

struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = make("down", self.0);
    }
}

fn make(target: &str, state: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new("make");
    // What `cargo test` sets for this process would make build scripts run again, and all that stands on them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        if !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    Ok(command
        .arg("--no-print-directory")
        .arg(target)
        .current_dir(root())
        .env("TAKO_STATE", state)
        .env("TAKO_PROFILE", "dev")
        .env_remove("MAKEFLAGS")
        .env_remove("TAKO_CONTEXT")
        .stdin(Stdio::null())
        .output()?)
}

fn bash(script: &str, directory: &Path) -> anyhow::Result<String> {
    let path = format!(
        "{}:{}",
        Tools::locate()?.program("nats")?.parent().context("a directory")?.display(),
        std::env::var("PATH")?
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .env("PATH", path)
        .envs([
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@example.org"),
        ])
        .output()?;
    ensure!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_newcomer_gets_a_live_page_and_an_audit_and_nothing_is_left() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    let _down = Down(&state);
    let up = make("up", &state)?;
    let said = String::from_utf8_lossy(&up.stdout).into_owned();
    ensure!(up.status.success(), "{said}\n{}", String::from_utf8_lossy(&up.stderr));
    let word = |name: &str| {
        said.lines()
            .find_map(|line| line.trim().strip_prefix(name))
            .map(|rest| rest.trim().to_owned())
            .with_context(|| format!("{name} in\n{said}"))
    };
    let page = word("page ")?;
    ensure!(word("user ")? == "admin" && !word("password ")?.is_empty());
    bash(&format!("curl -fsS {page} | grep -q '<title>Takobune'"), directory.path())?;

    // docs/AUDIT.md, then the push that `make up` proposes.
    let audit = block("docs/AUDIT.md", "conf=~/.local/state/takobune/up/data/nats/nats.conf")?;
    let audit = audit
        .replace("~/.local/state/takobune/up", &state.display().to_string())
        .replace("sub 'tako", "sub --count 1 'tako");
    let listening = std::thread::spawn({
        let here = directory.path().to_owned();
        move || bash(&format!("timeout 60 bash -c {}", shell(&audit)), &here)
    });
    let push = said.lines().skip_while(|line| !line.contains("git clone")).take(3).collect::<Vec<_>>().join("\n");
    bash(&push, directory.path())?;
    let heard = listening.join().map_err(|_| anyhow::anyhow!("the listener ended"))??;
    ensure!(
        heard.contains("tako.v1.audit.default.sa.apply.argocd.guestbook")
            && heard.contains("deployment.apps/guestbook"),
        "{heard}"
    );
    let kubectl = word("kubectl: ")?;
    bash(
        &format!(
            "for _ in $(seq 300); do [ \"$({kubectl} get deployment guestbook -n guestbook -o jsonpath='{{.status.readyReplicas}}')\" = 5 ] && exit 0; sleep 0.1; done; exit 1"
        ),
        directory.path(),
    )?;

    ensure!(!make("up", &state)?.status.success(), "a second up is refused");
    let down = make("down", &state)?;
    ensure!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    ensure!(!state.exists(), "the state is gone");
    let left = Command::new("pgrep").args(["-f", &state.display().to_string()]).output()?;
    ensure!(!left.status.success(), "left running: {}", String::from_utf8_lossy(&left.stdout));
    Ok(())
}

/// A text as one word of the shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

//! One command of a plugin: in its own process group, with the sidecar's environment and the request's, up to the call's deadline
//! (research/argocd-surface.md §4.5). It runs with the rights of the sidecar: that is what the sidecar is for.
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

use crate::plugin::proto::message_bytes_max;

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// Of what a command says on standard error, so much is kept.
const STDERR_BYTES: usize = 64 * 1024;

/// Runs a command line in a directory, and answers what it prints, without the newline at its end.
pub(super) async fn run(
    line: &[String],
    directory: &Path,
    variables: &[(String, String)],
    deadline: Instant,
) -> Result<Vec<u8>, Status> {
    let [program, args @ ..] = line else { return Err(Status::internal("a command is empty")) };
    let shown = line.join(" ");
    tracing::info!(command = shown, "running");
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(directory)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| Status::failed_precondition(format!("`{shown}` cannot be started: {error}")))?;
    let group = Group::of(&child);
    let most = message_bytes_max();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut said = Vec::new();
    let ended = {
        let read = async { tokio::join!(head(stdout, most), tail(stderr, &mut said)).0 };
        timeout_at(deadline, async {
            let stdout = read.await?;
            Some((stdout, child.wait().await))
        })
        .await
    };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let failed = |how: String| {
        let words = if said.is_empty() { String::new() } else { format!(": {said}") };
        format!("`{shown}` failed {how}{words}")
    };
    match ended {
        Err(_) => {
            group.end(&mut child).await;
            let after = started.elapsed().as_secs_f32();
            Err(Status::deadline_exceeded(failed(format!("timeout after {after:.1}s"))))
        }
        Ok(None) => Err(Status::resource_exhausted(format!("`{shown}` printed more than {most} bytes"))),
        Ok(Some((mut stdout, Ok(status)))) if status.success() => {
            let took = started.elapsed().as_millis();
            tracing::info!(command = shown, took, bytes = stdout.len(), stderr = said, "done");
            if stdout.ends_with(b"\n") {
                stdout.pop();
            }
            Ok(stdout)
        }
        // Go's words: `exit status 1`, `signal: killed`.
        Ok(Some((_, Ok(status)))) => Err(Status::unknown(failed(match status.code() {
            Some(code) => format!("exit status {code}"),
            None => status.to_string(),
        }))),
        Ok(Some((_, Err(error)))) => Err(Status::internal(failed(error.to_string()))),
    }
}

/// All of a pipe; `None` when it is more than allowed.
async fn head(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(pipe) = pipe {
        // A pipe that breaks is a command that ended: its status tells.
        let _ = pipe.take(most as u64 + 1).read_to_end(&mut kept).await;
    }
    (kept.len() <= most).then_some(kept)
}

/// The start of a pipe; the rest is read and dropped, so that the command is not held up.
async fn tail(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let room = STDERR_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
}

/// A process group that does not outlive its call, also when the caller hangs up in the middle of it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// TERM first, so that it may clean up, then KILL.
    async fn end(&self, child: &mut Child) {
        if let Some(group) = self.0
            && kill_process_group(group, Signal::TERM).is_ok()
        {
            let _ = timeout(GRACE, child.wait()).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What a command leaves running goes with it. A group that is gone already is no failure.
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, time: Duration) -> Result<String, Status> {
        let line = ["/bin/sh", "-c", script].map(str::to_owned);
        let directory = std::env::temp_dir();
        let variables = [("GIVEN".to_owned(), "this".to_owned())];
        run(&line, &directory, &variables, Instant::now() + time).await.map(|out| String::from_utf8(out).unwrap())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_command_has_the_sidecars_environment_and_the_requests() {
        let out = sh("echo $GIVEN; test -n \"$PATH\" && echo path", LONG).await.unwrap();
        assert_eq!(out, "this\npath");
        let error = sh("echo out; echo why >&2; exit 3", LONG).await.unwrap_err();
        assert!(error.message().ends_with("failed exit status 3: why"), "{error}");
        let none = run(&["/no/such".to_owned()], Path::new("/"), &[], Instant::now() + LONG).await.unwrap_err();
        assert!(none.message().starts_with("`/no/such` cannot be started"), "{none}");
    }

    #[tokio::test]
    async fn one_that_is_late_is_asked_to_end_and_then_ended() {
        let started = Instant::now();
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("cleaned");
        let script = format!("trap 'echo x > {}; exit 1' TERM; echo begun >&2; sleep 1000 & wait", mark.display());
        let error = sh(&script, Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        assert!(error.message().contains("timeout after 0.") && error.message().ends_with("begun"), "{error}");
        assert!(mark.exists(), "it could clean up");
        assert!(started.elapsed() < GRACE);
    }

    #[tokio::test]
    async fn one_whose_caller_hangs_up_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("pid");
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", mark.display());
        tokio::select! {
            _ = sh(&script, LONG) => panic!("it sleeps"),
            () = async { while !mark.exists() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        }
        let pid = std::fs::read_to_string(&mark).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        let ended = async {
            while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, ended).await.unwrap();
    }
}

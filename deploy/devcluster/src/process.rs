//! Child processes: with a log file each, and an end. Attached ones end with us, even when we are killed.
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A port that was free a moment ago, below the range from which the kernel gives ports to connecting sockets:
/// a server that is restarted must find its port free, even while many clients try to reach it.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..200 {
        let port = 20_000 + uuid::Uuid::new_v4().as_fields().1 % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000")
}

/// Waits for a condition; the error names what was waited for.
pub fn wait_for(what: &str, within: Duration, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while !ready() {
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", within.as_secs());
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Starts a program with its output in `directory/logs/name.log` and its pid in `directory/pids/name`.
pub fn spawn(directory: &Path, name: &str, program: &Path, args: &[String], attached: bool) -> anyhow::Result<u32> {
    let (logs, pids) = (directory.join("logs"), directory.join("pids"));
    fs::create_dir_all(&logs)?;
    fs::create_dir_all(&pids)?;
    let log = OpenOptions::new().create(true).append(true).open(logs.join(format!("{name}.log")))?;
    // setpriv: the kernel ends the child with its parent. setsid: it outlives us.
    let mut command = if attached {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command
    } else {
        Command::new("setsid")
    };
    command.arg(program).args(args).stdin(Stdio::null()).stdout(File::try_clone(&log)?).stderr(log);
    let child = command.spawn().with_context(|| format!("{name} does not start"))?;
    fs::write(pids.join(name), child.id().to_string())?;
    let pid = child.id();
    // Reaped where it was started; nobody needs its status.
    std::thread::spawn(move || {
        let mut child = child;
        let _ = child.wait();
    });
    Ok(pid)
}

fn pid_of(directory: &Path, name: &str) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(directory.join("pids").join(name)).ok()?.trim().parse().ok()?)
}

/// Whether the process of that name runs and is the one that we started (its command line names our directory or program).
pub fn runs(directory: &Path, name: &str) -> bool {
    pid_of(directory, name).is_some_and(|pid| {
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        test_kill_process(pid).is_ok() && String::from_utf8_lossy(&command).contains(name)
    })
}

/// Whether a process has given back all it held: it is no more, or only its status waits to be fetched.
/// (Its command line is gone earlier, while its sockets are still being closed.)
fn ended(pid: Pid) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        // The first thread may be a zombie while others still end.
        Ok(stat) => {
            let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).map_or(0, Iterator::count);
            threads <= 1 && stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
        }
        Err(_) => true,
    }
}

/// Ends the process of that name: asks, then insists.
pub fn stop(directory: &Path, name: &str) -> anyhow::Result<()> {
    if let Some(pid) = pid_of(directory, name).filter(|_| runs(directory, name)) {
        let _ = kill_process(pid, Signal::TERM);
        if wait_for(name, Duration::from_secs(8), || ended(pid)).is_err() {
            let _ = kill_process(pid, Signal::KILL);
            wait_for(name, Duration::from_secs(5), || ended(pid))?;
        }
    }
    let _ = fs::remove_file(directory.join("pids").join(name));
    Ok(())
}

/// Kills the process of that name at once.
pub fn kill(directory: &Path, name: &str) -> anyhow::Result<()> {
    if let Some(pid) = pid_of(directory, name).filter(|_| runs(directory, name)) {
        let _ = kill_process(pid, Signal::KILL);
        wait_for(name, Duration::from_secs(5), || ended(pid))?;
    }
    Ok(())
}

/// The last lines of a program's log.
pub fn tail(directory: &Path, name: &str) -> String {
    let log = fs::read_to_string(directory.join("logs").join(format!("{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(40).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

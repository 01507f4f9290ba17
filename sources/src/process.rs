//! External programs in a jail: a process group of its own, an environment of its own, a private HOME and TMP, limits of time,
//! memory and output, and (Landlock) no file but the jail and the system's, no network unless the tool needs it.
//! Knows nothing of what the programs do.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _,
};
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// Seconds of Argo CD's `ARGOCD_EXEC_TIMEOUT`.
pub const TIME: Duration = Duration::from_secs(90);
/// Between TERM and KILL (`ARGOCD_EXEC_FATAL_TIMEOUT`).
const GRACE: Duration = Duration::from_secs(10);
/// Most bytes of standard output.
pub const OUTPUT_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of data (not of address space, of which Go programs reserve much).
const MEMORY_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most bytes of one file written.
const FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Of what a program says when it fails, so much is kept.
const STDERR_BYTES: usize = 64 * 1024;
/// Directories with what every program needs; what does not exist is left out.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/gitconfig.d",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/proc/meminfo",
    "/sys/kernel/mm/transparent_hugepage",
];
/// Devices that may be written.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/tty"];

/// May it talk to others?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Not at all.
    None,
    /// As it likes.
    Any,
}

/// A program about to run.
#[derive(Debug, Clone)]
pub struct Program {
    program: PathBuf,
    args: Vec<OsString>,
    jail: PathBuf,
    dir: PathBuf,
    env: BTreeMap<String, OsString>,
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    stdin: Vec<u8>,
    time: Duration,
    output_bytes: usize,
    file_bytes: u64,
    network: Network,
    secrets: Vec<String>,
}

/// What a program that succeeded said.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: String,
}

/// Why a program came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not there.
    #[error("{program} cannot be started: {reason}; install it, or set its path")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// It failed.
    #[error("`{command}` failed {how}: {stderr}")]
    Failed {
        /// The command line, without secrets.
        command: String,
        /// `exit status 1`, as Go says it, or the signal.
        how: String,
        /// What it said.
        stderr: String,
    },
    /// It took too long.
    #[error("`{command}` failed timeout after {}s: {stderr}", .after.as_secs())]
    Timeout {
        /// The command line, without secrets.
        command: String,
        /// The limit.
        after: Duration,
        /// What it said.
        stderr: String,
    },
    /// It said too much.
    #[error("`{command}` wrote more than {limit} bytes; render less at once")]
    TooMuch {
        /// The command line, without secrets.
        command: String,
        /// The limit.
        limit: usize,
    },
}

impl Program {
    /// A program that may read and write below `jail`, and runs there.
    pub fn new(program: impl Into<PathBuf>, jail: &Path) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            jail: jail.to_owned(),
            dir: jail.to_owned(),
            env: BTreeMap::new(),
            readable: Vec::new(),
            writable: Vec::new(),
            stdin: Vec::new(),
            time: TIME,
            output_bytes: OUTPUT_BYTES,
            file_bytes: FILE_BYTES,
            network: Network::None,
            secrets: Vec::new(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Where it runs; below the jail.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// A variable; the program has no others but PATH, HOME, TMPDIR and the XDG directories.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// A file or directory outside the jail that may be read.
    #[must_use]
    pub fn readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// A file or directory outside the jail that may be read and written.
    #[must_use]
    pub fn writable(mut self, path: impl Into<PathBuf>) -> Self {
        self.writable.push(path.into());
        self
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// How much it may write to standard output.
    #[must_use]
    pub fn output_bytes(mut self, bytes: usize) -> Self {
        self.output_bytes = bytes;
        self
    }

    /// How long a file it may write.
    #[must_use]
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes;
        self
    }

    /// Whether it may talk to others.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// A text that no error may repeat.
    #[must_use]
    pub fn secret(mut self, text: &str) -> Self {
        if text.trim().len() > 3 {
            self.secrets.push(text.trim().to_owned());
        }
        self
    }

    /// The command line for an error: without secrets, and without the jail's own path.
    fn shown(&self) -> String {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        let words: Vec<String> = std::iter::once(name.to_owned())
            .chain(self.args.iter().cloned())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        self.discreet(&words.join(" "))
    }

    fn discreet(&self, text: &str) -> String {
        let text = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"));
        crate::git::redact(
            &text.replace(&format!("{}/", self.jail.display()), "").replace(&*self.jail.to_string_lossy(), "."),
        )
    }

    /// Runs it to its end, and answers what it said. Blocks. Whatever it started is killed with it.
    pub fn run(&self) -> Result<Output, ProcessError> {
        let started = Instant::now();
        let mut child = self.spawn()?;
        let group = Pid::from_child(&child);
        limit(group, self.file_bytes);
        let input = child.stdin.take().map(|mut stdin| {
            let bytes = self.stdin.clone();
            // A program that reads nothing closes its end: that is no error.
            thread::spawn(move || drop(stdin.write_all(&bytes)))
        });
        let (tell, told) = mpsc::channel();
        let stdout = read(child.stdout.take(), self.output_bytes, true, tell.clone());
        let stderr = read(child.stderr.take(), STDERR_BYTES, false, tell);
        let mut ended = Ended::Itself;
        for _ in 0..2 {
            match told.recv_timeout(self.time.saturating_sub(started.elapsed())) {
                Ok(Told::End) => {}
                Ok(Told::TooMuch) => {
                    ended = Ended::TooMuch;
                    break;
                }
                Err(_) => {
                    ended = Ended::Late;
                    break;
                }
            }
        }
        let status = match ended {
            Ended::Itself => wait(&mut child, self.time.saturating_sub(started.elapsed())).inspect(|status| {
                if status.is_none() {
                    ended = Ended::Late;
                }
            }),
            _ => Ok(None),
        };
        // The group goes, whatever it left running; the pipes end with it.
        stop(&mut child, group, ended == Ended::Late);
        let status = status.ok().flatten();
        drop(input);
        let stdout = stdout.and_then(|reader| reader.join().ok()).unwrap_or_default();
        let stderr = stderr.and_then(|reader| reader.join().ok()).unwrap_or_default();
        let stderr = self.discreet(String::from_utf8_lossy(&stderr).trim());
        match (ended, status) {
            (Ended::TooMuch, _) => Err(ProcessError::TooMuch { command: self.shown(), limit: self.output_bytes }),
            (Ended::Late, _) => Err(ProcessError::Timeout { command: self.shown(), after: self.time, stderr }),
            (Ended::Itself, Some(status)) if status.success() => Ok(Output { stdout, stderr }),
            (Ended::Itself, status) => {
                let how = status.map_or("unknown".to_owned(), |status| match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exit status {code}"),
                    (None, Some(signal)) => format!("signal {signal}"),
                    (None, None) => status.to_string(),
                });
                Err(ProcessError::Failed { command: self.shown(), how, stderr })
            }
        }
    }

    fn spawn(&self) -> Result<Child, ProcessError> {
        let start = |reason: String| ProcessError::Start { program: self.program.display().to_string(), reason };
        let private = self.jail.join(".tako");
        let (home, tmp) = (private.join("home"), private.join("tmp"));
        for directory in [&home, &tmp] {
            std::fs::create_dir_all(directory).map_err(|error| start(error.to_string()))?;
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &home)
            .env("TMPDIR", &tmp)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .env("XDG_DATA_HOME", home.join(".local/share"))
            .env("LC_ALL", "C.UTF-8")
            .envs(&self.env)
            .process_group(0)
            .stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let confined = self.clone();
        // Landlock holds for the thread that asks for it and for all that it starts: so a thread of its own.
        thread::spawn(move || {
            confined.confine().map_err(|error| error.to_string())?;
            command.spawn().map_err(|error| error.to_string())
        })
        .join()
        .unwrap_or_else(|_| Err("the thread that starts it ended".to_owned()))
        .map_err(start)
    }

    /// Takes from this thread every right the program needs not. On a kernel without Landlock (before 5.13) nothing is
    /// taken: limits and environment hold all the same.
    fn confine(&self) -> Result<(), landlock::RulesetError> {
        let abi = ABI::V5;
        let mut ruleset =
            Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(abi))?;
        if self.network == Network::None {
            ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
        }
        let mut created = ruleset.create()?;
        let tool = self.program.parent().map(Path::to_owned);
        let reading = SYSTEM.iter().map(PathBuf::from).chain(tool).chain(self.readable.iter().cloned());
        for path in reading {
            created = allow(created, &path, AccessFs::from_read(abi))?;
        }
        for path in DEVICES {
            created = allow(created, Path::new(path), AccessFs::from_all(abi))?;
        }
        for path in std::iter::once(&self.jail).chain(&self.writable) {
            created = allow(created, path, AccessFs::from_all(abi))?;
        }
        created.restrict_self().map(|_| ())
    }
}

fn allow(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, landlock::RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(ruleset) };
    // Rights that only a directory can have are not asked for files.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
    ruleset.add_rule(PathBeneath::new(opened, access))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Itself,
    Late,
    TooMuch,
}

/// What a reader of a pipe tells.
enum Told {
    End,
    TooMuch,
}

/// Reads a pipe to its end. Past `limit`: of standard output that is an end, of standard error the rest is dropped.
fn read<R: Read + Send + 'static>(
    pipe: Option<R>,
    limit: usize,
    strict: bool,
    tell: mpsc::Sender<Told>,
) -> Option<thread::JoinHandle<Vec<u8>>> {
    let mut pipe = pipe?;
    Some(thread::spawn(move || {
        let (mut kept, mut chunk) = (Vec::new(), [0; 64 * 1024]);
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            let room = limit.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..count.min(room)]);
            if strict && count > room {
                let _ = tell.send(Told::TooMuch);
                return kept;
            }
        }
        let _ = tell.send(Told::End);
        kept
    }))
}

/// Waits for the end of a program whose pipes are closed already, which is near.
fn wait(child: &mut Child, time: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= time {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Ends the process group: by TERM first when it may still clean up, then by KILL.
fn stop(child: &mut Child, group: Pid, gently: bool) {
    if gently && rustix::process::kill_process_group(group, Signal::TERM).is_ok() {
        let _ = wait(child, GRACE);
    }
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

fn limit(pid: Pid, file_bytes: u64) {
    let at_most = |bytes: u64| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // It may be gone already, which is no failure.
    let _ = rustix::process::prlimit(Some(pid), Resource::Data, at_most(MEMORY_BYTES));
    let _ = rustix::process::prlimit(Some(pid), Resource::Fsize, at_most(file_bytes));
    let _ = rustix::process::prlimit(Some(pid), Resource::Core, at_most(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(jail: &Path, script: &str) -> Program {
        Program::new("/bin/sh", jail).args(["-c", script])
    }

    #[test]
    fn a_program_answers_and_its_failure_is_told() {
        let jail = tempfile::tempdir().unwrap();
        let good = sh(jail.path(), "cat; echo warned >&2").stdin(b"in".to_vec()).run().unwrap();
        assert_eq!((good.stdout.as_slice(), good.stderr.as_str()), (b"in".as_slice(), "warned"));
        let bad = sh(jail.path(), "echo no hunter2 here >&2; exit 3").secret("hunter2").run().unwrap_err().to_string();
        assert!(bad.ends_with("failed exit status 3: no *** here"), "{bad}");
        let missing = Program::new("/no/such/tool", jail.path()).run().unwrap_err().to_string();
        assert!(missing.contains("/no/such/tool cannot be started"), "{missing}");
    }

    #[test]
    fn the_environment_is_its_own() {
        let jail = tempfile::tempdir().unwrap();
        let out =
            sh(jail.path(), "env | cut -d= -f1 | sort | tr '\\n' ' '; touch $HOME/x $TMPDIR/x").env("A", "b").run();
        let names = String::from_utf8(out.unwrap().stdout).unwrap();
        assert_eq!(names, "A HOME LC_ALL PATH PWD TMPDIR XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME ");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_it_started() {
        let jail = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let late = sh(jail.path(), "sleep 1000 & sleep 1000").time(Duration::from_millis(300)).run().unwrap_err();
        assert!(matches!(late, ProcessError::Timeout { .. }), "{late}");
        assert!(started.elapsed() < Duration::from_secs(8));
    }

    #[test]
    fn one_that_leaves_a_child_behind_does_not_hold_us() {
        let jail = tempfile::tempdir().unwrap();
        let out = sh(jail.path(), "sleep 1000 >/dev/null 2>&1 & echo $!").run().unwrap();
        let left: i32 = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let gone = || {
            // A zombie that nobody waits for is gone too.
            std::fs::read_to_string(format!("/proc/{left}/stat")).map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(Instant::now() < deadline, "the child lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        let jail = tempfile::tempdir().unwrap();
        let much = sh(jail.path(), "yes").output_bytes(1 << 20).run().unwrap_err();
        assert!(matches!(much, ProcessError::TooMuch { .. }), "{much}");
        let noisy = sh(jail.path(), "yes >&2 & sleep 0.2; kill $!; exit 0").run().unwrap();
        assert!(noisy.stderr.len() <= STDERR_BYTES);
    }

    #[test]
    fn nothing_outside_the_jail_is_read_or_written() {
        let (jail, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let canary = outside.path().join("canary");
        std::fs::write(&canary, "tweet").unwrap();
        let cat = |program: Program| program.arg(&canary).run();
        assert!(cat(Program::new("/bin/cat", jail.path())).is_err());
        assert_eq!(cat(Program::new("/bin/cat", jail.path()).readable(outside.path())).unwrap().stdout, b"tweet");
        let new = outside.path().join("new");
        assert!(Program::new("/usr/bin/touch", jail.path()).readable(outside.path()).arg(&new).run().is_err());
        std::os::unix::fs::symlink(&canary, jail.path().join("link")).unwrap();
        assert!(sh(jail.path(), "cat link").run().is_err(), "a link does not lead out");
    }

    #[test]
    fn nobody_is_called_unless_the_tool_needs_it() {
        let jail = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let call = |network| {
            let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
            Program::new("/bin/bash", jail.path()).args(["-c", &script]).network(network).run()
        };
        assert!(call(Network::None).is_err());
        call(Network::Any).unwrap();
    }
}

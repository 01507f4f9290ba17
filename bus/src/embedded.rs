//! nats-server as a child: its own store, loopback only, credentials of its own, restarted on its port when it ends.
//! One supervisor a store: the server itself takes no lock (research/bus.md 2.2).
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::BusError;

/// `max_file` of the server.
pub(crate) const FILE_BYTES_MAX: i64 = 10 * 1024 * 1024 * 1024;
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// What to run and where.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The nats-server program.
    pub program: PathBuf,
    /// Its store, lock, log and configuration.
    pub store_dir: PathBuf,
}

/// The running child.
pub struct EmbeddedNats {
    url: String,
    user: String,
    password: String,
    pid: Arc<AtomicU32>,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
    _lock: File,
}

fn fail(what: &str) -> impl Fn(std::io::Error) -> BusError + '_ {
    move |error| BusError::Embedded(format!("{what}: {error}"))
}

impl EmbeddedNats {
    /// Starts the server and its supervisor.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, BusError> {
        let directory = &config.store_dir;
        fs::create_dir_all(directory).map_err(fail("the store directory cannot be made"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join("takobune.lock"))
            .map_err(fail("the lock file cannot be opened"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            BusError::Embedded(format!(
                "another tako uses {}; stop it or choose another --data-dir",
                directory.display()
            ))
        })?;
        let port = free_port().ok_or_else(|| BusError::Embedded("no free port between 20000 and 32000".to_owned()))?;
        let (user, password) = ("tako".to_owned(), uuid::Uuid::new_v4().simple().to_string());
        let file = directory.join("nats.conf");
        write_private(&file, &configuration(directory, port, &user, &password))
            .map_err(fail("nats.conf cannot be written"))?;
        let child = spawn(&config, &file)?;
        let pid = Arc::new(AtomicU32::new(child.id().unwrap_or_default()));
        let (stop, stopped) = watch::channel(false);
        let supervisor = tokio::spawn(supervise(config, file, child, pid.clone(), stopped));
        Ok(Self { url: format!("nats://127.0.0.1:{port}"), user, password, pid, stop, supervisor, _lock: lock })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Its user.
    pub fn user(&self) -> String {
        self.user.clone()
    }

    /// Its password.
    pub fn password(&self) -> String {
        self.password.clone()
    }

    /// The present process.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Stops it cleanly: the next start is quick.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.supervisor.await;
    }
}

/// A free port below the range that connecting sockets get: the server must find it free again at a restart, while
/// its clients are trying to reach it.
fn free_port() -> Option<u16> {
    (0..200)
        .map(|_| 20_000 + uuid::Uuid::new_v4().as_fields().1 % 12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn configuration(directory: &Path, port: u16, user: &str, password: &str) -> String {
    let store = directory.join("jetstream");
    format!(
        "server_name: takobune-embedded\nlisten: \"127.0.0.1:{port}\"\nmax_payload: 8MB\nping_interval: \"10s\"\nwrite_deadline: \"10s\"\n\
         jetstream {{ store_dir: {store:?}, max_mem: 256MB, max_file: {FILE_BYTES_MAX}, sync_interval: always }}\n\
         authorization {{ user: {user:?}, password: {password:?} }}\nlog_file: {:?}\nlog_size_limit: 10MB\n",
        directory.join("nats.log")
    )
}

fn spawn(config: &EmbeddedConfig, file: &Path) -> Result<Child, BusError> {
    // setpriv (util-linux) has the kernel end the server with us, even when we are killed.
    let mut command = match Path::new("/usr/bin/setpriv").exists() {
        true => {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&config.program);
            command
        }
        false => Command::new(&config.program),
    };
    command
        .arg("-c")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env("GOMEMLIMIT", "256MiB")
        .kill_on_drop(true);
    command.spawn().map_err(|error| {
        BusError::Embedded(format!(
            "{} does not start ({error}); install nats-server 2.14 or later, or give --nats-url",
            config.program.display()
        ))
    })
}

async fn supervise(
    config: EmbeddedConfig,
    file: PathBuf,
    mut child: Child,
    pid: Arc<AtomicU32>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = Duration::from_millis(50);
    loop {
        tokio::select! {
            ended = child.wait() => tracing::error!(?ended, "nats-server ended; starting it again"),
            () = asked(&mut stopped) => {
                terminate(&mut child).await;
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
        match spawn(&config, &file) {
            Ok(fresh) => {
                child = fresh;
                pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
                // One that lives for a while has earned a quick restart.
                if tokio::time::timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                    pause = Duration::from_millis(50);
                }
            }
            Err(error) => tracing::error!(%error, "nats-server does not start"),
        }
    }
}

async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn terminate(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

//! A real nats-server for each test.
#![allow(unreachable_pub, missing_docs, dead_code, reason = "shared by test programs that use a part each")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tako_bus::{Bus, BusConfig, EmbeddedConfig, EmbeddedNats};
use tempfile::TempDir;

pub struct Server {
    pub nats: EmbeddedNats,
    pub store: TempDir,
}

pub fn program() -> PathBuf {
    let directory = std::env::var_os("TAKO_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/tools/install.sh");
        let answer = std::process::Command::new("bash").arg(script).arg("--path").output().expect("bash");
        String::from_utf8(answer.stdout).expect("a path").trim().into()
    });
    let program = directory.join("nats-server");
    assert!(program.exists(), "{} is missing; run deploy/tools/install.sh", program.display());
    program
}

pub fn config(store: &TempDir) -> EmbeddedConfig {
    EmbeddedConfig { program: program(), store_dir: store.path().to_owned() }
}

impl Server {
    pub async fn start() -> Self {
        let store = tempfile::tempdir().expect("a directory");
        let nats = EmbeddedNats::start(config(&store)).await.expect("nats-server");
        Self { nats, store }
    }

    pub async fn bus(&self) -> Bus {
        let config = BusConfig {
            url: self.nats.url(),
            user: Some(self.nats.user()),
            password: Some(self.nats.password()),
            process: "test".into(),
            replicas: 1,
        };
        Bus::connect(&config).await.expect("the bus")
    }

    /// SIGKILL; returns when the supervisor has started another.
    pub async fn kill(&self) {
        let old = self.nats.pid();
        let pid = Pid::from_raw(i32::try_from(old).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("killed");
        until("another server runs", || async { self.nats.pid() != old }).await;
    }

    /// The plain client, to look behind the bus.
    pub async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_user_and_password(self.nats.user(), self.nats.password());
        let client = options.retry_on_initial_connect().connect(self.nats.url()).await.expect("a connection");
        until("connected", || async {
            client.flush().await.is_ok() && client.connection_state() == async_nats::connection::State::Connected
        })
        .await;
        client
    }
}

/// Waits for a condition.
pub async fn until<F: Future<Output = bool>>(what: &str, mut reached: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !reached().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not reached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of a future that must come soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what}: not in time"))
}

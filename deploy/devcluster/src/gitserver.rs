//! A real git server over smart HTTP: `git http-backend` behind a small HTTP server. Loopback only. A repository with a file
//! `takobune-auth` (`user:password`) is private.
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use tiny_http::{Header, Request, Response, Server, StatusCode};

const THREADS: usize = 8;

/// A running server; it ends when dropped.
pub struct GitServer {
    server: Arc<Server>,
    address: String,
}

impl GitServer {
    /// Serves every bare repository below `root` on `listen` (port 0 for any).
    pub fn start(root: &Path, listen: &str) -> anyhow::Result<Self> {
        let server = Arc::new(Server::http(listen).map_err(|error| anyhow::anyhow!("{listen}: {error}"))?);
        let address = server.server_addr().to_string();
        for _ in 0..THREADS {
            let (server, root) = (server.clone(), root.to_path_buf());
            std::thread::spawn(move || {
                while let Ok(request) = server.recv() {
                    // Who hung up needs no answer.
                    let _ = answer(request, &root);
                }
            });
        }
        Ok(Self { server, address })
    }

    /// The URL of a repository.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// Serves until the process ends.
    pub fn forever(&self) {
        loop {
            std::thread::park();
        }
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn answer(mut request: Request, root: &PathBuf) -> anyhow::Result<()> {
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let header = |name: &'static str| {
        request
            .headers()
            .iter()
            .find(|header| header.field.equiv(name))
            .map(|header| header.value.as_str().to_owned())
            .unwrap_or_default()
    };
    let repository = path.trim_start_matches('/').split_inclusive(".git").next().unwrap_or_default();
    if let Ok(auth) = std::fs::read_to_string(root.join(repository).join("takobune-auth"))
        && header("Authorization") != format!("Basic {}", base64(auth.trim().as_bytes()))
    {
        let challenge =
            Header::from_bytes("WWW-Authenticate", "Basic realm=\"git\"").map_err(|()| anyhow::anyhow!("header"))?;
        return Ok(request.respond(Response::empty(StatusCode(401)).with_header(challenge))?);
    }
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", request.method().as_str())
        .env("CONTENT_TYPE", header("Content-Type"))
        .env("HTTP_CONTENT_ENCODING", header("Content-Encoding"))
        .env("GIT_PROTOCOL", header("Git-Protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("git http-backend")?;
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body)?;
    if let Some(mut stdin) = child.stdin.take() {
        std::thread::spawn(move || stdin.write_all(&body));
    }
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let (mut status, mut headers) = (200, Vec::new());
    loop {
        let mut line = String::new();
        output.read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_once(": ") {
            Some(("Status", text)) => status = text.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500),
            Some((name, value)) => headers.extend(Header::from_bytes(name, value).ok()),
            None => break,
        }
    }
    let mut content = Vec::new();
    output.read_to_end(&mut content)?;
    child.wait()?;
    request.respond(Response::new(StatusCode(status), headers, content.as_slice(), Some(content.len()), None))?;
    Ok(())
}

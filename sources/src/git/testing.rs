//! Real servers for the tests: git over HTTP and HTTPS (`git http-backend` behind a small server), sshd, and a SOCKS proxy.
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tako_engine::repository::Repository as Settings;
use tako_engine::trust::Trust;

use super::{GitCache, GitSettings};

/// A work tree to commit in.
pub(super) struct Work {
    pub(super) dir: tempfile::TempDir,
}

impl Work {
    pub(super) fn new() -> Self {
        let work = Self { dir: tempfile::tempdir().unwrap() };
        work.git(&["init", "-q", "-b", "main"]);
        work
    }

    /// A bare repository `name` below `root`, with this one's commits.
    pub(super) fn push_to(&self, root: &Path, name: &str) {
        let bare = root.join(name);
        if !bare.exists() {
            let bare = bare.display().to_string();
            self.git(&["init", "-q", "--bare", "-b", "main", &bare]);
            self.git(&["-C", &bare, "config", "uploadpack.allowAnySHA1InWant", "true"]);
        }
        self.git(&["push", "-q", "--force", "--mirror", &bare.display().to_string()]);
    }

    pub(super) fn commit(&self, path: &str, text: &str) -> String {
        let file = self.dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", path]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        self.git_env(args, &[])
    }

    pub(super) fn git_env(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs(env.iter().copied());
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@example.org");
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

/// A cache that may be used for `file://` too.
pub(super) fn cache(root: &Path) -> GitCache {
    GitCache::open_with(root, GitSettings { allow_file: true, ..GitSettings::default() }).unwrap()
}

pub(super) fn settings(pairs: &[(&str, &str)]) -> Settings {
    let data: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings::from_data(&data).unwrap()
}

pub(super) fn trust(certificate: &str, known_hosts: &str) -> Trust {
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Trust::from_data(&one("localhost", certificate), &one("ssh_known_hosts", known_hosts), &BTreeMap::new())
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Status, headers and body.
pub(super) type Answer = (String, Vec<(String, String)>, Vec<u8>);
/// Answers instead of git, when it answers.
pub(super) type Handler = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// A server. Its thread lives as long as the tests.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    scheme: &'static str,
}

impl Server {
    pub(super) fn start(root: &Path, tls: Option<Arc<rustls::ServerConfig>>, handler: Box<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
            scheme: if tls.is_some() { "https" } else { "http" },
        };
        let (asked, root, handler) = (server.asked.clone(), root.to_owned(), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, root, handler, tls) = (asked.clone(), root.clone(), handler.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(stream, &root, &**handler, &asked),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).unwrap();
                        serve(rustls::StreamOwned::new(session, stream), &root, &**handler, &asked);
                    }
                });
            }
        });
        server
    }

    /// One that wants this header `Authorization` for all it answers.
    pub(super) fn guarded(root: &Path, authorization: &str) -> Self {
        let wanted = authorization.to_owned();
        Self::start(root, None, Box::new(move |asked| guard(asked, &wanted)))
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("{}://localhost:{}/{name}", self.scheme, self.port)
    }

    pub(super) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

pub(super) fn guard(asked: &Asked, wanted: &str) -> Option<Answer> {
    let challenge = vec![("WWW-Authenticate".to_owned(), "Basic realm=\"git\"".to_owned())];
    (asked.header("authorization") != wanted).then(|| ("401 Unauthorized".to_owned(), challenge, Vec::new()))
}

pub(super) fn json(status: &str, value: &serde_json::Value) -> Answer {
    (
        status.to_owned(),
        vec![("Content-Type".to_owned(), "application/json".to_owned())],
        value.to_string().into_bytes(),
    )
}

fn serve<S: Read + Write>(stream: S, root: &Path, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        log.lock().unwrap().push(asked.clone());
        let (status, headers, body) = handler(&asked).unwrap_or_else(|| backend(&asked, root));
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let stream = reader.get_mut();
        let sent = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&body));
        if sent.and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    asked.method = words.next()?.to_owned();
    let target = words.next()?;
    // What a proxy is asked names the server too.
    let target = target.strip_prefix("http://").map_or(target, |rest| &rest[rest.find('/').unwrap_or(0)..]);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (asked.path, asked.query) = (path.to_owned(), query.to_owned());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    if asked.header("transfer-encoding") == "chunked" {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk).ok()?;
            asked.body.extend(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    } else {
        asked.body = vec![0; asked.header("content-length").parse().unwrap_or(0)];
        reader.read_exact(&mut asked.body).ok()?;
    }
    Some(asked)
}

/// `git http-backend`, as a CGI.
fn backend(asked: &Asked, root: &Path) -> Answer {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &asked.path)
        .env("QUERY_STRING", &asked.query)
        .env("REQUEST_METHOD", &asked.method)
        .env("CONTENT_TYPE", asked.header("content-type"))
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", asked.header("content-encoding"))
        .env("GIT_PROTOCOL", asked.header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = asked.body.clone();
    thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(output.len());
    let mut status = "200 OK".to_owned();
    let mut headers = Vec::new();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", value)) => value.clone_into(&mut status),
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => {}
        }
    }
    (status, headers, output[(end + 4).min(output.len())..].to_vec())
}

/// Certificates of a test: an authority, a server's and a client's.
pub(super) struct Certificates {
    pub(super) authority: String,
    pub(super) client: String,
    pub(super) client_key: String,
    server: (CertificateDer<'static>, Vec<u8>),
    authority_der: CertificateDer<'static>,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (server, server_key) = issue("localhost");
        let (client, client_key) = issue("client");
        Self {
            authority: authority.pem(),
            client: client.pem(),
            client_key: client_key.serialize_pem(),
            server: (server.der().clone(), server_key.serialize_der()),
            authority_der: authority.der().clone(),
        }
    }

    /// What a server needs; `mutual`: it wants the client's certificate.
    pub(super) fn server(&self, mutual: bool) -> Arc<rustls::ServerConfig> {
        let builder = rustls::ServerConfig::builder();
        let builder = if mutual {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.authority_der.clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.server.1.clone()));
        Arc::new(builder.with_single_cert(vec![self.server.0.clone()], key).unwrap())
    }
}

/// A key pair of ssh, without a passphrase.
pub(super) fn ssh_key(dir: &Path, name: &str) -> (PathBuf, String) {
    let path = dir.join(name);
    let file = path.display().to_string();
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &file]).status();
    assert!(done.unwrap().success(), "ssh-keygen; apt-get install openssh-client");
    let public = fs::read_to_string(format!("{file}.pub")).unwrap();
    (path, public.trim().to_owned())
}

/// An sshd of the user who runs the tests.
pub(super) struct Sshd {
    child: Child,
    pub(super) port: u16,
    /// The private key that gets in.
    pub(super) key: String,
    /// Its own, as in `known_hosts`.
    pub(super) known_hosts: String,
    pub(super) user: String,
}

impl Sshd {
    pub(super) fn start(dir: &Path) -> Self {
        let (host, host_public) = ssh_key(dir, "host");
        let (key, public) = ssh_key(dir, "user");
        fs::write(dir.join("authorized"), public).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n",
            host.display(),
            dir.join("authorized").display()
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        // As root, sshd wants this for its own separation.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.join("sshd.log")).unwrap())
            .spawn()
            .expect("sshd; apt-get install openssh-server");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(dir.join("sshd.log")).unwrap());
            thread::sleep(Duration::from_millis(10));
        }
        let host_key: Vec<&str> = host_public.split(' ').take(2).collect();
        Self {
            child,
            port,
            key: fs::read_to_string(key).unwrap(),
            known_hosts: format!("[localhost]:{port} {}\n", host_key.join(" ")),
            user,
        }
    }

    pub(super) fn url(&self, path: &Path) -> String {
        format!("ssh://{}@localhost:{}{}", self.user, self.port, path.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A SOCKS 5 proxy that wants `user:password`; counts whom it led.
pub(super) fn socks_proxy() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let led = Arc::new(AtomicUsize::new(0));
    let count = led.clone();
    thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            let count = count.clone();
            thread::spawn(move || -> std::io::Result<()> {
                let bytes = |near: &mut TcpStream, length: usize| {
                    let mut bytes = vec![0; length];
                    near.read_exact(&mut bytes).map(|()| bytes)
                };
                assert_eq!(bytes(&mut near, 3)?, [5, 1, 2]);
                near.write_all(&[5, 2])?;
                let wanted = b"\x01\x04user\x08password";
                let right = bytes(&mut near, wanted.len())? == wanted;
                near.write_all(&[1, u8::from(!right)])?;
                let head = bytes(&mut near, 5)?;
                assert_eq!(head[..4], [5, 1, 0, 3]);
                let name = bytes(&mut near, usize::from(head[4]))?;
                let port = bytes(&mut near, 2)?;
                let port = u16::from_be_bytes([port[0], port[1]]);
                let far = TcpStream::connect((String::from_utf8(name).unwrap().as_str(), port))?;
                count.fetch_add(1, Ordering::Relaxed);
                near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
                let (mut from_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from_near, &mut to_far);
                    let _ = to_far.shutdown(std::net::Shutdown::Write);
                });
                let (mut from_far, mut to_near) = (far, near.try_clone()?);
                let _ = std::io::copy(&mut from_far, &mut to_near);
                near.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    (port, led)
}

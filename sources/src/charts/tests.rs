//! Real servers: a Helm repository over HTTP, and some that nobody would want to meet.
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// What was asked for, the answer, and who asked.
type Seen = (String, u16, Option<String>);

/// A Helm repository.
pub(crate) struct Shop {
    server: Arc<tiny_http::Server>,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    charts: Mutex<BTreeMap<(String, String), String>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::start(None)
    }

    /// Wants a user and a password.
    pub(crate) fn guarded(user: &str, password: &str) -> Self {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Self::start(Some(format!("Basic {pair}")))
    }

    fn start(wanted: Option<String>) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let files: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (theirs, held, log) = (server.clone(), files.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while let Ok(request) = theirs.recv() {
                let header = |name: &str| {
                    let found =
                        request.headers().iter().find(|header| header.field.to_string().eq_ignore_ascii_case(name));
                    found.map(|header| header.value.to_string())
                };
                let authorization = header("authorization");
                let path = request.url().split('?').next().unwrap().to_owned();
                let body = held.lock().unwrap().get(&path).cloned();
                let tag = body
                    .as_ref()
                    .map(|body| format!("\"{}\"", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(body))));
                let (status, body) = match body {
                    _ if wanted.is_some() && authorization != wanted => (401, Vec::new()),
                    None => (404, Vec::new()),
                    Some(_) if tag.is_some() && header("if-none-match") == tag => (304, Vec::new()),
                    Some(body) => (200, body),
                };
                log.lock().unwrap().push((path, status, authorization));
                let mut answer = tiny_http::Response::from_data(body).with_status_code(status);
                if let Some(tag) = tag {
                    answer.add_header(tiny_http::Header::from_bytes("ETag", tag).unwrap());
                }
                let _ = request.respond(answer);
            }
        });
        Self { server, files, charts: Mutex::default(), seen, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.server_addr().to_ip().unwrap())
    }

    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    /// Puts a chart on sale.
    pub(crate) fn chart(&self, name: &str, version: &str, archive: &[u8]) {
        let file = format!("/{name}-{version}.tgz");
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(archive));
        self.put(&file, archive.to_vec());
        self.list(
            name,
            version,
            &format!("  - name: {name}\n    version: {version}\n    digest: {digest}\n    urls: [{}]\n", &file[1..]),
        );
    }

    pub(crate) fn list(&self, name: &str, version: &str, entry: &str) {
        self.charts.lock().unwrap().insert((name.to_owned(), version.to_owned()), entry.to_owned());
        self.index();
    }

    pub(crate) fn remove(&self, name: &str, version: &str) {
        self.charts.lock().unwrap().remove(&(name.to_owned(), version.to_owned()));
        self.index();
    }

    fn index(&self) {
        let mut text = "apiVersion: v1\ngenerated: \"2026-01-01T00:00:00Z\"\nentries:\n".to_owned();
        let mut last = String::new();
        for ((name, _), entry) in &*self.charts.lock().unwrap() {
            if *name != last {
                text.push_str(&format!("  {name}:\n"));
                last.clone_from(name);
            }
            text.push_str(entry);
        }
        self.put("/index.yaml", text.into_bytes());
    }

    /// How often a path was given in full.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(asked, status, _)| asked == path && *status == 200).count()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // `unblock` ends one `recv` with an error.
            let _ = thread.join();
        }
    }
}

/// An archive as `helm package` makes it.
pub(crate) fn packed_chart(name: &str, version: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    let mut all = vec![("Chart.yaml", chart.as_str())];
    all.extend(files);
    archive(|tar| {
        for (path, text) in &all {
            plain(tar, &format!("{name}/{path}"), text.as_bytes());
        }
    })
}

pub(crate) fn archive(fill: impl FnOnce(&mut tar::Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    fill(&mut tar);
    tar.into_inner().unwrap().finish().unwrap()
}

/// A header with a name that nobody checked.
fn header(name: &str, kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_cksum();
    header
}

pub(crate) fn plain(tar: &mut tar::Builder<GzEncoder<Vec<u8>>>, name: &str, bytes: &[u8]) {
    tar.append(&header(name, tar::EntryType::Regular, bytes.len() as u64, 0o644), bytes).unwrap();
}

fn repository(url: &str) -> Repository {
    Repository { url: url.to_owned(), kind: RepositoryType::Helm, ..Repository::default() }
}

fn open() -> (tempfile::TempDir, Charts) {
    let root = tempfile::tempdir().unwrap();
    let charts = Charts::open(root.path()).unwrap();
    (root, charts)
}

#[test]
fn a_version_is_resolved_and_fetched_and_nothing_is_asked_twice() {
    let shop = Shop::guarded("reader", "hunter2-canary");
    for version in ["1.0.0", "1.2.0", "v1.3.0", "2.0.0-rc.1", "1.10.0+build.1"] {
        shop.chart("demo", version, &packed_chart("demo", version, &[("values.yaml", "a: 1\n")]));
    }
    let (root, charts) = open();
    let settings = RenderSettings::default();
    let shopper =
        Repository { username: "reader".into(), password: "hunter2-canary".into(), ..repository(&shop.url()) };
    for (constraint, want) in
        [("1.2.x", "1.2.0"), ("", "1.10.0+build.1"), ("~1.3", "v1.3.0"), (">=2.0.0-0", "2.0.0-rc.1")]
    {
        assert_eq!(charts.resolve(&shopper, "demo", constraint).unwrap(), want, "{constraint}");
    }
    assert_eq!(shop.asked("/index.yaml"), 1, "unchanged: asked again, not sent again");
    // A later run has the index on disk.
    let charts = Charts::open(root.path()).unwrap();
    assert_eq!(charts.resolve(&shopper, "demo", "^1.2").unwrap(), "1.10.0+build.1");
    assert_eq!(shop.asked("/index.yaml"), 1);
    assert_eq!(charts.resolve(&repository("http://127.0.0.1:1"), "demo", "9.9.9").unwrap(), "9.9.9", "nobody is asked");
    for version in ["1.10.0+build.1", "1.3.0"] {
        let tree = charts.fetch(&shopper, "demo", version, &settings).unwrap();
        assert!(tree.text("Chart.yaml").unwrap().contains(version), "{version}");
        assert_eq!(tree.text("values.yaml").unwrap(), "a: 1\n");
    }
    charts.fetch(&shopper, "demo", "1.3.0", &settings).unwrap();
    assert_eq!(shop.asked("/demo-v1.3.0.tgz"), 1);
    // Who has no credentials gets nothing of what is here.
    let error = charts.fetch(&repository(&shop.url()), "demo", "1.3.0", &settings).unwrap_err().to_string();
    assert!(error.contains("401"), "{error}");
    for (chart, version, want) in
        [("demo", "7.0.0", "chart demo has no version 7.0.0"), ("none", "1.0.0", "there is no chart none")]
    {
        let error = charts.fetch(&shopper, chart, version, &settings).unwrap_err().to_string();
        assert!(error.contains(want) && !error.contains("hunter2"), "{error}");
    }
    assert_eq!(charts.list(&shopper).unwrap()["demo"].len(), 5);
}

#[test]
fn contents_tell_trees_apart_and_nothing_else_does() {
    let shop = Shop::new();
    for (version, values) in [("1.0.0", "a: 1\n"), ("1.0.1", "a: 1\n"), ("1.0.2", "a: 2\n")] {
        shop.chart("demo", version, &packed_chart("demo", version, &[("values.yaml", values), ("deep/x", values)]));
    }
    let (_root, charts) = open();
    let print = |version: &str, input: &str| {
        let tree = charts.fetch(&repository(&shop.url()), "demo", version, &RenderSettings::default()).unwrap();
        tree.fingerprint(&[input.to_owned()].into()).unwrap()
    };
    for input in ["values.yaml", "deep"] {
        assert_eq!(print("1.0.0", input), print("1.0.1", input), "{input}");
        assert_ne!(print("1.0.0", input), print("1.0.2", input), "{input}");
    }
    assert_ne!(print("1.0.0", ""), print("1.0.1", ""), "Chart.yaml has another version");
}

#[test]
fn an_archive_is_the_one_of_the_index_or_none() {
    let shop = Shop::new();
    shop.chart("demo", "1.0.0", &packed_chart("demo", "1.0.0", &[]));
    shop.put("/demo-1.0.0.tgz", packed_chart("demo", "1.0.0", &[("values.yaml", "evil: true\n")]));
    let (root, charts) = open();
    let fetch = || charts.fetch(&repository(&shop.url()), "demo", "1.0.0", &RenderSettings::default());
    let error = fetch().unwrap_err().to_string();
    assert!(error.contains("not the one whose digest the index names"), "{error}");
    assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0, "nothing is left");
    shop.chart("demo", "1.0.0", &packed_chart("demo", "1.0.0", &[]));
    fetch().unwrap();
}

/// Credentials stay with their host, unless they are to be passed on. S-49: and no error repeats them.
#[test]
fn s_49_credentials_go_to_no_other_host_and_into_no_error() {
    let (shop, other) = (Shop::guarded("reader", "hunter2-canary"), Shop::new());
    let archive = packed_chart("demo", "1.0.0", &[]);
    // Another port is another host.
    other.put("/demo.tgz", archive);
    shop.list("demo", "1.0.0", &format!("  - version: 1.0.0\n    urls: ['{}/demo.tgz']\n", other.url()));
    let shopper =
        Repository { username: "reader".into(), password: "hunter2-canary".into(), ..repository(&shop.url()) };
    let (_root, charts) = open();
    let settings = RenderSettings::default();
    charts.fetch(&shopper, "demo", "1.0.0", &settings).unwrap();
    let (_root, charts) = open();
    charts.passing_credentials(true).fetch(&shopper, "demo", "1.0.0", &settings).unwrap();
    let sent: Vec<bool> = other.seen.lock().unwrap().iter().map(|(_, _, sent)| sent.is_some()).collect();
    assert_eq!(sent, [false, true]);
    let wrong = Repository { password: "hunter2-wrong".into(), ..shopper.clone() };
    let inside = Repository { url: shop.url().replace("http://", "http://reader:hunter2-inside@"), ..repository("") };
    let dead = Repository { url: "http://reader:hunter2-dead@127.0.0.1:1".into(), ..repository("") };
    let proxied = Repository { proxy: "bad://u:hunter2-proxy@x".into(), ..shopper.clone() };
    let certified = Repository { tls_client_cert_data: "hunter2-cert".into(), ..shopper.clone() };
    for repository in [wrong, inside, dead, proxied, certified] {
        let error = charts.resolve(&repository, "demo", "*").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    // A server that says back what it was told.
    shop.put(
        "/index.yaml",
        b"entries: {demo: [{version: 1.0.0, urls: ['http://reader:hunter2-canary@127.0.0.1:1/x']}]}".to_vec(),
    );
    let error = open().1.fetch(&shopper, "demo", "1.0.0", &settings).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

/// S-13: what an archive must not hold. Nothing of it stays on the disk.
#[test]
fn s_13_archives_that_harm_are_refused() {
    use tar::EntryType as Is;
    type Fill = fn(&mut tar::Builder<GzEncoder<Vec<u8>>>);
    fn link(tar: &mut tar::Builder<GzEncoder<Vec<u8>>>, kind: Is, name: &str, to: &str) {
        let mut header = header(name, kind, 0, 0o777);
        header.as_gnu_mut().unwrap().linkname[..to.len()].copy_from_slice(to.as_bytes());
        header.set_cksum();
        tar.append(&header, &[][..]).unwrap();
    }
    let cases: [(&str, Fill); 17] = [
        ("unpacked it has more than", |tar| {
            let size = 80 * 1024 * 1024;
            tar.append(&header("demo/zero", Is::Regular, size, 0o644), std::io::repeat(0).take(size)).unwrap();
        }),
        ("leads out of the archive", |tar| plain(tar, "../evil", b"x")),
        ("leads out of the archive", |tar| plain(tar, "demo/../../evil", b"x")),
        ("leads out of the archive", |tar| plain(tar, "/tmp/evil", b"x")),
        ("leads out of the archive (to ../../etc/passwd)", |tar| link(tar, Is::Symlink, "demo/a", "../../etc/passwd")),
        ("leads out of the archive (to /etc/passwd)", |tar| link(tar, Is::Symlink, "demo/a", "/etc/passwd")),
        ("is a hard link", |tar| link(tar, Is::Link, "demo/a", "demo/Chart.yaml")),
        ("is a hard link", |tar| link(tar, Is::Link, "demo/a", "/etc/passwd")),
        ("is neither a file nor", |tar| tar.append(&header("demo/null", Is::Char, 0, 0o666), &[][..]).unwrap()),
        ("is neither a file nor", |tar| tar.append(&header("demo/pipe", Is::Fifo, 0, 0o666), &[][..]).unwrap()),
        ("is there twice", |tar| {
            plain(tar, "demo/a", b"1");
            plain(tar, "demo/./a", b"2");
        }),
        ("is there twice", |tar| {
            link(tar, Is::Symlink, "demo/a", "Chart.yaml");
            plain(tar, "demo/a", b"2");
        }),
        ("lies below a symbolic link", |tar| {
            link(tar, Is::Symlink, "demo/a", "templates");
            link(tar, Is::Symlink, "demo/a/b", "../Chart.yaml");
        }),
        ("lies outside the chart's directory", |tar| plain(tar, "loose", b"x")),
        ("lies outside the chart's directory", |tar| plain(tar, "other/x", b"x")),
        ("a header has more than", |tar| {
            let size = 1024 * 1024;
            tar.append(&header("././@LongLink", Is::GNULongName, size, 0o644), std::io::repeat(b'a').take(size))
                .unwrap();
            plain(tar, "demo/x", b"x");
        }),
        ("nested deeper than", |tar| {
            let name = format!("demo/{}", "a/".repeat(45));
            let mut long = header("././@LongLink", Is::GNULongName, name.len() as u64 * 2, 0o644);
            long.set_cksum();
            tar.append(&long, format!("{name}{}", "a/".repeat(47)).as_bytes().take(name.len() as u64 * 2)).unwrap();
            plain(tar, "demo/x", b"x");
        }),
    ];
    let shop = Shop::new();
    let settings = RenderSettings { chart_bytes_max: 64 * 1024 * 1024, ..RenderSettings::default() };
    for (number, (want, fill)) in cases.into_iter().enumerate() {
        let (root, charts) = open();
        shop.chart(
            "demo",
            "1.0.0",
            &archive(|tar| {
                plain(tar, "demo/Chart.yaml", b"name: demo\n");
                fill(tar);
            }),
        );
        let error = charts.fetch(&repository(&shop.url()), "demo", "1.0.0", &settings).unwrap_err().to_string();
        assert!(error.contains(want), "{number}: {error}");
        for left in ["tmp", "trees"] {
            assert_eq!(std::fs::read_dir(root.path().join(left)).unwrap().count(), 0, "{number}: {left}");
        }
    }
    // Small, but much too much of it: by the ratio, and by the number of files.
    let (root, charts) = open();
    let large = RenderSettings::default();
    shop.chart(
        "demo",
        "1.0.0",
        &archive(|tar| {
            let size = 300 * 1024 * 1024;
            tar.append(&header("demo/zero", Is::Regular, size, 0o644), std::io::repeat(0).take(size)).unwrap();
        }),
    );
    let error = charts.fetch(&repository(&shop.url()), "demo", "1.0.0", &large).unwrap_err().to_string();
    assert!(error.contains("times as large"), "{error}");
    shop.chart(
        "demo",
        "1.0.1",
        &archive(|tar| {
            for number in 0..=50_000 {
                plain(tar, &format!("demo/{number}"), b"");
            }
        }),
    );
    let error = charts.fetch(&repository(&shop.url()), "demo", "1.0.1", &large).unwrap_err().to_string();
    assert!(error.contains("more than 50000 entries"), "{error}");
    assert_eq!(std::fs::read_dir(root.path().join("trees")).unwrap().count(), 0);
}

/// S-13: modes of an archive are not taken over, so that everything can be read and removed.
#[test]
fn s_13_modes_are_made_equal() {
    use std::os::unix::fs::PermissionsExt as _;
    use tar::EntryType as Is;
    let shop = Shop::new();
    shop.chart(
        "demo",
        "1.0.0",
        &archive(|tar| {
            tar.append(&header("demo/", Is::Directory, 0, 0), &[][..]).unwrap();
            tar.append(&header("demo/locked/", Is::Directory, 0, 0), &[][..]).unwrap();
            tar.append(&header("demo/Chart.yaml", Is::Regular, 1, 0), &b"x"[..]).unwrap();
            tar.append(&header("demo/locked/run", Is::Regular, 1, 0o4111), &b"x"[..]).unwrap();
        }),
    );
    let (root, charts) = open();
    let tree = charts.fetch(&repository(&shop.url()), "demo", "1.0.0", &RenderSettings::default()).unwrap();
    assert_eq!(tree.text("locked/run").unwrap(), "x");
    let unpacked = std::fs::read_dir(root.path().join("trees")).unwrap().next().unwrap().unwrap().path();
    let mode = |path: &str| std::fs::metadata(unpacked.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("locked"), mode("Chart.yaml"), mode("locked/run")], [0o755, 0o644, 0o755]);
}

/// A server that sends `head`, then `piece` for ever with a pause, until it is dropped.
struct Endless {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Endless {
    fn start(head: &'static str, piece: Vec<u8>, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, over) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let ended = over.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked);
                if stream.write_all(head.as_bytes()).is_err() {
                    continue;
                }
                while !ended.load(Ordering::Relaxed) && stream.write_all(&piece).is_ok() {
                    std::thread::sleep(pause);
                }
                if ended.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { port, over }
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// S-14: an index without end, one that drips, one that unzips without end, one with more versions than anybody has.
#[test]
fn s_14_an_index_has_an_end() {
    let limits = Limits { bytes: 4 * 1024 * 1024, time: Duration::from_secs(2) };
    let get = |port: u16| {
        let base = parse(&format!("http://127.0.0.1:{port}/index.yaml")).unwrap();
        let transport = Transport::new(&repository("http://x"), &base, &Trust::default(), false).unwrap();
        let started = Instant::now();
        let answer = transport.send("index", transport.get(&base), limits);
        let error = answer.and_then(|answer| transport.body("index", answer, limits)).unwrap_err().to_string();
        assert!(started.elapsed() < Duration::from_secs(8), "{error}");
        error
    };
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/yaml\r\nConnection: close\r\n\r\nentries:\n";
    let endless = Endless::start(HEAD, vec![b'#'; 64 * 1024], Duration::ZERO);
    assert!(get(endless.port).contains("more than the 4194304 bytes allowed"));
    let slow = Endless::start(HEAD, b"#".to_vec(), Duration::from_millis(100));
    assert!(get(slow.port).contains("the server took too long"));
    let silent = Endless::start("HTTP/1.1 200 OK\r\n", Vec::new(), Duration::from_millis(100));
    assert!(get(silent.port).contains("the server took too long"));
    const ZIPPED: &str = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let mut zip = GzEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&vec![b'#'; 8 * 1024 * 1024]).unwrap();
    let bomb = Endless::start(ZIPPED, zip.finish().unwrap(), Duration::from_millis(10));
    assert!(get(bomb.port).contains("more than the 4194304 bytes allowed"));
    let many = "entries:\n  a:\n".to_owned() + &"  - {version: 1.0.0}\n".repeat(500_001);
    assert!(Index::read(many.as_bytes()).unwrap_err().contains("more than 500000 versions"));
    let deep = format!("x: {}", "[".repeat(200_000));
    assert!(Index::read(deep.as_bytes()).unwrap_err().contains("nested deeper than"));
}

#[test]
fn an_index_is_read_as_helm_writes_it_and_as_others_do() {
    let text = "apiVersion: v1\nentries:\n  a:\n  - apiVersion: v2\n    annotations: {x: [1, {y: z}]}\n    digest: sha256:ABC\n    maintainers:\n    - email: x\n    name: a\n    urls:\n    - https://x/a.tgz\n    - b\n    version: 1.0.0\n  - version: 1.1\n  - broken\n  b: []\n  c: null\ngenerated: now\n";
    let index = Index::read(text.as_bytes()).unwrap();
    let release = |version: &str, urls: &[&str], digest: &str| index::Release {
        version: version.to_owned(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        digest: digest.to_owned(),
    };
    assert_eq!(index.charts["a"], [release("1.0.0", &["https://x/a.tgz", "b"], "abc"), release("1.1", &[], "")]);
    assert_eq!(index.charts.len(), 3);
    assert_eq!(index.release("a", "v1.0.0").map(|release| release.version.as_str()), Some("1.0.0"));
    let json = br#"{"apiVersion":"v1","entries":{"a":[{"version":"1.0.0","urls":["x"]}]}}"#;
    assert_eq!(Index::read(&json[..]).unwrap().charts["a"], [release("1.0.0", &["x"], "")]);
    for bad in ["", "- a", "entries: {a: [", "a: &x 1\n? [b]\n: c"] {
        assert!(Index::read(bad.as_bytes()).is_err(), "{bad}");
    }
    for (base, reference, want) in [
        ("https://x/charts", "a.tgz", "https://x/charts/a.tgz"),
        ("https://x/charts/", "d/a.tgz", "https://x/charts/d/a.tgz"),
        ("https://x/charts?key=1", "a.tgz", "https://x/charts/a.tgz?key=1"),
        ("https://x/charts", "/a.tgz", "https://x/a.tgz"),
        ("https://x/charts", "https://y/a.tgz", "https://y/a.tgz"),
    ] {
        assert_eq!(beside(&parse(base).unwrap(), reference).unwrap(), want);
    }
}

/// A server with TLS that gives an empty index to who shows the certificate it wants. It lives until the test ends.
fn secure(wants: Option<&str>) -> (String, String) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let builder = rustls::ServerConfig::builder();
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = Arc::new(builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), stream);
            if tls.read(&mut [0; 4096]).is_ok() {
                let body = "entries: {a: [{version: 1.0.0}]}";
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = tls.write_all(format!("{head}{body}").as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    (url, own.cert.pem())
}

#[test]
fn certificates_are_those_that_the_installation_trusts() {
    let client = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let (url, pem) = secure(None);
    let (root, charts) = open();
    let ask = |charts: &Charts, repository: &Repository| {
        charts.resolve(repository, "a", "*").map_err(|error| error.to_string())
    };
    assert!(ask(&charts, &repository(&url)).unwrap_err().contains("certificate"), "nobody vouches for it");
    assert!(ask(&charts, &Repository { insecure: true, ..repository(&url) }).is_ok());
    let trusting = |pem: &str| {
        let certs = BTreeMap::from([("localhost".to_owned(), pem.to_owned())]);
        let trust = Trust::from_data(&certs, &BTreeMap::new(), &BTreeMap::new());
        Charts::with_trust(root.path(), Arc::new(trust)).unwrap()
    };
    assert_eq!(ask(&trusting(&pem), &repository(&url)).unwrap(), "1.0.0");
    assert!(ask(&trusting(&client.cert.pem()), &repository(&url)).is_err(), "another certificate");
    let (url, pem) = secure(Some(&client.cert.pem()));
    assert!(ask(&trusting(&pem), &repository(&url)).is_err(), "it wants to know who asks");
    let known = Repository {
        tls_client_cert_data: client.cert.pem(),
        tls_client_cert_key: client.signing_key.serialize_pem().into(),
        ..repository(&url)
    };
    assert_eq!(ask(&trusting(&pem), &known).unwrap(), "1.0.0");
}

//! Against real servers: what is fetched, with whose right, and what is refused.
mod lfs;
mod tokens;
mod verify;

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tako_engine::repository::Repositories;
use tako_engine::trust::Trust;

use super::testing::{Certificates, Server, Sshd, Work, cache, settings, socks_proxy, trust};
use super::{Commit, GitCache, GitError, Refs, Submodules, redact};
use crate::tree::{Kind, Tree};

struct Place {
    root: tempfile::TempDir,
    data: tempfile::TempDir,
    work: Work,
}

impl Place {
    /// A repository `app.git` with one commit, and room for a cache.
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap(), data: tempfile::tempdir().unwrap(), work: Work::new() };
        place.commit("a.yaml", "a: 1");
        place
    }

    fn commit(&self, path: &str, text: &str) -> String {
        let id = self.work.commit(path, text);
        self.push();
        id
    }

    fn push(&self) {
        self.work.push_to(self.root.path(), "app.git");
    }

    fn cache(&self) -> GitCache {
        cache(self.data.path())
    }

    fn file_url(&self, name: &str) -> String {
        format!("file://{}/{name}", self.root.path().display())
    }
}

fn fetch(cache: &GitCache, pairs: &[(&str, &str)], trust: &Trust) -> Result<Refs, GitError> {
    cache.repository(&settings(pairs), trust)?.fetch()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn credentials_do_not_reach_a_text() {
    assert_eq!(redact("GET https://bob:secret@example.org/x failed"), "GET https://***@example.org/x failed");
}

#[test]
fn user_and_password_and_tokens_open_a_repository() {
    let place = Place::new();
    let none = Trust::default();
    for (header, credentials) in [
        (basic("bob", "hunter2"), vec![("username", "bob"), ("password", "hunter2")]),
        (basic("bob", "hunter2"), vec![("username", "bob"), ("password", "hunter2"), ("forceHttpBasicAuth", "true")]),
        (basic("x-access-token", "hunter2"), vec![("password", "hunter2")]),
        ("Bearer hunter2".to_owned(), vec![("bearerToken", "hunter2")]),
    ] {
        let server = Server::guarded(place.root.path(), &header);
        let url = server.url("app.git");
        let data = tempfile::tempdir().unwrap();
        let cache = cache(data.path());
        let with = |extra: &[(&'static str, &'static str)]| {
            let mut pairs = vec![("url", url.as_str())];
            pairs.extend(extra);
            fetch(&cache, &pairs, &none)
        };
        let wrong = with(&[("username", "bob"), ("password", "wrong1")]).unwrap_err().to_string();
        assert!(wrong.contains("does not accept the credentials"), "{wrong}");
        assert!(!wrong.contains("wrong1"), "{wrong}");
        let without = with(&[]).unwrap_err().to_string();
        assert!(without.contains("wants credentials"), "{without}");
        assert!(with(&credentials).unwrap().by_name.contains_key("refs/heads/main"));
    }
}

#[test]
fn a_project_without_credentials_reads_nothing_that_anothers_fetched() {
    let place = Place::new();
    let id = place.commit("secret.yaml", "b: 2");
    let server = Server::guarded(place.root.path(), &basic("team", "hunter2"));
    let (cache, none, url) = (place.cache(), Trust::default(), server.url("app.git"));
    let team = settings(&[("url", &url), ("project", "team"), ("username", "team"), ("password", "hunter2")]);
    let team = cache.repository(&team, &none).unwrap();
    Commit::open(&team, &id).unwrap();
    for other in [
        settings(&[("url", &url)]),
        settings(&[("url", &url), ("project", "other"), ("username", "team"), ("password", "guessed")]),
    ] {
        let other = cache.repository(&other, &none).unwrap();
        assert!(!other.has(&id));
        assert!(matches!(Commit::open(&other, &id), Err(GitError::Unreachable { .. })));
    }
    // Found again after a restart, each for itself.
    drop((team, cache));
    let cache = place.cache();
    let again = |project: &str| cache.repository(&settings(&[("url", &url), ("project", project)]), &none).unwrap();
    assert!(again("team").has(&id));
    assert!(!again("").has(&id) && !again("other").has(&id));
}

#[test]
fn credentials_may_change_while_the_cache_stays() {
    let place = Place::new();
    let server = Server::guarded(place.root.path(), &basic("bob", "second"));
    let (cache, none, url) = (place.cache(), Trust::default(), server.url("app.git"));
    let with = |password: &str| settings(&[("url", &url), ("username", "bob"), ("password", password)]);
    let first = cache.repository(&with("first"), &none).unwrap();
    first.fetch().unwrap_err();
    let second = cache.repository(&with("second"), &none).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    first.fetch().unwrap();
}

#[test]
fn certificates_are_verified_as_configured() {
    let place = Place::new();
    let certificates = Certificates::new();
    let server = Server::start(place.root.path(), Some(certificates.server(false)), Box::new(|_| None));
    let mutual = Server::start(place.root.path(), Some(certificates.server(true)), Box::new(|_| None));
    let (known, unknown) = (trust(&certificates.authority, ""), Trust::default());
    let cache = place.cache();
    let (url, mutual) = (server.url("app.git"), mutual.url("app.git"));
    let error = fetch(&cache, &[("url", &url)], &unknown).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    fetch(&cache, &[("url", &url)], &known).unwrap();
    fetch(&cache, &[("url", &url), ("insecure", "true")], &unknown).unwrap();
    fetch(&cache, &[("url", &mutual)], &known).unwrap_err();
    let key = certificates.client_key.as_str();
    let client = [("url", mutual.as_str()), ("tlsClientCertData", &certificates.client), ("tlsClientCertKey", key)];
    fetch(&cache, &client, &known).unwrap();
    let broken = [("url", mutual.as_str()), ("tlsClientCertData", &certificates.client), ("tlsClientCertKey", "PEM?")];
    let error = fetch(&cache, &broken, &known).unwrap_err().to_string();
    assert!(error.contains("tlsClientCertKey"), "{error}");
    let error = fetch(&cache, &[("url", &url)], &trust("no PEM", "")).unwrap_err().to_string();
    assert!(error.contains("argocd-tls-certs-cm: localhost"), "{error}");
}

#[test]
fn s_49_a_server_that_repeats_the_credentials_does_not_get_them_into_an_error() {
    let place = Place::new();
    for status in ["401", "403", "404", "429", "500", "200"] {
        let answer = move |asked: &super::testing::Asked| {
            let said = asked.header("authorization").to_owned();
            let decoded = said.strip_prefix("Basic ").and_then(|code| STANDARD.decode(code).ok()).unwrap_or_default();
            let decoded = String::from_utf8_lossy(&decoded).into_owned();
            let text = format!("{said} {decoded}");
            let headers = ["Content-Type", "WWW-Authenticate", "Location"].map(|name| (name.to_owned(), text.clone()));
            Some((format!("{status} {text}"), headers.to_vec(), format!("ERR {text}").into_bytes()))
        };
        let server = Server::start(place.root.path(), None, Box::new(answer));
        let url = server.url("app.git");
        for credentials in
            [vec![("username", "bob"), ("password", "hunter2-canary")], vec![("bearerToken", "hunter2-canary")]]
        {
            let mut pairs = vec![("url", url.as_str())];
            pairs.extend(credentials);
            let error = fetch(&place.cache(), &pairs, &Trust::default()).unwrap_err();
            let text = format!("{error} {error:?}");
            let secrets = ["hunter2-canary", &STANDARD.encode("bob:hunter2-canary")];
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{status}: {text}");
            assert!(text.contains(&url), "{text}");
        }
    }
    let url = format!("http://bob:hunter2-canary@localhost:{}/app.git", 1);
    let error = fetch(&place.cache(), &[("url", &url)], &Trust::default()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2-canary"), "{error:?}");
}

#[test]
fn where_nothing_moved_nothing_is_negotiated() {
    let place = Place::new();
    let server = Server::start(place.root.path(), None, Box::new(|_| None));
    let repo = place.cache().repository(&settings(&[("url", &server.url("app.git"))]), &Trust::default()).unwrap();
    let first = repo.fetch().unwrap();
    server.take();
    assert_eq!(repo.fetch().unwrap(), first);
    let paths = |asked: Vec<super::testing::Asked>| asked.into_iter().map(|asked| asked.path).collect::<Vec<_>>();
    assert_eq!(paths(server.take()), ["/app.git/info/refs", "/app.git/git-upload-pack"]);
    let id = place.commit("b.yaml", "b: 1");
    assert_eq!(repo.fetch().unwrap().by_name["HEAD"], id);
    assert_eq!(paths(server.take()).len(), 3);
    assert_eq!(first.default_branch.as_deref(), Some("refs/heads/main"));
    assert_eq!(repo.changed_paths(&first.by_name["HEAD"], &id).unwrap(), ["b.yaml"]);
}

#[test]
fn a_proxy_is_used_unless_the_host_is_exempt() {
    let place = Place::new();
    let proxy = Server::start(place.root.path(), None, Box::new(|_| None));
    let address = format!("http://localhost:{}", proxy.port);
    let (cache, none) = (place.cache(), Trust::default());
    let by =
        |url: &str, no_proxy: &str| fetch(&cache, &[("url", url), ("proxy", &address), ("noProxy", no_proxy)], &none);
    by("http://git.invalid/app.git", "").unwrap();
    assert!(!proxy.take().is_empty());
    by("http://git.invalid/app.git", "git.invalid").unwrap_err();
    assert!(proxy.take().is_empty());
    let odd = [("url", "http://git.invalid/app.git"), ("proxy", "http://x;id:80")];
    let error = fetch(&cache, &odd, &none).unwrap_err().to_string();
    assert!(error.contains("proxy:"), "{error}");
}

#[test]
fn every_name_of_a_revision_is_found() {
    let place = Place::new();
    let first = place.work.git(&["rev-parse", "HEAD"]);
    place.work.git(&["tag", "v1.0.0"]);
    place.work.git(&["tag", "-a", "v1.1.0", "-m", "annotated"]);
    place.work.git(&["branch", "dir"]);
    let hidden = place.commit("hidden.yaml", "c: 1");
    place.work.git(&["update-ref", "refs/pull/7/head", &hidden]);
    let lost = place.commit("lost.yaml", "d: 1");
    place.work.git(&["reset", "-q", "--hard", &first]);
    place.push();
    let (cache, url) = (place.cache(), place.file_url("app.git"));
    let repo = cache.repository(&settings(&[("url", &url)]), &Trust::default()).unwrap();
    let refs = repo.fetch().unwrap();
    for (revision, want) in [
        ("", &first),
        ("main", &first),
        ("^1", &first),
        (&first[..8], &first),
        ("refs/pull/7/head", &hidden),
        (&lost, &lost),
    ] {
        let found = repo.resolve(&refs, revision, "").unwrap();
        assert_eq!(&found.commit, want, "{revision}");
        assert!(repo.has(want));
    }
    let annotated = repo.resolve(&refs, "^1", "").unwrap();
    assert_eq!(annotated.tag, Some(place.work.git(&["rev-parse", "v1.1.0"])));
    for gone in ["gone", "refs/pull/8/head", "refs/pull/7/head:refs/heads/evil", "abcdef123456", &"0".repeat(40)] {
        let error = repo.resolve(&refs, gone, "").unwrap_err();
        assert!(matches!(error, GitError::NoRevision { .. }), "{gone}: {error}");
    }
    // A branch goes, and one comes that has its name for a directory.
    place.work.git(&["branch", "-D", "dir"]);
    place.work.git(&["branch", "dir/sub"]);
    place.push();
    let refs = repo.fetch().unwrap();
    assert!(!refs.by_name.contains_key("refs/heads/dir") && refs.by_name.contains_key("refs/heads/dir/sub"));
}

#[test]
fn with_a_depth_only_so_much_is_fetched() {
    let place = Place::new();
    let first = place.work.git(&["rev-parse", "HEAD"]);
    place.work.git(&["tag", "old"]);
    place.commit("b.yaml", "b: 1");
    let last = place.commit("c.yaml", "c: 1");
    let (cache, url) = (place.cache(), place.file_url("app.git"));
    let repo = cache.repository(&settings(&[("url", &url), ("depth", "1")]), &Trust::default()).unwrap();
    let refs = repo.fetch().unwrap();
    assert!(repo.has(&last) && !repo.has(&first));
    assert_eq!(repo.resolve(&refs, "old", "").unwrap().commit, first);
    assert!(repo.has(&first));
    let next = place.commit("d.yaml", "d: 1");
    assert_eq!(repo.fetch().unwrap().by_name["refs/heads/main"], next);
    assert_eq!(repo.changed_paths(&last, &next).unwrap(), ["d.yaml"]);
}

#[test]
fn over_ssh_the_key_opens_and_the_host_is_verified() {
    let place = Place::new();
    place.work.git(&["tag", "-a", "v1", "-m", "x"]);
    place.push();
    let keys = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(keys.path());
    let url = sshd.url(&place.root.path().join("app.git"));
    let (cache, known, unknown) = (place.cache(), trust("", &sshd.known_hosts), Trust::default());
    let with_key = [("url", url.as_str()), ("sshPrivateKey", sshd.key.as_str())];
    let error = fetch(&cache, &with_key, &unknown).unwrap_err().to_string();
    assert!(error.contains("Host key verification failed"), "{error}");
    let (_, other) = super::testing::ssh_key(keys.path(), "other");
    let imposter = format!("[localhost]:{} {other}\n", sshd.port);
    fetch(&cache, &with_key, &trust("", &imposter)).unwrap_err();
    let error = fetch(&cache, &[("url", &url)], &known).unwrap_err().to_string();
    assert!(error.contains("Permission denied"), "{error}");
    let refs = fetch(&cache, &with_key, &known).unwrap();
    assert_eq!(refs.by_name["refs/tags/v1"], refs.by_name["HEAD"]);
    assert!(refs.annotated.contains_key("refs/tags/v1"));
    assert_eq!(refs.default_branch.as_deref(), Some("refs/heads/main"));
    let id = place.commit("b.yaml", "b: 1");
    place.work.git(&["tag", "-d", "v1"]);
    place.push();
    let insecure = [("url", url.as_str()), ("sshPrivateKey", sshd.key.as_str()), ("insecure", "true")];
    let refs = fetch(&cache, &insecure, &unknown).unwrap();
    assert_eq!(refs.by_name["HEAD"], id);
    let repo = cache.repository(&settings(&with_key), &known).unwrap();
    assert!(matches!(repo.resolve(&refs, &"0".repeat(40), ""), Err(GitError::NoRevision { .. })));
    let jails = place.data.path().join(".jails");
    assert_eq!(std::fs::read_dir(jails).unwrap().count(), 0, "no key is left on the disk");
}

#[test]
fn over_ssh_a_proxy_is_used_without_a_shell() {
    let place = Place::new();
    let keys = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(keys.path());
    let url = sshd.url(&place.root.path().join("app.git"));
    let (port, led) = socks_proxy();
    let (cache, known) = (place.cache(), trust("", &sshd.known_hosts));
    let by = |proxy: &str| {
        let pairs = [("url", url.as_str()), ("sshPrivateKey", sshd.key.as_str()), ("proxy", proxy)];
        fetch(&cache, &pairs, &known)
    };
    by(&format!("socks5://user:password@127.0.0.1:{port}")).unwrap();
    assert_eq!(led.load(Ordering::Relaxed), 1);
    let error = by(&format!("socks5://user:passw0rd@127.0.0.1:{port}")).unwrap_err().to_string();
    assert!(error.contains("the proxy cannot be used: it does not accept"), "{error}");
    assert!(!error.contains("passw0rd"), "{error}");
    let canary = place.data.path().join("canary");
    let error = by(&format!("socks5://$(touch {}):1080", canary.display())).unwrap_err().to_string();
    assert!(error.contains("proxy:") && !canary.exists(), "{error}");
}

fn text(commit: &Commit, path: &str) -> String {
    Tree::of_commit(commit.clone()).text(path).unwrap()
}

#[test]
fn submodules_stand_in_the_tree_when_they_are_wanted() {
    let place = Place::new();
    let (lib, deep) = (Work::new(), Work::new());
    deep.commit("deep.yaml", "deep: 1");
    deep.push_to(place.root.path(), "deep.git");
    let below = |work: &Work, name: &str, url: &str, at: &str| {
        let from = place.root.path().join(name).display().to_string();
        work.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &from, at]);
        work.git(&["config", "-f", ".gitmodules", &format!("submodule.{at}.url"), url]);
        work.commit("added.yaml", at)
    };
    below(&lib, "deep.git", "../deep.git", "inner");
    lib.push_to(place.root.path(), "lib.git");
    let id = below(&place.work, "lib.git", "../lib.git", "charts/lib");
    place.push();

    let server = Server::guarded(place.root.path(), &basic("bob", "hunter2"));
    let (cache, none) = (place.cache(), Trust::default());
    let own = settings(&[("url", &server.url("app.git")), ("username", "bob"), ("password", "hunter2")]);
    let repo = cache.repository(&own, &none).unwrap();
    let without = Tree::of_commit(Commit::open(&repo, &id).unwrap());
    assert_eq!(without.kind("charts/lib").unwrap(), Some(Kind::Submodule));
    let repositories = Repositories::default();
    let submodules = Submodules { cache: &cache, repositories: &repositories, project: "", trust: &none };
    let with = Commit::open_with(&repo, &id, submodules).unwrap();
    assert_eq!(text(&with, "charts/lib/inner/deep.yaml"), "deep: 1");
    let tree = Tree::of_commit(with);
    let files = tree.files("charts", true).unwrap();
    assert!(files.contains(&"lib/added.yaml".to_owned()) && files.contains(&"lib/inner/deep.yaml".to_owned()));
    let into = tempfile::tempdir().unwrap();
    tree.export(&["charts"], into.path()).unwrap();
    assert!(into.path().join("charts/lib/inner/deep.yaml").is_file());

    for (url, why) in [
        ("ext::sh -c id", "is refused"),
        ("../../../../etc", "leads out of the server"),
        ("--upload-pack=id", "is refused"),
        (&place.file_url("lib.git"), "may not be a local one"),
        ("http://127.0.0.1:1/lib.git", "cannot be read"),
    ] {
        place.work.git(&["config", "-f", ".gitmodules", "submodule.charts/lib.url", url]);
        let id = place.commit("next.yaml", url);
        let error = Commit::open_with(&repo, &id, submodules).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
        assert!(!error.contains("hunter2"));
    }
}

#[test]
fn s_08_a_repository_cannot_make_git_run_anything() {
    let place = Place::new();
    let canary = place.data.path().join("canary");
    let script = format!("#!/bin/sh\ntouch {}\n", canary.display());
    // Hooks and configuration of the server's repository, and a file that looks like one, are nobody's here.
    let bare = place.root.path().join("app.git");
    std::fs::write(bare.join("hooks/post-checkout"), &script).unwrap();
    let id = place.commit(".gitconfig", "[core]\n\tsshCommand = touch canary\n");
    let keys = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(keys.path());
    let pairs = [("url", sshd.url(&bare)), ("sshPrivateKey", sshd.key.clone())];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let repo = place.cache().repository(&settings(&pairs), &trust("", &sshd.known_hosts)).unwrap();
    repo.fetch().unwrap();
    assert!(repo.has(&id) && !canary.exists());
}

#[test]
fn packs_are_made_one_while_somebody_reads_and_unused_caches_go() {
    let place = Place::new();
    let (cache, url) = (place.cache(), place.file_url("app.git"));
    let repo = cache.repository(&settings(&[("url", &url)]), &Trust::default()).unwrap();
    let mut ids = Vec::new();
    for round in 0..34 {
        ids.push(place.commit("a.yaml", &format!("a: {round}")));
        repo.fetch().unwrap();
    }
    let packs = || {
        let caches = std::fs::read_dir(place.data.path()).unwrap().flatten();
        let packs = caches.filter_map(|cache| std::fs::read_dir(cache.path().join("objects/pack")).ok()).flatten();
        packs.flatten().filter(|file| file.path().extension().is_some_and(|ending| ending == "pack")).count()
    };
    assert!(packs() >= 34);
    let held = Commit::open(&repo, &ids[0]).unwrap();
    let reader = {
        let repo = repo.clone();
        let ids = ids.clone();
        std::thread::spawn(move || {
            for round in 0..400 {
                let index = round % ids.len();
                assert_eq!(text(&Commit::open(&repo, &ids[index]).unwrap(), "a.yaml"), format!("a: {index}"));
            }
        })
    };
    assert_eq!(cache.maintain().unwrap().repacked, 1);
    reader.join().unwrap();
    assert_eq!(packs(), 1);
    assert_eq!(text(&held, "a.yaml"), "a: 0");
    assert_eq!(cache.maintain().unwrap().repacked, 0);

    drop((held, repo, cache));
    let small = super::GitSettings { allow_file: true, bytes_max: 1, ..super::GitSettings::default() };
    let cache = GitCache::open_with(place.data.path(), small).unwrap();
    let repo = cache.repository(&settings(&[("url", &url)]), &Trust::default()).unwrap();
    assert!(repo.has(&ids[0]), "found again");
    assert_eq!(cache.maintain().unwrap().evicted, 0, "one that is in use stays");
    drop(repo);
    assert_eq!(cache.maintain().unwrap().evicted, 1);
    assert_eq!(packs(), 0);
    let repo = cache.repository(&settings(&[("url", &url)]), &Trust::default()).unwrap();
    assert_eq!(Commit::open(&repo, &ids[0]).unwrap().id(), ids[0]);
}

#[test]
fn a_half_made_cache_is_made_anew_and_strange_files_are_left_alone() {
    let place = Place::new();
    let half = place.data.path().join(uuid::Uuid::new_v4().to_string());
    std::fs::create_dir(&half).unwrap();
    let strange = place.data.path().join("notes");
    std::fs::create_dir(&strange).unwrap();
    let _ = place.cache();
    assert!(!half.exists() && strange.exists());
}

#[test]
fn local_repositories_are_for_those_who_allow_them() {
    let place = Place::new();
    let cache = GitCache::open(place.data.path()).unwrap();
    let error = cache.repository(&settings(&[("url", &place.file_url("app.git"))]), &Trust::default());
    assert!(matches!(error.map(|_| ()), Err(GitError::Refused { .. })));
}

//! Git LFS: the files that pointers stand for, fetched one by one when they are read (git-lfs, docs/spec.md and
//! docs/api/batch.md). What comes is checked against the pointer, so that it does not matter who sent it.
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::access::{Access, Credentials};
use super::native::Way;
use super::remote::{Remote, Scheme};
use super::repository::Repository;
use super::{GitError, client, redact, whole};
use crate::process::{Network, Program};
use crate::request::Tools;
use crate::tree::FILE_BYTES_MAX;

const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// A pointer is no longer than this.
pub(super) const POINTER_BYTES_MAX: u64 = 1024;
/// Of the server's answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
const TIME: Duration = Duration::from_secs(60);

/// What stands in git for a file that is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    /// SHA-256, in hexadecimal digits.
    pub(super) oid: String,
    pub(super) size: u64,
}

impl Pointer {
    /// Reads a pointer; `None` when it is a file like others.
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(blob).ok()?;
        let mut lines = text.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ')? {
                ("oid", value) => oid = value.strip_prefix("sha256:").map(str::to_owned),
                ("size", value) => size = value.parse().ok(),
                _ => {}
            }
        }
        let oid =
            oid.filter(|oid| oid.len() == 64 && oid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))?;
        Some(Self { oid, size: size? })
    }

    fn place(&self, root: &Path) -> PathBuf {
        root.join("lfs/objects").join(&self.oid[..2]).join(&self.oid[2..4]).join(&self.oid)
    }

    /// These are the bytes that it stands for.
    fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.size && hex::encode(Sha256::digest(bytes)) == self.oid
    }
}

/// The file that a pointer stands for.
pub(super) fn content(repo: &Repository, pointer: &Pointer) -> Result<Vec<u8>, GitError> {
    let access = repo.access();
    let credentials = access.credentials(&repo.remote, &repo.shared.tokens)?;
    let fail = |reason: String| GitError::Unreachable {
        url: redact(&repo.remote.url()),
        reason: format!("LFS: {}", access.discreet(&reason, &credentials, &repo.remote)),
    };
    if pointer.size > FILE_BYTES_MAX {
        return Err(fail(format!("the file has {} bytes, more than the {FILE_BYTES_MAX} allowed", pointer.size)));
    }
    let place = pointer.place(&repo.directory);
    if let Some(kept) = fs::read(&place).ok().filter(|kept| pointer.is(kept)) {
        return Ok(kept);
    }
    let bytes = if repo.remote.scheme == Scheme::File {
        let root = Path::new(&repo.remote.path);
        fs::read(pointer.place(root))
            .or_else(|_| fs::read(pointer.place(&root.join(".git"))))
            .map_err(|e| e.to_string())
    } else {
        download(repo, &access, &credentials, pointer)
    };
    let bytes = bytes.map_err(fail)?;
    if !pointer.is(&bytes) {
        return Err(fail(format!("what came for {} is something else", pointer.oid)));
    }
    keep(&place, &bytes).map_err(|error| repo.broken(error.to_string()))?;
    Ok(bytes)
}

fn keep(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = place.parent().unwrap_or(place);
    fs::create_dir_all(directory)?;
    // Whole or not at all: another reader may be here as well.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(place).map(|_| ()).map_err(|error| error.error)
}

fn download(
    repo: &Repository,
    access: &Access,
    credentials: &Credentials,
    pointer: &Pointer,
) -> Result<Vec<u8>, String> {
    let server = Server::find(repo, access, credentials)?;
    let body = json!({
        "operation": "download", "transfers": ["basic"], "hash_algo": "sha256",
        "objects": [{"oid": pointer.oid, "size": pointer.size}],
    });
    let request = server
        .client(access, &server.url)?
        .post(format!("{}/objects/batch", server.url))
        .header("Accept", MEDIA_TYPE)
        .header("Content-Type", MEDIA_TYPE)
        .body(body.to_string());
    let answer = sent(with_headers(request, &server.headers), ANSWER_BYTES_MAX)?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| "the server's answer is no JSON")?;
    let object = &answer["objects"][0];
    if let Some(message) = object["error"]["message"].as_str() {
        return Err(message.chars().filter(|c| !c.is_control()).take(300).collect());
    }
    let action = &object["actions"]["download"];
    let href = action["href"].as_str().ok_or("the server has no such file")?;
    let there = Remote::parse(href, false).map_err(|error| error.to_string())?;
    let mut headers = headers_of(&action["header"]);
    let has_own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    if !has_own && server.remote.same_server(&there) {
        headers.extend(server.headers.iter().cloned());
    }
    sent(with_headers(server.client(access, href)?.get(href), &headers), pointer.size + 1)
}

/// Where files are asked for.
struct Server {
    remote: Remote,
    url: String,
    headers: Vec<(String, String)>,
}

impl Server {
    fn find(repo: &Repository, access: &Access, credentials: &Credentials) -> Result<Self, String> {
        if repo.remote.scheme == Scheme::Ssh {
            return Self::over_ssh(repo, access);
        }
        let url = repo.remote.url();
        let url = url.trim_end_matches('/');
        let url = if url.ends_with(".git") { format!("{url}/info/lfs") } else { format!("{url}.git/info/lfs") };
        let headers = credentials.header().map(|value| ("Authorization".to_owned(), value)).into_iter().collect();
        Ok(Self { remote: repo.remote.clone(), url, headers })
    }

    /// A server that speaks SSH tells where and with what right (docs/api/server-discovery.md).
    fn over_ssh(repo: &Repository, access: &Access) -> Result<Self, String> {
        let jail = repo.shared.jail()?;
        let way = Way::prepare(&repo.remote, access, jail.path())?;
        let path = &repo.remote.path;
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-~+".contains(&byte)) {
            return Err("the path of the URL holds characters that a shell could read".to_owned());
        }
        let ssh = Tools::find(None, "ssh").ok_or("the program ssh is not there; install it")?;
        let done = Program::new(ssh, jail.path())
            .args(way.arguments())
            .args(["git-lfs-authenticate", path, "download"])
            .network(Network::Any)
            .run();
        let said = way.explained(done.map_err(|error| error.to_string()))?;
        let said: Value = serde_json::from_slice(&said.stdout).map_err(|_| "git-lfs-authenticate answers no JSON")?;
        let url = said["href"].as_str().ok_or("git-lfs-authenticate names no server")?.trim_end_matches('/').to_owned();
        let remote = Remote::parse(&url, false).map_err(|error| error.to_string())?;
        Ok(Self { remote, url, headers: headers_of(&said["header"]) })
    }

    /// A client for the server, or for another that it leads to, which gets no client certificate.
    fn client(&self, access: &Access, url: &str) -> Result<Client, String> {
        let there = Remote::parse(url, false).map_err(|error| error.to_string())?;
        if !matches!(there.scheme, Scheme::Http | Scheme::Https) {
            return Err("the server leads to what is no http or https".to_owned());
        }
        let mut access = access.clone();
        if !self.remote.same_server(&there) {
            access.settings.tls_client_cert_data.clear();
            access.settings.insecure = false;
        }
        client::configure(Client::builder(), &access, &there, TIME)?.build().map_err(|error| whole(&error))
    }
}

fn headers_of(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn with_headers(request: RequestBuilder, headers: &[(String, String)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn sent(request: RequestBuilder, limit: u64) -> Result<Vec<u8>, String> {
    let answer = request.send().map_err(|error| whole(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("the server answers status {}", answer.status().as_u16()));
    }
    let mut bytes = Vec::new();
    answer.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_a_file() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let good = format!("{VERSION}\noid sha256:{oid}\nsize 12345\n");
        assert_eq!(Pointer::parse(good.as_bytes()), Some(Pointer { oid: oid.to_owned(), size: 12345 }));
        for bad in [
            String::new(),
            "kind: ConfigMap\n".to_owned(),
            format!("{VERSION}\n"),
            format!("{VERSION}\noid sha256:{}\nsize 1\n", "../".repeat(21) + "a"),
            format!("{VERSION}\noid md5:{oid}\nsize 1\n"),
            format!("{VERSION}\noid sha256:{oid}\nsize many\n"),
        ] {
            assert_eq!(Pointer::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

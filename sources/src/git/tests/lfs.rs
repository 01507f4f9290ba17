//! Files that are elsewhere.
use serde_json::{Value, json as value};
use sha2::{Digest as _, Sha256};

use super::super::testing::{Answer, Asked, json as answer};
use super::*;

const FILE: &str = "values: from afar\n";

fn pointer(text: &str) -> String {
    let oid = hex::encode(Sha256::digest(text.as_bytes()));
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", text.len())
}

/// Git with LFS beside it; the file is at `/objects/<oid>`, and `body` is what comes from there.
fn server(place: &Place, authorization: &str, body: &str) -> Server {
    let (wanted, body) = (authorization.to_owned(), body.to_owned());
    Server::start(
        place.root.path(),
        None,
        Box::new(move |asked: &Asked| -> Option<Answer> {
            if let Some(refused) = super::super::testing::guard(asked, &wanted) {
                return Some(refused);
            }
            if asked.path.starts_with("/objects/") {
                return Some(("200 OK".to_owned(), Vec::new(), body.clone().into_bytes()));
            }
            if asked.path != "/app.git/info/lfs/objects/batch" {
                return None;
            }
            let said: Value = serde_json::from_slice(&asked.body).unwrap();
            assert_eq!(said["operation"], "download");
            let oid = said["objects"][0]["oid"].as_str().unwrap().to_owned();
            let href = format!("http://{}/objects/{oid}", asked.header("host"));
            let object = value!({"oid": oid, "actions": {"download": {"href": href}}});
            Some(answer("200 OK", &value!({"transfer": "basic", "objects": [object]})))
        }),
    )
}

fn read(place: &Place, server: &Server, enabled: &str) -> Result<String, String> {
    let id = place.work.git(&["rev-parse", "HEAD"]);
    let url = server.url("app.git");
    let pairs = [("url", url.as_str()), ("username", "bob"), ("password", "hunter2"), ("enableLfs", enabled)];
    let repo = place.cache().repository(&settings(&pairs), &Trust::default()).unwrap();
    let commit = Commit::open(&repo, &id).unwrap();
    Tree::of_commit(commit).text("big.yaml").map_err(|error| error.to_string())
}

#[test]
fn a_pointer_is_read_as_its_file_when_lfs_is_enabled() {
    let place = Place::new();
    place.commit("big.yaml", &pointer(FILE));
    let good = server(&place, &basic("bob", "hunter2"), FILE);
    assert_eq!(read(&place, &good, "false").unwrap(), pointer(FILE));
    assert_eq!(read(&place, &good, "true").unwrap(), FILE);
    let batches = |server: &Server| server.take().iter().filter(|asked| asked.path.ends_with("/batch")).count();
    assert_eq!(batches(&good), 1);
    assert_eq!(read(&place, &good, "true").unwrap(), FILE);
    assert_eq!(batches(&good), 0, "it is kept");
}

#[test]
fn what_is_not_the_pointers_file_is_refused() {
    let place = Place::new();
    place.commit("big.yaml", &pointer(FILE));
    for body in ["values: from elsewhe\n", "", "values: from afar\nand more\n"] {
        let bad = server(&place, &basic("bob", "hunter2"), body);
        let error = read(&place, &bad, "true").unwrap_err();
        assert!(error.contains("is something else"), "{error}");
    }
    place.commit("big.yaml", &pointer(FILE).replace("size 18", "size 99999999999"));
    let error = read(&place, &server(&place, &basic("bob", "hunter2"), FILE), "true").unwrap_err();
    assert!(error.contains("99999999999 bytes"), "{error}");
}

#[test]
fn credentials_are_not_given_to_another_server() {
    let place = Place::new();
    place.commit("big.yaml", &pointer(FILE));
    let elsewhere = Server::start(
        place.root.path(),
        None,
        Box::new(|_| Some(("200 OK".to_owned(), Vec::new(), FILE.as_bytes().to_vec()))),
    );
    let href = elsewhere.url("file");
    let server = Server::start(
        place.root.path(),
        None,
        Box::new(move |asked: &Asked| {
            let object = value!({"actions": {"download": {"href": href}}});
            asked.path.ends_with("/batch").then(|| answer("200 OK", &value!({"objects": [object]})))
        }),
    );
    assert_eq!(read(&place, &server, "true").unwrap(), FILE);
    let asked = elsewhere.take();
    assert!(asked.len() == 1 && asked[0].header("authorization").is_empty(), "{asked:?}");
}

//! Against files that the real sops encrypted (tests/corpus/sops/README.md).
use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::*;

fn corpus(name: &str) -> String {
    fs::read_to_string(format!("{}/tests/corpus/sops/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn keys(name: &str) -> Keys {
    Keys::parse(name, &corpus(name)).unwrap()
}

/// All documents without order, by the parser that manifests go through.
fn values(file: &str, text: &str) -> Vec<Value> {
    document::parse(file, text).unwrap().iter().map(document::Node::to_value).collect()
}

const FILES: &[&str] = &[
    "secret.yaml",
    "only.yaml",
    "many.yaml",
    "secret.json",
    "all.json",
    "values.yaml",
    "suffix.yaml",
    "unregex.yaml",
    "comments.yaml",
    "two.yaml",
];

#[test]
fn what_the_real_sops_encrypted_is_opened_as_the_real_sops_opens_it() {
    for file in FILES {
        let text = corpus(file);
        assert!(is_encrypted_text(file, &text), "{file}");
        verify_text(file, &text, &keys("main.agekey")).unwrap();
        let opened = decrypt_text(file, &text, &keys("main.agekey")).unwrap();
        assert!(opened.contains("canary"), "{file}");
        assert_eq!(values(file, &opened), values(file, &corpus(&format!("decrypted/{file}"))), "{file}");
    }
    let plain = corpus("plain/secret.yaml");
    assert_eq!(decrypt_text("plain/secret.yaml", &plain, &Keys::default()).unwrap(), plain);
    assert!(!is_encrypted_text("plain/secret.yaml", &plain));
    let opened = decrypt_text("many.yaml", &corpus("many.yaml"), &keys("main.agekey")).unwrap();
    let at = |word: &str| opened.find(word).unwrap();
    assert!(at("zulu") < at("alpha") && at("canary-z") < at("---"), "in the order of the file: {opened}");
}

#[test]
fn objects_are_opened_value_by_value() {
    for file in FILES {
        let want = values(file, &corpus(&format!("decrypted/{file}")));
        let mut objects = values(file, &corpus(file));
        for object in &mut objects {
            assert!(is_encrypted(object), "{file}");
            let pointers = decrypt_value(object, &keys("main.agekey")).unwrap();
            assert!(!pointers.is_empty(), "{file}");
            for pointer in pointers {
                assert!(object.pointer(&pointer).is_some(), "{file} {pointer}");
            }
            assert!(!is_encrypted(object) && object.get("sops").is_none(), "{file}");
            assert!(!object.to_string().contains("ENC["), "{file}: {object}");
        }
        assert_eq!(objects, want, "{file}");
    }
    let mut plain = json!({"kind": "A", "data": {"a": "ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]"}});
    assert_eq!(decrypt_value(&mut plain, &Keys::default()).unwrap(), Vec::<String>::new());
}

#[test]
fn what_a_tool_adds_to_an_object_does_not_hinder_and_is_not_touched() {
    let mut object = values("secret.yaml", &corpus("secret.yaml")).remove(0);
    object["metadata"]["labels"]["added"] = json!("x");
    object["stringData"]["added"] = json!("plain");
    let pointers = decrypt_value(&mut object, &keys("main.agekey")).unwrap();
    assert_eq!(pointers, ["/data/token", "/stringData/lines", "/stringData/password", "/stringData/unicode"]);
    assert_eq!(
        (&object["stringData"]["password"], &object["stringData"]["added"]),
        (&json!("canary-7f3a hunter2"), &json!("plain"))
    );
}

#[test]
fn what_was_changed_since_is_refused() {
    let text = corpus("secret.yaml");
    let lines: Vec<&str> = text.lines().collect();
    let line = |word: &str| lines.iter().find(|line| line.trim_start().starts_with(word)).unwrap().trim();
    let value = |word: &str| line(word).split_once(": ").unwrap().1;
    for (from, to, want) in [
        ("name: database", "name: other", "MAC mismatch"),
        ("count: \"3\"", "count: \"4\"", "MAC mismatch"),
        ("    empty: \"\"\n", "", ""),
        ("type: Opaque\n", "type: Opaque\nadded: x\n", "MAC mismatch"),
        (value("lines"), value("password"), "stringData.lines: cannot be decrypted"),
        (value("password"), "canary-plain", "stringData.password: an encrypted value"),
        (value("password"), "7", "stringData.password: is not encrypted"),
        (value("mac"), value("token"), "sops.mac: cannot be decrypted"),
        (value("lastmodified"), "\"2020-01-01T00:00:00Z\"", "sops.mac: cannot be decrypted"),
        (
            "AGE ENCRYPTED FILE-----\n            Y",
            "AGE ENCRYPTED FILE-----\n            X",
            "sops.age: the file is encrypted for",
        ),
        (line("mac:"), "nomac: x", ""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        match verify_text("secret.yaml", &changed, &keys("main.agekey")) {
            // An empty text weighs nothing, and without a MAC it is no file of SOPS.
            Ok(()) => assert_eq!(want, "", "{to}"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !want.is_empty() && error.starts_with("secret.yaml: ") && error.contains(want),
                    "{to}: {error}"
                );
                assert!(!error.contains("canary") && !error.contains("data:"), "S-48: {error}");
            }
        }
    }
    // The order counts in a file, and it does not once each value speaks for itself.
    let many = corpus("many.yaml");
    let (a, z) = (many.find("    alpha: ").unwrap(), many.find("    zulu: ").unwrap());
    let end = a + many[a..].find('\n').unwrap() + 1;
    let moved = format!("{}{}{}{}", &many[..z], &many[a..end], &many[z..a], &many[end..]);
    assert!(verify_text("many.yaml", &moved, &keys("main.agekey")).unwrap_err().to_string().contains("MAC mismatch"));
    decrypt_value(&mut values("many.yaml", &moved)[0], &keys("main.agekey")).unwrap();
}

#[test]
fn a_value_moved_to_another_key_is_refused_in_an_object_too() {
    let mut object = values("secret.yaml", &corpus("secret.yaml")).remove(0);
    object["stringData"]["lines"] = object["stringData"]["password"].clone();
    let before = object.clone();
    let error = decrypt_value(&mut object, &keys("main.agekey")).unwrap_err().to_string();
    assert!(error.starts_with("Secret database: stringData.lines: cannot be decrypted"), "{error}");
    assert_eq!(object, before, "nothing is left half open");
}

#[test]
fn without_the_right_key_the_error_says_which_is_wanted() {
    let (main, other) = (keys("main.agekey"), keys("other.agekey"));
    let error = |file: &str, keys: &Keys| decrypt_text(file, &corpus(file), keys).unwrap_err().to_string();
    let stranger = error("stranger.yaml", &main);
    assert!(stranger.contains(&format!("encrypted for {}", other.recipients()[0])), "{stranger}");
    assert!(stranger.contains(&format!("the keys given are of {}", main.recipients()[0])), "{stranger}");
    assert!(error("secret.yaml", &Keys::default()).contains("the keys given are of none"));
    decrypt_text("two.yaml", &corpus("two.yaml"), &other).unwrap();
    let both = Keys::parse("both", &(corpus("main.agekey") + &corpus("other.agekey"))).unwrap();
    assert!(error("groups.yaml", &both).contains("sops.key_groups: the file needs keys of several of its 2 groups"));
    let pgp = corpus("secret.yaml").replace("    age:\n        - enc:", "    pgp:\n        - enc:");
    let pgp = decrypt_text("p.yaml", &pgp, &main).unwrap_err().to_string();
    assert!(pgp.contains("sops.age: the file is encrypted for PGP only"), "{pgp}");
    let rules = corpus("secret.yaml").replace("    encrypted_regex:", "    encrypted_suffix: x\n    encrypted_regex:");
    let rules = decrypt_text("r.yaml", &rules, &main).unwrap_err().to_string();
    assert!(rules.contains("only one of encrypted_suffix, encrypted_regex may be set"), "{rules}");
}

#[test]
fn s48_keys_are_never_shown() {
    let secret = corpus("main.agekey").lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().to_owned();
    let keys = keys("main.agekey");
    assert!(!format!("{keys:?}").contains("AGE-SECRET-KEY"), "{keys:?}");
    let broken = format!("# comment\n\n{}x\n", &secret[..40]);
    let error = Keys::parse("Secret k, entry a.agekey", &broken).unwrap_err().to_string();
    assert!(error.starts_with("Secret k, entry a.agekey:3: ") && !error.contains(&secret[..30]), "{error}");
    let data = |entry: &str| BTreeMap::from([(entry.to_owned(), secret.clone().into_bytes())]);
    for (entry, good) in [("x.agekey", true), ("keys.txt", true), ("password", false)] {
        let read = Keys::from_secret("k", &data(entry));
        assert_eq!(read.is_ok(), good, "{entry}");
        assert!(
            read.map_or_else(|error| error.to_string(), |keys| format!("{keys:?}")).contains("AGE-SECRET").eq(&false)
        );
    }
}

#[test]
fn what_a_tool_made_of_opened_files_is_stored_sealed() {
    let manifest =
        json!({"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {"password": "canary"}});
    let (main, other) = (keys("main.agekey"), keys("other.agekey"));
    let sealed = seal(&manifest, &main).unwrap();
    assert!(is_sealed(&sealed) && !sealed.to_string().contains("canary") && !sealed.to_string().contains("Deployment"));
    assert_eq!(seal(&manifest, &main).unwrap(), sealed, "what did not change has the same digest");
    let mut changed = manifest.clone();
    changed["spec"]["password"] = json!("canarx");
    assert_ne!(seal(&changed, &main).unwrap()["takobune.io/sealed"]["text"], sealed["takobune.io/sealed"]["text"]);
    let mut all =
        vec![sealed.clone(), json!({"kind": "Plain"}), values("secret.yaml", &corpus("secret.yaml")).remove(0)];
    let both = Keys::parse("both", &(corpus("other.agekey") + &corpus("main.agekey"))).unwrap();
    let opened = reveal(&mut all, &both).unwrap();
    assert_eq!((&all[0], &all[1]), (&manifest, &json!({"kind": "Plain"})));
    assert_eq!(all[2]["stringData"]["password"], "canary-7f3a hunter2");
    assert_eq!((opened[0].as_slice(), opened[1].len(), opened[2].len()), ([String::new()].as_slice(), 0, 4));
    let error = reveal(&mut [sealed.clone()], &other).unwrap_err().to_string();
    assert!(error.contains("which is not among the keys any more"), "{error}");
    let mut broken = sealed;
    broken["takobune.io/sealed"]["text"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert!(reveal(&mut [broken], &main).unwrap_err().to_string().contains("was changed since it was sealed"));
    assert!(seal(&manifest, &Keys::default()).is_err());
}

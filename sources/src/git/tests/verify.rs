//! Signatures by the real gpg and ssh-keygen.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tako_engine::integrity::{Demand, Standing, problems};

use super::super::testing::ssh_key;
use super::super::{Keyring, Resolved};
use super::*;

/// A home of gpg with secret keys.
struct Signer {
    home: tempfile::TempDir,
}

impl Signer {
    fn new(names: &[&str]) -> Self {
        let signer = Self { home: tempfile::tempdir().unwrap() };
        std::fs::set_permissions(signer.home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        for name in names {
            signer.gpg(&["--quick-generate-key", &format!("{name} <{name}@example.org>"), "ed25519", "sign", "never"]);
        }
        signer
    }

    fn gpg(&self, args: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.home.path()).args([
            "--batch",
            "--yes",
            "--passphrase",
            "",
            "--pinentry-mode",
        ]);
        let done = command.arg("loopback").args(args).output().expect("gpg; apt-get install gnupg");
        assert!(done.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    fn fingerprint(&self, name: &str) -> String {
        let listed = self.gpg(&["--with-colons", "--list-keys", name]);
        listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_owned()
    }

    fn public(&self, name: &str) -> String {
        self.gpg(&["--armor", "--export", name])
    }

    fn env(&self) -> [(&str, &str); 1] {
        [("GNUPGHOME", self.home.path().to_str().unwrap())]
    }

    fn commit(&self, place: &Place, name: &str, message: &str) -> String {
        let key = self.fingerprint(name);
        let args = ["commit", "-q", "--allow-empty", "-m", message, &format!("--gpg-sign={key}")];
        place.work.git_env(&args, &self.env());
        place.work.git(&["rev-parse", "HEAD"])
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.home.path()).args(["--kill", "all"]).status();
    }
}

fn keyring(armors: &[&str], signers: &str) -> Keyring {
    let keys: BTreeMap<String, String> =
        armors.iter().enumerate().map(|(index, armor)| (format!("{index:016}"), (*armor).to_owned())).collect();
    Keyring::open(&Trust::from_data(&BTreeMap::new(), &BTreeMap::new(), &keys), signers).unwrap()
}

fn opened(place: &Place, id: &str) -> Commit {
    place.push();
    let repo = place.cache().repository(&settings(&[("url", &place.file_url("app.git"))]), &Trust::default()).unwrap();
    repo.fetch().unwrap();
    Commit::open(&repo, id).unwrap()
}

#[test]
fn commits_are_verified_with_the_keys_of_the_keyring() {
    let (place, signer) = (Place::new(), Signer::new(&["ann", "eve"]));
    let unsigned = place.work.git(&["rev-parse", "HEAD"]);
    let good = signer.commit(&place, "ann", "good");
    let unknown = signer.commit(&place, "eve", "unknown");
    // The signature of one commit upon another.
    let raw = place.work.git(&["cat-file", "commit", &good]);
    let forged = raw.replace("\ngood", "\nforged") + "\n";
    let file = place.work.dir.path().join("forged");
    std::fs::write(&file, forged).unwrap();
    let forged = place.work.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    place.work.git(&["branch", "forged", &forged]);

    let ring = keyring(&[&signer.public("ann"), "no key at all"], "");
    let fingerprint = signer.fingerprint("ann");
    for (id, standing, key) in [
        (&good, Standing::Good, fingerprint.as_str()),
        (&unknown, Standing::MissingKey, &signer.fingerprint("eve")[24..]),
        (&forged, Standing::Bad, &fingerprint[24..]),
        (&unsigned, Standing::Unsigned, ""),
    ] {
        let verdict = opened(&place, id).verify(&ring).unwrap();
        assert_eq!((verdict.standing, verdict.key.as_str()), (standing, key), "{id}");
        assert_eq!((verdict.revision.as_str(), verdict.author.as_str()), (id.as_str(), "Ann <ann@example.org>"));
    }
    let nobody = keyring(&[], "");
    assert_eq!(opened(&place, &good).verify(&nobody).unwrap().standing, Standing::MissingKey);
}

#[test]
fn a_revoked_key_and_an_expired_one_do_not_count() {
    let (place, signer) = (Place::new(), Signer::new(&["ann"]));
    signer.gpg(&["--quick-generate-key", "old <old@example.org>", "ed25519", "sign", "seconds=2"]);
    let by_old = signer.commit(&place, "old", "expired");
    let good = signer.commit(&place, "ann", "revoked");
    let certificate = signer.home.path().join("openpgp-revocs.d").join(format!("{}.rev", signer.fingerprint("ann")));
    let text = std::fs::read_to_string(&certificate).unwrap().replace(":-----BEGIN", "-----BEGIN");
    let file = signer.home.path().join("revocation");
    std::fs::write(&file, text).unwrap();
    signer.gpg(&["--import", file.to_str().unwrap()]);
    let armors = (signer.public("ann"), signer.public("old"));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let ring = keyring(&[&armors.0, &armors.1], "");
    assert_eq!(opened(&place, &good).verify(&ring).unwrap().standing, Standing::RevokedKey);
    assert_eq!(opened(&place, &by_old).verify(&ring).unwrap().standing, Standing::ExpiredKey);
}

#[test]
fn of_an_annotated_tag_the_tag_counts_and_a_moved_one_is_bad() {
    let (place, signer) = (Place::new(), Signer::new(&["ann"]));
    let key = format!("--local-user={}", signer.fingerprint("ann"));
    place.work.git_env(&["tag", "-s", &key, "-m", "signed", "v1"], &signer.env());
    place.work.git(&["tag", "-a", "-m", "unsigned", "v2"]);
    place.work.git(&["update-ref", "refs/tags/v3", &place.work.git(&["rev-parse", "v1"])]);
    place.work.git(&["tag", "light"]);
    let commit = opened(&place, &place.work.git(&["rev-parse", "HEAD"]));
    let refs = commit.repository().fetch().unwrap();
    let ring = keyring(&[&signer.public("ann")], "");
    let standing = |revision: &str| {
        let resolved = refs.resolve(revision, "").unwrap();
        let signatures = commit.signatures(&resolved, false, &ring).unwrap();
        assert_eq!(signatures.len(), 1);
        (signatures[0].is_tag, signatures[0].standing)
    };
    assert_eq!(standing("v1"), (true, Standing::Good));
    assert_eq!(standing("v2"), (true, Standing::Unsigned));
    assert_eq!(standing("v3"), (true, Standing::Bad));
    assert_eq!(standing("light"), (false, Standing::Unsigned));
    assert_eq!(standing("main"), (false, Standing::Unsigned));
    // All that leads to it counts when it is strict.
    let strict = commit.signatures(&refs.resolve("v1", "").unwrap(), true, &ring).unwrap();
    assert_eq!(strict.iter().map(|one| one.standing).collect::<Vec<_>>(), [Standing::Good, Standing::Unsigned]);
}

#[test]
fn a_sealing_commit_stands_for_all_before_it_if_its_signature_is_good() {
    let (place, signer) = (Place::new(), Signer::new(&["ann", "eve"]));
    let demand = Demand { strict: true, keys: vec![signer.fingerprint("ann")] };
    let ring = keyring(&[&signer.public("ann")], "");
    let found = |id: &str| {
        let resolved = Resolved { commit: id.to_owned(), name: None, tag: None };
        problems(&demand, &opened(&place, id).signatures(&resolved, true, &ring).unwrap()).len()
    };
    place.work.git(&["branch", "side"]);
    let unsealed = signer.commit(&place, "ann", "signed");
    assert_eq!(found(&unsealed), 1);
    let fake = signer.commit(&place, "eve", "x\n\nArgocd-gpg-seal: of a stranger");
    assert_eq!(found(&fake), 2);
    let sealed = signer.commit(&place, "ann", "x\n\nArgocd-gpg-seal: reviewed");
    assert_eq!(found(&sealed), 0);
    let after = signer.commit(&place, "ann", "after");
    assert_eq!(found(&after), 0);
    // Another way to what is sealed leads to nothing new; what is new on it counts.
    place.work.git(&["checkout", "-q", "side"]);
    place.work.git(&["commit", "-q", "--allow-empty", "-m", "unsigned on the side"]);
    place.work.git(&["checkout", "-q", "main"]);
    place.work.git_env(
        &["merge", "-q", "--no-ff", "-m", "merge", &format!("--gpg-sign={}", signer.fingerprint("ann")), "side"],
        &signer.env(),
    );
    assert_eq!(found(&place.work.git(&["rev-parse", "HEAD"])), 1);
}

#[test]
fn ssh_signatures_are_verified_by_the_allowed_signers() {
    let place = Place::new();
    let keys = tempfile::tempdir().unwrap();
    let sign = |key: &PathBuf, message: &str| {
        let key = format!("user.signingKey={}", key.display());
        place.work.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "--allow-empty", "-S", "-m", message]);
        place.work.git(&["rev-parse", "HEAD"])
    };
    let (ann, ann_public) = ssh_key(keys.path(), "ann");
    let (eve, _) = ssh_key(keys.path(), "eve");
    let (good, unknown) = (sign(&ann, "good"), sign(&eve, "unknown"));
    let raw = place.work.git(&["cat-file", "commit", &good]).replace("\ngood", "\nforged") + "\n";
    let file = place.work.dir.path().join("forged");
    std::fs::write(&file, raw).unwrap();
    let forged = place.work.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()]);
    place.work.git(&["branch", "forged", &forged]);
    let ring = keyring(&[], &format!("ann@example.org namespaces=\"git\" {ann_public}\n"));
    let verdict = opened(&place, &good).verify(&ring).unwrap();
    assert_eq!(verdict.standing, Standing::Good);
    assert!(verdict.key.starts_with("SHA256:"), "{}", verdict.key);
    assert!(problems(&Demand { strict: false, keys: vec![verdict.key.clone()] }, &[verdict]).is_empty());
    assert_eq!(opened(&place, &unknown).verify(&ring).unwrap().standing, Standing::MissingKey);
    assert_eq!(opened(&place, &forged).verify(&ring).unwrap().standing, Standing::Bad);
    assert_eq!(opened(&place, &good).verify(&keyring(&[], "")).unwrap().standing, Standing::MissingKey);
    let file_only = keyring(&[], &format!("ann@example.org namespaces=\"file\" {ann_public}\n"));
    assert_eq!(opened(&place, &good).verify(&file_only).unwrap().standing, Standing::MissingKey);
}

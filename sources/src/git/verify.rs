//! Signatures of commits and annotated tags, verified by the real gpg and ssh-keygen with keys of our own (Argo CD, user guide, "Git
//! GnuPG signature verification"; SSH signatures by an allowed signers file, ssh-keygen(1)). What that means for a
//! project is decided in `tako_engine::integrity`. Whatever is unclear is no good signature.
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use tako_engine::integrity::{Signature, Standing};
use tako_engine::trust::Trust;

use super::GitError;
use super::commit::Commit;
use super::refs::Resolved;
use super::signature::{Signed, judge};
use crate::process::{ProcessError, Program};
use crate::request::Tools;

/// How the signature of one commit or annotated tag stands.
pub type Verdict = Signature;

/// Commits of a history that are looked at. Where there are more, the history must be sealed.
const COMMITS_MAX: usize = 10_000;
/// The trailer of a commit that stands for all before it.
const SEAL: &str = "argocd-gpg-seal:";

/// The keys that signatures may be of, and what was found with them.
pub struct Keyring {
    directory: tempfile::TempDir,
    has_gpg_keys: bool,
    has_signers: bool,
    known: Mutex<HashMap<ObjectId, Signature>>,
}

impl Keyring {
    /// A keyring with the keys of `argocd-gpg-keys-cm`, and with the lines of an allowed signers file for SSH signatures.
    pub fn open(trust: &Trust, allowed_signers: &str) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("the keyring cannot be made: {error}");
        let directory = tempfile::Builder::new().prefix("tako-keys-").tempdir().map_err(fail)?;
        let keyring = Self {
            has_gpg_keys: !trust.gpg_keys().is_empty(),
            has_signers: !allowed_signers.trim().is_empty(),
            directory,
            known: Mutex::default(),
        };
        fs::create_dir(keyring.home()).map_err(fail)?;
        fs::set_permissions(keyring.home(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(fail)?;
        fs::write(keyring.signers(), allowed_signers).map_err(fail)?;
        for (id, armor) in trust.gpg_keys() {
            let imported =
                keyring.gpg(keyring.directory.path())?.arg("--import").stdin(armor.clone().into_bytes()).run();
            match imported {
                Err(error @ ProcessError::Start { .. }) => return Err(error.to_string()),
                // A key that cannot be read is not in the keyring: its signatures will not be good.
                Err(error) => tracing::warn!(key = id, %error, "a key of argocd-gpg-keys-cm cannot be imported"),
                Ok(_) => {}
            }
        }
        Ok(keyring)
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("gnupg")
    }

    fn signers(&self) -> PathBuf {
        self.directory.path().join("allowed_signers")
    }

    fn gpg(&self, jail: &Path) -> Result<Program, String> {
        let gpg = Tools::find(None, "gpg").ok_or("the program gpg is not there; install it")?;
        Ok(Program::new(gpg, jail).writable(self.home()).arg("--homedir").arg(self.home()).args([
            "--batch",
            "--no-tty",
            "--no-autostart",
            "--no-auto-key-retrieve",
            "--disable-dirmngr",
            // An imported key is trusted: there is no other step.
            "--trust-model",
            "always",
        ]))
    }

    fn verdict(&self, signed: &Signed) -> Result<(Standing, String, String), String> {
        let jail = tempfile::tempdir_in(self.directory.path()).map_err(|error| error.to_string())?;
        let file = jail.path().join("signature");
        fs::write(&file, &signed.signature).map_err(|error| error.to_string())?;
        if signed.is_ssh() { self.by_ssh(signed, jail.path(), &file) } else { self.by_gpg(signed, jail.path(), &file) }
    }

    fn by_gpg(&self, signed: &Signed, jail: &Path, file: &Path) -> Result<(Standing, String, String), String> {
        let status = jail.join("status");
        let run = self.gpg(jail)?.arg("--status-file").arg(&status).arg("--verify").arg(file).arg("-");
        match run.stdin(signed.payload.clone()).run() {
            // It fails for every signature that is not good; the status says how.
            Ok(_) | Err(ProcessError::Failed { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        let (standing, key, primary) = judge(&fs::read_to_string(&status).unwrap_or_default());
        let standing = if self.has_gpg_keys || standing != Standing::Good { standing } else { Standing::MissingKey };
        Ok((standing, key, primary))
    }

    fn by_ssh(&self, signed: &Signed, jail: &Path, file: &Path) -> Result<(Standing, String, String), String> {
        let program = Tools::find(None, "ssh-keygen").ok_or("the program ssh-keygen is not there; install it")?;
        let keygen = |action: &str| {
            Program::new(&program, jail).readable(self.signers()).args(["-Y", action, "-n", "git", "-s"]).arg(file)
        };
        let said = |program: Program| match program.stdin(signed.payload.clone()).run() {
            Ok(output) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
            Err(ProcessError::Failed { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let Some(plain) = said(keygen("check-novalidate"))? else {
            return Ok((Standing::Bad, String::new(), String::new()));
        };
        let key = plain.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap_or_default().to_owned();
        let missing = (Standing::MissingKey, key.clone(), String::new());
        if !self.has_signers {
            return Ok(missing);
        }
        let Some(principals) = said(keygen("find-principals").arg("-f").arg(self.signers()))? else {
            return Ok(missing);
        };
        for principal in principals.lines().filter(|line| !line.is_empty() && !line.starts_with('-')) {
            if said(keygen("verify").arg("-f").arg(self.signers()).args(["-I", principal]))?.is_some() {
                return Ok((Standing::Good, key, String::new()));
            }
        }
        Ok(missing)
    }

    /// The verdict upon an object, which never changes for one keyring.
    fn remembered(
        &self,
        id: ObjectId,
        look: impl FnOnce() -> Result<Signature, GitError>,
    ) -> Result<Signature, GitError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&id) {
            return Ok(found.clone());
        }
        let found = look()?;
        known().insert(id, found.clone());
        Ok(found)
    }
}

/// What of a commit counts here.
struct Seen {
    parents: Vec<ObjectId>,
    seals: bool,
    author: String,
    signed: Option<Signed>,
}

impl Commit {
    /// How its own signature stands.
    pub fn verify(&self, keyring: &Keyring) -> Result<Verdict, GitError> {
        self.verify_one(self.own_id()?, keyring)
    }

    /// The signatures that count for what a `targetRevision` resolved to: of an annotated tag its own, otherwise the commit's; when
    /// `strict` also those of all commits before, back to such that are sealed.
    pub fn signatures(&self, resolved: &Resolved, strict: bool, keyring: &Keyring) -> Result<Vec<Verdict>, GitError> {
        let mut signatures = Vec::new();
        if let Some(tag) = &resolved.tag {
            signatures.push(self.verify_tag(tag, resolved.name.as_deref().unwrap_or_default(), keyring)?);
        }
        if strict {
            for id in self.unsealed(keyring)? {
                signatures.push(self.verify_one(id, keyring)?);
            }
        } else if signatures.is_empty() {
            signatures.push(self.verify(keyring)?);
        }
        Ok(signatures)
    }

    fn own_id(&self) -> Result<ObjectId, GitError> {
        ObjectId::from_hex(self.id().as_bytes()).map_err(|_| self.repository().no_revision(self.id()))
    }

    fn unverifiable(revision: &str, reason: impl Into<String>) -> GitError {
        GitError::Unverifiable { revision: revision.to_owned(), reason: reason.into() }
    }

    fn seen(&self, id: ObjectId) -> Result<Seen, GitError> {
        let wrong = |error: String| Self::unverifiable(&id.to_hex().to_string(), error);
        let data = self.raw(id).map_err(|error| wrong(error.to_string()))?;
        let commit = gix::objs::CommitRef::from_bytes(&data, id.kind()).map_err(|error| wrong(error.to_string()))?;
        let author = commit.author().map_err(|error| wrong(error.to_string()))?;
        let signed = gix::objs::CommitRefIter::signature(&data, id.kind()).map_err(|error| wrong(error.to_string()))?;
        Ok(Seen {
            parents: commit.parents().collect(),
            seals: commit.message.to_str_lossy().to_lowercase().contains(SEAL),
            author: format!("{} <{}>", author.name, author.email),
            signed: signed.map(|(signature, payload)| Signed {
                payload: payload.to_bstring().into(),
                signature: signature.into_owned().into(),
            }),
        })
    }

    fn verify_one(&self, id: ObjectId, keyring: &Keyring) -> Result<Signature, GitError> {
        keyring.remembered(id, || {
            let seen = self.seen(id)?;
            judged(keyring, id.to_hex().to_string(), false, seen.author, seen.signed.as_ref())
        })
    }

    /// A tag that is signed under another name than it has now is not signed: somebody moved it.
    fn verify_tag(&self, tag: &str, name: &str, keyring: &Keyring) -> Result<Signature, GitError> {
        let wrong = |error: String| Self::unverifiable(name, error);
        let id = ObjectId::from_hex(tag.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let data = self.raw(id).map_err(|error| wrong(error.to_string()))?;
        let read = gix::objs::TagRef::from_bytes(&data, id.kind()).map_err(|error| wrong(error.to_string()))?;
        let short = name.strip_prefix("refs/tags/").unwrap_or(name);
        let peeled = self.repository().read(|repo| {
            let object = repo.find_object(id).ok()?;
            Some(object.peel_to_kind(gix::object::Kind::Commit).ok()?.id)
        });
        let tagger = read.tagger().ok().flatten();
        let tagger = tagger.map(|tagger| format!("{} <{}>", tagger.name, tagger.email)).unwrap_or_default();
        let mut verdict = judged(keyring, short.to_owned(), true, tagger, Signed::of_tag(&data).as_ref())?;
        let fits = read.name == short.as_bytes() && peeled == Some(self.own_id()?);
        if !fits && verdict.standing == Standing::Good {
            verdict.standing = Standing::Bad;
        }
        Ok(verdict)
    }

    /// This commit and those before it, but for what commits with a good signature have sealed. The newest first.
    fn unsealed(&self, keyring: &Keyring) -> Result<Vec<ObjectId>, GitError> {
        let mut order = Vec::new();
        let mut parents: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        let mut seals = Vec::new();
        let mut todo = VecDeque::from([self.own_id()?]);
        while let Some(id) = todo.pop_front() {
            if parents.contains_key(&id) {
                continue;
            }
            if order.len() == COMMITS_MAX {
                return Err(Self::unverifiable(
                    self.id(),
                    format!("more than {COMMITS_MAX} commits lead to it; seal one with the trailer Argocd-gpg-seal"),
                ));
            }
            let seen = self.seen(id)?;
            order.push(id);
            parents.insert(id, seen.parents.clone());
            if seen.seals && self.verify_one(id, keyring)?.standing == Standing::Good {
                seals.push(id);
            } else {
                todo.extend(seen.parents);
            }
        }
        // What is before a seal is sealed also where another way leads to it.
        let mut sealed: HashSet<ObjectId> = HashSet::new();
        let mut before: Vec<ObjectId> = Vec::new();
        for seal in &seals {
            before.extend(parents.get(seal).into_iter().flatten());
        }
        let mut reads = 0;
        while let Some(id) = before.pop() {
            if !sealed.insert(id) {
                continue;
            }
            match parents.get(&id) {
                Some(known) => before.extend(known),
                None if order.iter().all(|id| sealed.contains(id) || seals.contains(id)) => break,
                None => {
                    reads += 1;
                    if reads > COMMITS_MAX {
                        break;
                    }
                    before.extend(self.seen(id)?.parents);
                }
            }
        }
        let seals: BTreeSet<ObjectId> = seals.into_iter().collect();
        order.retain(|id| seals.contains(id) || !sealed.contains(id));
        Ok(order)
    }
}

fn judged(
    keyring: &Keyring,
    revision: String,
    is_tag: bool,
    author: String,
    signed: Option<&Signed>,
) -> Result<Signature, GitError> {
    let (standing, key, primary_key) = match signed {
        None => (Standing::Unsigned, String::new(), String::new()),
        Some(signed) => {
            keyring.verdict(signed).map_err(|reason| GitError::Unverifiable { revision: revision.clone(), reason })?
        }
    };
    Ok(Signature { revision, is_tag, standing, key, primary_key, author })
}

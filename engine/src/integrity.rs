//! Which sources must be signed, and whether they are: `spec.sourceIntegrity` and `spec.signatureKeys` of an AppProject (Argo CD, user
//! guide, "Git GnuPG signature verification"). Fails closed: what is not plainly good is a problem. How a signature
//! stands is worked out elsewhere; here is decided what that means.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::glob;
use crate::project::ProjectSpec;

/// The check's name in results.
pub const CHECK: &str = "GIT/GPG";
/// More problems are not told.
const PROBLEMS_MAX: usize = 10;

shape! {
    /// One of `spec.signatureKeys`, the older form.
    SignatureKey {
        /// The id of a key.
        #[serde(rename = "keyID")]
        key_id: String,
    }
}
shape! {
    /// `spec.sourceIntegrity`.
    SourceIntegrity {
        /// For git.
        #[serde(skip_serializing_if = "Option::is_none")]
        git: Option<GitIntegrity>,
    }
}
shape! {
    /// `spec.sourceIntegrity.git`.
    GitIntegrity {
        /// At most one may match a repository.
        policies: Vec<GitPolicy>,
    }
}
shape! {
    /// One of `spec.sourceIntegrity.git.policies`.
    GitPolicy {
        /// For which repositories.
        repos: Vec<PolicyRepo>,
        /// How they are verified.
        #[serde(skip_serializing_if = "Option::is_none")]
        gpg: Option<GpgPolicy>,
    }
}
shape! {
    /// One of the repositories of a policy.
    PolicyRepo {
        /// A glob; with `!`, one that takes the policy away.
        url: String,
    }
}
shape! {
    /// How commits are verified.
    GpgPolicy {
        /// `none`, `head` or `strict`.
        mode: String,
        /// Ids or fingerprints of the keys that are trusted.
        keys: Vec<String>,
    }
}

/// What a repository's revisions must satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// All ancestors count, back to a sealing commit, not the revision alone.
    pub strict: bool,
    /// Ids or fingerprints of keys.
    pub keys: Vec<String>,
}

/// What a project demands of a repository; `None` when nothing. An error when that cannot be told: then nothing may be
/// deployed from it.
pub fn demand(spec: &ProjectSpec, repo_url: &str) -> Result<Option<Demand>, String> {
    let Some(git) = spec.source_integrity.as_ref().and_then(|integrity| integrity.git.as_ref()) else {
        let keys: Vec<String> = spec.signature_keys.iter().map(|key| key.key_id.clone()).collect();
        return Ok((!keys.is_empty()).then_some(Demand { strict: false, keys }));
    };
    let mut matching = Vec::new();
    for policy in &git.policies {
        if policy.is_for(repo_url)? {
            matching.push(policy);
        }
    }
    let policy = match matching[..] {
        [] => return Ok(None),
        [policy] => policy,
        _ => {
            return Err(format!(
                "spec.sourceIntegrity.git.policies: {} policies match {repo_url}; let one of them match",
                matching.len()
            ));
        }
    };
    let Some(gpg) = &policy.gpg else {
        return Err("spec.sourceIntegrity.git.policies: a policy without gpg verifies nothing; add gpg.mode".to_owned());
    };
    match gpg.mode.as_str() {
        "none" => Ok(None),
        "head" => Ok(Some(Demand { strict: false, keys: gpg.keys.clone() })),
        "strict" => Ok(Some(Demand { strict: true, keys: gpg.keys.clone() })),
        other => Err(format!(
            "spec.sourceIntegrity.git.policies: gpg.mode {other:?} is unknown; none, head or strict is wanted"
        )),
    }
}

impl GitPolicy {
    /// A pattern that cannot be read is an error: passing over it could leave a repository unverified.
    fn is_for(&self, repo_url: &str) -> Result<bool, String> {
        let mut included = false;
        for PolicyRepo { url, .. } in &self.repos {
            let (denies, pattern) = url.strip_prefix('!').map_or((false, url.as_str()), |pattern| (true, pattern));
            let glob = glob::Glob::new(pattern).map_err(|error| {
                format!("spec.sourceIntegrity.git.policies: repos.url {url:?} is no pattern: {error}; correct it")
            })?;
            match (glob.matches(repo_url), denies) {
                (true, true) => return Ok(false),
                (matches, _) => included |= matches,
            }
        }
        Ok(included)
    }
}

/// How the signature of a commit or an annotated tag stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Made by a key in the keyring, and it fits.
    Good,
    /// It does not fit.
    Bad,
    /// By a key that is in the keyring, but not trusted there.
    Untrusted,
    /// It is past its date.
    ExpiredSignature,
    /// The key is past its date.
    ExpiredKey,
    /// The key was revoked.
    RevokedKey,
    /// The key is not in the keyring, or the signature cannot be read.
    MissingKey,
    /// There is none.
    Unsigned,
}

impl Standing {
    /// Argo CD's words in a result.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "signed",
            Self::Bad => "bad signature",
            Self::Untrusted => "signed with untrusted key",
            Self::ExpiredSignature => "expired signature",
            Self::ExpiredKey => "signed with expired key",
            Self::RevokedKey => "signed with revoked key",
            Self::MissingKey => "signed with key not in keyring",
            Self::Unsigned => "unsigned",
        }
    }
}

/// The signature of one commit or annotated tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The commit's id, or the tag's name.
    pub revision: String,
    /// It is a tag's.
    pub is_tag: bool,
    /// How it stands.
    pub standing: Standing,
    /// The id (16 digits) or fingerprint of the key that made it; empty when it is not known.
    pub key: String,
    /// The fingerprint of the primary key, when `key` is a subkey.
    pub primary_key: String,
    /// `Name <mail>` of the author or tagger.
    pub author: String,
}

/// What is wrong with the signatures of a revision; nothing when it may be deployed. There must be one at least. Of one
/// key's commits only the first is told.
pub fn problems(demand: &Demand, signatures: &[Signature]) -> Vec<String> {
    if signatures.is_empty() {
        return vec!["No signature was looked at".to_owned()];
    }
    let mut told = BTreeSet::new();
    let mut problems = Vec::new();
    for signature in signatures {
        let Some(problem) = demand.problem(signature) else { continue };
        if signature.is_tag || signature.key.is_empty() || told.insert(&signature.key) {
            problems.push(problem);
        }
        if problems.len() == PROBLEMS_MAX {
            break;
        }
    }
    problems
}

impl Demand {
    fn problem(&self, signature: &Signature) -> Option<String> {
        let what = match signature.standing {
            Standing::Good if self.allows(&signature.key) || self.allows(&signature.primary_key) => return None,
            Standing::Good => "signed with unallowed key",
            other => other.as_str(),
        };
        let Signature { revision, author, key, .. } = signature;
        Some(format!("Failed verifying revision {revision} by '{author}': {what} (key_id={})", key_id(key)))
    }

    fn allows(&self, key: &str) -> bool {
        !key.is_empty() && self.keys.iter().any(|allowed| same_key(allowed, key))
    }
}

/// The last 16 digits of a fingerprint; other texts (an SSH key's fingerprint) as they are.
pub fn key_id(key: &str) -> &str {
    let is_fingerprint = key.len() == 40 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_fingerprint { &key[24..] } else { key }
}

/// Two fingerprints are compared whole, ids by their 16 digits. Anything shorter is no key.
fn same_key(allowed: &str, key: &str) -> bool {
    let is_key = |text: &str| {
        (matches!(text.len(), 16 | 40) && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            || text.starts_with("SHA256:")
    };
    if !is_key(allowed) || !is_key(key) {
        return false;
    }
    if allowed.len() == key.len() {
        return if allowed.starts_with("SHA256:") { allowed == key } else { allowed.eq_ignore_ascii_case(key) };
    }
    key_id(allowed).eq_ignore_ascii_case(key_id(key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "D56C4FCA57A46444";
    const FINGERPRINT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAD56C4FCA57A46444";

    fn spec(value: Value) -> ProjectSpec {
        serde_json::from_value(value).unwrap()
    }

    fn policy(urls: &[&str], mode: &str) -> Value {
        let repos: Vec<Value> = urls.iter().map(|url| json!({"url": url})).collect();
        json!({"repos": repos, "gpg": {"mode": mode, "keys": [KEY]}})
    }

    #[test]
    fn one_policy_is_for_a_repository_and_what_is_unclear_is_an_error() {
        let url = "https://github.com/org/app";
        let keys = vec![KEY.to_owned()];
        let demanded = |strict| Some(Demand { strict, keys: keys.clone() });
        for (policies, want) in [
            (vec![], Ok(None)),
            (vec![policy(&["https://github.com/org/*"], "head")], Ok(demanded(false))),
            (vec![policy(&["https://gitlab.com/*"], "head"), policy(&["*"], "strict")], Ok(demanded(true))),
            (vec![policy(&["*", "!https://github.com/org/*"], "strict")], Ok(None)),
            (vec![policy(&["*"], "none")], Ok(None)),
            (vec![policy(&["*"], "Head")], Err("gpg.mode \"Head\" is unknown")),
            (vec![policy(&["*"], "head"), policy(&["https://github.com/*"], "head")], Err("2 policies match")),
            (vec![json!({"repos": [{"url": "*"}]})], Err("verifies nothing")),
            (vec![policy(&["https://github.com/[*"], "head")], Err("is no pattern")),
        ] {
            let spec =
                spec(json!({"sourceIntegrity": {"git": {"policies": policies}}, "signatureKeys": [{"keyID": "x"}]}));
            match (demand(&spec, url), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want),
                (Err(error), Err(want)) => assert!(error.contains(want), "{error}"),
                (found, want) => panic!("{found:?} is not {want:?}"),
            }
        }
        let not_for_git = spec(json!({"sourceIntegrity": {}, "signatureKeys": [{"keyID": KEY}]}));
        assert_eq!(demand(&not_for_git, url), Ok(demanded(false)));
        let older = spec(json!({"signatureKeys": [{"keyID": KEY}]}));
        assert_eq!(demand(&older, url), Ok(demanded(false)));
        assert_eq!(demand(&ProjectSpec::default(), url), Ok(None));
    }

    fn signature(standing: Standing, key: &str) -> Signature {
        Signature {
            revision: "c0ffee".into(),
            is_tag: false,
            standing,
            key: key.into(),
            primary_key: String::new(),
            author: "A <a@x>".into(),
        }
    }

    #[test]
    fn only_a_good_signature_of_an_allowed_key_is_no_problem() {
        let demand = Demand { strict: false, keys: vec![KEY.into(), "SHA256:abc".into(), "short".into()] };
        for (standing, key, want) in [
            (Standing::Good, KEY, None),
            (Standing::Good, FINGERPRINT, None),
            (Standing::Good, "SHA256:abc", None),
            (Standing::Good, "SHA256:ABC", Some("signed with unallowed key (key_id=SHA256:ABC)")),
            (Standing::Good, "1111111111111111", Some("signed with unallowed key (key_id=1111111111111111)")),
            (Standing::Good, "short", Some("signed with unallowed key (key_id=short)")),
            (Standing::Good, "", Some("signed with unallowed key (key_id=)")),
            (Standing::Bad, KEY, Some("bad signature (key_id=D56C4FCA57A46444)")),
            (Standing::Untrusted, KEY, Some("signed with untrusted key (key_id=D56C4FCA57A46444)")),
            (Standing::ExpiredSignature, KEY, Some("expired signature (key_id=D56C4FCA57A46444)")),
            (Standing::ExpiredKey, FINGERPRINT, Some("signed with expired key (key_id=D56C4FCA57A46444)")),
            (Standing::RevokedKey, KEY, Some("signed with revoked key (key_id=D56C4FCA57A46444)")),
            (Standing::MissingKey, KEY, Some("signed with key not in keyring (key_id=D56C4FCA57A46444)")),
            (Standing::Unsigned, "", Some("unsigned (key_id=)")),
        ] {
            let want: Vec<String> =
                want.iter().map(|what| format!("Failed verifying revision c0ffee by 'A <a@x>': {what}")).collect();
            assert_eq!(problems(&demand, &[signature(standing, key)]), want, "{standing:?} {key}");
        }
    }

    #[test]
    fn a_subkey_counts_as_its_primary_key_and_no_signature_at_all_is_a_problem() {
        let demand = Demand { strict: true, keys: vec![KEY.into()] };
        let subkey = Signature { primary_key: FINGERPRINT.into(), ..signature(Standing::Good, "2222222222222222") };
        assert!(problems(&demand, &[subkey]).is_empty());
        assert_eq!(problems(&demand, &[]).len(), 1);
        assert_eq!(problems(&Demand { strict: false, keys: vec![] }, &[signature(Standing::Good, KEY)]).len(), 1);
    }

    #[test]
    fn of_one_key_one_commit_is_told_and_of_many_ten() {
        let demand = Demand { strict: true, keys: vec![KEY.into()] };
        let same = vec![signature(Standing::MissingKey, "1111111111111111"); 5];
        assert_eq!(problems(&demand, &same).len(), 1);
        assert_eq!(problems(&demand, &vec![signature(Standing::Unsigned, ""); 50]).len(), 10);
    }
}

//! Whether a webhook is from who it says, by what is shared with its provider (`webhook.*` of `argocd-secret`). Pure but
//! for the bodies that come in pieces: of each, the state of a hash is kept for a while.
use std::collections::BTreeMap;
use std::time::Duration;

use moka::sync::Cache;
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;
use tako_bus::rpc::{WebhookPiece, WebhookVerified, WebhookVerify};
use tako_engine::webhook::{Proof, Provider};
use uuid::Uuid;

/// Bodies in pieces at a time, and for how long nothing may come of one.
const BODIES_MAX: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A body of which more is to come.
#[derive(Clone)]
struct Begun {
    hmac: hmac::Context,
    given: Vec<u8>,
    /// The next piece.
    number: u32,
}

/// The bodies in hand, and where their pieces go.
pub(super) struct Bodies {
    begun: Cache<Uuid, Begun>,
    /// This process's own: whoever has the first piece must get the others.
    tail: String,
}

impl Default for Bodies {
    fn default() -> Self {
        let begun = Cache::builder().max_capacity(BODIES_MAX).time_to_live(PATIENCE).build();
        Self { begun, tail: format!("webhook.piece.{}", Uuid::new_v4()) }
    }
}

impl Bodies {
    /// Where pieces are taken.
    pub(super) fn tail(&self) -> &str {
        &self.tail
    }

    /// Judges a delivery, or asks for the rest of its body.
    pub(super) fn verify(&self, secrets: &BTreeMap<String, String>, ask: &WebhookVerify) -> WebhookVerified {
        let (key, given) = match judge(secrets, ask.provider, &ask.proof) {
            Judged::Done(answer) => return answer,
            Judged::OfTheBody { key, given } => (key, given),
        };
        let hmac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()));
        self.hash(Uuid::new_v4(), Begun { hmac, given, number: 0 }, &ask.body, ask.more)
    }

    /// Takes the next piece.
    pub(super) fn go_on(&self, piece: &WebhookPiece) -> WebhookVerified {
        match self.begun.remove(&piece.id).filter(|begun| begun.number == piece.number) {
            Some(begun) => self.hash(piece.id, begun, &piece.body, piece.more),
            None => WebhookVerified::Lost,
        }
    }

    fn hash(&self, id: Uuid, mut begun: Begun, piece: &[u8], more: bool) -> WebhookVerified {
        begun.hmac.update(piece);
        if more {
            begun.number += 1;
            self.begun.insert(id, begun);
            return WebhookVerified::Rest { to: self.tail.clone(), id };
        }
        match bool::from(begun.hmac.sign().as_ref().ct_eq(&begun.given)) {
            true => WebhookVerified::Good,
            false => WebhookVerified::Refused("HMAC verification failed".to_owned()),
        }
    }
}

enum Judged<'a> {
    Done(WebhookVerified),
    OfTheBody { key: &'a str, given: Vec<u8> },
}

fn judge<'a>(secrets: &'a BTreeMap<String, String>, provider: Provider, proof: &Proof) -> Judged<'a> {
    let keys = provider.secret_keys();
    let shared = |key: &&str| secrets.get(*key).map(String::as_str);
    let refused = |why: String| Judged::Done(WebhookVerified::Refused(why));
    let unsigned = || {
        let keys = keys.join(" and ");
        refused(format!(
            "{provider} sent nothing that shows who it is; set at its webhook what {keys} of argocd-secret says"
        ))
    };
    // With nothing shared all is taken (Argo CD): a delivery only makes us look.
    let Some(secret) = keys.iter().find_map(shared) else {
        let unknown = provider.needs_secret();
        return Judged::Done(if unknown { WebhookVerified::Unknown } else { WebhookVerified::Good });
    };
    let right = match proof {
        Proof::Needless => true,
        Proof::Hmac(None) | Proof::Secret(None) | Proof::Basic(None) => return unsigned(),
        Proof::Hmac(Some(given)) => match hex::decode(given) {
            Ok(given) => return Judged::OfTheBody { key: secret, given },
            Err(_) => return refused("the signature is not hexadecimal".to_owned()),
        },
        // Bitbucket shows its UUIDs in braces and sends them without.
        Proof::Secret(Some(given)) if provider == Provider::BitbucketCloud => {
            same(secret.trim_matches(['{', '}']), given.trim_matches(['{', '}']))
        }
        Proof::Secret(Some(given)) => same(secret, given),
        Proof::Basic(Some((user, password))) => {
            let part = |index: usize| keys.get(index).and_then(shared).unwrap_or_default();
            same(part(0), user) & same(part(1), password)
        }
    };
    let keys = keys.join(" and ");
    if right {
        Judged::Done(WebhookVerified::Good)
    } else {
        refused(format!("{provider} did not send what {keys} of argocd-secret says"))
    }
}

/// In a time that tells neither where they differ nor how long they are.
fn same(secret: &str, given: &str) -> bool {
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    bool::from(hash(secret).as_ref().ct_eq(hash(given).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> BTreeMap<String, String> {
        [
            ("webhook.github.secret", "shh"),
            ("webhook.gitlab.secret", "shh"),
            ("webhook.gogs.secret", "shh"),
            ("webhook.bitbucket.uuid", "{5f0b}"),
            ("webhook.bitbucketserver.secret", "shh"),
            ("webhook.azuredevops.username", "ann"),
            ("webhook.azuredevops.password", "shh"),
            ("webhook.harbor.secret", "shh"),
            ("webhook.dockerhub.secret", "shh"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn verify(secrets: &BTreeMap<String, String>, provider: Provider, proof: Proof) -> WebhookVerified {
        let ask = WebhookVerify { provider, proof, body: b"{}".to_vec(), more: false };
        Bodies::default().verify(secrets, &ask)
    }

    fn signature(body: &[u8]) -> String {
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"shh"), body))
    }

    #[test]
    fn each_provider_must_show_what_is_shared_with_it() {
        use Provider::*;
        let hmac = |text: &str| Proof::Hmac(Some(text.to_owned()));
        let secret = |text: &str| Proof::Secret(Some(text.to_owned()));
        let basic = |user: &str, password: &str| Proof::Basic(Some((user.to_owned(), password.to_owned())));
        let signed = || hmac(&signature(b"{}"));
        let forged = || vec![Proof::Hmac(None), hmac(""), hmac("xyz"), hmac("00"), hmac(&signature(b"{ }"))];
        let others = || vec![Proof::Secret(None), secret(""), secret("sh"), secret("shhh"), secret("SHH")];
        for (provider, right, wrong) in [
            (GitHub, signed(), forged()),
            (Ghcr, signed(), forged()),
            (Gogs, signed(), forged()),
            (BitbucketServer, signed(), forged()),
            (GitLab, secret("shh"), others()),
            (Harbor, secret("shh"), others()),
            (DockerHub, secret("shh"), others()),
            (BitbucketCloud, secret("5f0b"), others()),
            (
                AzureDevOps,
                basic("ann", "shh"),
                vec![
                    Proof::Basic(None),
                    basic("ann", ""),
                    basic("", "shh"),
                    basic("ann", "sh"),
                    basic("bob", "shh"),
                    basic("shh", "ann"),
                ],
            ),
        ] {
            for (index, wrong) in wrong.into_iter().enumerate() {
                let answer = verify(&secrets(), provider, wrong);
                let WebhookVerified::Refused(why) = answer else { panic!("{provider} {index}: {answer:?}") };
                assert!(!why.contains("shh") && !why.contains("5f0b"), "{why}");
            }
            assert_eq!(verify(&secrets(), provider, right.clone()), WebhookVerified::Good, "{provider}");
            // What is shared with another does not help.
            let mut without = secrets();
            without.retain(|key, _| !provider.secret_keys().contains(&key.as_str()));
            let want =
                if matches!(provider, Harbor | DockerHub) { WebhookVerified::Unknown } else { WebhookVerified::Good };
            assert_eq!(verify(&without, provider, right), want, "{provider} with nothing shared");
        }
        assert_eq!(verify(&secrets(), BitbucketServer, Proof::Needless), WebhookVerified::Good, "a ping");
        let half: BTreeMap<_, _> = [("webhook.azuredevops.username".to_owned(), "ann".to_owned())].into();
        assert_eq!(verify(&half, AzureDevOps, basic("ann", "")), WebhookVerified::Good);
        assert_ne!(verify(&half, AzureDevOps, basic("ann", "shh")), WebhookVerified::Good);
    }

    #[test]
    fn a_body_in_pieces_is_verified_as_a_whole() {
        let bodies = Bodies::default();
        let begin = |signed: &[u8]| {
            let proof = Proof::Hmac(Some(signature(signed)));
            let ask = WebhookVerify { provider: Provider::GitHub, proof, body: b"ab".to_vec(), more: true };
            match bodies.verify(&secrets(), &ask) {
                WebhookVerified::Rest { to, id } if to == bodies.tail() => id,
                answer => panic!("{answer:?}"),
            }
        };
        let piece =
            |id, number, body: &[u8], more| bodies.go_on(&WebhookPiece { id, number, body: body.to_vec(), more });
        let id = begin(b"abcdef");
        assert_eq!(piece(id, 1, b"cd", true), WebhookVerified::Rest { to: bodies.tail().to_owned(), id });
        assert_eq!(piece(id, 2, b"ef", false), WebhookVerified::Good);
        assert_eq!(piece(id, 3, b"", false), WebhookVerified::Lost, "it is over");
        assert!(matches!(piece(begin(b"abc"), 1, b"d", false), WebhookVerified::Refused(_)));
        assert_eq!(piece(begin(b"abcd"), 2, b"cd", false), WebhookVerified::Lost, "one is missing");
        assert_eq!(piece(Uuid::new_v4(), 1, b"", false), WebhookVerified::Lost);
    }
}

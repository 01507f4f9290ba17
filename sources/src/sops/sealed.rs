//! Manifests that a tool made of opened files (a chart with decrypted values) hold secrets anywhere: they are stored sealed as a whole.
//! The key is derived from an age identity, which renderer and loader both have. Equal manifests are sealed to equal texts, so that what
//! did not change has the same digest: the nonce is a keyed hash of the manifest. Pure.
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use serde_json::{Value, json};

use super::{Keys, SopsError};

/// The one field of a sealed manifest.
const FIELD: &str = "takobune.io/sealed";

/// It is sealed.
pub fn is_sealed(manifest: &Value) -> bool {
    manifest.get(FIELD).is_some()
}

/// Seals a manifest for whoever has the same keys.
pub fn seal(manifest: &Value, keys: &Keys) -> Result<Value, SopsError> {
    let fail = |problem: &str| problem_of(problem);
    let (recipient, secret) = keys.secret(None).ok_or_else(|| fail("there is no age identity to seal it with"))?;
    let derived = Derived::of(&secret).ok_or_else(|| fail("it cannot be sealed"))?;
    let mut text = manifest.to_string().into_bytes();
    let tag = hmac::sign(&derived.hash, &text);
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&tag.as_ref()[..NONCE_LEN]);
    derived
        .seal
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(recipient.as_bytes()), &mut text)
        .map_err(|_| fail("it cannot be sealed"))?;
    let sealed = [nonce.as_slice(), &text].concat();
    Ok(json!({FIELD: {"recipient": recipient, "text": BASE64_STANDARD.encode(sealed)}}))
}

/// Opens what [`seal`] made.
pub(super) fn open(manifest: &Value, keys: &Keys) -> Result<Value, SopsError> {
    let recipient = manifest[FIELD]["recipient"].as_str().unwrap_or_default();
    let (_, secret) = keys.secret(Some(recipient)).ok_or_else(|| {
        problem_of(&format!(
            "it was sealed with the identity of {recipient}, which is not among the keys any more; refresh the Application hard"
        ))
    })?;
    let open = || {
        let text = manifest[FIELD]["text"].as_str()?;
        let mut sealed = BASE64_STANDARD.decode(text).ok()?;
        let (nonce, text) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = Derived::of(&secret)?.seal.open_in_place(nonce, Aad::from(recipient.as_bytes()), text).ok()?;
        serde_json::from_slice(opened).ok()
    };
    open().ok_or_else(|| problem_of("it was changed since it was sealed; refresh the Application hard"))
}

fn problem_of(problem: &str) -> SopsError {
    SopsError::Document { file: "a sealed manifest".to_owned(), problem: problem.to_owned() }
}

struct Derived {
    seal: LessSafeKey,
    hash: hmac::Key,
}

impl Derived {
    fn of(secret: &[u8]) -> Option<Self> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"takobune.io/sealed/1").extract(secret);
        let mut bytes = [[0; 32]; 2];
        for (bytes, purpose) in bytes.iter_mut().zip([b"seal", b"hash"]) {
            root.expand(&[purpose], hkdf::HKDF_SHA256).ok()?.fill(bytes).ok()?;
        }
        let seal = UnboundKey::new(&AES_256_GCM, &bytes[0]).ok().map(LessSafeKey::new)?;
        Some(Self { seal, hash: hmac::Key::new(hmac::HMAC_SHA256, &bytes[1]) })
    }
}

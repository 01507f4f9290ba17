//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, authenticated with the keys above it (SOPS, "Message
//! Authentication Code"). Pure.
use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What encrypts the values of one file.
pub(super) struct DataKey(pub(super) [u8; 32]);

/// An opened value. Numbers stay as they were written.
#[derive(Clone, PartialEq)]
pub(super) enum Plain {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A time, in the form of RFC 3339.
    Time(String),
    Comment,
}

struct Encrypted<'a> {
    data: &'a str,
    iv: &'a str,
    tag: &'a str,
    kind: &'a str,
}

/// The parts of an encrypted value. The parts are base64 and a word: none holds a comma.
fn parts(text: &str) -> Option<Encrypted<'_>> {
    let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
    let mut parts = inner.split(',');
    let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix(':');
    let found = Encrypted { data: part("data")?, iv: part("iv")?, tag: part("tag")?, kind: part("type")? };
    parts.next().is_none().then_some(found)
}

/// It has the form of an encrypted value.
pub(super) fn is_encrypted(text: &str) -> bool {
    parts(text).is_some()
}

/// It is an encrypted comment.
pub(super) fn is_comment(text: &str) -> bool {
    parts(text).is_some_and(|found| found.kind == "comment")
}

/// What a value is authenticated with: the keys that lead to it. Positions in lists are no part of it.
pub(super) fn authenticated(path: &[&str]) -> String {
    format!("{}:", path.join(":"))
}

/// Opens a value. The reason of a failure says nothing of it.
pub(super) fn open(key: &DataKey, text: &str, authenticated: &str) -> Result<Plain, &'static str> {
    let found = parts(text).ok_or("an encrypted value (ENC[AES256_GCM,…]) is wanted; encrypt the file again")?;
    let decode = |part: &str| BASE64_STANDARD.decode(part).map_err(|_| "the encrypted value is damaged");
    let (mut data, iv, tag) = (decode(found.data)?, decode(found.iv)?, decode(found.tag)?);
    if tag.len() != 16 {
        return Err("the encrypted value is damaged");
    }
    data.extend_from_slice(&tag);
    let payload = Payload { msg: &data, aad: authenticated.as_bytes() };
    let key = aes_gcm::Key::<Aes256>::from_slice(&key.0);
    // SOPS writes nonces of 32 bytes; other programs of its kind use the usual 12.
    let opened = match iv.len() {
        32 => AesGcm::<Aes256, U32, U16>::new(key).decrypt(Nonce::<U32>::from_slice(&iv), payload),
        12 => AesGcm::<Aes256, U12, U16>::new(key).decrypt(Nonce::<U12>::from_slice(&iv), payload),
        _ => return Err("the encrypted value is damaged"),
    };
    let opened = opened.map_err(|_| "cannot be decrypted: it was changed or moved since, or is of another file")?;
    let text = || String::from_utf8(opened.clone()).map_err(|_| "the value is not text; keep binary data as base64");
    let kind = "the value is not of the kind that it says it is";
    Ok(match found.kind {
        "str" | "bytes" => Plain::Text(text()?),
        "int" => Plain::Int(text()?.parse().map_err(|_| kind)?),
        "float" => Plain::Float(text()?.parse().map_err(|_| kind)?),
        "bool" => match text()?.as_str() {
            "True" | "true" => Plain::Bool(true),
            "False" | "false" => Plain::Bool(false),
            _ => return Err(kind),
        },
        "time" => Plain::Time(text()?),
        "comment" => Plain::Comment,
        _ => return Err("the value is of a kind that is not known; a newer SOPS wrote it"),
    })
}

impl Plain {
    /// As the MAC counts it; comments do not count.
    pub(super) fn mac_bytes(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) | Self::Time(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => float_text(*number),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Comment => return None,
        })
    }

    /// As JSON.
    pub(super) fn into_value(self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Time(text) => text.into(),
            Self::Int(number) => number.into(),
            Self::Float(number) => whole(number).map_or_else(|| number.into(), Into::into),
            Self::Bool(truth) => truth.into(),
            Self::Comment => serde_json::Value::Null,
        }
    }
}

/// A float that is whole, as the number that SOPS writes for it.
pub(super) fn whole(number: f64) -> Option<i64> {
    // Below 2^53 every whole number is exact.
    let exact = number.fract() == 0.0 && number.abs() < 9e15;
    #[allow(clippy::cast_possible_truncation)]
    exact.then_some(number as i64)
}

/// Without an exponent, as short as can be (Go's `'f', -1`).
pub(super) fn float_text(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_encrypted_value_is_known() {
        for (text, want) in [
            ("ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]", true),
            ("ENC[AES256_GCM,data:a,iv:b,tag:c,type:str", false),
            ("ENC[AES256_GCM,data:a,iv:b,tag:c]", false),
            ("ENC[AES256_GCM,data:a,iv:b,tag:c,type:str,more:d]", false),
            ("ENC[OTHER,data:a,iv:b,tag:c,type:str]", false),
            ("", false),
        ] {
            assert_eq!(is_encrypted(text), want, "{text}");
        }
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (number, want) in [(0.5, "0.5"), (1000.0, "1000"), (1e21, "1000000000000000000000"), (1e-7, "0.0000001")] {
            assert_eq!(float_text(number), want);
        }
    }
}

//! Session tokens: JWT with HS256 (RFC 7515, 7519) in the shape that Argo CD issues, keyed by `server.secretkey`.
//! Pure: the key and the time are given.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The one header that is issued and accepted: `none` and key confusion have no way in.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The claims of a session.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) exp: i64,
    pub(super) nbf: i64,
    pub(super) iat: i64,
    pub(super) jti: String,
}

impl Claims {
    /// The account: `sub` is `name:capability`.
    pub(super) fn account(&self) -> &str {
        self.sub.split_once(':').map_or(self.sub.as_str(), |(account, _)| account)
    }
}

/// Why a token is not taken. The caller tells the user nothing of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Shape,
    Signature,
    Claims,
    Expired,
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// A token for `account`, good for `seconds` from `now` (unix time).
pub(super) fn issue(key: &[u8], account: &str, seconds: i64, now: i64) -> Option<String> {
    let claims = Claims {
        iss: "argocd".to_owned(),
        sub: format!("{account}:login"),
        exp: now.checked_add(seconds)?,
        nbf: now,
        iat: now,
        jti: uuid::Uuid::new_v4().to_string(),
    };
    let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(serde_json::to_vec(&claims).ok()?));
    let signature = BASE64.encode(hmac_sha256(key, signed.as_bytes()));
    Some(format!("{signed}.{signature}"))
}

/// The claims of a good token.
pub(super) fn verify(key: &[u8], token: &str, now: i64) -> Result<Claims, Refused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Shape);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Shape)?;
    let (header, payload) = signed.split_once('.').ok_or(Refused::Shape)?;
    let given = BASE64.decode(signature).map_err(|_| Refused::Shape)?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes(), &given).map_err(|_| Refused::Signature)?;
    let header: serde_json::Value =
        BASE64.decode(header).ok().and_then(|text| serde_json::from_slice(&text).ok()).ok_or(Refused::Shape)?;
    if header["alg"] != "HS256" {
        return Err(Refused::Shape);
    }
    let claims: Claims =
        BASE64.decode(payload).ok().and_then(|text| serde_json::from_slice(&text).ok()).ok_or(Refused::Claims)?;
    if claims.iss != "argocd" {
        return Err(Refused::Claims);
    }
    if now >= claims.exp || now < claims.nbf {
        return Err(Refused::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_only_whole_in_time_and_under_its_key() {
        let token = issue(b"key", "admin", 60, 1000).unwrap();
        assert_eq!(verify(b"key", &token, 1000).unwrap().account(), "admin");
        assert_eq!(verify(b"other", &token, 1000), Err(Refused::Signature));
        assert_eq!(verify(b"key", &token, 1060), Err(Refused::Expired));
        assert_eq!(verify(b"key", &token, 999), Err(Refused::Expired));
        assert_eq!(verify(b"key", "x.y", 1000), Err(Refused::Shape));
        let (_, payload) = token.split_once('.').unwrap();
        let none = format!("{}.{}", BASE64.encode(r#"{"alg":"none"}"#), payload);
        assert_eq!(verify(b"key", &none, 1000), Err(Refused::Signature));
    }
}

//! Subjects: the tokens of each, and nothing of a user's ever unencoded. Pure.
use sha2::{Digest as _, Sha256};

/// The first tokens of every subject.
pub(crate) const PREFIX: &str = "tako.v1";

/// A repository as one token: the first 16 bytes of the SHA-256 of its URL, in hexadecimal.
pub fn repo_key(url: &str) -> String {
    hex::encode(&Sha256::digest(url.as_bytes())[..16])
}

/// Any text as one token: dots become `_`; what is not allowed in a token is hashed away.
pub(crate) fn token(text: &str) -> String {
    let plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if plain { text.replace('.', "_") } else { format!("x{}", repo_key(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_user_breaks_a_subject() {
        assert_eq!(token("a.b-c"), "a_b-c");
        for bad in ["", "a b", "a.*", ">", "ü", "a\r\nPUB"] {
            let token = token(bad);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
        }
        assert_eq!(repo_key("x").len(), 32);
    }
}

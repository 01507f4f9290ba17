//! What of a commit or tag was signed, and what gpg says of a signature. Pure.
use tako_engine::integrity::Standing;

/// A signature and the bytes that it is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

const BEGINNINGS: &[&str] =
    &["-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----", SSH_BEGINNING, "-----BEGIN SIGNED MESSAGE-----"];
const SSH_BEGINNING: &str = "-----BEGIN SSH SIGNATURE-----";

impl Signed {
    /// The signature is one of ssh.
    pub(super) fn is_ssh(&self) -> bool {
        self.signature.starts_with(SSH_BEGINNING.as_bytes())
    }

    /// The signature at the end of a tag object.
    pub(super) fn of_tag(data: &[u8]) -> Option<Self> {
        let mut at = 0;
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if BEGINNINGS.iter().any(|beginning| line.starts_with(beginning.as_bytes())) {
                return Some(Self { payload: data[..at].to_vec(), signature: data[at..].to_vec() });
            }
            at += line.len();
        }
        None
    }
}

/// How a signature stands by gpg's status lines (GnuPG, doc/DETAILS), and the fingerprints of the key and of its primary key. As in
/// git, more than one verdict is none.
pub(super) fn judge(status: &str) -> (Standing, String, String) {
    let mut verdicts = Vec::new();
    let (mut fingerprint, mut primary) = (String::new(), String::new());
    for line in status.lines() {
        let Some(rest) = line.strip_prefix("[GNUPG:] ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        let word = |index: usize| words.get(index).copied().unwrap_or_default().to_owned();
        let standing = match words[0] {
            "GOODSIG" => Standing::Good,
            "BADSIG" => Standing::Bad,
            "EXPSIG" => Standing::ExpiredSignature,
            "EXPKEYSIG" => Standing::ExpiredKey,
            "REVKEYSIG" => Standing::RevokedKey,
            "ERRSIG" => Standing::MissingKey,
            "TRUST_NEVER" | "TRUST_UNDEFINED" => Standing::Untrusted,
            "VALIDSIG" => {
                (fingerprint, primary) = (word(1), word(10));
                continue;
            }
            _ => continue,
        };
        verdicts.push((standing, word(1)));
    }
    let untrusted = verdicts.iter().any(|(standing, _)| *standing == Standing::Untrusted);
    verdicts.retain(|(standing, _)| *standing != Standing::Untrusted);
    let [(standing, id)] = &verdicts[..] else { return (Standing::MissingKey, String::new(), String::new()) };
    let standing = match standing {
        // It must be told of whom it is valid.
        Standing::Good if fingerprint.is_empty() => Standing::MissingKey,
        Standing::Good if untrusted => Standing::Untrusted,
        other => *other,
    };
    let key = if fingerprint.is_empty() { id.clone() } else { fingerprint };
    (standing, key, primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpg_is_understood_and_doubt_is_no_good_signature() {
        let valid = "[GNUPG:] VALIDSIG AAAA 2026-01-01 1 0 4 0 1 10 00 BBBB\n";
        for (status, want) in [
            (
                format!("[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG K A\n{valid}[GNUPG:] TRUST_FULLY 0"),
                (Standing::Good, "AAAA", "BBBB"),
            ),
            (format!("[GNUPG:] GOODSIG K A\n{valid}[GNUPG:] TRUST_UNDEFINED"), (Standing::Untrusted, "AAAA", "BBBB")),
            ("[GNUPG:] GOODSIG K A\n".to_owned(), (Standing::MissingKey, "K", "")),
            (format!("[GNUPG:] GOODSIG K A\n[GNUPG:] BADSIG K A\n{valid}"), (Standing::MissingKey, "", "")),
            (format!("[GNUPG:] GOODSIG K A\n[GNUPG:] GOODSIG K A\n{valid}"), (Standing::MissingKey, "", "")),
            ("gpg: x [GNUPG:] GOODSIG K A\n".to_owned(), (Standing::MissingKey, "", "")),
            ("[GNUPG:] BADSIG K A".to_owned(), (Standing::Bad, "K", "")),
            (format!("[GNUPG:] EXPKEYSIG K A\n{valid}"), (Standing::ExpiredKey, "AAAA", "BBBB")),
            (format!("[GNUPG:] REVKEYSIG K A\n{valid}"), (Standing::RevokedKey, "AAAA", "BBBB")),
            (format!("[GNUPG:] EXPSIG K A\n{valid}"), (Standing::ExpiredSignature, "AAAA", "BBBB")),
            ("[GNUPG:] ERRSIG K 1 10 00 1 9 F\n[GNUPG:] NO_PUBKEY K".to_owned(), (Standing::MissingKey, "K", "")),
            (String::new(), (Standing::MissingKey, "", "")),
        ] {
            let (standing, key, primary) = judge(&status);
            assert_eq!((standing, key.as_str(), primary.as_str()), want, "{status}");
        }
    }

    #[test]
    fn the_signature_of_a_tag_is_at_its_end() {
        let tag = b"object a\ntype commit\n\nsays -----BEGIN PGP SIGNATURE-----\n-----BEGIN PGP SIGNATURE-----\nx\n";
        let signed = Signed::of_tag(tag).unwrap();
        assert_eq!(signed.payload, b"object a\ntype commit\n\nsays -----BEGIN PGP SIGNATURE-----\n");
        assert!(signed.signature.starts_with(b"-----BEGIN PGP SIGNATURE-----\nx"));
        assert_eq!(Signed::of_tag(b"object a\n\nnothing\n"), None);
    }
}

//! age identities (age-encryption.org, "X25519"). They are never shown.
use std::collections::BTreeMap;
use std::io::Read as _;

use age::armor::ArmoredReader;
use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;

use super::SopsError;

/// What opens files.
#[derive(Clone, Default)]
pub struct Keys {
    identities: Vec<Identity>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?})", self.recipients())
    }
}

impl Keys {
    /// The identities of a file as age-keygen writes it: one a line, comments after `#`. `place` names it in errors.
    pub fn parse(place: &str, text: &str) -> Result<Self, SopsError> {
        let mut identities = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // age's own reason may quote the key: it is not passed on.
            identities.push(line.parse::<Identity>().map_err(|_| SopsError::Keys {
                place: format!("{place}:{number}"),
                problem: "an age identity (AGE-SECRET-KEY-1…) is wanted; make one with age-keygen".to_owned(),
            })?);
        }
        Ok(Self { identities })
    }

    /// The identities of a Secret: the entries that end in `.agekey` (Flux's habit) and `keys.txt` (SOPS' own file).
    pub fn from_secret(name: &str, data: &BTreeMap<String, Vec<u8>>) -> Result<Self, SopsError> {
        let mut all = Self::default();
        for (entry, bytes) in data.iter().filter(|(entry, _)| entry.ends_with(".agekey") || *entry == "keys.txt") {
            let place = format!("Secret {name}, entry {entry}");
            let text = std::str::from_utf8(bytes)
                .map_err(|_| SopsError::Keys { place: place.clone(), problem: "the entry is not text".to_owned() })?;
            all.identities.extend(Self::parse(&place, text)?.identities);
        }
        if all.identities.is_empty() {
            return Err(SopsError::Keys {
                place: format!("Secret {name}"),
                problem: "no age identity is in it; put the output of age-keygen into an entry that ends in .agekey"
                    .to_owned(),
            });
        }
        Ok(all)
    }

    /// For whom a file must be encrypted to be opened: the public halves.
    pub fn recipients(&self) -> Vec<String> {
        self.identities.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    /// An identity by its public half, as secret bytes for the derivation of other keys; without one, the first.
    pub(super) fn secret(&self, recipient: Option<&str>) -> Option<(String, Vec<u8>)> {
        let named =
            |identity: &&Identity| recipient.is_none_or(|recipient| identity.to_public().to_string() == recipient);
        let identity = self.identities.iter().find(named)?;
        Some((identity.to_public().to_string(), identity.to_string().expose_secret().as_bytes().to_vec()))
    }

    /// The content of an armored age file, if any of the identities opens it.
    pub(super) fn open(&self, armored: &str) -> Option<Vec<u8>> {
        let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(armored.trim().as_bytes())).ok()?;
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        let mut content = Vec::new();
        // A data key is 32 bytes; more is none.
        decryptor.decrypt(identities).ok()?.take(1024).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

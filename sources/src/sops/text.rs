//! A whole file: opened in the order of its values, and checked by its MAC, which is over all documents of the file. Pure.
use sha2::{Digest as _, Sha512};

use super::cipher::{self, DataKey, Plain};
use super::document::{self, Node};
use super::metadata::Metadata;
use super::{Keys, METADATA, Path, SopsError};

/// What the MAC of encrypted values alone begins with: SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// A file that SOPS encrypted: one of its documents has SOPS' block. A text that cannot be parsed is none.
pub fn is_encrypted_text(file: &str, text: &str) -> bool {
    text.contains(METADATA)
        && text.contains("ENC[")
        && document::parse(file, text).is_ok_and(|documents| documents.iter().any(has_block))
}

fn has_block(document: &Node) -> bool {
    document.get(METADATA).is_some_and(|block| block.get("mac").is_some() && block.get("lastmodified").is_some())
}

/// Checks that nothing in a file was changed, added, removed or moved since it was encrypted. One that is not encrypted is good.
pub fn verify_text(file: &str, text: &str, keys: &Keys) -> Result<(), SopsError> {
    opened(file, text, keys).map(|_| ())
}

/// The file with its values opened, checked, and without SOPS' block: as JSON documents, which are YAML too, with keys in their order.
/// One that is not encrypted comes back as it is.
pub fn decrypt_text(file: &str, text: &str, keys: &Keys) -> Result<String, SopsError> {
    let Some(documents) = opened(file, text, keys)? else { return Ok(text.to_owned()) };
    let mut written = String::new();
    for (place, document) in documents.iter().enumerate() {
        written.push_str(if place == 0 { "" } else { "---\n" });
        document.write(&mut written);
        written.push('\n');
    }
    Ok(written)
}

fn opened(file: &str, text: &str, keys: &Keys) -> Result<Option<Vec<Node>>, SopsError> {
    if !text.contains(METADATA) {
        return Ok(None);
    }
    let wrong = |problem: String| SopsError::Document { file: file.to_owned(), problem };
    let mut documents = document::parse(file, text).map_err(wrong)?;
    if !documents.iter().any(has_block) {
        return Ok(None);
    }
    // As SOPS: the first document's block speaks for all.
    let block = documents[0].get(METADATA).ok_or_else(|| {
        wrong("the first document has no block `sops`, later ones have: encrypt the whole file".to_owned())
    })?;
    let metadata = Metadata::read(&block.to_value()).map_err(wrong)?;
    let key = metadata.data_key(keys).map_err(wrong)?;
    let mut hash = Sha512::new();
    if metadata.mac_only_encrypted {
        hash.update(ONLY_ENCRYPTED);
    }
    let mut opening = Opening { file, metadata: &metadata, key: &key, hash };
    for document in &mut documents {
        if let Node::Map(items) = document {
            items.retain(|(key, _)| key != METADATA);
        }
        opening.walk(document, &Vec::new())?;
    }
    let computed = hex::encode_upper(opening.hash.finalize());
    match cipher::open(&key, &metadata.mac, &metadata.last_modified) {
        Ok(Plain::Text(mac)) if mac == computed => Ok(Some(documents)),
        Ok(_) => Err(wrong(
            "sops.mac: the file was changed since it was encrypted (MAC mismatch); change it with `sops edit`"
                .to_owned(),
        )),
        Err(problem) => Err(wrong(format!("sops.mac: {problem}"))),
    }
}

struct Opening<'a> {
    file: &'a str,
    metadata: &'a Metadata,
    key: &'a DataKey,
    hash: Sha512,
}

impl Opening<'_> {
    fn walk(&mut self, node: &mut Node, path: &Path<'_>) -> Result<(), SopsError> {
        match node {
            Node::Null => Ok(()),
            Node::Map(items) => items.iter_mut().try_for_each(|(key, value)| {
                let mut path = path.clone();
                path.push(key);
                self.walk(value, &path)
            }),
            Node::List(items) => {
                items.iter_mut().try_for_each(|item| self.walk(item, path))?;
                // SOPS keeps the comments of a list as encrypted items of it.
                items.retain(|item| *item != Node::Plain(Plain::Comment));
                Ok(())
            }
            Node::Plain(plain) => self.leaf(plain, path),
        }
    }

    fn leaf(&mut self, plain: &mut Plain, path: &Path<'_>) -> Result<(), SopsError> {
        let wrong = |problem: &str| SopsError::Value {
            file: self.file.to_owned(),
            path: path.join("."),
            problem: problem.to_owned(),
        };
        let looks = matches!(plain, Plain::Text(text) if cipher::is_encrypted(text));
        let covered = self.metadata.covers(path, looks);
        if covered {
            match plain {
                // An empty text is not worth encrypting.
                Plain::Text(text) if text.is_empty() => {}
                Plain::Text(text) => {
                    *plain = cipher::open(self.key, text, &cipher::authenticated(path)).map_err(wrong)?;
                }
                _ => return Err(wrong("is not encrypted, but the rules of the file want it to be; encrypt it again")),
            }
        }
        if (covered || !self.metadata.mac_only_encrypted)
            && let Some(bytes) = plain.mac_bytes()
        {
            self.hash.update(bytes);
        }
        Ok(())
    }
}

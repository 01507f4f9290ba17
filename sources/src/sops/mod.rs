//! SOPS: files whose values are encrypted and whose keys are not (getsops.io). Opens those encrypted for age; every other kind of key
//! stays with a plugin. No error says a value, encrypted or not, nor a key (research/pains.md S-48).
//!
//! Two ways lead in (docs/adr/0010-sops.md): a text is checked as a whole by its MAC, which is over the values in the order of
//! the file ([`verify_text`], [`decrypt_text`]); a parsed manifest is opened value by value where it is used
//! ([`decrypt_value`]), each value being authenticated with the keys above it.
//! What a tool has made of opened files is sealed again until then ([`seal`], [`reveal`]).
mod cipher;
mod document;
mod keys;
mod metadata;
mod sealed;
mod text;
mod value;

pub use keys::Keys;
pub use sealed::{is_sealed, seal};
pub use text::{decrypt_text, is_encrypted_text, verify_text};
pub use value::{decrypt_value, is_encrypted, reveal};

/// Where SOPS keeps its own things.
const METADATA: &str = "sops";

/// Why something cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SopsError {
    /// The Secret with keys.
    #[error("{place}: {problem}")]
    Keys {
        /// The entry and line.
        place: String,
        /// What is wrong and what to do; never the key.
        problem: String,
    },
    /// The file or object.
    #[error("{file}: {problem}")]
    Document {
        /// The file, or kind and name of the object.
        file: String,
        /// What is wrong and what to do; never a value.
        problem: String,
    },
    /// One value.
    #[error("{file}: {path}: {problem}")]
    Value {
        /// The file, or kind and name of the object.
        file: String,
        /// The keys that lead to it.
        path: String,
        /// What is wrong; never the value.
        problem: String,
    },
}

/// The values that a metadata block speaks of, with the way to them.
type Path<'a> = Vec<&'a str>;

#[cfg(test)]
mod tests;

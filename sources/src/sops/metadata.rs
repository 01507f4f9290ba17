//! The block `sops` of a file: who can open it, which values are encrypted, the MAC. Pure.
use regex::Regex;
use serde_json::Value;

use super::cipher::DataKey;
use super::{Keys, Path};

/// What the block says.
pub(super) struct Metadata {
    /// For whom, and the data key for them.
    recipients: Vec<(String, String)>,
    /// Other ways in, for the error.
    others: Vec<&'static str>,
    groups: usize,
    rule: Rule,
    /// Encrypted, with `lastmodified` above it.
    pub(super) mac: String,
    /// What the MAC is authenticated with.
    pub(super) last_modified: String,
    /// The MAC is over the encrypted values only.
    pub(super) mac_only_encrypted: bool,
}

/// Which values are encrypted.
enum Rule {
    UnencryptedSuffix(String),
    EncryptedSuffix(String),
    UnencryptedRegex(Regex),
    EncryptedRegex(Regex),
    /// By comments, which are gone once a file is parsed: those that look encrypted.
    Comments,
}

/// The fields of a group with keys, and what people call them.
const OTHERS: &[(&str, &str)] = &[
    ("pgp", "PGP"),
    ("kms", "AWS KMS"),
    ("gcp_kms", "GCP KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "Vault"),
    ("hckms", "Huawei KMS"),
];

impl Metadata {
    /// Reads the block. The reason of a failure names the field.
    pub(super) fn read(block: &Value) -> Result<Self, String> {
        if !block.is_object() {
            return Err("sops: a mapping is wanted".to_owned());
        }
        let some = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
        // As SOPS itself: keys at the top are one group, and then `key_groups` does not count.
        let at_top = some(&block["age"]) || OTHERS.iter().any(|(field, _)| some(&block[*field]));
        let groups = match block["key_groups"].as_array() {
            Some(groups) if !at_top => groups.iter().collect(),
            _ => vec![block],
        };
        let mut recipients = Vec::new();
        let mut others = Vec::new();
        for group in &groups {
            for key in group["age"].as_array().into_iter().flatten() {
                let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
                recipients.push((text("recipient"), text("enc")));
            }
            others.extend(OTHERS.iter().filter(|(field, _)| some(&group[*field])).map(|(_, name)| *name));
        }
        Ok(Self {
            recipients,
            others,
            groups: groups.len(),
            rule: rule(block)?,
            mac: block["mac"].as_str().ok_or("sops.mac: is missing; encrypt the file again")?.to_owned(),
            last_modified: last_modified(block)?,
            mac_only_encrypted: block["mac_only_encrypted"].as_bool().unwrap_or_default(),
        })
    }

    /// The key that encrypts the values.
    pub(super) fn data_key(&self, keys: &Keys) -> Result<DataKey, String> {
        if self.groups > 1 {
            return Err(format!(
                "sops.key_groups: the file needs keys of several of its {} groups at once, which is not done; encrypt it for one group with an age recipient",
                self.groups
            ));
        }
        if self.recipients.is_empty() {
            let by = if self.others.is_empty() { "nobody".to_owned() } else { self.others.join(", ") };
            return Err(format!(
                "sops.age: the file is encrypted for {by} only; add an age recipient to it (sops rotate --add-age), or use a plugin"
            ));
        }
        let opened = self.recipients.iter().find_map(|(_, armored)| keys.open(armored));
        let Some(key) = opened.and_then(|key| <[u8; 32]>::try_from(key).ok()) else {
            let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let wanted = self.recipients.iter().map(|(recipient, _)| recipient.clone()).collect();
            return Err(format!(
                "sops.age: the file is encrypted for {}, and the keys given are of {}; add the identity to the Secret with keys, or encrypt the file for one of them",
                list(wanted),
                list(keys.recipients())
            ));
        };
        Ok(DataKey(key))
    }

    /// Whether the value at a path is encrypted.
    pub(super) fn covers(&self, path: &Path<'_>, looks_encrypted: bool) -> bool {
        let any = |matches: &dyn Fn(&str) -> bool| path.iter().any(|key| matches(key));
        match &self.rule {
            Rule::UnencryptedSuffix(suffix) => !any(&|key| key.ends_with(suffix.as_str())),
            Rule::EncryptedSuffix(suffix) => any(&|key| key.ends_with(suffix.as_str())),
            Rule::UnencryptedRegex(regex) => !any(&|key| regex.is_match(key)),
            Rule::EncryptedRegex(regex) => any(&|key| regex.is_match(key)),
            Rule::Comments => looks_encrypted,
        }
    }
}

/// One rule at most, as SOPS has it; none is the suffix `_unencrypted`.
fn rule(block: &Value) -> Result<Rule, String> {
    let set = |field: &'static str| {
        block[field].as_str().filter(|text| !text.is_empty()).map(|text| (field, text.to_owned()))
    };
    let fields = [
        "unencrypted_suffix",
        "encrypted_suffix",
        "unencrypted_regex",
        "encrypted_regex",
        "unencrypted_comment_regex",
        "encrypted_comment_regex",
    ];
    let regex = |field: &str, text: &str| {
        Regex::new(text).map_err(|_| format!("sops.{field}: is no regular expression that is understood"))
    };
    let rules: Vec<(&str, String)> = fields.into_iter().filter_map(set).collect();
    match rules.as_slice() {
        [] => Ok(Rule::UnencryptedSuffix("_unencrypted".to_owned())),
        [(field, text)] => Ok(match *field {
            "unencrypted_suffix" => Rule::UnencryptedSuffix(text.clone()),
            "encrypted_suffix" => Rule::EncryptedSuffix(text.clone()),
            "unencrypted_regex" => Rule::UnencryptedRegex(regex(field, text)?),
            "encrypted_regex" => Rule::EncryptedRegex(regex(field, text)?),
            _ => Rule::Comments,
        }),
        several => {
            let names: Vec<&str> = several.iter().map(|(field, _)| *field).collect();
            Err(format!("sops: only one of {} may be set", names.join(", ")))
        }
    }
}

/// The MAC is authenticated with it in the form of RFC 3339.
fn last_modified(block: &Value) -> Result<String, String> {
    let text = block["lastmodified"].as_str().unwrap_or_default();
    if text.len() < 20 { Err("sops.lastmodified: a time is wanted".to_owned()) } else { Ok(text.to_owned()) }
}

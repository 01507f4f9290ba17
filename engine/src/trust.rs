//! Whom an installation trusts: the ConfigMaps `argocd-tls-certs-cm`, `argocd-ssh-known-hosts-cm` and `argocd-gpg-keys-cm` (Argo
//! CD, operator manual, "Declarative Setup", and user guide, "GnuPG signature verification"). Nothing is verified here.
use std::collections::BTreeMap;

/// The key of `argocd-ssh-known-hosts-cm`.
const KNOWN_HOSTS: &str = "ssh_known_hosts";

/// Certificates, host keys and signing keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    tls_certs: BTreeMap<String, String>,
    known_hosts: String,
    gpg_keys: BTreeMap<String, String>,
}

impl Trust {
    /// From the data of `argocd-tls-certs-cm`, `argocd-ssh-known-hosts-cm` and `argocd-gpg-keys-cm`; of what is absent, no data.
    pub fn from_data(
        tls_certs: &BTreeMap<String, String>,
        known_hosts: &BTreeMap<String, String>,
        gpg_keys: &BTreeMap<String, String>,
    ) -> Self {
        let filled = |data: &BTreeMap<String, String>| {
            data.iter()
                .filter(|(_, text)| !text.trim().is_empty())
                .map(|(key, text)| (key.to_ascii_lowercase(), text.clone()))
                .collect()
        };
        Self {
            tls_certs: filled(tls_certs),
            known_hosts: known_hosts.get(KNOWN_HOSTS).cloned().unwrap_or_default(),
            gpg_keys: gpg_keys.iter().filter(|(_, text)| !text.trim().is_empty()).map(clone_pair).collect(),
        }
    }

    /// The certificates (PEM) that are trusted instead of the system's for a server. The port does not count: a key of a ConfigMap
    /// can hold none.
    pub fn certificates_of(&self, host: &str) -> Option<&str> {
        self.tls_certs.get(without_port(host).to_ascii_lowercase().as_str()).map(String::as_str)
    }

    /// The lines of a `known_hosts` file (sshd(8)).
    pub fn known_hosts(&self) -> &str {
        &self.known_hosts
    }

    /// Public keys in armor, by the id under which each is kept.
    pub fn gpg_keys(&self) -> &BTreeMap<String, String> {
        &self.gpg_keys
    }
}

fn clone_pair((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// `host:443` and `[::1]:443` without the port and the brackets.
fn without_port(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split_once(']').map_or(inner, |(inner, _)| inner);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_server_is_found_by_its_name_whatever_the_port() {
        let trust = Trust::from_data(
            &data(&[("Git.Example.org", "PEM"), ("empty.example.org", " \n"), ("::1", "SIX")]),
            &data(&[("ssh_known_hosts", "host ssh-ed25519 AAAA\n"), ("other", "x")]),
            &data(&[("4AEE18F83AFDEB23", "ARMOR"), ("0000000000000000", "")]),
        );
        for (host, want) in [
            ("git.example.org", Some("PEM")),
            ("GIT.example.org:8443", Some("PEM")),
            ("example.org", None),
            ("empty.example.org", None),
            ("[::1]:443", Some("SIX")),
            ("::1", Some("SIX")),
        ] {
            assert_eq!(trust.certificates_of(host), want, "{host}");
        }
        assert_eq!(trust.known_hosts(), "host ssh-ed25519 AAAA\n");
        assert_eq!(trust.gpg_keys().keys().collect::<Vec<_>>(), ["4AEE18F83AFDEB23"]);
    }
}

//! HTTP clients as a repository's settings want them: certificates, client certificates, proxies, and no verification when told so.
//! gix takes none of this from git's configuration with this backend, so it is all set here.
use std::time::Duration;

use reqwest::blocking::ClientBuilder;
use reqwest::{Certificate, Identity, NoProxy, Proxy as HttpProxy};

use super::access::Access;
use super::remote::{Proxy, Remote};

/// A client for the repository's own server.
pub(super) fn configure(
    builder: ClientBuilder,
    access: &Access,
    remote: &Remote,
    time: Duration,
) -> Result<ClientBuilder, String> {
    // Whoever comes first wins; in the binary that is `main`, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = &access.settings;
    // The time holds for the head of an answer and for each piece of its body, not for the whole.
    let mut builder =
        builder.timeout(time).connect_timeout(Duration::from_secs(20)).tcp_keepalive(Duration::from_secs(30));
    if let Some(pem) = access.trust.certificates_of(&remote.host) {
        let wrong = |_| format!("argocd-tls-certs-cm: {} holds no certificates in PEM", remote.host);
        let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(wrong)?;
        if certificates.is_empty() {
            return Err(format!("argocd-tls-certs-cm: {} holds no certificates in PEM", remote.host));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if settings.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let (certificate, key) = (settings.tls_client_cert_data.as_str(), settings.tls_client_cert_key.reveal());
    if !certificate.is_empty() && !key.is_empty() {
        let wrong = |_| "tlsClientCertData, tlsClientCertKey: a certificate and its key in PEM are wanted".to_owned();
        builder = builder.identity(Identity::from_pem(format!("{certificate}\n{key}").as_bytes()).map_err(wrong)?);
    }
    proxied(builder, &settings.proxy, &settings.no_proxy)
}

/// With the proxy that is set; without one, as the environment of the process says.
pub(super) fn proxied(builder: ClientBuilder, proxy: &str, no_proxy: &str) -> Result<ClientBuilder, String> {
    if proxy.is_empty() {
        return Ok(builder);
    }
    Proxy::parse(proxy)?;
    let proxy = HttpProxy::all(proxy).map_err(|_| "proxy: scheme://host:port is wanted".to_owned())?;
    Ok(builder.proxy(proxy.no_proxy(NoProxy::from_string(no_proxy))))
}

/// Whether a host is one of `noProxy`: a name, a name's domain, an address or `*`.
pub(super) fn is_direct(host: &str, no_proxy: &str) -> bool {
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let name = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*" || host == name || host.ends_with(&format!(".{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for (host, list, want) in [
            ("git.example.org", "", false),
            ("git.example.org", "example.org", true),
            ("git.example.org", " x, .example.org", true),
            ("git.example.org", "*.Example.org", true),
            ("badexample.org", "example.org", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("any", "*", true),
        ] {
            assert_eq!(is_direct(host, list), want, "{host} {list}");
        }
    }
}

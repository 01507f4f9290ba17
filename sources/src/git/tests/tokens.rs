//! Tokens from a real HTTP server, and repositories that want them.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::super::testing::{Answer, Asked, json as answer};
use super::super::{Endpoints, GitSettings, WorkloadIdentity};
use super::*;

/// A private RSA key, in the form of PKCS#1 or PKCS#8.
fn rsa_key(traditional: bool) -> String {
    let mut command = std::process::Command::new("openssl");
    command.args(["genrsa"]).args(traditional.then_some("-traditional")).arg("2048");
    String::from_utf8(command.output().expect("openssl; apt-get install openssl").stdout).unwrap()
}

/// What a token says, without looking at who signed it.
fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn form(asked: &Asked) -> std::collections::HashMap<String, String> {
    url::form_urlencoded::parse(&asked.body).into_owned().collect()
}

struct Issuer {
    server: Server,
    issued: Arc<AtomicUsize>,
}

impl Issuer {
    /// Answers with `give` and counts.
    fn start(give: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let issued = Arc::new(AtomicUsize::new(0));
        let count = issued.clone();
        let handler = move |asked: &Asked| {
            count.fetch_add(usize::from(asked.method == "POST"), Ordering::Relaxed);
            Some(give(asked))
        };
        Self { server: Server::start(&std::env::temp_dir(), None, Box::new(handler)), issued }
    }

    fn url(&self) -> String {
        self.server.url("").trim_end_matches('/').to_owned()
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }
}

fn cache_with(place: &Place, endpoints: Endpoints) -> GitCache {
    GitCache::open_with(place.data.path(), GitSettings { endpoints, ..GitSettings::default() }).unwrap()
}

#[test]
fn a_github_app_gets_a_token_for_its_installation_and_keeps_it() {
    for (installation, traditional) in [("42", true), ("0", false)] {
        let place = Place::new();
        let issuer = Issuer::start(|asked| {
            let jwt = asked.header("authorization").strip_prefix("Bearer ").unwrap();
            assert_eq!(claims(jwt)["iss"], "7");
            match asked.path.as_str() {
                "/repos/app/installation" | "/repos/org/app/installation" => {
                    answer("200 OK", &serde_json::json!({"id": 42}))
                }
                "/app/installations/42/access_tokens" => {
                    let expires = "2099-01-01T00:00:00Z";
                    answer("201 Created", &serde_json::json!({"token": "ghs_canary", "expires_at": expires}))
                }
                other => panic!("{other}"),
            }
        });
        std::fs::create_dir(place.root.path().join("org")).unwrap();
        place.work.push_to(place.root.path(), "org/app.git");
        let server = Server::guarded(place.root.path(), &basic("x-access-token", "ghs_canary"));
        let (url, base, key) = (server.url("org/app.git"), issuer.url(), rsa_key(traditional));
        let pairs = [
            ("url", url.as_str()),
            ("githubAppID", "7"),
            ("githubAppInstallationID", installation),
            ("githubAppPrivateKey", &key),
            ("githubAppEnterpriseBaseUrl", &base),
        ];
        let cache = place.cache();
        fetch(&cache, &pairs, &Trust::default()).unwrap();
        fetch(&cache, &pairs, &Trust::default()).unwrap();
        assert_eq!(issuer.issued(), 1, "the token is kept");
    }
}

#[test]
fn a_token_that_is_about_to_expire_is_asked_for_again() {
    let place = Place::new();
    let issuer =
        Issuer::start(|_| answer("200 OK", &serde_json::json!({"access_token": "short-lived", "expires_in": 59})));
    let server = Server::guarded(place.root.path(), "Bearer short-lived");
    let url = server.url("app.git");
    let pairs = azure(&url);
    let cache = cache_with(&place, Endpoints { azure: issuer.url(), ..Endpoints::default() });
    fetch(&cache, &pairs, &Trust::default()).unwrap();
    fetch(&cache, &pairs, &Trust::default()).unwrap();
    assert_eq!(issuer.issued(), 2);
}

fn azure(url: &str) -> [(&str, &str); 4] {
    [
        ("url", url),
        ("azureServicePrincipalClientId", "client"),
        ("azureServicePrincipalTenantId", "tenant"),
        ("azureServicePrincipalClientSecret", "client-canary"),
    ]
}

#[test]
fn azure_and_google_give_tokens() {
    let place = Place::new();
    let issuer = Issuer::start(|asked| {
        let form = form(asked);
        let token = match (asked.path.as_str(), form["grant_type"].as_str()) {
            ("/tenant/oauth2/v2.0/token", "client_credentials") => {
                assert!(form["scope"].starts_with("499b84ac-"));
                match form.get("client_secret") {
                    Some(secret) => format!("principal-{secret}"),
                    None => format!("workload-{}", form["client_assertion"]),
                }
            }
            ("/google", "urn:ietf:params:oauth:grant-type:jwt-bearer") => {
                let claims = claims(&form["assertion"]);
                assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
                format!("google-{}", claims["iss"].as_str().unwrap())
            }
            other => panic!("{other:?}"),
        };
        answer("200 OK", &serde_json::json!({"access_token": token, "expires_in": 3600}))
    });
    let token_file = place.data.path().join("token");
    std::fs::write(&token_file, "assertion\n").unwrap();
    let endpoints = Endpoints {
        azure: issuer.url(),
        google: Some(format!("{}/google", issuer.url())),
        workload_identity: Some(WorkloadIdentity {
            client_id: "client".into(),
            tenant_id: "tenant".into(),
            token_file,
            authority: issuer.url(),
        }),
        ..Endpoints::default()
    };
    let cache = cache_with(&place, endpoints);
    let key = serde_json::json!({
        "type": "service_account", "client_email": "me@project", "private_key": rsa_key(false),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let key = key.to_string();
    for (header, pairs) in [
        ("Bearer principal-client-canary".to_owned(), azure("")[1..].to_vec()),
        ("Bearer workload-assertion".to_owned(), vec![("useAzureWorkloadIdentity", "true")]),
        (basic("me@project", "google-me@project"), vec![("gcpServiceAccountKey", key.as_str())]),
    ] {
        let server = Server::guarded(place.root.path(), &header);
        let url = server.url("app.git");
        let mut pairs = pairs;
        pairs.push(("url", &url));
        fetch(&cache, &pairs, &Trust::default()).unwrap();
    }
}

#[test]
fn s_49_who_gives_tokens_may_repeat_what_he_was_asked_with() {
    let place = Place::new();
    let issuer = Issuer::start(|asked| {
        let said = format!("{} {}", asked.header("authorization"), String::from_utf8_lossy(&asked.body));
        answer("400 Bad Request", &serde_json::json!({"message": said, "error_description": said}))
    });
    let server = Server::guarded(place.root.path(), "Bearer x");
    let (url, base, key) = (server.url("app.git"), issuer.url(), rsa_key(true));
    let github = [
        ("url", url.as_str()),
        ("githubAppID", "7"),
        ("githubAppInstallationID", "42"),
        ("githubAppPrivateKey", &key),
        ("githubAppEnterpriseBaseUrl", &base),
    ];
    let cache = cache_with(&place, Endpoints { azure: issuer.url(), ..Endpoints::default() });
    for pairs in [&github[..], &azure(&url)[..]] {
        let error = fetch(&cache, pairs, &Trust::default()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("status 400"), "{text}");
        assert!(!text.contains("client-canary") && !text.contains("eyJ"), "{text}");
    }
    let odd = [("url", url.as_str()), ("githubAppID", "7"), ("githubAppPrivateKey", "no key canary-canary")];
    let error = fetch(&cache, &odd, &Trust::default()).unwrap_err().to_string();
    assert!(error.contains("githubAppPrivateKey: a private RSA key") && !error.contains("canary"), "{error}");
}

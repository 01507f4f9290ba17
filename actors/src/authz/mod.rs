//! Sign-in of local accounts, session tokens and webhook signatures: the one place that holds `argocd-secret`.
//! The web asks by message and never sees a key. Knows nothing of HTTP.
mod secret;
mod token;

use std::sync::Arc;

use kube::Client;
use subtle::ConstantTimeEq as _;
use tako_bus::Bus;
use tako_bus::rpc::{SessionCreate, SessionCreated, SessionVerified, SessionVerify, WebhookVerified, WebhookVerify};

use self::secret::Secrets;

/// Lifetime of a session in seconds (`users.session.duration`, Argo CD's default 24h).
const SESSION_SECONDS: i64 = 24 * 60 * 60;
/// bcrypt reads 72 bytes; Go refuses longer ones, and so do we.
const PASSWORD_BYTES_MAX: usize = 72;
const WRONG: &str = "Invalid username or password";

/// The actor.
pub(crate) struct Authz {
    secrets: Secrets,
}

impl Authz {
    /// Makes sure that `argocd-secret` holds what sign-in needs, and serves.
    pub(crate) async fn start(bus: &Bus, client: Client, namespace: String) -> Result<Arc<Self>, crate::StartError> {
        let secrets = Secrets::start(client, namespace).await?;
        let authz = Arc::new(Self { secrets });
        let create = authz.clone();
        bus.serve("session.create", "authz", move |ask: SessionCreate| {
            let authz = create.clone();
            async move { authz.create(ask).await }
        })
        .await?;
        let verify = authz.clone();
        bus.serve("session.verify", "authz", move |ask: SessionVerify| {
            let authz = verify.clone();
            async move { authz.verify(&ask) }
        })
        .await?;
        let webhook = authz.clone();
        bus.serve("webhook.verify", "authz", move |ask: WebhookVerify| {
            let authz = webhook.clone();
            async move { authz.webhook(&ask) }
        })
        .await?;
        Ok(authz)
    }

    async fn create(&self, ask: SessionCreate) -> SessionCreated {
        let refused = |message: &str| SessionCreated { ok: false, token: None, message: message.to_owned() };
        let secrets = self.secrets.current();
        if ask.password.len() > PASSWORD_BYTES_MAX {
            return refused(WRONG);
        }
        // An unknown name costs the same time as a wrong password: it is checked against a hash all the same.
        let known = ask.username == "admin";
        let hash = secrets.admin_password.clone();
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(&ask.password, &hash).unwrap_or(false))
            .await
            .unwrap_or(false);
        if !(known && right) {
            return refused(WRONG);
        }
        match token::issue(&secrets.server_key, "admin", SESSION_SECONDS, crate::unix_now()) {
            Some(token) => SessionCreated { ok: true, token: Some(token), message: String::new() },
            None => refused("no token could be made; see the log of tako"),
        }
    }

    fn verify(&self, ask: &SessionVerify) -> SessionVerified {
        let secrets = self.secrets.current();
        match token::verify(&secrets.server_key, &ask.token, crate::unix_now()) {
            // A password change ends the sessions begun before it (Argo CD).
            Ok(claims) if claims.iat >= secrets.admin_password_mtime => {
                SessionVerified { ok: true, username: claims.account().to_owned(), expires_at: claims.exp }
            }
            _ => SessionVerified { ok: false, username: String::new(), expires_at: 0 },
        }
    }

    fn webhook(&self, ask: &WebhookVerify) -> WebhookVerified {
        let refused = |message: &str| WebhookVerified { ok: false, message: message.to_owned() };
        if ask.kind != "github" {
            return refused("only GitHub webhooks are understood");
        }
        let secrets = self.secrets.current();
        let Some(key) = &secrets.github_webhook else { return WebhookVerified { ok: true, message: String::new() } };
        let Some(signature) = ask.signature.as_deref().and_then(|header| header.strip_prefix("sha256=")) else {
            return refused(
                "X-Hub-Signature-256 is missing; set the webhook's secret at GitHub to webhook.github.secret of argocd-secret",
            );
        };
        let Ok(given) = hex::decode(signature) else { return refused("X-Hub-Signature-256 is not hexadecimal") };
        let wanted = token::hmac_sha256(key.as_bytes(), &ask.body);
        if bool::from(wanted.as_slice().ct_eq(&given)) {
            WebhookVerified { ok: true, message: String::new() }
        } else {
            refused("HMAC verification failed")
        }
    }
}

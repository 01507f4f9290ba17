//! Sign-in of local accounts, session tokens and webhook signatures: the one place that holds `argocd-secret`.
//! The web asks by message and never sees a key. Knows nothing of HTTP.
mod secret;
mod token;
mod webhook;

use std::sync::Arc;

use kube::Client;
use tako_bus::Bus;
use tako_bus::rpc::{SessionCreate, SessionCreated, SessionVerified, SessionVerify, WebhookPiece, WebhookVerify};

use self::secret::Secrets;
use self::webhook::Bodies;

/// Lifetime of a session in seconds (`users.session.duration`, Argo CD's default 24h).
const SESSION_SECONDS: i64 = 24 * 60 * 60;
/// bcrypt reads 72 bytes; Go refuses longer ones, and so do we.
const PASSWORD_BYTES_MAX: usize = 72;
const WRONG: &str = "Invalid username or password";

/// The actor.
pub(crate) struct Authz {
    secrets: Secrets,
    bodies: Bodies,
}

impl Authz {
    /// Makes sure that `argocd-secret` holds what sign-in needs, and serves.
    pub(crate) async fn start(bus: &Bus, client: Client, namespace: String) -> Result<Arc<Self>, crate::StartError> {
        let secrets = Secrets::start(client, namespace).await?;
        let authz = Arc::new(Self { secrets, bodies: Bodies::default() });
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
            async move { authz.bodies.verify(&authz.secrets.current().webhooks, &ask) }
        })
        .await?;
        let piece = authz.clone();
        bus.serve(authz.bodies.tail(), "authz", move |ask: WebhookPiece| {
            let authz = piece.clone();
            async move { authz.bodies.go_on(&ask) }
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
}

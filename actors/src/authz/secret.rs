//! `argocd-secret`: read, completed at the first start, and followed. Names and formats are Argo CD's.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::StartError;
use crate::adapters::cluster::FIELD_MANAGER;

const NAME: &str = "argocd-secret";
const INITIAL: &str = "argocd-initial-admin-secret";
/// bcrypt's cost, as Argo CD's.
const COST: u32 = 10;

/// What the Secret says. Never printed.
#[derive(Clone, Default)]
pub(super) struct Held {
    pub(super) admin_password: String,
    /// Unix seconds; sessions begun before are over.
    pub(super) admin_password_mtime: i64,
    pub(super) server_key: Vec<u8>,
    /// What is shared with git servers and registries, by the key of the Secret; empty values are left out.
    pub(super) webhooks: BTreeMap<String, String>,
}

/// A live view of the Secret.
pub(super) struct Secrets {
    held: Arc<RwLock<Held>>,
}

impl Secrets {
    /// Reads and completes the Secret, then follows it.
    pub(super) async fn start(client: Client, namespace: String) -> Result<Self, StartError> {
        let api: Api<Secret> = Api::namespaced(client, &namespace);
        let secret = complete(&api).await?;
        let held = Arc::new(RwLock::new(read(&secret)));
        let followed = held.clone();
        tokio::spawn(async move {
            let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
            let mut events = watcher(api, only).default_backoff().applied_objects().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(secret) => *followed.write().unwrap_or_else(PoisonError::into_inner) = read(&secret),
                    Err(error) => tracing::warn!(%error, "argocd-secret cannot be watched; trying again"),
                }
            }
        });
        Ok(Self { held })
    }

    /// What it says now.
    pub(super) fn current(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(secret: &Secret) -> Held {
    let text = |key: &str| {
        secret.data.as_ref().and_then(|data| data.get(key)).map(|value| String::from_utf8_lossy(&value.0).into_owned())
    };
    let mtime = text("admin.passwordMtime")
        .and_then(|time| time.parse::<jiff::Timestamp>().ok())
        .map_or(0, jiff::Timestamp::as_second);
    Held {
        admin_password: text("admin.password").unwrap_or_default(),
        admin_password_mtime: mtime,
        server_key: secret
            .data
            .as_ref()
            .and_then(|data| data.get("server.secretkey"))
            .map(|key| key.0.clone())
            .unwrap_or_default(),
        webhooks: webhooks(secret),
    }
}

fn webhooks(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    let ours = data.filter(|(key, value)| key.starts_with("webhook.") && !value.0.is_empty());
    ours.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect()
}

fn random(bytes: usize) -> Result<Vec<u8>, StartError> {
    let mut key = vec![0; bytes];
    SystemRandom::new().fill(&mut key).map_err(|_| StartError::Random)?;
    Ok(key)
}

/// Fills in what is missing, and only that: an existing installation keeps its password and key.
async fn complete(api: &Api<Secret>) -> Result<Secret, StartError> {
    let existing = match api.get_opt(NAME).await? {
        Some(secret) => secret,
        None => {
            let labels = BTreeMap::from([
                ("app.kubernetes.io/name".to_owned(), NAME.to_owned()),
                ("app.kubernetes.io/part-of".to_owned(), "argocd".to_owned()),
            ]);
            let empty = Secret {
                metadata: ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
                ..Secret::default()
            };
            match api.create(&PostParams::default(), &empty).await {
                Err(kube::Error::Api(status)) if status.code == 409 => api.get(NAME).await?,
                other => other?,
            }
        }
    };
    let has =
        |key: &str| existing.data.as_ref().is_some_and(|data| data.get(key).is_some_and(|value| !value.0.is_empty()));
    let mut data: BTreeMap<String, ByteString> = BTreeMap::new();
    if !has("server.secretkey") {
        data.insert("server.secretkey".to_owned(), ByteString(random(32)?));
    }
    if !has("admin.password") {
        let password: String = random(16)?
            .iter()
            .map(|byte| {
                char::from(b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-"[usize::from(*byte) % 58])
            })
            .collect();
        let hash = bcrypt::hash(&password, COST).map_err(|_| StartError::Random)?;
        publish_initial(api, &password).await?;
        data.insert("admin.password".to_owned(), ByteString(hash.into_bytes()));
        data.insert("admin.passwordMtime".to_owned(), ByteString(crate::now().into_bytes()));
    }
    if data.is_empty() {
        return Ok(existing);
    }
    let patch = serde_json::json!({"metadata": {"resourceVersion": existing.metadata.resource_version}, "data": data});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(NAME, &params, &Patch::Merge(&patch)).await {
        // Another process completed it in this very moment: its word counts.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(api.get(NAME).await?),
        other => Ok(other?),
    }
}

async fn publish_initial(api: &Api<Secret>, password: &str) -> Result<(), StartError> {
    let secret = Secret {
        metadata: ObjectMeta { name: Some(INITIAL.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("password".to_owned(), ByteString(password.as_bytes().to_vec()))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch(INITIAL, &params, &Patch::Merge(serde_json::json!({"data": secret.data}))).await?;
            Ok(())
        }
        other => other.map(|_| ()).map_err(StartError::from),
    }
}

//! Repositories and their credentials, kept fresh from the Secrets of the control namespace. They are read here and
//! never put on the bus. Knows nothing of what is fetched with them.
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tako_engine::repository::{self, Repositories, Repository};
use tokio::sync::watch;

/// A live view; cheap to clone.
#[derive(Clone)]
pub(crate) struct RepositorySecrets {
    current: Arc<RwLock<Repositories>>,
    changes: watch::Sender<u64>,
}

impl RepositorySecrets {
    /// Follows the Secrets from now on.
    pub(crate) fn start(client: Client, namespace: &str) -> Self {
        let view = Self { current: Arc::default(), changes: watch::Sender::default() };
        tokio::spawn(view.clone().follow(Api::namespaced(client, namespace)));
        view
    }

    /// All of them. Waits for the first list: without it a private repository would be asked for anonymously.
    pub(crate) async fn current(&self) -> Repositories {
        let _ = self.changes.subscribe().wait_for(|changes| *changes > 0).await;
        self.now()
    }

    /// As far as they are known.
    pub(crate) fn now(&self) -> Repositories {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells when one is another.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn follow(self, api: Api<Secret>) {
        let labelled = format!("{} in (repository, repo-creds)", repository::SECRET_TYPE);
        let mut events = watcher(api, watcher::Config::default().labels(&labelled)).default_backoff().boxed();
        let mut known: BTreeMap<String, (bool, Repository)> = BTreeMap::new();
        let mut listing = true;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    known.clear();
                    listing = true;
                }
                Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => {
                    let name = secret.name_any();
                    match read(&secret) {
                        Ok(found) => {
                            known.insert(name, found);
                        }
                        Err(problem) => {
                            tracing::warn!(
                                secret = name,
                                problem,
                                "a repository Secret that cannot be read is left out"
                            );
                            known.remove(&name);
                        }
                    }
                }
                Ok(watcher::Event::Delete(secret)) => {
                    known.remove(&secret.name_any());
                }
                Ok(watcher::Event::InitDone) => listing = false,
                Err(error) => {
                    tracing::warn!(%error, "repository Secrets cannot be watched; trying again");
                    continue;
                }
            }
            if !listing {
                self.publish(&known);
            }
        }
    }

    fn publish(&self, known: &BTreeMap<String, (bool, Repository)>) {
        let of = |template: bool| -> Vec<Repository> {
            known.values().filter(|(is, _)| *is == template).map(|(_, repository)| repository.clone()).collect()
        };
        let next = Repositories::new(of(false), of(true));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if *current != next || *self.changes.borrow() == 0 {
            *current = next;
            drop(current);
            self.changes.send_modify(|changes| *changes += 1);
        }
    }
}

/// A Secret as a repository, or (true) as a template.
fn read(secret: &Secret) -> Result<(bool, Repository), String> {
    let data = secret.data.iter().flatten();
    let text: BTreeMap<String, String> =
        data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect();
    let repository = Repository::from_data(&text)?;
    if repository.url.is_empty() {
        return Err("url: missing".to_owned());
    }
    Ok((secret.labels().get(repository::SECRET_TYPE).is_some_and(|kind| kind == "repo-creds"), repository))
}

//! Repositories and their credentials, and the keys of encrypted files, kept fresh from the Secrets of the control
//! namespace. They are read here and never put on the bus. Knows nothing of what is fetched or opened with them.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tako_engine::app::Application;
use tako_engine::repository::{self, Repositories, Repository};
use tako_sources::sops::Keys;
use tokio::sync::watch;

/// Names the Secret with the keys for the encrypted files of an Application (ADR 0010).
pub(crate) const SOPS_KEYS: &str = "takobune.io/sops-keys";
/// The kind of such a Secret.
const KEYS_TYPE: &str = "sops-keys";

/// The keys of one Secret, and the project that alone may use them (empty: all); or why they cannot be read.
type NamedKeys = HashMap<String, (String, Result<Arc<Keys>, String>)>;

/// What one Secret is.
enum Read {
    Repository(Repository),
    Template(Repository),
    Keys(String, Result<Arc<Keys>, String>),
}

/// A live view; cheap to clone.
#[derive(Clone)]
pub(crate) struct RepositorySecrets {
    current: Arc<RwLock<Repositories>>,
    keys: Arc<RwLock<NamedKeys>>,
    changes: watch::Sender<u64>,
}

impl RepositorySecrets {
    /// Follows the Secrets from now on.
    pub(crate) fn start(client: Client, namespace: &str) -> Self {
        let view = Self { current: Arc::default(), keys: Arc::default(), changes: watch::Sender::default() };
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

    /// The keys that an Application names by annotation; `None` when it names none. An error says why it gets none.
    pub(crate) fn keys_of(&self, app: &Application) -> Result<Option<Arc<Keys>>, String> {
        let Some(name) = app.metadata.annotations.get(SOPS_KEYS).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        // A Secret of another project is as one that is not there: nobody learns of it.
        match known.get(name).filter(|(project, _)| project.is_empty() || *project == app.spec.project) {
            Some((_, keys)) => keys.clone().map(Some),
            None => Err(format!(
                "annotation {SOPS_KEYS}: there is no Secret {name} with the label {}: {KEYS_TYPE} for this project",
                repository::SECRET_TYPE
            )),
        }
    }

    /// Tells when one is another.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn follow(self, api: Api<Secret>) {
        let labelled = format!("{} in (repository, repo-creds, {KEYS_TYPE})", repository::SECRET_TYPE);
        let mut events = watcher(api, watcher::Config::default().labels(&labelled)).default_backoff().boxed();
        let mut known: BTreeMap<String, Read> = BTreeMap::new();
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

    fn publish(&self, known: &BTreeMap<String, Read>) {
        let (mut repositories, mut templates, mut keys) = (Vec::new(), Vec::new(), NamedKeys::new());
        for (name, read) in known {
            match read {
                Read::Repository(repository) => repositories.push(repository.clone()),
                Read::Template(template) => templates.push(template.clone()),
                Read::Keys(project, read) => {
                    keys.insert(name.clone(), (project.clone(), read.clone()));
                }
            }
        }
        let next = Repositories::new(repositories, templates);
        let recipients = |keys: &NamedKeys| -> BTreeMap<String, String> {
            keys.iter().map(|(name, (project, keys))| (name.clone(), format!("{project} {keys:?}"))).collect()
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut known_keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let same = *current == next && recipients(&known_keys) == recipients(&keys);
        (*current, *known_keys) = (next, keys);
        drop((current, known_keys));
        if !same || *self.changes.borrow() == 0 {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }
}

fn read(secret: &Secret) -> Result<Read, String> {
    let data = || secret.data.iter().flatten();
    let text: BTreeMap<String, String> =
        data().map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect();
    let kind = secret.labels().get(repository::SECRET_TYPE).map(String::as_str).unwrap_or_default();
    if kind == KEYS_TYPE {
        let bytes = data().map(|(key, value)| (key.clone(), value.0.clone())).collect();
        let keys = Keys::from_secret(&secret.name_any(), &bytes).map(Arc::new).map_err(|error| error.to_string());
        return Ok(Read::Keys(text.get("project").cloned().unwrap_or_default(), keys));
    }
    let repository = Repository::from_data(&text)?;
    if repository.url.is_empty() {
        return Err("url: missing".to_owned());
    }
    Ok(if kind == "repo-creds" { Read::Template(repository) } else { Read::Repository(repository) })
}

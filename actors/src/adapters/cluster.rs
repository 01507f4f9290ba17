//! One destination cluster: discovery, reads, server-side apply, deletes.
//! Objects go in and out as JSON; knows nothing of Applications or of the bus.
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
    ValidationDirective,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tako_engine::apply::PatchKind;
use tako_engine::options::Propagation;
use tako_engine::resource::{Manifest, ResourceKey};
use tako_sources::request::ClusterInfo;

use super::discreet;

/// The field manager of every write, as Argo CD's: a cluster can be handed over with no field changing owner.
pub(crate) const FIELD_MANAGER: &str = "argocd-controller";

/// The cluster that tako runs for (Argo CD, operator manual, "Declarative Setup").
pub(crate) const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// What can go wrong at the API server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// The kind is not served; its CRD may still be missing.
    #[error(
        "the cluster serves no {kind} in {api_version}; install its CustomResourceDefinition or correct apiVersion and kind"
    )]
    UnknownKind {
        /// `group/version` as written in the manifest.
        api_version: String,
        /// The kind as written.
        kind: String,
    },
    /// The API server answered with a refusal or could not be reached.
    #[error("{}", words(.0))]
    Api(#[from] kube::Error),
    /// The object cannot be written in the way that is asked for.
    #[error("{0}")]
    Unwritable(String),
    /// An answer that is no Kubernetes object.
    #[error("the API server's answer is no object: {0}")]
    Json(#[from] serde_json::Error),
}

/// An unknown kind has the catalogue read anew at most this often.
const LEARN_AGAIN: Duration = Duration::from_secs(5);
/// What server-side apply says of an object that does not fit the schema.
const UNTYPED: &str = "failed to create typed patch object";
/// Longest message of the API server that is passed on; it may quote whole objects.
const WORDS_MAX: usize = 2_000;

/// What the API server said, without the machinery around it.
fn words(error: &kube::Error) -> String {
    let mut words = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    if words.len() > WORDS_MAX {
        // The middle is the quoted object; the cause stands at the end.
        let keep = |mut at: usize| {
            while !words.is_char_boundary(at) {
                at += 1;
            }
            at
        };
        let (head, tail) = (keep(WORDS_MAX / 2), keep(words.len() - WORDS_MAX / 2));
        words = format!("{} … {}", &words[..head], &words[tail..]);
    }
    words
}

/// What went wrong with an object. What is said of a Secret is freed of its values here, before anybody can pass it on.
fn about(kind: (&str, &str)) -> impl Fn(kube::Error) -> ClusterError + use<> {
    let secret = kind == ("", "Secret");
    move |error| match error {
        kube::Error::Api(mut status) if secret => {
            (status.message, status.details) = (discreet::of_secret(&status), None);
            ClusterError::Api(kube::Error::Api(status))
        }
        kube::Error::SerdeError(_) if secret => {
            ClusterError::Unwritable("the API server's answer about the Secret cannot be read".to_owned())
        }
        error => ClusterError::Api(error),
    }
}

/// As [`about`], of a manifest.
fn about_manifest(manifest: &Manifest) -> impl Fn(kube::Error) -> ClusterError + use<> {
    about((manifest.group(), manifest.kind()))
}

impl ClusterError {
    /// The object changed since it was read (HTTP 409).
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 409)
    }

    /// There is no such object or subresource (HTTP 404).
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 404)
    }

    /// The object cannot be changed into what is wanted (HTTP 422: a field that may not change).
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 422)
    }

    /// The API server answered, whatever it said.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(_)))
    }

    /// The API server refused the object itself: asking again with the same object is no use.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::UnknownKind { .. } | Self::Unwritable(_) | Self::Json(_) => true,
            Self::Api(kube::Error::Api(status)) => {
                // Server-side apply answers an unknown field, or a value of another type, with 500.
                let unfit = status.code == 500 && status.message.contains(UNTYPED);
                unfit || ((400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429))
            }
            Self::Api(_) => false,
        }
    }
}

/// One served kind.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// How to address it.
    pub(crate) resource: ApiResource,
    /// Objects of it live in namespaces.
    pub(crate) namespaced: bool,
    /// It can be listed and watched.
    pub(crate) watchable: bool,
    /// Its group's preferred version.
    pub(crate) preferred: bool,
}

/// `v1`, `v1/ConfigMap`, `apps/v1`, … as `helm template --api-versions` takes them.
fn api_versions(catalogue: &Catalogue) -> Arc<[String]> {
    let of_kind = |served: &Served| {
        let version = if served.resource.group.is_empty() {
            served.resource.version.clone()
        } else {
            format!("{}/{}", served.resource.group, served.resource.version)
        };
        [format!("{version}/{}", served.resource.kind), version]
    };
    let all: BTreeSet<String> = catalogue.values().flatten().flat_map(of_kind).collect();
    all.into_iter().collect()
}

type Catalogue = HashMap<(String, String), Vec<Served>>;

/// A handle on one cluster; cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    config: kube::Config,
    served: Arc<RwLock<Arc<Catalogue>>>,
    /// When the catalogue was read because of an unknown kind.
    learned: Arc<Mutex<Option<Instant>>>,
    /// The version of its API server and what it serves, as tools are told; read with the catalogue.
    versions: Arc<RwLock<ClusterInfo>>,
}

impl Cluster {
    /// A handle whose catalogue of kinds is read at the first need.
    pub(crate) fn new(config: kube::Config) -> Result<Self, kube::Error> {
        let client = Client::try_from(config.clone())?;
        let (served, learned, versions) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { client, config, served, learned, versions })
    }

    /// The same cluster in the name of another user (Kubernetes, "User impersonation").
    pub(crate) fn acting_as(&self, user: &str) -> Result<Self, ClusterError> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(Self {
            client: Client::try_from(config.clone())?,
            config,
            served: self.served.clone(),
            learned: self.learned.clone(),
            versions: self.versions.clone(),
        })
    }

    /// The URL by which Applications and settings name it.
    pub(crate) fn url(&self) -> &'static str {
        IN_CLUSTER
    }

    /// The client, for watches.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        match self.served.read() {
            Ok(served) => served.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Reads which kinds the cluster serves, in two calls.
    pub(crate) async fn discover(&self) -> Result<Vec<Served>, ClusterError> {
        let discovery = Discovery::new(self.client.clone()).run_aggregated().await?;
        let mut catalogue = Catalogue::new();
        for group in discovery.groups() {
            let preferred = group.preferred_version_or_latest().to_owned();
            let versions: Vec<String> = group.versions().map(str::to_owned).collect();
            for version in versions {
                for (resource, capabilities) in group.versioned_resources(&version) {
                    let watchable =
                        capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::WATCH);
                    let served = Served {
                        namespaced: capabilities.scope == Scope::Namespaced,
                        watchable,
                        preferred: version == preferred,
                        resource,
                    };
                    let key = (served.resource.group.clone(), served.resource.kind.clone());
                    catalogue.entry(key).or_default().push(served);
                }
            }
        }
        let all = catalogue.values().flatten().cloned().collect();
        let kube_version = self.client.apiserver_version().await?.git_version.trim_start_matches('v').to_owned();
        let next = ClusterInfo { kube_version, api_versions: api_versions(&catalogue) };
        *self.versions.write().unwrap_or_else(PoisonError::into_inner) = next;
        let fresh = Arc::new(catalogue);
        match self.served.write() {
            Ok(mut served) => *served = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
        Ok(all)
    }

    /// What tools are told of the cluster; nothing while it cannot be reached.
    pub(crate) async fn versions(&self) -> ClusterInfo {
        if let Err(error) = self.ready().await {
            tracing::debug!(%error, "tools are not told of the cluster's version yet");
        }
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether we may list a kind in all namespaces.
    pub(crate) async fn may_list(&self, resource: &ApiResource) -> Result<bool, ClusterError> {
        let attributes = ResourceAttributes {
            group: Some(resource.group.clone()),
            resource: Some(resource.plural.clone()),
            verb: Some("list".to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Whether the group is served by an aggregated API server: then a kind that is not served may only be out of reach,
    /// and its objects are not gone.
    pub(crate) async fn aggregated(&self, group: &str) -> Result<bool, ClusterError> {
        let kind = GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService");
        let services: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, "apiservices"));
        let of_group = |service: &DynamicObject| {
            service.data["spec"]["group"] == group && !service.data["spec"]["service"].is_null()
        };
        Ok(services.list(&ListParams::default()).await?.items.iter().any(of_group))
    }

    /// Whether objects of the kind live in namespaces; `None` when the kind is not served.
    pub(crate) fn namespaced(&self, group: &str, kind: &str) -> Option<bool> {
        self.catalogue()
            .get(&(group.to_owned(), kind.to_owned()))
            .and_then(|all| all.first())
            .map(|served| served.namespaced)
    }

    /// Reads the catalogue anew when a kind of these manifests is not in it, but not all the time.
    pub(crate) async fn learn(&self, raw: &[Value]) -> Result<(), ClusterError> {
        let unknown = |value: &Value| {
            let (api_version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
            let group = api_version.unwrap_or_default().rsplit_once('/').map_or("", |(group, _)| group);
            self.namespaced(group, kind.unwrap_or_default()).is_none()
        };
        if !raw.iter().any(unknown) {
            return Ok(());
        }
        {
            let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            if learned.is_some_and(|at| at.elapsed() < LEARN_AGAIN) {
                return Ok(());
            }
            *learned = Some(Instant::now());
        }
        self.discover().await.map(drop)
    }

    /// Reads the catalogue if it was never read.
    pub(crate) async fn ready(&self) -> Result<(), ClusterError> {
        if self.catalogue().is_empty() {
            self.discover().await?;
        }
        Ok(())
    }

    /// The served kind of a manifest. An unknown kind is looked up once more in the cluster: its CRD may be new.
    async fn served(&self, group: &str, version: Option<&str>, kind: &str) -> Result<Served, ClusterError> {
        let find = |catalogue: &Catalogue| {
            let all = catalogue.get(&(group.to_owned(), kind.to_owned()))?;
            match version {
                Some(version) => all.iter().find(|served| served.resource.version == version).cloned(),
                None => all.iter().find(|served| served.preferred).or_else(|| all.first()).cloned(),
            }
        };
        if let Some(served) = find(&self.catalogue()) {
            return Ok(served);
        }
        self.discover().await?;
        find(&self.catalogue()).ok_or_else(|| {
            let version = version.unwrap_or("any version");
            let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            ClusterError::UnknownKind { api_version, kind: kind.to_owned() }
        })
    }

    fn api(&self, served: &Served, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) if served.namespaced && !namespace.is_empty() => {
                Api::namespaced_with(self.client.clone(), namespace, &served.resource)
            }
            _ => Api::all_with(self.client.clone(), &served.resource),
        }
    }

    /// The live object of a manifest (same group, version and kind), `None` when there is none.
    /// A manifest without a name has none either: each that is made of it is named anew.
    pub(crate) async fn get(&self, manifest: &Manifest) -> Result<Option<Value>, ClusterError> {
        if manifest.name().is_empty() {
            return Ok(None);
        }
        let served = self.served(manifest.group(), Some(manifest.version()), manifest.kind()).await?;
        self.read(&served, manifest.namespace().unwrap_or_default(), manifest.name()).await
    }

    /// An object of a namespaced kind has a namespace: one that is named without (by who did not know the kind yet) is
    /// not there. The API server has no such path, and its answer to it is not that of an object that is missing.
    async fn read(&self, served: &Served, namespace: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        if served.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        let found = self.api(served, Some(namespace)).get_opt(name).await?;
        found.map(serde_json::to_value).transpose().map_err(ClusterError::from)
    }

    /// The live object of a key in the group's preferred version.
    pub(crate) async fn get_key(&self, key: &ResourceKey) -> Result<Option<Value>, ClusterError> {
        let served = self.served(&key.group, None, &key.kind).await?;
        self.read(&served, &key.namespace, &key.name).await
    }

    /// Server-side apply with force; `dry_run` answers what would be, and changes nothing.
    pub(crate) async fn apply(&self, manifest: &Manifest, dry_run: bool) -> Result<Value, ClusterError> {
        self.apply_with(manifest, None, dry_run).await
    }

    /// As [`Cluster::apply`], but unknown fields are refused unless `lenient`.
    pub(crate) async fn apply_strictly(
        &self,
        manifest: &Manifest,
        lenient: bool,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        self.apply_with(manifest, Some(validation(lenient)), dry_run).await
    }

    async fn apply_with(
        &self,
        manifest: &Manifest,
        field_validation: Option<ValidationDirective>,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        let served = self.served(manifest.group(), Some(manifest.version()), manifest.kind()).await?;
        let params =
            PatchParams { dry_run, force: true, field_manager: Some(FIELD_MANAGER.to_owned()), field_validation };
        let api = self.api(&served, manifest.namespace());
        let answer = api.patch(manifest.name(), &params, &Patch::Apply(&manifest.0)).await;
        Ok(serde_json::to_value(answer.map_err(about_manifest(manifest))?)?)
    }

    /// Puts the object as a whole, whether it is there or not.
    pub(crate) async fn replace(&self, manifest: &Manifest, dry_run: bool) -> Result<Value, ClusterError> {
        let served = self.served(manifest.group(), Some(manifest.version()), manifest.kind()).await?;
        let api = self.api(&served, manifest.namespace());
        let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let mut object: DynamicObject = serde_json::from_value(manifest.0.clone())?;
        let live = if manifest.name().is_empty() { None } else { api.get_opt(manifest.name()).await? };
        let answer = match live {
            Some(live) => {
                object.metadata.resource_version = live.metadata.resource_version;
                api.replace(manifest.name(), &params, &object).await
            }
            None => api.create(&params, &object).await,
        };
        Ok(serde_json::to_value(answer.map_err(about_manifest(manifest))?)?)
    }

    /// Makes an object that must not be there yet. It is sent as it is written, and unknown fields are refused unless
    /// `lenient`.
    pub(crate) async fn create(
        &self,
        manifest: &Manifest,
        lenient: bool,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        let served = self.served(manifest.group(), Some(manifest.version()), manifest.kind()).await?;
        let api = self.api(&served, manifest.namespace());
        let check = if lenient { "Ignore" } else { "Strict" };
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let url = format!("{}?fieldManager={FIELD_MANAGER}&fieldValidation={check}{dry_run}", api.resource_url());
        let request = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&manifest.0)?)
            .map_err(|error| kube::Error::Service(Box::new(error)))?;
        self.client.request(request).await.map_err(about_manifest(manifest))
    }

    /// Patches the live object of a manifest, as an apply from the client does.
    pub(crate) async fn patch(
        &self,
        manifest: &Manifest,
        kind: PatchKind,
        body: &Value,
        lenient: bool,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        let served = self.served(manifest.group(), Some(manifest.version()), manifest.kind()).await?;
        let params = PatchParams {
            dry_run,
            force: false,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(validation(lenient)),
        };
        let api = self.api(&served, manifest.namespace());
        let answer = match kind {
            PatchKind::Strategic => api.patch(manifest.name(), &params, &Patch::Strategic(body)).await,
            PatchKind::Merge => api.patch(manifest.name(), &params, &Patch::Merge(body)).await,
        };
        Ok(serde_json::to_value(answer.map_err(about_manifest(manifest))?)?)
    }

    /// Merge-patches exactly the object that was looked at: its resourceVersion and uid are preconditions.
    pub(crate) async fn merge(
        &self,
        live: &Manifest,
        mut patch: Value,
        subresource: Option<&str>,
    ) -> Result<Value, ClusterError> {
        let served = self.served(live.group(), Some(live.version()), live.kind()).await?;
        for field in ["uid", "resourceVersion"] {
            patch["metadata"][field] = live.0["metadata"][field].clone();
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(&served, live.namespace());
        let patch = Patch::Merge(&patch);
        let answer = match subresource {
            None => api.patch(live.name(), &params, &patch).await,
            Some(subresource) => api.patch_subresource(subresource, live.name(), &params, &patch).await,
        };
        Ok(serde_json::to_value(answer.map_err(about_manifest(live))?)?)
    }

    /// Deletes exactly the object that was looked at: uid is a precondition. Gone already counts as done.
    pub(crate) async fn delete(&self, key: &ResourceKey, uid: &str, how: Propagation) -> Result<(), ClusterError> {
        let served = self.served(&key.group, None, &key.kind).await?;
        let policy = match how {
            Propagation::Foreground => PropagationPolicy::Foreground,
            Propagation::Background => PropagationPolicy::Background,
            Propagation::Orphan => PropagationPolicy::Orphan,
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api(&served, Some(&key.namespace)).delete(&key.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(about((&key.group, &key.kind))(error)),
        }
    }

    /// Takes a finalizer off exactly the object that was looked at. Gone already, or free of it, counts as done.
    pub(crate) async fn release(&self, key: &ResourceKey, finalizer: &str, uid: &str) -> Result<(), ClusterError> {
        let served = self.served(&key.group, None, &key.kind).await?;
        let api = self.api(&served, Some(&key.namespace));
        loop {
            let Some(live) = api.get_opt(&key.name).await? else { return Ok(()) };
            if live.uid().as_deref() != Some(uid) || !live.finalizers().iter().any(|one| one == finalizer) {
                return Ok(());
            }
            let kept: Vec<&String> = live.finalizers().iter().filter(|one| *one != finalizer).collect();
            let patch = serde_json::json!({"metadata": {"uid": uid, "resourceVersion": live.resource_version(), "finalizers": kept}});
            match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                // Somebody wrote in between: look again.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(about((&key.group, &key.kind))(error)),
            }
        }
    }
}

fn validation(lenient: bool) -> ValidationDirective {
    if lenient { ValidationDirective::Ignore } else { ValidationDirective::Strict }
}

/// The Applications of the control plane, as JSON objects.
#[derive(Clone)]
pub(crate) struct Applications {
    client: Client,
}

impl Applications {
    /// A handle on the control cluster.
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The kind as the API server knows it.
    pub(crate) fn resource() -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"),
            "applications",
        )
    }

    /// The API of one namespace.
    pub(crate) fn api(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &Self::resource())
    }

    /// Reads one Application from the API server, the truth; `None` when it is gone.
    pub(crate) async fn get(
        &self,
        key: &tako_engine::app::AppKey,
    ) -> Result<Option<tako_engine::app::Application>, ClusterError> {
        let found = self.api(&key.namespace).get_opt(&key.name).await?;
        found.map(application).transpose()
    }

    /// Merge-patches one Application. With `resourceVersion` in the patch it is a compare-and-swap.
    pub(crate) async fn patch(
        &self,
        key: &tako_engine::app::AppKey,
        patch: &Value,
    ) -> Result<tako_engine::app::Application, ClusterError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        application(self.api(&key.namespace).patch(&key.name, &params, &Patch::Merge(patch)).await?)
    }
}

/// The typed view of a watched or fetched Application.
pub(crate) fn application(mut object: DynamicObject) -> Result<tako_engine::app::Application, ClusterError> {
    object.managed_fields_mut().clear();
    Ok(serde_json::from_value(serde_json::to_value(object)?)?)
}

//! The socket and what answers on it: the plugin, health, reflection and version services.
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use super::authority::Localhost;
use super::config::Config;
use super::service::{Service, Version};
use super::unpack::remove;
use crate::plugin::proto::plugin::config_management_plugin_service_server::ConfigManagementPluginServiceServer;
use crate::plugin::proto::version::version_service_server::VersionServiceServer;
use crate::plugin::proto::{DESCRIPTORS, message_bytes_max};

/// Our own directory below that of the settings, as Argo CD calls it.
const WORK: &str = "_cmp_server";

/// Where the sidecar keeps what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the sockets are (`ARGOCD_PLUGINSOCKFILEPATH`).
    pub sockets: PathBuf,
    /// Where the files of the calls are (`ARGOCD_CMP_WORKDIR`).
    pub work: PathBuf,
}

/// Why the sidecar cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket or a directory.
    #[error("{path}: {source}; {advice}")]
    Disk {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The server.
    #[error("the server on the plugin's socket stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// Our own build.
    #[error("the reflection service cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves one plugin until `stop` is done. The socket is there when this has begun, and gone when it ends.
pub async fn serve(config: Config, settings: Settings, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let work = settings.work.join(WORK);
    let socket = settings.sockets.join(format!("{}.sock", config.name));
    let disk = |path: &PathBuf, advice: &'static str| {
        let path = path.display().to_string();
        move |source| ServeError::Disk { path, source, advice }
    };
    const ADVICE: &str = "set ARGOCD_CMP_WORKDIR to a directory that may be written";
    // What an earlier run left is of no use.
    remove(&work).map_err(disk(&work, ADVICE))?;
    private(&work).map_err(disk(&work, ADVICE))?;
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)
        .map_err(disk(&socket, "mount the volume of the plugins' sockets there, or set ARGOCD_PLUGINSOCKFILEPATH"))?;
    tracing::info!(plugin = config.name, socket = %socket.display(), "serving");
    let router = router(Service { config: Arc::new(config), work: work.clone() }).await?;
    let incoming = UnixListenerStream::new(listener).map(|stream| stream.map(Localhost::new));
    let served = Server::builder().serve_with_incoming_shutdown(router, incoming, stop).await;
    let _ = std::fs::remove_file(&socket);
    let _ = remove(&work);
    Ok(served?)
}

fn private(path: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

async fn router(service: Service) -> Result<Router, ServeError> {
    let most = message_bytes_max();
    let mut router = Router::default();
    let plugin = ConfigManagementPluginServiceServer::new(service);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ConfigManagementPluginServiceServer<Service>>().await;
    router.add(plugin.max_decoding_message_size(most).max_encoding_message_size(most));
    router.add(VersionServiceServer::new(Version));
    router.add(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    router.add(reflection().build_v1()?);
    router.add(reflection().build_v1alpha()?);
    Ok(router)
}

type Answer = http::Response<Body>;
type Boxed = BoxCloneService<http::Request<Body>, Answer, Infallible>;

/// Services by their name, the first part of the path. (tonic's own router brings a web framework with it.)
#[derive(Clone, Default)]
struct Router(HashMap<&'static str, Boxed>);

impl Router {
    fn add<S>(&mut self, service: S)
    where
        S: tower::Service<http::Request<Body>, Response = Answer, Error = Infallible> + NamedService,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        self.0.insert(S::NAME, service.boxed_clone());
    }
}

impl tower::Service<http::Request<Body>> for Router {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.get(name) {
            // tonic's services are always ready.
            Some(service) => Box::pin(service.clone().call(request)),
            None => {
                let status = tonic::Status::unimplemented(format!("unknown service {name}"));
                Box::pin(std::future::ready(Ok(status.into_http())))
            }
        }
    }
}

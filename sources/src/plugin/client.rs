//! Calls to one sidecar over its socket, with a runtime of their own: the callers block. Knows nothing of how archives are made.
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::archive::{Archive, pieces};
use super::proto::message_bytes_max;
use super::proto::plugin::app_stream_request::Request as Part;
use super::proto::plugin::config_management_plugin_service_client::ConfigManagementPluginServiceClient;
use super::proto::plugin::{AppStreamRequest, EnvEntry, File, ManifestRequestMetadata};
use super::proto::repository::ParameterAnnouncement;
use super::{Announcement, TOOL};
use crate::request::RenderError;

/// Bytes of a piece (`ARGOCD_CMP_CHUNK_SIZE`).
const CHUNK_BYTES: usize = 1024;

type Client = ConfigManagementPluginServiceClient<Channel>;

/// Why a sidecar gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is not there, or went away: it may come back.
    Unreachable {
        /// What was said.
        reason: String,
    },
    /// It took too long.
    Late(String),
    /// It said no.
    Answered(String),
}

impl Failure {
    pub(super) fn into_error(self, plugin: &str) -> RenderError {
        match self {
            Self::Unreachable { reason } => {
                RenderError::Unreachable { what: format!("the answer of the plugin {plugin}"), reason }
            }
            Self::Answered(message) | Self::Late(message) => {
                RenderError::Failed { tool: TOOL, message: format!("{plugin}: {message}") }
            }
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // With a cause it comes from our end: the connection broke in the middle of the call.
        let broken = std::error::Error::source(&status).is_some();
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Internal if broken => {
                Self::Unreachable { reason: format!("{} ({})", status.message(), roots(&status)) }
            }
            Code::Unavailable => Self::Unreachable { reason: status.message().to_owned() },
            Code::DeadlineExceeded | Code::Cancelled => {
                Self::Late(format!("no answer in time ({}); make its commands quicker", status.message()))
            }
            Code::Unimplemented => Self::Answered(format!("the sidecar does not know the call: {}", status.message())),
            _ => Self::Answered(status.message().to_owned()),
        }
    }
}

/// One plugin's sidecar.
pub(super) struct Sidecar {
    socket: PathBuf,
    name: String,
    time: Duration,
}

impl Sidecar {
    pub(super) fn new(socket: &Path, name: &str, time: Duration) -> Self {
        Self { socket: socket.to_owned(), name: name.to_owned(), time }
    }

    /// Whether it has rules by which it finds its sources.
    pub(super) fn discovers(&self) -> Result<bool, Failure> {
        self.call(async |mut client| {
            let answer = client.check_plugin_configuration(timed((), self.time)).await?.into_inner();
            if answer.provide_git_creds {
                tracing::debug!(plugin = self.name, "the plugin wants git credentials, which are not given");
            }
            Ok(answer.is_discovery_configured)
        })
    }

    /// Whether it takes the source, and whether it has rules to tell by.
    pub(super) fn matches(&self, archive: &Archive) -> Result<(bool, bool), Failure> {
        self.call(async |mut client| {
            let answer = client.match_repository(timed(self.stream(archive)?, self.time)).await?.into_inner();
            Ok((answer.is_supported, answer.is_discovery_enabled))
        })
    }

    /// The manifests, each as text.
    pub(super) fn generate(&self, archive: &Archive) -> Result<Vec<String>, Failure> {
        self.call(async |mut client| {
            Ok(client.generate_manifest(timed(self.stream(archive)?, self.time)).await?.into_inner().manifests)
        })
    }

    /// What it can be told.
    pub(super) fn parameters(&self, archive: &Archive) -> Result<Vec<Announcement>, Failure> {
        self.call(async |mut client| {
            let told = client.get_parameters_announcement(timed(self.stream(archive)?, self.time)).await?.into_inner();
            Ok(told.parameter_announcements.into_iter().map(Announcement::from).collect())
        })
    }

    /// The metadata, then the archive in pieces.
    fn stream(
        &self,
        archive: &Archive,
    ) -> Result<impl futures_util::Stream<Item = AppStreamRequest> + Send + 'static, Failure> {
        let file = archive
            .open()
            .map_err(|error| Failure::Answered(format!("our own archive cannot be read again: {error}")))?;
        let entry = |(name, value): &(String, String)| EnvEntry { name: name.clone(), value: value.clone() };
        let metadata = Part::Metadata(ManifestRequestMetadata {
            app_name: archive.name.clone(),
            app_rel_path: archive.path.clone(),
            checksum: archive.checksum.clone(),
            size: i64::try_from(archive.bytes).unwrap_or(i64::MAX),
            env: archive.variables.iter().map(entry).collect(),
        });
        let set = std::env::var("ARGOCD_CMP_CHUNK_SIZE").ok().and_then(|text| text.trim().parse().ok());
        let size = set.filter(|size| *size > 0).unwrap_or(CHUNK_BYTES);
        let files = pieces(file, size).map(|chunk| Part::File(File { chunk }));
        Ok(stream::iter(std::iter::once(metadata).chain(files)).map(|part| AppStreamRequest { request: Some(part) }))
    }

    fn call<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let unreachable = |reason: String| Failure::Unreachable { reason };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        runtime.block_on(async {
            let socket = self.socket.clone();
            let connector = tower::service_fn(move |_: http::Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            // The name is only for the header: the connector knows the socket.
            let channel = Endpoint::from_static("http://localhost")
                .connect_timeout(Duration::from_secs(5))
                .connect_with_connector(connector)
                .await
                .map_err(|error| unreachable(format!("{}: {}", self.socket.display(), roots(&error))))?;
            let most = message_bytes_max();
            let client = Client::new(channel).max_decoding_message_size(most).max_encoding_message_size(most);
            work(client).await
        })
    }
}

/// The last cause of an error: the others say only that there was one.
fn roots(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

fn timed<T>(message: T, time: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(time);
    request
}

impl From<ParameterAnnouncement> for Announcement {
    fn from(told: ParameterAnnouncement) -> Self {
        Self {
            name: told.name,
            title: told.title,
            tooltip: told.tooltip,
            required: told.required,
            item_type: told.item_type,
            collection_type: told.collection_type,
            string: told.string,
            array: told.array,
            map: told.map.into_iter().collect(),
        }
    }
}

impl From<Announcement> for ParameterAnnouncement {
    fn from(told: Announcement) -> Self {
        Self {
            name: told.name,
            title: told.title,
            tooltip: told.tooltip,
            required: told.required,
            item_type: told.item_type,
            collection_type: told.collection_type,
            string: told.string,
            array: told.array,
            map: told.map.into_iter().collect(),
        }
    }
}

//! The calls of the protocol: receive, run, answer. Knows nothing of sockets.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::command;
use super::config::{Config, Discover};
use super::receive::{Received, receive};
use crate::plugin::Announcement;
use crate::plugin::proto::plugin::config_management_plugin_service_server::ConfigManagementPluginService;
use crate::plugin::proto::plugin::{
    AppStreamRequest, CheckPluginConfigurationResponse, ManifestResponse, ParametersAnnouncementResponse,
    RepositoryResponse,
};
use crate::plugin::proto::version::VersionMessage;
use crate::plugin::proto::version::version_service_server::VersionService;
use crate::tree::{Kind, Tree, TreeError, join};

/// So much earlier than the caller's do our deadlines pass: the error still reaches it.
const BUFFER: Duration = Duration::from_millis(100);
/// For a caller that sets no deadline.
const LONGEST: Duration = Duration::from_secs(600);

/// One plugin.
pub(super) struct Service {
    pub(super) config: Arc<Config>,
    pub(super) work: PathBuf,
}

impl Service {
    async fn receive(&self, stream: Streaming<AppStreamRequest>) -> Result<Received, Status> {
        receive(stream, &self.work, self.config.preserve_file_mode).await
    }
}

/// When a call must be done: the header `grpc-timeout`, a number with a unit (gRPC over HTTP/2).
fn deadline<T>(request: &Request<T>) -> Instant {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    Instant::now() + header.and_then(time).map_or(LONGEST, |time| time.saturating_sub(BUFFER).min(LONGEST))
}

fn time(header: &str) -> Option<Duration> {
    let (number, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[tonic::async_trait]
impl ConfigManagementPluginService for Service {
    async fn generate_manifest(
        &self,
        request: Request<Streaming<AppStreamRequest>>,
    ) -> Result<Response<ManifestResponse>, Status> {
        let deadline = deadline(&request);
        let files = self.receive(request.into_inner()).await?;
        if let Some(init) = &self.config.init {
            command::run(init, &files.app, &files.variables, deadline).await?;
        }
        let printed = command::run(&self.config.generate, &files.app, &files.variables, deadline).await?;
        let text = String::from_utf8(printed)
            .map_err(|_| Status::invalid_argument("what spec.generate.command prints is not UTF-8 text"))?;
        let manifests = tokio::task::spawn_blocking(move || split(&text))
            .await
            .map_err(|_| Status::internal("splitting the manifests came to no end"))??;
        Ok(Response::new(ManifestResponse { manifests, source_type: String::new() }))
    }

    async fn check_plugin_configuration(
        &self,
        _: Request<()>,
    ) -> Result<Response<CheckPluginConfigurationResponse>, Status> {
        Ok(Response::new(CheckPluginConfigurationResponse {
            is_discovery_configured: self.config.discovers(),
            provide_git_creds: self.config.provide_git_creds,
        }))
    }

    async fn match_repository(
        &self,
        request: Request<Streaming<AppStreamRequest>>,
    ) -> Result<Response<RepositoryResponse>, Status> {
        let deadline = deadline(&request);
        let files = self.receive(request.into_inner()).await?;
        let unreadable = |error: TreeError| Status::invalid_argument(error.to_string());
        let is_supported = match &self.config.discover {
            None => return Ok(Response::new(RepositoryResponse { is_supported: false, is_discovery_enabled: false })),
            Some(Discover::FileName(glob, parts)) => {
                any(&files, *parts, &|path| path.matches('/').count() + 1 == *parts && glob.is_match(path))
                    .map_err(unreadable)?
            }
            Some(Discover::Glob(glob)) => any(&files, usize::MAX, &|path| glob.is_match(path)).map_err(unreadable)?,
            Some(Discover::Command(line)) => {
                !command::run(line, &files.app, &files.variables, deadline).await?.is_empty()
            }
        };
        Ok(Response::new(RepositoryResponse { is_supported, is_discovery_enabled: true }))
    }

    async fn get_parameters_announcement(
        &self,
        request: Request<Streaming<AppStreamRequest>>,
    ) -> Result<Response<ParametersAnnouncementResponse>, Status> {
        let deadline = deadline(&request);
        let files = self.receive(request.into_inner()).await?;
        // Static ones last: of two with a name the later one counts.
        let mut announced = match &self.config.announce {
            None => Vec::new(),
            Some(line) => {
                let printed = command::run(line, &files.app, &files.variables, deadline).await?;
                serde_json::from_slice::<Vec<Announcement>>(&printed).map_err(|error| {
                    Status::invalid_argument(format!(
                        "what spec.parameters.dynamic.command prints is no JSON list of parameters: {error}"
                    ))
                })?
            }
        };
        announced.extend(self.config.announced.iter().cloned());
        let parameter_announcements = announced.into_iter().map(Into::into).collect();
        Ok(Response::new(ParametersAnnouncementResponse { parameter_announcements }))
    }
}

/// What a command printed, as manifests in JSON.
fn split(text: &str) -> Result<Vec<String>, Status> {
    let objects =
        tako_engine::parse::parse_manifests("what spec.generate.command prints", text).map_err(|problem| {
            Status::invalid_argument(format!(
                "{}:{}:{}: {}",
                problem.file, problem.line, problem.column, problem.message
            ))
        })?;
    Ok(objects.iter().map(ToString::to_string).collect())
}

/// Whether any path below the source's directory is wanted; links are not followed to other directories.
fn any(files: &Received, depth: usize, wanted: &dyn Fn(&str) -> bool) -> Result<bool, TreeError> {
    below(&Tree::of_directory(&files.app), "", depth, wanted)
}

fn below(tree: &Tree, directory: &str, depth: usize, wanted: &dyn Fn(&str) -> bool) -> Result<bool, TreeError> {
    for entry in tree.list(directory)? {
        let path = join(directory, &entry.name);
        if wanted(&path) {
            return Ok(true);
        }
        if entry.kind == Kind::Directory && depth > 1 && below(tree, &path, depth - 1, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The version service of every Argo CD server.
pub(super) struct Version;

#[tonic::async_trait]
impl VersionService for Version {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionMessage>, Status> {
        let version = format!("v{}", env!("CARGO_PKG_VERSION"));
        Ok(Response::new(VersionMessage { version, ..VersionMessage::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_the_deadline_is_read() {
        for (header, want) in [
            ("10S", Some(Duration::from_secs(10))),
            ("59999m", Some(Duration::from_millis(59999))),
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("5x", None),
            ("5é", None),
        ] {
            assert_eq!(time(header), want, "{header}");
        }
    }
}

//! What a hostile or broken caller gets, over a real socket.
use std::path::Path;

use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Config, Settings, serve};
use crate::plugin::proto::plugin::app_stream_request::Request as Part;
use crate::plugin::proto::plugin::config_management_plugin_service_client::ConfigManagementPluginServiceClient as Client;
use crate::plugin::proto::plugin::{AppStreamRequest, File, ManifestRequestMetadata, ManifestResponse};
use crate::plugin::proto::version::version_service_client::VersionServiceClient;

async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    for _ in 0..2000 {
        if let Ok(channel) = Endpoint::from_static("http://x").connect_with_connector(connector.clone()).await {
            return channel;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the sidecar does not serve");
}

/// Runs a sidecar that prints one manifest, and something against it.
async fn with<F: AsyncFnOnce(Channel, &Path)>(work: F) {
    let root = tempfile::tempdir().unwrap();
    let text = "kind: ConfigManagementPlugin\nmetadata: {name: p}\nspec: {generate: {command: [echo, 'apiVersion: v1\nkind: X\nmetadata: {name: made}']}}";
    std::fs::write(root.path().join("plugin.yaml"), text.replace('\n', "\n\n")).unwrap();
    let config = Config::read(root.path()).unwrap();
    let settings = Settings { sockets: root.path().to_owned(), work: root.path().to_owned() };
    let (stop, stopped) = oneshot::channel::<()>();
    let socket = root.path().join("p.sock");
    // A socket that an earlier run left.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let served = tokio::spawn(serve(config, settings, async { drop(stopped.await) }));
    work(channel(&socket).await, &root.path().join("_cmp_server")).await;
    drop(stop);
    served.await.unwrap().unwrap();
    assert!(!socket.exists() && !root.path().join("_cmp_server").exists(), "nothing is left");
}

fn metadata(archive: &[u8], path: &str) -> Part {
    Part::Metadata(ManifestRequestMetadata {
        app_rel_path: path.to_owned(),
        checksum: hex::encode(Sha256::digest(archive)),
        ..ManifestRequestMetadata::default()
    })
}

fn chunk(bytes: &[u8]) -> Part {
    Part::File(File { chunk: bytes.to_vec() })
}

async fn generate(channel: &Channel, parts: Vec<Part>) -> Result<ManifestResponse, Status> {
    let stream = tokio_stream::iter(parts.into_iter().map(|part| AppStreamRequest { request: Some(part) }));
    Ok(Client::new(channel.clone()).generate_manifest(stream).await?.into_inner())
}

fn archive(path: &str) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    tar.append(&header, std::io::empty()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn a_stream_that_is_no_good_is_refused_and_nothing_stays() {
    with(async |channel, work| {
        let good = archive("app/x");
        let made =
            generate(&channel, vec![metadata(&good, "app"), chunk(&good[..9]), chunk(&good[9..])]).await.unwrap();
        assert_eq!(made.manifests, [r#"{"apiVersion":"v1","kind":"X","metadata":{"name":"made"}}"#]);
        let escape = archive("../x");
        for (parts, want) in [
            (vec![], "must begin with the metadata"),
            (vec![chunk(&good)], "must begin with the metadata"),
            (vec![metadata(&good, "app"), chunk(&good[..9])], "checksum"),
            (vec![metadata(&good, "app"), metadata(&good, "app")], "pieces of the archive only"),
            (vec![metadata(b"junk", "app"), chunk(b"junk")], "the archive cannot be read"),
            (vec![metadata(&good, "../.."), chunk(&good)], "appRelPath"),
            (vec![metadata(&good, "/etc"), chunk(&good)], "appRelPath"),
            (vec![metadata(&good, "app/x"), chunk(&good)], "no such directory"),
            (vec![metadata(&escape, "."), chunk(&escape)], "../x: the path leads out of the archive"),
        ] {
            let error = generate(&channel, parts).await.unwrap_err();
            assert!(error.message().contains(want), "{want}: {error}");
        }
        assert_eq!(std::fs::read_dir(work).unwrap().count(), 0, "S-13: the disk is as before");
    })
    .await;
}

#[tokio::test]
async fn health_version_and_reflection_answer() {
    with(async |channel, _| {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        for service in ["", "plugin.ConfigManagementPluginService"] {
            let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
            assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "SERVING {service}");
        }
        let version = VersionServiceClient::new(channel.clone()).version(()).await.unwrap().into_inner();
        assert_eq!(version.version, concat!("v", env!("CARGO_PKG_VERSION")));
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};
        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(tokio_stream::iter([ask]))
            .await
            .unwrap()
            .into_inner();
        let answer = format!("{:?}", answers.message().await.unwrap());
        for service in ["plugin.ConfigManagementPluginService", "version.VersionService", "grpc.health.v1.Health"] {
            assert!(answer.contains(service), "{service}: {answer}");
        }
        let mut other = tonic::client::Grpc::new(channel.clone());
        other.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/no.Such/Call");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let error = other.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
    })
    .await;
}

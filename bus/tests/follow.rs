//! Following buckets through kills, wipes and re-creation; the embedded server itself.
mod common;

use common::{Server, config, program, soon, until};
use tako_bus::{AuditRecord, Bucket, Cause, Change, EmbeddedNats, RefRecord};

fn record(repo: &str) -> RefRecord {
    RefRecord { repo: repo.into(), ..RefRecord::default() }
}

#[tokio::test]
async fn present_values_first_then_every_change() {
    let server = Server::start().await;
    let kv = server.bus().await.kv(Bucket::Refs);
    kv.put("a", &record("1")).await.unwrap();
    kv.put("a", &record("2")).await.unwrap();
    kv.put("gone", &record("x")).await.unwrap();
    kv.delete("gone").await.unwrap();
    assert_eq!(kv.get::<RefRecord>("a").await.unwrap(), Some(record("2")));
    assert_eq!(kv.get::<RefRecord>("gone").await.unwrap(), None);
    assert_eq!(kv.get::<RefRecord>("never").await.unwrap(), None);
    assert_eq!(kv.entries::<RefRecord>().await.unwrap(), [("a".to_owned(), record("2"))]);
    let mut follow = kv.follow::<RefRecord>().await.unwrap();
    assert!(
        matches!(soon("a", follow.next()).await, Some(Change::Put { key, value, .. }) if key == "a" && value == record("2"))
    );
    assert!(matches!(soon("gone", follow.next()).await, Some(Change::Delete { key, .. }) if key == "gone"));
    assert_eq!(soon("the snapshot", follow.next()).await, Some(Change::Snapshot));
    kv.put("b", &record("3")).await.unwrap();
    assert!(matches!(soon("b", follow.next()).await, Some(Change::Put { key, .. }) if key == "b"));
}

#[tokio::test]
async fn an_empty_bucket_is_a_snapshot_too() {
    let server = Server::start().await;
    let kv = server.bus().await.kv(Bucket::Targets);
    let mut follow = kv.follow::<RefRecord>().await.unwrap();
    assert_eq!(soon("the snapshot", follow.next()).await, Some(Change::Snapshot));
}

/// research/bus.md 2.3, trap 1: a follower that saw nothing since it began must not be told everything again,
/// unless the server lost something (buckets are written behind): then it is told so first.
#[tokio::test]
async fn a_kill_repeats_nothing_unsaid_and_loses_nothing_confirmed_after_it() {
    let server = Server::start().await;
    let kv = server.bus().await.kv(Bucket::Refs);
    for number in 0..20 {
        kv.put(&number.to_string(), &record("old")).await.unwrap();
    }
    let mut follow = kv.follow::<RefRecord>().await.unwrap();
    while soon("the snapshot", follow.next()).await != Some(Change::Snapshot) {}
    for round in 0..3 {
        server.kill().await;
        kv.put("new", &record(&round.to_string())).await.unwrap();
        let mut reset = false;
        loop {
            match soon("the new one", follow.next()).await.unwrap() {
                Change::Reset => reset = true,
                Change::Snapshot => {}
                Change::Put { key, value, .. } if key == "new" && value == record(&round.to_string()) => break,
                other => assert!(reset, "told again without a reset: {other:?}"),
            }
        }
    }
}

/// What is written behind may be lost with its server: the process is told, and says everything again.
#[tokio::test]
async fn a_restart_of_the_only_server_is_told() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let mut reconnects = bus.reconnects();
    assert!(!reconnects.has_changed().unwrap());
    server.kill().await;
    soon("the restart", reconnects.changed()).await.unwrap();
}

/// Trap 2: a stream made anew has small sequences; waiting for the old ones would be for ever.
#[tokio::test]
async fn a_bucket_made_anew_is_told_as_a_reset() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let kv = bus.kv(Bucket::Refs);
    for number in 0..5 {
        kv.put(&number.to_string(), &record("old")).await.unwrap();
    }
    let mut follow = kv.follow::<RefRecord>().await.unwrap();
    while soon("the snapshot", follow.next()).await != Some(Change::Snapshot) {}
    async_nats::jetstream::new(server.client().await).delete_stream("KV_refs").await.unwrap();
    // Another process starts and provisions.
    let other = server.bus().await;
    other.kv(Bucket::Refs).put("fresh", &record("new")).await.unwrap();
    assert_eq!(soon("the reset", follow.next()).await, Some(Change::Reset));
    assert!(matches!(soon("fresh", follow.next()).await, Some(Change::Put { key, .. }) if key == "fresh"));
}

/// nats-server #8505 (research/bus.md 2.1): keys that were deleted must not come back after a SIGKILL of the server.
#[tokio::test]
async fn a_deleted_key_stays_deleted_through_a_kill() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let kv = bus.kv(Bucket::Apps);
    kv.put("argocd.a", &record("alive")).await.unwrap();
    kv.delete("argocd.a").await.unwrap();
    // The bucket is written behind (persist async): give the server the moment that it promises nothing about.
    let mut stream = async_nats::jetstream::new(server.client().await).get_stream("KV_apps").await.unwrap();
    until("both are stored", || {
        let last = stream.cached_info().state.last_sequence;
        async move { last >= 2 }
    })
    .await;
    assert!(stream.info().await.unwrap().state.last_sequence >= 2);
    server.kill().await;
    let _ = server.bus().await;
    // Either nothing or the deletion may be left; the value without its deletion may not.
    assert_eq!(kv.get::<RefRecord>("argocd.a").await.unwrap(), None);
}

#[tokio::test]
async fn the_server_comes_back_on_its_port_and_its_store_has_one_master() {
    let server = Server::start().await;
    let (url, bus) = (server.nats.url(), server.bus().await);
    bus.audit(AuditRecord { verb: "login".into(), ..AuditRecord::default() }, &Cause::root("sa:test")).await.unwrap();
    server.kill().await;
    assert_eq!(server.nats.url(), url);
    let mut audit = async_nats::jetstream::new(server.client().await).get_stream("AUDIT1").await.unwrap();
    assert_eq!(audit.info().await.unwrap().state.messages, 1);
    let second = EmbeddedNats::start(config(&server.store)).await;
    assert!(
        second.is_err_and(|error| error.to_string().contains("another tako")),
        "two servers would damage one store"
    );
    let conf = std::fs::metadata(server.store.path().join("nats.conf")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&conf.permissions()) & 0o077,
        0,
        "the password is nobody else's to read"
    );
    let stranger = async_nats::connect(&url).await;
    assert!(stranger.is_err(), "no password, no bus");
    assert!(program().exists());
    let Server { nats, store } = server;
    nats.stop().await;
    let again = EmbeddedNats::start(config(&store)).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn streams_with_other_settings_are_told_and_never_deleted() {
    let server = Server::start().await;
    let client = server.client().await;
    let jetstream = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "WORK1".into(),
        subjects: vec!["tako.v1.work.>".into()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream.publish("tako.v1.work.poll.x", "precious".into()).await.unwrap().await.unwrap();
    let settings = tako_bus::BusConfig {
        url: server.nats.url(),
        user: Some(server.nats.user()),
        password: Some(server.nats.password()),
        process: "t".into(),
        replicas: 1,
    };
    let refused = soon("an answer", tako_bus::Bus::connect(&settings)).await;
    assert!(matches!(refused, Err(tako_bus::BusError::Stream { stream: "WORK1", .. })), "told at once");
    let kept = jetstream
        .get_stream("WORK1")
        .await
        .unwrap()
        .get_last_raw_message_by_subject("tako.v1.work.poll.x")
        .await
        .unwrap();
    assert_eq!(kept.payload, "precious");
}

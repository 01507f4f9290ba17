//! The bus's promises, on a real nats-server: work, commands, events, audit, bodies, leases.
mod common;

use std::time::Duration;

use common::{Server, soon, until};
use futures_util::StreamExt as _;
use serde_json::json;
use tako_bus::{AuditRecord, BusError, Cause, Command, Document, Event, Reply, Work, WorkKind, WorkNote, verify_chain};
use tako_engine::app::AppKey;
use uuid::Uuid;

fn app(name: &str) -> AppKey {
    AppKey { namespace: "argocd".into(), name: name.into() }
}

fn note(reason: &str) -> WorkNote {
    WorkNote { hard: false, reason: reason.into() }
}

fn cause() -> Cause {
    Cause::root("sa:test")
}

#[tokio::test]
async fn of_many_wakes_the_newest_survives() {
    let server = Server::start().await;
    let bus = server.bus().await;
    for number in 0..10 {
        bus.wake(&Work::Render { app: app("a") }, note(&number.to_string()), &cause()).await.unwrap();
    }
    bus.wake(&Work::Compare { app: app("a") }, note("another kind"), &cause()).await.unwrap();
    let mut inbox = bus.work(WorkKind::Render, 4).await.unwrap();
    let delivery = soon("the wake", inbox.next()).await.unwrap();
    assert_eq!((delivery.body.note.reason.as_str(), &delivery.body.work), ("9", &Work::Render { app: app("a") }));
    delivery.ack().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), inbox.next()).await.is_err(), "nothing is left");
}

#[tokio::test]
async fn a_wake_that_trusts_no_cache_is_not_replaced_by_one_that_does() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let hard = WorkNote { hard: true, reason: "asked for".into() };
    bus.wake(&Work::Render { app: app("a") }, hard.clone(), &cause()).await.unwrap();
    bus.wake(&Work::Render { app: app("a") }, note("timer"), &cause()).await.unwrap();
    let mut inbox = bus.work(WorkKind::Render, 4).await.unwrap();
    for want in [hard, note("timer")] {
        let delivery = soon("both", inbox.next()).await.unwrap();
        assert_eq!(delivery.body.note, want);
        delivery.ack().await.unwrap();
    }
}

/// research/bus.md 1.3, limit-removal: a newer wake replaces the one that is being worked on and is delivered at
/// once, beside it. So the exclusion must be ours (actors: KeyedQueue), and the late ack must not take the newer away.
#[tokio::test]
async fn a_wake_during_the_work_comes_beside_it_and_is_not_lost() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let wake = |reason: &'static str| {
        let bus = bus.clone();
        async move { bus.wake(&Work::Sync { app: app("a") }, note(reason), &cause()).await.unwrap() }
    };
    wake("first").await;
    let mut inbox = bus.work(WorkKind::Sync, 4).await.unwrap();
    let first = soon("first", inbox.next()).await.unwrap();
    wake("second").await;
    let second = soon("second", inbox.next()).await.unwrap();
    assert_eq!(second.body.note.reason, "second");
    first.ack().await.unwrap();
    drop(second);
    let again = soon("second again", inbox.next()).await.unwrap();
    assert_eq!(again.body.note.reason, "second");
    again.ack().await.unwrap();
    wake("after the ack, at once").await;
    assert_eq!(soon("third", inbox.next()).await.unwrap().body.note.reason, "after the ack, at once");
}

#[tokio::test]
async fn what_is_dropped_comes_again_and_what_is_put_off_comes_later() {
    let server = Server::start().await;
    let bus = server.bus().await;
    bus.wake(&Work::Poll { repo: "https://example.org/x y?*>.git".into() }, note("n"), &cause()).await.unwrap();
    let mut inbox = bus.work(WorkKind::Poll, 4).await.unwrap();
    drop(soon("first", inbox.next()).await.unwrap());
    let delivery = soon("again", inbox.next()).await.unwrap();
    let begun = tokio::time::Instant::now();
    delivery.retry(Duration::from_millis(400)).await;
    soon("later", inbox.next()).await.unwrap().ack().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(350));
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_the_dead_letters() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let jetstream = async_nats::jetstream::new(server.client().await);
    jetstream.publish("tako.v1.work.poll.bad", "no msgpack".into()).await.unwrap().await.unwrap();
    bus.wake(&Work::Poll { repo: "good".into() }, note("n"), &cause()).await.unwrap();
    let mut inbox = bus.work(WorkKind::Poll, 4).await.unwrap();
    let delivery = soon("the good one", inbox.next()).await.unwrap();
    assert_eq!(delivery.body.work, Work::Poll { repo: "good".into() });
    let dead = jetstream.get_stream("DLQ1").await.unwrap();
    until("the bad one is kept", || async {
        dead.get_last_raw_message_by_subject("tako.v1.dlq.work.poll.bad")
            .await
            .is_ok_and(|kept| kept.payload == "no msgpack")
    })
    .await;
}

/// The queue of work is in memory: what waited goes with the server, what is said after it is not lost. (Written
/// behind, a queue loses even that: its consumer, written apart, takes the new messages for ones it has seen.)
#[tokio::test]
async fn work_said_after_a_kill_of_the_server_is_not_lost() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let mut inbox = bus.work(WorkKind::Render, 4).await.unwrap();
    for round in ["a", "b", "c"] {
        bus.wake(&Work::Render { app: app("x") }, note("before"), &cause()).await.unwrap();
        let held = soon("before", inbox.next()).await.unwrap();
        let mut reconnects = bus.reconnects();
        server.kill().await;
        soon("the restart is told", reconnects.changed()).await.unwrap();
        bus.wake(&Work::Render { app: app(round) }, note("after"), &cause()).await.unwrap();
        let next = soon("after", inbox.next()).await.unwrap();
        assert_eq!(next.body.work, Work::Render { app: app(round) });
        next.ack().await.unwrap();
        held.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_command_is_queued_once_and_answered() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let (opid, command) = (Uuid::now_v7(), Command::Refresh { app: app("a"), hard: true });
    let wait = Duration::from_millis(200);
    assert!(
        matches!(bus.command_with_id(opid, command.clone(), &cause(), wait).await, Err(BusError::NoAnswer(_))),
        "nobody answers yet"
    );
    let _ = bus.command_with_id(opid, command.clone(), &cause(), wait).await;
    let mut inbox = bus.commands(4).await.unwrap();
    let delivery = soon("the command", inbox.next()).await.unwrap();
    assert_eq!((delivery.body.opid, &delivery.body.command), (opid, &command));
    delivery.ack().await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), inbox.next()).await.is_err(),
        "the same id was queued once"
    );
    let server_side = bus.clone();
    tokio::spawn(async move {
        while let Some(delivery) = inbox.next().await {
            let reply = Reply { ok: true, code: 200, message: String::new(), body: json!({"name": "a"}) };
            server_side.reply(delivery.body.opid, &reply).await.unwrap();
            delivery.ack().await.unwrap();
        }
    });
    let reply = bus.command(command, &cause(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(reply.body["name"], "a");
}

#[tokio::test]
async fn events_are_history() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let event = Event::SyncFinished {
        app: app("a"),
        project: "default".into(),
        opid: "o".into(),
        phase: "Succeeded".into(),
        message: "m".into(),
        revision: "r".into(),
    };
    bus.emit(event, &cause()).await.unwrap();
    let stream = async_nats::jetstream::new(server.client().await).get_stream("EVT1").await.unwrap();
    let kept = stream.get_last_raw_message_by_subject("tako.v1.evt.default.argocd.a.sync_finished").await.unwrap();
    assert_eq!(kept.headers.get("Tako-Type").unwrap().as_str(), "sync.finished/1");
}

#[tokio::test]
async fn audit_is_chained_and_cannot_be_deleted() {
    let server = Server::start().await;
    let bus = server.bus().await;
    for number in 0..5 {
        let record = AuditRecord {
            project: "p".into(),
            verb: "sync".into(),
            actor: "user:admin".into(),
            app: Some(app("a")),
            detail: json!(number),
            ..AuditRecord::default()
        };
        bus.audit(record, &cause()).await.unwrap();
    }
    let stream = async_nats::jetstream::new(server.client().await).get_stream("AUDIT1").await.unwrap();
    assert!(stream.delete_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
    let consumer =
        stream.create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig::default()).await.unwrap();
    let records: Vec<Vec<u8>> = soon(
        "all records",
        consumer.messages().await.unwrap().take(5).map(|message| message.unwrap().payload.to_vec()).collect(),
    )
    .await;
    assert_eq!(verify_chain(records.iter().map(Vec::as_slice)), Ok(5));
    assert!(verify_chain([&records[0], &records[2]].into_iter().map(Vec::as_slice)).is_err(), "a gap shows");
    server.kill().await;
    bus.audit(AuditRecord { verb: "login".into(), ..AuditRecord::default() }, &cause()).await.unwrap();
    let mut stream = stream;
    assert_eq!(stream.info().await.unwrap().state.messages, 6, "nothing confirmed is lost by a SIGKILL");
}

#[tokio::test]
async fn bodies_come_back_as_they_were() {
    let server = Server::start().await;
    let (writer, reader) = (server.bus().await, server.bus().await);
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    for body in [b"".to_vec(), b"small".to_vec(), large] {
        let digest = writer.blobs().put(&body).await.unwrap();
        assert_eq!(digest, writer.blobs().put(&body).await.unwrap());
        assert_eq!(reader.blobs().get(&digest).await.unwrap().as_deref(), Some(body.as_slice()));
    }
    let digest = tako_bus::Digest::of(b"asked for");
    assert_eq!(reader.blobs().get(&digest).await.unwrap(), None);
    let jetstream = async_nats::jetstream::new(server.client().await);
    jetstream.publish(format!("$KV.blob.{digest}"), "something else".into()).await.unwrap().await.unwrap();
    assert!(matches!(reader.blobs().get(&digest).await, Err(BusError::Damaged(_))));
}

#[tokio::test]
async fn a_lease_has_one_holder_and_every_holder_a_greater_epoch() {
    let server = Server::start().await;
    let (one, two) = (server.bus().await, server.bus().await);
    let first = one.lease("repo.a").await.unwrap().expect("it is free");
    assert!(two.lease("repo.a").await.unwrap().is_none());
    assert!(two.lease("repo.b").await.unwrap().is_some(), "another key is another lease");
    let epoch = first.epoch();
    first.release().await;
    let second = two.lease("repo.a").await.unwrap().expect("released");
    assert!(second.epoch() > epoch && second.held());
    server.kill().await;
    assert!(one.lease("repo.a").await.unwrap().is_none(), "a SIGKILL of the server frees nothing");
}

#[tokio::test]
async fn a_long_answer_comes_whole_and_none_is_told_of_at_once() {
    let server = Server::start().await;
    let bus = server.bus().await;
    let asked = tokio::time::Instant::now();
    let nobody = bus.ask("documents.test", &7_usize, Duration::from_secs(20)).await;
    assert!(matches!(nobody, Err(BusError::NoAnswer(_))) && asked.elapsed() < Duration::from_secs(10), "{nobody:?}");
    let made = |size: usize| Document { code: 200, body: (0..size).map(|at| (at % 251) as u8).collect() };
    bus.serve_documents("documents.test", "test", move |size: usize| async move {
        if size == 13 { Document::refused(412, "unlucky") } else { made(size) }
    })
    .await
    .unwrap();
    for size in [0, 1, 512 * 1024, 512 * 1024 + 1, 12 * 1024 * 1024] {
        let answer = bus.ask("documents.test", &size, Duration::from_secs(20)).await.unwrap();
        assert!(answer == made(size), "{size}: {} bytes", answer.body.len());
    }
    let refused = bus.ask("documents.test", &13_usize, Duration::from_secs(20)).await.unwrap();
    assert_eq!((refused.code, refused.body.as_slice()), (412, &b"unlucky"[..]));
    let long = bus.ask("documents.test", &(65 * 1024 * 1024_usize), Duration::from_secs(20)).await.unwrap();
    assert_eq!(long.code, 413);
}

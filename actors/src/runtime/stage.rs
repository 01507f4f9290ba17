//! The actor shell of a stage: deliveries in, one run a key at a time on the I/O pool, ack last.
//!
//! The actor owns only its [`KeyedQueue`]; the work runs in a task of the pool. A panic in the work
//! therefore ends that task alone: the delivery is dropped, which nacks it, and the bus delivers it
//! again. actix would not survive it (research/deps.md section 1, trap 1).
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tako_bus::{Bus, Delivery, WorkItem, WorkKind};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::keyed::{KeyedQueue, Offered};

/// What a run says of its delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done and recorded: ack.
    Done,
    /// Something outside was not ready: hand it out again after this time.
    Again(Duration),
}

/// A stage of the straight line. Implementations re-read the truth at every run: the message only wakes.
pub(crate) trait Stage: Send + Sync + 'static {
    /// What is serialised: one repository, one Application.
    type Key: Hash + Eq + Clone + Send + Sync + Unpin + 'static;
    /// The name in logs.
    const NAME: &'static str;
    /// Which work it takes.
    const KIND: WorkKind;
    /// Units of work in hand at once.
    const SLOTS: usize;
    /// The key of one message; `None` for work of another kind, which is acked and dropped.
    fn key(item: &WorkItem) -> Option<Self::Key>;
    /// One unit of work.
    fn run(&self, item: WorkItem) -> impl Future<Output = Outcome> + Send;
}

/// A delivery and the slot it takes; both are given back together.
struct Job {
    delivery: Delivery<WorkItem>,
    _slot: OwnedSemaphorePermit,
}

struct Shell<S: Stage> {
    stage: Arc<S>,
    pool: Handle,
    queue: KeyedQueue<S::Key, Job>,
}

impl<S: Stage> Actor for Shell<S> {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Deliver(Job);

#[derive(Message)]
#[rtype(result = "()")]
struct Finished<K>(K);

impl<S: Stage> Handler<Deliver> for Shell<S> {
    type Result = ();
    fn handle(&mut self, Deliver(job): Deliver, ctx: &mut Self::Context) {
        let Some(key) = S::key(&job.delivery.body) else {
            self.pool.spawn(ack(S::NAME, job));
            return;
        };
        // Trusting no cache shows all that a look with them would.
        let hard = |job: &Job| job.delivery.body.note.hard;
        match self.queue.offer(key.clone(), job, |held, newer| hard(held) && !hard(newer)) {
            Offered::Start(job) => self.begin(key, job, ctx.address()),
            Offered::Held { replaced: Some(older) } => {
                self.pool.spawn(ack(S::NAME, older));
            }
            Offered::Held { replaced: None } => {}
        }
    }
}

impl<S: Stage> Handler<Finished<S::Key>> for Shell<S> {
    type Result = ();
    fn handle(&mut self, Finished(key): Finished<S::Key>, ctx: &mut Self::Context) {
        if let Some(job) = self.queue.finished(&key) {
            self.begin(key, job, ctx.address());
        }
    }
}

impl<S: Stage> Shell<S> {
    fn begin(&self, key: S::Key, job: Job, me: Addr<Self>) {
        let stage = self.stage.clone();
        let work = self.pool.spawn(async move {
            match stage.run(job.delivery.body.clone()).await {
                Outcome::Done => ack(S::NAME, job).await,
                Outcome::Again(pause) => job.delivery.retry(pause).await,
            }
        });
        // The watch over the run: whatever its end, panic included, the key is free again.
        self.pool.spawn(async move {
            if let Err(error) = work.await
                && error.is_panic()
            {
                tracing::error!(stage = S::NAME, "a run panicked; its message is delivered again");
            }
            // A closed mailbox means the process is going down; the bus keeps what waits.
            let _ = me.send(Finished(key)).await;
        });
    }
}

async fn ack(stage: &'static str, job: Job) {
    if let Err(error) = job.delivery.ack().await {
        tracing::warn!(stage, %error, "ack not confirmed; the message may come again");
    }
}

/// Starts the actor on its own arbiter (sharing the I/O pool) and the loop that feeds it.
pub(crate) fn start<S: Stage>(stage: Arc<S>, bus: Bus, pool: Handle, arbiter: &actix_rt::ArbiterHandle) {
    let shell_pool = pool.clone();
    let slots = Arc::new(Semaphore::new(S::SLOTS));
    let (tell, started) = tokio::sync::oneshot::channel();
    arbiter.spawn_fn(move || {
        let _ = tell.send(Shell { stage, pool: shell_pool, queue: KeyedQueue::new() }.start());
    });
    pool.spawn(async move {
        let Ok(shell) = started.await else { return };
        loop {
            let mut inbox = match bus.work(S::KIND, S::SLOTS).await {
                Ok(inbox) => inbox,
                Err(error) => {
                    tracing::warn!(stage = S::NAME, %error, "no work queue yet");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            // A slot is taken before a message is asked for: what cannot be worked on stays on the bus.
            while let Ok(slot) = slots.clone().acquire_owned().await {
                let Some(delivery) = inbox.next().await else { break };
                if shell.send(Deliver(Job { delivery, _slot: slot })).await.is_err() {
                    return;
                }
            }
        }
    });
}

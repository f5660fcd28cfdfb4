//! One channel of one receiver: its notices go one after the other, each with retries.
//!
//! Invariants:
//! - every job ends in one [`Done`], whatever the channel does: attempts, pauses and each attempt's time are bounded, and a panic
//!   of a channel is a failure;
//! - a notice the channel rejects is not tried again and does not hold up the next;
//! - while the channel is down one attempt is made per notice, with growing pauses between: the first that is taken ends it.
//!
//! Not here: what is told (see `engine`).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use heimdall_model::Clock;
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::PipelineConfig;
use crate::notify::notice::{Notice, Notifier, NotifyError, Receipt};
use crate::routing::{Receiver, Routing};

/// Notices waiting for one channel; beyond, groups wait with what they have to tell.
pub const QUEUED_MAX: usize = 256;
/// An attempt without an answer ends after this; channels have shorter deadlines of their own.
const ATTEMPT_MAX: Duration = Duration::from_secs(65);
/// Notices rejected in a row after which the channel, not the notice, is taken to be at fault.
const REJECTED_MAX: u32 = 2;

/// A notice for one channel.
pub(crate) struct Job {
    pub(crate) notice: Arc<Notice>,
    pub(crate) previous: Option<Receipt>,
    /// Who is on call is asked of it when the notice is sent.
    pub(crate) routing: Arc<Routing>,
}

/// How a job ended.
pub(crate) struct Done {
    pub(crate) delivery: Uuid,
    pub(crate) receiver: String,
    pub(crate) lane: String,
    pub(crate) kind: &'static str,
    pub(crate) result: Result<Option<Receipt>, NotifyError>,
    pub(crate) attempts: u32,
    pub(crate) to: Vec<String>,
    /// The channel stopped or began to work.
    pub(crate) turned: Option<Turn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Down,
    Up,
}

/// The end of a lane that the engine holds.
#[derive(Clone)]
pub(crate) struct Lane {
    /// `0-slack`.
    pub(crate) id: String,
    pub(crate) notifier: Arc<dyn Notifier>,
    jobs: mpsc::Sender<Job>,
    is_down: Arc<AtomicBool>,
}

impl Lane {
    pub(crate) fn has_room(&self) -> bool {
        self.jobs.capacity() > 0
    }

    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Queues a job; returns false when there is no room.
    pub(crate) fn send(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

/// The working end of a lane.
pub(crate) struct Worker {
    lane: String,
    receiver: Arc<Receiver>,
    notifier: Arc<dyn Notifier>,
    jobs: mpsc::Receiver<Job>,
    done: mpsc::Sender<Done>,
    is_down: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    config: PipelineConfig,
    stop: CancellationToken,
    failed: u32,
    rejected: u32,
}

/// A lane and its worker.
pub(crate) fn lane(
    index: usize,
    receiver: &Arc<Receiver>,
    notifier: Arc<dyn Notifier>,
    was_down: bool,
    shared: &Shared,
) -> (Lane, Worker) {
    let (sender, jobs) = mpsc::channel(QUEUED_MAX);
    let id = format!("{index}-{}", notifier.kind());
    let is_down = Arc::new(AtomicBool::new(was_down));
    let worker = Worker {
        lane: id.clone(),
        receiver: Arc::clone(receiver),
        notifier: Arc::clone(&notifier),
        jobs,
        done: shared.done.clone(),
        is_down: Arc::clone(&is_down),
        clock: Arc::clone(&shared.clock),
        config: shared.config.clone(),
        stop: shared.stop.clone(),
        failed: 0,
        rejected: 0,
    };
    (Lane { id, notifier, jobs: sender, is_down }, worker)
}

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) done: mpsc::Sender<Done>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: PipelineConfig,
    pub(crate) stop: CancellationToken,
}

impl Worker {
    /// Works until its lane is dropped.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let done = self.deliver(job).await;
            let is_failed = done.result.is_err();
            if self.done.send(done).await.is_err() {
                return;
            }
            if is_failed && self.is_down.load(Ordering::Relaxed) {
                self.pause(self.backoff(self.failed)).await;
            }
        }
    }

    async fn deliver(&mut self, job: Job) -> Done {
        let attempts_max = if self.is_down.load(Ordering::Relaxed) { 1 } else { self.config.attempts_max };
        let mut notice = Notice::clone(&job.notice);
        let people = job.routing.people_of(&self.receiver, self.clock.now());
        notice.to = job.routing.addresses(&people, self.notifier.kind());
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            match self.attempt(&notice, job.previous.as_ref()).await {
                Err(error) if self.goes_on(&error, attempts, attempts_max) => {
                    let pause = error.retry_after.unwrap_or_else(|| self.backoff(attempts));
                    let pause = pause.min(self.config.retry_after_max);
                    tracing::warn!(receiver = self.receiver.name, channel = self.lane, attempts, ?pause, %error, "notice not delivered, retrying");
                    self.pause(pause).await;
                }
                result => break result,
            }
        };
        let turned = self.turn(result.as_ref().err(), attempts);
        Done {
            delivery: notice.id,
            receiver: self.receiver.name.clone(),
            lane: self.lane.clone(),
            kind: self.notifier.kind(),
            result,
            attempts,
            to: people,
            turned,
        }
    }

    fn goes_on(&self, error: &NotifyError, attempts: u32, attempts_max: u32) -> bool {
        error.is_retryable && attempts < attempts_max && !self.stop.is_cancelled()
    }

    async fn attempt(
        &self,
        notice: &Notice,
        previous: Option<&Receipt>,
    ) -> Result<Option<Receipt>, NotifyError> {
        let kind = self.notifier.kind();
        let begun = tokio::time::Instant::now();
        let sending = AssertUnwindSafe(self.notifier.send(notice, previous)).catch_unwind();
        let failed = |is_retryable, detail: &str| NotifyError {
            is_retryable,
            retry_after: None,
            detail: detail.to_owned(),
        };
        let result = match tokio::time::timeout(ATTEMPT_MAX, sending).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed(false, "the channel panicked: this is a bug of Heimdall")),
            Err(_) => Err(failed(true, "no answer within 65s")),
        };
        metrics::histogram!("notification_attempt_duration_seconds", "channel" => kind)
            .record(begun.elapsed().as_secs_f64());
        let outcome = match &result {
            Ok(_) => "delivered",
            Err(error) if error.is_retryable => "failed",
            Err(_) => "rejected",
        };
        metrics::counter!("notifications_total", "channel" => kind, "outcome" => outcome).increment(1);
        result
    }

    /// Notes how a notice ended, and says whether the channel stopped or began to work by it.
    fn turn(&mut self, error: Option<&NotifyError>, attempts: u32) -> Option<Turn> {
        let Some(error) = error else {
            (self.failed, self.rejected) = (0, 0);
            return self.is_down.swap(false, Ordering::Relaxed).then_some(Turn::Up);
        };
        self.failed = self.failed.saturating_add(1);
        self.rejected = if error.is_retryable { 0 } else { self.rejected + 1 };
        let is_exhausted = error.is_retryable && (attempts >= self.config.attempts_max || self.failed > 1);
        let is_broken = is_exhausted || self.rejected >= REJECTED_MAX;
        if is_broken && !self.stop.is_cancelled() {
            self.is_down.store(true, Ordering::Relaxed);
        }
        self.is_down.load(Ordering::Relaxed).then_some(Turn::Down)
    }

    /// Exponential with half of it random, so that servers do not retry in step.
    fn backoff(&self, failures: u32) -> Duration {
        let full = self.config.backoff_min.saturating_mul(1 << failures.saturating_sub(1).min(20));
        full.min(self.config.backoff_max).mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! { () = self.stop.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
    }
}

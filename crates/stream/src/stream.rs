//! The consumer of the journal.
//!
//! Invariants:
//! - frames are processed in order, each exactly once after the covered frame; the work of a frame depends on the
//!   frames before it alone, so a replay after a crash gives the same templates, records and findings;
//! - a record is searchable before a finding about it is reported;
//! - a panic in a detector is caught and counted; the records of that batch are stored all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use heimdall_detect::{DetectConfig, DetectorStatus, Findings, Judge, Modes, RuleSet};
use heimdall_journal::{Frame, Journal, JournalError, Reader};
use heimdall_model::{Batch, Clock, Position, Tenant, codec};
use heimdall_store::{Store, StoreError};
use parking_lot::Mutex;

use crate::keeper::{Keeper, Upkeep};
use crate::tail::Tail;

/// Wait for a frame before timers are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Wait before findings that are not durable are looked at again, with the memtable full.
const SETTLE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Commands waiting for the stream.
const COMMANDS_MAX: usize = 64;

/// Bounds of the stream.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Age of the oldest unwritten record at which the memtable is written out.
    pub flush_age: Duration,
}

/// Where findings go. Called on the stream's thread: it must not block for long.
pub trait Sink: Send {
    /// Takes the findings of one batch. After a crash the same findings may come again: verdicts carry positions.
    fn take(&mut self, findings: Findings);
    /// Called when there is nothing to do, so that buffers can be written out.
    fn tick(&mut self);
    /// Whether everything taken so far is durable: if so, the journal may forget where it came from.
    fn settle(&mut self) -> bool;
}

/// What can be changed while the stream runs.
#[derive(Debug)]
pub enum Command {
    /// Use this configuration from the next batch on.
    Reconfigure(Box<DetectConfig>),
    /// Use these rules from the next batch on.
    SetRules(Box<RuleSet>),
    /// Use these modes of rules from the next batch on.
    SetModes(Box<Modes>),
    /// Write what is in memory to segments, once the journal is processed up to the frame; then tell.
    Flush(u64, Sender<()>),
}

/// Why the stream could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The saved detector state could not be read.
    #[error("could not read the saved detector state")]
    Judgement(#[from] StoreError),
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[from] std::io::Error),
}

/// Where the stream stands.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// Last frame processed.
    pub processed_seq: u64,
    /// Rows processed by this process.
    pub rows: u64,
    /// Why segments cannot be written at the moment.
    pub trouble: Option<String>,
    /// Why the stream has stopped, when it has.
    pub stopped: Option<String>,
    /// Detectors with their counters.
    pub detectors: Vec<DetectorStatus>,
}

/// What the threads and the outside share.
#[derive(Default)]
pub(crate) struct Shared {
    processed: AtomicU64,
    rows: AtomicU64,
    stopping: AtomicBool,
    trouble: Mutex<Option<String>>,
    stopped: Mutex<Option<String>>,
    detectors: Mutex<Vec<DetectorStatus>>,
}

impl Shared {
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock() = trouble;
    }

    /// Notes why the stream cannot go on; the first reason stays.
    pub(crate) fn set_stopped(&self, reason: &str) {
        self.stopped.lock().get_or_insert_with(|| reason.to_owned());
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.lock().is_some()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Says that a thread of the stream has panicked, when it has.
pub(crate) struct PanicGuard(pub Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_stopped(
                "a thread of the stream panicked; records are kept in the journal until a restart",
            );
        }
    }
}

/// The running stream.
pub struct Stream {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Everything the stream works with.
pub struct Parts {
    /// The journal, to release what is covered.
    pub journal: Arc<Journal>,
    /// Its reader, positioned after the covered frame.
    pub reader: Reader,
    /// The store.
    pub store: Arc<Store>,
    /// The detectors, fresh: their saved state is restored here.
    pub judge: Judge,
    /// Where findings go.
    pub sink: Box<dyn Sink>,
    /// The live feed.
    pub tail: Tail,
    /// Wall clock, for latencies and retention.
    pub clock: Arc<dyn Clock>,
}

impl Stream {
    /// Restores the detectors and starts consuming. Ends when the journal is closed and read to its end.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn start(mut parts: Parts, config: StreamConfig) -> Result<Stream, StreamError> {
        if let Some(saved) = parts.store.judgement()?
            && let Err(error) = parts.judge.restore(&saved)
        {
            // Baselines are learnt again; records are not concerned.
            tracing::error!(%error, "the saved detector state does not load; detectors start afresh");
        }
        let shared = Arc::new(Shared::default());
        *shared.detectors.lock() = parts.judge.status();
        // What segments cover was processed by an earlier process.
        shared.processed.store(parts.store.journal_seq(), Ordering::Relaxed);
        let (commands_tx, commands) = bounded(COMMANDS_MAX);
        let (frozen_tx, frozen) = bounded(1);
        let (committed_tx, committed) = bounded(1);
        let keeper = Keeper {
            store: Arc::clone(&parts.store),
            journal: Arc::clone(&parts.journal),
            clock: Arc::clone(&parts.clock),
            shared: Arc::clone(&shared),
            frozen,
            committed: committed_tx,
        };
        let (running, ended) = bounded(0);
        let upkeep = Upkeep {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            shared: Arc::clone(&shared),
            ended,
        };
        let replay_until = parts.journal.status().durable_seq;
        let consumer = Consumer {
            parts,
            config,
            shared: Arc::clone(&shared),
            commands,
            frozen: frozen_tx,
            committed,
            asked: Vec::new(),
            oldest: None,
            replay_until,
            _running: running,
        };
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let keeper = named("store-keeper").spawn(move || keeper.run())?;
        let upkeep = named("store-upkeep").spawn(move || upkeep.run())?;
        let consumer = named("stream").spawn(move || consumer.run())?;
        Ok(Stream { shared, commands: commands_tx, threads: Mutex::new(vec![consumer, keeper, upkeep]) })
    }

    /// Changes the detectors from the next batch on; `false` when too many changes are waiting already.
    #[must_use]
    pub fn command(&self, command: Command) -> bool {
        !matches!(self.commands.try_send(command), Err(TrySendError::Full(_)))
    }

    /// Waits until everything up to a frame of the journal is in segments; `false` when it is not in time. Blocks.
    #[must_use]
    pub fn flush(&self, seq: u64, timeout: Duration) -> bool {
        let (done, told) = bounded(1);
        self.command(Command::Flush(seq, done)) && told.recv_timeout(timeout).is_ok()
    }

    /// Where the stream stands.
    #[must_use]
    pub fn status(&self) -> StreamStatus {
        StreamStatus {
            processed_seq: self.shared.processed.load(Ordering::Relaxed),
            rows: self.shared.rows.load(Ordering::Relaxed),
            trouble: self.shared.trouble.lock().clone(),
            stopped: self.shared.stopped.lock().clone(),
            detectors: self.shared.detectors.lock().clone(),
        }
    }

    /// Waits until the journal, which must have been closed, is consumed and written to segments. Blocks.
    pub fn join(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a stream thread panicked; what it had not written is in the journal");
            }
        }
    }
}

struct Consumer {
    parts: Parts,
    config: StreamConfig,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    frozen: Sender<()>,
    committed: Receiver<()>,
    /// Who waits until everything up to a frame is in segments.
    asked: Vec<(u64, Sender<()>)>,
    /// When the oldest unwritten record was processed.
    oldest: Option<Instant>,
    /// Frames up to here were in the journal before this process started.
    replay_until: u64,
    /// Tells the upkeep, by its drop, that the stream has ended.
    _running: Sender<()>,
}

impl Consumer {
    fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        loop {
            let next = self.parts.reader.next(TICK);
            // After the wait: a change is in force for every frame that was appended after it was accepted.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            match next {
                Ok(Some(frame)) => self.process(frame),
                Ok(None) => self.idle(),
                Err(JournalError::Closed) => break,
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read; the stream stops");
                    self.shared.set_stopped(&error.to_string());
                    return;
                }
            }
            self.flush_when_due();
            if self.shared.is_stopped() {
                // The memtable would grow without bound: the journal holds the senders back.
                return;
            }
            if self.shared.is_stopping() && self.parts.store.is_flush_due() {
                // No room, and nothing will make any: the rest is in the journal.
                break;
            }
        }
        self.idle();
        self.wait_for_writer();
        self.flush();
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Reconfigure(config) => self.parts.judge.reconfigure(*config),
            Command::SetRules(rules) => self.parts.judge.set_rules(*rules),
            Command::SetModes(modes) => self.parts.judge.set_modes(*modes),
            Command::Flush(seq, done) => self.asked.push((seq, done)),
        }
        *self.shared.detectors.lock() = self.parts.judge.status();
    }

    fn idle(&mut self) {
        self.parts.sink.tick();
        *self.shared.detectors.lock() = self.parts.judge.status();
    }

    fn process(&mut self, frame: Frame) {
        let seq = frame.seq;
        match codec::decode(&frame.payload) {
            Ok((tenant, mut batch)) => {
                batch.base = Position::new(seq, 0);
                self.take(&tenant, batch);
            }
            Err(error) => {
                metrics::counter!("stream_frames_undecodable_total").increment(1);
                tracing::error!(seq, %error, "a journal frame cannot be decoded; its records are not searchable");
            }
        }
        self.shared.processed.store(seq, Ordering::Relaxed);
    }

    fn take(&mut self, tenant: &Tenant, mut batch: Batch) {
        let (dataset, rows, observed) = (batch.dataset, batch.rows() as u64, batch.observed);
        self.parts.store.assign_templates(tenant, &mut batch);
        let findings = self.judge(tenant, &batch);
        let seq = batch.base.seq();
        self.parts.tail.publish(tenant, &batch);
        self.parts.store.append(tenant, batch);
        self.parts.sink.take(findings);
        self.oldest.get_or_insert_with(Instant::now);
        self.shared.rows.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("events_processed_total", "dataset" => dataset.as_str()).increment(rows);
        if seq > self.replay_until {
            let latency_ns = self.parts.clock.now().0.saturating_sub(observed.0).max(0);
            #[expect(clippy::cast_precision_loss, reason = "a latency in seconds")]
            metrics::histogram!("event_processing_seconds").record(latency_ns as f64 / 1e9);
        }
    }

    fn judge(&mut self, tenant: &Tenant, batch: &Batch) -> Findings {
        let mut findings = Findings::default();
        let judge = &mut self.parts.judge;
        let outcome = catch_unwind(AssertUnwindSafe(|| judge.observe(tenant, batch, &mut findings)));
        if outcome.is_err() {
            metrics::counter!("detector_panics_total").increment(1);
            metrics::counter!("errors_total", "area" => "detectors").increment(1);
            tracing::error!(seq = batch.base.seq(), "a detector panicked; the records are stored unjudged");
        }
        findings
    }

    fn flush_when_due(&mut self) {
        let aged = self.oldest.is_some_and(|oldest| oldest.elapsed() >= self.config.flush_age);
        if !(aged || self.is_asked_to_flush() || self.parts.store.is_flush_due()) {
            return;
        }
        if self.parts.store.is_flush_due() {
            // One memtable being written and one being filled is all the memory there is.
            self.wait_for_writer();
        }
        self.flush();
    }

    /// Tells those whose frames are in segments, and whether there are others.
    fn is_asked_to_flush(&mut self) -> bool {
        if self.asked.is_empty() {
            return false;
        }
        let processed = self.shared.processed.load(Ordering::Relaxed);
        // With nothing in memory, all that was processed is covered.
        let is_empty = self.oldest.is_none() && !self.parts.store.is_frozen();
        let covered = if is_empty { processed } else { self.parts.store.journal_seq() };
        for (_, done) in self.asked.extract_if(.., |(seq, _)| *seq <= covered) {
            let _ = done.try_send(());
        }
        self.asked.iter().any(|(seq, _)| *seq <= processed)
    }

    /// Sets the memtable aside for the writer, unless it is still busy with the last one.
    fn flush(&mut self) {
        if self.oldest.is_none() {
            return;
        }
        if self.parts.store.is_frozen() {
            return;
        }
        while !self.parts.sink.settle() {
            if self.shared.is_stopping() || !self.parts.store.is_flush_due() {
                // There is room: ask again after another `flush_age`, not with every frame.
                self.oldest = Some(Instant::now());
                return;
            }
            // No room to go on without losing what a restart needs: the journal holds the senders back.
            std::thread::park_timeout(SETTLE_AGAIN_AFTER);
        }
        let seq = self.shared.processed.load(Ordering::Relaxed);
        if self.parts.store.freeze(seq, || self.parts.judge.snapshot()) {
            self.oldest = None;
            // Room for one message is enough: nothing else can be frozen until this one is committed.
            let _ = self.frozen.try_send(());
        }
    }

    /// Blocks until nothing is frozen: back-pressure on the journal, which is bounded.
    fn wait_for_writer(&self) {
        while self.parts.store.is_frozen() {
            match self.committed.recv_timeout(Duration::from_secs(1)) {
                Err(RecvTimeoutError::Timeout) if self.shared.is_stopping() => return,
                // The keeper has ended, and has said why.
                Err(RecvTimeoutError::Disconnected) => return,
                _ => {}
            }
        }
    }
}

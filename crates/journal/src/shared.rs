//! What appenders, the writer thread and the reader share, behind one lock held for short, IO-free moments.
//!
//! Invariants:
//! - `held_frames`, `held_bytes` count what is queued or being written; they never exceed the limits by more than one frame;
//! - a key is in `in_flight` from its admission until its group is answered, and in `keys` only once durable;
//! - `tail` holds consecutive durable frames, the newest last; the reader takes from its front, overflow drops from its front;
//! - `backlog` counts the bytes of this process's durable frames that the reader has not been given;
//! - once `latched` is set nothing is queued and nothing is admitted.
//!
//! Not here: IO (see `writer`, `reader`).

use crate::config::Config;
use crate::disk::{Disk, DiskLock};
use crate::error::{JournalError, Refusal};
use crate::format::{FRAME_HEAD_BYTES, GROUP_FRAMES_MAX, Key, KeyEntry};
use crate::journal::{Append, Appended};
use crate::keys::KeyTable;
use crate::reader::Frame;
use crate::telemetry;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

pub(crate) type Answer = Result<Appended, JournalError>;
pub(crate) type Ack = oneshot::Sender<Answer>;

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) disk: Arc<dyn Disk>,
    /// Keeps other processes out until the journal, the reader and the writer are gone.
    _lock: DiskLock,
    state: Mutex<State>,
    /// The writer waits here for `wanted_frames` to be queued.
    work: Condvar,
    /// The reader waits here for durable frames.
    durable: Condvar,
    /// The newest frame handed to the consumer. Only the reader writes it.
    consumed_seq: AtomicU64,
    /// The newest frame of earlier processes.
    found_seq: u64,
    /// Bytes of this process's frames that are durable and not handed to the consumer.
    backlog: AtomicU64,
    /// Told whenever the backlog shrinks.
    room: Notify,
}

pub(crate) struct State {
    pub(crate) files: VecDeque<FileInfo>,
    pub(crate) keys: KeyTable,
    pub(crate) appended_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) latched: Option<Arc<str>>,
    pub(crate) last_fsync: Duration,
    pub(crate) held_frames: usize,
    pub(crate) held_bytes: u64,
    pub(crate) tail_bytes: u64,
    queue: VecDeque<Pending>,
    queue_bytes: u64,
    in_flight: HashMap<Key, Vec<Ack>>,
    tail: VecDeque<Frame>,
    /// Appends are refused until then: the disk was full when last looked at.
    disk_full_until: Option<Instant>,
    /// The writer sleeps until this many frames are queued; 0 while it is awake.
    wanted_frames: usize,
    closing: bool,
    ended: bool,
}

/// A journal file and how much of it is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileInfo {
    pub(crate) first_seq: u64,
    pub(crate) bytes: u64,
}

/// An admitted append.
pub(crate) struct Pending {
    pub(crate) append: Append,
    pub(crate) payload_crc: u32,
    ack: Ack,
}

impl Pending {
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.append.frame_bytes()
    }
}

/// What became of an append that was not refused.
pub(crate) enum Admitted {
    Answered(Appended),
    /// The answer will arrive here.
    Queued(oneshot::Receiver<Answer>),
}

/// Where the reader finds the next frame.
pub(crate) enum Found {
    /// Moved to the reader's own buffer.
    Memory,
    /// In this file.
    File(FileInfo),
    TimedOut,
    /// Closed, and everything has been read.
    Ended,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        disk: Arc<dyn Disk>,
        lock: DiskLock,
        files: VecDeque<FileInfo>,
        keys: KeyTable,
        durable_seq: u64,
        consumed_seq: u64,
    ) -> Self {
        let state = State {
            files,
            keys,
            appended_seq: durable_seq,
            durable_seq,
            latched: None,
            last_fsync: Duration::ZERO,
            held_frames: 0,
            held_bytes: 0,
            tail_bytes: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: HashMap::new(),
            tail: VecDeque::new(),
            disk_full_until: None,
            wanted_frames: 0,
            closing: false,
            ended: false,
        };
        Self {
            config,
            disk,
            _lock: lock,
            state: Mutex::new(state),
            work: Condvar::new(),
            durable: Condvar::new(),
            consumed_seq: AtomicU64::new(consumed_seq),
            found_seq: durable_seq,
            backlog: AtomicU64::new(0),
            room: Notify::new(),
        }
    }

    pub(crate) fn consumed_seq(&self) -> u64 {
        self.consumed_seq.load(Ordering::Acquire)
    }

    /// Notes that a frame is in the consumer's hands.
    pub(crate) fn delivered(&self, frame: &Frame) {
        self.consumed_seq.store(frame.seq, Ordering::Release);
        if frame.seq > self.found_seq {
            self.backlog.fetch_sub(frame.tail_bytes(), Ordering::AcqRel);
            self.room.notify_waiters();
        }
    }

    /// Waits until the consumer is near enough.
    pub(crate) async fn room(&self) -> Result<(), JournalError> {
        if !self.is_behind() {
            return Ok(());
        }
        let waiting = async {
            loop {
                let mut told = pin!(self.room.notified());
                told.as_mut().enable();
                if !self.is_behind() {
                    return;
                }
                told.await;
            }
        };
        if tokio::time::timeout(Config::BACKLOG_WAIT, waiting).await.is_ok() {
            return Ok(());
        }
        telemetry::refused(Refusal::Busy.reason(), 1);
        Err(Refusal::Busy.into())
    }

    fn is_behind(&self) -> bool {
        self.backlog.load(Ordering::Acquire) > self.config.backlog_bytes_max
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn path(&self, first_seq: u64, extension: &str) -> PathBuf {
        self.config.dir.join(format!("{first_seq:020}.{extension}"))
    }

    /// Answers at once, or queues the append and returns where the answer will arrive.
    pub(crate) fn admit(&self, append: Append, payload_crc: u32) -> Result<Admitted, Refusal> {
        let mut state = self.lock();
        state.check_running()?;
        if let Some(key) = append.key
            && let Some(known) = state.keys.get(&key, append.time_ns)
        {
            return Ok(Admitted::Answered(Appended::Duplicate { seq: known.seq, rows: known.rows }));
        }
        state.check_room(&self.config, append.frame_bytes())?;
        let (ack, answer) = oneshot::channel();
        if let Some(waiting) = append.key.and_then(|key| state.in_flight.get_mut(&key)) {
            waiting.push(ack);
            state.held_frames += 1;
            return Ok(Admitted::Queued(answer));
        }
        state.enqueue(Pending { append, payload_crc, ack });
        if state.writer_is_awaited(&self.config) {
            self.work.notify_one();
        }
        Ok(Admitted::Queued(answer))
    }

    /// Waits for appends and takes a group of them; `None` when closing and nothing is queued. `expected_frames`: how many were answered
    /// together last time, and so may be about to come back.
    pub(crate) fn take_group(&self, expected_frames: usize) -> Option<Vec<Pending>> {
        let mut state = self.lock();
        while state.queue.is_empty() {
            if state.closing {
                return None;
            }
            state.wanted_frames = 1;
            self.work.wait(&mut state);
        }
        let deadline = Instant::now() + self.config.group_delay;
        state.wanted_frames = expected_frames.min(GROUP_FRAMES_MAX);
        while !state.closing && !state.group_is_ready(&self.config) {
            if self.work.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.wanted_frames = 0;
        Some(state.take_group(&self.config))
    }

    /// Answers a group that has become durable in the active file, now `file_bytes` long.
    pub(crate) fn complete(&self, group: Vec<Pending>, first_seq: u64, file_bytes: u64, fsync: Duration) {
        let (frames, bytes) = (group.len(), group.iter().map(Pending::frame_bytes).sum());
        let mut state = self.lock();
        self.backlog.fetch_add(bytes, Ordering::AcqRel);
        let mut answers = Vec::with_capacity(frames);
        for (seq, pending) in (first_seq..).zip(group) {
            state.remember(seq, pending, &mut answers);
        }
        state.held_bytes -= bytes;
        state.held_frames -= answers.len();
        state.durable_seq = first_seq + frames as u64 - 1;
        state.last_fsync = fsync;
        state.disk_full_until = None;
        state.files.back_mut().expect("the active file is listed").bytes = file_bytes;
        state.shorten_tail(self.config.tail_bytes_max);
        let (held, journal_bytes) = (state.held_frames, state.file_bytes());
        drop(state);

        self.durable.notify_one();
        telemetry::duplicates(answers.len() - frames);
        for (ack, answer) in answers {
            let _ = ack.send(Ok(answer)); // the client may have gone
        }
        telemetry::committed(frames, bytes, fsync);
        telemetry::levels(held, journal_bytes);
    }

    /// Answers a group that was not written, and when latched all that was queued behind it.
    pub(crate) fn fail(&self, group: Vec<Pending>, refusal: &Refusal) {
        let mut state = self.lock();
        let mut acks = Vec::with_capacity(group.len());
        state.release(group, &mut acks);
        match refusal {
            Refusal::Latched(reason) => {
                state.latched = Some(Arc::clone(reason));
                let queued = std::mem::take(&mut state.queue).into();
                state.queue_bytes = 0;
                state.release(queued, &mut acks);
                // None is left, unless the writer panicked with a group in its hands.
                acks.extend(std::mem::take(&mut state.in_flight).into_values().flatten());
                (state.held_frames, state.held_bytes) = (0, 0);
                telemetry::latched();
            }
            _ => state.disk_full_until = Some(Instant::now() + self.config.disk_check_interval),
        }
        drop(state);

        telemetry::refused(refusal.reason(), acks.len());
        for ack in acks {
            let _ = ack.send(Err(refusal.clone().into())); // the client may have gone
        }
    }

    /// Moves frames from `next_seq` on to `ready` (up to `bytes_max`), or tells where they are. Waits until `deadline` (`None`: for ever).
    pub(crate) fn find(
        &self,
        next_seq: u64,
        deadline: Option<Instant>,
        bytes_max: u64,
        ready: &mut VecDeque<Frame>,
    ) -> Found {
        let mut state = self.lock();
        while next_seq > state.durable_seq {
            if state.ended {
                return Found::Ended;
            }
            let timed_out = match deadline {
                Some(deadline) => self.durable.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.durable.wait(&mut state);
                    false
                }
            };
            if timed_out && next_seq > state.durable_seq && !state.ended {
                return Found::TimedOut;
            }
        }
        if state.take_tail(next_seq, bytes_max, ready) {
            Found::Memory
        } else {
            Found::File(state.file_of(next_seq))
        }
    }

    /// The oldest file, when it holds only frames before `seq` that the consumer has been handed, and is not the active one.
    pub(crate) fn releasable(&self, seq: u64) -> Option<FileInfo> {
        self.lock().releasable(seq.min(self.consumed_seq() + 1))
    }

    /// Deletes a file, durably.
    pub(crate) fn delete(&self, first_seq: u64) -> Result<(), JournalError> {
        let path = self.path(first_seq, "wal");
        self.disk.remove(&path).map_err(JournalError::io("delete", &path))?;
        self.disk.sync_dir(&self.config.dir).map_err(JournalError::io("sync", &self.config.dir))
    }

    /// Lets the writer drain the queue and end.
    pub(crate) fn begin_close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Tells the reader that nothing more will come.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.ended = true;
        drop(state);
        self.durable.notify_one();
    }
}

impl State {
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        self.disk_full_until.is_some()
    }

    /// The first file, when all its frames come before `seq` and it is not the active one.
    fn releasable(&self, seq: u64) -> Option<FileInfo> {
        let (first, second) = (self.files.front()?, self.files.get(1)?);
        (second.first_seq <= seq).then_some(*first)
    }

    fn check_running(&self) -> Result<(), Refusal> {
        match &self.latched {
            Some(reason) => Err(Refusal::Latched(Arc::clone(reason))),
            None if self.closing => Err(Refusal::Closed),
            None => Ok(()),
        }
    }

    fn check_room(&self, config: &Config, frame_bytes: u64) -> Result<(), Refusal> {
        if frame_bytes > config.frame_bytes_max {
            return Err(Refusal::TooLarge { bytes: frame_bytes, bytes_max: config.frame_bytes_max });
        }
        let held_bytes = self.held_bytes + frame_bytes;
        if self.held_frames >= config.queued_frames_max
            || (self.held_frames > 0 && held_bytes > config.queued_bytes_max)
        {
            return Err(Refusal::Busy);
        }
        if self.file_bytes() + held_bytes > config.bytes_max {
            return Err(Refusal::Full);
        }
        if self.disk_full_until.is_some_and(|until| Instant::now() < until) {
            return Err(Refusal::DiskFull);
        }
        Ok(())
    }

    fn enqueue(&mut self, pending: Pending) {
        if let Some(key) = pending.append.key {
            self.in_flight.insert(key, Vec::new());
        }
        self.held_frames += 1;
        self.held_bytes += pending.frame_bytes();
        self.queue_bytes += pending.frame_bytes();
        self.queue.push_back(pending);
    }

    fn writer_is_awaited(&self, config: &Config) -> bool {
        self.wanted_frames > 0 && self.group_is_ready(config)
    }

    fn group_is_ready(&self, config: &Config) -> bool {
        self.queue.len() >= self.wanted_frames || self.queue_bytes >= config.group_bytes_max
    }

    fn take_group(&mut self, config: &Config) -> Vec<Pending> {
        let mut group = Vec::with_capacity(self.queue.len().min(GROUP_FRAMES_MAX));
        let mut bytes = 0;
        while group.len() < GROUP_FRAMES_MAX
            && let Some(next) = self.queue.front()
            && (group.is_empty() || bytes + next.frame_bytes() <= config.group_bytes_max)
        {
            bytes += next.frame_bytes();
            group.extend(self.queue.pop_front());
        }
        self.queue_bytes -= bytes;
        group
    }

    /// Turns a durable append into a frame of the tail, a remembered key, and the answers due.
    fn remember(&mut self, seq: u64, pending: Pending, answers: &mut Vec<(Ack, Appended)>) {
        let Append { kind, rows, key, time_ns, payload } = pending.append;
        answers.push((pending.ack, Appended::Durable { seq }));
        if let Some(key) = key {
            let waiting = self.in_flight.remove(&key).unwrap_or_default();
            answers.extend(waiting.into_iter().map(|ack| (ack, Appended::Duplicate { seq, rows })));
            self.keys.insert(KeyEntry { key, seq, rows, time_ns });
        }
        let frame = Frame { seq, kind, rows, time_ns, payload };
        self.tail_bytes += frame.tail_bytes();
        self.tail.push_back(frame);
    }

    /// Forgets appends that were not written, collecting those who wait for them.
    fn release(&mut self, group: Vec<Pending>, acks: &mut Vec<Ack>) {
        for pending in group {
            let waiting = pending.append.key.and_then(|key| self.in_flight.remove(&key)).unwrap_or_default();
            self.held_frames -= 1 + waiting.len();
            self.held_bytes -= pending.frame_bytes();
            acks.extend(waiting);
            acks.push(pending.ack);
        }
    }

    fn shorten_tail(&mut self, bytes_max: u64) {
        while self.tail_bytes > bytes_max
            && let Some(dropped) = self.tail.pop_front()
        {
            self.tail_bytes -= dropped.tail_bytes();
        }
    }

    /// Moves frames from `next_seq` on to `ready`; false when the tail begins after it.
    fn take_tail(&mut self, next_seq: u64, bytes_max: u64, ready: &mut VecDeque<Frame>) -> bool {
        if self.tail.front().is_none_or(|first| first.seq > next_seq) {
            return false;
        }
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(frame) = self.tail.pop_front()
        {
            self.tail_bytes -= frame.tail_bytes();
            if frame.seq >= next_seq {
                bytes += frame.tail_bytes();
                ready.push_back(frame);
            }
        }
        true
    }

    fn file_of(&self, seq: u64) -> FileInfo {
        let after = self.files.partition_point(|file| file.first_seq <= seq);
        self.files[after.saturating_sub(1)]
    }
}

impl Append {
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEAD_BYTES as u64 + self.payload.len() as u64
    }
}

//! Follows the log of one container from where it is durable.

use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use heimdall_ingest::{Caller, Refused};
use heimdall_model::Tenant;
use tokio::time::Instant;
use uuid::Uuid;

use super::checkpoint::{Checkpoint, Checkpoints, Pending};
use super::lines::{Assembler, Entry, Output};
use super::records::{self, Container};
use super::{BATCH_BYTES, BATCH_ENTRIES, NAME};
use crate::Shared;
use crate::shared::Handover;

/// Entries are handed over at the latest this long after the first of them.
const LINGER: Duration = Duration::from_millis(500);

/// Longest wait for the rest of a batch that was announced before a crash.
const REPLAY_PATIENCE: Duration = Duration::from_secs(10);

/// Why a log was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("the engine does not give it: {0}")]
    Engine(#[from] bollard::errors::Error),
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] std::io::Error),
    #[error(transparent)]
    Refused(#[from] Refused),
}

pub(crate) struct Follower<'f> {
    shared: &'f Shared,
    checkpoints: &'f Checkpoints,
    tenant: &'f Tenant,
    container: &'f Container,
    checkpoint: Checkpoint,
    /// Entries that are not handed over.
    entries: Vec<Entry>,
    bytes: usize,
    /// Whether the checkpoint has changed since it was kept.
    is_ahead: bool,
}

/// What to do after a step.
enum Next {
    ReadOn,
    End,
}

impl<'f> Follower<'f> {
    pub(crate) fn new(
        shared: &'f Shared,
        checkpoints: &'f Checkpoints,
        tenant: &'f Tenant,
        container: &'f Container,
    ) -> Follower<'f> {
        let checkpoint = Checkpoint::default();
        Follower {
            shared,
            checkpoints,
            tenant,
            container,
            checkpoint,
            entries: Vec::new(),
            bytes: 0,
            is_ahead: false,
        }
    }

    /// Reads until the container ends or the server does; what was read is durable then.
    pub(crate) async fn run(&mut self, engine: &Docker) -> Result<(), FollowError> {
        self.checkpoint = self.checkpoints.load(&self.container.id)?;
        let options = LogsOptionsBuilder::default()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(self.checkpoint.position.since())
            .build();
        let log = std::pin::pin!(engine.logs(&self.container.id, Some(options)));
        let read = self.read(log).await;
        if self.is_ahead {
            self.keep().await?;
        }
        read
    }

    async fn read<L>(&mut self, mut log: std::pin::Pin<&mut L>) -> Result<(), FollowError>
    where
        L: Stream<Item = Result<LogOutput, bollard::errors::Error>>,
    {
        let line_bytes_max = self.shared.limits.decode.record_bytes_max / 2;
        let mut assembler = Assembler::resume(self.checkpoint.position, line_bytes_max);
        let mut due: Option<Instant> = None;
        loop {
            let wait = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let next = tokio::select! {
                piece = log.next() => match piece {
                    Some(piece) => {
                        let (output, bytes) = piece_of(piece?);
                        let now = self.shared.intake.now();
                        let (entries, size) = (&mut self.entries, &mut self.bytes);
                        assembler.take(output, &bytes, now, |entry| {
                            *size += entry.text.len() + 32;
                            entries.push(entry);
                        });
                        Next::ReadOn
                    }
                    None => {
                        let entries = &mut self.entries;
                        assembler.finish(|entry| entries.push(entry));
                        Next::End
                    }
                },
                () = tokio::time::sleep_until(wait) => Next::ReadOn,
                () = self.shared.shutdown.cancelled() => Next::End,
            };
            if self.replay().await? {
                due = None;
            }
            let is_due = due.is_some_and(|due| Instant::now() >= due);
            match next {
                Next::End => return self.hand_over(self.entries.len()).await,
                Next::ReadOn if is_due => {
                    if self.entries.is_empty() && self.is_ahead {
                        self.keep().await?;
                    }
                    self.hand_over(self.entries.len()).await?;
                    due = None;
                }
                Next::ReadOn if self.bytes >= BATCH_BYTES || self.entries.len() >= BATCH_ENTRIES => {
                    self.hand_over(self.whole_records()).await?;
                }
                Next::ReadOn => {}
            }
            if due.is_none() && (!self.entries.is_empty() || self.is_ahead) {
                let is_replaying = self.checkpoint.pending.is_some();
                due = Some(Instant::now() + if is_replaying { REPLAY_PATIENCE } else { LINGER });
            }
        }
    }

    /// Entries before the last record, which may go on.
    fn whole_records(&self) -> usize {
        let last = self.entries.iter().rposition(records::begins_record);
        last.filter(|at| *at > 0).unwrap_or(self.entries.len())
    }

    /// Hands over again what was announced before a crash, once all of it is there; whether that is done now.
    async fn replay(&mut self) -> Result<bool, FollowError> {
        let Some(Pending { key, entries: count, first_ns, last_ns }) = self.checkpoint.pending.clone() else {
            return Ok(false);
        };
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.get(count.wrapping_sub(1)))
        else {
            return Ok(false);
        };
        if first.time.0 == first_ns && last.time.0 == last_ns {
            self.admit(count, key).await?;
        }
        self.checkpoint.pending = None; // else the engine has cut its log: these are other entries
        Ok(true)
    }

    /// Makes the first `count` entries durable.
    async fn hand_over(&mut self, count: usize) -> Result<(), FollowError> {
        let (Some(first), Some(last)) = (self.entries.first(), self.entries.get(count.wrapping_sub(1)))
        else {
            return Ok(());
        };
        if self.checkpoint.pending.is_some() && self.shared.shutdown.is_cancelled() {
            return Ok(()); // not all of the announced batch is there: the next start reads it again
        }
        let key = Uuid::new_v4().to_string();
        let (first_ns, last_ns) = (first.time.0, last.time.0);
        self.checkpoint.pending = Some(Pending { key: key.clone(), entries: count, first_ns, last_ns });
        self.keep().await?;
        self.admit(count, key).await
    }

    async fn admit(&mut self, count: usize, key: String) -> Result<(), FollowError> {
        let rest = self.entries.split_off(count);
        let entries = std::mem::replace(&mut self.entries, rest);
        let mut position = self.checkpoint.position;
        entries.iter().for_each(|entry| position.pass(entry));
        let bytes: usize = entries.iter().map(|entry| entry.text.len() + 32).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        let caller = Caller::named(self.tenant.clone(), &self.container.name);
        let sift = self.shared.sift(&caller, NAME);
        let decoded = records::decode(self.container, &entries, sift.reading(&self.shared.limits.decode));
        let handover =
            Handover { caller, door: NAME, key: Some(key), decoded: vec![decoded], bytes: bytes as u64 };
        self.shared.admit_patiently(handover, None).await?;
        self.checkpoint = Checkpoint { position, pending: None };
        self.is_ahead = true;
        Ok(())
    }

    /// Puts the checkpoint on disk.
    async fn keep(&mut self) -> Result<(), FollowError> {
        let (checkpoints, id) = (self.checkpoints.clone(), self.container.id.clone());
        let checkpoint = self.checkpoint.clone();
        let saved = tokio::task::spawn_blocking(move || checkpoints.save(&id, &checkpoint)).await;
        saved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        self.is_ahead = false;
        Ok(())
    }
}

fn piece_of(piece: LogOutput) -> (Output, Bytes) {
    match piece {
        LogOutput::StdErr { message } => (Output::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            (Output::Stdout, message)
        }
    }
}

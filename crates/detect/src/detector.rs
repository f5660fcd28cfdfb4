//! The trait every detector is, and what passes through it.
//!
//! A detector of your own is about thirty lines: implement [`Detector`], hand it to [`crate::Judge::add`].

use heimdall_model::{Assessment, Batch, Recovery, Tenant, Verdict};

use crate::config::DetectConfig;

/// A pure state machine over records.
///
/// The same batches in the same order must give the same findings, and a detector restored from a snapshot must go on
/// as the one that wrote it would have. State is bounded and belongs to one tenant each: nothing learnt from one
/// tenant may show in another's findings.
pub trait Detector: Send {
    /// Stable name, as in [`Verdict::detector`] and in snapshots.
    fn name(&self) -> &'static str;

    /// Whether it runs. One that does not keeps its state and sees nothing.
    fn is_enabled(&self) -> bool {
        true
    }

    /// Takes a new configuration, which has passed [`DetectConfig::check`], and keeps what was learnt.
    fn reconfigure(&mut self, _config: &DetectConfig) {}

    /// Judges the rows of a batch in order and adds what was found. Never fails: what cannot be judged is counted.
    fn observe(&mut self, batch: &Observed<'_>, out: &mut Findings);

    /// The state as bytes that [`Detector::restore`] reads.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state.
    ///
    /// # Errors
    /// The bytes are not a snapshot of this detector; the state is then as before.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;

    /// Keys held in state.
    fn state_keys(&self) -> usize;

    /// What was left out since the detector was made.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// One batch of one tenant, in journal order.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Owner of the records.
    pub tenant: &'a Tenant,
    /// The records: logs, metrics or spans.
    pub batch: &'a Batch,
}

/// What detectors said about a batch, in the order of its rows for each detector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// Findings worth an alert.
    pub verdicts: Vec<Verdict>,
    /// Ends of earlier findings. Detectors that judge a state rather than an event give them; they come after the verdicts
    /// of the same batch.
    pub recovered: Vec<Recovery>,
    /// The state of every measured value, for the audit line of its service.
    pub assessments: Vec<Assessment>,
    /// Findings of detectors and rules in rehearsal (`detect.dry_run`): to be shown, not to be acted on.
    pub rehearsed: Vec<Verdict>,
}

/// What a detector left out, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records later than the allowed lateness.
    pub late: u64,
    /// Records with event time too far ahead, judged at their arrival time.
    pub ahead: u64,
    /// Values that are not finite numbers, or too large to average.
    pub invalid: u64,
    /// Keys forgotten because there were too many or they were idle.
    pub evicted: u64,
}

/// Why a snapshot was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Written by another version of this detector.
    #[error("snapshot has version {found}, this program reads {wanted}")]
    Version {
        /// Version found.
        found: u32,
        /// Version read.
        wanted: u32,
    },
    /// Not a snapshot, or a broken one.
    #[error("snapshot is broken: {detail}")]
    Broken {
        /// What is wrong.
        detail: String,
    },
}

//! Damaged segments are set aside: a read found that a file of theirs is not what it should be, and answers go without
//! their rows, saying so.
//!
//! Invariants:
//! - a segment is set aside by the read that finds its damage, until the store is opened again or the segment is gone;
//! - nobody goes without its rows who has not asked to ([`Control::without_damaged`], [`View::without_damaged`]), and who
//!   has is told which ones are missing; for everybody else its damage is an error;
//! - what rewrites or moves segments leaves it alone: its files stay as they are, for a person to look at.
//!
//! [`Control::without_damaged`]: crate::Control::without_damaged

use std::path::Path;
use std::sync::{Arc, OnceLock};

use heimdall_model::{Dataset, Tenant, Timestamp};
use serde::Serialize;

use crate::scan::{ScanError, TimeRange};
use crate::segment::Segment;
use crate::store::{Store, StoreError};
use crate::view::View;

/// A segment set aside: answers go without its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedSegment {
    /// Whose records.
    pub tenant: Tenant,
    /// Which records.
    pub dataset: Dataset,
    /// Name of the damaged file, without its folder.
    pub file: String,
    /// What is wrong with it, and where.
    pub detail: String,
    /// Records of the segment.
    pub rows: u64,
    /// Event time of the earliest.
    pub min: Timestamp,
    /// Event time of the latest.
    pub max: Timestamp,
}

impl std::fmt::Display for DamagedSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DamagedSegment { file, detail, rows, min, max, .. } = self;
        write!(f, "{rows} records from {min} to {max} are missing: `{file}` is damaged ({detail})")
    }
}

/// The first damage found in the files of a segment, which share this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aside(Arc<OnceLock<Found>>);

#[derive(Debug)]
struct Found {
    file: String,
    detail: String,
}

impl Aside {
    /// Takes note of damage, and says so once.
    pub(crate) fn note(&self, path: &Path, detail: &str) {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if self.0.set(Found { file, detail: detail.to_owned() }).is_ok() {
            metrics::counter!("errors_total", "area" => "store").increment(1);
            tracing::error!(
                path = %path.display(),
                detail,
                "a segment is damaged; answers go without its records and say so"
            );
        }
    }
}

impl Segment {
    /// The damage for which it is set aside, if it is.
    pub(crate) fn damage(&self) -> Option<DamagedSegment> {
        let Found { file, detail } = self.aside.0.get()?;
        Some(DamagedSegment {
            tenant: self.meta.table.tenant.clone(),
            dataset: self.meta.table.dataset,
            file: file.clone(),
            detail: detail.clone(),
            rows: self.meta.rows,
            min: self.meta.min,
            max: self.meta.max,
        })
    }

    /// Whether no damage of it is known.
    pub(crate) fn is_sound(&self) -> bool {
        self.aside.0.get().is_none()
    }
}

impl View {
    /// The same without the segments that are set aside; [`View::missing`] tells of them.
    #[must_use]
    pub fn without_damaged(mut self) -> View {
        let damaged = self.segments.extract_if(.., |segment| !segment.is_sound());
        self.missing.extend(damaged.filter_map(|segment| segment.damage()));
        self
    }

    /// What it goes without of a range: segments set aside some of whose rows may lie in it.
    pub fn missing(&self, range: TimeRange) -> impl Iterator<Item = &DamagedSegment> {
        self.missing.iter().filter(move |damaged| range.touches(damaged.min, damaged.max))
    }
}

impl Store {
    /// Runs again while it fails at a segment that it found damaged, which is set aside by then: each time there is one less
    /// to fail on.
    ///
    /// # Errors
    /// Those of the last run.
    pub fn past_damage<T>(&self, mut run: impl FnMut() -> Result<T, ScanError>) -> Result<T, ScanError> {
        loop {
            let known = self.damaged().len();
            match run() {
                Err(ScanError::Store(StoreError::Corrupt { .. })) if self.damaged().len() > known => {}
                done => return done,
            }
        }
    }

    /// The segments that are set aside, over all tables.
    #[must_use]
    pub fn damaged(&self) -> Vec<DamagedSegment> {
        let state = self.state.read();
        state.segments.values().flatten().filter_map(|segment| segment.damage()).collect()
    }
}

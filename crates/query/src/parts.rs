//! A `stats` whose groups do not fit into memory at once: they are divided into parts by their keys, and the records are
//! read again for each part.
//!
//! Invariants:
//! - a group belongs to one part, and every part is of the rows of one view: the answer is the one that unbounded memory
//!   would give;
//! - what is finished of all parts stays within the bounds of groups too.
//!
//! Reading again costs time where writing groups out would cost disk: nothing is written for a question.

use heimdall_model::Value;
use heimdall_store::View;
use heimdall_store::summary::hash64;

use crate::cell::Rows;
use crate::engine::{QueryError, Run, value_bytes};
use crate::group::{Grouping, compare_keys, key_cell};
use crate::query::{Aggregate, GroupKey};

/// Parts that are tried first, and into which one that does not fit is divided.
const DIVISOR: u64 = 4;
/// Most parts.
const PARTS_MAX: u64 = 256;

/// Some of the groups: those whose hash has this remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    of: u64,
    remainder: u64,
}

impl Slice {
    /// All groups.
    pub(crate) const ALL: Slice = Slice { of: 1, remainder: 0 };

    pub(crate) fn is_all(self) -> bool {
        self.of == 1
    }

    /// Whether it holds the group of a row.
    pub(crate) fn holds(self, by: &[GroupKey], rows: &impl Rows, row: usize) -> bool {
        if self.is_all() {
            return true;
        }
        let mut key = Vec::new();
        by.iter().for_each(|by| key_cell(by, rows, row).encode(&mut key));
        hash64(0, &key) % self.of == self.remainder
    }

    fn divided(self) -> impl Iterator<Item = Slice> {
        (0..DIVISOR).map(move |n| Slice { of: self.of * DIVISOR, remainder: self.remainder + n * self.of })
    }
}

impl Run<'_> {
    /// Whether groups that do not fit can be found part by part.
    pub(crate) fn has_parts(&self, aggregates: &[Aggregate], by: &[GroupKey]) -> bool {
        !by.is_empty() && !self.plan.rate_needs_times(aggregates, by)
    }

    /// The finished rows of all groups in the order of their keys, and notes on estimates.
    pub(crate) fn in_parts(
        &mut self,
        view: &View,
        aggregates: &[Aggregate],
        by: &[GroupKey],
    ) -> Result<(Vec<Vec<Value>>, Vec<String>), QueryError> {
        let mut left: Vec<Slice> = Slice::ALL.divided().collect();
        let (mut rows, mut notes, mut bytes, mut reads) = (Vec::new(), Vec::new(), 0, 0_usize);
        while let Some(part) = left.pop() {
            reads += 1;
            let mut grouping = Grouping::new(aggregates, by, self.limits);
            let looked = match self.scan_part(view, self.plan.range, &mut grouping, part) {
                Err(QueryError::TooMuchMemory { .. }) if part.of < PARTS_MAX => {
                    left.extend(part.divided());
                    continue;
                }
                looked => looked?,
            };
            let cut = looked.cut;
            self.has_looked(looked);
            let (found, more) = grouping.finish(self.plan.range);
            bytes += found.iter().flatten().map(value_bytes).sum::<usize>();
            rows.extend(found);
            self.has_room(rows.len(), bytes)?;
            notes.extend(more.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
            if cut.is_some() {
                let missing = format!("{} of its parts of groups are missing", left.len());
                self.stats.is_missing(missing);
                break;
            }
        }
        rows.sort_by(|a, b| compare_keys(&a[..by.len()], &b[..by.len()]));
        notes
            .push(format!("the groups did not fit into memory at once: the records were read {reads} times"));
        Ok((rows, notes))
    }

    fn has_room(&self, groups: usize, bytes: usize) -> Result<(), QueryError> {
        if groups > self.limits.groups_max {
            return Err(QueryError::TooManyGroups { groups_max: self.limits.groups_max });
        }
        if bytes > self.limits.group_bytes_max {
            return Err(QueryError::TooMuchMemory { bytes_max: self.limits.group_bytes_max });
        }
        Ok(())
    }
}

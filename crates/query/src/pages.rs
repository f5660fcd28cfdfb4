//! Pages of a list of records: where one ended, the next goes on.
//!
//! Invariants:
//! - a place is an event time and a position, and no two records have the same: a page begins after exactly the record that
//!   the one before ended with, however many share its time;
//! - records that arrive meanwhile are on a later page when they come after the place in the order of the list, and else on
//!   none: nothing comes twice, and nothing that was there is passed over;
//! - what comes before the place is not read: a page costs the same wherever it is.

use heimdall_model::filter::Target;
use heimdall_model::{Position, Timestamp, schema};
use heimdall_store::TimeRange;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, Source, Strategy};
use crate::query::{Pipe, Query};

/// The place in a list of records after which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePlace {
    /// Event time of the record before.
    pub time: Timestamp,
    /// Its position.
    pub position: Position,
    /// Rows of all pages before: a `limit` of the line is of all pages together.
    pub rows: u64,
}

/// Which way a paged list goes, and how equal times are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Latest first; equal times by arrival, latest first.
    Newest,
    /// Earliest first; equal times by arrival, earliest first.
    Oldest,
    /// Earliest first; equal times by arrival, latest first.
    OldestByTop,
}

impl Plan<'_> {
    fn direction(&self) -> Option<Direction> {
        let Source::Records { sort, .. } = &self.source else { return None };
        match (self.strategy, sort.as_slice()) {
            (Strategy::NewestFirst, _) => Some(Direction::Newest),
            (Strategy::OldestFirst, _) => Some(Direction::Oldest),
            (Strategy::Top, [key]) if key.target == Target::Field(schema::TIMESTAMP) && !key.descending => {
                Some(Direction::OldestByTop)
            }
            _ => None,
        }
    }

    /// Whether the answer is a list of records in the order of time, a row for each of them.
    pub(crate) fn is_paged(&self) -> bool {
        let keeps_rows =
            |pipe: &Pipe| matches!(pipe, Pipe::Fields(_) | Pipe::Drop(_) | Pipe::Eval(_) | Pipe::Parse(_));
        self.direction().is_some()
            && self.dedup.is_none()
            && self.context.is_none()
            && self.rest.iter().all(keeps_rows)
            && !self.stage.iter().any(|pipe| matches!(pipe, Pipe::Join(_)))
    }

    /// Leaves out the times before a place.
    pub(crate) fn begin_after(&mut self, place: PagePlace) {
        let TimeRange { from, to } = self.range;
        self.range = match self.direction() {
            None => return,
            Some(Direction::Newest) => TimeRange { from, to: to.min(place.time.saturating_add_ns(1)) },
            Some(Direction::Oldest | Direction::OldestByTop) => TimeRange { from: from.max(place.time), to },
        };
        self.after = Some(place);
    }

    /// Whether a row of this time and position comes after the place that the page begins at.
    pub(crate) fn is_on_page(&self, (time, position): (i64, u64)) -> bool {
        let Some(place) = self.after else { return true };
        let (at, behind) = (place.time.0, place.position.0);
        match self.direction() {
            Some(Direction::Newest) => (time, position) < (at, behind),
            Some(Direction::Oldest) => (time, position) > (at, behind),
            Some(Direction::OldestByTop) => time > at || (time == at && position < behind),
            None => true,
        }
    }
}

impl Query {
    /// Whether its answer has pages: it is a list of records in the order of time, a row for each, without `dedup`,
    /// `context` and `join`, and without conditions after a `limit`.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        Plan::new(self).is_paged()
    }
}

#[cfg(test)]
mod tests;

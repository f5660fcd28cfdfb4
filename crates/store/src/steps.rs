//! How a part of a table answers for a range of time by what it keeps of hours and of spans of minutes.
//!
//! It answers with the longest that will do: the whole hours it shares with the range, then the whole spans beside them. What is left
//! at an end that cuts a span is scanned. Where no record of the part lies beyond an end, nothing is cut there.
//!
//! Invariant: hours, spans and what is left do not overlap, and hold every record of the part that is in the range.

use std::collections::BTreeMap;

use heimdall_model::Timestamp;

use crate::scan::TimeRange;
use crate::store::StoreError;
use crate::summary::HOUR_NS;
use crate::view::{Bin, Extent, Part, Rest, SummaryExtent, View};

/// What a part answers with.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// Hours that start in it.
    pub hours: Option<TimeRange>,
    /// Spans that start in one of these.
    pub spans: Vec<TimeRange>,
    /// The rest.
    pub left: Vec<TimeRange>,
}

impl Steps {
    /// Of a part that reaches into `range`. `bin`: a step must not lie in two. `span_ns` gives the length of the part's spans, if it
    /// has any.
    pub(crate) fn of(
        part: Part<'_>,
        range: TimeRange,
        bin: Option<Bin>,
        span_ns: &mut dyn FnMut() -> Result<Option<i64>, StoreError>,
    ) -> Result<Steps, StoreError> {
        let (min, max) = part.bounds();
        let open = TimeRange {
            from: if range.from <= min { TimeRange::ALL.from } else { range.from },
            to: if max < range.to { TimeRange::ALL.to } else { range.to },
        };
        let touches = |range: &TimeRange| range.touches(min, max);
        if matches!(part, Part::Chunk(_)) && open != TimeRange::ALL {
            // Looking at a few thousand rows takes less.
            return Ok(Steps { left: vec![range], ..Steps::default() });
        }
        let hours = if bin.is_none_or(Bin::is_hours) { open.whole(HOUR_NS) } else { None };
        let hours = hours.filter(touches);
        let mut steps = Steps { hours, ..Steps::default() };
        let mut inner = hours;
        if hours.is_none_or(|hours| !hours.covers(min, max))
            && let Some(span_ns) = span_ns()?
            && bin.is_none_or(|bin| bin.span_ns % span_ns == 0)
            && let Some(spans) = open.whole(span_ns)
        {
            steps.spans = spans.without(hours).filter(touches).collect();
            inner = Some(spans);
        }
        steps.left = range.without(inner).filter(touches).collect();
        Ok(steps)
    }
}

/// What is left of several parts.
pub(crate) struct Left<'v> {
    view: &'v View,
    views: BTreeMap<(Timestamp, Timestamp), View>,
}

impl<'v> Left<'v> {
    pub(crate) fn of(view: &'v View) -> Left<'v> {
        Left { view, views: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, part: Part<'_>, left: Vec<TimeRange>) {
        for TimeRange { from, to } in left {
            self.views.entry((from, to)).or_insert_with(|| self.view.without_parts()).push(part);
        }
    }

    /// To be scanned.
    pub(crate) fn finish(self) -> Vec<Rest> {
        let rest = |((from, to), view)| Rest { view, range: TimeRange { from, to } };
        self.views.into_iter().map(rest).collect()
    }
}

impl SummaryExtent {
    /// Adds what a part takes that answers with these blocks.
    pub(crate) fn add(
        &mut self,
        part: Part<'_>,
        range: TimeRange,
        kinds: impl Iterator<Item = u32>,
        left: Vec<TimeRange>,
    ) -> Result<(), StoreError> {
        let mut answers = false;
        for kind in kinds {
            answers = true;
            match part.block_bytes(kind)?.flatten() {
                Some(bytes) => self.bytes += bytes,
                None => self.rows_to_count += part.extent(range).rows,
            }
        }
        self.parts += usize::from(answers);
        left.into_iter().for_each(|range| self.rest.add(part.extent(range)));
        Ok(())
    }
}

impl Extent {
    pub(crate) fn add(&mut self, more: Extent) {
        self.parts += more.parts;
        self.rows += more.rows;
        self.bytes += more.bytes;
    }
}

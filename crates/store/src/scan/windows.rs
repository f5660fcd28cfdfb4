//! Windows of time: the rows of a segment, read part by part where each of its pages holds rows of all of its time.
//!
//! Rows stand by service and template, so the newest hundred of a word stand in as many pages as there are templates with it, and the
//! bounds of a page rule none out. Where the rows of each run's minutes stand is known: reading those of the newest minutes costs a
//! part of reading all.
//!
//! Invariant: every candidate in the range is in one window; windows come in the order of the search and do not overlap.

use std::collections::BTreeMap;

use heimdall_model::Timestamp;

use super::TimeRange;
use super::search::Order;
use crate::candidates::{Candidates, Residue, cuts_of};
use crate::segment::Segment;
use crate::sidecar::{Damage, kind};
use crate::store::StoreError;
use crate::summary::read_run_spans;

/// What is left to be read of a segment.
pub(super) struct Windows {
    candidates: Candidates,
    /// Spans of time that hold candidates, the first in order last.
    spans: Vec<Span>,
}

/// Candidates in one span of time.
#[derive(Debug, Clone, Copy)]
struct Span {
    range: TimeRange,
    rows: u64,
    /// Those of them that pass for certain.
    certain: u64,
}

impl Windows {
    /// Windows of a segment's candidates, or these back where they are not known to stand in several spans of time.
    pub(super) fn of(
        segment: &Segment,
        candidates: Candidates,
        range: TimeRange,
        order: Order,
    ) -> Result<Result<Windows, Candidates>, StoreError> {
        let mut spans = spans(segment, &candidates, range)?;
        if order == Order::OldestFirst {
            spans.reverse();
        }
        Ok(if spans.len() > 1 { Ok(Windows { candidates, spans }) } else { Err(candidates) })
    }

    /// Times of the next window's first span.
    pub(super) fn first(&self) -> Option<TimeRange> {
        self.spans.last().map(|span| span.range)
    }

    /// The next window, and the candidates in it: as many spans as together have `rows` of them, or `certain` that pass.
    pub(super) fn next(
        &mut self,
        segment: &Segment,
        rows: u64,
        certain: u64,
    ) -> Result<(TimeRange, Candidates), StoreError> {
        let mut window =
            Span { range: TimeRange { from: Timestamp(0), to: Timestamp(0) }, rows: 0, certain: 0 };
        while window.rows < rows && window.certain < certain.max(1) {
            let Some(span) = self.spans.pop() else { break };
            window = Span {
                range: if window.rows == 0 { span.range } else { window.range.joined(span.range) },
                rows: window.rows + span.rows,
                certain: window.certain + span.certain,
            };
        }
        let missing =
            || segment.sidecar().damaged(kind::RUN_SPANS, &Damage { at: 0, detail: "it is missing" });
        let cuts = cuts_of(segment, window.range)?.ok_or_else(missing)?;
        Ok((window.range, self.candidates.cut(&cuts)))
    }
}

/// The spans of a range that hold candidates, the earliest first; none where the segment does not know.
fn spans(segment: &Segment, candidates: &Candidates, range: TimeRange) -> Result<Vec<Span>, StoreError> {
    let sidecar = segment.sidecar();
    let Some(bytes) = sidecar.bytes(kind::RUN_SPANS)? else { return Ok(Vec::new()) };
    let mut found: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    let mut pieces = candidates.0.as_slice();
    let length = read_run_spans(&bytes, &sidecar.runs()?.runs, &mut |_, start, rows| {
        let (from, to) = (rows.start as usize, rows.end as usize);
        let past = pieces.iter().take_while(|piece| piece.rows.end <= from).count();
        pieces = &pieces[past..];
        for piece in pieces.iter().take_while(|piece| piece.rows.start < to) {
            let within = (piece.rows.end.min(to) - piece.rows.start.max(from)) as u64;
            let (all, certain) = found.entry(start).or_default();
            *all += within;
            *certain += if piece.ask == Residue::NOTHING { within } else { 0 };
        }
    });
    let length = length.map_err(|damage| sidecar.damaged(kind::RUN_SPANS, &damage))?;
    let span = |(start, (rows, certain)): (i64, (u64, u64))| Span {
        range: range
            .intersection(TimeRange { from: Timestamp(start), to: Timestamp(start.saturating_add(length)) }),
        rows,
        certain,
    };
    let mut spans: Vec<Span> = found.into_iter().map(span).collect();
    spans.retain(|span| span.range.from < span.range.to);
    Ok(spans)
}

//! Rows of a segment a filter may pass, known before any row is read: by token signature, run, page zone and level.
//!
//! Invariant: a row outside the candidates does not pass; a row counted as certain does.

use std::ops::Range;

use heimdall_model::Timestamp;

use crate::eval::Predicate;
use crate::prune::{self, Known, Verdict};
use crate::scan::TimeRange;
use crate::segment::Segment;
use crate::sidecar::{PAGE_ROWS, Zones};
use crate::signature;
use crate::store::StoreError;

/// What candidates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Every passing row is wanted.
    Read,
    /// Only their number.
    Count,
}

/// Rows of a segment a filter may pass, as ranges of row numbers.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Rows to read and test.
    pub maybe: Vec<Range<usize>>,
    /// Those of them whose templates decide every test on the message: their messages need not be read.
    pub told: Vec<Range<usize>>,
    /// Rows that pass for certain, time included.
    pub yes: u64,
}

impl Candidates {
    fn add(&mut self, rows: Range<usize>, told: bool) {
        if told {
            extend(&mut self.told, rows.clone());
        }
        extend(&mut self.maybe, rows);
    }

    /// Parts rising ranges into the rows whose messages are needed and those whose are not.
    pub(crate) fn by_need(&self, ranges: &[Range<usize>]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let (mut needed, mut told) = (Vec::new(), Vec::new());
        for range in ranges {
            let mut at = range.start;
            let first = self.told.partition_point(|told| told.end <= range.start);
            for part in self.told[first..].iter().take_while(|told| told.start < range.end) {
                let (start, end) = (part.start.max(range.start), part.end.min(range.end));
                extend(&mut needed, at..start);
                extend(&mut told, start..end);
                at = end;
            }
            extend(&mut needed, at..range.end);
        }
        (needed, told)
    }
}

/// Adds rows after the others.
fn extend(ranges: &mut Vec<Range<usize>>, rows: Range<usize>) {
    match ranges.last_mut() {
        _ if rows.is_empty() => {}
        Some(last) if last.end == rows.start => last.end = rows.end,
        _ => ranges.push(rows),
    }
}

/// Rows of a segment worth reading, by signature, run and page. For a count, runs that pass for certain are counted
/// unread.
pub(crate) fn of(
    segment: &Segment,
    predicate: &Predicate,
    range: TimeRange,
    purpose: Purpose,
) -> Result<Candidates, StoreError> {
    let mut found = Candidates::default();
    let spans = spans(segment, predicate)?;
    if spans.is_empty() {
        return Ok(found);
    }
    let (directory, zones) = (segment.sidecar().runs()?, segment.sidecar().zones()?);
    let dataset = segment.meta.table.dataset;
    let covered = range.covers(segment.meta.min, segment.meta.max);
    let asks_template = predicate.asks_template();
    for span in spans {
        let first = directory.runs.partition_point(|run| run.rows.end as usize <= span.start);
        for run in directory.runs[first..].iter().take_while(|run| (run.rows.start as usize) < span.end) {
            let text = if asks_template { predicate.template_text(run.template) } else { None };
            let mut known = Known {
                dataset,
                service: Some(directory.service(run)),
                template: Some((run.template, text.as_deref())),
                levels: None,
                decisions: predicate.decisions(),
            };
            let rows = span.start.max(run.rows.start as usize)..span.end.min(run.rows.end as usize);
            match prune::ask(predicate.root(), &known) {
                Verdict::No => {}
                Verdict::Yes if covered && purpose == Purpose::Count => found.yes += rows.len() as u64,
                verdict => {
                    let told = predicate.asks_messages() && !prune::needs_text(predicate.root(), &known);
                    for rows in touched(rows, &zones, range) {
                        known.levels = Some(zones.0[rows.start / PAGE_ROWS].levels);
                        let is_wanted =
                            verdict == Verdict::Yes || prune::ask(predicate.root(), &known) != Verdict::No;
                        if is_wanted {
                            found.add(rows, told);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Rows of the pages that the signature does not rule out.
fn spans(segment: &Segment, predicate: &Predicate) -> Result<Vec<Range<usize>>, StoreError> {
    let rows = usize::try_from(segment.meta.rows).unwrap_or(usize::MAX);
    let span = |pages: Range<usize>| pages.start * PAGE_ROWS..rows.min(pages.end * PAGE_ROWS);
    Ok(match signature::pages(segment.sidecar(), predicate.need())? {
        None => std::iter::once(0..rows).collect(),
        Some(pages) => pages.ranges().map(span).collect(),
    })
}

/// The parts of some rows that lie in one page each, of pages that the time range touches.
fn touched(rows: Range<usize>, zones: &Zones, range: TimeRange) -> impl Iterator<Item = Range<usize>> {
    let mut at = rows.start;
    let parts = std::iter::from_fn(move || {
        (at < rows.end).then(|| {
            let stop = rows.end.min((at / PAGE_ROWS + 1) * PAGE_ROWS);
            std::mem::replace(&mut at, stop)..stop
        })
    });
    parts.filter(move |rows| {
        let zone = zones.0[rows.start / PAGE_ROWS];
        range.touches(Timestamp(zone.min_ns), Timestamp(zone.max_ns))
    })
}

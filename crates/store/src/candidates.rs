//! Rows of a segment a filter may pass, known before any row is read: by run, page zone and level.
//!
//! Invariant: a row outside the candidates does not pass; a row counted as certain does.

use std::ops::Range;

use heimdall_model::Timestamp;
use heimdall_model::schema::logs;

use crate::eval::Predicate;
use crate::prune::{self, Known, Verdict};
use crate::scan::TimeRange;
use crate::segment::Segment;
use crate::sidecar::PAGE_ROWS;
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
pub(crate) struct Candidates {
    /// Rows to read and test.
    pub maybe: Vec<Range<usize>>,
    /// Rows that pass for certain, time included.
    pub yes: u64,
}

/// Rows of a segment worth reading, by run and page. For a count, runs that pass for certain are counted unread.
pub(crate) fn of(
    segment: &Segment,
    predicate: &Predicate,
    range: TimeRange,
    purpose: Purpose,
) -> Result<Candidates, StoreError> {
    let (directory, zones) = (segment.sidecar().runs()?, segment.sidecar().zones()?);
    let dataset = segment.meta.table.dataset;
    let covered = range.covers(segment.meta.min, segment.meta.max);
    let asks_template = predicate.fields(dataset.attributes()).contains(&logs::TEMPLATE_ID);
    let mut found = Candidates { maybe: Vec::new(), yes: 0 };
    for run in &directory.runs {
        let text = if asks_template { predicate.template_text(run.template) } else { None };
        let mut known = Known {
            dataset,
            service: Some(directory.service(run)),
            template: Some((run.template, text.as_deref())),
            levels: None,
        };
        let verdict = prune::ask(predicate.root(), &known);
        if verdict == Verdict::No {
            continue;
        }
        if verdict == Verdict::Yes && covered && purpose == Purpose::Count {
            found.yes += u64::from(run.rows.end - run.rows.start);
            continue;
        }
        let (mut at, end) = (run.rows.start as usize, run.rows.end as usize);
        while at < end {
            let page = at / PAGE_ROWS;
            let stop = end.min((page + 1) * PAGE_ROWS);
            let zone = zones.0[page];
            known.levels = Some(zone.levels);
            let wanted = range.touches(Timestamp(zone.min_ns), Timestamp(zone.max_ns))
                && (verdict == Verdict::Yes || prune::ask(predicate.root(), &known) != Verdict::No);
            if wanted {
                match found.maybe.last_mut() {
                    Some(last) if last.end == at => last.end = stop,
                    _ => found.maybe.push(at..stop),
                }
            }
            at = stop;
        }
    }
    Ok(found)
}

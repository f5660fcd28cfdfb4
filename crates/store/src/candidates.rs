//! Rows of a segment a filter may pass, known before any row is decoded: by token signature, bytes of ids, run, page zone and level.
//!
//! Invariants:
//! - a row outside the candidates does not pass;
//! - a row of a piece passes if the piece's own test says so: what it leaves out is certain.

use std::cmp::Ordering;
use std::ops::Range;

use heimdall_model::Timestamp;

use crate::eval::Predicate;
use crate::ids;
use crate::prune::{self, Known, Verdict};
use crate::scan::TimeRange;
use crate::segment::Segment;
use crate::sidecar::{PAGE_ROWS, Run, RunDirectory, Zones, kind};
use crate::signature;
use crate::store::StoreError;
use crate::summary::{Cut, cuts};

/// How much of the filter is left to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    /// Nothing: rows pass.
    Nothing,
    /// All but messages, on which templates decide.
    WithoutMessages,
    /// All of it.
    Everything,
}

/// What is left to be asked of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Residue {
    pub filter: Ask,
    /// Whether some of them may be outside the time range.
    pub time: bool,
}

impl Residue {
    /// The rows pass.
    pub(crate) const NOTHING: Residue = Residue { filter: Ask::Nothing, time: false };
}

/// Neighbouring rows of which the same is left to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Row numbers within the segment.
    pub rows: Range<usize>,
    pub ask: Residue,
}

impl Ord for Piece {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |piece: &Piece| (piece.rows.start, piece.rows.end, piece.ask);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Rows of a segment a filter may pass: rising, none of them empty.
#[derive(Debug, Default)]
pub(crate) struct Candidates(pub Vec<Piece>);

impl Candidates {
    /// Rows that pass for certain, time included.
    pub(crate) fn yes_rows(&self) -> u64 {
        let yes = self.0.iter().filter(|piece| piece.ask == Residue::NOTHING);
        yes.map(|piece| piece.rows.len() as u64).sum()
    }

    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.0.iter().map(|piece| piece.rows.len() as u64).sum()
    }

    fn add(&mut self, rows: Range<usize>, ask: Residue) {
        match self.0.last_mut() {
            _ if rows.is_empty() => {}
            Some(last) if last.rows.end == rows.start && last.ask == ask => last.rows.end = rows.end,
            _ => self.0.push(Piece { rows, ask }),
        }
    }

    /// Those that may lie in a range, by where the rows of each run stand; `cuts` are those of all runs.
    pub(crate) fn cut(&self, cuts: &[Cut]) -> Candidates {
        let mut found = Candidates::default();
        let mut next = 0;
        for Piece { rows, ask } in &self.0 {
            next += cuts[next..].partition_point(|cut| cut.rows[3] as usize <= rows.start);
            for Cut { rows: [from, inner, after, to] } in &cuts[next..] {
                if *from as usize >= rows.end {
                    break;
                }
                for (start, end, time) in
                    [(from, inner, ask.time), (inner, after, false), (after, to, ask.time)]
                {
                    let part = intersection(&(*start as usize..*end as usize), rows);
                    found.add(part, Residue { time, ..*ask });
                }
            }
        }
        found
    }
}

/// Rows of a segment worth reading, by signature, run and page; and by time within runs, where pages leave at least `cut_rows_min` rows.
pub(crate) fn of(
    segment: &Segment,
    predicate: &Predicate,
    range: TimeRange,
    cut_rows_min: Option<u64>,
) -> Result<Candidates, StoreError> {
    let spans = ids::narrow(segment, predicate.root(), spans(segment, predicate)?)?;
    if spans.is_empty() {
        return Ok(Candidates::default());
    }
    let (directory, zones) = (segment.sidecar().runs()?, segment.sidecar().zones()?);
    let is_covered = range.covers(segment.meta.min, segment.meta.max);
    let dataset = segment.meta.table.dataset;
    let mut search = Search {
        predicate,
        range,
        directory: &directory,
        zones: &zones,
        is_covered,
        asks_levels: predicate.asks_levels(dataset),
        known: Known {
            dataset,
            service: None,
            template: None,
            levels: None,
            decisions: predicate.decisions(),
        },
        found: Candidates::default(),
    };
    spans.into_iter().for_each(|span| search.span(span));
    let found = search.found;
    let is_cut = !is_covered && cut_rows_min.is_some_and(|min| found.rows() >= min);
    Ok(match if is_cut { cuts_of(segment, range)? } else { None } {
        Some(cuts) => found.cut(&cuts),
        None => found,
    })
}

/// Where the rows of a range stand in each run; `None` where the segment does not know.
pub(crate) fn cuts_of(segment: &Segment, range: TimeRange) -> Result<Option<Vec<Cut>>, StoreError> {
    let (sidecar, kind) = (segment.sidecar(), kind::RUN_SPANS);
    let Some(bytes) = sidecar.bytes(kind)? else { return Ok(None) };
    let cuts = cuts(&bytes, &sidecar.runs()?.runs, range);
    cuts.map(Some).map_err(|damage| sidecar.damaged(kind, &damage))
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

struct Search<'a> {
    predicate: &'a Predicate,
    range: TimeRange,
    directory: &'a RunDirectory,
    zones: &'a Zones,
    is_covered: bool,
    asks_levels: bool,
    known: Known<'a>,
    found: Candidates,
}

impl<'a> Search<'a> {
    /// Service by service, and template by template where that can tell more.
    fn span(&mut self, span: Range<usize>) {
        let runs = &self.directory.runs;
        let mut at = runs.partition_point(|run| run.rows.end as usize <= span.start);
        let by_template = self.predicate.asks_template() || self.predicate.asks_messages();
        while let Some(first) = runs.get(at).filter(|run| (run.rows.start as usize) < span.end) {
            let of_service = runs[at..].partition_point(|run| run.service == first.service).max(1);
            let last = &runs[at + of_service - 1];
            self.known.service = Some(self.directory.service(first));
            self.known.template = None;
            let verdict = prune::ask(self.predicate.root(), &self.known);
            if verdict == Verdict::Maybe && by_template {
                let of_service = runs[at..at + of_service].iter();
                let within = of_service.take_while(|run| (run.rows.start as usize) < span.end);
                within.for_each(|run| self.run(run, &span));
            } else {
                let rows = first.rows.start as usize..last.rows.end as usize;
                let known = self.known;
                self.rows(intersection(&rows, &span), verdict, &known);
            }
            at += of_service;
        }
    }

    fn run(&mut self, run: &Run, span: &Range<usize>) {
        let rows = intersection(&(run.rows.start as usize..run.rows.end as usize), span);
        if rows.is_empty() {
            return;
        }
        let text = self.predicate.asks_template().then(|| self.predicate.template_text(run.template));
        let text = text.flatten();
        let known = Known { template: Some((run.template, text.as_deref())), ..self.known };
        let verdict = prune::ask(self.predicate.root(), &known);
        self.rows(rows, verdict, &known);
    }

    /// Rows of which the same is known, but for what their pages tell.
    fn rows(&mut self, rows: Range<usize>, verdict: Verdict, known: &Known<'_>) {
        let filter = match verdict {
            Verdict::No => return,
            Verdict::Yes => Ask::Nothing,
            Verdict::Maybe if prune::needs_text(self.predicate.root(), known) => Ask::Everything,
            Verdict::Maybe => Ask::WithoutMessages,
        };
        let asks_levels = self.asks_levels && verdict == Verdict::Maybe;
        if self.is_covered && !asks_levels {
            return self.found.add(rows, Residue { filter, time: false });
        }
        for rows in by_page(rows) {
            let zone = self.zones.0[rows.start / PAGE_ROWS];
            let (min, max) = (Timestamp(zone.min_ns), Timestamp(zone.max_ns));
            if !self.range.touches(min, max) {
                continue;
            }
            let mut ask = Residue { filter, time: !self.range.covers(min, max) };
            if asks_levels {
                let known = Known { levels: Some(zone.levels), ..*known };
                match prune::ask(self.predicate.root(), &known) {
                    Verdict::No => continue,
                    Verdict::Yes => ask.filter = Ask::Nothing,
                    Verdict::Maybe => {}
                }
            }
            self.found.add(rows, ask);
        }
    }
}

fn intersection(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// The parts of a range that lie in one page each.
pub(crate) fn by_page(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = rows.start;
    std::iter::from_fn(move || {
        (at < rows.end).then(|| {
            let stop = rows.end.min((at / PAGE_ROWS + 1) * PAGE_ROWS);
            std::mem::replace(&mut at, stop)..stop
        })
    })
}

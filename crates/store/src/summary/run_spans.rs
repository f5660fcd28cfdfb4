//! Rows of each run by span of time: which rows of a segment lie in a part of its time, without looking at one of them.
//!
//! A run's rows stand in the order of time, so those of a span of minutes are neighbours: how many they are says where they are.
//!
//! Invariants:
//! - the counts of a run sum to its rows, and its spans rise;
//! - spans are so long that there are at most an eighth as many counts as rows; where whole hours are too many, there are none.

use std::ops::Range;

use super::cells::{MINUTE_NS, SPAN_MINUTES, read_span_ns};
use super::codec::{Damage, Reader, put, put_signed};
use crate::scan::TimeRange;
use crate::sidecar::Run;

/// Rows for each count, at least; and counts that there may be anyway.
const ROWS_PER_COUNT: usize = 8;
const COUNTS_MIN: usize = 1_024;

/// Rows of one run in one span.
#[derive(Debug, Clone, Copy)]
struct Count {
    run: u32,
    /// Spans since the epoch.
    span: i64,
    rows: u32,
}

/// Counts rows as they come: run by run, in the order of time.
#[derive(Debug)]
pub(crate) struct RunSpansBuilder {
    counts: Vec<Count>,
    rows: usize,
    /// Index into [`SPAN_MINUTES`]; beyond it counts are given up.
    length: usize,
    /// Times of the last count's span.
    current: Range<i64>,
}

impl Default for RunSpansBuilder {
    fn default() -> Self {
        RunSpansBuilder { counts: Vec::new(), rows: 0, length: 0, current: 0..0 }
    }
}

impl RunSpansBuilder {
    /// Adds a row of the run numbered `run`: the last one or the next.
    #[inline]
    pub(crate) fn push(&mut self, run: usize, ns: i64) {
        self.rows += 1;
        match self.counts.last_mut() {
            Some(last) if last.run as usize == run && self.current.contains(&ns) => last.rows += 1,
            _ => self.begin(run, ns),
        }
    }

    fn begin(&mut self, run: usize, ns: i64) {
        if self.counts.len() >= COUNTS_MIN + self.rows / ROWS_PER_COUNT {
            self.coarsen();
        }
        let Some(minutes) = SPAN_MINUTES.get(self.length) else { return };
        let length = i64::try_from(*minutes).expect("at most 60") * MINUTE_NS;
        let (run, span) = (u32::try_from(run).expect("fewer runs than rows"), ns.div_euclid(length));
        // Where time ends a span has no bounds that can be told: each of its rows comes here.
        let bounds = span.checked_mul(length).and_then(|start| Some(start..start.checked_add(length)?));
        self.current = bounds.unwrap_or(0..0);
        match self.counts.last_mut() {
            // Spans that became longer, or one at the end of time.
            Some(last) if (last.run, last.span) == (run, span) => last.rows += 1,
            _ => self.counts.push(Count { run, span, rows: 1 }),
        }
    }

    #[cold]
    fn coarsen(&mut self) {
        while self.counts.len() > COUNTS_MIN + self.rows / (2 * ROWS_PER_COUNT) {
            let (before, after) = (SPAN_MINUTES.get(self.length), SPAN_MINUTES.get(self.length + 1));
            self.length += 1;
            let (Some(before), Some(after)) = (before, after) else {
                self.counts = Vec::new();
                return;
            };
            let together = i64::try_from(after / before).expect("at most 60");
            self.counts.iter_mut().for_each(|count| count.span = count.span.div_euclid(together));
            self.counts.dedup_by(|later, first| {
                let is_one = (later.run, later.span) == (first.run, first.span);
                if is_one {
                    first.rows += later.rows;
                }
                is_one
            });
        }
    }

    /// The block; `None` when counts were given up, and for no rows.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.counts.len() > self.rows / ROWS_PER_COUNT + COUNTS_MIN {
            self.coarsen();
        }
        let minutes = SPAN_MINUTES.get(self.length).filter(|_| !self.counts.is_empty())?;
        let mut out = Vec::new();
        put(&mut out, *minutes as u64);
        let mut last = 0;
        for run in self.counts.chunk_by(|a, b| a.run == b.run) {
            put(&mut out, run.len() as u64);
            put_signed(&mut out, run[0].span - last);
            last = run[0].span;
            let mut before = last;
            for (number, count) in run.iter().enumerate() {
                if number > 0 {
                    put(&mut out, (count.span - before - 1).cast_unsigned());
                    before = count.span;
                }
                put(&mut out, u64::from(count.rows));
            }
        }
        Some(out)
    }
}

/// Takes the number of a run, when a span begins, and its rows in the segment.
type EachSpan<'a> = dyn FnMut(usize, i64, Range<u32>) + 'a;

/// Hands the rows of all runs by span to `each`, in order; returns the length of spans, ns.
pub(crate) fn read_run_spans(bytes: &[u8], runs: &[Run], each: &mut EachSpan<'_>) -> Result<i64, Damage> {
    let mut reader = Reader::new(bytes);
    let length = read_span_ns(&mut reader)?;
    let mut first = 0_i64;
    for (number, run) in runs.iter().enumerate() {
        let (spans, mut row) = (reader.varint()?, run.rows.start);
        first = first.saturating_add(reader.signed()?);
        let mut span = first;
        for nth in 0..spans {
            if nth > 0 {
                let gap = i64::try_from(reader.varint()?).unwrap_or(i64::MAX);
                span = span.saturating_add(gap).saturating_add(1);
            }
            let rows = u32::try_from(reader.varint()?).unwrap_or(u32::MAX);
            let end = row.saturating_add(rows);
            if end > run.rows.end {
                return Err(reader.damage("spans have more rows than their run"));
            }
            each(number, span.saturating_mul(length), row..end);
            row = end;
        }
        if row != run.rows.end {
            return Err(reader.damage("spans have fewer rows than their run"));
        }
    }
    reader.end().map(|()| length)
}

/// The rows of a run that a range reaches: those from `rows[1]` to `rows[2]` lie in it, of those before, from `rows[0]` on, and
/// after, up to `rows[3]`, some may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub rows: [u32; 4],
}

/// What of each run lies in a range.
pub(crate) fn cuts(bytes: &[u8], runs: &[Run], range: TimeRange) -> Result<Vec<Cut>, Damage> {
    let length = read_span_ns(&mut Reader::new(bytes))?;
    let whole = |run: &Run| Cut { rows: [run.rows.start, run.rows.start, run.rows.end, run.rows.end] };
    let mut cuts: Vec<Cut> = runs.iter().map(whole).collect();
    read_run_spans(bytes, runs, &mut |run, start, rows| {
        // At the end of time no span is known to lie within.
        let end = start.checked_add(length);
        let [from, inner, after, to] = &mut cuts[run].rows;
        if end.is_some_and(|end| end <= range.from.0) {
            (*from, *inner) = (rows.end, rows.end);
        } else if start < range.from.0 {
            *inner = rows.end;
        }
        if range.to.0 <= start {
            (*after, *to) = ((*after).min(rows.start), (*to).min(rows.start));
        } else if end.is_none_or(|end| range.to.0 < end) {
            *after = (*after).min(rows.start);
        }
    })?;
    for Cut { rows: [_, inner, after, to] } in &mut cuts {
        if after < inner {
            // Within one span.
            (*inner, *after) = (*to, *to);
        }
    }
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use heimdall_model::Timestamp;
    use proptest::prelude::*;

    use super::super::cells::HOUR_NS;
    use super::*;

    /// Runs of rising times.
    fn runs() -> impl Strategy<Value = Vec<Vec<i64>>> {
        let far = prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()];
        let near = (0..200_i64, 0..3_i64).prop_map(|(minutes, odd)| minutes * MINUTE_NS + odd);
        let time = prop_oneof![1 => far, 40 => near];
        let run = prop::collection::vec(time, 1..400).prop_map(|mut times| {
            times.sort_unstable();
            times
        });
        prop::collection::vec(run, 1..12)
    }

    fn directory(runs: &[Vec<i64>]) -> Vec<Run> {
        let mut next = 0;
        let number = |n: usize| u32::try_from(n).expect("few");
        let run = |(template, times): (usize, &Vec<i64>)| {
            let start = next;
            next += number(times.len());
            Run { service: 0, template: number(template), rows: start..next }
        };
        runs.iter().enumerate().map(run).collect()
    }

    fn block(runs: &[Vec<i64>]) -> Option<Vec<u8>> {
        let mut builder = RunSpansBuilder::default();
        for (run, times) in runs.iter().enumerate() {
            times.iter().for_each(|time| builder.push(run, *time));
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn cuts_name_the_rows_of_a_range(
            runs in runs(),
            from in prop_oneof![Just(i64::MIN), (0..200 * 60_i64).prop_map(|s| s * 1_000_000_000)],
            length in prop_oneof![Just(i64::MAX), 1..200 * 60 * 1_000_000_000_i64],
        ) {
            let range = TimeRange { from: Timestamp(from), to: Timestamp(from.saturating_add(length)) };
            let directory = directory(&runs);
            let bytes = block(&runs).expect("few rows have spans");
            for ((times, run), cut) in
                runs.iter().zip(&directory).zip(cuts(&bytes, &directory, range).expect("reads"))
            {
                let [first, inner, after, to] = cut.rows;
                prop_assert!(run.rows.start <= first && first <= inner && inner <= after);
                prop_assert!(after <= to && to <= run.rows.end, "{:?}", cut);
                for (row, time) in run.rows.clone().zip(times) {
                    let is_in = range.from.0 <= *time && *time < range.to.0;
                    prop_assert!(!is_in || (first..to).contains(&row), "{row} is left out by {cut:?}");
                    prop_assert!(is_in || !(inner..after).contains(&row), "{row} is let in by {cut:?}");
                }
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_name_rows_of_the_runs(
            runs in runs(),
            at in any::<prop::sample::Index>(),
            byte: u8,
        ) {
            let (directory, mut bytes) = (directory(&runs), block(&runs).expect("few rows have spans"));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read_run_spans(&bytes, &directory, &mut |run, _, rows| {
                let all = &directory[run].rows;
                assert!(all.start <= rows.start && rows.end <= all.end);
            });
        }
    }

    #[test]
    fn sparse_rows_have_longer_spans_or_none() {
        let spans = |rows: i64, step: i64| {
            let runs = [(0..rows).map(|row| row * step).collect::<Vec<i64>>()];
            let bytes = block(&runs)?;
            let mut spans = 0;
            let length = read_run_spans(&bytes, &directory(&runs), &mut |_, _, _| spans += 1).expect("reads");
            Some((length / MINUTE_NS, spans))
        };
        assert_eq!(spans(100_000, MINUTE_NS / 50), Some((1, 2_000)));
        assert_eq!(spans(100_000, MINUTE_NS / 4), Some((5, 5_000)));
        assert_eq!(spans(100_000, MINUTE_NS), Some((15, 6_667)));
        assert_eq!(spans(100_000, 5 * MINUTE_NS), Some((60, 8_334)));
        assert_eq!(spans(100_000, HOUR_NS), None);
        assert_eq!(spans(500, HOUR_NS), Some((1, 500)), "a few cost little");
        assert_eq!(block(&[]), None);
    }
}

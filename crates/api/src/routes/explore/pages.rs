//! The cursor of a list of records, as clients hold it.
//!
//! It names the place where the page before ended, the time that `now` meant then, so that every page is of the same range,
//! and a mark of the question: a cursor of another question is refused.

use std::fmt;

use heimdall_model::{Position, Timestamp};
use heimdall_query::{AnswerStats, PagePlace, Query};
use serde_json::json;

use crate::extract::short;
use crate::problem::Problem;

/// A place in the answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryCursor {
    /// What `now` means in the question.
    pub(crate) now: Timestamp,
    place: PagePlace,
    question: u64,
}

impl QueryCursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// 400: it is none.
    pub(crate) fn parse(text: &str) -> Result<QueryCursor, Problem> {
        let numbers = || {
            let mut parts = text.split('_');
            let mut next = || parts.next();
            let cursor = QueryCursor {
                now: Timestamp(next()?.parse().ok()?),
                place: PagePlace {
                    time: Timestamp(next()?.parse().ok()?),
                    position: Position(next()?.parse().ok()?),
                    rows: next()?.parse().ok()?,
                },
                question: u64::from_str_radix(next()?, 16).ok()?,
            };
            next().is_none().then_some(cursor)
        };
        numbers()
            .ok_or_else(|| Problem::parameter("cursor", format!("`{}` is no cursor of a query", short(text))))
    }

    /// Makes a question one for the page that begins here.
    ///
    /// # Errors
    /// 400: the cursor is of another question, or the question's answer has no pages.
    pub(crate) fn turn(self, query: &mut Query) -> Result<(), Problem> {
        if !query.is_paged() {
            return Err(no_pages());
        }
        if self.question != mark(query) {
            let reason = "is of another question: its line, dataset, tenant or time range is not the same";
            return Err(Problem::parameter("cursor", reason));
        }
        query.after = Some(self.place);
        Ok(())
    }
}

impl fmt::Display for QueryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PagePlace { time, position, rows } = self.place;
        write!(f, "{}_{}_{}_{rows}_{:x}", self.now.0, time.0, position.0, self.question)
    }
}

fn no_pages() -> Problem {
    let reason = "goes with lists of records in the order of time only: without `stats`, another `sort`, `dedup`, \
                  `context`, `join`, and without conditions after a `limit`";
    Problem::parameter("cursor", reason).with_member("paged", json!(false))
}

/// What the next page of a question begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pager {
    now: Timestamp,
    question: u64,
}

impl Pager {
    /// Of a question whose `now` meant this time.
    pub(crate) fn new(query: &Query, now: Timestamp) -> Pager {
        Pager { now, question: mark(query) }
    }

    /// Writes the cursor of the next page into an answer's statistics.
    pub(crate) fn mark(self, stats: &mut AnswerStats) {
        let Pager { now, question } = self;
        stats.next = stats.page_end.map(|place| QueryCursor { now, place, question }.to_string());
    }
}

/// Tells questions apart: what they ask for, whatever page of it. FNV-1a, 64 bits.
fn mark(query: &Query) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (from, to) = (query.range.from.0, query.range.to.0);
    let text = format!("{}\0{}\0{from}\0{to}\0{query}", query.tenant, query.dataset.code());
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heimdall_model::{Dataset, Tenant};
    use heimdall_query::{ParseContext, search};

    const NOW: Timestamp = Timestamp(1_795_780_800_000_000_000);

    fn question(line: &str) -> Query {
        search::parse(line, &ParseContext::new(Tenant::default(), Dataset::Logs, NOW)).expect("it parses")
    }

    #[test]
    fn a_cursor_reads_as_it_was_written_and_fits_its_question_alone() {
        let mut query = question("service:payment | where duration_ms > 2 * 7");
        let mut stats = AnswerStats::new(heimdall_query::Strategy::NewestFirst);
        let place = PagePlace { time: Timestamp(-5), position: Position::new(7, 9), rows: 40 };
        stats.page_end = Some(place);
        Pager::new(&query, NOW).mark(&mut stats);
        let cursor = QueryCursor::parse(&stats.next.expect("a cursor")).expect("it reads");
        assert_eq!((cursor.now, cursor.place), (NOW, place));
        cursor.turn(&mut query).expect("it is of this question");
        assert_eq!(query.after, Some(place));
        for other in ["service:auth | where duration_ms > 2 * 7", "service:payment"] {
            assert_eq!(cursor.turn(&mut question(other)).unwrap_err().code(), "invalid_parameter");
        }
    }

    #[test]
    fn questions_without_pages_and_texts_that_are_no_cursors_are_refused() {
        for text in ["", "1_2_3_4", "1_2_3_4_5_6", "1_2_3_-4_5", "a_b_c_d_e", "1_2_3_4_xyz"] {
            assert!(QueryCursor::parse(text).is_err(), "{text}");
        }
        let cursor = QueryCursor::parse("1_2_3_4_5").expect("it is one");
        let lines = [
            "| stats count()",
            "| sort service",
            "| dedup service",
            "a | limit 5 | where b",
            "a | context 5",
        ];
        for line in lines {
            let problem = cursor.turn(&mut question(line)).unwrap_err();
            assert!(problem.detail().contains("lists of records"), "{line}: {}", problem.detail());
        }
    }
}

//! `context`: the records that stand around each hit in its own stream: same service, instance and host.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use heimdall_model::filter::{Filter, Literal, Target, Test};
use heimdall_model::time::NS_PER_DAY;
use heimdall_model::{FieldId, Position, Timestamp, Value};
use heimdall_store::{Hit, Order, RowBlock, ScanRequest, TimeRange, Wanted};

use crate::cell::{BlockRows, Cell, Rows, Templates};
use crate::engine::{QueryError, Run, record, request};
use crate::query::CONTEXT;

/// Most rows looked for around all hits.
const CONTEXT_ROWS_MAX: usize = 10_000;
/// How far from a hit its context may lie.
const SPAN_NS: i64 = NS_PER_DAY;
/// What makes a stream.
const STREAM: [&str; 3] = ["service", "instance", "host"];

const MATCH: &str = "match";
const BEFORE: &str = "before";
const AFTER: &str = "after";

/// Newest first.
type Place = Reverse<(Timestamp, Position)>;

/// A row with its part in the context.
struct Marked<'a> {
    rows: BlockRows<'a>,
    row: usize,
    part: &'static str,
}

impl Rows for Marked<'_> {
    fn cell(&self, target: &Target, _: usize) -> Cell<'_> {
        match target {
            Target::Attribute(name) if name == CONTEXT => Cell::Text(Cow::Borrowed(self.part)),
            target => self.rows.cell(target, self.row),
        }
    }

    fn time(&self, _: usize) -> Option<Timestamp> {
        self.rows.time(self.row)
    }

    fn order(&self, _: usize) -> (i64, u64) {
        self.rows.order(self.row)
    }
}

impl Run<'_> {
    /// The newest matching records, at most `hits_max`, with `around` records before and after each.
    pub(crate) fn context(&mut self, around: usize, hits_max: usize) -> Result<Vec<Vec<Value>>, QueryError> {
        let dataset = self.query.dataset;
        let stream: Vec<FieldId> = STREAM.iter().filter_map(|name| dataset.resolve(name)).collect();
        let mut fields = self.plan.fields(self.targets());
        fields.extend(&stream);
        fields.sort_unstable();
        fields.dedup();
        let hits = request(self.query, self.plan, self.plan.range, Some(fields));
        let (found, stats) = self.store.search(&hits, Order::NewestFirst, hits_max, self.control)?;
        self.stats.add(&stats);
        if found.len().saturating_mul(around.saturating_mul(2)) > CONTEXT_ROWS_MAX {
            return Err(QueryError::PipeTooLarge {
                pipe: "context",
                limit: format!("{CONTEXT_ROWS_MAX} rows around {} records", found.len()),
                advice: "put a smaller `limit` before it",
            });
        }
        let mut rows: BTreeMap<Place, (Hit, &'static str)> = BTreeMap::new();
        for hit in &found {
            let (time, _) = hit.place();
            let beside = |part, order, from: Timestamp, to: Timestamp| {
                let filter = of_stream(&hit.block, hit.row, &stream);
                let request = ScanRequest { filter, range: TimeRange { from, to }, ..hits.clone() };
                let wanted = Wanted { order, limit: around, after: Some(hit.place()) };
                self.store.search_wanted(&request, wanted, self.control).map(|found| (part, found))
            };
            let next = time.saturating_add_ns(1);
            let before = beside(BEFORE, Order::NewestFirst, time.saturating_add_ns(-SPAN_NS), next)?;
            let after = beside(AFTER, Order::OldestFirst, time, time.saturating_add_ns(SPAN_NS))?;
            for (part, (hits, stats)) in [before, after] {
                self.stats.add(&stats);
                for hit in hits {
                    rows.entry(Reverse(hit.place())).or_insert((hit, part));
                }
            }
        }
        for hit in found {
            rows.insert(Reverse(hit.place()), (hit, MATCH));
        }
        let mut templates = Templates::new(self.store, &self.query.tenant);
        if self.wants_templates() {
            rows.values().for_each(|(hit, _)| templates.learn(&hit.block));
        }
        let marked = rows.values().map(|(hit, part)| Marked {
            rows: BlockRows { block: &hit.block, templates: &templates },
            row: hit.row,
            part,
        });
        Ok(marked.map(|row| record(self.plan, &row, 0)).collect())
    }
}

/// The filter of the stream that a row belongs to.
fn of_stream(block: &RowBlock, row: usize, stream: &[FieldId]) -> Filter {
    let part = |id: &FieldId| match block.text(*id, row) {
        Some(text) => Filter::field(*id, Test::Equals(Literal::new(text))),
        None => Filter::field(*id, Test::Exists).negate(),
    };
    stream.iter().map(part).fold(Filter::All, Filter::and)
}

//! Records of a table by template, added up from what its parts keep of them (see [`crate::steps`]).
//!
//! Invariant: every record of the range is in the counts or in what is to be scanned, and none is in both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use heimdall_model::{Filter, Matcher, Timestamp};

use crate::prune::{self, Known, Verdict};
use crate::scan::{ScanError, TimeRange};
use crate::segment::TableKey;
use crate::sidecar::kind;
use crate::steps::{Left, Steps};
use crate::store::{Store, StoreError};
use crate::summary::{HOUR_NS, read_run_spans, read_templates, span_ns, start_of};
use crate::view::{Bin, Covered, Part, SummaryExtent, View};

/// Rows by start of their bin (of the range without bins) and template (0: none).
pub type TemplateCounts = BTreeMap<(Timestamp, u32), u64>;

impl View {
    /// Exact rows by template (0: none) and bin of the log records in `range`; a `bin` is of whole minutes. What is in
    /// [`Covered::rest`] is to be scanned.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn template_counts(
        &self,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<Covered<TemplateCounts>, StoreError> {
        let mut sums = Sums { range, bin, counts: HashMap::new(), last: ((range.from, 0), 0) };
        let mut rest = Left::of(self);
        for part in self.parts(range) {
            let Steps { hours, spans, left } = self.template_steps(part, range, bin)?;
            if let Some(hours) = hours {
                let kind = kind::TEMPLATE_COUNTS;
                let bytes = part.required(kind, &self.declared)?;
                let each = &mut |hour, template, rows| {
                    sums.add(start_of(hour, HOUR_NS), std::slice::from_ref(&hours), template, rows);
                };
                read_templates(&bytes, each).map_err(|damage| part.damaged(kind, &damage))?;
            }
            if let (Part::Segment(segment), false) = (part, spans.is_empty()) {
                let (kind, directory) = (kind::RUN_SPANS, segment.sidecar().runs()?);
                let bytes = part.required(kind, &self.declared)?;
                let each = &mut |run: usize, start, rows: std::ops::Range<u32>| {
                    let rows = u64::from(rows.end - rows.start);
                    sums.add(Timestamp(start), &spans, directory.runs[run].template, rows);
                };
                read_run_spans(&bytes, &directory.runs, each)
                    .map_err(|damage| part.damaged(kind, &damage))?;
            }
            rest.add(part, left);
        }
        Ok(Covered { found: sums.finish(), rest: rest.finish() })
    }

    /// What reading them takes.
    pub(crate) fn template_extent(
        &self,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<SummaryExtent, StoreError> {
        let mut found = SummaryExtent::default();
        for part in self.parts(range) {
            let Steps { hours, spans, left } = self.template_steps(part, range, bin)?;
            let blocks =
                [hours.map(|_| kind::TEMPLATE_COUNTS), (!spans.is_empty()).then_some(kind::RUN_SPANS)];
            found.add(part, range, blocks.into_iter().flatten(), left)?;
        }
        Ok(found)
    }

    fn template_steps(
        &self,
        part: Part<'_>,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<Steps, StoreError> {
        Steps::of(part, range, bin, &mut || {
            let Part::Segment(segment) = part else { return Ok(None) };
            let Some(bytes) = segment.sidecar().bytes(kind::RUN_SPANS)? else { return Ok(None) };
            span_ns(&bytes).map(Some).map_err(|damage| part.damaged(kind::RUN_SPANS, &damage))
        })
    }

    /// Exact rows by template (0: none) and bin of the log records that pass a filter, when the template alone decides of each of
    /// them; `None` when it does not, and they are to be scanned. `range`, `bin` and the rest as for [`View::template_counts`].
    ///
    /// # Errors
    /// The filter does not compile, or a sidecar could not be read.
    pub fn decided_template_counts(
        &self,
        store: &Arc<Store>,
        filter: &Filter,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<Option<Covered<TemplateCounts>>, ScanError> {
        let mut counts = self.template_counts(range, bin)?;
        let templates: BTreeSet<u32> = counts.found.keys().map(|(_, template)| *template).collect();
        let Some(passing) = store.passing_templates(&self.table, filter, &templates)? else {
            return Ok(None);
        };
        counts.found.retain(|(_, template), _| passing.contains(template));
        Ok(Some(counts))
    }
}

impl Store {
    /// Of some templates those whose records pass a filter; `None` when it does not go by templates alone. The records must
    /// have been taken before.
    fn passing_templates(
        &self,
        table: &TableKey,
        filter: &Filter,
        templates: &BTreeSet<u32>,
    ) -> Result<Option<BTreeSet<u32>>, ScanError> {
        let matcher = Matcher::compile(filter, table.dataset)?;
        let decisions = self.decide(&table.tenant, table.dataset, &matcher.root);
        let mut passing = BTreeSet::new();
        for id in templates {
            let text = self.template_text(&table.tenant, *id);
            let known = Known {
                dataset: table.dataset,
                service: None,
                template: Some((*id, text.as_deref())),
                levels: None,
                decisions: &decisions,
            };
            match prune::ask(&matcher.root, &known) {
                Verdict::Yes => passing.insert(*id),
                Verdict::No => continue,
                Verdict::Maybe => return Ok(None),
            };
        }
        Ok(Some(passing))
    }
}

/// Counts on their way into the map: neighbours are mostly of one key.
struct Sums {
    range: TimeRange,
    bin: Option<Bin>,
    counts: HashMap<(Timestamp, u32), u64>,
    last: ((Timestamp, u32), u64),
}

impl Sums {
    /// Adds the rows of a span that starts in one of some ranges.
    fn add(&mut self, start: Timestamp, wanted: &[TimeRange], template: u32, rows: u64) {
        if !wanted.iter().any(|range| range.from <= start && start < range.to) {
            return;
        }
        let key = (self.bin.map_or(self.range.from, |bin| bin.start(start)), template);
        if self.last.0 != key {
            self.keep();
            self.last = (key, 0);
        }
        self.last.1 += rows;
    }

    fn keep(&mut self) {
        if self.last.1 > 0 {
            *self.counts.entry(self.last.0).or_default() += self.last.1;
        }
    }

    fn finish(mut self) -> TemplateCounts {
        self.keep();
        self.counts.into_iter().collect()
    }
}

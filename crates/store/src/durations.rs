//! Durations of a table by service, added up from what its parts keep of them.
//!
//! A part answers with one sketch of all its rows where the range holds it, else as [`crate::steps`] says.
//!
//! Invariant: every record of the range is in the durations or in what is to be scanned, and none is in both.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use heimdall_model::Timestamp;

use crate::scan::TimeRange;
use crate::sidecar::kind;
use crate::steps::{Left, Steps};
use crate::store::StoreError;
use crate::summary::{DurationsBy, Latency, read_latency, span_ns};
use crate::view::{Bin, Covered, Part, SummaryExtent, View};

/// Durations of one service in one bin.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceLatency {
    /// Start of the bin; of the range without bins.
    pub time: Timestamp,
    /// The service, if any.
    pub service: Option<Arc<str>>,
    /// Its durations.
    pub latency: Latency,
}

/// What a part answers of a range.
#[derive(Debug, Default)]
struct Answer {
    /// Blocks to be read, each for the spans that start in a range.
    blocks: Vec<(DurationsBy, TimeRange)>,
    /// What no block answers for.
    left: Vec<TimeRange>,
}

impl DurationsBy {
    fn kind(self) -> u32 {
        match self {
            DurationsBy::Whole => kind::LATENCY_WHOLE,
            DurationsBy::Hours => kind::LATENCY_HOURS,
            DurationsBy::Spans => kind::LATENCY_SPANS,
        }
    }
}

impl View {
    /// Durations by service of the records in `range`; a `bin` is of whole minutes. What is in [`Covered::rest`] is to be scanned.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn latency(
        &self,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<Covered<Vec<ServiceLatency>>, StoreError> {
        let mut sums = Sums { range, bin, ..Sums::default() };
        let mut rest = Left::of(self);
        for part in self.parts(range) {
            // Whether durations of a chunk were given up is known when they are made.
            if matches!(part, Part::Chunk(_)) && part.block(kind::LATENCY_WHOLE, &self.declared)?.is_none() {
                rest.add(part, vec![range]);
                continue;
            }
            let Answer { blocks, left } = self.durations_of(part, range, bin)?;
            for (by, wanted) in blocks {
                let bytes = part.required(by.kind(), &self.declared)?;
                sums.add(&bytes, by, wanted).map_err(|damage| part.damaged(by.kind(), &damage))?;
            }
            rest.add(part, left);
        }
        Ok(Covered { found: sums.all, rest: rest.finish() })
    }

    /// What reading them takes.
    pub(crate) fn latency_extent(
        &self,
        range: TimeRange,
        bin: Option<Bin>,
    ) -> Result<SummaryExtent, StoreError> {
        let mut found = SummaryExtent::default();
        for part in self.parts(range) {
            let Answer { blocks, left } = self.durations_of(part, range, bin)?;
            found.add(part, range, blocks.iter().map(|(by, _)| by.kind()), left)?;
        }
        Ok(found)
    }

    fn durations_of(&self, part: Part<'_>, range: TimeRange, bin: Option<Bin>) -> Result<Answer, StoreError> {
        let (min, max) = part.bounds();
        if part.block_bytes(kind::LATENCY_WHOLE)?.is_none() {
            return Ok(Answer { blocks: Vec::new(), left: vec![range] });
        }
        if bin.is_none() && range.covers(min, max) {
            return Ok(Answer { blocks: vec![(DurationsBy::Whole, TimeRange::ALL)], left: Vec::new() });
        }
        let steps = Steps::of(part, range, bin, &mut || {
            let Some(bytes) = part.block(kind::LATENCY_SPANS, &self.declared)? else { return Ok(None) };
            span_ns(&bytes).map(Some).map_err(|damage| part.damaged(kind::LATENCY_SPANS, &damage))
        })?;
        let hours = steps.hours.map(|hours| (DurationsBy::Hours, hours));
        let spans = steps.spans.into_iter().map(|range| (DurationsBy::Spans, range));
        Ok(Answer { blocks: hours.into_iter().chain(spans).collect(), left: steps.left })
    }
}

/// Durations added up.
struct Sums {
    range: TimeRange,
    bin: Option<Bin>,
    all: Vec<ServiceLatency>,
    index: HashMap<(Timestamp, Option<Arc<str>>), usize>,
    names: HashMap<Arc<str>, Arc<str>>,
}

impl Default for Sums {
    fn default() -> Self {
        let (all, index, names) = (Vec::new(), HashMap::new(), HashMap::new());
        Sums { range: TimeRange::ALL, bin: None, all, index, names }
    }
}

impl Sums {
    /// Adds the durations of spans that start in a range.
    fn add(
        &mut self,
        bytes: &Bytes,
        by: DurationsBy,
        wanted: TimeRange,
    ) -> Result<(), crate::sidecar::Damage> {
        read_latency(bytes, by, &mut |service, start, add| {
            if start < wanted.from || wanted.to <= start {
                return add(None);
            }
            let time = self.bin.map_or(self.range.from, |bin| bin.start(start));
            let at = self.place(time, service);
            add(Some(&mut self.all[at].latency))
        })
    }

    fn place(&mut self, time: Timestamp, service: Option<&str>) -> usize {
        let service = service.map(|name| match self.names.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let known: Arc<str> = name.into();
                self.names.insert(Arc::clone(&known), Arc::clone(&known));
                known
            }
        });
        *self.index.entry((time, service.clone())).or_insert_with(|| {
            self.all.push(ServiceLatency { time, service, latency: Latency::default() });
            self.all.len() - 1
        })
    }
}

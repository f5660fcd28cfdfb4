//! Stored records again, in the order of their event times, for what learns and judges: rules on trial, detectors at another
//! threshold.
//!
//! Invariants:
//! - every record of the range that passes the filter comes exactly once, those of one moment in the order of the journal;
//! - at most [`SLICE_ROWS`] records are in memory, unless more of them share a millisecond;
//! - a batch holds one dataset and one minute, and arrived when that minute was over: nothing is late in it.
//!
//! Not here: who may ask, and how many at a time (see `routes/trials.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use heimdall_model::schema::{OBSERVED, TIMESTAMP, logs};
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{
    Batch, BatchBuilder, Dataset, FieldId, FieldType, Filter, Position, RecordId, Tenant, Timestamp,
};
use heimdall_query::TimeRange;
use heimdall_store::{Control, RowBlock, ScanError, ScanRequest, Store, View};

/// Records read at once.
const SLICE_ROWS: u64 = 50_000;
/// A slice is not cut below this: as many records of one millisecond are read as there are.
const SLICE_NS_MIN: i64 = 1_000_000;

/// Why records could not be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// There are too many.
    #[error("the range has {rows} records to replay, more than {rows_max}: choose a shorter one")]
    TooMany {
        /// How many.
        rows: u64,
        /// The limit.
        rows_max: u64,
    },
    /// They could not be read, or not in time.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// Which records.
pub(crate) struct Replay {
    tables: Vec<(View, ScanRequest)>,
    store: Arc<Store>,
    control: Control,
    range: TimeRange,
    rows: u64,
}

/// Records of one minute, with the ids they have in the store.
pub(crate) struct Loaded {
    pub(crate) batch: Batch,
    pub(crate) ids: Vec<RecordId>,
}

impl Replay {
    /// The records of a tenant in these datasets, as of now. Counts them.
    ///
    /// # Errors
    /// [`ReplayError::TooMany`], or they cannot be counted.
    pub(crate) fn new(
        store: &Arc<Store>,
        tenant: &Tenant,
        range: TimeRange,
        tables: &[(Dataset, Filter)],
        rows_max: u64,
        control: &Control,
    ) -> Result<Replay, ReplayError> {
        let table = |(dataset, filter): &(Dataset, Filter)| {
            let (tenant, filter) = (tenant.clone(), filter.clone());
            let request = ScanRequest { tenant, dataset: *dataset, range, filter, fields: None };
            (store.view(&request.tenant, *dataset), request)
        };
        let control = Control { without_damaged: true, ..control.clone() };
        let mut replay = Replay {
            tables: tables.iter().map(table).collect(),
            store: Arc::clone(store),
            control,
            range,
            rows: 0,
        };
        replay.rows = replay.count(range)?;
        if replay.rows > rows_max {
            return Err(ReplayError::TooMany { rows: replay.rows, rows_max });
        }
        Ok(replay)
    }

    /// Hands out every record, oldest first.
    ///
    /// # Errors
    /// [`ReplayError::Scan`].
    pub(crate) fn each(&self, each: &mut dyn FnMut(&Loaded)) -> Result<(), ReplayError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut next_position = 1;
        let mut waiting = vec![(self.range, self.rows)];
        while let Some((range, rows)) = waiting.pop() {
            self.check()?;
            let middle = range.from.0.midpoint(range.to.0);
            if rows > SLICE_ROWS && range.to.0.saturating_sub(range.from.0) > SLICE_NS_MIN {
                let (older, newer) = (
                    TimeRange { from: range.from, to: Timestamp(middle) },
                    TimeRange { from: Timestamp(middle), to: range.to },
                );
                let older_rows = self.count(older)?;
                for (half, rows) in [(newer, rows - older_rows.min(rows)), (older, older_rows)] {
                    if rows > 0 {
                        waiting.push((half, rows));
                    }
                }
                continue;
            }
            for mut loaded in self.load(range)? {
                self.check()?;
                loaded.batch.base = Position(next_position);
                next_position += loaded.batch.rows() as u64;
                each(&loaded);
            }
        }
        Ok(())
    }

    /// Whether anybody still waits, and there is time.
    fn check(&self) -> Result<(), ScanError> {
        if self.control.cancelled.load(Ordering::Relaxed) {
            return Err(ScanError::Cancelled);
        }
        match self.control.deadline {
            Some(deadline) if std::time::Instant::now() >= deadline => {
                Err(ScanError::DeadlineExceeded { stats: Box::default() })
            }
            _ => Ok(()),
        }
    }

    fn count(&self, range: TimeRange) -> Result<u64, ScanError> {
        let mut rows = 0;
        for (view, request) in &self.tables {
            let request = ScanRequest { range, fields: Some(Vec::new()), ..request.clone() };
            rows += self.store.count_in(view, &request, &self.control)?.0;
        }
        Ok(rows)
    }

    /// The records of a slice by minute, and in each minute by dataset.
    fn load(&self, range: TimeRange) -> Result<Vec<Loaded>, ScanError> {
        let mut minutes: Vec<(i64, usize, Loaded)> = Vec::new();
        for (table, (view, request)) in self.tables.iter().enumerate() {
            let request = ScanRequest { range, ..request.clone() };
            let mut blocks: Vec<RowBlock> = Vec::new();
            self.store.scan_in(view, &request, &self.control, &mut |block| {
                blocks.push(block.clone());
                std::ops::ControlFlow::Continue(())
            })?;
            let mut order: Vec<(i64, u64, usize, usize)> = Vec::new();
            for (number, block) in blocks.iter().enumerate() {
                let place = |row| (block.timestamp(row).0, block.position(row).0, number, row);
                order.extend((0..block.rows()).map(place));
            }
            order.sort_unstable();
            let by_minute = order.chunk_by(|a, b| minute(a.0) == minute(b.0));
            minutes.extend(by_minute.map(|rows| {
                let minute = minute(rows[0].0);
                (minute, table, loaded(request.dataset, minute, &blocks, rows))
            }));
        }
        minutes.sort_by_key(|(minute, table, _)| (*minute, *table));
        Ok(minutes.into_iter().map(|(_, _, loaded)| loaded).collect())
    }
}

fn minute(time: i64) -> i64 {
    time.div_euclid(NS_PER_MINUTE)
}

/// Rows of blocks as one batch.
fn loaded(dataset: Dataset, minute: i64, blocks: &[RowBlock], rows: &[(i64, u64, usize, usize)]) -> Loaded {
    let arrived = Timestamp(minute.saturating_add(1).saturating_mul(NS_PER_MINUTE));
    let mut builder = BatchBuilder::new(dataset, arrived);
    let mut ids = Vec::with_capacity(rows.len());
    for (_, _, block, row) in rows {
        put(&mut builder, &blocks[*block], *row, arrived);
        ids.push(blocks[*block].id(*row));
    }
    Loaded { batch: builder.finish(), ids }
}

/// Adds a row as it was when it arrived.
fn put(builder: &mut BatchBuilder, block: &RowBlock, row: usize, arrived: Timestamp) {
    let dataset = builder.dataset();
    builder.set_int(TIMESTAMP, block.timestamp(row).0);
    for (code, field) in (0_u8..).zip(dataset.fields()) {
        let id = FieldId(code);
        match field.ty {
            _ if id == TIMESTAMP => {}
            _ if id == OBSERVED => builder.set_int(OBSERVED, arrived.0),
            FieldType::Text | FieldType::Json => {
                block.text(id, row).into_iter().for_each(|text| builder.set_text(id, text));
            }
            FieldType::Int | FieldType::Time => {
                block.int(id, row).into_iter().for_each(|n| builder.set_int(id, n));
            }
            FieldType::Float => block.float(id, row).into_iter().for_each(|x| builder.set_float(id, x)),
            FieldType::Level if id == logs::LEVEL => {
                block.level(row).into_iter().for_each(|level| builder.set_level(level));
            }
            FieldType::Level => {}
            FieldType::Id16 | FieldType::Id8 => {
                block.bytes(id, row).into_iter().for_each(|bytes| builder.set_bytes(id, bytes));
            }
        }
    }
    builder.end_row();
}

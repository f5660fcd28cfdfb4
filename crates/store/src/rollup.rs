//! Counts per minute, service and level: exact, additive, and enough for most dashboards.

use std::sync::Arc;

use foldhash::HashMap;
use heimdall_model::Timestamp;

use crate::block::RowBlock;
use crate::sidecar::{Damage, Reader, SidecarBlock, kind, put_count, put_texts};

/// Nanoseconds in a minute.
pub(crate) const MINUTE_NS: i64 = 60_000_000_000;

/// One count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RollupCell {
    /// Minutes since the epoch.
    pub minute: i64,
    /// Index into the services; [`NO_SERVICE`] for rows without one.
    pub service: u32,
    /// Level code; 0 for rows without one.
    pub level: u8,
    /// Rows.
    pub count: u64,
}

/// Service index of rows without a service.
pub(crate) const NO_SERVICE: u32 = u32::MAX;

/// Counts of some rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rollup {
    pub services: Vec<Arc<str>>,
    pub cells: Vec<RollupCell>,
}

impl Rollup {
    /// Counts the rows of a block.
    pub(crate) fn of(block: &RowBlock) -> Rollup {
        let mut counter = RollupCounter::default();
        for row in 0..block.rows() {
            let minute = block.timestamp(row).0.div_euclid(MINUTE_NS);
            let level = block.level(row).map_or(0, heimdall_model::Level::code);
            counter.count(minute, block.service(row), level, 1);
        }
        counter.finish()
    }

    /// The service of a cell.
    pub(crate) fn service(&self, cell: &RollupCell) -> Option<&str> {
        self.services.get(cell.service as usize).map(AsRef::as_ref)
    }

    /// Start of a cell's minute.
    pub(crate) fn start(cell: &RollupCell) -> Timestamp {
        Timestamp(cell.minute.saturating_mul(MINUTE_NS))
    }
}

impl SidecarBlock for Rollup {
    const KIND: u32 = kind::MINUTE_ROLLUP;

    fn encode(&self, out: &mut Vec<u8>) {
        put_texts(out, &self.services);
        put_count(out, self.cells.len());
        for cell in &self.cells {
            out.extend_from_slice(&cell.minute.to_le_bytes());
            out.extend_from_slice(&cell.service.to_le_bytes());
            out.push(cell.level);
            out.extend_from_slice(&cell.count.to_le_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        let services = reader.texts()?;
        let count = reader.count(21)?;
        let cell = |_| {
            Ok(RollupCell {
                minute: reader.i64()?,
                service: reader.u32()?,
                level: reader.u8()?,
                count: reader.u64()?,
            })
        };
        Ok(Rollup { services, cells: (0..count).map(cell).collect::<Result<_, Damage>>()? })
    }

    fn check(&self, rows: u64) -> Result<(), &'static str> {
        let counted = self.cells.iter().fold(0_u64, |sum, cell| sum.saturating_add(cell.count));
        let named =
            |cell: &RollupCell| cell.service == NO_SERVICE || (cell.service as usize) < self.services.len();
        match () {
            () if counted != rows => Err("counts do not sum to the rows the manifest says"),
            () if !self.cells.iter().all(named) => Err("a count has an unknown service"),
            () => Ok(()),
        }
    }

    fn memory_bytes(&self) -> usize {
        let services = self.services.iter().map(|name| name.len() + 32).sum::<usize>();
        self.cells.capacity() * size_of::<RollupCell>() + services
    }
}

/// Adds counts up.
#[derive(Default)]
pub(crate) struct RollupCounter {
    services: Vec<Arc<str>>,
    codes: HashMap<Arc<str>, u32>,
    counts: HashMap<(i64, u32, u8), u64>,
    last: Option<u32>,
}

impl RollupCounter {
    /// Adds all counts of a rollup.
    pub(crate) fn add(&mut self, rollup: &Rollup) {
        for cell in &rollup.cells {
            self.count(cell.minute, rollup.service(cell), cell.level, cell.count);
        }
    }

    fn count(&mut self, minute: i64, service: Option<&str>, level: u8, count: u64) {
        let code = self.code(service);
        *self.counts.entry((minute, code, level)).or_default() += count;
    }

    fn code(&mut self, service: Option<&str>) -> u32 {
        let Some(service) = service else { return NO_SERVICE };
        if let Some(last) = self.last
            && self.services[last as usize].as_ref() == service
        {
            return last;
        }
        let code = match self.codes.get(service) {
            Some(code) => *code,
            None => {
                let name: Arc<str> = service.into();
                let code = u32::try_from(self.services.len()).expect("fewer services than rows");
                self.services.push(Arc::clone(&name));
                self.codes.insert(name, code);
                code
            }
        };
        self.last = Some(code);
        code
    }

    /// The sum.
    pub(crate) fn finish(self) -> Rollup {
        let mut cells: Vec<RollupCell> = self
            .counts
            .into_iter()
            .map(|((minute, service, level), count)| RollupCell { minute, service, level, count })
            .collect();
        cells.sort_unstable_by_key(|cell| (cell.minute, cell.service, cell.level));
        Rollup { services: self.services, cells }
    }
}

//! Rows by hour and template: exact.
//!
//! Invariant: the counts sum to the rows added; rows without a template count under template 0.

use arrow::array::Array;
use heimdall_model::schema::{self, logs};

use super::cells::Hour;
use super::codec::{Damage, Reader, put, put_signed};
use crate::block::{Cells, RowBlock};

/// Entries gathered before equal ones are added up.
const GATHER_MAX: usize = 1 << 18;

/// Counts rows as they come; cheapest when neighbours share hour and template.
#[derive(Default)]
pub(crate) struct TemplatesBuilder {
    entries: Vec<((i64, u32), u64)>,
    /// Length after the last time equal entries were added up.
    compacted: usize,
}

impl TemplatesBuilder {
    pub(crate) fn add(&mut self, block: &RowBlock) {
        let Some(Cells::Int(times)) = block.cells(schema::TIMESTAMP) else { return };
        let templates = match block.cells(logs::TEMPLATE_ID) {
            Some(Cells::Int(templates)) => Some(templates),
            _ => None,
        };
        let mut hour = Hour::default();
        let mut last: ((i64, u32), u64) = ((0, 0), 0);
        for row in 0..block.rows() {
            let ns = times.value(row);
            if !hour.holds(ns) {
                hour = Hour::of(ns);
            }
            let id = templates.filter(|ids| ids.is_valid(row)).map_or(0, |ids| ids.value(row));
            let key = (hour.number, u32::try_from(id).unwrap_or(0));
            if key == last.0 {
                last.1 += 1;
                continue;
            }
            self.push(last);
            last = (key, 1);
        }
        self.push(last);
    }

    fn push(&mut self, entry: ((i64, u32), u64)) {
        if entry.1 == 0 {
            return;
        }
        self.entries.push(entry);
        if self.entries.len() >= 2 * self.compacted.max(GATHER_MAX) {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.entries.sort_unstable_by_key(|entry| entry.0);
        self.entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.compacted = self.entries.len();
    }

    /// The block of all rows added.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.compact();
        let mut out = Vec::new();
        let hours: Vec<_> = self.entries.chunk_by(|a, b| a.0.0 == b.0.0).collect();
        put(&mut out, hours.len() as u64);
        let mut last_hour = 0;
        for hour in hours {
            put_signed(&mut out, hour[0].0.0 - last_hour);
            last_hour = hour[0].0.0;
            put(&mut out, hour.len() as u64);
            let mut last = 0;
            for ((_, template), count) in hour {
                put(&mut out, u64::from(template - last));
                put(&mut out, *count);
                last = *template;
            }
        }
        out
    }
}

/// Reads counts: hour since the epoch, template, rows.
pub(crate) fn read_templates(bytes: &[u8], each: &mut dyn FnMut(i64, u32, u64)) -> Result<(), Damage> {
    let mut reader = Reader::new(bytes);
    let mut hour = 0_i64;
    for _ in 0..reader.count()? {
        hour = hour.saturating_add(reader.signed()?);
        let mut template = 0_u32;
        for _ in 0..reader.count()? {
            template = template
                .checked_add(reader.u32()?)
                .ok_or_else(|| reader.damage("template is out of range"))?;
            each(hour, template, reader.varint()?);
        }
    }
    reader.end()
}

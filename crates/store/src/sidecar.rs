//! What a segment knows beside its Parquet file: run directory, page zones, minute rollup.
//! Format: docs/formats/segment.md.
//!
//! Invariants:
//! - blocks are checked by CRC-32C before they are used; damage is an error naming the block;
//! - unknown block kinds are skipped, so that later versions can add signatures and cubes.

use std::ops::Range;
use std::sync::Arc;

use crate::block::RowBlock;
use crate::rollup::{Rollup, RollupCell};

/// Rows of one page: the unit of pruning, in every column of a segment.
pub(crate) const PAGE_ROWS: usize = 4096;

const MAGIC: &[u8; 8] = b"HIDX0001";
const DIRECTORY_ENTRY_BYTES: usize = 24;
/// Largest decompressed block accepted.
const BLOCK_BYTES_MAX: usize = 1 << 30;

const SERVICES: u32 = 1;
const RUNS: u32 = 2;
const ZONES: u32 = 3;
const MINUTE_ROLLUP: u32 = 4;

/// Rows of one service and template that stand together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index into the services; `u32::MAX` for none.
    pub service: u32,
    /// Template id; 0 for none.
    pub template: u32,
    /// Row numbers within the segment.
    pub rows: Range<u32>,
}

/// Bounds of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    pub min_ns: i64,
    pub max_ns: i64,
    /// Bit `c` set: some row has level code `c`; bit 0: some row has none.
    pub levels: u8,
}

/// The sidecar of one segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sidecar {
    pub services: Vec<Arc<str>>,
    pub runs: Vec<Run>,
    pub zones: Vec<Zone>,
    pub rollup: Rollup,
}

/// What is wrong with a sidecar's bytes.
#[derive(Debug, thiserror::Error)]
#[error("sidecar block {block} is corrupt at byte {offset}: {detail}")]
pub(crate) struct SidecarError {
    pub block: u32,
    pub offset: usize,
    pub detail: &'static str,
}

/// Gathers runs and zones while a segment's sorted rows are written.
#[derive(Default)]
pub(crate) struct SidecarBuilder {
    sidecar: Sidecar,
    rows: u32,
}

impl SidecarBuilder {
    /// Adds the next rows of the segment, in order.
    pub(crate) fn add(&mut self, block: &RowBlock) {
        for row in 0..block.rows() {
            self.add_run(block.service(row), block.template_id(row).unwrap_or(0));
            self.add_zone(block.timestamp(row).0, block.level(row).map_or(0, heimdall_model::Level::code));
            self.rows += 1;
        }
    }

    fn add_run(&mut self, service: Option<&str>, template: u32) {
        let services = &mut self.sidecar.services;
        let code = match service {
            None => u32::MAX,
            Some(name) => {
                if services.last().is_none_or(|last| last.as_ref() != name) {
                    services.push(name.into());
                }
                u32::try_from(services.len() - 1).expect("fewer services than rows")
            }
        };
        match self.sidecar.runs.last_mut() {
            Some(run) if run.service == code && run.template == template => run.rows.end += 1,
            _ => self.sidecar.runs.push(Run { service: code, template, rows: self.rows..self.rows + 1 }),
        }
    }

    fn add_zone(&mut self, ns: i64, level: u8) {
        let fresh = Zone { min_ns: ns, max_ns: ns, levels: 1 << level };
        if (self.rows as usize).is_multiple_of(PAGE_ROWS) {
            self.sidecar.zones.push(fresh);
        } else if let Some(zone) = self.sidecar.zones.last_mut() {
            zone.min_ns = zone.min_ns.min(ns);
            zone.max_ns = zone.max_ns.max(ns);
            zone.levels |= 1 << level;
        }
    }

    /// The sidecar of all rows added.
    pub(crate) fn finish(mut self, rollup: Rollup) -> Sidecar {
        self.sidecar.rollup = rollup;
        self.sidecar
    }
}

impl Sidecar {
    /// The service of a run.
    pub(crate) fn service(&self, run: &Run) -> Option<&str> {
        self.services.get(run.service as usize).map(AsRef::as_ref)
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let blocks = [
            (SERVICES, encode_services(&self.services)),
            (RUNS, encode_runs(&self.runs)),
            (ZONES, encode_zones(&self.zones)),
            (MINUTE_ROLLUP, encode_rollup(&self.rollup)),
        ];
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, blocks.len());
        let mut offset = MAGIC.len() + 4 + blocks.len() * DIRECTORY_ENTRY_BYTES + 4;
        let mut bodies = Vec::new();
        for (kind, raw) in blocks {
            let body = zstd::bulk::compress(&raw, 1).expect("compressing into memory cannot fail");
            out.extend_from_slice(&kind.to_le_bytes());
            put_u32(&mut out, raw.len());
            out.extend_from_slice(&(offset as u64).to_le_bytes());
            put_u32(&mut out, body.len());
            out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
            offset += body.len();
            bodies.extend_from_slice(&body);
        }
        let directory_crc = crc32c::crc32c(&out);
        out.extend_from_slice(&directory_crc.to_le_bytes());
        out.extend_from_slice(&bodies);
        out
    }

    /// Reads the bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Sidecar, SidecarError> {
        let mut reader = Reader { bytes, at: 0, block: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(reader.fail("unknown magic or version"));
        }
        let count = reader.u32()? as usize;
        let directory = reader.take(count.saturating_mul(DIRECTORY_ENTRY_BYTES))?;
        let crc = crc32c::crc32c(&bytes[..reader.at]);
        if reader.u32()? != crc {
            return Err(reader.fail("directory checksum differs"));
        }
        let mut sidecar = Sidecar::default();
        for entry in directory.chunks_exact(DIRECTORY_ENTRY_BYTES) {
            sidecar.decode_block(bytes, entry)?;
        }
        sidecar.check()?;
        Ok(sidecar)
    }

    fn decode_block(&mut self, bytes: &[u8], entry: &[u8]) -> Result<(), SidecarError> {
        let mut head = Reader { bytes: entry, at: 0, block: 0 };
        let (kind, raw_len) = (head.u32()?, head.u32()? as usize);
        let offset = usize::try_from(head.u64()?).unwrap_or(usize::MAX);
        let (len, crc) = (head.u32()? as usize, head.u32()?);
        let fail = |detail| SidecarError { block: kind, offset, detail };
        let body = bytes.get(offset..offset.saturating_add(len)).ok_or_else(|| fail("bytes end early"))?;
        if crc32c::crc32c(body) != crc {
            return Err(fail("checksum differs"));
        }
        if raw_len > BLOCK_BYTES_MAX {
            return Err(fail("block is too large"));
        }
        let raw = zstd::bulk::decompress(body, raw_len).map_err(|_| fail("does not decompress"))?;
        let mut reader = Reader { bytes: &raw, at: 0, block: kind };
        match kind {
            SERVICES => self.services = reader.services()?,
            RUNS => self.runs = reader.runs()?,
            ZONES => self.zones = reader.zones()?,
            MINUTE_ROLLUP => self.rollup = reader.rollup()?,
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SidecarError> {
        let dense = self.runs.windows(2).all(|pair| pair[0].rows.end == pair[1].rows.start);
        if dense && self.runs.first().is_none_or(|run| run.rows.start == 0) {
            Ok(())
        } else {
            Err(SidecarError { block: RUNS, offset: 0, detail: "runs leave gaps" })
        }
    }
}

fn put_u32(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).expect("segments stay far below 4 GiB").to_le_bytes());
}

fn encode_services(services: &[Arc<str>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, services.len());
    for name in services {
        put_u32(&mut out, name.len());
        out.extend_from_slice(name.as_bytes());
    }
    out
}

fn encode_runs(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, runs.len());
    for run in runs {
        for n in [run.service, run.template, run.rows.end - run.rows.start] {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
    out
}

fn encode_zones(zones: &[Zone]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, zones.len());
    for zone in zones {
        out.extend_from_slice(&zone.min_ns.to_le_bytes());
        out.extend_from_slice(&zone.max_ns.to_le_bytes());
        out.push(zone.levels);
    }
    out
}

fn encode_rollup(rollup: &Rollup) -> Vec<u8> {
    let mut out = encode_services(&rollup.services);
    put_u32(&mut out, rollup.cells.len());
    for cell in &rollup.cells {
        out.extend_from_slice(&cell.minute.to_le_bytes());
        out.extend_from_slice(&cell.service.to_le_bytes());
        out.push(cell.level);
        out.extend_from_slice(&cell.count.to_le_bytes());
    }
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    block: u32,
}

impl<'a> Reader<'a> {
    fn fail(&self, detail: &'static str) -> SidecarError {
        SidecarError { block: self.block, offset: self.at, detail }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], SidecarError> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fail("bytes end early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SidecarError> {
        Ok(self.take(N)?.try_into().expect("exactly N bytes were taken"))
    }

    fn u32(&mut self) -> Result<u32, SidecarError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, SidecarError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, SidecarError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn byte(&mut self) -> Result<u8, SidecarError> {
        Ok(self.take(1)?[0])
    }

    fn services(&mut self) -> Result<Vec<Arc<str>>, SidecarError> {
        let count = self.u32()?;
        (0..count)
            .map(|_| {
                let len = self.u32()? as usize;
                let name =
                    std::str::from_utf8(self.take(len)?).map_err(|_| self.fail("name is not UTF-8"))?;
                Ok(name.into())
            })
            .collect()
    }

    fn runs(&mut self) -> Result<Vec<Run>, SidecarError> {
        let count = self.u32()?;
        let mut start = 0_u32;
        (0..count)
            .map(|_| {
                let (service, template, rows) = (self.u32()?, self.u32()?, self.u32()?);
                let end = start.checked_add(rows).ok_or_else(|| self.fail("too many rows"))?;
                let run = Run { service, template, rows: start..end };
                start = end;
                Ok(run)
            })
            .collect()
    }

    fn zones(&mut self) -> Result<Vec<Zone>, SidecarError> {
        let count = self.u32()?;
        (0..count)
            .map(|_| Ok(Zone { min_ns: self.i64()?, max_ns: self.i64()?, levels: self.byte()? }))
            .collect()
    }

    fn rollup(&mut self) -> Result<Rollup, SidecarError> {
        let services = self.services()?;
        let count = self.u32()?;
        let cells = (0..count)
            .map(|_| {
                Ok(RollupCell {
                    minute: self.i64()?,
                    service: self.u32()?,
                    level: self.byte()?,
                    count: self.u64()?,
                })
            })
            .collect::<Result<_, SidecarError>>()?;
        Ok(Rollup { services, cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Sidecar {
        let services: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        Sidecar {
            runs: vec![
                Run { service: 0, template: 3, rows: 0..10 },
                Run { service: 1, template: 1, rows: 10..12 },
            ],
            zones: vec![Zone { min_ns: -5, max_ns: 9, levels: 0b1001 }],
            rollup: Rollup {
                services: services.clone(),
                cells: vec![RollupCell { minute: 7, service: 1, level: 3, count: 12 }],
            },
            services,
        }
    }

    #[test]
    fn round_trip() {
        let decoded = Sidecar::decode(&sample().encode()).expect("decodes");
        assert_eq!(format!("{decoded:?}"), format!("{:?}", sample()));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_or_cut_is_an_error(at in 0usize..1000, bit in 0u8..8) {
            let bytes = sample().encode();
            let at = at % bytes.len();
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(Sidecar::decode(&flipped).is_err());
            prop_assert!(Sidecar::decode(&bytes[..at]).is_err());
        }
    }
}

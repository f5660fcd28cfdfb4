//! What a segment knows beside its Parquet file: a container of blocks, each fetched by range when first needed.
//! Format: docs/formats/segment.md.
//!
//! - [`runs`]: run directory and page zones; [`cache`]: decoded blocks, bounded; [`codec`]: bytes in and out
//!
//! Invariants:
//! - a block is checked by CRC-32C before it is used, one in cells cell by cell; damage is an error naming file and byte;
//! - a block of unknown kind is never read, so that later versions can add kinds;
//! - decoded blocks live in the store's [`BlockCache`]: a segment itself keeps the directory only.
//!
//! To add a kind: a number in [`kind`], [`SidecarBlock`] for the type, [`SidecarWriter::put`] where segments are
//! encoded, [`SidecarFile::block`] where it is used. A kind that is read in place, never unpacked, is put with
//! [`SidecarWriter::put_bytes`] and read with [`SidecarFile::bytes`].

mod cache;
mod codec;
mod runs;

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::file::reader::Length;

pub(crate) use cache::BlockCache;
pub(crate) use codec::{Damage, Reader, put_count};
pub(crate) use runs::{LayoutBuilder, Run, RunDirectory, RunLevels, RunTimes, Zone, Zones};

use crate::files::RangeFile;
use crate::store::StoreError;

/// Rows of one page: the unit of pruning, in every column of a segment.
pub(crate) const PAGE_ROWS: usize = 4096;

/// Numbers of the kinds of blocks; none is ever used for something else.
pub(crate) mod kind {
    /// Services and runs.
    pub(crate) const RUNS: u32 = 1;
    /// Bounds of each page.
    pub(crate) const ZONES: u32 = 2;
    /// Counts by minute, service and level.
    pub(crate) const MINUTE_COUNTS: u32 = 3;
    /// Shape of the token filters.
    pub(crate) const SIGNATURE: u32 = 4;
    /// The token filters of all pages, transposed, in cells.
    pub(crate) const SIGNATURE_ROWS: u32 = 5;
    /// Counts by hour, service and level.
    pub(crate) const HOUR_COUNTS: u32 = 10;
    /// Counts by hour and template.
    pub(crate) const TEMPLATE_COUNTS: u32 = 11;
    /// Durations by hour and service.
    pub(crate) const LATENCY_HOURS: u32 = 12;
    /// Statistics of every field.
    pub(crate) const FIELD_STATISTICS: u32 = 14;
    /// Durations by service.
    pub(crate) const LATENCY_WHOLE: u32 = 15;
    /// Which cubes there are, of segments written before cubes knew hours. Kind 13 was that of cubes in which a value's place said
    /// nothing of what equals it.
    pub(crate) const CUBES: u32 = 16;
    /// Earliest and latest time of each run.
    pub(crate) const RUN_TIMES: u32 = 17;
    /// Which cubes there are, and which of them know hours: a program that knows kind 16 only does not read them.
    pub(crate) const HOUR_CUBES: u32 = 18;
    /// Levels of each run.
    pub(crate) const RUN_LEVELS: u32 = 19;
    /// Durations by span of some minutes and service.
    pub(crate) const LATENCY_SPANS: u32 = 20;
    /// Rows of each run by span of some minutes.
    pub(crate) const RUN_SPANS: u32 = 21;
    /// Checksums of the Parquet file.
    pub(crate) const CHECKSUMS: u32 = 40;
    /// The first cube; the others follow, at most 64 of them.
    pub(crate) const CUBE_FIRST: u32 = 64;
}

const MAGIC: &[u8; 8] = b"HIDX0002";
/// Magic, number of blocks.
const HEAD_BYTES: usize = 12;
const ENTRY_BYTES: usize = 32;
/// The directory is within the first so many bytes: one read finds it.
const DIRECTORY_BYTES_MAX: usize = 4096;
const BLOCKS_MAX: usize = (DIRECTORY_BYTES_MAX - HEAD_BYTES - 4) / ENTRY_BYTES;
/// Largest content of a block that is read as a whole.
const CONTENT_BYTES_MAX: usize = 1 << 30;
/// Bodies begin at a multiple of this, blocks in cells at a multiple of [`CELL_BYTES`].
const BODY_ALIGN: usize = 64;

/// Bytes of one cell: the data and its checksum.
pub(crate) const CELL_BYTES: usize = 4096;
/// Bytes of data in one cell.
pub(crate) const CELL_DATA_BYTES: usize = CELL_BYTES - 4;

/// Something that is kept as a block of its own.
pub(crate) trait SidecarBlock: Sized + Send + Sync + 'static {
    /// One of [`kind`].
    const KIND: u32;

    /// Appends the content.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the content back.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage>;

    /// Says what does not fit a segment of so many rows.
    fn check(&self, rows: u64) -> Result<(), &'static str>;

    /// Bytes it takes in memory: what the cache counts.
    fn memory_bytes(&self) -> usize;
}

/// How a body is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
    /// Cells, each with its own checksum.
    Cells,
}

impl Form {
    const ALL: [Form; 3] = [Form::Raw, Form::Zstd, Form::Cells];

    fn code(self) -> u32 {
        match self {
            Form::Raw => 0,
            Form::Zstd => 1,
            Form::Cells => 2,
        }
    }
}

/// One block in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: u32,
    form: Form,
    /// Where the body is in the file.
    offset: u64,
    body_bytes: usize,
    content_bytes: usize,
    /// Of the body; 0 for cells.
    crc: u32,
}

/// Puts a sidecar together, block by block.
#[derive(Default)]
pub(crate) struct SidecarWriter {
    blocks: Vec<(Entry, Vec<u8>)>,
}

impl SidecarWriter {
    /// Adds a block, compressed where that helps.
    pub(crate) fn put<B: SidecarBlock>(&mut self, block: &B) {
        let mut content = Vec::new();
        block.encode(&mut content);
        self.put_bytes(B::KIND, &content);
    }

    /// Adds a block of this content, compressed where that helps.
    pub(crate) fn put_bytes(&mut self, kind: u32, content: &[u8]) {
        let content_bytes = content.len();
        let packed = zstd::bulk::compress(content, 1).expect("compressing into memory cannot fail");
        let (form, body) =
            if packed.len() < content_bytes { (Form::Zstd, packed) } else { (Form::Raw, content.to_vec()) };
        let crc = crc32c::crc32c(&body);
        self.add(Entry { kind, form, offset: 0, body_bytes: body.len(), content_bytes, crc }, body);
    }

    /// Adds a block of cells, each [`CELL_BYTES`] long with room for its checksum at the end.
    pub(crate) fn put_cells(&mut self, kind: u32, mut body: Vec<u8>) {
        debug_assert!(body.len().is_multiple_of(CELL_BYTES));
        for (number, cell) in (0_u32..).zip(body.chunks_exact_mut(CELL_BYTES)) {
            let (data, crc) = cell.split_at_mut(CELL_DATA_BYTES);
            crc.copy_from_slice(&cell_crc(number, data).to_le_bytes());
        }
        let content_bytes = body.len() / CELL_BYTES * CELL_DATA_BYTES;
        let form = Form::Cells;
        self.add(Entry { kind, form, offset: 0, body_bytes: body.len(), content_bytes, crc: 0 }, body);
    }

    fn add(&mut self, entry: Entry, body: Vec<u8>) {
        debug_assert!(self.blocks.len() < BLOCKS_MAX);
        debug_assert!(self.blocks.iter().all(|(other, _)| other.kind != entry.kind));
        self.blocks.push((entry, body));
    }

    /// Writes the file.
    pub(crate) fn write(mut self, out: &mut impl Write) -> io::Result<()> {
        let mut end = HEAD_BYTES + self.blocks.len() * ENTRY_BYTES + 4;
        for (entry, body) in &mut self.blocks {
            let align = if entry.form == Form::Cells { CELL_BYTES } else { BODY_ALIGN };
            let start = end.next_multiple_of(align);
            entry.offset = start as u64;
            end = start + body.len();
        }
        let mut head = Vec::new();
        head.extend_from_slice(MAGIC);
        put_count(&mut head, self.blocks.len());
        for (entry, _) in &self.blocks {
            head.extend_from_slice(&entry.kind.to_le_bytes());
            head.extend_from_slice(&entry.form.code().to_le_bytes());
            head.extend_from_slice(&entry.offset.to_le_bytes());
            head.extend_from_slice(&(entry.body_bytes as u64).to_le_bytes());
            put_count(&mut head, entry.content_bytes);
            head.extend_from_slice(&entry.crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&head);
        head.extend_from_slice(&crc.to_le_bytes());
        out.write_all(&head)?;
        let mut at = head.len() as u64;
        for (entry, body) in &self.blocks {
            let gap = usize::try_from(entry.offset - at).expect("less than a cell");
            out.write_all(&[0; CELL_BYTES][..gap])?;
            out.write_all(body)?;
            at = entry.offset + body.len() as u64;
        }
        Ok(())
    }

    /// The bytes of the file.
    #[cfg(test)]
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("memory takes all writes");
        bytes
    }
}

/// A cell's checksum covers its number too: a cell in another's place is damage.
fn cell_crc(number: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(number, data)
}

/// The sidecar of one segment, opened and read as it is needed.
pub(crate) struct SidecarFile {
    file: RangeFile,
    /// What the manifest says.
    rows: u64,
    cache: Arc<BlockCache>,
    /// Number in the cache.
    number: u64,
    directory: OnceLock<Vec<Entry>>,
}

impl Drop for SidecarFile {
    fn drop(&mut self) {
        self.cache.forget(self.number);
    }
}

impl SidecarFile {
    /// The sidecar in `file`, which is looked at when first needed.
    pub(crate) fn new(file: RangeFile, rows: u64, cache: &Arc<BlockCache>) -> SidecarFile {
        let (cache, number) = (Arc::clone(cache), cache.register());
        SidecarFile { file, rows, cache, number, directory: OnceLock::new() }
    }

    /// Its number among all sidecars that were opened.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read from it since it was opened.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.file.bytes_read()
    }

    /// The file, unchecked.
    pub(crate) fn file(&self) -> &RangeFile {
        &self.file
    }

    /// Reads every block, as far as the first one that is damaged.
    pub(crate) fn first_damage(&self) -> Result<(), StoreError> {
        for entry in self.directory()? {
            if entry.form == Form::Cells {
                let cells = Cells { sidecar: self, entry: *entry };
                let count = u32::try_from(entry.body_bytes / CELL_BYTES).unwrap_or(u32::MAX);
                let mut buffer = [0; CELL_BYTES];
                for number in 0..count {
                    cells.read(number, &mut buffer)?;
                }
            } else {
                self.content(entry)?;
            }
        }
        Ok(())
    }

    /// The run directory.
    pub(crate) fn runs(&self) -> Result<Arc<RunDirectory>, StoreError> {
        self.required()
    }

    /// The bounds of each page.
    pub(crate) fn zones(&self) -> Result<Arc<Zones>, StoreError> {
        self.required()
    }

    fn required<B: SidecarBlock>(&self) -> Result<Arc<B>, StoreError> {
        self.block()?.ok_or_else(|| self.corrupt(0, &format_args!("it has no block of kind {}", B::KIND)))
    }

    /// The block of this type, from the cache or the file; `None` when the file has none.
    pub(crate) fn block<B: SidecarBlock>(&self) -> Result<Option<Arc<B>>, StoreError> {
        if let Some(block) = self.cache.get(self.number, B::KIND) {
            return Ok(Some(block));
        }
        let Some(entry) = self.entry(B::KIND)? else { return Ok(None) };
        let content = self.content(entry)?;
        let fail = |damage: &dyn std::fmt::Display| {
            self.corrupt(entry.offset, &format_args!("block of kind {}: {damage}", B::KIND))
        };
        let mut reader = Reader::new(&content);
        let block = B::decode(&mut reader).and_then(|block| reader.end().map(|()| block));
        let block = Arc::new(block.map_err(|damage| fail(&damage))?);
        block.check(self.rows).map_err(|detail| fail(&detail))?;
        self.cache.put(self.number, B::KIND, Arc::clone(&block), block.memory_bytes());
        Ok(Some(block))
    }

    /// The content of the block of this kind, from the cache or the file; `None` when the file has none.
    pub(crate) fn bytes(&self, kind: u32) -> Result<Option<Bytes>, StoreError> {
        if let Some(content) = self.cache.get::<Bytes>(self.number, kind) {
            return Ok(Some(content.as_ref().clone()));
        }
        let Some(entry) = self.directory()?.iter().find(|entry| entry.kind == kind) else { return Ok(None) };
        let content = self.content(entry)?;
        self.cache.put(self.number, kind, Arc::new(content.clone()), content.len());
        Ok(Some(content))
    }

    /// Bytes of the content of the block of this kind; `None` when the file has none.
    pub(crate) fn content_bytes(&self, kind: u32) -> Result<Option<u64>, StoreError> {
        Ok(self.entry(kind)?.map(|entry| entry.content_bytes as u64))
    }

    /// The error of a block whose content is not what it should be.
    pub(crate) fn damaged(&self, kind: u32, damage: &Damage) -> StoreError {
        let entry = self.directory.get().and_then(|entries| entries.iter().find(|entry| entry.kind == kind));
        let offset = entry.map_or(0, |entry| entry.offset);
        self.corrupt(offset, &format_args!("block of kind {kind}: {damage}"))
    }

    /// The block of cells of this kind; `None` when the file has none.
    pub(crate) fn cells(&self, kind: u32) -> Result<Option<Cells<'_>>, StoreError> {
        let Some(entry) = self.entry(kind)? else { return Ok(None) };
        if entry.form != Form::Cells {
            return Err(self.corrupt(entry.offset, &format_args!("block of kind {kind} is not in cells")));
        }
        Ok(Some(Cells { sidecar: self, entry: *entry }))
    }

    /// The error of a sidecar that does not belong to its Parquet file.
    pub(crate) fn is_of_another_segment(&self) -> StoreError {
        self.corrupt(0, &"the sidecar is of another segment")
    }

    fn corrupt(&self, offset: u64, detail: &dyn std::fmt::Display) -> StoreError {
        self.file.corrupt(&format_args!("at byte {offset}: {detail}"))
    }

    fn entry(&self, kind: u32) -> Result<Option<&Entry>, StoreError> {
        Ok(self.directory()?.iter().find(|entry| entry.kind == kind))
    }

    fn directory(&self) -> Result<&[Entry], StoreError> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let bytes = self.file.len();
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(DIRECTORY_BYTES_MAX);
        let head = self.file.read(0, length).map_err(|error| self.file.failed(0, error))?;
        let directory =
            directory(&head, bytes).map_err(|damage| self.corrupt(damage.at as u64, &damage.detail))?;
        Ok(self.directory.get_or_init(|| directory))
    }

    fn content(&self, entry: &Entry) -> Result<Bytes, StoreError> {
        let fail = |detail: &str| {
            self.corrupt(entry.offset, &format_args!("block of kind {}: {detail}", entry.kind))
        };
        let body = self
            .file
            .read(entry.offset, entry.body_bytes)
            .map_err(|error| self.file.failed(entry.offset, error))?;
        if entry.form != Form::Cells && crc32c::crc32c(&body) != entry.crc {
            return Err(fail("checksum differs"));
        }
        match entry.form {
            Form::Raw => Ok(body),
            Form::Zstd => match zstd::bulk::decompress(&body, entry.content_bytes) {
                Ok(content) if content.len() == entry.content_bytes => Ok(content.into()),
                _ => Err(fail("does not decompress to its length")),
            },
            Form::Cells => Err(fail("is in cells")),
        }
    }
}

/// Reads the directory from the first bytes of a file that is `file_bytes` long.
fn directory(head: &[u8], file_bytes: u64) -> Result<Vec<Entry>, Damage> {
    let mut reader = Reader::new(head);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Damage { at: 0, detail: "unknown magic or version" });
    }
    let count = reader.count(ENTRY_BYTES)?;
    let entries = (0..count).map(|_| entry(&mut reader, file_bytes)).collect::<Result<Vec<_>, Damage>>();
    let end = HEAD_BYTES + count * ENTRY_BYTES;
    let crc = Reader::new(&head[end..])
        .u32()
        .map_err(|_| Damage { at: end, detail: "the directory ends early" })?;
    if crc != crc32c::crc32c(&head[..end]) {
        return Err(Damage { at: end, detail: "the directory's checksum differs" });
    }
    Ok(entries?.into_iter().flatten().collect())
}

/// The next entry; `None` when its form is of a later version, which is like an unknown kind.
fn entry(reader: &mut Reader<'_>, file_bytes: u64) -> Result<Option<Entry>, Damage> {
    let (kind, form) = (reader.u32()?, reader.u32()?);
    let (offset, body_bytes) = (reader.u64()?, reader.u64()?);
    let (content_bytes, crc) = (reader.u32()? as usize, reader.u32()?);
    if offset.checked_add(body_bytes).is_none_or(|end| end > file_bytes) {
        return Err(reader.damage("a block ends beyond the file"));
    }
    if content_bytes > CONTENT_BYTES_MAX {
        return Err(reader.damage("a block is too large"));
    }
    let Some(form) = Form::ALL.into_iter().find(|known| known.code() == form) else { return Ok(None) };
    let body_bytes = usize::try_from(body_bytes).map_err(|_| reader.damage("a block is too large"))?;
    Ok(Some(Entry { kind, form, offset, body_bytes, content_bytes, crc }))
}

/// A block that is read cell by cell.
pub(crate) struct Cells<'a> {
    sidecar: &'a SidecarFile,
    entry: Entry,
}

impl Cells<'_> {
    /// Bytes of the content over all cells.
    #[cfg(test)]
    pub(crate) fn content_bytes(&self) -> usize {
        self.entry.content_bytes
    }

    /// Reads one cell into `buffer` and checks it; gives its data.
    pub(crate) fn read<'b>(
        &self,
        number: u32,
        buffer: &'b mut [u8; CELL_BYTES],
    ) -> Result<&'b [u8], StoreError> {
        let start = u64::from(number) * CELL_BYTES as u64;
        let offset = self.entry.offset + start;
        if start + CELL_BYTES as u64 > self.entry.body_bytes as u64 {
            let detail = format_args!("block of kind {} has no cell {number}", self.entry.kind);
            return Err(self.sidecar.corrupt(offset, &detail));
        }
        let file = &self.sidecar.file;
        file.read_into(buffer, offset).map_err(|error| file.failed(offset, error))?;
        let (data, crc) = buffer.split_at(CELL_DATA_BYTES);
        if cell_crc(number, data).to_le_bytes() != crc {
            let detail = format_args!("cell {number} of kind {}: checksum differs", self.entry.kind);
            return Err(self.sidecar.corrupt(offset, &detail));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests;

//! Cubes: how often each value of a declared field stands in some rows, by class of the rows' `status`.
//!
//! Values lie in [`PARTITIONS`] by a hash of what they equal in a search (see [`partition_of`]), and in order within each, their
//! beginnings shared with the value before. So the cubes of many segments are added up one partition after the other, in a table
//! that fits the processor's cache, whatever the number of values, and one value is found in one partition. Partitions are packed
//! into frames of about [`FRAME_BYTES`], compressed each. What tells the hours of a value apart is a body of its own beside each
//! frame, which nobody reads who asks for all of them.
//!
//! Invariants:
//! - exact: the counts sum to the rows added, rows without a value among them (as [`SummaryValue::Null`]); those of a value's hours
//!   to those of the value;
//! - a cube too large to be worth its bytes is given up, never cut.
//!
//! Not here: the counting (see `counting`).

use std::cell::RefCell;
use std::ops::Range;

use super::codec::{Damage, Reader, put, put_signed};
use super::hash64;
use super::table::Table;
use super::value::{BOOL, FLOAT, INT, JSON, SummaryValue, TEXT};

/// Classes of rows by their status: 0 none, 1 to 5 for 100–199 to 500–599, 6 any other.
pub const CLASSES: usize = 7;
/// Class of rows whose status is no number from 100 to 599.
pub(crate) const CLASS_OTHER: usize = 6;
pub(crate) const PARTITIONS: usize = 64;
const PARTITION_SHIFT: u32 = u64::BITS - PARTITIONS.ilog2();
/// Partition of arrays and objects: any of their elements may be what is looked for.
const PARTITION_OF_JSON: usize = 0;
/// Bytes of content at which a frame ends.
const FRAME_BYTES: usize = 32 << 10;
/// Most bytes of a frame's content that a reader accepts.
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Bits of a cube's first byte: frames are compressed; hours are told apart.
const COMPRESSED: u8 = 1;
const BY_HOUR: u8 = 2;

/// Rows by class.
pub(crate) type ClassCounts = [u64; CLASSES];

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    /// Every class.
    pub const ALL: Classes = Classes((1 << CLASSES) - 1);

    /// The classes that `holds`.
    pub fn those(holds: impl Fn(usize) -> bool) -> Classes {
        Classes((0..CLASSES).filter(|class| holds(*class)).fold(0, |mask, class| mask | 1 << class))
    }

    /// The classes of both.
    #[must_use]
    pub fn and(self, other: Classes) -> Classes {
        Classes(self.0 & other.0)
    }

    /// Rows of these classes.
    pub(crate) fn sum(self, counts: &ClassCounts) -> u64 {
        (0..CLASSES).filter(|class| self.0 >> class & 1 == 1).map(|class| counts[class]).sum()
    }
}

/// The partition of a value, given by its tag and bytes: values that a search takes for the same (5 and "5.0", "Bob" and "bob")
/// share one.
pub(crate) fn partition_of(key: &[u8]) -> usize {
    let Some((tag, bytes)) = key.split_first() else { return 0 };
    let word = || bytes.try_into().map(u64::from_be_bytes).unwrap_or_default();
    match *tag {
        JSON => PARTITION_OF_JSON,
        TEXT => partition_of_text(&String::from_utf8_lossy(bytes)),
        BOOL => partition_of_text(if bytes == [1] { "true" } else { "false" }),
        #[expect(clippy::cast_precision_loss, reason = "a search compares numbers as f64")]
        INT => partition_of_number(word().cast_signed() as f64),
        FLOAT => partition_of_number(f64::from_bits(word())),
        tag => partition_of_hash(hash64(tag, bytes)),
    }
}

/// The partition of the values that equal this text, besides [`PARTITION_OF_JSON`].
fn partition_of_text(text: &str) -> usize {
    match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => partition_of_number(number),
        None => partition_of_hash(hash64(TEXT, text.to_lowercase().as_bytes())),
    }
}

fn partition_of_number(number: f64) -> usize {
    let number = number + 0.0; // the two zeros share one
    partition_of_hash(hash64(FLOAT, &number.to_bits().to_be_bytes()))
}

fn partition_of_hash(hash: u64) -> usize {
    usize::try_from(hash >> PARTITION_SHIFT).unwrap_or(0)
}

/// Which values of cubes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought(u64);

impl Sought {
    /// All of them.
    pub const ALL: Sought = Sought(u64::MAX);

    /// Those that equal `text` in a search, and others.
    #[must_use]
    pub fn equal_to(text: &str) -> Sought {
        Sought(1 << PARTITION_OF_JSON | 1 << partition_of_text(text))
    }

    /// Values that are in both.
    #[must_use]
    pub fn and(self, other: Sought) -> Sought {
        Sought(self.0 & other.0)
    }

    /// How many of `bytes` are read for it, if values are spread evenly.
    #[must_use]
    pub fn share_of(self, bytes: u64) -> u64 {
        bytes / PARTITIONS as u64 * u64::from(self.0.count_ones())
    }

    /// Its partitions.
    pub(crate) fn partitions(self) -> impl Iterator<Item = usize> {
        (0..PARTITIONS).filter(move |partition| self.0 >> partition & 1 == 1)
    }
}

const _: () = assert!(PARTITIONS == u64::BITS as usize, "a set of partitions is a u64");

/// Rows by class of each hour (since the epoch) in which a value has some, rising.
pub(crate) type Hours = Vec<(i64, ClassCounts)>;

/// The class of a value whose rows are all of one: then its hours need not say of which.
fn only_class(counts: &ClassCounts) -> Option<usize> {
    let mut classes = (0..CLASSES).filter(|class| counts[*class] > 0);
    classes.next().filter(|_| classes.next().is_none())
}

fn put_counts(out: &mut Vec<u8>, counts: &ClassCounts) {
    out.push((0..CLASSES).filter(|class| counts[*class] > 0).fold(0, |mask, class| mask | 1 << class));
    counts.iter().filter(|count| **count > 0).for_each(|count| put(out, *count));
}

#[inline]
fn read_counts(reader: &mut Reader<'_>) -> Result<ClassCounts, Damage> {
    let mask = reader.u8()?;
    let mut by_class = [0; CLASSES];
    for (class, count) in by_class.iter_mut().enumerate() {
        if mask >> class & 1 == 1 {
            *count = reader.varint()?;
        }
    }
    Ok(by_class)
}

/// What is gathered for the frame at hand.
#[derive(Debug, Default)]
struct Streams {
    /// Values of each partition.
    sizes: Vec<u64>,
    shared: Vec<u8>,
    lengths: Vec<u8>,
    texts: Vec<u8>,
    counts: Vec<u8>,
    /// Hours of the values, and their rows.
    times: Vec<u8>,
    hourly: Vec<u8>,
}

/// A frame as the head of a cube tells of it; the bytes of its hours are absent when these are not told apart.
#[derive(Debug, Clone)]
struct Frame {
    partitions: usize,
    values: Body,
    hours: Body,
}

/// Bytes of a content, and where it is in the cube.
#[derive(Debug, Clone, Default)]
struct Body {
    raw_bytes: usize,
    at: Range<usize>,
}

/// Writes a cube from its values in order of partition and key.
pub(crate) struct CubeWriter {
    compress: bool,
    /// The first hour of all, when hours are told apart.
    first_hour: Option<i64>,
    partition: usize,
    /// Partitions before the present frame.
    framed: usize,
    frames: Vec<Frame>,
    bodies: Vec<u8>,
    values: u64,
    streams: Streams,
    last: Vec<u8>,
}

impl CubeWriter {
    pub(crate) fn new(compress: bool, first_hour: Option<i64>) -> CubeWriter {
        CubeWriter {
            compress,
            first_hour,
            partition: 0,
            framed: 0,
            frames: Vec::new(),
            bodies: Vec::new(),
            values: 0,
            streams: Streams { sizes: vec![0], ..Streams::default() },
            last: Vec::new(),
        }
    }

    /// Adds the next value: its partition, its tag and bytes, its rows by class, and those of its hours where they are told apart.
    pub(crate) fn push(
        &mut self,
        partition: usize,
        key: &[u8],
        counts: &ClassCounts,
        hours: &[(i64, ClassCounts)],
    ) {
        debug_assert!(partition >= self.partition, "values come in order");
        while self.partition < partition {
            self.end_partition();
        }
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        let streams = &mut self.streams;
        put(&mut streams.shared, shared as u64);
        put(&mut streams.lengths, (key.len() - shared) as u64);
        streams.texts.extend_from_slice(&key[shared..]);
        put_counts(&mut streams.counts, counts);
        if let Some(first) = self.first_hour {
            put(&mut streams.times, hours.len() as u64);
            let mut least = first;
            for (hour, _) in hours {
                put(&mut streams.times, hour.abs_diff(least));
                least = hour.saturating_add(1);
            }
            // The rows of the last one are those that are left.
            for (_, rows) in &hours[..hours.len().saturating_sub(1)] {
                match only_class(counts) {
                    Some(class) => put(&mut streams.hourly, rows[class]),
                    None => put_counts(&mut streams.hourly, rows),
                }
            }
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        self.values += 1;
        *self.streams.sizes.last_mut().expect("a frame has a partition") += 1;
    }

    fn end_partition(&mut self) {
        self.partition += 1;
        self.last.clear();
        let Streams { shared, lengths, texts, counts, .. } = &self.streams;
        if shared.len() + lengths.len() + texts.len() + counts.len() >= FRAME_BYTES {
            self.end_frame();
        }
        self.streams.sizes.push(0);
    }

    fn end_frame(&mut self) {
        let Streams { sizes, shared, lengths, texts, counts, times, hourly } =
            std::mem::take(&mut self.streams);
        let mut raw = Vec::new();
        sizes.into_iter().for_each(|size| put(&mut raw, size));
        let streams = [shared, lengths, texts, counts];
        streams.iter().for_each(|stream| put(&mut raw, stream.len() as u64));
        streams.iter().for_each(|stream| raw.extend_from_slice(stream));
        let values = self.put_body(&raw);
        let hours = if self.first_hour.is_some() {
            raw.clear();
            put(&mut raw, times.len() as u64);
            raw.extend_from_slice(&times);
            raw.extend_from_slice(&hourly);
            self.put_body(&raw)
        } else {
            Body::default()
        };
        self.frames.push(Frame { partitions: self.partition - self.framed, values, hours });
        self.framed = self.partition;
    }

    fn put_body(&mut self, raw: &[u8]) -> Body {
        let start = self.bodies.len();
        if self.compress {
            let packed = zstd::bulk::compress(raw, 1).expect("compressing into memory cannot fail");
            self.bodies.extend_from_slice(&packed);
        } else {
            self.bodies.extend_from_slice(raw);
        }
        Body { raw_bytes: raw.len(), at: start..self.bodies.len() }
    }

    /// The bytes of the cube.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while self.partition < PARTITIONS - 1 {
            self.end_partition();
        }
        self.partition = PARTITIONS;
        self.end_frame();
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let mut out = vec![flag(self.compress, COMPRESSED) | flag(self.first_hour.is_some(), BY_HOUR)];
        put(&mut out, self.values);
        self.first_hour.into_iter().for_each(|hour| put_signed(&mut out, hour));
        put(&mut out, self.frames.len() as u64);
        for frame in &self.frames {
            put(&mut out, frame.partitions as u64);
            for body in std::iter::once(&frame.values).chain(self.first_hour.map(|_| &frame.hours)) {
                put(&mut out, body.raw_bytes as u64);
                put(&mut out, body.at.len() as u64);
            }
        }
        out.extend_from_slice(&self.bodies);
        out
    }
}

thread_local! {
    /// Making one costs as much as unpacking a frame.
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Puts the content of a body into `raw`.
fn unpack(bytes: &[u8], body: &Body, compressed: bool, raw: &mut Vec<u8>) -> Result<(), Damage> {
    let damage = |detail| Damage { at: body.at.start, detail };
    let packed = bytes.get(body.at.clone()).ok_or(damage("content ends early"))?;
    raw.clear();
    if compressed {
        raw.reserve(body.raw_bytes);
        let unpacked = UNPACKER.with_borrow_mut(|unpacker| {
            if unpacker.is_none() {
                *unpacker = zstd::bulk::Decompressor::new().ok();
            }
            let unpacker = unpacker.as_mut().ok_or(damage("does not decompress"))?;
            unpacker.decompress_to_buffer(packed, raw).map_err(|_| damage("does not decompress"))
        });
        unpacked?;
    } else {
        raw.extend_from_slice(packed);
    }
    if raw.len() == body.raw_bytes { Ok(()) } else { Err(damage("a frame's length differs")) }
}

/// Reads the partitions of one cube, one after the other: of all hours, or of some.
#[derive(Debug)]
pub(crate) struct CubeReader<B> {
    bytes: B,
    compressed: bool,
    first_hour: Option<i64>,
    /// The hours that are counted; all of them when absent.
    hours: Option<Range<i64>>,
    frames: std::vec::IntoIter<Frame>,
    raw: Vec<u8>,
    raw_hours: Vec<u8>,
    /// Partitions read or passed over, and where the present frame ends among them.
    partition: usize,
    frame_end: usize,
    /// Values of the partitions left in the frame.
    sizes: std::vec::IntoIter<u64>,
    /// Where the four streams of the frame stand, and the two of its hours.
    streams: [Range<usize>; 4],
    hour_streams: [Range<usize>; 2],
    key: Vec<u8>,
}

impl<B: AsRef<[u8]>> CubeReader<B> {
    /// Opens a cube, to count the rows in `hours` since the epoch.
    pub(crate) fn open(bytes: B, hours: Option<Range<i64>>) -> Result<CubeReader<B>, Damage> {
        let content = bytes.as_ref();
        let mut reader = Reader::new(content);
        let flags = reader.u8()?;
        let _values = reader.varint()?;
        let first_hour = if flags & BY_HOUR == 0 { None } else { Some(reader.signed()?) };
        if hours.is_some() && first_hour.is_none() {
            return Err(reader.damage("hours are not told apart"));
        }
        let mut frames: Vec<Frame> = Vec::new();
        let (mut start, mut partitions) = (0_usize, 0_usize);
        for _ in 0..reader.count()? {
            let count = reader.varint()?;
            let mut body = || {
                let (raw, len) = (reader.varint()?, reader.varint()?);
                if raw > FRAME_BYTES_MAX || len > content.len() as u64 {
                    return Err(reader.damage("a frame is too large"));
                }
                let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                let from = start;
                start += size(len);
                Ok(Body { raw_bytes: size(raw), at: from..start })
            };
            let values = body()?;
            let hours = if first_hour.is_some() { body()? } else { Body::default() };
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if count > PARTITIONS {
                return Err(reader.damage("a frame is too large"));
            }
            partitions += count;
            frames.push(Frame { partitions: count, values, hours });
        }
        let head = reader.at();
        if head + start != content.len() || partitions != PARTITIONS {
            return Err(reader.damage("frames differ from the content"));
        }
        for frame in &mut frames {
            for body in [&mut frame.values, &mut frame.hours] {
                body.at = body.at.start + head..body.at.end + head;
            }
        }
        Ok(CubeReader {
            bytes,
            compressed: flags & COMPRESSED != 0,
            first_hour,
            hours,
            frames: frames.into_iter(),
            raw: Vec::new(),
            raw_hours: Vec::new(),
            partition: 0,
            frame_end: 0,
            sizes: Vec::new().into_iter(),
            streams: [0..0, 0..0, 0..0, 0..0],
            hour_streams: [0..0, 0..0],
            key: Vec::new(),
        })
    }

    /// Hands the values of the partition `wanted` to `each`: tag and bytes, and rows by class. Partitions come in order; frames
    /// without a wanted one are not decompressed.
    pub(crate) fn read(
        &mut self,
        wanted: usize,
        mut each: impl FnMut(&[u8], &ClassCounts),
    ) -> Result<(), Damage> {
        let missing = Damage { at: 0, detail: "a partition is missing" };
        while self.frame_end <= wanted {
            let frame = self.frames.next().ok_or(missing.clone())?;
            (self.partition, self.frame_end) = (self.frame_end, self.frame_end + frame.partitions);
            if self.frame_end > wanted {
                self.enter(&frame)?;
            }
        }
        while self.partition < wanted {
            self.partition(|_, _| ())?;
        }
        self.partition(&mut each)
    }

    /// Reads the next partition of the frame.
    fn partition(&mut self, mut each: impl FnMut(&[u8], &ClassCounts)) -> Result<(), Damage> {
        self.partition += 1;
        let size = self.sizes.next().ok_or(Damage { at: 0, detail: "a partition is missing" })?;
        let [mut shared, mut lengths, mut texts, mut counts] =
            self.streams.clone().map(|range| Reader::new(&self.raw[range]));
        let [mut times, mut hourly] =
            self.hour_streams.clone().map(|range| Reader::new(&self.raw_hours[range]));
        self.key.clear();
        for _ in 0..size {
            let keep = usize::try_from(shared.varint()?).unwrap_or(usize::MAX);
            if keep > self.key.len() {
                return Err(shared.damage("more is shared than there is"));
            }
            self.key.truncate(keep);
            let more = usize::try_from(lengths.varint()?).unwrap_or(usize::MAX);
            self.key.extend_from_slice(texts.take(more)?);
            if self.key.is_empty() {
                return Err(texts.damage("a value has no type"));
            }
            let by_class = read_counts(&mut counts)?;
            match (&self.hours, self.first_hour) {
                (Some(hours), Some(first)) => {
                    each(&self.key, &within(&mut times, &mut hourly, by_class, first, hours)?);
                }
                _ => each(&self.key, &by_class),
            }
        }
        for (range, reader) in self.streams.iter_mut().zip([shared, lengths, texts, counts]) {
            range.start += reader.at();
        }
        for (range, reader) in self.hour_streams.iter_mut().zip([times, hourly]) {
            range.start += reader.at();
        }
        Ok(())
    }

    fn enter(&mut self, frame: &Frame) -> Result<(), Damage> {
        unpack(self.bytes.as_ref(), &frame.values, self.compressed, &mut self.raw)?;
        let mut reader = Reader::new(&self.raw);
        let sizes = (0..frame.partitions).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        let mut lengths = [0_usize; 4];
        for len in &mut lengths {
            *len = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        }
        let mut start = reader.at();
        for (range, len) in self.streams.iter_mut().zip(lengths) {
            reader.take(len)?;
            *range = start..start + len;
            start += len;
        }
        reader.end()?;
        self.sizes = sizes.into_iter();
        if self.hours.is_some() {
            unpack(self.bytes.as_ref(), &frame.hours, self.compressed, &mut self.raw_hours)?;
            let mut reader = Reader::new(&self.raw_hours);
            let times = reader.count()?;
            let start = reader.at();
            self.hour_streams = [start..start + times, start + times..self.raw_hours.len()];
        }
        Ok(())
    }
}

/// The rows of a value in some hours, of which it has `all`.
fn within(
    times: &mut Reader<'_>,
    hourly: &mut Reader<'_>,
    all: ClassCounts,
    first_hour: i64,
    wanted: &Range<i64>,
) -> Result<ClassCounts, Damage> {
    let (mut left, mut found) = (all, [0; CLASSES]);
    let only = only_class(&all);
    let count = times.varint()?;
    let mut hour = first_hour;
    for number in 1..=count {
        let gap = i64::try_from(times.varint()?).unwrap_or(i64::MAX);
        hour = hour.saturating_add(gap);
        let rows = match only {
            _ if number == count => left,
            Some(class) => {
                let mut rows = [0; CLASSES];
                rows[class] = hourly.varint()?;
                rows
            }
            None => read_counts(hourly)?,
        };
        let is_wanted = wanted.contains(&hour);
        for class in 0..CLASSES {
            left[class] = left[class]
                .checked_sub(rows[class])
                .ok_or_else(|| hourly.damage("hours have more rows than their value"))?;
            found[class] += if is_wanted { rows[class] } else { 0 };
        }
        hour = hour.saturating_add(1);
    }
    Ok(found)
}

/// What is added up of a value.
pub(crate) trait Tally: Copy {
    /// Of its rows in some classes; `None` when there are none.
    fn of(counts: &ClassCounts, classes: Classes) -> Option<Self>;

    fn add(&mut self, other: Self);
}

/// Rows.
impl Tally for u64 {
    #[inline]
    fn of(counts: &ClassCounts, classes: Classes) -> Option<u64> {
        Some(classes.sum(counts)).filter(|count| *count > 0)
    }

    fn add(&mut self, other: u64) {
        *self = self.saturating_add(other);
    }
}

/// Rows by class, of every class.
impl Tally for ClassCounts {
    fn of(counts: &ClassCounts, _: Classes) -> Option<ClassCounts> {
        Some(*counts)
    }

    fn add(&mut self, other: ClassCounts) {
        self.iter_mut().zip(other).for_each(|(sum, count)| *sum = sum.saturating_add(count));
    }
}

/// Values of one partition, and the tally of each.
#[derive(Debug, Default)]
pub(crate) struct Sums<T> {
    table: Table,
    tallies: Vec<T>,
}

impl<T: Tally> Sums<T> {
    fn add(&mut self, key: &[u8], tally: T) {
        let Some((tag, bytes)) = key.split_first() else { return };
        let number = self.table.insert(*tag, bytes);
        match self.tallies.get_mut(number) {
            Some(sum) => sum.add(tally),
            None => self.tallies.push(tally),
        }
    }
}

impl Sums<ClassCounts> {
    /// Writes the values to a cube, in their order.
    pub(crate) fn write(&self, partition: usize, writer: &mut CubeWriter) {
        let mut order: Vec<usize> = (0..self.tallies.len()).collect();
        order.sort_unstable_by_key(|number| self.table.key(*number));
        for number in order {
            writer.push(partition, self.table.key(number), &self.tallies[number], &[]);
        }
    }
}

/// A cube that is damaged, by its place among others.
pub(crate) type DamagedCube = (usize, Damage);

/// Adds up one partition of cubes, and `more`: every value that has rows in `classes`, once, with its tally over all.
pub(crate) fn add_up<B: AsRef<[u8]>, T: Tally>(
    cubes: &mut [CubeReader<B>],
    more: &[(Vec<u8>, T)],
    partition: usize,
    classes: Classes,
    sums: &mut Sums<T>,
) -> Result<(), DamagedCube> {
    sums.table.clear();
    sums.tallies.clear();
    more.iter().for_each(|(key, tally)| sums.add(key, *tally));
    for (number, cube) in cubes.iter_mut().enumerate() {
        let added = cube.read(partition, |key, counts| {
            if let Some(tally) = T::of(counts, classes) {
                sums.add(key, tally);
            }
        });
        added.map_err(|damage| (number, damage))?;
    }
    Ok(())
}

/// Hands every value of one partition that has rows in `classes` to `each`, once, with those rows over all cubes and `more`; `each`
/// says whether to go on, as does the answer.
pub(crate) fn visit<B: AsRef<[u8]>>(
    cubes: &mut [CubeReader<B>],
    more: &[(Vec<u8>, u64)],
    partition: usize,
    classes: Classes,
    sums: &mut Sums<u64>,
    each: &mut dyn FnMut(SummaryValue<'_>, u64) -> bool,
) -> Result<bool, DamagedCube> {
    let (mut goes_on, mut result) = (true, Ok(()));
    let mut hand_out = |key: &[u8], count: u64| {
        if goes_on && result.is_ok() {
            match SummaryValue::of_key(key[0], &key[1..]) {
                Ok(value) => goes_on = each(value, count),
                Err(damage) => result = Err((0, damage)),
            }
        }
    };
    if let ([cube], []) = (&mut *cubes, more) {
        let read = cube.read(partition, |key, counts| {
            if let Some(count) = u64::of(counts, classes) {
                hand_out(key, count);
            }
        });
        read.map_err(|damage| (0, damage))?;
    } else {
        add_up(cubes, more, partition, classes, sums)?;
        for (number, sum) in sums.tallies.iter().enumerate() {
            hand_out(sums.table.key(number), *sum);
        }
    }
    result.map(|()| goes_on)
}

#[cfg(test)]
mod tests {
    use super::super::counting::CubeBuilder;
    use super::super::value::Scratch;
    use super::*;
    use heimdall_model::matcher::Node;
    use heimdall_model::{Dataset, Filter, Literal, Matcher, Target, Test, attributes};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Rows by class of each hour and value.
    type Model = BTreeMap<(String, i64), ClassCounts>;

    fn build(rows: &[(u32, u8, i64)], model: &mut Model) -> CubeBuilder {
        let mut builder = CubeBuilder::default();
        for (value, class, hour) in rows {
            let text = format!("user-{value}");
            let number = builder.number(6, text.as_bytes()).expect("few");
            builder.count(number, *class, *hour);
            model.entry((text, *hour)).or_default()[usize::from(*class)] += 1;
        }
        builder
    }

    fn merge(
        files: &[Vec<u8>],
        hours: Option<&Range<i64>>,
        sought: Sought,
        classes: Classes,
    ) -> Result<Vec<(String, u64)>, DamagedCube> {
        let open = |bytes| CubeReader::open(bytes, hours.cloned()).map_err(|damage| (0, damage));
        let mut readers = files.iter().map(|bytes| open(bytes.as_slice())).collect::<Result<Vec<_>, _>>()?;
        let (mut merged, mut sums) = (Vec::new(), Sums::default());
        for partition in sought.partitions() {
            visit(&mut readers, &[], partition, classes, &mut sums, &mut |value, count| {
                if let SummaryValue::Text(text) = value {
                    merged.push((text.to_owned(), count));
                }
                true
            })?;
        }
        merged.sort_unstable();
        Ok(merged)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn cubes_added_up_count_as_all_rows(
            parts in prop::collection::vec(
                prop::collection::vec((0..3_000_u32, 0..7_u8, -3..9_i64), 0..2_000), 1..4),
            mask in 0..128_u8,
            hours in prop::option::of((-4..9_i64, 0..9_i64).prop_map(|(from, len)| from..from + len)),
        ) {
            let mut model = Model::new();
            let files: Vec<Vec<u8>> = parts
                .iter()
                .zip([true, false, true])
                .map(|(rows, compress)| build(rows, &mut model).finish(compress).bytes)
                .collect();
            let classes = Classes(mask);
            let mut expected = BTreeMap::<String, u64>::new();
            for ((text, hour), counts) in &model {
                if hours.as_ref().is_none_or(|hours| hours.contains(hour)) && classes.sum(counts) > 0 {
                    *expected.entry(text.clone()).or_default() += classes.sum(counts);
                }
            }
            let hours = hours.as_ref();
            let expected: Vec<(String, u64)> = expected.into_iter().collect();
            prop_assert_eq!(&merge(&files, hours, Sought::ALL, classes).expect("merges"), &expected);
            for one in expected.iter().take(9) {
                let found = merge(&files, hours, Sought::equal_to(&one.0), classes).expect("merges");
                prop_assert!(found.contains(one));
            }
            // Written anew without hours they say the same, and of hours nothing.
            let mut readers: Vec<_> =
                files.iter().map(|bytes| CubeReader::open(bytes.as_slice(), None).expect("opens")).collect();
            let (mut writer, mut sums) = (CubeWriter::new(false, None), Sums::default());
            for partition in 0..PARTITIONS {
                add_up(&mut readers, &[], partition, Classes::ALL, &mut sums).expect("adds up");
                sums.write(partition, &mut writer);
            }
            let written = [writer.finish()];
            prop_assert_eq!(
                merge(&written, None, Sought::ALL, classes).expect("reads"),
                merge(&files, None, Sought::ALL, classes).expect("reads")
            );
            prop_assert!(CubeReader::open(written[0].as_slice(), Some(0..1)).is_err());
        }

        /// Whatever a search takes for equal to a text is where the text is sought.
        #[test]
        fn what_equals_a_text_is_sought_where_it_lies(
            raw in prop_oneof![
                prop::sample::select(vec![
                    "5", "5.0", "\"5\"", "\"5.0\"", "\"5e0\"", "-0.0", "\"-0\"", "true", "\"TRUE\"", "\"inf\"", "\"Größe\"",
                    "\"GRÖSSE\"", "\"\u{212a}\"", "9007199254740993", "\"9007199254740993\"", "1e400", "[\"k\",5]", "{\"a\":1}",
                ]).prop_map(str::to_owned),
                "[a-zA-Z0-9.]{0,3}".prop_map(|text| format!("\"{text}\"")),
                (-9..9_i32).prop_map(|n| n.to_string()),
            ],
            text in prop_oneof![
                prop::sample::select(vec![
                    "5", "5.0", "5e0", "0", "-0", "true", "True", "INF", "größe", "GRÖSSE", "k", "K", "9007199254740992", "{\"a\":1}",
                ]).prop_map(str::to_owned),
                "[a-zA-Z0-9.]{0,3}",
            ],
        ) {
            let json = format!("{{\"a\":{raw}}}");
            let target = Target::Attribute("a".to_owned());
            let filter = Filter::Test(target, Test::Equals(Literal::new(&text)));
            let matcher = Matcher::compile(&filter, Dataset::Logs).expect("compiles");
            let Node::Leaf(leaf) = &matcher.root else { panic!("one test") };
            let value = attributes::get(&json, "a").expect("is there");
            let (mut scratch, value) = (Scratch::default(), SummaryValue::from(&value));
            let (tag, bytes) = value.key(&mut scratch);
            let partition = partition_of(&[&[tag], bytes].concat());
            if leaf.attribute(&json, "a") {
                prop_assert!(Sought::equal_to(&text).partitions().any(|sought| sought == partition), "{raw} equals {text}");
            }
        }

        #[test]
        fn damage_never_panics(at in 0..4_000_usize, bit in 0..8_u8, compress: bool, by_hour: bool) {
            let rows: Vec<_> = (0..500).map(|n| (n / 2, u8::try_from(n % 3).expect("small"), i64::from(n % 5))).collect();
            let mut bytes = build(&rows, &mut Model::new()).finish(compress).bytes;
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let hours = by_hour.then_some(1..4);
            let _ = merge(std::slice::from_ref(&bytes), hours.as_ref(), Sought::ALL, Classes::ALL);
            let _ = merge(&[bytes[..at].to_vec()], hours.as_ref(), Sought::ALL, Classes::ALL);
        }
    }

    #[test]
    fn a_value_costs_few_bytes() {
        let rows: Vec<_> = (0..100_000).map(|n| (n * 7 % 1_000_003, 2, 1)).collect();
        let bytes = build(&rows, &mut Model::new()).finish(true).bytes;
        assert!(bytes.len() < 310_000, "{} bytes", bytes.len());
    }
}

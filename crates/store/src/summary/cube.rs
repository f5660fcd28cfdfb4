//! Cubes: how often each value of a declared field stands in some rows, by class of the rows' `status`.
//!
//! Values lie in [`PARTITIONS`] by a hash of what they equal in a search (see [`partition_of`]), and in order within each, their
//! beginnings shared with the value before. So the cubes of many segments are added up one partition after the other, in a table
//! that fits the processor's cache, whatever the number of values, and one value is found in one partition. Partitions are packed
//! into frames of about [`FRAME_BYTES`], compressed each.
//!
//! Invariants:
//! - exact: the counts sum to the rows added, rows without a value among them (as [`SummaryValue::Null`]);
//! - a cube too large to be worth its bytes is given up, never cut.

use super::codec::{Damage, Reader, put};
use super::hash64;
use super::table::Table;
use super::value::{BOOL, FLOAT, INT, JSON, SummaryValue, TEXT};

/// Classes of rows by their status: 0 none, 1 to 5 for 100–199 to 500–599, 6 any other.
pub const CLASSES: usize = 7;
/// Class of rows whose status is no number from 100 to 599.
pub(crate) const CLASS_OTHER: usize = 6;
const PARTITIONS: usize = 64;
const PARTITION_SHIFT: u32 = u64::BITS - PARTITIONS.ilog2();
/// Partition of arrays and objects: any of their elements may be what is looked for.
const PARTITION_OF_JSON: usize = 0;
/// Bytes of content at which a frame ends.
const FRAME_BYTES: usize = 32 << 10;
/// Most bytes of a frame's content that a reader accepts.
const FRAME_BYTES_MAX: u64 = 1 << 30;
/// Most values of a segment's cube, and most bytes of them: beyond, the field is no better than a column.
pub(crate) const VALUES_MAX: usize = 1 << 20;
pub(crate) const VALUE_BYTES_MAX: usize = 32 << 20;

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

/// Counts values of one field.
#[derive(Debug, Default)]
pub(crate) struct CubeBuilder {
    table: Table,
    counts: Vec<[u32; CLASSES]>,
}

impl CubeBuilder {
    /// The number of a value, or `None` when there are too many.
    #[inline]
    pub(crate) fn number(&mut self, tag: u8, bytes: &[u8]) -> Option<usize> {
        let number = self.table.insert(tag, bytes);
        if number == self.counts.len() {
            if number == VALUES_MAX || self.table.byte_len() > VALUE_BYTES_MAX {
                return None;
            }
            self.counts.push([0; CLASSES]);
        }
        Some(number)
    }

    /// Counts one row.
    #[inline]
    pub(crate) fn count(&mut self, number: usize, class: u8) {
        self.counts[number][usize::from(class)] += 1;
    }

    pub(crate) fn values(&self) -> usize {
        self.counts.len()
    }

    /// Hash of a value by its number.
    pub(crate) fn hash(&self, number: usize) -> u64 {
        self.table.hash(number)
    }

    /// The bytes of the cube.
    pub(crate) fn finish(&self, compress: bool) -> Vec<u8> {
        let partitions: Vec<usize> =
            (0..self.counts.len()).map(|number| partition_of(self.table.key(number))).collect();
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        order.sort_unstable_by(|a, b| {
            (partitions[*a], self.table.key(*a)).cmp(&(partitions[*b], self.table.key(*b)))
        });
        let mut writer = CubeWriter::new(compress);
        for number in order {
            writer.push(partitions[number], self.table.key(number), &self.counts[number].map(u64::from));
        }
        writer.finish()
    }
}

/// The partition of a value, given by its tag and bytes: values that a search takes for the same (5 and "5.0", "Bob" and "bob")
/// share one.
fn partition_of(key: &[u8]) -> usize {
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

    fn has(self, partition: usize) -> bool {
        self.0 >> partition & 1 == 1
    }
}

const _: () = assert!(PARTITIONS == u64::BITS as usize, "a set of partitions is a u64");

/// Writes a cube from its values in order of partition and key.
pub(crate) struct CubeWriter {
    compress: bool,
    partition: usize,
    /// Partitions before the present frame.
    framed: usize,
    frames: Vec<(usize, usize, usize)>,
    bodies: Vec<u8>,
    values: u64,
    /// Values of each partition of the present frame.
    sizes: Vec<u64>,
    shared: Vec<u8>,
    lengths: Vec<u8>,
    texts: Vec<u8>,
    counts: Vec<u8>,
    last: Vec<u8>,
}

impl CubeWriter {
    pub(crate) fn new(compress: bool) -> CubeWriter {
        CubeWriter {
            compress,
            partition: 0,
            framed: 0,
            frames: Vec::new(),
            bodies: Vec::new(),
            values: 0,
            sizes: vec![0],
            shared: Vec::new(),
            lengths: Vec::new(),
            texts: Vec::new(),
            counts: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Adds the next value: its partition, its tag and bytes, and its rows by class.
    pub(crate) fn push(&mut self, partition: usize, key: &[u8], counts: &ClassCounts) {
        debug_assert!(partition >= self.partition, "values come in order");
        while self.partition < partition {
            self.end_partition();
        }
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        put(&mut self.shared, shared as u64);
        put(&mut self.lengths, (key.len() - shared) as u64);
        self.texts.extend_from_slice(&key[shared..]);
        self.counts
            .push((0..CLASSES).filter(|class| counts[*class] > 0).fold(0, |mask, class| mask | 1 << class));
        counts.iter().filter(|count| **count > 0).for_each(|count| put(&mut self.counts, *count));
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        self.values += 1;
        *self.sizes.last_mut().expect("a frame has a partition") += 1;
    }

    fn end_partition(&mut self) {
        self.partition += 1;
        self.last.clear();
        let bytes = self.shared.len() + self.lengths.len() + self.texts.len() + self.counts.len();
        if bytes >= FRAME_BYTES {
            self.end_frame();
        }
        self.sizes.push(0);
    }

    fn end_frame(&mut self) {
        let mut raw = Vec::new();
        self.sizes.drain(..).for_each(|size| put(&mut raw, size));
        for stream in [&mut self.shared, &mut self.lengths, &mut self.texts, &mut self.counts] {
            put(&mut raw, stream.len() as u64);
        }
        for stream in [&mut self.shared, &mut self.lengths, &mut self.texts, &mut self.counts] {
            raw.append(stream);
        }
        let body = if self.compress {
            zstd::bulk::compress(&raw, 1).expect("compressing into memory cannot fail")
        } else {
            raw.clone()
        };
        self.frames.push((self.partition - self.framed, raw.len(), body.len()));
        self.framed = self.partition;
        self.bodies.extend_from_slice(&body);
    }

    /// The bytes of the cube.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while self.partition < PARTITIONS - 1 {
            self.end_partition();
        }
        self.partition = PARTITIONS;
        self.end_frame();
        let mut out = vec![u8::from(self.compress)];
        put(&mut out, self.values);
        put(&mut out, self.frames.len() as u64);
        for (partitions, raw, body) in &self.frames {
            [*partitions, *raw, *body].into_iter().for_each(|n| put(&mut out, n as u64));
        }
        out.extend_from_slice(&self.bodies);
        out
    }
}

/// A frame of a cube.
#[derive(Debug, Clone, Copy)]
struct Frame {
    partitions: usize,
    raw_bytes: usize,
    start: usize,
    end: usize,
}

/// Reads the partitions of one cube, one after the other.
#[derive(Debug)]
pub(crate) struct CubeReader<B> {
    bytes: B,
    compressed: bool,
    frames: std::vec::IntoIter<Frame>,
    raw: Vec<u8>,
    /// Partitions read or passed over, and where the present frame ends among them.
    partition: usize,
    frame_end: usize,
    /// Values of the partitions left in the frame.
    sizes: std::vec::IntoIter<u64>,
    /// Where the four streams of the frame stand, and where the frame's content ends.
    streams: [std::ops::Range<usize>; 4],
    key: Vec<u8>,
}

impl<B: AsRef<[u8]>> CubeReader<B> {
    pub(crate) fn open(bytes: B) -> Result<CubeReader<B>, Damage> {
        let content = bytes.as_ref();
        let mut reader = Reader::new(content);
        let compressed = reader.u8()? == 1;
        let _values = reader.varint()?;
        let mut frames = Vec::new();
        let mut start = 0_usize;
        for _ in 0..reader.count()? {
            let (partitions, raw, len) = (reader.varint()?, reader.varint()?, reader.varint()?);
            if partitions > PARTITIONS as u64 || raw > FRAME_BYTES_MAX || len > content.len() as u64 {
                return Err(reader.damage("a frame is too large"));
            }
            let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            frames.push(Frame {
                partitions: size(partitions),
                raw_bytes: size(raw),
                start,
                end: start + size(len),
            });
            start += size(len);
        }
        let head = reader.at();
        let partitions: usize = frames.iter().map(|frame| frame.partitions).sum();
        if head + start != content.len() || partitions != PARTITIONS {
            return Err(reader.damage("frames differ from the content"));
        }
        frames.iter_mut().for_each(|frame| (frame.start, frame.end) = (frame.start + head, frame.end + head));
        Ok(CubeReader {
            bytes,
            compressed,
            frames: frames.into_iter(),
            raw: Vec::new(),
            partition: 0,
            frame_end: 0,
            sizes: Vec::new().into_iter(),
            streams: [0..0, 0..0, 0..0, 0..0],
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
                self.enter(frame)?;
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
            let mask = counts.u8()?;
            let mut by_class = [0; CLASSES];
            for (class, count) in by_class.iter_mut().enumerate() {
                if mask >> class & 1 == 1 {
                    *count = counts.varint()?;
                }
            }
            each(&self.key, &by_class);
        }
        for (range, reader) in self.streams.iter_mut().zip([shared, lengths, texts, counts]) {
            range.start += reader.at();
        }
        Ok(())
    }

    fn enter(&mut self, frame: Frame) -> Result<(), Damage> {
        let damage = |detail| Damage { at: frame.start, detail };
        let body = self.bytes.as_ref().get(frame.start..frame.end).ok_or(damage("content ends early"))?;
        self.raw.clear();
        if self.compressed {
            self.raw.reserve(frame.raw_bytes);
            zstd::bulk::Decompressor::new()
                .and_then(|mut zstd| zstd.decompress_to_buffer(body, &mut self.raw))
                .map_err(|_| damage("does not decompress"))?;
        } else {
            self.raw.extend_from_slice(body);
        }
        if self.raw.len() != frame.raw_bytes {
            return Err(damage("a frame's length differs"));
        }
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
        self.sizes = sizes.into_iter();
        reader.end()
    }
}

/// Adds up cubes: `each` gets every value `sought` that some cube has, once, with its rows in `classes` over all cubes (values
/// without such rows are left out).
pub(crate) fn merge<B: AsRef<[u8]>>(
    cubes: &mut [CubeReader<B>],
    sought: Sought,
    classes: Classes,
    each: &mut dyn FnMut(SummaryValue<'_>, u64) -> bool,
) -> Result<(), Damage> {
    let mut table = Table::default();
    let mut sums: Vec<u64> = Vec::new();
    for partition in (0..PARTITIONS).filter(|partition| sought.has(*partition)) {
        table.clear();
        sums.clear();
        for cube in cubes.iter_mut() {
            cube.read(partition, |key, counts| {
                let count = classes.sum(counts);
                if count == 0 {
                    return;
                }
                let number = table.insert_hashed(hash64(key[0], &key[1..]), key[0], &key[1..]);
                match sums.get_mut(number) {
                    Some(sum) => *sum = sum.saturating_add(count),
                    None => sums.push(count),
                }
            })?;
        }
        for (number, sum) in sums.iter().enumerate() {
            let key = table.key(number);
            if !each(SummaryValue::of_key(key[0], &key[1..])?, *sum) {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::value::Scratch;
    use super::*;
    use heimdall_model::matcher::Node;
    use heimdall_model::{Dataset, Filter, Literal, Matcher, Target, Test, attributes};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<String, ClassCounts>;

    fn build(rows: &[(u32, u8)], model: &mut Model) -> CubeBuilder {
        let mut builder = CubeBuilder::default();
        for (value, class) in rows {
            let text = format!("user-{value}");
            let number = builder.number(6, text.as_bytes()).expect("few");
            builder.count(number, *class);
            model.entry(text).or_default()[usize::from(*class)] += 1;
        }
        builder
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn cubes_added_up_count_as_all_rows(
            parts in prop::collection::vec(prop::collection::vec((0..3_000_u32, 0..7_u8), 0..2_000), 1..4),
            mask in 0..128_u8,
        ) {
            let mut model = Model::new();
            let files: Vec<Vec<u8>> = parts
                .iter()
                .zip([true, false, true])
                .map(|(rows, compress)| build(rows, &mut model).finish(compress))
                .collect();
            let classes = Classes(mask);
            let expected: BTreeMap<String, u64> = model
                .iter()
                .map(|(text, counts)| (text.clone(), classes.sum(counts)))
                .filter(|(_, count)| *count > 0)
                .collect();
            let mut readers: Vec<_> = files.iter().map(|bytes| CubeReader::open(bytes.as_slice()).expect("opens")).collect();
            let mut merged = BTreeMap::new();
            merge(&mut readers, Sought::ALL, classes, &mut |value, count| {
                if let SummaryValue::Text(text) = value { merged.insert(text.to_owned(), count); }
                true
            }).expect("merges");
            prop_assert_eq!(&merged, &expected);
            for (text, count) in expected.iter().take(9) {
                let mut readers: Vec<_> = files.iter().map(|bytes| CubeReader::open(bytes.as_slice()).expect("opens")).collect();
                let mut found = None;
                merge(&mut readers, Sought::equal_to(text), classes, &mut |value, count| {
                    found = found.or((value == SummaryValue::Text(text)).then_some(count));
                    true
                }).expect("merges");
                prop_assert_eq!(found, Some(*count));
            }
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
                prop_assert!(Sought::equal_to(&text).has(partition), "{raw} equals {text}");
            }
        }

        #[test]
        fn damage_never_panics(at in 0..4_000_usize, bit in 0..8_u8, compress: bool) {
            let mut bytes = build(&(0..500).map(|n| (n, 2)).collect::<Vec<_>>(), &mut Model::new()).finish(compress);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(reader) = CubeReader::open(bytes.as_slice()) {
                let _ = merge(&mut [reader], Sought::ALL, Classes::ALL, &mut |_, _| true);
            }
            if let Ok(reader) = CubeReader::open(&bytes[..at]) {
                let _ = merge(&mut [reader], Sought::ALL, Classes::ALL, &mut |_, _| true);
            }
        }
    }

    #[test]
    fn a_value_costs_few_bytes() {
        let bytes =
            build(&(0..100_000).map(|n| (n * 7 % 1_000_003, 2)).collect::<Vec<_>>(), &mut Model::new())
                .finish(true);
        assert!(bytes.len() < 300_000, "{} bytes", bytes.len());
    }
}

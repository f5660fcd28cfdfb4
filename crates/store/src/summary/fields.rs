//! One pass over the fields of some rows: cubes of the declared ones, and for all of them how many rows have them, of which
//! types, how many different values and how many bytes.
//!
//! Rows of logs have few different `attributes` texts more often than not: each text is taken apart once and remembered, up
//! to [`KNOWN_MAX`] of them.
//!
//! Invariants:
//! - rows, bytes and types of a reported field are exact; the different values are counted by a [`Distinct`];
//! - at most [`PATHS_KEPT`] attribute paths are reported, the most frequent.

use arrow::array::Array;
use foldhash::HashMap;
use heimdall_model::attributes::{self, Attribute};
use heimdall_model::matcher::to_hex;
use heimdall_model::schema::logs;
use heimdall_model::{Dataset, FieldId, FieldType, Level, Target, Timestamp};

use super::cells::Hour;
use super::codec::{Damage, Reader, put, put_text};
use super::counting::{Cube, CubeBuilder};
use super::cube::{CLASS_OTHER, CLASSES, ClassCounts};
use super::distinct::Distinct;
use super::table::Table;
use super::value::{Scratch, SummaryValue};
use crate::block::{Cells, RowBlock};

/// Attribute texts remembered.
const KNOWN_MAX: usize = 4_096;
/// Bytes of the longest attribute text remembered.
const KNOWN_BYTES_MAX: usize = 1_024;
/// Attribute paths followed while rows come, and those kept in the end.
const PATHS_MAX: usize = 256;
pub(crate) const PATHS_KEPT: usize = 64;
/// Deepest object whose members are paths of their own.
const DEPTH_MAX: usize = 8;
/// The attribute that the class of a row is read from.
pub const STATUS: &str = "status";

/// Types of the values of a field, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    const NAMES: [&'static str; 7] = ["text", "number", "bool", "array", "object", "time", "level"];
    const TEXT: Types = Types(1);
    const NUMBER: Types = Types(2);
    const TIME: Types = Types(32);
    const LEVEL: Types = Types(64);

    fn of(attribute: &Attribute<'_>) -> Types {
        Types(match attribute {
            Attribute::Text(_) => 1,
            Attribute::Number(_) => 2,
            Attribute::Bool(_) => 4,
            Attribute::Array(_) => 8,
            Attribute::Object(_) => 16,
        })
    }

    fn of_field(ty: FieldType) -> Types {
        match ty {
            FieldType::Time => Types::TIME,
            FieldType::Int | FieldType::Float => Types::NUMBER,
            FieldType::Level => Types::LEVEL,
            FieldType::Text | FieldType::Id16 | FieldType::Id8 => Types::TEXT,
            FieldType::Json => Types(16),
        }
    }

    /// Names of the types: `text`, `number`, `bool`, `array`, `object`, `time`, `level`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Types::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }

    fn add(&mut self, other: Types) {
        self.0 |= other.0;
    }
}

/// What is known of one field of some rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSummary {
    /// Rows in which it is present.
    pub rows: u64,
    /// Bytes of its values as they are kept in memory.
    pub bytes: u64,
    pub types: Types,
    /// Its different values, where they are counted.
    pub distinct: Option<Distinct>,
    /// A record may hold several values at this path, of which a query sees one.
    pub ambiguous: bool,
}

impl FieldSummary {
    pub(crate) fn merge(&mut self, other: &FieldSummary) {
        // A field absent from all rows so far says nothing of how its values are counted.
        let counted = match (&mut self.distinct, &other.distinct) {
            (Some(ours), Some(theirs)) => {
                ours.merge(theirs);
                true
            }
            (None, Some(theirs)) if self.rows == 0 => {
                self.distinct = Some(theirs.clone());
                true
            }
            _ => other.rows == 0,
        };
        if !counted {
            self.distinct = None;
        }
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.types.add(other.types);
        self.ambiguous |= other.ambiguous;
    }
}

/// What one remembered attributes text holds.
#[derive(Debug, Clone, Default)]
struct Known {
    class: u8,
    rows: u64,
    /// Path, and bytes of its value.
    paths: Vec<(usize, usize)>,
    /// For each cube of an attribute, the number of the value.
    values: Vec<usize>,
}

/// One declared field.
#[derive(Debug)]
struct Declared {
    target: Target,
    /// Gone when there were too many values.
    cube: Option<CubeBuilder>,
}

#[derive(Debug, Default)]
struct Paths {
    numbers: HashMap<String, usize>,
    paths: Vec<FieldSummary>,
    /// Whether some path was not followed.
    overflowed: bool,
    /// Paths of the record at hand.
    present: Vec<(usize, usize)>,
}

/// Gathers cubes and statistics of logs.
#[derive(Debug)]
pub(crate) struct FieldsBuilder {
    declared: Vec<Declared>,
    fields: Vec<FieldSummary>,
    paths: Paths,
    texts: Table,
    known: Vec<Known>,
    rows: u64,
    classes: ClassCounts,
    /// Of the block at hand: class and hour of each row, and for each cube of an attribute the number of its value.
    class_of: Vec<u8>,
    hour_of: Vec<i64>,
    values_of: Vec<Vec<usize>>,
}

/// A finished cube.
pub(crate) struct CubeBlock {
    pub target: Target,
    pub values: u64,
    pub cube: Cube,
}

/// What the pass found.
pub(crate) struct FieldBlocks {
    pub cubes: Vec<CubeBlock>,
    pub classes: ClassCounts,
    pub statistics: Vec<u8>,
}

impl FieldsBuilder {
    /// `declared`: fields to make cubes of; `by_hour`: whether these tell hours apart.
    pub(crate) fn new(declared: &[Target], by_hour: bool) -> FieldsBuilder {
        let attributes = declared.iter().filter(|target| matches!(target, Target::Attribute(_))).count();
        FieldsBuilder {
            declared: declared
                .iter()
                .map(|target| Declared { target: target.clone(), cube: Some(CubeBuilder::new(by_hour)) })
                .collect(),
            fields: vec![FieldSummary::default(); Dataset::Logs.fields().len()],
            paths: Paths::default(),
            texts: Table::default(),
            known: Vec::new(),
            rows: 0,
            classes: [0; CLASSES],
            class_of: Vec::new(),
            hour_of: Vec::new(),
            values_of: vec![Vec::new(); attributes],
        }
    }

    /// Adds the rows of a block of logs.
    pub(crate) fn add(&mut self, block: &RowBlock) {
        debug_assert_eq!(block.dataset(), Dataset::Logs);
        self.rows += block.rows() as u64;
        self.add_attributes(block);
        self.find_hours(block);
        self.class_of.iter().for_each(|class| self.classes[usize::from(*class)] += 1);
        let mut attribute = 0;
        for declared in &mut self.declared {
            let codes = match &declared.target {
                Target::Attribute(_) => {
                    attribute += 1;
                    Some(&self.values_of[attribute - 1])
                }
                _ => None,
            };
            let Some(cube) = &mut declared.cube else { continue };
            let fits = match (&declared.target, codes) {
                (_, Some(values)) => {
                    let rows = values.iter().zip(&self.class_of).zip(&self.hour_of);
                    rows.for_each(|((value, class), hour)| cube.count(*value, *class, *hour));
                    true
                }
                (Target::Field(id), None) => add_field(cube, block, *id, &self.class_of, &self.hour_of),
                _ => false,
            };
            if !fits {
                declared.cube = None;
            }
        }
        for (code, field) in (0_u8..).zip(Dataset::Logs.fields()) {
            let id = FieldId(code);
            let is_declared = self.declared.iter().any(|declared| declared.target == Target::Field(id));
            let counts_values = field.ty == FieldType::Text && id != logs::MESSAGE && !is_declared;
            add_summary(&mut self.fields[usize::from(code)], block, id, counts_values);
        }
    }

    fn find_hours(&mut self, block: &RowBlock) {
        self.hour_of.clear();
        let mut hour = Hour::default();
        for row in 0..block.rows() {
            let ns = block.timestamp(row).0;
            if !hour.holds(ns) {
                hour = Hour::of(ns);
            }
            self.hour_of.push(hour.number);
        }
    }

    fn add_attributes(&mut self, block: &RowBlock) {
        let texts = match block.cells(logs::ATTRIBUTES) {
            Some(Cells::Text(texts)) => Some(texts),
            _ => None,
        };
        self.class_of.clear();
        self.values_of.iter_mut().for_each(Vec::clear);
        for row in 0..block.rows() {
            let text = texts.filter(|texts| texts.is_valid(row)).map_or("", |texts| texts.value(row));
            let Some(number) = self.known_number(text) else {
                let known = self.take_apart(text);
                self.note(&known);
                self.paths.count(&known, 1);
                continue;
            };
            self.known[number].rows += 1;
            let known = &self.known[number];
            self.class_of.push(known.class);
            self.values_of.iter_mut().zip(&known.values).for_each(|(values, value)| values.push(*value));
        }
    }

    /// The number of a text that is remembered, from now on if there is room.
    fn known_number(&mut self, text: &str) -> Option<usize> {
        if text.len() > KNOWN_BYTES_MAX {
            return None;
        }
        if self.known.len() == KNOWN_MAX {
            return self.texts.find(0, text.as_bytes());
        }
        let number = self.texts.insert(0, text.as_bytes());
        if number == self.known.len() {
            let known = self.take_apart(text);
            self.known.push(known);
        }
        Some(number)
    }

    fn note(&mut self, known: &Known) {
        self.class_of.push(known.class);
        self.values_of.iter_mut().zip(&known.values).for_each(|(values, value)| values.push(*value));
    }

    /// Class, values of declared attributes and paths of one attributes text; empty text is none.
    fn take_apart(&mut self, text: &str) -> Known {
        let class = class_of(attributes::get(text, STATUS).as_ref());
        let mut values = Vec::with_capacity(self.values_of.len());
        for declared in &mut self.declared {
            let Target::Attribute(path) = &declared.target else { continue };
            let found = attributes::get(text, path);
            let value = found.as_ref().map_or(SummaryValue::Null, SummaryValue::from);
            let mut scratch = Scratch::default();
            let (tag, bytes) = value.key(&mut scratch);
            let number = declared.cube.as_mut().and_then(|cube| cube.number(tag, bytes));
            if number.is_none() {
                declared.cube = None;
            }
            values.push(number.unwrap_or(0));
        }
        self.paths.present.clear();
        self.paths.walk(text, &mut String::new(), 0);
        Known { class, rows: 0, paths: self.paths.present.clone(), values }
    }

    /// The cubes that were not given up, and the statistics.
    pub(crate) fn finish(mut self, compress: bool) -> FieldBlocks {
        for known in &self.known {
            self.paths.count(known, known.rows);
        }
        let mut cubes = Vec::new();
        for declared in &mut self.declared {
            let Some(cube) = &mut declared.cube else { continue };
            if let Target::Field(id) = declared.target {
                let mut distinct = Distinct::default();
                let null = SummaryValue::Null.hash();
                (0..cube.values()).map(|value| cube.hash(value)).filter(|hash| *hash != null).for_each(
                    |hash| {
                        distinct.add(hash);
                    },
                );
                self.fields[id.index()].distinct = Some(distinct);
            }
            cubes.push(CubeBlock {
                target: declared.target.clone(),
                values: cube.values() as u64,
                cube: cube.finish(compress),
            });
        }
        FieldBlocks { cubes, classes: self.classes, statistics: self.encode_statistics() }
    }

    fn encode_statistics(self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.rows);
        let present: Vec<_> = self.fields.iter().enumerate().filter(|(_, field)| field.rows > 0).collect();
        put(&mut out, present.len() as u64);
        for (code, field) in present {
            put_text(&mut out, Dataset::Logs.fields()[code].name);
            encode_summary(field, &mut out);
        }
        let mut paths: Vec<(&String, &FieldSummary)> =
            self.paths.numbers.iter().map(|(name, number)| (name, &self.paths.paths[*number])).collect();
        paths.sort_unstable_by(|a, b| b.1.rows.cmp(&a.1.rows).then_with(|| a.0.cmp(b.0)));
        out.push(u8::from(!self.paths.overflowed && paths.len() <= PATHS_KEPT));
        put(&mut out, paths.len().min(PATHS_KEPT) as u64);
        for (name, path) in paths.into_iter().take(PATHS_KEPT) {
            put_text(&mut out, name);
            encode_summary(path, &mut out);
        }
        out
    }
}

impl Paths {
    /// Follows every path of an object, noting each as present.
    fn walk(&mut self, json: &str, prefix: &mut String, depth: usize) {
        for (key, value) in attributes::entries(json) {
            let len = prefix.len();
            if depth > 0 {
                prefix.push('.');
            }
            prefix.push_str(&key);
            self.see(prefix, &value);
            if let Attribute::Object(raw) = value
                && depth + 1 < DEPTH_MAX
            {
                self.walk(raw, prefix, depth + 1);
            }
            prefix.truncate(len);
        }
    }

    fn see(&mut self, path: &str, value: &Attribute<'_>) {
        let number = match self.numbers.get(path) {
            Some(number) => *number,
            None if self.paths.len() == PATHS_MAX => {
                self.overflowed = true;
                return;
            }
            None => {
                self.paths
                    .push(FieldSummary { distinct: Some(Distinct::default()), ..FieldSummary::default() });
                self.numbers.insert(path.to_owned(), self.paths.len() - 1);
                self.paths.len() - 1
            }
        };
        let summary = &mut self.paths[number];
        summary.types.add(Types::of(value));
        if let Some(distinct) = &mut summary.distinct {
            distinct.add(SummaryValue::from(value).hash());
        }
        if self.present.iter().any(|(seen, _)| *seen == number) {
            summary.ambiguous = true;
        } else {
            self.present.push((number, value_bytes(value)));
        }
    }

    fn count(&mut self, known: &Known, rows: u64) {
        for (path, bytes) in &known.paths {
            let path = &mut self.paths[*path];
            path.rows += rows;
            path.bytes += rows * *bytes as u64;
        }
    }
}

fn value_bytes(value: &Attribute<'_>) -> usize {
    match value {
        Attribute::Text(text) => text.len(),
        Attribute::Number(raw) | Attribute::Array(raw) | Attribute::Object(raw) => raw.len(),
        Attribute::Bool(_) => 1,
    }
}

/// The class of a status: a number from 100 to 599 written with three digits has that of its first digit.
fn class_of(status: Option<&Attribute<'_>>) -> u8 {
    let written: &str = match status {
        None => return 0,
        Some(Attribute::Number(raw)) => raw,
        Some(Attribute::Text(text)) => text,
        Some(_) => "",
    };
    match written.as_bytes() {
        [first @ b'1'..=b'5', rest @ ..] if rest.len() == 2 && rest.iter().all(u8::is_ascii_digit) => {
            first - b'0'
        }
        _ => u8::try_from(CLASS_OTHER).expect("below 7"),
    }
}

/// Counts a canonical field of a block; `false` when there are too many values.
fn add_field(cube: &mut CubeBuilder, block: &RowBlock, id: FieldId, classes: &[u8], hours: &[i64]) -> bool {
    let ty = Dataset::Logs.fields()[id.index()].ty;
    let mut count = |(class, hour): (&u8, &i64), value: SummaryValue<'_>| {
        let mut scratch = Scratch::default();
        let (tag, bytes) = value.key(&mut scratch);
        let number = cube.number(tag, bytes);
        number.inspect(|number| cube.count(*number, *class, *hour)).is_some()
    };
    let Some(cells) = block.cells(id) else {
        return classes.iter().zip(hours).all(|of| count(of, SummaryValue::Null));
    };
    let mut rows = (0_usize..).zip(classes.iter().zip(hours));
    match cells {
        Cells::Text(_) | Cells::Coded(_) => rows.all(|(row, of)| {
            let value = match block.text(id, row) {
                None => SummaryValue::Null,
                Some(text) if ty == FieldType::Json => SummaryValue::Json(text),
                Some(text) => SummaryValue::Text(text),
            };
            count(of, value)
        }),
        Cells::Int(numbers) => rows.all(|(row, of)| {
            let value = match numbers.is_valid(row).then(|| numbers.value(row)) {
                None => SummaryValue::Null,
                Some(ns) if ty == FieldType::Time => SummaryValue::Time(Timestamp(ns)),
                Some(n) => SummaryValue::Int(n),
            };
            count(of, value)
        }),
        Cells::Float(numbers) => rows.all(|(row, of)| {
            let value = numbers.is_valid(row).then(|| SummaryValue::number(numbers.value(row)));
            count(of, value.unwrap_or(SummaryValue::Null))
        }),
        Cells::Byte(codes) => rows.all(|(row, of)| {
            let level = codes.is_valid(row).then(|| codes.value(row)).and_then(Level::from_code);
            count(of, level.map_or(SummaryValue::Null, SummaryValue::Level))
        }),
        Cells::Fixed(ids) => rows.all(|(row, of)| {
            let hex = ids.is_valid(row).then(|| to_hex(ids.value(row)));
            count(of, hex.as_deref().map_or(SummaryValue::Null, SummaryValue::Text))
        }),
    }
}

fn add_summary(summary: &mut FieldSummary, block: &RowBlock, id: FieldId, counts_values: bool) {
    let Some(cells) = block.cells(id) else { return };
    let array = cells.array();
    let present = array.len() - array.null_count();
    if present == 0 {
        return;
    }
    summary.rows += present as u64;
    summary.types.add(Types::of_field(Dataset::Logs.fields()[id.index()].ty));
    let texts = cells.texts();
    summary.bytes += match cells {
        Cells::Text(_) | Cells::Coded(_) => texts.as_ref().map_or(0, |texts| {
            let ends = texts.value_offsets();
            u64::try_from(ends[ends.len() - 1] - ends[0]).unwrap_or(0)
        }),
        Cells::Int(_) | Cells::Float(_) => 8 * present as u64,
        Cells::Byte(_) => present as u64,
        Cells::Fixed(ids) => u64::try_from(ids.value_length()).unwrap_or(0) * present as u64,
    };
    if let Some(texts) = texts
        && counts_values
    {
        let distinct = summary.distinct.get_or_insert_default();
        let mut last = None;
        for row in 0..texts.len() {
            let text = texts.is_valid(row).then(|| texts.value(row));
            if text != last
                && let Some(text) = text
            {
                distinct.add(SummaryValue::Text(text).hash());
            }
            last = text;
        }
    }
}

fn encode_summary(summary: &FieldSummary, out: &mut Vec<u8>) {
    put(out, summary.rows);
    put(out, summary.bytes);
    out.push(summary.types.0);
    out.push(u8::from(summary.ambiguous) | u8::from(summary.distinct.is_some()) << 1);
    if let Some(distinct) = &summary.distinct {
        distinct.encode(out);
    }
}

fn decode_summary(reader: &mut Reader<'_>) -> Result<FieldSummary, Damage> {
    let (rows, bytes) = (reader.varint()?, reader.varint()?);
    let (types, flags) = (Types(reader.u8()?), reader.u8()?);
    let distinct = (flags & 2 != 0).then(|| Distinct::decode(reader)).transpose()?;
    Ok(FieldSummary { rows, bytes, types, distinct, ambiguous: flags & 1 != 0 })
}

/// The statistics of some rows, by field.
pub(crate) struct Statistics {
    pub rows: u64,
    pub fields: Vec<(Target, FieldSummary)>,
}

/// Reads a block of statistics.
pub(crate) fn read_statistics(bytes: &[u8]) -> Result<Statistics, Damage> {
    let mut reader = Reader::new(bytes);
    let rows = reader.varint()?;
    let mut fields = Vec::new();
    for _ in 0..reader.count()? {
        let name = reader.text()?;
        let id = Dataset::Logs.resolve(name).ok_or_else(|| reader.damage("unknown field"))?;
        fields.push((Target::Field(id), decode_summary(&mut reader)?));
    }
    // Whether every attribute path is among them.
    reader.u8()?;
    for _ in 0..reader.count()? {
        let path = reader.text()?.to_owned();
        fields.push((Target::Attribute(path), decode_summary(&mut reader)?));
    }
    reader.end()?;
    Ok(Statistics { rows, fields })
}

//! Counts the values of one field while rows come: by class of status, and by hour.
//!
//! A value's totals stand in an array. Its hours do not: a million values by a day of hours would be as many numbers as rows. They
//! are pairs of value and hour, packed into eight bytes each, gathered as rows come, and sorted and added up now and then.
//!
//! Invariants:
//! - the pairs of a value sum to its totals;
//! - at most [`PAIRS_MAX`] pairs are kept after they were added up: beyond, hours are given up and totals stay.

use super::cells::HOUR_NS;
use super::cube::{CLASSES, ClassCounts, CubeWriter, Hours, partition_of};
use super::table::Table;

/// Most values of a segment's cube, and most bytes of them: beyond, the field is no better than a column.
pub(crate) const VALUES_MAX: usize = 1 << 20;
pub(crate) const VALUE_BYTES_MAX: usize = 32 << 20;
/// Most pairs of value and hour, by class, of a segment: 16 MiB.
const PAIRS_MAX: usize = 1 << 21;
/// Pairs that are gathered before they are added up, at least.
const RECENT_PAIRS: usize = 1 << 17;

/// How a pair is packed, from the lowest bit on: rows, class, hour, value.
const COUNT_BITS: u32 = 18;
const CLASS_BITS: u32 = 3;
const HOUR_BITS: u32 = 23;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// Added to the hours since the epoch, so that none is negative.
const HOUR_ZERO: i64 = 1 << (HOUR_BITS - 1);

const _: () = assert!(VALUES_MAX.ilog2() + HOUR_BITS + CLASS_BITS + COUNT_BITS == u64::BITS);
const _: () = assert!(CLASSES <= 1 << CLASS_BITS);
const _: () = assert!(i64::MAX / HOUR_NS < HOUR_ZERO && i64::MIN / HOUR_NS > -HOUR_ZERO);

/// Counts values of one field.
#[derive(Debug, Default)]
pub(crate) struct CubeBuilder {
    table: Table,
    counts: Vec<[u32; CLASSES]>,
    pairs: Pairs,
}

/// A finished cube.
#[derive(Debug)]
pub(crate) struct Cube {
    pub bytes: Vec<u8>,
    /// Whether it tells hours apart.
    pub by_hour: bool,
}

impl CubeBuilder {
    /// `by_hour`: whether hours are told apart.
    pub(crate) fn new(by_hour: bool) -> CubeBuilder {
        CubeBuilder { pairs: Pairs { given_up: !by_hour, ..Pairs::default() }, ..CubeBuilder::default() }
    }

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

    /// Counts one row of an hour since the epoch.
    #[inline]
    pub(crate) fn count(&mut self, number: usize, class: u8, hour: i64) {
        self.counts[number][usize::from(class)] += 1;
        self.pairs.add(number, class, hour);
    }

    pub(crate) fn values(&self) -> usize {
        self.counts.len()
    }

    /// Hash of a value by its number.
    pub(crate) fn hash(&self, number: usize) -> u64 {
        self.table.hash(number)
    }

    /// The cube.
    pub(crate) fn finish(&mut self, compress: bool) -> Cube {
        self.pairs.add_up();
        let pairs = &self.pairs;
        let starts = pairs.starts(self.counts.len());
        let partitions: Vec<usize> =
            (0..self.counts.len()).map(|number| partition_of(self.table.key(number))).collect();
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        order.sort_unstable_by(|a, b| {
            (partitions[*a], self.table.key(*a)).cmp(&(partitions[*b], self.table.key(*b)))
        });
        let by_hour = !pairs.given_up;
        let first_hour = pairs.packed.iter().map(|pair| hour_of(*pair)).min().unwrap_or(0);
        let mut writer = CubeWriter::new(compress, by_hour.then_some(first_hour));
        let mut hours = Hours::new();
        for number in order {
            pairs.hours(&starts, number, &mut hours);
            let counts = self.counts[number].map(u64::from);
            writer.push(partitions[number], self.table.key(number), &counts, &hours);
        }
        Cube { bytes: writer.finish(), by_hour }
    }
}

/// Rows by value, hour and class.
#[derive(Debug, Default)]
struct Pairs {
    packed: Vec<u64>,
    /// Those at the beginning that are sorted and added up.
    settled: usize,
    given_up: bool,
}

fn hour_of(pair: u64) -> i64 {
    let hour = pair >> (COUNT_BITS + CLASS_BITS) & ((1 << HOUR_BITS) - 1);
    hour.cast_signed() - HOUR_ZERO
}

fn class_of(pair: u64) -> usize {
    usize::try_from(pair >> COUNT_BITS & ((1 << CLASS_BITS) - 1)).unwrap_or(0)
}

fn value_of(pair: u64) -> usize {
    usize::try_from(pair >> (COUNT_BITS + CLASS_BITS + HOUR_BITS)).unwrap_or(0)
}

impl Pairs {
    #[inline]
    fn add(&mut self, number: usize, class: u8, hour: i64) {
        if self.given_up {
            return;
        }
        let hour = hour.saturating_add(HOUR_ZERO).cast_unsigned();
        let place = ((number as u64) << HOUR_BITS | hour) << CLASS_BITS | u64::from(class);
        match self.packed.last_mut() {
            // Rows that are neighbours are often alike. What is settled is left alone: it is in order either way.
            Some(last) if *last >> COUNT_BITS == place && *last & COUNT_MAX < COUNT_MAX => *last += 1,
            _ => {
                self.packed.push(place << COUNT_BITS | 1);
                if self.packed.len() - self.settled >= RECENT_PAIRS.max(self.settled / 2) {
                    self.add_up();
                }
            }
        }
    }

    /// Sorts what came since the last time, and makes one of those that are of the same value, hour and class.
    fn add_up(&mut self) {
        self.packed[self.settled..].sort_unstable();
        // Two runs in order: the stable sort finds and merges them.
        self.packed.sort();
        self.packed.dedup_by(|later, first| {
            let sum = (*later & COUNT_MAX) + (*first & COUNT_MAX);
            let is_one = *later >> COUNT_BITS == *first >> COUNT_BITS && sum <= COUNT_MAX;
            if is_one {
                *first += *later & COUNT_MAX;
            }
            is_one
        });
        self.settled = self.packed.len();
        if self.settled > PAIRS_MAX {
            *self = Pairs { given_up: true, ..Pairs::default() };
        }
    }

    /// Where the pairs of each value begin, and where the last one's end.
    fn starts(&self, values: usize) -> Vec<u32> {
        let mut starts = vec![0_u32; values + 1];
        self.packed.iter().for_each(|pair| starts[value_of(*pair) + 1] += 1);
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        starts
    }

    /// The hours of a value, and their rows.
    fn hours(&self, starts: &[u32], number: usize, hours: &mut Hours) {
        hours.clear();
        for pair in &self.packed[starts[number] as usize..starts[number + 1] as usize] {
            let hour = hour_of(*pair);
            if hours.last().is_none_or(|(last, _)| *last != hour) {
                hours.push((hour, ClassCounts::default()));
            }
            if let Some((_, counts)) = hours.last_mut() {
                counts[class_of(*pair)] += *pair & COUNT_MAX;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cube::CubeReader;
    use super::*;

    /// Rows of all classes of one value, and how many hours have them, as the cube tells.
    fn rows(cube: &Cube, hours: Option<std::ops::Range<i64>>) -> u64 {
        let mut reader = CubeReader::open(cube.bytes.as_slice(), hours).expect("opens");
        let mut rows = 0;
        for partition in 0..super::super::cube::PARTITIONS {
            reader.read(partition, |_, counts| rows += counts.iter().sum::<u64>()).expect("reads");
        }
        rows
    }

    #[test]
    fn more_rows_of_a_pair_than_fit_its_bits_are_all_counted() {
        let mut builder = CubeBuilder::default();
        let number = builder.number(6, b"x").expect("the first");
        let other = builder.number(6, b"y").expect("the second");
        for n in 0..600_000 {
            builder.count(number, 2, -7);
            if n % 3 == 0 {
                builder.count(other, 1, 5);
            }
        }
        let cube = builder.finish(true);
        assert_eq!(rows(&cube, None), 800_000);
        assert_eq!(rows(&cube, Some(-7..-6)), 600_000);
        assert_eq!(rows(&cube, Some(-6..6)), 200_000);
    }

    #[test]
    fn too_many_pairs_cost_the_hours_and_nothing_else() {
        let mut builder = CubeBuilder::default();
        let hours = i64::try_from(PAIRS_MAX / 1_000 + 1).expect("few");
        for value in 0..1_000_u32 {
            let number = builder.number(6, &value.to_le_bytes()).expect("few");
            (0..hours).for_each(|hour| builder.count(number, 2, hour));
        }
        let cube = builder.finish(true);
        assert!(!cube.by_hour);
        assert_eq!(rows(&cube, None), 1_000 * hours.cast_unsigned());
        assert!(CubeReader::open(cube.bytes.as_slice(), Some(0..9)).is_err());
    }
}

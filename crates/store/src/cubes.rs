//! Cubes of one field over many segments, added up.
//!
//! Adding up costs as much as the cubes have values, and a value stands in most segments of a field's busy days: over hundreds of
//! segments it is read hundreds of times. So the cubes of the segments of a day are kept added up once they were asked for
//! together a second time, those of days together likewise, in the cache of sidecar blocks and within its bound; they go with the
//! first of their segments. After a start those of declared fields are added up before anybody asks ([`Store::keep_cubes`]). The whole hours of segments that a range cuts are kept in the same way: until the hour is over, `last 7d`
//! asks for the same ones.
//!
//! Invariants:
//! - what is kept is of exactly the segments, and hours of them, that it is asked for;
//! - a value lies in one partition, so that threads divide partitions among them and no value comes to two.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use heimdall_model::Dataset;

use crate::scan::{Spent, TimeRange, Turns, map, on_threads};
use crate::segment::{Segment, day_of};
use crate::sidecar::{BlockCache, Damage};
use crate::store::{Store, StoreError};
use crate::summary::{
    Classes, CubeReader, CubeWriter, PARTITIONS, Scratch, Sought, SummaryValue, Sums, add_up, hash64,
    partition_of, visit,
};

/// Days whose segments are kept added up as one, and days of those days.
const GROUP_DAYS: [i64; 3] = [1, 8, 64];
/// Fewest cubes that are worth being kept as one.
const GROUP_MIN: usize = 4;
/// Bytes of cubes that pay for another thread.
const LANE_BYTES: usize = 256 << 10;

/// Cubes of one field over the covered parts of a table.
pub struct Cubes {
    sources: Vec<Source>,
    /// Values counted elsewhere, by partition.
    more: Vec<Vec<(Vec<u8>, u64)>>,
    field: String,
    cache: Arc<BlockCache>,
    turns: Arc<Turns>,
    spent: Spent,
}

/// One cube.
pub(crate) enum Source {
    /// Of rows in memory.
    Chunk(Bytes),
    /// In the block of this kind of a segment; of these hours since the epoch, or all.
    Segment { segment: Arc<Segment>, kind: u32, hours: Option<Range<i64>> },
}

/// Cubes, and such as may be kept added up.
enum Node<'c> {
    One(&'c Source),
    Group(Vec<Node<'c>>),
}

/// A cube that can be read.
#[derive(Clone)]
struct Opened<'c> {
    bytes: Bytes,
    source: Option<&'c Source>,
}

/// The cubes of some segments, added up.
struct Merged {
    field: String,
    of: Vec<Piece>,
    bytes: Bytes,
}

/// The rows of a segment that are counted, by its number and the hours.
type Piece = (u64, Option<Range<i64>>);

impl std::fmt::Debug for Cubes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cubes")
            .field("field", &self.field)
            .field("parts", &self.parts())
            .finish_non_exhaustive()
    }
}

impl Cubes {
    pub(crate) fn new(
        sources: Vec<Source>,
        field: String,
        cache: &Arc<BlockCache>,
        turns: &Arc<Turns>,
    ) -> Cubes {
        let more = vec![Vec::new(); PARTITIONS];
        Cubes {
            sources,
            more,
            field,
            cache: Arc::clone(cache),
            turns: Arc::clone(turns),
            spent: Spent::default(),
        }
    }

    /// How many segments and chunks they cover.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.sources.len()
    }

    /// Adds rows that were counted elsewhere: a value once, none without rows.
    pub fn add(&mut self, value: SummaryValue<'_>, rows: u64) {
        let mut scratch = Scratch::default();
        let (tag, bytes) = value.key(&mut scratch);
        let key = [&[tag], bytes].concat();
        self.more[partition_of(&key)].push((key, rows));
    }

    /// Hands every value `sought` with rows in `classes` to `each`, once, with the number of those rows; `each` says whether to
    /// go on. Memory holds one value in sixty-four.
    ///
    /// # Errors
    /// A cube could not be read.
    pub fn values(
        &self,
        sought: Sought,
        classes: Classes,
        each: &mut dyn FnMut(SummaryValue<'_>, u64) -> bool,
    ) -> Result<(), StoreError> {
        let partitions: Vec<usize> = sought.partitions().collect();
        self.visit(&self.opened(sought)?, &partitions, classes, each)
    }

    /// As [`Cubes::values`], by several threads where cubes are large, each with a state of its own; one that wants no more stops
    /// the others.
    ///
    /// # Errors
    /// A cube could not be read.
    pub fn fold<S: Send>(
        &self,
        sought: Sought,
        classes: Classes,
        make: &(impl Fn() -> S + Sync),
        each: &(impl Fn(&mut S, SummaryValue<'_>, u64) -> bool + Sync),
    ) -> Result<Vec<S>, StoreError> {
        let opened = self.opened(sought)?;
        let partitions: Vec<usize> = sought.partitions().collect();
        let bytes = opened.iter().map(|cube| cube.bytes.len()).sum::<usize>() / PARTITIONS * partitions.len();
        let lanes = (bytes / LANE_BYTES).clamp(1, self.turns.threads()).min(partitions.len().max(1));
        let is_over = AtomicBool::new(false);
        let states = on_threads(lanes, &|lane| {
            let _turn = (lanes > 1).then(|| self.turns.take(&self.spent));
            let own =
                partitions.chunks(partitions.len().div_ceil(lanes).max(1)).nth(lane).unwrap_or_default();
            let mut state = make();
            let visited = self.visit(&opened, own, classes, &mut |value, rows| {
                let goes_on = !is_over.load(Ordering::Relaxed) && each(&mut state, value, rows);
                if !goes_on {
                    is_over.store(true, Ordering::Relaxed);
                }
                goes_on
            });
            visited.map(|()| state)
        });
        states.into_iter().collect()
    }

    fn visit(
        &self,
        opened: &[Opened<'_>],
        partitions: &[usize],
        classes: Classes,
        each: &mut dyn FnMut(SummaryValue<'_>, u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut readers = readers(opened)?;
        let mut sums = Sums::default();
        for partition in partitions {
            let more = &self.more[*partition];
            let goes_on = visit(&mut readers, more, *partition, classes, &mut sums, each)
                .map_err(|(number, damage)| damaged(opened, number, &damage))?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Adds up what may be kept added up, as if it had been asked for twice; returns how much is kept. Memory holds the cubes of one
    /// day, then those of days.
    ///
    /// # Errors
    /// A cube could not be read.
    pub(crate) fn keep(&self, goes_on: &dyn Fn() -> bool) -> Result<usize, StoreError> {
        let (mut done, mut kept) = (BTreeSet::new(), 0);
        for groups in 1..=GROUP_DAYS.len() {
            let nodes = self.nodes(&GROUP_DAYS[..groups]);
            for node in nodes.iter().filter(|node| matches!(node, Node::Group(_))) {
                let mut of = Vec::new();
                node.pieces(&mut of);
                if !done.insert(key_of(&self.field, &of)) {
                    continue; // days that make no group of days
                }
                if !goes_on() {
                    return Ok(kept);
                }
                self.open(node, Sought::ALL)?; // from now on it is wanted
                let opened = self.open(node, Sought::ALL)?;
                kept += usize::from(matches!(opened[..], [Opened { source: None, .. }]));
            }
        }
        Ok(kept)
    }

    /// What there is to be read, with groups of so many days.
    fn nodes(&self, groups: &[i64]) -> Vec<Node<'_>> {
        let mut nodes: Vec<(Option<i64>, Node<'_>)> = self
            .sources
            .iter()
            .map(|source| match source {
                Source::Segment { segment, .. } => (Some(day_of(segment.meta.min)), Node::One(source)),
                Source::Chunk(_) => (None, Node::One(source)),
            })
            .collect();
        for days in groups {
            nodes = grouped(nodes, *days);
        }
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// The cubes to be read, as few as can be had.
    fn opened(&self, sought: Sought) -> Result<Vec<Opened<'_>>, StoreError> {
        let nodes = self.nodes(&GROUP_DAYS);
        let is_little = nodes.len() < GROUP_MIN || sought != Sought::ALL;
        let lanes = if is_little { 1 } else { self.turns.threads() };
        let opened = map(&self.turns, &self.spent, lanes, &nodes, &|node| self.open(node, sought));
        Ok(opened.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn open<'c>(&self, node: &Node<'c>, sought: Sought) -> Result<Vec<Opened<'c>>, StoreError> {
        let members = match node {
            Node::One(source) => return Ok(vec![Opened::of(source)?]),
            Node::Group(members) => members,
        };
        let mut of = Vec::new();
        node.pieces(&mut of);
        let key = key_of(&self.field, &of);
        let kept = self.cache.derived::<Merged>(key);
        if let Some(kept) = kept.filter(|kept| kept.field == self.field && kept.of == of) {
            return Ok(vec![Opened { bytes: kept.bytes.clone(), source: None }]);
        }
        // For a few values it does not pay to add up all; and of what is asked for once nothing need be kept.
        let is_kept = sought == Sought::ALL && self.cache.was_wanted(key);
        let mut opened = Vec::new();
        for member in members {
            opened.extend(self.open(member, sought)?);
        }
        let size: usize = opened.iter().map(|cube| cube.bytes.len()).sum();
        if !is_kept || !self.cache.has_room_for(size) {
            return Ok(opened);
        }
        let bytes = merged(&opened)?;
        let segments = of.iter().map(|(number, _)| *number).collect();
        let size = bytes.len() + of.len() * size_of::<Piece>();
        let kept = Merged { field: self.field.clone(), of, bytes: bytes.clone() };
        self.cache.put_derived(key, segments, Arc::new(kept), size);
        Ok(vec![Opened { bytes, source: None }])
    }
}

impl Store {
    /// Adds up the cubes of declared fields over the days there are, so that the first question over many segments is as quick as later
    /// ones; until `goes_on` says no. Returns how many sums are kept: within the bound of the cache of sidecar blocks.
    ///
    /// # Errors
    /// A sidecar could not be read.
    pub fn keep_cubes(&self, goes_on: &dyn Fn() -> bool) -> Result<usize, StoreError> {
        let mut kept = 0;
        for tenant in self.tenants() {
            let view = self.view(&tenant, Dataset::Logs);
            for target in self.declared.iter() {
                kept += view.cubes(target, TimeRange::ALL, false)?.found.keep(goes_on)?;
            }
        }
        Ok(kept)
    }
}

/// Makes groups of those of the same days, where there are enough.
fn grouped(nodes: Vec<(Option<i64>, Node<'_>)>, days: i64) -> Vec<(Option<i64>, Node<'_>)> {
    let (mut others, mut by_day) = (Vec::new(), BTreeMap::<i64, Vec<Node<'_>>>::new());
    for (day, node) in nodes {
        match day {
            Some(day) => by_day.entry(day.div_euclid(days)).or_default().push(node),
            None => others.push((None, node)),
        }
    }
    for (group, members) in by_day {
        let day = Some(group.saturating_mul(days));
        if members.len() >= GROUP_MIN {
            others.push((day, Node::Group(members)));
        } else {
            others.extend(members.into_iter().map(|node| (day, node)));
        }
    }
    others
}

impl Node<'_> {
    /// What of which segments is below it.
    fn pieces(&self, pieces: &mut Vec<Piece>) {
        match self {
            Node::One(Source::Segment { segment, hours, .. }) => {
                pieces.push((segment.sidecar().number(), hours.clone()));
            }
            Node::One(Source::Chunk(_)) => {}
            Node::Group(members) => members.iter().for_each(|member| member.pieces(pieces)),
        }
    }
}

fn key_of(field: &str, of: &[Piece]) -> u64 {
    let mut name = field.as_bytes().to_vec();
    for (number, hours) in of {
        name.extend_from_slice(&number.to_le_bytes());
        let hours = hours.clone().unwrap_or(i64::MIN..i64::MAX);
        [hours.start, hours.end].iter().for_each(|hour| name.extend_from_slice(&hour.to_le_bytes()));
    }
    hash64(0, &name)
}

impl<'c> Opened<'c> {
    fn of(source: &'c Source) -> Result<Opened<'c>, StoreError> {
        let bytes = match source {
            Source::Chunk(bytes) => bytes.clone(),
            Source::Segment { segment, kind, .. } => {
                let missing = || segment.sidecar().damaged(*kind, &Damage { at: 0, detail: "it is missing" });
                segment.sidecar().bytes(*kind)?.ok_or_else(missing)?
            }
        };
        Ok(Opened { bytes, source: Some(source) })
    }

    fn hours(&self) -> Option<Range<i64>> {
        match self.source {
            Some(Source::Segment { hours, .. }) => hours.clone(),
            _ => None,
        }
    }
}

fn readers(opened: &[Opened<'_>]) -> Result<Vec<CubeReader<Bytes>>, StoreError> {
    let open = |(number, cube): (usize, &Opened<'_>)| {
        CubeReader::open(cube.bytes.clone(), cube.hours()).map_err(|damage| damaged(opened, number, &damage))
    };
    opened.iter().enumerate().map(open).collect()
}

fn merged(opened: &[Opened<'_>]) -> Result<Bytes, StoreError> {
    let mut readers = readers(opened)?;
    let (mut writer, mut sums) = (CubeWriter::new(false, None), Sums::default());
    for partition in 0..PARTITIONS {
        add_up(&mut readers, &[], partition, Classes::ALL, &mut sums)
            .map_err(|(number, damage)| damaged(opened, number, &damage))?;
        sums.write(partition, &mut writer);
    }
    Ok(writer.finish().into())
}

fn damaged(opened: &[Opened<'_>], number: usize, damage: &Damage) -> StoreError {
    match opened.get(number).and_then(|cube| cube.source) {
        Some(Source::Segment { segment, kind, .. }) => segment.sidecar().damaged(*kind, damage),
        _ => StoreError::Encode { detail: format!("a cube in memory: {damage}") },
    }
}

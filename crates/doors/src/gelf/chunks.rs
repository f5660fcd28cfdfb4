//! Messages that come in several datagrams.
//!
//! A chunk is `1e 0f`, eight bytes of message id, its number from 0, how many there are (at most 128), and its part.
//!
//! Invariants:
//! - of one message at most 128 parts are held, and no part twice; chunks may come in any order;
//! - messages, those of one address, and bytes that are held are within [`ChunkLimits`]; one more is not begun;
//! - a message whose chunks have not all come within [`TIMEOUT`] of the first is given up, and counted once;
//! - a chunk of a message that is whole already begins none.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::framing::Frames;

/// Marks a chunk.
const MAGIC: [u8; 2] = [0x1e, 0x0f];
/// Magic, id, number, count.
const HEADER_BYTES: usize = 12;
/// Chunks of one message.
const CHUNKS_MAX: u8 = 128;
/// From the first chunk to the last. Senders expect no more.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Messages remembered for each that may be held, so that a late chunk is known as one.
const REMEMBERED_FACTOR: usize = 4;

/// What may be held.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkLimits {
    pub(super) messages_max: usize,
    pub(super) per_source_max: usize,
    pub(super) bytes_max: usize,
    /// Of one message, as sent.
    pub(super) message_bytes_max: usize,
}

/// An id is its sender's: another's may be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    peer: IpAddr,
    id: [u8; 8],
}

#[derive(Debug)]
struct Message {
    begun: Instant,
    /// Empty once it is whole, or given up for its size.
    parts: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
}

/// What was not kept since it was last asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lost {
    malformed: u64,
    full: u64,
    late: u64,
    too_large: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reassembler {
    limits: ChunkLimits,
    messages: HashMap<Key, Message>,
    /// In the order in which they began. INVARIANT: every message is in it.
    order: VecDeque<(Instant, Key)>,
    open: usize,
    per_source: HashMap<IpAddr, usize>,
    bytes: usize,
    lost: Lost,
}

struct Chunk<'a> {
    id: [u8; 8],
    number: u8,
    count: u8,
    part: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// `None`: it is no chunk. The inner one: it is none that can be used.
    fn read(datagram: &'a [u8]) -> Option<Option<Chunk<'a>>> {
        if !datagram.starts_with(&MAGIC) {
            return None;
        }
        let Some((header, part)) = datagram.split_at_checked(HEADER_BYTES) else { return Some(None) };
        let [_, _, id @ .., number, count] = header else { return Some(None) };
        let Ok(id) = <[u8; 8]>::try_from(id) else { return Some(None) };
        let (number, count) = (*number, *count);
        Some((number < count && count <= CHUNKS_MAX).then_some(Chunk { id, number, count, part }))
    }
}

impl Reassembler {
    pub(super) fn new(limits: ChunkLimits) -> Reassembler {
        Reassembler {
            limits,
            messages: HashMap::new(),
            order: VecDeque::new(),
            open: 0,
            per_source: HashMap::new(),
            bytes: 0,
            lost: Lost::default(),
        }
    }

    /// Takes datagrams that came about `now`; returns the messages that are whole.
    pub(super) fn take(&mut self, datagrams: Frames, now: Instant) -> Frames {
        self.give_up(now);
        if !datagrams.list.iter().any(|frame| datagrams.bytes_of(frame).starts_with(&MAGIC)) {
            return datagrams;
        }
        let mut whole = Frames::default();
        for datagram in &datagrams.list {
            let bytes = datagrams.bytes_of(datagram);
            match Chunk::read(bytes) {
                None => whole.push(bytes, datagram.peer, datagram.defect),
                Some(None) => self.lost.malformed += 1,
                Some(Some(chunk)) => {
                    let key = Key { peer: datagram.peer, id: chunk.id };
                    if let Some(parts) = self.take_chunk(key, &chunk, now) {
                        whole.push(&parts, datagram.peer, None);
                    }
                }
            }
        }
        whole
    }

    /// What was lost since the last time, by the label of `door_dropped_total`.
    pub(super) fn lost(&mut self) -> [(&'static str, u64); 4] {
        let lost = std::mem::take(&mut self.lost);
        [
            ("chunk_malformed", lost.malformed),
            ("chunks_full", lost.full),
            ("chunks_incomplete", lost.late),
            ("chunks_too_large", lost.too_large),
        ]
    }

    fn take_chunk(&mut self, key: Key, chunk: &Chunk<'_>, now: Instant) -> Option<Vec<u8>> {
        if !self.messages.contains_key(&key) && !self.begin(key, chunk, now) {
            self.lost.full += 1;
            return None;
        }
        let has_room = self.bytes + chunk.part.len() <= self.limits.bytes_max;
        let message = self.messages.get_mut(&key)?;
        if message.parts.is_empty() {
            return None; // late, of one that is whole
        }
        if message.parts.len() != usize::from(chunk.count) {
            self.lost.malformed += 1;
            return None;
        }
        let place = &mut message.parts[usize::from(chunk.number)];
        if place.is_some() {
            return None; // a duplicate
        }
        if !has_room {
            self.lost.full += 1;
            return None;
        }
        *place = Some(chunk.part.into());
        message.missing -= 1;
        message.bytes += chunk.part.len();
        self.bytes += chunk.part.len();
        let (is_whole, is_too_large) = (message.missing == 0, message.bytes > self.limits.message_bytes_max);
        if is_too_large {
            self.lost.too_large += 1;
            self.close(key);
            return None;
        }
        is_whole.then(|| self.close(key).concat())
    }

    /// Whether there is room for another message.
    fn begin(&mut self, key: Key, chunk: &Chunk<'_>, now: Instant) -> bool {
        let of_source = self.per_source.get(&key.peer).copied().unwrap_or(0);
        let has_room = self.open < self.limits.messages_max
            && of_source < self.limits.per_source_max
            && self.order.len() < self.limits.messages_max.saturating_mul(REMEMBERED_FACTOR);
        if has_room {
            let count = usize::from(chunk.count);
            let parts = std::iter::repeat_with(|| None).take(count).collect();
            self.messages.insert(key, Message { begun: now, parts, missing: count, bytes: 0 });
            self.order.push_back((now, key));
            self.per_source.insert(key.peer, of_source + 1);
            self.open += 1;
        }
        has_room
    }

    /// Lets go of the parts of a message, which stays known; returns those that came.
    fn close(&mut self, key: Key) -> Vec<Box<[u8]>> {
        let Some(message) = self.messages.get_mut(&key).filter(|message| !message.parts.is_empty()) else {
            return Vec::new();
        };
        self.bytes -= std::mem::take(&mut message.bytes);
        self.open -= 1;
        let parts = std::mem::take(&mut message.parts);
        if let Some(of_source) = self.per_source.get_mut(&key.peer) {
            *of_source -= 1;
            if *of_source == 0 {
                self.per_source.remove(&key.peer);
            }
        }
        parts.into_iter().flatten().collect()
    }

    fn give_up(&mut self, now: Instant) {
        while let Some((begun, key)) = self.order.front().copied() {
            if now.saturating_duration_since(begun) < TIMEOUT {
                break;
            }
            self.order.pop_front();
            let is_open = self.messages.get(&key).is_some_and(|message| !message.parts.is_empty());
            self.lost.late += u64::from(is_open);
            self.close(key);
            debug_assert!(self.messages.get(&key).is_none_or(|message| message.begun == begun));
            self.messages.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use heimdall_testkit::mutants::{Seeds, fuzz};
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ChunkLimits =
        ChunkLimits { messages_max: 4, per_source_max: 3, bytes_max: 1000, message_bytes_max: 100 };

    fn chunk(id: u8, number: u8, count: u8, part: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &[id; 8], &[number, count], part].concat()
    }

    fn peer(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
    }

    fn taken(it: &mut Reassembler, from: u8, datagrams: &[Vec<u8>], now: Instant) -> Vec<String> {
        let mut frames = Frames::default();
        datagrams.iter().for_each(|datagram| frames.push(datagram, peer(from), None));
        let whole = it.take(frames, now);
        whole.list.iter().map(|frame| String::from_utf8_lossy(whole.bytes_of(frame)).into_owned()).collect()
    }

    fn lost(it: &mut Reassembler) -> [u64; 4] {
        it.lost().map(|(_, count)| count)
    }

    #[test]
    fn chunks_in_any_order_with_duplicates_make_one_message() {
        let mut it = Reassembler::new(LIMITS);
        let now = Instant::now();
        let sent = [chunk(1, 2, 3, b"c"), chunk(1, 0, 3, b"a"), b"plain".to_vec(), chunk(1, 2, 3, b"x")];
        assert_eq!(taken(&mut it, 1, &sent, now), ["plain"]);
        assert_eq!(taken(&mut it, 2, &[chunk(1, 1, 3, b"B")], now), Vec::<String>::new()); // another's id
        assert_eq!(taken(&mut it, 1, &[chunk(1, 1, 3, b"b"), chunk(1, 0, 3, b"a")], now), ["abc"]);
        assert_eq!((it.open, it.bytes), (1, 1));
        taken(&mut it, 1, &[], now + TIMEOUT);
        assert_eq!((it.open, it.bytes, it.messages.len(), it.per_source.len()), (0, 0, 0, 0));
        assert_eq!(lost(&mut it), [0, 0, 1, 0]);
        assert_eq!(taken(&mut it, 1, &[chunk(1, 0, 1, b"again")], now + TIMEOUT), ["again"]);
    }

    #[test]
    fn what_is_held_has_bounds() {
        let mut it = Reassembler::new(LIMITS);
        let now = Instant::now();
        let begin = |id| chunk(id, 0, 2, &[b'x'; 30]);
        taken(&mut it, 1, &[begin(1), begin(2), begin(3), begin(4)], now);
        assert_eq!((it.open, lost(&mut it)), (3, [0, 1, 0, 0])); // of one source
        taken(&mut it, 2, &[begin(1), begin(2)], now);
        assert_eq!((it.open, lost(&mut it)), (4, [0, 1, 0, 0])); // in all
        taken(&mut it, 1, &[chunk(1, 1, 2, &[b'y'; 80])], now);
        assert_eq!((it.open, it.bytes, lost(&mut it)), (3, 90, [0, 0, 0, 1])); // too large
        it.limits.bytes_max = 100;
        taken(&mut it, 1, &[chunk(2, 1, 2, &[b'y'; 20])], now);
        assert_eq!((it.bytes, lost(&mut it)), (90, [0, 1, 0, 0]));
    }

    #[test]
    fn malformed_chunks_are_counted() {
        let mut it = Reassembler::new(LIMITS);
        let now = Instant::now();
        let bad = [
            MAGIC.to_vec(),
            chunk(1, 0, 0, b""),
            chunk(1, 3, 3, b"x"),
            chunk(1, 0, 129, b"x"),
            chunk(2, 0, 2, b"x"),
            chunk(2, 1, 3, b"x"),
        ];
        assert_eq!(taken(&mut it, 1, &bad, now), Vec::<String>::new());
        assert_eq!((it.open, lost(&mut it)), (1, [5, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn hostile_chunks_stay_within_the_limits(
            datagrams in proptest::collection::vec((0u8..4, 0u8..8, 0u8..6, 0u8..6, 0usize..60, 0u64..3), 0..200),
        ) {
            let mut it = Reassembler::new(LIMITS);
            let mut now = Instant::now();
            for (from, id, number, count, len, seconds) in datagrams {
                now += Duration::from_secs(seconds);
                taken(&mut it, from, &[chunk(id, number, count, &vec![b'x'; len])], now);
                prop_assert!(it.open <= LIMITS.messages_max && it.bytes <= LIMITS.bytes_max);
                prop_assert!(it.messages.len() == it.order.len() && it.order.len() <= 4 * LIMITS.messages_max);
                prop_assert_eq!(it.per_source.values().sum::<usize>(), it.open);
                let open = it.messages.values().filter(|message| !message.parts.is_empty());
                prop_assert_eq!(open.map(|message| message.bytes).sum::<usize>(), it.bytes);
            }
            taken(&mut it, 0, &[], now + TIMEOUT);
            prop_assert!(it.messages.is_empty() && it.bytes == 0 && it.open == 0);
        }
    }

    #[test]
    fn mutants_of_chunks_stay_within_the_limits() {
        let whole: Vec<u8> = (0..3).flat_map(|n| chunk(1, n, 3, b"part")).collect();
        let mixed = [chunk(1, 1, 2, b"b"), chunk(2, 0, 1, b"c"), chunk(1, 0, 2, &[b'a'; 60]), b"{}".to_vec()]
            .concat();
        let mut it = Reassembler::new(LIMITS);
        let mut now = Instant::now();
        fuzz(&Seeds::bytes([whole, mixed]), |mutant, rng| {
            now += Duration::from_millis(rng.next_u64() % 3_000);
            let ends = memchr::memmem::find_iter(mutant, &MAGIC).chain([mutant.len()]);
            let mut start = 0;
            let datagrams: Vec<Vec<u8>> =
                ends.map(|end| mutant[std::mem::replace(&mut start, end)..end].to_vec()).collect();
            let whole = taken(&mut it, rng.byte() % 4, &datagrams, now);
            assert!(whole.len() <= datagrams.len());
            assert!(it.open <= LIMITS.messages_max && it.bytes <= LIMITS.bytes_max);
            assert!(it.messages.len() == it.order.len() && it.order.len() <= 4 * LIMITS.messages_max);
        });
    }
}

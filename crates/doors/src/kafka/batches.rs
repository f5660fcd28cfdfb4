//! Which messages of a partition become one batch, and which range and key it has. No IO.
//!
//! Invariants:
//! - `next` of a partition is the offset its group has committed: at most one batch is beyond it;
//! - batches of a partition follow each other without a gap in their ranges, whatever offsets are missing between messages;
//! - a range that was in doubt is cut exactly as it was declared, under the key it had.

use std::collections::{HashMap, VecDeque};

use krafka::consumer::ConsumerRecord;

use super::intents::Intent;

/// Topic and partition.
pub(crate) type Place = (String, i32);

/// A range of messages on its way into the journal.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Where, from, to, and its key.
    pub intent: Intent,
    /// The messages; none when those of the range are gone.
    pub messages: Vec<ConsumerRecord>,
}

impl Batch {
    /// Topic and partition.
    pub(crate) fn place(&self) -> Place {
        (self.intent.topic.clone(), self.intent.partition)
    }
}

/// What one batch may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes; one message may exceed them alone.
    pub bytes_max: usize,
}

#[derive(Debug)]
struct Position {
    next: i64,
    in_doubt: Option<Intent>,
    held: VecDeque<ConsumerRecord>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    places: HashMap<Place, Position>,
}

impl Positions {
    /// Takes a partition that was assigned, at its committed offset. A range declared for it is in doubt when it begins there.
    /// Whether it is.
    pub(crate) fn assign(&mut self, place: Place, committed: i64, declared: Option<&Intent>) -> bool {
        let in_doubt = declared.filter(|intent| intent.from == committed && intent.to > committed).cloned();
        let is_in_doubt = in_doubt.is_some();
        self.places.insert(place, Position { next: committed, in_doubt, held: VecDeque::new() });
        is_in_doubt
    }

    /// Lets go of a partition.
    pub(crate) fn revoke(&mut self, place: &Place) {
        self.places.remove(place);
    }

    /// Whether the partition is held.
    pub(crate) fn holds(&self, place: &Place) -> bool {
        self.places.contains_key(place)
    }

    /// The partitions held.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.places.keys().cloned().collect()
    }

    /// The committed offset.
    pub(crate) fn next(&self, place: &Place) -> Option<i64> {
        self.places.get(place).map(|position| position.next)
    }

    /// Partitions with a range in doubt, and where it ends.
    pub(crate) fn in_doubt(&self) -> Vec<(Place, i64)> {
        let ends = self.places.iter();
        ends.filter_map(|(place, position)| Some((place.clone(), position.in_doubt.as_ref()?.to))).collect()
    }

    /// Notes what the group committed; what was held is read again.
    pub(crate) fn committed(&mut self, place: &Place, to: i64) {
        if let Some(position) = self.places.get_mut(place) {
            position.next = to;
            position.in_doubt = position.in_doubt.take().filter(|intent| intent.from == to);
        }
    }

    /// Forgets messages that are not committed; where to read again. A range declared for them is in doubt then.
    pub(crate) fn rewind(&mut self, place: &Place, declared: Option<&Intent>) -> Option<i64> {
        let next = self.next(place)?;
        self.assign(place.clone(), next, declared);
        Some(next)
    }

    /// Goes on elsewhere because the messages at `next` are gone: at `start`. A range in doubt that reaches beyond keeps its key.
    /// How many offsets are passed over.
    pub(crate) fn skip_to(&mut self, place: &Place, start: i64) -> u64 {
        let Some(position) = self.places.get_mut(place) else { return 0 };
        position.held.clear();
        let skipped = u64::try_from(start.saturating_sub(position.next)).unwrap_or(0);
        let reaches =
            position.in_doubt.as_ref().is_some_and(|intent| intent.from <= start && start < intent.to);
        if !reaches {
            position.in_doubt = None;
            position.next = start;
        }
        skipped
    }

    /// Sorts messages that were read into rounds of batches; a round has at most one batch of a partition. `reached` is how far
    /// a partition was read, where the last offsets before hold no message.
    pub(crate) fn cut(
        &mut self,
        messages: Vec<ConsumerRecord>,
        reached: &HashMap<Place, i64>,
        limits: BatchLimits,
    ) -> Vec<Vec<Batch>> {
        for message in messages {
            let place = (message.topic.to_string(), message.partition);
            if let Some(position) = self.places.get_mut(&place) {
                position.held.push_back(message);
            }
        }
        let mut rounds: Vec<Vec<Batch>> = Vec::new();
        for (place, position) in &mut self.places {
            let batches = position.cut(place, reached.get(place).copied(), limits);
            for (round, batch) in batches.into_iter().enumerate() {
                if rounds.len() == round {
                    rounds.push(Vec::new());
                }
                rounds[round].push(batch);
            }
        }
        rounds
    }
}

impl Position {
    fn cut(&mut self, place: &Place, reached: Option<i64>, limits: BatchLimits) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut from = self.next;
        if let Some(intent) = &self.in_doubt {
            let last = self.held.back().map(|message| message.offset + 1);
            if last.max(reached).is_none_or(|end| end < intent.to) {
                return batches; // the range is not whole yet
            }
            let inside = self.held.partition_point(|message| message.offset < intent.to);
            let messages = self.held.drain(..inside).collect();
            batches.push(Batch { intent: intent.clone(), messages });
            from = intent.to;
        }
        if let Some(first) = self.held.front().filter(|first| first.offset < from) {
            from = first.offset; // the broker's log was cut and written anew
        }
        while let Some(first) = self.held.front() {
            let sent_ms = first.timestamp;
            let messages = take(&mut self.held, limits);
            let to = messages.last().map_or(from, |last| last.offset + 1);
            let (topic, partition) = place.clone();
            let key = key(&topic, partition, from, to, sent_ms);
            batches.push(Batch { intent: Intent { topic, partition, from, to, key }, messages });
            from = to;
        }
        batches
    }
}

/// The key of a range. The time of its first message tells a topic from one of the same name made later.
fn key(topic: &str, partition: i32, from: i64, to: i64, sent_ms: i64) -> String {
    format!("{topic}/{partition}/{from}-{to}@{sent_ms}")
}

fn take(held: &mut VecDeque<ConsumerRecord>, limits: BatchLimits) -> Vec<ConsumerRecord> {
    let mut messages = Vec::new();
    let mut bytes = 0_usize;
    while messages.len() < limits.messages_max
        && let Some(message) = held.front()
    {
        bytes += size(message);
        if bytes > limits.bytes_max && !messages.is_empty() {
            break;
        }
        messages.extend(held.pop_front());
    }
    messages
}

/// Bytes of a message.
pub(crate) fn size(message: &ConsumerRecord) -> usize {
    let part = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + part(value)).sum();
    part(&message.key) + part(&message.value) + headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits { messages_max: 3, bytes_max: 100 };

    fn message(partition: i32, offset: i64) -> ConsumerRecord {
        ConsumerRecord::new("t", partition, offset, None, Some("x".into()))
    }

    fn place(partition: i32) -> Place {
        ("t".to_owned(), partition)
    }

    fn ranges(rounds: &[Vec<Batch>]) -> Vec<Vec<(i32, i64, i64, usize)>> {
        let range = |batch: &Batch| {
            let Intent { partition, from, to, .. } = batch.intent;
            (partition, from, to, batch.messages.len())
        };
        rounds
            .iter()
            .map(|round| {
                let mut ranges: Vec<_> = round.iter().map(range).collect();
                ranges.sort_unstable();
                ranges
            })
            .collect()
    }

    fn declared(from: i64, to: i64) -> Intent {
        Intent { topic: "t".to_owned(), partition: 0, from, to, key: "the key it had".to_owned() }
    }

    #[test]
    fn ranges_follow_each_other_over_missing_offsets() {
        let mut positions = Positions::default();
        positions.assign(place(0), 10, None);
        positions.assign(place(1), 0, None);
        let messages = [11, 12, 20, 21].map(|offset| message(0, offset)).into_iter().chain([message(1, 0)]);
        let rounds = positions.cut(messages.collect(), &HashMap::new(), LIMITS);
        assert_eq!(ranges(&rounds), [vec![(0, 10, 21, 3), (1, 0, 1, 1)], vec![(0, 21, 22, 1)]]);
    }

    #[test]
    fn a_large_message_is_a_batch_of_its_own() {
        let mut positions = Positions::default();
        positions.assign(place(0), 0, None);
        let large = ConsumerRecord::new("t", 0, 1, None, Some(vec![0; 500].into()));
        let rounds = positions.cut(vec![message(0, 0), large, message(0, 2)], &HashMap::new(), LIMITS);
        assert_eq!(ranges(&rounds), [[(0, 0, 1, 1)], [(0, 1, 2, 1)], [(0, 2, 3, 1)]]);
    }

    #[test]
    fn a_range_in_doubt_is_read_whole_before_anything_else() {
        let mut positions = Positions::default();
        assert!(positions.assign(place(0), 5, Some(&declared(5, 8))));
        let rounds = positions.cut(vec![message(0, 5), message(0, 6)], &HashMap::new(), LIMITS);
        assert!(rounds.is_empty(), "offset 7 may still come");
        let rounds = positions.cut(vec![message(0, 7), message(0, 8)], &HashMap::new(), LIMITS);
        assert_eq!(ranges(&rounds), [[(0, 5, 8, 3)], [(0, 8, 9, 1)]]);
        assert_eq!(rounds[0][0].intent.key, "the key it had");
        assert_ne!(rounds[1][0].intent.key, "the key it had");
    }

    #[test]
    fn a_range_in_doubt_whose_last_messages_are_gone_ends_where_reading_has_come_to() {
        let mut positions = Positions::default();
        positions.assign(place(0), 5, Some(&declared(5, 8)));
        let reached = HashMap::from([(place(0), 7)]);
        assert!(positions.cut(vec![message(0, 5)], &reached, LIMITS).is_empty());
        let reached = HashMap::from([(place(0), 8)]);
        assert_eq!(ranges(&positions.cut(Vec::new(), &reached, LIMITS)), [[(0, 5, 8, 1)]]);
    }

    #[test]
    fn only_a_range_that_begins_at_the_committed_offset_is_in_doubt() {
        let mut positions = Positions::default();
        assert!(!positions.assign(place(0), 8, Some(&declared(5, 8))), "committed");
        assert!(!positions.assign(place(0), 0, Some(&declared(5, 8))), "somebody set the offset back");
        assert!(positions.in_doubt().is_empty());
        positions.assign(place(0), 5, Some(&declared(5, 8)));
        positions.committed(&place(0), 8);
        assert!(positions.in_doubt().is_empty());
        assert_eq!(positions.next(&place(0)), Some(8));
    }

    #[test]
    fn what_retention_took_is_counted_and_a_range_in_doubt_keeps_its_key() {
        let mut positions = Positions::default();
        positions.assign(place(0), 5, Some(&declared(5, 8)));
        assert_eq!(positions.skip_to(&place(0), 7), 2);
        assert_eq!(ranges(&positions.cut(vec![message(0, 7)], &HashMap::new(), LIMITS)), [[(0, 5, 8, 1)]]);
        positions.assign(place(0), 5, Some(&declared(5, 8)));
        assert_eq!(positions.skip_to(&place(0), 9), 4);
        assert_eq!(ranges(&positions.cut(vec![message(0, 9)], &HashMap::new(), LIMITS)), [[(0, 9, 10, 1)]]);
    }

    #[test]
    fn what_is_not_committed_is_read_again() {
        let mut positions = Positions::default();
        positions.assign(place(0), 5, None);
        let rounds =
            positions.cut((5..9).map(|offset| message(0, offset)).collect(), &HashMap::new(), LIMITS);
        assert_eq!(rounds.len(), 2);
        positions.committed(&place(0), 8);
        assert_eq!(positions.rewind(&place(0), Some(&declared(5, 8))), Some(8));
        assert!(positions.in_doubt().is_empty());
        assert_eq!(positions.rewind(&place(0), Some(&declared(8, 9))), Some(8));
        assert_eq!(positions.in_doubt(), [(place(0), 9)], "its batch may have become durable");
        positions.revoke(&place(0));
        assert_eq!(positions.rewind(&place(0), None), None);
    }
}

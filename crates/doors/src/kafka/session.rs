//! One connection to a cluster: joins the group, reads, makes durable, commits; until it fails or the server ends.
//!
//! Everything that changes positions happens on one task. Admission runs beside it, so that the member keeps speaking to its group
//! while the journal is full: partitions are paused then, which is this protocol's back-pressure.
//!
//! Invariants:
//! - a partition that was assigned is paused until its committed offset is known and its reading begins there;
//! - before a partition is given up, what is under way for it has ended, and what of it is durable is committed;
//! - a range that was declared and not committed is read again exactly, whatever the reason.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::StreamExt;
use heimdall_ingest::{Caller, Decoded, Permit, Refused, Submission};
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, ConsumerRecord, IsolationLevel, OffsetAndMetadata,
    TopicPartition,
};
use krafka::{CloseOptions, Kafka, KafkaBuilder, KrafkaError};
use metrics::{Gauge, counter, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batches::{Batch, Place, Positions, size};
use super::config::Start;
use super::decode::{Schemas, decode, schema_ids};
use super::ghost::Ghost;
use super::intents::Intent;
use super::{DOOR, Source};
use crate::registry::lookup::LookupError;

/// Longest wait for messages.
const POLL: Duration = Duration::from_millis(500);
/// How long admission may take before partitions are paused and the group is spoken to meanwhile.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Wait for the group while partitions are paused.
const KEEP_ALIVE_POLL: Duration = Duration::from_millis(50);
/// Pause after something failed that may pass.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for what is under way when a partition is given up.
const REVOKE_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for a commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Failures in a row after which the connection is made again.
const FAILURES_MAX: u32 = 30;
/// Time to leave the group when the server ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for what is under way when the server ends.
const END_WAIT: Duration = Duration::from_secs(5);
/// How often the lag is reported.
const REPORT: Duration = Duration::from_secs(5);
/// Partitions whose lag is reported.
const REPORTED_MAX: usize = 1_000;
/// When a partition whose messages cannot be unpacked is tried again.
const STUCK_AGAIN: Duration = Duration::from_secs(60);
/// Batches of different partitions admitted at once.
const ADMITTED_MAX: usize = 8;
/// Bytes of messages that are decoded on the async thread.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Batches on their way into the journal.
#[derive(Default)]
struct Flight {
    give_up: CancellationToken,
    ended: CancellationToken,
    /// Ends of ranges that are durable and not committed.
    durable: Mutex<HashMap<Place, i64>>,
}

/// What the group tells this member, while the consumer is polled.
#[derive(Default)]
struct Watch {
    consumer: OnceLock<Weak<Consumer>>,
    flight: Mutex<Option<Arc<Flight>>>,
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    assigned: Vec<Place>,
    gone: Vec<Place>,
}

impl Changes {
    fn gone(&mut self, places: Vec<Place>) {
        self.assigned.retain(|place| !places.contains(place)); // within one poll it may have come and gone
        self.gone.extend(places);
    }
}

fn place_of(partition: &TopicPartition) -> Place {
    (partition.topic.clone(), partition.partition)
}

impl Watch {
    fn consumer(&self) -> Option<Arc<Consumer>> {
        self.consumer.get().and_then(Weak::upgrade)
    }

    async fn end_flight(&self) -> Option<Arc<Flight>> {
        let flight = self.flight.lock().clone()?;
        flight.give_up.cancel();
        if tokio::time::timeout(REVOKE_WAIT, flight.ended.cancelled()).await.is_err() {
            tracing::warn!("a batch is still under way while its partition is given up");
        }
        Some(flight)
    }
}

impl ConsumerRebalanceListener for Watch {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        let Some(consumer) = self.consumer() else { return };
        for partition in partitions {
            consumer.pause(&partition.topic, &[partition.partition]).await;
        }
        self.changes.lock().assigned.extend(partitions.iter().map(place_of));
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        let places: Vec<Place> = partitions.iter().map(place_of).collect();
        if let Some(flight) = self.end_flight().await
            && let Some(consumer) = self.consumer()
        {
            let durable: Vec<(Place, i64)> = {
                let mut all = flight.durable.lock();
                places.iter().filter_map(|place| all.remove_entry(place)).collect()
            };
            if !durable.is_empty()
                && let Err(error) = commit(&consumer, &durable).await
            {
                tracing::warn!(%error, "offsets were not committed before their partitions were given up");
            }
        }
        self.changes.lock().gone(places);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        let places: Vec<Place> = partitions.iter().map(place_of).collect();
        if let Some(flight) = self.end_flight().await {
            flight.durable.lock().retain(|place, _| !places.contains(place));
        }
        self.changes.lock().gone(places);
    }
}

async fn commit(consumer: &Consumer, offsets: &[(Place, i64)]) -> Result<(), KrafkaError> {
    let offsets: Vec<_> = offsets
        .iter()
        .map(|((topic, partition), to)| {
            (TopicPartition::new(topic.clone(), *partition), OffsetAndMetadata::new(*to))
        })
        .collect();
    let committed = tokio::time::timeout(COMMIT_TIMEOUT, consumer.commit_offsets(offsets)).await;
    committed.unwrap_or_else(|_| Err(KrafkaError::timeout("offset commit")))
}

struct Session<'a> {
    source: &'a Arc<Source>,
    kafka: Kafka,
    consumer: Arc<Consumer>,
    /// Who this server was, and is, in its group; none for a static member.
    ghost: Option<Ghost>,
    watch: Arc<Watch>,
    positions: Positions,
    /// Assigned, and not known where to begin.
    unsettled: Vec<Place>,
    /// Cannot be unpacked; when to try again.
    stuck: HashMap<Place, Instant>,
    subscribed: Vec<String>,
    topics_due: Instant,
    report_due: Instant,
    failures: u32,
}

/// Reads until the server ends.
///
/// # Errors
/// The connection failed, or is worth making again.
pub(super) async fn run(
    source: &Arc<Source>,
    builder: KafkaBuilder,
    connected: &Gauge,
) -> Result<(), KrafkaError> {
    let shutdown = &source.shared.shutdown;
    let mut session = tokio::select! {
        session = Session::open(source, builder) => session?,
        () = shutdown.cancelled() => return Ok(()),
    };
    connected.set(1.0);
    let ended = tokio::select! {
        ended = session.read() => ended,
        // A broker that does not answer must not hold up the end; ranges that are under way are on disk.
        () = async { shutdown.cancelled().await; tokio::time::sleep(END_WAIT).await } => Ok(()),
    };
    let closing = session.consumer.close_with(CloseOptions::new().timeout(CLOSE_TIMEOUT)).await;
    if let Err(error) = closing {
        tracing::debug!(%error, "the group was not left in order");
    }
    ended
}

impl<'a> Session<'a> {
    async fn open(source: &'a Arc<Source>, builder: KafkaBuilder) -> Result<Session<'a>, KrafkaError> {
        let config = &source.config;
        let kafka = builder.connect().await?;
        let mut ghost = config.instance_id.is_empty().then(|| source.ghost());
        if let Some(ghost) = &mut ghost {
            ghost.leave(&kafka).await;
        }
        let watch = Arc::new(Watch::default());
        let int = |bytes: u64| i32::try_from(bytes).unwrap_or(i32::MAX);
        let messages_max = int(config.batch_messages_max as u64);
        let session_timeout = Duration::from_nanos(config.session_timeout.ns().unsigned_abs());
        let mut consumer = kafka.consumer(config.group_id.clone());
        if !config.instance_id.is_empty() {
            consumer = consumer.group_instance_id(config.instance_id.clone());
        }
        let consumer = consumer
            .auto_offset_reset(AutoOffsetReset::None)
            .enable_auto_commit(false)
            .isolation_level(IsolationLevel::ReadCommitted)
            .fetch_max_bytes(int(config.fetch_bytes_max.0))
            .max_partition_fetch_bytes(int(config.fetch_bytes_max.0.min(config.batch_bytes_max.0)))
            .max_poll_records(messages_max)
            .max_buffered_records(messages_max)
            .max_decompressed_size(config.unpacked_bytes_max.usize())
            .session_timeout(session_timeout)
            .heartbeat_interval((session_timeout / 5).min(Duration::from_secs(3)))
            .metrics_push(false)
            .rebalance_listener(Arc::clone(&watch))
            .build()
            .await?;
        let consumer = Arc::new(consumer);
        watch.consumer.set(Arc::downgrade(&consumer)).expect("it is set once");
        let now = Instant::now();
        Ok(Session {
            source,
            kafka,
            consumer,
            ghost,
            watch,
            positions: Positions::default(),
            unsettled: Vec::new(),
            stuck: HashMap::new(),
            subscribed: Vec::new(),
            topics_due: now,
            report_due: now + REPORT,
            failures: 0,
        })
    }

    async fn read(&mut self) -> Result<(), KrafkaError> {
        let shutdown = self.source.shared.shutdown.clone();
        while !shutdown.is_cancelled() {
            let step = self.step(&shutdown).await;
            match step {
                Ok(()) => self.failures = 0,
                Err(error) => self.failed(error).await?,
            }
        }
        Ok(())
    }

    async fn step(&mut self, shutdown: &CancellationToken) -> Result<(), KrafkaError> {
        if Instant::now() >= self.topics_due {
            self.subscribe().await?;
        }
        if self.subscribed.is_empty() {
            self.rest(PAUSE).await;
            return Ok(());
        }
        self.settle().await?;
        self.try_stuck().await;
        self.report().await;
        let polled = tokio::select! {
            polled = self.consumer.poll(POLL) => polled,
            () = shutdown.cancelled() => return Ok(()),
        };
        self.apply_changes();
        match polled {
            Ok(messages) => {
                self.take(messages).await;
                Ok(())
            }
            Err(KrafkaError::NoOffset { partitions }) => self.rescue(partitions).await,
            Err(error) => Err(error),
        }
    }

    /// What is to be done about a failure: the partition it concerns is left aside, or everything is tried again after a pause.
    async fn failed(&mut self, error: KrafkaError) -> Result<(), KrafkaError> {
        self.apply_changes();
        counter!("door_kafka_failures_total", "source" => self.source.name()).increment(1);
        self.failures += 1;
        let text = error.to_string();
        let unpacked = |place: &Place| text.contains(&format!("at {}-{} offset ", place.0, place.1));
        if let Some(place) = self.positions.places().into_iter().find(unpacked) {
            tracing::error!(topic = place.0, partition = place.1, %error, "messages cannot be unpacked; the partition waits");
            self.set_stuck(&place, true).await;
            return Ok(());
        }
        if error.is_fatal() || self.failures >= FAILURES_MAX {
            return Err(error);
        }
        tracing::warn!(source = self.source.config.name, %error, "kafka: trying again");
        self.rest(PAUSE).await;
        Ok(())
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.source.shared.shutdown.cancelled() => {}
        }
    }

    /// Subscribes to the topics that are named, and those that the patterns match now.
    async fn subscribe(&mut self) -> Result<(), KrafkaError> {
        let mut topics = self.source.names.clone();
        if !self.source.patterns.is_empty() {
            let listed = self.kafka.admin().list_topics(krafka::admin::ListTopicsOptions::default()).await?;
            topics.extend(listed.into_iter().filter(|topic| {
                !topic.starts_with("__") && self.source.patterns.iter().any(|pattern| pattern.is_match(topic))
            }));
        }
        topics.sort_unstable();
        topics.dedup();
        if topics != self.subscribed {
            if !topics.is_empty() {
                self.consumer.subscribe(&topics).await?;
                tracing::info!(source = self.source.config.name, ?topics, "kafka: reading");
            }
            self.subscribed = topics;
        }
        let interval = Duration::from_nanos(self.source.config.topics_interval.ns().unsigned_abs());
        self.topics_due = Instant::now() + interval;
        Ok(())
    }

    fn apply_changes(&mut self) {
        let Changes { assigned, gone } = std::mem::take(&mut *self.watch.changes.lock());
        for place in gone {
            self.positions.revoke(&place);
            self.unsettled.retain(|other| *other != place);
            self.stuck.remove(&place);
            self.lag(&place, 0);
        }
        for place in assigned {
            self.positions.revoke(&place);
            if !self.unsettled.contains(&place) {
                self.unsettled.push(place);
            }
        }
    }

    /// Finds where to begin in partitions that were assigned.
    async fn settle(&mut self) -> Result<(), KrafkaError> {
        self.apply_changes();
        if self.unsettled.is_empty() {
            return Ok(());
        }
        self.note_member().await;
        let places = self.unsettled.clone();
        let asked: Vec<(&str, i32)> = places.iter().map(|(topic, n)| (topic.as_str(), *n)).collect();
        let committed = self.consumer.committed(&asked).await?;
        for place in &places {
            let committed = committed.get(place).map(|committed| committed.offset);
            self.settle_one(place, committed).await?;
            self.unsettled.retain(|other| other != place);
        }
        Ok(())
    }

    /// Before anything is read as this member.
    async fn note_member(&mut self) {
        if let Some(ghost) = &mut self.ghost
            && let Some(member) = self.consumer.group_metadata().await
        {
            ghost.note(member.member_id()).await;
        }
    }

    async fn settle_one(&mut self, place: &Place, committed: Option<i64>) -> Result<(), KrafkaError> {
        let (topic, partition) = (place.0.as_str(), place.1);
        let declared = self.source.intents.lock().get(topic, partition).cloned();
        let offset = match (committed, &declared) {
            (Some(offset), _) => offset,
            (None, Some(intent)) => intent.from, // the group forgot its offsets; this server did not
            (None, None) => {
                let (first, end) = self.consumer.fetch_watermarks(topic, partition).await?;
                if self.source.config.start == Start::Earliest { first } else { end }
            }
        };
        if committed.is_none() {
            commit(&self.consumer, &[(place.clone(), offset)]).await?;
        }
        let is_in_doubt = self.positions.assign(place.clone(), offset, declared.as_ref());
        if is_in_doubt {
            tracing::info!(
                topic,
                partition,
                offset,
                "kafka: a range is read again to see whether it is durable"
            );
            counter!("door_kafka_replayed_total", "source" => self.source.name()).increment(1);
        }
        self.consumer.seek(topic, partition, offset).await?;
        self.consumer.resume(topic, &[partition]).await;
        Ok(())
    }

    /// Goes on where messages are, in partitions whose next messages are gone.
    async fn rescue(&mut self, partitions: Vec<(String, i32)>) -> Result<(), KrafkaError> {
        for place in partitions.into_iter().filter(|place| self.positions.holds(place)).collect::<Vec<_>>() {
            let (topic, partition) = (place.0.as_str(), place.1);
            let (first, end) = self.consumer.fetch_watermarks(topic, partition).await?;
            let at = self.consumer.position(topic, partition).await;
            let at = at.or(self.positions.next(&place)).unwrap_or(first);
            if (first..=end).contains(&at) {
                continue; // somebody wrote meanwhile
            }
            let skipped = self.positions.skip_to(&place, first);
            counter!("door_kafka_skipped_total", "source" => self.source.name()).increment(skipped);
            tracing::error!(
                topic,
                partition,
                at,
                first,
                skipped,
                "kafka: messages are gone before they were read: retention, or a topic made anew"
            );
            if self.positions.next(&place) == Some(first) {
                commit(&self.consumer, &[(place.clone(), first)]).await?;
            }
            self.consumer.seek(topic, partition, first).await?;
        }
        Ok(())
    }

    async fn set_stuck(&mut self, place: &Place, is_stuck: bool) {
        let (topic, partition) = (place.0.clone(), place.1);
        if is_stuck {
            self.consumer.pause(&topic, &[partition]).await;
            self.stuck.insert(place.clone(), Instant::now() + STUCK_AGAIN);
        } else {
            self.stuck.remove(place);
            self.consumer.resume(&topic, &[partition]).await;
        }
        let stuck = self.stuck.len();
        gauge!("door_kafka_stuck_partitions", "source" => self.source.name()).set(stuck as f64);
    }

    async fn try_stuck(&mut self) {
        let now = Instant::now();
        let due: Vec<Place> =
            self.stuck.iter().filter(|(_, again)| now >= **again).map(|(place, _)| place.clone()).collect();
        for place in due {
            self.set_stuck(&place, false).await;
        }
    }

    async fn report(&mut self) {
        if Instant::now() < self.report_due {
            return;
        }
        self.report_due = Instant::now() + REPORT;
        self.note_member().await;
        for (partition, lag) in self.consumer.lag().await.into_iter().take(REPORTED_MAX) {
            if let Some(lag) = lag.lag {
                self.lag(&place_of(&partition), lag);
            }
        }
    }

    fn lag(&self, place: &Place, lag: u64) {
        let (topic, partition) = (place.0.clone(), place.1.to_string());
        gauge!("door_kafka_lag", "topic" => topic, "partition" => partition).set(lag as f64);
    }

    /// Makes messages durable, round after round; what is not, is read again.
    async fn take(&mut self, messages: Vec<ConsumerRecord>) {
        let count = messages.len() as u64;
        let mut reached = HashMap::new();
        for (place, _) in self.positions.in_doubt() {
            if let Some(at) = self.consumer.position(&place.0, place.1).await {
                reached.insert(place, at);
            }
        }
        let rounds = self.positions.cut(messages, &reached, self.source.limits);
        if rounds.is_empty() {
            return;
        }
        let places: Vec<Place> = rounds[0].iter().map(Batch::place).collect(); // a later round has no others
        let mut is_whole = true;
        for round in rounds {
            is_whole = self.round(round).await;
            if !is_whole {
                break;
            }
        }
        if is_whole {
            counter!("door_kafka_messages_total", "source" => self.source.name()).increment(count);
        } else {
            self.read_again(&places).await;
            self.rest(PAUSE).await;
        }
    }

    async fn read_again(&mut self, places: &[Place]) {
        for place in places {
            let declared = self.source.intents.lock().get(&place.0, place.1).cloned();
            let Some(next) = self.positions.rewind(place, declared.as_ref()) else { continue };
            if let Err(error) = self.consumer.seek(&place.0, place.1, next).await {
                // Not assigned any more, and the next poll says so.
                tracing::debug!(topic = place.0, partition = place.1, %error, "kafka: not read again");
                self.positions.revoke(place);
            }
        }
    }

    /// Makes one batch of each partition durable and commits; whether all are.
    async fn round(&mut self, batches: Vec<Batch>) -> bool {
        let places: Vec<(Place, i64)> =
            batches.iter().map(|batch| (batch.place(), batch.intent.to)).collect();
        let flight = Arc::new(Flight::default());
        *self.watch.flight.lock() = Some(Arc::clone(&flight));
        let work = tokio::spawn(carry(Arc::clone(self.source), batches, Arc::clone(&flight)));
        let was_paused = self.wait(work, &flight).await;
        let was_paused = self.commit(&flight).await || was_paused;
        *self.watch.flight.lock() = None;
        if was_paused {
            self.resume_all().await;
        }
        places.iter().all(|(place, to)| self.positions.next(place) == Some(*to))
    }

    /// Waits for admission; whether partitions were paused meanwhile.
    async fn wait(&mut self, mut work: tokio::task::JoinHandle<()>, flight: &Flight) -> bool {
        let shutdown = self.source.shared.shutdown.clone();
        let mut is_paused = false;
        loop {
            tokio::select! {
                ended = &mut work => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "kafka: admission ended by itself");
                    }
                    return is_paused;
                }
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    self.keep_alive().await;
                    is_paused = true;
                }
                () = shutdown.cancelled(), if !flight.give_up.is_cancelled() => flight.give_up.cancel(),
            }
        }
    }

    /// Speaks to the group and takes nothing.
    async fn keep_alive(&mut self) {
        for (topic, partition) in self.positions.places() {
            self.consumer.pause(&topic, &[partition]).await;
        }
        match self.consumer.poll(KEEP_ALIVE_POLL).await {
            Ok(messages) => debug_assert!(messages.is_empty(), "every partition is paused"),
            Err(error) => tracing::debug!(%error, "kafka: while waiting"),
        }
        self.apply_changes();
    }

    async fn resume_all(&mut self) {
        for place in self.positions.places() {
            if !self.stuck.contains_key(&place) {
                self.consumer.resume(&place.0, &[place.1]).await;
            }
        }
    }

    /// Commits what is durable, until it is committed or no longer ours; whether partitions were paused meanwhile.
    async fn commit(&mut self, flight: &Flight) -> bool {
        let mut is_paused = false;
        loop {
            let offsets: Vec<(Place, i64)> = {
                let durable = flight.durable.lock();
                let held = durable.iter().filter(|(place, _)| self.positions.holds(place));
                held.map(|(place, to)| (place.clone(), *to)).collect()
            };
            if offsets.is_empty() {
                return is_paused;
            }
            match commit(&self.consumer, &offsets).await {
                Ok(()) => {
                    for (place, to) in &offsets {
                        flight.durable.lock().remove(place);
                        self.positions.committed(place, *to);
                    }
                }
                Err(error) => {
                    counter!("door_kafka_commit_failures_total", "source" => self.source.name()).increment(1);
                    tracing::warn!(%error, "kafka: durable records are not committed yet");
                    if self.source.shared.shutdown.is_cancelled() {
                        return is_paused; // the ranges are on disk
                    }
                    self.keep_alive().await;
                    is_paused = true;
                    self.rest(PAUSE).await;
                }
            }
        }
    }
}

/// Declares ranges, then makes their records durable.
async fn carry(source: Arc<Source>, batches: Vec<Batch>, flight: Arc<Flight>) {
    let _ended = flight.ended.clone().drop_guard();
    if !declare(&source, &batches, &flight).await {
        return;
    }
    let (source, flight) = (&source, &flight);
    futures::stream::iter(batches)
        .for_each_concurrent(ADMITTED_MAX, |batch| async move {
            if let Some(to) = admit(source, &batch, flight).await {
                flight.durable.lock().insert(batch.place(), to);
            }
        })
        .await;
}

async fn declare(source: &Arc<Source>, batches: &[Batch], flight: &Flight) -> bool {
    let ranges: Vec<Intent> = batches.iter().map(|batch| batch.intent.clone()).collect();
    loop {
        let (intents, ranges) = (Arc::clone(&source.intents), ranges.clone());
        let declared = tokio::task::spawn_blocking(move || intents.lock().declare(&ranges)).await;
        match declared {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                tracing::error!(%error, "kafka: ranges could not be written to the data folder")
            }
            Err(error) => tracing::error!(%error, "kafka: writing ranges ended by itself"),
        }
        if gave_up(flight, PAUSE).await {
            return false;
        }
    }
}

/// Waits; whether it is of no use to go on.
async fn gave_up(flight: &Flight, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        () = flight.give_up.cancelled() => true,
    }
}

/// Makes one batch durable; the end of its range when it is.
async fn admit(source: &Arc<Source>, batch: &Batch, flight: &Flight) -> Option<i64> {
    let Intent { topic, partition, to, key, .. } = &batch.intent;
    if batch.messages.is_empty() {
        return Some(*to);
    }
    let bytes: usize = batch.messages.iter().map(size).sum();
    let _permit = reserve(source, bytes, flight).await?;
    let schemas = look_up(source, &batch.messages, flight).await?;
    let chunks = records(source, &batch.messages, schemas, bytes).await;
    let shipper = format!("{}/{topic}/{partition}", source.config.name);
    let caller = Caller::named(source.config.tenant.clone(), &shipper);
    for (n, decoded) in chunks.into_iter().enumerate() {
        let submission = Submission {
            caller: caller.clone(),
            door: DOOR,
            idempotency_key: Some(if n == 0 { key.clone() } else { format!("{key}#{n}") }),
            decoded,
            body_bytes: if n == 0 { bytes as u64 } else { 0 },
        };
        let admitted = source.shared.intake.admit_patiently(submission, flight.give_up.cancelled()).await;
        if let Err(refused) = admitted {
            if refused.retry_after().is_none() {
                tracing::error!(topic, partition, to, error = %refused, "kafka: records are not taken");
            }
            return None;
        }
    }
    Some(*to)
}

async fn reserve(source: &Source, bytes: usize, flight: &Flight) -> Option<Permit> {
    loop {
        let refused: Refused = match source.shared.intake.reserve(&source.caller, bytes) {
            Ok(permit) => return Some(permit),
            Err(refused) => refused,
        };
        if gave_up(flight, refused.retry_after().unwrap_or(PAUSE)).await {
            return None;
        }
    }
}

/// The schemas that messages begin with; waits while their registry does not answer.
async fn look_up(source: &Source, messages: &[ConsumerRecord], flight: &Flight) -> Option<Schemas> {
    let mut schemas = Schemas::new();
    for id in schema_ids(messages, source.options.format) {
        loop {
            match source.decoders.get(id).await {
                Ok(decoder) => schemas.insert(id, Ok(decoder)),
                Err(LookupError::Unusable(why)) => schemas.insert(id, Err(why)),
                Err(LookupError::Unreachable(error)) => {
                    tracing::warn!(id, error, "kafka: the schema registry does not answer; waiting");
                    if gave_up(flight, PAUSE).await {
                        return None;
                    }
                    continue;
                }
            };
            break;
        }
    }
    Some(schemas)
}

async fn records(
    source: &Arc<Source>,
    messages: &[ConsumerRecord],
    schemas: Schemas,
    bytes: usize,
) -> Vec<Decoded> {
    let sift = source.shared.sift(&source.caller, DOOR);
    if bytes <= INLINE_BYTES_MAX {
        let reading = sift.reading(&source.shared.limits.decode);
        return decode(messages, &schemas, &source.options, reading);
    }
    let (source, messages) = (Arc::clone(source), messages.to_vec()); // values are shared, not copied
    tokio::task::spawn_blocking(move || {
        let reading = sift.reading(&source.shared.limits.decode);
        decode(&messages, &schemas, &source.options, reading)
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

//! The result cache: answers given again while they are still right, and charts of which only the new part is computed.
//!
//! Invariants:
//! - a kept answer is given only while the rows of every dataset it may have read are those it was computed from: the
//!   key holds their [`DataVersion`]s, read before it was computed and found unchanged after;
//! - a kept bucket of a chart is given only while no append touched its span of time and no row was removed since;
//! - partial answers and errors are not kept; who asks what is being computed waits for it, within its own deadline;
//! - kept bytes stay within the bound (W-TinyLFU decides what goes); nothing is kept longer than [`TTL`].
//!
//! Not here: sharing between servers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heimdall_model::{Dataset, Timestamp, Value};
use heimdall_store::{Control, DataVersion, Store};
use moka::sync::Cache;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use crate::answer::{Answer, AnswerStats};
use crate::chart::{Chart, Run};
use crate::engine::{Engine, QueryError, RunLimits};
use crate::query::Query;

/// Longest time an answer or a bucket is kept.
const TTL: Duration = Duration::from_secs(300);
/// Longest wait on another's answer before looking whether one's own is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// Share of the bound that one entry may take.
const ENTRY_SHARE: usize = 4;
/// Bytes an entry takes beside its values.
const ENTRY_BYTES: usize = 256;

/// What the cache did for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheUse {
    /// It was not asked.
    Off,
    /// The whole answer was kept.
    Hit,
    /// Some buckets were kept, the others were computed.
    Partial,
    /// Everything was computed.
    Miss,
}

/// A question with its range and limits: what an answer depends on beside the rows.
type Question = Arc<[u8]>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// An answer, with the version of every dataset.
    Answer(Question, Vec<DataVersion>),
    /// The buckets of a chart, whatever its range.
    Chart(Question),
}

#[derive(Debug, Clone)]
enum Kept {
    Answer(Arc<Answer>),
    Buckets(Arc<Buckets>),
}

/// Finished groups of a chart by the start of their bucket; a bucket without rows is known to be empty.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    /// Every bucket holds exactly the rows of this version.
    pub(crate) version: DataVersion,
    pub(crate) groups: BTreeMap<i64, Arc<Bucket>>,
}

/// The groups of one bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) notes: Vec<String>,
}

/// Keeps answers in memory.
pub(crate) struct ResultCache {
    kept: Cache<Key, Kept>,
    entry_bytes_max: usize,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
}

impl std::fmt::Debug for ResultCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultCache").finish_non_exhaustive()
    }
}

/// An answer being computed.
#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Landed>>,
    changed: Condvar,
}

/// How a computation ended: with an answer for everyone who waits, or without.
#[derive(Clone)]
enum Landed {
    Answer(Arc<Answer>),
    Nothing,
}

/// The duty to end a flight, whatever happens.
struct Pilot<'a> {
    cache: &'a ResultCache,
    key: Key,
    flight: Arc<Flight>,
}

impl Pilot<'_> {
    fn land(&self, landed: Landed) {
        self.cache.flights.lock().remove(&self.key);
        let mut place = self.flight.landed.lock();
        if place.is_none() {
            *place = Some(landed);
        }
        drop(place);
        self.flight.changed.notify_all();
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        self.land(Landed::Nothing);
    }
}

impl ResultCache {
    pub(crate) fn new(bytes_max: u64) -> ResultCache {
        let kept = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|key: &Key, kept: &Kept| {
                u32::try_from(key.bytes().saturating_add(kept.bytes())).unwrap_or(u32::MAX)
            })
            .time_to_live(TTL)
            .build();
        let entry_bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX) / ENTRY_SHARE;
        ResultCache { kept, entry_bytes_max, flights: Mutex::default() }
    }

    /// Answers from what is kept where that is right, and computes the rest.
    pub(crate) fn answer(
        &self,
        engine: &Engine,
        query: &Query,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, QueryError> {
        let started = Instant::now();
        let key = Key::Answer(question(&(query, limits)), versions(engine.store(), query));
        let answer = match self.kept.get(&key) {
            Some(Kept::Answer(kept)) => again(&kept, started),
            _ => self.compute_once(key, engine, query, control, limits)?,
        };
        let used = match answer.stats.cache {
            CacheUse::Hit => "hit",
            CacheUse::Partial => "partial",
            CacheUse::Miss | CacheUse::Off => "miss",
        };
        metrics::counter!("query_cache_total", "outcome" => used).increment(1);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("query_cache_bytes").set(self.kept.weighted_size() as f64);
        Ok(answer)
    }

    /// Computes, or waits for whoever computes the same: an answer computed since this version is this question's.
    fn compute_once(
        &self,
        key: Key,
        engine: &Engine,
        query: &Query,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, QueryError> {
        let started = Instant::now();
        let pilot = loop {
            match self.take_off(&key) {
                Ok(pilot) => break pilot,
                Err(flight) => {
                    if let Landed::Answer(answer) = wait(&flight, control)? {
                        return Ok(again(&answer, started));
                    }
                }
            }
        };
        let answer = self.compute(engine, query, control, limits)?;
        let Key::Answer(_, versions_before) = &key else { return Ok(answer) };
        if !answer.stats.partial {
            let shared = Arc::new(answer.clone());
            if *versions_before == versions(engine.store(), query) {
                self.keep(key.clone(), Kept::Answer(Arc::clone(&shared)));
            }
            pilot.land(Landed::Answer(shared));
        }
        Ok(answer)
    }

    fn take_off(&self, key: &Key) -> Result<Pilot<'_>, Arc<Flight>> {
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(key) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), Arc::clone(&flight));
        Ok(Pilot { cache: self, key: key.clone(), flight })
    }

    fn compute(
        &self,
        engine: &Engine,
        query: &Query,
        control: &Control,
        limits: RunLimits,
    ) -> Result<Answer, QueryError> {
        let Some(chart) = Chart::of(query) else {
            let mut answer = engine.run(query, control, limits)?;
            answer.stats.cache = CacheUse::Miss;
            return Ok(answer);
        };
        let key = Key::Chart(question(&(chart.identity(), limits)));
        let kept = match self.kept.get(&key) {
            Some(Kept::Buckets(buckets)) => Some(buckets),
            _ => None,
        };
        let Run { answer, buckets } = chart.run(engine, kept.as_deref(), control, limits)?;
        if let Some(buckets) = buckets {
            self.keep(key, Kept::Buckets(Arc::new(buckets)));
        }
        Ok(answer)
    }

    fn keep(&self, key: Key, kept: Kept) {
        if key.bytes().saturating_add(kept.bytes()) <= self.entry_bytes_max {
            self.kept.insert(key, kept);
        }
    }
}

/// Waits until a flight has landed, or its own deadline or cancellation.
fn wait(flight: &Flight, control: &Control) -> Result<Landed, QueryError> {
    let mut landed = flight.landed.lock();
    loop {
        if let Some(landed) = landed.as_ref() {
            return Ok(landed.clone());
        }
        if control.cancelled.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(QueryError::Cancelled);
        }
        if control.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(QueryError::OutOfTime { rows_scanned: 0 });
        }
        flight.changed.wait_for(&mut landed, LOOK);
    }
}

/// A kept answer as the answer to a new question: nothing was read for it.
fn again(kept: &Answer, started: Instant) -> Answer {
    let stats = AnswerStats {
        cache: CacheUse::Hit,
        elapsed_ms: started.elapsed().as_secs_f64() * 1_000.0,
        rows_scanned: 0,
        bytes_read: 0,
        segments_scanned: 0,
        memtable_rows: 0,
        ..kept.stats.clone()
    };
    Answer { columns: kept.columns.clone(), rows: kept.rows.clone(), stats }
}

/// The bytes of what an answer depends on. Plain data serialises, and differs where it differs.
fn question(parts: &impl Serialize) -> Question {
    serde_json::to_vec(parts).expect("a query is plain data").into()
}

/// The version of every dataset of the tenant: a pipe may read another one than the query's.
fn versions(store: &Arc<Store>, query: &Query) -> Vec<DataVersion> {
    Dataset::ALL.into_iter().map(|dataset| store.version(&query.tenant, dataset)).collect()
}

impl Key {
    fn bytes(&self) -> usize {
        match self {
            Key::Answer(question, versions) => question.len() + versions.len() * size_of::<DataVersion>(),
            Key::Chart(question) => question.len(),
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Kept::Answer(answer) => rows_bytes(&answer.rows),
                Kept::Buckets(buckets) => {
                    buckets.groups.values().map(|bucket| ENTRY_BYTES / 2 + rows_bytes(&bucket.rows)).sum()
                }
            }
    }
}

fn rows_bytes(rows: &[Vec<Value>]) -> usize {
    let row = |row: &Vec<Value>| size_of::<Vec<Value>>() + row.iter().map(heap_bytes).sum::<usize>();
    rows.iter().map(row).sum()
}

fn heap_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) => text.len(),
            Value::Json(json) => json.to_string().len() * 4,
            _ => 0,
        }
}

impl Buckets {
    /// What is still right at `version`: buckets that nothing has touched since.
    pub(crate) fn still_right(&self, store: &Store, query: &Query, span: i64) -> BTreeMap<i64, Arc<Bucket>> {
        let Some(touched) = store.touched_since(&query.tenant, query.dataset, self.version) else {
            return BTreeMap::new();
        };
        let is_touched = |start: i64| {
            let end = start.saturating_add(span);
            touched.iter().any(|(min, max): &(Timestamp, Timestamp)| start <= max.0 && min.0 < end)
        };
        self.groups
            .iter()
            .filter(|(start, _)| !is_touched(**start))
            .map(|(start, bucket)| (*start, Arc::clone(bucket)))
            .collect()
    }
}

#[cfg(test)]
mod tests;

//! A cached answer is the fresh answer, whatever was appended, late or not, written out, merged or dropped in between.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use heimdall_journal::disk::OsDisk;
use heimdall_model::schema::logs;
use heimdall_model::time::NS_PER_MINUTE;
use heimdall_model::{BatchBuilder, Dataset, Level, Position, Tenant, Timestamp};
use heimdall_store::{Control, Store, StoreConfig};
use proptest::prelude::*;

use crate::{CacheUse, Engine, ParseContext, Query, QueryError, RunLimits, search};

/// 2026-03-01T12:00:00Z.
const START: i64 = 1_772_366_400_000_000_000;
const MINUTES: i64 = 40;

const LINES: [&str; 8] = [
    "| timechart span=1m count()",
    "level>=error | timechart span=5m count(), max(duration_ms), p99(duration_ms) by service",
    "| stats count_distinct(user_id), first(user_id), last(user_id) by service, bin(2m) | sort -timestamp | limit 7",
    "refused | stats sum(duration_ms) as total by bin(3m) | where total>100 | stats count()",
    "| timechart span=1m rate()",
    "| stats count() by level",
    "refused | limit 5",
    "| stats count() by template, bin(5m)",
];

#[derive(Debug, Clone)]
enum Step {
    /// Rows around this minute, so many minutes wide.
    Append {
        minute: i64,
        width: i64,
        rows: u64,
    },
    Flush,
    Upkeep,
    /// Drops what arrived before this minute.
    Retain {
        minute: i64,
    },
    /// A line over some time; on whole minutes or not.
    Ask {
        line: usize,
        from: i64,
        minutes: i64,
        off: i64,
    },
}

fn arb_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..MINUTES, 1..3_i64, 1..12_u64)
            .prop_map(|(minute, width, rows)| Step::Append { minute, width, rows }),
        1 => Just(Step::Flush),
        1 => Just(Step::Upkeep),
        1 => (0..3_i64).prop_map(|minute| Step::Retain { minute }),
        8 => (0..LINES.len(), 0..3_i64, 10..MINUTES, prop_oneof![Just(0), 0..NS_PER_MINUTE])
            .prop_map(|(line, from, minutes, off)| Step::Ask { line, from, minutes, off }),
    ]
}

struct World {
    engine: Engine,
    store: Arc<Store>,
    seq: u64,
    dice: u64,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let config = StoreConfig {
            retention: Duration::from_secs(60),
            scan_threads: 2,
            scan_unit_rows: 1,
            ..StoreConfig::default()
        };
        let store = Arc::new(Store::open(Arc::new(OsDisk), dir.path(), config).expect("opens"));
        World {
            engine: Engine::new(Arc::clone(&store)).with_cache(1 << 20),
            store,
            seq: 0,
            dice: 1,
            _dir: dir,
        }
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    fn append(&mut self, minute: i64, width: i64, rows: u64) {
        // Arrival in order of the appends: retention counts from it.
        let observed = START + i64::try_from(self.seq).expect("small") * NS_PER_MINUTE / 4;
        let mut builder = BatchBuilder::new(Dataset::Logs, Timestamp(observed));
        for _ in 0..rows {
            let within = self.roll((width * NS_PER_MINUTE).cast_unsigned()).cast_signed();
            builder.set_int(logs::TIMESTAMP, START + minute * NS_PER_MINUTE + within);
            builder.set_text(logs::SERVICE, ["auth", "edge"][usize::from(self.roll(2) > 0)]);
            builder.set_level(Level::ALL[usize::try_from(self.roll(6)).expect("small")]);
            builder
                .set_float(logs::DURATION_MS, f64::from(u32::try_from(self.roll(200)).expect("small")) / 2.0);
            builder.set_text(logs::USER_ID, &format!("u{}", self.roll(9)));
            let word = ["refused", "accepted"][usize::from(self.roll(2) > 0)];
            builder.set_text(logs::MESSAGE, &format!("connection {word} by {}", self.roll(50)));
            builder.end_row();
        }
        self.seq += 1;
        let mut batch = builder.finish();
        batch.base = Position::new(self.seq, 0);
        self.store.assign_templates(&Tenant::default(), &mut batch);
        self.store.append(&Tenant::default(), batch);
    }

    fn query(line: &str, from: i64, to: i64) -> Query {
        let context = ParseContext {
            from: Some(Timestamp(from)),
            to: Some(Timestamp(to)),
            ..ParseContext::new(Tenant::default(), Dataset::Logs, Timestamp(START))
        };
        search::parse(line, &context).expect("parses")
    }

    /// Asks twice through the cache and once beside it; returns what the cache did.
    fn ask(&self, line: usize, from: i64, to: i64) -> [CacheUse; 2] {
        let query = World::query(LINES[line], from, to);
        let (control, limits) = (Control::default(), RunLimits::default());
        let fresh = self.engine.run(&query, &control, limits).expect("runs");
        [(); 2].map(|()| {
            let cached = self.engine.answer(&query, &control, limits).expect("runs");
            assert_eq!(cached.columns, fresh.columns, "{}", LINES[line]);
            assert_eq!(cached.rows, fresh.rows, "{}", LINES[line]);
            assert_eq!(cached.stats.partial, fresh.stats.partial);
            cached.stats.cache
        })
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { minute, width, rows } => self.append(minute, width, rows),
            Step::Flush => {
                if self.store.freeze(self.seq, Vec::new) {
                    self.store.commit_frozen().expect("commits");
                }
            }
            Step::Upkeep => {
                self.store.upkeep(Timestamp(START), &|| ControlFlow::Continue(())).expect("keeps up");
            }
            Step::Retain { minute } => {
                self.store.retain(Timestamp(START + minute * NS_PER_MINUTE)).expect("retains");
            }
            Step::Ask { line, from, minutes, off } => {
                let from = START + from * NS_PER_MINUTE + off;
                self.ask(line, from, from + minutes * NS_PER_MINUTE - off / 2);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_cached_answer_is_the_fresh_one(steps in proptest::collection::vec(arb_step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
    }
}

#[test]
fn only_what_was_touched_is_computed_again() {
    let mut world = World::new();
    (0..30).for_each(|minute| world.append(minute, 1, 5));
    let to = START + 30 * NS_PER_MINUTE;
    assert_eq!(world.ask(1, START, to), [CacheUse::Miss, CacheUse::Hit]);
    // The same chart, five minutes on: the newest buckets are computed, the others were kept.
    (30..35).for_each(|minute| world.append(minute, 1, 5));
    let next = World::query(LINES[1], START + 5 * NS_PER_MINUTE, to + 5 * NS_PER_MINUTE);
    let (control, limits) = (Control::default(), RunLimits::default());
    let answer = world.engine.answer(&next, &control, limits).expect("runs");
    assert_eq!(answer.stats.cache, CacheUse::Partial);
    assert!(answer.stats.rows_matched < 40, "five minutes, not thirty: {:?}", answer.stats);
    // A late record makes its own bucket be computed again, and no other.
    world.append(12, 1, 1);
    assert_eq!(world.ask(1, START, to), [CacheUse::Partial, CacheUse::Hit]);
    // Rows move from memory to a segment: the buckets stay right.
    world.take(&Step::Flush);
    assert_eq!(world.ask(1, START, to)[0], CacheUse::Partial);
    // Rows are dropped: nothing that was kept is trusted.
    let far = Timestamp(START + 1_000 * NS_PER_MINUTE);
    assert!(world.store.retain(far).expect("retains").dropped_rows > 0);
    assert_eq!(world.ask(1, START, to), [CacheUse::Miss, CacheUse::Hit]);
}

#[test]
fn what_templates_decide_is_never_pieced_together() {
    let mut world = World::new();
    (0..20).for_each(|minute| world.append(minute, 1, 5));
    let to = START + 20 * NS_PER_MINUTE;
    assert_eq!(world.ask(7, START, to), [CacheUse::Miss, CacheUse::Hit]);
    world.append(19, 1, 5);
    assert_eq!(world.ask(7, START, to)[0], CacheUse::Miss);
}

#[test]
fn many_who_ask_the_same_get_one_computation_and_a_cancelled_one_spoils_nothing() {
    let mut world = World::new();
    (0..20).for_each(|minute| world.append(minute, 1, 200));
    let query = World::query(LINES[2], START, START + 20 * NS_PER_MINUTE);
    let cancelled = Control { cancelled: Arc::new(AtomicBool::new(true)), ..Control::default() };
    let limits = RunLimits::default();
    let fresh = world.engine.run(&query, &Control::default(), limits).expect("runs");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let (engine, query) = (&world.engine, &query);
            let control = if n == 0 { cancelled.clone() } else { Control::default() };
            scope.spawn(move || engine.answer(query, &control, limits))
        };
        let threads: Vec<_> = (0..8).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(answer) => assert_eq!(answer.rows, fresh.rows),
            Err(error) => assert!(n == 0 && matches!(error, QueryError::Cancelled), "{n}: {error}"),
        }
    }
}

#[test]
fn the_cache_is_bounded() {
    let mut world = World::new();
    world.append(1, 1, 50);
    let engine = Engine::new(Arc::clone(&world.store)).with_cache(4_096);
    for minutes in 2..300 {
        let query = World::query(LINES[5], START, START + minutes * NS_PER_MINUTE);
        engine.answer(&query, &Control::default(), RunLimits::default()).expect("runs");
    }
    let cache = engine.cache().expect("it has one");
    cache.kept.run_pending_tasks();
    assert!(cache.kept.weighted_size() <= 4_096);
}

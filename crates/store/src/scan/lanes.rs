//! Several threads at one scan.
//!
//! Invariants:
//! - of all scans of a store together, at most as many threads work at parts as the store has turns; whoever waited
//!   longest goes next, but a scan that has worked for a while lets those go first that ask up to [`GIVES_WAY_MAX`] after it: a
//!   scan of all there is does not slow those that take a moment, and waits for each of its parts a bounded time longer. Work for
//!   one thread takes no turn: it neither waits nor is handed over;
//! - a thread that waits for something else than the processor has given its turn back;
//! - which thread does which part is fixed beforehand: the states of a fold do not depend on which was faster.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ScanError;
use super::task::Scan;
use super::units::{Plan, Unit};
use super::worker::Worker;

/// How much later than it did a scan counts as having asked, at most.
pub(crate) const GIVES_WAY_MAX: Duration = Duration::from_millis(100);
/// Part of the time a scan has had by which it counts as later.
const GIVES_WAY_PART: u32 = 4;

/// Turns at the processors.
pub(crate) struct Turns {
    threads: usize,
    started: Instant,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    free: usize,
    /// Those that wait, the first first: when they count as having asked, and their numbers.
    waiting: BTreeSet<(Duration, u64)>,
    next: u64,
}

/// How long one piece of work has had turns.
#[derive(Debug, Default)]
pub(crate) struct Spent(AtomicU64);

impl Spent {
    fn so_far(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, more: Duration) {
        self.0.fetch_add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// When somebody counts as having asked who asks now and has had so much.
fn place(now: Duration, spent: Duration) -> Duration {
    now + (spent / GIVES_WAY_PART).min(GIVES_WAY_MAX)
}

/// A turn; given back on drop.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    since: Instant,
    spent: &'a Spent,
}

impl Turns {
    /// As many turns as `threads`; zero: as many as there are processors.
    pub(crate) fn new(threads: usize) -> Turns {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = if threads == 0 { cores() } else { threads };
        let queue = Queue { free: threads, waiting: BTreeSet::new(), next: 0 };
        Turns { threads, started: Instant::now(), queue: Mutex::new(queue), changed: Condvar::new() }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// A turn for a piece of work that has had `spent` so far.
    pub(crate) fn take<'a>(&'a self, spent: &'a Spent) -> Turn<'a> {
        let mut queue = self.queue.lock();
        if queue.free == 0 || !queue.waiting.is_empty() {
            let own = (place(self.started.elapsed(), spent.so_far()), queue.next);
            queue.next += 1;
            queue.waiting.insert(own);
            while queue.free == 0 || queue.waiting.first() != Some(&own) {
                self.changed.wait(&mut queue);
            }
            queue.waiting.pop_first();
        }
        queue.free -= 1;
        if queue.free > 0 && !queue.waiting.is_empty() {
            self.changed.notify_all();
        }
        Turn { turns: self, since: Instant::now(), spent }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.spent.add(self.since.elapsed());
        self.turns.queue.lock().free += 1;
        self.turns.changed.notify_all();
    }
}

/// Runs `work` for every lane, the last on the calling thread; the results are in the order of the lanes. A lane for
/// which the system has no thread runs on the calling thread as well.
pub(crate) fn on_threads<T: Send>(lanes: usize, work: &(impl Fn(usize) -> T + Sync)) -> Vec<T> {
    if lanes <= 1 {
        return vec![work(0)];
    }
    std::thread::scope(|scope| {
        let spawn = |lane: usize| {
            let builder = std::thread::Builder::new().name(format!("scan-{lane}"));
            builder.spawn_scoped(scope, move || work(lane)).ok()
        };
        let others: Vec<_> = (1..lanes).map(spawn).collect();
        let mut results = vec![work(0)];
        for (lane, other) in (1..).zip(others) {
            results.push(match other.map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(result)) => result,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => work(lane),
            });
        }
        results
    })
}

/// Applies `f` to every item, by several threads; the results are in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(
    turns: &Turns,
    spent: &Spent,
    lanes: usize,
    items: &[T],
    f: &(impl Fn(&T) -> R + Sync),
) -> Vec<R> {
    if lanes <= 1 {
        return items.iter().map(f).collect();
    }
    let slice = items.len().div_ceil(lanes);
    let parts = on_threads(lanes, &|lane| {
        let _turn = turns.take(spent);
        items.iter().skip(lane * slice).take(slice).map(f).collect::<Vec<R>>()
    });
    parts.into_iter().flatten().collect()
}

/// Works through all units, each lane with a state of its own; `each` may break off for all. Returns the states in the
/// order of their lanes, and the error of the first unit that failed.
pub(super) fn fold<S: Send>(
    scan: &Scan,
    plan: &Plan,
    make: &(impl Fn() -> S + Sync),
    each: &(impl Fn(&mut Worker, &mut S, &Unit) -> Result<ControlFlow<()>, ScanError> + Sync),
) -> (Vec<S>, Result<(), ScanError>) {
    let lanes = plan.lanes();
    let is_over = AtomicBool::new(false);
    let failed: Mutex<Option<(usize, ScanError)>> = Mutex::new(None);
    let states = on_threads(lanes, &|lane| {
        let (mut state, mut worker) = (make(), Worker::default());
        for (index, unit) in plan.units.iter().enumerate().skip(lane).step_by(lanes) {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let turn = (lanes > 1).then(|| scan.turns.take(&scan.spent));
            let result = each(&mut worker, &mut state, unit);
            drop(turn);
            if !matches!(result, Ok(ControlFlow::Continue(()))) {
                is_over.store(true, Ordering::Relaxed);
            }
            if let Err(error) = result {
                let mut failed = failed.lock();
                if failed.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failed = Some((index, error));
                }
            }
        }
        state
    });
    (states, failed.into_inner().map_or(Ok(()), |(_, error)| Err(error)))
}

/// What a thread hands to the reader of a stream.
pub(super) enum Item {
    /// Rows, and their bytes in memory.
    Block(crate::block::RowBlock, usize),
    /// The part is done.
    UnitDone,
    /// The scan failed.
    Failed(ScanError),
}

/// What one thread has found and the reader has not taken yet: bounded by bytes, but at least one block.
pub(super) struct Lane {
    state: Mutex<LaneState>,
    changed: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct LaneState {
    items: VecDeque<Item>,
    bytes: usize,
    /// The reader wants no more.
    is_closed: bool,
    /// The thread gives no more.
    is_ended: bool,
}

impl Lane {
    pub(super) fn new(bytes_max: usize) -> Lane {
        Lane { state: Mutex::default(), changed: Condvar::new(), bytes_max }
    }

    /// Adds an item, waiting for room with the turn given back.
    pub(super) fn push<'t>(
        &self,
        item: Item,
        (turns, spent): (&'t Turns, &'t Spent),
        turn: &mut Option<Turn<'t>>,
    ) -> ControlFlow<()> {
        let bytes = if let Item::Block(_, bytes) = &item { *bytes } else { 0 };
        let mut state = self.state.lock();
        while state.bytes > 0 && state.bytes.saturating_add(bytes) > self.bytes_max && !state.is_closed {
            *turn = None;
            self.changed.wait(&mut state);
        }
        if state.is_closed {
            return ControlFlow::Break(());
        }
        state.bytes += bytes;
        state.items.push_back(item);
        self.changed.notify_all();
        drop(state);
        if turn.is_none() {
            *turn = Some(turns.take(spent));
        }
        ControlFlow::Continue(())
    }

    /// The next item; `None` when the thread gives no more.
    pub(super) fn pop(&self) -> Option<Item> {
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.is_ended {
            self.changed.wait(&mut state);
        }
        let item = state.items.pop_front()?;
        if let Item::Block(_, bytes) = &item {
            state.bytes -= bytes;
            if state.bytes <= self.bytes_max / 2 {
                self.changed.notify_all();
            }
        }
        Some(item)
    }

    /// Wants no more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.items.clear();
        self.changed.notify_all();
    }
}

/// The thread's end of a lane: however the thread ends, the reader learns of it.
pub(super) struct Giver(pub Arc<Lane>);

impl Drop for Giver {
    fn drop(&mut self) {
        self.0.state.lock().is_ended = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_bounded_and_none_is_lost() {
        let turns = Turns::new(2);
        let (at_work, spent) = (Mutex::new((0, 0)), Spent::default());
        on_threads(8, &|_| {
            for _ in 0..200 {
                let _turn = turns.take(&spent);
                {
                    let mut at_work = at_work.lock();
                    at_work.0 += 1;
                    at_work.1 = at_work.1.max(at_work.0);
                }
                std::thread::yield_now();
                at_work.lock().0 -= 1;
            }
        });
        assert!(at_work.into_inner().1 <= 2);
        assert_eq!(turns.queue.into_inner().free, 2);
    }

    #[test]
    fn whoever_has_had_much_counts_as_asking_later_within_a_bound() {
        let (now, ms) = (Duration::from_secs(5), Duration::from_millis);
        assert_eq!(place(now, Duration::ZERO), now);
        assert_eq!(place(now, ms(12)), now + ms(3));
        assert_eq!(place(now, Duration::from_hours(1)), now + GIVES_WAY_MAX);
        let (turns, spent) = (Turns::new(1), Spent::default());
        let turn = turns.take(&spent);
        std::thread::yield_now();
        drop(turn);
        assert!(spent.so_far() > Duration::ZERO);
    }

    #[test]
    fn results_are_in_order_whatever_the_number_of_threads() {
        let items: Vec<u32> = (0..101).collect();
        for lanes in [1, 2, 3, 7] {
            let doubled = map(&Turns::new(3), &Spent::default(), lanes, &items, &|n| n * 2);
            assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}

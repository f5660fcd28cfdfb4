//! Mutants: damaged copies of valid messages, for the fuzz tests of decoders.
//!
//! [`fuzz`] hands each mutant of some [`Seeds`] to a check. What a mutant is depends on its case number alone, so a failure names the
//! number, and the number makes the bytes again:
//! - `HEIMDALL_FUZZ_CASES`: how many (default [`CASES`]);
//! - `HEIMDALL_FUZZ_CASE`: this one only, and its bytes are shown;
//! - `HEIMDALL_FUZZ_BYTES`: how long a mutant may be (default [`MUTANT_BYTES_MAX`]); with a million, work that grows faster than
//!   the input is seen at once.
//!
//! Invariants:
//! - a mutant is no longer than it may be;
//! - a check that does not end within [`PATIENCE`] ends the process, and its case is named.
//!
//! Not here: what a decoder is held to; its test says so.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

mod edits;
mod rng;

pub use self::rng::Rng;

/// Mutants of one test, unless told otherwise: the whole suite stays quick.
pub const CASES: u64 = 2_000;
/// Longest mutant, unless told otherwise.
pub const MUTANT_BYTES_MAX: usize = 10_000;
/// Longest time that one mutant may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What messages are written in: which damage comes past their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Words, numbers and punctuation, JSON among it.
    Text,
    /// Lengths and numbers of fixed size.
    Bytes,
    /// Fields of Protocol Buffers: messages within messages keep lengths that fit.
    Protobuf,
}

/// Valid messages.
#[derive(Debug, Clone)]
pub struct Seeds {
    form: Form,
    list: Vec<Vec<u8>>,
}

impl Seeds {
    /// Of one form; the list must not be empty.
    pub fn new<S: Into<Vec<u8>>>(form: Form, list: impl IntoIterator<Item = S>) -> Seeds {
        let list: Vec<Vec<u8>> = list.into_iter().map(Into::into).collect();
        assert!(!list.is_empty(), "mutants need a seed");
        Seeds { form, list }
    }

    /// As [`Form::Text`].
    pub fn text<S: Into<Vec<u8>>>(list: impl IntoIterator<Item = S>) -> Seeds {
        Seeds::new(Form::Text, list)
    }

    /// As [`Form::Bytes`].
    pub fn bytes<S: Into<Vec<u8>>>(list: impl IntoIterator<Item = S>) -> Seeds {
        Seeds::new(Form::Bytes, list)
    }

    /// As [`Form::Protobuf`].
    pub fn protobuf<S: Into<Vec<u8>>>(list: impl IntoIterator<Item = S>) -> Seeds {
        Seeds::new(Form::Protobuf, list)
    }

    /// The mutant of a case; the first ones are the seeds themselves.
    pub fn mutant(&self, case: u64) -> Vec<u8> {
        if let Some(seed) = usize::try_from(case).ok().and_then(|case| self.list.get(case)) {
            return seed.clone();
        }
        edits::mutant(self.form, &self.list, bytes_max(), &mut Rng::new(case))
    }
}

/// Hands every mutant to `check`, which panics where the decoder does what it must not. The numbers are for its own choices, such as cuts.
pub fn fuzz(seeds: &Seeds, mut check: impl FnMut(&[u8], &mut Rng)) {
    let watch = Watch::new();
    let mut slowest = (Duration::ZERO, 0, 0);
    let mut memory = Memory::new();
    let cases = cases();
    let count = cases.end - cases.start;
    for case in cases {
        let mutant = seeds.mutant(case);
        if count == 1 {
            eprintln!("{}", mutant.escape_ascii());
        }
        watch.case.store(case, Ordering::Relaxed);
        let began = Work::now();
        let checked = catch_unwind(AssertUnwindSafe(|| check(&mutant, &mut Rng::new(!case))));
        let took = began.took();
        if let Err(panic) = checked {
            eprintln!("mutant: HEIMDALL_FUZZ_CASE={case}, {} bytes: {}", mutant.len(), hex(&mutant));
            resume_unwind(panic);
        }
        slowest = slowest.max((took, case, mutant.len()));
        memory.look(case);
    }
    let (took, case, bytes) = slowest;
    eprintln!("{}: {count} mutants, slowest {took:?} (case {case}, {bytes} bytes){memory}", name());
}

fn name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

fn number_of(variable: &str) -> Option<u64> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{variable} is no number: `{number}`")))
}

fn cases() -> std::ops::Range<u64> {
    match number_of("HEIMDALL_FUZZ_CASE") {
        Some(case) => case..case + 1,
        None => 0..number_of("HEIMDALL_FUZZ_CASES").unwrap_or(CASES),
    }
}

fn bytes_max() -> usize {
    let bytes = number_of("HEIMDALL_FUZZ_BYTES").and_then(|bytes| usize::try_from(bytes).ok());
    bytes.unwrap_or(MUTANT_BYTES_MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a case began, by the clock and by the time this thread had worked.
struct Work {
    clock: Instant,
    worked: Duration,
}

impl Work {
    /// Beyond this much by the clock, others were at work too.
    const ALONE: Duration = Duration::from_millis(4);

    fn now() -> Work {
        Work { clock: Instant::now(), worked: worked() }
    }

    fn took(&self) -> Duration {
        let took = self.clock.elapsed();
        if took < Self::ALONE { took } else { worked().saturating_sub(self.worked) }
    }
}

/// What this thread has worked, as the kernel counts it: in steps of a few milliseconds.
fn worked() -> Duration {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = counted.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_default())
}

/// Ends the process when a case does not end.
struct Watch {
    case: Arc<AtomicU64>,
    /// Dropped with the test, and with it the watching.
    _end: mpsc::Sender<()>,
}

impl Watch {
    fn new() -> Watch {
        let case = Arc::new(AtomicU64::new(u64::MAX));
        let (end, ended) = mpsc::channel();
        let (watched, name) = (Arc::clone(&case), name());
        std::thread::spawn(move || {
            let mut last = u64::MAX;
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::Relaxed);
                if now == last && now != u64::MAX {
                    use std::io::Write as _; // the macros write where the harness shows it only at the test's end
                    let _ = writeln!(std::io::stderr(), "{name}: HEIMDALL_FUZZ_CASE={now} does not end");
                    std::process::abort();
                }
                last = now;
            }
        });
        Watch { case, _end: end }
    }
}

/// The most memory that one case asked for beyond what others had; looked at in long runs only, of one test at a time.
struct Memory {
    is_looked_at: bool,
    peak_kib: u64,
    most: (u64, u64),
}

impl Memory {
    fn new() -> Memory {
        let is_looked_at = std::env::var_os("HEIMDALL_FUZZ_CASES").is_some();
        Memory { is_looked_at, peak_kib: peak_kib(), most: (0, 0) }
    }

    fn look(&mut self, case: u64) {
        if self.is_looked_at {
            let peak_kib = peak_kib().max(self.peak_kib); // the kernel counts in batches
            self.most = self.most.max((peak_kib - self.peak_kib, case));
            self.peak_kib = peak_kib;
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (most_kib, case) = self.most;
        match self.is_looked_at {
            true => write!(f, ", peak {} KiB (most by case {case}: {most_kib} KiB)", self.peak_kib),
            false => Ok(()),
        }
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_same_again_and_within_the_limit() {
        for (form, seed) in [
            (Form::Text, &b"{\"a\":[1,\"\xc3\xa9\"]}\n<13>1 x\n"[..]),
            (Form::Bytes, b"\x00\x00\x00\x05hello"),
            (Form::Protobuf, b"\x0a\x04\x0a\x02hi\x10\x96\x01"),
        ] {
            let seeds = Seeds::new(form, [seed, b""]);
            assert_eq!((seeds.mutant(0), seeds.mutant(1)), (seed.to_vec(), vec![]));
            for case in 2..3_000 {
                let mutant = seeds.mutant(case);
                assert!(mutant.len() <= bytes_max());
                assert_eq!(mutant, seeds.mutant(case));
            }
        }
    }

    #[test]
    fn a_failure_goes_on_as_a_panic() {
        let seeds = Seeds::text(["abc"]);
        let failed = catch_unwind(|| fuzz(&seeds, |mutant, _| assert!(mutant.starts_with(b"a"), "no a")));
        assert!(failed.is_err());
    }
}
